"""Losses of a linear model: value and derivative in the prediction.

A loss is one row of the table in losses.pyx and one branch in each function here.
Classes are coded y = -1 and y = +1; ``epsilon`` is the loss's own parameter, for the
bisquare the residual from which on it is constant.
"""

from libc.math cimport exp, fabs, log1p


cdef enum Loss:
    SQUARED_ERROR
    HUBER
    EPSILON_INSENSITIVE
    SQUARED_EPSILON_INSENSITIVE
    HINGE
    SQUARED_HINGE
    LOG_LOSS
    MODIFIED_HUBER
    BISQUARE


cdef inline double loss_value(
    Loss loss, double epsilon, double y, double p
) noexcept nogil:
    cdef double z
    if loss == SQUARED_ERROR:
        return 0.5 * (p - y) * (p - y)
    elif loss == LOG_LOSS:
        z = y * p
        return log1p(exp(-z)) if z > 0 else log1p(exp(z)) - z
    elif loss == HUBER:
        z = fabs(p - y)
        return 0.5 * z * z if z <= epsilon else epsilon * (z - 0.5 * epsilon)
    elif loss == EPSILON_INSENSITIVE:
        return max(0.0, fabs(y - p) - epsilon)
    elif loss == SQUARED_EPSILON_INSENSITIVE:
        z = max(0.0, fabs(y - p) - epsilon)
        return z * z
    elif loss == HINGE:
        return max(0.0, epsilon - y * p)
    elif loss == SQUARED_HINGE:
        z = max(0.0, epsilon - y * p)
        return z * z
    elif loss == BISQUARE:  # Beaton and Tukey, Technometrics 1974; z^2 / 2 near 0
        z = 0 if fabs(p - y) >= epsilon else 1 - ((p - y) / epsilon) ** 2
        return epsilon * epsilon / 6 * (1 - z * z * z)
    else:  # MODIFIED_HUBER
        z = y * p
        if z < -1:
            return -4 * z
        return (1 - z) * (1 - z) if z < 1 else 0


cdef inline double loss_derivative(
    Loss loss, double epsilon, double y, double p
) noexcept nogil:
    cdef double z
    if loss == SQUARED_ERROR:
        return p - y
    elif loss == LOG_LOSS:
        return -y / (1 + exp(y * p))
    elif loss == HUBER:
        z = p - y
        return min(max(z, -epsilon), epsilon)
    elif loss == EPSILON_INSENSITIVE:
        z = p - y
        return 1 if z > epsilon else (-1 if z < -epsilon else 0)
    elif loss == SQUARED_EPSILON_INSENSITIVE:
        z = p - y
        if fabs(z) <= epsilon:
            return 0
        return 2 * (z - epsilon) if z > 0 else 2 * (z + epsilon)
    elif loss == HINGE:
        return -y if y * p <= epsilon else 0
    elif loss == SQUARED_HINGE:
        z = epsilon - y * p
        return -2 * y * z if z > 0 else 0
    elif loss == BISQUARE:
        z = (p - y) / epsilon
        return (p - y) * (1 - z * z) * (1 - z * z) if fabs(p - y) < epsilon else 0
    else:  # MODIFIED_HUBER
        z = y * p
        if z < -1:
            return -4 * y
        return -2 * y * (1 - z) if z < 1 else 0
