/* Fusion: which applies become one, which must not, and that the numbers stay. Folding: constants
 * are computed once. */
#include "base/rng.h"
#include "graph/graph.h"
#include "ops/eltwise.h"
#include "sched/plan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static kl_ctx *ctx;

static int open_context(void **state)
{
    (void)state;
    ctx = kl_ctx_create(NULL);
    if (!ctx)
        print_message("no context: %s\n", kl_last_error());
    return ctx ? 0 : -1;
}

static int close_context(void **state)
{
    (void)state;
    kl_ctx_destroy(ctx);
    return 0;
}

static kl_graph *parsed(const char *text)
{
    kl_graph *g = kl_graph_parse(text, "net");
    if (!g)
        fail_msg("%s", kl_last_error());
    return g;
}

static int count(const kl_graph *g, const char *op)
{
    int n = 0;
    for (size_t i = 0; i < g->n_applies; i++)
        n += !strcmp(g->applies[i]->op->name, op);
    return n;
}

static void well_formed(const kl_graph *g)
{
    for (size_t i = 0; i < g->n_applies; i++) {
        const kl__apply *a = g->applies[i];
        assert_int_equal(a->id, i);
        for (int k = 0; k < a->n_in; k++) {
            assert_true(a->in[k]->by->id < i);
            assert_ptr_equal(g->nodes[a->in[k]->id], a->in[k]);
        }
        for (int k = 0; k < a->n_out; k++) {
            assert_ptr_equal(a->out[k]->by, a);
            assert_ptr_equal(g->nodes[a->out[k]->id], a->out[k]);
        }
    }
}

/** Fuses; the graph then has `fused` fused applies and `left` others that are no leaves. */
static void fuses_to(kl_graph *g, int fused, int left)
{
    int n = 0;
    if (kl__graph_fuse(g) != KL_OK)
        fail_msg("%s", kl_last_error());
    well_formed(g);
    for (size_t i = 0; i < g->n_applies; i++)
        n += !(g->applies[i]->op->flags & KL__OP_LEAF) &&
             strcmp(g->applies[i]->op->name, "fused") != 0;
    if (count(g, "fused") != fused || n != left) {
        char *s = kl_graph_print(g);
        fail_msg("%d fused and %d others instead of %d and %d:\n%s", count(g, "fused"), n, fused,
                 left, s);
    }
}

static void expect(const char *text, int fused, int left)
{
    kl_graph *g = parsed(text);
    fuses_to(g, fused, left);
    kl_graph_destroy(g);
}

#define X "x = input(shape=[2,3,4,5])\nz = input(shape=[2,3,4,5])\nc = input(shape=[3,1,1])\n"

static void chains_become_one(void **state)
{
    kl_graph *g =
        parsed(X "a = relu(x)\nb = mul(a, z)\nd = add(b, c)\ne = sigmoid(d)\noutput y = e\n");
    (void)state;
    kl_node *e = kl_graph_find(g, "e");
    fuses_to(g, 1, 0);
    assert_ptr_equal(kl_graph_output(g, "y"), e); /* the value stays, with its name */
    assert_ptr_equal(kl_graph_find(g, "e"), e);
    assert_string_equal(e->by->name, "e");
    assert_int_equal(e->by->n_in, 3);
    assert_null(kl_graph_find(g, "b"));
    kl_graph_destroy(g);
}

static void diamonds_become_one(void **state)
{
    (void)state;
    expect(X "a = exp(x)\nb = neg(a)\nd = abs(a)\ne = mul(b, d)\nf = add(e, a)\noutput y = f\n", 1,
           0);
}

static void a_value_that_others_read_is_stored(void **state)
{
    (void)state;
    expect(X "a = relu(x)\nb = neg(a)\noutput y = b\noutput a = a\n", 0, 2);
    expect(X "a = relu(x)\nb = neg(a)\nr = reduce_sum(a)\noutput y = b\noutput r = r\n", 0, 3);
    expect(X "a = relu(x)\nb = neg(a)\nd = abs(b)\nr = reduce_sum(b)\noutput y = d\noutput r = r\n",
           1, 2);
    /* dead ends count as readers: pruning comes first */
    expect(X "a = relu(x)\nb = neg(a)\nd = abs(a)\noutput y = b\n", 0, 3);
}

