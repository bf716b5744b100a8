"""scikit-learn's own tests of SGD, run on the two classes with SGD's defaults."""

import importlib.util
import inspect
import math
import sys
from types import SimpleNamespace
from unittest import mock

import pytest
import sklearn
from _versions import sgd_as_of
from sklearn import linear_model
from sklearn.utils.fixes import parse_version

from medsgd import MedianSGDClassifier, MedianSGDRegressor

SUITE = "sklearn.linear_model.tests.test_sgd"

LEFT_OUT = {
    # Classes of losses that are private to scikit-learn.
    "test_loss_hinge",
    "test_gradient_squared_hinge",
    "test_loss_modified_huber",
    "test_loss_epsilon_insensitive",
    "test_loss_squared_epsilon_insensitive",
    # Mocks a private class of scikit-learn's implementation.
    "test_validation_mask_correctly_subsets",
    # Looks for private attributes of scikit-learn's implementation.
    "test_plain_has_no_average_attr",
    # One-class SVM, which the package does not have.
    "test_warm_start_oneclass",
    "test_clone_oneclass",
    "test_partial_fit_oneclass",
    "test_partial_fit_equal_fit_oneclass",
    "test_late_onset_averaging_reached_oneclass",
    "test_sgd_averaged_computed_correctly_oneclass",
    "test_sgd_averaged_partial_fit_oneclass",
    "test_average_sparse_oneclass",
    "test_ocsvm_vs_sgdocsvm",
    "test_sgd_oneclass_convergence",
    "test_sgd_oneclass_vs_linear_oneclass",
    "test_sgd_oneclass_vs_linear_oneclass_offsets_match",
    "test_sgd_one_class_svm_estimator_type",
    "test_sgd_one_class_svm_formulation_with_scipy_minimize",
}
if parse_version(sklearn.__version__) < parse_version("1.7"):
    # A value of `average` that was deprecated.
    LEFT_OUT.add("test_passive_aggressive_deprecated_average")


def dress(median_class, sgd_class):
    """A `median_class` with the name, the parameters and the defaults of SGD's."""
    signature = inspect.signature(sgd_class.__init__)

    def __init__(self, *args, **kwargs):
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        params = {name: v for name, v in bound.arguments.items() if name != "self"}
        median_class.__init__(
            self,
            **params,
            gradient_estimator="mean",
            n_gradients=1,
            batch_size=1,
            momentum=0.0,
        )

    __init__.__signature__ = signature
    namespace = {
        "__init__": __init__,
        "__module__": __name__,
        # Before scikit-learn 1.8 the default of eta0, for the classifier, is 0.
        "_parameter_constraints": median_class._parameter_constraints
        | {"eta0": sgd_class._parameter_constraints["eta0"]},
        "loss_functions": sgd_class.loss_functions,
    }
    return type(sgd_class.__name__, (median_class,), namespace)


SGDClassifier = dress(MedianSGDClassifier, linear_model.SGDClassifier)
SGDRegressor = dress(MedianSGDRegressor, linear_model.SGDRegressor)


def load_suite():
    """A second copy of the suite, for which `linear_model` has the dressed classes."""
    dressed = SimpleNamespace(**vars(linear_model))
    dressed.SGDClassifier, dressed.SGDRegressor = SGDClassifier, SGDRegressor
    spec = importlib.util.find_spec(SUITE)
    spec = importlib.util.spec_from_file_location("dressed_sgd_suite", spec.origin)
    suite = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    with mock.patch.object(sklearn, "linear_model", dressed):
        spec.loader.exec_module(suite)
    return suite


def is_one_class(value):
    values = value if isinstance(value, (list, tuple)) else [value]
    return any("OneClass" in getattr(v, "__name__", "") for v in values)


def without_one_class(mark):
    """The same mark, without the parameters that name a one-class SVM."""
    if mark.name != "parametrize":
        return mark
    names, values = mark.args
    values = [value for value in values if not is_one_class(value)]
    return getattr(pytest.mark, mark.name)(names, values).mark


def n_cases(function):
    marks = [m for m in function.pytestmark if m.name == "parametrize"]
    return math.prod(len(mark.args[1]) for mark in marks)


suite = load_suite()
suite_tests = {name: f for name, f in vars(suite).items() if name.startswith("test_")}
run_here = {name: f for name, f in suite_tests.items() if name not in LEFT_OUT}
for function in run_here.values():
    marks = getattr(function, "pytestmark", [])
    function.pytestmark = [without_one_class(mark) for mark in marks]
globals().update(run_here)

# The suite's short fits warn, whatever this project makes of warnings.
pytestmark = pytest.mark.filterwarnings("default")


def test_the_suite_sees_the_dressed_classes():
    for make, dressed, sgd_class in [
        (suite.SGDClassifier, SGDClassifier, linear_model.SGDClassifier),
        (suite.SparseSGDClassifier, SGDClassifier, linear_model.SGDClassifier),
        (suite.SGDRegressor, SGDRegressor, linear_model.SGDRegressor),
        (suite.SparseSGDRegressor, SGDRegressor, linear_model.SGDRegressor),
    ]:
        assert isinstance(make(), dressed)
        assert make().gradient_estimator == "mean"
        assert dressed().get_params() == sgd_class().get_params()


@sgd_as_of("1.9")
def test_no_other_test_is_left_out():
    assert LEFT_OUT.issubset(suite_tests)
    assert len(run_here) >= 71
    assert sum(n_cases(function) for function in run_here.values()) >= 201
