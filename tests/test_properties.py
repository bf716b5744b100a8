"""What holds for all shapes, dtypes, weights and layouts (hypothesis)."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import SGDClassifier, SGDRegressor

from medsgd import MedianSGDClassifier, MedianSGDRegressor

# Neither the features nor the samples' say are touched: the bare gradients.
BARE = {"standardize": False, "leverage_weights": False}
MEDIANS = ["coord-median", "geometric-median", "spp-l1", "spp-l2"]
ESTIMATORS = ["mean", *MEDIANS]
FEW = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def memory_map(X):
    """A read-only memory map; the file goes when the last view of it goes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "X.npy"
        np.save(path, X)
        return np.load(path, mmap_mode="r")


def strided(X):
    room = np.full((2 * X.shape[0], 3 * X.shape[1]), np.nan, dtype=X.dtype)
    room[::2, ::3] = X
    return room[::2, ::3]


def read_only(X):
    X = X.copy()
    X.setflags(write=False)
    return X


def with_index_dtype(dtype):
    def convert(X):
        X = sp.csr_array(X)
        X.indices, X.indptr = X.indices.astype(dtype), X.indptr.astype(dtype)
        return X

    return convert


def unsorted(X):
    X = sp.csr_array(X)
    for row in range(X.shape[0]):
        here = slice(X.indptr[row], X.indptr[row + 1])
        X.indices[here] = X.indices[here][::-1].copy()
        X.data[here] = X.data[here][::-1].copy()
    X.has_sorted_indices = False
    return X


DENSE = {
    "C order": np.ascontiguousarray,
    "Fortran order": np.asfortranarray,
    "strided": strided,
    "reversed": lambda X: X[::-1, ::-1].copy()[::-1, ::-1],
    "read only": read_only,
    "memory map": memory_map,
    "frame": lambda X: pd.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])]),
    "list": lambda X: X.tolist(),
}
SPARSE = {
    "csr_matrix": sp.csr_matrix,
    "csr_array": sp.csr_array,
    "32-bit indices": with_index_dtype(np.int32),
    "64-bit indices": with_index_dtype(np.int64),
    "csc_array": sp.csc_array,
    "unsorted indices": unsorted,
}


