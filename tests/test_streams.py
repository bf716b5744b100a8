"""Streams of the regressor: what partial_fit makes of rows that come in pieces."""

import pickle
import warnings
from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
from _designs import designs
from numpy.linalg import norm
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.preprocessing import SplineTransformer

from medsgd import MedianSGDRegressor
from medsgd._fit.data import Data
from medsgd._refinement.bisquare import M_CONSTANT
from medsgd._refinement.regression import Penalty
from medsgd._refinement.stream import MOST_LATE
from medsgd._refinement.stream_sums import GramSums
from medsgd.datasets import make_contaminated_regression, make_heavy_tailed_regression

N, D, CHUNK = 10_000, 8, 500
Regressor = partial(MedianSGDRegressor, random_state=0)
KINDS = {
    "normal": partial(make_contaminated_regression, contamination=0.0),
    "30% of the targets +100": partial(
        make_contaminated_regression,
        contamination=0.3,
        outliers="shift",
        outlier_size=100.0,
    ),
    "10% bad leverage": partial(
        make_contaminated_regression,
        contamination=0.1,
        outliers="leverage",
        outlier_size=-50.0,
    ),
    "Cauchy": partial(
        make_heavy_tailed_regression, distribution="student-t", tail_index=1.0
    ),
}


def draw(kind="30% of the targets +100", n=N, seed=0):
    X, y, truth = KINDS[kind](n, D, bias=2.0, return_truth=True, random_state=seed)
    return X, y, np.append(truth.coef, truth.intercept)


def feed(est, X, y, size=CHUNK, weight=None):
    for first in range(0, len(y), size):
        chunk = slice(first, first + size)
        est.partial_fit(X[chunk], y[chunk], None if weight is None else weight[chunk])
    return est


def solution(est):
    return np.append(est.coef_, est.intercept_)


def error(est, truth):
    return np.linalg.norm(solution(est) - truth)


def assert_near(est, other, n, errors=0.1):
    """Within so many standard errors of n rows of standardised features."""
    limit = errors * other.scale_ / np.sqrt(n)
    assert_allclose(solution(est), solution(other), rtol=0, atol=limit)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_is_as_good_as_a_fit(kind):
    X, y, truth = draw(kind)
    stream, fit = feed(Regressor(), X, y), Regressor().fit(X, y)
    assert error(stream, truth) <= 1.15 * error(fit, truth)
    assert_allclose(stream.scale_, fit.scale_, rtol=0.02)


@pytest.mark.parametrize("size", [100, 3000, N])
def test_the_size_of_the_chunks_decides_little(size):
    X, y, _ = draw()
    assert_near(feed(Regressor(), X, y, size), feed(Regressor(), X, y), N)


def test_single_rows():
    X, y, _ = draw(n=2400)
    one = feed(feed(Regressor(), X[:2000], y[:2000]), X[2000:], y[2000:], 1)
    assert_near(one, Regressor().fit(X, y), 2400)


def test_before_the_first_rows_are_enough_the_median_tells():
    X, y, _ = draw(n=40)
    stream = feed(Regressor(), X, y)
    median = feed(Regressor(refine=False), X, y)
    assert_array_equal(solution(stream), solution(median))
    assert stream.scale_ == median.scale_


@pytest.mark.parametrize("size", [1, 20])
@pytest.mark.parametrize("n", [60, 100, 200, 490])
def test_few_rows_are_as_good_as_in_a_fit(n, size):
    streams, fits = [], []
    for seed in range(5):
        X, y, truth = draw("10% bad leverage", n, seed)
        streams.append(error(feed(Regressor(), X, y, size), truth))
        fits.append(error(Regressor().fit(X, y), truth))
    assert np.mean(streams) <= 1.15 * np.mean(fits)


def test_with_a_half_life_few_rows_are_no_beginning_for_good():
    X, y, truth = draw(n=3000)
    few = feed(Regressor(), X[-1000:], y[-1000:])
    assert error(feed(Regressor(half_life=1000), X, y, 50), truth) <= 2 * error(
        few, truth
    )


def test_a_chunk_sorted_by_its_targets():
    X, y, truth = draw()
    order = np.argsort(y)
    est = Regressor().partial_fit(X[order], y[order])
    assert error(est, truth) <= 1.15 * error(Regressor().fit(X, y), truth)


def test_first_rows_that_are_outliers():
    X, y, truth = draw()
    y[:CHUNK] = 1e4
    est = feed(Regressor(), X, y)
    rest = Regressor().fit(X[CHUNK:], y[CHUNK:])
    assert error(est, truth) <= 1.15 * error(rest, truth)


