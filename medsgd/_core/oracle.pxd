"""A sample's gradient as a scalar: the derivative of the loss in the prediction."""

from libc.math cimport fabs, pow

from medsgd._core.losses cimport (
    EPSILON_INSENSITIVE, HINGE, loss_derivative, loss_value,
)
from medsgd._core.settings cimport MEAN, PA1, Settings
from medsgd._core.spp cimport track_scale


cdef inline double track_residual_scale(
    Settings cfg, double scale, double y, double p, double weight
) noexcept nogil:
    """Move the normalised running median of |p - y| by one sample."""
    # 0.674... is the median of |z| for a standard normal z. The rate is slow enough for
    # the scale to vary by a few percent, and fast enough to follow a fit.
    scale = track_scale(
        scale, fabs(p - y) / 0.6744897501960817, min(1.0, 0.01 * max(0.0, weight))
    )
    return min(scale, cfg.largest_residual_scale)


cdef inline double threshold(Settings cfg, double residual_scale) noexcept nogil:
    """The loss's own parameter, in the unit of the targets."""
    return cfg.c_epsilon * residual_scale if cfg.c_epsilon > 0 else cfg.epsilon


cdef inline double leverage_weight(Settings cfg, double squared_norm) noexcept nogil:
    """min(1, limit / |z|^2)^power for a standardised row z."""
    if squared_norm <= cfg.leverage_limit:
        return 1
    return pow(cfg.leverage_limit / squared_norm, cfg.leverage_power)


cdef inline double loss_unit(Settings cfg, double epsilon) noexcept nogil:
    """The factor on a loss whose derivative would not scale with the targets."""
    if cfg.loss == EPSILON_INSENSITIVE and cfg.c_epsilon > 0:
        return epsilon / cfg.c_epsilon  # the scale of the residuals
    return 1


cdef inline double sample_loss(
    Settings cfg, double epsilon, double y, double p
) noexcept nogil:
    return loss_unit(cfg, epsilon) * loss_value(cfg.loss, epsilon, y, p)


cdef inline double sample_derivative(
    Settings cfg, double epsilon, double y, double p
) noexcept nogil:
    """loss'(y, p), bounded so that enormous values stay comparable."""
    cdef double derivative = (
        loss_unit(cfg, epsilon) * loss_derivative(cfg.loss, epsilon, y, p)
    )
    if derivative > cfg.largest_derivative:
        return cfg.largest_derivative
    if derivative < -cfg.largest_derivative:
        return -cfg.largest_derivative
    if derivative != derivative and cfg.gradient_estimator != MEAN:
        # The prediction overflowed both ways: such a sample has no say in a median.
        return 0
    return derivative


cdef inline double without_overshoot(
    Settings cfg, double derivative, double step, double squared_norm
) noexcept nogil:
    """The derivative, less where a step would throw the sample's own prediction far.

    A step, the sample's weight in it, moves that by step (1 + |x|^2) derivative.
    """
    cdef double reach = step * (1 + squared_norm)
    return derivative if reach <= cfg.overshoot else derivative * cfg.overshoot / reach


cdef inline double passive_aggressive_derivative(
    Settings cfg, double epsilon, double y, double p, double squared_norm
) noexcept nogil:
    """The derivative that makes a step of size 1 the update of Crammer et al. 2006."""
    cdef double step = loss_value(cfg.loss, epsilon, y, p)
    if cfg.learning_rate == PA1:
        step = min(cfg.eta0, step / squared_norm)
    else:
        step = step / (squared_norm + 0.5 / cfg.eta0)
    if cfg.loss == HINGE:
        return -step * y
    return -step if y >= p else step
