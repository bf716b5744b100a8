"""The plot of coefficients and their confidence intervals."""

from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_consistent_length

from medsgd._utils.compat import _validate_style_kwargs, check_matplotlib_support
from medsgd._utils.docs import PLOT, fill
from medsgd._utils.typing import MatrixLike, Style
from medsgd.inspection._coefficient_table import CovarianceType, coefficient_table
from medsgd.inspection._fit_curve import check_kind, last_step

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import ErrorbarContainer
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

Kind: TypeAlias = Literal["coef", "z"]

KINDS = get_args(Kind)
# Documentation that methods share.
_DOCS = PLOT | {
    "kind": """
kind : {'coef', 'z'}, default='coef'
    The numbers that are drawn: coefficients, or coefficients divided by their standard
    errors.
max_features : int or None, default=None
    The number of coefficients that are drawn. The coefficients with the largest
    ``abs(coef) / std_error`` are chosen. None: all coefficients.""",
    "kwargs": """
errorbar_kwargs : dict, default=None
    Keywords passed to matplotlib's ``errorbar`` for coefficients and intervals.
line_kwargs : dict, default=None
    Keywords passed to matplotlib's ``axvline`` for the line at 0.""",
}
# Height of a coefficient, and of the margins, in a new figure, in inches.
ROW_HEIGHT, MARGIN = 0.25, 1.2


