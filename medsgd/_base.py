"""The path of fit and partial_fit, which regressor and classifier share."""

import copy
import inspect
import operator
from contextlib import contextmanager
from dataclasses import replace
from numbers import Integral, Real

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.base import BaseEstimator, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import check_is_fitted, validate_data

from medsgd._core.settings import GRADIENT_ESTIMATORS, LEARNING_RATES, PENALTIES
from medsgd._fit.callbacks import Callbacks
from medsgd._fit.data import Data
from medsgd._fit.epochs import Training, as_columns
from medsgd._fit.persistence import as_plain, from_plain, is_readable, why_not_readable
from medsgd._fit.plan import Plan
from medsgd._fit.solutions import as_attributes, as_given, solutions, start
from medsgd._fit.state import State
from medsgd._fit.tasks import MAX_INT
from medsgd._fit.units import ENOUGH_ROWS, RecentRows, stacked
from medsgd._refinement.stream import Stream
from medsgd._utils.compat import (
    CallbackSupportMixin,
    Interval,
    SparseCoefMixin,
    StrOptions,
    _check_sample_weight,
)
from medsgd._utils.guards import (
    aligned,
    canonical_rows,
    checked,
    summing_quietly,
    warn_user,
)
from medsgd._utils.typing import Floats

# The state that partial_fit continues from, besides the public attributes.
TRAINING = (
    "_units",
    "_states",
    "_first_rows",
    "_typical_weight",
    "_stream",
    "_recent_rows",
)
# Rows of a stream over which weights are averaged. One chunk counts for at most so many
# rows more than it has.
WEIGHT_MEMORY = 1000

# A stream whose predictions are so many times the targets has diverged.
DIVERGED = 1e6


