#include "base/str.h"

#include "base/clocale.h"
#include "base/mem.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the growing text -------------------------------------------------------------------------
 */

static bool make_room(kl__text *t, size_t more)
{
    size_t need;
    if (t->failed) {
        return false;
    }
    if (!kl__add(t->len, more, &need) || !kl__add(need, 1, &need) ||
        kl__grow(&t->s, &t->cap, need, 1) != KL_OK) {
        t->failed = true;
    }
    return !t->failed;
}

void kl__put_n(kl__text *t, const char *s, size_t n)
{
    if (make_room(t, n)) {
        if (n) {
            memcpy(t->s + t->len, s, n);
        }
        t->len += n;
        t->s[t->len] = '\0';
    }
}

void kl__put(kl__text *t, const char *fmt, ...)
{
    char small[256];
    va_list ap;
    va_start(ap, fmt);
    const int n = kl__vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    if (n < 0) {
        t->failed = true;
    } else if ((size_t)n < sizeof small) {
        kl__put_n(t, small, (size_t)n);
    } else if (make_room(t, (size_t)n)) {
        va_start(ap, fmt);
        kl__vsnprintf(t->s + t->len, (size_t)n + 1, fmt, ap);
        va_end(ap);
        t->len += (size_t)n;
    }
}

void kl__text_free(kl__text *t)
{
    kl__free(t->s);
    *t = (kl__text){0};
}

/* ---- numbers ----------------------------------------------------------------------------------
 */

static bool put_special(kl__text *t, double x)
{
    if (isnan(x)) {
        kl__put_n(t, "nan", 3);
    } else if (isinf(x)) {
        kl__put(t, "%s", x < 0 ? "-inf" : "inf");
    } else {
        return false;
    }
    return true;
}

void kl__put_float(kl__text *t, float x)
{
    if (put_special(t, (double)x)) {
        return;
    }
    char s[32];
    const kl__clocale l = kl__clocale_enter();
    /* Six digits always survive in a normal float, so fewer are not tried; subnormals hold fewer.
     */
    for (int p = fabsf(x) < FLT_MIN ? 1 : FLT_DIG; p <= FLT_DECIMAL_DIG; p++) {
        snprintf(s, sizeof s, "%.*g", p, (double)x);
        /* Readers may go by way of double, which rounds twice: both ways must end at x. */
        const float direct = strtof(s, NULL), twice = (float)strtod(s, NULL);
        if (memcmp(&direct, &x, sizeof x) == 0 && memcmp(&twice, &x, sizeof x) == 0) {
            break;
        }
    }
    kl__clocale_leave(l);
    kl__put_n(t, s, strlen(s));
}

void kl__put_double(kl__text *t, double x)
{
    if (put_special(t, x)) {
        return;
    }
    char s[40];
    const kl__clocale l = kl__clocale_enter();
    for (int p = fabs(x) < DBL_MIN ? 1 : DBL_DIG; p <= DBL_DECIMAL_DIG; p++) {
        snprintf(s, sizeof s, "%.*g", p, x);
        const double back = strtod(s, NULL);
        if (memcmp(&back, &x, sizeof x) == 0) {
            break;
        }
    }
    kl__clocale_leave(l);
    kl__put_n(t, s, strlen(s));
}

double kl__strtod(const char *s, char **end)
{
    const kl__clocale l = kl__clocale_enter();
    const double x = strtod(s, end);
    kl__clocale_leave(l);
    return x;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Magnitude of a string of digits only. */
static bool digits(const char *s, uint64_t *out)
{
    uint64_t x = 0;
    if (!is_digit(*s)) {
        return false;
    }
    for (; is_digit(*s); s++) {
        if (__builtin_mul_overflow(x, (uint64_t)10, &x) ||
            __builtin_add_overflow(x, (uint64_t)(*s - '0'), &x)) {
            return false;
        }
    }
    *out = x;
    return *s == '\0';
}

bool kl__parse_u64(const char *s, uint64_t *out)
{
    return s && digits(s + (*s == '+'), out);
}

bool kl__parse_i64(const char *s, int64_t *out)
{
    uint64_t x;
    if (!s) {
        return false;
    }
    const bool minus = *s == '-';
    if (!digits(s + (minus || *s == '+'), &x) || x > (uint64_t)INT64_MAX + minus) {
        return false;
    }
    /* -INT64_MIN does not exist, so the smallest one is reached from the other side of zero. */
    *out = !minus ? (int64_t)x : x ? -(int64_t)(x - 1) - 1 : 0;
    return true;
}

/* strtod also takes leading blanks, hexadecimal and "nan(...)", which no file of ours means. */
static bool looks_decimal(const char *s)
{
    static const char *const words[] = {"nan", "inf", "infinity"};
    s += *s == '-' || *s == '+';
    if (is_digit(*s) || *s == '.') {
        return !strpbrk(s, "xX");
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strlen(s) == strlen(words[i]) && kl__contains_nocase(s, words[i])) {
            return true;
        }
    }
    return false;
}

bool kl__parse_double(const char *s, double *out)
{
    if (!s || !looks_decimal(s)) {
        return false;
    }
    char *end;
    const int saved = errno;
    errno = 0;
    const double x = kl__strtod(s, &end);
    /* Too large does not fit; too small is as near as a double gets, and is taken. */
    const bool overflow = errno == ERANGE && fabs(x) > 1;
    errno = saved;
    if (*end || overflow) {
        return false;
    }
    *out = x;
    return true;
}

/* ---- matching ---------------------------------------------------------------------------------
 */

bool kl__starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool kl__ends(const char *s, const char *suffix)
{
    const size_t n = strlen(s), m = strlen(suffix);
    return m <= n && memcmp(s + n - m, suffix, m) == 0;
}

bool kl__glob(const char *pattern, const char *s)
{
    /* Only the last star needs to be tried again, so this is O(pattern x text) at worst. */
    const char *star = NULL, *retry = NULL;
    while (*s) {
        if (*pattern == '*') {
            star = ++pattern;
            retry = s;
        } else if (*pattern == '?' || *pattern == *s) {
            pattern++;
            s++;
        } else if (star) {
            pattern = star;
            s = ++retry;
        } else {
            return false;
        }
    }
    while (*pattern == '*') {
        pattern++;
    }
    return !*pattern;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool kl__contains_nocase(const char *s, const char *part)
{
    for (;; s++) {
        size_t i = 0;
        while (part[i] && lower(s[i]) == lower(part[i])) {
            i++;
        }
        if (!part[i]) {
            return true;
        }
        if (!*s) {
            return false;
        }
    }
}

enum { NEAREST_MAX = 128 };

/* Levenshtein, one row kept; both at most NEAREST_MAX long. */
static size_t edit_distance(const char *a, size_t n, const char *b, size_t m)
{
    size_t row[NEAREST_MAX + 1];
    for (size_t j = 0; j <= m; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
        }
    }
    return row[m];
}

const char *kl__nearest(const char *s, const char *const *candidates, size_t n)
{
    const size_t len = strlen(s);
    const char *best = NULL;
    size_t limit = len / 3 + 1; /* what is to be undercut */
    for (size_t i = 0; i < n && len <= NEAREST_MAX; i++) {
        const size_t m = strlen(candidates[i]);
        const size_t d = m <= NEAREST_MAX ? edit_distance(s, len, candidates[i], m) : limit;
        if (d < limit) {
            limit = d;
            best = candidates[i];
        }
    }
    return best;
}
