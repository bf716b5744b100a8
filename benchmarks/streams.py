"""Streams against fits of the same rows: errors, jumps, and the cost of a call.

    python benchmarks/streams.py                 # all of it, some minutes
    python benchmarks/streams.py errors --n 20000

``errors``: for each main kind of ``problems.py``, the error of a stream in chunks over
that of ``fit`` on the same rows. ``designs``: the rows of ``designs.py`` again and
again in shuffled chunks; standard errors between a stream and ``fit``. ``wide``: 5,000
sparse or 2,000 dense features. ``jump``: the coefficients jump half-way; the error over
that of a stream that begins there. ``river``: single rows with drift, outliers and
features in raw units, beside SGD behind an online scaler and the linear models of
river, where that is installed. ``cost``: time of a call over SGDRegressor's.
"""

import argparse
import time
import warnings
from functools import partial

import designs as designs_of_users
import numpy as np
import scipy.sparse as sp
from problems import MAIN, error, regression
from sklearn.linear_model import SGDRegressor
from sklearn.preprocessing import StandardScaler

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


def designs(n, n_seeds):
    """Print how far streams are from fits, in standard errors of all rows."""
    for name in designs_of_users.DESIGNS:
        gaps = []
        for seed in range(n_seeds):
            design = designs_of_users.draw(name, seed)
            rng = np.random.default_rng(seed)
            rows = rng.permutation(np.arange(n) % len(design.y))
            X, y = design.X[rows], design.y[rows]
            fit = MedianSGDRegressor(random_state=seed).fit(X, y)
            stream = feed(MedianSGDRegressor(random_state=seed), X, y)
            good = X[~design.bad[rows]]
            gap = stream.predict(good) - fit.predict(good)
            residual = (y - fit.predict(X))[~design.bad[rows]]
            gaps.append(np.sqrt(gap @ gap / (X.shape[1] + 1)) / residual.std())
        print(f"{name:22s}" + "".join(f"{gap:9.3f}" for gap in gaps), flush=True)


def wide(n_seeds):
    """Print errors of streams of wide models over those of fits."""
    for kind, n, d in (("sparse", 20_000, 5000), ("dense", 10_000, 2000)):
        for seed in range(n_seeds):
            rng = np.random.default_rng(seed)
            if kind == "dense":
                X = rng.standard_normal((n, d))
            else:
                entries = rng.standard_normal(20 * n), rng.integers(0, d, 20 * n)
                X = sp.csr_array((*entries, np.arange(0, 20 * n + 1, 20)), shape=(n, d))
                X.sum_duplicates()
            coef = rng.standard_normal(d)
            y = X @ coef + rng.standard_normal(n) + 100 * (rng.random(n) < 0.1)
            fit, stream = (
                np.linalg.norm(model.coef_ - coef)
                for model in (
                    MedianSGDRegressor(random_state=seed).fit(X, y),
                    feed(MedianSGDRegressor(random_state=seed), X, y),
                )
            )
            print(
                f"{kind}, {d} features: {stream / fit:.2f} times the error", flush=True
            )


class OneByOne:
    """A model that learns single rows, behind what it is called through."""

    def __init__(self, predict, learn):
        self.predict, self.learn = predict, learn


def one_by_one(half_life):
    """Models that learn single rows, by name."""
    ours = MedianSGDRegressor(half_life=half_life, random_state=0)
    sgd = SGDRegressor("huber", epsilon=1.345, learning_rate="constant", random_state=0)
    scaler = StandardScaler()

    def learn_scaled(x, y):
        sgd.partial_fit(scaler.partial_fit([x]).transform([x]), [y])

    models = {
        "MedianSGDRegressor": OneByOne(
            lambda x: ours.predict([x])[0], lambda x, y: ours.partial_fit([x], [y])
        ),
        "StandardScaler, SGDRegressor": OneByOne(
            lambda x: sgd.predict(scaler.transform([x]))[0], learn_scaled
        ),
    }
    try:
        from river import linear_model, optim, preprocessing
    except ImportError:
        print("river is not installed")
        return models
    for name, model in {
        "river LinearRegression": linear_model.LinearRegression(
            optimizer=optim.SGD(0.01), loss=optim.losses.Huber()
        ),
        "river PARegressor": linear_model.PARegressor(),
    }.items():
        piped = preprocessing.StandardScaler() | model
        models[name] = OneByOne(
            lambda x, piped=piped: piped.predict_one(dict(enumerate(x))),
            lambda x, y, piped=piped: piped.learn_one(dict(enumerate(x)), y),
        )
    return models


def river(n=20_000, d=10):
    """Print errors and times of models that learn single rows."""
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((n, d))
    X = Z * 10.0 ** rng.uniform(-2, 2, d) + 1
    coef = rng.standard_normal(d) + np.cumsum(
        0.005 * rng.standard_normal((n, d)), axis=0
    )
    clean = np.einsum("ij,ij->i", Z, coef)
    y = clean + rng.standard_normal(n) + 100 * (rng.random(n) < 0.1)
    for name, model in one_by_one(half_life=250).items():
        errors, start = [], time.process_time()
        for k in range(n):
            if k >= n // 2:
                errors.append(model.predict(X[k]) - clean[k])
            model.learn(X[k], y[k])
        seconds = time.process_time() - start
        typical, large = np.quantile(np.abs(errors), [0.5, 0.9])
        print(
            f"{name:30s} error {typical:7.3f}, a tenth above {large:7.3f}, "
            f"{1e3 * seconds / n:.2f} ms a row",
            flush=True,
        )


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
                start = time.process_time()
                feed(model, X[:n], y[:n], chunk)
                row.append((time.process_time() - start) / (n / chunk))
            seconds.append(row)
        ours, theirs = np.median(seconds, axis=0)
        print(
            f"chunks of {chunk}: {1e3 * ours:.2f} ms a call, SGDRegressor "
            f"{1e3 * theirs:.2f} ms, {ours / theirs:.1f} times",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", help="parts; all by default")
    parser.add_argument("--n", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    # SGDRegressor's overflows are not the subject.
    warnings.simplefilter("ignore")
    parts = {
        "errors": partial(errors, args.n, args.seeds),
        "designs": partial(designs, 20_000, args.seeds),
        "wide": partial(wide, args.seeds),
        "jump": partial(jump, 40_000, args.seeds),
        "river": river,
        "cost": cost,
    }
    for name, part in parts.items():
        if name in (args.what or parts):
            part()


if __name__ == "__main__":
    main()
