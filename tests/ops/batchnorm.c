/* Batch normalisation: statistics, application, backward, running statistics, and what it lowers
 * to. */
#include "rig.h"

#include "graph/graph.h"
#include "ops/batchnorm.h"
#include "ops/running_update.h"
#include "sched/plan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

typedef struct view {
    size_t n, c, hw;
} view;
static view view_of(const kl__apply *a)
{
    kl_shape s = a->in[0]->desc.shape;
    view v = {(size_t)s.dim[0], (size_t)s.dim[1], 1};
    for (int i = 2; i < s.n_dims; i++)
        v.hw *= (size_t)s.dim[i];
    return v;
}
#define EACH(v, c_, at)                                                                            \
    for (size_t n_ = 0, at = 0; n_ < (v).n; n_++)                                                  \
        for (size_t j_ = 0; j_ < (v).hw && ((at = (n_ * (v).c + (c_)) * (v).hw + j_), true); j_++)

static void stats_reference(const kl__apply *a, const double *const *in, double *const *out)
{
    const kl__bn *k = a->attrs;
    const view v = view_of(a);
    const double count = (double)(v.n * v.hw);
    for (size_t c = 0; c < v.c && count > 0; c++) {
        double sum = 0, sq = 0;
        EACH(v, c, at) sum += in[0][at];
        const double mean = sum / count;
        EACH(v, c, at) sq += (in[0][at] - mean) * (in[0][at] - mean);
        out[KL__BN_MEAN][c] = mean;
        out[KL__BN_INV][c] = 1 / sqrt(sq / count + (double)k->eps);
        out[KL__BN_KEPT][c] = sq / (k->biased || count < 2 ? count : count - 1);
        out[KL__BN_SCALE][c] = (k->scale ? in[1][c] : 1) * out[KL__BN_INV][c];
    }
}

/** y = (x - mean) scale + shift. */
static void apply_reference(const kl__apply *a, const double *const *in, double *const *out)
{
    const view v = view_of(a);
    for (size_t c = 0; c < v.c; c++)
        EACH(v, c, at) out[0][at] = (in[0][at] - in[1][c]) * in[2][c] + in[3][c];
}

/** From x, dy, mean, inv, scale: dw, db, and dx's terms. */
static void bwd_reference(const kl__apply *a, const double *const *in, double *const *out)
{
    const view v = view_of(a);
    const double *x = in[0], *dy = in[1], count = (double)(v.n * v.hw);
    for (size_t c = 0; c < v.c; c++) {
        const double mean = in[2][c], r = in[3][c], scale = in[4][c];
        double s1 = 0, s2 = 0;
        EACH(v, c, at)
        {
            s1 += dy[at];
            s2 += dy[at] * (x[at] - mean) * r;
        }
        out[KL__BN_DW][c] = s2;
        out[KL__BN_DB][c] = s1;
        /* dx = scale (dy - s1 / count - (x - mean) r s2 / count) */
        out[KL__BN_SLOPE][c] = -scale * r * s2 / count;
        out[KL__BN_OFFSET][c] = -scale * s1 / count;
    }
}

static void dx_reference(const kl__apply *a, const double *const *in, double *const *out)
{
    const view v = view_of(a);
    for (size_t c = 0; c < v.c; c++)
        EACH(v, c, at)
    out[0][at] = in[3][c] * in[0][at] + in[4][c] * (in[1][at] - in[2][c]) + in[5][c];
}

static const kl_shape shapes[] = {
    {4, {2, 3, 5, 5}},   {4, {4, 17, 7, 7}}, {4, {1, 4, 3, 3}}, {3, {3, 2, 1}},  {4, {2, 5, 1, 1}},
    {4, {3, 2, 33, 47}}, {3, {5, 1, 15}},    {3, {2, 3, 16}},   {3, {2, 3, 31}}, {4, {70, 2, 4, 4}},
    {2, {33, 10}},       {2, {130, 33}},     {2, {7, 16}},      {2, {1, 3}},
};

