/* Reductions whose contiguous axis is reduced, for devices that run work-groups in step: a group
 * per output and part of its positions, then the parts by the plain kernel. */
#include "ops/group_coop.h"
#include "ops/reduce_launch.h"

/* Shorter ones are read whole by one item each; where the contiguous axis is kept, neighbouring
 * items of ref read neighbouring elements. */
bool kl__reduce_coop_fits(const kl__apply *a, const kl__caps *caps)
{
    kl__fold f;
    kl__fold_of(a->in[0]->desc.shape, kl__reduce_mask_of(a), &f);
    return kl__coop_f32(a, caps) && f.inner_red && f.n_red >= 64 && f.n_keep > 0;
}

static kl__parts cut(const kl__apply *a, kl__fold *f)
{
    kl__fold_of(a->in[0]->desc.shape, kl__reduce_mask_of(a), f);
    return kl__parts_of(f->n_keep, f->n_red);
}

size_t kl__reduce_coop_scratch(const kl__apply *a, const kl__caps *caps)
{
    kl__fold f;
    kl__parts p = cut(a, &f);
    (void)caps;
    return p.n > 1 ? (size_t)p.n * (size_t)f.n_keep * sizeof(float) : 0;
}

static void defs_of(const kl__apply *a, kl__defs *d)
{
    if (a->op == &kl__op_reduce_max)
        kl__def_int(d, "KL_MAX", 1);
}

static kl_status emit_parts(kl__emit *e, const kl__apply *a, const kl__fold *f, const kl__parts *p,
                            kl__arg to, int divisor)
{
    kl__defs d = {0};
    defs_of(a, &d);
    size_t group = kl__row_group(e->caps, &d, p->per);
    kl__launch l = kl__launch_of("reduce_coop.cl", "reduce_coop", &d);
    kl__launch_arg(&l, kl__arg_in(a, 0));
    kl__launch_arg(&l, to);
    kl__launch_fold(&l, f);
    kl__launch_arg(&l, kl__arg_i32(p->n));
    kl__launch_arg(&l, kl__arg_i32(p->per));
    kl__launch_arg(&l, kl__arg_i32(divisor));
    kl__launch_groups(&l, (size_t)f->n_keep * (size_t)p->n, group);
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&d);
    return st;
}

/** Sums or largest of part [parts][n_keep]: item by output. */
static kl_status emit_last(kl__emit *e, const kl__apply *a, const kl__fold *f, const kl__parts *p,
                           int divisor)
{
    const kl__fold last = {.keep = {1, 1, f->n_keep},
                           .keep_step = {0, 0, 1},
                           .red = {1, 1, (int)p->n},
                           .red_step = {0, 0, f->n_keep},
                           .n_keep = f->n_keep,
                           .n_red = (int)p->n};
    kl__defs d = {0};
    defs_of(a, &d);
    kl__launch l = kl__launch_of("reduce.cl", "reduce_ref", &d);
    kl__launch_arg(&l, kl__arg_scratch(a, 0, sizeof(float)));
    kl__launch_arg(&l, kl__arg_out(a, 0));
    kl__launch_fold(&l, &last);
    kl__launch_arg(&l, kl__arg_i32(1));
    kl__launch_arg(&l, kl__arg_i32(1));
    kl__launch_arg(&l, kl__arg_i32(divisor));
    kl__launch_1d(&l, e, (size_t)f->n_keep);
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&d);
    return st;
}

kl_status kl__reduce_coop_emit(kl__emit *e, const kl__apply *a)
{
    kl__fold f;
    kl__parts p = cut(a, &f);
    int divisor = a->op == &kl__op_reduce_mean ? f.n_red : 1;
    if (p.n == 1)
        return emit_parts(e, a, &f, &p, kl__arg_out(a, 0), divisor);
    kl_status st = emit_parts(e, a, &f, &p, kl__arg_scratch(a, 0, sizeof(float)), 1);
    return st == KL_OK ? emit_last(e, a, &f, &p, divisor) : st;
}
