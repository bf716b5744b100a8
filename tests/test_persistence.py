"""Files of fitted estimators: what later versions load, and what they say if not."""

import pickle
import pickletools
from copy import deepcopy
from dataclasses import fields

import numpy as np
import pytest
import scipy.sparse as sp
from _persisted import (
    FOLDER,
    FORMATS,
    N_ROWS,
    as_inputs,
    estimators,
    gradient_estimators,
    parameters,
    prediction,
)
from numpy.testing import assert_allclose, assert_array_equal

from medsgd import MedianSGDRegressor
from medsgd._fit import persistence
from medsgd._fit.state import State
from medsgd._fit.units import FeatureUnits
from medsgd._refinement.class_stream import ClassSums
from medsgd._refinement.stream_sums import GramSums
from medsgd.inspection import coefficient_table

VERSIONS = sorted(path.name for path in FOLDER.iterdir())
NEWEST = f"v{persistence.VERSION}"


def expected(version):
    return np.load(FOLDER / version / "expected.npz")


def load(version, name, file_format="pickle"):
    with open(FOLDER / version / f"{name}.{file_format}", "rb") as file:
        return FORMATS[file_format](file)


def tolerance(name):
    # Other processors and libraries round otherwise, and steps pass that on.
    return {"rtol": 1e-3, "atol": 1e-4} if "float32" in name else {"rtol": 1e-8}


def rest(name, version=NEWEST):
    """What the estimator has not seen."""
    X, y = as_inputs(name, *(expected(version)[key] for key in ("X", "y")))
    return X[N_ROWS:], y[N_ROWS:]


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("name", estimators())
@pytest.mark.parametrize("version", VERSIONS)
def test_predictions_are_those_of_the_version_that_wrote(version, name, file_format):
    data = expected(version)
    X, _ = as_inputs(name, data["X"], data["y"])
    estimator = load(version, name, file_format)
    actual = prediction(name, estimator, X)
    assert_allclose(actual, data[f"{name} prediction"], rtol=1e-5, atol=1e-5)
    # What was set can still be asked for.
    assert estimator.get_params()["random_state"] == 0
    assert estimator.n_features_in_ == 3


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("name", estimators())
def test_partial_fit_goes_on_as_in_the_version_that_wrote(name, file_format):
    estimator = load(NEWEST, name, file_format).partial_fit(*rest(name))
    stored = expected(NEWEST)[f"{name} parameters"]
    assert_allclose(parameters(estimator), stored, **tolerance(name))


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("name", gradient_estimators())
@pytest.mark.parametrize("version", VERSIONS)
def test_gradient_estimators_go_on_as_in_the_version_that_wrote(
    version, name, file_format
):
    data = expected(version)
    actual = load(version, name, file_format).update(data["X"][N_ROWS:])
    assert_allclose(actual, data[f"{name} estimate"], rtol=1e-8)


@pytest.mark.parametrize("cls", [FeatureUnits, State, GramSums, ClassSums])
def test_the_version_changes_with_the_fields(cls):
    """Else: raise VERSION, read the older ones as far as possible, write new files."""
    plain, of_classes = (
        load(NEWEST, name).__getstate__()["_training_state"]
        for name in ("regressor", "classifier")
    )
    stored = {
        FeatureUnits: plain["units"],
        State: plain["states"][0],
        GramSums: plain["stream"]["sums"],
        ClassSums: of_classes["stream"]["sums"],
    }[cls]
    assert stored.keys() == {field.name for field in fields(cls)}


@pytest.mark.parametrize("name", estimators())
def test_pickles_name_no_private_class_but_the_estimator(name):
    written = pickle.dumps(load(NEWEST, name))
    strings = []
    for opcode, argument, _ in pickletools.genops(written):
        assert opcode.name != "GLOBAL"
        if isinstance(argument, str):
            strings.append(argument)
    modules = {text for text in strings if text.startswith("medsgd.")}
    assert modules == {type(load(NEWEST, name)).__module__}


