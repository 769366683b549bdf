/* Element-wise work done by the kernel that makes its input gives the numbers that it gives in a
 * kernel of its own, for every producer that can, every way an input is read, and every width. */
#include "sched/plan.h"

#include "base/rng.h"
#include "base/mem.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

typedef struct net {
    const char *name, *text;
    int absorbed;  /* applies with an epilogue on a CPU, forward; -1: not looked at */
    bool training; /* the gradients of all parameters and of x are outputs, too */
} net;

#define X "x = input(shape=[N,20,9,11])\n"
static const net nets[] = {
    {"relu", X "c = conv2d(x, filters=24, kernel=3, pad=1)\ny = relu(c)\noutput y = y\n", 1, false},
    {"chain read twice",
     X "c = conv2d(x, filters=24, kernel=1)\nt = tanh(c)\ny = mul(t, c)\noutput y = y\n", 1, false},
    {"residual into a padded layer",
     X "a = conv2d(x, filters=20, kernel=3, pad=1)\ns = add(x, a)\nr = relu(s)\n"
       "b = conv2d(r, filters=20, kernel=3, pad=1)\nt = add(b, r)\ny = relu(t)\noutput y = y\n",
     2, false},
    {"two producers: the later one",
     X "a = conv2d(x, filters=17, kernel=3, pad=1)\nb = conv2d(x, filters=17, kernel=1)\n"
       "y = sub(a, b)\noutput y = y\n",
     1, false},
    {"channel, sample and channel, scalar",
     X "k = input(shape=[24,1,1])\nn = input(shape=[N,24,1,1])\ns = input(shape=[1])\n"
       "c = conv2d(x, filters=24, kernel=3, stride=2, pad=1)\nm = mul(c, k)\nt = add(m, n)\n"
       "u = sub(t, s)\ny = sigmoid(u)\noutput y = y\n",
     1, false},
    {"read elsewhere as well",
     X "c = conv2d(x, filters=24, kernel=3)\ny = relu(c)\n"
       "output y = y\noutput c = c\n",
     0, false},
    {"[H,W] beside blocks",
     X "m = input(shape=[9,11])\nc = conv2d(x, filters=24, kernel=3, pad=1)\n"
       "y = mul(c, m)\noutput y = y\n",
     0, false},
    {"dense",
     X "d = dense(x, units=37)\nr = relu(d)\nk = input(shape=[37])\ne = dense(r, units=37)\n"
       "m = mul(e, k)\ny = add(m, r)\noutput y = y\n",
     2, false},
    {"dense, K cut",
     "x = input(shape=[N,4000])\nd = dense(x, units=5)\ny = sigmoid(d)\noutput y = y\n", 1, false},
    {"depthwise and grouped",
     X "c = conv2d(x, filters=20, kernel=3, groups=20, stride=2, pad=1)\nr = relu(c)\n"
       "d = conv2d(r, filters=20, kernel=3, groups=10, pad=1)\ns = add(d, r)\n"
       "e = conv2d(s, filters=15, kernel=3, groups=5)\ny = tanh(e)\noutput y = y\n",
     3, false},
    {"pooling of what a convolution made",
     X "c = conv2d(x, filters=20, kernel=3)\np = maxpool2d(c, window=3, stride=2, pad=1)\n"
       "r = sigmoid(p)\nq = avgpool2d(r, window=2)\ny = relu(q)\noutput y = y\n",
     2, false},
    {"training, depthwise and pooling",
     X "c = conv2d(x, filters=20, kernel=3, groups=20, pad=1)\nr = relu(c)\n"
       "p = maxpool2d(r, window=3, stride=2, pad=1)\n"
       "d = conv2d(p, filters=20, kernel=5, groups=20, stride=2, pad=2)\ns = tanh(d)\n"
       "e = conv2d(s, filters=30, kernel=3, groups=10, pad=1)\nt = elu(e)\n"
       "f = avgpool2d(t, window=2, stride=1, pad=1)\nu = sigmoid(f)\n"
       "g = global_maxpool(u)\nh = global_avgpool(u)\ni = add(g, h)\ny = square(i)\n"
       "output y = y\n",
     -1, true},
    {"training",
     X "c = conv2d(x, filters=24, kernel=3, pad=1)\nr = relu(c)\np = maxpool2d(r, window=2)\n"
       "d = conv2d(p, filters=24, kernel=3, pad=1)\ns = relu(d)\nt = add(s, p)\n"
       "e = conv2d(t, filters=16, kernel=3, stride=2, pad=1)\nu = elu(e)\nf = dense(u, units=40)\n"
       "v = relu(f)\nw = dense(v, units=3)\ny = square(w)\noutput y = y\n",
     -1, true},
};

