/* correct: how many rows of logits have their largest entry at the label. For metrics; no gradient.
 */
#include "ops/op.h"

static kl_status correct_infer(const kl__apply *a, kl__desc *out)
{
    char b0[96], b1[96];
    kl_shape x = a->in[0]->desc.shape, y = a->in[1]->desc.shape;
    if (x.n_dims != 2 || y.n_dims != 1 || y.dim[0] != x.dim[0] || a->in[1]->desc.dtype != KL_I32)
        return kl__fail(KL_E_SHAPE,
                        "correct \"%s\": wants logits [N,K] and i32 labels [N], given %s and %s %s",
                        a->name, kl__shape_str(x, b0), kl_dtype_name(a->in[1]->desc.dtype),
                        kl__shape_str(y, b1));
    out->dtype = a->in[0]->desc.dtype;
    out->shape = (kl_shape){1, {2}};
    return KL_OK;
}

static size_t correct_scratch(const kl__apply *a, const kl__caps *caps)
{
    (void)caps;
    return (size_t)a->in[0]->desc.shape.dim[0] * sizeof(int32_t) + 4;
}

static kl_status correct_emit(kl__emit *e, const kl__apply *a)
{
    kl__defs d = {{0}};
    kl__defs_real(&d, a);
    int64_t n = a->in[0]->desc.shape.dim[0], k = a->in[0]->desc.shape.dim[1];
    kl__launch rows = kl__launch_of("correct.cl", "correct_rows_ref", &d);
    kl__launch_arg(&rows, kl__arg_i32(n));
    kl__launch_arg(&rows, kl__arg_i32(k));
    kl__launch_arg(&rows, kl__arg_in(a, 0));
    kl__launch_arg(&rows, kl__arg_in(a, 1));
    kl__launch_arg(&rows, kl__arg_scratch(a, 0, 4));
    kl__launch_1d(&rows, e, (size_t)n);
    kl_status st = n > 0 ? kl__emit_launch(e, a, &rows) : KL_OK;
    kl__launch sum = kl__launch_of("correct.cl", "correct_sum_ref", &d);
    kl__launch_arg(&sum, kl__arg_i32(n));
    kl__launch_arg(&sum, kl__arg_scratch(a, 0, 4));
    kl__launch_arg(&sum, kl__arg_out(a, 0));
    kl__launch_solo(&sum, 1, 1, 1, 1);
    if (st == KL_OK)
        st = kl__emit_launch(e, a, &sum);
    kl__defs_free(&d);
    return st;
}

static const kl__variant correct_variants[] = {
    {.name = "ref", .scratch_bytes = correct_scratch, .emit = correct_emit},
    {0},
};

const kl__op kl__op_correct = {
    .name = "correct",
    .doc =
        "logits [N,K], labels i32 [N] -> [2]: rows whose first maximum is the label, rows counted",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .flags = KL__OP_HIDDEN,
    .infer = correct_infer,
    .variants = correct_variants,
};
