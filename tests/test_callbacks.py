"""Callbacks see every epoch and may stop the fit."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import accuracy_score, mean_absolute_error, r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medsgd import MedianSGDClassifier, MedianSGDRegressor

# scikit-learn has callbacks from 1.9 on.
callback = pytest.importorskip("sklearn.callback")

ESTIMATORS = ["mean", "coord-median", "geometric-median", "spp-l1", "spp-l2"]
TASKS = ["regression", "binary", "multiclass"]
SCORINGS = {"regression": "r2", "binary": "accuracy", "multiclass": "accuracy"}


class Recorder:
    """Records the hooks that are called; stops after epoch `stop_after`."""

    def __init__(self, stop_after=None, fail_after=None):
        self.stop_after, self.fail_after = stop_after, fail_after
        self.calls, self.kwargs = [], []

    def names(self, hook):
        return [name for called, name in self.calls if called == hook]

    def setup(self, estimator, context):
        self.calls.append(("setup", type(estimator).__name__))

    def teardown(self, estimator, context):
        self.calls.append(("teardown", type(estimator).__name__))

    def on_fit_task_begin(self, estimator, context):
        if is_epoch(context):
            self.calls.append(("begin", type(estimator).__name__))

    def on_fit_task_end(
        self,
        estimator,
        context,
        *,
        X=None,
        y=None,
        metadata=None,
        fitted_estimator=None,
    ):
        if not is_epoch(context):
            return None
        self.calls.append(("end", type(estimator).__name__))
        self.kwargs.append((X, y, metadata, fitted_estimator))
        if self.fail_after == len(self.kwargs):
            raise ArithmeticError("the callback fails")
        return self.stop_after == len(self.kwargs)


class PropagatedRecorder(Recorder):
    max_propagation_depth = None


def is_epoch(context):
    """Whether the task is one below the task of a whole fit of the package's."""
    parent = context.parent
    return parent is not None and parent.estimator_name.startswith("MedianSGD")


def make_data(task, n=90):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 4))
    y = X @ [2.0, -1.0, 0.5, 0.0] + 1 + 0.3 * rng.normal(size=n)
    if task == "binary":
        y = np.where(y > 1, "b", "a")
    elif task == "multiclass":
        y = np.digitize(y, [0, 2])
    return X, y


def make_estimator(task, **params):
    classes = {"regression": MedianSGDRegressor}
    estimator_class = classes.get(task, MedianSGDClassifier)
    return estimator_class(**{"random_state": 0, "max_iter": 6, "tol": None} | params)


# At which epochs do not depend on how many may follow.
ONE_STAGE = {"refine": False}


def epoch_rows(monitor, fit_path=(0,)):
    """The rows of the log just below the fit that has the given path of tasks."""
    rows = monitor.get_logs().data
    return [row for row in rows if row["parent_task_id_path"] == fit_path]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_scoring_monitor_logs_what_shorter_fits_score(name, task):
    X, y = make_data(task)
    score = r2_score if task == "regression" else accuracy_score
    for average in [False, 100]:
        est = make_estimator(
            task, gradient_estimator=name, average=average, **ONE_STAGE
        )
        monitor = callback.ScoringMonitor(scoring=SCORINGS[task])
        est.set_callbacks(monitor).fit(X, y)
        rows = epoch_rows(monitor)
        assert [row["task_id"] for row in rows] == list(range(6))
        assert all(row["estimator_name"] == type(est).__name__ for row in rows)
        shorter = [
            clone(est).set_callbacks().set_params(max_iter=k + 1) for k in range(6)
        ]
        expected = [score(y, one.fit(X, y).predict(X)) for one in shorter]
        assert_allclose([row[SCORINGS[task]] for row in rows], expected, rtol=1e-12)
        assert rows[-1][SCORINGS[task]] == est.score(X, y)


