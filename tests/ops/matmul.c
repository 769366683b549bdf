/* matmul: every variant against sums in double, all transpositions, tails of every tile, splits of
 * K. */
#include "rig.h"

#include "sched/plan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void ref(const kl__apply *a, const double *const *in, double *const *out)
{
    const kl_matmul_opts *o = a->attrs;
    kl_shape x = a->in[0]->desc.shape, y = a->out[0]->desc.shape;
    int64_t m = y.dim[y.n_dims - 2], n = y.dim[y.n_dims - 1], k = x.dim[x.n_dims - (o->ta ? 2 : 1)];
    int64_t batch = y.n_dims == 3 ? y.dim[0] : 1;
    for (int64_t b = 0; b < batch; b++)
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                double s = 0;
                for (int64_t l = 0; l < k; l++)
                    s += in[0][b * m * k + (o->ta ? l * m + i : i * k + l)] *
                         in[1][b * k * n + (o->tb ? j * k + l : l * n + j)];
                out[0][(b * m + i) * n + j] = s;
            }
}

static kl_shape matrix(int64_t batch, int64_t r, int64_t c)
{
    return batch ? (kl_shape){3, {batch, r, c}} : (kl_shape){2, {r, c}};
}

static rig_case make(int64_t batch, int64_t m, int64_t n, int64_t k, const kl_matmul_opts *o,
                     rig_fill fill)
{
    static char name[96];
    snprintf(name, sizeof name, "matmul %dx%dx%d%s%s batch %d", (int)m, (int)n, (int)k,
             o->ta ? " ta" : "", o->tb ? " tb" : "", (int)batch);
    rig_case c = {.name = name, .op = &kl__op_matmul, .attrs = o, .n_in = 2, .ref = ref,
                  .tol = {fill == RIG_INTEGER ? RIG_EXACT : RIG_ANCHORED, (double)k}};
    c.in[0] = (rig_input){.shape = o->ta ? matrix(batch, k, m) : matrix(batch, m, k),
                          .fill = fill,
                          .lo = -4,
                          .hi = 4};
    c.in[1] = (rig_input){.shape = o->tb ? matrix(batch, n, k) : matrix(batch, k, n),
                          .fill = fill,
                          .lo = -4,
                          .hi = 4};
    if (fill != RIG_INTEGER)
        c.in[0].hi = c.in[1].hi = 1;
    return c;
}

static const kl_matmul_opts forms[4] = {
    {.ta = false}, {.tb = true}, {.ta = true}, {.ta = true, .tb = true}};

/* Sizes around the edges of the 4, 8, 16, 32 and 64 tiles; sums of small integers are exact in any
 * order. */
static void tails_are_exact(void **state)
{
    static const int sizes[][3] = {{1, 1, 1},   {1, 17, 31}, {3, 7, 15},   {4, 4, 16},  {7, 33, 16},
                                   {8, 32, 64}, {9, 16, 33}, {15, 31, 1},  {16, 15, 3}, {17, 65, 7},
                                   {31, 3, 17}, {33, 1, 48}, {64, 64, 65}, {65, 47, 20}};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int f = 0; f < 4; f++) {
            rig_case c = make(0, sizes[i][0], sizes[i][1], sizes[i][2], &forms[f], RIG_INTEGER);
            rig_run(&c);
        }
}

/* Several blocks of C, several chunks of K, in every transposition. */
static void blocks_are_exact(void **state)
{
    (void)state;
    for (int f = 0; f < 4; f++) {
        rig_case c = make(0, 201, 267, 600, &forms[f], RIG_INTEGER);
        rig_run(&c);
        c = make(0, 513, 470, 18, &forms[f], RIG_INTEGER);
        rig_run(&c);
        c = make(0, 137, 145, 20, &forms[f], RIG_INTEGER);
        c.only = "coop@"; /* each of its tiles */
        rig_run(&c);
    }
}

/* Few outputs and a long K: the sum is cut and put together again. */
static void long_k_is_exact(void **state)
{
    static const int sizes[][3] = {{1, 10, 3000}, {5, 3, 2049}, {20, 40, 1111}, {2, 70, 1500}};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int f = 0; f < 4; f++) {
            rig_case c = make(0, sizes[i][0], sizes[i][1], sizes[i][2], &forms[f], RIG_INTEGER);
            rig_run(&c);
        }
}

static void batches_are_exact(void **state)
{
    (void)state;
    for (int f = 0; f < 4; f++) {
        rig_case c = make(3, 19, 21, 37, &forms[f], RIG_INTEGER);
        rig_run(&c);
        c = make(2, 6, 5, 1030, &forms[f], RIG_INTEGER);
        rig_run(&c);
    }
}

static void rounding_is_within_the_bound(void **state)
{
    (void)state;
    for (int f = 0; f < 4; f++) {
        rig_case c = make(0, 70, 90, 700, &forms[f], RIG_NORMAL);
        rig_run(&c);
    }
}

/* A NaN in row 2 of A reaches row 2 of C and nothing else; infinity times zero is NaN, not zero. */
static void nan_and_infinity_stay_in_their_row(void **state)
{
    enum { M = 9, K = 20, N = 18 };
    static double a[M * K], b[N * K];
    (void)state;
    for (int i = 0; i < M * K; i++)
        a[i] = i % 7 - 3;
    for (int i = 0; i < N * K; i++)
        b[i] = i % 5 - 2;
    a[2 * K + K - 1] = NAN;
    a[5 * K + 3] = INFINITY;
    for (int f = 0; f < 2; f++) {
        rig_case c = make(0, M, N, K, &forms[f], RIG_INTEGER);
        c.in[0].fill = c.in[1].fill = RIG_DATA;
        c.in[0].data = a;
        c.in[1].data = b;
        rig_run(&c);
    }
}

