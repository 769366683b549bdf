/* Training over several devices: the same shards give the same bits, whoever carries which of them.
 */
#include "team_rig.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { STEPS = 10 };

static const kl_trainer_opts adamw = {.schedule = {.lr = 0.01}};
static const kl_trainer_opts momentum = {
    .optim = {.kind = KL_SGD, .momentum = 0.9f, .nesterov = true},
    .schedule = {.lr = 0.02, .kind = KL_SCHED_COSINE, .total = STEPS}};
static const kl_trainer_opts clipped = {
    .optim = {.kind = KL_RMSPROP, .momentum = 0.5f}, .clip_norm = 0.05f, .schedule = {.lr = 0.003}};

static team_outcome train(team_net net, const team_group *g, const kl_trainer_opts *o)
{
    kl_model *m = team_model(net);
    kl_trainer *tr = team_trainer(m, g, o);
    team_steps(tr, 0, STEPS);
    team_outcome out = team_look(tr, g->n > 1 || o->exchange);
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    return out;
}

static team_outcome train_alone(team_net net, const kl_trainer_opts *o)
{
    team_group g;
    assert_true(team_devices(&g, 1));
    team_outcome out = train(net, &g, o);
    team_close(&g);
    return out;
}

/** As by one device: over several or parts of one, by speed and by fixed splits. */
static void compare(team_net net, const kl_trainer_opts *base, int shards)
{
    static const struct {
        int n;
        bool parts;
        double split[TEAM_MAX]; /* all 0: by speed */
    } cases[] = {{2, false, {0}},     {2, true, {0}},       {2, false, {3, 1}},
                 {2, true, {1, 15}},  {3, false, {0}},      {2, false, {0, 1}},
                 {4, false, {2, 1, 0, 5}}};
    kl_trainer_opts o = *base;
    o.shards = shards;
    team_outcome want = train_alone(net, &o), first = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        team_group g;
        char what[128];
        int n = cases[i].n;
        if (!(cases[i].parts ? team_parts(&g, n) : team_devices(&g, n)))
            continue;
        snprintf(what, sizeof what, "%s, %d shards, case %zu", team_net_name[net], shards, i);
        o.split = cases[i].split[0] + cases[i].split[1] > 0 ? cases[i].split : NULL;
        team_outcome got = train(net, &g, &o);
        team_equal(&want, &got, what);
        if (!first.params) {
            first = got;
        } else {
            team_equal(&first, &got, what);
            team_forget(&got);
        }
        team_close(&g);
    }
    team_forget(&want);
    team_forget(&first);
}

static void the_same_bits_whoever_computes(void **state)
{
    (void)state;
    compare(TEAM_DENSE, &adamw, 16);
    compare(TEAM_CONV, &adamw, 7);
    compare(TEAM_DROPOUT, &momentum, 16);
}

static void few_shards_and_other_optimizers(void **state)
{
    (void)state;
    compare(TEAM_DENSE, &momentum, 1);
    compare(TEAM_DROPOUT, &clipped, 3);
}

/* A second time, and by speeds that were measured anew. */
static void run_to_run(void **state)
{
    (void)state;
    kl_trainer_opts o = adamw;
    team_group g;
    team_outcome first = {0};
    o.shards = 16;
    for (int i = 0; i < 4; i++) {
        if (!team_devices(&g, 3))
            skip();
        team_outcome now = train(TEAM_DROPOUT, &g, &o);
        if (i)
            team_equal(&first, &now, "again");
        else
            first = now;
        if (i)
            team_forget(&now);
        team_close(&g);
    }
    team_forget(&first);
}

/* ---- one process of one ---- */

static kl_status alone_reduce(void *user, void *v, size_t n, kl_dtype t)
{
    (void)user, (void)v, (void)n, (void)t;
    return KL_OK;
}

static kl_status alone_broadcast(void *user, void *v, size_t n, int from)
{
    (void)user, (void)v, (void)n, (void)from;
    return KL_OK;
}

static kl_status nobody_send(void *user, const void *v, size_t n, int to)
{
    (void)user, (void)v, (void)n, (void)to;
    fail_msg("there is nobody to send to");
    return KL_E_DEVICE;
}

static kl_status nobody_receive(void *user, void *v, size_t n, int from)
{
    return nobody_send(user, v, n, from);
}

static void nobody_abort(void *user, const char *why)
{
    (void)user;
    fail_msg("%s", why);
}

