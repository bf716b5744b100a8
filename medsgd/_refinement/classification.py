"""Second stage of a classifier: one multinomial model by the gamma-divergence.

The median stage costs accuracy, and its one-versus-rest models cost calibration. From
its solution this stage minimises, over the coefficients W of a multinomial (for two
classes a logistic) model,

    mean_i h_i (a / gamma) (1 - q_i^(gamma / a)),    q_i = softmax(a W z_i)[y_i],

with a = 1 + gamma: the gamma-divergence of the labels from the model (Fujisawa and
Eguchi, JMVA 2008; Hung, Jou and Huang, Biometrics 2018). gamma = 0 is the log loss. A
row whose label the model finds implausible has the weight q^(gamma / a) near 0, and
h is the leverage weight. softmax(W z) stays a consistent estimate of the probabilities.

With many features for the rows, the minimiser memorises wrong labels. So the direction
of W is found under a normal prior on the coefficients, whose width follows from the
data, and the size of W, which the prior makes too small, is fitted afterwards.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import expit, softmax
from scipy.stats import chi2

from medsgd._core.multinomial import divergence
from medsgd._standardize import BLOCK

# All numbers are measured, on digits, texts, simulations and some forty other data
# sets, clean and with wrong labels or rows. A larger gamma resists more wrong labels
# and costs calibration on clean data.
GAMMA = 1.0
# A first, tighter fit finds the majority where outlying rows have wrong labels.
TIGHT_GAMMA = 2.0
# Precisions of the prior of a logit: 1 / n_rows times these, times the squared norm of a
# typical row, is the factor of |W|^2 / 2. The strong prior is for many wrong labels.
PRECISIONS = (1.0, 0.2)
# Parts of the rows, of which one or all are held out to choose between the priors.
N_FOLDS = 4
# As many rows make one part large enough.
ENOUGH_ROWS = 1000
# Standard deviation of the prior of log(size). Without it the size grows without bound
# on rows that a hyperplane separates.
SIZE_DEVIATION = 0.25
LARGEST_SIZE = 12.0
# Updates of the median stage, which only has to lead into the right valley.
LEAD_UPDATES = 1000
# Probability of a label below which its row is an outlier.
IMPLAUSIBLE = 0.05
# Relative progress of an iteration below which a minimisation ends, over the user's
# tolerance: for the last one and for those that lead to it.
PROGRESS = 1e-2
PROGRESS_BEFORE = 1e-1


def lead_epochs(n_samples):
    """Epochs of the median stage before a refinement."""
    return -(-LEAD_UPDATES // max(1, n_samples))


def probabilities(scores):
    """Probabilities of the classes for the scores of a multinomial model."""
    if scores.ndim == 1:
        positive = expit(scores)
        return np.column_stack([1 - positive, positive])
    return softmax(scores, axis=1)


class Rows:
    """Rows as the fit sees them, a block of them at a time.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_rows, n_features)
    label : ndarray of shape (n_rows,)
        The class of each row, from 0.
    weight : ndarray of shape (n_rows,)
        0 for rows to leave out.
    units : FeatureUnits
    leverage_weights : bool
        Whether rows far out in the features count less.

    Attributes
    ----------
    leverage : ndarray of shape (n_rows,)
        The leverage weight of each row, from 0 to 1.
    """

    def __init__(self, X, label, weight, units, *, leverage_weights):
        self.X, self.label, self.units = X, label, units
        n, d = X.shape
        step = n if sparse.issparse(X) else max(1, BLOCK // d)
        self.blocks = [slice(start, start + step) for start in range(0, n, step)]
        self._first = None
        with np.errstate(over="ignore"):
            norm = self._squared_norms()
        # A row this far out has no weight, and its logits may not be finite.
        self._overflows = ~np.isfinite(norm)
        self._any_overflows = bool(self._overflows.any())
        self.leverage = np.ones(n)
        if leverage_weights:
            limit = chi2.ppf(0.975, d)
            self.leverage = limit / np.maximum(norm, limit)
        self.leverage[self._overflows] = 0.0
        self.weight = weight * self.leverage

    def judge(self, model):
        """Weight of each row under a model, and whether the model rejects the row."""
        logits = self.scores(model.coef)
        logits += model.intercept
        plausible = probabilities(logits[:, 0] if logits.shape[1] == 1 else logits)
        plausible = plausible[np.arange(len(self.label)), self.label]
        losses = divergence(logits, self.label, np.ones(len(self.label)), GAMMA)
        weights = self.leverage * (1 - losses * GAMMA / (1 + GAMMA))
        return weights, plausible < IMPLAUSIBLE

    def rejected(self, losses):
        """Share of the rows with a weight that lose more than half of it."""
        return float(np.mean(losses[self.weight > 0] > 0.5 * (1 + GAMMA) / GAMMA))

    def _squared_norms(self):
        if sparse.issparse(self.X):
            X = self.X
            data = X.data.astype(np.float64) ** 2
            if self.units.known:
                data *= self.units.inverse_scale.astype(np.float64)[X.indices] ** 2
            before = np.concatenate([[0.0], np.cumsum(data)])
            if np.isfinite(before[-1]):
                return before[X.indptr[1:]] - before[X.indptr[:-1]]
            return np.array([part.sum() for part in np.split(data, X.indptr[1:-1])])
        norm = np.empty(len(self.X))
        for rows in self.blocks:
            Z = (self.X[rows] - self.units.center) * self.units.inverse_scale
            norm[rows] = np.einsum("ij,ij->i", Z, Z, dtype=np.float64)
        return norm

    def _block(self, rows):
        """The standardised rows of a block, kept if it is the only one."""
        if self._first is not None:
            return self._first
        Z = self.X[rows].astype(np.float64)
        if self.units.applied:
            with np.errstate(over="ignore"):
                Z -= self.units.center
                Z *= self.units.inverse_scale
        if self._any_overflows:
            Z[self._overflows[rows]] = 0
        if len(self.blocks) == 1:
            self._first = Z
        return Z

    def scores(self, coef):
        """Inner products of the rows with the columns of ``coef``."""
        if sparse.issparse(self.X):
            scores = self._sparse_product(self.X, self._in_user_units(coef))
            if self._any_overflows:
                scores[self._overflows] = 0
            return scores
        parts = [self._block(rows) @ coef for rows in self.blocks]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def sums(self, slope):
        """Sums of the rows times each column of ``slope``, that of ``scores``."""
        if sparse.issparse(self.X):
            return self._in_user_units(self._sparse_product(self.X.T, slope))
        return sum(self._block(rows).T @ slope[rows] for rows in self.blocks)

    def _in_user_units(self, coef):
        if not self.units.applied:
            return coef
        return coef * self.units.inverse_scale[:, np.newaxis]

    def _sparse_product(self, X, columns):
        # Of one dtype, else SciPy converts the whole matrix.
        return np.asarray(X @ columns.astype(X.dtype, copy=False), dtype=np.float64)


@dataclass(frozen=True)
class Shrinkage:
    """Factors of |W|^2 / 2 and of the sum of |W|."""

    l2: float
    l1: float

    def value(self, coef):
        value = 0.5 * self.l2 * np.vdot(coef, coef) if self.l2 else 0.0
        return value + (self.l1 * np.abs(coef).sum() if self.l1 else 0.0)


@dataclass
class Model:
    """A multinomial model in the units of a fit.

    Attributes
    ----------
    intercept : ndarray of shape (n_outputs,)
    coef : ndarray of shape (n_features, n_outputs)
        One output for two classes: the logit of class 1.
    converged : bool
    """

    intercept: np.ndarray
    coef: np.ndarray
    converged: bool = False


def minimise(
    rows, start, weight, gamma, penalty, *, fit_intercept, tol, max_iter, watch=None
):
    """Minimise the divergence plus a penalty from a model.

    ``weight``: of the rows, adding up to 1; ``watch(model, objective, losses)`` is
    called after each iteration and ends the minimisation by returning True.
    """
    n_outputs = len(start.intercept)
    size = start.coef.size
    last: dict[str, Any] = {}
    # The L1 penalty is linear in the positive and the negative parts, bounded by 0,
    # so that coefficients become 0 exactly.
    parted = penalty.l1 > 0

    def model_of(flat):
        coef = flat[n_outputs : n_outputs + size]
        if parted:
            coef = coef - flat[n_outputs + size :]
        return Model(flat[:n_outputs], coef.reshape(-1, n_outputs))

    def objective(flat):
        model = model_of(flat)
        logits = rows.scores(model.coef)
        logits += model.intercept
        loss = divergence(logits, rows.label, weight, gamma)
        slope = logits
        value = weight @ loss + penalty.value(model.coef)
        gradient = rows.sums(slope) + penalty.l2 * model.coef
        gradient = [slope.sum(axis=0) * fit_intercept, gradient.ravel()]
        if parted:
            gradient[1:] = [gradient[1] + penalty.l1, penalty.l1 - gradient[1]]
        last.update(loss=loss, value=value)
        return value, np.concatenate(gradient)

    def callback(flat):
        if watch is not None and watch(model_of(flat), last["value"], last["loss"]):
            raise StopIteration

    flat = [start.intercept, start.coef.ravel()]
    bounds = None
    if parted:
        flat[1:] = [np.maximum(flat[1], 0), np.maximum(-flat[1], 0)]
        bounds = [(None, None)] * n_outputs + [(0, None)] * (2 * size)
    with np.errstate(over="ignore", invalid="ignore"):
        found = minimize(
            objective,
            np.concatenate(flat).astype(np.float64),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            callback=callback,
            options={"maxiter": max_iter, "ftol": tol, "gtol": 0.0},
        )
    model = model_of(found.x)
    # Status 1: as many iterations as allowed.
    model.converged = found.status != 1
    return model


def resized(rows, model, weight, gamma, penalty, *, fit_intercept):
    """The model with coefficients of the size that fits best, and intercepts to it.

    ``penalty``: that of the user alone; the prior has made the coefficients too small.
    """
    n_rows = np.count_nonzero(weight)
    scores, n_outputs = rows.scores(model.coef), len(model.intercept)

    def objective(parameters):
        size = np.exp(parameters[0])
        along = size * scores
        slope = along + parameters[1:]
        loss = divergence(slope, rows.label, weight, gamma)
        value = weight @ loss + penalty.value(size * model.coef)
        value += (parameters[0] / SIZE_DEVIATION) ** 2 / (2 * n_rows)
        gradient = np.empty(1 + n_outputs)
        gradient[0] = np.vdot(slope, along) + parameters[0] / SIZE_DEVIATION**2 / n_rows
        gradient[0] += penalty.l2 * size**2 * np.vdot(model.coef, model.coef)
        gradient[0] += penalty.l1 * size * np.abs(model.coef).sum()
        gradient[1:] = slope.sum(axis=0) * fit_intercept
        return value, gradient

    limit = np.log(LARGEST_SIZE)
    found = minimize(
        objective,
        np.concatenate([[0.0], model.intercept]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-limit, limit)] + [(None, None)] * n_outputs,
        options={"ftol": 1e-5},
    )
    return Model(found.x[1:], np.exp(found.x[0]) * model.coef, model.converged)


def prior(rows, n_rows, precision, n_outputs):
    """Factor of |W|^2 / 2 that makes ``precision`` that of a typical row's logits."""
    # The difference of two classes' logits has the variance of both.
    half = 0.5 if n_outputs == 1 else 1.0
    return half * precision * rows.units.squared_norm / n_rows


