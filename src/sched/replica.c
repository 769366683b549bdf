/* kl__replica: a model's parameters on one device. */
#include "sched/model.h"

#include "base/mem.h"

#include <string.h>

static kl_status push(kl__replica *r)
{
    kl_model *m = r->model;
    if (r->version == m->version)
        return KL_OK;
    kl_status st = kl__model_pull(m);
    if (st == KL_OK && m->elems)
        st = kl__lane_write(kl__ctx_lane(r->ctx, KL__COMPUTE), (kl__span){r->params, 0}, m->host,
                            m->elems * kl_dtype_size(m->real), NULL);
    if (st == KL_OK)
        r->version = m->version;
    return st;
}

kl__replica *kl__replica_get(kl_model *m, kl_ctx *ctx)
{
    kl__replica *r = m->replicas;
    while (r && r->ctx != ctx)
        r = r->next;
    if (!r) {
        if (m->real == KL_F64 && !kl__ctx_caps(ctx)->fp64) {
            kl__fail(KL_E_UNSUPPORTED, "%s has no double precision", kl__ctx_caps(ctx)->info.name);
            return NULL;
        }
        if (!(r = kl__calloc(1, sizeof *r)))
            return NULL;
        r->model = m;
        r->ctx = ctx;
        r->params = kl__mem_create(ctx, m->elems * kl_dtype_size(m->real));
        if (!r->params) {
            kl__fail_in(kl__last_status(), "the model's parameters");
            kl__free(r);
            return NULL;
        }
        r->next = m->replicas;
        m->replicas = r;
    }
    return push(r) == KL_OK ? r : NULL;
}

void kl__replica_changed(kl__replica *r)
{
    r->version = ++r->model->version;
    r->model->newest = r;
}

void kl__replica_destroy(kl__replica *r)
{
    if (!r)
        return;
    kl__infer_plans_destroy(r->plans);
    kl__mem_release(r->params);
    kl__free(r);
}

void kl__replica_place(const kl__replica *r, kl_graph *g)
{
    for (size_t i = 0; i < g->n_nodes; i++) {
        kl_node *x = g->nodes[i];
        const kl__param *p = kl__is_param(x) ? kl__model_find(r->model, x->name) : NULL;
        if (p)
            x->place =
                (kl__place){KL__AT_SPAN, {r->params, p->offset * kl_dtype_size(r->model->real)}, 0};
    }
}
