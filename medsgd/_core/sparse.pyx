"""One pass over the rows of a CSR matrix, at a cost of O(nnz) per row."""

from cython cimport floating
from libc.math cimport INFINITY, fabs
from libc.stdint cimport uint8_t
from libc.string cimport memset

import numpy as np

from medsgd._core.checks cimport Index, check_pass, longest_row, require
from medsgd._core.estimators cimport Estimate, estimate
from medsgd._core.lazy cimport (
    Along, Generation, Lazy, Stratum, Support, along, along_locations, first_generation,
    materialise, recall, step_along_locations, support_of,
)
from medsgd._core.medians cimport Room, place_gradients, size_of_gradients
from medsgd._core.oracle cimport Sample, leverage_weight
from medsgd._core.passes cimport (
    Pass, add_sample, begin_gradient, begin_iteration, begin_pass, begin_step,
    end_gradient, end_iteration, end_pass, must_skip,
)
from medsgd._core.settings cimport Settings
from medsgd._core.steps cimport leave, must_leave
from medsgd._core.vector cimport MEDIAN_ROOM, charge_l1, prefetch

# Rows ahead of the current one whose data, and whose coordinates' records, are
# prefetched.
cdef Py_ssize_t DATA_AHEAD = 8
cdef Py_ssize_t RECORDS_AHEAD = 3
# Records of fewer bytes stay in the cache without prefetching.
cdef Py_ssize_t NEAR = 500_000


cdef inline bint is_grouped(Settings cfg) noexcept nogil:
    """Whether an iteration has one support, the union of its rows' coordinates."""
    return cfg.batch_size > 1 or (cfg.n_gradients > 1 and not cfg.proximal)


def layout(Settings cfg not None, Py_ssize_t n_strata, bint averaging):
    """Return the offset of each array in the records, and the length of a record."""
    widths = {
        "coef": 1,
        "inverse_scale": cfg.standardize or cfg.leverage_limit < INFINITY,
        "slot": is_grouped(cfg),
        "generation": n_strata if cfg.tracks_location else 0,
        "location": n_strata if cfg.tracks_location else 0,
        "scale": n_strata if cfg.by_coordinate else 0,
        "paid_penalty": cfg.charges_l1,
        "sums": averaging,
    }
    offsets, stride = {}, 0
    for name, width in widths.items():
        offsets[name] = stride if width else 0
        stride += width
    return offsets, stride


