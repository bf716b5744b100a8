"""A sample's gradient as a scalar: the derivative of the loss in the prediction."""

from libc.math cimport INFINITY, copysign, fabs, pow

from medsgd._core.losses cimport evaluate_loss
from medsgd._core.settings cimport PA1, Settings, loss_unit
from medsgd._core.spp cimport Clipping, Rate, set_rate, track_scale
from medsgd._core.steps cimport Frame, penalty_value


cdef struct Oracle:
    # Numbers that the samples of a pass change: the running scale of the residuals, and
    # for the mean of gradients the sum of loss + penalty.
    double residual_scale
    double objective
    Rate rate


cdef struct Sample:
    # The numbers of a sample, without its row, for the oracle.
    double y
    double prediction
    double weight
    double leverage      # its weight by the row's distance
    double squared_norm  # of the row


cdef inline double leverage_weight(Settings cfg, double squared_norm) noexcept nogil:
    """Return min(1, limit / |z|^2)^power for a standardised row z."""
    if squared_norm <= cfg.leverage_limit:
        return 1
    return pow(cfg.leverage_limit / squared_norm, cfg.leverage_power)


cdef inline double bounded(Settings cfg, double derivative) noexcept nogil:
    """Return the derivative, bounded so that enormous values stay finite."""
    if derivative > cfg.largest_derivative:
        return cfg.largest_derivative
    if derivative < -cfg.largest_derivative:
        return -cfg.largest_derivative
    if derivative != derivative and cfg.median:
        # The prediction overflowed both ways: the sample gets no influence on a median.
        return 0
    return derivative


cdef inline double without_overshoot(
    Settings cfg, double derivative, double step, double squared_norm
) noexcept nogil:
    """Return the derivative, reduced if a step would overshoot the target.

    A step, which includes the sample's weight, moves the sample's own prediction by
    step (1 + |x|^2) derivative.
    """
    cdef double reach = step * (1 + squared_norm)
    return derivative if reach <= cfg.overshoot else derivative * cfg.overshoot / reach


cdef inline double passive_aggressive_derivative(
    Settings cfg, double loss, double derivative, double squared_norm
) noexcept nogil:
    """Return the derivative with which a step of 1 is that of Crammer et al. 2006."""
    cdef double step
    if cfg.learning_rate == PA1:
        step = min(cfg.eta0, loss / squared_norm)
    else:
        step = loss / (squared_norm + 0.5 / cfg.eta0)
    return copysign(step, derivative)


cdef inline void observe(
    Settings cfg, Oracle* oracle, double residual, double weight
) noexcept nogil:
    """Move the running scale of the residuals by one residual."""
    # 0.674... is the median of |z| for a standard normal z. The rate is slow enough
    # for the scale to vary by a few percent, and fast enough to follow a fit.
    set_rate(&oracle.rate, min(1.0, 0.01 * max(0.0, weight)))
    oracle.residual_scale = min(
        track_scale(
            oracle.residual_scale, fabs(residual) / 0.6744897501960817, &oracle.rate
        ),
        cfg.largest_residual_scale,
    )


cdef inline double respond(
    Settings cfg, Oracle* oracle, const Frame* frame, Clipping* clipping,
    const Sample* sample, double eta, double* loss,
) noexcept nogil:
    """Return the derivative at a prediction; set ``loss`` to the sample's loss."""
    cdef double y = sample.y, p = sample.prediction
    cdef double epsilon = cfg.epsilon, value, derivative, unit
    if cfg.tracks_residuals:
        observe(cfg, oracle, p - y, sample.weight)
    if cfg.c_epsilon > 0:
        epsilon = cfg.c_epsilon * oracle.residual_scale
    unit = loss_unit(cfg, epsilon)
    value = evaluate_loss(cfg.loss, epsilon, y, p, &derivative)
    loss[0] = unit * value
    if cfg.median:
        return bounded(cfg, unit * derivative)
    oracle.objective += loss[0]
    if cfg.sums_penalty:
        oracle.objective += penalty_value(cfg, frame)
    if cfg.passive_aggressive:
        return passive_aggressive_derivative(
            cfg, value, derivative, sample.squared_norm
        )
    derivative = bounded(cfg, unit * derivative)
    if cfg.redescending:
        clipping.n_residuals += 1
        clipping.n_clipped += derivative == 0
    if cfg.overshoot < INFINITY:
        return without_overshoot(
            cfg, derivative, eta * sample.weight, sample.squared_norm
        )
    return derivative
