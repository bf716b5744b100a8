"""Streams of the classifier: what partial_fit makes of rows that come in pieces."""

import pickle
import warnings
from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from medsgd import MedianSGDClassifier

N, D, CHUNK = 10_000, 8, 500
Classifier = partial(MedianSGDClassifier, random_state=0)


def draw(n=N, n_classes=2, noise=0.1, seed=0):
    """Rows of a multinomial model, with random labels among them; coefficients."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, D)) @ (np.eye(D) + 0.2 * rng.normal(size=(D, D)))
    W = 0.7 * rng.normal(size=(D, n_classes))
    logits = X @ W + np.linspace(0, 1, n_classes)
    y = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    wrong = rng.random(n) < noise
    y[wrong] = rng.integers(0, n_classes, wrong.sum())
    return X, y, W


def feed(est, X, y, size=CHUNK, weight=None, classes=None):
    classes = np.unique(y) if classes is None else classes
    for first in range(0, len(y), size):
        chunk = slice(first, first + size)
        given = None if weight is None else weight[chunk]
        est.partial_fit(X[chunk], y[chunk], classes=classes, sample_weight=given)
    return est


def assert_near(est, other, X, limit=0.02):
    """Probabilities differ by less than the limit, on average."""
    assert np.abs(est.predict_proba(X) - other.predict_proba(X)).mean() < limit


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("noise", [0, 0.2])
def test_a_stream_is_as_good_as_a_fit(n_classes, noise):
    X, y, _ = draw(n_classes=n_classes, noise=noise)
    test, labels, W = draw(20_000, n_classes, 0)
    logits = test @ W + np.linspace(0, 1, n_classes)
    best = log_loss(labels, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    stream, fit = feed(Classifier(), X, y), Classifier().fit(X, y)
    own, theirs = (
        log_loss(labels, m.predict_proba(test)) - best for m in (stream, fit)
    )
    assert own <= 1.15 * theirs + 2e-4
    assert stream.score(test, labels) >= fit.score(test, labels) - 0.003


@pytest.mark.parametrize("size", [7, 100, 3000, N])
def test_the_size_of_the_chunks_decides_little(size):
    X, y, _ = draw()
    assert_near(feed(Classifier(), X, y, size), feed(Classifier(), X, y), X, 0.005)


def test_single_rows():
    X, y, _ = draw(n=4400)
    one = feed(feed(Classifier(), X[:4000], y[:4000]), X[4000:], y[4000:], 1)
    assert_near(one, Classifier().fit(X, y), X, 0.01)


def test_before_the_first_rows_are_enough_the_median_tells():
    X, y, _ = draw(n=900)
    stream, median = (feed(Classifier(refine=r), X, y, 300) for r in (True, False))
    assert_array_equal(stream.coef_, median.coef_)
    assert_array_equal(stream.predict_proba(X), median.predict_proba(X))


def test_probabilities_are_those_of_the_multinomial_model():
    X, y, _ = draw(n=2000, n_classes=3)
    est = feed(Classifier(), X, y)
    logits = X @ est.coef_.T + est.intercept_
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert_allclose(est.predict_proba(X), expected)
    assert_allclose(est.predict_log_proba(X), np.log(expected))


@pytest.mark.parametrize("size", [20, 250])
def test_chunks_of_one_class(size):
    X, y, _ = draw()
    blocks = np.arange(N).reshape(-1, 1000)
    order = np.concatenate([rows[np.argsort(y[rows])] for rows in blocks])
    est = feed(Classifier(), X[order], y[order], size)
    assert_near(est, Classifier().fit(X, y), X)


def test_first_chunks_of_one_class():
    X, y, _ = draw()
    first = np.flatnonzero(y == 0)[:3000]
    rest = np.setdiff1d(np.arange(N), first)
    est = feed(Classifier(), X[first], y[first], classes=[0, 1])
    assert np.isfinite(est.coef_).all()
    feed(est, X[rest], y[rest])
    assert est.score(X[rest], y[rest]) > Classifier().fit(X, y).score(X, y) - 0.03


def test_a_call_sorted_by_its_labels():
    X, y, _ = draw(n_classes=3)
    order = np.argsort(y)
    est = Classifier().partial_fit(X[order], y[order], classes=[0, 1, 2])
    assert_near(est, Classifier().fit(X, y), X)


def test_a_stream_sorted_by_its_labels_recovers():
    X, y, _ = draw()
    order = np.argsort(y)
    est = feed(feed(Classifier(), X[order], y[order]), X, y)
    assert est.score(X, y) > Classifier().fit(X, y).score(X, y) - 0.01


def test_a_class_that_comes_late():
    X, y, _ = draw(n_classes=4)
    order = np.concatenate([np.flatnonzero(y[:3000] != 3), np.arange(3000, N)])
    est = feed(Classifier(), X[order], y[order], classes=range(4))
    assert_near(est, Classifier().fit(X, y), X, 0.05)
    share = est.predict_proba(X)[:, 3].mean()
    assert_allclose(share, np.mean(y == 3), atol=0.06)


def test_the_first_rows_of_a_class_are_no_reason_to_predict_no_other():
    X, y, _ = draw(n_classes=4)
    known, new = y < 3, np.flatnonzero(y == 3)[:40]
    est = feed(Classifier(), X[known], y[known], classes=range(4))
    before = est.score(X[known], y[known])
    est.partial_fit(X[new], y[new])
    assert est.score(X[known], y[known]) > before - 0.05


@pytest.mark.parametrize("kind", ["wild rows", "swapped labels"])
def test_first_rows_that_are_outliers(kind):
    X, y, _ = draw()
    clean = Classifier().fit(X[CHUNK:], y[CHUNK:])
    if kind == "wild rows":
        X[:CHUNK] = 100 * np.random.default_rng(1).normal(size=(CHUNK, D))
        y[:CHUNK] = 0
    else:
        y[:CHUNK] = 1 - y[:CHUNK]
    est = feed(Classifier(), X, y)
    assert_near(est, clean, X[CHUNK:], 0.03)


def test_after_a_jump_a_stream_is_as_one_that_begins_there():
    X, y, _ = draw()
    est = feed(Classifier(), np.vstack([X, X]), np.concatenate([y, 1 - y]))
    assert_near(est, feed(Classifier(), X, 1 - y), X, 0.02)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("change", [1000, 1e-3, 100, "one", "celsius", "kelvin"])
def test_after_a_change_of_units_a_stream_is_as_a_fit_to_the_rows_since(
    change, n_classes
):
    X, y, _ = draw(n_classes=n_classes)
    if change == "one":
        X[3000:, -1] *= 1000
    elif change == "celsius":
        X = 20 + 8 * X
        X[3000:] = 1.8 * X[3000:] + 32
    elif change == "kelvin":
        X = 20 + 8 * X
        X[3000:] += 273.15
    else:
        X[3000:] *= change
    est, fit = feed(Classifier(), X, y), Classifier().fit(X[3000:], y[3000:])
    own, theirs = (log_loss(y[3000:], m.predict_proba(X[3000:])) for m in (est, fit))
    assert own < theirs + 0.005


@pytest.mark.parametrize("begin", ["fit", "partial_fit"])
def test_a_change_of_units_in_the_second_call(begin):
    X, y, _ = draw()
    X[3000:] *= 1000
    est = Classifier()
    getattr(est, begin)(
        X[:3000], y[:3000], **({} if begin == "fit" else {"classes": [0, 1]})
    )
    feed(est, X[3000:], y[3000:], 3500)
    assert_near(est, Classifier().fit(X[3000:], y[3000:]), X[3000:])


def test_a_change_of_units_of_many_parameters():
    rng = np.random.default_rng(0)
    center = 0.8 * rng.normal(size=(20, 30))
    y = rng.integers(0, 20, N)
    X = center[y] + rng.normal(size=(N, 30))
    X[3000:] *= 1000
    est = feed(Classifier(), X, y)
    assert_near(est, Classifier().fit(X[3000:], y[3000:]), X[3000:])


def test_a_jump_after_a_change_of_units():
    X, y, _ = draw(n=2 * N)
    X[2000:] *= 1000
    y[N:] = 1 - y[N:]
    est = feed(Classifier(), X, y)
    assert_near(est, Classifier().fit(X[N:], y[N:]), X[N:])


def test_a_feature_that_grows_is_no_reason_to_begin_anew():
    X, _, W = draw(noise=0)
    X[:, 0] *= np.linspace(1, 20, N) ** 1.5
    w = W[:, 1] - W[:, 0]
    w[0] /= 50
    rng = np.random.default_rng(0)
    y = (rng.random(N) < 1 / (1 + np.exp(-X @ w))).astype(int)
    assert_near(feed(Classifier(), X, y), Classifier().fit(X, y), X, 0.005)


def test_outlying_rows_in_between_are_no_reason_to_begin_anew():
    X, y, _ = draw()
    clean, test = feed(Classifier(), X, y), X.copy()
    wild = slice(6000, 6300)
    X[wild] *= 100
    y[wild] = np.random.default_rng(0).integers(0, 2, 300)
    assert_near(feed(Classifier(), X, y), clean, test, 0.01)


def test_a_half_life_follows_a_drift():
    X, _, W = draw(n=2 * N, noise=0)
    rng = np.random.default_rng(0)
    W = W[:, 1] - W[:, 0]
    logits = X @ W + np.linspace(-1, 1, 2 * N) * X[:, 0]
    y = (rng.random(2 * N) < 1 / (1 + np.exp(-logits))).astype(int)
    following, remembering = (
        feed(Classifier(half_life=half_life), X, y) for half_life in (1500, None)
    )
    W[0] += 1
    error = [np.linalg.norm(m.coef_[0] - W) for m in (following, remembering)]
    assert error[0] < 0.7 * error[1]


def test_an_infinite_half_life_forgets_nothing():
    X, y, _ = draw()
    endless = feed(Classifier(half_life=np.inf), X, y)
    assert_array_equal(endless.coef_, feed(Classifier(), X, y).coef_)


@pytest.mark.parametrize("as_rows", [np.asarray, sp.csr_array])
def test_a_feature_that_appears_late(as_rows):
    X, _, W = draw(n=2 * N, noise=0)
    X[:1500, -1] = 0
    X[:, -1] *= 50
    w = np.append((W[:, 1] - W[:, 0])[:-1], 0.02)
    rng = np.random.default_rng(0)
    y = (rng.random(2 * N) < 1 / (1 + np.exp(-X @ w))).astype(int)
    est = feed(Classifier(), as_rows(X), y)
    assert_allclose(est.coef_[0], w, rtol=0.1, atol=0.1)
    assert_allclose(est.coef_[0, -1], 0.02, rtol=0.15)


def test_the_median_follows_a_feature_that_appears_late():
    X, y, _ = draw(n=2 * N)
    X[:, -1] *= 50
    late = X.copy()
    late[:CHUNK, -1] = 0
    est = feed(Classifier(refine=False), late, y)
    assert est.score(X, y) > feed(Classifier(refine=False), X, y).score(X, y) - 0.01


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_fit_goes_on(n_classes):
    gaps = []
    for seed in range(3):
        X, y, _ = draw(n_classes=n_classes, seed=seed)
        est = Classifier().fit(X[: N // 2], y[: N // 2])
        feed(est, X[N // 2 :], y[N // 2 :])
        fit = Classifier().fit(X, y)
        gaps.append(np.abs(est.predict_proba(X) - fit.predict_proba(X)).mean())
    assert np.mean(gaps) < 0.005
    assert not hasattr(est, "weights_")


def test_a_fit_goes_on_with_one_row():
    X, y, _ = draw()
    est = Classifier().fit(X, y)
    before = est.predict_proba(X)
    assert_allclose(est.partial_fit(X[:1], y[:1]).predict_proba(X), before, atol=1e-6)


def test_rows_of_weight_0_do_not_count():
    X, y, _ = draw(n=4000)
    weight = np.ones(8000)
    weight[1::2] = 0
    twice, labels = np.repeat(X, 2, axis=0), np.repeat(y, 2)
    twice[1::2], labels[1::2] = 1e6, 0
    est = feed(Classifier(), twice, labels, 1000, weight)
    assert_allclose(est.coef_, feed(Classifier(), X, y).coef_, rtol=1e-9)


def test_the_unit_of_weights_does_not_matter():
    X, y, _ = draw(n=5000)
    weight = np.random.default_rng(0).uniform(0.5, 1, len(y))
    one, other = (
        feed(Classifier(), X, y, weight=w).coef_ for w in (weight, 2.0**-20 * weight)
    )
    assert_allclose(one, other, rtol=1e-9)


def test_class_weights_are_weights_of_rows():
    X, y, _ = draw()
    weighted = feed(Classifier(class_weight={0: 1, 1: 3}), X, y)
    given = feed(Classifier(), X, y, weight=np.where(y == 1, 3.0, 1.0))
    assert_near(weighted, given, X, 0.01)


@pytest.mark.parametrize(
    "params",
    [{"fit_intercept": False}, {"standardize": False}, {"alpha": 0.1}],
    ids=str,
)
def test_parameters_that_a_fit_has(params):
    X, y, _ = draw()
    est = feed(Classifier(**params), X, y)
    assert_near(est, Classifier(**params).fit(X, y), X, 0.01)


def test_float32():
    X, y, _ = draw()
    est = feed(Classifier(), X.astype(np.float32), y)
    assert est.coef_.dtype == est.intercept_.dtype == np.float32
    assert_near(est, feed(Classifier(), X, y), X, 0.005)


def test_labels_of_any_kind():
    X, y, _ = draw(n=3000, n_classes=3)
    names = np.array(["b", "c", "d"])
    est = feed(Classifier(), X, names[y])
    assert_array_equal(est.coef_, feed(Classifier(), X, y).coef_)
    assert_array_equal(est.predict(X), names[feed(Classifier(), X, y).predict(X)])


def test_features_far_from_zero():
    X, y, _ = draw()
    assert_allclose(
        feed(Classifier(), X + 1e4, y).coef_, feed(Classifier(), X, y).coef_, rtol=1e-4
    )


@pytest.mark.parametrize("n_rare", [0, 1000])
def test_sparse_features_far_from_zero(n_rare):
    # With many features there are no matrices of curvatures.
    X, y, _ = draw(noise=0)
    rng = np.random.default_rng(0)
    rare = sp.random_array((N, n_rare), density=0.002, random_state=rng, format="csr")
    near, far = (sp.hstack([sp.csr_array(Z), rare]).tocsr() for Z in (X, X + 100))
    stream, other = feed(Classifier(), far, y), feed(Classifier(), near, y)
    differences = stream.predict_proba(far) - other.predict_proba(near)
    assert np.abs(differences).mean() < 0.01


def test_zeros_that_are_stored_in_a_sparse_feature_far_from_zero():
    # With many features there are no matrices of curvatures.
    X, y, _ = draw(6000, noise=0)
    rng = np.random.default_rng(0)
    X += 100
    X[4000:4500, 0] = 0
    X = np.c_[X, rng.random((6000, 1000)) < 0.002]
    stored, rows = (
        sp.csr_array(X + (X == 0) * (np.arange(D + 1000) < D)),
        sp.csr_array(X),
    )
    stored.data[(stored.data == 1) & (stored.indices < D)] = 0
    one, other = feed(Classifier(), stored, y), feed(Classifier(), rows, y)
    assert stored.nnz > rows.nnz
    assert_allclose(one.coef_, other.coef_, rtol=1e-6, atol=1e-9)


def test_passes_over_few_rows_do_not_memorise_wrong_labels():
    X, y = load_digits(return_X_y=True)
    A, B, a, b = train_test_split(X, y, random_state=0, stratify=y)
    rng = np.random.default_rng(0)
    a = np.where(rng.random(len(a)) < 0.4, rng.integers(0, 10, len(a)), a)
    est = Classifier()
    for _ in range(10):
        order = rng.permutation(len(a))
        feed(est, A[order], a[order], 135)
    assert est.score(B, b) >= Classifier().fit(A, a).score(B, b)


def hashed_texts(n=2500, seed=0):
    """Sentences of common words and of words of three topics."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    common, own = rng.zipf(1.3, (n, 30)) % 5000, rng.integers(0, 1000, (n, 4))
    words = np.hstack([common, 10_000 * (1 + y[:, np.newaxis]) + own])
    texts = [" ".join(f"w{word}" for word in row) for row in words]
    return HashingVectorizer(n_features=2**16).transform(texts), y


