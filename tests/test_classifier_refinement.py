"""A classifier's second stage: the gamma-divergence of one multinomial model."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from medsgd._core.multinomial import divergence, log_loss_with_noise
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import approx_fprime, minimize
from scipy.special import expit, log_softmax, softmax
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer, StandardScaler

from medsgd import MedianSGDClassifier
from medsgd._fit.units import FeatureUnits
from medsgd._refinement.class_rows import GAMMA, Rows
from medsgd._refinement.classification import Model, Shrinkage, fitted, left_out, prior
from medsgd._refinement.quasi_newton import minimise
from medsgd._refinement.shifts import group_shifts

LAYOUTS = [np.asarray, sp.csr_array]


def simulated(n=2000, n_classes=3, d=4, seed=0):
    """Data of a multinomial model, and its probabilities."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * [1, 10, 0.1, 2][:d] + 3
    W = rng.normal(size=(n_classes, d)) / [1, 10, 0.1, 2][:d]
    proba = softmax((X - 3) @ W.T, axis=1)
    return X, (proba.cumsum(axis=1) > rng.random(n)[:, None]).argmax(axis=1), proba


def parameters(clf):
    return np.c_[clf.coef_, clf.intercept_]


def reference_loss(logits, label, gamma):
    """The formula of the design, with all classes spelled out."""
    a = 1 + gamma
    if logits.shape[1] == 1:
        logits = np.c_[np.zeros(len(logits)), logits]
    own = log_softmax(a * logits, axis=1)[np.arange(len(label)), label]
    return a / gamma * (1 - np.exp(gamma / a * own))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_the_divergence_and_its_derivatives(n_outputs, gamma):
    rng = np.random.default_rng(0)
    logits = 3 * rng.normal(size=(20, n_outputs))
    label, weight = rng.integers(0, max(2, n_outputs), 20), rng.random(20)
    slope = logits.copy()
    loss = divergence(slope, label, weight, gamma)
    assert_allclose(loss, reference_loss(logits, label, gamma), atol=1e-14)

    def total(flat):
        return weight @ reference_loss(flat.reshape(logits.shape), label, gamma)

    assert_allclose(slope.ravel(), approx_fprime(logits.ravel(), total), atol=1e-6)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_the_divergence_of_enormous_logits(n_outputs):
    logits = np.array([[1e300], [-1e300], [800.0], [-800.0]]) * np.ones(n_outputs)
    logits[:, 1:] = 0
    label = np.array([1, 0, 0, 1]) if n_outputs == 1 else np.array([0, 1, 1, 0])
    slope = logits.copy()
    loss = divergence(slope, label, np.ones(4), 1.0)
    assert_allclose(loss[[0, 2, 3]], [0, 2, 2], atol=1.2)
    assert np.isfinite(slope).all()


def test_the_divergence_checks_its_arguments():
    logits, label, weight = np.zeros((3, 2)), np.zeros(3, dtype=np.intp), np.ones(3)
    for wrong in (
        (logits, label[:2], weight, 1.0),
        (logits, label, weight[:2], 1.0),
        (logits, label + 2, weight, 1.0),
        (logits, label, weight, 0.0),
        (logits[:, :0].copy(), label, weight, 1.0),
    ):
        with pytest.raises(ValueError, match="does not fit"):
            divergence(*wrong)


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_the_log_loss_with_random_labels_and_its_derivatives(n_outputs, noise):
    rng = np.random.default_rng(0)
    logits = 3 * rng.normal(size=(20, n_outputs))
    n_classes = max(2, n_outputs)
    label, weight = rng.integers(0, n_classes, 20), rng.random(20)
    share = rng.dirichlet(np.ones(n_classes))

    def total(flat):
        scores = flat.reshape(logits.shape)
        if n_outputs == 1:
            scores = np.c_[np.zeros(20), scores]
        proba = (1 - noise) * softmax(scores, axis=1) + noise * share
        return -weight @ np.log(proba[np.arange(20), label])

    slope = logits.copy()
    loss = log_loss_with_noise(slope, label, weight, share, noise)
    assert_allclose(loss, total(logits.ravel()))
    assert_allclose(slope.ravel(), approx_fprime(logits.ravel(), total), atol=1e-6)


def test_the_log_loss_with_random_labels_checks_its_arguments():
    logits, label, weight = np.zeros((3, 2)), np.zeros(3, dtype=np.intp), np.ones(3)
    share = np.full(2, 0.5)
    for wrong in (
        (logits, label[:2], weight, share, 0.1),
        (logits, label, weight[:2], share, 0.1),
        (logits, label, weight, share[:1], 0.1),
        (logits, label + 2, weight, share, 0.1),
        (logits[:, :0].copy(), label, weight, share, 0.1),
    ):
        with pytest.raises(ValueError, match="does not fit"):
            log_loss_with_noise(*wrong)


