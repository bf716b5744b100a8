"""Second stage of a classifier: one multinomial model by the gamma-divergence.

The median stage costs accuracy, and its one-versus-rest models cost calibration. From
its solution this stage minimises, over the coefficients W of a multinomial (for two
classes a logistic) model,

    mean_i h_i (a / gamma) (1 - q_i^(gamma / a)),    q_i = softmax(a W z_i)[y_i],

with a = 1 + gamma: the gamma-divergence of the labels from the model (Fujisawa and
Eguchi, JMVA 2008; Hung, Jou and Huang, Biometrics 2018). gamma = 0 is the log loss. A
row whose label the model finds implausible has the weight q^(gamma / a) near 0, and
h is the leverage weight. softmax(W z) stays a consistent estimate of the probabilities.

With many features for the rows, the minimiser memorises wrong labels. So the direction
of W is found under a normal prior on the coefficients, whose width follows from the
data, and the size of W, which the prior makes too small, is fitted afterwards. Where
rows are few for the features, held-out rows choose the width and the size. A part of
their labels may be wrong, too. The log loss alone would then choose probabilities that
are too unsure, so that part is estimated along with the size.

Features of rows that an indicator marks may be codes for missing values. The prior and
the leverage weights see such rows from the centre of their group (``shifts.py``).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.special import entr

from medsgd._core.multinomial import log_loss_with_noise
from medsgd._refinement.class_rows import FAR_OUT, GAMMA, Rows, divergence_with_few
from medsgd._refinement.quasi_newton import inner, minimise

# A first, tighter fit finds the majority where outlying rows have wrong labels.
TIGHT_GAMMA = 2.0
# Precisions of the prior of a logit: 1 / n_rows times these, times the squared norm of
# a typical row, is the factor of |W|^2 / 2. Many wrong labels need a strong prior.
STRONG_PRECISION, PRECISION, WEAK_PRECISIONS = 3.0, 0.8, (0.2, 0.05)
# Rows for each feature beyond which the prior hardly matters: a weak one is taken. Rows
# for each parameter beyond which the rows of the fit themselves choose the size.
MANY_ROWS = 20
# Up to so many features the effect of each row on its own score is computed.
MOST_FEATURES = 300
# Labels are hardly predictable if the log loss is a larger part of that of frequencies.
HARDLY_PREDICTABLE = 0.75
# The rows are divided into so many parts; one or all are held out to choose a prior.
N_FOLDS = 4
# As many rows for each logit make one part large enough.
ENOUGH_ROWS = 1000
# Least share of a row's score that counts as determined by the other rows.
LEAST_LEFT = 0.3
# Standard deviation of the prior of log(size). Without it the size grows without bound
# on rows that a hyperplane separates.
SIZE_DEVIATION = 0.25
# The same where held-out rows choose the size; the part of wrong labels is added to it,
# because the divergence makes coefficients smaller the more labels are wrong.
HELD_OUT_DEVIATION = 0.15
# The same of the prior of an intercept's shift, which all rows have determined already.
SHIFT_DEVIATION = 0.3
# Parts of wrong labels to try. Each takes the size of the one before it, as a tenth
# of odd labels may be a property of the data, which new rows share.
NOISES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
LARGEST_LOG_SIZE = 5.0
# Coefficients count as at most so large in the penalty of a size.
LARGEST = 1e50
SIZE_PROGRESS = 1e-5
# Updates of the median stage, which only has to reach the basin of the minimum.
LEAD_UPDATES = 1000
# A model may be at a local minimum where labels less probable than this are more than
# it expects by a part of all labels and by so many standard deviations.
UNLIKELY, MOST_UNLIKELY, SURELY = 0.02, 5e-4, 3.0
# Rounds that bring the intercepts to the frequencies of the classes.
N_BALANCING = 20
# Relative progress of an iteration below which a minimisation ends, over the user's
# tolerance: for the last one and for those that lead to it.
PROGRESS = 3e-3
PROGRESS_BEFORE = 2e-2


def lead_epochs(n_samples):
    """Return the epochs of the median stage before a refinement."""
    return -(-LEAD_UPDATES // max(1, n_samples))


@dataclass(frozen=True)
class Shrinkage:
    """Factors of |W|^2 / 2 and of the sum of |W|."""

    l2: float
    l1: float


@dataclass
class Model:
    """A multinomial model in the units of a fit.

    Attributes
    ----------
    intercept : ndarray of shape (n_outputs,)
    coef : ndarray of shape (n_features, n_outputs)
        One output for two classes: the logit of class 1.
    converged, interrupted : bool
        Whether the minimisation ended by its tolerance, and whether it was ended.
    """

    intercept: np.ndarray
    coef: np.ndarray
    converged: bool = False
    interrupted: bool = False


def fitted(
    rows,
    start,
    weight,
    gamma,
    penalty,
    *,
    fit_intercept,
    tol,
    max_iter,
    watch=None,
    memory=None,
):
    """Return the minimiser of the divergence plus a penalty, from another model.

    ``weight``: of the rows, adding up to 1; ``watch(model, objective, told)``, told a
    ``Divergence``, is called after each iteration and ends the minimisation by
    returning True; ``memory``: see ``minimise``.
    """
    n_outputs = len(start.intercept)
    told, shifts = None, rows.at_hand.shifts

    def model_of(flat):
        coef = flat[n_outputs:].reshape(-1, n_outputs)
        return Model(flat[:n_outputs], shifts.out_of(coef))

    def objective(flat):
        nonlocal told
        told = rows.divergence(model_of(flat), weight, gamma)
        gradient = np.empty_like(flat)
        gradient[:n_outputs] = told.intercept * fit_intercept
        gradient[n_outputs:] = shifts.gradient(told.coef).ravel()
        coef = flat[n_outputs:]
        gradient[n_outputs:] += penalty.l2 * coef
        return told.value + 0.5 * penalty.l2 * inner(coef, coef), gradient

    interrupted = False

    def after_iteration(flat, value):
        nonlocal interrupted
        interrupted = watch(model_of(flat), value, told)
        return interrupted

    coef = shifts.into(start.coef)
    flat = np.concatenate([start.intercept, coef.ravel()]).astype(np.float64)
    l1 = np.full(len(flat), penalty.l1)
    l1[:n_outputs] = 0
    with np.errstate(over="ignore", invalid="ignore"):
        flat, converged = minimise(
            objective,
            flat,
            l1=l1,
            tol=tol,
            max_iter=max_iter,
            watch=None if watch is None else after_iteration,
            memory=memory,
        )
    model = model_of(flat)
    return replace(model, converged=converged, interrupted=interrupted)


@dataclass
class Size:
    """A size of the coefficients that labels have chosen.

    Attributes
    ----------
    factor : float
        Multiplies coefficients and intercepts.
    shift : ndarray of shape (n_outputs,)
        Is added to the intercepts after that.
    loss : float or None
        How implausible held-out labels are with it.
    """

    factor: float
    shift: np.ndarray
    loss: float | None = None

    def applied(self, model):
        intercept = self.factor * model.intercept + self.shift
        return replace(model, intercept=intercept, coef=self.factor * model.coef)


def size_of(scores, label, weight, penalty, *, fit_intercept):
    """Return the size by which held-out labels, some wrong, are most plausible.

    The size is averaged over ``NOISES``, weighted by the likelihood of the labels.

    Parameters
    ----------
    scores : ndarray of shape (n_rows, n_outputs)
        Of rows that the model was not fitted to.
    label, weight : ndarray of shape (n_rows,)
    penalty : Shrinkage
        Factors of the squared size over 2 and of the size.
    fit_intercept : bool
    """
    n_rows, n_outputs = max(1, np.count_nonzero(weight)), scores.shape[1]
    weight = weight / (weight.sum() or 1.0)
    share = np.bincount(label, weight, max(2, n_outputs))

    def objective(noise, parameters):
        deviation = HELD_OUT_DEVIATION + noise
        log_size = parameters[0]
        size = np.exp(min(log_size, LARGEST_LOG_SIZE))
        along = size * scores
        slope = along + parameters[1:]
        loss = log_loss_with_noise(slope, label, weight, share, noise)
        loss += size * (0.5 * size * penalty.l2 + penalty.l1)
        shift = parameters[1:] / SHIFT_DEVIATION
        loss += 0.5 * ((log_size / deviation) ** 2 + shift @ shift) / n_rows
        gradient = np.empty_like(parameters)
        gradient[0] = inner(slope.ravel(), along.ravel())
        gradient[0] += size * (size * penalty.l2 + penalty.l1)
        gradient[0] += log_size / deviation**2 / n_rows
        gradient[1:] = np.einsum("ij->j", slope) * fit_intercept
        gradient[1:] += shift / SHIFT_DEVIATION / n_rows
        return loss, gradient

    found, losses = [np.zeros(1 + n_outputs)], []
    for noise in NOISES:
        at_noise = partial(objective, noise)
        with np.errstate(over="ignore", invalid="ignore"):
            x, _ = minimise(at_noise, found[-1], tol=SIZE_PROGRESS, max_iter=100)
        found.append(x)
        losses.append(at_noise(x)[0])
    # See NOISES: each part of wrong labels takes the size of the next smaller one.
    found[0] = found[1]
    least = min(losses)
    likely = np.exp(n_rows * (least - np.array(losses)))
    parameters = likely @ found[:-1] / likely.sum()
    factor = float(np.exp(min(parameters[0], LARGEST_LOG_SIZE)))
    return Size(factor, parameters[1:], least - np.log(likely.mean()) / n_rows)


def resized(rows, model, weight, gamma, penalty, *, fit_intercept):
    """Return the size of the coefficients that fits best, with intercepts.

    ``penalty``: that of the user alone, because the prior has made the coefficients too
    small.
    """
    n_rows = max(1, rows.n_used)
    along = rows.along(model, weight)
    coef = rows.at_hand.shifts.into(model.coef).ravel()
    coef = np.clip(coef, -LARGEST, LARGEST)
    l2, l1 = penalty.l2 * inner(coef, coef), penalty.l1 * np.abs(coef).sum()

    def objective(parameters):
        deviation = parameters[0] / SIZE_DEVIATION
        size = np.exp(min(parameters[0], LARGEST_LOG_SIZE))
        value, slope, intercept = along.divergence(size, parameters[1:], gamma)
        value += size * (0.5 * size * l2 + l1)
        gradient = np.empty_like(parameters)
        gradient[0] = slope + size * (size * l2 + l1)
        gradient[0] += deviation / SIZE_DEVIATION / n_rows
        gradient[1:] = intercept * fit_intercept
        return value + deviation**2 / (2 * n_rows), gradient

    parameters, _ = minimise(
        objective,
        np.concatenate([[0.0], model.intercept]),
        tol=SIZE_PROGRESS,
        max_iter=100,
    )
    factor = float(np.exp(min(parameters[0], LARGEST_LOG_SIZE)))
    return Size(factor, parameters[1:] - factor * model.intercept)


def balance(rows, model):
    """Return the shift of intercepts that makes plausible labels as frequent as found.

    The divergence alone estimates the frequency of a rare class from few rows of small
    weight.
    """
    labels = rows.balance(model)
    found = labels.found
    shift = np.zeros(len(found))
    for _ in range(N_BALANCING):
        expected = labels.expected(np.exp(shift))
        useful = (found > 0) & (expected > 0)
        step = np.log(found, where=useful, out=np.zeros_like(found))
        step -= np.log(expected, where=useful, out=np.zeros_like(found))
        shift += step
        if np.abs(step).max() < 1e-3:
            break
    shift -= shift.mean()
    if len(model.intercept) == 1:
        shift = shift[1:] - shift[:1]
    return shift


def prior(rows, n_rows, precision, n_outputs):
    """Return the factor of |W|^2 / 2 for a precision of a typical row's logits."""
    # The difference of two classes' logits has the variance of both.
    half = 0.5 if n_outputs == 1 else 1.0
    return half * precision * rows.units.squared_norm / n_rows


