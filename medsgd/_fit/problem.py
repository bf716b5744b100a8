"""One regression or binary classification: its data, its state and its epochs."""

from dataclasses import dataclass, field, replace

import numpy as np

import medsgd._core.dense as dense
import medsgd._core.sparse as csr
from medsgd._core.order import group, shuffle
from medsgd._fit.scales import median, start_scales
from medsgd._fit.state import State
from medsgd._fit.stopping import HeldOut, StoppingRule, penalty
from medsgd._fit.units import FeatureUnits

SMALLEST_ADAPTIVE_ETA = 1e-6
# Where scikit-learn folds the factor of the decay into the coefficients.
SMALLEST_DECAY = 1e-9
# A loss so many times that of a constant, and of where the fit began, has diverged.
DIVERGED = 1e4


@dataclass(kw_only=True)
class Progress:
    """How far a problem has come, and what ends it.

    Attributes
    ----------
    state : State
    rule : StoppingRule
    averages_stall : bool
        Whether the average begins anew after each epoch that made progress.
    curve, clip_curve : list of float
        Stopping statistic and share of clipped residuals of each epoch.
    objective : float
        Mean or median loss of the last epoch, plus the penalty.
    n_iterations : int
        Iterations so far in this call.
    stopped : bool
        Whether the stopping rule has ended the fit.
    stage_starts : list of int
        Epochs in the curves with which stages after the first begin.
    tolerance : float or None
        Largest residual of an exact fit, where exact steps have set the scale.
    """

    state: State
    rule: StoppingRule | None = None
    averages_stall: bool = False
    curve: list = field(default_factory=list)
    clip_curve: list = field(default_factory=list)
    objective: float = np.inf
    n_iterations: int = 0
    stopped: bool = False
    stage_starts: list = field(default_factory=list)
    tolerance: float | None = None

    def check_progress(self, *, adaptive):
        """Apply the stopping rule to the last epoch."""
        if not self.rule.stalled(self.curve[-1]):
            return
        if adaptive and self.state.eta > SMALLEST_ADAPTIVE_ETA:
            self.state.eta /= 5
            self.rule.n_stalled = 0
        else:
            self.stopped = True


