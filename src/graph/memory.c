/* The memory plan: lifetimes of storages to offsets in one arena. A storage is shared by a value,
 * its views, and the outputs that overwrite it. Placement is greedy by size: the largest storage
 * first, each at the lowest offset where no storage alive at the same time lies (within a few
 * percent of optimal on layered nets, and deterministic). */
#include "graph/graph.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

typedef struct storage {
    size_t bytes, offset;
    uint32_t first, last; /* positions of applies */
    uint32_t read;        /* the last position that reads it; `last` may be later */
    bool used;
} storage;

typedef struct work {
    kl_graph *g;
    uint32_t *root;    /* by node id: storage index; UINT32_MAX: placed elsewhere */
    uint32_t *last;    /* by node id: last position that reads it */
    uint32_t *held;    /* by node id: until when its bytes are to stay; last, or later */
    const uint32_t *until; /* by position; NULL: an apply has ended where the next one begins */
    storage *s;        /* by node id of the first value in it; scratch after them, by apply */
    size_t n;
    bool separate;
    kl__memory_plan *out;
} work;

enum { FOREVER = 0x7fffffff };
static const uint32_t ELSEWHERE = UINT32_MAX;

static uint32_t ends(const work *w, uint32_t p)
{
    return w->until ? w->until[p] : p;
}

static void last_uses(work *w)
{
    const kl_graph *g = w->g;
    for (uint32_t p = 0; p < g->n_applies; p++)
        for (int i = 0; i < g->applies[p]->n_in; i++) {
            uint32_t id = g->applies[p]->in[i]->id;
            w->last[id] =
                g->applies[p]->in[i]->by->prepared && !g->applies[p]->prepared ? FOREVER : p;
            w->held[id] = w->held[id] > ends(w, p) ? w->held[id] : ends(w, p);
        }
    for (size_t i = 0; i < g->n_outputs; i++)
        w->last[g->outputs[i].node->id] = FOREVER;
    for (size_t i = 0; i < g->n_updates; i++)
        w->last[g->updates[i].value->id] = FOREVER;
    for (size_t i = 0; i < g->n_nodes; i++)
        w->held[i] = w->held[i] > w->last[i] ? w->held[i] : w->last[i];
}

/** Extends a storage to a new member's life. */
static void join(work *w, uint32_t root, const kl_node *x)
{
    w->root[x->id] = root;
    if (root == ELSEWHERE)
        return;
    storage *s = &w->s[root];
    s->last = w->held[x->id] > s->last ? w->held[x->id] : s->last;
    s->read = w->last[x->id] > s->read ? w->last[x->id] : s->read;
}

/** May output `slot` of `a` at position p take the storage of input i? */
static bool can_take(const work *w, const kl__apply *a, uint32_t p, int i, int slot)
{
    const kl_node *x = a->in[i], *out = a->out[slot];
    uint32_t root = w->root[x->id];
    size_t xb, ob;
    if (root == ELSEWHERE || w->s[root].read != p)
        return false;
    if (w->s[root].last != p && ends(w, p) == p) /* what runs beside the others reads it still */
        return false;
    if (!kl__layout_equal(&x->desc.layout, &out->desc.layout)) /* element k lies elsewhere */
        return false;
    for (int k = 0; k < slot; k++) /* an output that nobody reads took it before */
        if (w->root[a->out[k]->id] == root)
            return false;
    if (!kl__desc_bytes(&x->desc, &xb) || !kl__desc_bytes(&out->desc, &ob) || xb != ob ||
        ob > w->s[root].bytes)
        return false;
    for (int k = 0; k < a->n_in;
         k++) /* read through another shape as well: order of reads and writes unknown */
        if (k != i && w->root[a->in[k]->id] == root && a->in[k] != x)
            return false;
    for (int k = 0; k < a->n_in;
         k++) /* the same value broadcast elsewhere in the same apply has the same desc: fine */
        if (a->in[k] == x && !kl_shape_equal(x->desc.shape, out->desc.shape) && !a->op->aliases)
            return false;
    return true;
}

