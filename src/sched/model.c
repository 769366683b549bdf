/* kl_model: the graph, the parameters on the host, and who has the newest. */
#include "sched/model.h"

#include "base/hash.h"
#include "base/mem.h"
#include "graph/init.h"
#include "ops/op.h"

#include <string.h>

static size_t padded(size_t count)
{
    return (count + KL__PARAM_ALIGN - 1) / KL__PARAM_ALIGN * KL__PARAM_ALIGN;
}

/** Trainable parameters first, so that what optimizers move is one range; otherwise in the graph's
 * order. */
static kl_status list_params(kl_model *m)
{
    const kl_graph *g = m->graph;
    size_t n = 0;
    for (size_t i = 0; i < g->n_nodes; i++)
        n += kl__is_param(g->nodes[i]);
    if (!(m->params = kl__calloc(n + 1, sizeof *m->params)))
        return KL_E_MEMORY;
    for (int trainable = 1; trainable >= 0; trainable--) {
        for (size_t i = 0; i < g->n_nodes; i++) {
            const kl_node *x = g->nodes[i];
            if (!kl__is_param(x) || kl__leaf_of(x)->trainable != (trainable != 0))
                continue;
            kl__param *p = &m->params[m->n_params++];
            *p = (kl__param){.name = x->name, .shape = x->desc.shape, .trainable = trainable != 0,
                             .count = (size_t)kl_shape_count(x->desc.shape), .offset = m->elems};
            m->elems += padded(p->count);
        }
        if (trainable) {
            m->n_trainable = m->n_params;
            m->trainable_elems = m->elems;
        }
    }
    return KL_OK;
}

/** Streams are told apart by a 32-bit hash of their names: two that collide would draw the same
 * numbers. */
static kl_status check_streams(const kl_model *m)
{
    for (size_t i = 0; i < m->n_params; i++)
        for (size_t k = 0; k < i; k++) {
            char *a = kl__asprintf("init/%s", m->params[i].name),
                 *b = kl__asprintf("init/%s", m->params[k].name);
            bool out = !a || !b, clash = !out && kl__fnv1a(a) == kl__fnv1a(b);
            kl__free(a);
            kl__free(b);
            if (out)
                return KL_E_MEMORY;
            if (clash)
                return kl__fail(
                    KL_E_ARG,
                    "parameters \"%s\" and \"%s\" draw from one random stream: rename one",
                    m->params[i].name, m->params[k].name);
        }
    return KL_OK;
}

static kl_status draw(kl_model *m)
{
    for (size_t i = 0; i < m->n_params; i++) {
        const kl__param *p = &m->params[i];
        const kl_node *x = kl_graph_find(m->graph, p->name);
        float *v = kl__calloc(p->count + 1, sizeof *v);
        if (!v)
            return KL_E_MEMORY;
        kl__init_fill(kl__leaf_of(x), p->name, m->seed, v);
        kl__convert((char *)m->host + p->offset * kl_dtype_size(m->real), m->real, v, KL_F32,
                    p->count);
        kl__free(v);
    }
    m->host_version = ++m->version;
    m->newest = NULL;
    return KL_OK;
}

kl_model *kl_model_create(const kl_graph *g, const kl_model_opts *opts)
{
    static const kl_model_opts none;
    if (!opts)
        opts = &none;
    if (kl_graph_check(g) != KL_OK)
        return NULL;
    if (opts->compute != KL_F32 && opts->compute != KL_F64) {
        kl__fail(KL_E_UNSUPPORTED, "a model computes in f32 or f64, not in %s",
                 kl_dtype_name(opts->compute));
        return NULL;
    }
    kl_model *m = kl__calloc(1, sizeof *m);
    if (!m)
        return NULL;
    kl__mutex_init(&m->lock);
    m->real = opts->compute;
    m->seed = opts->seed;
    kl_status st = (m->graph = kl__graph_copy(g)) ? list_params(m) : kl__last_status();
    if (st == KL_OK)
        st = check_streams(m);
    if (st == KL_OK && !(m->host = kl__calloc(m->elems + 1, kl_dtype_size(m->real))))
        st = KL_E_MEMORY;
    if (st == KL_OK)
        st = draw(m);
    if (st == KL_OK)
        return m;
    kl_model_destroy(m);
    return NULL;
}

