"""Coefficients and locations of which a sparse row moves only what it has.

What a coordinate needs lies side by side in a record of doubles: one place in memory,
one cache line. A location m is 0 but for its *members*, coordinates of rows not long
past, which are listed.

- Linear (mean with momentum, sample medians, SPP for the l2 norm): all of m shrinks by
  common factors, and the coefficients move along m. With m = shrink * v, coefficients
  are frame.scale * (u + drift v), so that this costs a few scalars; a change of v is
  made up for in u. Where shrink is small, u and drift v would cancel: then a new
  *generation* begins, with a shrink and a drift of its own, which a member joins when a
  row has it. u takes in the drift of a generation's last members once four newer ones
  have made them negligible, below 1e-16, or at once if m is replaced (shrink = 0).
- Soft thresholding (SPP for the l1 norm): m_j moves towards 0 by its radius at each
  update. As a row that has j moves m_j by at most a radius, members are few, and each
  update and each step goes through all of them.
"""

from libc.math cimport fabs, sqrt
from libc.string cimport memmove

from medsgd._core.medians cimport Gradients
from medsgd._core.settings cimport Settings
from medsgd._core.spp cimport (
    Clipping, Rate, l2_factor, set_rate, step_share, tracking_rate,
)
from medsgd._core.steps cimport Frame
from medsgd._core.vector cimport prefetch, spp_l1


cdef enum:
    GENERATIONS = 5


cdef struct Stratum:
    double share           # of the class in the step
    double intercept       # of the location
    double n_updates       # of the scale
    double s               # running median of |g - m|, l2, or of its intercept, l1
    double squared_norm    # of m, features only; linear
    # Where members' records begin, by generation from the oldest on; some have since
    # joined a newer one.
    Py_ssize_t* members
    Py_ssize_t capacity
    Py_ssize_t end
    # Of generations 1 to GENERATIONS in a ring; 0 is that of coordinates with m = 0.
    Py_ssize_t oldest
    Py_ssize_t newest
    Py_ssize_t begin[GENERATIONS + 1]
    double shrink[GENERATIONS + 1]
    double drift[GENERATIONS + 1]
    double sum_drift[GENERATIONS + 1]  # coefficient of v in the averages' sum


cdef struct Lazy:
    Py_ssize_t n_features
    Py_ssize_t n_strata
    bint thresholding
    Frame frame
    # Norms of the coefficients when last materialised.
    double squared_norm
    double l1_norm
    # A record is the coefficient u and, at these places, the scale of the feature,
    # place in the current iteration + 1, generation, v or m and scale of |g - m| for
    # each stratum, L1 penalty paid, and the part of the averages' sum not in
    # frame.sum_scale * u. 0 where there is none.
    double* records
    bint far              # too many to stay near the processor
    Py_ssize_t stride
    Py_ssize_t inverse_scale
    Py_ssize_t slot
    Py_ssize_t generation
    Py_ssize_t m
    Py_ssize_t s
    Py_ssize_t paid
    Py_ssize_t sums
    Stratum strata[2]
    double* work          # of 3 * (n_features + 1)
    Py_ssize_t* touched   # of n_features


cdef inline double coefficient(const Lazy* lazy, const double* c) noexcept nogil:
    """Coefficient over frame.scale of a record."""
    cdef double value = c[0]
    cdef Py_ssize_t k
    if not lazy.thresholding:
        for k in range(lazy.n_strata):
            value += (
                lazy.strata[k].drift[<Py_ssize_t>c[lazy.generation + k]] * c[lazy.m + k]
            )
    return value


cdef inline double location(
    const Lazy* lazy, Py_ssize_t k, const double* c
) noexcept nogil:
    """m of a record, linear."""
    return lazy.strata[k].shrink[<Py_ssize_t>c[lazy.generation + k]] * c[lazy.m + k]


