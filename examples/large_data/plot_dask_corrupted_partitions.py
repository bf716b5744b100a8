"""
==============================
A quarter of the nodes corrupt
==============================

Sixteen partitions of a data set lie in files, as they would on sixteen nodes. In four
of them the targets are wrong: in the wrong unit, shuffled against the rows, or not
numbers. The example shows the error of each aggregator, round by round.

No cluster is needed, because Dask's local scheduler also computes partitions.
"""

import tempfile
import warnings
from pathlib import Path

import dask
import dask.array as da
import matplotlib.pyplot as plt
import numpy as np

from medsgd.dask import DaskMedianSGDRegressor

N_PARTITIONS, ROWS, N_FEATURES = 16, 1500, 10
rng = np.random.default_rng(0)
coef = rng.normal(size=N_FEATURES)

# %%
# Chunked files
# -------------
# Each partition has a file, with the target in the last column. Partitions 1, 5, 9 and
# 13 are corrupt.


def corrupt(y, k):
    """The targets of the k-th corrupt partition."""
    return [rng.permutation(y), -100 * y, rng.permutation(y), np.nan * y][k]


folder = tempfile.TemporaryDirectory()
for k in range(N_PARTITIONS):
    X = rng.normal(size=(ROWS, N_FEATURES))
    y = X @ coef + rng.normal(size=ROWS)
    if k % 4 == 1:
        y = corrupt(y, k // 4)
    np.save(Path(folder.name) / f"part{k:02d}.npy", np.column_stack([X, y]))

# %%
# A dask array reads a file when its partition is needed. With ``persist=False`` the
# file is read again in each round, so that data may be larger than memory. By default
# converted partitions are kept for the length of a fit.

files = sorted(Path(folder.name).glob("*.npy"))
blocks = [
    da.from_delayed(dask.delayed(np.load)(file), (ROWS, N_FEATURES + 1), float)
    for file in files
]
data = da.concatenate(blocks)
X, y = data[:, :-1], data[:, -1]

# %%
# Error after each round
# ----------------------
# After each round a callback gets the estimator as if the fit ended. Without
# refinement, rounds are stochastic: each partition makes passes over its rows, and the
# aggregator combines the changes to one update. With refinement, a sample of the rows
# is sent to the coordinator. The partitions then only compute the sums that the exact
# steps need.


class Errors:
    """Distance from the true coefficients after each round."""

    def __init__(self):
        self.curve = []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        if context.task_name == "round":
            self.curve.append(np.linalg.norm(fitted_estimator.coef_ - coef))


AGGREGATORS = ["mean", "coord-median", "geometric-median", "spp-l1", "spp-l2"]
FITS = {name: {"aggregator": name, "refine": False} for name in AGGREGATORS}
FITS["refined"] = {}
curves, left_out = {}, {}
for name, params in FITS.items():
    errors = Errors()
    reg = DaskMedianSGDRegressor(max_rounds=24, tol=None, random_state=0, **params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they name the corrupt partitions
        reg.set_callbacks(errors).fit(X, y)
    curves[name], left_out[name] = errors.curve, np.flatnonzero(reg.n_rejected_ > 6)

# %%
# Within few rounds the medians converge near the true coefficients. The corrupt
# partitions and the noise of single partitions cause the remaining error. The mean
# follows the corrupt partitions. The refinement leaves the corrupt partitions out, and
# gives the fit of one machine to the rows of the others.

COLORS = dict(
    zip(
        FITS,
        ["black", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"],
        strict=True,
    )
)
fig, ax = plt.subplots(layout="constrained")
for name, curve in curves.items():
    ax.semilogy(range(1, len(curve) + 1), curve, color=COLORS[name], label=name)
    print(f"{name:17s} error {curve[-1]:.4f}, left out: {left_out[name].tolist()}")
ax.set(xlabel="round", ylabel="distance from the true coefficients")
ax.legend(title="aggregator, or refined")
plt.show()

# %%
# Predictions are lazy, with a task for each partition.

print(reg.predict(X))
folder.cleanup()
