/* A folder of pictures: one sub-folder per class, in byte order of their names. Pictures are
 * decoded when the folder is opened and kept as bytes. */
#include "train/dataset.h"

#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"

#include <string.h>

typedef struct folder {
    const char *dir;
    int64_t size[2]; /* height, width; 0: of the first picture */
    int channels;    /* 0: of the first picture */
    char **classes;
    size_t n_classes;
    char **files; /* of all classes, in order */
    int32_t *labels;
    size_t n, cap_f, cap_l;
} folder;

static kl_status folder_options(const kl__spec *s, folder *f)
{
    f->dir = s->part[0];
    for (size_t i = 1; i < s->n; i++) {
        const char *v;
        if ((v = kl__spec_value(s->part[i], "size")) != NULL) {
            if (kl__spec_dims(v, f->size, 2) != 2) {
                return kl__fail(KL_E_ARG, "folder: size=%s is no size like 32x32", v);
            }
        } else if ((v = kl__spec_value(s->part[i], "channels")) != NULL) {
            if (strcmp(v, "1") != 0 && strcmp(v, "3") != 0) {
                return kl__fail(KL_E_ARG, "folder: channels=%s; there are 1 and 3", v);
            }
            f->channels = v[0] - '0';
        } else {
            return kl__fail(
                KL_E_ARG, "folder: \"%s\" is no option; there are size= and channels=", s->part[i]);
        }
    }
    if (s->test) {
        return kl__fail(KL_E_ARG, "folder: %s:test; name the folder of the test pictures itself",
                        f->dir);
    }
    if (!kl__path_is_dir(f->dir)) {
        return kl__fail(KL_E_IO, "%s: no such folder", f->dir);
    }
    return KL_OK;
}

static bool is_picture(const char *name)
{
    static const char *const ends[] = {".png", ".jpg", ".jpeg"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && dot != name && i < 3; i++) {
        if (strlen(dot) == strlen(ends[i]) && kl__contains_nocase(dot, ends[i])) {
            return true;
        }
    }
    return false;
}

static kl_status add_class(folder *f, const char *class)
{
    char **names = NULL, *dir = kl__asprintf("%s/%s", f->dir, class);
    size_t n = 0;
    const size_t before = f->n;
    kl_status s = dir ? kl__list_dir(dir, &names, &n) : KL_E_MEMORY;
    for (size_t i = 0; i < n; i++) {
        if (s == KL_OK && is_picture(names[i]) &&
            (s = kl__grow(&f->files, &f->cap_f, f->n + 1, sizeof *f->files)) == KL_OK &&
            (s = kl__grow(&f->labels, &f->cap_l, f->n + 1, sizeof *f->labels)) == KL_OK) {
            f->files[f->n] = kl__asprintf("%s/%s", dir, names[i]);
            f->labels[f->n] = (int32_t)f->n_classes - 1;
            s = f->files[f->n] ? KL_OK : KL_E_MEMORY;
            f->n += s == KL_OK;
        }
        kl__free(names[i]);
    }
    if (s == KL_OK && f->n == before) {
        s = kl__fail(KL_E_FORMAT, "%s: no PNG or JPEG in this class's folder", dir);
    }
    kl__free(names);
    kl__free(dir);
    return s;
}

static kl_status list_classes(folder *f)
{
    char **names = NULL;
    size_t n = 0;
    kl_status s = kl__list_dir(f->dir, &names, &n);
    if (s == KL_OK && (f->classes = kl__calloc(n, sizeof *f->classes)) == NULL) {
        s = KL_E_MEMORY;
    }
    for (size_t i = 0; i < n; i++) {
        char *path = s == KL_OK ? kl__asprintf("%s/%s", f->dir, names[i]) : NULL;
        if (path && names[i][0] != '.' && kl__path_is_dir(path)) {
            f->classes[f->n_classes++] = names[i];
            s = add_class(f, names[i]);
        } else {
            s = s == KL_OK && !path ? KL_E_MEMORY : s;
            kl__free(names[i]);
        }
        kl__free(path);
    }
    kl__free(names);
    if (s == KL_OK && f->n == 0) {
        s = kl__fail(KL_E_FORMAT,
                     "%s: no sub-folders; each class's pictures go into one of their own", f->dir);
    }
    return s;
}

