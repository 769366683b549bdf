/* Freezing a graph: passes, memory, constants, emission. */
#include "sched/plan.h"

#include "base/mem.h"
#include "sched/debug.h"
#include "sched/lanes.h"

#include <string.h>

static size_t alignment(const kl__caps *caps)
{
    return caps->align_bytes > 256 ? caps->align_bytes : 256;
}

static size_t constant_bytes(const kl_graph *g, size_t align)
{
    size_t total = 0;
    for (size_t i = 0; i < g->n_nodes; i++)
        if (kl__is_constant(g->nodes[i]))
            total += (kl__leaf_of(g->nodes[i])->bytes + align - 1) / align * align;
    return total;
}

static kl_status place_constants(kl__plan *p, size_t align)
{
    kl_graph *g = p->graph;
    size_t total = constant_bytes(g, align);
    if (!total)
        return KL_OK;
    if (!(p->constants = kl__mem_create(p->ctx, total)))
        return kl__last_status();
    size_t at = 0;
    for (size_t i = 0; i < g->n_nodes; i++) {
        kl_node *x = g->nodes[i];
        if (!kl__is_constant(x))
            continue;
        const kl__leaf *l = kl__leaf_of(x);
        x->place = (kl__place){KL__AT_SPAN, {p->constants, at}, 0};
        kl_status st = l->bytes ? kl__lane_write(kl__ctx_lane(p->ctx, KL__COMPUTE), x->place.span,
                                                 l->data, l->bytes, NULL)
                                : KL_OK;
        if (st != KL_OK)
            return st;
        at += (l->bytes + align - 1) / align * align;
    }
    return KL_OK;
}

/** Outputs that have their place made for them: the value itself goes there where nothing else
 * decides its storage. */
static void place_outputs(kl_graph *g)
{
    for (size_t i = 0; i < g->n_outputs; i++) {
        kl__graph_output *o = &g->outputs[i];
        bool own = !(o->node->by->op->flags & (KL__OP_LEAF | KL__OP_VIEW | KL__OP_STATE));
        if (o->place.kind != KL__NOWHERE && own && o->node->place.kind == KL__NOWHERE)
            o->node->place = o->place;
    }
}

/** The others are copied at the end. */
static kl_status copy_outputs(kl__plan *p)
{
    for (size_t i = 0; i < p->graph->n_outputs; i++) {
        const kl__graph_output *o = &p->graph->outputs[i];
        const kl__place *at = &o->node->place;
        size_t bytes;
        if (o->place.kind != KL__AT_SPAN || !kl__desc_bytes(&o->node->desc, &bytes) || !bytes ||
            (at->kind == KL__AT_SPAN && at->span.mem == o->place.span.mem &&
             at->span.offset == o->place.span.offset))
            continue;
        if (at->kind != KL__AT_SPAN)
            return kl__fail(KL_E_UNSUPPORTED,
                            "output \"%s\" is an input as it came: there is nothing to compute",
                            o->name);
        kl_status st = kl__seq_copy(p->seq, o->name, o->place.span, at->span, bytes);
        if (st != KL_OK)
            return st;
    }
    return KL_OK;
}

static void into_chunk(const kl__plan *p, kl__place *place)
{
    if (place->kind != KL__AT_SPAN || place->span.mem || !p->n_arena)
        return;
    size_t chunk = place->span.offset / p->memory.chunk_bytes;
    place->span.mem = p->arena[chunk];
    place->span.offset -= chunk * p->memory.chunk_bytes;
}

/** Chunk i of another plan's arena. NULL: not large enough. */
static kl__mem *shared_chunk(const kl__plan *over, const kl__memory_plan *m, size_t i, size_t bytes)
{
    return over && !over->debug && over->memory.chunk_bytes == m->chunk_bytes &&
                   i < over->n_arena && kl__mem_bytes(over->arena[i]) >= bytes
               ? kl__mem_retain(over->arena[i])
               : NULL;
}

