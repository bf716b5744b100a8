"""The M-scale and the weights of the exact steps, with the constants of R's ``lmrob``.

The first constant makes the breakdown point 1/2, the second makes the estimate 95%
efficient where the noise is normal.
"""

import numpy as np

import medsgd._core.bisquare as bisquare

S_CONSTANT = 1.547645
M_CONSTANT = 4.685061
BREAKDOWN = 0.5
# Relative accuracy of scales that only rank candidates.
ROUGH = 1e-2


def m_scales(residual, weight, target, start, floor, **control):
    """Return the M-scale of each row of residuals, a fit a row."""
    return bisquare.m_scale(
        residual, weight, target, start, constant=S_CONSTANT, floor=floor, **control
    )


def m_scale(residual, weight, target, start, floor):
    """Return the M-scale of residuals."""
    start = np.array([start])
    return float(m_scales(residual[np.newaxis], weight, target, start, floor)[0])


def s_weights(residual, weight, scale):
    """Return the rows' weights in an S step, a fit a row."""
    return bisquare.weigh(residual, weight, S_CONSTANT * scale)
