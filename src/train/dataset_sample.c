/* One sample as the model gets it: bytes to numbers, normalised, augmented.
 *
 * Augmentation, stream `augment`, step = epoch: a sample has 8 draws, so draw k of sample s is
 * element 8 s + k, where s is the sample's number in the data as opened (splitting changes no
 * draw). k 0  flip            below(2) == 1 k 1  flip_vertical   below(2) == 1 k 2, 3  shift by
 * rows, columns        below(2 shift + 1) - shift k 4, 5  window of crop_pad, rows, columns below(2
 * crop_pad + 1) - crop_pad A draw is made whether or not its neighbours are used, so switching one
 * on changes no other. Order: window, shift, flips. What moves in is zero in the data's own numbers
 * (black), so normalised like any other value. */
#include "train/dataset.h"

#include "base/error.h"
#include "base/rng.h"
#include "tensor/tensor.h"

#include <math.h>
#include <string.h>

enum { DRAWS = 8 };

/* ---- normalisation ---------------------------------------------------------------------- */

void kl_dataset_set_normalise(kl_dataset *d, const kl_normalise *n)
{
    if (!d) {
        return;
    }
    d->norm = n ? *n : (kl_normalise){0};
    const int given = d->norm.n > KL__NORM_MAX ? KL__NORM_MAX : d->norm.n;
    for (int c = 0; c < KL__NORM_MAX; c++) {
        d->mean[c] = c < given ? d->norm.mean[c] : 0.0f;
        d->std[c] = c < given ? d->norm.std[c] : 1.0f;
        for (int v = 0; v < 256; v++) {
            d->table[c][v] = ((float)v / 255.0f - d->mean[c]) / d->std[c];
        }
    }
}

void kl_dataset_get_normalise(const kl_dataset *d, kl_normalise *n)
{
    if (n) {
        *n = d ? d->norm : (kl_normalise){0};
    }
}

kl_status kl__dataset_check_normalise(const kl_dataset *d)
{
    char text[96];
    const int n = d->norm.n;
    if (n < 0 || n > KL__NORM_MAX || (n > 1 && n != d->store->shape.dim[0])) {
        return kl__fail(KL_E_SHAPE, "%s: normalisation of %d channels does not fit samples %s",
                        d->store->name, n, kl__shape_str(d->store->shape, text));
    }
    for (int c = 0; c < n; c++) {
        if (!isfinite(d->norm.mean[c]) || !isfinite(d->norm.std[c]) || !(d->norm.std[c] > 0)) {
            return kl__fail(KL_E_ARG, "%s: normalisation by mean %g and standard deviation %g",
                            d->store->name, (double)d->norm.mean[c], (double)d->norm.std[c]);
        }
    }
    return KL_OK;
}

/* ---- augmentation ----------------------------------------------------------------------- */

void kl_dataset_set_augment(kl_dataset *d, const kl_augment *a)
{
    if (d) {
        d->augment = a ? *a : (kl_augment){0};
    }
}

bool kl__dataset_augments(const kl_dataset *d)
{
    const kl_augment *a = &d->augment;
    return a->flip || a->flip_vertical || a->shift || a->crop_pad;
}

kl_status kl__dataset_check_augment(const kl_dataset *d)
{
    char text[96];
    const kl_augment *a = &d->augment;
    const kl_shape *s = &d->store->shape;
    if (!kl__dataset_augments(d)) {
        return KL_OK;
    }
    if (s->n_dims != 3) {
        return kl__fail(KL_E_SHAPE, "%s: augmentation is of pictures [C,H,W], not of samples %s",
                        d->store->name, kl__shape_str(*s, text));
    }
    const int64_t least = s->dim[1] < s->dim[2] ? s->dim[1] : s->dim[2];
    if (a->shift < 0 || a->crop_pad < 0 || a->shift >= least || a->crop_pad >= least) {
        return kl__fail(KL_E_ARG, "%s: augmentation by shift %d and crop_pad %d of pictures %s",
                        d->store->name, a->shift, a->crop_pad, kl__shape_str(*s, text));
    }
    return KL_OK;
}

/* Where an axis takes its values from: position j (before the flip) takes j + move, for lo <= j <
 * hi, else zero. */
typedef struct axis {
    ptrdiff_t n, lo, hi, move;
    bool flip;
} axis;

