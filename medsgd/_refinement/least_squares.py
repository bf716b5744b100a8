"""Weighted least squares with a penalty: the solve of each exact step.

A solver has ``step``, which minimises the quadratic model of an objective,

    1/2 sum_i k_i (z_i . step)^2 - sum_i pull_i z_i . step + penalty(b + step),

for ``k`` the curvatures or weights of the rows, and ``begin``, which a descent calls
before its first step.
"""

import warnings
from collections import deque

import numpy as np
from scipy import sparse
from scipy.linalg import block_diag, cho_factor, cho_solve, lapack, qr
from sklearn.linear_model import ElasticNet

# Eigenvalues below this share of the largest belong to collinear columns.
COLLINEAR = 1e-12
# Singular values of the rows below this share count as 0, and so do those below so many
# roundings of the data.
NULL, ROUNDINGS = 1e-6, 1e3
# A preconditioner of collinear columns must be invertible.
RIDGE = 1e-12
# Share of the first metric that later ones keep. The rows of a step may have a
# direction that the metric's rows lack, in which a step by these alone has no bound.
KEPT = 0.1
# Rows lack a column if its curvature is below this share of that in the first metric.
SMALLEST = 1e-8
# Relative accuracy of conjugate gradients for candidates, and for exact fits.
ROUGH, EXACT = 0.05, 1e-9
# Steps that limited-memory BFGS remembers.
N_MEMORY = 10
# Steps after which it gets another metric: a number, and one for so many parameters. A
# Gram matrix costs as much as two or three steps for so many.
FEW_STEPS, PER_STEP = 15, 10
# Coordinate descent: as exact as doubles allow.
N_SWEEPS = 10_000
GAP = 1e-12
TINY = np.finfo(np.float64).tiny


class Basis:
    """Directions that the rows determine, and directions that they do not determine.

    Attributes
    ----------
    vectors : ndarray of shape (n_parameters, rank)
        The rows times these are far from collinear.
    gram : ndarray of shape (rank, rank)
        Gram matrix of the rows times ``vectors``.
    null : ndarray of shape (n_parameters, n_parameters - rank)
        Orthonormal directions in which the rows are 0.
    """

    def __init__(self, vectors, gram, null):
        self.vectors, self.gram, self.null = vectors, gram, null

    @classmethod
    def of_columns(cls, columns, root, gram, n_parameters):
        """Return the basis of some coefficients, where the other columns are 0."""
        vectors = np.zeros((n_parameters, len(columns)))
        vectors[columns, np.arange(len(columns))] = root
        return cls(vectors, gram, np.delete(np.eye(n_parameters), columns, axis=1))

    @classmethod
    def of_rows(cls, rows, values, rounding):
        """Return a basis that makes the Gram matrix the unit matrix.

        Parameters
        ----------
        rows : Rows
        values : ndarray of shape (n_rows,)
            No negative numbers.
        rounding : float
            Relative size of the rounding of the data.
        """
        factor = rows.triangle(values)
        p = factor.shape[1]
        norm = np.sqrt(np.square(factor).sum(axis=0))
        root = np.divide(1, norm, out=np.ones_like(norm), where=norm > 0)
        factor, order = qr(factor * root, mode="r", pivoting=True, check_finite=False)
        size = np.abs(factor.diagonal())
        offset = 1 + np.abs(rows.center * rows.inverse_scale).max(initial=0.0)
        least = min(NULL, ROUNDINGS * rounding * np.sqrt(p) * offset)
        rank = np.count_nonzero(size > least * size[0])
        inverse, _ = lapack.dtrtri(factor[:rank, :rank])
        vectors = np.zeros((p, rank))
        vectors[order[:rank]] = inverse
        free = np.zeros((p, p - rank))
        free[order[:rank]] = -inverse @ factor[:rank, rank:]
        free[order[rank:], np.arange(p - rank)] = 1
        null, _ = np.linalg.qr(free * root[:, np.newaxis])
        return cls(vectors * root[:, np.newaxis], np.eye(rank), null)

    def extend(self, rows, share):
        """Add directions that these rows determine and a sample of them did not.

        ``share``: total weight of the sample, relative to that of the rows.
        """
        if self.null.size == 0:
            return
        size, directions = np.linalg.eigh(rows.plain_gram(self.null))
        seen = size > COLLINEAR * rows.total
        found = self.null @ (directions[:, seen] / np.sqrt(share * size[seen]))
        self.vectors = np.hstack([self.vectors, found])
        self.gram = block_diag(self.gram, np.eye(found.shape[1]))
        self.null = self.null @ directions[:, ~seen]


