/* What depends on all samples becomes that of all shards: every reader behind it reads the new
 * value, and all stands in order. */
#include "graph/graph.h"

#include <kiln/kiln.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static const char net[] = "x = input(shape=[N,3,4,5])\n"
                          "w = conv2d(x, filters=6, kernel=1)\n"
                          "a = batchnorm(w)\n"
                          "b = batchnorm(a, no_scale=true)\n"
                          "l = reduce_sum(b)\n"
                          "output l = l\n";

/** Training form with the gradient of x; outputs l and dx. */
static kl_graph *lowered(const char *text, int64_t batch)
{
    kl_graph *g = kl_graph_parse(text, "net");
    kl_graph *low = g ? kl__graph_lower(g, batch, true, KL_F32, NULL, 0) : NULL;
    if (!low)
        fail_msg("%s", kl_last_error());
    kl_graph_destroy(g);
    float one = 1;
    kl_node *y = kl_graph_output(low, "l"), *x = kl_graph_find(low, "x"), *dx = NULL;
    kl_node *seed = kl_constant(low, "one", KL_F32, y->desc.shape, &one);
    assert_int_equal(kl__graph_grad(low, y, seed, &x, 1, &dx), KL_OK);
    kl_output(low, "dx", dx);
    return low;
}

static void readers_read_what_all_shards_have(void **state)
{
    (void)state;
    kl_graph *g = lowered(net, 4);
    size_t n = 0, meets = 0;
    assert_int_equal(kl__graph_meet(g, 3, &n), KL_OK);
    assert_int_equal(n, 4); /* forward and back */
    for (size_t i = 0; i < g->n_applies; i++) {
        const kl__apply *a = g->applies[i];
        assert_int_equal(a->id, i);
        for (int k = 0; k < a->n_in; k++)
            assert_true(a->in[k]->by->id < i);
        if (a->op->flags & KL__OP_MEET) {
            const kl__apply *own = a->in[0]->by;
            assert_ptr_equal(a->in[0], own->out[own->op->row[0]]);
            assert_ptr_equal(a->in[1], own->out[own->op->row[1]]);
            assert_int_equal(a->in[2]->desc.shape.dim[0], 3);
            assert_int_equal(a->in[2]->desc.shape.dim[1], 12);
            assert_true(kl__is_input(a->in[2]) && kl__is_input(a->in[3]));
            meets++;
            continue;
        }
        for (int k = 0; k < a->n_in; k++) /* a shard's own statistics have no reader left */
            assert_string_not_equal(a->in[k]->by->op->name, "bn_stats");
    }
    assert_int_equal(meets, 4);
    assert_int_equal(g->n_updates, 4);
    for (size_t i = 0; i < g->n_updates; i++)
        assert_string_equal(g->updates[i].value->by->op->name, "bn_meet");
    kl_graph_destroy(g);
}

static void without_statistics_nothing_changes(void **state)
{
    (void)state;
    kl_graph *g =
        lowered("x = input(shape=[N,3])\nr = relu(x)\nl = reduce_sum(r)\noutput l = l\n", 2);
    const size_t before = g->n_applies;
    size_t n = 7;
    assert_int_equal(kl__graph_meet(g, 3, &n), KL_OK);
    assert_int_equal(n, 0);
    assert_int_equal(g->n_applies, before);
    kl_graph_destroy(g);
}

/* Values that are no samples' cannot be counted over shards. */
static void other_batches_are_refused(void **state)
{
    (void)state;
    kl_graph *g = lowered("x = input(shape=[3,2])\na = batchnorm(x)\nl = reduce_sum(a)\n"
                          "output l = l\n", 2);
    size_t n;
    assert_int_equal(kl__graph_meet(g, 3, &n), KL_E_UNSUPPORTED);
    assert_non_null(strstr(kl_last_error(), "do not belong to 2 samples"));
    kl_graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_read_what_all_shards_have),
        cmocka_unit_test(without_statistics_nothing_changes),
        cmocka_unit_test(other_batches_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
