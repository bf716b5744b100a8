"""Rows with labels: how far they are from a multinomial model, and their weights."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import expit, softmax
from sklearn.utils import gen_batches

from medsgd._core.multinomial import divergence
from medsgd._fit.units import leverage_limit, squared_norms
from medsgd._refinement.quasi_newton import inner
from medsgd._refinement.shifts import group_shifts, no_shifts

# All numbers are measured, on digits, texts, simulations and some forty other data
# sets, clean and with wrong labels or rows. A larger gamma resists more wrong labels
# and costs calibration on clean data.
GAMMA = 1.0
# Elements of X that are standardised at a time, and up to how many they are kept.
BLOCK = 2**17
KEPT = 2**18
# Multiplications of a product of matrices up to which BLAS runs on one thread, for one
# column and for several: starting threads costs more than it saves.
ONE_THREAD = (2**13, 2**18)
# Rows with a larger loss have a weight below one half.
HALF_LOST = 0.5 * (1 + GAMMA) / GAMMA
# A label is implausible if the features of its row are this much less likely in its
# class than in another one.
IMPLAUSIBLE = 0.05
# Among so many classes, one of fewer rows, and of a smaller part of the mean number of
# rows of a class, counts by nearly the log loss. The gamma-divergence takes so few rows
# for wrong labels. Wrong labels at random would give more rows to each class.
MANY_CLASSES, FEW_ROWS, FEW_PART, GAMMA_OF_FEW = 10, 10, 0.25, 0.01
# Leverage weight below which a row is an outlier with any label.
FAR_OUT = 0.1


def probabilities(scores):
    """Return class probabilities for the scores of a multinomial model."""
    if scores.ndim == 1:
        positive = expit(scores)
        return np.column_stack([1 - positive, positive])
    return softmax(scores, axis=1)


def leverage(X, units, *, weighted=True):
    """Return a weight of each row, from 1 to 0, that is smaller for rows far out.

    Without ``weighted`` it is 1, but 0 for rows whose squared norm overflows.
    """
    return _leverage(squared_norms(X, units), X.shape[1], weighted)


def _leverage(norm, n_features, weighted):
    limit = leverage_limit(n_features)
    result = limit / np.maximum(norm, limit) if weighted else np.ones(len(norm))
    result[~np.isfinite(norm)] = 0.0
    return result


def divergence_with_few(logits, label, weight, gamma, few):
    """Return losses, by nearly the log loss for few rows; ``logits`` become slopes."""
    logits_of_few = logits[few]
    losses = divergence(logits, label, weight, gamma)
    if len(few):
        losses[few] = divergence(logits_of_few, label[few], weight[few], GAMMA_OF_FEW)
        logits[few] = logits_of_few
    return losses


@dataclass(frozen=True, eq=False)
class Divergence:
    """The divergence of rows from a model.

    Attributes
    ----------
    value : float
        Weighted sum of the losses.
    intercept, coef : ndarray
        Its derivatives, in the shape of those of the model.
    losses : ndarray of shape (n_rows,) or None
        None where the rows are not at hand.
    rejected : float or None
        Share of the rows with a weight that lose more than half of it. None if there
        are ``losses``.
    """

    value: float
    intercept: np.ndarray
    coef: np.ndarray
    losses: np.ndarray | None
    rejected: float | None = None


@dataclass(frozen=True, eq=False)
class Along:
    """Rows with their scores, for models that differ in size and intercepts."""

    rows: Any
    scores: np.ndarray
    weight: np.ndarray

    def divergence(self, size, intercept, gamma):
        """Return the sum of losses, and its derivatives in log(size) and intercepts."""
        along = size * self.scores
        slope = along + intercept
        rows = self.rows
        losses = divergence_with_few(slope, rows.label, self.weight, gamma, rows.few)
        return (
            inner(self.weight, losses),
            inner(slope.ravel(), along.ravel()),
            np.einsum("ij->j", slope),
        )


class Balance:
    """Frequencies of plausible labels, as found and as a model expects them.

    Rows whose label is not plausible do not count, and the probabilities are those
    given that the label is plausible.

    Attributes
    ----------
    found : ndarray of shape (n_classes,)
        Weight of the rows of each class.
    """

    def __init__(self, rows, model):
        proba, label = rows.probabilities(model), rows.label
        plausible = rows.plausible(proba)
        self.weight = rows.weight * plausible[np.arange(len(label)), label]
        self.proba = proba * plausible
        self.found = np.bincount(label, self.weight, proba.shape[1])

    def expected(self, factor):
        """Return the same by probabilities times these factors."""
        return factor * ((self.weight / (self.proba @ factor)) @ self.proba)


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
    seeks_groups : bool
        Whether an indicator may mark rows whose features are seen from their centre.

    Attributes
    ----------
    shifts : Shifts
        The rows in which coefficients have a prior, and rows have leverage.
    leverage : ndarray of shape (n_rows,)
        The leverage weight of each row, from 0 to 1.
    class_weight : ndarray of shape (n_classes,) or None
        Total weight of each class, where these rows are a part of others.
    """

    class_weight = None

    def __init__(
        self, X, label, weight, units, *, leverage_weights, seeks_groups=False
    ):
        self.X, self.label, self.units = X, label, units
        n, d = X.shape
        self._is_small = not sparse.issparse(X) and n * d <= KEPT
        self._standardised = None
        # Sparse rows stay so: centres are subtracted from products.
        self._centred = np.flatnonzero(units.center) if units.applied else []
        norm, self.shifts = squared_norms(X, units), no_shifts(d)
        # The logits of a row this far out may not be finite.
        self._overflows = ~np.isfinite(norm)
        self._any_overflows = bool(self._overflows.any())
        if seeks_groups:
            is_far = (norm > leverage_limit(d)) & ~self._overflows
            self.shifts = group_shifts(X, weight, units, is_far)
            norm = self.shifts.squared_norms(norm, self.scores)
        self.leverage = _leverage(norm, d, leverage_weights)
        self.weight = weight * self.leverage
        # Those that are not 0 throughout.
        if sparse.issparse(X):
            self.n_features = np.count_nonzero(np.bincount(X.indices, minlength=d))
        else:
            self.n_features = np.count_nonzero(X.any(axis=0))

    @cached_property
    def few(self):
        """Return which rows are of classes with few rows; none of a part of rows."""
        if self.class_weight is not None:
            return np.empty(0, dtype=np.intp)
        count = np.bincount(self.label, self.weight > 0)
        most = min(FEW_ROWS, FEW_PART * count.mean())
        is_few = (count < most) & (len(count) >= MANY_CLASSES)
        return np.flatnonzero(is_few[self.label])

    @property
    def at_hand(self):
        """Return the rows that are in memory."""
        return self

    @property
    def n_used(self):
        """Number of rows with a weight."""
        return np.count_nonzero(self.weight)

    def normed_weight(self):
        """Return weights that add up to 1."""
        return self.weight / (self.weight.sum() or 1.0)

    def divergence(self, model, weight, gamma):
        """Return the ``Divergence`` of rows of these weights from a model."""
        slope = self.scores(model.coef)
        slope += model.intercept
        losses = divergence_with_few(slope, self.label, weight, gamma, self.few)
        return Divergence(
            inner(weight, losses), np.einsum("ij->j", slope), self.sums(slope), losses
        )

    def along(self, model, weight):
        """Return the rows along a model, for models of other sizes."""
        return Along(self, self.scores(model.coef), weight)

    def balance(self, model):
        """Return the ``Balance`` of a model."""
        return Balance(self, model)

    def losses(self, model):
        logits = self.scores(model.coef)
        logits += model.intercept
        return divergence(logits, self.label, self.weight, GAMMA)

    def probabilities(self, model):
        """Return the probabilities of all classes for each row."""
        scores = self.scores(model.coef)
        scores += model.intercept
        return probabilities(scores[:, 0] if scores.shape[1] == 1 else scores)

    def plausible(self, proba):
        """Return whether each class is plausible for each row, by probabilities.

        Plausibility is relative to the frequencies of the classes, because all labels
        of a rare class have small probabilities. p_k / share_k is the likelihood of the
        features in class k, up to a factor.
        """
        share = self.class_weight
        if share is None:
            share = np.bincount(self.label, self.weight, proba.shape[1])
        total = share.sum() or 1.0  # without a weight, no label is implausible
        likelihood = proba / np.maximum(share / total, 1e-300)
        return likelihood >= IMPLAUSIBLE * likelihood.max(axis=1, keepdims=True)

    def judge(self, model):
        """Return the weight of each row, and whether the model rejects the row."""
        proba, rows = self.probabilities(model), np.arange(len(self.label))
        lost = self.losses(model) * GAMMA / (1 + GAMMA)
        lost[self.few] = 0
        weights = self.leverage * (1 - lost)
        implausible = ~self.plausible(proba)[rows, self.label]
        return weights, implausible | (self.leverage < FAR_OUT)

    def rejected(self, told):
        """Return the share of weighted rows that lose more than half of it."""
        is_lost = told.losses > HALF_LOST
        is_lost[self.few] = False
        return float(np.mean(is_lost[self.weight > 0]))

    def distances(self, weight, curvature, l2):
        """Return squared distances of the rows from 0, one for each output.

        They are in the metric of the rows' mean square times the curvature, plus l2.
        Those of outliers, with any label, are 0.
        """
        n, d = self.X.shape

        def with_constant():
            for rows, Z in self._blocks(d + 1):
                Z = self.shifts.rows(Z)
                Z = np.column_stack([np.ones(len(Z)), Z])
                Z[self.leverage[rows] < FAR_OUT] = 0
                yield rows, Z

        square = np.zeros((d + 1, d + 1))
        for rows, Z in with_constant():
            square += Z.T @ (Z * weight[rows, np.newaxis])
        values, vectors = np.linalg.eigh(square)
        is_there = values > d * np.finfo(np.float64).eps * values[-1]
        values, vectors = values[is_there], vectors[:, is_there]
        inverse = 1 / (np.multiply.outer(values, curvature) + l2)
        result = np.empty((n, len(curvature)))
        for rows, Z in with_constant():
            np.matmul(np.square(Z @ vectors), inverse, out=result[rows])
        return result

    def _blocks(self, n_outputs):
        """Yield blocks of standardised rows, which small data store."""
        n, d = self.X.shape
        if not self._is_small:
            for rows in gen_batches(n, max(1, BLOCK // d)):
                yield rows, self._block(rows)
            return
        if self._standardised is None:
            self._standardised = self._block(slice(0, n))
        step = ONE_THREAD[n_outputs > 1] // (d * n_outputs)
        for rows in gen_batches(n, max(1, step)):
            yield rows, self._standardised[rows]

    def _block(self, rows):
        Z = self.X[rows]
        Z = (Z.toarray() if sparse.issparse(Z) else Z).astype(np.float64)
        if self.units.applied:
            with np.errstate(over="ignore"):
                Z -= self.units.center
                Z *= self.units.inverse_scale
        if self._any_overflows:
            Z[self._overflows[rows]] = 0
        return Z

    def scores(self, coef):
        """Return inner products of the rows with the columns of ``coef``."""
        if sparse.issparse(self.X):
            coef = self._in_user_units(coef)
            scores = self._sparse_product(self.X, coef)
            if len(self._centred):
                scores -= self.units.center[self._centred] @ coef[self._centred]
            if self._any_overflows:
                scores[self._overflows] = 0
            return scores
        scores = np.empty((len(self.X), coef.shape[1]))
        for rows, Z in self._blocks(coef.shape[1]):
            np.matmul(Z, coef, out=scores[rows])
        return scores

    def sums(self, slope):
        """Return sums of the rows times each column of ``slope`` of ``scores``."""
        if sparse.issparse(self.X):
            sums = self._sparse_product(self.X.T, slope)
            if len(self._centred):
                total = np.einsum("ij->j", slope)
                center = self.units.center[self._centred]
                sums[self._centred] -= np.outer(center, total)
            return self._in_user_units(sums)
        sums = np.zeros((self.X.shape[1], slope.shape[1]))
        for rows, Z in self._blocks(slope.shape[1]):
            sums += Z.T @ slope[rows]
        return sums

    def _in_user_units(self, coef):
        if not self.units.applied:
            return coef
        return coef * self.units.inverse_scale[:, np.newaxis]

    def _sparse_product(self, X, columns):
        # Of one dtype, else SciPy converts the whole matrix.
        return np.asarray(X @ columns.astype(X.dtype, copy=False), dtype=np.float64)
