"""The second stage of a classifier over partitions: sums of one multinomial model."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from medsgd._fit.units import FeatureUnits
from medsgd._refinement import multinomial
from medsgd._refinement.class_rows import (
    GAMMA,
    HALF_LOST,
    Divergence,
    Rows,
    divergence,
)
from medsgd._refinement.classification import Model
from medsgd._refinement.rows import RowsLeftOut, Summable
from medsgd.dask._trust import ROUNDING, Sent


@dataclass(frozen=True, eq=False)
class LabelUnits(Sent):
    """Units and weights in which the second stage sees the rows of a partition.

    Attributes
    ----------
    classes, factors : ndarray of shape (n_classes,)
        The classes, and the weight of each.
    units : FeatureUnits
    leverage_weights : bool
    class_weight : ndarray of shape (n_classes,) or None
        Total weight of each class in all partitions, once it is known.
    """

    classes: np.ndarray
    factors: np.ndarray
    units: FeatureUnits
    leverage_weights: bool
    class_weight: np.ndarray | None = None

    def rows(self, X, y, weight):
        """Return rows of these labels and weights."""
        label = np.searchsorted(self.classes, y)
        rows = Rows(
            X,
            label,
            weight.astype(np.float64) * self.factors[label],
            self.units,
            leverage_weights=self.leverage_weights,
        )
        rows.class_weight = self.class_weight
        return rows


@dataclass(frozen=True, eq=False)
class ModelJob(Sent):
    """A request to partitions: compare labels with a model.

    Attributes
    ----------
    units : LabelUnits
    model : Model or None
    gamma : float
    factor : ndarray of shape (n_classes,) or None
        Of the probabilities, where frequencies are asked for.
    """

    units: LabelUnits
    model: Model | None = None
    gamma: float = GAMMA
    factor: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Frequencies(Summable):
    """Frequencies of labels.

    Attributes
    ----------
    found, expected : ndarray of shape (n_classes,)
        Weight of the rows of each class, and the weight that a model expects.
    n_used : int
        Number of rows with a weight.
    """

    found: np.ndarray
    expected: np.ndarray
    n_used: int

    def is_possible(self, weight, job):
        """Whether rows of a total weight have such frequencies."""
        most = weight * job.units.factors.max() * (1 + ROUNDING)
        return bool(
            np.shape(self.found) == np.shape(self.expected) == job.units.factors.shape
            and np.all(np.isfinite(self.found) & np.isfinite(self.expected))
            and min(np.min(self.found), np.min(self.expected)) >= 0
            and np.sum(self.found) <= most
            and np.sum(self.expected) <= most
        )

    def statistics(self):
        """Return sums whose means over rows a sample estimates."""
        return self.found


@dataclass(frozen=True, eq=False)
class DivergenceSums(Summable):
    """Sums of the divergence of rows from a model.

    Attributes
    ----------
    value, intercept, coef
        As of ``Divergence``.
    along : ndarray of shape (n_outputs,)
        Derivatives in the size of the coefficients of each output.
    n_rejected : int
        Rows with a weight that lose more than half of it.
    """

    value: float
    intercept: np.ndarray
    coef: np.ndarray
    along: np.ndarray
    n_rejected: int

    def is_possible(self, weight, job):
        """Whether rows of a total weight have such sums."""
        n_outputs, a = len(job.model.intercept), 1 + job.gamma
        if not (
            np.shape(self.intercept) == np.shape(self.along) == (n_outputs,)
            and np.shape(self.coef) == job.model.coef.shape
        ):
            return False
        parts = self.value, self.intercept, self.coef, self.along, self.n_rejected
        if not all(np.isfinite(part).all() for part in parts):
            return False
        most = weight * job.units.factors.max() * (1 + ROUNDING)
        # The derivative in the size follows from the one in the coefficients.
        along = np.einsum("ij,ij->j", job.model.coef, self.coef)
        size = np.einsum("ij,ij->j", np.abs(job.model.coef), np.abs(self.coef))
        return bool(
            0 <= self.value <= most * a / job.gamma
            and np.all(np.abs(self.intercept) <= a * most)
            and np.all(np.abs(along - self.along) <= ROUNDING * (size + most))
        )

    def statistics(self):
        """Return sums whose means over rows a sample estimates."""
        return np.concatenate([[self.value], self.intercept, self.along])


def differ(block, job, index):
    """Return the ``DivergenceSums`` of a block, or None if it has no rows to use."""
    if not block.weight.any():
        return None
    rows = job.units.rows(block.X, block.y, block.weight)
    model = job.model
    told = rows.divergence(model, rows.weight, job.gamma)
    return DivergenceSums(
        told.value,
        told.intercept,
        told.coef,
        np.einsum("ij,ij->j", model.coef, told.coef),
        int(np.count_nonzero(told.losses[rows.weight > 0] > HALF_LOST)),
    )


def count(block, job, index):
    """Return the ``Frequencies`` of a block's labels, or None without rows to use."""
    if not block.weight.any():
        return None
    rows = job.units.rows(block.X, block.y, block.weight)
    if job.model is None:
        n_classes = len(job.units.classes)
        found = np.bincount(rows.label, rows.weight, n_classes)
        return Frequencies(found, found, rows.n_used)
    balance = rows.balance(job.model)
    return Frequencies(balance.found, balance.expected(job.factor), rows.n_used)


