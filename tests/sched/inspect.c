/* Looking inside: what ops say of themselves, layers, costs and profiles. */
#include "nets.h"

#include "ops/op.h"

#include <kiln/inspect.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static kl_ctx *ctx;

static int open_ctx(void **state)
{
    (void)state;
    ctx = kl_ctx_create(&(kl_ctx_opts){.flags = KL_CTX_PROFILE});
    return ctx ? 0 : -1;
}

static int close_ctx(void **state)
{
    (void)state;
    kl_ctx_destroy(ctx);
    return 0;
}

static void ok(kl_status st)
{
    if (st != KL_OK)
        fail_msg("%s", kl_last_error());
}

/* ---- ops ---- */
static kl_op_info op_info(const char *name)
{
    kl_op_info o;
    for (size_t i = 0; i < kl_op_list_count(); i++) {
        ok(kl_op_list_at(i, &o));
        if (!strcmp(o.name, name))
            return o;
    }
    fail_msg("no op %s", name);
    return o;
}

static void ops_say_what_they_are(void **state)
{
    (void)state;
    kl_op_info o = op_info("conv2d");
    assert_string_equal(o.attrs, "filters kernel stride dilation groups pad no_bias init");
    assert_non_null(strstr(o.variants, "ref"));
    assert_true(o.differentiable && !o.elementwise && !o.hidden && o.doc[0]);
    o = op_info("relu");
    assert_true(o.differentiable && o.elementwise);
    assert_string_equal(o.attrs, "");
    assert_true(op_info("batchnorm").differentiable);
    assert_true(op_info("conv2d_bwd_data").hidden);
    assert_false(op_info("input").differentiable);
}

/* Every list of words ends where its op's table ends: nothing was cut for want of room. */
static void ops_are_told_in_full(void **state)
{
    (void)state;
    kl_op_info o;
    assert_int_equal(kl_op_list_count(), kl__op_count());
    for (size_t i = 0; i < kl_op_list_count(); i++) {
        ok(kl_op_list_at(i, &o));
        const kl__variant *v = kl__op_variants(kl__op_at(i));
        assert_string_equal(o.name, kl__op_at(i)->name);
        while (v && v->name && v[1].name)
            v++;
        if (v && v->name)
            assert_true(strlen(o.variants) >= strlen(v->name) &&
                        !strcmp(o.variants + strlen(o.variants) - strlen(v->name), v->name));
        for (const kl__attr *t = kl__op_at(i)->attrs; t && t->name; t++)
            if (t->type != KL__ATTR_NAME)
                assert_non_null(strstr(o.attrs, t->name));
    }
    assert_int_equal(kl_op_list_at(kl_op_list_count(), &o), KL_E_ARG);
    assert_int_equal(kl_op_list_at(0, NULL), KL_E_ARG);
}

/* ---- layers ---- */
typedef struct expected {
    const char *name;
    int64_t macs;
    int field[2];
    size_t params, trainable;
} expected;

static void layers_are(const char *text, const expected *want, size_t n_want)
{
    kl_graph *g = kl_graph_parse(text, "net");
    kl_model *m = g ? kl_model_create(g, NULL) : NULL;
    kl_layer_info l[32];
    size_t n;
    if (!m)
        fail_msg("%s", kl_last_error());
    ok(kl_model_layers(m, l, 32, &n));
    assert_int_equal(n, n_want);
    for (size_t i = 0; i < n; i++) {
        const expected *e = &want[i];
        if (strcmp(l[i].name, e->name) || l[i].macs != e->macs ||
            l[i].receptive[0] != e->field[0] || l[i].receptive[1] != e->field[1] ||
            l[i].params != e->params || l[i].trainable != e->trainable)
            fail_msg("layer %s: %lld MACs, field %dx%d, %zu and %zu parameters", l[i].name,
                     (long long)l[i].macs, l[i].receptive[0], l[i].receptive[1], l[i].params,
                     l[i].trainable);
    }
    assert_int_equal(l[0].out.dim[0], KL_BATCH);
    memset(l, 0, sizeof l);
    ok(kl_model_layers(m, l, 1, &n)); /* no more than there is room for, but all are counted */
    assert_int_equal(n, n_want);
    assert_null(l[1].name);
    assert_int_equal(kl_model_layers(m, l, 1, NULL), KL_E_ARG);
    assert_int_equal(kl_model_layers(NULL, l, 1, &n), KL_E_ARG);
    kl_model_destroy(m);
    kl_graph_destroy(g);
}

