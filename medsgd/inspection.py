"""Plots of a fit and of its residuals, in scikit-learn's way of displays."""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from sklearn.base import is_regressor
from sklearn.pipeline import Pipeline
from sklearn.utils import (
    check_array,
    check_consistent_length,
    check_random_state,
    column_or_1d,
)
from sklearn.utils.validation import check_is_fitted

from medsgd._compat import _validate_style_kwargs, check_matplotlib_support
from medsgd._regressor import OUTLIER, MedianSGDRegressor
from medsgd._scales import residual_scale
from medsgd._typing import MatrixLike, RandomState

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Kind: TypeAlias = Literal["actual_vs_predicted", "residual_vs_predicted"]
Style: TypeAlias = dict[str, Any] | None

__all__ = ["FitCurveDisplay", "ResidualsDisplay"]

# Above this ratio of largest to smallest value the axis of the statistic is
# logarithmic.
WIDE = 10.0
# Lines of fewer epochs have markers: a line of one would not be seen.
FEW_EPOCHS = 20
# Names of more columns would hide the curves.
LONGEST_LEGEND, LEGEND_ROWS = 20, 5
# Colours of matplotlib's default cycle, and what tells lines of one colour apart.
N_COLORS = 10
LINESTYLES = ("-", "--", "-.", ":")
KINDS = get_args(Kind)


