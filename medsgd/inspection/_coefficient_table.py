"""The table of coefficients with their standard errors."""

from dataclasses import dataclass
from html import escape
from numbers import Real
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse, stats
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from medsgd._refinement.exact import FEWEST_ROWS
from medsgd._refinement.inference import Inference
from medsgd._refinement.regression import MOST_GRAM
from medsgd._regressor import OUTLIER, MedianSGDRegressor
from medsgd._utils.compat import Interval, StrOptions, validate_params
from medsgd._utils.guards import warn_user
from medsgd._utils.typing import MatrixLike
from medsgd.inspection._fit_curve import last_step

CovarianceType: TypeAlias = Literal["robust", "homoscedastic"]

# A pass of the M step over the rows of a fit moves each coefficient by fewer standard
# errors. Otherwise the rows are not those of the fit, or there is a penalty.
LARGEST_STEP = 0.1
# Robust standard errors below this share of the homoscedastic ones are of few rows.
SMALLEST_SHARE = 0.1
# Names that a warning or an error lists.
N_LISTED = 5
# Standard errors between these show numbers without an exponent.
LEAST_PLAIN, MOST_PLAIN = 1e-4, 1e5
COLUMNS = ("coef", "std_error", "z", "p_value", "lower", "upper")


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class CoefficientTable:
    """Coefficients of a fit with standard errors and confidence intervals.

    :func:`~medsgd.inspection.coefficient_table` makes the table. ``print`` shows it as
    text, notebooks show it as HTML, and :meth:`to_frame` gives a data frame. The
    intercept comes first. All arrays are read-only.

    Parameters
    ----------
    names : ndarray of shape (n_parameters,) of object
        'intercept', if there is one, and the names of the features.
    coef : ndarray of shape (n_parameters,)
        The intercept and the coefficients.
    std_error : ndarray of shape (n_parameters,)
        Standard errors of the coefficients. They are NaN if the rows do not determine a
        coefficient, and so are the numbers computed from them.
    z : ndarray of shape (n_parameters,)
        Coefficients divided by their standard errors.
    p_value : ndarray of shape (n_parameters,)
        Two-sided p-values of the hypotheses that a coefficient is 0, from Student's t
        distribution with ``n_samples - rank`` degrees of freedom, as in R.
    lower, upper : ndarray of shape (n_parameters,)
        Limits of the confidence intervals, from the same distribution.
    covariance : ndarray of shape (n_parameters, n_parameters)
        Covariance of the coefficients.
    covariance_type : {'robust', 'homoscedastic'}
        The estimate that `covariance` is.
    confidence : float
        Level of the confidence intervals.
    n_samples : int
        Number of samples with a weight. An integer weight counts copies of a sample.
    rank : int
        Number of parameters that the samples determine.
    scale : float
        `scale_` of the estimator.
    outlier_share : float
        Share of the samples whose residuals are beyond ``2.5 * scale``.
    r2 : float
        The robust coefficient of determination, see
        :func:`~medsgd.inspection.robust_r2`.
    library : {'pandas', 'polars'}, default='pandas'
        Library of the data frames of :meth:`to_frame`.

    See Also
    --------
    medsgd.inspection.coefficient_table : Make the table of a fit.
    medsgd.CoefficientsDisplay : Plot of coefficients and confidence intervals.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from medsgd import MedianSGDRegressor
    >>> from medsgd.inspection import coefficient_table
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    >>> reg = MedianSGDRegressor(random_state=0).fit(X, y)
    >>> table = coefficient_table(reg, X, y)
    >>> table.names[table.p_value < 0.01].tolist()
    ['intercept', 'sex', 'bmi', 'bp', 's5']
    """

    names: npt.NDArray[np.object_]
    coef: npt.NDArray[np.float64]
    std_error: npt.NDArray[np.float64]
    z: npt.NDArray[np.float64]
    p_value: npt.NDArray[np.float64]
    lower: npt.NDArray[np.float64]
    upper: npt.NDArray[np.float64]
    covariance: npt.NDArray[np.float64]
    covariance_type: CovarianceType
    confidence: float
    n_samples: int
    rank: int
    scale: float
    outlier_share: float
    r2: float
    library: Literal["pandas", "polars"] = "pandas"

    def __post_init__(self) -> None:
        for name, value in list(vars(self).items()):
            if isinstance(value, np.ndarray):
                value = value.copy()
                value.flags.writeable = False
                object.__setattr__(self, name, value)

    def to_frame(self) -> Any:
        """Return the table as a data frame, a row a coefficient.

        Returns
        -------
        pandas.DataFrame or polars.DataFrame
            The columns 'coef', 'std_error', 'z', 'p_value', 'lower' and 'upper'. The
            names are the index in pandas and the column 'name' in polars. The library
            is that of the features which the table was made from, else pandas.

        Raises
        ------
        ImportError
            If the library is not installed.
        """
        columns = {name: getattr(self, name) for name in COLUMNS}
        if self.library == "polars":
            import polars

            return polars.DataFrame({"name": self.names.tolist()} | columns)
        import pandas

        return pandas.DataFrame(columns, index=pandas.Index(self.names, name="name"))

    def _summary(self):
        """Return statements about all coefficients, line by line."""
        return (
            f"MM-estimate of {self.n_samples} samples, {self.covariance_type} standard "
            "errors",
            f"scale {self.scale:.4g}, {self.outlier_share:.1%} outliers, robust R^2 "
            f"{self.r2:.3f}",
        )

    def _cells(self):
        """Return the header and the rows as strings."""
        level = f"{100 * self.confidence:.4g}%"
        header = ["", "coef", "std error", "z", "p value"]
        rows = [
            [
                str(name),
                _rounded(coef, std_error),
                _rounded(std_error, std_error),
                f"{z:.2f}",
                "<0.001" if p_value < 0.001 else f"{p_value:.3f}",
                _rounded(lower, std_error),
                _rounded(upper, std_error),
            ]
            for name, coef, std_error, z, p_value, lower, upper in zip(
                self.names, *(getattr(self, name) for name in COLUMNS), strict=True
            )
        ]
        return [*header, f"lower {level}", f"upper {level}"], rows

    def __str__(self) -> str:
        header, rows = self._cells()
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if k == 0 else cell.rjust(width)
                for k, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in (header, *rows)
        ]
        return "\n".join([*self._summary(), "", *lines])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        header, rows = self._cells()
        lines = [f"<caption>{'<br>'.join(map(escape, self._summary()))}</caption>"]
        cells = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
        lines.append(f"<thead><tr>{cells}</tr></thead>")
        lines.append("<tbody>")
        for name, *values in rows:
            cells = "".join(f"<td>{escape(value)}</td>" for value in values)
            lines.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
        lines.append("</tbody>")
        return "\n".join(['<table class="dataframe">', *lines, "</table>"])