@st.composite
def problems(draw, classes=None, max_samples=60, weighted=True):
    """Rows with zeros among them, targets of some linear model, weights."""
    n = draw(st.integers(8, max_samples))
    d = draw(st.integers(1, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from([np.float64, np.float32]))
    X = rng.normal(size=(n, d)) * (rng.random((n, d)) > draw(st.sampled_from([0, 0.6])))
    z = X @ rng.normal(size=d) + rng.standard_t(2, size=n)
    if classes is None:
        classes = draw(st.sampled_from([0, 2, 3]))
    y = z if classes == 0 else np.argsort(np.argsort(z)) * classes // n
    weight = None
    if weighted:
        weight = draw(
            st.sampled_from(
                [None, np.ones(n), rng.uniform(0.1, 3, n), rng.integers(1, 4, n)]
            )
        )
    return X.astype(dtype), y, weight


params = st.fixed_dictionaries(
    {
        "gradient_estimator": st.sampled_from(ESTIMATORS),
        "n_gradients": st.sampled_from(["auto", 1, 2, 3, 7]),
        "batch_size": st.integers(1, 4),
        "tau": st.sampled_from(["auto", 0.01, 1.0, np.inf]),
        "momentum": st.sampled_from([0.0, 0.3, 0.9]),
        "penalty": st.sampled_from([None, "l2", "l1", "elasticnet"]),
        "average": st.sampled_from([False, True, 15]),
        "fit_intercept": st.booleans(),
        "shuffle": st.booleans(),
        "random_state": st.integers(0, 100),
    }
)
median_params = params.map(
    lambda p: p | {"gradient_estimator": MEDIANS[p["random_state"] % len(MEDIANS)]}
)


def make(y, params, **more):
    """The estimator for targets of this kind, with few epochs of small steps."""
    estimator_class = MedianSGDRegressor if y.dtype.kind == "f" else MedianSGDClassifier
    fixed = {"max_iter": 3, "tol": None, "learning_rate": "constant", "eta0": 0.01}
    if estimator_class is MedianSGDClassifier:
        fixed["refine"] = False  # whose sums are rounded by blocks of rows
    return estimator_class(**fixed | params | more)


def coefficients(est):
    return np.c_[est.coef_.reshape(len(est.intercept_), -1), est.intercept_]


def copy_of(value):
    return value.copy() if hasattr(value, "copy") else value


def assert_unchanged(value, before):
    if sp.issparse(value):
        for name in ("data", "indices", "indptr"):
            assert_array_equal(getattr(value, name), getattr(before, name))
            assert getattr(value, name).dtype == getattr(before, name).dtype
    else:
        assert_array_equal(np.asarray(value), np.asarray(before))


@FEW
@given(problem=problems(), params=params)
@pytest.mark.parametrize("layout", [*DENSE, *SPARSE])
def test_every_layout(layout, problem, params):
    X, y, weight = problem
    given = (DENSE | SPARSE)[layout](X)
    inputs = [given, y, weight]
    before = [copy_of(value) for value in inputs]
    est = make(y, params).fit(given, y, sample_weight=weight)
    for value, old in zip(inputs, before, strict=True):
        if value is not None:
            assert_unchanged(value, old)
    # A list of floats is of double precision.
    dtype = np.float64 if layout == "list" else X.dtype
    n_classes = 0 if y.dtype.kind == "f" else len(np.unique(y))
    rows = {0: (), 2: (1,)}.get(n_classes, (n_classes,))
    assert est.coef_.shape == (*rows, X.shape[1])
    assert est.intercept_.shape == (*(rows or (1,)),)
    assert est.coef_.dtype == est.intercept_.dtype == dtype
    assert np.isfinite(coefficients(est)).all()
    assert params["fit_intercept"] or not est.intercept_.any()
    assert est.n_iter_ == len(est.loss_curve_) == 3
    assert np.isfinite(est.loss_curve_).all()
    assert est.predict(given).shape == y.shape
    plain = sp.csr_array(X) if layout in SPARSE else np.ascontiguousarray(X)
    same = make(y, params).fit(plain.astype(dtype), y, sample_weight=weight)
    assert_array_equal(coefficients(est), coefficients(same))


@FEW
@given(problem=problems(), params=median_params)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_medians_of_dense_and_sparse_rows_agree(method, problem, params):
    X, y, weight = problem
    # The truncation of the L1 penalty depends on which zeros are stored.
    params = params | {"penalty": "l2" if params["penalty"] else None}
    # Sparse rows are scaled, not centred.
    params = params | BARE
    kwargs = {"sample_weight": weight}
    if method == "partial_fit" and y.dtype.kind != "f":
        kwargs["classes"] = np.unique(y)
    fits = [
        coefficients(getattr(make(y, params), method)(kind(X), y, **kwargs))
        for kind in (np.asarray, sp.csr_array)
    ]
    # Rounding of at most three epochs of sixty steps, each of some ten operations.
    rtol = 2000 * np.finfo(X.dtype).eps
    assert_allclose(*fits, rtol=rtol, atol=rtol * np.abs(fits[0]).max())


@FEW
@given(problem=problems(weighted=False), params=params, seed=st.integers(0, 99))
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_rows_of_weight_zero_are_absent(kind, problem, params, seed):
    X, y, _ = problem
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0.5, 2, len(y)) * (rng.random(len(y)) < 0.7)
    if y.dtype.kind != "f":
        weight[np.unique(y, return_index=True)[1]] = 1
    weight[0] = 1
    kept = weight > 0
    junk = np.where(kept[:, None], X, X.dtype.type(1e5))
    est = make(y, params).fit(kind(junk), y, sample_weight=weight)
    less = make(y, params).fit(kind(X[kept]), y[kept], sample_weight=weight[kept])
    if y.dtype.kind == "f":
        # BLAS adds up other numbers of rows in another order.
        assert_allclose(coefficients(est), coefficients(less), rtol=1e-9, atol=1e-12)
        assert_allclose(est.loss_curve_, less.loss_curve_, rtol=1e-9)
    else:
        assert_array_equal(coefficients(est), coefficients(less))
        assert_array_equal(est.loss_curve_, less.loss_curve_)
    assert est.t_ == less.t_


@FEW
@given(problem=problems(weighted=False), params=params)
def test_weights_of_one_change_nothing(problem, params):
    X, y, _ = problem
    fits = [
        coefficients(make(y, params).fit(X, y, sample_weight=weight))
        for weight in (None, np.ones(len(y)), np.ones(len(y), dtype=int), 1.0)
    ]
    for other in fits[1:]:
        assert_array_equal(fits[0], other)


@FEW
@given(problem=problems(weighted=False), data=st.data())
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_mean_agrees_with_sgd(kind, problem, data):
    X, y, _ = problem
    X = X.astype(np.float64)
    shared = {
        "penalty": data.draw(st.sampled_from([None, "l2", "l1", "elasticnet"])),
        "alpha": data.draw(st.sampled_from([0.0, 0.001, 0.1])),
        "average": data.draw(st.sampled_from([False, True, 15])),
        "fit_intercept": data.draw(st.booleans()),
        "shuffle": data.draw(st.booleans()),
        "power_t": data.draw(st.sampled_from([0.0, 0.25, 0.5])),
        "learning_rate": "invscaling",
        "eta0": 0.01,
        "max_iter": 3,
        "tol": None,
        "random_state": data.draw(st.integers(0, 100)),
    }
    theirs = (SGDRegressor if y.dtype.kind == "f" else SGDClassifier)(**shared)
    ours = make(y, theirs.get_params(), gradient_estimator="mean").fit(kind(X), y)
    desired = coefficients(theirs.fit(kind(X), y))
    atol = 1e-10 * np.abs(desired).max()
    assert_allclose(coefficients(ours), desired, rtol=1e-8, atol=atol)


