"""Robust linear classification by stochastic gradient descent."""

from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from medsgd._base import BaseMedianSGD
from medsgd._core.losses import CLASSIFICATION_LOSSES
from medsgd._fit.tasks import Classification
from medsgd._refinement import multinomial
from medsgd._refinement.class_rows import probabilities
from medsgd._refinement.class_stream import ClassStream
from medsgd._refinement.classification import lead_epochs
from medsgd._utils.compat import (
    Interval,
    LinearClassifierMixin,
    StrOptions,
    _check_partial_fit_first_call,
    _fit_context,
    available_if,
)
from medsgd._utils.docs import fill, options
from medsgd._utils.guards import all_or_nothing
from medsgd._utils.typing import (
    Auto,
    ClassificationLoss,
    Floats,
    LearningRate,
    MatrixLike,
    Penalty,
    RandomState,
)
from medsgd.gradient_estimators import DESCRIPTIONS, GradientEstimatorName


def _has_probabilities(self):
    if self.loss not in ("log_loss", "modified_huber"):
        raise AttributeError(
            f"probability estimates are not available for loss={self.loss!r}"
        )
    return True


@fill(
    estimators=DESCRIPTIONS,
    losses=options(CLASSIFICATION_LOSSES),
    default_loss="'log_loss'",
    curve_shape="ndarray of shape (`n_iter_`,) or (`n_iter_`, n_classes)",
    n_iter_note=",\n    the maximum over the classes",
    clip_note=(
        " In the\n    refinement: share of the rows that lost more than half of their"
        " weight."
    ),
    max_iter_note="",
    alpha_note=" 'auto' is 0.0001, except that\n    the second stage of `refine` then "
    "has no penalty besides its prior if\n    `penalty` is 'l2': it would make "
    "probabilities of classes that are far apart too\n    unsure. A number counts in "
    "both stages.",
    estimator_note="",
    exact_note="",
    early_note="",
    patience_default="5",
    patience_updates="20,000",
    scale_note=", corrected\n    by the spread of values clipped at 5 such deviations",
    units_note="If the scale of a feature in\n    later calls of :meth:`partial_fit` "
    "differs from its unit, the unit changes",
    leverage_formula="``min(1, chi2 / |z|^2)``",
    leverage_note="",
)
class MedianSGDClassifier(LinearClassifierMixin, BaseMedianSGD):
    """Robust linear classification: a gamma-divergence fit, begun by SGD on medians.

    :class:`~sklearn.linear_model.SGDClassifier` steps along each sample's gradient.
    This estimator steps along running *medians* of the gradients [1]_, which a share of
    wrong labels or of outlying samples cannot decide. SPP, the stochastic proximal
    point method, tracks one median for the gradients of each class and weights the
    medians by the frequencies of the classes, because the median of all gradients would
    ignore a minority class. Several classes are fitted one versus the rest. `fit` then
    refines one multinomial model with calibrated probabilities, on which wrong labels
    have little influence.

    Parameters
    ----------
    {{loss}}
        The loss whose gradients are taken, as in
        :class:`~sklearn.linear_model.SGDClassifier`. The default is logistic
        regression, because most gradients of the hinge loss are 0, and so is their
        median.
    {{gradient_estimator}}
    {{n_gradients}}
    {{batch_size}}
    tau : 'auto' or float, default='auto'
        Radius of SPP: a gradient moves the location of its class by at most `tau`, in
        the unit of the gradients. 'auto' is 2.5 times a running median of the distance
        between gradient and location (for 'spp-l1', of each component). ``inf`` clips
        nothing: with `momentum=0` that is plain SGD, if `standardize` is False. Ignored
        by the other estimators.
    {{momentum}}
    {{penalty}}
    {{alpha}}
    {{l1_ratio}}
    {{fit_intercept}}
    {{max_iter}}
    {{tol}}
    {{shuffle}}
    {{verbose}}
    epsilon : float, default=0.1
        Threshold of the 'huber' and the epsilon-insensitive losses.
    n_jobs : int, default=None
        The number of threads that fit classes one versus the rest. ``None`` means 1
        unless in a :obj:`joblib.parallel_backend` context. ``-1`` means using all
        processors. The result does not depend on it.
    {{random_state}}
    learning_rate : {'adaptive', 'constant', 'optimal', 'invscaling', 'pa1', 'pa2'}, \
            default='adaptive'
        The learning rate schedule, over iterations t:

        - 'adaptive': `eta = eta0` as long as there is progress; each time the
          stopping criterion is met, it is divided by 5
        - 'constant': `eta = eta0`
        - 'optimal': `eta = 1.0 / (alpha * (t + t0))`, t0 after Leon Bottou. This is
          scikit-learn's default; its first steps, of size 10 for the default `alpha`,
          are too long for a location that lags behind the parameters.
        - 'invscaling': `eta = eta0 / pow(t, power_t)`
        - 'pa1', 'pa2': the passive-aggressive steps of [2]_; only with `loss='hinge'`,
          `gradient_estimator='mean'`, `n_gradients` and `batch_size` of 1 and
          `momentum=0`.
    {{eta0}}
    power_t : float, default=0.25
        The exponent of 'invscaling'.
    {{early_stopping}}
    {{validation_fraction}}
    {{n_iter_no_change}}
    class_weight : dict, {class_label: weight} or 'balanced', default=None
        Weights of the classes, 1 where not given. 'balanced' uses ``n_samples /
        (n_classes * np.bincount(y))``. For SPP they multiply the classes' shares in a
        step. For other estimators and in the refinement they multiply the weights of
        the samples. 'balanced' favours minorities. Without it the refined probabilities
        are those of classes as frequent as in `y`.
    {{warm_start}}
    {{average}}
    {{standardize}}
    {{leverage_weights}}
    refine : bool, default=True
        Whether `fit` fits one multinomial model (for two classes a logistic one) after
        a short median stage. The model regains the accuracy and the calibrated
        probabilities that a median costs. Only for `loss='log_loss'` and a median.
        Other losses and `gradient_estimator='mean'` have no refinement.
        :meth:`partial_fit` carries a refined estimate beside the median, see Notes.
    {{half_life}}

    Attributes
    ----------
    coef_ : ndarray of shape (1, n_features) if n_classes == 2 else \
            (n_classes, n_features)
        Weights assigned to the features.
    intercept_ : ndarray of shape (1,) if n_classes == 2 else (n_classes,)
        Constants in decision function.
    classes_ : ndarray of shape (n_classes,)
        The class labels.
    {{n_iter_}}
    {{t_}}
    tau_ : float or ndarray of shape ([n_classes,] 2[, n_features + 1])
        The radius last used. With `tau='auto'` the negative and the positive class of
        each binary problem have one, and for 'spp-l1' one for each coordinate. Only for
        SPP.
    loss_curve_ : ndarray of shape (`n_iter_`,) or (`n_iter_`, n_classes)
        The statistic of the stopping criterion after each epoch. A class that has
        stopped keeps its last value.
    {{clip_fraction_curve_}}
    stage_starts_ : ndarray of shape (n_later_stages,) of int
        The epoch at which the refinement begins, if there is one. The curve of the
        refinement is its objective over its iterations. Only after :meth:`fit`.
    weights_ : ndarray of shape (n_samples,)
        The weight of each training row in the refined model, from 0 to 1: small where
        the label is implausible or the row is far out. Only after a refinement.
    outliers_ : ndarray of shape (n_samples,) of bool
        Training rows that the refined model rejects: the features are 20 times as
        likely in another class, or so far out that the leverage weight is below 0.1.
        Only after a refinement.
    {{n_features_in_}}
    {{feature_names_in_}}

    See Also
    --------
    MedianSGDRegressor : The same for regression.
    FitCurveDisplay : Plot of `loss_curve_` and `clip_fraction_curve_`.
    sklearn.linear_model.SGDClassifier : Steps along the mean.
    sklearn.linear_model.LogisticRegression : Logistic regression; in memory.

    Notes
    -----
    The share of a class in a step is its frequency among the samples seen so far, times
    its weight. The sample medians mix the classes: for imbalanced or many classes use
    SPP. With ``tau=inf`` and no momentum nothing is tracked. With `standardize=False`
    as well the steps are those of :class:`~sklearn.linear_model.SGDClassifier`: fits of
    dense data with the same loss, `learning_rate`, `eta0` and `random_state` and with
    `tol=None` agree to rounding.

    The refinement minimises the gamma-divergence of the labels from a multinomial model
    [3]_, with gamma = 1. It is similar to the log loss, but a row with an implausible
    label counts little. Leverage weights multiply the rows. The refinement has three
    steps. First, the direction of the coefficients is fitted under a normal prior in
    addition to the penalty. The prior prevents a model with many features from
    memorising wrong labels. Second, the size of the coefficients is fitted, because the
    prior makes it too small. With at most 20 rows for a feature, held-out rows choose
    the strength of the prior, the size and the intercepts. With up to 20 rows for a
    feature and each class but one, they choose the size and the intercepts. The choice
    allows for wrong labels among them. Third, with more rows, the intercepts are set so
    that plausible labels are as frequent as predicted. The result hardly depends on
    `random_state`. `tol` bounds the progress of an iteration, `early_stopping` ends the
    refinement when the held-out rows make no progress, and `max_iter` counts epochs of
    the median stage and iterations together.

    With ``refine=False`` probabilities are less calibrated, because the clipped
    gradients are those of samples that would make probabilities less certain.

    *Streams.* With `refine`, `loss='log_loss'` and without an L1 penalty
    :meth:`partial_fit` carries two estimates. One is the tracked median. The other one,
    the refined estimate, begins with the refinement of the first 1,000 rows, and begins
    again at 4,000 rows. The rows are kept until then. Up to 1,000 rows `coef_`,
    `intercept_` and the probabilities are the median's, one versus the rest. Each later
    piece of the rows moves the coefficients of each class by a Newton step along the
    gradient of the gamma-divergence, in the metric of all rows so far. Accuracy and log
    loss are about those of :meth:`fit` on all rows. The state has a matrix of the
    parameters of each class. If these are more than 2**19 numbers, it has a diagonal,
    and steps are implicit. The stream recognises rows that come again, such as in
    several passes over the same data, by some of the first rows. The prior then counts
    once for each pass, so that later passes do not memorise wrong labels. After
    :meth:`fit` the estimate continues the fit. If the median alone predicts clearly
    more of the recent labels, such as after a jump of the coefficients, the refined
    estimate begins anew.

    References
    ----------
    .. [1] F. Schaipp, G. Garrigos, U. Simsekli, R. Gower, "Tracking the Median of
       Gradients with a Stochastic Proximal Point Method", TMLR 2025, arXiv:2402.12828
    .. [2] K. Crammer, O. Dekel, J. Keshet, S. Shalev-Shwartz, Y. Singer, "Online
       Passive-Aggressive Algorithms", JMLR 2006
    .. [3] H. Fujisawa, S. Eguchi, "Robust Parameter Estimation with a Small Bias
       against Heavy Contamination", Journal of Multivariate Analysis 2008

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from medsgd import MedianSGDClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X[::10] *= 100  # every tenth sample in a wrong unit
    >>> clf = MedianSGDClassifier(random_state=0).fit(X, y)
    >>> clf.score(X, y) > 0.9
    True
    """

    classes_: npt.NDArray[Any]
    stage_starts_: npt.NDArray[np.intp]
    weights_: npt.NDArray[np.float64]
    outliers_: npt.NDArray[np.bool_]

    _parameter_constraints: dict = {
        **BaseMedianSGD._parameter_constraints,
        "loss": [StrOptions(set(CLASSIFICATION_LOSSES))],
        "n_jobs": [Integral, None],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "refine": ["boolean"],
        "half_life": [Interval(Real, 0, None, closed="right"), None],
    }
    _stream_type = ClassStream

    def __setstate__(self, state):
        # Files from before the refinement have no `refine`.
        super().__setstate__({"refine": False} | state)

    def __init__(
        self,
        loss: ClassificationLoss = "log_loss",
        *,
        gradient_estimator: GradientEstimatorName = "spp-l2",
        n_gradients: int | Auto = "auto",
        batch_size: int = 1,
        tau: float | Auto = "auto",
        momentum: float = 0.0,
        penalty: Penalty = "l2",
        alpha: float | Auto = "auto",
        l1_ratio: float | None = 0.15,
        fit_intercept: bool = True,
        max_iter: int = 1000,
        tol: float | None = 1e-3,
        shuffle: bool = True,
        verbose: int = 0,
        epsilon: float = 0.1,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        learning_rate: LearningRate = "adaptive",
        eta0: float | Auto = "auto",
        power_t: float = 0.25,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int | Auto = 5,
        class_weight: dict[Any, Any] | Literal["balanced"] | None = None,
        warm_start: bool = False,
        average: bool | int = False,
        standardize: bool | Auto = "auto",
        leverage_weights: bool = True,
        refine: bool = True,
        half_life: float | None = None,
    ) -> None:
        self.loss = loss
        self.gradient_estimator = gradient_estimator
        self.n_gradients = n_gradients
        self.batch_size = batch_size
        self.tau = tau
        self.momentum = momentum
        self.penalty = penalty
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol
        self.shuffle = shuffle
        self.verbose = verbose
        self.epsilon = epsilon
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.learning_rate = learning_rate
        self.eta0 = eta0
        self.power_t = power_t
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.average = average
        self.standardize = standardize
        self.leverage_weights = leverage_weights
        self.refine = refine
        self.half_life = half_life

    def _check_targets(self, y, dtype, *, first):
        if first:
            check_classification_targets(y)
            self.classes_ = np.unique(y)
        elif not np.isin(y, self.classes_).all():
            raise ValueError(
                f"y contains labels {np.setdiff1d(y, self.classes_)} that are not in "
                f"classes={self.classes_}, given in the first call to partial_fit."
            )
        if len(self.classes_) < 2:
            raise ValueError(
                "The number of classes has to be greater than one; got "
                f"{len(self.classes_)} class"
            )
        return y

    def _task(self):
        return Classification(getattr(self, "classes_", None), self.class_weight)

    def _coef_attributes(self, coef):
        return {"coef_": coef}

    def _first_stage(self, plan, data, makers):
        if not plan.refines:
            return makers, plan.max_iter
        return makers, min(lead_epochs(len(data.rows)), -(-plan.max_iter // 2))

    def _forget_refinement(self):
        """Drop the attributes of the rows of a refinement."""
        for name in ("_is_multinomial", "weights_", "outliers_", "stage_starts_"):
            vars(self).pop(name, None)

    def _partial_fit(self, X, y, sample_weight, first):
        super()._partial_fit(X, y, sample_weight, first)
        self._forget_refinement()
        if self._stream is not None and self._stream.is_shown:
            self._is_multinomial = True
        return self

    def _follow(self, plan, data, states):
        super()._follow(plan, data, states)
        if self._stream is not None and self._stream.corrects_median:
            found = self._stream.solutions()
            self._states = [
                multinomial.with_solution(state, *self._units.from_user(*solution))
                for state, solution in zip(self._states, found, strict=True)
            ]

    def _later_stages(self, training, data, problems, states):
        self._forget_refinement()
        self.stage_starts_ = np.empty(0, dtype=np.intp)
        if training.plan.refines:
            n_lead, judged, stream = multinomial.refine(training, data, problems)
            self._stream = stream
            if judged is not None:
                self._is_multinomial = True
                self.weights_, self.outliers_ = judged
                self.stage_starts_ = np.array([n_lead], dtype=np.intp)
        return problems

    def _finish(self, training, data, problems, states):
        if not training.guarded:
            # Targets are -1 and 1. The perceptron is independent of the size of
            # targets.
            target_size = float(training.plan.loss != "perceptron")
            self._check_divergence(training.plan, data.units, target_size)
            self._follow(training.plan, data, states)

    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: MatrixLike,
        y: npt.ArrayLike,
        coef_init: npt.ArrayLike | None = None,
        intercept_init: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Fit the linear model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,)
            Class labels.
        coef_init : array-like of shape (n_classes, n_features), default=None
            The initial coefficients to warm-start the optimization.
        intercept_init : array-like of shape (n_classes,), default=None
            The initial intercept to warm-start the optimization.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of individual samples, as if a sample came that many times; samples
            of weight 0 are left out. In a median a weight multiplies the sample's
            influence. For the sample medians weights differ from copies: a sample of
            weight 3 is most of one median of 5 gradients, and three copies of it are in
            three such medians. Sample weights are multiplied by `class_weight`.

        Returns
        -------
        self : MedianSGDClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If the data or the parameters are not valid, if there is only one class, or
            if the coefficients overflow. The estimator then stays as it was before the
            call.
        """
        return self._fit(X, y, coef_init, intercept_init, sample_weight)

    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: MatrixLike,
        y: npt.ArrayLike,
        classes: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Make one pass over the given samples.

        The state of the gradient estimator is kept from call to call, so that all calls
        track the same medians. With ``tau="auto"`` the first samples of each class set
        its first scale. Give it a few dozen samples of each class or more.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Subset of the training data.
        y : array-like of shape (n_samples,)
            Subset of the class labels.
        classes : array-like of shape (n_classes,), default=None
            Classes across all calls to partial_fit. Required for the first call; `y`
            need not contain all of them.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of individual samples, as for :meth:`fit`. With a median they are
            relative to the mean weight of the stream, so that their unit does not
            matter; the mean forgets rows over about a thousand more.

        Returns
        -------
        self : MedianSGDClassifier
            The estimator.

        Raises
        ------
        ValueError
            As for :meth:`fit`; also if `class_weight` is 'balanced', which needs all
            targets at once, or if the estimator was unpickled from a version of the
            package whose state this one does not read.
        """
        self._check_state()
        if not hasattr(self, "classes_"):
            self._plan().check(for_partial_fit=True)
        first = _check_partial_fit_first_call(self, classes)
        if first and self.class_weight == "balanced":
            raise ValueError(
                "class_weight 'balanced' is not supported for partial_fit. In order to "
                "use 'balanced' weights, use compute_class_weight('balanced', "
                "classes=classes, y=y). In place of y you can use a large enough "
                "sample of the full training set target to properly estimate the "
                "class frequency distributions. Pass the resulting weights as the "
                "class_weight parameter."
            )
        return self._partial_fit(X, y, sample_weight, first=first)

    def decision_function(self, X: MatrixLike) -> Floats:
        """Return signed distances to the hyperplanes, times the norm of `coef_`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Input data.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            Positive where the class, with two `classes_[1]`, is predicted.
        """
        scores = self._product(X) + self.intercept_
        return scores.ravel() if scores.shape[1:] == (1,) else scores

    @available_if(_has_probabilities)
    def predict_proba(self, X: MatrixLike) -> Floats:
        """Return probability estimates.

        Only for `loss` 'log_loss' and 'modified_huber'. After a refinement they are the
        softmax of the decision function; else, with several classes, the binary
        estimates are normalised (Zadrozny and Elkan, KDD 2002). For
        'modified_huber' a binary estimate is ``(clip(decision_function(X), -1, 1) + 1)
        / 2`` (T. Zhang, ICML 2004).

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Input data.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            The probability of each class, in the order of `self.classes_`.

        Raises
        ------
        AttributeError
            If `loss` has no probabilities.
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If `X` is not valid, or its features are not those of :meth:`fit`.
        """
        check_is_fitted(self)
        if self.loss == "log_loss":
            if getattr(self, "_is_multinomial", False):
                return probabilities(self.decision_function(X))
            return self._predict_proba_lr(X)
        positive = (np.clip(self.decision_function(X), -1, 1) + 1) / 2
        if len(self.classes_) == 2:
            return np.column_stack([1 - positive, positive])
        # If no class is possible, all are equally probable.
        positive[np.all(positive == 0, axis=1)] = 1
        return positive / positive.sum(axis=1, keepdims=True)

    @available_if(_has_probabilities)
    def predict_log_proba(self, X: MatrixLike) -> Floats:
        """Return the logarithm of the probability estimates.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Input data.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            The log-probability of each class, in the order of `self.classes_`; -inf
            where 'modified_huber' gives 0.

        Raises
        ------
        AttributeError, NotFittedError, ValueError
            As for :meth:`predict_proba`.
        """
        if getattr(self, "_is_multinomial", False) and self.loss == "log_loss":
            scores = self.decision_function(X)
            if scores.ndim == 1:
                scores = np.column_stack([np.zeros_like(scores), scores])
            return log_softmax(scores, axis=1)
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))
