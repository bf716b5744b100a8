"""Memory that a call allocates besides X: for blocks of X, not for copies of it."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from scipy.stats import median_abs_deviation
from sklearn.base import is_regressor

from medsgd import MedianSGDClassifier, MedianSGDRegressor

# Bytes for blocks of X, and for arrays with a few numbers for each row or column.
ROOM = 8e6
N_ROWS, N_FEATURES = 12_000, 100


def layouts(dtype):
    """Yield X in each layout, and the bytes that the fit of it has to convert."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N_ROWS, N_FEATURES), dtype=dtype)
    yield "C order", X, 0
    # Passes read rows, so that validation converts columns.
    yield "Fortran order", np.asfortranarray(X), X.nbytes
    X[rng.random(X.shape, dtype=np.float32) < 0.5] = 0
    X = sp.csr_array(X)
    # Medians of the columns' entries need CSC.
    yield "CSR", X, size_of(X)


def size_of(X):
    return sum(part.nbytes for part in (X.data, X.indices, X.indptr))


def peak(call):
    """Most memory that a call has allocated at a time."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def targets(estimator_class):
    y = np.random.default_rng(1).standard_normal(N_ROWS)
    return y if estimator_class is MedianSGDRegressor else y > 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("estimator_class", [MedianSGDRegressor, MedianSGDClassifier])
def test_a_fit_copies_parts_of_x(estimator_class, dtype):
    y = targets(estimator_class)
    est = estimator_class(max_iter=3, tol=None, random_state=0)
    first = {"classes": [False, True]} if y.dtype == bool else {}
    # The S step of a regressor has up to 10,000 rows in doubles, and candidates.
    sample = 16 * 10_000 * N_FEATURES if is_regressor(est) else 0
    # A stream keeps up to 8,000 first rows, puts them together, and standardises them.
    first_rows = 3 * 8 * 8_000 * N_FEATURES
    for layout, X, needed in layouts(dtype):
        assert peak(lambda X=X: est.fit(X, y)) < needed + ROOM + sample, layout
        vars(est).pop("classes_", None)
        vars(est).pop("coef_")
        stream = peak(lambda X=X: est.partial_fit(X, y, **first))
        assert stream < needed + ROOM + first_rows, layout


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("estimator_class", [MedianSGDRegressor, MedianSGDClassifier])
def test_the_mean_needs_no_units(estimator_class, dtype):
    y = targets(estimator_class)
    params = {"gradient_estimator": "mean", "max_iter": 1, "tol": None}
    for layout, X, needed in layouts(dtype):
        est = estimator_class(**params)
        if layout == "CSR":
            # SciPy multiplies by coefficients in float64, for the residuals of a fit.
            cast = 8 * X.nnz if estimator_class is MedianSGDRegressor else 0
            needed = cast if dtype == np.float32 else 0
        assert peak(lambda est=est, X=X: est.fit(X, y)) < needed + ROOM / 2, layout


@pytest.mark.parametrize("params", [{}, {"batch_size": 150}], ids=str)
@pytest.mark.parametrize("name", ["mean", "coord-median", "spp-l1", "spp-l2"])
@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
def test_wide_rows_are_copied_in_parts_too(layout, name, params):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 4000))
    y = rng.standard_normal(300)
    X[rng.random(X.shape) < 0.5] = 0
    X = layout(X)
    needed = size_of(X) if sp.issparse(X) else 0
    params = {"max_iter": 3, "tol": None, "eta0": 1e-4, **params}  # short of diverging
    est = MedianSGDRegressor(gradient_estimator=name, **params)
    assert peak(lambda: est.fit(X, y)) < needed + ROOM


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
def test_parts_have_the_units_of_the_whole(layout, share, weighted):
    rng = np.random.default_rng(0)
    n, d = 7001, 40  # several parts
    X = rng.standard_t(3, (n, d)) * np.arange(1, d + 1)
    if layout is sp.csr_array:
        X[rng.random(X.shape) < 0.4] = 0
    y = X[:, 0] + rng.standard_normal(n)
    # Of a sparse X few rows are taken in another way than most.
    used = rng.random(n) < share
    weight = used * (rng.integers(1, 4, n) if weighted else 1)
    weight[np.flatnonzero(used)[0]] += 1 - weight.sum() % 2
    est = MedianSGDRegressor(max_iter=1, tol=None, refine=False)
    est.fit(layout(X), y, sample_weight=weight.astype(float))
    copies = np.repeat(X, weight, axis=0)
    if layout is np.asarray:
        expected = median_abs_deviation(copies, scale="normal")
        assert_allclose(est._units.center, np.median(copies, axis=0), rtol=1e-12)
        assert_allclose(1 / est._units.inverse_scale, expected, rtol=1e-12)
        return
    for column, scale in zip(copies.T, 1 / est._units.inverse_scale, strict=True):
        size = np.sort(np.abs(column[column != 0]))
        middle = size[[(len(size) - 1) // 2, len(size) // 2]]
        low, high = np.sqrt(len(size) / len(copies)) * middle / 0.6744897501960817
        assert low * (1 - 1e-12) <= scale <= high * (1 + 1e-12)
