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


def m_weights(residual, scale, tolerance):
    """Return the weight of each row in an M step, from 0 to 1.

    ``tolerance``: largest residual of a row that counts as fitted without an error.
    """
    size = np.abs(residual)
    if scale == 0:
        return (size <= tolerance).astype(np.float64)
    count = np.ones(len(size))
    size = np.asarray(size, dtype=np.float64)[np.newaxis]
    return bisquare.weigh(size, count, np.array([M_CONSTANT * scale]))[0]
