"""The middle box: from an iteration's gradients to the location that they track."""

from cython cimport floating
from libc.math cimport INFINITY, sqrt

from medsgd._core.medians cimport Gradients, location_of
from medsgd._core.settings cimport EstimatorSettings, Settings
from medsgd._core.spp cimport (
    Clipping, Rate, l2_factor, set_rate, step_share, tracking_rate,
)
from medsgd._core.vector cimport follow, spp_l1, squared_distance


cdef struct Location:
    # The location that an iteration leaves, times a row; the step is to be multiplied
    # by step_weight.
    double scale
    double intercept
    double step_weight


cdef inline void complete(Settings cfg, Gradients* g, Py_ssize_t i) noexcept nogil:
    """Make a gradient of its samples' sum, weighted where they are a batch."""
    if cfg.batch_size > 1:
        g.scale[i] = 0
        if g.weight[i] != 0:
            g.scale[i] = 1 / g.weight[i]
            g.intercept[i] /= g.weight[i]
        g.sample_weight[i] /= cfg.batch_size
        g.weight[i] /= cfg.batch_size
    if not cfg.fit_intercept:
        g.intercept[i] = 0


cdef struct Memory:
    # Of a stratum: number of updates of its scale; |m|^2, features only.
    double n_updates
    double squared_norm


cdef inline double distance(
    const floating* x, const Gradients* g, Py_ssize_t i, Py_ssize_t d,
    const floating* m, const Memory* memory,
) noexcept nogil:
    """|g_i - m|, by the inner products that are known unless they cancel."""
    cdef double gap = g.intercept[i] - m[d], scale = g.scale[i], total, squared
    if g.has_inner:
        total = scale * scale * g.squared_norm[i] + memory.squared_norm
        squared = total - 2 * scale * g.inner
        if squared >= 0.01 * total:  # else too many digits have cancelled
            return sqrt(squared + gap * gap)
    return sqrt(squared_distance(scale, x, m, d) + gap * gap)


cdef inline double follow_l2(
    EstimatorSettings cfg, const floating* x, const Gradients* g, Py_ssize_t i,
    Py_ssize_t d, floating* m, floating* s, Memory* memory, Rate* rate,
    Clipping* clipping,
) noexcept nogil:
    """One SPP step for the l2 norm; the factor applied to g - m is returned."""
    cdef double factor, running_scale = s[0], residual = 0
    if cfg.tau < INFINITY:
        residual = distance(x, g, i, d, m, memory)
    factor = l2_factor(
        cfg, residual, memory.squared_norm, g.sample_weight[i], g.weight[i],
        &running_scale, &memory.n_updates, rate, clipping,
    )
    s[0] = <floating>running_scale
    if factor > 0:
        memory.squared_norm = follow(factor, g.scale[i], x, m, d)
        if factor == 1:
            m[d] = <floating>g.intercept[i]
        else:
            m[d] += <floating>(factor * (g.intercept[i] - m[d]))
    return factor


cdef inline void follow_l1(
    EstimatorSettings cfg, const floating* x, const Gradients* g, Py_ssize_t i,
    Py_ssize_t d, floating* m, floating* s, Memory* memory, Rate* rate,
    Clipping* clipping,
) noexcept nogil:
    """One SPP step for the l1 norm, the intercept as one more coordinate."""
    cdef double weight = g.weight[i], keep = step_share(cfg, g.sample_weight[i])
    cdef floating one = 1
    memory.n_updates += 1
    set_rate(rate, tracking_rate(memory.n_updates, g.sample_weight[i]))
    spp_l1(
        keep, cfg.tau * weight, cfg.c_tau * weight, rate.factor[1], rate.factor[0],
        g.scale[i], x, m, s if cfg.c_tau > 0 else NULL, d,
        &clipping.n_residuals, &clipping.n_clipped,
    )
    if cfg.fit_intercept:
        spp_l1(
            keep, cfg.tau * weight, cfg.c_tau * weight, rate.factor[1], rate.factor[0],
            g.intercept[i], &one, &m[d], &s[d] if cfg.c_tau > 0 else NULL, 1,
            &clipping.n_residuals, &clipping.n_clipped,
        )


cdef inline const floating* estimate(
    EstimatorSettings cfg, const floating** x, const Gradients* g, double total_weight,
    Py_ssize_t d, floating* m, floating* s, Memory* memory, Rate* rate,
    floating* out, floating* room, Clipping* clipping, Location* result,
) noexcept nogil:
    """Bring the location m up to date with the gradients of one iteration.

    The location of all gradients is not scaled by the weight of the last ones, which
    multiplies the step. An average of means or medians of iterations is of these times
    their weights.

    The location is returned as a scalar, in ``result``, times a row. Where it is a
    gradient, that is the gradient's own scalar and row: nothing is rounded, and without
    memory (cfg.tracks_location false) m is not needed.
    """
    cdef Py_ssize_t i, last = g.n - 1
    cdef double factor = 1
    cdef const floating* row = x[last]
    result.step_weight = total_weight
    result.scale, result.intercept = g.scale[last], g.intercept[last]
    if cfg.proximal and cfg.tracks_location:
        for i in range(g.n):
            # Without a radius the norm does not matter.
            if not cfg.by_coordinate or cfg.tau == INFINITY:
                factor = follow_l2(cfg, x[i], g, i, d, m, s, memory, rate, clipping)
            else:
                factor = 0
                follow_l1(cfg, x[i], g, i, d, m, s, memory, rate, clipping)
    else:
        if not cfg.proximal and g.n > 1:
            result.intercept = location_of(cfg.gradient_estimator, x, g, d, out, room)
            result.scale, row = 1, out
        if cfg.tracks_location:
            factor = 1 - cfg.momentum
            result.scale *= total_weight
            result.intercept *= total_weight
            result.step_weight = 1
            follow(factor, result.scale, row, m, d)
            m[d] += <floating>(factor * (result.intercept - m[d]))
            if factor == 1:
                m[d] = <floating>result.intercept
    if factor < 1:
        result.scale, result.intercept, row = 1, m[d], m
    return row
