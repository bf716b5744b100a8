"""Losses in the unit of a robust scale, and where the intercept starts."""

import numpy as np
import pytest
import scipy.sparse as sp
from medsgd._core.losses import REGRESSION_LOSSES, evaluate
from numpy.testing import assert_allclose
from scipy.optimize import approx_fprime
from scipy.stats import norm
from sklearn.linear_model import HuberRegressor

from medsgd import MedianSGDClassifier, MedianSGDRegressor
from medsgd.datasets import make_contaminated_regression

MEDIANS = ["coord-median", "geometric-median", "spp-l1", "spp-l2"]
ESTIMATORS = ["mean", *MEDIANS]
LAYOUTS = [np.asarray, sp.csr_array]
SCALED = ["huber", "epsilon_insensitive", "squared_epsilon_insensitive", "bisquare"]


def regression(n=1500, d=5, seed=0, share=0.2):
    """Normal data with a share of the targets 100 too high."""
    X, y, truth = make_contaminated_regression(
        n, d, contamination=share, bias=2, return_truth=True, random_state=seed
    )
    return X, y, np.r_[truth.coef, truth.intercept]


def parameters(est):
    return np.r_[est.coef_, est.intercept_]


@pytest.mark.parametrize("epsilon", [0.5, 4.685, 1e6])
def test_bisquare_is_that_of_beaton_and_tukey(epsilon):
    code = REGRESSION_LOSSES["bisquare"].code
    residual = epsilon * np.linspace(-2, 2, 801)
    y = np.full(801, 3.0)
    value, derivative = evaluate(code, epsilon, y, y + residual)
    residual = (y + residual) - y
    u = np.minimum(np.abs(residual / epsilon), 1)
    expected = epsilon**2 / 6 * (1 - (1 - u**2) ** 3)
    assert_allclose(value, expected, rtol=1e-9, atol=1e-14 * epsilon**2)
    assert_allclose(
        derivative, residual * (1 - u**2) ** 2, rtol=1e-9, atol=1e-14 * epsilon
    )