static rig_input channels(size_t shape, double lo, double hi)
{
    return (rig_input){KL_F32, {1, {shapes[shape].dim[1]}}, RIG_UNIFORM, lo, hi, NULL, false};
}

static void test_statistics(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(shapes); i++)
        for (int biased = 0; biased < 2; biased++) {
            const kl__bn k = {.eps = 1e-3f, .biased = biased, .scale = (i + (size_t)biased) % 2};
            rig_run(&(rig_case){
                "statistics",
                &kl__op_bn_stats,
                &k,
                1 + k.scale,
                0,
                {{KL_F32, shapes[i], RIG_UNIFORM, 1, 3, NULL, false}, channels(i, -2, 2)},
                stats_reference,
                {RIG_ULP, 16},
                {0},
                NULL});
        }
}

/* A sum of squares less the squared mean would have no right digit here. */
static void test_statistics_far_from_zero(void **state)
{
    (void)state;
    const kl__bn k = {0};
    const kl_shape far[] = {{4, {8, 3, 20, 20}}, {2, {300, 20}}};
    for (size_t i = 0; i < COUNT(far); i++)
        rig_run(&(rig_case){"far from zero",
                            &kl__op_bn_stats,
                            &k,
                            1,
                            0,
                            {{KL_F32, far[i], RIG_UNIFORM, 1000, 1001, NULL, false}},
                            stats_reference,
                            {RIG_ULP, 64},
                            {0},
                            NULL});
    double spike[2048]; /* the first value says nothing about the others */
    for (int i = 0; i < 2048; i++)
        spike[i] = i == 0 ? 4096 : (i % 7) - 3;
    rig_run(&(rig_case){"spike first",
                        &kl__op_bn_stats,
                        &k,
                        1,
                        0,
                        {{KL_F32, {3, {8, 4, 64}}, RIG_DATA, 0, 0, spike, false}},
                        stats_reference,
                        {RIG_ULP, 64},
                        {0},
                        NULL});
}

static void eight_biased(const kl__apply *a, const double *const *in, double *const *out)
{
    (void)in;
    out[KL__BN_MEAN][0] = 3.5;
    out[KL__BN_INV][0] = 0.25; /* 5.25 + 10.75 is 16 */
    out[KL__BN_KEPT][0] = ((const kl__bn *)a->attrs)->biased ? 5.25 : 6;
    out[KL__BN_SCALE][0] = 0.25;
}

static void test_kept_variance_by_convention(void **state)
{
    (void)state;
    const double eight[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    for (int biased = 0; biased < 2; biased++) {
        const kl__bn k = {.eps = 10.75f, .biased = biased};
        rig_run(&(rig_case){"0..7",
                            &kl__op_bn_stats,
                            &k,
                            1,
                            0,
                            {{KL_F32, {2, {8, 1}}, RIG_DATA, 0, 0, eight, false}},
                            eight_biased,
                            {RIG_EXACT, 0},
                            {0},
                            NULL});
        rig_run(&(rig_case){"0..7",
                            &kl__op_bn_stats,
                            &k,
                            1,
                            0,
                            {{KL_F32, {3, {2, 1, 4}}, RIG_DATA, 0, 0, eight, false}},
                            eight_biased,
                            {RIG_EXACT, 0},
                            {0},
                            NULL});
    }
}

static void test_nan_stays_in_its_channel(void **state)
{
    (void)state;
    double x[2 * 3 * 20];
    for (int i = 0; i < 120; i++)
        x[i] = i % 5;
    x[25] = NAN; /* channel 1 */
    const kl__bn k = {0};
    rig_run(&(rig_case){"NaN",
                        &kl__op_bn_stats,
                        &k,
                        1,
                        0,
                        {{KL_F32, {3, {2, 3, 20}}, RIG_DATA, 0, 0, x, false}},
                        stats_reference,
                        {RIG_ULP, 16},
                        {0},
                        NULL});
    rig_run(&(rig_case){"NaN",
                        &kl__op_bn_stats,
                        &k,
                        1,
                        0,
                        {{KL_F32, {2, {6, 20}}, RIG_DATA, 0, 0, x, false}},
                        stats_reference,
                        {RIG_ULP, 16},
                        {0},
                        NULL});
}

static void test_no_samples_give_zeros(void **state)
{
    (void)state;
    const kl__bn k = {0};
    rig_run(&(rig_case){"no samples",
                        &kl__op_bn_stats,
                        &k,
                        1,
                        0,
                        {{KL_F32, {4, {0, 3, 4, 4}}, RIG_UNIFORM, 1, 3, NULL, false}},
                        stats_reference,
                        {RIG_EXACT, 0},
                        {0},
                        NULL});
}

/** One number per channel in a shape that broadcasts to shapes[shape]. */
static rig_input broadcast(size_t shape, double lo, double hi)
{
    rig_input r = channels(shape, lo, hi);
    r.shape.n_dims = shapes[shape].n_dims - 1;
    for (int d = 1; d < r.shape.n_dims; d++)
        r.shape.dim[d] = 1;
    return r;
}

static void test_application(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(shapes); i++)
        rig_run(&(rig_case){"application",
                            &kl__op_bn_apply,
                            NULL,
                            4,
                            0,
                            {{KL_F32, shapes[i], RIG_NORMAL, 0, 2, NULL, false},
                             broadcast(i, -1, 1),
                             broadcast(i, 0.5, 6),
                             broadcast(i, -2, 2)},
                            apply_reference,
                            {RIG_L2, 3e-7},
                            {0},
                            NULL});
}