class CoefficientsDisplay:
    """Visualization of coefficients and their confidence intervals.

    The coefficients are sorted, the largest at the top. Coefficients of features in
    different units are not comparable. ``kind="z"`` draws them in units of their
    standard errors, which are comparable.

    It is recommended to use :meth:`from_estimator` to create a
    :class:`CoefficientsDisplay`. All parameters are stored as attributes.

    Parameters
    ----------
    names : array-like of shape (n_features,) of str
        Names of the features.
    coef : array-like of shape (n_features,)
        Their coefficients.
    std_error : array-like of shape (n_features,)
        Standard errors of the coefficients; NaN for those that have none.
    lower, upper : array-like of shape (n_features,)
        Limits of the confidence intervals.
    confidence : float or None, default=None
        Level of the confidence intervals, for the label of the axis.

    Attributes
    ----------
    order_ : ndarray of shape (n_drawn,) of int
        The coefficients that are drawn, from the bottom to the top.
    errorbar_ : matplotlib ErrorbarContainer
        Coefficients and confidence intervals.
    line_ : matplotlib Artist
        The line at 0.
    ax_ : matplotlib Axes
        Axes with the coefficients.
    figure_ : matplotlib Figure
        Figure containing the coefficients.

    See Also
    --------
    CoefficientsDisplay.from_estimator : Plot the coefficients of a fit.
    medsgd.inspection.coefficient_table : The numbers.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from medsgd.inspection import CoefficientsDisplay
    >>> display = CoefficientsDisplay(
    ...     names=["age", "bmi"],
    ...     coef=[0.1, 5.6],
    ...     std_error=[0.2, 0.8],
    ...     lower=[-0.3, 4.0],
    ...     upper=[0.5, 7.2],
    ... )
    >>> display.plot()
    <...>
    >>> plt.show()
    """

    order_: npt.NDArray[np.intp]
    errorbar_: "ErrorbarContainer"
    line_: "Line2D"
    ax_: "Axes"
    figure_: "Figure | SubFigure"

    def __init__(
        self,
        *,
        names: npt.ArrayLike,
        coef: npt.ArrayLike,
        std_error: npt.ArrayLike,
        lower: npt.ArrayLike,
        upper: npt.ArrayLike,
        confidence: float | None = None,
    ) -> None:
        self.names = names
        self.coef = coef
        self.std_error = std_error
        self.lower = lower
        self.upper = upper
        self.confidence = confidence

    @fill(_DOCS, display="CoefficientsDisplay")
    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        kind: Kind = "coef",
        max_features: int | None = None,
        errorbar_kwargs: Style = None,
        line_kwargs: Style = None,
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
            If `kind` is unknown, `max_features` is not positive, or the arrays are of
            different lengths or empty.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        check_kind(kind, KINDS)
        if max_features is not None and max_features < 1:
            raise ValueError(f"max_features={max_features} should be positive.")
        names, values, gaps, order = self._drawn(kind, max_features)

        import matplotlib.pyplot as plt

        errorbar_kwargs = _validate_style_kwargs(
            {"fmt": "o", "color": "tab:blue", "markersize": 4}, errorbar_kwargs or {}
        )
        line_kwargs = _validate_style_kwargs(
            {"color": "black", "alpha": 0.7, "linestyle": "--", "linewidth": 1},
            line_kwargs or {},
        )
        if ax is None:
            height = MARGIN + ROW_HEIGHT * len(order)
            _, ax = plt.subplots(figsize=(6.4, height), layout="constrained")
        places = np.arange(len(order))
        self.order_ = order
        self.line_ = ax.axvline(0, **line_kwargs)
        self.errorbar_ = ax.errorbar(values, places, xerr=gaps, **errorbar_kwargs)
        ax.set_yticks(places, names)
        label = "Coefficient" if kind == "coef" else "Coefficient / standard error"
        if self.confidence is not None:
            label += f", with {100 * self.confidence:.4g}% confidence interval"
        ax.set_xlabel(label)
        ax.set_ylim(-0.5 - 0.02 * len(order), len(order) - 0.5 + 0.02 * len(order))

        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    def _drawn(self, kind, max_features):
        """Return names, values and gaps to both limits of the drawn coefficients."""
        check_consistent_length(
            self.names, self.coef, self.std_error, self.lower, self.upper
        )
        coef, error, lower, upper = (
            np.asarray(values, dtype=np.float64)
            for values in (self.coef, self.std_error, self.lower, self.upper)
        )
        if len(coef) == 0:
            raise ValueError("There must be at least one coefficient to plot.")
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.nan_to_num(coef / error, nan=0.0, posinf=np.inf, neginf=-np.inf)
            unit = np.where(error > 0, error, np.nan) if kind == "z" else 1.0
            values = coef / unit
            gaps = np.array([coef - lower, upper - coef]) / unit
        order = np.argsort(np.nan_to_num(values, nan=0.0), kind="stable")
        if max_features is not None:
            kept = np.argsort(-np.abs(z), kind="stable")[:max_features]
            order = order[np.isin(order, kept)]
        names = np.asarray(self.names, dtype=object)
        return names[order], values[order], gaps[:, order], order

    @classmethod
    @fill(_DOCS, display="CoefficientsDisplay")
    def from_estimator(
        cls,
        estimator: Any,
        X: MatrixLike,
        y: npt.ArrayLike,
        *,
        sample_weight: npt.ArrayLike | None = None,
        confidence: float = 0.95,
        covariance: CovarianceType = "robust",
        kind: Kind = "coef",
        max_features: int | None = None,
        ax: "Axes | None" = None,
        errorbar_kwargs: Style = None,
        line_kwargs: Style = None,
    ) -> Self:
        """Plot the coefficients of a fitted regressor, without the intercept.

        Parameters
        ----------
        estimator : estimator instance
            Fitted :class:`~medsgd.MedianSGDRegressor`, or a fitted
            :class:`~sklearn.pipeline.Pipeline` in which the last step is one.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The features given to ``fit``.
        y : array-like of shape (n_samples,)
            The targets given to ``fit``.
        sample_weight : array-like of shape (n_samples,), default=None
            The weights given to ``fit``.
        confidence : float, default=0.95
            Level of the confidence intervals.
        covariance : {'robust', 'homoscedastic'}, default='robust'
            The estimate of the covariance of the coefficients, as in
            :func:`~medsgd.inspection.coefficient_table`.
        {{kind}}
        {{ax}}
        {{kwargs}}

        Returns
        -------
        {{display}}

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        NotFittedError, ValueError
            As for :func:`~medsgd.inspection.coefficient_table` and :meth:`plot`.

        See Also
        --------
        CoefficientsDisplay : To plot intervals that you have computed.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from sklearn.datasets import load_diabetes
        >>> from medsgd import MedianSGDRegressor
        >>> from medsgd.inspection import CoefficientsDisplay
        >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
        >>> reg = MedianSGDRegressor(random_state=0).fit(X, y)
        >>> CoefficientsDisplay.from_estimator(reg, X, y)
        <...>
        >>> plt.show()
        """
        check_matplotlib_support(f"{cls.__name__}.from_estimator")
        table = coefficient_table(
            estimator,
            X,
            y,
            sample_weight=sample_weight,
            confidence=confidence,
            covariance=covariance,
        )
        n_intercepts = len(table.names) - last_step(estimator).n_features_in_
        features = slice(n_intercepts, None)
        display = cls(
            names=table.names[features],
            coef=table.coef[features],
            std_error=table.std_error[features],
            lower=table.lower[features],
            upper=table.upper[features],
            confidence=table.confidence,
        )
        return display.plot(
            ax=ax,
            kind=kind,
            max_features=max_features,
            errorbar_kwargs=errorbar_kwargs,
            line_kwargs=line_kwargs,
        )
