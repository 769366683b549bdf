/* What the device can do at most, measured once per device and driver: CACHE/peaks/HASH.txt. */
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "device/ctx.h"

#include <kiln/inspect.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { RUNS = 4, WIDTH = 256 /* items of a group that is no SOLO one */, FORMAT = 1 };
static const double LONG_ENOUGH = 2e-3; /* seconds of a launch whose time is believed */
static const uint64_t MOST_BYTES = 256u << 20;

typedef struct work {
    kl_ctx *ctx;
    const kl__caps *caps;
    int vn;               /* lanes of a vector */
    size_t items, groups; /* of a launch; items per group */
    kl__mem *mem;
    size_t bytes; /* of mem */
    kl_peaks *out;
} work;

static size_t least(uint64_t a, uint64_t b)
{
    return (size_t)(a < b ? a : b);
}

/* ---- one launch ---- */
static kl__arg u32(uint32_t v)
{
    return (kl__arg){.kind = KL__ARG_U32, .v.u32 = v};
}

static kl__arg f32(float v)
{
    return (kl__arg){.kind = KL__ARG_F32, .v.f32 = v};
}

static kl__arg span(const work *w, size_t offset)
{
    return (kl__arg){.kind = KL__ARG_SPAN, .elem = sizeof(float), .span = {w->mem, offset}};
}

/** Least seconds of RUNS launches. */
static kl_status time_launch(const work *w, kl__launch *l, double *seconds)
{
    kl__defs defs = {{0}};
    kl__lane *lane = kl__ctx_lane(w->ctx, KL__COMPUTE);
    kl__seq *s = kl__seq_create(w->ctx);
    kl_status st = s ? KL_OK : kl__last_status();
    kl__def_int(&defs, "VN", w->vn);
    l->file = "peaks.cl";
    l->label = "peaks";
    l->defs = &defs;
    l->dims = 1;
    l->global[0] = w->items * w->groups;
    l->local[0] = w->items;
    if (st == KL_OK)
        st = kl__seq_kernel(s, l);
    *seconds = 0;
    for (int i = 0; st == KL_OK && i <= RUNS; i++) {
        double t;
        st = kl__seq_profile(s, lane, &t);
        if (i == 1 || (i > 1 && t < *seconds)) /* the first compiles and warms */
            *seconds = t;
    }
    kl__seq_destroy(s);
    kl__defs_free(&defs);
    return st;
}

/** Doubles the argument that says how often until the launch lasts; *per_round: seconds. */
static kl_status time_rounds(const work *w, kl__launch *l, int arg, double *per_round)
{
    kl_status st = KL_OK;
    double t = 0;
    for (uint32_t rounds = l->arg[arg].v.u32; st == KL_OK;) {
        l->arg[arg].v.u32 = rounds;
        st = time_launch(w, l, &t);
        *per_round = t / rounds;
        if (t >= LONG_ENOUGH || rounds > UINT32_MAX / 32)
            break;
        double more = t > 0 ? 1.5 * LONG_ENOUGH / t : 16;
        rounds = (uint32_t)(rounds * (more < 2 ? 2 : more > 16 ? 16 : more));
    }
    return st;
}

/* ---- the figures ---- */
static kl_status measure_fma(work *w)
{
    kl__launch l = {
        .kernel = "peaks_fma", .n_args = 4, .arg = {span(w, 0), u32(64), f32(0.5f), f32(1.0f)}};
    double t;
    kl_status st = time_rounds(w, &l, 1, &t);
    if (st == KL_OK && t > 0)
        w->out->flops = 24.0 * w->vn * (double)(w->items * w->groups) / t;
    return st;
}

static kl_status measure_launch(const work *w)
{
    kl__launch l = {.kernel = "peaks_empty", .n_args = 1, .arg = {span(w, 0)}};
    return time_launch(w, &l, &w->out->launch_seconds);
}

