/* safetensors: u64 header length, JSON header, data. Every rule of the format is checked before a
 * tensor is given out: tensors cover the data without holes or overlap, and each is as long as its
 * shape and type say. */
#include "io/inside.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

struct kl__st {
    kl__array data;             /* of all tensors */
    json_t *root;               /* owns names and metadata */
    kl__st_entry *entries;      /* in the order of their data */
    const kl__st_entry **names; /* the same by name */
    size_t n;
    uint8_t *straight; /* copies of tensors that lie unaligned in the file */
    const char **meta; /* key, value, key, value */
    size_t n_meta;
};

/* Bounds what the JSON parser may build, before it builds it: nesting, and values by their commas.
 */
static kl_status survey(const char *path, const uint8_t *s, size_t n)
{
    size_t depth = 0, commas = 0;
    bool in_string = false;
    for (size_t i = 0; i < n; i++) {
        if (in_string) {
            if (s[i] == '\\') {
                i++; /* what an escape escapes closes nothing */
            } else {
                in_string = s[i] != '"';
            }
            continue;
        }
        in_string = s[i] == '"';
        depth += s[i] == '{' || s[i] == '[';
        depth -= depth && (s[i] == '}' || s[i] == ']');
        commas += s[i] == ',';
        if (depth > 8) {
            return kl__fail(KL_E_FORMAT,
                            "%s: safetensors header nests deeper than a header can, at byte %zu",
                            path, i + 8);
        }
        if (commas > (size_t)KL__ST_ENTRIES_MAX * 16) {
            return kl__fail(KL_E_FORMAT,
                            "%s: safetensors header holds more values than %d tensors need", path,
                            KL__ST_ENTRIES_MAX);
        }
    }
    return KL_OK;
}

/* The length, and the header's tree. */
static kl_status read_header(kl__st *st, kl__reader *r, const char *path)
{
    uint8_t b[8], *text = NULL;
    uint64_t len = 0;
    json_error_t e;
    kl_status s = kl__reader_exact(r, b, sizeof b);
    if (s) {
        return s;
    }
    for (int i = 7; i >= 0; i--) {
        len = len << 8 | b[i];
    }
    if (len < 2 || len > KL__ST_HEADER_MAX) {
        return kl__fail(KL_E_FORMAT,
                        "%s: not safetensors: a header of %llu bytes; the format has 2 to %u", path,
                        (unsigned long long)len, KL__ST_HEADER_MAX);
    }
    s = kl__read_growing(r, path, "the safetensors header", (size_t)len, &text);
    if (s) {
        return s;
    }
    if (text[0] != '{') {
        s = kl__fail(KL_E_FORMAT, "%s: the safetensors header does not begin with '{'", path);
        goto out;
    }
    s = survey(path, text, (size_t)len);
    if (s) {
        goto out;
    }
    st->root = json_loadb((const char *)text, (size_t)len, JSON_REJECT_DUPLICATES, &e);
    if (!st->root) {
        s = kl__fail(json_error_code(&e) == json_error_out_of_memory ? KL_E_MEMORY : KL_E_FORMAT,
                     "%s: safetensors header, byte %d: %s", path, e.position + 8, e.text);
    }
out:
    kl__free(text);
    return s;
}

static kl_status read_meta(kl__st *st, const char *path)
{
    json_t *m = json_object_get(st->root, "__metadata__"), *v;
    const char *key;
    if (!m) {
        return KL_OK;
    }
    if (!json_is_object(m)) {
        return kl__fail(KL_E_FORMAT, "%s: safetensors \"__metadata__\" is no object", path);
    }
    st->meta = kl__calloc(json_object_size(m) + 1, 2 * sizeof *st->meta);
    if (!st->meta) {
        return kl__last_status();
    }
    json_object_foreach(m, key, v)
    {
        if (!json_is_string(v)) {
            return kl__fail(KL_E_FORMAT, "%s: safetensors metadata \"%.100s\" is no string", path,
                            key);
        }
        st->meta[2 * st->n_meta] = key;
        st->meta[2 * st->n_meta + 1] = json_string_value(v);
        st->n_meta++;
    }
    return KL_OK;
}

static int by_place(const void *pa, const void *pb)
{
    const kl__st_span *a = pa, *b = pb;
    if (a->begin != b->begin) {
        return a->begin < b->begin ? -1 : 1;
    }
    if (a->end != b->end) { /* tensors without elements before the one that begins there */
        return a->end < b->end ? -1 : 1;
    }
    return a->index < b->index ? -1 : a->index > b->index;
}

static int by_name(const void *pa, const void *pb)
{
    return strcmp((*(const kl__st_entry *const *)pa)->name,
                  (*(const kl__st_entry *const *)pb)->name);
}

/* No overlap and no hole; the end of the last is the length of the data. */
static kl_status check_places(kl__st *st, const char *path, const kl__st_span *sp)
{
    size_t at = 0;
    for (size_t i = 0; i < st->n; i++) {
        if (sp[i].begin != at) {
            return kl__fail(KL_E_FORMAT,
                            "%s: tensor \"%.100s\" begins at byte %zu of the data, the one before "
                            "ends at %zu: %s",
                            path, sp[i].entry.name, sp[i].begin, at,
                            sp[i].begin < at ? "overlap" : "a hole");
        }
        at = sp[i].end;
    }
    st->data.n_bytes = at;
    return KL_OK;
}

