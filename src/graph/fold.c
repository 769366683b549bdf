/* Folding: what depends on constants only is computed once, on the device's own kernels, and
 * becomes a constant.
 *
 * Plans live above this floor, so the values are placed here: all of them side by side in one piece
 * of memory, which is why only small ones are folded. The ref variants are used; they take and give
 * plain layouts. */
#include "graph/inside.h"

#include "base/mem.h"

#include <string.h>

enum { MAX_VALUE = 1 << 20, MAX_TOTAL = 64 << 20, ALIGN = 256 };

typedef struct work {
    kl_graph *g;
    kl_ctx *ctx;
    bool *fold; /* by apply id */
    kl__seq *seq;
    kl__mem *mem; /* values, then scratch */
    size_t bytes;
} work;

static const kl__variant *plain_variant(const kl__op *op)
{
    const kl__variant *v = kl__op_variants(op), *last = NULL;
    for (; v && v->name; v++)
        last = v;
    return last;
}

static size_t aligned(size_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static bool constant_inputs(const work *w, const kl__apply *a)
{
    for (int i = 0; i < a->n_in; i++)
        if (!kl__is_constant(a->in[i]) && !w->fold[a->in[i]->by->id])
            return false;
    return a->n_in > 0;
}

static bool can_fold(const work *w, const kl__apply *a)
{
    size_t bytes;
    const kl_node *y = a->out[0];
    if (a->op->flags & (KL__OP_LEAF | KL__OP_RANDOM | KL__OP_STATE) || a->n_out != 1 ||
        !constant_inputs(w, a))
        return false;
    if (!(a->op->flags & KL__OP_VIEW)) {
        const kl__variant *v = plain_variant(a->op);
        if (!v || (v->fits && !v->fits(a, kl__ctx_caps(w->ctx))))
            return false;
    }
    return y->place.kind == KL__NOWHERE && kl__desc_bytes(&y->desc, &bytes) && bytes <= MAX_VALUE;
}

/** Places a value or scratch at the end of the memory to come. */
static void place(work *w, kl__place *p, size_t bytes)
{
    p->kind = KL__AT_SPAN;
    p->span = (kl__span){NULL, w->bytes};
    w->bytes += aligned(bytes);
}

static size_t bytes_of(const kl_node *x)
{
    size_t n = 0;
    (void)kl__desc_bytes(&x->desc, &n);
    return n;
}

/** Chooses applies and gives their values, their constants and their scratch offsets. Count of
 * applies. */
static size_t choose(work *w)
{
    size_t n = 0;
    for (size_t i = 0; i < w->g->n_applies; i++) {
        kl__apply *a = w->g->applies[i];
        size_t total = w->bytes;
        if (!can_fold(w, a))
            continue;
        for (int k = 0; k < a->n_in; k++)
            total += a->in[k]->place.kind == KL__NOWHERE ? aligned(bytes_of(a->in[k])) : 0;
        if (total > MAX_TOTAL)
            continue;
        w->fold[i] = true;
        n++;
        for (int k = 0; k < a->n_in; k++)
            if (a->in[k]->place.kind == KL__NOWHERE)
                place(w, &a->in[k]->place, bytes_of(a->in[k]));
        if (a->op->flags & KL__OP_VIEW) {
            a->out[0]->place = a->in[0]->place;
            continue;
        }
        a->variant = plain_variant(a->op);
        place(w, &a->out[0]->place, bytes_of(a->out[0]));
        size_t scratch =
            a->variant->scratch_bytes ? a->variant->scratch_bytes(a, kl__ctx_caps(w->ctx)) : 0;
        if (scratch)
            place(w, &a->scratch, scratch);
    }
    return n;
}

static kl_status upload(work *w)
{
    kl__lane *lane = kl__ctx_lane(w->ctx, KL__COMPUTE);
    kl_status st = KL_OK;
    for (size_t i = 0; st == KL_OK && i < w->g->n_applies; i++) {
        kl__apply *a = w->g->applies[i];
        for (int k = 0; k < a->n_out; k++)
            if (a->out[k]->place.kind == KL__AT_SPAN && !a->out[k]->place.span.mem)
                a->out[k]->place.span.mem = w->mem;
        if (a->scratch.kind == KL__AT_SPAN && !a->scratch.span.mem)
            a->scratch.span.mem = w->mem;
        kl_node *x = a->out[0];
        if (kl__is_constant(x) && x->place.span.mem == w->mem && kl__leaf_of(x)->bytes)
            st = kl__lane_write(lane, x->place.span, kl__leaf_of(x)->data, kl__leaf_of(x)->bytes,
                                NULL);
    }
    return st;
}

static kl_status run(work *w)
{
    kl__emit e = {.ctx = w->ctx, .caps = kl__ctx_caps(w->ctx)};
    kl_status st = KL_OK;
    if (!(w->seq = e.seq = kl__seq_create(w->ctx)))
        return kl__last_status();
    for (size_t i = 0; st == KL_OK && i < w->g->n_applies; i++) {
        const kl__apply *a = w->g->applies[i];
        if (w->fold[i] && a->variant && bytes_of(a->out[0]))
            st = a->variant->emit(&e, a);
    }
    return st == KL_OK
               ? kl__seq_run(w->seq, kl__ctx_lane(w->ctx, KL__COMPUTE), 0, kl__seq_count(w->seq))
               : st;
}

/** The apply becomes the constant that it computed; its value keeps name and readers. */
static kl_status become_constant(work *w, kl__apply *a)
{
    kl_node *x = a->out[0];
    kl__leaf *l = kl__graph_alloc(w->g, sizeof *l);
    void *data = kl__graph_alloc(w->g, bytes_of(x) + 1);
    kl_status st = KL_OK;
    if (!l || !data)
        return kl_graph_check(w->g);
    *l = (kl__leaf){.name = a->name,
                    .dtype = x->desc.dtype,
                    .shape = x->desc.shape,
                    .data = data,
                    .bytes = bytes_of(x)};
    if (l->bytes)
        st = kl__lane_read(kl__ctx_lane(w->ctx, KL__COMPUTE), x->place.span, data, l->bytes, NULL);
    a->op = &kl__op_constant;
    a->attrs = l;
    a->n_in = 0;
    return st;
}

/** Nothing stays placed: plans place constants and values themselves. */
static void unplace(work *w)
{
    const kl__place nowhere = {.kind = KL__NOWHERE};
    for (size_t i = 0; i < w->g->n_applies; i++) {
        kl__apply *a = w->g->applies[i];
        for (int k = 0; k < a->n_out; k++)
            if (a->out[k]->place.kind == KL__AT_SPAN && a->out[k]->place.span.mem == w->mem)
                a->out[k]->place = nowhere;
        if (a->scratch.kind == KL__AT_SPAN && a->scratch.span.mem == w->mem)
            a->scratch = nowhere;
        if (w->fold[i])
            a->variant = NULL;
    }
}

kl_status kl__graph_fold(kl_graph *g, kl_ctx *ctx)
{
    work w = {.g = g, .ctx = ctx};
    kl_status st = kl_graph_check(g);
    if (st != KL_OK)
        return st;
    if (!(w.fold = kl__calloc(g->n_applies + 1, sizeof *w.fold)))
        return KL_E_MEMORY;
    if (!choose(&w))
        goto out;
    w.mem = kl__mem_create(ctx, w.bytes);
    st = w.mem ? upload(&w) : kl__last_status();
    if (st == KL_OK)
        st = run(&w);
    for (size_t i = 0; st == KL_OK && i < g->n_applies; i++)
        if (w.fold[i])
            st = become_constant(&w, g->applies[i]);
    unplace(&w);
    if (st == KL_OK)
        st = kl__graph_prune(g);
out:
    kl__seq_destroy(w.seq);
    kl__mem_release(w.mem);
    kl__free(w.fold);
    return st;
}
