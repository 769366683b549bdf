/* Data sets of one or two files: IDX, CSV, npy. */
#include "train/dataset.h"

#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"

#include <string.h>

/* ---- IDX -------------------------------------------------------------------------------- */

/* "train-images-idx3-ubyte" has its labels in "train-labels-idx1-ubyte". *out NULL: no such name,
 * or no such file. */
static kl_status labels_beside(const char *images, char **out)
{
    char *p = kl__strdup(images);
    *out = NULL;
    if (!p) {
        return KL_E_MEMORY;
    }
    char *slash = strrchr(p, '/'), *word = strstr(slash ? slash : p, "images");
    char *idx = word ? strstr(word, "idx3") : NULL;
    if (word) {
        memcpy(word, "labels", 6);
    }
    if (idx) {
        idx[3] = '1';
    }
    if (word && kl__path_exists(p)) {
        *out = p;
    } else {
        kl__free(p);
    }
    return KL_OK;
}

static kl_status idx_paths(const kl__spec *s, char **x, char **y)
{
    if (s->n > 2) {
        return kl__fail(KL_E_ARG, "idx: \"%s\" is one part too many; images and labels are two",
                        s->part[2]);
    }
    if (kl__path_is_dir(s->part[0])) {
        *x = kl__in_folder(s->part[0],
                           s->test ? "t10k-images-idx3-ubyte" : "train-images-idx3-ubyte");
        *y = kl__in_folder(s->part[0],
                           s->test ? "t10k-labels-idx1-ubyte" : "train-labels-idx1-ubyte");
        return *x && *y ? KL_OK : KL_E_MEMORY;
    }
    if ((*x = kl__strdup(s->part[0])) == NULL) {
        return KL_E_MEMORY;
    }
    if (s->n == 1) {
        return labels_beside(*x, y);
    }
    *y = kl__strdup(s->part[1]);
    return *y ? KL_OK : KL_E_MEMORY;
}

kl_dataset *kl__open_idx(const kl__spec *s, const char *const *names, int n_classes)
{
    kl_dataset *d = NULL;
    char *x = NULL, *y = NULL;
    kl__raw r = {.names = names, .n_classes = n_classes};
    if (idx_paths(s, &x, &y) == KL_OK && kl__idx_read(x, &r.x) == KL_OK &&
        (!y || kl__idx_read(y, &r.y) == KL_OK)) {
        r.x_file = x;
        r.y_file = y;
        d = kl__dataset_make(&r);
    } else {
        kl__array_free(&r.x);
    }
    kl__free(x);
    kl__free(y);
    return d;
}

/* ---- npy -------------------------------------------------------------------------------- */

kl_dataset *kl__open_npy(const kl__spec *s)
{
    kl__raw r = {.x_file = s->part[0], .y_file = s->n > 1 ? s->part[1] : NULL};
    if (s->n > 2) {
        kl__fail(KL_E_ARG, "npy: \"%s\" is one part too many; samples and labels are two",
                 s->part[2]);
        return NULL;
    }
    if (kl__npy_read(r.x_file, &r.x)) {
        return NULL;
    }
    if (r.y_file && kl__npy_read(r.y_file, &r.y)) {
        kl__array_free(&r.x);
        return NULL;
    }
    return kl__dataset_make(&r);
}

/* ---- CSV -------------------------------------------------------------------------------- */

typedef struct csv_opts {
    const char *label; /* NULL: last */
    kl_shape shape;
    double scale;
} csv_opts;

static kl_status csv_scale(const char *v, double *out)
{
    char *end;
    double over = 1;
    *out = kl__strtod(v, &end);
    if (end != v && *end == '/') {
        const char *second = end + 1;
        over = kl__strtod(second, &end);
        end = end == second ? (char *)v : end;
    }
    if (end == v || *end || !(over != 0) || !(*out != 0) || *out - *out != 0) {
        return kl__fail(KL_E_ARG, "csv: scale=%s is no number like 0.0625 or 1/16", v);
    }
    *out /= over;
    return KL_OK;
}

