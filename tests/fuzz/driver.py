"""Draw estimators, data and calls at random, and check what must hold for all of them.

A case is made from its number alone: ``python tests/fuzz/driver.py --first 1234
--cases 1`` repeats it. Either a call raises a documented exception and the estimator is
as before, or it is fitted to finite numbers of the right shape and dtype. Predictions
of dense and sparse rows agree, also after a pickle; a fit does not depend on the layout
of its data; a stream goes on from a pickle as without; nobody's arrays change.

Streams are of regressors, with a Gram matrix and with a diagonal, and of classifiers.
Fits over partitions run on Dask's threads. Some of the partitions are wrong.
"""

import argparse
import copy
import pickle
import re
import sys
import traceback
import warnings
from unittest import mock

import numpy as np
import pandas as pd
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from medsgd import MedianSGDClassifier, MedianSGDRegressor, minimize_stochastic
from medsgd._refinement import class_stream, stream
from medsgd.gradient_estimators import BY_NAME
from medsgd.inspection import coefficient_table, robust_r2

try:
    import dask
    import dask.array as da
    import dask.dataframe as dd
except ImportError:
    dask = None
else:
    from medsgd.dask import DaskMedianSGDClassifier, DaskMedianSGDRegressor
    from medsgd.dask import _base as dask_base
    from medsgd.dask import _exact as dask_exact

