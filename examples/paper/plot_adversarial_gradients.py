"""
=====================
Adversarial gradients
=====================

Eleven workers each send a gradient per iteration, and some of them are adversaries. The
adversaries see the honest gradients, and all send the same answer. The honest gradients
are those of a strongly convex function, with normal noise. The example shows which
share of adversaries each estimator tolerates, and which attacks.
"""

import matplotlib.pyplot as plt
import numpy as np

from medsgd.gradient_estimators import SPPL1, SPPL2, CoordMedian, GeometricMedian, Mean

N_WORKERS = 11
N_FEATURES = 10
N_ITERATIONS = 150
ETA = 0.2
LIMIT = 1000  # a run that is so far from the solution is given up

# %%
# Attacks
# -------
# Each attack takes the honest gradients and returns what every adversary sends:
#
# - sign flip: minus the mean of the honest gradients, which leads uphill;
# - large: the same, a thousand times as long;
# - inner product [1]_: a tenth of the sign flip, so that it lies near to the honest
#   gradients and still leads uphill;
# - a little is enough [2]_: the mean of the honest gradients plus 1.5 of their standard
#   deviations in each component, within what honest noise could be.
#
# .. [1] C. Xie, O. Koyejo and I. Gupta, "Fall of Empires: Breaking Byzantine-tolerant
#    SGD by Inner Product Manipulation", UAI 2019.
# .. [2] M. Baruch, G. Baruch and Y. Goldberg, "A Little Is Enough: Circumventing
#    Defenses for Distributed Learning", NeurIPS 2019.

ATTACKS = {
    "sign flip": lambda honest: -honest.mean(axis=0),
    "large": lambda honest: -1000 * honest.mean(axis=0),
    "inner product": lambda honest: -0.1 * honest.mean(axis=0),
    "a little is enough": lambda honest: honest.mean(axis=0) + 1.5 * honest.std(axis=0),
}

ESTIMATORS = {
    "mean": Mean(),
    "coord-median": CoordMedian(),
    "geometric-median": GeometricMedian(),
    "spp-l1": SPPL1(),
    "spp-l2": SPPL2(),
}
STYLES = {
    "mean": {"color": "#000000"},
    "coord-median": {"color": "#56B4E9"},
    "geometric-median": {"color": "#009E73", "linestyle": "--"},
    "spp-l1": {"color": "#0072B2"},
    "spp-l2": {"color": "#D55E00", "linestyle": "--"},
}

# %%
# Descent
# -------
# The sample medians take the eleven gradients of an iteration together. SPP takes them
# one after the other, in random order. All runs have the same noise.

solution = np.ones(N_FEATURES)
curvature = np.linspace(0.5, 1.5, N_FEATURES)
rng = np.random.default_rng(0)
noise = rng.normal(size=(N_ITERATIONS, N_WORKERS, N_FEATURES))
order = rng.permuted(np.tile(np.arange(N_WORKERS), (N_ITERATIONS, 1)), axis=1)


def error_of(estimator, attack, n_adversaries):
    """Root mean square distance to the solution, over the second half of a run."""
    estimator.reset()
    x = np.zeros(N_FEATURES)
    squares = []
    for noise_now, order_now in zip(noise, order, strict=True):
        gradients = curvature * (x - solution) + noise_now
        if n_adversaries:
            gradients[:n_adversaries] = attack(gradients[n_adversaries:])
        x = x - ETA * estimator.update(gradients[order_now])
        squares.append(np.sum((x - solution) ** 2))
        if squares[-1] > LIMIT**2:
            return LIMIT
    return np.sqrt(np.mean(squares[N_ITERATIONS // 2 :]))


N_ADVERSARIES = range(7)
errors = {}  # by attack and estimator, for each number of adversaries
for name, estimator in ESTIMATORS.items():
    unharmed = error_of(estimator, None, 0)
    for attack_name, attack in ATTACKS.items():
        harmed = [error_of(estimator, attack, n) for n in N_ADVERSARIES[1:]]
        errors[attack_name, name] = [unharmed, *harmed]

print(f"{'adversaries':40s}" + "".join(f"{n:8d}" for n in N_ADVERSARIES))
for (attack_name, name), row in errors.items():
    print(f"{attack_name:20s}{name:20s}" + "".join(f"{error:8.2f}" for error in row))

# %%
# Results
# -------
# The start has the distance 3.2 to the solution.
#
# A single large adversary moves the mean far away. Size has little influence on a
# median: one of eleven makes no difference, two make a small one, and with five the
# error is bounded. A bounded error need not be small: with five adversaries the medians
# end farther from the solution than they began. Six are the majority, and decide.
#
# The other attacks are made for medians, or need no size. While honest gradients
# outweigh them, sign flips do little to the mean, and the small vectors of the inner
# product attack do nothing to it. Both harm the medians. Sign flips harm them as much
# as large gradients do, because only the direction counts. No estimator is safe from
# gradients that could be honest. A little more in each component moves all of them, by
# more with every adversary, and with five the mean is moved least.

shares = np.array(N_ADVERSARIES) / N_WORKERS
fig, axes = plt.subplots(
    2, 2, figsize=(10, 7.5), sharex=True, sharey=True, layout="constrained"
)
for ax, attack_name in zip(axes.flat, ATTACKS, strict=True):
    for name, style in STYLES.items():
        ax.plot(shares, errors[attack_name, name], marker="o", label=name, **style)
    ax.axvline(0.5, color="0.6", linestyle=":", label="one half")
    ax.set(yscale="log", title=attack_name)
for ax in axes[1]:
    ax.set_xlabel("share of adversaries")
for ax in axes[:, 0]:
    ax.set_ylabel("distance to the solution")
fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
plt.show()
