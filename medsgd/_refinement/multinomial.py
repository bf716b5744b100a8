"""The second stage of one classification: from its problems to one model, and back."""

from dataclasses import replace

import numpy as np

from medsgd._fit.stopping import StoppingRule, exact_share
from medsgd._refinement import classification
from medsgd._refinement.class_stream import ClassStream, shrinkage
from medsgd._refinement.classification import Model, Rows

# Iterations without progress of the held-out loss where "auto" leaves them to us.
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
        What goes on from here.
    """
    plan = training.plan
    n_lead = max(len(problem.curve) for problem in problems)
    max_iter = plan.max_iter - training.n_epochs
    if training.interrupted or max_iter == 0:
        return n_lead, None, None
    for problem in problems:
        for curve in (problem.curve, problem.clip_curve):
            curve += curve[-1:] * (n_lead - len(curve))
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

    def watch(model, objective, losses):
        if rule is not None:
            held_out = data.held_out
            objective = np.average(losses[held_out], weights=weight[held_out])
        if training.callbacks or plan.verbose:
            _adopt(model, problems)
        rejected = rows.rejected(losses)
        for problem in problems:
            problem.curve.append(float(objective))
            problem.clip_curve.append(rejected)
            problem.n_iterations += 1
            problem.objective = objective
            if plan.verbose:
                problem.losses[:] = losses
        interrupted = training.note_iteration(problems)
        return interrupted or (rule is not None and rule.stalled(objective))

    coef, intercept = zip(*(p.state.solution() for p in problems), strict=True)
    refined = classification.refine(
        rows,
        Model(np.array(intercept), np.array(coef, dtype=np.float64).T),
        penalty=shrinkage(plan),
        fit_intercept=plan.fit_intercept,
        tol=plan.tol,
        max_iter=max_iter,
        watch=watch,
    )
    model = refined.model
    _adopt(model, problems)
    training.converged = model.converged
    stream = ClassStream.after(plan, data, rows.weight, refined)
    return n_lead, rows.judge(model), stream


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
