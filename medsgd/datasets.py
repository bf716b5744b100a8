"""Generators of data with outliers, heavy tails and wrong labels, and their truth."""

from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax
from scipy.stats import levy_stable
from sklearn.utils import Bunch, check_random_state

from medsgd._utils.compat import Interval, StrOptions, validate_params
from medsgd._utils.typing import RandomState

__all__ = [
    "make_contaminated_classification",
    "make_contaminated_regression",
    "make_heavy_tailed_regression",
]

# Distance of bad leverage points, in standard deviations of a column.
LEVERAGE = 10.0

# Constraints of the parameters.
POSITIVE = [Interval(Integral, 1, None, closed="left")]
FINITE = [Interval(Real, None, None, closed="neither")]
NOT_NEGATIVE = [Interval(Real, 0, None, closed="left")]
TAIL_INDEX = [Interval(Real, 0, None, closed="neither"), None]
COMMON = {
    "n_samples": POSITIVE,
    "n_features": POSITIVE,
    "correlation": [Interval(Real, -1, 1, closed="neither")],
    "density": [Interval(Real, 0, 1, closed="right")],
    "return_truth": ["boolean"],
    "random_state": ["random_state"],
}
REGRESSION = {**COMMON, "noise": NOT_NEGATIVE, "bias": FINITE}
CONTAMINATION = {
    "contamination": [Interval(Real, 0, 1, closed="both")],
    "outlier_size": FINITE,
}


def _stable(random_state, index, shape):
    return levy_stable.rvs(index, 0, size=shape, random_state=random_state)


def _signed_pareto(random_state, index, shape):
    return random_state.pareto(index, shape) * random_state.choice([-1.0, 1.0], shape)


# Symmetric variates, given the random state, the tail index and the shape.
DISTRIBUTIONS = {
    "student-t": np.random.RandomState.standard_t,
    "stable": _stable,
    "pareto": _signed_pareto,
}


def _variates(random_state, distribution, tail_index, shape):
    """Return variates of a distribution, standard normal without a tail index."""
    if tail_index is None:
        return random_state.standard_normal(shape)
    return DISTRIBUTIONS[distribution](random_state, tail_index, shape)


def _features(
    random_state, shape, correlation, density, distribution=None, tail_index=None
):
    """Return a dense array, or CSR rows with a share ``density`` of entries."""
    if density == 1:
        X = _variates(random_state, distribution, tail_index, shape)
        if correlation:
            X[:, 1:] *= np.sqrt(1 - correlation**2)
            for j in range(1, shape[1]):
                X[:, j] += correlation * X[:, j - 1]
        return X
    if correlation:
        raise ValueError(
            f"correlation={correlation} needs dense rows, got density={density}. Set "
            "density=1.0 or correlation=0.0."
        )
    size = shape[0] * shape[1]
    # RandomState.choice would hold all of `size` numbers to choose from.
    rng = np.random.default_rng(random_state.randint(np.iinfo(np.int32).max))
    entries = np.sort(rng.choice(size, round(density * size), replace=False))
    values = _variates(random_state, distribution, tail_index, len(entries))
    return sparse.csr_array((values, np.divmod(entries, shape[1])), shape=shape)


def _check_stable(**tail_indices):
    for name, value in tail_indices.items():
        if value is not None and value > 2:
            raise ValueError(
                f"{name}={value} is too large for distribution='stable'. Use at most "
                "2, or another distribution."
            )


def _outlier_mask(random_state, n_samples, contamination):
    """Return the rows to replace. A larger share includes those of a smaller one."""
    return random_state.permutation(n_samples) < round(contamination * n_samples)


def _move_out(random_state, X, rows, n_leverage_features):
    """Return X with ``rows`` far out in the first columns."""
    n_features = X.shape[1]
    k = n_features if n_leverage_features is None else n_leverage_features
    if k > n_features:
        raise ValueError(
            f"n_leverage_features={k} is more than n_features={n_features}. Lower it, "
            "or set it to None for all features."
        )
    far = LEVERAGE + random_state.standard_normal((np.count_nonzero(rows), k))
    if not sparse.issparse(X):
        X[rows, :k] = far
        return X
    X = X.tolil()
    X[np.flatnonzero(rows), :k] = far
    return X.tocsr()