@dataclass(kw_only=True)
class Problem(Progress):
    """What one binary classifier or one regressor needs from epoch to epoch.

    Attributes are those of ``Progress``, and these.

    Attributes
    ----------
    y, sample_weight : ndarray of shape (n_samples,)
        Targets and weights, in the dtype of X.
    strata : ndarray of shape (n_samples,) of uint8, or None
        The class of each sample where classes are tracked apart.
    stratum_factors : ndarray of shape (n_strata,)
        What multiplies the frequency of each stratum: the class weights.
    units : FeatureUnits
        What standardises the rows.
    rows : ndarray of intp
        Samples with a weight, in the order of the last pass.
    seed : int
        Seed of every shuffle.
    robust : bool
        Whether the stopping statistic is the median of the losses, not their mean.
    validation_mask : ndarray of shape (n_samples,) of bool, or None
        Samples not trained on.
    held_out : HeldOut or None
        What sets the stopping statistic if not the training losses.
    visit_unit : float
        A pass visits a row as many times as its weight holds this one, to the nearest
        integer. A single visit would make the location that row's gradient, even that
        of an outlier, and the step along it would be as large as the weight. Infinite
        where weights multiply steps, as in SGD.
    scales_set : bool
        Whether all running scales have started.
    guarded : bool
        Whether a loss that grows by orders of magnitude is an error.
    """

    y: np.ndarray
    sample_weight: np.ndarray
    strata: np.ndarray | None
    stratum_factors: np.ndarray
    units: FeatureUnits
    rows: np.ndarray
    seed: int
    robust: bool
    validation_mask: np.ndarray | None = None
    held_out: HeldOut | None = None
    visit_unit: float = np.inf
    scales_set: bool = False
    guarded: bool = False

    def __post_init__(self):
        self.losses = np.zeros(len(self.y))
        self.largest_loss = None
        self.loss_weight = self.visit_weight = self.sample_weight
        self.visits = self.rows
        count = np.rint(self.sample_weight / self.visit_unit)
        if count.max(initial=0) > 1:
            count = np.maximum(count, 1).astype(np.intp)
            self.visits = np.repeat(self.rows, count[self.rows])
            self.visit_weight = (self.sample_weight / count).astype(self.y.dtype)
        rows = self.training_rows()
        n_strata = len(self.stratum_factors)
        if n_strata > 1:
            self.state.stratum_weight += np.bincount(
                self.strata[rows], self.sample_weight[rows], minlength=n_strata
            )
            frequency = self.state.stratum_weight / self.state.stratum_weight.sum()
            self.state.shares = frequency * self.stratum_factors
            self.loss_weight = self.sample_weight * self.stratum_factors[self.strata]
        if np.all(self.loss_weight[rows] == self.loss_weight[rows[:1]]):
            self.loss_weight = None

    def training_rows(self):
        """Rows with a weight that are not held out."""
        return self._trained(self.rows)

    def _trained(self, rows):
        if self.validation_mask is None:
            return rows
        return rows[~self.validation_mask[rows]]

    def release(self):
        """Let go of the samples."""
        self.y = self.sample_weight = self.loss_weight = self.strata = None
        self.visits = self.visit_weight = None
        self.rows = self.losses = self.held_out = None

    def next_stage(self, state, rows):
        """The same problem for a refinement, going on from this one."""
        return replace(
            self,
            state=state,
            rows=rows,
            strata=None,
            stratum_factors=np.ones(1),
            robust=True,
            averages_stall=True,
            stopped=False,
            visit_unit=np.inf,
            scales_set=False,
            guarded=False,
            stage_starts=[*self.stage_starts, len(self.curve)],
        )

    def run_epoch(self, settings, X, *, shuffled):
        """Make one pass over the training samples and note its statistic.

        Raises
        ------
        ValueError
            If the coefficients overflow, or if the losses of a fit diverge.
        """
        state = self.state
        if self.averages_stall and self.rule.n_stalled == 0:
            state.restart_average()
        if shuffled:
            shuffle(self.visits, self.seed)
            if self.visits is not self.rows:
                # A refinement begins with evenly spaced rows of this order.
                shuffle(self.rows, self.seed)
        rows = self._trained(self.visits)
        size = settings.n_gradients * settings.batch_size
        if size == 1:
            iterations = rows[:, np.newaxis]
        else:
            iterations = group(rows, self.strata, len(self.stratum_factors), size)
        self.n_iterations += len(iterations)
        if not self.scales_set:
            self.scales_set = start_scales(
                settings,
                state,
                self.units,
                X,
                self.y,
                self.visit_weight,
                self.strata,
                iterations,
            )

        # Estimator checks of scikit-learn fit plain SGD where it diverges.
        guarded = self.guarded and not settings.plain_sgd
        if guarded and self.largest_loss is None:
            self.largest_loss = DIVERGED * self._first_loss(settings, X)

        if state.records is not None:
            run_pass, data = csr.run_pass, (X.data, X.indices, X.indptr)
        else:
            run_pass = dense.run_pass
            data = (self.units.center, self.units.inverse_scale, X)
        objective, n_residuals, n_clipped = run_pass(
            settings,
            state,
            *data,
            self.y,
            self.visit_weight,
            self.strata,
            iterations,
            self.losses,
        )
        if state.decay < SMALLEST_DECAY:
            state.decay = 1.0
        if not state.is_finite():
            raise ValueError(
                "Floating-point under-/overflow occurred at epoch"
                f" #{len(self.curve) + 1}. Scaling input data with StandardScaler or"
                " MinMaxScaler might help."
            )

        losses = self.losses[self.training_rows()]
        if guarded:
            self._check_divergence(settings, losses)
        if self.robust:
            objective = self.median_objective(settings, losses)
        elif settings.tracks_location:
            objective += penalty(settings, state)
        self.objective = objective
        self.curve.append(self.statistic(settings, objective))
        self.clip_curve.append(n_clipped / n_residuals if n_residuals else 0.0)

    def _typical_loss(self, losses):
        return median(losses, None) if self.robust else losses.mean()

    def _first_loss(self, settings, X):
        """The larger loss of a constant and of where the fit begins."""
        rows, state = self.training_rows(), self.state
        y = self.y[rows].astype(np.float64)
        constant = np.zeros(len(y))
        if settings.tracks_residuals:
            constant += median(y, None)
        predictions = [constant]
        if state.coef.any() or not settings.fit_intercept:
            coef = state.coef
            predictions.append(self.units.predict(X, coef, state.intercept)[rows])
        losses = (
            settings.evaluate(y, prediction, state.residual_scale)[0]
            for prediction in predictions
        )
        return max(map(self._typical_loss, losses))

    def _check_divergence(self, settings, losses):
        loss = self._typical_loss(losses)
        if not loss > self.largest_loss > 0:
            return
        raise ValueError(
            f"The fit diverges: in epoch #{len(self.curve) + 1} the "
            f"{'median' if self.robust else 'mean'} loss is {loss:.3g}, "
            f"{loss / self.largest_loss * DIVERGED:.0e} times that of a constant. The "
            f"steps are too long. Lower eta0={settings.eta0:.3g}, leave it 'auto', or "
            "choose a learning_rate whose steps shrink, such as 'invscaling'."
        )

    def median_objective(self, settings, losses):
        """Median of the losses of the training rows, plus the penalty."""
        weight = self.loss_weight
        if weight is not None:
            weight = weight[self.training_rows()]
        return median(losses, weight) + penalty(settings, self.state)

    def statistic(self, settings, objective):
        """What the stopping rule watches."""
        if self.held_out is None:
            return objective
        return self.held_out.statistic(settings, self.state, self.units)


def as_columns(curves):
    """Curves side by side; a problem that has stopped keeps its last value."""
    if len(curves) == 1:
        return np.array(curves[0])
    length = max(map(len, curves))
    return np.array([curve + curve[-1:] * (length - len(curve)) for curve in curves]).T
