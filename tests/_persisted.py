"""Fitted estimators as files that later versions load; run to write those of this one.

Run with the oldest dependencies, as others than the package read only what is older:

    python tests/_persisted.py
"""

import pickle
from pathlib import Path

import joblib
import numpy as np
import scipy.sparse as sp

from medsgd import MedianSGDClassifier, MedianSGDRegressor
from medsgd._fit.persistence import VERSION
from medsgd.gradient_estimators import SPPL1, SPPL2, GeometricMedian

FOLDER = Path(__file__).parent / "persisted"
FORMATS = {"pickle": pickle.load, "joblib": joblib.load}
N_ROWS = 40


def make_data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2 * N_ROWS, 3))
    y = X @ [2.0, -1.0, 0.0] + 1 + 0.3 * rng.standard_t(2, size=len(X))
    return X, y


def as_inputs(name, X, y):
    """X and y of the layout, the dtype and the kind that an estimator is for."""
    if "float32" in name:
        X, y = X.astype(np.float32), y.astype(np.float32)
    if "classifier" in name:
        y = np.array(["low", "middle", "high"])[np.digitize(y, [0, 2])]
    if "binary" in name:
        y = y == "high"
    return sp.csr_array(X) if "sparse" in name else X, y


def estimators():
    """Estimators by name, and how many rows they have seen by the time of writing."""
    fitted = {"random_state": 0, "max_iter": 10, "tol": None}
    stream = {"random_state": 0}
    regressor, classifier = MedianSGDRegressor, MedianSGDClassifier
    return {
        "regressor": regressor(**fitted),
        "regressor-float32": regressor(**fitted),
        "regressor-sparse": regressor(**fitted),
        "regressor-averaged": regressor(**fitted, refine=False, average=True),
        "regressor-mean": regressor(**fitted, gradient_estimator="mean"),
        "regressor-stream-spp-l2": regressor(**stream, momentum=0.5),
        "regressor-stream-spp-l1-averaged": regressor(
            **stream, gradient_estimator="spp-l1", average=10
        ),
        "regressor-stream-geometric-median-sparse": regressor(
            **stream, gradient_estimator="geometric-median"
        ),
        "regressor-stream-few": regressor(**stream),
        "regressor-stream-few-sparse": regressor(**stream),
        "classifier": classifier(**fitted),
        "classifier-binary": classifier(**fitted),
        "classifier-sparsified": classifier(**fitted, penalty="l1", alpha=0.3),
        "classifier-stream-spp-l1": classifier(**stream, gradient_estimator="spp-l1"),
        "classifier-stream-coord-median-binary-float32": classifier(
            **stream, gradient_estimator="coord-median"
        ),
    }


def gradient_estimators():
    return {
        "SPPL1": SPPL1(),
        "SPPL2": SPPL2(tau=0.5),
        "GeometricMedian": GeometricMedian(),
    }


def prediction(name, estimator, X):
    method = "decision_function" if "classifier" in name else "predict"
    return getattr(estimator, method)(X)


def parameters(estimator):
    coef = estimator.coef_
    coef = coef.toarray() if sp.issparse(coef) else coef
    return np.column_stack([np.atleast_2d(coef), estimator.intercept_])


def write(folder):
    X, y = make_data()
    expected = {"X": X, "y": y}

    def dump(name, estimator):
        (folder / f"{name}.pickle").write_bytes(pickle.dumps(estimator))
        joblib.dump(estimator, folder / f"{name}.joblib")

    for name, estimator in estimators().items():
        A, b = as_inputs(name, X, y)
        if "stream" in name:
            n_rows = 10 if "few" in name else N_ROWS
            classes = {"classes": np.unique(b)} if "classifier" in name else {}
            estimator.partial_fit(A[:n_rows], b[:n_rows], **classes)
        else:
            estimator.fit(A[:N_ROWS], b[:N_ROWS])
        if "sparsified" in name:
            estimator.sparsify()
        dump(name, estimator)
        expected[f"{name} prediction"] = prediction(name, estimator, A)
        estimator.partial_fit(A[N_ROWS:], b[N_ROWS:])
        expected[f"{name} parameters"] = parameters(estimator)
    for name, estimator in gradient_estimators().items():
        estimator.update(X[:N_ROWS])
        dump(name, estimator)
        expected[f"{name} estimate"] = estimator.update(X[N_ROWS:])
    np.savez_compressed(folder / "expected.npz", **expected)


if __name__ == "__main__":
    folder = FOLDER / f"v{VERSION}"
    folder.mkdir(parents=True)
    write(folder)
