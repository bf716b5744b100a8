"""R's ``lmrob``, the reference of MM-estimators, where R is installed."""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SCRIPT = Path(__file__).with_name("lmrob.R")


@dataclass
class Fit:
    """What ``lmrob(y ~ X)`` returns, with its default settings.

    Attributes
    ----------
    coef : ndarray of shape (d + 1,)
        The intercept first; NaN for columns that lmrob drops as collinear.
    scale : float
        The S scale.
    converged : bool
    seconds : float
        Time within R.
    fitted, weights : ndarrays of shape (n,)
        Fitted values and robustness weights.
    """

    coef: np.ndarray
    scale: float
    converged: bool
    seconds: float
    fitted: np.ndarray
    weights: np.ndarray


def installed():
    """Return whether R and its package robustbase are installed."""
    if shutil.which("Rscript") is None:
        return False
    asked = subprocess.run(
        ["Rscript", "-e", "library(robustbase)"], capture_output=True, check=False
    )
    return asked.returncode == 0


def lmrob(problems, seconds=600):
    """Fit lmrob to each of the problems, in one process of R.

    Parameters
    ----------
    problems : sequence of (X, y)
    seconds : float
        Time limit of one fit.

    Returns
    -------
    list of Fit, or of str
        R's message for a problem where lmrob fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{i:06d}.data") for i in range(len(problems))]
        for path, (X, y) in zip(paths, problems, strict=True):
            np.concatenate([X.shape, X.ravel(order="F"), y]).tofile(path)
        subprocess.run(["Rscript", SCRIPT, folder, str(seconds)], check=True)
        return [
            _read(path, *X.shape) for path, (X, _) in zip(paths, problems, strict=True)
        ]


def _read(path, n, d):
    error = path.with_suffix(".error")
    if error.exists():
        return error.read_text().strip()
    values = np.fromfile(path.with_suffix(".fit"))
    coef, (scale, converged, seconds), fitted, weights = np.split(
        values, np.cumsum([d + 1, 3, n])
    )
    return Fit(coef, scale, bool(converged), seconds, fitted, weights)
