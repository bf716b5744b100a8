"""The epochs of a fit: the problems of which it consists, and the loop over them."""

import copy
import threading
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from joblib import effective_n_jobs
from scipy.sparse import issparse
from sklearn.utils.parallel import Parallel, delayed

import medsgd._core.dense as dense
import medsgd._core.sparse as csr
from medsgd._core.order import group, shuffle
from medsgd._fit.data import Data
from medsgd._fit.scales import median, start_scales
from medsgd._fit.state import State
from medsgd._fit.stopping import HeldOut, StoppingRule, exact_share, penalty

SMALLEST_ADAPTIVE_ETA = 1e-6
# At this decay scikit-learn multiplies the coefficients by it.
SMALLEST_DECAY = 1e-9
# A fit has diverged if its loss is so many times that of a constant and of its start.
DIVERGED = 1e4


@dataclass(kw_only=True)
class Progress:
    """Progress of a problem, and the rule that ends it.

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
    """Data and state of one binary classifier or regressor, from epoch to epoch.

    Attributes are those of ``Progress``, and these.

    Attributes
    ----------
    data : Data
        Rows, with targets and weights of this problem.
    strata : ndarray of shape (n_samples,) of uint8, or None
        The class of each sample, if each class has a location.
    stratum_factors : ndarray of shape (n_strata,)
        Factors of the frequencies of the strata: the class weights.
    rows : ndarray of intp
        Samples with a weight, in the order of the last pass.
    seed : int
        Seed of every shuffle.
    watches_median : bool
        Whether the stopping statistic is the median of the losses, not their mean.
    held_out : HeldOut or None
        Samples that set the stopping statistic, if not the training samples.
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

    data: Data
    strata: np.ndarray | None
    stratum_factors: np.ndarray
    rows: np.ndarray
    seed: int
    watches_median: bool
    held_out: HeldOut | None = None
    visit_unit: float = np.inf
    scales_set: bool = False
    guarded: bool = False

    def __post_init__(self):
        weight = self.data.weight
        self.losses = np.zeros(len(weight))
        self.largest_loss = None
        self.loss_weight = self.visit_weight = weight
        self.visits = self.rows
        count = np.rint(weight / self.visit_unit)
        if count.max(initial=0) > 1:
            count = np.maximum(count, 1).astype(np.intp)
            self.visits = np.repeat(self.rows, count[self.rows])
            self.visit_weight = (weight / count).astype(self.data.y.dtype)
        rows = self.training_rows()
        if self.strata is not None:
            self.loss_weight = weight * self.stratum_factors[self.strata]
        if np.all(self.loss_weight[rows] == self.loss_weight[rows[:1]]):
            self.loss_weight = None

    def count_strata(self):
        """Add the weight of the rows to that of each stratum in the state."""
        rows, factors = self.training_rows(), self.stratum_factors
        self.state.stratum_weight += np.bincount(
            self.strata[rows], self.data.weight[rows], minlength=len(factors)
        )
        self.state.share_strata(factors)

    def training_rows(self):
        """Return the rows with a weight that are not held out."""
        return self._trained(self.rows)

    def _trained(self, rows):
        held_out = self.data.held_out
        return rows if held_out is None else rows[~held_out[rows]]

    def release(self):
        """Drop the references to the samples."""
        self.data = self.loss_weight = self.strata = None
        self.visits = self.visit_weight = None
        self.rows = self.losses = self.held_out = None

    def next_stage(self, state, rows):
        """Return the problem of a refinement that continues this one."""
        return replace(
            self,
            state=state,
            rows=rows,
            strata=None,
            stratum_factors=np.ones(1),
            watches_median=True,
            averages_stall=True,
            stopped=False,
            visit_unit=np.inf,
            scales_set=False,
            guarded=False,
            stage_starts=[*self.stage_starts, len(self.curve)],
        )

    def run_epoch(self, settings, *, shuffled):
        """Make one pass over the training samples and record its statistic.

        Raises
        ------
        ValueError
            If the coefficients overflow, or if the losses of a fit diverge.
        """
        state, data = self.state, self.data
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
            visited = replace(data, weight=self.visit_weight)
            self.scales_set = start_scales(
                settings, state, visited, self.strata, iterations
            )

        # scikit-learn's estimator checks fit plain SGD that diverges.
        guarded = self.guarded and not settings.plain_sgd
        if guarded and self.largest_loss is None:
            self.largest_loss = DIVERGED * self._first_loss(settings)

        if state.records is not None:
            run_pass = csr.run_pass
            arrays = data.X.data, data.X.indices, data.X.indptr
        else:
            run_pass = dense.run_pass
            arrays = data.units.center, data.units.inverse_scale, data.X
        objective, n_residuals, n_clipped = run_pass(
            settings,
            state,
            *arrays,
            data.y,
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
        if self.watches_median:
            objective = self.median_objective(settings, losses)
        elif settings.tracks_location:
            objective += penalty(settings, state)
        self.objective = objective
        self.curve.append(self.statistic(settings, objective))
        self.clip_curve.append(n_clipped / n_residuals if n_residuals else 0.0)

    def _typical_loss(self, losses):
        return median(losses, None) if self.watches_median else losses.mean()

    def _first_loss(self, settings):
        """Return the larger loss of a constant and of the start of the fit."""
        rows, state, data = self.training_rows(), self.state, self.data
        y = data.y[rows].astype(np.float64)
        constant = np.zeros(len(y))
        if settings.tracks_residuals:
            constant += median(y, None)
        predictions = [constant]
        if state.coef.any() or not settings.fit_intercept:
            coef = state.coef
            predictions.append(data.units.predict(data.X, coef, state.intercept)[rows])
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
            f"{'median' if self.watches_median else 'mean'} loss is {loss:.3g}, "
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
        """Return the statistic that the stopping rule watches."""
        if self.held_out is None:
            return objective
        return self.held_out.statistic(settings, self.state, self.data.units)


def new_problem(
    plan,
    data,
    state,
    seed,
    settings,
    *,
    strata=None,
    stratum_factors=(1.0,),
    typical_factor=1.0,
):
    """Return a problem ready for its first epoch in this call."""
    factors = np.asarray(stratum_factors, dtype=np.float64)
    held_out = None
    if data.held_out is not None:
        weight = data.weight[data.held_out]
        if strata is not None:
            weight = weight * factors[strata[data.held_out]]
        held_out = HeldOut(
            data.held_out_X,
            data.y[data.held_out],
            weight,
            classification=plan.task.is_classification,
            watches_median=plan.watches_median,
        )
    problem = Problem(
        data=data,
        strata=strata,
        stratum_factors=factors,
        state=state.prepared(
            settings,
            n_strata=len(factors),
            inverse_scale=data.units.inverse_scale if issparse(data.X) else None,
        ),
        rows=data.rows.copy(),
        seed=seed,
        watches_median=plan.watches_median,
        rule=plan.stopping_rule(
            len(data.rows),
            settings,
            relative=plan.watches_median,
            exact=exact_share(data.X.dtype),
        ),
        held_out=held_out,
        visit_unit=typical_factor if plan.repeats_rows else np.inf,
    )
    if strata is not None:
        problem.count_strata()
    return problem


def as_columns(curves):
    """Return curves as columns; a problem that has stopped keeps its last value."""
    if len(curves) == 1:
        return np.array(curves[0])
    length = max(map(len, curves))
    return np.array([curve + curve[-1:] * (length - len(curve)) for curve in curves]).T


class Training:
    """Stages of epochs, with reports and callbacks between epochs.

    Attributes
    ----------
    unit : str
        Name of an epoch.
    n_epochs : int
        Epochs so far, of all stages.
    converged : bool
        Whether the stopping rule has ended each stage.
    guarded : bool
        Whether losses that diverge are an error.
    abandoned : Event
        Set if the result will not be used.
    """

    unit = "epoch"

    def __init__(self, plan, *, callbacks=None, guarded=False):
        self.plan, self.callbacks = plan, callbacks
        self.guarded = guarded
        self.start = time.perf_counter()
        self.n_epochs = 0
        self.converged = True
        self.abandoned = threading.Event()

    @property
    def interrupted(self):
        """Whether a callback has asked to stop."""
        return bool(self.callbacks) and self.callbacks.interrupted

    def run_new(self, makers, settings, max_epochs, *, adaptive):
        """Make problems and run them, and drop their arrays of n_samples.

        Several problems run one after the other, or as many at a time as there are
        jobs, so that the memory for them does not grow with their number. With
        callbacks or ``verbose``, problems advance in lockstep.
        """
        makers = [partial(self._made, make) for make in makers]
        if len(makers) == 1 or self.callbacks or self.plan.verbose:
            problems = [make() for make in makers]
            self.run(problems, settings, max_epochs, adaptive=adaptive)
            return problems

        def run_one(make):
            training, problem = copy.copy(self), make()
            training.run([problem], settings, max_epochs, adaptive=adaptive)
            problem.release()
            return training, problem

        n_jobs = self.plan.n_jobs
        if effective_n_jobs(n_jobs) == 1:
            results = [run_one(make) for make in makers]
        else:
            try:
                results = Parallel(n_jobs=n_jobs, require="sharedmem")(
                    delayed(run_one)(make) for make in makers
                )
            except BaseException:
                # Other threads get neither the failure of a thread nor Ctrl-C.
                self.abandoned.set()
                raise
        trainings, problems = zip(*results, strict=True)
        self.n_epochs = max(training.n_epochs for training in trainings)
        self.converged = all(training.converged for training in trainings)
        return list(problems)

    def _made(self, make):
        problem = make()
        problem.guarded = self.guarded
        return problem

    def run(self, problems, settings, max_epochs, *, adaptive):
        """Run epochs until every problem has stopped, or ``max_epochs``."""
        pool, n_jobs = nullcontext(), self.plan.n_jobs
        if len(problems) > 1 and effective_n_jobs(n_jobs) > 1:
            pool = Parallel(n_jobs=n_jobs, require="sharedmem")
        with pool as parallel:
            for _ in range(max_epochs):
                if self.abandoned.is_set():
                    break
                active = [problem for problem in problems if not problem.stopped]
                with self.epoch(problems):
                    self._run_epoch(active, settings, parallel)
                    for problem in active:
                        problem.check_progress(adaptive=adaptive)
                        if self.plan.verbose:
                            self._report(problem)
                if self.interrupted or all(problem.stopped for problem in problems):
                    break
        converged = all(problem.stopped for problem in problems)
        self.converged &= converged
        if self.plan.verbose and converged:
            print(
                f"Convergence after {self.n_epochs} {self.unit}s took "
                f"{self._seconds():.2f} seconds"
            )

    def note_iteration(self, problems):
        """Count an iteration that is no pass; return whether a callback stops it."""
        with self.epoch(problems):
            if self.plan.verbose:
                for problem in problems:
                    self._report(problem)
        return self.interrupted

    def _seconds(self):
        return time.perf_counter() - self.start

    def _run_epoch(self, active, settings, parallel):
        shuffled = self.plan.shuffle
        if parallel is None:
            for problem in active:
                problem.run_epoch(settings, shuffled=shuffled)
        else:
            parallel(
                delayed(problem.run_epoch)(settings, shuffled=shuffled)
                for problem in active
            )

    @contextmanager
    def epoch(self, problems):
        """Count an epoch, and call the callbacks."""
        self.n_epochs += 1
        if self.plan.verbose:
            print(f"-- {self.unit.capitalize()} {self.n_epochs}")
        if not self.callbacks:
            yield
            return
        with self.callbacks.epoch(self.unit, problems):
            yield

    def _report(self, problem):
        state = problem.state
        losses = problem.losses[problem.training_rows()]
        held_out = ""
        if problem.held_out is not None:
            held_out = (
                f", Validation score: {problem.held_out.score(problem.curve[-1]):f}"
            )
        print(
            f"Norm: {np.linalg.norm(state.coef):.2f}, "
            f"NNZs: {np.count_nonzero(state.coef)}, Bias: {state.intercept:.6f}, "
            f"T: {problem.n_iterations}, Avg. loss: {losses.mean():f}, "
            f"Objective: {problem.objective:f}{held_out}"
        )
        self._report_time()

    def report_pass(self, problem, progress):
        """Print the result of a pass of an exact step."""
        coef = problem.state.coef
        print(
            f"{progress.stage}: Norm: {np.linalg.norm(coef):.2f}, "
            f"NNZs: {np.count_nonzero(coef)}, Bias: {problem.state.intercept:.6f}, "
            f"Scale: {problem.state.residual_scale:f}, "
            f"Rejected: {progress.rejected:.1%}, Objective: {problem.objective:f}"
        )
        self._report_time()

    def _report_time(self):
        print(f"Total training time: {self._seconds():.2f} seconds.")
