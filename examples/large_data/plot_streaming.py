"""
==========================
A file larger than memory
==========================

Measurements that do not fit into memory are read in chunks and given to
:meth:`~medsgd.MedianSGDRegressor.partial_fit` one after the other. Here the
coefficients also drift, and a tenth of the targets are wrong, so that the model must
follow the stream, but not its outliers.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import SGDRegressor

from medsgd import MedianSGDRegressor

N_CHUNKS = 60
CHUNK = 1000
N_FEATURES = 10
DRIFT = 0.05  # change of a coefficient per chunk, in standard deviations
OUTLIER = 100

# %%
# The file
# --------
# The file holds one row after the other, with the target in the last column. It is
# written in chunks as well. Here it has 5 MB, but nothing below depends on its size.

rng = np.random.default_rng(0)
directory = tempfile.TemporaryDirectory()
path = Path(directory.name) / "stream.npy"
rows = np.lib.format.open_memmap(
    path, mode="w+", dtype=np.float64, shape=(N_CHUNKS * CHUNK, N_FEATURES + 1)
)
coefs = rng.normal(size=N_FEATURES) + np.cumsum(
    DRIFT * rng.normal(size=(N_CHUNKS, N_FEATURES)), axis=0
)
is_outlier = rng.random((N_CHUNKS, CHUNK)) < 0.1
for k in range(N_CHUNKS):
    X = rng.normal(size=(CHUNK, N_FEATURES))
    y = X @ coefs[k] + rng.normal(size=CHUNK)
    y[is_outlier[k]] += OUTLIER
    rows[k * CHUNK : (k + 1) * CHUNK] = np.column_stack([X, y])
rows.flush()
del rows

# %%
# Models
# ------
# To follow a drift, an estimate has to give old rows less weight. For
# :class:`~medsgd.MedianSGDRegressor` a row counts half after ``half_life`` rows. For
# :class:`~sklearn.linear_model.SGDRegressor` the steps must not shrink, hence
# ``learning_rate="constant"``. Both are a compromise between noise and delay. Huber's
# loss makes :class:`~sklearn.linear_model.SGDRegressor` robust as well, if `epsilon` is
# set to the size of the noise, which is known here to be 1.

HALF_LIFE = 500
ETA0 = 0.003
constant = {"learning_rate": "constant", "eta0": ETA0, "random_state": 0}
MODELS = {
    "SGDRegressor": SGDRegressor(**constant),
    "SGDRegressor, huber": SGDRegressor("huber", epsilon=1.345, **constant),
    "MedianSGDRegressor": MedianSGDRegressor(half_life=HALF_LIFE, random_state=0),
}
STYLES = {
    "SGDRegressor": {"color": "#000000"},
    "SGDRegressor, huber": {"color": "#56B4E9", "linestyle": "--"},
    "MedianSGDRegressor": {"color": "#D55E00"},
}

# %%
# The stream
# ----------
# With `mmap_mode` only the rows that are used are read. The model predicts each chunk
# before it learns it. Targets beyond 2.5 times `scale_`, the running scale of the
# residuals, are reported as outliers at once.

stream = np.load(path, mmap_mode="r")
errors = {name: [] for name in MODELS}
first_coef = {name: [] for name in MODELS}
found, flagged = [], []
for k in range(N_CHUNKS):
    chunk = np.array(stream[k * CHUNK : (k + 1) * CHUNK])
    X, y = chunk[:, :-1], chunk[:, -1]
    if k > 0:
        model = MODELS["MedianSGDRegressor"]
        is_far = np.abs(y - model.predict(X)) > 2.5 * model.scale_
        found.append(is_far[is_outlier[k]].mean())
        flagged.append(is_far[~is_outlier[k]].mean())
    for name, model in MODELS.items():
        model.partial_fit(X, y)
        error = np.linalg.norm(model.coef_ - coefs[k])
        first_coef[name].append(model.coef_[0])
        errors[name].append(error / np.linalg.norm(coefs[k]))
del stream
directory.cleanup()

# %%
# Results
# -------
# The outliers move the plain model away repeatedly. The other two follow the drift.
# Huber's loss is faster in the first chunk and does nearly as well later, as long as
# `epsilon` fits the noise. The median sets its radius from the stream. All outliers are
# reported, and few other rows.

print(f"{'mean error of the coefficients':32s}{'first chunk':>12s}{'second half':>12s}")
for name, row in errors.items():
    print(f"{name:32s}{row[0]:12.3f}{np.mean(row[N_CHUNKS // 2 :]):12.3f}")
found, flagged = np.mean(found), np.mean(flagged)
print(f"reported: {found:.1%} of the outliers, {flagged:.1%} of the other rows")
moved = np.linalg.norm(coefs[-1] - coefs[0]) / np.linalg.norm(coefs[0])
print(f"the coefficients have moved by {moved:.0%}")

fig, axes = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
chunks = np.arange(N_CHUNKS) + 1
for name, style in STYLES.items():
    axes[0].plot(chunks, errors[name], label=name, **style)
    if name != "SGDRegressor":  # beyond the panel
        axes[1].plot(chunks, first_coef[name], **style)
axes[0].set(yscale="log", xlabel="chunk", ylabel="error of the coefficients")
axes[1].plot(chunks, coefs[:, 0], color="#0072B2", linestyle=":", label="truth")
axes[1].set(xlabel="chunk", ylabel="first coefficient")
for ax in axes:
    ax.legend()
plt.show()
