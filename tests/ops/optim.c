/* Optimizers over arenas: golden values of both conventions over three steps, groups, and every
 * flag against formulas in double. */
#include "rig.h"

#include "ops/optim.h"
#include "sched/plan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static kl_ctx *ctx;

/* ---- three steps on an arena of three groups
 * ----------------------------------------------------------------- */
enum { P = 192, STEPS = 3, MAX_STATES = 3 };

typedef struct arena {
    const kl__op *op;
    kl__optim o;
    kl__plan *plan;
    kl__mem *mem[9], *step;
    int n_states, n_in;
} arena;

static void put(kl__mem *m, const void *p, size_t bytes)
{
    if (kl__lane_write(kl__ctx_lane(ctx, KL__COMPUTE), (kl__span){m, 0}, p, bytes, NULL) != KL_OK)
        fail_msg("%s", kl_last_error());
}
static void get(kl__mem *m, void *p, size_t bytes)
{
    if (kl__lane_read(kl__ctx_lane(ctx, KL__COMPUTE), (kl__span){m, 0}, p, bytes, NULL) != KL_OK)
        fail_msg("%s", kl_last_error());
}

/** Group 0: as it is; 1: frozen; 2: twice the learning rate. w = 1, states 0, g = 0. */
static void arena_open(arena *a, const kl__op *op, const kl__optim *o, double decay,
                       const char *variant)
{
    const float table[12] = {1, (float)decay, 1, 0, 1, (float)decay, 0, 0, 2, (float)decay, 1, 0};
    const uint8_t groups[3] = {0, 1, 2};
    const float weight = 2, clip[2] = {0, 0.5f}; /* gradients are given four times as large */
    float ones[P], zeros[P] = {0};
    kl_node *in[9];
    for (int i = 0; i < P; i++)
        ones[i] = 1;
    *a = (arena){.op = op, .o = *o, .n_states = kl__optim_n_states(op, o)};
    a->n_in = 2 + a->n_states + 4;
    kl_graph *g = kl_graph_create();
    for (int i = 0; i < a->n_in; i++) {
        const int rest = i - 2 - a->n_states;
        const kl_shape s = rest < 0    ? (kl_shape){1, {P}}
                           : rest == 0 ? (kl_shape){1, {3}}
                           : rest == 1 ? (kl_shape){2, {3, 4}}
                                       : (kl_shape){1, {rest == 2 ? 1 : 2}};
        char name[8];
        snprintf(name, sizeof name, "in%d", i);
        in[i] = kl_input(g, name, rest == 0 ? KL_U8 : KL_F32, s);
        assert_non_null(in[i]);
        a->mem[i] = kl__mem_create(ctx, 4 * P);
        assert_non_null(a->mem[i]);
        in[i]->place = (kl__place){KL__AT_SPAN, {a->mem[i], 0}, 0};
        if (rest < 0)
            put(a->mem[i], i == 0 ? ones : zeros, sizeof ones);
    }
    put(a->mem[2 + a->n_states], groups, sizeof groups);
    put(a->mem[3 + a->n_states], table, sizeof table);
    put(a->mem[4 + a->n_states], &weight, sizeof weight);
    put(a->mem[5 + a->n_states], clip, sizeof clip);
    a->step = kl__mem_create(ctx, 64);
    assert_non_null(a->step);
    kl_node *w = kl__optim_new(g, op, "opt", in, a->n_in, o);
    if (!w)
        fail_msg("%s", kl_last_error());
    kl_output(g, "w", w);
    char force[48];
    snprintf(force, sizeof force, "%s:%s", op->name, variant);
    a->plan = kl__plan_create(ctx, g, &(kl__plan_opts){.force = force, .step = a->step});
    if (!a->plan)
        fail_msg("%s", kl_last_error());
}

static void arena_close(arena *a)
{
    kl__plan_destroy(a->plan);
    for (int i = 0; i < a->n_in; i++)
        kl__mem_release(a->mem[i]);
    kl__mem_release(a->step);
}

