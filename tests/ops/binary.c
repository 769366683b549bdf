/* add, sub, mul, div: broadcasting of every kind, tails, chunks, refusals, gradients. */
#include "rig.h"

#include "ops/eltwise.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

/** Element of an input for element i of the output, from the definition: coordinates, one by one.
 */
static int64_t broadcast_index(const kl_shape *x, const kl_shape *y, int64_t i)
{
    int64_t at = 0, step = 1;
    for (int d = y->n_dims - 1; d >= 0; d--) {
        int64_t c = i % y->dim[d];
        int xd = d - (y->n_dims - x->n_dims);
        i /= y->dim[d];
        if (xd < 0)
            continue;
        at += (x->dim[xd] == 1 ? 0 : c) * step;
        step *= x->dim[xd];
    }
    return at;
}

static void reference(const kl__apply *a, const double *const *in, double *const *out)
{
    const kl_shape *y = &a->out[0]->desc.shape;
    int64_t n = kl_shape_count(*y);
    for (int64_t i = 0; i < n; i++) {
        double u = in[0][broadcast_index(&a->in[0]->desc.shape, y, i)];
        double v = in[1][broadcast_index(&a->in[1]->desc.shape, y, i)];
        out[0][i] = a->op == &kl__op_add   ? u + v
                    : a->op == &kl__op_sub ? u - v
                    : a->op == &kl__op_mul ? u * v
                                           : u / v;
    }
}

static rig_case case_of(const kl__op *op, const char *name, kl_shape a, kl_shape b)
{
    rig_case c = {.name = name, .op = op, .n_in = 2, .ref = reference, .tol = {RIG_EXACT, 0}};
    c.in[0] = (rig_input){.shape = a, .fill = RIG_INTEGER, .lo = -64, .hi = 64};
    c.in[1] = (rig_input){.shape = b, .fill = RIG_INTEGER, .lo = -64, .hi = 64};
    if (op == &kl__op_div) {
        c.in[1].fill = RIG_UNIFORM;
        c.in[1].lo = 0.5;
        c.in[1].hi = 3;
        c.tol = (rig_tol){RIG_ULP, 7};
    }
    return c;
}

static void both_ways(const kl__op *op, const char *name, kl_shape a, kl_shape b)
{
    rig_case c = case_of(op, name, a, b);
    rig_run(&c);
    if (kl_shape_equal(a, b))
        return;
    c = case_of(op, name, b, a);
    rig_run(&c);
}

#define S(n, ...) ((kl_shape){n, {__VA_ARGS__}})

static void shapes_broadcast_as_in_numpy(void **state)
{
    (void)state;
    both_ways(&kl__op_add, "scalars", S(0, 0), S(0, 0));
    both_ways(&kl__op_add, "scalar", S(2, 5, 41), S(0, 0));
    both_ways(&kl__op_add, "ones", S(3, 1, 1, 1), S(1, 7));
    both_ways(&kl__op_sub, "channel", S(4, 2, 3, 4, 5), S(3, 3, 1, 1));
    both_ways(&kl__op_sub, "sample and channel", S(4, 2, 3, 7, 7), S(4, 2, 3, 1, 1));
    both_ways(&kl__op_sub, "row", S(2, 17, 33), S(1, 33));
    both_ways(&kl__op_sub, "column", S(2, 17, 33), S(2, 17, 1));
    both_ways(&kl__op_sub, "middle", S(3, 4, 5, 6), S(3, 4, 1, 6));
    both_ways(&kl__op_mul, "outer product", S(2, 4, 1), S(2, 1, 19));
    both_ways(&kl__op_mul, "rank 6", S(6, 2, 1, 3, 1, 2, 5), S(6, 1, 3, 1, 4, 1, 5));
    both_ways(&kl__op_mul, "rank 6 of 4", S(6, 2, 3, 2, 3, 2, 3), S(4, 2, 1, 2, 1));
    both_ways(&kl__op_div, "division", S(3, 3, 4, 21), S(2, 4, 1));
}

static void empty_values_run(void **state)
{
    (void)state;
    both_ways(&kl__op_add, "no rows", S(2, 0, 3), S(1, 3));
    both_ways(&kl__op_add, "no columns", S(2, 2, 0), S(2, 2, 1));
}

