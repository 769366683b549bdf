/* Ten training steps against PyTorch in double precision (torch_curves.py): the whole chain of
 * forward, backward and update, for each optimizer, on nets that use most ops. */
#include "curves.h"

#include <kiln/kiln.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { STEPS = 10, BATCH = 8, MAX_X = BATCH * 28 * 28 };

static const char LENET[] =
    "image = input(shape=[N,1,28,28])\nlabel = input(shape=[N], dtype=i32)\n"
    "c1 = conv2d(image, filters=6, kernel=5, pad=2)\nr1 = relu(c1)\np1 = maxpool2d(r1, window=2)\n"
    "c2 = conv2d(p1, filters=16, kernel=5)\nr2 = relu(c2)\np2 = maxpool2d(r2, window=2)\n"
    "f1 = dense(p2, units=120)\nt1 = tanh(f1)\nf2 = dense(t1, units=10)\n"
    "l = softmax_xent(f2, label)\noutput loss = l\n";
static const char BNNET[] =
    "image = input(shape=[N,3,12,12])\nlabel = input(shape=[N], dtype=i32)\n"
    "c1 = conv2d(image, filters=8, kernel=3, pad=1, no_bias=true)\nb1 = batchnorm(c1)\nr1 = "
    "relu(b1)\n"
    "p1 = maxpool2d(r1, window=2)\nc2 = conv2d(p1, filters=20, kernel=3, pad=1, no_bias=true)\n"
    "b2 = batchnorm(c2)\nr2 = relu(b2)\ng = global_avgpool(r2)\nf = dense(g, units=5)\n"
    "l = softmax_xent(f, label%s)\noutput loss = l\n";
static const char ODD[] =
    "image = input(shape=[N,4,15,13])\nlabel = input(shape=[N], dtype=i32)\n"
    "c1 = conv2d(image, filters=8, kernel=[3,5], stride=[2,1], pad=[1,2,1,2], dilation=[2,1], "
    "groups=2)\n"
    "e1 = elu(c1)\np1 = avgpool2d(e1, window=2, stride=2, pad=1)\n"
    "c2 = conv2d(p1, filters=12, kernel=3, stride=2, pad=1, groups=4)\ns2 = swish(c2)\n"
    "c3 = conv2d_transpose(s2, filters=6, kernel=3, stride=2, pad=1, output_pad=1)\n"
    "k3 = leaky_relu(c3, slope=0.1)\np3 = maxpool2d(k3, window=3, stride=2, pad=1, "
    "ceil_mode=true)\n"
    "f1 = dense(p3, units=16)\ng1 = sigmoid(f1)\nf2 = dense(g1, units=6)\n"
    "l = softmax_xent(f2, label%s)\noutput loss = l\n";

typedef struct curve {
    const char *name, *text, *loss_args;
    int64_t image; /* numbers per sample */
    int classes;
    kl_trainer_opts opts;
    const double *want;
} curve;

/** As values() of torch_curves.py. */
static float value(int64_t seed, int64_t i, double scale)
{
    uint64_t x = ((uint64_t)i * 2654435761u + (uint64_t)seed * 40503u + 12345u) % 4294967296u;
    x = ((x ^ (x >> 15)) * 2246822519u) % 4294967296u;
    x = x ^ (x >> 13);
    return (float)(((double)(x >> 16) / 32768.0 - 1.0) * scale);
}

/** Parameters in the order in which the layers have them: weight, then bias. */
static void set_params(kl_model *m)
{
    const kl_graph *g = kl_model_graph(m);
    int64_t seed = 0;
    char *text = kl_graph_print(g);
    assert_non_null(text);
    /* names of layers, in the graph's order */
    for (char *line = text, *end; *line; line = end + 1) {
        char layer[64], name[96];
        end = strchr(line, '\n');
        if (sscanf(line, "%60s", layer) != 1)
            continue;
        for (int k = 0; k < 2; k++) {
            kl_param_info p;
            snprintf(name, sizeof name, "%s.%s", layer, k ? "bias" : "weight");
            for (size_t i = 0; i < kl_model_n_params(m); i++) {
                assert_int_equal(kl_model_param(m, i, &p), KL_OK);
                if (strcmp(p.name, name) != 0 || layer[0] == 'b')
                    continue;
                size_t fan = p.shape.n_dims > 1 ? p.count / (size_t)p.shape.dim[0] : p.count;
                float *v = malloc(p.count * sizeof *v);
                assert_non_null(v);
                seed++;
                for (size_t j = 0; j < p.count; j++)
                    v[j] = value(seed, (int64_t)j, 1 / sqrt((double)fan));
                assert_int_equal(kl_model_set_param(m, name, v, p.count), KL_OK);
                free(v);
            }
        }
    }
    kl_free(text);
}

