"""The state that a pass over the data changes: plain arrays and numbers."""

import copy
import math
from dataclasses import dataclass, field, replace

import numpy as np

from medsgd._core.sparse import layout
from medsgd._fit.scales import median


@dataclass
class State:
    """State of one regression or binary classification between two passes.

    Attributes
    ----------
    coef, intercept : ndarray of shape (n_features,), float
        The current iterate.
    sums, sum_scale : ndarray of shape (n_features,) or None, float
        The coefficients since averaging began add up to ``sums + sum_scale * coef``.
        ``sum_scale`` is 0, except if the L1 penalty is charged as in scikit-learn.
    average_intercept, n_averaged : float
        Mean of the intercepts since averaging began; the number of iterates so far.
    residual_scale : float
        Normalised running median of the absolute residuals; 0 where unset.
    location : ndarray of shape (n_strata, n_features + 1)
        The tracked location m of the gradients of each stratum, the intercept's last.
        It has no columns if the estimator has no memory.
    scale : ndarray of shape (n_strata, 1) or (n_strata, n_features + 1)
        Running median s of abs(g - m), of the norm or by coordinate; 0 where unset.
    n_updates : ndarray of shape (n_strata,)
        Updates of the scale so far.
    stratum_weight : ndarray of shape (n_strata,)
        Total sample weight seen of each stratum, for ``shares``.
    shares : ndarray of shape (n_strata,)
        Part of each stratum's location in a step.
    paid_penalty, owed_penalty : ndarray of shape (n_features,), float
        L1 penalty received by each coefficient, and that each should have received.
    target_size : float
        The largest median absolute target of a call of a regressor so far.
    norms : tuple of two floats
        Squared l2 and l1 norm of the coefficients that the last step touched, before
        the L1 penalty. scikit-learn computes the penalty term of the mean from them.
    squared_norm, l1_norm : float
        The same norms of the coefficients after a pass.
    decay : float
        Factor by which the L2 penalty has shrunk the coefficients in this call.
    t : float
        Number of the next iteration, from 1.
    eta : float
        Step size, where the schedule does not depend on t.
    dtype : dtype
        The dtype of the data, and of arrays that are not views of ``records``.
    records : ndarray of shape (n_features + 1, n_columns) or None
        For passes over sparse rows: the other arrays are views of its columns, so that
        all numbers of a coordinate are side by side. The last row has the location of
        the intercept.
    """

    coef: np.ndarray
    intercept: float = 0.0
    sums: np.ndarray | None = None
    sum_scale: float = 0.0
    average_intercept: float = 0.0
    n_averaged: float = 0.0
    residual_scale: float = 0.0
    location: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    scale: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    n_updates: np.ndarray = field(default_factory=lambda: np.empty(0))
    stratum_weight: np.ndarray = field(default_factory=lambda: np.empty(0))
    shares: np.ndarray = field(default_factory=lambda: np.empty(0))
    paid_penalty: np.ndarray = field(default_factory=lambda: np.empty(0))
    owed_penalty: float = 0.0
    target_size: float = 0.0
    norms: tuple[float, float] = (0.0, 0.0)
    squared_norm: float = 0.0
    l1_norm: float = 0.0
    decay: float = 1.0
    t: float = 1.0
    eta: float = 0.0
    dtype: np.dtype | None = None
    records: np.ndarray | None = None

    def __post_init__(self):
        if self.dtype is None:
            self.dtype = self.coef.dtype

    def __getstate__(self):
        # A copy of each view is enough.
        return vars(self) | {"records": None}

    def prepared(self, settings, *, n_strata, inverse_scale=None):
        """Return a copy for one call, with arrays that fit the settings.

        The copy drops locations and scales that other parameters have tracked. The L1
        penalty and the step size start anew with each call, as in scikit-learn. With
        ``inverse_scale``, that of the features, the copy is ready for passes over
        sparse rows.
        """
        state = copy.copy(self)
        n_features, dtype = self.coef.size, self.dtype
        n_columns = n_features + 1

        def kept(array, shape):
            if array.shape == shape:
                # Passes over sparse rows compute in doubles.
                limit = np.finfo(dtype).max
                return np.clip(array, -limit, limit).astype(dtype, "C", copy=False)
            return np.zeros(shape, dtype=dtype)

        state.records = None
        state.coef = self.coef.astype(dtype)
        state.location = kept(
            self.location, (n_strata, n_columns if settings.tracks_location else 0)
        )
        state.scale = kept(
            self.scale, (n_strata, n_columns if settings.by_coordinate else 1)
        )
        same = self.scale.shape == state.scale.shape
        state.n_updates = self.n_updates.copy() if same else np.zeros(n_strata)
        state.stratum_weight = kept(self.stratum_weight, (n_strata,))
        state.shares = np.ones(n_strata)
        state.sum_scale = 0.0
        if settings.average == 0:
            state.sums = None
        elif self.sums is not None:
            state.sums = _added(self.sums, self.sum_scale, self.coef, dtype)
        else:
            # Earlier iterations count as if spent at the current coefficients.
            state.n_averaged = max(0.0, self.t - settings.average)
            state.sums = _added(0.0, state.n_averaged, self.coef, dtype)
            state.average_intercept = self.intercept if state.n_averaged > 0 else 0.0
        state.paid_penalty = np.zeros(n_features, dtype=dtype)
        state.owed_penalty = 0.0
        state.measure()
        state.norms = state.squared_norm, state.l1_norm
        state.decay = 1.0
        state.eta = settings.eta0
        if inverse_scale is not None:
            state._lay_side_by_side(settings, inverse_scale)
        return state

    def _lay_side_by_side(self, settings, inverse_scale):
        """Make the arrays views of records."""
        n_strata = len(self.location)
        columns, width = layout(settings, n_strata, self.sums is not None)
        records = np.zeros((self.coef.size + 1, width))
        records[:-1, 0] = self.coef
        self.coef = records[:-1, 0]
        if columns["inverse_scale"]:
            records[:-1, columns["inverse_scale"]] = inverse_scale
        for name in ("paid_penalty", "sums"):
            if column := columns[name]:
                records[:-1, column] = getattr(self, name)
                setattr(self, name, records[:-1, column])
        for name in ("location", "scale"):
            if column := columns[name]:
                view = records[:, column : column + n_strata].T
                view[:] = getattr(self, name)
                setattr(self, name, view)
            else:
                setattr(self, name, getattr(self, name).astype(np.float64))
        self.records = records

    def share_strata(self, factors):
        """Set each stratum's share in a step, by its weight so far and a factor."""
        frequency = self.stratum_weight / self.stratum_weight.sum()
        self.shares = frequency * factors

    def measure(self):
        """Set the norms to those of the coefficients."""
        coef = self.coef.astype(np.float64)
        with np.errstate(over="ignore"):
            self.squared_norm = float(coef @ coef)
            self.l1_norm = float(abs(coef).sum())

    def restart_average(self):
        """Average from the next iteration on."""
        self.sums[:] = 0
        self.sum_scale = self.average_intercept = self.n_averaged = 0.0

    def moved_to(self, coef, intercept):
        """Return a copy with other coefficients, with a new average."""
        sums = None if self.sums is None else np.zeros_like(self.sums)
        state = replace(self, coef=coef, intercept=intercept, sums=sums)
        state.sum_scale = state.average_intercept = state.n_averaged = 0.0
        return state

    def note_targets(self, y):
        """Record the size of the targets of a call."""
        if len(y):
            self.target_size = max(
                self.target_size, median(np.abs(y.astype(np.float64)))
            )

    def keep_zeros(self):
        """Set the average to 0 where the L1 penalty has set coefficients to 0."""
        self.sums[self.coef == 0] = 0

    def change_units(self, old, new):
        """Change the units of the features; locations and scales start anew."""
        if not (old.applied or new.applied):
            return
        dtype = self.dtype
        if self.sums is not None and self.n_averaged > 0:
            coef, intercept = new.from_user(*old.to_user(*self.solution()))
            self.sums = _added(0.0, self.n_averaged, coef, dtype)
            self.sum_scale, self.average_intercept = 0.0, float(intercept)
        coef, intercept = new.from_user(*old.to_user(self.coef, self.intercept))
        self.coef, self.intercept = coef.astype(dtype), float(intercept)
        self.location, self.scale = np.empty((0, 0)), np.empty((0, 0))

    def follow_units(self, old, new):
        """Change the units of the features, and convert locations and scales."""
        location, scale = self.location, self.scale
        self.change_units(old, new)
        if not (old.applied or new.applied):
            return
        # A gradient is a standardised row times the gradient of the intercept.
        ratio = new.inverse_scale / old.inverse_scale
        if location.size:
            shift = (old.center - new.center) * new.inverse_scale
            first = location[:, -1:]
            features = location[:, :-1] * ratio + shift * first
            location = np.hstack([features, first])
        # Running scales adapt to other units within some dozen updates.
        self.location, self.scale = location, scale

    def is_finite(self):
        """Whether a pass has left only finite parameters."""
        total = self.l1_norm + self.intercept + self.average_intercept
        return math.isfinite(total) and (
            self.sums is None or bool(np.isfinite(self.sums).all())
        )

    def solution(self):
        """Return coefficients and intercept, averaged once averaging has begun."""
        if self.sums is None or self.n_averaged == 0:
            return self.coef, self.intercept
        coef = (self.sums + self.sum_scale * self.coef) / self.n_averaged
        return coef, self.average_intercept


@np.errstate(over="ignore", invalid="ignore")
def _added(sums, n, coef, dtype):
    """Return sums + n * coef in a dtype; a pass checks that results are finite."""
    return (sums + n * coef).astype(dtype)