def _class_priors(weights, n_classes):
    """Return the shares of the classes, which sum to 1."""
    priors = np.ones(n_classes) if weights is None else np.asarray(weights, float)
    if priors.shape != (n_classes,) or not np.all((priors > 0) & np.isfinite(priors)):
        raise ValueError(
            f"weights={weights!r} are no shares of {n_classes} classes. Give one "
            "positive number per class, or None for equal shares."
        )
    return priors / priors.sum()


def _class_intercepts(scores, priors):
    """Return intercepts with which the mean probabilities are ``priors``."""

    def objective(intercepts):
        logits = scores + intercepts
        value = logsumexp(logits, axis=1).mean() - priors @ intercepts
        return value, softmax(logits, axis=1).mean(axis=0) - priors

    # The function is convex, and its gradient is 0 at the wanted means.
    return minimize(objective, np.log(priors), jac=True, method="BFGS").x


def _result(X, y, return_truth, **truth):
    return (X, y, Bunch(**truth)) if return_truth else (X, y)


@validate_params(
    REGRESSION
    | {
        "distribution": [StrOptions(set(DISTRIBUTIONS))],
        "tail_index": TAIL_INDEX,
        "feature_tail_index": TAIL_INDEX,
        "symmetric": ["boolean"],
        "heteroscedasticity": FINITE,
    },
    prefer_skip_nested_validation=True,
)
def make_heavy_tailed_regression(
    n_samples: int = 100,
    n_features: int = 20,
    *,
    distribution: Literal["student-t", "stable", "pareto"] = "student-t",
    tail_index: float | None = 1.5,
    feature_tail_index: float | None = None,
    symmetric: bool = True,
    heteroscedasticity: float = 0.0,
    noise: float = 1.0,
    bias: float = 0.0,
    correlation: float = 0.0,
    density: float = 1.0,
    return_truth: bool = False,
    random_state: RandomState = None,
) -> tuple[Any, ...]:
    """Generate a linear regression problem with heavy-tailed noise.

    The targets are ``X @ coef + bias`` and noise, with standard normal coefficients
    and, by default, features. Moments of the order of the tail index and above are
    infinite: there is no variance up to 2 and no mean up to 1.

    Parameters
    ----------
    n_samples, n_features : int, default=100, default=20
        Numbers of rows and columns. All features are informative.
    distribution : {'student-t', 'stable', 'pareto'}, default='student-t'
        Distribution with heavy tails: Student's t distribution, whose degrees of
        freedom are the tail index; the symmetric alpha-stable distribution [1]_, whose
        alpha is the tail index; or the Pareto distribution of the second kind with
        random signs. At a tail index of 1 the first two are the Cauchy distribution.
    tail_index : float or None, default=1.5
        Tail index of the noise; smaller is heavier. The default has a mean, but no
        variance. 'stable' has at most 2, which is normal noise of variance 2. None:
        standard normal noise.
    feature_tail_index : float or None, default=None
        Tail index of the features, of the same distribution. None: standard normal
        features.
    symmetric : bool, default=True
        Whether the noise has both signs. False: its absolute value is added, and its
        median is not 0.
    heteroscedasticity : float, default=0.0
        Growth of the noise with the signal. The noise is multiplied by
        ``exp(heteroscedasticity * arcsinh(z))`` with ``z = X @ coef / norm(coef)``. The
        factor is exponential near 0 and a power of large z, so that it does not
        overflow.
    noise : float, default=1.0
        Scale of the noise.
    bias : float, default=0.0
        The intercept.
    correlation : float, default=0.0
        Correlation of neighbouring columns, which are an autoregressive process of
        order 1. Only for dense rows.
    density : float, default=1.0
        Share of the entries of `X` that are drawn; the others are 0. Below 1.0 `X` is
        a CSR array.
    return_truth : bool, default=False
        Whether to return the true coefficients and outliers as well.
    random_state : int, RandomState instance or None, default=None
        Seed of the random numbers. For one seed, `X` and the coefficients are the same
        for any noise.

    Returns
    -------
    X : ndarray or CSR array of shape (n_samples, n_features)
        The features.
    y : ndarray of shape (n_samples,)
        The targets.
    truth : :class:`~sklearn.utils.Bunch`
        Only if `return_truth`. Its attributes are `coef`, an ndarray of shape
        (n_features,), `intercept`, and `is_outlier`, an ndarray of bool of shape
        (n_samples,), all False: heavy tails are no outliers.

    Raises
    ------
    ValueError
        If a parameter is not valid, 'stable' is given a tail index above 2, or sparse
        rows a correlation.

    See Also
    --------
    make_contaminated_regression : Normal noise and gross outliers.

    References
    ----------
    .. [1] G. Samorodnitsky, M. Taqqu, "Stable Non-Gaussian Random Processes", Chapman
       and Hall 1994

    Examples
    --------
    >>> import numpy as np
    >>> from medsgd.datasets import make_heavy_tailed_regression
    >>> X, y, truth = make_heavy_tailed_regression(
    ...     1000, 3, distribution="stable", return_truth=True, random_state=0
    ... )
    >>> size = np.abs(y - X @ truth.coef - truth.intercept)
    >>> bool(size.max() > 50 * np.median(size))
    True
    """
    if distribution == "stable":
        _check_stable(tail_index=tail_index, feature_tail_index=feature_tail_index)
    random_state = check_random_state(random_state)
    shape = (n_samples, n_features)
    X = _features(
        random_state, shape, correlation, density, distribution, feature_tail_index
    )
    coef = random_state.standard_normal(n_features)
    error = noise * _variates(random_state, distribution, tail_index, n_samples)
    if not symmetric:
        error = np.abs(error)
    signal = X @ coef
    if heteroscedasticity:
        z = signal / np.linalg.norm(coef)
        error *= np.exp(heteroscedasticity * np.arcsinh(z))
    return _result(
        X,
        signal + bias + error,
        return_truth,
        coef=coef,
        intercept=float(bias),
        is_outlier=np.zeros(n_samples, bool),
    )


