/* The text form: what is printed is read back as the same graph, and what is wrong is said with its
 * place. */
#include "every_op.h"

#include "base/rng.h"
#include "graph/graph.h"
#include "graph/text.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static kl_graph *parsed(const char *text)
{
    kl_graph *g = kl_graph_parse(text, "net.txt");
    if (!g)
        fail_msg("%s", kl_last_error());
    return g;
}

static void same_graph(const kl_graph *a, const kl_graph *b)
{
    assert_int_equal(a->n_applies, b->n_applies);
    assert_int_equal(a->n_outputs, b->n_outputs);
    for (size_t i = 0; i < a->n_applies; i++) {
        const kl__apply *x = a->applies[i], *y = b->applies[i];
        assert_string_equal(x->name, y->name);
        assert_ptr_equal(x->op, y->op);
        assert_int_equal(x->n_in, y->n_in);
        assert_int_equal(x->n_out, y->n_out);
        for (int k = 0; k < x->n_in; k++)
            assert_string_equal(x->in[k]->name, y->in[k]->name);
        for (int k = 0; k < x->n_out; k++)
            assert_true(kl_shape_equal(x->out[k]->desc.shape, y->out[k]->desc.shape));
        for (const kl__attr *t = x->op->attrs; t && t->name; t++)
            if (!kl__attr_equal(t, x->attrs, y->attrs, false))
                fail_msg("%s \"%s\": attribute %s differs", x->op->name, x->name, t->name);
        if (kl__is_constant(x->out[0])) {
            const kl__leaf *l = x->attrs, *m = y->attrs;
            assert_int_equal(l->bytes, m->bytes);
            assert_memory_equal(l->data, m->data, l->bytes);
        }
    }
    for (size_t i = 0; i < a->n_outputs; i++) {
        assert_string_equal(a->outputs[i].name, b->outputs[i].name);
        assert_string_equal(a->outputs[i].node->name, b->outputs[i].node->name);
    }
}

/** print -> parse gives the same graph, and prints the same again; the text. Caller frees. */
static char *round_trip(const kl_graph *g)
{
    char *s = kl_graph_print(g);
    if (!s)
        fail_msg("%s", kl_last_error());
    kl_graph *h = parsed(s);
    same_graph(g, h);
    char *t = kl_graph_print(h);
    assert_string_equal(s, t);
    kl_free(t);
    kl_graph_destroy(h);
    return s;
}

static void expect_text(kl_graph *g, const char *text)
{
    char *s = round_trip(g);
    assert_string_equal(s, text);
    kl_free(s);
    kl_graph_destroy(g);
}

static void refused(const char *text, const char *sentence)
{
    kl_graph *g = kl_graph_parse(text, "net.txt");
    if (g)
        fail_msg("not refused: %s", text);
    if (strcmp(kl_last_error(), sentence) != 0)
        fail_msg("%s: \"%s\" instead of \"%s\"", text, kl_last_error(), sentence);
}

static void every_public_op_survives(void **state)
{
    (void)state;
    kl_graph *g = parsed(every_op);
    for (size_t i = 0; i < kl__op_count(); i++) {
        const kl__op *op = kl__op_at(i);
        size_t k = 0;
        while (k < g->n_applies && g->applies[k]->op != op)
            k++;
        if (!(op->flags & KL__OP_HIDDEN) && k == g->n_applies)
            fail_msg("op %s is missing from every_op.h", op->name);
    }
    kl_free(round_trip(g));
    kl_graph_destroy(g);
}

static void the_houses_example_prints_as_written(void **state)
{
    static const char text[] = "x = input(shape=[N,1,28,28])\n"
                               "c1 = conv2d(x, filters=32, kernel=5, pad=same)\n"
                               "r1 = relu(c1)\n"
                               "p1 = maxpool2d(r1, window=2)\n"
                               "fc = dense(p1, units=10)\n"
                               "output logits = fc\n";
    (void)state;
    expect_text(parsed(text), text);
}

