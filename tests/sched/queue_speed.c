/* What the pass queue costs: CPU time per pass on the null device, wall time on a real one, and the
 * memory of a long stream. Prints the figures; `long` as an argument: a million passes, and a step
 * of a real net. */
#include "nets.h"

#include "base/thread.h"
#include "sched/model.h"
#include "support/count_alloc.h"
#include "support/null_cl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { W = 6 };

static bool is_long;
static kl_ctx *ctx;
static kl_model *net;
static float x[W] = {1, 2, 3}, y[8][W];

static void open_on(const kl__cl_table *table)
{
    kl__cl_set_table(table);
    ctx = kl_ctx_create(&(kl_ctx_opts){.cache_dir = ""});
    kl_graph *g =
        kl_graph_parse("x = input(shape=[N,6])\ny = dense(x, units=6)\noutput y = y\n", "tiny");
    net = kl_model_create(g, NULL);
    kl_graph_destroy(g);
    if (!ctx || !net)
        fail_msg("%s", kl_last_error());
}

static void close_all(void)
{
    kl_model_destroy(net);
    kl_ctx_destroy(ctx);
    kl__cl_set_table(NULL);
}

static kl_ticket *submit(kl_queue *q, int k)
{
    kl_bind b[] = {{.name = "x", .host = x, .host_bytes = sizeof x},
                   {.name = "y", .host = y[k & 7], .host_bytes = sizeof y[0]}};
    kl_ticket *t = NULL;
    if (kl_queue_submit(q, &(kl_pass){.model = net, .binds = b, .n_binds = 2}, &t) != KL_OK)
        fail_msg("%s", kl_last_error());
    return t;
}

static void by_queue(kl_queue *q, int n, bool null)
{
    for (int i = 0; i < n; i++) {
        kl_ticket *t = submit(q, 0);
        assert_int_equal(kl_ticket_wait(t), KL_OK);
        kl_ticket_release(t);
        if (null && i % 64 == 0)
            null_cl_log_clear();
    }
}

static void direct(int n, bool null)
{
    kl_bind b[] = {{.name = "x", .host = x, .host_bytes = sizeof x},
                   {.name = "y", .host = y[0], .host_bytes = sizeof y[0]}};
    for (int i = 0; i < n; i++) {
        kl__event e = {NULL};
        assert_int_equal(kl__model_start(net, ctx, b, 2, &e), KL_OK);
        assert_int_equal(kl__event_wait(ctx, e), KL_OK);
        kl__event_release(&e);
        if (null && i % 64 == 0)
            null_cl_log_clear();
    }
}

/** Best of five rounds of n passes: microseconds per pass, by queue and direct. */
static void measure(int n, bool null, double (*now)(void), double out[2])
{
    kl_queue *q = kl_queue_create(&ctx, 1, NULL);
    by_queue(q, 20, null);
    out[0] = out[1] = 1e9;
    for (int round = 0; round < 5; round++) {
        double a = now();
        by_queue(q, n, null);
        double b = now();
        direct(n, null);
        double c = now();
        out[0] = (b - a) / n * 1e6 < out[0] ? (b - a) / n * 1e6 : out[0];
        out[1] = (c - b) / n * 1e6 < out[1] ? (c - b) / n * 1e6 : out[1];
    }
    kl_queue_destroy(q);
}

/* Without a device the queue's own CPU time is seen alone. The bound has room for sanitizers and a
 * loaded machine. */
static void cpu_per_pass(void **state)
{
    (void)state;
    double us[2];
    null_cl_setup(NULL, 0, 0);
    open_on(null_cl_table());
    measure(4000, true, kl__cpu_now, us);
    print_message("null device: %.2f us CPU a pass by queue, %.2f direct: %.2f us\n", us[0], us[1],
                  us[0] - us[1]);
    assert_true(us[0] - us[1] < 30);
    close_all();
}

