"""
=======================================
A fixed vector under alpha-stable noise
=======================================

A vector is observed again and again, each time with new symmetric alpha-stable noise.
The smaller the tail index alpha, the heavier the tails: 2 is normal noise, below 2
there is no variance, and near 1 the mean hardly exists. All estimators see the same
observations, five in each iteration.

The vector stands for a gradient that does not change, so that only the estimation is
seen, without the descent.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import levy_stable

from medsgd.gradient_estimators import SPPL1, SPPL2, CoordMedian, GeometricMedian, Mean

N_FEATURES = 20
N_GRADIENTS = 5
N_ITERATIONS = 1200
BURN_IN = 100
ALPHAS = [1.1, 1.3, 1.5, 1.7, 2.0]

# %%
# Estimators
# ----------
# The mean and the two sample medians use the five observations of one iteration alone.
# Momentum and the two SPP estimators remember earlier iterations. `tau` has its
# default, which adapts to the noise, so that no parameter is tuned to alpha.

ESTIMATORS = {
    "mean": Mean(),
    "momentum": Mean(momentum=0.9),
    "coord-median": CoordMedian(),
    "geometric-median": GeometricMedian(),
    "spp-l1": SPPL1(),
    "spp-l2": SPPL2(),
}
STYLES = {
    "mean": {"color": "#000000"},
    "momentum": {"color": "#E69F00"},
    "coord-median": {"color": "#56B4E9", "linestyle": "--"},
    "geometric-median": {"color": "#009E73", "linestyle": "--"},
    "spp-l1": {"color": "#0072B2"},
    "spp-l2": {"color": "#D55E00"},
}

# %%
# Errors
# ------
# Two errors are taken: that of the estimate itself, along which SGD would step, and
# that of the average of all estimates so far. The average shows whether errors cancel
# over time, for any memory of the estimator.

direction = np.random.default_rng(0).normal(size=N_FEATURES)
vector = 10 * direction / np.linalg.norm(direction)


n_averaged = np.arange(1, N_ITERATIONS - BURN_IN + 1)


def errors_of(estimator, observations):
    """Errors of the estimate and of its running average, in each iteration."""
    estimates = np.array([estimator.update(rows) for rows in observations])
    estimator.reset()
    averages = np.cumsum(estimates[BURN_IN:], axis=0) / n_averaged[:, np.newaxis]
    return [np.linalg.norm(x - vector, axis=1) for x in (estimates, averages)]


errors, average_errors = {}, {}
for alpha in ALPHAS:
    observations = vector + levy_stable.rvs(
        alpha, 0, size=(N_ITERATIONS, N_GRADIENTS, N_FEATURES), random_state=1
    )
    for name, estimator in ESTIMATORS.items():
        result = errors_of(estimator, observations)
        errors[name, alpha], average_errors[name, alpha] = result

# %%
# The table has the error of an estimate in the long run, the error of the last average,
# and the power of the number of estimates with which the error of averages falls.

half = slice(N_ITERATIONS // 2, None)
rms = {key: np.sqrt(np.mean(error[half] ** 2)) for key, error in errors.items()}
final = {key: error[-1] for key, error in average_errors.items()}


def power(error):
    """Slope of log(error) over log(number of estimates averaged)."""
    return np.polyfit(np.log(n_averaged[20:]), np.log(error[20:]), 1)[0]


powers = {key: power(error) for key, error in average_errors.items()}

heavy, normal = ALPHAS[0], ALPHAS[-1]
columns = [
    ("RMS of estimate", rms),
    ("average", final),
    ("power", powers),
]
print(" " * 18 + "".join(f"{title:>20s}" for title, _ in columns))
print(f"{'alpha':18s}" + len(columns) * f"{heavy:10}{normal:10}")
for name in ESTIMATORS:
    numbers = [table[name, alpha] for _, table in columns for alpha in (heavy, normal)]
    print(f"{name:18s}" + "".join(f"{number:10.3f}" for number in numbers))

# %%
# Results
# -------
# The upper panels are for the heaviest tails, alpha = 1.1. Single observations move the
# mean far away, and momentum only spreads such an observation over the next iterations.
# The averages of both converge slowly and irregularly. The averages of all four medians
# come near the vector with about the inverse square root of their number. For the
# median of five such observations has a variance, although the observations have none.
#
# The lower panels go through all tails. From normal noise to alpha = 1.1 the error of
# an estimate by `spp-l1`, whose radius follows each component's noise, hardly changes.
# The geometric medians suffer more than the componentwise ones, because each component
# has outliers of its own here, so that most observations have one.
#
# With normal noise nothing is better than the mean. The averages of componentwise
# medians are worse by a fraction, as they should be, those of geometric medians by
# hardly anything. Momentum has the longest memory, so that its estimate is the nearest
# where tails are light: at alpha = 1.7 it is about as near as `spp-l1`.

fig, axes = plt.subplots(2, 2, figsize=(10, 7.5), layout="constrained")
for name, style in STYLES.items():
    axes[0, 0].plot(errors[name, heavy][:300], linewidth=1, **style)
    axes[0, 1].plot(n_averaged, average_errors[name, heavy], **style)
    for ax, table in ((axes[1, 0], rms), (axes[1, 1], final)):
        ax.plot(
            ALPHAS, [table[name, a] for a in ALPHAS], marker="o", label=name, **style
        )
rate = 10 / np.sqrt(n_averaged)
axes[0, 1].plot(n_averaged, rate, color="0.6", linestyle=":", label="1 / sqrt(number)")
axes[0, 1].legend()
for ax in axes.flat:
    ax.set(yscale="log", ylabel="error")
for ax in axes[1]:
    ax.set(xlabel="tail index alpha (2: normal noise)")
axes[0, 0].set(title=f"Estimate, alpha = {heavy}", xlabel="iteration")
axes[0, 1].set(title=f"Average of the estimates, alpha = {heavy}")
axes[0, 1].set(xscale="log", xlabel="number of estimates averaged")
axes[1, 0].set(title="Estimate, second half of the run", ylabel="RMS error")
axes[1, 1].set(title="Average of all estimates")
handles, labels = axes[1, 0].get_legend_handles_labels()
fig.legend(handles, labels, loc="outside lower center", ncols=6)
plt.show()
