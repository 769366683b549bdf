/* Batch norm over all shards: a step is that of one shard but for rounding, and the same bits
 * whoever carries which shard. */
#include "../support/count_alloc.h"
#include "../support/fault_cl.h"
#include "../support/thread_exchange.h"
#include "nets.h"

#include "base/thread.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { STEPS = 5, BATCH = 24 };

/* Norms of each kind and in each place: one after the other, in branches, of odd channel counts,
 * over pictures and rows; everything smooth, so that rounding stays rounding. */
static const char net[] =
    "image = input(shape=[N,2,8,8])\n"
    "label = input(shape=[N], dtype=i32)\n"
    "c1 = conv2d(image, filters=5, kernel=3, pad=same, no_bias=true)\n"
    "b1 = batchnorm(c1)\n"
    "t1 = tanh(b1)\n"
    "c2 = conv2d(t1, filters=17, kernel=3, stride=2, pad=same)\n"
    "b2 = batchnorm(c2, compat=keras)\n"
    "c3 = conv2d(t1, filters=17, kernel=1, stride=2)\n"
    "b3 = batchnorm(c3, no_scale=true)\n"
    "s = add(b2, b3)\n"
    "t2 = softplus(s)\n"
    "p = avgpool2d(t2, window=2)\n"
    "f1 = dense(p, units=12)\n"
    "b4 = batchnorm(f1, no_shift=true)\n"
    "t3 = tanh(b4)\n"
    "logits = dense(t3, units=4)\n"
    "loss = softmax_xent(logits, label)\n"
    "output logits = logits\n"
    "output loss = loss\n";

static kl_model *make_model(kl_dtype compute)
{
    kl_graph *g = kl_graph_parse(net, "net");
    kl_model *m = g ? kl_model_create(g, &(kl_model_opts){.seed = 5, .compute = compute}) : NULL;
    kl_graph_destroy(g);
    return m;
}

typedef struct batch {
    net_batch f;
    double x[NET_MAX_BATCH * NET_IMAGE];
    kl_bind binds[2];
} batch;

static void fill(batch *b, int n, int k, kl_dtype compute)
{
    net_fill(&b->f, n, k);
    memcpy(b->binds, b->f.binds, sizeof b->binds);
    for (int i = 0; i < n * NET_IMAGE; i++)
        b->x[i] = (double)b->f.x[i] + (k == 2 ? 3 : 0); /* far from zero */
    for (int i = 0; i < n * NET_IMAGE; i++)
        b->f.x[i] = (float)b->x[i];
    if (compute == KL_F64) {
        b->binds[0].host = b->x;
        b->binds[0].host_bytes = (size_t)n * NET_IMAGE * sizeof(double);
    }
}

typedef struct run {
    const char *device;
    uint32_t flags;
    kl_dtype compute;
    int batch, shards;
    bool all, all_reduce;
    const double *split;
    const char *fails; /* the nth call of this fails, counted from the third step on */
    uint64_t nth;
    /* what came of it */
    float *params[THREAD_EXCHANGE_MAX];
    size_t n;
    double loss;
    int lost; /* contexts */
    kl__mutex lock;
} run;

static void fail_here(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, kl_last_error());
    abort(); /* cmocka's longjmp is the first thread's */
}

