"""Draw estimators, data and calls at random, and check what must hold for all of them.

A case is made from its number alone: ``python tests/fuzz/driver.py --first 1234
--cases 1`` repeats it. Either a call raises a documented exception and the estimator is
as before, or it is fitted to finite numbers of the right shape and dtype. Predictions
of dense and sparse rows agree, also after a pickle; a fit does not depend on the layout
of its data; a stream goes on from a pickle as without; nobody's arrays change.
"""

import argparse
import copy
import pickle
import re
import sys
import traceback
import warnings

import numpy as np
import pandas as pd
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from medsgd import MedianSGDClassifier, MedianSGDRegressor, minimize_stochastic
from medsgd.gradient_estimators import BY_NAME
from medsgd.inspection import coefficient_table, robust_r2

DOCUMENTED = (ValueError, TypeError, NotFittedError)
# What NumPy and Cython say to arrays that no caller has made.
INTERNAL = re.compile(
    "contiguous|Buffer|slice step|ufunc|unsupported operand|not fit the"
)

# Of each parameter, values to draw from; the defaults come up most often.
PARAMETERS = {
    "gradient_estimator": list(BY_NAME),
    "n_gradients": ["auto", 1, 2, 5, 70],
    "batch_size": [1, 2, 7],
    "tau": ["auto", 1e-300, 0.1, 1e300, np.inf],
    "momentum": [0.0, 0.5, 0.999],
    "penalty": ["l2", "l1", "elasticnet", None],
    "alpha": [0.0, 1e-4, 1.0, 1e10],
    "l1_ratio": [0.15, 0.0, 1.0, None],
    "fit_intercept": [True, False],
    "max_iter": [1, 2, 10],
    "tol": [1e-3, None, 0.0],
    "shuffle": [True, False],
    "epsilon": [0.1, 0.0, 1e-300],
    "learning_rate": ["invscaling", "constant", "optimal", "adaptive", "pa1", "pa2"],
    "eta0": ["auto", 1e-10, 0.01, 1e10],
    "power_t": [0.25, 0.0, 0.5, 0.77],
    "early_stopping": [False, True],
    "validation_fraction": [0.1, 0.01, 0.99],
    "n_iter_no_change": [5, 1],
    "warm_start": [False, True],
    "average": [False, True, 3],
    "standardize": ["auto", True, False],
    "leverage_weights": [True, False],
}
WRONG = {"tau": "none", "alpha": -1, "n_gradients": 0, "momentum": 1, "penalty": "l3"}
SPOILT = [1e300, -1e300, 1e-300, 5e-324, 1e38, np.nan, np.inf, -np.inf]
CHANGES = ["set", "clone", "pickle", "deepcopy", "sparsify", "densify", "coef_"]
QUERIES = ["predict", "decision_function", "predict_proba", "predict_log_proba"]
# Events of a stream between two calls.
EVENTS = ["units", "shift", "jump", "late", "wild", "set", "pickle", "deepcopy"]
EVENTS += ["sparsify", "densify", "coef_", "fit", "layout", "targets"]
CALLS = ["fit"] * 6 + ["partial_fit"] * 6 + QUERIES + ["score", *CHANGES]


def pick(rng, values):
    return values[rng.integers(len(values))]


def draw_parameters(rng, cls):
    """Some parameters that are not the default."""
    some = rng.choice(list(PARAMETERS), rng.integers(0, 8), replace=False)
    params = {name: pick(rng, PARAMETERS[name]) for name in some}
    losses = cls()._task().losses
    params |= {"random_state": int(rng.integers(10)), "loss": pick(rng, [*losses])}
    params.setdefault("max_iter", 5)
    params["refine"] = pick(rng, [True, True, False])
    if cls is MedianSGDRegressor:
        params["half_life"] = pick(rng, [None, None, 1e-3, 1.0, 50, 1e4, np.inf])
        if rng.random() < 0.3:
            params["epsilon"] = "auto"
    else:
        params["class_weight"] = pick(rng, [None, "balanced"])
        params["n_jobs"] = pick(rng, [None] * 9 + [2])
    if rng.random() < 0.03:
        name = pick(rng, list(WRONG))
        params[name] = WRONG[name]
    return params