def fold_of(label):
    """The part that each row belongs to, with the classes alike in all parts."""
    fold = np.empty(len(label), dtype=np.intp)
    fold[np.argsort(label, kind="stable")] = np.arange(len(label)) % N_FOLDS
    return fold


def choose_precision(rows, start, weight, fit):
    """The precision whose model finds held-out labels most plausible, and that model.

    ``fit(start, weight, gamma, precision)`` returns a model, and its resized one.
    """
    used = np.flatnonzero(weight)
    fold = np.full(len(weight), -1)
    fold[used] = fold_of(rows.label[used])
    n_folds = N_FOLDS if len(used) < ENOUGH_ROWS else 1
    score = np.zeros(len(PRECISIONS))
    models = []
    for k in range(n_folds):
        training = np.where(fold == k, 0.0, weight)
        training /= training.sum() or 1.0
        held_out = fold == k
        model, _ = fit(start, training, TIGHT_GAMMA, PRECISIONS[0], size=False)
        for i, precision in enumerate(PRECISIONS):
            model, whole = fit(model, training, GAMMA, precision)
            logits = rows.scores(whole.coef) + whole.intercept
            loss = divergence(logits, rows.label, weight, GAMMA)
            score[i] += weight[held_out] @ loss[held_out]
            if k == 0:
                models.append(model)
    best = int(np.argmin(score))
    return PRECISIONS[best], models[best]


