/* Training over devices of several drivers at once: the first usable device of every platform there
 * is, or, with one platform, equal parts of its device. KILN_TEST_PLATFORMS=N: fewer than N
 * platforms are a failure (tools/platforms --mix says so). KILN_TEST_TINY=1: little work, for
 * simulators. */
#include "nets.h"

#include "base/str.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { SHARDS = 8, MAX_STEPS = 10, MAX_DEVICES = 8 };

typedef struct group {
    kl_ctx *ctx[MAX_DEVICES];
    size_t n;
    bool one_kind; /* parts of one device */
} group;

typedef struct result {
    float *params;
    size_t n;
    double loss[MAX_STEPS];
    int shards[MAX_DEVICES];
} result;

static int64_t number(const char *name, int64_t other)
{
    const char *s = getenv(name);
    int64_t v;
    return s && kl__parse_i64(s, &v) ? v : other;
}

static bool tiny(void)
{
    return number("KILN_TEST_TINY", 0) != 0;
}

static int steps(void)
{
    return tiny() ? 2 : MAX_STEPS;
}

static int batch(void)
{
    return tiny() ? SHARDS : NET_MAX_BATCH;
}

/* ---- devices --------------------------------------------------------------------------------- */
/** One usable device per platform, in the platforms' order: the first the driver names. */
static size_t first_of_each(kl_device_info *out)
{
    kl_device_info all[64];
    size_t n = 0, found = 0;
    assert_int_equal(kl_device_list(all, 64, &n), KL_OK);
    for (int p = 0; p < 64 && found < MAX_DEVICES; p++) {
        const kl_device_info *first = NULL;
        for (size_t i = 0; i < n && i < 64; i++)
            if (all[i].usable && all[i].platform == p && (!first || all[i].device < first->device))
                first = &all[i];
        if (first)
            out[found++] = *first;
    }
    return found;
}

static kl_ctx *open_one(const char *choice)
{
    kl_ctx *c = kl_ctx_create(&(kl_ctx_opts){.device = choice});
    if (!c)
        fail_msg("%s: %s", choice, kl_last_error());
    return c;
}

/** Parts of one device; where it has one compute unit, the same device twice. */
static void open_parts(group *g, const kl_device_info *d)
{
    char choice[48];
    int parts = 2;
    g->one_kind = true;
    while (parts < d->compute_units && parts < 4 && d->compute_units % parts != 0)
        parts++;
    snprintf(choice, sizeof choice, "%d:%d/%d", d->platform, d->device, parts);
    if (d->compute_units % parts == 0 &&
        kl_ctx_create_group(&(kl_ctx_opts){.device = choice}, g->ctx, MAX_DEVICES, &g->n) == KL_OK)
        return;
    snprintf(choice, sizeof choice, "%d:%d", d->platform, d->device);
    for (g->n = 0; g->n < 2; g->n++)
        g->ctx[g->n] = open_one(choice);
}

static void open_group(group *g)
{
    kl_device_info d[MAX_DEVICES];
    char list[MAX_DEVICES * 16] = "";
    size_t n = first_of_each(d), at = 0;
    memset(g, 0, sizeof *g);
    if (n < (size_t)number("KILN_TEST_PLATFORMS", 1))
        fail_msg("%zu platforms have a usable device, %s are asked for", n,
                 getenv("KILN_TEST_PLATFORMS"));
    if (n == 1) {
        open_parts(g, &d[0]);
        return;
    }
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(list + at, sizeof list - at, "%s%d:%d", i ? "," : "", d[i].platform,
                               d[i].device);
    if (kl_ctx_create_group(&(kl_ctx_opts){.device = list}, g->ctx, MAX_DEVICES, &g->n) != KL_OK)
        fail_msg("%s: %s", list, kl_last_error());
    assert_int_equal(g->n, n);
}

static void close_group(group *g)
{
    for (size_t i = 0; i < g->n; i++)
        kl_ctx_destroy(g->ctx[i]);
}

/* ---- training -------------------------------------------------------------------------------- */
/** Plain descent, as little as possible of which turns a last bit into a first one (Adam divides a
 * gradient near zero by its own size). The devices are compared after every step. */
