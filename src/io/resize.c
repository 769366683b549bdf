/* Resizing pictures, one axis after the other: bilinear where an axis grows, mean over the covered
 * box where it shrinks. Pixel i has its centre at i + 1/2, so that the picture's edges stay where
 * they are. */
#include "io/inside.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

/* Destination i is the sum of weight[start[i] + k] * source[first[i] + k]. */
typedef struct taps {
    size_t *first, *start; /* [n], [n + 1] */
    float *weight;
} taps;

static void taps_finish(taps *t)
{
    kl__free(t->first);
    kl__free(t->start);
    kl__free(t->weight);
}

/* Weights of destination i; gives how many. */
static size_t tap(size_t in, size_t out, size_t i, size_t *first, float *weight)
{
    const double scale = (double)in / (double)out;
    if (in <= out) { /* between the two nearest centres, the edge repeated */
        const double x = fmin(fmax(((double)i + 0.5) * scale - 0.5, 0.0), (double)(in - 1));
        *first = (size_t)x;
        const double f = x - (double)*first;
        weight[0] = (float)(1 - f);
        if (f == 0 || *first + 1 == in) {
            weight[0] = 1;
            return 1;
        }
        weight[1] = (float)f;
        return 2;
    }
    const double lo = (double)i * scale, hi = i + 1 == out ? (double)in : (double)(i + 1) * scale;
    size_t n = 0;
    *first = (size_t)lo;
    for (size_t k = *first; k < in && (double)k < hi; k++) {
        weight[n++] = (float)((fmin(hi, (double)(k + 1)) - fmax(lo, (double)k)) / (hi - lo));
    }
    return n;
}

static kl_status taps_init(taps *t, size_t in, size_t out)
{
    size_t n;
    /* boxes overlap by a pixel at each end, and there are never fewer than two taps */
    if (!kl__mul(out, 3, &n) || !kl__add(n, in, &n)) {
        return kl__no_memory(SIZE_MAX);
    }
    t->first = kl__calloc(out, sizeof *t->first);
    t->start = kl__calloc(out + 1, sizeof *t->start);
    t->weight = kl__calloc(n, sizeof *t->weight);
    if (!t->first || !t->start || !t->weight) {
        return kl__last_status();
    }
    for (size_t i = 0; i < out; i++) {
        t->start[i + 1] = t->start[i] + tap(in, out, i, &t->first[i], t->weight + t->start[i]);
    }
    return KL_OK;
}

typedef struct job {
    size_t c, ih, iw, oh, ow;
    taps across, down;
    float *rows; /* one plane, [ih, ow] */
    float *sum;  /* [ow] */
} job;

static void plane_across(const job *j, const uint8_t *src)
{
    for (size_t y = 0; y < j->ih; y++) {
        for (size_t x = 0; x < j->ow; x++) {
            const uint8_t *p = src + y * j->iw + j->across.first[x];
            float sum = 0;
            for (size_t k = j->across.start[x]; k < j->across.start[x + 1]; k++) {
                sum += j->across.weight[k] * (float)*p++;
            }
            j->rows[y * j->ow + x] = sum;
        }
    }
}

static void plane_down(const job *j, uint8_t *dst)
{
    for (size_t y = 0; y < j->oh; y++, dst += j->ow) {
        const float *row = j->rows + j->down.first[y] * j->ow;
        memset(j->sum, 0, j->ow * sizeof *j->sum);
        for (size_t k = j->down.start[y]; k < j->down.start[y + 1]; k++, row += j->ow) {
            const float w = j->down.weight[k];
            for (size_t x = 0; x < j->ow; x++) {
                j->sum[x] += w * row[x];
            }
        }
        for (size_t x = 0; x < j->ow; x++) {
            /* half up; the small push keeps weights that sum to a hair less than one from losing a
             * tie */
            const float v = j->sum[x] + 0.5f + 1e-4f;
            dst[x] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
        }
    }
}

static kl_status resize(job *j, const uint8_t *src, uint8_t *dst)
{
    size_t n;
    kl_status s = KL_OK;
    if (!kl__mul(j->ih, j->ow, &n)) {
        return kl__no_memory(SIZE_MAX);
    }
    if ((s = taps_init(&j->across, j->iw, j->ow)) != KL_OK ||
        (s = taps_init(&j->down, j->ih, j->oh)) != KL_OK) {
        goto out;
    }
    j->rows = kl__calloc(n, sizeof *j->rows);
    j->sum = kl__calloc(j->ow, sizeof *j->sum);
    if (!j->rows || !j->sum) {
        s = kl__last_status();
        goto out;
    }
    for (size_t c = 0; c < j->c; c++) {
        plane_across(j, src + c * j->ih * j->iw);
        plane_down(j, dst + c * j->oh * j->ow);
    }
out:
    taps_finish(&j->across);
    taps_finish(&j->down);
    kl__free(j->rows);
    kl__free(j->sum);
    return s;
}

kl_status kl__image_resize(const kl__array *in, int height, int width, kl__array *out)
{
    memset(out, 0, sizeof *out);
    size_t bytes = 0;
    if (in->elem != KL__U8 || in->n_dims != 3 || in->dim[0] < 1 || in->dim[1] < 1 ||
        in->dim[2] < 1 || kl__array_size("resize", in->elem, 3, in->dim, &bytes) ||
        bytes != in->n_bytes) {
        return kl__fail(KL_E_ARG,
                        "resize: the picture must be u8 [channels, height, width] and not empty");
    }
    if (height < 1 || width < 1) {
        return kl__fail(KL_E_ARG, "resize: to %d x %d (height x width)", height, width);
    }
    const int64_t dim[3] = {in->dim[0], height, width};
    kl_status s = kl__array_shape("resize", out, KL__U8, 3, dim);
    if (s) {
        return s;
    }
    if (!(out->data = kl__alloc(out->n_bytes))) {
        s = kl__last_status();
    } else {
        job j = {.c = (size_t)in->dim[0],
                 .ih = (size_t)in->dim[1],
                 .iw = (size_t)in->dim[2],
                 .oh = (size_t)height,
                 .ow = (size_t)width};
        s = resize(&j, in->data, out->data);
    }
    if (s) {
        kl__array_free(out);
    }
    return s;
}