@pytest.mark.parametrize("name", ESTIMATORS[1:])
def test_scoring_monitor_logs_both_stages(name):
    X, y = make_data("regression")
    monitor = callback.ScoringMonitor(scoring="r2")
    est = make_estimator("regression", gradient_estimator=name, max_iter=7)
    est.set_callbacks(monitor).fit(X, y)
    scores = [row["r2"] for row in epoch_rows(monitor)]
    # The median stage has the first half of the epochs, rounded up.
    medians = [
        clone(est).set_callbacks().set_params(max_iter=k + 1, refine=False)
        for k in range(4)
    ]
    stopped = [
        clone(est).set_callbacks(Recorder(stop_after=k + 1)) for k in range(4, 7)
    ]
    expected = [one.fit(X, y).score(X, y) for one in medians + stopped]
    assert_allclose(scores, expected, rtol=1e-12)
    assert scores[-1] == est.score(X, y)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("task", TASKS)
def test_scoring_monitor_when_tol_stops(task, early_stopping):
    X, y = make_data(task)
    weight = np.random.default_rng(1).uniform(0.5, 2, len(y))
    monitor = callback.ScoringMonitor(scoring=SCORINGS[task])
    est = make_estimator(
        task,
        max_iter=300,
        tol=0.01,
        n_iter_no_change=5,
        early_stopping=early_stopping,
    )
    est.set_callbacks(monitor).fit(X, y)
    rows = epoch_rows(monitor)
    assert len(rows) == est.n_iter_ < 300
    assert np.isfinite([row[SCORINGS[task]] for row in rows]).all()
    est.fit(X, y, sample_weight=weight)
    rows = epoch_rows(monitor)
    assert len(rows) == est.n_iter_
    if not early_stopping:
        assert rows[-1][SCORINGS[task]] == pytest.approx(
            est.score(X, y, weight), rel=1e-12
        )


def test_scoring_monitor_with_several_scores():
    X, y = make_data("regression")
    monitor = callback.ScoringMonitor(scoring=["r2", "neg_mean_absolute_error"])
    est = make_estimator("regression").set_callbacks(monitor).fit(X, y)
    frame = monitor.get_logs().data_as_pandas
    last = frame[frame["parent_task_id_path"] == (0,)].iloc[-1]
    assert last["r2"] == pytest.approx(r2_score(y, est.predict(X)))
    expected = -mean_absolute_error(y, est.predict(X))
    assert last["neg_mean_absolute_error"] == pytest.approx(expected)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_callback_stops_the_fit(name, task):
    X, y = make_data(task)
    recorder = Recorder(stop_after=3)
    est = make_estimator(task, gradient_estimator=name).set_callbacks(recorder)
    est.fit(X, y)
    assert est.n_iter_ == 3
    assert len(est.loss_curve_) == 3
    assert len(recorder.names("begin")) == len(recorder.names("end")) == 3
    # The third of six epochs is the last before a refinement.
    short = make_estimator(task, gradient_estimator=name, max_iter=3, **ONE_STAGE).fit(
        X, y
    )
    assert_array_equal(est.coef_, short.coef_)
    assert_array_equal(est.intercept_, short.intercept_)
    assert est.t_ == short.t_


@pytest.mark.parametrize("task", TASKS)
def test_a_callback_stops_or_fails_at_every_epoch_of_every_stage(task):
    X, y = make_data(task, n=200)
    known = make_estimator(task, max_iter=1000, tol=1e-3).fit(X, y)
    n_iter_of_few = clone(known).fit(X[:100], y[:100]).n_iter_
    assert min(known.n_iter_, n_iter_of_few) > 4  # of two stages or three
    for epoch in range(1, known.n_iter_):
        est = clone(known).set_callbacks(Recorder(stop_after=epoch)).fit(X, y)
        assert est.n_iter_ == len(est.loss_curve_) == epoch
        assert np.isfinite(est.coef_).all()
        assert est.predict(X).shape == y.shape
        # A stopped fit goes on as a stream, and fits anew.
        est.set_callbacks().partial_fit(X, y)
        assert_array_equal(est.fit(X, y).coef_, known.coef_)
        if epoch >= n_iter_of_few:
            continue
        before = pickle.dumps(est)
        with pytest.raises(ArithmeticError, match="the callback fails"):
            est.set_callbacks(Recorder(fail_after=epoch)).fit(X[:100], y[:100])
        assert pickle.dumps(est.set_callbacks()) == before