/** Bytes per second over a working set of `bytes` in all groups together. */
static kl_status measure_bytes(const work *w, size_t bytes, double *best)
{
    size_t tile = 8 * w->items * (size_t)w->vn * sizeof(float); /* of a group, one trip */
    size_t sums = w->items * w->groups * (size_t)w->vn * sizeof(float);
    double t;
    *best = 0;
    for (int copy = 0; copy < 2; copy++) {
        size_t trips = bytes / (w->groups * tile * (copy ? 2 : 1));
        trips = trips ? trips : 1;
        size_t half = trips * tile * w->groups;
        if (half + (copy ? half : sums) > w->bytes)
            continue;
        uint32_t n = (uint32_t)(trips * 8 * w->items);
        kl__launch l = {.kernel = copy ? "peaks_copy" : "peaks_read",
                        .n_args = 4,
                        .arg = {span(w, 0), span(w, half), u32(n), u32(1)}};
        kl_status st = time_rounds(w, &l, 3, &t);
        if (st != KL_OK)
            return st;
        double rate = t > 0 ? (double)half * (copy ? 2 : 1) / t : 0;
        *best = rate > *best ? rate : *best;
    }
    return KL_OK;
}

static kl_status add_level(work *w, const char *name, uint64_t capacity, size_t working_set)
{
    kl_peak_level *level = &w->out->level[w->out->n_levels++];
    snprintf(level->name, sizeof level->name, "%s", name);
    level->bytes = capacity;
    return measure_bytes(w, working_set, &level->bytes_per_second);
}

/** Caches of one core are as many as there are cores; a device that is no CPU has its L1 per unit
 * and one cache for all. */
static kl_status measure_levels(work *w)
{
    const kl__caps *c = w->caps;
    uint64_t units = (uint64_t)c->compute_units, l1 = c->l1_bytes * units,
             l2 = c->cpu ? c->l2_bytes * units : c->cache_bytes;
    kl_status st = add_level(w, "L1", l1, l1 / 2);
    if (st == KL_OK && l2 > l1)
        st = add_level(w, "L2", l2, l2 / 2);
    if (st == KL_OK && c->cpu && c->cache_bytes > 2 * l2)
        st = add_level(w, "L3", c->cache_bytes, least(c->cache_bytes / 2, 4 * l2));
    return st == KL_OK ? add_level(w, "memory", 0, w->bytes - (1u << 20)) : st;
}

static kl_status measure(kl_ctx *ctx, kl_peaks *out)
{
    const kl__caps *c = &ctx->caps;
    work w = {.ctx = ctx,
              .caps = c,
              .vn = c->solo ? c->vector : 4,
              .items = c->solo ? 1 : least(WIDTH, c->max_group ? c->max_group : 1),
              .groups = (size_t)c->compute_units * (c->solo ? 1 : 8),
              .out = out};
    uint64_t wanted = 4 * c->cache_bytes > (64u << 20) ? 4 * c->cache_bytes : 64u << 20;
    *out = (kl_peaks){0};
    w.bytes = least(least(wanted, MOST_BYTES), least(c->max_alloc / 2, c->global_bytes / 8));
    w.bytes = w.bytes / 4096 * 4096 + (2u << 20);
    if (!(w.mem = kl__mem_create(ctx, w.bytes)))
        return kl__last_status();
    kl__lane *lane = kl__ctx_lane(ctx, KL__COMPUTE);
    kl_status st = kl__lane_fill(lane, (kl__span){w.mem, 0}, &(float){0}, sizeof(float), w.bytes);
    if (st == KL_OK)
        st = measure_fma(&w);
    if (st == KL_OK)
        st = measure_levels(&w);
    if (st == KL_OK)
        st = measure_launch(&w);
    kl__mem_release(w.mem);
    return st;
}

/* ---- the cache: lines of a name and a number; a file that is not right is as good as none ---- */
static char *path_of(const kl_ctx *ctx)
{
    const kl_device_info *d = &ctx->caps.info;
    kl__text key = {0};
    kl__put(&key, "%d|%s|%s|%s|%s|%d|%d|%d", FORMAT, d->platform_name, ctx->caps.own_name,
            d->driver, d->version, ctx->caps.compute_units, ctx->caps.vector,
            (ctx->flags & KL_CTX_PROFILE) != 0);
    kl__hash128 h = key.failed ? (kl__hash128){0, 0} : kl__hash_wide(key.s, key.len);
    bool ok = !key.failed;
    kl__text_free(&key);
    return ok ? kl__asprintf("%s/peaks/%016" PRIx64 "%016" PRIx64 ".txt", ctx->cache_dir, h.hi,
                             h.lo)
              : NULL;
}

