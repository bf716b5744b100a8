"""The refined estimate of a classifier's stream, in bounded memory.

The second stage of a fit to the first rows begins it. Each later piece of the rows adds
the curvature of its losses, as the model expects it, to a matrix M for each output. The
coefficients of an output then move by -M^-1 times the gradient of the piece, of the
gamma-divergence with leverage weights. That is a recursive M-estimator, as that of
regressors (see ``stream``): its error is to first order that of a fit to all rows.

With many features M is one diagonal, and a step along the gradient could be much too
long for features that come together. So the coefficients W move to the minimiser of

    sum_i h_i loss(W, row i) + 1 / 2 |W - W_before|^2_M.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.special import softmax

from medsgd._fit.units import LOOSE_CENTER, LOOSE_SCALE
from medsgd._refinement import classification
from medsgd._refinement.class_rows import GAMMA, Rows, divergence_with_few, leverage
from medsgd._refinement.classification import Model, Shrinkage
from medsgd._refinement.quasi_newton import inner, minimise
from medsgd._refinement.rows import DenseRows, SparseRows
from medsgd._refinement.stream import LEAST_PIECE, Kept, Stream

# Numbers up to which there is a matrix of curvatures for each output.
MOST_NUMBERS = 2**19
# Rows that begin the estimate, and rows that begin it again, because an estimate from
# more rows is more often right. It does not begin again if these have more values.
FIRST_ROWS, LAST_ROWS, MOST_KEPT = 1_000, 4_000, 2**22
# Rows count as repeated if the first rows have arrived so many times.
REPEATED = 1.1
# Rows of a call are learned in pieces of at most so many, and of this part of the rows
# before them.
PIECE, PIECE_SHARE = 1_000, 0.125
# Tolerance and iterations of the second stage of the first rows.
TOL, MAX_ITER = 1e-3, 1_000
# Iterations for a piece with a diagonal, and the decrease of a row's loss below which
# one is the last.
N_ITERATIONS, PROGRESS = 8, 1e-4
# Half-life in rows of the counts of rows that only one of the estimates predicts.
WINDOW = 500
# The estimate begins anew if the median alone is right so many standard errors more
# often, and so many times as often.
SURELY, CLEARLY = 4.0, 1.5
# After a change of units the estimate begins anew if the typical logits of a fit to the
# rows since then are so many times larger or smaller, or if the loss of these rows is
# less by so much for each parameter. Chance makes it less by about (1 + GAMMA) / 2.
RESIZED, BETTER = 3.0, 1.5
# Rows of a class up to which none of them is implausible: before the first ones a
# class has no probability anywhere.
KNOWN = 5.0
# Upper bound of the curvatures of the log loss, with which rows of such classes count.
LARGEST_CURVATURE = 0.5
# Relative difference of equal fingerprints, and share of equal rows among the first
# ones from which on equal rows are no repetitions.
SAME, EQUAL = 1e-10, 0.02
# Rows that estimate the curvature of a fit: so many, or so many a parameter.
CURVATURE_ROWS, CURVATURE_PER_PARAMETER = 500, 4
# Added to the curvature of an intercept, and to a matrix over its diagonal.
LEAST_CURVATURE, RIDGE = 1e-3, 1e-8


def curvature(logits):
    """Return the expected curvature of each row's loss in each of the logits."""
    n_outputs = logits.shape[1]
    if n_outputs == 1:
        logits = np.column_stack([np.zeros(len(logits)), logits])
    a = 1 + GAMMA
    p, q = softmax(logits, axis=1), softmax(a * logits, axis=1)
    # The derivative of the expected gradient is minus the expected product of gradient
    # and score, for any label.
    size = a * p * q ** (GAMMA / a)
    curvatures = size * (1 - p - q) + p * q * size.sum(axis=1, keepdims=True)
    return curvatures[:, -n_outputs:]


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassSums:
    """Coefficients of a multinomial model, and the curvature of its rows so far.

    Attributes
    ----------
    center, inverse_scale : ndarray of shape (n_features,)
        Of the standardised rows.
    weight_unit : float
        The sample weight that counts as one row.
    metric : ndarray of shape (n_outputs, n_parameters, n_parameters) or \
            (n_parameters,)
        Curvature of the sum of the losses in the coefficients of each output, or the
        diagonal of its mean over the outputs.
    prior : float
        Curvature of the prior on each coefficient of a feature.
    total : float
        How many rows count.
    b : ndarray of shape (n_parameters, n_outputs)
    size, shift : float, ndarray of shape (n_outputs,)
        Logarithm of a factor of the coefficients, which the prior makes too small, and
        the shift that is then added to the intercepts. The first rows have chosen both.
    n_first : float
        How many of the rows that count are these first ones.
    class_totals : ndarray of shape (n_classes,)
        How many rows of each class there were.
    fingerprints : ndarray of shape (n,)
        Sorted fingerprints of some of the first rows; none if many rows are equal.
    repeated : float
        How many later rows had one of these fingerprints.
    lost, won : float
        Counts of recent rows that only the median, and only this model, predicts.
    seen : ndarray of shape (2, n_features) or None
        Centres and inverse scales in the stream's units when these last changed, or
        when the sums began; None if unknown, as in older files.
    """

    center: np.ndarray
    inverse_scale: np.ndarray
    weight_unit: float
    metric: np.ndarray
    prior: float
    total: float
    b: np.ndarray
    size: float
    shift: np.ndarray
    n_first: float
    class_totals: np.ndarray
    fingerprints: np.ndarray
    repeated: float = 0.0
    lost: float = 0.0
    won: float = 0.0
    seen: np.ndarray | None = None

    @property
    def fit_intercept(self):
        """Whether there is an intercept."""
        return int(len(self.b) > len(self.center))

    @property
    def has_matrices(self):
        """Whether the curvature of each output is a matrix."""
        return self.metric.ndim > 1

    @property
    def n_solved(self):
        """Return the number of parameters that each piece of the rows solves for."""
        return len(self.b) if self.has_matrices else 0

    def piece(self, half_life, count):
        """Return the largest number of rows, of a mean count, of the next piece."""
        size = PIECE_SHARE * min(self.total, half_life) / count
        return int(np.clip(size, LEAST_PIECE, PIECE))

    @property
    def passes(self):
        """Return about how many times each row has arrived.

        If the first rows have arrived again k times, so have the others.
        """
        return 1 + self.repeated / max(1, len(self.fingerprints))

    @property
    def is_led(self):
        """Whether the median is clearly better."""
        surely = SURELY * np.sqrt(self.lost + self.won)
        return self.lost - self.won > surely and self.lost > CLEARLY * self.won

    def has_new_units(self, units):
        """Whether the units of features differ from those last seen."""
        if self.seen is None:
            return False
        center, inverse_scale = self.seen
        growth = inverse_scale / units.inverse_scale
        is_far = np.maximum(growth, 1 / growth) > LOOSE_SCALE
        is_far |= np.abs(units.center - center) * inverse_scale > LOOSE_CENTER
        # Only a constant feature has a scale of exactly 1. It has no unit yet.
        return bool((is_far & (inverse_scale != 1)).any())

    def rows(self, data):
        """Return rows as the sums see them, and the parameters that they concern."""
        X, columns, parameters = data.X, slice(None), slice(None)
        weight = data.given_weight.astype(np.float64) / self.weight_unit
        label, cls = np.asarray(data.y), DenseRows
        if not self.has_matrices and sparse.issparse(X):
            cls = SparseRows
            X, columns = present_columns(X, self.center)
            first = self.fit_intercept
            parameters = np.append(np.arange(first), columns + first)
        center, inverse_scale = self.center[columns], self.inverse_scale[columns]
        rows = cls(X, label, weight, center, inverse_scale, self.fit_intercept)
        return rows, parameters

    def to_user(self):
        """Return coefficients and intercepts in the units of the user, by output."""
        # The first rows chose the size. The prior shrinks less with more rows.
        share = min(1.0, self.n_first / self.total * self.passes)
        b = np.exp(self.size * share) * self.b
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
        logits = rows.product(self.b[parameters])
        sums = self._judged(rows, _predicted(logits), led)
        memory, count = 0.5 ** (rows.total / plan.half_life), rows.total
        is_new = (self.class_totals < KNOWN)[rows.y]
        values = curvature(logits)
        values[is_new] = LARGEST_CURVATURE
        values *= rows.weight[:, np.newaxis]
        l2 = shrinkage(plan).l2 * count
        totals = np.bincount(rows.y, rows.weight, len(self.class_totals))
        sums = replace(
            sums,
            metric=_with_curvature(memory * self.metric, rows, parameters, values, l2),
            total=memory * self.total + count,
            n_first=memory * self.n_first,
            class_totals=self.class_totals + totals,
            repeated=self.repeated + self._n_repeated(rows, parameters, plan),
        )
        # The prior counts once for each pass, because a pass has all rows.
        l2 += (sums.passes - self.passes) * self.prior
        gradient = l2 * self.b
        gradient[: self.fit_intercept] = 0
        if not self.has_matrices:
            return sums._stepped(gradient)._moved(rows, parameters, is_new)
        _losses(logits, rows, is_new)
        return sums._stepped(gradient + rows.moments(logits))

    def _judged(self, rows, predicted, led):
        """Return the sums with the counts of rows that one estimate alone predicts."""
        memory = 0.5 ** (rows.n_rows / WINDOW)
        own, leading = predicted == rows.y, led == rows.y
        # Only the last rows of a long piece are recent.
        recent = min(1.0, WINDOW / (np.log(2) * rows.n_rows))
        lost = recent * np.count_nonzero((leading & ~own)[rows.weight > 0])
        won = recent * np.count_nonzero((own & ~leading)[rows.weight > 0])
        return replace(
            self, lost=memory * self.lost + lost, won=memory * self.won + won
        )

    def _n_repeated(self, rows, parameters, plan):
        """Count rows with one of the fingerprints; none where rows are forgotten."""
        known = self.fingerprints
        if len(known) == 0 or plan.half_life < np.inf:
            return 0.0
        features = np.arange(len(self.b))[parameters][self.fit_intercept :]
        own = fingerprints(rows.X, features - self.fit_intercept)
        # The order of a sum may depend on how many rows there are.
        width = SAME * np.abs(own)
        first, last = (np.searchsorted(known, own + sign * width) for sign in (-1, 1))
        return float(np.count_nonzero(first < last))

    def _regular(self):
        """Return the curvature with that of the prior, and its diagonal."""
        metric = self.metric.copy()
        diagonal = _diagonal(metric)
        diagonal[..., self.fit_intercept :] += self.prior * self.passes
        diagonal[..., : self.fit_intercept] += LEAST_CURVATURE
        diagonal[diagonal == 0] = 1  # of a feature without curvature and prior
        return metric, diagonal

    def _stepped(self, gradient):
        """Return the sums after a Newton step."""
        metric, diagonal = self._regular()
        if not self.has_matrices:
            return replace(self, b=self.b - gradient / diagonal[:, np.newaxis])
        scale = 1 / np.sqrt(diagonal)
        metric *= scale[:, np.newaxis]
        metric *= scale[:, :, np.newaxis]
        diagonal += RIDGE
        step = np.linalg.solve(metric, (scale * gradient.T)[:, :, np.newaxis])
        return replace(self, b=self.b - (scale * step[:, :, 0]).T)

    def _moved(self, rows, parameters, is_new):
        """Return the sums at the minimum of the rows' losses and of the distance."""
        _, diagonal = self._regular()
        root = 1 / np.sqrt(diagonal[parameters])[:, np.newaxis]
        b = self.b.copy()
        before, shape = rows.product(b[parameters]), (len(root), b.shape[1])

        def objective(flat):
            logits = before + rows.product(root * flat.reshape(shape))
            losses = _losses(logits, rows, is_new)
            value = inner(rows.weight, losses) + 0.5 * inner(flat, flat)
            return value, (root * rows.moments(logits)).ravel() + flat

        flat, _ = minimise(
            objective,
            np.zeros(np.prod(shape)),
            tol=PROGRESS * rows.total,
            max_iter=N_ITERATIONS,
        )
        b[parameters] += root * flat.reshape(shape)
        return replace(self, b=b)