static int in_place(const work *w, const kl__apply *a, uint32_t p, int slot)
{
    const kl_node *out = a->out[slot];
    if (a->op->aliases) {
        int i = a->op->aliases(a, slot);
        return i >= 0 && i < a->n_in && can_take(w, a, p, i, slot) ? i : -1;
    }
    if (!(a->op->flags & KL__OP_ELEMENTWISE))
        return -1;
    for (int i = 0; i < a->n_in; i++)
        if (kl_shape_equal(a->in[i]->desc.shape, out->desc.shape) &&
            a->in[i]->desc.dtype == out->desc.dtype && can_take(w, a, p, i, slot))
            return i;
    return -1;
}

static kl_status place_outputs(work *w, kl__apply *a, uint32_t p)
{
    for (int i = 0; i < a->n_out; i++) {
        kl_node *x = a->out[i];
        size_t bytes;
        if (x->place.kind != KL__NOWHERE) {
            w->root[x->id] = ELSEWHERE;
            continue;
        }
        if (a->op->flags & KL__OP_VIEW) {
            join(w, w->root[a->in[0]->id], x);
            continue;
        }
        if (a->op->flags & KL__OP_STATE) {
            int k = a->op->aliases ? a->op->aliases(a, i) : -1;
            if (k >= 0) {
                join(w, w->root[a->in[k]->id], x);
                continue;
            }
        }
        if (!kl__desc_bytes(&x->desc, &bytes))
            return kl__fail(KL_E_SHAPE, "\"%s\" is too large for one buffer", x->name);
        w->out->n_values++;
        w->out->sum_bytes += bytes;
        int k = w->separate ? -1 : in_place(w, a, p, i);
        if (k >= 0) {
            w->out->n_in_place++;
            join(w, w->root[a->in[k]->id], x);
            continue;
        }
        w->s[x->id] = (storage){
            .bytes = bytes, .first = p, .last = ends(w, p), .read = p, .used = true};
        /* filled before the first apply runs, and still there for the next run */
        if (a->op->flags & KL__OP_LEAF) {
            w->s[x->id].first = 0;
            w->s[x->id].last = w->s[x->id].read = FOREVER;
        }
        join(w, x->id, x);
    }
    return KL_OK;
}

