"""Draw clean problems of many designs at random, and compare fits with known answers.

Like ``driver.py``, a case is made from its number alone. Of a regression without
outliers the default fit is near weighted least squares, in standard errors, also with
few rows for many parameters, and so is a stream of its rows. The held-out loss of the
default classifier is near that of a logistic regression. Designs are what users have:
levels, rare and zero-inflated features, nearly collinear ones, scales of many orders,
integers, duplicates, weights, interactions, seasons. Classifiers also have splines of
skewed features, and codes for missing values.
"""

import pickle
import warnings

import numpy as np
import scipy.sparse as sp
from scipy.special import ndtr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, SplineTransformer, StandardScaler

from medsgd import MedianSGDClassifier, MedianSGDRegressor
from medsgd.inspection import coefficient_table

# Rows for a parameter at least, and rows at least.
ROWS_PER_PARAMETER, LEAST_ROWS = 12, 100
# Rows that a feature is of at least, by the sums of its squares and of their squares:
# fewer may be outliers.
LEAST_PRESENT = 10
# The same for designs of many parameters, whose rows have little leverage.
FEW_ROWS, MOST_ROWS = 5, 12
# Leverage of a row in least squares at most: one that alone decides a coefficient may
# be an outlier.
MOST_LEVERAGE = 0.25
# The same for classifiers, which weight rows by their leverage.
FAR_OUT = 0.1
# Distance from least squares in standard errors: root mean square over parameters, and
# of one coefficient.
MOST_TYPICAL, MOST_ERRORS = 3.0, 5.0
# Held-out loss over that of the logistic regression, and what chance may add.
MOST_LOSS, MORE_LOSS = 1.2, 0.01


def pick(rng, values):
    """One of some values."""
    return values[rng.integers(len(values))]


def normal(rng, n):
    return rng.standard_normal((n, rng.integers(1, 6)))


def correlated(rng, n):
    d, correlation = rng.integers(2, 12), pick(rng, [0.5, 0.9, 0.99])
    lags = np.abs(np.subtract.outer(np.arange(d), np.arange(d)))
    return rng.standard_normal((n, d)) @ np.linalg.cholesky(correlation**lags).T


def nearly_collinear(rng, n):
    """Columns that differ by a part of their size."""
    x = rng.standard_normal(n)
    return np.c_[x, x + pick(rng, [1e-2, 1e-4, 1e-6]) * rng.standard_normal(n)]


def collinear(rng, n):
    X = rng.standard_normal((n, 3))
    return np.c_[X, X @ [1.0, -1.0, 0.5]]


def one_hot(rng, n):
    """Levels, with or without one for reference."""
    n_levels = int(rng.integers(2, 9))
    level = rng.choice(n_levels, n, p=rng.dirichlet(np.full(n_levels, 0.7)))
    few = np.bincount(level, minlength=n_levels) < LEAST_PRESENT
    level[few[level]] = np.bincount(level).argmax()
    return np.eye(n_levels)[level][:, rng.integers(2) :]


def rare(rng, n):
    """Flags in few of the rows."""
    present = pick(rng, [0.01, 0.03, 0.1, 0.3])
    return (rng.random((n, rng.integers(1, 3))) < present) * 1.0


def zero_inflated(rng, n):
    present = rng.random(n) < pick(rng, [0.05, 0.1, 0.4])
    return np.where(present, rng.exponential(5, n), 0)[:, np.newaxis]


def common(rng, n):
    """A feature that has one value in most rows, but not 0."""
    return np.where(rng.random(n) < 0.9, 7.0, rng.normal(7, 3, n))[:, np.newaxis]


def integers(rng, n):
    return rng.poisson(pick(rng, [0.5, 3, 100]), (n, 2)) * 1.0


def binary(rng, n):
    return (rng.random((n, rng.integers(1, 5))) < 0.5) * 1.0


def heavy_tailed(rng, n):
    return rng.standard_t(3, (n, 2))


def skewed(rng, n):
    return rng.lognormal(0, pick(rng, [0.5, 1.0]), (n, 2))


def far_from_zero(rng, n):
    return pick(rng, [1e2, 1e4, -1e5]) + rng.standard_normal((n, 2))


