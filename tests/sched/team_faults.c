/* A device of a team fails or hangs in the middle of things: the others go on, to the same
 * parameters, and nothing leaks or waits for ever. TEAM_EVERY=N tries every Nth call. */
#include "team_rig.h"

#include "support/count_alloc.h"
#include "support/fault_cl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { SHARDS = 4, EARLY = 3, LONG = 20 };
static const kl_trainer_opts opts = {.shards = SHARDS, .schedule = {.lr = 0.01}};

typedef struct drill {
    int victim;    /* 0: the root, 1: the other: the number of its context */
    uint64_t nth;  /* from the opening of its context on; 0: nobody fails */
    int steps;
    bool hang;
} drill;

typedef struct report {
    bool open;
    kl_status status;
    char error[256];
    float *params;
    size_t n;
    uint64_t opening; /* calls of the victim until its context was open */
    uint64_t calls;   /* all of them */
    uint64_t early;   /* until the end of step EARLY */
    int64_t blocks;   /* of host memory that are left */
    bool lost[2];
    char what[64];
} report;

static void silent(void *user, kl_log_level level, const char *line)
{
    (void)user, (void)level, (void)line; /* a lost device is said once per run */
}

static void train(report *r, kl_trainer *tr, const drill *d)
{
    static net_batch b;
    for (int i = 0; r->status == KL_OK && i < d->steps; i++) {
        net_fill(&b, i % 4 == 3 ? 9 : 30, i);
        r->status = kl_trainer_step(tr, b.binds, 2);
        if (i == EARLY - 1 && r->status == KL_OK) {
            r->status = kl_trainer_metrics(tr, NULL);
            r->early = fault_cl_number_calls(d->victim);
        }
    }
    if (r->status == KL_OK)
        r->status = kl_trainer_metrics(tr, NULL);
}

static void train_over(report *r, const team_group *g, const drill *d)
{
    kl_share share[2];
    size_t n = 0;
    kl_model *m = team_model(TEAM_CONV);
    kl_trainer *tr = kl_trainer_create(m, g->ctx, g->n, "loss", "logits", &opts);
    if (tr)
        train(r, tr, d);
    else
        r->status = KL_E_DEVICE;
    if (r->status != KL_OK)
        snprintf(r->error, sizeof r->error, "%s", kl_last_error());
    r->calls = fault_cl_number_calls(d->victim);
    if (tr && kl_trainer_shares(tr, share, 2, &n) == KL_OK)
        for (size_t i = 0; i < n && i < 2; i++)
            r->lost[i] = share[i].lost;
    if (r->status == KL_OK)
        r->params = net_params(m, &r->n);
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
}

/** Opens a team of two, with a trainer, and trains. */
static report run(const drill *d)
{
    report r = {0};
    team_group g;
    int64_t before = count_alloc_live();
    fault_cl_wrap(kl__cl());
    kl__cl_set_table(fault_cl_table());
    team_timeout = d->hang ? 2 : 0;
    if (d->hang)
        fault_cl_number_hangs(d->victim, d->nth);
    else
        fault_cl_number_dies(d->victim, d->nth, 0);
    r.status = team_open(&g, 2);
    r.open = r.status == KL_OK;
    r.opening = fault_cl_number_calls(d->victim);
    if (r.open)
        train_over(&r, &g, d);
    else
        snprintf(r.error, sizeof r.error, "%s", kl_last_error());
    const char *what = fault_cl_device_failed();
    snprintf(r.what, sizeof r.what, "%s", what ? what : "");
    team_close(&g);
    fault_cl_device_wakes();
    kl__cl_set_table(NULL);
    r.blocks = count_alloc_live() - before;
    return r;
}

static report calm(int victim, int steps)
{
    report r = run(&(drill){.victim = victim, .steps = steps});
    if (r.status != KL_OK)
        fail_msg("%s", r.error);
    assert_int_equal(fault_cl_live(), 0);
    assert_int_equal(r.blocks, 0);
    return r;
}

/** One run with a fault, which must end as the calm one did; or, as a group is opened all or
 * nothing, not begin. */
