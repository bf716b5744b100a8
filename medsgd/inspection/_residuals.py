"""The plot of residuals against predictions."""

from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from sklearn.base import is_regressor
from sklearn.utils import (
    check_array,
    check_consistent_length,
    check_random_state,
    column_or_1d,
)
from sklearn.utils.validation import check_is_fitted

from medsgd._fit.scales import residual_scale
from medsgd._regressor import OUTLIER, MedianSGDRegressor
from medsgd._utils.compat import _validate_style_kwargs, check_matplotlib_support
from medsgd._utils.docs import PLOT, fill
from medsgd._utils.typing import MatrixLike, RandomState, Style
from medsgd.inspection._fit_curve import check_kind, last_step

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Kind: TypeAlias = Literal["actual_vs_predicted", "residual_vs_predicted"]

KINDS = get_args(Kind)
# Documentation that methods share.
_DOCS = PLOT | {
    "kind": """
kind : {'actual_vs_predicted', 'residual_vs_predicted'}, \
        default='residual_vs_predicted'
    The quantity on the vertical axis: the true values, or the residuals, which are the
    true minus the predicted values. The horizontal axis has the predicted values.""",
    "subsample": """
subsample : float, int or None, default=1_000
    The number of samples to draw, or their share in (0, 1). Samples are chosen at
    random. None: all samples.
random_state : int, RandomState instance or None, default=None
    Decides which samples are drawn if not all. Pass an int for reproducible output.""",
    "kwargs": """
scatter_kwargs : dict, default=None
    Keywords passed to matplotlib's ``scatter`` for all points.
outlier_kwargs : dict, default=None
    Keywords passed to matplotlib's ``scatter`` for the outliers. They are added to
    `scatter_kwargs`.
line_kwargs : dict, default=None
    Keywords passed to matplotlib's ``plot`` for the line of exact predictions.
band_kwargs : dict, default=None
    Keywords passed to matplotlib's ``fill_between`` for the band.""",
}


