r"""
==================================================
Clipping tracks a median, momentum tracks the mean
==================================================

Write m for the direction along which SGD steps, g for a new stochastic gradient, and D
for a distance. The stochastic proximal point method (SPP) for the location of the
gradients, the m with the least expected D(m - g), is

.. math:: m \leftarrow g + \mathrm{prox}_{\tau D}(m - g).

With half the squared Euclidean norm for D it tracks the mean, with a norm a median. The
paper shows that known methods are of this form. Here each of them, as it stands in
textbooks, in a few lines of NumPy, runs beside :func:`~medsgd.minimize_stochastic` with
the estimator that it corresponds to: the iterates are equal but for rounding.
"""

import matplotlib.pyplot as plt
import numpy as np

from medsgd import minimize_stochastic
from medsgd.gradient_estimators import SPPL1, SPPL2, Mean

N_ITERATIONS = 600
ETA = 0.05
TAU = 0.5
BETA = 0.9
start = np.array([4.0, 2.0])

# %%
# Problem
# -------
# A quadratic function with its minimum at 0, whose gradients have noise of Student's
# t distribution with 1.5 degrees of freedom: it has a mean, but no variance.


def grad(x, rng):
    """Stochastic gradient at x."""
    return [1.0, 0.3] * x + 0.5 * rng.standard_t(1.5, size=2)


# %%
# Methods as in textbooks
# -----------------------
# All draw their gradients from a generator with the same seed.


def heavy_ball():
    """SGD with momentum (Polyak 1964): a fraction BETA of the last move goes on."""
    rng = np.random.default_rng(0)
    x, move, iterates = start, 0, []
    for _ in range(N_ITERATIONS):
        move = BETA * move - ETA * (1 - BETA) * grad(x, rng)
        x = x + move
        iterates.append(x)
    return np.array(iterates)


def clip_norm(g):
    """Shorten g to the length TAU, if it is longer."""
    norm = np.linalg.norm(g)
    return g if norm <= TAU else TAU / norm * g


def clip_components(g):
    """Bring each component into [-TAU, TAU]."""
    return np.clip(g, -TAU, TAU)


def clipped_sgd():
    """SGD with gradient norm clipping (Pascanu, Mikolov and Bengio 2013)."""
    rng = np.random.default_rng(0)
    x, iterates = start, []
    for _ in range(N_ITERATIONS):
        x = x - ETA * clip_norm(grad(x, rng))
        iterates.append(x)
    return np.array(iterates)


def difference_clipped_sgd(clip):
    """SGD with the change of direction clipped (Karimireddy, He and Jaggi 2021)."""
    rng = np.random.default_rng(0)
    x, m, iterates = start, np.zeros(2), []
    for _ in range(N_ITERATIONS):
        m = m + clip(grad(x, rng) - m)
        x = x - ETA * m
        iterates.append(x)
    return np.array(iterates)


# %%
# The same as locations of gradients
# ----------------------------------
# **Heavy ball is the mean.** For D half the squared norm the proximal point is
# :math:`\mathrm{prox}_{\tau D}(z) = z / (1 + \tau)`, so that
#
# .. math:: m \leftarrow m + \frac{\tau}{1 + \tau} (g - m),
#
# which is the heavy ball with :math:`1 - \beta = \tau / (1 + \tau)`, that is
# :math:`\tau = (1 - \beta) / \beta`. The estimator is ``Mean(momentum=beta)``.
#
# **Clipping differences is a median.** For D a norm the proximal point shortens z by
# tau, to 0 at the most, so that
#
# .. math:: m \leftarrow m + \min(1, \tau / \|g - m\|) (g - m).
#
# With the Euclidean norm that is the geometric median and clipping of norms, ``SPPL2``;
# with the l1 norm the componentwise median and clipping of components, ``SPPL1``.
#
# **Clipping gradients is a median that forgets.** The same step from m = 0 is
# :math:`\min(1, \tau / \|g\|)\, g`, the clipped gradient: ``SPPL2`` begun anew in each
# iteration.


class Anew:
    """An estimator that forgets everything before each call."""

    def __init__(self, estimator):
        self.estimator = estimator

    def update(self, gradients):
        return self.estimator.reset().update(gradients)

    def __repr__(self):
        return f"Anew({self.estimator})"


METHODS = {
    "heavy ball": (heavy_ball(), Mean(momentum=BETA)),
    "clipped norm": (clipped_sgd(), Anew(SPPL2(tau=TAU))),
    "clipped difference, norm": (difference_clipped_sgd(clip_norm), SPPL2(tau=TAU)),
    "clipped difference, components": (
        difference_clipped_sgd(clip_components),
        SPPL1(tau=TAU),
    ),
}


def tracked(estimator):
    """Iterates of SGD along the location that the estimator tracks."""
    iterates = []
    minimize_stochastic(
        grad,
        start,
        gradient_estimator=estimator,
        learning_rate="constant",
        eta0=ETA,
        max_iter=N_ITERATIONS,
        callback=lambda x: iterates.append(x),
        random_state=0,
    )
    return np.array(iterates)


trajectories = {
    name: (textbook, tracked(estimator))
    for name, (textbook, estimator) in METHODS.items()
}

# %%
# Results
# -------
# Iterates differ by rounding alone. The noise is the same for all methods. Heavy ball,
# which tracks the mean, spreads a large gradient over many moves and is carried far
# away. A direction that tracks a median changes by no more than tau with each gradient.
# Plain clipping moves by no more than eta * tau, and so is slow to arrive.

differences, excursions, arrivals = {}, {}, {}
for name, (textbook, iterates) in trajectories.items():
    distance = np.linalg.norm(textbook, axis=1)
    differences[name] = np.abs(textbook - iterates).max()
    arrivals[name] = np.argmax(distance < 1) + 1
    excursions[name] = distance[N_ITERATIONS // 2 :].max()

print(f"{'':32s}{'largest':>12s}{'iterations to':>16s}{'largest distance,':>20s}")
print(f"{'':32s}{'difference':>12s}{'distance 1':>16s}{'second half':>20s}")
for name in METHODS:
    print(
        f"{name:32s}{differences[name]:12.1e}{arrivals[name]:16d}"
        f"{excursions[name]:20.2f}"
    )

COLORS = dict(zip(METHODS, ["#E69F00", "#D55E00", "#D55E00", "#0072B2"], strict=True))
fig, axes = plt.subplots(
    2, 2, figsize=(10, 7.5), sharex=True, sharey=True, layout="constrained"
)
for ax, (name, (textbook, iterates)) in zip(
    axes.flat, trajectories.items(), strict=True
):
    label = repr(METHODS[name][1])
    ax.plot(*textbook.T, color="0.4", linewidth=1, label="textbook")
    ax.plot(*iterates[::5].T, ".", color=COLORS[name], label=label)
    ax.plot(0, 0, "k+", markersize=12, label="solution")
    ax.set_title(f"{name}: difference {differences[name]:.0e}")
    ax.legend()
for ax in axes[1]:
    ax.set_xlabel("first component of x")
for ax in axes[:, 0]:
    ax.set_ylabel("second component of x")
plt.show()