static void run(void **state)
{
    const curve *c = *state;
    static float x[MAX_X];
    int32_t y[BATCH];
    char text[2048];
    const char *hole = strstr(c->text, "%s");
    int head = hole ? (int)(hole - c->text) : (int)strlen(c->text);
    snprintf(text, sizeof text, "%.*s%s%s", head, c->text, c->loss_args, hole ? hole + 2 : "");
    kl_ctx *ctx = kl_ctx_create(NULL);
    kl_graph *g = kl_graph_parse(text, c->name);
    if (!g)
        fail_msg("%s", kl_last_error());
    kl_model *m = kl_model_create(g, NULL);
    if (!m)
        fail_msg("%s", kl_last_error());
    set_params(m);
    kl_trainer *tr = kl_trainer_create(m, &ctx, 1, "loss", NULL, &c->opts);
    if (!tr)
        fail_msg("%s", kl_last_error());
    for (int s = 0; s < STEPS; s++) {
        kl_metrics q;
        for (int i = 0; i < BATCH; i++) {
            y[i] = i * 7 % c->classes;
            for (int64_t j = 0; j < c->image; j++)
                x[i * c->image + j] = (float)((((double)value(1000 + s, i * c->image + j, 1.0))) +
                                              (double)y[i] / c->classes);
        }
        kl_bind binds[] = {
            {.name = "image", .host = x, .host_bytes = (size_t)(BATCH * c->image) * sizeof *x},
            {.name = "label", .host = y, .host_bytes = sizeof y}};
        if (kl_trainer_step(tr, binds, 2) != KL_OK || kl_trainer_metrics(tr, &q) != KL_OK)
            fail_msg("%s: %s", c->name, kl_last_error());
        if (!(fabs(q.loss - c->want[s]) <= 1e-4 * fabs(c->want[s])))
            fail_msg("%s, step %d: loss %.9g, PyTorch has %.9g", c->name, s, q.loss, c->want[s]);
    }
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    kl_graph_destroy(g);
    kl_ctx_destroy(ctx);
}

static curve curves[] = {
    {"lenet_sgd",
     LENET,
     "",
     784,
     10,
     {.optim = {.kind = KL_SGD, .momentum = 0.9f, .nesterov = true, .weight_decay = 1e-3f},
      .schedule = {.lr = 0.05}},
     curve_lenet_sgd},
    {"lenet_adam_clip",
     LENET,
     "",
     784,
     10,
     {.optim = {.kind = KL_ADAM}, .schedule = {.lr = 2e-3}, .clip_norm = 0.5f},
     curve_lenet_adam_clip},
    {"bnnet_adamw",
     BNNET,
     ", smoothing=0.1",
     432,
     5,
     {.optim = {.kind = KL_ADAMW, .weight_decay = 0.05f}, .schedule = {.lr = 5e-3}},
     curve_bnnet_adamw},
    {"bnnet_rmsprop",
     BNNET,
     "",
     432,
     5,
     {.optim = {.kind = KL_RMSPROP, .momentum = 0.9f, .centered = true}, .schedule = {.lr = 1e-3}},
     curve_bnnet_rmsprop},
    {"odd_sgd",
     ODD,
     ", class_weight=[1,2,0.5,1,3,1]",
     780,
     6,
     {.optim = {.kind = KL_SGD, .momentum = 0.5f}, .schedule = {.lr = 0.05}},
     curve_odd_sgd},
    {"odd_adamw",
     ODD,
     "",
     780,
     6,
     {.optim = {.kind = KL_ADAMW}, .schedule = {.lr = 3e-3}},
     curve_odd_adamw},
};

int main(void)
{
    struct CMUnitTest tests[sizeof curves / sizeof *curves];
    for (size_t i = 0; i < sizeof curves / sizeof *curves; i++)
        tests[i] = (struct CMUnitTest){curves[i].name, run, NULL, NULL, &curves[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
