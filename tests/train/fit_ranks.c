/* kl_fit in several processes, which are threads here: all decide alike, and none waits for one
 * that is gone. */
#include "bench.h"
#include "train/meta.h"

#include "base/error.h"
#include "support/thread_exchange.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST = 4 };

typedef struct process {
    fake f;
    bench b;
    watch w;
    kl_fit_opts o;
    kl_status status;
    char sentence[512];
} process;

static process p[MOST];
static char why[256]; /* of an abort; "": none */

static void prepare(int n)
{
    const double loss[] = {9, 5, 4, 4.5, 3};
    fake_disk_clear();
    for (int r = 0; r < n; r++) {
        process *q = &p[r];
        q->b = (bench){make_graph(), make_data(N, true, 3), make_data(20, true, 3)};
        fake_init(&q->f, q->b.g, 42);
        q->f.steps_per_epoch = STEPS;
        memcpy(q->f.val_loss, loss, sizeof loss);
        q->o = options(&q->w);
    }
}

static void anew(int n)
{
    for (int r = 0; r < n; r++) {
        double loss[64];
        memcpy(loss, p[r].f.val_loss, sizeof loss);
        fake_finish(&p[r].f);
        fake_init(&p[r].f, p[r].b.g, 42);
        p[r].f.steps_per_epoch = STEPS;
        memcpy(p[r].f.val_loss, loss, sizeof loss);
        p[r].o = options(&p[r].w);
    }
}

static void clean(int n)
{
    for (int r = 0; r < n; r++) {
        fake_finish(&p[r].f);
        kl_dataset_destroy(p[r].b.train);
        kl_dataset_destroy(p[r].b.val);
        kl_graph_destroy(p[r].b.g);
    }
    fake_disk_clear();
}

static void one_process(void *user, const kl_exchange *x)
{
    process *q = &p[x->rank];
    (void)user;
    q->f.tr.exchange = x;
    q->status = kl_fit(&q->f.tr, q->b.train, q->b.val, &q->o);
    snprintf(q->sentence, sizeof q->sentence, "%s", q->status ? kl_last_error() : "");
}

static void fit_all(int n)
{
    thread_exchange *x = thread_exchange_create(n, 20);
    assert_non_null(x);
    thread_exchange_run(x, one_process, NULL);
    const char *told = thread_exchange_aborted(x);
    snprintf(why, sizeof why, "%s", told ? told : "");
    thread_exchange_destroy(x);
    for (int r = 0; r < n; r++) {
        assert_false(p[r].f.strayed);
        assert_int_equal(p[r].f.n_saves, r ? 0 : p[0].f.n_saves); /* files are the first one's */
        p[r].f.tr.exchange = NULL;
    }
}

static uint64_t alone(void)
{
    prepare(1);
    assert_int_equal(kl_fit(&p[0].f.tr, p[0].b.train, p[0].b.val, &p[0].o), KL_OK);
    const uint64_t state = p[0].f.state;
    clean(1);
    return state;
}

static void same_as_alone(void **state)
{
    (void)state;
    const uint64_t want = alone();
    for (int n = 1; n <= MOST; n++) {
        prepare(n);
        fit_all(n);
        for (int r = 0; r < n; r++) {
            assert_int_equal(p[r].status, KL_OK);
            assert_true(p[r].f.state == want && p[r].f.tr.steps == 4 * STEPS);
            assert_true(p[r].w.calls == 4 * STEPS + 4 && p[r].w.ordered);
            for (int e = 0; e < 4; e++) { /* the same bits */
                assert_memory_equal(&p[r].w.epoch[e].loss, &p[0].w.epoch[e].loss, sizeof(double));
                assert_true(p[r].w.epoch[e].best == (e != 2));
            }
        }
        assert_int_equal(p[0].f.n_saves, 7);
        assert_string_equal(why, "");
        clean(n);
    }
}

