"""The plot of a fit's objective over its epochs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from medsgd._utils.compat import _validate_style_kwargs, check_matplotlib_support
from medsgd._utils.docs import PLOT, fill
from medsgd._utils.typing import Style

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

# Above this ratio of largest to smallest value the axis of the objective is
# logarithmic.
WIDE = 10.0
# Lines of fewer epochs have markers, because the line of one epoch is invisible.
FEW_EPOCHS = 20
# Names of more columns would hide the curves.
LONGEST_LEGEND, LEGEND_ROWS = 20, 5
# Colours of matplotlib's default cycle, and the styles of lines of one colour.
N_COLORS = 10
LINESTYLES = ("-", "--", "-.", ":")
# Default names of the first stage, and of all later stages.
STAGE_NAMES = ("median stage", "refinement")
# Documentation that methods share.
_DOCS = PLOT | {
    "ax": """
ax : matplotlib Axes or array-like of two Axes, default=None
    Axes to plot on. A single Axes is divided into two if the share of clipped gradients
    is drawn. Of two Axes the first has the objective, the second the share. If `None`,
    a new figure is created.""",
    "kwargs": """
line_kwargs : dict, default=None
    Keywords passed to matplotlib's ``plot`` for all curves.
stage_kwargs : dict, default=None
    Keywords passed to matplotlib's ``axvline`` for the beginnings of stages.""",
}


class FitCurveDisplay:
    """Visualization of a fit, epoch by epoch.

    The upper plot shows the objective that each stage lowers. The lower plot shows, for
    SPP, the share of the gradients that were clipped. Vertical lines separate the
    stages. A single curve also has a colour for each stage, and the names of the stages
    in the legend. Compare values within a stage only: the stages lower different
    objectives, in different units.

    It is recommended to use :meth:`from_estimator` to create a
    :class:`FitCurveDisplay`. All parameters are stored as attributes.

    Parameters
    ----------
    loss_curve : array-like of shape (n_epochs,) or (n_epochs, n_classes)
        The objective after each epoch.
    clip_fraction_curve : array-like of the shape of `loss_curve` or None, default=None
        Share of clipped gradients in each epoch, in [0, 1]. None: only the objective
        is drawn.
    stage_starts : array-like of int of shape (n_stages - 1,), default=()
        The epochs at which a new stage begins.
    stage_names : sequence of str or None, default=None
        Names of the stages for the legend of a single curve. Names beyond the last
        stage are ignored, because a fit may end early. Stages of one name share a
        colour. None: 'median stage', then 'refinement' for all others.
    classes : array-like of shape (n_classes,) or None, default=None
        Names of the columns for the legend. None: their numbers.

    Attributes
    ----------
    loss_lines_ : ndarray of shape (n_stages, n_curves) of matplotlib Artists
        Lines of the objective.
    clip_lines_ : ndarray of shape (n_stages, n_curves) of matplotlib Artists, or None
        Lines of the clipped share.
    stage_lines_ : list of matplotlib Artists
        Vertical lines where a new stage begins, in each axes.
    ax_ : matplotlib Axes
        Axes of the objective.
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
    The curve of a stream is collected from calls of ``partial_fit``:

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
        stage_names: Sequence[str] | None = None,
        classes: Sequence[Any] | npt.NDArray[Any] | None = None,
    ) -> None:
        self.loss_curve = loss_curve
        self.clip_fraction_curve = clip_fraction_curve
        self.stage_starts = stage_starts
        self.stage_names = stage_names
        self.classes = classes

    @fill(_DOCS, display="FitCurveDisplay")
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
            If the number of axes is not that of the curves, the axes given have been
            divided before, or curves and stages do not fit each other.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        loss, clipped, starts, classes = self._checked()
        names = self._names(1 + len(starts))
        self._set_axes(ax, both=clipped is not None)

        self.loss_lines_ = _plot_stages(
            self.ax_, loss, starts, names, classes, line_kwargs
        )
        if loss.min() > 0 and loss.max() > WIDE * loss.min():
            self.ax_.set_yscale("log")
        self.ax_.set_ylabel("Objective")
        self.clip_lines_ = None
        axes = [self.ax_]
        if self.clip_ax_ is not None:
            self.clip_lines_ = _plot_stages(
                self.clip_ax_, clipped, starts, names, classes, line_kwargs
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
            self.ax_.legend(loc="best", ncols=n_columns)
        return self

    def _checked(self):
        """Return the curves as columns, the starts of stages, the names of columns."""
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

    def _names(self, n_stages):
        """Return the name of each stage."""
        names = self.stage_names
        if names is None:
            first, later = STAGE_NAMES
            return [first, *[later] * (n_stages - 1)]
        if isinstance(names, str) or len(names) < n_stages:
            raise ValueError(
                f"stage_names must name the {n_stages} stages of the curves; got "
                f"{names!r}."
            )
        return list(names[:n_stages])

    def _set_axes(self, ax, *, both):
        """Set ``ax_``, ``clip_ax_``, ``bounding_ax_`` and ``figure_``."""
        import matplotlib.pyplot as plt

        if ax is None:
            # The objective is above the share, and larger.
            ratios = {"height_ratios": (2, 1)} if both else None
            _, ax = plt.subplots(1 + both, 1, sharex=True, gridspec_kw=ratios)
        bounding_ax = None
        if both and isinstance(ax, plt.Axes):
            # scikit-learn raises the same error for axes that have been divided.
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
                "objective and, for SPP, one for the clipped share."
            )
        self.ax_, self.clip_ax_ = axes[0], axes[1] if both else None
        self.bounding_ax_ = bounding_ax
        self.figure_ = self.ax_.figure

    @classmethod
    @fill(_DOCS, display="FitCurveDisplay")
    def from_estimator(
        cls,
        estimator: Any,
        *,
        ax: "Axes | Sequence[Axes] | npt.NDArray[np.object_] | None" = None,
        line_kwargs: Style = None,
        stage_kwargs: Style = None,
    ) -> Self:
        """Plot the curves of a fitted estimator.

        The plot shows `loss_curve_` and, for SPP, `clip_fraction_curve_`. A regressor
        with `refine` has three stages: the median stage, the S step and the M step.
        Each of several classes has a line. The line of a class that has stopped is
        constant from then on.

        Parameters
        ----------
        estimator : estimator instance
            Fitted :class:`~medsgd.MedianSGDRegressor` or
            :class:`~medsgd.MedianSGDClassifier`, or a
            :class:`~sklearn.pipeline.Pipeline` in which the last step is one.
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
            If the estimator has no curve, or a curve of a single epoch, such as after
            ``partial_fit``. Also as for :meth:`plot`.

        See Also
        --------
        FitCurveDisplay : Plot curves that you have collected.

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
        estimator = last_step(estimator)
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
            stage_names=getattr(estimator, "_stage_names", None),
            classes=getattr(estimator, "classes_", None),
        )
        return display.plot(ax=ax, line_kwargs=line_kwargs, stage_kwargs=stage_kwargs)


