"""What the public gradient estimators find, against independent solvers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize, minimize_scalar
from scipy.special import gamma
from scipy.stats import norm
from sklearn.base import clone

from medsgd.gradient_estimators import SPPL1, SPPL2, CoordMedian, GeometricMedian, Mean

SAMPLE_MEDIANS = [CoordMedian, GeometricMedian]
PROXIMAL = [SPPL1, SPPL2]
MEDIANS = [*SAMPLE_MEDIANS, *PROXIMAL]
ALL = [Mean, *MEDIANS]
SIZES = {SPPL1: np.abs, SPPL2: lambda z: np.linalg.norm(z, axis=-1)}
FEW = settings(max_examples=25, deadline=None, derandomize=True, database=None)


def gradients(n=30, d=4, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_t(2, size=(n, d)).astype(dtype)


def assert_same_state(one, other):
    assert vars(one).keys() == vars(other).keys()
    for name, value in vars(one).items():
        assert_array_equal(value, getattr(other, name))
        assert np.asarray(value).dtype == np.asarray(getattr(other, name)).dtype


@st.composite
def samples(draw):
    """Rows of one of two dtypes with ties among them, and weights."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, d = draw(st.integers(1, 9)), draw(st.integers(1, 20))
    rows = rng.standard_t(2, size=(n, d))
    rows[rng.integers(n)] = rows[0]
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    weights = draw(st.sampled_from([np.ones(n), rng.uniform(0.3, 2, n)]))
    return rows.astype(dtype), weights


# What they find: the proximal points of SPP


def proximal_point(m, g, tau, momentum, estimator_class):
    """argmin_z D(z - g) + |z - m|^2 / (2 tau), D the norm or its Huber function."""
    threshold = tau * momentum / (1 - momentum)

    def distance(z):
        size = SIZES[estimator_class](z - g)
        if threshold == 0:
            return np.sum(size)
        huber = np.where(
            size <= threshold, size**2 / (2 * threshold), size - threshold / 2
        )
        return np.sum(huber)

    def objective(z):
        return tau * distance(z) + 0.5 * np.sum((z - m) ** 2)

    candidates = [
        minimize(
            objective, start, method="Powell", options={"xtol": 1e-10, "ftol": 1e-14}
        )
        for start in (m, g, (m + g) / 2)
    ]
    return min(candidates, key=lambda result: result.fun).x


@pytest.mark.parametrize("momentum", [0.0, 0.6])
@pytest.mark.parametrize("tau", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("estimator_class", PROXIMAL)
def test_spp_steps_to_the_proximal_point(estimator_class, tau, momentum):
    estimator = estimator_class(tau=tau, momentum=momentum)
    m = np.zeros(4)
    for g in gradients(5):
        expected = proximal_point(m, g, tau, momentum, estimator_class)
        m = estimator.update(g)
        assert_allclose(m, expected, atol=1e-5)


@pytest.mark.parametrize("estimator_class", PROXIMAL)
def test_a_weight_multiplies_the_radius_of_spp(estimator_class):
    estimator = estimator_class(tau=0.5)
    m = np.zeros(4)
    for g, weight in zip(gradients(10), np.geomspace(0.1, 10, 10), strict=True):
        one_step = estimator_class(tau=0.5 * weight)
        one_step.update(m)
        one_step.estimate_ = m
        m = estimator.update(g, weights=weight)
        assert_array_equal(m, one_step.update(g))


@pytest.mark.parametrize("momentum", [0.0, 0.6])
@pytest.mark.parametrize("estimator_class", PROXIMAL)
def test_the_automatic_radius_follows_the_design(estimator_class, momentum):
    rows, m, size_of = gradients(400), np.zeros(4), SIZES[estimator_class]
    weights = np.random.default_rng(1).uniform(0.5, 2, size=400)
    s = np.median(size_of(rows[:25]), axis=0)
    estimator = estimator_class(momentum=momentum)
    estimator.update(rows[:25], weights[:25])
    for t, (g, weight) in enumerate(zip(rows, weights, strict=True), start=1):
        size = size_of(g - m)
        rate = min(1, max(0.05, t**-0.6) * weight)
        s = s * np.exp(rate * ((size > s) - 0.5))
        m = m + np.minimum(1 - momentum**weight, 0.1 * s * weight / size) * (g - m)
        if t == 25:
            assert_allclose(estimator.estimate_, m, rtol=1e-10)
        elif t > 25:
            assert_allclose(estimator.update(g, weight), m, rtol=1e-10)
    assert_allclose(estimator.scale_, s, rtol=1e-10)
    assert estimator.n_updates_ == 400


@pytest.mark.parametrize("tau", [1e300, np.inf])
@pytest.mark.parametrize("estimator_class", PROXIMAL)
def test_a_weight_is_as_many_updates_where_nothing_is_clipped(estimator_class, tau):
    estimator = estimator_class(tau=tau, momentum=0.5)
    assert_allclose(estimator.update([4.0, 8.0], weights=2), [3, 6], rtol=1e-15)
    for g, weight in zip(gradients(8), [1, 2, 3, 5, 1, 4, 2, 7], strict=True):
        weighted, repeated = clone(estimator), clone(estimator)
        weighted.estimate_ = repeated.estimate_ = np.arange(float(len(g)))
        for _ in range(weight):
            repeated.update(g)
        assert_allclose(weighted.update(g, weight), repeated.estimate_, rtol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.6])
