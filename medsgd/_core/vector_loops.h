/* The bodies of vector.h for a type T and an instruction set: see vector_types.h. */

#define PASTE(name, suffix, set) name##_##suffix##_##set
#define EXPAND(name, suffix, set) PASTE(name, suffix, set)
#define NAME(name) EXPAND(name, SUFFIX, SET)
#define KERNEL TARGET static

/* Sums have LANES parts for every instruction set, in vectors that hold PART of them, or
 * in scalars if the compiler has no vectors. */
#define LANES ((int)(64 / sizeof(T)))
#if defined(__GNUC__) || defined(__clang__)
#define VECTOR_OF(bytes) __attribute__((vector_size(bytes), aligned(sizeof(T))))
#else
#define VECTOR_OF(bytes)
#endif
typedef T NAME(vector) VECTOR_OF(WIDTH);
typedef COUNT NAME(mask) VECTOR_OF(WIDTH);
typedef T NAME(quad) VECTOR_OF(4 * sizeof(T));
#define VECTOR NAME(vector)
#define MASK NAME(mask)
#define QUAD NAME(quad)
#define PART ((int)(sizeof(VECTOR) / sizeof(T)))
#define PARTS (LANES / PART)
#define FOUR ((int)(sizeof(QUAD) / sizeof(T)))
#define LOAD(type, address) (*(const type *)(address))
#define STORE(type, address, value) (*(type *)(address) = (value))

#if defined(SEVERAL_SETS)
#define MIN(a, b) NAME(MIN)(a, b)
#define MAX(a, b) NAME(MAX)(a, b)
#define SELECT(where, a, b) NAME(SELECT)(where, a, b)
#else
#if defined(__GNUC__) || defined(__clang__)
#define SELECT(where, a, b) BITS(where, a, b)
#else
#define SELECT(where, a, b) ((where) ? (a) : (b))
#endif
#define MIN(a, b) SELECT((a) < (b), a, b)
#define MAX(a, b) SELECT((a) > (b), a, b)
#endif

KERNEL inline double NAME(total)(const VECTOR *sum, const QUAD *four, T one) {
    T lane[LANES], last[4] = {0};
    memcpy(lane, sum, sizeof(lane));
    memcpy(last, four, sizeof(*four));
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int k = 0; k < width; k++)
            lane[k] += lane[k + width];
    return lane[0] + ((last[0] + last[2]) + (last[1] + last[3])) + one;
}

KERNEL double NAME(dot)(const T *x, const T *w, ptrdiff_t n) {
    VECTOR sum[PARTS] = {0};
    QUAD four = {0};
    T one = 0;
    ptrdiff_t j = 0;
    for (; j + LANES <= n; j += LANES)
        for (int p = 0; p < LANES; p += PART)
            sum[p / PART] += LOAD(VECTOR, x + j + p) * LOAD(VECTOR, w + j + p);
    for (; j + FOUR <= n; j += FOUR)
        four += LOAD(QUAD, x + j) * LOAD(QUAD, w + j);
    for (; j < n; j++)
        one += x[j] * w[j];
    return NAME(total)(sum, &four, one);
}

KERNEL double NAME(l1_norm)(const T *w, ptrdiff_t n) {
    double sum = 0;
    for (ptrdiff_t j = 0; j < n; j++)
        sum += ABS(w[j]);
    return sum;
}

KERNEL void NAME(axpy)(double a, const T *restrict x, T *restrict w, ptrdiff_t n) {
    const T b = (T)a;
    for (ptrdiff_t j = 0; j < n; j++)
        w[j] += b * x[j];
}

KERNEL void NAME(multiply)(double a, T *w, ptrdiff_t n) {
    const T b = (T)a;
    for (ptrdiff_t j = 0; j < n; j++)
        w[j] *= b;
}

