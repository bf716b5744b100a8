"""Weighted sums of the rows of a stream, and the estimate that they give.

A row adds the terms of a step of the M step, at the coefficients and the scale when it
arrives. The weights of rows are never revised. That is a recursive M-estimator, whose
error is to first order that of the M step over all rows (R. Martin, C. Masreliez,
"Robust Estimation via Stochastic Approximation", IEEE Transactions on Information
Theory 1975).
"""

from dataclasses import dataclass, replace

import numpy as np

import medsgd._core.bisquare as bisquare
from medsgd._fit.scales import NORMAL_MEDIAN, median
from medsgd._refinement.bisquare import BREAKDOWN, M_CONSTANT, ROUGH, m_scale
from medsgd._refinement.candidates import inverse_factor, recovered
from medsgd._refinement.exact import is_blockwise, to_user
from medsgd._refinement.least_squares import solution
from medsgd._refinement.regression import EXACT
from medsgd._refinement.rows import LARGEST, DenseRows, SparseRows

# The coefficients are solved for after each piece of the rows: so many, or a share of
# the rows before it. Steps along a diagonal are stable with smaller pieces.
PIECE, PIECE_SHARE = 500, 0.125
DIAGONAL_PIECE, DIAGONAL_SHARE = 32, 1 / 32
# Rows whose residuals make one M-scale.
WINDOW = 1_000
# The sums begin anew if the median's residuals in a window have a scale so many times
# smaller.
JUMP = 1.2
# The sums begin anew if so many rows have a scale so many times larger, such as after a
# feature has changed its unit.
FEWEST_LOST, LOST = 400, 10.0
# A feature is new if its squares in the sums are fewer than so many, and than those of
# the next rows, and if it is present in at least so many of these.
INFORMED, FEWEST_PRESENT = 10.0, 5
# New rows are told from bad leverage points by their rate. At its present rate so many
# of them would have come before, but their rate was so many times smaller.
EXPECTED, SUDDEN = 7.0, 3.0
# Late rows are judged together once they are at least so many of a kind: a row among so
# many has this variance.
ALIKE = 1.1 / FEWEST_PRESENT
# Residuals of new rows are beyond so many scales: a step from there may be too short.
FAR = 2.0
# Largest number of steps to new rows, and the constant of their Huber loss, which is
# 95% efficient.
N_REACHING, HUBER = 20, 1.345
# Least curvature along a scaled combination of parameters, which bounds the variance of
# predictions. A smaller rise of a loss than the second number is rounding.
LEAST_KNOWN, ROUNDING = 1e-9, 1e-9
# Curvature of a parameter, over that by the weights of a piece, below which a step by
# the curvature is too long: residuals of a new level may all be where the loss is
# concave.
LEAST_BENT = 0.3
# Least curvature of a parameter in sums with a half-life. A coefficient whose rows
# count no more keeps its value.
LEAST_KEPT = 1e-100