def refine(
    rows: Rows,
    start: Model,
    *,
    penalty: Shrinkage,
    fit_intercept: bool,
    tol: float | None,
    max_iter: int,
    watch: Callable[..., bool] | None = None,
) -> Model:
    """Fit the multinomial model from where the medians have led.

    Parameters
    ----------
    rows : Rows
    start : Model
    penalty : Shrinkage
        That of the user, which comes on top of the prior.
    fit_intercept : bool
    tol : float or None
        Tolerance of the user; None goes on as long as there is any progress.
    max_iter : int
        Bound on the iterations over all rows.
    watch : callable or None
        See ``minimise``; for the iterations over all rows.
    """
    total = rows.weight.sum()
    if total == 0:
        return start
    weight = rows.weight / total
    n_rows, n_outputs = np.count_nonzero(weight), len(start.intercept)
    tolerance = tol or 0.0
    same = {"fit_intercept": fit_intercept}

    def with_prior(precision):
        return Shrinkage(penalty.l2 + prior(rows, n_rows, precision, n_outputs), penalty.l1)

    def fit(model, weight, gamma, precision, *, size=True):
        model = minimise(
            rows,
            model,
            weight,
            gamma,
            with_prior(precision),
            tol=tolerance * PROGRESS_BEFORE,
            max_iter=max_iter,
            **same,
        )
        if not size:
            return model, None
        return model, resized(rows, model, weight, gamma, penalty, **same)

    precision, model = choose_precision(rows, start, weight, fit)
    model = minimise(
        rows,
        model,
        weight,
        GAMMA,
        with_prior(precision),
        tol=tolerance * PROGRESS,
        max_iter=max_iter,
        watch=watch,
        **same,
    )
    return resized(rows, model, weight, GAMMA, penalty, **same)