static void train(void *user, const kl_exchange *end)
{
    run *r = user;
    kl_ctx *c[4];
    size_t n_ctx;
    batch *b = malloc(sizeof *b);
    kl_metrics q;
    if (!b || kl_ctx_create_group(&(kl_ctx_opts){.device = r->device ? r->device : "0:0",
                                                 .flags = r->flags},
                                  c, 4, &n_ctx))
        fail_here("group");
    kl_model *m = make_model(r->compute);
    const kl_trainer_opts o = {.optim = {.kind = KL_SGD, .momentum = 0.9f},
                               .schedule = {.lr = 0.05},
                               .shards = r->shards,
                               .batchnorm_all = r->all,
                               .split = r->split,
                               .check_every = 1,
                               .all_reduce = r->all_reduce,
                               .exchange = end};
    kl_trainer *tr = m ? kl_trainer_create(m, c, n_ctx, "loss", "logits", &o) : NULL;
    if (!tr)
        fail_here("trainer");
    for (int i = 0; i < STEPS; i++) {
        fill(b, r->batch - (i == 3), i, r->compute); /* a short batch too */
        if (i == 2 && r->fails) {
            if (kl_trainer_metrics(tr, &q))
                fail_here("first steps");
            if (!end || !end->rank)
                fault_cl_at(r->fails, r->nth, false, 0);
        }
        if (kl_trainer_step(tr, b->binds, 2))
            fail_here("step");
    }
    if (kl_trainer_metrics(tr, &q))
        fail_here("metrics");
    kl__lock(&r->lock);
    r->params[end ? end->rank : 0] = net_params(m, &r->n);
    r->loss = q.loss;
    size_t n_share = 0;
    kl_share share[4];
    if (kl_trainer_shares(tr, share, 4, &n_share))
        fail_here("shares");
    for (size_t i = 0; i < n_share && i < 4; i++)
        r->lost += share[i].lost;
    kl__unlock(&r->lock);
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    for (size_t i = 0; i < n_ctx; i++)
        kl_ctx_destroy(c[i]);
    free(b);
}

static float *trained(run r)
{
    kl__mutex_init(&r.lock);
    train(&r, NULL);
    kl__mutex_finish(&r.lock);
    return r.params[0];
}

static size_t n_params(void)
{
    size_t n;
    kl_model *m = make_model(KL_F32);
    free(net_params(m, &n));
    kl_model_destroy(m);
    return n;
}

/** Largest difference, relative to the number or to what numbers of the net are like. */
static double distance(const float *a, const float *b, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++) {
        const double d = fabs((double)a[i] - (double)b[i]) / fmax(0.1, fabs((double)a[i]));
        most = d > most || isnan(d) ? d : most;
    }
    return most;
}

/* Parameters and running statistics after some steps, against one shard that has the whole batch;
 * also where shards are of different sizes, or have no sample at all. Without the option they
 * differ. */
static void a_step_is_that_of_the_whole_batch(void **state)
{
    (void)state;
    const size_t n = n_params();
    const struct {
        int batch, shards;
    } cases[] = {{BATCH, 2}, {BATCH, 3}, {BATCH, 8}, {23, 8}, {6, 8}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        run one = {.batch = cases[k].batch, .shards = 1}, many = one, apart;
        many.shards = cases[k].shards;
        apart = many;
        many.all = true;
        float *a = trained(one), *b = trained(many), *c = trained(apart);
        const double near = distance(a, b, n), far = distance(a, c, n);
        print_message("batch %d, %d shards: %.1e; each by itself %.1e\n", cases[k].batch,
                      cases[k].shards, near, far);
        assert_true(near < 1e-4);
        assert_true(far > 1e-2);
        free(a);
        free(b);
        free(c);
    }
}

static void in_double_precision_hardly_a_digit_is_lost(void **state)
{
    (void)state;
    const size_t n = n_params();
    run one = {.batch = BATCH, .shards = 1, .compute = KL_F64}, many = one;
    many.shards = 5;
    many.all = true;
    float *a = trained(one), *b = trained(many);
    const double near = distance(a, b, n); /* parameters are read as f32 */
    print_message("f64, 5 shards: %.1e\n", near);
    assert_true(near < 1e-6);
    free(a);
    free(b);
}

static void assert_same(const float *a, const float *b, size_t n, const char *what)
{
    if (memcmp(a, b, n * sizeof *a) != 0)
        fail_msg("%s: other bits, %g away", what, distance(a, b, n));
}

static void runs_are_the_same_bits(void **state)
{
    (void)state;
    const run r = {.batch = BATCH, .shards = 8, .all = true};
    float *a = trained(r), *b = trained(r);
    assert_same(a, b, n_params(), "a second run");
    free(a);
    free(b);
}

