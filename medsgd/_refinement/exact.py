"""The exact second stage of one fit: from data and units to rows, and back."""

from functools import partial

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from medsgd._fit.scales import residuals, starting_scale, weighted_median
from medsgd._fit.units import centered_units, feature_units
from medsgd._refinement.candidates import MOST_OUTER
from medsgd._refinement.inference import TableSums
from medsgd._refinement.regression import (
    FIRST_STAGE,
    LAST_STAGE,
    MOST_GRAM,
    MOST_PASSES,
    N_S_ROWS,
    Penalty,
    Refinement,
)
from medsgd._refinement.rows import LARGEST, DenseRows, SparseRows, drawn, ranks
from medsgd._refinement.stochastic import moved
from medsgd._utils.guards import warn_user

# With fewer rows for each parameter the scale of the residuals is too small. With an L1
# penalty on many parameters the bound is higher, because the M step would take hundreds
# of passes.
FEWEST_ROWS, FEWEST_ROWS_OF_L1 = 2, 5
# Updates of the median stage where it is one of many candidates, and the epochs it may
# take for them.
UPDATES, MOST_EPOCHS = 1_000, 4
# Rows that set the units of few features.
N_UNIT_ROWS = 1_000
# A sparse X with more values than this becomes dense in blocks.
DENSE = 0.1
# Weights up to which sums of counts are exact.
LARGEST_COUNT = 2**31


def counts_of(weight):
    """Return weights that add up to the number of rows that they count as.

    Whole numbers count copies of a row; other weights only compare the rows.
    """
    weight = weight.astype(np.float64)
    if weight.max() < LARGEST_COUNT and np.all(weight == np.floor(weight)):
        return weight
    weight = weight / weight.max()
    # Without zeros, so that rounding does not depend on rows that do not count.
    used = weight[weight > 0]
    return weight * (len(used) / used.sum())


def fewest_rows(plan, n_features):
    """Return with how many rows at least a refinement solves for its steps."""
    n_parameters = n_features + plan.fit_intercept
    is_slow = plan.penalty in ("l1", "elasticnet") and n_parameters > MOST_OUTER
    return (FEWEST_ROWS_OF_L1 if is_slow else FEWEST_ROWS) * n_parameters


def is_exact(plan, data, n_rows):
    """Whether rows are so many that a refinement solves for its steps."""
    return plan.refines and n_rows >= fewest_rows(plan, data.X.shape[1])


def few_rows(X, y, weight):
    """Return weights of few rows that represent all rows, in any order."""
    n_rows = np.count_nonzero(weight)
    if n_rows <= N_UNIT_ROWS:
        return weight
    # The order decides as little as which rows the S step sees.
    order = ranks(X, y) if n_rows <= N_S_ROWS else np.arange(len(y))
    return drawn(weight, N_UNIT_ROWS, order)


def is_blockwise(X):
    """Whether the exact steps see X as dense."""
    if not sparse.issparse(X):
        return True
    n_values = X.shape[0] * X.shape[1]
    return X.shape[1] < MOST_OUTER or (
        X.shape[1] < MOST_GRAM and X.nnz > DENSE * n_values
    )


def refine(training, data, problem, start, weight):
    """Go on with the steps of an MM-estimator from where the medians have led.

    Parameters
    ----------
    training : Training
    data : Data
    problem : Problem
        At the solution of the median stage.
    start : State
        The start of the median stage: a further candidate.
    weight : ndarray of shape (n_samples,)
        As the user gave them, 0 for rows that are held out.

    Returns
    -------
    stage : ExactStage
    refinement : Refinement
    progress : Pass or None
        The last one; None if ``max_iter`` has left none.
    """
    return run(training, ExactStage(training.plan, data, weight), problem, start)


def run(training, stage, problem, start):
    """As ``refine``, with the rows of a stage."""
    plan = training.plan
    refinement = stage.refinement(
        stage.units.to_user(*solution)
        for solution in (problem.state.solution(), start.solution())
    )
    passes, name, progress = refinement.passes(), None, None
    training.converged = False
    for _ in range(plan.max_iter - training.n_epochs):
        if training.interrupted:
            break
        with training.epoch([problem]):
            progress = next(passes)
            if progress.stage != name and name == LAST_STAGE:
                # Some of the rows have been left out, and the S step runs again.
                problem.stage_starts.pop()
            elif progress.stage != name:
                problem.stage_starts.append(len(problem.curve))
            name = progress.stage
            stage.take(problem, progress)
            if plan.verbose:
                training.report_pass(problem, progress)
        if progress.is_last and name == LAST_STAGE:
            training.converged = True
            if not progress.converged:
                warn_user(
                    f"The M step has not converged in {MOST_PASSES} passes. Features "
                    "that are nearly collinear may be the reason: leave some out, or "
                    "set alpha.",
                    ConvergenceWarning,
                )
            break
    problem.tolerance = stage.y_scale * refinement.tolerance
    if refinement.is_exact:
        warn_user(
            f"{1 - progress.rejected:.0%} of the targets are fitted without an error, "
            "so that scale_ is 0 and outliers_ marks all other rows. If the other rows "
            "are not wrong, fit two models: a classifier of the two kinds of rows, and "
            "a regressor of the other rows.",
        )
    return stage, refinement, progress