@pytest.mark.parametrize("tau", ["auto", 0.5])
@pytest.mark.parametrize("estimator_class", PROXIMAL)
def test_spp_takes_the_gradients_of_a_call_in_turn(estimator_class, tau, momentum):
    rows, weights = gradients(30), np.linspace(0.5, 2, 30)
    at_once, in_turn = (estimator_class(tau=tau, momentum=momentum) for _ in range(2))
    for estimator in (at_once, in_turn):
        estimator.update(rows[:10], weights[:10])
    at_once.update(rows[10:], weights[10:])
    for g, weight in zip(rows[10:], weights[10:], strict=True):
        in_turn.update(g, weight)
    assert_same_state(at_once, in_turn)


# What they find: means and medians of the gradients of a call


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 9, 16, 31])
def test_the_componentwise_median_is_that_of_numpy(n, dtype):
    rows = gradients(n, 130, dtype=dtype)
    rtol = 4 * np.finfo(dtype).eps
    assert_allclose(CoordMedian().update(rows), np.median(rows, axis=0), rtol=rtol)


@pytest.mark.parametrize(
    "estimator_class, reference", [(CoordMedian, np.median), (Mean, np.mean)]
)
@pytest.mark.parametrize("seed", range(10))
def test_integer_weights_are_copies(estimator_class, reference, seed):
    rng = np.random.default_rng(seed)
    rows = rng.integers(-3, 4, size=(7, 40)).astype(float)
    weights = rng.integers(0, 4, size=7)
    weights[0] += 1
    copies = np.repeat(rows, weights, axis=0)
    ours = estimator_class().update(rows, weights)
    assert_allclose(ours, reference(copies, axis=0), atol=1e-14)


@pytest.mark.parametrize("d", [2, 3, 10])
@pytest.mark.parametrize("n", [3, 5, 8])
@pytest.mark.parametrize("seed", range(3))
def test_the_geometric_median_minimises_the_distances(seed, n, d):
    rng = np.random.default_rng(seed)
    rows, weights = rng.standard_t(2, size=(n, d)), rng.uniform(0.5, 2, size=n)

    def objective(z):
        return weights @ np.linalg.norm(rows - z, axis=1)

    solver = minimize(objective, rows.mean(axis=0), method="BFGS", tol=1e-12)
    best = min(solver.fun, *(objective(row) for row in rows))
    ours = GeometricMedian().update(rows, weights)
    assert objective(ours) <= best * (1 + 1e-7)


@pytest.mark.parametrize("spread", [1e-16, 1e-12, 1e-8])
def test_the_geometric_median_of_points_that_rounding_tells_apart(spread):
    rng = np.random.default_rng(0)
    for rows in rng.standard_normal((100, 5, 4)):
        rows[1] = rows[0]
        desired = GeometricMedian().update(rows)
        rows[1] *= 1 + spread * rng.standard_normal(4)
        actual = GeometricMedian().update(rows)

        def objective(z, rows=rows):
            return np.linalg.norm(rows - z, axis=1).sum()

        assert objective(actual) <= objective(desired) * (1 + 1e-6)


def test_the_geometric_median_can_be_one_of_the_points():
    rows = [[0.0, 0.0], [1.0, 0.0], [-1.0, 0.1], [0.0, 1.0], [0.1, -1.0]]
    ours = GeometricMedian().update(rows)
    assert np.linalg.norm(ours) < 0.06  # no more than the asymmetry of the others
    heavy = GeometricMedian().update(rows, weights=[9, 1, 1, 1, 1])
    assert_array_equal(heavy, rows[0])


@pytest.mark.parametrize("estimator_class", [Mean, *SAMPLE_MEDIANS])
def test_momentum_averages_over_calls(estimator_class):
    estimator, m = estimator_class(momentum=0.8), np.zeros(4)
    # Only ratios of weights within a call count.
    for k, rows in enumerate(gradients(50).reshape(10, 5, 4)):
        weights = np.array([1.0, 2, 2, 1, 3])
        middle = estimator_class().update(rows, weights)
        m += (1 - 0.8) * (middle - m)
        assert_allclose(estimator.update(rows, 10.0**k * weights), m, rtol=1e-10)


