"""Beginning, samples, clock and end of a pass, the same for dense and sparse rows."""

from medsgd._core.medians cimport Gradients
from medsgd._core.oracle cimport Oracle, Sample, respond
from medsgd._core.settings cimport ADAPTIVE, PA1, Settings
from medsgd._core.spp cimport Clipping, Rate
from medsgd._core.steps cimport Frame, decay, learning_rate, leave


cdef struct Pass:
    # Numbers of the state that an iteration changes.
    double intercept
    double average_intercept
    double n_averaged
    double owed_penalty
    double t
    double eta
    double total_weight  # of the iteration's samples
    Gradients g
    Oracle oracle
    Clipping clipping
    Rate rate


cdef inline int begin_pass(Settings cfg, state, Pass* run, Frame* frame) except -1:
    """Read the numbers of a state."""
    run.intercept, run.average_intercept = state.intercept, state.average_intercept
    run.n_averaged, run.owed_penalty = state.n_averaged, state.owed_penalty
    run.t, run.eta = state.t, state.eta
    run.g.has_norms = cfg.batch_size == 1
    run.oracle.residual_scale, run.oracle.objective = state.residual_scale, 0
    run.rate.value = run.oracle.rate.value = -1
    run.clipping.n_residuals = run.clipping.n_clipped = 0
    frame.decay, frame.sum_scale = 1, state.sum_scale
    frame.squared_norm, frame.l1_norm = state.norms
    return 0


cdef inline void begin_iteration(Settings cfg, Pass* run) noexcept nogil:
    """Set the step size."""
    run.eta = learning_rate(cfg, run.t, run.eta)
    run.total_weight = 0


cdef inline void begin_gradient(Pass* run, Py_ssize_t i) noexcept nogil:
    """Reset gradient i to no samples."""
    run.g.intercept[i] = run.g.sample_weight[i] = run.g.weight[i] = 0


cdef inline double add_sample(
    Settings cfg, Pass* run, const Frame* frame, Py_ssize_t i, Sample* sample,
    double* loss,
) noexcept nogil:
    """Add a sample to gradient i, except its row; return the loss's derivative.

    The sample's weight becomes the weight of its term in the median.
    """
    cdef double derivative = respond(
        cfg, &run.oracle, frame, &run.clipping, sample, run.eta, loss
    )
    run.g.sample_weight[i] += sample.weight
    sample.weight *= sample.leverage
    run.g.weight[i] += sample.weight
    if cfg.batch_size == 1:
        run.g.multiple[i] = run.g.intercept[i] = derivative
        run.g.squared_norm[i] = sample.squared_norm
    elif sample.weight != 0:
        run.g.intercept[i] += sample.weight * derivative
    return derivative


cdef inline void end_gradient(Settings cfg, Pass* run, Py_ssize_t i) noexcept nogil:
    """Make a gradient of its samples' sum, weighted where they are a batch."""
    cdef Gradients* g = &run.g
    if cfg.batch_size > 1:
        g.multiple[i] = 0
        if g.weight[i] != 0:
            g.multiple[i] = 1 / g.weight[i]
            g.intercept[i] /= g.weight[i]
        g.sample_weight[i] /= cfg.batch_size
        g.weight[i] /= cfg.batch_size
    if not cfg.fit_intercept:
        g.intercept[i] = 0
    run.total_weight += g.sample_weight[i]


cdef inline bint must_skip(Settings cfg, const Sample* sample) noexcept nogil:
    """Whether the iteration's only sample cannot move its own prediction."""
    return cfg.learning_rate == PA1 and sample.squared_norm == 0


cdef inline double begin_step(
    Settings cfg, const Pass* run, Frame* frame, double step_weight
) noexcept nogil:
    """Shrink by the L2 penalty; return the factor on the location."""
    decay(cfg, frame, run.eta)
    return -(1 if cfg.passive_aggressive else run.eta) * step_weight


cdef inline void end_iteration(
    Settings cfg, Pass* run, Frame* frame, double step, double location
) noexcept nogil:
    """Move the intercept, average, add to the L1 penalty owed, and count."""
    run.intercept += step * cfg.intercept_decay * location
    if cfg.averages and run.t >= cfg.average:
        frame.sum_scale += frame.decay
        run.n_averaged += 1
        run.average_intercept += (
            (run.intercept - run.average_intercept) / run.n_averaged
        )
    if cfg.charges_l1:
        run.owed_penalty += cfg.l1_ratio * run.eta * cfg.penalty_factor
    run.t += 1


cdef inline tuple end_pass(
    Settings cfg, state, const Pass* run, Frame* frame, Py_ssize_t n_samples
):
    """Write the numbers back and return the result of ``run_pass``."""
    state.decay *= frame.decay
    state.sum_scale = frame.sum_scale
    leave(frame)
    state.norms = (frame.squared_norm, frame.l1_norm)
    state.intercept, state.average_intercept = run.intercept, run.average_intercept
    state.n_averaged, state.owed_penalty = run.n_averaged, run.owed_penalty
    state.residual_scale = run.oracle.residual_scale
    state.t = run.t
    if cfg.learning_rate != ADAPTIVE:
        state.eta = run.eta
    return (
        float("nan") if cfg.median else run.oracle.objective / max(1, n_samples),
        run.clipping.n_residuals,
        run.clipping.n_clipped,
    )
