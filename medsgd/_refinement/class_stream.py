"""The refined estimate of a classifier's stream, in bounded memory.

The second stage of a fit to the first rows begins it. Each later piece of the rows
moves the coefficients W of the multinomial model to the minimiser of

    sum_i h_i loss(W, row i) + m / (2 T) |W - W_before|^2_M,

where the loss is the gamma-divergence, h the leverage weight, T the number of rows so
far, and M the curvature of their losses that the model expects, the same for all
classes. With m = T that is a recursive M-estimator. M is no more than near the
curvature of a multinomial model, which makes it slow along some directions. So with
many rows m is a part of T only, and the estimate is the average of the coefficients
(B. Polyak, A. Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM
Journal on Control and Optimization 1992). With many features M is a diagonal.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.linalg import solve_triangular
from scipy.special import softmax

from medsgd._core.multinomial import divergence
from medsgd._refinement import classification
from medsgd._refinement.classification import GAMMA, Model, Shrinkage, leverage
from medsgd._refinement.quasi_newton import inner, minimise
from medsgd._refinement.rows import DenseRows, SparseRows
from medsgd._refinement.stream import LEAST_PIECE, Kept, Stream

# Parameters of a class up to which the curvature is a matrix.
MOST_PARAMETERS = 500
# Rows that begin the estimate.
FIRST_ROWS = 1_000
# Rows a parameter from which on the estimate is an average, and the part of the rows
# that the coefficients then remember, at least so many of them.
MANY_ROWS, MEMORY = 20, 0.125
# Rows of a call are learned in pieces of at most so many, and of at most this part of
# the rows that the coefficients remember, if these are not very few.
PIECE, PIECE_SHARE = 1_000, 0.25
# Tolerance and iterations of the second stage of the first rows.
TOL, MAX_ITER = 1e-3, 1_000
# Iterations for a piece, and the decrease of a row's loss below which one is the last.
N_ITERATIONS, PROGRESS = 8, 1e-4
# Half-life in rows of the counts of rows that only one of the estimates predicts.
WINDOW = 500
# The median leads where it alone is right so many standard errors more often, and so
# many times.
SURELY, CLEARLY = 4.0, 1.5
# Rows of a class up to which none of them is implausible: before the first ones a
# class has no probability anywhere.
KNOWN, GAMMA_OF_NEW = 20.0, 0.01
# Relative difference of equal fingerprints, and share of equal rows among the first
# ones from which on equal rows are no repetitions.
SAME, EQUAL = 1e-10, 0.02
# Rows that tell the curvature of a fit: so many, or so many a parameter.
CURVATURE_ROWS, CURVATURE_PER_PARAMETER = 500, 4
# Added to the curvature of an intercept, and to a matrix over its diagonal.
LEAST_CURVATURE, RIDGE = 1e-3, 1e-8


def curvature(logits):
    """Return the expected curvatures of each row's loss in the logits, their mean."""
    n_outputs = logits.shape[1]
    if n_outputs == 1:
        logits = np.column_stack([np.zeros(len(logits)), logits])
    a = 1 + GAMMA
    p, q = softmax(logits, axis=1), softmax(a * logits, axis=1)
    # The derivative of the expected gradient is minus the expected product of gradient
    # and score, whatever the label.
    size = a * p * q ** (GAMMA / a)
    curvatures = size * (1 - p - q) + p * q * size.sum(axis=1, keepdims=True)
    return curvatures[:, -n_outputs:].mean(axis=1)


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassSums:
    """Coefficients of a multinomial model, and the curvature of its rows so far.

    Attributes
    ----------
    center, inverse_scale : ndarray of shape (n_features,)
        Of the standardised rows.
    weight_unit : float
        The sample weight that counts as one row.
    metric : ndarray of shape (n_parameters, n_parameters) or (n_parameters,)
        Curvature of the sum of the losses, or its diagonal.
    prior : float
        Curvature of the prior on each coefficient of a feature.
    total : float
        How many rows count.
    b : ndarray of shape (n_parameters, n_outputs)
    average : ndarray of shape (n_parameters, n_outputs) or None
        None as long as it is ``b``.
    size, shift : float, ndarray of shape (n_outputs,)
        Logarithm of a factor of the coefficients, for those under the prior are too
        small, and what is then added to the intercepts, as the first rows have them.
    n_first : float
        How many of the rows that count are these first ones.
    class_totals : ndarray of shape (n_classes,)
        How many rows of each class there were.
    fingerprints : ndarray of shape (n,)
        Of some of the first rows, in their order of size; none if they tell nothing.
    repeated : float
        How many later rows had one of these fingerprints.
    lost, won : float
        Counts of recent rows that only the median, and only this model, predicts.
    """

    center: np.ndarray
    inverse_scale: np.ndarray
    weight_unit: float
    metric: np.ndarray
    prior: float
    total: float
    b: np.ndarray
    average: np.ndarray | None = None
    size: float
    shift: np.ndarray
    n_first: float
    class_totals: np.ndarray
    fingerprints: np.ndarray
    repeated: float = 0.0
    lost: float = 0.0
    won: float = 0.0

    @property
    def fit_intercept(self):
        """Whether there is an intercept."""
        return int(len(self.b) > len(self.center))

    @property
    def n_solved(self):
        """How many parameters each piece of the rows solves for."""
        return len(self.b) if self.metric.ndim == 2 else 0

    @property
    def memory(self):
        """How many rows the coefficients remember."""
        return min(self.total, max(MEMORY * self.total, MANY_ROWS * len(self.b)))

    def piece(self, half_life):
        """How many rows make the next piece at most."""
        return int(np.clip(PIECE_SHARE * self.memory, LEAST_PIECE, PIECE))

    @property
    def n_distinct(self):
        """About how many of the rows that count are not repetitions.

        If each of the first rows has come again k times, so have the others.
        """
        return self.total / (1 + self.repeated / max(1, len(self.fingerprints)))

    @property
    def is_led(self):
        """Whether the median is clearly better."""
        surely = SURELY * np.sqrt(self.lost + self.won)
        return self.lost - self.won > surely and self.lost > CLEARLY * self.won

    def rows(self, data):
        """Return rows as the sums see them, and the parameters that they concern."""
        X, columns, parameters = data.X, slice(None), slice(None)
        weight = data.given_weight.astype(np.float64) / self.weight_unit
        label = np.asarray(data.y)
        cls = DenseRows
        if self.metric.ndim == 1 and sparse.issparse(X) and not self.center.any():
            cls = SparseRows
            X, columns = present_columns(X)
            first = self.fit_intercept
            parameters = np.append(np.arange(first), columns + first)
        center, inverse_scale = self.center[columns], self.inverse_scale[columns]
        rows = cls(X, label, weight, center, inverse_scale, self.fit_intercept)
        return rows, parameters

    def to_user(self):
        """Return coefficients and intercepts in the units of the user, by output."""
        b = self.b if self.average is None else self.average
        # The first rows chose the size; the more others, the less a prior shrinks.
        share = min(1.0, self.n_first / self.n_distinct)
        b = np.exp(self.size * share) * b
        coef = b[self.fit_intercept :] * self.inverse_scale[:, np.newaxis]
        intercept = -(self.center @ coef)
        if self.fit_intercept:
            intercept += b[0] + share * self.shift
        return coef.T, intercept

    def with_rows(self, rows, parameters, led, plan):
        """Return the sums with more rows.

        Parameters
        ----------
        rows : Rows
            Their weights are those in the loss.
        parameters : slice or ndarray of int
            The parameters that are not 0 in all rows.
        led : ndarray of shape (n_rows,) of int
            The classes that the median predicts.
        plan : Plan
        """
        known = self.b if self.average is None else self.average
        logits = rows.product(known[parameters])
        sums = self._judged(rows, _predicted(logits), led)
        if self.average is not None:
            logits = rows.product(self.b[parameters])
        memory, count = 0.5 ** (rows.total / plan.half_life), rows.total
        values = curvature(logits) * rows.weight
        totals = np.bincount(rows.y, rows.weight, len(self.class_totals))
        sums = replace(sums, metric=memory * sums.metric)
        sums = replace(
            sums,
            metric=sums.with_curvature(rows, parameters, values, count, plan),
            total=memory * self.total + count,
            n_first=memory * self.n_first,
            class_totals=self.class_totals + totals,
            repeated=self.repeated + self._n_repeated(rows, parameters, plan),
        )
        is_new = self.class_totals < KNOWN
        b = sums._moved(rows, parameters, shrinkage(plan).l2, is_new)
        average = self.average
        if average is None and sums.total > MANY_ROWS * len(b):
            average = self.b
        if average is not None:
            average = average + count / sums.total * (b - average)
        return replace(sums, b=b, average=average)

    def with_curvature(self, rows, parameters, values, count, plan):
        """Return the metric with that of rows, which count as so many, added."""
        metric = self.metric.copy()
        if metric.ndim == 2:
            metric += rows.gram(values)
        else:
            metric[parameters] += rows.diagonal(values)
        _diagonal(metric)[self.fit_intercept :] += shrinkage(plan).l2 * count
        return metric

    def _n_repeated(self, rows, parameters, plan):
        """Count rows with one of the fingerprints; none where rows are forgotten."""
        known = self.fingerprints
        if len(known) == 0 or plan.half_life < np.inf:
            return 0
        features = np.arange(len(self.b))[parameters][self.fit_intercept :]
        own = fingerprints(rows.X, features - self.fit_intercept)
        # The order of a sum may depend on how many rows there are.
        width = SAME * np.abs(own)
        first, last = (np.searchsorted(known, own + sign * width) for sign in (-1, 1))
        return np.count_nonzero(first < last)

    def _judged(self, rows, predicted, led):
        """Return the sums with the counts of rows that one estimate alone predicts."""
        memory = 0.5 ** (rows.n_rows / WINDOW)
        own, leading = predicted == rows.y, led == rows.y
        # Half of the rows of a long piece are within its last half-life.
        recent = min(1.0, WINDOW / (np.log(2) * rows.n_rows))
        lost = recent * np.count_nonzero((leading & ~own)[rows.weight > 0])
        won = recent * np.count_nonzero((own & ~leading)[rows.weight > 0])
        return replace(
            self, lost=memory * self.lost + lost, won=memory * self.won + won
        )

    def _moved(self, rows, parameters, l2, is_new):
        """Return the coefficients after the rows."""
        pull = self.memory / self.total
        metric = self.metric.copy()
        diagonal = _diagonal(metric)
        diagonal[self.fit_intercept :] += self.prior
        diagonal[: self.fit_intercept] += LEAST_CURVATURE
        if pull < 1:
            # Else the prior is in what the coefficients remember.
            l2 = l2 + self.prior / self.n_distinct
        b, penalty = self.b, l2 * rows.total / pull * self.b
        penalty[: self.fit_intercept] = 0
        if metric.ndim == 2:
            scale = 1 / np.sqrt(diagonal)
            metric *= scale
            metric *= scale[:, np.newaxis]
            diagonal += RIDGE
            factor = np.linalg.cholesky(metric)
            Z = (rows.matrix() * scale).T
            Z = solve_triangular(factor, Z, lower=True, overwrite_b=True).T
            product, moments = Z.__matmul__, Z.T.__matmul__

            def in_metric(v):
                v = solve_triangular(factor, v, lower=True, trans="T")
                return scale[:, np.newaxis] * v

            along = scale[:, np.newaxis] * penalty
            b = b - in_metric(solve_triangular(factor, along, lower=True))
        else:
            root = 1 / np.sqrt(metric[parameters])[:, np.newaxis]
            b = b - penalty / metric[:, np.newaxis]

            def product(v):
                return rows.product(root * v)

            def moments(slope):
                return root * rows.moments(slope)

            def in_metric(v):
                return root * v

        fixed, new = rows.product(b[parameters]), np.flatnonzero(is_new[rows.y])

        def objective(flat):
            logits = fixed + product(flat.reshape(-1, b.shape[1]))
            few = logits[new]
            losses = divergence(logits, rows.y, rows.weight, GAMMA)
            if len(new):
                # logits are derivatives by now.
                label, weight = rows.y[new], rows.weight[new]
                losses[new] = divergence(few, label, weight, GAMMA_OF_NEW)
                logits[new] = few
            value = inner(rows.weight, losses) + 0.5 * pull * inner(flat, flat)
            return value, moments(logits).ravel() + pull * flat

        n_parameters = len(b[parameters])
        flat, _ = minimise(
            objective,
            np.zeros(n_parameters * b.shape[1]),
            tol=PROGRESS * rows.total,
            max_iter=N_ITERATIONS,
        )
        b[parameters] += in_metric(flat.reshape(n_parameters, -1))
        return b