static void test_backward(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(shapes); i++) {
        rig_run(&(rig_case){"backward",
                            &kl__op_bn_bwd_stats,
                            NULL,
                            5,
                            0,
                            {{KL_F32, shapes[i], RIG_NORMAL, 0, 2, NULL, false},
                             {KL_F32, shapes[i], RIG_UNIFORM, -1, 2, NULL, false},
                             channels(i, -1, 1),
                             channels(i, 0.5, 3),
                             channels(i, -2, 2)},
                            bwd_reference,
                            {RIG_L2, 2e-6},
                            {0},
                            NULL});
        rig_run(&(rig_case){"dx",
                            &kl__op_bn_bwd_x,
                            NULL,
                            6,
                            0,
                            {{KL_F32, shapes[i], RIG_UNIFORM, -1, 2, NULL, false},
                             {KL_F32, shapes[i], RIG_NORMAL, 0, 2, NULL, false},
                             broadcast(i, -1, 1),
                             broadcast(i, -2, 2),
                             broadcast(i, -1, 1),
                             broadcast(i, -1, 1)},
                            dx_reference,
                            {RIG_L2, 2e-6},
                            {0},
                            NULL});
    }
}

/* ---- the whole layer ------------------------------------------------------------------------- */
enum { LN = 5, LC = 19, LH = 6, LW = 7, LHW = LH * LW, LSIZE = LN * LC * LHW };

static kl_node *output_of(kl_graph *g, const char *name, kl_ctx *ctx, kl__mem **mem, size_t n)
{
    *mem = kl__mem_create(ctx, n * sizeof(float));
    assert_non_null(*mem);
    for (size_t i = 0; i < g->n_outputs; i++)
        if (!strcmp(g->outputs[i].name, name))
            g->outputs[i].place = (kl__place){KL__AT_SPAN, {*mem, 0}, 0};
    return kl_graph_output(g, name);
}

static void put_leaf(kl_graph *g, const char *name, kl_ctx *ctx, kl__mem **mem, const float *v,
                     size_t n)
{
    kl_node *x = kl_graph_find(g, name);
    *mem = x ? kl__mem_create(ctx, n * sizeof(float)) : NULL;
    if (!x)
        return;
    assert_int_equal(kl__lane_write(kl__ctx_lane(ctx, KL__COMPUTE), (kl__span){*mem, 0}, v,
                                    n * sizeof(float), NULL),
                     KL_OK);
    x->place = (kl__place){KL__AT_SPAN, {*mem, 0}, 0};
}