# What they find: limits and symmetries


def assert_is_heavy_ball(estimator, momentum):
    m = np.zeros(4)
    for g in 1e6 * gradients():
        m = g if momentum == 0 else m + (1 - momentum) * (g - m)
        assert_allclose(estimator.update(g), m, rtol=1e-9)


@pytest.mark.parametrize("momentum", [0.0, 0.7])
@pytest.mark.parametrize("estimator_class", ALL)
def test_gradients_one_by_one_and_unclipped_are_the_heavy_ball(
    estimator_class, momentum
):
    estimator = estimator_class(momentum=momentum)
    if estimator_class in PROXIMAL:
        estimator.set_params(tau=1e100)
    assert_is_heavy_ball(estimator, momentum)


@pytest.mark.parametrize("momentum", [0.0, 0.7])
@pytest.mark.parametrize("estimator_class", PROXIMAL)
def test_an_infinite_radius_clips_nothing(estimator_class, momentum):
    assert_is_heavy_ball(estimator_class(tau=np.inf, momentum=momentum), momentum)


@pytest.mark.parametrize("estimator_class", PROXIMAL)
def test_an_infinite_radius_leaves_the_gradient_to_the_last_bit(estimator_class):
    estimator = estimator_class(tau=np.inf)
    for g in gradients() * np.geomspace(1e-9, 1e9, 30)[::-1, np.newaxis]:
        assert_array_equal(estimator.update(g), g)


@FEW
@given(sample=samples(), exponent=st.integers(-30, 30))
@pytest.mark.parametrize("estimator_class", ALL)
def test_another_unit_changes_only_the_unit(estimator_class, sample, exponent):
    rows, weights = sample
    factor = rows.dtype.type(2.0**exponent)
    one, other = estimator_class(momentum=0.3), estimator_class(momentum=0.3)
    for _ in range(3):
        m = one.update(rows, weights)
        assert_array_equal(other.update(factor * rows, weights), factor * m)
    if estimator_class in PROXIMAL:
        assert_array_equal(other.scale_, factor * one.scale_)


@FEW
@given(sample=samples(), seed=st.integers(0, 99))
@pytest.mark.parametrize("estimator_class", [Mean, CoordMedian])
def test_the_origin_and_the_order_do_not_matter(estimator_class, sample, seed):
    rows, weights = sample
    rng = np.random.default_rng(seed)
    order, shift = rng.permutation(len(rows)), rng.normal(size=rows.shape[1])
    ours = estimator_class().update((rows + shift)[order], weights[order]) - shift
    expected = estimator_class().update(rows, weights)
    assert_allclose(ours, expected, atol=1e-6 * np.abs(rows).max())


@FEW
@given(sample=samples(), seed=st.integers(0, 99))
def test_the_geometric_median_is_as_good_in_other_coordinates(sample, seed):
    rows, weights = sample
    (n, d), rng = rows.shape, np.random.default_rng(seed)
    order, turn = rng.permutation(n), np.linalg.qr(rng.normal(size=(d, d))).Q
    shift = rng.normal(size=d)
    ours = GeometricMedian().update(((rows + shift) @ turn)[order], weights[order])
    # Where there are several medians, another may be found.
    distances = [
        weights @ np.linalg.norm(rows - median, axis=1)
        for median in (ours @ turn.T - shift, GeometricMedian().update(rows, weights))
    ]
    assert_allclose(*distances, rtol=1e-6, atol=1e-6)


@FEW
@given(sample=samples(), seed=st.integers(0, 99))
@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_spp_of_the_euclidean_norm_turns_with_the_coordinates(momentum, sample, seed):
    rows, d = sample[0].astype(np.float64), sample[0].shape[1]
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d))).Q
    here, there = (SPPL2(tau=0.5, momentum=momentum) for _ in range(2))
    m = here.update(rows) @ turn
    assert_allclose(there.update(rows @ turn), m, atol=1e-10 * np.abs(rows).max())


@pytest.mark.parametrize("estimator_class", ALL)
def test_a_gradient_of_weight_0_is_left_out(estimator_class):
    rows, weights = gradients(), np.linspace(0.5, 2, 30)
    weights[::3] = 0
    junk = np.where(weights[:, np.newaxis] > 0, rows, 1e9)
    one, other = estimator_class(momentum=0.3), estimator_class(momentum=0.3)
    one.update(junk, weights)
    other.update(rows[weights > 0], weights[weights > 0])
    one.update(junk[0], weights=0)
    assert_same_state(one, other)
    assert one.n_updates_ == 20


# What they find: the median of a stream


