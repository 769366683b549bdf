/* Launches of matrix products: how C and K are cut, and the four ways to compute. Where K is cut
 * into splits, that depends on shapes alone, and their sums are added in order: results do not
 * change with the number of cores. */
#include "ops/epilogue.h"
#include "ops/matmul.h"
#include "ops/tile_coop.h"

static int ceil_div(int a, int b)
{
    return a / b + (a % b != 0);
}
static int round_up(int a, int unit)
{
    return ceil_div(a, unit) * unit;
}
static int at_most(int a, int limit)
{
    return a < limit ? a : limit;
}

/** How one product is cut. */
typedef struct cut {
    bool dot;           /* SOLO: dot products in place instead of packing */
    int mt, nt;         /* block of C of an item or group */
    int kc;             /* of K at a time */
    int splits, k_per;  /* items along K, and how much of it each takes */
} cut;

static void split_k(cut *c, int k, int splits, int unit)
{
    c->k_per = round_up(ceil_div(k, splits < 1 ? 1 : splits), unit);
    c->splits = ceil_div(k, c->k_per);
    if (c->splits == 1)
        c->k_per = k;
}

static size_t cut_scratch(const kl__product *p, const cut *c)
{
    return c->splits > 1
               ? (size_t)c->splits * (size_t)p->batch * (size_t)p->m * (size_t)p->n * sizeof(float)
               : 0;
}

/* ---- arguments that all kernels begin with --------------------------------------------------- */
static void product_args(kl__launch *l, const kl__apply *a, const kl__product *p, kl__arg c)
{
    kl__launch_arg(l, kl__arg_in(a, p->a));
    kl__launch_arg(l, kl__arg_in(a, p->b));
    /* not read where there is none */
    kl__launch_arg(l, kl__arg_in(a, p->bias >= 0 ? p->bias : p->b));
    kl__launch_arg(l, c);
    kl__launch_arg(l, kl__arg_i32(p->m));
    kl__launch_arg(l, kl__arg_i32(p->n));
    kl__launch_arg(l, kl__arg_i32(p->k));
}

static kl__arg result_arg(const kl__apply *a, const cut *c)
{
    return c->splits > 1 ? kl__arg_scratch(a, 0, sizeof(float)) : kl__arg_out(a, 0);
}

/* part, bias, c of the launches that add up splits */
static void sum_args(kl__launch *l, const kl__apply *a, const kl__product *p)
{
    kl__launch_arg(l, kl__arg_scratch(a, 0, sizeof(float)));
    kl__launch_arg(l, kl__arg_in(a, p->bias >= 0 ? p->bias : p->b));
    kl__launch_arg(l, kl__arg_out(a, 0));
}

/* An empty sum is left to ref, whose loop may be empty; an empty result is never launched. */
static bool has_work(const kl__product *p)
{
    return p->batch > 0 && p->m > 0 && p->n > 0 && p->k > 0;
}

/* ---- solo ------------------------------------------------------------------------------------ */
/* Bits of a parameter set. */
enum { OTHER_BLOCK = 1, OTHER_KC = 2 };

/* Block sizes: large enough to pay for packing, small enough for local memory and half of L2, and
 * several per core. */
static void cut_packed(const kl__product *p, const kl__caps *caps, int config, cut *c)
{
    int most = config & OTHER_BLOCK ? 256 : 512;
    int mr = caps->vector == 16 ? 8 : 4, nr = 2 * caps->vector, items;
    size_t room =
        caps->local_bytes < caps->l2_bytes / 2 ? (size_t)caps->local_bytes : caps->l2_bytes / 2;
    /* a panel of A stays in L1, and C is read and written once per kc */
    c->kc = (int)(caps->l1_bytes / 2 / sizeof(float)) / mr / 16 * 16;
    c->kc = at_most(c->kc < 32 ? 32 : c->kc, config & OTHER_KC ? 384 : 256);
    split_k(c, p->k,
            p->k < 512 ? 1 : at_most(8 / (ceil_div(p->m, 64) * ceil_div(p->n, 64)), p->k / 256),
            c->kc);
    c->mt = round_up(ceil_div(p->m, ceil_div(p->m, most)), mr);
    c->nt = round_up(ceil_div(p->n, ceil_div(p->n, most)), nr);
    for (;;) {
        bool small = (size_t)(c->mt + c->nt) * (size_t)c->kc * sizeof(float) <= room;
        items = at_most(ceil_div(p->m, c->mt) * ceil_div(p->n, c->nt), 1 << 20) *
                at_most(p->batch * c->splits, 64);
        if (small && (items >= 4 * caps->compute_units || (c->mt <= 64 && c->nt <= 64)))
            break;
        if (c->mt <= mr && c->nt <= nr && (c->kc = c->kc / 2) < 16)
            break;
        if (c->mt > c->nt || c->nt <= nr)
            c->mt = round_up(ceil_div(c->mt, 2), mr);
        else
            c->nt = round_up(ceil_div(c->nt, 2), nr);
    }
    c->kc = at_most(c->kc, p->k);
}

