"""The robust coefficient of determination."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import is_regressor
from sklearn.utils.validation import check_is_fitted

from medsgd._fit.scales import residual_scale
from medsgd._refinement.inference import r_squared
from medsgd._regressor import MedianSGDRegressor
from medsgd._utils.compat import _check_sample_weight
from medsgd._utils.typing import MatrixLike
from medsgd.inspection._fit_curve import last_step
from medsgd.inspection._residuals import _checked_targets


def robust_r2(
    estimator: Any,
    X: MatrixLike,
    y: npt.ArrayLike,
    *,
    sample_weight: npt.ArrayLike | None = None,
) -> float:
    """Compute the share of the variance of the rows that a fit keeps.

    The score is R^2 of the samples, each with the weight that the bisquare gives its
    residual, with the correction of [1]_. For normal noise it estimates what R^2
    estimates. Outliers have weight 0.

    Parameters
    ----------
    estimator : estimator instance
        Fitted regressor or a fitted :class:`~sklearn.pipeline.Pipeline` in which the
        last step is a regressor.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Input values.
    y : array-like of shape (n_samples,)
        Target values.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of individual samples.

    Returns
    -------
    float
        At most 1. For the data of a refined fit it is ``r.squared`` of R's
        ``summary(lmrob(...))``. 1 if `scale_` is 0. NaN if all samples are outliers.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If the estimator is no regressor, or the values are not finite or of different
        lengths.

    See Also
    --------
    medsgd.inspection.coefficient_table : The table that includes this score.
    sklearn.metrics.r2_score : The same without weights.

    Notes
    -----
    The weights take the scale of the residuals from `scale_` of a
    :class:`~medsgd.MedianSGDRegressor`, and for other regressors from the median
    absolute residual. A model with a small scale leaves out more samples than one with
    a large scale, so that this score describes a fit and does not choose between fits.
    For cross-validation use the median absolute error or a truncated loss.

    References
    ----------
    .. [1] O. Renaud, M.-P. Victoria-Feser, "A Robust Coefficient of Determination for
       Regression", Journal of Statistical Planning and Inference 2010

    Examples
    --------
    >>> from medsgd import MedianSGDRegressor
    >>> from medsgd.datasets import make_contaminated_regression
    >>> from medsgd.inspection import robust_r2
    >>> X, y = make_contaminated_regression(500, 5, contamination=0.1, random_state=0)
    >>> reg = MedianSGDRegressor(random_state=0).fit(X, y)
    >>> print(f"{robust_r2(reg, X, y):.2f} {reg.score(X, y):.2f}")
    0.87 -0.09
    """
    if not is_regressor(estimator):
        raise ValueError(
            f"robust_r2 is the score of a regressor; got {type(estimator).__name__}."
        )
    check_is_fitted(estimator)
    y, prediction = _checked_targets(y, estimator.predict(X))
    count = _check_sample_weight(
        sample_weight, y, dtype=np.float64, ensure_non_negative=True
    )
    last, residual = last_step(estimator), y - prediction
    if isinstance(last, MedianSGDRegressor):
        scale = last.scale_
    else:
        scale = residual_scale(residual, count)
    centered = getattr(last, "fit_intercept", True)
    return r_squared(y, residual, scale, count, centered=centered)