static kl_status make_arena(kl__plan *p, const kl__plan *over)
{
    kl__memory_plan *m = &p->memory;
    size_t bytes = m->arena_bytes ? m->arena_bytes : 1;
    p->n_arena = (bytes + m->chunk_bytes - 1) / m->chunk_bytes;
    p->arena = kl__calloc(p->n_arena, sizeof *p->arena);
    if (!p->arena) {
        p->n_arena = 0;
        return KL_E_MEMORY;
    }
    for (size_t i = 0; i < p->n_arena; i++) {
        size_t left = bytes - i * m->chunk_bytes,
               size = left < m->chunk_bytes ? left : m->chunk_bytes;
        if (!(p->arena[i] = shared_chunk(over, m, i, size)) &&
            !(p->arena[i] = kl__mem_create(p->ctx, size)))
            return kl__fail_in(kl__last_status(), "values of a pass, %zu bytes in all", bytes);
    }
    for (size_t i = 0; i < p->graph->n_nodes; i++)
        into_chunk(p, &p->graph->nodes[i]->place);
    for (size_t i = 0; i < p->graph->n_applies; i++)
        into_chunk(p, &p->graph->applies[i]->scratch);
    return KL_OK;
}

static bool all_empty(const kl__apply *a)
{
    size_t n;
    for (int i = 0; i < a->n_out; i++)
        if (!kl__desc_elems(&a->out[i]->desc, &n) || n > 0)
            return false;
    return true;
}

static kl_status emit(kl__plan *p)
{
    kl_graph *g = p->graph;
    kl__emit e = {.ctx = p->ctx, .caps = kl__ctx_caps(p->ctx), .step = {p->step, 0}};
    if (!(p->seq = kl__seq_create(p->ctx)))
        return kl__last_status();
    e.seq = p->seq;
    if (!(p->first_step = kl__calloc(g->n_applies + 1, sizeof *p->first_step)))
        return KL_E_MEMORY;
    for (size_t i = 0; i < g->n_applies; i++) {
        const kl__apply *a = g->applies[i];
        p->first_step[i] = kl__seq_count(p->seq);
        if (!a->variant || all_empty(a))
            continue;
        kl_status st = a->variant->emit(&e, a);
        if (st != KL_OK)
            return st;
    }
    p->first_step[g->n_applies] = kl__seq_count(p->seq);
    return copy_outputs(p);
}

static kl_status own_step_block(kl__plan *p)
{
    static const uint32_t zero[KL__STEP_WORDS];
    if (!(p->step = kl__mem_create(p->ctx, sizeof zero)))
        return kl__last_status();
    return kl__lane_write(kl__ctx_lane(p->ctx, KL__COMPUTE), (kl__span){p->step, 0}, zero,
                          sizeof zero, NULL);
}

kl_status kl__plan_passes(kl_ctx *ctx, kl_graph *graph, const kl__plan_opts *opts,
                          size_t *n_prepared)
{
    const kl__caps *caps = kl__ctx_caps(ctx);
    const uint32_t flags = kl__ctx_flags(ctx);
    const uint32_t by_op = KL_CTX_SYNC | KL_CTX_DEBUG_BUFFERS | KL_CTX_BARE_BUFFERS;
    bool whole = opts->no_fuse || flags & KL_CTX_DEBUG_BUFFERS;
    kl_status st = whole ? KL_OK : kl__graph_fold(graph, ctx);
    *n_prepared = 0;
    if (st == KL_OK && !whole)
        st = kl__graph_fuse(graph);
    if (st == KL_OK && !whole)
        st = kl__graph_epilogues(graph, caps, opts->force);
    if (st == KL_OK)
        st = kl__graph_layouts(graph, caps, opts->force);
    if (st == KL_OK && opts->prepare && !(flags & by_op))
        st = kl__graph_prepare(graph, n_prepared);
    return st;
}

/** Where values lie in the arena. */
static kl_status plan_memory(kl_graph *g, const kl__caps *caps, const kl__plan_opts *opts,
                             uint32_t flags, kl__memory_plan *out)
{
    const uint32_t own = KL_CTX_DEBUG_BUFFERS | KL_CTX_BARE_BUFFERS;
    const bool apart = (flags & own) || opts->separate;
    return flags & (own | KL_CTX_SYNC) || opts->separate || opts->as_built || opts->prepare
               ? kl__graph_memory(g, caps, alignment(caps), apart, out)
               : kl__graph_memory_lanes(g, caps, alignment(caps), out);
}

