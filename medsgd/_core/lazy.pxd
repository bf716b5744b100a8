"""Coefficients and locations of which a sparse row visits only its coordinates.

The numbers of a coordinate are side by side in a record of doubles, which is at most
one cache line.

- Linear (mean with momentum, sample medians, SPP for the l2 norm): coordinates of m
  that a row lacks shrink by common factors, and the coefficients move along m. With m =
  shrink * v, coefficients are frame.decay * (u + drift v), so that an update costs a
  few scalars. A change of v is compensated in u. If shrink is small, u and drift v
  would cancel. A new *generation* with a shrink and a drift of its own then begins, and
  a coordinate joins it when a row has the coordinate. In a generation with four newer
  ones m is below 1e-16 of its value: the generation is frozen from then on.
- Soft thresholding (SPP for the l1 norm): m_j moves towards 0 by its radius at each
  update. A row that has j moves m_j by at most a radius, so that few m_j are not 0.
  These *members* are listed, and each update and each step goes through all of them.
"""

from libc.math cimport fabs, sqrt

from medsgd._core.medians cimport Gradients
from medsgd._core.settings cimport EstimatorSettings
from medsgd._core.spp cimport (
    Clipping, Rate, l2_factor, set_rate, step_share, tracking_rate,
)
from medsgd._core.steps cimport Frame
from medsgd._core.vector cimport charge_l1, spp_l1


cdef enum:
    # Generations that still move.
    MOVING = 5


cdef struct Generation:
    double shrink
    double drift
    double lag  # coefficient of v in the averages' sum beyond frame.sum_scale * drift
    double _    # 32 bytes: an address by a shift


cdef struct Stratum:
    double share           # of the class in the step
    double intercept       # of the location
    double n_updates       # of s
    double s               # running median of |g - m|, l2, or of its intercept, l1
    double squared_norm    # of m, features only; linear
    Generation* generations
    Py_ssize_t newest
    Py_ssize_t* members
    Py_ssize_t n_members


cdef struct Offsets:
    # Where in a record the numbers of a coordinate are, those of a stratum k at + k.
    # The coefficient u is at 0. An offset of 0 means that records lack the number.
    Py_ssize_t inverse_scale  # 1 / the feature's scale
    Py_ssize_t slot           # place in the union of an iteration's rows, + 1
    Py_ssize_t generation     # linear; thresholding: 1 for members
    Py_ssize_t m              # v, linear; m, thresholding
    Py_ssize_t s              # running median of |g - m|, thresholding
    Py_ssize_t paid           # L1 penalty
    Py_ssize_t sums           # part of the averages' sum that is not of u or v


cdef struct Support:
    # Coordinates of a row or of a union of rows: where their records start.
    Py_ssize_t* starts
    Py_ssize_t n


cdef struct Lazy:
    Py_ssize_t n_features
    Py_ssize_t n_strata   # 0 where no location is tracked
    Py_ssize_t k          # the stratum of the iteration
    Py_ssize_t most_generations
    Py_ssize_t n_outside  # entries in columns that are none
    bint thresholding
    Frame frame
    # Norms of the coefficients when last materialised.
    double squared_norm
    double l1_norm
    double* records
    bint far              # too many to stay near the processor
    Py_ssize_t stride     # of a record
    Offsets offset
    bint grouped          # whether an iteration has one support, else each gradient
    Support* supports
    Stratum strata[2]
    # Of the coordinates of a row, linear: u + drift v and m of one stratum.
    double* own
    double* location
    double* work          # of 3 * (n_features + 1), thresholding
    Py_ssize_t* touched   # starts of n_features records, thresholding


cdef struct Along:
    # Inner products of a row with the numbers that ``recall`` reads.
    double own
    double location


cdef inline const Support* support_of(
    const Lazy* lazy, Py_ssize_t i
) noexcept nogil:
    """Return the coordinates of gradient i."""
    return &lazy.supports[0 if lazy.grouped else i]


cdef inline Generation* generation_of(
    const Lazy* lazy, Py_ssize_t k, const double* c
) noexcept nogil:
    return &lazy.strata[k].generations[<Py_ssize_t>c[lazy.offset.generation + k]]


cdef inline double along(
    const Lazy* lazy, Py_ssize_t k, const double* c
) noexcept nogil:
    """Return drift * v of a stratum, linear."""
    return generation_of(lazy, k, c).drift * c[lazy.offset.m + k]


