"""The estimators on Dask: robust fits of partitions, some of which may be wrong.

Only a sample of about 10,000 rows leaves the partitions. The second stage of a fit asks
the partitions for sums, as it asks blocks of rows on one machine. In stochastic rounds,
such as those of ``partial_fit``, each partition makes passes over its rows. A gradient
estimator then combines the changes of all partitions.

The module needs the extra ``dask``: ``pip install "medsgd[dask]"``.
"""

from medsgd.dask._estimators import DaskMedianSGDClassifier, DaskMedianSGDRegressor

__all__ = ["DaskMedianSGDClassifier", "DaskMedianSGDRegressor"]
