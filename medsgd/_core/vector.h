/* Loops over contiguous vectors, for float (_f32) and double (_f64).
 *
 * A gradient of a linear model is a scalar times a row, so the loops take the
 * pair (a, x) and never need a * x written out. Sums are kept in independent
 * lanes: the compiler may then vectorise them without -ffast-math.
 *
 * Each loop is compiled for several instruction sets. The best one of the processor is
 * chosen when the library is loaded, or the one that the environment variable
 * MEDSGD_INSTRUCTION_SET names. The lanes are the same for all instruction sets, and
 * products and sums are not contracted, so that results are the same to the last bit.
 */
#ifndef MEDSGD_VECTOR_H
#define MEDSGD_VECTOR_H

#include <stddef.h>

#if defined(__GNUC__) || defined(__clang__)
#define MEDSGD_PREFETCH(address) __builtin_prefetch(address)
#else
#define MEDSGD_PREFETCH(address) ((void)(address))
#endif

/* Prefetch memory, in cache lines. */
static inline void medsgd_prefetch(const void *start, size_t size) {
    for (size_t offset = 0; offset < size; offset += 64)
        MEDSGD_PREFETCH((const char *)start + offset);
}

/* Inner products of a row z with the coefficients, with itself and with the tracked
 * location. */
typedef struct {
    double along_coef, squared_norm, along_location;
} medsgd_products;

/* Sum of the bisquare, and of minus its derivative in the logarithm of the scale. */
typedef struct {
    double loss, slope;
} medsgd_bisquare;

#define MEDSGD_DECLARE(T, S)                                                        \
    typedef struct {                                                                \
        /* sum x * w */                                                             \
        double (*dot)(const T *x, const T *w, ptrdiff_t n);                         \
        /* sum |w| */                                                               \
        double (*l1_norm)(const T *w, ptrdiff_t n);                                 \
        /* w += a x */                                                              \
        void (*axpy)(double a, const T *x, T *w, ptrdiff_t n);                      \
        /* w *= a */                                                                \
        void (*multiply)(double a, T *w, ptrdiff_t n);                              \
        /* z.u, z.z and, unless m is NULL, z.m of z = (x - center) * inverse_scale, \
         * which is also stored; of z = x where center is NULL */                   \
        medsgd_products (*products)(const T *x, const T *center,                    \
                                    const T *inverse_scale, T *z, const T *u,       \
                                    const T *m, ptrdiff_t n);                       \
        /* |a x - m|^2 */                                                           \
        double (*squared_distance)(double a, const T *x, const T *m, ptrdiff_t n);  \
        /* m += c (a x - m), m = a x exactly for c = 1; returns |m|^2 */            \
        double (*follow)(double c, double a, const T *x, T *m, ptrdiff_t n);        \
        /* SPP for the l1 norm on m, radii tau or c_tau * s; adds to the counts of  \
         * coordinates with x != 0, and of those clipped */                         \
        void (*spp_l1)(double keep, double tau, double c_tau, double up,            \
                       double down, double a, const T *x, T *m, T *s, ptrdiff_t n,  \
                       double *n_seen, double *n_clipped);                          \
        /* cumulative L1 penalty on decay * u, where one of n_rows rows x_i is not   \
         * center (NULL: not 0), without rows everywhere: Tsuruoka, Tsujii,          \
         * Ananiadou, ACL 2009. sum_scale * u + sums stays as it is, unless sums is  \
         * NULL */                                                                  \
        void (*charge_l1)(double owed, double decay, double sum_scale,              \
                          const T *const *x, ptrdiff_t n_rows, const T *center,     \
                          T *u, T *paid, T *sums, ptrdiff_t n);                     \
        /* out = median of a_i x_i over i, coordinate by coordinate; each counted   \
         * w_i times unless w is NULL, 0 where all w_i are. room is for             \
         * MEDSGD_MEDIAN_ROOM * n numbers */                                        \
        void (*coordinate_median)(const T *const *x, const double *a,               \
                                  const double *w, ptrdiff_t n, ptrdiff_t d,        \
                                  T *room, T *out);                                 \
        /* the same of n numbers, whose order it changes along with that of w */    \
        double (*median)(T *v, T *w, ptrdiff_t n);                                  \
        /* sums of w_i (1 - k^3) and of 6 w_i k^2 (1 - k), k = max(0, 1 - (a r_i)^2); \
         * k is 0 where r_i is no number */                                         \
        medsgd_bisquare (*bisquare)(double a, const T *r, const T *w, ptrdiff_t n); \
    } medsgd_kernels_##S;                                                           \
    extern const medsgd_kernels_##S *medsgd_##S;

MEDSGD_DECLARE(float, f32)
MEDSGD_DECLARE(double, f64)
#undef MEDSGD_DECLARE

/* Name of the instruction set in use. */
extern const char *medsgd_instruction_set;

/* Coordinates that coordinate_median sorts at once. */
#define MEDSGD_MEDIAN_BLOCK 64
#define MEDSGD_MEDIAN_ROOM (2 * MEDSGD_MEDIAN_BLOCK + 2)

#endif
