"""Tables of losses, gradient estimators and penalties: all else agrees with them."""

import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from medsgd._core.losses import CLASSIFICATION_LOSSES, REGRESSION_LOSSES, evaluate
from medsgd._core.settings import GRADIENT_ESTIMATORS, PENALTIES
from numpy.testing import assert_allclose, assert_array_equal

import medsgd
from medsgd import (
    MedianSGDClassifier,
    MedianSGDRegressor,
    gradient_estimators,
    minimize_stochastic,
)
from medsgd._utils.typing import ClassificationLoss, Penalty, RegressionLoss

pytest.importorskip("dask")

from medsgd.dask import DaskMedianSGDClassifier, DaskMedianSGDRegressor

CORE = Path(__file__).parents[1] / "medsgd" / "_core"
LOSSES = REGRESSION_LOSSES | CLASSIFICATION_LOSSES


def members(file, enum):
    """Names in an enum of the compiled code."""
    if not CORE.exists():
        pytest.skip("the sources are not here")
    text = (CORE / file).read_text()
    return re.search(rf"cdef enum {enum}:\n((?:    \w+\n)+)", text)[1].split()


def documented(public, parameter):
    """Names that the documentation of a parameter lists."""
    return re.findall(
        r"'([\w-]+)'", re.search(rf"\b{parameter} : {{(.*?)}}", public.__doc__)[1]
    )


def test_each_loss_of_compiled_code_has_a_row():
    codes = {loss.code for loss in LOSSES.values()}
    assert codes == set(range(len(members("losses.pxd", "Loss"))))


@pytest.mark.parametrize(
    "table, annotation, classes",
    [
        (
            REGRESSION_LOSSES,
            RegressionLoss,
            [MedianSGDRegressor, DaskMedianSGDRegressor],
        ),
        (
            CLASSIFICATION_LOSSES,
            ClassificationLoss,
            [MedianSGDClassifier, DaskMedianSGDClassifier],
        ),
    ],
)
def test_losses_are_annotated_and_documented(table, annotation, classes):
    assert set(get_args(annotation)) == set(table)
    for cls in classes:
        assert set(documented(cls, "loss")) == set(table)


def test_penalties_are_annotated_and_documented():
    literal, none = get_args(Penalty)
    names = set(get_args(literal))
    assert names | {None} == set(PENALTIES)
    assert none is type(None)
    for cls in (MedianSGDRegressor, MedianSGDClassifier):
        assert set(documented(cls, "penalty")) == names


def arguments(loss):
    """Targets and predictions about all kinks of a loss, and its parameter."""
    epsilon = 0.7 if loss.parameter is None else loss.parameter
    y = np.tile([-1.0, 1.0], 50)
    return epsilon, y, np.linspace(-4.013, 4.021, 100)


@pytest.mark.parametrize("name", LOSSES)
def test_derivative_of_a_loss(name):
    loss = LOSSES[name]
    epsilon, y, p = arguments(loss)
    step = 1e-6
    high, low = (evaluate(loss.code, epsilon, y, p + h)[0] for h in (step, -step))
    _, derivative = evaluate(loss.code, epsilon, y, p)
    assert_allclose(derivative, (high - low) / (2 * step), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", REGRESSION_LOSSES)
def test_properties_of_a_loss(name):
    loss = REGRESSION_LOSSES[name]
    epsilon, y, p = arguments(loss)
    value, derivative = evaluate(loss.code, epsilon, y, p)
    scaled, slope = evaluate(loss.code, 3 * epsilon, 3 * y, 3 * p)
    assert_allclose(scaled, 3**loss.degree * value, atol=1e-12)
    assert_allclose(slope, 3 ** (loss.degree - 1) * derivative, atol=1e-12)
    beyond = np.abs(p - y) > epsilon
    assert (derivative[beyond] == 0).all() == loss.redescending
    # "auto" has a meaning where the estimator's epsilon has one.
    assert (loss.c_epsilon > 0) == (loss.parameter is None)


def test_each_gradient_estimator_of_compiled_code_has_a_row():
    names = members("settings.pxd", "GradientEstimator")
    assert [name.lower().replace("_", "-") for name in names] == list(
        GRADIENT_ESTIMATORS
    )
    codes = [row.code for row in GRADIENT_ESTIMATORS.values()]
    assert_array_equal(codes, range(len(names)))


def test_gradient_estimators_are_annotated_and_documented():
    names = set(GRADIENT_ESTIMATORS)
    assert set(gradient_estimators.BY_NAME) == names
    assert set(get_args(gradient_estimators.GradientEstimatorName)) == names
    for cls in (MedianSGDRegressor, MedianSGDClassifier):
        assert set(documented(cls, "gradient_estimator")) == names
        for name in names:  # a line of the list
            assert re.search(rf"(?m)^ *- .*'{name}'.*:", cls.__doc__)
    assert set(documented(minimize_stochastic, "gradient_estimator")) == names
    for cls in (DaskMedianSGDRegressor, DaskMedianSGDClassifier):
        assert set(documented(cls, "aggregator")) == names


def test_classes_of_gradient_estimators_are_public():
    public = set(gradient_estimators.__all__)
    assert {cls.__name__ for cls in gradient_estimators.BY_NAME.values()} == public
    listed = re.findall(
        r"(?m)^ +gradient_estimators\.(\w+)$", gradient_estimators.__doc__
    )
    assert set(listed) == public
    assert medsgd.gradient_estimators is gradient_estimators