static void single_ops_stay_themselves(void **state)
{
    (void)state;
    expect(X "a = relu(x)\nr = reduce_sum(a)\nb = neg(r)\noutput y = b\n", 0, 3);
}

/** A smaller value between would be computed again for each element. */
static void smaller_values_are_computed_once(void **state)
{
    (void)state;
    expect(X "a = exp(c)\nb = mul(a, x)\noutput y = b\n", 0, 2);
    expect(X "a = exp(c)\nd = neg(a)\nb = mul(d, x)\ne = relu(b)\noutput y = e\n", 2, 0);
}

static void limits_split_sets(void **state)
{
    char text[4096];
    size_t at = 0;
    (void)state;
    for (int i = 0; i < 20; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "x%d = input(shape=[4])\n", i);
    at += (size_t)snprintf(text + at, sizeof text - at, "s0 = relu(x0)\n");
    for (int i = 1; i < 20; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "s%d = add(s%d, x%d)\n", i, i - 1, i);
    snprintf(text + at, sizeof text - at, "output y = s19\n");
    kl_graph *g = parsed(text);
    assert_int_equal(kl__graph_fuse(g), KL_OK);
    well_formed(g);
    assert_in_range(count(g, "fused"), 2, 4);
    for (size_t i = 0; i < g->n_applies; i++)
        assert_in_range(g->applies[i]->n_in, 0, KL__FUSE_IN);
    kl_graph_destroy(g);
    /* a long chain of one input */
    at = (size_t)snprintf(text, sizeof text, "s0 = input(shape=[4])\n");
    for (int i = 1; i <= 60; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "s%d = neg(s%d)\n", i, i - 1);
    snprintf(text + at, sizeof text - at, "output y = s60\n");
    expect(text, 3, 0);
}

static void a_placed_value_is_stored(void **state)
{
    kl_graph *g = parsed(X "a = relu(x)\nb = neg(a)\nd = abs(b)\noutput y = d\n");
    (void)state;
    kl_graph_find(g, "b")->place.kind = KL__AT_SLOT;
    fuses_to(g, 1, 1);
    assert_int_equal(kl_graph_find(g, "b")->place.kind, KL__AT_SLOT);
    assert_string_equal(kl_graph_find(g, "b")->by->op->name, "fused");
    kl_graph_destroy(g);
}

static void a_state_updates_value_is_stored(void **state)
{
    kl_graph *g = parsed(
        "x = input(shape=[4])\np = param(shape=[4])\na = relu(x)\nb = neg(a)\noutput y = b\n");
    (void)state;
    char attrs[256] = {0};
    assert_true(kl__op_running_update.attrs_bytes <= sizeof attrs);
    assert_int_equal(kl__graph_add_update(g, &kl__op_running_update, attrs, kl_graph_find(g, "p"),
                                          kl_graph_find(g, "a")),
                     KL_OK);
    fuses_to(g, 0, 2);
    kl_graph_destroy(g);
}

/** y = -p is read after p was overwritten: it must be computed before. */
static void reads_do_not_move_past_writes(void **state)
{
    (void)state;
    for (int k = 0; k < 3; k++) {
        kl_graph *g =
            parsed("p = param(shape=[4])\nq = param(shape=[4])\nv = reshape(p, shape=[4])\n");
        kl_node *p = kl_graph_find(g, "p"), *q = kl_graph_find(g, "q");
        kl_node *n = kl_neg(g, k == 1 ? kl_graph_find(g, "v") : p); /* also through a view */
        kl_node *t = kl__apply_new(g, kl__op_find("tree_add"), "t",
                                   (kl_node *[]){k == 2 ? q : p, k == 2 ? p : q}, 2, NULL);
        assert_non_null(t);
        kl_output(g, "y", kl_abs(g, n));
        assert_int_equal(kl__graph_fuse(g), KL_OK);
        assert_int_equal(count(g, "fused"), k == 2); /* p is only read there */
        kl_graph_destroy(g);
    }
}

