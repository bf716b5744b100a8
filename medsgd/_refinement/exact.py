"""The exact second stage of one fit: from data and units to rows, and back."""

import numpy as np
from scipy import sparse

from medsgd._refinement.candidates import MOST_OUTER
from medsgd._refinement.regression import (
    FIRST_STAGE,
    MOST_GRAM,
    N_S_ROWS,
    Penalty,
    Refinement,
)
from medsgd._refinement.rows import LARGEST, DenseRows, SparseRows, drawn, ranks
from medsgd._refinement.stochastic import moved
from medsgd._scales import residuals, starting_scale, weighted_median
from medsgd._standardize import N_ROWS, feature_units

# With fewer rows a parameter, of few and of more parameters, the scale of the residuals
# is too small, and the estimate loses efficiency.
FEWEST_ROWS, FEWEST_ROWS_OF_MANY = 2, 5
# Updates of the median stage where it is one of many candidates, and the epochs it may
# take for them.
UPDATES, MOST_EPOCHS = 1_000, 4
# Rows that set the units of few features.
N_UNIT_ROWS = 1_000
# A sparse X with more values than this becomes dense in blocks.
DENSE = 0.1
# Weights up to which sums of counts are exact.
LARGEST_COUNT = 2**31


def counts_of(weight):
    """Weights that add up to the number of rows that they count as.

    Whole numbers count copies of a row; other weights only compare the rows.
    """
    weight = weight.astype(np.float64)
    if weight.max() < LARGEST_COUNT and np.all(weight == np.floor(weight)):
        return weight
    weight = weight / weight.max()
    # Without zeros, so that rounding does not depend on rows that do not count.
    used = weight[weight > 0]
    return weight * (len(used) / used.sum())


def has_enough_rows(n_rows, n_parameters):
    """Whether rows are so many that exact steps are worth it."""
    fewest = FEWEST_ROWS if n_parameters <= MOST_OUTER else FEWEST_ROWS_OF_MANY
    return n_rows >= fewest * n_parameters


def few_rows(X, y, weight):
    """Return weights of few rows that are like all, whatever their order."""
    n_rows = np.count_nonzero(weight)
    if n_rows <= N_UNIT_ROWS:
        return weight
    # The order decides as little as which rows the S step sees.
    order = ranks(X, y) if n_rows <= N_S_ROWS else np.arange(len(y))
    return drawn(weight, N_UNIT_ROWS, order)


def is_blockwise(X):
    """Whether the exact steps see X as dense."""
    if not sparse.issparse(X):
        return True
    n_values = X.shape[0] * X.shape[1]
    return X.shape[1] < MOST_OUTER or (
        X.shape[1] < MOST_GRAM and X.nnz > DENSE * n_values
    )


class ExactStage:
    """The refinement of one regression, in the units of the user.

    Parameters
    ----------
    X, y : data
    counts : ndarray of shape (n_samples,)
        Weights of the rows, 0 for those that are held out.
    units : FeatureUnits
        Those of the fit, in which the penalty is.
    l2, l1 : float
        Factors of the penalty.
    fit_intercept : bool
    """

    def __init__(self, X, y, counts, units, *, l2, l1, fit_intercept):
        self.units = units
        used = np.flatnonzero(counts)
        y = y.astype(np.float64)
        self.y_center = 0.0
        if fit_intercept:
            self.y_center = float(weighted_median(y[used], counts[used]))
        deviation = residuals(y, self.y_center)
        spread = starting_scale(deviation[used], counts[used])
        self.y_scale = spread or abs(self.y_center) or 1.0
        with np.errstate(over="ignore"):
            target = np.clip(deviation / self.y_scale, -LARGEST, LARGEST)
        center, inverse_scale = _numerical_units(X, counts, units, fit_intercept)
        kind = DenseRows if is_blockwise(X) else SparseRows
        first = int(fit_intercept)
        self.rows = kind(X, target, counts, center, inverse_scale, first)
        unit = inverse_scale
        if units.applied:
            unit = inverse_scale / units.inverse_scale
        self.penalty = Penalty(unit, l2, l1 / self.y_scale)
        # Rounding of the targets, and of sums over features.
        size = max(1.0, abs(self.y_center) / self.y_scale)
        size *= max(2.0, np.sqrt(X.shape[1]))
        self.rounding = float(np.finfo(X.dtype).eps) * size

    def refinement(self, solutions):
        """Return the steps from solutions in the user's units."""
        starts = [self._from_user(*solution) for solution in solutions]
        return Refinement(self.rows, self.penalty, starts, self.rounding)

    def _from_user(self, coef, intercept):
        rows = self.rows
        coef = np.asarray(coef, dtype=np.float64)
        # In units of tiny targets a warm start may be out of range, and is no use then.
        with np.errstate(over="ignore", invalid="ignore"):
            features = coef / rows.inverse_scale / self.y_scale
            first = (intercept - self.y_center + coef @ rows.center) / self.y_scale
        b = np.append(first, features) if rows.fit_intercept else features
        return np.nan_to_num(np.clip(b, -LARGEST, LARGEST), nan=0.0)

    def to_user(self, b):
        """Return coefficients and intercept in the user's units."""
        rows = self.rows
        coef = b[rows.fit_intercept :] * rows.inverse_scale * self.y_scale
        if not rows.fit_intercept:
            return coef, 0.0
        return coef, b[0] * self.y_scale + self.y_center - coef @ rows.center

    def take(self, problem, progress):
        """Bring a problem's state and curves up to date with a pass."""
        coef, intercept = self.units.from_user(*self.to_user(progress.b))
        problem.state = moved(
            problem.state,
            coef,
            float(intercept),
            residual_scale=progress.scale * self.y_scale,
        )
        unit = self.y_scale if progress.stage == FIRST_STAGE else self.y_scale**2
        problem.objective = progress.objective * unit
        problem.curve.append(problem.objective)
        problem.clip_curve.append(progress.rejected)


def _numerical_units(X, counts, units, fit_intercept):
    """Centre and inverse scale in which the least squares are solved."""
    if not units.known:
        units = feature_units(
            X, counts, standardize=True, needed=True, centered=fit_intercept
        )
    center = units.center.astype(np.float64)
    inverse_scale = units.inverse_scale.astype(np.float64)
    if sparse.issparse(X) and fit_intercept:
        # Columns without zeros may be far from 0.
        present = np.bincount(X.indices, minlength=X.shape[1])
        filled = np.flatnonzero(present > X.shape[0] / 2)
        if len(filled):
            rows = np.linspace(0, X.shape[0] - 1, min(N_ROWS, X.shape[0]))
            rows = rows.astype(np.intp)
            dense = X[rows][:, filled].toarray()
            units = feature_units(
                dense, counts[rows], standardize=True, needed=True, centered=True
            )
            center[filled], inverse_scale[filled] = units.center, units.inverse_scale
    return center, inverse_scale
