/* One tensor's entry in a safetensors header: dtype, shape and data_offsets, each checked by itself
 * and against the others. Whether the tensors cover the data is safetensors.c's. */
#include "io/inside.h"

#include <string.h>

#include <jansson.h>

static const struct {
    const char *name;
    kl__elem elem;
} dtypes[] = {
    {"F32", KL__F32}, {"F64", KL__F64}, {"F16", KL__F16}, {"I64", KL__I64}, {"I32", KL__I32},
    {"I16", KL__I16}, {"U16", KL__U16}, {"I8", KL__I8},   {"U8", KL__U8},   {"BOOL", KL__BOOL},
};
#define N_DTYPES (sizeof dtypes / sizeof *dtypes)

const char *kl__st_dtype(kl__elem e)
{
    for (size_t i = 0; i < N_DTYPES; i++) {
        if (dtypes[i].elem == e) {
            return dtypes[i].name;
        }
    }
    return NULL;
}

static kl_status read_dtype(const char *path, const char *name, const json_t *j, kl__elem *elem)
{
    static const char *const others[] = {"BF16",    "U32",     "U64",     "F8_E4M3", "F8_E5M2",
                                         "F8_E8M0", "F6_E2M3", "F6_E3M2", "F4",      "C64"};
    const char *s = json_string_value(j);
    if (!s) {
        return kl__fail(KL_E_FORMAT, "%s: tensor \"%.100s\" has no \"dtype\"", path, name);
    }
    for (size_t i = 0; i < N_DTYPES; i++) {
        if (!strcmp(s, dtypes[i].name)) {
            *elem = dtypes[i].elem;
            return KL_OK;
        }
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (!strcmp(s, others[i])) {
            return kl__fail(KL_E_UNSUPPORTED,
                            "%s: tensor \"%.100s\" is %s, which cannot be read; convert it to F32",
                            path, name, s);
        }
    }
    return kl__fail(KL_E_FORMAT, "%s: tensor \"%.100s\" has the unknown dtype \"%.40s\"", path,
                    name, s);
}

static kl_status read_shape(const char *path, const char *name, const json_t *j, int64_t *dim,
                            int *n_dims)
{
    if (!json_is_array(j)) {
        return kl__fail(KL_E_FORMAT, "%s: tensor \"%.100s\" has no \"shape\"", path, name);
    }
    const size_t n = json_array_size(j);
    if (n > 8) {
        return kl__fail(KL_E_UNSUPPORTED,
                        "%s: tensor \"%.100s\" has %zu dimensions; at most 8 can be read", path,
                        name, n);
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *d = json_array_get(j, i);
        if (!json_is_integer(d) || json_integer_value(d) < 0) {
            return kl__fail(KL_E_FORMAT,
                            "%s: tensor \"%.100s\": dimension %zu is no whole number from 0 on",
                            path, name, i);
        }
        dim[i] = json_integer_value(d);
    }
    *n_dims = (int)n;
    return KL_OK;
}

static kl_status read_offsets(const char *path, const char *name, const json_t *off,
                              kl__st_span *sp)
{
    const json_t *b = json_array_get(off, 0), *e = json_array_get(off, 1);
    if (json_array_size(off) != 2 || !json_is_integer(b) || !json_is_integer(e)) {
        return kl__fail(KL_E_FORMAT,
                        "%s: tensor \"%.100s\" has no \"data_offsets\" of two whole numbers", path,
                        name);
    }
    const json_int_t begin = json_integer_value(b), end = json_integer_value(e);
    if (begin < 0 || end < begin || (uint64_t)end > (uint64_t)PTRDIFF_MAX) {
        return kl__fail(KL_E_FORMAT, "%s: tensor \"%.100s\" lies at bytes %lld to %lld of the data",
                        path, name, (long long)begin, (long long)end);
    }
    sp->begin = (size_t)begin;
    sp->end = (size_t)end;
    return KL_OK;
}

kl_status kl__st_span_read(const char *path, const char *name, const struct json_t *j,
                           kl__st_span *sp)
{
    kl__elem elem = KL__U8;
    int64_t dim[8] = {0};
    int n_dims = 0;
    kl_status s;
    if (!json_is_object(j)) {
        return kl__fail(KL_E_FORMAT, "%s: tensor \"%.100s\" is no object", path, name);
    }
    if ((s = read_dtype(path, name, json_object_get(j, "dtype"), &elem)) != KL_OK ||
        (s = read_shape(path, name, json_object_get(j, "shape"), dim, &n_dims)) != KL_OK) {
        return s;
    }
    if (kl__array_shape(path, &sp->entry.array, elem, n_dims, dim)) {
        return kl__fail(
            KL_E_FORMAT,
            "%s: tensor \"%.100s\": the shape asks for more bytes than memory can address", path,
            name);
    }
    s = read_offsets(path, name, json_object_get(j, "data_offsets"), sp);
    if (s) {
        return s;
    }
    if (sp->end - sp->begin != sp->entry.array.n_bytes) {
        return kl__fail(KL_E_FORMAT,
                        "%s: tensor \"%.100s\" has %zu bytes, its shape and type ask for %zu", path,
                        name, sp->end - sp->begin, sp->entry.array.n_bytes);
    }
    sp->entry.name = name;
    return KL_OK;
}
