"""Blocks of X, for computations that would otherwise copy all of it."""

from itertools import pairwise

import numpy as np
from scipy import sparse

# Elements of a block: temporary arrays of so many numbers fit a cache.
BLOCK = 2**16


def row_blocks(n, X):
    """Return slices of n rows, as long as the rows of X are."""
    per_row = X.nnz // max(1, X.shape[0]) if sparse.issparse(X) else X.shape[1]
    return _slices(n, per_row)


def fewer_rows(X, rows):
    """Return a CSR matrix that has the rows of X, and the indices of the rows in it.

    X itself is returned if the rows are most of X. Its conversion to CSC is then the
    only copy.
    """
    if 2 * len(rows) <= X.shape[0]:
        return X[rows], np.arange(len(rows))
    return X, rows


def column_blocks(X, rows):
    """Yield slices of columns, and the block of X with these columns.

    The block of a dense X has the given rows; that of a sparse X is CSC and has all.
    """
    if not sparse.issparse(X):
        for columns in _slices(X.shape[1], len(rows)):
            yield columns, X[:, columns][rows]
        return
    X = sparse.csc_array(X)
    edges = np.searchsorted(X.indptr, np.arange(BLOCK, X.nnz, BLOCK))
    edges = np.unique([0, *edges, X.shape[1]])
    for first, end in pairwise(edges):
        columns = slice(int(first), int(end))
        yield columns, X[:, columns] if len(edges) > 2 else X


def _slices(n, size):
    step = max(1, BLOCK // max(1, size))
    return [slice(first, first + step) for first in range(0, n, step)]
