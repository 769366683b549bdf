/* Micro-batches: what a training is planned to take is what it takes, and as many shards as are
 * needed. */
#include "nets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static kl_ctx *open_ctx(uint32_t flags)
{
    kl_ctx *c = kl_ctx_create(&(kl_ctx_opts){.flags = flags});
    if (!c)
        fail_msg("%s", kl_last_error());
    return c;
}

static kl_model *zoo(const char *name, kl_shape sample)
{
    kl_graph *g = kl_zoo_build(name, &sample, 10);
    kl_model *m = g ? kl_model_create(g, &(kl_model_opts){.seed = 1}) : NULL;
    kl_graph_destroy(g);
    if (!m)
        fail_msg("%s", kl_last_error());
    return m;
}

static void says(const char *part)
{
    if (!strstr(kl_last_error(), part))
        fail_msg("\"%s\" does not say \"%s\"", kl_last_error(), part);
}

static kl_micro fit(kl_model *m, kl_ctx *c, const kl_trainer_opts *o, int64_t batch,
                    uint64_t memory)
{
    kl_micro out;
    if (kl_trainer_fit_memory(m, &c, 1, "loss", "logits", o, batch, memory, &out) != KL_OK)
        fail_msg("%s", kl_last_error());
    return out;
}

/** Zeros for every input. */
static size_t bind_all(const kl_model *m, int64_t batch, kl_bind binds[4])
{
    const kl_graph *g = kl_model_graph(m);
    const size_t n = kl_graph_n_inputs(g);
    assert_in_range(n, 1, 4);
    for (size_t i = 0; i < n; i++) {
        const kl_node *x = kl_graph_input(g, i);
        kl_shape s = kl_node_shape(x);
        s.dim[0] = batch;
        const size_t bytes = (size_t)kl_shape_count(s) * kl_dtype_size(kl_node_dtype(x));
        binds[i] = (kl_bind){
            .name = kl_node_name(x), .host = calloc(1, bytes), .host_bytes = bytes};
        assert_non_null(binds[i].host);
    }
    return n;
}

/** The most that two steps held. */
static uint64_t peak_of(kl_model *m, kl_ctx *c, const kl_trainer_opts *o, int64_t batch)
{
    kl_bind binds[4];
    const size_t n = bind_all(m, batch, binds);
    kl_trainer *tr = kl_trainer_create(m, &c, 1, "loss", "logits", o);
    kl_status st = tr ? KL_OK : kl_last_status();
    for (int i = 0; st == KL_OK && i < 2; i++)
        st = kl_trainer_step(tr, binds, n);
    if (st == KL_OK)
        st = kl_trainer_metrics(tr, NULL);
    if (st != KL_OK)
        fail_msg("%s", kl_last_error());
    kl_ctx_stats s;
    kl_ctx_stats_get(c, &s);
    kl_trainer_destroy(tr);
    for (size_t i = 0; i < n; i++)
        free(binds[i].host);
    return s.peak_bytes;
}

static void planned_is_held(kl_model *m, uint32_t flags, const kl_trainer_opts *o, int64_t batch)
{
    kl_ctx *c = open_ctx(flags);
    const kl_micro f = fit(m, c, o, batch, UINT64_MAX);
    kl_ctx_stats before;
    kl_ctx_stats_get(c, &before);
    assert_int_equal(before.live_bytes, 0); /* nothing was made for it */
    assert_int_equal(before.kernels_built, 0);
    assert_int_equal(f.shards, o->shards ? o->shards : 1);
    const uint64_t held = peak_of(m, c, o, batch);
    print_message("batch %lld, %d shards: planned %llu, held %llu\n", (long long)batch, f.shards,
                  (unsigned long long)f.bytes, (unsigned long long)held);
    assert_true((double)f.bytes >= 0.9 * (double)held);
    assert_true((double)f.bytes <= 1.1 * (double)held);
    kl_model_destroy(m);
    kl_ctx_destroy(c);
}

static const kl_trainer_opts adamw = {0}, adamw5 = {.shards = 5}, adamw16 = {.shards = 16},
                             sgd4 = {.shards = 4, .optim = {.kind = KL_SGD}},
                             all4 = {.shards = 4, .batchnorm_all = true},
                             momentum = {.optim = {.kind = KL_SGD, .momentum = 0.9f}};

static void a_plan_is_what_training_holds(void **state)
{
    (void)state;
    const kl_shape grey = {3, {1, 28, 28}};
    planned_is_held(net_model(true, 1), 0, &adamw, 32);
    planned_is_held(net_model(true, 1), 0, &adamw5, 32); /* shards of two sizes */
    planned_is_held(net_model(true, 1), 0, &sgd4, 32);
    planned_is_held(net_model(true, 1), 0, &all4, 32); /* all shards' values at once */
    planned_is_held(zoo("lenet", grey), 0, &adamw, 64);
    planned_is_held(zoo("lenet", grey), 0, &adamw16, 64);
    planned_is_held(zoo("lenet", grey), 0, &momentum, 48);
    planned_is_held(zoo("lenet", grey), KL_CTX_BARE_BUFFERS, &sgd4, 48);
}

