/* The update: norm, optimizer and running statistics over the arenas; and the additions of the
 * shards' tree. */
#include "sched/stepper_inside.h"

#include "base/mem.h"
#include "ops/grad_norm.h"
#include "ops/optim.h"
#include "sched/debug.h"

#include <stdio.h>
#include <string.h>

static kl_node *arena(kl_graph *g, const char *name, kl_dtype dtype, kl_shape shape, kl__mem *mem,
                      size_t offset)
{
    kl_node *x = kl_input(g, name, dtype, shape);
    if (x)
        x->place = (kl__place){KL__AT_SPAN, {mem, offset}, 0};
    return x;
}

static kl_shape vec(size_t n)
{
    return (kl_shape){1, {(int64_t)n}};
}

/** Every block of 64 numbers names its group; equal groups share a row of the table. Gaps between
 * parameters are not trained. */
static kl_status write_groups(kl__stepper *s, int *n_groups)
{
    const kl_model *m = s->model;
    size_t blocks = m->trainable_elems / KL__PARAM_ALIGN;
    uint8_t *of = kl__calloc(blocks + 1, 1);
    float rows[KL__MAX_GROUPS][4];
    double wide[KL__MAX_GROUPS][4];
    int n = 0;
    kl_status st = of ? KL_OK : KL_E_MEMORY;
    memset(rows, 0, sizeof rows);
    for (size_t i = 0; st == KL_OK && i < m->n_trainable; i++) {
        const kl__group *g = &s->groups_kept[i];
        float row[4] = {g->lr_factor, g->weight_decay, g->trained ? 1.0f : 0.0f, 0};
        int k = 0;
        while (k < n && memcmp(rows[k], row, sizeof row) != 0)
            k++;
        if (k == KL__MAX_GROUPS) {
            st = kl__fail(KL_E_UNSUPPORTED,
                          "parameters fall into more than %d groups of rate and decay",
                          KL__MAX_GROUPS);
            break;
        }
        if (k == n)
            memcpy(rows[n++], row, sizeof row);
        size_t first = m->params[i].offset / KL__PARAM_ALIGN;
        memset(of + first, k, (m->params[i].count + KL__PARAM_ALIGN - 1) / KL__PARAM_ALIGN);
    }
    *n_groups = n ? n : 1;
    kl__convert(wide, KL_F64, rows, KL_F32, sizeof rows / sizeof(float));
    size_t bytes = (size_t)*n_groups * 4 * s->real_size;
    kl__lane *lane = kl__ctx_lane(s->ctx, KL__COMPUTE);
    if (st == KL_OK && (!(s->groups = kl__mem_create(s->ctx, blocks)) ||
                        !(s->table = kl__mem_create(s->ctx, bytes))))
        st = kl__last_status();
    if (st == KL_OK && blocks)
        st = kl__lane_write(lane, (kl__span){s->groups, 0}, of, blocks, NULL);
    if (st == KL_OK)
        st = kl__lane_write(lane, (kl__span){s->table, 0},
                            s->real_size == 8 ? (void *)wide : (void *)rows, bytes, NULL);
    kl__free(of);
    return st;
}

/** Norm and optimizer over the trainable range. */
static kl_status add_optimizer(kl__stepper *s, kl_graph *g, kl__mem *params, int n_groups)
{
    size_t p = s->model->trainable_elems, r = s->real_size;
    kl_dtype t = s->model->real;
    kl__optim attrs = *(const kl__optim *)s->optim_attrs;
    kl_node *in[2 + KL__MAX_STATES + 4];
    int n = 0;
    in[n++] = arena(g, "w", t, vec(p), params, 0);
    in[n++] = arena(g, "g", t, vec(p), s->sums, 0);
    for (int i = 0; i < s->opts.n_states; i++) {
        char name[16] = "state0";
        name[5] = (char)('0' + i);
        in[n++] = arena(g, name, t, vec(p), s->states, (size_t)i * p * r);
    }
    kl_node *groups = arena(g, "groups", KL_U8, vec(p / KL__PARAM_ALIGN), s->groups, 0);
    kl_node *table = arena(g, "table", t, (kl_shape){2, {n_groups, 4}}, s->table, 0);
    kl_node *weight = arena(g, "weight", t, vec(1), s->sums, (s->totals_at + KL__T_WEIGHT) * r);
    kl_node *clip =
        kl__apply_new(g, &kl__op_grad_norm, NULL, (kl_node *[]){in[1], groups, table, weight}, 4,
                      &(kl__grad_norm){s->opts.clip_norm});
    if (clip)
        clip->place = (kl__place){KL__AT_SPAN, {s->sums, (s->totals_at + KL__T_NORM) * r}, 0};
    in[n++] = groups;
    in[n++] = table;
    in[n++] = weight;
    in[n++] = clip;
    kl_output(g, "updated", kl__optim_new(g, s->opts.optim, NULL, in, n, &attrs));
    return kl_graph_check(g);
}

/** Elements from one parameter's first to the next one's. */
static size_t padded(size_t count)
{
    return (count + KL__PARAM_ALIGN - 1) / KL__PARAM_ALIGN * KL__PARAM_ALIGN;
}

/** How many updates from the i-th on are one range: the same rule, parameters next to each other.
 * *elems: the range's, without the last one's padding. */
