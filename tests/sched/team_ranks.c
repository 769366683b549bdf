/* Training over several processes: ranks are threads here, joined by an exchange between threads.
 */
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

#include <cmocka.h>

enum { STEPS = 5, BATCH = 22 };

typedef struct job {
    const char *device;
    kl_trainer_opts opts;
    float *params[THREAD_EXCHANGE_MAX];
    kl_metrics metrics[THREAD_EXCHANGE_MAX], eval[THREAD_EXCHANGE_MAX];
    size_t n;
    kl__mutex lock;
} job;

static void fail_here(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, kl_last_error());
    abort(); /* cmocka's longjmp is the first thread's */
}

static void train(void *user, const kl_exchange *end)
{
    job *j = user;
    kl_ctx *c[4];
    size_t n_ctx;
    net_batch b;
    const int r = end ? end->rank : 0;
    if (kl_ctx_create_group(&(kl_ctx_opts){.device = j->device}, c, 4, &n_ctx))
        fail_here("group");
    kl_model *m = net_model(true, 5);
    kl_trainer_opts o = j->opts;
    o.exchange = end;
    kl_trainer *tr = m ? kl_trainer_create(m, c, n_ctx, "loss", "logits", &o) : NULL;
    if (!tr)
        fail_here("trainer");
    for (int i = 0; i < STEPS; i++) {
        net_fill(&b, i == 3 ? 9 : BATCH, i);
        if (kl_trainer_step(tr, b.binds, 2))
            fail_here("step");
        if (i == 2 && (kl_trainer_eval(tr, b.binds, 2) || kl_trainer_eval_metrics(tr, &j->eval[r])))
            fail_here("evaluation");
    }
    if (kl_trainer_metrics(tr, &j->metrics[r]))
        fail_here("metrics");
    kl__lock(&j->lock);
    j->params[r] = net_params(m, &j->n);
    kl__unlock(&j->lock);
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    for (size_t i = 0; i < n_ctx; i++)
        kl_ctx_destroy(c[i]);
}

static job run(int ranks, const char *device, const kl_trainer_opts *o)
{
    job j = {.device = device, .opts = *o};
    kl__mutex_init(&j.lock);
    if (ranks) {
        thread_exchange *x = thread_exchange_create(ranks, 60);
        thread_exchange_run(x, train, &j);
        assert_null(thread_exchange_aborted(x));
        thread_exchange_destroy(x);
    } else {
        train(&j, NULL);
    }
    kl__mutex_finish(&j.lock);
    return j;
}

static void free_job(job *j)
{
    for (int i = 0; i < THREAD_EXCHANGE_MAX; i++)
        free(j->params[i]);
}

static const kl_trainer_opts adamw = {.shards = 8, .schedule = {.lr = 0.01}};

/* Any number of processes gives the bits of one, and all of them the same metrics, also where the
 * processes' shards are no whole subtrees and each drives a group of its own. */
static void processes_give_the_same_bits(void **state)
{
    (void)state;
    const struct {
        int ranks, shards;
        const char *device;
    } cases[] = {{1, 8, "0:0"}, {2, 8, "0:0"}, {4, 8, "0:0"}, {3, 8, "0:0"},
                 {3, 7, "0:0"}, {5, 13, "0:0"}, {2, 13, "0:0/2"}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        kl_trainer_opts o = adamw;
        o.shards = cases[k].shards;
        o.check_every = 2;
        job one = run(0, "0:0", &o), many = run(cases[k].ranks, cases[k].device, &o);
        for (int r = 0; r < cases[k].ranks; r++) {
            if (memcmp(one.params[0], many.params[r], one.n * sizeof(float)) != 0)
                fail_msg("%d processes, %d shards: rank %d has other parameters than one process",
                         cases[k].ranks, cases[k].shards, r);
            assert_true(many.metrics[r].loss == many.metrics[0].loss);
            assert_true(many.eval[r].loss == many.eval[0].loss);
            assert_true(fabs(many.metrics[r].loss - one.metrics[0].loss) < 1e-12);
            assert_true(fabs(many.eval[r].loss - one.eval[0].loss) < 1e-5);
            assert_true(many.eval[r].accuracy == one.eval[0].accuracy);
        }
        free_job(&one);
        free_job(&many);
    }
}

/* all_reduce: no fixed order over processes, so equal within the rounding of sums; the ranks agree
 * among themselves. */
static void sums_by_all_reduce_agree_to_rounding(void **state)
{
    (void)state;
    kl_trainer_opts o = {.optim = {.kind = KL_SGD, .momentum = 0.9f}, .shards = 6,
                         .schedule = {.lr = 0.05}};
    job one = run(0, "0:0", &o);
    o.all_reduce = true;
    job many = run(3, "0:0", &o);
    for (int r = 1; r < 3; r++)
        assert_memory_equal(many.params[0], many.params[r], one.n * sizeof(float));
    for (size_t i = 0; i < one.n; i++)
        if (fabsf(one.params[0][i] - many.params[0][i]) > 1e-5f)
            fail_msg("number %zu: %g, by all_reduce %g", i, (double)one.params[0][i],
                     (double)many.params[0][i]);
    free_job(&one);
    free_job(&many);
}

static void more_processes_than_shards_are_refused(void **state)
{
    (void)state;
    thread_exchange *x = thread_exchange_create(3, 5);
    kl_ctx *c = kl_ctx_create(NULL);
    kl_model *m = net_model(false, 1);
    assert_null(kl_trainer_create(
        m, &c, 1, "loss", NULL,
        &(kl_trainer_opts){.shards = 2, .exchange = thread_exchange_rank(x, 0)}));
    assert_non_null(strstr(kl_last_error(), "2 shards for 3 processes"));
    kl_model_destroy(m);
    kl_ctx_destroy(c);
    thread_exchange_destroy(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(processes_give_the_same_bits),
                                       cmocka_unit_test(sums_by_all_reduce_agree_to_rounding),
                                       cmocka_unit_test(more_processes_than_shards_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
