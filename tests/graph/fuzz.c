/* Random damage to the text form: thousands of mutants are either refused with a place, or are
 * graphs that print and read back. Meant to run under the address sanitizer as well. GRAPH_FUZZ=N
 * sets the number of mutants. */
#include "every_op.h"

#include "base/rng.h"
#include "base/str.h"
#include "graph/graph.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { ROOM = 3 * sizeof every_op };
static kl__rng rng;
static uint64_t draws;

static uint32_t below(uint32_t n)
{
    return kl__rng_below(rng, draws++, n ? n : 1);
}

static const char *const words[] = {
    "0",        "-1",      "1",          "2147483647", "-2147483648", "9223372036854775807",
    "1e38",     "nan",     "inf",        "-0",         "N",           "[",
    "]",        "(",       ")",          ",",          "=",           "\"",
    "#",        "\n",      "x",          "v",          "c1",          "gm:1",
    "output ",  "conv2d",  "relu",       "[N,2]",      "same",        "\\x41",
    "[0]",      "[0,0]",   "-2",         "65536",      "kernel=",     "filters=0",
    "[]",       "true",    "1000000007", ":1",         "c1.weight",   "[N,100000,100000,100000]",
    "shape=",   "axis=-1", "groups=3",   "\r",         "\xff",        "data=",
    "dtype=u8",
};

static size_t splice(char *s, size_t len, size_t at, size_t cut, const char *put, size_t n)
{
    if (cut > len - at)
        cut = len - at;
    if (len - cut + n + 1 > ROOM)
        return len;
    memmove(s + at + n, s + at + cut, len - at - cut + 1);
    memcpy(s + at, put, n);
    return len - cut + n;
}

static size_t mutate(char *s, size_t len)
{
    size_t at = below((uint32_t)len + 1);
    char one = (char)(1 + below(255)), piece[64];
    const char *w = words[below(sizeof words / sizeof *words)];
    switch (below(6)) {
    case 0:
        return splice(s, len, at, 1, &one, 1);
    case 1:
        return splice(s, len, at, 1 + below(8), "", 0);
    case 2:
        return splice(s, len, at, 0, w, strlen(w));
    case 3: { /* a word of the text by another */
        size_t n = strcspn(s + at, " ,()[]=\n");
        return splice(s, len, at, n, w, strlen(w));
    }
    case 4: { /* a piece from elsewhere */
        size_t from = below((uint32_t)len + 1), n = below(sizeof piece);
        n = n > len - from ? len - from : n;
        memcpy(piece, s + from, n);
        return splice(s, len, at, below(4), piece, n);
    }
    default: /* cut off, seldom */
        if (below(20) == 0)
            s[len = at] = '\0';
        return len;
    }
}

/** Some lines of the text, so that a mutant often gets past its damage. */
static size_t excerpt(char *s)
{
    const char *p = every_op;
    size_t len = 0, n = 0;
    uint32_t keep = 1 + below(10);
    for (; *p; p += n) {
        n = strcspn(p, "\n") + 1;
        if (p < every_op + 200 || below(10) < keep) {
            memcpy(s + len, p, n);
            len += n;
        }
    }
    s[len] = '\0';
    return len;
}

static void mutants_are_refused_or_survive(void **state)
{
    static char s[ROOM];
    const char *env = getenv("GRAPH_FUZZ");
    int n = env ? atoi(env) : 4000, taken = 0;
    rng = kl__rng_of(7, "fuzz", 0);
    (void)state;
    for (int i = 0; i < n; i++) {
        size_t len = excerpt(s);
        for (uint32_t k = below(4); k-- > 0;)
            len = mutate(s, len);
        kl_graph *g = kl_graph_parse(s, "mutant");
        if (!g) {
            if (!kl__starts(kl_last_error(), "mutant:"))
                fail_msg("mutant %d: no place in \"%s\"\n%s", i, kl_last_error(), s);
            continue;
        }
        taken++;
        char *once = kl_graph_print(g);
        kl_graph *h = once ? kl_graph_parse(once, "print") : NULL;
        char *twice = h ? kl_graph_print(h) : NULL;
        if (!twice || strcmp(once, twice) != 0)
            fail_msg("mutant %d does not survive: %s\n%s\n-> %s\n-> %s", i, kl_last_error(), s,
                     once, twice);
        char *dot = kl_graph_dot(g);
        assert_non_null(dot);
        kl_free(dot);
        kl_free(once);
        kl_free(twice);
        kl_graph_destroy(g);
        kl_graph_destroy(h);
    }
    /* both sides were met */
    assert_true(taken > n / 20);
    assert_true(taken < n - n / 20);
}

static void noise_is_refused(void **state)
{
    char s[200];
    (void)state;
    rng = kl__rng_of(8, "noise", 0);
    for (int i = 0; i < 20000; i++) {
        size_t n = below(sizeof s - 1);
        for (size_t k = 0; k < n; k++)
            s[k] = i % 2 ? (char)(1 + below(255)) : "x=input(),[]N1 \n\"c.:-"[below(21)];
        s[n] = '\0';
        kl_graph_destroy(kl_graph_parse(s, NULL));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mutants_are_refused_or_survive),
        cmocka_unit_test(noise_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