@dataclass(frozen=True, eq=False, kw_only=True)
class GramSums:
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
    gram : ndarray of shape (n_parameters, n_parameters) or (n_parameters,)
        Curvature of the sum of the losses, or its diagonal.
    moments : ndarray of shape (n_parameters,)
        ``gram`` times the minimiser of the losses.
    total : float
        How many rows count.
    rejected : ndarray of shape (n_parameters,)
        Sum of the squares of rows without weight; empty beside a diagonal.
    b : ndarray of shape (n_parameters,)
    scale : float
        The S step's, in units of ``y_scale``.
    least_share : float
        The scale over the M-scale of the residuals of ``b``. The residuals of the S
        step have a smaller scale than those of the M step.
    window : tuple of ndarray of shape (3, n)
        Residuals of the refined and of the median's coefficients, and counts, of rows
        since the last change of the scale.
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
    rejected: np.ndarray
    b: np.ndarray
    scale: float
    least_share: float = 1.0
    window: tuple = ()
    n_window: int = 0

    # Rows of a piece.
    least_piece, piece_share = PIECE, PIECE_SHARE

    @property
    def fit_intercept(self):
        """Whether there is an intercept."""
        return int(len(self.b) > len(self.center))

    @property
    def n_solved(self):
        """Return the number of parameters that each piece of the rows solves for."""
        return len(self.b)

    @property
    def residual_scale(self):
        """Return the scale of the residuals in units of y; 0 of an exact fit."""
        return self.scale * self.y_scale if self.scale > self.floor else 0.0

    def rows(self, data):
        """Return rows as the sums see them."""
        y = data.y.astype(np.float64)
        with np.errstate(over="ignore"):
            y = np.clip((y - self.y_center) / self.y_scale, -LARGEST, LARGEST)
            counts = data.given_weight.astype(np.float64) / self.weight_unit
        counts = np.minimum(counts, LARGEST)
        kind = DenseRows if is_blockwise(data.X) else SparseRows
        return kind(
            data.X, y, counts, self.center, self.inverse_scale, self.fit_intercept
        )

    def to_user(self):
        """Return coefficients and intercept in the units of the user."""
        return to_user(self.b, self, self.y_center, self.y_scale)

    @property
    def squares(self):
        """Return the curvature along each parameter."""
        return self.gram.diagonal()

    def piece(self, half_life, count):
        """Return the largest number of rows, of a mean count, of the next piece."""
        size = max(self.least_piece, int(self.piece_share * self.total / count))
        return int(np.clip(self.piece_share * half_life / count, 1, size))

    def with_rows(self, rows, led, penalty, half_life):
        """Return the sums with more rows, and the places of late ones among these.

        Late rows are rejected, and the earlier rows say little about them. The sums do
        not count them: they wait for others of their kind.

        Parameters
        ----------
        rows : Rows
        led : ndarray of shape (n_rows,)
            Residuals of the median's coefficients.
        penalty : Penalty
        half_life : float
        """
        residual = rows.residuals(self.b)
        b, late = self._reached(rows, residual, penalty)
        if b is not self.b:
            residual = rows.residuals(b)
        if len(late):
            weight = rows.weight.copy()
            weight[late] = 0
            rows = replace(rows, weight=weight)
        pulled = bisquare.pull(residual, rows.weight, M_CONSTANT * self.scale)
        memory = 0.5 ** (rows.total / half_life)
        sums = replace(
            self,
            b=b,
            total=memory * self.total + rows.total,
            window=(*self.window, np.array([residual, led, rows.weight])),
            n_window=self.n_window + rows.n_rows,
        )
        return sums._stepped(rows, residual, pulled, penalty, memory), late

    def with_late(self, rows, since, penalty):
        """Return the sums with late rows, and which of these rows count now.

        ``since``: number of rows that have come since each late row.
        """
        known = self.gram + rows.gram(np.ones(rows.n_rows))
        l2 = penalty.quadratic(self.fit_intercept)
        counted = _variance(rows, known + np.diag(self.total * l2)) <= ALIKE
        span = since[counted].max(initial=0)
        before = self.total - span
        if not self._are_expected(np.count_nonzero(counted), span, before):
            return self, np.zeros(rows.n_rows, dtype=bool)
        rows = rows.take(counted, rows.weight[counted])
        residual, b = rows.residuals(self.b), self.b
        if self._are_sudden(rows, span):
            b = self._moved(rows, residual, l2)
            residual = rows.residuals(b)
        sums = replace(self, b=b, total=self.total + rows.total)
        pulled = bisquare.pull(residual, rows.weight, M_CONSTANT * self.scale)
        return sums._stepped(rows, residual, pulled, penalty, 1.0), counted

    def _stepped(self, rows, residual, pulled, penalty, memory):
        """Return the sums after a step with rows.

        ``pulled``: the result of ``bisquare.pull`` for their residuals.
        """
        kept, curvature, pull, *_ = pulled
        pull = rows.moments(pull)
        l2, most = penalty.quadratic(self.fit_intercept), M_CONSTANT * self.scale
        old_gram, old_moments = self._remembered(memory)
        held = self.total * l2
        slope = old_gram @ self.b + held * self.b - old_moments
        before = bisquare.loss(residual, rows.weight, most)
        # Both in one pass over the rows.
        of_rows = np.column_stack([kept, rows.weight * (kept == 0)])
        squares, rejected = rows.diagonal(of_rows).T
        least, rejected = LEAST_BENT * squares, memory * self.rejected + rejected
        # Newton's step may be too long. One with the weights lowers the objective.
        for values in (curvature, np.maximum(curvature, 0), kept):
            gram = rows.gram(values)
            moments = old_moments + gram @ self.b + pull
            gram += old_gram
            if values is not kept and (gram.diagonal() < least).any():
                continue
            convex = values is not curvature
            step = self._solution(gram, pull - slope, l2, convex=convex)
            if step is None:
                continue
            after = bisquare.loss(residual - rows.product(step), rows.weight, most)
            rise = step @ (slope + (old_gram @ step + held * step) / 2)
            if rise <= most**2 * ((before - after) / 6 + ROUNDING):
                break
        return replace(
            self, gram=gram, moments=moments, b=self.b + step, rejected=rejected
        )

    def _remembered(self, memory):
        """Return the sums of earlier rows, decayed by a half-life."""
        gram, moments = memory * self.gram, memory * self.moments
        gone = (np.abs(memory * self.squares) < LEAST_KEPT) & (self.squares != 0)
        if gone.any():
            if gram.ndim == 2:
                gram[gone] = gram[:, gone] = 0
                gram[gone, gone] = LEAST_KEPT
            else:
                gram[gone] = LEAST_KEPT
            moments[gone] = LEAST_KEPT * self.b[gone]
        return gram, moments

    def begun_with(self, few, curvature, pull, penalty):
        """Return the sums with the curvature of rows where ``b`` is their solution.

        ``pull``: on the coefficients.
        """
        share, l2 = self.total / few.total, penalty.quadratic(self.fit_intercept)
        for values in (curvature, np.maximum(curvature, 0)):
            gram = few.gram(values) * share
            moments = gram @ self.b + self.total * l2 * self.b
            if self._solution(gram, moments, l2, convex=False) is not None:
                break
        return replace(self, gram=gram, moments=moments)

    def _reached(self, rows, residual, penalty):
        """Return coefficients, moved to new rows, and the places of late rows."""
        none, l2 = np.empty(0, dtype=np.intp), penalty.quadratic(self.fit_intercept)
        size = np.abs(residual)
        far = np.flatnonzero((size > FAR * self.scale) & (rows.weight > 0))
        if len(far) < FEWEST_PRESENT:
            far = far[size[far] >= M_CONSTANT * self.scale]
        if len(far) == 0:
            return self.b, none
        few = rows.take(far, rows.weight[far])
        # Together these rows outweigh the sums where this is larger than 1, unless the
        # change that they ask for is too large.
        count = max(len(far), FEWEST_PRESENT) * few.total / len(far)
        known = self.gram + np.diag(self.total * l2)
        with np.errstate(over="ignore"):
            variance = count / 3 * _variance(few, known)
        reach = M_CONSTANT * self.scale * np.sqrt(variance)
        explained = (variance > 1) & (size[far] < reach)
        if not self._are_expected(np.count_nonzero(explained), rows.total, self.total):
            is_late = explained & (size[far] >= M_CONSTANT * self.scale)
            return self.b, far[is_late]
        few = few.take(explained, few.weight[explained])
        if self._are_sudden(few, rows.total):
            return self._moved(rows, residual, l2), none
        return self.b, none

    def _are_expected(self, n_rows, span, before):
        """Whether some rows of a span would have come before at their present rate."""
        return n_rows >= FEWEST_PRESENT and n_rows * before >= EXPECTED * span

    def _are_sudden(self, rows, span):
        """Whether the rows of a span are no bad leverage points, by their rate.

        Bad leverage points would have come before.
        """
        rate, before = rows.diagonal(rows.weight) / span, self.rejected / self.total
        return (rate > SUDDEN * before).any()

    def _moved(self, rows, first, penalty):
        """Return coefficients, moved to rows that earlier rows say little about.

        Residuals of rows with a new level, or far from all rows before, may be large
        though the rows are no outliers. Without weight these rows would never count.
        The coefficients move to the M-estimate of these rows, with the sums as a prior.

        ``first``: residuals of the rows.
        """
        residual, most = first, M_CONSTANT * self.scale
        for weigh in (_huber_weights, _bisquare_weights):
            for _ in range(N_REACHING):
                values = weigh(residual, rows.weight, self.scale)
                gram, moments = self.gram + rows.gram(values), values * first
                step = self._solution(gram, rows.moments(moments), penalty, convex=True)
                last, residual = residual, first - rows.product(step)
                if np.abs(residual - last).max() <= ROUGH * self.scale:
                    break
        before, after = (
            bisquare.loss(each, rows.weight, most) for each in (first, residual)
        )
        cost = step @ self.gram @ step + self.total * (penalty @ step**2)
        # The loss of a rejected row is most**2 / 6; the sums lose half of the cost.
        if 3 * cost >= most**2 * (before - after):
            return self.b
        return self.b + step

    def _solution(self, gram, gradient, penalty, *, convex):
        """Return the step to the minimum of the losses; None if there may be none."""
        gram = gram.copy()
        diagonal = gram.diagonal() + self.total * penalty
        # The coefficient of a feature that has always been 0 stays.
        gram.flat[:: len(gram) + 1] = np.where(diagonal == 0, 1, diagonal)
        return solution(gram, gradient, convex)

    def rescaled(self):
        """Return the sums with a new scale, or None if they have to begin anew.

        The scales of windows are averaged as their logarithms are, by their counts.
        """
        if self.n_window < FEWEST_LOST:
            return self
        refined, led, count = np.concatenate(self.window, axis=1)
        # Rows that are wrong for a while are over when the last ones are right.
        if all(
            median(np.abs(residual), weight) > LOST * NORMAL_MEDIAN * self.scale
            for residual, weight in ((refined, count), self.window[-1][[0, 2]])
        ):
            return None
        if self.n_window < WINDOW:
            return self
        total = count.sum()
        scale, scale_led = (
            m_scale(residual, count, BREAKDOWN * total, self.scale, self.floor)
            for residual in (refined, led)
        )
        if scale > JUMP * scale_led:
            return None
        share = total / max(self.total, total)
        # The more rows, the nearer are the residuals of the S step to those of ``b``.
        least_share = 1 - (1 - self.least_share) * (1 - share)
        scale = self.scale * (least_share * scale / self.scale) ** share
        return replace(
            self,
            scale=max(scale, self.floor),
            least_share=least_share,
            window=(),
            n_window=0,
        )


