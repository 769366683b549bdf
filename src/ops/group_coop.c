/* Groups that share a row or a channel: their number and size. */
#include "ops/group_coop.h"

kl__parts kl__parts_of(int64_t sums, int64_t count)
{
    enum { GROUPS = 1024, LEAST = 4096, MOST = 256 }; /* elements of a part, parts of a sum */
    kl__parts p = {.n = 1, .per = count};
    while (p.n < MOST && sums * p.n < GROUPS && count / p.n >= 2 * LEAST)
        p.n *= 2;
    p.per = p.n > 0 && count > 0 ? (count + p.n - 1) / p.n : 1;
    p.n = count > 0 ? (count + p.per - 1) / p.per : 1;
    return p;
}

size_t kl__row_group(const kl__caps *caps, kl__defs *d, int64_t n)
{
    size_t items = 256;
    while (items > 16 &&
           (items > caps->max_group || items > caps->max_item[0] || (int64_t)items * 2 > n))
        items /= 2;
    kl__def_int(d, "LS", (int64_t)items);
    return items;
}
