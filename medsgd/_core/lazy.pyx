"""Coordinates that are brought up to date when a sparse row next needs them."""

from libc.math cimport exp, fabs, sqrt

from medsgd._core.medians cimport Gradients
from medsgd._core.settings cimport Settings
from medsgd._core.spp cimport Clipping, l2_factor, step_share, tracking_rate
from medsgd._core.vector cimport spp_l1

# A generation ends here: what cancels between u and drift v is at most its inverse.
cdef double SMALLEST_SHRINK = 1e-3
# A location this much below its last value changes no coefficient in double precision.
cdef double NEGLIGIBLE = 1e-18


cdef double coefficient(const Lazy* lazy, Py_ssize_t j) noexcept nogil:
    """Coefficient over frame.scale of a coordinate that is up to date."""
    cdef double value = lazy.coordinates[j].u
    cdef Py_ssize_t k
    if not lazy.thresholding:
        for k in range(lazy.n_strata):
            value += lazy.strata[k].drift * lazy.coordinates[j].m[k]
    return value


cdef inline void fold_generations(
    Stratum* stratum, Coordinate* c, Py_ssize_t k
) noexcept nogil:
    cdef Py_ssize_t generation = c.seen[k]
    cdef double left = 1
    while generation < stratum.n_seen and c.m[k] != 0:
        c.u += stratum.log[0][generation] * c.m[k]
        c.sums += stratum.log[1][generation] * c.m[k]
        left *= stratum.log[2][generation]
        c.m[k] = 0 if left < NEGLIGIBLE else c.m[k] * stratum.log[2][generation]
        generation += 1
    c.seen[k] = stratum.n_seen


cdef inline void replay_updates(
    Settings cfg, Lazy* lazy, Py_ssize_t j, Py_ssize_t k
) noexcept nogil:
    cdef Stratum* stratum = &lazy.strata[k]
    cdef Coordinate* c = &lazy.coordinates[j]
    cdef Drift* drift = &lazy.drifts[j]
    cdef double steps = drift.steps, weighted_steps = drift.weighted_steps
    cdef double m = c.m[k], negligible = NEGLIGIBLE * fabs(c.m[k]), weight, zero = 0
    cdef Py_ssize_t update = c.seen[k]
    while update < stratum.n_seen and m != 0:
        c.u += stratum.share * m * (stratum.log[0][update] - steps)
        c.sums -= stratum.share * m * (stratum.log[1][update] - weighted_steps)
        steps, weighted_steps = stratum.log[0][update], stratum.log[1][update]
        weight = stratum.log[2][update]
        spp_l1(
            stratum.log[3][update], cfg.tau * weight, cfg.c_tau * weight, 1, 1,
            0, &zero, &m, &drift.s[k] if cfg.c_tau > 0 else NULL, 1,
        )
        if fabs(m) <= negligible:
            m = 0
        update += 1
    c.u += stratum.share * m * (lazy.steps - steps)
    c.sums -= stratum.share * m * (lazy.weighted_steps - weighted_steps)
    c.m[k] = m
    c.seen[k] = stratum.n_seen


cdef void catch_up(Settings cfg, Lazy* lazy, Py_ssize_t j) noexcept nogil:
    """Bring coordinate j up to date."""
    cdef Py_ssize_t k
    for k in range(lazy.n_strata):
        if lazy.thresholding:
            replay_updates(cfg, lazy, j, k)
        else:
            fold_generations(&lazy.strata[k], &lazy.coordinates[j], k)
    if lazy.thresholding:
        lazy.drifts[j].steps = lazy.steps
        lazy.drifts[j].weighted_steps = lazy.weighted_steps


cdef void end_generation(Lazy* lazy, Py_ssize_t k, double shrink) noexcept nogil:
    """Go on with v = shrink * v, shrink = 1 and no drift yet."""
    cdef Stratum* stratum = &lazy.strata[k]
    stratum.log[0][stratum.n_seen] = stratum.drift
    stratum.log[1][stratum.n_seen] = (
        stratum.sum_drift - lazy.frame.sum_scale * stratum.drift
    )
    stratum.log[2][stratum.n_seen] = shrink
    stratum.n_seen += 1
    stratum.shrink = 1
    stratum.drift = stratum.sum_drift = 0


cdef void follow(
    Lazy* lazy, Py_ssize_t k, double factor, double scale, double intercept,
    const double* x, const Py_ssize_t* index, Py_ssize_t n,
) noexcept nogil:
    """m += factor (g - m), g = (scale * x, intercept)."""
    cdef Stratum* stratum = &lazy.strata[k]
    cdef Coordinate* c
    cdef Py_ssize_t i
    cdef double change, gradient, inner = 0, squared = 0
    if factor == 1:
        end_generation(lazy, k, 0)
        stratum.intercept = intercept
        for i in range(n):
            c = &lazy.coordinates[index[i]]
            fold_generations(stratum, c, k)
            c.m[k] = scale * x[i]
            squared += c.m[k] * c.m[k]
        stratum.squared_norm = squared
        return
    for i in range(n):
        c = &lazy.coordinates[index[i]]
        gradient = scale * x[i]
        inner += gradient * c.m[k]
        squared += gradient * gradient
        change = factor * gradient / ((1 - factor) * stratum.shrink)
        c.m[k] += change
        c.u -= stratum.drift * change
        c.sums += (lazy.frame.sum_scale * stratum.drift - stratum.sum_drift) * change
    inner *= stratum.shrink
    stratum.shrink *= 1 - factor
    stratum.squared_norm = max(
        0.0,
        (1 - factor) * (1 - factor) * stratum.squared_norm
        + factor * (2 * (1 - factor) * inner + factor * squared),
    )
    stratum.intercept += factor * (intercept - stratum.intercept)
    if stratum.shrink < SMALLEST_SHRINK:
        end_generation(lazy, k, stratum.shrink)
        for i in range(n):
            fold_generations(stratum, &lazy.coordinates[index[i]], k)


