"""One pass over the rows of a C-contiguous array."""

from cython cimport floating
from libc.math cimport INFINITY
from libc.stdint cimport uint8_t
from libc.string cimport memset

from medsgd._core.checks cimport check_pass, require
from medsgd._core.estimators cimport Location, Memory, complete, estimate
from medsgd._core.medians cimport Gradients, Room, place_gradients, size_of_gradients
from medsgd._core.oracle cimport Oracle, leverage_weight, respond
from medsgd._core.settings cimport (
    ADAPTIVE, L2, NO_PENALTY, PA1, SPP_L2, Settings,
)
from medsgd._core.spp cimport Clipping, Rate
from medsgd._core.steps cimport Frame, decay, learning_rate, leave, must_leave
from medsgd._core.vector cimport (
    MEDIAN_ROOM, Products, axpy, c_instruction_set, charge_l1, dot, l1_norm, prefetch,
    products, scale,
)

# The order is shuffled but known: rows are on their way before they are needed. The
# hardware sees for itself that a long row goes on.
cdef Py_ssize_t AHEAD = 4
cdef size_t LONGEST_PREFETCH = 1024


def instruction_set():
    """Name of the instruction set that the loops use."""
    return c_instruction_set.decode()


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
    where the settings say so. The loss of each sample goes to ``losses``. Returned are
    the mean over samples of loss + penalty (for the mean of gradients; else nan) and
    the number of residuals measured, and clipped or rejected.

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
        bint averaging = cfg.average > 0
        bint l1 = cfg.penalty not in (NO_PENALTY, L2)
        bint with_objective = not cfg.median
        bint weighs_leverage = cfg.leverage_limit < INFINITY
        bint single = n_gradients == 1 and batch_size == 1
        bint skip

        floating[::1] coef = state.coef
        floating* u = &coef[0]
        double intercept = state.intercept
        floating[::1] average = state.sums if averaging else coef
        floating* sums = &average[0] if averaging else NULL
        floating* charged_sums = NULL if cfg.plain_sgd else sums
        double average_intercept = state.average_intercept
        floating[:, ::1] location = state.location, tracked_scale = state.scale
        floating* m = NULL
        floating* s = NULL
        double[::1] n_updates = state.n_updates, shares = state.shares
        floating[::1] paid_penalty = state.paid_penalty if l1 else None
        double owed_penalty = state.owed_penalty
        double t = state.t, eta = state.eta, n_averaged = state.n_averaged

    check_pass(
        cfg, iterations, strata, y, sample_weight, losses, n_updates, shares, n_strata,
        X.shape[0], d,
    )
    if cfg.standardize or weighs_leverage:
        require(center.shape[0] == d, "center")
        require(inverse_scale.shape[0] == d, "inverse_scale")
    require(coef.shape[0] == d, "state.coef")
    require(average.shape[0] == d, "state.sums")
    require(not l1 or paid_penalty.shape[0] == d, "state.paid_penalty")
    if cfg.tracks_location:
        require(location.shape[1] == d + 1, "state.location")
        require(
            tracked_scale.shape[0] == n_strata and tracked_scale.shape[1] > 0
            and (not cfg.by_coordinate or tracked_scale.shape[1] == d + 1),
            "state.scale",
        )

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
        const floating* absent = &center[0] if cfg.standardize else NULL
        floating* standardised = <floating*>(room.start + n_bytes)
        floating* batches = standardised + n_gradients * d
        floating* out = batches + n_gradients * d
        Gradients g
        Memory memories[2]
        Products product
        Location estimated
        Oracle oracle
        Clipping clipping
        Rate rate
        Frame frame

        const floating* x_row
        const floating* inner_row = NULL
        const floating* direction
        floating* z
        double p, derivative, weight, leverage, total_weight, step, along
        double change

    place_gradients(&g, n_gradients, <double*>room.start)
    clipping.n_residuals = clipping.n_clipped = 0
    rate.value = oracle.rate.value = -1
    oracle.residual_scale, oracle.objective = state.residual_scale, 0
    frame.scale, frame.sum_scale = 1, state.sum_scale
    frame.squared_norm, frame.l1_norm = state.norms
    g.has_norms = batch_size == 1
    g.has_inner = (
        single and cfg.gradient_estimator == SPP_L2 and cfg.tau < INFINITY
    )
    for i in range(n_strata):
        memories[i].n_updates = n_updates[i]
        if cfg.tracks_location:
            memories[i].squared_norm = dot(&location[i, 0], &location[i, 0], d)

    with nogil:
        for it in range(n_iterations):
            if n_strata > 1:
                k = strata[iterations[it, 0]]
            eta = learning_rate(cfg, t, eta)
            if cfg.tracks_location:
                m, s = &location[k, 0], &tracked_scale[k, 0]
                inner_row = m if g.has_inner else NULL

            if it + AHEAD < n_iterations:
                for i in range(group_size):
                    row = iterations[it + AHEAD, i]
                    prefetch(&X[row, 0], min(d * sizeof(floating), LONGEST_PREFETCH))
                    prefetch(&y[row], 1)
                    prefetch(&sample_weight[row], 1)
                    prefetch(&losses[row], 1)

            # Stochastic gradient oracle
            total_weight = 0
            skip = False
            for i in range(n_gradients):
                g.intercept[i] = g.sample_weight[i] = g.weight[i] = 0
                if batch_size > 1:
                    memset(batches + i * d, 0, d * sizeof(floating))
                for j in range(batch_size):
                    row = iterations[it, i * batch_size + j]
                    x_row = &X[row, 0]
                    raw[i * batch_size + j] = x_row
                    z = standardised + i * d
                    leverage = 1
                    if cfg.standardize:
                        product = products(
                            x_row, &center[0], &inverse_scale[0], z, u, inner_row, d
                        )
                        x_row = z
                        leverage = leverage_weight(cfg, product.squared_norm)
                    else:
                        if weighs_leverage:
                            leverage = leverage_weight(cfg, products(
                                x_row, &center[0], &inverse_scale[0], z, u, NULL, d
                            ).squared_norm)
                        product = products(x_row, NULL, NULL, NULL, u, inner_row, d)
                    p = frame.scale * product.along_coef + intercept
                    weight = sample_weight[row]
                    derivative = respond(
                        cfg, &oracle, &frame, &clipping, y[row], p, weight, eta,
                        product.squared_norm, &losses[row],
                    )
                    skip = cfg.learning_rate == PA1 and product.squared_norm == 0
                    g.sample_weight[i] += weight
                    weight *= leverage
                    g.weight[i] += weight
                    if batch_size == 1:
                        g.scale[i] = g.intercept[i] = derivative
                        g.squared_norm[i] = product.squared_norm
                        x[i] = x_row
                    elif weight != 0:
                        axpy(weight * derivative, x_row, batches + i * d, d)
                        g.intercept[i] += weight * derivative
                if batch_size > 1:
                    x[i] = batches + i * d
                complete(cfg, &g, i)
                total_weight += g.sample_weight[i]
            g.inner = product.along_location
            if skip:
                continue

            # Gradient estimator
            direction = estimate(
                cfg, x, &g, total_weight / n_gradients, d, m, s, &memories[k], &rate,
                out, out + d, &clipping, &estimated,
            )

            # Parameter update
            decay(cfg, &frame, eta)
            step = -(1 if cfg.passive_aggressive else eta) * estimated.step_weight
            if must_leave(&frame):
                if averaging:
                    axpy(frame.sum_scale, u, sums, d)
                    frame.sum_scale = 0
                scale(frame.scale, u, d)
                leave(&frame)
            along = step / frame.scale
            if n_strata == 1:
                if along * estimated.scale != 0:
                    axpy(along * estimated.scale, direction, u, d)
                    if with_objective and l1:
                        frame.squared_norm, frame.l1_norm = dot(u, u, d), l1_norm(u, d)
                    elif with_objective and single:
                        change = along * estimated.scale
                        frame.squared_norm += change * (
                            2 * product.along_coef + change * product.squared_norm
                        )
                    if averaging:
                        axpy(
                            -frame.sum_scale * along * estimated.scale, direction,
                            sums, d,
                        )
            else:
                estimated.intercept = 0
                for i in range(n_strata):
                    axpy(along * shares[i], &location[i, 0], u, d)
                    if averaging:
                        axpy(
                            -frame.sum_scale * along * shares[i], &location[i, 0],
                            sums, d,
                        )
                    estimated.intercept += shares[i] * location[i, d]
            intercept += step * cfg.intercept_decay * estimated.intercept
            if averaging and t >= cfg.average:
                frame.sum_scale += frame.scale
                n_averaged += 1
                average_intercept += (intercept - average_intercept) / n_averaged
            if l1:
                owed_penalty += cfg.l1_ratio * eta * cfg.penalty_factor
                # scikit-learn charges all coefficients. Other fits charge those of the
                # rows, as on sparse rows, and all at the end of the pass.
                charge_l1(
                    owed_penalty, frame.scale, frame.sum_scale, raw,
                    0 if cfg.plain_sgd else group_size, absent, u, &paid_penalty[0],
                    charged_sums, d,
                )
            t += 1

        if averaging and not (l1 and cfg.plain_sgd):
            axpy(frame.sum_scale, u, sums, d)
            frame.sum_scale = 0
        scale(frame.scale, u, d)
        if l1 and not cfg.plain_sgd:
            charge_l1(
                owed_penalty, 1, 0, NULL, 0, <floating*>NULL, u, &paid_penalty[0],
                <floating*>NULL, d,
            )

    state.decay *= frame.scale
    state.sum_scale = frame.sum_scale / frame.scale
    leave(&frame)
    state.norms = (frame.squared_norm, frame.l1_norm)
    state.squared_norm, state.l1_norm = dot(u, u, d), l1_norm(u, d)
    for i in range(n_strata):
        n_updates[i] = memories[i].n_updates
    state.intercept = intercept
    state.average_intercept = average_intercept
    state.n_averaged = n_averaged
    state.residual_scale = oracle.residual_scale
    state.owed_penalty = owed_penalty
    state.t = t
    if cfg.learning_rate != ADAPTIVE:
        state.eta = eta
    return (
        oracle.objective / max(1, n_iterations * group_size) if with_objective
        else float("nan"),
        clipping.n_residuals,
        clipping.n_clipped,
    )
