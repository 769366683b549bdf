/* The table of winners: a list sorted by key. */
#include "device/winners.h"

#include "base/mem.h"

#include <string.h>

/** Where `key` stands, or would. */
static size_t place_of(const kl__winners *w, const char *key, bool *there)
{
    size_t lo = 0, hi = w->n;
    *there = false;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = strcmp(w->list[mid].key, key);
        *there = c == 0;
        if (*there)
            return mid;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

const kl__winner *kl__winners_find(const kl__winners *w, const char *key)
{
    bool there;
    if (!w || !w->n || !key)
        return NULL;
    size_t i = place_of(w, key, &there);
    return there ? &w->list[i] : NULL;
}

kl_status kl__winners_put(kl__winners *w, const kl__winner *x)
{
    bool there = false;
    size_t i = place_of(w, x->key, &there);
    if (!there) {
        char *key = kl__strdup(x->key);
        if (!key || kl__grow(&w->list, &w->cap, w->n + 1, sizeof *w->list) != KL_OK) {
            kl__free(key);
            return KL_E_MEMORY;
        }
        memmove(w->list + i + 1, w->list + i, (w->n - i) * sizeof *w->list);
        w->n++;
        w->list[i].key = key;
    }
    char *key = w->list[i].key;
    w->list[i] = *x;
    w->list[i].key = key;
    return KL_OK;
}

void kl__winners_free(kl__winners *w)
{
    for (size_t i = 0; i < w->n; i++)
        kl__free(w->list[i].key);
    kl__free(w->list);
    *w = (kl__winners){0};
}
