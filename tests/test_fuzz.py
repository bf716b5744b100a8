"""A few of the cases of ``tests/fuzz/driver.py``, which runs any number of them."""

import warnings

import pytest
from fuzz.driver import run_case


@pytest.mark.parametrize("block", range(10))
def test_random_cases(block):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", category=RuntimeWarning, module="medsgd")
        for number in range(25 * block, 25 * (block + 1)):
            run_case(number)