DOCUMENTED = (ValueError, TypeError, NotFittedError)
# What NumPy and Cython say to arrays that no caller has made.
INTERNAL = re.compile(
    "contiguous|Buffer|slice step|ufunc|unsupported operand|not fit the|subscriptable"
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
    params["half_life"] = pick(rng, [None, None, 1e-3, 1.0, 50, 1e4, np.inf])
    if cls is MedianSGDRegressor:
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


class Source:
    """Rows of a stream. Some events change the units and the targets.

    Parameters
    ----------
    rng : Generator
    d : int
        Number of features.
    classes : ndarray or None
        None draws the targets of a regression.
    """

    def __init__(self, rng, d, classes=None):
        self.rng, self.classes, self.d = rng, classes, d
        self.shape = (d,) if classes is None else (d, len(classes))
        self.truth, self.scale = rng.standard_normal(self.shape), np.ones(d)
        self.center, self.unit, self.own = np.zeros(d), 1.0, None
        self.late = rng.random(d) < pick(rng, [0, 0, 0.3])
        self.layout = pick(rng, [np.asarray, np.asarray, sp.csr_array])
        self.wild = 0.0
        # A class that comes late.
        is_late = classes is not None and rng.random() < 0.3
        self.hidden = len(classes) - 1 if is_late else None

    def change(self, event):
        """Let an event happen; the next rows alone are wild, or of one class."""
        rng, d = self.rng, self.d
        self.wild, self.own = 0.0, None
        if event == "units":
            self.scale = self.scale * 10.0 ** rng.integers(-5, 6, d)
        elif event == "shift":
            self.center = self.center + self.scale * 10.0 ** rng.integers(-1, 4)
        elif event == "jump":
            self.truth = self.truth + rng.standard_normal(self.shape)
        elif event == "flip":
            self.truth = -self.truth
        elif event == "targets":
            self.unit *= 10.0 ** rng.integers(-4, 5)
        elif event == "late":
            self.late, self.hidden = rng.random(d) < 0.1, None
        elif event == "wild":
            self.wild = pick(rng, [0.1, 0.4, 1.0])
        elif event == "layout":
            self.layout = pick(rng, [np.asarray, np.asfortranarray, sp.csr_array])
        elif event == "one class":
            self.own = pick(rng, [0, -1])

    def draw(self, n):
        """Return dense rows and their targets."""
        rng, classes = self.rng, self.classes
        z = rng.standard_normal((n, self.d))
        z[:, self.late] = 0
        if self.d > 1000:
            z[rng.random(z.shape) < 0.98] = 0
        X, signal, wild = z * self.scale + self.center, z @ self.truth, self.wild
        is_wild = rng.random(n) < wild
        if classes is None:
            y = self.unit * (signal + 0.1 * rng.standard_normal(n))
            y[is_wild] = pick(rng, [1e3, -1e30, 0.0]) * self.unit
            return X, y
        label = (signal + rng.gumbel(size=signal.shape)).argmax(axis=1)
        label[is_wild] = rng.integers(len(classes), size=is_wild.sum())
        X[is_wild] *= pick(rng, [1.0, 1e3])
        label[label == self.hidden] = 0
        return X, np.array(classes)[label if self.own is None else 0 * label + self.own]


def draw_stream_parameters(rng, cls, **usual):
    """Parameters of which most have a refined stream."""
    params = draw_parameters(rng, cls)
    if rng.random() < 0.8:
        params |= {"refine": True, "gradient_estimator": "spp-l2", "tau": "auto"}
        params |= {"eta0": "auto", "early_stopping": False, **usual}
    return params


def follow(rng, estimator, source, sizes, events):
    """Give a stream to an estimator; both change on their way."""
    for _ in range(rng.integers(3, 12)):
        event = pick(rng, events) if rng.random() < 0.5 else None
        source.change(event)
        if event in CHANGES:
            estimator = changed(rng, estimator, event)
        n = int(pick(rng, sizes))
        X, y = source.draw(n)
        few, kwargs = X[:4], {"sample_weight": draw_weight(rng, n)}
        call = "fit" if event == "fit" else "partial_fit"
        is_first = not hasattr(estimator, "classes_") or rng.random() < 0.3
        if source.classes is not None and call != "fit" and is_first:
            kwargs["classes"] = source.classes
        for _ in range(20 if n == 1 else 1):
            go_on(estimator, call, source.layout(X), y, **kwargs)
        if hasattr(estimator, "coef_"):
            check_predictions(estimator, few.astype(estimator._states[0].dtype))


def run_stream(rng):
    """A refined stream whose rows, and whose estimator, change on their way."""
    params = draw_stream_parameters(rng, MedianSGDRegressor, loss="squared_error")
    source = Source(rng, int(pick(rng, [1, 3, 3, 8, 8, 70])))
    sizes = [1, 5, 40, 200, 600]
    follow(rng, MedianSGDRegressor(**params), source, sizes, EVENTS)


def run_diagonal_stream(rng):
    """A stream with an L1 penalty, or with more features than have a Gram matrix."""
    params = draw_stream_parameters(rng, MedianSGDRegressor, loss="squared_error")
    most, d = stream.MOST_OF_STREAM, int(pick(rng, [3, 8, 8, 70]))
    most_kept = pick(rng, [stream.MOST_OF_DIAGONAL, 5000])
    if rng.random() < 0.6:
        params |= {"penalty": pick(rng, ["l1", "elasticnet"])}
        params |= {"alpha": pick(rng, [1e-9, 1e-3, 0.1, "auto"])}
    elif rng.random() < 0.1:
        d = most + 10
    else:
        most = 2
    source = Source(rng, d)
    with (
        mock.patch.object(stream, "MOST_OF_STREAM", most),
        mock.patch.object(stream, "MOST_OF_DIAGONAL", most_kept),
    ):
        sizes = [1, 5, 40, 200, 600]
        follow(rng, MedianSGDRegressor(**params), source, sizes, EVENTS)


def run_class_stream(rng):
    """A stream of labels."""
    usual = {"loss": "log_loss", "penalty": "l2"}
    params = draw_stream_parameters(rng, MedianSGDClassifier, **usual)
    if rng.random() < 0.9:
        params["class_weight"] = None
    labels = [["a", "b"], [0, 1], [0, 1, 2], ["x", "y", "z", "zz"]]
    source = Source(rng, int(pick(rng, [1, 3, 3, 8, 8, 70])), pick(rng, labels))
    most = pick(rng, [class_stream.MOST_NUMBERS, class_stream.MOST_NUMBERS, 10])
    with mock.patch.object(class_stream, "MOST_NUMBERS", most):
        sizes = [1, 5, 40, 200, 600, 1500]
        events = [*EVENTS, "flip", "flip", "one class", "one class"]
        follow(rng, MedianSGDClassifier(**params), source, sizes, events)


def is_refused(estimator, call, X, y, **kwargs):
    """Whether a call raises a documented error; the estimator is then as before."""
    state, failure = frozen(vars(estimator)), None
    try:
        getattr(estimator, call)(X, y, **kwargs)
    except DOCUMENTED as error:
        failure = error
    if failure is not None:
        check_message(failure)
        assert frozen(vars(estimator)) == state, f"changed by {call}: {failure!r}"
    return failure is not None


def go_on(estimator, call, X, y, **kwargs):
    """A call of a stream, as it is and after a pickle."""
    again = pickle.loads(pickle.dumps(estimator))
    if is_refused(estimator, call, X, y, **kwargs):
        return
    check_fitted(estimator, X.shape[1])
    getattr(again, call)(X, y, **kwargs)
    names = [[n for n in vars(e) if n.endswith("_")] for e in (again, estimator)]
    assert set(names[0]) == set(names[1])
    assert np.array_equal(coefficients(again), coefficients(estimator))
    assert np.array_equal(again.intercept_, estimator.intercept_)
    assert getattr(again, "scale_", None) == getattr(estimator, "scale_", None)


def draw_partitions(rng, source):
    """Collections of partitions some of which are wrong, and rows as of the others."""
    parts = []
    for _ in range(rng.integers(1, 8)):
        X, y = source.draw(n := int(pick(rng, [0, 1, 20, 150, 150, 500])))
        weight = rng.uniform(0.1, 3, n)
        kind = pick(rng, ["clean"] * 8 + ["nan", "spoilt", "far", "constant", "light"])
        if kind == "nan":
            X[rng.random(n) < pick(rng, [0.1, 1.0])] = np.nan
        elif kind == "spoilt" and n:
            X.flat[rng.integers(X.size, size=3)] = pick(rng, SPOILT)
            weight[0] = pick(rng, [1.0, -1.0, *SPOILT])
        elif kind == "far":
            y, X = rng.permutation(y), X * pick(rng, [1.0, 1e6])
        elif kind == "constant":
            X[:] = 0
            y[:] = y[:1]
        elif kind == "light":
            weight[:] = pick(rng, [0.0, 1e-300])
        parts.append((X, y, weight))
    X, y, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
    sizes = tuple(len(part[1]) for part in parts)
    X = X.astype(pick(rng, [np.float64] * 3 + [np.float32]))
    rows = da.from_array(X, chunks=(sizes, -1))
    layout = pick(rng, ["dense", "dense", "csr", "frame"])
    if layout == "csr":
        rows = rows.map_blocks(sp.csr_array)
    elif layout == "frame":
        rows = dd.from_dask_array(rows, columns=[f"x{j}" for j in range(X.shape[1])])
    y = da.from_array(y, chunks=(sizes,))
    weight = da.from_array(weight, chunks=(sizes,)) if rng.random() < 0.4 else None
    return rows, y, weight


def run_partitions(rng):
    """Fits over partitions by Dask's threads, whose sample is often a part of them."""
    one = pick(rng, [MedianSGDRegressor, MedianSGDClassifier])
    is_regressor = one is MedianSGDRegressor
    loss = "squared_error" if is_regressor else "log_loss"
    params = draw_stream_parameters(rng, one, loss=loss)
    params["aggregator"] = pick(rng, ["geometric-median"] * 3 + ["mean", "spp-l2"])
    params["max_rounds"] = pick(rng, [200, 2, 10] if params["refine"] else [2, 10])
    params["persist"] = pick(rng, [True, False])
    estimator = (DaskMedianSGDRegressor if is_regressor else DaskMedianSGDClassifier)(
        **params
    )
    labels = None if is_regressor else pick(rng, [["a", "b"], [0, 1, 2]])
    d, n_sample = int(pick(rng, [1, 3, 5, 5, 20, 70])), pick(rng, [10_000, 200, 500])
    source = Source(rng, d, labels)
    with (
        mock.patch.object(dask_base, "N_ROWS", n_sample),
        mock.patch.object(dask_exact, "N_S_ROWS", n_sample),
        mock.patch.object(dask_base, "ROWS_OF_EACH", pick(rng, [1, 16])),
        dask.config.set(scheduler="threads", num_workers=2),
    ):
        for _ in range(rng.integers(1, 4)):
            source.change(pick(rng, ["units", "jump", "wild", "late", None, None]))
            if rng.random() < 0.2:
                estimator = changed(rng, estimator, pick(rng, ["pickle", "clone"]))
            fit_partitions(rng, estimator, source)


def fit_partitions(rng, estimator, source):
    """A call with partitions, and what can be asked after it."""
    X, y, weight = draw_partitions(rng, source)
    call, kwargs = pick(rng, ["fit"] * 4 + ["partial_fit"]), {"sample_weight": weight}
    if call == "partial_fit" and source.classes is not None:
        kwargs["classes"] = source.classes
    again = pickle.loads(pickle.dumps(estimator))
    if is_refused(estimator, call, X, y, **kwargs):
        return
    check_fitted(estimator, source.d)
    for name in ("n_rejected_", "n_dropped_rows_"):
        assert getattr(estimator, name).shape == (y.npartitions,)
        assert (getattr(estimator, name) >= 0).all()
    assert estimator.n_rounds_ > 0
    assert np.isfinite(getattr(estimator, "scale_", 0))
    rows = source.draw(20)[0].astype(estimator._states[0].dtype)
    check_predictions(estimator, rows)
    local = estimator.to_local()
    assert np.array_equal(local.predict(rows), estimator.predict(rows))
    lazy = estimator.predict(da.from_array(rows, chunks=(7, -1))).compute()
    if lazy.dtype.kind == "f":
        size = np.abs(rows) @ np.abs(estimator.coef_) + np.abs(estimator.intercept_)
        assert (np.abs(lazy - estimator.predict(rows)) <= 1e-5 * size).all()
    if rng.random() < 0.3:
        getattr(again, call)(X, y, **kwargs)
        assert np.array_equal(coefficients(again), coefficients(estimator))
        assert np.array_equal(again.n_rejected_, estimator.n_rejected_)
    if source.classes is None and rng.random() < 0.5:
        state = frozen(vars(estimator))
        try:
            table = coefficient_table(estimator, X, y, sample_weight=weight)
        except ValueError as error:
            check_message(error)
        else:
            assert np.all((table.std_error >= 0) | np.isnan(table.std_error))
        assert frozen(vars(estimator)) == state, "changed by the table"


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


KINDS = [run_gradients] + [run_stream] * 2 + [run_estimator] * 7
KINDS += [run_diagonal_stream] + [run_class_stream] * 2
if dask is not None:
    KINDS.append(run_partitions)


def run_case(number):
    """Make a case from its number, run it and check the invariants."""
    rng = np.random.default_rng([number, 8])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", category=RuntimeWarning, module="medsgd")
        # A prediction may be beyond the range of its dtype.
        too_large, where = "overflow encountered in add", r"medsgd\._(class|regress)"
        warnings.filterwarnings("ignore", too_large, module=where)
        pick(rng, KINDS)(rng)


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