/** The layer on plain storage through all passes of a plan, against the definition. */
static void run_layer(kl_ctx *ctx, bool training, int params, kl_compat compat)
{
    const kl_batchnorm_opts o = {
        .name = "bn", .no_scale = !(params & 1), .no_shift = !(params & 2), .compat = compat};
    static float x[LSIZE], y[LSIZE];
    float p[4][LC];
    static const char *const names[4] = {"bn.weight", "bn.bias", "bn.running_mean",
                                         "bn.running_var"};
    kl__mem *mem[6] = {NULL};
    for (int i = 0; i < LSIZE; i++)
        x[i] = (float)(3 * sin(i * 0.7) + i % 5);
    for (int i = 0; i < 4 * LC; i++)
        p[i / LC][i % LC] = (float)(1.3 + sin(i * 1.1)); /* 0.3..2.3 */
    kl_graph *g = kl_graph_create();
    kl_node *in = kl_input(g, "x", KL_F32, (kl_shape){4, {LN, LC, LH, LW}});
    kl_output(g, "y", kl_batchnorm(g, in, &o));
    kl_graph *low = kl__graph_lower(g, LN, training, KL_F32, NULL, 0);
    assert_non_null(low);
    put_leaf(low, "x", ctx, &mem[4], x, LSIZE);
    for (int i = 0; i < 4; i++)
        put_leaf(low, names[i], ctx, &mem[i], p[i], LC);
    assert_non_null(output_of(low, "y", ctx, &mem[5], LSIZE));
    kl__plan *plan = kl__plan_create(ctx, low, NULL);
    if (!plan)
        fail_msg("%s", kl_last_error());
    kl__lane *lane = kl__ctx_lane(ctx, KL__COMPUTE);
    assert_int_equal(kl__plan_run(plan, lane), KL_OK);
    assert_int_equal(kl__lane_read(lane, (kl__span){mem[5], 0}, y, sizeof y, NULL), KL_OK);
    const double eps = compat == KL_KERAS ? (double)1e-3f : (double)1e-5f;
    const view v = {LN, LC, LHW};
    double error = 0, norm = 0;
    for (size_t c = 0; c < LC; c++) {
        double mean = (double)p[2][c], var = (double)p[3][c], sum = 0, sq = 0;
        EACH(v, c, at) sum += (double)x[at];
        EACH(v, c, at)
        sq += ((double)x[at] - sum / (LN * LHW)) * ((double)x[at] - sum / (LN * LHW));
        if (training) {
            mean = sum / (LN * LHW);
            var = sq / (LN * LHW);
        }
        EACH(v, c, at)
        {
            const double want =
                ((double)x[at] - mean) / sqrt(var + eps) * (o.no_scale ? 1 : (double)p[0][c]) +
                (o.no_shift ? 0 : (double)p[1][c]);
            error += (want - (double)y[at]) * (want - (double)y[at]);
            norm += want * want;
        }
    }
    if (!(sqrt(error / norm) <= 3e-7))
        fail_msg("training %d, parameters %d, compat %d: relative error %g", training, params,
                 (int)compat, sqrt(error / norm));
    kl__plan_destroy(plan);
    kl_graph_destroy(g);
    for (int i = 0; i < 6; i++)
        kl__mem_release(mem[i]);
}

static void test_layer(void **state)
{
    (void)state;
    kl_ctx *ctx = kl_ctx_create(NULL);
    assert_non_null(ctx);
    for (int params = 0; params < 4; params++)
        for (int m = 0; m < 4; m++)
            run_layer(ctx, m & 1, params, m & 2 ? KL_KERAS : KL_TORCH);
    kl_ctx_destroy(ctx);
}

static void four(const kl__apply *a, const double *const *in, double *const *out)
{
    (void)a;
    (void)in;
    const double y[4] = {-1.341635, -0.447212, 0.447212, 1.341635};
    memcpy(out[0], y, sizeof y);
}

