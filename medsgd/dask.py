"""The estimators on Dask: robust fits of partitions, some of which may be wrong.

Data stay where they are. In each round every partition makes a few passes over its
rows, from where all of them together have come, and only what that changes is
collected: by the gradient estimators that on one machine take medians of samples'
gradients.

Needs the extra ``dask``: ``pip install medsgd[dask]``.
"""

import copy
import inspect
import re
import uuid
import warnings
from functools import partial
from numbers import Integral
from typing import Any, Self, TypeAlias

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state, compute_class_weight
from sklearn.utils.validation import check_is_fitted

try:
    import dask
    import dask.array as da
except ImportError as error:
    raise ImportError(
        "medsgd.dask needs Dask, which an extra installs: pip install medsgd[dask]"
    ) from error

from medsgd._base import MAX_INT, UPDATES_NO_CHANGE
from medsgd._classifier import MedianSGDClassifier, _has_probabilities
from medsgd._compat import (
    HasMethods,
    Interval,
    StrOptions,
    _check_feature_names,
    available_if,
)
from medsgd._docs import fill
from medsgd._partitions import as_block, call_method, run_passes, summarise
from medsgd._refinement import small_sample_factor
from medsgd._regressor import MedianSGDRegressor
from medsgd._rounds import Consensus, Rounds, Told, refine
from medsgd._scales import starting_scale
from medsgd._standardize import N_ROWS
from medsgd._stopping import exact_share
from medsgd._typing import Auto, GradientEstimatorName, MatrixLike
from medsgd.gradient_estimators import BY_NAME

__all__ = ["DaskMedianSGDClassifier", "DaskMedianSGDRegressor"]

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
    "parameters": """
aggregator : {'mean', 'coord-median', 'geometric-median', 'spp-l1', 'spp-l2'}, \
        default='geometric-median'
    How the partitions' updates become one: by which of
    :mod:`medsgd.gradient_estimators`, each update with the weight of its rows. All but
    'mean' withstand partitions that are wrong{refine_note}. Where partitions differ,
    as those of sorted data, all but 'mean' outvote what is rare among them: shuffle
    first, or use 'mean' with small steps.
local_epochs : 'auto' or int, default='auto'
    Passes of a partition over its rows in a round. 'auto' makes at least 2,500
    updates. More cost no traffic; fewer keep partitions that differ from drifting to
    optima of their own.
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
its updates. `max_iter` and `n_jobs` only concern :meth:`to_local`; `early_stopping`
holds out a part of each partition.
""",
    "attributes": """
n_rejected_ : ndarray of shape (n_partitions,)
    Rounds whose update of a partition was left out, as it was not finite{far_note};
    all of them if none of its rows could be used.
n_dropped_rows_ : ndarray of shape (n_partitions,)
    Rows left out as not finite or with a negative weight.
n_iter_ : int
    Number of rounds.""",
}
# Fitted attributes besides those of one machine.
FITTED = ("n_rejected_", "n_dropped_rows_", "_aggregators")


class _Partitions:
    """The partitions of collections, kept where Dask puts them while in use."""

    def __init__(self, columns, local, dtype, *, client, persist):
        parts = [
            [None] * columns[0].numblocks[0]
            if column is None
            else column.to_delayed().ravel()
            for column in columns
        ]
        self.client, self.token, self.n_calls = client, uuid.uuid4().hex[:8], 0
        convert = dask.delayed(as_block, pure=False)
        self.blocks = [
            convert(*part, local, dtype, k, dask_key_name=self._key("block", k))
            for k, part in enumerate(zip(*parts, strict=True))
        ]
        if persist:
            self.blocks = dask.persist(*self.blocks, scheduler=client)

    def _key(self, name, k):
        return f"medsgd-{name}-{self.token}-{self.n_calls}-{k}"

    def run(self, name, function, sent):
        """Let each partition do the same; what they return, in their order."""
        self.n_calls += 1
        # A task of its own, so that it goes to each worker once.
        sent = dask.delayed(sent, name=self._key("send", 0), traverse=False)
        function = dask.delayed(function, pure=False)
        tasks = [
            function(block, sent, k, dask_key_name=self._key(name, k))
            for k, block in enumerate(self.blocks)
        ]
        return dask.compute(*tasks, scheduler=self.client)


def _as_array(collection, name, ndim):
    """A collection as a dask array of numbers or labels, cut along its rows."""
    if hasattr(collection, "to_dask_array"):
        collection = collection.to_dask_array()
    if not isinstance(collection, da.Array):
        raise TypeError(
            f"{name} must be a dask array or dataframe; got {type(collection)}. Make "
            "one with dask.array.from_array, or fit the single-machine estimator."
        )
    if collection.ndim != ndim:
        raise ValueError(
            f"{name} must have {ndim} dimension(s); got {collection.ndim}."
        )
    if ndim == 2 and collection.numblocks[1] > 1:
        raise ValueError(
            f"{name} is cut in {collection.numblocks[1]} along its features, but a "
            f"partition needs whole rows: {name}.rechunk({{1: -1}}) makes them."
        )
    return collection