class ExactStage:
    """The refinement of one regression, in the units of the user.

    Parameters
    ----------
    plan : Plan
    data : Data
        The penalty is in their units.
    weight : ndarray of shape (n_samples,)
        As the user gave them, 0 for rows that are held out.

    Attributes
    ----------
    weight_unit : float
        The weight that counts as one row.
    """

    def __init__(self, plan, data, weight):
        counts = counts_of(weight)
        first = np.argmax(counts)
        self.weight_unit = float(weight[first] / counts[first])
        self.units = units = data.units
        X, fit_intercept = data.X, plan.fit_intercept
        used = np.flatnonzero(counts)
        y = data.y.astype(np.float64)
        self.y_center = 0.0
        if fit_intercept:
            self.y_center = float(weighted_median(y[used], counts[used]))
        deviation = residuals(y, self.y_center)
        spread = starting_scale(deviation[used], counts[used])
        self.y_scale = spread or abs(self.y_center) or 1.0
        target = standardised_targets(y, self.y_center, self.y_scale)
        center, inverse_scale = _numerical_units(plan, X, counts, units)
        kind = DenseRows if is_blockwise(X) else SparseRows
        first = int(fit_intercept)
        self.rows = kind(X, target, counts, center, inverse_scale, first)
        self.penalty = penalty_of(plan, units, inverse_scale, self.y_scale)
        # Rounding of the targets, and of sums over features.
        size = max(1.0, abs(self.y_center) / self.y_scale)
        size *= max(2.0, np.sqrt(X.shape[1]))
        self.rounding = float(np.finfo(X.dtype).eps) * size

    def refinement(self, solutions):
        """Return the steps from solutions in the user's units."""
        starts = [self.from_user(*solution) for solution in solutions]
        return Refinement(self.rows, self.penalty, starts, self.rounding)

    def from_user(self, coef, intercept):
        """Return the parameters that are these coefficients and intercept."""
        rows = self.rows
        coef = np.asarray(coef, dtype=np.float64)
        # In units of tiny targets a warm start may be out of range, and is left out.
        with np.errstate(over="ignore", invalid="ignore"):
            features = coef / rows.inverse_scale / self.y_scale
            first = (intercept - self.y_center + coef @ rows.center) / self.y_scale
        b = np.append(first, features) if rows.fit_intercept else features
        return np.nan_to_num(np.clip(b, -LARGEST, LARGEST), nan=0.0)

    def to_user(self, b):
        """Return coefficients and intercept in the user's units."""
        return to_user(b, self.rows, self.y_center, self.y_scale)

    def directions_to_user(self, columns):
        """Return ``columns`` of changes of the parameters in the user's units.

        The change of the intercept comes first, if there is one.
        """
        rows, first = self.rows, self.rows.fit_intercept
        changes = self.y_scale * columns
        changes[first:] = (rows.inverse_scale * changes[first:].T).T
        if first:
            changes[0] -= rows.center @ changes[1:]
        return changes

    def s_fit(self, refinement):
        """Return coefficients, intercept and scale of the S step, or None."""
        if refinement.s_fit is None:
            return None
        b, scale = refinement.s_fit
        coef, intercept = self.to_user(b)
        return coef, float(intercept), scale * self.y_scale

    def table_sums(self, m_fit, s_fit, limit):
        """As ``TableSums.of``, of the rows."""
        counts = self.rows.weight
        are_copies = bool(np.all(counts == np.floor(counts)))
        return TableSums.of(self.rows, m_fit, s_fit, limit, are_copies=are_copies)

    def take(self, problem, progress):
        """Bring a problem's state and curves up to date with a pass."""
        coef, intercept = self.units.from_user(*self.to_user(progress.b))
        problem.state = moved(
            problem.state,
            coef,
            float(intercept),
            residual_scale=progress.scale * self.y_scale,
        )
        unit = self.y_scale if progress.stage == FIRST_STAGE else self.y_scale**2
        problem.objective = progress.objective * unit
        problem.curve.append(problem.objective)
        problem.clip_curve.append(progress.rejected)


def standardised_targets(y, center, scale):
    """Return targets in units of their spread."""
    with np.errstate(over="ignore"):
        return np.clip(
            residuals(y.astype(np.float64), center) / scale, -LARGEST, LARGEST
        )


def penalty_of(plan, units, inverse_scale, y_scale):
    """Return a plan's penalty of coefficients of rows and targets so standardised."""
    unit = inverse_scale
    if units.applied:
        unit = inverse_scale / units.inverse_scale
    unit = np.minimum(unit, LARGEST)
    l2 = (1 - plan.l1_ratio) * plan.exact_alpha
    l1 = plan.l1_ratio * plan.exact_alpha / y_scale
    return Penalty(unit, min(l2, LARGEST), min(l1, LARGEST))


def to_user(b, rows, y_center, y_scale):
    """Return coefficients and intercept in the user's units.

    ``rows``: an object with the ``center``, the ``inverse_scale`` and the
    ``fit_intercept`` of ``Rows``.
    """
    coef = b[rows.fit_intercept :] * rows.inverse_scale * y_scale
    if not rows.fit_intercept:
        return coef, 0.0
    return coef, b[0] * y_scale + y_center - coef @ rows.center


def _numerical_units(plan, X, counts, units):
    """Return centre and inverse scale in which the least squares are solved."""
    fit_intercept = plan.fit_intercept
    if not units.known:
        units = feature_units(
            X,
            counts,
            standardize=True,
            needed=True,
            centered=fit_intercept,
            reach=plan.task.scale_reach,
        )
    if fit_intercept:
        of_dense = partial(feature_units, standardize=True, needed=True, centered=True)
        units = centered_units(units, X, counts, of_dense)
    center = units.center.astype(np.float64)
    inverse_scale = units.inverse_scale.astype(np.float64)
    return center, inverse_scale
