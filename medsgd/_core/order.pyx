"""The order in which a pass visits its samples."""

from libc.stdint cimport uint8_t, uint32_t

import numpy as np

from medsgd._core.checks cimport all_below, highest, require


cdef inline uint32_t random_integer(uint32_t* state) noexcept nogil:
    """Return the next number of Marsaglia's xorshift, as in scikit-learn."""
    if state[0] == 0:
        state[0] = 1
    state[0] ^= <uint32_t>(state[0] << 13)
    state[0] ^= <uint32_t>(state[0] >> 17)
    state[0] ^= <uint32_t>(state[0] << 5)
    return state[0] % <uint32_t>2147483648


def shuffle(Py_ssize_t[::1] order, uint32_t seed):
    """Permute in place (Fisher and Yates)."""
    cdef Py_ssize_t i, j, n = order.shape[0]
    cdef uint32_t n_left
    with nogil:
        for i in range(n - 1):
            # The random numbers are below 2^31, for which a fast division is enough.
            n_left = <uint32_t>min(n - i, <Py_ssize_t>1 << 31)
            j = i + random_integer(&seed) % n_left
            order[i], order[j] = order[j], order[i]


def group(
    const Py_ssize_t[::1] order, const uint8_t[::1] strata, Py_ssize_t n_strata,
    Py_ssize_t size,
):
    """Return the iterations of a pass, a row each, of a stratum's next samples.

    A stratum has an iteration as soon as it has ``size`` samples. The last iteration of
    a stratum is filled up with its first samples, so that every median is over ``size``
    samples.
    """
    cdef Py_ssize_t i, k, row, start, n = order.shape[0]
    require(size > 0, "size")
    require(n_strata > 0, "n_strata")
    if n_strata == 1 and n >= size:
        whole = np.asarray(order)
        if n % size:
            whole = np.concatenate([whole, whole[:size - n % size]])
        return whole.reshape(-1, size)
    if n_strata > 1:
        require(n == 0 or all_below(&order[0], n, strata.shape[0]), "order")
        require(highest(strata) < n_strata, "strata")
    gathered_rows = np.empty((n_strata, size), dtype=np.intp)
    gathered_counts = np.zeros(n_strata, dtype=np.intp)
    result = np.empty((n // size + n_strata, size), dtype=np.intp)
    cdef Py_ssize_t[:, ::1] rows = gathered_rows, iterations = result
    cdef Py_ssize_t[::1] counts = gathered_counts
    cdef Py_ssize_t n_iterations = 0, n_open = 0

    with nogil:
        start = 0
        i = 0
        while True:
            if i == n:
                if start == 0:
                    # In the second loop only incomplete iterations are filled up.
                    start = 1
                    for k in range(n_strata):
                        n_open += counts[k] > 0
                if n_open == 0:
                    break
                i = 0
            row = order[i]
            i += 1
            k = strata[row] if n_strata > 1 else 0
            if start == 1 and counts[k] == 0:
                continue
            rows[k, counts[k]] = row
            counts[k] += 1
            if counts[k] == size:
                iterations[n_iterations] = rows[k]
                n_iterations += 1
                counts[k] = 0
                n_open -= start
    return result[:n_iterations]
