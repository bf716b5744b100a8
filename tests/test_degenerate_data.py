"""Data that leave a scale, a median or a fit undetermined: a result, never NaN."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning

from medsgd import MedianSGDRegressor

MEDIANS = ["coord-median", "geometric-median", "spp-l1", "spp-l2"]
ESTIMATORS = ["mean", *MEDIANS]
LAYOUTS = [np.asarray, sp.csr_array]
W = np.array([1.0, -2.0, 0.5])


def features(n, d=3):
    return np.random.default_rng(0).standard_normal((n, d))


def exact(n=60):
    X = features(n)
    return X, X @ W + 1


def mostly_identical():
    X, y = exact()
    y[:40] = 3
    return X, y


def all_but_one():
    y = np.full(60, 7.0)
    y[30] = 100
    return features(60), y


def wide():
    X = features(8, d=20)
    return X, X[:, 0] + 1


DATA = {
    "constant": lambda: (features(60), np.full(60, 5.0)),
    "zero": lambda: (features(60), np.zeros(60)),
    "exact": exact,
    "mostly identical": mostly_identical,
    "all but one": all_but_one,
    "wide": wide,
    "one row": lambda: exact(1),
    "two rows": lambda: exact(2),
    "Cauchy": lambda: (features(60), np.random.default_rng(1).standard_cauchy(60)),
    "no features": lambda: (np.zeros((60, 3)), features(60)[:, 0]),
    "binary": lambda: ((features(60) > 0).astype(float), features(60)[:, 0] > 0),
}


def assert_sound(est, X, y):
    n = X.shape[0]
    assert np.isfinite(est.coef_).all()
    assert np.isfinite(est.intercept_).all()
    assert np.isfinite(est.loss_curve_).all()
    assert np.isfinite(est.predict(X)).all()
    assert np.isfinite(est.scale_)
    assert est.scale_ >= 0
    if hasattr(est, "outliers_"):
        assert est.outliers_.shape == (n,)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("loss", ["squared_error", "bisquare", "huber"])
@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("data", DATA)
def test_a_fit_is_finite(data, name, loss, layout, dtype):
    X, y = DATA[data]()
    X, y = layout(X.astype(dtype)), y.astype(dtype)
    est = MedianSGDRegressor(loss, gradient_estimator=name, random_state=0)
    est.set_params(max_iter=16, epsilon="auto" if loss == "huber" else 0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        assert_sound(est.fit(X, y), X, y)
        assert est.coef_.dtype == dtype
        est.partial_fit(X, y)
        assert_sound(est, X, y)
        stream = MedianSGDRegressor(**est.get_params())
        for _ in range(3):
            assert_sound(stream.partial_fit(X, y), X, y)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", MEDIANS)
@pytest.mark.parametrize("value", [5.0, 0.0, -1e6])
def test_constant_targets_are_fitted_at_once(value, name, layout):
    X, y = features(60), np.full(60, value)
    est = MedianSGDRegressor(gradient_estimator=name, random_state=0).fit(layout(X), y)
    assert est.n_iter_ < 10
    assert_allclose(est.predict(layout(X)), y, rtol=1e-12, atol=1e-12)
    assert est.scale_ <= 1e-12 * abs(value)
    assert not est.outliers_.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", MEDIANS)
def test_exact_fits_stop(name, layout, dtype):
    X, y = exact(300)
    X, y = layout(X.astype(dtype)), y.astype(dtype)
    est = MedianSGDRegressor(gradient_estimator=name, alpha=0, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        est.fit(X, y)
    assert est.n_iter_ < est.max_iter
    assert_allclose(est.coef_, W, rtol=1e-4)
    assert_allclose(est.intercept_, 1, rtol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", MEDIANS)
def test_outliers_of_an_exact_fit_are_found(name, layout):
    X, y = exact(300)
    y[:60] += 50
    est = MedianSGDRegressor(gradient_estimator=name, alpha=0, random_state=0)
    est.fit(layout(X), y)
    assert_allclose(np.r_[est.coef_, est.intercept_], [*W, 1], rtol=1e-3)
    assert est.outliers_[:60].all()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("refine", [True, False])
@pytest.mark.parametrize("name", MEDIANS)
def test_one_target_that_differs_is_an_outlier(name, refine, layout):
    X, y = all_but_one()
    est = MedianSGDRegressor(gradient_estimator=name, refine=refine, random_state=0)
    est.fit(layout(X), y)
    assert_allclose(est.predict(layout(X)), 7, atol=0.01)
    assert est.outliers_[30]
