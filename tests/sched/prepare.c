/* What depends on parameters only is computed once per version of them, and gives the same bits. */
#include "sched/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

enum { N = 2, C = 16, HW = 8, K = 16, X = N * C * HW * HW, W = K * C * 9, Y = N * K * HW * HW };

static const char text[] = "x = input(shape=[N,16,8,8])\n"
                           "w = param(shape=[16,16,3,3], init=ones, trainable=true)\n"
                           "y = conv2d(x, w, pad=1)\n"
                           "e = exp(w)\ns = reduce_sum(e)\nz = mul(y, s)\noutput z = z\n";

typedef struct rig {
    kl_ctx *ctx;
    kl__mem *x, *w, *z;
    kl__plan *plan;
} rig;

static void write(rig *r, kl__mem *m, size_t n, float scale)
{
    static float v[X + W];
    for (size_t i = 0; i < n; i++)
        v[i] = scale * (float)((int)(i * 37 % 101) - 50) / 50;
    assert_int_equal(kl__lane_write(kl__ctx_lane(r->ctx, KL__COMPUTE), (kl__span){m, 0}, v,
                                    n * sizeof *v, NULL),
                     KL_OK);
}

static void open_rig(rig *r, bool prepare)
{
    kl_graph *user = kl_graph_parse(text, NULL);
    if (!user || !(r->ctx = kl_ctx_create(NULL)))
        fail_msg("%s", kl_last_error());
    kl_graph *g = kl__graph_lower(user, N, false, KL_F32, NULL, 0);
    r->x = kl__mem_create(r->ctx, X * sizeof(float));
    r->w = kl__mem_create(r->ctx, W * sizeof(float));
    r->z = kl__mem_create(r->ctx, Y * sizeof(float));
    for (size_t i = 0; i < g->n_nodes; i++) {
        if (kl__is_input(g->nodes[i]))
            g->nodes[i]->place = (kl__place){KL__AT_SPAN, {r->x, 0}, 0};
        if (kl__is_param(g->nodes[i]))
            g->nodes[i]->place = (kl__place){KL__AT_SPAN, {r->w, 0}, 0};
    }
    g->outputs[0].place = (kl__place){KL__AT_SPAN, {r->z, 0}, 0};
    r->plan = kl__plan_create(r->ctx, g, &(kl__plan_opts){.prepare = prepare});
    if (!r->plan)
        fail_msg("%s", kl_last_error());
    kl_graph_destroy(user);
}

static void close_rig(rig *r)
{
    kl__plan_destroy(r->plan);
    kl__mem_release(r->x);
    kl__mem_release(r->w);
    kl__mem_release(r->z);
    kl_ctx_destroy(r->ctx);
}

static void run(rig *r, float z[Y])
{
    kl__lane *lane = kl__ctx_lane(r->ctx, KL__COMPUTE);
    assert_int_equal(kl__plan_run(r->plan, lane), KL_OK);
    assert_int_equal(kl__lane_read(lane, (kl__span){r->z, 0}, z, Y * sizeof *z, NULL), KL_OK);
}

static void once_per_version(void **state)
{
    static float a[3][Y], b[3][Y];
    rig p, q;
    (void)state;
    open_rig(&p, true);
    open_rig(&q, false);
    assert_true(p.plan->n_prepared > 0);
    assert_true(p.plan->first_step[p.plan->n_prepared] > 0);
    assert_int_equal(q.plan->n_prepared, 0);
    for (int i = 0; i < 3; i++) { /* parameters change; so does the input, which must not matter */
        write(&p, p.w, W, (float)(i + 1));
        write(&q, q.w, W, (float)(i + 1));
        kl__plan_params(p.plan, (uint64_t)i + 1);
        for (int k = 0; k < 3; k++) {
            write(&p, p.x, X, (float)(k + 2));
            write(&q, q.x, X, (float)(k + 2));
            kl__plan_params(p.plan, (uint64_t)i + 1);
            run(&p, a[i]);
            run(&q, b[i]);
            assert_memory_equal(a[i], b[i], sizeof a[i]);
        }
    }
    assert_memory_not_equal(a[0], a[1], sizeof a[0]);
    write(&p, p.w, W, 9); /* nobody says that they changed: what was prepared is used */
    run(&p, a[1]);
    write(&q, q.w, W, 9);
    run(&q, b[1]);
    assert_memory_not_equal(a[1], b[1], sizeof a[1]);
    kl__plan_params(p.plan, 99);
    run(&p, a[1]);
    assert_memory_equal(a[1], b[1], sizeof a[1]);
    close_rig(&p);
    close_rig(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(once_per_version)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
