"""Collections of Dask: checks, partitions that run functions, lazy predictions.

No other module imports Dask.
"""

import uuid
from functools import partial

import numpy as np
from scipy import sparse

try:
    import dask
    import dask.array as da
except ImportError as error:
    raise ImportError(
        "medsgd.dask needs Dask, which an extra installs: pip install medsgd[dask]"
    ) from error

from medsgd.dask._partitions import (
    as_block,
    as_rows,
    as_targets,
    as_weights,
    call_method,
    is_missing,
)

# Number of results that a task merges.
FAN_IN = 16


class Partitions:
    """The partitions of collections, kept where Dask puts them while in use."""

    def __init__(self, columns, plan, dtype, *, client, persist):
        parts = [
            [None] * len(row_chunks(columns[0]))
            if column is None
            else column.to_delayed().ravel()
            if is_array(column)
            else column.to_delayed()
            for column in columns
        ]
        self.client, self.token, self.n_calls = client, uuid.uuid4().hex[:8], 0
        lengths = row_chunks(columns[0])
        # The weights are these lengths, unless some rows are unusable.
        is_known = columns[2] is None and not np.isnan(lengths).any()
        self.expected_weights = np.array(lengths, dtype=float) if is_known else None
        convert = dask.delayed(as_block, pure=False)
        self.blocks = [
            convert(
                *part,
                plan,
                columns[0].shape[1],
                dtype,
                k,
                dask_key_name=self._key("block", k),
            )
            for k, part in enumerate(zip(*parts, strict=True))
        ]
        self.kept = []
        if persist:
            self.blocks = dask.persist(*self.blocks, scheduler=client)
            self.kept = self.blocks

    def _key(self, name, k):
        return f"medsgd-{name}-{self.token}-{self.n_calls}-{k}"

    def run(self, name, function, sent):
        """Run a function on each partition, and return the results in their order."""
        tasks, _ = self._tasks(name, function, sent)
        return dask.compute(*tasks, scheduler=self.client)

    def _tasks(self, name, function, sent):
        self.n_calls += 1
        # A separate task, so that the argument goes to each worker once.
        sent = dask.delayed(sent, name=self._key("send", 0), traverse=False)
        function = dask.delayed(function, pure=False)
        tasks = [
            function(block, sent, k, dask_key_name=self._key(name, k))
            for k, block in enumerate(self.blocks)
        ]
        return tasks, sent

    def merge(self, name, function, sent, merge, known, add):
        """Do as ``run``, but merge groups of neighbouring results on the workers.

        ``merge(results, sent, known.of(group))`` merges a group, and ``add(merged)``
        adds several merged groups. The order of sums does not depend on the order in
        which tasks finish.
        """
        tasks, sent = self._tasks(name, function, sent)
        merge = dask.delayed(merge, pure=False)
        tasks = [
            merge(
                tasks[k : k + FAN_IN],
                sent,
                known.of(slice(k, k + FAN_IN)),
                dask_key_name=self._key("merge", k),
            )
            for k in range(0, len(tasks), FAN_IN)
        ]
        add, level = dask.delayed(add, pure=False), 0
        while len(tasks) > FAN_IN:
            level += 1
            tasks = [
                add(
                    tasks[k : k + FAN_IN],
                    dask_key_name=self._key(f"merge-{level}", k),
                )
                for k in range(0, len(tasks), FAN_IN)
            ]
        return dask.compute(*tasks, scheduler=self.client)

    def release(self):
        """Release the partitions on the workers, even if tracebacks refer to them."""
        for block in self.kept:
            for value in dict(block.dask).values():
                if hasattr(value, "release"):  # a future
                    value.release()


def is_array(collection):
    return isinstance(collection, da.Array)


def is_frame(X):
    return hasattr(X, "columns")


def with_names_of(X, rows):
    """Return rows of a frame as a frame again, because validation checks names."""
    kind = type(X._meta)
    make = kind.sparse.from_spmatrix if sparse.issparse(rows) else kind
    return make(rows, columns=X.columns)


def row_chunks(collection):
    """Return the number of rows of each partition, NaN where it is unknown."""
    if is_array(collection):
        return collection.chunks[0]
    return (np.nan,) * collection.npartitions


def empty_part(collection):
    """Return zero rows of a collection, of the type of its partitions."""
    if is_array(collection):
        return np.empty((0, 1)[: collection.ndim], collection.dtype)
    return collection._meta