/* ---- numbers ----------------------------------------------------------------------------- */
static void write_span(kl__span at, const void *src, size_t bytes)
{
    if (bytes && kl__lane_write(kl__ctx_lane(ctx, KL__COMPUTE), at, src, bytes, NULL) != KL_OK)
        fail_msg("%s", kl_last_error());
}

/** Fills inputs and parameters with the same numbers for the same names, and computes all outputs,
 * one after the other. Takes g over; caller frees. */
static float *computed(kl_graph *g, bool fuse, size_t *n)
{
    kl__mem *held[64];
    int n_held = 0;
    for (size_t i = 0; i < g->n_nodes; i++) {
        kl_node *x = g->nodes[i];
        if (!kl__is_input(x) && !kl__is_param(x))
            continue;
        size_t count_ = (size_t)kl_shape_count(x->desc.shape);
        float *v = malloc((count_ + 1) * sizeof *v);
        int32_t *labels = (int32_t *)(void *)v;
        const kl__rng r = kl__rng_of(9, x->name, 0);
        for (size_t k = 0; k < count_; k++)
            if (x->desc.dtype == KL_I32)
                labels[k] = (int32_t)kl__rng_below(r, k, 3);
            else
                v[k] = (float)kl__rng_normal(r, k) * 0.5f;
        assert_true(n_held < 64);
        kl__mem *m = held[n_held++] = kl__mem_create(ctx, count_ * 4);
        x->place = (kl__place){KL__AT_SPAN, {m, 0}, 0};
        write_span(x->place.span, v, count_ * 4);
        free(v);
    }
    kl__plan *p = kl__plan_create(ctx, g, &(kl__plan_opts){.no_fuse = !fuse});
    if (!p || kl__plan_run(p, kl__ctx_lane(ctx, KL__COMPUTE)) != KL_OK)
        fail_msg("%s", kl_last_error());
    float *v = NULL;
    *n = 0;
    for (size_t i = 0; i < p->graph->n_outputs; i++) {
        const kl_node *y = p->graph->outputs[i].node;
        size_t m = (size_t)kl_shape_count(y->desc.shape);
        v = realloc(v, (*n + m + 1) * sizeof *v);
        if (kl__lane_read(kl__ctx_lane(ctx, KL__COMPUTE), y->place.span, v + *n, m * sizeof *v,
                          NULL) != KL_OK)
            fail_msg("%s", kl_last_error());
        *n += m;
    }
    kl__plan_destroy(p);
    while (n_held > 0)
        kl__mem_release(held[--n_held]);
    return v;
}

/** The largest of them. */
static double same_numbers(kl_graph *apart, kl_graph *together)
{
    size_t n, m;
    float *a = computed(apart, false, &n), *b = computed(together, true, &m);
    double most = 0;
    assert_int_equal(n, m);
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)a[i]));
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)a[i] - (double)b[i]) <= 2e-6 * most) && !(isnan(a[i]) && isnan(b[i])))
            fail_msg("element %zu: %.9g apart, %.9g fused", i, (double)a[i], (double)b[i]);
    free(a);
    free(b);
    return most;
}

static kl__rng rng;
static uint64_t draws;

static int below(int n)
{
    return (int)kl__rng_below(rng, draws++, (uint32_t)n);
}

