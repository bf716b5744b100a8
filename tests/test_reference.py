"""Whole fits against DESIGN by the letter, one sample at a time in NumPy."""

from itertools import cycle

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from scipy.stats import chi2

from medsgd import MedianSGDClassifier, MedianSGDRegressor

ALPHA, N_EPOCHS = 0.02, 2
# Coefficients and intercept of the classifier: all gradients at 0 have one size.
START = np.array([0.1, 0.2, -0.1, 0.3, -0.2])
LAYOUTS = {
    "dense": np.ascontiguousarray,
    "csr": sp.csr_array,
    "dense float32": lambda X: X.astype(np.float32),
    "csr float32": lambda X: sp.csr_array(X.astype(np.float32)),
}
ESTIMATORS = [
    {"gradient_estimator": "mean"},
    {"gradient_estimator": "coord-median"},
    {"gradient_estimator": "geometric-median"},
    {"gradient_estimator": "spp-l1", "tau": 0.3},
    {"gradient_estimator": "spp-l1", "tau": "auto"},
    {"gradient_estimator": "spp-l2", "tau": 0.5},
    {"gradient_estimator": "spp-l2", "tau": "auto"},
    {"gradient_estimator": "spp-l2", "tau": np.inf},
]
# The rest of a fit: momentum, steps, penalty, average, whether samples are weighted.
OPTIONS = [
    (0.0, "constant", None, False, False),
    (0.0, "invscaling", "l2", True, True),
    (0.0, "constant", "l1", False, True),
    (0.8, "constant", "l2", 9, False),
    (0.8, "invscaling", "l1", True, True),
]


def weighted_median(values, weight):
    """Along the first axis; no two weights add up to half by chance."""
    if np.all(weight == weight[0]):
        return np.median(values, axis=0)
    return np.quantile(values, 0.5, axis=0, weights=weight, method="inverted_cdf")


def geometric_median(points, weight):
    """The best point if the others do not pull it away, else by Weiszfeld's steps."""
    distance = np.linalg.norm(points[:, np.newaxis] - points, axis=2)
    best = np.argmin(weight @ distance)
    apart = distance[best] > 0
    pull = weight[apart] / distance[best][apart] @ (points[apart] - points[best])
    own = weight[~apart].sum()
    if np.linalg.norm(pull) <= own:
        return points[best]
    # A little off the point, the way it is pulled.
    z = points[best] + 1e-3 * pull / np.sum(weight[apart] / distance[best][apart])
    for _ in range(2000):
        share = weight / np.linalg.norm(points - z, axis=1)
        moved = share @ points / share.sum()
        if np.linalg.norm(moved - z) <= 1e-9 * np.linalg.norm(points):
            break
        z = moved
    return moved


def iterations(order, strata, size):
    """Samples of each iteration: a stratum's next, at the end filled up with first."""
    gathered = {k: [] for k in np.unique(strata)}
    for lap, row in ((lap, row) for lap in cycle((1, 2)) for row in order):
        group = gathered[strata[row]]
        if lap == 2 and not any(gathered.values()):
            return
        if lap == 1 or group:
            group.append(row)
        if len(group) == size:
            yield list(group)
            group.clear()


