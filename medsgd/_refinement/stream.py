"""The refined estimate of a stream: weighted sums of its rows, in bounded memory.

The exact refinement of the first rows begins the sums. Later rows add to them what a
step of the M step would, at the coefficients and the scale of their time: the weights
of rows are never revised. That is a recursive M-estimator, whose error is to first
order that of the M step over all rows (R. Martin, C. Masreliez, "Robust Estimation via
Stochastic Approximation", IEEE Transactions on Information Theory 1975). The median
leads: it is one of the starts of the exact refinement, and where it has become better
than the refined estimate, as after a jump, the refined estimate begins anew.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

import medsgd._core.bisquare as bisquare
from medsgd._fit.data import Data
from medsgd._fit.persistence import chunks, plain_chunks
from medsgd._fit.units import stacked
from medsgd._refinement.bisquare import BREAKDOWN, M_CONSTANT, m_scale
from medsgd._refinement.candidates import recovered
from medsgd._refinement.exact import ExactStage, penalty_of, to_user
from medsgd._refinement.least_squares import solution
from medsgd._refinement.regression import last
from medsgd._refinement.rows import LARGEST, DenseRows

# The Gram matrix of more parameters is too large to go with every estimator.
MOST_PARAMETERS = 500
# Rows of which the exact refinement begins the sums, and of which it does so again,
# since with more rows it is more often right: the larger of a number and of so many a
# parameter.
FIRST_ROWS, SECOND_ROWS, FIRST_PER_PARAMETER = 2_000, 8_000, 20
# The coefficients are solved for after each piece of the rows: so many, or a share of
# the rows before it.
PIECE, PIECE_SHARE = 500, 0.125
# Rows of small calls wait until they are a piece of so many, so that a call with one
# row costs little: a share of the rows before them, which moves the estimate by a
# sixteenth of its standard error, and at least a share of the parameters, for each
# piece is solved.
LEAST_PIECE, MOST_WAITING, WAITING_SHARE, SOLVED_SHARE = 32, 1_000, 1 / 256, 0.125
# Rows whose residuals make one M-scale.
WINDOW = 1_000
# The median leads where its residuals of a window have a scale so many times smaller.
JUMP = 1.2
# A feature is new whose squares in the sums are fewer than so many, and than those of
# the next rows, if it is present in at least so many of these.
INFORMED, FEWEST_PRESENT = 10.0, 5
# A solution is Newton's where it moves fitted values by less, in scales.
NEAR = 0.3


@dataclass(frozen=True, eq=False, kw_only=True)
class Sums:
    """Weighted sums of rows, and the estimate that they give.

    Attributes
    ----------
    center, inverse_scale : ndarray of shape (n_features,)
        Of the standardised rows, which the sums are of.
    y_center, y_scale : float
        Of the targets.
    weight_unit : float
        The sample weight that counts as one row.
    floor : float
        Least scale, which rounding leaves.
    gram : ndarray of shape (n_parameters, n_parameters)
        Curvature of the sum of the losses.
    moments : ndarray of shape (n_parameters,)
        ``gram`` times the minimiser of the losses.
    total : float
        How many rows count.
    b : ndarray of shape (n_parameters,)
    scale : float
        The S step's, in units of ``y_scale``.
    least_share : float
        What part of the M-scale of the residuals of ``b`` it is: those of the S step
        have a smaller one.
    window : tuple of ndarray of shape (3, n)
        Residuals of the refined and of the median's coefficients, and counts, of rows
        that have not set the scale yet.
    n_window : int
        How many such rows there are.
    """

    center: np.ndarray
    inverse_scale: np.ndarray
    y_center: float
    y_scale: float
    weight_unit: float
    floor: float
    gram: np.ndarray
    moments: np.ndarray
    total: float
    b: np.ndarray
    scale: float
    least_share: float = 1.0
    window: tuple = ()
    n_window: int = 0

    @property
    def fit_intercept(self):
        """Whether there is an intercept."""
        return int(len(self.b) > len(self.center))

    @property
    def n_solved(self):
        """How many parameters each piece of the rows solves for."""
        return len(self.b)

    @property
    def residual_scale(self):
        """Scale of the residuals in units of the targets; 0 of an exact fit."""
        return self.scale * self.y_scale if self.scale > self.floor else 0.0

    def rows(self, data):
        """Return rows as the sums see them."""
        y = data.y.astype(np.float64)
        with np.errstate(over="ignore"):
            y = np.clip((y - self.y_center) / self.y_scale, -LARGEST, LARGEST)
        counts = data.given_weight.astype(np.float64) / self.weight_unit
        return DenseRows(
            data.X, y, counts, self.center, self.inverse_scale, self.fit_intercept
        )

    def to_user(self):
        """Return coefficients and intercept in the units of the user."""
        return to_user(self.b, self, self.y_center, self.y_scale)

    def with_rows(self, rows, residual, led, penalty, half_life):
        """Return the sums with more rows.

        Parameters
        ----------
        rows : Rows
        residual, led : ndarray of shape (n_rows,)
            Residuals of the refined and of the median's coefficients.
        penalty : ndarray of shape (n_parameters,)
            Factor of half the square of each coefficient.
        half_life : float
        """
        _, curvature, pull, *_ = bisquare.pull(
            residual, rows.weight, M_CONSTANT * self.scale
        )
        memory = 0.5 ** (rows.total / half_life)
        sums = replace(
            self,
            total=memory * self.total + rows.total,
            window=(*self.window, np.array([residual, led, rows.weight])),
            n_window=self.n_window + rows.n_rows,
        )
        pulled = rows.moments(pull)
        for values in (curvature, np.maximum(curvature, 0)):
            gram = rows.gram(values)
            moments = memory * self.moments + gram @ self.b + pulled
            gram += memory * self.gram
            b = sums._solution(gram, moments, penalty, convex=values is not curvature)
            if b is None:
                continue
            step = (b - self.b) / self.scale
            if step @ gram @ step <= NEAR**2 * sums.total:
                break
        return replace(sums, gram=gram, moments=moments, b=b)

    def with_new_features(self, rows):
        """Return the sums with first coefficients of features that the rows have first.

        Without them all rows of a new feature with a strong effect would be outliers.
        """
        known = self.gram.diagonal()[self.fit_intercept :]
        if np.all(known >= INFORMED):
            return self
        squares = rows.diagonal(rows.weight)[self.fit_intercept :]
        present = rows.present_share * rows.total >= FEWEST_PRESENT
        is_new = (known < np.minimum(INFORMED, squares)) & present
        if not is_new.any():
            return self
        residual = rows.residuals(self.b)
        kept, *_ = bisquare.pull(residual, rows.weight, M_CONSTANT * self.scale)
        found = recovered(rows, residual, kept, self.b)
        if found is None:
            return self
        b = self.b.copy()
        features = b[self.fit_intercept :]
        features[is_new] = found[self.fit_intercept :][is_new]
        return replace(self, b=b)

    def _solution(self, gram, moments, penalty, *, convex):
        """The minimiser of the losses; None where they need not have one."""
        gram = gram.copy()
        diagonal = gram.diagonal() + self.total * penalty
        # Of a feature that has always been 0 nothing is known.
        gram.flat[:: len(gram) + 1] = np.where(diagonal == 0, 1, diagonal)
        return solution(gram, moments, convex)

    def rescaled(self):
        """Return the sums with the scale up to date, or None where the median leads.

        The scales of windows are averaged as their logarithms are, by their counts.
        """
        if self.n_window < WINDOW:
            return self
        refined, led, count = np.concatenate(self.window, axis=1)
        total = count.sum()
        scale, scale_led = (
            m_scale(residual, count, BREAKDOWN * total, self.scale, self.floor)
            for residual in (refined, led)
        )
        if scale > JUMP * scale_led:
            return None
        share = total / max(self.total, total)
        scale = self.scale * (self.least_share * scale / self.scale) ** share
        return replace(self, scale=max(scale, self.floor), window=(), n_window=0)


def begun(stage, refinement, progress):
    """Return the sums at the end of an exact refinement.

    Parameters
    ----------
    stage : ExactStage
    refinement : Refinement
    progress : Pass
        The last one.
    """
    rows, few, b = stage.rows, refinement.few, progress.b
    floor = refinement.tolerance
    scale = max(progress.scale, floor)
    l2 = stage.penalty.quadratic(rows.fit_intercept)
    sums = Sums(
        center=rows.center,
        inverse_scale=rows.inverse_scale,
        y_center=stage.y_center,
        y_scale=stage.y_scale,
        weight_unit=stage.weight_unit,
        floor=floor,
        gram=np.eye(len(b)),
        moments=b,
        total=rows.total,
        b=b,
        scale=scale,
    )
    # As many rows as the S step sees tell the curvature of all.
    residual = few.residuals(b)
    _, curvature, *_ = bisquare.pull(residual, few.weight, M_CONSTANT * scale)
    for values in (curvature, np.maximum(curvature, 0)):
        gram = few.gram(values) * (rows.total / few.total)
        moments = gram @ b + rows.total * l2 * b
        if sums._solution(gram, moments, l2, convex=False) is not None:
            break
    own = m_scale(residual, few.weight, refinement.target(few), scale, floor)
    return replace(sums, gram=gram, moments=moments, least_share=min(scale / own, 1))


def can_follow(plan, n_features):
    """Whether a stream of these parameters has a refined estimate."""
    has_l1 = plan.exact_alpha > 0 and plan.l1_ratio > 0
    n_parameters = n_features + plan.fit_intercept
    return plan.refines and not has_l1 and n_parameters <= MOST_PARAMETERS


@dataclass(frozen=True, eq=False)
class Kept:
    """Rows of calls, kept until they are enough.

    Attributes
    ----------
    chunks : tuple of (X, y, weight)
    n_rows : int
    """

    chunks: tuple = ()
    n_rows: int = 0

    def extended(self, data):
        """Return the kept rows with those of a call."""
        # Copies, for the caller may fill the same arrays again.
        chunk = data.X.copy(), data.y.copy(), data.given_weight.copy()
        return Kept((*self.chunks, chunk), self.n_rows + len(data.y))

    def together(self, units):
        """Return all rows as data."""
        X, y, weight = zip(*self.chunks, strict=True)
        y, weight = np.concatenate(y), np.concatenate(weight)
        return Data(X=stacked(X), y=y, weight=weight, units=units, given_weight=weight)


@dataclass(frozen=True, eq=False)
class Stream:
    """The refined estimate of a stream, and rows kept for it.

    This one is a regressor's. Those of classifiers are a subclass.

    Attributes
    ----------
    sums : Sums or None
        None before the exact refinement of the first rows.
    first : Kept or None
        Rows that begin the sums, or begin them again; None if that is done.
    waiting : Kept
        Rows that the sums do not have yet.
    is_shown : bool
        Whether the estimate is what the estimator's attributes tell.
    """

    sums: Any = None
    first: Kept | None = Kept()
    waiting: Kept = Kept()
    is_shown: bool = False

    sums_type: ClassVar[type] = Sums

    @staticmethod
    def can_follow(plan, n_features):
        """Whether a stream of these parameters has a refined estimate."""
        return can_follow(plan, n_features)

    def solutions(self):
        """Return coefficients and intercept of each problem in the user's units."""
        return [self.sums.to_user()]

    def as_plain(self):
        """Return the stream as arrays and numbers."""
        return {
            "sums": self.sums and dict(vars(self.sums)),
            "first": self.first and plain_chunks(self.first.chunks),
            "waiting": plain_chunks(self.waiting.chunks),
            "is_shown": self.is_shown,
        }

    @classmethod
    def from_plain(cls, plain):
        """Return the stream that ``as_plain`` was of."""

        def kept(chunks):
            return Kept(tuple(chunks), sum(len(y) for _, y, _ in chunks))

        return cls(
            plain["sums"] and cls.sums_type(**plain["sums"]),
            None if plain["first"] is None else kept(chunks(plain["first"])),
            kept(chunks(plain["waiting"])),
            plain["is_shown"],
        )

    @classmethod
    def after(cls, stage, refinement, progress):
        """Return the stream that goes on from the end of an exact refinement."""
        sums = progress and begun(stage, refinement, progress)
        return cls(sums, None if sums else Kept())

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
        if stream.sums and stream.sums.fit_intercept != plan.fit_intercept:
            stream = type(self)()
        if len(data.rows) < len(data.y):
            data = data.of_rows(data.rows)
        if stream.sums is not None:
            least = np.clip(
                WAITING_SHARE * stream.sums.total,
                max(LEAST_PIECE, SOLVED_SHARE * stream.sums.n_solved),
                MOST_WAITING,
            )
            least = min(least, PIECE_SHARE * plan.half_life)
            n_waiting = stream.waiting.n_rows + len(data.y)
            if stream.waiting.n_rows or n_waiting < least:
                waiting = stream.waiting.extended(data)
                if n_waiting < least:
                    return replace(stream, waiting=waiting, is_shown=True)
                data = waiting.together(data.units)
                stream = replace(stream, waiting=Kept())
        led = self._led(data, before)
        enough = self._enough(data.X.shape[1] + plan.fit_intercept)
        rows, done = np.arange(len(led)), 0
        while done < len(rows):
            size, (few, few_led) = stream._size(plan, *enough), (data, led)
            if len(rows) > size:
                if done == 0 and plan.half_life == np.inf:
                    # The order within a call, as of sorted targets, decides nothing.
                    np.random.default_rng(0).shuffle(rows)
                piece = rows[done : done + size]
                few, few_led = data.of_rows(piece), led[piece]
            done += size
            if stream.sums is not None:
                stream = stream._with_piece(plan, few, few_led)
            if stream.first is not None:
                stream = stream._collected(plan, few, after, *enough)
        return replace(stream, is_shown=stream.sums is not None)

    def _led(self, data, median):
        """Return what the median predicts for rows."""
        return data.units.predict(data.X, *median[0])

    def _enough(self, n_parameters):
        """Return how many rows begin the estimate, and begin it again."""
        least = FIRST_PER_PARAMETER * n_parameters
        return max(FIRST_ROWS, least), max(SECOND_ROWS, least)

    def _size(self, plan, enough, again):
        """How many rows come next at most."""
        if self.sums is None:
            return enough - self.first.n_rows
        size = max(PIECE, int(PIECE_SHARE * self.sums.total))
        size = int(np.clip(PIECE_SHARE * plan.half_life, 1, size))
        return size if self.first is None else min(size, again - self.first.n_rows)

    def _collected(self, plan, data, median, enough, again):
        """Return the stream with more first rows, begun if they are enough.

        ``median``: coefficients and intercept of each problem, in the units of the data.
        """
        first, is_begun = self.first.extended(data), self.sums is not None
        if first.n_rows < (again if is_begun else enough):
            return replace(self, first=first)
        rows = first.together(data.units)
        stage = ExactStage(plan, rows, rows.weight)
        starts = [data.units.to_user(*median[0])]
        if is_begun:
            starts.append(self.sums.to_user())
        starts.append((np.zeros(rows.X.shape[1]), stage.y_center))
        refinement = stage.refinement(starts)
        stream = Stream.after(stage, refinement, last(refinement.passes()))
        # Of rows long gone sums with a half-life do not begin again.
        is_last = first.n_rows >= again or plan.half_life < np.inf
        return replace(stream, first=None if is_last else first)

    def _with_piece(self, plan, data, led):
        """Return the stream after a few rows, which the median predicts as ``led``."""
        sums = self.sums
        rows = sums.rows(data)
        penalty = penalty_of(plan, data.units, sums.inverse_scale, sums.y_scale)
        penalty = penalty.quadratic(rows.fit_intercept)
        with np.errstate(over="ignore", invalid="ignore"):
            led = rows.y - (led - sums.y_center) / sums.y_scale
        sums = sums.with_new_features(rows)
        sums = sums.with_rows(
            rows, rows.residuals(sums.b), led, penalty, plan.half_life
        )
        sums = sums.rescaled()
        return Stream() if sums is None else replace(self, sums=sums)