static void cut_dot(const kl__product *p, const kl__caps *caps, cut *c)
{
    int dm = caps->vector == 16 ? 4 : 2, dn = caps->vector == 4 ? 2 : 4;
    int tiles = ceil_div(p->m, 4) * ceil_div(p->n, 4);
    c->kc = (int)(caps->l1_bytes / 3 / sizeof(float)) / dm / 16 * 16; /* dm rows of A stay in L1 */
    c->kc = c->kc < 64 ? 64 : c->kc;
    split_k(c, p->k, p->k < 512 ? 1 : at_most(ceil_div(32, tiles), p->k / 256), 16);
    c->mt = round_up(ceil_div(p->m, ceil_div(p->m, 128)), dm);
    c->nt = round_up(ceil_div(p->n, ceil_div(p->n, 128)), dn);
    while (p->batch * c->splits * ceil_div(p->m, c->mt) * ceil_div(p->n, c->nt) <
           4 * caps->compute_units) {
        if (c->nt > 16)
            c->nt = round_up(ceil_div(c->nt, 2), dn);
        else if (c->mt > 16)
            c->mt = round_up(ceil_div(c->mt, 2), dm);
        else
            break;
    }
}

static bool can_dot(const kl__product *p)
{
    return !p->ta && p->tb;
}

/** Parameter sets: bits for packed products; where dots can do it, the second is the other way. */
static int solo_configs(const kl__apply *a, const kl__caps *caps)
{
    kl__product p = kl__product_of(a);
    (void)caps;
    return can_dot(&p) ? 2 : 4;
}

static void cut_solo(const kl__product *p, const kl__caps *caps, int config, cut *c)
{
    *c = (cut){.splits = 1};
    c->dot = can_dot(p) && (p->m < 192 || p->n < 192) == (config == 0);
    if (c->dot)
        cut_dot(p, caps, c);
    else
        cut_packed(p, caps, can_dot(p) ? 0 : config, c);
}

static bool solo_fits(const kl__apply *a, const kl__caps *caps)
{
    kl__product p = kl__product_of(a);
    cut c;
    if (!caps->solo || a->out[0]->desc.dtype != KL_F32 || !has_work(&p))
        return false;
    cut_solo(&p, caps, a->config, &c);
    return c.dot || (size_t)(c.mt + c.nt) * (size_t)c.kc * sizeof(float) <= caps->local_bytes;
}

static bool solo_epilogue(const kl__apply *a, const kl__apply *elt)
{
    return kl__product_of(a).batch == 1 && kl__epi_by_rows(a, elt);
}

static size_t solo_scratch(const kl__apply *a, const kl__caps *caps)
{
    kl__product p = kl__product_of(a);
    cut c;
    cut_solo(&p, caps, a->config, &c);
    return cut_scratch(&p, &c);
}

static kl_status emit_solo_sum(kl__emit *e, const kl__apply *a, const kl__product *p, const cut *c)
{
    kl__defs d = {0};
    int rows = p->batch * p->m, per = p->n < 1024 ? 1024 / p->n : 1;
    kl__def_int(&d, "VN", e->caps->vector);
    kl__launch l = kl__launch_of("matmul_solo.cl", "matmul_sum_solo", &d);
    sum_args(&l, a, p);
    kl__launch_arg(&l, kl__arg_i32(rows));
    kl__launch_arg(&l, kl__arg_i32(p->n));
    kl__launch_arg(&l, kl__arg_i32(c->splits));
    kl__launch_arg(&l, kl__arg_i32(p->bias >= 0));
    kl__launch_arg(&l, kl__arg_i32(per));
    kl__launch_solo(&l, 1, (size_t)ceil_div(rows, per), 1, 1);
    kl_status st = kl__epi_launch_rows(e, a, &l, p->n);
    kl__defs_free(&d);
    return st;
}