kl_status kl__plan_bytes(kl_ctx *ctx, kl_graph *graph, const kl__plan_opts *opts, uint64_t *out)
{
    const kl__caps *caps = kl__ctx_caps(ctx);
    kl__memory_plan memory = {0};
    size_t n_prepared = 0;
    kl_status st = kl__plan_passes(ctx, graph, opts, &n_prepared);
    if (st == KL_OK)
        place_outputs(graph);
    if (st == KL_OK && !opts->as_built && !opts->prepare)
        st = kl__graph_order(graph, caps, alignment(caps));
    *out = constant_bytes(graph, alignment(caps));
    /* constants have a place of their own by then */
    for (size_t i = 0; i < graph->n_nodes; i++)
        if (kl__is_constant(graph->nodes[i]))
            graph->nodes[i]->place = (kl__place){KL__AT_SLOT, {NULL, 0}, 0};
    if (st == KL_OK)
        st = plan_memory(graph, caps, opts, kl__ctx_flags(ctx), &memory);
    *out += memory.arena_bytes;
    return st;
}

kl__plan *kl__plan_create(kl_ctx *ctx, kl_graph *graph, const kl__plan_opts *opts)
{
    static const kl__plan_opts none;
    kl__plan *p = kl__calloc(1, sizeof *p);
    kl_status st = KL_OK;
    if (!p) {
        kl_graph_destroy(graph);
        return NULL;
    }
    if (!opts)
        opts = &none;
    kl__caps exact = *kl__ctx_caps(ctx);
    const kl__caps *caps = opts->exact ? &exact : kl__ctx_caps(ctx);
    exact.exact = true;
    size_t align = alignment(caps);
    p->ctx = ctx;
    p->graph = graph;
    p->debug = (kl__ctx_flags(ctx) & (KL_CTX_DEBUG_BUFFERS | KL_CTX_BARE_BUFFERS)) != 0;
    p->sync = p->debug || (kl__ctx_flags(ctx) & KL_CTX_SYNC) != 0;
    if (opts->step)
        p->step = kl__mem_retain(opts->step);
    else
        st = own_step_block(p);
    if (st == KL_OK)
        st = kl__plan_passes(ctx, graph, opts, &p->n_prepared);
    p->stale = p->n_prepared > 0;
    if (st == KL_OK)
        place_outputs(graph);
    if (st == KL_OK && !opts->as_built && !opts->prepare)
        st = kl__graph_order(graph, caps, align);
    if (st == KL_OK)
        st = place_constants(p, align);
    if (st == KL_OK)
        st = plan_memory(graph, caps, opts, kl__ctx_flags(ctx), &p->memory);
    if (st == KL_OK)
        st = p->debug ? kl__debug_arena(p) : make_arena(p, opts->over);
    if (st == KL_OK)
        st = emit(p);
    if (st != KL_OK) {
        kl__plan_destroy(p);
        return NULL;
    }
    return p;
}

void kl__plan_destroy(kl__plan *p)
{
    if (!p)
        return;
    kl__seq_destroy(p->seq);
    for (size_t i = 0; i < p->n_arena; i++)
        kl__mem_release(p->arena[i]);
    kl__free(p->arena);
    kl__mem_release(p->constants);
    kl__mem_release(p->step);
    kl__free(p->first_step);
    kl_graph_destroy(p->graph);
    kl__free(p);
}

static kl_status run_steps(kl__plan *p, kl__lane *lane, size_t first, size_t last)
{
    kl__lane *side = p->lanes == 2 ? kl__ctx_side(p->ctx) : NULL;
    return side ? kl__seq_run_lanes(p->seq, lane, side, first, last)
                : kl__seq_run(p->seq, lane, first, last);
}

kl_status kl__plan_run(kl__plan *p, kl__lane *lane)
{
    size_t first = p->stale ? 0 : p->first_step[p->n_prepared];
    kl_status st = p->sync ? kl__debug_run(p, lane)
                           : run_steps(p, lane, first, kl__seq_count(p->seq));
    p->stale = p->stale && st != KL_OK;
    return st;
}

kl_status kl__plan_run_part(kl__plan *p, kl__lane *lane, size_t first, size_t last)
{
    const size_t n = p->graph->n_applies;
    return run_steps(p, lane, p->first_step[first],
                     last < n ? p->first_step[last] : kl__seq_count(p->seq));
}

void kl__plan_params(kl__plan *p, uint64_t version)
{
    p->stale = p->n_prepared > 0 && (p->stale || version != p->version);
    p->version = version;
}

kl_status kl__plan_bind(kl__plan *p, int slot, kl__span span)
{
    if (p->lanes == 2 && span.mem && kl__plan_writes(p, span.mem))
        p->lanes = 1; /* the waits between lanes know nothing of it */
    return kl__seq_bind(p->seq, slot, span);
}
