/* Getting a batch to the device: a copy in host memory that outlives the call, then the upload
 * lane. */
#include "sched/stepper_inside.h"

#include "base/mem.h"

#include <string.h>

kl_status kl__inputs_list(kl__stepper *s)
{
    const kl_graph *g = s->model->graph;
    for (size_t i = 0; i < g->n_nodes; i++) {
        const kl_node *x = g->nodes[i];
        if (!kl__is_input(x))
            continue;
        if (s->n_inputs == KL__MAX_SLOTS)
            return kl__fail(KL_E_UNSUPPORTED, "training takes at most %d inputs", KL__MAX_SLOTS);
        kl_shape shape = x->desc.shape;
        kl__input *in = &s->inputs[s->n_inputs++];
        in->name = x->name;
        in->dtype = x->desc.dtype == KL_F32 ? s->model->real : x->desc.dtype;
        in->batched = shape.n_dims > 0 && shape.dim[0] == KL_BATCH;
        if (in->batched)
            shape.dim[0] = 1;
        in->sample_bytes = (size_t)kl_shape_count(shape) * kl_dtype_size(in->dtype);
    }
    return KL_OK;
}

void kl__inputs_finish(kl__stepper *s)
{
    for (int i = 0; i < s->n_inputs; i++) {
        for (int k = 0; k < KL__RING; k++)
            kl__free(s->inputs[i].host[k]);
        for (int k = 0; k < KL__STAGES; k++)
            kl__mem_release(s->inputs[i].device[k]);
    }
}

kl_status kl__input_grow_device(kl__stepper *s, kl__input *in, size_t bytes)
{
    if (bytes <= in->device_cap)
        return KL_OK;
    kl_status st = kl_ctx_finish(s->ctx); /* queued steps read the copies that go */
    for (int k = 0; st == KL_OK && k < KL__STAGES; k++) {
        kl__mem *m = kl__mem_create(s->ctx, bytes);
        if (!m)
            return kl__fail_in(kl__last_status(), "input \"%s\"", in->name);
        kl__mem_release(in->device[k]);
        in->device[k] = m;
    }
    if (st == KL_OK)
        in->device_cap = bytes;
    return st;
}

/** Makes copies large enough. Only a batch larger than any before gets here, so a steady run
 * allocates nothing. */
static kl_status grow(kl__stepper *s, kl__input *in, size_t bytes)
{
    if (bytes <= in->host_cap)
        return KL_OK;
    kl_status st = kl_ctx_finish(s->ctx); /* queued uploads read the copies that move */
    for (int k = 0; st == KL_OK && k < KL__RING; k++) {
        void *p = kl__realloc(in->host[k], bytes, 1);
        if (!p)
            return KL_E_MEMORY;
        in->host[k] = p;
    }
    if (st == KL_OK)
        st = kl__input_grow_device(s, in, bytes);
    if (st == KL_OK)
        in->host_cap = bytes;
    return st;
}

kl_status kl__inputs_upload(kl__stepper *s, const kl_bind *binds, size_t n, int64_t batch,
                            uint64_t entry)
{
    kl__lane *up = kl__ctx_lane(s->ctx, KL__UPLOAD), *compute = kl__ctx_lane(s->ctx, KL__COMPUTE);
    for (int i = 0; i < s->n_inputs; i++) {
        kl__input *in = &s->inputs[i];
        const kl_bind *b = kl__bind_find(binds, n, in->name);
        size_t bytes = in->sample_bytes * (in->batched ? (size_t)batch : 1);
        kl__event done = {NULL};
        if (!b || !b->host || !bytes)
            continue;
        kl_status st = grow(s, in, bytes);
        if (st != KL_OK)
            return st;
        void *copy = in->host[entry % KL__RING];
        memcpy(copy, b->host, bytes);
        st = kl__lane_write(up, (kl__span){in->device[entry % KL__STAGES], 0}, copy, bytes, &done);
        if (st == KL_OK)
            st = kl__lane_flush(up);
        if (st == KL_OK)
            st = kl__lane_wait(compute, done);
        kl__event_release(&done);
        if (st != KL_OK)
            return st;
    }
    return KL_OK;
}

kl_status kl__inputs_bind(kl__stepper *s, kl__pass *p, const kl_bind *binds, size_t n,
                          int64_t first, uint64_t entry)
{
    for (int slot = 0; slot < p->n_slots; slot++) {
        const kl_node *x = kl__slot_input(p->plan->graph, slot);
        const kl_bind *b = binds ? kl__bind_find(binds, n, x->name) : NULL;
        kl__input *in = s->inputs;
        while (strcmp(in->name, x->name) != 0)
            in++;
        if (binds && !b)
            return kl__fail(KL_E_ARG, "input \"%s\" is not bound and the loss needs it", x->name);
        kl__span span =
            b && b->tensor ? b->tensor->span : (kl__span){in->device[entry % KL__STAGES], 0};
        if (in->batched)
            span.offset += (size_t)first * in->sample_bytes;
        kl_status st = kl__plan_bind(p->plan, slot, span);
        if (st != KL_OK)
            return st;
    }
    return KL_OK;
}
