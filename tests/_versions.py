"""What the estimators are compared with changes between versions of scikit-learn."""

import pytest
import sklearn
from sklearn.utils.fixes import parse_version


def sgd_as_of(version):
    """Skip a comparison with scikit-learn's SGD where it does otherwise."""
    older = parse_version(sklearn.__version__) < parse_version(version)
    return pytest.mark.skipif(older, reason=f"SGD as of scikit-learn {version}")