def of_another_version(estimator, monkeypatch):
    """The estimator as a later version of the package would have saved it."""
    with monkeypatch.context() as patch:
        patch.setattr(persistence, "VERSION", 99)
        patch.setattr("medsgd.__version__", "9.8.7")
        return pickle.dumps(estimator)


@pytest.mark.parametrize("name", ["regressor", "classifier", "regressor-stream-few"])
def test_a_state_of_another_version_predicts_and_says_why_it_cannot_go_on(
    name, monkeypatch
):
    X, y = rest(name)
    original = load(NEWEST, name)
    estimator = pickle.loads(of_another_version(original, monkeypatch))
    # Saved again it is what it was.
    for copy in (estimator, pickle.loads(pickle.dumps(estimator))):
        assert_array_equal(prediction(name, copy, X), prediction(name, original, X))
        before = pickle.dumps(vars(copy))
        with pytest.raises(
            ValueError,
            match=rf"saved by medsgd 9\.8\.7 in version 99 .* reads version "
            rf"{persistence.VERSION}\. .*, load the file with medsgd 9\.8\.7",
        ):
            copy.partial_fit(X, y)
        assert pickle.dumps(vars(copy)) == before
        copy.set_params(warm_start=True, tol=1e-3, max_iter=1000).fit(X, y)
        copy.partial_fit(X, y)


def test_a_file_without_standard_errors_says_so(monkeypatch):
    X, y = rest("regressor")
    fitted = MedianSGDRegressor(random_state=0).fit(X, y)
    others = [
        load(VERSIONS[0], "regressor"),
        pickle.loads(of_another_version(fitted, monkeypatch)),
    ]
    for loaded in others:
        with pytest.raises(ValueError, match="saved by another version"):
            coefficient_table(loaded, X, y)
        loaded.set_params(max_iter=100).fit(X, y)
        assert coefficient_table(loaded, X, y).n_samples == len(y)


def test_a_file_of_the_later_version_goes_on_there(monkeypatch):
    X, y = rest("regressor")
    later = of_another_version(load(NEWEST, "regressor"), monkeypatch)
    again = pickle.dumps(pickle.loads(later))
    monkeypatch.setattr(persistence, "VERSION", 99)
    estimator = pickle.loads(again).partial_fit(X, y)
    stored = expected(NEWEST)["regressor parameters"]
    assert_allclose(parameters(estimator), stored, rtol=1e-8)


def test_a_state_without_a_version():
    X, y = rest("regressor")
    original = load(NEWEST, "regressor")
    # As pickles were before they had one.
    estimator = type(original)()
    estimator.__setstate__(vars(original))
    assert_array_equal(estimator.predict(X), original.predict(X))
    with pytest.raises(ValueError, match=r"an early medsgd in version 0 of its format"):
        estimator.partial_fit(X, y)


@pytest.mark.parametrize("name", estimators())
def test_skops_needs_to_trust_the_estimator_alone(name):
    skops = pytest.importorskip("skops.io")
    estimator = load(NEWEST, name)
    written = skops.dumps(estimator)
    trusted = skops.get_untrusted_types(data=written)
    cls = type(estimator)
    needed = {f"{cls.__module__}.{cls.__name__}"}
    if "sparsified" in name:
        needed.add("scipy.sparse._csr.csr_matrix")
    assert set(trusted) == needed
    copy = skops.loads(written, trusted=trusted)
    X, y = rest(name)
    assert_array_equal(prediction(name, copy, X), prediction(name, estimator, X))
    for one in (copy, estimator):
        one.partial_fit(X, y)
    assert_array_equal(parameters(copy), parameters(estimator))


def test_a_saved_chunk_that_points_outside_of_itself_is_refused():
    X, y = rest("regressor")
    estimator = MedianSGDRegressor().partial_fit(sp.csr_array(X[:9]), y[:9])
    state = deepcopy(estimator.__getstate__())
    ((_, indices, *_), _), *_ = state["_training_state"]["first_rows"]
    indices[0] = 10**8
    with pytest.raises(ValueError, match=r"A saved chunk, a csr .* is not valid"):
        MedianSGDRegressor().__setstate__(state)
