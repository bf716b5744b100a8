"""Guards between callers and a fit: failures, warnings, invalid rows."""

import copy
import inspect
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import numpy as np
from scipy import sparse

# Of both index arrays of a CSR matrix.
INDEX_DTYPES = [{np.dtype(np.int32)}, {np.dtype(np.int64)}]

F = TypeVar("F", bound=Callable[..., Any])


def all_or_nothing(fit: F) -> F:
    """Decorate a fitting method so that a failure leaves the estimator as it was."""

    @wraps(fit)
    def wrapper(self, *args, **kwargs):
        before = dict(vars(self))
        try:
            return fit(self, *args, **kwargs)
        except BaseException:
            # One step, which a second Ctrl-C cannot interrupt.
            self.__dict__ = before
            raise

    return cast(F, wrapper)


def warn_user(message, category=UserWarning):
    """Warn at the line that called this package, also through scikit-learn."""
    frame, level = inspect.currentframe(), 1
    while frame and frame.f_globals.get("__name__", "").split(".")[0] in (
        "medsgd",
        "sklearn",
    ):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def summing_quietly():
    """Return a context in which scikit-learn looks for values that are not finite.

    scikit-learn computes the sum of all values first. The sum is NaN if both infinities
    are among the partial sums of enormous values. scikit-learn then checks each value.
    """
    return np.errstate(invalid="ignore")


def checked(X, name="X"):
    """Return X after a check of the indices of a sparse one.

    SciPy and scikit-learn read without this check.

    Raises
    ------
    ValueError
        If an index is out of range.
    """
    kind = getattr(X, "format", None)
    try:
        if kind in ("csr", "csc", "bsr"):
            # A matrix of the same arrays, because the check may replace arrays.
            copy.copy(X).check_format(full_check=True)
        elif kind == "coo":
            sparse.coo_array((X.data, X.coords), shape=X.shape)
        elif kind == "dia":
            sparse.dia_array((X.data, X.offsets), shape=X.shape)
        elif kind == "lil":
            n_columns, n_values = (list(map(len, part)) for part in (X.rows, X.data))
            if not n_columns == n_values or len(X.rows) != X.shape[0]:
                raise ValueError("rows and data differ in length")
            X.tocsr().check_format(full_check=True)
    except ValueError as error:
        raise ValueError(
            f"{name}, a {kind} matrix of shape {X.shape}, is not valid: {error}. "
            "Indices count from 0."
        ) from error
    return X


def aligned(array):
    """Return the array with its numbers at multiples of their size."""
    return np.require(array, requirements="A")


def canonical_rows(X):
    """Return X as passes read it: no coordinate twice, one index dtype."""
    if not sparse.issparse(X):
        return aligned(X)
    if not all(part.flags.aligned for part in (X.data, X.indices, X.indptr)):
        X = X.copy()
    # SciPy caches this flag, and the arrays may change later: check a fresh wrapper.
    same = type(X)((X.data, X.indices, X.indptr), shape=X.shape)
    if not same.has_canonical_format:
        # Medians need each coordinate of a row once.
        X = X.copy()
        X.sum_duplicates()
    if {X.indices.dtype, X.indptr.dtype} not in INDEX_DTYPES:
        X = X.copy()
        X.indices = X.indices.astype(np.int64)
        X.indptr = X.indptr.astype(np.int64)
    return X
