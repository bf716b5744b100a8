"""Robust centre and scale of the features, which passes apply on the fly."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy import sparse
from scipy.special import chdtri, ndtr
from sklearn.utils.extmath import row_norms
from sklearn.utils.sparsefuncs import inplace_column_scale

from medsgd._core.medians import column_medians
from medsgd._fit.blocks import column_blocks, fewer_rows, row_blocks
from medsgd._fit.scales import NORMAL_MEDIAN, weighted_median
from medsgd._fit.tails import FarValues, long_from_end, long_scale

# Number of rows whose medians are accurate enough for a preconditioner.
N_ROWS = 10_000
# Number of rows of a stream that set the units. A spread of fewer is too uncertain.
ENOUGH_ROWS = 30
# Lower bound on a sparse feature's share of non-zeros: without it the unit of a column
# with one entry could be arbitrarily small.
SMALLEST_SHARE = 0.1
# Rows of a stream with which the units are compared, and values of X for wide rows.
N_RECENT, RECENT_VALUES = 200, 2**22
# Units are compared after at least so many rows. If they fit, the next comparison is
# after twice as many rows, up to the second number.
N_BETWEEN, MOST_BETWEEN = 200, 3_200
# Scales that differ by less than this factor, and centres by less than so many scales,
# stay: a preconditioner need not be exact.
LOOSE_SCALE, LOOSE_CENTER = 2.0, 1.0
# In ``N_BETWEEN`` rows scales change by at most this factor, and centres by so many
# scales: outlying rows do not change the units for long. If the next rows confirm a
# larger change, the bound is lifted.
BOUND, MOST_POWER = 4.0, 100.0
# Largest change of a unit, which a float32 represents.
LARGEST_CHANGE = 1e30
# If the typical squared norm of so many rows of a call is so many times that of earlier
# rows, the units are compared soon.
N_LOOKED_AT, FAR = 32, 4.0
# A feature has to be present in so many of the recent rows to change its unit.
FEWEST_PRESENT = 10
# A column with a larger share of values equal to the median counts as mixed.
LARGEST_TIE = 0.05
# Values smaller than this, and than this part of the largest, are rounding of 0, such
# as those at the ends of splines.
ROUNDED = 1e-30


@dataclass(frozen=True)
class FeatureUnits:
    """Units of the features in a fit, and conversion to the units of X.

    Attributes
    ----------
    center, inverse_scale : ndarray of shape (n_features,)
        A standardised row is ``(x - center) * inverse_scale``; in the dtype of X.
    known : bool
        Whether the data have set them.
    applied : bool
        Whether a fit works on standardised rows. If not, they only weight rows.
    squared_norm : float
        Squared norm of a typical row in the units of the fit.
    """

    center: np.ndarray
    inverse_scale: np.ndarray
    known: bool
    applied: bool
    squared_norm: float

    def transform(self, X):
        """Return a few rows in the units of the fit."""
        if not self.applied:
            return X
        return _standardised(X, self.center, self.inverse_scale)

    def of(self, columns):
        """Return the units of some columns."""
        return replace(
            self,
            center=self.center[columns],
            inverse_scale=self.inverse_scale[columns],
        )

    def to_user(self, coef, intercept):
        """Return coefficients and intercept in the units of X."""
        if not self.applied:
            return coef, intercept
        coef = coef.astype(np.float64) * self.inverse_scale
        return coef, intercept - coef @ self.center

    def predict(self, X, coef, intercept):
        """Return predictions for rows of X by coefficients in the units of a fit."""
        with np.errstate(over="ignore", invalid="ignore"):
            coef, intercept = self.to_user(coef, intercept)
            if sparse.issparse(X):
                return np.asarray(X @ coef + intercept, dtype=np.float64)
            # Blocks limit the copies of float32 rows that NumPy makes for float64
            # coefficients.
            prediction = np.empty(len(X))
            for rows in row_blocks(len(X), X):
                prediction[rows] = X[rows] @ coef + intercept
            return prediction

    def from_user(self, coef, intercept):
        """Return the inverse of ``to_user``."""
        if not self.applied:
            return coef, intercept
        coef = np.asarray(coef, dtype=np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            return coef / self.inverse_scale, intercept + coef @ self.center


def feature_units(
    X,
    sample_weight,
    *,
    standardize,
    needed,
    centered,
    clip=None,
    rare_power=None,
    reach=None,
    as_dense=False,
):
    """Return the units that at most ``N_ROWS`` rows with a weight set.

    Without ``needed`` features are neither centred nor scaled. Without ``centered``,
    and for sparse rows, scales are those of deviations from 0. With ``clip`` the scales
    are standard deviations of values clipped at so many scales. These are less robust
    against shares of outliers above a fifth, but nearer to the spread of skewed
    features. With ``rare_power`` the scale of a sparse feature is that of its entries
    times this power of their share. With ``reach`` a scale is at least the 80% quantile
    of the sizes, divided by so many times that of a normal distribution. More than a
    fifth of values that are far out are no outliers, but the feature, such as a spline.
    Rows that are far out in many features do not count there. With ``reach`` and
    ``clip`` the largest plausible value of a feature that has a long tail beside a
    frequent value is at most ``clip`` scales. With ``as_dense`` columns of sparse rows,
    which hardly have zeros, get the units of a dense X, a few columns at a time.
    """
    rows = np.flatnonzero(sample_weight)
    if len(rows) > N_ROWS:
        # The rows are always the same, independent of the shuffling.
        generator = np.random.default_rng(0)
        rows = np.sort(generator.choice(rows, N_ROWS, replace=False, shuffle=False))
    weight = np.abs(sample_weight[rows]).astype(np.float64)
    center, scale = np.zeros(X.shape[1]), np.ones(X.shape[1])
    if needed and len(rows):
        blocks = partial(column_blocks, X, rows)
        scale_of = partial(_center_and_scale, centered=centered, clip=clip)
        weight_of_row = weight
        if sparse.issparse(X):
            sample, place = fewer_rows(X, rows)
            sample = sparse.csc_array(sample)
            blocks = partial(
                _dense_blocks if as_dense else column_blocks, sample, place
            )
            if not as_dense:
                weight_of_row = np.zeros(sample.shape[0])
                weight_of_row[place] = weight
                scale_of = partial(_sparse_scale, clip=clip, rare_power=rare_power)
        far = None
        if reach is not None:
            far = FarValues(reach, clip, weight_of_row, X.shape[1])
        for columns, block in blocks():
            spread = far and partial(far.counted, columns)
            own = scale_of(block, weight_of_row, spread=spread)
            center[columns], scale[columns] = own
        if far and far.is_wide.any():
            tame = far.tame_weight()
            for columns, block in blocks():
                wide = np.flatnonzero(far.is_wide[columns])
                if len(wide):
                    place = columns.start + wide
                    spread = partial(far.widened, tame, place)
                    own = scale_of(block[:, wide], weight_of_row, spread=spread)
                    scale[place] = np.maximum(own[1], far.least[place])
    center = center.astype(X.dtype)
    with np.errstate(divide="ignore", over="ignore"):
        inverse_scale = (1 / scale).astype(X.dtype)
    # A feature whose spread is rounded to 0 counts as constant.
    inverse_scale[~np.isfinite(inverse_scale)] = 1
    units = FeatureUnits(center, inverse_scale, needed, standardize, 0.0)
    return replace(units, squared_norm=_typical_norm(units, X, rows, weight))


def _dense_blocks(X, rows):
    """Yield blocks of a sparse X as ``column_blocks`` does those of a dense one."""
    for columns, block in column_blocks(X, rows):
        yield columns, block.toarray()[rows]


def centered_units(units, X, sample_weight, new_units):
    """Units in which the columns of sparse rows that mostly have entries are centred.

    For stages that subtract centres from products. Such columns may be far from 0, and
    a scale of deviations from 0 would hide how they vary. ``new_units``: a function of
    rows, weights and ``as_dense``, as ``feature_units``.
    """
    if not sparse.issparse(X):
        return units
    present = np.bincount(X.indices[X.data != 0], minlength=X.shape[1])
    used = np.flatnonzero(sample_weight)
    filled = np.flatnonzero(present > X.shape[0] / 2)
    if not (len(filled) and len(used)):
        return units
    rows = used[np.linspace(0, len(used) - 1, min(N_ROWS, len(used))).astype(np.intp)]
    sample, place = fewer_rows(X, rows)
    weight = np.zeros(sample.shape[0])
    weight[place] = sample_weight[rows]
    own = new_units(sample[:, filled].tocsc(), weight, as_dense=True)
    center, inverse_scale = units.center.copy(), units.inverse_scale.copy()
    center[filled], inverse_scale[filled] = own.center, own.inverse_scale
    units = replace(units, center=center, inverse_scale=inverse_scale)
    norms = squared_norms(sample, units)[place]
    return replace(units, squared_norm=_typical(norms, weight[place]))


@np.errstate(over="ignore", invalid="ignore")
def squared_norms(X, units):
    """Return squared norms of rows in these units, applied or not."""
    norms = np.empty(X.shape[0])
    center = units.center.astype(np.float64)
    square = units.inverse_scale.astype(np.float64) ** 2
    constant = center**2 @ square
    for rows in row_blocks(X.shape[0], X):
        block = X[rows]
        if sparse.issparse(X):
            values = block.data.astype(np.float64)
            values *= values - 2 * center[block.indices]
            block = sparse.csr_array(
                (values, block.indices, block.indptr), shape=block.shape
            )
            norms[rows] = block @ square + constant
        else:
            Z = (block - units.center) * units.inverse_scale
            norms[rows] = np.einsum("ij,ij->i", Z, Z, dtype=np.float64)
    return norms


@dataclass(frozen=True)
class RecentRows:
    """Some of the rows of a stream since its units were last compared with them.

    Attributes
    ----------
    n_rows : int
        How many rows there were.
    chunks : tuple of (X, weight)
        Some of the last rows.
    n_between : int
        Number of rows after which the units are compared.
    is_confirmed : bool
        Whether the rows before needed a change beyond the bound.
    """

    n_rows: int = 0
    chunks: tuple = ()
    n_between: int = N_BETWEEN
    is_confirmed: bool = False

    def extended(self, X, weight, units):
        """Return the recent rows with more; at most ``N_RECENT`` are copied."""
        rows, chunks, most = np.flatnonzero(weight), self.chunks, N_RECENT
        n_rows, n_between = self.n_rows + len(rows), self.n_between
        soon = self.n_rows + N_BETWEEN
        # Of calls with few rows only some are checked, because a check takes longer
        # than a pass.
        is_due = n_rows // N_LOOKED_AT > self.n_rows // N_LOOKED_AT
        if n_between > soon and is_due and _are_far(X, rows, units):
            n_between = soon
        rows = rows[max(0, n_between - most - self.n_rows) :]
        if len(rows):
            if not sparse.issparse(X):
                most = int(np.clip(RECENT_VALUES // X.shape[1], ENOUGH_ROWS, N_RECENT))
            n_more = most - sum(len(weight) for _, weight in chunks)
            few = rows[:: -(-len(rows) // most)][: max(n_more, 0)]
            chunks = (*chunks, (X[few], weight[few]))
        return replace(self, n_rows=n_rows, chunks=chunks, n_between=n_between)

    def followed(self, old, new_units):
        """Return units that fit the rows, and an object that collects the next rows.

        ``new_units``: a function of rows and weights, as ``feature_units``.
        """
        if self.n_rows < self.n_between:
            return old, self
        units, is_bounded = self._units(old, new_units)
        n_between = min(2 * self.n_between, MOST_BETWEEN)
        return units, RecentRows(
            n_between=n_between if units is old else N_BETWEEN, is_confirmed=is_bounded
        )

    def _units(self, old, new_units):
        """Return the units, changed if needed, and whether a bound limited them."""
        X, weight = zip(*self.chunks, strict=True)
        X, weight = stacked(X), np.concatenate(weight)
        new = new_units(X, weight)
        if sparse.issparse(X):
            present = np.bincount(X.indices[X.data != 0], minlength=X.shape[1])
        else:
            present = np.count_nonzero(new.center != X, axis=0)
        power = MOST_POWER if self.is_confirmed else self.n_rows / N_BETWEEN
        bound = BOUND ** min(power, MOST_POWER)
        # Only a constant feature has a scale of exactly 1.
        bounds = np.where(old.inverse_scale == 1, np.inf, bound)
        with np.errstate(over="ignore"):
            shift = (new.center - old.center) * old.inverse_scale
            growth = old.inverse_scale / new.inverse_scale
        shift = np.clip(shift, -LARGEST_CHANGE, LARGEST_CHANGE)
        growth = np.clip(growth, 1 / LARGEST_CHANGE, LARGEST_CHANGE)
        is_far = np.maximum(growth, 1 / growth) > LOOSE_SCALE
        is_far |= np.abs(shift) > LOOSE_CENTER
        is_far &= present >= FEWEST_PRESENT
        is_beyond = np.maximum(np.abs(shift), np.maximum(growth, 1 / growth)) > bounds
        shift = np.where(is_far, np.clip(shift, -bounds, bounds), 0)
        growth = np.where(is_far, np.clip(growth, 1 / bounds, bounds), 1)
        units, norm = old, old.squared_norm
        if is_far.any():
            units = replace(
                old,
                center=(old.center + shift / old.inverse_scale).astype(X.dtype),
                inverse_scale=(old.inverse_scale / growth).astype(X.dtype),
            )
            norm = _typical_norm(units, X, np.arange(len(weight)), weight)
        elif not old.applied:
            norm = new.squared_norm
        norm = np.clip(norm, old.squared_norm / bound, old.squared_norm * bound)
        if max(norm, old.squared_norm) > LOOSE_SCALE * min(norm, old.squared_norm):
            units = replace(units, squared_norm=float(norm))
        return units, bool((is_far & is_beyond).any())


@np.errstate(over="ignore")
def _are_far(X, rows, units):
    """Whether some of the rows are typically much larger than earlier ones."""
    if not (len(rows) and units.squared_norm):
        return False
    few = X[rows[:: -(-len(rows) // N_LOOKED_AT)]]
    norms = row_norms(units.transform(few), squared=True)
    return bool(np.median(norms) > FAR * units.squared_norm)


def leverage_limit(n_features):
    """Return the squared norm of a standardised row above which it has leverage."""
    return chdtri(n_features, 0.025)


def stacked(chunks):
    """Return the rows of several arrays or CSR matrices; one alone is not copied."""
    if len(chunks) == 1:
        return chunks[0]
    if all(sparse.issparse(X) for X in chunks):
        return sparse.vstack(chunks, format="csr")
    return np.vstack([X.toarray() if sparse.issparse(X) else X for X in chunks])


def _standardised(X, center, inverse_scale):
    if sparse.issparse(X):
        X = X.copy()
        inplace_column_scale(X, inverse_scale)
        return X
    with np.errstate(over="ignore", invalid="ignore"):
        return (X - center) * inverse_scale


def _center_and_scale(X, weight, *, centered, clip, spread):
    """Return medians and normalised median absolute deviations of the columns.

    If many values equal the median, the deviation would be small or 0. The scale is
    then that of a normal distribution mixed with one value: sqrt(share) times the scale
    of the other values. ``spread``: a function of deviations, scales and those of
    ``long_scale`` that returns the scales.
    """
    X = X.astype(np.float64)
    X[_are_rounded(np.abs(X))] = 0
    center = weighted_median(X, weight) if centered else np.zeros(X.shape[1])
    deviation = np.abs(X - center)
    tied = weight @ (deviation == 0) / weight.sum()
    mixed, scale = tied > LARGEST_TIE, np.ones(X.shape[1])
    factor, long = np.ones(X.shape[1]), np.zeros(X.shape[1])
    if not mixed.all():
        scale[~mixed] = weighted_median(deviation[:, ~mixed], weight) / NORMAL_MEDIAN
    if mixed.any():
        rest = deviation.T[mixed]
        column, row = np.nonzero(rest)
        size, entry_weight = rest[column, row], weight[row]
        found, median, total = column_medians(column, size, entry_weight)
        if spread is not None and clip is not None:
            normal = median / NORMAL_MEDIAN
            far = long_scale(column, size, entry_weight, found, median, normal, clip)
            long[np.flatnonzero(mixed)[found]] = far
        found = np.flatnonzero(mixed)[found]
        scale[found] = median / NORMAL_MEDIAN
        factor[found] = _mixed_factor(total / weight.sum())
    if spread is not None:
        if clip is not None and not mixed.all():
            own = center[~mixed], scale[~mixed]
            long[~mixed] = long_from_end(X[:, ~mixed], weight, *own, clip)
        scale = spread(deviation, scale, long)
    scale *= factor
    if clip is not None:
        variance = _clipped_square(deviation, scale, clip)
        scale *= _clipped_deviation(np.average(variance, axis=0, weights=weight), clip)
    return center, scale


def _are_rounded(size):
    """Return whether each absolute value is rounding of 0, by column."""
    return size < ROUNDED * np.minimum(size.max(axis=0, initial=0.0), 1)


def _clipped_square(deviation, scale, clip):
    # A scale near 0 has few digits, or is 0.
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        return np.minimum(deviation / scale, clip) ** 2


def _clipped_deviation(variance, clip):
    """Return sqrt of a variance after clipping, over that of a standard normal z."""
    tail, density = ndtr(-clip), np.exp(-(clip**2) / 2) / np.sqrt(2 * np.pi)
    normal = 1 - 2 * tail - 2 * clip * density + 2 * clip**2 * tail
    return np.sqrt(np.where(variance > 0, variance / normal, 1))


def _mixed_factor(share):
    """Return the scale of a feature over that of its non-zeros, by their share."""
    return np.sqrt(np.maximum(share, SMALLEST_SHARE))


def _sparse_scale(X, weight, *, clip, rare_power, spread):
    """Return 0 as centres, and sqrt(share of entries) times their median size.

    The scale is 1 without entries. X is CSC. Entries of rows of weight 0 do not count.
    """
    center, scale = np.zeros(X.shape[1]), np.ones(X.shape[1])
    size = np.abs(X.data.astype(np.float64))
    column = np.repeat(np.arange(X.shape[1]), np.diff(X.indptr))
    entry_weight = weight[X.indices]
    present = (size > 0) & (entry_weight > 0)
    if (size < ROUNDED).any():
        largest = np.zeros(X.shape[1])
        np.maximum.at(largest, column, size)
        present &= size >= ROUNDED * np.minimum(largest[column], 1)
    sizes = sparse.csc_array((size * present, X.indices, X.indptr), shape=X.shape)
    size, column, entry_weight = size[present], column[present], entry_weight[present]
    if len(size):
        found, median, total = column_medians(column, size, entry_weight)
        scale[found] = median / NORMAL_MEDIAN
        if spread is not None:
            long = np.zeros(X.shape[1])
            if clip is not None:
                long[found] = long_scale(
                    column, size, entry_weight, found, median, scale[found], clip
                )
            scale = spread(sizes, scale, long)
        if rare_power is not None:
            variance = entry_weight * _clipped_square(size, scale[column], clip)
            variance = np.bincount(column, variance, minlength=len(scale))[found]
            # Added up column by column: rounding may make the other totals 0.
            total = np.bincount(column, entry_weight, minlength=len(scale))[found]
            scale[found] *= _clipped_deviation(variance / total, clip)
            scale[found] *= (total / weight.sum()) ** rare_power
            return center, scale
        scale[found] *= _mixed_factor(total / weight.sum())
        if clip is not None:
            variance = entry_weight * _clipped_square(size, scale[column], clip)
            variance = np.bincount(column, variance, minlength=len(scale))
            scale *= _clipped_deviation(variance / weight.sum(), clip)
    return center, scale


@np.errstate(over="ignore")
def _typical_norm(units, X, rows, weight):
    """Return the mean of clipped squared norms of rows; infinite if too large."""
    squared = np.empty(len(rows))
    for batch in row_blocks(len(rows), X):
        block = X[rows[batch]]
        if not sparse.issparse(X):
            block = block.astype(np.float64)
        block = units.transform(block).astype(np.float64, copy=False)
        squared[batch] = row_norms(block, squared=True)
    return _typical(squared, weight)


def _typical(squared, weight):
    """Mean of squared norms of rows, without what corrupted rows add."""
    present = squared > 0
    if not present.any():
        return 0.0
    limit = 3 * weighted_median(squared[present], weight[present])
    return float(np.average(np.minimum(squared, limit), weights=weight))