static kl_status read_tensors(kl__st *st, const char *path, kl__st_span **out)
{
    const char *name;
    json_t *v;
    const size_t n =
        json_object_size(st->root) - (json_object_get(st->root, "__metadata__") != NULL);
    if (n > KL__ST_ENTRIES_MAX) {
        return kl__fail(KL_E_FORMAT, "%s: safetensors header with %zu tensors; at most %d are read",
                        path, n, KL__ST_ENTRIES_MAX);
    }
    kl__st_span *sp = *out = kl__calloc(n + 1, sizeof *sp);
    if (!sp) {
        return kl__last_status();
    }
    json_object_foreach(st->root, name, v)
    {
        if (strcmp(name, "__metadata__") != 0) {
            kl_status s = kl__st_span_read(path, name, v, &sp[st->n]);
            if (s) {
                return s;
            }
            sp[st->n].index = st->n;
            st->n++;
        }
    }
    qsort(sp, n, sizeof *sp, by_place);
    return check_places(st, path, sp);
}

/* Reads the data. A tensor that lies unaligned for its elements (an odd length before it) is
 * copied. */
static kl_status read_data(kl__st *st, kl__reader *r, const char *path, kl__st_span *sp)
{
    size_t crooked = 0, at = 0;
    kl_status s = kl__array_fill(r, path, &st->data);
    if (s) {
        return s;
    }
    for (size_t i = 0; i < st->n; i++) {
        const kl__array *a = &sp[i].entry.array;
        crooked += sp[i].begin % kl__elem_size(a->elem) ? (a->n_bytes + 7) / 8 * 8 : 0;
    }
    if (!(st->straight = kl__alloc(crooked))) {
        return kl__last_status();
    }
    for (size_t i = 0; i < st->n; i++) {
        kl__array *a = &sp[i].entry.array;
        const size_t size = kl__elem_size(a->elem);
        a->data = (uint8_t *)st->data.data + sp[i].begin;
        if (sp[i].begin % size) {
            a->data = memcpy(st->straight + at, a->data, a->n_bytes);
            at += (a->n_bytes + 7) / 8 * 8;
        }
        if (size > 1 && kl__host_is_big()) {
            kl__swap(a->data, a->n_bytes / size, size);
        }
    }
    return KL_OK;
}

static kl_status make_index(kl__st *st, const kl__st_span *sp)
{
    st->entries = kl__calloc(st->n + 1, sizeof *st->entries);
    st->names = kl__calloc(st->n + 1, sizeof *st->names);
    if (!st->entries || !st->names) {
        return kl__last_status();
    }
    for (size_t i = 0; i < st->n; i++) {
        st->entries[i] = sp[i].entry;
        st->names[i] = &st->entries[i];
    }
    qsort(st->names, st->n, sizeof *st->names, by_name);
    return KL_OK;
}

kl__st *kl__st_open(const char *path)
{
    kl__st_span *sp = NULL;
    kl__reader *r = kl__reader_open(path);
    kl__st *st = r ? kl__calloc(1, sizeof *st) : NULL;
    const bool ok = st && read_header(st, r, path) == KL_OK && read_meta(st, path) == KL_OK &&
                    read_tensors(st, path, &sp) == KL_OK && read_data(st, r, path, sp) == KL_OK &&
                    make_index(st, sp) == KL_OK;
    kl__free(sp);
    kl__reader_close(r);
    if (!ok) {
        kl__st_close(st);
        st = NULL;
    }
    return st;
}

void kl__st_close(kl__st *st)
{
    if (!st) {
        return;
    }
    json_decref(st->root);
    kl__array_free(&st->data);
    kl__free(st->entries);
    kl__free(st->names);
    kl__free(st->straight);
    kl__free(st->meta);
    kl__free(st);
}

size_t kl__st_count(const kl__st *st)
{
    return st->n;
}

const kl__st_entry *kl__st_at(const kl__st *st, size_t i)
{
    return i < st->n ? &st->entries[i] : NULL;
}

const kl__st_entry *kl__st_find(const kl__st *st, const char *name)
{
    size_t lo = 0, hi = st->n;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        const int c = strcmp(name, st->names[mid]->name);
        if (c == 0) {
            return st->names[mid];
        }
        if (c < 0) {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    return NULL;
}

const char *kl__st_meta(const kl__st *st, const char *key)
{
    for (size_t i = 0; i < st->n_meta; i++) {
        if (!strcmp(st->meta[2 * i], key)) {
            return st->meta[2 * i + 1];
        }
    }
    return NULL;
}

size_t kl__st_n_meta(const kl__st *st)
{
    return st->n_meta;
}

const char *kl__st_meta_at(const kl__st *st, size_t i, const char **value)
{
    if (i >= st->n_meta) {
        return NULL;
    }
    *value = st->meta[2 * i + 1];
    return st->meta[2 * i];
}
