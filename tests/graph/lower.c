/* Shapes are refused where they are built; lowering resolves batch, dtype and mode; pruning keeps
 * what is needed. */
#include "base/str.h"
#include "graph/graph.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static kl_graph *parsed(const char *text)
{
    kl_graph *g = kl_graph_parse(text, "net");
    if (!g)
        fail_msg("%s", kl_last_error());
    return g;
}

static kl_graph *lowered(kl_graph *g, int64_t batch, bool training, kl_dtype real)
{
    kl_graph *low = kl__graph_lower(g, batch, training, real, NULL, 0);
    if (!low)
        fail_msg("%s", kl_last_error());
    return low;
}

static int count(const kl_graph *g, const char *op)
{
    int n = 0;
    for (size_t i = 0; i < g->n_applies; i++)
        n += !strcmp(g->applies[i]->op->name, op);
    return n;
}

static int random_ops(const kl_graph *g)
{
    int n = 0;
    for (size_t i = 0; i < g->n_applies; i++)
        n += (g->applies[i]->op->flags & KL__OP_RANDOM) != 0;
    return n;
}

/** Ids are positions, and every input stands before its use. */
static void well_formed(const kl_graph *g)
{
    for (size_t i = 0; i < g->n_applies; i++) {
        const kl__apply *a = g->applies[i];
        assert_int_equal(a->id, i);
        for (int k = 0; k < a->n_in; k++) {
            assert_true(a->in[k]->by->id < i);
            assert_ptr_equal(g->applies[a->in[k]->by->id], a->in[k]->by);
        }
        for (int k = 0; k < a->n_out; k++) {
            assert_ptr_equal(a->out[k]->by, a);
            assert_ptr_equal(g->nodes[a->out[k]->id], a->out[k]);
        }
    }
    for (size_t i = 0; i < g->n_outputs; i++)
        assert_ptr_equal(g->nodes[g->outputs[i].node->id], g->outputs[i].node);
}

