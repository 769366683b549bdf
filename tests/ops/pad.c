/* Padding and cutting: constant, reflect, edge. */
#include "rig.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static int64_t place(int64_t i, int64_t d, kl_pad_fill fill)
{
    if (i >= 0 && i < d)
        return i;
    if (fill == KL_FILL_CONSTANT)
        return -1;
    if (fill == KL_FILL_EDGE)
        return i < 0 ? 0 : d - 1;
    return i < 0 ? -i : 2 * d - 2 - i;
}

static void ref(const kl__apply *a, const double *const *in, double *const *out)
{
    const kl_pad_opts *o = a->attrs;
    kl_shape x = a->in[0]->desc.shape, y = a->out[0]->desc.shape;
    for (int64_t i = 0; i < kl_shape_count(y); i++) {
        int64_t rest = i, at = 0, stride = 1;
        bool inside = true;
        for (int k = y.n_dims - 1; k >= 0; k--) {
            int64_t p = place(rest % y.dim[k] - o->before[k], x.dim[k], o->fill);
            rest /= y.dim[k];
            inside = inside && p >= 0;
            at += p * stride;
            stride *= x.dim[k];
        }
        out[0][i] = inside ? in[0][at] : (double)o->value;
    }
}

/* Gradient of one axis: the transpose of the map. */
typedef struct bwd_opts {
    int axis, before, size;
    kl_pad_fill fill;
} bwd_opts;

static void bwd_ref(const kl__apply *a, const double *const *in, double *const *out)
{
    const bwd_opts *o = a->attrs;
    kl_shape dy = a->in[0]->desc.shape;
    int64_t inner = 1, n = dy.dim[o->axis];
    for (int i = o->axis + 1; i < dy.n_dims; i++)
        inner *= dy.dim[i];
    for (int64_t i = 0; i < kl_shape_count(dy); i++)
        out[0]
           [(i / inner / n * o->size + place(i / inner % n - o->before, o->size, o->fill)) * inner +
            i % inner] += in[0][i];
}

static const struct {
    kl_shape x;
    kl_pad_opts o;
} cases[] = {
    {{4, {2, 3, 5, 7}}, {.before = {0, 0, 1, 2}, .after = {0, 0, 3, 1}, .value = 1.5f}},
    {{4, {2, 3, 5, 7}}, {.before = {0, 1, 0, 0}, .after = {0, 2, 0, 0}}},
    {{4, {2, 3, 6, 40}}, {.before = {0, 0, -1, 3}, .after = {0, 0, 2, -5}, .value = -2}},
    {{2, {4, 37}}, {.before = {1, -3}, .after = {-2, 40}, .value = 3}},
    {{1, {3}}, {.before = {-3}, .after = {5}, .value = 9}},
    {{4, {2, 3, 5, 37}}, {.before = {0, 0, 2, 3}, .after = {0, 0, 4, 1}, .fill = KL_FILL_REFLECT}},
    {{4, {2, 3, 5, 37}}, {.before = {0, 0, 2, 3}, .after = {0, 0, 9, 40}, .fill = KL_FILL_EDGE}},
    {{3, {3, 4, 20}}, {.before = {1, 0, -2}, .after = {1, 0, 3}, .fill = KL_FILL_REFLECT}},
    {{6, {2, 2, 3, 2, 3, 2}},
     {.before = {1, 0, 1, 0, 2, 1}, .after = {0, 1, 0, 1, 0, 1}, .fill = KL_FILL_EDGE}},
    {{6, {2, 2, 3, 2, 3, 2}},
     {.before = {1, 1, 1, 1, 1, 1}, .after = {1, 2, 1, 2, 1, 2}, .value = 7}},
    {{4, {1, 3, 64, 64}}, {.before = {0, 0, 3, 3}, .after = {0, 0, 3, 3}}},
    {{2, {3, 4}}, {.value = 1}},
};
enum { N_CASES = sizeof cases / sizeof *cases };

static void test_forward(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        rig_case c = {.name = "pad",
                      .op = &kl__op_pad,
                      .attrs = &cases[i].o,
                      .n_in = 1,
                      .ref = ref,
                      .in = {{KL_F32, cases[i].x, RIG_NORMAL, 0, 0, NULL, false}}};
        rig_run(&c);
    }
}