/** Random element-wise graph; values stay within a few units, so that rounding can be compared. */
static kl_graph *random_graph(uint64_t seed)
{
    static const kl_shape shapes[] = {
        {4, {2, 3, 4, 37}}, {3, {3, 1, 1}}, {1, {37}}, {4, {2, 1, 4, 1}}, {0, {0}}};
    kl_graph *g = kl_graph_create();
    kl_node *v[64];
    int n = 0, n_out = 0;
    rng = kl__rng_of(seed, "fuse", 0);
    draws = 0;
    for (; n < 6; n++) {
        char name[8];
        snprintf(name, sizeof name, "x%d", n);
        v[n] = kl_input(g, name, KL_F32, shapes[n < 2 ? 0 : n - 1]);
    }
    while (n < 40) {
        kl_node *a = v[below(3) ? n - 1 - below(4) : below(n)], *b = v[below(n)];
        switch (below(9)) {
        case 0:
            v[n] = kl_relu(g, a);
            break;
        case 1:
            v[n] = kl_tanh(g, kl_add(g, a, b));
            break;
        case 2:
            v[n] = kl_sigmoid(g, a);
            break;
        case 3:
            v[n] = kl_scale(g, a, &(kl_scale_opts){.scale = -0.75f, .shift = 0.125f});
            break;
        case 4:
            v[n] = kl_tanh(g, kl_mul(g, a, b));
            break;
        case 5:
            v[n] = kl_sub(g, kl_sigmoid(g, a), kl_sigmoid(g, b));
            break;
        case 6:
            v[n] = kl_leaky_relu(g, a, &(kl_slope_opts){.slope = 0.2f});
            break;
        case 7:
            v[n] = kl_abs(g, a);
            break;
        default:
            v[n] = kl_softplus(g, kl_neg(g, kl_tanh(g, a)));
        }
        n++;
    }
    for (int i = 0; i < 3; i++) {
        char name[8];
        snprintf(name, sizeof name, "y%d", n_out++);
        kl_output(g, name, i == 0 ? v[n - 1] : v[6 + below(n - 6)]);
    }
    assert_int_equal(kl__graph_prune(g), KL_OK);
    return g;
}

static void random_graphs_give_the_same_numbers(void **state)
{
    int fused = 0;
    double sum = 0;
    (void)state;
    for (uint64_t seed = 0; seed < 8; seed++) {
        kl_graph *g = random_graph(seed);
        assert_int_equal(kl__graph_fuse(g), KL_OK);
        well_formed(g);
        fused += count(g, "fused");
        kl_graph_destroy(g);
        sum += same_numbers(random_graph(seed), random_graph(seed));
    }
    assert_true(fused > 16 && sum > 1);
}

static kl_graph *training_step(const char *gradient_of)
{
    kl_graph *g = parsed(
        "image = input(shape=[N,3,10,10])\nlabel = input(shape=[N], dtype=i32)\n"
        "c1 = conv2d(image, filters=20, kernel=3, pad=same)\nb1 = batchnorm(c1)\nr1 = relu(b1)\n"
        "c2 = conv2d(r1, filters=20, kernel=3, pad=same)\nb2 = batchnorm(c2)\ns = add(b2, r1)\n"
        "r2 = elu(s)\nt = scale(r2, scale=0.5, shift=0.1)\np = maxpool2d(t, window=2)\n"
        "fc = dense(p, units=3)\nl = softmax_xent(fc, label)\noutput loss = l\n");
    kl_graph *low = kl__graph_lower(g, 4, true, KL_F32, NULL, 0);
    static const float one = 1;
    kl_node *w = kl_graph_find(low, gradient_of), *dx = NULL;
    kl_node *seed = kl_constant(low, "one", KL_F32, (kl_shape){0, {0}}, &one);
    low->n_updates = 0;
    if (kl__graph_grad(low, kl_graph_output(low, "loss"), seed, &w, 1, &dx) != KL_OK)
        fail_msg("%s", kl_last_error());
    kl_output(low, "d", dx);
    assert_int_equal(kl__graph_prune(low), KL_OK);
    kl_graph_destroy(g);
    return low;
}

static void a_training_step_gives_the_same_numbers(void **state)
{
    (void)state;
    kl_graph *g = training_step("c1.weight");
    assert_int_equal(kl__graph_fuse(g), KL_OK);
    assert_true(count(g, "fused") >= 2);
    kl_graph_destroy(g);
    assert_true(same_numbers(training_step("c1.weight"), training_step("c1.weight")) > 0);
    assert_true(same_numbers(training_step("b2.bias"), training_step("b2.bias")) > 0);
}

