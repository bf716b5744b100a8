"""The exact second stage of a regressor: candidates, S step, M step.

The result is an MM-estimator: the S step finds the fit whose residuals have the least
M-scale, which breaks down at half of the data; the M step regains the efficiency of the
mean at that scale (V. Yohai, "High Breakdown-Point and High Efficiency Robust Estimates
for Regression", Annals of Statistics 1987). Each pass of a step reweights the rows
and solves a least-squares problem, or takes Newton's step where that is possible. The S
step begins at few good candidates instead of many random ones (M. Salibian-Barrera,
V. Yohai, "A Fast Algorithm for S-Regression Estimates", JCGS 2006).

The module does not depend on an estimator: a refinement has ``Rows`` and a ``Penalty``.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import lapack

from medsgd._fit.scales import NORMAL_MEDIAN, shrinkage_factor, weighted_median
from medsgd._refinement import candidates as candidate
from medsgd._refinement.bisquare import (
    BREAKDOWN,
    M_CONSTANT,
    ROUGH,
    S_CONSTANT,
    m_scale,
    m_scales,
)
from medsgd._refinement.least_squares import (
    COLLINEAR,
    TINY,
    Basis,
    Cholesky,
    GramDescent,
    QuasiNewton,
    RowDescent,
)
from medsgd._refinement.rows import DenseRows, RowsLeftOut
from medsgd._refinement.samples import leverage_weights, sample

FIRST_STAGE, LAST_STAGE = "S step", "M step"
# Rows that the S step sees, and rows of which candidates are computed: the larger of a
# number and of so many a parameter.
N_S_ROWS = 10_000
N_CANDIDATE_ROWS = 800
ROWS_PER_PARAMETER = 10
# If many parameters are more than this share of the rows, a factor corrects the scale
# of the S step, whose residuals are smaller than those of other rows.
LARGEST_SHARE = 0.2
# Iterations of the candidates in each round, and the numbers of candidates that are
# then kept: the best by their scale, and the best by the scale in which rows count by
# their leverage.
STEPS = ((0, (30, 15)), (2, (15, 8)), (8, (4, 3)))
# Fitted values of two candidates in one basin differ by less than this, in scales. The
# second number is for a sample, whose basins vary by chance.
SAME, SAME_IN_SAMPLE = 0.05, 0.1
# After so many steps candidates of one basin are near to each other, and earlier with
# so many rows a parameter. So few candidates are then compared only after they have
# converged.
SETTLING, MANY_ROWS, FEW_CANDIDATES = 8, 20, 3
# A candidate whose leverage-weighted scale is so much larger than the least one has
# followed coherent leverage, if rows of little leverage are this many a parameter.
TRUST = 1.25
ENOUGH = 10.0
# Newton's steps begin where a step moves fitted values by less, in scales.
NEAR = 0.3
# A step of reweighting that lowers the scale is doubled, at most so often: near the
# solution of an S step, reweighting approaches it slowly.
N_DOUBLED = 4
# An inexact step that raises the objective is quartered, at most so often.
N_QUARTERED = 20
# A descent ends where a step moves fitted values by less, in standard errors.
TOLERANCE = 3e-6
# The same for Newton's steps of an S step, whose scale is accurate to the square.
S_TOLERANCE = 3e-4
# The same if each step is a round over partitions. The rest after a Newton step is far
# less than its bound.
FEW_ROUNDS_TOLERANCE = 1e-4
# Candidates are compared where a step moves fitted values by less, in scales.
LOOSE = 0.005
# Relative difference of scales that descents to a loose tolerance leave.
ROUNDED = 1e-4
# Rounds in which the coefficients of lost features are found again.
MOST_RECOVERIES = 3
# Parameters up to which a Gram matrix is the metric of the steps.
MOST_GRAM = 2000
# Passes after which a descent has not converged.
MOST_PASSES = 500
# Scales and residuals of so many roundings of the data are 0.
EXACT = 8.0


@dataclass(frozen=True, eq=False)
class Penalty:
    """Penalty of coefficients, in the units of the rows: quadratic, and absolute.

    Attributes
    ----------
    unit : ndarray of shape (n_features,)
        The penalty is of the coefficients times these.
    l2, l1 : float
        Factors of half the sum of squares, and of the sum of absolute values.
    """

    unit: np.ndarray
    l2: float = 0.0
    l1: float = 0.0

    def quadratic(self, fit_intercept):
        """Return the factor of half the square of each parameter."""
        return np.append(np.zeros(fit_intercept), self.l2 * self.unit**2)

    def value(self, features):
        """Return the penalty of the features' coefficients."""
        if not (self.l2 or self.l1):
            return 0.0
        scaled = features * self.unit
        return self.l2 / 2 * scaled @ scaled + self.l1 * np.abs(scaled).sum()