static void arena_step(arena *a, int64_t t, double lr, double g)
{
    uint32_t words[16] = {(uint32_t)t};
    float p[4], grad[P], flr = (float)lr;
    for (int i = 0; i < P; i++)
        grad[i] = (float)(4 * g);
    kl__optim_scalars(a->op, &a->o, t, p);
    memcpy(&words[KL__STEP_LR], &flr, 4);
    memcpy(&words[KL__STEP_P0], p, sizeof p);
    put(a->step, words, sizeof words);
    put(a->mem[1], grad, sizeof grad);
    if (kl__plan_run(a->plan, kl__ctx_lane(ctx, KL__COMPUTE)) != KL_OK)
        fail_msg("%s", kl_last_error());
}

typedef struct golden {
    const char *name;
    const kl__op *op;
    kl__optim o;
    double lr[STEPS]; /* 0: the default */
    double w[STEPS];  /* NaN: not known */
} golden;

#define TORCH .compat = KL_TORCH
#define KERAS .compat = KL_KERAS
#define CHANGE                                                                                     \
    {                                                                                              \
        .01, .01, .001                                                                             \
    }
static const golden table[] = {
    {"sgd torch", &kl__op_sgd, {TORCH}, {0}, {.999, 1.001, .998}},
    {"sgd keras", &kl__op_sgd, {KERAS}, {0}, {.999, 1.001, .998}},
    {"momentum torch", &kl__op_sgd, {TORCH, .momentum = .9f}, {0}, {.999, 1.0001, .99809}},
    {"momentum keras", &kl__op_sgd, {KERAS, .momentum = .9f}, {0}, {.999, 1.0001, .99809}},
    {"nesterov torch",
     &kl__op_sgd,
     {TORCH, .momentum = .9f, .nesterov = true},
     {0},
     {.9981, 1.00109, .996281}},
    {"nesterov keras",
     &kl__op_sgd,
     {KERAS, .momentum = .9f, .nesterov = true},
     {0},
     {.9981, 1.00109, .996281}},
    {"momentum, lr change, torch",
     &kl__op_sgd,
     {TORCH, .momentum = .9f},
     CHANGE,
     {.999, 1.0001, .999899}},
    {"momentum, lr change, keras",
     &kl__op_sgd,
     {KERAS, .momentum = .9f},
     CHANGE,
     {.999, 1.0001, 1.00079}},
    {"nesterov, lr change, torch",
     &kl__op_sgd,
     {TORCH, .momentum = .9f, .nesterov = true},
     CHANGE,
     {.9981, 1.00109, 1.0006091}},
    {"nesterov, lr change, keras",
     &kl__op_sgd,
     {KERAS, .momentum = .9f, .nesterov = true},
     CHANGE,
     {.9981, 1.00109, 1.001411}},
    {"adam torch", &kl__op_adam, {TORCH}, {0}, {.999, .999366104, .999022863}},
    {"adam keras", &kl__op_adam, {KERAS}, {0}, {.999000032, .999366130, .999022892}},
    {"adamw torch",
     &kl__op_adam,
     {TORCH, .decoupled = true},
     {0},
     {.99899, .999346114, .998992879}},
    {"adamw keras",
     &kl__op_adam,
     {KERAS, .decoupled = true},
     {0},
     {.998996032, .999358134, .999010898}},
    {"rmsprop torch", &kl__op_rmsprop, {TORCH}, {0}, {.900000100, .989532356, .909181928}},
    {"rmsprop keras", &kl__op_rmsprop, {KERAS}, {0}, {.996837880, .999694994, .997104365}},
    {"rmsprop centered, momentum, torch",
     &kl__op_rmsprop,
     {TORCH, .momentum = .9f, .centered = true},
     {0},
     {.899496319, .898666919, .817454490}},
    {"rmsprop centered, momentum, keras",
     &kl__op_rmsprop,
     {KERAS, .momentum = .9f, .centered = true},
     {0},
     {.996666852, .996560075, .993833418}},
};

