"""The middle box: from an iteration's gradients to the location that they track."""

from cython cimport floating
from libc.math cimport INFINITY, exp, sqrt

from medsgd._core.medians cimport Gradients, location_of
from medsgd._core.settings cimport SPP_L1, SPP_L2, Settings
from medsgd._core.spp cimport Clipping, l2_factor, step_share, tracking_rate
from medsgd._core.vector cimport follow, spp_l1, squared_distance


cdef inline double follow_l2(
    Settings cfg, const floating* x, const Gradients* g, Py_ssize_t i, Py_ssize_t d,
    floating* m, floating* s, double* n_updates, Clipping* clipping,
) noexcept nogil:
    """One SPP step for the l2 norm; the factor applied to g - m is returned."""
    cdef double scale = g.scale[i], intercept = g.intercept[i]
    cdef double residual, factor, running_scale = s[0]
    residual = sqrt(
        squared_distance(scale, x, m, d) + (intercept - m[d]) * (intercept - m[d])
    )
    factor = l2_factor(
        cfg, residual, g.sample_weight[i], g.weight[i], &running_scale, n_updates,
        clipping,
    )
    s[0] = <floating>running_scale
    if factor > 0:
        follow(factor, scale, x, m, d)
        if factor == 1:
            m[d] = <floating>intercept
        else:
            m[d] += <floating>(factor * (intercept - m[d]))
    return factor


cdef inline void follow_l1(
    Settings cfg, const floating* x, const Gradients* g, Py_ssize_t i, Py_ssize_t d,
    floating* m, floating* s, double* n_updates, Clipping* clipping,
) noexcept nogil:
    """One SPP step for the l1 norm, the intercept as one more coordinate."""
    cdef double weight = g.weight[i], keep = step_share(cfg, g.sample_weight[i])
    cdef double rate, up, down
    cdef floating one = 1
    cdef Py_ssize_t j, n_seen = 0
    n_updates[0] += 1
    rate = tracking_rate(n_updates[0], g.sample_weight[i])
    up, down = exp(0.5 * rate), exp(-0.5 * rate)
    for j in range(d):
        n_seen += x[j] != 0
    clipping.n_residuals += n_seen
    clipping.n_clipped += spp_l1(
        keep, cfg.tau * weight, cfg.c_tau * weight, up, down,
        g.scale[i], x, m, s if cfg.c_tau > 0 else NULL, d,
    )
    if cfg.fit_intercept:
        clipping.n_residuals += 1
        clipping.n_clipped += spp_l1(
            keep, cfg.tau * weight, cfg.c_tau * weight, up, down,
            g.intercept[i], &one, &m[d], &s[d] if cfg.c_tau > 0 else NULL, 1,
        )


cdef inline void estimate(
    Settings cfg, const floating** x, const Gradients* g, double total_weight,
    Py_ssize_t d, floating* m, floating* s, double* n_updates,
    floating* room, floating* scratch, Clipping* clipping,
    double* step_weight, double* result_scale, const floating** result_x,
    double* result_intercept,
) noexcept nogil:
    """Bring the location m up to date with the gradients of one iteration.

    A median of all gradients is not scaled by the weight of the last ones: there it
    multiplies the step. An average is of gradients times their weights.

    The location is returned as (scale * x, intercept). Where it is a gradient, that is
    the gradient's own scalar and row: nothing is rounded, and without memory
    (cfg.tracks_location false) m is not needed.
    """
    cdef Py_ssize_t i, last = g.n - 1
    cdef double factor = 1
    cdef bint proximal = (
        cfg.gradient_estimator == SPP_L1 or cfg.gradient_estimator == SPP_L2
    )
    step_weight[0] = total_weight
    if proximal and cfg.tau < INFINITY:
        for i in range(g.n):
            if cfg.gradient_estimator == SPP_L2:
                factor = follow_l2(cfg, x[i], g, i, d, m, s, n_updates, clipping)
            else:
                factor = 0
                follow_l1(cfg, x[i], g, i, d, m, s, n_updates, clipping)
        result_scale[0], result_x[0] = g.scale[last], x[last]
        result_intercept[0] = g.intercept[last]
    else:
        if proximal or g.n == 1:
            result_scale[0], result_x[0] = g.scale[last], x[last]
            result_intercept[0] = g.intercept[last]
        else:
            result_intercept[0] = location_of(
                cfg.gradient_estimator, x, g, d, room, scratch
            )
            result_scale[0], result_x[0] = 1, room
        if cfg.tracks_location:
            factor = 1 - cfg.momentum
            if proximal:
                total_weight = g.sample_weight[last]
                for i in range(last):
                    follow(factor, g.sample_weight[i] * g.scale[i], x[i], m, d)
                    m[d] += <floating>(
                        factor * (g.sample_weight[i] * g.intercept[i] - m[d])
                    )
            result_scale[0] *= total_weight
            result_intercept[0] *= total_weight
            step_weight[0] = 1
            follow(factor, result_scale[0], result_x[0], m, d)
            m[d] += <floating>(factor * (result_intercept[0] - m[d]))
            if factor == 1:
                m[d] = <floating>result_intercept[0]
    if factor < 1:
        result_scale[0], result_x[0], result_intercept[0] = 1, m, m[d]