static void survives(const report *want, const drill *d)
{
    char who[160];
    report r = run(d);
    snprintf(who, sizeof who, "%s lost at its call %llu (%s)",
             d->victim ? "the second" : "the root", (unsigned long long)d->nth, r.what);
    if (!r.what[0] && r.calls >= d->nth) /* as many as in the calm run there need not be */
        fail_msg("%s: it was not", who);
    if (r.status != KL_OK && (r.open || r.status != KL_E_DEVICE || d->nth > want->opening))
        fail_msg("%s: %s", who, r.error);
    if (r.open &&
        (r.n != want->n || memcmp(r.params, want->params, r.n * sizeof *r.params) != 0))
        fail_msg("%s: the parameters are others", who);
    if (r.lost[!d->victim])
        fail_msg("%s took the other with it", who);
    if (!d->hang && fault_cl_live() != 0)
        fail_msg("%s: %lld OpenCL objects are left", who, (long long)fault_cl_live());
    if (!d->hang && r.blocks != 0)
        fail_msg("%s: %lld blocks of host memory are left", who, (long long)r.blocks);
    free(r.params);
}

static uint64_t every(uint64_t other)
{
    const char *s = getenv("TEAM_EVERY");
    return s ? strtoull(s, NULL, 10) : other;
}

static uint64_t sweep(int victim, int steps, uint64_t from, uint64_t to, uint64_t step)
{
    report want = calm(victim, steps);
    uint64_t runs = 0;
    for (uint64_t k = from; k <= to; k += step, runs++)
        survives(&want, &(drill){.victim = victim, .nth = k, .steps = steps});
    free(want.params);
    return runs;
}

/* The opening has no trainer yet, and its calls are few: every one of them. */
static void killed_at_opening(void **state)
{
    (void)state;
    for (int victim = 1; victim >= 0; victim--) {
        report r = calm(victim, EARLY);
        free(r.params);
        sweep(victim, EARLY, 1, r.opening, 1);
        print_message("%s: %llu calls of opening\n", victim ? "second device" : "root",
                      (unsigned long long)r.opening);
    }
}

static void killed_early(void **state)
{
    (void)state;
    for (int victim = 1; victim >= 0; victim--) {
        report r = calm(victim, EARLY);
        uint64_t early = r.early, k = every(early / 14 + 1);
        free(r.params);
        uint64_t runs = sweep(victim, EARLY, r.opening + 1, early, k);
        print_message("%s: %llu of %llu calls of set-up and %d steps\n",
                      victim ? "second device" : "root", (unsigned long long)runs,
                      (unsigned long long)early, EARLY);
    }
}

static void killed_later(void **state)
{
    (void)state;
    for (int victim = 1; victim >= 0; victim--) {
        report r = calm(victim, LONG);
        uint64_t k = every(0) ? 50 : r.calls / 5;
        free(r.params);
        uint64_t runs = sweep(victim, LONG, r.early + k / 2, r.calls, k);
        print_message("%s: %llu of %llu calls of %d steps\n", victim ? "second device" : "root",
                      (unsigned long long)runs, (unsigned long long)r.calls, LONG);
    }
}

/* What was begun never ends: found by time. */
static void hung(void **state)
{
    (void)state;
    for (int victim = 1; victim >= 0; victim--) {
        report want = calm(victim, EARLY);
        for (uint64_t at = 0; at < 2; at++)
            survives(&want, &(drill){.victim = victim,
                                     .nth = want.calls * (at + 1) / 3,
                                     .steps = EARLY,
                                     .hang = true});
        free(want.params);
    }
}

/* ---- nobody is left ---- */