/* Whoever carries which shard, the bits are those of one context, also where somebody carries none.
 */
static void a_group_gives_the_same_bits(void **state)
{
    (void)state;
    static const double splits[][2] = {{1, 1}, {3, 1}, {0, 1}, {1, 0}};
    const size_t n = n_params();
    run one = {.batch = 19, .shards = 8, .all = true}, two = one;
    two.device = "0:0/2";
    float *a = trained(one);
    for (size_t k = 0; k < sizeof splits / sizeof *splits; k++) {
        two.split = splits[k];
        float *b = trained(two);
        assert_same(a, b, n, "two contexts");
        free(b);
    }
    two.split = NULL;
    two.batch = one.batch = 5; /* shards without samples */
    float *b = trained(two), *c = trained(one);
    assert_same(c, b, n, "two contexts, empty shards");
    free(a);
    free(b);
    free(c);
}

/* Rows go round the processes: the bits are those of one. With sums by all_reduce, but for
 * rounding. */
static void processes_give_the_same_bits(void **state)
{
    (void)state;
    const struct {
        int ranks, shards;
        const char *device;
        bool all_reduce;
    } cases[] = {{1, 4, "0:0", false},
                 {2, 8, "0:0", false},
                 {3, 7, "0:0", false},
                 {2, 5, "0:0/2", false},
                 {3, 7, "0:0", true}};
    const size_t n = n_params();
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        run r = {.batch = 13,
                 .shards = cases[k].shards,
                 .all = true,
                 .all_reduce = cases[k].all_reduce,
                 .device = cases[k].device};
        float *a = trained((run){.batch = 13, .shards = cases[k].shards, .all = true});
        thread_exchange *x = thread_exchange_create(cases[k].ranks, 60);
        kl__mutex_init(&r.lock);
        thread_exchange_run(x, train, &r);
        kl__mutex_finish(&r.lock);
        assert_null(thread_exchange_aborted(x));
        thread_exchange_destroy(x);
        for (int i = 0; i < cases[k].ranks; i++) {
            if (cases[k].all_reduce)
                assert_true(distance(a, r.params[i], n) < 1e-4);
            else
                assert_same(a, r.params[i], n, "a process");
            assert_same(r.params[0], r.params[i], n, "another process");
        }
        for (int i = 0; i < cases[k].ranks; i++)
            free(r.params[i]);
        free(a);
    }
}

static void silent(void *user, kl_log_level level, const char *line)
{
    (void)user, (void)level, (void)line; /* what is lost is lost on purpose */
}

/* A context fails in the middle of a step, at launches and at rows on their way: the other wakes up
 * and computes the step again, to the same bits. */
static void a_lost_context_changes_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *call;
        uint64_t nth;
    } cases[] = {{"clEnqueueNDRangeKernel", 1},   {"clEnqueueNDRangeKernel", 40},
                 {"clEnqueueNDRangeKernel", 150}, {"clEnqueueReadBuffer", 1},
                 {"clEnqueueReadBuffer", 6},      {"clEnqueueReadBuffer", 13},
                 {"clEnqueueWriteBuffer", 25}};
    const size_t n = n_params();
    const run calm = {.batch = 19, .shards = 6, .all = true};
    float *a = trained(calm);
    fault_cl_wrap(kl__cl());
    kl__cl_set_table(fault_cl_table());
    kl_set_log(silent, NULL, KL_LOG_WARN);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        run r = calm;
        r.device = "0:0/2";
        r.fails = cases[k].call;
        r.nth = cases[k].nth;
        kl__mutex_init(&r.lock);
        train(&r, NULL);
        kl__mutex_finish(&r.lock);
        if (!fault_cl_failed() || r.lost != 1)
            fail_msg("%s call %d: %d contexts lost", r.fails, (int)r.nth, r.lost);
        assert_same(a, r.params[0], n, r.fails);
        fault_cl_at(NULL, 0, false, 0);
        free(r.params[0]);
    }
    kl_set_log(NULL, NULL, KL_LOG_WARN);
    kl__cl_set_table(NULL);
    free(a);
}

