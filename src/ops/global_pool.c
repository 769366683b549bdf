/* global_avgpool and global_maxpool: one number per plane, [N,C,H,W] -> [N,C,1,1], and their
 * gradients. */
#include "ops/group_coop.h"
#include "ops/pool2d.h"

enum { ITEM_CELLS = 16384 }; /* cells of one SOLO work-item */

typedef struct global_opts {
    const char *name;
} global_opts;

typedef struct global_bwd {
    int size[2]; /* height and width of the input */
} global_bwd;

static kl_status global_infer(const kl__apply *a, kl__desc *out)
{
    const kl__desc *x = &a->in[0]->desc;
    char b[96];
    kl_status st = kl__pool_check_dtype(a);
    if (st != KL_OK)
        return st;
    if (x->shape.n_dims != 4 || x->shape.dim[2] < 1 || x->shape.dim[3] < 1)
        return kl__fail(KL_E_SHAPE, "%s \"%s\": input %s is not [N,C,H,W] with at least one cell",
                        a->op->name, a->name, kl__shape_str(x->shape, b));
    *out =
        (kl__desc){.dtype = x->dtype, .shape = kl__shape4(x->shape.dim[0], x->shape.dim[1], 1, 1)};
    return KL_OK;
}

static kl_status max_infer(const kl__apply *a, kl__desc *out)
{
    kl_status st = global_infer(a, out);
    if (a->n_out > 1)
        out[1] = (kl__desc){.dtype = KL_I32, .shape = out->shape};
    return st;
}

static kl_status bwd_infer(const kl__apply *a, kl__desc *dx)
{
    const global_bwd *o = a->attrs;
    *dx = (kl__desc){.dtype = a->in[0]->desc.dtype, .shape = a->in[0]->desc.shape};
    dx->shape.dim[2] = o->size[0];
    dx->shape.dim[3] = o->size[1];
    return KL_OK;
}

static kl_status grad(kl_graph *g, const kl__apply *a, kl_node *const *dy, const bool *need,
                      kl_node **dx)
{
    kl_shape s = a->in[0]->desc.shape;
    global_bwd o = {{(int)s.dim[2], (int)s.dim[3]}};
    if (!need[0] || !dy[0])
        return KL_OK;
    if (a->op == &kl__op_global_avgpool) {
        dx[0] = kl__apply_new(g, &kl__op_global_avgpool_bwd, NULL, dy, 1, &o);
        return kl_graph_check(g);
    }
    kl_node *places = a->n_out > 1 ? a->out[1] : NULL;
    if (!places) /* lowered for inference: the places are found again */
        places = kl__out(kl__apply_new(g, a->op, NULL, a->in, 1, a->attrs), 1);
    if (!places)
        return kl_graph_check(g);
    dx[0] =
        kl__apply_new(g, &kl__op_global_maxpool_bwd, NULL, (kl_node *[]){dy[0], places}, 2, &o);
    return kl_graph_check(g);
}

/* In inference nobody asks where the maxima stood. */
static kl_status max_lower(kl_graph *g, const kl__apply *a, kl_node *const *in, bool training,
                           kl_node **out)
{
    if (!training)
        out[0] = kl__apply_new_n(g, a->op, a->name, in, 1, 1, a->attrs);
    return kl_graph_check(g);
}

/** ref: `items` of one each; solo: planes in groups. `map` is the value with whole planes. */
static kl_status emit(kl__emit *e, const kl__apply *a, const char *kernel, const kl_node *map,
                      bool solo, bool by_plane)
{
    kl_shape s = map->desc.shape;
    int64_t hw = s.dim[2] * s.dim[3], planes = s.dim[0] * s.dim[1], per = ITEM_CELLS / hw;
    int64_t n = solo || by_plane ? planes : planes * hw;
    per = per < 1 ? 1 : per < planes ? per : planes;
    kl__defs d = {0};
    kl__defs_real(&d, a);
    if (solo)
        kl__def_int(&d, "V", e->caps->vector);
    if (a->op == &kl__op_global_maxpool && a->n_out == 1)
        kl__def_flag(&d, "NO_PLACES");
    kl__launch l = kl__launch_of("pool2d_global.cl", kernel, &d);
    for (int i = 0; i < a->n_in; i++)
        kl__launch_arg(&l, kl__arg_in(a, i));
    for (int i = 0; i < a->n_out; i++)
        kl__launch_arg(&l, kl__arg_out(a, i));
    kl__launch_arg(&l, kl__arg_i32(n));
    kl__launch_arg(&l, kl__arg_i32(hw));
    if (solo) {
        kl__launch_arg(&l, kl__arg_i32(per));
        kl__launch_solo(&l, 1, (size_t)((planes + per - 1) / per), 1, 1);
    } else {
        kl__launch_1d(&l, e, (size_t)n);
    }
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&d);
    return st;
}

static kl_status avg_solo(kl__emit *e, const kl__apply *a)
{
    return emit(e, a, "global_avgpool_fwd_solo", a->in[0], true, true);
}

