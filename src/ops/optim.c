/* What the optimizers share: defaults, states, scalars per step, checks, emission. */
#include "ops/optim.h"

#include "ops/norm_common.h"

#include <math.h>

enum { SPAN = 64 /* blocks of 64 per SOLO work-item */ };

void kl__optim_defaults(const kl__op *op, kl__optim *o)
{
    const bool keras = o->compat == KL_KERAS;
    o->momentum = kl__opt_f(o->momentum, 0);
    o->dampening = kl__opt_f(o->dampening, 0);
    if (op == &kl__op_adam) {
        o->beta1 = kl__opt_f(o->beta1, 0.9f);
        o->beta2 = kl__opt_f(o->beta2, 0.999f);
    }
    if (op == &kl__op_rmsprop)
        o->rho = kl__opt_f(o->rho, keras ? 0.9f : 0.99f);
    if (op != &kl__op_sgd)
        o->eps = kl__opt_f(o->eps, keras ? 1e-7f : 1e-8f);
}

double kl__optim_lr(const kl__op *op, const kl__optim *o)
{
    if (op == &kl__op_sgd)
        return 0.01;
    return op == &kl__op_rmsprop && o->compat == KL_TORCH ? 0.01 : 0.001;
}

double kl__optim_decay(const kl__op *op, const kl__optim *o)
{
    if (op != &kl__op_adam || !o->decoupled)
        return 0;
    return o->compat == KL_KERAS ? 0.004 : 0.01;
}

/** Which of a kernel's three state arguments are kept; the order is that of the inputs. */
static int states_of(const kl__op *op, const kl__optim *o, int which[3])
{
    int n = 0;
    if (op == &kl__op_adam) {
        which[n++] = 0;
        which[n++] = 1;
    } else if (op == &kl__op_rmsprop) {
        which[n++] = 0;
        if (o->centered)
            which[n++] = 1;
        if (o->momentum != 0)
            which[n++] = 2;
    } else if (o->momentum != 0) {
        which[n++] = 0;
    }
    return n;
}

int kl__optim_n_states(const kl__op *op, const void *attrs)
{
    int which[3];
    return states_of(op, attrs, which);
}

const char *kl__optim_state_name(const kl__op *op, const void *attrs, int i)
{
    static const char *const adam[] = {"m", "v", ""}, *const rmsprop[] = {"v", "mean", "momentum"};
    int which[3];
    if (i < 0 || i >= states_of(op, attrs, which))
        return NULL;
    return op == &kl__op_adam      ? adam[which[i]]
           : op == &kl__op_rmsprop ? rmsprop[which[i]]
                                   : "momentum";
}

void kl__optim_scalars(const kl__op *op, const void *attrs, int64_t step, float p[4])
{
    const kl__optim *o = attrs;
    p[0] = p[1] = p[2] = p[3] = 0;
    if (op == &kl__op_sgd) {
        p[0] =
            step == 0
                ? 1
                : (float)(1.0 - (double)o->dampening); /* the first buffer is the gradient itself */
    } else if (op == &kl__op_adam) {
        const double t = (double)step + 1;
        const double c1 = 1 - pow((double)o->beta1, t), c2 = sqrt(1 - pow((double)o->beta2, t));
        const bool keras = o->compat == KL_KERAS;
        p[0] = (float)(keras ? c2 / c1 : 1 / c1);
        p[1] = (float)(keras ? 1 : 1 / c2);
    }
}

kl_node *kl__optim_new(kl_graph *g, const kl__op *op, const char *name, kl_node *const *in,
                       int n_in, const kl__optim *o)
{
    return kl__apply_new_n(g, op, name, in, n_in, 1 + kl__optim_n_states(op, o), o);
}

kl_status kl__arena_check(const kl__apply *a, int n_arenas, int n_rest)
{
    const kl__desc *w = &a->in[0]->desc;
    char s[96];
    if (a->n_in != n_arenas + n_rest)
        return kl__fail(KL_E_ARG, "%s \"%s\": %d inputs; %d are expected", a->op->name, a->name,
                        a->n_in, n_arenas + n_rest);
    for (int i = 0; i < n_arenas; i++) {
        const kl__desc *x = &a->in[i]->desc;
        if (!kl__real_dtype(x->dtype) || x->dtype != w->dtype || x->shape.n_dims != 1 ||
            x->shape.dim[0] != w->shape.dim[0] || x->shape.dim[0] < 0 || x->shape.dim[0] % 64)
            return kl__fail(
                KL_E_SHAPE,
                "%s \"%s\": input %d is %s %s; arenas are f32 [P] of one size, a multiple of 64",
                a->op->name, a->name, i, kl_dtype_name(x->dtype), kl__shape_str(x->shape, s));
    }
    const kl_shape want[4] = {{1, {w->shape.dim[0] / 64}}, {2, {0, 4}}, {1, {1}}, {1, {2}}};
    static const char *const names[4] = {"groups", "table", "weight", "clip"};
    for (int i = 0; i < n_rest; i++) {
        const kl__desc *x = &a->in[n_arenas + i]->desc;
        kl_shape expect = want[i];
        if (i == 1 && x->shape.n_dims == 2 && x->shape.dim[0] > 0)
            expect.dim[0] = x->shape.dim[0];
        if (x->dtype != (i == 0 ? KL_U8 : w->dtype) || !kl_shape_equal(x->shape, expect))
            return kl__fail(KL_E_SHAPE, "%s \"%s\": %s %s %s does not fit an arena of %lld",
                            a->op->name, a->name, names[i], kl_dtype_name(x->dtype),
                            kl__shape_str(x->shape, s), (long long)w->shape.dim[0]);
    }
    return KL_OK;
}