cdef inline double along_locations(const Lazy* lazy, const double* c) noexcept nogil:
    """Return the coefficient of a record over frame.decay, less u.

    Code that makes a coefficient 0 sets u to the opposite of this number. The sum of
    both is 0 then, where any other order of additions may leave a rounding error.
    """
    cdef double value = 0
    cdef Py_ssize_t k
    if not lazy.thresholding:
        for k in range(lazy.n_strata):
            value += along(lazy, k, c)
    return value


cdef inline Along recall(
    Lazy* lazy, const double* x, const Support* support
) noexcept nogil:
    """Read the numbers of coordinates for ``lazy_follow``."""
    cdef Py_ssize_t i, k = lazy.k, n = support.n
    cdef Py_ssize_t m_offset = lazy.offset.m + k
    cdef Py_ssize_t generation_offset = lazy.offset.generation + k
    cdef const Py_ssize_t* starts = support.starts
    cdef const Generation* generations = lazy.strata[k].generations
    cdef const Generation* generation
    cdef const double* records = lazy.records
    cdef const double* c
    cdef double* own = lazy.own
    cdef double* location = lazy.location
    cdef double value, along_own = 0, along_location = 0
    cdef Along along
    for i in range(n):
        c = records + starts[i]
        generation = &generations[<Py_ssize_t>c[generation_offset]]
        value = c[0] + generation.drift * c[m_offset]
        own[i] = value
        along_own += x[i] * value
        value = generation.shrink * c[m_offset]
        location[i] = value
        along_location += x[i] * value
    along.own, along.location = along_own, along_location
    return along


cdef inline void first_generation(Stratum* stratum) noexcept nogil:
    """Begin anew: all coordinates have generation 0, and v is m."""
    stratum.newest = 0
    stratum.generations[0].shrink = 1
    stratum.generations[0].drift = stratum.generations[0].lag = 0


cdef inline double settle(Lazy* lazy, Py_ssize_t k, double* c) noexcept nogil:
    """Let v be m, and return drift * v, which u lacks from then on."""
    cdef const Generation* generation
    cdef double v = c[lazy.offset.m + k], change = 0
    if v != 0:
        generation = generation_of(lazy, k, c)
        change = generation.drift * v
        c[lazy.offset.m + k] = generation.shrink * v
        if lazy.offset.sums:
            c[lazy.offset.sums] += generation.lag * v
    c[lazy.offset.generation + k] = 0
    return change


cdef inline void settle_stratum(Lazy* lazy, Py_ssize_t k) noexcept nogil:
    """Let v be m, and u + the other stratum's drift * v the coefficients."""
    cdef Py_ssize_t _
    cdef double* c = lazy.records
    cdef double other = 0
    for _ in range(lazy.n_features):
        if lazy.n_strata == 2:
            other = along(lazy, 1 - k, c)
        # In this order a coefficient of 0 stays exactly 0.
        c[0] = c[0] + (settle(lazy, k, c) + other) - other
        c += lazy.stride
    first_generation(&lazy.strata[k])


cdef inline void next_generation(Lazy* lazy, Py_ssize_t k) noexcept nogil:
    cdef Stratum* stratum = &lazy.strata[k]
    cdef Generation* new
    # There are so many generations that this sweep over all features is rare.
    if stratum.newest + 1 == lazy.most_generations:
        settle_stratum(lazy, k)
    if stratum.newest + 1 >= MOVING:
        stratum.generations[stratum.newest + 1 - MOVING].shrink = 0
    stratum.newest += 1
    new = &stratum.generations[stratum.newest]
    new.shrink, new.drift, new.lag = 1, 0, 0


cdef inline void shrink(Stratum* stratum, double factor) noexcept nogil:
    """Set m *= factor."""
    cdef Py_ssize_t i
    for i in range(max(0, stratum.newest + 1 - MOVING), stratum.newest + 1):
        stratum.generations[i].shrink *= factor


