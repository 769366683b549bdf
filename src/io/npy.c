/* NumPy .npy. The header is a Python dict; it is read by a fixed grammar, never evaluated. */
#include "io/inside.h"

#include "base/mem.h"
#include "base/str.h"

#include <string.h>

/* numpy's own limit (max_header_size), beyond which it asks for trust */
#define HEADER_MAX 10000u

static const struct {
    char descr[4];
    kl__elem elem;
} types[] = {
    {"|u1", KL__U8},  {"|i1", KL__I8},  {"|b1", KL__BOOL}, {"<i2", KL__I16}, {"<u2", KL__U16},
    {"<i4", KL__I32}, {"<i8", KL__I64}, {"<f2", KL__F16},  {"<f4", KL__F32}, {"<f8", KL__F64},
};
#define N_TYPES (sizeof types / sizeof *types)

typedef struct header {
    const char *path, *p;
    kl__elem elem;
    int n_dims;
    int64_t dim[8];
} header;

static void blanks(header *h)
{
    while (*h->p == ' ' || *h->p == '\n' || *h->p == '\t' || *h->p == '\r') {
        h->p++;
    }
}

/* The next character past blanks, taken if it is c. */
static bool take(header *h, char c)
{
    blanks(h);
    if (*h->p != c) {
        return false;
    }
    h->p++;
    return true;
}

static bool word(header *h, const char *w)
{
    blanks(h);
    if (!kl__starts(h->p, w)) {
        return false;
    }
    h->p += strlen(w);
    return true;
}

/* A quoted string without escapes. */
static bool quoted(header *h, char *dst, size_t cap)
{
    blanks(h);
    const char q = *h->p;
    if (q != '\'' && q != '"') {
        return false;
    }
    const char *end = strchr(h->p + 1, q);
    if (!end || (size_t)(end - h->p) > cap) {
        return false;
    }
    const size_t n = (size_t)(end - h->p) - 1;
    memcpy(dst, h->p + 1, n);
    dst[n] = 0;
    h->p = end + 1;
    return true;
}

static kl_status broken(const header *h, const char *what)
{
    return kl__fail(KL_E_FORMAT, "%s: .npy header: %s expected at \"%.24s\"", h->path, what, h->p);
}

static kl_status read_descr(header *h)
{
    char d[32];
    if (take(h, '[')) {
        return kl__fail(KL_E_UNSUPPORTED, "%s: structured .npy dtypes cannot be read", h->path);
    }
    if (!quoted(h, d, sizeof d)) {
        return broken(h, "a dtype string");
    }
    if (strlen(d) == 3 && d[2] == '1' && strchr("<>=", d[0])) {
        d[0] = '|'; /* one byte has no order, whatever the writer put */
    }
    for (size_t i = 0; i < N_TYPES; i++) {
        if (!strcmp(d, types[i].descr)) {
            h->elem = types[i].elem;
            return KL_OK;
        }
    }
    return kl__fail(
        KL_E_UNSUPPORTED,
        "%s: .npy dtype \"%s\" cannot be read; little-endian f2 f4 f8, i1 i2 i4 i8, u1 u2 "
        "and b1 can%s",
        h->path, d, *d == '>' ? " (this one is big-endian)" : "");
}

static kl_status read_shape(header *h)
{
    h->n_dims = 0;
    if (!take(h, '(')) {
        return broken(h, "a shape");
    }
    while (!take(h, ')')) {
        blanks(h);
        int64_t v = 0;
        const char *digits = h->p;
        for (; *h->p >= '0' && *h->p <= '9'; h->p++) {
            if (!kl__mul64(v, 10, &v) || v > INT64_MAX - 9) {
                return kl__fail(KL_E_FORMAT, "%s: .npy header: dimension %.24s is too large",
                                h->path, digits);
            }
            v += *h->p - '0';
        }
        if (h->p == digits) {
            return broken(h, "a dimension (no sign)");
        }
        if (*h->p == 'L') { /* long integers of Python 2 */
            h->p++;
        }
        if (h->n_dims == 8) {
            return kl__fail(KL_E_UNSUPPORTED, "%s: .npy array has more than 8 dimensions", h->path);
        }
        h->dim[h->n_dims++] = v;
        if (!take(h, ',') && (blanks(h), *h->p != ')')) {
            return broken(h, "',' or ')'");
        }
    }
    return KL_OK;
}

static kl_status read_entry(header *h, unsigned *seen)
{
    char key[32];
    kl_status s = KL_OK;
    if (!quoted(h, key, sizeof key) || !take(h, ':')) {
        return broken(h, "a key");
    }
    unsigned bit;
    if (!strcmp(key, "descr")) {
        bit = 1;
        s = read_descr(h);
    } else if (!strcmp(key, "fortran_order")) {
        bit = 2;
        if (word(h, "True")) {
            return kl__fail(KL_E_UNSUPPORTED,
                            "%s: .npy array in Fortran order; save numpy.ascontiguousarray of it",
                            h->path);
        }
        if (!word(h, "False")) {
            return broken(h, "True or False");
        }
    } else if (!strcmp(key, "shape")) {
        bit = 4;
        s = read_shape(h);
    } else {
        return kl__fail(KL_E_FORMAT, "%s: .npy header: unknown key \"%s\"", h->path, key);
    }
    if (s == KL_OK && (*seen & bit)) {
        return kl__fail(KL_E_FORMAT, "%s: .npy header: key \"%s\" twice", h->path, key);
    }
    *seen |= bit;
    return s;
}