@pytest.mark.parametrize("l1", [0.0, 0.3])
def test_the_minimiser_finds_what_scipy_finds(l1):
    rng = np.random.default_rng(0)
    A, b = rng.normal(size=(30, 8)), rng.normal(size=30)

    def function(x):
        residual = A @ x - b
        return 0.5 * residual @ residual / 30, A.T @ residual / 30

    x, converged = minimise(function, np.zeros(8), l1=l1, tol=1e-14, max_iter=500)
    # Positive and negative parts, bounded by 0.
    expected = minimize(
        lambda z: function(z[:8] - z[8:])[0] + l1 * z.sum(),
        np.zeros(16),
        method="L-BFGS-B",
        bounds=[(0, None)] * 16,
        options={"ftol": 1e-15, "gtol": 1e-10},
    ).x
    assert converged
    assert_allclose(x, expected[:8] - expected[8:], atol=1e-5)
    assert np.count_nonzero(x) == 8 if l1 == 0 else 0 < np.count_nonzero(x) < 8


@pytest.mark.parametrize("n_classes", [2, 3])
def test_probabilities_of_a_true_model(n_classes):
    X, y, proba = simulated(20_000, n_classes)
    clf = MedianSGDClassifier(random_state=0).fit(X, y)
    found = clf.predict_proba(X)
    assert np.abs(found - proba).mean() < 0.01
    assert_allclose(found.mean(axis=0), np.bincount(y) / len(y), rtol=0.02)
    assert_allclose(np.exp(clf.predict_log_proba(X)), found, atol=1e-12)
    scores = clf.decision_function(X)
    if n_classes == 2:
        assert clf.coef_.shape == (1, 4)
        assert_allclose(found[:, 1], 1 / (1 + np.exp(-scores)), atol=1e-12)
    else:
        assert clf.coef_.shape == (3, 4)
        assert_allclose(found, softmax(scores, axis=1), atol=1e-12)
    assert_array_equal(clf.predict(X), clf.classes_[found.argmax(axis=1)])


@pytest.mark.parametrize("n_classes", [2, 3])
def test_probabilities_of_the_right_labels_where_some_are_wrong(n_classes):
    X, y, proba = simulated(20_000, n_classes)
    rng = np.random.default_rng(0)
    wrong = rng.random(len(y)) < 0.2
    noisy = np.where(wrong, rng.integers(0, n_classes, len(y)), y)
    found = MedianSGDClassifier(random_state=0).fit(X, noisy).predict_proba(X)
    plain = LogisticRegression().fit((X - 3) / X.std(axis=0), noisy)
    theirs = plain.predict_proba((X - 3) / X.std(axis=0))
    assert log_loss(y, found) < log_loss(y, theirs)
    assert np.abs(found - proba).mean() < 0.8 * np.abs(theirs - proba).mean()


@pytest.mark.parametrize("share", [0.3, 0.01])
def test_probabilities_add_up_to_the_positives(share):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, 5))
    score = X @ [1.0, -1, 0.5, 0, 0]
    y = score + rng.logistic(size=len(X)) > np.quantile(score, 1 - share) + 1
    clf = MedianSGDClassifier(random_state=0).fit(X, y)
    assert_allclose(clf.predict_proba(X)[:, 1].mean(), y.mean(), rtol=0.03)
    assert clf.outliers_.mean() < 0.01


@pytest.mark.parametrize("load", [load_digits, load_breast_cancer])
def test_the_seed_hardly_matters(load):
    X, y = load(return_X_y=True)
    found = [
        MedianSGDClassifier(random_state=seed).fit(X, y).predict_proba(X)
        for seed in range(3)
    ]
    for other in found[1:]:
        assert np.abs(found[0] - other).mean() < 0.002


def test_wrong_labels_are_not_memorised():
    X, y = load_digits(return_X_y=True)
    A, B, a, b = train_test_split(X, y, random_state=0, stratify=y)
    rng = np.random.default_rng(0)
    wrong = rng.choice(len(a), int(0.4 * len(a)), replace=False)
    noisy = a.copy()
    noisy[wrong] = rng.integers(0, 10, len(wrong))
    clf = MedianSGDClassifier(random_state=0).fit(A, noisy)
    assert clf.score(B, b) > 0.9
    assert log_loss(b, clf.predict_proba(B)) < 0.5
    flagged, bad = clf.outliers_, noisy != a
    assert bad[flagged].mean() > 0.95
    assert flagged[bad].mean() > 0.6
    assert clf.weights_[bad].mean() < 0.3 < 0.6 < clf.weights_[~bad].mean()
    assert ((clf.weights_ >= 0) & (clf.weights_ <= 1)).all()


