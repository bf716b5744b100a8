"""Generated data are what their parameters say, and the truth is true."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.special import softmax

from medsgd.datasets import (
    make_contaminated_classification,
    make_contaminated_regression,
    make_heavy_tailed_regression,
)

REGRESSIONS = [make_heavy_tailed_regression, make_contaminated_regression]
GENERATORS = [*REGRESSIONS, make_contaminated_classification]
CONTAMINATED = [
    (make_contaminated_regression, "shift"),
    (make_contaminated_regression, "wild"),
    (make_contaminated_regression, "cluster"),
    (make_contaminated_regression, "leverage"),
    (make_contaminated_classification, "labels"),
    (make_contaminated_classification, "rows"),
]
# The package's names, and scipy's distributions that are symmetric or will be signed.
DISTRIBUTIONS = [
    ("student-t", 1.0, stats.cauchy()),
    ("student-t", 1.5, stats.t(1.5)),
    ("student-t", 4.0, stats.t(4)),
    ("student-t", None, stats.norm()),
    ("stable", 0.8, stats.levy_stable(0.8, 0)),
    ("stable", 1.0, stats.cauchy()),
    ("stable", 1.5, stats.levy_stable(1.5, 0)),
    ("stable", 2.0, stats.norm(scale=np.sqrt(2))),
    ("pareto", 1.2, stats.lomax(1.2)),
    ("pareto", 3.0, stats.lomax(3)),
]


def dense(X):
    return X.toarray() if sp.issparse(X) else X


def residuals(X, y, truth):
    return y - X @ truth.coef - truth.intercept


def sign_and_size(values, distribution):
    """P-values: that signs are even, and that sizes are those of the distribution."""
    low = distribution.cdf(0)

    def cdf_of_size(x):
        return (distribution.cdf(x) - low) / (1 - low)

    signs = stats.binomtest(int(np.sum(values > 0)), len(values)).pvalue
    return signs, stats.kstest(np.abs(values), cdf_of_size).pvalue


@pytest.mark.parametrize("density", [1.0, 0.4])
@pytest.mark.parametrize("make", GENERATORS)
def test_the_seed_decides_everything(make, density):
    params = {"density": density, "return_truth": True}
    one, other = (make(random_state=3, **params) for _ in range(2))
    assert_array_equal(dense(one[0]), dense(other[0]))
    assert_array_equal(one[1], other[1])
    for key, value in one[2].items():
        assert_array_equal(value, other[2][key])
    # An instance goes on, and one seeded alike begins alike.
    random_state = np.random.RandomState(3)
    first, second = (make(random_state=random_state, **params) for _ in range(2))
    assert_array_equal(first[1], one[1])
    assert not np.array_equal(second[1], one[1])
    assert not np.array_equal(make(random_state=4, **params)[1], one[1])


@pytest.mark.parametrize("make", GENERATORS)
def test_the_truth_comes_on_request(make):
    X, y = make(30, 4, random_state=0)
    assert X.shape == (30, 4)
    assert y.shape == (30,)
    same_X, same_y, truth = make(30, 4, return_truth=True, random_state=0)
    assert_array_equal(same_X, X)
    assert_array_equal(same_y, y)
    assert {"coef", "intercept", "is_outlier"} <= truth.keys()


@pytest.mark.parametrize("make", GENERATORS)
@pytest.mark.parametrize("correlation", [0.0, 0.9, -0.5])
def test_columns_are_standard_normal_and_correlated(make, correlation):
    params = {} if make is make_heavy_tailed_regression else {"contamination": 0}
    X, _ = make(20_000, 4, correlation=correlation, random_state=0, **params)
    lag = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    assert_allclose(np.cov(X.T), float(correlation) ** lag, atol=0.03)
    for column in X.T:
        assert stats.kstest(column, "norm").pvalue > 1e-3


@pytest.mark.parametrize("density", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("make", GENERATORS)
def test_sparse_rows_are_csr_with_a_share_of_entries(make, density):
    params = {"density": density, "return_truth": True, "random_state": 0}
    X, y, truth = make(2000, 50, **params)
    assert isinstance(X, sp.csr_array)
    assert X.nnz == round(density * X.shape[0] * X.shape[1])
    clean = X[~truth.is_outlier]
    assert stats.kstest(clean.data, "norm").pvalue > 1e-3
    for axis, n in enumerate(X.shape[::-1]):
        counts = (X != 0).sum(axis=axis)
        assert_allclose(counts.mean(), density * X.shape[axis], rtol=1e-12)
        # Binomial, but for the total that is fixed.
        variance = density * (1 - density) * X.shape[axis] * (1 - 1 / n)
        assert 0.5 * variance < counts.var() < 1.6 * variance
    if make in REGRESSIONS:
        normal = make is make_contaminated_regression
        noise = stats.norm() if normal else stats.t(1.5)
        error = residuals(X, y, truth)[~truth.is_outlier]
        assert stats.kstest(error, noise.cdf).pvalue > 1e-3


def test_a_sparse_matrix_may_be_wide():
    X, y = make_contaminated_regression(1000, 10_000_000, density=1e-6, random_state=0)
    assert X.nnz == 10_000
    assert y.shape == (1000,)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("distribution, tail_index, expected", DISTRIBUTIONS)
def test_noise_has_the_distribution_that_it_is_said_to(
    distribution, tail_index, expected, symmetric
):
    X, y, truth = make_heavy_tailed_regression(
        2000,
        5,
        distribution=distribution,
        tail_index=tail_index,
        symmetric=symmetric,
        noise=0.3,
        bias=2,
        return_truth=True,
        random_state=0,
    )
    error = residuals(X, y, truth) / 0.3
    signs, sizes = sign_and_size(error, expected)
    assert sizes > 1e-3
    if symmetric:
        assert signs > 1e-3
    else:
        # To rounding, of targets that a heavy tail has made large.
        assert np.all(error > -1e-9)
    assert truth.intercept == 2
    assert not truth.is_outlier.any()


@pytest.mark.parametrize("density", [1.0, 0.5])
@pytest.mark.parametrize("distribution, tail_index, expected", DISTRIBUTIONS)
def test_features_have_the_distribution_that_they_are_said_to(
    distribution, tail_index, expected, density
):
    X, y, truth = make_heavy_tailed_regression(
        1000,
        2,
        distribution=distribution,
        tail_index=None,
        feature_tail_index=tail_index,
        density=density,
        return_truth=True,
        random_state=0,
    )
    assert min(sign_and_size(X.ravel() if density == 1 else X.data, expected)) > 1e-3
    error = residuals(X, y, truth)
    assert stats.kstest(error, "norm").pvalue > 1e-3


@pytest.mark.parametrize("strength", [0.7, -0.7])
@pytest.mark.parametrize("feature_tail_index", [None, 1.0])
def test_noise_grows_with_the_signal(strength, feature_tail_index):
    X, y, truth = make_heavy_tailed_regression(
        5000,
        4,
        tail_index=None,
        feature_tail_index=feature_tail_index,
        heteroscedasticity=strength,
        return_truth=True,
        random_state=0,
    )
    z = X @ truth.coef / np.sqrt(truth.coef @ truth.coef)
    error = residuals(X, y, truth)
    # exp(arcsinh(z)) is z + sqrt(z^2 + 1).
    standard = error / (z + np.hypot(z, 1)) ** strength
    moderate = np.abs(z) < 10
    assert stats.kstest(standard[moderate], "norm").pvalue > 1e-3
    low, high = (np.median(np.abs(error[side])) for side in (z < -1, z > 1))
    assert np.log(high / low) * np.sign(strength) > 1


@pytest.mark.parametrize("params", [{"distribution": "stable"}, {"tail_index": 3.0}])
def test_features_do_not_depend_on_the_noise(params):
    X, _, truth = make_heavy_tailed_regression(return_truth=True, random_state=0)
    other, _, others = make_heavy_tailed_regression(
        return_truth=True, random_state=0, **params
    )
    assert_array_equal(other, X)
    assert_array_equal(others.coef, truth.coef)


@pytest.mark.parametrize("contamination", [0.0, 0.07, 0.5, 1.0])
@pytest.mark.parametrize("make, outliers", CONTAMINATED)
def test_outliers_are_a_share_of_random_rows(make, outliers, contamination):
    _, _, truth = make(
        301,
        contamination=contamination,
        outliers=outliers,
        return_truth=True,
        random_state=0,
    )
    assert truth.is_outlier.dtype == bool
    n_outliers = round(contamination * 301)
    assert np.sum(truth.is_outlier) == n_outliers
    if 0 < contamination < 1:
        places = (np.flatnonzero(truth.is_outlier == is_bad) for is_bad in (0, 1))
        assert stats.ranksums(*places).pvalue > 1e-3


@pytest.mark.parametrize("density", [1.0, 0.3])
@pytest.mark.parametrize("make, outliers", CONTAMINATED)
def test_contamination_leaves_the_other_rows(make, outliers, density):
    params = {"density": density, "return_truth": True, "random_state": 0}
    clean_X, clean_y, clean = make(contamination=0, **params)
    previous = clean.is_outlier
    for contamination in (0.1, 0.3):
        X, y, truth = make(contamination=contamination, outliers=outliers, **params)
        rows = ~truth.is_outlier
        assert_array_equal(dense(X)[rows], dense(clean_X)[rows])
        assert_array_equal(y[rows], clean_y[rows])
        assert_array_equal(truth.coef, clean.coef)
        assert_array_equal(truth.intercept, clean.intercept)
        # The outliers of a smaller share stay outliers.
        assert np.all(truth.is_outlier >= previous)
        previous = truth.is_outlier


@pytest.mark.parametrize("outlier_size", [100.0, -50.0])
@pytest.mark.parametrize("outliers", ["shift", "wild", "cluster", "leverage"])
def test_outliers_of_a_regression(outliers, outlier_size):
    X, y, truth = make_contaminated_regression(
        5000,
        4,
        contamination=0.3,
        outliers=outliers,
        outlier_size=outlier_size,
        noise=0.5,
        bias=3,
        return_truth=True,
        random_state=0,
    )
    bad = truth.is_outlier
    error = residuals(X, y, truth)
    assert stats.kstest(error[~bad] / 0.5, "norm").pvalue > 1e-3
    if outliers == "wild":
        expected = stats.norm(scale=np.hypot(outlier_size, 0.5))
        assert stats.kstest(error[bad], expected.cdf).pvalue > 1e-3
    elif outliers == "cluster":
        assert_array_equal(y[bad], 3 + outlier_size)
    else:
        assert stats.kstest((error[bad] - outlier_size) / 0.5, "norm").pvalue > 1e-3


@pytest.mark.parametrize("density", [1.0, 0.2])
@pytest.mark.parametrize("n_leverage_features, moved", [(2, 2), (6, 6), (None, 6)])
def test_leverage_points_are_far_out_in_the_first_columns(
    n_leverage_features, moved, density
):
    params = {"density": density, "random_state": 0}
    X, _, truth = make_contaminated_regression(
        3000,
        6,
        outliers="leverage",
        n_leverage_features=n_leverage_features,
        return_truth=True,
        **params,
    )
    clean, _ = make_contaminated_regression(3000, 6, contamination=0, **params)
    assert sp.issparse(X) == (density < 1)
    X, clean = dense(X), dense(clean)
    bad = truth.is_outlier
    assert stats.kstest(X[bad, :moved].ravel() - 10, "norm").pvalue > 1e-3
    assert_array_equal(X[:, moved:], clean[:, moved:])


@pytest.mark.parametrize(
    "make, params",
    [
        (make_heavy_tailed_regression, {"tail_index": 3.0}),
        (make_heavy_tailed_regression, {"tail_index": None, "heteroscedasticity": 0.5}),
        (make_contaminated_regression, {"correlation": 0.9}),
        (make_contaminated_regression, {"outliers": "leverage"}),
        (make_contaminated_regression, {"density": 0.2}),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_least_squares_on_clean_rows_finds_the_coefficients(make, params):
    X, y, truth = make(
        20_000, 5, bias=-7, noise=0.1, return_truth=True, random_state=1, **params
    )
    A = np.column_stack([dense(X), np.ones(len(y))])[~truth.is_outlier]
    found = np.linalg.lstsq(A, y[~truth.is_outlier])[0]
    assert_allclose(found, [*truth.coef, -7], atol=0.01)
    assert np.abs(truth.coef).max() > 0.3


@pytest.mark.parametrize("make", REGRESSIONS)
def test_coefficients_are_standard_normal_and_noise_may_be_absent(make):
    X, y, truth = make(1000, 2000, noise=0, bias=1, return_truth=True, random_state=0)
    assert stats.kstest(truth.coef, "norm").pvalue > 1e-3
    error = residuals(X, y, truth)[~truth.is_outlier]
    assert_allclose(error, 0, atol=1e-10)


@pytest.mark.parametrize(
    "params", [{}, {"density": 0.2}, {"correlation": 0.8}, {"class_sep": 5.0}], ids=str
)
@pytest.mark.parametrize("weights", [None, [1, 1], [0.96, 0.04], [6, 3, 1]])
def test_class_shares_and_probabilities(weights, params):
    n_classes = 3 if weights is None else len(weights)
    X, _, truth = make_contaminated_classification(
        20_000,
        n_classes=n_classes,
        weights=weights,
        return_truth=True,
        random_state=0,
        **params,
    )
    priors = np.ones(n_classes) if weights is None else np.array(weights)
    priors = priors / priors.sum()
    assert truth.coef.shape == (n_classes, 20)
    probability = softmax(X @ truth.coef.T + truth.intercept, axis=1)
    assert_allclose(probability.mean(axis=0), priors, atol=1e-3)
    counts = np.bincount(truth.y_clean, minlength=n_classes)
    assert stats.chisquare(counts, 20_000 * priors).pvalue > 1e-3
    # Of the rows to which a class has a probability p, a share p is of that class.
    for k in range(n_classes):
        groups = np.digitize(probability[:, k], [0.05, 0.2, 0.5, 0.8, 0.95])
        expected = np.bincount(groups, probability[:, k])
        variance = np.bincount(groups, probability[:, k] * (1 - probability[:, k]))
        found = np.bincount(groups, truth.y_clean == k)
        assert np.all((found - expected) ** 2 < 16 * variance + 1)


def test_features_may_say_nothing_of_the_classes():
    X, y, truth = make_contaminated_classification(
        5000, 3, class_sep=0, contamination=0, return_truth=True, random_state=0
    )
    assert_array_equal(truth.coef, 0)
    assert_array_equal(y, truth.y_clean)
    for column in X.T:
        assert stats.ks_2samp(column[y == 0], column[y == 1]).pvalue > 1e-3


@pytest.mark.parametrize("n_classes", [2, 4])
def test_wrong_labels_are_others_at_random(n_classes):
    _, y, truth = make_contaminated_classification(
        10_000,
        n_classes=n_classes,
        contamination=0.3,
        return_truth=True,
        random_state=0,
    )
    assert_array_equal(y != truth.y_clean, truth.is_outlier)
    assert set(y) == set(range(n_classes))
    if n_classes > 2:
        bad = truth.is_outlier
        for k in range(n_classes):
            taken = np.bincount(y[bad & (truth.y_clean == k)], minlength=n_classes)
            assert stats.chisquare(np.delete(taken, k)).pvalue > 1e-3


@pytest.mark.parametrize("density", [1.0, 0.3])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_wild_rows_are_multiples_with_random_labels(n_classes, density):
    params = {"n_classes": n_classes, "density": density, "random_state": 0}
    X, y, truth = make_contaminated_classification(
        10_000, 5, outliers="rows", outlier_size=-7, return_truth=True, **params
    )
    clean, _ = make_contaminated_classification(10_000, 5, contamination=0, **params)
    assert sp.issparse(X) == (density < 1)
    bad = truth.is_outlier
    assert_array_equal(dense(X)[bad], -7 * dense(clean)[bad])
    for k in range(n_classes):
        labels = np.bincount(y[bad & (truth.y_clean == k)], minlength=n_classes)
        assert stats.chisquare(labels).pvalue > 1e-3


@pytest.mark.parametrize(
    "make, params, message",
    [
        (make_heavy_tailed_regression, {"distribution": "normal"}, "'distribution'"),
        (make_heavy_tailed_regression, {"tail_index": 0}, "'tail_index'"),
        (make_heavy_tailed_regression, {"tail_index": np.inf}, "'tail_index'"),
        (make_heavy_tailed_regression, {"noise": -1}, "'noise'"),
        (make_heavy_tailed_regression, {"bias": np.nan}, "'bias'"),
        (make_heavy_tailed_regression, {"symmetric": "yes"}, "'symmetric'"),
        (make_contaminated_regression, {"contamination": 1.1}, "'contamination'"),
        (make_contaminated_regression, {"outliers": "labels"}, "'outliers'"),
        (make_contaminated_regression, {"outlier_size": np.inf}, "'outlier_size'"),
        (make_contaminated_regression, {"n_leverage_features": 0}, "'n_leverage_feat"),
        (make_contaminated_classification, {"n_classes": 1}, "'n_classes'"),
        (make_contaminated_classification, {"outliers": "shift"}, "'outliers'"),
        (make_contaminated_classification, {"class_sep": -1}, "'class_sep'"),
        (make_contaminated_classification, {"weights": 0.5}, "'weights'"),
        *(
            (make, params, f"'{name}'")
            for make in GENERATORS
            for params in (
                {"n_samples": 0},
                {"n_features": 1.5},
                {"correlation": 1},
                {"density": 0},
                {"return_truth": "no"},
                {"random_state": "seed"},
            )
            for name in params
        ),
    ],
)
def test_a_bad_parameter_is_named(make, params, message):
    with pytest.raises(ValueError, match=message):
        make(**params)


@pytest.mark.parametrize("name", ["tail_index", "feature_tail_index"])
def test_stable_distributions_end_at_2(name):
    params = {"distribution": "stable", name: 2.1}
    with pytest.raises(ValueError, match=f"^{name}=2.1 .* at most 2, or another"):
        make_heavy_tailed_regression(**params)
    make_heavy_tailed_regression(distribution="student-t", tail_index=2.1)


@pytest.mark.parametrize("make", GENERATORS)
def test_sparse_columns_cannot_be_correlated(make):
    with pytest.raises(
        ValueError, match=r"correlation=0.5 .*density=0.1. Set density="
    ):
        make(correlation=0.5, density=0.1)


def test_there_are_no_more_leverage_features_than_features():
    with pytest.raises(
        ValueError, match=r"n_leverage_features=6 .*n_features=5. Lower"
    ):
        make_contaminated_regression(
            n_features=5, outliers="leverage", n_leverage_features=6
        )


@pytest.mark.parametrize("weights", [[1], [1, 1, 1], [1, 0], [1, -1], [1, np.nan]])
def test_weights_are_a_positive_number_per_class(weights):
    with pytest.raises(ValueError, match=r"weights=\[1.* of 2 classes. Give one"):
        make_contaminated_classification(weights=weights)
