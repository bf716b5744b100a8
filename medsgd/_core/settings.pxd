from medsgd._core.losses cimport Loss


cdef enum LearningRate:
    CONSTANT
    OPTIMAL
    INVSCALING
    ADAPTIVE
    PA1
    PA2


cdef enum GradientEstimator:
    MEAN
    COORD_MEDIAN
    GEOMETRIC_MEDIAN
    SPP_L1
    SPP_L2


cdef class EstimatorSettings:
    cdef:
        readonly GradientEstimator gradient_estimator
        readonly bint median         # else the mean
        readonly bint proximal       # SPP: tracks a location over iterations
        readonly bint by_coordinate  # has a running scale for each coordinate
        readonly bint fit_intercept
        readonly double tau
        readonly double c_tau
        readonly double momentum
        readonly bint steps_follow
        readonly bint tracks_location


cdef class Settings(EstimatorSettings):
    cdef:
        readonly Loss loss
        readonly double epsilon
        readonly double c_epsilon
        readonly bint times_scale  # whether the loss is times the residuals' scale
        readonly bint redescending
        readonly bint tracks_residuals
        readonly double largest_residual_scale
        readonly bint standardize
        readonly double leverage_limit
        readonly double leverage_power
        readonly double overshoot
        readonly double largest_derivative
        readonly double alpha
        readonly double penalty_factor  # alpha, or 0 without a penalty
        readonly double l1_ratio
        readonly bint charges_l1
        readonly bint sums_penalty  # whether each sample's objective has the penalty
        readonly double intercept_decay
        readonly LearningRate learning_rate
        readonly bint passive_aggressive
        readonly double eta0
        readonly double power_t
        readonly double optimal_init
        readonly double average
        readonly bint averages
        readonly bint plain_sgd
        readonly Py_ssize_t n_gradients
        readonly Py_ssize_t batch_size


cdef inline double loss_unit(Settings cfg, double epsilon) noexcept nogil:
    """Return the factor on a loss whose derivative would not scale with the targets."""
    return epsilon / cfg.c_epsilon if cfg.times_scale else 1