/* Inlined with constant flags, so that each combination has a separate loop. */
KERNEL inline medsgd_products NAME(products_of)(
    const int standardised, const int tracked, const T *x, const T *center,
    const T *inverse_scale, T *restrict z, const T *u, const T *m, ptrdiff_t n) {
    VECTOR sum_u[PARTS] = {0}, sum_z[PARTS] = {0}, sum_m[PARTS] = {0};
    QUAD four_u = {0}, four_z = {0}, four_m = {0};
    T one_u = 0, one_z = 0, one_m = 0;
    ptrdiff_t j = 0;
#define ADD(type, u_sum, z_sum, m_sum)                                       \
    {                                                                               \
        type value = LOAD(type, x + j + p);                                         \
        if (standardised) {                                                         \
            value -= LOAD(type, center + j + p);                                    \
            value *= LOAD(type, inverse_scale + j + p);                             \
            STORE(type, z + j + p, value);                                          \
        }                                                                           \
        u_sum += value * LOAD(type, u + j + p);                                     \
        z_sum += value * value;                                                     \
        if (tracked)                                                                \
            m_sum += value * LOAD(type, m + j + p);                                 \
    }
    for (; j + LANES <= n; j += LANES)
        for (int p = 0; p < LANES; p += PART)
            ADD(VECTOR, sum_u[p / PART], sum_z[p / PART], sum_m[p / PART])
    const int p = 0;
    for (; j + FOUR <= n; j += FOUR)
        ADD(QUAD, four_u, four_z, four_m)
    for (; j < n; j++)
        ADD(T, one_u, one_z, one_m)
#undef ADD
    return (medsgd_products){
        NAME(total)(sum_u, &four_u, one_u),
        NAME(total)(sum_z, &four_z, one_z),
        tracked ? NAME(total)(sum_m, &four_m, one_m) : 0,
    };
}

KERNEL medsgd_products NAME(products)(const T *x, const T *center,
                                      const T *inverse_scale, T *z, const T *u,
                                      const T *m, ptrdiff_t n) {
    if (center)
        return m ? NAME(products_of)(1, 1, x, center, inverse_scale, z, u, m, n)
                 : NAME(products_of)(1, 0, x, center, inverse_scale, z, u, m, n);
    return m ? NAME(products_of)(0, 1, x, center, inverse_scale, z, u, m, n)
             : NAME(products_of)(0, 0, x, center, inverse_scale, z, u, m, n);
}

KERNEL medsgd_bisquare NAME(bisquare)(double a, const T *r, const T *w, ptrdiff_t n) {
    const T inverse = (T)a;
    VECTOR loss[PARTS] = {0}, slope[PARTS] = {0};
    const VECTOR zero = {0};
    const QUAD none = {0};
    T one_loss = 0, one_slope = 0;
    ptrdiff_t j = 0;
    for (; j + LANES <= n; j += LANES)
        for (int p = 0; p < LANES; p += PART) {
            const VECTOR ratio = LOAD(VECTOR, r + j + p) * inverse;
            const VECTOR weight = LOAD(VECTOR, w + j + p);
            /* In this order a ratio that is NaN gives 0. */
            const VECTOR kept = MAX(1 - ratio * ratio, zero);
            const VECTOR square = kept * kept;
            loss[p / PART] += weight * (1 - square * kept);
            slope[p / PART] += weight * (square * (1 - kept));
        }
    for (; j < n; j++) {
        const T ratio = r[j] * inverse, rest = 1 - ratio * ratio;
        const T kept = rest > 0 ? rest : 0, square = kept * kept;
        one_loss += w[j] * (1 - square * kept);
        one_slope += w[j] * (square * (1 - kept));
    }
    return (medsgd_bisquare){
        NAME(total)(loss, &none, one_loss),
        6 * NAME(total)(slope, &none, one_slope),
    };
}

