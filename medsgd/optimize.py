"""Stochastic gradient descent on any function, along the location of its gradients."""

import copy
import inspect
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from scipy.optimize import OptimizeResult

from medsgd._core.settings import GRADIENT_ESTIMATORS
from medsgd._utils.compat import (
    HasMethods,
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from medsgd._utils.docs import fill, options
from medsgd._utils.typing import Auto
from medsgd.gradient_estimators import BY_NAME, GradientEstimatorName

__all__ = ["minimize_stochastic"]

# Gradients that begin a running scale, which one gradient alone should not set.
_N_FIRST = 25
# A run has failed if it ends with so many iterations without a finite gradient.
_N_STUCK = 20
_DONE, _OVERFLOW, _NO_GRADIENT, _STOPPED = 0, 1, 2, 99
_MESSAGES = {
    _DONE: "All iterations were made.",
    _OVERFLOW: "The iterate overflowed: decrease eta0.",
    _NO_GRADIENT: "No gradient was finite any more: decrease eta0, or look at grad.",
    _STOPPED: "`callback` raised `StopIteration`.",
}


_CONSTRAINTS = {
    "grad": [callable],
    "x0": ["array-like"],
    "gradient_estimator": [StrOptions(set(BY_NAME)), HasMethods("update")],
    "n_gradients": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "learning_rate": [StrOptions({"constant", "invscaling"}), callable],
    "eta0": [Interval(Real, 0, None, closed="neither")],
    "power_t": [Interval(Real, None, None, closed="neither")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "average": ["boolean", Interval(Integral, 0, None, closed="left")],
    "callback": [callable, None],
}


class HasUpdate(Protocol):
    """An estimator of the location of gradients."""

    def update(self, gradients: npt.NDArray[Any], /) -> Any: ...


@fill(
    {
        "gradient_estimator": "gradient_estimator : "
        f"{options(BY_NAME)} or object, default='spp-l2'"
    }
)
def minimize_stochastic(
    grad: Callable[[npt.NDArray[np.float64], np.random.Generator], npt.ArrayLike],
    x0: npt.ArrayLike,
    *,
    gradient_estimator: GradientEstimatorName | HasUpdate = "spp-l2",
    n_gradients: int | Auto = "auto",
    learning_rate: Literal["constant", "invscaling"]
    | Callable[[int], float] = "invscaling",
    eta0: float = 0.01,
    power_t: float = 0.25,
    max_iter: int = 1000,
    average: bool | int = False,
    callback: Callable[..., object] | None = None,
    random_state: Any = None,
) -> OptimizeResult:
    """Minimize a function along a robust location of its stochastic gradients.

    Each iteration draws `n_gradients` gradients at the current x, updates an estimator
    of their location m, and steps: ``x -= eta * m``. With a median as location it
    converges even if gradients have heavy tails or some of them are wrong.

    Parameters
    ----------
    grad : callable
        ``grad(x, rng)`` returns a stochastic gradient at x, of shape (n,). All its
        randomness should come from ``rng``, a :class:`numpy.random.Generator`. It must
        not change x.
    x0 : array-like of shape (n,)
        Where to begin.
    {{gradient_estimator}}
        The location of gradients, or one of :mod:`medsgd.gradient_estimators` with
        parameters of your choice, or any object with such a method ``update``. An
        object is copied and continues from its state.
    n_gradients : 'auto' or int, default='auto'
        Number of gradients drawn in each iteration. 'auto' is 5 for the two sample
        medians, as in [1]_, and 1 otherwise.
    learning_rate : {'constant', 'invscaling'} or callable, default='invscaling'
        The step size of iteration t = 1, 2, ...: `eta0`, or ``eta0 / t**power_t``, or
        the result of the callable for t.
    eta0 : float, default=0.01
        The first step size.
    power_t : float, default=0.25
        Exponent of 'invscaling', by default that of scikit-learn's SGD. For noise
        without variance [1]_ has 0.5.
    max_iter : int, default=1000
        Number of iterations.
    average : bool or int, default=False
        Whether the result is the average of all iterates. An int above 1 begins the
        average at that iteration.
    callback : callable or None, default=None
        Called after each iteration as SciPy does: as
        ``callback(intermediate_result=OptimizeResult)``, with `x`, `nit` and `nfev`, if
        its only parameter has that name, else as ``callback(x)``. With `average`, x is
        the average so far. It may raise ``StopIteration`` to end the run.
    random_state : None, int or anything :func:`numpy.random.default_rng` takes, \
default=None
        Seed of ``rng``. Pass an int for reproducible output.

    Returns
    -------
    result : scipy.optimize.OptimizeResult
        With

        - `x` : ndarray of shape (n,), the last iterate or the average;
        - `success` : whether all iterations were made, with finite gradients at the
          end;
        - `status`, `message` : why the run ended: 0 all iterations were made, 1 the
          iterate overflowed and `x` is what it was before, 2 no gradient of the last 20
          iterations was finite, 99 the callback asked for it;
        - `nit`, `nfev` : numbers of iterations and of calls of `grad`;
        - `n_skipped` : number of gradients left out because they were not finite;
        - `gradient_estimator` : the estimator after the last iteration.

    Raises
    ------
    ValueError
        If a parameter is not valid, `x0` is not finite, a gradient does not have the
        shape of `x0`, or is not finite and the mean is asked for, or the callable for
        the step size returns no finite number.

    See Also
    --------
    medsgd.MedianSGDRegressor : For linear models; it chooses steps and passes itself.

    Notes
    -----
    An iteration whose gradients are all skipped makes no step. For the running scale
    that 'auto' radii need, the first iteration draws at least 25 gradients.

    References
    ----------
    .. [1] F. Schaipp, G. Garrigos, U. Simsekli and R. Gower, "Tracking the Median of
       Gradients with a Stochastic Proximal Point Method", TMLR 2025, arXiv 2402.12828.

    Examples
    --------
    >>> import numpy as np
    >>> from medsgd import minimize_stochastic
    >>> def grad(x, rng):
    ...     return x - [1, 2] + rng.standard_cauchy(2)
    >>> result = minimize_stochastic(
    ...     grad, np.zeros(2), eta0=1, max_iter=10_000, average=1000, random_state=0
    ... )
    >>> result.x.round(1)
    array([1., 2.])
    """
    given = locals()
    validate_parameter_constraints(
        _CONSTRAINTS,
        {name: given[name] for name in _CONSTRAINTS},
        caller_name="minimize_stochastic",
    )
    x = _checked_start(x0)
    estimator = _checked_estimator(gradient_estimator)
    if n_gradients == "auto":
        known = isinstance(estimator, tuple(BY_NAME.values()))
        name = estimator._name if known else "mean"
        n_gradients = GRADIENT_ESTIMATORS[name].n_gradients
    notify = _notifier(callback)
    rng = np.random.default_rng(random_state)
    mean = x
    nit = nfev = n_skipped = n_averaged = n_stuck = 0
    status = _DONE

    for t in range(1, max_iter + 1):
        n_drawn = n_gradients if _has_scale(estimator) else max(n_gradients, _N_FIRST)
        gradients = np.array([_gradient(grad, x, rng) for _ in range(n_drawn)])
        skipped_before = getattr(estimator, "n_skipped_", 0)
        m = estimator.update(gradients)
        skipped = getattr(estimator, "n_skipped_", 0) - skipped_before
        nfev += n_drawn
        n_skipped += skipped
        n_stuck = n_stuck + 1 if skipped == n_drawn else 0
        if n_stuck == 0:
            with np.errstate(over="ignore", invalid="ignore"):
                moved = x - _step_size(learning_rate, eta0, power_t, t) * m
            if not np.isfinite(moved).all():
                status = _OVERFLOW
                break
            x = moved
        nit = t
        if average and t >= average:
            n_averaged += 1
            mean = mean + (x - mean) / n_averaged
        else:
            mean = x
        try:
            notify(OptimizeResult(x=mean.copy(), nit=nit, nfev=nfev))
        except StopIteration:
            status = _STOPPED
            break

    if status == _DONE and n_stuck >= min(nit, _N_STUCK):
        status = _NO_GRADIENT
    return OptimizeResult(
        x=mean,
        success=status == _DONE,
        status=status,
        message=_MESSAGES[status],
        nit=nit,
        nfev=nfev,
        n_skipped=n_skipped,
        gradient_estimator=estimator,
    )


def _checked_start(x0):
    x = np.array(x0)
    numbers = x.dtype.kind in "biuf" and np.isfinite(x).all()
    if not numbers or x.ndim != 1 or x.size == 0:
        raise ValueError(
            f"x0 must be finite numbers of shape (n,), n at least 1; got {x0!r}."
        )
    return x.astype(np.float64)


def _checked_estimator(gradient_estimator):
    if isinstance(gradient_estimator, str):
        return BY_NAME[gradient_estimator]()
    if isinstance(gradient_estimator, type):
        raise ValueError(
            "gradient_estimator must be a name or an instance; got the class "
            f"{gradient_estimator.__name__}. Call it."
        )
    return copy.deepcopy(gradient_estimator)


def _has_scale(estimator):
    return getattr(estimator, "tau", None) != "auto" or hasattr(estimator, "scale_")


def _gradient(grad, x, rng):
    x = x.view()
    x.flags.writeable = False
    gradient = np.array(grad(x, rng))
    if gradient.shape != x.shape:
        raise ValueError(
            f"grad must return an array of the shape of x0, {x.shape}; got "
            f"{gradient.shape}."
        )
    return gradient


def _step_size(learning_rate, eta0, power_t, t):
    if not callable(learning_rate):
        return eta0 if learning_rate == "constant" else eta0 / t**power_t
    eta = learning_rate(t)
    if not (isinstance(eta, Real) and np.isfinite(eta)):
        raise ValueError(f"learning_rate({t}) must be a finite number; got {eta!r}.")
    return eta


def _notifier(callback):
    """Return the callback in the form that its signature asks for, as in SciPy."""
    if callback is None:
        return lambda result: None
    try:
        names = set(inspect.signature(callback).parameters)
    except ValueError:  # of something built in
        names = set()
    if names == {"intermediate_result"}:
        return lambda result: callback(intermediate_result=result)
    return lambda result: callback(result.x)
