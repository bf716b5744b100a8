"""Coefficient errors and fit times of robust linear regressions, side by side.

Run as ``python benchmarks/robustness.py [section ...]``; ``--help`` lists the options
and benchmarks/README.md tells how to read the output. Everything runs on one thread.
"""

import argparse
import sys
import warnings
from time import perf_counter

import numpy as np
import scipy.sparse as sp
import statsmodels.api as sm
from designs import DESIGNS, distance, draw
from lmrob import installed, lmrob
from problems import EXTENDED, MAIN, error, real_data, regression
from sklearn.linear_model import (
    HuberRegressor,
    LinearRegression,
    QuantileRegressor,
    RANSACRegressor,
    SGDRegressor,
    TheilSenRegressor,
)
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler
from statsmodels.robust.resistant_linear_model import RLMDetSMM
from threadpoolctl import threadpool_limits

from medsgd import MedianSGDRegressor

try:
    import pylmrob
except ImportError:
    pylmrob = None


def sklearn_fit(make):
    """A fit, ``(X, y, seed) -> (coef, intercept)``, from a constructor by seed."""

    def fit(X, y, seed):
        est = make(seed).fit(X, y)
        est = getattr(est, "estimator_", est)
        return est.coef_, np.ravel(est.intercept_)[0]

    return fit


def statsmodels_fit(make):
    """A fit from a constructor of a statsmodels model, given y and X."""

    def fit(X, y, seed):
        X = sm.add_constant(X, has_constant="add")
        params = np.asarray(make(y, X).fit().params)
        return params[1:], params[0]

    return fit


def scaled(fit):
    """The fit behind a StandardScaler, its result in the units of X."""

    def fit_scaled(X, y, seed):
        scaler = StandardScaler(with_mean=not sp.issparse(X)).fit(X)
        coef, intercept = fit(scaler.transform(X), y, seed)
        coef = coef / scaler.scale_
        return coef, intercept - (coef @ scaler.mean_ if scaler.with_mean else 0)

    return fit_scaled


def ours(**params):
    return sklearn_fit(lambda seed: MedianSGDRegressor(random_state=seed, **params))


def mm(y, X):
    """The MM-estimator of statsmodels; it cannot start from columns of MAD 0."""
    mad = np.median(np.abs(X - np.median(X, axis=0)), axis=0)
    return RLMDetSMM(y, X, col_indices=np.flatnonzero(mad))


def r_fit(X, y, seed):
    """R's lmrob. The time of its fit includes that of starting R."""
    (fit,) = lmrob([(X, y)])
    if isinstance(fit, str):
        raise RuntimeError(fit)
    coef = np.nan_to_num(fit.coef)  # Columns that R drops as collinear.
    return coef[1:], coef[0]


def pylmrob_fit(X, y, seed):
    result = pylmrob.LmRob().fit(X, y, seed=seed).result_
    coef = np.nan_to_num(np.asarray(result.coefficients_))
    return coef[1:], coef[0]


OLS = sklearn_fit(lambda seed: LinearRegression())
HUBER = sklearn_fit(lambda seed: HuberRegressor(max_iter=1000))
HUBER_SGD = sklearn_fit(
    lambda seed: SGDRegressor(loss="huber", epsilon=1.35, random_state=seed)
)
DEFAULT = "medsgd, default"
MM = "statsmodels MM"
FITS = {
    "LinearRegression": OLS,
    "SGDRegressor(huber)": scaled(HUBER_SGD),
    "HuberRegressor": scaled(HUBER),
    "QuantileRegressor (LAD)": sklearn_fit(
        lambda seed: QuantileRegressor(alpha=0, solver="highs")
    ),
    "RANSACRegressor": sklearn_fit(lambda seed: RANSACRegressor(random_state=seed)),
    "TheilSenRegressor": sklearn_fit(
        lambda seed: TheilSenRegressor(max_subpopulation=1000, random_state=seed)
    ),
    "statsmodels RLM bisquare": statsmodels_fit(
        lambda y, X: sm.RLM(y, X, M=sm.robust.norms.TukeyBiweight())
    ),
    MM: scaled(statsmodels_fit(mm)),
    DEFAULT: ours(),
    "medsgd, spp-l1": ours(gradient_estimator="spp-l1"),
    "medsgd, coord-median": ours(gradient_estimator="coord-median"),
    "medsgd, geometric-median": ours(gradient_estimator="geometric-median"),
    "medsgd, refine=False": ours(refine=False),
    "medsgd, bisquare mean": ours(
        loss="bisquare", gradient_estimator="mean", standardize=True
    ),
}
QUICK = ["LinearRegression", "HuberRegressor", DEFAULT]
DENSE_ONLY = {"TheilSenRegressor", "statsmodels RLM bisquare", MM}
DESIGN_FITS = [
    "HuberRegressor",
    "QuantileRegressor (LAD)",
    MM,
    "medsgd, refine=False",
    DEFAULT,
]