static void test_worked_example(void **state)
{
    (void)state;
    const double x[4] = {1, 2, 3, 4}, mean = 2.5, scale = 1 / sqrt(1.25 + 1e-5), zero = 0;
    rig_run(&(rig_case){"1 2 3 4",
                        &kl__op_bn_apply,
                        NULL,
                        4,
                        0,
                        {{KL_F32, {2, {4, 1}}, RIG_DATA, 0, 0, x, false},
                         {KL_F32, {1, {1}}, RIG_DATA, 0, 0, &mean, false},
                         {KL_F32, {1, {1}}, RIG_DATA, 0, 0, &scale, false},
                         {KL_F32, {1, {1}}, RIG_DATA, 0, 0, &zero, false}},
                        four,
                        {RIG_L2, 1e-6},
                        {0},
                        NULL});
}

static int with_torch(kl_graph *g, kl_node *const *in, kl_node **out)
{
    out[0] = kl_batchnorm(g, in[0], NULL);
    return 1;
}
static int with_keras(kl_graph *g, kl_node *const *in, kl_node **out)
{
    out[0] = kl_batchnorm(g, in[0],
                          &(kl_batchnorm_opts){.compat = KL_KERAS, .no_shift = true, .name = "bn"});
    return 1;
}
static int without_scale(kl_graph *g, kl_node *const *in, kl_node **out)
{
    out[0] = kl_batchnorm(g, in[0], &(kl_batchnorm_opts){.no_scale = true});
    return 1;
}

/* Training: through the batch's statistics. Inference: frozen ones. */
static void test_gradients(void **state)
{
    (void)state;
    rig_build *const nets[] = {with_torch, with_keras, without_scale};
    const rig_input x[] = {{KL_F32, {4, {3, 2, 3, 3}}, RIG_NORMAL, 0, 1, NULL, false},
                           {KL_F32, {2, {6, 3}}, RIG_NORMAL, 0, 1, NULL, false}};
    for (size_t n = 0; n < COUNT(nets); n++)
        for (size_t i = 0; i < COUNT(x); i++)
            for (int training = 0; training < 2; training++)
                rig_grad_net("batchnorm", nets[n], &x[i], 1, training);
}

static double wanted_keep, wanted_share;
static void running_reference(const kl__apply *a, const double *const *in, double *const *out)
{
    for (int64_t i = 0; i < a->in[0]->desc.shape.dim[0]; i++)
        out[0][i] =
            isfinite(in[1][i]) ? wanted_keep * in[0][i] + wanted_share * in[1][i] : in[0][i];
}

static void test_running_statistics(void **state)
{
    (void)state;
    const float shards = 4;
    rig_case c = {"running",
                  &kl__op_running_update,
                  NULL,
                  2,
                  0,
                  {{KL_F32, {1, {37}}, RIG_UNIFORM, 1, 2, NULL, false},
                   {KL_F32, {1, {37}}, RIG_UNIFORM, 4, 8, NULL, false}},
                  running_reference,
                  {RIG_ULP, 4},
                  {0},
                  NULL};
    memcpy(&c.step[KL__STEP_SHARDS], &shards, 4);
    wanted_keep = 0.9;
    wanted_share = 0.1 / 4;
    c.attrs = &(kl__running){.momentum = 0.1f, .compat = KL_TORCH};
    rig_run(&c);
    c.attrs = &(kl__running){.momentum = 0.9f, .compat = KL_KERAS};
    rig_run(&c);
    double values[37]; /* what is not finite leaves the state alone */
    for (int i = 0; i < 37; i++)
        values[i] = i == 5 ? (double)NAN : i == 6 ? (double)INFINITY : i;
    c.in[1].fill = RIG_DATA;
    c.in[1].data = values;
    rig_run(&c);
}