KERNEL double NAME(squared_distance)(double a, const T *x, const T *m, ptrdiff_t n) {
    const T b = (T)a;
    VECTOR sum[PARTS] = {0};
    QUAD four = {0};
    T one = 0;
    ptrdiff_t j = 0;
    for (; j + LANES <= n; j += LANES)
        for (int p = 0; p < LANES; p += PART) {
            const VECTOR gap = b * LOAD(VECTOR, x + j + p) - LOAD(VECTOR, m + j + p);
            sum[p / PART] += gap * gap;
        }
    for (; j + FOUR <= n; j += FOUR) {
        const QUAD gap = b * LOAD(QUAD, x + j) - LOAD(QUAD, m + j);
        four += gap * gap;
    }
    for (; j < n; j++)
        one += (b * x[j] - m[j]) * (b * x[j] - m[j]);
    return NAME(total)(sum, &four, one); /* infinite where follow would overflow */
}

KERNEL double NAME(follow)(double c, double a, const T *restrict x, T *restrict m,
                           ptrdiff_t n) {
    const T b = (T)a, rate = (T)c;
    if (c == 1)
        for (ptrdiff_t j = 0; j < n; j++)
            m[j] = b * x[j];
    else
        for (ptrdiff_t j = 0; j < n; j++)
            m[j] += rate * (b * x[j] - m[j]);
    return NAME(dot)(m, m, n);
}

KERNEL inline void NAME(spp_l1_of)(const int tracked, double keep, double tau,
                                   double c_tau, double up, double down, double a,
                                   const T *restrict x, T *restrict m, T *restrict s,
                                   ptrdiff_t n, double *n_seen, double *n_clipped) {
    const T b = (T)a, rate = (T)keep, grow = (T)up, shrink = (T)down;
    const T factor = (T)c_tau;
    T radius = (T)tau;
    COUNT seen = 0, clipped = 0;
    for (ptrdiff_t j = 0; j < n; j++) {
        const T residual = b * x[j] - m[j];
        const T size = ABS(residual);
        const COUNT present = x[j] != 0;
        if (tracked) {
            /* The first residual sets a scale that is not set. */
            const T before = s[j];
            const T step = before * (size > before ? grow : shrink);
            const T moved = before > 0 ? step : size;
            const COUNT useful = present & (size > 0) & (moved < INFINITY);
            const T after = useful ? moved : before;
            s[j] = after;
            radius = factor * after;
        }
        const T move = rate * residual;
        const T capped = move > radius ? radius : move;
        m[j] += capped < -radius ? -radius : capped;
        seen += present;
        clipped += present & (ABS(move) > radius);
    }
    *n_seen += seen;
    *n_clipped += clipped;
}

KERNEL void NAME(spp_l1)(double keep, double tau, double c_tau, double up,
                         double down, double a, const T *x, T *m, T *s, ptrdiff_t n,
                         double *n_seen, double *n_clipped) {
    if (s)
        NAME(spp_l1_of)(1, keep, tau, c_tau, up, down, a, x, m, s, n, n_seen,
                        n_clipped);
    else
        NAME(spp_l1_of)(0, keep, tau, c_tau, up, down, a, x, m, s, n, n_seen,
                        n_clipped);
}

/* Whether some row is not center, by column. */
KERNEL inline void NAME(find_present)(const T *const *x, ptrdiff_t n_rows,
                                      ptrdiff_t start, const T *center, T *present,
                                      ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n_rows; i++) {
        const T *row = x[i] + start;
        for (ptrdiff_t j = 0; j < n; j++) {
            const T before = i ? present[j] : 0;
            present[j] = row[j] == (center ? center[start + j] : 0) ? before : 1;
        }
    }
}

/* Conditions choose between values. Compilers do not use vectors if conditions choose
 * whether to store. */
