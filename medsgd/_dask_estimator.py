"""What the estimators on Dask share: parameters, a fit by rounds, predictions."""

import copy
import inspect
import re
from contextlib import contextmanager
from functools import partial
from numbers import Integral
from typing import Any, Self, TypeAlias

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from medsgd._base import MAX_INT, UPDATES_NO_CHANGE, BaseMedianSGD
from medsgd._compat import HasMethods, Interval, StrOptions, _check_feature_names
from medsgd._dask_collections import (
    Partitions,
    check_collection,
    check_columns,
    is_frame,
    is_lazy,
    map_rows,
    row_dtype,
    score,
    with_names_of,
)
from medsgd._docs import fill, options
from medsgd._guards import warn_user
from medsgd._partitions import run_passes, summarise
from medsgd._refinement.stochastic import small_sample_factor
from medsgd._rounds import Consensus, Rounds, Told, refine
from medsgd._scales import residuals, starting_scale
from medsgd._standardize import N_ROWS
from medsgd._stopping import exact_share
from medsgd._typing import Auto, MatrixLike
from medsgd.gradient_estimators import BY_NAME, GradientEstimatorName

# What is lazy, for which Dask has no types.
Collection: TypeAlias = Any

# Parameters besides those of one machine.
PARAMETERS = {
    "aggregator": "geometric-median",
    "local_epochs": "auto",
    "max_rounds": 200,
    "client": None,
    "persist": True,
}
ANNOTATIONS = {
    "aggregator": GradientEstimatorName,
    "local_epochs": int | Auto,
    "max_rounds": int,
    "client": Any,
    "persist": bool,
}
_DOCS = {
    "parameters": f"""
aggregator : {options(BY_NAME)}, default='geometric-median'
    How the partitions' updates become one: by which of
    :mod:`medsgd.gradient_estimators`, each update with the weight of its rows. All but
    'mean' withstand partitions that are wrong{{refine_note}}. Where partitions differ,
    as those of sorted data, all but 'mean' outvote what is rare among them: shuffle
    first, or use 'mean' with small steps.
local_epochs : 'auto' or int, default='auto'
    Passes of a partition over its rows in a round. 'auto' is as many as a partition of
    median size needs to visit 2,500 rows. More cost no traffic; fewer keep partitions
    that differ from drifting to optima of their own.
max_rounds : int, default=200
    The maximum number of rounds.
client : distributed.Client or None, default=None
    Where to run. None takes the client in use, or Dask's local scheduler. It is
    neither cloned nor pickled.
persist : bool, default=True
    Whether converted partitions are kept in the workers' memory (and on their disks,
    if that is short) for the length of the fit. False loads them anew in each round,
    for data larger than memory without a cluster.""",
    "one_partition": """
Statistics and step sizes are those of one partition's passes: patience and `t_` count
its updates. `max_rounds` takes the place of `max_iter`, which like `n_jobs` only
concerns :meth:`to_local`; `verbose` reports each round. `early_stopping` holds out a
part of each partition; one that is too small to be split trains on all of its rows.
""",
    "attributes": """
n_rejected_ : ndarray of shape (n_partitions,)
    Rounds whose update of a partition was left out, as it was not finite{far_note};
    all of them if all of its rows were dropped. Partitions that are empty or whose rows
    all have a weight of 0 count none.
n_dropped_rows_ : ndarray of shape (n_partitions,)
    Rows left out, as a feature, the target or the weight is missing or not finite or
    the weight is negative.
n_iter_ : int
    Number of rounds; 1 after :meth:`partial_fit`.""",
}
# Fitted attributes besides those of one machine.
FITTED = ("n_rejected_", "n_dropped_rows_", "_aggregators", "_checked_parameters")


