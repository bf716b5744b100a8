"""Bad input: scikit-learn's errors, fits that fail cleanly, values beyond measure."""

import copy
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from _versions import sgd_as_of
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.utils._param_validation import InvalidParameterError

from medsgd import MedianSGDClassifier, MedianSGDRegressor

MEDIANS = ["coord-median", "geometric-median", "spp-l1", "spp-l2"]
ESTIMATORS = ["mean", *MEDIANS]
PAIRS = [(MedianSGDRegressor, SGDRegressor), (MedianSGDClassifier, SGDClassifier)]
CLASSES = [ours for ours, _ in PAIRS]
X = np.random.default_rng(0).normal(size=(30, 3))
Y = np.arange(30) % 2


def failure(call):
    """The exception that a call raises."""
    with pytest.raises(Exception) as caught:  # noqa: PT011
        call()
    return caught.value


def assert_fails_alike(ours, theirs, method, *args, **kwargs):
    """The same type of error, of a parameter or not, and the same first words."""
    expected = failure(lambda: getattr(theirs, method)(*args, **kwargs))
    got = failure(lambda: getattr(ours, method)(*args, **kwargs))
    assert type(got) is type(expected)
    name, ours_name = type(theirs).__name__, type(ours).__name__
    return str(got).replace(ours_name, name), str(expected)


@pytest.mark.parametrize("estimator_class", CLASSES)
@pytest.mark.parametrize(
    "params",
    [
        {"gradient_estimator": "median"},
        {"gradient_estimator": None},
        {"n_gradients": 0},
        {"n_gradients": -1},
        {"n_gradients": 2.0},
        {"n_gradients": "all"},
        {"n_gradients": None},
        {"n_gradients": 10**30},
        {"batch_size": 0},
        {"batch_size": 1.5},
        {"batch_size": "auto"},
        {"batch_size": None},
        {"batch_size": 10**30},
        {"tau": 0},
        {"tau": -1.0},
        {"tau": -np.inf},
        {"tau": np.nan},
        {"tau": "none"},
        {"tau": None},
        {"momentum": -0.1},
        {"momentum": 1},
        {"momentum": np.nan},
        {"momentum": "auto"},
        {"momentum": None},
    ],
    ids=str,
)
def test_values_of_new_parameters(estimator_class, params):
    (name,) = params
    est = estimator_class(**params)
    message = f"The '{name}' parameter of {estimator_class.__name__} must be"
    with pytest.raises(InvalidParameterError, match=message):
        est.fit(X, Y)
    kwargs = {"classes": [0, 1]} if estimator_class is MedianSGDClassifier else {}
    with pytest.raises(InvalidParameterError, match=message):
        est.partial_fit(X, Y, **kwargs)
    est = estimator_class(max_iter=1, tol=None).fit(X, Y)
    with pytest.raises(InvalidParameterError, match=message):
        est.set_params(**params).partial_fit(X, Y)