class BaseMedianSGD(SparseCoefMixin, CallbackSupportMixin, BaseEstimator):
    """Base class: a fit is data, a plan, stages of epochs, and attributes.

    A subclass defines its targets (``_task``) and checks them (``_check_targets``). It
    shortens the first stage if others follow (``_first_stage``), and runs these
    (``_later_stages``).
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

    # Whether the units of the features follow a stream, and the type of its refined
    # estimate. Dask has neither.
    _follows_units = True
    _stream_type: type[Stream] = Stream

    _parameter_constraints: dict = {
        "gradient_estimator": [StrOptions(set(GRADIENT_ESTIMATORS))],
        "n_gradients": [
            StrOptions({"auto"}),
            Interval(Integral, 1, MAX_INT, closed="both"),
        ],
        "batch_size": [Interval(Integral, 1, MAX_INT, closed="both")],
        # The interval is closed on the right, because infinity is a radius.
        "tau": [StrOptions({"auto"}), Interval(Real, 0, None, closed="right")],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "penalty": [StrOptions(set(PENALTIES) - {None}), None],
        "alpha": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
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

    def _task(self):
        """Return the ``Task`` that the targets are."""
        raise NotImplementedError

    def _plan(self):
        return Plan.of(self, self._task())

    def _check_changed_parameters(self):
        """Check parameters that have changed, which scikit-learn does not."""
        # get_params takes longer than a pass over few rows.
        params = [getattr(self, name) for name in self._parameter_constraints]
        known = getattr(self, "_checked_parameters", [])
        if len(known) != len(params) or any(map(operator.is_not, params, known)):
            self._validate_params()
            self._plan().check(for_partial_fit=True)
            self._checked_parameters = params

    def _validate(self, X, y, sample_weight, *, reset):
        """Check and convert the data; weights of 1 where None are given."""
        # Not the dtype of coef_, which the user may have set.
        dtype = [np.float64, np.float32] if reset else self._states[0].dtype
        with summing_quietly():
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
            ensure_non_negative=self.gradient_estimator != "mean",
            # The split for early stopping has a better message about weights of zero.
            allow_all_zero_weights=self.early_stopping,
        )
        return X, y, aligned(sample_weight)

    @contextmanager
    def _training_data(self, X, y, sample_weight, *, reset, new_classes):
        """Yield the data of a call while they are in use."""
        X, y, sample_weight = self._validate(X, y, sample_weight, reset=reset)
        y = self._check_targets(y, X.dtype, first=new_classes)
        yield Data(X=X, y=y, weight=sample_weight, given_weight=sample_weight)

    def _seen_by_callbacks(self, X, y, data):
        """Return X and y as callbacks see them."""
        return data.X, data.y

    def _mean_weight(self, data):
        """Return the number of rows with a weight, and the mean weight."""
        weight = data.weight[data.rows]
        if len(weight) == 0:
            return 0, 1.0
        # The sum of the weights may overflow.
        largest = float(weight.max())
        return len(weight), largest * float((weight / largest).mean(dtype=np.float64))

    def _in_weight_units(self, plan, data, *, first):
        """Divide the weights by the one that counts as 1.

        It is the mean weight of the stream, so that steps have a typical size in any
        unit of the weights.
        """
        if not plan.repeats_rows:
            self._typical_weight = None
            return data
        n_rows, mean = self._mean_weight(data)
        n_before, unit = (not first and self._typical_weight) or (0, mean)
        share = n_rows / max(1, min(n_before, WEIGHT_MEMORY) + n_rows)
        unit += share * (mean - unit)
        self._typical_weight = n_before + n_rows, unit
        return self._divided(data, unit)

    def _divided(self, data, unit):
        """Return the data with their weights in another unit."""
        return data if unit == 1 else replace(data, weight=data.weight / unit)

    def _unit_weights(self, plan, data):
        """Return the weights by which the rows set the units."""
        return data.weight

    def _learn_units(self, plan, data, states, *, first):
        """Set the units of a stream, and ``states`` to them, until enough has come."""
        X, weight, units = data.X, data.weight, None
        if first:
            self._first_rows = []
        if self._first_rows is not None:
            if not weight.all():
                X, weight = X[data.rows], weight[data.rows]
            chunks, weights = zip(*self._first_rows, (X, weight), strict=True)
            all_weights = np.concatenate(weights)
            # Sums of equal weights are then exact.
            all_weights = all_weights / np.abs(all_weights).max()
            units = plan.feature_units(stacked(chunks), all_weights)
            if len(all_weights) >= ENOUGH_ROWS:
                self._first_rows = None
            else:
                # Copies, because the caller may fill the same arrays again. The list is
                # new, so that a call that fails keeps the old list.
                self._first_rows = [*self._first_rows, (X.copy(), weight.copy())]
        elif plan.uses_median and plan.leverage_weights and not self._units.known:
            units = replace(plan.feature_units(X, weight), applied=False)
        if units is not None:
            for state in states:
                state.change_units(self._units, units)
            self._units = units
        elif self._follows_units and self._units.known:
            self._follow_units(plan, X, weight, states)
        return replace(data, units=self._units)

    def _follow_units(self, plan, X, weight, states):
        """Change the units of features that differ in recent rows."""
        recent = self._recent_rows or RecentRows()
        recent = recent.extended(X, weight, self._units)
        units, self._recent_rows = recent.followed(self._units, plan.feature_units)
        if units is not self._units:
            for state in states:
                state.follow_units(self._units, units)
            self._units = units

    def _initial_states(
        self, plan, data, coef_init=None, intercept_init=None, *, resume
    ):
        """Return the states of a new fit, one for each row of the coefficients."""
        n_problems, dtype = plan.task.n_problems, data.X.dtype
        shape = (n_problems, data.X.shape[1])
        coef, intercept = coef_init, intercept_init
        if resume and getattr(self, "coef_", None) is not None:
            if coef is None:
                coef = self.coef_
            if intercept is None:  # missing if coef_ alone was set by hand
                intercept = getattr(self, "intercept_", None)
        given = coef is not None
        coef = as_given(coef, shape, dtype, "coef_init") if given else np.zeros(shape)
        if intercept is None:
            intercept = plan.task.first_intercepts(plan, data, coef if given else None)
        else:
            intercept = as_given(intercept, shape[:1], dtype, "intercept_init")
        return [
            State(**start(data.units, coef[i], intercept[i], dtype))
            for i in range(n_problems)
        ]

    def _current_states(self):
        """Return the states to continue from, with coef_ and intercept_ of the user."""
        coef, intercept = self._reported()
        if (
            isinstance(self.coef_, np.ndarray)
            and np.array_equal(np.atleast_2d(self.coef_), coef)
            and np.array_equal(self.intercept_, intercept)
        ):
            return [copy.copy(state) for state in self._states]
        fitted, dtype = np.column_stack([coef, intercept]), self._states[0].dtype
        coef = as_given(self.coef_, coef.shape, dtype, "coef_")
        intercept = as_given(self.intercept_, intercept.shape, dtype, "intercept_")
        given = np.column_stack([coef, intercept])
        if self._stream is not None:
            if np.array_equal(given, fitted):
                return [replace(state) for state in self._states]
            # A refined estimate begins anew if the user has set coefficients.
            self._stream = None
        return [
            replace(state)
            if np.array_equal(own, known)
            else state.moved_to(**start(self._units, own[:-1], own[-1], state.dtype))
            for state, own, known in zip(self._states, given, fitted, strict=True)
        ]

    def _reported(self):
        """Return coefficients and intercepts of the last call, a row a problem."""
        if self._stream is None or not self._stream.is_shown:
            return solutions(self._states, self._units)
        return as_attributes(self._stream.solutions(), self._states[0].dtype)

    def _product(self, X):
        """Return rows times coefficients as a dense array."""
        check_is_fitted(self)
        with summing_quietly():
            X = validate_data(self, checked(X), accept_sparse="csr", reset=False)
        coef = checked(self.coef_, "coef_")
        if sparse.issparse(X) and sparse.issparse(coef):
            # sparsify of scikit-learn 1.9 may leave a matrix of one dimension, which
            # only arrays can be; safe_sparse_dot wants all indices of one dtype.
            return (sparse.csr_array(X) @ sparse.csr_array(coef).T).toarray()
        return safe_sparse_dot(X, coef.T, dense_output=True)

    def _solution(self, states):
        """Return the coefficients and intercepts as attributes."""
        coef, intercept = solutions(states, self._units)
        return {**self._coef_attributes(coef), "intercept_": intercept}

    def _max_epochs(self):
        """Return the largest number of epochs of a fit."""
        return self.max_iter

    def _training(self, plan, data, callbacks=None, *, guarded=False):
        """Return the loop of epochs."""
        return Training(plan, callbacks=callbacks, guarded=guarded)

    def _run(self, training, data, states, max_epochs=None):
        """Run the first stage, and return its settings, data and problems."""
        plan = training.plan
        if sparse.issparse(data.X) and data.units.center.any():
            # The first call of a stream was dense, so a dense array of this size fits.
            data = replace(data, X=data.X.toarray())
        settings = plan.settings(data)
        data, makers = plan.task.makers(plan, data, states, settings)
        if max_epochs is None:
            makers, max_epochs = self._first_stage(plan, data, makers)
        problems = training.run_new(
            makers,
            settings,
            max_epochs,
            adaptive=training.guarded and plan.learning_rate == "adaptive",
        )
        return settings, data, problems

    def _first_stage(self, plan, data, makers):
        """Return the makers of the problems of the first stage, and its most epochs."""
        return makers, plan.max_iter

    def _later_stages(self, training, data, problems, states):
        """Run the stages after the first, and return the problems.

        ``states``: those at which the first stage began.
        """
        return problems

    def _finish(self, training, data, problems, states):
        """Set attributes besides the solution.

        ``states``: those at which the call began.
        """

    def _fit(self, X, y, coef_init, intercept_init, sample_weight):
        """Fit from scratch, or from the last solution with ``warm_start``."""
        self._plan().check()
        callbacks = Callbacks(
            self,
            self._max_epochs(),
            sample_weight,
            lambda problems: self._solution([problem.state for problem in problems]),
        )
        with self._training_data(
            X, y, sample_weight, reset=True, new_classes=True
        ) as data:
            plan = self._plan()
            callbacks.begin(*self._seen_by_callbacks(X, y, data))
            data = self._in_weight_units(plan, data, first=True)
            units = plan.feature_units(data.X, self._unit_weights(plan, data))
            data = replace(data, units=units)
            self._units, self._first_rows = units, None
            self._stream = self._recent_rows = None
            states = self._initial_states(
                plan, data, coef_init, intercept_init, resume=self.warm_start
            )
            training = self._training(plan, data, callbacks, guarded=True)
            settings, data, problems = self._run(training, data, states)
            problems = self._later_stages(training, data, problems, states)
            self._set_fitted(plan, settings, training.n_epochs, problems, t=1.0)
            self._finish(training, data, problems, states)
        callbacks.end()
        if self.tol is not None and not (training.converged or training.interrupted):
            self._warn_not_converged(training)
        if self.power_t < 0:
            warn_user(
                "Negative values for `power_t` are deprecated in version 1.8 of "
                "scikit-learn and will raise an error in 1.10. "
                "Use values in the range [0.0, inf) instead.",
                FutureWarning,
            )
        return self

    def _warn_not_converged(self, training):
        part = "" if training.n_epochs == self.max_iter else " of the median stage"
        warn_user(
            f"Maximum number of iteration{part} reached before convergence. "
            "Consider increasing max_iter to improve the fit.",
            ConvergenceWarning,
        )

    def _check_state(self):
        """Check that training can continue.

        Raises
        ------
        ValueError
            If a pickle has brought the state of a version that this one does not read,
            or if parameters set since are not valid or fit no more.
        """
        if hasattr(self, "_training_state"):
            raise ValueError(why_not_readable(self._training_state))
        if hasattr(self, "_states"):
            self._check_changed_parameters()
            if not self.fit_intercept and self._units.center.any():
                raise ValueError(
                    "partial_fit cannot go on with fit_intercept=False: earlier calls "
                    "had fit_intercept=True, and have centred the features. Set it to "
                    "True, or call fit, or begin with a clone."
                )

    def _partial_fit(self, X, y, sample_weight, first):
        """Make one pass over the samples given."""
        with self._training_data(
            X, y, sample_weight, reset=first, new_classes=False
        ) as data:
            plan = self._plan()
            states = [] if first else self._current_states()
            data = self._learn_units(plan, data, states, first=first)
            data = self._in_weight_units(plan, data, first=first)
            if first:
                states = self._initial_states(plan, data, resume=True)
                self._stream = self._recent_rows = None
            training = self._training(plan, data)
            settings, data, problems = self._run(training, data, states, max_epochs=1)
            self._set_fitted(
                plan,
                settings,
                training.n_epochs,
                problems,
                t=1.0 if first else self.t_,
            )
            self._finish(training, data, problems, states)
        return self

    def _follow(self, plan, data, states):
        """Bring the refined estimate of a stream up to date, and show it.

        ``states``: those of the median before the call.
        """
        if not self._stream_type.can_follow(plan):
            self._stream = None
            return
        stream = self._stream or self._stream_type()
        before, after = (
            [state.solution() for state in each] for each in (states, self._states)
        )
        self._stream = stream.followed(plan, data, before, after)
        if self._stream.is_shown:
            coef, intercept = self._reported()
            for name, value in self._coef_attributes(coef).items():
                setattr(self, name, value)
            self.intercept_ = intercept

    def _check_divergence(self, plan, units, target_size):
        """Check that the steps of a stream have not made its coefficients diverge."""
        # scikit-learn's estimator checks let plain SGD diverge.
        if not plan.uses_median or target_size == 0:
            return
        largest = max(state.squared_norm for state in self._states)
        with np.errstate(over="ignore", invalid="ignore"):
            size = np.sqrt(largest) * np.sqrt(units.squared_norm)
        if not size > DIVERGED * target_size:
            return
        raise ValueError(
            f"The stream diverges: predictions for typical rows are of the size "
            f"{size:.3g}, {size / target_size:.0e} times that of the targets. "
            f"The steps are too long. Lower eta0={plan.first_eta(units):.3g}, leave it "
            "'auto', or choose a learning_rate whose steps shrink, such as "
            "'invscaling'. If features have changed, leave standardize 'auto', so that "
            "their units follow, or begin anew."
        )

    def _set_fitted(self, plan, settings, n_iter, problems, *, t):
        """Set the fitted attributes; ``t`` is the clock at the start of the call."""
        self._states = [problem.state for problem in problems]
        for name, value in self._solution(self._states).items():
            setattr(self, name, value)
        self.n_iter_ = n_iter
        # All problems have the clock of the longest one.
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
        if plan.is_proximal:
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
            stream = state["_stream"]
            state["_stream"] = stream and stream.as_plain()
            state["_training_state"] = as_plain(*map(state.pop, TRAINING))
        return state

    def __setstate__(self, state):
        state = state.copy()
        plain = state.get("_training_state", {})
        if is_readable(plain):
            del state["_training_state"]
            state |= zip(TRAINING, from_plain(plain), strict=True)
            if state["_stream"]:
                state["_stream"] = self._stream_type.from_plain(state["_stream"])
        elif "_states" in state:
            # The file is from before the state had a version.
            state = {n: value for n, value in state.items() if n not in TRAINING}
            state["_training_state"] = plain
        # A file lacks parameters that were added later.
        for name, parameter in inspect.signature(type(self)).parameters.items():
            if parameter.default is not parameter.empty:
                state.setdefault(name, parameter.default)
        super().__setstate__(state)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
