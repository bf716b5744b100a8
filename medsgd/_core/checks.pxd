"""Checks that loops without bounds checks rely on."""

from cython cimport floating
from libc.stdint cimport int32_t, int64_t, uint8_t

from medsgd._core.settings cimport Settings
from medsgd._core.vector cimport MEDIAN_ROOM

# SciPy's types of indices.
ctypedef fused Index:
    int32_t
    int64_t


cdef inline int require(bint holds, str name) except -1:
    """Raise ValueError unless an argument fits."""
    if not holds:
        raise ValueError(f"{name} does not fit the other arguments")
    return 0


cdef inline bint all_below(
    const Py_ssize_t* index, Py_ssize_t n, Py_ssize_t bound
) noexcept nogil:
    """Return whether all indices are from 0 to bound - 1."""
    # The highest bit of negative numbers is set. This test has no branch.
    cdef size_t wrong = 0, largest = bound - 1
    cdef Py_ssize_t i
    for i in range(n):
        wrong |= <size_t>index[i] | (largest - <size_t>index[i])
    return n == 0 or (bound > 0 and <Py_ssize_t>wrong >= 0)


cdef inline uint8_t highest(const uint8_t[::1] values) nogil:
    """The largest of the values, or 0."""
    cdef uint8_t result = 0
    cdef Py_ssize_t i
    for i in range(values.shape[0]):
        result = max(result, values[i])
    return result


cdef inline int check_pass(
    Settings cfg, state, const Py_ssize_t[:, ::1] iterations,
    const uint8_t[::1] strata, const floating[::1] y,
    const floating[::1] sample_weight, const double[::1] losses,
    Py_ssize_t n_samples, Py_ssize_t n_features,
) except -1:
    """Check the samples, strata and locations of a pass."""
    cdef Py_ssize_t size = iterations.shape[1], n = cfg.n_gradients
    cdef Py_ssize_t n_strata = len(state.location), width
    require(n_features > 0, "X")
    require(
        n > 0 and size % n == 0 and size // n == cfg.batch_size > 0
        # The bytes of room for so many gradients can be counted.
        and <double>n * (n + 2.0 * n_features + MEDIAN_ROOM + 10) < 2.0 ** 59,
        "iterations",
    )
    require(
        iterations.shape[0] == 0
        or all_below(&iterations[0, 0], iterations.shape[0] * size, n_samples),
        "iterations",
    )
    require(y.shape[0] == n_samples, "y")
    require(sample_weight.shape[0] == n_samples, "sample_weight")
    require(losses.shape[0] == n_samples, "losses")
    require(n_strata == 1 or n_strata == 2, "state.location")
    require(len(state.n_updates) == n_strata, "state.n_updates")
    require(len(state.shares) == n_strata, "state.shares")
    if n_strata == 2:
        require(strata.shape[0] == n_samples, "strata")
        require(highest(strata) < n_strata, "strata")
    if cfg.tracks_location:
        require(state.location.shape[1] == n_features + 1, "state.location")
        width = state.scale.shape[1]
        require(
            len(state.scale) == n_strata and width > 0
            and (not cfg.by_coordinate or width == n_features + 1),
            "state.scale",
        )
    return 0


cdef inline Py_ssize_t longest_row(
    const Index[::1] indptr, Py_ssize_t n_entries
) nogil:
    """Return the entries of the longest row; -1 if rows are out of range."""
    cdef Py_ssize_t i, n = 0, last = indptr.shape[0] - 1
    cdef bint right = last >= 0 and indptr[0] >= 0 and indptr[last] <= n_entries
    if not right:
        return -1
    for i in range(last):
        right &= indptr[i] <= indptr[i + 1]
        n = max(n, <Py_ssize_t>(indptr[i + 1] - indptr[i]))
    return n if right else -1
