"""Robust scales: of residuals, and where the running scales of a pass start."""

from functools import partial

import numpy as np
from scipy import sparse
from scipy.stats import norm
from sklearn.utils.extmath import row_norms

import medsgd._core.medians as medians
from medsgd._blocks import column_blocks, fewer_rows, row_blocks

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
        prediction = _predict(state, units, X, rows)
        residual = residuals(y[rows], prediction)
        state.residual_scale = starting_scale(residual, sample_weight[rows])
        largest = np.sqrt(float(np.finfo(X.dtype).max))
        if settings.median and state.residual_scale > largest:
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
            factors = _factors(settings, state, units, X, y, sample_weight, own)
            intercept = factors.sum(axis=1) * settings.fit_intercept
            features = partial(_gradients, factors, units, X, own.ravel())
            if state.scale.shape[1] == 1:
                squared = sum(row_norms(g, squared=True) for _, g in features())
                size = np.sqrt(squared + intercept**2)
                size = size[(size > 0) & np.isfinite(size)]
                state.scale[k] = np.median(size) if len(size) else 0
            else:
                state.scale[k] = _coordinate_scales(features, X.shape[1], intercept)
    return bool(
        (state.residual_scale > 0 or not settings.tracks_residuals)
        and (settings.c_tau == 0 or state.scale.any(axis=1).all())
    )


def _predict(state, units, X, rows):
    prediction = np.empty(len(rows))
    with np.errstate(over="ignore", invalid="ignore"):
        for block in row_blocks(len(rows), X):
            features = units.transform(X[rows[block]])
            prediction[block] = features @ state.coef + state.intercept
    return prediction


def _factors(settings, state, units, X, y, sample_weight, batches):
    """Return the factor of each row of a batch in the batch's gradient."""
    rows = batches.ravel()
    _, derivative = settings.evaluate(
        y[rows], _predict(state, units, X, rows), state.residual_scale
    )
    bound = settings.largest_derivative
    derivative = np.nan_to_num(np.clip(derivative, -bound, bound), nan=0.0)
    weight = sample_weight[rows].reshape(batches.shape).astype(np.float64)
    share = weight / weight.sum(axis=1, keepdims=True)
    return share * derivative.reshape(batches.shape)


def _gradients(factors, units, X, rows):
    """Yield slices of columns, and the gradients' block with these columns."""
    n_batches, size = factors.shape
    if not sparse.issparse(X):
        for columns, block in column_blocks(X, rows):
            features = units.of(columns).transform(block)
            features = factors.reshape(-1, 1) * features
            yield columns, features.reshape(n_batches, size, -1).sum(axis=1)
        return
    X, rows = fewer_rows(X, rows)
    average = sparse.csr_array(
        (factors.ravel(), rows, np.arange(n_batches + 1) * size),
        (n_batches, X.shape[0]),
    )
    for columns, block in column_blocks(X, rows):
        features = units.of(columns).transform(block)
        yield columns, average @ sparse.csr_array(features)


def _coordinate_scales(features, n_features, intercept):
    """Median size of each coordinate over the gradients that have it.

    ``features()`` yields blocks of columns of the gradients.
    """
    scales, counts = np.zeros(n_features + 1), np.zeros(n_features)
    for columns, block in features():
        column, size = _sizes(block)
        if len(size):
            present, median, count = column_medians(column, size, np.ones(len(size)))
            scales[columns][present], counts[columns][present] = median, count
    few = np.flatnonzero(counts < 2)
    if len(few) and counts.any():
        # A coordinate that the first samples lack starts from what is typical.
        sizes, n = np.empty(int(counts.sum())), 0
        for _, block in features():
            _, size = _sizes(block)
            sizes[n : n + len(size)] = size
            n += len(size)
        typical = np.median(sizes, overwrite_input=True)
        # One sample alone may only make it smaller than that.
        scales[few] = np.where(
            counts[few] == 1, np.minimum(scales[few], typical), typical
        )
    intercept = np.abs(intercept[(intercept != 0) & np.isfinite(intercept)])
    scales[-1] = np.median(intercept) if len(intercept) else 0
    return scales


def _sizes(gradients):
    """Return the columns and the sizes of entries that are finite and not 0."""
    gradients = sparse.csc_array(gradients)
    size = np.abs(gradients.data)
    column = np.repeat(np.arange(gradients.shape[1]), np.diff(gradients.indptr))
    useful = (size > 0) & np.isfinite(size)
    return column[useful], size[useful]
