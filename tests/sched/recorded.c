/* Without a device: what is enqueued is recorded, and each buffer's tag tells how its contents came
 * to be. */
#include "nets.h"

#include "support/fault_cl.h"
#include "support/null_cl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

typedef struct run {
    uint64_t tags, commands, objects, calls;
} run;

/** Three steps, an evaluation and the parameters read back, on the null device; seed as
 * null_cl_setup. */
static run play(uint64_t seed, int shards, int batch)
{
    static net_batch b;
    run r = {0};
    null_cl_setup(NULL, 0, seed);
    fault_cl_wrap(null_cl_table());
    kl__cl_set_table(fault_cl_table());
    /* on one lane: an arena has one tag */
    kl_ctx *c = kl_ctx_create(&(kl_ctx_opts){.cache_dir = "", .flags = KL_CTX_NO_TUNE});
    if (!c)
        fail_msg("%s", kl_last_error());
    kl_model *m = net_model(true, 7);
    kl_trainer *tr = kl_trainer_create(m, &c, 1, "loss", "logits",
                                       &(kl_trainer_opts){.shards = shards, .allow_nan = true});
    if (!tr)
        fail_msg("%s", kl_last_error());
    for (int i = 0; i < 3; i++) {
        net_fill(&b, batch, i);
        if (kl_trainer_step(tr, b.binds, 2) != KL_OK)
            fail_msg("%s", kl_last_error());
    }
    net_fill(&b, batch, 9);
    assert_int_equal(kl_trainer_eval(tr, b.binds, 2), KL_OK);
    assert_int_equal(kl_trainer_metrics(tr, NULL), KL_OK);
    assert_int_equal(kl_ctx_finish(c), KL_OK);
    size_t n;
    free(net_params(m, &n));
    for (size_t i = 0; i < null_cl_log_count(); i++) {
        null_entry e = null_cl_log_at(i);
        r.tags = r.tags * 1000003 + e.tag;
    }
    r.commands = null_cl_log_count();
    r.objects = fault_cl_creates();
    r.calls = fault_cl_total();
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    kl_ctx_destroy(c);
    assert_int_equal(null_cl_live(), 0);
    kl__cl_set_table(NULL);
    return r;
}

/* The same program gives the same tags, calls and objects. */
static void the_same_program_is_the_same(void **state)
{
    (void)state;
    run a = play(0, 2, 8), b = play(0, 2, 8), other = play(0, 1, 8);
    assert_true(a.tags == b.tags);
    assert_int_equal(a.commands, b.commands);
    assert_int_equal(a.objects, b.objects);
    assert_int_equal(a.calls, b.calls);
    assert_true(a.tags != other.tags);
}

/* Whatever order the queues' dependencies allow, every command sees the same inputs. */
static void no_dependency_is_missing(void **state)
{
    (void)state;
    run first = play(0, 2, 8);
    for (uint64_t seed = 1; seed <= 60; seed++) {
        run r = play(seed, 2, 8);
        if (r.tags != first.tags)
            fail_msg("an order of execution (seed %llu) changes what a command reads",
                     (unsigned long long)seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_program_is_the_same),
        cmocka_unit_test(no_dependency_is_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
