"""Callbacks of scikit-learn: calls for a fit and for its epochs."""

from contextlib import contextmanager


class Callbacks:
    """The callbacks of one call of fit.

    Parameters
    ----------
    estimator : BaseEstimator
    max_subtasks : int
        Epochs that the fit may take.
    sample_weight : array-like or None
        As the user gave them.
    attributes : callable
        From problems to the fitted attributes with which the estimator could predict.

    Attributes
    ----------
    interrupted : bool
        Whether a callback has asked to stop.
    """

    def __init__(self, estimator, max_subtasks, sample_weight, attributes):
        self._context = estimator._init_callback_context(max_subtasks=max_subtasks)
        metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        self._told = {"estimator": estimator, "metadata": metadata}
        self._attributes = attributes
        self.interrupted = False

    def __bool__(self):
        """Whether there are callbacks."""
        return bool(self._context._callbacks)

    def begin(self, X, y):
        """Call the callbacks at the beginning of the fit."""
        self._told |= {"X": X, "y": y}
        self._context.call_on_fit_task_begin(**self._told)

    def end(self):
        """Call the callbacks at the end of the fit."""
        self._context.call_on_fit_task_end(**self._told, reconstruction_attributes={})

    @contextmanager
    def epoch(self, name, problems):
        """Call the callbacks at the beginning and at the end of an epoch."""
        task = self._context.subcontext(task_name=name)
        task.call_on_fit_task_begin(**self._told)
        yield
        self.interrupted |= task.call_on_fit_task_end(
            **self._told,
            reconstruction_attributes=lambda: self._attributes(problems),
        )
