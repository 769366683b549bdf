/* bias: one number per channel on every rank, tails of vectors, gradient. */
#include "rig.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void ref(const kl__apply *a, const double *const *in, double *const *out)
{
    kl_shape x = a->in[0]->desc.shape;
    int64_t n = kl_shape_count(x), s = 1;
    for (int i = 2; i < x.n_dims; i++)
        s *= x.dim[i];
    for (int64_t i = 0; i < n; i++)
        out[0][i] = in[0][i] + in[1][i / s % x.dim[1]];
}

typedef struct named { /* the op's attributes */
    const char *name;
} named;
static const named none = {NULL};

static rig_case make(kl_shape x)
{
    rig_case c = {.name = "bias", .op = &kl__op_bias, .attrs = &none, .ref = ref, .n_in = 2,
                  .in = {{.shape = x, .fill = RIG_INTEGER, .lo = -1000, .hi = 1000},
                         {.shape = {1, {x.dim[1]}}, .fill = RIG_INTEGER, .lo = -1000, .hi = 1000}}};
    return c;
}

static void sums_are_exact(void **state)
{
    static const kl_shape shapes[] = {{2, {3, 1}},         {2, {5, 17}},         {2, {64, 128}},
                                      {3, {2, 3, 33}},     {4, {2, 5, 7, 7}},    {4, {1, 3, 1, 1}},
                                      {4, {3, 16, 9, 15}}, {5, {2, 3, 2, 2, 2}}, {4, {0, 3, 2, 2}}};
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        rig_case c = make(shapes[i]);
        rig_run(&c);
    }
}

static void nan_passes_through(void **state)
{
    static const double x[6] = {1, NAN, INFINITY, -INFINITY, 5, 6}, b[3] = {1, 2, -INFINITY};
    rig_case c = make((kl_shape){2, {2, 3}});
    (void)state;
    c.in[0].fill = c.in[1].fill = RIG_DATA;
    c.in[0].data = x;
    c.in[1].data = b;
    rig_run(&c);
}

static void gradient_agrees_with_differences(void **state)
{
    rig_case c = make((kl_shape){4, {2, 3, 2, 4}});
    (void)state;
    c.in[0].fill = c.in[1].fill = RIG_NORMAL;
    c.in[0].hi = c.in[1].hi = 1;
    rig_grad(&c);
    c.in[0].shape = (kl_shape){2, {5, 3}};
    rig_grad(&c);
}

static void wrong_length_is_named(void **state)
{
    rig_case c = make((kl_shape){4, {2, 3, 2, 4}});
    (void)state;
    c.in[1].shape.dim[0] = 4;
    rig_refused(&c, "bias [4] does not fit input [2,3,2,4]");
}

static void all_variants_ran(void **state)
{
    (void)state;
    assert_true(rig_ran("bias", "ref") > 0);
    assert_true(rig_ran("bias", "solo") > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_exact),       cmocka_unit_test(nan_passes_through),
        cmocka_unit_test(gradient_agrees_with_differences), cmocka_unit_test(wrong_length_is_named),
        cmocka_unit_test(all_variants_ran),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
