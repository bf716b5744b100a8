"""Settings of a fit, in the form that compiled code reads."""

from typing import NamedTuple

from libc.math cimport INFINITY, sqrt

from medsgd._core.losses import evaluate

# Share of the L1 penalty; None for the estimator's ``l1_ratio``.
PENALTIES = {"l2": 0.0, "l1": 1.0, "elasticnet": None, None: 0.0}
LEARNING_RATES = {
    "constant": CONSTANT,
    "optimal": OPTIMAL,
    "invscaling": INVSCALING,
    "adaptive": ADAPTIVE,
    "pa1": PA1,
    "pa2": PA2,
}


class EstimatorProperties(NamedTuple):
    """A row of the table of gradient estimators.

    Attributes
    ----------
    code : int
        Member of the enum that compiled code reads.
    n_gradients : int
        Gradients per iteration that ``n_gradients="auto"`` means.
    proximal : bool
        Whether the stochastic proximal point method tracks the location over
        iterations. Otherwise it is the location of the gradients of one iteration.
    by_coordinate : bool
        Whether each coordinate has a running scale. Otherwise the norm has one.
    """

    code: int
    n_gradients: int = 1
    proximal: bool = False
    by_coordinate: bool = False


GRADIENT_ESTIMATORS = {
    "mean": EstimatorProperties(MEAN),
    "coord-median": EstimatorProperties(COORD_MEDIAN, n_gradients=5),
    "geometric-median": EstimatorProperties(GEOMETRIC_MEDIAN, n_gradients=5),
    "spp-l1": EstimatorProperties(SPP_L1, proximal=True, by_coordinate=True),
    "spp-l2": EstimatorProperties(SPP_L2, proximal=True),
}


cdef class EstimatorSettings:
    """Settings of a gradient estimator: its parameters, and these.

    Parameters
    ----------
    fit_intercept
        Whether gradients have an intercept.
    c_tau
        The factor on the running scale that gives the radius where ``tau`` is None.
    n_strata
        Number of locations that are tracked.
    """

    def __init__(
        self, *, gradient_estimator, tau, c_tau, momentum, fit_intercept, n_strata
    ):
        properties = GRADIENT_ESTIMATORS[gradient_estimator]
        self.gradient_estimator = properties.code
        self.median = self.gradient_estimator != MEAN
        self.proximal = properties.proximal
        self.by_coordinate = properties.by_coordinate
        self.fit_intercept = fit_intercept
        self.tau = 0 if tau is None else tau
        self.c_tau = 0 if tau is not None else c_tau
        self.momentum = momentum
        self.steps_follow = False
        # Without memory the location is the gradient itself and need not be stored.
        self.tracks_location = (
            momentum > 0
            or n_strata > 1
            or (self.proximal and self.tau < INFINITY)
        )


cdef class Settings(EstimatorSettings):
    """Parameters of one stage of a fit: those of the estimators by name, and these.

    Parameters
    ----------
    loss
        The loss's row in the table.
    epsilon, c_epsilon
        The loss's parameter, or None where it is ``c_epsilon`` times the running scale
        of the residuals.
    tracks_residuals, largest_residual_scale
        Whether this scale is tracked, and its upper bound.
    standardize
        Whether rows are centred and scaled.
    leverage_limit, leverage_power
        Squared norm of a standardised row beyond which its weight falls, and the power
        with which it falls.
    overshoot
        Bound on the move of a sample's prediction, over its distance from the target.
    largest_derivative
        The bound on abs(loss').
    intercept_decay
        The factor on the intercept's steps.
    """

    def __init__(
        self, *, loss, epsilon, c_epsilon, tracks_residuals, largest_residual_scale,
        standardize, leverage_limit, leverage_power, overshoot, largest_derivative,
        penalty, alpha, l1_ratio, intercept_decay, learning_rate, eta0, power_t,
        average, n_gradients, batch_size, **estimator,
    ):
        super().__init__(**estimator)
        self.steps_follow = True
        self.loss = loss.code
        self.redescending = loss.redescending
        self.epsilon = 0 if epsilon is None else epsilon
        self.c_epsilon = c_epsilon if epsilon is None else 0
        self.times_scale = self.c_epsilon > 0 and loss.degree < 2
        self.tracks_residuals = tracks_residuals
        self.largest_residual_scale = largest_residual_scale
        self.standardize = standardize
        self.leverage_limit = leverage_limit
        self.leverage_power = leverage_power
        self.overshoot = overshoot
        self.largest_derivative = largest_derivative
        self.alpha = alpha
        l1_part = PENALTIES[penalty]
        self.l1_ratio = l1_ratio if l1_part is None else l1_part
        self.charges_l1 = l1_part != 0
        self.penalty_factor = 0 if penalty is None else alpha
        self.intercept_decay = intercept_decay
        self.learning_rate = LEARNING_RATES[learning_rate]
        self.passive_aggressive = self.learning_rate in (PA1, PA2)
        self.sums_penalty = not (
            penalty is None or self.tracks_location or self.passive_aggressive
        )
        self.eta0 = eta0
        self.power_t = power_t
        # Bottou's t0: a coefficient of typical size sets the first step. His max(1,
        # loss'(-w, 1)) is 1 for every loss here.
        self.optimal_init = 1 / (sqrt(1 / sqrt(alpha)) * alpha) if alpha > 0 else 0
        self.average = average
        self.averages = average > 0
        self.n_gradients = n_gradients
        self.batch_size = batch_size
        # Whether the fit is scikit-learn's SGD, which charges the L1 penalty to sparse
        # rows' coefficients only, and to the sum of earlier iterates as well. Other
        # fits leave the sum alone and charge all coefficients at the end of a pass.
        self.plain_sgd = not (
            self.tracks_location or n_gradients * batch_size > 1 or standardize
            or self.redescending
        )

    def evaluate(self, y, prediction, double residual_scale):
        """Return values and derivatives of the loss over arrays."""
        cdef double epsilon = self.epsilon
        if self.c_epsilon > 0:
            epsilon = self.c_epsilon * residual_scale
        cdef double unit = loss_unit(self, epsilon)
        value, derivative = evaluate(self.loss, epsilon, y, prediction)
        return unit * value, unit * derivative
