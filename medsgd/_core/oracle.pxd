"""A sample's gradient as a scalar: the derivative of the loss in the prediction."""

from libc.math cimport INFINITY, fabs, pow

from medsgd._core.losses cimport BISQUARE, HINGE, loss_derivative, loss_value
from medsgd._core.settings cimport MEAN, NO_PENALTY, PA1, PA2, Settings, loss_unit
from medsgd._core.spp cimport Clipping, Rate, set_rate, track_scale
from medsgd._core.steps cimport Frame, penalty_value


cdef struct Oracle:
    # What the samples of a pass change: the running scale of the residuals, and for
    # the mean of gradients the sum of loss + penalty.
    double residual_scale
    double objective
    Rate rate


cdef inline bint passive_aggressive(Settings cfg) noexcept nogil:
    return cfg.learning_rate == PA1 or cfg.learning_rate == PA2


cdef inline double leverage_weight(Settings cfg, double squared_norm) noexcept nogil:
    """min(1, limit / |z|^2)^power for a standardised row z."""
    if squared_norm <= cfg.leverage_limit:
        return 1
    return pow(cfg.leverage_limit / squared_norm, cfg.leverage_power)


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


cdef inline double respond(
    Settings cfg, Oracle* oracle, const Frame* frame, Clipping* clipping,
    double y, double p, double weight, double eta, double squared_norm, double* loss,
) noexcept nogil:
    """The derivative at a prediction; the sample's loss goes to ``loss``."""
    cdef double epsilon, derivative
    if cfg.tracks_residuals:
        # 0.674... is the median of |z| for a standard normal z. The rate is slow enough
        # for the scale to vary by a few percent, and fast enough to follow a fit.
        set_rate(&oracle.rate, min(1.0, 0.01 * max(0.0, weight)))
        oracle.residual_scale = min(
            track_scale(
                oracle.residual_scale, fabs(p - y) / 0.6744897501960817, &oracle.rate
            ),
            cfg.largest_residual_scale,
        )
    epsilon = cfg.epsilon
    if cfg.c_epsilon > 0:
        epsilon = cfg.c_epsilon * oracle.residual_scale
    loss[0] = loss_unit(cfg, epsilon) * loss_value(cfg.loss, epsilon, y, p)
    if cfg.gradient_estimator == MEAN:
        oracle.objective += loss[0]
        if (
            cfg.penalty != NO_PENALTY and not cfg.tracks_location
            and not passive_aggressive(cfg)
        ):
            oracle.objective += penalty_value(cfg, frame)
    if passive_aggressive(cfg):
        return passive_aggressive_derivative(cfg, epsilon, y, p, squared_norm)
    derivative = sample_derivative(cfg, epsilon, y, p)
    if cfg.gradient_estimator == MEAN and cfg.loss == BISQUARE:
        clipping.n_residuals += 1
        clipping.n_clipped += derivative == 0
    if cfg.overshoot < INFINITY:
        return without_overshoot(cfg, derivative, eta * weight, squared_norm)
    return derivative
