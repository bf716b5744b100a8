"""Plots of a fit and of its residuals, in scikit-learn's way of displays."""

from medsgd.inspection._fit_curve import FitCurveDisplay
from medsgd.inspection._residuals import ResidualsDisplay

__all__ = ["FitCurveDisplay", "ResidualsDisplay"]