static void defaults_are_left_out_and_zero_is_not_one(void **state)
{
    (void)state;
    expect_text(parsed("x = input(shape=[N,4], dtype=f32)\n"
                       "a = leaky_relu(x, slope=0.01)\n"
                       "b = leaky_relu(x, slope=0)\n"
                       "c = softmax(x, axis=-1)\n"
                       "q = input(shape=[2,4])\n"
                       "d = softmax(q, axis=0)\n"
                       "e = dropout(x, rate=0)\n"
                       "f = dropout(x, rate=0.5)\n"),
                "x = input(shape=[N,4])\n"
                "a = leaky_relu(x)\n"
                "b = leaky_relu(x, slope=0)\n"
                "c = softmax(x)\n"
                "q = input(shape=[2,4])\n"
                "d = softmax(q, axis=0)\n"
                "e = dropout(x, rate=0)\n"
                "f = dropout(x)\n");
}

static void blanks_comments_and_line_ends(void **state)
{
    (void)state;
    expect_text(
        parsed("\r\n# nothing\n\n  x=input( shape = [ N , 4 ] )# here\r\n\ty = relu(x,)\n   #end"),
        "x = input(shape=[N,4])\ny = relu(x)\n");
    expect_text(parsed(""), "");
}

static void names_that_look_like_something_else(void **state)
{
    (void)state;
    expect_text(parsed("5 = input(shape=[N,4])\n"
                       "-a = relu(5)\n"
                       "output = add(5, -a)\n"
                       "input = neg(output)\n"
                       "a/b.c = abs(input)\n"
                       "output output = output\n"
                       "output \"two words\" = a/b.c\n"
                       "output \"\\\"\\\\\\x01\" = 5\n"),
                "5 = input(shape=[N,4])\n"
                "-a = relu(5)\n"
                "output = add(5, -a)\n"
                "input = neg(output)\n"
                "a/b.c = abs(input)\n"
                "output output = output\n"
                "output \"two words\" = a/b.c\n"
                "output \"\\\"\\\\\\x01\" = 5\n");
}

static void parameters_given_by_the_caller_are_inputs(void **state)
{
    (void)state;
    expect_text(parsed("x = input(shape=[N,3,8,8])\n"
                       "w = param(shape=[4,3,3,3], init=he_uniform, trainable=true)\n"
                       "a = conv2d(x, w, pad=same)\n"
                       "b = conv2d(a, filters=2, kernel=1, stride=2, no_bias=true)\n"),
                "x = input(shape=[N,3,8,8])\n"
                "w = param(shape=[4,3,3,3], init=he_uniform, trainable=true)\n"
                "a = conv2d(x, w, pad=same)\n"
                "b = conv2d(a, filters=2, kernel=1, stride=2, no_bias=true)\n");
}

/** Same name and shape as the op's own, but another start: not the parameter that the builder would
 * make. */
static void a_parameter_that_only_looks_implicit(void **state)
{
    (void)state;
    expect_text(parsed("x = input(shape=[N,4])\n"
                       "d.weight = param(shape=[2,4], init=ones, trainable=true)\n"
                       "d.bias = param(shape=[2], trainable=true)\n"
                       "d = dense(x, d.weight, d.bias)\n"),
                "x = input(shape=[N,4])\n"
                "d.weight = param(shape=[2,4], init=ones, trainable=true)\n"
                "d.bias = param(shape=[2], trainable=true)\n"
                "d = dense(x, d.weight, d.bias)\n");
}

static void shared_weights_are_named(void **state)
{
    (void)state;
    expect_text(parsed("x = input(shape=[N,4])\n"
                       "d = dense(x, units=4)\n"
                       "e = dense(d, d.weight, d.bias)\n"),
                "x = input(shape=[N,4])\n"
                "d = dense(x, units=4)\n"
                "e = dense(d, d.weight, d.bias)\n");
}