class Cholesky:
    """Steps by the Gram matrix of the weighted rows.

    Parameters
    ----------
    penalty : ndarray of shape (n_parameters,)
        Factor of half the square of each coefficient.
    basis : ndarray of shape (n_parameters, n_directions) or None
        Directions of the steps, where columns are collinear and there is no penalty.
    """

    def __init__(self, penalty, basis=None):
        self.penalty, self.basis = penalty, basis

    def begin(self):
        """Do nothing: each step depends on its arguments only."""

    def step(self, rows, values, pull, b, *, share, convex):
        """Minimise the quadratic model.

        Parameters
        ----------
        rows : Rows
        values, pull : ndarray of shape (n_rows,)
        b : ndarray of shape (n_parameters,)
        share : float
            Factor of the penalty.
        convex : bool
            Whether no value is negative.

        Returns
        -------
        ndarray or None
            None if the model has no minimum.
        """
        penalty = share * self.penalty
        gradient = rows.moments(pull) - penalty * b
        if self.basis is None:
            gram = rows.gram(values)
            gram.flat[:: len(gram) + 1] += penalty
            return solution(gram, gradient, convex)
        gram, gradient = rows.gram(values, self.basis), self.basis.T @ gradient
        # The rows times the basis have a typical size: what is left of a direction that
        # these rows lack is rounding.
        lacking = gram.diagonal() <= COLLINEAR
        gram[lacking] = gram[:, lacking] = gradient[lacking] = 0
        found = solution(gram, gradient, convex)
        return None if found is None else self.basis @ found

    def least_squares(self, rows, values, pull):
        """Return the step that minimises the model without a penalty."""
        return self.step(rows, values, pull, 0.0, share=0.0, convex=True)


def solution(gram, gradient, convex):
    """Solve the equations of a step, or return None."""
    diagonal = gram.diagonal()
    if diagonal.min() > 0:
        root = 1 / np.sqrt(diagonal)
        factor, found, info = lapack.dposv(
            gram * root * root[:, np.newaxis], gradient * root
        )
        if info == 0 and factor.diagonal().min() ** 2 > COLLINEAR:
            return found * root
    if not convex:
        return None
    values, vectors = np.linalg.eigh(gram)
    kept = values > COLLINEAR * values[-1]
    vectors = vectors[:, kept]
    return vectors @ ((vectors.T @ gradient) / values[kept])


