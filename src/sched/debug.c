#include "sched/debug.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

static const uint32_t POISON = 0x7fc0dead;

/** Guard bands and poison would hide from a tool that watches memory what reads past an end or what
 * nobody wrote. */
static bool bare(const kl__plan *p)
{
    return (kl__ctx_flags(p->ctx) & KL_CTX_BARE_BUFFERS) != 0;
}

static kl_status guarded(kl__plan *p, size_t i, kl__place *place, size_t bytes)
{
    if (place->kind != KL__AT_SPAN || place->span.mem)
        return KL_OK;
    if (bare(p)) {
        place->span = (kl__span){p->arena[i] = kl__mem_create(p->ctx, bytes), 0};
        return p->arena[i] ? KL_OK : kl__last_status();
    }
    size_t whole = (bytes + 3) / 4 * 4 + 2 * KL__GUARD_BYTES;
    if (!(p->arena[i] = kl__mem_create(p->ctx, whole)))
        return kl__last_status();
    place->span = (kl__span){p->arena[i], KL__GUARD_BYTES};
    return kl__lane_fill(kl__ctx_lane(p->ctx, KL__COMPUTE), (kl__span){p->arena[i], 0}, &POISON, 4,
                         whole);
}

kl_status kl__debug_arena(kl__plan *p)
{
    kl_graph *g = p->graph;
    kl_status st = KL_OK;
    size_t bytes;
    if (!(p->arena = kl__calloc(g->n_nodes + g->n_applies + 1, sizeof *p->arena)))
        return KL_E_MEMORY;
    p->n_arena = g->n_nodes + g->n_applies;
    for (size_t i = 0; st == KL_OK && i < g->n_applies; i++) {
        kl__apply *a = g->applies[i];
        for (int k = 0; st == KL_OK && k < a->n_out; k++) {
            kl_node *x = a->out[k];
            bool shares = a->op->flags & (KL__OP_VIEW | KL__OP_STATE) &&
                          x->place.kind == KL__AT_SPAN && !x->place.span.mem;
            int from = !shares                      ? -1
                       : a->op->flags & KL__OP_VIEW ? 0
                       : a->op->aliases             ? a->op->aliases(a, k)
                                                    : -1;
            if (from >= 0)
                x->place = a->in[from]->place;
            else if (kl__desc_bytes(&x->desc, &bytes))
                st = guarded(p, x->id, &x->place, bytes);
        }
        if (st == KL_OK && a->scratch.kind != KL__NOWHERE)
            st = guarded(p, g->n_nodes + i, &a->scratch,
                         a->variant->scratch_bytes(a, kl__ctx_caps(p->ctx)));
    }
    return st;
}

static kl_status check_guard(kl__plan *p, kl__lane *lane, const kl__apply *a, const char *name,
                             size_t i)
{
    static const char *const side[2] = {"before", "behind"};
    uint32_t band[KL__GUARD_BYTES / 4];
    if (bare(p) || i >= p->n_arena || !p->arena[i])
        return KL_OK;
    for (int k = 0; k < 2; k++) {
        kl__span at = {p->arena[i], k ? kl__mem_bytes(p->arena[i]) - KL__GUARD_BYTES : 0};
        kl_status st = kl__lane_read(lane, at, band, sizeof band, NULL);
        for (size_t j = 0; st == KL_OK && j < sizeof band / 4; j++)
            if (band[j] != POISON)
                st = kl__fail(KL_E_DEVICE, "%s \"%s\" (%s) wrote %s its %s%s%s", a->op->name,
                              a->name, a->variant ? a->variant->name : "", side[k],
                              name ? "output \"" : "scratch memory", name ? name : "",
                              name ? "\"" : "");
        if (st != KL_OK)
            return st;
    }
    return KL_OK;
}

/** Every stored number, halo and pad lanes too: they must be finite at the least wherever the
 * values are. */
static kl_status check_numbers(kl__lane *lane, const kl__apply *a, const kl_node *x, bool infinite)
{
    size_t bytes, n;
    if (x->desc.dtype == KL_I32 || x->desc.dtype == KL_U8 || x->place.kind != KL__AT_SPAN ||
        !kl__desc_bytes(&x->desc, &bytes) || !kl__desc_elems(&x->desc, &n) || !n)
        return KL_OK;
    void *raw = kl__alloc(bytes);
    double *v = kl__calloc(n, sizeof *v);
    kl_status st = raw && v ? kl__lane_read(lane, x->place.span, raw, bytes, NULL) : KL_E_MEMORY;
    if (st == KL_OK)
        kl__convert(v, KL_F64, raw, x->desc.dtype, n);
    for (size_t i = 0; st == KL_OK && i < n; i++)
        if (isnan(v[i]) || (infinite && isinf(v[i])))
            st = kl__fail(KL_E_NUMERIC, "%s \"%s\"%s%s: element %zu of \"%s\" is %s", a->op->name,
                          a->name, a->variant ? ", " : "", a->variant ? a->variant->name : "", i,
                          x->name, isnan(v[i]) ? "NaN" : "infinite");
    kl__free(raw);
    kl__free(v);
    return st;
}

/** An input that is bad is not its first reader's fault. */
static kl_status check_inputs(kl__plan *p, kl__lane *lane, bool infinite)
{
    for (size_t i = 0; i < p->graph->n_nodes; i++) {
        kl_node *x = p->graph->nodes[i];
        kl__span span = {0};
        if (!kl__is_input(x) || x->place.kind != KL__AT_SLOT ||
            !kl__seq_bound(p->seq, x->place.slot, &span))
            continue;
        kl__place was = x->place;
        x->place = (kl__place){KL__AT_SPAN, span, 0};
        kl_status st = check_numbers(lane, x->by, x, infinite);
        x->place = was;
        if (st != KL_OK)
            return st;
    }
    return KL_OK;
}

static kl_status run_checked(kl__plan *p, kl__lane *lane, bool infinite, size_t first, size_t last)
{
    kl_graph *g = p->graph;
    kl_status st = first ? KL_OK : check_inputs(p, lane, infinite);
    for (size_t i = first; st == KL_OK && i < last; i++) {
        const kl__apply *a = g->applies[i];
        if (p->first_step[i] == p->first_step[i + 1])
            continue;
        st = kl__seq_run(p->seq, lane, p->first_step[i], p->first_step[i + 1]);
        if (st == KL_OK)
            st = kl__lane_finish(lane);
        for (int k = 0; st == KL_OK && k < a->n_out; k++) {
            st = check_numbers(lane, a, a->out[k], infinite);
            if (st == KL_OK && p->debug)
                st = check_guard(p, lane, a, a->out[k]->name, a->out[k]->id);
        }
        if (st == KL_OK && p->debug)
            st = check_guard(p, lane, a, NULL, g->n_nodes + i);
    }
    return st != KL_OK || last < g->n_applies
               ? st
               : kl__seq_run(p->seq, lane, p->first_step[g->n_applies], kl__seq_count(p->seq));
}

kl_status kl__debug_run(kl__plan *p, kl__lane *lane, size_t first, size_t last)
{
    return run_checked(p, lane, false, first, last);
}

kl_status kl__debug_find(kl__plan *p, kl__lane *lane, size_t first, size_t last)
{
    return run_checked(p, lane, true, first, last);
}
