"""Time, error and memory of default fits, beside least squares and HuberRegressor.

Run as ``python benchmarks/time_to_answer.py [SHAPE ...]``, a shape being ``5000x20``;
``--help`` lists the options and benchmarks/README.md tells how to read the output. A
tenth of the targets is shifted by 100. Everything runs on one thread.
"""

import argparse
import os
import subprocess
import sys
import tracemalloc
import warnings
from functools import partial
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
from problems import error, regression
from robustness import print_table
from sklearn.linear_model import (
    HuberRegressor,
    LinearRegression,
    SGDRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import medsgd

try:
    from pylmrob import LmRob
except ImportError:
    LmRob = None

KIND = "y10asym"
# Rows, columns, and the time over HuberRegressor's that ours should not exceed.
SHAPES = {
    (100, 5): 2.5,
    (442, 10): 2.5,
    (5000, 20): 1.5,
    (20_000, 300): 5.0,
    (2000, 200): 15.0,
    (100_000, 10): 1.0,
    (100_000, 100): 1.0,
    (1_000_000, 20): 1.0,
}
ERROR_LIMIT = 1.07  # Over that of least squares on the good rows.
BEFORE_LIMIT = 2.5  # Time over that of another checkout.
OURS, BEFORE, HUBER, OLS = "medsgd", "before", "HuberRegressor", "LinearRegression"
SGD, PYLMROB = "SGDRegressor", "pylmrob"


def memory_limit(n, d):
    """Bytes beyond X and y that a fit may need at its peak."""
    return 64e6 + 40 * d**2 + 100 * n


def ours():
    return medsgd.MedianSGDRegressor(random_state=0)


def sgd():
    scaled = SGDRegressor(loss="huber", epsilon=1.35, random_state=0)
    return make_pipeline(StandardScaler(), scaled)


class Pylmrob:
    """pylmrob's estimator, which keeps its coefficients in a result."""

    def fit(self, X, y):
        coef = np.asarray(LmRob().fit(X, y, seed=0).result_.coefficients_)
        self.intercept_, self.coef_ = coef[0], coef[1:]
        return self


MAKERS = {
    OURS: ours,
    HUBER: HuberRegressor,
    OLS: LinearRegression,
    SGD: sgd,
    PYLMROB: Pylmrob,
}


def timed(make, X, y, clock=perf_counter):
    """Seconds of a fit."""
    est = make()
    start = clock()
    est.fit(X, y)
    return clock() - start


def coefficients(est):
    """Coefficients and intercept, in the units of X."""
    if not hasattr(est, "steps"):
        return est.coef_, np.ravel(est.intercept_)[0]
    scaler, model = est[0], est[-1]
    coef = model.coef_ / scaler.scale_
    return coef, np.ravel(model.intercept_)[0] - coef @ scaler.mean_


def huber(X, y):
    """A constructor of HuberRegressor, with more iterations where it needs them."""
    for max_iter in (100, 1000, 10_000):
        make = partial(HuberRegressor, max_iter=max_iter)
        if make().fit(X, y).n_iter_ < max_iter:
            break
    return make


def relative_error(make, n, d):
    """Error over that of least squares on the good rows, both over some draws."""
    squares = np.zeros(2)
    for seed in range(int(np.clip(1e6 / (n * d), 1, 20))):
        problem = regression(KIND, seed, n, d)
        good = problem.clean
        oracle = LinearRegression().fit(problem.X[good], problem.y[good])
        fits = (make().fit(problem.X, problem.y), oracle)
        squares += [error(*coefficients(est), problem) ** 2 for est in fits]
    return np.sqrt(squares[0] / squares[1])


class Worker:
    """A process that fits on demand, with the package of another checkout."""

    def __init__(self, checkout, options):
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", *options],
            env=os.environ | {"PYTHONPATH": str(Path(checkout).resolve())},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.path = self.ask("where")

    def ask(self, *words):
        print(*words, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline().strip()
        if not answer:
            sys.exit(f"The process of the other checkout failed at {words}")
        return answer

    def draw(self, n, d):
        self.ask("draw", n, d)

    def seconds(self):
        return float(self.ask("fit"))


def work(args):
    """Answer the questions of a Worker until they end."""
    for line in sys.stdin:
        match line.split():
            case ["where"]:
                answer = medsgd.__file__
            case ["draw", n, d]:
                problem = regression(KIND, 0, int(n), int(d))
                answer = "drawn"
            case ["fit"]:
                answer = timed(ours, problem.X, problem.y, args.clock)
        print(answer, flush=True)


def resident(field):
    """Bytes of resident memory now (VmRSS) or at the peak (VmHWM); on Linux."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return 1024 * int(line.split()[1])


def print_peak(n, d):
    """Print the resident bytes, then the traced ones, that a fit adds at its peak."""
    small = regression(KIND, 0, 50, d=2)
    timed(ours, small.X, small.y)  # Imports and set-up happen before the timing.
    problem = regression(KIND, 0, n, d)
    X, y = problem.X, problem.y
    del problem
    peaks = [np.nan, np.nan]
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")
        start = resident("VmRSS")
        timed(ours, X, y)
        peaks[0] = resident("VmHWM") - start
    tracemalloc.start()
    start = tracemalloc.get_traced_memory()[0]
    timed(ours, X, y)
    peaks[1] = tracemalloc.get_traced_memory()[1] - start
    print(*peaks)


def peak(n, d):
    """Peaks of resident and of traced memory, in a process of their own."""
    run = subprocess.run(
        [sys.executable, __file__, "--peak", f"{n}x{d}"],
        check=True,
        capture_output=True,
        text=True,
    )
    return [float(word) for word in run.stdout.split()]


def verdict(value, limit):
    return f"{value:.2f} {'<=' if value <= limit else '> '} {limit:g}"


def compare(n, d, args, before):
    """A row of the table: medians of the seconds, and of the ratios of each turn."""
    problem = regression(KIND, 0, n, d)
    makers = {name: MAKERS[name] for name in args.names}
    makers[HUBER] = huber(problem.X, problem.y)
    fits = {
        name: lambda make=make: timed(make, problem.X, problem.y, args.clock)
        for name, make in makers.items()
        if name != PYLMROB or n * d <= 1e5
    }
    if before:
        before.draw(n, d)
        fits[BEFORE] = before.seconds
    for fit in fits.values():  # The first fit of a process or a shape is not typical.
        fit()
    turns = [{name: fit() for name, fit in fits.items()} for _ in range(args.repeats)]

    def ratio(name):
        return np.median([turn[OURS] / turn[name] for turn in turns])

    row = [f"{n} x {d}"]
    for name in args.names:
        seconds = [turn.get(name, np.nan) for turn in turns]
        row.append(f"{1e3 * np.median(seconds):.2f}" if name in fits else "-")
    iterations = makers[HUBER]().fit(problem.X, problem.y).n_iter_
    row += [
        f"{iterations}",
        verdict(ratio(HUBER), SHAPES.get((n, d), np.nan)),
        f"{ratio(OLS):.2f}",
    ]
    if before:
        row.append(verdict(ratio(BEFORE), BEFORE_LIMIT))
    row.append(verdict(relative_error(ours, n, d), ERROR_LIMIT))
    row.append(f"{relative_error(makers[HUBER], n, d):.2f}")
    if args.memory:
        bytes_resident, traced = peak(n, d)
        row.append(verdict(bytes_resident / 1e6, round(memory_limit(n, d) / 1e6)))
        row.append(f"{traced / 1e6:.2f}")
    return row


def main(args):
    options = ["--cpu"] if args.cpu else []
    before = Worker(args.before, options) if args.before else None
    print(f"{medsgd.__file__}", f"before: {before.path}" if before else "", sep="\n")
    header = ["n x d", *(f"{name} ms" for name in args.names), "Huber iterations"]
    header += [f"time / {HUBER}", f"time / {OLS}"]
    header += ["time / before"] if before else []
    header += ["error / oracle", f"{HUBER}'s"]
    header += ["peak MB resident", "traced"] if args.memory else []
    rows = [header]
    for n, d in args.shapes:
        print(f"{n} x {d}", file=sys.stderr)
        rows.append(compare(n, d, args, before))
    title = f"Default fits, a tenth of the targets + 100, medians of {args.repeats}"
    print_table(title, rows, args.markdown)


def shape(text):
    n, d = text.split("x")
    return int(n), int(d)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shapes", nargs="*", type=shape, default=list(SHAPES))
    parser.add_argument("--repeats", type=int, default=9, help="by default 9")
    parser.add_argument("--peers", nargs="*", choices=[SGD, PYLMROB], default=[])
    parser.add_argument(
        "--before", metavar="PATH", help="a checkout, built in place, to time in turn"
    )
    parser.add_argument(
        "--cpu",
        action="store_true",
        help="take the processor's time, not the clock's: for a busy machine",
    )
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--markdown", action="store_true", help="print markdown")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--peak", type=shape, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if PYLMROB in args.peers and LmRob is None:
        parser.error("pylmrob is not installed")
    args.clock = process_time if args.cpu else perf_counter
    args.names = [OURS, HUBER, OLS, *args.peers]
    return args


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    args = arguments()
    with threadpool_limits(1):
        if args.worker:
            work(args)
        elif args.peak:
            print_peak(*args.peak)
        else:
            main(args)
