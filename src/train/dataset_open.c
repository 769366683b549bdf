/* Specs: "kind:files,options" and bare paths, told by what is there. */
#include "train/dataset.h"

#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"

#include <string.h>

static const char FASHION[] = "/usr/share/datasets/fashion-mnist";
static const char *const fashion_names[] = {"T-shirt/top", "Trouser",   "Pullover", "Dress",
                                            "Coat",        "Sandal",    "Shirt",    "Sneaker",
                                            "Bag",         "Ankle boot"};

const char *kl__spec_value(const char *part, const char *key)
{
    const size_t n = strlen(key);
    return !strncmp(part, key, n) && part[n] == '=' ? part + n + 1 : NULL;
}

int kl__spec_dims(const char *s, int64_t *dim, int max)
{
    int n = 0;
    for (;;) {
        int64_t v = 0;
        const char *begin = s;
        for (; *s >= '0' && *s <= '9' && v < INT32_MAX; s++) {
            v = v * 10 + (*s - '0');
        }
        if (s == begin || v < 1 || v > INT32_MAX || n == max || (*s && *s != 'x')) {
            return 0;
        }
        dim[n++] = v;
        if (!*s++) {
            return n;
        }
    }
}

char *kl__in_folder(const char *dir, const char *name)
{
    char *plain = kl__asprintf("%s/%s", dir, name);
    if (plain && !kl__path_exists(plain)) {
        char *gz = kl__asprintf("%s.gz", plain);
        if (!gz || kl__path_exists(gz)) {
            kl__free(plain);
            return gz;
        }
        kl__free(gz);
    }
    return plain;
}

/* ---- a spec taken apart ----------------------------------------------------------------- */

static kl_status spec_init(kl__spec *s, const char *spec, const char *rest)
{
    memset(s, 0, sizeof *s);
    if ((s->text = kl__strdup(rest)) == NULL) {
        return KL_E_MEMORY;
    }
    char *end = strrchr(s->text, ':');
    if (end && (!strcmp(end, ":test") || !strcmp(end, ":train"))) {
        *end = 0; /* only folders have these parts */
        s->test = end[2] == 'e' && kl__path_is_dir(s->text);
        *end = kl__path_is_dir(s->text) ? 0 : ':';
    }
    for (char *p = s->text; p;) {
        if (s->n == KL__PARTS_MAX) {
            return kl__fail(KL_E_ARG, "data set \"%.60s\": more than %d parts", spec,
                            KL__PARTS_MAX);
        }
        s->part[s->n++] = p;
        p = strchr(p, ',');
        if (p) {
            *p++ = 0;
        }
    }
    if (!*s->part[0]) {
        return kl__fail(KL_E_ARG, "data set \"%.200s\": a path is missing after the colon", spec);
    }
    return KL_OK;
}

static kl_dataset *open_idx(const kl__spec *s)
{
    return kl__open_idx(s, NULL, 0);
}

static kl_dataset *open_fashion(const kl__spec *s)
{
    if (!kl__path_is_dir(FASHION)) {
        kl__fail(KL_E_IO,
                 "fashion-mnist: %s is not there; Debian's package dataset-fashion-mnist "
                 "has it, and \"idx:FOLDER\" reads it from elsewhere",
                 FASHION);
        return NULL;
    }
    return kl__open_idx(s, fashion_names, 10);
}

typedef kl_dataset *open_fn(const kl__spec *s);
static const struct {
    const char *word;
    open_fn *open;
} kinds[] = {{"idx", open_idx},     {"cifar10", kl__open_cifar10}, {"cifar100", kl__open_cifar100},
             {"csv", kl__open_csv}, {"npy", kl__open_npy},         {"folder", kl__open_folder}};
#define N_KINDS (sizeof kinds / sizeof *kinds)

static kl_dataset *open_with(open_fn *open, const char *spec, const char *rest)
{
    kl__spec s;
    kl_dataset *d = spec_init(&s, spec, rest) ? NULL : open(&s);
    kl__free(s.text);
    return d;
}

/* ---- bare paths ------------------------------------------------------------------------- */

