#include "rand_net.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static uint32_t next(uint32_t *s, uint32_t below)
{
    *s = *s * 1664525u + 1013904223u;
    return (*s >> 10) % below;
}

static kl_node *layer(kl_graph *g, kl_node *h, uint32_t *s)
{
    kl_node *skip;
    switch (next(s, 7)) {
    case 0:
        return kl_relu(g, h);
    case 1:
        return kl_batchnorm(g, h, NULL);
    case 2:
        return h->desc.shape.dim[2] < 4 ? h
                                        : kl_maxpool2d(g, h, &(kl_pool2d_opts){.window = {2}});
    case 3:
        return kl_dropout(g, h, &(kl_dropout_opts){.rate = 0.25f});
    case 4:
        skip = h;
        h = kl_conv2d(g, kl_relu(g, h),
                      &(kl_conv2d_opts){.filters = (int)h->desc.shape.dim[1],
                                        .kernel = {3},
                                        .pad = {.mode = KL_PAD_SAME}});
        return kl_add(g, h, skip);
    default:
        return kl_conv2d(g, h,
                         &(kl_conv2d_opts){.filters = 4 + (int)next(s, 12),
                                           .kernel = {next(s, 2) ? 3 : 1},
                                           .pad = {.mode = KL_PAD_SAME}});
    }
}

kl_graph *rand_net(uint32_t seed)
{
    uint32_t s = seed * 2654435761u + 1;
    kl_graph *g = kl_graph_create();
    kl_node *h = kl_input(g, "image", KL_F32, (kl_shape){4, {KL_BATCH, 3, 8, 8}});
    kl_node *y = kl_input(g, "label", KL_I32, (kl_shape){1, {KL_BATCH}});
    for (uint32_t i = 0, n = 3 + next(&s, 6); i < n; i++)
        h = layer(g, h, &s);
    for (uint32_t i = 0, n = next(&s, 3); i < n; i++)
        h = kl_relu(g, kl_dense(g, h, &(kl_dense_opts){.units = 4 + (int)next(&s, 16)}));
    h = kl_dense(g, h, &(kl_dense_opts){.units = 5});
    kl_output(g, "logits", h);
    kl_output(g, "loss", kl_softmax_xent(g, h, y, NULL));
    if (kl_graph_check(g) != KL_OK)
        fail_msg("net %u: %s", seed, kl_last_error());
    return g;
}

/** Places each output in p->outs, made at the first call. */
static void place_outputs(net_pass *p, kl_graph *g)
{
    size_t at = 0, bytes;
    for (size_t i = 0; i < g->n_outputs; i++) {
        assert_true(kl__desc_bytes(&g->outputs[i].node->desc, &bytes));
        if (p->outs)
            g->outputs[i].place = (kl__place){KL__AT_SPAN, {p->outs, at}, 0};
        at += (bytes + 255) / 256 * 256;
    }
    if (!p->outs) {
        assert_non_null(p->outs = kl__mem_create(p->ctx, at));
        place_outputs(p, g);
    }
}

static void bind_inputs(net_pass *p)
{
    int k = 0;
    for (size_t i = 0; i < p->plan->graph->n_nodes; i++) {
        const kl_node *x = p->plan->graph->nodes[i];
        size_t bytes = 0;
        if (!kl__is_input(x))
            continue;
        assert_true(k < 2 && kl__desc_bytes(&x->desc, &bytes));
        char *data = calloc(bytes, 1);
        assert_non_null(data);
        for (size_t j = 0; x->desc.dtype == KL_F32 && j < bytes / sizeof(float); j++)
            ((float *)(void *)data)[j] = (float)(int)(j * 37 % 101) / 50 - 1;
        assert_non_null(p->in[k] = kl__mem_create(p->ctx, bytes));
        assert_int_equal(kl__lane_write(kl__ctx_lane(p->ctx, KL__COMPUTE), (kl__span){p->in[k], 0},
                                        data, bytes, NULL),
                         KL_OK);
        assert_int_equal(kl__plan_bind(p->plan, k, (kl__span){p->in[k], 0}), KL_OK);
        free(data);
        k++;
    }
}

void net_pass_open(net_pass *p, kl_ctx *ctx, kl_graph *g, int64_t n, const kl__plan_opts *opts)
{
    memset(p, 0, sizeof *p);
    p->ctx = ctx;
    p->model = kl_model_create(g, &(kl_model_opts){.seed = 3});
    kl_graph_destroy(g);
    kl__replica *r = p->model ? kl__replica_get(p->model, ctx) : NULL;
    const kl__pass_spec spec = {.training = true, .loss = "loss", .logits = "logits"};
    kl_graph *pass = r ? kl__pass_graph(p->model, n, &spec) : NULL;
    if (!pass)
        fail_msg("%s", kl_last_error());
    kl__place_inputs(pass);
    kl__replica_place(r, pass);
    place_outputs(p, pass);
    if (!(p->plan = kl__plan_create(ctx, pass, opts)))
        fail_msg("%s", kl_last_error());
    bind_inputs(p);
}

void net_pass_close(net_pass *p)
{
    kl__plan_destroy(p->plan);
    kl_model_destroy(p->model);
    kl__mem_release(p->in[0]);
    kl__mem_release(p->in[1]);
    kl__mem_release(p->outs);
}
