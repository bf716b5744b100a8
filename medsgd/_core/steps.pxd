"""From an estimated gradient to parameters: step sizes, decay, running averages."""

from libc.math cimport pow, sqrt

from medsgd._core.settings cimport INVSCALING, OPTIMAL, Settings


# Coefficients in a frame in which a common factor costs nothing. They are decay * u,
# and the sum of the averaged coefficients is sum_scale * u + a, where a compensates for
# steps on u (Bottou, "Stochastic gradient descent tricks", 2012, sections 5.1-5.2).
cdef struct Frame:
    double decay
    double sum_scale
    # Squared l2 and l1 norm of u, or of the coordinates that the last step touched.
    double squared_norm
    double l1_norm


cdef inline bint must_leave(const Frame* frame) noexcept nogil:
    """Whether the decay has become so small that u could overflow."""
    return frame.decay < 1e-6


cdef inline double learning_rate(Settings cfg, double t, double eta) noexcept nogil:
    """Step size of iteration t; ``eta`` where the schedule does not depend on t."""
    if cfg.learning_rate == INVSCALING:
        # The usual powers cost less by sqrt than by pow.
        if cfg.power_t == 0.25:
            return cfg.eta0 / sqrt(sqrt(t))
        if cfg.power_t == 0.5:
            return cfg.eta0 / sqrt(t)
        return cfg.eta0 / pow(t, cfg.power_t)
    if cfg.learning_rate == OPTIMAL:
        return 1 / (cfg.alpha * (cfg.optimal_init + t - 1))
    return eta


cdef inline void decay(Settings cfg, Frame* frame, double eta) noexcept nogil:
    """Shrink by the L2 penalty, never past zero."""
    frame.decay *= max(0.0, 1 - (1 - cfg.l1_ratio) * eta * cfg.penalty_factor)


cdef inline void leave(Frame* frame) noexcept nogil:
    """Note that u has been multiplied by the decay."""
    frame.squared_norm *= frame.decay * frame.decay
    frame.l1_norm *= frame.decay
    frame.decay = 1


cdef inline double penalty_value(Settings cfg, const Frame* frame) noexcept nogil:
    # A norm may be infinite, and 0 times infinity is NaN.
    cdef double value = 0
    if cfg.l1_ratio < 1:
        value += (1 - cfg.l1_ratio) * 0.5 * frame.decay * frame.decay * (
            frame.squared_norm
        )
    if cfg.l1_ratio > 0:
        value += cfg.l1_ratio * frame.decay * frame.l1_norm
    return cfg.penalty_factor * value
