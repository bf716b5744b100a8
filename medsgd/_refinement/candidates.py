"""Coefficients at which an S step may begin: fits to parts of the rows."""

import numpy as np
from scipy.linalg import lapack

import medsgd._core.fits as compiled
from medsgd._fit.scales import median, weighted_median
from medsgd._refinement.bisquare import ROUGH, m_scales, s_weights
from medsgd._refinement.least_squares import conjugate_gradients
from medsgd._refinement.rows import LARGEST, ranks

# Parameters up to which the outer products of all rows are kept, and up to which
# sensitivity components are used.
MOST_OUTER = 64
MOST_SENSITIVE = 500
# Principal sensitivity components used; rounds, for few and for more parameters.
N_COMPONENTS = 4
N_ROUNDS, FEW_ROUNDS = 4, 2
# Rows beyond so many scales of a round's best fit are left out of the next round.
KEPT = 2.5
# Iterations of least absolute deviations, the share of a typical residual below which
# one counts as so large, and the step of fitted values that ends them.
N_ABSOLUTE = 10
SMALLEST = 1e-3
LAST_STEP = 5e-3
# Steps of concentration on rows near to their mean, from each start; none with more
# parameters.
N_CENTRAL = 1
# Share of its spread over all rows that a feature has at least in the nearest; share of
# its root mean square that the spread of a principal component is at least.
SMALLEST_SPREAD, SMALLEST_MAD = 0.01, 0.1
# Subsets are drawn where rows times parameters are at most so many.
FEW = 1000
N_SUBSETS = 200
# Multiple of the rows of a subset that are drawn, because some are dependent.
DRAWN = 4
# The part of a row that counts as independent of other rows.
INDEPENDENT = 1e-6
# A diagonal is raised by this share of itself, so that a singular matrix has a
# solution: candidates need not be exact.
RIDGE = 1e-10
# Outer products of more numbers than this are computed faster than read.
MOST_CACHED = 2**17
# Conjugate gradients for candidates, which an S step refines anyway, and where columns
# are collinear: there the weights of a candidate may change a metric by much. Exact
# solutions for half of few rows would follow clusters of bad leverage points.
N_ITER, N_ITER_COLLINEAR = 2, 20
# A start is far if least squares have residuals so many times smaller.
FAR_START = 15.0
# A feature is lost where a smaller share of the rows that it is present in is kept.
LOST = 0.5


class Fits:
    """Weighted least squares of the same rows with many weights at a time.

    Arrays have a fit a row.

    Parameters
    ----------
    rows : Rows
    precondition : callable or None
        Approximate solution of the normal equations; None solves them.
    n_iter : int
        Most iterations of conjugate gradients in a solution.
    """

    def __init__(self, rows, precondition, n_iter):
        self.rows, self.precondition, self.n_iter = rows, precondition, n_iter
        if precondition is None:
            self.products = _products(rows.matrix(), rows.y)
            self.lower = np.tril_indices(rows.n_parameters)

    def residuals(self, b):
        """Return residuals, of shape (n_fits, n_rows)."""
        if self.precondition is None:
            return self.rows.y - b @ self.rows.matrix().T
        return np.ascontiguousarray(self.rows.residuals(b.T).T)

    def solve(self, weight, b):
        """Return coefficients for weights, where inexact beginning at ``b``."""
        rows = self.rows
        if self.precondition is not None:
            weight = weight.T
            step = conjugate_gradients(
                lambda directions, left: rows.moments(
                    weight[:, left] * rows.product(directions)
                ),
                rows.moments(weight * rows.residuals(b.T)),
                self.precondition,
                self.n_iter,
            )
            return b + step.T
        if len(weight) == 1 and self.products.size > MOST_CACHED:
            weight = weight[0]
            lower = rows.gram(weight)[self.lower]
            sums = np.append(lower, rows.moments(weight * rows.y))[np.newaxis]
        else:
            sums = weight @ self.products.T
        return compiled.solve(sums, rows.n_parameters, RIDGE)


