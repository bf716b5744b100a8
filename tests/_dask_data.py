"""Data for fits over partitions, and how far a fit is from the truth."""

import numpy as np
from dask import array as da

AGGREGATORS = ["mean", "coord-median", "geometric-median", "spp-l1", "spp-l2"]
ROBUST = ["coord-median", "geometric-median", "spp-l2"]


def regression(n=8000, d=5, seed=0):
    """Data, and the true coefficients and intercept."""
    rng = np.random.default_rng(seed)
    X, coef = rng.normal(size=(n, d)), rng.normal(size=d)
    return X, X @ coef + 2 + rng.normal(size=n), np.append(coef, 2)


def classification(n=3000, n_classes=2, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n)
    return rng.normal(size=(n, 4)) + 2 * np.eye(4)[y], y


def chunked(X, y, n_partitions):
    size = -(-len(y) // n_partitions)
    return da.from_array(X, chunks=(size, -1)), da.from_array(y, chunks=size)


def corrupted(y, n_partitions, kind):
    """Targets with every fourth of the partitions wrong, and which rows are not."""
    y, good = y.astype(float), np.ones(len(y), dtype=bool)
    rng = np.random.default_rng(1)
    size = -(-len(y) // n_partitions)
    for start in range(size, len(y), 4 * size):
        rows = slice(start, start + size)
        good[rows] = False
        if kind == "shuffled":
            y[rows] = rng.permutation(y[rows])
        else:
            y[rows] *= {"scaled": -100, "nan": np.nan}[kind]
    return y, good


def error(est, truth):
    return np.linalg.norm(np.append(est.coef_, est.intercept_) - truth)


def least_squares_error(X, y, truth):
    A = np.column_stack([X, np.ones(len(y))])
    return np.linalg.norm(np.linalg.lstsq(A, y, rcond=None)[0] - truth)


def standard_errors(X, y, est, other):
    """Root mean square standard errors of least squares between two fits."""
    A = np.column_stack([X, np.ones(len(y))])
    gap = A @ np.append(est.coef_ - other.coef_, est.intercept_ - other.intercept_)
    residual = y - A @ np.linalg.lstsq(A, y, rcond=None)[0]
    return np.sqrt(np.mean(gap**2) * len(y) / A.shape[1]) / residual.std()