def n_logits(model):
    """Return the number of logits that determine the probabilities."""
    return max(1, len(model.intercept) - 1)


def centred(model):
    """Return a model of the same probabilities whose outputs add up to 0."""
    if len(model.intercept) == 1:
        return model
    intercept = model.intercept - model.intercept.mean()
    coef = model.coef - model.coef.mean(axis=1, keepdims=True)
    return replace(model, intercept=intercept, coef=coef)


def beside_groups(rows, model):
    """Return a model that treats groups far out as it does the other rows.

    Otherwise codes may have led the medians to where the logits of a group are so large
    that the prior shrinks all coefficients to 0.
    """
    coef = rows.shifts.into(model.coef)
    coef[rows.shifts.columns] = 0
    return replace(model, coef=rows.shifts.out_of(coef))


def fold_of(label):
    """Return the part of each row, with all parts of similar class frequencies."""
    fold = np.empty(len(label), dtype=np.intp)
    fold[np.argsort(label, kind="stable")] = np.arange(len(label)) % N_FOLDS
    return fold


def choose_precision(rows, start, weight, fit, size_of):
    """Return the precision by which held-out labels are most plausible.

    Weaker priors are tried after the middle one, as long as they are better. If none is
    better, the strong one is tried.

    Parameters
    ----------
    rows : Rows
    start : Model
    weight : ndarray of shape (n_rows,)
    fit : callable
        ``fit(start, weight, gamma, precision)`` returns a model.
    size_of : callable
        ``size_of(scores, held_out, model)`` returns the size of models like this one by
        the scores of the rows held out.

    Returns
    -------
    precision : float
    model : Model
        Fitted with it to a part of the rows.
    size : Size
    """
    used = np.flatnonzero(weight)
    fold = np.full(len(weight), -1)
    fold[used] = fold_of(rows.label[used])
    enough = len(used) >= ENOUGH_ROWS * n_logits(start)
    folds = range(1 if enough else N_FOLDS)
    held_out = np.isin(fold, folds)
    training = [np.where(fold == k, 0.0, weight) for k in folds]
    training = [part / (part.sum() or 1.0) for part in training]
    models = [fit(start, part, TIGHT_GAMMA, STRONG_PRECISION) for part in training]

    def tried(precision):
        scores = np.zeros((len(weight), len(start.intercept)))
        for k in folds:
            models[k] = fit(models[k], training[k], GAMMA, precision)
            own = rows.scores(models[k].coef) + models[k].intercept
            scores[fold == k] = own[fold == k]
        size = size_of(scores[held_out], held_out, models[0])
        return precision, models[0], size

    best = first = tried(PRECISION)
    for precision in WEAK_PRECISIONS:
        other = tried(precision)
        if other[2].loss >= best[2].loss:
            break
        best = other
    if best is first:
        best = min(first, tried(STRONG_PRECISION), key=lambda each: each[2].loss)
    return best


