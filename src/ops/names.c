/* Names in a graph: each is used once; the map from name to value. */
#include "ops/op.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define uthash_malloc(n) kl__alloc(n)
#define uthash_free(p, n) kl__free(p)
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

typedef struct entry {
    const char *name;
    kl_node *node;
    UT_hash_handle hh;
} entry;

/** Generated names count up per op; the map remembers where a prefix stands, so that naming n nodes
 * is O(n). */
typedef struct counter {
    const kl__op *op;
    unsigned next;
    UT_hash_handle hh;
} counter;

typedef struct names {
    entry *entries;
    counter *counters;
} names;

static names *map_of(kl_graph *g)
{
    if (!g->names)
        g->names = kl__calloc(1, sizeof(names));
    return g->names;
}

bool kl__names_add(kl_graph *g, kl_node *x)
{
    names *m = map_of(g);
    entry *e = m ? kl__graph_alloc(g, sizeof *e) : NULL;
    if (!e)
        return false;
    e->name = x->name;
    e->node = x;
    unsigned before = HASH_COUNT(m->entries);
    HASH_ADD_KEYPTR(hh, m->entries, e->name, strlen(e->name), e);
    if (HASH_COUNT(m->entries) == before)
        return kl__no_memory(sizeof *e) == KL_OK;
    return true;
}

void kl__names_free(kl_graph *g)
{
    names *m = g->names;
    if (!m)
        return;
    HASH_CLEAR(hh, m->entries);
    HASH_CLEAR(hh, m->counters);
    kl__free(m);
    g->names = NULL;
}

static kl_node *find(const kl_graph *g, const char *name)
{
    const names *m = g ? g->names : NULL;
    entry *e = NULL;
    if (m && name)
        HASH_FIND(hh, m->entries, name, strlen(name), e);
    return e ? e->node : NULL;
}

kl_node *kl_graph_find(kl_graph *g, const char *name)
{
    return find(g, name);
}

static bool legal(const char *s)
{
    if (!*s || strlen(s) > 200)
        return false;
    for (; *s; s++)
        if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') ||
              *s == '_' || *s == '.' || *s == '/' || *s == '-' || *s == ':'))
            return false;
    return true;
}

const char *kl__graph_name(kl_graph *g, const kl__op *op, const char *wanted)
{
    if (wanted) {
        if (!legal(wanted))
            return kl__graph_fail(
                g, KL_E_ARG, "%s: \"%s\" is no name: letters, digits and _ . / - : are allowed",
                op->name, wanted);
        if (kl_graph_find(g, wanted))
            return kl__graph_fail(g, KL_E_ARG, "%s: the name \"%s\" is taken", op->name, wanted);
        return kl__graph_strdup(g, wanted);
    }
    names *m = map_of(g);
    counter *c = NULL;
    if (!m)
        return kl__graph_fail(g, KL_E_MEMORY, "graph: out of host memory");
    HASH_FIND_PTR(m->counters, &op, c);
    if (!c) {
        if (!(c = kl__graph_alloc(g, sizeof *c)))
            return NULL;
        c->op = op;
        c->next = 1;
        unsigned before = HASH_COUNT(m->counters);
        HASH_ADD_PTR(m->counters, op, c);
        if (HASH_COUNT(m->counters) == before)
            return kl__graph_fail(g, KL_E_MEMORY, "graph: out of host memory");
    }
    for (;;) {
        char *s = kl__asprintf("%s_%u", op->name, c->next++);
        if (!s)
            return kl__graph_fail(g, KL_E_MEMORY, "graph: out of host memory");
        bool taken = kl_graph_find(g, s) || (g->reserved && find(g->reserved, s));
        const char *name = taken ? "" : kl__graph_strdup(g, s);
        kl__free(s);
        if (!name || *name)
            return name;
    }
}
