/* The only place that knows vendors and drivers by name: corrections of what a device says of
 * itself, and its score. Everything else asks capabilities. */
#include "device/ctx.h"

#include <math.h>
#include <string.h>

enum quirk {
    CACHES = 1,    /* keeps compiled kernels on disk itself */
    BAD_TIMES = 2, /* profiling times are useless */
    SOFTWARE = 4,  /* a rasteriser on the CPU: correct, slow */
    BAD_GROUPS = 16, /* says 32 of every kernel, whatever it takes */
    LAST = 8,      /* known to miscompile: only when named */
    /* 255 or 256 registers an item: 64 sums, their factors and what is under way, and still two
     * groups of 256 on a unit of 64 K registers */
    WIDE = 32,
    NARROW = 64, /* so few that 16 sums are as many as can be kept */
    SHORT_LOOPS = 128, /* ends the loops of a work-item after 65,535 iterations of all together */
};

static const struct {
    const char *platform, *name; /* parts, ASCII case does not matter; NULL: any */
    unsigned quirks;
} table[] = {
    /* Cache under ~/.cache/pocl; asking it for binaries compiles every kernel for guessed sizes. */
    {"Portable Computing Language", NULL, CACHES},
    {"NVIDIA CUDA", NULL, CACHES | WIDE},
    {"AMD Accelerated Parallel Processing", NULL, WIDE},
    {"rusticl", "Radeon", WIDE},
    {"ARM Platform", NULL, NARROW},
    {"QUALCOMM Snapdragon", NULL, NARROW},
    {"Intel(R) OpenCL Graphics", NULL, CACHES},
    {"Intel(R) OpenCL HD Graphics", NULL, CACHES},
    {"rusticl", NULL, CACHES | BAD_GROUPS},
    {"rusticl", "llvmpipe", BAD_TIMES | SOFTWARE | SHORT_LOOPS}, /* 0 to 2 ns for anything */
    {"Clover", NULL, LAST},                        /* OpenCL 1.1, unmaintained since 2020 */
    {"Oclgrind", NULL,
     CACHES | BAD_TIMES |
         SOFTWARE}, /* an interpreter; its binaries are bitcode it prints warnings for */
};

static unsigned quirks_of(const kl_device_info *d)
{
    unsigned q = 0;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if ((!table[i].platform || kl__contains_nocase(d->platform_name, table[i].platform)) &&
            (!table[i].name || kl__contains_nocase(d->name, table[i].name)))
            q |= table[i].quirks;
    return q;
}

/* Class first (a discrete GPU before an integrated one before a CPU), then units times clock, then
 * memory. */
static double score(const kl__caps *c, unsigned q)
{
    const kl_device_info *d = &c->info;
    if (!d->usable)
        return 0;
    double base = 3000;
    if (c->cpu)
        base = 1000;
    else if (strcmp(d->type, "gpu"))
        base = 1500;
    else if (c->host_memory)
        base = 2000;
    if (q & SOFTWARE)
        base = 100;
    if (q & LAST)
        base = 1;
    double speed = log2(1.0 + (double)d->compute_units * (double)d->clock_mhz / 1000.0);
    double memory = log2(1.0 + (double)d->memory_bytes / (1024.0 * 1024.0 * 1024.0));
    return base + 40.0 * speed + 5.0 * memory;
}

void kl__quirks_apply(kl__caps *c)
{
    unsigned q = quirks_of(&c->info);
    c->caches_kernels = (q & CACHES) != 0;
    c->groups_useless = (q & BAD_GROUPS) != 0;
    c->times_useless = (q & BAD_TIMES) != 0;
    c->short_loops = (q & SHORT_LOOPS) != 0;
    c->last_resort = (q & (SOFTWARE | LAST)) != 0;
    c->gemm_library_slow = c->cpu; /* CLBlast's kernels want barriers: 3 to 20 % of a CPU's peak */
    if (!c->cpu && q & (WIDE | NARROW))
        c->item_floats = q & WIDE ? 128 : 32;
    c->info.score = score(c, q);
}
