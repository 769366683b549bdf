/* Training steps on a real device: what they cost, that they are the same every time, and what
 * happens when numbers go bad. */
#include "nets.h"

#include "support/count_alloc.h"
#include "support/fault_cl.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static kl_ctx *open_ctx(void)
{
    kl_ctx *c = kl_ctx_create(NULL);
    if (!c)
        fail_msg("%s", kl_last_error());
    return c;
}

static kl_trainer *open_trainer(kl_model *m, kl_ctx *c, const kl_trainer_opts *o)
{
    kl_trainer *tr = kl_trainer_create(m, &c, 1, "loss", "logits", o);
    if (!tr)
        fail_msg("%s", kl_last_error());
    return tr;
}

static void step(kl_trainer *tr, int n, int k)
{
    static net_batch b;
    net_fill(&b, n, k);
    if (kl_trainer_step(tr, b.binds, 2) != KL_OK)
        fail_msg("%s", kl_last_error());
}

/** Parameters after `steps` steps. */
static float *train(const kl_trainer_opts *o, bool dropout, int steps, int batch, size_t *n,
                    double *loss)
{
    kl_ctx *c = open_ctx();
    kl_model *m = net_model(dropout, 5);
    kl_trainer *tr = open_trainer(m, c, o);
    kl_metrics q;
    for (int i = 0; i < steps; i++)
        step(tr, batch, i);
    if (kl_trainer_metrics(tr, &q) != KL_OK)
        fail_msg("%s", kl_last_error());
    *loss = q.loss;
    float *v = net_params(m, n);
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    kl_ctx_destroy(c);
    return v;
}

/* A steady step allocates nothing, creates no OpenCL object, and waits once: for the step before
 * the last. */
static void a_step_only_enqueues(void **state)
{
    (void)state;
    fault_cl_wrap(kl__cl());
    kl__cl_set_table(fault_cl_table());
    kl_ctx *c = open_ctx();
    kl_model *m = net_model(true, 1);
    kl_trainer *tr =
        open_trainer(m, c, &(kl_trainer_opts){.optim = {.kind = KL_ADAMW}, .shards = 2});
    static net_batch b;
    for (int i = 0; i < 4; i++) { /* both batch sizes have run */
        step(tr, 16, i);
        step(tr, 10, i);
    }
    net_fill(&b, 16, 9);
    enum { STEPS = 8 };
    count_alloc_install();
    uint64_t creates = fault_cl_creates(), waits = fault_cl_calls("clWaitForEvents"),
             finishes = fault_cl_calls("clFinish");
    for (int i = 0; i < STEPS; i++)
        assert_int_equal(kl_trainer_step(tr, b.binds, 2), KL_OK);
    uint64_t allocs = count_alloc_calls();
    count_alloc_remove();
    assert_int_equal(allocs, 0);
    assert_int_equal(fault_cl_creates() - creates, 0);
    assert_int_equal(fault_cl_calls("clFinish") - finishes, 0);
    /* results (two came from before), and the ring's entry */
    assert_true(fault_cl_calls("clWaitForEvents") - waits <= 2 * STEPS + 2);
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    kl_ctx_destroy(c);
    assert_int_equal(fault_cl_live(), 0);
    kl__cl_set_table(NULL);
}

static void assert_same(const float *a, const float *b, size_t n)
{
    if (memcmp(a, b, n * sizeof *a) != 0)
        fail_msg("two runs differ in their bits");
}

/* The same seed and data give the same bits, with dropout, whatever the number of shards is, run to
 * run. */
static void runs_are_bit_identical(void **state)
{
    (void)state;
    const int shards[] = {1, 3, 4};
    for (size_t i = 0; i < 3; i++) {
        kl_trainer_opts o = {
            .optim = {.kind = KL_ADAMW}, .shards = shards[i], .schedule = {.lr = 0.01}};
        size_t n, n2;
        double l, l2;
        float *a = train(&o, true, 6, 13, &n, &l), *b = train(&o, true, 6, 13, &n2, &l2);
        assert_int_equal(n, n2);
        assert_true(l == l2);
        assert_same(a, b, n);
        free(a);
        free(b);
    }
}