/* The same in one of several processes: what the others were given before stays as it was given. */
static void a_process_loses_a_context(void **state)
{
    (void)state;
    static const struct {
        const char *call;
        uint64_t nth;
    } cases[] = {{"clEnqueueNDRangeKernel", 30},
                 {"clEnqueueNDRangeKernel", 110},
                 {"clEnqueueReadBuffer", 8},
                 {"clEnqueueReadBuffer", 19}};
    const size_t n = n_params();
    const run calm = {.batch = 19, .shards = 8, .all = true};
    float *a = trained(calm);
    fault_cl_wrap(kl__cl());
    kl__cl_set_table(fault_cl_table());
    kl_set_log(silent, NULL, KL_LOG_WARN);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        run r = calm;
        thread_exchange *x = thread_exchange_create(2, 60);
        r.device = "0:0/2";
        r.fails = cases[k].call;
        r.nth = cases[k].nth;
        kl__mutex_init(&r.lock);
        thread_exchange_run(x, train, &r);
        kl__mutex_finish(&r.lock);
        assert_null(thread_exchange_aborted(x));
        thread_exchange_destroy(x);
        if (!fault_cl_failed() || r.lost != 1)
            fail_msg("%s call %d: %d contexts lost", r.fails, (int)r.nth, r.lost);
        for (int i = 0; i < 2; i++) {
            assert_same(a, r.params[i], n, r.fails);
            free(r.params[i]);
        }
        fault_cl_at(NULL, 0, false, 0);
    }
    kl_set_log(NULL, NULL, KL_LOG_WARN);
    kl__cl_set_table(NULL);
    free(a);
}

/* One shard is the whole batch: the option changes no bit. */
static void one_shard_needs_no_meeting(void **state)
{
    (void)state;
    run r = {.batch = BATCH, .shards = 1};
    float *a = trained(r);
    r.all = true;
    float *b = trained(r);
    assert_same(a, b, n_params(), "one shard");
    free(a);
    free(b);
}

/* Op by op between guard bands: every op keeps to its own memory, and gives what it gives else. */
static void debug_buffers_find_nothing(void **state)
{
    (void)state;
    run r = {.batch = 9, .shards = 3, .all = true, .flags = KL_CTX_DEBUG_BUFFERS};
    float *a = trained(r);
    r.flags = 0;
    float *b = trained(r);
    assert_true(distance(a, b, n_params()) < 1e-4);
    free(a);
    free(b);
}

static void a_bad_number_is_named(void **state)
{
    (void)state;
    kl_ctx *c = kl_ctx_create(NULL);
    kl_model *m = make_model(KL_F32);
    kl_trainer *tr = kl_trainer_create(
        m, &c, 1, "loss", "logits", &(kl_trainer_opts){.shards = 4, .batchnorm_all = true});
    batch *b = malloc(sizeof *b);
    kl_metrics q;
    assert_non_null(tr);
    fill(b, BATCH, 0, KL_F32);
    assert_int_equal(kl_trainer_step(tr, b->binds, 2), KL_OK);
    b->f.x[20 * NET_IMAGE + 7] = INFINITY; /* the last shard's */
    kl_status st = kl_trainer_step(tr, b->binds, 2);
    if (st == KL_OK)
        st = kl_trainer_metrics(tr, &q);
    assert_int_equal(st, KL_E_NUMERIC);
    assert_non_null(strstr(kl_last_error(), "step 1"));
    assert_non_null(strstr(kl_last_error(), "image"));
    free(b);
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    kl_ctx_destroy(c);
}

