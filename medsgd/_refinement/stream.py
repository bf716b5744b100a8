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
# Rows of which the exact refinement begins the sums: the larger of a number and of so
# many a parameter.
FIRST_ROWS, FIRST_PER_PARAMETER = 2_000, 20
# The coefficients are solved for after each piece of the rows: so many, or a share of
# the rows before it.
PIECE, PIECE_SHARE = 500, 0.125
# Parameters up to which a solve costs little beside a call with one row. Beyond, rows
# wait for the next solve that are fewer than this share of the parameters.
CHEAP, WAITING = 64, 0.125
# Rows whose residuals make one M-scale.
WINDOW = 500
# The median leads where its residuals of a window have a scale so many times smaller.
JUMP = 1.2
# A feature is new whose squares in the sums are fewer than so many, and than those of
# the next rows, if it is present in at least so many of these.
INFORMED, FEWEST_PRESENT = 10.0, 5
# Part of the weights' sum that the curvatures of the bisquare are at least.
LEAST_CURVATURE = 0.25


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
    waiting : float
        How many of them came after ``b`` was solved for.
    kept, curved : float
        Sums of the weights of the bisquare, and of its curvatures.
    b : ndarray of shape (n_parameters,)
    scale : float
        M-scale of the residuals, in units of ``y_scale``.
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
    waiting: float = 0.0
    kept: float
    curved: float
    b: np.ndarray
    scale: float
    window: tuple = ()
    n_window: int = 0

    @property
    def fit_intercept(self):
        """Whether there is an intercept."""
        return int(len(self.b) > len(self.center))

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
        kept, curvature, pull, *_ = bisquare.pull(
            residual, rows.weight, M_CONSTANT * self.scale
        )
        memory = 0.5 ** (rows.total / half_life)
        n_kept, n_curved = memory * self.kept + kept.sum(), memory * self.curved
        n_curved += curvature.sum()
        gram = rows.gram(kept) * _typical_curvature(n_kept, n_curved)
        sums = replace(
            self,
            gram=memory * self.gram + gram,
            moments=memory * self.moments + gram @ self.b + rows.moments(pull),
            total=memory * self.total + rows.total,
            waiting=self.waiting + rows.total,
            kept=n_kept,
            curved=n_curved,
            window=(*self.window, np.array([residual, led, rows.weight])),
            n_window=self.n_window + rows.n_rows,
        )
        n_parameters = len(self.b)
        if n_parameters <= CHEAP or sums.waiting >= WAITING * n_parameters:
            sums = sums.solved(penalty)
        return sums

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

    def solved(self, penalty):
        """Return the sums with the coefficients that they give."""
        gram = self.gram.copy()
        gram.flat[:: len(gram) + 1] += self.total * penalty
        found = solution(gram, self.moments, True)
        return replace(self, b=found, waiting=0.0)

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
        scale = self.scale * (scale / self.scale) ** share
        return replace(self, scale=max(scale, self.floor), window=(), n_window=0)


def _typical_curvature(kept, curved):
    """Curvature of the loss of a row, over its weight; a row's own may be negative."""
    return np.clip(curved / kept, LEAST_CURVATURE, 1) if kept > 0 else 1.0


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
    # As many rows as the S step sees tell the curvature of all.
    kept, curvature, *_ = bisquare.pull(
        few.residuals(b), few.weight, M_CONSTANT * scale
    )
    share = rows.total / few.total
    n_kept, n_curved = kept.sum() * share, curvature.sum() * share
    gram = few.gram(kept) * (share * _typical_curvature(n_kept, n_curved))
    l2 = stage.penalty.quadratic(rows.fit_intercept)
    return Sums(
        center=rows.center,
        inverse_scale=rows.inverse_scale,
        y_center=stage.y_center,
        y_scale=stage.y_scale,
        weight_unit=stage.weight_unit,
        floor=floor,
        gram=gram,
        moments=gram @ b + rows.total * l2 * b,
        total=rows.total,
        kept=n_kept,
        curved=n_curved,
        b=b,
        scale=scale,
    )


def can_follow(plan, n_features):
    """Whether a stream of these parameters has a refined estimate."""
    has_l1 = plan.exact_alpha > 0 and plan.l1_ratio > 0
    n_parameters = n_features + plan.fit_intercept
    return plan.refines and not has_l1 and n_parameters <= MOST_PARAMETERS