@dataclass(frozen=True, eq=False)
class Pass:
    """Result of one pass.

    Attributes
    ----------
    stage : str
    b : ndarray of shape (n_parameters,)
    scale : float
    objective : float
        Scale of the residuals in the S step; in the M step, mean bisquare loss plus the
        penalty.
    rejected : float
        Share of the weight whose residuals are beyond the threshold.
    is_last : bool
        Whether the stage has ended.
    converged : bool
    """

    stage: str
    b: np.ndarray
    scale: float
    objective: float
    rejected: float
    is_last: bool = False
    converged: bool = False


class Objective:
    """Objective of a step, as a function of residuals and coefficients.

    Parameters
    ----------
    rows : Rows
    penalty : Penalty
    target : float
        Of ``m_scale``.
    floor : float
        Least scale.
    """

    def __init__(self, rows, penalty, target, floor):
        self.rows, self.penalty = rows, penalty
        self.target, self.floor = target, floor

    def _penalty(self, b):
        return self.penalty.value(b[self.rows.fit_intercept :])


class SObjective(Objective):
    """Half the squared M-scale of the residuals, plus the penalty.

    The M-scale takes the place of the root of the mean square of ridge regression, as
    in R. Maronna, "Robust Ridge Regression for High-Dimensional Data", Technometrics
    2011.
    """

    stage, constant, n_doubled = FIRST_STAGE, S_CONSTANT, N_DOUBLED
    tolerance = S_TOLERANCE

    def evaluate(self, place, scale):
        """Return the objective and the scale, from a first guess of it."""
        scale = place.m_scale(self.target, scale, self.floor)
        return scale * scale / 2 + self._penalty(place.b), scale

    def statistic(self, value, scale):
        """Return the value of the curve."""
        return scale

    def share(self, squares, scale):
        """Return the factor of the penalty in the equations of a pass."""
        return squares / (scale * scale)


class MObjective(Objective):
    """Mean bisquare loss at a fixed scale, plus the penalty."""

    # The loss is bounded: a longer step could lead to where most rows are rejected.
    stage, constant, n_doubled = LAST_STAGE, M_CONSTANT, 0
    tolerance = TOLERANCE

    def evaluate(self, place, scale):
        """Return the objective and the scale."""
        threshold = self.constant * scale
        loss = place.loss(threshold) / self.rows.total
        return threshold * threshold / 6 * loss + self._penalty(place.b), scale

    def statistic(self, value, scale):
        """Return the value of the curve."""
        return value

    def share(self, squares, scale):
        """Return the factor of the penalty in the equations of a pass."""
        return self.rows.total


def descend(objective, solver, b, scale, *, tolerance=None):
    """Lower an objective pass by pass until steps are small.

    Parameters
    ----------
    objective : Objective
    solver : object
        See ``least_squares``.
    b : ndarray of shape (n_parameters,)
    scale : float
    tolerance : float or None
        How many scales the last step may move fitted values; by default a small part
        of a standard error.

    Yields
    ------
    progress : Pass
    place : Place
    """
    rows, constant = objective.rows, objective.constant
    # A standard error of fitted values, in scales.
    error = np.sqrt(rows.n_parameters / rows.total)
    here = rows.at(b, solver.basis)
    value, scale = objective.evaluate(here, scale)
    newton, n_passes, size = True, 0, TINY
    solver.begin()
    while True:
        asked = here.pull(constant * scale)
        kept, b = asked.kept, here.b
        step, share = None, objective.share(asked.squares, scale)
        if newton:
            step = solver.step(
                rows, asked.curvature, asked.pull, b, share=share, convex=False
            )
        newton = step is not None
        if not newton:
            step = solver.step(rows, kept, asked.pull, b, share=share, convex=True)
        way, length = here.along(step), 1.0
        # Rejected rows may be far out: rounding there is no step.
        change = np.sqrt(way.square(kept) / rows.total)
        there, new = way.at(length), (value, scale)
        # After other steps the rest of the way is longer than the last one.
        limit = error * (objective.tolerance if newton else TOLERANCE)
        limit = tolerance or limit
        is_asked = newton and not rows.is_at_hand
        if is_asked:
            limit = error * FEW_ROUNDS_TOLERANCE
        # A last Newton step of rows elsewhere is not evaluated, to save a round.
        if not (is_asked and _left(change / scale, size) <= limit):
            new = objective.evaluate(there, scale)
        if newton and not new[0] <= value * (1 + 1e-12):
            newton = False
            continue
        if not new[0] <= value * (1 + 1e-12):
            for _ in range(N_QUARTERED):
                length /= 4
                there = way.at(length)
                new = objective.evaluate(there, scale)
                if new[0] <= value * (1 + 1e-12):
                    break
        for _ in range(0 if newton else objective.n_doubled):
            farther = way.at(2 * length)
            other = objective.evaluate(farther, new[1])
            if not other[0] < new[0]:
                break
            length, there, new = 2 * length, farther, other
        here, (value, scale) = there, new
        n_passes += 1
        before, size = size, length * change / scale
        converged = bool((_left(size, before) if newton else size) <= limit)
        newton = size < NEAR
        is_last = converged or n_passes == MOST_PASSES
        yield (
            Pass(
                objective.stage,
                here.b,
                scale,
                objective.statistic(value, scale),
                asked.rejected / rows.total,
                is_last,
                converged,
            ),
            here,
        )
        if is_last:
            return