def _losses(logits, rows, is_new):
    """Return losses, by the log loss for new classes; ``logits`` become slopes."""
    new = np.flatnonzero(is_new)
    return divergence_with_few(logits, rows.y, rows.weight, GAMMA, new)


def _with_curvature(metric, rows, parameters, values, l2):
    """Return the metric with the curvature of rows and of a penalty."""
    if metric.ndim > 1:
        for own, value in zip(metric, values.T, strict=True):
            own += rows.gram(np.ascontiguousarray(value))
    else:
        metric[parameters] += rows.diagonal(values.mean(axis=1))
    _diagonal(metric)[..., rows.fit_intercept :] += l2
    return metric


def fingerprints(X, features):
    """Return a number of each row that hardly any other row has."""
    # The direction has no pattern, and is the same for the same feature.
    direction = np.sin(1e4 * np.sqrt(2 + features))
    with np.errstate(over="ignore", invalid="ignore"):
        return np.nan_to_num(X @ direction)


def distinct_fingerprints(X):
    """Return sorted fingerprints of some rows, none if many rows are equal."""
    few = X[:: -(-X.shape[0] // FIRST_ROWS)]
    found = np.sort(fingerprints(few, np.arange(X.shape[1])))
    n_equal = np.count_nonzero(np.diff(found) <= SAME * np.abs(found[1:]))
    return found if n_equal <= EQUAL * len(found) else found[:0]


def present_columns(X, center):
    """Return CSR rows with the columns not 0 in all standardised rows, and which."""
    columns = np.append(X.indices, np.flatnonzero(center))
    columns, indices = np.unique(columns, return_inverse=True)
    shape = X.shape[0], len(columns)
    indices = indices[: len(X.indices)]
    return sparse.csr_array((X.data, indices, X.indptr), shape=shape), columns


def with_typical_scales(units, X):
    """Return units in which features that sparse rows lack have the scale of others."""
    counts = np.bincount(X.indices[X.data != 0], minlength=X.shape[1])
    if counts.all() or not counts.any():
        return units
    typical = np.median(units.inverse_scale[counts > 0])
    return replace(
        units, inverse_scale=np.where(counts > 0, units.inverse_scale, typical)
    )


def _diagonal(metric):
    """Return a view of the diagonal."""
    return np.einsum("kii->ki", metric) if metric.ndim > 1 else metric


def _predicted(logits):
    """Return the predicted class of each row."""
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
    n_parameters, n_outputs = b.shape
    shape: tuple = (n_outputs, n_parameters, n_parameters)
    if np.prod(shape) > MOST_NUMBERS:
        shape = (n_parameters,)
    center, inverse_scale = np.zeros(n_features), np.ones(n_features)
    if data.units.applied:
        center = data.units.center.astype(np.float64)
        inverse_scale = data.units.inverse_scale.astype(np.float64)
    sums = ClassSums(
        center=center,
        inverse_scale=inverse_scale,
        weight_unit=weight_unit,
        metric=np.zeros(shape),
        prior=refined.prior,
        total=total,
        b=b,
        size=float(np.log(refined.size.factor)),
        shift=refined.size.shift,
        n_first=total,
        class_totals=np.bincount(data.y, weight, len(plan.task.classes)),
        fingerprints=distinct_fingerprints(data.X),
    )
    if sums.has_matrices:
        most = max(CURVATURE_ROWS, CURVATURE_PER_PARAMETER * n_parameters)
        data = data.of_rows(slice(None, None, -(-n_rows // most)))
    rows, parameters = sums.rows(data)
    values = curvature(rows.product(b[parameters])) * rows.weight[:, np.newaxis]
    values *= total / (rows.total or 1.0)
    l2 = shrinkage(plan).l2 * total
    _with_curvature(sums.metric, rows, parameters, values, l2)
    return sums


def fitted(plan, data, starts):
    """Return the sums that the second stage of rows begins.

    Parameters
    ----------
    plan : Plan
    data : Data
        With labels from 0 and with weights in the units of the user.
    starts : list of list of (ndarray, float)
        Coefficients and intercept of each output in the units of the user. With
        matrices of curvatures the model of 0 is another start.

    Returns
    -------
    sums : ClassSums or None
        The one of least loss; None where no row has a weight.
    is_other : bool
        Whether the model of the first start is wrong for these rows: the loss is less
        by more than chance explains, or typical logits are of another size.
    """
    unit = float(data.given_weight.mean())
    # More rows than have set the units of the median.
    units = plan.feature_units(data.X, data.given_weight)
    units = plan.refined_units(data.X, data.given_weight, units)
    if sparse.issparse(data.X):
        units = with_typical_scales(units, data.X)
    X, own_units, columns = data.X, units, slice(None)
    if sparse.issparse(X):
        # The other features keep coefficients of 0.
        X, columns = present_columns(X, units.center)
        own_units = units.of(columns)
    rows = Rows(
        X,
        data.y,
        data.given_weight / unit,
        own_units,
        leverage_weights=plan.leverage_weights,
        seeks_groups=True,
    )
    models = []
    for start in starts:
        parts = [units.from_user(*each) for each in start]
        coef = np.array([coef for coef, _ in parts], dtype=np.float64).T
        models.append(Model(np.array([c for _, c in parts], dtype=np.float64), coef))
    first = replace(models[0], coef=models[0].coef[columns])
    if coef.size * len(coef) <= MOST_NUMBERS:
        models.append(Model(np.zeros(coef.shape[1]), np.zeros_like(coef)))
    else:
        # A start that other fits have reached takes much less time.
        models = models[:1]
    best, least = None, np.inf
    for model in models:
        refined = classification.refine(
            rows,
            replace(model, coef=model.coef[columns]),
            penalty=shrinkage(plan),
            fit_intercept=plan.fit_intercept,
            tol=TOL,
            max_iter=MAX_ITER,
        )
        loss = inner(rows.weight, rows.losses(refined.model))
        if best is None or loss < least:
            best, least = refined, loss
    gain = inner(rows.weight, rows.losses(first)) - least
    size, before = (_typical_size(rows, model) for model in (best.model, first))
    is_other = gain > BETTER * coef.size
    is_other |= max(size, before) > RESIZED * min(size, before)
    full = np.zeros_like(coef)
    full[columns] = best.direction.coef
    best = replace(best, direction=replace(best.direction, coef=full))
    data = replace(data, given_weight=rows.weight * unit, units=units)
    return begun(plan, data, best, unit), is_other


def _typical_size(rows, model):
    """Return the median of the largest logits of rows."""
    logits = rows.scores(model.coef)
    logits += model.intercept
    if logits.shape[1] > 1:
        logits -= logits.mean(axis=1, keepdims=True)
    return float(np.median(np.abs(logits).max(axis=1)[rows.weight > 0]))


@dataclass(frozen=True, eq=False)
class ClassStream(Stream):
    """The refined estimate of a classifier's stream, and rows kept for it.

    The targets of kept rows are labels from 0.

    Attributes
    ----------
    corrects_median : bool
        Whether the estimate has begun anew in the last call, because units have
        changed. The median then needs its coefficients: steps of a bounded gradient
        hardly change logits that are 1000 times too large.
    """

    corrects_median: bool = False

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
        """Return the stream that continues from the second stage of a fit.

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
        stream = self._with_units(data.units)
        stream = super(ClassStream, stream).followed(plan, data, before, after)
        is_new = stream.sums is not None and stream.sums.seen is None
        return stream.having_seen(data.units) if is_new else stream

    def having_seen(self, units):
        """Return the stream with units in which its sums count as right."""
        seen = np.stack([units.center, units.inverse_scale]).astype(np.float64)
        return replace(self, sums=self.sums and replace(self.sums, seen=seen))

    def _with_units(self, units):
        """Return the stream that collects rows for a comparison if units have changed.

        A model that is sure of itself, such as one of features that have become 1000
        times larger, hardly learns from its rows any more.
        """
        stream = replace(self, corrects_median=False)
        if self.sums is None or not self.sums.has_new_units(units):
            return stream
        return replace(stream, first=Kept(), n_begun=0).having_seen(units)

    def _led(self, data, median):
        scores = [data.units.predict(data.X, *each) for each in median]
        return _predicted(np.column_stack(scores))

    def _enough(self, plan, data, at_hand=0):
        return LAST_ROWS if self.n_begun else FIRST_ROWS

    def _collected(self, plan, data, median):
        first, enough = self.first.extended(data), self._enough(plan, data)
        if self.sums is not None and self.sums.passes > REPEATED:
            # Repetitions among held-out rows would choose too weak a prior.
            return replace(self, first=None)
        if first.n_rows < enough and first.n_values < MOST_KEPT:
            return replace(self, first=first)
        rows = first.together(data.units)
        if np.all(rows.y == rows.y[0]):
            # A single class determines no model. Drop half of its rows for others.
            rows = rows.of_rows(slice(None, None, 2))
            return replace(self, first=Kept().extended(rows))
        starts = [[data.units.to_user(*each) for each in median]]
        if self.sums is not None:
            starts.insert(0, self.solutions())
        sums, is_other = fitted(plan, rows, starts)
        if sums is None:
            return ClassStream()
        is_comparison = self.sums is not None and self.n_begun == 0
        if is_comparison and not is_other:
            return replace(self, first=None, n_begun=LAST_ROWS)
        is_last = enough == LAST_ROWS or first.n_values >= MOST_KEPT
        if is_last or plan.half_life < np.inf:
            first = None
        return replace(
            self,
            sums=sums,
            first=first,
            n_begun=len(rows.y),
            corrects_median=is_comparison,
        )

    def _units(self, data):
        """Return units of rows that are centred as in the sums."""
        units, sums = data.units, self.sums
        if not sparse.issparse(data.X) or units.center.any():
            return units
        own = np.where(sums.center == 0, units.inverse_scale, sums.inverse_scale)
        return replace(units, center=sums.center, inverse_scale=own)

    def _with_piece(self, plan, data, led):
        weight = leverage(data.X, self._units(data), weighted=plan.leverage_weights)
        data = replace(data, given_weight=data.given_weight * weight)
        with np.errstate(over="ignore", invalid="ignore"):
            rows, parameters = self.sums.rows(data)
            if rows.total == 0:
                return self
            sums = self.sums.with_rows(rows, parameters, led, plan)
        return ClassStream() if sums.is_led else replace(self, sums=sums)