/* Reads picture i to the size and channels of the set, which the first picture settles where they
 * were not given. */
static kl_status read_picture(folder *f, size_t i, kl__array *out)
{
    kl__array a;
    const bool resize = f->size[0] != 0;
    kl_status s = kl__image_read(f->files[i], f->channels, 0, &a);
    if (s) {
        return s;
    }
    if (!resize) {
        *out = a;
        return KL_OK;
    }
    if (a.dim[1] == f->size[0] && a.dim[2] == f->size[1]) {
        *out = a;
        return KL_OK;
    }
    s = kl__image_resize(&a, (int)f->size[0], (int)f->size[1], out);
    kl__array_free(&a);
    return s ? kl__fail_in(s, "%s", f->files[i]) : KL_OK;
}

static kl_status differs(const folder *f, size_t i, const kl__array *a, const kl__array *x)
{
    return kl__fail(
        KL_E_SHAPE,
        "%s is %lld x %lld (width x height) of %lld channels, %s is %lld x %lld of %lld; "
        "give size=HxW or channels=1|3",
        f->files[i], (long long)a->dim[2], (long long)a->dim[1], (long long)a->dim[0], f->files[0],
        (long long)x->dim[3], (long long)x->dim[2], (long long)x->dim[1]);
}

static kl_status read_pictures(folder *f, kl__array *x)
{
    for (size_t i = 0; i < f->n; i++) {
        kl__array a;
        kl_status s = read_picture(f, i, &a);
        if (s) {
            return s;
        }
        if (i == 0) {
            size_t all;
            *x = (kl__array){KL__U8, 4, {(int64_t)f->n, a.dim[0], a.dim[1], a.dim[2]}, NULL, 0};
            if (!kl__mul(a.n_bytes, f->n, &all)) {
                all = SIZE_MAX;
            }
            x->n_bytes = all;
            x->data = kl__alloc(all);
            s = x->data ? KL_OK : KL_E_MEMORY;
        }
        if (s == KL_OK &&
            (a.dim[0] != x->dim[1] || a.dim[1] != x->dim[2] || a.dim[2] != x->dim[3])) {
            s = differs(f, i, &a, x);
        }
        if (s == KL_OK) {
            memcpy((uint8_t *)x->data + i * a.n_bytes, a.data, a.n_bytes);
        }
        kl__array_free(&a);
        if (s) {
            return s;
        }
    }
    return KL_OK;
}

static void folder_finish(folder *f)
{
    for (size_t i = 0; i < f->n; i++) {
        kl__free(f->files[i]);
    }
    for (size_t i = 0; i < f->n_classes; i++) {
        kl__free(f->classes[i]);
    }
    kl__free(f->files);
    kl__free(f->labels);
    kl__free(f->classes);
}

kl_dataset *kl__open_folder(const kl__spec *s)
{
    kl_dataset *d = NULL;
    folder f = {.dir = NULL};
    kl__raw r = {.x_file = s->part[0], .y_file = s->part[0]};
    if (folder_options(s, &f) == KL_OK && list_classes(&f) == KL_OK &&
        read_pictures(&f, &r.x) == KL_OK) {
        r.y = (kl__array){KL__I32, 1, {(int64_t)f.n}, f.labels, f.n * sizeof *f.labels};
        f.labels = NULL;
        r.n_classes = (int)f.n_classes;
        r.names = (const char *const *)f.classes;
        d = kl__dataset_make(&r);
    } else {
        kl__array_free(&r.x);
    }
    folder_finish(&f);
    return d;
}
