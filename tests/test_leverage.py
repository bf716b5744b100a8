"""Rows that lie far out: their weight in a median, and fits that stand them."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.stats import chi2, median_abs_deviation

from medsgd import MedianSGDClassifier, MedianSGDRegressor
from medsgd.datasets import make_contaminated_regression, make_heavy_tailed_regression

LAYOUTS = [np.asarray, sp.csr_array]
MEDIANS = ["coord-median", "geometric-median", "spp-l1", "spp-l2"]


def heavy_tailed(n=61, d=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_t(1.5, size=(n, d)) + 1, rng.normal(size=n) + 2


def standing(estimator_class, **params):
    """An estimator that tracks the gradients at its start without moving."""
    return estimator_class(
        learning_rate="constant", eta0=1e-300, penalty=None, shuffle=False, **params
    )


def leverage_weights(Z, power):
    return np.minimum(1, chi2.ppf(0.975, Z.shape[1]) / np.sum(Z**2, axis=1)) ** power


def spp(gradients, radius, norm):
    """Where SPP goes from 0, each gradient with a radius of its own."""
    m = np.zeros(gradients.shape[1])
    for g, r in zip(gradients, radius, strict=True):
        size = np.abs(g - m) if norm == "l1" else np.linalg.norm(g - m)
        m += (g - m) / np.maximum(1, size / r)
    return m


def with_ones(rows):
    return np.column_stack([rows, np.ones(len(rows))])


def standardised(X, layout, est):
    """By the reference for dense rows; that of sparse ones is tested elsewhere."""
    if layout is np.asarray:
        return (X - np.median(X, axis=0)) / median_abs_deviation(X, scale="normal")
    return X * est._units.inverse_scale


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_leverage_multiplies_the_radius_of_spp(norm, weighted, standardize, layout):
    X, y = heavy_tailed()
    weight = np.ones(61)
    if weighted:
        # With a mean of 1, and none so large that its row would come twice.
        weight = np.random.default_rng(1).uniform(0.6, 1.4, size=61)
        weight /= weight.mean()
    params = {"gradient_estimator": f"spp-{norm}", "tau": 0.1, "refine": False}
    est = standing(MedianSGDRegressor, standardize=standardize, **params)
    # The first call, without weights, sets the units, and the second starts anew.
    est.partial_fit(layout(X), y)
    est._states[0].location[:] = 0
    start = est.intercept_[0]
    est.partial_fit(layout(X), y, sample_weight=weight)
    Z = standardised(X, layout, est)
    h = leverage_weights(Z, power=3)
    assert 0.1 < np.mean(h < 1) < 0.5
    gradients = (start - y)[:, np.newaxis] * with_ones(Z if standardize else X)
    expected = spp(gradients, 0.1 * weight * h, norm)
    assert_allclose(est._states[0].location[0], expected, rtol=1e-9)
    unweighted = spp(gradients, 0.1 * weight, norm)
    assert not np.allclose(expected, unweighted, rtol=0.05)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_leverage_in_a_classifier(norm, layout):
    X, y = heavy_tailed()
    y = y > 2
    params = {"gradient_estimator": f"spp-{norm}", "tau": 0.2, "standardize": False}
    est = standing(MedianSGDClassifier, **params)
    est.partial_fit(layout(X), y, classes=[False, True])
    Z = (X - est._units.center) * est._units.inverse_scale
    h = leverage_weights(Z, power=1)
    for k, label in enumerate([False, True]):
        # At 0 the derivative of the log loss is 1/2 for negatives, -1/2 for positives.
        gradients = (0.5 - label) * with_ones(X[y == label])
        expected = spp(gradients, 0.2 * h[y == label], norm)
        assert_allclose(est._states[0].location[k], expected, rtol=1e-9)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["coord-median", "geometric-median"])
def test_leverage_is_a_weight_in_a_sample_median(name, layout):
    X, y = heavy_tailed(n=60)
    est = standing(MedianSGDRegressor, gradient_estimator=name, momentum=0.5)
    est.partial_fit(layout(X), y)
    Z = standardised(X, layout, est)
    h = leverage_weights(Z, power=3)
    gradients = (np.median(y) - y)[:, np.newaxis] * with_ones(Z)
    expected = np.zeros(4)
    for g, weight in zip(np.split(gradients, 12), np.split(h, 12), strict=True):
        if name == "coord-median":
            middle = np.quantile(g, 0.5, axis=0, weights=weight, method="inverted_cdf")
        else:
            middle = minimize(
                lambda z, g=g, w=weight: w @ np.linalg.norm(g - z, axis=1),
                np.median(g, axis=0),
                method="Nelder-Mead",
                options={"xatol": 1e-9, "fatol": 1e-13, "maxiter": 4000},
            ).x
        expected += 0.5 * (middle - expected)
    assert_allclose(est._states[0].location[0], expected, atol=2e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("estimator_class", [MedianSGDRegressor, MedianSGDClassifier])
def test_the_mean_knows_no_leverage(estimator_class, standardize, layout):
    X, y = heavy_tailed()
    y = y if estimator_class is MedianSGDRegressor else y > 2
    params = {"gradient_estimator": "mean", "standardize": standardize}
    params |= {"random_state": 0, "max_iter": 5, "tol": None, "eta0": 1e-4}
    one = estimator_class(leverage_weights=True, **params).fit(layout(X), y)
    other = estimator_class(leverage_weights=False, **params).fit(layout(X), y)
    assert_array_equal(one.coef_, other.coef_)


def leverage_in_three(seed, n=2000, d=30):
    """A fifth of the rows at 10 in three columns, with a target that fits nothing."""
    X, y, truth = make_contaminated_regression(
        n,
        d,
        contamination=0.2,
        outliers="leverage",
        outlier_size=-50,
        n_leverage_features=3,
        bias=2,
        return_truth=True,
        random_state=seed,
    )
    return X, y, truth.coef, truth.is_outlier


def standard_errors(coef, w, X, clean):
    """Root mean square of the errors, in standard errors of OLS on the clean rows."""
    A = X[clean] - X[clean].mean(axis=0)
    return np.sqrt(np.mean((coef - w) ** 2 / np.diag(np.linalg.inv(A.T @ A))))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", MEDIANS)
def test_bad_leverage_in_few_columns(name, seed):
    X, y, w, bad = leverage_in_three(seed)
    est = MedianSGDRegressor(gradient_estimator=name, random_state=0).fit(X, y)
    assert standard_errors(est.coef_, w, X, ~bad) < 1.5
    assert est.outliers_[bad].all()
    est.set_params(leverage_weights=False, refine=False).fit(X, y)
    assert standard_errors(est.coef_, w, X, ~bad) > 10


def test_good_leverage_keeps_its_information():
    X, y, truth = make_heavy_tailed_regression(
        2000,
        10,
        tail_index=None,
        feature_tail_index=2,
        return_truth=True,
        random_state=0,
    )
    est = MedianSGDRegressor(random_state=0).fit(X, y)
    assert standard_errors(est.coef_, truth.coef, X, ~truth.is_outlier) < 1.3
