"""
=======================================
A neural network with corrupt gradients
=======================================

The median of gradients needs no linear model and no convex loss: here
:func:`~medsgd.minimize_stochastic` trains a network with one hidden layer, written in
NumPy, on scikit-learn's digits. A tenth of the gradients is corrupt, as if a tenth of
the workers that compute them were broken. The paper [1]_ names that application; the
network is ours.

.. [1] F. Schaipp, G. Garrigos, U. Simsekli and R. Gower, "Tracking the Median of
   Gradients with a Stochastic Proximal Point Method", TMLR 2025, arXiv 2402.12828.
"""

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from medsgd import minimize_stochastic

N_HIDDEN = 16
N_CLASSES = 10
BATCH_SIZE = 16
N_GRADIENTS = 5
N_ITERATIONS = 200
SHARE = 0.1
COLORS = {
    "mean": "#000000",
    "coord-median": "#56B4E9",
    "geometric-median": "#009E73",
    "spp-l1": "#0072B2",
    "spp-l2": "#D55E00",
}

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X / 16, y, test_size=250, stratify=y, random_state=0
)

# %%
# The network
# -----------
# One vector holds all 1210 parameters, and the gradient is a vector like it.

SHAPES = [(X.shape[1], N_HIDDEN), (N_HIDDEN,), (N_HIDDEN, N_CLASSES), (N_CLASSES,)]
ENDS = np.cumsum([np.prod(shape) for shape in SHAPES])
PARTS = [slice(a, b) for a, b in zip([0, *ENDS], ENDS, strict=False)]


def layers(x):
    """Weights and biases as views of the vector."""
    return [x[part].reshape(shape) for part, shape in zip(PARTS, SHAPES, strict=True)]


def start(rng):
    """Random weights, no biases."""
    scale = [shape[0] ** -0.5 if len(shape) == 2 else 0 for shape in SHAPES]
    parts = [s * rng.normal(size=shape) for s, shape in zip(scale, SHAPES, strict=True)]
    return np.concatenate([part.ravel() for part in parts])


def forward(x, X):
    """Hidden layer and log-odds of the classes."""
    weight, bias, weight_out, bias_out = layers(x)
    hidden = np.tanh(X @ weight + bias)
    return hidden, hidden @ weight_out + bias_out


def loss_gradient(x, X, y):
    """Gradient of the mean log loss."""
    hidden, scores = forward(x, X)
    residual = np.exp(scores - scores.max(axis=1, keepdims=True))
    residual /= residual.sum(axis=1, keepdims=True)
    residual[np.arange(len(X)), y] -= 1
    residual /= len(X)
    back = (residual @ layers(x)[2].T) * (1 - hidden**2)
    parts = (X.T @ back, back.sum(0), hidden.T @ residual, residual.sum(0))
    return np.concatenate([part.ravel() for part in parts])


def accuracy(x):
    """Share of the test digits that are read rightly."""
    return float(np.mean(forward(x, X_test)[1].argmax(axis=1) == y_test))


# %%
# Corruption
# ----------
# A corrupt gradient is either a random vector of length 100, or the gradient for random
# labels, 100 times as long as it should be. The gradients for random labels agree with
# each other: they lead to a network with random predictions.


def random_vector(x, X, y, rng):
    """Noise in all directions alike."""
    vector = rng.normal(size=len(x))
    return 100 * vector / np.linalg.norm(vector)


def wrong_labels(x, X, y, rng):
    """A long gradient for labels that do not belong to the digits."""
    return 100 * loss_gradient(x, X, rng.integers(N_CLASSES, size=len(y)))


def train(name, corruption=None):
    """Test accuracy every 5 iterations, and iterations of mostly corrupt gradients."""

    def grad(x, rng):
        rows = rng.integers(len(X_train), size=BATCH_SIZE)
        batch = X_train[rows], y_train[rows]
        corrupt.append(corruption is not None and rng.random() < SHARE)
        if corrupt[-1]:
            return corruption(x, *batch, rng)
        return loss_gradient(x, *batch)

    def callback(intermediate_result):
        if intermediate_result.nit % 5 == 0:
            curve.append(accuracy(intermediate_result.x))

    corrupt, curve = [], []
    minimize_stochastic(
        grad,
        start(np.random.default_rng(0)),
        gradient_estimator=name,
        n_gradients=N_GRADIENTS,
        learning_rate="constant",
        eta0=0.5,
        max_iter=N_ITERATIONS,
        callback=callback,
        random_state=0,
    )
    # A running scale begins with more gradients, before the first iteration's.
    by_iteration = np.reshape(
        corrupt[-N_GRADIENTS * N_ITERATIONS :], (N_ITERATIONS, -1)
    )
    return np.array(curve), 1 + np.flatnonzero(by_iteration.sum(axis=1) > 2)


# %%
# Results
# -------
# Every estimator is given 5 gradients in an iteration and the same step size. Vertical
# lines are where most of the 5 gradients of the sample medians are corrupt.

clean, _ = train("mean")
curves, outvoted = {}, {}
for corruption in (random_vector, wrong_labels):
    kind = corruption.__name__
    runs = {name: train(name, corruption) for name in COLORS}
    curves[kind] = {name: curve for name, (curve, _) in runs.items()}
    outvoted[kind] = runs["coord-median"][1]

iterations = np.arange(5, N_ITERATIONS + 1, 5)
figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), sharey=True, layout="constrained")
titles = ("10% random vectors", "10% of wrong labels, 100 times as long")
for panel, kind, title in zip(axes, curves, titles, strict=True):
    for iteration in outvoted[kind]:
        panel.axvline(iteration, color="0.85")
    panel.plot(iterations, clean, ":", color="0.4", label="mean, nothing corrupt")
    for name, curve in curves[kind].items():
        panel.plot(iterations, curve, color=COLORS[name], label=name)
    panel.set(xlabel="iteration", ylim=(0, 1), title=title)
axes[0].set_ylabel("test accuracy")
axes[0].legend(fontsize="small", loc="center right", bbox_to_anchor=(1, 0.63))
plt.show()

# %%
# The mean learns little from one kind of corruption and nothing from the other. Both
# kinds of SPP end within 3% of the accuracy that the mean has where nothing is corrupt.
#
# The sample medians are as good only while most of the 5 gradients are right. That
# fails in 3 or 4 of the 200 iterations, for the coordinate median with a visible loss.
# Random vectors differ from each other, so that it is passing, and the geometric median
# shows none. Wrong labels agree, and a single such iteration undoes the training: the
# step is 100 times as long as it should be. SPP moves its location by one gradient at a
# time, and each moves it by at most the radius, independent of the other gradients of
# the iteration.

print(f"{'test accuracy':36s}{'last':>8s}{'lowest after 50':>18s}")
print(f"{'nothing corrupt':18s}{'mean':18s}{clean[-1]:8.3f}{clean[10:].min():18.3f}")
for kind, of_kind in curves.items():
    for name, curve in of_kind.items():
        print(f"{kind:18s}{name:18s}{curve[-1]:8.3f}{curve[10:].min():18.3f}")
