"""One pass over the rows of a CSR matrix, at a cost of O(nnz) per row."""

from cython cimport floating, integral
from libc.math cimport INFINITY, fabs
from libc.stdint cimport uint8_t
from libc.string cimport memset

import numpy as np

from medsgd._core.checks cimport check_pass, longest_row, require
from medsgd._core.estimators cimport Location, complete
from medsgd._core.lazy cimport (
    Along, Generation, Lazy, along, along_locations, first_generation, follow,
    follow_l1, follow_l2, materialise, recall, step_along_locations,
)
from medsgd._core.medians cimport (
    Gradients, Room, location_of, place_gradients, size_of_gradients,
)
from medsgd._core.oracle cimport Oracle, leverage_weight, respond
from medsgd._core.settings cimport (
    ADAPTIVE, L2, NO_PENALTY, PA1, Settings,
)
from medsgd._core.spp cimport Clipping, Rate
from medsgd._core.steps cimport decay, learning_rate, leave, must_leave
from medsgd._core.vector cimport MEDIAN_ROOM, charge_l1, prefetch

# Rows ahead of the current one at which its data, and what its coordinates need, are
# asked for.
cdef Py_ssize_t DATA_AHEAD = 8
cdef Py_ssize_t RECORDS_AHEAD = 3
# Bytes of records that stay near the processor anyway.
cdef Py_ssize_t NEAR = 500_000


cdef inline bint is_grouped(Settings cfg) noexcept nogil:
    """Whether an iteration needs the union of its rows' coordinates."""
    return cfg.batch_size > 1 or (cfg.n_gradients > 1 and not cfg.proximal)


def layout(Settings cfg not None, Py_ssize_t n_strata, bint averaging):
    """First column of each array in the records of a pass, and how many columns."""
    widths = {
        "coef": 1,
        "inverse_scale": cfg.standardize or cfg.leverage_limit < INFINITY,
        "slot": is_grouped(cfg),
        "generation": n_strata if cfg.tracks_location else 0,
        "location": n_strata if cfg.tracks_location else 0,
        "scale": n_strata if cfg.by_coordinate else 0,
        "paid_penalty": cfg.penalty not in (NO_PENALTY, L2),
        "sums": averaging,
    }
    columns, n_columns = {}, 0
    for name, width in widths.items():
        columns[name] = n_columns if width else 0
        n_columns += width
    return columns, n_columns


cdef struct Entries:
    # A row's non-zero entries: how many; inner products with the coefficients over
    # frame.scale, with itself and with the location; squared norm when standardised.
    Py_ssize_t n
    double along_coef
    double squared_norm
    double along_location
    double standardised_norm


cdef inline Entries gather(
    Settings cfg, Lazy* lazy, Py_ssize_t k, const floating* data,
    const integral* indices, Py_ssize_t n_entries, Py_ssize_t* index, double* values,
) noexcept nogil:
    """Copy a row's non-zero entries as the fit sees them; index is of their records.

    Where the location is linear its coordinates are recalled.
    """
    cdef const double* records = lazy.records
    cdef Py_ssize_t i, j, n = 0, stride = lazy.stride, scale = lazy.inverse_scale
    cdef size_t n_features = lazy.n_features
    cdef double value, standard, squared_norm = 0, standardised_norm = 0
    cdef bint standardised = cfg.standardize
    cdef Along recalled
    cdef Entries result
    for i in range(n_entries):
        value = data[i]
        if value == 0:
            continue
        j = indices[i]
        # Unsigned, for what is below 0.
        if <size_t>j >= n_features:
            lazy.n_outside += 1
            continue
        j *= stride
        if scale:
            standard = value * records[j + scale]
            standardised_norm += standard * standard
            value = standard if standardised else value
        squared_norm += value * value
        index[n], values[n] = j, value
        n += 1
    recalled.own = recalled.location = 0
    if lazy.n_strata == 0 or lazy.thresholding:
        for i in range(n):
            recalled.own += values[i] * records[index[i]]
    else:
        recalled = recall(lazy, k, values, index, n)
    if lazy.n_strata == 2 and not lazy.thresholding:
        for i in range(n):
            recalled.own += values[i] * along(lazy, 1 - k, records + index[i])
    result.n, result.along_coef, result.squared_norm = n, recalled.own, squared_norm
    result.along_location = recalled.location
    result.standardised_norm = standardised_norm
    return result


