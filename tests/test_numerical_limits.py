"""Long streams, tiny scales, large counters and data beyond 2**31 elements.

``MEDSGD_UPDATES=1e8 python -m pytest -s tests/test_numerical_limits.py`` makes the
streams as long as that, says how far they drift, and fits all of a file of which the
suite visits a few rows.
"""

import os
import tracemalloc

import numpy as np
import pytest
from medsgd._core.order import group, shuffle
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.base import clone

from medsgd import MedianSGDClassifier, MedianSGDRegressor
from medsgd._core import dense, sparse
from medsgd._fit.data import Data
from medsgd._fit.state import State
from medsgd._fit.units import feature_units
from medsgd._utils.guards import canonical_rows

N_UPDATES = int(float(os.environ.get("MEDSGD_UPDATES", "1e5")))
LONG = N_UPDATES >= 10**7
# The order of a pass takes 8 bytes a sample.
LONGEST_PASS = 10**7
BEYOND = 2**31


class Stream:
    """Passes of compiled code over rows, in the user's units, without validation."""

    def __init__(self, X, y, **params):
        self.X, self.y = X, y.astype(X.dtype)
        self.weight, self.losses = np.ones_like(self.y), np.zeros(len(y))
        est = MedianSGDRegressor(
            standardize=False, leverage_weights=False, average=True, **params
        )
        units = feature_units(
            X[:1], np.ones(1), standardize=False, needed=False, centered=False
        )
        # Of the mean too, where sparse rows have smaller steps of the intercept.
        data = Data(X=X, y=self.y, weight=self.weight, units=units)
        self.settings = est._plan().settings(data, intercept_decay=1.0)
        state = State(coef=np.zeros(X.shape[1], X.dtype), residual_scale=1.0)
        self.state = state.prepared(
            self.settings,
            n_strata=1,
            inverse_scale=units.inverse_scale if isinstance(X, csr_array) else None,
        )
        self.state.scale[:] = 1
        self.run_pass, self.data = dense.run_pass, (*units_of(units), X)
        if isinstance(X, csr_array):
            self.run_pass, self.data = sparse.run_pass, (X.data, X.indices, X.indptr)

    def follow(self, iterations):
        """One pass; the objective."""
        return self.run_pass(
            self.settings,
            self.state,
            *self.data,
            self.y,
            self.weight,
            None,
            iterations,
            self.losses,
        )[0]


def units_of(units):
    return units.center, units.inverse_scale


def drift(actual, desired):
    """The largest difference of anything a pass leaves, by the size of it."""
    largest = 0.0
    assert desired.coef.any()
    assert desired.location.any() or not desired.location.size
    for get in (
        lambda state: state.coef,
        lambda state: state.solution()[0],
        lambda state: state.location,
        lambda state: state.scale,
        lambda state: np.array([state.intercept, state.average_intercept]),
        lambda state: np.array([state.residual_scale, state.squared_norm]),
    ):
        one, other = get(actual), get(desired)
        if other.size:
            size = abs(other).max() or 1.0  # not all have an intercept and a scale
            largest = max(largest, abs(one - other).max() / size)
    return largest


def sparse_rows(n=1000, d=20):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d)) * (rng.random((n, d)) < 0.2)
    return X, X @ rng.standard_normal(d) + rng.standard_t(2, size=n)


@pytest.mark.parametrize(
    "name, momentum, penalty",
    [
        ("mean", 0.0, "l2"),
        ("mean", 0.9, "l2"),
        ("coord-median", 0.0, "l1"),
        ("geometric-median", 0.5, "l2"),
        ("spp-l1", 0.0, "l1"),
        ("spp-l1", 0.5, "l2"),
        ("spp-l2", 0.0, "elasticnet"),
        ("spp-l2", 0.99, "l2"),
    ],
)
def test_lazy_coefficients_do_not_drift(name, momentum, penalty):
    X, y = sparse_rows()
    params = {
        "gradient_estimator": name,
        "momentum": momentum,
        "penalty": penalty,
        "alpha": 0.01,
        "learning_rate": "constant",
        "eta0": 1e-3,
    }
    # In passes as long as can be, in short ones after each of which nothing is lazy,
    # and with nothing lazy but the decay.
    long, short, plain = (Stream(A, y, **params) for A in (*[csr_array(X)] * 2, X))
    rng, size = np.random.default_rng(0), long.settings.n_gradients
    for done in range(0, N_UPDATES, LONGEST_PASS):
        n = min(LONGEST_PASS, N_UPDATES - done)
        iterations = rng.integers(len(y), size=(n, size))
        long.follow(iterations)
        plain.follow(iterations)
        for start in range(0, n, 1000):
            short.follow(iterations[start : start + 1000])
    assert long.state.t == N_UPDATES + 1
    drifts = [drift(long.state, plain.state), drift(long.state, short.state)]
    if penalty != "l2":
        drifts.pop()  # the end of a pass charges the L1 penalty to all coefficients
    print(f"\n{name} {momentum} {penalty}:", *map("{:.1e}".format, drifts))
    assert max(drifts) < 1e-6