static void a_parameter_used_before_its_op_keeps_its_line(void **state)
{
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "x", KL_F32, (kl_shape){2, {KL_BATCH, 4}});
    kl_node *w =
        kl_param(g, "d.weight", (kl_shape){2, {4, 4}}, (kl_init){.kind = KL_INIT_DEFAULT}, true);
    kl_node *first = kl_dense_with(g, x, w, NULL, &(kl_dense_opts){.name = "first"});
    kl_dense_with(g, first, w, NULL, &(kl_dense_opts){.name = "d"});
    (void)state;
    expect_text(g, "x = input(shape=[N,4])\n"
                   "d.weight = param(shape=[4,4], trainable=true)\n"
                   "first = dense(x, d.weight)\n"
                   "d = dense(first, d.weight)\n");
}

static void programs_and_text_build_the_same(void **state)
{
    kl_graph *g = kl_graph_create(),
             *h = parsed("x = input(shape=[N,3,9,9])\n"
                         "conv2d_1 = conv2d(x, filters=4, kernel=[3,1], stride=2, init=torch)\n"
                         "bn = batchnorm(conv2d_1, compat=keras)\n"
                         "relu_1 = relu(bn)\n"
                         "p = avgpool2d(relu_1, window=2, pad=[1,0,0,0])\n");
    kl_node *x = kl_input(g, "x", KL_F32, (kl_shape){4, {KL_BATCH, 3, 9, 9}});
    (void)state;
    x = kl_conv2d(
        g, x,
        &(kl_conv2d_opts){
            .filters = 4, .kernel = {3, 1}, .stride = {2}, .init = {.kind = KL_INIT_TORCH}});
    x = kl_relu(g, kl_batchnorm(g, x, &(kl_batchnorm_opts){.compat = KL_KERAS, .name = "bn"}));
    kl_avgpool2d(g, x, &(kl_pool2d_opts){.window = {2}, .pad = {.top = 1}, .name = "p"});
    assert_int_equal(kl_graph_check(g), KL_OK);
    same_graph(g, h);
    kl_graph_destroy(g);
    kl_graph_destroy(h);
}

static void initial_values_in_text(void **state)
{
    (void)state;
    expect_text(parsed("a = param(shape=[2], init=normal(0, 0.05))\n"
                       "b = param(shape=[2], init=normal)\n"
                       "c = param(shape=[2], init=constant(-2.5))\n"
                       "d = param(shape=[2], init=uniform(-1,1), trainable=true)\n"
                       "e = param(shape=[2], init=torch(fan_in=9))\n"
                       "f = param(shape=[2], init=trunc_normal(1,0.5,fan_out=3))\n"
                       "g = param(shape=[], init=default)\n"),
                "a = param(shape=[2], init=normal(0,0.05))\n"
                "b = param(shape=[2], init=normal)\n"
                "c = param(shape=[2], init=constant(-2.5))\n"
                "d = param(shape=[2], init=uniform(-1,1), trainable=true)\n"
                "e = param(shape=[2], init=torch(fan_in=9))\n"
                "f = param(shape=[2], init=trunc_normal(1,0.5,fan_out=3))\n"
                "g = param()\n");
}

/* ---- constants --------------------------------------------------------------------------- */
static void constants_keep_every_bit(void **state)
{
    static const int64_t counts[] = {0, 1, 3, 64, 65, 66, 67, 1000};
    const kl__rng r = kl__rng_of(1, "bits", 0);
    uint32_t raw[2000];
    (void)state;
    for (size_t i = 0; i < 2000; i++)
        raw[i] = kl__rng_u32(r, i);
    for (int t = KL_F32; t <= KL_F64; t++)
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            kl_graph *g = kl_graph_create();
            kl_constant(g, "k", (kl_dtype)t, (kl_shape){1, {counts[c]}}, raw);
            kl_free(round_trip(g));
            kl_graph_destroy(g);
        }
}

