"""A sample's gradient as a scalar: the derivative of the loss in the prediction."""

from medsgd._core.losses cimport HINGE, loss_derivative, loss_value
from medsgd._core.settings cimport MEAN, PA1, Settings


cdef inline double sample_derivative(Settings cfg, double y, double p) noexcept nogil:
    """loss'(y, p), bounded so that enormous values stay comparable."""
    cdef double derivative = loss_derivative(cfg.loss, cfg.epsilon, y, p)
    if derivative > cfg.largest_derivative:
        return cfg.largest_derivative
    if derivative < -cfg.largest_derivative:
        return -cfg.largest_derivative
    if derivative != derivative and cfg.gradient_estimator != MEAN:
        # The prediction overflowed both ways: such a sample has no say in a median.
        return 0
    return derivative


cdef inline double passive_aggressive_derivative(
    Settings cfg, double y, double p, double squared_norm
) noexcept nogil:
    """The derivative that makes a step of size 1 the update of Crammer et al. 2006."""
    cdef double step = loss_value(cfg.loss, cfg.epsilon, y, p)
    if cfg.learning_rate == PA1:
        step = min(cfg.eta0, step / squared_norm)
    else:
        step = step / (squared_norm + 0.5 / cfg.eta0)
    if cfg.loss == HINGE:
        return -step * y
    return -step if y >= p else step
