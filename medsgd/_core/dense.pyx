"""One pass over the rows of a C-contiguous array."""

from cython cimport floating
from libc.math cimport INFINITY
from libc.stdint cimport uint8_t
from libc.string cimport memset

import numpy as np

from medsgd._core.estimators cimport estimate
from medsgd._core.losses cimport BISQUARE
from medsgd._core.medians cimport Gradients
from medsgd._core.oracle cimport (
    leverage_weight, passive_aggressive_derivative, sample_derivative, sample_loss,
    threshold, track_residual_scale, without_overshoot,
)
from medsgd._core.settings cimport ADAPTIVE, L2, MEAN, NO_PENALTY, PA1, PA2, Settings
from medsgd._core.spp cimport Clipping
from medsgd._core.steps cimport (
    Frame, decay, learning_rate, must_leave, penalty_value,
)
from medsgd._core.vector cimport (
    MEDIAN_BLOCK, axpy, charge_l1, dot, l1_norm, prefetch, scale, standardise,
)

# The order is shuffled but known: rows are on their way before they are needed. The
# hardware sees for itself that a long row goes on.
cdef Py_ssize_t AHEAD = 4
cdef size_t LONGEST_PREFETCH = 1024


def run_pass(
    Settings cfg,
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
    """
    cdef:
        Py_ssize_t d = X.shape[1], n_gradients = cfg.n_gradients
        Py_ssize_t batch_size = cfg.batch_size, n_strata = state.location.shape[0]
        Py_ssize_t i, j, k, it, row
        bint passive_aggressive = cfg.learning_rate in (PA1, PA2)
        bint averaging = cfg.average > 0
        bint l1 = cfg.penalty not in (NO_PENALTY, L2)
        bint with_objective = cfg.gradient_estimator == MEAN
        bint rejects = with_objective and cfg.loss == BISQUARE
        bint weighs_leverage = cfg.leverage_limit < INFINITY
        # As scikit-learn on dense rows; else, as on sparse ones, where x != 0.
        bint charge_everywhere = with_objective or cfg.standardize or (
            n_gradients == 1 and not cfg.tracks_location
        )
        bint skip

        floating[::1] coef = state.coef
        floating* u = &coef[0]
        double intercept = state.intercept
        floating[::1] average = state.sums if averaging else coef
        floating* sums = &average[0] if averaging else NULL
        floating* charged_sums = sums if cfg.exact_average else NULL
        double average_intercept = state.average_intercept
        floating[:, ::1] location = state.location, tracked_scale = state.scale
        floating* m = NULL
        floating* s = NULL
        double[::1] n_updates = state.n_updates, shares = state.shares
        floating[::1] paid_penalty = state.paid_penalty
        double owed_penalty = state.owed_penalty
        double t = state.t, eta = state.eta, n_averaged = state.n_averaged
        double residual_scale = state.residual_scale

        # One iteration's gradients; batches are averaged into rows of their own.
        double[::1] scales = np.empty(n_gradients), intercepts = np.empty(n_gradients)
        double[::1] sample_weights = np.empty(n_gradients)
        double[::1] weights = np.empty(n_gradients)
        double[::1] work = np.empty(n_gradients * (n_gradients + 4))
        size_t[::1] addresses = np.empty(n_gradients, dtype=np.uintp)
        const floating** x = <const floating**>&addresses[0]
        floating[:, ::1] batches = np.empty(
            (n_gradients if batch_size > 1 else 0, d), dtype=state.coef.dtype
        )
        floating[:, ::1] standardised = np.empty(
            (n_gradients if cfg.standardize or weighs_leverage else 0, d),
            dtype=state.coef.dtype,
        )
        floating[::1] room = np.empty(
            d if n_gradients > 1 else 1, dtype=state.coef.dtype
        )
        floating[::1] scratch = np.empty(
            n_gradients * MEDIAN_BLOCK, dtype=state.coef.dtype
        )
        Gradients g
        Clipping clipping
        Frame frame

        const floating* x_row
        floating* z
        const floating* direction
        double epsilon, leverage, step_weight, direction_scale, direction_intercept
        double p, derivative, weight, squared_norm, total_weight, step, along
        double loss, objective = 0, squared_u, l1_u
        bint penalised = (
            cfg.penalty != NO_PENALTY and not passive_aggressive
            and not cfg.tracks_location
        )

    g.n, g.scale, g.intercept = n_gradients, &scales[0], &intercepts[0]
    g.sample_weight, g.weight, g.work = &sample_weights[0], &weights[0], &work[0]
    clipping.n_residuals = clipping.n_clipped = 0
    frame.scale, frame.sum_scale = 1, state.sum_scale
    squared_u, l1_u = state.norms

    with nogil:
        for it in range(iterations.shape[0]):
            k = strata[iterations[it, 0]] if n_strata > 1 else 0
            eta = learning_rate(cfg, t, eta)

            if it + AHEAD < iterations.shape[0]:
                for i in range(n_gradients * batch_size):
                    row = iterations[it + AHEAD, i]
                    prefetch(&X[row, 0], min(d * sizeof(floating), LONGEST_PREFETCH))
                    prefetch(&y[row], 1)
                    prefetch(&sample_weight[row], 1)
                    prefetch(&losses[row], 1)

            # Stochastic gradient oracle
            total_weight = 0
            skip = False
            for i in range(n_gradients):
                intercepts[i] = sample_weights[i] = weights[i] = 0
                if batch_size > 1:
                    memset(&batches[i, 0], 0, d * sizeof(floating))
                for j in range(batch_size):
                    row = iterations[it, i * batch_size + j]
                    weight = sample_weight[row]
                    x_row = &X[row, 0]
                    leverage = 1
                    if cfg.standardize or weighs_leverage:
                        z = &standardised[i, 0]
                        squared_norm = standardise(
                            x_row, &center[0], &inverse_scale[0], z, d
                        )
                        leverage = leverage_weight(cfg, squared_norm)
                        x_row = z if cfg.standardize else x_row
                    p = frame.scale * dot(x_row, u, d) + intercept
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
                                cfg, frame.scale * frame.scale * squared_u,
                                frame.scale * l1_u,
                            )
                    if passive_aggressive:
                        squared_norm = dot(x_row, x_row, d)
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
                            if not cfg.standardize:
                                squared_norm = dot(x_row, x_row, d)
                            derivative = without_overshoot(
                                cfg, derivative, eta * weight, squared_norm
                            )
                    sample_weights[i] += weight
                    weight *= leverage
                    weights[i] += weight
                    if batch_size == 1:
                        scales[i], intercepts[i] = derivative, derivative
                        x[i] = x_row
                    elif weight != 0:
                        axpy(weight * derivative, x_row, &batches[i, 0], d)
                        intercepts[i] += weight * derivative
                if batch_size > 1:
                    scales[i] = 0
                    if weights[i] != 0:
                        scales[i] = 1 / weights[i]
                        intercepts[i] /= weights[i]
                    sample_weights[i] /= batch_size
                    weights[i] /= batch_size
                    x[i] = &batches[i, 0]
                if not cfg.fit_intercept:
                    intercepts[i] = 0
                total_weight += sample_weights[i]
            if skip:
                continue

            # Gradient estimator
            if cfg.tracks_location:
                m = &location[k, 0]
                s = &tracked_scale[k, 0]
            estimate(
                cfg, x, &g, total_weight / n_gradients, d, m, s, &n_updates[k],
                &room[0], &scratch[0], &clipping,
                &step_weight, &direction_scale, &direction, &direction_intercept,
            )

            # Parameter update
            decay(cfg, &frame, eta)
            step = -(1 if passive_aggressive else eta) * step_weight
            if must_leave(&frame):
                if averaging:
                    axpy(frame.sum_scale, u, sums, d)
                    frame.sum_scale = 0
                scale(frame.scale, u, d)
                squared_u *= frame.scale * frame.scale
                l1_u *= frame.scale
                frame.scale = 1
            along = step / frame.scale
            if n_strata == 1:
                if along * direction_scale != 0:
                    axpy(along * direction_scale, direction, u, d)
                    if with_objective and penalised:
                        squared_u = dot(u, u, d) if cfg.l1_ratio < 1 else 0
                        l1_u = l1_norm(u, d) if l1 else 0
                    if averaging:
                        axpy(
                            -frame.sum_scale * along * direction_scale, direction,
                            sums, d,
                        )
            else:
                direction_intercept = 0
                for i in range(n_strata):
                    axpy(along * shares[i], &location[i, 0], u, d)
                    if averaging:
                        axpy(
                            -frame.sum_scale * along * shares[i], &location[i, 0],
                            sums, d,
                        )
                    direction_intercept += shares[i] * location[i, d]
            intercept += step * cfg.intercept_decay * direction_intercept
            if averaging and t >= cfg.average:
                frame.sum_scale += frame.scale
                n_averaged += 1
                average_intercept += (intercept - average_intercept) / n_averaged
            if l1:
                owed_penalty += cfg.l1_ratio * eta * cfg.penalty_factor
                if charge_everywhere:
                    charge_l1(
                        owed_penalty, frame.scale, frame.sum_scale, <floating*>NULL,
                        u, &paid_penalty[0], charged_sums, d,
                    )
                else:
                    for i in range(n_gradients * batch_size):
                        charge_l1(
                            owed_penalty, frame.scale, frame.sum_scale,
                            &X[iterations[it, i], 0], u, &paid_penalty[0],
                            charged_sums, d,
                        )
            t += 1

        if averaging and (cfg.exact_average or not l1):
            axpy(frame.sum_scale, u, sums, d)
            frame.sum_scale = 0
        scale(frame.scale, u, d)

    state.decay *= frame.scale
    state.sum_scale = frame.sum_scale / frame.scale
    state.norms = (
        frame.scale * frame.scale * squared_u, frame.scale * l1_u
    )
    state.intercept = intercept
    state.average_intercept = average_intercept
    state.n_averaged = n_averaged
    state.residual_scale = residual_scale
    state.owed_penalty = owed_penalty
    state.t = t
    if cfg.learning_rate != ADAPTIVE:
        state.eta = eta
    n_samples = max(1, iterations.shape[0] * iterations.shape[1])
    return (
        objective / n_samples if with_objective else float("nan"),
        clipping.n_residuals,
        clipping.n_clipped,
    )