def test_wrong_labels_leave_few_rows_sure():
    X, y = load_breast_cancer(return_X_y=True)
    logistic = make_pipeline(StandardScaler(), LogisticRegression())
    losses = []
    for seed in range(3):
        A, B, a, b = train_test_split(X, y, random_state=seed, stratify=y)
        rng = np.random.default_rng(seed)
        noisy = np.where(rng.random(len(a)) < 0.4, rng.integers(0, 2, len(a)), a)
        clf = MedianSGDClassifier(random_state=0)
        losses.append(
            [
                log_loss(b, model.fit(A, noisy).predict_proba(B))
                for model in (clf, logistic)
            ]
        )
    own, plain = np.mean(losses, axis=0)
    assert own < min(0.25, 0.8 * plain)


def test_rows_far_out_are_outliers():
    X, y, _ = simulated(500, 2)
    far = np.arange(500) < 20
    X[far] *= 1e3
    clf = MedianSGDClassifier(random_state=0).fit(X, y)
    assert clf.outliers_[far].all()
    assert clf.outliers_[~far].mean() < 0.05


@pytest.mark.parametrize("n_classes", [2, 3])
def test_leverage_with_wrong_labels(n_classes):
    X, y, _ = simulated(2000, n_classes)
    before = MedianSGDClassifier(random_state=0).fit(X, y)
    # Far out where one class is certain, and of another one.
    X[:100] = 3 + 6 * (X[:100] - 3).std(axis=0) * np.sign(before.coef_[0])
    y[:100] = (before.predict(X[:1])[0] + 1) % n_classes
    after = MedianSGDClassifier(random_state=0).fit(X, y)
    rest = X[100:]
    change = np.abs(after.predict_proba(rest) - before.predict_proba(rest)).mean()
    assert change < 0.02
    assert after.outliers_[:100].all()


@pytest.mark.parametrize("penalty", ["l2", "l1", "elasticnet", None])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_dense_and_sparse_rows_are_fitted_alike(n_classes, penalty):
    X, y, _ = simulated(600, n_classes)
    X -= 3  # sparse rows are not centred
    params = {"penalty": penalty, "alpha": 0.01, "standardize": False, "tol": 1e-9}
    dense, csr = (
        parameters(MedianSGDClassifier(random_state=0, **params).fit(layout(X), y))
        for layout in LAYOUTS
    )
    assert_allclose(csr, dense, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_single_precision_is_close(n_classes, layout):
    X, y, _ = simulated(600, n_classes)
    double, single = (
        MedianSGDClassifier(random_state=0).fit(layout(X.astype(dtype)), y)
        for dtype in (np.float64, np.float32)
    )
    assert single.coef_.dtype == np.float32
    assert_allclose(single.predict_proba(X), double.predict_proba(X), atol=0.02)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_l1_penalty_leaves_zeros(layout):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 20))
    y = X[:, 0] - X[:, 1] + rng.logistic(size=1000) > 0
    clf = MedianSGDClassifier(penalty="l1", alpha=0.05, random_state=0)
    coef = clf.fit(layout(X), y).coef_[0]
    assert (coef[:2] != 0).all()
    assert np.count_nonzero(coef) < 10


def test_the_penalty_shrinks():
    X, y, _ = simulated(2000, 3)
    norms = [
        np.linalg.norm(MedianSGDClassifier(alpha=alpha, random_state=0).fit(X, y).coef_)
        for alpha in (1e-4, 0.1, 10)
    ]
    assert norms[0] > 1.3 * norms[1] > 3 * norms[2]


def test_without_an_intercept():
    X, y, _ = simulated(2000, 3)
    clf = MedianSGDClassifier(fit_intercept=False, random_state=0).fit(X - 3, y)
    assert_array_equal(clf.intercept_, 0)
    assert clf.score(X - 3, y) > MedianSGDClassifier().fit(X, y).score(X, y) - 0.02


def test_weights_are_copies():
    X, y, _ = simulated(600, 3)
    count = np.random.default_rng(0).integers(0, 4, 600)
    weighted = MedianSGDClassifier(random_state=0).fit(X, y, sample_weight=count)
    copied = MedianSGDClassifier(random_state=0)
    copied.fit(np.repeat(X, count, axis=0), np.repeat(y, count))
    # The prior is that of as many rows as there are.
    found, expected = weighted.predict_proba(X), copied.predict_proba(X)
    assert np.abs(found - expected).mean() < 0.01
    assert len(weighted.weights_) == len(weighted.outliers_) == 600


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_of_weight_zero_do_not_count(layout):
    X, y, _ = simulated(600, 3)
    kept = np.random.default_rng(0).random(600) < 0.7
    junk = np.where(kept[:, None], X, 1e5)
    less = MedianSGDClassifier(random_state=0).fit(layout(X[kept]), y[kept])
    clf = MedianSGDClassifier(random_state=0).fit(layout(junk), y, sample_weight=kept)
    assert_allclose(parameters(clf), parameters(less), rtol=1e-6)