def _is_frame(X):
    return hasattr(X, "columns")


def _columns(X, y, sample_weight, *, real):
    """X, y and the weights (or None) as dask arrays that are cut alike.

    Raises
    ------
    ValueError, TypeError
        If they are not, as far as that can be known, or have the wrong dtype.
    """
    columns = {"X": _as_array(X, "X", 2), "y": _as_array(y, "y", 1)}
    if sample_weight is not None:
        columns["sample_weight"] = _as_array(sample_weight, "sample_weight", 1)
    rows = columns["X"].chunks[0]
    for name, column in columns.items():
        if column.dtype.kind not in "biuf" and (real or name != "y"):
            raise ValueError(f"{name} must be real numbers; got dtype {column.dtype}.")
        other = column.chunks[0]
        if len(other) != len(rows) or any(
            n != m for n, m in zip(rows, other, strict=True) if n == n and m == m
        ):
            raise ValueError(
                f"X and {name} must be cut into the same chunks of rows; got {rows} "
                f"and {other}. Dask's rechunk or repartition cuts one like the other."
            )
    return columns["X"], columns["y"], columns.get("sample_weight")


def _init_like(single_machine):
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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        given = signature.bind(self, *args, **kwargs)
        given.apply_defaults()
        for name, value in list(given.arguments.items())[1:]:
            setattr(self, name, value)

    __init__.__signature__ = signature
    return __init__


def _document(single_machine, **notes):
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


