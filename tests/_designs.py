"""The designs of the benchmarks, and what R's lmrob fits to them."""

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

TESTS = Path(__file__).resolve().parent


def load(path):
    spec = spec_from_file_location(f"benchmarks_{path.stem}", path)
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses looks its module up.
    spec.loader.exec_module(module)
    return module


designs = load(TESTS.parent / "benchmarks" / "designs.py")
SEEDS = (0, 1, 2)


def lmrob(name, seed):
    """Return the fit of robustbase 0.95-0, ``lmrob(y ~ X)``; None where it fails.

    A dict of ``coef``, the intercept first, ``scale``, the S scale, and the standard
    errors ``se``, by ``cov=".vcov.avar1"``, and ``se_w``, by ``cov=".vcov.w"``.
    """
    return LMROB[name][str(seed)]


LMROB = json.loads((TESTS / "data" / "lmrob.json").read_text())
