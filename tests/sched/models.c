/* Models: parameters, inference passes, tickets. */
#include "nets.h"

#include "base/thread.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static kl_ctx *ctx;

static int open_ctx(void **state)
{
    (void)state;
    ctx = kl_ctx_create(NULL);
    return ctx ? 0 : -1;
}

static int close_ctx(void **state)
{
    (void)state;
    kl_ctx_destroy(ctx);
    return 0;
}

static void run(kl_model *m, const kl_bind *b, size_t n)
{
    if (kl_model_run(m, ctx, b, n) != KL_OK)
        fail_msg("%s", kl_last_error());
}

/* Host memory and tensors give the same bits; labels need not be bound for logits. */
static void host_and_tensors_agree(void **state)
{
    (void)state;
    enum { N = 6 };
    kl_model *m = net_model(true, 4);
    static net_batch b;
    float a[N * NET_CLASSES], t[N * NET_CLASSES];
    net_fill(&b, N, 1);
    run(m, (kl_bind[]){b.binds[0], {.name = "logits", .host = a, .host_bytes = sizeof a}}, 2);
    kl_tensor *x = kl_tensor_create(ctx, KL_F32, (kl_shape){4, {N, NET_C, NET_HW, NET_HW}});
    kl_tensor *y = kl_tensor_create(ctx, KL_F32, (kl_shape){2, {N, NET_CLASSES}});
    assert_int_equal(kl_tensor_write(x, b.x, b.binds[0].host_bytes), KL_OK);
    run(m, (kl_bind[]){{.name = "image", .tensor = x}, {.name = "logits", .tensor = y}}, 2);
    assert_int_equal(kl_tensor_read(y, t, sizeof t), KL_OK);
    assert_memory_equal(a, t, sizeof a);
    kl_tensor_release(x);
    kl_tensor_release(y);
    kl_model_destroy(m);
}

/* Each sample's result is its own: a batch of six gives what six batches of one give. */
static void samples_do_not_mix(void **state)
{
    (void)state;
    enum { N = 6 };
    kl_model *m = net_model(false, 4);
    static net_batch b;
    float all[N][NET_CLASSES], one[NET_CLASSES];
    net_fill(&b, N, 2);
    run(m, (kl_bind[]){b.binds[0], {.name = "logits", .host = all, .host_bytes = sizeof all}}, 2);
    for (int i = 0; i < N; i++) {
        run(m,
            (kl_bind[]){{.name = "image",
                         .host = b.x + i * NET_IMAGE,
                         .host_bytes = NET_IMAGE * sizeof(float)},
                        {.name = "logits", .host = one, .host_bytes = sizeof one}},
            2);
        for (int k = 0; k < NET_CLASSES; k++)
            assert_true(fabsf(one[k] - all[i][k]) <= 1e-5f * (1 + fabsf(one[k])));
    }
    kl_model_destroy(m);
}

/* Parameters written on the host are what the next pass uses. */
static void parameters_are_followed(void **state)
{
    (void)state;
    kl_model *m = net_model(false, 4);
    static net_batch b;
    float w[NET_CLASSES * 12], bias[NET_CLASSES] = {1, 2, 3, 4}, out[3][NET_CLASSES];
    net_fill(&b, 3, 2);
    kl_bind binds[] = {b.binds[0], {.name = "logits", .host = out, .host_bytes = sizeof out}};
    run(m, binds, 2);
    memset(w, 0, sizeof w);
    assert_int_equal(kl_model_set_param(m, "fc2.weight", w, NET_CLASSES * 12), KL_OK);
    assert_int_equal(kl_model_set_param(m, "fc2.bias", bias, NET_CLASSES), KL_OK);
    run(m, binds, 2);
    for (int i = 0; i < 3; i++)
        assert_memory_equal(out[i], bias, sizeof bias);
    assert_int_equal(kl_model_set_param(m, "fc2.bias", bias, 3), KL_E_ARG);
    assert_int_equal(kl_model_get_param(m, "fc7.bias", bias, 4), KL_E_ARG);
    kl_model_destroy(m);
}

/* The seed alone decides the initial values. */
static void seeds_decide(void **state)
{
    (void)state;
    kl_model *a = net_model(false, 4), *b = net_model(false, 4), *c = net_model(false, 5);
    size_t n;
    float *va = net_params(a, &n), *vb = net_params(b, &n), *vc = net_params(c, &n);
    assert_memory_equal(va, vb, n * sizeof *va);
    assert_true(memcmp(va, vc, n * sizeof *va) != 0);
    free(va);
    free(vb);
    free(vc);
    kl_model_destroy(a);
    kl_model_destroy(b);
    kl_model_destroy(c);
}

