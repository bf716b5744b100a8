"""Losses of a linear model: value and derivative in the prediction.

A loss is one branch here, and its row in the table of losses.pyx holds its properties.
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


cdef inline double evaluate_loss(
    Loss loss, double epsilon, double y, double p, double* derivative
) noexcept nogil:
    """Return a loss's value at a prediction p; set ``derivative`` to that in p."""
    cdef double z
    if loss == SQUARED_ERROR:
        derivative[0] = p - y
        return 0.5 * (p - y) * (p - y)
    elif loss == LOG_LOSS:
        z = y * p
        derivative[0] = -y / (1 + exp(z))
        return log1p(exp(-z)) if z > 0 else log1p(exp(z)) - z
    elif loss == HUBER:
        derivative[0] = min(max(p - y, -epsilon), epsilon)
        z = fabs(p - y)
        return 0.5 * z * z if z <= epsilon else epsilon * (z - 0.5 * epsilon)
    elif loss == EPSILON_INSENSITIVE:
        z = p - y
        derivative[0] = 1 if z > epsilon else (-1 if z < -epsilon else 0)
        return max(0.0, fabs(z) - epsilon)
    elif loss == SQUARED_EPSILON_INSENSITIVE:
        z = p - y
        derivative[0] = 0
        if not fabs(z) <= epsilon:
            derivative[0] = 2 * (z - epsilon) if z > 0 else 2 * (z + epsilon)
        z = max(0.0, fabs(z) - epsilon)
        return z * z
    elif loss == HINGE:
        derivative[0] = -y if y * p <= epsilon else 0
        return max(0.0, epsilon - y * p)
    elif loss == SQUARED_HINGE:
        z = max(0.0, epsilon - y * p)
        derivative[0] = -2 * y * z if z > 0 else 0
        return z * z
    elif loss == BISQUARE:  # Beaton and Tukey, Technometrics 1974; z^2 / 2 near 0
        z = 0 if fabs(p - y) >= epsilon else 1 - ((p - y) / epsilon) ** 2
        derivative[0] = (p - y) * z * z if fabs(p - y) < epsilon else 0
        return epsilon * epsilon / 6 * (1 - z * z * z)
    else:  # MODIFIED_HUBER
        z = y * p
        if z < -1:
            derivative[0] = -4 * y
            return -4 * z
        derivative[0] = -2 * y * (1 - z) if z < 1 else 0
        return (1 - z) * (1 - z) if z < 1 else 0