class _OnDask:
    """What regressor and classifier share; a base before the single-machine class."""

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
            Training data, in chunks of whole rows, dense or CSR.
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
        own = {*self.get_params(deep=False), *FITTED, "_skl_callbacks"}
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
        partitions, told = self._begin(
            X, y, sample_weight, reset=True, new_classes=True
        )
        context.call_on_fit_task_begin(estimator=self, X=X, y=y, metadata=metadata)
        if self._robust and not self._follows_each:
            told.weight_unit = told.weight / told.n_rows
        rows = told.X, told.y, told.sample_weight
        self._units = self._feature_units(told.X, told.sample_weight)
        self._first_rows, self._aggregators = None, None
        states = self._initial_states(*rows, coef_init, intercept_init)
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
            warnings.warn(
                "Maximum number of rounds reached before convergence. Consider "
                "increasing max_rounds or local_epochs to improve the fit.",
                ConvergenceWarning,
                stacklevel=4,
            )
        return self

    def _partial_fit(self, X, y, sample_weight, first):
        partitions, told = self._begin(
            X, y, sample_weight, reset=first, new_classes=False
        )
        states = [] if first else self._current_states()
        self._learn_units(told.X, told.sample_weight, states, first=first)
        if first:
            states = self._initial_states(told.X, told.y, told.sample_weight)
            self._aggregators = None
        rounds, problems, settings = self._rounds(partitions, told, states, X, y)
        rounds.run(problems, settings, 1, adaptive=False)
        self._finish(rounds, problems, settings, t=1.0 if first else self.t_)
        self._warn_of_rejected(1)
        return self

    def _begin(self, X, y, sample_weight, *, reset, new_classes):
        """The partitions, and what they have told of themselves."""
        if getattr(self.client, "status", "running") != "running":
            raise ValueError(
                f"The client is {self.client.status}. Set `client` to one that is "
                "running, or to None for the one in use or the local scheduler."
            )
        columns = _columns(X, y, sample_weight, real=not is_classifier(self))
        dtype = np.float32 if columns[0].dtype == np.float32 else np.float64
        if not reset:
            dtype = self._states[0].dtype
        partitions = _Partitions(
            columns, self._local(), dtype, client=self.client, persist=self.persist
        )
        n_sample = -(-N_ROWS // len(partitions.blocks))
        wanted = n_sample, is_classifier(self)
        told = Told(partitions.run("summary", summarise, wanted))
        if told.n_rows == 0:
            raise ValueError(
                "No partition has rows to learn from: they are empty, not finite or "
                "without weight."
            )
        # With its names, for their check.
        rows = type(X._meta)(told.X, columns=X.columns) if _is_frame(X) else told.X
        told.X, told.y, told.sample_weight = self._validate(
            rows, told.y, told.sample_weight, reset=reset
        )
        self._check_targets(told.labels, told.X.dtype, first=new_classes)
        return partitions, told

    def _rounds(self, partitions, told, states, X, y, **kwargs):
        """All that a loop of rounds needs: itself, the problems and the settings."""
        settings = self._settings(told.X)
        local = self._local()
        local._units = self._units
        if is_classifier(self):
            local.classes_ = self.classes_
            local.class_weight = self._class_weights(told)
        if self._aggregators is None:
            self._aggregators = [BY_NAME[self.aggregator]() for _ in states]
        problems = []
        for i, state in enumerate(states):
            state = state.prepared(
                settings,
                n_strata=self._n_strata(),
                scale_per_coordinate=self.gradient_estimator == "spp-l1",
                average=float(self.average),
            )
            if is_classifier(self):
                self._share_classes(state, i, told, local.class_weight)
            elif state.residual_scale == 0:
                prediction = self._units.predict(told.X, state.coef, state.intercept)
                residual = told.y - prediction
                state.residual_scale = starting_scale(residual, told.sample_weight)
            problems.append(
                Consensus(
                    index=i,
                    state=state,
                    aggregator=self._aggregators[i],
                    robust=self.aggregator != "mean",
                    robust_losses=self._robust or self.loss == "bisquare",
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
        self.n_rejected_[told.is_lost] = rounds.n_epochs
        self._set_fitted(problems, settings, rounds.n_epochs, t=t)
        if not is_classifier(self):
            scale = rounds.residual_scale(problems[0], settings)
            self.scale_ = scale * small_sample_factor(self, told.n_rows)

    def _warn_of_rejected(self, n_judged):
        """Name the partitions that lost rows, or most rounds that could reject them."""
        lost = np.flatnonzero(self.n_dropped_rows_)
        if len(lost):
            warnings.warn(
                f"{self.n_dropped_rows_.sum()} rows with values that are not finite or "
                f"weights below 0 were dropped, from partitions {lost.tolist()}.",
                stacklevel=5,
            )
        far = np.flatnonzero(self.n_rejected_ > n_judged / 2)
        if len(far):
            warnings.warn(
                f"Partitions {far.tolist()} were left out of most rounds: their "
                "updates were not finite or far from those of the others, or they had "
                "no rows to use. See `n_rejected_`.",
                stacklevel=5,
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
        if not dask.is_dask_collection(X):
            return super().score(X, y, sample_weight)
        X, y, weight = _columns(X, y, sample_weight, real=not is_classifier(self))
        prediction = self.predict(X)
        weight = da.ones_like(prediction, dtype=float) if weight is None else weight
        if is_classifier(self):
            return (weight * (prediction == y)).sum() / weight.sum()
        center = (weight * y).sum() / weight.sum()
        unexplained = (weight * (y - prediction) ** 2).sum()
        return 1 - unexplained / (weight * (y - center) ** 2).sum()

    def _blockwise(self, method, X):
        """A method of the single-machine estimator, block by block on Dask."""
        check_is_fitted(self)
        if not dask.is_dask_collection(X):
            return getattr(super(), method)(X)
        if _is_frame(X):
            _check_feature_names(self, X._meta, reset=False)
        X = _as_array(X, "X", 2)
        if X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {X.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input."
            )
        local = self._local()
        for name in ("coef_", "intercept_", "classes_", "n_features_in_"):
            if hasattr(self, name):
                setattr(local, name, getattr(self, name))
        one = getattr(local, method)(np.zeros((1, self.n_features_in_), X.dtype))
        return X.map_blocks(
            call_method,
            estimator=local,
            method=method,
            empty=one[:0],
            dtype=one.dtype,
            meta=one[:0],
            name=f"medsgd-{method}-{uuid.uuid4().hex}",
            **(
                {"drop_axis": 1}
                if one.ndim == 1
                else {"chunks": (X.chunks[0], one.shape[1:])}
            ),
        )


@_document(
    MedianSGDRegressor,
    refine_note="; a\n    refinement takes the mean of those that are near the others",
    far_note=" or,\n    in the refinement, far from the others",
)
class DaskMedianSGDRegressor(_OnDask, MedianSGDRegressor):
    """Linear regression over the partitions of a dask collection, any of them wrong.

    :class:`~medsgd.MedianSGDRegressor` for data on many machines: partitions make
    passes over their rows, and what these change is aggregated robustly. With `refine`
    the second stage takes the mean over the partitions that are near the others.

    Parameters
    ----------
    {{single_parameters}}
    {{parameters}}

    Attributes
    ----------
    coef_, intercept_, scale_, t_, loss_curve_, n_features_in_, feature_names_in_
        As of :class:`~medsgd.MedianSGDRegressor`; by round, before its passes.
    {{attributes}}

    See Also
    --------
    medsgd.MedianSGDRegressor : The same on one machine.

    Notes
    -----
    {{one_partition}}
    `outliers_` is not set: ``abs(y - predict(X)) > 2.5 * scale_`` says it lazily.
    Results do not depend on the number of workers or on what finishes first.

    References
    ----------
    {{references}}

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from medsgd.dask import DaskMedianSGDRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(2000, 2))
    >>> y = X @ [1.0, -2.0] + 0.1 * rng.normal(size=2000)
    >>> y[:500] *= -100  # the first partition
    >>> X, y = da.from_array(X, chunks=(500, -1)), da.from_array(y, chunks=500)
    >>> reg = DaskMedianSGDRegressor(random_state=0).fit(X, y)
    >>> reg.coef_.round(1)
    array([ 1., -2.])
    >>> float(reg.score(X[500:], y[500:])) > 0.99
    True
    """

    _single_machine = MedianSGDRegressor
    _parameter_constraints = (
        MedianSGDRegressor._parameter_constraints | _OnDask._constraints
    )
    __init__ = _init_like(MedianSGDRegressor)


@_document(MedianSGDClassifier, refine_note="", far_note="")
class DaskMedianSGDClassifier(_OnDask, MedianSGDClassifier):
    """Linear classifiers over the partitions of a dask collection, any of them wrong.

    :class:`~medsgd.MedianSGDClassifier` for data on many machines: partitions make
    passes over their rows, and what these change is aggregated robustly.

    Parameters
    ----------
    {{single_parameters}}
    {{parameters}}

    Attributes
    ----------
    coef_, intercept_, classes_, t_, loss_curve_, n_features_in_, feature_names_in_
        As of :class:`~medsgd.MedianSGDClassifier`; by round, before its passes.
    {{attributes}}

    See Also
    --------
    medsgd.MedianSGDClassifier : The same on one machine.

    Notes
    -----
    {{one_partition}}
    Classes have the shares in a step that they have in all partitions together, so
    that for SPP a partition may lack some. But if few partitions have a class, only
    ``aggregator="mean"`` hears them.

    References
    ----------
    {{references}}

    Examples
    --------
    >>> import dask.array as da
    >>> from sklearn.datasets import load_breast_cancer
    >>> from medsgd.dask import DaskMedianSGDClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X, y = da.from_array(X, chunks=(100, -1)), da.from_array(y, chunks=100)
    >>> clf = DaskMedianSGDClassifier(random_state=0).fit(X, y)
    >>> float(clf.score(X, y)) > 0.9
    True
    """

    _single_machine = MedianSGDClassifier
    _parameter_constraints = (
        MedianSGDClassifier._parameter_constraints | _OnDask._constraints
    )
    __init__ = _init_like(MedianSGDClassifier)

    def _class_weights(self, told):
        """The weight of each class, in all partitions together."""
        if self.class_weight != "balanced":
            return self.class_weight
        count = told.of_classes(self.classes_, "label_count")
        weights = count.sum() / (len(count) * count)
        return dict(zip(self.classes_.tolist(), weights, strict=True))

    def _share_classes(self, state, i, told, class_weight):
        """Set each stratum's share in a step: a partition may lack a class."""
        if len(state.stratum_weight) == 1:
            return
        weight = told.of_classes(self.classes_, "label_weight")
        factors = compute_class_weight(
            class_weight, classes=self.classes_, y=self.classes_
        )
        positive = i if self._n_problems() > 1 else 1
        state.stratum_weight += [weight.sum() - weight[positive], weight[positive]]
        rest = factors[0] if self._n_problems() == 1 else 1.0
        frequency = state.stratum_weight / state.stratum_weight.sum()
        state.shares = frequency * [rest, factors[positive]]

    def decision_function(self, X: MatrixLike | Collection) -> Any:
        """Signed distance of samples to the hyperplanes, times the norm of `coef_`.

        Parameters
        ----------
        X : array-like, sparse matrix, dask array or dask dataframe of shape \
                (n_samples, n_features)
            Input data.

        Returns
        -------
        ndarray or dask array of shape (n_samples,) or (n_samples, n_classes)
            Positive where the class is predicted; lazy for a dask collection.
        """
        return self._blockwise("decision_function", X)

    @available_if(_has_probabilities)
    def predict_proba(self, X: MatrixLike | Collection) -> Any:
        """Probability estimates, as of the single-machine estimator.

        Parameters
        ----------
        X : array-like, sparse matrix, dask array or dask dataframe of shape \
                (n_samples, n_features)
            Input data.

        Returns
        -------
        ndarray or dask array of shape (n_samples, n_classes)
            The probability of each class, in the order of `self.classes_`; lazy for a
            dask collection.
        """
        return self._blockwise("predict_proba", X)
