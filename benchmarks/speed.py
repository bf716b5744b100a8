"""Speed and memory of medsgd beside scikit-learn's SGD, timed in turn.

Run as ``python benchmarks/speed.py [section ...]``; ``--help`` lists the options and
benchmarks/README.md tells how to read the output. Everything but ``n_jobs=2`` runs on
one thread.
"""

import argparse
import tracemalloc
import warnings
from functools import partial
from time import perf_counter
from timeit import timeit

import matplotlib.pyplot as plt
import numpy as np
import scipy.sparse as sp
import statsmodels.api as sm
from problems import error, regression
from robustness import attempt, print_table, shown, sklearn_fit
from sklearn.linear_model import (
    HuberRegressor,
    RANSACRegressor,
    SGDClassifier,
    SGDRegressor,
)
from threadpoolctl import threadpool_limits

from medsgd import MedianSGDClassifier, MedianSGDRegressor

ESTIMATORS = ["mean", "coord-median", "geometric-median", "spp-l1", "spp-l2"]
DTYPES = ["float64", "float32"]
SHAPES = [(400_000, 10), (100_000, 50), (20_000, 200), (4_000, 1000)]
SPARSE_FEATURES = [10_000, 100_000, 1_000_000]
NONZEROS = 50
N_CLASSES = [2, 3, 10]
ACCURACY_ROWS = [10_000, 100_000, 1_000_000]
# Values of max_iter to try for a given error.
LADDER = [1, 2, 4, 8, 16, 32, 64]
# Where the figure has ticks.
SPEEDS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20]


def regressor(name, **params):
    """A constructor of our regressor without its refinement, but for its epochs."""
    return partial(
        MedianSGDRegressor,
        gradient_estimator=name,
        refine=False,
        random_state=0,
        **params,
    )


def sgd(**params):
    return partial(SGDRegressor, random_state=0, **params)


def classifier(name, **params):
    return partial(
        MedianSGDClassifier, gradient_estimator=name, random_state=0, **params
    )


SGD_CLASSIFIER = partial(SGDClassifier, loss="log_loss", random_state=0)
# Ours and scikit-learn's constructor, which has no momentum.
SPARSE_SETTINGS = {
    **{name: (regressor(name), sgd()) for name in ESTIMATORS},
    "mean, momentum=0.9": (regressor("mean", momentum=0.9), sgd()),
    **{
        f"{name}, {penalty}": (regressor(name, penalty=penalty), sgd(penalty=penalty))
        for name, penalty in (("spp-l2", "l1"), ("spp-l2", "elasticnet"))
    },
}


def dense_rows(rng, n, d):
    """Rows of norm near 1, for which the steps of SGD's default are stable."""
    return rng.standard_normal((n, d)) / np.sqrt(d)


def sparse_rows(rng, n, d):
    """CSR rows of norm near 1: one entry in each of equal ranges of columns."""
    width = d // NONZEROS
    columns = rng.integers(width, size=(n, NONZEROS)) + width * np.arange(NONZEROS)
    data = rng.standard_normal(columns.size) / np.sqrt(NONZEROS)
    indptr = np.arange(0, columns.size + 1, NONZEROS)
    indices = columns.ravel().astype(np.int32)
    return sp.csr_array((data, indices, indptr.astype(np.int32)), shape=(n, d))


def with_targets(X, rng):
    return X, X @ rng.standard_normal(X.shape[1]) + rng.standard_normal(X.shape[0])


def with_labels(X, rng, n_classes):
    """The data of a multinomial logistic model."""
    logits = 5 * X @ rng.standard_normal((X.shape[1], n_classes))
    return X, np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)


def seconds(call):
    start = perf_counter()
    call()
    return perf_counter() - start


def epoch(make, X, y, args):
    """A function that times an epoch of the estimator that ``make`` constructs.

    That is the time of a fit of k + 1 epochs, less that of a fit of one, over k. The k
    epochs take ``args.span`` seconds or, where the rest of a fit takes longer, as long
    as that, up to 8 times ``args.span``.
    """

    def fit(max_iter):
        return seconds(lambda: make(max_iter=max_iter, tol=None).fit(X, y))

    k = 1
    while True:
        once = fit(1)
        span = fit(1 + k) - once
        enough = np.clip(once, args.span, 8 * args.span)
        if span >= enough:
            return lambda: (fit(1 + k) - fit(1)) / k
        k = int(np.clip(1.2 * k * enough / max(span, 1e-9), k + 1, 16 * k))


def product(X):
    """A function that times ``X @ w``."""
    w = np.ones(X.shape[1], X.dtype)
    return lambda: timeit(lambda: X @ w, number=5) / 5


