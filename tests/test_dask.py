"""Fits over partitions on Dask's local scheduler: right, robust, clear about misuse."""

import pickle
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from _examples import run_example
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import check_array

from medsgd import MedianSGDClassifier, MedianSGDRegressor
from medsgd.inspection import coefficient_table

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")

from _dask_data import (  # noqa: E402
    AGGREGATORS,
    ROBUST,
    chunked,
    classification,
    corrupted,
    error,
    least_squares_error,
    regression,
)
from dask.sizeof import sizeof  # noqa: E402

from medsgd._fit.state import State  # noqa: E402
from medsgd.dask import (  # noqa: E402
    DaskMedianSGDClassifier,
    DaskMedianSGDRegressor,
    _partitions,
    _rounds,
)

CLASSES = [DaskMedianSGDRegressor, DaskMedianSGDClassifier]


@pytest.fixture(autouse=True)
def local_scheduler():
    with dask.config.set(scheduler="sync"):
        yield


@pytest.mark.parametrize(
    "aggregator, n_classes",
    [("coord-median", 2), ("geometric-median", 3), ("spp-l2", 2)],
)
def test_wrong_labels_in_a_quarter_of_the_partitions(aggregator, n_classes):
    X, y = classification(n_classes=n_classes)
    wrong, good = corrupted(y, 8, "shuffled")
    clf = DaskMedianSGDClassifier(aggregator=aggregator, random_state=0)
    clf.fit(*chunked(X, wrong.astype(int), 8))
    one = MedianSGDClassifier(random_state=0).fit(X[good], y[good])
    assert clf.score(X, y) > one.score(X, y) - 0.01


@pytest.mark.parametrize("gradient_estimator", AGGREGATORS)
def test_every_gradient_estimator_fits(gradient_estimator):
    X, y, truth = regression(4000, 3)
    params = {"gradient_estimator": gradient_estimator, "random_state": 0}
    reg = DaskMedianSGDRegressor(**params).fit(*chunked(X, y, 4))
    assert error(reg, truth) < 0.15
    X, y = classification()
    clf = DaskMedianSGDClassifier(**params).fit(*chunked(X, y, 4))
    one = MedianSGDClassifier(**params).fit(X, y)
    assert clf.score(X, y) > one.score(X, y) - 0.02


def test_partitions_may_lack_classes():
    X, y = classification()
    order = np.argsort(y, kind="stable")
    clf = DaskMedianSGDClassifier(aggregator="mean", random_state=0)
    clf.fit(*chunked(X[order], y[order], 6))
    one = MedianSGDClassifier(random_state=0).fit(X, y)
    assert clf.score(X, y) > one.score(X, y) - 0.02


@pytest.mark.parametrize("layout", [sp.csr_array, sp.csr_matrix])
def test_blocks_may_be_sparse(layout):
    X, y, truth = regression(4000, 4)
    X[np.random.default_rng(1).random(X.shape) < 0.5] = 0
    y = X @ truth[:-1] + 2 + 0.1 * np.random.default_rng(2).normal(size=len(y))
    dense, target = chunked(X, y, 4)
    reg = DaskMedianSGDRegressor(random_state=0).fit(dense.map_blocks(layout), target)
    assert error(reg, truth) < 0.02
    assert_allclose(reg.predict(dense.map_blocks(layout)).compute(), reg.predict(X))


def test_sparse_blocks_far_from_zero():
    X, y = classification(4000)
    clf, far = DaskMedianSGDClassifier(random_state=0), X + 1e4
    dense, labels = chunked(far, y, 4)
    clf.fit(dense.map_blocks(sp.csr_array), labels)
    one = MedianSGDClassifier(random_state=0).fit(far, y)
    assert_allclose(clf.predict_proba(far), one.predict_proba(far), atol=0.02)


def test_dataframes_with_unknown_and_empty_partitions():
    X, y, truth = regression(4000, 3)
    frame = pd.DataFrame(X, columns=list("abc")).assign(y=y)
    frame = dd.from_pandas(frame.assign(i=range(4000)), npartitions=8)
    frame = frame[frame.i >= 600]
    features = frame[list("abc")]
    reg = DaskMedianSGDRegressor(random_state=0).fit(features, frame.y)
    assert error(reg, truth) < 0.06
    assert list(reg.feature_names_in_) == list("abc")
    assert reg.n_rejected_[0] == 0
    assert len(reg.predict(features).compute()) == 3400
    assert_allclose(float(reg.score(features, frame.y)), reg.score(X, y), atol=0.01)
    with pytest.raises(ValueError, match="feature names"):
        reg.predict(frame[list("bca")])


