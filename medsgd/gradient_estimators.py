"""Estimators of the location of stochastic gradients, for models of your own.

An estimator takes gradients, one or several at a time, and returns the vector along
which to step:

>>> import numpy as np
>>> from medsgd.gradient_estimators import SPPL2
>>> estimator = SPPL2()
>>> rng = np.random.default_rng(0)
>>> w = np.zeros(3)
>>> for t in range(1, 2001):
...     gradient = w - [1, 2, 3] + rng.standard_cauchy(3)
...     w = w - 1.0 / t**0.75 * estimator.update(gradient)
>>> w.round()
array([1., 2., 3.])

The updates are those of :class:`~medsgd.MedianSGDRegressor`, in the same compiled code.
:func:`~medsgd.minimize_stochastic` is a loop like the one above.

The vectors need not be gradients. An estimator follows the mean or median of any
vectors. If their distribution is constant, the average of the estimates converges to
it.

.. currentmodule:: medsgd

.. autosummary::
   :toctree: generated/
   :nosignatures:

   gradient_estimators.Mean
   gradient_estimators.CoordMedian
   gradient_estimators.GeometricMedian
   gradient_estimators.SPPL1
   gradient_estimators.SPPL2
"""

from collections.abc import Hashable
from functools import lru_cache
from numbers import Real
from typing import Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.utils.extmath import row_norms

from medsgd._core.settings import EstimatorSettings
from medsgd._core.update import update
from medsgd._utils.compat import Interval, StrOptions, validate_parameter_constraints
from medsgd._utils.docs import fill
from medsgd._utils.guards import all_or_nothing
from medsgd._utils.typing import Auto, Floats

__all__ = ["SPPL1", "SPPL2", "CoordMedian", "GeometricMedian", "Mean"]

GradientEstimatorName: TypeAlias = Literal[
    "mean", "coord-median", "geometric-median", "spp-l1", "spp-l2"
]
# The list of choices in the documentation of a parameter.
DESCRIPTIONS = """\
    - 'mean': the mean of the gradients of an iteration. With `momentum=0` and
      `n_gradients=1` this is plain SGD.
    - 'coord-median': the componentwise median of the `n_gradients` gradients of an
      iteration. With sparse rows it is 0 in coordinates that fewer than half of the
      rows have: raise `batch_size`, or use SPP.
    - 'geometric-median': the point with the least sum of Euclidean distances to
      the `n_gradients` gradients of an iteration.
    - 'spp-l1' and 'spp-l2': the componentwise and the geometric median over all
      iterations, tracked by the stochastic proximal point method [1]_. Each gradient
      moves the location by at most `tau`, so that the influence of each sample is
      bounded. They cost little more than the mean."""

_DOCS = {
    "tau": """
tau : 'auto' or float, default='auto'
    Radius: a gradient of weight 1 moves the estimate by at most `tau`{tau_note}, in the
    unit of the gradients. 'auto' is 0.1 times `scale_`, so that the estimate scales
    with the gradients. The estimate fluctuates by about the radius. If the distribution
    is skewed, a smaller radius brings the average estimate nearer to the median.
    ``inf`` clips nothing.""",
    "momentum": """
momentum : float, default=0.0
    Memory, in [0, 1): ``m += (1 - momentum) * (g - m)``. 0 is {momentum_note}
    of the last call's gradients alone.""",
    "spp_momentum": """
momentum : float, default=0.0
    Memory, in [0, 1). Above 0 the Huber function replaces the norm. It is quadratic
    below ``tau * momentum / (1 - momentum)``, so that the estimate is between the
    median and the mean. A gradient of weight k acts like k gradients.""",
    "scale_": """
scale_ : {scale_shape}
    Running median of the distance between gradient and estimate{scale_note}. It begins
    with the median distance of the first call, and each gradient then changes it by a
    factor. Only for `tau='auto'`.""",
    "paper": """
.. [1] F. Schaipp, G. Garrigos, U. Simsekli and R. Gower, "Tracking the Median of
   Gradients with a Stochastic Proximal Point Method", TMLR 2025, arXiv 2402.12828.""",
    "estimate_": """
estimate_ : ndarray of shape (n_features,)
    The current location. It has the dtype of the first gradients, float32 or float64.
    It begins at 0, unless it is set to another value.""",
    "n_updates_": """
n_updates_ : int
    Number of gradients that the estimate has seen.""",
    "n_skipped_": """
n_skipped_ : int
    Number of gradients left out because they{skip_note} were not finite.""",
}


