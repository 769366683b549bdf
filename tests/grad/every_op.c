/* Every op that has a gradient, by finite differences in f64, in small nets; the last test asks the
 * table of ops whether one is missing, so an op that is new cannot be forgotten. */
#include "ops/reduce.h"
#include "ops/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define SHAPE2(a, b)                                                                               \
    {                                                                                              \
        2,                                                                                         \
        {                                                                                          \
            a, b                                                                                   \
        }                                                                                          \
    }
#define SHAPE4(n, c, h, w)                                                                         \
    {                                                                                              \
        4,                                                                                         \
        {                                                                                          \
            n, c, h, w                                                                             \
        }                                                                                          \
    }
#define NORMAL(...)                                                                                \
    {                                                                                              \
        .dtype = KL_F32, .shape = __VA_ARGS__, .fill = RIG_NORMAL                                  \
    }
#define POSITIVE(...)                                                                              \
    {                                                                                              \
        .dtype = KL_F32, .shape = __VA_ARGS__, .fill = RIG_UNIFORM, .lo = 0.5, .hi = 2             \
    }

/** Sums up so that each term has a weight of its own. */
static kl_node *join(kl_graph *g, kl_node *sum, kl_node *x, float weight)
{
    x = kl_scale(g, x, &(kl_scale_opts){.scale = weight, .shift = 0.5f});
    return sum ? kl_add(g, sum, x) : x;
}

static int smooth(kl_graph *g, kl_node *const *in, kl_node **out)
{
    kl_node *y = join(g, NULL, kl_swish(g, in[0], NULL), 1);
    y = join(g, y, kl_sigmoid(g, in[0]), -2);
    y = join(g, y, kl_tanh(g, in[0]), 3);
    y = join(g, y, kl_softplus(g, in[0]), 0.7f);
    y = join(g, y, kl_exp(g, in[0]), 0.3f);
    y = join(g, y, kl_square(g, in[0]), -1.3f);
    out[0] = join(g, y, kl_neg(g, in[0]), 2.5f);
    return 1;
}

static int kinked(kl_graph *g, kl_node *const *in, kl_node **out)
{
    kl_node *y = join(g, NULL, kl_relu(g, in[0]), 1);
    y = join(g, y, kl_leaky_relu(g, in[0], NULL), -2);
    y = join(g, y, kl_relu6(g, kl_scale(g, in[0], &(kl_scale_opts){.scale = 5})), 1);
    y = join(g, y, kl_elu(g, in[0], NULL), 3);
    out[0] = join(g, y, kl_abs(g, in[0]), 0.7f);
    return 1;
}

static int roots(kl_graph *g, kl_node *const *in, kl_node **out)
{
    out[0] = join(g, kl_log(g, in[0]), kl_sqrt(g, in[0]), 2);
    return 1;
}

static int arithmetic(kl_graph *g, kl_node *const *in, kl_node **out)
{
    kl_node *y = kl_sub(g, kl_add(g, in[0], in[1]), kl_mul(g, in[0], in[1]));
    kl_node *z = kl_div(g, y, in[1]);
    out[0] = kl__apply_new(g, &kl__op_cast, NULL, &z, 1, &(kl_scale_opts){.scale = 0.5f});
    return 1;
}

static int shapes(kl_graph *g, kl_node *const *in, kl_node **out)
{
    kl_node *two[2] = {in[0], kl_square(g, in[0])};
    kl_node *y = kl_concat(g, two, 2, NULL);
    y = kl_slice(g, y, &(kl_slice_opts){.start = 1, .size = 3});
    y = kl_pad_nd(
        g, y,
        &(kl_pad_opts){.before = {0, 0, 1, 2}, .after = {0, 1, 0, -1}, .fill = KL_FILL_REFLECT});
    y = kl_transpose(g, y, &(kl_transpose_opts){.perm = {4, {0, 2, 3, 1}}});
    out[0] =
        kl_tanh(g, kl_reshape(g, kl_flatten(g, y), &(kl_reshape_opts){.shape = SHAPE2(4, -2)}));
    return 1;
}

static int reductions(kl_graph *g, kl_node *const *in, kl_node **out)
{
    out[0] = kl_square(g, kl_reduce_sum(g, in[0], &(kl_reduce_opts){.axes = {1, {1}}}));
    out[1] = kl_square(g, kl_reduce_mean(g, in[0], &(kl_reduce_opts){.axes = {2, {0, 2}}}));
    out[2] = kl_square(g, kl_reduce_max(g, in[0], &(kl_reduce_opts){.axes = {1, {3}}}));
    out[3] = kl_square(g, kl__broadcast_to(g, kl__sum_to(g, in[0], (kl_shape)SHAPE4(1, 3, 1, 1)),
                                           (kl_shape)SHAPE4(2, 3, 4, 4)));
    return 4;
}