cdef inline Py_ssize_t add_to_union(
    Lazy* lazy, const Py_ssize_t* row_index, const double* row, Py_ssize_t n_row,
    double weight, Py_ssize_t* index, double* values, Py_ssize_t n,
) noexcept nogil:
    """Add weight * row to values over the union of rows; its new length."""
    cdef Py_ssize_t i
    cdef double* c
    for i in range(n_row):
        c = lazy.records + row_index[i]
        if c[lazy.slot] == 0:
            index[n] = row_index[i]
            n += 1
            c[lazy.slot] = n
        values[<Py_ssize_t>c[lazy.slot] - 1] += weight * row[i]
    return n


cdef inline void add_to_u(
    Lazy* lazy, const Py_ssize_t* index, Py_ssize_t n, double scale, const double* x
) noexcept nogil:
    """u += scale * x, leaving the sum of the averages as it is.

    The norms become those of the coordinates touched.
    """
    cdef Py_ssize_t i, sums = lazy.sums
    cdef double* records = lazy.records
    cdef double* c
    cdef double sum_scale = lazy.frame.sum_scale, change, squared_norm = 0, l1_norm = 0
    for i in range(n):
        c = records + index[i]
        change = scale * x[i]
        c[0] += change
        if sums:
            c[sums] -= sum_scale * change
        squared_norm += c[0] * c[0]
        l1_norm += fabs(c[0])
    lazy.frame.squared_norm, lazy.frame.l1_norm = squared_norm, l1_norm


cdef inline void charge(
    Settings cfg, Lazy* lazy, Py_ssize_t j, double owed
) noexcept nogil:
    """Take the cumulative L1 penalty from a coordinate."""
    cdef double* c = lazy.records + j
    cdef double located = along_locations(lazy, c), before = c[0] + located
    cdef double after = before
    charge_l1(
        owed, lazy.frame.scale, 0, NULL, 0, <double*>NULL, &after, &c[lazy.paid],
        <double*>NULL, 1,
    )
    c[0] = after - located
    if lazy.sums and not cfg.plain_sgd:
        c[lazy.sums] -= lazy.frame.sum_scale * (after - before)


