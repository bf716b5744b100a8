"""Where the running scale behind ``tau="auto"`` starts."""

import numpy as np
from scipy import sparse
from sklearn.utils.extmath import row_norms

from medsgd._core.losses import evaluate

# Samples at the initial coefficients whose gradients set the first scale of a stratum.
N_SAMPLES = 256


def start_scales(settings, state, X, y, sample_weight, strata, iterations):
    """Set scales not yet set, from the first gradients of a pass.

    Each stratum's scale becomes the median size of g - m over its first samples.
    """
    batches = iterations.reshape(-1, settings.batch_size)
    for k in range(len(state.n_updates)):
        if state.scale[k].any():
            continue
        own = (
            batches
            if len(state.n_updates) == 1
            else batches[strata[batches[:, 0]] == k]
        )
        own = own[: max(1, N_SAMPLES // settings.batch_size)]
        if len(own) == 0:
            continue
        with np.errstate(over="ignore", invalid="ignore"):
            features, intercept = _gradients(settings, state, X, y, sample_weight, own)
            if state.scale.shape[1] == 1:
                size = np.sqrt(row_norms(features, squared=True) + intercept**2)
                size = size[(size > 0) & np.isfinite(size)]
                state.scale[k] = np.median(size) if len(size) else 0
            else:
                state.scale[k] = _coordinate_scales(features, intercept)


def _gradients(settings, state, X, y, sample_weight, batches):
    """Gradients of batches of samples: features, and intercepts."""
    rows = batches.ravel()
    n_batches, size = batches.shape
    features = X[rows]
    prediction = np.asarray(features @ state.coef + state.intercept, dtype=np.float64)
    _, derivative = evaluate(settings.loss, settings.epsilon, y[rows], prediction)
    bound = settings.largest_derivative
    derivative = np.nan_to_num(np.clip(derivative, -bound, bound), nan=0.0)
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
        order = np.lexsort((size, column))
        present, start, count = np.unique(
            column[order], return_index=True, return_counts=True
        )
        median = size[order][start + (count - 1) // 2]
        # One sample alone may only make it smaller than that.
        scales[present] = np.where(count > 1, median, np.minimum(median, scales[-1]))
    intercept = np.abs(intercept[(intercept != 0) & np.isfinite(intercept)])
    scales[-1] = np.median(intercept) if len(intercept) else 0
    return scales
