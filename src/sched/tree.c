/* Sums of shards on one device: what is added when, in buckets of the arena so that what is ready
 * can leave early. */
#include "sched/stepper_inside.h"

#include "ops/optim.h"

int kl__tree_nodes(int first, int end, kl__node_id out[KL__MAX_NODES])
{
    int n = 0;
    for (int i = first; i < end; i++) {
        kl__node_id node = {0, i};
        for (; node.index & 1 && n && out[n - 1].level == node.level &&
               out[n - 1].index == node.index - 1;
             n--)
            node = (kl__node_id){node.level + 1, node.index >> 1};
        out[n++] = node;
    }
    return n;
}

/* ---- buckets ---- */

/** The last parameters' gradients come first, and with them what lies behind all gradients: the
 * values of state updates and the totals, which the forward pass leaves. */
void kl__tree_buckets(kl__stepper *s)
{
    enum { BLOCK = 4096, LEAST = 4 << 20 /* bytes worth a transfer of their own */ };
    size_t n = s->sums_elems * s->real_size / LEAST;
    int k = n < 1 || !s->opts.buckets ? 1 : n > KL__MAX_BUCKETS ? KL__MAX_BUCKETS : (int)n;
    size_t end = s->sums_elems;
    s->n_buckets = k;
    for (int b = 0; b < k; b++) {
        size_t begin = s->sums_elems / (size_t)k * (size_t)(k - 1 - b) / BLOCK * BLOCK;
        s->bucket[b] = (kl__bucket){begin, end - begin};
        end = begin;
    }
}

/** How many applies of a pass must have run for a bucket to be complete. */
void kl__tree_cuts(const kl__stepper *s, kl__pass *p)
{
    const kl_graph *g = p->plan->graph;
    const bool whole = (kl__ctx_flags(s->ctx) & (KL_CTX_SYNC | KL_CTX_DEBUG_BUFFERS |
                                                 KL_CTX_BARE_BUFFERS)) != 0;
    for (int b = 0; b < s->n_buckets; b++)
        p->cut[b] = whole || b == s->n_buckets - 1 ? g->n_applies : 0;
    for (size_t i = 0; !whole && i < g->n_outputs; i++) {
        const kl__graph_output *o = &g->outputs[i];
        const kl__place *at = &o->node->place;
        const bool there = at->kind == KL__AT_SPAN && at->span.mem == o->place.span.mem &&
                           at->span.offset == o->place.span.offset;
        size_t last = 0, lo = o->place.span.offset / s->real_size,
               n = (size_t)kl_shape_count(o->node->desc.shape);
        while (last < g->n_applies && g->applies[last] != o->node->by)
            last++;
        last = there && last < g->n_applies ? last + 1 : g->n_applies; /* else copied at the end */
        for (int b = 0; b < s->n_buckets; b++)
            if (lo < s->bucket[b].first + s->bucket[b].n && lo + n > s->bucket[b].first &&
                p->cut[b] < last)
                p->cut[b] = last;
    }
    for (int b = 1; b < s->n_buckets; b++) /* buckets leave in their order */
        if (p->cut[b] < p->cut[b - 1])
            p->cut[b] = p->cut[b - 1];
}

kl__span kl__tree_span(const kl__stepper *s, kl__mem *mem, int bucket)
{
    return (kl__span){mem, s->bucket[bucket].first * s->real_size};
}

/* ---- additions ---- */
static kl_node *arena(kl_graph *g, const char *name, kl__span span, size_t n)
{
    kl_node *x = kl_input(g, name, g->real, (kl_shape){1, {(int64_t)n}});
    if (x)
        x->place = (kl__place){KL__AT_SPAN, span, 0};
    return x;
}

static kl_status make_level(kl__stepper *s, int k)
{
    static const uint32_t zero;
    const size_t bytes = s->sums_elems * s->real_size;
    if (!(s->level[k] = kl__mem_create(s->ctx, bytes)))
        return kl__fail_in(kl__last_status(), "sums of shards");
    /* gaps between parameters are added like the rest: they must not be what was there before */
    kl_status st = kl__lane_fill(kl__ctx_lane(s->ctx, KL__COMPUTE), (kl__span){s->level[k], 0},
                                 &zero, 4, bytes / 4 * 4);
    for (int b = 0; st == KL_OK && b < s->n_buckets; b++) {
        kl_graph *g = kl_graph_create();
        if (!g)
            return kl__last_status();
        g->real = s->model->real;
        kl_node *x = arena(g, "sums", kl__tree_span(s, s->sums, b), s->bucket[b].n);
        kl_node *y = arena(g, "level", kl__tree_span(s, s->level[k], b), s->bucket[b].n);
        kl_output(g, "sum", kl__apply_new(g, &kl__op_tree_add, NULL, (kl_node *[]){x, y}, 2, NULL));
        s->add[k][b] = kl__plan_create(s->ctx, g, &(kl__plan_opts){.no_fuse = true});
        st = s->add[k][b] ? KL_OK : kl__last_status();
    }
    return st;
}

kl_status kl__tree_grow(kl__stepper *s, int shards)
{
    kl_status st = KL_OK;
    for (int k = 0; st == KL_OK && 1 << k < shards; k++)
        if (!s->level[k])
            st = make_level(s, k);
    return st;
}

/** The nodes that shards before `node` left in the levels, from the smallest on. */
kl_status kl__tree_fold(kl__stepper *s, int bucket, kl__node_id node, kl__lane *lane)
{
    const int before = kl__node_first(node);
    kl_status st = KL_OK;
    for (int k = node.level; st == KL_OK && before >> k; k++)
        if (before >> k & 1)
            st = kl__plan_run(s->add[k][bucket], lane);
    return st;
}

kl_status kl__tree_join(kl__stepper *s, int bucket, kl__node_id *node, int first, int shards,
                        kl__lane *lane)
{
    kl_status st = KL_OK;
    while (st == KL_OK && node->index & 1) {
        if ((node->index - 1) << node->level < first)
            return KL_OK; /* what it is to be added to is elsewhere */
        st = kl__plan_run(s->add[node->level][bucket], lane);
        *node = (kl__node_id){node->level + 1, node->index >> 1};
    }
    if (st != KL_OK)
        return st;
    if (!first && kl__node_end(*node) >= shards)
        return kl__tree_fold(s, bucket, *node, lane);
    return kl__lane_copy(lane, kl__tree_span(s, s->level[node->level], bucket),
                         kl__tree_span(s, s->sums, bucket), s->bucket[bucket].n * s->real_size);
}
