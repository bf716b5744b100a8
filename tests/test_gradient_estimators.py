"""The location that each gradient estimator tracks, against independent solvers."""

import numpy as np
import pytest
import scipy.sparse as sp
from medsgd._core.medians import median_of_rows
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize

from medsgd import MedianSGDClassifier, MedianSGDRegressor

LAYOUTS = [np.asarray, sp.csr_matrix, sp.csr_array]
# Neither the features nor the samples' say are touched: the bare gradients.
BARE = {"standardize": False, "leverage_weights": False}


def standing(gradient_estimator, **params):
    """A regressor that tracks the gradients at coefficients of 0 without moving.

    At 0 the gradient of the squared error is -y * (x, 1).
    """
    est = MedianSGDRegressor(
        gradient_estimator=gradient_estimator,
        learning_rate="constant",
        eta0=1e-300,
        penalty=None,
        shuffle=False,
        **BARE,
        **params,
    )
    # The intercept starts at the median of the first targets. The gradient of this
    # sample is 0, where every location starts.
    return est.partial_fit(np.zeros((1, 3)), [0.0])


def location(est):
    return est._states[0].location[0]


def gradients_at_zero(X, y):
    return -y[:, np.newaxis] * np.column_stack([X, np.ones(len(X))])


def proximal_point(m, g, tau, momentum, norm):
    """argmin_z D(z - g) + |z - m|^2 / (2 tau), D the norm or its Huber function."""
    threshold = tau * momentum / (1 - momentum)

    def distance(z):
        size = np.abs(z - g) if norm == "l1" else np.array([np.linalg.norm(z - g)])
        if threshold == 0:
            return size.sum()
        huber = np.where(
            size <= threshold, size**2 / (2 * threshold), size - threshold / 2
        )
        return huber.sum()

    def objective(z):
        return tau * distance(z) + 0.5 * np.sum((z - m) ** 2)

    candidates = [
        minimize(
            objective, start, method="Powell", options={"xtol": 1e-10, "ftol": 1e-14}
        )
        for start in (m, g, (m + g) / 2)
    ]
    return min(candidates, key=lambda result: result.fun).x


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("momentum", [0.0, 0.6])
@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("seed", range(5))
def test_spp_steps_are_proximal_points(norm, momentum, layout, seed):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(6, 3)), rng.normal(size=6)
    tau = rng.choice([0.2, 1.0, 5.0])
    est = standing(f"spp-{norm}", tau=tau, momentum=momentum)
    expected = np.zeros(4)
    for i, g in enumerate(gradients_at_zero(X, y)):
        expected = proximal_point(expected, g, tau, momentum, norm)
        est.partial_fit(layout(X[i : i + 1]), y[i : i + 1])
        assert_allclose(location(est), expected, atol=1e-5)
        expected = location(est).copy()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_momentum_of_the_mean_is_heavy_ball(layout):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 3)), rng.normal(size=50)
    est = standing("mean", momentum=0.8).partial_fit(layout(X), y)
    expected = np.zeros(4)
    for g in gradients_at_zero(X, y):
        expected += (1 - 0.8) * (g - expected)
    assert_allclose(location(est), expected, rtol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 9, 16, 31])
def test_coordinate_median_is_that_of_numpy(n, dtype):
    rows = np.random.default_rng(n).normal(size=(n, 130)).astype(dtype)
    rtol = 4 * np.finfo(dtype).eps
    ours = median_of_rows("coord-median", rows, np.ones(n))
    assert_allclose(ours, np.median(rows, axis=0), rtol=rtol)


@pytest.mark.parametrize("seed", range(10))
def test_integer_weights_are_copies_in_a_coordinate_median(seed):
    rng = np.random.default_rng(seed)
    rows = rng.integers(-3, 4, size=(7, 40)).astype(float)
    weights = rng.integers(0, 4, size=7)
    weights[0] += 1
    copies = np.repeat(rows, weights, axis=0)
    ours = median_of_rows("coord-median", rows, weights.astype(float))
    assert_allclose(ours, np.median(copies, axis=0))


@pytest.mark.parametrize("d", [2, 3, 10])
@pytest.mark.parametrize("n", [3, 5, 8])
@pytest.mark.parametrize("seed", range(3))
def test_geometric_median_minimises_the_distances(seed, n, d):
    rng = np.random.default_rng(seed)
    rows, weights = rng.standard_t(2, size=(n, d)), rng.uniform(0.5, 2, size=n)

    def objective(z):
        return weights @ np.linalg.norm(rows - z, axis=1)

    solver = minimize(objective, rows.mean(axis=0), method="BFGS", tol=1e-12)
    best = min(solver.fun, *(objective(row) for row in rows))
    ours = median_of_rows("geometric-median", rows, weights)
    assert objective(ours) <= best * (1 + 1e-7)


def test_geometric_median_can_be_one_of_the_points():
    rows = np.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.1], [0.0, 1.0], [0.1, -1.0]])
    ours = median_of_rows("geometric-median", rows, np.ones(5))
    assert np.linalg.norm(ours) < 0.06  # no more than the asymmetry of the others
    heavy = median_of_rows("geometric-median", rows, np.array([9.0, 1, 1, 1, 1]))
    assert_array_equal(heavy, rows[0])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["coord-median", "geometric-median"])
