"""The gradient estimator: from an iteration's gradients to their location."""

from cython cimport floating
from libc.math cimport INFINITY, sqrt

from medsgd._core.lazy cimport (
    Lazy, lazy_follow, lazy_follow_l1, lazy_follow_l2, support_of,
)
from medsgd._core.medians cimport Gradients, location_of
from medsgd._core.settings cimport EstimatorSettings
from medsgd._core.spp cimport (
    Clipping, Rate, l2_factor, set_rate, step_share, tracking_rate,
)
from medsgd._core.vector cimport follow, spp_l1, squared_distance


cdef struct Estimate:
    # The location that an iteration leaves: ``multiple`` times a row, and an intercept.
    # The parameters' step is ``step_weight`` times that.
    double multiple
    double intercept
    double step_weight
    bint is_gradient  # of this iteration, or their location; else the one tracked


cdef struct Dense:
    # The location of a stratum over dense rows, its numbers floating as the rows' are.
    void* m               # of n_features + 1, the intercept's last
    void* s               # running median of |g - m|: of the norm or by coordinate
    Py_ssize_t n_features
    double n_updates      # of s
    double squared_norm   # of m, features only


# Where a location is kept. The rows of a lazy one are double.
ctypedef fused Tracked:
    Dense
    Lazy


cdef inline double distance(
    const Dense* dense, const floating* x, const Gradients* g, Py_ssize_t i
) noexcept nogil:
    """Return |g_i - m|, by the inner products that are known unless they cancel."""
    cdef const floating* m = <const floating*>dense.m
    cdef Py_ssize_t d = dense.n_features
    cdef double gap = g.intercept[i] - m[d], multiple = g.multiple[i], total, squared
    if g.has_inner:
        total = multiple * multiple * g.squared_norm[i] + dense.squared_norm
        squared = total - 2 * multiple * g.inner
        if squared >= 0.01 * total:  # else too many digits have cancelled
            return sqrt(squared + gap * gap)
    return sqrt(squared_distance(multiple, x, m, d) + gap * gap)


cdef inline void dense_follow(
    Dense* dense, double factor, double multiple, double intercept, const floating* x
) noexcept nogil:
    """Set m += factor (g - m), where g = (multiple * x, intercept)."""
    cdef floating* m = <floating*>dense.m
    cdef Py_ssize_t d = dense.n_features
    dense.squared_norm = follow(factor, multiple, x, m, d)
    if factor == 1:
        m[d] = <floating>intercept
    else:
        m[d] += <floating>(factor * (intercept - m[d]))


cdef inline double dense_follow_l2(
    EstimatorSettings cfg, Dense* dense, const Gradients* g, Py_ssize_t i,
    const floating* x, Rate* rate, Clipping* clipping,
) noexcept nogil:
    """Make an SPP step for the l2 norm; return the factor applied to g - m."""
    cdef floating* s = <floating*>dense.s
    cdef double factor, running_scale = s[0], residual = 0
    if cfg.tau < INFINITY:
        residual = distance(dense, x, g, i)
    factor = l2_factor(
        cfg, residual, dense.squared_norm, g.sample_weight[i], g.weight[i],
        &running_scale, &dense.n_updates, rate, clipping,
    )
    s[0] = <floating>running_scale
    if factor > 0:
        dense_follow(dense, factor, g.multiple[i], g.intercept[i], x)
    return factor


cdef inline void dense_follow_l1(
    EstimatorSettings cfg, Dense* dense, const Gradients* g, Py_ssize_t i,
    const floating* x, Rate* rate, Clipping* clipping,
) noexcept nogil:
    """Make an SPP step for the l1 norm, with the intercept as one more coordinate."""
    cdef floating* m = <floating*>dense.m
    cdef floating* s = <floating*>dense.s
    cdef Py_ssize_t d = dense.n_features
    cdef double weight = g.weight[i], keep = step_share(cfg, g.sample_weight[i])
    cdef floating one = 1
    dense.n_updates += 1
    set_rate(rate, tracking_rate(dense.n_updates, g.sample_weight[i]))
    spp_l1(
        keep, cfg.tau * weight, cfg.c_tau * weight, rate.factor[1], rate.factor[0],
        g.multiple[i], x, m, s if cfg.c_tau > 0 else NULL, d,
        &clipping.n_residuals, &clipping.n_clipped,
    )
    if cfg.fit_intercept:
        spp_l1(
            keep, cfg.tau * weight, cfg.c_tau * weight, rate.factor[1], rate.factor[0],
            g.intercept[i], &one, &m[d], &s[d] if cfg.c_tau > 0 else NULL, 1,
            &clipping.n_residuals, &clipping.n_clipped,
        )