/* Shards sum to the whole batch's gradient: without batch statistics the parameters agree to
 * rounding. */
static void shards_add_up_to_the_batch(void **state)
{
    (void)state;
    kl_ctx *c = open_ctx();
    float *out[2];
    size_t n = 0;
    for (int k = 0; k < 2; k++) {
        kl_graph *g = kl_graph_create();
        kl_node *x = kl_input(g, "image", KL_F32, (kl_shape){4, {KL_BATCH, NET_C, NET_HW, NET_HW}});
        kl_node *y = kl_input(g, "label", KL_I32, (kl_shape){1, {KL_BATCH}});
        kl_node *h = kl_tanh(g, kl_dense(g, x, &(kl_dense_opts){.units = 9, .name = "a"}));
        /* draws depend on the place in the batch */
        h = kl_dropout(g, h, &(kl_dropout_opts){.rate = 0.5f, .name = "drop"});
        h = kl_dense(g, h, &(kl_dense_opts){.units = NET_CLASSES, .name = "b"});
        kl_output(g, "logits", h);
        kl_output(g, "loss", kl_softmax_xent(g, h, y, NULL));
        kl_model *m = kl_model_create(g, &(kl_model_opts){.seed = 3});
        kl_graph_destroy(g);
        assert_non_null(m);
        kl_trainer *tr =
            open_trainer(m, c,
                         &(kl_trainer_opts){.optim = {.kind = KL_SGD, .momentum = 0.9f},
                                            .schedule = {.lr = 0.05},
                                            .shards = k ? 5 : 1});
        for (int i = 0; i < 5; i++)
            step(tr, 17, i);
        out[k] = net_params(m, &n);
        kl_trainer_destroy(tr);
        kl_model_destroy(m);
    }
    for (size_t i = 0; i < n; i++)
        if (fabsf(out[0][i] - out[1][i]) > 1e-5f * (1 + fabsf(out[0][i])))
            fail_msg("parameter %zu: %g in one piece, %g in five shards", i, (double)out[0][i],
                     (double)out[1][i]);
    free(out[0]);
    free(out[1]);
    kl_ctx_destroy(c);
}

/* Loss falls on a task that can be learned. */
static void training_learns(void **state)
{
    (void)state;
    kl_ctx *c = open_ctx();
    kl_model *m = net_model(false, 2);
    kl_trainer *tr = open_trainer(m, c, &(kl_trainer_opts){.schedule = {.lr = 0.01}});
    kl_metrics first, last;
    for (int i = 0; i < 60; i++) {
        step(tr, 32, i % 4);
        if (i == 3)
            assert_int_equal(kl_trainer_metrics(tr, &first), KL_OK);
        if (i == 55)
            assert_int_equal(kl_trainer_metrics(tr, &last), KL_OK);
    }
    assert_int_equal(kl_trainer_metrics(tr, &last), KL_OK);
    assert_int_equal(last.step, 60);
    assert_int_equal(last.samples, 4 * 32);
    if (!(last.loss < 0.5 * first.loss && last.accuracy > 0.9))
        fail_msg("loss %.4f to %.4f, accuracy %.3f", first.loss, last.loss, last.accuracy);
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    kl_ctx_destroy(c);
}