static void wall_per_pass(void **state)
{
    (void)state;
    double us[2];
    open_on(NULL);
    measure(is_long ? 20000 : 2000, false, kl__now, us);
    print_message("device: %.1f us a pass by queue, %.1f direct: %.1f us\n", us[0], us[1],
                  us[0] - us[1]);
    measure(is_long ? 20000 : 2000, false, kl__cpu_now, us);
    print_message("device: %.1f us CPU a pass by queue, %.1f direct\n", us[0], us[1]);
    assert_true(us[0] - us[1] < 200);
    close_all();
}

/* A stream of passes that nobody waits for one by one: tickets are released, `ahead` of them live.
 * Memory stays what it was after the first thousand. */
static void a_long_stream(void **state)
{
    (void)state;
    enum { AHEAD = 256 };
    const int n = is_long ? 1000000 : 20000;
    static kl_ticket *ring[AHEAD];
    count_alloc_install();
    open_on(NULL);
    kl_queue *q = kl_queue_create(&ctx, 1, &(kl_queue_opts){.depth = 128});
    int64_t live = 0;
    double start = kl__now(), cpu = kl__cpu_now();
    for (int i = 0; i < n; i++) {
        kl_ticket_release(ring[i % AHEAD]);
        ring[i % AHEAD] = submit(q, i);
        if (i == 1000)
            live = count_alloc_live();
    }
    int64_t end = count_alloc_live();
    print_message("%d passes: %.1f us each, %.1f us CPU; %lld live blocks, then %lld\n", n,
                  (kl__now() - start) / n * 1e6, (kl__cpu_now() - cpu) / n * 1e6, (long long)live,
                  (long long)end);
    assert_int_equal(end, live);
    kl_queue_destroy(q);
    for (int i = 0; i < AHEAD; i++)
        kl_ticket_release(ring[i]);
    close_all();
    assert_int_equal(count_alloc_live(), 0);
    count_alloc_remove();
}

/* A step of a real net by queue and by the trainer alone, in turns; the best of each. */
static void a_real_step(void **state)
{
    (void)state;
    if (!is_long)
        skip();
    enum { N = 8, IMAGE = 3 * 32 * 32 };
    static float image[N * IMAGE];
    static int32_t label[N];
    double best[2] = {1e9, 1e9};
    open_on(NULL);
    kl_graph *g = kl_zoo_build("vgg6", NULL, 0);
    kl_model *m = kl_model_create(g, NULL);
    kl_graph_destroy(g);
    kl_trainer *tr = kl_trainer_create(m, &ctx, 1, "loss", "logits", NULL);
    kl_queue *q = kl_queue_create(&ctx, 1, NULL);
    if (!tr || !q)
        fail_msg("%s", kl_last_error());
    for (int i = 0; i < N * IMAGE; i++)
        image[i] = (float)(i % 17) / 17;
    kl_bind b[] = {{.name = "image", .host = image, .host_bytes = sizeof image},
                   {.name = "label", .host = label, .host_bytes = sizeof label}};
    for (int i = 0; i < 60; i++) {
        kl_ticket *t = NULL;
        double start = kl__now();
        if (i & 1) {
            kl_pass p = {.trainer = tr, .kind = KL_WORK_STEP, .binds = b, .n_binds = 2};
            assert_int_equal(kl_queue_submit(q, &p, &t), KL_OK);
            assert_int_equal(kl_ticket_wait(t), KL_OK);
        } else {
            assert_int_equal(kl_trainer_step(tr, b, 2), KL_OK);
            assert_int_equal(kl_ctx_finish(ctx), KL_OK);
        }
        double took = kl__now() - start;
        kl_ticket_release(t);
        if (i > 3 && took < best[i & 1])
            best[i & 1] = took;
    }
    print_message("vgg6, batch %d: %.2f ms a step, %.2f by queue: %+.1f %%\n", N, best[0] * 1e3,
                  best[1] * 1e3, (best[1] / best[0] - 1) * 100);
    assert_true(best[1] < 1.5 * best[0]);
    kl_queue_destroy(q);
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    close_all();
}

int main(int argc, char **argv)
{
    is_long = argc > 1 && !strcmp(argv[1], "long");
    (void)argv;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_per_pass),
        cmocka_unit_test(wall_per_pass),
        cmocka_unit_test(a_long_stream),
        cmocka_unit_test(a_real_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
