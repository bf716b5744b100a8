"""The same problem given in another way has the same solution."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose
from sklearn.base import clone

from medsgd import MedianSGDClassifier, MedianSGDRegressor

Regressor = MedianSGDRegressor(random_state=0)
Classifier = MedianSGDClassifier(random_state=0)


def regression(n=600, d=5, *, seed=0):
    """Correlated features, a rare flag, a level, and 15% of wrong targets."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) @ (np.eye(d) + 0.5)
    X = np.column_stack([X, rng.random((n, 2)) < [0.05, 0.4]])
    y = X @ rng.standard_normal(d + 2) + 2 + rng.standard_normal(n)
    y[rng.random(n) < 0.15] += 30
    return X, y


def classification(n=600, d=4, *, n_classes=3):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    scores = X @ rng.standard_normal((d, n_classes)) + rng.gumbel(size=(n, n_classes))
    return X, scores.argmax(axis=1)


def fitted(X, y, weight=None, **params):
    return clone(Regressor).set_params(**params).fit(X, y, sample_weight=weight)


def assert_same(est, other, X, errors=1e-6):
    """Predictions within a small part of the scale of the residuals."""
    gap = est.predict(X) - other.predict(X)
    assert np.abs(gap).max() <= errors * est.scale_
    assert_allclose(other.scale_, est.scale_, rtol=1e-6)


def maps(d):
    """Changes of the features that keep what linear models can say."""
    rng = np.random.default_rng(1)
    return {
        "scales": np.diag(10.0 ** rng.integers(-5, 6, d)),
        "permutation": np.eye(d)[rng.permutation(d)],
        "rotation": np.linalg.qr(rng.standard_normal((d, d)))[0],
        "shear": np.eye(d) + np.triu(rng.standard_normal((d, d)), 1),
    }


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", maps(7))
def test_affine_changes_of_the_features(name, seed):
    X, y = regression(seed=seed)
    A = maps(7)[name]
    b = np.random.default_rng(2).standard_normal(7)
    est, other = fitted(X, y), fitted(X @ A + b, y)
    gap = est.predict(X) - other.predict(X @ A + b)
    assert np.abs(gap).max() <= 1e-6 * est.scale_
    assert_allclose(A @ other.coef_, est.coef_, atol=1e-6 * est.scale_)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("factor", [1e-8, -3.0, 1e8])
def test_affine_changes_of_the_targets(factor, seed):
    X, y = regression(seed=seed)
    v = np.random.default_rng(2).standard_normal(7)
    est, other = fitted(X, y), fitted(X, factor * (y + X @ v + 4))
    tolerance = 1e-6 * est.scale_
    assert_allclose(other.coef_ / factor - v, est.coef_, atol=tolerance)
    assert_allclose(other.intercept_ / factor - 4, est.intercept_, atol=tolerance)
    assert_allclose(other.scale_, abs(factor) * est.scale_, rtol=1e-6)


@pytest.mark.parametrize("params", [{}, {"penalty": "l1", "alpha": 0.01}], ids=str)
@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
def test_copies_and_orders(params, layout):
    X, y = regression()
    rng = np.random.default_rng(3)
    weight = rng.integers(0, 4, len(y))
    est = fitted(layout(X), y, weight, **params)
    rows = rng.permutation(np.repeat(np.arange(len(y)), weight))
    columns = rng.permutation(X.shape[1])
    other = fitted(layout(X[rows][:, columns]), y[rows], **params)
    # The scale of a penalised fit is approached slowly, and not to the end.
    tolerance = (1e-4 if params else 1e-6) * est.scale_
    assert_allclose(other.coef_, est.coef_[columns], atol=tolerance)
    assert_allclose(other.intercept_, est.intercept_, atol=tolerance)


def test_dense_and_sparse_rows():
    X, y = regression()
    assert_same(fitted(X, y), fitted(sp.csr_array(X), y), X)


def test_single_and_double_precision():
    X, y = regression()
    single = X.astype(np.float32)
    est, other = fitted(single.astype(float), y), fitted(single, y)
    assert other.coef_.dtype == np.float32
    gap = est.predict(X) - other.predict(single)
    assert np.abs(gap).max() <= 1e-4 * est.scale_


@pytest.mark.parametrize("params", [{}, {"penalty": "l1"}], ids=str)
def test_a_stream_in_chunks_of_other_sizes(params):
    X, y = regression(6000)
    whole = fitted(X, y, **params)
    for sizes in ([500], [1, 999], [37], [3000]):
        est = clone(Regressor).set_params(**params)
        first, k = 0, 0
        while first < len(y):
            part = slice(first, first + sizes[k % len(sizes)])
            est.partial_fit(X[part], y[part])
            first, k = part.stop, k + 1
        gap = est.predict(X) - whole.predict(X)
        # A standard error of fitted values is the root of 8 / 6000 scales.
        assert np.sqrt(np.mean(gap**2)) <= 0.2 * np.sqrt(8 / 6000) * whole.scale_


def probabilities(X, y, X_test, **fit):
    clf = clone(Classifier).fit(X, y, **fit)
    return clf.classes_, clf.predict_proba(X_test)


def test_orders_of_rows_columns_and_classes():
    X, y = classification()
    _, expected = probabilities(X, y, X)
    rng = np.random.default_rng(4)
    rows, columns = rng.permutation(len(y)), rng.permutation(X.shape[1])
    others = {
        "rows": probabilities(X[rows], y[rows], X)[1],
        "columns": probabilities(X[:, columns], y, X[:, columns])[1],
        "classes": probabilities(X, 2 - y, X)[1][:, ::-1],
        "names": probabilities(X, np.array(["a", "b", "c"])[y], X)[1],
        "units": probabilities(10 * X + 3, y, 10 * X + 3)[1],
        "sparse": probabilities(sp.csr_array(X), y, X)[1],
        "precision": probabilities(X.astype(np.float32), y, X.astype(np.float32))[1],
    }
    for how, proba in others.items():
        assert_allclose(proba, expected, atol=0.02, err_msg=how)


def test_weights_of_a_classifier_are_copies():
    X, y = classification()
    weight = np.random.default_rng(5).integers(1, 4, len(y))
    rows = np.repeat(np.arange(len(y)), weight)
    _, expected = probabilities(X[rows], y[rows], X)
    _, proba = probabilities(X, y, X, sample_weight=weight)
    assert_allclose(proba, expected, atol=0.02)