/* A batch with NaN pixels: the error names step and first op, and parameters are as they were. */
static void not_a_number_is_named_and_harmless(void **state)
{
    (void)state;
    kl_ctx *c = open_ctx();
    kl_model *m = net_model(false, 2);
    kl_trainer *tr = open_trainer(m, c, &(kl_trainer_opts){.schedule = {.lr = 0.01}});
    static net_batch b;
    size_t n;
    for (int i = 0; i < 3; i++)
        step(tr, 8, i);
    assert_int_equal(kl_trainer_metrics(tr, NULL), KL_OK);
    float *before = net_params(m, &n);
    net_fill(&b, 8, 3);
    b.x[17] = NAN;
    assert_int_equal(kl_trainer_step(tr, b.binds, 2), KL_OK);
    assert_int_equal(kl_trainer_metrics(tr, NULL), KL_E_NUMERIC);
    if (!strstr(kl_last_error(), "step 3") || !strstr(kl_last_error(), "input \"image\""))
        fail_msg("\"%s\" does not name step and input", kl_last_error());
    float *after = net_params(m, &n);
    assert_same(before, after, n);
    step(tr, 8, 4); /* and it goes on */
    assert_int_equal(kl_trainer_metrics(tr, NULL), KL_OK);
    float w[12 * 80] = {1};
    w[3] = INFINITY;
    kl_param_info p;
    for (size_t i = 0; i < kl_model_n_params(m); i++)
        if (kl_model_param(m, i, &p) == KL_OK && !strcmp(p.name, "fc1.weight"))
            assert_int_equal(kl_model_set_param(m, p.name, w, p.count), KL_OK);
    step(tr, 8, 5);
    assert_int_equal(kl_trainer_metrics(tr, NULL), KL_E_NUMERIC);
    if (!strstr(kl_last_error(), "step 5") || !strstr(kl_last_error(), "\"fc1\""))
        fail_msg("\"%s\" does not name step and layer", kl_last_error());
    free(before);
    free(after);
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    kl_ctx_destroy(c);
}

/** Parts of the batch that net_fill gives, as a batch of its own. */
static void cut(net_batch *from, int first, int n, kl_bind out[2])
{
    out[0] = (kl_bind){.name = from->binds[0].name, .host = from->x + first * NET_IMAGE,
                       .host_bytes = (size_t)n * NET_IMAGE * sizeof(float)};
    out[1] = (kl_bind){.name = from->binds[1].name, .host = from->y + first,
                       .host_bytes = (size_t)n * sizeof(int32_t)};
}

/* Passes by hand and an update are the step whose shards they are, to the bit, with an evaluation
 * in between; and a batch smaller than the number of shards leaves some of them empty. */
static void a_step_by_hand_is_a_step(void **state)
{
    (void)state;
    static net_batch b, other;
    const int shards[] = {1, 2, 3, 5, 7};
    for (size_t k = 0; k < sizeof shards / sizeof *shards; k++) {
        float *v[2];
        size_t n = 0;
        for (int hand = 0; hand < 2; hand++) {
            kl_ctx *c = open_ctx();
            kl_model *m = net_model(true, 5);
            kl_trainer *tr = open_trainer(m, c, &(kl_trainer_opts){.schedule = {.lr = 0.02},
                                                                   .shards = shards[k]});
            kl_metrics q;
            for (int i = 0; i < 3; i++) {
                const int batch = 3 * shards[k];
                net_fill(&b, batch, i);
                if (!hand) {
                    assert_int_equal(kl_trainer_step(tr, b.binds, 2), KL_OK);
                    continue;
                }
                for (int s = 0; s < shards[k]; s++) {
                    kl_bind part[2];
                    cut(&b, 3 * s, 3, part);
                    assert_int_equal(kl_trainer_backward(tr, part, 2), KL_OK);
                }
                net_fill(&other, 6, i);
                assert_int_equal(kl_trainer_eval(tr, other.binds, 2), KL_OK);
                assert_int_equal(kl_trainer_update(tr), KL_OK);
            }
            assert_int_equal(kl_trainer_metrics(tr, &q), KL_OK);
            assert_int_equal(q.samples, 9 * shards[k]);
            assert_int_equal(kl_trainer_steps(tr), 3);
            v[hand] = net_params(m, &n);
            kl_trainer_destroy(tr);
            kl_model_destroy(m);
            kl_ctx_destroy(c);
        }
        assert_same(v[0], v[1], n);
        free(v[0]);
        free(v[1]);
    }
}

static void a_batch_smaller_than_its_shards_is_whole(void **state)
{
    (void)state;
    float *v[2];
    size_t n = 0;
    for (int k = 0; k < 2; k++) { /* two samples: as two shards, and as two of eight */
        kl_trainer_opts o = {.schedule = {.lr = 0.02}, .shards = k ? 8 : 2};
        double loss;
        v[k] = train(&o, false, 3, 2, &n, &loss);
    }
    for (size_t i = 0; i < n; i++)
        if (fabsf(v[0][i] - v[1][i]) > 1e-5f * (1 + fabsf(v[0][i])))
            fail_msg("number %zu: %g in two shards, %g in eight", i, (double)v[0][i],
                     (double)v[1][i]);
    free(v[0]);
    free(v[1]);
}

