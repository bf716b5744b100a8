"""What scikit-learn's own tests expect to find in the configuration of pytest."""

import pytest

collect_ignore = ["typing"]  # for mypy, not to be imported


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "no_check_spmatrix: used by scikit-learn's tests of SGD"
    )


@pytest.fixture
def global_random_seed():
    return 42
