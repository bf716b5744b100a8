"""Work on a partition: pure functions of its rows and a job."""

import copy
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.utils import check_array, column_or_1d

from medsgd._core.settings import Settings
from medsgd._fit.data import Data
from medsgd._fit.plan import Plan
from medsgd._fit.state import State
from medsgd._fit.tasks import as_targets as as_finite_targets
from medsgd._fit.units import FeatureUnits
from medsgd._refinement.exact import LARGEST_COUNT
from medsgd._refinement.rows import counted, draws
from medsgd._utils.guards import aligned, canonical_rows, checked

# Rows of a partition whose losses are computed in a round. The median of so many losses
# is accurate enough for the stopping rule.
N_WATCHED = 10_000
# Quantile levels of losses and residuals that each partition reports.
LEVELS = np.linspace(0, 1, 33)


@dataclass(frozen=True, eq=False)
class Block:
    """The rows of a partition that can be used, as compiled code reads them."""

    X: Any
    y: np.ndarray
    weight: np.ndarray
    n_dropped: int

    def __setstate__(self, fields):
        # In a message arrays begin anywhere.
        y, weight = aligned(fields["y"]), aligned(fields["weight"])
        vars(self).update(fields, X=canonical_rows(fields["X"]), y=y, weight=weight)

    def __sizeof__(self):
        # Dask decides by the size what to spill to disk.
        X = self.X
        parts = (X.data, X.indices, X.indptr) if sparse.issparse(X) else (X,)
        return sum(array.nbytes for array in (*parts, self.y, self.weight))


@dataclass(frozen=True, eq=False)
class Summary:
    """Report of a partition before the first round.

    Attributes
    ----------
    n_rows, weight, n_dropped : int, float, int
        Rows with a weight, their total weight, and rows dropped as not finite.
    is_counted : bool
        Whether weights are whole numbers.
    rows : tuple of X, y and weights, or None
        Rows that the partition gives to the sample, if the request names them.
    labels, label_weight, label_count : ndarray or None
        The classes present, also those of rows without a weight, the total weight of
        each and the number of its rows.
    """

    n_rows: int
    weight: float
    n_dropped: int
    is_counted: bool
    rows: tuple | None
    labels: np.ndarray | None = None
    label_weight: np.ndarray | None = None
    label_count: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Job:
    """A request of the coordinator, the same to all partitions.

    Attributes
    ----------
    plan : Plan
        That of a partition.
    units : FeatureUnits
    states : dict of {int: State}
        States of the problems that have not stopped, by their number.
    settings : Settings
    n_passes : int
        0 only evaluates.
    seeds : tuple of int
        Those of the fit and of the round.
    weight_unit : float
        The weight that counts as 1.
    """

    plan: Plan
    units: FeatureUnits
    states: dict[int, State]
    settings: Settings
    n_passes: int
    seeds: tuple[int, int]
    weight_unit: float

    def __setstate__(self, fields):
        # Arrays of a message begin anywhere. They are small, and so copied.
        vars(self).update(copy.deepcopy(fields))


@dataclass(frozen=True, eq=False)
class Update:
    """Result of a partition for one problem.

    Attributes
    ----------
    change : ndarray of shape (n_features + 1,)
        The change of the coefficients and of the intercept by the passes, to their
        average if iterates are averaged. NaN if they overflowed.
    location, scale, n_updates : ndarray
        As in ``State``, after the passes.
    stratum_weight : ndarray of shape (n_strata,)
        Weight of the partition's rows of each stratum.
    n_iterations : int
    clip_fraction : float
    mean_loss : float or None
        The mean of the losses before the passes; None where ``losses`` is.
    losses : ndarray of shape (n_levels,) or None
        Quantiles of the losses before the passes, with early stopping of the rows held
        out; None if the partition holds out none, or none of a class with a weight.
    sizes : ndarray of shape (n_levels,)
        Quantiles of the absolute residuals before the passes, of the rows of ``losses``
        or of all.
    """

    change: np.ndarray
    location: np.ndarray
    scale: np.ndarray
    n_updates: np.ndarray
    stratum_weight: np.ndarray
    n_iterations: int
    clip_fraction: float
    mean_loss: float | None
    losses: np.ndarray | None
    sizes: np.ndarray


def read_together(*parts):
    """Return the same partition of several dataframes."""
    return parts


def as_rows(X, dtype="numeric"):
    """Read rows as scikit-learn's validation does; missing values become NaN."""
    return check_array(
        _with_nan(checked(X)),
        accept_sparse="csr",
        order="C",
        dtype=dtype,
        ensure_all_finite=False,
        ensure_min_samples=0,
    )


def as_targets(y, *, labels):
    """Read targets, none of them missing, as scikit-learn's validation does."""
    y = column_or_1d(y)
    if labels or y.dtype.kind in "biuf":
        return y
    return y.astype(np.float64)


def as_weights(weight):
    """Read weights, none of them missing, as scikit-learn's validation does."""
    return check_array(
        weight,
        ensure_2d=False,
        dtype=[np.float64, np.float32],
        ensure_all_finite=False,
        ensure_min_samples=0,
    )