class Reference:
    """A fit of squared errors or, where targets are -1 and 1, of the log loss."""

    def __init__(self, X, y, weight, leverage, *, classes, start, sparse, params):
        self.X, self.y, self.weight, self.leverage = X, y, weight, leverage
        self.name, self.tau = params["gradient_estimator"], params.get("tau")
        self.p, self.classes, self.sparse = params, classes, sparse
        mean = self.name == "mean"
        self.proximal = self.name.startswith("spp")
        single = self.p["n_gradients"] == 1
        follows_each = single and self.p["momentum"] == 0
        follows_each &= not self.proximal or self.tau == np.inf
        visits = np.ones(len(y), int)
        if not mean and not follows_each:
            # A row comes as often as it weighs.
            self.weight = weight / weight.mean()
            visits = np.maximum(1, np.rint(self.weight)).astype(int)
        in_strata = classes and self.proximal and not follows_each
        self.strata = (y > 0).astype(int) if in_strata else np.zeros(len(y), int)
        n_strata = 1 + in_strata
        self.shares = np.bincount(self.strata, self.weight) / self.weight.sum()
        self.visits = np.repeat(np.arange(len(y)), visits)
        d = X.shape[1]
        self.w, self.sum = np.zeros(d + 1), np.zeros(d + 1)
        if classes:
            self.w[:] = start
        elif not mean:
            self.w[d] = weighted_median(y, self.weight)
        self.m, self.n_updates = np.zeros((n_strata, d + 1)), np.zeros(n_strata)
        self.weight = self.weight / visits
        # The mean takes small steps for the intercept of sparse rows.
        self.rate = np.r_[np.ones(d), 0.01 if mean and sparse else 1]
        tracks = self.p["momentum"] > 0 or in_strata
        tracks |= self.proximal and self.tau != np.inf
        # scikit-learn charges all coefficients, but on sparse rows those of the row.
        size = self.p["n_gradients"] * self.p["batch_size"]
        self.as_sgd = size == 1 and not tracks and not params["standardize"]
        self.charges_all = self.as_sgd and not sparse
        self.c_tau = 2.5 if classes else 0.1
        self.t, self.n_averaged, self.owed, self.paid = 0, 0, 0, np.zeros(d)
        self.ties = 0  # where rounding decides how a scale moves

    def gradients(self, rows, leverage):
        """Of the batches in ``rows``, with their weights in steps and in medians."""
        rows = np.reshape(rows, (-1, self.p["batch_size"]))
        X = np.concatenate([self.X[rows], np.ones((*rows.shape, 1))], axis=2)
        y, prediction = self.y[rows], X @ self.w
        if self.classes:
            derivative = -y / (1 + np.exp(y * prediction))
        else:
            derivative = prediction - y
        say = self.weight[rows] * leverage[rows]
        share = say / say.sum(axis=1, keepdims=True)
        g = np.einsum("nb,nbd->nd", share * derivative, X)
        return g, self.weight[rows].mean(axis=1), say.mean(axis=1)

    def starting_scales(self, groups):
        """Median sizes of the first gradients, of each stratum."""
        scales = []
        for k in range(len(self.m)):
            own = np.ravel([rows for rows in groups if self.strata[rows[0]] == k])
            own = own[: 256 // self.p["batch_size"] * self.p["batch_size"]]
            g = np.abs(self.gradients(own, np.ones(len(self.y)))[0])
            if self.name == "spp-l2":
                g = np.linalg.norm(g, axis=1, keepdims=True)
            scales.append(
                [np.quantile(c[c > 0], 0.5, method="inverted_cdf") for c in g.T]
            )
            # Of an even number the mean of two, but for features one by one.
            scales[-1][-1] = np.median(g[g[:, -1] > 0, -1])
        return np.array(scales) if self.name == "spp-l1" else np.ravel(scales)

    def follow(self, k, g, step_weight, say):
        """One step of the proximal point method."""
        self.n_updates[k] += 1
        difference, size = g - self.m[k], np.abs(g - self.m[k])
        moves = (g != 0) & (size > 0)
        if self.name == "spp-l2":
            size = np.linalg.norm(difference)
            moves = size > 0
        radius = self.tau
        if radius == "auto":
            gamma = min(1, max(0.05, self.n_updates[k] ** -0.6) * step_weight)
            s = self.s[k]
            self.ties += np.sum(moves & (np.abs(size - s) < 1e-6 * s))
            changed = s * np.exp(gamma * ((size > s) - 0.5))
            self.s[k] = s = np.where(moves, changed, s)
            radius = self.c_tau * s
        keep = 1 - self.p["momentum"]
        # The proximal point of a weight's multiple of the Huber function.
        keep *= step_weight / (keep * step_weight + self.p["momentum"])
        with np.errstate(divide="ignore"):
            share = np.minimum(keep, radius * say / size)
        # What comes twice in a row is exactly there.
        self.m[k] = np.where(share == 1, g, self.m[k] + share * difference)

    def direction(self, k, g, step_weight, say):
        """The location, times what the weights of samples make of the step."""
        momentum, total = self.p["momentum"], step_weight.mean()
        if self.proximal:
            for one in zip(g, step_weight, say, strict=True):
                self.follow(k, *one)
            return total * (self.shares @ self.m)
        if self.name == "mean":
            middle = say @ g / say.sum()
        elif self.name == "coord-median":
            middle = weighted_median(g, say)
        else:
            middle = geometric_median(g, say)
        self.m[k] += (1 - momentum) * (total * middle - self.m[k])
        return self.m[k]

    def iterate(self, rows):
        self.t += 1
        eta, penalty = self.p["eta0"], self.p["penalty"]
        if self.p["learning_rate"] == "invscaling":
            eta *= self.t ** -self.p["power_t"]
        step = eta * self.direction(
            self.strata[rows[0]], *self.gradients(rows, self.leverage)
        )
        if penalty == "l2":
            self.w[:-1] *= 1 - eta * ALPHA
        self.w -= self.rate * step
        if self.p["average"] and self.t >= self.p["average"]:
            self.sum += self.w
            self.n_averaged += 1
        if penalty == "l1":
            self.owed += eta * ALPHA
            self.charge(self.charges_all | np.any(self.X[rows] != 0, axis=0))

    def charge(self, which):
        """Take the cumulative L1 penalty, after Tsuruoka et al."""
        w, due = self.w[:-1], self.owed - np.sign(self.w[:-1]) * -self.paid
        after = np.sign(w) * np.maximum(0, np.abs(w) - due)
        self.paid += np.where(which, after - w, 0)
        self.w[:-1] = np.where(which, after, w)

    def fit(self):
        size = self.p["n_gradients"] * self.p["batch_size"]
        groups = list(iterations(self.visits, self.strata, size))
        self.s = self.starting_scales(groups) if self.tau == "auto" else None
        for _ in range(N_EPOCHS):
            for rows in groups:
                self.iterate(rows)
            if self.p["penalty"] == "l1" and not self.as_sgd:
                self.charge(True)
        return self.sum / self.n_averaged if self.n_averaged else self.w


def problem(classes, weighted, *, repeats):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(43, 4)) * (rng.random((43, 4)) < 0.7)
    y = X @ [1.0, -2.0, 0.5, 0.0] + 0.5 + rng.standard_t(2, size=43)
    y = np.where(y > 1, 1.0, -1.0) if classes else y
    # The first ones are large: none is equal to the median of their sizes.
    first = np.r_[np.flatnonzero(y > 0)[:2], np.flatnonzero(y <= 0)[:2]]
    X[first] = 3 * np.sign(rng.normal(size=4)) + rng.random((4, 4))
    y[first] *= 1 if classes else 3
    weight = rng.uniform(0.3, 2, size=43) if weighted else np.ones(43)
    if weighted:
        weight[20] = 0
        if repeats:
            weight[31] = 4
        else:
            weight = np.clip(weight, 0.6, 1.2)
    return X, y, weight


