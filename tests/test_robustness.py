"""What a user comes for: fits that outliers, wrong labels and rare classes leave be."""

from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits, make_classification
from sklearn.linear_model import HuberRegressor, SGDClassifier, SGDRegressor
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from medsgd import MedianSGDClassifier, MedianSGDRegressor
from medsgd.datasets import make_contaminated_regression, make_heavy_tailed_regression

ESTIMATORS = ["mean", "coord-median", "geometric-median", "spp-l1", "spp-l2"]
MEDIANS = ESTIMATORS[1:]


NOISE = {
    "normal": partial(make_contaminated_regression, contamination=0),
    "Cauchy": partial(make_heavy_tailed_regression, tail_index=1.0),
    "Pareto": partial(
        make_heavy_tailed_regression, distribution="pareto", tail_index=1.2
    ),
    "wild y": partial(make_contaminated_regression, outliers="wild", outlier_size=1e3),
    "y + 100": make_contaminated_regression,
}


def regression(noise, *, n=3000, d=10, seed=0):
    X, y, truth = NOISE[noise](n, d, bias=2, return_truth=True, random_state=seed)
    return X, y, np.r_[truth.coef, truth.intercept]


def error(est, truth):
    return np.linalg.norm(np.r_[est.coef_, est.intercept_] - truth) / np.linalg.norm(
        truth
    )


@pytest.mark.parametrize("noise", ["normal", "Cauchy", "Pareto", "wild y", "y + 100"])
def test_the_default_is_about_as_good_as_a_batch_huber_fit(noise):
    X, y, truth = regression(noise)
    # The average leaves out three epochs on the way to the solution.
    ours = MedianSGDRegressor(average=3 * len(X), random_state=0).fit(X, y)
    batch = HuberRegressor().fit(X, y)
    assert error(ours, truth) < 1.5 * error(batch, truth)


@pytest.mark.parametrize("name", ["spp-l1", "spp-l2"])
@pytest.mark.parametrize("noise", ["Cauchy", "Pareto", "wild y", "y + 100"])
def test_spp_holds_where_the_mean_is_carried_away(noise, name):
    X, y, truth = regression(noise)
    ours = MedianSGDRegressor(gradient_estimator=name, random_state=0).fit(X, y)
    plain = SGDRegressor(random_state=0).fit(X, y)
    assert error(ours, truth) < 0.2 * error(plain, truth)


@pytest.mark.parametrize("seed", range(3))
def test_a_minority_class_is_learned(seed):
    scores = []
    for split in range(4):
        X, y = make_classification(
            2500,
            20,
            n_informative=5,
            weights=[0.96],
            flip_y=0.01,
            random_state=10 * seed + split,
        )
        A, B, a, b = train_test_split(X, y, random_state=split, stratify=y)
        params = {"class_weight": "balanced", "random_state": 0}
        scores.append(
            [
                balanced_accuracy_score(b, clf.fit(A, a).predict(B))
                for clf in (
                    MedianSGDClassifier(**params),
                    SGDClassifier(loss="log_loss", **params),
                )
            ]
        )
    ours, theirs = np.mean(scores, axis=0)
    assert ours >= theirs


