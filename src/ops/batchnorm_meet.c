/* Batch normalisation over all shards of a batch: what bn_stats and bn_bwd_stats of the shards come
 * to together. */
#include "ops/batchnorm.h"

static const kl__attr meet_attrs[] = {
    {"eps", KL__ATTR_FLOAT, offsetof(kl__bn_meet, bn.eps), 0, NULL, 0, "added to the variance"},
    {"scale", KL__ATTR_BOOL, offsetof(kl__bn_meet, bn.scale), 0, NULL, 0, "with weight"},
    {"biased", KL__ATTR_BOOL, offsetof(kl__bn_meet, bn.biased), 0, NULL, 0,
     "kept variance divides by n"},
    {"each", KL__ATTR_INT, offsetof(kl__bn_meet, each), 0, NULL, 0,
     "values per channel and sample"},
    KL__ATTR_END,
};

/** Inputs: row[0], row[1] [C], table [S,2C], samples i32 [S], then n_in - 4 of [C]. */
static kl_status meet_check(const kl__apply *a, int n_in)
{
    const kl__desc *row = &a->in[0]->desc, *table = &a->in[2]->desc, *samples = &a->in[3]->desc;
    char s[96], t[96];
    if (a->n_in != n_in)
        return kl__fail(KL_E_ARG, "%s \"%s\": %d inputs; %d are expected", a->op->name, a->name,
                        a->n_in, n_in);
    for (int i = 0; i < n_in; i++) {
        const kl__desc *d = &a->in[i]->desc;
        if (i != 2 && i != 3 &&
            (d->dtype != row->dtype || d->shape.n_dims != 1 ||
             d->shape.dim[0] != row->shape.dim[0]))
            return kl__fail(KL_E_SHAPE, "%s \"%s\": input %d is %s %s; %s [C] is expected",
                            a->op->name, a->name, i, kl_dtype_name(d->dtype),
                            kl__shape_str(d->shape, s), kl_dtype_name(row->dtype));
    }
    if (table->dtype != row->dtype || table->shape.n_dims != 2 ||
        table->shape.dim[1] != 2 * row->shape.dim[0] || samples->dtype != KL_I32 ||
        samples->shape.n_dims != 1 || samples->shape.dim[0] != table->shape.dim[0])
        return kl__fail(KL_E_SHAPE, "%s \"%s\": table %s and samples %s; [S,2C] and i32 [S] are "
                                    "expected",
                        a->op->name, a->name, kl__shape_str(table->shape, s),
                        kl__shape_str(samples->shape, t));
    return KL_OK;
}

static kl_status infer(const kl__apply *a, kl__desc *out)
{
    const kl__bn_meet *k = a->attrs;
    const bool bwd = a->op == &kl__op_bn_bwd_meet;
    kl_status st = meet_check(a, bwd ? 6 : 4 + k->bn.scale);
    for (int i = 0; i < a->op->n_out; i++)
        out[i] = (kl__desc){.dtype = a->in[0]->desc.dtype, .shape = a->in[0]->desc.shape};
    return st;
}

static kl_status emit(kl__emit *e, const kl__apply *a)
{
    const kl__bn_meet *k = a->attrs;
    const bool bwd = a->op == &kl__op_bn_bwd_meet;
    const int64_t c = a->in[0]->desc.shape.dim[0];
    kl__defs defs = {0};
    kl__defs_real(&defs, a);
    kl__launch l =
        kl__launch_of("batchnorm_meet.cl", bwd ? "bn_bwd_meet_ref" : "bn_meet_ref", &defs);
    kl__launch_arg(&l, kl__arg_in(a, 2));
    kl__launch_arg(&l, kl__arg_in(a, 3));
    kl__launch_arg(&l, kl__arg_in(a, bwd || k->bn.scale ? 4 : 0)); /* without weight: not read */
    if (bwd)
        kl__launch_arg(&l, kl__arg_in(a, 5));
    for (int i = 0; i < a->n_out; i++)
        kl__launch_arg(&l, kl__arg_out(a, i));
    kl__launch_arg(&l, kl__arg_i32(a->in[3]->desc.shape.dim[0]));
    kl__launch_arg(&l, kl__arg_i32(c));
    kl__launch_arg(&l, kl__arg_i32(k->each));
    if (!bwd) {
        kl__launch_arg(&l, kl__arg_f32((double)k->bn.eps));
        kl__launch_arg(&l, kl__arg_i32(k->bn.biased));
        kl__launch_arg(&l, kl__arg_i32(k->bn.scale));
    }
    kl__launch_1d(&l, e, (size_t)c);
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return st;
}

static const kl__variant variants[] = {{.name = "ref", .emit = emit}, {.name = NULL}};

const kl__op kl__op_bn_meet = {
    .name = "bn_meet",
    .doc = "own mean, own kept variance, table [S,2C], samples i32 [S], weight? -> what bn_stats "
           "gives, of all shards",
    .min_in = 4,
    .max_in = 5,
    .n_out = KL__BN_STATS,
    .flags = KL__OP_HIDDEN | KL__OP_MEET,
    .attrs_bytes = sizeof(kl__bn_meet),
    .attrs = meet_attrs,
    .infer = infer,
    .variants = variants,
};

const kl__op kl__op_bn_bwd_meet = {
    .name = "bn_bwd_meet",
    .doc = "own dw, own db, table [S,2C], samples i32 [S], 1 / sqrt(var + eps), scale -> slope, "
           "offset of all shards",
    .min_in = 6,
    .max_in = 6,
    .n_out = 2,
    .flags = KL__OP_HIDDEN | KL__OP_MEET,
    .attrs_bytes = sizeof(kl__bn_meet),
    .attrs = meet_attrs,
    .infer = infer,
    .variants = variants,
};

/* ---- in the place of a shard's own ----------------------------------------------------------- */
static kl_status meet_new(kl_graph *g, const kl__op *op, kl_node *const *in, int n_in,
                          const kl__bn_meet *k, kl_node **first)
{
    *first = kl__apply_new(g, op, NULL, in, n_in, k);
    return *first ? KL_OK : kl_graph_check(g);
}

kl_status kl__bn_stats_meet(kl_graph *g, const kl__apply *a, const kl__meeting *m, kl_node **out)
{
    const kl__bn_meet k = {*(const kl__bn *)a->attrs, m->each};
    kl_node *in[5] = {a->out[KL__BN_MEAN], a->out[KL__BN_KEPT], m->table, m->samples,
                      k.bn.scale ? a->in[1] : NULL};
    kl_node *all = NULL;
    kl_status st = meet_new(g, &kl__op_bn_meet, in, 4 + k.bn.scale, &k, &all);
    for (int i = 0; st == KL_OK && i < KL__BN_STATS; i++)
        out[i] = kl__out(all, i);
    return st;
}

kl_status kl__bn_bwd_stats_meet(kl_graph *g, const kl__apply *a, const kl__meeting *m,
                                kl_node **out)
{
    const kl__bn_meet k = {.each = m->each};
    kl_node *in[6] = {a->out[KL__BN_DW], a->out[KL__BN_DB], m->table, m->samples, a->in[3],
                      a->in[4]};
    kl_node *all = NULL;
    kl_status st = meet_new(g, &kl__op_bn_bwd_meet, in, 6, &k, &all);
    out[KL__BN_SLOPE] = kl__out(all, 0);
    out[KL__BN_OFFSET] = kl__out(all, 1);
    return st;
}