static result train(const group *g, size_t n, const double *split)
{
    static net_batch b;
    result r = {.n = 0};
    kl_share share[MAX_DEVICES];
    kl_metrics q;
    size_t n_shares = 0;
    int shards = 0;
    kl_model *m = net_model(true, 5);
    kl_trainer *tr = kl_trainer_create(
        m, g->ctx, n, "loss", "logits",
        &(kl_trainer_opts){.optim = {.kind = KL_SGD, .momentum = 0.9f},
                           .schedule = {.lr = 0.05},
                           .shards = SHARDS,
                           .split = split,
                           .check_every = 1});
    if (!tr)
        fail_msg("%s", kl_last_error());
    net_fill(&b, batch(), 0); /* the same one again and again: its loss must fall */
    for (int i = 0; i < steps(); i++) {
        if (kl_trainer_step(tr, b.binds, 2) != KL_OK || kl_trainer_metrics(tr, &q) != KL_OK)
            fail_msg("step %d: %s", i, kl_last_error());
        r.loss[i] = q.loss;
    }
    assert_int_equal(kl_trainer_shares(tr, share, MAX_DEVICES, &n_shares), KL_OK);
    assert_int_equal(n_shares, n);
    for (size_t i = 0; i < n; i++) {
        if (share[i].lost)
            fail_msg("%s was lost: %s", share[i].device.name, share[i].why);
        r.shards[i] = share[i].shards;
        shards += share[i].shards;
    }
    assert_int_equal(shards, SHARDS);
    assert_true(r.loss[steps() - 1] < r.loss[0]);
    r.params = net_params(m, &r.n);
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    return r;
}

/** How far b is from a, as a part of the way that a has come from the beginning. */
static double apart(const result *a, const result *b)
{
    kl_model *m = net_model(true, 5);
    size_t n;
    float *start = net_params(m, &n);
    double way = 0, off = 0;
    assert_int_equal(a->n, n);
    assert_int_equal(b->n, n);
    for (size_t i = 0; i < n; i++) {
        way += pow((double)a->params[i] - (double)start[i], 2);
        off += pow((double)a->params[i] - (double)b->params[i], 2);
    }
    free(start);
    kl_model_destroy(m);
    assert_true(way > 0);
    return sqrt(off / way);
}

/* What may differ between compilers and kernels is the order of sums and what is fused into one
 * rounding. A gradient is a sum of at most batch x pixels products, whose error grows like the root
 * of their number, behind 18 ops that round (nine forward, nine back); a step adds its part to the
 * way as it does to the error. That makes 5e-4 for 10 steps of 32 images; a shard that is left out
 * or weighed wrong makes some hundred times that. */
static double bound(void)
{
    return steps() * 18 * sqrt((double)batch() * NET_HW * NET_HW) * ldexp(1, -24);
}

static void assert_near(const result *a, const result *b, bool same_bits, const char *what)
{
    double off = apart(a, b);
    print_message("%s: %.2g of the way apart, %.2g allowed\n", what, off, bound());
    if (!(off <= bound()))
        fail_msg("%s: the parameters are %.3g of the way apart, bound %.3g", what, off, bound());
    if (same_bits)
        assert_memory_equal(a->params, b->params, a->n * sizeof *a->params);
}

static void tell(const group *g, const result *r)
{
    for (size_t i = 0; i < g->n; i++) {
        kl_device_info d;
        assert_int_equal(kl_ctx_info(g->ctx[i], &d), KL_OK);
        print_message("device %s | %s, %s | %d shards\n", d.name, d.platform_name, d.driver,
                      r->shards[i]);
    }
}

/* A group of devices of any drivers gives what the first of them gives alone with the same shards:
 * within the error of reordered sums, and bit by bit where all are of one kind. Every device takes
 * part, the loss falls, all hold the same parameters after every step. The same split gives the
 * same bits again. */
static void a_mix_trains_like_one_device(void **state)
{
    (void)state;
    group g;
    double equal[MAX_DEVICES], slanted[MAX_DEVICES];
    open_group(&g);
    for (size_t i = 0; i < g.n; i++) {
        equal[i] = 1;
        slanted[i] = i == 0 ? 2 : 1;
    }
    result alone = train(&g, 1, NULL), first = train(&g, g.n, equal), again = train(&g, g.n, equal),
           other = train(&g, g.n, slanted);
    tell(&g, &first);
    for (size_t i = 0; i < g.n; i++) {
        assert_true(first.shards[i] > 0);
        assert_int_equal(first.shards[i], again.shards[i]);
    }
    assert_true(g.n > 4 || other.shards[0] > first.shards[0]);
    assert_memory_equal(first.params, again.params, first.n * sizeof *first.params);
    assert_memory_equal(first.loss, again.loss, sizeof first.loss);
    assert_near(&alone, &first, g.one_kind, "one device and the group");
    assert_near(&first, &other, g.one_kind, "two splits of the group");
    free(alone.params);
    free(first.params);
    free(again.params);
    free(other.params);
    close_group(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_mix_trains_like_one_device)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