def _rounded(value, error):
    """Return a number with the decimals of three digits of a standard error."""
    if not LEAST_PLAIN < error < MOST_PLAIN:  # also of NaN
        return f"{value:.4g}"
    return f"{value:.{max(0, 2 - int(np.floor(np.log10(error))))}f}"


@validate_params(
    {
        "confidence": [Interval(Real, 0, 1, closed="neither")],
        "covariance": [StrOptions({"robust", "homoscedastic"})],
    },
    prefer_skip_nested_validation=True,
)
def coefficient_table(
    estimator: Any,
    X: MatrixLike,
    y: npt.ArrayLike,
    *,
    sample_weight: npt.ArrayLike | None = None,
    confidence: float = 0.95,
    covariance: CovarianceType = "robust",
) -> CoefficientTable:
    """Make the table of the coefficients of a fit, as a summary in R or statsmodels.

    The standard errors are those of R's ``lmrob``: they follow from the equations that
    the S step and the M step solve, in one more pass over the rows.

    Parameters
    ----------
    estimator : estimator instance
        Fitted :class:`~medsgd.MedianSGDRegressor`, or a fitted
        :class:`~sklearn.pipeline.Pipeline` in which the last step is one. Of a
        :class:`~medsgd.dask.DaskMedianSGDRegressor`, `X`, `y` and the weights are dask
        collections, and the partitions compute the sums for the table.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        The features given to ``fit``.
    y : array-like of shape (n_samples,)
        The targets given to ``fit``.
    sample_weight : array-like of shape (n_samples,), default=None
        The weights given to ``fit``. Whole numbers count copies of a sample. With other
        weights each sample is one observation, so that standard errors grow with the
        spread of the weights.
    confidence : float, default=0.95
        Level of the confidence intervals.
    covariance : {'robust', 'homoscedastic'}, default='robust'
        The estimate of the covariance of the coefficients.

        - 'robust': valid also if the noise depends on the features or is skewed [1]_,
          ``cov=".vcov.avar1"`` of ``lmrob``, its default. It needs several samples for
          each coefficient: of a feature that few samples have, the standard error is
          too small.
        - 'homoscedastic': for noise that does not depend on the features [2]_,
          ``cov=".vcov.w"`` of ``lmrob``. It is the better one for few samples.

    Returns
    -------
    CoefficientTable
        Names, coefficients, standard errors, z, p-values, confidence intervals and
        covariance as arrays.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If the fit has no standard errors: it was not refined by exact steps, it is of a
        stream, it is exact (`scale_` is 0), rows were held out for
        `early_stopping`, or there are more than 2,000 parameters. Also if the
        coefficients do not solve the equations of these samples, because a penalty is
        not negligible or the samples are not those given to ``fit``.

    Warns
    -----
    UserWarning
        If the samples do not determine a coefficient, as of collinear features; its
        standard error is NaN. Also if robust standard errors rest on too few samples.

    See Also
    --------
    medsgd.CoefficientsDisplay : Plot of coefficients and confidence intervals.
    medsgd.inspection.robust_r2 : The robust coefficient of determination.

    Notes
    -----
    The intervals are those of the model that the majority of the samples follows. They
    do not account for a choice of features. Contamination biases coefficients, and
    standard errors do not include this bias.

    References
    ----------
    .. [1] C. Croux, G. Dhaene, D. Hoorelbeke, "Robust Standard Errors for Robust
       Estimators", Discussion Papers Series 03.16, KU Leuven 2003
    .. [2] M. Koller, W. Stahel, "Sharpening Wald-type Inference in Robust Regression
       for Small Samples", Computational Statistics & Data Analysis 2011

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from medsgd import MedianSGDRegressor
    >>> from medsgd.inspection import coefficient_table
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    >>> y[::10] = 1000  # every tenth target
    >>> X = X[["bmi", "bp", "s5"]]
    >>> reg = MedianSGDRegressor(random_state=0).fit(X, y)
    >>> print(coefficient_table(reg, X, y))
    MM-estimate of 442 samples, robust standard errors
    scale 67.14, 10.2% outliers, robust R^2 0.456
    <BLANKLINE>
                 coef  std error       z  p value  lower 95%  upper 95%
    intercept  -332.9       23.7  -14.06   <0.001     -379.5     -286.4
    bmi         6.508      0.811    8.02   <0.001      4.914      8.102
    bp          0.823      0.261    3.16    0.002      0.311      1.336
    s5          50.30       6.58    7.64   <0.001      37.37      63.23
    """
    check_is_fitted(estimator)
    reg = last_step(estimator)
    _check_refined(reg)
    library = type(X).__module__.split(".")[0]
    if isinstance(estimator, Pipeline) and len(estimator) > 1:
        X = estimator[:-1].transform(X)
    with reg._stage(X, y, sample_weight) as (stage, n_samples):
        _check_fit(reg, n_samples)
        rows = stage.rows
        names = np.append(
            np.array(["intercept"] * rows.fit_intercept, dtype=object),
            _feature_names(estimator, reg),
        )
        coef, intercept = solution = _solution(reg)
        m_fit, s_fit = (stage.from_user(*solution), reg.scale_ / stage.y_scale), None
        if covariance == "robust":
            *s_solution, scale = reg._s_fit
            s_fit = stage.from_user(*s_solution), scale / stage.y_scale
        told = stage.table_sums(m_fit, s_fit, OUTLIER)
    inference = Inference(told.sums, m_fit[1])
    matrix = _covariance(reg, stage, inference, names, covariance)
    coef = np.append(intercept, coef) if rows.fit_intercept else coef
    return CoefficientTable(
        names=names,
        coef=coef,
        **_tests(coef, matrix, told.sums.total - inference.rank, confidence),
        covariance=matrix,
        covariance_type=covariance,
        confidence=float(confidence),
        n_samples=round(told.sums.total),
        rank=inference.rank,
        scale=float(reg.scale_),
        outlier_share=told.outlying / told.sums.total,
        r2=told.r_squared(centered=rows.fit_intercept),
        library="polars" if library == "polars" else "pandas",
    )


