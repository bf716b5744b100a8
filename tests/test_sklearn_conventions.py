"""The estimators keep scikit-learn's conventions and work inside its tools."""

import inspect
import io
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from _versions import sgd_as_of
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.ensemble import BaggingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.metrics import log_loss, median_absolute_error
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from medsgd import MedianSGDClassifier, MedianSGDRegressor

ESTIMATORS = ["mean", "coord-median", "geometric-median", "spp-l1", "spp-l2"]
CLASSES = [MedianSGDRegressor, MedianSGDClassifier]
SGD = {MedianSGDRegressor: SGDRegressor, MedianSGDClassifier: SGDClassifier}
# The two that scikit-learn lists for its own SGD estimators.
EXPECTED_FAILED_CHECKS = {
    f"check_sample_weight_equivalence_on_{kind}_data": (
        "a weight is a multiple of a step, copies are several steps"
    )
    for kind in ("dense", "sparse")
}


@parametrize_with_checks(
    [
        estimator_class(gradient_estimator=name)
        for estimator_class in CLASSES
        for name in ESTIMATORS
    ],
    expected_failed_checks=lambda estimator: EXPECTED_FAILED_CHECKS,
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator_class", CLASSES)
def test_parameters_are_those_of_sgd_and_more(estimator_class):
    ours = inspect.signature(estimator_class).parameters
    theirs = inspect.signature(SGD[estimator_class]).parameters
    documented = {"eta0": "auto", "alpha": "auto"}
    added = {
        "gradient_estimator": "spp-l2",
        "n_gradients": "auto",
        "batch_size": 1,
        "tau": "auto",
        "momentum": 0.0,
        "standardize": "auto",
        "leverage_weights": True,
        "refine": True,
        "half_life": None,
    }
    if estimator_class is MedianSGDClassifier:
        documented |= {
            "loss": "log_loss",
            "learning_rate": "adaptive",
            "power_t": 0.25,
        }
    else:
        documented |= {"n_iter_no_change": "auto"}
    for name, parameter in theirs.items():
        assert ours[name].kind == parameter.kind, name
        assert ours[name].default == documented.get(name, parameter.default), name
    new = {name: p.default for name, p in ours.items() if name not in theirs}
    assert new == added
    for name in new:
        assert ours[name].kind == inspect.Parameter.KEYWORD_ONLY, name


@sgd_as_of("1.8")
@pytest.mark.parametrize("estimator_class", CLASSES)
def test_methods_and_fitted_attributes_are_those_of_sgd_and_more(estimator_class):
    X, y = make_data("binary" if estimator_class is MedianSGDClassifier else "real")
    ours = estimator_class(max_iter=100).fit(X, y)
    theirs = SGD[estimator_class](loss=ours.loss, max_iter=100).fit(X, y)

    def public(est):
        names = (name for name in dir(est) if not name.startswith("_"))
        return {name for name in names if hasattr(est, name)}

    assert public(theirs) - {"loss_functions"} <= public(ours)
    more = {"tau_", "loss_curve_", "clip_fraction_curve_"}
    if estimator_class is MedianSGDRegressor:
        more |= {"scale_", "outliers_"}
    assert more <= public(ours)


def make_data(task, n=150, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    y = X @ [2.0, -1.0, 0.5, 0.0] + 1 + 0.1 * rng.normal(size=n)
    if task == "binary":
        y = np.where(y > 1, "b", "a")
    elif task == "multiclass":
        y = np.digitize(y, [0, 2])
    return X, y


def make_estimator(task, **params):
    estimator_class = MedianSGDRegressor if task == "real" else MedianSGDClassifier
    return estimator_class(**{"random_state": 0, "max_iter": 8, "tol": None} | params)


@pytest.mark.parametrize("task", ["real", "multiclass"])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_clone_of_a_fitted_estimator_refits_alike(name, task):
    X, y = make_data(task)
    params = {"gradient_estimator": name, "n_gradients": 3, "batch_size": 2}
    fitted = make_estimator(task, tau=0.7, momentum=0.5, **params).fit(X, y)
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert not hasattr(copy, "coef_")
    assert_array_equal(copy.fit(X, y).coef_, fitted.coef_)


def through_pickle(est):
    return pickle.loads(pickle.dumps(est))


def through_joblib(est):
    buffer = io.BytesIO()
    joblib.dump(est, buffer)
    buffer.seek(0)
    return joblib.load(buffer)


@pytest.mark.parametrize("trip", [through_pickle, through_joblib])
@pytest.mark.parametrize("task", ["real", "binary", "multiclass"])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_round_trip_in_mid_stream_changes_nothing(name, task, trip):
    X, y = make_data(task)
    classes = {} if task == "real" else {"classes": np.unique(y)}
    for params in [{}, {"average": 20, "momentum": 0.5, "batch_size": 2}]:
        est = make_estimator(task, gradient_estimator=name, **params)
        est.partial_fit(X[:60], y[:60], **classes)
        copy = trip(est)
        assert_array_equal(copy.predict(X), est.predict(X))
        for one in (est, copy):
            one.partial_fit(X[60:], y[60:])
        assert_array_equal(copy.coef_, est.coef_)
        assert_array_equal(copy.intercept_, est.intercept_)
        assert copy.t_ == est.t_


@pytest.mark.parametrize("name", ESTIMATORS)
def test_round_trip_with_sparse_coefficients(name):
    X, y = make_data("binary")
    est = make_estimator("binary", gradient_estimator=name).fit(X, y)
    expected = est.decision_function(X)
    copy = through_pickle(est.sparsify())
    assert sp.issparse(copy.coef_)
    assert_allclose(copy.decision_function(X), expected, rtol=1e-13)


def test_grid_search_crosses_estimators_and_tau():
    X, y = make_data("real", n=300)
    y[::10] += 1e3
    taus = ["auto", 0.1, np.inf]
    params = {"max_iter": 20, "tol": None, "random_state": 0}
    alpha = {"alpha": 0.0001}
    scoring = "neg_median_absolute_error"
    search = GridSearchCV(
        MedianSGDRegressor(**params | alpha, refine=False),
        {"gradient_estimator": ESTIMATORS, "tau": taus},
        scoring=scoring,
        cv=3,
        error_score="raise",
    ).fit(X, y)
    sgd = GridSearchCV(SGDRegressor(**params), {}, scoring=scoring, cv=3).fit(X, y)
    scores = search.cv_results_["mean_test_score"].reshape(len(ESTIMATORS), len(taus))
    assert_allclose(scores[0], sgd.best_score_, rtol=1e-8)
    assert search.best_params_["gradient_estimator"] != "mean"
    assert search.best_score_ > sgd.best_score_ / 10
    assert search.best_estimator_.n_iter_ == 20


def test_grid_search_of_a_pipelined_classifier():
    X, y = load_iris(return_X_y=True)
    pipe = make_pipeline(StandardScaler(), MedianSGDClassifier(random_state=0))
    grid = {"mediansgdclassifier__gradient_estimator": ESTIMATORS}
    search = GridSearchCV(pipe, grid, cv=3, error_score="raise").fit(X, y)
    # Always naming the most frequent class has accuracy 1/3.
    assert search.cv_results_["mean_test_score"].min() > 0.8


@pytest.mark.parametrize("name", ESTIMATORS)
def test_pipeline_is_a_fit_on_scaled_data(name):
    X, y = make_data("real")
    X = 5 * X + 3
    est = make_estimator("real", gradient_estimator=name)
    pipe = make_pipeline(StandardScaler(), clone(est)).fit(X, y)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    # The two ways of scaling round differently.
    assert_allclose(pipe.predict(X), est.fit(Z, y).predict(Z), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("loss", ["hinge", "log_loss"])
def test_calibrated_classifier(loss, method):
    X, y = make_data("binary", n=400)
    est = MedianSGDClassifier(loss=loss, random_state=0)
    calibrated = CalibratedClassifierCV(est, method=method, cv=3).fit(X[:300], y[:300])
    proba = calibrated.predict_proba(X[300:])
    assert_allclose(proba.sum(axis=1), 1)
    # Half the log loss of always saying 1/2.
    assert log_loss(y[300:], proba) < 0.5 * np.log(2)


def test_bagging_regressor():
    X, y = make_data("real", n=400)
    y_bad = y.copy()
    y_bad[:30] = 1e4
    bagging = BaggingRegressor(MedianSGDRegressor(), n_estimators=5, random_state=0)
    bagging.fit(X[:300], y_bad[:300])
    # Standard deviation 0.1 of the noise, 1.4 times its median absolute value.
    assert median_absolute_error(y[300:], bagging.predict(X[300:])) < 0.1


def make_frames():
    X, y = make_data("real")
    frame = pd.DataFrame(X, columns=list("abcd"))
    return frame, frame[list("badc")], frame.rename(columns={"a": "x"}), y


@pytest.mark.parametrize("estimator_class", CLASSES)
def test_feature_names(estimator_class):
    frame, permuted, renamed, y = make_frames()
    y = y > 1 if estimator_class is MedianSGDClassifier else y
    est = estimator_class(random_state=0, tol=None, max_iter=5).fit(frame, y)
    assert_array_equal(est.feature_names_in_, list("abcd"))
    assert est.n_features_in_ == 4
    plain = clone(est).fit(frame.to_numpy(), y)
    assert_array_equal(est.coef_, plain.coef_)
    assert not hasattr(plain, "feature_names_in_")
    for other in (permuted, renamed):
        with pytest.raises(ValueError, match="feature names should match"):
            est.predict(other)
        with pytest.raises(ValueError, match="feature names should match"):
            est.partial_fit(other, y)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        est.predict(frame.to_numpy())
    with pytest.warns(UserWarning, match="fitted without feature names"):
        plain.predict(frame)
    est.fit(renamed, y)
    assert_array_equal(est.feature_names_in_, list("xbcd"))
    est.fit(frame.to_numpy(), y)
    assert not hasattr(est, "feature_names_in_")


def test_labels_in_a_series_with_another_index():
    frame, *_, y = make_frames()
    labels = pd.Series(np.where(y > 1, "up", "down"), index=frame.index[::-1])
    est = MedianSGDClassifier(random_state=0, tol=None, max_iter=20).fit(frame, labels)
    assert_array_equal(est.classes_, ["down", "up"])
    assert est.score(frame, labels) > 0.9


@pytest.mark.parametrize("wrap", [lambda reg: reg, make_pipeline])
def test_warnings_point_at_the_users_line(wrap):
    X = np.random.default_rng(0).normal(size=(50, 2))
    reg = wrap(MedianSGDRegressor(max_iter=1, power_t=-0.5))
    with pytest.warns(UserWarning, match="Maximum number of iteration") as warned:
        reg.fit(X, X[:, 0])
    assert {(w.category, w.filename) for w in warned} == {
        (ConvergenceWarning, __file__),
        (FutureWarning, __file__),
    }
