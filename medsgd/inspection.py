"""Plots of a fit and of its residuals, in scikit-learn's way of displays."""

from medsgd._fit_curve_display import FitCurveDisplay
from medsgd._residuals_display import ResidualsDisplay

__all__ = ["FitCurveDisplay", "ResidualsDisplay"]