def check_kind(kind, kinds):
    """Check that a plot has this kind."""
    if kind not in kinds:
        raise ValueError(
            f"`kind` must be one of {', '.join(kinds)}. Got {kind!r} instead."
        )


def last_step(estimator):
    return estimator[-1] if isinstance(estimator, Pipeline) else estimator


def _plot_stages(ax, curves, starts, names, classes, line_kwargs):
    """Draw each stage of each column, and return the lines by stage and column."""
    colors = {name: f"C{i % N_COLORS}" for i, name in enumerate(dict.fromkeys(names))}
    n_curves = curves.shape[1]
    stages = np.split(np.arange(len(curves)), starts)
    lines = np.empty((len(stages), n_curves), dtype=object)
    labels = set()
    for i, epochs in enumerate(stages):
        for k in range(n_curves):
            if n_curves > 1:
                color, label = f"C{k % N_COLORS}", f"{classes[k]}"
            else:
                color, label = colors[names[i]], names[i]
            known = label in labels
            labels.add(label)
            default = {
                "color": color,
                # Stages of one name have one entry in the legend.
                "label": None if known else label,
                "linestyle": LINESTYLES[k // N_COLORS % len(LINESTYLES)],
                "marker": "." if len(epochs) < FEW_EPOCHS else None,
            }
            kwargs = _validate_style_kwargs(default, line_kwargs or {})
            lines[i, k] = ax.plot(epochs + 1, curves[epochs, k], **kwargs)[0]
    return lines