static kl_status solo_emit(kl__emit *e, const kl__apply *a)
{
    kl__product p = kl__product_of(a);
    kl__defs d = {0};
    cut c;
    cut_solo(&p, e->caps, a->config, &c);
    kl__def_int(&d, "VN", e->caps->vector);
    kl__launch l = c.dot ? kl__launch_of("matmul_dot.cl", "matmul_dot", &d)
                         : kl__launch_of("matmul_solo.cl", "matmul_solo", &d);
    product_args(&l, a, &p, result_arg(a, &c));
    if (!c.dot) {
        kl__launch_arg(&l, kl__arg_i32(p.ta));
        kl__launch_arg(&l, kl__arg_i32(p.tb));
    }
    const int v[6] = {p.bias >= 0, c.mt, c.nt, c.kc, c.splits, c.k_per};
    for (int i = 0; i < 6; i++)
        kl__launch_arg(&l, kl__arg_i32(v[i]));
    if (!c.dot) {
        kl__launch_arg(&l, kl__arg_local((size_t)c.mt * (size_t)c.kc * sizeof(float)));
        kl__launch_arg(&l, kl__arg_local((size_t)c.nt * (size_t)c.kc * sizeof(float)));
    }
    kl__launch_solo(&l, 3, (size_t)ceil_div(p.n, c.nt), (size_t)ceil_div(p.m, c.mt),
                    (size_t)p.batch * (size_t)c.splits);
    kl_status st =
        c.splits > 1 ? kl__emit_launch(e, a, &l) : kl__epi_launch_rows(e, a, &l, p.n);
    kl__defs_free(&d);
    return st == KL_OK && c.splits > 1 ? emit_solo_sum(e, a, &p, &c) : st;
}

/* ---- coop ------------------------------------------------------------------------------------ */
/* K is split where there are too few tiles to fill a GPU. */
static void cut_coop(const kl__product *p, cut *c)
{
    *c = (cut){.splits = 1, .mt = 64, .nt = 64};
    int64_t tiles = (int64_t)ceil_div(p->m, c->mt) * ceil_div(p->n, c->nt) * p->batch;
    split_k(c, p->k,
            p->k < 512 || tiles >= 64 ? 1 : at_most((int)(64 / tiles), at_most(p->k / 128, 32)),
            16);
}

static bool coop_fits(const kl__apply *a, const kl__caps *caps)
{
    kl__product p = kl__product_of(a);
    return a->out[0]->desc.dtype == KL_F32 && has_work(&p) && kl__coop_tiles(caps) > 0 &&
           p.batch <= 65535;
}

static int coop_configs(const kl__apply *a, const kl__caps *caps)
{
    (void)a;
    return kl__coop_tiles(caps);
}

static size_t coop_scratch(const kl__apply *a, const kl__caps *caps)
{
    kl__product p = kl__product_of(a);
    cut c;
    (void)caps;
    cut_coop(&p, &c);
    return cut_scratch(&p, &c);
}

static kl_status emit_sum(kl__emit *e, const kl__apply *a, const kl__product *p, const cut *c,
                          const kl__defs *d)
{
    int total = p->batch * p->m * p->n;
    kl__launch l = kl__launch_of("matmul_coop.cl", "matmul_sum", d);
    sum_args(&l, a, p);
    kl__launch_arg(&l, kl__arg_i32(total));
    kl__launch_arg(&l, kl__arg_i32(p->n));
    kl__launch_arg(&l, kl__arg_i32(c->splits));
    kl__launch_arg(&l, kl__arg_i32(p->bias >= 0));
    kl__launch_1d(&l, e, (size_t)total);
    return kl__emit_launch(e, a, &l);
}

static kl_status coop_emit(kl__emit *e, const kl__apply *a)
{
    kl__product p = kl__product_of(a);
    kl__defs d = {0};
    cut c;
    cut_coop(&p, &c);
    int64_t count = (int64_t)p.batch * c.splits;
    kl__coop_tile t = kl__coop_tile_of(e->caps, p.m, p.n, count, a->config);
    kl__coop_tile_defs(&d, &t);
    kl__launch l = kl__launch_of("matmul_coop.cl", "matmul_coop", &d);
    product_args(&l, a, &p, result_arg(a, &c));
    const int v[5] = {p.ta, p.tb, p.bias >= 0, c.splits, c.k_per};
    for (int i = 0; i < 5; i++)
        kl__launch_arg(&l, kl__arg_i32(v[i]));
    kl__coop_tile_launch(&l, &t, (int64_t)ceil_div(p.m, t.bm) * ceil_div(p.n, t.bn), p.batch,
                         c.splits);
    kl_status st = kl__emit_launch(e, a, &l);
    if (st == KL_OK && c.splits > 1)
        st = emit_sum(e, a, &p, &c, &d);
    kl__defs_free(&d);
    return st;
}

