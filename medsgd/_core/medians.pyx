"""Medians of a few vectors, each given as a scalar times a row."""

from cython cimport floating
from libc.math cimport INFINITY, fabs, isfinite, sqrt
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

import numpy as np

from medsgd._core.checks cimport require
from medsgd._core.settings cimport COORD_MEDIAN, GEOMETRIC_MEDIAN, GradientEstimator
from medsgd._core.vector cimport axpy, coordinate_median, dot, f64


# Relative difference of sums of distances that may be rounding in float32.
cdef double TIE = 1e-6
# Distance of points, over their size, that may be rounding of its square.
cdef double SAME = 1e-7
# Weiszfeld's steps end where no share moves more than this, or after so many.
cdef double TOLERANCE = 1e-6
cdef Py_ssize_t MOST_STEPS = 100


cdef class Room:
    def __cinit__(self, size_t n_bytes):
        self.start = <char*>calloc(n_bytes, 1)
        if self.start == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.start)


cdef size_t size_of_gradients(
    Py_ssize_t n, GradientEstimator estimator
) noexcept nogil:
    """Return the bytes of memory for n gradients."""
    # One row of inner products a gradient.
    cdef Py_ssize_t n_products = n if estimator == GEOMETRIC_MEDIAN else 0
    return n * (n_products + 10) * sizeof(double)


cdef void place_gradients(Gradients* g, Py_ssize_t n, double* start) noexcept nogil:
    """Set the arrays of n gradients in zeroed memory."""
    g.n, g.inner = n, 0
    g.has_norms = g.has_inner = False
    g.multiple, g.intercept = start, start + n
    g.sample_weight, g.weight = start + 2 * n, start + 3 * n
    g.squared_norm, g.work = start + 4 * n, start + 5 * n


cdef void geometric_median_weights(
    double* gram, double* weight, double* distance, double* share, Py_ssize_t n
) noexcept nogil:
    """Coefficients of the geometric median as a convex combination of the points.

    Weiszfeld's iteration, safeguarded after Vardi and Zhang, "The multivariate
    L1-median and associated data depth", PNAS 2000: it starts from the best of the
    points, which either is the median or is never reached again. ``gram`` holds the
    inner products of the points, and has room for 2 n more numbers. Points at infinity
    are left out.
    """
    cdef Py_ssize_t i, j, step, best = -1
    cdef double total, pull, rest, size, norm, inner, moved, gap, change, along
    cdef double squared, last_squared, further = 0
    cdef bint growing, outside
    cdef double* last = gram + n * n
    cdef double* last_change = last + n
    memset(share, 0, n * sizeof(double))
    for i in range(n):
        if not isfinite(gram[i * n + i]):
            weight[i] = 0
            for j in range(n):
                gram[i * n + j] = gram[j * n + i] = 0

    for j in range(n):
        if weight[j] == 0:
            continue
        # Differences of distances, not of their sums, which one point can dominate.
        total = size = 0
        for i in range(n):
            gap = sqrt(max(
                0.0, gram[i * n + i] - 2 * gram[i * n + j] + gram[j * n + j]
            ))
            if best >= 0 and gap + distance[i] > 0:
                moved = weight[i] / (gap + distance[i]) * (
                    gram[j * n + j] - gram[best * n + best]
                    - 2 * (gram[i * n + j] - gram[i * n + best])
                )
                total += moved
                size += fabs(moved)
            share[i] = gap
        # Of several medians (points on a line) choose the same one for any rounding.
        if best < 0 or total < -TIE * size:
            best = j
            for i in range(n):
                distance[i] = share[i]
    memset(share, 0, n * sizeof(double))
    if best < 0:
        return

    # The pull of the other points on the best one, against its own weight.
    rest = total = pull = norm = 0
    for i in range(n):
        if distance[i] <= SAME * sqrt(gram[best * n + best]):
            rest += weight[i]
        elif isfinite(distance[i]):
            share[i] = weight[i] / distance[i]
            total += share[i]
    for i in range(n):
        inner = 0
        for j in range(n):
            inner += share[j] * gram[i * n + j]
        pull += share[i] * (inner - 2 * total * gram[i * n + best])
    pull += total * total * gram[best * n + best]
    pull = sqrt(max(0.0, pull))
    if pull <= rest * (1 + TIE) or total == 0:
        memset(share, 0, n * sizeof(double))
        share[best] = 1
        return
    for i in range(n):
        share[i] *= (1 - rest / pull) / total
    share[best] += rest / pull

    # Where the steps shrink, Anderson's acceleration of depth 1 halves their number
    # ("Iterative procedures for nonlinear integral equations", J. ACM 1965); where they
    # grow, on the way from the point left, they are doubled. Shares stay positive.
    for step in range(MOST_STEPS):
        norm = 0
        for i in range(n):
            inner = 0
            for j in range(n):
                inner += share[j] * gram[i * n + j]
            distance[i] = gram[i * n + i] - 2 * inner
            norm += share[i] * inner
        total = 0
        for i in range(n):
            distance[i] = weight[i] / sqrt(
                max(1e-30 * gram[i * n + i], distance[i] + norm, 1e-300)
            )
            total += distance[i]
        total = 1 / total
        moved = along = size = squared = last_squared = 0
        for i in range(n):
            distance[i] *= total  # the next shares
            change = distance[i] - share[i]
            moved = max(moved, fabs(change))
            gap = change - last_change[i]
            along += change * gap
            size += gap * gap
            squared += change * change
            last_squared += last_change[i] * last_change[i]
            last_change[i] = change
        outside = False
        growing = squared >= last_squared
        further = 2 * further + 1 if step > 0 and growing else 0
        along = along / size if step > 0 and not growing else 0
        for i in range(n):
            # Below, the extrapolation of a share beyond Weiszfeld's step.
            change = further * last_change[i] - along * (distance[i] - last[i])
            last[i], share[i] = distance[i], distance[i] + change
            outside = outside or (share[i] <= 0 and change < 0)
        if outside:
            memcpy(share, last, n * sizeof(double))
            further = 0
        # Steps near a point that is not the median begin small.
        if moved < TOLERANCE and step > 0 and not (growing and moved > 1e-12):
            break