static size_t run_of(const kl__stepper *s, const kl_graph *pass, size_t i, size_t *elems)
{
    const kl__graph_update *u = &pass->updates[i];
    const kl__param *first = kl__model_find(s->model, u->state->name);
    size_t n = 1, at = padded(first->count);
    *elems = first->count;
    for (; i + n < pass->n_updates; n++) {
        const kl__graph_update *v = &pass->updates[i + n];
        const kl__param *p = kl__model_find(s->model, v->state->name);
        if (v->op != u->op || memcmp(v->attrs, u->attrs, u->op->attrs_bytes) != 0 ||
            p->offset != first->offset + at)
            break;
        *elems = at + p->count;
        at += padded(p->count);
    }
    return n;
}

/** Running statistics from the tree's sums of their batch values. Both lie in the order of the
 * graph, so that one launch takes those that follow one rule; the gaps stay zero. */
static kl_status add_states(kl__stepper *s, kl_graph *g, kl__mem *params)
{
    kl_graph *pass = kl__pass_graph(s->model, 2, &(kl__pass_spec){true, s->loss, s->logits});
    size_t at = s->state_at, r = s->real_size, n = 0, elems = 0;
    if (!pass)
        return kl__last_status();
    kl_status st = KL_OK;
    for (size_t i = 0; st == KL_OK && i < pass->n_updates; i += n) {
        const kl__graph_update *u = &pass->updates[i];
        const kl__param *p = kl__model_find(s->model, u->state->name);
        char name[3][40];
        n = run_of(s, pass, i, &elems);
        snprintf(name[0], sizeof name[0], "value%zu", i);
        snprintf(name[1], sizeof name[1], "kept%zu", i);
        snprintf(name[2], sizeof name[2], "out%zu", i);
        kl_node *state = arena(g, name[1], s->model->real, vec(elems), params, p->offset * r);
        kl_node *value = arena(g, name[0], s->model->real, vec(elems), s->sums, at * r);
        kl_output(g, name[2],
                  kl__apply_new(g, u->op, NULL, (kl_node *[]){state, value}, 2, u->attrs));
        at += padded(elems);
        st = kl_graph_check(g);
    }
    kl_graph_destroy(pass);
    return st;
}

kl_status kl__update_create(kl__stepper *s)
{
    int n_groups = 1;
    kl_status st = write_groups(s, &n_groups);
    kl__replica *r = s->replica;
    kl_graph *g = st == KL_OK ? kl_graph_create() : NULL;
    if (!g)
        return kl__last_status();
    g->real = s->model->real;
    if (s->model->trainable_elems)
        st = add_optimizer(s, g, r->params, n_groups);
    if (st == KL_OK)
        st = add_states(s, g, r->params);
    if (st != KL_OK) {
        kl_graph_destroy(g);
        return st;
    }
    s->update =
        kl__plan_create(s->ctx, g, &(kl__plan_opts){.step = s->step_block, .no_fuse = true});
    return s->update ? KL_OK : kl__last_status();
}

/* ---- what went wrong ------------------------------------------------------------------------- */
kl_status kl__explain_failed(int64_t step)
{
    return kl__fail(KL_E_NUMERIC,
                    "step %lld: the loss or the gradient is not finite, but every op gave finite "
                    "numbers when run again",
                    (long long)step);
}

kl_status kl__explain_shard(kl__stepper *s, int64_t n, int64_t at, uint64_t entry,
                            const uint32_t *block, int64_t step)
{
    kl__lane *lane = kl__ctx_lane(s->ctx, KL__COMPUTE);
    if (n == 0)
        return KL_OK;
    kl__pass *p = kl__pass_get(s, n, true);
    kl_status st = p ? kl__lane_write(lane, (kl__span){s->step_block, 0}, block,
                                      KL__STEP_WORDS * sizeof *block, NULL)
                     : kl__last_status();
    if (st == KL_OK)
        st = kl__inputs_bind(s, p, NULL, 0, at, entry);
    if (st == KL_OK)
        st = kl__debug_find(p->plan, lane);
    return st == KL_E_NUMERIC ? kl__fail_in(st, "step %lld", (long long)step) : st;
}

kl_status kl__stepper_explain(kl__stepper *s, int64_t step)
{
    kl__entry *e = NULL;
    uint64_t at = 0;
    for (uint64_t k = s->head > KL__RING ? s->head - KL__RING : 0; k < s->head; k++) {
        kl__entry *x = &s->ring[k % KL__RING];
        if (!x->eval && x->step == step && !x->by_hand) {
            e = x;
            at = k;
        }
    }
    bool host = e && e->shards; /* what was bound as a tensor is bound still, and by hand all but
                                   the last shard is gone */
    for (int k = 0; host && k < s->n_inputs; k++)
        host = s->inputs[k].host[at % KL__RING] != NULL;
    if (!host)
        return kl__fail(KL_E_NUMERIC, "step %lld: the loss or the gradient is not finite",
                        (long long)step);
    kl_status st = KL_OK;
    for (int k = 0; st == KL_OK && k < s->n_inputs; k++) {
        const kl__input *in = &s->inputs[k];
        const size_t bytes = in->sample_bytes * (in->batched ? (size_t)e->samples : 1);
        if (bytes)
            st = kl__lane_write(kl__ctx_lane(s->ctx, KL__COMPUTE),
                                (kl__span){in->device[at % KL__STAGES], 0},
                                in->host[at % KL__RING], bytes, NULL);
    }
    for (int i = 0; st == KL_OK && i < e->shards; i++) {
        const int64_t first = e->samples * i / e->shards, end = e->samples * (i + 1) / e->shards;
        st = kl__explain_shard(s, end - first, first, at, e->block[i], step);
    }
    return st == KL_OK ? kl__explain_failed(step) : st;
}
