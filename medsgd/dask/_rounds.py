"""The coordinator of a fit over partitions: it combines their updates."""

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from medsgd._fit.data import Data
from medsgd._fit.epochs import Progress, Training
from medsgd._fit.scales import NORMAL_MEDIAN, weighted_median
from medsgd._fit.stopping import penalty
from medsgd._refinement.stochastic import (
    at_solution,
    finished,
    rule_of_fit,
    step_settings,
    steps,
)
from medsgd.dask._partitions import Job, run_passes

# A refinement leaves out updates so many times farther out than the typical one, and
# partitions whose residuals are larger than is typical by this factor and by so many
# deviations.
FAR = 3.0
LARGE = 1.5
# Of few partitions the typical distance is that of the one or two next to their median:
# FAR is so much more, over their number.
FEW = 4.0
# Rounds without progress to wait for: the updates of many partitions cancel the noise
# that patience is for.
LONGEST_PATIENCE = 10
# local_epochs="auto" visits at least so many rows of a partition in a round: fewer
# leave correlated features of small partitions half fitted when patience ends.
ROWS_PER_ROUND = 2_500


@dataclass(kw_only=True)
class Consensus(Progress):
    """One regression or binary classification as the coordinator sees it.

    Attributes are those of ``Progress``, whose iterations are those of a typical
    partition, and these.

    Attributes
    ----------
    aggregator : object
        A gradient estimator, for the updates; None takes the mean of those that are
        not far out.
    index : int
        Which of the problems of a fit it is.
    takes_medians : bool
        Whether locations are medians over partitions.
    watches_median : bool
        Whether the statistic is a median of losses.
    n_rejected : ndarray of shape (n_partitions,)
        Rounds that a partition took no part in: it had no rows to learn from, or its
        update was not finite or far out.
    """

    index: int
    aggregator: Any
    takes_medians: bool
    watches_median: bool
    n_rejected: np.ndarray

    def take(self, settings, updates, order):
        """Apply the updates of a round: one of each partition, or None."""
        state, size = self.state, self.state.coef.size
        if self.averages_stall and self.rule.n_stalled == 0:
            state.restart_average()
        finite = np.array([u is not None and _is_finite(u) for u in updates])
        used = self._used(updates, finite)
        self.n_rejected += ~used
        order = order[used[order]]
        if len(order) == 0:
            raise ValueError(
                "No partition has returned a finite update. Are there rows with finite "
                "values and a weight? Else a smaller eta0 may help."
            )
        updates = [updates[k] for k in order]
        weight = np.array([update.stratum_weight.sum() for update in updates])
        self._note(settings, updates, weight)

        changes = np.stack([update.change for update in updates])
        if self.aggregator is None:
            change = np.average(changes, axis=0, weights=weight)
        else:
            change = self.aggregator.update(changes, weight / weight.mean())
        coef = state.coef
        state.coef = (coef + change[:size]).astype(state.dtype)
        if settings.l1_ratio > 0:
            # A coefficient is 0 if most partitions have made it 0. All of them hardly
            # ever agree on a 0.
            is_zero = coef + changes[:, :size] == 0
            state.coef[weight @ is_zero > weight.sum() / 2] = 0
        state.intercept += float(change[size])
        self._follow(updates)
        n = int(weighted_median(np.array([u.n_iterations for u in updates]), weight))
        self.n_iterations += n
        state.t += n
        if state.sums is not None and state.t > settings.average:
            state.sums += n * state.coef
            state.n_averaged += n
            state.average_intercept += (
                n / state.n_averaged * (state.intercept - state.average_intercept)
            )

    def set_scale(self, updates, largest=np.inf):
        """Set the scale of the residuals to that of all rows."""
        weight = np.array([update.stratum_weight.sum() for update in updates])
        scale = _pooled_median([u.sizes for u in updates], weight) / NORMAL_MEDIAN
        if np.isfinite(scale) and scale > 0:
            self.state.residual_scale = min(scale, largest)

    def _used(self, updates, finite):
        """Return whether each update counts."""
        used = finite.copy()
        if self.aggregator is not None or np.count_nonzero(finite) < 3:
            return used
        kept = [update for update, ok in zip(updates, finite, strict=True) if ok]
        weight = np.array([update.stratum_weight.sum() for update in kept])
        changes = np.stack([update.change for update in kept])
        size = np.array([update.sizes[len(update.sizes) // 2] for update in kept])
        typical = weighted_median(size, weight)
        deviation = weighted_median(np.abs(size - typical), weight) / NORMAL_MEDIAN
        # The residuals of an exact fit are rounding, and do not mark a partition.
        start = np.append(self.state.coef, self.state.intercept)
        rounding = 32 * np.finfo(self.state.dtype).eps * np.linalg.norm(start)
        like = size <= max(LARGE * typical, typical + FAR * deviation) + rounding
        # Use partitions with typical residuals only. The others reject most rows and
        # barely move.
        center = weighted_median(changes[like], weight[like])
        distance = np.linalg.norm(changes - center, axis=1)
        far = FAR * (1 + FEW / np.count_nonzero(like))
        typical = weighted_median(distance[like], weight[like])
        used[finite] = like & (distance <= far * typical + rounding)
        return used

    def _note(self, settings, updates, weight):
        """Add to the curves the losses of the updates at their first state."""
        self.state.measure()
        tells = np.array([update.losses is not None for update in updates])
        told = [update for update in updates if update.losses is not None]
        if not (weight.any() and (told or self.curve)):
            raise ValueError(
                "No partition has losses to stop by: each has a class weight of 0 for "
                "all of its rows, or is too small to hold out a part of them. Use "
                "larger partitions, change validation_fraction or disable "
                "early_stopping."
            )
        # If a round leaves out all partitions that hold out rows, the statistic stays
        # as it was.
        if told:
            if self.watches_median:
                loss = _pooled_median([u.losses for u in told], weight[tells])
            else:
                loss = np.average([u.mean_loss for u in told], weights=weight[tells])
            self.objective = float(loss + penalty(settings, self.state))
        self.curve.append(self.objective)
        clipped = [update.clip_fraction for update in updates]
        self.clip_curve.append(float(weighted_median(np.array(clipped), weight)))
        if settings.tracks_residuals or settings.c_epsilon > 0:
            self.set_scale(updates, settings.largest_residual_scale)

    def _follow(self, updates):
        """Set locations and scales of the strata from the partitions that have them."""
        state = self.state
        for k in range(len(state.location)):
            own = [update for update in updates if update.stratum_weight[k] > 0]
            if not own:
                continue
            weight = np.array([update.stratum_weight[k] for update in own])
            if state.location.shape[1]:
                locations = np.stack([update.location[k] for update in own])
                center = weighted_median if self.takes_medians else _mean
                state.location[k] = center(locations, weight)
            state.scale[k] = weighted_median(
                np.stack([update.scale[k] for update in own]), weight
            )
            state.n_updates[k] = weighted_median(
                np.array([update.n_updates[k] for update in own]), weight
            )


def _mean(values, weight):
    return np.average(values, axis=0, weights=weight)


def _is_finite(update):
    """Whether the coordinator can calculate with an update."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(
            np.isfinite(update.change @ update.change)
            and np.isfinite(update.location).all()
            and np.isfinite(update.scale).all()
        )


def _pooled_median(quantiles, weight):
    """Median of the rows of all partitions, from quantiles of each."""
    values = np.concatenate(quantiles)
    return float(weighted_median(values, np.repeat(weight, len(quantiles[0]))))


def _check_kinds(summaries):
    """Check that the labels of all partitions can be compared.

    Raises
    ------
    ValueError
        If they are strings in some of them only.
    """
    of_kind = {True: [], False: []}
    for k, summary in enumerate(summaries):
        if len(summary.labels):
            of_kind[isinstance(summary.labels[0], str)].append(k)
    if all(of_kind.values()):
        raise ValueError(
            "y must be strings in all partitions or in none; partitions "
            f"{min(of_kind.values(), key=len)} differ from the others."
        )


class Told:
    """Reports of the partitions from before the first round.

    Attributes
    ----------
    labels : ndarray or None
        All classes; None for regression.
    n_rows, weight : int, float
        Rows with a weight, and their total weight.
    n_rows_of_each, weights : ndarray of shape (n_partitions,)
        The same of each partition.
    is_counted : bool
        Whether all weights are whole numbers, which count copies of a row.
    weight_unit : float
        The weight that counts as one row of the exact steps.
    n_local : float
        Rows of a typical partition.
    n_dropped, is_empty : ndarray of shape (n_partitions,)
        Rows dropped of each partition, and whether it has no rows with a weight though
        none were dropped.
    """

    def __init__(self, summaries):
        useful = [s for s in summaries if s.n_rows] or summaries[:1]
        self.n_rows_of_each = np.array([s.n_rows for s in summaries])
        self.weights = np.array([s.weight for s in summaries])
        self.n_rows = int(self.n_rows_of_each.sum())
        self.weight = sum(s.weight for s in summaries)
        self.labels, self.labelled = None, []
        if self.n_rows and summaries[0].labels is not None:
            _check_kinds(summaries)
            self.labelled = [s for s in summaries if len(s.labels)]
            self.labels = np.concatenate([s.labels for s in self.labelled])
        self.is_counted = all(s.is_counted for s in summaries)
        self.weight_unit = 1.0
        if self.n_rows and not self.is_counted:
            self.weight_unit = self.weight / self.n_rows
        self.n_local = float(np.median([s.n_rows for s in useful]))
        self.n_dropped = np.array([s.n_dropped for s in summaries])
        self.is_empty = (self.n_dropped == 0) & [s.n_rows == 0 for s in summaries]

    def of_classes(self, classes, name):
        """Return the total of an array by label of the summaries, for each class."""
        total = np.zeros(len(classes))
        for s in self.labelled:
            total[np.searchsorted(classes, s.labels)] += getattr(s, name)
        return total


@dataclass(frozen=True, eq=False, kw_only=True)
class Sample(Data):
    """A sample of the rows of all partitions, and the reports of the partitions.

    Attributes are those of ``Data``, and these.

    Attributes
    ----------
    told : Told
    partitions : Partitions
    part : ndarray of shape (n_samples,)
        The partition of each row.
    draws : Draws
        How the rows have been drawn.
    weight_unit : float
        The weight of partitions' rows that counts as 1.
    """

    told: Told
    partitions: Any
    part: np.ndarray
    draws: Any
    weight_unit: float = 1.0

    @property
    def is_complete(self):
        """Whether these are all rows with a weight; else weights count draws."""
        return self.draws.are_all


class Rounds(Training):
    """Epochs over partitions: each problem takes in the updates of all of them.

    Parameters
    ----------
    plan : Plan
    data : Sample
    task : Task
        That of the partitions.
    seed : int
        Decides all shuffling.
    local_epochs, max_rounds
        As of the estimator.

    Attributes
    ----------
    local_plan : Plan
        That of the partitions.
    n_judged : int
        Rounds of the last stages, in most of which a partition may have been left out.
    """

    unit = "round"

    def __init__(self, plan, *, data, task, seed, local_epochs, max_rounds, **kwargs):
        super().__init__(plan, **kwargs)
        self.data, self.seed, self.max_rounds = data, seed, max_rounds
        self.local_plan = replace(plan, task=task)
        self.n_judged = 0
        self.n_passes = local_epochs
        if local_epochs == "auto":
            self.n_passes = math.ceil(ROWS_PER_ROUND / data.told.n_local)

    def _run_epoch(self, active, settings, parallel):
        updates = self.updates(active, settings, self.n_passes)
        order = np.random.default_rng([self.seed, self.n_epochs]).permutation(
            len(updates)
        )
        for i, problem in enumerate(active):
            own = [update and update[i] for update in updates]
            problem.take(settings, own, order)

    def _report(self, problem):
        state = problem.state
        print(
            f"Norm: {np.linalg.norm(state.coef):.2f}, Bias: {state.intercept:.6f}, "
            f"T: {problem.n_iterations}, Objective before: {problem.objective:f}, "
            f"Partitions left out so far: {np.count_nonzero(problem.n_rejected)}"
        )
        seconds = time.perf_counter() - self.start
        print(f"Total training time: {seconds:.2f} seconds.")

    def updates(self, problems, settings, n_passes):
        """Return the results of the partitions for the problems."""
        job = Job(
            plan=self.local_plan,
            units=self.data.units,
            states={problem.index: problem.state for problem in problems},
            settings=settings,
            n_passes=n_passes,
            seeds=(self.seed, self.n_epochs),
            weight_unit=self.data.weight_unit,
        )
        return self.data.partitions.run("round", run_passes, job)

    def residual_scale(self, problem, settings):
        """Return the scale of all residuals at the solution of a problem."""
        solved = replace(problem, state=at_solution(problem.state, problem.state))
        updates = self.updates([solved], settings, 0)
        solved.set_scale([update[0] for update in updates if update])
        return solved.state.residual_scale

    def rule(self, settings, n_updates, **start):
        """Return the stopping rule of a stage, which counts one partition's updates."""
        rule = self.plan.stopping_rule(
            self.data.told.n_local * self.n_passes, settings, n_updates, **start
        )
        if self.plan.n_iter_no_change == "auto":
            rule.n_iter_no_change = min(rule.n_iter_no_change, LONGEST_PATIENCE)
        return rule


def refine(rounds, data, problem):
    """Refine as on one machine, by means over partitions that are not far out."""
    plan, n_rows, found = rounds.plan, data.told.n_rows, problem.state
    rounds.local_plan = replace(
        rounds.local_plan,
        gradient_estimator="mean",
        n_gradients=1,
        batch_size=1,
        average=1.0,
    )
    if problem.takes_medians:
        problem.aggregator = None
    problem.averages_stall = problem.watches_median = True
    settings = plan.settings(data)
    for step, max_rounds in steps(rounds, data, n_rows, rounds.max_rounds):
        scale = rounds.residual_scale(problem, settings)
        # The coordinator sets the scale, so that all partitions have the same loss.
        settings, t = step_settings(
            step, plan, data, n_rows, scale, tracks_residuals=False
        )
        state = replace(
            at_solution(problem.state, problem.state), residual_scale=scale, t=t
        )
        problem.state = state.prepared(settings, n_strata=1)
        problem.rule = rounds.rule(
            settings,
            step.n_updates,
            **rule_of_fit(data.y, data.weight, data.X.dtype),
        )
        problem.stopped = False
        problem.stage_starts.append(len(problem.curve))
        rounds.run([problem], settings, max_rounds, adaptive=False)
        if settings.l1_ratio > 0:
            problem.state.keep_zeros()
    finished(problem, found)