class LabelledPartitions:
    """Labelled rows of all partitions: few are at hand, the others only give sums.

    Parameters
    ----------
    asked : Asked
    units : LabelUnits
    """

    def __init__(self, asked, units):
        self.asked, data, rows = asked, asked.data, asked.rows
        self.at_hand = units.rows(data.X[rows], data.y[rows], data.weight[rows])
        self.job = ModelJob(units)
        # Leverage weights are in the weight of a class only after this request.
        told = self._frequencies(self.job, self.at_hand.label, None)
        units = replace(units, class_weight=told.found)
        self.at_hand.class_weight = told.found
        self.job, self.n_used = ModelJob(units), told.n_used
        self.total = float(told.found.sum()) or 1.0

    def normed_weight(self):
        """Return None, because partitions have the weights of their rows."""

    def rejected(self, told):
        """Return the share of weighted rows that lose more than half of it."""
        return told.rejected

    def divergence(self, model, weight, gamma):
        """Return the ``Divergence`` of all rows from a model."""
        job = ModelJob(self.job.units, model, gamma)

        def rows_of():
            rows = self.at_hand
            scores = rows.scores(model.coef)
            slope = scores + model.intercept
            losses = divergence(slope, rows.label, np.ones(len(rows.label)), gamma)
            return self._per_weight(
                rows.leverage[:, np.newaxis]
                * np.column_stack([losses, slope, slope * scores])
            )

        sums = self.asked.sums("divergence", differ, job, DivergenceSums, rows_of)
        return Divergence(
            sums.value / self.total,
            sums.intercept / self.total,
            sums.coef / self.total,
            None,
            sums.n_rejected / max(1, self.n_used),
        )

    def _per_weight(self, values):
        """Return values of rows whose class has a weight, per unit of sample weight."""
        factors = self.job.units.factors[self.at_hand.label]
        weight = self.asked.data.weight[self.asked.rows].astype(np.float64)
        return values * factors[:, np.newaxis], weight

    def along(self, model, weight):
        """Return the rows along a model, for models of other sizes."""
        return AlongPartitions(self, model)

    def balance(self, model):
        """Return the balance of a model."""
        return PartitionedBalance(self, model)

    def _frequencies(self, job, label, plausible):
        def rows_of():
            found = np.zeros((len(label), len(job.units.classes)))
            kept = self.at_hand.leverage
            found[np.arange(len(label)), label] = (
                kept if plausible is None else kept * plausible
            )
            return self._per_weight(found)

        return self.asked.sums("labels", count, job, Frequencies, rows_of)


@dataclass(frozen=True, eq=False)
class AlongPartitions:
    """As ``Along``, for rows elsewhere."""

    rows: LabelledPartitions
    model: Model

    def divergence(self, size, intercept, gamma):
        """Return the sum of losses, and its derivatives in log(size) and intercepts."""
        model = Model(intercept, size * self.model.coef)
        told = self.rows.divergence(model, None, gamma)
        return told.value, float(np.sum(model.coef * told.coef)), told.intercept


class PartitionedBalance:
    """As ``Balance``, for rows elsewhere."""

    def __init__(self, rows, model):
        self.rows, self.model = rows, model
        few = rows.at_hand
        plausible = few.plausible(few.probabilities(model))
        self.plausible = plausible[np.arange(len(few.label)), few.label]
        self.told = None
        self.found = self._ask(np.ones(len(rows.job.units.classes))).found

    def _ask(self, factor):
        rows = self.rows
        job = ModelJob(rows.job.units, self.model, factor=factor)
        told = rows._frequencies(job, rows.at_hand.label, self.plausible)
        self.told = factor, told
        return told

    def expected(self, factor):
        """Return how frequent labels are by probabilities times these factors."""
        asked, told = self.told
        if not np.array_equal(asked, factor):
            told = self._ask(factor)
        return told.expected


def refine(training, data, problems, asked):
    """Go on with one multinomial model of the rows of all partitions.

    Returns
    -------
    n_lead : int
        Rounds before this stage.
    is_refined : bool
        Whether any are left for it.
    """
    plan, task = training.plan, training.plan.task
    n_lead = multinomial.level(problems)
    if training.interrupted or plan.max_iter == training.n_epochs:
        return n_lead, False
    own_units = plan.refined_units(data.X, data.weight, data.units)
    units = LabelUnits(
        task.classes, task.factors(task.classes), own_units, plan.leverage_weights
    )
    starts = [problem.state for problem in problems]
    while True:
        rows: Any
        try:
            if data.is_complete and not asked.left_out:
                rows = units.rows(data.X, data.y, data.weight)
            else:
                rows = LabelledPartitions(asked, units)
            watch = partial(multinomial.note, training, data.units, problems, rows)
            multinomial.minimise(training, data.units, problems, rows, watch)
        except RowsLeftOut:
            for problem, state in zip(problems, starts, strict=True):
                problem.state = state
            continue
        return n_lead, True
