"""The rows of one call of fit or partial_fit."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from medsgd._fit.units import FeatureUnits


@dataclass(frozen=True, eq=False, kw_only=True)
class Data:
    """Rows, their targets and weights, and the units in which a fit sees them.

    Attributes
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        In the units of the user.
    y : ndarray of shape (n_samples,)
        Targets: those of one problem in the dtype of X, others as the user gave them.
    weight : ndarray of shape (n_samples,)
        Sample weights, in units of the one that counts as 1.
    given_weight : ndarray of shape (n_samples,) or None
        The same in the units of the user.
    units : FeatureUnits or None
        None until they are known.
    held_out : ndarray of shape (n_samples,) of bool, or None
        Samples not trained on.
    held_out_X : ndarray or CSR matrix or None
        Their rows.
    """

    X: Any
    y: np.ndarray
    weight: np.ndarray
    given_weight: np.ndarray | None = None
    units: FeatureUnits | None = None
    held_out: np.ndarray | None = None
    held_out_X: Any = None

    @cached_property
    def rows(self):
        """Return the samples with a weight."""
        return np.flatnonzero(self.weight)

    @cached_property
    def mean_weight(self):
        """Return the mean of the given weights, which may overflow."""
        with np.errstate(over="ignore"):
            return float(np.mean(self.given_weight, dtype=np.float64))

    def of_rows(self, rows):
        """Return copies of some rows. None of them is held out."""
        return replace(
            self,
            X=self.X[rows],
            y=self.y[rows],
            weight=self.weight[rows],
            given_weight=self.given_weight[rows],
        )

    def holding_out(self, mask):
        """Return these data without some samples for training."""
        if mask is None:
            return self
        return replace(self, held_out=mask, held_out_X=self.X[mask])

    def training_weight(self, weight):
        """Return weights that are 0 for the samples held out."""
        return weight if self.held_out is None else np.where(self.held_out, 0, weight)