static void check_golden(const golden *k, const char *variant)
{
    const double grads[STEPS] = {.1, -.2, .3};
    kl__optim o = k->o;
    arena a;
    float w[P];
    kl__optim_defaults(k->op, &o);
    arena_open(&a, k->op, &o, kl__optim_decay(k->op, &o), variant);
    for (int t = 0; t < STEPS; t++) {
        arena_step(&a, t, k->lr[t] != 0 ? k->lr[t] : kl__optim_lr(k->op, &o), grads[t]);
        get(a.mem[0], w, sizeof w);
        for (int i = 0; i < 64; i++) {
            if (!(fabs((double)w[i] - k->w[t]) <= 3e-7))
                fail_msg("%s (%s), step %d, element %d: got %.9f, expected %.9f", k->name, variant,
                         t, i, (double)w[i], k->w[t]);
            if (w[64 + i] != 1)
                fail_msg("%s (%s): a frozen parameter moved", k->name, variant);
        }
        /* w moves by lr x something that does not depend on lr in the first step: twice the rate,
         * twice the way */
        if (t == 0 && !(fabs(2 * (1 - (double)w[0]) - (1 - (double)w[128])) <= 3e-7))
            fail_msg("%s (%s): twice the learning rate moved by %.9f, once by %.9f", k->name,
                     variant, 1 - (double)w[128], 1 - (double)w[0]);
    }
    for (int s = 0; s < a.n_states; s++) {
        get(a.mem[2 + s], w, sizeof w);
        assert_true(w[64] == 0 && w[127] == 0); /* states of frozen parameters stay */
        assert_true(w[0] != 0);
    }
    arena_close(&a);
}

static void test_golden_values(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(table); i++) {
        check_golden(&table[i], "ref");
        if (kl__ctx_caps(ctx)->solo)
            check_golden(&table[i], "solo");
    }
}

/* ---- every flag, random data
 * ----------------------------------------------------------------------------------- */
static float step_float(const uint32_t *step, int i)
{
    float f;
    memcpy(&f, &step[i], 4);
    return f;
}
static const uint32_t *current_step;

static void reference(const kl__apply *a, const double *const *in, double *const *out)
{
    const kl__optim *o = a->attrs;
    const int n = kl__optim_n_states(a->op, o);
    const double *w = in[0], *g = in[1], *groups = in[2 + n], *rows = in[3 + n];
    const double scale = in[5 + n][1] / in[4 + n][0], mu = (double)o->momentum;
    const double p0 = (double)step_float(current_step, KL__STEP_P0),
                 p1 = (double)step_float(current_step, KL__STEP_P1);
    const bool keras = o->compat == KL_KERAS, adam = a->op == &kl__op_adam,
               rms = a->op == &kl__op_rmsprop;
    for (int64_t i = 0; i < a->in[0]->desc.shape.dim[0]; i++) {
        const double *row = rows + 4 * (size_t)groups[i / 64];
        const double lr = (double)step_float(current_step, KL__STEP_LR) * row[0];
        double x = w[i], d = g[i] * scale, s[3] = {0, 0, 0};
        for (int k = 0; k < n; k++)
            s[k] = in[2 + k][i];
        if (row[2] != 0 && isfinite(in[5 + n][0])) {
            if (keras || o->decoupled)
                x -= x * row[1] * lr;
            else
                d += row[1] * x;
            if (adam) {
                s[0] = (double)o->beta1 * s[0] + (1 - (double)o->beta1) * d;
                s[1] = (double)o->beta2 * s[1] + (1 - (double)o->beta2) * d * d;
                x -= lr * p0 * s[0] / (sqrt(s[1]) * p1 + (double)o->eps);
            } else if (rms) {
                double *b = &s[o->centered ? 2 : 1], q;
                s[0] = (double)o->rho * s[0] + (1 - (double)o->rho) * d * d;
                q = s[0];
                if (o->centered) {
                    s[1] = (double)o->rho * s[1] + (1 - (double)o->rho) * d;
                    q -= s[1] * s[1];
                }
                d /= keras ? sqrt(q + (double)o->eps) : sqrt(q) + (double)o->eps;
                if (mu != 0) {
                    *b = mu * *b + (keras ? lr * d : d);
                    x -= keras ? *b : lr * *b;
                } else {
                    x -= lr * d;
                }
            } else if (mu == 0) {
                x -= lr * d;
            } else if (keras) {
                s[0] = mu * s[0] - lr * d;
                x += o->nesterov ? mu * s[0] - lr * d : s[0];
            } else {
                s[0] = mu * s[0] + p0 * d;
                x -= lr * (o->nesterov ? d + mu * s[0] : s[0]);
            }
        }
        out[0][i] = x;
        for (int k = 0; k < n; k++)
            out[1 + k][i] = s[k];
    }
}

