/* Fusion: a set of element-wise applies as one gives the bits that its parts give one by one. */
#include "rig.h"

#include "base/mem.h"
#include "ops/eltwise.h"
#include "sched/plan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { MAX_IN = 4, MAX_SET = 40 };
static kl_ctx *ctx;

/** A network of element-wise ops over at most MAX_IN inputs. */
typedef kl_node *net_fn(kl_graph *g, kl_node *const *x);
typedef struct net {
    net_fn *build;
    int n_in;
    kl_shape in[MAX_IN];
} net;

static void make_inputs(kl_graph *g, const net *n, kl_node **x)
{
    for (int i = 0; i < n->n_in; i++) {
        char name[16];
        snprintf(name, sizeof name, "in%d", i);
        x[i] = kl_input(g, name, g->real, n->in[i]);
    }
}

/** The set of all element-wise applies of a graph. */
static int whole_set(kl_graph *g, kl__apply **set)
{
    int n = 0;
    for (size_t i = 0; i < g->n_applies; i++)
        if (g->applies[i]->op->flags & KL__OP_ELEMENTWISE && n < MAX_SET)
            set[n++] = g->applies[i];
    return n;
}

/** Runs g, whose output is y; fresh memory. Inputs get the same numbers every time. */
static void *run(kl_graph *g, kl_node *y, const char *force, size_t *bytes)
{
    kl__mem *mem[MAX_IN] = {NULL};
    kl__lane *lane = kl__ctx_lane(ctx, KL__COMPUTE);
    kl_output(g, "y", y);
    assert_int_equal(kl_graph_check(g), KL_OK);
    for (int i = 0; i < MAX_IN; i++) {
        char name[16];
        snprintf(name, sizeof name, "in%d", i);
        kl_node *x = kl_graph_find(g, name);
        if (!x)
            continue;
        size_t n = (size_t)kl_shape_count(x->desc.shape), size = kl_dtype_size(x->desc.dtype);
        double *v = malloc(n * sizeof *v), *raw = malloc(n * sizeof *raw);
        for (size_t k = 0; k < n; k++)
            v[k] = sin((double)k * 1.7 + i) * 2;
        kl__convert(raw, x->desc.dtype, v, KL_F64, n);
        mem[i] = kl__mem_create(ctx, n * size);
        assert_non_null(mem[i]);
        assert_int_equal(kl__lane_write(lane, (kl__span){mem[i], 0}, raw, n * size, NULL), KL_OK);
        x->place = (kl__place){KL__AT_SPAN, {mem[i], 0}, 0};
        free(v);
        free(raw);
    }
    kl__plan *p = kl__plan_create(ctx, g, &(kl__plan_opts){.force = force, .no_fuse = true});
    if (!p)
        fail_msg("%s", kl_last_error());
    assert_int_equal(kl__plan_run(p, lane), KL_OK);
    y = kl_graph_output(p->graph, "y");
    assert_true(kl__desc_bytes(&y->desc, bytes));
    void *out = malloc(*bytes);
    assert_int_equal(kl__lane_read(lane, y->place.span, out, *bytes, NULL), KL_OK);
    kl__plan_destroy(p);
    for (int i = 0; i < MAX_IN; i++)
        kl__mem_release(mem[i]);
    return out;
}

static kl_graph *graph_of(const net *n, kl_dtype real, kl_node **x, kl_node **y)
{
    kl_graph *g = kl_graph_create();
    assert_non_null(g);
    g->real = real;
    make_inputs(g, n, x);
    *y = n->build(g, x);
    assert_int_equal(kl_graph_check(g), KL_OK);
    return g;
}

/** A graph with only the inputs and one fused apply of the whole net. */
static kl_graph *fused_graph(const net *n, kl_dtype real, kl_node **y)
{
    kl__apply *set[MAX_SET];
    kl_node *x[MAX_IN], *to_x[MAX_IN], *from[KL__FUSE_IN], *in[KL__FUSE_IN], *old_y;
    kl_graph *g = graph_of(n, real, x, &old_y), *to = kl_graph_create();
    to->real = real;
    make_inputs(to, n, to_x);
    int n_set = whole_set(g, set), n_in = kl__fuse_inputs(set, n_set, from);
    assert_true(n_in > 0 && n_in <= n->n_in);
    assert_ptr_equal(set[n_set - 1]->out[0], old_y);
    for (int i = 0; i < n_in; i++)
        in[i] = kl_graph_find(to, from[i]->name);
    *y = kl__fuse(to, "f", set, n_set, in);
    assert_int_equal(kl_graph_check(to), KL_OK);
    assert_true(kl_shape_equal((*y)->desc.shape, old_y->desc.shape));
    kl_graph_destroy(g);
    return to;
}

