"""When a fit stops: the statistic of an epoch, and the rule that watches it."""

import numpy as np
from sklearn.metrics import accuracy_score, r2_score

from medsgd._core.losses import evaluate


class StoppingRule:
    """No progress for ``n_iter_no_change`` epochs in a row.

    Parameters
    ----------
    tol : float or None
        Progress that counts; None never stops.
    n_iter_no_change : int
        Epochs without progress to wait for.
    relative : bool
        Whether progress is measured against the best statistic so far. The statistic of
        a median has the unit of the loss, so its tolerance cannot be absolute.
    """

    def __init__(self, tol, n_iter_no_change, *, relative):
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.relative = relative
        self.best = np.inf
        self.n_stalled = 0

    def stalled(self, statistic):
        """Take in one epoch; whether there was no progress for long enough."""
        if self.tol is None:
            return False
        if self.relative:
            progress = statistic < self.best * (1 - self.tol)
        else:
            progress = not statistic > self.best - self.tol
        self.n_stalled = 0 if progress else self.n_stalled + 1
        self.best = min(self.best, statistic)
        return self.n_stalled >= self.n_iter_no_change


def median_loss(losses, sample_weight):
    """Weighted median of losses; those beyond the largest float count as infinite."""
    if len(losses) == 0:  # class weights of 0 can leave no sample
        return 0.0
    losses = np.nan_to_num(losses, nan=np.inf, posinf=np.inf)
    if np.all(sample_weight == sample_weight[0]):
        return float(np.median(losses))
    return float(np.quantile(losses, 0.5, weights=sample_weight, method="inverted_cdf"))


def penalty(settings, coef):
    """The penalty term of the objective."""
    coef = coef.astype(np.float64, copy=False)
    return settings.penalty_factor * (
        (1 - settings.l1_ratio) * 0.5 * (coef @ coef)
        + settings.l1_ratio * np.abs(coef).sum()
    )


class HeldOut:
    """The held-out part of one problem and its statistic.

    For the medians that is the median of the losses; for the mean of gradients, as in
    scikit-learn, 1 - score: the part of the variance not explained, or of the samples
    not classified correctly.
    """

    def __init__(self, X, y, sample_weight, *, classification, robust):
        self.X, self.y, self.sample_weight = X, y, sample_weight
        self.classification = classification
        self.robust = robust

    def statistic(self, settings, state):
        # scikit-learn scores the coefficients without the factor of their decay.
        coef = state.coef if self.robust else state.coef / state.decay
        prediction = np.asarray(self.X @ coef + state.intercept, dtype=np.float64)
        if self.robust:
            losses, _ = evaluate(settings.loss, settings.epsilon, self.y, prediction)
            return median_loss(losses, self.sample_weight)
        if self.classification:
            label = np.where(prediction > 0, 1, -1)
            return 1 - accuracy_score(self.y, label, sample_weight=self.sample_weight)
        return 1 - r2_score(self.y, prediction, sample_weight=self.sample_weight)

    def score(self, statistic):
        """The statistic as a score, greater is better."""
        return -statistic if self.robust else 1 - statistic
