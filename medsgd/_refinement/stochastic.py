"""Second stage by stochastic gradients: regain the efficiency of the mean.

The steps take the place of those of an MM-estimator (V. Yohai, "High Breakdown-Point
and High Efficiency Robust Estimates for Regression", Annals of Statistics 1987) where
rows are too few for exact steps, and in stochastic rounds on Dask. The median stage
takes the place of the initial estimate.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from medsgd._core.losses import REGRESSION_LOSSES
from medsgd._fit.plan import OVERSHOOT, UPDATES_NO_CHANGE
from medsgd._fit.scales import (
    residual_scale,
    residuals,
    shrinkage_factor,
    starting_scale,
    weighted_median,
)
from medsgd._fit.stopping import exact_share

BISQUARE = REGRESSION_LOSSES["bisquare"].c_epsilon


@dataclass(frozen=True)
class Step:
    """Epochs on the bisquare loss, until as many updates make no progress.

    Attributes
    ----------
    constant : float
        Scales of the residuals beyond which the loss is constant.
    growth : float
        Upper bound of the scale, over that at the start of the step.
    overshoot : float
        How many times its residual a step may move a sample's own prediction.
    n_updates : int
        Patience in updates. The iterates are averaged over it, because the noise of
        steps cancels within epochs.
    """

    constant: float
    growth: float
    overshoot: float
    n_updates: int


# All numbers are measured. First a tight bisquare finds the majority, as in an
# S-estimator. Then the efficient one fits it, at a scale that may exceed the first's
# only so far: with few samples that is too small, but unbounded it lets outliers in.
TIGHT = Step(2.0, 1.0, 1.0, UPDATES_NO_CHANGE)
EFFICIENT = Step(BISQUARE, 1.6, OVERSHOOT, 100_000)
# With fewer samples for a parameter the tight step would settle on any subset that the
# parameters can fit.
FEWEST_PER_PARAMETER = 5
# Steps shrink as t**-POWER_T after so many time constants of a feature of unit
# variance. Earlier, correlated features would not converge. Later, heavy-tailed
# features would stay noisy.
CONSTANT_STEPS = 12.0
POWER_T = 0.75


def refine(training, data, problem):
    """Run plain SGD on the bisquare loss from the solution of the median stage."""
    found, rows = problem.state, problem.rows
    # A few thousand samples are enough to find the majority.
    few = rows[:: -(-len(rows) // UPDATES_NO_CHANGE)].copy()
    for step, max_epochs in steps(training, data, len(few), training.plan.max_iter):
        problem = problem.next_stage(
            replace(problem.state), rows if step is EFFICIENT else few
        )
        _run_step(step, training, data, problem, max_epochs)
    return finished(problem, found)


def steps(training, data, n_samples, max_epochs):
    """Yield the steps of a refinement, each with its largest number of epochs.

    ``n_samples``: those of the first step; ``max_epochs``: of all stages together.
    """
    first = TIGHT
    n_parameters = data.X.shape[1] + training.plan.fit_intercept
    if n_samples < FEWEST_PER_PARAMETER * n_parameters:
        first = replace(TIGHT, constant=BISQUARE)
    half = (max_epochs - training.n_epochs) // 2
    for step, most in ((first, half), (EFFICIENT, np.inf)):
        left = min(most, max_epochs - training.n_epochs)
        if left > 0 and not training.interrupted:
            yield step, left


def finished(problem, found):
    """Return the problem with its state after a refinement that began at ``found``.

    partial_fit continues from what the medians have tracked.
    """
    if problem.state is not found:
        problem.state = replace(
            at_solution(found, problem.state),
            residual_scale=problem.state.residual_scale,
        )
    return problem


def at_solution(state, solved):
    """Return a state at the solution of another one, with no average."""
    return moved(state, *solved.solution())


def moved(state, coef, intercept, **changes):
    """Return a state with other coefficients, with no average."""
    with np.errstate(over="ignore"):  # the end of a fit looks for infinite ones
        coef = coef.astype(state.dtype)
    return replace(
        state,
        coef=coef,
        intercept=intercept,
        sums=None,
        sum_scale=0.0,
        n_averaged=0.0,
        **changes,
    )


def _run_step(step, training, data, problem, max_epochs):
    """Set the problem to the step and run its epochs."""
    rows = problem.training_rows()
    y, weight = data.y[rows].astype(np.float64), data.weight[rows]
    state = at_solution(problem.state, problem.state)
    # For all of X: rows in shuffled order would be a copy.
    prediction = data.units.predict(data.X, state.coef, state.intercept)[rows]
    scale = residual_scale(residuals(y, prediction), weight)

    settings, first = step_settings(step, training.plan, data, len(rows), scale)
    problem.state = replace(state, residual_scale=scale, t=first).prepared(
        settings,
        n_strata=1,
        inverse_scale=data.units.inverse_scale if sparse.issparse(data.X) else None,
    )
    losses, _ = settings.evaluate(y, prediction, scale)
    objective = problem.median_objective(settings, losses)
    problem.rule = training.plan.stopping_rule(
        len(rows),
        settings,
        step.n_updates,
        best=problem.statistic(settings, objective),
        **rule_of_fit(y, weight, data.X.dtype),
    )
    training.run([problem], settings, max_epochs, adaptive=False)
    if settings.l1_ratio > 0:
        problem.state.keep_zeros()


def rule_of_fit(y, weight, dtype):
    """Return the parameters by which a stopping rule recognises an exact fit."""
    exact = exact_share(dtype)
    spread = starting_scale(residuals(y, weighted_median(y, weight)), weight)
    floor = exact * spread * spread  # infinite where ** would raise
    return {"relative": True, "exact": exact, "floor": floor}


def step_settings(step, plan, data, n_samples, scale, **changes):
    """Return a step's settings at a scale, and its first iteration's number."""
    eta0 = plan.first_eta(data.units)
    first = float(np.ceil(CONSTANT_STEPS / eta0))
    settings = plan.settings(
        data,
        loss=REGRESSION_LOSSES["bisquare"],
        epsilon=None,
        c_epsilon=step.constant * small_sample_factor(plan, data, n_samples),
        largest_residual_scale=step.growth * scale,
        overshoot=step.overshoot,
        leverage_limit=np.inf,
        gradient_estimator="mean",
        n_gradients=1,
        batch_size=1,
        tau=np.inf,
        momentum=0.0,
        learning_rate="invscaling",
        eta0=eta0 * first**POWER_T,
        power_t=POWER_T,
        average=1.0,
        **changes,
    )
    return settings, first


def small_sample_factor(plan, data, n_samples):
    """Return the factor that makes up for residuals that the fit has shrunk."""
    return shrinkage_factor(n_samples, data.X.shape[1] + plan.fit_intercept)