def test_after_a_jump_a_stream_is_as_one_that_begins_there():
    X, y, truth = draw(n=2 * N)
    y[N:] += X[N:] @ np.ones(D)
    truth[:-1] += 1
    est = feed(Regressor(), X, y)
    anew = feed(Regressor(), X[N:], y[N:])
    assert error(est, truth) <= 2 * error(anew, truth)
    assert_allclose(est.scale_, anew.scale_, rtol=0.05)


def test_a_half_life_follows_a_drift():
    X, y, truth = draw("normal", n=2 * N)
    # Too slow for a jump.
    drift = np.linspace(0, 0.5, 2 * N)
    y += drift * X[:, 0]
    truth[0] += 0.5
    forgetting, remembering = (
        feed(Regressor(half_life=half_life), X, y) for half_life in (1000, None)
    )
    assert error(forgetting, truth) < 0.5 * error(remembering, truth)


def test_an_infinite_half_life_forgets_nothing():
    X, y, _ = draw()
    endless = feed(Regressor(half_life=np.inf), X, y)
    assert_array_equal(solution(endless), solution(feed(Regressor(), X, y)))


@pytest.mark.parametrize(
    "penalty, alpha", [("l2", "auto"), ("l1", "auto"), ("elasticnet", 1.0)], ids=str
)
@pytest.mark.parametrize("half_life", [1e-3, 1.0, 40])
def test_a_half_life_of_few_rows(half_life, penalty, alpha):
    X, y, truth = draw("Cauchy", n=1300)
    est = Regressor(half_life=half_life, penalty=penalty, alpha=alpha)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        feed(feed(est, X[:1000], y[:1000]), X[1000:], y[1000:], 1)
    assert error(est, truth) < 10 * norm(truth)


@pytest.mark.parametrize("penalty", ["l2", "l1"])
def test_a_coefficient_stays_without_rows(penalty):
    X, _, truth = draw("normal", n=1200)
    X[::2, 0] = X[1000:, 0] = 0
    y = X @ truth[:-1] + truth[-1] + 0.1 * np.random.default_rng(0).normal(size=1200)
    est = feed(Regressor(penalty=penalty, alpha=1e-9), X[:1000], y[:1000])
    sums, ones = est._stream.sums, np.ones(200)
    rows = sums.rows(Data(X=X[1000:], y=y[1000:], weight=ones, given_weight=ones))
    for _ in range(150):  # for 1,500 half-lives, whose decay no number holds
        penalty = Penalty(np.ones(D))
        sums, _ = sums.with_rows(rows, y[1000:], penalty, rows.total / 10)
    assert np.isfinite(sums.b).all()
    # The rows move the other coefficients of a diagonal, and this one not.
    assert_allclose(sums.to_user()[0][0], est.coef_[0], rtol=0.005)


def test_a_weight_beyond_all_others():
    X, y, _ = draw("normal", n=2000)
    weight = np.ones(2000)
    weight[1500:1510] = 1e307
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        est = feed(Regressor(), X, y, weight=weight)
    assert np.isfinite(solution(est)).all()


@pytest.mark.parametrize("half_life", [0, -1.0, "long"])
def test_half_lives_that_are_none(half_life):
    X, y, _ = draw(n=100)
    with pytest.raises(ValueError, match="half_life"):
        Regressor(half_life=half_life).partial_fit(X, y)


def test_splines_do_not_make_a_stream_diverge():
    rng = np.random.default_rng(5)
    x = rng.standard_normal((3000, 3))
    X = SplineTransformer(include_bias=False).fit_transform(x)
    y = np.sin(x).sum(axis=1) + 0.1 * rng.standard_normal(3000)
    est, fit = feed(Regressor(), X, y, 250), Regressor().fit(X, y)
    gap = est.predict(X) - fit.predict(X)
    assert np.sqrt(np.mean(gap**2)) <= 0.1 * fit.scale_