static kl_status avg_ref(kl__emit *e, const kl__apply *a)
{
    return emit(e, a, "global_avgpool_fwd_ref", a->in[0], false, true);
}

static kl_status max_solo(kl__emit *e, const kl__apply *a)
{
    return emit(e, a, "global_maxpool_fwd_solo", a->in[0], true, true);
}

static kl_status max_ref(kl__emit *e, const kl__apply *a)
{
    return emit(e, a, "global_maxpool_fwd_ref", a->in[0], false, true);
}

static kl_status avg_bwd_solo(kl__emit *e, const kl__apply *a)
{
    return emit(e, a, "global_avgpool_bwd_solo", a->out[0], true, true);
}

static kl_status avg_bwd_ref(kl__emit *e, const kl__apply *a)
{
    return emit(e, a, "global_avgpool_bwd_ref", a->out[0], false, false);
}

static kl_status max_bwd_solo(kl__emit *e, const kl__apply *a)
{
    return emit(e, a, "global_maxpool_bwd_solo", a->out[0], true, true);
}

static kl_status max_bwd_ref(kl__emit *e, const kl__apply *a)
{
    return emit(e, a, "global_maxpool_bwd_ref", a->out[0], false, false);
}

static const kl__attr attrs[] = {
    {"name", KL__ATTR_NAME, offsetof(global_opts, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};
static const kl__attr bwd_attrs[] = {
    {"size", KL__ATTR_INTS, offsetof(global_bwd, size), 2, NULL, 0,
     "height, width of the pooling's input"},
    KL__ATTR_END,
};
#define BLOCKED                                                                                    \
    {.name = "solo_c",                                                                             \
     .fits = kl__global_blocked_fits,                                                              \
     .layouts = kl__global_blocked_layouts,                                                        \
     .wide_halo = true,                                                                            \
     .epilogue = kl__global_blocked_epilogue,                                                      \
     .emit = kl__global_blocked_emit}
#define VARIANTS(pass)                                                                             \
    static const kl__variant pass##_variants[] = {                                                 \
        BLOCKED,                                                                                   \
        {.name = "solo", .fits = kl__pool_solo_fits, .emit = pass##_solo},                         \
        {.name = "ref", .emit = pass##_ref},                                                       \
        {.name = NULL},                                                                            \
    };
#define POOLS(pass)                                                                                \
    static const kl__variant pass##_variants[] = {                                                 \
        BLOCKED,                                                                                   \
        {.name = "solo", .fits = kl__pool_solo_fits, .emit = pass##_solo},                         \
        {.name = "coop", .fits = kl__global_coop_fits, .emit = kl__global_coop_emit},              \
        {.name = "ref", .emit = pass##_ref},                                                       \
        {.name = NULL},                                                                            \
    };
POOLS(avg)
POOLS(max)
VARIANTS(avg_bwd)
VARIANTS(max_bwd)

static void whole(const kl__apply *a, int extent[2], int stride[2])
{
    (void)a;
    extent[0] = extent[1] = 0;
    stride[0] = stride[1] = 1;
}

const kl__op kl__op_global_avgpool = {
    .name = "global_avgpool",
    .doc = "mean of each plane: [N,C,H,W] -> [N,C,1,1]",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .attrs_bytes = sizeof(global_opts),
    .attrs = attrs,
    .infer = global_infer,
    .grad = grad,
    .window = whole,
    .variants = avg_variants,
};
const kl__op kl__op_global_maxpool = {
    .name = "global_maxpool",
    .doc = "largest cell of each plane: [N,C,H,W] -> [N,C,1,1]",
    .min_in = 1,
    .max_in = 1,
    .n_out = 2,
    .attrs_bytes = sizeof(global_opts),
    .attrs = attrs,
    .infer = max_infer,
    .grad = grad,
    .lower = max_lower,
    .window = whole,
    .variants = max_variants,
};
const kl__op kl__op_global_avgpool_bwd = {
    .name = "global_avgpool_bwd",
    .doc = "dx of global_avgpool from dy",
    .min_in = 1,
    .max_in = 1,
    .n_out = 1,
    .flags = KL__OP_HIDDEN,
    .attrs_bytes = sizeof(global_bwd),
    .attrs = bwd_attrs,
    .infer = bwd_infer,
    .variants = avg_bwd_variants,
};
const kl__op kl__op_global_maxpool_bwd = {
    .name = "global_maxpool_bwd",
    .doc = "dx of global_maxpool from dy and the places of the maxima",
    .min_in = 2,
    .max_in = 2,
    .n_out = 1,
    .flags = KL__OP_HIDDEN,
    .attrs_bytes = sizeof(global_bwd),
    .attrs = bwd_attrs,
    .infer = bwd_infer,
    .variants = max_bwd_variants,
};

kl_node *kl_global_avgpool(kl_graph *g, kl_node *x, const char *name)
{
    return kl__build(g, &kl__op_global_avgpool, &x, 1, &(global_opts){name});
}

kl_node *kl_global_maxpool(kl_graph *g, kl_node *x, const char *name)
{
    return kl__build(g, &kl__op_global_maxpool, &x, 1, &(global_opts){name});
}
