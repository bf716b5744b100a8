/* The bodies of vector.h for one type T; vector.c includes this once per type. */

CLONES
double NAME(dot)(const T *x, const T *w, ptrdiff_t n) {
    T lane[LANES] = {0};
    ptrdiff_t j = 0;
    for (; j + LANES <= n; j += LANES)
        for (int k = 0; k < LANES; k++)
            lane[k] += x[j + k] * w[j + k];
    double sum = SUM_LANES(lane);
    for (; j < n; j++)
        sum += (double)x[j] * w[j];
    return sum;
}

double NAME(l1_norm)(const T *w, ptrdiff_t n) {
    double sum = 0;
    for (ptrdiff_t j = 0; j < n; j++)
        sum += ABS(w[j]);
    return sum;
}

CLONES
void NAME(axpy)(double a, const T *x, T *w, ptrdiff_t n) {
    const T b = (T)a;
    for (ptrdiff_t j = 0; j < n; j++)
        w[j] += b * x[j];
}

CLONES
void NAME(scale)(double a, T *w, ptrdiff_t n) {
    const T b = (T)a;
    for (ptrdiff_t j = 0; j < n; j++)
        w[j] *= b;
}

CLONES
double NAME(standardise)(const T *x, const T *center, const T *inverse_scale,
                         T *restrict z, ptrdiff_t n) {
    T lane[LANES] = {0};
    ptrdiff_t j = 0;
    for (; j + LANES <= n; j += LANES)
        for (int k = 0; k < LANES; k++) {
            const T standard = (x[j + k] - center[j + k]) * inverse_scale[j + k];
            z[j + k] = standard;
            lane[k] += standard * standard;
        }
    double sum = SUM_LANES(lane);
    for (; j < n; j++) {
        const T standard = (x[j] - center[j]) * inverse_scale[j];
        z[j] = standard;
        sum += (double)standard * standard;
    }
    return sum;
}

CLONES
double NAME(squared_distance)(double a, const T *x, const T *m, ptrdiff_t n) {
    const T b = (T)a;
    T lane[LANES] = {0};
    ptrdiff_t j = 0;
    for (; j + LANES <= n; j += LANES)
        for (int k = 0; k < LANES; k++) {
            const T r = b * x[j + k] - m[j + k];
            lane[k] += r * r;
        }
    double sum = SUM_LANES(lane);
    for (; j < n; j++) {
        const T r = b * x[j] - m[j]; /* infinite where follow would overflow */
        sum += (double)r * r;
    }
    return sum;
}

CLONES
void NAME(follow)(double c, double a, const T *x, T *m, ptrdiff_t n) {
    const T b = (T)a, rate = (T)c;
    if (c == 1) {
        for (ptrdiff_t j = 0; j < n; j++)
            m[j] = b * x[j];
    } else {
        for (ptrdiff_t j = 0; j < n; j++)
            m[j] += rate * (b * x[j] - m[j]);
    }
}

CLONES
ptrdiff_t NAME(spp_l1)(double keep, double tau, double c_tau, double up, double down,
                       double a, const T *x, T *m, T *s, ptrdiff_t n) {
    const T b = (T)a, rate = (T)keep, grow = (T)up, shrink = (T)down;
    const T fixed = (T)tau, factor = (T)c_tau;
    ptrdiff_t clipped = 0;
    for (ptrdiff_t j = 0; j < n; j++) {
        const T residual = b * x[j] - m[j];
        const T size = ABS(residual);
        const int seen = x[j] != 0;
        T radius = fixed;
        if (s) {
            /* The first residual seen sets a scale that nothing has set before. */
            const T moved = s[j] > 0 ? s[j] * (size > s[j] ? grow : shrink) : size;
            s[j] = seen && size > 0 && moved < INFINITY ? moved : s[j];
            radius = factor * s[j];
        }
        const T move = rate * residual;
        const int clip = ABS(move) > radius;
        m[j] += clip ? (residual > 0 ? radius : -radius) : move;
        clipped += clip && seen;
    }
    return clipped;
}

void NAME(charge_l1)(double owed, double scale, double sum_scale, const T *x, T *u,
                     T *paid, T *sums, ptrdiff_t n) {
    for (ptrdiff_t j = 0; j < n; j++) {
        if (x && x[j] == 0)
            continue;
        const double before = u[j];
        double after = before;
        if (before > 0) {
            after = before - (owed + paid[j]) / scale;
            after = after > 0 ? after : 0;
        } else if (before < 0) {
            after = before + (owed - paid[j]) / scale;
            after = after < 0 ? after : 0;
        }
        u[j] = (T)after;
        if (sums)
            sums[j] -= (T)(sum_scale * (after - before));
        paid[j] += (T)(scale * (after - before));
    }
}

static inline void NAME(order_rows)(T *low, T *high) {
    for (int k = 0; k < MEDSGD_MEDIAN_BLOCK; k++) {
        const T a = low[k], b = high[k];
        low[k] = a < b ? a : b;
        high[k] = a < b ? b : a;
    }
}

/* Batcher's odd-even merge sort: a fixed network, so whole rows go through at once. */
static void NAME(sort_rows)(T *rows, ptrdiff_t n) {
    for (ptrdiff_t p = 1; p < n; p *= 2)
        for (ptrdiff_t k = p; k >= 1; k /= 2)
            for (ptrdiff_t j = k % p; j + k < n; j += 2 * k)
                for (ptrdiff_t i = j; i < j + k && i + k < n; i++)
                    if (i / (2 * p) == (i + k) / (2 * p))
                        NAME(order_rows)(rows + i * MEDSGD_MEDIAN_BLOCK,
                                         rows + (i + k) * MEDSGD_MEDIAN_BLOCK);
}

CLONES
void NAME(coordinate_median)(const T *const *x, const double *a, ptrdiff_t n,
                             ptrdiff_t d, T *scratch, T *out) {
    for (ptrdiff_t start = 0; start < d; start += MEDSGD_MEDIAN_BLOCK) {
        const ptrdiff_t width =
            d - start < MEDSGD_MEDIAN_BLOCK ? d - start : MEDSGD_MEDIAN_BLOCK;
        for (ptrdiff_t i = 0; i < n; i++) {
            const T b = (T)a[i];
            T *row = scratch + i * MEDSGD_MEDIAN_BLOCK;
            for (ptrdiff_t k = 0; k < width; k++)
                row[k] = b * x[i][start + k];
            for (ptrdiff_t k = width; k < MEDSGD_MEDIAN_BLOCK; k++)
                row[k] = 0;
        }
        NAME(sort_rows)(scratch, n);
        const T *low = scratch + (n - 1) / 2 * MEDSGD_MEDIAN_BLOCK;
        const T *high = scratch + n / 2 * MEDSGD_MEDIAN_BLOCK;
        for (ptrdiff_t k = 0; k < width; k++) {
            const T middle = n % 2 ? low[k] : low[k] / 2 + high[k] / 2;
            out[start + k] = middle == middle ? middle : 0; /* -inf and +inf */
        }
    }
}