static rig_case case_of(const kl__op *op, const kl__optim *o, int64_t p)
{
    static const double rows[12] = {1, 0.01, 1, 0, 0.5, 0, 1, 0, 1, 0.1, 0, 0}, weight = 3,
                        clip[2] = {9, 0.7};
    const int n = kl__optim_n_states(op, o);
    rig_case c = {op->name,
                  op,
                  o,
                  2 + n + 4,
                  1 + n,
                  {{KL_F32, {1, {p}}, RIG_UNIFORM, 1, 2, NULL, false},
                   {KL_F32, {1, {p}}, RIG_NORMAL, 0, 1, NULL, false}},
                  reference,
                  {RIG_L2, 3e-7},
                  {5},
                  NULL};
    const bool rms = op == &kl__op_rmsprop;
    for (int k = 0; k < n;
         k++) /* mean squares are positive, and not below the square of the mean */
        c.in[2 + k] = (rig_input){
            KL_F32, {1, {p}}, RIG_UNIFORM, rms && k == 0 ? 2 : 0.1, rms && k == 0 ? 3 : 1,
            NULL,   false};
    c.in[2 + n] = (rig_input){KL_U8, {1, {p / 64}}, RIG_INDEX, 0, 3, NULL, true};
    c.in[3 + n] = (rig_input){KL_F32, {2, {3, 4}}, RIG_DATA, 0, 0, rows, true};
    c.in[4 + n] = (rig_input){KL_F32, {1, {1}}, RIG_DATA, 0, 0, &weight, true};
    c.in[5 + n] = (rig_input){KL_F32, {1, {2}}, RIG_DATA, 0, 0, clip, true};
    const float lr = 0.05f;
    float s[4];
    kl__optim_scalars(op, o, 5, s);
    memcpy(&c.step[KL__STEP_LR], &lr, 4);
    memcpy(&c.step[KL__STEP_P0], s, sizeof s);
    return c;
}

static void test_every_flag(void **state)
{
    (void)state;
    const kl__op *const ops[] = {&kl__op_sgd, &kl__op_adam, &kl__op_rmsprop};
    for (size_t k = 0; k < COUNT(ops); k++)
        for (int m = 0; m < 8; m++) {
            const bool flag = m & 2, mu = m & 4;
            if ((k == 1 && mu) || (k == 0 && flag && !mu))
                continue;
            kl__optim o = {.compat = m & 1 ? KL_KERAS : KL_TORCH,
                           .momentum = mu ? 0.8f : 0,
                           .dampening = k == 0 && mu ? 0.25f : 0,
                           .nesterov = k == 0 && flag,
                           .decoupled = k == 1 && flag,
                           .centered = k == 2 && flag};
            kl__optim_defaults(ops[k], &o);
            for (int64_t p = 64; p <= 64 * 131;
                 p *= 131) { /* one block; several work-items, the last one short */
                rig_case c = case_of(ops[k], &o, p);
                current_step = c.step;
                rig_run(&c);
            }
        }
}

/* A step whose gradient is not finite changes neither weights nor states. */
static void test_norm_that_is_not_finite(void **state)
{
    (void)state;
    const kl__op *const ops[] = {&kl__op_sgd, &kl__op_adam, &kl__op_rmsprop};
    const double bad[2][2] = {{NAN, NAN}, {INFINITY, 0}};
    for (size_t k = 0; k < COUNT(ops); k++)
        for (int b = 0; b < 2; b++) {
            kl__optim o = {.momentum = k == 1 ? 0 : 0.8f};
            kl__optim_defaults(ops[k], &o);
            rig_case c = case_of(ops[k], &o, 128);
            c.in[c.n_in - 1].data = bad[b];
            c.tol.kind = RIG_EXACT;
            current_step = c.step;
            rig_run(&c);
        }
}