def in_turn(timers, n):
    """Seconds by the timers, one after another, n times: a row per timer."""
    return np.array([[timer() for timer in timers] for _ in range(n)]).T


def compare(ours, theirs, data, args):
    """Seconds of epochs, ours and theirs, and of ``X @ w``, each of (data, pairs)."""
    timers = [
        timer
        for X, y in data
        for timer in (
            epoch(ours, X, y, args),
            epoch(theirs, X, y, args),
            product(X),
        )
    ]
    times = in_turn(timers, args.pairs)
    return times[0::3], times[1::3], times[2::3]


def ranged(values):
    """The median of ratios, and their range."""
    return f"{np.median(values):.2f} ({np.min(values):.2f}-{np.max(values):.2f})"


def yardstick_rows(theirs, products):
    """SGD's epoch, medians over all pairs, in milliseconds and in products."""
    milliseconds = np.median(1e3 * theirs, axis=-1)
    in_products = np.median(theirs / products, axis=-1)
    return [
        ["SGDRegressor, ms", *map(shown, milliseconds)],
        ["SGDRegressor over X @ w", *map(shown, in_products)],
    ]


def dense(args):
    """An epoch over dense rows."""
    shapes = [(n // args.shrink, d) for n, d in SHAPES]
    # By estimator, shape, dtype and pair.
    ours, theirs, products = np.empty((3, 5, len(shapes), 2, args.pairs))
    for s, (n, d) in enumerate(shapes):
        rng = np.random.default_rng(0)
        X, y = with_targets(dense_rows(rng, n, d), rng)
        data = [(X.astype(dtype), y.astype(dtype)) for dtype in DTYPES]
        for e, name in enumerate(ESTIMATORS):
            ours[e, s], theirs[e, s], products[e, s] = compare(
                regressor(name), sgd(), data, args
            )
    ratios = theirs / ours
    header = ["", *(f"{n} x {d}" for n, d in shapes)]
    for t, dtype in enumerate(DTYPES):
        rows = [header]
        for name, by_shape in zip(ESTIMATORS, ratios[:, :, t], strict=True):
            rows.append([name, *map(ranged, by_shape)])
        by_shape = [np.hstack(a[:, :, t]) for a in (theirs, products)]
        rows += yardstick_rows(*by_shape)
        title = f"Epochs, dense {dtype}: times as fast as SGDRegressor"
        print_table(f"{title}, {args.pairs} pairs", rows, args.markdown)
    rows = [header]
    for name, times in [*zip(ESTIMATORS, ours, strict=True), ("SGD", theirs[-1])]:
        rows.append([name, *map(ranged, times[:, 0] / times[:, 1])])
    print_table("Epochs, dense: float64's time over float32's", rows, args.markdown)
    return {
        f"dense {dtype}": ([d for _, d in shapes], np.median(ratios[:, :, t], axis=-1))
        for t, dtype in enumerate(DTYPES)
    }


def sparse(args):
    """An epoch over CSR rows."""
    n = 50_000 // args.shrink
    data = []
    for d in args.sparse_features:
        rng = np.random.default_rng(0)
        data.append(with_targets(sparse_rows(rng, n, d), rng))
    rows = [["", *(f"d={d}" for d in args.sparse_features), "growth over SGD's"]]
    plain, curves = [], []
    for name, (make, make_theirs) in SPARSE_SETTINGS.items():
        ours, theirs, products = compare(make, make_theirs, data, args)
        growth = (ours[-1] / ours[0]) / (theirs[-1] / theirs[0])
        rows.append([name, *map(ranged, theirs / ours), ranged(growth)])
        if name in ESTIMATORS:
            plain.append((theirs, products))
            curves.append(np.median(theirs / ours, axis=1))
    theirs, products = map(np.hstack, zip(*plain, strict=True))
    rows += [[*row, ""] for row in yardstick_rows(theirs, products)]
    title = f"Epochs, CSR, n={n}, {NONZEROS} a row: times as fast as SGDRegressor"
    print_table(f"{title}, {args.pairs} pairs", rows, args.markdown)
    return {"sparse float64": (args.sparse_features, np.array(curves))}


def classes(args):
    """An epoch of the classifier, by the number of classes."""
    n, d = 20_000 // args.shrink, 50
    one, two = [], []
    for n_classes in N_CLASSES:
        rng = np.random.default_rng(0)
        X, y = with_labels(dense_rows(rng, n, d), rng, n_classes)
        times = [
            in_turn(
                [
                    epoch(make, X, y, args)
                    for make in (
                        SGD_CLASSIFIER,
                        classifier(name, n_jobs=1),
                        classifier(name, n_jobs=2),
                    )
                ],
                args.pairs,
            )
            for name in ESTIMATORS
        ]
        one.append([ranged(theirs / ours) for theirs, ours, _ in times])
        two.append([ranged(ours / parallel) for _, ours, parallel in times])
    header = ["", *(f"{n_classes} classes" for n_classes in N_CLASSES)]
    for title, columns in [
        ("times as fast as SGDClassifier(log_loss)", one),
        ("n_jobs=2, times as fast as n_jobs=1", two),
    ]:
        rows = [header, *map(list, zip(ESTIMATORS, *columns, strict=True))]
        title = f"Epochs, n={n}, d={d}: {title}, {args.pairs} pairs"
        print_table(title, rows, args.markdown)


def small(args):
    """A whole fit of little data."""
    problems = [regression("gauss", seed, 100, d=5) for seed in range(args.repeats)]
    for title, params in [
        ("default parameters", {}),
        ("tol=None, 1000 epochs", {"tol": None}),
    ]:
        rows = [["", "times as fast", "ms", "epochs"]]
        for name in ESTIMATORS:
            times, epochs = [], []
            for problem in problems:
                pair = [regressor(name, **params)(), sgd(**params)()]
                times.append(
                    [seconds(partial(est.fit, problem.X, problem.y)) for est in pair]
                )
                epochs.append([est.n_iter_ for est in pair])
            ratio = ranged(np.array(times)[:, 1] / np.array(times)[:, 0])
            ms, n_iter = np.median(times, axis=0) * 1e3, np.median(epochs, axis=0)
            rows.append([name, ratio, shown(ms[0]), f"{n_iter[0]:.0f}"])
        rows.append(["SGDRegressor", "", shown(ms[1]), f"{n_iter[1]:.0f}"])
        title = f"Whole fits of 100 x 5, refine=False, {title}"
        print_table(f"{title}, median of {args.repeats}", rows, args.markdown)


def peak(make, X, y):
    """Bytes that a short fit has allocated at its peak, beyond X and y."""
    make(max_iter=1).fit(X[:100], y[:100])  # what only a first fit allocates
    est = make(max_iter=4, tol=None)
    tracemalloc.start()
    est.fit(X, y)
    size = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return size


def megabytes(size):
    return f"{size / 1e6:.1f}"


def memory(args):
    """Peak memory of regressors and classifiers, and how it grows."""
    n, d = 400_000 // args.shrink, 10
    regressors = {
        "SGDRegressor": sgd(),
        **{name: regressor(name) for name in ESTIMATORS},
        "spp-l2, refine=True": partial(MedianSGDRegressor, random_state=0),
    }
    rng = np.random.default_rng(0)
    data = {
        f"{rows} x {columns}": with_targets(dense_rows(rng, rows, columns), rng)
        for rows, columns in [(n, d), (2 * n, d), (n, 2 * d)]
    }
    sizes = [(X.nbytes + y.nbytes) / 1e6 for X, y in data.values()]
    rows = [["MB", *data, "bytes a sample"]]
    rows.append(["X and y", *(f"{size:.1f}" for size in sizes), ""])
    for name, make in regressors.items():
        peaks = [peak(make, X, y) for X, y in data.values()]
        per_sample = (peaks[1] - peaks[0]) / n
        rows.append([name, *map(megabytes, peaks), f"{per_sample:.0f}"])
    title = "Peak memory beyond X and y, regressors, dense float64"
    print_table(title, rows, args.markdown)

    n_wide, d_wide, n_long = 1000, 100_000, 10_000
    wide, long = sparse_rows(rng, n_wide, d_wide), dense_rows(rng, n_long, 5)
    classifiers = {
        "SGDClassifier": SGD_CLASSIFIER,
        **{name: classifier(name) for name in ESTIMATORS},
    }
    rows = [["MB", "2", "10", "20", "bytes a class x feature", "a class x sample"]]
    for name, make in classifiers.items():
        peaks = [peak(make, *with_labels(wide, rng, k)) for k in (2, 10, 20)]
        per_feature = (peaks[2] - peaks[1]) / (10 * d_wide)
        of_long = [peak(make, *with_labels(long, rng, k)) for k in (10, 20)]
        per_sample = (of_long[1] - of_long[0]) / (10 * n_long)
        slopes = [f"{per_feature:.0f}", f"{per_sample:.0f}"]
        rows.append([name, *map(megabytes, peaks), *slopes])
    title = f"Peak memory beyond X and y by classes, CSR {n_wide} x {d_wide}"
    print_table(title, rows, args.markdown)


class RLM:
    """statsmodels' RLM with the bisquare, as an estimator."""

    def __init__(self, max_iter=50):
        self.max_iter = max_iter

    def fit(self, X, y):
        X, norm = sm.add_constant(X), sm.robust.norms.TukeyBiweight()
        params = sm.RLM(y, X, M=norm).fit(maxiter=self.max_iter).params
        self.coef_, self.intercept_ = params[1:], params[0]
        return self


REGRESSORS = {
    "medsgd, default": partial(MedianSGDRegressor, random_state=0),
    "HuberRegressor": HuberRegressor,
    "RANSACRegressor": partial(RANSACRegressor, random_state=0),
    "statsmodels RLM bisquare": RLM,
    "SGDRegressor(huber)": sgd(loss="huber", epsilon=1.35),
}
# It takes no number of iterations that would change its accuracy.
NOT_ITERATIVE = {"RANSACRegressor"}


def error_and_seconds(make, problem, repeats):
    """The error of a fit, and the median time of a few."""
    fit = sklearn_fit(lambda seed: make())
    fits = [attempt(fit, problem.X, problem.y) for _ in range(repeats)]
    return error(*fits[0][:2], problem), np.median([time for *_, time in fits])


def accuracy(args):
    """The time to an error of twice the standard error."""
    for n in args.accuracy_rows:
        problem = regression("y10asym", seed=0, n=n)
        repeats = min(args.pairs, max(1, 500_000 // n))
        # Of least squares on the clean rows, whose features and noise have variance 1.
        norm = np.linalg.norm(problem.truth)
        target = 2 * np.sqrt(len(problem.truth) / problem.clean.sum()) / norm
        rows = [["", "error", "over target", "fit s", "max_iter to target", "s"]]
        for name, make in REGRESSORS.items():
            value, time = error_and_seconds(make, problem, repeats)
            reached = ["", shown(time)] if value <= target else ["never", ""]
            for max_iter in () if name in NOT_ITERATIVE else LADDER:
                limited = partial(make, max_iter=max_iter)
                first, first_time = error_and_seconds(limited, problem, repeats)
                if first <= target:
                    reached = [str(max_iter), shown(first_time)]
                    break
            row = [name, shown(value), shown(value / target), shown(time)]
            rows.append([*row, *reached])
        title = f"y10asym, n={n}: error and seconds, target error {target:.2g}"
        print_table(title, rows, args.markdown)


def figure(curves, path):
    """Draw the speed relative to SGD against the number of features."""
    fig, axes = plt.subplots(
        1,
        len(curves),
        figsize=(1 + 3.7 * len(curves), 4.2),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for ax, (title, (features, ratios)) in zip(axes[0], curves.items(), strict=True):
        ax.axhline(1, color="black", linewidth=1)
        for name, marker, curve in zip(ESTIMATORS, "os^Dv", ratios, strict=True):
            ax.loglog(features, curve, marker=marker, markersize=4, label=name)
        ax.set(title=title, xlabel="features")
        ax.set_xticks(features, [f"{d:,}" for d in features])
        ax.minorticks_off()
        ax.title.set_size("medium")
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    lowest, highest = axes[0, 0].get_ylim()
    ticks = [t for t in SPEEDS if lowest <= t <= highest]
    axes[0, 0].set_yticks(ticks, [f"{t:g}" for t in ticks])
    axes[0, 0].set_ylabel("times as fast as SGDRegressor")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
    fig.savefig(path, dpi=150)
    print(f"Wrote {path}")


SECTIONS = {f.__name__: f for f in (dense, sparse, classes, small, memory, accuracy)}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "sections", nargs="*", choices=[*SECTIONS, "all"], default="all"
    )
    parser.add_argument("--quick", action="store_true", help="small data, 2 pairs")
    parser.add_argument("--pairs", type=int, help="pairs of fits, by default 5")
    parser.add_argument("--figure", metavar="PATH", help="draw the ratios of epochs")
    parser.add_argument("--markdown", action="store_true", help="print markdown")
    args = parser.parse_args()
    if "all" in args.sections:
        args.sections = list(SECTIONS)
    args.pairs = args.pairs or (2 if args.quick else 5)
    if args.figure and not {"dense", "sparse"} & {*args.sections}:
        parser.error("--figure draws what the sections dense and sparse measure")
    args.repeats = 3 if args.quick else 21
    args.shrink = 20 if args.quick else 1
    args.span = 0.003 if args.quick else 0.1
    args.sparse_features = SPARSE_FEATURES[: 2 if args.quick else 3]
    args.accuracy_rows = ACCURACY_ROWS[: 1 if args.quick else 3]
    return args


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    args = arguments()
    curves = {}
    with threadpool_limits(1):
        for section in args.sections:
            curves |= SECTIONS[section](args) or {}
    if args.figure:
        figure(curves, args.figure)
