"""Rows of the exact steps: standardised in blocks, and sums over them."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils import gen_batches

import medsgd._core.bisquare as bisquare
import medsgd._core.rows as compiled
from medsgd._refinement.bisquare import m_scale

# Elements of a block: a few blocks stay in a processor's cache.
BLOCK = 2**15
# A block has at least so many rows: fewer cost less to multiply than to add up.
BLOCK_ROWS = 512
# Arrays of at most so many elements are standardised once, and not in each pass.
SMALL = 2**20
# Centres up to so many scales from 0 cost products few digits.
LARGEST_OFFSET = 1e3
# Values are clipped here, in units of their spread: squares and their sums stay finite.
LARGEST = 1e60


def ranks(X, y):
    """Return the rows in the order of their targets, then of a fixed product.

    The result does not depend on the order in which the rows come.
    """
    order = np.argsort(y)
    if np.all(np.diff(y[order]) > 0):
        return order
    direction = np.random.default_rng(1).standard_normal(X.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):
        return np.lexsort((X @ direction, y))


def drawn(weight, size, order):
    """Return how often each row is among ``size`` drawn by weight, always the same.

    The draws are spread over all parts of the rows in the given order.
    """
    total = np.sum(weight[order], dtype=np.float64)
    return counted(weight, draws(size, total), order)


def draws(size, total):
    """Return sorted draws of rows, by the weight of all rows before the one drawn."""
    return (np.arange(size) + np.random.default_rng(0).random(size)) / size * total


def counted(weight, draws, order):
    """Return how often each row is drawn."""
    below = np.cumsum(weight[order], dtype=np.float64)
    place = np.minimum(np.searchsorted(below, draws, side="right"), len(order) - 1)
    return np.bincount(order[place], minlength=len(weight)).astype(np.float64)


class RowsLeftOut(Exception):
    """Some rows have been left out since earlier sums."""


class Summable:
    """Sums over rows, whose fields add up; None stays None."""

    def __add__(self, other):
        values = {
            name: None if value is None else value + getattr(other, name)
            for name, value in vars(self).items()
        }
        return type(self)(**values)


@dataclass(frozen=True, eq=False)
class Pull:
    """Sums over the rows at a place, which a step needs.

    Attributes
    ----------
    kept, curvature, pull
        Weights of the rows times the weights of a loss, times its curvature, and times
        its derivative. They are arguments of ``gram`` and ``moments`` of the rows.
    squares, rejected : float
        Sum of ``pull`` times the residuals; weight of the rows without a weight in the
        loss.
    """

    kept: Any
    curvature: Any
    pull: Any
    squares: float
    rejected: float


@dataclass(frozen=True, eq=False)
class Place:
    """Rows at coefficients, with their residuals."""

    rows: Any
    b: np.ndarray
    residual: np.ndarray

    def along(self, step):
        """Return the way from here along a step."""
        return Way(self, step, self.rows.product(step))

    def loss(self, threshold):
        """Return the sum of the bisquare of the residuals."""
        return bisquare.loss(self.residual, self.rows.weight, threshold)

    def m_scale(self, target, start, floor):
        """Return the M-scale of the residuals."""
        return m_scale(self.residual, self.rows.weight, target, start, floor)

    def pull(self, threshold):
        """Return the sums of a step on the bisquare."""
        return Pull(*bisquare.pull(self.residual, self.rows.weight, threshold))

    def pull_of_fitted(self, tolerance):
        """Return the sums of least squares of the rows with smaller residuals."""
        weight, residual = self.rows.weight, self.residual
        is_fitted = np.abs(residual) <= tolerance
        kept = weight * is_fitted
        residual = np.where(is_fitted, residual, 0)
        pull = kept * residual
        return Pull(
            kept, kept, pull, float(pull @ residual), float(weight @ ~is_fitted)
        )


@dataclass(frozen=True, eq=False)
class Way:
    """A step and the change of fitted values along it."""

    start: Place
    step: np.ndarray
    change: np.ndarray

    def at(self, length):
        """Return the place after so many times the step."""
        start = self.start
        return Place(
            start.rows,
            start.b + length * self.step,
            start.residual - length * self.change,
        )

    def square(self, kept):
        """Return the weighted sum of squares of the changes of fitted values."""
        return kept @ np.square(self.change)


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows, their targets and weights, in the units of the exact steps.

    With an intercept, a row is ``(1, (x - center) * inverse_scale)``. A subclass has
    products with the standardised rows.

    Attributes
    ----------
    X : ndarray or CSR matrix of shape (n_rows, n_features)
        In the units of the user.
    y, weight : ndarray of shape (n_rows,) of float64
        Targets in units of their spread; weights that count rows.
    center, inverse_scale : ndarray of shape (n_features,) of float64
    fit_intercept : int
        1, or 0 for rows without an intercept.
    """

    X: Any
    y: np.ndarray
    weight: np.ndarray
    center: np.ndarray
    inverse_scale: np.ndarray
    fit_intercept: int

    # Rows elsewhere only give sums.
    is_at_hand = True

    @property
    def n_rows(self):
        return len(self.y)

    @property
    def n_used(self):
        """Number of rows with a weight."""
        return np.count_nonzero(self.weight)

    def are_all(self, few):
        """Whether a few of the rows are all that have a weight."""
        return few.n_rows >= self.n_used

    def at(self, b, basis=None):
        """Return the place of coefficients.

        ``basis``: that of the Gram matrices which a step from there asks for.
        """
        return Place(self, b, self.residuals(b))

    def review(self, few, b, scale):
        """Raise ``RowsLeftOut`` if a fit of few rows shows that some are wrong."""

    @property
    def n_parameters(self):
        return self.X.shape[1] + self.fit_intercept

    @cached_property
    def total(self):
        """Return the total weight."""
        return float(self.weight.sum())

    @cached_property
    def present_share(self):
        """Return each feature's share of the weight where it is not typical."""
        return self.presence.T @ self.weight / self.total

    def take(self, rows, weight):
        """Return some of the rows, with other weights."""
        X = self.X[rows].astype(np.float64)
        return replace(self, X=X, y=self.y[rows], weight=weight)

    def present(self, columns):
        """Yield the rows in which each of some columns is not its typical value."""
        if sparse.issparse(self.X):
            X = sparse.csc_array(self.X[:, columns])
            for k, j in enumerate(columns):
                own = slice(X.indptr[k], X.indptr[k + 1])
                if self.center[j] == 0:
                    yield np.sort(X.indices[own][X.data[own] != 0])
            return
        for j in columns:
            yield np.flatnonzero(self.X[:, j] != self.center[j])

    @cached_property
    def _offset(self):
        return self.center * self.inverse_scale

    def _with_intercept(self, total, features):
        if not self.fit_intercept:
            return features
        return np.concatenate([np.asarray(total)[np.newaxis], features])

    def _scaled_product(self, b):
        """Return the products, by coefficients in the units of X."""
        features = b[self.fit_intercept :]
        with np.errstate(over="ignore", invalid="ignore"):
            product = self.X @ (features.T * self.inverse_scale).T
            product -= self._offset @ features
        return product + b[0] if self.fit_intercept else product

    def _scaled_moments(self, values):
        """Return the moments, from those of X."""
        total = values.sum(axis=0)
        features = ((self.X.T @ values).T * self.inverse_scale).T
        features -= np.multiply.outer(self._offset, total)
        return self._with_intercept(total, features)

    @cached_property
    def _all(self):
        if self.n_rows * self.n_parameters > SMALL:
            return None
        return self._standardise(self.X, np.empty((self.n_rows, self.n_parameters)))

    def _standardise(self, X, out):
        if sparse.issparse(X):
            X = X.toarray()
        X = np.ascontiguousarray(X)
        compiled.standardise(X, self.center, self.inverse_scale, LARGEST, out)
        return out

    def blocks(self):
        """Yield slices of rows, and these rows standardised."""
        size = max(BLOCK_ROWS, BLOCK // self.n_parameters)
        room = None
        for rows in gen_batches(self.n_rows, size):
            if self._all is not None:
                yield rows, self._all[rows]
                continue
            X = self.X[rows]
            if room is None:
                room = np.empty((X.shape[0], self.n_parameters))
            yield rows, self._standardise(X, room[: X.shape[0]])

    def matrix(self):
        """Return all rows standardised; they must be few."""
        if self._all is not None:
            return self._all
        return np.concatenate([Z.copy() for _, Z in self.blocks()])

    def gram(self, values, basis=None):
        """Return the sum of the rows' outer products, each times its value.

        With ``basis``, of shape (n_parameters, n_directions), of the rows times it.
        """
        return self.grams([values], basis)[0]

    def grams(self, several, basis=None):
        """Return ``gram`` of each of several values, in one pass over the rows."""
        p = self.n_parameters if basis is None else basis.shape[1]
        totals = [np.zeros((p, p)) for _ in several]
        # NumPy computes half of the product of a matrix with itself.
        are_convex = [values.min() >= 0 for values in several]
        factors = [
            np.sqrt(values) if is_convex else values
            for values, is_convex in zip(several, are_convex, strict=True)
        ]
        for rows, Z in self.blocks():
            Z = Z if basis is None else Z @ basis
            for total, values, is_convex in zip(
                totals, factors, are_convex, strict=True
            ):
                weighted = Z * values[rows, np.newaxis]
                total += weighted.T @ (weighted if is_convex else Z)
        return totals

    def plain_gram(self, basis):
        """Return ``gram`` of the weights."""
        return self.gram(self.weight, basis)

    def triangle(self, values):
        """Return the Cholesky factor of ``gram``, transposed, up to signs of its rows.

        It is computed from the rows and not from their sums, so that it has all digits
        if columns are nearly collinear. No value is negative.
        """
        root, parts, n_rows = np.sqrt(values), [], 0
        for rows, Z in self.blocks():
            parts.append(Z * root[rows, np.newaxis])
            n_rows += len(Z)
            # The factor is a part of the next factorisation. With few new rows it would
            # be most of the work.
            if n_rows >= 2 * self.n_parameters or rows.stop == self.n_rows:
                parts = [np.linalg.qr(np.concatenate(parts), mode="r")]
                n_rows = len(parts[0])
        return parts[0]

    def residuals(self, b):
        """Return the residuals of one fit, or of several side by side."""
        y = self.y if b.ndim == 1 else self.y[:, np.newaxis]
        return y - self.product(b)


class DenseRows(Rows):
    """Rows that are standardised block by block; sparse ones become dense there."""

    @cached_property
    def _is_plain(self):
        """Whether products may scale the coefficients and not the rows."""
        if self._all is not None or self.X.dtype != np.float64:
            return False
        return np.abs(self._offset).max() < LARGEST_OFFSET

    def product(self, b):
        """Return the rows times coefficients of one fit, or of several."""
        if self._is_plain:
            return self._scaled_product(b)
        product = np.empty((self.n_rows, *b.shape[1:]))
        for rows, Z in self.blocks():
            np.matmul(Z, b, out=product[rows])
        return product

    def moments(self, values):
        """Return the sum of the rows, each times its value, for one or several fits."""
        if self._is_plain:
            return self._scaled_moments(values)
        return sum(Z.T @ values[rows] for rows, Z in self.blocks())

    def diagonal(self, values):
        """Return the diagonal of ``gram``, for one or several fits."""
        return sum(np.square(Z).T @ values[rows] for rows, Z in self.blocks())

    def squared_norms(self, factors):
        """Return each row's sum of squared features times ``factors``."""
        squares = np.empty(self.n_rows)
        for rows, Z in self.blocks():
            features = Z[:, self.fit_intercept :]
            squares[rows] = np.square(features) @ factors
        return squares

    @cached_property
    def present_share(self):
        """Return each feature's share of the weight where it is not typical."""
        total = np.zeros(self.X.shape[1])
        for rows, Z in self.blocks():
            total += self.weight[rows] @ (Z[:, self.fit_intercept :] != 0)
        return total / self.total

    @cached_property
    def presence(self):
        """Return a CSC array of bool: whether each value is not typical."""
        present = np.empty((self.n_rows, self.X.shape[1]), dtype=bool)
        for rows, Z in self.blocks():
            np.not_equal(Z[:, self.fit_intercept :], 0, out=present[rows])
        return sparse.csc_array(present)


class SparseRows(Rows):
    """CSR rows that stay sparse: products scale and centre the coefficients instead."""

    def product(self, b):
        """Return the rows times coefficients of one fit, or of several."""
        return self._scaled_product(b)

    def moments(self, values):
        """Return the sum of the rows, each times its value, for one or several fits."""
        return self._scaled_moments(values)

    def diagonal(self, values):
        """Return the sum of the rows' squares, each times its value."""
        total = values.sum(axis=0)
        squares = self.X.power(2).T @ values
        crossed = ((self.X.T @ values).T * self.center).T
        squares = squares - 2 * crossed + np.multiply.outer(self.center**2, total)
        squares = (squares.T * self.inverse_scale**2).T
        return self._with_intercept(total, squares)

    def grams(self, several, basis=None):
        """As ``Rows.grams``, from the values that are stored."""
        if basis is not None:
            return super().grams(several, basis)
        return [self._stored_gram(values) for values in several]

    def _stored_gram(self, values):
        total, moments = values.sum(), self.X.T @ values
        weighted = sparse.diags_array(values, format="csr") @ self.X
        gram = (self.X.T @ weighted).toarray()
        gram -= np.outer(self.center, moments)
        gram -= np.outer(moments - total * self.center, self.center)
        gram *= self.inverse_scale * self.inverse_scale[:, np.newaxis]
        if not self.fit_intercept:
            return gram
        along = (moments - total * self.center) * self.inverse_scale
        first = np.append(total, along)
        return np.vstack([first, np.column_stack([along, gram])])

    def squared_norms(self, factors):
        """Return each row's sum of squared features times ``factors``."""
        factors = factors * self.inverse_scale**2
        with np.errstate(over="ignore", invalid="ignore"):
            squares = self.X.power(2) @ factors - 2 * (self.X @ (self.center * factors))
            squares = squares + self.center**2 @ factors
        return np.fmax(np.nan_to_num(squares, nan=np.inf), 0)

    @cached_property
    def presence(self):
        """Return a CSC array of bool: whether each value is not typical."""
        return sparse.csc_array(self.X != 0)