def fingerprints(X, features):
    """Return a number of each row that hardly any other row has."""
    # Without a pattern, and the same for the same feature.
    direction = np.sin(1e4 * np.sqrt(2 + features))
    with np.errstate(over="ignore", invalid="ignore"):
        return np.nan_to_num(X @ direction)


def distinct_fingerprints(X):
    """Return those of some rows in their order; none where rows often are equal."""
    few = X[:: -(-X.shape[0] // FIRST_ROWS)]
    found = np.sort(fingerprints(few, np.arange(X.shape[1])))
    n_equal = np.count_nonzero(np.diff(found) <= SAME * np.abs(found[1:]))
    return found if n_equal <= EQUAL * len(found) else found[:0]


def present_columns(X):
    """Return CSR rows with the columns that have entries, and which these are."""
    columns, indices = np.unique(X.indices, return_inverse=True)
    shape = X.shape[0], len(columns)
    return sparse.csr_array((X.data, indices, X.indptr), shape=shape), columns


def with_typical_scales(units, X):
    """Return units in which features that sparse rows lack have the scale of others."""
    counts = np.bincount(X.indices, minlength=X.shape[1])
    if counts.all() or not counts.any():
        return units
    typical = np.median(units.inverse_scale[counts > 0])
    return replace(
        units, inverse_scale=np.where(counts > 0, units.inverse_scale, typical)
    )


def _diagonal(metric):
    """A view of the diagonal."""
    return np.einsum("ii->i", metric) if metric.ndim == 2 else metric


def _predicted(logits):
    """The class of each row."""
    if logits.shape[1] == 1:
        return (logits[:, 0] > 0).astype(np.intp)
    return logits.argmax(axis=1)


def shrinkage(plan):
    """Return the penalty of the user."""
    alpha, ratio = plan.exact_alpha, plan.l1_ratio
    return Shrinkage(alpha * (1 - ratio), alpha * ratio)


def begun(plan, data, refined, weight_unit):
    """Return the sums at the end of a second stage.

    Parameters
    ----------
    plan : Plan
    data : Data
        With labels from 0 and with weights in the loss.
    refined : classification.Refined
    weight_unit : float
        The sample weight that counts as one row.

    Returns
    -------
    sums : ClassSums or None
        None where no row has a weight.
    """
    n_rows, n_features = data.X.shape
    weight = data.given_weight.astype(np.float64) / weight_unit
    total = float(weight.sum())
    if total == 0:
        return None
    b = refined.direction.coef.astype(np.float64)
    if plan.fit_intercept:
        b = np.vstack([refined.direction.intercept, b])
    is_matrix = len(b) <= MOST_PARAMETERS
    center, inverse_scale = np.zeros(n_features), np.ones(n_features)
    if data.units.applied:
        center = data.units.center.astype(np.float64)
        inverse_scale = data.units.inverse_scale.astype(np.float64)
    sums = ClassSums(
        center=center,
        inverse_scale=inverse_scale,
        weight_unit=weight_unit,
        metric=np.zeros((len(b),) * (1 + is_matrix)),
        prior=refined.prior,
        total=total,
        b=b,
        size=float(np.log(refined.size.factor)),
        shift=refined.size.shift,
        n_first=total,
        class_totals=np.bincount(data.y, weight, len(plan.task.classes)),
        fingerprints=distinct_fingerprints(data.X),
    )
    if is_matrix:
        most = max(CURVATURE_ROWS, CURVATURE_PER_PARAMETER * len(b))
        data = data.of_rows(slice(None, None, -(-n_rows // most)))
    rows, parameters = sums.rows(data)
    values = curvature(rows.product(b[parameters])) * rows.weight
    values *= total / (rows.total or 1.0)
    return replace(
        sums, metric=sums.with_curvature(rows, parameters, values, total, plan)
    )


@dataclass(frozen=True, eq=False)
class ClassStream(Stream):
    """The refined estimate of a classifier's stream, and rows kept for it.

    The targets of kept rows are labels from 0.
    """

    @staticmethod
    def can_follow(plan):
        """Whether streams with these parameters have a refined estimate."""
        return plan.refines and shrinkage(plan).l1 == 0

    @staticmethod
    def _sums_of(plain):
        return ClassSums(**plain)

    def solutions(self):
        """Return coefficients and intercept of each problem in the user's units."""
        return list(zip(*self.sums.to_user(), strict=True))

    @classmethod
    def after(cls, plan, data, weight, refined):
        """Return the stream that goes on from the second stage of a fit.

        ``weight``: of the rows in the loss, in the units of ``data.weight``.
        """
        if not cls.can_follow(plan):
            return None
        unit = float(data.given_weight.max() / data.weight.max())
        label = np.searchsorted(plan.task.classes, data.y)
        data = replace(data, y=label, given_weight=weight * unit)
        sums = begun(plan, data, refined, unit)
        return cls(sums, None if sums else Kept())

    def followed(self, plan, data, before, after):
        """Return the stream after more rows; see ``Stream``."""
        task = plan.task
        label = np.searchsorted(task.classes, data.y)
        weight = data.given_weight * task.factors(data.y)[label]
        data = replace(data, y=label, given_weight=weight)
        return super().followed(plan, data, before, after)

    def _led(self, data, median):
        scores = [data.units.predict(data.X, *each) for each in median]
        return _predicted(np.column_stack(scores))

    def _enough(self, plan, data):
        return FIRST_ROWS

    def _collected(self, plan, data, median):
        first = self.first.extended(data)
        if first.n_rows < FIRST_ROWS:
            return replace(self, first=first)
        data = first.together(data.units)
        if np.all(data.y == data.y[0]):
            # One class tells nothing. Half of its rows make room for others.
            data = data.of_rows(slice(None, None, 2))
            return replace(self, first=Kept().extended(data))
        unit = float(data.given_weight.mean())
        # More rows than have set the units of the median.
        units = plan.feature_units(data.X, data.given_weight)
        if sparse.issparse(data.X):
            units = with_typical_scales(units, data.X)
        starts = (units.from_user(*data.units.to_user(*each)) for each in median)
        coef, intercept = zip(*starts, strict=True)
        coef = np.array(coef, dtype=np.float64).T
        X, own_units, columns = data.X, units, slice(None)
        if sparse.issparse(X) and not units.center.any():
            # The other features keep coefficients of 0.
            X, columns = present_columns(X)
            own_units = units.of(columns)
        rows = classification.Rows(
            X,
            data.y,
            data.given_weight / unit,
            own_units,
            leverage_weights=plan.leverage_weights,
        )
        refined = classification.refine(
            rows,
            Model(np.array(intercept), coef[columns]),
            penalty=shrinkage(plan),
            fit_intercept=plan.fit_intercept,
            tol=TOL,
            max_iter=MAX_ITER,
        )
        direction = refined.direction
        full = np.zeros_like(coef)
        full[columns] = direction.coef
        refined = replace(refined, direction=replace(direction, coef=full))
        data = replace(data, given_weight=rows.weight * unit, units=units)
        sums = begun(plan, data, refined, unit)
        return ClassStream(sums, None) if sums else ClassStream()

    def _with_piece(self, plan, data, led):
        weight = leverage(data.X, data.units, weighted=plan.leverage_weights)
        data = replace(data, given_weight=data.given_weight * weight)
        with np.errstate(over="ignore", invalid="ignore"):
            rows, parameters = self.sums.rows(data)
            if rows.total == 0:
                return self
            sums = self.sums.with_rows(rows, parameters, led, plan)
        return ClassStream() if sums.is_led else replace(self, sums=sums)
