#include "vector.h"

#include <math.h>

#define LANES 16

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
