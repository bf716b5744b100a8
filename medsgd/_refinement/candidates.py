"""Where an S step may begin: fits of rows some of which no outlier has touched."""

import numpy as np
from scipy.linalg import eigh, solve_triangular

from medsgd._refinement.bisquare import m_scales, s_weights
from medsgd._refinement.least_squares import conjugate_gradients
from medsgd._scales import NORMAL_MEDIAN, weighted_median

# Parameters up to which the outer products of all rows are kept, and up to which
# sensitivity components are looked at.
MOST_OUTER = 64
MOST_SENSITIVE = 500
# Principal sensitivity components looked at, of few and of more parameters; rounds.
N_COMPONENTS, N_ROUNDS = 6, 4
FEW_COMPONENTS, FEW_ROUNDS = 4, 2
# Rows beyond so many scales of a round's best fit are left out of the next round.
KEPT = 2.5
# Iterations of least absolute deviations, the share of a typical residual below which
# one counts as so large, and the step of fitted values that ends them.
N_ABSOLUTE = 6
SMALLEST = 1e-3
LAST_STEP = 0.01
# Subsets are drawn where rows times parameters are at most so many.
FEW = 1000
N_SUBSETS = 200
# So many times as many rows are drawn as a subset needs, for some are dependent.
DRAWN = 4
# The part of a row that counts as independent of other rows.
INDEPENDENT = 1e-6
# A diagonal is raised by this share of itself, so that a singular matrix has a
# solution: candidates need not be exact.
RIDGE = 1e-10
# Conjugate gradients for candidates, which an S step refines anyway.
N_ITER = 4
# A feature is lost where so small a share of the rows that it is present in is kept.
LOST = 0.25
# Relative accuracy of scales that only rank candidates.
ROUGH = 1e-2
TINY = np.finfo(np.float64).tiny


class Fits:
    """Weighted least squares of the same rows with many weights at a time.

    Arrays have a fit a row.

    Parameters
    ----------
    rows : Rows
    precondition : callable or None
        Approximate solution of the normal equations; None solves them.
    """

    def __init__(self, rows, precondition):
        self.rows, self.precondition = rows, precondition
        if precondition is None:
            Z = rows.matrix()
            self.upper = np.triu_indices(Z.shape[1])
            self.outer = Z[:, self.upper[0]] * Z[:, self.upper[1]]

    def residuals(self, b):
        """Return residuals, of shape (n_fits, n_rows)."""
        return np.ascontiguousarray(self.rows.residuals(b.T).T)

    def solve(self, weight, b):
        """Return coefficients for weights, where inexact beginning at ``b``."""
        rows = self.rows
        if self.precondition is not None:
            weight = weight.T
            step = conjugate_gradients(
                lambda direction: rows.moments(weight * rows.product(direction)),
                rows.moments(weight * rows.residuals(b.T)),
                self.precondition,
                N_ITER,
            )
            return b + step.T
        moments = (weight * rows.y) @ rows.matrix()
        gram = np.empty((*moments.shape, moments.shape[1]))
        gram[:, self.upper[0], self.upper[1]] = weight @ self.outer
        gram[:, self.upper[1], self.upper[0]] = gram[:, self.upper[0], self.upper[1]]
        return solve_raised(gram, moments)


def solve_raised(gram, moments):
    """Solutions of several linear systems, their diagonals a little raised."""
    diagonal = np.einsum("kii->ki", gram)
    diagonal += RIDGE * diagonal + TINY
    root = 1 / np.sqrt(diagonal)
    # An eigenvalue that rounding has left below 0 must not make a matrix singular.
    gram = gram * root[:, :, np.newaxis] * root[:, np.newaxis]
    np.einsum("kii->ki", gram)[:] += RIDGE
    return np.linalg.solve(gram, (moments * root)[:, :, np.newaxis])[:, :, 0] * root


def least_absolute(fits, b, weight, floor):
    """Least absolute deviations: the fixed point that the median stage approaches."""
    residual = fits.residuals(b)
    for _ in range(N_ABSOLUTE):
        size = np.abs(residual)
        scale = max(np.median(size), floor)
        b = fits.solve(weight / np.maximum(size, SMALLEST * scale), b)
        before, residual = residual, fits.residuals(b)
        if np.abs(residual - before).max() <= LAST_STEP * scale:
            break
    return b


def sensitivity(fits, target, floor):
    """Least squares on the halves of the rows that sensitivity components leave.

    D. Pena, V. Yohai, "A Fast Procedure for Outlier Diagnostics in Large Regression
    Problems", JASA 1999.
    """
    rows, found, previous = fits.rows, [], np.inf
    Z, active = rows.matrix(), rows.weight
    few, n_rounds = N_COMPONENTS, N_ROUNDS
    if fits.precondition is not None:
        few, n_rounds = FEW_COMPONENTS, FEW_ROUNDS
    for _ in range(n_rounds):
        gram = rows.gram(active)
        size = np.sqrt(gram.diagonal())
        root = np.divide(1, size, out=np.zeros_like(size), where=size > 0)
        scaled = gram * root * root[:, np.newaxis]
        scaled[np.diag_indices_from(scaled)] += RIDGE
        factor = np.linalg.cholesky(scaled)
        Q = solve_triangular(factor, (Z * root).T, lower=True, check_finite=False).T
        residual = rows.y - Q @ (Q.T @ (active * rows.y))
        leverage = np.minimum(active * np.square(Q).sum(axis=1), 1)
        influence = active * np.square(residual / np.maximum(1 - leverage, 1e-3))
        n_last = min(few, rows.n_parameters)
        _, directions = eigh(
            (Q * influence[:, np.newaxis]).T @ Q,
            subset_by_index=(rows.n_parameters - n_last, rows.n_parameters - 1),
            check_finite=False,
        )
        components = Q @ directions
        half = active.sum() / 2 + 1
        keys = np.concatenate([components, -components, np.abs(components)], axis=1)
        weight = _smallest(keys.T, active, half)
        b = fits.solve(weight, np.zeros((len(weight), rows.n_parameters)))
        found.append(b)
        residual = fits.residuals(b)
        start = np.full(len(b), previous if np.isfinite(previous) else 1.0)
        scales = m_scales(residual, rows.weight, target, start, floor, tolerance=ROUGH)
        best = int(np.argmin(scales))
        scale = scales[best]
        active = rows.weight * (np.abs(residual[best]) < KEPT * scale)
        few_left = np.count_nonzero(active) < rows.n_parameters + 2
        if few_left or scale > 0.999 * previous:
            break
        previous = scale
    return np.concatenate(found)


