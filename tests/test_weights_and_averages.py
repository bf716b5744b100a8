"""Weights, penalties and averages where they meet: what a user takes for granted."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Lasso, Ridge

from medsgd import MedianSGDClassifier, MedianSGDRegressor

LAYOUTS = [np.asarray, sp.csr_array]
MEDIANS = ["coord-median", "geometric-median", "spp-l1", "spp-l2"]


def regression(n=1000, d=4, seed=0):
    rng = np.random.default_rng(seed)
    X, w = rng.standard_normal((n, d)), np.arange(1.0, d + 1)
    return X, X @ w + 0.1 * rng.standard_normal(n), w


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("alpha", [0.1, 1.0, 10.0])
def test_a_large_l2_penalty_is_that_of_ridge_regression(alpha, dtype, layout):
    X, y, _ = regression()
    est = MedianSGDRegressor(
        "squared_error",
        gradient_estimator="mean",
        average=True,
        alpha=alpha,
        random_state=0,
        max_iter=100,
        tol=None,
    ).fit(layout(X.astype(dtype)), y)
    ridge = Ridge(alpha=alpha * len(X)).fit(X, y)
    assert_allclose(est.coef_, ridge.coef_, rtol=0.05)
    refined = MedianSGDRegressor(alpha=alpha, random_state=0)
    refined.fit(layout(X.astype(dtype)), y)
    assert np.all(np.abs(refined.coef_) <= np.abs(y).max())
    assert np.all(refined.coef_ > 0)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
@pytest.mark.parametrize("estimator_class", [MedianSGDRegressor, MedianSGDClassifier])
def test_the_unit_of_weights_does_not_matter(estimator_class, factor):
    X, y, _ = regression(n=300)
    if estimator_class is MedianSGDClassifier:
        y = y > 0
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y))
    one, other = (
        estimator_class(random_state=0).fit(X, y, sample_weight=w)
        for w in (weight, factor * weight)
    )
    assert_allclose(one.coef_, other.coef_, rtol=1e-6)


def heavy_outlier(rng):
    """A row of weight 300, and its target wrong."""
    weight = np.ones(1000)
    weight[7] = 300
    return weight, np.where(weight > 1, 30.0, 0.0)


def pareto(rng):
    """Quantiles of the Pareto(1) law: the heaviest row has a quarter of the weight."""
    weight = 1 / (1 - (np.arange(1000) + 0.5) / 1000)
    return rng.permutation(weight), 0.0


def six_decades(rng):
    return rng.permutation(np.geomspace(1e-3, 1e3, 1000)), 0.0


WEIGHTS = pytest.mark.parametrize("draw", [heavy_outlier, pareto, six_decades])
# How medians take gradients, on rows of which layout and dtype.
WAYS = [
    (np.asarray, np.float64, {}),
    (np.asarray, np.float32, {"n_gradients": 3, "batch_size": 2}),
    (sp.csr_array, np.float64, {"momentum": 0.5}),
    (sp.csr_array, np.float32, {"n_gradients": 3, "batch_size": 2}),
    (sp.csr_array, np.float32, {}),
]


def weighted_and_copies(draw, *, seed):
    """Rows, targets and weights; the rows as often as they weigh, without weights."""
    rng = np.random.default_rng(seed)
    X, w = rng.standard_normal((1000, 4)), np.arange(1.0, 5)
    weight, shift = draw(rng)
    y = X @ w + rng.standard_normal(1000) + shift
    # Of rows of less than half a copy there is one in a thousand.
    copies = rng.permutation(np.repeat(np.arange(1000), np.rint(weight).astype(int)))
    return (X, y, weight), (X[copies], y[copies], None), w


def assert_errors_are_similar(weighted, copies, least):
    # Each error is that of one order of the rows, at the noise of a last step.
    assert np.median(weighted) <= 1.5 * np.median(copies) + least
    assert np.median(copies) <= 1.5 * np.median(weighted) + least


@pytest.mark.parametrize("layout, dtype, params", WAYS)
@pytest.mark.parametrize("name", MEDIANS)
@WEIGHTS
def test_a_weight_is_worth_as_many_copies(draw, name, layout, dtype, params):
    errors = [], []
    for seed in range(3):
        *samples, w = weighted_and_copies(draw, seed=seed)
        for (X, y, weight), found in zip(samples, errors, strict=True):
            est = MedianSGDRegressor(
                gradient_estimator=name, refine=False, random_state=seed, **params
            )
            # As many steps for both.
            est.set_params(max_iter=1 + 40_000 // len(y), tol=None, average=2000)
            est.fit(layout(X.astype(dtype)), y, sample_weight=weight)
            found.append(np.linalg.norm(est.coef_ - w) / np.linalg.norm(w))
    assert_errors_are_similar(*errors, least=0.02)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", MEDIANS)
@WEIGHTS
def test_a_weight_is_worth_as_many_copies_in_a_stream(draw, name, layout):
    errors = [], []
    for seed in range(3):
        *samples, w = weighted_and_copies(draw, seed=seed)
        for (X, y, weight), found in zip(samples, errors, strict=True):
            est = MedianSGDRegressor(gradient_estimator=name, average=1000)
            est.set_params(random_state=seed)
            n_passes = 1 + 10_000 // len(y)
            for rows in [*np.array_split(np.arange(len(y)), 10)] * n_passes:
                chunk = None if weight is None else weight[rows]
                est.partial_fit(layout(X[rows]), y[rows], sample_weight=chunk)
            found.append(np.linalg.norm(est.coef_ - w) / np.linalg.norm(w))
    assert_errors_are_similar(*errors, least=0.03)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", MEDIANS)
def test_a_heavy_row_of_a_wrong_label_is_worth_as_many_copies(name, layout):
    rng = np.random.default_rng(0)
    X, weight = rng.standard_normal((1000, 4)), np.ones(1000)
    y, weight[7] = X @ [1.0, 2, 3, 4] > 0, 100
    y[7] = not y[7]
    copies = rng.permutation(np.repeat(np.arange(1000), weight.astype(int)))
    scores = []
    for rows, given in ((np.arange(1000), weight), (copies, None)):
        clf = MedianSGDClassifier(gradient_estimator=name, random_state=0)
        clf.fit(layout(X[rows]), y[rows], sample_weight=given)
        scores.append(clf.score(X, y))
    assert_allclose(*scores, atol=0.03)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("weight", [1e-30, 0.1, 3, 1e30])
@pytest.mark.parametrize("name", MEDIANS)
@pytest.mark.parametrize("estimator_class", [MedianSGDRegressor, MedianSGDClassifier])
def test_the_unit_of_weights_does_not_matter_to_a_stream(
    estimator_class, name, weight, layout
):
    X, y, _ = regression(n=200)
    first = {}
    if estimator_class is MedianSGDClassifier:
        y, first = y > 0, {"classes": [False, True]}
    streams = [
        estimator_class(
            gradient_estimator=name, momentum=0.5, refine=False, random_state=0
        )
        for _ in range(2)
    ]
    for start in range(0, 200, 40):
        rows = layout(X[start : start + 40]), y[start : start + 40]
        streams[0].partial_fit(*rows, **first)
        streams[1].partial_fit(*rows, sample_weight=np.full(40, weight), **first)
    assert_array_equal(streams[0].coef_, streams[1].coef_)


def test_weights_of_a_stream_are_relative_to_those_before():
    X, y, _ = regression(n=200)
    moved = {}
    for weight in (0.5, 1.0, 2.0):
        est = MedianSGDRegressor(refine=False, random_state=0)
        before = est.partial_fit(X[:100], y[:100]).coef_
        est.partial_fit(X[100:101], y[100:101], sample_weight=[weight])
        moved[weight] = np.linalg.norm(est.coef_ - before)
    assert moved[0.5] < 0.7 * moved[1.0] < 0.7 * moved[2.0]


@pytest.mark.parametrize("later", [1e-3, 1e6])
def test_a_stream_gets_used_to_weights_in_another_unit(later):
    X, y, w = regression(n=20_000)
    est = MedianSGDRegressor(random_state=0).partial_fit(X[:5000], -y[:5000])
    for start in range(5000, 20_000, 500):
        rows = slice(start, start + 500)
        est.partial_fit(X[rows], y[rows], sample_weight=np.full(500, later))
    t = est.t_
    assert_allclose(est.coef_, w, rtol=0.1)
    # A chunk counts for at most a thousand rows more than it has.
    assert 20_001 <= t <= 20_001 + 2000


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("momentum", [0.5, 0.9])
@pytest.mark.parametrize("tau", [1e300, np.inf])
@pytest.mark.parametrize("name", ["spp-l1", "spp-l2"])
def test_weights_of_classes_count_under_momentum(name, tau, momentum, layout):
    # With features of 0 the intercept is the logit of the weighted share of positives.
    X, y = layout(np.zeros((2000, 1))), np.tile([False, True], 1000)
    clf = MedianSGDClassifier(
        "log_loss",
        gradient_estimator=name,
        tau=tau,
        momentum=momentum,
        learning_rate="constant",
        eta0=0.02,
        average=20_000,
        max_iter=40,
        tol=None,
        standardize=False,
        random_state=0,
    ).fit(X, y, sample_weight=np.where(y, 3, 1))
    assert_allclose(clf.intercept_[0], np.log(3), atol=0.02)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("tau", [1e300, np.inf])
@pytest.mark.parametrize("name", ["mean", "spp-l1", "spp-l2"])
def test_weights_count_under_momentum(name, tau, momentum, layout):
    # The intercept of two values, of weights 1 and 9, is their weighted mean .9 where
    # nothing is clipped.
    X = layout(np.zeros((2000, 1)))
    y = np.tile([0.0, 1.0], 1000)
    # On sparse rows the mean takes a hundredth of the steps for the intercept.
    eta0 = 0.1 if name == "mean" and sp.issparse(X) else 0.001
    est = MedianSGDRegressor(
        gradient_estimator=name,
        tau=tau,
        momentum=momentum,
        learning_rate="constant",
        eta0=eta0,
        average=20_000,
        max_iter=40,
        tol=None,
        refine=False,
        standardize=False,
        random_state=0,
    ).fit(X, y, sample_weight=np.where(y == 1, 9, 1))
    assert_allclose(est.intercept_[0], 0.9, atol=0.01)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_refined_fit_keeps_the_zeros_of_the_l1_penalty(layout):
    rng = np.random.default_rng(0)
    X, w = rng.standard_normal((2000, 30)), np.zeros(30)
    w[:5] = 3
    y = X @ w + rng.standard_normal(2000)
    clean = np.arange(2000) >= 300
    lasso = Lasso(alpha=0.1).fit(X[clean], y[clean])
    y[~clean] += 100
    est = MedianSGDRegressor(penalty="l1", alpha=0.1, random_state=0).fit(layout(X), y)
    assert_array_equal(est.coef_ != 0, lasso.coef_ != 0)
    assert_allclose(est.coef_[:5], lasso.coef_[:5], rtol=0.1)


def test_an_average_goes_on_when_its_start_changes():
    X, y, _ = regression()
    est = MedianSGDRegressor(average=1, random_state=0)
    for start in range(0, 1000, 100):
        est.set_params(average=1 if start < 500 else 7)
        est.partial_fit(X[start : start + 100], y[start : start + 100])
    reference = MedianSGDRegressor(average=1, random_state=0)
    for start in range(0, 1000, 100):
        reference.partial_fit(X[start : start + 100], y[start : start + 100])
    assert_array_equal(est.coef_, reference.coef_)


@pytest.mark.parametrize("dtype, rtol", [(np.float64, 1e-9), (np.float32, 1e-5)])
@pytest.mark.parametrize("later", LAYOUTS)
@pytest.mark.parametrize("earlier", LAYOUTS)
@pytest.mark.parametrize("name", ["mean", "spp-l1"])
def test_iterations_that_nobody_averaged_count_as_where_they_ended(
    name, earlier, later, dtype, rtol
):
    X, y, _ = regression(n=80)
    X, y = X.astype(dtype), y.astype(dtype)
    params = {"gradient_estimator": name, "shuffle": False, "standardize": False}
    params["refine"] = False
    late, plain = MedianSGDRegressor(**params), MedianSGDRegressor(**params)
    late.partial_fit(earlier(X[:50]), y[:50]).set_params(average=20)
    start = plain.partial_fit(earlier(X[:50]), y[:50]).coef_
    late.partial_fit(later(X[50:]), y[50:])
    iterates = [plain.partial_fit(later(X[[i]]), y[[i]]).coef_ for i in range(50, 80)]
    # The next is the 51st, and the 20th would have been the first to count.
    desired = (31 * start + sum(iterates)) / (31 + 30)
    assert late.coef_.dtype == dtype
    assert_allclose(late.coef_, desired, rtol=rtol)


def stream_error(name, first, seed):
    X, y, w = regression(n=2000, seed=seed)
    est = MedianSGDRegressor(gradient_estimator=name, random_state=0)
    for start in [0, *range(first, 60, 2), *range(max(first, 60), 2000, 50)]:
        stop = first if start == 0 else start + (2 if start < 60 else 50)
        est.partial_fit(100 * X[start:stop] + 1e3, y[start:stop])
    return np.linalg.norm(100 * est.coef_ - w) / np.linalg.norm(w)


@pytest.mark.parametrize("name", MEDIANS)
@pytest.mark.parametrize("first", [1, 2, 3, 5])
def test_a_stream_may_begin_with_few_rows(first, name):
    assert max(stream_error(name, first, seed) for seed in range(5)) < 0.3


@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("estimator_class", [MedianSGDRegressor, MedianSGDClassifier])
def test_chunks_may_be_read_into_the_same_arrays(estimator_class, layout):
    rng = np.random.default_rng(0)
    chunks = rng.standard_normal((6, 10, 3)), rng.uniform(0.5, 2, size=(6, 10))
    streams = [estimator_class(random_state=0) for _ in range(2)]
    first = {"classes": [0, 1]} if estimator_class is MedianSGDClassifier else {}
    buffer, weight = layout(chunks[0][0]), np.empty(10)
    values = buffer if layout is np.asarray else buffer.data.reshape(10, 3)
    for X, w in zip(*chunks, strict=True):
        values[:], weight[:] = X, w
        y = (X[:, 0] > 0).astype(int)
        streams[0].partial_fit(layout(X), y, sample_weight=w, **first)
        streams[1].partial_fit(buffer, y, sample_weight=weight, **first)
    assert_array_equal(streams[0].coef_, streams[1].coef_)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_of_weight_0_do_not_set_the_units_of_a_stream(layout):
    X, y, _ = regression(n=60)
    streams = [MedianSGDRegressor(random_state=0) for _ in range(2)]
    useful = np.arange(40) < 5
    streams[0].partial_fit(layout(1e3 * X[:5]), y[:5])
    streams[1].partial_fit(layout(1e3 * X[:40]), y[:40], sample_weight=useful * 1.0)
    for est in streams:
        est.partial_fit(layout(X[40:]), y[40:])
    assert_array_equal(streams[0].coef_, streams[1].coef_)
    assert_array_equal(streams[0].tau_, streams[1].tau_)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["mean", *MEDIANS])
@pytest.mark.parametrize("estimator_class", [MedianSGDRegressor, MedianSGDClassifier])
def test_an_average_begins_anew_at_coefficients_set_by_hand(
    estimator_class, name, layout
):
    X, y, w = regression(n=400)
    first = {}
    if estimator_class is MedianSGDClassifier:
        y, first = (y > 0).astype(int), {"classes": [0, 1]}
    streams = [
        estimator_class(gradient_estimator=name, average=average, random_state=0)
        for average in (True, True, False)
    ]
    for est in streams:
        est.partial_fit(layout(X[:300]), y[:300], **first)
    streams[1].coef_ = streams[1].coef_.copy()  # as they are: nothing changes
    for est in streams:
        est.partial_fit(layout(X[300:350]), y[300:350])
    assert_array_equal(streams[0].coef_, streams[1].coef_)
    n_rows = 5 if "-median" in name else 1  # one iteration
    for est in streams[1:]:
        est.coef_, est.intercept_ = np.reshape(-w, est.coef_.shape), np.array([5.0])
        est.partial_fit(layout(X[350 : 350 + n_rows]), y[350 : 350 + n_rows])
    # The average of one iterate is that iterate.
    assert_allclose(streams[1].coef_, streams[2].coef_, rtol=1e-12)
    assert_allclose(streams[1].intercept_, streams[2].intercept_, rtol=1e-12)


def test_the_weight_of_a_class_concerns_its_own_problem():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3))
    y = rng.integers(3, size=300)
    params = {"refine": False, "max_iter": 3, "tol": None, "random_state": 0}
    plain = MedianSGDClassifier(**params).fit(X, y)
    weighted = MedianSGDClassifier(class_weight={2: 3.0}, **params).fit(X, y)
    assert_array_equal(weighted.coef_[:2], plain.coef_[:2])
    assert np.abs(weighted.coef_[2] - plain.coef_[2]).min() > 1e-3