def fit_plain_limit(name, X, y, weight, params, **more):
    """A fit in which a median is the mean of one gradient."""
    limit = {"gradient_estimator": name, "n_gradients": 1, "momentum": 0.0, **BARE}
    start = {}
    if y.dtype.kind == "f":
        limit["refine"] = False
        start["intercept_init"] = 0.0
    est = make(y, params | limit, **more)
    return est.fit(X, y, sample_weight=weight, **start)


@FEW
@given(problem=problems(), params=params)
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("name", ["spp-l1", "spp-l2"])
def test_no_clipping_is_the_mean_bit_for_bit(name, kind, problem, params):
    X, y, weight = problem
    if kind is sp.csr_array:
        # The mean's steps of the intercept are damped on sparse rows.
        params = params | {"fit_intercept": False}
    fits = [
        fit_plain_limit(one, kind(X), y, weight, params, tau=np.inf)
        for one in ("mean", name)
    ]
    assert_array_equal(*map(coefficients, fits))


@FEW
@given(problem=problems(classes=0), params=params)
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("name", ["coord-median", "geometric-median"])
def test_the_median_of_one_gradient_is_the_mean_bit_for_bit(
    name, kind, problem, params
):
    X, y, weight = problem
    if kind is sp.csr_array:
        params = params | {"fit_intercept": False}
    fits = [fit_plain_limit(one, kind(X), y, weight, params) for one in ("mean", name)]
    assert_array_equal(*map(coefficients, fits))


@FEW
@given(problem=problems(), params=params, chunk=st.integers(1, 20))
def test_any_chunks_make_a_stream(problem, params, chunk):
    X, y, _ = problem
    est = make(y, params)
    kwargs = {} if y.dtype.kind == "f" else {"classes": np.unique(y)}
    for start in range(0, len(y), chunk):
        rows = slice(start, start + chunk)
        before = X[rows].copy()
        est.partial_fit(X[rows], y[rows], **kwargs)
        assert_array_equal(X[rows], before)
        assert np.isfinite(coefficients(est)).all()
    assert est.coef_.dtype == X.dtype
    assert est.n_iter_ == 1


@FEW
@given(problem=problems(), params=params)
def test_the_seed_decides_everything(problem, params):
    X, y, weight = problem
    one, other = (make(y, params).fit(X, y, sample_weight=weight) for _ in range(2))
    assert_array_equal(coefficients(one), coefficients(other))
    assert_array_equal(one.loss_curve_, other.loss_curve_)


@FEW
@given(problem=problems(), params=params, seed=st.integers(0, 99))
def test_initial_values_are_not_written_to(problem, params, seed):
    X, y, _ = problem
    zero = make(y, params).fit(X, y)
    rng = np.random.default_rng(seed)
    coef_init = rng.normal(size=zero.coef_.shape).astype(X.dtype)
    intercept_init = rng.normal(size=zero.intercept_.shape).astype(X.dtype)
    before = coef_init.copy(), intercept_init.copy()
    make(y, params).fit(X, y, coef_init=coef_init, intercept_init=intercept_init)
    assert_array_equal(coef_init, before[0])
    assert_array_equal(intercept_init, before[1])


@pytest.mark.parametrize("name", ["spp-l1", "spp-l2"])
def test_a_stream_in_pieces_is_tracked_throughout(name):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(480, 3)), rng.standard_cauchy(size=480)
    # The intercept starts at the median of the first call: the same 0 in both.
    y[1::2] = -y[::2]
    params = {"gradient_estimator": name, "shuffle": False, "penalty": None}
    params |= {"eta0": 0.01, "refine": False, **BARE}
    whole, pieces = MedianSGDRegressor(**params), MedianSGDRegressor(**params)
    whole.partial_fit(X, y)
    # The first 256 samples set the scale in both.
    for rows in (slice(0, 300), slice(300, 301), slice(301, 480)):
        pieces.partial_fit(X[rows], y[rows])
    assert_array_equal(whole.coef_, pieces.coef_)
    assert_array_equal(whole.intercept_, pieces.intercept_)
    assert whole.t_ == pieces.t_


@pytest.mark.parametrize("factor", [1e-3, 1e3, 1e-100, 1e100])
@pytest.mark.parametrize(
    "name", ["coord-median", "geometric-median", "spp-l1", "spp-l2"]
)
def test_a_fit_commutes_with_scaling_y(name, factor):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 3))
    y = X @ [1.0, -2.0, 0.5] + rng.standard_t(2, size=500)
    params = {"gradient_estimator": name, "random_state": 0, "alpha": 1e-3}
    one, other = (MedianSGDRegressor(**params).fit(X, y * f) for f in (1.0, factor))
    assert one.n_iter_ == other.n_iter_
    assert_allclose(other.coef_, factor * one.coef_, rtol=1e-6)
    assert_allclose(other.intercept_, factor * one.intercept_, rtol=1e-6)