class ResidualsDisplay:
    """Visualization of the residuals of a regressor and of its outliers.

    The display draws residuals against predictions, with a band of ``2.5 * scale`` on
    either side of 0. Points beyond the band are outliers [1]_, as in `outliers_` of
    :class:`~medsgd.MedianSGDRegressor`.

    It is recommended to use :meth:`from_estimator` or :meth:`from_predictions` to
    create a :class:`ResidualsDisplay`. All parameters are stored as attributes.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True values.
    y_pred : array-like of shape (n_samples,)
        Predicted values.
    scale : float
        Scale of the residuals, in the unit of `y_true`. It is the standard deviation of
        normal noise.

    Attributes
    ----------
    outliers_ : ndarray of shape (n_samples,) of bool
        Whether each residual is beyond the band.
    line_ : matplotlib Artist
        The line of exact predictions.
    band_ : matplotlib Artist
        The band within ``2.5 * scale`` of the line.
    scatter_ : matplotlib Artist
        Points within the band.
    outlier_scatter_ : matplotlib Artist
        Points beyond the band.
    ax_ : matplotlib Axes
        Axes with the points.
    figure_ : matplotlib Figure
        Figure containing the points.

    See Also
    --------
    ResidualsDisplay.from_estimator : Plot residuals of a fitted regressor.
    ResidualsDisplay.from_predictions : Plot residuals of given predictions.
    sklearn.metrics.PredictionErrorDisplay : The same without a scale.

    Notes
    -----
    Gross outliers leave little space for the other points. To show both, make the axis
    linear up to the band and logarithmic beyond, as in the example.

    References
    ----------
    .. [1] P. Rousseeuw, A. Leroy, "Robust Regression and Outlier Detection", Wiley 1987

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from medsgd import MedianSGDRegressor, ResidualsDisplay
    >>> from medsgd.datasets import make_contaminated_regression
    >>> X, y = make_contaminated_regression(500, 5, outliers="wild", random_state=0)
    >>> reg = MedianSGDRegressor(random_state=0).fit(X, y)
    >>> display = ResidualsDisplay(y_true=y, y_pred=reg.predict(X), scale=reg.scale_)
    >>> display.plot()
    <...>
    >>> display.ax_.set_yscale("symlog", linthresh=2.5 * reg.scale_)
    >>> plt.show()
    """

    outliers_: npt.NDArray[np.bool_]
    line_: "Artist"
    band_: "Artist"
    scatter_: "Artist"
    outlier_scatter_: "Artist"
    ax_: "Axes"
    figure_: "Figure | SubFigure"

    def __init__(
        self, *, y_true: npt.ArrayLike, y_pred: npt.ArrayLike, scale: float
    ) -> None:
        self.y_true = y_true
        self.y_pred = y_pred
        self.scale = scale

    @fill(_DOCS, display="ResidualsDisplay")
    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        kind: Kind = "residual_vs_predicted",
        scatter_kwargs: Style = None,
        outlier_kwargs: Style = None,
        line_kwargs: Style = None,
        band_kwargs: Style = None,
    ) -> Self:
        """Plot visualization.

        Parameters
        ----------
        {{ax}}
        {{kind}}
        {{kwargs}}

        Returns
        -------
        {{display}}

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `kind` is unknown, the values are not finite or of different lengths, or
            the scale is not a finite number of at least 0.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        check_kind(kind, KINDS)
        y_true, y_pred = _checked_targets(self.y_true, self.y_pred)
        limit = OUTLIER * _checked_scale(self.scale)

        import matplotlib.pyplot as plt

        scatter_kwargs = _validate_style_kwargs({"alpha": 0.8}, scatter_kwargs or {})
        outlier_kwargs = _validate_style_kwargs(
            {"color": "tab:red", "marker": "x"} | _without_colors(scatter_kwargs),
            outlier_kwargs or {},
        )
        if not any("color" in name for name in scatter_kwargs):
            scatter_kwargs["color"] = "tab:blue"
        line_kwargs = _validate_style_kwargs(
            {"color": "black", "alpha": 0.7, "linestyle": "--"}, line_kwargs or {}
        )
        band_kwargs = _validate_style_kwargs(
            {"color": "tab:gray", "alpha": 0.2, "linewidth": 0}, band_kwargs or {}
        )

        if ax is None:
            _, ax = plt.subplots()
        residual = y_true - y_pred
        self.outliers_ = np.abs(residual) > limit
        ends = np.array([y_pred.min(), y_pred.max()])
        exact = ends if kind == "actual_vs_predicted" else np.zeros(2)
        height = y_true if kind == "actual_vs_predicted" else residual

        self.line_ = ax.plot(ends, exact, **line_kwargs)[0]
        self.band_ = ax.fill_between(
            ends,
            exact - limit,
            exact + limit,
            **({"label": f"within {OUTLIER} scales"} | band_kwargs),
        )
        drawn = []
        for rows, name, kwargs in (
            (~self.outliers_, "inliers", scatter_kwargs),
            (self.outliers_, "outliers", outlier_kwargs),
        ):
            label = f"{name} ({np.count_nonzero(rows)})"
            drawn.append(
                ax.scatter(y_pred[rows], height[rows], **({"label": label} | kwargs))
            )
        self.scatter_, self.outlier_scatter_ = drawn
        ylabel = "Residuals (actual - predicted)"
        if kind == "actual_vs_predicted":
            ylabel = "Actual values"
        ax.set(xlabel="Predicted values", ylabel=ylabel)
        ax.legend()

        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    @classmethod
    @fill(_DOCS, display="ResidualsDisplay")
    def from_estimator(
        cls,
        estimator: Any,
        X: MatrixLike,
        y: npt.ArrayLike,
        *,
        scale: float | None = None,
        kind: Kind = "residual_vs_predicted",
        subsample: float | int | None = 1_000,
        random_state: RandomState = None,
        ax: "Axes | None" = None,
        scatter_kwargs: Style = None,
        outlier_kwargs: Style = None,
        line_kwargs: Style = None,
        band_kwargs: Style = None,
    ) -> Self:
        """Plot the residuals of a fitted regressor on some data.

        For the data given to ``fit`` the outliers are those of `outliers_`. For other
        data the scale of the training data decides which samples are outliers.

        Parameters
        ----------
        estimator : estimator instance
            Fitted regressor or a fitted :class:`~sklearn.pipeline.Pipeline` in which
            the last step is a regressor.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Input values.
        y : array-like of shape (n_samples,)
            Target values.
        scale : float or None, default=None
            Scale of the residuals, in the unit of `y`. None: `scale_` of a
            :class:`~medsgd.MedianSGDRegressor`, also in a pipeline; of other
            regressors, the normalised median absolute value of the residuals.
        {{kind}}
        {{subsample}}
        {{ax}}
        {{kwargs}}

        Returns
        -------
        {{display}}

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the estimator is no regressor, or as for :meth:`from_predictions`.

        See Also
        --------
        ResidualsDisplay.from_predictions : Plot residuals of given predictions.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from medsgd import MedianSGDRegressor, ResidualsDisplay
        >>> from medsgd.datasets import make_contaminated_regression
        >>> X, y = make_contaminated_regression(500, 5, random_state=0)
        >>> reg = MedianSGDRegressor(random_state=0).fit(X, y)
        >>> display = ResidualsDisplay.from_estimator(reg, X, y)
        >>> bool((display.outliers_ == reg.outliers_).all())
        True
        >>> plt.show()
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        if not is_regressor(estimator):
            raise ValueError(
                f"{cls.__name__}.from_estimator only supports regressors; got "
                f"{type(estimator).__name__}. For a classifier see "
                "sklearn.metrics.ConfusionMatrixDisplay."
            )
        check_is_fitted(estimator)
        last = last_step(estimator)
        if scale is None and isinstance(last, MedianSGDRegressor):
            scale = last.scale_
        return cls.from_predictions(
            y,
            estimator.predict(X),
            scale=scale,
            kind=kind,
            subsample=subsample,
            random_state=random_state,
            ax=ax,
            scatter_kwargs=scatter_kwargs,
            outlier_kwargs=outlier_kwargs,
            line_kwargs=line_kwargs,
            band_kwargs=band_kwargs,
        )

    @classmethod
    @fill(_DOCS, display="ResidualsDisplay")
    def from_predictions(
        cls,
        y_true: npt.ArrayLike,
        y_pred: npt.ArrayLike,
        *,
        scale: float | None = None,
        kind: Kind = "residual_vs_predicted",
        subsample: float | int | None = 1_000,
        random_state: RandomState = None,
        ax: "Axes | None" = None,
        scatter_kwargs: Style = None,
        outlier_kwargs: Style = None,
        line_kwargs: Style = None,
        band_kwargs: Style = None,
    ) -> Self:
        """Plot the residuals of given predictions.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            True values.
        y_pred : array-like of shape (n_samples,)
            Predicted values.
        scale : float or None, default=None
            Scale of the residuals, in the unit of `y_true`. None: their normalised
            median absolute value, which estimates the standard deviation of normal
            noise.
        {{kind}}
        {{subsample}}
        {{ax}}
        {{kwargs}}

        Returns
        -------
        {{display}}

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `subsample` is out of its range, or as for :meth:`plot`.

        See Also
        --------
        ResidualsDisplay.from_estimator : Plot residuals of a fitted regressor.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.linear_model import HuberRegressor
        >>> from medsgd import ResidualsDisplay
        >>> from medsgd.datasets import make_contaminated_regression
        >>> X, y = make_contaminated_regression(500, 5, random_state=0)
        >>> y_pred = HuberRegressor().fit(X, y).predict(X)
        >>> ResidualsDisplay.from_predictions(y, y_pred)
        <...>
        >>> plt.show()
        """
        check_matplotlib_support(f"{cls.__name__}.from_predictions")
        y_true, y_pred = _checked_targets(y_true, y_pred)
        n_samples = len(y_true)
        if scale is None:
            scale = residual_scale(y_true - y_pred, np.ones(n_samples))
        n_drawn = _n_drawn(subsample, n_samples)
        if n_drawn < n_samples:
            random_state = check_random_state(random_state)
            rows = np.sort(random_state.choice(n_samples, n_drawn, replace=False))
            y_true, y_pred = y_true[rows], y_pred[rows]
        return cls(y_true=y_true, y_pred=y_pred, scale=scale).plot(
            ax=ax,
            kind=kind,
            scatter_kwargs=scatter_kwargs,
            outlier_kwargs=outlier_kwargs,
            line_kwargs=line_kwargs,
            band_kwargs=band_kwargs,
        )


