"""Tests and examples in docstrings draw without a window, and leave no figure open."""

import os
import sys

import pytest
import sklearn
from sklearn.utils.fixes import parse_version

# Calibrates by temperature, which scikit-learn has from 1.8 on.
if parse_version(sklearn.__version__) < parse_version("1.8"):
    collect_ignore = ["doc/user_guide/calibration.rst"]

os.environ["MPLBACKEND"] = "agg"


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")
