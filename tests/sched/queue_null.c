/* The pass queue without a device: which threads there are, what is allocated, devices that fail.
 */
#include "nets.h"

#include "support/count_alloc.h"
#include "support/null_cl.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { W = 6 };

static kl_ctx *ctx[3];
static kl_model *net;

static void open_null(size_t n, uint64_t seed)
{
    static const null_device three[3] = {{.name = "a"}, {.name = "b"}, {.name = "c"}};
    static const char *name[3] = {"0:0", "0:1", "0:2"};
    null_cl_setup(three, n, seed);
    kl__cl_set_table(null_cl_table());
    for (size_t i = 0; i < 3; i++)
        ctx[i] = i < n ? kl_ctx_create(&(kl_ctx_opts){.device = name[i], .cache_dir = ""}) : NULL;
    kl_graph *g = kl_graph_parse(
        "x = input(shape=[N,6])\ny = dense(x, units=6)\noutput y = y\n", "tiny");
    net = kl_model_create(g, NULL);
    kl_graph_destroy(g);
    assert_true(ctx[0] && ctx[n - 1] && net);
}

static void close_null(void)
{
    kl_model_destroy(net);
    for (int i = 0; i < 3; i++)
        kl_ctx_destroy(ctx[i]);
    assert_int_equal(null_cl_live(), 0);
    kl__cl_set_table(NULL);
}

static kl_ticket *pass(kl_queue *q, float x[W], float y[W], kl_ticket **after)
{
    kl_bind b[] = {{.name = "x", .host = x, .host_bytes = W * sizeof *x},
                   {.name = "y", .host = y, .host_bytes = W * sizeof *y}};
    kl_ticket *t = NULL;
    kl_pass p = {.model = net, .binds = b, .n_binds = 2, .after = after, .n_after = after != NULL};
    if (kl_queue_submit(q, &p, &t) != KL_OK)
        fail_msg("%s", kl_last_error());
    return t;
}

static int threads(void)
{
    DIR *d = opendir("/proc/self/task");
    int n = 0;
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

/* One thread that submits and waits, and whose dependencies lie on one device, is served by itself:
 * no thread is made, and what is enqueued is the same each time. */
static void one_thread_needs_no_other(void **state)
{
    (void)state;
    uint64_t commands[2];
    for (int run = 0; run < 2; run++) {
        open_null(1, 0);
        int before = threads();
        kl_queue *q = kl_queue_create(ctx, 1, NULL);
        static float v[42][W];
        for (int i = 0; i < 40; i += 2) {
            kl_ticket *a = pass(q, v[i], v[41], NULL);
            kl_ticket *b = pass(q, v[i + 1], v[i + 2], &a);
            assert_int_equal(kl_ticket_wait(b), KL_OK);
            kl_ticket_release(a);
            kl_ticket_release(b);
        }
        assert_int_equal(threads(), before);
        commands[run] = null_cl_log_count();
        kl_queue_destroy(q);
        close_null();
    }
    assert_true(commands[0] > 40 && commands[0] == commands[1]);
}

/* A steady stream of passes allocates nothing and keeps nothing. */
static void a_stream_allocates_nothing(void **state)
{
    (void)state;
    count_alloc_install();
    open_null(1, 0);
    kl_queue *q = kl_queue_create(ctx, 1, &(kl_queue_opts){.in_flight = 8});
    float x[W] = {1}, y[4][W];
    uint64_t calls = 0;
    int64_t live = 0;
    for (int i = 0; i < 5000; i++) {
        kl_ticket *t[4];
        for (int k = 0; k < 4; k++)
            t[k] = pass(q, x, y[k], k == 3 ? &t[0] : NULL);
        for (int k = 0; k < 4; k++) {
            assert_int_equal(kl_ticket_wait(t[k]), KL_OK);
            kl_ticket_release(t[k]);
        }
        null_cl_log_clear();
        if (i == 10) {
            calls = count_alloc_calls();
            live = count_alloc_live();
        }
    }
    assert_int_equal(count_alloc_live(), live);
    assert_int_equal(count_alloc_calls(), calls);
    kl_queue_destroy(q);
    close_null();
    assert_int_equal(count_alloc_live(), 0);
    count_alloc_remove();
}

/* A pass whose device fails runs on another one; with none left its ticket tells what happened, and
 * so do the tickets after it. */
static void a_failed_pass_runs_elsewhere(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 3; n++)
        for (size_t broken = 1; broken <= 3; broken++) {
            open_null(n, 0);
            kl_queue *q = kl_queue_create(ctx, n, NULL);
            float x[W] = {1}, y[2][W];
            kl_ctx_stats before[3], after;
            for (size_t i = 0; i < n; i++) {
                kl_bind b[] = {{.name = "x", .host = x, .host_bytes = sizeof x},
                               {.name = "y", .host = y[0], .host_bytes = sizeof y[0]}};
                assert_int_equal(kl_model_run(net, ctx[i], b, 2), KL_OK);
                kl_ctx_stats_get(ctx[i], &before[i]);
            }
            null_cl_break_launch(1, -5);
            kl_ticket *t = pass(q, x, y[0], NULL), *heir = pass(q, x, y[1], &t);
            kl_status want = n > 1 ? KL_OK : KL_E_DEVICE;
            assert_int_equal(kl_ticket_wait(t), want);
            if (want != KL_OK)
                assert_non_null(strstr(kl_last_error(), "a command on a failed"));
            assert_int_equal(kl_ticket_wait(heir), want);
            kl_ticket_release(t);
            kl_ticket_release(heir);
            uint64_t launches = 0;
            for (size_t i = 0; i < n; i++) {
                kl_ctx_stats_get(ctx[i], &after);
                launches += after.launches - before[i].launches;
            }
            assert_true(launches >= (n > 1 ? 3u : 1u));
            kl_queue_destroy(q);
            close_null();
        }
}

