"""Dask's collections: cut along rows, made partitions that run, predicted lazily.

The one module that imports Dask.
"""

import uuid

import numpy as np

try:
    import dask
    import dask.array as da
except ImportError as error:
    raise ImportError(
        "medsgd.dask needs Dask, which an extra installs: pip install medsgd[dask]"
    ) from error

from medsgd._partitions import as_block, call_method


class Partitions:
    """The partitions of collections, kept where Dask puts them while in use."""

    def __init__(self, columns, local, dtype, *, client, persist):
        parts = [
            [None] * columns[0].numblocks[0]
            if column is None
            else column.to_delayed().ravel()
            for column in columns
        ]
        self.client, self.token, self.n_calls = client, uuid.uuid4().hex[:8], 0
        convert = dask.delayed(as_block, pure=False)
        self.blocks = [
            convert(
                *part,
                local,
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
        """Let each partition do the same; what they return, in their order."""
        self.n_calls += 1
        # A task of its own, so that it goes to each worker once.
        sent = dask.delayed(sent, name=self._key("send", 0), traverse=False)
        function = dask.delayed(function, pure=False)
        tasks = [
            function(block, sent, k, dask_key_name=self._key(name, k))
            for k, block in enumerate(self.blocks)
        ]
        return dask.compute(*tasks, scheduler=self.client)

    def release(self):
        """Let workers forget the partitions, whatever tracebacks still refer to."""
        for block in self.kept:
            for value in dict(block.dask).values():
                if hasattr(value, "release"):  # a future
                    value.release()


def as_array(collection, name, ndim):
    """A collection as a dask array of numbers or labels, cut along its rows."""
    if hasattr(collection, "to_dask_array"):
        collection = collection.to_dask_array()
    if not isinstance(collection, da.Array):
        raise TypeError(
            f"{name} must be a dask array or dataframe; got {type(collection)}. Make "
            "one with dask.array.from_array, or fit the single-machine estimator."
        )
    if collection.ndim != ndim:
        raise ValueError(
            f"{name} must have {ndim} dimension(s); got {collection.ndim}."
        )
    if ndim == 2 and collection.numblocks[1] > 1:
        raise ValueError(
            f"{name} is cut in {collection.numblocks[1]} along its features, but a "
            f"partition needs whole rows: {name}.rechunk({{1: -1}}) makes them."
        )
    return collection


def is_frame(X):
    return hasattr(X, "columns")


def checked_columns(X, y, sample_weight, *, real):
    """X, y and the weights (or None) as dask arrays that are cut alike.

    Raises
    ------
    ValueError, TypeError
        If they are not, as far as that can be known, or have the wrong dtype.
    """
    columns = {"X": as_array(X, "X", 2), "y": as_array(y, "y", 1)}
    if sample_weight is not None:
        columns["sample_weight"] = as_array(sample_weight, "sample_weight", 1)
    rows = columns["X"].chunks[0]
    for name, column in columns.items():
        if column.dtype.kind not in "biuf" and (real or name != "y"):
            raise ValueError(f"{name} must be real numbers; got dtype {column.dtype}.")
        other = column.chunks[0]
        if len(other) != len(rows) or any(
            n != m for n, m in zip(rows, other, strict=True) if n == n and m == m
        ):
            raise ValueError(
                f"X and {name} must be cut into the same chunks of rows; got {rows} "
                f"and {other}. Dask's rechunk or repartition cuts one like the other."
            )
    return columns["X"], columns["y"], columns.get("sample_weight")


def is_lazy(X):
    return dask.is_dask_collection(X)


def map_rows(estimator, method, X):
    """A method of an estimator on each chunk of X, lazily."""
    one = getattr(estimator, method)(np.zeros((1, X.shape[1]), X.dtype))
    # Contracted without being concatenated, which Dask cannot do for all sparse blocks.
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
    """The accuracy of classes, or the coefficient of determination, lazily."""
    weight = da.ones_like(prediction, dtype=float) if weight is None else weight
    if classes:
        return (weight * (prediction == y)).sum() / weight.sum()
    center = (weight * y).sum() / weight.sum()
    unexplained = (weight * (y - prediction) ** 2).sum()
    return 1 - unexplained / (weight * (y - center) ** 2).sum()
