"""The bits that fits, streams and Dask fits give, to see that a change keeps them.

``python tests/fingerprint.py PATH`` records them before a change, ``python
tests/fingerprint.py --compare PATH`` compares them after it. They are those of one
machine and one set of installed libraries, and so not part of the tests.
"""

import argparse
import os
import sys
import warnings
from itertools import product

# The number of threads decides the last bits of BLAS.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import dask
import dask.array as da
import numpy as np
import scipy.sparse as sp

import medsgd
from medsgd import MedianSGDClassifier, MedianSGDRegressor, gradient_estimators
from medsgd.dask import DaskMedianSGDClassifier, DaskMedianSGDRegressor

ATTRIBUTES = [
    "coef_",
    "intercept_",
    "n_iter_",
    "t_",
    "loss_curve_",
    "clip_fraction_curve_",
    "scale_",
    "tau_",
    "stage_starts_",
    "outliers_",
    "weights_",
]
# Names of their own: another order of the package's tables would be other cases.
ESTIMATORS = ["mean", "coord-median", "geometric-median", "spp-l1", "spp-l2"]
REGRESSION_LOSSES = [
    "squared_error",
    "huber",
    "epsilon_insensitive",
    "squared_epsilon_insensitive",
    "bisquare",
]
CLASSIFICATION_LOSSES = [
    "hinge",
    "squared_hinge",
    "perceptron",
    "log_loss",
    "modified_huber",
    *REGRESSION_LOSSES[:4],
]
PENALTIES = [None, "l2", "l1", "elasticnet"]
FORMATS = ["dense", "csr"]
DTYPES = [np.float64, np.float32]
# One epoch after the other, whatever the statistic.
SHORT = {"max_iter": 4, "tol": None, "random_state": 3, "refine": False}


