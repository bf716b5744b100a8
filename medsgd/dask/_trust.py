"""Sums of partitions, and which of them can be trusted.

The coordinator holds some rows of each partition. Sums are left out if no rows have
them, or if they contradict these rows.
"""

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from medsgd._refinement.rows import RowsLeftOut

# Relative rounding that sums are allowed.
ROUNDING = 1e-6
# Sums contradict the rows that a partition has given to the sample if a mean is so many
# standard errors off.
FAR_OFF = 5.0
# Rows that have to decide a statistic for it to be compared.
FEWEST = 10

IMPOSSIBLE = "their sums are not finite or those of no rows"
CONTRADICTING = "their sums contradict rows of theirs"


class Sent:
    """A job of partitions, whose small arrays are copied when they arrive.

    In a message arrays may begin at any address.
    """

    def __setstate__(self, fields):
        vars(self).update(copy.deepcopy(fields))


@dataclass(frozen=True, eq=False)
class Known(Sent):
    """Checks of the sums of some partitions, by the coordinator's knowledge.

    Attributes
    ----------
    kind : type
        That of the sums.
    index : ndarray of shape (n_partitions,)
        The numbers of the partitions.
    weight : ndarray of shape (n_partitions,)
        Total weight of the rows of each; 0 leaves a partition out.
    expected, tolerance : ndarray of shape (n_partitions, n_statistics) or None
        Means over rows of what ``statistics`` of the sums are, by the rows that each
        partition has given to the sample, and how far off they may be. None if sums
        need not agree with rows.
    """

    kind: type
    index: np.ndarray
    weight: np.ndarray
    expected: np.ndarray | None = None
    tolerance: np.ndarray | None = None

    def of(self, few):
        """Return the checks of some of the partitions."""
        expected, tolerance = self.expected, self.tolerance
        if expected is not None:
            expected, tolerance = expected[few], tolerance[few]
        return Known(self.kind, self.index[few], self.weight[few], expected, tolerance)


@dataclass(frozen=True, eq=False)
class Merged:
    """Sums of several partitions, and those of them that are left out.

    Attributes
    ----------
    sums : Summable or None
    impossible, contradicting : list of int
    """

    sums: Any
    impossible: list
    contradicting: list

    def __add__(self, other):
        sums = self.sums
        if other.sums is not None:
            sums = other.sums if sums is None else sums + other.sums
        return Merged(
            sums,
            self.impossible + other.impossible,
            self.contradicting + other.contradicting,
        )


NOTHING = Merged(None, [], [])


def merge(parts, job, known):
    """Add the sums of partitions that can be trusted, in the order of partitions."""
    merged = NOTHING
    for i, (k, weight) in enumerate(zip(known.index, known.weight, strict=True)):
        sums = parts[i]
        if weight == 0:
            continue
        if not (isinstance(sums, known.kind) and sums.is_possible(weight, job)):
            merged += Merged(None, [int(k)], [])
        elif known.expected is not None and not _agree(
            sums.statistics() / weight, known.expected[i], known.tolerance[i]
        ):
            merged += Merged(None, [], [int(k)])
        else:
            merged += Merged(sums, [], [])
    return merged


def _agree(means, expected, tolerance):
    """Whether means are near to those of rows; NaN allows any mean."""
    return not np.any(np.abs(means - expected) > tolerance)


def add_merged(parts):
    """Add merged groups of partitions."""
    return sum(parts, NOTHING)


def expected_means(values, weight, part, n_partitions):
    """Return means of rows' values for each partition, and their tolerances.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_statistics)
    weight, part : ndarray of shape (n_rows,)
        The weight of each row, and its partition, in order.
    n_partitions : int

    Returns
    -------
    expected, tolerance : ndarray of shape (n_partitions, n_statistics)
    """
    expected = np.full((n_partitions, values.shape[1]), np.nan)
    tolerance = np.full((n_partitions, values.shape[1]), np.inf)
    present, first = np.unique(part, return_index=True)
    weight = weight[:, np.newaxis]
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.square(values)
        total = np.add.reduceat(weight, first)
        mean = np.add.reduceat(weight * values, first) / total
        variance = np.add.reduceat(weight * squares, first) / total - mean**2
        overall = np.sum(weight * values, axis=0) / weight.sum()
        pooled = np.sum(weight * squares, axis=0) / weight.sum() - overall**2
        variance, pooled = np.maximum(variance, 0), np.maximum(pooled, 0)
        count = np.bincount(part, minlength=n_partitions)[present][:, np.newaxis]
        expected[present] = mean
        # Bernstein's inequality: rare rows with large values may be among the others.
        largest = np.abs(values - overall).max(axis=0)
        tolerance[present] = FAR_OFF * np.sqrt((variance + pooled) / count)
        tolerance[present] += FAR_OFF**2 / 6 * largest / count
        # A statistic of few rows is no estimate for the other rows.
        n_deciding = squares.sum(axis=0) ** 2 / np.square(squares).sum(axis=0)
    tolerance[:, ~(n_deciding >= FEWEST)] = np.inf
    return expected, tolerance


