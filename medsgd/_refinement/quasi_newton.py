"""L-BFGS for a smooth function plus an L1 penalty.

SciPy's L-BFGS-B makes calls to BLAS and LAPACK so small that starting their threads
takes most of the time, and has no L1 penalty. The latter is treated as in Andrew and
Gao, "Scalable Training of L1-Regularized Log-Linear Models", ICML 2007, so that
coefficients become 0 exactly.
"""

import numpy as np

MEMORY = 8
# Numbers up to which BLAS takes an inner product on one thread.
ONE_THREAD = 10_000
# Part of the decrease that a step promises and has to make.
SUFFICIENT = 1e-4
MOST_HALVINGS = 30


def inner(a, b):
    """Return an inner product, computed on one thread."""
    return float(a.dot(b) if len(a) <= ONE_THREAD else np.einsum("i,i->", a, b))


def minimise(function, start, *, l1=0.0, tol, max_iter, watch=None, memory=None):
    """Minimise ``value(x) + sum(l1 * abs(x))``.

    Parameters
    ----------
    function : callable
        Returns value and gradient, a new array, at x.
    start : ndarray of shape (n,)
    l1 : float or ndarray of shape (n,), default=0.0
    tol : float
        The decrease of an iteration below which it is the last; with an L1 penalty that
        of two in a row.
    max_iter : int
    watch : callable or None
        Called with x and the penalised value after each iteration, after the last call
        of ``function`` at that x; returns whether to stop.
    memory : list or None
        Curvature pairs of another minimisation of nearly the same function. At the end
        it holds those of this one.

    Returns
    -------
    x : ndarray of shape (n,)
    converged : bool
    """
    l1 = np.broadcast_to(l1, start.shape)
    penalised = bool(l1.any())
    x = start
    value, gradient = function(x)
    value += inner(l1, np.abs(x)) if penalised else 0.0
    steps: list = list(memory or [])
    n_small = 0
    for _ in range(max_iter):
        slope = _steepest(x, gradient, l1) if penalised else gradient
        direction = -_times_inverse_hessian(steps, slope)
        if penalised:
            direction[(direction * slope >= 0) & (l1 > 0)] = 0
            orthant = np.where(x == 0, -np.sign(slope), np.sign(x))
        length = 1.0 if steps else 1 / max(np.sqrt(inner(slope, slope)), 1e-300)
        for _ in range(MOST_HALVINGS):
            new = x + length * direction
            if penalised:
                new[(new * orthant < 0) & (l1 > 0)] = 0
            new_value, new_gradient = function(new)
            new_value += inner(l1, np.abs(new)) if penalised else 0.0
            promised = SUFFICIENT * inner(slope, new - x)
            if new_value <= value + promised and promised < 0:
                break
            length /= 2
        else:
            if not steps:
                return x, True
            steps = []  # from steepest descent anew
            continue
        step, change = new - x, new_gradient - gradient
        curvature = inner(step, change)
        if curvature > 1e-10 * inner(change, change):
            steps = [*steps[1 - MEMORY :], (step, change, 1 / curvature)]
            if memory is not None:
                memory[:] = steps
        decrease = value - new_value
        x, value, gradient = new, new_value, new_gradient
        if watch is not None and watch(x, value):
            return x, True
        # With an L1 penalty a step may end where a coefficient becomes 0.
        n_small = n_small + 1 if decrease <= tol else 0
        if n_small > penalised:
            return x, True
    return x, False


def _steepest(x, gradient, l1):
    """Return the least subgradient."""
    at_zero = np.sign(gradient) * np.maximum(np.abs(gradient) - l1, 0)
    return np.where(x == 0, at_zero, gradient + l1 * np.sign(x))


def _times_inverse_hessian(steps, slope):
    """Return the product by the two loops of Nocedal 1980."""
    result, factors, part = slope.copy(), [], np.empty_like(slope)
    for step, change, inverse in reversed(steps):
        factors.append(inverse * inner(step, result))
        result -= np.multiply(factors[-1], change, out=part)
    if steps:
        step, change, inverse = steps[-1]
        result /= inverse * inner(change, change)
    for (step, change, inverse), factor in zip(steps, reversed(factors), strict=True):
        factor -= inverse * inner(change, result)
        result += np.multiply(factor, step, out=part)
    return result
