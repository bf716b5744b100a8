"""Docstrings of the public API, validated as scikit-learn validates its own."""

import importlib
import inspect
import pkgutil

import numpy as np
import pytest

import medsgd

pytest.importorskip("dask")
validate = pytest.importorskip("numpydoc.validate").validate

MODULES = ["medsgd"] + [
    f"medsgd.{module.name}"
    for module in pkgutil.iter_modules(medsgd.__path__)
    if not module.name.startswith("_")
]
# Of what scikit-learn ignores in sklearn/tests/test_docstrings.py.
IGNORED = {
    "RT02",  # a name for what is returned; numpydoc wants one for several things only
}
# The class has them: scikit-learn's way to keep methods short.
IGNORED_OF_METHODS = {
    "ES01",  # an extended summary
    "EX01",  # examples
    "SA01",  # See Also
}


def public():
    """Paths of the public names and of the methods that are the package's own."""
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name in module.__all__:
            path, value = f"{module_name}.{name}", getattr(module, name)
            yield path, False
            if not inspect.isclass(value):
                continue
            for method_name in dir(value):
                method = getattr(value, method_name)
                # scikit-learn's own are its to document.
                own = (getattr(method, "__module__", None) or "").startswith("medsgd.")
                if not method_name.startswith("_") and callable(method) and own:
                    yield f"{path}.{method_name}", True


def test_what_is_public_is_found():
    paths = {path for path, _ in public()}
    assert {
        "medsgd.MedianSGDClassifier.predict_log_proba",
        "medsgd.MedianSGDRegressor.partial_fit",
        "medsgd.datasets.make_contaminated_regression",
        "medsgd.gradient_estimators.SPPL2.update",
        "medsgd.inspection.ResidualsDisplay.from_predictions",
        "medsgd.optimize.minimize_stochastic",
    } <= paths
    assert not any("set_fit_request" in path for path in paths)


@pytest.mark.parametrize("path, is_method", list(public()))
def test_docstring(path, is_method):
    ignored = IGNORED | (IGNORED_OF_METHODS if is_method else set())
    errors = [
        (code, message)
        for code, message in validate(path)["errors"]
        if code not in ignored
    ]
    assert not errors


def documented_attributes(cls):
    from numpydoc.docscrape import ClassDoc

    return {entry.name for entry in ClassDoc(cls)["Attributes"]}


def public_attributes(instance):
    names = vars(instance)
    return {name for name in names if name.endswith("_") and not name.startswith("_")}


@pytest.mark.parametrize("name", ["MedianSGDClassifier", "MedianSGDRegressor"])
def test_fitted_attributes_are_those_documented(name):
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    X = pandas.DataFrame(rng.normal(size=(40, 2)), columns=["a", "b"])
    cls = getattr(medsgd, name)
    fitted = cls(max_iter=9, tol=None).fit(X, X["a"] > 0)
    assert public_attributes(fitted) == documented_attributes(cls)


@pytest.mark.parametrize(
    "name", importlib.import_module("medsgd.gradient_estimators").__all__
)
def test_attributes_of_gradient_estimators_are_those_documented(name):
    cls = getattr(importlib.import_module("medsgd.gradient_estimators"), name)
    estimator = cls()
    estimator.update([[1.0, 2.0], [2.0, 5.0], [3.0, 3.0]])
    documented = documented_attributes(cls)
    # The mean skips nothing, and so need not say how many.
    assert public_attributes(estimator) - {"n_skipped_"} == documented - {"n_skipped_"}


def test_attributes_of_displays_are_those_documented():
    pytest.importorskip("matplotlib")
    for display in (
        medsgd.CoefficientsDisplay(
            names=["a"], coef=[1.0], std_error=[0.5], lower=[0.0], upper=[2.0]
        ),
        medsgd.FitCurveDisplay(loss_curve=[2.0, 1.0]),
        medsgd.ResidualsDisplay(y_true=[1.0, 2.0], y_pred=[1.0, 3.0], scale=0.1),
    ):
        display.plot()
        assert public_attributes(display) == documented_attributes(type(display))