def _smallest(keys, weight, total):
    """Weights of the rows with the smallest keys, up to a total, for each fit.

    Of rows with one key, each counts in part: their order decides nothing.
    """
    if np.all(weight == weight[0]):
        last = min(int(np.ceil(total / weight[0])), len(weight)) - 1
        largest = np.partition(keys, last, axis=1)[:, last, np.newaxis]
    else:
        order = np.argsort(keys, axis=1)
        below = np.cumsum(weight[order], axis=1)
        last = np.minimum(np.sum(below < total, axis=1), len(weight) - 1)
        place = np.take_along_axis(order, last[:, np.newaxis], axis=1)
        largest = np.take_along_axis(keys, place, axis=1)
    below, level = keys < largest, keys == largest
    share = (total - below @ weight) / (level @ weight)
    return weight * (below + level * np.clip(share, 0, 1)[:, np.newaxis])


def subsets(fits):
    """Fits of minimal subsets of independent rows, always the same draws.

    Rows are drawn by their rank among the targets, so that neither their order nor
    whether a row has a weight or copies changes a draw.
    """
    rows, Z = fits.rows, fits.rows.matrix()
    p = rows.n_parameters
    projection = Z @ np.random.default_rng(1).standard_normal(p)
    order = np.lexsort((projection, rows.y))
    below = np.cumsum(rows.weight[order])
    draws = np.random.default_rng(0).random((N_SUBSETS, DRAWN * p)) * below[-1]
    rank = np.minimum(np.searchsorted(below, draws, side="right"), len(order) - 1)
    drawn = order[rank]
    drawn = np.take_along_axis(drawn, _independent(Z[drawn]), axis=1)
    A, t = Z[drawn], rows.y[drawn]
    norms = np.linalg.norm(A, axis=2) + TINY
    A, t = A / norms[:, :, np.newaxis], t / norms
    transposed = A.transpose(0, 2, 1)
    return solve_raised(transposed @ A, (transposed @ t[:, :, np.newaxis])[:, :, 0])


def _independent(A):
    """Places of the first independent rows of each matrix, as many as columns.

    Where there are fewer, other rows follow.
    """
    n_matrices, n_rows, p = A.shape
    basis, count = np.zeros((n_matrices, p, p)), np.zeros(n_matrices, dtype=np.intp)
    place = np.full((n_matrices, n_rows), n_rows)
    for i in range(n_rows):
        rest = A[:, i]
        norm = np.linalg.norm(rest, axis=1)
        for _ in range(2):  # Gram and Schmidt, twice for the rounding
            along = np.matmul(basis, rest[:, :, np.newaxis])
            rest = rest - np.matmul(basis.transpose(0, 2, 1), along)[:, :, 0]
        size = np.linalg.norm(rest, axis=1)
        new = np.flatnonzero((size > INDEPENDENT * norm) & (count < p))
        basis[new, count[new]] = rest[new] / size[new, np.newaxis]
        place[new, i] = i
        count[new] += 1
        if (count == p).all():
            break
    return np.argsort(place, axis=1, kind="stable")[:, :p]


def concentrate(fits, b, target, floor, n_steps):
    """Iterations of the S step for each candidate.

    Returns
    -------
    b : ndarray of shape (n_fits, n_parameters)
    residual : ndarray of shape (n_fits, n_rows)
    scale : ndarray of shape (n_fits,)
    """
    weight = fits.rows.weight
    residual = fits.residuals(b)
    some = np.abs(residual[:, :: max(1, residual.shape[1] // 200)])
    scale = np.median(some, axis=1) / NORMAL_MEDIAN
    for _ in range(n_steps):
        scale = m_scales(residual, weight, target, scale, floor, n_iter=3)
        b = fits.solve(s_weights(residual, weight, scale), b)
        residual = fits.residuals(b)
    scale = m_scales(residual, weight, target, scale, floor, tolerance=ROUGH)
    return b, residual, scale


def recovered(rows, residual, kept, b):
    """Coefficients of rare features whose rows a fit has rejected, from these rows.

    Where all rows that a feature is present in are rejected, nothing determines its
    coefficient, and no iteration finds it again.

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
    count, left = presence.T @ rows.weight, presence.T @ kept
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
        change = weighted_median(residual[own] / value, rows.weight[own])
        b[j + rows.fit_intercept] += change
        residual[own] -= change * value
    return b
