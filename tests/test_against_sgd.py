"""With gradient_estimator="mean" everything agrees with scikit-learn's SGD."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from _versions import sgd_as_of
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import SGDClassifier, SGDRegressor

from medsgd import MedianSGDClassifier, MedianSGDRegressor

N_SAMPLES, N_FEATURES, N_EPOCHS = 60, 5, 4
REGRESSION_LOSSES = [
    "squared_error",
    "huber",
    "epsilon_insensitive",
    "squared_epsilon_insensitive",
]
CLASSIFICATION_LOSSES = [
    "hinge",
    "log_loss",
    "modified_huber",
    "squared_hinge",
    "perceptron",
    *REGRESSION_LOSSES,
]
PENALTIES = [None, "l2", "l1", "elasticnet"]
LEARNING_RATES = ["constant", "optimal", "invscaling", "adaptive"]
LAYOUTS = ["dense", "csr"]
TASKS = ["regression", "binary", "multiclass"]
CHUNKS = [slice(0, 10), slice(10, 31), slice(31, 60), slice(0, 60)]
PAIRS = {
    "regression": (MedianSGDRegressor, SGDRegressor),
    "binary": (MedianSGDClassifier, SGDClassifier),
    "multiclass": (MedianSGDClassifier, SGDClassifier),
}
ALL_LOSSES = [("regression", loss) for loss in REGRESSION_LOSSES] + [
    (task, loss) for task in ("binary", "multiclass") for loss in CLASSIFICATION_LOSSES
]


def make_data(task, layout="dense", seed=0, dtype=np.float64, n=N_SAMPLES):
    """Rows small enough for no loss to diverge, half zeros, one row all zeros."""
    rng = np.random.default_rng(seed)
    X = 0.5 * rng.normal(size=(n, N_FEATURES))
    X[rng.random(X.shape) < 0.5] = 0
    X[7] = 0
    z = X @ np.linspace(-2, 2, N_FEATURES) + 0.3 * rng.normal(size=n)
    if task == "regression":
        y = (z + 0.5).astype(dtype)
    elif task == "binary":
        y = np.where(z > 0.2, "yes", "no")
    else:
        y = np.digitize(z, [-0.6, 0.4]) * 10
    X = X.astype(dtype)
    return (sp.csr_array(X) if layout == "csr" else X), y


def make_pair(task, **params):
    """The package's estimator and scikit-learn's, with the same parameters."""
    ours, theirs = PAIRS[task]
    if task != "regression":
        params.setdefault("loss", "hinge")
    # "optimal" starts at steps that only a large alpha makes small enough.
    optimal = params.get("learning_rate", "optimal") == "optimal"
    params.setdefault("alpha", 0.05 if optimal else 0.01)
    params = {"epsilon": 0.3, "max_iter": N_EPOCHS, "tol": None} | params
    params.setdefault("random_state", 3)
    params.setdefault("eta0", 0.01)
    theirs = theirs(**params)
    return ours(**theirs.get_params(), gradient_estimator="mean"), theirs


def fit_both(pair, *args, method="fit", **kwargs):
    """Call the same method on both, with arguments of their own."""
    for est in pair:
        own = {k: np.copy(v) if v is not None else v for k, v in kwargs.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            getattr(est, method)(*args, **own)
    return pair


def coef_and_intercept(est):
    return np.c_[est.coef_.reshape(len(est.intercept_), -1), est.intercept_]


def assert_same_fit(pair, err_msg="", t=True, rtol=1e-8, atol=1e-10):
    """Equal to `rtol`; an entry near zero to `atol` times the largest one."""
    ours, theirs = pair
    desired = coef_and_intercept(theirs)
    assert 0 < np.abs(desired).max() < 1e4, "nothing to compare, or a fit diverging"
    atol = atol * np.abs(desired).max()
    actual = coef_and_intercept(ours)
    assert_allclose(actual, desired, rtol=rtol, atol=atol, err_msg=err_msg)
    assert ours.coef_.shape == theirs.coef_.shape, err_msg
    assert ours.coef_.dtype == theirs.coef_.dtype, err_msg
    assert ours.n_iter_ == theirs.n_iter_, err_msg
    assert ours.n_features_in_ == theirs.n_features_in_
    if t:
        assert ours.t_ == theirs.t_, err_msg
    if is_classifier(theirs):
        assert_array_equal(ours.classes_, theirs.classes_)


@pytest.mark.parametrize("learning_rate", LEARNING_RATES)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("task, loss", ALL_LOSSES)
def test_losses_penalties_learning_rates(task, loss, penalty, learning_rate):
    params = {"loss": loss, "penalty": penalty, "learning_rate": learning_rate}
    for layout in LAYOUTS:
        X, y = make_data(task, layout)
        for average in [False, True, 10]:
            pair = make_pair(task, average=average, eta0=0.05, **params)
            assert_same_fit(fit_both(pair, X, y), f"{layout}, average={average}")


@sgd_as_of("1.8")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("learning_rate", ["pa1", "pa2"])
@pytest.mark.parametrize("task", TASKS)
def test_passive_aggressive(task, learning_rate, penalty, layout):
    loss = "epsilon_insensitive" if task == "regression" else "hinge"
    X, y = make_data(task, layout)
    params = {"loss": loss, "penalty": penalty, "learning_rate": learning_rate}
    for average in [False, True, 10]:
        for eta0 in [0.05, 0.2]:
            pair = make_pair(task, average=average, eta0=eta0, **params)
            assert_same_fit(fit_both(pair, X, y), f"average={average}, eta0={eta0}")


@sgd_as_of("1.8")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("learning_rate", [*LEARNING_RATES, "pa1"])
@pytest.mark.parametrize("task", TASKS)
def test_number_of_epochs_when_tol_stops(task, learning_rate, layout):
    losses = REGRESSION_LOSSES if task == "regression" else CLASSIFICATION_LOSSES
    if learning_rate == "pa1":
        losses = ["epsilon_insensitive" if task == "regression" else "hinge"]
    X, y = make_data(task, layout)
    stopped = 0
    for loss in losses:
        for penalty in ["l2", "elasticnet"]:
            pair = make_pair(
                task,
                loss=loss,
                penalty=penalty,
                learning_rate=learning_rate,
                tol=1e-3,
                max_iter=300,
                n_iter_no_change=3,
                average=penalty == "elasticnet",
            )
            assert_same_fit(fit_both(pair, X, y), f"{loss}, {penalty}")
            stopped += pair[1].n_iter_ < 300
    assert stopped == 2 * len(losses)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("learning_rate", LEARNING_RATES)
@pytest.mark.parametrize("task", TASKS)
def test_partial_fit_over_chunks(task, learning_rate, layout):
    X, y = make_data(task, layout)
    weight = np.random.default_rng(1).uniform(0.2, 2, N_SAMPLES)
    classes = {} if task == "regression" else {"classes": np.unique(y)}
    for penalty in ["l2", "elasticnet"]:
        for average in [False, True, 25] if task == "regression" else [False]:
            params = {"penalty": penalty, "average": average, "eta0": 0.05}
            pair = make_pair(task, learning_rate=learning_rate, **params)
            for rows in CHUNKS:
                kwargs = {"sample_weight": weight[rows], **classes}
                fit_both(pair, X[rows], y[rows], method="partial_fit", **kwargs)
                assert_same_fit(pair, f"{penalty}, average={average}, {rows}")
            fit_both(pair, X, y, method="fit")
            fit_both(pair, X[:20], y[:20], method="partial_fit")
            assert_same_fit(pair, f"{penalty}, average={average}, after fit")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("learning_rate", LEARNING_RATES)
@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_averages_of_classifiers_over_chunks(task, learning_rate, layout):
    """Compared with one epoch of fit.

    SGDClassifier.partial_fit starts every chunk of an average from the intercept it
    had when averaging began.
    """
    X, y = make_data(task, layout)
    for average in [True, 25]:
        params = {"average": average, "eta0": 0.05, "shuffle": False, "max_iter": 1}
        ours, theirs = make_pair(task, learning_rate=learning_rate, **params)
        for rows in CHUNKS[:3]:
            ours.partial_fit(X[rows], y[rows], classes=np.unique(y))
        assert_same_fit((ours, theirs.fit(X, y)), f"average={average}")


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_partial_fit_of_chunks_with_one_class(task):
    X, y = make_data(task)
    order = np.argsort(y, kind="stable")
    X, y = X[order], y[order]
    pair = make_pair(task)
    for rows in np.array_split(np.arange(N_SAMPLES), 6):
        fit_both(pair, X[rows], y[rows], method="partial_fit", classes=np.unique(y))
    assert_same_fit(pair)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("average", [False, 10])
@pytest.mark.parametrize("task", TASKS)
def test_sample_weight(task, average, layout):
    X, y = make_data(task, layout)
    weight = np.random.default_rng(1).uniform(0.1, 3, N_SAMPLES)
    pair = make_pair(task, average=average)
    assert_same_fit(fit_both(pair, X, y, sample_weight=weight))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("weighting", ["dict", "balanced"])
@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_class_weight(task, weighting, layout):
    X, y = make_data(task, layout)
    class_weight = weighting
    if weighting == "dict":
        class_weight = {c: 0.5 + i for i, c in enumerate(np.unique(y))}
    weight = np.random.default_rng(1).uniform(0.1, 3, N_SAMPLES)
    for loss in ["hinge", "log_loss", "huber"]:
        pair = make_pair(task, class_weight=class_weight, loss=loss)
        assert_same_fit(fit_both(pair, X, y), loss)
        assert_same_fit(fit_both(pair, X, y, sample_weight=weight), loss)


@pytest.mark.parametrize("given", ["coef", "intercept", "both"])
@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("task", TASKS)
def test_initial_values(task, average, given):
    X, y = make_data(task)
    rng = np.random.default_rng(1)
    n_rows = 3 if task == "multiclass" else 1
    shape = N_FEATURES if task == "regression" else (n_rows, N_FEATURES)
    init = {}
    if given != "intercept":
        init["coef_init"] = rng.normal(size=shape)
    if given != "coef":
        init["intercept_init"] = rng.normal(size=n_rows)
    pair = make_pair(task, average=average, max_iter=1, alpha=0.001, eta0=0.001)
    assert_same_fit(fit_both(pair, X, y, **init))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("task", TASKS)
def test_warm_start(task, layout):
    X, y = make_data(task, layout)
    pair = make_pair(task, warm_start=True, max_iter=2)
    for alpha in [0.05, 0.01, 0.1]:
        for est in pair:
            est.set_params(alpha=alpha)
        assert_same_fit(fit_both(pair, X, y), f"alpha={alpha}")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("task", TASKS)
def test_warm_start_of_averages(task, layout):
    """Compared with explicit initial values.

    SGDRegressor, unlike SGDClassifier, goes on from weights that were not averaged.
    """
    X, y = make_data(task, layout)
    ours, theirs = make_pair(task, average=True, max_iter=2)
    ours.set_params(warm_start=True).fit(X, y)
    for _ in range(2):
        init = {
            "coef_init": ours.coef_.copy(),
            "intercept_init": ours.intercept_.copy(),
        }
        assert_same_fit((ours.fit(X, y), clone(theirs).fit(X, y, **init)))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("penalty", [None, "l1", "l2"])
@pytest.mark.parametrize("learning_rate", ["optimal", "adaptive"])
@pytest.mark.parametrize("task", TASKS)
def test_early_stopping(task, learning_rate, penalty, layout):
    X, y = make_data(task, layout, n=100)
    weight = np.random.default_rng(1).uniform(0.1, 3, 100)
    for average in [False, True]:
        for sample_weight in [None, weight]:
            pair = make_pair(
                task,
                learning_rate=learning_rate,
                penalty=penalty,
                average=average,
                early_stopping=True,
                validation_fraction=0.23,
                tol=1e-3,
                max_iter=200,
            )
            fit_both(pair, X, y, sample_weight=sample_weight)
            assert 1 < pair[1].n_iter_ < 200
            assert_same_fit(pair, t=False)


@pytest.mark.parametrize("params", [{"shuffle": False}, {"fit_intercept": False}])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("task", TASKS)
def test_without_shuffling_or_intercept(task, layout, params):
    X, y = make_data(task, layout)
    for average in [False, 10]:
        for penalty in ["l2", "l1"]:
            pair = make_pair(task, average=average, penalty=penalty, **params)
            assert_same_fit(fit_both(pair, X, y))


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("task", TASKS)
def test_random_state_instances_are_consumed_alike(task, early_stopping):
    X, y = make_data(task)
    pair = make_pair(task, early_stopping=early_stopping)
    for est in pair:
        est.set_params(random_state=np.random.RandomState(11))
    for _ in range(2):
        assert_same_fit(fit_both(pair, X, y), t=not early_stopping)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("task", TASKS)
def test_float32(task, average, layout):
    X, y = make_data(task, layout, dtype=np.float32)
    # Each of the updates rounds the weights once or twice, at the precision of
    # float32, and contracts what the earlier ones have left.
    atol = 2 * N_EPOCHS * N_SAMPLES * np.finfo(np.float32).eps
    for penalty in ["l2", "l1"]:
        pair = make_pair(task, average=average, penalty=penalty)
        fit_both(pair, X, y)
        assert pair[0].coef_.dtype == np.float32
        assert_same_fit(pair, rtol=0, atol=atol)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("loss", ["log_loss", "modified_huber"])
@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_predictions(task, loss, layout):
    X, y = make_data(task, layout)
    ours, theirs = fit_both(make_pair(task, loss=loss), X, y)
    # Scores of 25 times the size reach the parts where modified_huber is 0 or 1.
    for est in (ours, theirs):
        est.coef_ = est.coef_ * 25
    X_new, _ = make_data(task, layout, seed=1)
    for method in ["decision_function", "predict_proba", "predict_log_proba"]:
        actual = getattr(ours, method)(X_new)
        with np.errstate(divide="ignore"):
            desired = getattr(theirs, method)(X_new)
        # The log of 1 - p has the rounding error of p.
        assert_allclose(actual, desired, rtol=1e-8, atol=1e-12)
    assert_array_equal(ours.predict(X_new), theirs.predict(X_new))
    assert ours.score(X, y) == theirs.score(X, y)


def test_predictions_of_the_regressor():
    X, y = make_data("regression")
    ours, theirs = fit_both(make_pair("regression"), X, y)
    assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_threads_change_nothing(early_stopping):
    X, y = make_data("multiclass")
    params = {"average": 10, "early_stopping": early_stopping}
    pair = make_pair("multiclass", n_jobs=2, **params)
    assert_same_fit(fit_both(pair, X, y), t=not early_stopping)


@pytest.mark.parametrize("task", TASKS)
def test_sparsify_and_densify(task):
    X, y = make_data(task)
    ours, theirs = fit_both(make_pair(task, penalty="l1"), X, y)
    dense = ours.coef_.copy()
    assert sp.issparse(ours.sparsify().coef_)
    assert_allclose(ours.coef_.toarray().reshape(dense.shape), dense, rtol=0)
    assert_array_equal(ours.predict(X[:5]), ours.densify().predict(X[:5]))
    expected = theirs.sparsify().densify().coef_
    assert_allclose(ours.coef_, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("indptr", [np.int32, np.int64])
@pytest.mark.parametrize("indices", [np.int32, np.int64])
@pytest.mark.parametrize("kind", [sp.csr_array, sp.csr_matrix])
@pytest.mark.parametrize("task", TASKS)
def test_sparse_coefficients_predict_for_sparse_rows(task, kind, indices, indptr):
    X, y = make_data(task)
    X = kind(X)
    est = make_pair(task)[0].fit(X, y)
    method = "predict" if task == "regression" else "decision_function"
    desired = getattr(est, method)(X)
    X.indices, X.indptr = X.indices.astype(indices), X.indptr.astype(indptr)
    actual = getattr(est.sparsify(), method)(X)
    assert type(actual) is np.ndarray
    assert_allclose(actual, desired, rtol=1e-12, atol=1e-12)


def test_the_last_epoch_without_convergence_warns():
    X, y = make_data("regression")
    ours, theirs = make_pair("regression", tol=1e-9, max_iter=2)
    with pytest.warns(ConvergenceWarning) as expected:
        theirs.fit(X, y)
    with pytest.warns(ConvergenceWarning) as caught:
        ours.fit(X, y)
    assert len(caught) == len(expected) == 1


@pytest.mark.parametrize("task", TASKS)
def test_t_counts_iterations_under_early_stopping(task):
    X, y = make_data(task, n=100)
    ours, theirs = make_pair(task, early_stopping=True, validation_fraction=0.2)
    ours.fit(X, y)
    assert ours.t_ == 80 * N_EPOCHS + 1
    assert theirs.fit(X, y).t_ == 100 * N_EPOCHS + 1
