"""Compiled functions refuse what does not fit, before they read or write beyond it."""

import numpy as np
import pytest
import scipy.sparse as sp
from medsgd._core.settings import EstimatorSettings, Settings
from medsgd._core.update import update
from numpy.testing import assert_allclose, assert_array_equal

from medsgd import MedianSGDClassifier
from medsgd._core import dense, losses, medians, order, rows
from medsgd._core import sparse as csr

MODULES = [dense, csr]
SAMPLES = ["y", "sample_weight", "strata", "iterations", "losses"]
NAMES = {
    dense: ["cfg", "state", "center", "inverse_scale", "X", *SAMPLES],
    csr: ["cfg", "state", "X_data", "X_indices", "X_indptr", *SAMPLES],
}
N, D = 20, 3


class Called(Exception):
    pass


def arguments(module):
    """By name, what a fit gives the pass that uses most of its arguments."""

    def run_pass(*args):
        raise Called(dict(zip(NAMES[module], args, strict=True)))

    X = np.random.default_rng(0).normal(size=(N, D))
    clf = MedianSGDClassifier(
        gradient_estimator="spp-l1",
        penalty="l1",
        average=True,
        n_gradients=2,
        random_state=0,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "run_pass", run_pass)
        with pytest.raises(Called) as caught:
            clf.fit(sp.csr_array(X) if module is csr else X, np.arange(N) % 2)
    return caught.value.args[0]


def arrays(module):
    """Names of the arrays that a pass looks at, those of the state with a dot."""
    own = [k for k, v in arguments(module).items() if isinstance(v, np.ndarray)]
    state = ["location", "scale", "n_updates", "shares"]
    state += ["records"] if module is csr else ["coef", "sums", "paid_penalty"]
    return own + [f"state.{name}" for name in state]


def assert_refuses(module, args, error=ValueError, match="does not fit"):
    state = args["state"]
    before = {k: np.copy(v) for k, v in vars(state).items()}
    with pytest.raises(error, match=match):
        module.run_pass(*args.values())
    for name, value in before.items():
        assert_array_equal(getattr(state, name), value)


@pytest.mark.parametrize("module", MODULES)
def test_what_a_fit_gives_is_accepted(module):
    module.run_pass(*arguments(module).values())


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize(
    "module, name", [(module, name) for module in MODULES for name in arrays(module)]
)
def test_an_array_with_too_few_elements(module, name, axis):
    args = arguments(module)
    holder = vars(args["state"]) if name.startswith("state.") else args
    name = name.removeprefix("state.")
    if (name, axis) == ("iterations", 0):
        pytest.skip("a pass may be over some of the rows")
    if name == "scale" and module is csr and axis == -1:
        pytest.skip("read from the records")
    array = holder[name]
    holder[name] = np.ascontiguousarray(np.delete(array, -1, axis))
    assert_refuses(module, args)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize(
    "name", ["X", "y", "sample_weight", "strata", "iterations", "losses", "state"]
)
def test_none_in_place_of_arguments(module, name):
    args = arguments(module)
    name = "X_indptr" if name == "X" and module is csr else name
    args[name] = None
    with pytest.raises((AttributeError, TypeError, ValueError)):
        module.run_pass(*args.values())


@pytest.mark.parametrize("module", MODULES)
def test_settings_that_nobody_has_made(module):
    args = arguments(module)
    args["cfg"] = None
    assert_refuses(module, args, TypeError, "cfg")
    args["cfg"] = Settings.__new__(Settings)
    assert_refuses(module, args)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("wrong", [-1, N, 2**62, -(2**63)])
def test_rows_that_do_not_exist(module, wrong):
    args = arguments(module)
    args["iterations"] = args["iterations"].copy()
    args["iterations"][3, 1] = wrong
    assert_refuses(module, args)


@pytest.mark.parametrize("module", MODULES)
def test_strata_that_do_not_exist(module):
    args = arguments(module)
    args["strata"] = args["strata"].copy()
    args["strata"][7] = 2
    assert_refuses(module, args)


