"""The data that the benchmarks fit: simulated problems of known truth, and real data.

``regression("y10asym", seed=0)`` draws one of ``KINDS`` and ``error`` measures a fit of
it; ``real_data()`` loads what scikit-learn and statsmodels install.
"""

from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import pandas as pd
import scipy.sparse as sp
from sklearn.datasets import load_diabetes
from statsmodels import datasets as statsmodels_datasets


@dataclass(frozen=True)
class Kind:
    """What a problem is made of.

    `features` names a function of `FEATURES`, `noise` of `NOISE` and `outliers` of
    `OUTLIERS`. `share` is the part of the rows that the outliers replace unless
    ``regression`` is told another, and `offset` is added to every target.
    """

    features: str = "normal"
    noise: str = "normal"
    outliers: str = "shifted"
    share: float = 0.0
    offset: float = 0.0
    d: int = 20
    raw_units: bool = False


# The kinds of the main table, drawn with the same random numbers as the prototype's.
MAIN = {
    "gauss": Kind(),
    "t1.5": Kind(noise="t1.5"),
    "cauchy": Kind(noise="cauchy"),
    "pareto": Kind(noise="pareto"),
    "y10": Kind(outliers="wild", share=0.1),
    "y10asym": Kind(outliers="shifted", share=0.1),
    "y30asym": Kind(outliers="shifted", share=0.3),
    "lev10": Kind(outliers="leverage", share=0.1),
}
EXTENDED = {
    "ar-y20asym": Kind("ar", outliers="shifted", share=0.2),
    "ar-y35cluster": Kind("ar", outliers="clustered", share=0.35, offset=1000),
    "ar-y40asym": Kind("ar", outliers="shifted", share=0.4, offset=1000),
    "lev20in3": Kind(outliers="leverage in 3", share=0.2, offset=1000),
    "lev10far": Kind(outliers="leverage", share=0.1, offset=1000),
    "t2-x": Kind("t2"),
    "binary-x": Kind("binary"),
    "hetero": Kind(noise="heteroscedastic"),
    "sparse": Kind("sparse", outliers="shifted", share=0.1, d=200),
    "raw-units": Kind(outliers="leverage in 3", share=0.2, raw_units=True),
}
KINDS = MAIN | EXTENDED


@dataclass
class Problem:
    """A drawn problem.

    Attributes
    ----------
    X, y : the data.
    truth : ndarray of shape (d + 1,)
        The coefficients, then the intercept, in the units of `X` and `y`.
    clean : bool ndarray of shape (n,)
        The rows that are no outliers. Heavy-tailed noise counts as clean.
    centre, scale, offset
        The problem was drawn as ``(X - centre) / scale`` and ``y - offset``.
    """

    X: np.ndarray | sp.csr_array
    y: np.ndarray
    truth: np.ndarray
    clean: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    offset: float


def autoregressive(rng, n, d, rho=0.9):
    """Standard normal columns, neighbours correlated by rho."""
    X = rng.standard_normal((n, d))
    for j in range(1, d):
        X[:, j] = rho * X[:, j - 1] + np.sqrt(1 - rho**2) * X[:, j]
    return X


def sparse(rng, n, d):
    return sp.random_array(
        (n, d),
        density=0.05,
        format="csr",
        rng=rng,
        data_sampler=rng.standard_normal,
    )


FEATURES = {
    "normal": lambda rng, n, d: rng.standard_normal((n, d)),
    "ar": autoregressive,
    "t2": lambda rng, n, d: rng.standard_t(2, (n, d)),
    "binary": lambda rng, n, d: (rng.random((n, d)) < 0.3).astype(float),
    "sparse": sparse,
}


# Each takes the random state, standard normal noise and X, and returns the noise.
NOISE = {
    "normal": lambda rng, e, X: e,
    "t1.5": lambda rng, e, X: rng.standard_t(1.5, len(e)),
    "cauchy": lambda rng, e, X: rng.standard_cauchy(len(e)),
    "pareto": lambda rng, e, X: rng.pareto(1.2, len(e)) * rng.choice([-1, 1], len(e)),
    "heteroscedastic": lambda rng, e, X: e * np.exp(X[:, :4] @ [0.4, 0.4, -0.4, 0.2]),
}


def wild(rng, X, y, rows):
    y[rows] += 1e3 * rng.standard_normal(len(rows))


def shifted(rng, X, y, rows):
    y[rows] += 100


def clustered(rng, X, y, rows):
    y[rows] = 100


def leverage(rng, X, y, rows):
    """All columns near 10, y at -50; for some seeds that happens to fit the truth."""
    X[rows] = 10 + rng.standard_normal((len(rows), X.shape[1]))
    y[rows] = -50