static int products(kl_graph *g, kl_node *const *in, kl_node **out)
{
    kl_node *y = kl_matmul(g, in[0], in[1], &(kl_matmul_opts){.ta = true});
    y = kl_bias(g, y, in[2], NULL);
    out[0] = kl_softmax(g, kl_dense(g, y, &(kl_dense_opts){.units = 4, .name = "d"}), NULL);
    out[1] = kl_log_softmax(g, y, NULL);
    return 2;
}

static int windows(kl_graph *g, kl_node *const *in, kl_node **out)
{
    kl_node *y = kl_conv2d(
        g, in[0],
        &(kl_conv2d_opts){.filters = 6, .kernel = {3}, .pad = {.mode = KL_PAD_SAME}, .name = "c"});
    y = kl_maxpool2d(
        g, y,
        &(kl_pool2d_opts){
            .window = {3}, .stride = {2}, .pad = {.top = 1, .left = 1}, .ceil_mode = true});
    y = kl_avgpool2d(
        g, y,
        &(kl_pool2d_opts){
            .window = {2}, .stride = {1}, .pad = {.top = 1, .right = 1}, .skip_pad = true});
    y = kl_conv2d_transpose(
        g, y, &(kl_conv2d_transpose_opts){.filters = 4, .kernel = {3}, .stride = {2}, .name = "t"});
    y = kl_maxout(g, y, &(kl_maxout_opts){.window = 2});
    out[0] = kl_square(g, kl_global_avgpool(g, y, NULL));
    out[1] = kl_square(g, kl_global_maxpool(g, y, NULL));
    return 2;
}

static int normalised(kl_graph *g, kl_node *const *in, kl_node **out)
{
    kl_node *y = kl_batchnorm(g, in[0], &(kl_batchnorm_opts){.name = "b"});
    out[0] = kl_square(g, kl_dropout(g, y, &(kl_dropout_opts){.rate = 0.4f, .name = "d"}));
    return 1;
}

static int losses(kl_graph *g, kl_node *const *in, kl_node **out)
{
    kl_node *a = kl_add(g, kl_mse(g, in[0], in[1], NULL), kl_mae(g, in[0], in[1], NULL));
    out[0] = kl_add(g, a, kl_huber(g, in[0], in[1], &(kl_loss_opts){.delta = 0.7f}));
    out[1] = kl_bce_logits(g, in[0], kl_sigmoid(g, in[1]), NULL);
    out[2] = kl_softmax_xent(g, in[0], in[2], &(kl_xent_opts){.smoothing = 0.2f});
    return 3;
}

typedef struct net {
    const char *name;
    rig_build *build;
    int n_in;
    rig_input in[3];
    bool inference;
} net;

static const net nets[] = {
    {"smooth", smooth, 1, {NORMAL(SHAPE2(3, 7))}, false},
    {"kinked", kinked, 1, {NORMAL(SHAPE2(3, 7))}, false},
    {"roots", roots, 1, {POSITIVE(SHAPE2(3, 7))}, false},
    {"arithmetic", arithmetic, 2, {NORMAL(SHAPE4(2, 3, 1, 4)), POSITIVE({3, {3, 2, 1}})}, false},
    {"shapes", shapes, 1, {NORMAL(SHAPE4(2, 2, 4, 5))}, false},
    {"reductions", reductions, 1, {NORMAL(SHAPE4(2, 3, 4, 4))}, false},
    {"products",
     products,
     3,
     {NORMAL(SHAPE2(5, 3)), NORMAL(SHAPE2(5, 6)), NORMAL({1, {6}})},
     false},
    {"windows", windows, 1, {NORMAL(SHAPE4(2, 2, 7, 6))}, false},
    {"normalised", normalised, 1, {NORMAL(SHAPE4(3, 2, 3, 4))}, false},
    {"normalised, inference", normalised, 1, {NORMAL(SHAPE4(3, 2, 3, 4))}, true},
    {"losses",
     losses,
     3,
     {NORMAL(SHAPE2(4, 5)),
      {.dtype = KL_F32, .shape = SHAPE2(4, 5), .fill = RIG_NORMAL, .no_grad = true},
      {.dtype = KL_I32, .shape = {1, {4}}, .fill = RIG_INDEX, .hi = 5}},
     false},
};

static void each_net_agrees_with_differences(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++)
        rig_grad_net(nets[i].name, nets[i].build, nets[i].in, nets[i].n_in, !nets[i].inference);
}

static void no_op_is_left_out(void **state)
{
    int n = 0;
    (void)state;
    kl_ctx *ctx = kl_ctx_create(NULL);
    bool fp64 = ctx && kl__ctx_caps(ctx)->fp64;
    kl_ctx_destroy(ctx);
    if (!fp64)
        skip();
    for (size_t i = 0; i < kl__op_count(); i++)
        if (kl__op_at(i)->grad && !rig_grad_ran(kl__op_at(i)->name)) {
            print_message("no net here has %s\n", kl__op_at(i)->name);
            n++;
        }
    assert_int_equal(n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_net_agrees_with_differences),
        cmocka_unit_test(no_op_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
