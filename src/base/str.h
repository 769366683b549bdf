/* Text: a growing buffer, and numbers read and written the same under every locale. */
#ifndef KL_BASE_STR_H
#define KL_BASE_STR_H

#include <kiln/base.h>

/** A growing string; zero-initialise. An allocation that fails sets `failed` and later puts do
 * nothing, so a text is built freely and checked once. */
typedef struct kl__text {
    char *s; /* NUL-terminated once anything was put; NULL before */
    size_t len, cap;
    bool failed;
} kl__text;

void kl__put(kl__text *t, const char *fmt, ...) KL_PRINTF(2, 3); /* numbers: C locale for %g too */
void kl__put_n(kl__text *t, const char *s, size_t n);
/** The shortest decimal that reads back to the same float / double; "nan", "inf", "-inf" as such.
 */
void kl__put_float(kl__text *t, float x);
void kl__put_double(kl__text *t, double x);
void kl__text_free(kl__text *t);

/** Whole-string conversions; false where s is not just such a number or does not fit. */
bool kl__parse_i64(const char *s, int64_t *out);
bool kl__parse_u64(const char *s, uint64_t *out);
/* '.' whatever the locale; nan and inf are accepted */
bool kl__parse_double(const char *s, double *out);
/** As strtod, C locale; *end as strtod's. */
double kl__strtod(const char *s, char **end);

bool kl__starts(const char *s, const char *prefix);
bool kl__ends(const char *s, const char *suffix);
/** Glob with * and ?; no brackets. */
bool kl__glob(const char *pattern, const char *s);
/** Case-insensitive (ASCII) search. */
bool kl__contains_nocase(const char *s, const char *part);
/** The candidate with the smallest edit distance to `s` (at most a third of it), or NULL: "did you
 * mean". */
const char *kl__nearest(const char *s, const char *const *candidates, size_t n);

#endif
