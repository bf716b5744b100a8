"""Which score chooses the better model by cross-validation on contaminated folds.

``python benchmarks/scores.py [--draws N]`` prints the share of the draws in which
5-fold cross-validation with each score prefers the better one of two models: the model
with a quadratic term that the data have, the MM-estimate over Huber's regression, and
the model without 22 useless features.
"""

import argparse

import numpy as np
from sklearn.linear_model import HuberRegressor
from sklearn.metrics import make_scorer
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures

from medsgd import MedianSGDRegressor
from medsgd.inspection import robust_r2


def trimmed(y_true, y_pred):
    """Mean square of the smallest 80% of the errors."""
    squares = np.sort((y_true - y_pred) ** 2)
    return squares[: int(0.8 * len(squares))].mean()


def truncated(y_true, y_pred):
    """Mean square of the errors, none larger than 3 normalised medians of them."""
    error = np.abs(y_true - y_pred)
    return np.mean(np.minimum(error, 3 * 1.4826 * np.median(error)) ** 2)


SCORES = {
    "r2": "r2",
    "neg_mean_absolute_error": "neg_mean_absolute_error",
    "neg_median_absolute_error": "neg_median_absolute_error",
    "trimmed": make_scorer(trimmed, greater_is_better=False),
    "truncated": make_scorer(truncated, greater_is_better=False),
    "robust_r2": robust_r2,
}


def quadratic(rng):
    """Data with a weak quadratic term; the models without and with it."""
    X = rng.normal(size=(300, 3))
    y = X.sum(axis=1) + 0.25 * (X[:, 0] ** 2 - 1) + rng.normal(size=300)
    models = [
        make_pipeline(PolynomialFeatures(degree, include_bias=False), median())
        for degree in (1, 2)
    ]
    return X, y, 100, models


def bias(rng):
    """Outliers that are nearer; Huber's regression, which they bias, and ours."""
    X = rng.normal(size=(300, 3))
    y = X.sum(axis=1) + rng.normal(size=300)
    return X, y, 20, [HuberRegressor(), median()]


def useless(rng):
    """Few rows; the models with and without useless features."""
    X = rng.normal(size=(100, 25))
    y = X[:, :3].sum(axis=1) + rng.normal(size=100)
    few = make_pipeline(FunctionTransformer(first_features), median())
    return X, y, 20, [median(), few]


def first_features(X):
    return X[:, :3]


def median():
    return MedianSGDRegressor(random_state=0)


CASES = [
    (draw, share) for draw in (quadratic, bias, useless) for share in (0, 0.1, 0.3)
]


def choices(draw, share, n_draws):
    """Share of the draws in which each score prefers the second model."""
    wins = dict.fromkeys(SCORES, 0)
    for seed in range(n_draws):
        rng = np.random.default_rng(seed)
        X, y, shift, models = draw(rng)
        y[rng.random(len(y)) < share] += shift
        worse, better = (
            cross_validate(model, X, y, scoring=SCORES, cv=5) for model in models
        )
        for name in SCORES:
            key = f"test_{name}"
            wins[name] += better[key].mean() > worse[key].mean()
    return [count / n_draws for count in wins.values()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=200)
    n_draws = parser.parse_args().draws
    columns = []
    for draw, share in CASES:
        columns.append(choices(draw, share, n_draws))
    cases = [f"{draw.__name__} {share:.0%}" for draw, share in CASES]
    print(f"{'':28s}" + "".join(f"{case:>15s}" for case in cases))
    for name, shares in zip(SCORES, zip(*columns, strict=True), strict=True):
        print(f"{name:28s}" + "".join(f"{share:15.2f}" for share in shares))


if __name__ == "__main__":
    main()