def _checked_targets(y_true, y_pred):
    y_true, y_pred = (
        column_or_1d(
            check_array(
                values,
                dtype=np.float64,
                ensure_2d=False,
                allow_nd=True,
                ensure_min_samples=0,
                input_name=name,
            )
        )
        for values, name in ((y_true, "y_true"), (y_pred, "y_pred"))
    )
    check_consistent_length(y_true, y_pred)
    if len(y_true) == 0:
        raise ValueError("There must be at least one sample to plot; got none.")
    return y_true, y_pred


def _checked_scale(scale):
    if not (isinstance(scale, Real) and 0 <= scale < np.inf):
        raise ValueError(f"scale must be a finite number >= 0; got {scale!r}.")
    return float(scale)


def _n_drawn(subsample, n_samples):
    """Return the number of samples to draw."""
    if subsample is None:
        return n_samples
    if isinstance(subsample, Integral):
        if subsample <= 0:
            raise ValueError(
                f"When an integer, subsample={subsample} should be positive."
            )
        return min(int(subsample), n_samples)
    if subsample <= 0 or subsample >= 1:
        raise ValueError(
            f"When a floating-point, subsample={subsample} should be in the (0, 1) "
            "range."
        )
    return max(1, int(subsample * n_samples))


def _without_colors(kwargs):
    """Return the keywords of all points that outliers share."""
    return {name: value for name, value in kwargs.items() if "color" not in name}
