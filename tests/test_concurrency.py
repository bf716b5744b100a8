"""Fits in other processes and threads, after a fork, and stopped by Ctrl-C."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from joblib import Parallel, delayed, parallel_config
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import clone

from medsgd import MedianSGDClassifier, MedianSGDRegressor
from medsgd._fit.epochs import Problem
from medsgd._fit.units import RecentRows
from medsgd._refinement import classification
from medsgd._refinement.class_stream import ClassStream, ClassSums
from medsgd._refinement.exact import ExactStage
from medsgd._refinement.regression import Refinement
from medsgd._refinement.stream import Stream
from medsgd._refinement.stream_sums import GramSums

X = np.random.default_rng(0).standard_t(3, size=(300, 8))
Y = X @ np.arange(8) + np.random.default_rng(1).standard_cauchy(300)
LABEL = np.digitize(Y, np.quantile(Y, [0.3, 0.6]))
ESTIMATORS = [
    MedianSGDRegressor(random_state=0, max_iter=20, tol=None),
    MedianSGDRegressor("huber", gradient_estimator="spp-l1", random_state=0, tol=0.1),
    MedianSGDClassifier(gradient_estimator="coord-median", random_state=0, tol=0.1),
    MedianSGDClassifier(random_state=0, max_iter=20, average=True, tol=None, n_jobs=2),
]


def target_of(estimator):
    return Y if isinstance(estimator, MedianSGDRegressor) else LABEL


def learn(estimator, rows):
    """All that a fit and a pass after it come to, and predictions."""
    target = target_of(estimator)
    estimator = clone(estimator).fit(rows, target).partial_fit(rows, target)
    return estimator.coef_, estimator.intercept_, estimator.predict(X)


def assert_all_equal(actual, desired):
    for results in zip(actual, desired, strict=True):
        for a, b in zip(*results, strict=True):
            assert_array_equal(a, b)


@pytest.fixture(scope="module", params=[np.asarray, sparse.csr_array])
def rows(request):
    return request.param(X)


@pytest.fixture(scope="module")
def alone(rows):
    return [learn(estimator, rows) for estimator in ESTIMATORS]


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_backends_of_joblib(backend, rows, alone):
    # So small a limit that the processes get read-only memory maps.
    parallel = Parallel(n_jobs=2, backend=backend, max_nbytes=100)
    results = parallel(delayed(learn)(estimator, rows) for estimator in ESTIMATORS)
    assert_all_equal(results, alone)


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_jobs_of_a_classifier_are_threads_in_every_backend(backend, rows):
    clf = MedianSGDClassifier(random_state=0, max_iter=20, tol=None)
    with parallel_config(backend=backend):
        results = [learn(clf.set_params(n_jobs=n), rows) for n in (1, 2, 3, -1)]
    assert_all_equal(results, results[:1] * 4)


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="needs fork"
)
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_fork_after_use(rows, alone):
    # ``alone`` has used threads of this process, and the fork inherits none.
    with multiprocessing.get_context("fork").Pool(1) as pool:
        calls = [pool.apply_async(learn, (est, rows)) for est in ESTIMATORS]
        assert_all_equal([call.get(timeout=60) for call in calls], alone)


def assert_same_state(estimator, before):
    """As before, also where it goes on from."""
    again, target = pickle.loads(pickle.dumps(estimator)), target_of(estimator)
    before = pickle.loads(before)
    for est in (again, before):
        est.partial_fit(X, target)
    assert_array_equal(again.coef_, before.coef_)
    assert_array_equal(again.predict(X), before.predict(X))


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
@pytest.mark.parametrize("epoch", [1, 15])
def test_an_interrupt_leaves_the_estimator_as_it_was(monkeypatch, estimator, epoch):
    estimator = clone(estimator).set_params(max_iter=20, tol=None)
    if isinstance(estimator, MedianSGDRegressor):
        estimator.set_params(refine=False)
    estimator.fit(X, target_of(estimator))
    before = pickle.dumps(estimator)
    epochs, run_epoch = [], Problem.run_epoch

    def interrupted(*args, **kwargs):
        run_epoch(*args, **kwargs)
        epochs.append(1)
        if len(epochs) == epoch:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Problem, "run_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            estimator.fit(X[:100, :3], target_of(estimator)[:100])
    assert_same_state(estimator, before)


def test_an_interrupted_refinement_leaves_the_estimator_as_it_was(monkeypatch):
    estimator = MedianSGDRegressor(random_state=0).fit(X, Y)
    before = pickle.dumps(estimator)
    passes, take = [], ExactStage.take

    def interrupted(*args):
        take(*args)
        passes.append(1)
        if len(passes) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ExactStage, "take", interrupted)
        with pytest.raises(KeyboardInterrupt):
            estimator.fit(X[:100, :3], Y[:100])
    assert_same_state(estimator, before)


STEPS_OF_FITS = [
    (MedianSGDRegressor, ExactStage, "__init__"),
    (MedianSGDRegressor, Refinement, "_best_candidate"),
    (MedianSGDRegressor, Refinement, "_settled"),
    (MedianSGDRegressor, ExactStage, "take"),
    (MedianSGDRegressor, ExactStage, "s_fit"),
    (MedianSGDClassifier, classification, "fitted"),
    (MedianSGDClassifier, classification, "balance"),
]
STEPS_OF_STREAMS = [
    (MedianSGDRegressor, RecentRows, "followed"),
    (MedianSGDRegressor, Stream, "_collected"),
    (MedianSGDRegressor, GramSums, "with_rows"),
    (MedianSGDRegressor, GramSums, "rescaled"),
    (MedianSGDClassifier, ClassStream, "_collected"),
    (MedianSGDClassifier, ClassSums, "with_rows"),
]


def fail_after(owner, name, monkeypatch):
    """Let a step of a fit end with Ctrl-C."""
    call = getattr(owner, name)

    def interrupted(*args, **kwargs):
        call(*args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(owner, name, interrupted)


@pytest.mark.parametrize("cls, owner, name", STEPS_OF_FITS)
def test_an_interrupt_in_each_step_of_a_fit(monkeypatch, cls, owner, name):
    estimator = cls(random_state=0)
    target = target_of(estimator)
    before = pickle.dumps(estimator.fit(X, target))
    with monkeypatch.context() as patch:
        fail_after(owner, name, patch)
        with pytest.raises(KeyboardInterrupt):
            estimator.fit(X[:200, :3], target[:200])
    assert_same_state(estimator, before)


@pytest.mark.parametrize("cls, owner, name", STEPS_OF_STREAMS)
def test_an_interrupt_in_each_step_of_a_stream(monkeypatch, cls, owner, name):
    estimator, first = cls(random_state=0), {}
    target = target_of(estimator)
    if cls is MedianSGDClassifier:
        first["classes"] = np.unique(target)
    states = [estimator.partial_fit(X, target, **first)]

    def go_on():
        for _ in range(20):
            states[0] = pickle.dumps(estimator)
            estimator.partial_fit(X, target)

    with monkeypatch.context() as patch:
        fail_after(owner, name, patch)
        with pytest.raises(KeyboardInterrupt):
            go_on()
    assert_same_state(estimator, states[0])


def test_many_threads_fit_and_predict():
    shared = MedianSGDRegressor(random_state=0).fit(X, Y)
    prediction = shared.predict(X)
    known = [learn(estimator, X) for estimator in ESTIMATORS]

    def work(k):
        estimator = ESTIMATORS[k % len(ESTIMATORS)]
        assert_array_equal(shared.predict(X), prediction)
        return learn(estimator, X)

    with ThreadPoolExecutor(50) as pool:
        results = list(pool.map(work, range(100)))
    assert_all_equal(results, [known[k % len(known)] for k in range(100)])


def test_many_streams_side_by_side_know_nothing_of_one_another():
    streams = [MedianSGDRegressor(random_state=0) for _ in range(200)]
    for first in range(0, 300, 100):
        part = slice(first, first + 100)
        for k, stream in enumerate(streams):
            stream.partial_fit(X[part], Y[part] + k)
    for k in (0, 57, 199):
        alone = MedianSGDRegressor(random_state=0)
        for first in range(0, 300, 100):
            part = slice(first, first + 100)
            alone.partial_fit(X[part], Y[part] + k)
        assert_array_equal(streams[k].coef_, alone.coef_)


def press_ctrl_c(call, seconds_at_most):
    """Ctrl-C in a call that would go on: it ends in time, and threads with it."""
    pressed = []

    def press():
        pressed.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.3, press)
    timer.start()
    try:
        call()
    except KeyboardInterrupt:
        taken = time.monotonic() - pressed[0]
        assert taken < seconds_at_most, taken
    else:
        raise AssertionError("the call has ended by itself")
    timer.join()
    deadline = time.monotonic() + seconds_at_most
    while True:
        used = time.process_time()
        time.sleep(0.1)
        if time.process_time() - used < 0.02:
            return
        assert time.monotonic() < deadline, "threads go on"


def forever(call, *args):
    while True:
        call(*args)


def interrupted_fits():
    """What a process of its own checks, whose Ctrl-C is nobody else's."""
    # What a shell starts in the background ignores it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for estimator in (ESTIMATORS[0], ESTIMATORS[-1]):  # one thread, and several
        target = target_of(estimator)
        estimator = clone(estimator).fit(X, target)
        before = pickle.dumps(estimator)
        estimator.set_params(max_iter=10**9, tol=None, refine=False)
        press_ctrl_c(lambda e=estimator, y=target: e.fit(X[:, :3], y), 10)
        assert_same_state(estimator.set_params(refine=True), before)
        press_ctrl_c(lambda e=estimator, y=target: forever(e.partial_fit, X, y), 10)
        pickle.loads(pickle.dumps(estimator)).partial_fit(X, target).predict(X)

    # One long epoch.
    rows, y = np.tile(X, (500, 1)), np.tile(Y, 500)
    estimator = MedianSGDRegressor(
        gradient_estimator="geometric-median",
        n_gradients=50,
        max_iter=1,
        tol=None,
        refine=False,
    )
    start = time.monotonic()
    estimator.fit(rows, y)
    epoch = time.monotonic() - start
    estimator.set_params(max_iter=10**6)
    press_ctrl_c(lambda: estimator.fit(rows, y), 10 + 3 * epoch)
    estimator.partial_fit(X, Y)


@pytest.mark.skipif(os.name == "nt", reason="needs a signal that a process can send")
def test_ctrl_c_ends_a_fit():
    subprocess.run([sys.executable, __file__], check=True, timeout=300)


if __name__ == "__main__":
    interrupted_fits()
