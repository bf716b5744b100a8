"""What stays the same through a fit, in the form that compiled code reads."""

from libc.math cimport INFINITY, sqrt

PENALTIES = {None: NO_PENALTY, "l1": L1, "l2": L2, "elasticnet": ELASTICNET}
LEARNING_RATES = {
    "constant": CONSTANT,
    "optimal": OPTIMAL,
    "invscaling": INVSCALING,
    "adaptive": ADAPTIVE,
    "pa1": PA1,
    "pa2": PA2,
}
GRADIENT_ESTIMATORS = {
    "mean": MEAN,
    "coord-median": COORD_MEDIAN,
    "geometric-median": GEOMETRIC_MEDIAN,
    "spp-l1": SPP_L1,
    "spp-l2": SPP_L2,
}


cdef class Settings:
    """Parameters of one fit.

    Parameters are those of the estimators by name, with: ``loss`` the code of the loss
    and ``epsilon`` its parameter; ``largest_derivative`` the bound on |loss'|;
    ``intercept_decay`` the factor on the intercept's steps; ``c_tau`` the factor on the
    running scale that gives the radius where ``tau`` is None; ``n_strata`` how many
    locations are tracked side by side.
    """

    def __init__(
        self, *, loss, epsilon, largest_derivative, penalty, alpha, l1_ratio,
        fit_intercept, intercept_decay, learning_rate, eta0, power_t, average,
        gradient_estimator, n_gradients, batch_size, tau, c_tau, momentum, n_strata,
    ):
        self.loss = loss
        self.epsilon = epsilon
        self.largest_derivative = largest_derivative
        self.penalty = PENALTIES[penalty]
        self.alpha = alpha
        self.penalty_factor = 0 if penalty is None else alpha
        self.l1_ratio = (
            1 if self.penalty == L1 else l1_ratio if self.penalty == ELASTICNET else 0
        )
        self.fit_intercept = fit_intercept
        self.intercept_decay = intercept_decay
        self.learning_rate = LEARNING_RATES[learning_rate]
        self.eta0 = eta0
        self.power_t = power_t
        # Bottou's t0: the first step is what a weight of typical size allows. His
        # max(1, loss'(-w, 1)) is 1 for every loss here.
        self.optimal_init = 1 / (sqrt(1 / sqrt(alpha)) * alpha) if alpha > 0 else 0
        self.average = average
        self.gradient_estimator = GRADIENT_ESTIMATORS[gradient_estimator]
        self.n_gradients = n_gradients
        self.batch_size = batch_size
        self.tau = 0 if tau is None else tau
        self.c_tau = 0 if tau is not None else c_tau
        self.keep = 1 - momentum
        # Without memory the location is the gradient itself and need not be stored.
        self.tracks_location = (
            momentum > 0
            or n_strata > 1
            or (self.gradient_estimator in (SPP_L1, SPP_L2) and self.tau < INFINITY)
        )