class _GradientEstimator(BaseEstimator):
    """Validation and state. Subclasses name the compiled estimator."""

    estimate_: Floats
    n_updates_: int
    n_skipped_: int

    _parameter_constraints: dict = {"momentum": [Interval(Real, 0, 1, closed="left")]}
    _name: str
    _skips = True  # gradients that are not finite

    def __init__(self, *, momentum: float = 0.0) -> None:
        self.momentum = momentum

    @all_or_nothing
    def update(
        self, gradients: npt.ArrayLike, weights: npt.ArrayLike | None = None
    ) -> Floats:
        """Take gradients into the estimate.

        Parameters
        ----------
        gradients : array-like of shape (n_features,) or (n_gradients, n_features)
            One gradient or several. The dtype of the first ones, float32 or float64, is
            that of the estimate; other types become float64.
        weights : array-like of shape (n_gradients,), float or None, default=None
            Non-negative weight of each gradient's term in the sum of distances that the
            estimate minimises, by default 1. For SPP it multiplies the radius. For
            means and medians of the gradients of a call, only ratios of their weights
            count, and with `momentum` each call counts once.

        Returns
        -------
        estimate : ndarray of shape (n_features,)
            A copy of the new `estimate_`.

        Raises
        ------
        ValueError
            If a parameter is not valid; if the shapes do not fit each other, or those
            of earlier calls; if a weight is negative, NaN or infinite; if a gradient is
            not finite and the estimator is :class:`Mean`. Medians skip such a gradient.
            After an error the estimator is as before.
        """
        settings = self._settings()
        g, weights = self._validated(gradients, weights)
        if not weights.all():
            g, weights = g[weights > 0], weights[weights > 0]
        finite = self._is_finite(g)
        n_skipped = len(g) - int(np.count_nonzero(finite))
        if n_skipped and not self._skips:
            raise ValueError(
                f"{n_skipped} of {len(g)} gradients are not finite, so that their "
                "mean is not finite. Leave them out, or use an estimator of a median."
            )
        if n_skipped:
            g, weights = g[finite], weights[finite]
        if not hasattr(self, "n_updates_"):
            self.n_updates_ = self.n_skipped_ = 0
            self.estimate_ = getattr(self, "estimate_", np.zeros(g.shape[1], g.dtype))
        self.n_skipped_ += n_skipped
        if len(g):
            # Compiled code changes copies.
            location, scale = _padded(self.estimate_, g.dtype), self._scale(g)
            self._track(settings, g, weights, location, scale)
            self.estimate_ = location[:-1]
            self._keep(scale)
            self.n_updates_ += len(g)
        return self.estimate_.copy()

    def reset(self) -> Self:
        """Forget all gradients.

        Returns
        -------
        self : object
            The estimator, as if new.
        """
        for name in [name for name in vars(self) if name.endswith("_")]:
            delattr(self, name)
        return self

    def _settings(self):
        """Return parameters for compiled code, validated if they are new."""
        params = {name: getattr(self, name) for name in self._parameter_constraints}
        if not all(isinstance(value, Hashable) for value in params.values()):
            self._validate_params()
        return _compiled_settings(type(self), **params)

    def _validated(self, gradients, weights):
        """Return gradients as rows, in the estimate's dtype, and their weights."""
        known = getattr(self, "estimate_", None)
        known = known if known is None else np.asarray(known)
        g = np.asarray(gradients)
        dtype = g.dtype if known is None else known.dtype
        if dtype not in (np.float32, np.float64):
            dtype = np.float64
        if g.dtype.kind not in "biuf":
            raise ValueError(f"gradients must be real numbers; got dtype {g.dtype}.")
        if g.ndim not in (1, 2) or g.size == 0:
            raise ValueError(
                "gradients must have the shape (n_features,) or (n_gradients, "
                f"n_features), with at least one of each; got {g.shape}."
            )
        with np.errstate(over="ignore"):
            g = np.require(np.atleast_2d(g), dtype, ["C", "A"])
        if known is not None and known.shape != g[0].shape:
            raise ValueError(
                f"gradients have {g.shape[1]} features, but those of earlier calls had "
                f"{known.size}. Call reset() to begin with others."
            )
        if weights is None:
            return g, np.ones(len(g))
        weights = np.require(np.asarray(weights), np.float64, ["C", "A"])
        weights = np.atleast_1d(weights)
        if weights.shape != (len(g),):
            raise ValueError(
                f"weights must have the shape ({len(g)},), one for each gradient; got "
                f"{weights.shape}."
            )
        if not (np.all(weights >= 0) and weights.sum() < np.inf):
            raise ValueError(
                f"weights must be finite and not negative; got {weights}. A gradient "
                "of weight 0 is left out."
            )
        return g, weights

    def _is_finite(self, g):
        """Return whether each gradient can be used."""
        return np.isfinite(g).all(axis=1)

    def _track(self, settings, g, weights, location, scale):
        update(settings, g, weights, location, scale, self.n_updates_)

    def _scale(self, g):
        """Return an array for the scale of compiled code."""
        return np.zeros(1, dtype=g.dtype)

    def _keep(self, scale):
        """Store the scale of compiled code."""


