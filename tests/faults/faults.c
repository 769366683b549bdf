/* Every OpenCL call and every allocation made to fail, one run each: set-up, two steps, evaluation,
 * save, load, destruction. A run ends with an error that names the call, or with the result of a
 * run without faults (a release that fails); nothing leaks, nothing hangs, and the checkpoint that
 * was on disk is whole.
 *
 * usage: faults null|real STRIDE [FIRST]: the null table or the device; every STRIDE-th point from
 * FIRST on. */
#include "sched/nets.h"
#include "support/count_alloc.h"
#include "support/fault_cl.h"
#include "support/null_cl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static bool real;
static uint64_t stride = 1, first = 1;
static char kept[96], fresh[96];
static net_batch batch;

/** The whole life of a training; the first error ends it, and all is destroyed. */
static kl_status play(char *error, size_t cap)
{
    kl_ctx *c = kl_ctx_create(&(kl_ctx_opts){.cache_dir = ""});
    kl_graph *g = c ? net_cnn(true) : NULL;
    kl_model *m = g ? kl_model_create(g, NULL) : NULL, *loaded = NULL;
    kl_trainer *tr = m ? kl_trainer_create(m, &c, 1, "loss", "logits",
                                           &(kl_trainer_opts){.shards = 2, .allow_nan = true})
                       : NULL;
    kl_status st = tr ? KL_OK : KL_E_DEVICE;
    for (int i = 0; st == KL_OK && i < 2; i++)
        st = kl_trainer_step(tr, batch.binds, 2);
    if (st == KL_OK)
        st = kl_trainer_eval(tr, batch.binds, 2);
    if (st == KL_OK)
        st = kl_trainer_metrics(tr, NULL);
    if (st == KL_OK)
        st = kl_trainer_save(tr, fresh, NULL, 0);
    if (st == KL_OK)
        st = kl_trainer_save(tr, kept, NULL, 0);
    if (st == KL_OK)
        st = kl_trainer_load(tr, fresh);
    if (st == KL_OK && !(loaded = kl_model_load(fresh)))
        st = KL_E_DEVICE;
    if (st != KL_OK)
        snprintf(error, cap, "%s", kl_last_error());
    kl_model_destroy(loaded);
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    kl_graph_destroy(g);
    kl_ctx_destroy(c);
    return st;
}

/** The checkpoint that a run wrote, to compare: a failure that nobody heard of must have changed
 * nothing. */
static struct {
    char bytes[1 << 16];
    size_t n;
} reference;

static size_t read_fresh(char *dst, size_t cap)
{
    FILE *f = fopen(fresh, "rb");
    size_t n = f ? fread(dst, 1, cap, f) : 0;
    if (f)
        fclose(f);
    return n;
}

static bool as_reference(void)
{
    static char now[sizeof reference.bytes];
    size_t n = read_fresh(now, sizeof now);
    return n == reference.n && memcmp(now, reference.bytes, n) == 0;
}

static void table(void)
{
    kl__cl_set_table(NULL);
    if (!real)
        null_cl_setup(NULL, 0, 0);
    fault_cl_wrap(real ? kl__cl() : null_cl_table());
    kl__cl_set_table(fault_cl_table());
}

/** The checkpoint that stood before is whole, and loads. */
static void check_kept(const char *what, uint64_t n)
{
    kl_model *m = kl_model_load(kept);
    if (!m)
        fail_msg("%s %llu: the checkpoint is gone: %s", what, (unsigned long long)n,
                 kl_last_error());
    kl_model_destroy(m);
}

static int set_up(void **state)
{
    char error[1024] = "";
    (void)state;
    snprintf(kept, sizeof kept, "/tmp/kiln-faults-%ld-kept", (long)getpid());
    snprintf(fresh, sizeof fresh, "/tmp/kiln-faults-%ld-fresh", (long)getpid());
    net_fill(&batch, 8, 1);
    table();
    if (play(error, sizeof error) != KL_OK) {
        print_message("without a fault: %s\n", error);
        return -1;
    }
    reference.n = read_fresh(reference.bytes, sizeof reference.bytes);
    return fault_cl_live() == 0 && reference.n > 0 && reference.n < sizeof reference.bytes ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(kept);
    unlink(fresh);
    kl__cl_set_table(NULL);
    return 0;
}

static void calls_fail(bool forever)
{
    char error[1024] = "";
    uint64_t before = fault_cl_total();
    assert_int_equal(play(error, sizeof error), KL_OK);
    uint64_t total = fault_cl_total() - before, n = first, runs = 0, told = 0;
    for (; n <= total; n += stride, runs++) {
        table();
        fault_cl_at(NULL, n, forever, 0);
        error[0] = 0;
        kl_status st = play(error, sizeof error);
        const char *name = fault_cl_failed();
        fault_cl_at(NULL, 0, false, 0);
        if (!name)
            continue; /* a shorter run than the one counted */
        if (st == KL_OK && !as_reference())
            fail_msg("call %llu, %s, failed, nobody said so, and the result differs",
                     (unsigned long long)n, name);
        if (st != KL_OK && !forever && !strstr(error, name) && !strstr(error, "device"))
            fail_msg("call %llu, %s: \"%s\" does not name it", (unsigned long long)n, name, error);
        told += st != KL_OK;
        if (fault_cl_live() != 0)
            fail_msg("call %llu, %s: %lld objects leak (%s)", (unsigned long long)n, name,
                     (long long)fault_cl_live(), error);
        check_kept("call", n);
    }
    print_message("%llu of %llu calls, %llu told\n", (unsigned long long)runs,
                  (unsigned long long)total, (unsigned long long)told);
    assert_true(told > 0);
}

static void each_call_fails_once(void **state)
{
    (void)state;
    calls_fail(false);
}

static void all_calls_from_one_on_fail(void **state)
{
    (void)state;
    calls_fail(true);
}

static void each_allocation_fails(void **state)
{
    char error[1024] = "";
    (void)state;
    table();
    count_alloc_install();
    assert_int_equal(play(error, sizeof error), KL_OK);
    uint64_t total = count_alloc_calls();
    assert_int_equal(count_alloc_live(), 0);
    for (int forever = 0; forever < 2; forever++)
        for (uint64_t n = first; n <= total; n += stride) {
            table();
            count_alloc_install();
            count_alloc_fail_at(n, forever);
            error[0] = 0;
            kl_status st = play(error, sizeof error);
            bool failed = count_alloc_failed();
            int64_t live = count_alloc_live();
            count_alloc_fail_at(0, false);
            if (failed && st == KL_OK &&
                !as_reference()) /* the wording of an error that is handled may be lost */
                fail_msg("allocation %llu failed, nobody said so, and the result differs",
                         (unsigned long long)n);
            if (live != 0 || fault_cl_live() != 0)
                fail_msg("allocation %llu: %lld blocks and %lld objects leak (%s)",
                         (unsigned long long)n, (long long)live, (long long)fault_cl_live(), error);
            check_kept("allocation", n);
        }
    count_alloc_remove();
    print_message("every %llu-th of %llu allocations, once and for ever\n",
                  (unsigned long long)stride, (unsigned long long)total);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_call_fails_once),
        cmocka_unit_test(all_calls_from_one_on_fail),
        cmocka_unit_test(each_allocation_fails),
    };
    real = argc > 1 && !strcmp(argv[1], "real");
    stride = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    first = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