/* Frozen parameters and parameters under rules. */
static void rules_choose_by_name(void **state)
{
    (void)state;
    kl_ctx *c = open_ctx();
    kl_model *m = net_model(false, 2);
    float before[2][NET_CLASSES * 12], after[2][NET_CLASSES * 12];
    assert_int_equal(kl_model_freeze(m, "fc2.*", true), KL_OK);
    assert_int_equal(kl_model_freeze(m, "nothing*", true), KL_E_ARG);
    const kl_param_rule rules[] = {
        {.pattern = "fc1.bias", .lr_factor = (float)KL_NONE, .no_decay = true}};
    kl_trainer *tr = open_trainer(
        m, c, &(kl_trainer_opts){.schedule = {.lr = 0.01}, .rules = rules, .n_rules = 1});
    assert_int_equal(kl_model_get_param(m, "fc2.weight", before[0], NET_CLASSES * 12), KL_OK);
    assert_int_equal(kl_model_get_param(m, "fc1.bias", before[1], 12), KL_OK);
    for (int i = 0; i < 4; i++)
        step(tr, 8, i);
    assert_int_equal(kl_model_get_param(m, "fc2.weight", after[0], NET_CLASSES * 12), KL_OK);
    assert_int_equal(kl_model_get_param(m, "fc1.bias", after[1], 12), KL_OK);
    assert_memory_equal(before[0], after[0], sizeof before[0]);
    assert_memory_equal(before[1], after[1], 12 * sizeof(float));
    assert_null(kl_trainer_create(
        m, &c, 1, "loss", NULL,
        &(kl_trainer_opts){.rules = &(kl_param_rule){.pattern = "fc9*"}, .n_rules = 1}));
    assert_non_null(strstr(kl_last_error(), "fc9*"));
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    kl_ctx_destroy(c);
}

static void refused(kl_trainer *tr, const kl_bind *b, size_t n, const char *part)
{
    if (kl_trainer_step(tr, b, n) == KL_OK)
        fail_msg("a step was taken where \"%s\" was expected", part);
    if (!strstr(kl_last_error(), part))
        fail_msg("\"%s\" does not say \"%s\"", kl_last_error(), part);
}

static void bad_steps_are_refused(void **state)
{
    (void)state;
    kl_ctx *c = open_ctx();
    kl_model *m = net_model(false, 2);
    kl_trainer *tr = open_trainer(m, c, &(kl_trainer_opts){.shards = 4});
    static net_batch b;
    net_fill(&b, 8, 0);
    kl_bind x = b.binds[0], y = b.binds[1];
    refused(tr, &x, 1, "not bound");
    refused(tr, (kl_bind[]){{.name = "image", .host = b.x, .host_bytes = 12}, y}, 2, "12 bytes");
    refused(tr, (kl_bind[]){x, {.name = "label", .host = b.y, .host_bytes = 4}}, 2, "samples");
    refused(tr, (kl_bind[]){x, {.name = "labels", .host = b.y, .host_bytes = 32}}, 2,
            "no input or output");
    refused(tr,
            (kl_bind[]){{.name = "image", .host = b.x, .host_bytes = 0},
                        {.name = "label", .host = b.y, .host_bytes = 0}},
            2, "empty");
    if (kl_trainer_update(tr) == KL_OK)
        fail_msg("an update without a gradient");
    net_fill(&b, 8, 0);
    assert_int_equal(kl_trainer_backward(tr, b.binds, 2), KL_OK);
    refused(tr, b.binds, 2, "by hand");
    assert_int_equal(kl_trainer_steps(tr), 0);
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    kl_ctx_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_only_enqueues),
        cmocka_unit_test(runs_are_bit_identical),
        cmocka_unit_test(shards_add_up_to_the_batch),
        cmocka_unit_test(training_learns),
        cmocka_unit_test(not_a_number_is_named_and_harmless),
        cmocka_unit_test(rules_choose_by_name),
        cmocka_unit_test(a_step_by_hand_is_a_step),
        cmocka_unit_test(a_batch_smaller_than_its_shards_is_whole),
        cmocka_unit_test(bad_steps_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