static void short_constants_are_readable(void **state)
{
    (void)state;
    expect_text(parsed("a = constant(data=[1, 2.5, -0, 1e-45, -inf], shape=[5])\n"
                       "b = constant(shape=[2,2], dtype=i32, data=[-2147483648,2147483647,0,1])\n"
                       "c = constant(shape=[2], dtype=u8, data=[0,255])\n"
                       "d = constant(shape=[], dtype=f64, data=[0.1])\n"
                       "e = constant(shape=[1], dtype=f16, data=[0.33325195])\n"
                       "f = constant(shape=[0])\n"),
                "a = constant(shape=[5], data=[1,2.5,-0,1e-45,-inf])\n"
                "b = constant(shape=[2,2], dtype=i32, data=[-2147483648,2147483647,0,1])\n"
                "c = constant(shape=[2], dtype=u8, data=[0,255])\n"
                "d = constant(dtype=f64, data=[0.1])\n"
                "e = constant(shape=[1], dtype=f16, data=[0.33325195])\n"
                "f = constant(shape=[0], data=[])\n");
}

/* ---- refusals ---------------------------------------------------------------------------- */
static void mistakes_are_named_with_their_place(void **state)
{
    (void)state;
#define X "x = input(shape=[N,3,8,8])\n"
    refused(X "\nc = conv2d(x, filters=4, kernle=3)\n",
            "net.txt:3:26: conv2d has no attribute \"kernle\"; did you mean \"kernel\"?");
    refused(X "c = conv2(x)\n", "net.txt:2:5: there is no op \"conv2\"; did you mean \"conv2d\"?");
    refused(X "c = zzzzzzzzz(x)\n", "net.txt:2:5: there is no op \"zzzzzzzzz\"");
    refused("conv1 = input(shape=[N,3])\ny = relu(conv2)\n",
            "net.txt:2:10: there is no value \"conv2\" above; did you mean \"conv1\"?");
    refused(X "c = conv2d(x, filters=4, kernel=3, filters=5)\n",
            "net.txt:2:36: filters is given twice");
    refused(X "c = conv2d(x, filters=four, kernel=3)\n",
            "net.txt:2:23: filters takes a whole number, \"four\" stands here");
    refused(X "c = conv2d(x, filters=99999999999, kernel=3)\n",
            "net.txt:2:23: filters=99999999999 is out of range");
    refused(X "c = conv2d(x, filters=4, kernel=3, pad=sane)\n",
            "net.txt:2:40: pad takes same, same_lower, valid, a number or [top,left,bottom,right], "
            "\"sane\" stands here");
    refused(X "c = conv2d(x, filters=4, kernel=3, pad=[1,2])\n",
            "net.txt:2:40: pad takes four numbers [top,left,bottom,right], 2 given");
    refused(X "c = conv2d(x, filters=4, kernel=3, stride=0)\n",
            "net.txt:2:43: stride must not be 0");
    refused(X "c = conv2d(x, filters=4, kernel=3, init=he_norml)\n",
            "net.txt:2:41: init has no value \"he_norml\"; did you mean \"he_normal\"?");
    refused(X "c = conv2d(x, filters=4, kernel=3, init=uniform(1))\n",
            "net.txt:2:41: uniform takes 2 numbers, 1 given");
    refused(X "c = conv2d(x, filters=4, kernel=3, init=zeros(1))\n",
            "net.txt:2:47: zeros takes 0 numbers");
    refused(X "c = conv2d(x, filters=4, kernel=[3,3,3])\n",
            "net.txt:2:38: kernel takes at most 2 numbers");
    refused(X "c = batchnorm(x, compat=pytorch)\n",
            "net.txt:2:25: compat has no value \"pytorch\"; did you mean \"torch\"?");
    refused(X "c = batchnorm(x, no_scale=yes)\n",
            "net.txt:2:27: no_scale takes false, true, \"yes\" stands here");
    refused(X "x = relu(x)\n", "net.txt:2:1: relu: the name \"x\" is taken");
    refused(X "y = relu(x, x)\n", "net.txt:2:5: relu takes 1 input, 2 given");
    refused(X "y = relu()\n", "net.txt:2:5: relu takes 1 input, 0 given");
    refused(X "y = concat()\n", "net.txt:2:5: concat takes at least 1 inputs, 0 given");
    refused(X "y = relu(x\n", "net.txt:2:11: ',' or ')' is expected, end of line stands here");
    refused(X "y = relu(x) z\n",
            "net.txt:2:13: the end of the line is expected, \"z\" stands here");
    refused(X "y relu(x)\n", "net.txt:2:3: '=' is expected after the name, \"relu\" stands here");
    refused(X "output = \n", "net.txt:2:10: an op is expected, end of line stands here");
    refused(X "output y\n",
            "net.txt:2:9: '=' is expected after the output's name, end of line stands here");
    refused(X "output y = z\n", "net.txt:2:12: there is no value \"z\" above");
    refused(X "output y = x\noutput y = x\n", "net.txt:3:8: output \"y\": this name is taken");
    refused(X "y = relu_bwd(x, x)\n", "net.txt:2:5: op relu_bwd is made by Kiln's own passes only");
    refused(X "y = relu(x); \n", "net.txt:2:12: unexpected ';'");
    refused(X "y = relu(\x80)\n", "net.txt:2:10: unexpected byte 0x80");
    refused(X "output \"y = x\n", "net.txt:2:8: this string has no end");
    refused("k = constant(shape=[3], data=[1,2])\n", "net.txt:1:30: 2 numbers; the shape has 3");
    refused("k = constant(shape=[1], data=[1,2])\n",
            "net.txt:1:33: more than the 1 numbers that the shape has");
    refused("k = constant(shape=[1], dtype=u8, data=[256])\n", "net.txt:1:41: 256 is no u8 number");
    refused("k = constant(shape=[1])\n", "net.txt:1:1: constant \"k\": data is missing");
    refused("k = constant(shape=[1], data=\"AAAA*AA=\")\n",
            "net.txt:1:30: this is not base64 of 4 bytes");
    refused(
        "k = constant(shape=[1000000000000], data=[1])\n",
        "net.txt:1:42: data for 1000000000000 numbers of 4 bytes are expected, there are fewer");
    refused("p = param(shape=[N,2])\n",
            "net.txt:1:1: param \"p\": its shape must be known and fit in memory");
#undef X
    assert_null(kl_graph_parse("y", NULL));
    assert_string_equal(
        kl_last_error(),
        "line 1, column 2: '=' is expected after the name, end of text stands here");
    assert_null(kl_graph_parse(NULL, NULL));
}

