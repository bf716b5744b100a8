"""The sums of the exact steps, and the small systems of their candidates."""

import os
import pickle
import platform
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import brentq

from medsgd._core import bisquare, fits

# Sizes around those of vectors, and of several of them.
SIZES = [1, 3, 4, 7, 8, 31, 32, 33, 64, 100, 1001]
CONSTANT = 1.547645


def rows(n, seed=0):
    rng = np.random.default_rng(seed)
    residual = rng.standard_t(2, size=n)
    return residual, rng.uniform(0.5, 2, size=n)


def kept_part(residual, threshold):
    return np.maximum(1 - (residual / threshold) ** 2, 0)


def rho(residual, threshold):
    return 1 - kept_part(residual, threshold) ** 3


def scale_of(residual, weight, target, constant=CONSTANT):
    def excess(logarithm):
        return weight @ rho(residual, constant * np.exp(logarithm)) - target

    return np.exp(brentq(excess, -50, 50, xtol=1e-14, rtol=1e-14))


def m_scale(residual, weight, target, start=1.0, **control):
    control = {"constant": CONSTANT, "floor": 1e-12} | control
    residual = np.atleast_2d(residual)
    start = np.full(len(residual), start)
    return bisquare.m_scale(residual, weight, target, start, **control)


@pytest.mark.parametrize("n", SIZES)
def test_the_loss_is_that_of_the_formula(n):
    residual, weight = rows(n)
    for threshold in (0.1, 1.0, 4.685, 1e3):
        expected = weight @ rho(residual, threshold)
        assert_allclose(
            bisquare.loss(residual, weight, threshold), expected, rtol=1e-12
        )


@pytest.mark.parametrize("n", SIZES)
def test_rows_pull_as_the_derivatives_say(n):
    residual, weight = rows(n)
    threshold = 2.0
    kept, curvature, pull, squares, rejected = bisquare.pull(
        residual, weight, threshold
    )
    part = kept_part(residual, threshold)
    assert_allclose(kept, weight * part**2, rtol=1e-12)
    assert_allclose(pull, weight * part**2 * residual, rtol=1e-12)
    assert_allclose(squares, weight @ (part**2 * residual**2), rtol=1e-12)
    assert_allclose(rejected, weight @ (np.abs(residual) >= threshold), rtol=1e-12)
    # The derivative of r (1 - u)^2 by r, by central differences.
    step = 1e-6

    def psi(r):
        return r * kept_part(r, threshold) ** 2

    slope = (psi(residual + step) - psi(residual - step)) / (2 * step)
    assert_allclose(curvature, weight * slope, atol=1e-5)
    (weighed,) = bisquare.weigh(residual[np.newaxis], weight, np.array([threshold]))
    assert_array_equal(weighed, kept)


@pytest.mark.parametrize("n", [20, 33, 1001])
@pytest.mark.parametrize("start", [1e-6, 1.0, 1e6])
def test_the_m_scale_solves_its_equation(n, start):
    residual = np.stack([rows(n, seed)[0] * 100.0 ** (seed - 1) for seed in range(3)])
    weight = rows(n)[1]
    target = 0.5 * weight.sum()
    expected = [scale_of(r, weight, target) for r in residual]
    assert_allclose(m_scale(residual, weight, target, start), expected, rtol=1e-9)


def test_a_rough_m_scale_is_near():
    residual, weight = rows(200)
    exact = m_scale(residual, weight, 0.5 * weight.sum())
    rough = m_scale(residual, weight, 0.5 * weight.sum(), 3.0, tolerance=1e-2)
    assert_allclose(rough, exact, rtol=1e-2)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan, 1e300])
def test_residuals_that_are_no_numbers_count_as_infinite(bad):
    residual, weight = rows(50)
    residual[:10], target = bad, 0.5 * weight.sum()
    far = residual.copy()
    far[:10] = 1e9
    assert_allclose(
        m_scale(residual, weight, target), m_scale(far, weight, target), rtol=1e-9
    )
    assert_allclose(
        bisquare.loss(residual, weight, 1.0), bisquare.loss(far, weight, 1.0)
    )
    for found, expected in zip(
        bisquare.pull(residual, weight, 1.0),
        bisquare.pull(far, weight, 1.0),
        strict=True,
    ):
        assert_array_equal(found, expected)


def test_the_m_scale_of_an_exact_fit_is_the_floor():
    residual, weight = rows(40)
    residual[:21] = 0
    weight[:] = 1
    assert_array_equal(m_scale(residual, weight, 20.0, floor=1e-8), [1e-8])
    assert_array_equal(m_scale(0 * residual, weight, 20.0, floor=1e-8), [1e-8])
    residual[:3] = 1.0
    assert m_scale(residual, weight, 20.0, floor=1e-8)[0] > 0.01


def test_the_m_scale_of_mostly_infinite_residuals_is_out_of_bounds():
    residual, weight = np.full(10, np.inf), np.ones(10)
    residual[:3] = 1.0
    assert m_scale(residual, weight, 5.0)[0] > 1e30


def test_systems_are_solved():
    rng = np.random.default_rng(0)
    for p in (1, 2, 6, 21, 40):
        A = rng.normal(size=(5, 3 * p, p)) * 10.0 ** rng.uniform(-3, 3, size=p)
        gram, moments = A.transpose(0, 2, 1) @ A, rng.normal(size=(5, p))
        below = np.tril_indices(p)
        sums = np.concatenate([gram[:, below[0], below[1]], moments], axis=1)
        expected = np.linalg.solve(gram, moments[:, :, np.newaxis])[:, :, 0]
        found = fits.solve(sums, p, 1e-14)
        assert_allclose(
            found * np.sqrt(np.einsum("kii->ki", gram)),
            expected * np.sqrt(np.einsum("kii->ki", gram)),
            rtol=1e-9,
            atol=1e-12,
        )


