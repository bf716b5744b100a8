"""
===========
Quick start
===========

This is a robust linear regression on real data in three steps: fit, read the results,
and plot them. The data are scikit-learn's diabetes data: ten measurements of a patient
and the progression of the disease a year later. In a tenth of the training targets the
decimal point is lost, as happens when numbers are typed in.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression
from sklearn.metrics import median_absolute_error
from sklearn.model_selection import train_test_split

from medsgd import MedianSGDRegressor, ResidualsDisplay

diabetes = load_diabetes()
X_train, X_test, y_train, y_test = train_test_split(
    diabetes.data, diabetes.target, random_state=0
)
is_wrong = np.random.default_rng(0).random(len(y_train)) < 0.1
y_train = np.where(is_wrong, 10 * y_train, y_train)

# %%
# Fit
# ---
# No parameter needs to be set, and no scaler is needed. A `random_state` makes the fit
# reproducible.

reg = MedianSGDRegressor(random_state=0).fit(X_train, y_train)

# %%
# Coefficients, scale and outliers
# --------------------------------
# `coef_` and `intercept_` are in the units of the data. `scale_` is a robust standard
# deviation of the residuals, and `outliers_` are the training rows whose residuals are
# beyond 2.5 times that.

for name, coef in zip(diabetes.feature_names, reg.coef_, strict=True):
    print(f"{name:10s}{coef:8.0f}")
print(f"{'intercept':10s}{reg.intercept_[0]:8.0f}")
print(f"{'scale_':10s}{reg.scale_:8.0f}")
n_found = np.sum(reg.outliers_ & is_wrong)
n_false = np.sum(reg.outliers_ & ~is_wrong)
print(f"outliers_: {n_found} of the {is_wrong.sum()} wrong rows, {n_false} others")

# %%
# Predictions
# -----------
# The targets of the test set are right. Least squares is fitted to the same training
# data, and the wrong targets bias it.

least_squares = LinearRegression().fit(X_train, y_train)
errors = {}
for model in (least_squares, reg):
    name = type(model).__name__
    errors[name] = median_absolute_error(y_test, model.predict(X_test))
    print(f"{name:20s}median absolute error on the test set: {errors[name]:4.0f}")

# %%
# A picture
# ---------
# The left panel has the residuals of the training rows, in which
# :class:`~medsgd.ResidualsDisplay` marks the outliers. Its axis is logarithmic beyond
# 2.5 times `scale_`, so that all outliers fit. The right panel has the predictions for
# the test set.

fig, axes = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
ResidualsDisplay.from_estimator(reg, X_train, y_train, ax=axes[0])
axes[0].set_yscale("symlog", linthresh=2.5 * reg.scale_)
axes[0].set(title="training set, MedianSGDRegressor", ylim=(-1000, 10_000))
axes[0].legend(loc="lower right")
for model, color in ((least_squares, "#000000"), (reg, "#D55E00")):
    axes[1].scatter(
        model.predict(X_test), y_test, s=12, color=color, label=type(model).__name__
    )
line = np.array([0, 500])
axes[1].plot(line, line, color="0.6", linestyle=":", label="target as predicted")
axes[1].set(title="test set", xlabel="predicted", ylabel="target", ylim=(0, 500))
axes[1].legend(loc="upper left")
plt.show()
