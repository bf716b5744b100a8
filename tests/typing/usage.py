"""What users write; mypy checks it, nothing runs it."""

from typing import assert_type

import numpy as np
import numpy.typing as npt
from scipy import sparse

from medsgd import MedianSGDClassifier, MedianSGDRegressor, minimize_stochastic
from medsgd.datasets import make_contaminated_regression
from medsgd.gradient_estimators import SPPL2, Mean
from medsgd.inspection import CoefficientsDisplay, coefficient_table, robust_r2

X, y, truth = make_contaminated_regression(outliers="wild", return_truth=True)

reg = MedianSGDRegressor("huber", tau=0.5, penalty=None, epsilon="auto", random_state=0)
assert_type(reg.fit(X, y), MedianSGDRegressor)
assert_type(reg.fit([[0.0], [1.0]], [0, 1], sample_weight=[1, 2]), MedianSGDRegressor)
assert_type(reg.partial_fit(sparse.csr_array(X), y), MedianSGDRegressor)
assert_type(reg.scale_, float)
assert_type(reg.weights_, npt.NDArray[np.float64])
table = coefficient_table(reg, X, y, sample_weight=[1, 2], covariance="homoscedastic")
assert_type(table.std_error, npt.NDArray[np.float64])
assert_type(robust_r2(reg, sparse.csr_array(X), [0, 1]), float)
display = CoefficientsDisplay.from_estimator(reg, X, y, kind="z", max_features=10)
assert_type(display, CoefficientsDisplay)
largest: np.floating = np.abs(reg.predict(X) - reg.coef_ @ X.T).max()

clf = MedianSGDClassifier(class_weight={0: 1, 1: 2.5}, standardize=False, n_jobs=2)
assert_type(clf.partial_fit(X, y > 0, classes=[False, True]), MedianSGDClassifier)
probabilities = clf.predict_proba(X).sum(axis=1)

estimator = SPPL2(tau="auto")
assert_type(estimator.reset(), SPPL2)
location = estimator.update([1.0, 2.0], weights=[0.5]) + Mean().update(np.ones((3, 2)))


def gradient(
    x: npt.NDArray[np.float64], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    return x - 1 + rng.standard_cauchy(x.size)


class Last:
    def update(self, gradients: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(gradients[-1])


minimize_stochastic(gradient, [0, 0], gradient_estimator=estimator, average=10)
minimize_stochastic(lambda x, rng: 2 * x, np.zeros(2), gradient_estimator=Last())
minimize_stochastic(
    gradient, np.zeros(2), learning_rate=lambda t: 1 / t, callback=print
)

# What would fail at run time does not type-check: mypy warns of unused ignores.
MedianSGDRegressor("log_loss")  # type: ignore[arg-type]
MedianSGDRegressor(gradient_estimator="median")  # type: ignore[arg-type]
MedianSGDClassifier(max_iter="auto")  # type: ignore[arg-type]
MedianSGDClassifier(refine="auto")  # type: ignore[arg-type]
MedianSGDRegressor(alpha="none")  # type: ignore[arg-type]
reg.partial_fit(X)  # type: ignore[call-arg]
coefficient_table(reg, X, y, covariance="w")  # type: ignore[arg-type]
minimize_stochastic(gradient, 0, gradient_estimator="spp")  # type: ignore[arg-type]
SPPL2(0.1)  # type: ignore[call-arg]