static void shapes_that_do_not_fit_are_named(void **state)
{
    static const struct {
        const char *line, *part;
    } bad[] = {
        {"c = conv2d(x, filters=4, kernel=9)", "conv2d \"c\""},
        {"c = conv2d(v, filters=4, kernel=3)", "[N,6]"},
        {"c = conv2d(x, filters=4, kernel=3, groups=2)", "groups"},
        {"c = conv2d(x, kernel=3)", "filters"},
        {"c = maxpool2d(x, window=9)", "maxpool2d \"c\""},
        {"c = maxpool2d(x, window=2, pad=2)", "maxpool2d \"c\""},
        {"c = dense(x)", "units"},
        {"c = matmul(v, v)", "matmul \"c\""},
        {"c = add(x, v)", "add \"c\""},
        {"c = reshape(v, shape=[N,4])", "[N,6]"},
        {"c = concat(x, v)", "concat \"c\""},
        {"c = slice(v, start=4, size=3)", "slice \"c\""},
        {"c = transpose(v, perm=[0,0])", "transpose \"c\""},
        {"c = reduce_sum(v, axes=[2])", "axis 2"},
        {"c = softmax_xent(v, v2)", "softmax_xent \"c\""},
        {"c = mse(x, v)", "mse \"c\""},
        {"c = relu(y)", "i32"},
        {"c = dropout(v, rate=1.5)", "dropout \"c\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[512];
        snprintf(text, sizeof text,
                 "x = input(shape=[N,3,8,8])\nv = input(shape=[N,6])\nv2 = input(shape=[N,5])\n"
                 "y = input(shape=[N], dtype=i32)\n%s\n",
                 bad[i].line);
        if (kl_graph_parse(text, NULL))
            fail_msg("not refused: %s", bad[i].line);
        if (!strstr(kl_last_error(), bad[i].part) ||
            !kl__starts(kl_last_error(), "line 5, column 1: "))
            fail_msg("%s: \"%s\" does not say \"%s\"", bad[i].line, kl_last_error(), bad[i].part);
    }
}

static void the_first_error_stays(void **state)
{
    kl_graph *g = kl_graph_create();
    kl_node *v = kl_input(g, "v", KL_F32, (kl_shape){2, {KL_BATCH, 6}});
    (void)state;
    kl_node *bad = kl_reshape(g, v, &(kl_reshape_opts){.shape = {2, {0, 4}}, .name = "bad"});
    assert_null(bad);
    assert_null(kl_relu(g, bad));
    assert_null(kl_relu(g, v));
    assert_int_equal(kl_graph_check(g), KL_E_SHAPE);
    assert_non_null(strstr(kl_last_error(), "reshape \"bad\""));
    kl_graph_destroy(g);
}

static void batch_and_dtype_are_resolved(void **state)
{
    kl_graph *g =
        parsed("x = input(shape=[N,3,8,8])\nk = constant(shape=[2], data=[0.1,-3])\n"
               "y = input(shape=[N], dtype=i32)\n"
               "c = conv2d(x, filters=4, kernel=3)\nf = dense(c, units=2)\ns = add(f, k)\n"
               "l = softmax_xent(s, y)\noutput s = s\noutput l = l\n");
    (void)state;
    for (int real = 0; real < 2; real++) {
        kl_graph *low = lowered(g, 5, true, real ? KL_F64 : KL_F32);
        well_formed(low);
        for (size_t i = 0; i < low->n_nodes; i++) {
            const kl_node *x = low->nodes[i];
            for (int d = 0; d < x->desc.shape.n_dims; d++)
                assert_true(x->desc.shape.dim[d] >= 0);
            assert_int_not_equal(x->desc.dtype, real ? KL_F32 : KL_F64);
        }
        assert_int_equal(kl_graph_find(low, "y")->desc.dtype, KL_I32);
        assert_int_equal(kl_graph_find(low, "x")->desc.shape.dim[0], 5);
        const kl__leaf *k = kl__leaf_of(kl_graph_find(low, "k"));
        assert_true(real ? ((const double *)k->data)[0] == (double)0.1f
                         : ((const float *)k->data)[0] == 0.1f);
        assert_int_equal(k->bytes, real ? 16 : 8);
        kl_graph_destroy(low);
    }
    kl_graph_destroy(g);
}

static void only_what_outputs_need_is_kept(void **state)
{
    kl_graph *g = parsed("x = input(shape=[N,4])\nz = input(shape=[N,4])\na = dense(x, units=3)\nb "
                         "= dense(z, units=3)\n"
                         "c = relu(a)\noutput a = a\noutput b = b\noutput c = c\n");
    static const char *const one[] = {"a"}, *const none[] = {"q"};
    (void)state;
    kl_graph *low = kl__graph_lower(g, 2, false, KL_F32, one, 1);
    well_formed(low);
    assert_int_equal(low->n_outputs, 1);
    assert_non_null(kl_graph_find(low, "a.bias"));
    assert_null(kl_graph_find(low, "b"));
    assert_null(kl_graph_find(low, "c"));
    assert_null(kl_graph_find(low, "z"));
    kl_graph_destroy(low);
    assert_null(kl__graph_lower(g, 2, false, KL_F32, none, 1));
    assert_string_equal(kl_last_error(), "the graph has no output \"q\"");
    kl_graph_destroy(g);
}

static void modes_have_their_forms(void **state)
{
    kl_graph *g = parsed("x = input(shape=[N,3,8,8])\nb = batchnorm(x)\nd = dropout(b)\nr = "
                         "relu(d)\noutput r = r\n");
    (void)state;
    kl_graph *train = lowered(g, 2, true, KL_F32), *infer = lowered(g, 2, false, KL_F32);
    well_formed(train);
    well_formed(infer);
    assert_int_equal(count(train, "bn_stats"), 1);
    assert_int_equal(random_ops(train), 1);
    assert_int_equal(train->n_updates, 2);
    assert_string_equal(train->updates[0].state->name, "b.running_mean");
    assert_int_equal(count(infer, "bn_stats") + random_ops(infer), 0);
    assert_int_equal(infer->n_updates, 0);
    assert_string_equal(kl_graph_find(infer, "r")->by->in[0]->name, "b");
    kl_graph_destroy(train);
    kl_graph_destroy(infer);
    kl_graph_destroy(g);
}

/** What lowering a loss makes has generated names; the user's, which come later, are kept
 * nevertheless. */
static void generated_names_stay_clear_of_the_users(void **state)
{
    kl_graph *g =
        parsed("x = input(shape=[N,4])\nt = input(shape=[N,4])\nl = mse(x, t)\nsub_1 = relu(x)\n"
               "square_1 = neg(sub_1)\nreduce_sum_1 = square(square_1)\noutput l = l\noutput s = "
               "reduce_sum_1\n");
    (void)state;
    kl_graph *low = lowered(g, 2, true, KL_F32);
    well_formed(low);
    assert_string_equal(kl_graph_find(low, "sub_1")->by->op->name, "relu");
    assert_string_equal(kl_graph_find(low, "reduce_sum_1")->by->op->name, "square");
    kl_graph_destroy(low);
    kl_graph_destroy(g);
}

static void pruning_keeps_state_and_drops_the_rest(void **state)
{
    kl_graph *g = parsed(
        "x = input(shape=[N,4])\nz = input(shape=[N,4])\na = relu(x)\nb = neg(a)\nc = abs(z)\n"
        "p = param(shape=[2,4])\nq = param(shape=[2,4])\noutput a = a\n");
    kl_node *in[2] = {kl_graph_find(g, "p"), kl_graph_find(g, "q")};
    (void)state;
    assert_non_null(kl__apply_new(g, kl__op_find("tree_add"), "t", in, 2, NULL));
    assert_int_equal(kl__graph_prune(g), KL_OK);
    well_formed(g);
    assert_int_equal(g->n_applies, 5);
    assert_non_null(kl_graph_find(g, "t"));
    assert_non_null(kl_graph_find(g, "q"));
    assert_null(kl_graph_find(g, "b"));
    assert_null(kl_graph_find(g, "c"));
    assert_null(kl_graph_find(g, "z"));
    /* the graph can be built on, and freed names are free */
    assert_non_null(
        kl__apply_new(g, kl__op_find("neg"), "b", (kl_node *[]){kl_graph_find(g, "a")}, 1, NULL));
    assert_non_null(kl_relu(g, kl_graph_find(g, "b")));
    well_formed(g);
    kl_graph_destroy(g);
}

/* ---- gradients, as expressions ----------------------------------------------------------- */
static void put_expr(kl__text *t, const kl_node *x)
{
    if (x->by->op->flags & KL__OP_LEAF) {
        kl__put(t, "%s", x->name);
        return;
    }
    kl__put(t, "%s(", x->by->op->name);
    for (int i = 0; i < x->by->n_in; i++) {
        kl__put(t, "%s", i ? "," : "");
        put_expr(t, x->by->in[i]);
    }
    kl__put(t, ")");
}

/** Gradient of `y` by `wrt` in the text, seeded with its value dy. */
static void gradient_is(const char *text, const char *wrt, const char *expression)
{
    kl_graph *g = parsed(text);
    kl_node *x = kl_graph_find(g, wrt), *y = kl_graph_find(g, "y"), *dx = NULL;
    kl__text t = {0};
    kl_node *dy = kl_input(g, "dy", KL_F32, y->desc.shape);
    if (kl__graph_grad(g, y, dy, &x, 1, &dx) != KL_OK)
        fail_msg("%s", kl_last_error());
    well_formed(g);
    if (!dx)
        kl__put(&t, "none");
    else
        put_expr(&t, dx);
    assert_string_equal(t.s, expression);
    kl__text_free(&t);
    kl_graph_destroy(g);
}

static void gradients_are_the_ones_by_hand(void **state)
{
    (void)state;
#define X "x = input(shape=[2,4])\nw = input(shape=[4])\n"
    gradient_is(X "y = exp(x)\n", "x", "mul(exp(x),dy)");
    gradient_is(X "y = neg(x)\n", "w", "none");
    gradient_is(X "y = neg(x)\n", "y", "dy");
    /* last use first: the sum's own contribution, then the product's left and right factor */
    gradient_is(X "p = mul(x, x)\ny = add(p, x)\n", "x", "add(add(dy,mul(dy,x)),mul(dy,x))");
    gradient_is(X "p = mul(x, x)\ny = add(p, x)\n", "p", "dy");
    gradient_is(X "y = add(x, w)\n", "w", "sum_to(dy)");
    gradient_is(X "y = mul(x, w)\n", "x", "mul(dy,w)");
    gradient_is(X "a = relu(x)\nb = relu(a)\ny = sub(b, a)\n", "x",
                "relu_bwd(relu(x),add(neg(dy),relu_bwd(relu(relu(x)),dy)))");
    gradient_is(X "r = reshape(x, shape=[8])\ny = neg(r)\n", "x", "reshape(neg(dy))");
    gradient_is(X "y = matmul(x, x, tb=true)\n", "x", "add(matmul(dy,x),matmul(dy,x))");
#undef X
}

/** Seventeen inputs take the path for long lists. */
static void gradients_of_many_inputs(void **state)
{
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "x", KL_F32, (kl_shape){2, {3, 2}}), *in[17], *dx = NULL;
    (void)state;
    for (int i = 0; i < 17; i++)
        in[i] = kl_relu(g, x);
    kl_node *y = kl_concat(g, in, 17, NULL),
            *dy = kl_input(g, "dy", KL_F32, (kl_shape){2, {3, 34}});
    assert_int_equal(kl__graph_grad(g, y, dy, &x, 1, &dx), KL_OK);
    int n = 1; /* sums of 17 contributions */
    for (; !strcmp(dx->by->op->name, "add"); dx = dx->by->in[0])
        n++;
    assert_int_equal(n, 17);
    assert_int_equal(count(g, "relu_bwd"), 17);
    kl_graph_destroy(g);
}

