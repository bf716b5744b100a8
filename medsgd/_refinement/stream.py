"""The refined estimate of a stream: weighted sums of its rows, in bounded memory.

The exact refinement of the first rows begins the sums. The solution of the median stage
is one of its starts. If the median is better than the refined estimate, such as after a
jump, the refined estimate begins anew.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from scipy import sparse

from medsgd._fit.data import Data
from medsgd._fit.persistence import chunks, plain_chunks
from medsgd._fit.units import stacked
from medsgd._refinement.bisquare import BREAKDOWN, m_scale
from medsgd._refinement.exact import ExactStage, fewest_rows, is_exact, penalty_of
from medsgd._refinement.regression import last
from medsgd._refinement.rows import LARGEST
from medsgd._refinement.stream_sums import PIECE_SHARE, DiagonalSums, GramSums, begun

# The Gram matrix of more parameters is too large to go with every fitted estimator, and
# with a stream. Without one, a diagonal takes its place.
MOST_PARAMETERS, MOST_OF_STREAM = 500, 2_048
# Largest number of values of X that are kept: 64 MB, and 16 MB for a diagonal.
MOST_KEPT, MOST_OF_DIAGONAL = 2**23, 2**21
# Rows with which the exact refinement begins the sums: the larger of a number and of so
# many a parameter. A refinement of more rows is more often right. The sums therefore
# begin again each time that so many times as many rows are kept, up to the larger of a
# number and of so many a parameter.
FIRST_ROWS, FIRST_PER_PARAMETER, FIRST_OF_DIAGONAL = 30, 5, 500
GROWTH, LAST_ROWS, LAST_PER_PARAMETER = 4, 8_000, 20
# Diagonal sums begin again more often, as long as rows can be kept, because their steps
# are less exact than the refinement.
DIAGONAL_GROWTH = 1.5
# Rows of small calls wait until they are a piece of so many rows, so that a call with
# one row costs little. The piece is a share of the rows before it, which moves the
# estimate by a sixteenth of its standard error. It is at least a share of the
# parameters, because each piece is solved.
LEAST_PIECE, MOST_WAITING, WAITING_SHARE, SOLVED_SHARE = 32, 1_000, 1 / 256, 0.125
# Number of late rows that wait for others of their kind.
MOST_LATE = 100
# A half-life has at least so many rows a parameter, so that all are determined.
LEAST_MEMORY = 2


def needs_diagonal(plan, n_parameters, most):
    """Whether a Gram matrix is too large, or not usable with the penalty."""
    return n_parameters > most or has_l1(plan)


def has_l1(plan):
    """Whether the refined estimate has an L1 penalty."""
    return plan.exact_alpha > 0 and plan.l1_ratio > 0


@dataclass(frozen=True, eq=False)
class Kept:
    """Rows of calls, kept until they are enough.

    Attributes
    ----------
    chunks : tuple of (X, y, weight)
    n_rows, n_values : int
        How many rows these are, and how many values of X.
    """

    chunks: tuple = ()
    n_rows: int = 0
    n_values: int = 0

    @classmethod
    def of(cls, chunks):
        """Return kept rows of chunks."""
        n_values = sum(X.nnz if sparse.issparse(X) else X.size for X, *_ in chunks)
        return cls(tuple(chunks), sum(len(y) for _, y, _ in chunks), n_values)

    def extended(self, data):
        """Return the kept rows with those of a call."""
        # Copies, because the caller may fill the same arrays again.
        chunk = data.X.copy(), data.y.copy(), data.given_weight.copy()
        more = Kept.of([chunk])
        return Kept(
            (*self.chunks, chunk),
            self.n_rows + more.n_rows,
            self.n_values + more.n_values,
        )

    def together(self, units):
        """Return all rows as data."""
        X, y, weight = zip(*self.chunks, strict=True)
        y, weight = np.concatenate(y), np.concatenate(weight)
        return Data(X=stacked(X), y=y, weight=weight, units=units, given_weight=weight)


@dataclass(frozen=True, eq=False)
class Stream:
    """The refined estimate of a stream, and rows kept for it.

    This class is for regressors. Streams of classifiers are a subclass.

    Attributes
    ----------
    sums : GramSums or None
        None before the exact refinement of the first rows.
    first : Kept or None
        Rows that begin the sums, or begin them again; None if that is done.
    n_begun : int
        Number of first rows with which the sums have begun.
    waiting : Kept
        Rows that the sums do not have yet.
    late : Kept
        Rejected rows that wait for others of their kind.
    since : ndarray of shape (n_late,)
        How many rows have come since each of them.
    is_shown : bool
        Whether the attributes of the estimator show the refined estimate.
    """

    sums: Any = None
    first: Kept | None = Kept()
    n_begun: int = 0
    waiting: Kept = Kept()
    late: Kept = Kept()
    since: np.ndarray = field(default_factory=partial(np.empty, 0))
    is_shown: bool = False

    @staticmethod
    def can_follow(plan):
        """Whether streams with these parameters have a refined estimate."""
        return plan.refines

    @staticmethod
    def _sums_of(plain):
        """Return the sums that have these fields."""
        return (GramSums if plain["gram"].ndim == 2 else DiagonalSums)(**plain)

    def solutions(self):
        """Return coefficients and intercept of each problem in the user's units."""
        return [self.sums.to_user()]

    def as_plain(self):
        """Return the stream as arrays and numbers."""
        return {
            "sums": self.sums and dict(vars(self.sums)),
            "first": self.first and plain_chunks(self.first.chunks),
            "n_begun": self.n_begun,
            "waiting": plain_chunks(self.waiting.chunks),
            "late": plain_chunks(self.late.chunks),
            "since": self.since,
            "is_shown": self.is_shown,
        }

    @classmethod
    def from_plain(cls, plain):
        """Return the stream that ``as_plain`` was of."""
        sums, first = plain["sums"], plain["first"]
        return cls(
            sums and cls._sums_of(sums),
            None if first is None else Kept.of(chunks(first)),
            plain["n_begun"],
            Kept.of(chunks(plain["waiting"])),
            Kept.of(chunks(plain["late"])),
            plain["since"],
            plain["is_shown"],
        )

    @classmethod
    def after(cls, plan, stage, refinement, progress, most=MOST_PARAMETERS):
        """Return the stream that continues from the end of an exact refinement.

        ``most``: parameters that have a Gram matrix.
        """
        if progress is None:
            return cls()
        few, n_parameters = refinement.few, stage.rows.n_parameters
        diagonal = needs_diagonal(plan, n_parameters, most)
        target = refinement.target(few)
        b, scale = progress.b, progress.scale
        return cls(begun(stage, few, target, b, scale, diagonal=diagonal), None)

    def followed(self, plan, data, before, after):
        """Return the stream after more rows.

        Parameters
        ----------
        plan : Plan
        data : Data
        before, after : list of (ndarray, float)
            Coefficients and intercept of each problem's median without these rows and
            with them, in the units of the data.
        """
        stream = self
        if stream.sums and not stream._goes_on(plan):
            stream = type(self)()
        if len(data.rows) < len(data.y):
            data = data.of_rows(data.rows)
        least = LEAST_MEMORY * (data.X.shape[1] + plan.fit_intercept)
        if plan.half_life < least:
            plan = replace(plan, half_life=least)
        if stream.sums is not None:
            count = stream._count(data)
            total = stream.sums.total / count
            least = np.clip(
                WAITING_SHARE * total,
                max(
                    min(LEAST_PIECE, PIECE_SHARE * total),
                    SOLVED_SHARE * stream.sums.n_solved,
                ),
                MOST_WAITING,
            )
            least = min(least, PIECE_SHARE * plan.half_life / count)
            n_waiting = stream.waiting.n_rows + len(data.y)
            if stream.waiting.n_rows or n_waiting < least:
                waiting = stream.waiting.extended(data)
                if n_waiting < least:
                    return replace(stream, waiting=waiting, is_shown=True)
                data = waiting.together(data.units)
                stream = replace(stream, waiting=Kept())
        led = self._led(data, before)
        rows, done = np.arange(len(led)), 0
        while done < len(rows):
            size, (few, few_led) = stream._size(plan, data), (data, led)
            if done or len(rows) > size:
                if done == 0 and plan.half_life == np.inf:
                    # The order within a call, as of sorted targets, decides nothing.
                    np.random.default_rng(0).shuffle(rows)
                piece = rows[done : done + size]
                few, few_led = data.of_rows(piece), led[piece]
            done += size
            if stream.sums is not None:
                stream = stream._with_piece(plan, few, few_led)
            if stream.first is not None:
                stream = stream._collected(plan, few, after)
        return replace(stream, is_shown=stream.sums is not None)

    def _goes_on(self, plan):
        """Whether the sums are of use with parameters that may have changed."""
        can_solve = isinstance(self.sums, DiagonalSums) or not has_l1(plan)
        return can_solve and self.sums.fit_intercept == plan.fit_intercept

    def _count(self, data):
        """Return as how many rows a row counts in the sums, in the mean."""
        with np.errstate(over="ignore"):
            count = np.float64(data.mean_weight) / self.sums.weight_unit
        return float(min(count, LARGEST))

    def _led(self, data, median):
        """Return the predictions of the median for rows."""
        return data.units.predict(data.X, *median[0])

    def _enough(self, plan, data, at_hand=0):
        """Return the number of kept rows at which the sums begin next; 0 if never.

        ``at_hand``: number of kept rows and of those that have come. The sums do not
        begin with less than a quarter of them.
        """
        n_parameters = data.X.shape[1] + plan.fit_intercept
        if needs_diagonal(plan, n_parameters, MOST_OF_STREAM):
            if self.n_begun and plan.half_life < np.inf:
                return 0
            first = max(FIRST_OF_DIAGONAL, fewest_rows(plan, data.X.shape[1]))
            return int(DIAGONAL_GROWTH * self.n_begun) or first
        last = max(LAST_ROWS, LAST_PER_PARAMETER * n_parameters)
        # Rows older than the half-life are no rows to begin with.
        size = min(last, MOST_KEPT // n_parameters, plan.half_life)
        if 2 * self.n_begun > size:
            return 0
        first = max(FIRST_ROWS, FIRST_PER_PARAMETER * n_parameters)
        least = max(first, at_hand // GROWTH + 1, 2 * self.n_begun)
        while size >= GROWTH * least:
            size /= GROWTH
        return int(size) if self.n_begun or at_hand >= size else min(first, int(size))

    def _size(self, plan, data):
        """Return the largest number of rows of the next piece."""
        size = len(data.y)
        if self.sums is not None:
            size = self.sums.piece(plan.half_life, self._count(data))
        if self.first is None:
            return size
        kept = self.first.n_rows
        # The difference may be negative after a change of parameters.
        left = self._enough(plan, data, kept + len(data.y)) - kept
        return min(size, left) if left > 0 else size

    def _collected(self, plan, data, median):
        """Return the stream with more first rows, begun if they are enough.

        ``median``: coefficients and intercept of each problem, in units of the data.
        """
        first = self.first.extended(data)
        n_parameters = data.X.shape[1] + plan.fit_intercept
        diagonal = needs_diagonal(plan, n_parameters, MOST_OF_STREAM)
        is_enough = first.n_rows >= self._enough(plan, data)
        is_full = diagonal and first.n_values >= MOST_OF_DIAGONAL
        if not (is_enough or is_full):
            return replace(self, first=first)
        rows = first.together(data.units)
        stage = ExactStage(plan, rows, rows.weight)
        starts = [data.units.to_user(*median[0])]
        if self.sums is not None:
            starts.append(self.sums.to_user())
        if is_exact(plan, rows, first.n_rows):
            starts.append((np.zeros(rows.X.shape[1]), stage.y_center))
            refinement = stage.refinement(starts)
            end = last(refinement.passes())
            stream = Stream.after(plan, stage, refinement, end, MOST_OF_STREAM)
        elif self.sums is None:
            b = stage.from_user(*starts[0])
            few, target = stage.rows, BREAKDOWN * stage.rows.total
            scale = m_scale(few.residuals(b), few.weight, target, 1.0, stage.rounding)
            sums = begun(stage, few, target, b, scale, diagonal=diagonal)
            stream = Stream(sums)
        else:
            stream = self
        stream = replace(stream, first=first, n_begun=first.n_rows)
        if is_full or not stream._enough(plan, data):
            stream = replace(stream, first=None)
        return stream

    def _with_piece(self, plan, data, led):
        """Return the stream after a few rows, which the median predicts as ``led``."""
        sums = self.sums
        rows = sums.rows(data)
        penalty = penalty_of(plan, data.units, sums.inverse_scale, sums.y_scale)
        with np.errstate(over="ignore", invalid="ignore"):
            led = rows.y - (led - sums.y_center) / sums.y_scale
        sums, late = sums.with_rows(rows, led, penalty, plan.half_life)
        stream = replace(self, sums=sums, since=self.since + rows.total)
        if len(late):
            stream = stream._with_late(data.of_rows(late), rows.total, penalty)
        sums = stream.sums.rescaled()
        return Stream() if sums is None else replace(stream, sums=sums)

    def _with_late(self, data, span, penalty):
        """Return the stream after late rows of a span, which may be enough of a kind.

        If so the sums count them.
        """
        rows = self.late.extended(data).together(data.units)
        since = np.append(self.since, np.full(len(data.y), span))
        sums, counted = self.sums.with_late(self.sums.rows(rows), since, penalty)
        left = np.flatnonzero(~counted)[-MOST_LATE:]
        rows = rows.of_rows(left)
        late = Kept.of([(rows.X, rows.y, rows.given_weight)])
        return replace(self, sums=sums, late=late, since=since[left])