class _ProximalPoint(_GradientEstimator):
    """SPP: a radius, and the running scale that sets it."""

    _parameter_constraints = _GradientEstimator._parameter_constraints | {
        "tau": [StrOptions({"auto"}), Interval(Real, 0, None, closed="right")]
    }

    def __init__(self, *, tau: float | Auto = "auto", momentum: float = 0.0) -> None:
        super().__init__(momentum=momentum)
        self.tau = tau


@lru_cache(typed=True)
def _compiled_settings(cls, *, momentum, tau=np.inf):
    params = {"momentum": momentum, "tau": tau}
    params = {name: params[name] for name in cls._parameter_constraints}
    validate_parameter_constraints(
        cls._parameter_constraints, params, caller_name=cls.__name__
    )
    auto = tau == "auto"
    return EstimatorSettings(
        gradient_estimator=cls._name,
        tau=None if auto else tau,
        c_tau=0.1 if auto else 0,
        momentum=momentum,
        fit_intercept=False,
        n_strata=1,
    )


def _padded(array, dtype):
    """Return a copy with an element for the intercept of compiled code."""
    return np.append(array, 0).astype(dtype, copy=False)


def _has_norm(g):
    """Return whether the squared norm of each gradient is finite."""
    with np.errstate(over="ignore"):
        return np.isfinite(row_norms(g, squared=True))


