/* Loops over contiguous vectors, for float (_f32) and double (_f64).
 *
 * A gradient of a linear model is a scalar times a row, so the loops take the
 * pair (a, x) and never need a * x written out. Sums are kept in independent
 * lanes: the compiler may then vectorise them without -ffast-math.
 */
#ifndef MEDSGD_VECTOR_H
#define MEDSGD_VECTOR_H

#include <stddef.h>

#if defined(__GNUC__) || defined(__clang__)
#define MEDSGD_PREFETCH(address) __builtin_prefetch(address)
#else
#define MEDSGD_PREFETCH(address) ((void)(address))
#endif

/* Ask for memory that is needed soon, in cache lines. */
static inline void medsgd_prefetch(const void *start, size_t size) {
    for (size_t offset = 0; offset < size; offset += 64)
        MEDSGD_PREFETCH((const char *)start + offset);
}

#define MEDSGD_DECLARE(T, S)                                                        \
    /* sum x * w */                                                                 \
    double dot_##S(const T *x, const T *w, ptrdiff_t n);                            \
    /* sum |w| */                                                                   \
    double l1_norm_##S(const T *w, ptrdiff_t n);                                    \
    /* w += a x */                                                                  \
    void axpy_##S(double a, const T *x, T *w, ptrdiff_t n);                         \
    /* w *= a */                                                                    \
    void scale_##S(double a, T *w, ptrdiff_t n);                                    \
    /* z = (x - center) * inverse_scale; returns |z|^2 */                           \
    double standardise_##S(const T *x, const T *center, const T *inverse_scale,     \
                           T *z, ptrdiff_t n);                                      \
    /* |a x - m|^2 */                                                               \
    double squared_distance_##S(double a, const T *x, const T *m, ptrdiff_t n);     \
    /* m += c (a x - m); m = a x exactly for c = 1 */                               \
    void follow_##S(double c, double a, const T *x, T *m, ptrdiff_t n);             \
    /* SPP for the l1 norm on m, radii tau or c_tau * s; returns how many of the    \
     * coordinates with x != 0 were clipped */                                      \
    ptrdiff_t spp_l1_##S(double keep, double tau, double c_tau, double up,          \
                         double down, double a, const T *x, T *m, T *s,             \
                         ptrdiff_t n);                                              \
    /* cumulative L1 penalty on scale * u, where x != 0 (x NULL: everywhere):        \
     * Tsuruoka, Tsujii, Ananiadou, ACL 2009. sum_scale * u + sums stays as it is,  \
     * unless sums is NULL */                                                       \
    void charge_l1_##S(double owed, double scale, double sum_scale, const T *x,     \
                       T *u, T *paid, T *sums, ptrdiff_t n);                        \
    /* out = median of a_i x_i over i, coordinate by coordinate */                  \
    void coordinate_median_##S(const T *const *x, const double *a, ptrdiff_t n,     \
                               ptrdiff_t d, T *scratch, T *out);

MEDSGD_DECLARE(float, f32)
MEDSGD_DECLARE(double, f64)
#undef MEDSGD_DECLARE

/* Coordinates that coordinate_median sorts at once; its scratch holds n times as many. */
#define MEDSGD_MEDIAN_BLOCK 64

#endif
