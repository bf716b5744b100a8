"""vector.h under one name for both floating types."""

from cython cimport floating


cdef extern from "vector.h" nogil:
    enum:
        MEDIAN_ROOM "MEDSGD_MEDIAN_ROOM"
    const char* c_instruction_set "medsgd_instruction_set"
    void prefetch "medsgd_prefetch"(const void*, size_t)

    ctypedef struct Products "medsgd_products":
        double along_coef
        double squared_norm
        double along_location

    ctypedef struct Bisquare "medsgd_bisquare":
        double loss
        double slope

    ctypedef struct KernelsF32 "medsgd_kernels_f32":
        double (*dot)(const float*, const float*, Py_ssize_t) noexcept nogil
        double (*l1_norm)(const float*, Py_ssize_t) noexcept nogil
        void (*axpy)(double, const float*, float*, Py_ssize_t) noexcept nogil
        void (*multiply)(double, float*, Py_ssize_t) noexcept nogil
        Products (*products)(
            const float*, const float*, const float*, float*, const float*,
            const float*, Py_ssize_t) noexcept nogil
        double (*squared_distance)(
            double, const float*, const float*, Py_ssize_t) noexcept nogil
        double (*follow)(
            double, double, const float*, float*, Py_ssize_t) noexcept nogil
        void (*spp_l1)(
            double, double, double, double, double, double, const float*, float*,
            float*, Py_ssize_t, double*, double*) noexcept nogil
        void (*charge_l1)(
            double, double, double, const float* const*, Py_ssize_t, const float*,
            float*, float*, float*, Py_ssize_t) noexcept nogil
        void (*coordinate_median)(
            const float* const*, const double*, const double*, Py_ssize_t,
            Py_ssize_t, float*, float*) noexcept nogil
        double (*median)(float*, float*, Py_ssize_t) noexcept nogil
        Bisquare (*bisquare)(
            double, const float*, const float*, Py_ssize_t) noexcept nogil

    ctypedef struct KernelsF64 "medsgd_kernels_f64":
        double (*dot)(const double*, const double*, Py_ssize_t) noexcept nogil
        double (*l1_norm)(const double*, Py_ssize_t) noexcept nogil
        void (*axpy)(double, const double*, double*, Py_ssize_t) noexcept nogil
        void (*multiply)(double, double*, Py_ssize_t) noexcept nogil
        Products (*products)(
            const double*, const double*, const double*, double*, const double*,
            const double*, Py_ssize_t) noexcept nogil
        double (*squared_distance)(
            double, const double*, const double*, Py_ssize_t) noexcept nogil
        double (*follow)(
            double, double, const double*, double*, Py_ssize_t) noexcept nogil
        void (*spp_l1)(
            double, double, double, double, double, double, const double*, double*,
            double*, Py_ssize_t, double*, double*) noexcept nogil
        void (*charge_l1)(
            double, double, double, const double* const*, Py_ssize_t, const double*,
            double*, double*, double*, Py_ssize_t) noexcept nogil
        void (*coordinate_median)(
            const double* const*, const double*, const double*, Py_ssize_t,
            Py_ssize_t, double*, double*) noexcept nogil
        double (*median)(double*, double*, Py_ssize_t) noexcept nogil
        Bisquare (*bisquare)(
            double, const double*, const double*, Py_ssize_t) noexcept nogil

    const KernelsF32* f32 "medsgd_f32"
    const KernelsF64* f64 "medsgd_f64"


cdef inline double dot(
    const floating* x, const floating* w, Py_ssize_t n
) noexcept nogil:
    if floating is float:
        return f32.dot(x, w, n)
    else:
        return f64.dot(x, w, n)


cdef inline double l1_norm(const floating* w, Py_ssize_t n) noexcept nogil:
    if floating is float:
        return f32.l1_norm(w, n)
    else:
        return f64.l1_norm(w, n)


cdef inline void axpy(
    double a, const floating* x, floating* w, Py_ssize_t n
) noexcept nogil:
    if floating is float:
        f32.axpy(a, x, w, n)
    else:
        f64.axpy(a, x, w, n)


cdef inline void multiply(double a, floating* w, Py_ssize_t n) noexcept nogil:
    if floating is float:
        f32.multiply(a, w, n)
    else:
        f64.multiply(a, w, n)


cdef inline Products products(
    const floating* x, const floating* center, const floating* inverse_scale,
    floating* z, const floating* u, const floating* m, Py_ssize_t n
) noexcept nogil:
    if floating is float:
        return f32.products(x, center, inverse_scale, z, u, m, n)
    else:
        return f64.products(x, center, inverse_scale, z, u, m, n)


cdef inline double squared_distance(
    double a, const floating* x, const floating* m, Py_ssize_t n
) noexcept nogil:
    if floating is float:
        return f32.squared_distance(a, x, m, n)
    else:
        return f64.squared_distance(a, x, m, n)


cdef inline double follow(
    double c, double a, const floating* x, floating* m, Py_ssize_t n
) noexcept nogil:
    if floating is float:
        return f32.follow(c, a, x, m, n)
    else:
        return f64.follow(c, a, x, m, n)


cdef inline void spp_l1(
    double keep, double tau, double c_tau, double up, double down, double a,
    const floating* x, floating* m, floating* s, Py_ssize_t n, double* n_seen,
    double* n_clipped
) noexcept nogil:
    if floating is float:
        f32.spp_l1(keep, tau, c_tau, up, down, a, x, m, s, n, n_seen, n_clipped)
    else:
        f64.spp_l1(keep, tau, c_tau, up, down, a, x, m, s, n, n_seen, n_clipped)


cdef inline void charge_l1(
    double owed, double decay, double sum_scale, const floating* const* x,
    Py_ssize_t n_rows, const floating* center, floating* u, floating* paid,
    floating* sums, Py_ssize_t n
) noexcept nogil:
    if floating is float:
        f32.charge_l1(
            owed, decay, sum_scale, x, n_rows, center, u, paid, sums, n
        )
    else:
        f64.charge_l1(
            owed, decay, sum_scale, x, n_rows, center, u, paid, sums, n
        )


cdef inline void coordinate_median(
    const floating* const* x, const double* a, const double* w, Py_ssize_t n,
    Py_ssize_t d, floating* room, floating* out
) noexcept nogil:
    if floating is float:
        f32.coordinate_median(x, a, w, n, d, room, out)
    else:
        f64.coordinate_median(x, a, w, n, d, room, out)