/** The graph with its gradients, by a seed of ones. */
static kl_graph *build(const net *n)
{
    kl_graph *user = kl_graph_parse(n->text, NULL), *g = NULL;
    if (!user || !(g = kl__graph_lower(user, 3, n->training, KL_F32, NULL, 0)))
        fail_msg("%s: %s", n->name, kl_last_error());
    kl_graph_destroy(user);
    if (!n->training)
        return g;
    kl_node *y = kl_graph_output(g, "y"), *wrt[32], *dx[32];
    size_t count = 0;
    for (size_t i = 0; i < g->n_nodes; i++)
        if (kl__is_input(g->nodes[i]) || kl__is_param(g->nodes[i]))
            wrt[count++] = g->nodes[i];
    float *ones = malloc((size_t)kl_shape_count(y->desc.shape) * sizeof *ones);
    for (int64_t i = 0; i < kl_shape_count(y->desc.shape); i++)
        ones[i] = 1;
    kl_node *seed = kl_constant(g, "seed", KL_F32, y->desc.shape, ones);
    if (kl__graph_grad(g, y, seed, wrt, count, dx) != KL_OK)
        fail_msg("%s: %s", n->name, kl_last_error());
    for (size_t i = 0; i < count; i++)
        kl_output(g, wrt[i]->name, dx[i]);
    assert_int_equal(kl__graph_prune(g), KL_OK);
    free(ones);
    return g;
}

/** All outputs, one after the other; *absorbed is the number of applies with an epilogue. */
static float *computed(kl_ctx *ctx, kl_graph *g, bool fuse, size_t *n, int *absorbed)
{
    kl__lane *lane = kl__ctx_lane(ctx, KL__COMPUTE);
    kl__mem *held[32];
    int n_held = 0;
    for (size_t i = 0; i < g->n_nodes; i++) {
        kl_node *x = g->nodes[i];
        if (!kl__is_input(x) && !kl__is_param(x))
            continue;
        size_t count = (size_t)kl_shape_count(x->desc.shape);
        float *v = malloc(count * sizeof *v);
        const kl__rng r = kl__rng_of(5, x->name, 0);
        for (size_t k = 0; k < count; k++)
            v[k] = (float)kl__rng_normal(r, k) * 0.3f;
        held[n_held] = kl__mem_create(ctx, count * sizeof *v);
        x->place = (kl__place){KL__AT_SPAN, {held[n_held++], 0}, 0};
        assert_int_equal(kl__lane_write(lane, x->place.span, v, count * sizeof *v, NULL), KL_OK);
        free(v);
    }
    kl__plan *p = kl__plan_create(ctx, g, &(kl__plan_opts){.no_fuse = !fuse});
    if (!p || kl__plan_run(p, lane) != KL_OK || kl__plan_run(p, lane) != KL_OK)
        fail_msg("%s", kl_last_error());
    *absorbed = 0;
    for (size_t i = 0; i < p->graph->n_applies; i++)
        *absorbed += p->graph->applies[i]->epilogue.apply != NULL;
    float *v = NULL;
    *n = 0;
    for (size_t i = 0; i < p->graph->n_outputs; i++) {
        const kl_node *y = p->graph->outputs[i].node;
        size_t m = (size_t)kl_shape_count(y->desc.shape);
        v = realloc(v, (*n + m + 1) * sizeof *v);
        if (kl__lane_read(lane, y->place.span, v + *n, m * sizeof *v, NULL) != KL_OK)
            fail_msg("%s", kl_last_error());
        *n += m;
    }
    kl__plan_destroy(p);
    while (n_held > 0)
        kl__mem_release(held[--n_held]);
    return v;
}

static void compare(kl_ctx *ctx, const net *t)
{
    size_t n, m;
    int none, some;
    float *a = computed(ctx, build(t), false, &n, &none);
    float *b = computed(ctx, build(t), true, &m, &some);
    double most = 0;
    assert_int_equal(n, m);
    assert_int_equal(none, 0);
    if (kl__ctx_caps(ctx)->solo && t->absorbed >= 0)
        assert_int_equal(some, t->absorbed);
    else if (kl__ctx_caps(ctx)->solo)
        assert_true(some > 0);
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)a[i]));
    assert_true(most > 0);
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)a[i] - (double)b[i]) <= 2e-6 * most))
            fail_msg("%s, %d lanes: element %zu is %.9g apart and %.9g together", t->name,
                     kl__ctx_caps(ctx)->vector, i, (double)a[i], (double)b[i]);
    free(a);
    free(b);
}

static void numbers_are_the_same(void **state)
{
    static const char *const widths[] = {"16", "8", "4"};
    (void)state;
    for (int w = 0; w < 3; w++) {
        setenv("KILN_VECTOR", widths[w], 1);
        kl_ctx *ctx = kl_ctx_create(NULL);
        assert_non_null(ctx);
        for (size_t i = 0; i < sizeof nets / sizeof *nets; i++)
            compare(ctx, &nets[i]);
        kl_ctx_destroy(ctx);
    }
    unsetenv("KILN_VECTOR");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(numbers_are_the_same)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
