"""What regressor and classifier share: parameters, validation, epochs."""

import time
import warnings
from contextlib import nullcontext
from functools import wraps
from numbers import Integral, Real

import numpy as np
from joblib import effective_n_jobs
from scipy import sparse
from sklearn.base import BaseEstimator, is_classifier
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import validate_data

from medsgd._compat import (
    Interval,
    SparseCoefMixin,
    StrOptions,
    _check_sample_weight,
)
from medsgd._core.settings import GRADIENT_ESTIMATORS, LEARNING_RATES, Settings
from medsgd._problem import Problem
from medsgd._state import State
from medsgd._stopping import HeldOut, StoppingRule

MAX_INT = np.iinfo(np.int32).max
PASSIVE_AGGRESSIVE = ("pa1", "pa2")
# As scikit-learn bounds them.
LARGEST_MEAN_DERIVATIVE = 1e12


def all_or_nothing(fit):
    """Decorate a fitting method so that a failure leaves the estimator as it was."""

    @wraps(fit)
    def wrapper(self, *args, **kwargs):
        before = dict(vars(self))
        try:
            return fit(self, *args, **kwargs)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    return wrapper


class BaseMedianSGD(SparseCoefMixin, CallbackSupportMixin, BaseEstimator):
    """Base class: a fit is a loop of epochs over one or several problems.

    A subclass checks its targets (``_check_targets``) and turns them into problems
    (``_problems``). It has the table of its losses (``_losses``), what the scale is
    multiplied by for ``tau="auto"`` (``_c_tau``), and the loss of passive-aggressive
    learning (``_passive_aggressive_loss``).
    """

    _parameter_constraints: dict = {
        "gradient_estimator": [StrOptions(set(GRADIENT_ESTIMATORS))],
        "n_gradients": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
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
        "eta0": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, None, None, closed="neither")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        "average": [Interval(Integral, 0, None, closed="neither"), "boolean"],
    }

    @property
    def _robust(self):
        return self.gradient_estimator != "mean"

    @property
    def _proximal(self):
        return self.gradient_estimator in ("spp-l1", "spp-l2")

    def _check_parameters(self, *, for_partial_fit=False):
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

    def _n_gradients(self):
        if self.n_gradients != "auto":
            return int(self.n_gradients)
        return (
            5 if self.gradient_estimator in ("coord-median", "geometric-median") else 1
        )

    def _n_strata(self):
        """How many locations a problem tracks."""
        # Without clipping and memory nothing is tracked that could forget a class.
        plain = self.tau == np.inf and self.momentum == 0
        return 2 if is_classifier(self) and self._proximal and not plain else 1

    def _settings(self, X):
        loss, epsilon = self._losses[self.loss]
        return Settings(
            loss=loss,
            epsilon=self.epsilon if epsilon is None else epsilon,
            largest_derivative=(
                np.sqrt(np.finfo(X.dtype).max)
                if self._robust
                else LARGEST_MEAN_DERIVATIVE
            ),
            penalty=self.penalty,
            alpha=self.alpha,
            l1_ratio=0.0 if self.l1_ratio is None else self.l1_ratio,
            fit_intercept=self.fit_intercept,
            # scikit-learn's damping for sparse rows; a median's steps are bounded.
            intercept_decay=0.01 if sparse.issparse(X) and not self._robust else 1.0,
            learning_rate=self.learning_rate,
            eta0=self.eta0,
            power_t=self.power_t,
            average=float(self.average),
            gradient_estimator=self.gradient_estimator,
            n_gradients=self._n_gradients(),
            batch_size=self.batch_size,
            tau=None
            if self._proximal and self.tau == "auto"
            else (self.tau if self._proximal else np.inf),
            c_tau=self._c_tau,
            momentum=self.momentum,
            n_strata=self._n_strata(),
        )

    def _validate(self, X, y, sample_weight, *, reset):
        """Check and convert the data; weights of 1 where None are given."""
        dtype = [np.float64, np.float32] if reset else self.coef_.dtype
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            order="C",
            dtype=dtype,
            reset=reset,
            y_numeric=not is_classifier(self),
        )
        if sparse.issparse(X):
            if not X.has_canonical_format:
                # Medians need each coordinate of a row once.
                X = X.copy()
                X.sum_duplicates()
            if X.indices.dtype != X.indptr.dtype:
                X = X.copy()
                X.indices = X.indices.astype(np.int64)
                X.indptr = X.indptr.astype(np.int64)
        sample_weight = _check_sample_weight(
            sample_weight,
            X,
            dtype=X.dtype,
            ensure_non_negative=self._robust,
            # The split for early stopping says more about weights of zero.
            allow_all_zero_weights=self.early_stopping,
        )
        return X, y, sample_weight

    def _validation_mask(self, y, rows):
        """Samples to hold out; None without early stopping."""
        if not self.early_stopping:
            return None
        if len(rows) == 0:
            raise ValueError(
                "The sample weights for validation set are all zero, consider using a"
                " different random state."
            )
        splitter = StratifiedShuffleSplit if is_classifier(self) else ShuffleSplit
        split = splitter(
            test_size=self.validation_fraction, random_state=self.random_state
        )
        train, held_out = next(split.split(np.zeros((len(rows), 1)), y[rows]))
        if len(train) == 0 or len(held_out) == 0:
            raise ValueError(
                f"Splitting {len(rows)} samples into a train set and a validation set "
                f"with validation_fraction={self.validation_fraction!r} led to an "
                f"empty set ({len(train)} and {len(held_out)} samples). Please either "
                "change validation_fraction, increase number of samples, or disable "
                "early_stopping."
            )
        mask = np.zeros(len(y), dtype=bool)
        mask[rows[held_out]] = True
        return mask

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
        strata=None,
        stratum_factors=(1.0,),
    ):
        """A problem ready for its first epoch in this call."""
        held_out = None
        if validation_mask is not None:
            held = validation_mask
            held_out = HeldOut(
                X[held],
                y[held],
                sample_weight[held],
                classification=is_classifier(self),
                robust=self._robust,
            )
        return Problem(
            y=y,
            sample_weight=sample_weight,
            strata=strata,
            stratum_factors=np.asarray(stratum_factors, dtype=np.float64),
            state=state.prepared(
                settings,
                n_strata=len(stratum_factors),
                scale_per_coordinate=self.gradient_estimator == "spp-l1",
                average=float(self.average),
            ),
            rows=np.flatnonzero(sample_weight),
            seed=seed,
            rule=StoppingRule(self.tol, self.n_iter_no_change, relative=self._robust),
            validation_mask=validation_mask,
            held_out=held_out,
        )

    def _initial_states(self, shape, dtype, coef_init, intercept_init):
        """States of a new fit, one per row of the coefficients' ``shape``."""
        n_problems = shape[0]
        coef, intercept = coef_init, intercept_init
        if self.warm_start and hasattr(self, "coef_"):
            if coef is None:
                coef = self.coef_
            if intercept is None:
                intercept = self.intercept_
        if sparse.issparse(coef):
            coef = coef.toarray()
        coef = np.zeros(shape) if coef is None else np.asarray(coef, dtype=dtype)
        intercept = np.zeros(n_problems) if intercept is None else np.asarray(intercept)
        if n_problems == 1:
            coef = coef.ravel()[np.newaxis]
        if coef.shape != shape:
            raise ValueError(
                "Provided coef_init does not match dataset. "
                f"Expected shape {shape}, got {coef.shape}."
            )
        if intercept.shape != (n_problems,) and not (
            n_problems == 1 and intercept.shape == ()
        ):
            raise ValueError(
                "Provided intercept_init does not match dataset. "
                f"Expected shape {(n_problems,)}, got {intercept.shape}."
            )
        intercept = np.atleast_1d(intercept)
        return [
            State(np.array(coef[i], dtype=dtype), float(intercept[i]), eta=self.eta0)
            for i in range(n_problems)
        ]

    def _current_states(self):
        """States to go on from; coef_ and intercept_ may have been set by the user."""
        coef = self.coef_.toarray() if sparse.issparse(self.coef_) else self.coef_
        coef = np.atleast_2d(coef)
        for state, row, intercept in zip(
            self._states, coef, self.intercept_, strict=True
        ):
            if state.sums is not None:
                continue
            state.coef = np.array(row, dtype=self.coef_.dtype)
            state.intercept = float(intercept)
        return self._states

    def _run(self, X, y, problems, settings, *, max_iter, metadata=None, context=None):
        """Epochs until every problem has stopped, or ``max_iter``."""
        start = time.perf_counter()
        epoch_options = {"shuffled": self.shuffle, "robust": self._robust}
        pool = nullcontext()
        if len(problems) > 1 and effective_n_jobs(self.n_jobs) > 1:
            pool = Parallel(n_jobs=self.n_jobs, require="sharedmem")
        with pool as parallel:
            for epoch in range(max_iter):
                if context is not None:
                    task = context.subcontext(task_name="epoch")
                    task.call_on_fit_task_begin(
                        estimator=self, X=X, y=y, metadata=metadata
                    )
                active = [problem for problem in problems if not problem.stopped]
                if self.verbose:
                    print(f"-- Epoch {epoch + 1}")
                if parallel is None:
                    for problem in active:
                        problem.run_epoch(settings, X, **epoch_options)
                else:
                    parallel(
                        delayed(problem.run_epoch)(settings, X, **epoch_options)
                        for problem in active
                    )
                for problem in active:
                    problem.check_progress(adaptive=self.learning_rate == "adaptive")
                    if self.verbose:
                        self._report(problem, time.perf_counter() - start)
                stop = all(problem.stopped for problem in problems)
                if context is not None:
                    stop |= task.call_on_fit_task_end(
                        estimator=self,
                        X=X,
                        y=y,
                        metadata=metadata,
                        reconstruction_attributes=lambda: self._solution(problems),
                    )
                if stop:
                    break
        if self.verbose and all(problem.stopped for problem in problems):
            print(
                f"Convergence after {epoch + 1} epochs took "
                f"{time.perf_counter() - start:.2f} seconds"
            )
        return epoch + 1

    def _report(self, problem, seconds):
        state = problem.state
        losses = problem.losses[problem.training_rows()]
        held_out = ""
        if problem.held_out is not None:
            held_out = (
                f", Validation score: {problem.held_out.score(problem.curve[-1]):f}"
            )
        print(
            f"Norm: {np.linalg.norm(state.coef):.2f}, "
            f"NNZs: {np.count_nonzero(state.coef)}, Bias: {state.intercept:.6f}, "
            f"T: {problem.n_iterations}, Avg. loss: {losses.mean():f}, "
            f"Objective: {problem.objective:f}{held_out}"
        )
        print(f"Total training time: {seconds:.2f} seconds.")

    def _solution(self, problems):
        """The fitted coefficients and intercepts as attributes."""
        solutions = [problem.solution(self.average) for problem in problems]
        coef = np.stack([coef for coef, _ in solutions])
        intercept = np.array([b for _, b in solutions], dtype=coef.dtype)
        return {**self._coef_attributes(coef), "intercept_": intercept}

    def _fit(self, X, y, coef_init, intercept_init, sample_weight):
        """Fit from scratch, or from the last solution with ``warm_start``."""
        self._check_parameters()
        context = self._init_callback_context(max_subtasks=self.max_iter)
        metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        X, y, sample_weight = self._validate(X, y, sample_weight, reset=True)
        y = self._check_targets(y, X.dtype, first=True)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y, metadata=metadata)
        settings = self._settings(X)
        states = self._initial_states(
            (self._n_problems(), X.shape[1]), X.dtype, coef_init, intercept_init
        )
        problems = self._problems(X, y, sample_weight, states, settings)
        n_iter = self._run(
            X,
            y,
            problems,
            settings,
            max_iter=self.max_iter,
            metadata=metadata,
            context=context,
        )
        self._set_fitted(problems, settings, n_iter, t=1.0)
        context.call_on_fit_task_end(
            estimator=self, X=X, y=y, metadata=metadata, reconstruction_attributes={}
        )
        if self.tol is not None and n_iter == self.max_iter:
            warnings.warn(
                "Maximum number of iteration reached before convergence. Consider "
                "increasing max_iter to improve the fit.",
                ConvergenceWarning,
                stacklevel=3,
            )
        if self.power_t < 0:
            warnings.warn(
                "Negative values for `power_t` are deprecated in version 1.8 of "
                "scikit-learn and will raise an error in 1.10. "
                "Use values in the range [0.0, inf) instead.",
                FutureWarning,
                stacklevel=3,
            )
        return self

    def _partial_fit(self, X, y, sample_weight, first):
        """One pass over the samples given."""
        X, y, sample_weight = self._validate(X, y, sample_weight, reset=first)
        y = self._check_targets(y, X.dtype, first=False)
        settings = self._settings(X)
        if first:
            states = self._initial_states(
                (self._n_problems(), X.shape[1]), X.dtype, None, None
            )
        else:
            states = self._current_states()
        problems = self._problems(X, y, sample_weight, states, settings)
        n_iter = self._run(X, y, problems, settings, max_iter=1)
        self._set_fitted(problems, settings, n_iter, t=1.0 if first else self.t_)
        return self

    def _set_fitted(self, problems, settings, n_iter, *, t):
        """Set the fitted attributes; ``t`` is the clock at the start of the call."""
        for name, value in self._solution(problems).items():
            setattr(self, name, value)
        self._states = [problem.state for problem in problems]
        self.n_iter_ = n_iter
        # The problems share one clock, that of the longest.
        self.t_ = t + max(problem.n_iterations for problem in problems)
        for state in self._states:
            state.move_clock(self.t_, float(self.average))
        self.loss_curve_ = _curves([problem.curve for problem in problems])
        for name in ("tau_", "clip_fraction_curve_"):
            vars(self).pop(name, None)
        if self._proximal:
            self.clip_fraction_curve_ = _curves([p.clip_curve for p in problems])
            if self.tau == "auto":
                radius = settings.c_tau * np.stack([s.scale for s in self._states])
                self.tau_ = radius.item() if radius.size == 1 else radius.squeeze()
            else:
                self.tau_ = float(self.tau)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _curves(curves):
    """Curves as columns; a problem that has stopped keeps its last value."""
    if len(curves) == 1:
        return np.array(curves[0])
    length = max(map(len, curves))
    return np.array([curve + curve[-1:] * (length - len(curve)) for curve in curves]).T