/* A pass of tensors cannot go elsewhere: it carries the error. */
static void tensors_cannot_move(void **state)
{
    (void)state;
    open_null(2, 0);
    kl_queue *q = kl_queue_create(ctx, 2, NULL);
    kl_tensor *v = kl_tensor_create(ctx[0], KL_F32, (kl_shape){2, {1, W}});
    float x[W] = {1};
    assert_int_equal(kl_tensor_write(v, x, sizeof x), KL_OK);
    kl_bind b[] = {{.name = "x", .host = x, .host_bytes = sizeof x}, {.name = "y", .tensor = v}};
    kl_ticket *t = NULL;
    for (int i = 0; i < 2; i++) {
        null_cl_break_launch((uint64_t)i, -5);
        assert_int_equal(
            kl_queue_submit(q, &(kl_pass){.model = net, .binds = b, .n_binds = 2}, &t), KL_OK);
        assert_int_equal(kl_ticket_wait(t), i ? KL_E_DEVICE : KL_OK);
        kl_ticket_release(t);
    }
    kl_tensor_release(v);
    kl_queue_destroy(q);
    close_null();
}

/** Reads and writes of the chain's values are carried out in the order of submission. */
static void in_order(void)
{
    uint64_t last = 0;
    int seen = 0;
    for (size_t i = 0; i < null_cl_log_count(); i++) {
        null_entry e = null_cl_log_at(i);
        if (e.bytes != W * sizeof(float) || (strcmp(e.call, "clEnqueueReadBuffer") != 0 &&
                                             strcmp(e.call, "clEnqueueWriteBuffer") != 0))
            continue;
        assert_true(e.ran > last);
        last = e.ran;
        seen++;
    }
    assert_int_equal(seen, 12);
}

/* Whatever order the lanes allow, what comes after a pass sees what it wrote, also by way of the
 * host on another device: device 0, host, device 1, host, device 0, ... */
static void chains_keep_their_order(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 2; n++)
        for (uint64_t seed = 1; seed <= 20; seed++) {
            open_null(n, seed);
            kl_queue *q = kl_queue_create(ctx, n, NULL);
            static float x[W] = {1, 2, 3};
            kl_tensor *v[2] = {NULL, NULL};
            kl_ticket *t = NULL;
            for (size_t i = 0; i < n; i++) {
                v[i] = kl_tensor_create(ctx[i], KL_F32, (kl_shape){2, {1, W}});
                assert_int_equal(kl_tensor_write(v[i], x, sizeof x), KL_OK);
            }
            for (int i = -4; i < 12; i++) {
                kl_bind b[] = {
                    {.name = i & 1 ? "y" : "x", .tensor = v[((unsigned)i + 1) / 2 % n]},
                    {.name = i & 1 ? "x" : "y", .host = x, .host_bytes = sizeof x}};
                kl_pass p = {
                    .model = net, .binds = b, .n_binds = 2, .after = &t, .n_after = t != NULL};
                kl_ticket *next = NULL;
                assert_int_equal(kl_queue_submit(q, &p, &next), KL_OK);
                if (i < 0)
                    assert_int_equal(kl_ticket_wait(next), KL_OK);
                if (i == -1)
                    null_cl_log_clear();
                kl_ticket_release(t);
                t = next;
            }
            assert_int_equal(kl_ticket_wait(t), KL_OK);
            kl_ticket_release(t);
            in_order();
            for (size_t i = 0; i < n; i++)
                kl_tensor_release(v[i]);
            kl_queue_destroy(q);
            close_null();
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_thread_needs_no_other), cmocka_unit_test(a_stream_allocates_nothing),
        cmocka_unit_test(a_failed_pass_runs_elsewhere), cmocka_unit_test(tensors_cannot_move),
        cmocka_unit_test(chains_keep_their_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
