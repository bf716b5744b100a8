"""What the public gradient estimators keep from call to call, and what they refuse."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.utils._param_validation import InvalidParameterError

from medsgd.gradient_estimators import SPPL1, SPPL2, CoordMedian, GeometricMedian, Mean

PROXIMAL = [SPPL1, SPPL2]
MEDIANS = [CoordMedian, GeometricMedian, *PROXIMAL]
ALL = [Mean, *MEDIANS]


def gradients(n=30, d=4, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_t(2, size=(n, d)).astype(dtype)


def state(estimator):
    return {k: copy.copy(v) for k, v in vars(estimator).items() if k.endswith("_")}


def pickled(estimator):
    return pickle.loads(pickle.dumps(estimator))


def assert_same_state(one, other):
    assert vars(one).keys() == vars(other).keys()
    for name, value in vars(one).items():
        assert_array_equal(value, getattr(other, name))
        assert np.asarray(value).dtype == np.asarray(getattr(other, name)).dtype


@pytest.mark.parametrize("tau", ["auto", 0.5])
@pytest.mark.parametrize("trip", [copy.copy, copy.deepcopy, pickled])
@pytest.mark.parametrize("estimator_class", ALL)
def test_a_copy_goes_on_alike_and_apart(estimator_class, trip, tau):
    estimator = estimator_class(momentum=0.3)
    if estimator_class in PROXIMAL:
        estimator.set_params(tau=tau)
    estimator.update(gradients())
    twin, before = trip(estimator), state(estimator)
    more = gradients(seed=1)
    twin.update(more)
    for name, value in before.items():
        assert_array_equal(getattr(estimator, name), value)
    estimator.update(more)
    assert_same_state(estimator, twin)


@pytest.mark.parametrize("estimator_class", ALL)
def test_reset_and_clone_forget(estimator_class):
    used, new = estimator_class(momentum=0.3), estimator_class(momentum=0.3)
    used.update(1e3 + gradients(d=7, dtype=np.float32))
    assert_same_state(clone(used), new)
    assert used.reset() is used
    assert_same_state(used, new)
    assert used.reset() is used
    assert_array_equal(used.update(gradients()), new.update(gradients()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("estimator_class", ALL)
def test_state_has_the_dtype_of_the_first_gradients(estimator_class, dtype):
    estimator, exact = estimator_class(momentum=0.3), estimator_class(momentum=0.3)
    for seed in range(3):
        rows = gradients(seed=seed, dtype=dtype if seed == 0 else np.float64)
        estimate = estimator.update(rows)
        expected = exact.update(rows.astype(np.float64))
        assert_array_equal(estimate, estimator.estimate_)
        assert estimate.shape == (4,)
        assert estimate.dtype == dtype
        rtol = 1e-4 if dtype == np.float32 else 0
        assert_allclose(estimate, expected, rtol=rtol, atol=rtol)
    assert (estimator.n_updates_, estimator.n_skipped_) == (90, 0)
    if estimator_class is SPPL1:
        assert estimator.scale_.shape == (4,)
        assert estimator.scale_.dtype == dtype
    elif estimator_class is SPPL2:
        assert isinstance(estimator.scale_, float)
    else:
        assert not hasattr(estimator, "scale_")


@pytest.mark.parametrize(
    "convert",
    [
        np.asfortranarray,
        np.ndarray.tolist,
        pd.DataFrame,
        lambda rows: rows.repeat(2, axis=1)[:, ::2],
        lambda rows: rows.astype(np.int8),
        lambda rows: rows.astype(np.float16),
        lambda rows: rows.astype(np.longdouble),
    ],
)
@pytest.mark.parametrize("estimator_class", ALL)
def test_gradients_may_be_any_array_of_numbers(estimator_class, convert):
    rows = gradients().round()
    estimate = estimator_class().update(convert(rows))
    assert estimate.dtype == np.float64
    assert_array_equal(estimate, estimator_class().update(rows))


@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("estimator_class", ALL)
def test_arrays_given_and_returned_never_change(estimator_class, momentum):
    estimator = estimator_class(momentum=momentum)
    returned, values = [], []
    for seed, n in enumerate([1, 5, 1, 3, 1, 1]):
        rows = gradients(n, seed=seed)
        rows[1:2] = np.nan if estimator_class is not Mean else 0
        weights = np.linspace(1, 2, n)
        before = rows.copy(), weights.copy()
        returned.append(estimator.update(rows, weights))
        values.append(returned[-1].copy())
        assert_array_equal(rows, before[0])
        assert_array_equal(weights, before[1])
        rows[:] = 1e9
        assert_array_equal(returned, values)


@pytest.mark.parametrize("estimator_class", PROXIMAL)
def test_the_estimate_may_begin_elsewhere(estimator_class):
    start = np.array([10.0, 20.0, 30.0, 40.0])
    one, other = estimator_class(), estimator_class()
    one.estimate_ = start
    assert_allclose(one.update(start + gradients()), start + other.update(gradients()))


@pytest.mark.parametrize(
    "estimator_class, size_of",
    [(SPPL1, np.abs), (SPPL2, lambda z: np.linalg.norm(z, axis=1))],
)
def test_a_running_scale_begins_when_it_is_needed(estimator_class, size_of):
    estimator = estimator_class(tau=1.0)
    estimate = estimator.update(100 + gradients())
    assert not hasattr(estimator, "scale_")
    rows = gradients(2, seed=1)
    estimator.set_params(tau="auto").update(rows[0])
    # The update has moved it by one step already, from one distance that it equals.
    step = np.exp(-0.5 * max(0.05, 31**-0.6))
    assert_allclose(estimator.scale_, step * size_of(rows[:1] - estimate)[0])


def test_parameters_may_change_in_mid_stream():
    estimator = SPPL2(tau=1.0)
    estimator.update([3.0, 4.0])
    assert_allclose(estimator.set_params(tau=2.0).update([3.0, 4.0]), [1.8, 2.4])
    with pytest.raises(InvalidParameterError, match="The 'tau' parameter of SPPL2"):
        estimator.set_params(tau=-1.0).update([3.0, 4.0])
    assert_allclose(estimator.estimate_, [1.8, 2.4])


# What they skip and refuse


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("estimator_class", MEDIANS)
def test_medians_skip_gradients_that_are_not_finite(estimator_class, value):
    rows, weights = gradients(), np.linspace(0.5, 2, 30)
    bad = np.arange(30) % 4 == 1
    spoiled = np.where(bad[:, np.newaxis] & (np.arange(4) == 2), value, rows)
    one, other = estimator_class(momentum=0.3), estimator_class(momentum=0.3)
    assert_array_equal(one.update(spoiled[1]), np.zeros(4))
    assert (one.n_updates_, one.n_skipped_) == (0, 1)
    one.update(spoiled, weights)
    other.update(rows[~bad], weights[~bad])
    assert_array_equal(one.estimate_, other.estimate_)
    assert one.n_updates_ == other.n_updates_ == 22
    assert (one.n_skipped_, other.n_skipped_) == (9, 0)


@pytest.mark.parametrize("used", [False, True])
def test_a_mean_refuses_gradients_that_are_not_finite(used):
    estimator = Mean(momentum=0.3)
    if used:
        estimator.update(gradients())
    before = copy.deepcopy(estimator)
    with pytest.raises(ValueError, match=r"1 of 2 gradients are not finite.*median"):
        estimator.update([[1.0, 2, 3, 4], [np.nan, 2, 3, 4]])
    assert_same_state(estimator, before)


@pytest.mark.parametrize(
    "given, weights, message",
    [
        (1.0, None, r"gradients must have the shape .*; got \(\)"),
        ([], None, r"gradients must have the shape .*; got \(0,\)"),
        (np.empty((0, 4)), None, r"gradients must have the shape .*; got \(0, 4\)"),
        (np.ones((1, 2, 4)), None, r"gradients must have the shape .*\(1, 2, 4\)"),
        ([1.0, 2.0], None, r"gradients have 2 features.*had 4.*reset\(\)"),
        (["a"] * 4, None, "gradients must be real numbers; got dtype <U1"),
        ([1j] * 4, None, "gradients must be real numbers; got dtype complex128"),
        (None, None, "gradients must be real numbers; got dtype object"),
        (np.ones((2, 4)), 1.0, r"weights must have the shape \(2,\).*; got \(1,\)"),
        (np.ones(4), np.ones(4), r"weights must have the shape \(1,\).*; got \(4,\)"),
        (np.ones((1, 4)), [[1.0]], r"weights must have the shape \(1,\)"),
        (np.ones((2, 4)), [1, -1], "weights must be finite and not negative; got"),
        (np.ones((2, 4)), [1, np.nan], "weights must be finite.*weight 0 is left out"),
        (np.ones((2, 4)), [1, np.inf], "weights must be finite"),
        (np.ones((2, 4)), np.ma.array([1, -1], mask=[0, 1]), "weights must be finite"),
    ],
)
@pytest.mark.parametrize("estimator_class", ALL)
def test_bad_calls_say_so_and_change_nothing(estimator_class, given, weights, message):
    estimator = estimator_class().reset()
    estimator.update(gradients())
    before = copy.deepcopy(estimator)
    with pytest.raises(ValueError, match=message):
        estimator.update(given, weights)
    assert_same_state(estimator, before)


@pytest.mark.parametrize(
    "name, value",
    [("momentum", value) for value in (-0.1, 1, np.nan, np.inf, "auto", None, [0.5])]
    + [("tau", value) for value in (0, -1.0, np.nan, "inf", None, [0.5])],
)
@pytest.mark.parametrize("estimator_class", ALL)
def test_bad_parameters_are_named(estimator_class, name, value):
    if name not in estimator_class().get_params():
        with pytest.raises(TypeError, match=name):
            estimator_class(**{name: value})
        return
    estimator = estimator_class(**{name: value})
    message = f"The '{name}' parameter of {estimator_class.__name__} must be"
    for _ in range(2):
        with pytest.raises(InvalidParameterError, match=message):
            estimator.update(gradients())
    assert not state(estimator)


@pytest.mark.parametrize("estimator_class", ALL)
def test_what_is_returned_may_be_changed(estimator_class):
    one, other = estimator_class(momentum=0.5), estimator_class(momentum=0.5)
    for g in gradients():
        estimate = one.update(g)
        estimate *= 1000
        other.update(g)
    assert_array_equal(one.estimate_, other.estimate_)


@pytest.mark.parametrize("estimator_class", [GeometricMedian, SPPL2])
def test_gradients_whose_norm_overflows_are_skipped(estimator_class):
    estimator, expected = estimator_class(), estimator_class()
    enormous = np.full((2, 4), 1e200)
    estimate = estimator.update(np.vstack([enormous, gradients()]))
    assert_array_equal(estimate, expected.update(gradients()))
    assert estimator.n_skipped_ == 2


@pytest.mark.parametrize("estimator_class", [Mean, CoordMedian, *PROXIMAL])
def test_many_gradients_take_no_room_for_their_products(estimator_class):
    n = 200_000  # whose inner products were 320 GB
    estimate = estimator_class().update(np.ones((n, 1)), np.ones(n))
    assert_allclose(estimate, 1)


@pytest.mark.parametrize("used", [False, True])
def test_a_failure_of_compiled_code_leaves_the_estimator_as_it_was(monkeypatch, used):
    estimator = SPPL2()
    if used:
        estimator.update(gradients())
    before = copy.deepcopy(estimator)

    def update(*args):
        raise MemoryError

    monkeypatch.setattr("medsgd.gradient_estimators.update", update)
    with pytest.raises(MemoryError):
        estimator.update(gradients())
    assert_same_state(estimator, before)
