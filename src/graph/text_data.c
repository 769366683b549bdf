/* Data of constants in the text form: a list where it is short, else base64 of the bytes
 * (little-endian). */
#include "graph/text.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

enum { LIST_MAX = 64 };
static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* ---- base64 (RFC 4648) ------------------------------------------------------------------- */
static void put_base64(kl__text *t, const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i += 3) {
        size_t have = n - i < 3 ? n - i : 3;
        uint32_t v = (uint32_t)p[i] << 16 | (have > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
                     (have > 2 ? p[i + 2] : 0u);
        char c[4] = {digits[v >> 18], digits[v >> 12 & 63], have > 1 ? digits[v >> 6 & 63] : '=',
                     have > 2 ? digits[v & 63] : '='};
        kl__put_n(t, c, 4);
    }
}

static int value_of(char c)
{
    const char *p = c ? strchr(digits, c) : NULL;
    return p ? (int)(p - digits) : -1;
}

/** Exactly n bytes from len characters; false where they are something else. */
static bool get_base64(const char *s, size_t len, unsigned char *p, size_t n)
{
    if (len != (n + 2) / 3 * 4)
        return false;
    for (size_t i = 0, o = 0; i < len; i += 4, o += 3) {
        size_t have = n - o < 3 ? n - o : 3;
        uint32_t v = 0;
        for (size_t k = 0; k < 4; k++) {
            int d = k <= have ? value_of(s[i + k]) : s[i + k] == '=' ? 0 : -1;
            if (d < 0)
                return false;
            v = v << 6 | (uint32_t)d;
        }
        for (size_t k = 0; k < have; k++)
            p[o + k] = (unsigned char)(v >> (16 - 8 * k));
    }
    return true;
}

/** The host's order to little-endian and back: whole elements of `size` bytes. */
static void little_endian(unsigned char *p, size_t n, size_t size)
{
    const uint16_t one = 1;
    if (*(const unsigned char *)&one)
        return;
    for (size_t i = 0; i + size <= n; i += size)
        for (size_t k = 0; k < size / 2; k++) {
            unsigned char c = p[i + k];
            p[i + k] = p[i + size - 1 - k];
            p[i + size - 1 - k] = c;
        }
}

/* ---- writing ----------------------------------------------------------------------------- */
static double number(const kl__leaf *l, size_t i)
{
    double v = 0;
    size_t size = kl_dtype_size(l->dtype);
    kl__convert(&v, KL_F64, (const char *)l->data + i * size, l->dtype, 1);
    return v;
}

static bool as_list(const kl__leaf *l, size_t n)
{
    for (size_t i = 0; i < n && n <= LIST_MAX; i++)
        if (isnan(number(l, i))) /* its bits would be lost */
            return false;
    return n <= LIST_MAX;
}

static void put_list(kl__text *t, const kl__leaf *l, size_t n)
{
    kl__put(t, "[");
    for (size_t i = 0; i < n; i++) {
        double v = number(l, i);
        kl__put_n(t, ",", i > 0);
        if (l->dtype == KL_F64)
            kl__put_double(t, v);
        else if (l->dtype == KL_I32 || l->dtype == KL_U8)
            kl__put(t, "%lld", (long long)v);
        else
            kl__put_float(t, (float)v);
    }
    kl__put(t, "]");
}

void kl__put_data(kl__text *t, const kl__leaf *l)
{
    size_t size = kl_dtype_size(l->dtype), n = l->bytes / size;
    kl__put(t, "data=");
    if (as_list(l, n)) {
        put_list(t, l, n);
        return;
    }
    unsigned char *copy = kl__alloc(l->bytes);
    if (!copy) {
        t->failed = true;
        return;
    }
    memcpy(copy, l->data, l->bytes);
    little_endian(copy, l->bytes, size);
    kl__put(t, "\"");
    put_base64(t, copy, l->bytes);
    kl__put(t, "\"");
    kl__free(copy);
}

/* ---- reading ----------------------------------------------------------------------------- */
static bool read_number(kl__lexer *x, kl_dtype dtype, char *to)
{
    double v;
    char b[80];
    double lo = dtype == KL_I32 ? -2147483648.0 : 0, hi = dtype == KL_I32 ? 2147483647.0 : 255;
    if (x->t.kind != KL__T_WORD || !kl__parse_double(x->word, &v))
        return kl__lex_fail(x, &x->t, "a number is expected, %s stands here", kl__lex_shown(x, b));
    if ((dtype == KL_I32 || dtype == KL_U8) && !(v >= lo && v <= hi && v == floor(v)))
        return kl__lex_fail(x, &x->t, "%s is no %s number", x->word, kl_dtype_name(dtype));
    if (dtype == KL_F32) {
        float f = (float)v;
        memcpy(to, &f, sizeof f);
    } else {
        kl__convert(to, dtype, &v, KL_F64, 1);
    }
    return kl__lex_next(x);
}

static bool read_list(kl__lexer *x, kl_dtype dtype, size_t count, char *to)
{
    kl__token start = x->t;
    size_t n = 0, size = kl_dtype_size(dtype);
    if (!kl__lex_next(x))
        return false;
    while (!kl__lex_is(x, ']')) {
        if (n == count)
            return kl__lex_fail(x, &x->t, "more than the %zu numbers that the shape has", count);
        if (!read_number(x, dtype, to + n * size))
            return false;
        n++;
        if (!kl__lex_is(x, ']') && !kl__lex_take(x, ',', "between numbers"))
            return false;
    }
    if (n < count)
        return kl__lex_fail(x, &start, "%zu numbers; the shape has %zu", n, count);
    return kl__lex_next(x);
}

bool kl__read_data(kl__lexer *x, kl_dtype dtype, size_t count, void **data)
{
    size_t size = kl_dtype_size(dtype), bytes;
    char b[80];
    bool ok;
    *data = NULL;
    /* No memory for what the text cannot hold: at least a character for each number. */
    if (!kl__mul(count, size, &bytes) ||
        (x->t.kind == KL__T_STRING ? x->t.len / 4 * 3 < bytes : strnlen(x->t.s, count) < count))
        return kl__lex_fail(x, &x->t,
                            "data for %zu numbers of %zu bytes are expected, there are fewer",
                            count, size);
    if (!(*data = kl__calloc(bytes + 1, 1)))
        return kl__lex_fail_in(x, &x->t);
    if (x->t.kind == KL__T_STRING) {
        ok = get_base64(x->t.s, x->t.len, *data, bytes);
        if (!ok)
            kl__lex_fail(x, &x->t, "this is not base64 of %zu bytes", bytes);
        little_endian(*data, bytes, size);
        ok = ok && kl__lex_next(x);
    } else if (kl__lex_is(x, '[')) {
        ok = read_list(x, dtype, count, *data);
    } else {
        ok = kl__lex_fail(x, &x->t, "data are a list or a string of base64, %s stands here",
                          kl__lex_shown(x, b));
    }
    if (!ok) {
        kl__free(*data);
        *data = NULL;
    }
    return ok;
}
