"""Robust scales: of residuals, and where the running scales of a pass start."""

import numpy as np
from scipy import sparse
from scipy.stats import norm
from sklearn.utils.extmath import row_norms

import medsgd._core.medians as medians
from medsgd._core.settings import GRADIENT_ESTIMATORS

# Samples at the initial coefficients whose gradients set the first scale of a stratum.
N_SAMPLES = 256
# Median of |z| for a standard normal z: what makes a median a standard deviation.
NORMAL_MEDIAN = norm.ppf(0.75)


def median(values, sample_weight=None):
    """Median of numbers: of two where half of the weight lies on either side, the mean.

    NaN counts as infinity; the median of no numbers is 0.
    """
    n = len(values)
    # NumPy's selection is the faster one, but not to call.
    if sample_weight is not None or n < 1000:
        return medians.weighted_median(values, sample_weight)
    values = np.partition(values, n // 2)
    middle = values[n // 2]
    if n % 2 == 0:
        middle = (values[: n // 2].max() + middle) / 2
    return np.inf if np.isnan(middle) else float(middle)


def weighted_median(values, sample_weight):
    """Median along the first axis, each value counted as often as its weight says."""
    if np.all(sample_weight == sample_weight[0]):
        return np.median(values, axis=0)
    return np.quantile(
        values, 0.5, axis=0, weights=sample_weight, method="inverted_cdf"
    )


def residuals(y, prediction):
    """Differences, of which some may be infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return y - prediction


def residual_scale(residual, sample_weight):
    """Normalised median absolute residual of the samples with a weight."""
    size = np.abs(residual)
    useful = np.isfinite(size) & (sample_weight > 0)
    if not useful.any():
        return 0.0
    with np.errstate(over="ignore"):
        scale = weighted_median(size[useful], sample_weight[useful]) / NORMAL_MEDIAN
    return float(scale)


def starting_scale(residual, sample_weight):
    """The same of residuals not 0, for where most are 0 before anything is fitted."""
    scale = residual_scale(residual, sample_weight)
    return scale or residual_scale(residual, sample_weight * (residual != 0))


def column_medians(column, size, weight):
    """The columns present, the weighted median size in each and the total weight."""
    order = np.lexsort((size, column))
    present, start = np.unique(column[order], return_index=True)
    below = np.cumsum(weight[order])
    before = below[start] - weight[order][start]
    total = np.diff(before, append=below[-1])
    return present, size[order][np.searchsorted(below, before + total / 2)], total


def start_scales(settings, state, units, X, y, sample_weight, strata, iterations):
    """Set scales not yet set, from the first samples of a pass.

    Each stratum's scale becomes the median size of g - m over its first samples, the
    scale of the residuals that of the first samples of all. Returned is whether all are
    set.
    """
    batches = iterations.reshape(-1, settings.batch_size)
    few = max(1, N_SAMPLES // settings.batch_size)
    if settings.tracks_residuals and state.residual_scale == 0:
        rows = batches[:few].ravel()
        prediction = _predict(state, units.transform(X[rows]))
        residual = residuals(y[rows], prediction)
        state.residual_scale = starting_scale(residual, sample_weight[rows])
        largest = np.sqrt(float(np.finfo(X.dtype).max))
        is_median = settings.gradient_estimator != GRADIENT_ESTIMATORS["mean"]
        if is_median and state.residual_scale > largest:
            raise ValueError(
                f"The residuals have a scale of {state.residual_scale:.3g}, too large "
                f"for gradients in {X.dtype}. Divide y by its scale."
            )
    for k in range(len(state.n_updates) if settings.c_tau > 0 else 0):
        if state.scale[k].any():
            continue
        own = (
            batches
            if len(state.n_updates) == 1
            else batches[strata[batches[:, 0]] == k]
        )[:few]
        if len(own) == 0:
            continue
        with np.errstate(over="ignore", invalid="ignore"):
            features, intercept = _gradients(
                settings, state, units, X, y, sample_weight, own
            )
            if state.scale.shape[1] == 1:
                size = np.sqrt(row_norms(features, squared=True) + intercept**2)
                size = size[(size > 0) & np.isfinite(size)]
                state.scale[k] = np.median(size) if len(size) else 0
            else:
                state.scale[k] = _coordinate_scales(features, intercept)
    return bool(
        (state.residual_scale > 0 or not settings.tracks_residuals)
        and (settings.c_tau == 0 or state.scale.any(axis=1).all())
    )


def _predict(state, features):
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(features @ state.coef + state.intercept, dtype=np.float64)


def _gradients(settings, state, units, X, y, sample_weight, batches):
    """Gradients of batches of samples: features, and intercepts."""
    rows = batches.ravel()
    n_batches, size = batches.shape
    features = units.transform(X[rows])
    _, derivative = settings.evaluate(
        y[rows], _predict(state, features), state.residual_scale
    )
    bound = settings.largest_derivative
    derivative = np.nan_to_num(np.clip(derivative, -bound, bound), nan=0.0)
    if size == 1:
        # Also what the average below gives, at a tenth of the time.
        intercept = derivative * settings.fit_intercept
        if sparse.issparse(features):
            return sparse.diags_array(derivative) @ features, intercept
        return features * derivative[:, np.newaxis], intercept
    weight = sample_weight[rows].reshape(batches.shape).astype(np.float64)
    share = (weight / weight.sum(axis=1, keepdims=True)).ravel()
    average = sparse.csr_array(
        (share * derivative, np.arange(rows.size), np.arange(n_batches + 1) * size)
    )
    intercept = average.sum(axis=1) * settings.fit_intercept
    return average @ sparse.csr_array(features), intercept


def _coordinate_scales(features, intercept):
    """Median size of each coordinate over the gradients that have it."""
    features = sparse.csc_array(features)
    scales = np.zeros(features.shape[1] + 1)
    size = np.abs(features.data)
    column = np.repeat(np.arange(features.shape[1]), np.diff(features.indptr))
    useful = (size > 0) & np.isfinite(size)
    column, size = column[useful], size[useful]
    if len(size):
        # A coordinate that the first samples lack starts from what is typical.
        scales[:] = np.median(size)
        present, median, count = column_medians(column, size, np.ones(len(size)))
        # One sample alone may only make it smaller than that.
        scales[present] = np.where(count > 1, median, np.minimum(median, scales[-1]))
    intercept = np.abs(intercept[(intercept != 0) & np.isfinite(intercept)])
    scales[-1] = np.median(intercept) if len(intercept) else 0
    return scales
