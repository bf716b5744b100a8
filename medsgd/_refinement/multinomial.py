"""The second stage of one classification: from its problems to one model, and back."""

from dataclasses import replace

import numpy as np

from medsgd._fit.stopping import StoppingRule, exact_share
from medsgd._refinement import classification
from medsgd._refinement.class_rows import Rows
from medsgd._refinement.class_stream import ClassStream, shrinkage
from medsgd._refinement.classification import Model

# Iterations without progress of the held-out loss that "auto" means.
PATIENCE = 5


def refine(training, data, problems):
    """Go on with one multinomial model from where the medians of each class have led.

    Returns
    -------
    n_lead : int
        Epochs before this stage.
    judged : tuple of two ndarray of shape (n_samples,), or None
        The weight of each row in the model, and whether the model rejects the row. None
        where nothing is left of the epochs.
    stream : ClassStream or None
        The stream that continues from this model.
    """
    plan = training.plan
    n_lead = level(problems)
    if training.interrupted or plan.max_iter == training.n_epochs:
        return n_lead, None, None
    label = np.searchsorted(plan.task.classes, data.y)
    weight = data.weight * plan.task.factors(data.y)[label]
    training_weight = data.training_weight(weight)
    rows = Rows(
        data.X,
        label,
        training_weight,
        plan.refined_units(data.X, training_weight, data.units),
        leverage_weights=plan.leverage_weights,
        seeks_groups=True,
    )
    rule = None
    if data.held_out is not None:
        patience = plan.n_iter_no_change
        rule = StoppingRule(
            plan.tol,
            PATIENCE if patience == "auto" else patience,
            relative=True,
            exact=exact_share(data.X.dtype),
        )

    def watch(model, objective, told):
        if rule is not None:
            held_out = data.held_out
            objective = np.average(told.losses[held_out], weights=weight[held_out])
        if plan.verbose:
            for problem in problems:
                problem.losses[:] = told.losses
        interrupted = note(training, data.units, problems, rows, model, objective, told)
        return interrupted or (rule is not None and rule.stalled(objective))

    refined = minimise(training, data.units, problems, rows, watch)
    own = replace(data, units=rows.units)
    stream = ClassStream.after(plan, own, rows.weight, refined)
    if stream is not None:
        stream = stream.having_seen(data.units)
    return n_lead, rows.judge(refined.model), stream


def level(problems):
    """Make curves of different lengths equally long, and return the length."""
    n_lead = max(len(problem.curve) for problem in problems)
    for problem in problems:
        for curve in (problem.curve, problem.clip_curve):
            curve += curve[-1:] * (n_lead - len(curve))
    return n_lead


def note(training, units, problems, rows, model, objective, told):
    """Note an iteration, and return whether a callback has asked to stop."""
    if training.callbacks or training.plan.verbose:
        _adopt(model, rows.at_hand.units, problems, units)
    rejected = rows.rejected(told)
    for problem in problems:
        problem.curve.append(float(objective))
        problem.clip_curve.append(rejected)
        problem.n_iterations += 1
        problem.objective = objective
    return training.note_iteration(problems)


def minimise(training, units, problems, rows, watch):
    """Bring problems to the multinomial model of rows, and return it, ``Refined``.

    ``units``: those of the problems.
    """
    plan, own_units = training.plan, rows.at_hand.units
    starts = (problem.state.solution() for problem in problems)
    starts = (_converted(*start, units, own_units) for start in starts)
    coef, intercept = zip(*starts, strict=True)
    refined = classification.refine(
        rows,
        Model(np.array(intercept), np.array(coef, dtype=np.float64).T),
        penalty=shrinkage(plan),
        fit_intercept=plan.fit_intercept,
        tol=plan.tol,
        max_iter=plan.max_iter - training.n_epochs,
        watch=watch,
    )
    model = refined.model
    _adopt(model, own_units, problems, units)
    training.converged = model.converged
    return refined


def _converted(coef, intercept, old, new):
    """Coefficients and intercept in other units."""
    if new is old:
        return coef, intercept
    return new.from_user(*old.to_user(coef, intercept))


def _adopt(model, own_units, problems, units):
    """Set the states of the problems, in their units, to the outputs of a model."""
    for i, problem in enumerate(problems):
        intercept = float(model.intercept[i])
        solution = _converted(model.coef[:, i], intercept, own_units, units)
        problem.state = with_solution(problem.state, *solution)


def with_solution(state, coef, intercept):
    """Return the state of a median with other coefficients."""
    return replace(
        state,
        coef=coef.astype(state.dtype),
        intercept=float(intercept),
        sums=None,
        sum_scale=0.0,
        n_averaged=0.0,
        records=None,
    )