cdef inline void lazy_follow(
    Lazy* lazy, double factor, double multiple, double intercept, const double* x,
    const Support* support, bint recalled,
) noexcept nogil:
    """Set m += factor (g - m), where g = (multiple * x, intercept)."""
    cdef Py_ssize_t i, newest, k = lazy.k, n = support.n
    cdef Py_ssize_t m_offset = lazy.offset.m + k
    cdef Py_ssize_t generation_offset = lazy.offset.generation + k
    cdef const Py_ssize_t* starts = support.starts
    cdef Stratum* stratum = &lazy.strata[k]
    cdef Generation* new
    cdef double* records = lazy.records
    cdef double* c
    cdef double keep = 1 - factor, inverse_shrink, v, drift
    if not recalled:
        recall(lazy, x, support)
    shrink(stratum, keep)
    if stratum.generations[stratum.newest].shrink < 1e-4:
        next_generation(lazy, k)
    newest = stratum.newest
    new = &stratum.generations[newest]
    drift, inverse_shrink = new.drift, 1 / new.shrink
    keep, multiple = keep * inverse_shrink, factor * multiple * inverse_shrink
    for i in range(n):
        c = records + starts[i]
        v = keep * lazy.location[i] + multiple * x[i]
        if lazy.offset.sums:
            c[lazy.offset.sums] += (
                generation_of(lazy, k, c).lag * c[m_offset] - new.lag * v
            )
        c[0] = lazy.own[i] - drift * v
        c[m_offset], c[generation_offset] = v, newest
    if factor == 1:
        stratum.intercept = intercept
    else:
        stratum.intercept += factor * (intercept - stratum.intercept)


cdef inline double lazy_follow_l2(
    EstimatorSettings cfg, Lazy* lazy, const Gradients* g, Py_ssize_t i,
    const double* x, Rate* rate, Clipping* clipping,
) noexcept nogil:
    """Make an SPP step for the l2 norm; return the factor applied to g - m."""
    cdef const Support* support = support_of(lazy, i)
    cdef Stratum* stratum = &lazy.strata[lazy.k]
    cdef double multiple = g.multiple[i], intercept = g.intercept[i]
    cdef double residual, factor, gap = intercept - stratum.intercept
    cdef double inner = g.inner, squared = 0
    cdef Py_ssize_t j
    if not g.has_inner:
        inner = recall(lazy, x, support).location
    if g.has_norms:
        squared = g.squared_norm[i]
    else:
        for j in range(support.n):
            squared += x[j] * x[j]
    squared *= multiple * multiple
    residual = squared - 2 * multiple * inner + stratum.squared_norm + gap * gap
    if residual != residual:  # inf - inf: the gradient is beyond any radius
        residual = squared
    factor = l2_factor(
        cfg, sqrt(max(0.0, residual)), stratum.squared_norm, g.sample_weight[i],
        g.weight[i], &stratum.s, &stratum.n_updates, rate, clipping,
    )
    stratum.squared_norm = max(
        0.0,
        (1 - factor) * (1 - factor) * stratum.squared_norm
        + factor * (2 * (1 - factor) * multiple * inner + factor * squared),
    )
    if factor > 0:
        lazy_follow(lazy, factor, multiple, intercept, x, support, True)
    return factor


