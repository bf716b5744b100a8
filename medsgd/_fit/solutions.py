"""Coefficients and intercepts between states and the attributes of an estimator."""

import numpy as np
from scipy import sparse

from medsgd._utils.guards import checked


def as_given(init, shape, dtype, name):
    """Return a caller's coefficients or intercepts, one row or element a problem.

    Raises
    ------
    ValueError
        If they have another shape or are no finite numbers.
    """
    if sparse.issparse(init):
        init = checked(init, name).toarray()
    try:
        if np.iscomplexobj(init):
            raise ValueError("complex numbers")
        with np.errstate(over="ignore"):
            array = np.asarray(init, dtype=dtype)
    except (ValueError, TypeError) as error:
        raise ValueError(f"Provided {name} must be real numbers: {error}.") from error
    if shape[0] == 1 and (len(shape) == 2 or array.ndim == 0):
        # SGD takes the same shapes for one problem.
        array = array.reshape((1, -1)[: len(shape)])
    if array.shape != shape:
        raise ValueError(
            f"Provided {name} does not match dataset. Expected shape {shape}, got "
            f"{array.shape}."
        )
    if not np.isfinite(array).all():
        raise ValueError(f"Provided {name} must be finite in {dtype}.")
    return array


def start(units, coef, intercept, dtype):
    """Return coefficients and intercept in the user's units as fields of a state."""
    coef, intercept = units.from_user(coef, intercept)
    return {"coef": np.array(coef, dtype=dtype), "intercept": float(intercept)}


def solutions(states, units):
    """Return coefficients and intercepts in the user's units, a row for each state.

    Raises
    ------
    ValueError
        If they are too large for the dtype.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        found = [units.to_user(*state.solution()) for state in states]
    return as_attributes(found, states[0].dtype)


def as_attributes(solutions, dtype):
    """Return coefficients and intercepts in the user's units, in a dtype.

    Raises
    ------
    ValueError
        If they are too large for the dtype.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        coef = np.array([coef for coef, _ in solutions], dtype=dtype)
        intercept = np.array([intercept for _, intercept in solutions], dtype=dtype)
    if not (np.isfinite(coef).all() and np.isfinite(intercept).all()):
        raise ValueError(
            f"Coefficients in the units of X are too large for {dtype}. Divide X and y "
            "by their scales."
        )
    return coef, intercept
