"""Kinds of targets: constants measured for each, and their problems."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit
from sklearn.utils import (
    assert_all_finite,
    check_random_state,
    compute_class_weight,
)

from medsgd._core.losses import CLASSIFICATION_LOSSES, REGRESSION_LOSSES
from medsgd._fit.epochs import new_problem
from medsgd._fit.scales import residuals, weighted_median
from medsgd._fit.stopping import held_out_mask
from medsgd._utils.guards import summing_quietly

MAX_INT = np.iinfo(np.int32).max


class Task:
    """Regression or classification.

    Attributes
    ----------
    losses : dict of {str: Loss}
    passive_aggressive_loss : str
        The loss of passive-aggressive learning.
    refined_losses : tuple of str
        Losses of which there is a second stage.
    c_tau, c_eta : float
        Factors of "auto" for `tau` and `eta0`.
    leverage_power : float
        Power with which the weight of a row falls beyond the leverage limit.
    scale_clip, rare_power, scale_reach : float or None
        Parameters of ``feature_units``.
    """

    is_classification: bool
    losses: dict
    passive_aggressive_loss: str
    refined_losses: tuple
    c_tau: float
    c_eta: float
    leverage_power: float
    scale_clip: float | None = None
    rare_power: float | None = None
    scale_reach: float | None = None

    @property
    def n_problems(self):
        """Return the number of regressions or binary classifications of a fit."""
        raise NotImplementedError

    def first_intercepts(self, plan, data, coef):
        """Return the first intercepts of a new fit, given its coefficients or None."""
        return np.zeros(self.n_problems)

    def makers(self, plan, data, states, settings):
        """Return the data, some held out, and a maker of each problem at its state."""
        raise NotImplementedError

    def _holding_out(self, plan, data):
        """Return the data without a part for early stopping."""
        if not plan.early_stopping:
            return data
        kind = StratifiedShuffleSplit if self.is_classification else ShuffleSplit
        splitter = kind(
            test_size=plan.validation_fraction, random_state=plan.random_state
        )
        return data.holding_out(held_out_mask(splitter, data.y, data.rows))


def as_targets(y, dtype):
    """Return targets of a regression as finite numbers.

    Raises
    ------
    ValueError
        If they are not numbers, or not finite.
    """
    if y.dtype.kind not in "biuf":
        try:  # SGDRegressor converts strings and times, too
            y = y.astype(np.float64)
        except (ValueError, TypeError) as error:
            raise ValueError(f"y must be numbers: {error}.") from error
    with summing_quietly():
        assert_all_finite(y, input_name="y")  # None has become NaN
    # Values beyond the range of a narrower dtype stay enormous, but finite.
    limit = np.finfo(dtype).max
    return np.clip(y, -limit, limit).astype(dtype, copy=False)


@dataclass(frozen=True)
class Regression(Task):
    """One problem: the targets themselves."""

    is_classification = False
    losses = REGRESSION_LOSSES
    passive_aggressive_loss = "epsilon_insensitive"
    refined_losses = tuple(REGRESSION_LOSSES)
    # Measured: tracks the median as well as least absolute deviations does.
    c_tau = 0.1
    # Measured: small enough to be stable with any number of features, large enough for
    # correlated ones to converge.
    c_eta = 0.2
    # Measured: the cube tolerates 10% more of bad leverage than the ratio itself, and
    # the refinement counts good leverage in full.
    leverage_power = 3.0
    # Measured: bad leverage must stay far out, but streams of splines must not diverge.
    scale_reach = 100.0

    @property
    def n_problems(self):
        return 1

    def first_intercepts(self, plan, data, coef):
        rows = data.rows
        if not (plan.uses_median and plan.fit_intercept and len(rows)):
            return np.zeros(1)
        # The median as intercept saves the epochs that an offset would take.
        fitted = 0.0 if coef is None else data.X @ coef[0]
        residual = residuals(data.y.astype(np.float64), fitted)
        return np.atleast_1d(weighted_median(residual[rows], data.weight[rows]))

    def makers(self, plan, data, states, settings):
        data = self._holding_out(plan, data)
        random_state = check_random_state(plan.random_state)
        seed = random_state.randint(0, MAX_INT)
        # scikit-learn draws once more, so that later draws are the same.
        random_state.randint(1, MAX_INT)
        return data, [partial(new_problem, plan, data, states[0], seed, settings)]


@dataclass(frozen=True, eq=False)
class Classification(Task):
    """One problem for two classes, or one for each of several classes.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,) or None
        None before any target is known.
    class_weight : dict, 'balanced' or None
    """

    is_classification = True
    losses = CLASSIFICATION_LOSSES
    passive_aggressive_loss = "hinge"
    # The second stage fits the multinomial model of this loss.
    refined_losses = ("log_loss",)
    # Measured: a radius this wide keeps the accuracy of the mean on clean data; a
    # smaller one helps minorities, a larger one calibration on clean data.
    c_tau = 2.5
    c_eta = 0.2
    # No later stage regains the information of good leverage that is lost here.
    leverage_power = 1.0
    # Measured: features that differ by class are skewed, and medians of deviations make
    # their units too small.
    scale_clip = 5.0
    # Measured on texts: rare words at unit scale cost accuracy and time.
    rare_power = 0.25
    # Measured on splines, whose values are of many orders of magnitude.
    scale_reach = 2.0

    classes: np.ndarray | None
    class_weight: Any

    @property
    def n_problems(self):
        return 1 if len(self.classes) == 2 else len(self.classes)

    def factors(self, y):
        """Return the weight of each class."""
        return compute_class_weight(self.class_weight, classes=self.classes, y=y)

    def factors_of(self, problem, factors):
        """Return the class of a problem, and the weights of the others and of it."""
        if self.n_problems == 1:
            return 1, (factors[0], factors[1])
        return problem, (1.0, factors[problem])

    def makers(self, plan, data, states, settings):
        factors = self.factors(data.y)
        random_state = check_random_state(plan.random_state)
        # Seeds and splits are drawn in scikit-learn's order.
        if len(states) == 1:
            random_state.randint(1, MAX_INT)
            data = self._holding_out(plan, data)
            seeds = [random_state.randint(MAX_INT)]
        else:
            data = self._holding_out(plan, data)
            seeds = []
            for seed in random_state.randint(MAX_INT, size=len(states)):
                random_state = np.random.RandomState(seed)
                random_state.randint(1, MAX_INT)
                seeds.append(random_state.randint(MAX_INT))
        return data, [
            partial(
                self._against_others,
                plan,
                data,
                *self.factors_of(i, factors),
                state,
                seed,
                settings,
            )
            for i, (state, seed) in enumerate(zip(states, seeds, strict=True))
        ]

    def _against_others(self, plan, data, k, factors, state, seed, settings):
        """Return the problem of a class against the others, with class weights."""
        is_positive = data.y == self.classes[k]
        y = np.where(is_positive, 1, -1).astype(data.X.dtype)
        if plan.n_strata > 1:
            return new_problem(
                plan,
                replace(data, y=y),
                state,
                seed,
                settings,
                strata=is_positive.view(np.uint8),
                stratum_factors=factors,
            )
        factor = np.where(is_positive, factors[1], factors[0])
        # Class weights make steps longer, but do not add visits to a pass.
        typical = np.average(factor, weights=data.weight) if plan.repeats_rows else 1.0
        weight = (data.weight * factor).astype(data.X.dtype)
        return new_problem(
            plan,
            replace(data, y=y, weight=weight),
            state,
            seed,
            settings,
            typical_factor=typical,
        )
