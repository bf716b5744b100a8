"""
================
Cost of a median
================

This example measures the time of a call of each estimator's ``update``, against the
number of parameters and the number of gradients in the call. NumPy's mean of the same
gradients is the reference, because it reads the same numbers. A step of
:class:`~medsgd.MedianSGDRegressor` runs the same updates without a call from Python.
"""

import time

import numpy as np
from matplotlib import pyplot as plt

from medsgd.gradient_estimators import SPPL1, SPPL2, CoordMedian, GeometricMedian, Mean

ESTIMATORS = {
    "mean": Mean,
    "coord-median": CoordMedian,
    "geometric-median": GeometricMedian,
    "spp-l1": SPPL1,
    "spp-l2": SPPL2,
}
COLORS = {
    "numpy mean": "0.6",
    "mean": "#000000",
    "coord-median": "#56B4E9",
    "geometric-median": "#009E73",
    "spp-l1": "#0072B2",
    "spp-l2": "#D55E00",
}
N_REPEATS = 15

# %%
# Measurements
# ------------
# The time is the median of repeats, because other programs slow down a few calls. Each
# call has other gradients than the one before.


def median_time(call, batches):
    """Seconds of a call. The first one, which sets the estimator up, is left out."""
    call(batches[-1])
    seconds = []
    for gradients in batches:
        start = time.perf_counter()
        call(gradients)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def times(n_parameters, n_gradients):
    """Time of a call by estimator."""
    rng = np.random.default_rng(0)
    batches = rng.normal(size=(3, n_gradients, n_parameters))
    batches = [batches[i % 3] for i in range(N_REPEATS)]
    calls = {"numpy mean": lambda gradients: gradients.mean(axis=0)}
    calls |= {name: estimator().update for name, estimator in ESTIMATORS.items()}
    return {name: median_time(call, batches) for name, call in calls.items()}


N_PARAMETERS = (10, 100, 1000, 10_000, 30_000)
N_GRADIENTS = (1, 3, 5, 11, 25, 51)
by_n_parameters = {
    n_gradients: [times(d, n_gradients) for d in N_PARAMETERS] for n_gradients in (1, 5)
}
by_n_gradients = [times(10_000, n) for n in N_GRADIENTS]

# %%
# Results
# -------

figure, axes = plt.subplots(1, 3, figsize=(12, 4), sharey=True, layout="constrained")
for panel, x, rows, xlabel, title in (
    (axes[0], N_PARAMETERS, by_n_parameters[1], "number of parameters", "1 gradient"),
    (axes[1], N_PARAMETERS, by_n_parameters[5], "number of parameters", "5 gradients"),
    (axes[2], N_GRADIENTS, by_n_gradients, "gradients in a call", "10,000 parameters"),
):
    for name, color in COLORS.items():
        style = "s--" if name == "numpy mean" else "o-"
        microseconds = [1e6 * row[name] for row in rows]
        panel.plot(x, microseconds, style, color=color, label=name)
    panel.set(xscale="log", yscale="log", xlabel=xlabel, title=title)
axes[2].set_xticks(N_GRADIENTS, N_GRADIENTS)
axes[2].minorticks_off()
axes[0].set_ylabel("microseconds of a call")
axes[0].legend(fontsize="small")
plt.show()

# %%
# For few parameters all estimators, the mean among them, take about the same: the time
# of the call itself, of the order of tens of microseconds. With many parameters they
# take a small multiple of the time of NumPy's mean. It stays so with many gradients for
# SPP, which goes through them once. The sample medians have to compare the gradients
# with each other, and the geometric one each pair.


def report(label, row):
    """A line of microseconds."""
    print(f"{label:16s}" + "".join(f"{1e6 * row[name]:18.1f}" for name in COLORS))


print(f"{'microseconds':16s}" + "".join(f"{name:>18s}" for name in COLORS))
for n_gradients, rows in by_n_parameters.items():
    for n_parameters, row in zip(N_PARAMETERS, rows, strict=True):
        report(f"{n_gradients} x {n_parameters}", row)
for n_gradients, row in zip(N_GRADIENTS, by_n_gradients, strict=True):
    report(f"{n_gradients} x 10000", row)
