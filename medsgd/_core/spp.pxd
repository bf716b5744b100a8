"""The stochastic proximal point method for norms: m = g + prox_{tau D}(m - g).

Schaipp et al., "Tracking the Median of Gradients with a Stochastic Proximal Point
Method", arXiv 2402.12828, section 3. With momentum mu > 0 the norm D is replaced by its
Huber function. The l1 update, coordinate by coordinate, is ``spp_l1`` in vector.h.
"""

from libc.math cimport INFINITY, exp, pow


cdef inline double clip_factor(
    double residual, double radius, double keep
) noexcept nogil:
    """min(keep, radius / residual), the step along g - m; keep is 1 - momentum."""
    # An infinite radius keeps infinite residuals; a finite one cannot reach them.
    return keep if keep * residual <= radius else radius / residual


cdef inline double tracking_rate(double n_updates, double weight) noexcept nogil:
    """gamma_t of the scale tracker: fast at first, then following drifts."""
    # t^-0.6 reaches the floor of 0.05 at t = 147.4.
    cdef double rate = 0.05 if n_updates > 147 else pow(n_updates, -0.6)
    return min(1.0, rate * weight)


cdef inline double track_scale(
    double scale, double residual, double rate
) noexcept nogil:
    """Move a running median of residuals one multiplicative step."""
    if residual == 0 or (scale == 0 and residual == INFINITY):
        return scale
    if scale == 0:
        return residual
    return scale * exp(0.5 * rate if residual > scale else -0.5 * rate)