def long_run(estimator, stream, n_burn_in):
    """Average of the estimates; each item of the stream is what one call is given."""
    estimates = np.array([estimator.update(x) for x in stream])
    return estimates[n_burn_in:].mean(axis=0)


def spherical_cauchy(rng, shape):
    return rng.normal(size=shape) / np.abs(rng.normal(size=(*shape[:-1], 1)))


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_the_long_run_of_spp_l1_is_the_median_of_a_cauchy_stream(momentum):
    n, n_burn_in, d = 4000, 1000, 200
    median = np.linspace(-5, 5, d)
    stream = median + np.random.default_rng(0).standard_cauchy(size=(n, d))
    errors = long_run(SPPL1(momentum=momentum), stream, n_burn_in) - median
    standard_error = np.pi / 2 / np.sqrt(n - n_burn_in)
    assert np.mean(np.abs(errors) < 3 * standard_error) > 0.98
    assert abs(errors.mean()) < 3 * standard_error / np.sqrt(d)
    # A median tracked is nearly as good as that of a sample.
    assert errors.std() < 1.3 * standard_error


@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("seed", range(2))
def test_the_long_run_of_spp_l2_is_the_median_of_a_cauchy_stream(momentum, seed):
    n, n_burn_in, d = 6000, 1000, 3
    median = np.array([3.0, -2.0, 0.0])
    stream = median + spherical_cauchy(np.random.default_rng(seed), (n, d))
    errors = long_run(SPPL2(momentum=momentum), stream, n_burn_in) - median
    # By the sandwich formula, with E[u u'] = I / d, u the direction of x, and
    # E[(I - u u') / |x|] = (1 - 1 / d) E[1 / |x|] I.
    inverse_norm = gamma((d - 1) / 2) / gamma(d / 2) / np.sqrt(np.pi)
    standard_error = np.sqrt(1 / d / (n - n_burn_in)) / ((1 - 1 / d) * inverse_norm)
    assert np.all(np.abs(errors) < 3 * standard_error)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("share, wild", [(0.1, 10), (0.3, 1e6)])
def test_one_sided_outliers_move_spp_l1_as_far_as_the_median(share, wild, momentum):
    n, n_burn_in, d = 4000, 1000, 200
    rng = np.random.default_rng(0)
    stream = np.where(rng.random((n, d)) < share, wild, rng.normal(size=(n, d)))
    estimator = SPPL1(momentum=momentum)
    errors = long_run(estimator, stream, n_burn_in)
    bias = norm.ppf(0.5 / (1 - share))
    density = (1 - share) * norm.pdf(bias)
    standard_error = 0.5 / density / np.sqrt(n - n_burn_in)
    # The estimates vary by radius / (4 density), across which the density falls.
    excess = bias * 0.1 * estimator.scale_.mean() / (8 * density)
    margin = 3 * standard_error / np.sqrt(d)
    assert bias - margin < errors.mean() < bias + excess + margin
    assert errors.std() < 1.3 * standard_error


@pytest.mark.parametrize("tau, share", [("auto", 0.1), (0.05, 0.1), (0.05, 0.3)])
def test_one_sided_outliers_move_spp_l2_as_far_as_the_median(tau, share):
    n, n_burn_in, d = 8000, 1000, 3
    rng = np.random.default_rng(1)
    direction = np.full(d, d**-0.5)
    wild = rng.random((n, 1)) < share
    stream = np.where(wild, 1e6 * direction, rng.normal(size=(n, d)))
    errors = long_run(SPPL2(tau=tau), stream, n_burn_in)
    # Outliers in the distance pull with a force of their share.
    rest = rng.normal(size=(100_000, d))

    def difference(b):
        return rest - b * direction

    bias = minimize_scalar(
        lambda b: (1 - share) * SIZES[SPPL2](difference(b)).mean() - share * b
    ).x
    size = SIZES[SPPL2](difference(bias))
    along = difference(bias) @ direction / size
    # By the sandwich formula again.
    variance = (1 - share) * np.mean(along**2) + share
    slope = (1 - share) * np.mean((1 - along**2) / size)
    standard_error = np.sqrt(variance / (n - n_burn_in)) / slope
    assert abs(errors @ direction - bias) < 3 * standard_error
    across = errors - errors @ direction * direction
    assert np.all(np.abs(across) < 3 * standard_error)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_geometric_median_is_as_exact_far_from_0(dtype):
    rows = np.random.default_rng(0).standard_t(2, size=(9, 4)).round(2)
    near = GeometricMedian().update(rows.astype(dtype))
    offset = 1024 / np.sqrt(np.finfo(dtype).eps)
    moved = (rows + offset).astype(dtype)
    far = GeometricMedian().update(moved) - dtype(offset)
    # Rows themselves are rounded where they have been moved to.
    assert_allclose(far, near, atol=4 * offset * np.finfo(dtype).eps)
