"""The base of the estimators on Dask: parameters, a fit by rounds, predictions."""

import copy
import inspect
import re
from contextlib import contextmanager
from dataclasses import replace
from numbers import Integral
from typing import Any, Self, TypeAlias

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from medsgd._base import BaseMedianSGD
from medsgd._fit.epochs import Training
from medsgd._fit.plan import UPDATES_NO_CHANGE
from medsgd._fit.scales import residuals, starting_scale
from medsgd._fit.stopping import exact_share
from medsgd._fit.tasks import MAX_INT
from medsgd._fit.units import N_ROWS, stacked
from medsgd._refinement.exact import run
from medsgd._refinement.stochastic import small_sample_factor
from medsgd._utils.compat import (
    HasMethods,
    Interval,
    StrOptions,
    _check_feature_names,
)
from medsgd._utils.docs import fill, options
from medsgd._utils.guards import warn_user
from medsgd._utils.typing import Auto, MatrixLike
from medsgd.dask._collections import (
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
from medsgd.dask._exact import PartitionedStage, is_exact_on_dask
from medsgd.dask._partitions import draw, draws_of, summarise
from medsgd.dask._rounds import Consensus, Rounds, Sample, Told, refine
from medsgd.gradient_estimators import BY_NAME, GradientEstimatorName

# Lazy results, for which Dask has no types.
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
    'mean' trusts the partitions. All others leave out partitions whose sums contradict
    their rows{{dependence_note}}. In stochastic rounds, see Notes, the aggregator
    combines the updates of the partitions, by one of
    :mod:`medsgd.gradient_estimators`, each update with the weight of its rows. All but
    'mean' then tolerate wrong partitions, and ignore what few of several different
    partitions have{{refine_note}}.
local_epochs : 'auto' or int, default='auto'
    Passes of a partition over its rows in a stochastic round. 'auto' is as many as a
    partition of median size needs to visit 2,500 rows.
max_rounds : int, default=200
    The maximum number of stochastic rounds, or of passes.
client : distributed.Client or None, default=None
    Client that runs the tasks. None takes the client in use, or Dask's local scheduler.
    The client is neither cloned nor pickled.
persist : bool, default=True
    Whether converted partitions are kept in the workers' memory (and on their disks,
    if that is short) for the length of the fit. False loads them anew in each round,
    for data larger than memory without a cluster.""",
    "one_partition": """
*Stochastic rounds* are those of :meth:`partial_fit`, and of :meth:`fit` with
``refine=False``, with `early_stopping`{rounds_note}. In them, statistics and step sizes
are those of one partition's passes: patience and `t_` count its updates.
`early_stopping` holds out a part of each partition. A partition that is too small to be
split trains on all of its rows. `max_rounds` takes the place of `max_iter`. `max_iter`
and `n_jobs` only have an effect on the estimator of :meth:`to_local`. `verbose` reports
each pass or round.
""",
    "attributes": """
n_rejected_ : ndarray of shape (n_partitions,)
    `n_iter_` for partitions that were left out, which a warning names, or all of whose
    rows were dropped, and 0 for others. With stochastic rounds, the number of rounds
    that left out the update of a partition because it was not finite{far_note}. It is 0
    for partitions that are empty or whose rows all have a weight of 0.
n_rounds_ : int
    Number of rounds, in each of which all partitions were asked.
n_dropped_rows_ : ndarray of shape (n_partitions,)
    Rows left out because a feature, the target or the weight is missing or not finite,
    or because the weight is negative.
