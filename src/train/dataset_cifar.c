/* CIFAR-10 and CIFAR-100: one or several binary files, or the folder that holds them. */
#include "train/dataset.h"

#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"

#include <string.h>

static const char *const cifar10_names[] = {"airplane", "automobile", "bird",  "cat",  "deer",
                                            "dog",      "frog",       "horse", "ship", "truck"};

typedef struct files {
    char *path[KL__PARTS_MAX];
    size_t n;
} files;

static void files_free(files *f)
{
    for (size_t i = 0; i < f->n; i++) {
        kl__free(f->path[i]);
    }
}

static kl_status files_add(files *f, char *path)
{
    if (!path) {
        return KL_E_MEMORY;
    }
    f->path[f->n++] = path;
    return KL_OK;
}

/* The training files of a CIFAR-10 folder: however many data_batch_*.bin there are. */
static kl_status list_batches(const char *dir, files *f)
{
    char **names = NULL;
    size_t n = 0;
    kl_status s = kl__list_dir(dir, &names, &n);
    for (size_t i = 0; i < n; i++) {
        if (s == KL_OK && kl__glob("data_batch_*.bin", names[i]) && f->n < KL__PARTS_MAX) {
            s = files_add(f, kl__asprintf("%s/%s", dir, names[i]));
        }
        kl__free(names[i]);
    }
    kl__free(names);
    if (s == KL_OK && f->n == 0) {
        s = kl__fail(KL_E_IO, "%s: no data_batch_*.bin in this folder", dir);
    }
    return s;
}

/* Appends b to a, both [n, ...] of bytes; frees b. */
static kl_status append(kl__array *a, kl__array *b)
{
    if (!a->data) {
        *a = *b;
        return KL_OK;
    }
    void *p = kl__realloc(a->data, a->n_bytes + b->n_bytes, 1);
    if (p) {
        a->data = p;
        memcpy((uint8_t *)p + a->n_bytes, b->data, b->n_bytes);
        a->n_bytes += b->n_bytes;
        a->dim[0] += b->dim[0];
    }
    kl__array_free(b);
    return p ? KL_OK : KL_E_MEMORY;
}

static kl_status read_files(const files *f, int n_label, kl__raw *r)
{
    for (size_t i = 0; i < f->n; i++) {
        kl__array x, y;
        kl_status s = kl__cifar_read(f->path[i], n_label, &x, &y);
        if (s) {
            return s;
        }
        s = append(&r->x, &x);
        if (s) {
            kl__array_free(&y);
            return s;
        }
        if ((s = append(&r->y, &y)) != KL_OK) {
            return s;
        }
    }
    return KL_OK;
}

static kl_dataset *open_files(files *f, kl_status s, int n_label, size_t column, kl__raw *r)
{
    kl_dataset *d = NULL;
    if (s == KL_OK && read_files(f, n_label, r) == KL_OK) {
        uint8_t *p = r->y.data;
        for (size_t i = 0; i < (size_t)r->y.dim[0]; i++) {
            p[i] = p[i * (size_t)n_label + column];
        }
        r->y.n_dims = 1;
        r->y.n_bytes = (size_t)r->y.dim[0];
        r->x_file = r->y_file = f->path[0];
        d = kl__dataset_make(r);
    } else {
        kl__array_free(&r->x);
        kl__array_free(&r->y);
    }
    files_free(f);
    return d;
}

kl_dataset *kl__open_cifar10(const kl__spec *s)
{
    files f = {.n = 0};
    kl_status st = KL_OK;
    kl__raw r = {.names = cifar10_names, .n_classes = 10};
    if (s->n == 1 && kl__path_is_dir(s->part[0])) {
        st = s->test ? files_add(&f, kl__asprintf("%s/test_batch.bin", s->part[0]))
                     : list_batches(s->part[0], &f);
    } else {
        for (size_t i = 0; st == KL_OK && i < s->n; i++) {
            st = files_add(&f, kl__strdup(s->part[i]));
        }
    }
    return open_files(&f, st, 1, 0, &r);
}

/* ---- CIFAR-100 -------------------------------------------------------------------------- */

enum { NAMES_MAX = 100 };

/* {fine,coarse}_label_names.txt beside the data, one name a line: points names[n] into fresh
 * memory. A file that is not there or has not n names is none. */
static kl_status read_names(const char *file, bool coarse, int n, const char **names, char **memory)
{
    uint8_t *text = NULL;
    size_t bytes = 0;
    const char *slash = strrchr(file, '/');
    const int dir = slash ? (int)(slash - file + 1) : 0;
    char *path = kl__asprintf("%.*s%s_label_names.txt", dir, file, coarse ? "coarse" : "fine");
    int found = 0;
    *memory = NULL;
    if (!path) {
        return KL_E_MEMORY;
    }
    const kl_status s = kl__path_exists(path) ? kl__file_read(path, 65536, &text, &bytes) : KL_OK;
    kl__free(path);
    for (char *p = (char *)text, *end; p && found < n && *p; p = end) {
        const size_t len = strcspn(p, "\r\n");
        end = p + len + strspn(p + len, "\r\n");
        p[len] = 0;
        names[found++] = p;
    }
    if (found < n) {
        kl__free(text);
        text = NULL;
    }
    *memory = (char *)text;
    return s;
}

kl_dataset *kl__open_cifar100(const kl__spec *s)
{
    files f = {.n = 0};
    kl_status st = KL_OK;
    bool coarse = false;
    char *memory = NULL;
    const char *names[NAMES_MAX];
    for (size_t i = 0; st == KL_OK && i < s->n; i++) {
        if (i > 0 && (!strcmp(s->part[i], "fine") || !strcmp(s->part[i], "coarse"))) {
            coarse = s->part[i][0] == 'c';
        } else if (kl__path_is_dir(s->part[i])) {
            st = files_add(&f,
                           kl__asprintf("%s/%s", s->part[i], s->test ? "test.bin" : "train.bin"));
        } else {
            st = files_add(&f, kl__strdup(s->part[i]));
        }
    }
    kl__raw r = {.n_classes = coarse ? 20 : 100};
    if (st == KL_OK) {
        st = read_names(f.path[0], coarse, r.n_classes, names, &memory);
        r.names = memory ? names : NULL;
    }
    kl_dataset *d = open_files(&f, st, 2, coarse ? 0 : 1, &r);
    kl__free(memory);
    return d;
}