def expected_parameters(est, X, y, weight, *, sparse):
    """Those of the reference, in the units that ``est`` has found."""
    params, classes = est.get_params(), isinstance(est, MedianSGDClassifier)
    center, inverse_scale = est._units.center, est._units.inverse_scale
    Z, leverage = (X - center) * inverse_scale, np.ones(len(X))
    if params["leverage_weights"]:
        far = np.maximum(1, np.sum(Z**2, axis=1) / chi2.ppf(0.975, X.shape[1]))
        leverage = far ** (-1.0 if classes else -3.0)
    kept, start = weight > 0, START.copy()
    if params["standardize"]:
        start[-1] += START[:-1] @ center
        start[:-1] /= inverse_scale
    reference = Reference(
        (Z if params["standardize"] else X)[kept],
        y[kept],
        weight[kept],
        leverage[kept],
        classes=classes,
        start=start,
        sparse=sparse,
        params=params,
    )
    expected = reference.fit()
    assert reference.ties == 0
    if params["standardize"]:
        expected[:-1] *= inverse_scale
        expected[-1] -= expected[:-1] @ center
    return expected


def assert_follows_design(classes, weighted, **params):
    # Of a gradient that comes twice in an iteration, rounding would decide whether the
    # scale of a coordinate that has reached it moves.
    repeats = params["n_gradients"] == 1 or params.get("tau") != "auto"
    repeats |= params["gradient_estimator"] != "spp-l1"
    X, y, weight = problem(classes, weighted, repeats=repeats)
    params |= {"alpha": ALPHA, "shuffle": False, "max_iter": N_EPOCHS, "tol": None}
    params |= {"eta0": 0.03, "power_t": 0.3}
    est, start, expected = MedianSGDRegressor(refine=False), {}, {}
    if classes:
        est = MedianSGDClassifier(refine=False)
        start = {"coef_init": START[:-1], "intercept_init": START[-1]}
    est.set_params(**params)
    for layout, convert in LAYOUTS.items():
        est.fit(convert(X), y, sample_weight=weight, **start)
        sparse = "csr" in layout
        if sparse not in expected:
            expected[sparse] = expected_parameters(est, X, y, weight, sparse=sparse)
        tol = 2e-4 if "float32" in layout else 1e-9
        if params["gradient_estimator"] == "geometric-median":
            tol = max(tol, 1e-4)  # its steps end before they converge
        assert_allclose(
            np.append(est.coef_, est.intercept_),
            expected[sparse],
            rtol=tol,
            atol=tol * np.abs(expected[sparse]).max(),
            err_msg=f"{layout}, {params}",
        )


KINDS = pytest.mark.parametrize(
    "classes", [False, True], ids=["regressor", "classifier"]
)
EACH = pytest.mark.parametrize(
    "estimator", ESTIMATORS, ids=lambda params: "-".join(map(str, params.values()))
)


