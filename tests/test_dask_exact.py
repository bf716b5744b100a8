"""Exact steps over partitions: the fit of one machine, whatever partitions hold."""

import pickle
import re
import warnings
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")

from _dask_data import (  # noqa: E402
    chunked,
    classification,
    corrupted,
    regression,
    standard_errors,
)
from _designs import designs  # noqa: E402

from medsgd import MedianSGDClassifier, MedianSGDRegressor  # noqa: E402
from medsgd._refinement import regression as exact_steps  # noqa: E402
from medsgd.dask import (  # noqa: E402
    DaskMedianSGDClassifier,
    DaskMedianSGDRegressor,
    _base,
    _exact,
    _multinomial,
    _partitions,
    _sums,
    _trust,
)
from medsgd.inspection import coefficient_table  # noqa: E402

N_SAMPLE = 500


@pytest.fixture(autouse=True)
def local_scheduler():
    with dask.config.set(scheduler="sync"):
        yield


@pytest.fixture(autouse=True)
def small_sample(monkeypatch):
    """Let one machine and the coordinator see few of the rows in the S step."""
    for module in (exact_steps, _exact):
        monkeypatch.setattr(module, "N_S_ROWS", N_SAMPLE)
    monkeypatch.setattr(_base, "N_ROWS", N_SAMPLE)
    monkeypatch.setattr(_base, "ROWS_OF_EACH", 1)


def fit(X, y, weight=None, **params):
    return DaskMedianSGDRegressor(random_state=0, **params).fit(X, y, weight)


def one(X, y, weight=None, **params):
    reg = MedianSGDRegressor(random_state=0, **params)
    return reg.fit(X, y, sample_weight=weight)


def outliers(X, y):
    """The same targets, every fifth of them wrong."""
    y = y.copy()
    y[::5] = 30 + 5 * np.sin(np.arange(len(y[::5])))
    return X, y


def check_equal(reg, other, rtol=1e-6):
    assert_allclose(reg.coef_, other.coef_, rtol=rtol, atol=rtol)
    assert_allclose(reg.intercept_, other.intercept_, rtol=rtol, atol=rtol)
    assert_allclose(reg.scale_, other.scale_, rtol=rtol)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"fit_intercept": False},
        {"standardize": False},
        {"leverage_weights": False},
        {"gradient_estimator": "coord-median"},
        {"loss": "huber"},
    ],
)
def test_the_fit_is_that_of_one_machine(params):
    X, y = outliers(*regression(3000)[:2])
    # Of very different sizes, and an empty one.
    rows = (20, 1700, 0, 900, 1, 379)
    A, b = da.from_array(X, chunks=(3000, -1)), da.from_array(y, chunks=3000)
    A, b = A.rechunk((rows, -1)), b.rechunk((rows,))
    check_equal(fit(A, b, **params), one(X, y, **params))


@pytest.mark.parametrize("params", [{"alpha": 0.1}, {"penalty": "l1", "alpha": 0.2}])
def test_penalised_fits_are_those_of_one_machine(params):
    X, y = outliers(*regression(3000)[:2])
    reg, other = fit(*chunked(X, y, 6), **params), one(X, y, **params)
    # Units are those of the sample.
    check_equal(reg, other, rtol=0.03)
    assert_array_equal(reg.coef_ == 0, other.coef_ == 0)


