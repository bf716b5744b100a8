"""Features in any unit: robust centre and scale, and the weights of leverage."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.stats import median_abs_deviation, norm
from sklearn.linear_model import LinearRegression, SGDRegressor
from sklearn.preprocessing import SplineTransformer

from medsgd import MedianSGDClassifier, MedianSGDRegressor

MEDIANS = ["coord-median", "geometric-median", "spp-l1", "spp-l2"]
ESTIMATORS = ["mean", *MEDIANS]
CLASSES = [MedianSGDRegressor, MedianSGDClassifier]
LAYOUTS = [np.asarray, sp.csr_array]
NORMAL_MEDIAN = norm.ppf(0.75)


def data(n=301, d=5, seed=0):
    """Rows of a heavy-tailed distribution, targets and two classes."""
    rng = np.random.default_rng(seed)
    X = rng.standard_t(4, size=(n, d)) * np.arange(1, d + 1) + 3
    y = X @ np.linspace(-1, 1, d) + rng.standard_t(2, size=n)
    return X, y, y > np.median(y)


def sparse_data(n=300, d=5, seed=0):
    X, y, _ = data(n, d, seed)
    X[np.random.default_rng(seed).random(X.shape) < 0.6] = 0
    y = X @ np.linspace(-1, 1, d) + (y - np.median(y)) / 5
    return X, y, y > np.median(y)


def targets(estimator_class, y, labels):
    return labels if estimator_class is MedianSGDClassifier else y


def response(est, X):
    return getattr(est, "decision_function", est.predict)(X)


def units_of(X, y=None, *, estimator_class=MedianSGDRegressor, **fit_params):
    """Centre and scale after a call of fit."""
    y = np.arange(X.shape[0]) % 2 if y is None else y
    est = estimator_class(refine=False, max_iter=1, tol=None).fit(X, y, **fit_params)
    return est._units.center, 1 / est._units.inverse_scale


def reference_units(X, clip=None):
    """Those of continuous columns; with ``clip`` of what is clipped at so many."""
    center, scale = np.median(X, axis=0), median_abs_deviation(X, scale="normal")
    if clip is not None:
        size = np.minimum(np.abs(X - center) / scale, clip)
        normal = 2 * quad(lambda z: min(z, clip) ** 2 * norm.pdf(z), 0, 40)[0]
        scale = scale * np.sqrt(np.mean(size**2, axis=0) / normal)
    return center, scale


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [300, 301])
def test_centre_and_scale_are_median_and_normalised_mad(n, dtype):
    X, y, _ = data(n)
    X[: n // 5] = 1e4
    X = X.astype(dtype)
    expected = reference_units(X.astype(float))
    for actual, desired in zip(units_of(X, y), expected, strict=True):
        assert_allclose(actual, desired, rtol=4 * np.finfo(dtype).eps)


def test_the_classifier_clips_and_stays_consistent_at_the_normal_distribution():
    X, _, labels = data(n=2001)
    center, scale = units_of(X, labels, estimator_class=MedianSGDClassifier)
    expected = reference_units(X, clip=5)
    assert_allclose(center, expected[0], rtol=1e-12)
    assert_allclose(scale, expected[1], rtol=1e-7)
    X = np.random.default_rng(0).normal(5, 3, size=(10_000, 10))
    _, scale = units_of(X, estimator_class=MedianSGDClassifier)
    # Ten times as precise as the median absolute deviation could be by chance.
    assert_allclose(scale, X.std(axis=0), rtol=0.002)


@pytest.mark.parametrize("share", [0.3, 0.15, 0.004])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_mixed_columns_scale_with_the_rest_of_their_values(layout, share):
    rng = np.random.default_rng(0)
    n, n_present = 1010, int(1010 * share) // 2 * 2 + 1
    binary, continuous = np.zeros(n), np.zeros(n)
    binary[:n_present] = 7
    continuous[:n_present] = rng.normal(size=n_present)
    X = np.column_stack([binary, continuous])
    center, scale = units_of(layout(X))
    assert_array_equal(center, [0, 0])
    # A column present in less than a tenth of the rows is taken to be so often.
    factor = np.sqrt(max(n_present / n, 0.1)) / NORMAL_MEDIAN
    middle = np.median(np.abs(continuous[:n_present]))
    assert_allclose(scale, [7 * factor, middle * factor], rtol=1e-12)


@pytest.mark.parametrize("estimator_class", [MedianSGDRegressor, MedianSGDClassifier])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_of_many_orders_of_magnitude_are_no_outliers(layout, estimator_class):
    # As of splines: more than a fifth of the values are far beyond the others.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1001, 4))
    X[:, 0] = np.where(np.arange(1001) % 2, 10.0 ** rng.uniform(-12, 0, 1001), 0)
    _, scale = units_of(layout(X), estimator_class=estimator_class)
    size = X[X[:, 0] > 0, 0] / scale[0]
    reach = {MedianSGDRegressor: 100, MedianSGDClassifier: 2}[estimator_class]
    # A feature that is often 0 has a smaller scale than its other values.
    limit = 2 * reach * norm.ppf(0.9)
    assert np.quantile(size, 0.8, method="inverted_cdf") <= limit


@pytest.mark.parametrize("estimator_class", [MedianSGDRegressor, MedianSGDClassifier])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_far_out_in_all_features_set_no_units(layout, estimator_class):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 4))
    scale = units_of(layout(X), estimator_class=estimator_class)[1]
    X[:400] *= 1e6
    assert np.all(units_of(layout(X), estimator_class=estimator_class)[1] < 10 * scale)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_far_out_in_a_third_of_the_features_set_no_units(layout):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 12))
    scale = units_of(layout(X), estimator_class=MedianSGDClassifier)[1]
    X[:300, :4] *= 1e3
    far = units_of(layout(X), estimator_class=MedianSGDClassifier)[1]
    assert np.all(far < 10 * scale)


@pytest.mark.parametrize("shift", [0.0, -3.0])
@pytest.mark.parametrize("knots", ["uniform", "quantile"])
def test_the_largest_values_of_splines_are_a_few_units(knots, shift):
    # The median of some columns is near 0, or where StandardScaler would move it.
    x = np.random.default_rng(0).normal(size=(2000, 1))
    X = SplineTransformer(8, knots=knots).fit_transform(x)
    for columns in (X, -X):
        center, scale = units_of(columns + shift, estimator_class=MedianSGDClassifier)
        assert np.all(np.abs(columns + shift - center).max(axis=0) < 10 * scale)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_enormous_values_in_one_spline_set_no_unit(layout):
    x = np.random.default_rng(0).random((1000, 3))
    X = SplineTransformer(knots="quantile").fit_transform(x)
    X[np.flatnonzero(X[:, 0])[:5], 0] = 1e6
    _, scale = units_of(layout(X), estimator_class=MedianSGDClassifier)
    assert scale[0] < 10


@pytest.mark.parametrize("layout", LAYOUTS)
def test_few_values_beyond_a_normal_distribution_set_no_unit(layout):
    rng = np.random.default_rng(0)
    X = np.where(rng.random((1000, 4)) < 0.5, rng.normal(size=(1000, 4)), 0)
    scale = units_of(layout(X), estimator_class=MedianSGDClassifier)[1]
    X[np.flatnonzero(X[:, 0])[:10], 0] = 1e6
    far = units_of(layout(X), estimator_class=MedianSGDClassifier)[1]
    assert_allclose(far[0], scale[0], rtol=0.5)


def test_a_value_of_many_rows_in_one_feature_alone_is_no_outlier():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 2))
    X[:300, 0] = -999
    _, scale = units_of(X, estimator_class=MedianSGDClassifier)
    assert 999 / scale[0] < 3


@pytest.mark.parametrize("layout", LAYOUTS)
def test_scales_do_not_depend_on_the_order_of_the_columns(layout):
    # Columns are read a few at a time; rows are judged by all of them.
    rng = np.random.default_rng(0)
    splines = SplineTransformer(knots="quantile").fit_transform
    X, order = splines(rng.normal(size=(8000, 5))), rng.permutation(35)
    scale = units_of(layout(X), estimator_class=MedianSGDClassifier)[1]
    permuted = units_of(layout(X[:, order]), estimator_class=MedianSGDClassifier)[1]
    assert_allclose(permuted, scale[order], rtol=1e-12)


def test_mixed_columns_are_centred_at_the_value_they_mix_with():
    X = np.full((101, 1), -4.0)
    X[:33, 0] = np.random.default_rng(0).normal(size=33)
    center, scale = units_of(X)
    assert_array_equal(center, -4)
    middle = np.median(np.abs(X[:33, 0] + 4))
    assert_allclose(scale, np.sqrt(33 / 101) * middle / NORMAL_MEDIAN, rtol=1e-12)


def test_sparse_columns_are_scaled_and_not_centred():
    X, y, _ = sparse_data()
    center, scale = units_of(sp.csr_array(X), y)
    assert_array_equal(center, 0)
    for column, actual in zip(X.T, scale, strict=True):
        size = np.sort(np.abs(column[column != 0]))
        # Of an even number of entries either of the two in the middle will do.
        middle = size[[(len(size) - 1) // 2, len(size) // 2]]
        low, high = np.sqrt(len(size) / len(X)) * middle / NORMAL_MEDIAN
        assert low * (1 - 1e-12) <= actual <= high * (1 + 1e-12)


@pytest.mark.parametrize("kind", ["continuous", "mixed"])
@pytest.mark.parametrize("estimator_class", CLASSES)
def test_integer_weights_are_copies(estimator_class, kind):
    X, y, labels = data(n=401)
    y = targets(estimator_class, y, labels)
    rng = np.random.default_rng(1)
    if kind == "mixed":
        X[rng.random(X.shape) < 0.4] = 0
    # Weights that go with the features, so that leaving them out shows.
    weight = np.where(X[:, 0] > 1, 4, 1) * rng.integers(0, 3, size=401)
    weight[:2] = 1
    weight[0] += 1 - weight.sum() % 2  # an odd number of copies has one median
    copies = np.repeat(np.arange(401), weight)
    weighted = units_of(
        X, y, estimator_class=estimator_class, sample_weight=weight.astype(float)
    )
    copied = units_of(X[copies], y[copies], estimator_class=estimator_class)
    assert_allclose(weighted[0], copied[0], rtol=1e-12)
    assert_allclose(weighted[1], copied[1], rtol=1e-12)
    assert not np.allclose(weighted[1], units_of(X, y)[1], rtol=0.02)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("estimator_class", CLASSES)
def test_constant_columns_are_harmless(estimator_class, name, layout):
    X, y, labels = sparse_data()
    y = targets(estimator_class, y, labels)
    # A sparse column of ones is scaled like any other; one of zeros is not there.
    constant = 5.0 if layout is np.asarray else 0.0
    wide = np.insert(X, 2, constant, axis=1)
    params = {"gradient_estimator": name, "standardize": True, "random_state": 0}
    params |= {"leverage_weights": False, "max_iter": 10, "tol": None}
    # Leverage weights and refinement go by the number of columns.
    if estimator_class is MedianSGDRegressor:
        params["refine"] = False
    one = estimator_class(**params).fit(layout(X), y)
    other = estimator_class(**params).fit(layout(wide), y)
    coef = np.atleast_2d(other.coef_)
    assert_array_equal(coef[:, 2], 0)
    assert_allclose(np.delete(coef, 2, axis=1), np.atleast_2d(one.coef_), rtol=1e-9)
    assert_allclose(other.intercept_, one.intercept_, rtol=1e-9)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("estimator_class", CLASSES)
def test_raw_units_give_the_same_fit(estimator_class, name, layout, method):
    X, y, labels = sparse_data(d=7) if layout is sp.csr_array else data(d=7)
    y = targets(estimator_class, y, labels)
    factor = 10.0 ** np.array([2, -6, 6, -1, 0, 3, -3])
    raw = X * factor
    if layout is np.asarray:
        raw += factor * np.array([0, 1e3, -1e3, 300, -50, 0, 1e3])
    est = estimator_class(
        gradient_estimator=name, standardize=True, random_state=0, max_iter=40, tol=None
    )

    def fitted(A):
        if method == "fit":
            return est.fit(layout(A), y)
        for name in ("coef_", "classes_"):
            vars(est).pop(name, None)
        first = {"classes": [False, True]} if y.dtype == bool else {}
        est.partial_fit(layout(A[:200]), y[:200], **first)
        return est.partial_fit(layout(A[200:]), y[200:])

    expected = response(fitted(X), X)
    coef = est.coef_
    assert_allclose(response(fitted(raw), raw), expected, rtol=1e-6, atol=1e-6)
    assert_allclose(est.coef_ * factor, coef, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("estimator_class", CLASSES)
def test_the_units_of_a_stream_are_those_of_the_first_call(estimator_class, layout):
    X, y, labels = sparse_data()
    y = targets(estimator_class, y, labels)
    first = {"classes": [False, True]} if y.dtype == bool else {}
    est = estimator_class().partial_fit(layout(X), y, **first)
    expected = units_of(layout(X), y, estimator_class=estimator_class)
    for chunk in (X, X[::2], np.zeros_like(X)):
        est.partial_fit(layout(chunk), y[: len(chunk)])
        assert_array_equal(est._units.center, expected[0])
        assert_array_equal(1 / est._units.inverse_scale, expected[1])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_units_of_a_regressor_follow_its_stream(layout):
    X, y, _ = sparse_data()
    est = MedianSGDRegressor().partial_fit(layout(X), y)
    other = 1e3 * X
    expected = units_of(layout(other), y)
    for _ in range(-(-1500 // len(X))):
        est.partial_fit(layout(other), y)
    ratio = expected[1] * est._units.inverse_scale
    assert np.all((ratio > 0.4) & (ratio < 2.5))
    shift = (expected[0] - est._units.center) * est._units.inverse_scale
    assert np.all(np.abs(shift) < 1.5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_outliers_move_the_units_of_a_stream_only_so_far(layout):
    X, y, _ = sparse_data()
    X, y = X[:200], y[:200]
    est = MedianSGDRegressor().partial_fit(layout(X), y)
    before = est._units.inverse_scale
    est.partial_fit(layout(1e6 * X), y)
    assert np.all(est._units.inverse_scale >= before / 4.001)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("estimator_class", CLASSES)
def test_standardizing_is_fitting_what_was_standardised_before(
    estimator_class, name, layout
):
    X, y, labels = data() if layout is np.asarray else sparse_data()
    y = targets(estimator_class, y, labels)
    clip = 5 if estimator_class is MedianSGDClassifier else None
    if layout is np.asarray:
        center, scale = reference_units(X, clip)
    else:
        center, scale = units_of(layout(X), y, estimator_class=estimator_class)
    before = layout((X - center) / scale)
    params = {"gradient_estimator": name, "leverage_weights": False, "max_iter": 40}
    params |= {"random_state": 0, "tol": None}
    if name == "mean":
        params["eta0"] = 0.01
    if estimator_class is MedianSGDClassifier:
        params["refine"] = False  # which ends where progress is small, not at rounding
    one = estimator_class(standardize=True, **params).fit(layout(X), y)
    other = estimator_class(standardize=False, **params).fit(before, y)
    assert_allclose(one.coef_ * scale, other.coef_, rtol=1e-7, atol=1e-10)
    assert_allclose(response(one, X), response(other, before), rtol=1e-7, atol=1e-10)


def test_the_standardised_mean_is_sgd_on_standardised_data():
    X, y, _ = data()
    center, scale = reference_units(X)
    params = {"eta0": 0.01, "max_iter": 20, "tol": None, "random_state": 0}
    ours = MedianSGDRegressor(gradient_estimator="mean", standardize=True, **params)
    theirs = SGDRegressor(**params).fit((X - center) / scale, y)
    assert_allclose(ours.fit(X, y).coef_ * scale, theirs.coef_, rtol=1e-7)
    auto = MedianSGDRegressor(gradient_estimator="mean", **params).fit(X / 10, y)
    plain = SGDRegressor(**params).fit(X / 10, y)
    assert_allclose(auto.coef_, plain.coef_, rtol=1e-9)


@pytest.mark.parametrize("params", [{}, {"standardize": True}], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("estimator_class", CLASSES)
def test_auto_steps_of_the_mean(estimator_class, layout, params):
    X, y, labels = sparse_data()
    y = targets(estimator_class, y, labels)
    params = params | {"gradient_estimator": "mean", "max_iter": 5, "tol": None}
    auto = estimator_class(random_state=0, **params).fit(layout(X), y)
    fixed = estimator_class(random_state=0, eta0=0.01, **params).fit(layout(X), y)
    # Standardised rows have a size that the steps go by.
    same = "standardize" not in params
    assert np.array_equal(auto.coef_, fixed.coef_) == same
    assert np.array_equal(auto.intercept_, fixed.intercept_) == same


@pytest.mark.parametrize("d", [1, 2, 10, 100, 500])
def test_auto_steps_suit_any_number_of_features(d):
    rng = np.random.default_rng(d)
    n = max(1000, 3 * d)
    X, w = rng.standard_normal((n, d)), rng.standard_normal(d)
    y = X @ w + rng.standard_normal(n)
    est = MedianSGDRegressor(random_state=0).fit(X, y)
    least_squares = LinearRegression().fit(X, y)
    assert np.linalg.norm(est.coef_ - w) < 1.15 * np.linalg.norm(
        least_squares.coef_ - w
    )


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("estimator_class", CLASSES)
def test_sparse_chunks_after_a_dense_one_are_centred_too(estimator_class, name):
    X, y, labels = sparse_data()
    X[:150] += 1  # a centre that is not 0
    y = targets(estimator_class, y, labels)
    first = {"classes": [False, True]} if y.dtype == bool else {}
    params = {"gradient_estimator": name, "standardize": True, "random_state": 0}
    one, other = estimator_class(**params), estimator_class(**params)
    one.partial_fit(X[:150], y[:150], **first).partial_fit(X[150:], y[150:])
    other.partial_fit(X[:150], y[:150], **first)
    other.partial_fit(sp.csr_array(X[150:]), y[150:])
    assert other._units.center.any()
    assert_array_equal(one.coef_, other.coef_)
    assert_array_equal(one.intercept_, other.intercept_)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("name", MEDIANS)
@pytest.mark.parametrize("estimator_class", CLASSES)
def test_dense_chunks_after_a_sparse_one_are_only_scaled(
    estimator_class, name, standardize
):
    X, y, labels = sparse_data()
    y = targets(estimator_class, y, labels)
    first = {"classes": [False, True]} if y.dtype == bool else {}
    params = {"gradient_estimator": name, "standardize": standardize}
    one = estimator_class(**params, random_state=0)
    other = estimator_class(**params, random_state=0)
    for est in (one, other):
        est.partial_fit(sp.csr_array(X[:150]), y[:150], **first)
    other.partial_fit(X[150:], y[150:])
    one.partial_fit(sp.csr_array(X[150:]), y[150:])
    assert_allclose(one.coef_, other.coef_, rtol=1e-8, atol=1e-12)
    assert_allclose(one.intercept_, other.intercept_, rtol=1e-8)


def test_a_constant_feature_has_no_scale_whatever_the_weights():
    # Sums of weights in another order differ by their rounding.
    for seed in range(20):
        rng = np.random.default_rng(seed)
        X, weight = rng.normal(size=(1000, 2)), rng.uniform(size=1000)
        X[:, 0] = 7
        reg = MedianSGDRegressor().partial_fit(X, X[:, 1], weight)
        assert reg._units.inverse_scale[0] == 1
