"""Sums of the exact steps over a partition, and the checks of these sums.

The functions are pure: they depend on a block, a job and an index.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from medsgd._fit.scales import NORMAL_MEDIAN, median
from medsgd._fit.units import leverage_limit
from medsgd._refinement.exact import standardised_targets
from medsgd._refinement.inference import TableSums
from medsgd._refinement.rows import DenseRows, Summable
from medsgd._refinement.samples import N_PRESENT, of_all_sizes
from medsgd.dask._trust import ROUNDING, Sent

# Scales at which a scan adds up the bisquare: so many on either side of a first guess,
# at logarithms so far apart. Interpolation between them is exact to nine digits.
N_SCALES, SCALE_STEP = 16, 0.005
# Rows of a partition that show whether its residuals depend on the fitted values.
N_JUDGED = 2_500
# Rows of a rare feature that a partition gives at least, if it has them.
FEW_PRESENT = 5
# Eigenvalues of a Gram matrix may be so far below 0, relative to the diagonal.
NEGATIVE = 1e-7


@dataclass(frozen=True, eq=False)
class RowUnits:
    """Units in which the exact steps see the rows of a partition."""

    center: np.ndarray
    inverse_scale: np.ndarray
    y_center: float
    y_scale: float
    weight_unit: float
    fit_intercept: int

    def rows(self, block):
        """Return the rows of a block."""
        return DenseRows(
            block.X,
            standardised_targets(block.y, self.y_center, self.y_scale),
            block.weight.astype(np.float64) / self.weight_unit,
            self.center,
            self.inverse_scale,
            self.fit_intercept,
        )


@dataclass(frozen=True, eq=False)
class ScanJob(Sent):
    """A request to partitions: look at residuals.

    Attributes
    ----------
    units : RowUnits
    b : ndarray of shape (n_parameters,)
    thresholds : ndarray of shape (n_thresholds,)
        Of the bisquare.
    directions : ndarray of shape (n_parameters, n_directions)
        The squared norm of a row times these is its leverage.
    """

    units: RowUnits
    b: np.ndarray
    thresholds: np.ndarray
    directions: np.ndarray


@dataclass(frozen=True, eq=False)
class Scan:
    """Report of a partition on its residuals.

    Attributes
    ----------
    losses : ndarray of shape (n_thresholds,)
        Sum of the bisquare for each threshold.
    n_equal : int
        The number of rows looked at if all of them are the same, else 0.
    n_judged : int
        Number of rows of little leverage that the correlation is of.
    correlation : float
        Rank correlation of their residuals and fitted values.
    slope : float
        Slope of residuals over fitted values.
    """

    losses: np.ndarray
    n_equal: int
    n_judged: int
    correlation: float
    slope: float


@dataclass(frozen=True, eq=False)
class SumsJob(Sent):
    """A request to partitions: the sums of a step.

    Attributes
    ----------
    units : RowUnits
    b : ndarray of shape (n_parameters,)
    threshold : float
        Of the bisquare; without ``is_bisquare`` the residual below which a row counts.
    is_bisquare : bool
    basis : ndarray of shape (n_parameters, n_directions) or None
        The Gram matrices are of the rows times this.
    """

    units: RowUnits
    b: np.ndarray
    threshold: float
    is_bisquare: bool
    basis: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Sums(Summable):
    """Sums over rows that a step asks.

    Attributes
    ----------
    loss, squares, rejected : float
        Sum of the bisquare; see ``Pull``.
    pull : ndarray of shape (n_parameters,)
        Moments of ``Pull.pull``.
    kept, curvature : ndarray of shape (n * (n + 1) / 2,)
        Lower triangles of the Gram matrices of ``Pull.kept`` and ``Pull.curvature``.
    """

    loss: float
    squares: float
    rejected: float
    pull: np.ndarray
    kept: np.ndarray
    curvature: np.ndarray

    def is_possible(self, weight, job):
        """Whether there are rows of a total weight that have such sums."""
        return is_possible(self, weight, job)

    def statistics(self):
        """Return sums whose means over rows a sample estimates."""
        kept = unpacked(self.kept).diagonal()
        return np.concatenate([[self.loss], kept, self.pull])


def packed(gram):
    """Return the lower triangle of a symmetric matrix."""
    return gram[np.tril_indices(len(gram))]


def unpacked(triangle):
    """Return the symmetric matrix of a lower triangle."""
    n = int((np.sqrt(8 * len(triangle) + 1) - 1) / 2)
    gram = np.zeros((n, n))
    gram[np.tril_indices(n)] = triangle
    return gram + np.tril(gram, -1).T


@dataclass(frozen=True, eq=False)
class TableJob(Sent):
    """A request to partitions: the sums of a table of coefficients.

    Attributes
    ----------
    units : RowUnits
    m_fit, s_fit, limit, are_copies
        As for ``TableSums.of``.
    """

    units: RowUnits
    m_fit: tuple
    s_fit: tuple | None
    limit: float
    are_copies: bool


def table(block, job, index):
    """Return the ``TableSums`` of a block, or None if it has no rows to use."""
    rows = job.units.rows(block)
    if not rows.n_used:
        return None
    are_copies = job.are_copies
    return TableSums.of(rows, job.m_fit, job.s_fit, job.limit, are_copies=are_copies)


@dataclass(frozen=True, eq=False)
class RareJob(Sent):
    """Rare features of which the sample needs more rows.

    Attributes
    ----------
    units : RowUnits
    columns : ndarray of shape (n_columns,)
    draws : Draws
        Of the sample, whose rows are known.
    n_partitions : int
    """

    units: RowUnits
    columns: np.ndarray
    draws: Any
    n_partitions: int


@dataclass(frozen=True, eq=False)
class Rare:
    """Rows in which rare features are present.

    Attributes
    ----------
    X, y
        Some of the rows that are not in the sample, as the exact steps see targets.
    weight : ndarray of shape (n_columns,)
        Total weight of all rows in which each feature is present.
    """

    X: Any
    y: np.ndarray
    weight: np.ndarray


def rare(block, job, index):
    """Return more rows of rare features, or None of a block without rows to use."""
    rows = job.units.rows(block)
    if not rows.n_used:
        return None
    is_drawn = job.draws.counts(block.weight, index) > 0
    most = max(FEW_PRESENT, -(-2 * N_PRESENT // job.n_partitions))
    total, chosen = [], [np.empty(0, dtype=np.intp)]
    for present in rows.present(job.columns):
        present = present[rows.weight[present] > 0]
        total.append(rows.weight[present].sum())
        chosen.append(of_all_sizes(rows.y, present[~is_drawn[present]], most))
    chosen = np.unique(np.concatenate(chosen))
    return Rare(block.X[chosen], rows.y[chosen], np.array(total))


def scan(block, job, index):
    """Look at the residuals of a block; return None if it has no rows to use."""
    rows = job.units.rows(block)
    return scanned(rows, job) if rows.n_used else None


def scanned(rows, job):
    """Return the ``Scan`` of rows."""
    place = rows.at(job.b)
    used = np.flatnonzero(rows.weight)
    used = used[:: -(-len(used) // N_JUDGED)]
    few = rows.take(used, rows.weight[used])
    are_equal = np.all(few.y == few.y[0]) and np.all(few.matrix() == few.matrix()[0])
    return Scan(
        np.array([place.loss(threshold) for threshold in job.thresholds]),
        few.n_rows if are_equal else 0,
        *dependence(few, job.b, job.directions),
    )


def dependence(rows, b, directions):
    """Return how the residuals of rows depend on the fitted values.

    Residuals do not depend on them if the rows follow the model, for any choice of the
    features. Rows of leverage do not count.

    Returns
    -------
    n_judged : int
    correlation, slope : float
        See ``Scan``.
    """
    Z, first = rows.matrix(), rows.fit_intercept
    limit = leverage_limit(max(1, Z.shape[1] - first)) + first
    near = np.square(Z @ directions).sum(axis=1) <= limit
    fitted = (Z @ b)[near]
    residual = rows.y[near] - fitted
    n, spread = len(fitted), _spread(fitted)
    if n < 3 or spread == 0 or np.all(residual == residual[0]):
        return n, 0.0, 0.0
    correlation = np.corrcoef(rankdata(fitted), rankdata(residual))[0, 1]
    return n, float(correlation), float(correlation * _spread(residual) / spread)


def _spread(values):
    return median(np.abs(values - median(values))) / NORMAL_MEDIAN


def add_up(block, job, index):
    """Return the ``Sums`` of a block, or None if it has no rows to use."""
    rows = job.units.rows(block)
    if not rows.n_used:
        return None
    place = rows.at(job.b)
    loss, asked = 0.0, asked_of(place, job)
    if job.is_bisquare:
        loss = place.loss(job.threshold)
    grams = rows.grams([asked.kept, asked.curvature], job.basis)
    return Sums(
        loss,
        asked.squares,
        asked.rejected,
        rows.moments(asked.pull),
        *map(packed, grams),
    )


def asked_of(place, job):
    """Return the sums of a step over the rows at a place."""
    if job.is_bisquare:
        return place.pull(job.threshold)
    return place.pull_of_fitted(job.threshold)


def is_possible(sums, weight, job):
    """Whether there are rows of a total weight that have such sums."""
    n = len(job.b)
    n_directions = n if job.basis is None else job.basis.shape[1]
    shape = (n_directions * (n_directions + 1) // 2,)
    if np.shape(sums.pull) != (n,):
        return False
    if not shape == np.shape(sums.kept) == np.shape(sums.curvature):
        return False
    totals = np.array([sums.loss, sums.squares, sums.rejected])
    parts = totals, sums.pull, sums.kept, sums.curvature
    if not all(np.isfinite(part).all() for part in parts):
        return False
    most = np.array([weight, weight * job.threshold**2, weight])
    if np.any(totals < 0) or np.any(totals > most * (1 + ROUNDING)):
        return False
    kept, curvature = unpacked(sums.kept), unpacked(sums.curvature)
    if job.units.fit_intercept and job.basis is None:
        count = kept[0, 0] + sums.rejected
        if count > weight * (1 + ROUNDING):
            return False
    diagonal = kept.diagonal()
    if np.any(diagonal < 0):
        return False
    root = np.divide(
        1, np.sqrt(diagonal), out=np.zeros(n_directions), where=diagonal > 0
    )
    values, vectors = np.linalg.eigh(kept * root * root[:, np.newaxis])
    # A curvature of the loss is at most the weight.
    rest = (kept - curvature) * root * root[:, np.newaxis]
    if min(values[0], np.linalg.eigvalsh(rest)[0]) < -NEGATIVE * n:
        return False
    pull = sums.pull if job.basis is None else job.basis.T @ sums.pull
    used = values > NEGATIVE * n
    along = (vectors[:, used].T @ (pull * root)) ** 2 / values[used]
    # The inequality of Cauchy and Schwarz.
    return bool(along.sum() <= sums.squares * (1 + ROUNDING) + ROUNDING * weight)


def row_statistics(place, asked, job):
    """Return the terms of ``Sums.statistics``, a row for each row."""
    rows = place.rows
    Z = rows.matrix()
    inside = Z if job.basis is None else Z @ job.basis
    weight = np.where(rows.weight > 0, rows.weight, 1)
    loss = np.zeros(rows.n_rows)
    if job.is_bisquare:
        with np.errstate(over="ignore"):
            left = 1 - np.minimum(np.square(place.residual / job.threshold), 1)
        loss = 1 - left**3
    return np.column_stack(
        [
            loss,
            (asked.kept / weight)[:, np.newaxis] * np.square(inside),
            (asked.pull / weight)[:, np.newaxis] * Z,
        ]
    )
