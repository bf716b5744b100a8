"""One pass over the rows of a CSR matrix, at a cost of O(nnz) per row."""

from cython cimport floating, integral
from libc.math cimport INFINITY, fabs
from libc.stdint cimport uint8_t
from libc.string cimport memset

import numpy as np

from medsgd._core.lazy cimport (
    Coordinate, Drift, Lazy, catch_up, coefficient, count_average, follow, follow_l1,
    follow_l2, materialise, step_along_locations,
)
from medsgd._core.losses cimport BISQUARE
from medsgd._core.medians cimport Gradients, location_of
from medsgd._core.oracle cimport (
    leverage_weight, passive_aggressive_derivative, sample_derivative, sample_loss,
    threshold, track_residual_scale, without_overshoot,
)
from medsgd._core.settings cimport (
    ADAPTIVE, L2, MEAN, NO_PENALTY, PA1, PA2, SPP_L1, SPP_L2, Settings,
)
from medsgd._core.spp cimport Clipping
from medsgd._core.steps cimport decay, learning_rate, must_leave, penalty_value
from medsgd._core.vector cimport MEDIAN_BLOCK, charge_l1


cdef inline void add_to_u(
    Lazy* lazy, const Py_ssize_t* index, Py_ssize_t n, double scale, const double* x,
    double* squared_norm, double* l1_norm,
) noexcept nogil:
    """u += scale * x, leaving the sum of the averages as it is.

    The norms become those of the coordinates touched.
    """
    cdef Py_ssize_t i
    cdef Coordinate* c
    squared_norm[0] = l1_norm[0] = 0
    for i in range(n):
        c = &lazy.coordinates[index[i]]
        c.u += scale * x[i]
        c.sums -= lazy.frame.sum_scale * scale * x[i]
        squared_norm[0] += c.u * c.u
        l1_norm[0] += fabs(c.u)


cdef inline void charge(
    Settings cfg, Lazy* lazy, Py_ssize_t j, double owed
) noexcept nogil:
    """Take the cumulative L1 penalty from a coordinate."""
    cdef Coordinate* c = &lazy.coordinates[j]
    cdef double before, after
    catch_up(cfg, lazy, j)
    before = after = coefficient(lazy, j)
    charge_l1(
        owed, lazy.frame.scale, 0, <double*>NULL, &after, &c.paid, <double*>NULL, 1
    )
    c.u += after - before
    if cfg.exact_average:
        c.sums -= lazy.frame.sum_scale * (after - before)


