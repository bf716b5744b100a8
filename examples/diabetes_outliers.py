"""
========================================
Regression with a share of wrong targets
========================================

A fifth of the training targets of the diabetes data is corrupted, all in the same
direction, as after a unit mix-up or a stuck sensor. Each model is trained once on the
targets as they are and once on the corrupted ones. The errors are taken on held-out
samples that are never corrupted, and averaged over several splits.
"""

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import HuberRegressor, SGDRegressor
from sklearn.metrics import median_absolute_error, root_mean_squared_error
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medsgd import MedianSGDRegressor

N_SPLITS = 10
SHARE = 0.2
SHIFT = 1000

X, y = load_diabetes(return_X_y=True)

# sphinx_gallery_thumbnail_path = '_static/fit-light.svg'

# %%
# Corruption
# ----------
# The targets lie between 25 and 346, so that a shift of 1000 is gross.


def corrupt(y, rng):
    """Add SHIFT to a random SHARE of the targets."""
    y = y.copy()
    y[rng.choice(len(y), round(SHARE * len(y)), replace=False)] += SHIFT
    return y


# %%
# Held-out errors
# ---------------


def models(seed):
    """The models compared, by name."""
    return {
        "SGDRegressor": SGDRegressor(random_state=seed),
        "HuberRegressor": HuberRegressor(max_iter=1000),
        "MedianSGDRegressor": MedianSGDRegressor(
            gradient_estimator="spp-l2", random_state=seed
        ),
    }


def held_out_errors(seed):
    """Errors of every model, trained on clean and on corrupted targets."""
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=seed)
    y_corrupted = corrupt(y_train, np.random.default_rng(seed))
    errors = []
    for model in models(seed).values():
        row = []
        for target in (y_train, y_corrupted):
            pipeline = make_pipeline(StandardScaler(), model).fit(X_train, target)
            y_pred = pipeline.predict(X_test)
            row.append(median_absolute_error(y_test, y_pred))
            row.append(root_mean_squared_error(y_test, y_pred))
        errors.append(row)
    return errors


errors = np.mean([held_out_errors(seed) for seed in range(N_SPLITS)], axis=0)

# %%
# Results
# -------
# The clean columns are the reference. A robust model loses little on clean targets, and
# has about the same errors on corrupted targets.

print(f"Held-out error on the diabetes data, mean of {N_SPLITS} splits")
print()
print(f"{'training targets':20s}{'clean':>20s}{f'{SHARE:.0%} corrupted':>22s}")
print(f"{'':20s}" + 2 * f"{'median abs.':>13s}{'RMSE':>8s}")
for name, (clean_mae, clean_rmse, mae, rmse) in zip(models(0), errors, strict=True):
    print(f"{name:20s}{clean_mae:13.1f}{clean_rmse:8.1f}{mae:13.1f}{rmse:8.1f}")