def data(*, n=300, d=7, n_classes=0, form="dense", dtype=np.float64, seed=0):
    """Features, targets with outliers or labels of which some are wrong, and weights.

    Rows of a CSR matrix have a third of the features.
    """
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    if form == "csr":
        X *= rng.random((n, d)) < 1 / 3
    score = X @ rng.normal(size=(d, max(1, n_classes))) + 0.5
    wrong = rng.random(n) < 0.1
    if n_classes == 0:
        y = score[:, 0] + 0.3 * rng.standard_t(2, size=n)
        y[wrong] += 20
        y = y.astype(dtype)
    else:
        y = score.argmax(axis=1) if n_classes > 2 else (score[:, 0] > 1).astype(int)
        y[wrong] = rng.integers(n_classes, size=wrong.sum())
    X[: n // 20] *= 8
    X = X.astype(dtype)
    weight = rng.choice([0.0, 0.4, 1.0, 1.0, 3.0], size=n)
    return sp.csr_array(X) if form == "csr" else X, y, weight


def task(n_classes):
    return MedianSGDClassifier if n_classes else MedianSGDRegressor


def fit(params, *, weighted=False, n_classes=0, **kwargs):
    X, y, weight = data(n_classes=n_classes, **kwargs)
    weight = weight if weighted else None
    return task(n_classes)(**SHORT | params).fit(X, y, sample_weight=weight)


def stream(params, *, weighted=False, n_classes=0, **kwargs):
    X, y, weight = data(n_classes=n_classes, **kwargs)
    est = task(n_classes)(**SHORT | params)
    first = {"classes": np.unique(y)} if n_classes else {}
    for start in [0, 1, 60, 200]:
        rows = slice(start, {0: 1, 1: 60, 60: 200, 200: len(y)}[start])
        w = weight[rows] + 0.1 if weighted else None
        est.partial_fit(X[rows], y[rows], sample_weight=w, **first)
        first = {}
    return est


def dask_fit(params, *, weighted=False, n_classes=0, form="dense", **kwargs):
    X, y, weight = data(n=600, n_classes=n_classes, form=form, **kwargs)
    cls = DaskMedianSGDClassifier if n_classes else DaskMedianSGDRegressor
    dense = da.from_array(X.toarray() if form == "csr" else X, chunks=(150, -1))
    X = dense.map_blocks(sp.csr_array) if form == "csr" else dense
    y = da.from_array(y, chunks=150)
    weight = da.from_array(weight, chunks=150) if weighted else None
    with dask.config.set(scheduler="threads", num_workers=2):
        return cls(**{"random_state": 3} | params).fit(X, y, sample_weight=weight)


def track(params, *, dtype):
    """An estimator of the location of gradients, after three calls."""
    params = params.copy()
    estimator = gradient_estimators.BY_NAME[params.pop("gradient_estimator")](**params)
    rng = np.random.default_rng(4)
    for n in [1, 5, 70]:
        g = rng.standard_cauchy((n, 9)).astype(dtype)
        estimator.update(g, rng.random(n) if n > 1 else None)
    return estimator


def cases():
    """Yield how to fit, its parameters, and what data."""
    for i, (name, form, dtype, n_classes) in enumerate(
        product(ESTIMATORS, FORMATS, DTYPES, [0, 2, 3])
    ):
        kind = {"form": form, "dtype": dtype, "n_classes": n_classes}
        params = {"gradient_estimator": name, "penalty": PENALTIES[i % 4]}
        params |= {"alpha": 1e-3, "average": [False, True, 200][i % 3]}
        yield fit, params, {**kind, "weighted": i % 5 < 2}
        extra = [
            {"momentum": 0.5},
            {"batch_size": 3},
            {"momentum": 0.3, "batch_size": 2, "n_gradients": 3},
            {"n_gradients": 4, "tau": 0.2 if name.startswith("spp") else "auto"},
            {"fit_intercept": False, "standardize": False, "leverage_weights": False},
            {"standardize": False},
            {"tau": np.inf, "momentum": 0.6},
        ][i % 7]
        yield fit, params | extra, {**kind, "weighted": i % 3 == 0}
        yield stream, params | extra, {**kind, "weighted": i % 2 == 0}

    losses = [(0, loss) for loss in REGRESSION_LOSSES]
    losses += [(2, loss) for loss in CLASSIFICATION_LOSSES]
    for i, ((n_classes, loss), name) in enumerate(
        product(losses, ["mean", "spp-l2", "coord-median"])
    ):
        kind = {"n_classes": n_classes, "form": FORMATS[i % 2], "weighted": i % 3 == 0}
        params = {"loss": loss, "gradient_estimator": name, "penalty": PENALTIES[i % 4]}
        yield fit, params, kind
        yield stream, params, kind
        yield fit, params | {"tol": 1e-3, "early_stopping": True}, kind
        if n_classes == 0:
            yield fit, params | {"epsilon": "auto", "average": True}, kind
            yield stream, params | {"epsilon": "auto"}, kind

    for rate, form in product(["constant", "optimal", "adaptive"], FORMATS):
        params = {"learning_rate": rate, "eta0": 0.01, "alpha": 0.01, "max_iter": 30}
        for name, n_classes in product(["mean", "spp-l2"], [0, 2]):
            more = {"gradient_estimator": name, "tol": 1e-2, "average": True}
            yield fit, params | more, {"form": form, "n_classes": n_classes}
    for rate, form, n_classes in product(["pa1", "pa2"], FORMATS, [0, 2]):
        params = {"learning_rate": rate, "gradient_estimator": "mean"}
        params["loss"] = "hinge" if n_classes else "epsilon_insensitive"
        yield fit, params, {"form": form, "n_classes": n_classes}
        yield fit, params | {"penalty": "l1"}, {"form": form, "n_classes": n_classes}

    for form, dtype, n_classes in product(FORMATS, DTYPES, [0, 2, 3]):
        kind = {"form": form, "dtype": dtype, "n_classes": n_classes}
        full = {"refine": True, "max_iter": 200, "tol": 1e-3}
        yield fit, full, {**kind, "weighted": n_classes == 2}
        yield fit, full | {"gradient_estimator": "coord-median"}, kind
        yield fit, full | {"early_stopping": True, "penalty": "elasticnet"}, kind
        # Few rows for the parameters: steps are stochastic.
        yield fit, full | {"average": True}, {**kind, "n": 40, "d": 25}
    # Dense and sparse rows so many and so long that prefetching begins and ends.
    for form, name in product(FORMATS, ESTIMATORS):
        yield fit, {"gradient_estimator": name}, {"form": form, "n": 900, "d": 120}
    for form, weighted, n_classes in product(FORMATS, [False, True], [0, 2, 3]):
        kind = {"form": form, "weighted": weighted, "n_classes": n_classes}
        yield dask_fit, {"max_iter": 12}, kind
    for aggregator in ESTIMATORS:
        yield dask_fit, {"aggregator": aggregator, "refine": False, "max_iter": 6}, {}
    yield dask_fit, {"loss": "bisquare", "gradient_estimator": "mean"}, {}
    for name, dtype, momentum in product(ESTIMATORS, DTYPES, [0.0, 0.7]):
        params = {"gradient_estimator": name, "momentum": momentum}
        yield track, params, {"dtype": dtype}
        if name.startswith("spp"):
            yield track, params | {"tau": 0.3}, {"dtype": dtype}


def fingerprint():
    """Return the arrays of all cases by name of the case and of the attribute."""
    found = {}
    for i, (function, params, kind) in enumerate(cases()):
        name = f"{i} {function.__name__} {params} {kind}"
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            est = function(params, **kind)
        told = sorted({f"{w.category.__name__}: {w.message}" for w in caught})
        found[f"{name} warnings"] = np.array(told, dtype=str)
        if function is track:
            for attribute, value in vars(est).items():
                found[f"{name} {attribute}"] = np.asarray(value)
        for attribute in ATTRIBUTES:
            if hasattr(est, attribute):
                found[f"{name} {attribute}"] = np.asarray(getattr(est, attribute))
    return found


def same_bits(a, b):
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", help="a file of arrays (.npz)")
    parser.add_argument("--compare", action="store_true", help="compare with the file")
    args = parser.parse_args()
    found = fingerprint()
    n_cases = len({name.split()[0] for name in found})
    print(f"{n_cases} cases, {len(found)} arrays, of {medsgd.__file__}")
    if not args.compare:
        np.savez_compressed(args.path, names=list(found), **_numbered(found))
        return
    with np.load(args.path) as file:
        names = file["names"].tolist()
        known = {name: file[f"a{i}"] for i, name in enumerate(names)}
    different = [
        name
        for name in sorted(known.keys() | found.keys())
        if name not in known
        or name not in found
        or not same_bits(known[name], found[name])
    ]
    for name in different:
        print(f"DIFFERENT: {name}: {known.get(name)} -> {found.get(name)}")
    print(f"{len(different)} arrays differ")
    sys.exit(bool(different))


def _numbered(found):
    """Return the arrays by names that a zip file's entries may have."""
    return {f"a{i}": value for i, value in enumerate(found.values())}


if __name__ == "__main__":
    main()
