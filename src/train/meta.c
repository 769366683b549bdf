/* Normalisation as text, "mean,mean,...;std,std,...", every number with the digits that give its
 * bits back. */
#include "train/meta.h"

#include <string.h>

static void put_list(kl__text *t, const float *v, int n)
{
    for (int i = 0; i < n; i++) {
        kl__put(t, "%s", i ? "," : "");
        kl__put_float(t, v[i]);
    }
}

void kl__put_normalise(kl__text *t, const kl_normalise *n)
{
    put_list(t, n->mean, n->n);
    kl__put(t, ";");
    put_list(t, n->std, n->n);
}

/* Numbers up to `end`; how many, -1 where it is no such list. */
static int parse_list(const char *s, char end, float *v, int max, const char **next)
{
    int n = 0;
    while (*s != end) {
        char *stop;
        const double x = kl__strtod(s, &stop);
        if (stop == s || n == max || (*stop != ',' && *stop != end)) {
            return -1;
        }
        v[n++] = (float)x;
        s = *stop == ',' ? stop + 1 : stop;
    }
    *next = s;
    return n;
}

bool kl__parse_normalise(const char *s, kl_normalise *out)
{
    kl_normalise n = {0};
    const int max = (int)(sizeof n.mean / sizeof *n.mean);
    n.n = parse_list(s, ';', n.mean, max, &s);
    if (n.n < 0 || parse_list(s + 1, '\0', n.std, max, &s) != n.n) {
        return false;
    }
    *out = n;
    return true;
}