@pytest.mark.parametrize("as_rows", [np.asarray, sp.csr_array])
def test_a_feature_that_appears_late(as_rows):
    X, y, truth = draw(n=2 * N)
    X[:, -1] = np.where(np.arange(2 * N) < 3000, 0, 50 * X[:, -1])
    y = X @ truth[:-1] + np.random.default_rng(0).normal(size=2 * N)
    est = feed(Regressor(), as_rows(X), y)
    assert_allclose(est.coef_, truth[:-1], rtol=0, atol=0.05)


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_a_flag_with_a_strong_effect_that_appears_late(share):
    X, y, truth = draw()
    rng = np.random.default_rng(0)
    X[:, -1] = (rng.random(N) < share) & (np.arange(N) > 3000)
    y = X @ truth[:-1] + 50 * X[:, -1] + rng.normal(size=N)
    y[rng.random(N) < 0.1] += 200
    est = feed(Regressor(), X, y)
    assert_allclose(est.coef_[-1], truth[-2] + 50, rtol=0, atol=0.5)


@pytest.mark.parametrize("size", [7, 50, 200])
@pytest.mark.parametrize(
    "params", [{}, {"half_life": 3000}, {"penalty": "l1", "alpha": 1e-3}]
)
def test_levels_that_come_one_after_the_other(params, size):
    rng = np.random.default_rng(0)
    level = np.arange(4200) // 300 % 7
    X = np.c_[np.eye(7)[level][:, 1:], rng.standard_normal(4200)]
    y = 10 + np.array([0, 5, -3, 4, 8, -6, 2])[level] + X[:, -1]
    y += rng.standard_normal(4200) + 100 * (rng.random(4200) < 0.05)
    stream, fit = feed(Regressor(**params), X, y, size), Regressor(**params).fit(X, y)
    assert_allclose(stream.predict(X), fit.predict(X), rtol=0, atol=0.2 * fit.scale_)