class FitCurveDisplay:
    """Visualization of a fit, epoch by epoch.

    Above is the statistic that the stopping criterion watches; below, for SPP, the
    share of the gradients that were clipped. Stages are told apart by vertical lines
    and, for one curve, by colour: what they minimise differs, so that the statistic is
    to be compared within a stage only.

    It is recommended to use :meth:`from_estimator` to create a
    :class:`FitCurveDisplay`. All parameters are stored as attributes.

    Parameters
    ----------
    loss_curve : array-like of shape (n_epochs,) or (n_epochs, n_classes)
        The statistic after each epoch.
    clip_fraction_curve : array-like of the shape of `loss_curve` or None, default=None
        Share of clipped gradients in each epoch, in [0, 1]. None: only the statistic
        is drawn.
    stage_starts : array-like of int of shape (n_stages - 1,), default=()
        Where in the curves a new stage begins.
    classes : array-like of shape (n_classes,) or None, default=None
        Names of the columns for the legend. None: their numbers.

    Attributes
    ----------
    loss_lines_ : ndarray of shape (n_stages, n_curves) of matplotlib Artists
        Lines of the statistic.
    clip_lines_ : ndarray of shape (n_stages, n_curves) of matplotlib Artists, or None
        Lines of the clipped share.
    stage_lines_ : list of matplotlib Artists
        Vertical lines where a new stage begins, in each axes.
    ax_ : matplotlib Axes
        Axes of the statistic.
    clip_ax_ : matplotlib Axes or None
        Axes of the clipped share.
    bounding_ax_ : matplotlib Axes or None
        The given axes if they were divided into the two others.
    figure_ : matplotlib Figure
        Figure containing the curves.

    See Also
    --------
    FitCurveDisplay.from_estimator : Plot the curves of a fitted estimator.
    ResidualsDisplay : Plot the residuals of a regressor.

    Examples
    --------
    The curve of a stream, put together from calls of ``partial_fit``:

    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from medsgd import FitCurveDisplay, MedianSGDRegressor
    >>> from medsgd.datasets import make_contaminated_regression
    >>> X, y = make_contaminated_regression(1000, 5, random_state=0)
    >>> reg = MedianSGDRegressor(random_state=0)
    >>> loss, clipped = [], []
    >>> for rows in np.split(np.arange(1000), 10):
    ...     reg = reg.partial_fit(X[rows], y[rows])
    ...     loss.extend(reg.loss_curve_)
    ...     clipped.extend(reg.clip_fraction_curve_)
    >>> display = FitCurveDisplay(loss_curve=loss, clip_fraction_curve=clipped)
    >>> display.plot()
    <...>
    >>> plt.show()
    """

    loss_lines_: npt.NDArray[np.object_]
    clip_lines_: npt.NDArray[np.object_] | None
    stage_lines_: "list[Artist]"
    ax_: "Axes"
    clip_ax_: "Axes | None"
    bounding_ax_: "Axes | None"
    figure_: "Figure | SubFigure"

    def __init__(
        self,
        *,
        loss_curve: npt.ArrayLike,
        clip_fraction_curve: npt.ArrayLike | None = None,
        stage_starts: npt.ArrayLike = (),
        classes: Sequence[Any] | npt.NDArray[Any] | None = None,
    ) -> None:
        self.loss_curve = loss_curve
        self.clip_fraction_curve = clip_fraction_curve
        self.stage_starts = stage_starts
        self.classes = classes

    def plot(
        self,
        ax: "Axes | Sequence[Axes] | npt.NDArray[np.object_] | None" = None,
        *,
        line_kwargs: Style = None,
        stage_kwargs: Style = None,
    ) -> Self:
        """Plot visualization.

        Parameters
        ----------
        ax : matplotlib Axes or array-like of two Axes, default=None
            Where to plot. One axes are divided into two if there is a share of
            clipped gradients to draw; two are those of statistic and share. If
            `None`, a new figure is created.
        line_kwargs : dict, default=None
            Keywords passed to matplotlib's ``plot`` for all curves.
        stage_kwargs : dict, default=None
            Keywords passed to matplotlib's ``axvline`` for the beginnings of stages.

        Returns
        -------
        display : :class:`FitCurveDisplay`
            Object that stores the curves and what was drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the number of axes is not that of the curves, the axes given have been
            divided before, or curves and stages do not fit each other.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        loss, clipped, starts, classes = self._checked()
        self._set_axes(ax, both=clipped is not None)

        self.loss_lines_ = _plot_stages(self.ax_, loss, starts, classes, line_kwargs)
        if loss.min() > 0 and loss.max() > WIDE * loss.min():
            self.ax_.set_yscale("log")
        self.ax_.set_ylabel("Stopping statistic")
        self.clip_lines_ = None
        axes = [self.ax_]
        if self.clip_ax_ is not None:
            self.clip_lines_ = _plot_stages(
                self.clip_ax_, clipped, starts, classes, line_kwargs
            )
            self.clip_ax_.set_ylabel("Clipped share")
            self.clip_ax_.set_ylim(-0.05, 1.05)
            self.ax_.tick_params(labelbottom=False)
            axes.append(self.clip_ax_)
        axes[-1].set_xlabel("Epoch")

        stage_kwargs = _validate_style_kwargs(
            {"color": "0.5", "linestyle": ":", "linewidth": 1.0}, stage_kwargs or {}
        )
        self.stage_lines_ = [
            # Between the last epoch of a stage, counted from 1, and the next.
            axis.axvline(start + 0.5, **stage_kwargs)
            for axis in axes
            for start in starts
        ]
        if self.loss_lines_.size > 1 and loss.shape[1] <= LONGEST_LEGEND:
            n_columns = -(-loss.shape[1] // LEGEND_ROWS)
            self.ax_.legend(loc="upper right", ncols=n_columns)
        return self

    def _checked(self):
        """The curves as columns, the stages' beginnings, the names of the columns."""
        loss = np.asarray(self.loss_curve, dtype=np.float64)
        if loss.ndim not in (1, 2) or loss.size == 0:
            raise ValueError(
                "loss_curve must have the shape (n_epochs,) or (n_epochs, n_classes), "
                f"with at least one of each; got {loss.shape}."
            )
        clipped = self.clip_fraction_curve
        if clipped is not None:
            clipped = np.asarray(clipped, dtype=np.float64)
            if clipped.shape != loss.shape:
                raise ValueError(
                    "clip_fraction_curve must have the shape of loss_curve, "
                    f"{loss.shape}; got {clipped.shape}."
                )
            clipped = clipped.reshape(len(loss), -1)
        starts = np.asarray(self.stage_starts, dtype=np.intp)
        if starts.ndim != 1 or np.any(np.diff([0, *starts, len(loss)]) < 1):
            raise ValueError(
                f"stage_starts must increase and be between 0 and {len(loss)}, the "
                f"number of epochs; got {self.stage_starts!r}."
            )
        loss = loss.reshape(len(loss), -1)
        n_curves = loss.shape[1]
        classes = range(n_curves) if self.classes is None else self.classes
        if n_curves > 1 and len(classes) != n_curves:
            raise ValueError(
                f"classes must name the {n_curves} columns of loss_curve; got "
                f"{len(classes)} of them."
            )
        return loss, clipped, starts, classes

    def _set_axes(self, ax, *, both):
        """Set ``ax_``, ``clip_ax_``, ``bounding_ax_`` and ``figure_``."""
        import matplotlib.pyplot as plt

        if ax is None:
            # One above the other, the statistic larger.
            ratios = {"height_ratios": (2, 1)} if both else None
            _, ax = plt.subplots(1 + both, 1, sharex=True, gridspec_kw=ratios)
        bounding_ax = None
        if both and isinstance(ax, plt.Axes):
            # scikit-learn's way with axes that have been divided before.
            if not ax.axison:
                raise ValueError(
                    "The ax was already used in another plot function, please set "
                    "ax=[display.ax_, display.clip_ax_] instead"
                )
            bounding_ax = ax
            bounding_ax.set_axis_off()
            clip_ax = ax.inset_axes([0, 0, 1, 0.3])
            ax = [ax.inset_axes([0, 0.38, 1, 0.62], sharex=clip_ax), clip_ax]
        axes = np.ravel(np.asarray(ax, dtype=object))
        if len(axes) != 1 + both:
            raise ValueError(
                f"Expected ax to have {1 + both} axes, got {len(axes)}: one for the "
                "stopping statistic and, for SPP, one for the clipped share."
            )
        self.ax_, self.clip_ax_ = axes[0], axes[1] if both else None
        self.bounding_ax_ = bounding_ax
        self.figure_ = self.ax_.figure

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        ax: "Axes | Sequence[Axes] | npt.NDArray[np.object_] | None" = None,
        line_kwargs: Style = None,
        stage_kwargs: Style = None,
    ) -> Self:
        """Plot the curves of a fitted estimator.

        Drawn are `loss_curve_` and, for SPP, `clip_fraction_curve_`: the median stage,
        then, for a regressor with `refine`, the two steps of the refinement. Several
        classes have a line each; one that has stopped keeps its last value.

        Parameters
        ----------
        estimator : estimator instance
            Fitted :class:`~medsgd.MedianSGDRegressor` or
            :class:`~medsgd.MedianSGDClassifier`, or a
            :class:`~sklearn.pipeline.Pipeline` in which the last step is one.
        ax : matplotlib Axes or array-like of two Axes, default=None
            Where to plot. One axes are divided into two if there is a share of
            clipped gradients to draw; two are those of statistic and share. If
            `None`, a new figure is created.
        line_kwargs : dict, default=None
            Keywords passed to matplotlib's ``plot`` for all curves.
        stage_kwargs : dict, default=None
            Keywords passed to matplotlib's ``axvline`` for the beginnings of stages.

        Returns
        -------
        display : :class:`FitCurveDisplay`
            Object that stores the curves and what was drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the estimator has no curve, or one of a single epoch, as it has after
            ``partial_fit``; also as for :meth:`plot`.

        See Also
        --------
        FitCurveDisplay : To plot curves that you have put together.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from medsgd import FitCurveDisplay, MedianSGDRegressor
        >>> from medsgd.datasets import make_contaminated_regression
        >>> X, y = make_contaminated_regression(
        ...     500, 5, contamination=0.2, random_state=0
        ... )
        >>> reg = MedianSGDRegressor(random_state=0).fit(X, y)
        >>> FitCurveDisplay.from_estimator(reg)
        <...>
        >>> plt.show()
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        check_is_fitted(estimator)
        estimator = _last_step(estimator)
        loss_curve = getattr(estimator, "loss_curve_", None)
        if loss_curve is None:
            raise ValueError(
                f"{type(estimator).__name__} has no loss_curve_. Give "
                f"{cls.__name__}.from_estimator a fitted MedianSGDRegressor or "
                "MedianSGDClassifier, such as the best_estimator_ of a search."
            )
        if len(loss_curve) == 1:
            raise ValueError(
                f"loss_curve_ of {type(estimator).__name__} is of a single epoch, the "
                "last call of partial_fit or max_iter=1. Call fit with more epochs, "
                f"or collect loss_curve_ after each call and give it to {cls.__name__}."
            )
        display = cls(
            loss_curve=loss_curve,
            clip_fraction_curve=getattr(estimator, "clip_fraction_curve_", None),
            stage_starts=getattr(estimator, "stage_starts_", ()),
            classes=getattr(estimator, "classes_", None),
        )
        return display.plot(ax=ax, line_kwargs=line_kwargs, stage_kwargs=stage_kwargs)


class ResidualsDisplay:
    """Visualization of the residuals of a regressor and of its outliers.

    Residuals are drawn against predictions, with the band of ``2.5 * scale`` on either
    side of 0. Beyond it are outliers [1]_, as in `outliers_` of
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
        Scale of the residuals, in the unit of `y_true`: what would be the standard
        deviation of normal noise.

    Attributes
    ----------
    outliers_ : ndarray of shape (n_samples,) of bool
        Which residuals are beyond the band.
    line_ : matplotlib Artist
        Where predictions are exact.
    band_ : matplotlib Artist
        The band within ``2.5 * scale`` of the line.
    scatter_ : matplotlib Artist
        Points within the band.
    outlier_scatter_ : matplotlib Artist
        Points beyond it.
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
    Gross outliers leave little room for all other points. To see both, make the axis
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
        ax : matplotlib Axes, default=None
            Axes object to plot on. If `None`, a new figure and axes is created.
        kind : {'actual_vs_predicted', 'residual_vs_predicted'}, \
                default='residual_vs_predicted'
            What is drawn against the predicted values: the true values, or the
            residuals, true minus predicted.
        scatter_kwargs : dict, default=None
            Keywords passed to matplotlib's ``scatter`` for all points.
        outlier_kwargs : dict, default=None
            Keywords passed to matplotlib's ``scatter`` for the outliers, on top of
            `scatter_kwargs`.
        line_kwargs : dict, default=None
            Keywords passed to matplotlib's ``plot`` for the line of exact predictions.
        band_kwargs : dict, default=None
            Keywords passed to matplotlib's ``fill_between`` for the band.

        Returns
        -------
        display : :class:`ResidualsDisplay`
            Object that stores the values and what was drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `kind` is unknown, the values are not finite or of different lengths, or
            the scale is not a finite number of at least 0.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        if kind not in KINDS:
            raise ValueError(
                f"`kind` must be one of {', '.join(KINDS)}. Got {kind!r} instead."
            )
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

        For the data given to ``fit`` the outliers are those of `outliers_`; for others
        they are told by the scale of the training data.

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
        kind : {'actual_vs_predicted', 'residual_vs_predicted'}, \
                default='residual_vs_predicted'
            What is drawn against the predicted values: the true values, or the
            residuals, true minus predicted.
        subsample : float, int or None, default=1_000
            How many samples are drawn, at random: their number, or their share in
            (0, 1). None: all of them.
        random_state : int, RandomState instance or None, default=None
            Which samples are drawn if not all. Pass an int for reproducible output.
        ax : matplotlib Axes, default=None
            Axes object to plot on. If `None`, a new figure and axes is created.
        scatter_kwargs : dict, default=None
            Keywords passed to matplotlib's ``scatter`` for all points.
        outlier_kwargs : dict, default=None
            Keywords passed to matplotlib's ``scatter`` for the outliers, on top of
            `scatter_kwargs`.
        line_kwargs : dict, default=None
            Keywords passed to matplotlib's ``plot`` for the line of exact predictions.
        band_kwargs : dict, default=None
            Keywords passed to matplotlib's ``fill_between`` for the band.

        Returns
        -------
        display : :class:`ResidualsDisplay`
            Object that stores the values and what was drawn.

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
        last = _last_step(estimator)
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
        kind : {'actual_vs_predicted', 'residual_vs_predicted'}, \
                default='residual_vs_predicted'
            What is drawn against the predicted values: the true values, or the
            residuals, true minus predicted.
        subsample : float, int or None, default=1_000
            How many samples are drawn, at random: their number, or their share in
            (0, 1). None: all of them.
        random_state : int, RandomState instance or None, default=None
            Which samples are drawn if not all. Pass an int for reproducible output.
        ax : matplotlib Axes, default=None
            Axes object to plot on. If `None`, a new figure and axes is created.
        scatter_kwargs : dict, default=None
            Keywords passed to matplotlib's ``scatter`` for all points.
        outlier_kwargs : dict, default=None
            Keywords passed to matplotlib's ``scatter`` for the outliers, on top of
            `scatter_kwargs`.
        line_kwargs : dict, default=None
            Keywords passed to matplotlib's ``plot`` for the line of exact predictions.
        band_kwargs : dict, default=None
            Keywords passed to matplotlib's ``fill_between`` for the band.

        Returns
        -------
        display : :class:`ResidualsDisplay`
            Object that stores the values and what was drawn.

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


