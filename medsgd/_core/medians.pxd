"""Medians of a few vectors, each given as a scalar times a row."""

from cython cimport floating

from medsgd._core.settings cimport GradientEstimator

cdef struct Gradients:
    # Gradient i is (scale[i] * x_i, intercept[i]), x_i a row of features.
    Py_ssize_t n
    double* scale
    double* intercept
    double* sample_weight
    double* weight  # of its term in the median: sample weight times leverage weight
    # Of n * (n + 4) doubles: room for the functions below.
    double* work

cdef double location_of(
    GradientEstimator estimator, const floating** x, const Gradients* g,
    Py_ssize_t n_features, floating* out, floating* scratch,
) noexcept nogil

cdef double weighted_median(
    double* values, const double* weights, double* sorted_weights, Py_ssize_t n
) noexcept nogil

cdef void geometric_median_weights(
    double* gram, const double* weights, double* distance, double* share, Py_ssize_t n
) noexcept nogil
