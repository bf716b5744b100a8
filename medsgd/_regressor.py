"""Robust linear regression by stochastic gradient descent."""

from contextlib import contextmanager
from dataclasses import replace
from numbers import Real
from typing import Self

import numpy as np
import numpy.typing as npt
from sklearn.base import RegressorMixin

from medsgd._base import BaseMedianSGD
from medsgd._core.losses import REGRESSION_LOSSES
from medsgd._fit.data import Data
from medsgd._fit.scales import residual_scale, residuals
from medsgd._fit.tasks import Regression, as_targets
from medsgd._refinement import exact, stochastic
from medsgd._refinement.bisquare import m_weights
from medsgd._refinement.candidates import MOST_OUTER
from medsgd._refinement.exact import MOST_EPOCHS, UPDATES, few_rows, is_exact
from medsgd._refinement.regression import FIRST_STAGE, LAST_STAGE
from medsgd._refinement.stochastic import small_sample_factor
from medsgd._refinement.stream import Stream
from medsgd._utils.compat import Interval, StrOptions, _fit_context
from medsgd._utils.docs import fill, options
from medsgd._utils.guards import all_or_nothing
from medsgd._utils.typing import (
    Auto,
    Floats,
    LearningRate,
    MatrixLike,
    Penalty,
    RandomState,
    RegressionLoss,
)
from medsgd.gradient_estimators import DESCRIPTIONS, GradientEstimatorName

# Residuals beyond this many scales are outliers (Rousseeuw and Leroy 1987).
OUTLIER = 2.5


