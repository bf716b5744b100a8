"""All decisions of the parameters about a fit, made once for each call."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from medsgd._core.settings import GRADIENT_ESTIMATORS, PENALTIES, Settings
from medsgd._fit.stopping import StoppingRule
from medsgd._fit.tasks import Task
from medsgd._fit.units import centered_units, feature_units, leverage_limit

# Doubles beyond this are not changed by adding 1.
LARGEST_COUNT = 2**53
PASSIVE_AGGRESSIVE = ("pa1", "pa2")
# scikit-learn has the same bound.
LARGEST_MEAN_DERIVATIVE = 1e12
SGD_ETA0 = 0.01
SGD_ALPHA = 1e-4
SGD_N_ITER_NO_CHANGE = 5
# Patience counts updates, because a pass over a million samples makes many updates, and
# one over twenty makes few. Measured: with fewer, correlated features do not converge.
UPDATES_NO_CHANGE = 20_000
LONGEST_PATIENCE = 200
# Steps on the bisquare may overshoot an outlying row's residual by at most this factor:
# heavy-tailed features keep most of their influence, and no row can spoil the fit.
OVERSHOOT = 6.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All decisions of the parameters about a fit.

    Attributes are the estimator's parameters of the same names. Those that differ from
    the parameters are listed here.

    Attributes
    ----------
    task : Task
        What the targets are.
    n_gradients : int
    alpha : float
        Strength of the penalty in stochastic steps.
    exact_alpha : float
        Strength of the penalty in exact steps.
    l1_ratio : float
        The share of the L1 penalty in the strength, by `penalty` and `l1_ratio`.
    standardize : bool
    """

    task: Task
    loss: str
    gradient_estimator: str
    n_gradients: int
    batch_size: int
    tau: float | str
    momentum: float
    penalty: str | None
    alpha: float
    exact_alpha: float
    l1_ratio: float
    fit_intercept: bool
    max_iter: int
    tol: float | None
    shuffle: bool
    verbose: int
    epsilon: float | str
    random_state: Any
    learning_rate: str
    eta0: float | str
    power_t: float
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int | str
    average: float
    standardize: bool
    leverage_weights: bool
    refine: bool
    half_life: float
    n_jobs: int | None

    @classmethod
    def of(cls, estimator, task):
        """Return the plan of an estimator whose parameters are valid one by one."""
        given = {
            name: getattr(estimator, name)
            for name in cls.__dataclass_fields__
            if hasattr(estimator, name)
        }
        name, penalty = given["gradient_estimator"], given["penalty"]
        if given["n_gradients"] == "auto":
            given["n_gradients"] = GRADIENT_ESTIMATORS[name].n_gradients
        if given["standardize"] == "auto":
            given["standardize"] = name != "mean"
        is_auto = given["alpha"] == "auto"
        given["alpha"] = SGD_ALPHA if is_auto else given["alpha"]
        no_penalty = penalty is None or (is_auto and penalty == "l2")
        ratio = PENALTIES[penalty]
        ratio = given["l1_ratio"] if ratio is None else ratio
        return cls(
            **{"n_jobs": None, "task": task}
            | given
            | {
                "half_life": given.get("half_life") or np.inf,
                "n_gradients": int(given["n_gradients"]),
                "exact_alpha": 0.0 if no_penalty else given["alpha"],
                "l1_ratio": np.nan if ratio is None else ratio,
                "average": float(min(given["average"], LARGEST_COUNT)),
            }
        )

    @property
    def uses_median(self):
        """Whether steps follow a median of gradients."""
        return self.gradient_estimator != "mean"

    @property
    def watches_median(self):
        """Whether the stopping rule watches a median of losses, not their mean."""
        # Outliers dominate a sum of losses, also of losses that reject outliers.
        return self.uses_median or self.task.losses[self.loss].redescending

    @property
    def is_proximal(self):
        """Whether the gradient estimator is a stochastic proximal point method."""
        return GRADIENT_ESTIMATORS[self.gradient_estimator].proximal

    @property
    def follows_each(self):
        """Whether the location is each gradient itself, as in plain SGD."""
        unclipped = self.tau == np.inf or not self.is_proximal
        return unclipped and self.momentum == 0 and self.n_gradients == 1

    @property
    def repeats_rows(self):
        """Whether a pass visits a row by its weight; else weights multiply steps."""
        return self.uses_median and not self.follows_each

    @property
    def n_strata(self):
        """Return the number of locations that a problem tracks."""
        # Without clipping and memory no location is tracked, which could ignore a
        # class.
        tracks = self.is_proximal and not self.follows_each
        return 2 if self.task.is_classification and tracks else 1

    @property
    def radius(self):
        """Return the radius of SPP: infinite without clipping, None if tracked."""
        if not self.is_proximal:
            return np.inf
        return None if self.tau == "auto" else self.tau

    @property
    def refines(self):
        """Whether fit has a second stage."""
        is_refined = self.loss in self.task.refined_losses
        return self.refine and self.uses_median and is_refined

    def check(self, *, for_partial_fit=False):
        """Check combinations of parameters.

        Raises
        ------
        ValueError
            If they cannot go together.
        """
        if self.early_stopping and for_partial_fit:
            raise ValueError("early_stopping should be False with partial_fit")
        if self.learning_rate == "optimal" and self.alpha == 0:
            raise ValueError(
                "alpha must be > 0 since learning_rate is 'optimal'. alpha is used "
                "to compute the optimal learning rate."
            )
        if np.isnan(self.l1_ratio):
            raise ValueError("l1_ratio must be set when penalty is 'elasticnet'")
        if self.learning_rate in PASSIVE_AGGRESSIVE:
            self._check_passive_aggressive()

    def _check_passive_aggressive(self):
        loss = self.task.passive_aggressive_loss
        if self.loss != loss:
            raise ValueError(
                f"Learning rate {self.learning_rate!r} only works with loss {loss!r}."
            )
        needed = {
            "gradient_estimator": "mean",
            "n_gradients": 1,
            "batch_size": 1,
            "momentum": 0,
        }
        given = {name: getattr(self, name) for name in needed}
        wrong = [name for name in needed if given[name] != needed[name]]
        if wrong:
            raise ValueError(
                f"Learning rate {self.learning_rate!r} steps along the gradient of "
                "one sample, but got "
                + ", ".join(f"{name}={given[name]!r}" for name in wrong)
                + ". Set "
                + ", ".join(f"{name}={needed[name]!r}" for name in wrong)
                + ", or choose another learning_rate."
            )

    def feature_units(self, X, weight, *, as_dense=False):
        """Return the units that rows of these weights set."""
        return feature_units(
            X,
            weight,
            standardize=self.standardize,
            needed=self.standardize or (self.leverage_weights and self.uses_median),
            # Centring would move a model that passes through the origin.
            centered=self.fit_intercept,
            clip=self.task.scale_clip,
            rare_power=self.task.rare_power,
            reach=self.task.scale_reach,
            as_dense=as_dense,
        )

    def refined_units(self, X, weight, units):
        """Return the units in which a classifier's second stage sees rows."""
        if not (units.applied and self.fit_intercept):
            return units
        return centered_units(units, X, weight, self.feature_units)

    def first_eta(self, units):
        """Return the step size with which a schedule begins.

        Raises
        ------
        ValueError
            If "auto" has to be 0, because the rows are too long.
        """
        if self.eta0 != "auto":
            return self.eta0
        if not self.uses_median and not units.applied:
            return SGD_ETA0
        eta0 = self.task.c_eta / (1 + units.squared_norm)
        if eta0 == 0:
            raise ValueError(
                "eta0='auto' is 0, for the squared norms of the rows of X overflow. "
                "Use standardize=True or divide the features by their scales."
            )
        return eta0

    def settings(self, data, **changes):
        """Return the settings of compiled code, with ``changes``."""
        X, units, task = data.X, data.units, self.task
        loss = task.losses[self.loss]
        epsilon = self.epsilon if loss.parameter is None else loss.parameter
        is_scaled = loss.redescending or epsilon == "auto"
        settings = {
            "loss": loss,
            "epsilon": None if is_scaled else epsilon,
            "c_epsilon": loss.c_epsilon,
            "tracks_residuals": not task.is_classification,
            "largest_residual_scale": np.inf,
            "standardize": units.applied,
            "leverage_limit": np.inf,
            "leverage_power": task.leverage_power,
            "overshoot": np.inf,
            "largest_derivative": LARGEST_MEAN_DERIVATIVE,
            "penalty": self.penalty,
            "alpha": self.alpha,
            "l1_ratio": self.l1_ratio,
            "fit_intercept": self.fit_intercept,
            "intercept_decay": 1.0,
            "learning_rate": self.learning_rate,
            "eta0": self.first_eta(units),
            "power_t": self.power_t,
            "average": self.average,
            "gradient_estimator": self.gradient_estimator,
            "n_gradients": self.n_gradients,
            "batch_size": self.batch_size,
            "tau": self.radius,
            "c_tau": task.c_tau,
            "momentum": self.momentum,
            "n_strata": self.n_strata,
        }
        if self.uses_median:
            largest_float = float(np.finfo(X.dtype).max)
            settings["largest_derivative"] = np.sqrt(largest_float)
            if self.leverage_weights:
                settings["leverage_limit"] = leverage_limit(X.shape[1])
        else:
            # Steps along a median are bounded without this.
            if loss.redescending:
                settings["overshoot"] = OVERSHOOT
            if sparse.issparse(X):
                settings["intercept_decay"] = 0.01  # scikit-learn's damping
        return Settings(**settings | changes)

    def stopping_rule(
        self, n_samples, settings, n_updates=UPDATES_NO_CHANGE, *, relative, **start
    ):
        """Return the rule of a stage; "auto" waits for ``n_updates`` updates."""
        tol, patience = self.tol, self.n_iter_no_change
        if patience == "auto" and not relative:
            patience = SGD_N_ITER_NO_CHANGE
        elif patience == "auto":
            per_epoch = n_samples / (settings.n_gradients * settings.batch_size)
            epochs = n_updates / max(1, per_epoch)
            patience = int(np.clip(np.ceil(epochs), 1, LONGEST_PATIENCE))
            # An epoch of more updates has to make more progress.
            tol = None if tol is None else min(0.5, tol / min(1.0, epochs))
        return StoppingRule(tol, patience, relative=relative, **start)