/* Windows add up along the graph: dilation and strides widen, a transposed convolution narrows the
 * step again. */
static void layers_of_a_chain(void **state)
{
    (void)state;
    const expected want[] = {
        {"c1", 32 * 24 * 8 * 27, {3, 3}, 8 * 27 + 8, 8 * 27 + 8},
        {"r1", 0, {3, 3}, 0, 0},
        {"p1", 0, {4, 4}, 0, 0},
        {"c2", 6 * 5 * 16 * 4 * 9, {4 + 4 * 2, 4 + 2 * 2}, 16 * 4 * 9, 16 * 4 * 9},
        {"b2", 0, {12, 8}, 64, 32},
        {"t1", 6 * 5 * 16 * 4 * 9, {12 + 4, 8 + 4}, 16 * 4 * 9 + 4, 16 * 4 * 9 + 4},
        {"c3", 13 * 11 * 5 * 4 * 9, {16 + 4, 12 + 4}, 5 * 4 * 9 + 5, 5 * 4 * 9 + 5},
        {"ga", 0, {0, 0}, 0, 0},
        {"fc", 50, {0, 0}, 60, 60},
        {"xe", 0, {0, 0}, 0, 0},
    };
    layers_are(
        "x = input(shape=[N,3,32,24])\n"
        "y = input(shape=[N], dtype=i32)\n"
        "c1 = conv2d(x, filters=8, kernel=3, pad=same)\n"
        "r1 = relu(c1)\n"
        "p1 = maxpool2d(r1, window=2)\n"
        "c2 = conv2d(p1, filters=16, kernel=3, stride=2, dilation=[2,1], groups=2, no_bias=true)\n"
        "b2 = batchnorm(c2)\n"
        "t1 = conv2d_transpose(b2, filters=4, kernel=3, stride=2)\n"
        "c3 = conv2d(t1, filters=5, kernel=3, pad=same)\n"
        "ga = global_avgpool(c3)\n"
        "fc = dense(ga, units=10)\n"
        "xe = softmax_xent(fc, y)\n"
        "output loss = xe\n",
        want, sizeof want / sizeof *want);
}

/* Branches: the widest counts. A reshape sees what its input sees, a reduction over the plane all.
 * Shared weights count once. */
static void layers_of_branches(void **state)
{
    (void)state;
    const expected want[] = {
        {"a", 9 * 9 * 2 * 2 * 9, {3, 3}, 36, 36},
        {"b", 9 * 9 * 2 * 2 * 9, {5, 5}, 0, 0},
        {"s", 0, {5, 5}, 0, 0},
        {"p", 0, {7, 6}, 0, 0},
        {"f", 0, {7, 6}, 0, 0},
        {"m", 0, {0, 0}, 0, 0},
        {"o", 0, {5, 5}, 0, 0},
        {"k", 0, {0, 0}, 0, 0},
    };
    layers_are("x = input(shape=[N,2,9,9])\n"
               "w = param(shape=[2,2,3,3], trainable=true)\n"
               "a = conv2d(x, w, pad=same)\n"
               "b = conv2d(a, w, pad=same)\n"
               "s = add(a, b)\n"
               "p = avgpool2d(s, window=[3,2], stride=1)\n"
               "f = flatten(p)\n"
               "m = reduce_mean(p, axes=[2,3], keep_dims=true)\n"
               "o = slice(b, start=1)\n"
               "k = square(w)\n"
               "output f = f\n",
               want, sizeof want / sizeof *want);
}

/* ---- costs and profiles ---- */
static int64_t total_macs(const kl_profile *p)
{
    int64_t sum = 0;
    for (size_t i = 0; i < p->n; i++)
        sum += p->rows[i].macs;
    return sum;
}

static int64_t model_macs(const kl_model *m)
{
    kl_layer_info l[32];
    size_t n;
    int64_t sum = 0;
    ok(kl_model_layers(m, l, 32, &n));
    for (size_t i = 0; i < n; i++)
        sum += l[i].macs;
    return sum;
}

static void check_rows(const kl_profile *p)
{
    double sum = 0;
    size_t bytes = 0, launches = 0;
    assert_true(p->n > 4);
    for (size_t i = 0; i < p->n; i++) {
        const kl_op_time *r = &p->rows[i];
        assert_true(r->seconds >= 0 && r->kernel[0] && r->name[0] && r->launches > 0);
        assert_true(r->op[0] && r->variant[0] && r->bytes > 0 && r->flops >= 2.0 * (double)r->macs);
        sum += r->seconds;
        bytes += r->bytes;
        launches += r->launches;
    }
    assert_true(sum > 0 && bytes > 0);
    assert_int_equal(launches, p->launches);
    assert_true(p->enqueue_seconds > 0 && p->enqueue_seconds < p->first_seconds);
    assert_true(p->step_seconds > 0 && p->cpu_seconds > 0 && p->first_seconds > 0);
}

