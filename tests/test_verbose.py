"""verbose prints what SGD prints, epoch by epoch."""

import re

import numpy as np
import pytest
from _versions import sgd_as_of
from sklearn.linear_model import SGDClassifier, SGDRegressor

from medsgd import MedianSGDClassifier, MedianSGDRegressor

ESTIMATORS = ["mean", "coord-median", "geometric-median", "spp-l1", "spp-l2"]
TASKS = ["regression", "binary", "multiclass"]


def make_data(task, n=90):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 4))
    y = X @ [2.0, -1.0, 0.5, 0.0] + 1 + 0.3 * rng.normal(size=n)
    bins = {"regression": None, "binary": [1], "multiclass": [0, 2]}[task]
    return X, y if bins is None else np.digitize(y, bins)


def make_estimator(task, **params):
    classes = {"regression": MedianSGDRegressor}
    estimator_class = classes.get(task, MedianSGDClassifier)
    return estimator_class(**{"random_state": 0, "max_iter": 6, "tol": None} | params)


def printed(est, X, y, capsys):
    est.fit(X, y)
    return re.sub(r"\d+\.\d\d seconds", "some seconds", capsys.readouterr().out)


@sgd_as_of("1.8")
@pytest.mark.parametrize("params", [{}, {"early_stopping": True, "penalty": None}])
@pytest.mark.parametrize("task", ["regression", "binary"])
def test_verbose_prints_what_sgd_prints(task, params, capsys):
    X, y = make_data(task)
    sgd_class = SGDRegressor if task == "regression" else SGDClassifier
    theirs = sgd_class(max_iter=100, verbose=1, random_state=0, **params)
    ours = make_estimator(task, gradient_estimator="mean", **theirs.get_params())
    expected = printed(theirs, X, y, capsys)
    assert printed(ours, X, y, capsys) == expected
    assert "-- Epoch 2\nNorm: " in expected
    assert "Convergence after" in expected


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_verbose_prints_every_epoch(name, task, capsys):
    X, y = make_data(task)
    est = make_estimator(task, gradient_estimator=name, verbose=1)
    if task == "regression":
        est.set_params(refine=False)
    lines = printed(est, X, y, capsys).splitlines()
    times = 3 if task == "multiclass" else 1
    for epoch in range(1, 7):
        assert times >= lines.count(f"-- Epoch {epoch}") >= 1
    norms = [line for line in lines if line.startswith("Norm: ")]
    assert len(norms) >= 6
    assert all("NNZs: 4, Bias: " in line for line in norms)
    make_estimator(task, gradient_estimator=name).fit(X, y)
    assert capsys.readouterr().out == ""


def test_verbose_names_the_exact_steps(capsys):
    X, y = make_data("regression")
    est = make_estimator("regression", verbose=1).set_params(max_iter=100)
    lines = printed(est, X, y, capsys).splitlines()
    first, last = est.stage_starts_
    passes = [line for line in lines if line.startswith(("S step", "M step"))]
    assert [line[0] for line in passes] == (
        ["S"] * (last - first) + ["M"] * (est.n_iter_ - last)
    )
    assert f"Scale: {est.scale_:f}" in passes[-1]
    assert lines.count(f"-- Epoch {est.n_iter_}") == 1