/* ---- folding ----------------------------------------------------------------------------- */
static void constants_are_computed_once(void **state)
{
    kl_graph *g = parsed("x = input(shape=[2,2])\na = constant(shape=[2,2], data=[1,2,3,4])\nb = "
                         "constant(shape=[2], data=[10,20])\n"
                         "s = add(a, b)\nv = reshape(s, shape=[4])\nq = square(v)\nr = "
                         "reduce_sum(q)\nm = matmul(a, s)\n"
                         "y = mul(m, x)\nz = mul(y, r)\noutput z = z\noutput q = q\n");
    static const float square[] = {121, 484, 169, 576}, product[] = {37, 70, 85, 162};
    (void)state;
    if (kl__graph_fold(g, ctx) != KL_OK)
        fail_msg("%s", kl_last_error());
    well_formed(g);
    assert_int_equal(count(g, "constant"), 3); /* m, r, q */
    assert_int_equal(count(g, "mul"), 2);
    assert_int_equal(g->n_applies, 6);
    assert_true(kl__is_constant(kl_graph_find(g, "q")));
    assert_memory_equal(kl__leaf_of(kl_graph_find(g, "q"))->data, square, sizeof square);
    assert_memory_equal(kl__leaf_of(kl_graph_find(g, "m"))->data, product, sizeof product);
    assert_true(*(const float *)kl__leaf_of(kl_graph_find(g, "r"))->data == 1350);
    for (size_t i = 0; i < g->n_nodes; i++)
        assert_int_equal(g->nodes[i]->place.kind, KL__NOWHERE);
    size_t n;
    float *z = computed(g, true, &n);
    assert_int_equal(n, 8);
    assert_true(z[4] == 121 && z[7] == 576);
    free(z);
}

static void what_changes_is_not_folded(void **state)
{
    kl_graph *g = parsed(
        "a = constant(shape=[2,2], data=[1,2,3,4])\np = param(shape=[2,2])\nx = "
        "input(shape=[2,2])\n"
        "d = dropout(a)\ns = add(a, p)\nt = add(a, x)\noutput d = d\noutput s = s\noutput t = t\n");
    (void)state;
    kl_graph *low = kl__graph_lower(g, 2, true, KL_F32, NULL, 0);
    size_t before = low->n_applies;
    assert_int_equal(kl__graph_fold(low, ctx), KL_OK);
    assert_int_equal(low->n_applies, before);
    assert_int_equal(count(low, "constant"), 1);
    kl_graph_destroy(low);
    kl_graph_destroy(g);
}

static void large_values_are_not_folded(void **state)
{
    static float data[600];
    kl_graph *g = kl_graph_create();
    kl_node *a = kl_constant(g, "a", KL_F32, (kl_shape){2, {600, 1}}, data);
    kl_node *b = kl_constant(g, "b", KL_F32, (kl_shape){1, {600}}, data);
    (void)state;
    kl_output(g, "y", kl_add(g, a, b)); /* 1.4 MB */
    assert_int_equal(kl__graph_fold(g, ctx), KL_OK);
    assert_int_equal(count(g, "add"), 1);
    kl_graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chains_become_one),
        cmocka_unit_test(diamonds_become_one),
        cmocka_unit_test(a_value_that_others_read_is_stored),
        cmocka_unit_test(single_ops_stay_themselves),
        cmocka_unit_test(smaller_values_are_computed_once),
        cmocka_unit_test(limits_split_sets),
        cmocka_unit_test(a_placed_value_is_stored),
        cmocka_unit_test(a_state_updates_value_is_stored),
        cmocka_unit_test(reads_do_not_move_past_writes),
        cmocka_unit_test(random_graphs_give_the_same_numbers),
        cmocka_unit_test(a_training_step_gives_the_same_numbers),
        cmocka_unit_test(constants_are_computed_once),
        cmocka_unit_test(what_changes_is_not_folded),
        cmocka_unit_test(large_values_are_not_folded),
    };
    return cmocka_run_group_tests(tests, open_context, close_context);
}