static void put_peaks(kl__text *t, const kl_peaks *p)
{
    kl__put(t, "flops %.9g 0\nlaunch %.9g 0\n", p->flops, p->launch_seconds);
    for (int i = 0; i < p->n_levels; i++)
        kl__put(t, "%s %.9g %llu\n", p->level[i].name, p->level[i].bytes_per_second,
                (unsigned long long)p->level[i].bytes);
}

static bool read_peaks(const char *s, kl_peaks *p)
{
    char name[sizeof p->level[0].name], number[40];
    unsigned long long bytes;
    int n = 0;
    *p = (kl_peaks){0};
    for (; sscanf(s, "%11s %39s %llu%n", name, number, &bytes, &n) == 3; s += n) {
        double v;
        if (!kl__parse_double(number, &v) || !(v > 0))
            return false;
        if (!strcmp(name, "flops")) {
            p->flops = v;
        } else if (!strcmp(name, "launch")) {
            p->launch_seconds = v;
        } else if (p->n_levels < KL_PEAK_LEVELS) {
            kl_peak_level *l = &p->level[p->n_levels++];
            memcpy(l->name, name, sizeof name);
            l->bytes_per_second = v;
            l->bytes = bytes;
        }
    }
    return p->flops > 0 && p->launch_seconds > 0 && p->n_levels > 0 &&
           !strcmp(p->level[p->n_levels - 1].name, "memory");
}

static bool load(const char *path, kl_peaks *out)
{
    uint8_t *data = NULL;
    size_t n;
    bool ok = path && kl__path_exists(path) && kl__file_read(path, 4096, &data, &n) == KL_OK &&
              read_peaks((const char *)data, out);
    kl__free(data);
    return ok;
}

static void store(const kl_ctx *ctx, const char *path, const kl_peaks *p)
{
    char *dir = path ? kl__asprintf("%s/peaks", ctx->cache_dir) : NULL;
    kl__text t = {0};
    put_peaks(&t, p);
    if (!dir || t.failed || kl__make_dirs(dir) != KL_OK ||
        kl__file_write(path, t.s, t.len) != KL_OK)
        kl__log(KL_LOG_WARN, "the device's peaks are not kept: %s", kl_last_error());
    kl__text_free(&t);
    kl__free(dir);
}

static double most(double a, double b)
{
    return a > b ? a : b;
}

/** Other work on the machine only takes away: the best ever seen is nearest to the truth. */
static void keep_best(kl_peaks *p, const kl_peaks *before)
{
    p->flops = most(p->flops, before->flops);
    if (before->launch_seconds < p->launch_seconds)
        p->launch_seconds = before->launch_seconds;
    for (int i = 0; i < p->n_levels && i < before->n_levels; i++)
        if (!strcmp(p->level[i].name, before->level[i].name))
            p->level[i].bytes_per_second =
                most(p->level[i].bytes_per_second, before->level[i].bytes_per_second);
}

kl_status kl_ctx_peaks(kl_ctx *ctx, bool again, kl_peaks *out)
{
    if (!ctx || !out)
        return kl__fail(KL_E_ARG, "kl_ctx_peaks: %s is NULL", ctx ? "out" : "the context");
    char *path = ctx->cache_dir ? path_of(ctx) : NULL;
    kl_status st = KL_OK;
    kl_peaks before;
    bool known = load(path, &before);
    if (known)
        *out = before;
    if (again || !known) {
        st = measure(ctx, out);
        if (st == KL_OK && known)
            keep_best(out, &before);
        if (st == KL_OK && path)
            store(ctx, path, out);
    }
    kl__free(path);
    return st;
}