KERNEL void NAME(charge_l1)(double owed, double decay, double sum_scale,
                            const T *const *x, ptrdiff_t n_rows, const T *center,
                            T *u, T *paid, T *sums, ptrdiff_t n) {
    T present[MEDSGD_MEDIAN_BLOCK];
    const ptrdiff_t width = n_rows ? MEDSGD_MEDIAN_BLOCK : n;
    for (ptrdiff_t start = 0; start < n; start += width) {
        const ptrdiff_t stop = start + width < n ? start + width : n;
        if (center)
            NAME(find_present)(x, n_rows, start, center, present, stop - start);
        else
            NAME(find_present)(x, n_rows, start, NULL, present, stop - start);
        for (ptrdiff_t j = start; j < stop; j++) {
            const double before = u[j];
            double after = before;
            if (before > 0) {
                after = before - (owed + paid[j]) / decay;
                after = after > 0 ? after : 0;
            } else if (before < 0) {
                after = before + (owed - paid[j]) / decay;
                after = after < 0 ? after : 0;
            }
            if (n_rows)
                after = present[j - start] != 0 ? after : before;
            u[j] = (T)after;
            if (sums)
                sums[j] -= (T)(sum_scale * (after - before));
            paid[j] += (T)(decay * (after - before));
        }
    }
}

/* The lower values of two rows to the first, with their weights where there are. */
KERNEL inline void NAME(order_rows)(T *low, T *high, T *v, T *w) {
    for (int k = 0; k < MEDSGD_MEDIAN_BLOCK; k += PART) {
        const VECTOR a = LOAD(VECTOR, low + k), b = LOAD(VECTOR, high + k);
        STORE(VECTOR, low + k, MIN(a, b));
        STORE(VECTOR, high + k, MAX(b, a));
        if (v) {
            const VECTOR c = LOAD(VECTOR, v + k), d = LOAD(VECTOR, w + k);
            STORE(VECTOR, v + k, SELECT(a < b, c, d));
            STORE(VECTOR, w + k, SELECT(a < b, d, c));
        }
    }
}

/* Batcher's odd-even merge sort: a fixed network, so whole rows go through at once. */
KERNEL void NAME(sort_rows)(T *rows, T *weights, ptrdiff_t n) {
    const ptrdiff_t width = MEDSGD_MEDIAN_BLOCK;
    for (ptrdiff_t p = 1; p < n; p *= 2)
        for (ptrdiff_t k = p; k >= 1; k /= 2)
            for (ptrdiff_t j = k & (p - 1); j + k < n; j += 2 * k)
                for (ptrdiff_t i = j; i < j + k && i + k < n; i++) {
                    if ((i ^ (i + k)) & ~(2 * p - 1)) /* not of one run of 2 p */
                        continue;
                    T *low = rows + i * width, *high = low + k * width;
                    if (weights)
                        NAME(order_rows)(low, high, weights + i * width,
                                         weights + (i + k) * width);
                    else
                        NAME(order_rows)(low, high, NULL, NULL);
                }
}

/* Hoare's selection, with parts of smaller, equal and larger numbers; few are sorted. */
KERNEL double NAME(median)(T *v, T *w, ptrdiff_t n) {
    ptrdiff_t first = 0, last = n - 1;
    if (!w && n <= 16) {
        for (ptrdiff_t i = 1; i < n; i++) {
            const T value = v[i];
            ptrdiff_t j = i;
            for (; j > 0 && v[j - 1] > value; j--)
                v[j] = v[j - 1];
            v[j] = value;
        }
        const double middle = 0.5 * v[(n - 1) / 2] + 0.5 * v[n / 2];
        return middle == middle ? middle : 0; /* of -inf and +inf */
    }
    double half = 0, below = 0, above = NAN;
    uint32_t random = 1;
    for (ptrdiff_t i = 0; i < n; i++)
        half += w ? 0.5 * w[i] : 0.5;
    while (first <= last) {
        random ^= random << 13, random ^= random >> 17, random ^= random << 5;
        const T pivot = v[first + (ptrdiff_t)(random % (uint64_t)(last - first + 1))];
        ptrdiff_t low = first, high = last;
        double smaller = 0, equal = 0;
        for (ptrdiff_t i = first; i <= high;) {
            const T value = v[i], weight = w ? w[i] : 1;
            ptrdiff_t to = i;
            if (value < pivot)
                to = low++, smaller += weight;
            else if (value > pivot)
                to = high--;
            else
                equal += weight;
            v[i] = v[to], v[to] = value;
            if (w)
                w[i] = w[to], w[to] = weight;
            i += to <= i;
        }
        if (below + smaller > half) {
            last = low - 1;
            above = pivot;
        } else if (below + smaller + equal > half) {
            if (below + smaller < half)
                return pivot;
            last = low - 1;
            above = pivot;
            break;
        } else {
            below += smaller + equal;
            first = high + 1;
        }
    }
    /* Half of the weight, but for rounding, is that of smaller numbers than `above`. */
    T other = -INFINITY;
    for (ptrdiff_t i = 0; i <= last; i++)
        if (v[i] > other && (!w || w[i] > 0))
            other = v[i];
    const double middle = 0.5 * other + 0.5 * above;
    return middle == middle ? middle : 0; /* of -inf and +inf, or of no weight */
}