def run_pass(
    Settings cfg,
    state,
    const floating[::1] center,
    const floating[::1] inverse_scale,
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

    As ``run_pass`` in dense.pyx, but rows are scaled without being centred. Column
    indices of a row must be distinct.
    """
    cdef:
        Py_ssize_t d = state.coef.shape[0], n_strata = state.location.shape[0]
        Py_ssize_t n_gradients = cfg.n_gradients, batch_size = cfg.batch_size
        Py_ssize_t group_size = n_gradients * batch_size
        Py_ssize_t n_iterations = iterations.shape[0]
        Py_ssize_t i, j, k, b, it, row, entry, n, last = n_gradients - 1
        bint passive_aggressive = cfg.learning_rate in (PA1, PA2)
        bint averaging = cfg.average > 0
        bint l1 = cfg.penalty not in (NO_PENALTY, L2)
        bint with_objective = cfg.gradient_estimator == MEAN
        bint rejects = with_objective and cfg.loss == BISQUARE
        bint penalised = (
            cfg.penalty != NO_PENALTY and not passive_aggressive
            and not cfg.tracks_location
        )
        bint proximal = (
            cfg.gradient_estimator in (SPP_L1, SPP_L2) and cfg.tau < INFINITY
        )
        bint unclipped = (
            cfg.gradient_estimator in (SPP_L1, SPP_L2) and not proximal
        )
        bint thresholding = proximal and cfg.gradient_estimator == SPP_L1
        bint weighs_leverage = cfg.leverage_limit < INFINITY
        bint scales_rows = cfg.standardize or weighs_leverage

        # The state in double precision, side by side by coordinate.
        double[::1] coef = np.array(state.coef, dtype=np.float64)
        double[::1] sums = np.array(
            state.sums if averaging else (), dtype=np.float64
        )
        double[::1] paid_penalty = np.array(state.paid_penalty, dtype=np.float64)
        double[:, ::1] location = np.array(state.location, dtype=np.float64)
        double[:, ::1] tracked_scale = np.array(state.scale, dtype=np.float64)
        double[::1] n_updates = state.n_updates, shares = state.shares
        double intercept = state.intercept
        double average_intercept = state.average_intercept
        double owed_penalty = state.owed_penalty
        double t = state.t, eta = state.eta, n_averaged = state.n_averaged
        double residual_scale = state.residual_scale
        uint8_t[::1] coordinates = np.zeros(d * sizeof(Coordinate), dtype=np.uint8)
        uint8_t[::1] drifts = np.zeros(
            d * sizeof(Drift) if thresholding else 1, dtype=np.uint8
        )
        double[:, :, ::1] logs = np.empty(
            (n_strata, 4, 1 + cfg.tracks_location * n_iterations * n_gradients)
        )

        # One iteration's coordinates, and its gradients as rows over them.
        Py_ssize_t capacity = min(
            d, group_size * np.diff(X_indptr).max(initial=0)
        ) + 1
        Py_ssize_t[::1] index = np.empty(capacity, dtype=np.intp)
        double[:, ::1] rows = np.zeros((n_gradients, capacity))
        double[::1] scales = np.empty(n_gradients), intercepts = np.empty(n_gradients)
        double[::1] sample_weights = np.empty(n_gradients)
        double[::1] weights = np.empty(n_gradients)
        double[::1] work = np.empty(n_gradients * (n_gradients + 4))
        size_t[::1] addresses = np.empty(n_gradients, dtype=np.uintp)
        const double** x = <const double**>&addresses[0]
        double[::1] room = np.empty(capacity)
        double[::1] scratch = np.empty(n_gradients * MEDIAN_BLOCK)
        Gradients g
        Clipping clipping
        Lazy lazy
        double squared_u, l1_u, last_scale
        Coordinate* c

        const double* direction
        double direction_scale, direction_intercept, factor, step_weight
        double epsilon, standard
        double p, derivative, weight, squared_norm, total_weight, step, along
        double value, loss, objective = 0
        bint skip

    g.n, g.scale, g.intercept = n_gradients, &scales[0], &intercepts[0]
    g.sample_weight, g.weight, g.work = &sample_weights[0], &weights[0], &work[0]
    for i in range(n_gradients):
        x[i] = &rows[i, 0]
    clipping.n_residuals = clipping.n_clipped = 0
    squared_u, l1_u = state.norms

    lazy.n_features, lazy.thresholding = d, thresholding
    lazy.n_strata = n_strata if cfg.tracks_location else 0
    lazy.frame.scale, lazy.frame.sum_scale = 1, state.sum_scale
    lazy.coordinates = <Coordinate*>&coordinates[0]
    lazy.drifts = <Drift*>&drifts[0]
    lazy.steps = lazy.weighted_steps = 0
    for k in range(lazy.n_strata):
        lazy.strata[k].share = shares[k] if n_strata > 1 else 1
        lazy.strata[k].intercept = location[k, d]
        lazy.strata[k].n_updates = n_updates[k]
        lazy.strata[k].s = tracked_scale[k, tracked_scale.shape[1] - 1]
        lazy.strata[k].n_seen = 0
        lazy.strata[k].shrink = 1
        lazy.strata[k].drift = lazy.strata[k].sum_drift = 0
        lazy.strata[k].squared_norm = 0
        for i in range(4):
            lazy.strata[k].log[i] = &logs[k, i, 0]
    for j in range(d):
        c = &lazy.coordinates[j]
        c.u, c.paid, c.slot = coef[j], paid_penalty[j], -1
        c.sums = sums[j] if averaging else 0
        for k in range(lazy.n_strata):
            c.m[k] = location[k, j]
            lazy.strata[k].squared_norm += c.m[k] * c.m[k]
            if thresholding and cfg.c_tau > 0:
                lazy.drifts[j].s[k] = tracked_scale[k, j]

    with nogil:
        for it in range(n_iterations):
            k = strata[iterations[it, 0]] if n_strata > 1 else 0
            eta = learning_rate(cfg, t, eta)

            # Stochastic gradient oracle
            n = 0
            total_weight = 0
            skip = False
            for i in range(n_gradients):
                intercepts[i] = sample_weights[i] = weights[i] = 0
                scales[i] = 1
                for b in range(batch_size):
                    row = iterations[it, i * batch_size + b]
                    weight = sample_weight[row]
                    p = 0
                    squared_norm = 0
                    for entry in range(X_indptr[row], X_indptr[row + 1]):
                        if X_data[entry] == 0:
                            continue
                        j = X_indices[entry]
                        c = &lazy.coordinates[j]
                        catch_up(cfg, &lazy, j)
                        value = standard = X_data[entry]
                        if scales_rows:
                            standard *= inverse_scale[j]
                        if cfg.standardize:
                            value = standard
                        p += value * coefficient(&lazy, j)
                        squared_norm += standard * standard
                        if c.slot < 0:
                            c.slot = n
                            index[n] = j
                            n += 1
                    p = lazy.frame.scale * p + intercept
                    if cfg.tracks_residuals:
                        residual_scale = track_residual_scale(
                            cfg, residual_scale, y[row], p, weight
                        )
                    epsilon = threshold(cfg, residual_scale)
                    loss = sample_loss(cfg, epsilon, y[row], p)
                    losses[row] = loss
                    if with_objective:
                        objective += loss
                        if penalised:
                            objective += penalty_value(
                                cfg,
                                lazy.frame.scale * lazy.frame.scale * squared_u,
                                lazy.frame.scale * l1_u,
                            )
                    if passive_aggressive:
                        skip = cfg.learning_rate == PA1 and squared_norm == 0
                        derivative = passive_aggressive_derivative(
                            cfg, epsilon, y[row], p, squared_norm
                        )
                    else:
                        derivative = sample_derivative(cfg, epsilon, y[row], p)
                        if rejects:
                            clipping.n_residuals += 1
                            clipping.n_clipped += derivative == 0
                        if cfg.overshoot < INFINITY:
                            derivative = without_overshoot(
                                cfg, derivative, eta * weight, squared_norm
                            )
                    sample_weights[i] += weight
                    if weighs_leverage:
                        weight *= leverage_weight(cfg, squared_norm)
                    weights[i] += weight
                    if batch_size == 1:
                        scales[i] = derivative
                        weight = 1
                    else:
                        weight *= derivative
                        scales[i] = 1
                    intercepts[i] += scales[i] * weight
                    for entry in range(X_indptr[row], X_indptr[row + 1]):
                        if X_data[entry] != 0:
                            j = X_indices[entry]
                            value = X_data[entry]
                            if cfg.standardize:
                                value *= inverse_scale[j]
                            rows[i, lazy.coordinates[j].slot] += weight * value
                if batch_size > 1:
                    scales[i] = 0
                    if weights[i] != 0:
                        scales[i] = 1 / weights[i]
                        intercepts[i] /= weights[i]
                    sample_weights[i] /= batch_size
                    weights[i] /= batch_size
                if not cfg.fit_intercept:
                    intercepts[i] = 0
                total_weight += sample_weights[i]

            if not skip:
                # Gradient estimator
                factor = 1
                step_weight = total_weight / n_gradients
                direction, direction_scale = x[last], scales[last]
                direction_intercept = intercepts[last]
                if proximal:
                    for i in range(n_gradients):
                        if thresholding:
                            factor = 0
                            follow_l1(
                                cfg, &lazy, k, &g, i, x[i], &index[0], n, &clipping
                            )
                        else:
                            factor = follow_l2(
                                cfg, &lazy, k, &g, i, x[i], &index[0], n, &clipping
                            )
                else:
                    if n_gradients > 1 and not unclipped:
                        direction, direction_scale = &room[0], 1
                        direction_intercept = location_of(
                            cfg.gradient_estimator, x, &g, n, &room[0], &scratch[0]
                        )
                    if cfg.tracks_location:
                        factor = 1 - cfg.momentum
                        if unclipped:
                            step_weight = sample_weights[last]
                            for i in range(last):
                                follow(
                                    &lazy, k, factor, sample_weights[i] * scales[i],
                                    sample_weights[i] * intercepts[i], x[i],
                                    &index[0], n,
                                )
                        direction_scale *= step_weight
                        direction_intercept *= step_weight
                        step_weight = 1
                        follow(
                            &lazy, k, factor, direction_scale, direction_intercept,
                            direction, &index[0], n,
                        )

                # Parameter update
                decay(cfg, &lazy.frame, eta)
                step = -(1 if passive_aggressive else eta) * step_weight
                if must_leave(&lazy.frame):
                    squared_u *= lazy.frame.scale * lazy.frame.scale
                    l1_u *= lazy.frame.scale
                    materialise(cfg, &lazy, True)
                along = step / lazy.frame.scale
                if n_strata == 1 and factor == 1:
                    # The location is the gradient: what moves is the row's support.
                    if along * direction_scale != 0:
                        add_to_u(
                            &lazy, &index[0], n, along * direction_scale, direction,
                            &squared_u, &l1_u,
                        )
                else:
                    step_along_locations(&lazy, along)
                    direction_intercept = 0
                    for i in range(n_strata):
                        direction_intercept += (
                            lazy.strata[i].share * lazy.strata[i].intercept
                        )
                intercept += step * cfg.intercept_decay * direction_intercept
                if averaging and t >= cfg.average:
                    count_average(&lazy)
                    n_averaged += 1
                    average_intercept += (intercept - average_intercept) / n_averaged
                if l1:
                    owed_penalty += cfg.l1_ratio * eta * cfg.penalty_factor
                    for i in range(n):
                        charge(cfg, &lazy, index[i], owed_penalty)
                t += 1

            for i in range(n):
                lazy.coordinates[index[i]].slot = -1
            for i in range(n_gradients):
                memset(&rows[i, 0], 0, n * sizeof(double))

        squared_u *= lazy.frame.scale * lazy.frame.scale
        l1_u *= lazy.frame.scale
        last_scale = lazy.frame.scale
        materialise(cfg, &lazy, cfg.exact_average or not l1)
        for j in range(d):
            c = &lazy.coordinates[j]
            coef[j], paid_penalty[j] = c.u, c.paid
            if averaging:
                sums[j] = c.sums
            for k in range(lazy.n_strata):
                location[k, j] = lazy.strata[k].shrink * c.m[k]
                if thresholding and cfg.c_tau > 0:
                    tracked_scale[k, j] = lazy.drifts[j].s[k]
        for k in range(lazy.n_strata):
            location[k, d] = lazy.strata[k].intercept
            tracked_scale[k, tracked_scale.shape[1] - 1] = lazy.strata[k].s
            n_updates[k] = lazy.strata[k].n_updates

    state.coef[:] = coef
    if averaging:
        state.sums[:] = sums
        state.sum_scale = lazy.frame.sum_scale
    state.paid_penalty[:] = paid_penalty
    state.location[:] = location
    state.scale[:] = tracked_scale
    state.intercept = intercept
    state.average_intercept = average_intercept
    state.n_averaged = n_averaged
    state.residual_scale = residual_scale
    state.decay *= last_scale
    state.owed_penalty = owed_penalty
    state.norms = squared_u, l1_u
    state.t = t
    if cfg.learning_rate != ADAPTIVE:
        state.eta = eta
    return (
        objective / max(1, n_iterations * group_size) if with_objective
        else float("nan"),
        clipping.n_residuals,
        clipping.n_clipped,
    )