def constant(rng, n):
    return np.full((n, 1), pick(rng, [0.0, 1.0, 1e5]))


def polynomial(rng, n):
    x = rng.uniform(0, 3, (n, rng.integers(1, 3)))
    return PolynomialFeatures(3, include_bias=False).fit_transform(x)


def splines(rng, n):
    x = pick(rng, [rng.standard_normal, rng.random])((n, rng.integers(1, 4)))
    knots, include_bias = pick(rng, ["uniform", "quantile"]), bool(rng.integers(2))
    return SplineTransformer(knots=knots, include_bias=include_bias).fit_transform(x)


def periodic(rng, n):
    angle = 2 * np.pi * rng.integers(0, 24, n) / 24
    return np.c_[np.sin(angle), np.cos(angle)]


def many(rng, n):
    """More features than blocks of Gram matrices are solved for directly."""
    d = min(int(rng.integers(20, 120)), n // (2 * ROWS_PER_PARAMETER))
    return rng.standard_normal((n, max(d, 1)))


GROUPS = [
    *[normal, correlated, nearly_collinear, collinear, one_hot, rare, zero_inflated],
    *[common, integers, binary, heavy_tailed, skewed, far_from_zero, constant],
    *[polynomial, splines, periodic, many],
]


def levels(rng, n, n_levels):
    """Indicators of levels that are about equally frequent, often without one."""
    level = rng.permutation(np.arange(n) % n_levels)
    return np.eye(n_levels)[level][:, rng.integers(2) :]


def products(one, other):
    """Products of each two columns."""
    return (one[:, :, np.newaxis] * other[:, np.newaxis]).reshape(len(one), -1)


def factors(rng, n, d):
    """Levels of two or three factors."""
    shares = rng.dirichlet(np.full(rng.integers(2, 4), 3.0))
    return np.hstack([levels(rng, n, max(2, int(d * share))) for share in shares])


def interactions(rng, n, d):
    """Levels times numbers, or times other levels."""
    if rng.random() < 0.5:
        x = rng.standard_normal((n, rng.integers(1, 4)))
        one = levels(rng, n, d // (x.shape[1] + 1))
        return np.hstack([one, x, products(one, x)])
    n_other = int(rng.integers(2, 9))
    one, other = levels(rng, n, d // n_other), levels(rng, n, n_other)
    return np.hstack([one, other, products(one, other)])


def seasons(rng, n, d):
    """Levels of cycles and of spans of time, which overlap, and a trend."""
    time, n_spans = np.arange(n), d // 2
    spans = time * n_spans // n
    cycles = [time % 7, time * 12 * 3 // n % 12, time % (d - n_spans - 18)]
    return np.hstack(
        [*(np.eye(v.max() + 1)[v] for v in [spans, *cycles]), time[:, None]]
    )


def curves(rng, n, d):
    """Splines, steps or periodic functions of few features."""
    kind = pick(rng, ["splines", "steps", "periodic"])
    if kind == "splines":
        x = rng.random((n, 8))
        return SplineTransformer(d // 8, degree=2, knots="quantile").fit_transform(x)
    if kind == "steps":
        x = rng.random((n, 4))
        return np.hstack([x[:, [j]] > np.arange(1, d // 4) * 4 / d for j in range(4)])
    angle = 2 * np.pi * np.outer(rng.random(n), np.arange(1, d // 2))
    return np.hstack([np.sin(angle), np.cos(angle)])


def draw_features(rng, n):
    """Groups of columns side by side, in scales of their own; as many as n allows."""
    groups = [pick(rng, GROUPS)(rng, n) for _ in range(rng.integers(1, 4))]
    X = np.hstack(groups)
    squares = np.square(
        (X - np.median(X, axis=0)) / np.abs(X).max(axis=0, initial=1e-9)
    )
    X = X[:, squares.sum(axis=0) ** 2 >= LEAST_PRESENT * (squares**2).sum(axis=0)]
    X = X[:, : max(1, n // ROWS_PER_PARAMETER - 1)]
    if X.shape[1] == 0:
        X = rng.standard_normal((n, 1))
    if rng.random() < 0.4:
        X = X * 10.0 ** rng.integers(-6, 7, X.shape[1])
    if rng.random() < 0.2:
        X = X * 10.0 ** rng.integers(-6, 7)
    return X


def standardised(X, weight):
    """Columns of mean 0 and variance 1, without those that do not vary."""
    X = X.astype(np.float64)
    center = np.average(X, axis=0, weights=weight)
    Z = X - center
    # Twice, for the digits of columns that are far from 0.
    Z -= np.average(Z, axis=0, weights=weight)
    size = np.sqrt(np.average(Z**2, axis=0, weights=weight))
    varies = size > 1e-12 * np.abs(X).max(axis=0, initial=0)
    return Z[:, varies] / size[varies], varies, size


def draw_targets(rng, X):
    """Linear in standardised features, with normal noise, in any unit."""
    Z, _, _ = standardised(X, np.ones(len(X)))
    effects = rng.standard_normal(Z.shape[1]) * pick(rng, [0.0, 0.1, 1.0, 10.0, 100.0])
    if rng.random() < 0.3:
        effects[rng.random(len(effects)) < 0.5] = 0
    y = Z @ effects + rng.standard_normal(len(X))
    if rng.random() < 0.2:
        y = np.round(pick(rng, [2, 10]) * y)
    return (y + pick(rng, [0.0, 0.0, 1.0, -1e3])) * 10.0 ** rng.integers(-6, 7)


def draw_weight(rng, n):
    kind = pick(rng, ["none", "none", "integers", "uniform", "unit"])
    if kind == "none":
        return None
    if kind == "integers":
        return rng.integers(0, 4, n).astype(float)
    return rng.uniform(0.2, 3, n) * (
        1 if kind == "uniform" else 10.0 ** rng.integers(-9, 9)
    )


def draw_layout(rng, X):
    """The rows in a dtype and format; the numbers of the dtype in float64."""
    dtype = pick(rng, [np.float64, np.float64, np.float32])
    X = X.astype(dtype)
    kinds = [np.asarray, np.asarray, np.asfortranarray, sp.csr_array]
    return pick(rng, kinds)(X), X.astype(np.float64)


class LeastSquares:
    """Weighted least squares with an intercept, and distances from it.

    Singular values below ``least`` times the largest are those of collinear features.
    """

    def __init__(self, X, y, weight, least):
        Z, self.varies, self.size = standardised(X, weight)
        root = np.sqrt(weight / weight.mean())
        rows = np.c_[np.ones(len(y)), Z] * root[:, np.newaxis]
        U, s, Vt = np.linalg.svd(rows, full_matrices=False)
        self.rank = np.count_nonzero(s > least * s[0])
        self.is_full = self.rank == len(s)
        center = np.average(y, weights=weight)
        target = root * (y - center)
        fitted = U[:, : self.rank] @ (U[:, : self.rank].T @ target)
        n = np.count_nonzero(weight)
        self.noise = np.sqrt(np.square(target - fitted).sum() / (n - self.rank))
        inverse = Vt[: self.rank] / s[: self.rank, np.newaxis]
        self.coef = (inverse.T @ (U[:, : self.rank].T @ target))[1:]
        self.errors = self.noise * np.sqrt(np.square(inverse).sum(axis=0))[1:]
        self.fitted, self.root, self.center = fitted, root, center
        self.leverage = np.square(U[:, : self.rank]).sum(axis=1).max()

    def typical_distance(self, prediction):
        """Root mean square over parameters, in standard errors."""
        gap = self.root * (prediction - self.center) - self.fitted
        return np.linalg.norm(gap) / np.sqrt(self.rank) / self.noise

    def largest_distance(self, coef):
        """That of coefficients in standard errors; 0 where features are collinear."""
        if not self.is_full:
            return 0.0
        gap = coef[self.varies] * self.size[self.varies] - self.coef
        return np.abs(gap / self.errors).max(initial=0)


def draw_regression(rng, n):
    """X in its layout, X in float64, y, and a weight or None."""
    X = draw_features(rng, n)
    X, rows = draw_layout(rng, X)
    y, weight = draw_targets(rng, rows), draw_weight(rng, n)
    if rng.random() < 0.15:
        order = rng.integers(0, n, n)  # duplicated rows, as of a bootstrap
        X, rows, y = X[order], rows[order], y[order]
    if weight is not None:
        # Noise of the variance that least squares expects; copies have noise of one.
        if np.all(weight == np.floor(weight)):
            order = np.flatnonzero(weight)
        else:
            order = np.arange(n)
        X, rows, y, weight = X[order], rows[order], y[order], weight[order]
    return X, rows, y, weight


def check_near(estimator, rows, y, weight, factor, what):
    """A fit is near least squares."""
    weight = np.ones(len(y)) if weight is None else weight
    single = estimator.coef_.dtype == np.float32
    known = LeastSquares(rows, y, weight, 1e-3 if single else 1e-9)
    if known.leverage > MOST_LEVERAGE:
        return
    coef = estimator.coef_.astype(np.float64)
    prediction = rows @ coef + float(estimator.intercept_[0])
    if single:
        # Rounding of the coefficients shows where terms are large.
        size = np.abs(rows) @ np.abs(coef) + np.abs(estimator.intercept_[0])
        if 1e-6 * size.max() > 0.1 * known.noise:
            return
    typical = known.typical_distance(prediction)
    assert typical <= factor * MOST_TYPICAL, (
        f"{what}: {typical:.3g} standard errors, n={rows.shape}, rank={known.rank}"
    )
    if not single:
        largest = known.largest_distance(coef)
        assert largest <= factor * MOST_ERRORS, f"{what}: a coefficient {largest:.3g}"


def run_regression(rng):
    """A default fit, and a stream of the same rows."""
    n = int(pick(rng, [LEAST_ROWS, 200, 400, 800, 2000]))
    X, rows, y, weight = draw_regression(rng, n)
    if len(y) < max(LEAST_ROWS, ROWS_PER_PARAMETER * (X.shape[1] + 1)):
        return
    est = MedianSGDRegressor(random_state=int(rng.integers(10)))
    est.fit(X, y, sample_weight=weight)
    check_near(est, rows, y, weight, 1.0, "fit")
    if rng.random() < 0.2 and est.coef_.dtype == np.float64:
        table = coefficient_table(est, X, y, sample_weight=weight)
        assert np.all((table.lower <= table.coef) | np.isnan(table.lower))
        assert table.r2 <= 1


def run_structured(rng):
    """A default fit of many parameters, with as few rows as determine them well."""
    d = int(rng.integers(70, 200))
    n = int(d * rng.uniform(FEW_ROWS, MOST_ROWS))
    X = pick(rng, [factors, factors, interactions, seasons, curves])(rng, n, d) * 1.0
    Z, _, _ = standardised(X, np.ones(n))
    effects = rng.standard_normal(Z.shape[1]) * pick(rng, [1.0, 10.0, 1000.0])
    y = Z @ effects + rng.standard_normal(n)
    order, columns = rng.permutation(n), rng.permutation(X.shape[1])
    X, y = X[order][:, columns], y[order]
    layout = pick(rng, [np.asarray, np.asarray, np.asfortranarray, sp.csr_array])
    est = MedianSGDRegressor(random_state=int(rng.integers(10))).fit(layout(X), y)
    check_near(est, X, y, None, 1.0, "fit of many parameters")


def run_stream(rng):
    """A stream of clean rows."""
    n = int(pick(rng, [1000, 2500]))
    X, rows, y, weight = draw_regression(rng, n)
    est = MedianSGDRegressor(random_state=int(rng.integers(10)))
    first = 0
    if rng.random() < 0.3:
        first = len(y) // 2
        given = None if weight is None else weight[:first]
        est.fit(X[:first], y[:first], sample_weight=given)
    size = int(pick(rng, [100, 250, 1000, len(y)]))
    for start in range(first, len(y), size):
        part = slice(start, start + size)
        est.partial_fit(X[part], y[part], None if weight is None else weight[part])
        if rng.random() < 0.2:
            est = pickle.loads(pickle.dumps(est))
    check_near(est, rows, y, weight, 2.0, "stream")


def linear_scores(rng, Z, n_classes):
    """Scores of a multinomial model of standardised features."""
    W = rng.standard_normal((Z.shape[1], n_classes)) * pick(rng, [0.0, 0.3, 1.0])
    W /= np.sqrt(max(1, Z.shape[1]))
    return Z @ W * 2 + rng.standard_normal(n_classes) * 0.5


def draw_linear(rng, n, n_classes):
    """Features of all kinds, scores, and features of a logistic regression."""
    X, rows = draw_layout(rng, draw_features(rng, n)[:, :30])
    Z, _, _ = standardised(rows, np.ones(n))
    return X, linear_scores(rng, Z, n_classes), Z


def draw_smooth(rng, n, n_classes):
    """Return splines of features, and scores that are smooth in the features.

    The splines have enough knots to represent the scores. A linear model without them
    would be wrong, and its probabilities too sure, as the guide says.
    """
    u = rng.standard_normal((n, rng.integers(1, 5)))
    to_feature = pick(rng, [np.exp, ndtr, np.asarray, lambda u: -np.log(ndtr(-u))])
    is_skewed = to_feature not in (ndtr, np.asarray)
    splines = SplineTransformer(
        n_knots=int(rng.integers(6, 11)),
        degree=int(rng.integers(2, 4)),
        knots="quantile" if is_skewed else pick(rng, ["uniform", "quantile"]),
        include_bias=bool(rng.integers(2)),
    )
    X, rows = draw_layout(rng, splines.fit_transform(to_feature(u)))
    W = rng.standard_normal((2, u.shape[1], n_classes)) * pick(rng, [0.3, 1.0])
    scores = np.sin(1.5 * u) @ W[0] + u @ W[1] / 2
    return X, scores, rows


def draw_codes(rng, n, n_classes):
    """Return features with codes for missing values, and scores without the codes."""
    Z = rng.standard_normal((n, rng.integers(2, 6)))
    n_coded = int(rng.integers(1, Z.shape[1] + 1))
    missing = rng.random((n, n_coded)) < pick(rng, [0.02, 0.05, 0.1])
    center, size = pick(rng, [0.0, 100.0, 2000.0]), pick(rng, [1.0, 10.0])
    values = center + size * Z
    Z[:, :n_coded][missing] = 0
    distance = pick(rng, [4, 6, 10, 100, -8, -1000]) * size
    values[:, :n_coded][missing] = center + distance
    indicators = missing if rng.random() < 0.7 else ~missing
    X, _ = draw_layout(rng, np.c_[values, indicators])
    Z = np.c_[Z, missing]
    return X, linear_scores(rng, Z, n_classes), Z


def run_classification(rng):
    """A default classifier's held-out loss, of labels of a multinomial model."""
    n, n_classes = int(pick(rng, [300, 1000, 2000])), int(pick(rng, [2, 2, 3, 5]))
    draw = pick(rng, [draw_linear, draw_smooth, draw_codes])
    X, scores, known_X = draw(rng, 2 * n, n_classes)
    if known_X.shape[1] == 0:
        return
    label = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    train, test = slice(0, n), slice(n, 2 * n)
    if np.bincount(label[train], minlength=n_classes).min() < 30:
        return
    if draw is draw_linear:
        ones = np.ones(n)
        squares = LeastSquares(known_X[train], label[train], ones, 1e-9)
        if squares.leverage > FAR_OUT:
            return
    clf = MedianSGDClassifier("log_loss", random_state=int(rng.integers(10)))
    clf.fit(X[train], label[train])
    known = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    known.fit(known_X[train], label[train])
    proba = clf.predict_proba(X[test]), known.predict_proba(known_X[test])
    loss, best = (log_loss(label[test], p, labels=clf.classes_) for p in proba)
    assert loss <= MOST_LOSS * best + MORE_LOSS, (
        f"{draw.__name__}: loss {loss:.3f}, of a logistic regression {best:.3f}, "
        f"{known_X.shape}"
    )


def run_case(number):
    """Make a case from its number, run it and compare it."""
    rng = np.random.default_rng([number, 26])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", category=RuntimeWarning, module="medsgd")
        kinds = [run_regression] * 6 + [run_stream] * 2 + [run_classification]
        kinds += [run_structured] * 2
        pick(rng, kinds)(rng)


if __name__ == "__main__":
    from driver import run_cases

    run_cases(__doc__, run_case)
