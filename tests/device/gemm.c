/* CLBlast's SGEMM as a step: where it is installed, all four forms against a plain sum; where not,
 * a sentence. */
#include "device/device.h"
#include "device/opencl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { M = 5, N = 7, K = 9, LD = 11, SIZE = 16 * LD };

static float at(const float *x, bool t, int r, int c)
{
    return t ? x[c * LD + r] : x[r * LD + c];
}

static void check_form(kl_ctx *ctx, kl__lane *lane, bool ta, bool tb)
{
    float a[SIZE], b[SIZE], c[SIZE], got[SIZE];
    for (int i = 0; i < SIZE; i++) {
        a[i] = (float)(i % 7 - 3);
        b[i] = (float)(i % 5 - 2);
        c[i] = (float)(i % 3);
    }
    kl__mem *m[3];
    const float *x[3] = {a, b, c};
    for (int i = 0; i < 3; i++) {
        m[i] = kl__mem_create(ctx, (SIZE + 8) * 4);
        assert_int_equal(kl__lane_write(lane, (kl__span){m[i], 32}, x[i], sizeof a, NULL), KL_OK);
    }
    kl__seq *s = kl__seq_create(ctx);
    kl__gemm g = {.ta = ta,
                  .tb = tb,
                  .m = M,
                  .n = N,
                  .k = K,
                  .alpha = 2,
                  .beta = 0.5f,
                  .a = {m[0], 32},
                  .b = {m[1], 32},
                  .c = {m[2], 32},
                  .lda = LD,
                  .ldb = LD,
                  .ldc = LD};
    if (kl__seq_gemm(s, "g", &g))
        fail_msg("%s", kl_last_error());
    assert_int_equal(kl__seq_fill(s, "after", (kl__span){m[0], 0}, 0, 32), KL_OK);
    g.lda = 3;
    assert_int_equal(kl__seq_gemm(s, "g", &g), KL_E_ARG);
    g.lda = 1 << 20;
    assert_int_equal(kl__seq_gemm(s, "g", &g), KL_E_ARG);
    if (kl__seq_run(s, lane, 0, 2))
        fail_msg("%s", kl_last_error());
    assert_int_equal(kl__lane_read(lane, (kl__span){m[2], 32}, got, sizeof got, NULL), KL_OK);
    for (int i = 0; i < M; i++)
        for (int j = 0; j < LD; j++) {
            float sum = 0;
            for (int k = 0; k < K; k++)
                sum += j < N ? at(a, ta, i, k) * at(b, tb, k, j) : 0;
            assert_float_equal(got[i * LD + j],
                               j < N ? 2 * sum + 0.5f * c[i * LD + j] : c[i * LD + j], 0);
        }
    double seconds[2];
    assert_int_equal(kl__seq_profile(s, lane, seconds), KL_OK);
    assert_true(seconds[0] > 0);
    kl__seq_destroy(s);
    for (int i = 0; i < 3; i++)
        kl__mem_release(m[i]);
}

static void all_forms_are_right_on_any_queue(void **state)
{
    (void)state;
    kl_ctx *home = kl_ctx_create(&(kl_ctx_opts){.cache_dir = ""});
    if (!home)
        fail_msg("%s", kl_last_error());
    if (!kl__gemm_available(home)) {
        kl_ctx_destroy(home);
        skip();
    }
    for (int i = 0; i < 4; i++)
        check_form(home, kl__ctx_lane(home, KL__COMPUTE), i & 1, i & 2);
    cl_device_id device;
    const kl__cl_table *cl = kl__cl();
    assert_int_equal(
        cl->clGetContextInfo(kl__ctx_cl(home), CL_CONTEXT_DEVICES, sizeof device, &device, NULL),
        0);
    cl_command_queue q = cl->clCreateCommandQueue(kl__ctx_cl(home), device,
                                                  CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE, NULL);
    kl_ctx *guest =
        q ? kl__ctx_wrap(kl__ctx_cl(home), device, q, &(kl_ctx_opts){.cache_dir = ""}) : NULL;
    if (guest)
        check_form(guest, kl__ctx_lane(guest, KL__COMPUTE), false, true);
    kl_ctx_destroy(guest);
    if (q)
        cl->clReleaseCommandQueue(q);
    kl_ctx_destroy(home);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_forms_are_right_on_any_queue)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
