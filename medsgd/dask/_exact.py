"""The exact steps over partitions: the coordinator's rows, which ask for sums.

The candidates and the S step run on a sample of the rows, at the coordinator. The M
step asks the partitions for sums, as it asks blocks of rows on one machine.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.interpolate import KroghInterpolator

from medsgd._fit.scales import weighted_median
from medsgd._fit.units import stacked
from medsgd._refinement.bisquare import S_CONSTANT
from medsgd._refinement.candidates import MOST_OUTER
from medsgd._refinement.exact import ExactStage, is_blockwise, is_exact
from medsgd._refinement.inference import TableSums
from medsgd._refinement.regression import N_S_ROWS, ROWS_PER_PARAMETER
from medsgd._refinement.rows import Pull, RowsLeftOut
from medsgd._refinement.samples import N_PRESENT, sample, share_rare_weight
from medsgd.dask._sums import (
    N_SCALES,
    SCALE_STEP,
    RareJob,
    RowUnits,
    ScanJob,
    Sums,
    SumsJob,
    TableJob,
    add_up,
    asked_of,
    rare,
    row_statistics,
    scan,
    scanned,
    table,
    unpacked,
)
from medsgd.dask._trust import CONTRADICTING, IMPOSSIBLE, ROUNDING, Asked

# Parameters up to which partitions send Gram matrices: 2 MB.
MOST_PARAMETERS = 500
# The targets of a partition are wrong if residuals depend on the fitted values: by so
# many standard errors, so many times more than is typical of partitions, and so much
# that its own coefficients are less than half of the others' or more than one and a
# half times as large.
DEPENDENT, MORE_THAN_TYPICAL, HALF = 5.0, 3.0, 0.5
# Nearly all rows of a partition are outliers if the mean bisquare exceeds this.
OUTLYING = 0.99
# A partition of more equal rows than this, and no other row, is wrong.
MANY = 25
# Points that interpolation of a scale uses.
N_POINTS = 6
# Eigenvalues below this share of the largest are of directions that rows lack.
LACKING = 1e-10
# Scans that look for a scale.
MOST_SCANS = 100

CONSTANT = "all of their rows are the same"
DEPENDENTLY = "their targets depend otherwise on the features than those of the others"


def is_exact_on_dask(plan, data):
    """Whether the steps of a fit over partitions are exact."""
    n_parameters = data.X.shape[1] + plan.fit_intercept
    has_l1 = plan.exact_alpha > 0 and plan.l1_ratio > 0
    return (
        not plan.task.is_classification
        and not plan.early_stopping
        and is_exact(plan, data, data.told.n_rows)
        and is_blockwise(data.X)
        and n_parameters <= (MOST_OUTER if has_l1 else MOST_PARAMETERS)
    )


class PartitionedStage(ExactStage):
    """The exact refinement of one regression over partitions.

    Parameters
    ----------
    plan : Plan
    data : Sample
    trusting : bool
        Whether only sums that are impossible are left out.
    """

    def __init__(self, plan, data, *, trusting):
        told, weight = data.told, data.weight
        if data.is_complete and told.is_counted:
            # Whole numbers count copies of a row, as the partitions do.
            weight = np.rint(weight * data.weight_unit)
        super().__init__(plan, data, weight)
        held = self.rows
        self.weight_unit, self.are_copies = told.weight_unit, told.is_counted
        units = RowUnits(
            held.center,
            held.inverse_scale,
            self.y_center,
            self.y_scale,
            self.weight_unit,
            held.fit_intercept,
        )
        asked = Asked(data, told.weights / told.weight_unit, trusting=trusting)
        self.rows = PartitionedRows(held, asked, units)

    def table_sums(self, m_fit, s_fit, limit):
        """As ``TableSums.of``, of the rows of all partitions.

        Raises
        ------
        ValueError
            If a partition does not return sums.
        """
        job = TableJob(self.rows.units, m_fit, s_fit, limit, self.are_copies)
        try:
            return self.rows.asked.sums("table", table, job, TableSums, None)
        except RowsLeftOut:
            wrong = [k for k, r in self.rows.asked.left_out.items() if r == IMPOSSIBLE]
            raise ValueError(f"Partitions {wrong}: {IMPOSSIBLE}.") from None


class PartitionedRows:
    """Rows of all partitions: few are at hand, the others only give sums.

    ``Rows`` have arrays with a value for each row. Instead of these, partitioned rows
    have sums: the Gram matrix for weights, the moments for derivatives.

    Parameters
    ----------
    held : Rows
        The rows at hand, in the order of the partitions.
    asked : Asked
    units : RowUnits

    Attributes
    ----------
    outlying : list of int
        Partitions nearly all of whose rows the S step rejects.
    """

    is_at_hand = False

    def __init__(self, held, asked, units):
        self.held, self.asked, self.units = held, asked, units
        self.X, self.partitions = held.X, asked.data.partitions
        self.scanned, self.sampled, self.outlying = None, None, []
        self.center, self.inverse_scale = held.center, held.inverse_scale
        self.fit_intercept, self.n_parameters = held.fit_intercept, held.n_parameters

    @property
    def total(self):
        """Return the total weight."""
        return self.asked.total

    @property
    def n_used(self):
        """Number of rows with a weight."""
        return self.asked.n_used

    def are_all(self, few):
        """Whether all rows are at hand."""
        return self.asked.data.is_complete

    @property
    def at_hand(self):
        """Return the rows at hand of partitions that are not left out."""
        rows, held = self.asked.rows, self.held
        return held if len(rows) == held.n_rows else held.take(rows, held.weight[rows])

    @property
    def sample(self):
        """Return the rows of the S step: those at hand, and more of rare features."""
        n_left_out = len(self.asked.left_out)
        if self.sampled is None or self.sampled[0] != n_left_out:
            self.sampled = n_left_out, self._sample()
        return self.sampled[1]

    def _sample(self):
        most = max(N_S_ROWS, ROWS_PER_PARAMETER * self.n_parameters)
        rows = sample(self.at_hand, most)
        if self.asked.data.is_complete:
            return rows
        columns = np.flatnonzero(rows.present_share * rows.total < N_PRESENT)
        if len(columns) == 0:
            return rows
        job = RareJob(
            self.units, columns, self.asked.data.draws, len(self.asked.weight_of_each)
        )
        of_each = self.partitions.run("rare", rare, job)
        of_each = [
            told
            for told, weight in zip(of_each, self.asked.weight_of_each, strict=True)
            if weight > 0 and told is not None
        ]
        X = stacked([rows.X, *(told.X for told in of_each if len(told.y))])
        y = np.concatenate([rows.y, *(told.y for told in of_each)])
        weight = np.append(rows.weight, np.zeros(len(y) - rows.n_rows))
        more = replace(rows, X=X.astype(np.float64), y=y, weight=weight)
        total = np.sum([told.weight for told in of_each], axis=0)
        share_rare_weight(more, columns, total * rows.total / self.total)
        return more.take(np.flatnonzero(more.weight), more.weight[more.weight > 0])

    def at(self, b, basis=None):
        """Return the place of coefficients."""
        return PartitionedPlace(self, b, basis)

    def gram(self, values, basis=None):
        """Return the Gram matrix that partitions have sent."""
        return values.copy()

    def moments(self, values):
        """Return the moments that partitions have sent."""
        return values

    def plain_gram(self, basis):
        """Return the Gram matrix of all rows times a basis."""
        b = np.zeros(self.n_parameters)
        return self.at(b, basis).pull_of_fitted(np.inf).kept

    def review(self, few, b, scale):
        """Leave out partitions whose residuals depend on the fitted values.

        Raises
        ------
        RowsLeftOut
            If there are such partitions.
        """
        scales = scale * np.exp(SCALE_STEP * np.arange(-N_SCALES, N_SCALES + 1))
        of_each = self._scan(b, scales, directions(few, b, scale))
        weight = self.asked.weight_of_each
        size, slope, loss, judged = np.zeros((4, len(weight)))
        for k, told in enumerate(of_each):
            if told is not None:
                size[k] = abs(told.correlation) * np.sqrt(max(0, told.n_judged - 1))
                slope[k], loss[k] = told.slope, told.losses[N_SCALES] / weight[k]
                judged[k] = weight[k] * (told.n_judged > MANY)
        if not self.asked.trusting:
            typical = 0.0
            if judged.any():
                typical = float(weighted_median(size[judged > 0], judged[judged > 0]))
            is_wrong = size > max(DEPENDENT, MORE_THAN_TYPICAL * typical)
            is_wrong &= np.abs(slope) > HALF
            reasons = dict.fromkeys(np.flatnonzero(is_wrong).tolist(), DEPENDENTLY)
            equal = [
                k
                for k, told in enumerate(of_each)
                if told is not None and told.n_equal > MANY
            ]
            if weight[equal].sum() < self.total / 2:
                reasons |= dict.fromkeys(equal, CONSTANT)
            self.asked.leave_out(reasons)
        self.outlying = np.flatnonzero(loss > OUTLYING).tolist()

    def _scan_at_hand(self, job):
        """Scan partitions all of whose rows are at hand."""
        of_each, rows = [None] * len(self.asked.weight_of_each), self.at_hand
        for k in np.unique(self.asked.part):
            own = np.flatnonzero(self.asked.part == k)
            of_each[k] = scanned(rows.take(own, rows.weight[own]), job)
        return of_each

    def _scan(self, b, scales, directions):
        """Ask partitions for sums of the bisquare at several scales of the S step."""
        job = ScanJob(self.units, b, S_CONSTANT * scales, directions)
        if self.asked.data.is_complete:
            return self._scan_at_hand(job)
        of_each = list(self.partitions.run("scan", scan, job))
        place = self.at_hand.at(b)
        left = 1 - np.minimum(np.square(place.residual / job.thresholds[N_SCALES]), 1)
        losses_of_rows = 1 - left[:, np.newaxis] ** 3
        expected, tolerance = self.asked.expected(losses_of_rows, self.at_hand.weight)
        reasons = {}
        for k, told in enumerate(of_each):
            weight = self.asked.weight_of_each[k]
            if weight == 0:
                of_each[k] = None
                continue
            own = getattr(told, "losses", None)
            if not (
                np.shape(own) == np.shape(scales)
                and np.all(np.isfinite(own))
                and np.all((own >= 0) & (own <= weight * (1 + ROUNDING)))
                and np.all(np.diff(own) <= ROUNDING * weight)
            ):
                reasons[k] = IMPOSSIBLE
            elif abs(own[N_SCALES] / weight - expected[k, 0]) > tolerance[k, 0]:
                reasons[k] = CONTRADICTING
        self.asked.leave_out(self.asked.believed(reasons))
        losses = [told.losses for told in of_each if told is not None]
        self.scanned = b, scales, np.sum(losses, axis=0)
        return of_each

    def sums(self, job):
        """Ask partitions for sums.

        Raises
        ------
        RowsLeftOut
            If some are left out for the first time.
        """

        def rows_of():
            place = self.at_hand.at(job.b)
            values = row_statistics(place, asked_of(place, job), job)
            return values, self.at_hand.weight

        return self.asked.sums("sums", add_up, job, Sums, rows_of)


def directions(rows, b, scale):
    """Return directions in which the rows that a fit keeps are standard normal."""
    kept = rows.at(b).pull(S_CONSTANT * scale).kept
    values, vectors = np.linalg.eigh(rows.gram(kept) / max(kept.sum(), 1e-300))
    used = values > LACKING * values[-1]
    return vectors[:, used] / np.sqrt(values[used])


@dataclass(eq=False)
class PartitionedPlace:
    """The rows of partitions at coefficients."""

    rows: PartitionedRows
    b: np.ndarray
    basis: np.ndarray | None
    asked: Any = None

    def along(self, step):
        """Return the way from here along a step."""
        return PartitionedWay(self, step)

    def m_scale(self, target, start, floor):
        """Return the M-scale of the residuals."""
        rows, around = self.rows, start
        for _ in range(MOST_SCANS):
            if rows.scanned is None or rows.scanned[0] is not self.b:
                scales = around * np.exp(
                    SCALE_STEP * np.arange(-N_SCALES, N_SCALES + 1)
                )
                rows._scan(self.b, scales, np.zeros((len(self.b), 1)))
            _, scales, losses = rows.scanned
            rows.scanned = None
            # A larger scale has a smaller loss.
            if losses[-1] > target:
                around = scales[-1]
            elif losses[0] < target:
                around = scales[0]
            else:
                return max(floor, interpolated(scales, losses, target))
            if around <= floor:
                return floor
        return float(around)

    def loss(self, threshold):
        """Return the sum of the bisquare of the residuals."""
        job = SumsJob(self.rows.units, self.b, threshold, True, self.basis)
        self.asked = self.rows.sums(job)
        return self.asked.loss

    def pull(self, threshold):
        """Return the sums of a step on the bisquare, after ``loss``."""
        return _as_pull(self.asked)

    def pull_of_fitted(self, tolerance):
        """Return the sums of least squares of the rows with smaller residuals."""
        job = SumsJob(self.rows.units, self.b, tolerance, False, self.basis)
        return _as_pull(self.rows.sums(job))


def _as_pull(sums):
    return Pull(
        unpacked(sums.kept),
        unpacked(sums.curvature),
        sums.pull,
        sums.squares,
        sums.rejected,
    )


@dataclass(frozen=True, eq=False)
class PartitionedWay:
    """A step, and the sums of the partitions along it."""

    start: PartitionedPlace
    step: np.ndarray

    def at(self, length):
        """Return the place after so many times the step."""
        start = self.start
        return PartitionedPlace(start.rows, start.b + length * self.step, start.basis)

    def square(self, kept):
        """Return the weighted sum of squares of the changes of fitted values."""
        step, basis = self.step, self.start.basis
        if basis is not None:
            step, *_ = np.linalg.lstsq(basis, step)
        return max(0.0, float(step @ kept @ step))


def interpolated(scales, losses, target):
    """Return the scale at which a sum of the bisquare is the target."""
    after = int(np.argmax(losses <= target))
    first = np.clip(after - N_POINTS // 2, 0, len(scales) - N_POINTS)
    near = slice(first, first + N_POINTS)
    if np.any(np.diff(losses[near]) >= 0):
        return float(np.exp(np.interp(-target, -losses, np.log(scales))))
    return float(np.exp(KroghInterpolator(losses[near], np.log(scales[near]))(target)))
