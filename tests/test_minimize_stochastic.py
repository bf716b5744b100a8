"""The minimizer: its trajectory, the result it returns, what ends it, its errors."""

from itertools import cycle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import OptimizeResult
from sklearn.linear_model import Ridge
from sklearn.utils._param_validation import InvalidParameterError

from medsgd import MedianSGDRegressor, minimize_stochastic
from medsgd.gradient_estimators import SPPL1, SPPL2, CoordMedian, GeometricMedian, Mean

CLASSES = {
    "mean": Mean,
    "coord-median": CoordMedian,
    "geometric-median": GeometricMedian,
    "spp-l1": SPPL1,
    "spp-l2": SPPL2,
}
MEDIANS = [name for name in CLASSES if name != "mean"]
TARGET = np.array([1.0, 2.0])


def noisy(x, rng):
    return x - TARGET + rng.standard_cauchy(2)


def exact(x, rng):
    return x - TARGET


def with_nan_each(period, grad=noisy):
    """The same gradients, after each ``period - 1`` of which there is one of NaN."""
    turns = cycle([False] * (period - 1) + [True])
    return lambda x, rng: np.full(2, np.nan) if next(turns) else grad(x, rng)


def iterates(grad, x0, **params):
    seen = []
    result = minimize_stochastic(grad, x0, callback=seen.append, **params)
    return np.array(seen), result


# The trajectory


def least_squares(X, y):
    """Gradients of the samples in their order, again and again."""
    samples = cycle(zip(np.column_stack([X, np.ones(len(X))]), y, strict=True))

    def grad(x, rng):
        row, target = next(samples)
        return (row @ x - target) * row

    return grad