static void test_lowering(void **state)
{
    (void)state;
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "x", KL_F32, (kl_shape){4, {KL_BATCH, 3, 4, 4}});
    kl_output(g, "y", kl_batchnorm(g, x, &(kl_batchnorm_opts){.name = "bn"}));
    assert_int_equal(kl_graph_check(g), KL_OK);
    assert_true(kl__leaf_of(kl_graph_find(g, "bn.weight"))->trainable);
    assert_true(kl__leaf_of(kl_graph_find(g, "bn.bias"))->trainable);
    assert_false(kl__leaf_of(kl_graph_find(g, "bn.running_mean"))->trainable);
    assert_int_equal(kl__leaf_of(kl_graph_find(g, "bn.running_var"))->init.kind, KL_INIT_ONES);
    kl_graph *train = kl__graph_lower(g, 2, true, KL_F32, NULL, 0),
             *infer = kl__graph_lower(g, 2, false, KL_F32, NULL, 0);
    assert_non_null(train);
    assert_non_null(infer);
    assert_int_equal(infer->n_updates, 0);
    /* scale and shift come from parameters alone: a plan makes them once */
    kl_node *y = kl_graph_output(infer, "y");
    assert_ptr_equal(y->by->op, &kl__op_add);
    assert_ptr_equal(y->by->in[0]->by->op, &kl__op_mul);
    assert_true(kl__is_input(y->by->in[0]->by->in[0]));
    assert_ptr_equal(kl_graph_output(train, "y")->by->op, &kl__op_bn_apply);
    assert_int_equal(train->n_updates, 2);
    assert_string_equal(train->updates[0].state->name, "bn.running_mean");
    assert_string_equal(train->updates[1].state->name, "bn.running_var");
    assert_int_equal(train->updates[0].value->slot, KL__BN_MEAN);
    assert_int_equal(train->updates[1].value->slot, KL__BN_KEPT);
    const kl__running *r = train->updates[0].attrs;
    assert_true(r->momentum == 0.1f && r->compat == KL_TORCH);
    kl_graph_destroy(train);
    kl_graph_destroy(infer);
    kl_graph_destroy(g);
}

static void test_refusals(void **state)
{
    (void)state;
    const kl__bn k = {.scale = true};
    rig_refused(&(rig_case){"int",
                            &kl__op_bn_stats,
                            &k,
                            1,
                            0,
                            {{KL_I32, {2, {4, 3}}, RIG_INDEX, 0, 3, NULL, true}},
                            NULL,
                            {RIG_EXACT, 0},
                            {0},
                            NULL},
                "f32 [N,C,...] is expected");
    rig_refused(&(rig_case){"weight",
                            &kl__op_bn_stats,
                            &k,
                            2,
                            0,
                            {{KL_F32, {2, {4, 3}}, RIG_NORMAL, 0, 0, NULL, false},
                             {KL_F32, {1, {4}}, RIG_NORMAL, 0, 0, NULL, false}},
                            NULL,
                            {RIG_EXACT, 0},
                            {0},
                            NULL},
                "does not fit input [4,3]");
    kl_graph *g = kl_graph_create();
    kl_batchnorm(g, kl_input(g, "x", KL_F32, (kl_shape){2, {4, 3}}),
                 &(kl_batchnorm_opts){.momentum = 1.5f});
    assert_int_equal(kl_graph_check(g), KL_E_ARG);
    assert_non_null(strstr(kl_last_error(), "momentum 1.5"));
    kl_graph_destroy(g);
}

static void test_fast_variants_ran(void **state)
{
    (void)state;
    kl_ctx *ctx = kl_ctx_create(NULL);
    assert_non_null(ctx);
    if (kl__ctx_caps(ctx)->solo) {
        assert_true(rig_ran("bn_stats", "solo") > 0);
        assert_true(rig_ran("bn_apply", "solo") > 0);
        assert_true(rig_ran("bn_bwd_stats", "solo") > 0);
        assert_true(rig_ran("bn_bwd_x", "solo") > 0);
        assert_true(rig_ran("running_update", "solo") > 0);
    }
    kl_ctx_destroy(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statistics),
        cmocka_unit_test(test_statistics_far_from_zero),
        cmocka_unit_test(test_kept_variance_by_convention),
        cmocka_unit_test(test_nan_stays_in_its_channel),
        cmocka_unit_test(test_no_samples_give_zeros),
        cmocka_unit_test(test_application),
        cmocka_unit_test(test_backward),
        cmocka_unit_test(test_layer),
        cmocka_unit_test(test_worked_example),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_running_statistics),
        cmocka_unit_test(test_lowering),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_fast_variants_ran),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