cdef double follow_l2(
    Settings cfg, Lazy* lazy, Py_ssize_t k, const Gradients* g, Py_ssize_t which,
    const double* x, const Py_ssize_t* index, Py_ssize_t n, Clipping* clipping,
) noexcept nogil:
    """One SPP step for the l2 norm; the factor applied to g - m is returned."""
    cdef Stratum* stratum = &lazy.strata[k]
    cdef double scale = g.scale[which], intercept = g.intercept[which]
    cdef double gradient, residual, factor, gap = intercept - stratum.intercept
    cdef double inner = 0, squared = 0
    cdef Py_ssize_t i
    for i in range(n):
        gradient = scale * x[i]
        squared += gradient * gradient
        inner += gradient * lazy.coordinates[index[i]].m[k]
    residual = squared - 2 * stratum.shrink * inner + stratum.squared_norm + gap * gap
    if residual != residual:  # inf - inf: the gradient is beyond any radius
        residual = squared
    factor = l2_factor(
        cfg, sqrt(max(0.0, residual)), g.sample_weight[which], g.weight[which],
        &stratum.s, &stratum.n_updates, clipping,
    )
    if factor > 0:
        follow(lazy, k, factor, scale, intercept, x, index, n)
    return factor


cdef void follow_l1(
    Settings cfg, Lazy* lazy, Py_ssize_t k, const Gradients* g, Py_ssize_t which,
    const double* x, const Py_ssize_t* index, Py_ssize_t n, Clipping* clipping,
) noexcept nogil:
    """One SPP step for the l1 norm, the intercept as one more coordinate."""
    cdef Stratum* stratum = &lazy.strata[k]
    cdef Coordinate* c
    cdef Py_ssize_t i, j
    cdef double one = 1, rate, up, down, weight = g.weight[which]
    cdef double keep = step_share(cfg, g.sample_weight[which])
    stratum.n_updates += 1
    rate = tracking_rate(stratum.n_updates, g.sample_weight[which])
    up, down = exp(0.5 * rate), exp(-0.5 * rate)
    stratum.log[0][stratum.n_seen] = lazy.steps
    stratum.log[1][stratum.n_seen] = lazy.weighted_steps
    stratum.log[2][stratum.n_seen] = weight
    stratum.log[3][stratum.n_seen] = keep
    stratum.n_seen += 1
    for i in range(n):
        j = index[i]
        c = &lazy.coordinates[j]
        c.seen[k] = stratum.n_seen
        clipping.n_residuals += x[i] != 0
        clipping.n_clipped += spp_l1(
            keep, cfg.tau * weight, cfg.c_tau * weight, up, down,
            g.scale[which], &x[i], &c.m[k],
            &lazy.drifts[j].s[k] if cfg.c_tau > 0 else NULL, 1,
        )
    if cfg.fit_intercept:
        clipping.n_residuals += 1
        clipping.n_clipped += spp_l1(
            keep, cfg.tau * weight, cfg.c_tau * weight, up, down,
            g.intercept[which], &one, &stratum.intercept,
            &stratum.s if cfg.c_tau > 0 else NULL, 1,
        )


cdef void step_along_locations(Lazy* lazy, double step) noexcept nogil:
    """u += step * (the strata's locations, weighted by their shares)."""
    cdef Py_ssize_t k
    if lazy.thresholding:
        lazy.steps += step
        lazy.weighted_steps += lazy.frame.sum_scale * step
        return
    for k in range(lazy.n_strata):
        lazy.strata[k].drift += step * lazy.strata[k].share * lazy.strata[k].shrink


cdef void count_average(Lazy* lazy) noexcept nogil:
    """Add the coefficients as they are to the averages' sum."""
    cdef Py_ssize_t k
    lazy.frame.sum_scale += lazy.frame.scale
    for k in range(lazy.n_strata):
        lazy.strata[k].sum_drift += lazy.frame.scale * lazy.strata[k].drift


cdef void materialise(Settings cfg, Lazy* lazy, bint sum_up) noexcept nogil:
    """Make u the coefficients; with ``sum_up``, sums alone the sum of averaged ones."""
    cdef Py_ssize_t j, k
    cdef Coordinate* c
    cdef double change
    for j in range(lazy.n_features):
        catch_up(cfg, lazy, j)
        c = &lazy.coordinates[j]
        change = coefficient(lazy, j) - c.u
        if not lazy.thresholding:
            for k in range(lazy.n_strata):
                c.sums += lazy.strata[k].sum_drift * c.m[k]
        # What u gains here the sum already has.
        c.sums += lazy.frame.sum_scale * (c.u if sum_up else -change)
        c.u = (c.u + change) * lazy.frame.scale
    lazy.frame.sum_scale = 0 if sum_up else lazy.frame.sum_scale / lazy.frame.scale
    lazy.frame.scale = 1
    for k in range(lazy.n_strata):
        lazy.strata[k].drift = lazy.strata[k].sum_drift = 0