@pytest.mark.parametrize("residual", [-9.0, -4.0, -1.3, -0.01, 0.2, 2.0, 4.68, 5.0])
def test_bisquare_has_the_derivative_of_its_value(residual):
    code = REGRESSION_LOSSES["bisquare"].code

    def value(p):
        return evaluate(code, 4.685, np.zeros(1), p)[0][0]

    p = np.array([residual])
    _, derivative = evaluate(code, 4.685, np.zeros(1), p)
    assert_allclose(derivative, approx_fprime(p, value, 1e-7), atol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_bisquare_stands_outliers_with_every_gradient_estimator(name, method, layout):
    X, y, truth = regression()
    est = MedianSGDRegressor(
        "bisquare", gradient_estimator=name, refine=False, random_state=0
    )
    if name == "mean":
        est.set_params(standardize=True)
    if method == "fit":
        est.fit(layout(X), y)
    else:
        for _ in range(30):
            for rows in np.array_split(np.arange(len(y)), 3):
                est.partial_fit(layout(X[rows]), y[rows])
    if name == "mean" and layout is sp.csr_array:
        # As in scikit-learn, the intercept takes steps of a hundredth.
        assert np.linalg.norm(est.coef_ - truth[:-1]) < 0.2
    else:
        assert np.linalg.norm(parameters(est) - truth) < 0.2


# Powers of two: nothing is rounded, and no sample crosses a threshold by chance.
@pytest.mark.parametrize("factor", [2.0**-10, 2.0**10])
@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("loss", SCALED)
def test_scaled_losses_commute_with_scaling_y(loss, name, factor):
    X, y, _ = regression(n=400)
    epsilon = 0.1 if loss == "bisquare" else "auto"
    est = MedianSGDRegressor(
        loss, gradient_estimator=name, epsilon=epsilon, random_state=0
    )
    # The mean's stopping criterion is absolute.
    est.set_params(max_iter=30, tol=None)
    expected = factor * parameters(est.fit(X, y))
    scale = est.scale_
    assert_allclose(parameters(est.fit(X, factor * y)), expected, rtol=1e-9)
    assert_allclose(est.scale_, factor * scale, rtol=1e-9)
    one, other = (MedianSGDRegressor(**est.get_params()) for _ in range(2))
    for _ in range(2):
        one.partial_fit(X, y)
        other.partial_fit(X, factor * y)
    assert_allclose(parameters(other), factor * parameters(one), rtol=1e-9)


def test_a_fixed_threshold_does_not_commute():
    X, y, _ = regression(n=400)
    est = MedianSGDRegressor("huber", epsilon=1.0, refine=False, random_state=0)
    one = parameters(est.fit(X, y))
    assert not np.allclose(parameters(est.fit(X, 1e3 * y)), 1e3 * one, rtol=1e-3)


def batch_huber(X, y):
    """Huber's M-estimator with threshold 1.345 scales, by reweighting."""
    A = np.column_stack([X, np.ones(len(X))])
    b = np.linalg.lstsq(A, y)[0]
    for _ in range(100):
        r = np.abs(y - A @ b)
        B = A * np.minimum(1, 1.345 * np.median(r) / 0.6744898 / r)[:, np.newaxis]
        b = np.linalg.solve(B.T @ A, B.T @ y)
    return b


@pytest.mark.parametrize("share", [0, 0.1])
def test_automatic_huber_is_the_batch_fit(share):
    X, y, _ = regression(n=3000, share=share)
    y = y + np.random.default_rng(1).standard_t(3, size=3000)
    est = MedianSGDRegressor(
        "huber", gradient_estimator="mean", epsilon="auto", random_state=0
    )
    est.set_params(average=3 * 3000, max_iter=30, tol=None).fit(X, y)
    standard_error = np.sqrt(3 / 3000)
    assert_allclose(parameters(est), batch_huber(X, y), atol=0.07 * standard_error)
    if not share:
        # Its scale is another one, which matters little without outliers.
        theirs = HuberRegressor(epsilon=1.345, alpha=1e-6).fit(X, y)
        assert_allclose(parameters(est), parameters(theirs), atol=0.3 * standard_error)


@pytest.mark.parametrize("epsilon", ["automatic", -1.0, None, np.nan, "1"])
def test_bad_thresholds(epsilon):
    X, y, _ = regression(n=30)
    for loss in ("huber", "bisquare", "squared_error"):
        with pytest.raises(ValueError, match="epsilon"):
            MedianSGDRegressor(loss, epsilon=epsilon).fit(X, y)


@pytest.mark.parametrize("params", [{"epsilon": "auto"}, {"loss": "bisquare"}], ids=str)
def test_a_classifier_has_no_residual_scale(params):
    X, y, _ = regression(n=30)
    (name,) = params
    est = MedianSGDClassifier(**params)
    with pytest.raises(ValueError, match=f"'{name}' parameter"):
        est.fit(X, y > 2)
    with pytest.raises(ValueError, match=f"'{name}' parameter"):
        est.partial_fit(X, y > 2, classes=[False, True])
    assert not hasattr(MedianSGDClassifier().fit(X, y > 2), "scale_")


def standing(**params):
    return MedianSGDRegressor(
        learning_rate="constant", eta0=1e-300, refine=False, max_iter=1, **params
    )


def fitted_once(est, method, *data, **kwargs):
    return getattr(est.set_params(tol=None), method)(*data, **kwargs)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_intercept_starts_at_the_median_of_y(name, method, layout):
    X, y, _ = regression(n=100)
    est = fitted_once(standing(gradient_estimator=name), method, layout(X), y)
    start = 0 if name == "mean" else np.median(y)
    # What one step of 1e-300 moves.
    assert_allclose(est.intercept_, [start], rtol=1e-14, atol=1e-290)
    est = standing(gradient_estimator=name, fit_intercept=False)
    fitted_once(est, method, layout(X), y)
    assert_allclose(est.intercept_, [0], atol=1e-290)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_the_median_of_y_counts_weights_as_copies(method):
    X, y, _ = regression(n=100)
    weight = np.random.default_rng(0).integers(0, 4, size=100)
    weight[0] += 1 - weight.sum() % 2
    expected = np.median(np.repeat(y, weight))
    est = fitted_once(standing(), method, X, y, sample_weight=weight)
    assert_allclose(est.intercept_, [expected], rtol=1e-14)
    assert not np.isclose(expected, np.median(y), rtol=1e-3)


def test_an_intercept_that_is_given_stays():
    X, y, _ = regression(n=100)
    est = fitted_once(standing(), "fit", X, y, intercept_init=[5.0])
    assert_allclose(est.intercept_, [5])
    est.set_params(warm_start=True)
    assert_allclose(fitted_once(est, "fit", X, y + 50).intercept_, [5])
    assert_allclose(fitted_once(est, "partial_fit", X, y + 50).intercept_, [5])


@pytest.mark.parametrize("x", [0.0, 0.5, 3.0])
def test_a_step_on_the_bisquare_moves_a_prediction_only_so_far(x):
    est = MedianSGDRegressor(
        loss="bisquare",
        gradient_estimator="mean",
        learning_rate="constant",
        eta0=100.0,
        alpha=0,
        standardize=False,
        refine=False,
        max_iter=1,
        tol=None,
    )
    # The scale starts at the only residual, and one step of its median makes it less.
    constant = 4.685 / norm.ppf(0.75) * np.exp(-0.005)
    derivative = (1 - 1 / constant**2) ** 2
    assert_allclose(est.fit([[x]], [1.0]).predict([[x]]), 6 * derivative, rtol=1e-12)