@fill(
    estimators=DESCRIPTIONS,
    losses=options(REGRESSION_LOSSES),
    default_loss="'squared_error'",
    curve_shape="ndarray of shape (`n_iter_`,)",
    n_iter_note=", and of\n    passes of the S step and the M step",
    clip_note=" In the\n    refinement, share of the samples that the bisquare "
    "rejects.",
    max_iter_note=". With `refine`\n    the median stage takes at most half of them; "
    "each pass of the S step and of the\n    M step counts as one",
    alpha_note=" 'auto' is 0.0001, except that\n    the exact refinement then has no "
    "penalty if `penalty` is 'l2': it would shrink\n    strong effects by more than "
    "their standard error. A number counts in all stages,\n    see Notes.",
    estimator_note="\n\n    After an exact refinement (see `refine`) all medians give "
    "equal coefficients.",
    exact_note=" The exact\n    steps of `refine` do not use it.",
    early_note=" No stage is\n    fitted to this part.",
    patience_default="'auto'",
    patience_updates="20,000 of the medians and 100,000 of a stochastic\n    "
    "refinement",
    scale_note="",
    units_note="If the scale of a feature in\n    later calls of :meth:`partial_fit` "
    "differs from its unit by more than a factor of\n    two, the unit changes, by at "
    "most a factor of four in 200 rows",
    leverage_formula="``min(1, chi2 / |z|^2)^3``",
    leverage_note=" and in\n    the refinement, where good leverage counts in full",
)
class MedianSGDRegressor(RegressorMixin, BaseMedianSGD):
    """Robust linear regression: an MM-estimate, begun by SGD on a median of gradients.

    :class:`~sklearn.linear_model.SGDRegressor` steps along each sample's gradient, and
    a few outliers can decide the average of these gradients. This estimator steps along
    a running *median* of the gradients [1]_, tracked by the stochastic proximal point
    method (SPP). `fit` then goes on to an MM-estimate by exact steps. The estimator
    takes the same parameters, has the same :meth:`partial_fit` for streams, and fits
    dense and sparse data.

    Parameters
    ----------
    {{loss}}
        The loss whose gradients are taken, as in
        :class:`~sklearn.linear_model.SGDRegressor`. 'bisquare' is Tukey's [3]_: the
        gradient is 0 for residuals beyond 4.685 times their running robust scale. With
        `gradient_estimator='mean'` it suits streams with rare outliers.
    {{gradient_estimator}}
    {{n_gradients}}
    {{batch_size}}
    tau : 'auto' or float, default='auto'
        Radius of SPP: a gradient moves the location by at most `tau`, in the unit of
        the gradients. 'auto' is 0.1 times a running median of the distance between
        gradient and location (for 'spp-l1', of each component), so that a fit commutes
        with scaling `y`. ``inf`` clips nothing: with `momentum=0` that is plain SGD, if
        `standardize` and `refine` are False. Ignored by the other estimators.
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
        Whether :meth:`fit` computes an MM-estimate [5]_ after the median stage, as R's
        ``lmrob`` does. The S step finds the coefficients whose residuals have the
        smallest M-scale, a scale that tolerates nearly half of the rows as outliers.
        The M step minimises the bisquare loss, with a threshold of 4.685 of these
        scales. It regains the efficiency that a median loses on clean data, and removes
        the bias by outliers on one side. Both steps are exact: they solve least-squares
        problems until they have converged, so that neither the seed nor
        `gradient_estimator` decides the result. See Notes for small and for sparse
        data. :meth:`partial_fit` carries a refined estimate beside the median, see
        Notes. Ignored for `gradient_estimator='mean'`.
    {{half_life}}

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        Weights assigned to the features.
    intercept_ : ndarray of shape (1,)
        The intercept term.
    {{n_iter_}}
    {{t_}}
    tau_ : float or ndarray of shape (n_features + 1,)
        The radius last used. For 'spp-l1' with `tau='auto'` there is one for each
        coordinate, that of the intercept last. Only for SPP.
    loss_curve_ : ndarray of shape (`n_iter_`,)
        The quantity that each stage lowers, after each epoch or pass. In the median
        stage it is the statistic of the stopping criterion, in the S step the scale of
        the residuals, and in the M step the objective (see Notes). The unit differs
        between stages.
    {{clip_fraction_curve_}}
    stage_starts_ : ndarray of shape (n_later_stages,) of int
        Epochs in the curves at which the S step and the M step begin:
        ``np.split(loss_curve_, stage_starts_)`` is the curve of each stage. Empty
        without refinement.
    scale_ : float
        Robust scale of the residuals, in the unit of `y`, which estimates the standard
        deviation of normal noise; outliers inflate it. After an exact refinement it is
        the M-scale of the S step, with a breakdown point of 1/2 and the divisor
        ``n - rank``: ``scale`` of R's ``lmrob``. With more than 64 parameters and fewer
        than five rows for each it is ``sqrt(n / (n - p))`` times that. It is 0 after an
        exact fit. After a stochastic refinement it is the normalised median absolute
        residual times ``sqrt(n / (n - p))`` for p fitted parameters. After
        :meth:`partial_fit` it is the running M-scale of the refined estimate, or the
        running median without one.
    outliers_ : ndarray of shape (n_samples,) of bool
        The rows given to :meth:`fit` whose residuals are beyond ``2.5 * scale_`` [7]_.
        With many more samples than features, about 1% of clean normal rows are. After
        an exact fit it marks the rows that are not fitted exactly. Not after
        :meth:`partial_fit`.
    weights_ : ndarray of shape (n_samples,)
        The weight in [0, 1] that the bisquare gives each row given to :meth:`fit`, ``(1
        - min(1, r / (4.685 * scale_))**2)**2`` for the residual r. It does not depend
        on the sample weight. The weight of a row that the refinement rejects is 0.
        After an exact fit it is 1 for the rows that are fitted exactly and 0 for all
        others. Only with a refinement, and not after :meth:`partial_fit`.
    {{n_features_in_}}
    {{feature_names_in_}}

    See Also
    --------
    MedianSGDClassifier : The same for classification.
    medsgd.inspection.coefficient_table : Standard errors and confidence intervals.
    FitCurveDisplay : Plot of the stages of a fit.
    ResidualsDisplay : Plot of residuals and outliers.
    sklearn.linear_model.SGDRegressor : Steps along the mean.
    sklearn.linear_model.HuberRegressor : Robust against outliers in `y`; in memory.

    Notes
    -----
    The median of the gradients is near their mean if the noise is symmetric. Outliers
    on one side move the median in proportion to their share, but not to their size. The
    refinement removes that bias. No method can recover the model if over half of the
    rows are contaminated, because the outliers are then the majority. A fit tolerates
    coherent bad leverage points, which all follow the same wrong model. They may be up
    to 40% of the rows if they are far from the others, and up to about 30% if they are
    two standard deviations away in each of ten features. Without refinement, sample
    medians break down at lower shares than SPP, because most of 5 random samples may be
    outliers.

    *The exact refinement* has several starting points, the solution of the median stage
    and that of a warm start among them. The scale of the residuals chooses between
    them, and a scale in which samples of high leverage count less guards the choice.
    The M step minimises, for residuals r and the scale s of the S step,

    ``mean((c * s)**2 / 6 * rho(r / (c * s))) + alpha / 2 * |w|**2``

    with c = 4.685, ``rho(u) = 1 - (1 - min(u**2, 1))**3`` and w the coefficients of the
    standardised features (those of `X` if `standardize` is False). Near 0 the loss is
    ``r**2 / 2``. The penalties 'l1' and 'elasticnet' have the term of
    :class:`~sklearn.linear_model.SGDRegressor`. An integer sample weight counts as that
    many copies of the sample. Collinear features get the coefficients of least norm.

    - The refinement is exact if there are at least two samples a parameter, or five of
      more than 64 parameters with an L1 penalty. With fewer samples it is stochastic:
      plain SGD on the bisquare loss, first with a tight and then with the efficient
      threshold, in place of the S step and the M step. `eta0`, `tol` and
      `n_iter_no_change` then have an effect on it, and the result depends on the seed.
    - The median stage only has to give one of the starting points. Before an exact
      refinement it takes one epoch of at most 1,000 of the samples, or up to four of
      fewer samples.
    - Up to 64 parameters the steps solve for the coefficients. Beyond that, and for
      sparse `X` of 64 features or more, they are quasi-Newton steps in the metric of a
      Gram matrix, or of its diagonal beyond 2,000 parameters. Sparse `X` stays sparse.
      With an L1 penalty the steps are coordinate descent, and zeros are exact.
    - With more than 2,000 parameters, or with a penalty, the S step ends once a pass
      changes predictions by less than .005 scales.
    - The result does not depend on `random_state`, `shuffle`, the order of the samples,
      the number of threads or a robust `gradient_estimator`: coefficients in float64
      agree to about 1e-4 of their standard errors, not to the last bit. The S step sees
      a fixed subset of more than 10,000 samples (or ten a parameter). Another order of
      the samples then moves coefficients by up to .02 standard errors.
    - If `max_iter` ends the steps early, there is a
      :class:`~sklearn.exceptions.ConvergenceWarning`.

    *Streams.* With `refine` :meth:`partial_fit` carries two estimates. One is the
    tracked median. The other one, the refined estimate, begins with the exact
    refinement of the first 30 rows, or 5 a parameter (500 rows with an L1 penalty or
    more than 2,048 parameters). It begins again with 125, 500, 2,000 and 8,000 rows, or
    20 a parameter, and the rows are kept until then. Before the first refinement
    `coef_`, `intercept_` and `scale_` are the median's, whose errors are larger.
    Each later row adds its outer product and its target to sums whose solution is the
    estimate [8]_. The weight of the row is the curvature of the bisquare at the
    coefficients and the scale when the row arrives. The error is about that of
    :meth:`fit` on all rows. The state has a matrix of the parameters. With more than
    2,048 parameters, or with an L1 penalty, it has the diagonal of that matrix, and up
    to two million values of first rows. After :meth:`fit` the sums, or with more than
    500 parameters their diagonal, continue the fit. The refined estimate begins anew in
    two cases. After a jump of the coefficients, the median fits 1,000 rows or more so
    much better that their residual scale is 1.2 times smaller. Or the residuals of 400
    rows or more, and of the last call, are ten times larger than before. Rows of which
    the sums know little, such as of a new level, first move the coefficients to their
    own robust fit. On Dask there is no refined estimate
    of a stream.

    *Exact fits.* If more than half of the targets are fitted without an error, such as
    a `y` that is mostly one value, the fit is the least-squares fit of these samples.
    `scale_` is then 0, and there is a warning.

    *Skewed noise.* If all of the noise is skewed, the fit estimates the centre of the
    targets, not their mean, as every robust loss does. The intercept then differs from
    that of the mean, and so do the coefficients of features with which the noise grows.
    The refinement rejects the long tail and does not change that. Without refinement
    `batch_size` changes it in part.

    On sparse data the mean takes 0.01 times the steps for the intercept, as in
    scikit-learn. The medians do not. Fits of a median to dense and to sparse data
    differ by the centring alone, which `standardize` and `leverage_weights` need. With
    both False they agree to rounding.

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
    .. [8] R. Martin, C. Masreliez, "Robust Estimation via Stochastic Approximation",
       IEEE Transactions on Information Theory 1975

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
    weights_: npt.NDArray[np.float64]
    stage_starts_: npt.NDArray[np.intp]

    _parameter_constraints: dict = {
        **BaseMedianSGD._parameter_constraints,
        "loss": [StrOptions(set(REGRESSION_LOSSES))],
        "epsilon": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "refine": ["boolean"],
        "half_life": [Interval(Real, 0, None, closed="right"), None],
    }
    _stage_names = ("median stage", FIRST_STAGE, LAST_STAGE)

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
        alpha: float | Auto = "auto",
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
        self.half_life = half_life

    def _check_targets(self, y, dtype, *, first):
        return as_targets(y, dtype)

    def _task(self):
        return Regression()

    def _coef_attributes(self, coef):
        return {"coef_": coef[0]}

    def _unit_weights(self, plan, data):
        # If the units only have an effect on the start of exact steps, few rows set
        # them.
        is_small = data.X.shape[1] < MOST_OUTER and plan.exact_alpha == 0
        if is_small and is_exact(plan, data, len(data.rows)):
            return few_rows(data.X, data.y, data.weight)
        return data.weight

    def _first_stage(self, plan, data, makers):
        if not plan.refines:
            return makers, plan.max_iter
        max_epochs = -(-plan.max_iter // 2)
        n_rows = np.count_nonzero(data.training_weight(data.weight))
        if not is_exact(plan, data, n_rows):
            return makers, max_epochs

        def make():
            # The median stage gives one of many starts, for which few rows are enough.
            problem = makers[0]()
            few = problem.rows[:: -(-len(problem.rows) // UPDATES)].copy()
            return replace(problem, rows=few)

        most = int(np.clip(UPDATES // n_rows, 1, MOST_EPOCHS))
        return [make], min(max_epochs, most)

    def _later_stages(self, training, data, problems, states):
        plan, (problem,) = training.plan, problems
        self._s_fit = None
        if not plan.refines:
            return problems
        weight = data.training_weight(data.given_weight)
        if not is_exact(plan, data, np.count_nonzero(weight)):
            return [stochastic.refine(training, data, problem)]
        end = exact.refine(training, data, problem, states[0], weight)
        stage, refinement, _ = end
        self._s_fit = stage.s_fit(refinement)
        self._stream = Stream.after(plan, *end)
        return problems

    def _finish(self, training, data, problems, states):
        self._states[0].note_targets(data.y[data.rows])
        vars(self).pop("weights_", None)
        if not training.guarded:
            self._s_fit = None
            target_size = self._states[0].target_size
            self._check_divergence(training.plan, data.units, target_size)
            self._follow(training.plan, data, states)
            if self._stream is not None and self._stream.is_shown:
                self.scale_ = self._stream.sums.residual_scale
            return
        prediction = data.units.predict(data.X, *self._states[0].solution())
        residual = residuals(data.y, prediction)
        tolerance = problems[0].tolerance
        if tolerance is None:
            self.scale_ = residual_scale(residual, data.weight)
            self.scale_ *= small_sample_factor(training.plan, data, len(data.rows))
            tolerance = 0.0
        self.outliers_ = np.abs(residual) > max(OUTLIER * self.scale_, tolerance)
        if training.plan.refines:
            self.weights_ = m_weights(residual, self.scale_, tolerance)

    @contextmanager
    def _stage(self, X, y, sample_weight):
        """Yield the stage of the exact steps of rows, and the number with a weight."""
        X, y, weight = self._validate(X, y, sample_weight, reset=False)
        y = self._check_targets(y, X.dtype, first=False)
        data = Data(X=X, y=y, weight=weight, given_weight=weight, units=self._units)
        yield exact.ExactStage(self._plan(), data, weight), np.count_nonzero(weight)

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
            of weight 0 are left out. In a median a weight multiplies the sample's
            influence. For the sample medians weights differ from copies: a sample of
            weight 3 is most of one median of 5 gradients, and three copies of it are in
            three such medians.

        Returns
        -------
        self : MedianSGDRegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            If the data or the parameters are not valid, or if the coefficients
            overflow. Also if the fit diverges, because `eta0` is too large or the steps
            of `learning_rate` do not shrink; the message names both. The estimator then
            stays as it was before the call.

        Warns
        -----
        ConvergenceWarning
            If `max_iter` ends a stage before it has converged.
        UserWarning
            If more than half of the targets are fitted without an error.
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

        The state of the gradient estimator is kept from call to call, so that all calls
        track one median. With `refine` the stream has a refined estimate, see Notes.
        The samples of the first call set the first scale of ``tau="auto"``, the first
        intercept and, unless they are fewer than 30, the units of the features. Give it
        a few dozen samples or more.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Subset of the training data.
        y : array-like of shape (n_samples,)
            Subset of the target values.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of individual samples, as for :meth:`fit`. With a median they are
            relative to the mean weight of the stream, so that their unit does not
            matter; the mean forgets rows over about a thousand more.

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
            self._plan().check(for_partial_fit=True)
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