cdef class Workspace:
    """Memory of a pass, with the first coefficients and locations."""

    cdef:
        Lazy lazy
        # Of each gradient, the numbers of its row over its support.
        double** rows
        # A row's entries, where supports are unions of rows.
        Support entries
        double* entry_values
        double* median_room
        # References to the arrays behind the pointers.
        list arrays

    def __init__(
        self, Settings cfg, state, Py_ssize_t longest, Py_ssize_t n_iterations
    ):
        cdef:
            Lazy* lazy = &self.lazy
            double[:, ::1] records = state.records
            Py_ssize_t d = records.shape[0] - 1, n_strata = len(state.location)
            Py_ssize_t i, n = cfg.n_gradients, capacity = longest + 1
            bint tracks = cfg.tracks_location
        offsets, lazy.stride = layout(cfg, n_strata, cfg.averages)
        require(records.shape[1] == lazy.stride, "state.records")
        self.arrays = []
        lazy.offset.inverse_scale = offsets["inverse_scale"]
        lazy.offset.slot = offsets["slot"]
        lazy.offset.generation = offsets["generation"]
        lazy.offset.m, lazy.offset.s = offsets["location"], offsets["scale"]
        lazy.offset.paid, lazy.offset.sums = offsets["paid_penalty"], offsets["sums"]
        lazy.records, lazy.n_features = &records[0, 0], d
        lazy.far = records.size * sizeof(double) > NEAR
        lazy.n_outside = lazy.k = 0
        lazy.n_strata = n_strata if tracks else 0
        lazy.grouped = is_grouped(cfg)
        lazy.thresholding = cfg.by_coordinate and cfg.tau < INFINITY

        self.entries.starts = self.indices(capacity)
        self.entry_values = self.doubles(capacity)
        if lazy.grouped:
            capacity = min(d, n * cfg.batch_size * capacity) + 1
            self.median_room = self.doubles(capacity + n * MEDIAN_ROOM)
            # Slots are indices of memory: reset them, never trust the input.
            for i in range(d):
                records[i, lazy.offset.slot] = 0
        # A structure has the size of so many numbers.
        lazy.supports = <Support*>self.indices(2 * n)
        self.rows = <double**>self.indices(n)
        self.rows[0] = self.doubles(n * capacity)
        lazy.supports[0].starts = self.indices((1 if lazy.grouped else n) * capacity)
        for i in range(1, n):
            self.rows[i] = self.rows[0] + i * capacity
            if not lazy.grouped:
                lazy.supports[i].starts = lazy.supports[0].starts + i * capacity
        if lazy.thresholding:
            lazy.work, lazy.touched = self.doubles(3 * (d + 1)), self.indices(d)
        elif tracks:
            # Of a row's entries or of a union.
            capacity = max(capacity, longest + 1)
            lazy.own, lazy.location = self.doubles(capacity), self.doubles(capacity)
            # A full table costs a visit of all coordinates, so it is large enough for
            # that to be rare.
            lazy.most_generations = min(1024 + d // 16, n_iterations * n + 2)
        for i in range(lazy.n_strata):
            self.begin_stratum(i, state)

    cdef double* doubles(self, Py_ssize_t n):
        cdef double[::1] array = np.zeros(n)
        self.arrays.append(array)
        return &array[0]

    cdef Py_ssize_t* indices(self, Py_ssize_t n):
        cdef Py_ssize_t[::1] array = np.zeros(n, dtype=np.intp)
        self.arrays.append(array)
        return &array[0]

    cdef int begin_stratum(self, Py_ssize_t k, state) except -1:
        """Read the location of a stratum, and list its coordinates that are not 0."""
        cdef Lazy* lazy = &self.lazy
        cdef Stratum* stratum = &lazy.strata[k]
        cdef double* c = lazy.records
        cdef double m
        cdef Py_ssize_t i
        stratum.share = state.shares[k] if lazy.n_strata > 1 else 1
        stratum.intercept = state.location[k, -1]
        stratum.n_updates, stratum.s = state.n_updates[k], state.scale[k, -1]
        stratum.squared_norm, stratum.n_members = 0, 0
        if lazy.thresholding:
            stratum.members = self.indices(lazy.n_features)
        else:
            stratum.generations = <Generation*>self.doubles(4 * lazy.most_generations)
            first_generation(stratum)
        for i in range(lazy.n_features):
            m = c[lazy.offset.m + k]
            stratum.squared_norm += m * m
            c[lazy.offset.generation + k] = lazy.thresholding and m != 0
            if lazy.thresholding and m != 0:
                stratum.members[stratum.n_members] = i * lazy.stride
                stratum.n_members += 1
            c += lazy.stride
        return 0


cdef inline int end_strata(const Lazy* lazy, state) except -1:
    """Write back the parts of the strata's locations that are not in records."""
    for k in range(lazy.n_strata):
        state.location[k, -1] = lazy.strata[k].intercept
        state.scale[k, -1] = lazy.strata[k].s
        state.n_updates[k] = lazy.strata[k].n_updates
    return 0


cdef struct Entries:
    # A row's non-zero entries: inner products with the coefficients over frame.decay,
    # with itself and with the location; squared norm when standardised.
    double along_coef
    double squared_norm
    double along_location
    double standardised_norm


cdef inline Entries gather(
    Settings cfg, Lazy* lazy, const floating* data, const Index* indices,
    Py_ssize_t n_entries, Support* support, double* values,
) noexcept nogil:
    """Copy a row's scaled non-zero entries, and the places of their records.

    The coordinates of a linear location are read, too.
    """
    cdef const double* records = lazy.records
    cdef Py_ssize_t* starts = support.starts
    cdef Py_ssize_t i, j, n = 0, stride = lazy.stride
    cdef Py_ssize_t scale_offset = lazy.offset.inverse_scale
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
        # Unsigned, so that negative indices are too large.
        if <size_t>j >= n_features:
            lazy.n_outside += 1
            continue
        j *= stride
        if scale_offset:
            standard = value * records[j + scale_offset]
            standardised_norm += standard * standard
            value = standard if standardised else value
        squared_norm += value * value
        starts[n], values[n] = j, value
        n += 1
    support.n = n
    recalled.own = recalled.location = 0
    if lazy.n_strata == 0 or lazy.thresholding:
        for i in range(n):
            recalled.own += values[i] * records[starts[i]]
    else:
        recalled = recall(lazy, values, support)
    if lazy.n_strata == 2 and not lazy.thresholding:
        for i in range(n):
            recalled.own += values[i] * along(lazy, 1 - lazy.k, records + starts[i])
    result.along_coef, result.squared_norm = recalled.own, squared_norm
    result.along_location = recalled.location
    result.standardised_norm = standardised_norm
    return result


cdef inline void add_to_union(
    Lazy* lazy, const Support* entries, const double* row, double weight, double* values
) noexcept nogil:
    """Add weight * row to values over the union of rows."""
    cdef Support* whole = lazy.supports
    cdef Py_ssize_t i
    cdef double* c
    for i in range(entries.n):
        c = lazy.records + entries.starts[i]
        if c[lazy.offset.slot] == 0:
            whole.starts[whole.n] = entries.starts[i]
            whole.n += 1
            c[lazy.offset.slot] = whole.n
        values[<Py_ssize_t>c[lazy.offset.slot] - 1] += weight * row[i]


cdef inline void clear_union(
    Lazy* lazy, double** rows, Py_ssize_t n_gradients
) noexcept nogil:
    """Empty the union of rows, and the values over it."""
    cdef Support* whole = lazy.supports
    cdef Py_ssize_t i
    for i in range(whole.n):
        lazy.records[whole.starts[i] + lazy.offset.slot] = 0
    for i in range(n_gradients):
        memset(rows[i], 0, whole.n * sizeof(double))
    whole.n = 0


cdef inline void add_to_u(
    Lazy* lazy, const Support* support, double factor, const double* x
) noexcept nogil:
    """Set u += factor * x, leaving the sum of the averages as it is.

    The norms become those of the coordinates touched.
    """
    cdef Py_ssize_t i, sums = lazy.offset.sums
    cdef double* records = lazy.records
    cdef double* c
    cdef double sum_scale = lazy.frame.sum_scale, change, squared_norm = 0, l1_norm = 0
    for i in range(support.n):
        c = records + support.starts[i]
        change = factor * x[i]
        c[0] += change
        if sums:
            c[sums] -= sum_scale * change
        squared_norm += c[0] * c[0]
        l1_norm += fabs(c[0])
    lazy.frame.squared_norm, lazy.frame.l1_norm = squared_norm, l1_norm


cdef inline void charge(
    Settings cfg, Lazy* lazy, const Support* support, double owed
) noexcept nogil:
    """Take the cumulative L1 penalty from a row's coefficients."""
    cdef double* c
    cdef double located, before, after
    cdef Py_ssize_t i
    for i in range(support.n):
        c = lazy.records + support.starts[i]
        located = along_locations(lazy, c)
        before = after = c[0] + located
        charge_l1(
            owed, lazy.frame.decay, 0, NULL, 0, <double*>NULL, &after,
            &c[lazy.offset.paid], <double*>NULL, 1,
        )
        c[0] = after - located
        if lazy.offset.sums and not cfg.plain_sgd:
            c[lazy.offset.sums] -= lazy.frame.sum_scale * (after - before)


cdef inline double step(
    Lazy* lazy, const Estimate* estimated, double factor, const Support* support,
    const double* direction, bint stratified,
) noexcept nogil:
    """Move u by ``factor`` times the location; return the location's intercept."""
    cdef double intercept = 0
    cdef Py_ssize_t k
    if must_leave(&lazy.frame):
        materialise(lazy, True, 0)
        leave(&lazy.frame)
    factor /= lazy.frame.decay
    if estimated.is_gradient and not stratified:
        # Only the coordinates that the row has move.
        if factor * estimated.multiple != 0:
            add_to_u(lazy, support, factor * estimated.multiple, direction)
        return estimated.intercept
    step_along_locations(lazy, factor)
    for k in range(lazy.n_strata):
        intercept += lazy.strata[k].share * lazy.strata[k].intercept
    return intercept


def run_pass(
    Settings cfg not None,
    state,
    const floating[::1] X_data,
    const Index[::1] X_indices,
    const Index[::1] X_indptr,
    const floating[::1] y,
    const floating[::1] sample_weight,
    const uint8_t[::1] strata,
    const Py_ssize_t[:, ::1] iterations,
    double[::1] losses,
):
    """Go through ``iterations`` and bring ``state`` up to date.

    Do as ``run_pass`` in dense.pyx, but scale rows without centring them.
    ``state.records`` has the scales. Column indices of a row must be distinct.

    Raises
    ------
    ValueError
        If arguments do not fit each other; nothing has changed then. Or if rows have
        columns beyond the last feature, which are left out.
    """
    cdef:
        Py_ssize_t n_gradients = cfg.n_gradients, batch_size = cfg.batch_size
        Py_ssize_t group_size = n_gradients * batch_size, n_strata = len(state.location)
        Py_ssize_t n_iterations = iterations.shape[0]
        Py_ssize_t i, j, it, row, entry, n, start
        Py_ssize_t longest = longest_row(X_indptr, X_indices.shape[0])
        const floating* data = &X_data[0] if X_data.shape[0] else NULL
        const Index* indices = &X_indices[0] if X_data.shape[0] else NULL

    check_pass(
        cfg, state, iterations, strata, y, sample_weight, losses,
        X_indptr.shape[0] - 1, len(state.records) - 1,
    )
    require(longest >= 0, "X_indptr")
    require(X_data.shape[0] == X_indices.shape[0], "X_data")

    cdef:
        Workspace workspace = Workspace(cfg, state, longest, n_iterations)
        Room room = Room(size_of_gradients(n_gradients, cfg.gradient_estimator))
        Lazy lazy = workspace.lazy
        Support* support = &workspace.entries
        double** rows = workspace.rows
        double* values = workspace.entry_values
        Pass run
        Sample sample
        Estimate estimated
        Entries entries
        const double* direction
        double derivative, factor, intercept

    place_gradients(&run.g, n_gradients, <double*>room.start)
    begin_pass(cfg, state, &run, &lazy.frame)
    run.g.has_inner = cfg.tracks_location and not lazy.thresholding and group_size == 1

    with nogil:
        for it in range(n_iterations):
            if n_strata > 1:
                lazy.k = strata[iterations[it, 0]]
            begin_iteration(cfg, &run)

            if it + DATA_AHEAD < n_iterations:
                for i in range(group_size):
                    row = iterations[it + DATA_AHEAD, i]
                    prefetch(&y[row], 1)
                    prefetch(&sample_weight[row], 1)
                    prefetch(&losses[row], 1)
                    start, n = X_indptr[row], X_indptr[row + 1] - X_indptr[row]
                    prefetch(data + start, n * sizeof(floating))
                    prefetch(indices + start, n * sizeof(Index))
            if lazy.far and it + RECORDS_AHEAD < n_iterations:
                for i in range(group_size):
                    row = iterations[it + RECORDS_AHEAD, i]
                    for entry in range(X_indptr[row], X_indptr[row + 1]):
                        prefetch(lazy.records + X_indices[entry] * lazy.stride, 1)

            # Stochastic gradient oracle
            for i in range(n_gradients):
                begin_gradient(&run, i)
                if not lazy.grouped:
                    support, values = &lazy.supports[i], rows[i]
                for j in range(batch_size):
                    row = iterations[it, i * batch_size + j]
                    start = X_indptr[row]
                    entries = gather(
                        cfg, &lazy, data + start, indices + start,
                        X_indptr[row + 1] - start, support, values,
                    )
                    sample.prediction = (
                        lazy.frame.decay * entries.along_coef + run.intercept
                    )
                    sample.y, sample.weight = y[row], sample_weight[row]
                    sample.leverage = leverage_weight(cfg, entries.standardised_norm)
                    sample.squared_norm = entries.squared_norm
                    derivative = add_sample(
                        cfg, &run, &lazy.frame, i, &sample, &losses[row]
                    )
                    run.g.inner = entries.along_location
                    if lazy.grouped:
                        add_to_union(
                            &lazy, support, values,
                            1 if batch_size == 1 else sample.weight * derivative,
                            rows[i],
                        )
                end_gradient(cfg, &run, i)

            if not must_skip(cfg, &sample):
                # Gradient estimator
                direction = estimate(
                    cfg, &lazy, <const double**>rows, &run.g,
                    run.total_weight / n_gradients, workspace.median_room, &run.rate,
                    &run.clipping, &estimated,
                )

                # Parameter update
                factor = begin_step(cfg, &run, &lazy.frame, estimated.step_weight)
                intercept = step(
                    &lazy, &estimated, factor, support_of(&lazy, n_gradients - 1),
                    direction, n_strata > 1,
                )
                end_iteration(cfg, &run, &lazy.frame, factor, intercept)
                if cfg.charges_l1:
                    for i in range(1 if lazy.grouped else n_gradients):
                        charge(cfg, &lazy, &lazy.supports[i], run.owed_penalty)

            if lazy.grouped:
                clear_union(&lazy, rows, n_gradients)

        materialise(
            &lazy, not (cfg.charges_l1 and cfg.plain_sgd),
            0 if cfg.plain_sgd else run.owed_penalty,
        )

    end_strata(&lazy, state)
    state.squared_norm, state.l1_norm = lazy.squared_norm, lazy.l1_norm
    result = end_pass(cfg, state, &run, &lazy.frame, n_iterations * group_size)
    require(lazy.n_outside == 0, "X_indices")
    return result