/* The first kind whose files are in the folder; NULL: out of memory. */
static open_fn *kind_of_folder(const char *dir)
{
    static const struct {
        const char *file;
        open_fn *open;
    } signs[] = {{"train-images-idx3-ubyte", open_idx},  {"t10k-images-idx3-ubyte", open_idx},
                 {"data_batch_1.bin", kl__open_cifar10}, {"test_batch.bin", kl__open_cifar10},
                 {"train.bin", kl__open_cifar100},       {"test.bin", kl__open_cifar100}};
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        char *p = kl__in_folder(dir, signs[i].file);
        if (!p) {
            return NULL;
        }
        const bool there = kl__path_exists(p);
        kl__free(p);
        if (there) {
            return signs[i].open;
        }
    }
    return kl__open_folder;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static open_fn *kind_of_file(const char *path)
{
    const char *name = base_name(path);
    if (kl__ends(name, ".csv") || kl__ends(name, ".csv.gz")) {
        return kl__open_csv;
    }
    if (kl__ends(name, ".npy")) {
        return kl__open_npy;
    }
    if (kl__contains_nocase(name, "idx")) {
        return open_idx;
    }
    if (kl__ends(name, "_batch.bin") || kl__starts(name, "data_batch")) {
        return kl__open_cifar10;
    }
    return !strcmp(name, "train.bin") || !strcmp(name, "test.bin") ? kl__open_cifar100 : NULL;
}

/* A path may hold commas and colons, so it is not cut. */
static kl_dataset *open_path(const char *path, bool test)
{
    kl__spec s = {.part = {NULL}, .n = 1, .test = test};
    const bool folder = kl__path_is_dir(path);
    open_fn *open = folder ? kind_of_folder(path) : kind_of_file(path);
    if (!open && !folder) {
        kl__fail(KL_E_ARG,
                 "%s: what data this is cannot be told by its name; put idx:, cifar10:, "
                 "cifar100:, csv: or npy: before it",
                 path);
        return NULL;
    }
    if (!open || (s.text = kl__strdup(path)) == NULL) {
        return NULL;
    }
    s.part[0] = s.text;
    kl_dataset *d = open(&s);
    kl__free(s.text);
    return d;
}

static kl_dataset *nothing(const char *spec)
{
    char word[32];
    const char *known[N_KINDS + 1] = {"fashion-mnist"};
    const char *colon = strchr(spec, ':');
    const size_t n = colon ? (size_t)(colon - spec) : strlen(spec);
    for (size_t i = 0; i < N_KINDS; i++) {
        known[i + 1] = kinds[i].word;
    }
    const char *near = NULL;
    if (n < sizeof word) {
        memcpy(word, spec, n);
        word[n] = 0;
        near = kl__nearest(word, known, N_KINDS + 1);
    }
    kl__fail(KL_E_IO, "data set \"%.200s\": no such file or folder, and no kind of data set%s%s%s",
             spec, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    return NULL;
}

kl_dataset *kl_dataset_open(const char *spec)
{
    if (!spec || !*spec) {
        kl__fail(KL_E_ARG, "data set: the spec is empty");
        return NULL;
    }
    if (!strcmp(spec, "fashion-mnist") || !strcmp(spec, "fashion-mnist:test") ||
        !strcmp(spec, "fashion-mnist:train")) {
        char rest[sizeof FASHION + 8] = "";
        memcpy(rest, FASHION, sizeof FASHION);
        memcpy(rest + strlen(rest), spec + strlen("fashion-mnist"),
               strlen(spec + strlen("fashion-mnist")) + 1);
        return open_with(open_fashion, spec, rest);
    }
    for (size_t i = 0; i < N_KINDS; i++) {
        const size_t n = strlen(kinds[i].word);
        if (kl__starts(spec, kinds[i].word) && spec[n] == ':') {
            return open_with(kinds[i].open, spec, spec + n + 1);
        }
    }
    if (kl__path_exists(spec)) {
        return open_path(spec, false);
    }
    const size_t n = strlen(spec);
    const size_t tail = kl__ends(spec, ":test") ? 5 : kl__ends(spec, ":train") ? 6 : 0;
    char *dir = kl__strndup(spec, n - tail);
    if (!dir) {
        return NULL;
    }
    kl_dataset *d = tail && kl__path_is_dir(dir) ? open_path(dir, tail == 5) : nothing(spec);
    kl__free(dir);
    return d;
}