@validate_params(
    REGRESSION
    | CONTAMINATION
    | {
        "outliers": [StrOptions({"shift", "wild", "cluster", "leverage"})],
        "n_leverage_features": [*POSITIVE, None],
    },
    prefer_skip_nested_validation=True,
)
def make_contaminated_regression(
    n_samples: int = 100,
    n_features: int = 20,
    *,
    contamination: float = 0.1,
    outliers: Literal["shift", "wild", "cluster", "leverage"] = "shift",
    outlier_size: float = 100.0,
    n_leverage_features: int | None = None,
    noise: float = 1.0,
    bias: float = 0.0,
    correlation: float = 0.0,
    density: float = 1.0,
    return_truth: bool = False,
    random_state: RandomState = None,
) -> tuple[Any, ...]:
    """Generate a linear regression problem with gross outliers.

    The targets are ``X @ coef + bias`` and normal noise, with standard normal features
    and coefficients. Then a share of the rows is replaced, as in Huber's model of gross
    errors [1]_.

    Parameters
    ----------
    n_samples, n_features : int, default=100, default=20
        Numbers of rows and columns. All features are informative.
    contamination : float, default=0.1
        Share of the rows that are outliers; their number is rounded.
    outliers : {'shift', 'wild', 'cluster', 'leverage'}, default='shift'
        The kind of the outliers.

        - 'shift': `outlier_size` is added to their targets, all on one side.
        - 'wild': normal noise of standard deviation `outlier_size` is added.
        - 'cluster': their targets are all ``bias + outlier_size``.
        - 'leverage': bad leverage points [2]_. Their features are normal around 10, and
          their targets are shifted from the model there by `outlier_size`.
    outlier_size : float, default=100.0
        Distance of the outliers from the model, in the unit of `y`; below it if
        negative. The default is gross for noise and features of variance 1.
    n_leverage_features : int or None, default=None
        Number of columns, the first ones, in which 'leverage' moves its rows. None:
        all.
    noise : float, default=1.0
        Standard deviation of the noise.
    bias : float, default=0.0
        The intercept.
    correlation : float, default=0.0
        Correlation of neighbouring columns, which are an autoregressive process of
        order 1. Only for dense rows.
    density : float, default=1.0
        Share of the entries of `X` that are drawn; the others are 0. Below 1.0 `X` is
        a CSR array.
    return_truth : bool, default=False
        Whether to return the true coefficients and outliers as well.
    random_state : int, RandomState instance or None, default=None
        Seed of the random numbers. For one seed, the clean rows are the same for any
        outliers, and a larger share of outliers replaces more of them.

    Returns
    -------
    X : ndarray or CSR array of shape (n_samples, n_features)
        The features.
    y : ndarray of shape (n_samples,)
        The targets.
    truth : :class:`~sklearn.utils.Bunch`
        Only if `return_truth`. Its attributes are `coef`, an ndarray of shape
        (n_features,), `intercept`, and `is_outlier`, an ndarray of bool of shape
        (n_samples,).

    Raises
    ------
    ValueError
        If a parameter is not valid, there are more leverage features than features, or
        sparse rows are given a correlation.

    See Also
    --------
    make_heavy_tailed_regression : Heavy-tailed noise.
    make_contaminated_classification : Wrong labels and corrupted rows.

    References
    ----------
    .. [1] P. Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical
       Statistics 1964
    .. [2] P. Rousseeuw, A. Leroy, "Robust Regression and Outlier Detection", Wiley 1987

    Examples
    --------
    >>> from medsgd.datasets import make_contaminated_regression
    >>> X, y, truth = make_contaminated_regression(
    ...     1000, 3, contamination=0.2, return_truth=True, random_state=0
    ... )
    >>> residual = y - X @ truth.coef - truth.intercept
    >>> int(truth.is_outlier.sum()), round(residual[truth.is_outlier].mean())
    (200, 100)
    """
    random_state = check_random_state(random_state)
    X = _features(random_state, (n_samples, n_features), correlation, density)
    coef = random_state.standard_normal(n_features)
    error = noise * random_state.standard_normal(n_samples)
    is_outlier = _outlier_mask(random_state, n_samples, contamination)
    if outliers == "leverage":
        X = _move_out(random_state, X, is_outlier, n_leverage_features)
    y = X @ coef + bias + error
    if outliers == "cluster":
        y[is_outlier] = bias + outlier_size
    elif outliers == "wild":
        n_outliers = np.count_nonzero(is_outlier)
        y[is_outlier] += outlier_size * random_state.standard_normal(n_outliers)
    else:
        y[is_outlier] += outlier_size
    return _result(
        X, y, return_truth, coef=coef, intercept=float(bias), is_outlier=is_outlier
    )


