"""The stochastic proximal point method for norms: m = g + prox_{tau D}(m - g).

Schaipp et al., "Tracking the Median of Gradients with a Stochastic Proximal Point
Method", arXiv 2402.12828, section 3. With momentum mu > 0 the norm D is replaced by its
Huber function. The l1 update, coordinate by coordinate, is ``spp_l1`` in vector.h.
"""

from libc.math cimport INFINITY, exp, pow

from medsgd._core.settings cimport EstimatorSettings


cdef struct Clipping:
    # Residuals measured, and those beyond their radius.
    double n_residuals
    double n_clipped


cdef struct Rate:
    # exp(-value / 2) and exp(value / 2) of a value that rarely changes.
    double value
    double factor[2]


cdef inline void set_rate(Rate* rate, double value) noexcept nogil:
    if value != rate.value:
        rate.value = value
        rate.factor[0], rate.factor[1] = exp(-0.5 * value), exp(0.5 * value)


cdef inline double step_share(
    EstimatorSettings cfg, double sample_weight
) noexcept nogil:
    """Share of g - m by which a gradient of this weight moves m without clipping.

    A weight of k acts as k updates by the same gradient. If the parameters step by k
    times m, the share is that of the proximal point of k times the Huber function. A
    gradient then adds k times itself to the sum of all steps, for any momentum.
    """
    cdef double share = 1 - cfg.momentum
    if sample_weight == 1 or cfg.momentum == 0:
        return share
    if cfg.steps_follow:
        return share * sample_weight / (share * sample_weight + cfg.momentum)
    return 1 - pow(cfg.momentum, sample_weight)


cdef inline double clip_factor(
    double residual, double radius, double keep
) noexcept nogil:
    """min(keep, radius / residual), the step along g - m; keep is 1 - momentum."""
    # An infinite radius clips nothing. Infinity times a weight of 0 is NaN, and clips
    # nothing.
    return radius / residual if keep * residual > radius else keep


cdef inline double tracking_rate(double n_updates, double weight) noexcept nogil:
    """gamma_t of the scale tracker: large at first, then constant to follow drifts."""
    # t^-0.6 reaches the floor of 0.05 at t = 147.4.
    cdef double rate = 0.05 if n_updates > 147 else pow(n_updates, -0.6)
    return min(1.0, rate * weight)


cdef inline double track_scale(
    double scale, double residual, const Rate* rate
) noexcept nogil:
    """Move a running median of residuals one multiplicative step."""
    if not residual > 0 or (scale == 0 and residual == INFINITY):
        return scale
    if scale == 0:
        return residual
    # A branch would be mispredicted half of the time.
    return scale * rate.factor[residual > scale]


cdef inline double l2_factor(
    EstimatorSettings cfg, double residual, double squared_norm, double sample_weight,
    double weight, double* s, double* n_updates, Rate* rate, Clipping* clipping,
) noexcept nogil:
    """Factor on g - m of an SPP step for the l2 norm, from |g - m| and |m|^2."""
    cdef double radius, factor, keep = step_share(cfg, sample_weight)
    # A residual that may be rounding of |m|^2 counts as 0, so that dense and sparse
    # rows agree on whether it is 0.
    if residual * residual <= 1e-12 * squared_norm < INFINITY:
        residual = 0
    n_updates[0] += 1
    if cfg.c_tau > 0:
        set_rate(rate, tracking_rate(n_updates[0], sample_weight))
        s[0] = track_scale(s[0], residual, rate)
        radius = cfg.c_tau * s[0] * weight
    else:
        radius = cfg.tau * weight
    factor = clip_factor(residual, radius, keep)
    clipping.n_residuals += 1
    clipping.n_clipped += factor < keep
    return factor