/* Once each batch size has run, a step allocates nothing and creates nothing. */
static void a_step_only_enqueues(void **state)
{
    (void)state;
    fault_cl_wrap(kl__cl());
    kl__cl_set_table(fault_cl_table());
    kl_ctx *c = kl_ctx_create(&(kl_ctx_opts){.flags = KL_CTX_NO_TUNE});
    kl_model *m = make_model(KL_F32);
    kl_trainer *tr = kl_trainer_create(
        m, &c, 1, "loss", "logits", &(kl_trainer_opts){.shards = 4, .batchnorm_all = true});
    batch *b = malloc(sizeof *b);
    assert_non_null(tr);
    for (int i = 0; i < 6; i++) {
        fill(b, i & 1 ? 17 : BATCH, i, KL_F32);
        assert_int_equal(kl_trainer_step(tr, b->binds, 2), KL_OK);
    }
    count_alloc_install();
    const uint64_t creates = fault_cl_creates(), finishes = fault_cl_calls("clFinish");
    for (int i = 0; i < 6; i++) {
        fill(b, i & 1 ? 17 : BATCH, i, KL_F32);
        assert_int_equal(kl_trainer_step(tr, b->binds, 2), KL_OK);
    }
    const uint64_t allocs = count_alloc_calls();
    count_alloc_remove();
    assert_int_equal(allocs, 0);
    assert_int_equal(fault_cl_creates() - creates, 0);
    assert_int_equal(fault_cl_calls("clFinish") - finishes, 0);
    free(b);
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    kl_ctx_destroy(c);
    assert_int_equal(fault_cl_live(), 0);
    kl__cl_set_table(NULL);
}

static void by_hand_is_refused(void **state)
{
    (void)state;
    kl_ctx *c = kl_ctx_create(NULL);
    kl_model *m = make_model(KL_F32);
    kl_trainer *tr = kl_trainer_create(
        m, &c, 1, "loss", "logits", &(kl_trainer_opts){.shards = 4, .batchnorm_all = true});
    batch *b = malloc(sizeof *b);
    assert_non_null(tr);
    fill(b, 8, 0, KL_F32);
    assert_int_equal(kl_trainer_backward(tr, b->binds, 2), KL_E_UNSUPPORTED);
    free(b);
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    kl_ctx_destroy(c);
}

/* What was trained with the option goes on with it alone. */
static void a_checkpoint_remembers(void **state)
{
    (void)state;
    char path[] = "/tmp/kiln-meet-XXXXXX";
    kl_ctx *c = kl_ctx_create(NULL);
    kl_model *m = make_model(KL_F32);
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    for (int saved = 0; saved < 2; saved++) {
        kl_trainer *tr[2];
        for (int k = 0; k < 2; k++) {
            tr[k] = kl_trainer_create(m, &c, 1, "loss", "logits",
                                      &(kl_trainer_opts){.shards = 4, .batchnorm_all = k});
            assert_non_null(tr[k]);
        }
        assert_int_equal(kl_trainer_save(tr[saved], path, NULL, 0), KL_OK);
        assert_int_equal(kl_trainer_load(tr[saved], path), KL_OK);
        assert_int_equal(kl_trainer_load(tr[!saved], path), KL_E_ARG);
        assert_non_null(strstr(kl_last_error(), "batch norm"));
        kl_trainer_destroy(tr[0]);
        kl_trainer_destroy(tr[1]);
    }
    unlink(path);
    kl_model_destroy(m);
    kl_ctx_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_is_that_of_the_whole_batch),
        cmocka_unit_test(in_double_precision_hardly_a_digit_is_lost),
        cmocka_unit_test(runs_are_the_same_bits),
        cmocka_unit_test(a_group_gives_the_same_bits),
        cmocka_unit_test(processes_give_the_same_bits),
        cmocka_unit_test(a_lost_context_changes_nothing),
        cmocka_unit_test(a_process_loses_a_context),
        cmocka_unit_test(one_shard_needs_no_meeting),
        cmocka_unit_test(debug_buffers_find_nothing),
        cmocka_unit_test(a_bad_number_is_named),
        cmocka_unit_test(a_step_only_enqueues),
        cmocka_unit_test(by_hand_is_refused),
        cmocka_unit_test(a_checkpoint_remembers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
