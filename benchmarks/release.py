"""Benchmark of a minute: tasks slower or less accurate than in the last release.

``python benchmarks/release.py`` compares with ``benchmarks/release.json``, which holds
the results of the last release, and exits with 1 if anything is worse. ``--write``
replaces that file. Everything runs on one thread.

A time is that of the processor, over that of a fit of scikit-learn on the same data and
in turn, so that the speed of the machine cancels. An error is over that of the best
that can be had, least squares on the clean rows, and depends on seeds alone.
"""

import argparse
import json
import platform
import sys
import warnings
from pathlib import Path
from time import process_time

import numpy as np
import scipy
import sklearn
from problems import KINDS, MAIN, error, regression
from sklearn.datasets import load_digits
from sklearn.linear_model import (
    HuberRegressor,
    LinearRegression,
    LogisticRegression,
    SGDRegressor,
)
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

import medsgd
from medsgd import MedianSGDClassifier, MedianSGDRegressor

RESULTS = Path(__file__).with_name("release.json")
SLOWER = 1.2  # Ratio of times from which a fit counts as slower.
LESS_ACCURATE = 1.02  # Ratio of errors from which a fit counts as less accurate.
SHAPES = [(442, 10), (5000, 20), (2000, 200), (100_000, 10), (1_000_000, 20)]
ACCURATE_ON = [*MAIN, "ar-y35cluster", "lev20in3", "raw-units", "sparse"]
CHUNK = 500


def regressor():
    return MedianSGDRegressor(random_state=0)


def classifier():
    return MedianSGDClassifier(random_state=0)


def stream(X, y, make=regressor):
    model = make()
    for first in range(0, len(y), CHUNK):
        model.partial_fit(X[first : first + CHUNK], y[first : first + CHUNK])
    return model


def plain_stream(X, y):
    return stream(X, y, lambda: SGDRegressor(random_state=0))


def wrong_digits():
    """Digits for training, a fifth of them with random labels, and for testing."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, random_state=0)
    rng = np.random.default_rng(0)
    y = np.where(rng.random(len(y)) < 0.2, rng.integers(10, size=len(y)), y)
    return X, y, X_test, y_test


def ratio(ours, theirs, repeats):
    """Least processor time of ours over that of theirs, taken in turn."""
    ours(), theirs()
    times = []
    for _ in range(repeats):
        start = process_time()
        ours()
        middle = process_time()
        theirs()
        times.append((middle - start, process_time() - middle))
    least = np.min(times, axis=0)
    return least[0] / least[1]


def times(repeats):
    """Ratios of times by name."""
    found = {}
    for n, d in SHAPES:
        data = regression("y10asym", 0, n, d)
        found[f"fit {n} x {d} / HuberRegressor"] = ratio(
            lambda data=data: regressor().fit(data.X, data.y),
            lambda data=data: HuberRegressor(max_iter=1000).fit(data.X, data.y),
            repeats if n * d < 1e6 else 3,
        )
    data = regression("sparse", 0, 50_000, 500)
    for part in ("indices", "indptr"):  # As scikit-learn wants them.
        setattr(data.X, part, getattr(data.X, part).astype(np.int32))
    epoch = SGDRegressor(max_iter=5, tol=None, random_state=0)
    found["fit sparse / 5 epochs of SGDRegressor"] = ratio(
        lambda: regressor().fit(data.X, data.y),
        lambda: epoch.fit(data.X, data.y),
        3,
    )
    data = regression("y10asym", 0, 20_000, 20)
    found["stream / SGDRegressor"] = ratio(
        lambda: stream(data.X, data.y), lambda: plain_stream(data.X, data.y), repeats
    )
    X, y, *_ = wrong_digits()
    found["fit digits / LogisticRegression"] = ratio(
        lambda: classifier().fit(X, y),
        lambda: LogisticRegression(max_iter=100).fit(X / 16, y),
        repeats,
    )
    return found


def errors(n_seeds=3):
    """Errors by name."""
    found = {}
    for kind in ACCURATE_ON:
        squares = np.zeros(3)
        for seed in range(n_seeds):
            data = regression(kind, seed, 5000, KINDS[kind].d)
            X, y, clean = data.X, data.y, data.clean
            models = [
                LinearRegression().fit(X[clean], y[clean]),
                regressor().fit(X, y),
                stream(X, y),
            ]
            squares += [
                error(m.coef_, np.ravel(m.intercept_)[0], data) ** 2 for m in models
            ]
        oracle, fit, streamed = np.sqrt(squares)
        found[f"fit {kind}"] = fit / oracle
        found[f"stream {kind}"] = streamed / oracle
    X, y, X_test, y_test = wrong_digits()
    clf = classifier().fit(X, y)
    found["digits, 20% random labels, error rate"] = 1 - clf.score(X_test, y_test)
    found["digits, 20% random labels, log loss"] = log_loss(
        y_test, clf.predict_proba(X_test)
    )
    return found


def versions():
    return {
        "medsgd": medsgd.__version__,
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "scipy": scipy.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def compare(before, now):
    """Print all results and what is worse; return whether anything is."""
    print("before:", *(f"{k} {v}" for k, v in before["versions"].items()))
    worse = []
    for part, limit in (("times", SLOWER), ("errors", LESS_ACCURATE)):
        print(f"\n{part:45s}{'before':>9s}{'now':>9s}")
        for name, value in now[part].items():
            old = before[part].get(name, np.nan)
            mark = "  worse" if value > limit * old else ""
            worse += [name] if mark else []
            print(f"{name:45s}{old:9.3f}{value:9.3f}{mark}")
    print(f"\nworse: {', '.join(worse) or 'nothing'}")
    return bool(worse)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="keep these results")
    parser.add_argument("--repeats", type=int, default=9, help="fits per small shape")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    with threadpool_limits(1):
        now = {
            "versions": versions(),
            "times": times(args.repeats),
            "errors": errors(),
        }
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else now
    worse = compare(before, now)
    if args.write:
        for part in ("times", "errors"):
            now[part] = {name: round(float(v), 4) for name, v in now[part].items()}
        RESULTS.write_text(json.dumps(now, indent=2) + "\n")
        print(f"Wrote {RESULTS}")
    return worse and not args.write


if __name__ == "__main__":
    sys.exit(main())
