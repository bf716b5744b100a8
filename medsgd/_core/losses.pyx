"""The losses by name, and over whole arrays."""

from cython cimport floating

import numpy as np

# name: (code, the loss's parameter where the estimator's epsilon does not set it)
REGRESSION_LOSSES = {
    "squared_error": (SQUARED_ERROR, 0.0),
    "huber": (HUBER, None),
    "epsilon_insensitive": (EPSILON_INSENSITIVE, None),
    "squared_epsilon_insensitive": (SQUARED_EPSILON_INSENSITIVE, None),
    "bisquare": (BISQUARE, None),
}
CLASSIFICATION_LOSSES = {
    "hinge": (HINGE, 1.0),
    "squared_hinge": (SQUARED_HINGE, 1.0),
    "perceptron": (HINGE, 0.0),
    "log_loss": (LOG_LOSS, 0.0),
    "modified_huber": (MODIFIED_HUBER, 0.0),
    **{name: row for name, row in REGRESSION_LOSSES.items() if name != "bisquare"},
}


def evaluate(Loss loss, double epsilon, const floating[::1] y, const double[::1] p):
    """Values and derivatives of a loss at targets y and predictions p."""
    cdef Py_ssize_t i, n = y.shape[0]
    if p.shape[0] != n:
        raise ValueError(f"{n} targets, but {p.shape[0]} predictions")
    value = np.empty(n)
    derivative = np.empty(n)
    cdef double[::1] v = value, d = derivative
    for i in range(n):
        v[i] = loss_value(loss, epsilon, y[i], p[i])
        d[i] = loss_derivative(loss, epsilon, y[i], p[i])
    return value, derivative