def of_left_out_rows(rows, start, weight, fit, size_of):
    """Return a weak precision, a model and a size as ``choose_precision`` does.

    The labels of all rows choose the size, by the scores of ``left_out``. The result is
    None if these scores may be far from the truth, because rows are few or labels
    hardly depend on the features. It is also None if they would take too long.
    """
    is_small = rows.X.shape[1] <= MOST_FEATURES
    if rows.n_used <= MANY_ROWS * rows.n_features or not is_small:
        return None
    precision = WEAK_PRECISIONS[0]
    model = fit(start, weight, TIGHT_GAMMA, precision)
    model = fit(model, weight, GAMMA, precision)
    size = size_of(left_out(rows, model, weight, precision), slice(None), model)
    share = np.bincount(rows.label, weight)
    if size.loss > HARDLY_PREDICTABLE * entr(share).sum():
        return None
    return precision, model, size


def left_out(rows, model, weight, precision):
    """Return scores of rows, moved towards those of models fitted to the other rows.

    One step of Newton's method leaves a row out (Rad and Maleki, "A scalable estimate
    of the out-of-sample prediction error via approximate leave-one-out
    cross-validation", JRSS B 2020). It is shortened, as an upper bound takes the place
    of the Hessian, which may be nearly singular: its first term, with all rows as
    typical ones along each output.
    """
    scores = rows.scores(model.coef)
    scores += model.intercept
    slope, factor = scores.copy(), 1 + GAMMA
    losses = divergence_with_few(slope, rows.label, weight, GAMMA, rows.few)
    # Of the second derivative the first term alone, which bounds it from above. It is
    # the tilted probability of each output, times the size of the row.
    curvature = factor * slope
    of_label = factor**2 * weight * (1 - losses * GAMMA / factor)
    curvature[np.arange(len(of_label)), rows.label] += of_label
    l2 = prior(rows, rows.n_used, precision, len(model.intercept))
    distance = rows.distances(weight, curvature.sum(axis=0), l2)
    scores += slope * distance / np.maximum(1 - curvature * distance, LEAST_LEFT)
    return scores


