"""Medians of a few vectors, each given as a scalar times a row."""

from cython cimport floating

from medsgd._core.settings cimport GradientEstimator

cdef struct Gradients:
    # Gradient i is (multiple[i] * x_i, intercept[i]), x_i a row of features.
    Py_ssize_t n
    double* multiple
    double* intercept
    double* sample_weight
    double* weight  # of its term in the median: sample weight times leverage weight
    double* squared_norm  # of x_i, where has_norms
    bint has_norms
    # x_0 . m of an only gradient, where has_inner.
    double inner
    bint has_inner
    double* work  # of 5 n doubles, for a geometric median n * n more

cdef class Room:
    # Memory for a pass. An array would take longer to make than a short pass.
    cdef char* start

cdef size_t size_of_gradients(
    Py_ssize_t n, GradientEstimator estimator
) noexcept nogil

cdef void place_gradients(Gradients* g, Py_ssize_t n, double* start) noexcept nogil

cdef double location_of(
    GradientEstimator estimator, const floating** x, const Gradients* g,
    Py_ssize_t n_features, floating* out, floating* room,
) noexcept nogil
