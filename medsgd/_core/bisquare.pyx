"""Tukey's bisquare over residuals, and the M-scale that it defines.

With u the squared ratio of a residual to the threshold, at most 1, the bisquare is
1 - (1 - u)^3, the weight of the residual (1 - u)^2 and the curvature (1 - u)(1 - 5 u).
A residual that is not a number counts as infinite.

A. Beaton, J. Tukey, "The Fitting of Power Series, Meaning Polynomials, Illustrated on
Band-Spectroscopic Data", Technometrics 1974.
"""

from libc.math cimport exp, fabs, isfinite

import numpy as np

from medsgd._core.checks cimport require
from medsgd._core.vector cimport Bisquare, f64


cdef inline double kept_part(double residual, double inverse) noexcept nogil:
    """1 - u."""
    cdef double ratio = residual * inverse
    cdef double kept = 1 - ratio * ratio
    return kept if kept > 0 else 0


def loss(const double[::1] residual, const double[::1] weight, double threshold):
    """Return the weighted sum of the bisquare of residuals.

    Raises
    ------
    ValueError
        If the arrays do not fit each other.
    """
    require(weight.shape[0] == residual.shape[0], "weight")
    cdef double total
    require(residual.shape[0] > 0, "residual")
    with nogil:
        total = f64.bisquare(
            1 / threshold, &residual[0], &weight[0], residual.shape[0]
        ).loss
    return total


def m_scale(
    const double[:, ::1] residual,
    const double[::1] weight,
    double target,
    const double[::1] start,
    *,
    double constant,
    double floor,
    double tolerance=1e-10,
    int n_iter=100,
):
    """Return the scales at which weighted sums of the bisquare are the target.

    Newton's steps are of the logarithm of the scale, in which they are bounded.

    Parameters
    ----------
    residual : ndarray of shape (n_fits, n_rows)
    weight : ndarray of shape (n_rows,)
    target : float
        Wanted weighted sum of the bisquare.
    start : ndarray of shape (n_fits,)
        First guesses.
    constant : float
        The threshold of the bisquare, in scales.
    floor : float
        The least scale. If many residuals are 0, no scale reaches the target.
    tolerance : float, default=1e-10
        Relative change at which the iterations end.
    n_iter : int, default=100
        Most iterations.

    Returns
    -------
    ndarray of shape (n_fits,)

    Raises
    ------
    ValueError
        If the arrays do not fit each other.
    """
    cdef:
        Py_ssize_t n_fits = residual.shape[0], n = residual.shape[1], k
        double[::1] scales = np.empty(n_fits)
        double scale, step
        int _
        Bisquare total
    require(weight.shape[0] == n and n > 0, "weight")
    require(start.shape[0] == n_fits, "start")
    with nogil:
        for k in range(n_fits):
            scale = max(start[k], floor)
            for _ in range(n_iter):
                total = f64.bisquare(
                    1 / (constant * scale), &residual[k, 0], &weight[0], n
                )
                step = total.loss - target
                if total.slope > 0 and isfinite(step / total.slope):
                    step = max(-1.0, min(1.0, step / total.slope))
                else:
                    step = 1 if step > 0 else -1
                scale = scale * exp(step)
                if scale <= floor:
                    scale = floor
                    if step < 0:
                        break
                if fabs(step) <= tolerance:
                    break
            scales[k] = scale
    return np.asarray(scales)


def weigh(
    const double[:, ::1] residual, const double[::1] weight, const double[::1] threshold
):
    """Return the weights of the rows times those of the bisquare, for each fit.

    Parameters
    ----------
    residual : ndarray of shape (n_fits, n_rows)
    weight : ndarray of shape (n_rows,)
    threshold : ndarray of shape (n_fits,)

    Raises
    ------
    ValueError
        If the arrays do not fit each other.
    """
    cdef:
        Py_ssize_t n_fits = residual.shape[0], n = residual.shape[1], i, k
        double[:, ::1] kept = np.empty((n_fits, n))
        double part, inverse
    require(weight.shape[0] == n, "weight")
    require(threshold.shape[0] == n_fits, "threshold")
    with nogil:
        for k in range(n_fits):
            inverse = 1 / threshold[k]
            for i in range(n):
                part = kept_part(residual[k, i], inverse)
                kept[k, i] = weight[i] * (part * part)
    return np.asarray(kept)


def pull(const double[::1] residual, const double[::1] weight, double threshold):
    """Return weights and sums of the rows for a step.

    Returns
    -------
    kept, curvature, pull : ndarray of shape (n_rows,)
        Weights times those of the bisquare, times its curvature, and times its
        derivative.
    squares, rejected : float
        Sum of ``pull`` times the residuals; weight of the rows beyond the threshold.

    Raises
    ------
    ValueError
        If the arrays do not fit each other.
    """
    cdef:
        Py_ssize_t n = residual.shape[0], i
        double[::1] kept = np.empty(n), curvature = np.empty(n), pulls = np.empty(n)
        double part, squares = 0, rejected = 0, inverse = 1 / threshold
    require(weight.shape[0] == n, "weight")
    with nogil:
        for i in range(n):
            part = kept_part(residual[i], inverse)
            kept[i] = weight[i] * (part * part)
            curvature[i] = weight[i] * (part * (5 * part - 4))
            # A rejected residual may be infinite.
            pulls[i] = kept[i] * residual[i] if part > 0 else 0
            squares += pulls[i] * residual[i] if part > 0 else 0
            rejected += weight[i] if part == 0 else 0
    return (
        np.asarray(kept), np.asarray(curvature), np.asarray(pulls), squares, rejected,
    )
