"""One pass over the rows of a C-contiguous array."""

from cython cimport floating
from libc.math cimport INFINITY
from libc.stdint cimport uint8_t
from libc.string cimport memset

from medsgd._core.checks cimport check_pass, require
from medsgd._core.estimators cimport Dense, Estimate, estimate
from medsgd._core.medians cimport Room, place_gradients, size_of_gradients
from medsgd._core.oracle cimport Sample, leverage_weight
from medsgd._core.passes cimport (
    Pass, add_sample, begin_gradient, begin_iteration, begin_pass, begin_step,
    end_gradient, end_iteration, end_pass, must_skip,
)
from medsgd._core.settings cimport SPP_L2, Settings
from medsgd._core.steps cimport Frame, leave, must_leave
from medsgd._core.vector cimport (
    MEDIAN_ROOM, Products, axpy, c_instruction_set, charge_l1, dot, l1_norm, multiply,
    prefetch, products,
)

# The order is shuffled but known, so that rows can be prefetched. The hardware
# prefetches the rest of a long row.
cdef Py_ssize_t AHEAD = 4
cdef size_t LONGEST_PREFETCH = 1024


def instruction_set():
    """Name of the instruction set that the loops use."""
    return c_instruction_set.decode()


cdef inline const floating* read_row(
    Settings cfg, const floating* x, const floating* center,
    const floating* inverse_scale, floating* z, const floating* u, const floating* m,
    Py_ssize_t d, Products* product, Sample* sample,
) noexcept nogil:
    """Return a row in the units of the fit: ``z`` if it is standardised."""
    sample.leverage = 1
    if cfg.standardize:
        product[0] = products(x, center, inverse_scale, z, u, m, d)
        x = z
        sample.leverage = leverage_weight(cfg, product.squared_norm)
    else:
        if cfg.leverage_limit < INFINITY:
            product[0] = products(x, center, inverse_scale, z, u, <floating*>NULL, d)
            sample.leverage = leverage_weight(cfg, product.squared_norm)
        product[0] = products(
            x, <floating*>NULL, <floating*>NULL, <floating*>NULL, u, m, d
        )
    sample.squared_norm = product.squared_norm
    return x


cdef inline void move(
    const Frame* frame, double factor, double multiple, const floating* x, floating* u,
    floating* sums, Py_ssize_t d,
) noexcept nogil:
    """Set u += factor * multiple * x, leaving the sum of the averages as it is."""
    axpy(factor * multiple, x, u, d)
    if sums != NULL:
        axpy(-frame.sum_scale * factor * multiple, x, sums, d)


cdef inline void sum_up(
    Frame* frame, const floating* u, floating* sums, Py_ssize_t d
) noexcept nogil:
    """Make ``sums`` alone the sum of the averages."""
    if sums != NULL:
        axpy(frame.sum_scale, u, sums, d)
        frame.sum_scale = 0