def test_collinear_systems_have_finite_solutions():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(30, 4))
    A = np.column_stack([A, A[:, 0] - A[:, 1], np.zeros(30)])
    y = A @ rng.normal(size=6)
    below = np.tril_indices(6)
    sums = np.append((A.T @ A)[below], A.T @ y)[np.newaxis]
    (found,) = fits.solve(sums, 6, 1e-10)
    assert_allclose(A @ found, y, atol=1e-6)


def test_fits_go_through_the_first_independent_rows():
    rng = np.random.default_rng(0)
    Z, y = rng.normal(size=(50, 6)), rng.normal(size=50)
    Z[10], Z[11] = 3 * Z[12], 0
    drawn = rng.integers(50, size=(30, 24))
    drawn[0, :4] = 10, 12, 11, 10
    for b, own in zip(fits.through_rows(Z, y, drawn, 1e-6), drawn, strict=True):
        chosen = []
        for i in own:
            if np.linalg.matrix_rank(Z[[*chosen, i]]) > len(chosen):
                chosen.append(i)
        assert_allclose(b, np.linalg.solve(Z[chosen], y[chosen]), rtol=1e-7)


def test_with_few_independent_rows_the_fit_is_the_shortest():
    rng = np.random.default_rng(0)
    Z, y = rng.normal(size=(3, 5)), rng.normal(size=3)
    (found,) = fits.through_rows(Z, y, np.array([[0, 1, 2, 0, 1]]), 1e-6)
    assert_allclose(found, np.linalg.lstsq(Z, y, rcond=None)[0], rtol=1e-10)


@pytest.mark.parametrize("n", [1, 2, 5, 40, 301])
@pytest.mark.parametrize("whole", [False, True])
def test_the_smallest_keys_have_the_total_weight(n, whole):
    rng = np.random.default_rng(n)
    keys = rng.normal(size=(40, n))
    keys[20:] = np.round(keys[20:])
    keys[0], keys[1], keys[2] = np.arange(n), -np.arange(n), 0
    weight = rng.integers(1, 4, size=n) * 1.0 if whole else rng.uniform(size=n)
    weight[: n // 3] = 0
    total = 0.6 * weight.sum()
    for key, kept in zip(keys, fits.smallest(keys, weight, total), strict=True):
        assert_allclose(kept.sum(), total)
        below = np.array([weight[key < k].sum() for k in key])
        share = np.clip(
            (total - below) / np.array([weight[key == k].sum() or 1 for k in key]), 0, 1
        )
        assert_allclose(kept, weight * share, atol=1e-12)


def test_arrays_that_do_not_fit_are_refused():
    residual, weight = np.zeros((2, 5)), np.ones(5)
    with pytest.raises(ValueError, match="weight does not fit"):
        m_scale(residual, weight[1:], 1.0)
    with pytest.raises(ValueError, match="start does not fit"):
        bisquare.m_scale(residual, weight, 1.0, np.ones(1), constant=1, floor=1)
    with pytest.raises(ValueError, match="threshold does not fit"):
        bisquare.weigh(residual, weight, np.ones(3))
    with pytest.raises(ValueError, match="weight does not fit"):
        bisquare.pull(residual[0], weight[1:], 1.0)
    with pytest.raises(ValueError, match="weight does not fit"):
        bisquare.loss(residual[0], weight[1:], 1.0)
    with pytest.raises(ValueError, match="sums does not fit"):
        fits.solve(np.ones((2, 6)), 3, 0.0)
    with pytest.raises(ValueError, match="sums does not fit"):
        fits.solve(np.ones((2, 6)), 2**62, 0.0)
    with pytest.raises(ValueError, match="drawn does not fit"):
        fits.through_rows(np.ones((3, 2)), np.ones(3), np.array([[0, 3]]), 0.1)
    with pytest.raises(ValueError, match="y does not fit"):
        fits.through_rows(np.ones((3, 2)), np.ones(2), np.array([[0, 1]]), 0.1)
    with pytest.raises(ValueError, match="weight does not fit"):
        fits.smallest(residual, weight[1:], 1.0)


def results():
    """Losses and scales in the instruction set of this process."""
    found = []
    for n in SIZES:
        residual, weight = rows(n)
        residual[n // 2] = np.nan
        found.append(bisquare.loss(residual, weight, 2.0))
        found.extend(m_scale(residual, weight, 0.4 * weight.sum()))
    return found


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"),
    reason="needs a processor with optional instruction sets",
)
@pytest.mark.parametrize("wanted", ["baseline", "avx2", "avx512"])
def test_all_instruction_sets_give_the_same(wanted):
    result = subprocess.run(
        [sys.executable, __file__],
        env=os.environ | {"MEDSGD_INSTRUCTION_SET": wanted},
        stdout=subprocess.PIPE,
        check=True,
    )
    name, found = pickle.loads(result.stdout)
    if name != wanted:
        pytest.skip(f"{wanted} is not available here")
    assert_array_equal(found, results())


if __name__ == "__main__":
    from medsgd._core.dense import instruction_set

    sys.stdout.buffer.write(pickle.dumps((instruction_set(), results())))
