"""Medians of a few vectors, each given as a scalar times a row."""

from cython cimport floating
from libc.math cimport fabs, isfinite, sqrt
from libc.string cimport memset

import numpy as np

from medsgd._core.settings cimport COORD_MEDIAN, GEOMETRIC_MEDIAN, GradientEstimator
from medsgd._core.vector cimport MEDIAN_BLOCK, axpy, coordinate_median, dot


# Relative difference of sums of distances that rounding in float32 explains.
cdef double TIE = 1e-6


cdef double weighted_median(
    double* values, const double* weights, double* sorted_weights, Py_ssize_t n
) noexcept nogil:
    """Median of values (sorted in place) each counted ``weight`` times.

    As with copies of the values, the mean of two where half of the weight lies on
    either side.
    """
    cdef Py_ssize_t i, j
    cdef double value, weight, total = 0, below = 0
    for i in range(n):
        value, weight = values[i], weights[i]
        total += weight
        j = i
        while j > 0 and values[j - 1] > value:
            values[j], sorted_weights[j] = values[j - 1], sorted_weights[j - 1]
            j -= 1
        values[j], sorted_weights[j] = value, weight
    for i in range(n):
        below += sorted_weights[i]
        if below > 0.5 * total:
            return values[i]
        if below == 0.5 * total and i + 1 < n:
            j = i + 1
            while j + 1 < n and sorted_weights[j] == 0:
                j += 1
            value = 0.5 * values[i] + 0.5 * values[j]
            return value if value == value else 0  # of -inf and +inf
    return values[n - 1]


cdef inline double squared_gap(
    const double* gram, Py_ssize_t i, Py_ssize_t j, Py_ssize_t n
) noexcept nogil:
    """Squared distance of two points from their inner products."""
    return max(0.0, gram[i * n + i] - 2 * gram[i * n + j] + gram[j * n + j])


cdef void geometric_median_weights(
    double* gram, const double* weights, double* distance, double* share, Py_ssize_t n
) noexcept nogil:
    """Coefficients of the geometric median as a convex combination of the points.

    Weiszfeld's iteration, safeguarded after Vardi and Zhang, "The multivariate
    L1-median and associated data depth", PNAS 2000: it starts from the best of the
    points, which either is the median or is left for good. ``gram`` holds the inner
    products of the points; points at infinity are left out.
    """
    cdef Py_ssize_t i, j, _, best = -1
    cdef double total, pull, rest, size, norm, inner, moved
    memset(share, 0, n * sizeof(double))

    for j in range(n):
        if not isfinite(gram[j * n + j]):
            continue
        if best < 0:
            best = j
            continue
        # Differences of distances, not of their sums, which one point can dominate.
        total = size = 0
        for i in range(n):
            norm = sqrt(squared_gap(gram, i, j, n))
            norm += sqrt(squared_gap(gram, i, best, n))
            if isfinite(gram[i * n + i]) and norm > 0:
                moved = weights[i] / norm * (
                    gram[j * n + j] - gram[best * n + best]
                    - 2 * (gram[i * n + j] - gram[i * n + best])
                )
                total += moved
                size += fabs(moved)
        # Of several medians (points on a line) the same one whatever the rounding.
        if total < -TIE * size:
            best = j
    if best < 0:
        return

    # The pull of the other points on the best one, against its own weight.
    rest = 0
    total = 0
    for i in range(n):
        distance[i] = sqrt(squared_gap(gram, i, best, n))
        if not isfinite(distance[i]):
            share[i] = 0
        elif distance[i] <= 1e-14 * sqrt(gram[best * n + best]):
            share[i] = 0
            rest += weights[i]
        else:
            share[i] = weights[i] / distance[i]
            total += share[i]
    pull = 0
    for i in range(n):
        for j in range(n):
            if share[i] > 0 and share[j] > 0:
                pull += share[i] * share[j] * (
                    gram[i * n + j] - gram[i * n + best] - gram[j * n + best]
                    + gram[best * n + best]
                )
    pull = sqrt(max(0.0, pull))
    if pull <= rest * (1 + TIE) or total == 0:
        memset(share, 0, n * sizeof(double))
        share[best] = 1
        return
    for i in range(n):
        share[i] *= (1 - rest / pull) / total
    share[best] += rest / pull

    for _ in range(1000):
        norm = 0
        for i in range(n):
            if share[i] > 0:
                for j in range(n):
                    if share[j] > 0:
                        norm += share[i] * share[j] * gram[i * n + j]
        total = 0
        for i in range(n):
            if not isfinite(gram[i * n + i]):
                distance[i] = 0
                continue
            inner = 0
            for j in range(n):
                if share[j] > 0:
                    inner += share[j] * gram[i * n + j]
            distance[i] = weights[i] / sqrt(
                max(1e-30 * gram[i * n + i], gram[i * n + i] - 2 * inner + norm, 1e-300)
            )
            total += distance[i]
        moved = 0
        for i in range(n):
            moved = max(moved, fabs(distance[i] / total - share[i]))
            share[i] = distance[i] / total
        if moved < 1e-9:
            break


