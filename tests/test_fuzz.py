"""A few of the cases of ``tests/fuzz``, whose commands run any number of them."""

import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import driver, right


@pytest.mark.parametrize("block", range(10))
def test_random_cases(block):
    for number in range(25 * block, 25 * (block + 1)):
        driver.run_case(number)


@pytest.mark.parametrize("block", range(4))
def test_right_answers(block):
    for number in range(25 * block, 25 * (block + 1)):
        right.run_case(number)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on memory")
def test_compiled_functions_survive_spoilt_arguments():
    # Where a crash would be that of another process.
    script = Path(__file__).parent / "fuzz" / "kernels.py"
    run = subprocess.run(
        [sys.executable, script, "--cases", "1000"], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
