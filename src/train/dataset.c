/* Data sets: the store, what may be asked of it, and splitting. Readers of files are in
 * dataset_*.c. */
#include "train/dataset.h"

#include "base/mem.h"
#include "base/rng.h"
#include "tensor/tensor.h"

#include <math.h>
#include <string.h>

static void store_release(kl__store *s)
{
    if (!s || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0) {
        return;
    }
    for (int k = 0; s->names && k < s->n_classes; k++) {
        kl__free(s->names[k]);
    }
    kl__free(s->names);
    kl__free(s->name);
    kl__free(s->u8);
    kl__free(s->f32);
    kl__free(s->labels);
    kl__free(s);
}

/* ---- making: checks on what a reader found ---------------------------------------------- */

static kl_status shape_of(const kl__raw *r, kl__store *s)
{
    char given[96], found[96];
    const kl__array *x = &r->x;
    kl_shape in = {x->n_dims - 1, {0}};
    if (x->n_dims < 1 || x->n_dims > KL_MAX_DIMS) {
        return kl__fail(KL_E_SHAPE, "%s: an array of rank %d; samples come as rank 1 to %d",
                        r->x_file, x->n_dims, KL_MAX_DIMS);
    }
    if (x->dim[0] < 1) {
        return kl__fail(KL_E_ARG, "%s: no samples", r->x_file);
    }
    if ((uint64_t)x->dim[0] > UINT32_MAX) {
        return kl__fail(KL_E_UNSUPPORTED, "%s: %lld samples; up to 2^32 - 1 are possible",
                        r->x_file, (long long)x->dim[0]);
    }
    for (int i = 1; i < x->n_dims; i++) {
        in.dim[i - 1] = x->dim[i];
    }
    if (kl_shape_count(in) < 1) {
        return kl__fail(KL_E_SHAPE, "%s: samples of shape %s have no elements", r->x_file,
                        kl__shape_str(in, found));
    }
    s->n = (size_t)x->dim[0];
    s->per = (size_t)kl_shape_count(in);
    if (r->shape.n_dims && kl_shape_count(r->shape) != (int64_t)s->per) {
        return kl__fail(KL_E_SHAPE, "%s: samples have %zu values, which do not make %s", r->x_file,
                        s->per, kl__shape_str(r->shape, given));
    }
    if (r->shape.n_dims) {
        s->shape = r->shape;
    } else if (in.n_dims == 2) {
        s->shape = (kl_shape){3, {1, in.dim[0], in.dim[1]}}; /* a picture of one channel */
    } else if (in.n_dims == 0) {
        s->shape = (kl_shape){1, {1}};
    } else {
        s->shape = in;
    }
    return KL_OK;
}

static kl_status to_float(kl__raw *r, kl__store *s)
{
    const size_t n = s->n * s->per;
    if (r->x.elem == KL__F32) {
        s->f32 = r->x.data;
        r->x.data = NULL;
    } else if ((s->f32 = kl__calloc(n, sizeof *s->f32)) == NULL) {
        return KL_E_MEMORY;
    } else {
        kl__array_to_float(&r->x, 0, n, s->f32);
    }
    for (size_t i = 0; r->scale != 0 && r->scale != 1 && i < n; i++) {
        s->f32[i] = (float)(s->f32[i] * r->scale);
    }
    for (size_t i = 0; !r->any_number && i < n; i++) {
        if (!isfinite(s->f32[i])) {
            return kl__fail(KL_E_NUMERIC, "%s: sample %zu, value %zu is %s", r->x_file, i / s->per,
                            i % s->per, isnan(s->f32[i]) ? "NaN" : "infinite or too large");
        }
    }
    return KL_OK;
}

static kl_status one_label(const kl__raw *r, size_t i, int32_t *out)
{
    float v;
    kl__array_to_float(&r->y, i, 1, &v);
    if (!(v == floorf(v))) {
        return kl__fail(KL_E_FORMAT, "%s: the label of sample %zu is %g, which is no whole number",
                        r->y_file, i, (double)v);
    }
    if (v < 0) {
        return kl__fail(KL_E_FORMAT, "%s: the label of sample %zu is %g; classes count from 0",
                        r->y_file, i, (double)v);
    }
    if (r->n_classes && v >= (float)r->n_classes) {
        return kl__fail(KL_E_FORMAT, "%s: the label of sample %zu is %g; there are %d classes",
                        r->y_file, i, (double)v, r->n_classes);
    }
    if (v >= KL__CLASSES_MAX) {
        return kl__fail(KL_E_FORMAT,
                        "%s: the label of sample %zu is %g; up to %d classes are possible",
                        r->y_file, i, (double)v, KL__CLASSES_MAX);
    }
    *out = (int32_t)v;
    return KL_OK;
}

