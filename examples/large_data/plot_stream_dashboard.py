"""
===================================
A stream with drift, and its gauges
===================================

Sensors send rows without end. The coefficients drift, a tenth of the targets are wrong,
one sensor is switched on late, and one begins to report in another unit. A few numbers
after each :meth:`~medsgd.MedianSGDRegressor.partial_fit` show how well the model
predicts. They do not need the true coefficients.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import SGDRegressor
from sklearn.preprocessing import StandardScaler

from medsgd import MedianSGDRegressor

N_CHUNKS, CHUNK, N_FEATURES = 120, 250, 6
SWITCHED_ON, OTHER_UNIT = 40, 80  # chunks

# %%
# The stream
# ----------
# Each chunk has its own coefficients. The last sensor reports 0 until it is switched
# on. The first sensor reports in a unit a thousand times smaller from chunk 80 on, such
# as millimetres instead of metres.

rng = np.random.default_rng(0)
coefs = 2 * rng.normal(size=N_FEATURES) + np.cumsum(
    0.02 * rng.normal(size=(N_CHUNKS, N_FEATURES)), axis=0
)


def chunk(k):
    """Rows of a chunk, their targets, and which of these are wrong."""
    X = rng.normal(size=(CHUNK, N_FEATURES))
    if k < SWITCHED_ON:
        X[:, -1] = 0
    y = X @ coefs[k] + rng.normal(size=CHUNK)
    is_wrong = rng.random(CHUNK) < (0.3 if 60 <= k < 70 else 0.1)
    y[is_wrong] += 50
    if k >= OTHER_UNIT:
        X[:, 0] *= 1000
    return X, y, is_wrong


# %%
# Gauges
# ------
# Each chunk is predicted before it is learned. Three gauges need no true coefficients:
# the running scale of the residuals, the share of targets beyond 2.5 times it, and the
# median of the absolute errors. The same error is recorded for
# :class:`~sklearn.linear_model.SGDRegressor` behind a
# :class:`~sklearn.preprocessing.StandardScaler` that learns from each chunk first.

model = MedianSGDRegressor(half_life=2000, random_state=0)
scaler = StandardScaler()
sgd = SGDRegressor("huber", epsilon=1.345, learning_rate="constant", random_state=0)
gauges = {"scale_": [], "share of outliers": [], "wrong": []}
errors = {"MedianSGDRegressor": [], "StandardScaler and SGDRegressor": []}
for k in range(N_CHUNKS):
    X, y, is_wrong = chunk(k)
    scaler.partial_fit(X)
    if k > 0:
        residual = y - model.predict(X)
        gauges["scale_"].append(model.scale_)
        is_far = np.abs(residual) > 2.5 * model.scale_
        gauges["share of outliers"].append(is_far.mean())
        gauges["wrong"].append(is_wrong.mean())
        errors["MedianSGDRegressor"].append(np.median(np.abs(residual)))
        other = y - sgd.predict(scaler.transform(X))
        errors["StandardScaler and SGDRegressor"].append(np.median(np.abs(other)))
    model.partial_fit(X, y)
    sgd.partial_fit(scaler.transform(X), y)

# %%
# The dashboard
# -------------
# When the unit changes, the scale and the share of outliers rise for three chunks: the
# features' units follow, and the refined estimate begins anew. The late sensor hardly
# changes the gauges, because the first rows that have it determine its coefficient. The
# scale is nearly constant while three times as many targets are wrong. The share of
# outliers shows these.

COLORS = {"MedianSGDRegressor": "#D55E00", "StandardScaler and SGDRegressor": "#0072B2"}
fig, axes = plt.subplots(3, 1, figsize=(8, 7), sharex=True, layout="constrained")
chunks = np.arange(1, N_CHUNKS)
ours = COLORS["MedianSGDRegressor"]
axes[0].plot(chunks, gauges["scale_"], color=ours)
axes[0].set(yscale="log", ylabel="scale_")
axes[1].plot(chunks, gauges["share of outliers"], color=ours, label="told")
axes[1].plot(chunks, gauges["wrong"], color="#000000", linestyle=":", label="true")
axes[1].set(ylabel="share of outliers", ylim=(0, 1))
for name, error in errors.items():
    axes[2].plot(chunks, error, color=COLORS[name], label=name)
axes[2].set(yscale="log", xlabel="chunk", ylabel="median absolute error")
for ax in axes:
    for k in (SWITCHED_ON, OTHER_UNIT):
        ax.axvline(k, color="#999999", linewidth=0.8)
for ax in axes[1:]:
    ax.legend()
plt.show()

# %%
# In the other parts the error is that of the noise, whose median size is 0.67. It is
# larger in the chunks with 30% of wrong targets, because it includes them.

quiet = {"before": (10, 40), "switched on": (45, 60), "30% wrong": (60, 70)}
quiet |= {"after": (72, 80), "other unit": (90, N_CHUNKS - 1)}
print(f"{'median absolute error':33s}" + "".join(f"{name:>12s}" for name in quiet))
for name, error in errors.items():
    means = [np.mean(error[first - 1 : last - 1]) for first, last in quiet.values()]
    print(f"{name:33s}" + "".join(f"{mean:12.2f}" for mean in means))