@pytest.mark.parametrize(
    "learning_rate, average",
    [
        ("constant", False),
        ("constant", 15),
        ("invscaling", False),
        ("invscaling", True),
    ],
)
@pytest.mark.parametrize("momentum", [0.0, 0.6])
@pytest.mark.parametrize("n_gradients", [1, 3, 5])
@pytest.mark.parametrize("name", CLASSES)
def test_least_squares_take_the_path_of_the_regressor(
    name, n_gradients, momentum, learning_rate, average
):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = X @ [1.0, -2.0, 0.5] + 1 + rng.standard_t(2, size=60)
    radius = {"tau": 0.3} if name.startswith("spp") else {}
    shared = {
        "n_gradients": n_gradients,
        "learning_rate": learning_rate,
        "eta0": 0.05,
        "power_t": 0.3,
        "average": average,
    }
    # The intercept of a regression by medians begins at the median of y.
    x0 = np.append(np.zeros(3), 0 if name == "mean" else np.median(y))
    seen, _ = iterates(
        least_squares(X, y),
        x0,
        gradient_estimator=CLASSES[name](momentum=momentum, **radius),
        max_iter=2 * 60 // n_gradients,
        **shared,
    )
    for n_epochs in (1, 2):
        est = MedianSGDRegressor(
            gradient_estimator=name,
            momentum=momentum,
            penalty=None,
            shuffle=False,
            standardize=False,
            leverage_weights=False,
            refine=False,
            max_iter=n_epochs,
            tol=None,
            **radius,
            **shared,
        ).fit(X, y)
        assert_allclose(
            seen[n_epochs * 60 // n_gradients - 1],
            np.append(est.coef_, est.intercept_),
            rtol=1e-11,
        )


def test_the_average_begins_where_it_is_told():
    options = {"max_iter": 20, "random_state": 0, "eta0": 0.1}
    plain, _ = iterates(noisy, [0.0, 0.0], **options)
    for average, start in [(True, 0), (1, 0), (8, 7), (20, 19), (21, 20)]:
        seen, result = iterates(noisy, [0.0, 0.0], average=average, **options)
        assert_array_equal(seen[: start + 1], plain[: start + 1])
        for k in range(start, 20):
            assert_allclose(seen[k], plain[start : k + 1].mean(axis=0), rtol=1e-12)
        assert_array_equal(result.x, seen[-1])
    seen, _ = iterates(noisy, [0.0, 0.0], average=False, **options)
    assert_array_equal(seen, plain)


def test_the_step_size_may_be_a_function_of_the_iteration():
    asked = []

    def step_size(t):
        asked.append(t)
        return 0.3 / t**0.7

    ours, _ = iterates(
        noisy, [0, 0], learning_rate=step_size, max_iter=9, random_state=0
    )
    named, _ = iterates(
        noisy,
        [0, 0],
        learning_rate="invscaling",
        eta0=0.3,
        power_t=0.7,
        max_iter=9,
        random_state=0,
    )
    assert asked == list(range(1, 10))
    assert_array_equal(ours, named)


@pytest.mark.parametrize("name", CLASSES)
def test_the_seed_decides_everything(name):
    def run(random_state):
        return minimize_stochastic(
            noisy,
            [0, 0],
            gradient_estimator=name,
            max_iter=20,
            random_state=random_state,
        ).x

    assert_array_equal(run(0), run(0))
    assert np.all(run(0) != run(1))
    assert np.all(run(None) != run(None))
    generator = np.random.default_rng(0)
    assert_array_equal(run(generator), run(0))
    assert np.all(run(generator) != run(0))


@pytest.mark.parametrize("name", MEDIANS)
def test_a_function_that_is_not_convex_under_heavy_tails(name):
    result = minimize_stochastic(
        lambda x, rng: x**3 - x + 0.3 * rng.standard_cauchy(2),
        [0.3, -0.3],
        gradient_estimator=name,
        eta0=0.2,
        max_iter=1500,
        average=500,
        random_state=0,
    )
    assert result.success
    assert_allclose(result.x, [1, -1], atol=0.1)


# The result


@pytest.mark.parametrize("name", CLASSES)
def test_the_result_is_that_of_scipy(name):
    x0 = np.zeros(2)
    result = minimize_stochastic(noisy, x0, gradient_estimator=name, max_iter=7)
    assert isinstance(result, OptimizeResult)
    assert set(result) == {
        *("x", "success", "status", "message", "nit", "nfev"),
        *("n_skipped", "gradient_estimator"),
    }
    assert result.x.shape == (2,)
    assert result.x.dtype == np.float64
    assert not np.shares_memory(result.x, x0)
    assert_array_equal(x0, 0)
    assert result.success is True
    assert (result.status, result.nit, result.n_skipped) == (0, 7, 0)
    assert "All iterations" in result.message
    assert isinstance(result.gradient_estimator, CLASSES[name])
    # Sample medians are of five gradients; a running scale begins with 25.
    n_calls = 7 * 5 if name in ("coord-median", "geometric-median") else 7
    assert result.nfev == n_calls + 24 * name.startswith("spp")
    assert result.gradient_estimator.n_updates_ == result.nfev


@pytest.mark.parametrize(
    "estimator, n_gradients, nfev",
    [
        ("spp-l2", 3, 25 + 9 * 3),
        ("spp-l2", 30, 10 * 30),
        (SPPL2(tau=1.0), "auto", 10),
        (SPPL1(tau=1.0), 3, 30),
        (CoordMedian(momentum=0.5), "auto", 50),
        (CoordMedian(), 1, 10),
    ],
)
def test_the_number_of_gradients(estimator, n_gradients, nfev):
    result = minimize_stochastic(
        noisy,
        [0, 0],
        gradient_estimator=estimator,
        n_gradients=n_gradients,
        max_iter=10,
    )
    assert result.nfev == nfev


def test_x_is_read_only_and_does_not_change_later():
    kept = []

    def grad(x, rng):
        kept.append(x)
        with pytest.raises(ValueError, match="read-only"):
            x += 1
        return exact(x, rng)

    seen, _ = iterates(grad, [0, 0], gradient_estimator="mean", max_iter=5)
    assert_array_equal(kept, [[0, 0], *seen[:-1]])


def test_grad_may_return_the_same_array_again():
    room = np.empty(2)

    def grad(x, rng):
        room[:] = noisy(x, rng)
        return room

    options = {"gradient_estimator": "coord-median", "max_iter": 20, "random_state": 0}
    reused, fresh = (minimize_stochastic(g, [0, 0], **options) for g in (grad, noisy))
    assert_array_equal(reused.x, fresh.x)


@pytest.mark.parametrize("name", CLASSES)
def test_an_estimator_is_copied_and_its_state_goes_on(name):
    given, rng = CLASSES[name](momentum=0.5), np.random.default_rng(0)
    options = {"learning_rate": "constant", "eta0": 0.1, "n_gradients": 2}
    whole = minimize_stochastic(
        noisy,
        [0, 0],
        gradient_estimator=given,
        max_iter=20,
        random_state=np.random.default_rng(0),
        **options,
    )
    x, estimator = [0, 0], given
    for max_iter in (5, 15):
        part = minimize_stochastic(
            noisy,
            x,
            gradient_estimator=estimator,
            max_iter=max_iter,
            random_state=rng,
            **options,
        )
        assert part.gradient_estimator is not estimator
        x, estimator = part.x, part.gradient_estimator
    assert vars(given) == vars(CLASSES[name](momentum=0.5))
    assert_array_equal(x, whole.x)
    assert_array_equal(estimator.estimate_, whole.gradient_estimator.estimate_)
    assert estimator.n_updates_ == whole.gradient_estimator.n_updates_


class FirstGradient:
    """As little as an estimator needs to have."""

    def update(self, gradients):
        self.shape = gradients.shape
        return gradients[0]


def test_an_estimator_needs_only_a_method_update():
    options = {"max_iter": 20, "random_state": 0}
    ours = minimize_stochastic(
        noisy, [0, 0], gradient_estimator=FirstGradient(), **options
    )
    mean = minimize_stochastic(noisy, [0, 0], gradient_estimator="mean", **options)
    assert_array_equal(ours.x, mean.x)
    assert ours.gradient_estimator.shape == (1, 2)
    assert (ours.nfev, ours.n_skipped) == (20, 0)


# What ends it


def test_callbacks_are_called_as_scipy_does():
    points, results = [], []

    def by_name(intermediate_result):
        results.append(intermediate_result)

    def spoil(xk):
        points.append(xk.copy())
        xk[:] = np.nan

    options = {"max_iter": 6, "random_state": 0}
    for callback in (by_name, spoil):
        end = minimize_stochastic(noisy, [0, 0], callback=callback, **options)
    assert_array_equal([result.x for result in results], points)
    assert [result.nit for result in results] == [1, 2, 3, 4, 5, 6]
    assert [result.nfev for result in results] == [25, 26, 27, 28, 29, 30]
    assert_array_equal(end.x, points[-1])


def test_a_callback_may_end_the_run():
    count = iter(range(3))

    def callback(xk):
        if next(count) == 2:
            raise StopIteration

    result = minimize_stochastic(
        exact, [0, 0], gradient_estimator="mean", callback=callback
    )
    alone = minimize_stochastic(exact, [0, 0], gradient_estimator="mean", max_iter=3)
    assert_array_equal(result.x, alone.x)
    assert (result.success, result.status) == (False, 99)
    assert (result.nit, result.nfev) == (3, 3)
    assert "StopIteration" in result.message


def test_other_errors_of_a_callback_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        minimize_stochastic(noisy, [0, 0], callback=lambda x: 1 / 0)


@pytest.mark.parametrize("name", MEDIANS)
def test_gradients_that_are_not_finite_are_left_out(name):
    options = {"learning_rate": "constant", "eta0": 0.1, "random_state": 0}
    options |= {"gradient_estimator": name, "n_gradients": 3}
    estimator = CLASSES[name](**{"tau": 1.0} if name.startswith("spp") else {})
    options["gradient_estimator"] = estimator
    # Of three gradients the last one is left out, which leaves two.
    spoiled = minimize_stochastic(with_nan_each(3), [0, 0], max_iter=10, **options)
    options["n_gradients"] = 2
    plain = minimize_stochastic(noisy, [0, 0], max_iter=10, **options)
    assert_array_equal(spoiled.x, plain.x)
    assert (spoiled.nfev, spoiled.n_skipped, spoiled.success) == (30, 10, True)
    assert plain.n_skipped == 0


@pytest.mark.parametrize("name", MEDIANS)
def test_no_step_without_a_gradient(name):
    estimator = CLASSES[name](momentum=0.5)
    estimator.update([5.0, 5.0])
    seen, result = iterates(
        with_nan_each(2),
        [0, 0],
        gradient_estimator=estimator,
        n_gradients=1,
        max_iter=10,
        random_state=0,
    )
    assert_array_equal(seen[1::2], seen[::2])
    assert np.all(seen[2::2] != seen[1:-1:2])
    assert (result.nit, result.n_skipped, result.success) == (10, 5, True)


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("name", MEDIANS)
def test_a_run_without_any_gradient_has_failed(name, used):
    estimator = CLASSES[name]()
    if used:
        estimator.update([[5.0, 5.0], [np.nan, 0.0]])
    x0 = np.array([3.0, 4.0])
    result = minimize_stochastic(
        with_nan_each(1), x0, gradient_estimator=estimator, max_iter=10
    )
    assert_array_equal(result.x, x0)
    assert not np.shares_memory(result.x, x0)
    assert (result.success, result.status, result.nit) == (False, 2, 10)
    assert result.n_skipped == result.nfev
    assert "No gradient was finite" in result.message


def test_the_mean_refuses_gradients_that_are_not_finite():
    with pytest.raises(ValueError, match="1 of 1 gradients are not finite"):
        minimize_stochastic(with_nan_each(3), [0, 0], gradient_estimator="mean")


@pytest.mark.parametrize("average", [False, True])
def test_an_overflow_ends_the_run_at_the_last_finite_iterate(average):
    seen, result = iterates(
        lambda x, rng: -x,
        [1.0, 2.0],
        gradient_estimator="mean",
        learning_rate="constant",
        eta0=1e100,
        average=average,
    )
    assert (result.success, result.status) == (False, 1)
    assert (result.nit, result.nfev, len(seen)) == (3, 4, 3)
    assert_array_equal(result.x, seen[-1])
    assert_allclose(
        seen[-1], [1e300 / (3 if average else 1), 2e300 / (3 if average else 1)]
    )
    assert "overflowed: decrease eta0" in result.message


# What it refuses


@pytest.mark.parametrize(
    "params",
    [
        {"grad": None},
        {"x0": None},
        {"gradient_estimator": "median"},
        {"gradient_estimator": None},
        {"n_gradients": 0},
        {"n_gradients": 2.0},
        {"learning_rate": "adaptive"},
        {"learning_rate": 0.1},
        {"eta0": 0},
        {"eta0": "auto"},
        {"power_t": np.nan},
        {"power_t": "half"},
        {"max_iter": 0},
        {"max_iter": 1e3},
        {"average": -1},
        {"average": 0.5},
        {"callback": "print"},
    ],
    ids=str,
)
def test_bad_parameters_are_named(params):
    (name,) = params
    message = f"The '{name}' parameter of minimize_stochastic must be"
    with pytest.raises(InvalidParameterError, match=message):
        minimize_stochastic(**{"grad": noisy, "x0": [0, 0]} | params)


@pytest.mark.parametrize(
    "x0", [[], [[0.0, 0.0]], [0.0, np.nan], [np.inf, 0.0]], ids=str
)
def test_a_bad_start_is_shown(x0):
    with pytest.raises(ValueError, match=r"x0 must be finite.*shape \(n,\).*got \["):
        minimize_stochastic(noisy, x0)


@pytest.mark.parametrize(
    "gradient, shape",
    [(1.0, "()"), ([1.0], "(1,)"), (np.ones((2, 1)), "(2, 1)"), (None, "()")],
    ids=str,
)
def test_a_gradient_of_another_shape_is_refused(gradient, shape):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        minimize_stochastic(lambda x, rng: gradient, [0, 0])
    assert "grad must return an array of the shape of x0, (2,)" in str(caught.value)
    assert str(caught.value).endswith(f"got {shape}.")


def test_parameters_of_the_estimator_are_checked():
    with pytest.raises(InvalidParameterError, match=r"'tau' parameter of \w+ must"):
        minimize_stochastic(noisy, [0, 0], gradient_estimator=SPPL2(tau=-1.0))


def test_scikit_learn_checks_parameters_within_grad():
    def grad(x, rng):
        Ridge(alpha=-1.0).fit(np.array([[0.0], [1.0]]), [0, 1])
        return exact(x, rng)

    with pytest.raises(InvalidParameterError, match="alpha"):
        minimize_stochastic(grad, [0, 0], max_iter=1)


def test_a_run_that_ends_without_gradients_has_failed():
    result = minimize_stochastic(
        lambda x, rng: 4 * x**3 if np.max(abs(x)) < 1e9 else x * np.inf,
        [2.0, 2.0],
        gradient_estimator="coord-median",
        learning_rate="constant",
        eta0=1,
        max_iter=100,
    )
    assert (result.success, result.status) == (False, 2)
    assert np.isfinite(result.x).all()


def test_some_skipped_gradients_are_no_failure():
    def grad(x, rng):
        return x * (np.nan if rng.random() < 0.5 else 1)

    result = minimize_stochastic(grad, [1.0], max_iter=200, random_state=0)
    assert result.success
    assert 50 < result.n_skipped < 150


@pytest.mark.parametrize("eta", [np.nan, np.inf, None, "1"])
def test_a_step_size_that_is_none_is_shown(eta):
    with pytest.raises(ValueError, match=r"learning_rate\(1\) must be a finite number"):
        minimize_stochastic(exact, [0, 0], learning_rate=lambda t: eta)


def test_a_class_is_no_estimator():
    with pytest.raises(ValueError, match=r"SPPL2\. Call it"):
        minimize_stochastic(exact, [0, 0], gradient_estimator=SPPL2)


def test_a_builtin_can_be_the_callback():
    seen = []
    minimize_stochastic(exact, [1.0, 2.0], max_iter=3, callback=seen.append)
    assert len(seen) == 3
