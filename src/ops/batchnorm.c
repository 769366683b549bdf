/* Batch normalisation as users see it: its parameters, and what it becomes in training and
 * inference. */
#include "ops/batchnorm.h"

#include "base/mem.h"
#include "ops/norm_common.h"
#include "ops/running_update.h"

#include <math.h>

const char *const kl__compat_words[] = {"torch", "keras", NULL};

/* eps and momentum have a default per convention, so the text form always says them: NaN equals
 * nothing. */
static const kl__attr bn_attrs[] = {
    {"eps", KL__ATTR_FLOAT, offsetof(kl_batchnorm_opts, eps), 0, NULL, NAN,
     "torch 1e-5, keras 1e-3"},
    {"momentum", KL__ATTR_FLOAT, offsetof(kl_batchnorm_opts, momentum), 0, NULL, NAN,
     "torch: share of the new value, 0.1; keras: of the old one, 0.99"},
    {"compat", KL__ATTR_ENUM, offsetof(kl_batchnorm_opts, compat), 0, kl__compat_words, 0,
     "torch keeps the unbiased variance, keras the biased"},
    {"no_scale", KL__ATTR_BOOL, offsetof(kl_batchnorm_opts, no_scale), 0, NULL, 0,
     "without weight"},
    {"no_shift", KL__ATTR_BOOL, offsetof(kl_batchnorm_opts, no_shift), 0, NULL, 0, "without bias"},
    {"name", KL__ATTR_NAME, offsetof(kl_batchnorm_opts, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};

static kl_node *bn_param(kl_graph *g, const char *name, const char *what, int64_t c,
                         kl_init_kind kind, bool trainable)
{
    char *full = kl__asprintf("%s.%s", name, what);
    if (!full)
        return kl__graph_fail(g, KL_E_MEMORY, "batchnorm \"%s\": out of host memory", name);
    kl_node *p = kl_param(g, full, (kl_shape){1, {c}}, (kl_init){.kind = kind}, trainable);
    kl__free(full);
    return p;
}

static kl_node *bn_build(kl_graph *g, kl_node *const *in, int n_in, const void *attrs)
{
    kl_batchnorm_opts o = *(const kl_batchnorm_opts *)attrs;
    const kl_shape s = in[0]->desc.shape;
    kl_node *all[5] = {in[0]};
    int n = 1;
    const bool keras = o.compat == KL_KERAS;
    o.eps = kl__opt_f(o.eps, keras ? 1e-3f : 1e-5f);
    o.momentum = kl__opt_f(o.momentum, keras ? 0.99f : 0.1f);
    o.name = kl__graph_name(g, &kl__op_batchnorm, o.name);
    if (!o.name)
        return NULL;
    if (n_in > 1 || s.n_dims < 2 || s.dim[1] < 1)
        return kl__apply_new(g, &kl__op_batchnorm, o.name, in, n_in, &o);
    if (!o.no_scale)
        all[n++] = bn_param(g, o.name, "weight", s.dim[1], KL_INIT_ONES, true);
    if (!o.no_shift)
        all[n++] = bn_param(g, o.name, "bias", s.dim[1], KL_INIT_ZEROS, true);
    all[n++] = bn_param(g, o.name, "running_mean", s.dim[1], KL_INIT_ZEROS, false);
    all[n++] = bn_param(g, o.name, "running_var", s.dim[1], KL_INIT_ONES, false);
    return kl__apply_new(g, &kl__op_batchnorm, o.name, all, n, &o);
}

static kl_status bn_infer_shapes(const kl__apply *a, kl__desc *out)
{
    const kl_batchnorm_opts *o = a->attrs;
    kl_status st = kl__bn_check(a, 1, 3 + !o->no_scale + !o->no_shift);
    if (st != KL_OK)
        return st;
    if (!(o->eps >= 0) || !(o->momentum >= 0 && o->momentum <= 1))
        return kl__fail(
            KL_E_ARG,
            "batchnorm \"%s\": eps %g and momentum %g; eps is at least 0, momentum in 0..1",
            a->name, (double)o->eps, (double)o->momentum);
    out[0] = a->in[0]->desc;
    return KL_OK;
}

static kl_node *scalar(kl_graph *g, float v)
{
    const double d = (double)v;
    return g->real == KL_F64 ? kl_constant(g, NULL, KL_F64, (kl_shape){0, {0}}, &d)
                             : kl_constant(g, NULL, KL_F32, (kl_shape){0, {0}}, &v);
}

/** What the inputs of an apply are: x, weight?, bias?, running_mean, running_var. */
typedef struct inputs {
    kl_node *x, *weight, *bias, *mean, *var;
} inputs;

static inputs inputs_of(const kl_batchnorm_opts *o, kl_node *const *in)
{
    const int n = 1 + !o->no_scale + !o->no_shift;
    return (inputs){in[0], o->no_scale ? NULL : in[1], o->no_shift ? NULL : in[n - 1], in[n],
                    in[n + 1]};
}

/** x scale + shift. Scale and shift are of parameters only, so that plans make them once; the rest
 * goes into the kernel that makes x. */
static kl_status lower_inference(kl_graph *g, const kl__apply *a, const inputs *in, kl_node **out)
{
    const kl_batchnorm_opts *o = a->attrs;
    kl_node *deviation = kl_sqrt(g, kl_scale(g, in->var, &(kl_scale_opts){.shift = o->eps}));
    kl_node *scale = kl_div(g, in->weight ? in->weight : scalar(g, 1), deviation);
    kl_node *moved = kl_mul(g, in->mean, scale);
    kl_node *shift = in->bias ? kl_sub(g, in->bias, moved) : kl_neg(g, moved);
    kl_node *last[2] = {kl_mul(g, in->x, kl__bn_channels(g, scale, in->x)),
                        kl__bn_channels(g, shift, in->x)};
    out[0] = kl__apply_new(g, &kl__op_add, kl__lowered_name(g, a), last, 2, NULL);
    return out[0] ? KL_OK : kl_graph_check(g);
}

static kl_status bn_lower(kl_graph *g, const kl__apply *a, kl_node *const *args, bool training,
                          kl_node **out)
{
    const kl_batchnorm_opts *o = a->attrs;
    const kl__bn k = {.eps = o->eps, .scale = !o->no_scale, .biased = o->compat == KL_KERAS};
    const kl__running keep = {.momentum = o->momentum, .compat = o->compat};
    const inputs in = inputs_of(o, args);
    if (!training)
        return lower_inference(g, a, &in, out);
    kl_node *s =
        kl__apply_new(g, &kl__op_bn_stats, NULL, (kl_node *[]){in.x, in.weight}, 1 + k.scale, &k);
    kl_node *all[4] = {in.x, kl__bn_channels(g, kl__out(s, KL__BN_MEAN), in.x),
                       kl__bn_channels(g, kl__out(s, KL__BN_SCALE), in.x),
                       in.bias ? kl__bn_channels(g, in.bias, in.x) : scalar(g, 0)};
    out[0] = kl__apply_new(g, &kl__op_bn_apply, kl__lowered_name(g, a), all, 4, NULL);
    if (!out[0])
        return kl_graph_check(g);
    kl_status st =
        kl__graph_add_update(g, &kl__op_running_update, &keep, in.mean, kl__out(s, KL__BN_MEAN));
    return st != KL_OK ? st
                       : kl__graph_add_update(g, &kl__op_running_update, &keep, in.var,
                                              kl__out(s, KL__BN_KEPT));
}

const kl__op kl__op_batchnorm = {
    .name = "batchnorm",
    .doc = "(x - mean) / sqrt(var + eps) weight + bias per channel; x [N,C,...] -> the same",
    .min_in = 1,
    .max_in = 5,
    .n_out = 1,
    .attrs_bytes = sizeof(kl_batchnorm_opts),
    .attrs = bn_attrs,
    .build = bn_build,
    .infer = bn_infer_shapes,
    .lower = bn_lower,
};

kl_node *kl_batchnorm(kl_graph *g, kl_node *x, const kl_batchnorm_opts *opts)
{
    return kl__build(g, &kl__op_batchnorm, &x, 1, opts);
}