def test_class_weights_multiply_sample_weights():
    X, y, _ = simulated(600, 3)
    weights = {0: 1, 1: 3, 2: 0.5}
    by_class = MedianSGDClassifier(class_weight=weights, random_state=0).fit(X, y)
    by_row = MedianSGDClassifier(random_state=0)
    by_row.fit(X, y, sample_weight=np.array([weights[k] for k in y]))
    assert np.abs(by_class.predict_proba(X) - by_row.predict_proba(X)).mean() < 0.01


def test_strings_are_classes():
    X, y, _ = simulated(600, 3)
    names = np.array(["red", "blue", "green"], dtype=object)[y]
    clf = MedianSGDClassifier(random_state=0).fit(X, names)
    assert clf.classes_.tolist() == ["blue", "green", "red"]
    assert clf.score(X, names) > 0.6
    assert_array_equal(clf.predict(X), clf.classes_[clf.predict_proba(X).argmax(1)])


@pytest.mark.parametrize("n_classes", [2, 3])
def test_curves_and_stages(n_classes):
    X, y, _ = simulated(300, n_classes)
    clf = MedianSGDClassifier(random_state=0).fit(X, y)
    shape = (clf.n_iter_,) if n_classes == 2 else (clf.n_iter_, 3)
    assert clf.loss_curve_.shape == clf.clip_fraction_curve_.shape == shape
    (start,) = clf.stage_starts_
    assert 0 < start < clf.n_iter_
    refinement = clf.loss_curve_[start:-1]  # the last one has no prior
    assert (np.diff(refinement, axis=0) <= 0).all()
    plain = clone(clf).set_params(refine=False, max_iter=start, tol=None).fit(X, y)
    assert_array_equal(clf.loss_curve_[:start], plain.loss_curve_)
    assert plain.stage_starts_.shape == (0,)
    assert not hasattr(plain, "weights_")


def test_too_few_iterations_warn():
    X, y, _ = simulated(300, 3)
    with pytest.warns(ConvergenceWarning):
        clf = MedianSGDClassifier(max_iter=6, random_state=0).fit(X, y)
    assert clf.n_iter_ == 6
    with pytest.warns(ConvergenceWarning):
        clf = MedianSGDClassifier(max_iter=1, random_state=0).fit(X, y)
    assert clf.n_iter_ == 1


def test_early_stopping_leaves_rows_out():
    X, y, _ = simulated(600, 3)
    clf = MedianSGDClassifier(early_stopping=True, random_state=0).fit(X, y)
    other = MedianSGDClassifier(random_state=0).fit(X, y)
    assert np.abs(clf.predict_proba(X) - other.predict_proba(X)).mean() < 0.05


def test_a_warm_start_comes_out_alike():
    X, y, _ = simulated(600, 3)
    clf = MedianSGDClassifier(warm_start=True, random_state=0).fit(X, y)
    first = clf.predict_proba(X)
    assert np.abs(clf.fit(X, y).predict_proba(X) - first).mean() < 0.02


@pytest.mark.parametrize("loss", ["hinge", "modified_huber", "squared_hinge"])
def test_other_losses_are_not_refined(loss):
    X, y, _ = simulated(300, 3)
    one, other = (
        MedianSGDClassifier(loss, refine=refine, random_state=0).fit(X, y)
        for refine in (True, False)
    )
    assert_array_equal(parameters(one), parameters(other))
    assert not hasattr(one, "outliers_")


def test_without_refinement_a_stream_goes_on_one_versus_the_rest():
    X, y, _ = simulated(600, 3)
    clf = MedianSGDClassifier(random_state=0).fit(X, y)
    before = parameters(clf)
    clf.set_params(learning_rate="constant", eta0=1e-12, refine=False).partial_fit(X, y)
    assert_allclose(parameters(clf), before, rtol=1e-6)
    # One versus the rest, normalised.
    binary = 1 / (1 + np.exp(-clf.decision_function(X)))
    expected = binary / binary.sum(axis=1, keepdims=True)
    assert_allclose(clf.predict_proba(X), expected)
    assert not hasattr(clf, "weights_")
    assert not hasattr(clf, "stage_starts_")


def test_weights_of_zero_for_all_classes_say_nothing_of_labels():
    X, y = make_classification(100, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        clf = MedianSGDClassifier(class_weight={0: 0, 1: 0}, random_state=0)
        for warm_start in (False, True):
            clf.set_params(warm_start=warm_start).fit(X, y)
            assert np.isfinite(clf.coef_).all()
            assert np.isfinite(clf.weights_).all()


def test_sparse_features_have_a_scale_beside_enormous_weights():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 4)) * (rng.random((60, 4)) < 0.5)
    X[:30, 3] = 0  # a feature of the rows that count for next to nothing
    X = sp.csr_array(X)
    y, weight = np.arange(60) % 2, np.ones(60)
    weight[:30] = 1e18
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        clf = MedianSGDClassifier(random_state=0).fit(X, y, sample_weight=weight)
        clf.partial_fit(X, y, sample_weight=weight)
    assert np.isfinite(clf.coef_).all()