@np.errstate(over="ignore", invalid="ignore")
def _covariance(reg, stage, inference, names, kind):
    """Return the covariance of a fit in the units of the user."""
    if not inference.sums.slope > 0:
        raise ValueError(
            "The fit rejects most of these samples. X, y and sample_weight must be "
            "those given to fit."
        )
    transform = stage.directions_to_user
    is_determined = inference.is_determined(transform)
    plain = covariance = transform(transform(inference.homoscedastic()).T)
    plain_error = np.sqrt(plain.diagonal())
    if not np.all((plain_error > 0) & np.isfinite(plain_error) | ~is_determined):
        raise ValueError(
            "Variances of coefficients are out of the range of float64. Divide X and y "
            "by their scales."
        )
    step = np.abs(transform(inference.step()))
    # A pass takes back the rounding of coefficients to the dtype of the fit.
    coef, intercept = _solution(reg)
    known = np.append(intercept, coef) if stage.rows.fit_intercept else coef
    step -= 2 * np.finfo(reg.coef_.dtype).eps * np.abs(known)
    _check_solution(reg, names, np.where(is_determined, step, 0), plain_error)
    if kind == "robust":
        covariance = inference.robust()
        if covariance is None:
            raise ValueError(
                "The M step has no unique minimum for these samples, so that there are "
                "no robust standard errors. The samples may be too few: try "
                "covariance='homoscedastic'." + _of_rounding(reg)
            )
        covariance = transform(transform(covariance).T)
    error = np.sqrt(np.maximum(covariance.diagonal(), 0))
    if not is_determined.all():
        warn_user(
            f"The samples do not determine {_listed(names[~is_determined])}: features "
            "are collinear, or constant where the fit has not rejected the sample. "
            "Their standard errors are NaN."
        )
        covariance[~is_determined] = covariance[:, ~is_determined] = np.nan
    is_small = is_determined & (error < SMALLEST_SHARE * plain_error)
    if is_small.any():
        warn_user(
            f"The robust standard errors of {_listed(names[is_small])} are less than a "
            "tenth of the homoscedastic ones. Too few samples may determine these "
            "coefficients: see covariance='homoscedastic'."
        )
    return covariance


