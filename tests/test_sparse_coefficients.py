"""The zeros of an L1 penalty: exact, and the same for dense and sparse rows."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from medsgd import MedianSGDClassifier, MedianSGDRegressor

ESTIMATORS = {
    "mean": {"gradient_estimator": "mean"},
    "mean-momentum": {"gradient_estimator": "mean", "momentum": 0.9},
    "coord-median": {"gradient_estimator": "coord-median"},
    "coord-median-momentum": {"gradient_estimator": "coord-median", "momentum": 0.9},
    "geometric-median": {"gradient_estimator": "geometric-median"},
    "geometric-median-momentum": {
        "gradient_estimator": "geometric-median",
        "momentum": 0.5,
        "n_gradients": 3,
    },
    "spp-l1": {"gradient_estimator": "spp-l1"},
    "spp-l1-momentum": {"gradient_estimator": "spp-l1", "momentum": 0.9},
    "spp-l1-of-three": {"gradient_estimator": "spp-l1", "n_gradients": 3},
    "spp-l2": {"gradient_estimator": "spp-l2"},
    "spp-l2-momentum": {"gradient_estimator": "spp-l2", "momentum": 0.9},
    "spp-l2-unclipped": {"gradient_estimator": "spp-l2", "tau": 1e6},
    "spp-l2-of-batches": {"gradient_estimator": "spp-l2", "batch_size": 2},
    "spp-l2-all-of-each": {"gradient_estimator": "spp-l2", "tau": np.inf},
}
EACH = pytest.mark.parametrize("name", ESTIMATORS)
KINDS = pytest.mark.parametrize("cls", [MedianSGDRegressor, MedianSGDClassifier])
PENALTIES = pytest.mark.parametrize("penalty", ["l1", "elasticnet"])


def rows(n=500, d=60, n_classes=2):
    """Gaussian entries, in rare columns too; targets of a few columns."""
    rng = np.random.default_rng(0)
    density = 0.25 / np.arange(1, d + 1) ** 0.8
    X = rng.standard_normal((n, d)) * (rng.random((n, d)) < density)
    y = X[:, :8] @ np.linspace(3, 1, 8) + 0.1 * rng.standard_t(2, size=n)
    return X, y, np.digitize(y, np.linspace(-0.3, 0.5, n_classes - 1))


def fit(cls, X, y, labels, **params):
    params = {
        # Gradients of the classification loss are smaller.
        "alpha": 0.02 if cls is MedianSGDRegressor else 0.006,
        "l1_ratio": 0.7,
        "max_iter": 6,
        "tol": None,
        "random_state": 0,
        "refine": False,
    } | params
    if cls is MedianSGDRegressor:
        return cls(**params).fit(X, y)
    return cls(**{"leverage_weights": False} | params).fit(X, labels)


def dense_twin(sparse, X, target):
    """Fit dense rows as ``sparse`` has fitted sparse ones.

    A classifier divides sparse features by other scales than dense ones. So its dense
    rows are divided before the fit; leverage weights, which depend on the scales too,
    have to be off.
    """
    est = clone(sparse)
    if isinstance(est, MedianSGDRegressor) or not sparse._units.applied:
        return est.fit(X, target)
    assert not est.leverage_weights
    scale = sparse._units.inverse_scale
    est.set_params(standardize=False).fit(X * scale, target)
    est.coef_ = est.coef_ * scale
    return est


def assert_no_residues(coef):
    size = np.abs(coef)
    largest = size.max(axis=-1, keepdims=True)
    assert largest.min() > 1e-3
    assert not np.any((size > 0) & (size < 1e-12 * largest))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@PENALTIES
@EACH
@KINDS
def test_dense_and_sparse_rows_have_the_same_zeros(cls, name, penalty, dtype):
    X, *targets = rows()
    X = X.astype(dtype)
    # The medians of the columns are 0: standardised rows are the same in both formats.
    assert np.mean(X != 0, axis=0).max() < 0.5
    params = {"penalty": penalty, **ESTIMATORS[name]}
    if name.startswith("mean"):
        # Its steps for the intercept are damped on sparse rows.
        params |= {"fit_intercept": False, "eta0": 0.03}
        params["alpha"] = 0.2 if cls is MedianSGDRegressor else 0.01
    for units in ({}, {"standardize": True}, {"standardize": False}):
        sparse = fit(cls, sp.csr_array(X), *targets, **params | units)
        dense = dense_twin(sparse, X, targets[cls is MedianSGDClassifier])
        for est in (dense, sparse):
            assert_no_residues(est.coef_)
        if name in ("mean", "spp-l2-all-of-each") and not dense._units.applied:
            continue  # plain SGD: see below
        n_zeros = np.count_nonzero(sparse.coef_ == 0)
        assert 10 < n_zeros < 60
        assert_array_equal(sparse.coef_ == 0, dense.coef_ == 0)
        # The steps of the geometric median end before they converge.
        if not name.startswith("geometric-median"):
            tol = 1e-9 if dtype == np.float64 else 1e-3
            scale = np.abs(dense.coef_).max()
            assert_allclose(sparse.coef_, dense.coef_, rtol=0, atol=tol * scale)


@EACH
@KINDS
def test_streams_of_dense_and_sparse_rows_have_the_same_zeros(cls, name):
    X, y, labels = rows()
    params = {"penalty": "l1", "standardize": False, "random_state": 0}
    params["alpha"] = 0.02 if cls is MedianSGDRegressor else 0.003
    if name.startswith("mean"):
        params["fit_intercept"] = False
    if cls is MedianSGDClassifier:
        params["leverage_weights"] = False  # see dense_twin
    first = {} if cls is MedianSGDRegressor else {"classes": [0, 1]}
    coefs = []
    for layout in (np.asarray, sp.csr_array):
        est = cls(**params | ESTIMATORS[name])
        for chunk in np.array_split(np.arange(len(X)), 4):
            target = y if cls is MedianSGDRegressor else labels
            est.partial_fit(layout(X[chunk]), target[chunk], **first)
            assert_no_residues(est.coef_)
        coefs.append(est.coef_)
    if name not in ("mean", "spp-l2-all-of-each"):
        assert np.any(coefs[0] == 0)
        assert_array_equal(coefs[1] == 0, coefs[0] == 0)


@PENALTIES
@pytest.mark.parametrize(
    "cls, params",
    [
        (MedianSGDClassifier, {"refine": False, "leverage_weights": False}),
        (MedianSGDClassifier, {"refine": True, "leverage_weights": False}),
        (MedianSGDRegressor, {"refine": False}),
        (MedianSGDRegressor, {"refine": True}),
    ],
)
def test_coefficients_that_nothing_depends_on_are_not_stored(cls, params, penalty):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 200)) * (rng.random((2000, 200)) < 0.05)
    y = X[:, :20] @ np.linspace(3, 1, 20) + 0.1 * rng.standard_t(2, size=2000)
    y = y > 0 if cls is MedianSGDClassifier else y
    params = {"alpha": 0.01, **params}
    params |= {"penalty": penalty, "l1_ratio": 0.9, "random_state": 0}
    if cls is MedianSGDClassifier:
        params |= {"max_iter": 30, "tol": None}
    sparse = cls(**params).fit(sp.csr_array(X), y)
    dense = dense_twin(sparse, X, y)
    assert_no_residues(sparse.coef_)
    assert_array_equal(sparse.coef_ == 0, dense.coef_ == 0)
    assert np.mean(np.ravel(sparse.coef_)[20:] == 0) > 0.5
    kept = np.count_nonzero(sparse.coef_)
    assert sparse.sparsify().coef_.nnz == kept < 100


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("units", [{}, {"standardize": False}])
def test_texts_of_which_most_words_are_rare(units, n_classes):
    # Words of a text by Zipf's law: most columns have one entry or none.
    rng = np.random.default_rng(0)
    n, n_words, n_features = 600, 20, 3000
    frequency = 1 / np.arange(1, n_features + 1)
    words = rng.choice(n_features, (n, n_words), p=frequency / frequency.sum())
    labels = rng.integers(n_classes, size=n)
    words[:, 0] = 5 + labels  # what tells the classes apart
    X = sp.csr_array(
        (np.ones(words.size), words.ravel(), np.arange(0, words.size + 1, n_words)),
        shape=(n, n_features),
    )
    X.sum_duplicates()
    params = {"penalty": "l1", "alpha": 0.01, "max_iter": 10, "tol": None, **units}
    params["leverage_weights"] = False  # see dense_twin
    sparse = MedianSGDClassifier(random_state=0, **params).fit(X, labels)
    assert_no_residues(sparse.coef_)
    if units:
        rare = X.astype(bool).sum(axis=0) < 3
        assert rare.sum() > 1500
        assert np.all(sparse.coef_[:, rare] == 0)
        dense = MedianSGDClassifier(random_state=0, **params).fit(X.toarray(), labels)
        assert_array_equal(sparse.coef_ == 0, dense.coef_ == 0)
