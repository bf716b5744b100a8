"""Tails of features: which rows are far out, and which features have long tails."""

import numpy as np
from scipy import sparse
from scipy.special import ndtri

from medsgd._core.medians import column_medians
from medsgd._fit.scales import NORMAL_MEDIAN

# Largest share of a feature's values that may be outliers, and the quantile of the
# sizes of standard normal values that the same share exceeds.
OUTLYING, NORMAL_QUANTILE = 0.2, ndtri(0.9)
# The lower quartile of the sizes of standard normal values.
NORMAL_QUARTILE = ndtri(0.625)
# Sizes have a long tail if the largest plausible one is so many times that of a normal
# distribution.
LONG_TAIL = 1.5
# A row is an outlier if more than this share of its features are so many times farther
# out than those of a normal distribution.
MOST_FAR, WILD = 0.3, 10.0


class FarValues:
    """Counts of values that are far out, by row and by feature.

    Parameters
    ----------
    reach, clip : float, float or None
        See ``feature_units``.
    weight : ndarray of shape (n_rows,)
    n_features : int

    Attributes
    ----------
    is_wide : ndarray of shape (n_features,) of bool
        Features with a long tail, and those with more values far out than may be
        outliers, if no row is one.
    least : ndarray of shape (n_features,)
        Lower bound on the final scales: the largest plausible size over ``clip``.
    """

    def __init__(self, reach, clip, weight, n_features):
        self.limit, self.clip, self.weight = reach * NORMAL_QUANTILE, clip, weight
        self.n_far, self.n_present = np.zeros(len(weight)), np.zeros(len(weight))
        self.is_wide = np.zeros(n_features, dtype=bool)
        self.least = np.zeros(n_features)

    def counted(self, columns, size, scale, long):
        """Count the sizes other than 0 of a block of features; return the scales.

        ``long``: that of ``long_scale``.
        """
        far = WILD * NORMAL_QUANTILE * np.maximum(scale, long)
        beyond = self.limit * scale
        if sparse.issparse(size):
            shape, row, value = size.shape, size.indices, size.data
            column = np.repeat(np.arange(shape[1]), np.diff(size.indptr))
            weight, is_present = self.weight[row], value > 0
            self.n_far += np.bincount(row, value > far[column], shape[0])
            self.n_present += np.bincount(row, is_present, shape[0])
            is_beyond = weight * (value > beyond[column])
            beyond = np.bincount(column, is_beyond, shape[1])
            total = np.bincount(column, weight * is_present, shape[1])
        else:
            self.n_far += np.count_nonzero(size > far, axis=1)
            self.n_present += np.count_nonzero(size, axis=1)
            beyond, total = self.weight @ (size > beyond), self.weight @ (size > 0)
        self.is_wide[columns] = (beyond > OUTLYING * total) | (long > 0)
        return scale

    def tame_weight(self):
        """Return the weight of the rows, but 0 for outliers.

        A row that is far out in one feature of several is no outlier.
        """
        most = np.maximum(MOST_FAR * self.n_present, self.n_present > 1)
        return self.weight * (self.n_far <= most)

    def widened(self, tame, columns, size, scale, long):
        """Return scales of features that are large enough for rows of tame weight."""
        size, scale = sparse.csc_array(size), scale.copy()
        for j, beyond in enumerate(self.limit * scale):
            own = slice(size.indptr[j], size.indptr[j + 1])
            value, weight = size.data[own], tame[size.indices[own]]
            is_tame = (value > 0) & (weight > 0)
            value, weight = value[is_tame], weight[is_tame]
            if weight @ (value > beyond) > OUTLYING * weight.sum():
                order = np.argsort(value)
                below = np.cumsum(weight[order])
                place = np.searchsorted(below, (1 - OUTLYING) * below[-1])
                scale[j] = value[order[place]] / self.limit
            if long[j]:
                # Most values of a spline at the end of the range are tiny, which a
                # scale of the typical ones would make enormous.
                largest = value.max(initial=0) / self.clip
                self.least[columns[j]] = min(largest, long[j])
        return scale


@np.errstate(over="ignore")
def long_scale(column, size, weight, found, median, scale, clip):
    """Return the largest plausible size over ``clip``; 0 for columns of short tails.

    The small sizes of a column tell how widely the logarithms of its sizes spread, and
    outliers are not among them. Of a normal distribution ``clip`` scales are expected.
    ``found``, ``median``, ``scale``: the columns of the sizes, the medians and scales.
    """
    long = np.zeros(len(found))
    largest = np.maximum.reduceat(size, np.searchsorted(column, found)) / clip
    (own,) = np.nonzero(largest > scale)
    if not len(own):
        return long
    typical = np.full(found[-1] + 1, -1.0)
    typical[found[own]] = median[own]
    lower = size <= typical[column]
    column, size, weight = column[lower], size[lower], weight[lower]
    _, quartile, _ = column_medians(column, size, weight)
    power = np.log(clip / NORMAL_MEDIAN) / np.log(NORMAL_MEDIAN / NORMAL_QUARTILE)
    plausible = median[own] / clip * (median[own] / quartile) ** power
    is_long = plausible > LONG_TAIL * median[own] / NORMAL_MEDIAN
    long[own] = is_long * np.minimum(plausible, largest[own])
    return np.where(long > scale, long, 0)


def long_from_end(X, weight, center, scale, clip):
    """Return ``long_scale`` of columns by the distances from the nearer end.

    The median of a column may be in its tail, near this end.
    """
    long, low, high = np.zeros(X.shape[1]), X.min(axis=0), X.max(axis=0)
    wide = np.flatnonzero(np.maximum(center - low, high - center) / clip > scale)
    end = np.where(center - low < high - center, low, high)[wide]
    rest = np.abs(X.T[wide] - end[:, np.newaxis])
    column, row = np.nonzero(rest)
    if len(column):
        entries = column, rest[column, row], weight[row]
        found, median, _ = column_medians(*entries)
        own = wide[found]
        long[own] = long_scale(*entries, found, median, scale[own], clip)
    return long