static void same_bits(const net *n)
{
    static const char *const force[] = {"*:solo", "*:ref"};
    for (int i = 0; i < 2; i++) {
        kl_node *x[MAX_IN], *y;
        size_t bytes[2];
        kl_graph *g = graph_of(n, KL_F32, x, &y);
        void *one_by_one = run(g, y, force[i], &bytes[0]);
        g = fused_graph(n, KL_F32, &y);
        void *together = run(g, y, force[i], &bytes[1]);
        assert_true(bytes[0] == bytes[1] && bytes[0] > 0);
        assert_memory_equal(one_by_one, together, bytes[0]);
        free(one_by_one);
        free(together);
    }
}

/* ---- nets ------------------------------------------------------------------------------------ */
/** x b + x, scaled, relu: one that would change by contraction to fma. */
static kl_node *affine(kl_graph *g, kl_node *const *x)
{
    kl_node *t = kl_add(g, kl_mul(g, x[0], x[1]), x[0]);
    return kl_relu(g, kl_scale(g, t, &(kl_scale_opts){.scale = 1.1f, .shift = -0.1f}));
}

/** A value that is used three times, and formulas with temporaries of their own. */
static kl_node *tangled(kl_graph *g, kl_node *const *x)
{
    kl_node *e = kl_exp(g, x[0]), *in[2] = {e, x[1]};
    kl_slope_opts beta = {.slope = 0.75f};
    kl_loss_opts delta = {.delta = 0.5f};
    kl_node *s = kl__apply_new(g, &kl__op_swish_bwd, NULL, in, 2, &beta);
    kl_node *h = kl__apply_new(g, &kl__op_huber_error, NULL, &s, 1, &delta);
    kl_node *u = kl_sub(g, kl_mul(g, e, e), kl_div(g, h, kl_add(g, kl_square(g, x[2]), e)));
    return kl_sub(g, kl_softplus(g, u), kl_mul(g, kl_mul(g, x[1], x[1]), x[2]));
}

/** Smaller values meet the large one late: [3,1,1] and [] are combined first. */
static kl_node *late_broadcast(kl_graph *g, kl_node *const *x)
{
    kl_node *bias = kl_tanh(g, kl_mul(g, x[1], x[2]));
    return kl_leaky_relu(g, kl_add(g, x[0], bias), NULL);
}

static const net nets[] = {
    {affine, 2, {{4, {2, 3, 5, 7}}, {3, {3, 1, 1}}}},
    {affine, 2, {{2, {37, 19}}, {2, {37, 1}}}},
    {tangled, 3, {{2, {33, 35}}, {1, {35}}, {0, {0}}}},
    {late_broadcast, 3, {{4, {2, 3, 9, 4}}, {3, {3, 1, 1}}, {0, {0}}}},
};

static void fused_bits_are_those_of_the_parts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++)
        same_bits(&nets[i]);
}

static void fused_kernels_compute_in_double_too(void **state)
{
    (void)state;
    if (!kl__ctx_caps(ctx)->fp64)
        skip();
    kl_node *y, *x[MAX_IN];
    size_t bytes;
    kl_graph *g = fused_graph(&nets[2], KL_F64, &y);
    double *together = run(g, y, "*:ref", &bytes);
    g = graph_of(&nets[2], KL_F64, x, &y);
    double *parts = run(g, y, "*:ref", &bytes);
    for (size_t i = 0; i < bytes / sizeof *parts; i++)
        assert_true(fabs(together[i] - parts[i]) <= 1e-14 * fabs(parts[i]) &&
                    parts[i] != (double)(float)parts[i]);
    free(together);
    free(parts);
}

static const char *formula_of(const kl_node *y)
{
    return kl__formula(y->by);
}

static int count(const char *text, const char *part)
{
    int n = 0;
    for (; (text = strstr(text, part)); text++)
        n++;
    return n;
}

static void each_formula_is_evaluated_once(void **state)
{
    (void)state;
    kl_node *y;
    kl_graph *g = fused_graph(&nets[2], KL_F32, &y);
    assert_int_equal(count(formula_of(y), "exp(x0)"), 1);
    assert_int_equal(y->by->n_in, 3);
    kl_graph_destroy(g);
}