@pytest.mark.parametrize("size", [50, 500])
def test_hashed_texts(size):
    X, y = hashed_texts()
    A, B, a, b = train_test_split(X, y, random_state=0)
    theirs = feed(SGDClassifier(loss="log_loss", random_state=0), A, a, size)
    assert feed(Classifier(), A, a, size).score(B, b) >= theirs.score(B, b)


def test_wide_rows():
    rng = np.random.default_rng(0)
    d = 2000
    X = sp.random_array((8000, d), density=0.01, random_state=rng, format="csr")
    w = 6 * rng.normal(size=d)
    y = (rng.random(8000) < 1 / (1 + np.exp(-(X @ w)))).astype(int)
    A, B, a, b = X[:6000], X[6000:], y[:6000], y[6000:]
    stream, fit = feed(Classifier(), A, a), Classifier().fit(A, a)
    own, theirs = (log_loss(b, m.predict_proba(B)) for m in (stream, fit))
    assert own < 1.2 * theirs
    dense = feed(Classifier(), A.toarray()[:3000], a[:3000])
    assert_near(dense, feed(Classifier(), A[:3000], a[:3000]), B, 0.1)


def test_words_that_come_late_count_as_much_as_others():
    rng = np.random.default_rng(0)
    n, d = 3500, 1000
    X = sp.random_array((n, d), density=0.01, random_state=rng, format="csr") * 0.01
    late = np.arange(d) < 500
    w = np.where(late, 600 * rng.normal(size=d), 0)
    X = sp.csr_array(X.multiply(~late | (np.arange(n) >= 1000)[:, np.newaxis]))
    y = (X @ w + rng.logistic(size=n) > 0).astype(int)
    est = feed(Classifier(), X, y)
    assert est.score(X, y) > 0.75