@pytest.mark.parametrize("estimator_class", CLASSES)
@pytest.mark.parametrize(
    "params",
    [
        {"tau": np.inf},
        {"tau": np.float32(0.5)},
        {"tau": 3},
        {"n_gradients": np.int64(3)},
        {"batch_size": 100},
        {"n_gradients": 100},
        {"momentum": 0},
        {"momentum": 0.999},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_values_at_the_edge_are_accepted(estimator_class, name, params):
    est = estimator_class(gradient_estimator=name, max_iter=3, tol=None, **params)
    assert np.isfinite(est.fit(X, Y).coef_).all()


@pytest.mark.parametrize("ours, theirs", PAIRS)
@pytest.mark.parametrize(
    "params",
    [
        {"loss": "absolute"},
        {"penalty": "l3"},
        {"alpha": -1.0},
        {"l1_ratio": 1.5},
        {"fit_intercept": "yes"},
        {"max_iter": 0},
        {"tol": -1.0},
        {"shuffle": "yes"},
        {"verbose": -1},
        {"epsilon": -0.1},
        {"random_state": "seed"},
        {"learning_rate": "fast"},
        {"eta0": -0.1},
        pytest.param({"eta0": 0.0}, marks=sgd_as_of("1.8")),
        {"power_t": "half"},
        {"early_stopping": 2},
        {"validation_fraction": 1.0},
        {"n_iter_no_change": 0},
        {"warm_start": "yes"},
        {"average": -1},
        {"average": 2.5},
    ],
    ids=str,
)
def test_values_of_sgds_parameters(ours, theirs, params):
    got, expected = assert_fails_alike(ours(**params), theirs(**params), "fit", X, Y)
    # Which values there are is said in the order of a set.
    assert got.split(" must be ")[0] == expected.split(" must be ")[0]
    assert got.split(". Got ")[-1] == expected.split(". Got ")[-1]


@pytest.mark.parametrize(
    "params", [{"class_weight": "equal"}, {"n_jobs": 1.5}, {"class_weight": {5: 1.0}}]
)
def test_values_of_the_classifiers_parameters(params):
    pair = MedianSGDClassifier(**params), SGDClassifier(**params)
    assert_fails_alike(*pair, "fit", X, Y)


@pytest.mark.parametrize("ours, theirs", PAIRS)
@pytest.mark.parametrize(
    "params",
    [
        {"learning_rate": "optimal", "alpha": 0},
        *(
            pytest.param(params, marks=sgd_as_of("1.8"))
            for params in (
                {"penalty": "elasticnet", "l1_ratio": None},
                {"learning_rate": "pa1", "loss": "huber"},
                {"learning_rate": "pa2", "loss": "squared_error"},
            )
        ),
    ],
    ids=str,
)
def test_impossible_combinations_of_sgds_parameters(ours, theirs, params):
    ours = ours(gradient_estimator="mean", **params)
    for method in ("fit", "partial_fit"):
        got, expected = assert_fails_alike(ours, theirs(**params), method, X, Y)
        assert got == expected


@pytest.mark.parametrize(
    "changed, fine",
    [({"gradient_estimator": name}, {"gradient_estimator": "mean"}) for name in MEDIANS]
    + [
        ({"n_gradients": 2}, {"n_gradients": 1}),
        ({"batch_size": 2}, {"batch_size": 1}),
        ({"momentum": 0.5}, {"momentum": 0.0}),
    ],
    ids=str,
)
@pytest.mark.parametrize("learning_rate", ["pa1", "pa2"])
@pytest.mark.parametrize("estimator_class", CLASSES)
def test_passive_aggressive_needs_the_gradient_of_one_sample(
    estimator_class, learning_rate, changed, fine
):
    loss = "hinge" if estimator_class is MedianSGDClassifier else "epsilon_insensitive"
    params = {"gradient_estimator": "mean", "loss": loss} | changed
    est = estimator_class(learning_rate=learning_rate, **params)
    kwargs = {"classes": [0, 1]} if estimator_class is MedianSGDClassifier else {}
    (name,) = changed
    for call in (lambda: est.fit(X, Y), lambda: est.partial_fit(X, Y, **kwargs)):
        message = str(failure(call))
        assert isinstance(failure(call), ValueError)
        assert learning_rate in message
        assert name in message
        assert repr(fine[name]) in message or f"{fine[name]:g}" in message
    est.set_params(**fine, max_iter=5, tol=None).fit(X, Y)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("ours, theirs", PAIRS)
@pytest.mark.parametrize(
    "data",
    {
        "X has one dimension": (X[:, 0], Y),
        "X has three": (X[None], Y),
        "no samples": (X[:0], Y[:0]),
        "no features": (X[:, :0], Y),
        "y is shorter": (X, Y[:-1]),
        "y is wide": (X, np.c_[Y, Y]),
        "nan in X": (np.where(X[2] == X, np.nan, X), Y),
        "inf in X": (np.where(X[2] == X, -np.inf, X), Y),
        "nan in sparse X": (sp.csr_array(np.where(X[2] == X, np.nan, X)), Y),
        "nan in y": (X, np.where(Y, np.nan, 0.0)),
        "inf in y": (X, np.where(Y, np.inf, 0.0)),
        "complex X": (X + 1j, Y),
        "strings in X": (X.astype(str).astype(object) + "?", Y),
    }.items(),
    ids=lambda item: item[0],
)
def test_data(ours, theirs, method, data):
    classifies = theirs is SGDClassifier
    kwargs = {"classes": [0, 1]} if classifies and method == "partial_fit" else {}
    for name in ESTIMATORS:
        ours_ = ours(gradient_estimator=name)
        pair = assert_fails_alike(ours_, theirs(), method, *data[1], **kwargs)
        assert pair[0] == pair[1]


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("estimator_class", CLASSES)
def test_missing_targets(estimator_class, name):
    y = np.array([None, 1] * 15)
    with pytest.raises((TypeError, ValueError)):
        estimator_class(gradient_estimator=name).fit(X, y)


@pytest.mark.parametrize("ours, theirs", PAIRS)
def test_other_formats_of_sparse_data_are_converted(ours, theirs):
    theirs = theirs(eta0=0.01, random_state=0).fit(sp.csr_array(X), Y)
    ours = ours(**theirs.get_params(), gradient_estimator="mean")
    for kind in (sp.csc_array, sp.coo_matrix, sp.lil_array):
        ours.fit(kind(X), Y)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-8, atol=1e-12)


OUTSIDE = ["csr from 1", "csr negative", "csr falling", "csc", "coo row", "coo column"]
OUTSIDE += ["lil column", "lil values", "lil rows", "dia"]


def with_wrong_indices(kind):
    """A sparse matrix that SciPy reads without a complaint."""
    A = sp.csr_array(X).asformat(kind[:3])
    if kind == "csr falling":
        A.indptr[5:7] = A.indptr[6], A.indptr[5]
    elif kind == "csr negative":
        A.indices[3] = -1
    elif kind == "csc":
        A.indices[-1] = len(Y)
    elif kind in ("coo row", "coo column"):
        A.coords[kind == "coo column"][7] = 10**8
    elif kind == "lil column":
        A.rows[2][-1] = 10**8
    elif kind == "lil values":
        A.data[2] = [1.0] * 1000
    elif kind == "lil rows":
        A.rows = A.rows[:5]
    elif kind == "dia":
        A.offsets = A.offsets[:1]
    else:
        # As libsvm's files count.
        A.indices += 1
    return A


@pytest.mark.parametrize("kind", OUTSIDE)
@pytest.mark.parametrize("estimator_class", CLASSES)
def test_sparse_matrices_that_point_outside_of_themselves(estimator_class, kind):
    A, message = with_wrong_indices(kind), rf"X, a {kind[:3]} matrix .* is not valid"
    est = estimator_class(random_state=0)
    with pytest.raises(ValueError, match=message):
        est.fit(A, Y)
    assert not hasattr(est, "coef_")
    est.fit(X, Y)
    with pytest.raises(ValueError, match=message):
        est.partial_fit(A, Y)
    for name in {"predict", "decision_function", "predict_proba"} & set(dir(est)):
        with pytest.raises(ValueError, match=message):
            getattr(est, name)(A)


@pytest.mark.parametrize("estimator_class", CLASSES)
def test_sparse_coefficients_that_point_outside_of_themselves(estimator_class):
    coef = sp.csr_array(np.ones((1, 3)))
    coef.indices[0] = 10**8
    est = estimator_class(random_state=0)
    with pytest.raises(ValueError, match=r"coef_init, a csr matrix .* is not valid"):
        est.fit(X, Y, coef_init=coef)
    est.fit(X, Y).sparsify().coef_.indices[0] = 10**8
    for call in (lambda: est.partial_fit(X, Y), lambda: est.predict(X)):
        with pytest.raises(ValueError, match=r"coef_, a csr matrix .* is not valid"):
            call()


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize(
    "method, y, kwargs",
    [
        ("fit", np.zeros(30), {}),
        ("fit", np.linspace(0, 1, 30), {}),
        ("partial_fit", Y, {}),
        ("partial_fit", Y, {"classes": [0]}),
        ("partial_fit", Y, {"classes": [0, 2]}),
    ],
)
def test_labels(name, method, y, kwargs):
    ours, theirs = MedianSGDClassifier(gradient_estimator=name), SGDClassifier()
    assert_fails_alike(ours, theirs, method, X, y, **kwargs)


@pytest.mark.parametrize("estimator_class", CLASSES)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_weights_that_are_all_zero(name, estimator_class):
    message = "^Sample weights must contain at least one non-zero number"
    with pytest.raises(ValueError, match=message):
        estimator_class(gradient_estimator=name).fit(X, Y, sample_weight=0 * Y)


@pytest.mark.parametrize("ours, theirs", PAIRS)
@pytest.mark.parametrize(
    "weight",
    [
        pytest.param(np.zeros(30), id="all zero", marks=sgd_as_of("1.9")),
        pytest.param(np.ones(29), id="too few"),
        pytest.param(np.ones((30, 1)), id="two-dimensional"),
        pytest.param(np.full(30, np.nan), id="nan"),
        pytest.param(np.full(30, np.inf), id="inf"),
        pytest.param(np.full(30, "heavy"), id="strings"),
    ],
)
def test_weights(ours, theirs, weight):
    for name in ESTIMATORS:
        pair = ours(gradient_estimator=name), theirs()
        got, expected = assert_fails_alike(*pair, "fit", X, Y, sample_weight=weight)
        assert got == expected


@pytest.mark.parametrize("name", MEDIANS)
@pytest.mark.parametrize("estimator_class", CLASSES)
def test_a_median_has_no_negative_weights(estimator_class, name):
    weight = np.where(np.arange(30) == 4, -1.0, 1.0)
    est = estimator_class(gradient_estimator=name)
    with pytest.raises(ValueError, match=r"[Nn]egative"):
        est.fit(X, Y, sample_weight=weight)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("ours, theirs", PAIRS)
def test_early_stopping_splits_without_samples(ours, theirs, name):
    # Nothing to train on; nothing held out that has a weight.
    for rows, fraction, weight in [(4, 0.99, None), (30, 0.4, np.zeros(30))]:
        params = {"early_stopping": True, "validation_fraction": fraction}
        params["random_state"] = 0
        pair = ours(gradient_estimator=name, **params), theirs(**params)
        data = X[:rows], Y[:rows]
        assert_fails_alike(*pair, "fit", *data, sample_weight=weight)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("ours, theirs", PAIRS)
def test_partial_fit_does_not_stop_early(ours, theirs, name):
    params = {"early_stopping": True}
    pair = ours(gradient_estimator=name, **params), theirs(**params)
    got, expected = assert_fails_alike(*pair, "partial_fit", X, Y)
    assert got == expected


@pytest.mark.parametrize("method", ["partial_fit", "fit"])
@pytest.mark.parametrize("cls", [MedianSGDRegressor, MedianSGDClassifier])
def test_partial_fit_does_not_stop_early_later(cls, method):
    needs_classes = cls is MedianSGDClassifier and method == "partial_fit"
    first = {"classes": np.unique(Y)} if needs_classes else {}
    est = getattr(cls(random_state=0), method)(X, Y, **first)
    other = getattr(cls(random_state=0), method)(X, Y, **first)
    with pytest.raises(ValueError, match="early_stopping should be False with partial"):
        est.set_params(early_stopping=True).partial_fit(X, Y)
    est.set_params(early_stopping=False).partial_fit(X, Y)
    assert_array_equal(est.coef_, other.partial_fit(X, Y).coef_)


@pytest.mark.parametrize("estimator_class", CLASSES)
def test_centred_features_need_an_intercept(estimator_class):
    est = estimator_class().fit(X + 10, Y)
    with pytest.raises(ValueError, match="fit_intercept=False"):
        est.set_params(fit_intercept=False).partial_fit(X + 10, Y)
    est.set_params(fit_intercept=True).partial_fit(X + 10, Y)


def test_partial_fit_does_not_balance():
    ours = MedianSGDClassifier(class_weight="balanced")
    theirs = SGDClassifier(class_weight="balanced")
    pair = assert_fails_alike(ours, theirs, "partial_fit", X, Y, classes=[0, 1])
    assert pair[0] == pair[1]


@pytest.mark.parametrize("name", ["mean", "spp-l2"])
@pytest.mark.parametrize("ours, theirs", PAIRS)
@pytest.mark.parametrize(
    "init",
    [
        {"coef_init": np.zeros(4)},
        {"coef_init": np.zeros((2, 3))},
        {"intercept_init": np.zeros(2)},
        {"intercept_init": np.zeros((1, 1))},
        {"coef_init": np.array(["a", "b", "c"])},
        {"intercept_init": ["a"]},
        {"intercept_init": [np.nan]},
    ],
    ids=str,
)
def test_initial_values(ours, theirs, name, init):
    assert_fails_alike(ours(gradient_estimator=name), theirs(), "fit", X, Y, **init)


@pytest.mark.parametrize(
    "init",
    [
        {"coef_init": np.zeros(3)},
        {"coef_init": np.zeros((2, 3))},
        {"intercept_init": np.zeros(1)},
        {"intercept_init": 0.0},
    ],
    ids=str,
)
def test_initial_values_of_three_classes(init):
    pair = MedianSGDClassifier(), SGDClassifier()
    assert_fails_alike(*pair, "fit", X, np.arange(30) % 3, **init)


@pytest.mark.parametrize("ours, theirs", PAIRS)
def test_calls_on_what_was_fitted_to_other_data(ours, theirs):
    pair = ours(gradient_estimator="mean"), theirs()
    assert type(failure(lambda: pair[0].predict(X))) is NotFittedError
    for est in pair:
        est.fit(X, Y)
    for method, args in [("predict", (X[:, :2],)), ("partial_fit", (X[:, :2], Y))]:
        got, expected = assert_fails_alike(*pair, method, *args)
        assert got == expected
    assert_fails_alike(*pair, "predict", np.where(X > 1, np.nan, X))


def test_labels_unknown_to_a_stream():
    pair = MedianSGDClassifier(gradient_estimator="mean"), SGDClassifier()
    for est in pair:
        est.partial_fit(X, Y, classes=[0, 1])
    assert_fails_alike(*pair, "partial_fit", X, Y, classes=[0, 1, 2])


@pytest.mark.parametrize("estimator_class", CLASSES)
@pytest.mark.parametrize(
    "name, ignored",
    [
        ("mean", [{"tau": 1e-3}, {"tau": np.inf}]),
        ("coord-median", [{"tau": 1e-3}, {"tau": np.inf}]),
        ("geometric-median", [{"tau": 1e-3}, {"tau": np.inf}]),
        ("spp-l1", [{"l1_ratio": 0.9}]),
        ("spp-l2", [{"validation_fraction": 0.9}]),
    ],
)
def test_irrelevant_parameters_are_ignored(estimator_class, name, ignored):
    params = {"gradient_estimator": name, "random_state": 0, "max_iter": 5, "tol": None}
    expected = estimator_class(**params).fit(X, Y).coef_
    for more in ignored:
        assert_array_equal(estimator_class(**params, **more).fit(X, Y).coef_, expected)


def assert_same_state(actual, desired):
    assert actual.keys() == desired.keys()
    for key, value in desired.items():
        assert_same_value(actual[key], value, key)


def assert_same_value(actual, desired, key):
    assert type(actual) is type(desired), key
    if isinstance(desired, np.random.RandomState):
        pass
    elif isinstance(desired, np.ndarray):
        assert actual.dtype == desired.dtype, key
        assert_array_equal(actual, desired, err_msg=key)
    elif isinstance(desired, (list, tuple)):
        assert len(actual) == len(desired), key
        for one, other in zip(actual, desired, strict=True):
            assert_same_value(one, other, key)
    elif isinstance(desired, dict):
        assert_same_state(actual, desired)
    elif hasattr(desired, "__dict__"):
        assert_same_state(vars(actual), vars(desired))
    else:
        assert actual == desired, key


FRAME = pd.DataFrame(X, columns=["a", "b", "c"])
HUGE = FRAME.assign(a=np.where(Y == 1, 1e300, -1e300))
BAD_CALLS = {
    "nan": lambda est: est.fit(np.full((30, 5), np.nan), Y),
    "lengths": lambda est: est.fit(X[:, :2], Y[:-1]),
    "weights": lambda est: est.fit(X[:, :2], Y, sample_weight=np.zeros(30)),
    "parameter": lambda est: est.set_params(eta0=-1.0).fit(X[:, :2], Y),
    "combination": lambda est: est.set_params(alpha=0, learning_rate="optimal").fit(
        X[:, :2], Y
    ),
    "coef_init": lambda est: est.fit(X[:, :2], Y, coef_init=np.zeros(7)),
    "intercept_init": lambda est: est.fit(X[:, :2], Y, intercept_init=np.zeros(7)),
    "split": lambda est: est.set_params(
        early_stopping=True, validation_fraction=0.99
    ).fit(X[:4, :2], Y[:4]),
    "pa1": lambda est: est.set_params(learning_rate="pa1").fit(X[:, :2], Y),
    "chunk with nan": lambda est: est.partial_fit(FRAME.replace(X[3, 0], np.nan), Y),
    "chunk of other width": lambda est: est.partial_fit(X[:, :2], Y),
    "chunk of other names": lambda est: est.partial_fit(FRAME.add_prefix("x"), Y),
    "chunk without weight": lambda est: est.partial_fit(
        FRAME, Y, sample_weight=np.zeros(30)
    ),
    "chunk with parameter": lambda est: est.set_params(n_gradients=0).partial_fit(
        FRAME, Y
    ),
    "chunk with combination": lambda est: est.set_params(
        alpha=0, learning_rate="optimal"
    ).partial_fit(FRAME, Y),
    "chunk with lengths": lambda est: est.partial_fit(FRAME, Y[:-1]),
}


@pytest.mark.parametrize("call", BAD_CALLS.items(), ids=lambda item: item[0])
@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("name", ["mean", "coord-median", "spp-l2"])
@pytest.mark.parametrize("estimator_class", CLASSES)
def test_a_failure_leaves_an_earlier_fit_as_it_was(
    estimator_class, name, warm_start, call
):
    params = {"gradient_estimator": name, "warm_start": warm_start, "average": 20}
    est = estimator_class(random_state=0, max_iter=5, tol=None, **params)
    est.fit(FRAME, Y)
    before = copy.deepcopy(vars(est))
    expected = est.predict(FRAME)
    with pytest.raises(ValueError):  # noqa: PT011
        call[1](est)
    est.set_params(**{name: before[name] for name in est.get_params()})
    assert_same_state(vars(est), before)
    assert_array_equal(est.predict(FRAME), expected)


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("n_classes", [0, 2, 3])
def test_an_overflow_leaves_an_earlier_fit_as_it_was(
    n_classes, method, warm_start, average
):
    y = np.arange(30) % n_classes if n_classes else X[:, 0]
    if n_classes:
        est = MedianSGDClassifier(gradient_estimator="mean", loss="squared_error")
    else:
        est = MedianSGDRegressor(gradient_estimator="mean")
    est.set_params(warm_start=warm_start, average=average, learning_rate="constant")
    est.set_params(random_state=0, max_iter=20, tol=None, eta0=0.001).fit(FRAME, y)
    before = copy.deepcopy(vars(est))
    for _ in range(2):
        with pytest.raises(ValueError, match="Floating-point under-/overflow"):
            getattr(est, method)(HUGE, y)
        assert_same_state(vars(est), before)


@pytest.mark.parametrize("estimator_class", CLASSES)
def test_a_failing_first_fit_leaves_nothing(estimator_class):
    est = estimator_class()
    before = dict(vars(est))
    kwargs = {"classes": [0, 1]} if estimator_class is MedianSGDClassifier else {}
    with pytest.raises(ValueError, match="sample_weight"):
        est.fit(X, Y, sample_weight=np.ones(7))
    with pytest.raises(ValueError, match="sample_weight"):
        est.partial_fit(X, Y, sample_weight=np.ones(7), **kwargs)
    assert vars(est) == before


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize(
    "ours, theirs, params",
    [
        (MedianSGDRegressor, SGDRegressor, {}),
        (MedianSGDClassifier, SGDClassifier, {"loss": "squared_error"}),
    ],
)
def test_overflow_of_the_mean(ours, theirs, params, kind):
    pair = ours(gradient_estimator="mean", **params), theirs(**params)
    for est in pair:
        est.set_params(random_state=0)
    got, expected = assert_fails_alike(*pair, "fit", kind(HUGE.to_numpy()), Y)
    assert got == expected
    assert "Floating-point under-/overflow occurred at epoch #1" in expected


def contaminated(spoil):
    """1500 rows, with the last six of them spoilt, and the truth."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(1500, 5))
    w = np.array([2.0, -1.0, 0.5, 0.0, 1.0])
    y = X @ w + 1 + 0.5 * rng.normal(size=1500)
    if spoil == "y":
        y[-6:] = 1e300
    elif spoil == "-y":
        y[-6:] = -1e300
    elif spoil == "rows":
        X[-6:] = 1e200 * np.sign(X[-6:])
    elif spoil == "one feature":
        X[-6:, 2] = 1e200
    return X, y, w


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("spoil", ["y", "-y", "rows", "one feature"])
@pytest.mark.parametrize("params", [{"max_iter": 20, "tol": None}, {}], ids=str)
@pytest.mark.parametrize("name", MEDIANS)
def test_enormous_values_in_regression(name, params, spoil, kind):
    X, y, w = contaminated(spoil)
    est = MedianSGDRegressor(gradient_estimator=name, random_state=0, **params)

    def error(rows):
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            est.fit(kind(X[:rows]), y[:rows])
        assert np.isfinite(est.loss_curve_).all()
        return np.linalg.norm(np.r_[est.coef_ - w, est.intercept_ - 1])

    # The standard error of least squares, for what another order of rows changes.
    noise = 0.5 * np.sqrt(6 / 1494)
    assert error(1500) <= 2 * error(1494) + noise


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("spoil", ["rows", "one feature"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("name", MEDIANS)
def test_enormous_values_in_classification(name, refine, n_classes, spoil, kind):
    X, y, _ = contaminated(spoil)
    y = np.digitize(y, [1] if n_classes == 2 else [0, 2])
    y[-6:] = np.arange(6) % n_classes
    est = MedianSGDClassifier(gradient_estimator=name, refine=refine)
    est.set_params(max_iter=20, tol=None)

    def fit(rows, seed=0):
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            est.set_params(random_state=seed).fit(kind(X[rows]), y[rows])
        assert np.isfinite(est.loss_curve_).all()
        return np.c_[est.coef_, est.intercept_]

    rows = np.arange(1500)
    clean = fit(rows[:1494])
    # What another seed changes and, in a refinement, six ordinary rows.
    others = [fit(np.delete(rows[:1494], rows[6 * i :][:6]), i) for i in range(1, 4)]
    noise = max(np.linalg.norm(other - clean) for other in others)
    assert np.linalg.norm(fit(rows) - clean) <= 2 * noise


@pytest.mark.parametrize("name", MEDIANS)
@pytest.mark.parametrize("estimator_class", CLASSES)
def test_enormous_values_in_single_precision(estimator_class, name):
    X, y, w = contaminated("none")
    X, y = X.astype(np.float32), y.astype(np.float32)
    if estimator_class is MedianSGDClassifier:
        X[-6:], y = 1e30, y > 1
    else:
        y[-6:] = 1e38
    est = estimator_class(
        gradient_estimator=name, random_state=0, max_iter=20, tol=None
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        coef = est.fit(X, y).coef_.ravel()
    assert coef.dtype == np.float32
    coef = coef.astype(np.float64)
    assert coef @ w / np.linalg.norm(coef) / np.linalg.norm(w) > 0.99


@pytest.mark.parametrize("name", MEDIANS)
def test_enormous_values_in_a_stream(name):
    X, y, w = contaminated("y")
    order = np.random.default_rng(2).permutation(1500)
    est = MedianSGDRegressor(gradient_estimator=name, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for _ in range(10):
            for rows in np.array_split(order, 15):
                est.partial_fit(X[rows], y[rows])
    assert np.linalg.norm(est.coef_ - w) < 0.1 * np.linalg.norm(w)


def test_index_arrays_of_two_widths_stay_as_they_are():
    A = sp.csr_array(np.eye(5))
    A.indptr = A.indptr.astype(np.int64)
    indices, indptr = A.indices, A.indptr
    MedianSGDRegressor(max_iter=2, tol=None).fit(A, np.arange(5.0))
    assert A.indices is indices
    assert A.indptr is indptr


@pytest.mark.parametrize("dtype", [">i4", "u2", "u4", "i8"])
def test_index_arrays_of_other_dtypes(dtype):
    est = MedianSGDRegressor(random_state=0)
    desired = est.fit(sp.csr_array(X), Y).coef_
    A = sp.csr_array(X)
    A.indices, A.indptr = A.indices.astype(dtype), A.indptr.astype(dtype)
    assert_array_equal(est.fit(A, Y).coef_, desired)


def test_a_matrix_may_change_between_fits():
    A = sp.csr_array(X)
    # Exact steps add up the coordinates of a row anyway.
    est = MedianSGDRegressor(refine=False, random_state=0).fit(A, Y)
    A.indices[::3] = A.indices[1::3]  # a column twice
    changed = est.fit(A, Y).coef_
    summed = sp.csr_array((A.data, A.indices, A.indptr), shape=A.shape)
    summed.sum_duplicates()
    assert_array_equal(changed, est.fit(summed, Y).coef_)


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("coef_", np.zeros(6), r"coef_ does not match dataset. Expected .* \(1, 3\)"),
        ("coef_", np.full(3, 1j), "coef_ must be real"),
        ("coef_", np.full(3, np.nan), "coef_ must be finite"),
        ("intercept_", np.zeros(2), "intercept_ does not match dataset"),
        ("intercept_", "a", "intercept_ must be real"),
    ],
)
@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("estimator_class", CLASSES)
def test_a_stream_goes_on_from_coefficients_that_fit(
    estimator_class, layout, name, value, message
):
    est = estimator_class(random_state=0).fit(layout(X), Y)
    setattr(est, name, value)
    with pytest.raises(ValueError, match=message):
        est.partial_fit(layout(X), Y)
    assert getattr(est, name) is value


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_training_begins_at_coefficients_set_before(method):
    params = {"refine": False, "max_iter": 1, "tol": None, "eta0": 1e-12}
    est = MedianSGDRegressor(warm_start=True, **params)
    est.coef_, est.intercept_ = np.arange(3.0), np.array([5.0])
    getattr(est, method)(X, Y)
    np.testing.assert_allclose(est.coef_, np.arange(3), atol=1e-8)
    np.testing.assert_allclose(est.intercept_, 5)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("estimator_class", CLASSES)
def test_coefficients_set_before_without_an_intercept(estimator_class, method):
    # It then starts where it does with the same coef_init.
    params = {"random_state": 0, "max_iter": 1, "tol": None}
    if estimator_class is MedianSGDRegressor:
        params["refine"] = False
    desired = estimator_class(**params).fit(X, Y, coef_init=np.arange(3.0))
    est = estimator_class(warm_start=True, **params)
    est.coef_ = np.arange(3.0)
    if method == "partial_fit" and estimator_class is MedianSGDClassifier:
        est.partial_fit(X, Y, classes=np.unique(Y))
    else:
        getattr(est, method)(X, Y)
    assert_array_equal(est.coef_, desired.coef_)
    assert_array_equal(est.intercept_, desired.intercept_)


@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
def test_a_coordinate_seen_only_in_an_enormous_row(layout):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 4))
    X[:, 3] = 0
    X[7, 3] = 1e200
    y = X[:, :3] @ [1.0, 2.0, 3.0]
    est = MedianSGDRegressor(gradient_estimator="spp-l1", random_state=0)
    est.fit(layout(X), y)
    np.testing.assert_allclose(est.coef_[:3], [1, 2, 3], rtol=0.1)


@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("estimator_class", CLASSES)
@pytest.mark.parametrize("largest", [5e-324, 1e300])
def test_a_feature_whose_scale_is_next_to_0_is_no_warning(
    estimator_class, layout, largest
):
    rows = X.copy()
    rows[:, 0] = 0
    rows[[2, 3, 5], 0] = 5e-324, 5e-324, largest
    est = estimator_class(random_state=0, max_iter=5, tol=None).fit(layout(rows), Y)
    assert np.isfinite(est.coef_).all()


@pytest.mark.parametrize("estimator_class", CLASSES)
def test_coefficients_that_overflow_in_the_units_of_a_fit(estimator_class):
    est = estimator_class(random_state=0)
    with pytest.raises(ValueError, match="overflow"):
        est.fit(1e300 * X, Y, coef_init=np.full(3, 1e100), intercept_init=[0.0])


@pytest.mark.parametrize("scale", [1e170, 1.7e308])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_targets_whose_squares_overflow(name, scale):
    y = scale * np.clip(X[:, 0], -1, 1)
    est = MedianSGDRegressor("huber", gradient_estimator=name, random_state=0)
    est.set_params(epsilon="auto", standardize=True, max_iter=20, tol=None)
    try:
        est.fit(X, y)
    except ValueError as error:
        assert re.search("too large|verflow", str(error))  # noqa: PT017
    else:
        assert np.isfinite(est.coef_).all()


@pytest.mark.parametrize("init", [[1j, 1j, 1j], [None] * 3, [np.inf] * 3, ["a"] * 3])
@pytest.mark.parametrize("name", ["coef_init", "intercept_init"])
def test_initial_values_that_are_no_numbers(name, init):
    est = MedianSGDRegressor()
    with pytest.raises(ValueError, match=f"Provided {name} must be (real|finite)"):
        est.fit(X, Y, **{name: init if name == "coef_init" else init[:1]})


def test_targets_that_are_no_numbers():
    with pytest.raises(ValueError, match=r"y must be numbers: .*'a'"):
        MedianSGDRegressor().fit(X, np.where(Y, "a", "1.5"))


@pytest.mark.parametrize("kind", ["U", "S", "O", "m8[s]", "M8[s]"])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_targets_that_can_be_numbers(method, kind):
    y = np.arange(30)
    desired = getattr(MedianSGDRegressor(random_state=0), method)(X, y).coef_
    given = y.astype(kind)
    got = getattr(MedianSGDRegressor(random_state=0), method)(X, given).coef_
    assert_array_equal(got, desired)


@pytest.mark.parametrize("dtype, weight", [(np.float64, 1e307), (np.float32, 3e38)])
@pytest.mark.parametrize("name", MEDIANS)
@pytest.mark.parametrize("estimator_class", CLASSES)
def test_weights_whose_sum_overflows(estimator_class, name, dtype, weight):
    est = estimator_class(gradient_estimator=name, random_state=0, max_iter=20)
    A = X.astype(dtype)
    desired = est.fit(A, Y).coef_
    assert_array_equal(est.fit(A, Y, sample_weight=np.full(30, weight)).coef_, desired)


@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
def test_predictions_beyond_the_largest_number(layout):
    est = MedianSGDRegressor(random_state=0).fit(X, Y)
    est.coef_, est.intercept_ = np.full(3, 1e308), np.array([0.0])
    rows = layout([[1.0, 0, 0], [-3.0, 0, 0]])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prediction = est.predict(rows)
    assert_array_equal(prediction, [1e308, -np.inf])
    if layout is np.asarray:
        assert {warning.category for warning in caught} == {RuntimeWarning}


def test_a_scale_beyond_single_precision_becomes_the_largest_number():
    A = sp.csr_array(X.astype(np.float32))
    est = MedianSGDRegressor(random_state=0).partial_fit(A, Y)
    est._states[0].scale[:] = 1e300
    est.partial_fit(A, Y)
    assert np.isfinite(est._states[0].scale).all()


@pytest.mark.parametrize("later", [np.asarray, sp.csr_array])
def test_a_sum_of_coefficients_beyond_single_precision(later):
    # Sparse rows sum up in doubles; the next call begins in the dtype of X.
    A, y = np.zeros((100, 3), dtype=np.float32), np.zeros(100)
    est = MedianSGDRegressor(gradient_estimator="mean", average=True)
    est.coef_ = np.full(3, 1e37)
    est.partial_fit(sp.csr_array(A), y)
    before = est.coef_.copy()
    with pytest.raises(ValueError, match="overflow"):
        est.partial_fit(later(A), y)
    assert_array_equal(est.coef_, before)


def test_a_sum_in_new_units_beyond_single_precision():
    # The units of a stream are known from some dozens of rows on.
    rows = X.astype(np.float32)
    est = MedianSGDRegressor(gradient_estimator="mean", average=True, standardize=True)
    est.coef_ = np.full(3, 3e37)
    est.partial_fit(sp.csr_array(np.zeros_like(rows[:20])), np.zeros(20))
    with pytest.raises(ValueError, match="overflow"):
        est.partial_fit(sp.csr_array(rows), np.zeros(30))


@pytest.mark.parametrize("size", [9e153, 1e154, 1e300])
@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("estimator_class", CLASSES)
def test_rows_whose_squared_norms_or_their_sum_overflow(estimator_class, layout, size):
    est = estimator_class(standardize=False)
    with pytest.raises(ValueError, match="squared norms of the rows of X overflow"):
        est.fit(layout(np.full((30, 1), size)), Y)