cdef inline void lazy_follow_l1(
    EstimatorSettings cfg, Lazy* lazy, const Gradients* g, Py_ssize_t which,
    const double* x, Rate* rate, Clipping* clipping,
) noexcept nogil:
    """Make an SPP step for the l1 norm, with the intercept as one more coordinate."""
    cdef const Support* support = support_of(lazy, which)
    cdef const Py_ssize_t* starts = support.starts
    cdef Stratum* stratum = &lazy.strata[lazy.k]
    cdef Py_ssize_t m_offset = lazy.offset.m + lazy.k
    cdef Py_ssize_t s_offset = lazy.offset.s + lazy.k
    cdef Py_ssize_t member_offset = lazy.offset.generation + lazy.k
    cdef double* value = lazy.work
    cdef double* m = value + lazy.n_features + 1
    cdef double* s = m + lazy.n_features + 1
    cdef double* c
    cdef double weight = g.weight[which], keep = step_share(cfg, g.sample_weight[which])
    cdef Py_ssize_t i, j, n, n_all = 0, n_left = 0
    stratum.n_updates += 1
    set_rate(rate, tracking_rate(stratum.n_updates, g.sample_weight[which]))
    # The row first, then the other members. Generation -1 marks coordinates of the row.
    for i in range(support.n):
        c = lazy.records + starts[i]
        if c[member_offset] < 0:
            # Only the first of equal columns of a row counts: there is no memory for
            # more.
            continue
        c[member_offset] = -1
        value[n_all], m[n_all], s[n_all] = x[i], c[m_offset], c[s_offset]
        lazy.touched[n_all] = starts[i]
        n_all += 1
    n = n_all
    for i in range(stratum.n_members):
        j = stratum.members[i]
        c = lazy.records + j
        if c[member_offset] >= 0:
            value[n_all], m[n_all], s[n_all] = 0, c[m_offset], c[s_offset]
            lazy.touched[n_all] = j
            n_all += 1
    spp_l1(
        keep, cfg.tau * weight, cfg.c_tau * weight, rate.factor[1], rate.factor[0],
        g.multiple[which], value, m, s if cfg.c_tau > 0 else NULL, n_all,
        &clipping.n_residuals, &clipping.n_clipped,
    )
    for i in range(n_all):
        c = lazy.records + lazy.touched[i]
        c[s_offset] = s[i]
        # With momentum, an m_j this far below the radius changes no coefficient.
        if m[i] == 0 or (i >= n and fabs(m[i]) <= 1e-18 * (cfg.c_tau * s[i] + cfg.tau)):
            c[m_offset] = c[member_offset] = 0
        else:
            c[m_offset], c[member_offset] = m[i], 1
            stratum.members[n_left] = lazy.touched[i]
            n_left += 1
    stratum.n_members = n_left
    if cfg.fit_intercept:
        value[0] = 1
        spp_l1(
            keep, cfg.tau * weight, cfg.c_tau * weight, rate.factor[1], rate.factor[0],
            g.intercept[which], value, &stratum.intercept,
            &stratum.s if cfg.c_tau > 0 else NULL, 1,
            &clipping.n_residuals, &clipping.n_clipped,
        )


cdef inline void step_along_locations(Lazy* lazy, double step) noexcept nogil:
    """Set u += step * (the strata's locations, weighted by their shares)."""
    cdef Py_ssize_t k, i
    cdef Stratum* stratum
    cdef Generation* generation
    cdef double* c
    cdef double change
    for k in range(lazy.n_strata):
        stratum = &lazy.strata[k]
        if not lazy.thresholding:
            for i in range(max(0, stratum.newest + 1 - MOVING), stratum.newest + 1):
                generation = &stratum.generations[i]
                change = step * stratum.share * generation.shrink
                generation.drift += change
                generation.lag -= lazy.frame.sum_scale * change
            continue
        for i in range(stratum.n_members):
            c = lazy.records + stratum.members[i]
            change = step * stratum.share * c[lazy.offset.m + k]
            c[0] += change
            if lazy.offset.sums:
                c[lazy.offset.sums] -= lazy.frame.sum_scale * change


cdef inline void materialise(Lazy* lazy, bint sum_up, double owed) noexcept nogil:
    """Make u the coefficients; with ``sum_up``, sums alone the sum of averaged ones.

    Then take from each coefficient what it has not yet paid of the L1 penalty ``owed``.
    """
    cdef Py_ssize_t _, k, n_linear = 0 if lazy.thresholding else lazy.n_strata
    cdef double* c = lazy.records
    cdef double squared_norm = 0, l1_norm = 0, change
    sum_up = sum_up and lazy.offset.sums > 0
    for _ in range(lazy.n_features):
        change = 0
        for k in range(n_linear):
            change += settle(lazy, k, c)
        c[0] += change
        if sum_up:
            c[lazy.offset.sums] += lazy.frame.sum_scale * c[0]
        if lazy.frame.decay != 1:
            c[0] *= lazy.frame.decay
        if owed > 0 and c[0] != 0:
            charge_l1(
                owed, 1, 0, NULL, 0, <double*>NULL, c, &c[lazy.offset.paid],
                <double*>NULL, 1,
            )
        squared_norm += c[0] * c[0]
        l1_norm += fabs(c[0])
        c += lazy.stride
    for k in range(n_linear):
        first_generation(&lazy.strata[k])
    lazy.squared_norm, lazy.l1_norm = squared_norm, l1_norm
    lazy.frame.sum_scale = 0 if sum_up else lazy.frame.sum_scale / lazy.frame.decay