def attempt(fit, X, y, seed=0):
    """Coefficients, intercept and seconds; NaN, and the reason, where a fit fails."""
    start = perf_counter()
    try:
        coef, intercept = fit(X, y, seed)
    except Exception as failure:
        print(repr(failure), file=sys.stderr)
        return np.full(X.shape[1], np.nan), np.nan, np.nan
    return coef, intercept, perf_counter() - start


def measure(fit, kind, seeds, n, **options):
    """Errors over seeds, those of least squares on the clean rows, and seconds."""
    errors, oracles, seconds = [], [], []
    for seed in seeds:
        problem = regression(kind, seed, n, **options)
        coef, intercept, time = attempt(fit, problem.X, problem.y, seed)
        errors.append(error(coef, intercept, problem))
        oracle = OLS(problem.X[problem.clean], problem.y[problem.clean], seed)
        oracles.append(error(*oracle, problem))
        seconds.append(time)
    return np.array(errors), np.array(oracles), seconds


def shown(value):
    """Three digits; "fail" for what is not finite."""
    if not np.isfinite(value):
        return "fail"
    return f"{value:.3g}" if value < 1000 else f"{value:.1e}"


def print_table(title, rows, markdown):
    """Print rows of strings, the first of which is the header."""
    print(f"\n{title}\n")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for i, row in enumerate(rows):
        cells = [
            row[0].ljust(widths[0]),
            *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
        ]
        print("| " + " | ".join(cells) + " |" if markdown else "  ".join(cells))
        if markdown and i == 0:
            print("|" + "|".join(["---"] + ["---:"] * (len(row) - 1)) + "|")
    print(flush=True)


def error_table(title, kinds, args, *, relative):
    """A row per estimator, a column per kind, and the median time of a fit."""
    rows = [["", *kinds, "fit s"]]
    for name in args.names:
        row, seconds = [name], []
        for kind in kinds:
            if kind == "sparse" and name in DENSE_ONLY:
                row.append("-")
                continue
            errors, oracles, times = measure(
                FITS[name], kind, range(args.seeds), args.n
            )
            row.append(shown(np.median(errors / oracles if relative else errors)))
            seconds += times
        rows.append([*row, shown(np.nanmedian(seconds))])
    print_table(f"{title}, n={args.n}, median of {args.seeds}", rows, args.markdown)


def table(args):
    error_table("Coefficient error", MAIN, args, relative=False)


def extended(args):
    title = "Coefficient error over that of least squares on the clean rows"
    error_table(title, EXTENDED, args, relative=True)


def slow_peers():
    """Return the installed MM-estimators, which are slow on large problems."""
    peers = {"R lmrob": r_fit} if installed() else {}
    return peers if pylmrob is None else peers | {"pylmrob": pylmrob_fit}