void kl_model_destroy(kl_model *m)
{
    if (!m)
        return;
    for (kl__replica *r = m->replicas, *next; r; r = next) {
        next = r->next;
        kl__replica_destroy(r);
    }
    kl__mutex_finish(&m->lock);
    kl_graph_destroy(m->graph);
    kl__free(m->params);
    kl__free(m->host);
    kl__free(m);
}

const kl_graph *kl_model_graph(const kl_model *m)
{
    return m ? m->graph : NULL;
}

uint64_t kl_model_seed(const kl_model *m)
{
    return m ? m->seed : 0;
}

void kl__model_enter(kl_model *m)
{
    kl__lock(&m->lock);
    void (*settle)(void *user) = m->settle;
    void *user = m->settle_user;
    kl__unlock(&m->lock);
    if (settle)
        settle(user);
    kl__lock(&m->lock);
}

kl_status kl_model_reset(kl_model *m, uint64_t seed)
{
    if (!m)
        return kl__fail(KL_E_ARG, "kl_model_reset: model is NULL");
    kl__model_enter(m);
    m->seed = seed;
    kl_status st = draw(m);
    kl__unlock(&m->lock);
    return st;
}

size_t kl_model_n_params(const kl_model *m)
{
    return m ? m->n_params : 0;
}

kl_status kl_model_param(const kl_model *m, size_t i, kl_param_info *out)
{
    if (!m || i >= m->n_params || !out)
        return kl__fail(KL_E_ARG, "kl_model_param: there is no parameter %zu", i);
    const kl__param *p = &m->params[i];
    *out = (kl_param_info){p->name, p->shape, p->count, p->trainable, p->frozen};
    return KL_OK;
}

const kl__param *kl__model_find(const kl_model *m, const char *name)
{
    for (size_t i = 0; m && name && i < m->n_params; i++)
        if (!strcmp(m->params[i].name, name))
            return &m->params[i];
    return NULL;
}

kl_status kl__model_pull(kl_model *m)
{
    if (m->host_version == m->version || !m->elems)
        return KL_OK;
    kl_status st =
        kl__lane_read(kl__ctx_lane(m->newest->ctx, KL__COMPUTE), (kl__span){m->newest->params, 0},
                      m->host, m->elems * kl_dtype_size(m->real), NULL);
    if (st == KL_OK)
        m->host_version = m->version;
    return st;
}

static kl_status access_param(kl_model *m, const char *name, const float *src, float *dst, size_t n)
{
    const kl__param *p = kl__model_find(m, name);
    if (!p)
        return kl__fail(KL_E_ARG, "the model has no parameter \"%s\"", name ? name : "");
    if (n != p->count || (n && !src && !dst))
        return kl__fail(KL_E_ARG, "parameter \"%s\" has %zu numbers, %zu were given", name,
                        p->count, n);
    kl__model_enter(m);
    kl_status st = kl__model_pull(m);
    char *at = (char *)m->host + p->offset * kl_dtype_size(m->real);
    if (st == KL_OK && dst)
        kl__convert(dst, KL_F32, at, m->real, n);
    if (st == KL_OK && src) {
        kl__convert(at, m->real, src, KL_F32, n);
        m->host_version = ++m->version;
        m->newest = NULL;
    }
    kl__unlock(&m->lock);
    return st;
}

kl_status kl_model_get_param(kl_model *m, const char *name, float *dst, size_t n)
{
    return access_param(m, name, NULL, dst, n);
}

kl_status kl_model_set_param(kl_model *m, const char *name, const float *src, size_t n)
{
    return access_param(m, name, src, NULL, n);
}

kl_status kl_model_freeze(kl_model *m, const char *pattern, bool frozen)
{
    size_t hits = 0;
    if (!m || !pattern)
        return kl__fail(KL_E_ARG, "kl_model_freeze: %s is NULL", m ? "pattern" : "model");
    kl__model_enter(m);
    for (size_t i = 0; i < m->n_params; i++)
        if (kl__glob(pattern, m->params[i].name)) {
            m->params[i].frozen = frozen;
            hits++;
        }
    m->freezes++;
    kl__unlock(&m->lock);
    return hits ? KL_OK : kl__fail(KL_E_ARG, "no parameter matches \"%s\"", pattern);
}