def _tests(coef, covariance, n_free, confidence):
    """Return the columns of the table that follow from the covariance."""
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(np.maximum(covariance.diagonal(), 0))
        z = coef / error
    half = stats.t.isf((1 - confidence) / 2, n_free) * error
    return {
        "std_error": error,
        "z": z,
        "p_value": 2 * stats.t.sf(np.abs(z), n_free),
        "lower": coef - half,
        "upper": coef + half,
    }


def _solution(reg):
    """Return coefficients and intercept, float64, as vector and number."""
    coef = reg.coef_.toarray() if sparse.issparse(reg.coef_) else reg.coef_
    coef = np.ravel(np.asarray(coef, dtype=np.float64))
    return coef, float(np.ravel(reg.intercept_)[0])


def _feature_names(estimator, reg):
    """Return the names of the features of the last step."""
    names = getattr(reg, "feature_names_in_", None)
    if names is None and isinstance(estimator, Pipeline) and len(estimator) > 1:
        try:
            names = estimator[:-1].get_feature_names_out()
        except (AttributeError, ValueError):  # of steps without this method
            names = None
    if names is None:
        names = [f"x{j}" for j in range(reg.n_features_in_)]
    return np.asarray(names, dtype=object)


def _listed(names):
    """Return a list of names for a message."""
    listed = ", ".join(map(repr, names[:N_LISTED]))
    n_more = len(names) - N_LISTED
    return f"{listed} and {n_more} more" if n_more > 0 else listed