@pytest.mark.parametrize("knots", ["uniform", "quantile"])
@pytest.mark.parametrize("sparse_output", [False, True])
def test_splines(knots, sparse_output):
    X, label = load_breast_cancer(return_X_y=True)
    splines = SplineTransformer(knots=knots, sparse_output=sparse_output)
    X, X_test, label, test_label = train_test_split(X, label, random_state=0)
    X, X_test = splines.fit_transform(X), splines.transform(X_test)
    clf = MedianSGDClassifier(random_state=0).fit(X, label)
    # Of a logistic regression .98 and .08.
    assert clf.score(X_test, test_label) > 0.95
    assert log_loss(test_label, clf.predict_proba(X_test)) < 0.25


@pytest.mark.parametrize("knots", ["quantile", "uniform"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_splines_of_many_rows(layout, knots):
    # A quarter of the rows decides the columns at the ends, a half those before them.
    rng = np.random.default_rng(0)
    x = rng.random((4000, 5))
    logit = 3 * np.sin(6 * x[:, 0]) + 3 * x[:, 1] - 1.5 + 2 * np.cos(3 * x[:, 2])
    label = (rng.random(4000) < expit(logit)).astype(int)
    X = SplineTransformer(knots=knots).fit_transform(x**2)
    train, test = slice(2000), slice(2000, 4000)
    known = LogisticRegression(C=100, max_iter=1000).fit(X[train], label[train])
    clf = MedianSGDClassifier(random_state=0).fit(layout(X[train]), label[train])
    own, best = (log_loss(label[test], m.predict_proba(X[test])) for m in (clf, known))
    assert own < 1.05 * best


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "distribution, n, d, n_knots, knots",
    [
        ("lognormal", 1000, 1, 8, "quantile"),
        ("lognormal", 1000, 2, 8, "quantile"),
        ("normal", 1000, 1, 5, "uniform"),
        ("normal", 1000, 4, 8, "quantile"),
        ("normal", 300, 1, 8, "quantile"),
    ],
)
def test_splines_of_long_tails(distribution, n, d, n_knots, knots, layout):
    # Columns at the ends of the range are tiny in most rows that have them.
    ratios = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        u = rng.normal(size=(2 * n, d))
        label = rng.random(2 * n) < expit(1.5 * np.sin(u[:, 0]) + u[:, 1:2].sum(axis=1))
        x = np.exp(u) if distribution == "lognormal" else u
        X = SplineTransformer(n_knots, knots=knots).fit(x[:n]).transform(x)
        clf = MedianSGDClassifier(random_state=0).fit(layout(X[:n]), label[:n])
        known = LogisticRegression(max_iter=1000).fit(X[:n], label[:n])
        ratios.append(
            log_loss(label[n:], clf.predict_proba(X[n:]))
            / log_loss(label[n:], known.predict_proba(X[n:]))
        )
    assert max(ratios) < 1.1, ratios


def test_wrong_labels_of_splines_far_out():
    rng = np.random.default_rng(0)
    u = rng.normal(size=(2000, 3))
    label = rng.random(2000) < expit(2 * np.sin(u[:, 0]) + u[:, 1])
    X = SplineTransformer(knots="quantile").fit_transform(np.exp(u))
    X_test, test_label = X[1000:].copy(), label[1000:].copy()
    X[:100] *= 30
    label[:100] = rng.random(100) < 0.5
    clf = MedianSGDClassifier(random_state=0).fit(X[:1000], label[:1000])
    known = LogisticRegression().fit(X[100:1000], label[100:1000])
    own, best = (log_loss(test_label, m.predict_proba(X_test)) for m in (clf, known))
    assert own < 1.1 * best


@pytest.mark.parametrize("shares", [(0.34, 0.32, 0.34), (0.39, 0.57, 0.04)])
def test_no_label_of_a_level_is_ruled_out_that_it_has(shares):
    # The medians lead to where a level has the most frequent of its labels alone.
    rng = np.random.default_rng(0)
    X = (rng.random((1000, 1)) < 0.8) * 1.0
    first = rng.choice(3, 1000, p=shares)
    label = np.where(X[:, 0] == 1, rng.choice(3, 1000, p=[0.6, 0.15, 0.25]), first)
    known = log_loss(label, LogisticRegression().fit(X, label).predict_proba(X))
    for seed in range(10):
        clf = MedianSGDClassifier(random_state=seed).fit(X, label)
        assert log_loss(label, clf.predict_proba(X)) < 1.05 * known


@pytest.mark.parametrize("n_classes", [10, 30])
def test_classes_that_are_far_apart_have_sure_probabilities(n_classes):
    rng = np.random.default_rng(0)
    center = 1.5 * rng.normal(size=(n_classes, 15))
    y = rng.choice(n_classes, 20_000)
    X = center[y] + rng.normal(size=(len(y), 15))
    A, B, a, b = train_test_split(X, y, test_size=0.5, random_state=0)
    own, theirs = (
        log_loss(b, est.fit(A, a).predict_proba(B))
        for est in (
            MedianSGDClassifier(random_state=0),
            LogisticRegression(max_iter=1000),
        )
    )
    assert own < 1.2 * theirs


def test_a_number_for_alpha_is_a_penalty_of_the_refinement():
    X, y, _ = simulated(n_classes=2)
    clf = MedianSGDClassifier(tol=1e-7, random_state=0)
    norms = [
        np.linalg.norm(clone(clf).set_params(alpha=alpha).fit(X, y).coef_)
        for alpha in ("auto", 0.0, 1e-2, 1.0)
    ]
    assert_allclose(norms[0], norms[1], rtol=1e-3)
    assert norms[0] > 1.2 * norms[2] > 2 * norms[3]


def with_rare_classes(n, seed=0):
    """Rows of 30 classes; four of the classes have few rows."""
    rng = np.random.default_rng(seed)
    share = np.r_[0.0015, 0.002, 0.004, 0.008, np.full(26, 1.0)]
    share[4:] *= (1 - share[:4].sum()) / 26
    center = 1.5 * rng.normal(size=(30, 15))
    y = rng.choice(30, 20_000, p=share)
    X = center[y] + rng.normal(size=(len(y), 15))
    return X[:n], X[n:], y[:n], y[n:]


@pytest.mark.parametrize("noise", [0, 0.02])
def test_rare_classes_of_many_are_found(noise):
    A, B, a, b = with_rare_classes(4000)
    wrong = np.random.default_rng(1).random(4000) < noise
    labels = np.where(wrong, np.roll(a, 1), a)
    assert np.bincount(labels)[:4].min() < 10
    clf = MedianSGDClassifier(random_state=0).fit(A, labels)
    logistic = LogisticRegression(max_iter=1000).fit(A, labels)
    own, theirs = (
        np.mean([np.mean(m.predict(B[b == k]) == k) for k in range(4)])
        for m in (clf, logistic)
    )
    assert own > theirs - 0.05
    assert log_loss(b, clf.predict_proba(B)) < log_loss(b, logistic.predict_proba(B))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_rare_level_with_other_labels_than_most_rows(layout):
    # The medians lead to where its labels are those of the rows without a level.
    rng = np.random.default_rng(1)
    proba = np.array([0.999, 0.67, 0.02, 0.001, 0.001, 0.003])
    level = rng.choice(6, 20_000, p=[0.008, 0.33, 0.39, 0.058, 0.004, 0.21])
    X = np.eye(6)[level, :5]
    label = (rng.random(20_000) < proba[level]).astype(int)
    clf = MedianSGDClassifier(random_state=0).fit(layout(X), label)
    assert clf.predict_proba(np.eye(5)[:1])[0, 1] > 0.9


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "center, dtype", [(100, np.float64), (1e6, np.float64), (100, np.float32)]
)
def test_sparse_columns_far_from_zero(center, n_classes, dtype):
    X, label, _ = simulated(n_classes=n_classes)
    X = ((X - 3) / [1, 10, 0.1, 2] + center).astype(dtype)
    clf = MedianSGDClassifier(random_state=0).fit(sp.csr_array(X), label)
    dense = MedianSGDClassifier(random_state=0).fit(X, label)
    proba = clf.predict_proba(sp.csr_array(X))
    assert_allclose(proba, dense.predict_proba(X), atol=0.01)
    known = LogisticRegression().fit(X - center, label).predict_proba(X - center)
    assert log_loss(label, proba) < 1.02 * log_loss(label, known)


