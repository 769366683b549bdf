#include "nets.h"

#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

kl_graph *net_cnn(bool dropout)
{
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "image", KL_F32, (kl_shape){4, {KL_BATCH, NET_C, NET_HW, NET_HW}});
    kl_node *y = kl_input(g, "label", KL_I32, (kl_shape){1, {KL_BATCH}});
    kl_node *h =
        kl_conv2d(g, x,
                  &(kl_conv2d_opts){
                      .filters = 5, .kernel = {3}, .pad = {.mode = KL_PAD_SAME}, .name = "conv"});
    h = kl_relu(g, kl_batchnorm(g, h, &(kl_batchnorm_opts){.name = "bn"}));
    h = kl_maxpool2d(g, h, &(kl_pool2d_opts){.window = {2}});
    h = kl_relu(g, kl_dense(g, h, &(kl_dense_opts){.units = 12, .name = "fc1"}));
    if (dropout)
        h = kl_dropout(g, h, &(kl_dropout_opts){.rate = 0.25f, .name = "drop"});
    h = kl_dense(g, h, &(kl_dense_opts){.units = NET_CLASSES, .name = "fc2"});
    kl_output(g, "logits", h);
    kl_output(g, "loss", kl_softmax_xent(g, h, y, NULL));
    return g;
}

kl_model *net_model(bool dropout, uint64_t seed)
{
    kl_graph *g = net_cnn(dropout);
    kl_model *m = kl_model_create(g, &(kl_model_opts){.seed = seed});
    kl_graph_destroy(g);
    if (!m)
        fail_msg("%s", kl_last_error());
    return m;
}

void net_fill(net_batch *b, int n, int k)
{
    kl__rng r = kl__rng_of(11, "net", (uint32_t)k);
    assert_true(n <= NET_MAX_BATCH);
    for (int i = 0; i < n; i++)
        b->y[i] = (int32_t)kl__rng_below(r, (uint64_t)(1000000 + i), NET_CLASSES);
    for (int i = 0; i < n * NET_IMAGE; i++)
        b->x[i] = (float)kl__rng_normal(r, (uint64_t)i) + 0.3f * (float)b->y[i / NET_IMAGE];
    b->binds[0] = (kl_bind){
        .name = "image", .host = b->x, .host_bytes = (size_t)n * NET_IMAGE * sizeof(float)};
    b->binds[1] =
        (kl_bind){.name = "label", .host = b->y, .host_bytes = (size_t)n * sizeof(int32_t)};
}

float *net_params(kl_model *m, size_t *n)
{
    size_t total = 0, at = 0;
    kl_param_info p;
    for (size_t i = 0; i < kl_model_n_params(m); i++) {
        assert_int_equal(kl_model_param(m, i, &p), KL_OK);
        total += p.count;
    }
    float *v = calloc(total + 1, sizeof *v);
    assert_non_null(v);
    for (size_t i = 0; i < kl_model_n_params(m); i++) {
        assert_int_equal(kl_model_param(m, i, &p), KL_OK);
        if (kl_model_get_param(m, p.name, v + at, p.count) != KL_OK)
            fail_msg("%s", kl_last_error());
        at += p.count;
    }
    *n = total;
    return v;
}
