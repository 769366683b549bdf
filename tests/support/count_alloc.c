#include "support/count_alloc.h"

#include <kiln/base.h>

#include <stdatomic.h>
#include <stdlib.h>

static atomic_uint_fast64_t calls, fail_at;
static atomic_int_fast64_t live;
static atomic_bool fail_forever, failed;

static bool refuse(void)
{
    uint64_t n = atomic_fetch_add(&calls, 1) + 1, at = atomic_load(&fail_at);
    bool no = at && (n == at || (n > at && atomic_load(&fail_forever)));
    if (no)
        atomic_store(&failed, true);
    return no;
}

static void *alloc(void *user, size_t bytes)
{
    (void)user;
    void *p = refuse() ? NULL : malloc(bytes);
    if (p)
        atomic_fetch_add(&live, 1);
    return p;
}

static void *resize(void *user, void *p, size_t bytes)
{
    (void)user;
    void *q = refuse() ? NULL : realloc(p, bytes);
    if (q && !p)
        atomic_fetch_add(&live, 1);
    return q;
}

static void give_back(void *user, void *p)
{
    (void)user;
    if (p)
        atomic_fetch_sub(&live, 1);
    free(p);
}

void count_alloc_install(void)
{
    static const kl_allocator a = {alloc, resize, give_back, NULL};
    atomic_store(&calls, 0);
    atomic_store(&live, 0);
    count_alloc_fail_at(0, false);
    kl_set_allocator(&a);
}

void count_alloc_remove(void)
{
    kl_set_allocator(NULL);
}

uint64_t count_alloc_calls(void)
{
    return atomic_load(&calls);
}

int64_t count_alloc_live(void)
{
    return atomic_load(&live);
}

void count_alloc_fail_at(uint64_t nth, bool forever)
{
    atomic_store(&failed, false);
    atomic_store(&fail_forever, forever);
    atomic_store(&fail_at, nth ? atomic_load(&calls) + nth : 0);
}

bool count_alloc_failed(void)
{
    return atomic_load(&failed);
}