def test_sparse_columns_far_from_zero_with_weights_and_rare_features():
    rng = np.random.default_rng(0)
    X = sp.random_array((4000, 30), density=0.1, random_state=rng).toarray()
    X = np.c_[X, 1.6e9 + 1e7 * rng.random(4000), 50 + rng.normal(size=4000)]
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    logit = Z @ np.append(0.2 * rng.normal(size=30), [1, -1])
    label = (rng.random(4000) < expit(logit)).astype(int)
    weight = rng.integers(0, 4, 4000)
    clf = MedianSGDClassifier(random_state=0)
    clf.fit(sp.csr_array(X), label, sample_weight=weight)
    known = LogisticRegression().fit(Z, label, sample_weight=weight)
    proba = clf.predict_proba(sp.csr_array(X))
    assert np.abs(proba - known.predict_proba(Z)).mean() < 0.02


def test_rows_that_are_wild_in_a_sparse_column_far_from_zero():
    X, label, proba = simulated(n_classes=2, d=2)
    X = (X - 3) / [1, 10] + 100
    rng = np.random.default_rng(0)
    wrong = rng.choice(len(X), len(X) // 10, replace=False)
    wild, odd = X.copy(), label.copy()
    wild[wrong, 0], odd[wrong] = 150, rng.integers(0, 2, len(wrong))
    clf = MedianSGDClassifier(random_state=0).fit(sp.csr_array(wild), odd)
    assert clf.outliers_[wrong].all()
    assert np.abs(clf.predict_proba(X) - proba).mean() < 0.03


def gaussian_classes(n, d, n_classes, strength, seed):
    """Rows of a multinomial model, and the true probabilities."""
    rng = np.random.default_rng(seed)
    coef = rng.normal(size=(d, n_classes)) * strength / np.sqrt(d)
    X = rng.normal(size=(n, d))
    proba = softmax(X @ coef, axis=1)
    y = (proba.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return X, y, proba


@pytest.mark.parametrize("strength", [0.5, 1, 3])
@pytest.mark.parametrize("n, d, n_classes", [(620, 30, 10), (1500, 40, 4)])
def test_few_rows_for_each_parameter_are_not_too_sure(n, d, n_classes, strength):
    X, y, _ = gaussian_classes(n + 4000, d, n_classes, strength, seed=0)
    ours, theirs = (
        log_loss(y[n:], clf.fit(X[:n], y[:n]).predict_proba(X[n:]))
        for clf in (MedianSGDClassifier(random_state=0), LogisticRegression())
    )
    assert ours <= 1.03 * theirs


def test_scores_move_towards_those_of_models_without_the_row():
    X, y, _ = gaussian_classes(120, 3, 3, 3, seed=0)
    units = MedianSGDClassifier(random_state=0).fit(X, y)._units
    weight = np.ones(len(y)) / len(y)

    def rows(weight):
        return Rows(X, y, weight, units, leverage_weights=False)

    def fit(start, weight):
        return fitted(
            rows(weight),
            start,
            weight,
            GAMMA,
            Shrinkage(prior(rows(weight), len(y), 0.2, 3), 0),
            fit_intercept=True,
            tol=1e-12,
            max_iter=500,
        )

    model = fit(Model(np.zeros(3), np.zeros((3, 3))), weight)
    whole = rows(weight).scores(model.coef) + model.intercept
    found = left_out(rows(weight), model, weight, 0.2)
    exact = np.empty_like(found)
    for k in range(len(y)):
        other = fit(model, np.where(np.arange(len(y)) == k, 0, weight))
        exact[k] = (rows(weight).scores(other.coef) + other.intercept)[k]
    own = np.arange(len(y)), y
    before = log_softmax(whole, axis=1)[own]
    found, exact = (log_softmax(s, axis=1)[own] - before for s in (found, exact))
    assert np.corrcoef(found, exact)[0, 1] > 0.75
    assert 0.1 < found.sum() / exact.sum() < 1


@pytest.mark.parametrize("n_classes", [3, 5])
def test_left_out_rows_of_dense_and_sparse_rows(n_classes):
    X, y, _ = gaussian_classes(200, 6, n_classes, 3, seed=0)
    X[X < 0] = 0
    clf = MedianSGDClassifier(standardize=False, leverage_weights=False, random_state=0)
    dense, csr = (parameters(clone(clf).fit(layout(X), y)) for layout in LAYOUTS)
    assert_allclose(csr, dense, rtol=1e-6)


def with_codes(rng, n, code, share, n_coded=1, effect=1.0):
    """Years with a code where they are missing, indicators, labels, and an imputed X.

    The labels depend on the years, on another feature and on the first indicator.
    """
    year, other = rng.normal(2005, 8, (n, n_coded)), rng.normal(size=n)
    missing = rng.random((n, n_coded)) < share
    imputed = np.where(missing, 2005, year)
    logit = 0.1 * (imputed - 2005).sum(axis=1) + other + effect * missing[:, 0]
    label = (rng.random(n) < expit(logit)).astype(int)
    X, known = (
        np.c_[values, missing, other]
        for values in (np.where(missing, code, year), imputed)
    )
    return X, missing, label, known


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "code, share, n_coded",
    [(0, 0.03, 1), (-999, 0.1, 1), (1955, 0.05, 3), (0, 0.05, 3)],
)
def test_codes_for_missing_values_beside_indicators(
    code, share, n_coded, dtype, layout
):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        X, missing, label, known = with_codes(rng, 4000, code, share, n_coded)
        X, train, test = layout(X.astype(dtype)), slice(2000), slice(2000, 4000)
        clf = MedianSGDClassifier(random_state=0).fit(X[train], label[train])
        best = make_pipeline(StandardScaler(), LogisticRegression(C=100))
        best.fit(known[train], label[train])
        proba = clf.predict_proba(X[test])
        expected = best.predict_proba(known[test])
        assert log_loss(label[test], proba) < 1.02 * log_loss(label[test], expected)
        own = missing[test].any(axis=1)
        assert np.abs(proba[own].mean(axis=0) - expected[own].mean(axis=0)).max() < 0.05
        assert clf.outliers_[missing[train].any(axis=1)].mean() < 0.1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_codes_beside_indicators_of_values_that_are_there(layout):
    # Sparse columns that mostly have entries are centred, as dense ones are.
    rng = np.random.default_rng(0)
    X, _, label, known = with_codes(rng, 4000, 0, 0.03)
    X[:, 1] = 1 - X[:, 1]
    clf = MedianSGDClassifier(random_state=0).fit(layout(X[:2000]), label[:2000])
    best = LogisticRegression().fit(known[:2000] - known.mean(axis=0), label[:2000])
    expected = log_loss(
        label[2000:], best.predict_proba(known[2000:] - known.mean(axis=0))
    )
    assert log_loss(label[2000:], clf.predict_proba(X[2000:])) < 1.02 * expected


@pytest.mark.parametrize("layout", LAYOUTS)
def test_codes_of_few_rows_and_several_classes(layout):
    # The medians lead far away, because the code is in the mean of most batches.
    for seed in range(8):
        rng = np.random.default_rng(seed)
        Z = rng.normal(size=(2300, 2))
        missing = rng.random((2300, 2)) < 0.1
        Z[missing] = 0
        scores = np.c_[Z, missing[:, 0]] @ rng.normal(size=(3, 5))
        label = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
        X = layout(np.c_[np.where(missing, -999, 2000 + Z), missing])
        clf = MedianSGDClassifier(random_state=0).fit(X[:300], label[:300])
        known = LogisticRegression().fit(np.c_[Z, missing][:300], label[:300])
        best = log_loss(label[300:], known.predict_proba(np.c_[Z, missing][300:]))
        assert log_loss(label[300:], clf.predict_proba(X[300:])) < 1.1 * best


def test_codes_of_a_stream():
    rng = np.random.default_rng(0)
    X, _, label, _ = with_codes(rng, 6000, -999, 0.05)
    clf = MedianSGDClassifier(random_state=0)
    for first in range(0, 4000, 100):
        rows = slice(first, first + 100)
        clf.partial_fit(X[rows], label[rows], classes=[0, 1])
    whole = MedianSGDClassifier(random_state=0).fit(X[:4000], label[:4000])
    own, best = (
        log_loss(label[4000:], m.predict_proba(X[4000:])) for m in (clf, whole)
    )
    assert own < 1.02 * best


@pytest.mark.parametrize("marked", [0.0, 0.5])
def test_a_cluster_that_no_indicator_marks_alone_is_rejected(marked):
    # The indicator has other rows, too, whose labels it would cost.
    w = np.array([1, -1, 0.5, 0, 2.0])
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((2000, 5))
        label = (rng.random(2000) < expit(X @ w + 0.3)).astype(int)
        X[:100] = 5 * w / np.linalg.norm(w) + 0.2 * rng.standard_normal((100, 5))
        label[:100] = 0
        mark = rng.random(2000) < np.where(np.arange(2000) < 100, marked, 0.05)
        clf = MedianSGDClassifier(random_state=0).fit(np.c_[X, mark], label)
        assert np.linalg.norm(clf.coef_[0, :5] - w) < 0.4
        assert clf.outliers_[:100].mean() > 0.9


def test_coefficients_of_shifted_rows():
    rng = np.random.default_rng(0)
    X, missing, _, _ = with_codes(rng, 500, 0, 0.1, 2)
    # A copy of an indicator shifts nothing again.
    X = np.c_[X, missing[:, 0]]
    mean, scale = np.array([2005, 2005, 0, 0, 0, 0]), np.array([8, 8, 0.3, 0.3, 1, 0.3])
    units = FeatureUnits(mean, 1 / scale, True, True, 1.0)
    shifts = group_shifts(X, np.ones(500), units, missing.any(axis=1))
    assert_array_equal(shifts.columns, [2, 3])
    Z, W = (X - mean) / scale, rng.normal(size=(6, 3))
    shifted = shifts.rows(Z)
    assert np.abs(shifted[:, :2]).max() < 5 < np.abs(Z[:, :2]).max()
    assert_allclose(shifted @ shifts.into(W), Z @ W, rtol=1e-9, atol=1e-9)
    assert_allclose(shifts.out_of(shifts.into(W)), W, atol=1e-12)
    assert_allclose(shifts.gradient(Z.T @ Z @ W), shifted.T @ (Z @ W), atol=1e-8)
    norms = shifts.squared_norms(np.square(Z).sum(axis=1), lambda columns: Z @ columns)
    assert_allclose(norms, np.square(shifted).sum(axis=1), atol=1e-9)