class Asked:
    """The partitions that are asked for sums.

    Parameters
    ----------
    data : Sample
        The rows at hand, in the order of the partitions.
    trusting : bool
        Whether only sums that are impossible are left out.

    Attributes
    ----------
    left_out : dict of {int: str}
        Partitions left out, and why.
    weight_of_each : ndarray of shape (n_partitions,)
        Total weight of the rows of each partition, 0 for those left out.
    n_used : int
        Number of rows with a weight.
    rows : ndarray of shape (n_rows,)
        The rows at hand of partitions that are not left out.
    """

    def __init__(self, data, weights, *, trusting):
        self.data, self.weights, self.trusting = data, weights, trusting
        self.left_out = {}
        self._count()

    def _count(self):
        self.weight_of_each = self.weights.copy()
        self.weight_of_each[list(self.left_out)] = 0
        used = self.weight_of_each > 0
        if not used.any():
            reasons = "; ".join(sorted(set(self.left_out.values())))
            raise ValueError(f"No partition is left: {reasons}.")
        self.total = float(self.weight_of_each.sum())
        self.n_used = int(self.data.told.n_rows_of_each[used].sum())
        self.rows = np.flatnonzero(used[self.data.part] & (self.data.weight > 0))

    @property
    def part(self):
        """Return the partition of each of the rows at hand."""
        return self.data.part[self.rows]

    def leave_out(self, reasons):
        """Leave out partitions for the rest of the fit.

        Raises
        ------
        RowsLeftOut
            If there are any.
        """
        if reasons:
            self.left_out |= reasons
            self._count()
            raise RowsLeftOut

    def leave_out_again(self, partitions):
        """Leave out partitions that another call has left out."""
        self.left_out |= dict.fromkeys(partitions.tolist(), "left out by fit")
        self._count()

    def believed(self, reasons):
        """Return those of the reasons to leave partitions out that hold.

        Sums also contradict rows of the sample that are not typical of the others. If
        that holds for half of the rows, it is no reason.
        """
        wrong = [k for k, reason in reasons.items() if reason == CONTRADICTING]
        if self.trusting or self.weight_of_each[wrong].sum() >= self.total / 2:
            return {k: reasons[k] for k in reasons if k not in wrong}
        return reasons

    def expected(self, values, weight):
        """As ``expected_means``."""
        return expected_means(values, weight, self.part, len(self.weights))

    def sums(self, name, function, job, kind, rows_of):
        """Ask partitions for sums.

        Parameters
        ----------
        name : str
        function : callable
            Returns the sums of a block.
        job : Sent
        kind : type
        rows_of : callable
            Returns the values of the rows at hand that ``kind.statistics`` are means
            of, and their weights.

        Raises
        ------
        RowsLeftOut
            If some partitions are left out for the first time.
        """
        known = Known(kind, np.arange(len(self.weights)), self.weight_of_each)
        checked = known
        if not self.trusting:
            expected, tolerance = self.expected(*rows_of())
            checked = replace(known, expected=expected, tolerance=tolerance)
        merged = self._merged(name, function, job, checked)
        reasons = dict.fromkeys(merged.impossible, IMPOSSIBLE)
        reasons |= dict.fromkeys(merged.contradicting, CONTRADICTING)
        believed = self.believed(reasons)
        if len(believed) < len(reasons):
            merged = self._merged(name, function, job, known)
        self.leave_out(believed)
        return merged.sums

    def _merged(self, name, function, job, known):
        partitions = self.data.partitions
        parts = partitions.merge(name, function, job, merge, known, add_merged)
        return add_merged(parts)