static axis axis_of(int64_t n, ptrdiff_t window, ptrdiff_t shift, bool flip)
{
    /* Both moves take zeros in, so what the window cut off does not come back by the shift. */
    const ptrdiff_t move = window + shift;
    axis a = {(ptrdiff_t)n, 0, (ptrdiff_t)n, move, flip};
    const ptrdiff_t least = shift < move ? shift : move, most = shift > move ? shift : move;
    a.lo = least < 0 ? -least : 0;
    a.hi = most > 0 ? a.n - most : a.n;
    return a;
}

static void draw_axes(const kl_dataset *d, size_t number, uint64_t seed, uint32_t epoch, axis *rows,
                      axis *columns)
{
    const kl_augment *a = &d->augment;
    const kl__rng r = kl__rng_of(seed, "augment", epoch);
    const uint64_t i = (uint64_t)number * DRAWS;
    const int64_t *dim = d->store->shape.dim;
    ptrdiff_t shift[2] = {0, 0}, window[2] = {0, 0};
    for (unsigned k = 0; k < 2; k++) {
        if (a->shift) {
            shift[k] =
                (ptrdiff_t)kl__rng_below(r, i + 2 + k, 2 * (uint32_t)a->shift + 1) - a->shift;
        }
        if (a->crop_pad) {
            window[k] =
                (ptrdiff_t)kl__rng_below(r, i + 4 + k, 2 * (uint32_t)a->crop_pad + 1) - a->crop_pad;
        }
    }
    const bool flip = a->flip && kl__rng_below(r, i, 2) == 1;
    const bool over = a->flip_vertical && kl__rng_below(r, i + 1, 2) == 1;
    *rows = axis_of(dim[1], window[0], shift[0], over);
    *columns = axis_of(dim[2], window[1], shift[1], flip);
}

/* ---- filling ---------------------------------------------------------------------------- */

static void convert(const kl_dataset *d, size_t c, size_t first, size_t n, float *x)
{
    const float *table = d->table[c], mean = d->mean[c], std = d->std[c];
    if (d->store->u8) {
        const uint8_t *p = d->store->u8 + first;
        for (size_t i = 0; i < n; i++) {
            x[i] = table[p[i]];
        }
    } else {
        const float *p = d->store->f32 + first;
        for (size_t i = 0; i < n; i++) {
            x[i] = (p[i] - mean) / std;
        }
    }
}

void kl__dataset_fill(const kl_dataset *d, size_t number, float *x)
{
    const size_t per = d->store->per, n = d->norm.n > 1 ? (size_t)d->norm.n : 1, plane = per / n;
    for (size_t c = 0; c < n; c++) {
        convert(d, c, number * per + c * plane, plane, x + c * plane);
    }
}

static void reverse(float *x, ptrdiff_t n)
{
    for (ptrdiff_t i = 0, j = n - 1; i < j; i++, j--) {
        const float t = x[i];
        x[i] = x[j];
        x[j] = t;
    }
}

static void fill_value(float *x, ptrdiff_t n, float v)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        x[i] = v;
    }
}

static void fill_plane(const kl_dataset *d, size_t c, size_t first, const axis *rows,
                       const axis *columns, float *x)
{
    const float zero = d->store->u8 ? d->table[c][0] : (0.0f - d->mean[c]) / d->std[c];
    const ptrdiff_t w = columns->n,
                    inside = columns->hi > columns->lo ? columns->hi - columns->lo : 0;
    for (ptrdiff_t y = 0; y < rows->n; y++, x += w) {
        const ptrdiff_t j = rows->flip ? rows->n - 1 - y : y;
        if (j < rows->lo || j >= rows->hi || inside == 0) {
            fill_value(x, w, zero);
            continue;
        }
        fill_value(x, columns->lo, zero);
        fill_value(x + columns->hi, w - columns->hi, zero);
        convert(d, c, first + (size_t)((j + rows->move) * w + columns->lo + columns->move),
                (size_t)inside, x + columns->lo);
        if (columns->flip) {
            reverse(x, w);
        }
    }
}

void kl__dataset_fill_augmented(const kl_dataset *d, size_t number, uint64_t seed, uint32_t epoch,
                                float *x)
{
    axis rows, columns;
    const size_t n = (size_t)d->store->shape.dim[0], plane = d->store->per / n;
    draw_axes(d, number, seed, epoch, &rows, &columns);
    for (size_t c = 0; c < n; c++) {
        fill_plane(d, d->norm.n > 1 ? c : 0, number * d->store->per + c * plane, &rows, &columns,
                   x + c * plane);
    }
}