/** Nothing is made for values that do not depend on the wanted ones. */
static void gradients_are_taken_only_where_wanted(void **state)
{
    kl_graph *g =
        parsed("x = input(shape=[2,4])\nk = input(shape=[2,4])\ne = exp(k)\ny = mul(x, e)\n");
    kl_node *x = kl_graph_find(g, "x"), *dx;
    kl_node *dy = kl_input(g, "dy", KL_F32, (kl_shape){2, {2, 4}});
    size_t before = g->n_applies;
    (void)state;
    assert_int_equal(kl__graph_grad(g, kl_graph_find(g, "y"), dy, &x, 1, &dx), KL_OK);
    assert_int_equal(g->n_applies - before, 1);
    kl_graph_destroy(g);
}

static void what_has_no_gradient_is_named(void **state)
{
    kl_graph *g = parsed("x = input(shape=[2,4])\n");
    kl_node *x = kl_graph_find(g, "x"), *dx;
    kl_node *y = kl__apply_new(g, kl__op_find("relu_bwd"), "second", (kl_node *[]){x, x}, 2, NULL);
    (void)state;
    assert_int_equal(kl__graph_grad(g, y, x, &x, 1, &dx), KL_E_UNSUPPORTED);
    assert_string_equal(kl_last_error(), "relu_bwd \"second\" has no gradient");
    kl_graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_that_do_not_fit_are_named),
        cmocka_unit_test(the_first_error_stays),
        cmocka_unit_test(batch_and_dtype_are_resolved),
        cmocka_unit_test(only_what_outputs_need_is_kept),
        cmocka_unit_test(modes_have_their_forms),
        cmocka_unit_test(generated_names_stay_clear_of_the_users),
        cmocka_unit_test(pruning_keeps_state_and_drops_the_rest),
        cmocka_unit_test(gradients_are_the_ones_by_hand),
        cmocka_unit_test(gradients_of_many_inputs),
        cmocka_unit_test(gradients_are_taken_only_where_wanted),
        cmocka_unit_test(what_has_no_gradient_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
