/* a += b over arenas: gradients of shards, added in a tree that does not depend on who made them.
 */
#include "ops/norm_common.h"
#include "ops/optim.h"

enum { SPAN = 4096 /* floats per SOLO work-item */ };

static kl_status add_infer(const kl__apply *a, kl__desc *out)
{
    const kl__desc *x = &a->in[0]->desc, *y = &a->in[1]->desc;
    char s[96], t[96];
    if (!kl__real_dtype(x->dtype) || x->dtype != y->dtype || !kl_shape_equal(x->shape, y->shape))
        return kl__fail(KL_E_SHAPE, "tree_add \"%s\": %s %s does not fit %s %s", a->name,
                        kl_dtype_name(y->dtype), kl__shape_str(y->shape, s),
                        kl_dtype_name(x->dtype), kl__shape_str(x->shape, t));
    out[0] = *x;
    return KL_OK;
}

static int add_aliases(const kl__apply *a, int out)
{
    (void)a;
    return out == 0 ? 0 : -1;
}

static kl_status add_emit(kl__emit *e, const kl__apply *a, bool solo)
{
    const int64_t n = kl_shape_count(a->in[0]->desc.shape);
    kl__defs defs = {0};
    kl__defs_real(&defs, a);
    if (solo)
        kl__def_int(&defs, "VN", e->caps->vector);
    kl__launch l = kl__launch_of("optim_add.cl", solo ? "tree_add_solo" : "tree_add_ref", &defs);
    kl__launch_arg(&l, kl__arg_in(a, 0));
    kl__launch_arg(&l, kl__arg_in(a, 1));
    kl__launch_arg(&l, kl__arg_i32(n));
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

static kl_status add_solo(kl__emit *e, const kl__apply *a)
{
    return add_emit(e, a, true);
}
static kl_status add_ref(kl__emit *e, const kl__apply *a)
{
    return add_emit(e, a, false);
}
static const kl__variant add_variants[] = {{.name = "solo", .fits = kl__solo_f32, .emit = add_solo},
                                           {.name = "ref", .emit = add_ref},
                                           {.name = NULL}};

const kl__op kl__op_tree_add = {
    .name = "tree_add",
    .doc = "in place: a += b",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .flags = KL__OP_STATE | KL__OP_HIDDEN,
    .infer = add_infer,
    .aliases = add_aliases,
    .variants = add_variants,
};