def leverage_in_3(rng, X, y, rows):
    X[rows, :3] = 10 + rng.standard_normal((len(rows), 3))
    y[rows] = -50


OUTLIERS = {
    "wild": wild,
    "shifted": shifted,
    "clustered": clustered,
    "leverage": leverage,
    "leverage in 3": leverage_in_3,
}


def regression(kind, seed, n=5000, d=None, share=None, dtype=np.float64):
    """Draw a problem.

    Parameters
    ----------
    kind : str
        A key of `KINDS`.
    seed : int
        Seed of the random numbers.
    n, d : int
        Numbers of rows and columns; the columns are by default the kind's, mostly 20.
    share : float, default=None
        Share of outliers, in place of the kind's own. Kinds without outliers get the
        ones named in `KINDS`, targets shifted by 100.
    dtype : data type
        Of `X` and `y`.

    Returns
    -------
    Problem
    """
    spec = KINDS[kind]
    d = spec.d if d is None else d
    share = spec.share if share is None else share
    rng = np.random.default_rng(seed)
    X = FEATURES[spec.features](rng, n, d)
    w, b = rng.standard_normal(d), 2.0
    y = X @ w + b + NOISE[spec.noise](rng, rng.standard_normal(n), X)
    rows = rng.choice(n, n // 10, replace=False)
    if share != 0.1:
        rows = rng.choice(n, round(share * n), replace=False)
    OUTLIERS[spec.outliers](rng, X, y, rows)
    clean = np.ones(n, bool)
    clean[rows] = False

    centre, scale = np.zeros(d), np.ones(d)
    if spec.raw_units:
        scale = 10 ** rng.uniform(-3, 3, d)
        centre = scale * rng.uniform(-1e3, 1e3, d)
        X = centre + scale * X
    coef = w / scale
    return Problem(
        X=X.astype(dtype, copy=False),
        y=(y + spec.offset).astype(dtype, copy=False),
        truth=np.r_[coef, b + spec.offset - coef @ centre],
        clean=clean,
        centre=centre,
        scale=scale,
        offset=spec.offset,
    )


def error(coef, intercept, problem):
    """Relative error of a fit: |w - w*| / |w*|, w the coefficients and intercept.

    Both are first taken to the coordinates in which the problem was drawn, where the
    columns are comparable and an offset of `y` does not count towards |w*|.
    """

    def drawn(coef, intercept):
        constant = intercept + coef @ problem.centre - problem.offset
        return np.r_[coef * problem.scale, constant]

    truth = drawn(problem.truth[:-1], problem.truth[-1])
    return np.linalg.norm(drawn(coef, intercept) - truth) / np.linalg.norm(truth)


@dataclass
class RealData:
    """Real data; `outliers` are the rows that the literature names, if it does."""

    X: np.ndarray
    y: np.ndarray
    outliers: np.ndarray | None = None


def _statsmodels(name, target=None, features=None, outliers=None):
    loaded = getattr(statsmodels_datasets, name).load_pandas()
    y = loaded.endog if target is None else loaded.data[target]
    X = loaded.exog if features is None else loaded.data[features]
    return RealData(X.to_numpy(float), y.to_numpy(float), outliers)


def real_data():
    """Data sets by name.

    The outliers are those of Rousseeuw & Leroy (1987) for the stack loss data, the bad
    leverage points of Hawkins, Bradu & Kass (1984), and the District of Columbia in the
    crimes by state. Hawkins, Bradu and Kass's data lie with statsmodels' tests.
    """
    hbk = pd.read_csv(files("statsmodels.robust.tests.results") / "hbk.csv").to_numpy()
    states = statsmodels_datasets.statecrime.load_pandas().data.index
    schools = statsmodels_datasets.star98.load_pandas()
    above = schools.endog["NABOVE"] / schools.endog.sum(axis=1)
    # The other columns are products of these.
    main_effects = schools.exog.iloc[:, :12]
    return {
        "stackloss": _statsmodels("stackloss", outliers=np.array([0, 2, 3, 20])),
        "hbk": RealData(hbk[:, :3], hbk[:, 3], np.arange(10)),
        "statecrime": _statsmodels(
            "statecrime", outliers=np.flatnonzero(states == "District of Columbia")
        ),
        "engel": _statsmodels("engel", "foodexp", ["income"]),
        "longley": _statsmodels("longley"),
        "ccard": _statsmodels("ccard"),
        "copper": _statsmodels("copper"),
        "grunfeld": _statsmodels("grunfeld", features=["value", "capital"]),
        "star98": RealData(main_effects.to_numpy(), above.to_numpy()),
        "diabetes": RealData(*load_diabetes(return_X_y=True, scaled=False)),
    }