@dataclass(frozen=True, eq=False)
class Stream:
    """The refined estimate of a stream, and rows kept until there is one.

    Attributes
    ----------
    sums : Sums or None
    first : tuple of (X, y, weight)
        Rows kept until they are enough; without ``sums`` only.
    is_shown : bool
        Whether the estimate is what the estimator's attributes tell.
    """

    sums: Sums | None = None
    first: tuple = ()
    is_shown: bool = False

    def as_plain(self):
        """Return the stream as arrays and numbers."""
        return {
            "sums": self.sums and dict(vars(self.sums)),
            "first": plain_chunks(self.first),
            "is_shown": self.is_shown,
        }

    @classmethod
    def from_plain(cls, plain):
        """Return the stream that ``as_plain`` was of."""
        sums = plain["sums"] and Sums(**plain["sums"])
        return cls(sums, tuple(chunks(plain["first"])), plain["is_shown"])

    @classmethod
    def after(cls, stage, refinement, progress):
        """Return the stream that goes on from the end of an exact refinement."""
        return cls(progress and begun(stage, refinement, progress))

    def followed(self, plan, data, before, after):
        """Return the stream after more rows.

        Parameters
        ----------
        plan : Plan
        data : Data
        before, after : tuple of ndarray, float
            Coefficients and intercept of the median without these rows and with them,
            in the units of the data.
        """
        n_parameters = data.X.shape[1] + plan.fit_intercept
        enough = max(FIRST_ROWS, FIRST_PER_PARAMETER * n_parameters)
        stream, rows, done = self, data.rows, 0
        if stream.sums and stream.sums.fit_intercept != plan.fit_intercept:
            stream = Stream()
        if len(rows) > PIECE and plan.half_life is None:
            # The order within a call, such as that of sorted targets, decides nothing.
            rows = np.random.default_rng(0).permutation(rows)
        led = data.units.predict(data.X, *before)
        while done < len(rows):
            if stream.sums is None:
                size = enough - sum(len(y) for _, y, _ in stream.first)
            else:
                size = max(PIECE, int(PIECE_SHARE * stream.sums.total))
                if plan.half_life is not None:
                    size = int(np.clip(PIECE_SHARE * plan.half_life, 1, size))
            piece = rows[done : done + size]
            done += size
            few = data
            if len(piece) < len(data.y):
                few = replace(
                    data,
                    X=data.X[piece],
                    y=data.y[piece],
                    weight=data.weight[piece],
                    given_weight=data.given_weight[piece],
                )
            if stream.sums is None:
                stream = stream._collected(plan, few, after, len(piece) == size)
            else:
                stream = stream._with_piece(plan, few, led[piece])
        return replace(stream, is_shown=stream.sums is not None)

    def _collected(self, plan, data, median, is_last):
        """Return the stream with more first rows, or begun with the last of them."""
        chunk = data.X, data.y, data.given_weight
        if not is_last:
            # Copies, for the caller may fill the same arrays again.
            return Stream(None, (*self.first, tuple(part.copy() for part in chunk)))
        X, y, weight = zip(*self.first, chunk, strict=True)
        weight = np.concatenate(weight)
        first = Data(X=stacked(X), y=np.concatenate(y), weight=weight, units=data.units)
        stage = ExactStage(plan, first, weight)
        nothing = np.zeros(first.X.shape[1]), stage.y_center
        refinement = stage.refinement([data.units.to_user(*median), nothing])
        return Stream.after(stage, refinement, last(refinement.passes()))

    def _with_piece(self, plan, data, led):
        """Return the stream after a few rows, which the median predicts as ``led``."""
        sums = self.sums
        rows = sums.rows(data)
        penalty = penalty_of(plan, data.units, sums.inverse_scale, sums.y_scale)
        penalty = penalty.quadratic(rows.fit_intercept)
        with np.errstate(over="ignore", invalid="ignore"):
            led = rows.y - (led - sums.y_center) / sums.y_scale
        sums = sums.with_new_features(rows)
        half_life = plan.half_life or np.inf
        sums = sums.with_rows(rows, rows.residuals(sums.b), led, penalty, half_life)
        sums = sums.rescaled()
        return Stream() if sums is None else Stream(sums)
