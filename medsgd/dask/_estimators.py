"""The regressor and the classifier on Dask."""

from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from medsgd._classifier import MedianSGDClassifier, _has_probabilities
from medsgd._fit.tasks import Classification
from medsgd._regressor import MedianSGDRegressor
from medsgd._utils.compat import available_if
from medsgd._utils.typing import MatrixLike
from medsgd.dask._base import Collection, OnDask, document, init_like
from medsgd.dask._exact import PartitionedStage
from medsgd.dask._multinomial import refine
from medsgd.dask._trust import Asked


@document(
    MedianSGDRegressor,
    dependence_note=",\n    or whose targets depend otherwise on the features than "
    "those of the others",
    refine_note="; a stochastic refinement takes the\n    mean of those that are near "
    "the others",
    far_note=" or,\n    in the refinement, far from the others",
    rounds_note=", of too\nfew samples for exact steps, of sparse `X` with 64 features "
    "or more (unless a\ntenth is stored), and of more than 500 parameters, or 64 with "
    "an L1 penalty. Their\nrefinement is stochastic",
)
class DaskMedianSGDRegressor(OnDask, MedianSGDRegressor):  # type: ignore[misc]
    """Linear regression over the partitions of a dask collection, any of them wrong.

    :class:`~medsgd.MedianSGDRegressor` for data on many machines. A sample of the rows
    is sent to the coordinator, where the median stage and the S step run. For the M
    step the partitions compute the sums in its equations. The fit is therefore that of
    one machine, for any cut into partitions. Wrong partitions are left out.

    Parameters
    ----------
    {{single_parameters}}
    {{parameters}}

    Attributes
    ----------
    coef_, intercept_, scale_, t_, loss_curve_, n_features_in_, feature_names_in_
        As of :class:`~medsgd.MedianSGDRegressor`; of stochastic rounds, before their
        passes.
    {{attributes}}

    See Also
    --------
    medsgd.MedianSGDRegressor : The same on one machine.

    Notes
    -----
    {{one_partition}}
    `outliers_` and `weights_` are not set. ``abs(y - predict(X)) > 2.5 * scale_`` marks
    outliers lazily. :func:`~medsgd.inspection.coefficient_table` takes dask
    collections, and asks the partitions for the sums of the standard errors. Results do
    not depend on the number of workers or on their speed.

    A partition is left out of the rest of the fit if its sums are impossible. If
    `aggregator` is not 'mean', it is also left out in three other cases: its sums
    contradict its rows in the sample, all of its rows are the same, or its residuals
    depend on the fitted values. Targets that were shuffled or are in another unit have
    such residuals, but those of sorted data do not. The last check needs a majority of
    partitions that agree. A warning names the partitions.

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
        MedianSGDRegressor._parameter_constraints | OnDask._constraints
    )
    __init__ = init_like(MedianSGDRegressor)

    @contextmanager
    def _stage(self, X, y, sample_weight):
        with self._training_data(
            X, y, sample_weight, reset=False, new_classes=False
        ) as data:
            data = replace(data, units=self._units)
            stage = PartitionedStage(self._plan(), data, trusting=True)
            # Leave out the partitions that the fit has left out.
            stage.rows.asked.leave_out_again(np.flatnonzero(self.n_rejected_))
            yield stage, stage.rows.n_used

    def partial_fit(
        self, X: Collection, y: Collection, sample_weight: Collection = None
    ) -> Self:
        """Make one round over the given samples.

        Each partition makes `local_epochs` passes over its rows. The default visits at
        least 2,500 rows: one pass over 2,500 rows, 25 passes over 100. The state of the
        gradient estimators is kept from call to call, as on one machine.

        Parameters
        ----------
        X : dask array or dataframe of shape (n_samples, n_features)
            Subset of the training data, in chunks of whole rows, dense or CSR.
        y : dask array or series of shape (n_samples,)
            Subset of the targets, cut like `X`.
        sample_weight : dask array or series of shape (n_samples,), default=None
            Weights of individual samples, cut like `X`.

        Returns
        -------
        self : DaskMedianSGDRegressor
            The estimator.

        Raises
        ------
        TypeError, ValueError
            As for :meth:`fit`; ValueError also if the estimator was unpickled from a
            version of the package whose state this one does not read.
        """
        return super().partial_fit(X, y, sample_weight)


@document(
    MedianSGDClassifier,
    dependence_note="",
    refine_note="",
    far_note="",
    rounds_note=", and with\na `loss` that has no refinement",
)
class DaskMedianSGDClassifier(OnDask, MedianSGDClassifier):  # type: ignore[misc]
    """Linear classifiers over the partitions of a dask collection, any of them wrong.

    :class:`~medsgd.MedianSGDClassifier` for data on many machines. A sample of the rows
    is sent to the coordinator, where the median stage runs. For the second stage the
    partitions add up losses and gradients. Without a second stage, partitions make
    passes over their rows, and the changes are aggregated robustly.

    Parameters
    ----------
    {{single_parameters}}
    {{parameters}}

    Attributes
    ----------
    coef_, intercept_, classes_, t_, loss_curve_, n_features_in_, feature_names_in_
        As of :class:`~medsgd.MedianSGDClassifier`; of stochastic rounds, before their
        passes.
    {{attributes}}

    See Also
    --------
    medsgd.MedianSGDClassifier : The same on one machine.

    Notes
    -----
    {{one_partition}}
    With `refine`, partitions may have different classes, and the second stage gives
    wrong labels little weight. `weights_` and `outliers_` are not set.

    In stochastic rounds the shares of the classes in a step are those of all partitions
    together, so that for SPP a partition may lack some classes. But if few partitions
    have a class, only ``aggregator="mean"`` learns it.

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
        MedianSGDClassifier._parameter_constraints | OnDask._constraints
    )
    __init__ = init_like(MedianSGDClassifier)

    def partial_fit(
        self,
        X: Collection,
        y: Collection,
        classes: npt.ArrayLike | None = None,
        sample_weight: Collection = None,
    ) -> Self:
        """Make one round over the given samples.

        Each partition makes `local_epochs` passes over its rows. The default visits at
        least 2,500 rows: one pass over 2,500 rows, 25 passes over 100. The state of the
        gradient estimators is kept from call to call, as on one machine.

        Parameters
        ----------
        X : dask array or dataframe of shape (n_samples, n_features)
            Subset of the training data, in chunks of whole rows, dense or CSR.
        y : dask array or series of shape (n_samples,)
            Subset of the class labels, cut like `X`.
        classes : array-like of shape (n_classes,), default=None
            Classes across all calls to partial_fit. Required for the first call; `y`
            need not contain all of them.
        sample_weight : dask array or series of shape (n_samples,), default=None
            Weights of individual samples, cut like `X`.

        Returns
        -------
        self : DaskMedianSGDClassifier
            The estimator.

        Raises
        ------
        TypeError, ValueError
            As for :meth:`fit`; ValueError also if `class_weight` is 'balanced', which
            needs all targets at once, or if the estimator was unpickled from a version
            of the package whose state this one does not read.
        """
        return super().partial_fit(X, y, classes, sample_weight)

    def _samples(self, plan, data):
        return plan.refines and not plan.early_stopping

    def _later_stages(self, training, data, problems, states):
        self._forget_refinement()
        self.stage_starts_ = np.empty(0, dtype=np.intp)
        return super()._later_stages(training, data, problems, states)

    def _refine(self, training, data, problems, states, trusting):
        asked = Asked(data, data.told.weights, trusting=trusting)
        n_lead, self._is_multinomial = refine(training, data, problems, asked)
        if self._is_multinomial:
            self.stage_starts_ = np.array([n_lead], dtype=np.intp)
        return asked.left_out, []

    def _partitions_task(self, told):
        # The frequencies are those of all partitions together.
        weight = self.class_weight
        if weight == "balanced":
            count = told.of_classes(self.classes_, "label_count")
            if not count.all():
                raise ValueError(
                    "class_weight 'balanced' needs rows of each class; got none of "
                    f"{self.classes_[count == 0].tolist()}."
                )
            weights = count.sum() / (len(count) * count)
            weight = dict(zip(self.classes_.tolist(), weights, strict=True))
        return Classification(self.classes_, weight)

    def decision_function(self, X: MatrixLike | Collection) -> Any:
        """Return signed distances to the hyperplanes, times the norm of `coef_`.

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
        """Return probability estimates, as those of the single-machine estimator.

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

    @available_if(_has_probabilities)
    def predict_log_proba(self, X: MatrixLike | Collection) -> Any:
        """Return the logarithm of the probability estimates.

        Parameters
        ----------
        X : array-like, sparse matrix, dask array or dask dataframe of shape \
                (n_samples, n_features)
            Input data.

        Returns
        -------
        ndarray or dask array of shape (n_samples, n_classes)
            The log-probability of each class, in the order of `self.classes_`; lazy for
            a dask collection.
        """
        return self._blockwise("predict_log_proba", X)