def test_sample_medians_are_over_the_gradients_of_an_iteration(name, layout):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 3)), rng.normal(size=20)
    est = standing(name, n_gradients=5, momentum=0.5, batch_size=2)
    est.partial_fit(layout(X), y)
    expected = np.zeros(4)
    for block in np.split(gradients_at_zero(X, y), 2):
        batches = block.reshape(5, 2, 4).mean(axis=1)
        if name == "coord-median":
            middle = np.median(batches, axis=0)
        else:
            middle = minimize(
                lambda z, b=batches: np.linalg.norm(b - z, axis=1).sum(),
                batches.mean(axis=0),
                method="BFGS",
                tol=1e-12,
            ).x
        expected += 0.5 * (middle - expected)
    assert_allclose(location(est), expected, atol=1e-5)


def reference_spp_l2(X, y, *, eta, c, n_epochs):
    """DESIGN by the letter: SPP for the l2 norm with the tracked radius, in NumPy."""
    rows = np.column_stack([X, np.ones(len(X))])
    w, m, t = np.zeros(rows.shape[1]), np.zeros(rows.shape[1]), 0
    w[-1] = np.median(y)
    first = (rows[:256] @ w - y[:256])[:, np.newaxis] * rows[:256]
    s = np.median(np.linalg.norm(first, axis=1))
    for _ in range(n_epochs):
        for x, target in zip(rows, y, strict=True):
            t += 1
            g = (x @ w - target) * x
            r = np.linalg.norm(g - m)
            s *= np.exp(max(0.05, t**-0.6) * ((r > s) - 0.5))
            m += min(1, c * s / r) * (g - m)
            w -= eta * m
    return w, s


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_default_radius_follows_the_design(layout):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 4))
    y = X @ [1.0, 2.0, 3.0, 4.0] + 5 + rng.standard_t(1.5, size=400)
    w, s = reference_spp_l2(X, y, eta=0.01, c=0.1, n_epochs=3)
    est = MedianSGDRegressor(
        learning_rate="constant",
        eta0=0.01,
        penalty=None,
        shuffle=False,
        max_iter=3,
        tol=None,
        refine=False,
        **BARE,
    ).fit(layout(X), y)
    assert_allclose(np.r_[est.coef_, est.intercept_], w, rtol=1e-9)
    assert_allclose(est.tau_, 0.1 * s, rtol=1e-9)


@pytest.mark.parametrize("name", ["spp-l1", "spp-l2"])
def test_a_stream_in_pieces_is_tracked_throughout(name):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(900, 3)), rng.standard_cauchy(size=900)
    # The intercept starts at the median of the first call: the same 0 in both.
    y[1::2] = -y[::2]
    params = {"gradient_estimator": name, "shuffle": False, "penalty": None}
    params |= {"eta0": 0.01, **BARE}
    whole, pieces = MedianSGDRegressor(**params), MedianSGDRegressor(**params)
    whole.partial_fit(X, y)
    # The first 256 samples set the scale in both.
    for rows in (slice(0, 300), slice(300, 301), slice(301, 900)):
        pieces.partial_fit(X[rows], y[rows])
    assert_array_equal(whole.coef_, pieces.coef_)
    assert_array_equal(whole.intercept_, pieces.intercept_)
    assert whole.t_ == pieces.t_


@pytest.mark.parametrize("factor", [1e-3, 1e3, 1e-100, 1e100])
@pytest.mark.parametrize(
    "name", ["coord-median", "geometric-median", "spp-l1", "spp-l2"]
)
def test_a_fit_commutes_with_scaling_y(name, factor):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 3))
    y = X @ [1.0, -2.0, 0.5] + rng.standard_t(2, size=500)
    params = {"gradient_estimator": name, "random_state": 0, "alpha": 1e-3}
    one, other = (MedianSGDRegressor(**params).fit(X, y * f) for f in (1.0, factor))
    assert one.n_iter_ == other.n_iter_
    assert_allclose(other.coef_, factor * one.coef_, rtol=1e-6)
    assert_allclose(other.intercept_, factor * one.intercept_, rtol=1e-6)


def test_classes_are_tracked_apart():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 2))
    y = rng.random(600) < 0.1
    X[y] += 3
    est = MedianSGDClassifier(
        learning_rate="constant",
        eta0=1e-300,
        penalty=None,
        tau=0.05,
        shuffle=False,
        **BARE,
    ).partial_fit(X, y, classes=[False, True])
    for k, label in enumerate([False, True]):
        # At 0 the derivative of the log loss is 1/2 for negatives, -1/2 for positives.
        rows = np.column_stack([X, np.ones(600)])[y == label] * (0.5 - label)
        expected = np.zeros(3)
        for g in rows:
            expected += min(1, 0.05 / np.linalg.norm(g - expected)) * (g - expected)
        assert_allclose(est._states[0].location[k], expected, rtol=1e-10)
    assert_allclose(est._states[0].shares, [1 - y.mean(), y.mean()])
