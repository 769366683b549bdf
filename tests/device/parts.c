/* Parts and several devices on a real driver: PoCL twice, and a half of it. POCL_DEVICES is set by
 * the build. */
#include "base/mem.h"
#include "support/fault_cl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 1 << 16 };

static void ok(kl_status st)
{
    if (st != KL_OK)
        fail_msg("%s", kl_last_error());
}

static size_t open_group(const char *choice, kl_ctx **ctx, size_t cap)
{
    size_t n = 0;
    ok(kl_ctx_create_group(&(kl_ctx_opts){.device = choice, .kernel_dir = TEST_CL_DIR}, ctx, cap,
                           &n));
    return n;
}

typedef struct work {
    kl__seq *s;
    kl__mem *m;
    kl__event done;
} work;

/* 100 times "add" on N numbers, queued. */
static work begin_work(kl_ctx *ctx)
{
    kl__lane *lane = kl__ctx_lane(ctx, KL__COMPUTE);
    work w = {kl__seq_create(ctx), kl__mem_create(ctx, N * sizeof(float)), {NULL}};
    kl__launch l = {.file = "test.cl", .kernel = "add", .n_args = 1, .dims = 1, .global = {N}};
    l.arg[0] = (kl__arg){.kind = KL__ARG_SPAN, .elem = 4, .span = {w.m, 0}};
    assert_non_null(w.m);
    ok(kl__lane_fill(lane, (kl__span){w.m, 0}, &(uint32_t){0}, 4, N * sizeof(float)));
    for (int i = 0; i < 100; i++)
        ok(kl__seq_kernel(w.s, &l));
    ok(kl__seq_run(w.s, lane, 0, 100));
    ok(kl__lane_mark(lane, &w.done));
    return w;
}

static void end_work(kl_ctx *ctx, work *w, bool lost)
{
    float *got = kl__calloc(N, sizeof *got), first;
    kl__lane *lane = kl__ctx_lane(ctx, KL__COMPUTE);
    kl_status st = kl__event_wait(ctx, w->done);
    if (lost) {
        assert_int_equal(st, KL_E_DEVICE);
        kl__ctx_lose(ctx, false, kl_last_error());
        assert_int_equal(kl__lane_read(lane, (kl__span){w->m, 0}, &first, 4, NULL), KL_E_DEVICE);
    } else {
        ok(st);
        ok(kl__lane_read(lane, (kl__span){w->m, 0}, got, N * sizeof *got, NULL));
        assert_true(got[0] > 0);
        for (size_t i = 1; i < N; i++)
            assert_true(got[i] == got[0]);
    }
    kl__free(got);
    kl__event_release(&w->done);
    kl__seq_destroy(w->s);
    kl__mem_release(w->m);
}

static void use_all(kl_ctx **ctx, size_t n)
{
    work w[8];
    for (size_t i = 0; i < n; i++)
        w[i] = begin_work(ctx[i]);
    for (size_t i = 0; i < n; i++)
        end_work(ctx[i], &w[i], false);
    for (size_t i = 0; i < n; i++)
        kl_ctx_destroy(ctx[i]);
}

static int units(void)
{
    kl_device_info d;
    kl_ctx *ctx = kl_ctx_create(&(kl_ctx_opts){.device = "0:0"});
    ok(kl_ctx_info(ctx, &d));
    kl_ctx_destroy(ctx);
    return d.compute_units;
}

static void halves_compute_side_by_side(void **state)
{
    (void)state;
    kl_ctx *ctx[8];
    int whole = units();
    if (whole % 2)
        skip();
    fault_cl_wrap(kl__cl());
    kl__cl_set_table(fault_cl_table());
    size_t n = open_group("0:0/2", ctx, 8);
    assert_int_equal(n, 2);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(kl__ctx_caps(ctx[i])->compute_units, whole / 2);
    use_all(ctx, n);
    n = open_group("0:0/2:1,0:1", ctx, 8);
    assert_int_equal(n, 2);
    use_all(ctx, n);
    assert_int_equal(fault_cl_live(), 0); /* the halves are given back */
    kl__cl_set_table(NULL);
}

static void all_are_both(void **state)
{
    (void)state;
    kl_ctx *ctx[8];
    size_t n = open_group("all", ctx, 8);
    assert_int_equal(n, 2);
    use_all(ctx, n);
}

/* One of two dies, another time hangs, and the other's results are right. */
static void one_of_two_is_lost(void **state)
{
    (void)state;
    kl_ctx *ctx[8];
    for (int hang = 0; hang < 2; hang++) {
        fault_cl_wrap(kl__cl());
        kl__cl_set_table(fault_cl_table());
        assert_int_equal(open_group("0:0", ctx, 8), 1);
        setenv("KILN_TIMEOUT", hang ? "0.3" : "none", 1); /* of the one that is lost only */
        assert_int_equal(open_group("0:1", ctx + 1, 7), 1);
        unsetenv("KILN_TIMEOUT");
        if (hang)
            fault_cl_device_hangs(ctx[1], 1);
        work a, b = begin_work(ctx[1]);
        if (!hang)
            fault_cl_device_dies(ctx[1], 1, 0);
        end_work(ctx[1], &b, true);
        assert_int_equal(kl__ctx_hung(ctx[1]), hang);
        a = begin_work(ctx[0]);
        end_work(ctx[0], &a, false);
        kl_ctx_destroy(ctx[0]);
        kl_ctx_destroy(ctx[1]);
        fault_cl_device_wakes();
        if (hang)
            assert_int_equal(fault_cl_live_of(FAULT_CONTEXT), 1);
        else
            assert_int_equal(fault_cl_live(), 0);
        kl__cl_set_table(NULL);
    }
}

int main(void)
{
    unsetenv("KILN_DEVICE");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(halves_compute_side_by_side),
        cmocka_unit_test(all_are_both),
        cmocka_unit_test(one_of_two_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