class DiagonalSums(GramSums):
    """Sums with a diagonal instead of a matrix: the coefficients move step by step.

    Steps shrink with the curvature of all rows along each parameter. Those of
    uncorrelated features are as good as those of ``GramSums``.
    """

    least_piece, piece_share = DIAGONAL_PIECE, DIAGONAL_SHARE

    @property
    def squares(self):
        """Return the curvature along each parameter."""
        return self.gram

    def _stepped(self, rows, residual, pulled, penalty, memory):
        """Return the sums with the curvature of rows, after a step along their pull."""
        _, curvature, pull, *_ = pulled
        pull = rows.moments(pull)
        l2, values = penalty.quadratic(self.fit_intercept), np.maximum(curvature, 0)
        more = rows.diagonal(values)
        gram, moments = self._remembered(memory)
        gram = gram + more
        metric = gram + self.total * l2
        metric[metric == 0] = np.inf  # of a feature that has always been 0
        # A step beyond the minimum of these rows, with their share of the penalty, is
        # too long.
        ascent = pull - rows.total * l2 * self.b
        step = np.clip(ascent / metric, -LARGEST, LARGEST)
        bend = values @ np.square(rows.product(step)) + rows.total * (l2 @ step**2)
        if bend > ascent @ step:
            pull = pull + (ascent @ step / bend - 1) * ascent
        moments = moments + more * self.b + pull
        bound = self.total * self._absolute(penalty)
        size = np.maximum(np.abs(moments) - bound, 0) / metric
        return replace(self, gram=gram, moments=moments, b=np.copysign(size, moments))

    def _reached(self, rows, residual, penalty):
        """Return coefficients, with first ones of features that are new in the rows.

        Otherwise all rows of a new feature with a strong effect would be outliers.
        """
        known, none = self.squares[self.fit_intercept :], np.empty(0, dtype=np.intp)
        if np.all(known >= INFORMED):
            return self.b, none
        squares = rows.diagonal(rows.weight)[self.fit_intercept :]
        present = rows.present_share * rows.total >= FEWEST_PRESENT
        is_new = (known < np.minimum(INFORMED, squares)) & present
        if not is_new.any():
            return self.b, none
        kept, *_ = bisquare.pull(residual, rows.weight, M_CONSTANT * self.scale)
        found = recovered(rows, residual, kept, self.b)
        if found is None:
            return self.b, none
        is_new = np.append(np.zeros(self.fit_intercept, dtype=bool), is_new)
        return np.where(is_new, found, self.b), none

    def _absolute(self, penalty):
        """Return the factor of each parameter's absolute value in the penalty."""
        return np.append(np.zeros(self.fit_intercept), penalty.l1 * penalty.unit)

    def begun_with(self, few, curvature, pull, penalty):
        """Return the sums with the curvature of rows."""
        share, l2 = self.total / few.total, penalty.quadratic(self.fit_intercept)
        gram = few.diagonal(np.maximum(curvature, 0)) * share
        # At a solution the penalty balances the pull on a coefficient.
        bound = self.total * self._absolute(penalty)
        held = np.clip(share * pull, -bound, bound)
        held = np.where(self.b == 0, held, np.sign(self.b) * bound)
        moments = (gram + self.total * l2) * self.b + held
        return replace(self, gram=gram, moments=moments)