def draw_rows(rng, n, d):
    """Dense rows of many kinds."""
    X = rng.standard_normal((n, d)) * 10.0 ** rng.integers(-3, 4)
    kind = pick(
        rng, ["normal"] * 6 + ["constant", "zeros", "sparse", "spoilt", "scale"]
    )
    if kind == "constant" and d:
        X[:, rng.integers(d)] = pick(rng, [0.0, 1.0, 1e10])
    elif kind == "zeros":
        X[:] = 0
    elif kind == "sparse":
        X[rng.random(X.shape) < 0.8] = 0
    elif kind == "spoilt" and X.size:
        X.flat[rng.integers(X.size, size=3)] = pick(rng, SPOILT)
    elif kind == "scale":
        X *= pick(rng, [1e-320, 1e-150, 1e150, 1e300])
    return X


def shifted(array):
    """The array an odd number of bytes after where its numbers could begin."""
    room = np.empty(array.nbytes + 1, dtype=np.uint8)
    result = room[1:].view(array.dtype).reshape(array.shape)
    result[...] = array
    return result


def draw_layout(rng, X):
    """The same rows as a user may have them, or what are none."""
    if rng.random() < 0.03:
        shapes = [X[0] if len(X) else X, X[np.newaxis], X[:, 1:], X[:-1]]
        return pick(rng, [*shapes, None, "rows", 3.0, [], [[1], [2, 3]], {"x": X}])
    dtype = pick(
        rng,
        [np.float64] * 13
        + [np.float32] * 3
        + [np.int64, np.int8, bool, np.float16, np.longdouble, complex, object, str],
    )
    X = X.astype(dtype)
    kind = pick(
        rng,
        ["C"] * 3
        + ["F", "strided", "back", "fixed", "shifted", "frame", "list"]
        + ["csr"] * 5,
    )
    if kind == "F":
        return np.asfortranarray(X)
    if kind == "strided":
        return np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3]
    if kind == "back":
        return X[::-1, ::-1].copy()[::-1, ::-1]
    if kind == "shifted" and X.dtype != object:
        return shifted(X)
    if kind == "fixed":
        X.flags.writeable = False
    elif kind == "frame":
        return draw_frame(rng, X)
    elif kind == "list":
        return X.tolist()
    elif kind == "csr" and X.dtype.kind in "biuf" and X.dtype != np.float16:
        return draw_sparse(rng, X)
    return X


def draw_frame(rng, X):
    """A frame with its own index, missing values, dtypes of pandas."""
    frame = pd.DataFrame(X, index=rng.permutation(len(X)))
    frame.columns = [f"x{j}" for j in range(X.shape[1])]
    if rng.random() < 0.3:
        frame = frame.mask(rng.random(X.shape) < 0.05)
    kinds = [None] * 3 + ["Float64", "Float32", "Int64", "Sparse[float]", "category"]
    kind = pick(rng, [*kinds, "string", object])
    try:
        return frame if kind is None else frame.astype(kind)
    except (ValueError, TypeError, OverflowError, NotImplementedError):
        return frame


def draw_sparse(rng, X):
    """CSR and others, not always in canonical format."""
    csr = pick(rng, [sp.csr_array, sp.csr_matrix])(X)
    kind = pick(
        rng,
        ["plain", "wide", "mixed", "fixed", "shifted", "unsorted", "twice", "explicit"]
        + ["outside", "csc", "coo", "lil", "dok", "bsr", "dia"],
    )
    if kind in ("wide", "mixed"):
        csr.indptr = csr.indptr.astype(np.int64)
        if kind == "wide":
            csr.indices = csr.indices.astype(np.int64)
    elif kind == "fixed":
        for array in (csr.data, csr.indices, csr.indptr):
            array.flags.writeable = False
    elif kind == "shifted":
        csr.data, csr.indices = shifted(csr.data), shifted(csr.indices)
        csr.indptr = shifted(csr.indptr)
    elif kind == "unsorted":
        for start, end in zip(csr.indptr[:-1], csr.indptr[1:], strict=True):
            order = start + rng.permutation(end - start)
            csr.indices[start:end] = csr.indices[order]
            csr.data[start:end] = csr.data[order]
        csr.has_sorted_indices = False
    elif kind == "twice":
        halves = np.repeat(csr.data, 2)
        halves = halves / 2 if halves.dtype.kind == "f" else halves // 2
        return type(csr)(
            (halves, np.repeat(csr.indices, 2), 2 * csr.indptr), shape=csr.shape
        )
    elif kind == "explicit":
        csr.data[rng.random(csr.nnz) < 0.3] = 0
    elif kind == "outside":
        return pointing_outside(rng, csr)
    elif kind != "plain":
        return csr.asformat(kind)
    return csr


