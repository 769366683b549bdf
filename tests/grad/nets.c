/* Whole nets by finite differences in f64: forward and gradient through lowering, every op between.
 */
#include "ops/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define SHAPE4(n, c, h, w)                                                                         \
    {                                                                                              \
        4,                                                                                         \
        {                                                                                          \
            n, c, h, w                                                                             \
        }                                                                                          \
    }

/** conv - tanh - max pool - conv - tanh - max pool - dense - tanh - dense - softmax cross-entropy
 */
static int lenet(kl_graph *g, kl_node *const *in, kl_node **out)
{
    kl_node *h = kl_tanh(
        g, kl_conv2d(g, in[0],
                     &(kl_conv2d_opts){
                         .filters = 3, .kernel = {3}, .pad = {.mode = KL_PAD_SAME}, .name = "c1"}));
    h = kl_maxpool2d(g, h, &(kl_pool2d_opts){.window = {2}});
    h = kl_tanh(g, kl_conv2d(g, h, &(kl_conv2d_opts){.filters = 4, .kernel = {3}, .name = "c2"}));
    h = kl_maxpool2d(g, h, &(kl_pool2d_opts){.window = {2}});
    h = kl_tanh(g, kl_dense(g, h, &(kl_dense_opts){.units = 6, .name = "f1"}));
    h = kl_dense(g, h, &(kl_dense_opts){.units = 5, .name = "f2"});
    out[0] = kl_softmax_xent(g, h, in[1], NULL);
    return 1;
}

static void lenet_with_max_pooling(void **state)
{
    const rig_input in[] = {
        {.dtype = KL_F32, .shape = SHAPE4(3, 1, 12, 12), .fill = RIG_NORMAL},
        {.dtype = KL_I32, .shape = {1, {3}}, .fill = RIG_INDEX, .hi = 5},
    };
    (void)state;
    rig_grad_net("lenet", lenet, in, 2, true);
}

/** conv - batch norm - softplus - dropout - conv - batch norm - swish - global average - dense -
 * MSE, in training form */
static int normed(kl_graph *g, kl_node *const *in, kl_node **out)
{
    kl_node *h = kl_conv2d(g, in[0],
                           &(kl_conv2d_opts){.filters = 4,
                                             .kernel = {3},
                                             .pad = {.mode = KL_PAD_SAME},
                                             .no_bias = true,
                                             .name = "c1"});
    h = kl_softplus(g, kl_batchnorm(g, h, &(kl_batchnorm_opts){.name = "b1"}));
    h = kl_dropout(g, h, &(kl_dropout_opts){.rate = 0.3f, .name = "d1"});
    h = kl_conv2d(g, h,
                  &(kl_conv2d_opts){
                      .filters = 3, .kernel = {3}, .stride = {2}, .no_bias = true, .name = "c2"});
    h = kl_swish(g, kl_batchnorm(g, h, &(kl_batchnorm_opts){.compat = KL_KERAS, .name = "b2"}),
                 NULL);
    h = kl_dense(g, kl_global_avgpool(g, h, NULL), &(kl_dense_opts){.units = 4, .name = "f"});
    out[0] = kl_mse(g, h, in[1], NULL);
    out[1] = h;
    return 2;
}

static void batch_norm_and_dropout_in_training(void **state)
{
    const rig_input in[] = {
        {.dtype = KL_F32, .shape = SHAPE4(4, 2, 7, 7), .fill = RIG_NORMAL},
        {.dtype = KL_F32, .shape = {2, {4, 4}}, .fill = RIG_NORMAL, .no_grad = true},
    };
    (void)state;
    rig_grad_net("normed", normed, in, 2, true);
}

/** Every attribute of a convolution: groups, dilation, asymmetric padding, transposed; average
 * pooling; a residual add; weighted loss. */
static int geometry(kl_graph *g, kl_node *const *in, kl_node **out)
{
    static const float weight[] = {1, 0.5f, 2, 1.5f};
    kl_node *h =
        kl_elu(g,
               kl_conv2d(g, in[0],
                         &(kl_conv2d_opts){.filters = 4,
                                           .kernel = {3, 2},
                                           .stride = {2, 1},
                                           .dilation = {1, 2},
                                           .groups = 2,
                                           .pad = {.top = 1, .left = 0, .bottom = 2, .right = 1},
                                           .name = "c1"}),
               NULL);
    kl_node *skip = h;
    h = kl_sigmoid(
        g, kl_conv2d(g, h,
                     &(kl_conv2d_opts){
                         .filters = 4, .kernel = {3}, .pad = {.mode = KL_PAD_SAME}, .name = "c2"}));
    h = kl_avgpool2d(g, kl_add(g, h, skip),
                     &(kl_pool2d_opts){.window = {2},
                                       .stride = {2},
                                       .pad = {.top = 1, .left = 1, .bottom = 1, .right = 1}});
    h = kl_tanh(g, kl_conv2d_transpose(g, h,
                                       &(kl_conv2d_transpose_opts){
                                           .filters = 3,
                                           .kernel = {3},
                                           .stride = {2},
                                           .pad = {.top = 1, .left = 1, .bottom = 1, .right = 1},
                                           .output_pad = {1},
                                           .name = "t"}));
    h = kl_dense(g, h, &(kl_dense_opts){.units = 4, .name = "f"});
    out[0] = kl_softmax_xent(g, h, in[1],
                             &(kl_xent_opts){.smoothing = 0.1f, .class_weight = {weight, 4}});
    return 1;
}

static void every_geometry_and_a_weighted_loss(void **state)
{
    const rig_input in[] = {
        {.dtype = KL_F32, .shape = SHAPE4(3, 4, 6, 5), .fill = RIG_NORMAL},
        {.dtype = KL_I32, .shape = {1, {3}}, .fill = RIG_INDEX, .hi = 4},
    };
    (void)state;
    rig_grad_net("geometry", geometry, in, 2, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lenet_with_max_pooling),
        cmocka_unit_test(batch_norm_and_dropout_in_training),
        cmocka_unit_test(every_geometry_and_a_weighted_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
