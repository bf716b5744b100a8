"""Draw estimators, data and calls at random, and check what must hold for all of them.

A case is made from its number alone: ``python tests/fuzz/driver.py --first 1234
--cases 1`` repeats it. Either a call raises a documented exception and the estimator is
as before, or it is fitted to finite numbers of the right shape and dtype. Predictions
of dense and sparse rows agree, also after a pickle, and nobody's arrays change.
"""

import argparse
import pickle
import sys
import traceback
import warnings

import numpy as np
import pandas as pd
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from medsgd import MedianSGDClassifier, MedianSGDRegressor

DOCUMENTED = (ValueError, TypeError, NotFittedError)

# Of each parameter, values to draw from; the defaults come up most often.
PARAMETERS = {
    "gradient_estimator": [
        "mean",
        "coord-median",
        "geometric-median",
        "spp-l1",
        "spp-l2",
    ],
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
    "n_iter_no_change": [5, 1],
    "warm_start": [False, True],
    "average": [False, True, 3],
    "standardize": ["auto", True, False],
    "leverage_weights": [True, False],
}
LOSSES = {
    MedianSGDRegressor: [
        "squared_error",
        "huber",
        "bisquare",
        "epsilon_insensitive",
        "squared_epsilon_insensitive",
    ],
    MedianSGDClassifier: [
        "log_loss",
        "hinge",
        "squared_hinge",
        "perceptron",
        "modified_huber",
    ],
}
SPOILT = [1e300, -1e300, 1e-300, 5e-324, 1e38, np.nan, np.inf, -np.inf]


def draw_parameters(rng, cls):
    """Some parameters that are not the default."""
    some = rng.choice(list(PARAMETERS), rng.integers(0, 8), replace=False)
    params = {name: pick(rng, PARAMETERS[name]) for name in some}
    params |= {"random_state": int(rng.integers(10)), "loss": pick(rng, LOSSES[cls])}
    params.setdefault("max_iter", 5)
    if cls is MedianSGDRegressor:
        params["refine"] = pick(rng, [True, False])
        if rng.random() < 0.3:
            params["epsilon"] = "auto"
    else:
        params["class_weight"] = pick(rng, [None, "balanced"])
    return params


def pick(rng, values):
    return values[rng.integers(len(values))]


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


def draw_layout(rng, X):
    """The same rows as a user may have them."""
    if rng.random() < 0.3:
        with np.errstate(over="ignore"):
            X = X.astype(pick(rng, [np.float32, np.float32, np.int64, object]))
    kind = pick(
        rng, ["C"] * 4 + ["F", "strided", "read-only", "frame", "list"] + ["csr"] * 5
    )
    if X.dtype == object or kind == "C":
        return X
    if kind == "F":
        return np.asfortranarray(X)
    if kind == "strided":
        return np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3]
    if kind == "read-only":
        X = X.copy()
        X.flags.writeable = False
        return X
    if kind == "frame":
        return pd.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])])
    if kind == "list":
        return X.tolist()
    return draw_sparse(rng, X)


def draw_sparse(rng, X):
    """CSR and others, not always in canonical format."""
    csr = pick(rng, [sp.csr_array, sp.csr_matrix])(X)
    kind = pick(rng, ["plain", "csc", "coo", "wide", "unsorted", "twice", "explicit"])
    if kind == "csc":
        return csr.tocsc()
    if kind == "coo":
        return csr.tocoo()
    if kind == "wide":
        csr.indices, csr.indptr = (
            csr.indices.astype(np.int64),
            csr.indptr.astype(np.int64),
        )
    elif kind == "unsorted":
        for start, end in zip(csr.indptr[:-1], csr.indptr[1:], strict=True):
            order = start + rng.permutation(end - start)
            csr.indices[start:end] = csr.indices[order]
            csr.data[start:end] = csr.data[order]
        csr.has_sorted_indices = False
    elif kind == "twice":
        halves = np.repeat(csr.data, 2)
        halves = halves // 2 if halves.dtype.kind == "i" else halves / 2
        return type(csr)(
            (halves, np.repeat(csr.indices, 2), 2 * csr.indptr), shape=csr.shape
        )
    elif kind == "explicit":
        csr.data[rng.random(csr.nnz) < 0.3] = 0
    return csr


def draw_targets(rng, cls, X):
    n = len(X)
    if cls is MedianSGDClassifier:
        labels = pick(rng, [["a", "b"], [0, 1], [-1, 1], [0, 1, 2], [5]])
        return np.array(labels)[rng.integers(len(labels), size=n)]
    y = rng.standard_normal(n) * 10.0 ** rng.integers(-3, 4)
    kind = pick(rng, ["linear"] * 5 + ["noise", "constant", "spoilt", "scale"])
    if kind == "linear":
        with np.errstate(all="ignore"):
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