@pytest.mark.parametrize("as_rows", [np.asarray, sp.csr_array])
def test_many_levels_that_come_one_after_the_other(as_rows):
    rng = np.random.default_rng(0)
    X = np.eye(100)[np.arange(10_000) // 100][:, 1:]
    y = X @ (3 * rng.standard_normal(99)) + rng.standard_normal(10_000)
    stream = feed(Regressor(), as_rows(X), y, 50)
    # The order decides which of the nearly far rows have counted.
    gap = stream.predict(X) - Regressor().fit(X, y).predict(X)
    assert np.sqrt(np.mean(gap**2)) <= 0.5 * stream.scale_ / np.sqrt(100)


@pytest.mark.parametrize("size", [50, 200])
def test_a_level_of_outliers_is_not_known_after_its_first_row(size):
    rng = np.random.default_rng(0)
    X = np.c_[np.arange(4000) >= 2000, rng.standard_normal((4000, 2))]
    y = X @ [3.0, 1.0, 2.0] + rng.standard_normal(4000)
    y[2000:2003] = 1000
    stream = feed(Regressor(), X, y, size)
    assert_near(stream, Regressor().fit(X, y), 4000)


@pytest.mark.parametrize("change", ["shift", "scale"])
def test_rows_far_from_all_before_are_no_outliers(change):
    rng = np.random.default_rng(0)
    X = np.array([20.0, 100, 1000]) * (1 + 0.1 * rng.standard_normal((8000, 3)))
    if change == "shift":
        X[4000:] += [100, 500, 5000]
    else:
        X[4000:] *= 1.8
    y = X @ [1.0, 0.2, 0.02] + rng.standard_normal(8000)
    stream, fit = feed(Regressor(), X, y, 200), Regressor().fit(X, y)
    assert_allclose(stream.predict(X), fit.predict(X), rtol=0, atol=0.02)


@pytest.mark.parametrize("n_wrong", [200, 300])
def test_a_sensor_that_fails_for_a_while(n_wrong):
    X, y, truth = draw("normal")
    y[6000 : 6000 + n_wrong] = -999
    est = feed(Regressor(), X[:6000], y[:6000])
    for first in range(6000, 7500, 100):
        est.partial_fit(X[first : first + 100], y[first : first + 100])
        assert error(est, truth) <= 5 * est.scale_ / np.sqrt(6000 / D)


@pytest.mark.parametrize("n_new", [20, 25, 30])
def test_a_rare_flag_moves_no_further_than_its_rows(n_new):
    # Most residuals of these rows are where the bisquare is concave.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 4))
    X[:, 3] = (np.arange(3000) % 200 == 0) & (np.arange(3000) < 2500)
    X[2500 : 2500 + n_new, 3] = 1
    y = X[:, :3] @ [1, 2, 3] + rng.normal(size=3000)
    y[2500:] += 3.5 * X[2500:, 3]
    assert 0 < feed(Regressor(), X, y).coef_[3] < 3.5


def test_two_flags_that_appear_late_in_the_same_rows():
    X, _, truth = draw(n=3000)
    rng = np.random.default_rng(0)
    one = (rng.random(3000) < 0.2) & (np.arange(3000) >= 2500)
    X[:, -2], X[:, -1] = one, one & (rng.random(3000) < 0.4)
    truth[-3:-1] = 60, 90
    y = X @ truth[:-1] + rng.normal(size=3000)
    est = feed(Regressor(), X[:2500], y[:2500])
    est.partial_fit(X[2500:2750], y[2500:2750])
    assert_allclose(est.coef_[-2:], [60, 90], rtol=0, atol=1)


@pytest.mark.parametrize("as_rows", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("name", ["spp-l2", "coord-median", "geometric-median"])
def test_the_median_follows_a_feature_that_appears_late(name, as_rows):
    X, _, truth = draw(n=N)
    X[:, -1] = np.where(np.arange(N) < CHUNK, 0, 50 * X[:, -1])
    y = X @ truth[:-1] + np.random.default_rng(0).normal(size=N)
    est = feed(Regressor(gradient_estimator=name, refine=False), as_rows(X), y)
    assert_allclose(est.coef_, truth[:-1], rtol=0, atol=0.15)


def test_the_median_follows_a_feature_that_grows():
    X, _, truth = draw(n=2 * N)
    X[:, -1] *= np.geomspace(1, 1000, 2 * N)
    y = X @ truth[:-1] + np.random.default_rng(0).normal(size=2 * N)
    est = feed(Regressor(refine=False), X, y)
    assert_allclose(est.coef_, truth[:-1], rtol=0, atol=0.15)


def test_a_fit_goes_on():
    X, y, _ = draw()
    est = Regressor().fit(X[: N // 2], y[: N // 2])
    est = feed(est, X[N // 2 :], y[N // 2 :])
    assert_near(est, Regressor().fit(X, y), N)
    assert not hasattr(est, "outliers_")


def test_a_fit_of_many_rows_counts_as_many():
    X, y, _ = draw(n=3 * N)
    est = Regressor().fit(X[: 2 * N], y[: 2 * N])
    est = feed(est, X[2 * N :], y[2 * N :])
    assert_near(est, Regressor().fit(X, y), 3 * N)


def test_the_scale_after_a_fit_of_few_rows_becomes_that_of_all():
    rng = np.random.default_rng(0)
    coef, X = rng.normal(size=40), rng.normal(size=(3300, 40))
    y = X @ coef + rng.normal(size=3300)
    est = feed(Regressor().fit(X[:300], y[:300]), X[300:], y[300:])
    assert_allclose(est.scale_, Regressor().fit(X, y).scale_, rtol=0.025)


def test_whole_weights_are_copies():
    X, y, _ = draw()
    count = np.random.default_rng(0).integers(1, 4, N)
    weighted = feed(Regressor(), X, y, weight=count)
    copied = Regressor().fit(np.repeat(X, count, axis=0), np.repeat(y, count))
    assert_near(weighted, copied, N, errors=0.2)


def test_the_unit_of_weights_does_not_matter():
    X, y, _ = draw()
    weight = np.random.default_rng(0).uniform(0.5, 1, N)
    # By a power of two, which rounds nothing.
    one, other = (
        feed(Regressor(), X, y, weight=w) for w in (weight, 2.0**-20 * weight)
    )
    assert_allclose(solution(one), solution(other), rtol=1e-9)


def test_rows_of_weight_0_do_not_count():
    X, y, _ = draw(n=4000)
    weight = np.ones(8000)
    weight[1::2] = 0
    twice = np.repeat(X, 2, axis=0), np.repeat(y, 2)
    twice[1][1::2] = 1e6
    est = feed(Regressor(), *twice, 1000, weight)
    assert_allclose(solution(est), solution(feed(Regressor(), X, y)), rtol=1e-9)


@pytest.mark.parametrize(
    "params",
    [{"fit_intercept": False}, {"standardize": False, "alpha": 0.1}],
    ids=str,
)
def test_parameters_that_a_fit_has(params):
    X, y, _ = draw("normal")
    X *= np.linspace(0.5, 2, D)
    assert_near(
        feed(Regressor(**params), X, y), Regressor(**params).fit(X, y), N, errors=0.3
    )


def test_collinear_features_share_their_effect():
    X, y, _ = draw()
    X[:, 1] = X[:, 0]
    est = feed(Regressor(), X, y)
    assert_near(est, Regressor().fit(X, y), N)
    assert_allclose(est.coef_[0], est.coef_[1], rtol=1e-6)


@pytest.mark.parametrize("offset", [0, 1e3])
def test_combinations_of_other_features_have_no_large_coefficients(offset):
    rng = np.random.default_rng(2)
    Z = rng.normal(size=(3000, 4))
    X = np.column_stack([Z, Z @ rng.normal(size=(4, 6))])
    y = Z @ [1, 2, 3, 4] + rng.normal(size=3000)
    est, fit = feed(Regressor(), X + offset, y), Regressor().fit(X, y)
    assert norm(est.coef_) < 1.1 * norm(fit.coef_)
    assert_allclose(est.predict(X + offset), fit.predict(X), atol=0.02)


def test_float32():
    X, y, _ = draw()
    est = feed(Regressor(), X.astype(np.float32), y.astype(np.float32))
    assert est.coef_.dtype == est.intercept_.dtype == np.float32
    assert_near(est, feed(Regressor(), X, y), N)


def test_sparse_rows():
    X, y, _ = draw()
    X[np.random.default_rng(0).random(X.shape) < 0.7] = 0
    est = feed(Regressor(), sp.csr_array(X), y)
    assert_near(est, Regressor().fit(X, y), N)


def test_exact_targets():
    X, _, truth = draw(n=4000)
    y = X @ truth[:-1] + truth[-1]
    y[::4] = 50
    with pytest.warns(UserWarning, match="fitted without an error"):
        Regressor().fit(X, y)
    est = feed(Regressor(), X, y)
    assert_allclose(solution(est), truth, rtol=1e-6)
    assert est.scale_ == 0


def test_a_stream_with_an_l1_penalty_has_the_zeros_of_a_fit():
    rng = np.random.default_rng(0)
    n, d = 4000, 30
    X = rng.normal(size=(n, d))
    y = 2 + 3 * X[:, 0] - X[:, 1] + rng.normal(size=n) + 100 * (rng.random(n) < 0.1)
    sparse = partial(Regressor, penalty="l1", alpha=0.1)
    est, fit = feed(sparse(), X, y), sparse().fit(X, y)
    assert_array_equal(est.coef_ == 0, fit.coef_ == 0)
    assert_allclose(solution(est), solution(fit), atol=0.5 * fit.scale_ / np.sqrt(n))


def test_a_strong_penalty_shrinks_a_stream_as_much_as_a_fit():
    X, y, _ = draw()
    params = {
        "penalty": "elasticnet",
        "alpha": 1.0,
        "l1_ratio": 1e-3,
        "standardize": False,
    }
    est, fit = feed(Regressor(**params), X, y), Regressor(**params).fit(X, y)
    assert_allclose(norm(est.coef_), norm(fit.coef_), rtol=5e-3)


def test_a_stream_with_an_l1_penalty_and_features_that_are_nearly_equal():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(4000, 1))
    X = z + 0.05 * rng.normal(size=(4000, 200))
    y = 3 * z[:, 0] + rng.normal(size=4000)
    est = Regressor(penalty="l1", alpha=1e-3).fit(X[:1100], y[:1100])
    before = (est.predict(X) - 3 * z[:, 0]).std()
    feed(est, X[1100:], y[1100:], 100)
    assert (est.predict(X) - 3 * z[:, 0]).std() < 1.1 * before


def wide(n, d, layout, seed=0):
    """Rows of 20 entries, or full ones; 10% of the targets are wrong."""
    rng = np.random.default_rng(seed)
    if layout == "dense":
        X = rng.normal(size=(n, d))
    else:
        entries = rng.normal(size=20 * n), rng.integers(0, d, 20 * n)
        X = sp.csr_array((*entries, np.arange(0, 20 * n + 1, 20)), shape=(n, d))
        X.sum_duplicates()
    coef = rng.normal(size=d)
    return X, X @ coef + rng.normal(size=n) + 100 * (rng.random(n) < 0.1), coef


@pytest.mark.parametrize(
    "n, d, layout", [(12_000, 2200, "sparse"), (5000, 600, "dense")], ids=str
)
def test_a_wide_stream_is_nearly_as_good_as_a_fit(n, d, layout):
    X, y, coef = wide(n, d, layout)
    est, fit = feed(Regressor(), X, y), Regressor().fit(X, y)
    assert norm(est.coef_ - coef) < 1.5 * norm(fit.coef_ - coef)


def test_a_wide_stream_goes_on_from_a_fit():
    X, y, coef = wide(20_000, 2200, "sparse")
    est = Regressor().fit(X[:10_000], y[:10_000])
    before = norm(est.coef_ - coef)
    feed(est, X[10_000:], y[10_000:])
    assert norm(est.coef_ - coef) < 0.85 * before


def check_a_pickle_goes_on(est, X, y):
    """The same bits as without, with calls of few rows and of many."""
    copy = pickle.loads(pickle.dumps(est))
    for one in (est, copy):
        feed(feed(one, X[:30], y[:30], 10), X[30:], y[30:])
    assert_array_equal(solution(copy), solution(est))
    assert copy.scale_ == est.scale_


@pytest.mark.parametrize("as_rows", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("penalty", ["l2", "l1"])
@pytest.mark.parametrize("n_before", [10, 400, 500, 510, 2000, 3250, 8000])
def test_a_pickle_goes_on(n_before, penalty, as_rows):
    X, y, _ = draw(n=n_before + 1800)
    X, est = as_rows(X), Regressor(penalty=penalty, alpha=0.01)
    feed(est, X[:n_before], y[:n_before])
    stream = est._stream
    # Before the exact refinement, just after it and while rows wait.
    assert (stream.sums is None) == (n_before < (500 if penalty == "l1" else 45))
    assert stream.waiting.n_rows == (10 if n_before == 510 else 0)
    if penalty == "l2" and n_before != 3250:
        assert stream.n_begun == {10: 0, 400: 125, 510: 500}.get(n_before, n_before)
    check_a_pickle_goes_on(est, X[n_before:], y[n_before:])


@pytest.mark.parametrize("penalty", ["l2", "l1"])
def test_a_pickle_goes_on_while_a_stream_begins_anew(penalty):
    X, y, _ = draw(n=6000)
    y[2000:] = 1e3 * X[2000:, 0]
    est = feed(Regressor(penalty=penalty, alpha=0.01), X[:2000], y[:2000])
    n = 2000
    while est._stream.sums is not None:
        feed(est, X[n : n + 10], y[n : n + 10])
        n += 10
    assert est._stream.first.n_rows > 0
    check_a_pickle_goes_on(est, X[n:], y[n:])


def test_the_state_does_not_grow():
    X, y, _ = draw(n=20_000)
    est = Regressor()
    # Up to 8,000 rows are kept, of which the refinement begins again.
    sizes = [
        len(pickle.dumps(feed(est, X[rows], y[rows])))
        for rows in (slice(0, N), slice(N, 20_000))
    ]
    assert sizes[1] == pytest.approx(sizes[0], abs=100)


def test_a_clone_has_seen_nothing():
    X, y, _ = draw(n=3000)
    est = feed(Regressor(half_life=500.0), X, y)
    fresh = clone(est)
    assert fresh.half_life == 500
    assert_array_equal(solution(feed(fresh, X, y)), solution(est))


def test_a_call_that_fails_changes_nothing():
    X, y, _ = draw(n=3000)
    est = feed(Regressor(), X, y)
    before = pickle.dumps(est)
    with pytest.raises(ValueError, match="NaN"):
        est.partial_fit(X, np.full(len(y), np.nan))
    assert pickle.dumps(est) == before


def test_coefficients_set_by_hand_begin_anew():
    X, y, truth = draw()
    est = feed(Regressor(), X, -y)
    est.coef_, est.intercept_ = truth[:-1], truth[-1:]
    est.partial_fit(X[:CHUNK], y[:CHUNK])
    assert error(est, truth) < 0.5
    anew = feed(Regressor(), X, y)
    assert_near(feed(est, X[CHUNK:], y[CHUNK:]), anew, N, errors=1)


def test_refine_can_be_turned_off_and_on():
    X, y, truth = draw()
    est = feed(Regressor(), X, y)
    refined = error(est, truth)
    feed(est.set_params(refine=False), X, y)
    assert error(est, truth) > refined
    feed(est.set_params(refine=True), X, y)
    assert error(est, truth) < 1.15 * refined


@pytest.mark.parametrize("refine", [True, False])
@pytest.mark.parametrize("size", [1, CHUNK])
def test_a_stream_that_diverges_says_so(size, refine):
    X, y, _ = draw(n=1500)
    est = Regressor(learning_rate="constant", eta0=5.0, refine=refine)
    with pytest.raises(ValueError, match=r"stream diverges: .* Lower eta0=5, "):
        feed(est, X, y, size)
    assert not hasattr(est, "coef_") or np.isfinite(est.coef_).all()


@pytest.mark.parametrize("offset, unit", [(0, 1e-9), (1e6, 1), (0, 1e9)])
def test_the_unit_of_the_targets_is_no_divergence(offset, unit):
    X, y, _ = draw(n=3000)
    est = feed(Regressor(), X, unit * y + offset)
    assert_allclose(est.coef_, unit * feed(Regressor(), X, y).coef_, rtol=1e-6)


def test_targets_in_a_new_unit_are_no_divergence():
    X, y, truth = draw(n=2 * N)
    y[N:] *= 1e8
    est = feed(Regressor(), X, y)
    assert_allclose(est.coef_, 1e8 * truth[:-1], atol=1e7)


def test_rows_whose_norm_overflows_do_not_diverge():
    X = np.random.default_rng(0).normal(size=(40, 2)) * 1e200
    est = MedianSGDRegressor(standardize=False, eta0=1e-3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        est.partial_fit(X, np.ones(40))
    assert_array_equal(est.coef_, 0)


def test_a_half_life_forgets_both_sides_of_the_equations():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(6000, 3))
    y = X @ [1, -2, 3] + rng.normal(size=6000)
    est = MedianSGDRegressor(half_life=500, random_state=0)
    for rows in np.split(np.arange(6000), 12):
        est.partial_fit(X[rows], y[rows])
    assert_allclose(est.coef_, [1, -2, 3], atol=5 / np.sqrt(700))


@pytest.mark.parametrize("size", [20, 250])
def test_a_sudden_change_of_a_unit(size):
    rng = np.random.default_rng(0)
    X, coef = rng.normal(size=(9000, 5)), np.array([3.0, -2.0, 1.0, 0.0, 1.0])
    y = X @ coef + rng.normal(size=9000)
    X[6000:, 0] *= 1000
    est = feed(Regressor(), X[:6000], y[:6000])
    feed(est, X[6000:], y[6000:], size)
    coef[0] /= 1000
    gap = (X[6000:] @ (est.coef_ - coef)).std()
    # All rows but the few until the change is noticed count.
    assert gap < 2 * np.sqrt(5 / 2000)


@pytest.mark.parametrize("size", [1, 5])
def test_small_calls_in_another_unit_are_no_divergence(size):
    X, y, _ = draw("normal", n=3000)
    X[2000:, 0] *= 1000
    est = feed(Regressor(refine=False), X[:2000], y[:2000])
    feed(est, X[2000:], y[2000:], size)
    # In units that stay as they were, predictions grow to a million times this.
    assert (est.predict(X[2000:]) - y[2000:]).std() < 1000 * y.std()


def test_a_burst_of_wild_rows_does_not_spoil_the_units():
    X, y, _ = draw("normal")
    wild = feed(Regressor(), X[:5000], y[:5000])
    wild.partial_fit(1e6 * X[:200], y[:200])
    feed(wild, X[5000:], y[5000:])
    assert_near(wild, Regressor().fit(X, y), N, errors=0.5)


@pytest.mark.parametrize("n_before", [300, 4000, 9500])
@pytest.mark.parametrize("penalties", [("l1", None), (None, "l1")], ids=str)
def test_a_penalty_that_changes(penalties, n_before):
    X, y, _ = draw(n=14_000)
    before, after = ({"penalty": p, "alpha": 0.1} for p in penalties)
    est = feed(Regressor(**before), X[:n_before], y[:n_before])
    feed(est.set_params(**after), X[n_before:], y[n_before:])
    fit = Regressor(**after).fit(X, y)
    assert_near(est, fit, len(y), errors=3)


def test_a_unit_that_grows_beyond_what_its_dtype_represents():
    X, y, _ = draw(n=4000)
    X[2000:, 0] *= 1e200
    X[:2000, 0] *= 1e-200
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with pytest.raises(ValueError, match="The stream diverges"):
            feed(Regressor(), X, y)


@pytest.mark.parametrize("gap", [1e-4, 1e-6])
def test_nearly_equal_features_keep_what_the_first_rows_know(gap):
    rng = np.random.default_rng(0)
    x = rng.normal(size=2500)
    difference = rng.normal(size=2500)
    X = np.c_[x, x + gap * difference, rng.normal(size=(2500, 3))]
    y = X @ [1, 1, 2, 3, 4] + difference + 1e-3 * rng.normal(size=2500)
    stream, fit = Regressor().partial_fit(X, y), Regressor().fit(X, y)
    gap = stream.predict(X) - fit.predict(X)
    assert np.sqrt(np.mean(gap**2)) <= 0.5 * fit.scale_ * np.sqrt(6 / 2500)


def test_bad_leverage_points_that_come_all_the_time_are_no_new_rows():
    design = designs.draw("leverage 40%", 0)
    rows = np.random.default_rng(0).permutation(np.arange(6000) % len(design.y))
    X, y = design.X[rows], design.y[rows]
    stream, fit = feed(Regressor(), X, y), Regressor().fit(X, y)
    gap = stream.predict(design.X) - fit.predict(design.X)
    assert np.sqrt(np.mean(gap[~design.bad] ** 2)) <= 0.02 * fit.scale_


def test_a_few_bad_leverage_points_of_which_none_came_before():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3))
    y = X.sum(axis=1) + 0.5 * rng.normal(size=400)
    bad = np.arange(200, 206)
    X[bad] = 40 * (1 + 0.02 * rng.normal(size=(6, 3)))
    y[bad] = 120 - 8
    est, good = (feed(Regressor(), X[:200], y[:200], 100) for _ in range(2))
    est.partial_fit(X[200:], y[200:])
    good.partial_fit(X[206:], y[206:])
    assert_allclose(est.coef_, good.coef_, atol=0.01)


@pytest.mark.parametrize("seed", range(30))
def test_no_piece_of_a_stream_raises_its_objective(seed):
    rng = np.random.default_rng(seed)
    n, d, n_before, known, l2 = 20, 2, 5.0, 3 * rng.exponential(), 0.01
    X, y, start = rng.normal(size=(n, d)), 4 * rng.normal(size=n), rng.normal(size=d)
    sums = GramSums(
        center=np.zeros(d),
        inverse_scale=np.ones(d),
        y_center=0.0,
        y_scale=1.0,
        weight_unit=1.0,
        floor=1e-9,
        gram=known * np.eye(d),
        moments=known * start,
        total=n_before,
        rejected=np.zeros(d),
        b=start,
        scale=1.0,
    )
    ones = np.ones(n)
    rows = sums.rows(Data(X=X, y=y, weight=ones, given_weight=ones))

    def objective(b):
        share = np.minimum(((y - X @ b) / M_CONSTANT) ** 2, 1)
        loss = M_CONSTANT**2 / 6 * np.sum(1 - (1 - share) ** 3)
        held = (n_before + n) * l2 * b @ b
        return loss + (known * np.sum((b - start) ** 2) + held) / 2

    after, _ = sums.with_rows(rows, y, Penalty(np.ones(d), l2), np.inf)
    assert objective(after.b) <= objective(start) + 1e-9


@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("share, n, size", [(0.004, 15_000, 100), (0.001, 30_000, 500)])
def test_a_level_that_is_late_and_rare(share, n, size, layout):
    rng = np.random.default_rng(0)
    X = np.c_[rng.normal(size=(n, 3)), rng.random(n) < share]
    X[:11_000, 3] = 0
    y = X @ [1, 2, 3, 20] + rng.normal(size=n)
    est = feed(Regressor(), layout(X), y, size)
    error = est.coef_ - np.linalg.lstsq(np.c_[X, np.ones(n)], y)[0][:4]
    assert np.all(np.abs(error) * np.sqrt((X**2).sum(axis=0)) < 0.5)


def test_late_rows_of_many_kinds_do_not_fill_the_memory():
    rng = np.random.default_rng(0)
    X = np.zeros((7800, 195))
    X[:, :3] = rng.normal(size=(7800, 3))
    X[np.arange(3000, 7800, 25), np.arange(3, 195)] = 1
    y = X[:, :3] @ [1, 2, 3] + 20 * X[:, 3:].any(axis=1) + rng.normal(size=7800)
    est = feed(Regressor(), X, y, 100)
    assert est._stream.late.n_rows == MOST_LATE
    assert_allclose(est.coef_[:3], [1, 2, 3], atol=0.05)


@pytest.mark.parametrize("weight", [1000.0, 100_000.0])
def test_weights_that_count_many_copies_delay_no_row(weight):
    X, y, _ = draw("normal", n=900)
    copies = np.full(len(y), weight)
    one, many = (feed(Regressor(), X, y, 50, each) for each in (None, copies))
    assert_allclose(solution(many), solution(one), rtol=1e-3, atol=1e-3)
