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
    rows = Rows(
        data.X,
        label,
        data.training_weight(weight),
        data.units,
        leverage_weights=plan.leverage_weights,
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
        interrupted = note(training, problems, rows, model, objective, told)
        return interrupted or (rule is not None and rule.stalled(objective))

    refined = minimise(training, problems, rows, watch)
    stream = ClassStream.after(plan, data, rows.weight, refined)
    return n_lead, rows.judge(refined.model), stream


def level(problems):
    """Make curves of different lengths equally long, and return the length."""
    n_lead = max(len(problem.curve) for problem in problems)
    for problem in problems:
        for curve in (problem.curve, problem.clip_curve):
            curve += curve[-1:] * (n_lead - len(curve))
    return n_lead


def note(training, problems, rows, model, objective, told):
    """Note an iteration, and return whether a callback has asked to stop."""
    if training.callbacks or training.plan.verbose:
        _adopt(model, problems)
    rejected = rows.rejected(told)
    for problem in problems:
        problem.curve.append(float(objective))
        problem.clip_curve.append(rejected)
        problem.n_iterations += 1
        problem.objective = objective
    return training.note_iteration(problems)


def minimise(training, problems, rows, watch):
    """Bring problems to the multinomial model of rows, and return it, ``Refined``."""
    plan = training.plan
    coef, intercept = zip(*(p.state.solution() for p in problems), strict=True)
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
    _adopt(model, problems)
    training.converged = model.converged
    return refined


def _adopt(model, problems):
    """Set the states of the problems to the outputs of a model."""
    for i, problem in enumerate(problems):
        state = problem.state
        problem.state = replace(
            state,
            coef=model.coef[:, i].astype(state.dtype),
            intercept=float(model.intercept[i]),
            sums=None,
            sum_scale=0.0,
            n_averaged=0.0,
            records=None,
        )