def init_like(single_machine):
    """An ``__init__`` with the parameters of a class and those of Dask."""
    signature = inspect.signature(single_machine.__init__)
    added = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=value,
            annotation=ANNOTATIONS[name],
        )
        for name, value in PARAMETERS.items()
    ]
    signature = signature.replace(parameters=[*signature.parameters.values(), *added])

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        given = signature.bind(self, *args, **kwargs)
        given.apply_defaults()
        for name, value in list(given.arguments.items())[1:]:
            setattr(self, name, value)

    __init__.__signature__ = signature
    return __init__


def document(single_machine, **notes):
    """``fill`` with what stands in the docstring of the single-machine class."""
    doc = inspect.getdoc(single_machine)

    def section(name):
        return re.search(rf"(?ms)^{name}\n-+\n(.*?)(?=^\w[\w ]*\n---|\Z)", doc)[1]

    return fill(
        _DOCS
        | {
            "single_parameters": section("Parameters"),
            "references": section("References"),
        },
        **notes,
    )


class OnDask(BaseMedianSGD):
    """What regressor and classifier share; a base before the single-machine class."""

    _single_machine: Any

    _constraints = {
        "aggregator": [StrOptions(set(BY_NAME))],
        "local_epochs": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
        ],
        "max_rounds": [Interval(Integral, 1, None, closed="left")],
        "client": [HasMethods(["compute", "persist"]), None],
        "persist": ["boolean"],
    }

    def __getstate__(self):
        # A client is a connection.
        return super().__getstate__() | {"client": None}

    def __sklearn_clone__(self):
        new = BaseEstimator.__sklearn_clone__(copy.copy(self))
        new.client = self.client
        return new

    def fit(
        self, X: Collection, y: Collection, sample_weight: Collection = None
    ) -> Self:
        """Fit the linear model.

        Parameters
        ----------
        X : dask array or dataframe of shape (n_samples, n_features)
            Training data, in chunks of whole rows, dense or CSR. Partitions may hold
            what the single-machine estimator takes.
        y : dask array or series of shape (n_samples,)
            Targets, cut like `X`.
        sample_weight : dask array or series of shape (n_samples,), default=None
            Weights of individual samples, cut like `X`.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        TypeError
            If these are not dask collections.
        ValueError
            If they do not fit each other or are not numbers, if the client is closed,
            or if no partition has rows to learn from. The estimator then stays as it
            was before the call.
        """
        return super().fit(X, y, sample_weight=sample_weight)

    def to_local(self) -> Any:
        """The equivalent fitted estimator of one machine.

        Returns
        -------
        estimator : MedianSGDRegressor or MedianSGDClassifier
            It predicts the same, and its ``partial_fit`` goes on from here.
        """
        check_is_fitted(self)
        local = self._local()
        own = {*type(self)._get_param_names(), *FITTED, "_skl_callbacks"}
        fitted = {name: v for name, v in vars(self).items() if name not in own}
        vars(local).update(copy.deepcopy(fitted))
        return local

    def _local(self):
        """The estimator of one machine with the same parameters."""
        cls = self._single_machine
        return cls(**{name: getattr(self, name) for name in cls._get_param_names()})

    def _fit(self, X, y, coef_init, intercept_init, sample_weight):
        self._check_parameters()
        context = self._init_callback_context(max_subtasks=self.max_rounds)
        metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        with self._begin(X, y, sample_weight, reset=True, new_classes=True) as (
            partitions,
            told,
        ):
            context.call_on_fit_task_begin(estimator=self, X=X, y=y, metadata=metadata)
            told.weight_unit = self._weight_unit(
                told.n_rows, told.weight / told.n_rows, first=True
            )
            rows = told.X, told.y, told.sample_weight
            self._units = self._feature_units(told.X, told.sample_weight)
            self._first_rows, self._aggregators = None, None
            states = self._initial_states(
                *rows, coef_init, intercept_init, resume=self.warm_start
            )
            rounds, problems, settings = self._rounds(
                partitions, told, states, X, y, metadata=metadata, context=context
            )
            refines = not is_classifier(self) and self._refines()
            rounds.run(
                problems,
                settings,
                -(-self.max_rounds // 2) if refines else self.max_rounds,
                adaptive=self.learning_rate == "adaptive",
            )
            n_judged = rounds.n_epochs
            if refines:
                refine(rounds, problems[0])
                n_judged = rounds.n_epochs - n_judged or n_judged
            self._finish(rounds, problems, settings, t=1.0)
        self._warn_of_rejected(n_judged)
        context.call_on_fit_task_end(
            estimator=self, X=X, y=y, metadata=metadata, reconstruction_attributes={}
        )
        if self.tol is not None and not (rounds.converged or rounds.interrupted):
            warn_user(
                "Maximum number of rounds reached before convergence. Consider "
                "increasing max_rounds or local_epochs to improve the fit.",
                ConvergenceWarning,
            )
        return self

    def _partial_fit(self, X, y, sample_weight, first):
        with self._begin(X, y, sample_weight, reset=first, new_classes=False) as (
            partitions,
            told,
        ):
            states = [] if first else self._current_states()
            self._learn_units(told.X, told.sample_weight, states, first=first)
            told.weight_unit = self._weight_unit(
                told.n_rows, told.weight / told.n_rows, first=first
            )
            if first:
                states = self._initial_states(
                    told.X, told.y, told.sample_weight, resume=True
                )
                self._aggregators = None
            rounds, problems, settings = self._rounds(partitions, told, states, X, y)
            rounds.run(problems, settings, 1, adaptive=False)
            self._finish(rounds, problems, settings, t=1.0 if first else self.t_)
        self._warn_of_rejected(1)
        return self

    @contextmanager
    def _begin(self, X, y, sample_weight, *, reset, new_classes):
        """The partitions as long as they are needed, and what they have told."""
        if getattr(self.client, "status", "running") != "running":
            raise ValueError(
                f"The client is {self.client.status}. Set `client` to one that is "
                "running, or to None for the one in use or the local scheduler."
            )
        check_columns(X, y, sample_weight)
        dtype = row_dtype(X) if reset else self._states[0].dtype
        partitions = Partitions(
            (X, y, sample_weight),
            self._local(),
            dtype,
            client=self.client,
            persist=self.persist,
        )
        try:
            yield partitions, self._told(partitions, X, reset, new_classes)
        finally:
            partitions.release()

    def _told(self, partitions, X, reset, new_classes):
        """What the partitions tell of themselves, checked."""
        n_sample = -(-N_ROWS // len(partitions.blocks))
        wanted = n_sample, is_classifier(self)
        told = Told(partitions.run("summary", summarise, wanted))
        if told.n_rows == 0:
            raise ValueError(
                "No partition has rows to learn from: they are empty, not finite or "
                "without weight."
            )
        if not np.isfinite(told.weight):
            raise ValueError("The weights are too large to add up. Divide them.")
        rows = with_names_of(X, told.X) if is_frame(X) else told.X
        told.X, told.y, told.sample_weight = self._validate(
            rows, told.y, told.sample_weight, reset=reset
        )
        self._check_targets(told.labels, told.X.dtype, first=new_classes)
        return told

    def _rounds(self, partitions, told, states, X, y, **kwargs):
        """All that a loop of rounds needs: itself, the problems and the settings."""
        settings = self._settings(told.X)
        local = self._local()
        local._units = self._units
        if is_classifier(self):
            local.classes_ = self.classes_
            local.class_weight = self._class_weights(told)
        # Copies, as a call that fails leaves the estimator as it was.
        kind = BY_NAME[self.aggregator]
        self._aggregators = [
            copy.deepcopy(old) if type(old) is kind else kind()
            for old in self._aggregators or [None] * len(states)
        ]
        problems = []
        for i, state in enumerate(states):
            state = state.prepared(settings, n_strata=self._n_strata())
            if is_classifier(self):
                self._share_classes(state, i, told, local.class_weight)
            elif state.residual_scale == 0:
                prediction = self._units.predict(told.X, state.coef, state.intercept)
                residual = residuals(told.y, prediction)
                state.residual_scale = starting_scale(residual, told.sample_weight)
            problems.append(
                Consensus(
                    index=i,
                    state=state,
                    aggregator=self._aggregators[i],
                    robust=self.aggregator != "mean",
                    robust_losses=self._robust_losses,
                    n_rejected=np.zeros(len(partitions.blocks), dtype=int),
                )
            )
        rounds = Rounds(
            self,
            X,
            y,
            run=partial(partitions.run, "round", run_passes),
            told=told,
            local=local,
            seed=check_random_state(self.random_state).randint(MAX_INT),
            **kwargs,
        )
        for problem in problems:
            problem.rule = rounds.rule(
                settings,
                UPDATES_NO_CHANGE,
                robust=problem.robust_losses,
                exact=exact_share(told.X.dtype),
            )
        return rounds, problems, settings

    def _finish(self, rounds, problems, settings, *, t):
        """Set the fitted attributes."""
        told = rounds.told
        self.n_dropped_rows_ = told.n_dropped
        self.n_rejected_ = np.max([problem.n_rejected for problem in problems], axis=0)
        self.n_rejected_[told.is_empty] = 0
        self._set_fitted(problems, settings, rounds.n_epochs, t=t)
        if not is_classifier(self):
            scale = rounds.residual_scale(problems[0], settings)
            self.scale_ = scale * small_sample_factor(self, told.n_rows)

    def _warn_of_rejected(self, n_judged):
        """Name the partitions that lost rows, or most rounds that could reject them."""
        lost = np.flatnonzero(self.n_dropped_rows_)
        if len(lost):
            warn_user(
                f"{self.n_dropped_rows_.sum()} rows with values that are missing or "
                "not finite or weights below 0 were dropped, from partitions "
                f"{lost.tolist()}.",
            )
        far = np.flatnonzero(self.n_rejected_ > n_judged / 2)
        if len(far):
            warn_user(
                f"Partitions {far.tolist()} were left out of most rounds: their "
                "updates were not finite or far from those of the others, or they had "
                "no rows to use. See `n_rejected_`.",
            )

    def predict(self, X: MatrixLike | Collection) -> Any:
        """Predict targets.

        Parameters
        ----------
        X : array-like, sparse matrix, dask array or dask dataframe of shape \
                (n_samples, n_features)
            Input data.

        Returns
        -------
        ndarray or dask array of shape (n_samples,)
            Predicted targets; lazy for a dask collection.
        """
        return self._blockwise("predict", X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Coefficient of determination, or for a classifier the accuracy.

        Parameters
        ----------
        X : array-like or dask collection of shape (n_samples, n_features)
            Input data.
        y : array-like or dask collection of shape (n_samples,)
            True targets.
        sample_weight : array-like or dask collection of shape (n_samples,), \
                default=None
            Weights of individual samples.

        Returns
        -------
        float or dask array of shape ()
            The score; lazy for a dask collection, ``float`` computes it.
        """
        if not is_lazy(X):
            return super().score(X, y, sample_weight)
        check_columns(X, y, sample_weight)
        prediction = self.predict(X)
        return score(y, prediction, sample_weight, classes=is_classifier(self))

    def _blockwise(self, method, X):
        """A method of the single-machine estimator, block by block on Dask."""
        check_is_fitted(self)
        if not is_lazy(X):
            return getattr(super(), method)(X)
        if is_frame(X):
            _check_feature_names(self, X._meta, reset=False)
        check_collection(X, "X", 2)
        if X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {X.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input."
            )
        local = self._local()
        for name in ("coef_", "intercept_", "classes_", "n_features_in_"):
            if hasattr(self, name):
                setattr(local, name, getattr(self, name))
        return map_rows(local, method, X)
