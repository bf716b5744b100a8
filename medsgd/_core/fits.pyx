"""Fits of small linear systems, many at a time."""

from libc.math cimport sqrt

import numpy as np

from medsgd._core.checks cimport all_below, require
from medsgd._core.vector cimport f64


cdef inline void factorise(
    double* gram, double* moments, double* root, double ridge, double least,
    Py_ssize_t p
) noexcept nogil:
    """Solve one system in place; the solution takes the place of the moments."""
    cdef Py_ssize_t i, j
    cdef double* row
    cdef double* other
    cdef double rest
    row = gram
    for i in range(p):
        root[i] = 1 / sqrt(row[i] * (1 + ridge) + least)
        row += i + 1
    row = gram
    for i in range(p):
        other = gram
        for j in range(i):
            rest = row[j] * root[i] * root[j] - f64.dot(row, other, j)
            row[j] = rest * other[j]
            other += j + 1
        # The diagonal stores the inverses of that of the factor.
        rest = row[i] * root[i] * root[i] + ridge - f64.dot(row, row, i)
        row[i] = 1 / sqrt(rest if rest > ridge * ridge else 1)
        moments[i] = (moments[i] * root[i] - f64.dot(row, moments, i)) * row[i]
        row += i + 1
    for i in range(p - 1, -1, -1):
        row -= i + 1
        moments[i] *= row[i]
        f64.axpy(-moments[i], row, moments, i)
        moments[i] *= root[i]


def solve(double[:, ::1] sums, Py_ssize_t p, double ridge):
    """Return the solutions of symmetric systems with a small ridge.

    Parameters
    ----------
    sums : ndarray of shape (n_systems, p * (p + 1) / 2 + p)
        The rows of the lower triangle of each positive semidefinite matrix, and after
        them the right-hand side. They are overwritten.
    p : int
        Number of unknowns.
    ridge : float
        Number that is added to the diagonals, which are scaled to 1.

    Returns
    -------
    ndarray of shape (n_systems, p)

    Raises
    ------
    ValueError
        If the arguments do not fit each other.
    """
    cdef Py_ssize_t n = sums.shape[0], size = p * (p + 1) // 2, k
    cdef double least = np.finfo(np.float64).tiny
    require(0 < p <= sums.shape[1] and sums.shape[1] == size + p, "sums")
    cdef double[::1] root = np.empty(p)
    with nogil:
        for k in range(n):
            factorise(&sums[k, 0], &sums[k, size], &root[0], ridge, least, p)
    return np.asarray(sums)[:, size:]


def through_rows(
    const double[:, ::1] Z, const double[::1] y, const Py_ssize_t[:, ::1] drawn,
    double independent,
):
    """Return the coefficients that fit the first independent rows of each draw.

    If fewer rows than parameters are independent, the coefficients are the shortest.

    Parameters
    ----------
    Z : ndarray of shape (n_rows, p)
    y : ndarray of shape (n_rows,)
    drawn : ndarray of shape (n_fits, n_drawn)
        Indices of rows.
    independent : float
        A row is independent of others if the part of it that is orthogonal to them is
        longer than this share of it.

    Raises
    ------
    ValueError
        If the arrays do not fit each other.
    """
    cdef:
        Py_ssize_t n_rows = Z.shape[0], p = Z.shape[1], n_fits = drawn.shape[0]
        Py_ssize_t n_drawn = drawn.shape[1], i, j, k, count, _
        double[:, ::1] b = np.zeros((n_fits, p)), basis = np.empty((p, p))
        double[::1] rest = np.empty(p), value = np.empty(p)
        const double* row
        double norm, size, along, target
    require(p > 0, "Z")
    require(y.shape[0] == n_rows, "y")
    require(
        n_fits * n_drawn == 0 or all_below(&drawn[0, 0], n_fits * n_drawn, n_rows),
        "drawn",
    )
    with nogil:
        for k in range(n_fits):
            count = 0
            for i in range(n_drawn):
                row = &Z[drawn[k, i], 0]
                norm = sqrt(f64.dot(row, row, p))
                if not norm > 0:
                    continue
                for j in range(p):
                    rest[j] = row[j] / norm
                target = y[drawn[k, i]] / norm
                # Gram-Schmidt orthogonalisation, repeated to remove rounding.
                for _ in range(2):
                    for j in range(count):
                        along = f64.dot(&basis[j, 0], &rest[0], p)
                        f64.axpy(-along, &basis[j, 0], &rest[0], p)
                        target -= along * value[j]
                size = sqrt(f64.dot(&rest[0], &rest[0], p))
                if not size > independent:
                    continue
                for j in range(p):
                    basis[count, j] = rest[j] / size
                value[count] = target / size
                f64.axpy(value[count], &basis[count, 0], &b[k, 0], p)
                count += 1
                if count == p:
                    break
    return np.asarray(b)


cdef inline double level(
    double* key, double* weight, Py_ssize_t n, double total
) noexcept nogil:
    """Return the key up to which smaller keys have the total weight (quickselect).

    The order of keys and weights changes.
    """
    cdef Py_ssize_t first = 0, last = n - 1, i, j, k
    cdef double pivot, below
    while first < last:
        # A random pivot, so that sorted data are not the worst case.
        pivot = key[first + (last - first) // 2]
        i, j, below = first, last, 0
        while i <= j:
            while key[i] < pivot:
                below += weight[i]
                i += 1
            while key[j] > pivot:
                j -= 1
            if i <= j:
                key[i], key[j] = key[j], key[i]
                weight[i], weight[j] = weight[j], weight[i]
                below += weight[i]
                i += 1
                j -= 1
        # Keys between j and i are the pivot, and below counts those before i.
        for k in range(j + 1, i):
            below -= weight[k]
        if below >= total:
            last = j
        else:
            for k in range(j + 1, i):
                below += weight[k]
            if below >= total or i > last:
                return pivot
            total -= below
            first = i
    return key[first]


def smallest(const double[:, ::1] keys, const double[::1] weight, double total):
    """Return the weights of the rows with the smallest keys, up to a total weight.

    Rows with the same key share the remaining weight, so that their order has no
    effect.

    Parameters
    ----------
    keys : ndarray of shape (n_fits, n_rows)
        Finite numbers.
    weight : ndarray of shape (n_rows,)
    total : float

    Returns
    -------
    ndarray of shape (n_fits, n_rows)

    Raises
    ------
    ValueError
        If the arrays do not fit each other.
    """
    cdef:
        Py_ssize_t n_fits = keys.shape[0], n = keys.shape[1], i, k
        double[:, ::1] kept = np.empty((n_fits, n))
        double[::1] key = np.empty(n), moved = np.empty(n)
        double largest, below, equal, share
    require(weight.shape[0] == n and n > 0, "weight")
    with nogil:
        for k in range(n_fits):
            for i in range(n):
                key[i], moved[i] = keys[k, i], weight[i]
            largest = level(&key[0], &moved[0], n, total)
            below, equal = 0, 0
            for i in range(n):
                below += weight[i] if keys[k, i] < largest else 0
                equal += weight[i] if keys[k, i] == largest else 0
            share = (total - below) / equal if equal > 0 else 0
            share = max(0.0, min(1.0, share))
            for i in range(n):
                kept[k, i] = weight[i] * (
                    1 if keys[k, i] < largest else share * (keys[k, i] == largest)
                )
    return np.asarray(kept)
