/* Launches of the reductions. Parts depend on shapes alone, so results do not change with the
 * number of cores. */
#include "ops/reduce_launch.h"

void kl__fold_of(kl_shape full, uint32_t reduced, kl__fold *f)
{
    *f = (kl__fold){.keep = {1, 1, 1}, .red = {1, 1, 1}, .n_keep = 1, .n_red = 1};
    int64_t step = 1;
    int at[2] = {3, 3}, last = -1; /* places used from the right, by kind */
    for (int i = full.n_dims - 1; i >= 0; i--) {
        int n = (int)full.dim[i], kind = reduced >> i & 1u;
        int *size = kind ? f->red : f->keep, *steps = kind ? f->red_step : f->keep_step;
        if (n == 1)
            continue;
        if (last < 0)
            f->inner_red = kind;
        if (kind != last)
            steps[--at[kind]] = (int)step;
        size[at[kind]] *= n;
        step *= n;
        last = kind;
    }
    for (int i = 0; i < 3; i++) {
        f->n_keep *= f->keep[i];
        f->n_red *= f->red[i];
    }
}

void kl__launch_fold(kl__launch *l, const kl__fold *f)
{
    const int v[12] = {f->n_keep,       f->keep[1],      f->keep[2],     f->keep_step[0],
                       f->keep_step[1], f->keep_step[2], f->n_red,       f->red[1],
                       f->red[2],       f->red_step[0],  f->red_step[1], f->red_step[2]};
    for (int i = 0; i < 12; i++)
        kl__launch_arg(l, kl__arg_i32(v[i]));
}

/* ---- how a reduction is cut ------------------------------------------------------------------ */
typedef struct cut {
    kl__fold f;
    int parts; /* partial results per output; 1: one launch */
    int outs;  /* rows: outputs per item */
    /* parts cut the reduced positions (or rows, or columns of the only row) into this many each */
    int per;
} cut;

static int ceil_div(int a, int b)
{
    return a / b + (a % b != 0);
}

static void cut_of(const kl__apply *a, cut *c)
{
    kl__fold_of(a->in[0]->desc.shape, kl__reduce_mask_of(a), &c->f);
    c->parts = c->outs = 1;
    c->per = c->f.n_red;
}

/* Enough parts for a GPU where there are few outputs and each is long; fixed by the shape. */
static void cut_ref(const kl__apply *a, cut *c)
{
    cut_of(a, c);
    while (c->parts < 256 && c->f.n_keep < 16384 / c->parts && c->f.n_red / c->parts > 256)
        c->parts *= 2;
}

static void cut_solo(const kl__apply *a, const kl__caps *caps, cut *c)
{
    enum { ITEM = 8192, ITEMS = 32 }; /* elements worth an item; items worth having */
    cut_of(a, c);
    const kl__fold *f = &c->f;
    int items, width = 1, rows = f->n_red, cols = 0;
    if (f->inner_red) {
        rows = f->n_red / f->red[2];
        if (f->n_red < ITEM)
            c->outs = ceil_div(ITEM, f->n_red);
        if (ceil_div(f->n_keep, c->outs) < ITEMS)
            c->outs = ceil_div(f->n_keep, ITEMS);
        items = ceil_div(f->n_keep, c->outs);
        if (rows == 1)
            cols = f->red[2];
    } else {
        width = f->keep[2] < 4 * caps->vector ? f->keep[2] : 4 * caps->vector;
        items = ceil_div(f->keep[2], 4 * caps->vector) * f->keep[0] * f->keep[1];
    }
    int64_t work = (int64_t)f->n_red * width * c->outs;
    while (c->parts < ITEMS && items * c->parts < ITEMS && work / c->parts > ITEM)
        c->parts *= 2;
    c->per = ceil_div(cols ? cols : rows, c->parts);
    if (cols) /* whole vectors per part */
        c->per = ceil_div(c->per, 4 * caps->vector) * 4 * caps->vector;
}

static size_t scratch_of(const kl__apply *a, const cut *c)
{
    return c->parts > 1
               ? (size_t)c->parts * (size_t)c->f.n_keep * kl_dtype_size(a->out[0]->desc.dtype)
               : 0;
}
static size_t ref_scratch(const kl__apply *a, const kl__caps *caps)
{
    cut c;
    (void)caps;
    cut_ref(a, &c);
    return scratch_of(a, &c);
}
static size_t solo_scratch(const kl__apply *a, const kl__caps *caps)
{
    cut c;
    cut_solo(a, caps, &c);
    return scratch_of(a, &c);
}

/* The second launch's view of the partial results [parts][n_keep]. */
static cut cut_of_parts(const cut *c)
{
    cut d = {.f = {.keep = {1, 1, c->f.n_keep}, .keep_step = {0, 0, 1}, .red = {1, 1, c->parts},
                   .red_step = {0, 0, c->f.n_keep}, .n_keep = c->f.n_keep, .n_red = c->parts},
             .parts = 1, .outs = 1, .per = c->parts};
    return d;
}

static int divisor_of(const kl__apply *a, const cut *c)
{
    return a->op == &kl__op_reduce_mean && c->f.n_red > 0 ? c->f.n_red : 1;
}