def is_too_sure(rows, model):
    """Whether there are more labels that a model rules out than it expects."""
    proba, weight = rows.probabilities(model), rows.weight
    found = proba[np.arange(len(rows.label)), rows.label] < UNLIKELY
    expected = np.einsum("ij,ij->i", proba, proba < UNLIKELY)
    chance = np.sqrt(np.square(weight) @ (expected * (1 - expected)))
    most = MOST_UNLIKELY * weight.sum() + SURELY * chance
    return weight @ (found - expected) > most


def without_features(rows, model, weight, fit_intercept):
    """Return the model of the frequencies of the classes."""
    n_outputs = len(model.intercept)
    intercept = np.zeros(n_outputs)
    if fit_intercept:
        share = np.bincount(rows.label, weight, max(2, n_outputs))
        logit = np.log(np.maximum(share, 1e-300))
        intercept = logit[1:] - logit[:1] if n_outputs == 1 else logit - logit.mean()
    return Model(intercept, np.zeros_like(model.coef))


def objective_of(rows, weight, penalty, model):
    """Return the divergence of a model plus a penalty."""
    coef = np.clip(rows.shifts.into(model.coef).ravel(), -LARGEST, LARGEST)
    value = rows.divergence(model, weight, GAMMA).value
    return (
        value + 0.5 * penalty.l2 * inner(coef, coef) + penalty.l1 * np.abs(coef).sum()
    )


