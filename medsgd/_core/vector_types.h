/* vector_loops.h for both types and the instruction set SET, of vectors of WIDTH bytes. */
#define T float
#define COUNT int32_t
#define SUFFIX f32
#define KERNELS medsgd_kernels_f32
#define ABS fabsf
#include "vector_loops.h"
#undef T
#undef COUNT
#undef SUFFIX
#undef KERNELS
#undef ABS

#define T double
#define COUNT int64_t
#define SUFFIX f64
#define KERNELS medsgd_kernels_f64
#define ABS fabs
#include "vector_loops.h"
#undef T
#undef COUNT
#undef SUFFIX
#undef KERNELS
#undef ABS

#undef SET
#undef WIDTH
#undef TARGET