static void nothing_times_nothing_is_zero(void **state)
{
    rig_case c = make(0, 5, 6, 0, &forms[0], RIG_INTEGER);
    (void)state;
    rig_run(&c);
    c = make(0, 0, 6, 4, &forms[0], RIG_INTEGER);
    rig_run(&c);
}

static void gradients_of_all_transpositions(void **state)
{
    (void)state;
    for (int f = 0; f < 4; f++) {
        rig_case c = make(0, 3, 4, 5, &forms[f], RIG_NORMAL);
        rig_grad(&c);
        c = make(2, 3, 2, 4, &forms[f], RIG_NORMAL);
        rig_grad(&c);
    }
}

static void shapes_that_do_not_fit_are_named(void **state)
{
    rig_case c = make(0, 3, 4, 5, &forms[0], RIG_NORMAL);
    (void)state;
    c.in[1].shape = matrix(0, 6, 4);
    rig_refused(&c, "[3,5] does not fit [6,4]");
    c.in[1].shape = matrix(2, 5, 4);
    rig_refused(&c, "rank");
    c.in[0].shape = matrix(3, 3, 5);
    rig_refused(&c, "[3,3,5] does not fit [2,5,4]");
    c.in[1] = (rig_input){.dtype = KL_I32, .shape = matrix(3, 5, 4), .fill = RIG_INDEX, .hi = 3};
    rig_refused(&c, "i32");
}

/* Runs the graph of one product with inputs of small integers; y receives the result. */
static void run_forced(kl_ctx *ctx, const kl_matmul_opts *o, int64_t batch, const char *force,
                       float *y, size_t n)
{
    const int64_t m = 37, k = 70, cols = 50;
    kl_shape shape[2] = {o->ta ? matrix(batch, k, m) : matrix(batch, m, k),
                         o->tb ? matrix(batch, cols, k) : matrix(batch, k, cols)};
    kl__lane *lane = kl__ctx_lane(ctx, KL__COMPUTE);
    kl__mem *step = kl__mem_create(ctx, 64), *mem[2];
    kl_graph *g = kl_graph_create();
    kl_node *x[2] = {kl_input(g, "a", KL_F32, shape[0]), kl_input(g, "b", KL_F32, shape[1])};
    kl_output(g, "y", kl_matmul(g, x[0], x[1], o));
    assert_int_equal(kl_graph_check(g), KL_OK);
    for (int i = 0; i < 2; i++) {
        size_t count = (size_t)kl_shape_count(shape[i]);
        float *v = calloc(count, sizeof *v);
        assert_non_null(v);
        for (size_t j = 0; j < count; j++)
            v[j] = (float)((int)((j * 2654435761u + (unsigned)i) >> 7 & 15) - 8);
        mem[i] = kl__mem_create(ctx, count * sizeof *v);
        assert_int_equal(kl__lane_write(lane, (kl__span){mem[i], 0}, v, count * sizeof *v, NULL),
                         KL_OK);
        x[i]->place = (kl__place){KL__AT_SPAN, {mem[i], 0}, 0};
        free(v);
    }
    kl__plan *p =
        kl__plan_create(ctx, g, &(kl__plan_opts){.force = force, .step = step, .no_fuse = true});
    if (!p)
        fail_msg("%s", kl_last_error());
    if (strstr(force, "blas"))
        assert_string_equal(kl__seq_kernel_name(p->seq, 0), "gemm");
    assert_int_equal(kl__plan_run(p, lane), KL_OK);
    assert_int_equal(
        kl__lane_read(lane, kl_graph_output(g, "y")->place.span, y, n * sizeof *y, NULL), KL_OK);
    kl__plan_destroy(p);
    for (int i = 0; i < 2; i++)
        kl__mem_release(mem[i]);
    kl__mem_release(step);
}

/* The library is not chosen on a CPU; its leading dimensions and batch offsets are checked all the
 * same. */
static void library_agrees_with_ref(void **state)
{
    enum { N = 3 * 37 * 50 };
    static float got[N], want[N];
    kl_ctx *ctx = kl_ctx_create(NULL);
    (void)state;
    assert_non_null(ctx);
    if (!kl__gemm_available(ctx)) {
        kl_ctx_destroy(ctx);
        skip();
    }
    /* this context is ours alone */
    ((kl__caps *)(uintptr_t)kl__ctx_caps(ctx))->gemm_library_slow = false;
    for (int f = 0; f < 4; f++)
        for (int batch = 0; batch <= 3; batch += 3) {
            size_t n = batch ? N : N / 3;
            run_forced(ctx, &forms[f], batch, "matmul:blas", got, n);
            run_forced(ctx, &forms[f], batch, "matmul:ref", want, n);
            assert_memory_equal(got, want, n * sizeof *got);
        }
    kl_ctx_destroy(ctx);
}

static void all_variants_ran(void **state)
{
    (void)state;
    assert_true(rig_ran("matmul", "ref") > 0);
    assert_true(rig_ran("matmul", "coop") > 0);
    assert_true(rig_ran("matmul", "solo") > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tails_are_exact),
        cmocka_unit_test(blocks_are_exact),
        cmocka_unit_test(long_k_is_exact),
        cmocka_unit_test(batches_are_exact),
        cmocka_unit_test(rounding_is_within_the_bound),
        cmocka_unit_test(nan_and_infinity_stay_in_their_row),
        cmocka_unit_test(nothing_times_nothing_is_zero),
        cmocka_unit_test(gradients_of_all_transpositions),
        cmocka_unit_test(shapes_that_do_not_fit_are_named),
        cmocka_unit_test(library_agrees_with_ref),
        cmocka_unit_test(all_variants_ran),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
