"""A fit of three times the memory of its workers: time, and the coordinator's memory.

Rows are made where they are needed, and what does not fit the workers' memory is
spilled to their disks. Run as
``python benchmarks/dask_memory.py [megabytes per worker]``.
"""

import resource
import sys
import time

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster

from medsgd.dask import DaskMedianSGDRegressor

N_WORKERS, N_FEATURES, ROWS = 2, 20, 100_000


def make_block(index):
    """The rows of a partition, the target in the last column."""
    rng = np.random.default_rng(index)
    X = rng.normal(size=(ROWS, N_FEATURES))
    y = X.sum(axis=1) + rng.normal(size=ROWS)
    return np.column_stack([X, y])


def main(megabytes):
    n_bytes = 3 * N_WORKERS * megabytes * 2**20
    n_blocks = int(np.ceil(n_bytes / (8 * ROWS * N_FEATURES)))
    make = dask.delayed(make_block, pure=True)
    blocks = [
        da.from_delayed(make(k), (ROWS, N_FEATURES + 1), float) for k in range(n_blocks)
    ]
    data = da.concatenate(blocks)
    with (
        LocalCluster(
            n_workers=N_WORKERS,
            threads_per_worker=1,
            memory_limit=megabytes * 2**20,
            dashboard_address=None,
        ) as cluster,
        Client(cluster),
    ):
        start = time.perf_counter()
        reg = DaskMedianSGDRegressor(random_state=0, max_rounds=6, tol=None, verbose=1)
        reg.fit(data[:, :-1], data[:, -1])
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    error = np.linalg.norm(reg.coef_ - 1) / np.sqrt(N_FEATURES)
    print(
        f"{n_blocks} partitions of {ROWS:,} rows, {n_bytes / 2**20:,.0f} MiB for "
        f"{N_WORKERS} x {megabytes} MiB: {reg.n_iter_} rounds in {seconds:.0f} s, "
        f"relative error {error:.1e}, coordinator's peak {peak:.0f} MiB"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