static kl_status read_dict(header *h)
{
    unsigned seen = 0;
    if (!take(h, '{')) {
        return broken(h, "'{'");
    }
    while (!take(h, '}')) {
        kl_status s = read_entry(h, &seen);
        if (s) {
            return s;
        }
        if (!take(h, ',') && (blanks(h), *h->p != '}')) {
            return broken(h, "',' or '}'");
        }
    }
    blanks(h);
    if (*h->p) {
        return broken(h, "the end");
    }
    if (seen != 7) {
        return kl__fail(KL_E_FORMAT, "%s: .npy header lacks \"%s\"", h->path,
                        !(seen & 1)   ? "descr"
                        : !(seen & 2) ? "fortran_order"
                                      : "shape");
    }
    return KL_OK;
}

static kl_status read_header(kl__reader *r, const char *path, kl__array *out)
{
    uint8_t m[8], len[4] = {0};
    char text[HEADER_MAX + 1];
    kl_status s = kl__reader_exact(r, m, sizeof m);
    if (s) {
        return s;
    }
    if (memcmp(m, "\x93NUMPY", 6) != 0) {
        return kl__fail(KL_E_FORMAT, "%s: not a .npy file: it does not begin \\x93NUMPY", path);
    }
    if (m[6] < 1 || m[6] > 3) {
        return kl__fail(KL_E_UNSUPPORTED, "%s: .npy version %d.%d; 1 to 3 can be read", path, m[6],
                        m[7]);
    }
    if ((s = kl__reader_exact(r, len, m[6] == 1 ? 2 : 4)) != KL_OK) {
        return s;
    }
    const uint32_t n =
        (uint32_t)len[0] | (uint32_t)len[1] << 8 | (uint32_t)len[2] << 16 | (uint32_t)len[3] << 24;
    if (n > HEADER_MAX) {
        return kl__fail(KL_E_FORMAT, "%s: .npy header of %lu bytes; at most %u are read", path,
                        (unsigned long)n, HEADER_MAX);
    }
    if ((s = kl__reader_exact(r, text, n)) != KL_OK) {
        return s;
    }
    text[n] = 0;
    if (strlen(text) != n) {
        return kl__fail(KL_E_FORMAT, "%s: .npy header holds a zero byte", path);
    }
    header h = {.path = path, .p = text};
    if ((s = read_dict(&h)) != KL_OK) {
        return s;
    }
    return kl__array_shape(path, out, h.elem, h.n_dims, h.dim);
}

kl_status kl__npy_read(const char *path, kl__array *out)
{
    memset(out, 0, sizeof *out);
    kl__reader *r = kl__reader_open(path);
    if (!r) {
        return kl__last_status();
    }
    kl_status s = read_header(r, path, out);
    if (s == KL_OK) {
        s = kl__array_fill(r, path, out);
    }
    const size_t size = s ? 1 : kl__elem_size(out->elem);
    if (size > 1 && kl__host_is_big()) {
        kl__swap(out->data, out->n_bytes / size, size);
    }
    kl__reader_close(r);
    return s;
}

static kl_status put_header(kl__writer *w, const char *path, const kl__array *a, const char *descr)
{
    kl__text t = {0};
    kl_status s = KL_E_MEMORY;
    kl__put(&t, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
    for (int i = 0; i < a->n_dims; i++) {
        kl__put(&t, "%s%lld", i ? ", " : "", (long long)a->dim[i]);
    }
    kl__put(&t, "%s), }", a->n_dims == 1 ? "," : "");
    while (!t.failed && (10 + t.len + 1) % 64 != 0) {
        kl__put_n(&t, " ", 1);
    }
    kl__put_n(&t, "\n", 1);
    if (t.failed) {
        kl__fail_in(s, "%s", path);
        goto out;
    }
    const uint8_t h[10] = {
        0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (uint8_t)(t.len & 255), (uint8_t)(t.len >> 8)};
    if ((s = kl__writer_put(w, h, sizeof h)) == KL_OK) {
        s = kl__writer_put(w, t.s, t.len);
    }
out:
    kl__text_free(&t);
    return s;
}

kl_status kl__npy_write(const char *path, const kl__array *a)
{
    const char *descr = NULL;
    size_t bytes = 0;
    for (size_t i = 0; i < N_TYPES; i++) {
        descr = types[i].elem == a->elem ? types[i].descr : descr;
    }
    if (!descr || a->n_dims < 0 || a->n_dims > 8 ||
        kl__array_size(path, a->elem, a->n_dims, a->dim, &bytes) || bytes != a->n_bytes) {
        return kl__fail(KL_E_ARG, "%s: the array's shape, type and size do not fit each other",
                        path);
    }
    kl__writer *w = kl__writer_open(path);
    if (!w) {
        return kl__last_status();
    }
    kl_status s = put_header(w, path, a, descr);
    if (s == KL_OK) {
        s = kl__array_put(w, a);
    }
    if (s) {
        kl__writer_drop(w);
        return s;
    }
    return kl__writer_commit(w);
}
