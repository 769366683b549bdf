/* Arrays as files hold them: sizes, conversion to float, and filling from a reader. */
#include "io/inside.h"

#include "base/mem.h"

#include <string.h>

size_t kl__elem_size(kl__elem e)
{
    switch (e) {
    case KL__U8:
    case KL__I8:
    case KL__BOOL:
        return 1;
    case KL__I16:
    case KL__U16:
    case KL__F16:
        return 2;
    case KL__I32:
    case KL__F32:
        return 4;
    case KL__I64:
    case KL__F64:
        return 8;
    }
    return 0;
}

void kl__array_free(kl__array *a)
{
    if (!a) {
        return;
    }
    kl__free(a->data);
    memset(a, 0, sizeof *a);
}

/* IEEE half to float, exact; NaN keeps its payload. */
static float half_to_float(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, mant = h & 0x3ffu;
    const uint32_t exp = (h >> 10) & 0x1fu;
    uint32_t bits = sign | (exp + 112) << 23 | mant << 13;
    float f;
    if (exp == 0) {
        f = (float)mant * 0x1p-24f; /* zero and subnormals */
        return sign ? -f : f;
    }
    if (exp == 31) {
        bits = sign | 0x7f800000u | mant << 13;
    }
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Loads by memcpy: an element inside a file need not be aligned. */
#define CONVERT(type, expr)                                                                        \
    for (size_t i = 0; i < n; i++) {                                                               \
        type v;                                                                                    \
        memcpy(&v, src + i * sizeof v, sizeof v);                                                  \
        dst[i] = (expr);                                                                           \
    }                                                                                              \
    break

void kl__array_to_float(const kl__array *a, size_t first, size_t n, float *dst)
{
    if (n == 0) {
        return;
    }
    const unsigned char *src = (const unsigned char *)a->data + first * kl__elem_size(a->elem);
    switch (a->elem) {
    case KL__U8:
        CONVERT(uint8_t, (float)v);
    case KL__I8:
        CONVERT(int8_t, (float)v);
    case KL__I16:
        CONVERT(int16_t, (float)v);
    case KL__U16:
        CONVERT(uint16_t, (float)v);
    case KL__I32:
        CONVERT(int32_t, (float)v);
    case KL__I64:
        CONVERT(int64_t, (float)v);
    case KL__F16:
        CONVERT(uint16_t, half_to_float(v));
    case KL__F32:
        CONVERT(float, v);
    case KL__F64:
        CONVERT(double, (float)v);
    case KL__BOOL:
        CONVERT(uint8_t, v ? 1.0f : 0.0f);
    }
}

kl_status kl__array_size(const char *path, kl__elem elem, int n_dims, const int64_t *dim,
                         size_t *bytes)
{
    size_t n = kl__elem_size(elem);
    bool empty = false;
    for (int i = 0; i < n_dims; i++) {
        if (dim[i] < 0) {
            return kl__fail(KL_E_FORMAT, "%s: dimension %d is %lld, below zero", path, i,
                            (long long)dim[i]);
        }
        empty = empty || dim[i] == 0;
    }
    for (int i = 0; i < n_dims && !empty; i++) {
        /* PTRDIFF_MAX, so that pointers into the array can be subtracted */
        if ((uint64_t)dim[i] > (uint64_t)PTRDIFF_MAX || !kl__mul(n, (size_t)dim[i], &n) ||
            n > (size_t)PTRDIFF_MAX) {
            return kl__fail(KL_E_FORMAT,
                            "%s: the shape asks for more bytes than memory can address", path);
        }
    }
    *bytes = empty ? 0 : n;
    return KL_OK;
}

kl_status kl__array_shape(const char *path, kl__array *out, kl__elem elem, int n_dims,
                          const int64_t *dim)
{
    memset(out, 0, sizeof *out);
    size_t bytes = 0;
    kl_status s = kl__array_size(path, elem, n_dims, dim, &bytes);
    if (s) {
        return s;
    }
    out->elem = elem;
    out->n_dims = n_dims;
    for (int i = 0; i < n_dims; i++) {
        out->dim[i] = dim[i];
    }
    out->n_bytes = bytes;
    return KL_OK;
}

kl_status kl__read_growing(kl__reader *r, const char *path, const char *what, size_t want,
                           uint8_t **data)
{
    kl_status s = KL_OK;
    size_t have = 0, cap = want < (1u << 20) ? want : (1u << 20), got = 0;
    uint8_t *p = kl__alloc(cap);
    *data = NULL;
    if (!p) {
        return kl__last_status();
    }
    while (have < want) {
        if (have == cap) {
            cap = want - cap < cap ? want : 2 * cap;
            uint8_t *more = kl__realloc(p, cap, 1);
            if (!more) {
                s = kl__last_status();
                goto fail;
            }
            p = more;
        }
        s = kl__reader_some(r, p + have, cap - have, &got);
        if (s) {
            goto fail;
        }
        have += got;
        if (have < cap) {
            s = kl__fail(KL_E_FORMAT, "%s: truncated: %s should have %zu bytes, %zu are there",
                         path, what, want, have);
            goto fail;
        }
    }
    *data = p;
    return KL_OK;
fail:
    kl__free(p);
    return s;
}

kl_status kl__array_fill(kl__reader *r, const char *path, kl__array *out)
{
    uint8_t *data, extra;
    size_t got = 0;
    kl_status s = kl__read_growing(r, path, "the data", out->n_bytes, &data);
    if (s == KL_OK) {
        s = kl__reader_some(r, &extra, 1, &got);
    }
    if (s == KL_OK && got) {
        s = kl__fail(KL_E_FORMAT, "%s: more bytes follow the %zu bytes of data that it should have",
                     path, out->n_bytes);
    }
    if (s) {
        kl__free(data);
        memset(out, 0, sizeof *out);
        return s;
    }
    out->data = data;
    return KL_OK;
}

void kl__swap(void *data, size_t n, size_t size)
{
    unsigned char *p = data;
    for (size_t i = 0; i < n; i++, p += size) {
        for (size_t a = 0, b = size - 1; a < b; a++, b--) {
            const unsigned char t = p[a];
            p[a] = p[b];
            p[b] = t;
        }
    }
}

kl_status kl__array_put(kl__writer *w, const kl__array *a)
{
    const size_t size = kl__elem_size(a->elem);
    const unsigned char *p = a->data;
    if (a->n_bytes == 0) {
        return KL_OK;
    }
    if (size == 1 || !kl__host_is_big()) {
        return kl__writer_put(w, p, a->n_bytes);
    }
    unsigned char piece[4096];
    for (size_t at = 0; at < a->n_bytes;) {
        const size_t n = a->n_bytes - at < sizeof piece ? a->n_bytes - at : sizeof piece;
        memcpy(piece, p + at, n);
        kl__swap(piece, n / size, size);
        kl_status s = kl__writer_put(w, piece, n);
        if (s) {
            return s;
        }
        at += n;
    }
    return KL_OK;
}
