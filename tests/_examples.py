"""Run an example script as it is and look at what it computed."""

import runpy
import warnings
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run_example(name):
    """Run a script and return its namespace.

    Warnings are errors, figures are drawn without a display and closed afterwards.

    Parameters
    ----------
    name : str
        Path of the script below ``examples/``, as in ``"paper/plot_stable_noise.py"``.

    Returns
    -------
    namespace : dict
        The module-level names of the script.
    """
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg", force=True)
    from matplotlib import pyplot as plt

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # What `plt.show()` says without a display.
            warnings.filterwarnings("ignore", "FigureCanvasAgg is non-interactive")
            namespace = runpy.run_path(str(EXAMPLES / name), run_name="__main__")
            for number in plt.get_fignums():
                plt.figure(number).canvas.draw()
    finally:
        plt.close("all")
    return namespace
