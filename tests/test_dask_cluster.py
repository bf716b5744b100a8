"""Fits on a cluster of real processes: accurate, the same whatever happens to them."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

pytestmark = pytest.mark.filterwarnings("ignore:Partitions")
pytest.importorskip("distributed")
from _dask_data import (  # noqa: E402
    chunked,
    corrupted,
    error,
    least_squares_error,
    regression,
    standard_errors,
)
from dask import array as da  # noqa: E402
from distributed import Client, LocalCluster  # noqa: E402

from medsgd import MedianSGDRegressor  # noqa: E402
from medsgd.dask import (  # noqa: E402
    DaskMedianSGDClassifier,
    DaskMedianSGDRegressor,
    _base,
    _collections,
)


def new_cluster():
    return LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        memory_limit="1GiB",
    )


@pytest.fixture(scope="module")
def cluster():
    with new_cluster() as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
        yield client


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(16_000, 5))
    y = X @ np.arange(5) + rng.normal(size=16_000)
    y[4000:8000] *= -100
    return da.from_array(X, chunks=(2000, -1)), da.from_array(y, chunks=2000)


def fit(data, **params):
    return DaskMedianSGDRegressor(random_state=0, **params).fit(*data)


@pytest.fixture(scope="module")
def expected(data):
    """Fitted without a cluster."""
    return fit(data).coef_


def scale(cluster, client, n):
    cluster.scale(n)
    while len(client.scheduler_info(n_workers=-1)["workers"]) != n:
        time.sleep(0.05)


def on_rounds(monkeypatch, is_one, action):
    """Do something before the coordinator asks the partitions, in some rounds.

    ``is_one``: a function of the number of the round, and of what it and the one before
    ask.
    """
    ask, names = _collections.Partitions._tasks, [""]

    def patched(self, name, *args):
        names.append(name)
        if is_one(len(names) - 1, name, names[-2]):
            action()
        return ask(self, name, *args)

    monkeypatch.setattr(_collections.Partitions, "_tasks", patched)


def on_round(monkeypatch, number, action):
    """Do something before the coordinator asks the partitions."""
    on_rounds(monkeypatch, lambda k, *names: k == number, action)


@pytest.mark.parametrize("aggregator", ["geometric-median", "mean"])
@pytest.mark.parametrize("n_partitions", [4, 16, 64])
def test_clean_partitions_are_fitted_as_by_one_machine(
    client, n_partitions, aggregator
):
    X, y, _ = regression(20_000, 10)
    reg = fit(chunked(X, y, n_partitions), aggregator=aggregator)
    one = MedianSGDRegressor(random_state=0).fit(X, y)
    assert standard_errors(X, y, reg, one) < 1e-6
    assert_array_equal(reg.n_rejected_, 0)


@pytest.mark.parametrize("n_partitions", [4, 16, 64])
@pytest.mark.parametrize("kind", ["shuffled", "scaled", "nan"])
def test_a_quarter_of_the_partitions_may_be_wrong(client, kind, n_partitions):
    X, y, _ = regression(20_000, 10)
    y, good = corrupted(y, n_partitions, kind)
    wrong = list(range(1, n_partitions, 4))
    with pytest.warns(UserWarning, match=re.escape(f"artitions {wrong}")):
        reg = fit(chunked(X, y, n_partitions))
    one = MedianSGDRegressor(random_state=0).fit(X[good], y[good])
    assert standard_errors(X[good], y[good], reg, one) < 0.05
    assert_array_equal(np.flatnonzero(reg.n_rejected_), wrong)


@pytest.mark.parametrize("kind", ["shuffled", "scaled"])
def test_the_mean_over_partitions_fails(client, kind):
    X, y, truth = regression(20_000, 10)
    expected = least_squares_error(X, y, truth)
    y, _ = corrupted(y, 16, kind)
    reg = fit(chunked(X, y, 16), aggregator="mean", refine=False)
    assert error(reg, truth) > 5 * expected


@pytest.mark.parametrize("by", ["feature", "target"])
def test_sorted_partitions_are_fitted_as_by_one_machine(client, by):
    X, y, _ = regression(20_000)
    order = np.argsort(X[:, 0] if by == "feature" else y)
    X, y = X[order], y[order]
    reg = fit(chunked(X, y, 8))
    one = MedianSGDRegressor(random_state=0).fit(X, y)
    assert standard_errors(X, y, reg, one) < 1e-6


def assert_released(client):
    deadline = time.monotonic() + 10
    while client.who_has() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not client.who_has()


@pytest.mark.parametrize(
    "cls, is_one",
    [
        (DaskMedianSGDRegressor, lambda k, name, last: k > 1),
        # Of its many rounds, those that ask something else than the one before.
        (DaskMedianSGDClassifier, lambda k, name, last: k > 1 and name != last),
    ],
    ids=["regressor", "classifier"],
)
def test_killed_workers_cost_time_only(data, monkeypatch, cls, is_one):
    # On a cluster of its own: on a busy machine Dask may not start another worker.
    X, y = data
    if cls is DaskMedianSGDClassifier:
        y = (y > 0).astype(int)
    expected, killed = cls(random_state=0).fit(X, y), []
    with new_cluster() as cluster, Client(cluster) as client:

        def kill():
            client.wait_for_workers(2, timeout=60)
            killed.append(next(iter(client.run(os.getpid).values())))
            os.kill(killed[-1], signal.SIGKILL)

        on_rounds(monkeypatch, is_one, kill)
        est = cls(random_state=0, client=client).fit(X, y)
    assert len(set(killed)) == 4
    assert est.n_rounds_ == expected.n_rounds_
    assert_allclose(est.coef_, expected.coef_, rtol=1e-10)
    assert_allclose(est.intercept_, expected.intercept_, rtol=1e-10)


def test_data_are_kept_on_workers_during_a_fit_and_then_released(
    client, data, monkeypatch
):
    held = []
    on_round(monkeypatch, 3, lambda: held.extend(client.who_has()))
    fit(data)
    blocks = [key for key in held if str(key).startswith("medsgd-block")]
    assert len(blocks) == 8
    assert_released(client)


def test_prediction_and_classes_on_a_cluster(client):
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=3000)
    X = rng.normal(size=(3000, 3)) + 3 * np.eye(3)[y]
    A, b = da.from_array(X, chunks=(500, -1)), da.from_array(y, chunks=500)
    clf = DaskMedianSGDClassifier(client=client, random_state=0).fit(A, b)
    assert_array_equal(clf.predict_proba(A).compute(), clf.predict_proba(X))
    assert float(clf.score(A, b)) == clf.score(X, y) > 0.9


def killing_once(marker, function, index):
    """A task that kills its process the first time that it runs for a partition."""

    def run(block, job, k):
        if k == index and not Path(marker).exists():
            Path(marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return function(block, job, k)

    return run


def test_a_worker_may_die_before_the_first_round(data, expected, monkeypatch, tmp_path):
    marker = tmp_path / "killed"
    summarise = killing_once(str(marker), _base.summarise, 3)
    monkeypatch.setattr(_base, "summarise", summarise)
    with new_cluster() as cluster, Client(cluster) as client:
        assert_allclose(fit(data, client=client).coef_, expected, rtol=1e-10)
    assert marker.exists()


def test_an_interrupted_fit_lets_go_of_the_data(client, data, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    on_round(monkeypatch, 3, interrupt)
    reg = DaskMedianSGDRegressor(random_state=0)
    # The traceback, which refers to all there was, lives on.
    with pytest.raises(KeyboardInterrupt) as interrupted:
        reg.fit(*data)
    assert_released(client)
    assert interrupted.tb is not None
    assert not hasattr(reg, "coef_")


def test_a_task_may_fit(client, data, expected):
    assert_allclose(client.submit(fit, data).result().coef_, expected, rtol=1e-10)


def test_users_data_stay_on_the_workers(client, data, expected):
    X, y = client.persist(data)
    for persist in (True, False):
        assert_allclose(fit((X, y), persist=persist).coef_, expected, rtol=1e-10)
        assert_allclose(X.sum().compute(), data[0].sum().compute())


def test_a_closed_client_is_named(cluster, data):
    client = Client(cluster, set_as_default=False)
    client.close()
    with pytest.raises(ValueError, match="client is closed"):
        fit(data, client=client)


def test_a_client_closed_in_mid_fit_leaves_the_estimator(cluster, data, monkeypatch):
    client = Client(cluster, set_as_default=False)
    on_round(monkeypatch, 3, client.close)
    reg = DaskMedianSGDRegressor(client=client)
    with pytest.raises(Exception, match="clos"):
        reg.fit(*data)
    assert not hasattr(reg, "coef_")


def test_results_do_not_depend_on_the_number_of_workers(
    cluster, client, data, expected
):
    for n in (2, 4, 1):
        scale(cluster, client, n)
        assert_allclose(fit(data, client=client).coef_, expected, rtol=1e-10)


MEMORY = Path(__file__).resolve().parents[1] / "benchmarks" / "dask_memory.py"


@pytest.mark.skipif(
    "MEDSGD_TEST_MEMORY" not in os.environ,
    reason="takes minutes and 3 GB of disk; MEDSGD_TEST_MEMORY=1 runs it",
)
def test_data_may_be_three_times_the_memory_of_the_workers():
    run = subprocess.run(
        [sys.executable, MEMORY, "400", "100"],
        capture_output=True,
        text=True,
    )
    print(run.stdout, run.stderr)
    assert run.returncode == 0
    told = re.search(r"error (\S+), coordinator's peak (\d+) MiB", run.stdout)
    assert float(told[1]) < 0.05
    assert int(told[2]) * 2**20 < 500e6
