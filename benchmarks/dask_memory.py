"""A fit of three times the memory of its workers: time, and the coordinator's memory.

Rows are made where they are needed, and what does not fit the workers' memory is
spilled to their disks. Run as
``python benchmarks/dask_memory.py [megabytes per worker] [features]``.
"""

import resource
import sys
import time

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster

from medsgd.dask import DaskMedianSGDRegressor

N_WORKERS = 2


def make_block(index, n_rows, n_features):
    """The rows of a partition, the target in the last column."""
    rng = np.random.default_rng(index)
    data = rng.normal(size=(n_rows, n_features + 1))
    data[:, -1] += data[:, :-1].sum(axis=1)
    return data


def main(megabytes=400, n_features=20):
    memory = megabytes * 2**20
    # A few of them at a time are a small part of a worker's memory.
    n_rows = memory // 50 // (8 * n_features)
    n_blocks = 3 * N_WORKERS * 50
    make = dask.delayed(make_block, pure=True)
    blocks = [
        da.from_delayed(make(k, n_rows, n_features), (n_rows, n_features + 1), float)
        for k in range(n_blocks)
    ]
    data = da.concatenate(blocks)
    with (
        LocalCluster(
            n_workers=N_WORKERS,
            threads_per_worker=1,
            memory_limit=memory,
            dashboard_address=None,
        ) as cluster,
        Client(cluster),
    ):
        start = time.perf_counter()
        reg = DaskMedianSGDRegressor(random_state=0, verbose=1)
        reg.fit(data[:, :-1], data[:, -1])
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    error = np.linalg.norm(reg.coef_ - 1) / np.sqrt(n_features)
    print(
        f"{n_blocks} partitions of {n_rows:,} rows, {3 * N_WORKERS * megabytes:,} MiB "
        f"for {N_WORKERS} x {megabytes} MiB: {reg.n_rounds_} rounds in {seconds:.0f} "
        f"s, relative error {error:.1e}, coordinator's peak {peak:.0f} MiB"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
