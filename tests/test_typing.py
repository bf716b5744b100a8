"""The annotations of the public API: complete, and what validation accepts.

That they fit how users call it is for mypy to say, of ``typing/usage.py``.
"""

import importlib
import inspect
import pkgutil
from numbers import Integral, Real
from types import NoneType
from typing import Literal, get_args, get_origin

import pytest

import medsgd
from medsgd._utils.compat import HasMethods, Interval, StrOptions

MODULES = [medsgd] + [
    importlib.import_module(f"medsgd.{module.name}")
    for module in pkgutil.iter_modules(medsgd.__path__)
    if not module.name.startswith("_")
]
PUBLIC = {getattr(module, name) for module in MODULES for name in module.__all__}
ESTIMATORS = [cls for cls in PUBLIC if hasattr(cls, "_parameter_constraints")]


def functions(public):
    """The functions of the package behind a public name."""
    if inspect.isclass(public):
        for name in dir(public):
            member = getattr(public, name)
            member = getattr(member, "__func__", member)  # of a class method
            if name == "__init__" or not name.startswith("_"):
                yield from functions(member)
    elif inspect.isfunction(public) and public.__module__.startswith("medsgd."):
        yield public


@pytest.mark.parametrize(
    "function",
    sorted(
        {f for public in PUBLIC for f in functions(public)},
        key=lambda f: f.__qualname__,
    ),
    ids=lambda f: f.__qualname__,
)
def test_signature_is_annotated(function):
    signature = inspect.signature(function)
    annotations = {name: p.annotation for name, p in signature.parameters.items()}
    annotations["return"] = signature.return_annotation
    missing = {k for k, v in annotations.items() if v is inspect.Parameter.empty}
    assert missing <= {"self", "cls"}


def annotated(annotation):
    """Strings and types that an annotation allows."""
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    parts = get_args(annotation)
    return set().union(*map(annotated, parts)) if parts else {annotation}


def accepted(constraints):
    """The same of the constraints that scikit-learn checks."""
    for constraint in constraints:
        if isinstance(constraint, StrOptions):
            yield from constraint.options
        elif isinstance(constraint, Interval):
            yield {Integral: int, Real: float}[constraint.type]
        elif constraint == "boolean":
            yield bool
        elif constraint is None:
            yield NoneType


@pytest.mark.parametrize("cls", sorted(ESTIMATORS, key=lambda cls: cls.__name__))
def test_parameters_are_annotated_as_validated(cls):
    signature = inspect.signature(cls.__init__)
    for name, constraints in cls._parameter_constraints.items():
        if {"verbose", "random_state", Integral, dict} & {
            c for c in constraints if isinstance(c, (str, type))
        }:
            continue  # not of such parts
        if any(isinstance(c, HasMethods) for c in constraints):
            continue  # of anything that has them
        allowed = annotated(signature.parameters[name].annotation)
        assert allowed == set(accepted(constraints)), name
