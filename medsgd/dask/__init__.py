"""The estimators on Dask: robust fits of partitions, some of which may be wrong.

Data stay where they are, but for a sample of some 10,000 rows. The second stage of a
fit asks the partitions for sums, as it asks blocks of rows on one machine. Stochastic
rounds, such as those of ``partial_fit``, let every partition make passes over its rows
and collect what these change, by the gradient estimators that on one machine take
medians of samples' gradients.

Needs the extra ``dask``: ``pip install medsgd[dask]``.
"""

from medsgd.dask._estimators import DaskMedianSGDClassifier, DaskMedianSGDRegressor

__all__ = ["DaskMedianSGDClassifier", "DaskMedianSGDRegressor"]