@pytest.fixture
def rides(tmp_path, monkeypatch):
    """Return the rows of six files, small enough for Dask to merge some of them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rides").mkdir()
    X, y, _ = regression(1200, 3)
    rides = pd.DataFrame(X, columns=["distance", "hour", "rain"])
    trust = np.random.default_rng(1).uniform(size=1200)
    rides = rides.assign(duration=y, trust=trust, is_long=y > 2, id=np.arange(1200))
    for k in range(6):
        rides[200 * k : 200 * (k + 1)].to_parquet(f"rides/{k}.parquet")
    return rides


FEATURES = ["distance", "hour", "rain"]


@pytest.mark.parametrize("engine", ["fsspec", "arrow"])
@pytest.mark.parametrize("weighted", [False, True])
def test_files_that_dask_merges_differently_for_each_column(rides, engine, weighted):
    data = dd.read_parquet(Path("rides").resolve(), filesystem=engine)
    X, y = data[FEATURES], data["duration"]
    assert X.optimize().npartitions != y.optimize().npartitions
    weight = {"sample_weight": data["trust"]} if weighted else {}
    reg = DaskMedianSGDRegressor(random_state=0).fit(X, y, **weight)
    assert reg.n_rejected_.shape == (6,)
    rows = data.compute()  # their order is that of the engine
    local = rows[FEATURES], rows["duration"]
    local_weight = {"sample_weight": rows["trust"]} if weighted else {}
    one = MedianSGDRegressor(random_state=0).fit(*local, **local_weight)
    assert_allclose(reg.coef_, one.coef_, rtol=1e-6)
    assert_allclose(reg.predict(X).compute(), one.predict(local[0]), rtol=1e-6)
    assert_allclose(float(reg.score(X, y, **weight)), one.score(*local, **local_weight))
    table = coefficient_table(reg, X, y, **weight)
    of_one = coefficient_table(one, *local, **local_weight)
    assert_allclose(table.std_error, of_one.std_error, rtol=1e-6)


def test_classes_of_files_that_dask_merges(rides):
    data = dd.read_parquet("rides")
    X, y = data[FEATURES], data["is_long"]
    clf = DaskMedianSGDClassifier(random_state=0).fit(X, y)
    clf.partial_fit(X, y)
    local = rides[FEATURES], rides["is_long"]
    assert_allclose(clf.predict_proba(X).compute(), clf.predict_proba(local[0]))
    assert_allclose(float(clf.score(X, y)), clf.score(*local))


def test_frames_and_arrays_go_together(rides):
    data = dd.read_parquet("rides")
    X, weight = data[FEATURES], data["trust"]
    y = da.from_array(rides["duration"].to_numpy(), chunks=200)
    reg = DaskMedianSGDRegressor(random_state=0).fit(X, y, sample_weight=weight)
    again = DaskMedianSGDRegressor(random_state=0)
    again.fit(X, data["duration"], sample_weight=weight)
    assert_array_equal(reg.coef_, again.coef_)
    score = again.score(X, data["duration"], weight)
    assert_allclose(float(reg.score(X, y, weight)), float(score))


def test_the_needed_columns_of_a_file_are_read_once(rides):
    read = []

    def load(k, columns=None):
        rows = pd.read_parquet(f"rides/{k}.parquet", columns=columns)
        read.append((k, *rows.columns))
        return rows

    data = dd.from_map(load, range(6), meta=rides[:0])
    X, y = data[FEATURES], data["duration"]
    needed = [(k, *FEATURES, "duration") for k in range(6)]
    reg = DaskMedianSGDRegressor(random_state=0).fit(X, y)
    assert sorted(read) == needed
    read.clear()
    float(reg.score(X, y))
    assert sorted(read) == needed
    read.clear()
    reg.predict(X).compute()
    assert sorted(read) == [(k, *FEATURES) for k in range(6)]


@pytest.mark.parametrize("engine", ["fsspec", "arrow"])
@pytest.mark.parametrize("reorder", ["shuffle", "sort", "filter", "size"])
def test_frames_that_dask_cuts_anew(rides, reorder, engine):
    data = dd.read_parquet(Path("rides").resolve(), filesystem=engine)
    kept = rides
    if reorder == "shuffle":
        data = data.shuffle(on="id")
    elif reorder == "sort":
        data = data.sort_values("rain")
    elif reorder == "filter":
        data, kept = data[data["rain"] > 0], rides[rides["rain"] > 0]
    else:
        data = data.repartition(partition_size="10kB")
        reg = DaskMedianSGDRegressor(random_state=0)
        with pytest.raises(ValueError, match="partition_size"):
            reg.fit(data[FEATURES], data["duration"])
        data = data.optimize()
    X, y = data[FEATURES], data["duration"]
    reg = DaskMedianSGDRegressor(random_state=0).fit(X, y)
    assert len(reg.n_rejected_) == X.npartitions
    local = kept[FEATURES], kept["duration"]
    assert_allclose(float(reg.score(X, y)), reg.to_local().score(*local))
    one = MedianSGDRegressor(random_state=0).fit(*local)
    assert_allclose(reg.coef_, one.coef_, atol=0.002)


def test_the_code_of_the_page_runs_on_files(rides, monkeypatch):
    page = Path(__file__).parents[1] / "doc" / "user_guide" / "distributed.md"
    if not page.exists():
        pytest.skip("the documentation is not here")
    code = re.search(r"```python\n(.+?)```", page.read_text("utf-8"), re.DOTALL)[1]
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(distributed, "Client", lambda address: None)
    names = {}
    exec(code, names)
    one = MedianSGDRegressor(random_state=0).fit(rides[FEATURES], rides["duration"])
    assert_allclose(names["reg"].coef_, one.coef_, rtol=1e-6)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("task", ["regression", "binary", "multiclass"])
def test_predictions_are_lazy_and_those_of_the_local_estimator(task, sparse):
    if task == "regression":
        (X, y, _), cls = regression(600, 4), DaskMedianSGDRegressor
    else:
        X, y = classification(600, 2 if task == "binary" else 3)
        cls = DaskMedianSGDClassifier
    A, b = chunked(X, y, 3)
    est = cls(random_state=0).fit(A, b)
    local = est.to_local()
    assert type(local) in (MedianSGDRegressor, MedianSGDClassifier)
    if sparse:
        X, A = sp.csr_array(X), A.map_blocks(sp.csr_array)
    methods = ["predict"]
    if task != "regression":
        methods += ["decision_function", "predict_proba"]
    for method in methods:
        lazy, expected = getattr(est, method)(A), getattr(local, method)(X)
        assert isinstance(lazy, da.Array)
        assert lazy.shape == expected.shape
        assert lazy.dtype == expected.dtype
        assert_array_equal(lazy.compute(), expected)
        assert_array_equal(getattr(est, method)(X), expected)


@pytest.mark.parametrize("weighted", [False, True])
def test_score_is_the_metric_of_scikit_learn(weighted):
    X, y, _ = regression(900)
    weight = np.random.default_rng(1).uniform(size=900) if weighted else None
    for cls, target, metric in [
        (DaskMedianSGDRegressor, y, r2_score),
        (DaskMedianSGDClassifier, (y > 1).astype(int), accuracy_score),
    ]:
        A, b = chunked(X, target, 3)
        est = cls(random_state=0).fit(A, b)
        w = None if weight is None else da.from_array(weight, chunks=300)
        score = est.score(A, b, w)
        assert dask.is_dask_collection(score)
        expected = metric(target, est.predict(X), sample_weight=weight)
        assert_allclose(float(score), expected)


def test_to_local_goes_on_with_partial_fit():
    X, y, truth = regression()
    reg = DaskMedianSGDRegressor(random_state=0).fit(*chunked(X, y, 4))
    local = reg.to_local()
    assert_array_equal(local.coef_, reg.coef_)
    local.partial_fit(X, y)
    assert local.t_ == reg.t_ + len(y)
    assert error(local, truth) < 0.2


def test_partial_fit_makes_one_round_and_goes_on():
    X, y, truth = regression()
    reg = DaskMedianSGDRegressor(random_state=0, local_epochs=1)
    for k in range(10):
        reg.partial_fit(*chunked(X, y, 4))
        assert reg.t_ == 1 + 2000 * (k + 1)
    assert error(reg, truth) < 0.2
    X, y = classification()
    clf = DaskMedianSGDClassifier(random_state=0)
    for _ in range(5):
        clf.partial_fit(*chunked(X, y, 4), classes=[0, 1])
    assert clf.score(X, y) > 0.85


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_rounds_begin_at_coefficients_set_before(method):
    X, y, truth = regression()
    reg = DaskMedianSGDRegressor(
        refine=False, max_rounds=1, tol=None, eta0=1e-12, warm_start=True
    )
    reg.coef_ = start = truth[:-1] + 1
    getattr(reg, method)(*chunked(X, y, 4))
    assert_allclose(reg.coef_, start, atol=1e-8)


def test_a_partial_fit_that_fails_changes_nothing(monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    data = chunked(*regression(2000)[:2], 4)
    reg, twin = (
        DaskMedianSGDRegressor(aggregator="spp-l2", random_state=0).partial_fit(*data)
        for _ in range(2)
    )
    with monkeypatch.context() as patch:
        patch.setattr(DaskMedianSGDRegressor, "_warn_of_rejected", interrupt)
        with pytest.raises(KeyboardInterrupt):
            reg.partial_fit(*data)
    assert_array_equal(reg.partial_fit(*data).coef_, twin.partial_fit(*data).coef_)


def test_another_aggregator_counts_from_the_next_call():
    X, y, truth = regression()
    reg = DaskMedianSGDRegressor(aggregator="mean", random_state=0, local_epochs=1)
    reg.partial_fit(*chunked(X, y, 8)).set_params(aggregator="coord-median")
    y[:1000] = X[:1000] @ np.full(5, 1e6)
    for _ in range(9):
        reg.partial_fit(*chunked(X, y, 8))
    assert error(reg, truth) < 0.3


@pytest.mark.parametrize("aggregator", ["mean", "geometric-median"])
@pytest.mark.parametrize("refine", [False, True])
def test_the_l1_penalty_leaves_zeros(aggregator, refine):
    X, y, truth = regression(4000, 8)
    y -= X[:, 2:] @ truth[2:-1]
    reg = DaskMedianSGDRegressor(
        penalty="l1", alpha=0.1, aggregator=aggregator, refine=refine, random_state=0
    ).fit(*chunked(X, y, 8))
    assert (reg.coef_[:2] != 0).all()
    assert_array_equal(reg.coef_[2:], 0)


def test_parameters_set_between_two_rounds_are_checked():
    X, y, _ = regression(400)
    reg = DaskMedianSGDRegressor(random_state=0).partial_fit(*chunked(X, y, 2))
    with pytest.raises(ValueError, match="The 'aggregator' parameter"):
        reg.set_params(aggregator="max").partial_fit(*chunked(X, y, 2))
    reg.set_params(aggregator="mean").partial_fit(*chunked(X, y, 2))
    assert_array_equal(reg.to_local().coef_, reg.coef_)
    assert pickle.loads(pickle.dumps(reg)).aggregator == "mean"


@pytest.mark.parametrize("aggregator", ROBUST)
def test_a_partition_counts_by_its_rows(aggregator):
    X, y, truth = regression(1000, 3)
    y[900:] *= -10
    rows = (900, 50, 50)
    A, b = da.from_array(X, chunks=(rows, -1)), da.from_array(y, chunks=(rows,))
    reg = DaskMedianSGDRegressor(aggregator=aggregator, refine=False, random_state=0)
    # Two of three partitions are wrong, and a tenth of the rows.
    assert error(reg.fit(A, b), truth) < 0.3


def test_weights_leave_rows_out():
    X, y, truth = regression()
    good = np.arange(len(y)) % 5 > 0
    y[~good] = 1000
    weight = da.from_array(3.0 * good, chunks=2000)
    reg = DaskMedianSGDRegressor(random_state=0).fit(*chunked(X, y, 4), weight)
    assert error(reg, truth) < 1.5 * least_squares_error(X[good], y[good], truth)


def test_balanced_classes_are_those_of_all_partitions():
    X, y = classification()
    keep = np.flatnonzero((y == 0) | (np.arange(len(y)) % 10 == 0))
    X, y = X[keep], y[keep]
    clf = DaskMedianSGDClassifier(class_weight="balanced", random_state=0)
    clf.fit(*chunked(X, y, 3))
    one = clone(clf.to_local()).fit(X, y)
    assert_allclose(clf.intercept_, one.intercept_, atol=0.1)
    clf.set_params(refine=False).fit(*chunked(X, y, 3))
    one.set_params(refine=False).fit(X, y)
    assert_allclose(clf.intercept_, one.intercept_, atol=0.4)


def test_rows_that_are_not_finite_are_dropped_and_named():
    X, y, truth = regression()
    X[10, 0], y[4001] = np.nan, np.inf
    reg = DaskMedianSGDRegressor(random_state=0)
    with pytest.warns(UserWarning, match=re.escape("from partitions [0, 2]")):
        reg.fit(*chunked(X, y, 4))
    assert_array_equal(reg.n_dropped_rows_, [1, 0, 1, 0])
    assert error(reg, truth) < 0.06


def test_weights_beyond_the_dtype_are_dropped():
    X, y, truth = regression()
    weight = np.ones(len(y))
    weight[10] = 1e300
    reg = DaskMedianSGDRegressor(random_state=0)
    X, y = chunked(X.astype(np.float32), y, 4)
    weight = da.from_array(weight, chunks=y.chunks)
    with pytest.warns(UserWarning, match=re.escape("from partitions [0]")) as caught:
        reg.fit(X, y, sample_weight=weight)
    assert not any(issubclass(w.category, RuntimeWarning) for w in caught)
    assert_array_equal(reg.n_dropped_rows_, [1, 0, 0, 0])
    assert error(reg, truth) < 0.06


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("aggregator", ROBUST)
def test_garbage_from_a_partition_is_left_out_and_named(monkeypatch, aggregator, value):
    def run(block, job, index):
        updates = _partitions.run_passes(block, job, index)
        if index == 2:
            return [replace(u, change=np.full_like(u.change, value)) for u in updates]
        return updates

    monkeypatch.setattr(_rounds, "run_passes", run)
    X, y, truth = regression()
    # By rounds throughout.
    params = {"early_stopping": True, "random_state": 0}
    reg = DaskMedianSGDRegressor(aggregator=aggregator, **params)
    with pytest.warns(UserWarning, match=re.escape("Partitions [2]")):
        reg.fit(*chunked(X, y, 8))
    assert reg.n_rejected_[2] == reg.n_iter_
    assert error(reg, truth) < 0.06


# What scikit-learn's validation takes, made from a frame of floats: the last column is
# of whole numbers. Arrow-backed columns need pyarrow, as Dask's frames do.
FRAMES = {
    "bool": lambda X: X.assign(c=X.c > 0),
    "int": lambda X: X.assign(c=X.c.astype("int8")),
    "nullable": lambda X: X.astype("Float64").assign(c=X.c.astype("Int64")),
    "boolean": lambda X: X.assign(c=(X.c > 0).astype("boolean")),
    "float32": lambda X: X.astype("float32").assign(c=X.c > 0),
    "arrow": lambda X: X.assign(
        a=X.a.astype("double[pyarrow]"), c=(X.c > 0).astype("bool[pyarrow]")
    ),
    "object": lambda X: X.astype(object),
    "strings": lambda X: X.assign(c=X.c.astype(str)),
    "categories": lambda X: X.assign(c=X.c.astype("category")),
    "sparse": lambda X: X.astype(pd.SparseDtype(float, 0.0)),
    "half sparse": lambda X: X.assign(c=X.c.astype(pd.SparseDtype(float, 0.0))),
}
# Labels of a series of 0 and 1.
LABELS = {
    kind: (lambda y, kind=kind: y.astype(kind))
    for kind in (
        *("bool", "int8", "float", "boolean", "Int64", "Float64", "int64[pyarrow]"),
        *("bool[pyarrow]", "str", "string", "category"),
    )
}
LABELS["objects"] = lambda y: y.astype(str).astype(object)
LABELS["string categories"] = lambda y: y.astype(str).astype("category")
NUMBERS = ["int8", "object", "str", "Int64", "Float64", "int64[pyarrow]", "category"]


def frames(n=400):
    """A frame of floats, the last of whole numbers, and targets and labels for it."""
    X, y, _ = regression(n, 3)
    X[:, 2] = np.round(X[:, 2])
    X = pd.DataFrame(X, columns=list("abc"))
    return X, pd.Series(X.to_numpy() @ [1.0, -1.0, 1.0]), pd.Series(y > 2).astype(int)


def in_partitions(values, n=4):
    """A frame, a series or an array, cut into n partitions as it is."""
    if isinstance(values, np.ndarray):
        size = -(-len(values) // n)
        return da.from_array(values, chunks=(size, -1)[: values.ndim])
    with dask.config.set({"dataframe.convert-string": False}):
        return dd.from_pandas(values, npartitions=n)


def fitted(cls, *data, **params):
    """An estimator after the same few rounds, however well they fit."""
    est = cls(random_state=0, max_rounds=2, tol=None, local_epochs=2, **params)
    return est.fit(*map(in_partitions, data))


def check_same(est, reference, X, y, weight=None):
    """Check that two fits are the same, and that one predicts as on one machine."""
    assert est.coef_.dtype == reference.coef_.dtype
    assert_array_equal(est.coef_, reference.coef_)
    assert_array_equal(est.intercept_, reference.intercept_)
    local, A = est.to_local(), in_partitions(X)
    predicted, expected = est.predict(A).compute(), local.predict(X)
    if hasattr(est, "classes_"):
        assert_array_equal(predicted, expected)
    else:
        assert_allclose(predicted, expected, rtol=1e-5)
    of_weights = None if weight is None else in_partitions(weight)
    score = est.score(A, in_partitions(y), of_weights)
    assert_allclose(float(score), local.score(X, y, weight), rtol=1e-6)


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_are_taken_as_on_one_machine(kind):
    X, y, _ = frames()
    X = FRAMES[kind](X)
    one = MedianSGDRegressor(random_state=0).fit(X, y)
    # The numbers that it has made of the frame.
    numbers = check_array(X, accept_sparse="csr", dtype=[np.float64, np.float32])
    if sp.issparse(numbers):
        A = in_partitions(numbers.toarray()).map_blocks(sp.csr_array)
    else:
        A = in_partitions(numbers)
    reg = fitted(DaskMedianSGDRegressor, X, y)
    reference = clone(reg).fit(A, in_partitions(y.to_numpy()))
    check_same(reg, reference, X, y)
    assert reg.coef_.dtype == one.coef_.dtype
    assert_array_equal(reg.feature_names_in_, one.feature_names_in_)
    reg.partial_fit(in_partitions(X), in_partitions(y))


@pytest.mark.parametrize("kind", LABELS)
def test_labels_are_taken_as_on_one_machine(kind):
    X, _, labels = frames()
    y = LABELS[kind](labels)
    one = MedianSGDClassifier(random_state=0).fit(X, y)
    clf = fitted(DaskMedianSGDClassifier, X, y)
    assert clf.classes_.dtype == one.classes_.dtype
    assert_array_equal(clf.classes_, one.classes_)
    check_same(clf, fitted(DaskMedianSGDClassifier, X, labels), X, y)
    # As an array, which knows the lengths of its chunks.
    y = np.asarray(y)
    if kind not in ("boolean", "Int64", "Float64"):
        check_same(fitted(DaskMedianSGDClassifier, X, y), clf, X, y)


@pytest.mark.parametrize("kind", NUMBERS)
def test_targets_and_weights_are_taken_as_on_one_machine(kind):
    X, y, labels = frames()
    y, weight = y.round(), labels + 1
    data = X, y.astype(int).astype(kind), weight.astype(kind)
    reference = fitted(DaskMedianSGDRegressor, X, y, weight.astype(float))
    reg = fitted(DaskMedianSGDRegressor, *data)
    # To score, scikit-learn takes no strings for numbers.
    scored = (X, y, weight) if kind in ("str", "object") else data
    check_same(reg, reference, *scored)
    arrays = [np.asarray(values).astype(object) for values in data]
    reg = fitted(DaskMedianSGDRegressor, *arrays)
    assert_array_equal(reg.coef_, reference.coef_)


@pytest.mark.parametrize("column", ["X", "y", "weight", "labels"])
@pytest.mark.parametrize(
    "dtype, missing",
    [
        *[("object", None), ("object", np.nan), ("object", pd.NA)],
        *[("string", pd.NA), ("Float64", pd.NA), ("double[pyarrow]", pd.NA)],
    ],
)
def test_whatever_is_missing_is_dropped(column, dtype, missing):
    X, y, labels = frames()
    weight, names = labels + 1.0, labels.map({0: "no", 1: "yes"})
    cls = DaskMedianSGDRegressor
    if column == "labels":
        if dtype not in ("object", "string"):
            names = labels
        cls, y = DaskMedianSGDClassifier, names
    lost = [3, 250, 399]
    rest = np.setdiff1d(np.arange(400), lost)
    data = {"X": X.copy(), "y": y, "weight": weight}
    if column == "X":
        values = X.b.astype(dtype)
        values[lost] = missing
        data["X"]["b"] = values
    else:
        name = "y" if column == "labels" else column
        data[name] = data[name].astype(dtype)
        data[name][lost] = missing
    with pytest.warns(UserWarning, match=re.escape("from partitions [0, 2, 3]")):
        est = fitted(cls, *data.values())
    assert_array_equal(est.n_dropped_rows_, [1, 0, 1, 1])
    # The same rows, cut in the same places.
    kept = [values.iloc[rest].to_numpy() for values in (X, y, weight)]
    chunks = (99, 100, 99, 99)
    reference = clone(est).fit(
        *(da.from_array(v, chunks=(chunks, -1)[: v.ndim]) for v in kept)
    )
    assert_array_equal(est.coef_, reference.coef_)
    if column != "weight":
        with pytest.raises(ValueError, match=r"missing|NaN"):
            float(est.score(in_partitions(data["X"]), in_partitions(data["y"])))


@pytest.mark.parametrize("params", [{}, {"class_weight": "balanced"}])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_class_may_have_no_weight(n_classes, params):
    X, y = classification(600, n_classes)
    order = np.argsort(y, kind="stable")  # so that partitions have nothing else
    X, y = X[order], y[order]
    weight = (y > 0).astype(float)
    params = params | {"random_state": 0, "tol": None}
    one = MedianSGDClassifier(max_iter=20, **params)
    one.fit(X, y, sample_weight=weight)
    clf = DaskMedianSGDClassifier(aggregator="mean", max_rounds=5, **params)
    clf.fit(*map(in_partitions, (X, y, weight)))
    assert_array_equal(clf.classes_, one.classes_)
    assert_array_equal(clf.n_rejected_, 0)
    assert clf.score(X, y, weight) > one.score(X, y, weight) - 0.05
    if "class_weight" not in params:
        clf.set_params(class_weight={0: 0.0}).fit(*map(in_partitions, (X, y)))
        assert clf.score(X, y, weight) > 0.8


@pytest.mark.parametrize("fraction", [0.1, 0.9])
def test_partitions_too_small_to_split_train_on_all_rows(monkeypatch, fraction):
    trained, judged = [], []

    def run(block, job, index):
        updates = _partitions.run_passes(block, job, index)
        trained.append(updates[0].stratum_weight.sum())
        judged.append(updates[0].losses is not None)
        return updates

    monkeypatch.setattr(_rounds, "run_passes", run)
    X, _, truth = regression(100, 2)
    params = {"early_stopping": True, "validation_fraction": fraction, "tol": None}
    reg = DaskMedianSGDRegressor(
        random_state=0,
        alpha=0,
        refine=False,
        max_rounds=6,
        local_epochs=100,
        **params,
    )
    reg.fit(*chunked(X, X @ truth[:-1] + 2, 20))
    # Of partitions of 5 rows about .9^5 = .59 hold out none, or all.
    assert 0 < np.sum(judged[:20]) < 20
    assert_array_equal(np.array(trained) == 5, ~np.array(judged))
    assert np.min(trained) > 0
    assert_array_equal(reg.n_rejected_, 0)
    assert error(reg, truth) < 0.01
    with pytest.raises(ValueError, match="too small to hold out"):
        DaskMedianSGDRegressor(**params).fit(*chunked(X[:9], X[:9, 0], 9))


@pytest.mark.parametrize("cls", CLASSES)
def test_a_partition_that_never_takes_part_is_counted_and_named(monkeypatch, cls):
    def run(block, job, index):
        return None if index == 2 else _partitions.run_passes(block, job, index)

    monkeypatch.setattr(_rounds, "run_passes", run)
    X, y = classification(800, 3)
    with pytest.warns(UserWarning, match=re.escape("Partitions [2] were left out")):
        est = fitted(cls, X, y, refine=False)
    assert_array_equal(est.n_rejected_, [0, 0, est.n_iter_, 0])


def test_the_seed_decides_everything():
    X, y, _ = regression(2000)
    A, b = chunked(X, y, 4)

    def coef(seed, **params):
        reg = DaskMedianSGDRegressor(random_state=seed, refine=False, **params)
        return reg.fit(A, b).coef_

    fits = [coef(seed) for seed in (0, 0, 1)]
    with dask.config.set(scheduler="threads"):
        fits.append(coef(0, persist=False))
    assert_array_equal(fits[0], fits[1])
    assert_array_equal(fits[0], fits[3])
    assert (fits[0] != fits[2]).any()


def test_early_stopping_holds_out_a_part_of_each_partition():
    X, y, truth = regression()
    reg = DaskMedianSGDRegressor(early_stopping=True, random_state=0)
    assert error(reg.fit(*chunked(X, y, 4)), truth) < 0.06
    assert_allclose(reg.t_ % 1, 0)


def test_exact_data_are_fitted_exactly():
    X, _, truth = regression(2000)
    reg = DaskMedianSGDRegressor(alpha=0, random_state=0)
    reg.fit(*chunked(X, X @ truth[:-1] + 2, 4))
    assert error(reg, truth) < 1e-6


def test_one_enormous_row_costs_nothing():
    X, y, truth = regression(4000)
    y[0] = 1e200
    reg = DaskMedianSGDRegressor(random_state=0).fit(*chunked(X, y, 4))
    assert reg.n_rejected_[0] < reg.n_iter_ / 2
    assert error(reg, truth) < 1.5 * least_squares_error(X[1:], y[1:], truth)


def test_float32_stays():
    X, y, _ = regression(2000)
    A, b = chunked(X.astype(np.float32), y, 2)
    assert DaskMedianSGDRegressor(random_state=0).fit(A, b).coef_.dtype == np.float32


@pytest.mark.parametrize("cls", CLASSES)
def test_parameters_clone_and_pickle(cls):
    est = cls(alpha=0.1, aggregator="spp-l1", local_epochs=3)
    assert clone(est).get_params() == est.get_params()
    assert pickle.loads(pickle.dumps(est)).get_params() == est.get_params()
    assert set(est.get_params()) > set(cls._single_machine().get_params())
    with pytest.raises(ValueError, match="aggregator"):
        cls(aggregator="max").fit(*chunked(*classification(100), 2))


def test_verbose_and_callbacks_by_round(capsys):
    X, y, _ = regression(800)
    callback = pytest.importorskip("sklearn.callback")
    monitor = callback.ScoringMonitor(scoring="r2")
    reg = DaskMedianSGDRegressor(max_rounds=5, tol=None, verbose=1, random_state=0)
    reg.set_callbacks(monitor).fit(*chunked(X, y, 2))
    assert capsys.readouterr().out.count("-- Round") == 5
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "round"]
    assert len(rows) == 5
    assert_allclose(rows[-1]["r2"], reg.score(X, y), atol=0.01)


def test_misuse_is_explained():
    X, y, _ = regression(100)
    A, b = chunked(X, y, 2)
    reg = DaskMedianSGDRegressor()
    with pytest.raises(TypeError, match="X must be a dask array"):
        reg.fit(X, b)
    with pytest.raises(ValueError, match="same chunks of rows"):
        reg.fit(A, b.rechunk(20))
    with pytest.raises(ValueError, match="along its features"):
        reg.fit(A.rechunk({1: 2}), b)
    with pytest.raises(ValueError, match="y must have 1 dimension"):
        reg.fit(A, b[:, None])
    with pytest.raises(ValueError, match="X must be real numbers: Complex data"):
        reg.fit(A.astype(complex), b)
    with pytest.raises(ValueError, match=r"Partition \d: y must be real numbers: Comp"):
        reg.fit(A, b.astype(complex))
    with pytest.raises(ValueError, match="No partition has rows"):
        reg.fit(A, b * np.nan)
    shorter = b[b < 2]
    with pytest.raises(ValueError, match=r"Partition \d: X has 50 rows, y"):
        reg.fit(A, shorter)
    assert not hasattr(reg, "coef_")
    reg.fit(A, b)
    with pytest.raises(ValueError, match="X has 3 features"):
        reg.predict(A[:, :3])


def test_a_partition_of_another_kind_is_named():
    X, y, _ = regression(100)
    A, b = chunked(X, y, 2)

    def second(change):
        def of(block, block_info):
            return change(block) if block_info[0]["chunk-location"][0] else block

        return of

    narrow = A.map_blocks(second(lambda X: X[:, :3]), dtype=float)
    with pytest.raises(ValueError, match="Partition 1: X has 3 features instead of 5"):
        DaskMedianSGDRegressor().fit(narrow, b)
    for change in (lambda y: np.full(len(y), "a"), lambda y: y + 1j):
        other = b.map_blocks(second(change), dtype=float)
        with pytest.raises(ValueError, match="Partition 1: y must be real numbers"):
            DaskMedianSGDRegressor().fit(A, other)
    words = A.map_blocks(second(lambda X: np.full(X.shape, "a")), dtype=float)
    with pytest.raises(ValueError, match="Partition 1: X must be real numbers"):
        DaskMedianSGDRegressor().fit(words, b)
    labels = (b > 0).map_blocks(second(lambda y: y.astype(str)), dtype=object)
    with pytest.raises(ValueError, match=r"strings in all partitions .* \[1\] differ"):
        DaskMedianSGDClassifier().fit(A, labels)
    mixed = second(lambda y: np.array([*y[1:].tolist(), "a"], dtype=object))
    with pytest.raises(ValueError, match="Partition 1: y must be labels of one kind"):
        DaskMedianSGDClassifier().fit(A, (b > 0).map_blocks(mixed, dtype=object))
    ones = da.ones(100, chunks=50)
    changes = {
        "sample_weight must be real numbers: Complex data": lambda w: w + 1j,
        "sample_weight must have one dimension": lambda w: w[:, None],
    }
    for message, change in changes.items():
        other = ones.map_blocks(second(change), dtype=float)
        with pytest.raises(ValueError, match=f"Partition 1: {message}"):
            DaskMedianSGDRegressor().fit(A, b, other)
    weight = da.full(100, 1e308, chunks=50)
    with pytest.raises(ValueError, match="weights are too large"):
        DaskMedianSGDRegressor().fit(A, b, weight)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_warnings_point_at_the_users_line(method):
    X, y, _ = regression(400)
    y[:200] = np.nan
    reg = DaskMedianSGDRegressor(max_rounds=2, random_state=0)
    with pytest.warns(UserWarning, match="200 rows") as warned:
        getattr(reg, method)(*chunked(X, y, 2))
    # What was dropped, and who was left out of a round or that a fit has not converged.
    assert [w.filename for w in warned] == [__file__] * 2


@pytest.mark.parametrize(
    "what, value", [("X", 1e300), ("y", -1e155), ("both", 1e200), ("both", 0.0)]
)
def test_enormous_partitions_are_left_out(what, value):
    X, y, truth = regression(4000)
    expected = least_squares_error(X[500:], y[500:], truth)
    if what != "y":
        X[:500] = value
    if what != "X":
        y[:500] = value
    with pytest.warns(UserWarning, match=re.escape("Partitions [0]")):
        reg = DaskMedianSGDRegressor(random_state=0).fit(*chunked(X, y, 8))
    assert error(reg, truth) < 1.5 * expected


def test_traffic_of_a_round_grows_with_the_features_only(monkeypatch):
    sizes = []

    def run(block, job, index):
        updates = _partitions.run_passes(block, job, index)
        sizes.append(len(pickle.dumps(job)) + len(pickle.dumps(updates)))
        return updates

    monkeypatch.setattr(_rounds, "run_passes", run)
    X, y, _ = regression(2000, 500)
    for n in (1000, 2000):
        DaskMedianSGDRegressor(max_rounds=3, tol=None).fit(*chunked(X[:n], y[:n], 2))
    # Ten vectors of 8 bytes a feature, and a constant.
    assert max(sizes) < 10 * 8 * 500 + 6000


@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
def test_blocks_tell_dask_their_size(layout):
    X, y, _ = regression(100)
    block = _partitions.as_block(
        layout(X), y, None, MedianSGDRegressor()._plan(), 5, np.float64, 0
    )
    assert sizeof(block) >= X.nbytes + 2 * y.nbytes


@pytest.mark.filterwarnings("ignore:Partitions")
def test_the_example_shows_the_mean_failing():
    pytest.importorskip("sklearn.callback")
    curves = run_example("large_data/plot_dask_corrupted_partitions.py")["curves"]
    assert curves.pop("mean")[-1] > 1
    assert max(curve[-1] for curve in curves.values()) < 0.3
    assert curves["refined"][-1] < 0.03


def test_dask_is_imported_on_use_only():
    code = (
        "import sys, medsgd; assert 'dask' not in sys.modules; "
        "sys.modules['dask'] = None; import medsgd.dask"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'pip install "medsgd[dask]"' in run.stderr


@pytest.mark.parametrize("n_wrong", [0, 1])
@pytest.mark.parametrize("n_right, n_features", [(3, 2), (3, 10), (7, 2), (15, 5)])
def test_right_partitions_are_hardly_ever_left_out(n_right, n_features, n_wrong):
    rng = np.random.default_rng(0)
    n, n_coef = n_right + n_wrong, n_features + 1

    def update(change, size):
        return SimpleNamespace(
            change=change, sizes=np.array([size]), stratum_weight=np.ones(1)
        )

    problem = _rounds.Consensus(
        state=State(np.ones(n_features)),
        index=0,
        aggregator=None,
        takes_medians=True,
        watches_median=True,
        n_rejected=np.zeros(n, dtype=int),
    )
    n_used = 0
    for _ in range(200):
        updates = [
            update(rng.normal(size=n_coef), rng.uniform(0.9, 1.1))
            for _ in range(n_right)
        ]
        # All of its rows are beyond the bisquare, and it does not move.
        updates += [update(np.zeros(n_coef), 100.0)] * n_wrong
        used = problem._used(updates, np.ones(n, dtype=bool))
        assert not used[n_right:].any()
        n_used += used.sum()
    assert n_used > 0.99 * 200 * n_right
