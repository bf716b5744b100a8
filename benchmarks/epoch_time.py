"""Time of an epoch of each gradient estimator over that of scikit-learn's SGD.

Run as ``python benchmarks/epoch_time.py``. Pairs are timed in turn and the median ratio
is printed: below 1 is faster than scikit-learn.
"""

from time import perf_counter

import numpy as np
import scipy.sparse as sp
from sklearn.linear_model import SGDRegressor

from medsgd import MedianSGDRegressor

ESTIMATORS = ["mean", "coord-median", "geometric-median", "spp-l1", "spp-l2"]
N_PAIRS = 5
EPOCHS = {"max_iter": 5, "tol": None, "random_state": 0}


def seconds(est, X, y):
    start = perf_counter()
    est.fit(X, y)
    return perf_counter() - start


def ratio(name, X, y):
    """Median over pairs of our time by scikit-learn's."""
    pairs = [
        (
            seconds(MedianSGDRegressor(gradient_estimator=name, **EPOCHS), X, y),
            seconds(SGDRegressor(**EPOCHS), X, y),
        )
        for _ in range(N_PAIRS)
    ]
    return np.median([ours / theirs for ours, theirs in pairs])


def data_sets():
    rng = np.random.default_rng(0)
    for n, d in [(200_000, 10), (50_000, 50), (20_000, 200), (4_000, 1000)]:
        X = rng.standard_normal((n, d))
        yield f"dense {n} x {d}", X, X @ rng.standard_normal(d)
    for n, d in [(20_000, 10_000), (20_000, 100_000)]:
        X = sp.random_array((n, d), density=50 / d, format="csr", rng=rng)
        yield f"sparse {n} x {d}, 50 a row", X, X @ rng.standard_normal(d)


if __name__ == "__main__":
    print(f"{'':30}", *(f"{name:>16}" for name in ESTIMATORS))
    for label, X, y in data_sets():
        ratios = [ratio(name, X, y) for name in ESTIMATORS]
        print(f"{label:30}", *(f"{value:16.2f}" for value in ratios), flush=True)
