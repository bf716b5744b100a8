"""Stopping of a fit: the statistic of an epoch, and the rule that uses it."""

import numpy as np
from sklearn.metrics import accuracy_score, r2_score

from medsgd._fit.scales import median


def exact_share(dtype):
    """Return the share of a loss that rounding leaves after an exact fit."""
    return max(float(np.finfo(np.float64).eps), (32 * float(np.finfo(dtype).eps)) ** 2)


class StoppingRule:
    """Stop after ``n_iter_no_change`` epochs without progress in a row.

    Parameters
    ----------
    tol : float or None
        Progress that counts; None never stops.
    n_iter_no_change : int
        Epochs without progress to wait for.
    relative : bool
        Whether progress is measured against the best statistic so far. The statistic of
        a median has the unit of the loss, so its tolerance cannot be absolute.
    best : float
        The statistic to improve on.
    floor : float or None
        A relative statistic this small is that of an exact fit, whose relative progress
        need not end. The default is ``exact`` times the first statistic.
    exact : float
        See ``exact_share``.
    """

    def __init__(
        self, tol, n_iter_no_change, *, relative, exact, best=np.inf, floor=None
    ):
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.relative = relative
        self.best = best
        self.exact = exact
        self.floor = floor
        self.n_stalled = 0

    def stalled(self, statistic):
        """Record one epoch, and return whether the fit has to stop."""
        if self.tol is None:
            return False
        if self.relative:
            if self.floor is None:
                self.floor = self.exact * statistic
            progress = statistic < self.best * (1 - self.tol)
        else:
            progress = not statistic > self.best - self.tol
        self.n_stalled = 0 if progress else self.n_stalled + 1
        self.best = min(self.best, statistic)
        exact = self.relative and statistic <= self.floor
        return exact or self.n_stalled >= self.n_iter_no_change


def penalty(settings, state):
    """Return the penalty term of the objective."""
    l2 = settings.penalty_factor * (1 - settings.l1_ratio)
    l1 = settings.penalty_factor * settings.l1_ratio
    # A norm may be infinite, and 0 times infinity is NaN.
    return (0.5 * l2 * state.squared_norm if l2 else 0.0) + (
        l1 * state.l1_norm if l1 else 0.0
    )


def held_out_mask(splitter, y, rows):
    """Return a mask of the samples among ``rows`` to hold out.

    Raises
    ------
    ValueError
        If that leaves no samples to train on, or to hold out.
    """
    if len(rows) == 0:
        raise ValueError(
            "The sample weights for validation set are all zero, consider using a"
            " different random state."
        )
    train, held_out = next(splitter.split(np.zeros((len(rows), 1)), y[rows]))
    if len(train) == 0 or len(held_out) == 0:
        raise ValueError(
            f"Splitting {len(rows)} samples into a train set and a validation set "
            f"with validation_fraction={splitter.test_size!r} led to an "
            f"empty set ({len(train)} and {len(held_out)} samples). Please either "
            "change validation_fraction, increase number of samples, or disable "
            "early_stopping."
        )
    mask = np.zeros(len(y), dtype=bool)
    mask[rows[held_out]] = True
    return mask


class HeldOut:
    """The held-out part of one problem and its statistic.

    For the medians the statistic is the median of the losses. For the mean of gradients
    it is 1 - score, as in scikit-learn: the share of the variance that is not
    explained, or of the samples that are not classified correctly.
    """

    def __init__(self, X, y, sample_weight, *, classification, watches_median):
        self.X, self.y, self.sample_weight = X, y, sample_weight
        self.classification = classification
        self.watches_median = watches_median

    def statistic(self, settings, state, units):
        # scikit-learn scores the coefficients without the factor of their decay.
        coef = state.coef if self.watches_median else state.coef / state.decay
        prediction = units.predict(self.X, coef, state.intercept)
        if self.watches_median:
            losses, _ = settings.evaluate(self.y, prediction, state.residual_scale)
            return median(losses, self.sample_weight)
        if self.classification:
            label = np.where(prediction > 0, 1, -1)
            return 1 - accuracy_score(self.y, label, sample_weight=self.sample_weight)
        return 1 - r2_score(self.y, prediction, sample_weight=self.sample_weight)

    def score(self, statistic):
        """Return the statistic as a score: a greater score is better."""
        return -statistic if self.watches_median else 1 - statistic
