"""Tests and examples in docstrings draw without a window, and leave no figure open."""

import os
import sys
from importlib.util import find_spec

# Several processes of tests, each with as many threads of BLAS as there are processors,
# take many times as long. Set before NumPy is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
import sklearn
from sklearn.utils.fixes import parse_version

collect_ignore = []
# Calibrates by temperature, which scikit-learn has from 1.8 on.
if parse_version(sklearn.__version__) < parse_version("1.8"):
    collect_ignore.append("doc/user_guide/calibration.rst")
if find_spec("statsmodels") is None:
    collect_ignore.append("doc/user_guide/coming_from_statsmodels.rst")

os.environ["MPLBACKEND"] = "agg"


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")