/* Whoever is asked to stop, wherever: all stop after the same step, and what was saved goes on. */
static void stop_anywhere(void **state)
{
    (void)state;
    const uint64_t want = alone();
    prepare(3);
    for (int64_t stop = 1; stop <= 4 * STEPS + 4; stop += 3) {
        anew(3);
        p[stop % 3].w.stop_after = stop;
        fit_all(3);
        for (int r = 0; r < 3; r++) {
            assert_int_equal(p[r].status, KL_E_CANCELLED);
            assert_true(p[r].w.calls == stop && p[r].f.tr.steps == p[0].f.tr.steps);
        }
        assert_string_equal(why, "");
        anew(3);
        for (int r = 0; r < 3; r++) {
            fake_load(&p[r].f, "last");
            p[r].o.resume = true;
        }
        fit_all(3);
        for (int r = 0; r < 3; r++) {
            assert_int_equal(p[r].status, KL_OK);
            assert_true(p[r].f.state == want);
        }
    }
    clean(3);
}

/* The first one's figures decide, where another's devices see other ones. */
static void decided_by_the_first(void **state)
{
    (void)state;
    prepare(3);
    const double rising[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    memcpy(p[1].f.val_loss, rising, sizeof rising);
    for (int r = 0; r < 3; r++) {
        p[r].o.epochs = 8;
        p[r].o.patience = 2;
    }
    memcpy(p[0].f.val_loss + 4, (double[]){3, 3, 3, 2, 1}, 5 * sizeof(double));
    memcpy(p[2].f.val_loss, p[0].f.val_loss, sizeof p[2].f.val_loss);
    fit_all(3);
    for (int r = 0; r < 3; r++) {
        assert_int_equal(p[r].status, KL_OK);
        assert_int_equal(p[r].w.n_epochs, 6); /* the fourth was the best, and two more */
        assert_true(p[r].w.epoch[3].best && p[r].w.epoch[3].val_loss == 3);
    }
    clean(3);
}

/* A full disk is the first one's trouble, and the end of all, in good order. */
static void disk_full(void **state)
{
    (void)state;
    prepare(3);
    p[0].f.full_disk = true;
    fit_all(3);
    assert_int_equal(p[0].status, KL_E_IO);
    assert_non_null(strstr(p[0].sentence, "no space left"));
    for (int r = 1; r < 3; r++) {
        assert_int_equal(p[r].status, KL_E_DEVICE);
        assert_non_null(strstr(p[r].sentence, "process 0 of 3 could not go on"));
    }
    assert_string_equal(why, "");
    clean(3);
}

/* What fails in the midst of a step that all make together ends all, as nobody would come. */
static void lost_in_a_step(void **state)
{
    (void)state;
    prepare(4);
    p[2].f.lost_at = 9;
    fit_all(4);
    assert_string_equal(why, "rank 2 aborted: step 9: the device fell asleep");
    for (int r = 0; r < 4; r++) {
        assert_int_equal(p[r].status, KL_E_DEVICE);
        assert_int_equal(p[r].f.tr.steps, 9);
    }
    assert_string_equal(fake_meta("last", KL__META_EPOCH), "1"); /* the first epoch's is there */
    clean(4);
}

/* NaN comes to all at once: each tells, none is ended. */
static void not_finite(void **state)
{
    (void)state;
    prepare(3);
    for (int r = 0; r < 3; r++) {
        p[r].f.broken_at = 11;
    }
    fit_all(3);
    for (int r = 0; r < 3; r++) {
        assert_int_equal(p[r].status, KL_E_NUMERIC);
        assert_non_null(strstr(p[r].sentence, "step 11"));
    }
    assert_string_equal(why, "");
    clean(3);
}

static void other_trainings(void **state)
{
    (void)state;
    prepare(3);
    p[1].o.patience = 3;
    fit_all(3);
    assert_int_equal(p[1].status, KL_E_ARG);
    assert_non_null(strstr(p[1].sentence, "patience: 3 in process 1, 0 in process 0"));
    assert_true(p[0].status == KL_E_DEVICE && p[2].status == KL_E_DEVICE);
    anew(3);
    p[2].o.batch = N + 1; /* not even a training */
    p[1].o.epochs = -1;
    fit_all(3);
    assert_true(p[1].status == KL_E_ARG && p[2].status == KL_E_ARG);
    assert_non_null(strstr(p[0].sentence, "2 of 3 processes could not go on"));
    for (int r = 0; r < 3; r++) {
        assert_int_equal(p[r].f.tr.steps, 0);
    }
    clean(3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_as_alone), cmocka_unit_test(stop_anywhere),
        cmocka_unit_test(decided_by_the_first), cmocka_unit_test(disk_full),
        cmocka_unit_test(lost_in_a_step), cmocka_unit_test(not_finite),
        cmocka_unit_test(other_trainings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