@pytest.mark.parametrize(
    "params", [{"penalty": "l1"}, {"refine": False}, {"loss": "hinge"}], ids=str
)
def test_streams_of_the_median_alone(params):
    X, y, _ = draw(n=3000)
    est, other = (
        feed(Classifier(**each), X, y) for each in (params, {**params, "refine": False})
    )
    assert_array_equal(est.coef_, other.coef_)


def check_a_pickle_goes_on(est, X, y):
    """The same bits as without, with calls of few rows and of many."""
    copy = pickle.loads(pickle.dumps(est))
    for one in (est, copy):
        feed(feed(one, X[:30], y[:30], 10), X[30:], y[30:])
    assert_array_equal(copy.coef_, est.coef_)
    assert_array_equal(copy.predict_proba(X[:9]), est.predict_proba(X[:9]))


@pytest.mark.parametrize("as_rows", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("n_before", [10, 700, 1000, 1010, 3250, 4000, 4600])
def test_a_pickle_goes_on(n_before, as_rows):
    X, y, _ = draw(n=n_before + 1400)
    X, est = as_rows(X), Classifier()
    feed(est, X[:n_before], y[:n_before], classes=[0, 1])
    stream = est._stream
    # Before the first second stage, just after it and while rows wait.
    assert (stream.sums is None) == (n_before < 1000)
    assert stream.waiting.n_rows == (10 if n_before == 1010 else 0)
    n_begun = {10: 0, 700: 0, 1010: 1000, 3250: 1000, 4600: 4000}
    assert stream.n_begun == n_begun.get(n_before, n_before)
    check_a_pickle_goes_on(est, X[n_before:], y[n_before:])


def test_a_pickle_goes_on_while_a_stream_begins_anew():
    X, y, _ = draw(noise=0)
    y[2000:] = 1 - y[2000:]
    est, n = feed(Classifier(), X[:2000], y[:2000]), 2000
    while est._stream.sums is not None:
        feed(est, X[n : n + 100], y[n : n + 100])
        n += 100
    feed(est, X[n : n + 100], y[n : n + 100])
    assert est._stream.sums is None
    assert est._stream.first.n_rows > 0
    check_a_pickle_goes_on(est, X[n + 100 :][:2500], y[n + 100 :][:2500])


def test_the_state_does_not_grow():
    X, y, _ = draw()
    est = Classifier()
    sizes = [
        len(pickle.dumps(feed(est, X[rows], y[rows])))
        for rows in (slice(0, 5000), slice(5000, N))
    ]
    assert sizes[1] == pytest.approx(sizes[0], abs=100)


def test_a_clone_has_seen_nothing():
    X, y, _ = draw(n=3000)
    est = feed(Classifier(half_life=500.0), X, y)
    fresh = clone(est)
    assert fresh.half_life == 500
    assert_array_equal(feed(fresh, X, y).coef_, est.coef_)


def test_a_call_that_fails_changes_nothing():
    X, y, _ = draw(n=3000)
    est = feed(Classifier(), X, y)
    before = pickle.dumps(est)
    with pytest.raises(ValueError, match="NaN"):
        est.partial_fit(np.full_like(X, np.nan), y)
    assert pickle.dumps(est) == before


def test_coefficients_set_by_hand_begin_anew():
    X, y, _ = draw()
    fit, est = Classifier().fit(X, y), feed(Classifier(), X, 1 - y)
    est.coef_, est.intercept_ = fit.coef_, fit.intercept_
    est.partial_fit(X[:CHUNK], y[:CHUNK])
    assert est.score(X, y) > 0.6
    assert_near(feed(est, X[CHUNK:], y[CHUNK:]), fit, X)


def test_refine_can_be_turned_off_and_on():
    X, y, _ = draw()
    est = feed(Classifier(), X, y)
    refined = est.predict_proba(X)
    feed(est.set_params(refine=False), X, y)
    assert np.abs(est.predict_proba(X) - refined).mean() > 0.005
    feed(est.set_params(refine=True), X, y)
    assert np.abs(est.predict_proba(X) - refined).mean() < 0.005


@pytest.mark.parametrize("refine", [True, False])
@pytest.mark.parametrize("loss", ["log_loss", "squared_hinge"])
def test_a_stream_that_diverges_says_so(loss, refine):
    X, y, _ = draw(n=1500)
    params = {"learning_rate": "constant", "eta0": 1e7, "loss": loss, "refine": refine}
    with pytest.raises(ValueError, match=r"stream diverges: .* Lower eta0=1e\+07, "):
        feed(Classifier(**params), X, y)


def test_a_perceptron_has_no_size_to_diverge_from():
    X, y, _ = draw(n=1500)
    est = Classifier("perceptron", learning_rate="constant", eta0=1e9)
    assert np.isfinite(feed(est, X, y).coef_).all()


def test_the_only_feature_appears_late():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(8000, 1))
    X[:1500] = 0
    y = (rng.random(8000) < 1 / (1 + np.exp(-2 * X[:, 0]))).astype(int)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        est = feed(Classifier(), X, y, 250)
    assert_near(est, Classifier().fit(X, y), X)