/* The medians of the columns of sorted rows. */
KERNEL void NAME(middle_of)(const T *rows, ptrdiff_t n, T *restrict middle) {
    const ptrdiff_t width = MEDSGD_MEDIAN_BLOCK;
    const T *low = rows + (n - 1) / 2 * width, *high = rows + n / 2 * width;
    for (int k = 0; k < MEDSGD_MEDIAN_BLOCK; k++)
        middle[k] = n % 2 ? low[k] : low[k] / 2 + high[k] / 2;
}

/* The same with weights: the mean of two where half of them lie on either side. */
KERNEL void NAME(weighted_middle_of)(const T *rows, const T *weights, double half,
                                     ptrdiff_t n, T *restrict middle) {
    const T limit = (T)half;
    for (int k = 0; k < MEDSGD_MEDIAN_BLOCK; k += PART) {
        VECTOR below = {0}, last = {0}, found = {0};
        for (ptrdiff_t i = 0; i < n; i++) {
            const VECTOR value = LOAD(VECTOR, rows + i * MEDSGD_MEDIAN_BLOCK + k);
            const VECTOR after =
                below + LOAD(VECTOR, weights + i * MEDSGD_MEDIAN_BLOCK + k);
            last = SELECT((below < limit) & (after >= limit), value, last);
            found = SELECT((below <= limit) & (after > limit),
                           (T)0.5 * last + (T)0.5 * value, found);
            below = after;
        }
        STORE(VECTOR, middle + k, found);
    }
}

/* Medians of three and of five in registers. */
KERNEL inline VECTOR NAME(median_of_3)(VECTOR a, VECTOR b, VECTOR c) {
    const VECTOR low = MIN(a, b), high = MAX(a, b), least = MIN(high, c);
    return MAX(low, least);
}

KERNEL inline VECTOR NAME(median_of_5)(VECTOR a, VECTOR b, VECTOR c, VECTOR d,
                                       VECTOR e) {
    const VECTOR low_1 = MIN(a, b), high_1 = MAX(a, b);
    const VECTOR low_2 = MIN(c, d), high_2 = MAX(c, d);
    return NAME(median_of_3)(MAX(low_1, low_2), MIN(high_1, high_2), e);
}

