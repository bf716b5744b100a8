"""Private names of scikit-learn, and replacements that its older versions need."""

from collections.abc import Callable
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeVar

from sklearn.linear_model._base import LinearClassifierMixin, SparseCoefMixin
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils._plotting import _validate_style_kwargs
from sklearn.utils.multiclass import _check_partial_fit_first_call
from sklearn.utils.validation import _check_feature_names, _check_sample_weight

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # before scikit-learn 1.9

    class _Unheard:
        """A callback context without callbacks."""

        _callbacks = ()

        def call_on_fit_task_begin(self, **kwargs):
            pass

        def call_on_fit_task_end(self, **kwargs):
            pass

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Estimators whose callbacks cannot be set."""

        def _init_callback_context(self, **kwargs):
            return _Unheard()


if "allow_all_zero_weights" not in signature(_check_sample_weight).parameters:
    _check_each_weight = _check_sample_weight

    def _check_sample_weight(  # before scikit-learn 1.9
        sample_weight, X, *, allow_all_zero_weights=False, **kwargs
    ):
        sample_weight = _check_each_weight(sample_weight, X, **kwargs)
        if not (allow_all_zero_weights or sample_weight.any()):
            raise ValueError(
                "Sample weights must contain at least one non-zero number."
            )
        return sample_weight


if TYPE_CHECKING:
    # scikit-learn has no types, so that functions it decorates would have none.
    F = TypeVar("F", bound=Callable[..., Any])

    def _fit_context(*, prefer_skip_nested_validation: bool) -> Callable[[F], F]: ...
    def available_if(check: Callable[[Any], bool]) -> Callable[[F], F]: ...
    def validate_params(
        parameter_constraints: dict[str, Any], *, prefer_skip_nested_validation: bool
    ) -> Callable[[F], F]: ...
else:
    from sklearn.base import _fit_context
    from sklearn.utils._param_validation import validate_params
    from sklearn.utils.metaestimators import available_if

__all__ = [
    "CallbackSupportMixin",
    "HasMethods",
    "Interval",
    "LinearClassifierMixin",
    "SparseCoefMixin",
    "StrOptions",
    "_check_feature_names",
    "_check_partial_fit_first_call",
    "_check_sample_weight",
    "_fit_context",
    "_validate_style_kwargs",
    "available_if",
    "check_matplotlib_support",
    "validate_parameter_constraints",
    "validate_params",
]
