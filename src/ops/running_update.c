/* state = (1 - m) state + m value / shards: running statistics follow a step, once for all its
 * shards. */
#include "ops/running_update.h"

#include "ops/norm_common.h"

enum { SPAN = 4096 /* floats per SOLO work-item */ };

static const kl__attr running_attrs[] = {
    {"momentum", KL__ATTR_FLOAT, offsetof(kl__running, momentum), 0, NULL, 0,
     "share of the new value (keras: old)"},
    {"compat", KL__ATTR_ENUM, offsetof(kl__running, compat), 0, kl__compat_words, 0,
     "whose share momentum is"},
    KL__ATTR_END,
};

static kl_status running_infer(const kl__apply *a, kl__desc *out)
{
    const kl__desc *s = &a->in[0]->desc, *v = &a->in[1]->desc;
    char b[96], c[96];
    if (!kl__real_dtype(s->dtype) || s->dtype != v->dtype || !kl_shape_equal(s->shape, v->shape))
        return kl__fail(KL_E_SHAPE, "running_update \"%s\": value %s %s does not fit state %s %s",
                        a->name, kl_dtype_name(v->dtype), kl__shape_str(v->shape, b),
                        kl_dtype_name(s->dtype), kl__shape_str(s->shape, c));
    out[0] = *s;
    return KL_OK;
}

static int running_aliases(const kl__apply *a, int out)
{
    (void)a;
    return out == 0 ? 0 : -1;
}

static kl_status running_emit(kl__emit *e, const kl__apply *a, bool solo)
{
    const kl__running *r = a->attrs;
    const double m = r->compat == KL_KERAS ? 1.0 - (double)r->momentum : (double)r->momentum;
    const int64_t n = kl_shape_count(a->in[0]->desc.shape);
    kl__defs defs = {0};
    kl__defs_real(&defs, a);
    if (solo)
        kl__def_int(&defs, "VN", e->caps->vector);
    kl__launch l =
        kl__launch_of("optim_add.cl", solo ? "running_update_solo" : "running_update_ref", &defs);
    kl__launch_arg(&l, kl__arg_in(a, 0));
    kl__launch_arg(&l, kl__arg_in(a, 1));
    kl__launch_arg(&l, kl__arg_step(e));
    kl__launch_arg(&l, kl__arg_i32(n));
    kl__launch_arg(&l, kl__arg_f32(1.0 - m));
    kl__launch_arg(&l, kl__arg_f32(m));
    if (solo) {
        kl__launch_arg(&l, kl__arg_i32(SPAN));
        kl__launch_solo(&l, 1, kl__ceil_div((size_t)n, SPAN), 1, 1);
    } else {
        kl__launch_1d(&l, e, (size_t)n);
    }
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return st;
}

static kl_status running_solo(kl__emit *e, const kl__apply *a)
{
    return running_emit(e, a, true);
}
static kl_status running_ref(kl__emit *e, const kl__apply *a)
{
    return running_emit(e, a, false);
}
static const kl__variant running_variants[] = {
    {.name = "solo", .fits = kl__solo_f32, .emit = running_solo},
    {.name = "ref", .emit = running_ref},
    {.name = NULL}};

const kl__op kl__op_running_update = {
    .name = "running_update",
    .doc = "in place: state = (1 - m) state + m value / shards",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .flags = KL__OP_STATE | KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl__running),
    .attrs = running_attrs,
    .infer = running_infer,
    .aliases = running_aliases,
    .variants = running_variants,
};
