"""The residual scale and the outliers that a fit reports."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import brentq, minimize

from medsgd import MedianSGDClassifier, MedianSGDRegressor
from medsgd.datasets import make_contaminated_regression

MEDIANS = ["coord-median", "geometric-median", "spp-l1", "spp-l2"]
ESTIMATORS = ["mean", *MEDIANS]
LAYOUTS = [np.asarray, sp.csr_array]
# Brownlee's plant: air flow, water temperature, acid concentration; stack loss.
STACKLOSS = np.array(
    [
        [80, 27, 89, 42], [80, 27, 88, 37], [75, 25, 90, 37], [62, 24, 87, 28],
        [62, 22, 87, 18], [62, 23, 87, 18], [62, 24, 93, 19], [62, 24, 93, 20],
        [58, 23, 87, 15], [58, 18, 80, 14], [58, 18, 89, 14], [58, 17, 88, 13],
        [58, 18, 82, 11], [58, 19, 93, 12], [50, 18, 89, 8], [50, 18, 86, 7],
        [50, 19, 72, 8], [50, 19, 79, 8], [50, 20, 80, 9], [56, 20, 82, 15],
        [70, 20, 91, 15],
    ],
    dtype=float,
)  # fmt: skip


def regression(n=2000, d=10, seed=0, share=0.0, scale=1.0):
    X, y, truth = make_contaminated_regression(
        n,
        d,
        contamination=share,
        outlier_size=100 * scale,
        noise=scale,
        bias=2,
        return_truth=True,
        random_state=seed,
    )
    return X, y, truth.is_outlier


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_scale_is_consistent_at_the_normal_distribution(name, layout):
    X, y, _ = regression(n=20_000, d=4, scale=3)
    est = MedianSGDRegressor(gradient_estimator=name, random_state=0).fit(layout(X), y)
    assert est.scale_ == pytest.approx(3, rel=0.03)
    for _ in range(3):
        est.partial_fit(layout(X), y)
    assert est.scale_ == pytest.approx(3, rel=0.1)


def residual_data(weighted):
    X, y, _ = regression(n=301, share=0.1)
    weight = np.ones(301, int)
    if weighted:
        weight = np.random.default_rng(0).integers(0, 3, size=301)
        weight[0] += 1 - weight.sum() % 2
    return X, y, weight


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_scale_without_refinement_is_the_median_of_residuals(name, weighted):
    X, y, weight = residual_data(weighted)
    est = MedianSGDRegressor(gradient_estimator=name, refine=False, random_state=0)
    est.fit(X, y, sample_weight=weight)
    size = np.abs(y - est.predict(X))
    # The residuals of n rows have n - 11 degrees of freedom.
    n = np.count_nonzero(weight)
    scale = np.median(np.repeat(size, weight)) / 0.674489750196 * np.sqrt(n / (n - 11))
    assert_allclose(est.scale_, scale, rtol=1e-9)
    assert est.outliers_.dtype == bool
    assert_array_equal(est.outliers_, size > 2.5 * scale)


def m_scale(residual, n_free):
    """The scale at which the mean bisquare with breakdown point 1/2 is a half."""

    def excess(scale):
        share = np.minimum((residual / (1.547645 * scale)) ** 2, 1)
        return np.sum(1 - (1 - share) ** 3) - n_free / 2

    size = np.abs(residual)
    return brentq(excess, 0.01 * np.median(size), 100 * np.median(size), rtol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", MEDIANS)
def test_scale_is_the_least_m_scale_of_residuals(name, weighted):
    X, y, weight = residual_data(weighted)
    est = MedianSGDRegressor(gradient_estimator=name, random_state=0)
    est.fit(X, y, sample_weight=weight)
    Z = np.column_stack([np.ones(len(y)), X])
    Z, t = np.repeat(Z, weight, axis=0), np.repeat(y, weight)
    n_free = len(t) - Z.shape[1]
    found = minimize(
        lambda b: m_scale(t - Z @ b, n_free), np.r_[est.intercept_, est.coef_]
    )
    assert_allclose(est.scale_, found.fun, rtol=1e-6)
    size = np.abs(y - est.predict(X))
    assert_array_equal(est.outliers_, size > 2.5 * est.scale_)


@pytest.mark.parametrize("factor", [1e-3, 1e3])
@pytest.mark.parametrize("name", MEDIANS)
def test_scale_and_outliers_go_with_y(name, factor):
    X, y, _ = regression(n=300, d=4, share=0.1)
    est = MedianSGDRegressor(gradient_estimator=name, random_state=0).fit(X, y)
    scale, outliers = est.scale_, est.outliers_
    est.fit(X, factor * y)
    assert_allclose(est.scale_, factor * scale, rtol=1e-6)
    assert_array_equal(est.outliers_, outliers)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
def test_gross_outliers_are_found_and_few_others(share, layout):
    found, false = [], []
    for seed in range(4):
        X, y, bad = regression(seed=seed, share=share)
        outliers = MedianSGDRegressor(random_state=0).fit(layout(X), y).outliers_
        found.append(outliers[bad])
        false.append(outliers[~bad])
    if share:
        assert np.mean(found) >= 0.99
    assert np.mean(false) <= 0.02
    if not share:
        # P(|z| > 2.5) = .0124 for a standard normal z.
        assert np.mean(false) == pytest.approx(0.0124, abs=0.005)


def test_rows_without_weight_are_judged_too():
    X, y, _ = regression(n=300)
    weight = np.ones(300)
    y[:20] += 100
    weight[:40] = 0
    est = MedianSGDRegressor(random_state=0).fit(X, y, sample_weight=weight)
    assert est.outliers_.shape == (300,)
    assert est.outliers_[:20].all()
    assert not est.outliers_[20:40].all()


def test_a_stream_has_a_scale_but_no_outliers():
    X, y, _ = regression(n=300)
    est = MedianSGDRegressor(random_state=0).fit(X, y)
    assert hasattr(est, "outliers_")
    est.partial_fit(X, y)
    assert not hasattr(est, "outliers_")
    est = MedianSGDRegressor().partial_fit(X, y)
    assert est.scale_ > 0
    assert not hasattr(est, "outliers_")
    est = MedianSGDClassifier().fit(X, y > 2)
    assert hasattr(est, "outliers_")
    assert not hasattr(est.partial_fit(X, y > 2), "outliers_")


@pytest.mark.parametrize("seed", range(15))
def test_stackloss(seed):
    est = MedianSGDRegressor(random_state=seed)
    est.fit(STACKLOSS[:, :3], STACKLOSS[:, 3])
    # R's lmrob (robustbase 0.95-0) with its defaults. The S step also rejects the days
    # 1 and 3, which the M step takes back with weights of .81 and .67.
    expected = [-41.52461651, 0.93884534, 0.57955323, -0.11292183]
    assert_allclose(np.r_[est.intercept_, est.coef_], expected, rtol=1e-4)
    assert_allclose(est.scale_, 1.9123546, rtol=1e-4)
    assert_array_equal(np.flatnonzero(est.outliers_) + 1, [4, 21])


# Rows that R's lmrob calls outliers: for most seeds, the good leverage points. Rows
# 0 to 9 are 14% of the data and lie on a plane with the others.
BAD, GOOD = list(range(10)), list(range(10, 14))
HAWKINS = [GOOD, GOOD, BAD, GOOD, GOOD, GOOD, GOOD, BAD, BAD, [*GOOD, 72]]


@pytest.mark.parametrize("name", MEDIANS)
@pytest.mark.parametrize("seed, outliers", list(enumerate(HAWKINS)))
def test_leverage_points_are_judged_as_by_lmrob(seed, outliers, name):
    """Data made like those of Hawkins, Bradu and Kass (1984)."""
    rng = np.random.default_rng(seed)
    X, y = rng.uniform(0, 4, size=(75, 3)), rng.uniform(-1, 1, size=75)
    X[:10] = [10, 20, 30] + rng.uniform(-0.5, 0.5, size=(10, 3))
    y[:10] = 10 + rng.uniform(-0.5, 0.5, size=10)
    X[10:14] = [12, 23, 36] + rng.uniform(-1, 1, size=(4, 3))
    for random_state in range(3):
        est = MedianSGDRegressor(gradient_estimator=name, random_state=random_state)
        assert_array_equal(np.flatnonzero(est.fit(X, y).outliers_), outliers)