static void test_states_and_scalars(void **state)
{
    (void)state;
    kl__optim o = {.momentum = 0.9f, .centered = true, .dampening = 0.5f};
    kl__optim_defaults(&kl__op_rmsprop, &o);
    assert_int_equal(kl__optim_n_states(&kl__op_rmsprop, &o), 3);
    assert_string_equal(kl__optim_state_name(&kl__op_rmsprop, &o, 2), "momentum");
    assert_null(kl__optim_state_name(&kl__op_rmsprop, &o, 3));
    assert_int_equal(kl__optim_n_states(&kl__op_sgd, &o), 1);
    float p[4];
    kl__optim_scalars(&kl__op_sgd, &o, 0, p);
    assert_true(p[0] == 1); /* the first buffer is not dampened */
    kl__optim_scalars(&kl__op_sgd, &o, 1, p);
    assert_true(p[0] == 0.5f);
    kl__optim a = {0};
    kl__optim_defaults(&kl__op_adam, &a);
    kl__optim_scalars(&kl__op_adam, &a, 1000000, p); /* corrections go to 1 */
    assert_true(p[0] == 1 && p[1] == 1);
    a.eps = (float)KL_NONE;
    kl__optim_defaults(&kl__op_adam, &a);
    assert_true(a.eps == 0);
}

static void test_refusals(void **state)
{
    (void)state;
    kl__optim o = {.nesterov = true};
    rig_case c = case_of(&kl__op_sgd, &o, 64);
    rig_refused(&c, "Nesterov without momentum");
    o.nesterov = false;
    c = case_of(&kl__op_sgd, &o, 64);
    c.in[1].shape.dim[0] = 128;
    rig_refused(&c, "input 1 is f32 [128]");
    c = case_of(&kl__op_sgd, &o, 64);
    c.in[2].shape.dim[0] = 2;
    rig_refused(&c, "groups u8 [2] does not fit an arena of 64");
    c = case_of(&kl__op_sgd, &o, 96);
    rig_refused(&c, "a multiple of 64");
}

/* ---- sums of gradients
 * --------------------------------------------------------------------------------------------- */
static void sum_reference(const kl__apply *a, const double *const *in, double *const *out)
{
    for (int64_t i = 0; i < a->in[0]->desc.shape.dim[0]; i++)
        out[0][i] = in[0][i] + in[1][i];
}

static void test_tree_add(void **state)
{
    (void)state;
    const int64_t sizes[] = {1, 15, 64, 4096, 4113, 20000};
    for (size_t i = 0; i < COUNT(sizes); i++)
        rig_run(&(rig_case){"a += b",
                            &kl__op_tree_add,
                            NULL,
                            2,
                            0,
                            {{KL_F32, {1, {sizes[i]}}, RIG_INTEGER, -100, 100, NULL, false},
                             {KL_F32, {1, {sizes[i]}}, RIG_INTEGER, -100, 100, NULL, false}},
                            sum_reference,
                            {RIG_EXACT, 0},
                            {0},
                            NULL});
}

static void test_fast_variants_ran(void **state)
{
    (void)state;
    const char *const ops[] = {"sgd", "adam", "rmsprop", "tree_add"};
    for (size_t i = 0; i < COUNT(ops) && kl__ctx_caps(ctx)->solo; i++)
        assert_true(rig_ran(ops[i], "solo") > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_values),
        cmocka_unit_test(test_every_flag),
        cmocka_unit_test(test_norm_that_is_not_finite),
        cmocka_unit_test(test_states_and_scalars),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_tree_add),
        cmocka_unit_test(test_fast_variants_ran),
    };
    ctx = kl_ctx_create(NULL);
    if (!ctx) {
        printf("no context: %s\n", kl_last_error());
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kl_ctx_destroy(ctx);
    return failed;
}