/* ---- blas: the library's product, where it is the fastest ------------------------------------ */
static bool blas_fits(const kl__apply *a, const kl__caps *caps)
{
    return !caps->gemm_library_slow && coop_fits(a, caps) && kl__product_of(a).batch <= 4;
}

static bool placed(const kl_node *x)
{
    return x->place.kind == KL__AT_SPAN;
}

static kl__span matrix_at(const kl_node *x, int batch, int rows, int cols)
{
    kl__span s = x->place.span;
    s.offset += (size_t)batch * (size_t)rows * (size_t)cols * sizeof(float);
    return s;
}

static kl_status blas_emit(kl__emit *e, const kl__apply *a)
{
    kl__product p = kl__product_of(a);
    /* A library takes memory, not slots that are bound later; and it may be missing. */
    if (!kl__gemm_available(e->ctx) || !placed(a->in[p.a]) || !placed(a->in[p.b]) ||
        !placed(a->out[0]))
        return coop_emit(e, a);
    if (p.bias >= 0) {
        int total = p.batch * p.m * p.n;
        kl__launch l = kl__launch_of("matmul_coop.cl", "matmul_bias", NULL);
        kl__launch_arg(&l, kl__arg_in(a, p.bias));
        kl__launch_arg(&l, kl__arg_out(a, 0));
        kl__launch_arg(&l, kl__arg_i32(total));
        kl__launch_arg(&l, kl__arg_i32(p.n));
        kl__launch_1d(&l, e, (size_t)total);
        kl_status st = kl__emit_launch(e, a, &l);
        if (st != KL_OK)
            return st;
    }
    for (int i = 0; i < p.batch; i++) {
        kl__gemm g = {.ta = p.ta,
                      .tb = p.tb,
                      .m = p.m,
                      .n = p.n,
                      .k = p.k,
                      .alpha = 1,
                      .beta = p.bias >= 0 ? 1 : 0,
                      .a = matrix_at(a->in[p.a], i, p.m, p.k),
                      .b = matrix_at(a->in[p.b], i, p.k, p.n),
                      .c = matrix_at(a->out[0], i, p.m, p.n),
                      .lda = p.ta ? p.m : p.k,
                      .ldb = p.tb ? p.k : p.n,
                      .ldc = p.n};
        kl_status st = kl__seq_gemm(e->seq, a->name, &g);
        if (st != KL_OK)
            return st;
    }
    return KL_OK;
}

/* ---- ref ------------------------------------------------------------------------------------- */
static kl_status ref_emit(kl__emit *e, const kl__apply *a)
{
    kl__product p = kl__product_of(a);
    kl__defs d = {0};
    kl__defs_real(&d, a);
    kl__launch l = kl__launch_of("matmul.cl", "matmul_ref", &d);
    product_args(&l, a, &p, kl__arg_out(a, 0));
    const int v[4] = {p.ta, p.tb, p.bias >= 0, p.batch};
    for (int i = 0; i < 4; i++)
        kl__launch_arg(&l, kl__arg_i32(v[i]));
    kl__launch_1d(&l, e, (size_t)p.batch * (size_t)p.m * (size_t)p.n);
    kl_status st = kl__emit_launch(e, a, &l);
    kl__defs_free(&d);
    return st;
}

#define COOP_NEEDS "f32, groups of 64, 10 KiB of local memory"
#define BLAS_NEEDS "f32, at most 4 products, a device where the library is no slower"
const kl__variant kl__matmul_variants[] = {
    {.name = "blas",
     .fits = blas_fits,
     .needs = BLAS_NEEDS,
     .scratch_bytes = coop_scratch,
     .emit = blas_emit},
    {.name = "solo",
     .fits = solo_fits,
     .needs = "a CPU with vectors, f32, and blocks that fit its local memory",
     .configs = solo_configs,
     .epilogue = solo_epilogue,
     .scratch_bytes = solo_scratch,
     .emit = solo_emit},
    {.name = "coop",
     .fits = coop_fits,
     .needs = COOP_NEEDS,
     .configs = coop_configs,
     .scratch_bytes = coop_scratch,
     .emit = coop_emit},
    {.name = "ref", .emit = ref_emit},
    {.name = NULL},
};