static kl_status take_labels(const kl__raw *r, kl__store *s)
{
    int32_t most = 0;
    size_t n = 1;
    for (int i = 0; i < r->y.n_dims; i++) {
        n *= (size_t)r->y.dim[i];
    }
    if (r->y.n_dims > 1 && r->y.dim[0] > 0 && n != (size_t)r->y.dim[0]) {
        return kl__fail(KL_E_SHAPE,
                        "%s: %zu values for %lld samples; one whole number each is a label",
                        r->y_file, n, (long long)r->y.dim[0]);
    }
    if (n != s->n) {
        return kl__fail(KL_E_SHAPE, "%s has %zu samples, but %s has %zu labels", r->x_file, s->n,
                        r->y_file, n);
    }
    if ((s->labels = kl__calloc(n, sizeof *s->labels)) == NULL) {
        return KL_E_MEMORY;
    }
    for (size_t i = 0; i < n; i++) {
        const kl_status st = one_label(r, i, &s->labels[i]);
        if (st) {
            return st;
        }
        most = s->labels[i] > most ? s->labels[i] : most;
    }
    s->n_classes = r->n_classes ? r->n_classes : most + 1;
    return KL_OK;
}

static kl_status take_names(const kl__raw *r, kl__store *s)
{
    if ((s->name = kl__strdup(r->x_file)) == NULL ||
        (s->names = kl__calloc((size_t)s->n_classes, sizeof *s->names)) == NULL) {
        return KL_E_MEMORY;
    }
    for (int k = 0; k < s->n_classes; k++) {
        s->names[k] = r->names ? kl__strdup(r->names[k]) : kl__asprintf("%d", k);
        if (!s->names[k]) {
            return KL_E_MEMORY;
        }
    }
    return KL_OK;
}

static kl_status fill_store(kl__raw *r, kl__store *s)
{
    kl_status st = shape_of(r, s);
    if (st) {
        return st;
    }
    if (r->x.elem == KL__U8) {
        s->u8 = r->x.data;
        r->x.data = NULL;
    } else if ((st = to_float(r, s)) != KL_OK) {
        return st;
    }
    if (r->y.data && (st = take_labels(r, s)) != KL_OK) {
        return st;
    }
    return take_names(r, s);
}

static kl_dataset *view_of(kl__store *s, uint32_t *index, size_t n)
{
    kl_dataset *d = kl__calloc(1, sizeof *d);
    if (d) {
        d->store = s;
        d->index = index;
        d->n = n;
        kl_dataset_set_normalise(d, NULL);
    }
    return d;
}

kl_dataset *kl__dataset_make(kl__raw *r)
{
    kl_dataset *d = NULL;
    kl__store *s = kl__calloc(1, sizeof *s);
    if (s) {
        s->refs = 1;
        if (fill_store(r, s) == KL_OK) {
            d = view_of(s, NULL, s->n);
        }
        if (!d) {
            store_release(s);
        }
    }
    kl__array_free(&r->x);
    kl__array_free(&r->y);
    return d;
}

static bool copy_into(kl__array *a, kl__elem elem, const void *src, size_t n)
{
    size_t bytes;
    if (!kl__mul(n, kl__elem_size(elem), &bytes)) {
        kl__no_memory(SIZE_MAX);
        return false;
    }
    a->elem = elem;
    a->n_bytes = bytes;
    if ((a->data = kl__alloc(bytes)) == NULL) {
        return false;
    }
    memcpy(a->data, src, bytes);
    return true;
}

kl_dataset *kl_dataset_from_memory(const float *x, const int32_t *labels, size_t n, kl_shape sample,
                                   int n_classes)
{
    char text[96];
    size_t all;
    const int64_t per = kl_shape_count(sample);
    kl__raw r = {.x_file = "data from memory",
                 .y_file = "labels from memory",
                 .shape = sample,
                 .n_classes = n_classes,
                 .any_number = true};
    if (!x || n == 0) {
        kl__fail(KL_E_ARG, "data from memory: no samples");
        return NULL;
    }
    if (sample.n_dims < 1 || sample.n_dims >= KL_MAX_DIMS || per < 1 ||
        !kl__mul((size_t)per, n, &all)) {
        kl__fail(KL_E_SHAPE, "data from memory: %zu samples of shape %s are not possible", n,
                 kl__shape_str(sample, text));
        return NULL;
    }
    if (n_classes < 0 || n_classes > KL__CLASSES_MAX) {
        kl__fail(KL_E_ARG, "data from memory: %d classes; 1 to %d are possible, 0 counts them",
                 n_classes, KL__CLASSES_MAX);
        return NULL;
    }
    if (!copy_into(&r.x, KL__F32, x, all) || (labels && !copy_into(&r.y, KL__I32, labels, n))) {
        kl__array_free(&r.x);
        return NULL;
    }
    r.x.n_dims = 2;
    r.x.dim[0] = r.y.dim[0] = (int64_t)n;
    r.x.dim[1] = per;
    r.y.n_dims = 1;
    return kl__dataset_make(&r);
}

