"""What scikit-learn's own tests expect to find in the configuration of pytest."""

import pytest

# For mypy, or commands of their own: not to be imported.
collect_ignore = ["typing", "mutants.py", "fuzz/kernels.py"]


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "no_check_spmatrix: used by scikit-learn's tests of SGD"
    )


@pytest.fixture
def global_random_seed():
    return 42