def _check_refined(reg):
    """Check that a fit is of the kind that has standard errors."""
    if not isinstance(reg, MedianSGDRegressor):
        raise ValueError(
            "Only a MedianSGDRegressor has a table of coefficients, also as the last "
            "step of a pipeline, such as the best_estimator_ of a search; got "
            f"{type(reg).__name__}."
        )
    if not reg._plan().refines:
        raise ValueError(
            "Only the exact refinement has standard errors. Fit with refine=True, "
            "a gradient_estimator other than 'mean' and a loss that is refined."
        )
    if not hasattr(reg, "outliers_") and getattr(reg, "_s_fit", None) is None:
        raise ValueError(
            "Streams, and stochastic rounds on Dask, have no standard errors: the rows "
            "of a stream were weighted by earlier coefficients. Call fit on the "
            "samples."
        )
    # A state that is not read, or one from before there were standard errors.
    if hasattr(reg, "_training_state") or not hasattr(reg, "_s_fit"):
        raise ValueError(
            "This estimator was saved by another version of medsgd, without the "
            "state that standard errors need. Call fit on the samples."
        )
    if reg.early_stopping:
        raise ValueError(
            "Standard errors need the samples of the fit, but early_stopping "
            "has held out a part of them. Fit with early_stopping=False: the exact "
            "refinement does not need it."
        )
    if reg.scale_ == 0:
        raise ValueError(
            "More than half of the targets are fitted without an error (scale_ is 0), "
            "so that there are no standard errors."
        )


def _check_fit(reg, n_samples):
    """Check that a fit has the state that standard errors need."""
    n_parameters = reg.n_features_in_ + bool(reg.fit_intercept)
    if n_parameters > MOST_GRAM:
        raise ValueError(
            f"There are standard errors of at most {MOST_GRAM} parameters; got "
            f"{n_parameters}."
        )
    if reg._s_fit is not None:
        if n_samples > n_parameters:
            return
        raise ValueError(
            f"Standard errors need more samples than parameters; got {n_samples} "
            f"samples for {n_parameters} parameters."
        )
    if n_samples < FEWEST_ROWS * n_parameters:
        reason = (
            f"With {n_samples} samples for {n_parameters} parameters the refinement "
            "was stochastic: fit fewer features or more samples"
        )
    else:
        reason = (
            "The exact refinement has not reached the M step: raise max_iter, or fit "
            "more samples"
        )
    raise ValueError(f"This fit has no standard errors. {reason}.")


def _of_rounding(reg):
    """Return the end of a message about a fit in float32."""
    if reg.coef_.dtype != np.float32:
        return ""
    return " Coefficients in float32 may be too inexact: fit X in float64."


def _check_solution(reg, names, step, error):
    """Check that the coefficients solve the equations of the M step.

    ``step``: how far a pass of the M step moves them.
    """
    error = np.where(step > 0, error, 1)  # 0 of undetermined coefficients
    far = step > LARGEST_STEP * error
    if not far.any():
        return
    worst = np.argmax(np.where(far, step / error, 0))
    n_errors = step[worst] / error[worst]
    moved = f"would move the coefficient of {names[worst]!r} by {n_errors:.2g}"
    if reg._plan().exact_alpha > 0:
        raise ValueError(
            f"Without the penalty, a pass of the M step {moved} standard errors. "
            "Standard errors do not include such a bias. Fit with penalty=None or with "
            "penalty='l2' and alpha='auto'. If the penalty is negligible, X, y and "
            "sample_weight are not those given to fit."
        )
    raise ValueError(
        f"A pass of the M step over these samples {moved} standard errors. X, y and "
        "sample_weight must be those given to fit, and fit must have converged."
        + _of_rounding(reg)
    )