def _left(size, before):
    """Return a bound on the rest after a Newton step. Such steps shrink ever faster."""
    return size * min(size, before) / before


def last(passes):
    """Return the last result of a descent."""
    *_, end = passes
    return end


class Refinement:
    """The exact steps over some rows.

    Parameters
    ----------
    rows : Rows
        All rows. Their weights add up to how many rows count. Where they are not at
        hand, the M step asks them for sums.
    penalty : Penalty
    starts : list of ndarray of shape (n_parameters,)
        The solution of the median stage, and any other candidates.
    rounding : float
        Size of residuals that rounding of the data may leave, in units of ``rows.y``.

    Attributes
    ----------
    few : Rows
        The rows that the S step sees.
    is_exact : bool
        Whether more than half of the rows are fitted without an error.
    tolerance : float
        Largest residual of a row that is fitted without an error.
    s_fit : tuple of ndarray of shape (n_parameters,) and float, or None
        Coefficients and scale of the S step, once the M step has begun.
    """

    def __init__(self, rows, penalty, starts, rounding):
        self.rows, self.penalty, self.starts = rows, penalty, starts
        self.floor, self.tolerance = rounding, EXACT * rounding
        self.is_exact, self.s_fit = False, None
        # The rows of a sample have another type.
        self.precision = float(np.finfo(rows.X.dtype).eps)

    def passes(self):
        """Run the steps, and yield each ``Pass`` of the S and the M step."""
        rows = self.rows
        while True:
            try:
                yield from self._passes(rows)
            except RowsLeftOut:
                # The S step has used the rows that are left out, and begins again.
                continue
            return

    def _passes(self, rows):
        size = max(N_S_ROWS, self._wanted(ROWS_PER_PARAMETER))
        few = sample(rows, size) if rows.is_at_hand else rows.sample
        # If the sample has all rows with a weight, the rows of weight 0 are dropped.
        self.rows = few if rows.are_all(few) else rows
        self.few = few
        n_rows = max(N_CANDIDATE_ROWS, self._wanted(ROWS_PER_PARAMETER))
        self.small = sample(few, n_rows, ranked=True)
        self.leverage = leverage_weights(self.small)
        self.is_dense = isinstance(few, DenseRows)
        self._set_solvers()
        b, scale = self._best_candidate(few)

        objective = self._objective(SObjective, few)
        # The scale of a penalised or a wide fit is approached slowly, and need not be
        # exact.
        penalised = self.penalty.l1 or self.penalty.l2
        is_wide = self.rows.n_parameters > MOST_GRAM
        tolerance = LOOSE if penalised or is_wide else None
        for progress, _ in descend(
            objective, self.penalised, b, scale, tolerance=tolerance
        ):
            yield progress
        b, scale = progress.b, progress.scale
        rows.review(few, b, scale)
        if scale <= EXACT * self.floor:
            yield self._exact_fit(b)
            return
        start = b
        if few is not self.rows:
            objective = self._objective(MObjective, few)
            progress, place = last(descend(objective, self.penalised, b, scale))
            start = progress.b
            if isinstance(self.last_solver, QuasiNewton):
                kept = place.pull(M_CONSTANT * scale).kept
                self.last_solver.adapt(few, kept, few.total)
            target = self.target(self.rows)
            scale = self.rows.at(b).m_scale(target, scale, self.floor)
        self.s_fit = b, scale
        scale *= self._few_rows_factor()
        objective = self._objective(MObjective, self.rows)
        for progress, _ in descend(objective, self.last_solver, start, scale):
            if progress.is_last and progress.rejected > BREAKDOWN:
                # The loss is bounded, and a penalty has outweighed it.
                progress = replace(progress, b=start, converged=True)
            if progress.is_last:
                progress = replace(progress, b=self._shortest(progress.b))
            yield progress

    def _wanted(self, per_parameter):
        return per_parameter * self.rows.n_parameters

    def target(self, rows):
        """Return the sum of ``rho`` that defines the scale."""
        return BREAKDOWN * max(rows.total - self.rank, rows.total / 10)

    def _few_rows_factor(self):
        """Return the factor that makes up for a scale which few rows make too small."""
        n_rows = self.rows.total
        if self.rank <= candidate.MOST_OUTER or self.rank <= LARGEST_SHARE * n_rows:
            return 1.0
        return shrinkage_factor(n_rows, self.rank)

    def _objective(self, kind, rows):
        return kind(rows, self.penalty, self.target(rows), self.floor)

    def _set_solvers(self):
        """Set how candidates, and penalised steps, solve for coefficients."""
        rows, penalty = self.small, self.penalty
        l2 = penalty.quadratic(rows.fit_intercept)
        p = rows.n_parameters
        # Weights that bound the influence of a row of leverage on the metric.
        self.bounded = weight = rows.weight * np.cbrt(self.leverage)
        full = p <= MOST_GRAM
        metric = rows.gram(weight) if full else rows.diagonal(weight)
        self._set_rank(metric)
        direct = self.is_dense and p <= candidate.MOST_OUTER
        basis = self.basis and self.basis.vectors
        if direct:
            self.solver = self.penalised = Cholesky(0 * l2, basis)
            if penalty.l2:
                self.penalised = Cholesky(l2)
        else:
            total = weight.sum()
            plain = metric if basis is None else self.basis.gram
            self.solver = self.penalised = QuasiNewton(0 * l2, plain, total, basis)
            if penalty.l2:
                metric = metric + (np.diag(total * l2) if full else total * l2)
                self.penalised = QuasiNewton(l2, metric, total)
        if penalty.l1 > 0:
            kind = GramDescent if full and self.is_dense else RowDescent
            self.penalised = kind(penalty.l2, penalty.l1, penalty.unit)
        self.last_solver = self.penalised
        if isinstance(self.penalised, QuasiNewton) and not self.rows.is_at_hand:
            # To ask for sums takes longer than to add up a Gram matrix.
            self.last_solver = Cholesky(l2, self.penalised.basis)
        self.fits = candidate.Fits(
            rows,
            None if direct else self.solver.precondition,
            candidate.N_ITER if basis is None else candidate.N_ITER_COLLINEAR,
        )

    def _set_rank(self, metric):
        """Set how many parameters the rows determine, and a basis if not all."""
        self.basis = None
        if metric.ndim == 1:
            self.rank = np.count_nonzero(metric)
            return
        used = np.flatnonzero(metric.diagonal() > 0)
        if len(used) == 0:
            self.rank = 0
            return
        root = 1 / np.sqrt(metric.diagonal()[used])
        scaled = metric[used[:, np.newaxis], used] * root * root[:, np.newaxis]
        factor, info = lapack.dpotrf(scaled)
        inverse_condition = 0.0
        if info == 0:
            norm = np.abs(scaled).sum(axis=0).max()
            inverse_condition, _ = lapack.dpocon(factor, norm)
        if inverse_condition <= COLLINEAR:
            self.basis = Basis.of_rows(self.small, self.bounded, self.precision)
        elif len(used) < len(metric):
            self.basis = Basis.of_columns(used, root, scaled, len(metric))
        else:
            self.rank = len(used)
            return
        if self.small is not self.rows:
            self.basis.extend(self.rows, self.bounded.sum() / self.rows.total)
        self.rank = self.basis.vectors.shape[1]

    def _shortest(self, b):
        """Return the shortest equivalent coefficients of collinear columns."""
        if self.basis is None or self.penalty.l2 or self.penalty.l1:
            return b
        null = self.basis.null
        return b - null @ (null.T @ b)

    def _best_candidate(self, few):
        """Return coefficients and scale at which the S step begins."""
        small, fits = self.small, self.fits
        self.same = SAME if few is small else SAME_IN_SAMPLE
        target, weighted = self.target(small), small.weight * self.leverage
        first, *others = (start[np.newaxis] for start in self.starts)
        # With more parameters a short median stage is far from its fixed point.
        is_led = small.n_parameters <= candidate.MOST_SENSITIVE
        # Unlike the medians, a fixed point does not depend on the seed.
        begin = first if is_led else others[-1]
        begin = candidate.near_start(fits, begin, self.bounded)
        begin = candidate.least_absolute(fits, begin, weighted, self.floor)
        b = [*others, begin]
        n_values = small.n_rows * small.n_parameters
        if small.n_parameters <= candidate.MOST_SENSITIVE:
            b.append(candidate.sensitivity(fits, target, self.floor))
            # The squares of all rows may overflow.
            if self.bounded.any():
                b.append(candidate.central(fits, self.bounded))
        if self.is_dense and n_values <= candidate.FEW:
            b.append(candidate.subsets(fits))
        b = np.concatenate(b)
        residual = fits.residuals(b)
        typical = weighted_median(np.abs(residual[0]), small.weight) / NORMAL_MEDIAN
        scale = np.full(len(b), typical)
        # With many parameters for the rows, near candidates may lead to different
        # basins.
        is_plain = self.rank * MANY_ROWS <= small.total
        for n_steps, (n_by_scale, n_by_leverage) in STEPS:
            if is_plain and len(b) <= FEW_CANDIDATES:
                break
            b, residual, scale = candidate.concentrate(
                fits, b, residual, scale, target, self.floor, n_steps
            )
            by_leverage = m_scales(
                residual,
                weighted,
                BREAKDOWN * weighted.sum(),
                scale,
                self.floor,
                tolerance=ROUGH,
            )
            chosen = [
                *np.argsort(scale, kind="stable")[:n_by_scale],
                *np.argsort(by_leverage, kind="stable")[:n_by_leverage],
            ]
            chosen = list(dict.fromkeys(chosen))
            if n_steps >= SETTLING or (n_steps and is_plain):
                chosen = self._distinct(residual, scale, chosen)
            b, residual, scale = b[chosen], residual[chosen], scale[chosen]
        found = self._settled(small, list(zip(b, scale, strict=True)))
        if weighted.sum() >= ENOUGH * self.rank:
            half = BREAKDOWN * weighted.sum()
            by_leverage = [
                m_scale(residual, weighted, half, scale, self.floor)
                for _, scale, residual in found
            ]
            found = [
                fit
                for fit, scale in zip(found, by_leverage, strict=True)
                if scale <= TRUST * min(by_leverage)
            ]
        if few is not small and len(found) > 1:
            found = self._settled(few, [(b, scale) for b, scale, _ in found])
        b, scale, _ = min(found, key=lambda fit: fit[1])
        return b, scale

    def _distinct(self, residual, scale, chosen):
        """Return the best of the chosen candidates in each basin."""
        small, chosen = self.small, sorted(chosen, key=scale.__getitem__)
        # Differences from the best candidate keep their digits for near candidates.
        apart = (residual[chosen] - residual[chosen[0]]) * np.sqrt(small.weight)
        products = apart @ apart.T
        size = products.diagonal()
        gaps = (size + size[:, np.newaxis] - 2 * products) / small.total
        is_near = (gaps <= np.square(self.same * scale[chosen])).T.tolist()
        kept = []
        for k, near in enumerate(is_near):
            if not any(near[j] for j in kept):
                kept.append(k)
        return [chosen[k] for k in kept]

    def _settled(self, rows, fits):
        """Return coefficients, scale and residuals of converged candidates."""
        objective = SObjective(
            rows, Penalty(self.penalty.unit), self.target(rows), self.floor
        )
        settled, rare = [], (rows.present_share < 0.5).any()
        for b, scale in fits:
            best, place = last(
                descend(objective, self.solver, b, scale, tolerance=LOOSE)
            )
            for _ in range(MOST_RECOVERIES if rare else 0):
                kept = place.pull(S_CONSTANT * best.scale).kept
                b = candidate.recovered(rows, place.residual, kept, best.b)
                if b is None:
                    break
                other, there = last(
                    descend(objective, self.solver, b, best.scale, tolerance=LOOSE)
                )
                if other.scale > (1 + ROUNDED) * best.scale:
                    break
                best, place = other, there
            settled.append((best.b, best.scale, place.residual))
        return settled

    def _exact_fit(self, b):
        """Return the least-squares fit of the rows that are not outliers."""
        self.is_exact = True
        rows = self.rows
        for _ in range(2):
            asked = rows.at(b, self.solver.basis).pull_of_fitted(self.tolerance)
            b = b + self.solver.least_squares(rows, asked.kept, asked.pull)
        rejected = rows.at(b).pull_of_fitted(self.tolerance).rejected / rows.total
        return Pass(LAST_STAGE, self._shortest(b), 0.0, 0.0, rejected, True, True)