static void passes_are_refused(void **state)
{
    (void)state;
    kl_model *m = net_model(false, 4);
    static net_batch b;
    float out[4 * NET_CLASSES], loss;
    net_fill(&b, 4, 0);
    kl_bind x = b.binds[0], y = {.name = "logits", .host = out, .host_bytes = sizeof out};
    assert_int_equal(kl_model_run(m, ctx, &x, 1), KL_E_ARG);
    assert_non_null(strstr(kl_last_error(), "no output"));
    assert_int_equal(kl_model_run(m, ctx, &y, 1), KL_E_ARG);
    assert_non_null(strstr(kl_last_error(), "\"image\""));
    assert_int_equal(
        kl_model_run(m, ctx, (kl_bind[]){x, {.name = "loss", .host = &loss, .host_bytes = 4}}, 2),
        KL_E_ARG);
    assert_non_null(strstr(kl_last_error(), "\"label\""));
    y.host_bytes -= 4;
    assert_int_equal(kl_model_run(m, ctx, (kl_bind[]){x, y}, 2), KL_E_SHAPE);
    kl_tensor *t = kl_tensor_create(ctx, KL_I32, (kl_shape){2, {4, NET_CLASSES}});
    assert_int_equal(kl_model_run(m, ctx, (kl_bind[]){x, {.name = "logits", .tensor = t}}, 2),
                     KL_E_SHAPE);
    assert_non_null(strstr(kl_last_error(), "i32"));
    kl_tensor_release(t);
    kl_model_destroy(m);
}

typedef struct job {
    kl_queue *queue;
    kl_model *model;
    float x[2 * NET_IMAGE], out[2 * NET_CLASSES], want[2 * NET_CLASSES];
    bool ok;
} job;

static void *submit_many(void *arg)
{
    job *j = arg;
    kl_bind b[] = {{.name = "image", .host = j->x, .host_bytes = sizeof j->x},
                   {.name = "logits", .host = j->out, .host_bytes = sizeof j->out}};
    j->ok = true;
    for (int i = 0; i < 20 && j->ok; i++) {
        kl_ticket *t = NULL;
        memset(j->out, 0, sizeof j->out);
        j->ok = kl_queue_submit(j->queue, &(kl_pass){.model = j->model, .binds = b, .n_binds = 2},
                                &t) == KL_OK &&
                kl_ticket_wait(t) == KL_OK && kl_ticket_done(t) &&
                memcmp(j->out, j->want, sizeof j->want) == 0;
        kl_ticket_release(t);
    }
    return NULL;
}

/* Four threads share a queue and a model; every ticket's result is right. A pass that cannot run
 * says so in its ticket. */
static void threads_submit(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    static job jobs[THREADS];
    kl__thread threads[THREADS];
    kl_model *m = net_model(false, 4);
    kl_queue *q = kl_queue_create(&ctx, 1, NULL);
    assert_non_null(q);
    for (int i = 0; i < THREADS; i++) {
        static net_batch b;
        net_fill(&b, 2, i);
        jobs[i].queue = q;
        jobs[i].model = m;
        memcpy(jobs[i].x, b.x, sizeof jobs[i].x);
        run(m,
            (kl_bind[]){
                b.binds[0],
                {.name = "logits", .host = jobs[i].want, .host_bytes = sizeof jobs[i].want}},
            2);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(kl__thread_start(&threads[i], submit_many, &jobs[i]), KL_OK);
    for (int i = 0; i < THREADS; i++)
        kl__thread_join(threads[i]);
    for (int i = 0; i < THREADS; i++)
        assert_true(jobs[i].ok);
    kl_ticket *t = NULL;
    kl_bind none = {.name = "nothing", .host = jobs, .host_bytes = 4};
    assert_int_equal(kl_queue_submit(q, &(kl_pass){.model = m, .binds = &none, .n_binds = 1}, &t),
                     KL_OK);
    assert_int_equal(kl_ticket_wait(t), KL_E_ARG);
    kl_ticket_release(t);
    kl_queue_destroy(q);
    kl_model_destroy(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(host_and_tensors_agree), cmocka_unit_test(samples_do_not_mix),
        cmocka_unit_test(parameters_are_followed), cmocka_unit_test(seeds_decide),
        cmocka_unit_test(passes_are_refused),      cmocka_unit_test(threads_submit),
    };
    return cmocka_run_group_tests(tests, open_ctx, close_ctx);
}