@dataclass
class Refined:
    """The result of a second stage.

    Attributes
    ----------
    model : Model
    direction : Model
        The model before its size was chosen.
    size : Size
        Of ``model`` by ``direction``.
    prior : float
        Factor of |W|^2 / 2 on top of the sum of the rows' losses.
    """

    model: Model
    direction: Model
    size: Size
    prior: float


def refine(
    rows: Rows,
    start: Model,
    *,
    penalty: Shrinkage,
    fit_intercept: bool,
    tol: float | None,
    max_iter: int,
    watch: Callable[..., bool] | None = None,
) -> Refined:
    """Fit the multinomial model from the solution of the median stage.

    Parameters
    ----------
    rows : Rows
        Rows that are not at hand are asked for sums.
    start : Model
    penalty : Shrinkage
        That of the user, which comes on top of the prior.
    fit_intercept : bool
    tol : float or None
        Tolerance of the user; None continues as long as there is any progress.
    max_iter : int
        Bound on the iterations over all rows.
    watch : callable or None
        See ``fitted``; for the iterations over all rows.
    """
    few = rows.at_hand
    if not few.weight.any():
        return Refined(start, start, Size(1.0, np.zeros_like(start.intercept)), 0.0)
    weight = few.normed_weight()
    start = beside_groups(few, centred(start))
    tolerance = tol or 0.0
    memory: list | None = None

    def with_prior(rows, precision):
        l2 = prior(few, rows.n_used, precision, len(start.intercept))
        return Shrinkage(penalty.l2 + l2, penalty.l1)

    def fit(model, weight, gamma, precision, **control):
        return fitted(
            few,
            model,
            weight,
            gamma,
            with_prior(few, precision),
            tol=tolerance * PROGRESS_BEFORE,
            max_iter=max_iter,
            fit_intercept=fit_intercept,
            **control,
        )

    def size_by(scores, held_out, model):
        # Squares of enormous coefficients would not be finite.
        coef = np.clip(few.shifts.into(model.coef).ravel(), -LARGEST, LARGEST)
        return size_of(
            scores,
            few.label[held_out],
            np.where(few.leverage < FAR_OUT, 0.0, weight)[held_out],
            Shrinkage(
                penalty.l2 * inner(coef, coef), penalty.l1 * float(np.abs(coef).sum())
            ),
            fit_intercept=fit_intercept,
        )

    size = None
    if rows.n_used > MANY_ROWS * few.n_features * n_logits(start):
        precision = WEAK_PRECISIONS[0]
        model = fit(start, weight, TIGHT_GAMMA, precision)
    else:
        chosen = of_left_out_rows(few, start, weight, fit, size_by)
        if chosen is None:
            chosen = choose_precision(few, start, weight, fit, size_by)
        precision, model, size = chosen
    if is_too_sure(few, model):
        # The medians may have led to where all labels of a kind of rows are the same.
        begin = without_features(few, model, weight, fit_intercept)
        other = fit(begin, weight, GAMMA, precision)
        value_of = partial(objective_of, few, weight, with_prior(few, precision))
        # A label that is ruled out loses more than 1; less is for want of iterations.
        limit = value_of(other) + MOST_UNLIKELY
        if value_of(model) > limit:
            near = fit(model, weight, GAMMA, precision)
            model = other if value_of(near) > limit else model
    if few is not rows:
        memory = []
        model = fit(model, weight, GAMMA, precision, memory=memory)
    weight = rows.normed_weight()
    direction = fitted(
        rows,
        model,
        weight,
        GAMMA,
        with_prior(rows, precision),
        tol=tolerance * PROGRESS,
        max_iter=max_iter - 1,
        fit_intercept=fit_intercept,
        watch=watch,
        memory=memory,
    )
    if size is None:
        size = resized(
            rows, direction, weight, GAMMA, penalty, fit_intercept=fit_intercept
        )
        if fit_intercept:
            size.shift += balance(rows, size.applied(direction))
    model = size.applied(direction)
    if watch is not None and not model.interrupted:
        told = rows.divergence(model, weight, GAMMA)
        watch(model, told.value, told)
    n_outputs = len(start.intercept)
    return Refined(model, direction, size, prior(few, 1, precision, n_outputs))
