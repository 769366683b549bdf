/* Mean and standard deviation of a set, in double: bytes by counting them, numbers in two passes.
 */
#include "train/dataset.h"

#include "base/error.h"
#include "base/mem.h"

#include <math.h>

typedef struct layout {
    size_t n, plane; /* channels that have a pair of their own, elements of one */
} layout;

static layout layout_of(const kl__store *s)
{
    const size_t first = (size_t)s->shape.dim[0], n = first <= KL__NORM_MAX ? first : 1;
    return (layout){n, s->per / n};
}

/* A constant channel must not be divided by the noise of its own rounding. */
static float deviation(double mean, double variance)
{
    const double std = sqrt(variance > 0 ? variance : 0);
    return std > 1e-9 * fabs(mean) && (float)std > 0 ? (float)std : 1.0f;
}

static kl_status of_bytes(const kl_dataset *d, layout l, kl_normalise *out)
{
    const kl__store *s = d->store;
    uint64_t(*count)[256] = kl__calloc(l.n, sizeof *count);
    if (!count) {
        return KL_E_MEMORY;
    }
    for (size_t i = 0; i < d->n; i++) {
        const uint8_t *p = s->u8 + kl__dataset_number(d, i) * s->per;
        for (size_t c = 0; c < l.n; c++, p += l.plane) {
            for (size_t k = 0; k < l.plane; k++) {
                count[c][p[k]]++;
            }
        }
    }
    const double total = (double)d->n * (double)l.plane;
    for (size_t c = 0; c < l.n; c++) {
        double sum = 0, square = 0;
        for (int v = 0; v < 256; v++) {
            sum += v * (double)count[c][v];
        }
        const double mean = sum / total;
        for (int v = 0; v < 256; v++) {
            square += (v - mean) * (v - mean) * (double)count[c][v];
        }
        out->mean[c] = (float)(mean / 255);
        out->std[c] = deviation(mean / 255, square / total / 255 / 255);
    }
    kl__free(count);
    return KL_OK;
}

static kl_status sum_up(const kl_dataset *d, layout l, const double *mean, double *sum)
{
    const kl__store *s = d->store;
    for (size_t i = 0; i < d->n; i++) {
        const float *p = s->f32 + kl__dataset_number(d, i) * s->per;
        for (size_t k = 0; k < s->per; k++) {
            const size_t c = k / l.plane;
            if (!isfinite(p[k])) {
                return kl__fail(KL_E_NUMERIC, "%s: sample %zu, value %zu is %s", s->name, i, k,
                                isnan(p[k]) ? "NaN" : "infinite");
            }
            const double v = (double)p[k] - (mean ? mean[c] : 0);
            sum[c] += mean ? v * v : v;
        }
    }
    return KL_OK;
}

static kl_status of_numbers(const kl_dataset *d, layout l, kl_normalise *out)
{
    double mean[KL__NORM_MAX] = {0}, square[KL__NORM_MAX] = {0};
    const double total = (double)d->n * (double)l.plane;
    kl_status s = sum_up(d, l, NULL, mean);
    for (size_t c = 0; c < l.n; c++) {
        mean[c] /= total;
    }
    if (s == KL_OK) {
        s = sum_up(d, l, mean, square);
    }
    for (size_t c = 0; s == KL_OK && c < l.n; c++) {
        out->mean[c] = (float)mean[c];
        out->std[c] = deviation(mean[c], square[c] / total);
    }
    return s;
}

kl_status kl_dataset_statistics(const kl_dataset *d, kl_normalise *out)
{
    if (!d || !out) {
        return kl__fail(KL_E_ARG, "statistics: %s is NULL", d ? "the result" : "the data set");
    }
    *out = (kl_normalise){0};
    const layout l = layout_of(d->store);
    const kl_status s = d->store->u8 ? of_bytes(d, l, out) : of_numbers(d, l, out);
    out->n = s ? 0 : (int)l.n;
    return s;
}