static void tails_and_chunks(void **state)
{
    (void)state;
    static const int tails[] = {1, 2, 3, 7, 8, 15, 16, 17, 31, 33};
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        both_ways(&kl__op_sub, "tail", S(1, tails[i]), S(1, tails[i]));
        both_ways(&kl__op_sub, "tail of rows", S(2, 5, tails[i]), S(2, 5, 1));
    }
    both_ways(&kl__op_sub, "chunks", S(1, 100003), S(1, 100003));
    both_ways(&kl__op_sub, "chunks of rows", S(2, 3, 20011), S(1, 20011));
    both_ways(&kl__op_sub, "rows of chunks", S(2, 3, 20011), S(2, 3, 1));
    both_ways(&kl__op_sub, "many short rows", S(2, 4099, 9), S(1, 9));
}

static void special_values(void **state)
{
    (void)state;
    static const double a[] = {NAN, 1, HUGE_VAL, HUGE_VAL, 0, 1, -1, 1e38, 0, -0.0};
    static const double b[] = {1, NAN, HUGE_VAL, -HUGE_VAL, 0, 0, 0, 0.5, 1, 1};
    static const kl__op *const ops[] = {&kl__op_add, &kl__op_sub, &kl__op_mul, &kl__op_div};
    for (int i = 0; i < 4; i++) {
        rig_case c = case_of(ops[i], "specials", S(1, 10), S(1, 10));
        c.tol = (rig_tol){RIG_ULP, 3};
        c.in[0].fill = c.in[1].fill = RIG_DATA;
        c.in[0].data = a;
        c.in[1].data = b;
        rig_run(&c);
    }
}

static void misfits_are_refused(void **state)
{
    (void)state;
    rig_case c = case_of(&kl__op_add, "misfit", S(2, 4, 5), S(1, 4));
    rig_refused(&c, "add \"op\": input 1 has shape [4], which does not broadcast with [4,5]");
    c = case_of(&kl__op_mul, "batch", S(2, KL_BATCH, 5), S(2, 3, 5));
    rig_refused(&c, "does not broadcast");
    c = case_of(&kl__op_mul, "dtypes", S(1, 3), S(1, 3));
    c.in[1].dtype = KL_U8;
    rig_refused(&c, "input 1 is u8");
}

static void the_batch_stays_symbolic(void **state)
{
    (void)state;
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "x", KL_F32, S(2, KL_BATCH, 5)),
            *b = kl_input(g, "b", KL_F32, S(1, 5));
    kl_node *y = kl_add(g, b, kl_mul(g, x, x));
    assert_int_equal(kl_graph_check(g), KL_OK);
    assert_true(kl_shape_equal(kl_node_shape(y), S(2, KL_BATCH, 5)));
    kl_graph_destroy(g);
}

static void gradients(void **state)
{
    (void)state;
    static const kl__op *const ops[] = {&kl__op_add, &kl__op_sub, &kl__op_mul, &kl__op_div};
    const kl_shape pairs[][2] = {
        {S(2, 3, 5), S(2, 3, 5)},
        {S(4, 2, 3, 2, 2), S(3, 3, 1, 1)},
        {S(2, 3, 1), S(2, 1, 4)},
        {S(0, 0), S(1, 6)},
    };
    for (int i = 0; i < 4; i++)
        for (size_t k = 0; k < sizeof pairs / sizeof *pairs; k++) {
            rig_case c = case_of(ops[i], ops[i]->name, pairs[k][0], pairs[k][1]);
            c.in[0].fill = c.in[1].fill = RIG_UNIFORM;
            c.in[0].lo = c.in[1].lo = 0.5;
            c.in[0].hi = c.in[1].hi = 3;
            rig_grad(&c);
        }
}

static void solo_kernels_did_run(void **state)
{
    (void)state;
    if (rig_ran("add", "solo") == 0)
        skip(); /* a device without SOLO */
    assert_true(rig_ran("sub", "solo") && rig_ran("mul", "solo") && rig_ran("div", "solo") &&
                rig_ran("div", "ref"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_broadcast_as_in_numpy),
        cmocka_unit_test(empty_values_run),
        cmocka_unit_test(tails_and_chunks),
        cmocka_unit_test(special_values),
        cmocka_unit_test(misfits_are_refused),
        cmocka_unit_test(the_batch_stays_symbolic),
        cmocka_unit_test(gradients),
        cmocka_unit_test(solo_kernels_did_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