cdef double location_of(
    GradientEstimator estimator, const floating** x, const Gradients* g,
    Py_ssize_t n_features, floating* out, floating* scratch,
) noexcept nogil:
    """Mean or median of the gradients: features to ``out``, the intercept returned.

    ``scratch`` has room for g.n blocks of MEDIAN_BLOCK numbers.
    """
    cdef Py_ssize_t i, j, n = g.n
    cdef double* share = g.work
    cdef double* distance = share + n
    cdef double* gram = distance + n
    cdef double total = 0, intercept = 0
    cdef bint equal = True

    if estimator == COORD_MEDIAN:
        for i in range(n):
            equal = equal and g.weight[i] == g.weight[0]
        if equal:
            coordinate_median(x, g.scale, n, n_features, scratch, out)
        else:
            for j in range(n_features):
                for i in range(n):
                    distance[i] = g.scale[i] * x[i][j]
                out[j] = <floating>weighted_median(distance, g.weight, share, n)
        for i in range(n):
            distance[i] = g.intercept[i]
        return weighted_median(distance, g.weight, share, n)

    if estimator == GEOMETRIC_MEDIAN:
        for i in range(n):
            for j in range(i + 1):
                gram[i * n + j] = gram[j * n + i] = (
                    g.scale[i] * g.scale[j] * dot(x[i], x[j], n_features)
                    + g.intercept[i] * g.intercept[j]
                )
        geometric_median_weights(gram, g.weight, distance, share, n)
    else:
        for i in range(n):
            total += g.weight[i]
        for i in range(n):
            share[i] = g.weight[i] / total
    memset(out, 0, n_features * sizeof(floating))
    for i in range(n):
        if share[i] > 0:
            axpy(share[i] * g.scale[i], x[i], out, n_features)
            intercept += share[i] * g.intercept[i]
    return intercept


def median_of_rows(
    str estimator, const floating[:, ::1] rows, const double[::1] weights
):
    """Coordinate or geometric median of the rows of an array."""
    cdef Py_ssize_t i, n = rows.shape[0]
    cdef GradientEstimator code = (
        COORD_MEDIAN if estimator == "coord-median" else GEOMETRIC_MEDIAN
    )
    dtype = np.asarray(rows).dtype
    result = np.empty(rows.shape[1], dtype=dtype)
    pointers = np.empty(n, dtype=np.uintp)
    scales, intercepts = np.ones(n), np.zeros(n)
    work, scratch = np.empty(n * (n + 4)), np.empty(n * MEDIAN_BLOCK, dtype=dtype)
    cdef floating[::1] out = result, room = scratch
    cdef size_t[::1] addresses = pointers
    cdef double[::1] scale = scales, intercept = intercepts, workspace = work
    cdef Gradients g
    for i in range(n):
        addresses[i] = <size_t>&rows[i, 0]
    g.n, g.scale, g.intercept = n, &scale[0], &intercept[0]
    g.weight, g.work = <double*>&weights[0], &workspace[0]
    location_of(
        code, <const floating**>&addresses[0], &g, rows.shape[1], &out[0], &room[0]
    )
    return result