def frozen(value):
    """What a value is, for comparison before and after."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.dtype.str, value.shape, value.tobytes()
    if sp.issparse(value):
        parts = (
            (value.row, value.col)
            if value.format == "coo"
            else (value.indices, value.indptr)
        )
        return (value.format, value.shape, *map(frozen, (value.data, *parts)))
    return pickle.dumps(value)


def check_fitted(estimator, dtype, d):
    """Finite numbers of the right shape and dtype."""
    coef = (
        estimator.coef_.toarray() if sp.issparse(estimator.coef_) else estimator.coef_
    )
    n_problems = len(estimator.intercept_)
    shape = (d,) if isinstance(estimator, MedianSGDRegressor) else (n_problems, d)
    assert coef.shape == shape, (coef.shape, shape)
    assert coef.dtype == dtype, (coef.dtype, dtype)
    assert np.isfinite(coef).all()
    assert np.isfinite(estimator.intercept_).all()
    # What the mean stops by may be no number, as R^2 of one held-out sample is none. A
    # median of squared residuals may be infinite.
    if estimator.gradient_estimator != "mean":
        assert not np.isnan(estimator.loss_curve_).any()


def check_predictions(estimator, X):
    """Alike of dense and sparse rows, and after a pickle."""
    with np.errstate(all="ignore"):
        dense = estimator.predict(X)
        assert np.array_equal(
            dense, pickle.loads(pickle.dumps(estimator)).predict(X), equal_nan=False
        )
        sparse = estimator.predict(sp.csr_array(X))
        coef = np.atleast_2d(
            estimator.coef_.toarray()
            if sp.issparse(estimator.coef_)
            else estimator.coef_
        )
        size = np.abs(X) @ np.abs(coef).T + np.abs(estimator.intercept_)
    if dense.dtype.kind == "f":
        close = np.abs(dense - sparse) <= 1e-5 * size.max(axis=1)
        assert (close | ~np.isfinite(size.max(axis=1))).all()


def run_case(number):
    """Make a case from its number, run it and check the invariants."""
    rng = np.random.default_rng([number, 8])
    cls = pick(rng, [MedianSGDRegressor, MedianSGDClassifier])
    d = int(pick(rng, [1, 2, 5, 5, 5, 20, 200]))
    estimator = cls(**draw_parameters(rng, cls))
    fitted = False
    for _ in range(rng.integers(1, 5)):
        n = int(pick(rng, [0, 1, 2, 3, 10, 30, 30, 100, 300]))
        rows = draw_rows(rng, n, d)
        y, weight = draw_targets(rng, cls, rows), draw_weight(rng, n)
        X = draw_layout(rng, rows)
        call = pick(
            rng, ["fit"] * 3 + ["partial_fit"] * 3 + ["set", "clone", "sparsify"]
        )
        if call == "set":
            some = draw_parameters(rng, cls)
            estimator.set_params(**some)
            continue
        if call == "clone":
            estimator, fitted = clone(estimator), False
            continue
        if call == "sparsify":
            if fitted:
                estimator = pick(rng, [estimator.sparsify, estimator.densify])()
            continue
        given = X, y, weight
        before = [frozen(value) for value in given]
        state = frozen(vars(estimator))
        kwargs = {"sample_weight": weight}
        if call == "partial_fit" and cls is MedianSGDClassifier and not fitted:
            kwargs["classes"] = np.unique(y) if n else [0, 1]
        try:
            getattr(estimator, call)(X, y, **kwargs)
            failure = None
        except DOCUMENTED as error:
            failure = error
        if failure is not None:
            assert frozen(vars(estimator)) == state, f"changed by {failure!r}"
        else:
            fitted = True
            dtype = estimator._states[0].dtype
            check_fitted(estimator, dtype, d)
            finite = rng.standard_normal((4, d)).astype(dtype)
            if not isinstance(X, pd.DataFrame):
                check_predictions(estimator, finite)
        for value, frozen_before in zip(given, before, strict=True):
            assert frozen(value) == frozen_before, "an argument has changed"


def run_cases(description, run_case):
    """Run the cases that the command line asks for."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--cases", type=int, default=1000, help="how many")
    args = parser.parse_args()
    failed = []
    warnings.simplefilter("ignore")
    warnings.filterwarnings("error", category=RuntimeWarning, module="medsgd")
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
