/* The order of a plan's applies, and the choice between one compute lane and two. */
#include "rand_net.h"

#include "support/null_cl.h"

#include <kiln/zoo.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static kl_ctx *null_ctx(void)
{
    null_cl_setup(NULL, 0, 0);
    kl__cl_set_table(null_cl_table());
    kl_ctx *c = kl_ctx_create(&(kl_ctx_opts){.cache_dir = ""});
    if (!c)
        fail_msg("%s", kl_last_error());
    return c;
}

/** Where in the pass the gradient of a parameter is complete, 0 to 1. */
static double complete_at(const kl__plan *p, const kl_node *x)
{
    return (double)p->first_step[x->by->id + 1] / (double)kl__seq_count(p->seq);
}

/* What nothing but an output waits for runs as soon as its inputs are there: between the last of
 * those and it stand only applies of its kind. So the last layers' gradients come first. */
static void gradients_are_complete_early(void **state)
{
    (void)state;
    for (uint32_t k = 0; k < 40; k++) {
        net_pass p;
        kl_ctx *c = null_ctx();
        net_pass_open(&p, c, rand_net(k), 2, NULL);
        const kl_graph *g = p.plan->graph;
        bool *side = calloc(g->n_applies, sizeof *side);
        assert_non_null(side);
        assert_int_equal(kl__graph_side(g, side, NULL), KL_OK);
        for (size_t i = 0; i < g->n_applies; i++) {
            const kl__apply *a = g->applies[i];
            size_t ready = 0;
            for (int j = 0; j < a->n_in; j++) {
                assert_true(a->in[j]->by->id < i);
                ready = a->in[j]->by->id > ready ? a->in[j]->by->id : ready;
            }
            for (size_t q = ready + 1; side[i] && q < i; q++)
                if (!side[q] && p.plan->first_step[q] != p.plan->first_step[q + 1])
                    fail_msg("net %u: \"%s\" stands behind \"%s\" and need not", k, a->name,
                             g->applies[q]->name);
        }
        free(side);
        net_pass_close(&p);
        kl_ctx_destroy(c);
        kl__cl_set_table(NULL);
    }
}

/* Against the order in which gradients are built: complete no later on the average, in an arena
 * that is no larger than 5 % and 256 KiB (order) and 10 % and 1 MiB (bytes that the side holds)
 * allow. */
static void order_costs_little_memory(void **state)
{
    (void)state;
    static const char *const nets[] = {"lenet", "vgg6", "resnet18"};
    for (size_t k = 0; k < sizeof nets / sizeof *nets; k++) {
        double mean[2] = {0, 0};
        size_t bytes[2] = {0, 0};
        kl_ctx *c = null_ctx();
        for (int as_built = 0; as_built < 2; as_built++) {
            net_pass p;
            kl_graph *net = kl_zoo_build(nets[k], NULL, 10);
            size_t n = 0;
            assert_non_null(net);
            net_pass_open(&p, c, net, 4, &(kl__plan_opts){.as_built = as_built});
            const kl_graph *g = p.plan->graph;
            for (size_t i = 0; i < g->n_outputs; i++)
                if (!strncmp(g->outputs[i].name, "grad:", 5)) {
                    mean[as_built] += complete_at(p.plan, g->outputs[i].node);
                    n++;
                }
            assert_true(n > 5);
            bytes[as_built] = p.plan->memory.arena_bytes;
            net_pass_close(&p);
        }
        assert_true(mean[0] <= mean[1] + 1e-9);
        assert_true((double)bytes[0] <= 1.1 * (1.05 * (double)bytes[1] + (1 << 18)) + (1 << 20));
        kl_ctx_destroy(c);
        kl__cl_set_table(NULL);
    }
}

/* The longest path of a chain with one branch beside it: the short branch is the side. */
static void the_side_is_what_the_longest_path_does_not_need(void **state)
{
    (void)state;
    kl_graph *g = kl_graph_parse("x = input(shape=[64,64])\nshort = relu(x)\n"
                                 "a = exp(x)\nb = matmul(a, a)\nc = matmul(b, b)\n"
                                 "output short = short\noutput c = c\n",
                                 NULL);
    assert_non_null(g);
    kl_graph *low = kl__graph_lower(g, 1, false, KL_F32, NULL, 0);
    assert_non_null(low);
    kl_ctx *c = null_ctx();
    for (size_t i = 0; i < low->n_applies; i++)
        if (!(low->applies[i]->op->flags & KL__OP_LEAF))
            assert_int_equal(kl__choose_variant(low->applies[i], kl__ctx_caps(c), NULL), KL_OK);
    bool side[8];
    double tail[8];
    assert_true(low->n_applies <= 8);
    assert_int_equal(kl__graph_side(low, side, tail), KL_OK);
    for (size_t i = 0; i < low->n_applies; i++)
        assert_int_equal(side[i], !strcmp(low->applies[i]->name, "short"));
    for (size_t i = 0; i < low->n_applies; i++)
        for (int k = 0; k < low->applies[i]->n_in; k++)
            assert_true(tail[low->applies[i]->in[k]->by->id] >= tail[i]);
    kl_graph_destroy(low);
    kl_graph_destroy(g);
    kl_ctx_destroy(c);
    kl__cl_set_table(NULL);
}

/* ---- one lane or two ---- */

/** A run of steps that take one[0] seconds on one lane and one[1] on two; every 5th takes three
 * times as long. Returns how many were needed to decide. */
static int measure(kl__lane_choice *c, double one, double two, bool waited)
{
    double now = 0;
    for (uint64_t step = 0; step < 200; step++) {
        int64_t samples = step % 11 == 10 ? 7 : 32; /* the end of an epoch */
        int lanes = kl__lane_choice_begin(c, step, samples);
        assert_true(lanes == 1 || lanes == 2);
        if (c->chosen)
            return (int)step;
        assert_true(samples == 32 || lanes == 1);
        now += (lanes == 2 ? two : one) * (samples == 7 ? 0.01 : step % 5 == 4 ? 3 : 1);
        kl__lane_choice_end(c, step, now, waited);
    }
    return 200;
}

static void two_lanes_are_kept_where_faster(void **state)
{
    (void)state;
    static const struct {
        double one, two;
        int want;
    } cases[] = {{1, 0.8, 2}, {1, 0.96, 2}, {1, 0.98, 1}, {1, 1, 1}, {1, 1.5, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kl__lane_choice c = {0};
        int steps = measure(&c, cases[i].one, cases[i].two, true);
        assert_int_equal(c.chosen, cases[i].want);
        assert_true(steps < 40);
        assert_int_equal(kl__lane_choice_begin(&c, 1000, 5), cases[i].want);
    }
}

/* Where the host is what is waited for, nothing is known of the device: one lane. */
static void a_slow_host_keeps_one_lane(void **state)
{
    (void)state;
    kl__lane_choice c = {0};
    assert_true(measure(&c, 1, 0.5, false) < 100);
    assert_int_equal(c.chosen, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_complete_early),
        cmocka_unit_test(order_costs_little_memory),
        cmocka_unit_test(the_side_is_what_the_longest_path_does_not_need),
        cmocka_unit_test(two_lanes_are_kept_where_faster),
        cmocka_unit_test(a_slow_host_keeps_one_lane),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
