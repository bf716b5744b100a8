"""Fits on a cluster of real processes: the same results, whatever happens to them."""

import os
import signal
import time

import numpy as np
import pytest
from numpy.testing import assert_array_equal

pytestmark = pytest.mark.filterwarnings("ignore:Partitions")
pytest.importorskip("distributed")
from dask import array as da  # noqa: E402
from distributed import Client, LocalCluster  # noqa: E402

from medsgd import _rounds  # noqa: E402
from medsgd.dask import DaskMedianSGDClassifier, DaskMedianSGDRegressor  # noqa: E402


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        memory_limit="1GiB",
    ) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with Client(cluster) as client:
        client.wait_for_workers(2)
        yield client


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 5))
    y = X @ np.arange(5) + rng.normal(size=4000)
    y[1000:2000] *= -100
    return da.from_array(X, chunks=(500, -1)), da.from_array(y, chunks=500)


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


def on_round(monkeypatch, number, action):
    """Do something when the coordinator has the updates of a round."""
    take, rounds = _rounds.Consensus.take, []

    def patched(self, *args):
        rounds.append(1)
        if len(rounds) == number:
            action()
        take(self, *args)

    monkeypatch.setattr(_rounds.Consensus, "take", patched)


def test_results_do_not_depend_on_the_number_of_workers(
    cluster, client, data, expected
):
    try:
        for n in (1, 2, 4):
            scale(cluster, client, n)
            assert_array_equal(fit(data, client=client).coef_, expected)
    finally:
        scale(cluster, client, 2)


def test_a_killed_worker_costs_time_only(cluster, client, data, expected, monkeypatch):
    pids = client.run(os.getpid)
    victim = next(iter(pids.values()))
    on_round(monkeypatch, 5, lambda: os.kill(victim, signal.SIGKILL))
    assert_array_equal(fit(data, client=client).coef_, expected)
    client.wait_for_workers(2)
    assert victim not in client.run(os.getpid).values()


def test_data_are_kept_on_workers_during_a_fit_and_then_released(
    client, data, monkeypatch
):
    held = []
    on_round(monkeypatch, 3, lambda: held.extend(client.who_has()))
    fit(data)
    blocks = [key for key in held if str(key).startswith("medsgd-block")]
    assert len(blocks) == 8
    deadline = time.monotonic() + 10
    while client.who_has() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not client.who_has()


def test_prediction_and_classes_on_a_cluster(client):
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=3000)
    X = rng.normal(size=(3000, 3)) + 3 * np.eye(3)[y]
    A, b = da.from_array(X, chunks=(500, -1)), da.from_array(y, chunks=500)
    clf = DaskMedianSGDClassifier(client=client, random_state=0).fit(A, b)
    assert_array_equal(clf.predict_proba(A).compute(), clf.predict_proba(X))
    assert float(clf.score(A, b)) == clf.score(X, y) > 0.9


def test_a_closed_client_is_named(cluster, data):
    client = Client(cluster, set_as_default=False)
    client.close()
    with pytest.raises(ValueError, match="client is closed"):
        fit(data, client=client)
