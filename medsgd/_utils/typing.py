"""Types that the annotations of the public API share."""

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

Auto: TypeAlias = Literal["auto"]
LearningRate: TypeAlias = Literal[
    "invscaling", "constant", "optimal", "adaptive", "pa1", "pa2"
]
Penalty: TypeAlias = Literal["l2", "l1", "elasticnet"] | None
RegressionLoss: TypeAlias = Literal[
    "squared_error",
    "huber",
    "epsilon_insensitive",
    "squared_epsilon_insensitive",
    "bisquare",
]
ClassificationLoss: TypeAlias = Literal[
    "log_loss",
    "hinge",
    "modified_huber",
    "squared_hinge",
    "perceptron",
    "squared_error",
    "huber",
    "epsilon_insensitive",
    "squared_epsilon_insensitive",
]
# Keywords of matplotlib's artists.
Style: TypeAlias = dict[str, Any] | None
RandomState: TypeAlias = int | np.random.RandomState | None

# Arguments of estimators: dense or sparse.
MatrixLike: TypeAlias = npt.ArrayLike | sparse.sparray | sparse.spmatrix
# Results of estimators: float32 or float64.
Floats: TypeAlias = npt.NDArray[np.floating[Any]]
