"""Robust scales: of residuals, and the start of the running scales of a pass."""

from functools import partial

import numpy as np
from scipy import sparse
from scipy.stats import norm
from sklearn.utils.extmath import row_norms

import medsgd._core.medians as medians
from medsgd._fit.blocks import column_blocks, fewer_rows, row_blocks

# Samples at the initial coefficients whose gradients set the first scale of a stratum.
N_SAMPLES = 256
# Median of |z| for a standard normal z, which turns a median into a deviation.
NORMAL_MEDIAN = norm.ppf(0.75)


def median(values, sample_weight=None):
    """Return the median; between two numbers with half of the weight, their mean.

    NaN counts as infinity; the median of no numbers is 0.
    """
    n = len(values)
    # NumPy's selection is faster, but its call takes longer.
    if sample_weight is not None or n < 1000:
        return medians.weighted_median(values, sample_weight)
    values = np.partition(values, n // 2)
    middle = values[n // 2]
    if n % 2 == 0:
        middle = (values[: n // 2].max() + middle) / 2
    return np.inf if np.isnan(middle) else float(middle)


def weighted_median(values, sample_weight):
    """Return the median along the first axis of values that count by their weights."""
    if np.all(sample_weight == sample_weight[0]):
        with np.errstate(over="ignore"):  # in the mean of two enormous values
            return np.median(values, axis=0)
    return np.quantile(
        values, 0.5, axis=0, weights=sample_weight, method="inverted_cdf"
    )


def residuals(y, prediction):
    """Return differences, some of which may be infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return y - prediction


def residual_scale(residual, sample_weight):
    """Return the normalised median absolute residual of samples with a weight."""
    size = np.abs(residual)
    useful = np.isfinite(size) & (sample_weight > 0)
    if not useful.any():
        return 0.0
    with np.errstate(over="ignore"):
        scale = weighted_median(size[useful], sample_weight[useful]) / NORMAL_MEDIAN
    return float(scale)


def starting_scale(residual, sample_weight):
    """Return the scale of the residuals; of those not 0 if most are 0 before a fit."""
    scale = residual_scale(residual, sample_weight)
    return scale or residual_scale(residual, sample_weight * (residual != 0))


def shrinkage_factor(n_rows, n_parameters):
    """Return sqrt(n / (n - p)), the factor by which a fit has shrunk residuals."""
    n_free = n_rows - n_parameters
    return np.sqrt(n_rows / n_free) if n_free > 0 else 1.0


def start_scales(settings, state, data, strata, iterations):
    """Set scales that are not set, from the first samples of a pass.

    The scale of a stratum is set to the median size of g - m over its first samples.
    The scale of the residuals is set to that of the first samples of all strata. Return
    whether all scales are set.
    """
    batches = iterations.reshape(-1, settings.batch_size)
    few = max(1, N_SAMPLES // settings.batch_size)
    if settings.tracks_residuals and state.residual_scale == 0:
        rows = batches[:few].ravel()
        prediction, _ = _predict(state, data, rows)
        residual = residuals(data.y[rows], prediction)
        state.residual_scale = starting_scale(residual, data.weight[rows])
        largest = np.sqrt(float(np.finfo(data.X.dtype).max))
        if settings.median and state.residual_scale > largest:
            raise ValueError(
                f"The residuals have a scale of {state.residual_scale:.3g}, too large "
                f"for gradients in {data.X.dtype}. Divide y by its scale."
            )
    groups = {}
    for k in range(len(state.n_updates) if settings.c_tau > 0 else 0):
        if not state.scale[k].any():
            own = batches
            if len(state.n_updates) > 1:
                own = batches[strata[batches[:, 0]] == k]
            groups[k] = own[:few]
    if groups:
        first = np.concatenate(list(groups.values()))
        with np.errstate(over="ignore", invalid="ignore"):
            prediction, norms = _predict(state, data, first.ravel())
            every = _factors(settings, state, prediction, data, first)
            start = 0
            for k, own in groups.items():
                group = slice(start, start + len(own))
                start, factors = group.stop, every[group]
                if len(own) == 0:
                    continue
                intercept = factors.sum(axis=1) * settings.fit_intercept
                features = partial(_gradients, factors, data, own.ravel())
                if state.scale.shape[1] > 1:
                    n_features = data.X.shape[1]
                    state.scale[k] = _coordinate_scales(features, n_features, intercept)
                    continue
                if settings.batch_size == 1:
                    squared = factors[:, 0] ** 2 * norms[group]
                else:
                    squared = sum(row_norms(g, squared=True) for _, g in features())
                size = np.sqrt(squared + intercept**2)
                state.scale[k] = median(size[(size > 0) & np.isfinite(size)])
    return bool(
        (state.residual_scale > 0 or not settings.tracks_residuals)
        and (settings.c_tau == 0 or state.scale.any(axis=1).all())
    )


def _predict(state, data, rows):
    """Return predictions for rows, and their squared norms, in units of the fit."""
    prediction, squared = np.empty(len(rows)), np.empty(len(rows))
    with np.errstate(over="ignore", invalid="ignore"):
        for block in row_blocks(len(rows), data.X):
            features = data.units.transform(data.X[rows[block]])
            prediction[block] = features @ state.coef + state.intercept
            squared[block] = row_norms(
                features.astype(np.float64, copy=False), squared=True
            )
    return prediction, squared


def _factors(settings, state, prediction, data, batches):
    """Return the factor of each row of a batch in the batch's gradient."""
    rows = batches.ravel()
    _, derivative = settings.evaluate(data.y[rows], prediction, state.residual_scale)
    bound = settings.largest_derivative
    derivative = np.nan_to_num(np.clip(derivative, -bound, bound), nan=0.0)
    weight = data.weight[rows].reshape(batches.shape).astype(np.float64)
    share = weight / weight.sum(axis=1, keepdims=True)
    return share * derivative.reshape(batches.shape)


def _gradients(factors, data, rows):
    """Yield slices of columns, and the gradients' block with these columns."""
    (n_batches, size), X, units = factors.shape, data.X, data.units
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
    """Return the median size of each coordinate over the gradients that have it.

    ``features()`` yields blocks of columns of the gradients.
    """
    scales, counts = np.zeros(n_features + 1), np.zeros(n_features)
    for columns, block in features():
        column, size = _sizes(block)
        if len(size):
            present, median, count = medians.column_medians(
                column, size, np.ones(len(size))
            )
            scales[columns][present], counts[columns][present] = median, count
    few = np.flatnonzero(counts < 2)
    if len(few) and counts.any():
        # A coordinate that the first samples lack starts from a typical scale.
        sizes, n = np.empty(int(counts.sum())), 0
        for _, block in features():
            _, size = _sizes(block)
            sizes[n : n + len(size)] = size
            n += len(size)
        typical = np.median(sizes, overwrite_input=True)
        # A single sample may only make the scale smaller than that.
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