static int by_size(const void *a, const void *b)
{
    const storage *x = *(storage *const *)a, *y = *(storage *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x->first != y->first ? (x->first < y->first ? -1 : 1) : x < y ? -1 : x > y;
}

/** Lowest free offset for s; `placed` is in order of offset. */
static size_t find_offset(const storage *s, storage *const *placed, size_t n, size_t align,
                          size_t chunk)
{
    size_t at = 0;
    for (size_t i = 0; i <= n; i++) {
        if (i < n && (placed[i]->first > s->last || s->first > placed[i]->last))
            continue;
        at = (at + align - 1) / align * align;
        if (at / chunk != (at + s->bytes - 1) / chunk)
            at = (at / chunk + 1) * chunk;
        if (i == n || at + s->bytes <= placed[i]->offset)
            break;
        if (placed[i]->offset + placed[i]->bytes > at)
            at = placed[i]->offset + placed[i]->bytes;
    }
    return at;
}

static void keep_in_order(storage **placed, size_t n, storage *s)
{
    for (; n > 0 && placed[n - 1]->offset > s->offset; n--)
        placed[n] = placed[n - 1];
    placed[n] = s;
}

static kl_status pack(work *w, size_t align, size_t chunk)
{
    storage **order = kl__calloc(2 * w->n + 1, sizeof *order);
    if (!order)
        return KL_E_MEMORY;
    storage **placed = order + w->n;
    size_t n = 0, end = 0;
    for (size_t i = 0; i < w->n; i++)
        if (w->s[i].used && w->s[i].bytes)
            order[n++] = &w->s[i];
    if (!w->separate)
        qsort(order, n, sizeof *order, by_size);
    for (size_t i = 0; i < n; i++) {
        order[i]->offset = w->separate ? (end + align - 1) / align * align
                                       : find_offset(order[i], placed, i, align, chunk);
        keep_in_order(placed, i, order[i]);
        if (order[i]->offset + order[i]->bytes > end)
            end = order[i]->offset + order[i]->bytes;
    }
    kl__free(order);
    w->out->arena_bytes = end;
    w->out->chunk_bytes = chunk;
    return KL_OK;
}

static void write_places(work *w)
{
    kl_graph *g = w->g;
    for (size_t p = 0; p < g->n_applies; p++) {
        kl__apply *a = g->applies[p];
        for (int i = 0; i < a->n_out; i++) {
            kl_node *x = a->out[i];
            uint32_t root = w->root[x->id];
            if (x->place.kind != KL__NOWHERE)
                continue;
            if (root != ELSEWHERE) {
                x->place.kind = KL__AT_SPAN;
                x->place.span = (kl__span){NULL, w->s[root].offset};
            } else { /* a view of, or in place on, something placed before */
                int k = a->op->flags & KL__OP_VIEW ? 0 : a->op->aliases(a, i);
                x->place = a->in[k]->place;
            }
        }
        const storage *s = &w->s[g->n_nodes + p];
        if (s->used)
            a->scratch = (kl__place){KL__AT_SPAN, {NULL, s->offset}, 0};
    }
}

/** No storage is larger than a buffer of the device may be. */
static kl_status check_sizes(const work *w, const kl__caps *caps, size_t chunk)
{
    const kl_graph *g = w->g;
    for (size_t i = 0; i < w->n; i++)
        if (w->s[i].used && w->s[i].bytes > chunk)
            return kl__fail(
                KL_E_MEMORY,
                "\"%s\" needs %zu bytes; %s gives at most %zu in one buffer: use a smaller batch",
                i < g->n_nodes ? g->nodes[i]->name : g->applies[i - g->n_nodes]->name,
                w->s[i].bytes, caps->info.name, chunk);
    return KL_OK;
}

kl_status kl__graph_memory(kl_graph *g, const kl__caps *caps, size_t align, bool separate,
                           kl__memory_plan *out)
{
    return kl__graph_memory_until(g, caps, align, separate, NULL, out);
}

kl_status kl__graph_memory_until(kl_graph *g, const kl__caps *caps, size_t align, bool separate,
                                 const uint32_t *until, kl__memory_plan *out)
{
    work w = {.g = g, .separate = separate, .out = out, .until = until};
    kl_status st = kl_graph_check(g);
    memset(out, 0, sizeof *out);
    w.n = g->n_nodes + g->n_applies;
    w.held = kl__calloc(g->n_nodes + 1, sizeof *w.held);
    w.root = kl__calloc(g->n_nodes + 1, sizeof *w.root);
    w.last = kl__calloc(g->n_nodes + 1, sizeof *w.last);
    w.s = kl__calloc(w.n + 1, sizeof *w.s);
    if (st == KL_OK && (!w.root || !w.last || !w.held || !w.s))
        st = KL_E_MEMORY;
    if (st == KL_OK)
        last_uses(&w);
    for (uint32_t p = 0; st == KL_OK && p < g->n_applies; p++) {
        kl__apply *a = g->applies[p];
        size_t bytes =
            a->variant && a->variant->scratch_bytes ? a->variant->scratch_bytes(a, caps) : 0;
        st = place_outputs(&w, a, p);
        if (bytes)
            w.s[g->n_nodes + p] = (storage){
                .bytes = bytes, .first = p, .last = ends(&w, p), .read = p, .used = true};
        w.out->sum_bytes += bytes;
    }
    size_t chunk = caps->max_alloc >= align ? (size_t)(caps->max_alloc / align * align)
                                            : SIZE_MAX / 2 / align * align;
    if (st == KL_OK)
        st = check_sizes(&w, caps, chunk);
    if (st == KL_OK)
        st = pack(&w, align, chunk);
    if (st == KL_OK)
        write_places(&w);
    kl__free(w.root);
    kl__free(w.last);
    kl__free(w.held);
    kl__free(w.s);
    return st;
}

void kl__graph_lifetime(const kl_graph *g, const kl_node *x, uint32_t *first, uint32_t *last)
{
    *first = *last = x->by->id;
    for (uint32_t p = 0; p < g->n_applies; p++)
        for (int i = 0; i < g->applies[p]->n_in; i++)
            if (g->applies[p]->in[i] == x)
                *last = p;
    for (size_t i = 0; i < g->n_outputs; i++)
        if (g->outputs[i].node == x && g->n_applies)
            *last = (uint32_t)g->n_applies - 1;
}