@pytest.mark.parametrize("n, batch_size", [(1, 1), (1, 2), (3, 1), (5, 2)])
@EACH
@KINDS
def test_bare_gradients(classes, estimator, n, batch_size):
    for momentum, learning_rate, penalty, average, weighted in OPTIONS:
        assert_follows_design(
            classes,
            weighted,
            n_gradients=n,
            batch_size=batch_size,
            momentum=momentum,
            learning_rate=learning_rate,
            penalty=penalty,
            average=average,
            standardize=False,
            leverage_weights=False,
            **estimator,
        )


@EACH
@KINDS
def test_standardised_rows_weighted_by_leverage(classes, estimator):
    mean = estimator["gradient_estimator"] == "mean"
    assert_follows_design(
        classes,
        weighted=True,
        n_gradients=3,
        batch_size=2,
        momentum=0.5,
        learning_rate="invscaling",
        penalty="l1",
        average=True,
        standardize=True,
        leverage_weights=not mean,
        **estimator,
    )


def reference_spp_l2(X, y, *, eta, c, n_epochs):
    """DESIGN by the letter: SPP for the l2 norm with the tracked radius, in NumPy."""
    rows = np.column_stack([X, np.ones(len(X))])
    w, m, t = np.zeros(rows.shape[1]), np.zeros(rows.shape[1]), 0
    w[-1] = np.median(y)
    first = (rows[:256] @ w - y[:256])[:, np.newaxis] * rows[:256]
    s = np.median(np.linalg.norm(first, axis=1))
    for _ in range(n_epochs):
        for x, target in zip(rows, y, strict=True):
            t += 1
            g = (x @ w - target) * x
            r = np.linalg.norm(g - m)
            s *= np.exp(max(0.05, t**-0.6) * ((r > s) - 0.5))
            m += min(1, c * s / r) * (g - m)
            w -= eta * m
    return w, s


@pytest.mark.parametrize("layout", [np.asarray, sp.csr_matrix, sp.csr_array])
def test_the_default_radius_follows_the_design(layout):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 4))
    y = X @ [1.0, 2.0, 3.0, 4.0] + 5 + rng.standard_t(1.5, size=400)
    w, s = reference_spp_l2(X, y, eta=0.01, c=0.1, n_epochs=3)
    est = MedianSGDRegressor(
        learning_rate="constant",
        eta0=0.01,
        penalty=None,
        shuffle=False,
        max_iter=3,
        tol=None,
        refine=False,
        standardize=False,
        leverage_weights=False,
    ).fit(layout(X), y)
    assert_allclose(np.r_[est.coef_, est.intercept_], w, rtol=1e-9)
    assert_allclose(est.tau_, 0.1 * s, rtol=1e-9)


@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
@pytest.mark.parametrize(
    "penalty, l1_ratio", [("l2", 0), ("l1", 1), ("elasticnet", 0.3)]
)
@pytest.mark.parametrize("class_weight", [None, {0: 1.0, 1: 3.0}])
def test_the_objective_of_a_model_that_stays(layout, penalty, l1_ratio, class_weight):
    rng = np.random.default_rng(0)
    X, w = rng.standard_normal((101, 4)), np.array([1.0, -2.0, 0.5, 3.0])
    y = (X @ w + rng.standard_normal(101) > 0).astype(int)
    weight = 2 * rng.integers(1, 4, size=101) - 1  # an odd sum has one median
    kwargs = {"penalty": penalty, "l1_ratio": l1_ratio, "alpha": 0.7}
    kwargs |= {"learning_rate": "constant", "eta0": 1e-300, "max_iter": 1, "tol": None}
    kwargs["standardize"] = False
    model = {"coef_init": w, "intercept_init": [2.0], "sample_weight": weight}
    clf = MedianSGDClassifier("log_loss", class_weight=class_weight, **kwargs)
    reg = MedianSGDRegressor("squared_error", refine=False, **kwargs)

    norms = 0.7 * ((1 - l1_ratio) * (w @ w) / 2 + l1_ratio * abs(w).sum())
    score = X @ w + 2
    log_loss = np.logaddexp(0, (1 - 2 * y) * score)
    counts = weight * np.where(y == 1, 3 if class_weight else 1, 1)
    for est, loss, repeats in (
        (clf, log_loss, counts),
        (reg, (y - score) ** 2 / 2, weight),
    ):
        est.fit(layout(X), y, **model)
        desired = np.median(np.repeat(loss, repeats)) + norms
        assert_allclose(est.loss_curve_, [desired], rtol=1e-12)