static void defs_of(const kl__apply *a, kl__defs *d)
{
    kl__defs_real(d, a);
    if (a->op == &kl__op_reduce_max)
        kl__def_int(d, "KL_MAX", 1);
}

/* ---- ref ------------------------------------------------------------------------------------- */
static kl_status launch_ref(kl__emit *e, const kl__apply *a, const cut *c, kl__arg from, kl__arg to,
                            int divisor)
{
    kl__defs d = {0};
    defs_of(a, &d);
    kl__launch l = kl__launch_of("reduce.cl", "reduce_ref", &d);
    kl__launch_arg(&l, from);
    kl__launch_arg(&l, to);
    kl__launch_fold(&l, &c->f);
    kl__launch_arg(&l, kl__arg_i32(c->parts));
    kl__launch_arg(&l, kl__arg_i32(!c->f.inner_red));
    kl__launch_arg(&l, kl__arg_i32(divisor));
    kl__launch_1d(&l, e, (size_t)c->f.n_keep * (size_t)c->parts);
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&d);
    return st;
}

static kl_status ref_emit(kl__emit *e, const kl__apply *a)
{
    cut c;
    cut_ref(a, &c);
    if (c.parts == 1)
        return launch_ref(e, a, &c, kl__arg_in(a, 0), kl__arg_out(a, 0), divisor_of(a, &c));
    kl__arg part = kl__arg_scratch(a, 0, (uint32_t)kl_dtype_size(a->out[0]->desc.dtype));
    cut last = cut_of_parts(&c);
    kl_status st = launch_ref(e, a, &c, kl__arg_in(a, 0), part, 1);
    return st == KL_OK ? launch_ref(e, a, &last, part, kl__arg_out(a, 0), divisor_of(a, &c)) : st;
}

/* ---- solo ------------------------------------------------------------------------------------ */
static kl_status launch_solo(kl__emit *e, const kl__apply *a, const cut *c, kl__arg from,
                             kl__arg to, int divisor)
{
    const kl__fold *f = &c->f;
    kl__defs d = {0};
    defs_of(a, &d);
    kl__def_int(&d, "W", e->caps->vector);
    kl__launch l =
        kl__launch_of("reduce_solo.cl", f->inner_red ? "reduce_rows_solo" : "reduce_cols_solo", &d);
    kl__launch_arg(&l, from);
    kl__launch_arg(&l, to);
    kl__launch_fold(&l, f);
    if (f->inner_red) {
        bool one = f->n_red == f->red[2];
        kl__launch_arg(&l, kl__arg_i32(c->outs));
        kl__launch_arg(&l, kl__arg_i32(one ? 1 : c->per));
        kl__launch_arg(&l, kl__arg_i32(one ? c->per : f->red[2]));
        kl__launch_solo(&l, 2, (size_t)ceil_div(f->n_keep, c->outs), (size_t)c->parts, 1);
    } else {
        kl__launch_arg(&l, kl__arg_i32(c->per));
        kl__launch_solo(&l, 3, (size_t)ceil_div(f->keep[2], 4 * e->caps->vector),
                        (size_t)(f->keep[0] * f->keep[1]), (size_t)c->parts);
    }
    kl__launch_arg(&l, kl__arg_i32(divisor));
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&d);
    return st;
}

static kl_status solo_emit(kl__emit *e, const kl__apply *a)
{
    cut c;
    cut_solo(a, e->caps, &c);
    if (c.parts == 1)
        return launch_solo(e, a, &c, kl__arg_in(a, 0), kl__arg_out(a, 0), divisor_of(a, &c));
    kl__arg part = kl__arg_scratch(a, 0, sizeof(float));
    cut last = cut_of_parts(&c);
    kl_status st = launch_solo(e, a, &c, kl__arg_in(a, 0), part, 1);
    return st == KL_OK ? launch_solo(e, a, &last, part, kl__arg_out(a, 0), divisor_of(a, &c)) : st;
}

/* An empty sum is left to ref, whose loops may be empty. */
static bool solo_fits(const kl__apply *a, const kl__caps *caps)
{
    return caps->solo && a->out[0]->desc.dtype == KL_F32 &&
           kl_shape_count(a->in[0]->desc.shape) > 0;
}

const kl__variant kl__reduce_variants[] = {
    {.name = "blocked",
     .fits = kl__reduce_channels_fits,
     .needs = "sums per channel of an input stored in blocks of channels",
     .layouts = kl__reduce_channels_layouts,
     .wide_halo = true,
     .scratch_bytes = kl__reduce_channels_scratch,
     .emit = kl__reduce_channels_emit},
    {.name = "solo", .fits = solo_fits, .scratch_bytes = solo_scratch, .emit = solo_emit},
    {.name = "coop",
     .fits = kl__reduce_coop_fits,
     .scratch_bytes = kl__reduce_coop_scratch,
     .emit = kl__reduce_coop_emit},
    {.name = "ref", .scratch_bytes = ref_scratch, .emit = ref_emit},
    {.name = NULL},
};
