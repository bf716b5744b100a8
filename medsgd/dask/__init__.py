"""The estimators on Dask: robust fits of partitions, some of which may be wrong.

Data stay where they are. In each round every partition makes `local_epochs` passes over
its rows, from where all of them together have come, and only what that changes is
collected: by the gradient estimators that on one machine take medians of samples'
gradients.

Needs the extra ``dask``: ``pip install medsgd[dask]``.
"""

from medsgd.dask._estimators import DaskMedianSGDClassifier, DaskMedianSGDRegressor

__all__ = ["DaskMedianSGDClassifier", "DaskMedianSGDRegressor"]