def pointing_outside(rng, csr):
    """A matrix one index of which has been changed."""
    A = csr.asformat(pick(rng, ["csr", "csc", "bsr", "coo", "lil", "dia"]))
    wrong = pick(rng, [-1, max(A.shape), 10**8])
    if A.format == "lil":
        for row in filter(None, A.rows):
            row[0] = wrong
    elif A.format == "dia":
        A.offsets = A.offsets[1:]
    elif A.nnz:
        indices = pick(rng, A.coords) if A.format == "coo" else A.indices
        indices[rng.integers(len(indices))] = wrong
    return A


def draw_targets(rng, cls, X):
    n = len(X)
    if cls is MedianSGDClassifier:
        labels = pick(rng, [["a", "b"], [0, 1], [-1, 1], [0, 1, 2], [5], [0.0, 1.0]])
        return np.array(labels)[rng.integers(len(labels), size=n)]
    y = rng.standard_normal(n) * 10.0 ** rng.integers(-3, 4)
    kind = pick(rng, ["linear"] * 5 + ["noise", "constant", "spoilt", "scale"])
    if kind == "linear":
        y = y + np.nan_to_num(X).sum(axis=1)
        y[~np.isfinite(y)] = 1e300
    elif kind == "constant":
        y[:] = pick(rng, [0.0, 3.0])
    elif kind == "spoilt" and n:
        y[rng.integers(n)] = pick(rng, SPOILT)
    elif kind == "scale":
        y *= pick(rng, [1e-310, 1e100, 1e300])
    return y


