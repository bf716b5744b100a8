"""
============
Wrong labels
============

A share of the training rows of scikit-learn's digits is corrupted. In the first run
these rows have wrong labels. In the second run, "wild rows", the pixels of these rows
are also in a wrong unit. The example measures the loss of accuracy of each classifier
on a clean test set, and whether a classifier finds the wrong labels.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import train_test_split
from sklearn.multiclass import OneVsRestClassifier

from medsgd import MedianSGDClassifier

SHARES = (0, 0.2, 0.4)
KINDS = ("wrong labels", "wild rows")
UNIT = 30  # wild pixels are that many times too large

digits, labels = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    digits / 16, labels, test_size=0.5, random_state=0
)

MODELS = {
    "SGDClassifier": SGDClassifier("log_loss", random_state=0),
    "LogisticRegression": OneVsRestClassifier(
        LogisticRegression(solver="liblinear", max_iter=1000)
    ),
    "MedianSGDClassifier": MedianSGDClassifier(random_state=0),
}
STYLES = {
    "SGDClassifier": {"color": "#000000"},
    "LogisticRegression": {"color": "#56B4E9"},
    "MedianSGDClassifier": {"color": "#D55E00"},
}


def spoilt(share, kind):
    """Training data with wrong labels or wild rows, and which rows these are."""
    rng = np.random.default_rng(0)
    is_spoilt = rng.permutation(len(y_train)) < share * len(y_train)
    steps = rng.integers(1, 10, size=len(y_train))
    y = np.where(is_spoilt, (y_train + steps) % 10, y_train)
    unit = UNIT if kind == "wild rows" else 1
    return np.where(is_spoilt[:, np.newaxis], unit * X_train, X_train), y, is_spoilt


# %%
# Accuracy, and finding wrong labels
# ----------------------------------
# A label is suspect if the fitted model gives it a low probability. The number of most
# suspect rows that are taken is that of the wrong labels. The precision is the share of
# wrong labels among these rows.

scores = {kind: {name: [] for name in MODELS} for kind in KINDS}
precision = {name: [] for name in MODELS}
for kind in KINDS:
    for share in SHARES:
        X, y, is_spoilt = spoilt(share, kind)
        n_spoilt = is_spoilt.sum()
        for name, model in MODELS.items():
            model.fit(X, y)
            scores[kind][name].append(model.score(X_test, y_test))
            if kind == "wrong labels" and share > 0:
                probability = model.predict_proba(X)[np.arange(len(y)), y]
                suspects = np.argsort(probability)[:n_spoilt]
                precision[name].append(is_spoilt[suspects].mean())

# %%
# Results
# -------
# Wrong labels alone harm :class:`~sklearn.linear_model.SGDClassifier` most, and
# :class:`~sklearn.linear_model.LogisticRegression` less: its penalty is stronger, and
# pixels lie between 0 and 1, so that no row has much influence. A fifth of wild rows
# makes both nearly useless. :class:`~medsgd.MedianSGDClassifier` is more accurate on
# clean data as well, because it refines one multinomial model, and the other two fit
# each digit against the rest.
#
# More than nine in ten of the suspects have wrong labels. Logistic regression finds as
# many.

print(f"{'test accuracy with a share of':40s}" + "".join(f"{s:8.0%}" for s in SHARES))
for kind in KINDS:
    for name, row in scores[kind].items():
        print(f"{kind:16s}{name:24s}" + "".join(f"{score:8.3f}" for score in row))
print("share of wrong labels among the suspects")
for name, row in precision.items():
    print(f"{'':16s}{name:32s}" + "".join(f"{share:8.3f}" for share in row))

fig, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
for ax, kind in zip(axes, KINDS, strict=True):
    for name, style in STYLES.items():
        ax.plot(SHARES, scores[kind][name], marker="o", label=name, **style)
    ax.set(title=kind, xlabel=f"share of {kind}")
axes[0].set_ylabel("accuracy on the test set")
axes[0].legend()

# %%
# The figure has the most suspect rows by :class:`~medsgd.MedianSGDClassifier` with a
# fifth of wrong labels:

X, y, is_wrong = spoilt(0.2, "wrong labels")
clf = MedianSGDClassifier(random_state=0).fit(X, y)
suspects = np.argsort(clf.predict_proba(X)[np.arange(len(y)), y])

fig, axes = plt.subplots(2, 6, figsize=(8, 3.4), layout="constrained")
for ax, row in zip(axes.flat, suspects, strict=False):
    ax.imshow(X[row].reshape(8, 8), cmap="gray_r")
    ax.set_title(f"label {y[row]}, true {y_train[row]}", fontsize="small")
    ax.set_axis_off()
plt.show()
