"""vector.h under one name for both floating types."""

from cython cimport floating


cdef extern from "vector.h" nogil:
    enum:
        MEDIAN_BLOCK "MEDSGD_MEDIAN_BLOCK"
    void prefetch "medsgd_prefetch"(const void*, size_t)
    double dot_f32(const float*, const float*, Py_ssize_t)
    double dot_f64(const double*, const double*, Py_ssize_t)
    double l1_norm_f32(const float*, Py_ssize_t)
    double l1_norm_f64(const double*, Py_ssize_t)
    void axpy_f32(double, const float*, float*, Py_ssize_t)
    void axpy_f64(double, const double*, double*, Py_ssize_t)
    void scale_f32(double, float*, Py_ssize_t)
    void scale_f64(double, double*, Py_ssize_t)
    double standardise_f32(const float*, const float*, const float*, float*,
                           Py_ssize_t)
    double standardise_f64(const double*, const double*, const double*, double*,
                           Py_ssize_t)
    double squared_distance_f32(double, const float*, const float*, Py_ssize_t)
    double squared_distance_f64(double, const double*, const double*, Py_ssize_t)
    void follow_f32(double, double, const float*, float*, Py_ssize_t)
    void follow_f64(double, double, const double*, double*, Py_ssize_t)
    Py_ssize_t spp_l1_f32(double, double, double, double, double, double,
                          const float*, float*, float*, Py_ssize_t)
    Py_ssize_t spp_l1_f64(double, double, double, double, double, double,
                          const double*, double*, double*, Py_ssize_t)
    void charge_l1_f32(double, double, double, const float*, float*, float*, float*,
                       Py_ssize_t)
    void charge_l1_f64(double, double, double, const double*, double*, double*,
                       double*, Py_ssize_t)
    void coordinate_median_f32(const float* const*, const double*, Py_ssize_t,
                               Py_ssize_t, float*, float*)
    void coordinate_median_f64(const double* const*, const double*, Py_ssize_t,
                               Py_ssize_t, double*, double*)


cdef inline double dot(
    const floating* x, const floating* w, Py_ssize_t n
) noexcept nogil:
    if floating is float:
        return dot_f32(x, w, n)
    else:
        return dot_f64(x, w, n)


cdef inline double l1_norm(const floating* w, Py_ssize_t n) noexcept nogil:
    if floating is float:
        return l1_norm_f32(w, n)
    else:
        return l1_norm_f64(w, n)


cdef inline void axpy(
    double a, const floating* x, floating* w, Py_ssize_t n
) noexcept nogil:
    if floating is float:
        axpy_f32(a, x, w, n)
    else:
        axpy_f64(a, x, w, n)


cdef inline void scale(double a, floating* w, Py_ssize_t n) noexcept nogil:
    if floating is float:
        scale_f32(a, w, n)
    else:
        scale_f64(a, w, n)


cdef inline double standardise(
    const floating* x, const floating* center, const floating* inverse_scale,
    floating* z, Py_ssize_t n
) noexcept nogil:
    if floating is float:
        return standardise_f32(x, center, inverse_scale, z, n)
    else:
        return standardise_f64(x, center, inverse_scale, z, n)


cdef inline double squared_distance(
    double a, const floating* x, const floating* m, Py_ssize_t n
) noexcept nogil:
    if floating is float:
        return squared_distance_f32(a, x, m, n)
    else:
        return squared_distance_f64(a, x, m, n)


cdef inline void follow(
    double c, double a, const floating* x, floating* m, Py_ssize_t n
) noexcept nogil:
    if floating is float:
        follow_f32(c, a, x, m, n)
    else:
        follow_f64(c, a, x, m, n)


cdef inline Py_ssize_t spp_l1(
    double keep, double tau, double c_tau, double up, double down,
    double a, const floating* x, floating* m, floating* s, Py_ssize_t n
) noexcept nogil:
    if floating is float:
        return spp_l1_f32(keep, tau, c_tau, up, down, a, x, m, s, n)
    else:
        return spp_l1_f64(keep, tau, c_tau, up, down, a, x, m, s, n)


cdef inline void charge_l1(
    double owed, double scale, double sum_scale, const floating* x, floating* u,
    floating* paid, floating* sums, Py_ssize_t n
) noexcept nogil:
    if floating is float:
        charge_l1_f32(owed, scale, sum_scale, x, u, paid, sums, n)
    else:
        charge_l1_f64(owed, scale, sum_scale, x, u, paid, sums, n)


cdef inline void coordinate_median(
    const floating* const* x, const double* a, Py_ssize_t n, Py_ssize_t d,
    floating* scratch, floating* out
) noexcept nogil:
    if floating is float:
        coordinate_median_f32(x, a, n, d, scratch, out)
    else:
        coordinate_median_f64(x, a, n, d, scratch, out)
