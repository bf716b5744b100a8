"""Looking at a fit: plots in scikit-learn's way of displays, and standard errors."""

from medsgd.inspection._coefficient_table import CoefficientTable, coefficient_table
from medsgd.inspection._coefficients import CoefficientsDisplay
from medsgd.inspection._fit_curve import FitCurveDisplay
from medsgd.inspection._residuals import ResidualsDisplay
from medsgd.inspection._robust_r2 import robust_r2

__all__ = [
    "CoefficientTable",
    "CoefficientsDisplay",
    "FitCurveDisplay",
    "ResidualsDisplay",
    "coefficient_table",
    "robust_r2",
]