cdef inline double follow_gradients(
    EstimatorSettings cfg, Tracked* tracked, const floating** x, const Gradients* g,
    Rate* rate, Clipping* clipping,
) noexcept nogil:
    """Make SPP steps for all gradients; return the factor applied to the last g - m.

    The factor is 0 if it differs by coordinate.
    """
    cdef Py_ssize_t i
    cdef double factor = 0
    for i in range(g.n):
        # Without a radius the norm does not matter.
        if not cfg.by_coordinate or cfg.tau == INFINITY:
            if Tracked is Lazy:
                factor = lazy_follow_l2(
                    cfg, tracked, g, i, <const double*>x[i], rate, clipping
                )
            else:
                factor = dense_follow_l2(cfg, tracked, g, i, x[i], rate, clipping)
        elif Tracked is Lazy:
            lazy_follow_l1(cfg, tracked, g, i, <const double*>x[i], rate, clipping)
        else:
            dense_follow_l1(cfg, tracked, g, i, x[i], rate, clipping)
    return factor


cdef inline const floating* location_of_gradients(
    EstimatorSettings cfg, Tracked* tracked, const floating** x, const Gradients* g,
    floating* room, Estimate* result,
) noexcept nogil:
    """Return the row of the mean or median of the iteration's gradients."""
    cdef Py_ssize_t n
    if Tracked is Lazy:
        n = support_of(tracked, g.n - 1).n
    else:
        n = tracked.n_features
    result.intercept = location_of(cfg.gradient_estimator, x, g, n, room, room + n)
    result.multiple = 1
    return room


cdef inline double average(
    EstimatorSettings cfg, Tracked* tracked, const floating* row, const Gradients* g,
    Estimate* result,
) noexcept nogil:
    """Move the tracked location towards the iteration's location; return the factor.

    The iteration's weight multiplies the iteration's location. If the weight multiplied
    the step, it would also multiply the part of earlier iterations.
    """
    cdef double factor = 1 - cfg.momentum
    result.multiple *= result.step_weight
    result.intercept *= result.step_weight
    result.step_weight = 1
    if Tracked is Lazy:
        lazy_follow(
            tracked, factor, result.multiple, result.intercept, <const double*>row,
            support_of(tracked, g.n - 1), g.has_inner,
        )
    else:
        dense_follow(tracked, factor, result.multiple, result.intercept, row)
    return factor


cdef inline void set_gradient(
    const Gradients* g, double total_weight, Estimate* result
) noexcept nogil:
    """Let the location be the last gradient."""
    result.multiple, result.intercept = g.multiple[g.n - 1], g.intercept[g.n - 1]
    result.step_weight, result.is_gradient = total_weight, True


cdef inline const floating* estimate(
    EstimatorSettings cfg, Tracked* tracked, const floating** x, const Gradients* g,
    double total_weight, floating* room, Rate* rate, Clipping* clipping,
    Estimate* result,
) noexcept nogil:
    """Bring a location up to date with the gradients of one iteration.

    The location is a scalar, in ``result``, times the row that is returned. Where the
    location is a gradient, these are the gradient's scalar and row: nothing is rounded,
    and without memory (cfg.tracks_location false) no location is stored. A lazy
    location that is not a gradient has no row.

    ``total_weight``, the weight of the iteration's samples, multiplies the step along a
    location of SPP, which earlier iterations share.
    """
    cdef double factor = 1
    cdef const floating* row
    if not cfg.tracks_location and (cfg.proximal or g.n == 1):
        # Compilers inline this case, so that plain SGD calls no function.
        set_gradient(g, total_weight, result)
        return x[g.n - 1]
    set_gradient(g, total_weight, result)
    row = x[g.n - 1]
    if not cfg.proximal and g.n > 1:
        row = location_of_gradients(cfg, tracked, x, g, room, result)
    if cfg.tracks_location:
        if cfg.proximal:
            factor = follow_gradients(cfg, tracked, x, g, rate, clipping)
        else:
            factor = average(cfg, tracked, row, g, result)
    if factor < 1:
        result.is_gradient, result.multiple = False, 1
        if Tracked is Lazy:
            result.intercept = tracked.strata[tracked.k].intercept
        else:
            row = <const floating*>tracked.m
            result.intercept = row[tracked.n_features]
    return row
