"""Call compiled functions as nobody should: with what fits give them, spoilt at random.

Like ``driver.py``, a case is made from its number alone. A call raises an ordinary
exception or returns. One that reads or writes beyond its arrays may crash here; for
sure it does so in a build with sanitizers.
"""

import contextlib
import os
import sys
from unittest import mock

import numpy as np
from driver import pick, run_cases
from medsgd._core.settings import Settings
from scipy import sparse

from medsgd import MedianSGDClassifier, MedianSGDRegressor
from medsgd import gradient_estimators as estimators
from medsgd._core import dense, losses
from medsgd._core import sparse as csr
from medsgd._fit import epochs, scales
from medsgd._fit.data import Data

WRONG_INTEGERS = [-1, 0, 1, 2, 7, 255, 2**31, 2**40, -(2**63), 2**63 - 1]
WRONG_NUMBERS = [np.nan, np.inf, -np.inf, -1.0, 0.0, 1e-310, 1e300, 2.0**53]
WRONG_OBJECTS = [None, "a", -1, 2**70, np.nan, object(), [], np.empty((0, 0))]


class Done(BaseException):
    """The spoilt call has been made."""


def spoil_array(rng, array):
    """An array of another kind, or with other elements."""
    kind = pick(rng, ["shorter", "longer", "empty", "dtype", "shape", "layout", "None"])
    # Most often the elements, as shapes and dtypes are checked first.
    if rng.random() < 0.5 and array.size:
        integers = array.dtype.kind in "iu"
        array = array.copy()
        wrong = pick(rng, WRONG_INTEGERS if integers else WRONG_NUMBERS)
        with np.errstate(all="ignore"):
            array.flat[rng.integers(array.size, size=2)] = np.asarray(wrong).astype(
                array.dtype
            )
        return array
    if kind == "shorter":
        return array[:-1].copy()
    if kind == "longer":
        return np.concatenate([array, array[-1:]])
    if kind == "empty":
        return array[:0].copy()
    if kind == "dtype":
        return array.astype(pick(rng, [np.float32, np.float64, np.int32, np.uint8]))
    if kind == "shape":
        shape = pick(rng, [(-1,), (1, -1), (-1, 1), (0, 2**40), (2**40, 0)])
        return np.empty(shape, array.dtype) if 0 in shape else array.reshape(shape)
    if kind == "layout":
        return np.repeat(array, 2, axis=-1)[..., ::2]
    return None


def other_settings(rng):
    """Settings that the state and the arrays are not made for."""
    if rng.random() < 0.2:
        return Settings.__new__(Settings)
    estimator = draw_estimator(rng)
    plan = estimator._plan()
    X, weight = np.eye(3), np.ones(3)
    units = plan.feature_units(X, weight)
    return plan.settings(Data(X=X, y=weight, weight=weight, units=units))


def spoil(rng, value):
    """Something else in place of an argument."""
    if isinstance(value, np.ndarray):
        with np.errstate(all="ignore"):
            return spoil_array(rng, value)
    if isinstance(value, Settings) and rng.random() < 0.8:
        return other_settings(rng)
    if hasattr(value, "stratum_weight"):
        name = pick(rng, sorted(vars(value)))
        setattr(value, name, spoil(rng, getattr(value, name)))
        return value
    return pick(rng, WRONG_OBJECTS + WRONG_INTEGERS)


def spoilt_call(rng, function, args):
    args = list(args)
    for i in rng.integers(len(args), size=pick(rng, [1, 1, 2, 3])):
        args[i] = spoil(rng, args[i])
    # A segmentation fault is no exception.
    with contextlib.suppress(Exception):
        function(*args)


def draw_estimator(rng):
    cls = pick(rng, [MedianSGDRegressor, MedianSGDClassifier])
    name = pick(rng, sorted(estimators.BY_NAME))
    return cls(
        gradient_estimator=name,
        n_gradients=pick(rng, ["auto", 1, 3]),
        batch_size=pick(rng, [1, 1, 2]),
        momentum=pick(rng, [0.0, 0.5]),
        penalty=pick(rng, ["l2", "l1"]),
        average=pick(rng, [False, True]),
        standardize=pick(rng, [True, False]),
        max_iter=3,
        tol=None,
        random_state=0,
    )


def spoil_a_fit(rng):
    """Spoil one of the calls of compiled functions that a fit makes."""
    n_left = int(rng.integers(8))

    def spoiling(function):
        def call(*args):
            nonlocal n_left
            n_left -= 1
            if n_left >= 0:
                return function(*args)
            spoilt_call(rng, function, args)
            raise Done

        return call

    X = rng.standard_normal((12, 3)).astype(pick(rng, [np.float32, np.float64]))
    X[rng.random(X.shape) < 0.4] = 0
    y = np.arange(12) % 2
    X = sparse.csr_array(X) if rng.random() < 0.6 else X
    with contextlib.ExitStack() as stack:
        for module, name in [
            (dense, "run_pass"),
            (csr, "run_pass"),
            (epochs, "group"),
            (epochs, "shuffle"),
            (scales.medians, "weighted_median"),
        ]:
            patched = spoiling(getattr(module, name))
            stack.enter_context(mock.patch.object(module, name, patched))
        stack.enter_context(contextlib.suppress(Done))
        try:
            draw_estimator(rng).fit(X, y)
        except ValueError as error:
            # Drawn steps may be too long, and tell.
            if "The fit diverges" not in str(error):
                raise


def spoil_an_update(rng):
    """Spoil the call that a gradient estimator makes."""
    function = estimators.update

    def call(*args):
        spoilt_call(rng, function, args)
        raise Done

    estimator = estimators.BY_NAME[pick(rng, sorted(estimators.BY_NAME))]()
    with mock.patch.object(estimators, "update", call), contextlib.suppress(Done):
        estimator.update(rng.standard_normal((pick(rng, [1, 4]), 3)))


def spoil_a_function(rng):
    """Spoil calls that are made with arrays of one's own."""
    values = rng.standard_normal(5)
    table = losses.REGRESSION_LOSSES | losses.CLASSIFICATION_LOSSES
    code = rng.choice([loss.code for loss in table.values()])
    spoilt_call(rng, losses.evaluate, (int(code), 0.1, values, values))
    settings = other_settings(rng)
    spoilt_call(rng, csr.layout, (settings, 1, True))


def run_case(number):
    """Make a case from its number and run it."""
    rng = np.random.default_rng([number, 88])
    with np.errstate(all="ignore"):
        pick(rng, [spoil_a_fit] * 8 + [spoil_an_update, spoil_a_function])(rng)


if __name__ == "__main__":
    # Some sizes are more than there is. Sanitizers have a limit of their own.
    if sys.platform == "linux" and "ASAN_OPTIONS" not in os.environ:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))
    run_cases(__doc__, run_case)