def draw_weight(rng, n):
    kind = pick(
        rng, ["none"] * 6 + ["uniform", "some 0", "all 0", "negative", "spoilt"]
    )
    if kind == "none":
        return None
    weight = rng.uniform(0.1, 3, n)
    if kind == "some 0":
        weight[rng.random(n) < 0.5] = 0
    elif kind == "all 0":
        weight[:] = 0
    elif kind == "negative":
        weight[: n // 3] = -1
    elif kind == "spoilt" and n:
        weight[0] = pick(rng, SPOILT)
    return weight


def draw_vector(rng, values):
    """Targets or weights as a user may have them, or what are none."""
    if values is None or rng.random() < 0.7:
        return values
    series = pd.Series(values, index=rng.permutation(len(values)))
    others = [values.tolist(), values.astype(object), values[::-1].copy()[::-1], series]
    others += [series.convert_dtypes(), series.astype("category"), shifted(values)]
    if rng.random() < 0.5:
        missing = rng.random(len(values)) < 0.1
        others = [series.mask(missing), series.convert_dtypes().mask(missing)]
        others += [values[:, np.newaxis], values[1:], values.astype(str), 1.0, "y"]
        others += [values.astype(complex) if values.dtype.kind == "f" else [None]]
    return pick(rng, others)


def frozen(value):
    """What a value is, for comparison before and after."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.dtype.str, value.shape, value.tobytes()
    if sp.issparse(value):
        # Without the flags that asking for the format sets.
        parts = sorted(vars(value).items())
        kinds = np.ndarray | tuple | dict
        return [frozen(part) for _, part in parts if isinstance(part, kinds)]
    if isinstance(value, pd.DataFrame | pd.Series):
        # Without what it caches.
        numbers = value.to_numpy(object).tolist(), value.index.tolist()
        return pickle.dumps((*numbers, str(value.dtypes)))
    return pickle.dumps(value)


def coefficients(estimator):
    """A dense array, one row a problem."""
    coef = estimator.coef_
    return np.atleast_2d(coef.toarray() if sp.issparse(coef) else coef)


def check_message(failure):
    """Of this package's, not of a library that it calls."""
    assert not INTERNAL.search(str(failure)), failure


def check_fitted(estimator, d):
    """Finite numbers of the right shape and dtype."""
    coef, dtype = coefficients(estimator), estimator._states[0].dtype
    assert coef.shape == (len(estimator.intercept_), d), (coef.shape, d)
    assert coef.dtype == dtype, (coef.dtype, dtype)
    assert np.isfinite(coef).all()
    assert np.isfinite(estimator.intercept_).all()
    # What the mean stops by may be no number, as R^2 of one held-out sample is none. A
    # median of squared residuals may be infinite.
    if estimator.gradient_estimator != "mean":
        assert not np.isnan(estimator.loss_curve_).any()


def check_refined(rng, estimator, X, y, sample_weight=None):
    """Weights, the table and R^2 of a fit, or the reason why there is none."""
    if hasattr(estimator, "weights_"):
        assert len(estimator.weights_) == len(estimator.outliers_) == np.shape(X)[0]
        assert ((estimator.weights_ >= 0) & (estimator.weights_ <= 1)).all()
    if not isinstance(estimator, MedianSGDRegressor):
        return
    state = frozen(vars(estimator))
    try:
        table = coefficient_table(
            estimator,
            X,
            y,
            sample_weight=sample_weight,
            covariance=pick(rng, ["robust", "homoscedastic"]),
        )
    except ValueError as error:
        check_message(error)
    else:
        known = np.isfinite(table.std_error)
        assert np.all(table.std_error[known] >= 0)
        assert np.all(table.lower[known] <= table.upper[known])
        assert np.all((table.p_value >= 0) & (table.p_value <= 1) | ~known)
        assert 0 <= table.outlier_share <= 1
        str(table)
    try:
        assert not robust_r2(estimator, X, y, sample_weight=sample_weight) > 1
    except ValueError as error:
        check_message(error)
    assert frozen(vars(estimator)) == state, "changed by the table"


def check_predictions(estimator, X):
    """Alike of dense and sparse rows and coefficients, and after a pickle."""
    dense = estimator.predict(X)
    again = pickle.loads(pickle.dumps(estimator))
    assert np.array_equal(dense, again.predict(X), equal_nan=False)
    size = np.abs(X) @ np.abs(coefficients(estimator)).T + np.abs(estimator.intercept_)
    for est in (estimator, again.sparsify()):
        sparse = est.predict(sp.csr_array(X))
        if dense.dtype.kind == "f":
            close = np.abs(dense - sparse) <= 1e-5 * size.max(axis=1)
            assert (close | ~np.isfinite(size.max(axis=1))).all()
    if hasattr(estimator, "predict_proba"):
        share = estimator.predict_proba(X)[np.isfinite(size).all(axis=1)]
        assert ((share >= 0) & (share <= 1)).all()
        np.testing.assert_allclose(share.sum(axis=1), 1, rtol=1e-5)


def check_twin(estimator, X, *rest, **kwargs):
    """The same from the same numbers in the plainest layout."""
    wide = getattr(X, "dtype", None) != np.float32
    dtype = np.float64 if wide else np.float32
    if sp.issparse(X):
        X = sp.csr_array(X, dtype=dtype, copy=True)
        X.sum_duplicates()
    else:
        X = np.array(X, dtype=dtype, order="C")
    twin = clone(estimator).fit(X, *rest, **kwargs)
    assert np.array_equal(coefficients(twin), coefficients(estimator))
    assert np.array_equal(twin.intercept_, estimator.intercept_)


def changed(rng, estimator, how):
    """The estimator after something that is neither a fit nor a question."""
    if how == "set":
        return estimator.set_params(**draw_parameters(rng, type(estimator)))
    if how in ("clone", "deepcopy"):
        return {"clone": clone, "deepcopy": copy.deepcopy}[how](estimator)
    if how == "pickle":
        return pickle.loads(pickle.dumps(estimator))
    if hasattr(estimator, "coef_"):
        if how != "coef_":
            return getattr(estimator, how)()
        estimator.densify()
        estimator.coef_ = estimator.coef_ * pick(rng, [0.0, 2.0])
    return estimator


def run_estimator(rng):
    """A sequence of calls of a regressor or classifier."""
    cls = pick(rng, [MedianSGDRegressor, MedianSGDClassifier])
    d = int(pick(rng, [1, 2, 5, 5, 5, 20, 200]))
    sizes = [0, 1, 2, 3, 10, 30, 30, 100, 300, 700]
    if rng.random() < 0.005:
        d = int(pick(rng, [0, 3, 300, 2000]))
        sizes = [100_000 // (d + 10)]
    estimator = cls(**draw_parameters(rng, cls))
    for _ in range(rng.integers(1, 7)):
        call = pick(rng, CALLS)
        if call in CHANGES:
            estimator = changed(rng, estimator, call)
            continue
        rows = draw_rows(rng, n := int(pick(rng, sizes)), d)
        y, weight = draw_targets(rng, cls, rows), draw_weight(rng, n)
        kwargs = {}
        if call == "partial_fit" and cls is MedianSGDClassifier and rng.random() < 0.9:
            kwargs["classes"] = np.unique(y) if n else [0, 1]
        X = draw_layout(rng, rows)
        y, weight = (draw_vector(rng, values) for values in (y, weight))
        given = [X] if call in QUERIES else [X, y]
        if call not in QUERIES and rng.random() < 0.9:
            kwargs["sample_weight"] = weight
        if call == "fit" and rng.random() < 0.1:
            shape = coefficients(estimator).shape if hasattr(estimator, "coef_") else d
            kwargs["coef_init"] = rng.standard_normal(shape)
        if call == "fit" and rng.random() < 0.05:
            kwargs["intercept_init"] = [pick(rng, [1.0, 1j, "1", None, *SPOILT])]
        if not hasattr(estimator, call):
            continue
        before = [frozen(value) for value in (X, y, weight)]
        state, failure = frozen(vars(estimator)), None
        try:
            result = getattr(estimator, call)(*given, **kwargs)
        except DOCUMENTED as error:
            failure = error
        except ZeroDivisionError as error:
            if call != "score":  # whose weights are all 0, before scikit-learn 1.9
                raise
            failure = error
        if failure is not None and call != "score":  # which is scikit-learn's
            check_message(failure)
        if failure is not None or call not in ("fit", "partial_fit"):
            assert frozen(vars(estimator)) == state, f"changed by {call}: {failure!r}"
        if failure is None and call in QUERIES:
            assert len(result) == np.shape(X)[0]
        elif failure is None and call != "score":
            d_seen = np.shape(X)[1]
            check_fitted(estimator, d_seen)
            dtype = estimator._states[0].dtype
            check_predictions(estimator, rng.standard_normal((4, d_seen)).astype(dtype))
            fresh = call == "fit" and not estimator.warm_start
            if fresh and not isinstance(X, pd.DataFrame) and rng.random() < 0.2:
                check_twin(estimator, X, y, **kwargs)
            if call == "fit" and rng.random() < 0.3:
                check_refined(rng, estimator, X, y, kwargs.get("sample_weight"))
        for value, frozen_before in zip((X, y, weight), before, strict=True):
            assert frozen(value) == frozen_before, "an argument has changed"


def run_stream(rng):
    """A refined stream whose rows, and whose estimator, change on their way."""
    d = int(pick(rng, [1, 3, 3, 8, 8, 70]))
    params = draw_parameters(rng, MedianSGDRegressor)
    if rng.random() < 0.8:
        params |= {"refine": True, "gradient_estimator": "spp-l2", "tau": "auto"}
        params |= {"loss": "squared_error", "eta0": "auto", "early_stopping": False}
    estimator = MedianSGDRegressor(**params)
    truth, scale, center = rng.standard_normal(d), np.ones(d), np.zeros(d)
    late, unit = rng.random(d) < pick(rng, [0, 0, 0.3]), 1.0
    layout = pick(rng, [np.asarray, np.asarray, sp.csr_array])
    for _ in range(rng.integers(3, 12)):
        call = "partial_fit"
        wild = 0.0
        event = pick(rng, EVENTS) if rng.random() < 0.5 else None
        if event == "units":
            scale = scale * 10.0 ** rng.integers(-5, 6, d)
        elif event == "shift":
            center = center + scale * 10.0 ** rng.integers(-1, 4)
        elif event == "jump":
            truth = truth + rng.standard_normal(d)
        elif event == "targets":
            unit *= 10.0 ** rng.integers(-4, 5)
        elif event == "late":
            late = rng.random(d) < 0.1
        elif event == "wild":
            wild = pick(rng, [0.1, 0.4, 1.0])
        elif event == "layout":
            layout = pick(rng, [np.asarray, np.asfortranarray, sp.csr_array])
        elif event == "fit":
            call = event
        elif event is not None:
            estimator = changed(rng, estimator, event)
        n = int(pick(rng, [1, 5, 40, 200, 600]))
        z = rng.standard_normal((n, d))
        z[:, late] = 0
        X, y = z * scale + center, unit * (z @ truth + 0.1 * rng.standard_normal(n))
        y[rng.random(n) < wild] = pick(rng, [1e3, -1e30, 0.0]) * unit
        X, weight = layout(X), draw_weight(rng, n)
        n_calls = 20 if n == 1 else 1
        for _ in range(n_calls):
            go_on(estimator, call, X, y, weight)
        if hasattr(estimator, "coef_"):
            rows = z[:4] * scale + center
            check_predictions(estimator, rows.astype(estimator._states[0].dtype))


def go_on(estimator, call, X, y, weight):
    """A call of a stream, as it is and after a pickle."""
    again, state = pickle.loads(pickle.dumps(estimator)), frozen(vars(estimator))
    try:
        getattr(estimator, call)(X, y, sample_weight=weight)
        failure = None
    except DOCUMENTED as error:
        failure = error
    if failure is not None:
        check_message(failure)
        assert frozen(vars(estimator)) == state, f"changed by {call}: {failure!r}"
        return
    check_fitted(estimator, X.shape[1])
    getattr(again, call)(X, y, sample_weight=weight)
    assert np.array_equal(coefficients(again), coefficients(estimator))
    assert np.array_equal(again.intercept_, estimator.intercept_)
    assert getattr(again, "scale_", None) == getattr(estimator, "scale_", None)


def run_gradients(rng):
    """A stream of gradients, and a minimisation along their location."""
    cls = BY_NAME[pick(rng, list(BY_NAME))]
    params = {"momentum": pick(rng, [0.0, 0.5, 0.999])}
    if hasattr(cls(), "tau"):
        params["tau"] = pick(rng, ["auto", 1e-300, 0.1, 1e300, np.inf])
    estimator, d = cls(**params), int(pick(rng, [1, 5, 200]))
    for _ in range(rng.integers(1, 7)):
        g = draw_rows(rng, int(pick(rng, [0, 1, 2, 5, 70])), d)
        weight = draw_weight(rng, len(g))
        g = pick(rng, [g, g.astype(np.float32), np.asfortranarray(g), g[::-1, ::-1]])
        before, state = frozen(g), frozen(vars(estimator))
        again = copy.deepcopy(estimator)
        try:
            m = estimator.update(g, weight)
        except ValueError:
            assert frozen(vars(estimator)) == state, "changed by a failure"
        else:
            assert m.shape == (d,)
            assert m.dtype == estimator.estimate_.dtype
            assert np.isfinite(m).all()
            assert np.array_equal(again.update(g, weight), m)
        assert frozen(g) == before, "the gradients have changed"

    def grad(x, noise):
        return (x - 1) * scale + draw_rows(noise, 1, d)[0]

    scale = pick(rng, [1.0, 1.0, 1e150, 1e-300])
    try:
        result = minimize_stochastic(
            grad,
            draw_rows(rng, 1, d)[0],
            gradient_estimator=cls(**params),
            n_gradients=pick(rng, ["auto", 1, 3]),
            learning_rate=pick(rng, ["constant", "invscaling"]),
            eta0=pick(rng, [1e-300, 0.01, 1.0, 1e300]),
            max_iter=int(pick(rng, [1, 10, 50])),
            average=pick(rng, [False, True, 5]),
            random_state=int(rng.integers(10)),
        )
    except ValueError:
        return
    assert result.x.shape == (d,)
    assert np.isfinite(result.x).all()
    assert result.success == (result.status == 0)


def run_case(number):
    """Make a case from its number, run it and check the invariants."""
    rng = np.random.default_rng([number, 8])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", category=RuntimeWarning, module="medsgd")
        # A prediction may be beyond the range of its dtype.
        too_large, where = "overflow encountered in add", r"medsgd\._(class|regress)"
        warnings.filterwarnings("ignore", too_large, module=where)
        pick(rng, [run_gradients] + [run_stream] * 2 + [run_estimator] * 7)(rng)


def run_cases(description, run_case):
    """Run the cases that the command line asks for."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--cases", type=int, default=1000, help="how many")
    args = parser.parse_args()
    failed = []
    for number in range(args.first, args.first + args.cases):
        try:
            run_case(number)
        except Exception:
            failed.append(number)
            print(f"case {number}:\n{traceback.format_exc()}", flush=True)
    print(f"{args.cases} cases from {args.first}: {len(failed)} failed {failed[:20]}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    run_cases(__doc__, run_case)