static void inference_is_profiled(void **state)
{
    (void)state;
    enum { N = 5 };
    kl_model *m = net_model(true, 3);
    kl_profile p;
    kl_cost c;
    ok(kl_model_profile(m, ctx, N, false, NULL, 3, true, &p));
    check_rows(&p);
    assert_int_equal(total_macs(&p), N * model_macs(m));
    ok(kl_model_cost(m, ctx, N, false, &c));
    assert_int_equal(c.n_launches, p.launches);
    assert_true(c.arena_bytes > 0 && c.arena_bytes <= c.sum_bytes && c.n_applies > 0);
    assert_true(c.param_bytes >= 4 * (5 * 3 * 9 + NET_CLASSES * 12));
    kl_profile_free(&p);
    assert_null(p.rows);
    kl_profile_free(&p);
    kl_model_destroy(m);
}

/* A training step is profiled with its update, and leaves the parameters of the model alone. */
static void training_is_profiled(void **state)
{
    (void)state;
    enum { N = 5 };
    kl_model *m = net_model(true, 3);
    size_t n;
    float *before = net_params(m, &n);
    kl_profile p;
    kl_cost infer, train;
    ok(kl_model_profile(m, ctx, N, true, "loss", 2, true, &p));
    check_rows(&p);
    int64_t forward = N * model_macs(m), first = (int64_t)N * NET_HW * NET_HW * 5 * NET_C * 9;
    assert_int_equal(total_macs(&p),
                     3 * forward - first); /* nobody wants the gradient by the image */
    bool update = false;
    for (size_t i = 0; i < p.n; i++)
        update |= strstr(p.rows[i].name, "adam") != NULL;
    assert_true(update);
    ok(kl_model_cost(m, ctx, N, false, &infer));
    ok(kl_model_cost(m, ctx, N, true, &train));
    assert_int_equal(train.n_launches, p.launches);
    assert_true(train.n_launches > infer.n_launches && train.arena_bytes > infer.arena_bytes);
    assert_int_equal(train.param_bytes, infer.param_bytes);
    float *after = net_params(m, &n);
    assert_memory_equal(before, after, n * sizeof *before);
    free(before);
    free(after);
    kl_profile_free(&p);
    kl_model_destroy(m);
}

static void profiles_are_refused(void **state)
{
    (void)state;
    kl_model *m = net_model(false, 3);
    kl_profile p;
    kl_cost c;
    assert_int_equal(kl_model_profile(m, ctx, 0, false, NULL, 1, true, &p), KL_E_ARG);
    assert_int_equal(kl_model_profile(m, ctx, 1, false, NULL, -1, true, &p), KL_E_ARG);
    assert_int_equal(kl_model_profile(m, NULL, 1, false, NULL, 1, true, &p), KL_E_ARG);
    assert_int_equal(kl_model_profile(m, ctx, 1, true, "no such", 1, true, &p), KL_E_ARG);
    assert_non_null(strstr(kl_last_error(), "no such"));
    assert_null(p.rows);
    assert_int_equal(kl_model_cost(m, ctx, 0, true, &c), KL_E_ARG);
    assert_int_equal(kl_model_cost(m, ctx, 1, true, NULL), KL_E_ARG);
    kl_model_destroy(m);
    kl_graph *g = kl_graph_parse("x = input(shape=[N,3])\nr = relu(x)\noutput y = r\n", "net");
    m = kl_model_create(g, NULL);
    assert_int_equal(kl_model_cost(m, ctx, 1, true, &c), KL_E_ARG); /* nothing to minimise */
    ok(kl_model_cost(m, ctx, 1, false, &c));
    kl_model_destroy(m);
    kl_graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ops_say_what_they_are), cmocka_unit_test(ops_are_told_in_full),
        cmocka_unit_test(layers_of_a_chain),     cmocka_unit_test(layers_of_branches),
        cmocka_unit_test(inference_is_profiled), cmocka_unit_test(training_is_profiled),
        cmocka_unit_test(profiles_are_refused),
    };
    return cmocka_run_group_tests(tests, open_ctx, close_ctx);
}