def _last_step(estimator):
    return estimator[-1] if isinstance(estimator, Pipeline) else estimator


def _plot_stages(ax, curves, starts, classes, line_kwargs):
    """Draw each stage of each column; the lines, of shape (n_stages, n_curves)."""
    n_curves = curves.shape[1]
    stages = np.split(np.arange(len(curves)), starts)
    lines = np.empty((len(stages), n_curves), dtype=object)
    labels = set()
    for i, epochs in enumerate(stages):
        for k in range(n_curves):
            if n_curves > 1:
                color, label = f"C{k % N_COLORS}", f"{classes[k]}"
            else:
                color, label = (
                    ("C0", "median stage") if i == 0 else ("C1", "refinement")
                )
            known = label in labels
            labels.add(label)
            default = {
                "color": color,
                # Once in the legend, however many stages have the name.
                "label": None if known else label,
                "linestyle": LINESTYLES[k // N_COLORS % len(LINESTYLES)],
                "marker": "." if len(epochs) < FEW_EPOCHS else None,
            }
            kwargs = _validate_style_kwargs(default, line_kwargs or {})
            lines[i, k] = ax.plot(epochs + 1, curves[epochs, k], **kwargs)[0]
    return lines


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
    """How many of the samples to draw."""
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
    """What outliers take from the keywords of all points."""
    return {name: value for name, value in kwargs.items() if "color" not in name}
