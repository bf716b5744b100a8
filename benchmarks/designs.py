"""Designs on which a robust fit must be as good as least squares without the outliers.

``draw(name, seed)`` draws one of ``DESIGNS``: strong rare flags, one-hot levels,
correlated and polynomial features, outliers against the correlation of the features,
and other designs that users have. ``distance`` measures a fit of it. The tests of the
package draw the same problems, and compare fits with those of R's lmrob.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import PolynomialFeatures


@dataclass
class Design:
    """A drawn problem; the oracle knows the contaminated rows, `bad`."""

    X: np.ndarray
    y: np.ndarray
    bad: np.ndarray


def _autoregressive(rng, n, d, correlation):
    lags = np.abs(np.subtract.outer(np.arange(d), np.arange(d)))
    return rng.standard_normal((n, d)) @ np.linalg.cholesky(correlation**lags).T


def _noisy(rng, X, coef, share=0.0, shift=(20, 50, -300)):
    """Targets with noise of variance 1; those of the first rows are shifted."""
    n = len(X)
    y = X @ coef + 10.0 + rng.standard_normal(n)
    bad = np.arange(n) < int(share * n)
    y[bad] += rng.choice(shift, bad.sum())
    return Design(X, y, bad)


def _unit_effects(rng, X):
    return rng.standard_normal(X.shape[1]) / X.std(axis=0)


def correlated(rng, share=0.2):
    X = _autoregressive(rng, 1000, 15, 0.99)
    return _noisy(rng, X, _unit_effects(rng, X), share)


def polynomial(rng, share=0.2):
    expansion = PolynomialFeatures(3, include_bias=False)
    X = expansion.fit_transform(rng.uniform(0, 3, (1000, 3)))
    return _noisy(rng, X, _unit_effects(rng, X), share)


def rare_levels(rng, share=0.1):
    shares = [0.4, 0.25, 0.15, 0.1, 0.05, 0.03, 0.01, 0.01]
    level = rng.choice(8, 1000, p=shares)
    X = np.c_[np.eye(8)[level][:, 1:], rng.standard_normal((1000, 3))]
    return _noisy(rng, X, _unit_effects(rng, X), share)


def flag(rng, share=0.0, present=0.1, effect=50.0):
    X = np.c_[rng.standard_normal((1000, 3)), rng.random(1000) < present]
    return _noisy(rng, X, np.array([1, -1, 0.5, effect]), share)


def fifty_levels(rng):
    level = rng.choice(50, 2000, p=rng.dirichlet(np.full(50, 0.7)))
    indicators = np.eye(50)[level][:, np.unique(level)][:, 1:]
    X = np.c_[rng.standard_normal((2000, 3)), indicators]
    effects = 50 * rng.standard_normal(indicators.shape[1])
    return _noisy(rng, X, np.r_[1, -1, 0.5, effects])


def zero_inflated(rng):
    noise = rng.standard_normal((1000, 3))
    inflated = np.where(rng.random(1000) < 0.9, 0, rng.exponential(5, 1000))
    return _noisy(rng, np.c_[noise, inflated], np.array([1, -1, 0.5, 10]))


def off_correlation(rng, share=0.2):
    """Leverage against the correlation of the features: no single column shows it."""
    X = _autoregressive(rng, 1000, 15, 0.9)
    design = _noisy(rng, X, rng.standard_normal(15), share, shift=(0,))
    bad = design.bad
    weakest = np.linalg.eigh(np.cov(X[~bad].T))[1][:, 0]
    X[bad] += 3 * weakest + 0.1 * rng.standard_normal((bad.sum(), 15))
    design.y[bad] = -30 + rng.standard_normal(bad.sum())
    return design


def leverage(rng, share=0.2):
    """Coherent leverage: outliers share one value in each of three columns."""
    X = rng.standard_normal((1000, 15))
    design = _noisy(rng, X, rng.standard_normal(15), share, shift=(0,))
    X[design.bad, :3] = 20.0
    design.y[design.bad] = -50 + rng.standard_normal(design.bad.sum())
    return design


def vertical(rng, share=0.45):
    X = _autoregressive(rng, 1000, 15, 0.9)
    return _noisy(rng, X, rng.standard_normal(15), share, shift=(100,))


def near(rng, share=0.3):
    """Outliers six standard deviations away: the hardest distance."""
    X = rng.standard_normal((1000, 10))
    return _noisy(rng, X, rng.standard_normal(10), share, shift=(6,))


def diabetes(rng, share=0.0):
    X, y = load_diabetes(return_X_y=True)
    bad = np.zeros(len(y), dtype=bool)
    bad[rng.choice(len(y), int(share * len(y)), replace=False)] = True
    return Design(X, y + 1000 * bad, bad)


def few_rows(rng):
    X = _autoregressive(rng, 30, 4, 0.5)
    return _noisy(rng, X, rng.standard_normal(4), 0.1, shift=(50,))


DESIGNS = {
    "correlated": correlated,
    "polynomial": polynomial,
    "rare levels": rare_levels,
    "rare levels, clean": partial(rare_levels, share=0.0),
    "flag": flag,
    "flag, 10% outliers": partial(flag, share=0.1),
    "rare flag": partial(flag, present=0.02, effect=20.0),
    "fifty levels": fifty_levels,
    "zero-inflated": zero_inflated,
    "off correlation 20%": off_correlation,
    "off correlation 30%": partial(off_correlation, share=0.3),
    "leverage 20%": leverage,
    "leverage 40%": partial(leverage, share=0.4),
    "vertical 45%": vertical,
    "near 30%": near,
    "diabetes": diabetes,
    "diabetes 10%": partial(diabetes, share=0.1),
    "few rows": few_rows,
}


def draw(name, seed):
    """Draw a problem: the same for the same name and seed."""
    return DESIGNS[name](np.random.default_rng(seed))


def distance(design, coef, reference=None):
    """Root mean square standard errors, over the good rows, between two fits.

    Parameters
    ----------
    design : Design
    coef : array-like of shape (d + 1,)
        Intercept and coefficients of the fit to measure.
    reference : array-like of shape (d + 1,), default=None
        The other fit, by default the oracle: least squares on the good rows. The
        standard errors are the oracle's in either case.
    """
    good = ~design.bad
    Z = np.c_[np.ones(good.sum()), design.X[good]]
    oracle = np.linalg.lstsq(Z, design.y[good], rcond=None)[0]
    noise = np.std(design.y[good] - Z @ oracle)
    gap = Z @ (np.asarray(coef, float) - (oracle if reference is None else reference))
    return float(np.sqrt(gap @ gap / Z.shape[1]) / noise)
