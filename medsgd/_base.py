"""What regressor and classifier share: parameters, validation, epochs."""

import operator
from dataclasses import replace
from numbers import Integral, Real

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.special import chdtri
from sklearn.base import BaseEstimator, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import check_is_fitted, validate_data

from medsgd._compat import (
    CallbackSupportMixin,
    Interval,
    SparseCoefMixin,
    StrOptions,
    _check_sample_weight,
)
from medsgd._core.settings import GRADIENT_ESTIMATORS, LEARNING_RATES, Settings
from medsgd._guards import aligned, canonical_rows, checked, warn_user
from medsgd._persistence import as_plain, from_plain, is_readable, why_not_readable
from medsgd._problem import Problem, as_columns
from medsgd._standardize import ENOUGH_ROWS, feature_units, stacked
from medsgd._state import State
from medsgd._stopping import HeldOut, StoppingRule, exact_share, held_out_mask
from medsgd._training import Training
from medsgd._typing import Floats

MAX_INT = np.iinfo(np.int32).max
# Beyond which a clock of doubles stands still.
LARGEST_COUNT = 2**53
PASSIVE_AGGRESSIVE = ("pa1", "pa2")
# As scikit-learn bounds them.
LARGEST_MEAN_DERIVATIVE = 1e12
SGD_ETA0 = 0.01
SGD_ALPHA = 1e-4
SGD_N_ITER_NO_CHANGE = 5
# Work is counted in updates: with a million samples one pass is many of them, with
# twenty it is next to nothing. Measured: fewer leave correlated features half fitted.
UPDATES_NO_CHANGE = 20_000
LONGEST_PATIENCE = 200
# Steps on the bisquare may take a row far out this much too far: heavy-tailed features
# keep most of their say, and no row can throw the fit away.
OVERSHOOT = 6.0
# What partial_fit goes on from, besides the public attributes.
TRAINING = ("_units", "_states", "_first_rows", "_typical_weight")
# Rows of a stream over which weights are averaged. One chunk counts for at most so many
# rows more than it has.
WEIGHT_MEMORY = 1000


