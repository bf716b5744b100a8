"""Documentation of parameters and attributes, each written once."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from medsgd._core.settings import GRADIENT_ESTIMATORS

C = TypeVar("C", bound=Callable)


def options(names: Iterable[str]) -> str:
    """Return the names that a parameter may have, as docstrings list them."""
    return f"{{{', '.join(map(repr, names))}}}"


PARAMETERS = {
    "loss": """
loss : {losses}, default={default_loss}""",
    "gradient_estimator": f"""
gradient_estimator : {options(GRADIENT_ESTIMATORS)}, default='spp-l2'
    The location of the stochastic gradients, which sets the direction of each step.

{{estimators}}{{estimator_note}}""",
    "n_gradients": """
n_gradients : 'auto' or int, default='auto'
    Number of stochastic gradients per iteration. 'auto' is 5 for the two sample
    medians, as in [1]_, and 1 otherwise. A median of n gradients fails in the
    iterations in which more than half of the gradients are outliers. With 10% outliers
    that is every hundredth iteration for 5 gradients, and every three thousandth for
    11.""",
    "batch_size": """
batch_size : int, default=1
    Number of samples over which each stochastic gradient is averaged. Averaging makes
    skewed gradients more symmetric, so that their median is nearer to their mean. It
    also spreads each outlier over a batch: with 10% outliers, 57% of the batches of 8
    samples contain one.""",
    "momentum": """
momentum : float, default=0.0
    Memory of the estimator, in [0, 1). For the mean this is the heavy ball
    ``m += (1 - momentum) * (g - m)``. The sample medians are averaged in the same way.
    For SPP the Huber function with threshold ``tau * momentum / (1 - momentum)``
    replaces the norm.""",
    "half_life": """
half_life : float or None, default=None
    Number of rows of a stream after which a row counts half in the refined estimate
    of :meth:`partial_fit`. None counts all rows alike. A shorter half-life follows
    drifting coefficients faster, and the estimate is noisier: it is as accurate as an
    estimate from 1.4 times so many rows. The half-life is at least 2 rows for each
    parameter. With a half-life, rows of one call count in their order. Only used by
    :meth:`partial_fit` with `refine`, and not on Dask.""",
    "penalty": """
penalty : {'l2', 'l1', 'elasticnet', None}, default='l2'
    The regularization term. It acts on the coefficients directly and is not part of
    the gradients whose location is estimated.""",
    "alpha": """
alpha : 'auto' or float, default='auto'
    Factor of the regularization term. With `standardize` the term is of the
    coefficients of standardised features. Also used to compute the learning rate when
    `learning_rate` is 'optimal'.{alpha_note}""",
    "l1_ratio": """
l1_ratio : float or None, default=0.15
    The Elastic Net mixing parameter, in [0, 1]: 0 is the L2 penalty, 1 is L1. Only
    used if `penalty` is 'elasticnet', else it may be None.""",
    "fit_intercept": """
fit_intercept : bool, default=True
    Whether the intercept should be estimated. It is part of the gradient. If False,
    the data is assumed to be centered.""",
    "max_iter": """
max_iter : int, default=1000
    The maximum number of passes over the training data (epochs){max_iter_note}.
    It only has an effect on :meth:`fit`, not on :meth:`partial_fit`.""",
    "shuffle": """
shuffle : bool, default=True
    Whether the training data is shuffled before each epoch.""",
    "verbose": """
verbose : int, default=0
    The verbosity level; above 0, each epoch is reported.""",
    "random_state": """
random_state : int, RandomState instance or None, default=None
    Used for shuffling the data and for the held-out part under `early_stopping`.
    Pass an int for reproducible output across multiple function calls.""",
    "eta0": """
eta0 : 'auto' or float, default='auto'
    The initial learning rate for the 'constant', 'invscaling' and 'adaptive'
    schedules. 'auto' is ``0.2 / (1 + q)``, where q is the squared norm of a typical
    row, about the number of standardised features. scikit-learn's 0.01 is too long a
    step for hundreds of features and too short for one. 'auto' is 0.01 for
    `gradient_estimator='mean'` without standardisation. For 'pa1' `eta0` is the largest
    step. For 'pa2' a smaller `eta0` makes the steps smaller.{exact_note}""",
    "n_iter_no_change": """
n_iter_no_change : 'auto' or int, default={patience_default}
    Number of epochs without progress before stopping. 'auto' counts the work in
    updates, {patience_updates}. For few samples that is up to 200
    epochs. For a million samples it is one epoch, which must improve by proportionally
    more than `tol`. For `gradient_estimator='mean'` 'auto' is 5.{exact_note}""",
    "standardize": """
