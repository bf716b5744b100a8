"""
====================================
Confidence intervals of coefficients
====================================

This example shows which features matter, with confidence intervals. The diabetes data
have 442 patients, ten features, and a measure of disease progression a year later. The
example fits the data as they are, and again after a mistake in every tenth target.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression

from medsgd import MedianSGDRegressor
from medsgd.inspection import CoefficientsDisplay, coefficient_table

LEVEL = 0.99

# %%
# The data as they are
# --------------------
# The table is that of R's ``summary(lmrob(y ~ ., data))``. In these data hardly a
# patient is an outlier, so that least squares has nearly the same coefficients and
# standard errors.

X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
reg = MedianSGDRegressor(random_state=0).fit(X, y)
table = coefficient_table(reg, X, y, confidence=LEVEL)
print(table)

# %%
# A mistake in every tenth target
# -------------------------------
# The decimal point is lost in 10% of the targets, which makes them ten times as large.

rng = np.random.default_rng(0)
is_wrong = rng.random(len(y)) < 0.1
y_wrong = y.where(~is_wrong, 10 * y)
robust = MedianSGDRegressor(random_state=0).fit(X, y_wrong)
robust_table = coefficient_table(robust, X, y_wrong, confidence=LEVEL)
print(robust_table)


def least_squares_table(X, y):
    """Coefficients, standard errors and half intervals of least squares."""
    model = LinearRegression().fit(X, y)
    Z = np.column_stack([np.ones(len(X)), X])
    n_free = len(Z) - Z.shape[1]
    variance = np.sum((y - model.predict(X)) ** 2) / n_free
    error = np.sqrt(variance * np.linalg.inv(Z.T @ Z).diagonal())[1:]
    half = stats.t.isf((1 - LEVEL) / 2, n_free) * error
    return model.coef_, error, half


# %%
# The refinement gives the wrong targets the weight 0, and the table still finds the
# features that it found before, at a level of 1%. Least squares finds none, because the
# mistakes make its standard errors nine times as large. Its coefficient of body mass
# index, the strongest feature in the clean data, changes its sign.

coef, error, half = least_squares_table(X, y_wrong)
clean_coef, clean_error, clean_half = least_squares_table(X, y)
significant = {
    "robust, clean": table.p_value[1:] < 1 - LEVEL,
    "robust, 10% wrong": robust_table.p_value[1:] < 1 - LEVEL,
    "least squares, clean": np.abs(clean_coef) > clean_half,
    "least squares, 10% wrong": np.abs(coef) > half,
}
for name, is_significant in significant.items():
    print(f"{name:26s}" + " ".join(X.columns[is_significant]))

ratio = np.median(error / robust_table.std_error[1:])
print(f"Standard errors, least squares over robust: {ratio:.1f}")
print(f"Wrong targets with weight 0: {np.mean(robust.weights_[is_wrong] == 0):.0%}")
print(f"Right targets with weight 0: {np.mean(robust.weights_[~is_wrong] == 0):.0%}")

# %%
# Coefficients in units of their standard errors are comparable across features. The
# left panel is the robust fit, the right panel is least squares, both with the mistakes
# in the targets.

fig, axes = plt.subplots(1, 2, figsize=(10, 4.5), sharex=True, layout="constrained")
CoefficientsDisplay.from_estimator(
    robust, X, y_wrong, confidence=LEVEL, kind="z", ax=axes[0]
)
CoefficientsDisplay(
    names=X.columns,
    coef=coef,
    std_error=error,
    lower=coef - half,
    upper=coef + half,
    confidence=LEVEL,
).plot(kind="z", ax=axes[1], errorbar_kwargs={"color": "tab:gray"})
axes[0].set_title("MedianSGDRegressor")
axes[1].set_title("Least squares")
plt.show()
