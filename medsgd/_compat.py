"""The one place that imports names scikit-learn does not document."""

from sklearn.base import _fit_context
from sklearn.linear_model._base import LinearClassifierMixin, SparseCoefMixin
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_parameter_constraints,
    validate_params,
)
from sklearn.utils.multiclass import _check_partial_fit_first_call
from sklearn.utils.validation import _check_sample_weight

__all__ = [
    "HasMethods",
    "Interval",
    "LinearClassifierMixin",
    "SparseCoefMixin",
    "StrOptions",
    "_check_partial_fit_first_call",
    "_check_sample_weight",
    "_fit_context",
    "validate_parameter_constraints",
    "validate_params",
]


def has_callbacks(context):
    """Whether anybody listens to the tasks of a callback context."""
    return bool(context._callbacks)
