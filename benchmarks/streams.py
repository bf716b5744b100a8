"""Streams against fits of the same rows: errors, a jump, and the cost of a call.

    python benchmarks/streams.py                 # all of it, some minutes
    python benchmarks/streams.py errors --n 20000

``errors``: for each main kind of ``problems.py``, the error of a stream in chunks over
that of ``fit`` on the same rows. ``jump``: the coefficients jump half-way; the error
over that of a stream that begins there. ``cost``: time of a call over SGDRegressor's.
"""

import argparse
import time
import warnings

import numpy as np
from problems import MAIN, error, regression
from sklearn.linear_model import SGDRegressor

from medsgd import MedianSGDRegressor

CHUNK, D = 500, 20


def feed(model, X, y, chunk=CHUNK):
    for first in range(0, len(y), chunk):
        model.partial_fit(X[first : first + chunk], y[first : first + chunk])
    return model


def errors(sizes, n_seeds):
    """Print errors of streams, of the median alone and of fits."""
    print(f"{'':10s}{'rows':>8s}{'fit':>9s}{'stream':>9s}{'median':>9s}  stream / fit")
    for n in sizes:
        for kind in MAIN:
            rows = []
            for seed in range(n_seeds):
                problem = regression(kind, seed, n=n)
                X, y = problem.X, problem.y
                models = [
                    MedianSGDRegressor(random_state=seed).fit(X, y),
                    feed(MedianSGDRegressor(random_state=seed), X, y),
                    feed(MedianSGDRegressor(random_state=seed, refine=False), X, y),
                ]
                rows.append([error(m.coef_, m.intercept_[0], problem) for m in models])
            rows = np.array(rows)
            ratios = " ".join(f"{r:.3f}" for r in rows[:, 1] / rows[:, 0])
            figures = "".join(f"{e:9.4f}" for e in np.median(rows, axis=0))
            print(f"{kind:10s}{n:8d}{figures}  {ratios}", flush=True)


def jump(n, n_seeds):
    """Print errors after a jump, over those of streams that begin there."""
    for seed in range(n_seeds):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((n, D))
        before, after = rng.standard_normal((2, D))
        y = 2 + rng.standard_normal(n) + 100 * (rng.random(n) < 0.1)
        half = n // 2
        y[:half] += X[:half] @ before
        y[half:] += X[half:] @ after
        far = feed(MedianSGDRegressor(random_state=seed), X, y).coef_ - after
        anew = feed(MedianSGDRegressor(random_state=seed), X[half:], y[half:])
        ratio = np.linalg.norm(far) / np.linalg.norm(anew.coef_ - after)
        print(f"jump, seed {seed}: {ratio:.2f} times the error", flush=True)


def cost(n_rows=100_000, n_rounds=5):
    """Print the time of calls, interleaved with those of SGDRegressor."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, D))
    y = X @ rng.standard_normal(D) + rng.standard_normal(n_rows)
    for chunk, n in ((1, 2000), (100, 20_000), (1000, n_rows)):
        seconds = []
        for _ in range(n_rounds):
            row = []
            for model in (MedianSGDRegressor(), SGDRegressor()):
                feed(model, X[:5000], y[:5000])
                start = time.perf_counter()
                feed(model, X[:n], y[:n], chunk)
                row.append((time.perf_counter() - start) / (n / chunk))
            seconds.append(row)
        ours, theirs = np.min(seconds, axis=0)
        print(
            f"chunks of {chunk}: {1e3 * ours:.2f} ms a call, SGDRegressor "
            f"{1e3 * theirs:.2f} ms, {ours / theirs:.1f} times",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", default=["errors", "jump", "cost"])
    parser.add_argument("--n", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    # SGDRegressor's overflows are not the subject.
    warnings.simplefilter("ignore")
    if "errors" in args.what:
        errors(args.n, args.seeds)
    if "jump" in args.what:
        jump(40_000, args.seeds)
    if "cost" in args.what:
        cost()


if __name__ == "__main__":
    main()