class QuasiNewton:
    """Steps of limited-memory BFGS in the metric of a Gram matrix or a diagonal.

    A step costs two products with the rows. The memory learns how the curvature of the
    objective differs from the metric. The memory is of one descent, which ``begin``
    starts. If a descent takes many steps, the metric becomes that of the current
    weights.

    J. Nocedal, "Updating Quasi-Newton Matrices with Limited Storage", Mathematics of
    Computation 1980.

    Parameters
    ----------
    penalty : ndarray of shape (n_parameters,)
    metric : ndarray of shape (n_parameters,) or (n_directions, n_directions)
    total : float
        Total weight of the rows whose Gram matrix, or its diagonal, ``metric`` is.
    basis : ndarray of shape (n_parameters, n_directions) or None
        As for ``Cholesky``.
    """

    def __init__(self, penalty, metric, total, basis=None):
        self.penalty, self.basis = penalty, basis
        self.is_full = metric.ndim == 2
        if self.is_full:
            self.first, self.first_total = metric, total
        self._set_metric(metric, total)
        self.begin()

    def _set_metric(self, metric, total):
        self.total, basis = total, self.basis
        if not self.is_full:
            inverse = 1 / np.where(metric > 0, metric, 1.0)
            self.precondition = lambda gradient: (gradient.T * inverse).T
            return
        ridge, metric = RIDGE * metric.diagonal(), metric.copy()
        metric.flat[:: len(metric) + 1] += np.where(ridge > 0, ridge, 1.0)
        factor = cho_factor(metric, lower=True, overwrite_a=True, check_finite=False)

        def solve(right):
            return cho_solve(factor, right, check_finite=False)

        self.precondition = solve
        if basis is not None:
            self.precondition = lambda gradient: basis @ solve(basis.T @ gradient)

    def adapt(self, rows, values, share):
        """Make the Gram matrix of rows with these values the metric.

        A part of the first metric is added. A diagonal stays.
        """
        if not self.is_full:
            return
        metric, total = rows.gram(values, self.basis), values.sum()
        if self.basis is None:
            metric.flat[:: len(metric) + 1] += share * self.penalty
        share = total / self.first_total
        first = share * self.first.diagonal()
        is_lacking = metric.diagonal() < SMALLEST * first
        metric += KEPT * share * self.first
        metric.flat[:: len(metric) + 1] += np.where(is_lacking, first, 0)
        self._set_metric(metric, total)

    def begin(self):
        """Forget an earlier descent."""
        self.last, self.memory, self.n_steps = None, deque(maxlen=N_MEMORY), 0

    def step(self, rows, values, pull, b, *, share, convex):
        """As ``Cholesky.step``, but inexact, and only with ``convex``."""
        if not convex:
            return None
        self.n_steps += 1
        if self.n_steps > FEW_STEPS + len(b) / PER_STEP:
            self.n_steps = 0
            self.adapt(rows, values, share)
        gradient = self.penalty * b - rows.moments(pull) / max(share, TINY)
        if self.last is not None:
            change, bend = b - self.last[0], gradient - self.last[1]
            along = change @ bend
            if along > 0:
                self.memory.append((change, bend, along))
        self.last = b, gradient
        rest, lengths = -gradient, []
        for change, bend, along in reversed(self.memory):
            lengths.append(change @ rest / along)
            rest = rest - lengths[-1] * bend
        if not self.memory:
            return self.precondition(rest) * share * self.total / values.sum()
        change, bend, along = self.memory[-1]
        # Two solutions at a time read a factor once.
        step, bent = self.precondition(np.column_stack([rest, bend])).T
        step = step * (along / (bend @ bent))
        for change, bend, along in self.memory:
            step += (lengths.pop() - bend @ step / along) * change
        return step

    def least_squares(self, rows, values, pull):
        """As ``Cholesky.least_squares``, where the metric is a diagonal inexact."""
        if self.is_full:
            return Cholesky(0 * self.penalty, self.basis).least_squares(
                rows, values, pull
            )
        return conjugate_gradients(
            lambda directions, _: rows.moments(
                values[:, np.newaxis] * rows.product(directions)
            ),
            rows.moments(pull)[:, np.newaxis],
            self.precondition,
            rows.n_parameters,
            EXACT,
        )[:, 0]


def conjugate_gradients(multiply, right, precondition, n_iter, accuracy=ROUGH):
    """Solve linear systems side by side, inexactly, by conjugate gradients.

    SciPy's ``cg`` solves one system, with a product a system.

    Parameters
    ----------
    multiply : callable
        Returns the products of some of the systems, of given numbers, with directions.
    right : ndarray of shape (n_parameters, n_systems)
    precondition : callable
    n_iter : int
        Most iterations.
    accuracy : float
        Size of the rest, relative to the right side, at which a system is solved.
    """
    solution, rest = np.zeros_like(right), right
    direction = conjugate = precondition(rest)
    size = np.sum(rest * conjugate, axis=0)
    least, left = accuracy**2 * size, np.arange(len(size))
    for _ in range(n_iter):
        active = size > least
        if not np.any(active):
            break
        if not np.all(active):
            # Solved systems cost no further products.
            left, size, least = left[active], size[active], least[active]
            rest, direction = rest[:, active], direction[:, active]
        product = multiply(direction, left)
        bend = np.sum(direction * product, axis=0)
        length = np.where(bend > 0, size, 0) / np.where(bend > 0, bend, 1)
        solution[:, left] += length * direction
        rest = rest - length * product
        conjugate = precondition(rest)
        size, before = np.sum(rest * conjugate, axis=0), size
        direction = conjugate + size / np.where(before > 0, before, 1) * direction
    return solution


