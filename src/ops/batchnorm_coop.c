/* Statistics of batch normalisation and the sums of its gradient on plain storage, for devices that
 * run work-groups in step: parts of each channel, then joined. */
#include "ops/batchnorm.h"
#include "ops/group_coop.h"

typedef struct channels {
    kl__around r;
    int64_t count;
    kl__parts parts;
} channels;

static channels channels_of(const kl__apply *a)
{
    channels c = {.r = kl__around_axis(a->in[0]->desc.shape, 1)};
    c.count = c.r.outer * c.r.inner;
    c.parts = kl__parts_of(c.r.k, c.count);
    return c;
}

/* [N,C] has nothing contiguous in a channel: ref is as good. */
bool kl__bn_coop_fits(const kl__apply *a, const kl__caps *caps)
{
    channels c = channels_of(a);
    return kl__coop_f32(a, caps) && c.r.inner >= 8 && c.count > 0 && c.count <= INT32_MAX / 2 &&
           c.r.k <= 65535;
}

size_t kl__bn_coop_scratch(const kl__apply *a, const kl__caps *caps)
{
    channels c = channels_of(a);
    (void)caps;
    return (size_t)(c.r.k * c.parts.n) * 2 * sizeof(float);
}

static void ints(kl__launch *l, const int64_t *v, int n)
{
    for (int i = 0; i < n; i++)
        kl__launch_arg(l, kl__arg_i32(v[i]));
}

static kl_status emit_parts(kl__emit *e, const kl__apply *a, const channels *c, bool bwd)
{
    kl__defs defs = {0};
    size_t group = kl__row_group(e->caps, &defs, c->parts.per);
    kl__launch l =
        kl__launch_of("batchnorm_coop.cl", bwd ? "bn_bwd_stats_coop" : "bn_stats_coop", &defs);
    for (int i = 0; i < (bwd ? 3 : 1); i++)
        kl__launch_arg(&l, kl__arg_in(a, i));
    kl__launch_arg(&l, kl__arg_scratch(a, 0, sizeof(float)));
    const int64_t v[] = {c->r.outer, c->r.k, c->r.inner, c->parts.n, c->parts.per};
    ints(&l, v, 5);
    kl__launch_groups(&l, (size_t)(c->r.k * c->parts.n), group);
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return st;
}

static kl_status emit_join(kl__emit *e, const kl__apply *a, const channels *c, bool bwd)
{
    const kl__bn *k = a->attrs;
    const int in[2] = {bwd ? 3 : a->n_in > 1, 4}; /* without a weight its argument is not read */
    kl__defs defs = {0};
    size_t group = kl__row_group(e->caps, &defs, c->parts.n);
    kl__launch l = kl__launch_of("batchnorm_coop.cl",
                                 bwd ? "bn_bwd_stats_join_coop" : "bn_stats_join_coop", &defs);
    kl__launch_arg(&l, kl__arg_scratch(a, 0, sizeof(float)));
    for (int i = 0; i < (bwd ? 2 : 1); i++)
        kl__launch_arg(&l, kl__arg_in(a, in[i]));
    for (int i = 0; i < a->n_out; i++)
        kl__launch_arg(&l, kl__arg_out(a, i));
    const int64_t v[] = {c->count, c->parts.n, c->parts.per};
    ints(&l, v, bwd ? 2 : 3);
    if (!bwd) {
        kl__launch_arg(&l, kl__arg_f32((double)k->eps));
        kl__launch_arg(&l, kl__arg_i32(k->biased));
        kl__launch_arg(&l, kl__arg_i32(k->scale));
    }
    kl__launch_groups(&l, (size_t)c->r.k, group);
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&defs);
    return st;
}

kl_status kl__bn_coop_emit(kl__emit *e, const kl__apply *a)
{
    const bool bwd = a->op == &kl__op_bn_bwd_stats;
    channels c = channels_of(a);
    kl_status st = emit_parts(e, a, &c, bwd);
    return st == KL_OK ? emit_join(e, a, &c, bwd) : st;
}
