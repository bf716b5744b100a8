"""
==================================
Real data: rows that do not fit in
==================================

The breast cancer data of scikit-learn are measurements of cell nuclei in images. One of
them is how much the concavity varies within an image. It is predicted here from the
mean values of ten measurements. Nobody has corrupted the data. Still, some images do
not follow the others, and a fit that gives them their full weight is worse for the
rest.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import HuberRegressor, LinearRegression
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medsgd import MedianSGDRegressor, ResidualsDisplay

data = load_breast_cancer(as_frame=True).frame
X = data[[name for name in data if name.startswith("mean")]]
y = data["concavity error"]

# %%
# Errors on held-out images
# -------------------------
# The median and the 90% quantile of the absolute errors show how well a model predicts
# a usual image. The few images that do not fit in decide the root mean square.


def models():
    """The models compared, by name."""
    return {
        "LinearRegression": LinearRegression(),
        "HuberRegressor": make_pipeline(StandardScaler(), HuberRegressor()),
        "MedianSGDRegressor": MedianSGDRegressor(random_state=0),
    }


folds = KFold(10, shuffle=True, random_state=0)
errors = {}
for name, model in models().items():
    error = np.abs(y - cross_val_predict(model, X, y, cv=folds))
    errors[name] = np.r_[np.quantile(error, [0.5, 0.9]), np.sqrt(np.mean(error**2))]
    if name == "LinearRegression":
        share_of_two = np.sort(error**2)[-2:].sum() / np.sum(error**2)

# %%
# Results
# -------
# The median error of :class:`~medsgd.MedianSGDRegressor` is a fifth below that of least
# squares, and the 90% quantile is an eighth below. The root mean square of least
# squares is smaller, because least squares minimises it: 2 of the 569 images make up
# more than a quarter of its sum of squares.

print(f"{'1000 times the error':22s}{'median':>8s}{'90%':>8s}{'RMS':>8s}")
for name, row in errors.items():
    print(f"{name:22s}" + "".join(f"{1000 * value:8.1f}" for value in row))

# %%
# The images that do not fit in
# -----------------------------
# The residuals of two images are 29 and 21 scales. :class:`~medsgd.ResidualsDisplay`
# draws all residuals. Look at these two images before you draw conclusions from them.

reg = MedianSGDRegressor(random_state=0).fit(X, y)
in_scales = np.abs(y - reg.predict(X)) / reg.scale_
for row in np.argsort(-in_scales)[:5]:
    print(f"image {row}: {in_scales[row]:.0f} scales from the fit")

fig, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
ResidualsDisplay.from_estimator(reg, X, y, ax=ax)
plt.show()