cdef inline void append(Stratum* stratum, Py_ssize_t j) noexcept nogil:
    """Add to the newest generation, keeping the list near its start."""
    cdef Py_ssize_t i, first = stratum.begin[stratum.oldest]
    if stratum.end == stratum.capacity or first > 2 * (stratum.end - first) + 1000:
        memmove(
            stratum.members, stratum.members + first,
            (stratum.end - first) * sizeof(Py_ssize_t),
        )
        for i in range(1, GENERATIONS + 1):
            stratum.begin[i] -= first
        stratum.end -= first
    stratum.members[stratum.end] = j
    stratum.end += 1


cdef inline void drop(Lazy* lazy, Py_ssize_t k, double* c) noexcept nogil:
    """Let m be 0 at a record, keeping its coefficient."""
    cdef Stratum* stratum = &lazy.strata[k]
    cdef Py_ssize_t generation = <Py_ssize_t>c[lazy.generation + k]
    cdef double v = c[lazy.m + k], moved = stratum.drift[generation] * v
    c[0] += moved
    if lazy.sums:
        c[lazy.sums] += (
            stratum.sum_drift[generation] * v - lazy.frame.sum_scale * moved
        )
    c[lazy.m + k] = c[lazy.generation + k] = 0


cdef inline void first_generation(Stratum* stratum) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(GENERATIONS + 1):
        stratum.shrink[i], stratum.drift[i], stratum.sum_drift[i] = 1, 0, 0
        stratum.begin[i] = 0
    stratum.oldest = stratum.newest = 1
    stratum.end = 0


cdef inline void next_generation(Lazy* lazy, Py_ssize_t k) noexcept nogil:
    """Begin a generation; where there are as many as can be, the oldest ends."""
    cdef Stratum* stratum = &lazy.strata[k]
    cdef Py_ssize_t i, ahead, oldest = stratum.oldest
    cdef Py_ssize_t new = stratum.newest % GENERATIONS + 1
    cdef double* c
    if new == oldest:
        stratum.oldest = oldest % GENERATIONS + 1
        for i in range(stratum.begin[oldest], stratum.begin[stratum.oldest]):
            if lazy.far:
                ahead = min(i + 16, stratum.end - 1)
                prefetch(lazy.records + stratum.members[ahead], 1)
            c = lazy.records + stratum.members[i]
            if c[lazy.generation + k] == oldest:
                drop(lazy, k, c)
    stratum.newest = new
    stratum.begin[new] = stratum.end
    stratum.shrink[new], stratum.drift[new], stratum.sum_drift[new] = 1, 0, 0


cdef inline void clear(Lazy* lazy, Py_ssize_t k) noexcept nogil:
    """Let m be 0."""
    cdef Stratum* stratum = &lazy.strata[k]
    cdef Py_ssize_t i
    for i in range(stratum.begin[stratum.oldest], stratum.end):
        drop(lazy, k, lazy.records + stratum.members[i])
    first_generation(stratum)


cdef inline void settle(Lazy* lazy, Py_ssize_t k) noexcept nogil:
    """Let v be m, and u the coefficients over frame.scale."""
    cdef Stratum* stratum = &lazy.strata[k]
    cdef Py_ssize_t i, j, n_left = 0
    cdef double* c
    cdef double m
    for i in range(stratum.begin[stratum.oldest], stratum.end):
        j = stratum.members[i]
        c = lazy.records + j
        if c[lazy.generation + k] == 0:
            continue
        m = location(lazy, k, c)
        drop(lazy, k, c)
        if m != 0:
            c[lazy.m + k], stratum.members[n_left] = m, j
            n_left += 1
    first_generation(stratum)
    stratum.end = n_left
    for i in range(n_left):
        lazy.records[stratum.members[i] + lazy.generation + k] = 1