standardize : 'auto' or bool, default='auto'
    Whether the fit subtracts the median of each feature and divides by the normalised
    median absolute deviation{scale_note}. The divisor of a column with many equal
    values is the scale of a normal distribution mixed with one value. No scaler is
    needed, outliers do not move these units, and `coef_` is in the units of `X`. Sparse
    features, and all features without an intercept, are divided and not centred: such
    features far from 0 converge slowly. The refinement centres sparse features that are
    not 0 in most samples. At most 10,000 rows of :meth:`fit`, or of the
    first call of :meth:`partial_fit`, set the units. For a stream in tiny pieces the
    first 30 rows do. {units_note}. 'auto' is True for the medians and False for
    `gradient_estimator='mean'`.""",
    "leverage_weights": """
leverage_weights : bool, default=True
    Whether a sample far out in the features has less influence on the median. Its
    radius, or its weight in a sample median, is multiplied by {leverage_formula},
    where z is its standardised row and chi2 the 97.5% quantile of the chi-squared
    distribution for the number of features. With `batch_size` above 1 the factor also
    weights the sample within its batch. Ignored for
    `gradient_estimator='mean'`{leverage_note}.""",
    "warm_start": """
warm_start : bool, default=False
    When set to True, reuse the solution of the previous call to fit as
    initialization. The number of iterations and the tracked location start anew.""",
    "average": """
average : bool or int, default=False
    When set to True, the fitted coefficients are the averages over all iterations.
    An int greater than 1 begins the average at that iteration.{exact_note}""",
    "tol": """
tol : float or None, default=1e-3
    The stopping criterion. None always runs as many epochs as `max_iter` allows. For
    the medians, training stops when the median of the losses of an epoch's samples
    plus the penalty is above ``best * (1 - tol)`` for `n_iter_no_change` epochs in a
    row. Outliers do not prevent this statistic from converging, and the criterion does
    not depend on the scale of the data. For `gradient_estimator='mean'` the criterion
    is scikit-learn's: the mean loss plus the penalty above ``best - tol``. With
    `loss='bisquare'` the mean stops like the medians.{exact_note}""",
    "early_stopping": """
early_stopping : bool, default=False
    Whether to set aside part of the training data and to apply the stopping criterion
    to it. For the medians the statistic is then the median of the losses of this part.
    For the mean it is 1 - :meth:`score`.{early_note}""",
    "validation_fraction": """
validation_fraction : float, default=0.1
    The proportion of training data to set aside for early stopping, in (0, 1).
    Only used if `early_stopping` is True.""",
}

ATTRIBUTES = {
    "n_iter_": """
n_iter_ : int
    Number of epochs before the stopping criterion was reached{n_iter_note}.
    It is 1 after :meth:`partial_fit`.""",
    "t_": """
t_ : float
    Number of iterations (parameter updates) so far plus 1. With `n_gradients` and
    `batch_size` of 1 and one stage it is ``n_iter_ * n_samples + 1``.""",
    "clip_fraction_curve_": """
clip_fraction_curve_ : {curve_shape}
    Share of the gradients (for 'spp-l1', of their components) that were farther from
    the location than the radius, in each epoch.{clip_note} Only for SPP.""",
    "n_features_in_": """
n_features_in_ : int
    Number of features seen during :term:`fit`.""",
    "feature_names_in_": """
feature_names_in_ : ndarray of shape (`n_features_in_`,)
    Names of features seen during :term:`fit`. Defined only when `X` has feature names
    that are all strings.""",
}

# Entries that methods of displays share.
PLOT = {
    "ax": """
ax : matplotlib Axes, default=None
    Axes to plot on. If `None`, a new figure is created.""",
    "display": """
display : :class:`{display}`
    Object that stores the values and the drawn artists.""",
}


def fill(
    entries: Mapping[str, str] = PARAMETERS | ATTRIBUTES, **notes: str
) -> Callable[[C], C]:
    """Decorate a class or a function: replace ``{{name}}`` lines of its docstring.

    The entry of that name takes the place of the line, with ``notes`` filled in.
    """

    def decorate(cls: C) -> C:
        def entry(match):
            indent, name = match.groups()
            text = entries[name].strip()
            for key, note in notes.items():
                text = text.replace(f"{{{key}}}", note)
            return "\n".join((indent + line).rstrip() for line in text.splitlines())

        if doc := inspect.getdoc(cls):  # `python -OO` has none
            # The line break before the closing quotes, which getdoc takes away.
            cls.__doc__ = re.sub(r"(?m)^( *)\{\{(\w+)\}\}$", entry, doc) + "\n"
        return cls

    return decorate