@validate_params(
    COMMON
    | CONTAMINATION
    | {
        "n_classes": [Interval(Integral, 2, None, closed="left")],
        "outliers": [StrOptions({"labels", "rows"})],
        "weights": ["array-like", None],
        "class_sep": NOT_NEGATIVE,
    },
    prefer_skip_nested_validation=True,
)
def make_contaminated_classification(
    n_samples: int = 100,
    n_features: int = 20,
    *,
    n_classes: int = 2,
    contamination: float = 0.1,
    outliers: Literal["labels", "rows"] = "labels",
    outlier_size: float = 30.0,
    weights: npt.ArrayLike | None = None,
    class_sep: float = 1.0,
    correlation: float = 0.0,
    density: float = 1.0,
    return_truth: bool = False,
    random_state: RandomState = None,
) -> tuple[Any, ...]:
    """Generate a linear classification problem with wrong labels or corrupted rows.

    Features and coefficients are normal, and the labels are drawn with probabilities
    ``softmax(X @ coef.T + intercept)``. Then a share of the rows is contaminated.

    Parameters
    ----------
    n_samples, n_features : int, default=100, default=20
        Numbers of rows and columns. All features are informative.
    n_classes : int, default=2
        Number of classes; the labels are 0, 1, ....
    contamination : float, default=0.1
        Share of the rows that are contaminated; their number is rounded.
    outliers : {'labels', 'rows'}, default='labels'
        The kind of the contamination.

        - 'labels': they get random labels other than their own, as in [1]_.
        - 'rows': their features are multiplied by `outlier_size`, and they get random
          labels, which by chance may be their own.
    outlier_size : float, default=30.0
        Factor of the features for 'rows'. The default moves rows far out.
    weights : array-like of shape (n_classes,) or None, default=None
        Shares of the classes before contamination, in any unit. The intercepts are such
        that the probabilities of the rows average to them. None: equal shares.
    class_sep : float, default=1.0
        Standard deviation of the coefficients. A larger value makes the classes overlap
        less. At 0.0 the features are independent of the labels.
    correlation : float, default=0.0
        Correlation of neighbouring columns, which are an autoregressive process of
        order 1. Only for dense rows.
    density : float, default=1.0
        Share of the entries of `X` that are drawn; the others are 0. Below 1.0 `X` is
        a CSR array.
    return_truth : bool, default=False
        Whether to return the true coefficients and outliers as well.
    random_state : int, RandomState instance or None, default=None
        Seed of the random numbers. For one seed, the clean rows are the same for any
        outliers, and a larger share of outliers replaces more of them.

    Returns
    -------
    X : ndarray or CSR array of shape (n_samples, n_features)
        The features.
    y : ndarray of shape (n_samples,)
        The labels.
    truth : :class:`~sklearn.utils.Bunch`
        Only if `return_truth`. Its attributes are `coef`, an ndarray of shape
        (n_classes, n_features), also for two classes, `intercept`, an ndarray of shape
        (n_classes,), and of shape (n_samples,) `is_outlier`, an ndarray of bool, and
        `y_clean`, the labels before contamination.

    Raises
    ------
    ValueError
        If a parameter is not valid, `weights` are not one positive number per class, or
        sparse rows are given a correlation.

    See Also
    --------
    make_contaminated_regression : Outliers in regression.
    sklearn.datasets.make_classification : Clusters, and features that are redundant.

    References
    ----------
    .. [1] D. Angluin, P. Laird, "Learning From Noisy Examples", Machine Learning 1988

    Examples
    --------
    >>> from medsgd.datasets import make_contaminated_classification
    >>> X, y, truth = make_contaminated_classification(
    ...     1000, 5, n_classes=3, return_truth=True, random_state=0
    ... )
    >>> int((y != truth.y_clean).sum())
    100
    >>> likeliest = (X @ truth.coef.T + truth.intercept).argmax(axis=1)
    >>> bool((likeliest == truth.y_clean).mean() > 0.7)
    True
    """
    random_state = check_random_state(random_state)
    priors = _class_priors(weights, n_classes)
    X = _features(random_state, (n_samples, n_features), correlation, density)
    coef = class_sep * random_state.standard_normal((n_classes, n_features))
    scores = X @ coef.T
    intercept = _class_intercepts(scores, priors)
    # The class of the largest logit plus Gumbel noise is a draw from the softmax.
    gumbel = random_state.gumbel(size=scores.shape)
    y_clean = np.argmax(scores + intercept + gumbel, axis=1)
    is_outlier = _outlier_mask(random_state, n_samples, contamination)
    first = 1 if outliers == "labels" else 0  # 0 steps lead to the correct label
    steps = random_state.randint(first, n_classes, size=np.count_nonzero(is_outlier))
    y = y_clean.copy()
    y[is_outlier] = (y[is_outlier] + steps) % n_classes
    if outliers == "rows":
        factor = np.where(is_outlier, outlier_size, 1.0)
        X = sparse.dia_array((factor[np.newaxis], [0]), shape=(n_samples,) * 2) @ X
    return _result(
        X,
        y,
        return_truth,
        coef=coef,
        intercept=intercept,
        is_outlier=is_outlier,
        y_clean=y_clean,
    )