def is_missing(values):
    """Return whether each value is None, NaN or pandas' NA."""
    return np.asarray(pd.isna(values), dtype=bool)


def _with_nan(X):
    """Replace missing objects by NaN, which is a number."""
    if isinstance(X, pd.DataFrame):
        if any(map(pd.api.types.is_string_dtype, X.dtypes)):
            return X.to_numpy(dtype=object, na_value=np.nan)
    elif isinstance(X, np.ndarray) and X.dtype == object:
        return np.where(is_missing(X), np.nan, X)
    return X


@contextmanager
def _reading(index, name):
    """Name the partition in errors that reading it raises."""
    try:
        yield
    except (ValueError, TypeError) as error:
        # Further lines may show all of the values.
        reason = str(error).partition("\n")[0]
        raise ValueError(f"Partition {index}: {name}: {reason}") from error


def as_block(X, y, weight, plan, n_features, dtype, index):
    """Convert a partition, without the rows that are missing or not finite.

    Raises
    ------
    ValueError
        If X, y and the weights have different lengths, X other features than the
        collection, or if they are not numbers.
    """
    labels = plan.task.is_classification
    with _reading(index, "X must be real numbers"):
        X = as_rows(X, dtype)
    weight = np.ones(X.shape[0]) if weight is None else weight
    for name, values in (("y", y), ("sample_weight", weight)):
        if values.ndim != 1:
            raise ValueError(
                f"Partition {index}: {name} must have one dimension; got shape "
                f"{values.shape}."
            )
    lengths = X.shape[0], len(y), len(weight)
    if len(set(lengths)) > 1:
        raise ValueError(
            f"Partition {index}: X has {lengths[0]} rows, y {lengths[1]} and "
            f"sample_weight {lengths[2]}."
        )
    if X.shape[1] != n_features and not np.isnan(n_features):
        raise ValueError(
            f"Partition {index}: X has {X.shape[1]} features instead of {n_features}."
        )
    useful = ~(is_missing(y) | is_missing(weight))
    with _reading(index, "y must be " + ("labels" if labels else "real numbers")):
        y = as_targets(y[useful], labels=labels)
    with _reading(index, "sample_weight must be real numbers"):
        weight = as_weights(weight[useful])
    with np.errstate(over="ignore"):  # too large for the dtype: not finite
        weight = weight.astype(dtype)
    finite = _finite_rows(X)[useful] & np.isfinite(weight)
    if y.dtype.kind == "f":
        finite &= np.isfinite(y)
    if plan.uses_median:
        finite &= weight >= 0
    useful[useful] = finite
    n_dropped = int(len(useful) - np.count_nonzero(useful))
    if n_dropped:
        X, y, weight = X[useful], y[finite], weight[finite]
    if not labels:
        y = as_finite_targets(y, dtype)
    return Block(canonical_rows(X), y, weight, n_dropped)


def _finite_rows(X):
    if not sparse.issparse(X):
        return np.isfinite(X).all(axis=1)
    finite = np.ones(X.shape[0], dtype=bool)
    wrong = np.flatnonzero(~np.isfinite(X.data))
    finite[np.searchsorted(X.indptr, wrong, side="right") - 1] = False
    return finite


@dataclass(frozen=True, eq=False)
class Draws:
    """Rows of all partitions that make the sample.

    Attributes
    ----------
    size : int
        The number of rows drawn by weight. All rows with a weight if they are no more.
    n_rows : int
        Rows with a weight.
    before : ndarray of shape (n_partitions + 1,)
        Total weight of the rows in partitions before each.
    """

    size: int
    n_rows: int
    before: np.ndarray

    @property
    def are_all(self):
        """Whether all rows with a weight make the sample."""
        return self.n_rows <= self.size

    def counts(self, weight, index):
        """Return how often each row of a partition is drawn."""
        first, end = self.before[index : index + 2]
        places = draws(self.size, self.before[-1])
        places = places[(places >= first) & (places < end)] - first
        if len(places) == 0:
            return np.zeros(len(weight))
        return counted(weight, places, np.arange(len(weight)))

    def are_those_of(self, other):
        """Whether other draws, if there are any, are of the same rows."""
        return other is not None and np.array_equal(self.before, other.before)


def draws_of(size, weights, n_rows):
    """Return the ``Draws`` from partitions of these weights."""
    return Draws(size, n_rows, np.append(0.0, np.cumsum(weights)))


def draw(block, wanted, index):
    """Return the rows of a block that are in the sample, and their weights."""
    if wanted.are_all:
        few = np.flatnonzero(block.weight)
        return block.X[few], block.y[few], block.weight[few]
    count = wanted.counts(block.weight, index)
    few = np.flatnonzero(count)
    return block.X[few], block.y[few], count[few].astype(block.weight.dtype)