@pytest.mark.parametrize("n", [600, 3000])
@pytest.mark.parametrize("kind", ["whole", "fractions", "halves"])
def test_weights_are_those_of_one_machine(kind, n):
    X, y = outliers(*regression(3000)[:2])
    X, y, rng = X[:n], y[:n], np.random.default_rng(1)
    weight = {
        "whole": rng.integers(4, size=n).astype(float),
        "fractions": rng.uniform(size=n),
        "halves": np.arange(n) % 2 + 0.5,  # of mean 1
    }[kind]
    reg = fit(*chunked(X, y, 6), da.from_array(weight, chunks=n // 6))
    check_equal(reg, one(X, y, weight))
    other = fit(*chunked(X, y, 6), da.from_array(10 * weight + 0.0, chunks=n // 6))
    assert_allclose(other.coef_, reg.coef_, rtol=0.02, atol=0.01)


@pytest.mark.parametrize("layout", [sp.csr_array, sp.csr_matrix, "float32", "frame"])
def test_partitions_may_hold_what_one_machine_takes(layout):
    X, y = outliers(*regression(3000)[:2])
    if layout == "frame":
        frame = pd.DataFrame(X, columns=list("abcde")).assign(y=y, i=range(3000))
        frame = dd.from_pandas(frame, npartitions=6)
        frame = frame[frame.i >= 700]  # of unknown lengths, one of them empty
        X, y = X[700:], y[700:]
        reg = fit(frame[list("abcde")], frame.y)
        assert_array_equal(reg.feature_names_in_, list("abcde"))
    elif layout == "float32":
        X = X.astype(layout)
        reg = fit(*chunked(X, y, 6))
        assert reg.coef_.dtype == layout
    else:
        A, b = chunked(X, y, 6)
        reg = fit(A.map_blocks(layout), b)
    rtol = 1e-4 if layout == "float32" else 1e-6
    check_equal(reg, one(X, y), rtol=rtol)


def test_many_parameters_take_no_more_rounds(monkeypatch):
    monkeypatch.setattr(_base, "N_ROWS", 1010)  # ten rows a parameter
    X, y, _ = regression(2000, 100)
    reg, other = fit(*chunked(X, y, 4)), one(X, y)
    assert standard_errors(X, y, reg, other) < 0.02
    assert reg.n_rounds_ <= 8


def test_collinear_features_share_what_they_have_in_common():
    X, y = outliers(*regression(3000)[:2])
    X = np.column_stack([X, X[:, 0] + X[:, 1], np.full(3000, 7.0)])
    reg = fit(*chunked(X, y, 6))
    assert_allclose(reg.predict(X), one(X, y).predict(X), rtol=1e-6, atol=1e-6)


def test_exact_fits_are_those_of_one_machine():
    X, _, truth = regression(3000)
    y = X @ truth[:-1] + 2
    X, y = outliers(X, y)
    with pytest.warns(UserWarning, match="80% of the targets are fitted without"):
        reg = fit(*chunked(X, y, 6))
    assert reg.scale_ == 0
    assert_allclose(np.append(reg.coef_, reg.intercept_), truth, rtol=1e-9)


def test_a_feature_that_the_sample_lacks_is_found(monkeypatch):
    samples, sample = [], _exact.PartitionedRows._sample
    monkeypatch.setattr(
        _exact.PartitionedRows,
        "_sample",
        lambda self: samples.append(sample(self)) or samples[-1],
    )
    X = regression(5000, 3)[0]
    X[:, 2] = 0
    X[[40, 900, 2333, 2334, 4001, 4002, 4900], 2] = 1
    y = X @ [1.0, -1.0, 50.0] + np.random.default_rng(1).normal(size=5000)
    reg = fit(*chunked(X, y, 5))
    assert abs(reg.coef_[2] - 50) < 3 / np.sqrt(7)
    # All seven are in the sample, with the weight that they have in the data.
    (rows,) = samples
    present = rows.X[:, 2] != 0
    assert present.sum() == 7
    assert_allclose(rows.weight[present].sum(), 7 / 5000 * N_SAMPLE)


def test_data_that_the_coordinator_holds_are_asked_for_once():
    X, y = outliers(*regression(N_SAMPLE)[:2])
    reg = fit(*chunked(X, y, 5))
    assert reg.n_rounds_ == 1
    check_equal(reg, one(X, y), rtol=1e-12)


@pytest.mark.parametrize("order", ["as is", "feature", "target"])
@pytest.mark.parametrize(
    "name", ["correlated", "off correlation 20%", "vertical 45%", "near 30%"]
)
def test_designs_in_any_order_are_fitted_as_by_one_machine(name, order):
    X, y = (designs.draw(name, 0).X, designs.draw(name, 0).y)
    if order != "as is":
        rows = np.argsort(X[:, 0] if order == "feature" else y, kind="stable")
        X, y = X[rows], y[rows]
    reg, other = fit(*chunked(X, y, 8)), one(X, y)
    assert standard_errors(X, y, reg, other) < 0.02
    assert_array_equal(reg.n_rejected_, 0)


@pytest.mark.parametrize("n_partitions", [4, 16])
@pytest.mark.parametrize("kind", ["shuffled", "scaled", "nan", "constant", "doubled"])
def test_wrong_partitions_are_left_out_and_named(monkeypatch, kind, n_partitions):
    monkeypatch.setattr(_base, "ROWS_OF_EACH", 100)
    X, y, _ = regression(4000)
    if kind in ("constant", "doubled"):
        size, y = 4000 // n_partitions, y.copy()
        good = np.arange(4000) // size % 4 != 1
        y[~good] = 0 if kind == "constant" else 2 * y[~good]
        X[~good & (kind == "constant")] = 0
    else:
        y, good = corrupted(y, n_partitions, kind)
    wrong = list(range(1, n_partitions, 4))
    with pytest.warns(UserWarning, match=re.escape(f"artitions {wrong}")):
        reg = fit(*chunked(X, y, n_partitions))
    other = one(X[good], y[good])
    assert standard_errors(X[good], y[good], reg, other) < 0.05
    assert_array_equal(np.flatnonzero(reg.n_rejected_), wrong)


LIES = {
    "random": lambda rng, value: rng.normal(size=np.shape(value)),
    "not finite": lambda rng, value: value * np.nan,
    "too large": lambda rng, value: value * 3,
    "too small": lambda rng, value: value / 2,
}


@pytest.mark.parametrize("lie", [*LIES, "none at all", "another kind"])
def test_a_lying_worker_is_left_out_and_named(monkeypatch, lie):
    honest = _exact.add_up

    def add_up(block, job, index):
        sums = honest(block, job, index)
        if index != 2 or lie == "none at all":
            return sums if index != 2 else None
        if lie == "another kind":
            return np.ones(3)
        rng = np.random.default_rng(0)
        values = (getattr(sums, field.name) for field in fields(sums))
        return _sums.Sums(*(LIES[lie](rng, value) for value in values))

    X, y = outliers(*regression(4000)[:2])
    good = np.arange(4000) // 500 != 2
    monkeypatch.setattr(_base, "ROWS_OF_EACH", 200)
    monkeypatch.setattr(_exact, "add_up", add_up)
    with pytest.warns(UserWarning, match=re.escape("Partitions [2] were left out: ")):
        reg = fit(*chunked(X, y, 8))
    assert standard_errors(X[good], y[good], reg, one(X[good], y[good])) < 0.05
    assert_array_equal(np.flatnonzero(reg.n_rejected_), [2])


def test_a_lie_about_residuals_is_left_out_too(monkeypatch):
    honest = _exact.scan

    def scan(block, job, index):
        told = honest(block, job, index)
        return replace(told, losses=told.losses / 3) if index == 2 else told

    X, y = outliers(*regression(4000)[:2])
    monkeypatch.setattr(_base, "ROWS_OF_EACH", 200)
    monkeypatch.setattr(_exact, "scan", scan)
    with pytest.warns(UserWarning, match=r"Partitions \[2\].*contradict"):
        fit(*chunked(X, y, 8))


@pytest.mark.parametrize("aggregator", ["geometric-median", "mean"])
def test_sums_count_where_nobody_believes_the_sample(monkeypatch, aggregator):
    # All partitions contradict their rows.
    monkeypatch.setattr(_trust, "FAR_OFF", 0.0)
    X, y = outliers(*regression(3000)[:2])
    reg = fit(*chunked(X, y, 6), aggregator=aggregator)
    check_equal(reg, one(X, y))
    assert_array_equal(reg.n_rejected_, 0)


def test_trusted_partitions_count_whatever_they_hold(monkeypatch):
    honest = _exact.add_up

    def add_up(block, job, index):
        sums = honest(block, job, index)
        values = (getattr(sums, field.name) / 2 for field in fields(sums))
        if index == 3:
            return replace(sums, loss=np.nan)
        return _sums.Sums(*values) if index == 2 else sums

    X, y, _ = regression(4000)
    shuffled = y.copy()
    shuffled[:500] = np.random.default_rng(0).permutation(y[:500])
    reg = fit(*chunked(X, shuffled, 8), aggregator="mean")
    check_equal(reg, one(X, shuffled))
    monkeypatch.setattr(_exact, "add_up", add_up)
    with pytest.warns(UserWarning, match=r"Partitions \[3\].*not finite"):
        reg = fit(*chunked(X, shuffled, 8), aggregator="mean")
    assert_array_equal(np.flatnonzero(reg.n_rejected_), [3])


def test_a_fit_without_partitions_says_why(monkeypatch):
    monkeypatch.setattr(_exact, "add_up", lambda block, job, index: None)
    with pytest.raises(ValueError, match="No partition is left: their sums"):
        fit(*chunked(*regression(2000)[:2], 4))


@pytest.mark.parametrize("basis", [False, True])
def test_sums_of_rows_are_possible_and_agree_with_a_sample(basis):
    rng = np.random.default_rng(0)
    for seed in range(20):
        X = rng.standard_t(2, size=(rng.integers(3, 400), 4))
        y = X.sum(axis=1) + rng.standard_cauchy(len(X))
        block = _partitions.Block(X, y, np.ones(len(y)), 0)
        units = _sums.RowUnits(np.zeros(4), np.ones(4), 0.0, 1.0, 1.0, 1)
        directions = rng.normal(size=(5, 3)) if basis else None
        job = _sums.SumsJob(units, rng.normal(size=5), 3.0, True, directions)
        sums = _sums.add_up(block, job, 0)
        assert sums.is_possible(len(y), job)
        # More than Cauchy and Schwarz allow, more curvature than weight, no square.
        assert not replace(sums, pull=100 * sums.pull).is_possible(len(y), job)
        assert not replace(sums, curvature=2 * sums.kept).is_possible(len(y), job)
        assert not replace(sums, kept=-sums.kept).is_possible(len(y), job)
        assert not sums.is_possible(sums.rejected / 2, job)
        rows = units.rows(block)
        place = rows.at(job.b)
        values = _sums.row_statistics(place, _sums.asked_of(place, job), job)
        assert_allclose(values.sum(axis=0), sums.statistics(), atol=1e-9, err_msg=seed)


def test_heavy_tails_contradict_nobody():
    rng = np.random.default_rng(0)
    X = rng.standard_cauchy(size=(20_000, 3))
    y = X @ np.ones(3) + rng.standard_cauchy(20_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reg = fit(*chunked(X, y, 16))
    check_equal(reg, one(X, y), rtol=1e-5)


def test_traffic_is_two_triangles_and_some_vectors(monkeypatch):
    sizes, honest = [], _exact.add_up

    def add_up(block, job, index):
        sums = honest(block, job, index)
        sizes.append(len(pickle.dumps(sums)))
        sizes.append(len(pickle.dumps(job)))
        return sums

    monkeypatch.setattr(_exact, "add_up", add_up)
    for n in (2000, 4000):
        X, y, _ = regression(n, 60)
        fit(*chunked(X, y, 4))
    assert max(sizes) < 8 * (61**2 + 6 * 61) + 2000


@pytest.mark.parametrize("covariance", ["robust", "homoscedastic"])
@pytest.mark.parametrize("weighted", [False, True])
def test_standard_errors_are_those_of_one_machine(covariance, weighted):
    X, y = outliers(*regression(3000)[:2])
    weight = np.random.default_rng(1).integers(4, size=3000).astype(float)
    weight = weight if weighted else None
    lazy = None if weight is None else da.from_array(weight, chunks=500)
    data = chunked(X, y, 6)
    table = coefficient_table(
        fit(*data, lazy), *data, sample_weight=lazy, covariance=covariance
    )
    expected = coefficient_table(
        one(X, y, weight), X, y, sample_weight=weight, covariance=covariance
    )
    assert table.n_samples == expected.n_samples
    for name in ("std_error", "p_value", "upper", "outlier_share", "r2"):
        assert_allclose(getattr(table, name), getattr(expected, name), rtol=1e-5)


def test_standard_errors_know_who_was_left_out():
    X, y, _ = regression(4000)
    y, good = corrupted(y, 4, "shuffled")
    with pytest.warns(UserWarning, match="left out"):
        reg = fit(*chunked(X, y, 4))
    table = coefficient_table(reg, *chunked(X, y, 4))
    expected = coefficient_table(one(X[good], y[good]), X[good], y[good])
    assert_allclose(table.std_error, expected.std_error, rtol=0.01)
    assert table.n_samples == 3000
    reg.partial_fit(*chunked(X, y, 4))
    with pytest.raises(ValueError, match="no standard errors"):
        coefficient_table(reg, *chunked(X, y, 4))


def test_max_rounds_bounds_the_passes():
    X, y, _ = regression(2000)
    with pytest.warns(ConvergenceWarning, match="max_rounds"):
        reg = fit(*chunked(X, y, 4), max_rounds=3)
    assert reg.n_iter_ == len(reg.loss_curve_) == 3


@pytest.mark.parametrize("order", ["as is", "by class"])
@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_classifiers_are_those_of_one_machine(n_classes, order, class_weight):
    X, y = classification(4000, n_classes)
    keep = (y > 0) | (np.arange(4000) % 3 == 0)
    X, y = X[keep], y[keep]
    if order == "by class":
        rows = np.argsort(y, kind="stable")
        X, y = X[rows], y[rows]
    params = {"random_state": 0, "class_weight": class_weight, "tol": 1e-5}
    other = MedianSGDClassifier(**params).fit(X, y)
    clf = DaskMedianSGDClassifier(**params).fit(*chunked(X, y, 6))
    assert_allclose(clf.predict_proba(X), other.predict_proba(X), atol=0.01)
    assert len(clf.stage_starts_) == 1


def test_wrong_labels_in_partitions_cost_little():
    X, y = classification(4000, 3)
    wrong, good = corrupted(y, 8, "shuffled")
    clf = DaskMedianSGDClassifier(random_state=0)
    clf.fit(*chunked(X, wrong.astype(int), 8))
    other = MedianSGDClassifier(random_state=0).fit(X[good], y[good])
    assert clf.score(X, y) > other.score(X, y) - 0.01


def test_balanced_weights_need_rows_of_each_class():
    X, y = classification(2000, 3)
    clf = DaskMedianSGDClassifier(class_weight="balanced", random_state=0)
    clf.fit(*chunked(X, y, 4))
    before = clf.coef_
    with pytest.raises(
        ValueError, match=r"needs rows of each class; got none of \[2\]"
    ):
        clf.partial_fit(*chunked(X[y < 2], y[y < 2], 4))
    assert clf.coef_ is before


@pytest.mark.parametrize("lie", ["random", "not finite", "too large"])
def test_a_lie_about_labels_is_left_out_and_named(monkeypatch, lie):
    honest = _multinomial.differ

    def differ(block, job, index):
        sums = honest(block, job, index)
        if index != 2:
            return sums
        rng = np.random.default_rng(0)
        values = (getattr(sums, field.name) for field in fields(sums))
        return _multinomial.DivergenceSums(*(LIES[lie](rng, v) for v in values))

    X, y = classification(4000, 3)
    monkeypatch.setattr(_base, "ROWS_OF_EACH", 200)
    monkeypatch.setattr(_multinomial, "differ", differ)
    clf = DaskMedianSGDClassifier(random_state=0)
    with pytest.warns(UserWarning, match=r"Partitions \[2\] were left out"):
        clf.fit(*chunked(X, y, 8))
    good = np.arange(4000) // 500 != 2
    other = MedianSGDClassifier(random_state=0).fit(X[good], y[good])
    assert_allclose(clf.predict_proba(X), other.predict_proba(X), atol=0.02)


def test_a_share_of_the_rows_that_contradict_says_nothing():
    """If the rows of half of the partitions are not like their sums, rows mislead."""
    told = SimpleNamespace(n_rows_of_each=np.full(4, 10))
    data = SimpleNamespace(told=told, part=np.repeat(range(4), 2), weight=np.ones(8))
    asked = _trust.Asked(data, np.ones(4), trusting=False)
    one, two = {0: _trust.CONTRADICTING}, {3: _trust.IMPOSSIBLE}
    assert asked.believed(one | two) == one | two
    assert asked.believed(one | two | {1: _trust.CONTRADICTING}) == two