cdef double location_of(
    GradientEstimator estimator, const floating** x, const Gradients* g,
    Py_ssize_t n_features, floating* out, floating* room,
) noexcept nogil:
    """Write the mean or median of the gradients to ``out``; return its intercept.

    ``room`` has memory for g.n times MEDIAN_ROOM numbers.
    """
    cdef Py_ssize_t i, j, n = g.n
    cdef double* share = g.work
    cdef double* values = share + n
    cdef double* weight = values + n
    cdef double* gram = weight + n
    cdef double total = 0, intercept = 0, inner
    cdef bint equal = True

    if estimator == COORD_MEDIAN:
        for i in range(n):
            equal = equal and g.weight[i] == g.weight[0]
            values[i], share[i] = g.intercept[i], g.weight[i]
        coordinate_median(
            x, g.multiple, NULL if equal else g.weight, n, n_features, room, out
        )
        return f64.median(values, NULL if equal else share, n)

    if estimator == GEOMETRIC_MEDIAN:
        for i in range(n):
            weight[i] = g.weight[i]
            for j in range(i + 1):
                if i == j and g.has_norms:
                    inner = g.squared_norm[i]
                else:
                    inner = dot(x[i], x[j], n_features)
                gram[i * n + j] = gram[j * n + i] = (
                    g.multiple[i] * g.multiple[j] * inner
                    + g.intercept[i] * g.intercept[j]
                )
        geometric_median_weights(gram, weight, values, share, n)
    else:
        for i in range(n):
            total += g.weight[i]
        for i in range(n):
            share[i] = g.weight[i] / total
    memset(out, 0, n_features * sizeof(floating))
    for i in range(n):
        if share[i] > 0:
            axpy(share[i] * g.multiple[i], x[i], out, n_features)
            intercept += share[i] * g.intercept[i]
    return intercept


def weighted_median(const double[::1] values, weights=None):
    """Return the median of weighted numbers; NaN counts as infinity.

    Between two numbers with half of the weight on either side, it is their mean.
    """
    cdef Py_ssize_t i, n = values.shape[0]
    cdef double[::1] v = np.empty(n), w = v
    cdef bint equal = weights is None
    if not equal:
        w = np.array(weights, dtype=np.float64)
        if w.shape[0] != n:
            raise ValueError(f"{n} values, but {w.shape[0]} weights")
        equal = True
        for i in range(n):
            equal = equal and w[i] == w[0]
    for i in range(n):
        v[i] = values[i] if values[i] == values[i] else INFINITY
    if n == 0:
        return 0.0
    return f64.median(&v[0], NULL if equal else &w[0], n)


def column_medians(
    const Py_ssize_t[:] column, const double[:] size, const double[:] weight
):
    """Return the columns present, with weighted median size and total weight.

    ``column`` is sorted. Of two sizes where half of the weight lies on either side the
    median is the smaller one.

    Raises
    ------
    ValueError
        If arrays do not fit each other.
    """
    cdef Py_ssize_t n = column.shape[0], start = 0, stop, i, k = 0, length
    require(size.shape[0] == n, "size")
    require(weight.shape[0] == n, "weight")
    present_ = np.empty(n, dtype=np.intp)
    median_, total_ = np.empty(n), np.empty(n)
    cdef Py_ssize_t[::1] present = present_
    cdef double[::1] median = median_, total = total_
    # One more number, below all others, breaks ties of half of the weight.
    cdef double[::1] v = np.empty(n + 1), w = np.empty(n + 1)
    cdef bint equal
    with nogil:
        while start < n:
            stop, equal, total[k] = start, True, 0
            while stop < n and column[stop] == column[start]:
                i = stop - start
                v[i], w[i] = size[stop], weight[stop]
                equal = equal and w[i] == w[0]
                total[k] += w[i]
                stop += 1
            length = stop - start
            present[k] = column[start]
            if not equal or length % 2 == 0:
                v[length], w[length] = -INFINITY, TIE * total[k]
                length += 1
            median[k] = f64.median(&v[0], NULL if equal else &w[0], length)
            start, k = stop, k + 1
    return present_[:k], median_[:k], total_[:k]