kl_status kl__optim_infer(const kl__apply *a, kl__desc *out)
{
    const kl__optim *o = a->attrs;
    const int n = kl__optim_n_states(a->op, o);
    if (a->n_out != 1 + n)
        return kl__fail(KL_E_ARG, "%s \"%s\": %d outputs; %d are expected", a->op->name, a->name,
                        a->n_out, 1 + n);
    if (o->nesterov && o->momentum == 0)
        return kl__fail(KL_E_ARG, "%s \"%s\": Nesterov without momentum", a->op->name, a->name);
    kl_status st = kl__arena_check(a, 2 + n, 4);
    for (int i = 0; i < a->n_out; i++)
        out[i] = a->in[0]->desc;
    return st;
}

int kl__optim_aliases(const kl__apply *a, int out)
{
    (void)a;
    return out == 0 ? 0 : 1 + out;
}

static kl_status optim_emit(kl__emit *e, const kl__apply *a, bool solo)
{
    const kl__optim *o = a->attrs;
    const bool adam = a->op == &kl__op_adam, rms = a->op == &kl__op_rmsprop,
               keras = o->compat == KL_KERAS;
    const int64_t p = a->in[0]->desc.shape.dim[0];
    int which[3], at[3] = {0, 0, 0};
    const int n = states_of(a->op, o, which);
    for (int i = 0; i < n; i++)
        at[which[i]] = 2 + i;
    kl__defs defs = {0};
    kl__defs_real(&defs, a);
    if (solo)
        kl__def_int(&defs, "VN", e->caps->vector);
    kl__def_int(&defs, "KERAS", keras);
    kl__def_int(&defs, "DECOUPLED", keras || o->decoupled);
    kl__def_int(&defs, "MOMENTUM", o->momentum != 0);
    kl__def_int(&defs, "NESTEROV", o->nesterov);
    kl__def_int(&defs, "CENTERED", o->centered);
    kl__launch l = kl__launch_of("optim.cl",
                                 adam  ? (solo ? "adam_solo" : "adam_ref")
                                 : rms ? (solo ? "rmsprop_solo" : "rmsprop_ref")
                                       : (solo ? "sgd_solo" : "sgd_ref"),
                                 &defs);
    kl__launch_arg(&l, kl__arg_in(a, 0));
    kl__launch_arg(&l, kl__arg_in(a, 1));
    for (int i = 0; i < 3; i++)
        kl__launch_arg(&l, kl__arg_in(a, at[i])); /* one that is not kept: w, not touched */
    for (int i = 0; i < 4; i++)
        kl__launch_arg(&l, kl__arg_in(a, 2 + n + i));
    kl__launch_arg(&l, kl__arg_step(e));
    kl__launch_arg(&l, kl__arg_i32(p));
    const double decay = (double)(adam ? o->beta1 : o->rho);
    kl__launch_arg(&l, kl__arg_f32(decay));
    kl__launch_arg(&l, kl__arg_f32(1 - decay));
    kl__launch_arg(&l, kl__arg_f32((double)o->beta2));
    kl__launch_arg(&l, kl__arg_f32(1 - (double)o->beta2));
    kl__launch_arg(&l, kl__arg_f32((double)o->eps));
    kl__launch_arg(&l, kl__arg_f32((double)o->momentum));
    if (solo) {
        kl__launch_arg(&l, kl__arg_i32(SPAN));
        kl__launch_solo(&l, 1, kl__ceil_div((size_t)p / 64, SPAN), 1, 1);
    } else {
        kl__launch_1d(&l, e, (size_t)p);
    }
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return st;
}

static kl_status optim_solo(kl__emit *e, const kl__apply *a)
{
    return optim_emit(e, a, true);
}
static kl_status optim_ref(kl__emit *e, const kl__apply *a)
{
    return optim_emit(e, a, false);
}
const kl__variant kl__optim_variants[] = {
    {.name = "solo", .fits = kl__solo_f32, .emit = optim_solo},
    {.name = "ref", .emit = optim_ref},
    {.name = NULL}};