class BaseMedianSGD(SparseCoefMixin, CallbackSupportMixin, BaseEstimator):
    """Base class: a fit is a loop of epochs over one or several problems.

    A subclass checks its targets (``_check_targets``) and turns them into problems
    (``_problems``). It has the table of its losses (``_losses``), the loss of
    passive-aggressive learning (``_passive_aggressive_loss``), and what was measured to
    be right for it: the factors of "auto" for tau and eta0 (``_c_tau``, ``_c_eta``),
    how features are scaled (``_scale_clip``) and what leverage weighs
    (``_leverage_power``).
    """

    coef_: Floats
    intercept_: Floats
    n_iter_: int
    t_: float
    tau_: float | Floats
    loss_curve_: Floats
    clip_fraction_curve_: Floats
    n_features_in_: int
    feature_names_in_: npt.NDArray[np.object_]

    _rare_power: float | None = None

    _parameter_constraints: dict = {
        "gradient_estimator": [StrOptions(set(GRADIENT_ESTIMATORS))],
        "n_gradients": [
            StrOptions({"auto"}),
            Interval(Integral, 1, MAX_INT, closed="both"),
        ],
        "batch_size": [Interval(Integral, 1, MAX_INT, closed="both")],
        # Closed on the right: infinity is a radius.
        "tau": [StrOptions({"auto"}), Interval(Real, 0, None, closed="right")],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "penalty": [StrOptions({"l2", "l1", "elasticnet"}), None],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "l1_ratio": [Interval(Real, 0, 1, closed="both"), None],
        "fit_intercept": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left"), None],
        "shuffle": ["boolean"],
        "verbose": ["verbose"],
        "epsilon": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
        "learning_rate": [StrOptions(set(LEARNING_RATES))],
        "eta0": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, None, None, closed="neither")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "standardize": [StrOptions({"auto"}), "boolean"],
        "leverage_weights": ["boolean"],
        "warm_start": ["boolean"],
        "average": [Interval(Integral, 0, None, closed="neither"), "boolean"],
    }

    @property
    def _robust(self):
        return self.gradient_estimator != "mean"

    @property
    def _robust_losses(self):
        # Outliers dominate a sum of losses, also of losses that reject outliers.
        return self._robust or self._losses[self.loss].redescending

    @property
    def _proximal(self):
        return GRADIENT_ESTIMATORS[self.gradient_estimator].proximal

    @property
    def _follows_each(self):
        """Whether the location is each gradient itself, as in plain SGD."""
        unclipped = self.tau == np.inf or not self._proximal
        return unclipped and self.momentum == 0 and self._n_gradients() == 1

    @property
    def _repeats_rows(self):
        """Whether a row comes as often as it weighs; else weights multiply steps."""
        return self._robust and not self._follows_each

    def _check_parameters(self, *, for_partial_fit=False):
        """Check combinations of parameters.

        Raises
        ------
        ValueError
            If they cannot go together.
        """
        if self.early_stopping and for_partial_fit:
            raise ValueError("early_stopping should be False with partial_fit")
        if self.learning_rate == "optimal" and self._alpha() == 0:
            raise ValueError(
                "alpha must be > 0 since learning_rate is 'optimal'. alpha is used "
                "to compute the optimal learning rate."
            )
        if self.penalty == "elasticnet" and self.l1_ratio is None:
            raise ValueError("l1_ratio must be set when penalty is 'elasticnet'")
        if self.learning_rate in PASSIVE_AGGRESSIVE:
            if self.loss != self._passive_aggressive_loss:
                raise ValueError(
                    f"Learning rate {self.learning_rate!r} only works with loss "
                    f"{self._passive_aggressive_loss!r}."
                )
            needed = {
                "gradient_estimator": "mean",
                "n_gradients": 1,
                "batch_size": 1,
                "momentum": 0,
            }
            given = {name: getattr(self, name) for name in needed}
            given["n_gradients"] = self._n_gradients()
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

    def _check_changed_parameters(self):
        """Check what may have been set since, which scikit-learn leaves unchecked."""
        params = list(self.get_params(deep=False).values())
        known = getattr(self, "_checked_parameters", [])
        if len(known) != len(params) or any(map(operator.is_not, params, known)):
            self._validate_params()
            self._check_parameters(for_partial_fit=True)
            self._checked_parameters = params

    def _alpha(self):
        """The strength of the penalty."""
        return self.alpha

    def _n_gradients(self):
        if self.n_gradients != "auto":
            return int(self.n_gradients)
        return GRADIENT_ESTIMATORS[self.gradient_estimator].n_gradients

    def _n_strata(self):
        """How many locations a problem tracks."""
        # Without clipping and memory nothing is tracked that could forget a class.
        tracks = self._proximal and not self._follows_each
        return 2 if is_classifier(self) and tracks else 1

    def _feature_units(self, X, sample_weight):
        standardize = self.standardize
        if standardize == "auto":
            standardize = self._robust
        return feature_units(
            X,
            sample_weight,
            standardize=standardize,
            needed=standardize or (self.leverage_weights and self._robust),
            # A model through the origin must stay one.
            centered=self.fit_intercept,
            clip=self._scale_clip,
            rare_power=self._rare_power,
        )

    def _learn_units(self, X, sample_weight, states, *, first):
        """Set the units of a stream, and ``states`` to them, until enough has come."""
        if first:
            self._first_rows = []
        if self._first_rows is not None:
            if not sample_weight.all():
                rows = np.flatnonzero(sample_weight)
                X, sample_weight = X[rows], sample_weight[rows]
            chunks, weights = zip(*self._first_rows, (X, sample_weight), strict=True)
            weight = np.concatenate(weights)
            # Sums of equal weights are then exact.
            weight = weight / np.abs(weight).max()
            units = self._feature_units(stacked(chunks), weight)
            if len(weight) >= ENOUGH_ROWS:
                self._first_rows = None
            else:
                # Copies, for the caller may fill the same arrays again; and a new list,
                # so that a call that fails leaves the old one.
                kept = X.copy(), sample_weight.copy()
                self._first_rows = [*self._first_rows, kept]
        elif self._robust and self.leverage_weights and not self._units.known:
            units = replace(self._feature_units(X, sample_weight), applied=False)
        else:
            return
        for state in states:
            state.change_units(self._units, units)
        self._units = units

    def _weight_unit(self, n_rows, mean, *, first):
        """Return the weight that counts as 1, given ``n_rows`` more of a mean weight.

        It is the mean weight of the stream, so that steps have a typical size in any
        unit of the weights.
        """
        if not self._repeats_rows:
            self._typical_weight = None
            return 1.0
        n_before, unit = (not first and self._typical_weight) or (0, mean)
        share = n_rows / max(1, min(n_before, WEIGHT_MEMORY) + n_rows)
        unit += share * (mean - unit)
        self._typical_weight = n_before + n_rows, unit
        return unit

    def _in_weight_units(self, sample_weight, *, first):
        """Divide the weights by the one that counts as 1."""
        weight, mean = sample_weight[sample_weight != 0], 1.0
        if len(weight) and self._repeats_rows:
            # The sum of the weights may overflow.
            largest = float(weight.max())
            mean = largest * float((weight / largest).mean(dtype=np.float64))
        unit = self._weight_unit(len(weight), mean, first=first)
        return sample_weight if unit == 1 else sample_weight / unit

    def _eta0(self):
        if self.eta0 != "auto":
            return self.eta0
        if not self._robust and not self._units.applied:
            return SGD_ETA0
        eta0 = self._c_eta / (1 + self._units.squared_norm)
        if eta0 == 0:
            raise ValueError(
                "eta0='auto' is 0, for the squared norms of the rows of X overflow. "
                "Use standardize=True or divide the features by their scales."
            )
        return eta0

    def _stopping_rule(self, n_samples, settings, n_updates, *, robust, **start):
        """The rule of a stage; "auto" waits for the epochs of ``n_updates`` updates."""
        tol, patience = self.tol, self.n_iter_no_change
        if patience == "auto" and not robust:
            patience = SGD_N_ITER_NO_CHANGE
        elif patience == "auto":
            per_epoch = n_samples / (settings.n_gradients * settings.batch_size)
            epochs = n_updates / max(1, per_epoch)
            patience = int(np.clip(np.ceil(epochs), 1, LONGEST_PATIENCE))
            # An epoch of more updates has to make more progress.
            tol = None if tol is None else min(0.5, tol / min(1.0, epochs))
        return StoppingRule(tol, patience, relative=robust, **start)

    def _tau(self):
        """The radius; infinite where nothing is clipped, None where it is tracked."""
        if not self._proximal:
            return np.inf
        return None if self.tau == "auto" else self.tau

    def _settings(self, X, **changes):
        """What compiled code needs to know, with ``changes`` to it."""
        loss = self._losses[self.loss]
        epsilon = self.epsilon if loss.parameter is None else loss.parameter
        scaled, median = loss.redescending or epsilon == "auto", self._robust
        largest_float = float(np.finfo(X.dtype).max)
        settings = {
            "loss": loss,
            "epsilon": None if scaled else epsilon,
            "c_epsilon": loss.c_epsilon,
            "tracks_residuals": not is_classifier(self),
            "largest_residual_scale": np.inf,
            "standardize": self._units.applied,
            "leverage_limit": np.inf,
            "leverage_power": self._leverage_power,
            "overshoot": OVERSHOOT if loss.redescending and not median else np.inf,
            "largest_derivative": LARGEST_MEAN_DERIVATIVE,
            "penalty": self.penalty,
            "alpha": self._alpha(),
            "l1_ratio": 0.0 if self.l1_ratio is None else self.l1_ratio,
            "fit_intercept": self.fit_intercept,
            "intercept_decay": 1.0,
            "learning_rate": self.learning_rate,
            "eta0": self._eta0(),
            "power_t": self.power_t,
            "average": float(min(self.average, LARGEST_COUNT)),
            "gradient_estimator": self.gradient_estimator,
            "n_gradients": self._n_gradients(),
            "batch_size": self.batch_size,
            "tau": self._tau(),
            "c_tau": self._c_tau,
            "momentum": self.momentum,
            "n_strata": self._n_strata(),
        }
        if median:
            settings["largest_derivative"] = np.sqrt(largest_float)
            if self.leverage_weights:
                settings["leverage_limit"] = chdtri(X.shape[1], 0.025)
        elif sparse.issparse(X):
            # scikit-learn's damping; a median's steps are bounded.
            settings["intercept_decay"] = 0.01
        return Settings(**settings | changes)

    def _validate(self, X, y, sample_weight, *, reset):
        """Check and convert the data; weights of 1 where None are given."""
        # Not that of coef_, which the user may have set.
        dtype = [np.float64, np.float32] if reset else self._states[0].dtype
        X, y = validate_data(
            self,
            checked(X),
            y,
            accept_sparse="csr",
            order="C",
            dtype=dtype,
            reset=reset,
            y_numeric=not is_classifier(self),
        )
        X = canonical_rows(X)
        sample_weight = _check_sample_weight(
            sample_weight,
            X,
            dtype=X.dtype,
            ensure_non_negative=self._robust,
            # The split for early stopping says more about weights of zero.
            allow_all_zero_weights=self.early_stopping,
        )
        return X, y, aligned(sample_weight)

    def _validation_mask(self, y, rows):
        """Samples to hold out; None without early stopping."""
        if not self.early_stopping:
            return None
        splitter = StratifiedShuffleSplit if is_classifier(self) else ShuffleSplit
        return held_out_mask(
            splitter(
                test_size=self.validation_fraction, random_state=self.random_state
            ),
            y,
            rows,
        )

    def _problem(
        self,
        X,
        y,
        sample_weight,
        state,
        seed,
        settings,
        *,
        validation_mask=None,
        held_X=None,
        strata=None,
        stratum_factors=(1.0,),
        typical_factor=1.0,
    ):
        """A problem ready for its first epoch in this call, and the rows held out."""
        rows = np.flatnonzero(sample_weight)
        robust = self._robust_losses
        held_out = None
        if validation_mask is not None:
            held = validation_mask
            weight = sample_weight[held]
            if strata is not None:
                weight = weight * np.asarray(stratum_factors)[strata[held]]
            held_out = HeldOut(
                held_X,
                y[held],
                weight,
                classification=is_classifier(self),
                robust=robust,
            )
        return Problem(
            y=y,
            sample_weight=sample_weight,
            strata=strata,
            stratum_factors=np.asarray(stratum_factors, dtype=np.float64),
            state=state.prepared(
                settings,
                n_strata=len(stratum_factors),
                inverse_scale=self._units.inverse_scale if sparse.issparse(X) else None,
            ),
            units=self._units,
            rows=rows,
            seed=seed,
            robust=robust,
            rule=self._stopping_rule(
                len(rows),
                settings,
                UPDATES_NO_CHANGE,
                robust=robust,
                exact=exact_share(X.dtype),
            ),
            validation_mask=validation_mask,
            held_out=held_out,
            visit_unit=typical_factor if self._repeats_rows else np.inf,
        )

    def _first_intercepts(self, X, y, sample_weight, coef):
        """Where the intercepts of a new fit start, given its coefficients or None."""
        return np.zeros(self._n_problems())

    def _initial_states(
        self, X, y, sample_weight, coef_init=None, intercept_init=None, *, resume
    ):
        """States of a new fit, one per row of the coefficients."""
        n_problems, dtype = self._n_problems(), X.dtype
        shape = (n_problems, X.shape[1])
        coef, intercept = coef_init, intercept_init
        if resume and getattr(self, "coef_", None) is not None:
            if coef is None:
                coef = self.coef_
            if intercept is None:  # not there where coef_ alone was set by hand
                intercept = getattr(self, "intercept_", None)
        given = coef is not None
        coef = _as_given(coef, shape, dtype, "coef_init") if given else np.zeros(shape)
        if intercept is None:
            intercept = self._first_intercepts(
                X, y, sample_weight, coef if given else None
            )
        else:
            intercept = _as_given(intercept, shape[:1], dtype, "intercept_init")
        return [
            State(**_start(self._units, coef[i], intercept[i], dtype))
            for i in range(n_problems)
        ]

    def _current_states(self):
        """States to go on from; coef_ and intercept_ may have been set by the user."""
        coef, intercept = _solutions(self._states, self._units)
        fitted, dtype = np.column_stack([coef, intercept]), self._states[0].dtype
        coef = _as_given(self.coef_, coef.shape, dtype, "coef_")
        intercept = _as_given(self.intercept_, intercept.shape, dtype, "intercept_")
        given = np.column_stack([coef, intercept])
        return [
            replace(state)
            if np.array_equal(own, known)
            else state.moved_to(**_start(self._units, own[:-1], own[-1], state.dtype))
            for state, own, known in zip(self._states, given, fitted, strict=True)
        ]

    def _product(self, X):
        """Rows times coefficients, a dense array."""
        check_is_fitted(self)
        X = validate_data(self, checked(X), accept_sparse="csr", reset=False)
        coef = checked(self.coef_, "coef_")
        if sparse.issparse(X) and sparse.issparse(coef):
            # sparsify of scikit-learn 1.9 may leave a matrix of one dimension, which
            # only arrays can be; safe_sparse_dot wants all indices of one dtype.
            return (sparse.csr_array(X) @ sparse.csr_array(coef).T).toarray()
        return safe_sparse_dot(X, coef.T, dense_output=True)

    def _solution(self, states, units):
        """The coefficients and intercepts as attributes."""
        coef, intercept = _solutions(states, units)
        return {**self._coef_attributes(coef), "intercept_": intercept}

    def _unit_weights(self, X, y, sample_weight):
        """Return the weights by which the rows set the units."""
        return sample_weight

    def _first_stage(self, X, n_rows, makers):
        """The makers of the problems of the first stage, and the epochs it may take.

        ``n_rows``: how many rows have a weight.
        """
        return makers, self.max_iter

    def _later_stages(self, training, problems, sample_weight, given_weight, starts):
        """What fit does once the chosen gradient estimator has stopped."""
        return problems

    def _set_residual_attributes(self, X, y, sample_weight, problems):
        """Set what a fit tells of the residuals of its training data."""

    def _fit(self, X, y, coef_init, intercept_init, sample_weight):
        """Fit from scratch, or from the last solution with ``warm_start``."""
        self._check_parameters()
        context = self._init_callback_context(max_subtasks=self.max_iter)
        metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        X, y, sample_weight = self._validate(X, y, sample_weight, reset=True)
        y = self._check_targets(y, X.dtype, first=True)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y, metadata=metadata)
        given_weight = sample_weight
        sample_weight = self._in_weight_units(sample_weight, first=True)
        n_rows = np.count_nonzero(sample_weight)
        self._first_rows = None
        self._units = self._feature_units(X, self._unit_weights(X, y, sample_weight))
        settings = self._settings(X)
        rows = X, y, sample_weight
        states = self._initial_states(
            *rows, coef_init, intercept_init, resume=self.warm_start
        )
        training = Training(
            self, X, y, metadata=metadata, context=context, guarded=True
        )
        makers, max_epochs = self._first_stage(
            X, n_rows, self._problems(*rows, states, settings)
        )
        problems = training.run_new(
            makers, settings, max_epochs, adaptive=self.learning_rate == "adaptive"
        )
        problems = self._later_stages(
            training, problems, sample_weight, given_weight, states
        )
        self._set_fitted(problems, settings, training.n_epochs, t=1.0)
        self._set_residual_attributes(X, y, sample_weight, problems)
        context.call_on_fit_task_end(
            estimator=self, X=X, y=y, metadata=metadata, reconstruction_attributes={}
        )
        if self.tol is not None and not (training.converged or training.interrupted):
            part = "" if training.n_epochs == self.max_iter else " of the median stage"
            warn_user(
                f"Maximum number of iteration{part} reached before convergence. "
                "Consider increasing max_iter to improve the fit.",
                ConvergenceWarning,
            )
        if self.power_t < 0:
            warn_user(
                "Negative values for `power_t` are deprecated in version 1.8 of "
                "scikit-learn and will raise an error in 1.10. "
                "Use values in the range [0.0, inf) instead.",
                FutureWarning,
            )
        return self

    def _check_state(self):
        """Check that training can go on from where it is.

        Raises
        ------
        ValueError
            If a pickle has brought the state of a version that this one does not read,
            or if parameters set since are not valid.
        """
        if hasattr(self, "_training_state"):
            raise ValueError(why_not_readable(self._training_state))
        if hasattr(self, "_states"):
            self._check_changed_parameters()

    def _partial_fit(self, X, y, sample_weight, first):
        """One pass over the samples given."""
        X, y, sample_weight = self._validate(X, y, sample_weight, reset=first)
        y = self._check_targets(y, X.dtype, first=False)
        states = [] if first else self._current_states()
        self._learn_units(X, sample_weight, states, first=first)
        sample_weight = self._in_weight_units(sample_weight, first=first)
        if first:
            states = self._initial_states(X, y, sample_weight, resume=True)
        else:
            if sparse.issparse(X) and self._units.center.any():
                # The first call was dense, so this much fits.
                X = X.toarray()
        settings = self._settings(X)
        training = Training(self, X, y)
        problems = training.run_new(
            self._problems(X, y, sample_weight, states, settings),
            settings,
            1,
            adaptive=False,
        )
        self._set_fitted(
            problems, settings, training.n_epochs, t=1.0 if first else self.t_
        )
        return self

    def _set_fitted(self, problems, settings, n_iter, *, t):
        """Set the fitted attributes; ``t`` is the clock at the start of the call."""
        self._states = [problem.state for problem in problems]
        for name, value in self._solution(self._states, self._units).items():
            setattr(self, name, value)
        self.n_iter_ = n_iter
        # The problems share one clock, that of the longest.
        self.t_ = t + max(problem.n_iterations for problem in problems)
        for state in self._states:
            state.t = self.t_
        if settings.tracks_residuals:
            self.scale_ = self._states[0].residual_scale
            self.stage_starts_ = np.array(problems[0].stage_starts, dtype=np.intp)
            vars(self).pop("outliers_", None)
        self.loss_curve_ = as_columns([problem.curve for problem in problems])
        for name in ("tau_", "clip_fraction_curve_", "_training_state"):
            vars(self).pop(name, None)
        if self._proximal:
            self.clip_fraction_curve_ = as_columns([p.clip_curve for p in problems])
            if self.tau == "auto":
                radius = settings.c_tau * np.stack([s.scale for s in self._states])
                self.tau_ = radius.item() if radius.size == 1 else radius.squeeze()
            else:
                self.tau_ = float(self.tau)

    def __getstate__(self):
        state = super().__getstate__().copy()
        state.pop("_checked_parameters", None)
        if "_states" in state:
            state["_training_state"] = as_plain(*map(state.pop, TRAINING))
        return state

    def __setstate__(self, state):
        state = state.copy()
        plain = state.get("_training_state", {})
        if is_readable(plain):
            del state["_training_state"]
            state |= zip(TRAINING, from_plain(plain), strict=True)
        elif "_states" in state:
            # From before the state had a version.
            state = {n: value for n, value in state.items() if n not in TRAINING}
            state["_training_state"] = plain
        super().__setstate__(state)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _as_given(init, shape, dtype, name):
    """Coefficients or intercepts of a caller, a row or an element a problem.

    Raises
    ------
    ValueError
        If they have another shape or are no finite numbers.
    """
    if sparse.issparse(init):
        init = checked(init, name).toarray()
    try:
        if np.iscomplexobj(init):
            raise ValueError("complex numbers")
        with np.errstate(over="ignore"):
            array = np.asarray(init, dtype=dtype)
    except (ValueError, TypeError) as error:
        raise ValueError(f"Provided {name} must be real numbers: {error}.") from error
    if shape[0] == 1 and (len(shape) == 2 or array.ndim == 0):
        # As SGD takes what belongs to one problem.
        array = array.reshape((1, -1)[: len(shape)])
    if array.shape != shape:
        raise ValueError(
            f"Provided {name} does not match dataset. Expected shape {shape}, got "
            f"{array.shape}."
        )
    if not np.isfinite(array).all():
        raise ValueError(f"Provided {name} must be finite in {dtype}.")
    return array


def _start(units, coef, intercept, dtype):
    """Coefficients and intercept in the user's units as fields of a state."""
    coef, intercept = units.from_user(coef, intercept)
    return {"coef": np.array(coef, dtype=dtype), "intercept": float(intercept)}


def _solutions(states, units):
    """Coefficients and intercepts in the user's units, a row a state.

    Raises
    ------
    ValueError
        If they are too large for the dtype.
    """
    dtype = states[0].dtype
    with np.errstate(over="ignore", invalid="ignore"):
        solutions = [units.to_user(*state.solution()) for state in states]
        coef = np.array([coef for coef, _ in solutions], dtype=dtype)
        intercept = np.array([intercept for _, intercept in solutions], dtype=dtype)
    if not (np.isfinite(coef).all() and np.isfinite(intercept).all()):
        raise ValueError(
            f"Coefficients in the units of X are too large for {dtype}. Divide X and y "
            "by their scales."
        )
    return coef, intercept