static void test_every_dtype(void **state)
{
    (void)state;
    static const kl_dtype dtypes[] = {KL_F64, KL_I32, KL_U8, KL_F16};
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < N_CASES;
             k += 3) { /* values that every dtype holds, halves in f16 and f64 */
            kl_pad_opts o = cases[k].o;
            if (dtypes[i] == KL_I32 || dtypes[i] == KL_U8)
                o.value = 5;
            rig_case c = {.name = kl_dtype_name(dtypes[i]),
                          .op = &kl__op_pad,
                          .attrs = &o,
                          .n_in = 1,
                          .ref = ref,
                          .in = {{dtypes[i], cases[k].x, RIG_INTEGER, 0, 200, NULL, false}}};
            rig_run(&c);
        }
}

static void test_minus_infinity(void **state)
{
    (void)state;
    kl_pad_opts o = cases[0].o;
    o.value = -INFINITY;
    rig_case c = {.name = "pad -inf",
                  .op = &kl__op_pad,
                  .attrs = &o,
                  .n_in = 1,
                  .ref = ref,
                  .in = {{KL_F32, cases[0].x, RIG_NORMAL, 0, 0, NULL, false}}};
    rig_run(&c);
}

static void test_backward(void **state)
{
    (void)state;
    static const struct {
        kl_shape dy;
        bwd_opts o;
    } b[] = {
        {{3, {2, 9, 5}}, {1, 2, 5, KL_FILL_REFLECT}}, {{3, {2, 9, 5}}, {1, 3, 4, KL_FILL_EDGE}},
        {{2, {3, 13}}, {1, 4, 5, KL_FILL_REFLECT}},   {{2, {3, 20}}, {1, 4, 1, KL_FILL_EDGE}},
        {{2, {6, 7}}, {0, -2, 6, KL_FILL_REFLECT}},   {{2, {6, 7}}, {0, -2, 6, KL_FILL_EDGE}},
        {{2, {3, 2}}, {0, 1, 2, KL_FILL_REFLECT}},
    };
    for (size_t i = 0; i < sizeof b / sizeof *b; i++) {
        rig_case c = {.name = "pad backward",
                      .op = &kl__op_pad_bwd,
                      .attrs = &b[i].o,
                      .n_in = 1,
                      .ref = bwd_ref,
                      .in = {{KL_F32, b[i].dy, RIG_INTEGER, -9, 9, NULL, false}}};
        rig_run(&c);
    }
}

static void test_gradients(void **state)
{
    (void)state;
    static const int which[] = {0, 3, 5, 6, 7, 8};
    for (size_t i = 0; i < sizeof which / sizeof *which; i++) {
        rig_case c = {.name = "pad",
                      .op = &kl__op_pad,
                      .attrs = &cases[which[i]].o,
                      .n_in = 1,
                      .in = {{KL_F32, cases[which[i]].x, RIG_NORMAL, 0, 0, NULL, false}}};
        rig_grad(&c);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    kl_pad_opts o = {.before = {0, 3}, .fill = KL_FILL_REFLECT};
    rig_case c = {.name = "refused",
                  .op = &kl__op_pad,
                  .attrs = &o,
                  .n_in = 1,
                  .in = {{KL_F32, {2, {2, 3}}, RIG_NORMAL, 0, 0, NULL, false}}};
    rig_refused(&c, "axis 1 of input [2,3] has too few elements to reflect 3 and 0");
    o = (kl_pad_opts){.before = {0, -2}, .after = {0, -2}};
    rig_refused(&c, "cut more than axis 1 of input [2,3] has");
    o = (kl_pad_opts){.after = {0, 0, 1}};
    rig_refused(&c, "for axis 2");
    o = (kl_pad_opts){.after = {1}};
    c.in[0].shape.dim[0] = KL_BATCH;
    rig_refused(&c, "axis 0 is the batch");
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "x", KL_F32, kl__shape4(KL_BATCH, 1, 2, 3));
    x = kl_pad_nd(g, x, &(kl_pad_opts){.before = {0, 0, 1, 1}, .after = {0, 0, 1, -1}});
    assert_true(kl_shape_equal(kl_node_shape(x), kl__shape4(KL_BATCH, 1, 4, 3)));
    kl_graph_destroy(g);
}

static void test_fast_variants_ran(void **state)
{
    (void)state;
    kl_ctx *ctx = kl_ctx_create(NULL);
    assert_non_null(ctx);
    if (kl__ctx_caps(ctx)->solo) {
        assert_true(rig_ran("pad", "solo") > 0);
    }
    kl_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward),           cmocka_unit_test(test_every_dtype),
        cmocka_unit_test(test_minus_infinity),    cmocka_unit_test(test_backward),
        cmocka_unit_test(test_gradients),         cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_fast_variants_ran),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