def check_collection(collection, name, ndim):
    """Check that something is a dask array or dataframe, cut along its rows.

    Raises
    ------
    ValueError, TypeError
        If it is not.
    """
    if not (is_array(collection) or hasattr(collection, "to_dask_array")):
        raise TypeError(
            f"{name} must be a dask array or dataframe; got {type(collection)}. Make "
            "one with dask.array.from_array, or fit the single-machine estimator."
        )
    if collection.ndim != ndim:
        raise ValueError(
            f"{name} must have {ndim} dimension(s); got {collection.ndim}."
        )
    if ndim == 2 and is_array(collection) and collection.numblocks[1] > 1:
        raise ValueError(
            f"{name} is cut in {collection.numblocks[1]} along its features, but a "
            f"partition needs whole rows: {name}.rechunk({{1: -1}}) makes them."
        )


def check_columns(X, y, sample_weight):
    """Check that X, y and any weights have the same partitions.

    Raises
    ------
    ValueError, TypeError
        If they are not collections, or known to have different partitions.
    """
    columns = {"X": X, "y": y}
    if sample_weight is not None:
        columns["sample_weight"] = sample_weight
    for name, column in columns.items():
        check_collection(column, name, 2 if name == "X" else 1)
    rows = row_chunks(X)
    for name, column in columns.items():
        other = row_chunks(column)
        if len(other) != len(rows) or any(
            n != m for n, m in zip(rows, other, strict=True) if n == n and m == m
        ):
            raise ValueError(
                f"X and {name} must be cut into the same chunks of rows; got {rows} "
                f"and {other}. Dask's rechunk or repartition cuts one like the other."
            )


def row_dtype(X):
    """Return the dtype in which one machine fits such rows.

    Raises
    ------
    ValueError
        If their dtypes are not of real numbers.
    """
    try:
        return as_rows(empty_part(X), [np.float64, np.float32]).dtype
    except (ValueError, TypeError) as error:
        raise ValueError(f"X must be real numbers: {error}") from error


def as_array(collection, read):
    """Return a dask array of the results of ``read`` for each partition."""
    empty = read(empty_part(collection))
    if is_array(collection):
        return collection.map_blocks(read, dtype=empty.dtype, meta=empty)
    return collection.map_partitions(read, meta=empty)


def is_lazy(X):
    return dask.is_dask_collection(X)


def map_rows(estimator, method, X):
    """Apply a method of an estimator to each chunk of X, lazily."""
    if not is_array(X):
        X = as_array(X, as_rows)
    one = getattr(estimator, method)(np.zeros((1, X.shape[1]), X.dtype))
    # Blocks are not concatenated, which Dask cannot do for all sparse blocks.
    return da.blockwise(
        call_method,
        "ik"[: one.ndim],
        X,
        "ij",
        new_axes={"k": one.shape[1]} if one.ndim == 2 else None,
        estimator=estimator,
        method=method,
        empty=one[:0],
        dtype=one.dtype,
        meta=one[:0],
        name=f"medsgd-{method}-{uuid.uuid4().hex}",
    )


def score(y, prediction, weight, *, classes):
    """Return the accuracy of classes, or the coefficient of determination, lazily."""
    y = as_array(y, partial(_complete, read=partial(as_targets, labels=classes)))
    if weight is None:
        weight = da.ones_like(prediction, dtype=float)
    else:
        weight = as_array(weight, partial(_complete, read=as_weights))
    prediction, y, weight = map(_without_lengths, (prediction, y, weight))
    if classes:
        return (weight * (prediction == y)).sum() / weight.sum()
    center = (weight * y).sum() / weight.sum()
    unexplained = (weight * (y - prediction) ** 2).sum()
    return 1 - unexplained / (weight * (y - center) ** 2).sum()


def _without_lengths(column):
    """Return the array without lengths, because those of frames are unknown."""
    chunks = ((np.nan,) * len(column.chunks[0]),)
    return da.Array(column.dask, column.name, chunks, meta=column._meta)


def _complete(values, read):
    """Read targets or weights for a score.

    Raises
    ------
    ValueError
        If some are missing, as on one machine.
    """
    if is_missing(values).any():
        raise ValueError("A score needs targets and weights that are not missing.")
    return read(values)
