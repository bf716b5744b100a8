"""The epochs of one call of fit or partial_fit."""

import copy
import threading
import time
from contextlib import contextmanager, nullcontext
from functools import partial

import numpy as np
from joblib import effective_n_jobs
from sklearn.utils.parallel import Parallel, delayed

from medsgd._utils.compat import has_callbacks


class Training:
    """Runs stages of epochs, with what is shown and called between epochs.

    Attributes
    ----------
    unit : str
        What an epoch is called.
    n_epochs : int
        Epochs so far, of all stages.
    converged : bool
        Whether the stopping rule has ended each stage.
    interrupted : bool
        Whether a callback has asked to stop.
    guarded : bool
        Whether losses that diverge are an error.
    abandoned : Event
        Set where nobody waits for the result any more.
    """

    unit = "epoch"

    def __init__(self, estimator, X, y, *, metadata=None, context=None, guarded=False):
        self.estimator, self.X, self.y = estimator, X, y
        self.metadata = metadata
        self.guarded = guarded
        self.context = context if context and has_callbacks(context) else None
        self.start = time.perf_counter()
        self.n_epochs = 0
        self.converged = True
        self.interrupted = False
        self.abandoned = threading.Event()

    def run_new(self, makers, settings, max_epochs, *, adaptive):
        """Make problems and run them; what has a size of n_samples is let go.

        Several problems run one after the other, or as many at a time as there are
        jobs, so that the memory for them does not grow with their number. Where
        somebody watches the epochs they run side by side.
        """
        makers = [partial(self._made, make) for make in makers]
        if len(makers) == 1 or self.context is not None or self.estimator.verbose:
            problems = [make() for make in makers]
            self.run(problems, settings, max_epochs, adaptive=adaptive)
            return problems

        def run_one(make):
            training, problem = copy.copy(self), make()
            training.run([problem], settings, max_epochs, adaptive=adaptive)
            problem.release()
            return training, problem

        n_jobs = self.estimator.n_jobs
        if effective_n_jobs(n_jobs) == 1:
            results = [run_one(make) for make in makers]
        else:
            try:
                results = Parallel(n_jobs=n_jobs, require="sharedmem")(
                    delayed(run_one)(make) for make in makers
                )
            except BaseException:
                # Neither a failure of one thread nor Ctrl-C reaches the others.
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
        """Epochs until every problem has stopped, or ``max_epochs``."""
        estimator = self.estimator
        pool = nullcontext()
        if len(problems) > 1 and effective_n_jobs(estimator.n_jobs) > 1:
            pool = Parallel(n_jobs=estimator.n_jobs, require="sharedmem")
        with pool as parallel:
            for _ in range(max_epochs):
                if self.abandoned.is_set():
                    break
                active = [problem for problem in problems if not problem.stopped]
                with self.epoch(problems):
                    self._run_epoch(active, settings, parallel)
                    for problem in active:
                        problem.check_progress(adaptive=adaptive)
                        if estimator.verbose:
                            self._report(problem)
                if self.interrupted or all(problem.stopped for problem in problems):
                    break
        converged = all(problem.stopped for problem in problems)
        self.converged &= converged
        if estimator.verbose and converged:
            print(
                f"Convergence after {self.n_epochs} {self.unit}s took "
                f"{self._seconds():.2f} seconds"
            )

    def note_iteration(self, problems):
        """Count an iteration that is no pass; whether a callback has asked to stop."""
        with self.epoch(problems):
            if self.estimator.verbose:
                for problem in problems:
                    self._report(problem)
        return self.interrupted

    def _seconds(self):
        return time.perf_counter() - self.start

    def _run_epoch(self, active, settings, parallel):
        shuffled = self.estimator.shuffle
        if parallel is None:
            for problem in active:
                problem.run_epoch(settings, self.X, shuffled=shuffled)
        else:
            parallel(
                delayed(problem.run_epoch)(settings, self.X, shuffled=shuffled)
                for problem in active
            )

    @contextmanager
    def epoch(self, problems):
        """Count an epoch, and tell callbacks of it."""
        self.n_epochs += 1
        if self.estimator.verbose:
            print(f"-- {self.unit.capitalize()} {self.n_epochs}")
        if self.context is None:
            yield
            return
        estimator = self.estimator
        told = {"estimator": estimator, "X": self.X, "y": self.y}
        task = self.context.subcontext(task_name=self.unit)
        task.call_on_fit_task_begin(**told, metadata=self.metadata)
        yield
        self.interrupted |= task.call_on_fit_task_end(
            **told,
            metadata=self.metadata,
            reconstruction_attributes=lambda: estimator._solution(
                [problem.state for problem in problems], estimator._units
            ),
        )

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
        """Print where a pass of an exact step has led."""
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
