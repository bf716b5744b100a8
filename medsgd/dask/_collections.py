"""Collections of Dask: checks, partitions that run functions, lazy predictions.

No other module imports Dask.
"""

import uuid
from functools import partial
from operator import getitem

import numpy as np
from scipy import sparse

try:
    import dask
    import dask.array as da
    from dask.highlevelgraph import HighLevelGraph
except ImportError as error:
    raise ImportError(
        'medsgd.dask needs Dask, which an extra installs: pip install "medsgd[dask]"'
    ) from error

from medsgd.dask._partitions import (
    as_block,
    as_rows,
    as_targets,
    as_weights,
    call_method,
    is_missing,
    read_together,
)

# Number of results that a task merges.
FAN_IN = 16


class Partitions:
    """The partitions of collections, kept where Dask puts them while in use."""

    def __init__(self, columns, plan, dtype, *, client, persist):
        # Arrays of frames share tasks, which an optimisation of each might copy.
        parts = [
            [None] * len(row_chunks(columns[0]))
            if column is None
            else blocks.to_delayed(optimize_graph=is_array(column)).ravel()
            for column, blocks in zip(columns, as_blocks(*columns), strict=True)
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


def as_blocks(*columns):
    """Return the columns, with dask arrays of the partitions in place of dataframes.

    Dask merges small partitions when it optimises a dataframe. How many it merges
    depends on the columns in use, and differs between X, y and the weights. One task
    that takes the same partition of all of them keeps them together.

    Raises
    ------
    ValueError
        If Dask would cut dataframes by the size of the columns in use.
    """
    frames = [c for c in columns if c is not None and not is_array(c)]
    if not frames:
        return columns
    first, *others = frames
    joint = first.map_partitions(
        read_together,
        *others,
        meta=first._meta,
        enforce_metadata=False,
        align_dataframes=False,
    )
    joint = _without_unused_columns(joint)
    graph, keys = joint.__dask_graph__(), joint.__dask_keys__()
    arrays = iter([_items(graph, keys, i, frame) for i, frame in enumerate(frames)])
    return [c if c is None or is_array(c) else next(arrays) for c in columns]


def _without_unused_columns(frame):
    """Return a dataframe that does not read unused columns, with the same partitions.

    Only partitions that do not depend on each other stay the same. Shuffles of X and of
    y without the unused columns would be two, which may order the rows differently.
    """
    steps = [step for step in frame.expr.walk() if step.dependencies()]
    # An optimised repartition is of another class, and is not cut anew.
    if any(
        type(step).__name__ == "Repartition" and step.partition_size is not None
        for step in steps
    ):
        raise ValueError(
            "repartition(partition_size=...) cuts a dataframe by the columns in use, "
            "so that X and y are cut differently. Call .optimize() on its result, "
            "before X and y are selected."
        )
    kinds = [{kind.__name__ for kind in type(step).__mro__} for step in steps]
    if not all("Blockwise" in names for names in kinds):
        return frame
    simple = frame.simplify()
    # Files may be cut into parts by the size of the columns that are read.
    return simple if simple.npartitions == frame.npartitions else frame


def _items(graph, keys, index, frame):
    """Return a dask array whose blocks are an item of each result of some tasks."""
    joint = keys[0][0]
    name = f"medsgd-column-{index}-{joint}"
    chunks = (row_chunks(frame), frame.shape[1:])[: frame.ndim]
    zeros = (0,) * (frame.ndim - 1)
    items = {(name, k, *zeros): (getitem, key, index) for k, key in enumerate(keys)}
    graph = HighLevelGraph({joint: graph, name: items}, {joint: set(), name: {joint}})
    return da.Array(graph, name, chunks, dtype=object)


def read_array(blocks, read, empty):
    """Return a dask array of the results of ``read`` for each block."""
    empty = read(empty)
    return blocks.map_blocks(read, dtype=empty.dtype, meta=empty)


def is_lazy(X):
    return dask.is_dask_collection(X)


def map_rows(estimator, method, X, blocks=None):
    """Apply a method of an estimator to each chunk of X, lazily.

    ``blocks`` are those of ``as_blocks``.
    """
    if not is_array(X):
        (blocks,) = as_blocks(X) if blocks is None else (blocks,)
        X = read_array(blocks, as_rows, empty_part(X))
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


def score(estimator, X, y, weight, *, classes):
    """Return the accuracy of classes, or the coefficient of determination, lazily."""
    rows, targets, weights = as_blocks(X, y, weight)
    prediction = map_rows(estimator, "predict", X, rows)
    read = partial(_complete, read=partial(as_targets, labels=classes))
    y = read_array(targets, read, empty_part(y))
    if weight is None:
        weight = da.ones_like(prediction, dtype=float)
    else:
        read = partial(_complete, read=as_weights)
        weight = read_array(weights, read, empty_part(weight))
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
