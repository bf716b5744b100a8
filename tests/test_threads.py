"""Threads that share data, or a fitted estimator, get what one alone gets.

Passes release the GIL, so this is a test with one as well; without one
(free-threaded Python) importing the compiled modules must not bring it back.
"""

import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from threading import Barrier

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import clone

from medsgd import MedianSGDClassifier, MedianSGDRegressor
from medsgd.datasets import make_contaminated_regression
from medsgd.gradient_estimators import SPPL1, SPPL2, CoordMedian, GeometricMedian

N_THREADS = 8
NAMES = ["mean", "coord-median", "geometric-median", "spp-l1", "spp-l2"]


def at_once(tasks):
    """Results of functions, which threads begin together."""
    start = Barrier(N_THREADS)

    def run(k):
        start.wait(timeout=60)
        return [task() for task in tasks[k::N_THREADS]]

    with ThreadPoolExecutor(N_THREADS) as pool:
        runs = list(pool.map(run, range(N_THREADS)))
    return [runs[i % N_THREADS][i // N_THREADS] for i in range(len(tasks))]


@pytest.fixture(scope="module")
def data():
    X, y = make_contaminated_regression(2000, 20, density=0.3, random_state=0)
    return X, y


@pytest.mark.parametrize("layout", [np.asarray, sparse.csr_array])
def test_fits_on_the_same_data(data, layout):
    X, y = layout(data[0].toarray()), data[1]
    settings = {"max_iter": 5, "tol": None, "n_iter_no_change": 5}
    estimators = [
        cls(gradient_estimator=name, penalty=penalty, random_state=0, **settings)
        for name, penalty, cls in product(
            NAMES, ["l1", "l2"], [MedianSGDRegressor, MedianSGDClassifier]
        )
    ]
    label = np.digitize(y, np.quantile(y, [0.3, 0.6]))

    def fit(estimator):
        target = y if isinstance(estimator, MedianSGDRegressor) else label
        estimator = clone(estimator).fit(X, target).partial_fit(X, target)
        return estimator.coef_, estimator.intercept_, estimator.loss_curve_

    alone = [fit(estimator) for estimator in estimators]
    together = at_once([lambda e=e: fit(e) for e in estimators])
    for desired, actual in zip(alone, together, strict=True):
        for a, b in zip(actual, desired, strict=True):
            assert_array_equal(a, b)


def test_predictions_of_one_estimator(data):
    X, y = data
    label = np.digitize(y, np.quantile(y, [0.3, 0.6]))
    clf = MedianSGDClassifier(random_state=0).fit(X, label)
    desired = clf.predict_proba(X)
    for actual in at_once([lambda: clf.predict_proba(X)] * 50):
        assert_array_equal(actual, desired)


@pytest.mark.parametrize("cls", [SPPL1, SPPL2, CoordMedian, GeometricMedian])
def test_streams_of_gradients(cls):
    gradients = np.random.default_rng(0).standard_cauchy((200, 5, 30))

    def follow():
        estimator = cls()
        return [estimator.update(g) for g in gradients]

    desired = follow()
    for actual in at_once([follow] * 2 * N_THREADS):
        assert_array_equal(actual, desired)


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has a GIL"
)
def test_import_leaves_the_gil_off():
    # Turning it on is a warning of the module that does not say it can do without.
    code = "import medsgd, sys; sys.exit(sys._is_gil_enabled())"
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", code]
    subprocess.run(command, check=True)
