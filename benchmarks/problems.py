"""The data that the benchmarks fit: simulated problems of known truth, and real data.

``regression("y10asym", seed=0)`` draws one of ``KINDS`` and ``error`` measures a fit of
it; ``real_data()`` loads what scikit-learn and statsmodels install.
"""

from dataclasses import dataclass
from functools import partial
from importlib.resources import files

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.stats import norm
from sklearn.datasets import load_diabetes
from statsmodels import datasets as statsmodels_datasets

from medsgd.datasets import make_contaminated_regression, make_heavy_tailed_regression


@dataclass(frozen=True)
class Kind:
    """What a problem is made of.

    `make` draws it, from the parameters that the generators of medsgd.datasets share.
    `offset` is added to every target. `binary` features are 1 in 30% of the rows, and
    `raw_units` have centres and scales of many sizes.
    """

    make: partial
    offset: float = 0.0
    d: int = 20
    binary: bool = False
    raw_units: bool = False


# Each takes more parameters and returns the generator with them set.
heavy_tailed = partial(partial, make_heavy_tailed_regression)
contaminated = partial(partial, make_contaminated_regression)
shifted = partial(contaminated, outliers="shift", outlier_size=100.0)
leverage = partial(contaminated, outliers="leverage", outlier_size=-50.0)
AR = {"correlation": 0.9}

MAIN = {
    "gauss": Kind(shifted(contamination=0.0)),
    "t1.5": Kind(heavy_tailed(distribution="student-t", tail_index=1.5)),
    "cauchy": Kind(heavy_tailed(distribution="student-t", tail_index=1.0)),
    "pareto": Kind(heavy_tailed(distribution="pareto", tail_index=1.2)),
    "y10": Kind(contaminated(contamination=0.1, outliers="wild", outlier_size=1e3)),
    "y10asym": Kind(shifted(contamination=0.1)),
    "y30asym": Kind(shifted(contamination=0.3)),
    "lev10": Kind(leverage(contamination=0.1)),
}
EXTENDED = {
    "ar-y20asym": Kind(shifted(contamination=0.2, **AR)),
    "ar-y35cluster": Kind(
        contaminated(contamination=0.35, outliers="cluster", outlier_size=100.0, **AR),
        offset=1000,
    ),
    "ar-y40asym": Kind(shifted(contamination=0.4, **AR), offset=1000),
    "lev20in3": Kind(leverage(contamination=0.2, n_leverage_features=3), offset=1000),
    "lev10far": Kind(leverage(contamination=0.1), offset=1000),
    "t2-x": Kind(heavy_tailed(tail_index=None, feature_tail_index=2)),
    "binary-x": Kind(shifted(contamination=0.0), binary=True),
    "hetero": Kind(heavy_tailed(tail_index=None, heteroscedasticity=0.7)),
    "sparse": Kind(shifted(contamination=0.1, density=0.05), d=200),
    "raw-units": Kind(
        leverage(contamination=0.2, n_leverage_features=3), raw_units=True
    ),
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
        Share of outliers, in place of the kind's own; not for heavy tails. Kinds
        without outliers get targets shifted by 100.
    dtype : data type
        Of `X` and `y`.

    Returns
    -------
    Problem
    """
    spec = KINDS[kind]
    X, y, truth = spec.make(
        n,
        spec.d if d is None else d,
        bias=2.0 + spec.offset,
        return_truth=True,
        random_state=seed,
        **({} if share is None else {"contamination": share}),
    )
    d = X.shape[1]
    if spec.binary:
        binary = (norm.cdf(X) < 0.3).astype(float)
        y += (binary - X) @ truth.coef
        X = binary
    centre, scale = np.zeros(d), np.ones(d)
    if spec.raw_units:
        rng = np.random.default_rng(seed)
        scale = 10 ** rng.uniform(-3, 3, d)
        centre = scale * rng.uniform(-1e3, 1e3, d)
        X = centre + scale * X
    coef = truth.coef / scale
    return Problem(
        X=X.astype(dtype, copy=False),
        y=y.astype(dtype, copy=False),
        truth=np.r_[coef, truth.intercept - coef @ centre],
        clean=~truth.is_outlier,
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
