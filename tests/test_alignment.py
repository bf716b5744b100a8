"""Arrays that begin anywhere in memory, as in messages and files: compiled code gets
numbers at multiples of their size."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
from fuzz.driver import shifted
from numpy.testing import assert_array_equal
from sklearn.base import clone

from medsgd import MedianSGDClassifier, MedianSGDRegressor
from medsgd._fit import epochs
from medsgd._utils.guards import canonical_rows
from medsgd.gradient_estimators import SPPL2

X = np.random.default_rng(0).standard_normal((200, 4))
Y = X @ np.arange(4) > 0
WEIGHT = np.random.default_rng(1).uniform(0.5, 2, 200)
ESTIMATORS = [
    MedianSGDRegressor(random_state=0, tol=None, max_iter=3),
    MedianSGDClassifier(random_state=0, tol=None, max_iter=3, momentum=0.5),
    MedianSGDClassifier(
        gradient_estimator="coord-median", random_state=0, tol=None, max_iter=3
    ),
]


def parts_of(array):
    return [array.data, array.indices, array.indptr] if sp.issparse(array) else [array]


def displaced(array):
    """The same, but where its numbers cannot be read in one piece."""
    if not sp.issparse(array):
        return shifted(array)
    array = array.copy()
    array.data, array.indices, array.indptr = map(shifted, parts_of(array))
    return array


def arrived(value):
    """The value out of a message, of which its arrays are part."""
    buffers = []
    data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    message = [shifted(np.frombuffer(part.raw(), np.uint16)) for part in buffers]
    return pickle.loads(data, buffers=[part.view(np.uint8) for part in message])


def arrays(value):
    if isinstance(value, np.ndarray):
        yield value
    elif sp.issparse(value):
        yield from parts_of(value)


@pytest.fixture
def calls(monkeypatch):
    """Counts passes, none of which may get what is not aligned."""
    seen = []

    def watched(module):
        def run_pass(settings, state, *args):
            for value in (*vars(state).values(), *args):
                assert all(array.flags.aligned for array in arrays(value))
            seen.append(1)
            return module.run_pass(settings, state, *args)

        return SimpleNamespace(run_pass=run_pass)

    for name in ("dense", "csr"):
        monkeypatch.setattr(epochs, name, watched(getattr(epochs, name)))
    return seen


def test_displaced_arrays_are_not_aligned():
    for value in (X, sp.csr_array(X)):
        for array in arrays(displaced(value)):
            assert not array.flags.aligned
    assert not arrived(X).flags.aligned


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
def test_fits(calls, estimator, layout):
    rows, y, estimator = layout(X), Y.astype(float), clone(estimator)
    desired = clone(estimator).fit(rows, y, sample_weight=WEIGHT)
    given = displaced(rows), shifted(y)
    estimator.fit(*given, sample_weight=shifted(WEIGHT))
    assert_array_equal(estimator.coef_, desired.coef_)
    estimator.partial_fit(*given, sample_weight=shifted(WEIGHT))
    assert_array_equal(
        estimator.coef_, desired.partial_fit(rows, y, sample_weight=WEIGHT).coef_
    )
    assert_array_equal(estimator.predict(given[0]), desired.predict(rows))
    assert calls


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
def test_fitted_estimators_out_of_a_message(calls, estimator, layout):
    estimator = clone(estimator).fit(layout(X), Y)
    again = arrived(estimator)
    assert_array_equal(again.predict(X), estimator.predict(X))
    for est in (again, estimator):
        est.partial_fit(layout(X), Y)
    assert_array_equal(again.coef_, estimator.coef_)
    assert calls


@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("name", ["Regressor", "Classifier"])
def test_partitions_and_jobs_out_of_messages(calls, monkeypatch, name, layout):
    da = pytest.importorskip("dask.array")
    from medsgd import dask as medsgd_dask
    from medsgd.dask import _collections

    estimator = getattr(medsgd_dask, f"DaskMedianSGD{name}")(random_state=0)
    data = da.from_array(X, chunks=(50, -1)).map_blocks(layout), da.from_array(Y, 50)
    data = data[0], data[1].astype(float)
    desired = clone(estimator).fit(*data)

    run = _collections.Partitions.run

    def with_messages(self, key, function, sent):
        def local(block, sent, k):
            return arrived(function(arrived(block), arrived(sent), k))

        return run(self, key, local, sent)

    monkeypatch.setattr(_collections.Partitions, "run", with_messages)
    n_before = len(calls)
    assert_array_equal(estimator.fit(*data).coef_, desired.coef_)
    assert len(calls) > n_before


@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
def test_arrays_that_are_aligned_are_not_copied(layout):
    rows = layout(X)
    assert canonical_rows(rows) is rows


@pytest.mark.parametrize("change", [shifted, lambda a: np.repeat(a, 2, axis=0)[::2]])
def test_gradients_and_their_weights(change):
    estimator = SPPL2(tau=0.1)
    assert all(
        array.flags.aligned and array.flags.c_contiguous
        for array in estimator._validated(change(X), change(WEIGHT))
    )
    assert_array_equal(
        estimator.update(change(X), weights=change(WEIGHT)),
        SPPL2(tau=0.1).update(X, weights=WEIGHT),
    )