@pytest.mark.parametrize(
    "name, momentum",
    [
        ("mean", 0.9),
        ("coord-median", 0.5),
        ("spp-l1", 0.0),
        ("spp-l2", 0.0),
        ("spp-l2", 0.99),
    ],
)
def test_streams_do_not_drift(name, momentum):
    X, y = sparse_rows()
    est = MedianSGDRegressor(
        gradient_estimator=name,
        momentum=momentum,
        alpha=0.01,
        learning_rate="constant",
        eta0=1e-3,
        average=True,
        fit_intercept=False,  # without it dense rows are not centred either
    )
    size = est._plan().n_gradients
    n_updates = min(N_UPDATES // 10, 10**6 // size)
    rows = np.arange(n_updates * size) % len(y)
    plain, lazy = clone(est), clone(est)
    streams = (plain, X[rows]), (lazy, csr_array(X)[rows])
    for seed in range(N_UPDATES // n_updates):
        for stream, data in streams:
            stream.set_params(random_state=seed).partial_fit(data, y[rows])
    assert lazy.t_ == N_UPDATES + 1
    largest = drift(lazy._states[0], plain._states[0])
    print(f"\n{name} {momentum}: {largest:.1e}")
    assert largest < 1e-6


def test_a_sample_twice_in_a_row_moves_the_scale_alike():
    # The second gradient is next to m, so that digits of |g - m| cancel.
    X, y = sparse_rows()
    order = np.random.default_rng(0).integers(len(y), size=20_000)
    params = {"gradient_estimator": "spp-l2", "eta0": 1e-8}
    streams = [Stream(A, y, **params) for A in (csr_array(X), X)]
    for stream in streams:
        stream.follow(np.repeat(order, 2)[:, np.newaxis])
    assert drift(*(stream.state for stream in streams)) < 1e-9


LAYOUTS = [np.asarray, csr_array]


def plain_sgd(X, y, order, *, eta, alpha, momentum, t=1.0):
    """Iterates of SGD on squares, all decay and momentum charged at once."""
    w, m, iterates = np.zeros(X.shape[1]), np.zeros(X.shape[1]), []
    for i in order:
        m = momentum * m + (1 - momentum) * (X[i] @ w - y[i]) * X[i]
        w = max(0.0, 1 - eta(t) * alpha) * w - eta(t) * m
        iterates.append(w)
        t += 1
    return np.array(iterates)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("momentum", [0.0, 1e-5, 0.3])
@pytest.mark.parametrize("decay", [0.0, 1e-300, 1e-5, 0.5])  # of each step
def test_scales_do_not_underflow(layout, momentum, decay):
    # The products of factors as these soon leave the range of a double.
    X, y = sparse_rows(500, 20)
    alpha = 1e10
    eta = (1 - decay) / alpha
    stream = Stream(
        layout(X),
        y,
        gradient_estimator="mean",
        momentum=momentum,
        alpha=alpha,
        learning_rate="constant",
        eta0=eta,
        fit_intercept=False,
    )
    order = np.random.default_rng(0).integers(500, size=5000)
    stream.follow(order[:, np.newaxis])
    desired = plain_sgd(X, y, order, eta=lambda t: eta, alpha=alpha, momentum=momentum)
    size = abs(desired).max()
    assert_allclose(stream.state.coef, desired[-1], rtol=0, atol=1e-12 * size)
    average = stream.state.solution()[0]
    assert_allclose(average, desired.mean(axis=0), rtol=0, atol=1e-12 * size)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("start", [BEYOND - 5, 2 * BEYOND - 5, 2**53 - 5])
def test_clocks_go_on(layout, start):
    X, y = sparse_rows(200, 5)
    est = MedianSGDRegressor(
        gradient_estimator="mean",
        momentum=0.5,
        standardize=False,
        shuffle=False,
        fit_intercept=False,
        alpha=0,
        power_t=0.25,
        eta0=1.0,
    )
    est.partial_fit(layout(X), y)
    est.coef_ = np.zeros(5)
    est.t_ = est._states[0].t = float(start)
    est._states[0].location[:] = 0
    est.partial_fit(layout(X), y)
    desired = plain_sgd(
        X, y, range(200), eta=lambda t: t**-0.25, alpha=0, momentum=0.5, t=float(start)
    )
    assert_allclose(est.coef_, desired[-1], rtol=1e-10)
    assert est.t_ == float(start) + 200


@pytest.mark.parametrize("name", ["spp-l1", "spp-l2"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_counts_of_updates_go_on(name, layout):
    # After 147 updates of a scale its rate stays; the count must not begin anew.
    X, y = sparse_rows(300, 5)
    params = {"random_state": 0, "gradient_estimator": name, "standardize": False}
    results = []
    for count in (1e3, BEYOND - 5.0, 2 * BEYOND - 5.0, 2.0**53):
        est = MedianSGDClassifier(**params).partial_fit(layout(X), y > 0, [False, True])
        est._states[0].n_updates[:] = count
        est.partial_fit(layout(X), y > 0)
        assert (est._states[0].n_updates >= count).all()
        results.append(np.append(est.coef_, est.tau_))
    assert_array_equal(results, results[:1] * 4)


def hole(path, dtype):
    """More than 2**31 zeros, in a file that takes no room on the disk."""
    if os.name == "nt":
        pytest.skip("needs files with holes")
    zeros = np.memmap(path, dtype=dtype, mode="w+", shape=BEYOND + 2**20)
    path.unlink()
    return zeros


N_FEATURES = 2**11


@pytest.fixture(scope="module")
def large_rows(tmp_path_factory):
    """Rows of which the last 100 are not 0, their targets and weights."""
    X = hole(tmp_path_factory.mktemp("rows") / "X", np.float32)
    X = X.reshape(-1, N_FEATURES)
    rng = np.random.default_rng(0)
    X[-100:] = rng.standard_normal((100, N_FEATURES))
    y, weight = np.zeros((2, len(X)), dtype=np.float32)
    y[-100:] = X[-100:, :3].sum(axis=1)
    weight[-100:] = 1
    return X, y, weight


def test_rows_beyond_2_to_the_31_elements(large_rows):
    X, y, _ = large_rows
    assert (len(X) - 100) * N_FEATURES > BEYOND
    far, near = Stream(X, y, eta0=1e-4), Stream(np.array(X[-100:]), y[-100:], eta0=1e-4)
    order = np.random.default_rng(1).integers(100, size=(1000, 1))
    far.follow(len(X) - 100 + order)
    near.follow(order)
    assert abs(near.state.coef).max() > 0
    assert_array_equal(far.state.coef, near.state.coef)
    assert_array_equal(far.losses[-100:], near.losses)


@pytest.mark.skipif(not LONG, reason="reads 8 GB")
def test_a_fit_of_more_than_2_to_the_31_elements(large_rows):
    X, y, weight = large_rows
    # The refinement reads all rows for its predictions once more.
    est = MedianSGDRegressor(max_iter=10, tol=None, random_state=0, refine=False)
    near = clone(est).fit(X[-100:], y[-100:])
    tracemalloc.start()
    est.fit(X, y, sample_weight=weight)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.1 * X.nbytes
    assert_array_equal(est.coef_, near.coef_)
    assert_array_equal(est.predict(X[-100:]), near.predict(X[-100:]))


@pytest.mark.parametrize("name", ["mean", "coord-median", "spp-l1", "spp-l2"])
def test_more_than_2_to_the_31_non_zeros(name, tmp_path):
    data = hole(tmp_path / "data", np.float32)
    indices = hole(tmp_path / "indices", np.int64)
    # Rows nobody visits, then 100 of five entries each.
    before = np.arange(0, BEYOND + 1, 2**20)
    indptr = np.r_[before, BEYOND + 5 * np.arange(1, 101)]
    rng = np.random.default_rng(0)
    data[BEYOND : BEYOND + 500] = rng.standard_normal(500)
    columns = np.array([rng.choice(30, 5, replace=False) for _ in range(100)])
    indices[BEYOND : BEYOND + 500] = np.sort(columns).ravel()
    small = csr_array(
        (
            np.array(data[BEYOND : BEYOND + 500]),
            np.array(indices[BEYOND : BEYOND + 500]),
            5 * np.arange(101),
        ),
        shape=(100, 30),
    )
    y = small.toarray().sum(axis=1)
    near = Stream(small, y, gradient_estimator=name)
    far = Stream(small, np.r_[np.zeros(len(before) - 1), y], gradient_estimator=name)
    far.y = far.y.astype(np.float32)
    far.data = data, indices, indptr
    order = rng.integers(100, size=(1000, near.settings.n_gradients))
    near.follow(order)
    far.follow(len(before) - 1 + order)
    assert abs(near.state.coef).max() > 0
    assert_array_equal(far.state.coef, near.state.coef)


def test_indices_become_as_wide_as_row_pointers():
    X = csr_array(sparse_rows()[0])
    X.indptr = X.indptr.astype(np.int64)
    assert X.indices.dtype == np.int32
    rows = canonical_rows(X)
    assert rows.indices.dtype == rows.indptr.dtype == np.int64
    assert_array_equal(rows.toarray(), X.toarray())


@pytest.mark.parametrize("n", [1, 2, 1000])
def test_orders_of_large_numbers(n):
    order = BEYOND * 4 + np.arange(n)
    shuffle(order, 2**32 - 1)
    assert_array_equal(np.sort(order), BEYOND * 4 + np.arange(n))
    iterations = group(order, None, 1, 3)
    assert set(iterations.ravel()) == set(order)