def _products(Z, y):
    """Return products of the rows' values with one another and with y, by column.

    They are in the order of the rows of a lower triangle.
    """
    Z = np.ascontiguousarray(Z.T)
    p, first = len(Z), 0
    products = np.empty((p * (p + 3) // 2, len(y)))
    for j in range(p):
        np.multiply(Z[: j + 1], Z[j], out=products[first : first + j + 1])
        first += j + 1
    np.multiply(Z, y, out=products[first:])
    return products


def near_start(fits, b, weight):
    """Return ``b``, or least squares if ``b`` is far from there.

    Few inexact iterations would not correct a start that is far because effects are
    large. The solution is of one fit.

    Parameters
    ----------
    weight : ndarray of shape (n_rows,)
        Those of the matrix that is the preconditioner, so that one iteration solves.
    """
    if fits.precondition is None:
        return b
    both = np.concatenate([b, fits.solve(weight[np.newaxis], b)])
    size = [weighted_median(r, fits.rows.weight) for r in np.abs(fits.residuals(both))]
    return both[[int(FAR_START * size[1] < size[0])]]


def least_absolute(fits, b, weight, floor):
    """Return least absolute deviations, the fixed point of the median stage.

    The solution is of one fit.
    """
    residual = fits.residuals(b)
    for _ in range(N_ABSOLUTE):
        size = np.abs(residual)
        scale = max(median(size[0]), floor)
        b = fits.solve(weight / np.maximum(size, SMALLEST * scale), b)
        before, residual = residual, fits.residuals(b)
        if np.abs(residual - before).max() <= LAST_STEP * scale:
            break
    return b


def sensitivity(fits, target, floor):
    """Return least squares on the halves of rows by sensitivity components.

    D. Pena, V. Yohai, "A Fast Procedure for Outlier Diagnostics in Large Regression
    Problems", JASA 1999.
    """
    rows, found, previous = fits.rows, [], np.inf
    Z, active, p = rows.matrix(), rows.weight, rows.n_parameters
    n_rounds = N_ROUNDS if fits.precondition is None else FEW_ROUNDS
    n_last = min(N_COMPONENTS, p)
    for _ in range(n_rounds):
        gram = rows.gram(active)
        root = _inverse_root(gram.diagonal())
        scaled = gram * root * root[:, np.newaxis]
        scaled.flat[:: p + 1] += RIDGE
        inverse = inverse_factor(scaled)
        Q = Z @ (inverse * root).T
        residual = rows.y - Q @ (Q.T @ (active * rows.y))
        leverage = np.minimum(active * np.einsum("ij,ij->i", Q, Q), 1)
        influence = active * np.square(residual / np.maximum(1 - leverage, 1e-3))
        root = Q * np.sqrt(influence)[:, np.newaxis]
        _, directions, _, _, _ = lapack.dsyevr(
            root.T @ root, range="I", il=p - n_last + 1, iu=p
        )
        components = directions.T @ Q.T
        half = active.sum() / 2 + 1
        keys = np.concatenate([components, -components, np.abs(components)])
        weight = compiled.smallest(keys, active, half)
        b = fits.solve(weight, np.zeros((len(weight), p)))
        found.append(b)
        residual = fits.residuals(b)
        start = np.full(len(b), previous if np.isfinite(previous) else 1.0)
        scales = m_scales(residual, rows.weight, target, start, floor, tolerance=ROUGH)
        best = int(np.argmin(scales))
        scale = scales[best]
        if scale > 0.999 * previous:
            break
        before, previous = active, scale
        active = rows.weight * (np.abs(residual[best]) < KEPT * scale)
        if np.count_nonzero(active) < p + 2 or np.array_equal(active, before):
            break
    return np.concatenate(found)


@np.errstate(over="ignore")  # an infinite distance is as good as a large one
def central(fits, bounded):
    """Return least squares on the halves of the rows nearest to their own mean.

    Outliers that are far from the majority in several features at once are in the other
    half. One of the two first halves is nearest by the features. The other one is
    nearest by the medians and the median absolute deviations of principal components,
    which show outliers in a combination of features.

    R. Maronna, R. Zamar, "Robust Estimates of Location and Dispersion for
    High-Dimensional Datasets", Technometrics 2002. The concentration steps are those of
    P. Rousseeuw, K. Van Driessen, "A Fast Algorithm for the Minimum Covariance
    Determinant Estimator", Technometrics 1999.

    Parameters
    ----------
    bounded : ndarray of shape (n_rows,)
        Weights with which no row adds much to a Gram matrix.
    """
    rows = fits.rows
    Z, p = rows.matrix(), rows.n_parameters
    gram = rows.gram(bounded)
    # A feature that the nearest rows lack must not make others infinitely distant.
    least = SMALLEST_SPREAD * gram.diagonal()
    least[least == 0] = 1
    weights = []
    for distance in (
        np.square(Z).sum(axis=1),
        _component_distance(rows, gram, bounded.sum()),
    ):
        weights.append(_nearest(rows, distance))
        for _ in range(N_CENTRAL if fits.precondition is None else 0):
            gram = rows.gram(weights[-1][0])
            # With an intercept, distances from the mean are those from 0, and a
            # constant.
            gram.flat[:: p + 1] += least
            inverse = inverse_factor(gram)
            weights.append(_nearest(rows, np.square(Z @ inverse.T).sum(axis=1)))
    return fits.solve(np.concatenate(weights), np.zeros((len(weights), p)))


def _nearest(rows, distance):
    """Return weights of the half of the rows with the smallest distances, as a row."""
    return compiled.smallest(distance[np.newaxis], rows.weight, rows.total / 2)


def _component_distance(rows, gram, total):
    """Return squared distances from the median by principal components.

    ``gram``: a Gram matrix to which no row adds much; ``total``: its weight.
    """
    root = _inverse_root(gram.diagonal())
    squares, vectors = np.linalg.eigh(gram * root * root[:, np.newaxis])
    least = SMALLEST_MAD * np.sqrt(np.maximum(squares, RIDGE) / total)
    distance = np.zeros(rows.n_rows)
    for component, smallest in zip(
        (vectors.T * root) @ rows.matrix().T, least, strict=True
    ):
        component -= median(component, rows.weight)
        spread = median(np.abs(component), rows.weight)
        distance += np.square(component / max(spread, smallest))
    return distance


def _inverse_root(squares):
    """Return 1 / sqrt of squares, and 0 for 0."""
    size = np.sqrt(squares)
    return np.divide(1, size, out=np.zeros_like(size), where=size > 0)


def inverse_factor(gram):
    """Return the inverse of the Cholesky factor of a positive definite matrix."""
    # NumPy's factorisation costs small matrices several times as much to call.
    factor, _ = lapack.dpotrf(gram, lower=True)
    return lapack.dtrtri(factor, lower=True, overwrite_c=True)[0]


def subsets(fits):
    """Return fits of minimal subsets of independent rows, always the same draws.

    Rows are drawn by their rank among the targets. Neither the order of the rows nor
    copies in place of weights change a draw.
    """
    rows, Z = fits.rows, fits.rows.matrix()
    p = rows.n_parameters
    order = ranks(rows.X, rows.y)
    below = np.cumsum(rows.weight[order])
    draws = np.random.default_rng(0).random((N_SUBSETS, DRAWN * p)) * below[-1]
    rank = np.minimum(np.searchsorted(below, draws, side="right"), len(order) - 1)
    return compiled.through_rows(Z, rows.y, order[rank], INDEPENDENT)


def concentrate(fits, b, residual, scale, target, floor, n_steps):
    """Make iterations of the S step for each candidate.

    Parameters
    ----------
    residual : ndarray of shape (n_fits, n_rows)
        Residuals of ``b``.
    scale : ndarray of shape (n_fits,)
        First guesses.

    Returns
    -------
    b : ndarray of shape (n_fits, n_parameters)
    residual : ndarray of shape (n_fits, n_rows)
    scale : ndarray of shape (n_fits,)
    """
    weight = fits.rows.weight
    for _ in range(n_steps):
        scale = m_scales(residual, weight, target, scale, floor, n_iter=3)
        b = fits.solve(s_weights(residual, weight, scale), b)
        residual = fits.residuals(b)
    scale = m_scales(residual, weight, target, scale, floor, tolerance=ROUGH)
    return b, residual, scale


def recovered(rows, residual, kept, b):
    """Return coefficients with those of lost rare features set from their rows.

    If a fit rejects all rows in which a feature is present, nothing determines its
    coefficient, and no iteration corrects it.

    Parameters
    ----------
    kept : ndarray of shape (n_rows,)
        Weights of the rows in the fit.

    Returns
    -------
    ndarray or None
        None if no feature is lost.
    """
    presence = rows.presence
    count, left = presence.T @ rows.weight, presence.T @ (rows.weight * (kept > 0))
    rare = (count > 0) & (count < rows.total / 2)
    lost = np.flatnonzero(rare & (left < LOST * count))
    if len(lost) == 0:
        return None
    b, residual = b.copy(), residual.copy()
    for j in lost:
        own = presence.indices[presence.indptr[j] : presence.indptr[j + 1]]
        unit = np.zeros(len(b))
        unit[j + rows.fit_intercept] = 1
        value = rows.take(own, rows.weight[own]).product(unit)
        with np.errstate(over="ignore"):
            slopes = np.clip(residual[own] / value, -LARGEST, LARGEST)
        change = weighted_median(slopes, rows.weight[own])
        b[j + rows.fit_intercept] += change
        residual[own] -= change * value
    return b
