/* cast from every storage type, and the count of elements. */
#include "rig.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void cast_reference(const kl__apply *a, const double *const *in, double *const *out)
{
    const kl_scale_opts *o = a->attrs;
    int64_t n = kl_shape_count(a->out[0]->desc.shape);
    for (int64_t i = 0; i < n; i++)
        out[0][i] = (double)o->scale * in[0][i] + (double)o->shift;
}

static void every_type_is_cast(void **state)
{
    (void)state;
    static const kl_dtype types[] = {KL_U8, KL_I32, KL_F16, KL_F32};
    static const kl_scale_opts one = {.scale = 1}, affine = {.scale = 1.0f / 255, .shift = -0.5f};
    static const int counts[] = {1, 15, 16, 33, 20011};
    for (size_t t = 0; t < 4; t++)
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
            rig_case c = {.name = kl_dtype_name(types[t]),
                          .op = &kl__op_cast,
                          .n_in = 1,
                          .ref = cast_reference};
            c.in[0] = (rig_input){.dtype = types[t],
                                  .shape = {1, {counts[i]}},
                                  .fill = RIG_INTEGER,
                                  .lo = 0,
                                  .hi = 255};
            c.attrs = &one;
            c.tol = (rig_tol){RIG_EXACT, 0};
            rig_run(&c);
            c.attrs = &affine;
            c.tol = (rig_tol){RIG_ULP, 1};
            rig_run(&c);
        }
}

static void fractions_and_signs_of_f16_and_i32(void **state)
{
    (void)state;
    static const kl_scale_opts one = {.scale = 1};
    static const double f16[] = {0.333251953125, -65504, 6.103515625e-05, HUGE_VAL, NAN, -1.5};
    static const double i32[] = {-2147483648.0, -1, 0, 16777216, 1 << 30, -16777215};
    rig_case c = {
        .name = "f16", .op = &kl__op_cast, .n_in = 1, .ref = cast_reference, .attrs = &one};
    c.in[0] = (rig_input){.dtype = KL_F16, .shape = {1, {6}}, .fill = RIG_DATA, .data = f16};
    rig_run(&c);
    c.name = "i32";
    c.in[0].dtype = KL_I32;
    c.in[0].data = i32;
    rig_run(&c);
}

static void gradient_of_f32(void **state)
{
    (void)state;
    static const kl_scale_opts affine = {.scale = 0.25f, .shift = 3};
    rig_case c = {
        .name = "cast", .op = &kl__op_cast, .n_in = 1, .ref = cast_reference, .attrs = &affine};
    c.in[0] = (rig_input){.shape = {1, {9}}, .fill = RIG_NORMAL};
    rig_grad(&c);
}

static void elements_reference(const kl__apply *a, const double *const *in, double *const *out)
{
    (void)in;
    out[0][0] = (double)kl_shape_count(a->in[0]->desc.shape);
}

static void elements_are_counted(void **state)
{
    (void)state;
    static const kl_shape shapes[] = {{0, {0}}, {2, {7, 11}}, {3, {4, 0, 3}}};
    for (int i = 0; i < 3; i++) {
        rig_case c = {
            .name = "elements", .op = &kl__op_elements, .n_in = 1, .ref = elements_reference};
        c.in[0] = (rig_input){.shape = shapes[i], .fill = RIG_NORMAL};
        rig_run(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_is_cast),
        cmocka_unit_test(fractions_and_signs_of_f16_and_i32),
        cmocka_unit_test(gradient_of_f32),
        cmocka_unit_test(elements_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
