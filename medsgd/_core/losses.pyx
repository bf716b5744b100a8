"""The losses by name with their properties, and over whole arrays."""

from typing import NamedTuple

from cython cimport floating

import numpy as np


class LossProperties(NamedTuple):
    """A row of the table of losses.

    Attributes
    ----------
    code : int
        Member of the enum that compiled code reads.
    parameter : float or None
        Parameter of the loss; None where it is the estimator's ``epsilon``.
    c_epsilon : float
        Scales of the residuals that ``epsilon="auto"`` means.
    degree : int
        Degree of the loss in the unit of the targets: if y, p and epsilon are
        multiplied by a > 0, the loss is multiplied by a ** degree.
    redescending : bool
        Whether the derivative is 0 for residuals beyond epsilon, so that the loss
        rejects outliers. Epsilon then always follows the scale of the residuals.
    """

    code: int
    parameter: float | None = None
    c_epsilon: float = 0.0
    degree: int = 2
    redescending: bool = False


# Smola, Murata, Schoelkopf and Mueller, ICANN 1998: the most efficient insensitivity
# for normal noise.
_INSENSITIVITY = 0.612
REGRESSION_LOSSES = {
    "squared_error": LossProperties(SQUARED_ERROR, 0.0),
    # Huber 1964: 95% efficient where the noise is normal.
    "huber": LossProperties(HUBER, c_epsilon=1.345),
    "epsilon_insensitive": LossProperties(
        EPSILON_INSENSITIVE, c_epsilon=_INSENSITIVITY, degree=1
    ),
    "squared_epsilon_insensitive": LossProperties(
        SQUARED_EPSILON_INSENSITIVE, c_epsilon=_INSENSITIVITY
    ),
    # Beaton and Tukey 1974: 95% efficient where the noise is normal.
    "bisquare": LossProperties(BISQUARE, c_epsilon=4.685, redescending=True),
}
CLASSIFICATION_LOSSES = {
    "log_loss": LossProperties(LOG_LOSS, 0.0),
    "hinge": LossProperties(HINGE, 1.0),
    "modified_huber": LossProperties(MODIFIED_HUBER, 0.0),
    "squared_hinge": LossProperties(SQUARED_HINGE, 1.0),
    "perceptron": LossProperties(HINGE, 0.0),
    # Residuals from labels have no scale that could set epsilon.
    **{
        name: loss for name, loss in REGRESSION_LOSSES.items() if not loss.redescending
    },
}


def evaluate(Loss loss, double epsilon, const floating[::1] y, const double[::1] p):
    """Return values and derivatives of a loss at targets y and predictions p."""
    cdef Py_ssize_t i, n = y.shape[0]
    if p.shape[0] != n:
        raise ValueError(f"{n} targets, but {p.shape[0]} predictions")
    value = np.empty(n)
    derivative = np.empty(n)
    cdef double[::1] v = value, d = derivative
    for i in range(n):
        v[i] = evaluate_loss(loss, epsilon, y[i], p[i], &d[i])
    return value, derivative
