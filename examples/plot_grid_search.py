"""
===========
Grid search
===========

Most parameters of :class:`~medsgd.MedianSGDRegressor` need no tuning. This example
shows which ones are worth a grid, and how to compare models if the validation data have
outliers too. The data are scikit-learn's diabetes data with all products of two
features, 65 in all. In a fifth of the training targets the decimal point is lost. The
test set is clean, and shows how good the choice is.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from medsgd import MedianSGDRegressor

X, y = load_diabetes(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
is_wrong = np.random.default_rng(0).random(len(y_train)) < 0.2
y_train = np.where(is_wrong, 10 * y_train, y_train)

# %%
# A grid in a pipeline
# --------------------
# The pipeline has no scaler, because the estimator standardises. With many features for
# few rows the penalty matters, so `alpha` is in the grid. `refine` is in the grid to
# show its effect. Without refinement the few hundred rows need many epochs, and so a
# larger `max_iter` than the default.
#
# Every fold has wrong targets, which no good model predicts. They have no influence on
# the median of the errors, and dominate the mean of the squared errors. The grid is
# scored by both, and the median chooses.

pipeline = make_pipeline(
    PolynomialFeatures(degree=2, include_bias=False),
    MedianSGDRegressor(max_iter=5000, random_state=0),
)
ALPHAS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
SCORINGS = ("neg_median_absolute_error", "neg_root_mean_squared_error")
grid = {
    "mediansgdregressor__alpha": ALPHAS,
    "mediansgdregressor__refine": (True, False),
}
search = GridSearchCV(
    pipeline, grid, scoring=SCORINGS, refit="neg_median_absolute_error", cv=4
).fit(X_train, y_train)


def cv_errors(scoring, refine):
    """Cross-validated errors by alpha."""
    of_refine = search.cv_results_["param_mediansgdregressor__refine"] == refine
    return -search.cv_results_[f"mean_test_{scoring}"][of_refine]


def test_error(**params):
    """Mean absolute error on the test set of the pipeline with these parameters."""
    model = clone(pipeline)
    model[-1].set_params(**params)
    model.fit(X_train, y_train)
    return mean_absolute_error(y_test, model.predict(X_test))


test_errors = {
    refine: [test_error(alpha=alpha, refine=refine) for alpha in ALPHAS]
    for refine in (True, False)
}

# %%
# Parameters that need no grid
# ----------------------------
# This grid has losses and gradient estimators, at the `alpha` that the median error has
# chosen.

alpha = search.best_params_["mediansgdregressor__alpha"]
ESTIMATORS = ("mean", "coord-median", "spp-l2")
LOSSES = ("squared_error", "huber", "bisquare")
by_loss = {
    (refine, name, loss): test_error(
        alpha=alpha,
        refine=refine,
        gradient_estimator=name,
        standardize=True,
        loss=loss,
        epsilon="auto",
    )
    for refine in (True, False)
    for name in ESTIMATORS
    for loss in LOSSES
}

# %%
# Results
# -------
# The two scores disagree on ``refine``. The median of the errors prefers it, and the
# test set agrees: without refinement the outliers, which all lie on one side, bias the
# fit. The squared errors prefer the biased fit, because it is nearer to the outliers.
# The squared errors would choose the worse model. The median error shows which
# ``alpha`` is too large. The errors of smaller values differ by less than those of the
# folds, so that chance decides between them.
#
# With `refine`, all losses and both medians give the same fit, because the refinement
# is exact. A grid over them compares equal models. Without refinement the loss matters,
# and the bisquare is the best one here. Fits with the mean are never refined, so that
# the loss is their only protection.

print(f"{'':36s}{'alpha':>10s}" + "".join(f"{alpha:10g}" for alpha in ALPHAS))
for refine in (True, False):
    for scoring in SCORINGS:
        row = "".join(f"{error:10.1f}" for error in cv_errors(scoring, refine))
        print(f"refine={refine!s:8s}{scoring:31s}{row}")
    row = "".join(f"{error:10.1f}" for error in test_errors[refine])
    print(f"refine={refine!s:8s}{'test set, mean absolute error':31s}{row}")
spread = search.cv_results_["std_test_neg_median_absolute_error"]
print(f"standard deviation of the median over the folds: {spread.min():.1f} or more")
print("chosen:", search.best_params_)
print()
print(f"{'test set, mean absolute error':40s}" + "".join(f"{s:>15s}" for s in LOSSES))
for refine in (True, False):
    for name in ESTIMATORS:
        row = "".join(f"{by_loss[refine, name, loss]:15.1f}" for loss in LOSSES)
        print(f"refine={refine!s:8s}{name:25s}{row}")

COLORS = {True: "#D55E00", False: "#0072B2"}
fig, axes = plt.subplots(2, 2, figsize=(10, 7.5), layout="constrained")
for refine, color in COLORS.items():
    label = f"refine={refine}"
    for ax, scoring in zip(axes[0], SCORINGS, strict=True):
        ax.plot(ALPHAS, cv_errors(scoring, refine), "o-", color=color, label=label)
        ax.set_title(f"cross-validation, {scoring[4:].replace('_', ' ')}")
    axes[1, 0].plot(ALPHAS, test_errors[refine], "o-", color=color, label=label)
axes[1, 0].set_title("clean test set, mean absolute error")
for ax in (*axes[0], axes[1, 0]):
    ax.set(xscale="log", xlabel="alpha", ylabel="error")
    ax.legend()
MARKERS = {"squared_error": "o", "huber": "s", "bisquare": "^"}
for (refine, name, loss), error in by_loss.items():
    axes[1, 1].plot(
        ESTIMATORS.index(name) + (-0.1 if refine else 0.1),
        error,
        MARKERS[loss],
        color=COLORS[refine],
        label=loss if refine and name == "spp-l2" else None,
    )
axes[1, 1].set(
    yscale="log",
    title=f"clean test set, alpha={alpha:g}",
    xlabel="gradient_estimator",
    ylabel="mean absolute error",
)
axes[1, 1].set_yticks([50, 100, 200], [50, 100, 200])
axes[1, 1].minorticks_off()
axes[1, 1].set_xticks(range(len(ESTIMATORS)), ESTIMATORS)
axes[1, 1].legend()
plt.show()