def designs(args):
    """Distances from least squares without outliers, on designs that users have."""
    fits = {name: FITS[name] for name in args.names if name in DESIGN_FITS}
    fits |= {} if args.quick else slow_peers()
    rows = [["", *fits]]
    for name in DESIGNS:
        row = [name]
        for fit in fits.values():
            distances = []
            for seed in range(args.seeds):
                design = draw(name, seed)
                coef, intercept, _ = attempt(fit, design.X, design.y, seed)
                distances.append(distance(design, np.r_[intercept, coef]))
            row.append(shown(np.median(distances)))
        rows.append(row)
    title = "Standard errors from least squares on the good rows"
    print_table(f"{title}, median of {args.seeds}", rows, args.markdown)


def large(args):
    """Time and error where n is large."""
    n, kinds = args.n * 200, ["gauss", "y10asym", "y30asym", "lev10"]
    fits = {"LinearRegression": OLS, "HuberRegressor": HUBER, DEFAULT: FITS[DEFAULT]}
    rows = [["", *(f"{kind} {what}" for kind in kinds for what in ("error", "s"))]]
    for name, fit in fits.items():
        row = [name]
        for kind in kinds:
            errors, _, seconds = measure(fit, kind, [0], n)
            row += [shown(errors[0]), shown(seconds[0])]
        rows.append(row)
    print_table(f"Error and seconds, n={n}", rows, args.markdown)


def held_out_error(fit, X, y, seeds):
    """Median absolute error of 5-fold cross-validated predictions."""
    residuals = []
    for seed in seeds:
        for train, test in KFold(5, shuffle=True, random_state=seed).split(X):
            coef, intercept, _ = attempt(fit, X[train], y[train], seed)
            residuals.append(y[test] - X[test] @ coef - intercept)
    return np.median(np.abs(np.concatenate(residuals)))


def outliers_found(residuals, outliers):
    """Known outliers among residuals above 2.5 scales, and how many others are."""
    if not np.isfinite(residuals).all():
        return "fail"
    sizes = np.abs(residuals)
    found = np.flatnonzero(sizes > 2.5 * np.median(sizes) / 0.6745)
    known = np.isin(found, outliers).sum()
    return f"{known}/{len(outliers)} +{len(found) - known}"


def real(args):
    """Residuals, held-out errors and outliers of real data."""
    data = real_data()
    known = [name for name, d in data.items() if d.outliers is not None]
    within, held_out = {}, {}
    found_rows = [["", *known]]
    for name in dict.fromkeys([MM, *args.names]):
        within[name], held_out[name], found = [], [], []
        for d in data.values():
            coef, intercept, _ = attempt(FITS[name], d.X, d.y)
            residuals = d.y - d.X @ coef - intercept
            within[name].append(np.median(np.abs(residuals)))
            held_out[name].append(
                held_out_error(FITS[name], d.X, d.y, range(args.seeds))
            )
            if d.outliers is not None:
                found.append(outliers_found(residuals, d.outliers))
        found_rows.append([name, *found])
    for title, values, unit in [
        ("Median absolute residual over MM's", within, MM),
        ("Median absolute held-out error over OLS's", held_out, "LinearRegression"),
    ]:
        rows = [["", *data]]
        for name, row in values.items():
            rows.append([name, *map(shown, np.divide(row, values[unit]))])
        print_table(title, rows, args.markdown)
    title = "Outliers found, of those the literature names, + others"
    print_table(title, found_rows, args.markdown)


SECTIONS = {f.__name__: f for f in (table, extended, designs, large, real)}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "sections", nargs="*", choices=[*SECTIONS, "all"], default="all"
    )
    parser.add_argument("--quick", action="store_true", help="n=1000, 3 fits, 1 seed")
    parser.add_argument("--seeds", type=int, help="problems per number, by default 3")
    parser.add_argument("--markdown", action="store_true", help="print markdown")
    args = parser.parse_args()
    if "all" in args.sections:
        args.sections = list(SECTIONS)
    args.names = QUICK if args.quick else list(FITS)
    args.n = 1000 if args.quick else 5000
    args.seeds = args.seeds or (1 if args.quick else 3)
    return args


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    args = arguments()
    with threadpool_limits(1):
        for section in args.sections:
            SECTIONS[section](args)