def run_pass(
    Settings cfg not None,
    state,
    const floating[::1] X_data,
    const integral[::1] X_indices,
    const integral[::1] X_indptr,
    const floating[::1] y,
    const floating[::1] sample_weight,
    const uint8_t[::1] strata,
    const Py_ssize_t[:, ::1] iterations,
    double[::1] losses,
):
    """Go through ``iterations`` and bring ``state`` up to date.

    As ``run_pass`` in dense.pyx, but rows are scaled without being centred, by what
    stands in ``state.records``. Column indices of a row must be distinct.

    Raises
    ------
    ValueError
        If arguments do not fit each other; nothing has changed then. Or if rows have
        columns beyond the last feature, which are left out.
    """
    cdef:
        double[:, ::1] records = state.records
        double[:, :] m = state.location, tracked_scale = state.scale
        Py_ssize_t d = records.shape[0] - 1, n_strata = m.shape[0]
        Py_ssize_t n_gradients = cfg.n_gradients, batch_size = cfg.batch_size
        Py_ssize_t group_size = n_gradients * batch_size
        Py_ssize_t n_iterations = iterations.shape[0]
        Py_ssize_t i, j, k = 0, b, r, it, row, entry, n, start
        Py_ssize_t last = n_gradients - 1
        const floating* X_data_start = &X_data[0] if X_data.shape[0] else NULL
        const integral* X_indices_start = &X_indices[0] if X_data.shape[0] else NULL
        bint averaging = cfg.average > 0
        bint l1 = cfg.penalty not in (NO_PENALTY, L2)
        bint with_objective = not cfg.median
        bint thresholding = cfg.by_coordinate and cfg.tau < INFINITY
        bint grouped = is_grouped(cfg)
        bint skip, is_member
        Lazy lazy

        double[::1] n_updates = state.n_updates, shares = state.shares
        double intercept = state.intercept
        double average_intercept = state.average_intercept
        double owed_penalty = state.owed_penalty
        double t = state.t, eta = state.eta, n_averaged = state.n_averaged

        Py_ssize_t width = longest_row(X_indptr, X_indices.shape[0]) + 1

    columns, lazy.stride = layout(cfg, n_strata, averaging)
    check_pass(
        cfg, iterations, strata, y, sample_weight, losses, n_updates, shares, n_strata,
        X_indptr.shape[0] - 1, d,
    )
    require(width > 0, "X_indptr")
    require(X_data.shape[0] == X_indices.shape[0], "X_data")
    require(records.shape[1] == lazy.stride, "state.records")
    if cfg.tracks_location:
        require(m.shape[1] == d + 1, "state.location")
        require(
            tracked_scale.shape[0] == n_strata and tracked_scale.shape[1] > 0,
            "state.scale",
        )

    cdef:
        # Rows of an iteration, each over its own coordinates, or gradients over the
        # union of them.
        Py_ssize_t capacity = min(d, group_size * width) + 1 if grouped else 1
        Py_ssize_t n_rows = 1 if grouped else n_gradients
        Py_ssize_t[::1] row_indices = np.empty(n_rows * width, dtype=np.intp)
        double[:, ::1] rows = np.empty((n_rows, width))
        Py_ssize_t[::1] row_lengths = np.zeros(n_rows, dtype=np.intp)
        Py_ssize_t[::1] union_index = np.empty(capacity, dtype=np.intp)
        double[:, ::1] union_rows = np.zeros((n_gradients, capacity))
        size_t[::1] addresses = np.empty(n_gradients, dtype=np.uintp)
        const double** x = <const double**>&addresses[0]
        double[::1] room = np.empty(
            capacity + n_gradients * MEDIAN_ROOM if grouped else 1
        )
        double[::1] work = np.empty(3 * (d + 1) if thresholding else 1)
        Py_ssize_t[::1] touched = np.empty(d if thresholding else 1, dtype=np.intp)
        bint linear = cfg.tracks_location and not thresholding
        # Whether the coordinates of an update are those that its row has recalled.
        bint recalled = linear and group_size == 1
        double[:, ::1] own = np.empty((2, max(width, capacity) if linear else 1))
        # When the table is full all coordinates are gone through: seldom enough not to
        # be noticed.
        Py_ssize_t most_generations = min(
            1024 + d // 16, n_iterations * n_gradients + 2
        )
        double[:, ::1] generations = np.empty((
            n_strata, most_generations * sizeof(Generation) // sizeof(double)
            if linear else 1,
        ))
        Py_ssize_t[:, ::1] members = np.empty(
            (n_strata, d if thresholding else 1), dtype=np.intp
        )
        Gradients g
        Room room_for_gradients = Room(
            size_of_gradients(n_gradients, cfg.gradient_estimator)
        )
        Location estimated
        Oracle oracle
        Clipping clipping
        Rate rate

        Entries entries
        Py_ssize_t* index
        const double* direction
        double p, derivative, weight, total_weight, step, step_u, factor

    place_gradients(&g, n_gradients, <double*>room_for_gradients.start)
    clipping.n_residuals = clipping.n_clipped = 0
    rate.value = oracle.rate.value = -1
    oracle.residual_scale, oracle.objective = state.residual_scale, 0
    g.has_inner = recalled
    g.has_norms = batch_size == 1
    for i in range(n_gradients):
        x[i] = &union_rows[i, 0] if grouped else &rows[i, 0]

    lazy.inverse_scale, lazy.slot = columns["inverse_scale"], columns["slot"]
    lazy.generation, lazy.m = columns["generation"], columns["location"]
    lazy.s = columns["scale"]
    lazy.paid, lazy.sums = columns["paid_penalty"], columns["sums"]
    lazy.records, lazy.n_features, lazy.thresholding = &records[0, 0], d, thresholding
    lazy.far = records.size * sizeof(double) > NEAR
    lazy.n_outside = 0
    lazy.own, lazy.location = &own[0, 0], &own[1, 0]
    lazy.most_generations = most_generations
    lazy.work, lazy.touched = &work[0], &touched[0]
    lazy.frame.scale, lazy.frame.sum_scale = 1, state.sum_scale
    lazy.frame.squared_norm, lazy.frame.l1_norm = state.norms
    lazy.n_strata = n_strata if cfg.tracks_location else 0
    # Columns that loops take places from are theirs.
    if grouped:
        for i in range(d):
            records[i, lazy.slot] = 0
    for k in range(lazy.n_strata):
        lazy.strata[k].share = shares[k] if n_strata > 1 else 1
        lazy.strata[k].intercept = m[k, d]
        lazy.strata[k].n_updates = n_updates[k]
        lazy.strata[k].s = tracked_scale[k, tracked_scale.shape[1] - 1]
        lazy.strata[k].squared_norm = 0
        if linear:
            lazy.strata[k].generations = <Generation*>&generations[k, 0]
            first_generation(&lazy.strata[k])
            for i in range(d):
                lazy.strata[k].squared_norm += m[k, i] * m[k, i]
                records[i, lazy.generation + k] = 0
        if thresholding:
            lazy.strata[k].members, lazy.strata[k].n_members = &members[k, 0], 0
            for i in range(d):
                is_member = m[k, i] != 0
                records[i, lazy.generation + k] = is_member
                if is_member:
                    members[k, lazy.strata[k].n_members] = i * lazy.stride
                    lazy.strata[k].n_members += 1
    k = 0

    with nogil:
        for it in range(n_iterations):
            if n_strata > 1:
                k = strata[iterations[it, 0]]
            eta = learning_rate(cfg, t, eta)

            if it + DATA_AHEAD < n_iterations:
                for i in range(group_size):
                    row = iterations[it + DATA_AHEAD, i]
                    prefetch(&y[row], 1)
                    prefetch(&sample_weight[row], 1)
                    prefetch(&losses[row], 1)
                    start, n = X_indptr[row], X_indptr[row + 1] - X_indptr[row]
                    prefetch(X_data_start + start, n * sizeof(floating))
                    prefetch(X_indices_start + start, n * sizeof(integral))
            if lazy.far and it + RECORDS_AHEAD < n_iterations:
                for i in range(group_size):
                    row = iterations[it + RECORDS_AHEAD, i]
                    for entry in range(X_indptr[row], X_indptr[row + 1]):
                        prefetch(
                            lazy.records + X_indices[entry] * lazy.stride, 1
                        )

            # Stochastic gradient oracle
            n = 0
            total_weight = 0
            skip = False
            for i in range(n_gradients):
                g.intercept[i] = g.sample_weight[i] = g.weight[i] = 0
                r = 0 if grouped else i
                for b in range(batch_size):
                    row = iterations[it, i * batch_size + b]
                    start = X_indptr[row]
                    entries = gather(
                        cfg, &lazy, k, X_data_start + start,
                        X_indices_start + start, X_indptr[row + 1] - start,
                        &row_indices[r * width], &rows[r, 0],
                    )
                    row_lengths[r] = entries.n
                    p = lazy.frame.scale * entries.along_coef + intercept
                    weight = sample_weight[row]
                    derivative = respond(
                        cfg, &oracle, &lazy.frame, &clipping, y[row], p, weight, eta,
                        entries.squared_norm, &losses[row],
                    )
                    skip = cfg.learning_rate == PA1 and entries.squared_norm == 0
                    g.sample_weight[i] += weight
                    weight *= leverage_weight(cfg, entries.standardised_norm)
                    g.weight[i] += weight
                    if batch_size == 1:
                        g.scale[i] = g.intercept[i] = derivative
                        g.squared_norm[i] = entries.squared_norm
                        g.inner = entries.along_location
                        weight = 1
                    else:
                        weight *= derivative
                        g.intercept[i] += weight
                    if grouped:
                        n = add_to_union(
                            &lazy, &row_indices[0], &rows[0, 0], entries.n, weight,
                            &union_index[0], &union_rows[i, 0], n,
                        )
                complete(cfg, &g, i)
                total_weight += g.sample_weight[i]
            index = &union_index[0]
            if not grouped:
                index, n = &row_indices[last * width], row_lengths[last]

            if not skip:
                # Gradient estimator
                factor = 1
                estimated.step_weight = total_weight / n_gradients
                direction, estimated.scale = x[last], g.scale[last]
                estimated.intercept = g.intercept[last]
                if cfg.proximal and cfg.tracks_location:
                    for i in range(n_gradients):
                        if not grouped:
                            index, n = &row_indices[i * width], row_lengths[i]
                        if thresholding:
                            factor = 0
                            follow_l1(
                                cfg, &lazy, k, &g, i, x[i], index, n, &rate,
                                &clipping,
                            )
                        else:
                            factor = follow_l2(
                                cfg, &lazy, k, &g, i, x[i], index, n, &rate,
                                &clipping,
                            )
                else:
                    if n_gradients > 1 and not cfg.proximal:
                        direction, estimated.scale = &room[0], 1
                        estimated.intercept = location_of(
                            cfg.gradient_estimator, x, &g, n, &room[0], &room[capacity]
                        )
                    if cfg.tracks_location:
                        factor = 1 - cfg.momentum
                        estimated.scale *= estimated.step_weight
                        estimated.intercept *= estimated.step_weight
                        estimated.step_weight = 1
                        if not recalled:
                            recall(&lazy, k, direction, index, n)
                        follow(
                            &lazy, k, factor, estimated.scale, estimated.intercept,
                            direction, index, n,
                        )

                # Parameter update
                decay(cfg, &lazy.frame, eta)
                step = -(1 if cfg.passive_aggressive else eta) * estimated.step_weight
                if must_leave(&lazy.frame):
                    materialise(&lazy, True, 0)
                    leave(&lazy.frame)
                step_u = step / lazy.frame.scale
                if n_strata == 1 and factor == 1:
                    # The location is the gradient: what moves is the row's support.
                    if step_u * estimated.scale != 0:
                        add_to_u(&lazy, index, n, step_u * estimated.scale, direction)
                else:
                    step_along_locations(&lazy, step_u)
                    estimated.intercept = 0
                    for i in range(n_strata):
                        estimated.intercept += (
                            lazy.strata[i].share * lazy.strata[i].intercept
                        )
                intercept += step * cfg.intercept_decay * estimated.intercept
                if averaging and t >= cfg.average:
                    lazy.frame.sum_scale += lazy.frame.scale
                    n_averaged += 1
                    average_intercept += (intercept - average_intercept) / n_averaged
                if l1:
                    owed_penalty += cfg.l1_ratio * eta * cfg.penalty_factor
                    for i in range(n_rows):
                        if not grouped:
                            index, n = &row_indices[i * width], row_lengths[i]
                        for j in range(n):
                            charge(cfg, &lazy, index[j], owed_penalty)
                t += 1

            if grouped:
                for i in range(n):
                    lazy.records[index[i] + lazy.slot] = 0
                for i in range(n_gradients):
                    memset(&union_rows[i, 0], 0, n * sizeof(double))

        materialise(
            &lazy, not (l1 and cfg.plain_sgd),
            owed_penalty if l1 and not cfg.plain_sgd else 0,
        )

    for k in range(lazy.n_strata):
        m[k, d] = lazy.strata[k].intercept
        tracked_scale[k, tracked_scale.shape[1] - 1] = lazy.strata[k].s
        n_updates[k] = lazy.strata[k].n_updates
    state.decay *= lazy.frame.scale
    state.sum_scale = lazy.frame.sum_scale
    leave(&lazy.frame)
    state.norms = (lazy.frame.squared_norm, lazy.frame.l1_norm)
    state.squared_norm, state.l1_norm = lazy.squared_norm, lazy.l1_norm
    state.intercept = intercept
    state.average_intercept = average_intercept
    state.n_averaged = n_averaged
    state.residual_scale = oracle.residual_scale
    state.owed_penalty = owed_penalty
    state.t = t
    if cfg.learning_rate != ADAPTIVE:
        state.eta = eta
    require(lazy.n_outside == 0, "X_indices")
    return (
        oracle.objective / max(1, n_iterations * group_size) if with_objective
        else float("nan"),
        clipping.n_residuals,
        clipping.n_clipped,
    )
