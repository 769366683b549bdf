/* Parameter sets of direct convolution (tiles, strips, and through the caches' sizes the rest of
 * the blocking) change no bit of any result. */
#include "base/rng.h"
#include "ops/conv2d.h"
#include "sched/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

typedef struct geometry {
    const char *name;
    int N, C, H, W, K, kernel, stride, pad, OH, OW;
} geometry;

static const geometry geometries[] = {
    {"1x1, a plane as one row", 2, 80, 7, 9, 64, 1, 1, 0, 7, 9},
    {"3x3, stride 2", 3, 40, 15, 14, 48, 3, 2, 1, 8, 7},
    {"5x5, first layer", 2, 3, 17, 20, 32, 5, 1, 2, 17, 20},
};

static kl_node *apply_of(kl_graph *g, const geometry *c, kl__conv_pass pass)
{
    kl__conv_bwd o = {{c->stride, c->stride}, {1, 1}, {c->pad, c->pad}, 1, {c->kernel, c->kernel}};
    kl_shape xs = kl__shape4(c->N, c->C, c->H, c->W),
             ws = kl__shape4(c->K, c->C, o.size[0], o.size[1]),
             ys = kl__shape4(c->N, c->K, c->OH, c->OW);
    kl_node *x = pass == KL__CONV_DATA ? NULL : kl_input(g, "x", KL_F32, xs);
    kl_node *w = pass == KL__CONV_WEIGHTS ? NULL : kl_input(g, "w", KL_F32, ws);
    if (pass == KL__CONV_FWD)
        return kl_conv2d_with(
            g, x, w, NULL,
            &(kl_conv2d_opts){.stride = {c->stride, c->stride},
                              .pad = {KL_PAD_EXPLICIT, c->pad, c->pad, c->pad, c->pad}});
    kl_node *dy = kl_input(g, "dy", KL_F32, ys);
    if (pass == KL__CONV_WEIGHTS)
        return kl__conv_bwd_weights(g, x, dy, &o);
    o.size[0] = c->H;
    o.size[1] = c->W;
    return kl__conv_bwd_data(g, w, dy, &o);
}

/** The result with the parameter set; NULL where there is no such set. */
static float *computed(kl_ctx *ctx, const geometry *c, kl__conv_pass pass, int config, size_t *n)
{
    kl__lane *lane = kl__ctx_lane(ctx, KL__COMPUTE);
    kl_graph *g = kl_graph_create();
    kl_node *y = apply_of(g, c, pass);
    char force[64];
    kl__mem *held[2];
    int n_held = 0;
    assert_non_null(y);
    snprintf(force, sizeof force, "%s:solo@%d", y->by->op->name, config);
    kl_output(g, "y", y);
    for (int i = 0; i < y->by->n_in; i++) {
        size_t count = (size_t)kl_shape_count(y->by->in[i]->desc.shape);
        float *v = malloc(count * sizeof *v);
        assert_non_null(v);
        const kl__rng r = kl__rng_of(3, "configs", (uint32_t)i);
        for (size_t k = 0; k < count; k++)
            v[k] = (float)kl__rng_normal(r, k);
        held[n_held] = kl__mem_create(ctx, count * sizeof *v);
        y->by->in[i]->place = (kl__place){KL__AT_SPAN, {held[n_held++], 0}, 0};
        assert_int_equal(kl__lane_write(lane, y->by->in[i]->place.span, v, count * sizeof *v, NULL),
                         KL_OK);
        free(v);
    }
    kl__plan *p = kl__plan_create(ctx, g, &(kl__plan_opts){.force = force});
    if (!p || kl__plan_run(p, lane) != KL_OK)
        fail_msg("%s, %s: %s", c->name, force, kl_last_error());
    const kl_node *out = p->graph->outputs[0].node;
    *n = (size_t)kl_shape_count(out->desc.shape);
    float *v = malloc(*n * sizeof *v);
    assert_non_null(v);
    assert_int_equal(kl__lane_read(lane, out->place.span, v, *n * sizeof *v, NULL), KL_OK);
    kl__plan_destroy(p);
    while (n_held > 0)
        kl__mem_release(held[--n_held]);
    return v;
}

static void every_set_gives_the_same_bits(void **state)
{
    (void)state;
    kl_ctx *ctx = kl_ctx_create(NULL);
    assert_non_null(ctx);
    for (size_t i = 0; kl__ctx_caps(ctx)->solo && i < sizeof geometries / sizeof *geometries; i++)
        for (int pass = KL__CONV_FWD; pass <= KL__CONV_WEIGHTS; pass++) {
            size_t n, m;
            float *a = computed(ctx, &geometries[i], (kl__conv_pass)pass, 0, &n);
            for (int config = 1; config < 4; config++) {
                float *b = computed(ctx, &geometries[i], (kl__conv_pass)pass, config, &m);
                if (n != m || memcmp(a, b, n * sizeof *a) != 0)
                    fail_msg("%s, pass %d: set %d gives other bits", geometries[i].name, pass,
                             config);
                free(b);
            }
            free(a);
        }
    kl_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_set_gives_the_same_bits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
