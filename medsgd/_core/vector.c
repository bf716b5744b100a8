#include "vector.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <immintrin.h>
/* a < b ? a : b, a > b ? a : b and where ? a : b, which compilers do not find in vectors.
 */
#define MIN_f32_baseline _mm_min_ps
#define MAX_f32_baseline _mm_max_ps
#define MIN_f64_baseline _mm_min_pd
#define MAX_f64_baseline _mm_max_pd
#define MIN_f32_avx2 _mm256_min_ps
#define MAX_f32_avx2 _mm256_max_ps
#define MIN_f64_avx2 _mm256_min_pd
#define MAX_f64_avx2 _mm256_max_pd
#define MIN_f32_avx512 _mm512_min_ps
#define MAX_f32_avx512 _mm512_max_ps
#define MIN_f64_avx512 _mm512_min_pd
#define MAX_f64_avx512 _mm512_max_pd
#define SELECT_f32_baseline BITS
#define SELECT_f64_baseline BITS
#define SELECT_f32_avx2(where, a, b) _mm256_blendv_ps(b, a, (VECTOR)(where))
#define SELECT_f64_avx2(where, a, b) _mm256_blendv_pd(b, a, (VECTOR)(where))
#define SELECT_f32_avx512 BITS
#define SELECT_f64_avx512 BITS
#define SEVERAL_SETS
#endif

#define BITS(where, a, b) (VECTOR)(((where) & (MASK)(a)) | (~(where) & (MASK)(b)))

#define SET baseline
#define WIDTH 16
#define TARGET
#include "vector_types.h"

const medsgd_kernels_f32 *medsgd_f32 = &kernels_f32_baseline;
const medsgd_kernels_f64 *medsgd_f64 = &kernels_f64_baseline;
const char *medsgd_instruction_set = "baseline";

#ifdef SEVERAL_SETS

#define SET avx2
#define WIDTH 32
#define TARGET __attribute__((target("avx2")))
#include "vector_types.h"

#define SET avx512
#define WIDTH 64
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#include "vector_types.h"

#define USE(set)                                                                    \
    (medsgd_f32 = &kernels_f32_##set, medsgd_f64 = &kernels_f64_##set,              \
     medsgd_instruction_set = #set)

/* Runs when the library is loaded. */
__attribute__((constructor)) static void choose_kernels(void) {
    const char *wanted = getenv("MEDSGD_INSTRUCTION_SET");
    const int any = wanted == NULL || *wanted == '\0';
    __builtin_cpu_init();
    if ((any || !strcmp(wanted, "avx2")) && __builtin_cpu_supports("avx2"))
        USE(avx2);
    if ((any || !strcmp(wanted, "avx512")) && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        USE(avx512);
}

#endif