/* The fewest shards, doubled from one, that fit, with some room for evaluation. */
static void shards_double_until_it_fits(void **state)
{
    (void)state;
    kl_ctx *c = open_ctx(0);
    kl_model *m = zoo("lenet", (kl_shape){3, {1, 28, 28}});
    uint64_t bytes[7];
    for (int k = 0; k < 7; k++)
        bytes[k] = fit(m, c, &(kl_trainer_opts){.shards = 1 << k}, 64, UINT64_MAX).bytes;
    int last = 64;
    for (uint64_t memory = 4u << 20; memory < bytes[0] * 4; memory += 256 << 10) {
        const kl_micro f = fit(m, c, NULL, 64, memory);
        int k = 0;
        while (1 << k < f.shards)
            k++;
        assert_int_equal(f.shards, 1 << k);
        assert_int_equal(f.micro_batch, 64 / f.shards);
        assert_int_equal(f.bytes, bytes[k]);
        assert_true(f.bytes <= memory);
        kl_micro half;
        if (k > 0) /* fewer would not have been enough */
            assert_int_equal(kl_trainer_fit_memory(m, &c, 1, "loss", "logits",
                                                   &(kl_trainer_opts){.shards = f.shards / 2}, 64,
                                                   memory, &half),
                             KL_E_MEMORY);
        assert_true(f.shards <= last);
        last = f.shards;
    }
    assert_int_equal(last, 1);
    assert_true(bytes[3] < bytes[0] / 2);
    assert_int_equal(fit(m, c, NULL, 64, 0).shards, 1); /* all that the device has */
    /* shards that are given are kept */
    kl_micro out;
    assert_int_equal(kl_trainer_fit_memory(m, &c, 1, "loss", NULL, &(kl_trainer_opts){.shards = 2},
                                           64, bytes[4], &out),
                     KL_E_MEMORY);
    says("in 2 micro-batches of 32");
    kl_model_destroy(m);
    kl_ctx_destroy(c);
}

/* Several contexts begin with 16; the one with least decides. */
static void groups_begin_with_sixteen(void **state)
{
    (void)state;
    kl_ctx *two[2] = {open_ctx(0), open_ctx(0)};
    kl_model *m = net_model(false, 3);
    kl_micro out;
    assert_int_equal(
        kl_trainer_fit_memory(m, two, 2, "loss", "logits", NULL, 32, UINT64_MAX, &out), KL_OK);
    assert_int_equal(out.shards, 16);
    assert_int_equal(out.micro_batch, 2);
    assert_int_equal(kl_trainer_fit_memory(m, two, 2, "loss", "logits", NULL, 6, 0, &out), KL_OK);
    assert_int_equal(out.shards, 6); /* no more than samples */
    kl_model_destroy(m);
    kl_ctx_destroy(two[0]);
    kl_ctx_destroy(two[1]);
}

/** Another process that needs two doublings; or cannot (shards 0). */
static kl_status vote(void *user, void *values, size_t n, kl_dtype dtype)
{
    assert_int_equal(dtype, KL_F64);
    ((double *)values)[*(const int *)user ? 2 : (int)n - 1] += 1;
    return KL_OK;
}

static void processes_cut_alike(void **state)
{
    (void)state;
    kl_ctx *c = open_ctx(0);
    kl_model *m = net_model(false, 3);
    kl_micro out;
    int can = 1;
    const kl_exchange e = {.user = &can, .size = 2, .all_reduce = vote};
    const kl_trainer_opts o = {.exchange = &e};
    assert_int_equal(
        kl_trainer_fit_memory(m, &c, 1, "loss", "logits", &o, 128, UINT64_MAX, &out), KL_OK);
    assert_int_equal(out.shards, 64);
    assert_int_equal(out.micro_batch, 2);
    assert_int_equal(out.bytes, fit(m, c, &(kl_trainer_opts){.shards = 64}, 128, UINT64_MAX).bytes);
    can = 0;
    assert_int_equal(
        kl_trainer_fit_memory(m, &c, 1, "loss", "logits", &o, 128, UINT64_MAX, &out), KL_E_MEMORY);
    says("another process");
    kl_model_destroy(m);
    kl_ctx_destroy(c);
}

static void what_cannot_fit_is_told(void **state)
{
    (void)state;
    kl_ctx *c = open_ctx(0);
    kl_model *m = net_model(false, 3);
    kl_micro out;
    assert_int_equal(kl_trainer_fit_memory(m, &c, 1, "loss", NULL, NULL, 20, 10000, &out),
                     KL_E_MEMORY);
    says("20 samples in 20 micro-batches of 1");
    says("more than 9.8 KiB");
    says("parameters");
    says("optimizer");
    assert_int_equal(kl_trainer_fit_memory(m, &c, 1, "gain", NULL, NULL, 20, 0, &out), KL_E_ARG);
    says("\"gain\"");
    assert_int_equal(kl_trainer_fit_memory(m, &c, 1, "loss", NULL, NULL, 0, 0, &out), KL_E_ARG);
    assert_int_equal(kl_trainer_fit_memory(m, &c, 1, "loss", NULL,
                                           &(kl_trainer_opts){.shards = 30}, 20, 0, &out),
                     KL_E_ARG);
    says("20 samples cannot be cut into 30");
    assert_int_equal(kl_trainer_fit_memory(NULL, &c, 1, "loss", NULL, NULL, 2, 0, &out), KL_E_ARG);
    kl_model_destroy(m);
    kl_ctx_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_is_what_training_holds),
        cmocka_unit_test(shards_double_until_it_fits),
        cmocka_unit_test(groups_begin_with_sixteen),
        cmocka_unit_test(processes_cut_alike),
        cmocka_unit_test(what_cannot_fit_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