static kl_status csv_options(const kl__spec *s, csv_opts *o)
{
    *o = (csv_opts){.scale = 1};
    for (size_t i = 1; i < s->n; i++) {
        const char *v;
        int64_t *dim = o->shape.dim;
        if ((v = kl__spec_value(s->part[i], "label")) != NULL) {
            o->label = v;
        } else if ((v = kl__spec_value(s->part[i], "scale")) != NULL) {
            const kl_status st = csv_scale(v, &o->scale);
            if (st) {
                return st;
            }
        } else if ((v = kl__spec_value(s->part[i], "shape")) != NULL) {
            if ((o->shape.n_dims = kl__spec_dims(v, dim, KL_MAX_DIMS - 1)) == 0) {
                return kl__fail(KL_E_ARG, "csv: shape=%s is no shape like 1x8x8", v);
            }
            if (o->shape.n_dims == 2) { /* a picture of one channel */
                o->shape = (kl_shape){3, {1, dim[0], dim[1]}};
            }
        } else {
            return kl__fail(
                KL_E_ARG,
                "csv: \"%s\" is no option; there are label=, shape= and scale=", s->part[i]);
        }
    }
    return KL_OK;
}

/* Column of the labels, from 0; -1: none. A name of the header goes before a number (from 1). */
static kl_status csv_column(const char *file, const char *label, const char *header, int64_t n,
                            int64_t *out)
{
    int64_t v;
    const size_t len = label ? strlen(label) : 0;
    if (!label || !strcmp(label, "last")) {
        *out = n - 1;
        return KL_OK;
    }
    if (!strcmp(label, "first") || !strcmp(label, "none")) {
        *out = label[0] == 'f' ? 0 : -1;
        return KL_OK;
    }
    *out = 0;
    for (const char *h = header; h; (*out)++) {
        const char *end = strchr(h, '\n');
        if ((end ? (size_t)(end - h) : strlen(h)) == len && !strncmp(h, label, len)) {
            return KL_OK;
        }
        h = end ? end + 1 : NULL;
    }
    if (kl__parse_i64(label, &v) && v >= 1 && v <= n) {
        *out = v - 1;
        return KL_OK;
    }
    return kl__fail(KL_E_ARG, "%s: label=%s is no column: %s, %lld columns", file, label,
                    header ? "no such name in the header line" : "there is no header line",
                    (long long)n);
}

/* Takes column c out of the table t into y. */
static kl_status csv_cut(kl__array *t, int64_t c, kl__array *y)
{
    const size_t n = (size_t)t->dim[0], w = (size_t)t->dim[1];
    double *v = t->data, *to = v, *label = kl__calloc(n, sizeof *label);
    if (!label) {
        return KL_E_MEMORY;
    }
    for (size_t i = 0; i < n; i++, v += w) {
        label[i] = v[c];
        memmove(to, v, (size_t)c * sizeof *v);
        memmove(to + c, v + c + 1, (w - (size_t)c - 1) * sizeof *v);
        to += w - 1;
    }
    *y = (kl__array){KL__F64, 1, {(int64_t)n}, label, n * sizeof *label};
    t->dim[1]--;
    t->n_bytes = n * (w - 1) * sizeof *v;
    return KL_OK;
}

kl_dataset *kl__open_csv(const kl__spec *s)
{
    csv_opts o;
    char *header = NULL;
    int64_t column = -1;
    kl__raw r = {.x_file = s->part[0], .y_file = s->part[0]};
    if (csv_options(s, &o) || kl__csv_read(s->part[0], &r.x, &header)) {
        return NULL;
    }
    kl_status st = csv_column(s->part[0], o.label, header, r.x.dim[1], &column);
    kl__free(header);
    if (st == KL_OK && column >= 0 && r.x.dim[1] < 2) {
        st = kl__fail(KL_E_SHAPE,
                      "%s: one column, which is the label's; nothing is left to learn from",
                      s->part[0]);
    }
    if (st == KL_OK && column >= 0 && r.x.dim[0] > 0) {
        st = csv_cut(&r.x, column, &r.y);
    }
    if (st) {
        kl__array_free(&r.x);
        return NULL;
    }
    r.shape = o.shape;
    r.scale = o.scale;
    return kl__dataset_make(&r);
}
