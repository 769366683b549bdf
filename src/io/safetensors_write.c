/* Writing safetensors. What is written here, safetensors.c reads back: the same limits hold. */
#include "io/inside.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

/* Adds text; jansson gives no string for bytes that are not UTF-8. */
static kl_status put_text(const char *path, json_t *to, const char *key, const char *value)
{
    json_t *v = value ? json_string(value) : NULL;
    if (!v || json_object_set_new(to, key, v) != 0) {
        return kl__fail(KL_E_ARG, "%s: key or value of \"%.100s\" is not UTF-8", path, key);
    }
    return KL_OK;
}

static kl_status put_meta(const char *path, json_t *root, const kl__st_meta_pair *meta, size_t n)
{
    json_t *m = json_object();
    if (!m || json_object_set_new(root, "__metadata__", m) != 0) {
        return kl__no_memory(n);
    }
    for (size_t i = 0; i < n; i++) {
        if (!meta[i].key || json_object_get(m, meta[i].key)) {
            return kl__fail(KL_E_ARG, "%s: metadata key \"%.100s\" is given twice, or NULL", path,
                            meta[i].key ? meta[i].key : "");
        }
        kl_status s = put_text(path, m, meta[i].key, meta[i].value);
        if (s) {
            return s;
        }
    }
    return KL_OK;
}

static kl_status check_entry(const char *path, const json_t *root, const kl__st_entry *e)
{
    const kl__array *a = &e->array;
    size_t bytes = 0;
    if (!e->name || !strcmp(e->name, "__metadata__")) {
        return kl__fail(KL_E_ARG, "%s: a tensor cannot be named %s", path,
                        e->name ? e->name : "NULL");
    }
    if (json_object_get(root, e->name)) {
        return kl__fail(KL_E_ARG, "%s: two tensors are named \"%.100s\"", path, e->name);
    }
    if (!kl__st_dtype(a->elem) || a->n_dims < 0 || a->n_dims > 8 ||
        kl__array_size(path, a->elem, a->n_dims, a->dim, &bytes) || bytes != a->n_bytes ||
        (bytes && !a->data)) {
        return kl__fail(KL_E_ARG,
                        "%s: shape, type and size of tensor \"%.100s\" do not fit each other", path,
                        e->name);
    }
    return KL_OK;
}

static kl_status put_entry(const char *path, json_t *root, const kl__st_entry *e, size_t *at)
{
    kl_status s = check_entry(path, root, e);
    json_t *shape = NULL, *one = NULL;
    size_t end = 0;
    if (s) {
        return s;
    }
    if (!kl__add(*at, e->array.n_bytes, &end) || end > (size_t)PTRDIFF_MAX) {
        return kl__fail(KL_E_ARG, "%s: the tensors are larger than a file can be", path);
    }
    bool ok = (shape = json_array()) != NULL;
    for (int i = 0; ok && i < e->array.n_dims; i++) {
        ok = json_array_append_new(shape, json_integer(e->array.dim[i])) == 0;
    }
    one = ok ? json_pack("{s:s, s:o, s:[I, I]}", "dtype", kl__st_dtype(e->array.elem), "shape",
                         shape, "data_offsets", (json_int_t)*at, (json_int_t)end)
             : NULL;
    if (!one) {
        json_decref(ok ? NULL : shape); /* json_pack took it, also on failure */
        return kl__no_memory(sizeof *one);
    }
    if (json_object_set_new(root, e->name, one) != 0) {
        return kl__fail(KL_E_ARG, "%s: tensor name \"%.100s\" is not UTF-8", path, e->name);
    }
    *at = end;
    return KL_OK;
}

/* Length, header, and blanks up to a multiple of 64. */
static kl_status put_header(kl__writer *w, const char *path, const json_t *root)
{
    char *text = json_dumps(root, JSON_COMPACT);
    if (!text) {
        return kl__no_memory(0);
    }
    kl_status s;
    const size_t n = strlen(text), padded = (8 + n + 63) / 64 * 64 - 8;
    uint8_t len[8];
    char blanks[64];
    memset(blanks, ' ', sizeof blanks);
    for (int i = 0; i < 8; i++) {
        len[i] = (uint8_t)((uint64_t)padded >> (8 * i));
    }
    if (padded > KL__ST_HEADER_MAX) {
        s = kl__fail(KL_E_ARG, "%s: a safetensors header of %zu bytes; the format allows %u", path,
                     padded, KL__ST_HEADER_MAX);
    } else if ((s = kl__writer_put(w, len, sizeof len)) == KL_OK &&
               (s = kl__writer_put(w, text, n)) == KL_OK) {
        s = kl__writer_put(w, blanks, padded - n);
    }
    free(text); /* jansson's */
    return s;
}

static kl_status describe(const char *path, json_t *root, const kl__st_entry *entries, size_t n,
                          const kl__st_meta_pair *meta, size_t n_meta)
{
    size_t at = 0;
    kl_status s = KL_OK;
    if (n > KL__ST_ENTRIES_MAX || n_meta > KL__ST_ENTRIES_MAX) {
        return kl__fail(KL_E_ARG, "%s: %zu tensors and %zu metadata pairs; at most %d of each",
                        path, n, n_meta, KL__ST_ENTRIES_MAX);
    }
    if (n_meta) {
        s = put_meta(path, root, meta, n_meta);
    }
    for (size_t i = 0; i < n && s == KL_OK; i++) {
        s = put_entry(path, root, &entries[i], &at);
    }
    return s;
}

kl_status kl__st_write(const char *path, const kl__st_entry *entries, size_t n,
                       const kl__st_meta_pair *meta, size_t n_meta)
{
    kl__writer *w = NULL;
    kl_status s = KL_OK;
    json_t *root = json_object();
    if (!root) {
        return kl__no_memory(0);
    }
    if ((s = describe(path, root, entries, n, meta, n_meta)) != KL_OK) {
        goto out;
    }
    if (!(w = kl__writer_open(path))) {
        s = kl__last_status();
        goto out;
    }
    s = put_header(w, path, root);
    for (size_t i = 0; i < n && s == KL_OK; i++) {
        s = kl__array_put(w, &entries[i].array);
    }
    if (s == KL_OK) {
        s = kl__writer_commit(w);
        w = NULL;
    }
out:
    kl__writer_drop(w);
    json_decref(root);
    return s;
}