/** The op's own sentence, with the place before it. */
static void errors_of_builders_have_a_place(void **state)
{
    (void)state;
    assert_null(
        kl_graph_parse("x = input(shape=[N,3])\nc = conv2d(x, filters=4, kernel=3)\n", "net.txt"));
    assert_true(kl__starts(kl_last_error(), "net.txt:2:1: conv2d \"c\": "));
}

static void limits_hold(void **state)
{
    size_t n = 100001;
    char *many = malloc(n + 32), word[400];
    (void)state;
    memset(many, '\n', n);
    strcpy(many + n, "x = input()");
    refused(many, "net.txt:100001:1: more than 100000 lines");
    strcpy(many + 99999, "x = input()");
    kl_graph_destroy(parsed(many));
    free(many);
    memset(word, 'a', sizeof word);
    strcpy(word + 300, " = input()");
    refused(word, "net.txt:1:1: a word of 300 characters; at most 255 are possible");
    strcpy(word + 201, " = input()");
    assert_null(kl_graph_parse(word, "net.txt"));
}

static void numbers_do_not_depend_on_the_locale(void **state)
{
    static const char *const comma[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE"};
    (void)state;
    size_t i = 0;
    while (i < sizeof comma / sizeof *comma && !setlocale(LC_ALL, comma[i]))
        i++;
    expect_text(parsed("x = input(shape=[N,4])\na = leaky_relu(x, slope=0.25)\n"),
                "x = input(shape=[N,4])\na = leaky_relu(x, slope=0.25)\n");
    setlocale(LC_ALL, "C");
}

static void printing_leaves_the_last_error_alone(void **state)
{
    (void)state;
    kl_graph *g = parsed("x = input(shape=[N,3,8,8])\nc = conv2d(x, filters=4, kernel=3)\n");
    kl__fail(KL_E_IO, "what stood before");
    kl_free(kl_graph_print(g));
    assert_string_equal(kl_last_error(), "what stood before");
    assert_int_equal(kl__last_status(), KL_E_IO);
    kl_graph_destroy(g);
}

static void a_graph_with_an_error_is_not_printed(void **state)
{
    kl_graph *g = kl_graph_create();
    (void)state;
    kl_relu(g, NULL);
    assert_null(kl_graph_print(g));
    assert_null(kl_graph_dot(g));
    assert_string_equal(kl_last_error(), "relu: input 0 is NULL");
    kl_graph_destroy(g);
}

static void lowered_graphs_print_in_full(void **state)
{
    (void)state;
    kl_graph *g = parsed("x = input(shape=[N,3,8,8])\nb = batchnorm(x)\noutput y = b\n");
    kl_graph *low = kl__graph_lower(g, 2, true, KL_F32, NULL, 0);
    assert_non_null(low);
    char *s = kl_graph_print(low);
    assert_non_null(strstr(s, "bn_stats("));
    assert_non_null(strstr(s, "shape=[2,3,8,8]"));
    kl_free(s);
    kl_graph_destroy(low);
    kl_graph_destroy(g);
}

static void dot_names_ops_and_shapes(void **state)
{
    (void)state;
    kl_graph *g = parsed(
        "x = input(shape=[N,3,8,8])\nc = conv2d(x, filters=4, kernel=3)\noutput \"a\\\"b\" = c\n");
    char *s = kl_graph_dot(g);
    assert_true(kl__starts(s, "digraph kiln {"));
    assert_non_null(
        strstr(s, "label=\"c\\nconv2d(filters=4, kernel=3)\\nc.weight [4,3,3,3]\\nc.bias [4]\""));
    assert_non_null(strstr(s, "-> n3 [label=\"[N,3,8,8]\"]"));
    assert_non_null(strstr(s, "label=\"a\\\"b\""));
    kl_free(s);
    kl_graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_public_op_survives),
        cmocka_unit_test(the_houses_example_prints_as_written),
        cmocka_unit_test(defaults_are_left_out_and_zero_is_not_one),
        cmocka_unit_test(blanks_comments_and_line_ends),
        cmocka_unit_test(names_that_look_like_something_else),
        cmocka_unit_test(parameters_given_by_the_caller_are_inputs),
        cmocka_unit_test(a_parameter_that_only_looks_implicit),
        cmocka_unit_test(shared_weights_are_named),
        cmocka_unit_test(a_parameter_used_before_its_op_keeps_its_line),
        cmocka_unit_test(programs_and_text_build_the_same),
        cmocka_unit_test(initial_values_in_text),
        cmocka_unit_test(constants_keep_every_bit),
        cmocka_unit_test(short_constants_are_readable),
        cmocka_unit_test(mistakes_are_named_with_their_place),
        cmocka_unit_test(errors_of_builders_have_a_place),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(numbers_do_not_depend_on_the_locale),
        cmocka_unit_test(printing_leaves_the_last_error_alone),
        cmocka_unit_test(a_graph_with_an_error_is_not_printed),
        cmocka_unit_test(lowered_graphs_print_in_full),
        cmocka_unit_test(dot_names_ops_and_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