def run_pass(
    Settings cfg not None,
    state,
    const floating[::1] center,
    const floating[::1] inverse_scale,
    const floating[:, ::1] X,
    const floating[::1] y,
    const floating[::1] sample_weight,
    const uint8_t[::1] strata,
    const Py_ssize_t[:, ::1] iterations,
    double[::1] losses,
):
    """Go through ``iterations`` and bring ``state`` up to date.

    Each row of ``iterations`` holds the n_gradients * batch_size samples, all of one
    stratum, of an iteration. Rows are standardised by ``center`` and ``inverse_scale``
    if the settings ask for it. The loss of each sample is stored in ``losses``. Return
    the mean over samples of loss + penalty (for the mean of gradients, else nan), the
    number of measured residuals, and the number of those that were clipped or rejected.

    Raises
    ------
    ValueError
        If arguments do not fit each other. Nothing has changed then.
    """
    cdef:
        Py_ssize_t d = X.shape[1], n_gradients = cfg.n_gradients
        Py_ssize_t batch_size = cfg.batch_size, n_strata = len(state.location)
        Py_ssize_t group_size = n_gradients * batch_size
        Py_ssize_t n_iterations = iterations.shape[0]
        Py_ssize_t i, j, k = 0, it, row
        bint uses_units = cfg.standardize or cfg.leverage_limit < INFINITY
        floating[::1] coef = state.coef
        floating[::1] average = state.sums if cfg.averages else coef
        floating[:, ::1] location = state.location, tracked_scale = state.scale
        double[::1] n_updates = state.n_updates, shares = state.shares
        floating[::1] paid_penalty = state.paid_penalty if cfg.charges_l1 else None

    check_pass(
        cfg, state, iterations, strata, y, sample_weight, losses, X.shape[0], d
    )
    require(not uses_units or center.shape[0] == d, "center")
    require(not uses_units or inverse_scale.shape[0] == d, "inverse_scale")
    require(coef.shape[0] == d, "state.coef")
    require(average.shape[0] == d, "state.sums")
    require(not cfg.charges_l1 or paid_penalty.shape[0] == d, "state.paid_penalty")

    cdef:
        # Where an iteration's gradients and rows are; the rows where they are
        # standardised, and averages of batches; its location; room for medians.
        size_t size = size_of_gradients(n_gradients, cfg.gradient_estimator)
        size_t n_bytes = size + (n_gradients + group_size) * sizeof(void*)
        Room room = Room(n_bytes + sizeof(floating) * (
            2 * n_gradients * d + (d + n_gradients * MEDIAN_ROOM) * (n_gradients > 1)
        ))
        const floating** x = <const floating**>(room.start + size)
        const floating** raw = x + n_gradients
        floating* standardised = <floating*>(room.start + n_bytes)
        floating* batches = standardised + n_gradients * d

        floating* u = &coef[0]
        floating* sums = &average[0] if cfg.averages else NULL
        Dense tracked[2]
        Pass run
        Frame frame
        Sample sample
        Products product
        Estimate estimated
        const floating* x_row
        const floating* m = NULL
        const floating* direction
        double derivative, step, factor

    place_gradients(&run.g, n_gradients, <double*>room.start)
    begin_pass(cfg, state, &run, &frame)
    run.g.has_inner = (
        group_size == 1 and cfg.gradient_estimator == SPP_L2 and cfg.tau < INFINITY
    )
    for i in range(n_strata):
        tracked[i].n_updates, tracked[i].n_features = n_updates[i], d
        if cfg.tracks_location:
            tracked[i].m, tracked[i].s = &location[i, 0], &tracked_scale[i, 0]
            tracked[i].squared_norm = dot(&location[i, 0], &location[i, 0], d)

    with nogil:
        for it in range(n_iterations):
            if n_strata > 1:
                k = strata[iterations[it, 0]]
            begin_iteration(cfg, &run)

            if it + AHEAD < n_iterations:
                for i in range(group_size):
                    row = iterations[it + AHEAD, i]
                    prefetch(&X[row, 0], min(d * sizeof(floating), LONGEST_PREFETCH))
                    prefetch(&y[row], 1)
                    prefetch(&sample_weight[row], 1)
                    prefetch(&losses[row], 1)

            # Stochastic gradient oracle
            if run.g.has_inner:
                m = &location[k, 0]
            for i in range(n_gradients):
                begin_gradient(&run, i)
                if batch_size > 1:
                    memset(batches + i * d, 0, d * sizeof(floating))
                for j in range(batch_size):
                    row = iterations[it, i * batch_size + j]
                    raw[i * batch_size + j] = &X[row, 0]
                    x_row = read_row(
                        cfg, &X[row, 0], &center[0], &inverse_scale[0],
                        standardised + i * d, u, m, d, &product, &sample,
                    )
                    sample.prediction = frame.decay * product.along_coef + run.intercept
                    sample.y, sample.weight = y[row], sample_weight[row]
                    derivative = add_sample(
                        cfg, &run, &frame, i, &sample, &losses[row]
                    )
                    if batch_size == 1:
                        x[i] = x_row
                    elif sample.weight != 0:
                        axpy(sample.weight * derivative, x_row, batches + i * d, d)
                if batch_size > 1:
                    x[i] = batches + i * d
                end_gradient(cfg, &run, i)
            run.g.inner = product.along_location
            if must_skip(cfg, &sample):
                continue

            # Gradient estimator
            direction = estimate(
                cfg, &tracked[k], x, &run.g, run.total_weight / n_gradients,
                batches + n_gradients * d, &run.rate, &run.clipping, &estimated,
            )

            # Parameter update
            step = begin_step(cfg, &run, &frame, estimated.step_weight)
            if must_leave(&frame):
                sum_up(&frame, u, sums, d)
                multiply(frame.decay, u, d)
                leave(&frame)
            factor = step / frame.decay
            if n_strata > 1:
                estimated.intercept = 0
                for i in range(n_strata):
                    move(&frame, factor, shares[i], &location[i, 0], u, sums, d)
                    estimated.intercept += shares[i] * location[i, d]
            elif factor * estimated.multiple != 0:
                move(&frame, factor, estimated.multiple, direction, u, sums, d)
                if not cfg.median and cfg.charges_l1:
                    frame.squared_norm, frame.l1_norm = dot(u, u, d), l1_norm(u, d)
                elif not cfg.median and group_size == 1:
                    factor *= estimated.multiple
                    frame.squared_norm += factor * (
                        2 * product.along_coef + factor * product.squared_norm
                    )
            end_iteration(cfg, &run, &frame, step, estimated.intercept)
            if cfg.charges_l1:
                # scikit-learn charges all coefficients. Other fits charge those of the
                # rows, as on sparse rows, and all at the end of the pass.
                charge_l1(
                    run.owed_penalty, frame.decay, frame.sum_scale, raw,
                    0 if cfg.plain_sgd else group_size,
                    &center[0] if cfg.standardize else NULL, u, &paid_penalty[0],
                    NULL if cfg.plain_sgd else sums, d,
                )

        if not (cfg.charges_l1 and cfg.plain_sgd):
            sum_up(&frame, u, sums, d)
        multiply(frame.decay, u, d)
        if cfg.charges_l1 and not cfg.plain_sgd:
            charge_l1(
                run.owed_penalty, 1, 0, NULL, 0, <floating*>NULL, u, &paid_penalty[0],
                <floating*>NULL, d,
            )

    for i in range(n_strata):
        n_updates[i] = tracked[i].n_updates
    frame.sum_scale /= frame.decay
    state.squared_norm, state.l1_norm = dot(u, u, d), l1_norm(u, d)
    return end_pass(cfg, state, &run, &frame, n_iterations * group_size)
