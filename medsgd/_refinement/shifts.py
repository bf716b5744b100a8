"""Groups of rows that an indicator marks, and features seen from their centre.

A code for missing values, such as 0 or -999, is far from the other values of its
feature. Beside it users give an indicator of the missing values. The rows that the
indicator marks have leverage, and the prior would not let the indicator's coefficient
make up for the code. Yet its coefficient can set the logits of these rows at no cost to
others. So the prior and the leverage are those of rows from which the centre of their
group has been subtracted, which is another form of the same model:

    z' = z - (z_j / b_j) m,    w'_j = w_j + m w / b_j,

where z_j is b_j in the group and 0 elsewhere, and m is the centre of the group in the
other features. Rows far out without such a feature remain far out: no coefficient is
theirs alone.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from medsgd._fit.blocks import row_blocks
from medsgd._fit.scales import weighted_median

# The least number of rows of a group, and the share of them that have to be far out,
# and nearer to the centre of the group in a feature that is shifted.
FEWEST_ROWS, NEARLY_ALL = 2, 0.9
# Distance of the centre of a group from that of all rows, in units, that counts as far.
FAR_CENTER = 2.0
# The largest number of groups, and of rows that give the centre of one.
MOST_GROUPS, MOST_ROWS = 64, 1000


@dataclass(frozen=True, eq=False)
class Shifts:
    """Centres of groups of rows, by the features that mark the groups.

    Attributes
    ----------
    columns : ndarray of shape (n_groups,)
        The feature of each group.
    centers : ndarray of shape (n_groups, n_features)
        Centre of each group for one unit of its feature, in the units of the fit. 0 in
        all ``columns``.
    """

    columns: np.ndarray
    centers: np.ndarray

    def into(self, coef):
        """Return the coefficients of shifted rows that give the same model."""
        if len(self.columns):
            coef = coef.copy()
            coef[self.columns] += self.centers @ coef
        return coef

    def out_of(self, coef):
        """Return the inverse of ``into``."""
        if len(self.columns):
            coef = coef.copy()
            coef[self.columns] -= self.centers @ coef
        return coef

    def gradient(self, gradient):
        """Return a gradient in the coefficients of shifted rows."""
        if len(self.columns):
            gradient = gradient - self.centers.T @ gradient[self.columns]
        return gradient

    def rows(self, Z):
        """Return standardised rows, shifted."""
        if len(self.columns):
            Z = Z - Z[:, self.columns] @ self.centers
        return Z

    def squared_norms(self, norms, product):
        """Return squared norms of shifted rows from those of rows that are not.

        ``product``: a function that multiplies the rows by columns of numbers.
        """
        if len(self.columns):
            of_group = np.zeros(self.centers.T.shape)
            of_group[self.columns, np.arange(len(self.columns))] = 1
            factor = product(of_group)
            norms = norms - 2 * np.einsum("ij,ij->i", factor, product(self.centers.T))
            square = self.centers @ self.centers.T
            norms += np.einsum("ij,ij->i", factor @ square, factor)
            norms = np.maximum(norms, 0)
        return norms


def no_shifts(n_features):
    """Return shifts of no group."""
    return Shifts(np.empty(0, dtype=np.intp), np.empty((0, n_features)))


def group_shifts(X, weight, units, is_far):
    """Return the shifts of groups that are far out.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_rows, n_features)
    weight : ndarray of shape (n_rows,)
    units : FeatureUnits
    is_far : ndarray of shape (n_rows,) of bool
        Whether each row is far out; is overwritten.
    """
    shifts = no_shifts(X.shape[1])
    if not units.applied or np.count_nonzero(is_far) < FEWEST_ROWS:
        return shifts
    used = weight > 0
    is_far &= used
    shiftable = np.arange(X.shape[1])
    if sparse.issparse(X):
        # Of other features most values are 0. They have no centre to be far from.
        shiftable = np.flatnonzero(units.center)
        if not len(shiftable):
            return shifts
    every, present = _present(X, units, used), _present(X, units, is_far)
    is_marked = (present >= FEWEST_ROWS) & (present >= NEARLY_ALL * every)
    is_marked &= every < 0.5 * np.count_nonzero(used)
    markers = np.flatnonzero(is_marked)
    shiftable = np.setdiff1d(shiftable, markers)
    for j, value in _columns(X, markers):
        group = np.flatnonzero((value != units.center[j]) & used)
        is_constant = value[group].min() == value[group].max()
        if not is_constant or len(shifts.columns) == MOST_GROUPS:
            continue
        few = group[:: -(-len(group) // MOST_ROWS)]
        center = _center(X[few], weight[few], units, shiftable, shifts)
        if center is not None:
            own = float(value[group[0]]) - float(units.center[j])
            center /= own * units.inverse_scale[j]
            shifts = Shifts(
                np.append(shifts.columns, j), np.vstack([shifts.centers, center])
            )
    return shifts


def _columns(X, chosen):
    """Yield the chosen columns, and their dense values."""
    if not sparse.issparse(X):
        yield from ((j, X[:, j]) for j in chosen)
        return
    columns = sparse.csc_array(X[:, chosen])
    for i, j in enumerate(chosen):
        yield j, columns[:, [i]].toarray()[:, 0]


def _present(X, units, chosen):
    """Count the chosen rows that are not at the centre of each feature."""
    count = np.zeros(X.shape[1], dtype=np.intp)
    for rows in row_blocks(X.shape[0], X):
        if sparse.issparse(X):
            block = X[rows][chosen[rows]]
            is_other = block.data != units.center[block.indices].astype(X.dtype)
            stored = np.bincount(block.indices, minlength=len(count))
            count += np.bincount(block.indices, is_other, len(count)).astype(np.intp)
            count += (units.center != 0) * (block.shape[0] - stored)
        else:
            is_other = units.center != X[rows]
            count += np.count_nonzero(is_other[chosen[rows]], axis=0)
    return count


@np.errstate(over="ignore", invalid="ignore")
def _center(X, weight, units, shiftable, before):
    """Return the centre of a group's rows, shifted before; None if it is not far."""
    # Conversions of a few columns alone, where rows are sparse and wide.
    columns = np.union1d(shiftable, before.columns)
    X = X[:, columns]
    Z = (X.toarray() if sparse.issparse(X) else X).astype(np.float64)
    Z -= units.center[columns]
    Z *= units.inverse_scale[columns]
    own = np.searchsorted(columns, before.columns)
    Z = replace(before, columns=own, centers=before.centers[:, columns]).rows(Z)
    middle = weighted_median(Z, weight)
    nearer = weight @ (np.abs(Z - middle) < np.abs(Z)) / weight.sum()
    is_shifted = (np.abs(middle) > FAR_CENTER) & (nearer >= NEARLY_ALL)
    is_shifted &= np.isin(columns, shiftable)
    if not is_shifted.any():
        return None
    center = np.zeros(len(units.center))
    center[columns[is_shifted]] = middle[is_shifted]
    return center
