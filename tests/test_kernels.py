"""What fast passes must not change: results, their precision, and memory."""

import os
import pickle
import platform
import re
import shutil
import subprocess
import sys
import tracemalloc
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from medsgd._core.dense import instruction_set
from medsgd._core.medians import column_medians, weighted_median
from medsgd._core.settings import EstimatorSettings
from medsgd._core.update import update
from numpy.testing import assert_allclose, assert_array_equal

from medsgd import MedianSGDClassifier, MedianSGDRegressor
from medsgd._core import medians

ESTIMATORS = ["mean", "coord-median", "geometric-median", "spp-l1", "spp-l2"]
BARE = {"standardize": False, "leverage_weights": False}


def median_of_rows(name, rows, weights):
    """Unlike the public estimators, of infinite rows too."""
    settings = EstimatorSettings(
        gradient_estimator=name,
        tau=None,
        c_tau=0,
        momentum=0,
        fit_intercept=False,
        n_strata=1,
    )
    median = np.zeros(rows.shape[1] + 1, dtype=rows.dtype)
    update(settings, rows, weights, median, np.zeros(1, dtype=rows.dtype), 0)
    return median[:-1]


def many_fits():
    """Coefficients and medians in the instruction set of this process."""
    rng, results = np.random.default_rng(0), {}
    for d in (1, 3, 7, 8, 9, 16, 33, 200):
        X = rng.normal(size=(80, d)) * (rng.random((80, d)) < 0.8)
        y = X @ rng.normal(size=d) + rng.standard_t(2, size=80)
        weight = rng.uniform(0.5, 2, size=80)
        for name, dtype, cls, layout in product(
            ESTIMATORS,
            (np.float64, np.float32),
            (MedianSGDRegressor, MedianSGDClassifier),
            (np.asarray, sp.csr_array),
        ):
            case = len(results)
            est = cls(
                gradient_estimator=name,
                batch_size=1 + case % 3 // 2,
                momentum=(0, 0.9)[case // 5 % 2],
                penalty=("l2", "l1", None)[case // 7 % 3],
                average=case // 11 % 2 == 1,
                standardize=case // 13 % 3 > 0,
                eta0=0.01 / d,
                max_iter=5,
                tol=None,
                random_state=0,
            )
            target = y if cls is MedianSGDRegressor else y > 0
            est.fit(
                layout(X.astype(dtype)),
                target,
                sample_weight=weight if case // 17 % 2 else None,
            )
            parameters = np.append(est.coef_, est.intercept_)
            key = name, dtype.__name__, cls.__name__, layout.__name__, d
            results[key] = parameters, est.loss_curve_
    for n, dtype in product((2, 5, 31, 64, 65, 200, 201), (np.float32, np.float64)):
        rows, weight = rng.normal(size=(n, 70)).astype(dtype), rng.uniform(size=n)
        for name, say in product(ESTIMATORS[1:3], (weight, np.ones(n))):
            key = name, dtype.__name__, n, say is weight
            results[key] = (median_of_rows(name, rows, say),)
    return results


def fits_with(wanted):
    """The same of a process told to use an instruction set, or None without it."""
    result = subprocess.run(
        [sys.executable, __file__, wanted],
        env=os.environ | {"MEDSGD_INSTRUCTION_SET": wanted},
        stdout=subprocess.PIPE,
        check=True,
    )
    return pickle.loads(result.stdout)


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or shutil.which("objdump") is None,
    reason="needs objdump, and a processor with optional instruction sets",
)
def test_only_the_variants_for_newer_processors_need_them():
    folder = Path(medians.__file__).parent
    libraries = [p for p in folder.iterdir() if p.suffix in (".so", ".pyd")]
    needed = {}
    for library in libraries:
        command = ["objdump", "--disassemble", "--no-show-raw-insn", library]
        code = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        function = ""
        for line in code.stdout.splitlines():
            if label := re.match(r"[0-9a-f]+ <(.*)>:$", line):
                function = label[1]
            # Wide registers, masks, and what has three operands: AVX and later.
            elif re.search(r"%[yz]mm|%k[0-7]|\tv\w+ .*%xmm", line):
                needed[function] = line
    if not any("_avx2" in function for function in needed):
        pytest.skip("needs several instruction sets and the names of functions")
    assert not {f: line for f, line in needed.items() if not re.search("_avx", f)}


@pytest.fixture(scope="module")
def baseline():
    return fits_with("baseline")


@pytest.mark.parametrize("wanted", ["avx2", "avx512"])
def test_instruction_sets_agree_to_the_last_bit(wanted, baseline):
    results = fits_with(wanted)
    if results is None:
        pytest.skip(f"the processor has no {wanted}")
    assert results.keys() == baseline.keys()
    for key, arrays in results.items():
        for actual, desired in zip(arrays, baseline[key], strict=True):
            assert np.isfinite(actual).all()
            assert actual.tobytes() == desired.tobytes(), key


def median_of_copies(values, counts):
    """Of the columns, row i counted so many times; the mean of two middle ones."""
    copies = np.sort(np.repeat(values, counts, axis=0), axis=0)
    n = len(copies)
    with np.errstate(invalid="ignore"):
        middle = copies[(n - 1) // 2] / 2 + copies[n // 2] / 2
    return np.where(np.isnan(middle), 0, middle)  # of -inf and +inf


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["normal", "ties", "infinite"])
@pytest.mark.parametrize("n", [1, 2, 5, 63, 64, 65, 66, 128, 199, 200, 201, 202, 300])
def test_coordinate_medians_by_network_and_selection(n, kind, dtype):
    rng = np.random.default_rng(n)
    rows = rng.normal(size=(n, 130)).astype(dtype)
    if kind != "normal":
        rows = np.round(rows)
    if kind == "infinite":
        rows[np.abs(rows) > 0] *= np.inf
    rtol = 2 * np.finfo(dtype).eps
    counts = rng.integers(0, 4, size=n)
    counts[0] += 1
    for weights in (np.ones(n, dtype=int), counts):
        ours = median_of_rows("coord-median", rows, weights.astype(float))
        assert ours.dtype == dtype
        assert_allclose(ours, median_of_copies(rows, weights), rtol=rtol)
        # A column's median does not depend on what is beside it.
        few = np.ascontiguousarray(rows[:, 60:67])
        few = median_of_rows("coord-median", few, weights.astype(float))
        assert_array_equal(few, ours[60:67])


@pytest.mark.parametrize("n", [5, 65, 201])
def test_half_of_the_weight_on_one_row_of_a_coordinate_median(n):
    ones = np.tile(np.arange(1.0, n)[:, np.newaxis], 30)
    ones = np.random.default_rng(n).permuted(ones, axis=0)
    rows = np.vstack([ones, np.full((1, 30), 1000.0)])
    for own, middle in ((n - 2, n - 1), (n - 1, (n + 999) / 2), (n, 1000)):
        ours = median_of_rows("coord-median", rows, np.append(np.ones(n - 1), own))
        assert_array_equal(ours, np.full(30, middle))


numbers = st.one_of(
    st.integers(-3, 3).map(float),
    st.floats(-1e100, 1e100),
    st.sampled_from([np.inf, -np.inf, np.nan]),
)
counted = st.lists(st.tuples(numbers, st.integers(0, 4)), min_size=1, max_size=40)


@settings(max_examples=500, deadline=None, derandomize=True, database=None)
@given(
    counted=counted.filter(lambda pairs: any(count for _, count in pairs)),
    unit=st.sampled_from([1.0, 0.25, 2.0**-40, 2.0**60]),
)
def test_weighted_median_of_numbers(counted, unit):
    values, counts = map(np.array, zip(*counted, strict=True))
    before = values.copy()
    finite = np.where(np.isnan(values), np.inf, values)
    weights = counts * unit
    actual = weighted_median(values, weights)
    tolerance = {"rtol": 1e-15, "atol": 5e-324}  # half of the smallest number is 0
    assert_allclose(actual, median_of_copies(finite, counts), **tolerance)
    actual = weighted_median(values)
    desired = median_of_copies(finite, np.ones(len(counts), dtype=int))
    assert_allclose(actual, desired, **tolerance)
    # What was given stays as it is.
    assert_array_equal(values, before)
    assert_array_equal(weights, counts * unit)


@pytest.mark.parametrize("unequal", [False, True])
def test_medians_of_columns(unequal):
    rng = np.random.default_rng(0)
    column = np.sort(rng.choice([0, 2, 3, 7, 8], 200))
    size = rng.integers(1, 20, 200).astype(float)  # with ties
    weight = rng.integers(1, 5, 200) / 4 if unequal else np.ones(200)
    present, median, total = column_medians(column, size, weight)
    assert_array_equal(present, np.unique(column))
    for j, middle, sum_of_weights in zip(present, median, total, strict=True):
        own = column == j
        assert sum_of_weights == weight[own].sum()
        assert middle == np.quantile(
            size[own], 0.5, weights=weight[own], method="inverted_cdf"
        )
    # Of an even number the smaller one of the two in the middle.
    assert column_medians(np.zeros(4, dtype=int), np.arange(4.0), np.ones(4))[1] == 1


@pytest.mark.parametrize("n", [2, 7, 70])
@pytest.mark.parametrize("kind", ["numbers", "rows", "rows float32"])
def test_weights_whose_sums_are_rounded(kind, n):
    # Half of tenths can lie on either side but for rounding: then either middle value,
    # or anything between them, will do.
    rng = np.random.default_rng(n)
    dtype = np.float32 if kind == "rows float32" else np.float64
    for _ in range(3000 if kind == "numbers" else 1000):
        values = rng.integers(1, 9, size=(n, 1 if kind == "numbers" else 30))
        counts = rng.integers(0, 7, size=n)
        counts[0] += 1
        if kind == "numbers":
            ours = weighted_median(values.astype(float)[:, 0], counts * 0.1)
        else:
            ours = median_of_rows("coord-median", values.astype(dtype), counts * 0.1)
        copies = np.sort(np.repeat(values, counts, axis=0), axis=0)
        low, high = copies[(len(copies) - 1) // 2], copies[len(copies) // 2]
        assert np.all((low <= ours) & (ours <= high)), (values, counts)


def come_and_go(n, d, seed=0):
    """Rows of which half of the features are absent for thousands at a time."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * (rng.random((n, d)) < 0.5)
    block = np.arange(n) // 7001
    for j in range(d):
        if j % 2:
            X[block % d == j] *= 3
        else:
            X[block % (d // 2) != j // 2, j] = 0
    y = X @ np.linspace(-2, 2, d) + rng.standard_t(1.5, size=n)
    return X, y


STREAMS = [
    ("spp-l2", 0.01, 0.9),
    ("spp-l2", 0.01, 0.99),
    ("spp-l2", 1.0, 0.99),
    ("spp-l2", 3.0, 0.0),  # seldom clipped: m is replaced by most gradients
    ("spp-l2", "auto", 0.0),
    ("spp-l2", "auto", 0.9),
    ("spp-l1", 0.01, 0.0),
    ("spp-l1", "auto", 0.9),
    ("mean", None, 0.9),
    ("mean", None, 0.99),
    ("coord-median", None, 0.9),
]


@pytest.mark.parametrize("penalty", ["l2", "l1"])
@pytest.mark.parametrize("average", [False, True], ids=["last", "average"])
@pytest.mark.parametrize("name, tau, momentum", STREAMS)
@pytest.mark.parametrize("kind", ["regressor", "classifier"])
def test_long_sparse_streams_do_not_drift(kind, name, tau, momentum, average, penalty):
    n = 200_000 if name != "coord-median" else 500_000
    if kind == "classifier" and name in ("mean", "coord-median"):
        pytest.skip("one location, as in a regressor")
    X, y = come_and_go(n, 6)
    params = {
        "gradient_estimator": name,
        "momentum": momentum,
        "penalty": penalty,
        "alpha": 1e-3,
        "average": average,
        "learning_rate": "constant",
        "eta0": 0.005,
        "shuffle": False,
        "refine": False,
        # The mean's steps of the intercept are damped on sparse rows.
        "fit_intercept": name != "mean",
        **BARE,
    }
    if tau is not None:
        params["tau"] = tau
    fits = []
    for layout in (np.asarray, sp.csr_array):
        if kind == "regressor":
            est = MedianSGDRegressor(**params).partial_fit(layout(X), y)
        else:
            est = MedianSGDClassifier(**params)
            est.partial_fit(layout(X), y > 1, classes=[False, True])
        fits.append(np.append(est.coef_, est.intercept_))
    assert np.abs(fits[0]).max() > 0.05
    assert_allclose(fits[1], fits[0], rtol=1e-9, atol=1e-9 * np.abs(fits[0]).max())


@pytest.mark.parametrize("cls", [MedianSGDRegressor, MedianSGDClassifier])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_empty_columns_change_nothing(name, cls):
    rng = np.random.default_rng(0)
    X = sp.csr_array(rng.random((300, 20)) * (rng.random((300, 20)) < 0.3))
    y = X @ np.linspace(-2, 2, 20) + 0.1 * rng.standard_t(2, size=300)
    n_features = 100_020
    places = np.sort(rng.choice(n_features, 20, replace=False))
    wide = sp.csr_array((X.data, places[X.indices], X.indptr), (300, n_features))
    params = {
        "gradient_estimator": name,
        "momentum": 0.5,
        "average": True,
        "leverage_weights": False,  # its limit is of the number of features
        "max_iter": 5,
        "tol": None,
        "random_state": 0,
    }
    # How a regressor refines depends on samples per parameter, and a classifier's sums
    # are rounded by the number of columns.
    params["refine"] = False
    for penalty in ("l2", "l1"):
        one, other = (
            cls(penalty=penalty, **params).fit(
                rows, y if cls is MedianSGDRegressor else y > 0
            )
            for rows in (X, wide)
        )
        coef = np.ravel(other.coef_)
        assert_array_equal(coef[places], np.ravel(one.coef_))
        assert np.count_nonzero(coef) <= 20
        assert_array_equal(other.intercept_, one.intercept_)
        assert_array_equal(other.loss_curve_, one.loss_curve_)


def peak_bytes(fit):
    """The most that a call allocates on top of what there is."""
    tracemalloc.start()
    try:
        fit()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def peak_of_fit(n, d, n_classes, **params):
    """Of a fit, in which X and y already exist; without classes of a regressor."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d))
    if n_classes == 0:
        est, y = MedianSGDRegressor(max_iter=4), X[:, 0] + rng.normal(size=n)
    else:
        # A refinement holds the scores of all rows for all classes.
        est, y = MedianSGDClassifier(max_iter=2, refine=False), np.arange(n) % n_classes
    est.set_params(tol=None, **params)
    return peak_bytes(lambda: est.fit(X, y))


@pytest.mark.parametrize("n, d", [(20_000, 5), (80_000, 5), (20_000, 60), (300, 2000)])
@pytest.mark.parametrize("n_classes", [0, 2, 10, 20])
def test_a_fit_needs_memory_for_some_columns(n_classes, n, d):
    most = 140 * n + 200 * max(1, n_classes) * d + 200_000
    # At most 10,000 rows set the units: copied, centred, sorted.
    most += 40 * min(n, 10_000) * d
    if n_classes == 0:
        # Candidates of the exact refinement, and its Gram matrices.
        most += 24e6 + 40 * d * d
    assert peak_of_fit(n, d, n_classes) < most


@pytest.mark.parametrize("d", [5, 100])
def test_what_a_class_needs_does_not_grow_with_samples(d):
    peaks = {
        (n, k): peak_of_fit(n, d, k, **BARE)
        for n in (4000, 32_000)
        for k in (3, 10, 20)
    }
    for n, k in ((4000, 10), (4000, 20), (32_000, 10), (32_000, 20)):
        # A few arrays of coefficients; an array of samples would be 8 n.
        assert peaks[n, k] - peaks[n, 3] < (k - 3) * (200 * d + 10_000)


def test_a_fit_of_float32_makes_no_float64_of_all_rows():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((100_000, 100), dtype=np.float32)
    est = MedianSGDRegressor(max_iter=3, tol=None, random_state=0)
    # A block of a prediction takes 32 MB, all rows would take 80 MB.
    assert peak_bytes(lambda: est.fit(X, X[:, 0])) < 64 * 2**20


if __name__ == "__main__":
    results = many_fits() if instruction_set() == sys.argv[1] else None
    pickle.dump(results, sys.stdout.buffer)
