#include "vector.h"

#include <math.h>

/* The processor's vectors where the loader can choose; without fused multiply-adds, so
 * that the results are those of the plain loops. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__gnu_linux__)
#define CLONES __attribute__((target_clones("avx2", "default")))
#else
#define CLONES
#endif

/* Written out, in halves: the compiler then keeps the lanes in vector registers. */
#define LANES 8
#define SUM_LANES(a)                                                                \
    (((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7])))

#define T float
#define NAME(f) f##_f32
#define ABS fabsf
#include "vector_loops.h"
#undef T
#undef NAME
#undef ABS

#define T double
#define NAME(f) f##_f64
#define ABS fabs
#include "vector_loops.h"