cdef inline void follow(
    Lazy* lazy, Py_ssize_t k, double factor, double scale, double intercept,
    const double* x, const Py_ssize_t* index, Py_ssize_t n,
) noexcept nogil:
    """m += factor (g - m), g = (scale * x, intercept)."""
    cdef Stratum* stratum = &lazy.strata[k]
    cdef Py_ssize_t i, old, new, place = lazy.generation + k
    cdef double* records = lazy.records
    cdef double* c
    cdef double v, old_v, moved, new_drift, inverse_shrink, sum_scale
    if factor == 1:
        clear(lazy, k)
        stratum.intercept = intercept
    else:
        # What of m the row does not have shrinks along with it.
        for i in range(1, GENERATIONS + 1):
            stratum.shrink[i] *= 1 - factor
        stratum.intercept += factor * (intercept - stratum.intercept)
    new = stratum.newest
    new_drift, inverse_shrink = stratum.drift[new], 1 / stratum.shrink[new]
    scale, sum_scale = factor * scale, lazy.frame.sum_scale
    for i in range(n):
        c = records + index[i]
        old, old_v = <Py_ssize_t>c[place], c[lazy.m + k]
        v = (stratum.shrink[old] * old_v + scale * x[i]) * inverse_shrink
        moved = stratum.drift[old] * old_v - new_drift * v
        c[lazy.m + k] = v
        c[0] += moved
        if lazy.sums:
            c[lazy.sums] += (
                stratum.sum_drift[old] * old_v - stratum.sum_drift[new] * v
                - sum_scale * moved
            )
        if old != new:
            c[place] = new
            append(stratum, index[i])
    if stratum.shrink[new] < 1e-4:
        next_generation(lazy, k)


cdef inline double follow_l2(
    Settings cfg, Lazy* lazy, Py_ssize_t k, const Gradients* g, Py_ssize_t which,
    const double* x, const Py_ssize_t* index, Py_ssize_t n, Rate* rate,
    Clipping* clipping,
) noexcept nogil:
    """One SPP step for the l2 norm; the factor applied to g - m is returned."""
    cdef Stratum* stratum = &lazy.strata[k]
    cdef double scale = g.scale[which], intercept = g.intercept[which]
    cdef double residual, factor, gap = intercept - stratum.intercept
    cdef double inner = g.inner, squared = 0
    cdef Py_ssize_t i
    if not g.has_inner:
        inner = 0
        for i in range(n):
            inner += x[i] * location(lazy, k, lazy.records + index[i])
    if g.has_norms:
        squared = g.squared_norm[which]
    else:
        for i in range(n):
            squared += x[i] * x[i]
    squared *= scale * scale
    residual = squared - 2 * scale * inner + stratum.squared_norm + gap * gap
    if residual != residual:  # inf - inf: the gradient is beyond any radius
        residual = squared
    factor = l2_factor(
        cfg, sqrt(max(0.0, residual)), g.sample_weight[which], g.weight[which],
        &stratum.s, &stratum.n_updates, rate, clipping,
    )
    stratum.squared_norm = max(
        0.0,
        (1 - factor) * (1 - factor) * stratum.squared_norm
        + factor * (2 * (1 - factor) * scale * inner + factor * squared),
    )
    if factor > 0:
        follow(lazy, k, factor, scale, intercept, x, index, n)
    return factor


