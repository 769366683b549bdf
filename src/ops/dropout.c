/* Dropout: the public op is its inference form and a name; training draws by the hidden op `drop`,
 * whose gradient is itself with the same stream. */
#include "ops/dropout.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"
#include "ops/norm_common.h"

enum { SPAN = 4096 /* elements per SOLO work-item, a multiple of 4 vectors */ };

static const kl__attr dropout_attrs[] = {
    {"rate", KL__ATTR_FLOAT, offsetof(kl_dropout_opts, rate), 0, NULL, 0.5,
     "share of values that are dropped"},
    {"name", KL__ATTR_NAME, offsetof(kl_dropout_opts, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};

static const kl__attr drop_attrs[] = {
    {"rate", KL__ATTR_FLOAT, offsetof(kl__drop, rate), 0, NULL, 0,
     "share of values that are dropped"},
    {"stream", KL__ATTR_INT, offsetof(kl__drop, stream), 0, NULL, 0, "id of the random stream"},
    KL__ATTR_END,
};

static kl_node *dropout_build(kl_graph *g, kl_node *const *in, int n_in, const void *attrs)
{
    kl_dropout_opts o = *(const kl_dropout_opts *)attrs;
    o.rate = kl__opt_f(o.rate, 0.5f);
    return kl__apply_new(g, &kl__op_dropout, o.name, in, n_in, &o);
}

static kl_status check(const kl__apply *a, float rate)
{
    const kl__desc *x = &a->in[0]->desc;
    char s[96];
    if (!kl__real_dtype(x->dtype) || x->shape.n_dims < 1)
        return kl__fail(KL_E_SHAPE, "%s \"%s\": input %s %s; f32 [N,...] is expected", a->op->name,
                        a->name, kl_dtype_name(x->dtype), kl__shape_str(x->shape, s));
    if (!(rate >= 0 && rate <= 1))
        return kl__fail(KL_E_ARG, "%s \"%s\": rate %g is not in 0..1", a->op->name, a->name,
                        (double)rate);
    return KL_OK;
}

static kl_status dropout_infer(const kl__apply *a, kl__desc *out)
{
    out[0] = a->in[0]->desc;
    return check(a, ((const kl_dropout_opts *)a->attrs)->rate);
}

static kl_status dropout_lower(kl_graph *g, const kl__apply *a, kl_node *const *in, bool training,
                               kl_node **out)
{
    const kl_dropout_opts *o = a->attrs;
    out[0] = in[0];
    if (!training || o->rate == 0)
        return KL_OK;
    char *stream = kl__asprintf("dropout/%s", a->name);
    if (!stream)
        return KL_E_MEMORY;
    const kl__drop d = {.rate = o->rate, .stream = (int)kl__fnv1a(stream)};
    kl__free(stream);
    out[0] = kl__apply_new(g, &kl__op_drop, kl__lowered_name(g, a), in, 1, &d);
    return out[0] ? KL_OK : kl__last_status();
}

static kl_status drop_infer(const kl__apply *a, kl__desc *out)
{
    out[0] = a->in[0]->desc;
    return check(a, ((const kl__drop *)a->attrs)->rate);
}

static kl_status drop_grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                           kl_node **dx)
{
    if (need[0])
        dx[0] = kl__apply_new(g, &kl__op_drop, NULL, dy, 1, a->attrs);
    return KL_OK;
}

static int drop_aliases(const kl__apply *a, int out)
{
    (void)a;
    return out == 0 ? 0 : -1;
}

/** The rate as it was written: 0.3, not the float nearest to it; the threshold is defined by that
 * double. */
static kl_status written(float rate, double *d)
{
    kl__text t = {0};
    kl__put_float(&t, rate);
    kl_status st = t.failed ? kl__no_memory(16) : KL_OK;
    if (st == KL_OK && !kl__parse_double(t.s, d))
        *d = (double)rate;
    kl__text_free(&t);
    return st;
}

static kl_status drop_emit(kl__emit *e, const kl__apply *a, bool solo)
{
    const kl__drop *o = a->attrs;
    const kl_shape s = a->in[0]->desc.shape;
    const int64_t count = kl_shape_count(s);
    double rate = 0;
    kl_status st = written(o->rate, &rate);
    if (st != KL_OK)
        return st;
    const uint64_t threshold = kl__rng_drop_threshold(rate);
    const bool none = threshold > UINT32_MAX;
    kl__defs defs = {0};
    kl__defs_real(&defs, a);
    if (solo)
        kl__def_int(&defs, "VN", e->caps->vector);
    kl__launch l = kl__launch_of(solo ? "dropout_solo.cl" : "dropout.cl",
                                 solo ? "dropout_solo" : "dropout_ref", &defs);
    kl__launch_arg(&l, kl__arg_in(a, 0));
    kl__launch_arg(&l, kl__arg_out(a, 0));
    kl__launch_arg(&l, kl__arg_step(e));
    kl__launch_arg(&l, kl__arg_i32(count));
    kl__launch_arg(&l, kl__arg_u32((uint64_t)(count / s.dim[0])));
    kl__launch_arg(&l, kl__arg_u32((uint32_t)o->stream));
    kl__launch_arg(&l, kl__arg_u32(none ? 0 : threshold));
    kl__launch_arg(&l, kl__arg_i32(none));
    kl__launch_arg(&l, kl__arg_f32(none ? 0 : 1.0 / (1.0 - rate)));
    if (solo) {
        kl__launch_arg(
            &l,
            kl__arg_i32(
                SPAN)); /* an item more where the first element lies inside a group of vectors */
        kl__launch_solo(&l, 1, kl__ceil_div((size_t)count + 4 * (size_t)e->caps->vector - 1, SPAN),
                        1, 1);
    } else {
        kl__launch_1d(&l, e,
                      ((size_t)count + 6) /
                          4); /* a block more where the first element lies inside one */
    }
    st = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return st;
}

static kl_status drop_solo(kl__emit *e, const kl__apply *a)
{
    return drop_emit(e, a, true);
}
static kl_status drop_ref(kl__emit *e, const kl__apply *a)
{
    return drop_emit(e, a, false);
}
static const kl__variant drop_variants[] = {
    {.name = "solo", .fits = kl__solo_f32, .emit = drop_solo},
    {.name = "ref", .emit = drop_ref},
    {.name = NULL}};

const kl__op kl__op_dropout = {
    .name = "dropout",
    .doc = "training: values kept at random, divided by 1 - rate, others 0; else the input",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = KL__OP_RANDOM,
    .attrs_bytes = sizeof(kl_dropout_opts),
    .attrs = dropout_attrs,
    .build = dropout_build,
    .infer = dropout_infer,
    .lower = dropout_lower,
};
const kl__op kl__op_drop = {
    .name = "drop",
    .doc = "x / (1 - rate) where the stream's word is at least rate 2^32, else 0",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = KL__OP_RANDOM | KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl__drop),
    .attrs = drop_attrs,
    .infer = drop_infer,
    .grad = drop_grad,
    .aliases = drop_aliases,
    .variants = drop_variants,
};

kl_node *kl_dropout(kl_graph *g, kl_node *x, const kl_dropout_opts *opts)
{
    return kl__build(g, &kl__op_dropout, &x, 1, opts);
}
