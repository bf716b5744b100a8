"""Robust linear regression by stochastic gradient descent."""

from functools import partial
from numbers import Real
from typing import Self

import numpy as np
import numpy.typing as npt
from sklearn.base import RegressorMixin
from sklearn.utils import assert_all_finite, check_random_state

from medsgd._base import MAX_INT, BaseMedianSGD
from medsgd._compat import Interval, StrOptions, _fit_context
from medsgd._core.losses import REGRESSION_LOSSES
from medsgd._docs import fill
from medsgd._guards import all_or_nothing
from medsgd._refinement.stochastic import BISQUARE, refine, small_sample_factor
from medsgd._scales import residual_scale, residuals, weighted_median
from medsgd._typing import (
    Auto,
    Floats,
    GradientEstimatorName,
    LearningRate,
    MatrixLike,
    Penalty,
    RandomState,
    RegressionLoss,
)

# Huber 1964: 95% efficient where the noise is normal.
HUBER = 1.345
# Smola, Murata, Schoelkopf and Mueller, ICANN 1998: the most efficient insensitivity
# where the noise is normal.
INSENSITIVITY = 0.612
# Residuals beyond this many scales are outliers (Rousseeuw and Leroy 1987).
OUTLIER = 2.5


@fill(
    curve_shape="ndarray of shape (`n_iter_`,)",
    n_iter_note=", of both stages",
    clip_note=" In the refinement, part of the samples\n    that the bisquare rejects.",
    max_iter_note=". With `refine`\n    the median stage takes at most half of them",
    patience_default="'auto'",
    patience_updates="20,000 of the medians and 100,000 of the\n    refinement",
    scale_note="",
    leverage_formula="``min(1, chi2 / |z|^2)^3``",
    leverage_note=" and in the refinement, where\n    good leverage counts in full",
)
class MedianSGDRegressor(RegressorMixin, BaseMedianSGD):
    """Linear regression by stochastic gradient descent on the median of gradients.

    Where :class:`~sklearn.linear_model.SGDRegressor` steps along each sample's
    gradient, whose average a few outliers can decide, this estimator steps along a
    running *median* of the gradients [1]_. It takes the same parameters, streams in the
    same way with :meth:`partial_fit`, and fits dense and sparse data.

    Parameters
    ----------
    loss : {'squared_error', 'huber', 'epsilon_insensitive', \
            'squared_epsilon_insensitive', 'bisquare'}, default='squared_error'
        The loss whose gradients are taken; as in
        :class:`~sklearn.linear_model.SGDRegressor`. 'bisquare' is Tukey's [3]_: the
        gradient is 0 for residuals beyond 4.685 times a running robust scale of them.
        With `gradient_estimator='mean'` it suits streams whose outliers are rare.
    {{gradient_estimator}}
    {{n_gradients}}
    {{batch_size}}
    tau : 'auto' or float, default='auto'
        Radius of SPP: how far one gradient may move the location, in the unit of the
        gradients. 'auto' is 0.1 times a running median of the distance between
        gradient and location (for 'spp-l1', of each component's), so that a fit
        commutes with scaling `y`. ``inf`` clips nothing: with `momentum=0` that is
        plain SGD, if `standardize` and `refine` are False. Ignored by the other
        estimators.
    {{momentum}}
    {{penalty}}
    {{alpha}}
    {{l1_ratio}}
    {{fit_intercept}}
    {{max_iter}}
    {{tol}}
    {{shuffle}}
    {{verbose}}
    epsilon : 'auto' or float, default=0.1
        Threshold of the 'huber' and the epsilon-insensitive losses, in the unit of `y`.
        'auto' is a multiple of the running scale of the residuals: 1.345 for 'huber'
        [6]_, which is 95% efficient where the noise is normal, and 0.612 for the
        epsilon-insensitive losses [4]_. A fit then commutes with scaling `y`.
    {{random_state}}
    learning_rate : {'invscaling', 'constant', 'optimal', 'adaptive', 'pa1', 'pa2'}, \
            default='invscaling'
        The learning rate schedule, over iterations t:

        - 'constant': `eta = eta0`
        - 'optimal': `eta = 1.0 / (alpha * (t + t0))`, t0 after Leon Bottou
        - 'invscaling': `eta = eta0 / pow(t, power_t)`
        - 'adaptive': `eta = eta0` as long as there is progress; each time the
          stopping criterion is met, it is divided by 5
        - 'pa1', 'pa2': the passive-aggressive steps of [2]_; only with
          `loss='epsilon_insensitive'`, `gradient_estimator='mean'`, `n_gradients`
          and `batch_size` of 1 and `momentum=0`.
    {{eta0}}
    power_t : float, default=0.25
        The exponent of 'invscaling'.
    {{early_stopping}}
    {{validation_fraction}}
    {{n_iter_no_change}}
    {{warm_start}}
    {{average}}
    {{standardize}}
    {{leverage_weights}}
    refine : bool, default=True
        Whether :meth:`fit`, once the median stage has stopped, goes on with plain SGD
        on the bisquare loss from the coefficients and the scale found, first a tight
        one, then that of 4.685 scales, as an MM-estimator does [5]_. It gives back the
        efficiency that a median costs on clean data, and takes away the bias that
        outliers on one side leave. The refinement begins with steps of size `eta0`,
        averages its iterates, and stops by the same rule. Ignored for
        `gradient_estimator='mean'`; :meth:`partial_fit` never refines.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        Weights assigned to the features.
    intercept_ : ndarray of shape (1,)
        The intercept term.
    {{n_iter_}}
    {{t_}}
    tau_ : float or ndarray of shape (n_features + 1,)
        The radius last used; by coordinate, the intercept's last, for 'spp-l1' with
        `tau='auto'`. Only for SPP.
    loss_curve_ : ndarray of shape (`n_iter_`,)
        The statistic that the stopping criterion watches, after each epoch of both
        stages. It is of the losses of its stage: from stage to stage its unit changes.
    {{clip_fraction_curve_}}
    stage_starts_ : ndarray of shape (n_later_stages,) of int
        Where in the curves the steps of the refinement begin, the tight one and the
        efficient one: ``np.split(loss_curve_, stage_starts_)`` is the curve of each
        stage. Empty without refinement.
    scale_ : float
        Robust scale of the residuals, in the unit of `y`: their normalised median
        absolute value, times ``sqrt(n / (n - p))`` for p fitted parameters. It
        estimates the standard deviation of normal noise; outliers raise it a little.
        After :meth:`partial_fit` it is the running one.
    outliers_ : ndarray of shape (n_samples,) of bool
        The rows given to :meth:`fit` whose residuals are beyond ``2.5 * scale_`` [7]_.
        With many more samples than features, about 1% of clean normal rows are. Not
        after :meth:`partial_fit`.
    {{n_features_in_}}
    {{feature_names_in_}}

    See Also
    --------
    MedianSGDClassifier : The same for classification.
    FitCurveDisplay : Plot of `loss_curve_` and `clip_fraction_curve_`.
    ResidualsDisplay : Plot of residuals and outliers.
    sklearn.linear_model.SGDRegressor : Steps along the mean.
    sklearn.linear_model.HuberRegressor : Robust against outliers in `y`; in memory.

    Notes
    -----
    The median of the gradients is near their mean where the noise is symmetric;
    outliers on one side move it in proportion to their share, never to their size. The
    refinement removes that bias: it starts near enough to the majority to tell
    outliers by their residuals. With more than half of the data contaminated no
    estimate is possible, for then the outliers are the majority; coherent leverage
    points that agree with each other are survived up to about a third of the data.
    `n_gradients` sample medians break at lower shares than SPP, as most of 5 random
    samples may be outliers.

    Where not outliers but all of the noise is skewed, the fit is of the middle of the
    targets, as that of every robust loss: the intercept differs from the mean's, and
    so do the coefficients of features with which the noise grows. The refinement,
    which rejects the long tail, does not change that; `batch_size` does in part.

    If more than half of `y` is one value, the fit is that value where it is exact.

    On sparse data the mean takes 0.01 times the steps for the intercept, as in
    scikit-learn; the medians do not. They fit dense and sparse data alike up to the
    centring, and exactly so with `standardize=False`.

    References
    ----------
    .. [1] F. Schaipp, G. Garrigos, U. Simsekli, R. Gower, "Tracking the Median of
       Gradients with a Stochastic Proximal Point Method", TMLR 2025, arXiv:2402.12828
    .. [2] K. Crammer, O. Dekel, J. Keshet, S. Shalev-Shwartz, Y. Singer, "Online
       Passive-Aggressive Algorithms", JMLR 2006
    .. [3] A. Beaton, J. Tukey, "The Fitting of Power Series, Meaning Polynomials,
       Illustrated on Band-Spectroscopic Data", Technometrics 1974
    .. [4] A. Smola, N. Murata, B. Schölkopf, K.-R. Müller, "Asymptotically Optimal
       Choice of ε-Loss for Support Vector Machines", ICANN 1998
    .. [5] V. Yohai, "High Breakdown-Point and High Efficiency Robust Estimates for
       Regression", Annals of Statistics 1987
    .. [6] P. Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical
       Statistics 1964
    .. [7] P. Rousseeuw, A. Leroy, "Robust Regression and Outlier Detection", Wiley 1987

    Examples
    --------
    >>> import numpy as np
    >>> from medsgd import MedianSGDRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 2))
    >>> y = X @ [1.0, -2.0] + 0.1 * rng.normal(size=500)
    >>> y[:100] = 1e3 * rng.normal(size=100)
    >>> reg = MedianSGDRegressor(random_state=0).fit(X, y)
    >>> reg.coef_.round(1)
    array([ 1., -2.])
    >>> bool(reg.outliers_[:100].mean() > 0.95), bool(reg.outliers_[100:].mean() < 0.05)
    (True, True)
    """

    scale_: float
    outliers_: npt.NDArray[np.bool_]
    stage_starts_: npt.NDArray[np.intp]

    _parameter_constraints: dict = {
        **BaseMedianSGD._parameter_constraints,
        "loss": [StrOptions(set(REGRESSION_LOSSES))],
        "epsilon": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "refine": ["boolean"],
    }
    _losses = REGRESSION_LOSSES
    _c_epsilon = {
        "huber": HUBER,
        "epsilon_insensitive": INSENSITIVITY,
        "squared_epsilon_insensitive": INSENSITIVITY,
        "bisquare": BISQUARE,
    }
    _passive_aggressive_loss = "epsilon_insensitive"
    # Measured: tracks the median as well as least absolute deviations does.
    _c_tau = 0.1
    # Measured: small enough to be stable with any number of features, large enough for
    # correlated ones to converge.
    _c_eta = 0.2
    # Measured: the cube stands 10% more of bad leverage than the ratio itself, and what
    # it takes from good leverage the refinement gives back.
    _leverage_power = 3.0
    _scale_clip = None

    def __init__(
        self,
        loss: RegressionLoss = "squared_error",
        *,
        gradient_estimator: GradientEstimatorName = "spp-l2",
        n_gradients: int | Auto = "auto",
        batch_size: int = 1,
        tau: float | Auto = "auto",
        momentum: float = 0.0,
        penalty: Penalty = "l2",
        alpha: float = 0.0001,
        l1_ratio: float | None = 0.15,
        fit_intercept: bool = True,
        max_iter: int = 1000,
        tol: float | None = 1e-3,
        shuffle: bool = True,
        verbose: int = 0,
        epsilon: float | Auto = 0.1,
        random_state: RandomState = None,
        learning_rate: LearningRate = "invscaling",
        eta0: float | Auto = "auto",
        power_t: float = 0.25,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int | Auto = "auto",
        warm_start: bool = False,
        average: bool | int = False,
        standardize: bool | Auto = "auto",
        leverage_weights: bool = True,
        refine: bool = True,
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
        self.random_state = random_state
        self.learning_rate = learning_rate
        self.eta0 = eta0
        self.power_t = power_t
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.average = average
        self.standardize = standardize
        self.leverage_weights = leverage_weights
        self.refine = refine

    def _check_targets(self, y, dtype, *, first):
        if y.dtype.kind not in "biuf":
            try:  # as SGDRegressor does with strings and times
                y = y.astype(np.float64)
            except (ValueError, TypeError) as error:
                raise ValueError(f"y must be numbers: {error}.") from error
        assert_all_finite(y, input_name="y")  # None has become NaN by now
        # Values beyond the range of a narrower dtype stay enormous, but finite.
        limit = np.finfo(dtype).max
        return np.clip(y, -limit, limit).astype(dtype, copy=False)

    def _n_problems(self):
        return 1

    def _coef_attributes(self, coef):
        return {"coef_": coef[0]}

    def _first_intercepts(self, X, y, sample_weight, coef):
        rows = np.flatnonzero(sample_weight)
        if not (self._robust and self.fit_intercept and len(rows)):
            return np.zeros(1)
        # So that an offset costs no epochs.
        residual = residuals(y.astype(np.float64), 0.0 if coef is None else X @ coef[0])
        return np.atleast_1d(weighted_median(residual[rows], sample_weight[rows]))

    def _first_stage_epochs(self, n_samples):
        return -(-self.max_iter // 2) if self._refines() else self.max_iter

    def _refines(self):
        return self.refine and self._robust

    def _later_stages(self, training, problems, sample_weight):
        if not self._refines():
            return problems
        return [refine(self, training, problems[0], sample_weight)]

    def _set_residual_attributes(self, X, y, sample_weight):
        prediction = self._units.predict(X, *self._states[0].solution())
        residual = residuals(y, prediction)
        self.scale_ = residual_scale(residual, sample_weight)
        self.scale_ *= small_sample_factor(self, np.count_nonzero(sample_weight))
        self.outliers_ = np.abs(residual) > OUTLIER * self.scale_

    def _problems(self, X, y, sample_weight, states, settings):
        """What makes the problem, in a list."""
        rows = np.flatnonzero(sample_weight)
        validation_mask = self._validation_mask(y, rows)
        random_state = check_random_state(self.random_state)
        seed = random_state.randint(0, MAX_INT)
        # scikit-learn draws once more: the same random_state goes on in the same way.
        random_state.randint(1, MAX_INT)
        return [
            partial(
                self._problem,
                X,
                y,
                sample_weight,
                states[0],
                seed,
                settings,
                validation_mask=validation_mask,
                held_X=None if validation_mask is None else X[validation_mask],
            )
        ]

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
            Target values.
        coef_init : array-like of shape (n_features,), default=None
            The initial coefficients to warm-start the optimization.
        intercept_init : array-like of shape (1,), default=None
            The initial intercept to warm-start the optimization.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of individual samples, as if a sample came that many times; samples
            of weight 0 are left out. In a median a weight multiplies the sample's say.

        Returns
        -------
        self : MedianSGDRegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            If the data or the parameters are not valid, or if the coefficients
            overflow. The estimator then stays as it was before the call.
        """
        return self._fit(X, y, coef_init, intercept_init, sample_weight)

    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: MatrixLike,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Make one pass over the given samples.

        The state of the gradient estimator lives on from call to call, so that a stream
        fed in pieces tracks one median throughout. The samples of the first call set
        the first scale of ``tau="auto"``, where the intercept starts and, unless they
        are fewer than 30, the units of the features: a few dozen of them or more make a
        good start.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Subset of the training data.
        y : array-like of shape (n_samples,)
            Subset of the target values.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of individual samples.

        Returns
        -------
        self : MedianSGDRegressor
            The estimator.

        Raises
        ------
        ValueError
            As for :meth:`fit`; also if the estimator was unpickled from a version of
            the package whose state this one does not read.
        """
        self._check_state()
        first = not hasattr(self, "_states") or getattr(self, "coef_", None) is None
        if first:
            self._check_parameters(for_partial_fit=True)
        return self._partial_fit(X, y, sample_weight, first=first)

    def predict(self, X: MatrixLike) -> Floats:
        """Predict using the linear model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Input data.

        Returns
        -------
        ndarray of shape (n_samples,)
            Predicted target values. Beyond the range of their dtype they are infinite
            or NaN, of dense rows with a RuntimeWarning of NumPy.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If `X` is not valid, or its features are not those of :meth:`fit`.
        """
        return np.ravel(self._product(X) + self.intercept_)