cdef inline void follow_l1(
    Settings cfg, Lazy* lazy, Py_ssize_t k, const Gradients* g, Py_ssize_t which,
    const double* x, const Py_ssize_t* index, Py_ssize_t n, Rate* rate,
    Clipping* clipping,
) noexcept nogil:
    """One SPP step for the l1 norm, the intercept as one more coordinate."""
    cdef Stratum* stratum = &lazy.strata[k]
    cdef double* value = lazy.work
    cdef double* m = value + lazy.n_features + 1
    cdef double* s = m + lazy.n_features + 1
    cdef double* c
    cdef double weight = g.weight[which], keep = step_share(cfg, g.sample_weight[which])
    cdef Py_ssize_t i, j, n_all = n, n_left = 0
    stratum.n_updates += 1
    set_rate(rate, tracking_rate(stratum.n_updates, g.sample_weight[which]))
    # The row, then the other members; those of the row are of generation -1 till then.
    for i in range(n):
        c = lazy.records + index[i]
        c[lazy.generation + k] = -1
        value[i], m[i], lazy.touched[i] = x[i], c[lazy.m + k], index[i]
        s[i] = c[lazy.s + k]
    for i in range(stratum.end):
        j = stratum.members[i]
        c = lazy.records + j
        if c[lazy.generation + k] >= 0:
            value[n_all], m[n_all], lazy.touched[n_all] = 0, c[lazy.m + k], j
            s[n_all] = c[lazy.s + k]
            n_all += 1
    spp_l1(
        keep, cfg.tau * weight, cfg.c_tau * weight, rate.factor[1], rate.factor[0],
        g.scale[which], value, m, s if cfg.c_tau > 0 else NULL, n_all,
        &clipping.n_residuals, &clipping.n_clipped,
    )
    for i in range(n_all):
        c = lazy.records + lazy.touched[i]
        c[lazy.s + k] = s[i]
        # With momentum, what is this far below the radius changes no coefficient.
        if m[i] == 0 or (i >= n and fabs(m[i]) <= 1e-18 * (cfg.c_tau * s[i] + cfg.tau)):
            c[lazy.m + k] = c[lazy.generation + k] = 0
        else:
            c[lazy.m + k], c[lazy.generation + k] = m[i], 1
            stratum.members[n_left] = lazy.touched[i]
            n_left += 1
    stratum.end = n_left
    if cfg.fit_intercept:
        value[0] = 1
        spp_l1(
            keep, cfg.tau * weight, cfg.c_tau * weight, rate.factor[1], rate.factor[0],
            g.intercept[which], value, &stratum.intercept,
            &stratum.s if cfg.c_tau > 0 else NULL, 1,
            &clipping.n_residuals, &clipping.n_clipped,
        )


cdef inline void step_along_locations(Lazy* lazy, double step) noexcept nogil:
    """u += step * (the strata's locations, weighted by their shares)."""
    cdef Py_ssize_t k, i
    cdef Stratum* stratum
    cdef double* c
    cdef double change
    for k in range(lazy.n_strata):
        stratum = &lazy.strata[k]
        if not lazy.thresholding:
            for i in range(1, GENERATIONS + 1):
                stratum.drift[i] += step * stratum.share * stratum.shrink[i]
            continue
        for i in range(stratum.end):
            c = lazy.records + stratum.members[i]
            change = step * stratum.share * c[lazy.m + k]
            c[0] += change
            if lazy.sums:
                c[lazy.sums] -= lazy.frame.sum_scale * change


cdef inline void count_average(Lazy* lazy) noexcept nogil:
    """Add the coefficients as they are to the averages' sum."""
    cdef Py_ssize_t k, i
    lazy.frame.sum_scale += lazy.frame.scale
    for k in range(lazy.n_strata):
        for i in range(1, GENERATIONS + 1):
            lazy.strata[k].sum_drift[i] += lazy.frame.scale * lazy.strata[k].drift[i]


cdef inline void materialise(Lazy* lazy, bint sum_up) noexcept nogil:
    """Make u the coefficients; with ``sum_up``, sums alone the sum of averaged ones."""
    cdef Py_ssize_t _, k
    cdef double* c = lazy.records
    cdef double squared_norm = 0, l1_norm = 0
    if not lazy.thresholding:
        for k in range(lazy.n_strata):
            settle(lazy, k)
    sum_up = sum_up and lazy.sums > 0
    for _ in range(lazy.n_features):
        if sum_up:
            c[lazy.sums] += lazy.frame.sum_scale * c[0]
        if lazy.frame.scale != 1:
            c[0] *= lazy.frame.scale
        squared_norm += c[0] * c[0]
        l1_norm += fabs(c[0])
        c += lazy.stride
    lazy.squared_norm, lazy.l1_norm = squared_norm, l1_norm
    lazy.frame.sum_scale = 0 if sum_up else lazy.frame.sum_scale / lazy.frame.scale