/* The group's way with one context, taken because there is an exchange, is the plain one's. */
static void one_device_as_a_group(void **state)
{
    (void)state;
    const kl_exchange x = {NULL,         0,           1,             alone_reduce, alone_broadcast,
                           nobody_send, nobody_receive, nobody_abort};
    const int shards[] = {1, 7};
    for (size_t i = 0; i < 2; i++) {
        kl_trainer_opts o = adamw;
        o.shards = shards[i];
        team_outcome want = train_alone(TEAM_DROPOUT, &o);
        o.exchange = &x;
        team_outcome got = train_alone(TEAM_DROPOUT, &o);
        team_equal(&want, &got, "one device as a group");
        team_forget(&want);
        team_forget(&got);
    }
}

/* ---- checkpoints ---- */

/** Six steps by `a`, saved; the rest by `b`. */
static team_outcome handed_over(const team_group *a, const team_group *b, const kl_trainer_opts *o)
{
    char path[300];
    const char *tmp = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/team_steps.%ld.kln", tmp ? tmp : "/tmp", (long)getpid());
    kl_model *m = team_model(TEAM_DROPOUT);
    kl_trainer *tr = team_trainer(m, a, o);
    team_steps(tr, 0, 6);
    if (kl_trainer_save(tr, path, NULL, 0) != KL_OK)
        fail_msg("%s", kl_last_error());
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    m = team_model(TEAM_DROPOUT);
    kl_model_reset(m, 99); /* nothing of it may last */
    tr = team_trainer(m, b, o);
    if (kl_trainer_load(tr, path) != KL_OK)
        fail_msg("%s", kl_last_error());
    remove(path);
    assert_int_equal(kl_trainer_steps(tr), 6);
    team_steps(tr, 6, STEPS - 6);
    team_outcome out = team_look(tr, b->n > 1);
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    return out;
}

static void a_checkpoint_goes_on_elsewhere(void **state)
{
    (void)state;
    kl_trainer_opts o = adamw;
    o.shards = 7;
    team_group one, two;
    assert_true(team_devices(&one, 1));
    if (!team_devices(&two, 2)) {
        team_close(&one);
        skip();
    }
    const team_group *const from[] = {&one, &two, &two}, *const to[] = {&two, &one, &two};
    team_outcome want = handed_over(&one, &one, &o);
    for (size_t i = 0; i < 3; i++) {
        team_outcome got = handed_over(from[i], to[i], &o);
        team_equal(&want, &got, "handed over");
        team_forget(&got);
    }
    team_forget(&want);
    team_close(&one);
    team_close(&two);
}

/* ---- the model in between ---- */

/* Parameters read and set, inference, evaluation between steps: a group has the newest too. */
static team_outcome meddle(const team_group *g, const kl_trainer_opts *o)
{
    static net_batch b;
    kl_model *m = team_model(TEAM_CONV);
    kl_trainer *tr = team_trainer(m, g, o);
    float bias[NET_CLASSES], logits[8 * NET_CLASSES];
    double sum = 0;
    for (int i = 0; i < 6; i++) {
        team_steps(tr, i, 1);
        assert_int_equal(kl_model_get_param(m, "fc2.bias", bias, NET_CLASSES), KL_OK);
        bias[i % NET_CLASSES] += 0.25f;
        if (i % 2)
            assert_int_equal(kl_model_set_param(m, "fc2.bias", bias, NET_CLASSES), KL_OK);
        net_fill(&b, 8, i);
        kl_bind binds[] = {
            b.binds[0], {.name = "logits", .host = logits, .host_bytes = sizeof logits}};
        assert_int_equal(kl_model_run(m, g->ctx[g->n - 1], binds, 2), KL_OK);
        for (int k = 0; k < 8 * NET_CLASSES; k++)
            sum += (double)logits[k];
        net_fill(&b, 20, i);
        assert_int_equal(kl_trainer_eval(tr, b.binds, 2), KL_OK);
    }
    team_outcome out = team_look(tr, g->n > 1);
    out.loss += sum;
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    return out;
}

static void passes_in_between(void **state)
{
    (void)state;
    kl_trainer_opts o = adamw;
    o.shards = 4;
    team_group g;
    assert_true(team_devices(&g, 1));
    team_outcome want = meddle(&g, &o);
    team_close(&g);
    for (int n = 2; n <= 3; n++) {
        if (!team_devices(&g, n))
            skip();
        team_outcome got = meddle(&g, &o);
        team_equal(&want, &got, "with passes in between");
        team_forget(&got);
        team_close(&g);
    }
    team_forget(&want);
}

/* A word chooses tests by name: team_steps '*checkpoint*'. */
int main(int argc, char **argv)
{
    team_environment();
    cmocka_set_test_filter(argc > 1 ? argv[1] : NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_bits_whoever_computes),
        cmocka_unit_test(few_shards_and_other_optimizers),
        cmocka_unit_test(run_to_run),
        cmocka_unit_test(one_device_as_a_group),
        cmocka_unit_test(a_checkpoint_goes_on_elsewhere),
        cmocka_unit_test(passes_in_between),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