KERNEL void NAME(median_of_few)(const T *const *x, const T *a, ptrdiff_t n,
                                       ptrdiff_t d, T *out) {
    ptrdiff_t j = 0;
    if (n == 3)
        for (; j + PART <= d; j += PART) {
            const VECTOR p = a[0] * LOAD(VECTOR, x[0] + j);
            const VECTOR q = a[1] * LOAD(VECTOR, x[1] + j);
            const VECTOR r = a[2] * LOAD(VECTOR, x[2] + j);
            STORE(VECTOR, out + j, NAME(median_of_3)(p, q, r));
        }
    else
        for (; j + PART <= d; j += PART) {
            const VECTOR p = a[0] * LOAD(VECTOR, x[0] + j);
            const VECTOR q = a[1] * LOAD(VECTOR, x[1] + j);
            const VECTOR r = a[2] * LOAD(VECTOR, x[2] + j);
            const VECTOR s = a[3] * LOAD(VECTOR, x[3] + j);
            const VECTOR t = a[4] * LOAD(VECTOR, x[4] + j);
            STORE(VECTOR, out + j, NAME(median_of_5)(p, q, r, s, t));
        }
    if (j < d) {
        T last[5][PART] = {{0}}, middle[PART];
        const T *rows[5];
        for (ptrdiff_t i = 0; i < n; i++) {
            memcpy(last[i], x[i] + j, (d - j) * sizeof(T));
            rows[i] = last[i];
        }
        NAME(median_of_few)(rows, a, n, PART, middle);
        memcpy(out + j, middle, (d - j) * sizeof(T));
    }
}

/* Above so many rows selection is faster than the network, measured with AVX2. */
#define MOST_SORTED (w ? 64 : 200)

KERNEL void NAME(coordinate_median)(const T *const *x, const double *a,
                                    const double *w, ptrdiff_t n, ptrdiff_t d,
                                    T *room, T *out) {
    const ptrdiff_t block = MEDSGD_MEDIAN_BLOCK;
    T *weights = w ? room + n * block : NULL, *values = room + 2 * n * block;
    double half = 0;
    if (!w && (n == 3 || n == 5)) {
        T b[5];
        for (ptrdiff_t i = 0; i < n; i++)
            b[i] = (T)a[i];
        NAME(median_of_few)(x, b, n, d, out);
        return;
    }
    for (ptrdiff_t i = 0; w && i < n; i++)
        half += 0.5 * w[i];
    for (ptrdiff_t start = 0; start < d; start += block) {
        const ptrdiff_t width = d - start < block ? d - start : block;
        for (ptrdiff_t i = 0; i < n; i++) {
            const T b = (T)a[i];
            T *row = room + i * block;
            for (ptrdiff_t k = 0; k < width; k++)
                row[k] = b * x[i][start + k];
            for (ptrdiff_t k = width; k < block; k++)
                row[k] = 0;
            for (ptrdiff_t k = 0; w && k < block; k++)
                weights[i * block + k] = (T)w[i];
        }
        T middle[MEDSGD_MEDIAN_BLOCK];
        if (n <= MOST_SORTED) {
            NAME(sort_rows)(room, weights, n);
            if (w)
                NAME(weighted_middle_of)(room, weights, half, n, middle);
            else
                NAME(middle_of)(room, n, middle);
        } else {
            for (ptrdiff_t k = 0; k < width; k++) {
                for (ptrdiff_t i = 0; i < n; i++) {
                    values[i] = room[i * block + k];
                    if (w)
                        values[n + i] = (T)w[i];
                }
                middle[k] = (T)NAME(median)(values, w ? values + n : NULL, n);
            }
        }
        for (ptrdiff_t k = 0; k < width; k++)
            out[start + k] = middle[k] == middle[k] ? middle[k] : 0; /* -inf, +inf */
    }
}

static const KERNELS NAME(kernels) = {
    NAME(dot),
    NAME(l1_norm),
    NAME(axpy),
    NAME(multiply),
    NAME(products),
    NAME(squared_distance),
    NAME(follow),
    NAME(spp_l1),
    NAME(charge_l1),
    NAME(coordinate_median),
    NAME(median),
    NAME(bisquare),
};

#undef PASTE
#undef EXPAND
#undef NAME
#undef KERNEL
#undef LANES
#undef VECTOR
#undef MIN
#undef MAX
#undef SELECT
#undef MASK
#undef PART
#undef PARTS
#undef QUAD
#undef FOUR
#undef VECTOR_OF
#undef LOAD
#undef STORE
#undef MOST_SORTED