@pytest.mark.parametrize(
    "contamination, least", [("none", 0.93), ("labels", 0.9), ("rows", 0.93)]
)
def test_digits_with_wrong_labels_and_wild_rows(contamination, least):
    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    A, B, a, b = train_test_split(X, y, random_state=0, stratify=y)
    scaler = StandardScaler().fit(A)
    A, B = scaler.transform(A), scaler.transform(B)
    share = {"none": 0, "labels": 5, "rows": 10}[contamination]
    if share:
        wrong = rng.choice(len(a), len(a) // share, replace=False)
        a[wrong] = rng.integers(0, 10, len(wrong))
        A[wrong] *= 30 if contamination == "rows" else 1
    clf = MedianSGDClassifier(random_state=0).fit(A, a)
    assert clf.score(B, b) > least
    if share:
        plain = SGDClassifier(loss="log_loss", random_state=0).fit(A, a)
        assert clf.score(B, b) > plain.score(B, b) + 0.03


@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_samples_of_weight_0_are_as_if_absent(name, layout):
    X, y, _ = regression("normal", n=300)
    weight = np.random.default_rng(0).integers(0, 3, size=300).astype(float)
    params = {"gradient_estimator": name, "random_state": 0, "max_iter": 5, "tol": None}
    one = MedianSGDRegressor(**params).fit(layout(X), y, sample_weight=weight)
    kept = weight > 0
    other = MedianSGDRegressor(**params).fit(
        layout(X[kept]), y[kept], sample_weight=weight[kept]
    )
    # BLAS adds up other numbers of rows in another order.
    assert_allclose(one.coef_, other.coef_, rtol=1e-12)
    assert_allclose(one.intercept_, other.intercept_, rtol=1e-12)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_integer_weights_are_copies_in_distribution(name):
    # Two noisy groups disagree: a fit must put the groups' weights in proportion.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 1))
    y = np.where(np.arange(400) < 200, 1.0, -1.0) * X[:, 0] + rng.normal(size=400)
    weight = np.where(np.arange(400) < 200, 3, 1)
    params = {
        "gradient_estimator": name,
        "average": True,
        "max_iter": 40,
        "tol": None,
        "eta0": 0.002,
        "learning_rate": "constant",
    }
    copies = np.repeat(np.arange(400), weight)
    weighted, copied = (
        np.mean(
            [
                MedianSGDRegressor(**params, random_state=seed).fit(*data).coef_[0]
                for seed in range(5)
            ]
        )
        for data in ((X, y, None, None, weight), (X[copies], y[copies]))
    )
    unweighted = np.mean(
        [
            MedianSGDRegressor(**params, random_state=seed).fit(X, y).coef_[0]
            for seed in range(5)
        ]
    )
    assert abs(weighted - copied) < 0.25 * abs(weighted - unweighted)


@pytest.mark.parametrize("n_jobs", [2, -1])
def test_the_number_of_threads_changes_nothing(n_jobs):
    X, y = load_digits(return_X_y=True)
    params = {"random_state": 0, "max_iter": 5, "tol": None}
    one = MedianSGDClassifier(**params).fit(X, y)
    other = MedianSGDClassifier(**params, n_jobs=n_jobs).fit(X, y)
    assert_array_equal(one.coef_, other.coef_)
    assert_array_equal(one.loss_curve_, other.loss_curve_)


def test_curves_and_radius():
    X, y, _ = regression("y + 100")
    params = {"random_state": 0, "max_iter": 7, "tol": None}
    est = MedianSGDRegressor(tau=1e9, refine=False, **params).fit(X, y)
    assert_array_equal(est.clip_fraction_curve_, np.zeros(7))
    assert est.tau_ == 1e9
    est.set_params(tau=1e-9).fit(X, y)
    assert_array_equal(est.clip_fraction_curve_, np.ones(7))
    est.set_params(tau="auto").fit(X, y)
    assert 0.5 < est.clip_fraction_curve_[-1] < 1
    # The last statistic is near the median loss at the fitted coefficients.
    losses = 0.5 * (est.predict(X) - y) ** 2
    penalty = 0.5 * 1e-4 * est.coef_ @ est.coef_
    assert_allclose(est.loss_curve_[-1], np.median(losses) + penalty, rtol=0.05)
    est.set_params(refine=True, max_iter=100).fit(X, y)
    assert len(est.clip_fraction_curve_) == len(est.loss_curve_) == est.n_iter_
    # The S step rejects some more than the tenth of the targets that are far off, the
    # M step only those.
    assert np.all(est.clip_fraction_curve_[est.stage_starts_[0] :] >= 0.1)
    assert_allclose(est.clip_fraction_curve_[-1], 0.1, rtol=0.02)
    est.set_params(gradient_estimator="coord-median").fit(X, y)
    assert not hasattr(est, "tau_")
    assert not hasattr(est, "clip_fraction_curve_")


def epochs_until_stalled(curve, patience, tol):
    """Epochs until there was no progress for as many as ``patience``."""
    best = np.minimum.accumulate(np.r_[np.inf, curve])[:-1]
    stalled = curve >= best * (1 - tol)
    runs = np.convolve(stalled, np.ones(patience), mode="valid")
    return np.argmax(runs == patience) + patience


# Patience lasts 20,000 updates; an epoch of twice the patience has to make twice the
# progress.
@pytest.mark.parametrize(
    "n, patience, tol", [(300, 67, 1e-3), (3000, 7, 1e-3), (40_000, 1, 2e-3)]
)
def test_stopping_watches_the_median_loss(n, patience, tol):
    X, y, _ = regression("y + 100", n=n)
    est = MedianSGDRegressor(random_state=0, refine=False).fit(X, y)
    medians = est.loss_curve_
    assert est.n_iter_ == len(medians) == epochs_until_stalled(medians, patience, tol)


# Each of the two steps of the refinement waits: 20,000 and 100,000 updates, or as told.
def test_each_step_of_the_refinement_lowers_its_statistic_to_convergence():
    X, y, _ = regression("y + 100")
    est = MedianSGDRegressor(random_state=0).fit(X, y)
    assert est.n_iter_ == len(est.loss_curve_) < 50
    for steps in np.split(est.loss_curve_, est.stage_starts_)[1:]:
        assert np.all(np.diff(steps) <= 1e-12 * steps[0])
        assert steps[-1] >= (1 - 1e-6) * steps[max(0, len(steps) - 2)]


def test_held_out_median_loss_is_not_moved_by_outliers():
    X, y, truth = regression("wild y")
    est = MedianSGDRegressor(random_state=0, early_stopping=True).fit(X, y)
    assert est.n_iter_ < est.max_iter
    assert error(est, truth) < 0.1


@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("name", MEDIANS)
def test_values_near_the_end_of_float32_do_not_break_a_float32_fit(name, layout):
    X, y, truth = regression("normal", n=1000, d=4)
    X = X.astype(np.float32)
    X[5], X[11, 2], y[7], y[9] = 1e30, -1e30, 1e300, -1e300
    est = MedianSGDRegressor(gradient_estimator=name, random_state=0)
    est.fit(layout(X), y)
    assert est.coef_.dtype == np.float32
    assert error(est, truth) < 0.1