@pytest.mark.parametrize("place, wrong", [(0, -1), (5, 0), (5, 2**30), (N, 10**6)])
def test_rows_that_are_not_within_the_entries(place, wrong):
    args = arguments(csr)
    args["X_indptr"] = args["X_indptr"].copy()
    args["X_indptr"][place] = wrong
    assert_refuses(csr, args)


@pytest.mark.parametrize("wrong", [-1, D, 2**30, -(2**31)])
def test_columns_that_do_not_exist_are_left_out_and_told(wrong):
    args = arguments(csr)
    args["X_indices"] = args["X_indices"].copy()
    args["X_indices"][7] = wrong
    # The row is known by then, and the state that of a pass without the entry.
    with pytest.raises(ValueError, match="X_indices does not fit"):
        csr.run_pass(*args.values())
    without = arguments(csr)
    without["X_data"] = without["X_data"].copy()
    without["X_data"][7] = 0
    csr.run_pass(*without.values())
    assert_array_equal(args["state"].records, without["state"].records)


def test_a_column_twice_in_a_row_has_its_first_entry_only():
    args = arguments(csr)
    args["X_indices"] = np.zeros_like(args["X_indices"])
    csr.run_pass(*args.values())
    assert np.isfinite(args["state"].records).all()
    # The location has moved where there was something to move it.
    assert_array_equal(args["state"].location[:, 1:D], 0)


def test_update():
    settings = EstimatorSettings(
        gradient_estimator="spp-l1",
        tau=None,
        c_tau=1.0,
        momentum=0,
        fit_intercept=False,
        n_strata=1,
    )
    sizes = {"rows": (4, 3), "weights": (4,), "m": (4,), "s": (4,)}
    good = {name: np.ones(size) for name, size in sizes.items()}
    update(settings, *good.values(), 0)
    wrong = [("m", 3), ("s", 3), ("s", 0), ("weights", 3), ("rows", (0, 3))]
    for name, size in [*wrong, ("rows", (4, 0))]:
        with pytest.raises(ValueError, match="does not fit"):
            update(settings, *(good | {name: np.ones(size)}).values(), 0)
    with pytest.raises(TypeError):
        update(None, *good.values(), 0)


@pytest.mark.parametrize(
    "rows, strata, n_strata, size",
    [
        ([0, 2], [0, 1], 2, 2),
        ([0, -1], [0, 1], 2, 2),
        ([0, 1], [0, 2], 2, 2),
        ([0, 1], [0, 1], 0, 2),
        ([0, 1], [0, 1], 2, 0),
    ],
)
def test_group(rows, strata, n_strata, size):
    with pytest.raises(ValueError, match="does not fit"):
        order.group(np.array(rows), np.array(strata, dtype=np.uint8), n_strata, size)


def test_losses_and_medians():
    with pytest.raises(ValueError, match="2 targets, but 3 predictions"):
        losses.evaluate(0, 0.0, np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="2 values, but 3 weights"):
        medians.weighted_median(np.ones(2), np.ones(3))
    for n_sizes, n_weights in ((3, 2), (2, 3)):
        with pytest.raises(ValueError, match="does not fit"):
            medians.column_medians(
                np.zeros(2, dtype=int), np.ones(n_sizes), np.ones(n_weights)
            )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_standardise(dtype):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(7, 3)).astype(dtype)
    X[0, 0], X[1, 1], X[2, 2] = 1e30, -np.inf, np.nan
    center, scale = rng.normal(size=3), rng.uniform(size=3)
    out = np.empty((7, 5))
    rows.standardise(X, center, scale, 1e3, out)
    assert_array_equal(out[:, :2], 1)
    assert_allclose(out[:, 2:], np.clip((X - center) * scale, -1e3, 1e3), rtol=1e-15)
    rows.standardise(X[:0], center, scale, 1e3, out[:0])
    for wrong in (
        (X, center[:2], scale, 1e3, out),
        (X, center, scale[:2], 1e3, out),
        (X, center, scale, 1e3, out[:6]),
        (X, center, scale, 1e3, np.empty((7, 2))),
    ):
        with pytest.raises(ValueError, match="does not fit"):
            rows.standardise(*wrong)
