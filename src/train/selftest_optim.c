/* Optimizers against their formulas in double: three updates of one parameter by gradients that are
 * given. */
#include "train/selftest.h"

#include "base/mem.h"
#include "base/rng.h"
#include "ops/optim.h"
#include "sched/stepper.h"

#include <math.h>
#include <string.h>

enum { COUNT = 131, STEPS = 3 };
#define LR 0.01
#define DECAY 0.1
static const char text[] = "w = param(shape=[131], trainable=true)\n"
                           "d = input(shape=[131])\n"
                           "m = mul(w, d)\n"
                           "s = reduce_sum(m)\n"
                           "output loss = s\n";

static const struct {
    const char *what;
    const kl__op *op;
    kl__optim attrs;
} optims[KL__SELFTEST_OPTIMS] = {
    {"optimizer SGD with Nesterov momentum, three steps",
     &kl__op_sgd,
     {.momentum = 0.9f, .nesterov = true}},
    {"optimizer AdamW, three steps", &kl__op_adam, {.decoupled = true}},
    {"optimizer RMSprop, three steps", &kl__op_rmsprop, {0}},
};

const char *kl__selftest_optim_name(int i)
{
    return optims[i].what;
}

/** One number, one step (from 0), as PyTorch defines them. */
static double moved(int which, double w, double g, double s[2], int step)
{
    double b1 = (double)0.9f, b2 = (double)0.999f, rho = (double)0.99f, eps = (double)1e-8f;
    if (which == 0) {
        g += (double)(float)DECAY * w;
        s[0] = step ? b1 * s[0] + g : g;
        return w - LR * (g + b1 * s[0]);
    }
    if (which == 1) {
        w -= LR * (double)(float)DECAY * w;
        s[0] = b1 * s[0] + (1 - b1) * g;
        s[1] = b2 * s[1] + (1 - b2) * g * g;
        return w -
               LR * (s[0] / (1 - pow(b1, step + 1))) / (sqrt(s[1] / (1 - pow(b2, step + 1))) + eps);
    }
    g += (double)(float)DECAY * w;
    s[0] = rho * s[0] + (1 - rho) * g * g;
    return w - LR * g / (sqrt(s[0]) + eps);
}

static kl_status steps(kl__stepper *s, int which, const kl__optim *attrs, double *want)
{
    double state[COUNT][2] = {{0}};
    float d[COUNT];
    kl_status st = KL_OK, got = KL_OK;
    for (int t = 0; st == KL_OK && t < STEPS; t++) {
        kl__step_scalars sc = {.step = t, .lr = LR};
        kl__result r;
        bool eval;
        for (int i = 0; i < COUNT; i++) {
            d[i] = (float)kl__rng_normal(kl__rng_of(5, "d", (uint32_t)t), (uint64_t)i);
            want[i] = moved(which, want[i], (double)d[i], state[i], t);
        }
        kl__optim_scalars(optims[which].op, attrs, t, sc.p);
        st =
            kl__stepper_step(s, &(kl_bind){.name = "d", .host = d, .host_bytes = sizeof d}, 1, &sc);
        while (kl__stepper_result(s, true, &r, &eval, &got))
            st = st == KL_OK ? got : st;
    }
    return st;
}

static kl_status run(kl_model *m, kl_ctx *ctx, int which, kl__selftest_result *r)
{
    kl__optim attrs = optims[which].attrs;
    kl__group group = {.lr_factor = 1, .weight_decay = (float)DECAY, .trained = true};
    float w[COUNT];
    double got[COUNT], want[COUNT];
    for (int i = 0; i < COUNT; i++) {
        w[i] = (float)kl__rng_normal(kl__rng_of(5, "w", 0), (uint64_t)i);
        want[i] = (double)w[i];
    }
    kl_status st = kl_model_set_param(m, "w", w, COUNT);
    kl__optim_defaults(optims[which].op, &attrs);
    kl__stepper_opts so = {.loss = "loss",
                           .optim = optims[which].op,
                           .optim_attrs = &attrs,
                           .shards = 1,
                           .groups = &group,
                           .n_states = kl__optim_n_states(optims[which].op, &attrs)};
    kl__stepper *s = st == KL_OK ? kl__stepper_create(m, ctx, &so) : NULL;
    st = s ? steps(s, which, &attrs, want) : kl__last_status();
    if (st == KL_OK)
        st = kl_model_get_param(m, "w", w, COUNT);
    kl__stepper_destroy(s);
    for (int i = 0; i < COUNT; i++)
        got[i] = (double)w[i];
    if (st == KL_OK)
        kl__selftest_compare(r, "w", got, want, COUNT, 1e-6, false);
    return st;
}

kl_status kl__selftest_optim(kl_ctx *ctx, int i, kl__selftest_result *r)
{
    kl_graph *g = kl_graph_parse(text, "self-test");
    kl_model *m = g ? kl_model_create(g, NULL) : NULL;
    kl_status st = m ? run(m, ctx, i, r) : kl__last_status();
    kl_model_destroy(m);
    kl_graph_destroy(g);
    return st;
}
