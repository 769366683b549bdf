/* Global pooling on blocked storage: whole planes in blocks, the values between plain. */
#include "ops/epilogue.h"
#include "ops/pool2d.h"

enum { ITEM_CELLS = 1024 }; /* vectors that one work-item goes through */

static bool is_back(const kl__apply *a)
{
    return a->op == &kl__op_global_avgpool_bwd || a->op == &kl__op_global_maxpool_bwd;
}

/** Forward: where x is in blocks. Backward: where a value of dx's shape is, most likely x. */
bool kl__global_blocked_fits(const kl__apply *a, const kl__caps *caps)
{
    if (!kl__pool_solo_fits(a, caps))
        return false;
    if (!is_back(a))
        return kl__pool_is_blocked(a->in[0], caps);
    for (size_t i = 0; i < a->graph->n_nodes; i++) {
        const kl_node *x = a->graph->nodes[i];
        if (x != a->out[0] && kl_shape_equal(x->desc.shape, a->out[0]->desc.shape) &&
            kl__pool_is_blocked(x, caps))
            return true;
    }
    return false;
}

bool kl__global_blocked_epilogue(const kl__apply *a, const kl__apply *elt)
{
    return is_back(a) && kl__epi_by_channel(a, elt);
}

void kl__global_blocked_layouts(const kl__apply *a, const kl__caps *caps, kl__layout *in,
                                kl__layout *out)
{
    if (is_back(a)) {
        out[0].kind = KL__NCHWC; /* its halo stays what readers want */
        out[0].block = caps->vector;
        kl__epi_layouts(a, out[0], in);
        return;
    }
    in[0] = (kl__layout){KL__NCHWC, caps->vector, {0}};
    for (int i = 0; i < a->n_out; i++)
        out[i] = (kl__layout){KL__PLAIN, 0, {0}};
}

kl_status kl__global_blocked_emit(kl__emit *e, const kl__apply *a)
{
    bool back = is_back(a), max = a->op == &kl__op_global_maxpool || a->n_own == 2;
    const kl_node *map = back ? a->out[0] : a->in[0]; /* with whole planes */
    const int64_t *s = map->desc.shape.dim;
    int v = e->caps->vector;
    int64_t blocks = (s[1] + v - 1) / v, planes = s[0] * blocks, per = ITEM_CELLS / (s[2] * s[3]);
    per = per < 1 ? 1 : per < planes ? per : planes;
    kl__defs d = {0};
    kl__def_int(&d, "VN", v);
    if (max && !back && a->n_out == 1)
        kl__def_flag(&d, "NO_PLACES");
    kl__launch l = kl__launch_of("pool2d_global_c.cl",
                                 max    ? back ? "global_maxpool_bwd_c" : "global_maxpool_fwd_c"
                                 : back ? "global_avgpool_bwd_c"
                                        : "global_avgpool_fwd_c",
                                 &d);
    for (int i = 0; i < a->n_own; i++)
        kl__launch_arg(&l, kl__arg_in(a, i));
    for (int i = 0; i < a->n_out; i++)
        kl__launch_arg(&l, kl__arg_out(a, i));
    const int64_t sizes[] = {planes, per, blocks, s[1]};
    for (int i = 0; i < 4; i++)
        kl__launch_arg(&l, kl__arg_i32(sizes[i]));
    if (!back)
        kl__pool_storage_args(&l, map);
    kl__launch_arg(&l, kl__arg_i32(s[2]));
    kl__launch_arg(&l, kl__arg_i32(s[3]));
    if (back)
        kl__pool_halo_args(&l, map);
    kl__launch_solo(&l, 1, (size_t)((planes + per - 1) / per), 1, 1);
    kl_status st = kl__epi_launch(e, a, &l);
    kl__defs_free(&d);
    return st;
}