def _variance(rows, gram):
    """Return the variance of predictions for rows, over that of the noise."""
    size = gram.diagonal()
    # A feature that has always been 0 has no other unit.
    size = np.where(size > 0, size, rows.diagonal(np.ones(rows.n_rows)))
    root = 1 / np.sqrt(np.where(size > 0, size, 1))
    gram = gram * root * root[:, np.newaxis]
    gram.flat[:: len(gram) + 1] += LEAST_KNOWN
    along = rows.product((inverse_factor(gram) * root).T)
    return np.einsum("ij,ij->i", along, along)


def _huber_weights(residual, weight, scale):
    size = np.maximum(np.abs(residual), HUBER * scale)
    return weight * (HUBER * scale / size)


def _bisquare_weights(residual, weight, scale):
    most = np.array([M_CONSTANT * scale])
    return bisquare.weigh(residual[np.newaxis], weight, most)[0]


def begun(stage, few, target, b, scale, *, diagonal):
    """Return sums that begin at coefficients of first rows.

    Parameters
    ----------
    stage : ExactStage
        Of the rows.
    few : Rows
        A part of them that estimates the curvature of all.
    target : float
        Of the M-scale of these.
    b : ndarray of shape (n_parameters,)
    scale : float
    diagonal : bool
    """
    rows, floor = stage.rows, EXACT * stage.rounding
    scale = max(scale, floor)
    sums = (DiagonalSums if diagonal else GramSums)(
        center=rows.center,
        inverse_scale=rows.inverse_scale,
        y_center=stage.y_center,
        y_scale=stage.y_scale,
        weight_unit=stage.weight_unit,
        floor=floor,
        gram=np.empty(0),
        moments=np.empty(0),
        total=rows.total,
        rejected=np.empty(0),
        b=b,
        scale=scale,
    )
    residual = few.residuals(b)
    kept, curvature, pull, *_ = bisquare.pull(residual, few.weight, M_CONSTANT * scale)
    if not diagonal:
        rejected = few.diagonal(few.weight * (kept == 0)) * (rows.total / few.total)
        sums = replace(sums, rejected=rejected)
    sums = sums.begun_with(few, curvature, few.moments(pull), stage.penalty)
    own = m_scale(residual, few.weight, target, scale, floor)
    return replace(sums, least_share=min(scale / own, 1))