def _typical(sizes):
    """Return the median along the first axis of values not 0 or infinite, else 0."""
    useful = (sizes > 0) & (sizes < np.inf)
    sizes = np.sort(np.where(useful, sizes, np.inf), axis=0)
    count = useful.sum(axis=0)[np.newaxis]
    low, high = (
        np.take_along_axis(sizes, np.maximum(k, 0) // 2, axis=0)[0]
        for k in (count - 1, count)
    )
    return np.where(count[0] > 0, low / 2 + high / 2, 0)


@fill(_DOCS, momentum_note="the mean")
class Mean(_GradientEstimator):
    """Mean of gradients: plain SGD steps along it, and with momentum the heavy ball.

    One gradient can move the mean by any distance, but a median by a bounded distance
    only. With `momentum` and steps of constant size it is the heavy ball [1]_, whose
    step is ``1 - momentum`` times `eta`.

    Parameters
    ----------
    {{momentum}}

    Attributes
    ----------
    {{estimate_}}
    {{n_updates_}}

    See Also
    --------
    GeometricMedian : The same of the gradients of a call, for heavy tails.

    References
    ----------
    .. [1] B. Polyak, "Some Methods of Speeding up the Convergence of Iteration
       Methods", USSR Computational Mathematics and Mathematical Physics 1964

    Examples
    --------
    >>> from medsgd.gradient_estimators import Mean
    >>> estimator = Mean(momentum=0.5)
    >>> estimator.update([4.0, 8.0])
    array([2., 4.])
    >>> estimator.update([[0.0, 0.0], [4.0, 8.0]])
    array([2., 4.])
    """

    _name = "mean"
    _skips = False


@fill(_DOCS, momentum_note="the median", skip_note="")
class CoordMedian(_GradientEstimator):
    """Componentwise median of the gradients of a call.

    Fewer than half of the gradients, by weight, cannot move a component of it beyond
    the others. It keeps nothing from call to call, unless `momentum` averages it.

    Parameters
    ----------
    {{momentum}}

    Attributes
    ----------
    {{estimate_}}
    {{n_updates_}}
    {{n_skipped_}}

    See Also
    --------
    SPPL1 : Componentwise median over all calls.

    Notes
    -----
    With one gradient in a call the median is that gradient. Between two values with
    half of the weight on either side, the median is the mean of the two.

    Examples
    --------
    >>> from medsgd.gradient_estimators import CoordMedian
    >>> CoordMedian().update([[1.0, 9.0], [2.0, 8.0], [1e9, -1e9]])
    array([2., 8.])
    >>> CoordMedian().update([[1.0, 9.0], [2.0, 8.0], [1e9, -1e9]], weights=[3, 1, 1])
    array([1., 9.])
    """

    _name = "coord-median"


@fill(_DOCS, momentum_note="the median", skip_note=" or their squared norms")
class GeometricMedian(_GradientEstimator):
    """Point with the least sum of Euclidean distances to the gradients of a call.

    Fewer than half of the gradients, by weight, cannot move it without bound. It keeps
    nothing from call to call, unless `momentum` averages it.

    Parameters
    ----------
    {{momentum}}

    Attributes
    ----------
    {{estimate_}}
    {{n_updates_}}
    {{n_skipped_}}

    See Also
    --------
    SPPL2 : Geometric median over all calls.

    Notes
    -----
    The geometric median rotates with the coordinates, but the componentwise median does
    not. It is found by Weiszfeld's iteration, safeguarded after [1]_, on the inner
    products of the gradients. The cost of a call is ``n_gradients ** 2 * n_features``.

    References
    ----------
    .. [1] Y. Vardi and C.-H. Zhang, "The multivariate L1-median and associated data
       depth", PNAS 97 (2000), 1423-1426.

    Examples
    --------
    >>> from medsgd.gradient_estimators import GeometricMedian
    >>> square = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [0.0, 0.0]]
    >>> GeometricMedian().update(square)
    array([0., 0.])
    """

    _name = "geometric-median"

    def _is_finite(self, g):
        return _has_norm(g)

    def _track(self, settings, g, weights, location, scale):
        # Inner products of vectors far from 0 would lose the digits of differences.
        center = np.median(g, axis=0)
        location[:-1] -= center
        super()._track(settings, g - center, weights, location, scale)
        location[:-1] += center


@fill(
    _DOCS,
    tau_note=" in each component",
    skip_note="",
    scale_note=" by component",
    scale_shape="ndarray of shape (n_features,)",
)
class SPPL1(_ProximalPoint):
    """Componentwise median over all gradients, by stochastic proximal points.

    Each gradient g moves each component of the estimate m by
    ``min(1 - momentum, tau / abs(g - m)) * (g - m)``, the proximal point of
    ``tau * abs(m - g)`` [1]_, or of its Huber function where `momentum` is above 0.

    Parameters
    ----------
    {{tau}}
    {{spp_momentum}}

    Attributes
    ----------
    {{estimate_}}
    {{scale_}}
    {{n_updates_}}
    {{n_skipped_}}

    See Also
    --------
    SPPL2 : The same for the Euclidean norm.
    CoordMedian : Componentwise median of the gradients of one call.

    References
    ----------
    {{paper}}

    Examples
    --------
    >>> from medsgd.gradient_estimators import SPPL1
    >>> estimator = SPPL1(tau=0.5)
    >>> estimator.update([0.25, 100.0])
    array([0.25, 0.5 ])
    """

    _name = "spp-l1"

    def _scale(self, g):
        if self.tau != "auto":
            return np.zeros(g.shape[1] + 1, dtype=g.dtype)
        if hasattr(self, "scale_"):
            return _padded(self.scale_, g.dtype)
        with np.errstate(over="ignore"):
            size = np.abs(g - self.estimate_)
        return _padded(_typical(size), g.dtype)

    def _keep(self, scale):
        if self.tau == "auto":
            self.scale_ = scale[:-1]


@fill(
    _DOCS,
    tau_note="",
    scale_note="",
    scale_shape="float",
    skip_note=" or their squared norms",
)
class SPPL2(_ProximalPoint):
    """Geometric median over all gradients, by stochastic proximal points.

    Each gradient g moves the estimate m by ``min(1 - momentum, tau / norm(g - m)) * (g
    - m)``, the proximal point of ``tau * norm(m - g)`` [1]_, or of its Huber function
    where `momentum` is above 0. With steps ``-eta * m`` this is SGD with clipped
    differences of gradients.

    Parameters
    ----------
    {{tau}}
    {{spp_momentum}}

    Attributes
    ----------
    {{estimate_}}
    {{scale_}}
    {{n_updates_}}
    {{n_skipped_}}

    See Also
    --------
    SPPL1 : The same for the l1 norm, component by component.
    GeometricMedian : Geometric median of the gradients of one call.

    References
    ----------
    {{paper}}

    Examples
    --------
    The example tracks the median of vectors whose mean does not exist:

    >>> import numpy as np
    >>> from medsgd.gradient_estimators import SPPL2
    >>> stream = [1, 2] + np.random.default_rng(0).standard_cauchy((10_000, 2))
    >>> estimator = SPPL2()
    >>> estimates = [estimator.update(x) for x in stream]
    >>> np.mean(estimates[1000:], axis=0).round(1)
    array([1., 2.])
    """

    _name = "spp-l2"

    def _is_finite(self, g):
        return _has_norm(g)

    def _scale(self, g):
        scale = getattr(self, "scale_", 0) if self.tau == "auto" else 0
        if self.tau == "auto" and scale == 0:
            with np.errstate(over="ignore"):
                scale = _typical(np.linalg.norm(g - self.estimate_, axis=1))
        return np.full(1, scale, dtype=g.dtype)

    def _keep(self, scale):
        if self.tau == "auto":
            self.scale_ = float(scale[0])


BY_NAME = {cls._name: cls for cls in (Mean, CoordMedian, GeometricMedian, SPPL1, SPPL2)}
