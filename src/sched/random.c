/* Random batches for what only needs numbers to compute with. */
#include "sched/random.h"

#include "base/mem.h"
#include "base/rng.h"
#include "ops/op.h"

#include <string.h>

/** How many classes i32 input x has: axis 1 of what it is compared with, [N,K,...]; 2 where nobody
 * says. */
static uint32_t classes_of(const kl_graph *g, const kl_node *x)
{
    for (size_t i = 0; i < g->n_applies; i++) {
        const kl__apply *a = g->applies[i];
        const kl_shape *s = a->n_in > 0 ? &a->in[0]->desc.shape : NULL;
        for (int k = 1; k < a->n_in; k++)
            if (a->in[k] == x && s->n_dims >= 2 && s->dim[1] > 0)
                return (uint32_t)s->dim[1];
    }
    return 2;
}

static void fill(const kl_graph *g, const kl_node *x, kl_dtype dtype, kl__rng r, size_t n,
                 void *dst)
{
    uint32_t classes = dtype == KL_I32 ? classes_of(g, x) : 0;
    for (size_t i = 0; i < n; i++) {
        float f;
        switch (dtype) {
        case KL_I32:
            ((int32_t *)dst)[i] = (int32_t)kl__rng_below(r, i, classes);
            break;
        case KL_U8:
            ((uint8_t *)dst)[i] = (uint8_t)kl__rng_below(r, i, 256);
            break;
        case KL_F64:
            ((double *)dst)[i] = kl__rng_normal(r, i);
            break;
        case KL_F32:
        case KL_F16:
            f = (float)kl__rng_normal(r, i);
            kl__convert((char *)dst + i * kl_dtype_size(dtype), dtype, &f, KL_F32, 1);
            break;
        }
    }
}

kl_status kl__random_one(const kl_graph *g, const kl_node *x, kl_dtype real, int64_t batch,
                         uint64_t seed, kl_bind *out)
{
    kl__desc d = x->desc;
    char buf[96];
    size_t bytes;
    if (d.dtype == KL_F32)
        d.dtype = real;
    if (d.shape.n_dims > 0 && d.shape.dim[0] == KL_BATCH)
        d.shape.dim[0] = batch;
    if (!kl__desc_bytes(&d, &bytes))
        return kl__fail(KL_E_SHAPE, "input \"%s\" %s is too large for a batch of %lld", x->name,
                        kl__shape_str(x->desc.shape, buf), (long long)batch);
    void *p = kl__alloc(bytes);
    if (!p)
        return KL_E_MEMORY;
    fill(g, x, d.dtype, kl__rng_of(seed, x->name, 0), bytes / kl_dtype_size(d.dtype), p);
    *out = (kl_bind){.name = x->name, .host = p, .host_bytes = bytes};
    return KL_OK;
}

kl_status kl__random_make(const kl_model *m, int64_t batch, uint64_t seed, kl__random *out)
{
    kl_status st = KL_OK;
    *out = (kl__random){.binds = kl__calloc(kl_graph_n_inputs(m->graph) + 1, sizeof *out->binds)};
    if (!out->binds)
        return KL_E_MEMORY;
    for (size_t i = 0; st == KL_OK && i < kl_graph_n_inputs(m->graph); i++) {
        st = kl__random_one(m->graph, kl_graph_input(m->graph, i), m->real, batch, seed,
                            &out->binds[i]);
        if (st == KL_OK)
            out->n++;
    }
    if (st != KL_OK)
        kl__random_finish(out);
    return st;
}

void kl__random_finish(kl__random *r)
{
    for (size_t i = 0; i < r->n; i++)
        kl__free(r->binds[i].host);
    kl__free(r->binds);
    *r = (kl__random){0};
}
