"""What the exact steps promise: minimisers, copies, determinism, and hard designs."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    PolynomialFeatures,
    SplineTransformer,
    StandardScaler,
)
from threadpoolctl import threadpool_limits

from medsgd import MedianSGDClassifier, MedianSGDRegressor
from medsgd._refinement.least_squares import (
    Cholesky,
    QuasiNewton,
    conjugate_gradients,
)
from medsgd._refinement.rows import DenseRows

MEDIANS = ["coord-median", "geometric-median", "spp-l1", "spp-l2"]
LAYOUTS = [np.asarray, sp.csr_array]
M_CONSTANT = 4.685061


def problem(n=500, d=6, *, share=0.2, seed=0):
    """Correlated features, a share of wrong targets; X, y and the wrong rows."""
    rng = np.random.default_rng(seed)
    lags = np.abs(np.subtract.outer(np.arange(d), np.arange(d)))
    X = rng.standard_normal((n, d)) @ np.linalg.cholesky(0.5**lags).T
    y = X @ rng.standard_normal(d) + 3 + rng.standard_normal(n)
    bad = np.arange(n) < share * n
    y[bad] += rng.choice([20, 50, -300], bad.sum())
    return X, y, bad


def distance(est, other, X):
    """Between two fits, in standard errors: root mean square over parameters."""
    gap = est.predict(X) - other.predict(X)
    return np.sqrt(gap @ gap / (X.shape[1] + 1)) / est.scale_


def scores(est, X, y):
    """Mean gradient of the bisquare loss at the reported scale; intercept first."""
    residual = y - X @ est.coef_ - est.intercept_
    kept = np.maximum(1 - (residual / (M_CONSTANT * est.scale_)) ** 2, 0) ** 2
    return np.r_[np.mean(kept * residual), (kept * residual) @ X / len(y)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("d", [6, 80])
@pytest.mark.parametrize(
    "penalty, alpha, l1_ratio",
    [("l2", 0.1, 0), ("l2", 1.0, 0), ("l1", 0.1, 1), ("elasticnet", 0.1, 0.3)],
)
def test_a_penalised_fit_is_a_minimiser(penalty, alpha, l1_ratio, d, layout):
    X, y, _ = problem(1000, d)
    est = MedianSGDRegressor(
        penalty=penalty,
        alpha=alpha,
        l1_ratio=0.3,
        standardize=False,
        random_state=0,
    ).fit(layout(X), y)
    intercept, *gradient = scores(est, X, y)
    tolerance = 1e-5 * est.scale_
    assert abs(intercept) < tolerance
    rest = gradient - alpha * (1 - l1_ratio) * est.coef_
    kept = est.coef_ != 0
    assert_allclose(
        rest[kept], alpha * l1_ratio * np.sign(est.coef_[kept]), atol=tolerance
    )
    assert np.all(np.abs(rest[~kept]) <= alpha * l1_ratio + tolerance)
    assert kept.all() or l1_ratio > 0


def test_alpha_is_of_standardised_features():
    X, y, _ = problem()
    X = X * [1, 10, 100, 1, 1, 1e-3]
    center = np.median(X, axis=0)
    unit = np.median(np.abs(X - center), axis=0) / 0.674489750196
    est = MedianSGDRegressor(alpha=0.1, random_state=0).fit(X, y)
    _, *gradient = scores(est, X - center, y + est.coef_ @ center * 0)
    residual = y - est.predict(X)
    kept = np.maximum(1 - (residual / (M_CONSTANT * est.scale_)) ** 2, 0) ** 2
    gradient = (kept * residual) @ ((X - center) / unit) / len(y)
    assert_allclose(gradient, 0.1 * est.coef_ * unit, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n, d", [(100, 3), (1000, 20), (3000, 80)])
def test_the_default_has_no_penalty(n, d):
    X, y, bad = problem(n, d)
    est = MedianSGDRegressor(random_state=0).fit(X, y)
    assert_allclose(scores(est, X, y), 0, atol=1e-5 * est.scale_)
    right = LinearRegression().fit(X[~bad], y[~bad])
    assert distance(est, right, X[~bad]) < 0.3


@pytest.mark.parametrize("n, d", [(60, 3), (2000, 20), (1000, 80)])
def test_a_whole_weight_is_so_many_copies(n, d):
    X, y, _ = problem(n, d)
    weight = np.random.default_rng(1).integers(0, 4, n)
    one = MedianSGDRegressor(random_state=0).fit(X, y, sample_weight=weight)
    rows = np.repeat(np.arange(n), weight)
    other = MedianSGDRegressor(random_state=0).fit(X[rows], y[rows])
    assert_allclose(one.coef_, other.coef_, rtol=1e-6, atol=1e-6 * one.scale_)
    assert one.scale_ == pytest.approx(other.scale_, rel=1e-6)
    assert_array_equal(one.outliers_[rows], other.outliers_)


def test_other_weights_only_compare_rows():
    X, y, _ = problem(300)
    weight = np.random.default_rng(1).uniform(0.1, 3, 300)
    fits = [
        MedianSGDRegressor(random_state=0).fit(X, y, sample_weight=factor * weight)
        for factor in (1, 1e-300, 1e300, np.pi)
    ]
    for est in fits[1:]:
        assert_allclose(est.coef_, fits[0].coef_, rtol=1e-9)
        assert est.scale_ == pytest.approx(fits[0].scale_, rel=1e-9)


@pytest.mark.parametrize("n, d", [(60, 3), (2000, 20), (1500, 80), (15_000, 5)])
def test_what_a_user_does_not_see(n, d):
    X, y, _ = problem(n, d)
    est = MedianSGDRegressor(random_state=0).fit(X, y)
    for seed in (1, 2):
        other = MedianSGDRegressor(random_state=seed).fit(X, y)
        assert distance(est, other, X) < 1e-4
    for name in MEDIANS:
        other = MedianSGDRegressor(gradient_estimator=name, random_state=0).fit(X, y)
        assert distance(est, other, X) < 1e-4
    with threadpool_limits(2, "blas"):
        other = MedianSGDRegressor(random_state=0).fit(X, y)
    assert distance(est, other, X) < 1e-4
    rows = np.random.default_rng(2).permutation(n)
    other = MedianSGDRegressor(random_state=0).fit(X[rows], y[rows])
    # Of more than 10,000 rows, which ones the S step sees depends on their order.
    assert distance(est, other, X) < (1e-4 if n <= 10_000 else 0.02)


@pytest.mark.parametrize("n", [900, 3000])
def test_the_order_of_rows_sets_no_units(n):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 4))
    y = np.round(X @ [1, 2, 0, -1] + rng.standard_normal(n))  # many are equal
    one = MedianSGDRegressor(random_state=0).fit(X, y)
    rows = rng.permutation(n)
    other = MedianSGDRegressor(random_state=0).fit(X[rows], y[rows])
    assert_array_equal(one._units.center, other._units.center)
    assert_array_equal(one._units.inverse_scale, other._units.inverse_scale)


def bisquare_fit(X, y, scale, good):
    """Predictions of the bisquare fit at a scale, from least squares on good rows."""
    units = np.where(X.std(axis=0) > 0, X.std(axis=0), 1)
    Q = np.column_stack([np.ones(len(y)), (X - X.mean(axis=0)) / units])
    U, size, _ = np.linalg.svd(Q, full_matrices=False)
    Q = U[:, size > 1e-11 * size[0]]
    found = Q @ np.linalg.lstsq(Q[good], y[good])[0]
    for _ in range(60):
        root = np.maximum(1 - ((y - found) / (M_CONSTANT * scale)) ** 2, 0)
        found = Q @ np.linalg.lstsq(Q * root[:, np.newaxis], y * root)[0]
    return found, Q.shape[1]


def splines(rng):
    X = rng.uniform(-2, 2, (1000, 2))
    interactions = PolynomialFeatures(2, include_bias=False)
    return make_pipeline(SplineTransformer(6), interactions).fit_transform(X)


def powers(rng):
    return PolynomialFeatures(11).fit_transform(rng.uniform(0, 1, (1000, 2)))


def ill_conditioned(condition, d=100):
    def design(rng):
        V, _ = np.linalg.qr(rng.standard_normal((d, d)))
        return rng.standard_normal((800, d)) * np.geomspace(1, 1 / condition, d) @ V

    return design


def common_factor(rng):
    X = rng.standard_normal((1000, 1)) + 1e-7 * rng.standard_normal((1000, 80))
    return np.column_stack([X, X[:, :10].sum(axis=1)])


@pytest.mark.parametrize("share", [0, 0.2])
@pytest.mark.parametrize(
    "design",
    [splines, powers, common_factor, *map(ill_conditioned, (1e6, 1e8, 1e10))],
)
def test_many_nearly_collinear_columns(design, share):
    rng = np.random.default_rng(0)
    X = design(rng)
    effects = X @ rng.standard_normal(X.shape[1])
    y = 10 * effects / effects.std() + rng.standard_normal(len(X))
    good = np.arange(len(y)) >= share * len(y)
    y[~good] += 50
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        est = MedianSGDRegressor(random_state=0).fit(X, y)
    expected, rank = bisquare_fit(X, y, est.scale_, good)
    gap = (est.predict(X) - expected)[good]
    assert np.sqrt(gap @ gap / rank) < 0.02 * est.scale_
    assert est.n_iter_ < 150


@pytest.mark.parametrize("d", [3, 80])
def test_columns_that_differ_in_few_of_many_rows(d):
    # The sample that shows which columns are collinear may lack the rows.
    rng = np.random.default_rng(0)
    X = rng.standard_normal((12_000, d))
    X[:, 1] = X[:, 0]
    X[::2000, 1] += 1
    y = X @ np.r_[1, -1, np.ones(d - 2)] + rng.standard_normal(len(X))
    est = MedianSGDRegressor(random_state=0).fit(X, y)
    expected, rank = bisquare_fit(X, y, est.scale_, slice(None))
    gap = est.predict(X) - expected
    assert np.sqrt(gap @ gap / rank) < 0.02 * est.scale_


@pytest.mark.parametrize("collinear", [False, True])
@pytest.mark.parametrize("n", [500, 2000])
def test_sparse_features_are_fitted_as_dense_ones_are(n, collinear):
    rng = np.random.default_rng(0)
    X = sp.random(n, 100, 0.04, random_state=0, data_rvs=rng.standard_normal)
    X = sp.csr_array(sp.hstack([X, 2 * X.tocsc()[:, :20]]) if collinear else X)
    y = X @ rng.standard_normal(X.shape[1]) + 3 + rng.standard_normal(n)
    y[: n // 10] += 50
    sparse = MedianSGDRegressor(random_state=0).fit(X, y)
    dense = MedianSGDRegressor(random_state=0).fit(X.toarray(), y)
    assert_allclose(sparse.scale_, dense.scale_, rtol=1e-4)
    assert distance(sparse, dense, X.toarray()) < 1e-3
    assert sparse.n_iter_ < 100
    if collinear:
        assert_allclose(2 * sparse.coef_[100:], sparse.coef_[:20], rtol=1e-5)


def test_a_seed_chooses_no_minimum_of_many_parameters():
    X, y, _ = problem(1500, 510, share=0.1)
    one, other = (MedianSGDRegressor(random_state=seed).fit(X, y) for seed in (0, 1))
    assert distance(one, other, X) < 1e-4


def levels(rng, n, k):
    """Indicators of all levels but one."""
    return np.eye(k)[rng.permutation(np.arange(n) % k)][:, 1:]


def two_factors(rng):
    return np.c_[levels(rng, 800, 70), levels(rng, 800, 30)]


def many_levels(rng):
    """Five rows for a parameter."""
    return np.c_[levels(rng, 1000, 100), levels(rng, 1000, 100)]


def seasons(rng):
    """Day of the week, week and month, which overlap, and a trend."""
    day = np.arange(1095)
    week, month = np.minimum(day % 365 // 7, 51), day % 365 * 12 // 365
    factors = (np.eye(k)[v][:, 1:] for k, v in ((7, day % 7), (52, week), (12, month)))
    return np.c_[(*factors, day)]


def slopes_by_level(rng):
    factor, x = levels(rng, 900, 25), rng.standard_normal((900, 2))
    return np.c_[factor, x, factor * x[:, :1], factor * x[:, 1:]]


def crossed_levels(rng):
    one, other = levels(rng, 900, 10), levels(rng, 900, 8)
    return np.c_[
        one, other, (one[:, :, np.newaxis] * other[:, np.newaxis]).reshape(900, -1)
    ]


STRUCTURED = [two_factors, many_levels, seasons, slopes_by_level, crossed_levels]


def structured(design, seed, size, share=0.0):
    """X and y of a design of many parameters, and the rows that are no outliers."""
    rng = np.random.default_rng(seed)
    X = design(rng)
    effects = size * rng.standard_normal(X.shape[1]) / np.sqrt(X.var(axis=0))
    y = X @ effects + rng.standard_normal(len(X))
    good = rng.random(len(X)) >= share
    y[~good] += 50 * size
    return X, y, good


def errors(est, X, y, good, layout=np.asarray):
    """Distance of a fit from least squares on the good rows, in standard errors."""
    expected = LinearRegression().fit(X[good], y[good]).predict(X[good])
    rank = np.linalg.matrix_rank(X[good] - X[good].mean(axis=0)) + 1
    noise = np.sqrt(np.square(y[good] - expected).sum() / (good.sum() - rank))
    gap = est.predict(layout(X[good])) - expected
    return np.sqrt(gap @ gap / rank) / noise


@pytest.mark.parametrize("size", [5, 1000])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("design", STRUCTURED)
def test_many_parameters_of_few_rows(design, seed, size):
    X, y, good = structured(design, seed, size)
    assert errors(MedianSGDRegressor(random_state=0).fit(X, y), X, y, good) < 0.6


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("design", [two_factors, slopes_by_level])
def test_many_parameters_of_few_rows_with_outliers(design, seed):
    X, y, good = structured(design, seed, 5, 0.15)
    assert errors(MedianSGDRegressor(random_state=0).fit(X, y), X, y, good) < 0.6


def test_a_combination_of_columns_that_a_metric_has_lost_has_a_bound():
    # Rows of the metric join no level of the first half with one of the second half.
    first, second = np.divmod(np.arange(400) % 100, 10)
    X = np.c_[np.eye(10)[first][:, 1:], np.eye(10)[second]]
    is_joined = (first < 5) == (second < 5)
    y = np.random.default_rng(0).standard_normal(400)
    rows = DenseRows(X, y, np.ones(400), np.zeros(19), np.ones(19), 0)
    solver = QuasiNewton(np.zeros(19), rows.gram(rows.weight), 400.0)
    solver.adapt(rows, is_joined * 1.0, 400.0)
    step = solver.step(rows, rows.weight, y, np.zeros(19), share=400.0, convex=True)
    assert np.abs(X @ step).max() < 10


def test_each_of_several_systems_is_solved():
    rng = np.random.default_rng(0)
    scale = np.linspace([1, 1, 1], [1, 50, 5], 20)  # the first one needs one iteration
    matrices = [np.diag(s) for s in scale.T]
    right = rng.standard_normal((20, 3))
    found = conjugate_gradients(
        lambda directions, left: scale[:, left] * directions,
        right,
        np.asarray,
        40,
        1e-10,
    )
    expected = [np.linalg.solve(*pair) for pair in zip(matrices, right.T, strict=True)]
    assert_allclose(found.T, expected, rtol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("design", [two_factors, slopes_by_level])
def test_the_order_of_rows_and_many_columns_sets_no_basin(design, layout):
    X, y, good = structured(design, 1, 5)
    rng = np.random.default_rng(0)
    for _ in range(3):
        rows, columns = rng.permutation(len(X)), rng.permutation(X.shape[1])
        X, y = X[rows][:, columns], y[rows]
        est = MedianSGDRegressor(random_state=0).fit(layout(X), y)
        assert errors(est, X, y, good, layout) < 0.6


@pytest.mark.parametrize("n", [10_000, 25_000])  # the S step sees all, or a part
def test_wide_sparse_features_take_few_passes(n):
    rng = np.random.default_rng(0)
    d = 2200
    X = sp.random(n, d, 0.005, format="csr", random_state=0)
    y = X @ (10 * rng.standard_normal(d)) + rng.standard_normal(n)
    bad = np.arange(n) < n / 10
    y[bad] += 50
    est = MedianSGDRegressor(random_state=0).fit(X, y)
    right = Ridge(1e-6, solver="lsqr", tol=1e-6).fit(X[~bad], y[~bad])
    clean = X[~bad]
    gap = est.predict(clean) - right.predict(clean)
    assert np.sqrt(gap @ gap / d) < 0.3
    assert est.n_iter_ < 60


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_rows_of_weight_zero_do_not_shorten_the_first_stage():
    # Weighted rows are too few for exact steps, which need only a rough start.
    X, y, _ = problem(300, 40)
    weight = np.r_[np.zeros(230), np.ones(70)]
    est = MedianSGDRegressor(random_state=0).fit(X, y, sample_weight=weight)
    few = MedianSGDRegressor(random_state=0).fit(X[230:], y[230:])
    assert est.stage_starts_[0] == few.stage_starts_[0]


@pytest.mark.parametrize("n_per_parameter", [2.3, 4])
def test_few_rows_of_many_parameters_cost_little(n_per_parameter):
    d, squares = 80, np.zeros(2)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((int(n_per_parameter * d), d))
        effects = rng.standard_normal(d)
        y = X @ effects + rng.standard_normal(len(X))
        for k, model in enumerate(
            [MedianSGDRegressor(random_state=0), LinearRegression()]
        ):
            squares[k] += np.square(model.fit(X, y).coef_ - effects).sum()
    assert squares[0] < 1.1**2 * squares[1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_collinear_and_constant_columns_share_the_effect(layout):
    X, y, _ = problem()
    plain = MedianSGDRegressor(random_state=0).fit(X, y)
    wide = np.column_stack([X, X[:, 0], np.full(len(X), 7.0), np.zeros(len(X))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        est = MedianSGDRegressor(random_state=0).fit(layout(wide), y)
    assert_allclose(est.predict(wide), plain.predict(X), rtol=1e-6, atol=1e-6)
    assert_allclose(est.coef_[0], plain.coef_[0] / 2, rtol=1e-5)
    assert_allclose(est.coef_[6], plain.coef_[0] / 2, rtol=1e-5)
    assert_array_equal(est.coef_[7:], 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("intercept", [0.0, 1000.0])
def test_an_exact_fit_of_most_rows_is_found_and_told(intercept, dtype):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 3)).astype(dtype)
    y = (X.astype(float) @ [1, -2, 3] + intercept).astype(dtype)
    y[:120] += rng.choice([-20, 5, 10], 120).astype(dtype)
    with pytest.warns(UserWarning, match="without an error"):
        est = MedianSGDRegressor(random_state=0).fit(X, y)
    eps = np.finfo(dtype).eps
    assert_allclose(est.coef_, [1, -2, 3], atol=200 * eps * max(1, intercept))
    assert est.scale_ == 0
    assert_array_equal(est.outliers_, np.arange(300) < 120)


def test_rare_levels_of_many_rows_are_not_lost():
    rng = np.random.default_rng(0)
    n = 30_000
    level = np.where(np.arange(n) < 30, np.arange(n) % 2, 2)
    X = np.column_stack([rng.standard_normal((n, 3)), level == 0, level == 1])
    effects = np.array([1, -1, 0.5, 80, -40])
    y = X @ effects + rng.standard_normal(n)
    order = rng.permutation(n)
    est = MedianSGDRegressor(random_state=0).fit(X[order], y[order])
    exact = LinearRegression().fit(X, y)
    # 15 rows have each level: a standard error of 1 / sqrt(15).
    assert_allclose(est.coef_[3:], exact.coef_[3:], atol=0.3)
    assert_allclose(est.coef_[:3], exact.coef_[:3], atol=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_a_rare_level_with_some_coherent_outliers(seed):
    rng = np.random.default_rng(seed)
    n = 30_000
    X = np.column_stack([rng.standard_normal((n, 5)), np.zeros(n)])
    X[rng.choice(n, 20, replace=False), 5] = 1
    wrong = rng.random(n) < 0.1
    y = X @ [1, 1, 1, 1, 1, 50] + rng.standard_normal(n) + 20 * wrong
    for rows in (np.arange(n), np.argsort(y), rng.permutation(n)):
        est = MedianSGDRegressor(random_state=0).fit(X[rows], y[rows])
        # 17 to 20 of the 20 rows are right.
        assert est.coef_[5] == pytest.approx(50, abs=4 / np.sqrt(17))


@pytest.mark.parametrize("share, at", [(0.25, 2), (0.28, 3), (0.33, 4), (0.4, 6)])
def test_coherent_leverage_of_all_columns(share, at):
    rng = np.random.default_rng(1)
    n, d = 1000, 10
    bad = np.arange(n) < share * n
    X = rng.standard_normal((n, d))
    y = X.sum(axis=1) + rng.standard_normal(n)
    X[bad] = 0.5 * rng.standard_normal((bad.sum(), d)) + at
    y[bad] = -X[bad].sum(axis=1) + rng.standard_normal(bad.sum())
    est = MedianSGDRegressor(random_state=0).fit(X, y)
    right = LinearRegression().fit(X[~bad], y[~bad])
    assert distance(est, right, X[~bad]) < 0.5


@pytest.mark.parametrize("alpha", [1e-3, 0.01, 0.1, 1.0])
def test_a_penalty_beside_little_noise_shrinks_as_that_of_ridge(alpha):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 3))
    y = X @ [1, -2, 3] + 0.01 * rng.standard_normal(400) + 1
    est = MedianSGDRegressor(alpha=alpha, standardize=False, random_state=0)
    ridge = Ridge(alpha=400 * alpha).fit(X, y)
    assert_allclose(est.fit(X, y).coef_, ridge.coef_, rtol=0.25)


@pytest.mark.parametrize("noise", [0, 1e-8, 1e-4])
@pytest.mark.parametrize("penalty", ["l1", "elasticnet"])
def test_an_l1_penalty_on_clean_data(penalty, noise):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 3))
    y = X @ [1, -2, 3] + noise * rng.standard_normal(400)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        est = MedianSGDRegressor(penalty=penalty, random_state=0).fit(X, y)
    assert_allclose(est.coef_, [1, -2, 3], atol=2e-3)


def test_targets_far_from_zero_in_single_precision_have_a_scale():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 3))
    y = 101325 + X @ [1, 2, 3] + 0.5 * rng.standard_normal(500)
    y[:100] += 3.5
    double = MedianSGDRegressor(random_state=0).fit(X, y)
    X, y = X.astype(np.float32), y.astype(np.float32)
    single = MedianSGDRegressor(random_state=0).fit(X, y)
    assert single.scale_ == pytest.approx(double.scale_, rel=0.01)
    assert np.mean(single.outliers_ != double.outliers_) < 0.02


def test_fill_values_in_a_few_rows_do_not_cost_passes():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((5000, 3))
    y = X @ [1, 2, 3] + rng.standard_normal(5000)
    plain = MedianSGDRegressor(random_state=0).fit(X, y)
    X[:5, 0] = 9.97e36
    est = MedianSGDRegressor(random_state=0).fit(X, y)
    assert est.n_iter_ < 2 * plain.n_iter_
    assert_allclose(est.coef_, plain.coef_, atol=5e-3)


def test_a_model_without_intercept_of_targets_far_from_zero():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 2)) * [5, 2] + [1e4, 3]
    y = X @ [2, 1] + rng.standard_normal(400)
    est = MedianSGDRegressor(fit_intercept=False, random_state=0).fit(X, y)
    right = LinearRegression(fit_intercept=False).fit(X, y)
    assert_allclose(est.predict(X), right.predict(X), atol=0.2)


def test_sparse_features_of_few_rows():
    rng = np.random.default_rng(0)
    n, d, per_row = 4000, 300, 10
    share = 1 / np.arange(1, d + 1)
    column = rng.choice(d, n * per_row, p=share / share.sum())
    values = rng.exponential(1, n * per_row)
    pointers = np.arange(0, n * per_row + 1, per_row)
    X = sp.csr_array((values, column, pointers), shape=(n, d))
    X.sum_duplicates()
    truth = rng.standard_normal(d)
    y = X @ truth + 5 + rng.standard_normal(n)
    bad = rng.random(n) < 0.1
    est = MedianSGDRegressor(random_state=0).fit(X, y + 100 * bad)
    right = Ridge(alpha=1e-3, solver="lsqr").fit(X[~bad], y[~bad])
    errors = [np.mean((m.predict(X) - X @ truth - 5) ** 2) for m in (est, right)]
    assert errors[0] < 1.2 * errors[1]


def test_a_model_through_an_origin_far_away():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1000, 3)) + 50
    y = X @ [1, 2, 3] + rng.standard_normal(1000)
    y[:100] += 100
    est = MedianSGDRegressor(fit_intercept=False, random_state=0).fit(X, y)
    right = LinearRegression(fit_intercept=False).fit(X[100:], y[100:])
    assert_allclose(est.coef_, right.coef_, atol=0.02)
    assert_array_equal(est.intercept_, 0)


@pytest.mark.parametrize("n, d", [(20, 3), (20, 8), (50, 8), (80, 3)])
def test_small_clean_data_do_not_warn(n, d):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((n, d))
        y = X @ rng.standard_normal(d) + rng.standard_normal(n)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            MedianSGDRegressor(random_state=seed).fit(X, y)


def test_passes_that_max_iter_cuts_short_warn():
    X, y, _ = problem()
    with pytest.warns(ConvergenceWarning):
        est = MedianSGDRegressor(max_iter=3, random_state=0).fit(X, y)
    assert est.n_iter_ == 3
    assert np.isfinite(est.coef_).all()


@pytest.mark.parametrize("name", MEDIANS)
@pytest.mark.parametrize("refine", [False, True])
def test_divergence_names_the_parameters(name, refine):
    X, y = load_diabetes(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    est = MedianSGDRegressor(
        gradient_estimator=name, learning_rate="constant", eta0=5.0, refine=refine
    )
    with pytest.raises(ValueError, match=r"diverges.*eta0=5.*learning_rate"):
        est.fit(X, y)
    assert not hasattr(est, "coef_")


def test_classifiers_diverge_with_an_error_too():
    X, y = load_diabetes(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    clf = MedianSGDClassifier(
        "squared_error", learning_rate="constant", eta0=5.0, random_state=0
    )
    with pytest.raises(ValueError, match=r"eta0=5.*learning_rate"):
        clf.fit(X, y > 140)


def test_rows_with_nearly_nothing_of_a_rare_feature():
    X, y, _ = problem(600, 3, share=0)
    X[:, 2] = 0
    X[:20, 2] = np.where(np.arange(20) < 9, 1, 1e-310)
    y[:20] += 100
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        est = MedianSGDRegressor(random_state=0).fit(X, y)
    assert np.abs(est.predict(X[:9]) - y[:9]).max() < 5


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("options", [{}, {"penalty": "l1", "alpha": 0.01}])
@pytest.mark.parametrize(
    "dtype, largest, d",
    [(np.float32, 3e38, 5), (np.float32, 3e38, 80), (np.float64, 1.7e308, 5)],
)
def test_enormous_values_of_both_signs_are_outliers(dtype, largest, d, options):
    X, y, _ = problem(500, d, share=0)
    y[:50] = largest * np.sign(y[:50])
    X[50:60] = largest * np.sign(X[50:60])
    est = MedianSGDRegressor(random_state=0, **options)
    est.fit(X.astype(dtype), y.astype(dtype))
    assert est.outliers_[:50].all()
    assert est.outliers_[60:].mean() < 0.05


def test_a_start_out_of_range_is_no_use_and_no_harm():
    X, y, _ = problem(200, 3)
    plain = MedianSGDRegressor(random_state=0).fit(X, 1e-290 * y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        est = MedianSGDRegressor(random_state=0, refine=True)
        est.fit(X, 1e-290 * y, coef_init=np.full(3, 1e20))
    assert_allclose(est.coef_, plain.coef_, rtol=1e-6)


def test_rows_held_out_are_not_fitted():
    X, y, _ = problem(600, 4)
    est = MedianSGDRegressor(early_stopping=True, random_state=0).fit(X, y)
    train, _ = next(ShuffleSplit(test_size=0.1, random_state=0).split(X))
    other = MedianSGDRegressor(random_state=0).fit(X[train], y[train])
    assert distance(est, other, X) < 1e-4


@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
def test_values_that_rounding_has_left_of_zero(layout):
    # Splines are 1e-49 where they should be 0: for most rows of one column.
    X, y = load_diabetes(return_X_y=True)
    Z = SplineTransformer().fit_transform(X)
    assert ((Z > 0) & (Z < 1e-40)).any()
    est = MedianSGDRegressor(random_state=0).fit(layout(Z), y)
    gap = est.predict(layout(Z)) - LinearRegression().fit(Z, y).predict(Z)
    # 56 of the columns are independent.
    assert np.sqrt(gap @ gap / 56) < 0.6 * est.scale_


def test_a_direction_that_rows_lack_but_for_rounding_takes_no_step():
    # As of a sample of the rows, where others have the direction.
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 3))
    X[:, 2] = (X[:, 0] + 3 * X[:, 1]) / 7
    pull, ones = rng.standard_normal(500), np.ones(500)
    rows = DenseRows(X, pull, ones, np.zeros(3), np.ones(3), 0)
    lacking = np.array([1 / 7, 3 / 7, -1])
    vectors = np.column_stack([np.eye(3)[:, :2] / np.sqrt(500), lacking])
    assert rows.gram(ones, vectors)[2, 2] > 0
    step = Cholesky(np.zeros(3), vectors).least_squares(rows, ones, pull)
    assert_allclose(step, [*np.linalg.lstsq(X[:, :2], pull)[0], 0], atol=1e-12)


def test_a_penalty_of_coefficients_beyond_all_bounds():
    X, y, _ = problem(200, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        est = MedianSGDRegressor(
            alpha=0.1, standardize=False, leverage_weights=False, random_state=0
        ).fit(1e-160 * X, y)
    # Of such units the penalty leaves nothing.
    assert np.abs(X @ est.coef_ * 1e-160).max() < 1e-6 * est.scale_


def test_weights_that_are_no_counts_add_up_to_the_rows():
    # The rows' number, less that of the parameters, defines the scale.
    X, y, _ = problem(40, 8, share=0.0)
    weight = np.random.default_rng(0).uniform(0.1, 1, 40)
    est = MedianSGDRegressor(random_state=0).fit(X, y, sample_weight=weight)
    coef, intercept, scale = est._s_fit
    ratio = np.minimum(np.abs(y - X @ coef - intercept) / (1.547645 * scale), 1)
    bisquare = 1 - (1 - ratio**2) ** 3
    assert np.average(bisquare, weights=weight) == pytest.approx(
        0.5 * (40 - 9) / 40, abs=1e-3
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_cluster_of_bad_leverage_points_with_many_parameters(seed):
    rng = np.random.default_rng(100 + seed)
    n, d = 900, 150
    X = rng.normal(size=(n, d))
    right = X @ rng.normal(size=d)
    y = right + rng.normal(size=n)
    bad = rng.random(n) < 0.25
    given = X.copy()
    given[bad] = 8 * X[0] + 0.1 * X[bad]
    y[bad] = 200
    est = MedianSGDRegressor(random_state=0).fit(given, y)
    ours = est.predict(X[~bad]) - right[~bad]
    known = LinearRegression().fit(X[~bad], y[~bad]).predict(X[~bad]) - right[~bad]
    assert np.linalg.norm(ours) <= 1.2 * np.linalg.norm(known)