class CoordinateDescent:
    """Steps to exact zeros, by scikit-learn's coordinate descent.

    Parameters
    ----------
    l2, l1 : ndarray of shape (n_features,)
        Factors of half the square, and of the size, of each coefficient; both in the
        same proportion to powers of ``unit``.
    unit : ndarray of shape (n_features,)
        The penalty is of the coefficients times these.
    """

    basis = None

    def __init__(self, l2, l1, unit):
        self.l2, self.l1, self.unit = l2, l1, unit
        self.start = None

    def begin(self):
        """Do nothing: a descent may begin at the end of another one."""

    def _descend(self, A, target, total, share, **fit):
        """Minimise half the sum of ``total`` squares plus the penalty."""
        penalty = self.l1 + self.l2
        model = ElasticNet(
            alpha=share * penalty / total,
            l1_ratio=self.l1 / penalty,
            fit_intercept=bool(fit),
            max_iter=N_SWEEPS,
            tol=GAP,
            warm_start=True,
        )
        if self.start is not None:
            model.coef_ = self.start
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            model.fit(A, target, **fit)
        self.start = model.coef_
        return model


class GramDescent(CoordinateDescent):
    """Coordinate descent on a square root of the Gram matrix."""

    def step(self, rows, values, pull, b, *, share, convex):
        """As ``Cholesky.step``, with no step where a row has a negative value."""
        if not convex:
            return None
        gram = rows.gram(values)
        if not gram.any():
            return np.zeros_like(b)
        moments = rows.moments(pull) + gram @ b
        first = rows.fit_intercept
        if first:
            # The intercept has no penalty: it is the best for each of the others.
            along = gram[0] / gram[0, 0]
            intercept = moments[0] / gram[0, 0]
            gram = gram[1:, 1:] - np.outer(along[1:], gram[0, 1:])
            moments = moments[1:] - along[1:] * moments[0]
        gram = gram / self.unit / self.unit[:, np.newaxis]
        root = _square_root(gram, moments / self.unit)
        found = self._descend(*root, len(b) - first, share).coef_ / self.unit
        if first:
            found = np.append(intercept - along[1:] @ found, found)
        return found - b


def _square_root(gram, moments):
    """Return A and t: ``A.T @ A`` is the matrix, ``A.T @ t`` are the moments."""
    factor, info = lapack.dpotrf(gram)
    pivots = np.square(factor.diagonal())
    if info == 0 and np.all(pivots > COLLINEAR * gram.diagonal()):
        target, _ = lapack.dtrtrs(factor, moments, trans=1)
        return factor, target
    size, vectors = np.linalg.eigh(gram)
    root = np.sqrt(np.maximum(size, 0))
    target = np.zeros_like(root)
    kept = size > COLLINEAR * size[-1]
    np.divide(vectors.T @ moments, root, out=target, where=kept)
    return root[:, np.newaxis] * vectors.T, target


class RowDescent(CoordinateDescent):
    """Coordinate descent on the rows, where they are sparse or wide."""

    def step(self, rows, values, pull, b, *, share, convex):
        """As ``Cholesky.step``, with no step where a row has a negative value."""
        if not convex:
            return None
        used = np.flatnonzero(values)
        target = pull[used] / values[used] + rows.product(b)[used]
        scale = rows.inverse_scale / self.unit
        X = rows.X[used]
        if sparse.issparse(X):
            X = X @ sparse.diags_array(scale, format="csr")
            # scikit-learn's coordinate descent takes no others.
            X.indices, X.indptr = (a.astype(np.int32) for a in (X.indices, X.indptr))
        else:
            X = X * scale
        weight = values[used]
        if rows.fit_intercept:
            model = self._descend(X, target, weight.sum(), share, sample_weight=weight)
            found = model.coef_ / self.unit
            offset = model.intercept_ + rows.center @ (model.coef_ * scale)
            return np.append(offset, found) - b
        root = np.sqrt(weight)
        X = (
            X.multiply(root[:, np.newaxis])
            if sparse.issparse(X)
            else X * root[:, np.newaxis]
        )
        model = self._descend(X, target * root, len(used), share)
        return model.coef_ / self.unit - b