static void what_is_fused_can_be_fused_again(void **state)
{
    (void)state;
    kl_node *y, *x[MAX_IN];
    size_t bytes[2];
    const net *n = &nets[2];
    kl_graph *g = fused_graph(n, KL_F32, &y), *to = kl_graph_create();
    kl_node *more = kl_swish(g, kl_mul(g, y, kl_graph_find(g, "in0")), NULL);
    kl__apply *set[MAX_SET];
    kl_node *from[KL__FUSE_IN];
    int n_set = whole_set(g, set), n_in = kl__fuse_inputs(set, n_set, from);
    assert_int_equal(n_set, 3);
    assert_int_equal(n_in, 3);
    make_inputs(to, n, x);
    for (int i = 0; i < n_in; i++)
        from[i] = kl_graph_find(to, from[i]->name);
    kl_node *twice = kl__fuse(to, "ff", set, n_set, from);
    void *a = run(to, twice, NULL, &bytes[0]), *b = run(g, more, NULL, &bytes[1]);
    assert_true(bytes[0] == bytes[1]);
    assert_memory_equal(a, b, bytes[0]);
    free(a);
    free(b);
}

static void limits_are_told(void **state)
{
    (void)state;
    kl_graph *g = kl_graph_create();
    kl__apply *set[MAX_SET];
    kl_node *in[KL__FUSE_IN], *x = kl_input(g, "x", KL_F32, (kl_shape){1, {4}}), *y = x;
    for (int i = 0; i < KL__FUSE_IN; i++) {
        char name[16];
        snprintf(name, sizeof name, "b%d", i);
        y = kl_add(g, y, kl_input(g, name, KL_F32, (kl_shape){1, {4}}));
    }
    int n = whole_set(g, set);
    assert_int_equal(kl__fuse_inputs(set, n, in), -1); /* nine inputs */
    assert_int_equal(kl__fuse_inputs(set, n - 1, in), KL__FUSE_IN);
    assert_null(kl__fuse(g, "f", set, n, in));
    assert_int_equal(kl_graph_check(g), KL_E_UNSUPPORTED);
    kl_graph_destroy(g);

    g = kl_graph_create();
    y = kl_input(g, "x", KL_F32, (kl_shape){1, {4}});
    for (int i = 0; i < KL__FUSE_VALUES / 2 + 1; i++) /* two values each */
        y = kl_scale(g, y, &(kl_scale_opts){.shift = 1});
    n = whole_set(g, set);
    assert_int_equal(kl__fuse_inputs(set, n, in), -1);
    assert_int_equal(kl__fuse_inputs(set, n - 1, in), 1);
    kl_graph_destroy(g);
}

/** Eight inputs of rank 6 that alternate, and ten values: the most arguments a kernel can have. */
static void the_largest_kernel_fits(void **state)
{
    (void)state;
    static const kl_shape shapes[] = {{6, {2, 1, 2, 1, 2, 1}}, {6, {1, 2, 1, 2, 1, 3}}};
    kl_graph *g = kl_graph_create();
    kl__mem *mem = kl__mem_create(ctx, 4096);
    kl_node *in[KL__FUSE_IN], *y = NULL;
    for (int i = 0; i < KL__FUSE_IN; i++) {
        char name[16];
        snprintf(name, sizeof name, "b%d", i);
        in[i] = kl_input(g, name, KL_F32, shapes[i % 2]);
        in[i]->place = (kl__place){KL__AT_SPAN, {mem, 0}, 0};
        y = y ? kl_add(g, y, in[i]) : in[i];
        if (i < KL__FUSE_VALUES / 2)
            y = kl_scale(g, y, &(kl_scale_opts){.shift = 1});
    }
    kl__apply *set[MAX_SET];
    int n = whole_set(g, set);
    kl_node *f = kl__fuse(g, "f", set, n, in);
    size_t bytes;
    static const float zeros[1024];
    assert_int_equal(
        kl__lane_write(kl__ctx_lane(ctx, KL__COMPUTE), (kl__span){mem, 0}, zeros, 4096, NULL),
        KL_OK);
    float *v = run(g, f, NULL, &bytes);
    assert_int_equal(bytes, 96 * sizeof *v);
    for (int i = 0; i < 96; i++)
        assert_true(v[i] == KL__FUSE_VALUES / 2);
    free(v);
    kl__mem_release(mem);
}

static int set_up(void **state)
{
    (void)state;
    ctx = kl_ctx_create(NULL);
    return ctx ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    kl_ctx_destroy(ctx);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fused_bits_are_those_of_the_parts),
        cmocka_unit_test(fused_kernels_compute_in_double_too),
        cmocka_unit_test(each_formula_is_evaluated_once),
        cmocka_unit_test(what_is_fused_can_be_fused_again),
        cmocka_unit_test(limits_are_told),
        cmocka_unit_test(the_largest_kernel_fits),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