/** Both devices fail: at once, or the second while it computes the root's last step again. */
static void break_all(kl_trainer *tr, bool one_by_one)
{
    static const char launch[] = "clEnqueueNDRangeKernel";
    static net_batch b;
    uint64_t before = fault_cl_calls(launch);
    team_steps(tr, 4, 1);
    assert_int_equal(kl_trainer_metrics(tr, NULL), KL_OK);
    uint64_t step = fault_cl_calls(launch) - before; /* halves of equal length, and the update */
    fault_cl_at(launch, one_by_one ? step / 2 + 1 : 1, true, CL_OUT_OF_RESOURCES);
    if (one_by_one)
        fault_cl_number_dies(0, 1, 0);
    kl_status st = KL_OK;
    for (int i = 5; st == KL_OK && i < 12; i++) {
        net_fill(&b, 30, i);
        st = kl_trainer_step(tr, b.binds, 2);
        if (st == KL_OK)
            st = kl_trainer_metrics(tr, NULL);
    }
    assert_int_equal(st, KL_E_DEVICE);
    assert_non_null(strstr(kl_last_error(), "CL_OUT_OF_RESOURCES"));
}

/** Trains until nobody is left, and saves. false: there are not two devices. */
static bool save_what_is_left(const kl_trainer_opts *o, const char *path, bool one_by_one)
{
    team_group g;
    int64_t before = count_alloc_live();
    fault_cl_wrap(kl__cl());
    kl__cl_set_table(fault_cl_table());
    bool two = team_devices(&g, 2);
    if (two) {
        kl_model *m = team_model(TEAM_CONV);
        kl_trainer *tr = team_trainer(m, &g, o);
        team_steps(tr, 0, 4);
        assert_int_equal(kl_trainer_metrics(tr, NULL), KL_OK);
        break_all(tr, one_by_one);
        if (kl_trainer_save(tr, path, NULL, 0) != KL_OK)
            fail_msg("%s", kl_last_error());
        kl_trainer_destroy(tr);
        kl_model_destroy(m);
        team_close(&g);
    }
    kl__cl_set_table(NULL);
    assert_int_equal(fault_cl_live(), 0);
    assert_int_equal(count_alloc_live(), before);
    return two;
}

/** What comes of the file is what comes of as many steps. */
static void equals_its_steps(const kl_trainer_opts *o, const char *path, bool one_by_one)
{
    team_group g;
    team_outcome out[2];
    int whole = 0;
    for (int i = 0; i < 2; i++) {
        assert_true(team_devices(&g, 1));
        kl_model *m = team_model(TEAM_CONV);
        kl_trainer *tr = team_trainer(m, &g, o);
        if (i)
            team_steps(tr, 0, whole);
        else if (kl_trainer_load(tr, path) != KL_OK)
            fail_msg("%s", kl_last_error());
        whole = i ? whole : (int)kl_trainer_steps(tr);
        /* the optimizer's state of the last step may have gone with the root */
        assert_true(whole == 4 || (whole == 5 && !one_by_one));
        assert_int_equal(kl_trainer_metrics(tr, NULL), KL_OK);
        team_steps(tr, whole, 3);
        out[i] = team_look(tr, false);
        kl_trainer_destroy(tr);
        kl_model_destroy(m);
        team_close(&g);
    }
    team_equal(&out[0], &out[1], one_by_one ? "lost one by one" : "lost at once");
    team_forget(&out[0]);
    team_forget(&out[1]);
}

static void the_last_complete_step_is_saved(void **state)
{
    (void)state;
    static const double halves[] = {1, 1};
    char path[300];
    const char *tmp = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/team_faults.%ld.kln", tmp ? tmp : "/tmp", (long)getpid());
    for (int one_by_one = 0; one_by_one < 2; one_by_one++) {
        kl_trainer_opts two = opts;
        two.split = halves;
        if (!save_what_is_left(&two, path, one_by_one))
            skip();
        equals_its_steps(&opts, path, one_by_one);
        remove(path);
    }
}

/* A word chooses tests by name. */
int main(int argc, char **argv)
{
    team_environment();
    count_alloc_install();
    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
    team_count();
    kl_set_log(silent, NULL, KL_LOG_WARN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_at_opening),
        cmocka_unit_test(killed_early),
        cmocka_unit_test(killed_later),
        cmocka_unit_test(hung),
        cmocka_unit_test(the_last_complete_step_is_saved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