n_iter_ : int
    Number of passes over the sample or over all partitions, or of stochastic rounds;
    1 after :meth:`partial_fit`.""",
}
# Fitted attributes besides those of one machine.
FITTED = (
    *("n_rejected_", "n_rounds_", "n_dropped_rows_"),
    *("_aggregators", "_checked_parameters"),
)
# Attributes that predictions need.
FOR_PREDICTIONS = (
    *("coef_", "intercept_", "classes_", "n_features_in_", "_is_multinomial"),
)
# Rows of the sample for each partition: with fewer, sums are hardly compared with rows.
ROWS_OF_EACH = 16


def init_like(single_machine):
    """Return an ``__init__`` with the parameters of a class and those of Dask."""
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
    """Fill a docstring with sections of that of the single-machine class."""
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
    """Common part of both estimators; a base before the single-machine class."""

    _single_machine: Any
    _follows_units = False

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
        # A client is a connection, which cannot be pickled.
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
            the types that the single-machine estimator takes.
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
        """Return the equivalent fitted estimator of one machine.

        Returns
        -------
        estimator : MedianSGDRegressor or MedianSGDClassifier
            It predicts the same, and its ``partial_fit`` continues this fit.
        """
        check_is_fitted(self)
        local = self._local()
        own = {*type(self)._get_param_names(), *FITTED, "_skl_callbacks"}
        fitted = {name: v for name, v in vars(self).items() if name not in own}
        vars(local).update(copy.deepcopy(fitted))
        return local

    def _local(self):
        """Return the estimator of one machine with the same parameters."""
        cls = self._single_machine
        return cls(**{name: getattr(self, name) for name in cls._get_param_names()})

    def _max_epochs(self):
        return self.max_rounds

    @contextmanager
    def _training_data(self, X, y, sample_weight, *, reset, new_classes):
        """Yield a sample of rows, and keep the partitions while it is in use."""
        if getattr(self.client, "status", "running") != "running":
            raise ValueError(
                f"The client is {self.client.status}. Set `client` to one that is "
                "running, or to None for the one in use or the local scheduler."
            )
        check_columns(X, y, sample_weight)
        dtype = row_dtype(X) if reset else self._states[0].dtype
        partitions = Partitions(
            (X, y, sample_weight),
            self._plan(),
            dtype,
            client=self.client,
            persist=self.persist,
        )
        try:
            yield self._sample(partitions, X, reset, new_classes)
        finally:
            partitions.release()

    def _sample(self, partitions, X, reset, new_classes):
        """Return a sample of the rows and the summaries of partitions, checked."""
        size = max(N_ROWS, ROWS_OF_EACH * len(partitions.blocks))
        # The lengths of chunks often are the weights of partitions. The rows of the
        # sample are then part of the summary.
        expected = partitions.expected_weights
        draws = (
            None if expected is None else draws_of(size, expected, int(sum(expected)))
        )
        summaries = partitions.run("summary", summarise, (is_classifier(self), draws))
        told = Told(summaries)
        if told.n_rows == 0:
            raise ValueError(
                "No partition has rows to learn from: they are empty, not finite or "
                "without weight."
            )
        if not np.isfinite(told.weight):
            raise ValueError("The weights are too large to add up. Divide them.")
        wanted = draws_of(size, told.weights, told.n_rows)
        if wanted.are_those_of(draws):
            of_each = [summary.rows for summary in summaries]
        else:
            of_each = partitions.run("sample", draw, wanted)
        part = np.repeat(np.arange(len(of_each)), [len(y) for _, y, _ in of_each])
        rows, y, weight = zip(*(own for own in of_each if len(own[1])), strict=True)
        rows, y, weight = stacked(rows), np.concatenate(y), np.concatenate(weight)
        rows = with_names_of(X, rows) if is_frame(X) else rows
        X, y, weight = self._validate(rows, y, weight, reset=reset)
        labels = y if told.labels is None else told.labels
        self._check_targets(labels, X.dtype, first=new_classes)
        return Sample(
            X=X,
            y=y,
            weight=weight,
            told=told,
            partitions=partitions,
            part=part,
            draws=wanted,
        )

    def _seen_by_callbacks(self, X, y, data):
        return X, y

    def _mean_weight(self, data):
        return data.told.n_rows, data.told.weight / data.told.n_rows

    def _divided(self, data, unit):
        # Partitions divide the weights of their rows.
        weight = data.weight / unit if data.is_complete and unit != 1 else data.weight
        return replace(data, weight=weight, weight_unit=unit)

    def _initial_states(self, plan, data, *init, resume):
        self._aggregators = None
        return super()._initial_states(plan, data, *init, resume=resume)

    def _training(self, plan, data, callbacks=None, *, guarded=False):
        task = self._partitions_task(data.told)
        if guarded and self._samples(plan, data):
            training = Training(
                replace(plan, max_iter=self.max_rounds, task=task),
                callbacks=callbacks,
                guarded=guarded,
            )
            training.unit = Rounds.unit
            return training
        return Rounds(
            plan,
            callbacks=callbacks,
            guarded=guarded,
            data=data,
            task=task,
            seed=check_random_state(self.random_state).randint(MAX_INT),
            local_epochs=self.local_epochs,
            max_rounds=self.max_rounds,
        )

    def _samples(self, plan, data):
        """Whether the median stage runs on the sample, as another stage follows."""
        return is_exact_on_dask(plan, data)

    def _partitions_task(self, told):
        """Return the ``Task`` that the targets of partitions are."""
        return self._task()

    def _run(self, training, data, states, max_epochs=None):
        if not isinstance(training, Rounds):
            # The median stage only has to give a start of another stage.
            return super()._run(training, data, states)
        plan = training.plan
        settings = plan.settings(data)
        # Copies, because a call that fails must not change the estimator.
        kind = BY_NAME[self.aggregator]
        self._aggregators = [
            copy.deepcopy(old) if type(old) is kind else kind()
            for old in self._aggregators or [None] * len(states)
        ]
        problems = [
            Consensus(
                index=i,
                state=self._prepared(training, data, settings, state, i),
                aggregator=self._aggregators[i],
                takes_medians=self.aggregator != "mean",
                watches_median=plan.watches_median,
                n_rejected=np.zeros(len(data.partitions.blocks), dtype=int),
                rule=training.rule(
                    settings,
                    UPDATES_NO_CHANGE,
                    relative=plan.watches_median,
                    exact=exact_share(data.X.dtype),
                ),
            )
            for i, state in enumerate(states)
        ]
        if max_epochs is None:
            max_epochs = self.max_rounds
            if plan.refines and not plan.task.is_classification:
                max_epochs = -(-max_epochs // 2)
        adaptive = training.guarded and plan.learning_rate == "adaptive"
        training.run(problems, settings, max_epochs, adaptive=adaptive)
        training.n_judged = training.n_epochs
        return settings, data, problems

    def _prepared(self, training, data, settings, state, i):
        """Return the state of a problem, ready for rounds."""
        plan, told = training.local_plan, data.told
        state = state.prepared(settings, n_strata=plan.n_strata)
        if plan.n_strata > 1:
            # A partition may lack a class.
            weight = told.of_classes(plan.task.classes, "label_weight")
            factors = plan.task.factors(plan.task.classes)
            positive, factors = plan.task.factors_of(i, factors)
            state.stratum_weight += [weight.sum() - weight[positive], weight[positive]]
            state.share_strata(factors)
        elif settings.tracks_residuals and state.residual_scale == 0:
            prediction = data.units.predict(data.X, state.coef, state.intercept)
            residual = residuals(data.y, prediction)
            state.residual_scale = starting_scale(residual, data.weight)
        return state

    def _later_stages(self, training, data, problems, states):
        trusting = self.aggregator == "mean"
        if not isinstance(training, Rounds):
            self._judged = self._refine(training, data, problems, states, trusting)
        elif training.plan.refines and not training.plan.task.is_classification:
            n_epochs = training.n_epochs
            refine(training, data, problems[0])
            training.n_judged = training.n_epochs - n_epochs or n_epochs
        return problems

    def _refine(self, training, data, problems, states, trusting):
        """Run the stages that ask partitions for sums.

        Returns
        -------
        left_out : dict of {int: str}
            Partitions left out, and the reasons.
        outlying : list of int
            Partitions that have hardly any rows but outliers.
        """
        stage = PartitionedStage(training.plan, data, trusting=trusting)
        _, refinement, _ = run(training, stage, problems[0], states[0])
        self._s_fit = stage.s_fit(refinement)
        return stage.rows.asked.left_out, stage.rows.outlying

    def _finish(self, training, data, problems, states):
        told = data.told
        self.n_dropped_rows_ = told.n_dropped
        self.n_rounds_ = data.partitions.n_calls
        if not isinstance(training, Rounds):
            self._finish_sums(training, told)
            return
        self.n_rejected_ = np.max([problem.n_rejected for problem in problems], axis=0)
        self.n_rejected_[told.is_empty] = 0
        if not is_classifier(self):
            self._s_fit = None
            plan = training.plan
            scale = training.residual_scale(problems[0], plan.settings(data))
            self.scale_ = scale * small_sample_factor(plan, data, told.n_rows)
        self._warn_of_rejected(training.n_judged)

    def _warn_not_converged(self, training):
        warn_user(
            "Maximum number of rounds reached before convergence. Consider "
            "increasing max_rounds or local_epochs to improve the fit.",
            ConvergenceWarning,
        )

    def _finish_sums(self, training, told):
        left_out, outlying = vars(self).pop("_judged")
        self.n_rejected_ = np.where(told.n_rows_of_each, 0, training.n_epochs)
        self.n_rejected_[list(left_out)] = training.n_epochs
        self.n_rejected_[told.is_empty] = 0
        self._warn_of_dropped()
        self._warn_of_left_out(left_out)
        if outlying:
            warn_user(f"Partitions {outlying} hold hardly any rows but outliers.")

    def _warn_of_left_out(self, left_out):
        """Warn of the partitions that were left out, with the reasons."""
        for reason in dict.fromkeys(left_out.values()):
            own = sorted(k for k in left_out if left_out[k] == reason)
            warn_user(f"Partitions {own} were left out: {reason}.")

    def _warn_of_dropped(self):
        """Warn of the partitions that dropped rows."""
        lost = np.flatnonzero(self.n_dropped_rows_)
        if len(lost):
            warn_user(
                f"{self.n_dropped_rows_.sum()} rows with values that are missing or "
                "not finite or weights below 0 were dropped, from partitions "
                f"{lost.tolist()}.",
            )

    def _warn_of_rejected(self, n_judged):
        """Warn of partitions that dropped rows, or that most rounds rejected."""
        self._warn_of_dropped()
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
        """Return the coefficient of determination, or the accuracy of a classifier.

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
        local = self._predicting(X)
        return score(local, X, y, sample_weight, classes=is_classifier(self))

    def _blockwise(self, method, X):
        """Apply a method of the single-machine estimator block by block."""
        check_is_fitted(self)
        if not is_lazy(X):
            return getattr(super(), method)(X)
        return map_rows(self._predicting(X), method, X)

    def _predicting(self, X):
        """Return the estimator of one machine that predicts for a collection."""
        check_is_fitted(self)
        if is_frame(X):
            _check_feature_names(self, X._meta, reset=False)
        check_collection(X, "X", 2)
        if X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {X.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input."
            )
        local = self._local()
        for name in FOR_PREDICTIONS:
            if hasattr(self, name):
                setattr(local, name, getattr(self, name))
        return local