@pytest.mark.parametrize("task", TASKS)
def test_callbacks_change_nothing(task):
    X, y = make_data(task)
    plain = make_estimator(task, average=True).fit(X, y)
    watched = make_estimator(task, average=True).set_callbacks(Recorder()).fit(X, y)
    assert_array_equal(plain.coef_, watched.coef_)
    assert set(vars(watched)) - set(vars(plain)) == {"_skl_callbacks"}


@pytest.mark.parametrize("task", TASKS)
def test_what_hooks_are_given(task):
    X, y = make_data(task)
    recorder = Recorder()
    weight = np.random.default_rng(1).uniform(0.5, 2, len(y))
    est = make_estimator(task).set_callbacks(recorder).fit(X, y, sample_weight=weight)
    assert len(recorder.kwargs) == 6
    for given_X, given_y, metadata, fitted in recorder.kwargs:
        assert_array_equal(given_X, X)
        assert_array_equal(given_y, y)
        assert_array_equal(metadata["sample_weight"], weight)
        assert fitted.predict(X).shape == y.shape
    # An epoch's estimator is a picture of its own, not changed by later epochs.
    coefs = np.array([fitted.coef_ for *_, fitted in recorder.kwargs])
    assert (np.abs(np.diff(coefs, axis=0)).reshape(5, -1).max(axis=1) > 0).all()
    assert_array_equal(coefs[-1], est.coef_)


def test_setup_and_teardown_once_per_fit():
    X, y = make_data("regression")
    recorder = Recorder()
    est = make_estimator("regression").set_callbacks(recorder)
    for fits in (1, 2):
        est.fit(X, y)
        assert recorder.calls[0] == ("setup", "MedianSGDRegressor")
        assert recorder.calls[-1] == ("teardown", "MedianSGDRegressor")
        assert len(recorder.names("setup")) == len(recorder.names("teardown")) == fits


def overflow(X, y):
    return 1e300 * X, y


def not_a_number(X, y):
    return np.where(X[5] == X, np.nan, X), y


@pytest.mark.parametrize("spoil", [overflow, not_a_number])
def test_teardown_when_the_data_fail(spoil):
    X, y = make_data("regression")
    recorder = Recorder()
    est = make_estimator("regression", gradient_estimator="mean", max_iter=1000)
    est.set_callbacks(recorder)
    with pytest.raises(ValueError, match=r"overflow|NaN"):
        est.fit(*spoil(X, y))
    assert recorder.names("setup") == recorder.names("teardown")
    if spoil is overflow:
        assert len(recorder.names("setup")) == 1
    assert not hasattr(est, "_callback_fit_ctx")
    recorder.calls.clear()
    est.fit(X, y)
    assert len(recorder.names("setup")) == len(recorder.names("teardown")) == 1


@pytest.mark.parametrize("task", TASKS)
def test_teardown_when_a_callback_fails(task):
    X, y = make_data(task)
    recorder = Recorder(fail_after=2)
    est = make_estimator(task).fit(X, y)
    before = dict(vars(est))
    with pytest.raises(ArithmeticError, match="the callback fails"):
        est.set_callbacks(recorder).fit(X, y)
    assert len(recorder.names("setup")) == len(recorder.names("teardown")) == 1
    est.set_callbacks()
    assert vars(est).keys() == before.keys()
    assert_array_equal(est.coef_, before["coef_"])


def test_callbacks_are_checked():
    with pytest.raises(TypeError, match="FitCallback protocol"):
        MedianSGDRegressor().set_callbacks(object())


