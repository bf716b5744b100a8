"""Tukey's bisquare and the scale that it defines, of residuals as arrays.

A. Beaton, J. Tukey, Technometrics 1974. The constants are those of R's ``lmrob``: the
first makes the breakdown point 1/2, the second makes the estimate 95% efficient where
the noise is normal.
"""

import numpy as np

S_CONSTANT = 1.547645
M_CONSTANT = 4.685061
BREAKDOWN = 0.5
# Iterations of a scale, which converges quadratically from any start of its own size.
N_SCALE = 50


def shares(residual, threshold):
    """Squares of the residuals over that of the threshold, at most 1.

    All the functions below take these. A residual that is no number counts as infinite.
    """
    with np.errstate(all="ignore"):
        ratio = residual / threshold
        # fmin prefers a number to NaN.
        return np.fmin(np.square(ratio, out=ratio), 1.0, out=ratio)


def rho(share):
    """The bisquare, 1 for residuals beyond the threshold."""
    kept = 1 - share
    return 1 - kept * kept * kept


def weights(share):
    """Derivative of the bisquare over the residual, 1 where that is 0."""
    kept = 1 - share
    return kept * kept


def curvature(share):
    """Second derivative of the bisquare, 1 where the residual is 0."""
    return (1 - share) * (1 - 5 * share)


def m_scale(residual, weight, target, start, *, tolerance=1e-10, n_iter=N_SCALE):
    """The scale at which the weighted sum of ``rho`` is the target.

    Parameters
    ----------
    residual : ndarray of shape (n_rows,) or (n_rows, n_fits)
        Residuals of one or several fits.
    weight : ndarray of shape (n_rows,)
    target : float
        Half of the total weight, less what the fitted parameters take.
    start : float or ndarray of shape (n_fits,)
        A first guess.

    Returns
    -------
    ndarray of the shape of ``start``
        Scales; 0 where so many residuals are 0 that no scale reaches the target.

    Notes
    -----
    The sum falls with the scale. Newton's steps are of its logarithm, in which they
    are bounded.
    """
    scale = np.asarray(start, dtype=np.float64)
    for _ in range(n_iter):
        share = shares(residual, S_CONSTANT * np.maximum(scale, np.finfo(float).tiny))
        kept = 1 - share
        squared = kept * kept
        excess = (weight.sum() - weight @ (squared * kept)) / target - 1
        slope = 6 * (weight @ (share * squared)) / target
        with np.errstate(all="ignore"):
            step = np.where(slope > 0, excess / slope, np.sign(excess))
        step = np.clip(np.nan_to_num(step), -1.0, 1.0)
        scale = scale * np.exp(step)
        if np.all(np.abs(step) <= tolerance):
            break
    return scale
