"""Linear models fitted by stochastic gradient descent on medians of gradients."""

__version__ = "0.1.0"

from medsgd._classifier import MedianSGDClassifier
from medsgd._regressor import MedianSGDRegressor
from medsgd.inspection import CoefficientsDisplay, FitCurveDisplay, ResidualsDisplay
from medsgd.optimize import minimize_stochastic

__all__ = [
    "CoefficientsDisplay",
    "FitCurveDisplay",
    "MedianSGDClassifier",
    "MedianSGDRegressor",
    "ResidualsDisplay",
    "minimize_stochastic",
]