@pytest.mark.parametrize("task", TASKS)
def test_callback_of_the_inner_estimator_of_a_search(task):
    X, y = make_data(task)
    recorder, monitor = Recorder(), callback.ScoringMonitor(scoring=SCORINGS[task])
    est = make_estimator(task).set_callbacks(recorder, monitor)
    search = GridSearchCV(est, {"tau": [0.1, "auto"]}, cv=3, error_score="raise")
    search.fit(X, y)
    name = type(est).__name__
    n_fits = 2 * 3 + 1
    assert recorder.names("setup") == recorder.names("teardown") == n_fits * [name]
    assert recorder.names("end") == n_fits * 6 * [name]
    rows = [r for r in monitor.get_logs().data if len(r["task_id_path"]) == 4]
    refit = [r for r in monitor.get_logs().data if len(r["task_id_path"]) == 3]
    assert len(rows) == 2 * 3 * 6
    assert np.isfinite([row[SCORINGS[task]] for row in rows]).all()
    assert max(refit, key=lambda r: r["task_id_path"])[SCORINGS[task]] == pytest.approx(
        search.best_estimator_.score(X, y)
    )


@pytest.mark.parametrize("task", TASKS)
def test_callback_that_a_search_propagates(task):
    X, y = make_data(task)
    recorder = PropagatedRecorder()
    search = GridSearchCV(make_estimator(task), {"tau": [0.1, "auto"]}, cv=3)
    search.set_callbacks(recorder).fit(X, y)
    assert recorder.names("setup") == recorder.names("teardown") == ["GridSearchCV"]
    name = type(search.estimator).__name__
    assert recorder.names("end") == (2 * 3 + 1) * 6 * [name]


@pytest.mark.parametrize("task", TASKS)
def test_callbacks_in_a_pipeline(task):
    X, y = make_data(task)
    inner, outer = Recorder(stop_after=2), PropagatedRecorder()
    est = make_estimator(task).set_callbacks(inner)
    pipe = make_pipeline(StandardScaler(), est).set_callbacks(outer).fit(X, y)
    name = type(est).__name__
    assert inner.names("setup") == inner.names("teardown") == [name]
    assert outer.names("setup") == outer.names("teardown") == ["Pipeline"]
    assert inner.names("end") == outer.names("end") == 2 * [name]
    assert pipe[-1].n_iter_ == 2


def test_scoring_monitor_in_a_pipeline():
    X, y = make_data("regression")
    monitor = callback.ScoringMonitor(scoring="r2")
    est = make_estimator("regression").set_callbacks(monitor)
    pipe = make_pipeline(StandardScaler(), est).fit(X, y)
    rows = epoch_rows(monitor, fit_path=(0, 1))
    assert len(rows) == 6
    assert rows[-1]["r2"] == pytest.approx(pipe.score(X, y), rel=1e-12)


@pytest.mark.parametrize("task", TASKS)
def test_progress_bar(task, capsys):
    pytest.importorskip("rich")
    X, y = make_data(task)
    est = make_estimator(task).set_callbacks(callback.ProgressBar())
    est.fit(X, y)
    out = capsys.readouterr().out
    assert f"{type(est).__name__} - fit" in out
    assert "100%" in out


def test_progress_bars_of_a_search_and_a_pipeline(capsys):
    pytest.importorskip("rich")
    X, y = make_data("regression")
    est = make_estimator("regression")
    pipe = make_pipeline(StandardScaler(), est)
    pipe.set_callbacks(callback.ProgressBar()).fit(X, y)
    assert "MedianSGDRegressor - fit" in capsys.readouterr().out
    search = GridSearchCV(est, {"tau": [0.1, "auto"]}, cv=2)
    search.set_callbacks(callback.ProgressBar(max_propagation_depth=None)).fit(X, y)
    # Two candidates on two splits, and the refit.
    assert capsys.readouterr().out.count("MedianSGDRegressor - fit") == 5