void kl_dataset_destroy(kl_dataset *d)
{
    if (d) {
        store_release(d->store);
        kl__free(d->index);
        kl__free(d);
    }
}

/* ---- asking ----------------------------------------------------------------------------- */

size_t kl_dataset_count(const kl_dataset *d)
{
    return d ? d->n : 0;
}

kl_shape kl_dataset_shape(const kl_dataset *d)
{
    return d ? d->store->shape : (kl_shape){0, {0}};
}

int kl_dataset_classes(const kl_dataset *d)
{
    return d ? d->store->n_classes : 0;
}

const char *kl_dataset_class_name(const kl_dataset *d, int k)
{
    return d && k >= 0 && k < d->store->n_classes ? d->store->names[k] : NULL;
}

kl_status kl_dataset_get(const kl_dataset *d, size_t i, float *x, int32_t *label)
{
    if (!d || i >= d->n) {
        return kl__fail(KL_E_ARG, "data set: no sample %zu; there are %zu", i, d ? d->n : 0);
    }
    const kl_status s = kl__dataset_check_normalise(d);
    const size_t number = kl__dataset_number(d, i);
    if (s) {
        return s;
    }
    if (x) {
        kl__dataset_fill(d, number, x);
    }
    if (label) {
        *label = d->store->labels ? d->store->labels[number] : -1;
    }
    return KL_OK;
}

/* ---- splitting -------------------------------------------------------------------------- */

static size_t class_of(const kl_dataset *d, size_t i)
{
    return d->store->labels ? (size_t)d->store->labels[kl__dataset_number(d, i)] : 0;
}

/* Marks what goes: from the end of the shuffled order, as long as its class has some to give. */
static size_t mark(const kl_dataset *d, double fraction, const uint32_t *order, size_t *give,
                   size_t n_classes, bool *goes)
{
    size_t total = 0;
    for (size_t i = 0; i < d->n; i++) {
        give[class_of(d, i)]++;
    }
    for (size_t k = 0; k < n_classes; k++) {
        give[k] = (size_t)floor((double)give[k] * fraction + 1e-9); /* 0.29 * 100 is 28.99... */
        total += give[k];
    }
    for (size_t i = d->n; i-- > 0;) {
        size_t *left = &give[class_of(d, order[i])];
        goes[order[i]] = *left > 0;
        *left -= *left > 0;
    }
    return total;
}

/* Makes the rest out of what goes, and leaves what stays; nothing is changed where memory runs out.
 */
static kl_status part(kl_dataset *d, const bool *goes, size_t total, kl_dataset **rest)
{
    size_t n_cut = 0, n_kept = 0;
    uint32_t *cut = kl__calloc(total, sizeof *cut);
    uint32_t *kept = kl__calloc(d->n - total, sizeof *kept);
    if (!cut || !kept || (*rest = view_of(d->store, cut, total)) == NULL) {
        kl__free(cut);
        kl__free(kept);
        return KL_E_MEMORY;
    }
    for (size_t i = 0; i < d->n; i++) {
        const uint32_t number = (uint32_t)kl__dataset_number(d, i);
        if (goes[i]) {
            cut[n_cut++] = number;
        } else {
            kept[n_kept++] = number;
        }
    }
    __atomic_add_fetch(&d->store->refs, 1, __ATOMIC_ACQ_REL);
    kl_dataset_set_normalise(*rest, &d->norm);
    kl_dataset_set_augment(*rest, &d->augment);
    kl__free(d->index);
    d->index = kept;
    d->n = n_kept;
    return KL_OK;
}

kl_status kl_dataset_split(kl_dataset *d, double fraction, uint64_t seed, kl_dataset **rest)
{
    if (rest) {
        *rest = NULL;
    }
    if (!d || !rest || !(fraction > 0 && fraction < 1)) {
        return kl__fail(KL_E_ARG,
                        "data set: a fraction of %g cannot be split off; between 0 and 1 can",
                        fraction);
    }
    kl_status s = KL_E_MEMORY;
    const size_t n_classes = d->store->labels ? (size_t)d->store->n_classes : 1;
    uint32_t *order = kl__calloc(d->n, sizeof *order);
    size_t *give = kl__calloc(n_classes, sizeof *give);
    bool *goes = kl__calloc(d->n, sizeof *goes);
    if (order && give && goes) {
        kl__rng_shuffle(seed, 0, order, (uint32_t)d->n);
        const size_t total = mark(d, fraction, order, give, n_classes, goes);
        s = total ? part(d, goes, total, rest)
                  : kl__fail(KL_E_ARG,
                             "%s: a fraction of %g of %zu samples in %zu classes is not one sample",
                             d->store->name, fraction, d->n, n_classes);
    }
    kl__free(order);
    kl__free(give);
    kl__free(goes);
    return s;
}
