"""How often 95% confidence intervals of coefficient_table have the true coefficient.

``python benchmarks/coverage.py [--draws N]`` prints, for each kind of data and both
covariances, the share of the intervals with the true coefficient, apart for the
features and the intercept; and the mean standard error over the standard deviation of
the coefficients. The last column is the coverage of least squares by its textbook
intervals.
"""

import argparse

import numpy as np
from scipy import stats

from medsgd import MedianSGDRegressor
from medsgd.inspection import coefficient_table

N_FEATURES, LEVEL = 5, 0.95
COVARIANCES = ("robust", "homoscedastic")


def clean(rng, X):
    return rng.standard_normal(len(X))


def outliers(rng, X):
    """10% of the targets are 50 too large."""
    return rng.standard_normal(len(X)) + 50 * (rng.random(len(X)) < 0.1)


def heavy_tails(rng, X):
    return rng.standard_t(2, len(X))


def heteroscedastic(rng, X):
    """The standard deviation grows with the size of the first feature."""
    return rng.standard_normal(len(X)) * (0.5 + np.abs(X[:, 0]))


NOISES = {
    "clean": clean,
    "10% outliers": outliers,
    "t(2) noise": heavy_tails,
    "heteroscedastic": heteroscedastic,
}


def draw(noise, n_samples, seed):
    """Features, targets, and the true intercept and coefficients."""
    rng = np.random.default_rng(seed)
    X, coef = rng.standard_normal((n_samples, N_FEATURES)), rng.standard_normal(6)
    return X, coef[0] + X @ coef[1:] + NOISES[noise](rng, X), coef


def fit(X, y):
    return MedianSGDRegressor(random_state=0).fit(X, y)


def least_squares(X, y):
    """Lower and upper limits of least squares."""
    Z = np.column_stack([np.ones(len(X)), X])
    coef, squares, *_ = np.linalg.lstsq(Z, y, rcond=None)
    n_free = len(X) - Z.shape[1]
    error = np.sqrt(squares / n_free * np.linalg.inv(Z.T @ Z).diagonal())
    half = stats.t.isf((1 - LEVEL) / 2, n_free) * error
    return coef - half, coef + half


def covers(limits, coef):
    lower, upper = limits
    return (lower <= coef) & (coef <= upper)


def coverage(noise, n_samples, n_draws, covariances=COVARIANCES):
    """Which intervals have the true coefficient, and standard errors and errors.

    Returns
    -------
    dict
        For each covariance an array of bool, of shape (n_draws, n_parameters), and an
        array of standard errors of the same shape; under "error" the errors.
    """
    found = {name: ([], []) for name in covariances}
    errors = []
    for seed in range(n_draws):
        X, y, coef = draw(noise, n_samples, seed)
        reg = fit(X, y)
        for name, (hits, std_errors) in found.items():
            table = coefficient_table(reg, X, y, covariance=name, confidence=LEVEL)
            hits.append(covers((table.lower, table.upper), coef))
            std_errors.append(table.std_error)
        errors.append(table.coef - coef)
    found = {name: tuple(map(np.array, parts)) for name, parts in found.items()}
    return found | {"error": np.array(errors)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=1000)
    args = parser.parse_args()
    print(
        f"{'':22s}"
        + "".join(f"{name:>28s}" for name in COVARIANCES)
        + f"{'least squares':>15s}"
    )
    part = f"{'features':>10s}{'intercept':>10s}{'se/sd':>8s}"
    print(f"{'n':>5s} {'noise':16s}{2 * part}{'features':>15s}")
    for n_samples in (200, 1000):
        for noise in NOISES:
            found = coverage(noise, n_samples, args.draws)
            deviation = found["error"].std(axis=0)
            line = f"{n_samples:5d} {noise:16s}"
            for name in COVARIANCES:
                hits, std_error = found[name]
                share = hits.mean(axis=0)
                ratio = (std_error.mean(axis=0) / deviation)[1:].mean()
                line += f"{share[1:].mean():10.3f}{share[0]:10.3f}{ratio:8.2f}"
            problems = (draw(noise, n_samples, seed) for seed in range(args.draws))
            hits = [covers(least_squares(X, y), coef) for X, y, coef in problems]
            print(line + f"{np.mean(hits, axis=0)[1:].mean():15.3f}", flush=True)


if __name__ == "__main__":
    main()