def summarise(block, wanted, index):
    """Return the ``Summary`` of a block.

    ``wanted``: whether labels, and which rows, or None if that is not known yet.
    """
    (wants_labels, draws), labels, weight = wanted, {}, block.weight
    total = float(weight.sum(dtype=np.float64))
    if draws is not None and total != np.diff(draws.before)[index]:
        draws = None
    if wants_labels:
        with _reading(index, "y must be labels of one kind"):
            names, code = np.unique(block.y, return_inverse=True)
        labels = {
            "labels": names,
            "label_weight": np.bincount(code, block.weight, len(names)),
            "label_count": np.bincount(code, minlength=len(names)),
        }
    return Summary(
        int(np.count_nonzero(weight)),
        total,
        block.n_dropped,
        bool(
            weight.max(initial=0) < LARGEST_COUNT and np.all(weight == np.floor(weight))
        ),
        rows=draws and draw(block, draws, index),
        **labels,
    )


def some_of(rows, n, seed):
    """Return at most ``n`` of the rows, in order; the same for each seed."""
    if len(rows) <= n:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, n, replace=False))


def run_passes(block, job, index):
    """Evaluate the problems at their states, and make passes over the block.

    Returns
    -------
    updates : list of Update, or None
        One for each active problem; None if the block has no rows to learn from.

    Notes
    -----
    With early stopping, a row is held out with probability ``validation_fraction``. A
    block that would hold out none or all of its rows trains on all of them instead.
    """
    plan = job.plan
    weight = (block.weight / job.weight_unit).astype(block.weight.dtype, copy=False)
    watched = np.flatnonzero(weight)
    if len(watched) == 0:
        return None
    tells_losses = True
    if plan.early_stopping:
        draws = np.random.default_rng((job.seeds[0], index)).random(len(weight))
        held = watched[draws[watched] < plan.validation_fraction]
        tells_losses = 0 < len(held) < len(watched)
        if tells_losses:
            watched, weight[held] = held, 0
    watched = some_of(watched, N_WATCHED, index)
    seed = np.random.SeedSequence([*job.seeds, index]).generate_state(1)[0]
    # The rows to hold out have weight 0 here, so problems hold out none.
    plan = replace(plan, random_state=int(seed) % 2**31, early_stopping=False)
    data = Data(X=block.X, y=block.y, weight=weight, units=job.units)
    states = [job.states.get(i) for i in range(plan.task.n_problems)]
    data, makers = plan.task.makers(plan, data, states, job.settings)
    return [
        _update(block, job, makers[i](), state, watched, tells_losses)
        for i, state in job.states.items()
    ]


def _update(block, job, problem, sent, watched, tells_losses):
    """Make the passes of one problem."""
    settings, state = job.settings, problem.state
    y = problem.data.y[watched].astype(np.float64)
    prediction = job.units.predict(block.X[watched], sent.coef, sent.intercept)
    losses, _ = settings.evaluate(y, prediction, sent.residual_scale)
    weight = block.weight[watched].astype(np.float64)
    if problem.strata is not None:
        weight *= problem.stratum_factors[problem.strata[watched]]
    # All rows of a partition may be of a class without weight.
    tells_losses = tells_losses and weight.any()
    # The shares are those of the whole collection. A partition may lack a class.
    state.shares, state.eta = sent.shares, sent.eta
    if state.sums is not None:
        state.restart_average()
    try:
        for _ in range(job.n_passes):
            problem.run_epoch(settings, shuffled=job.plan.shuffle)
        if settings.l1_ratio > 0 and state.sums is not None:
            state.keep_zeros()
        coef, intercept = state.solution()
    except ValueError:  # an overflow
        coef, intercept = np.nan, np.nan
    n_strata = len(problem.stratum_factors)
    strata = problem.strata[problem.rows] if n_strata > 1 else None
    row_weight = problem.data.weight[problem.rows].astype(np.float64)
    return Update(
        change=np.append(
            np.asarray(coef, dtype=np.float64) - sent.coef, intercept - sent.intercept
        ),
        location=np.array(state.location),
        scale=np.array(state.scale),
        n_updates=state.n_updates,
        stratum_weight=(
            np.array([row_weight.sum()])
            if strata is None
            else np.bincount(strata, row_weight, n_strata)
        ),
        n_iterations=problem.n_iterations,
        clip_fraction=float(np.mean(problem.clip_curve)) if problem.clip_curve else 0.0,
        mean_loss=float(np.average(losses, weights=weight)) if tells_losses else None,
        losses=_quantiles(losses, weight) if tells_losses else None,
        sizes=_quantiles(np.abs(y - prediction), weight),
    )


def _quantiles(values, weight):
    values = np.nan_to_num(values, nan=np.inf, posinf=np.inf)
    if np.all(weight == weight[0]):
        return np.quantile(values, LEVELS, method="nearest")
    return np.quantile(values, LEVELS, weights=weight, method="inverted_cdf")


def call_method(blocks, *, estimator, method, empty):
    """Return the result of an estimator's method for a chunk of rows."""
    (X,) = blocks
    return getattr(estimator, method)(X) if X.shape[0] else empty
