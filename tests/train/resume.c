/* Checkpoints: resume is bit-exact, runs are reproducible, damage is told, and a net can memorise
 * random labels. */
#include "base/rng.h"

#include <kiln/kiln.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static const char NET[] =
    "image = input(shape=[N,1,10,10])\nlabel = input(shape=[N], dtype=i32)\n"
    "c1 = conv2d(image, filters=8, kernel=3, pad=same)\nb1 = batchnorm(c1)\nr1 = relu(b1)\n"
    "p1 = maxpool2d(r1, window=2)\nf1 = dense(p1, units=24)\nr2 = relu(f1)\nd1 = dropout(r2, "
    "rate=0.3)\n"
    "f2 = dense(d1, units=4)\noutput logits = f2\nloss = softmax_xent(f2, label)\noutput loss = "
    "loss\n";
enum { N = 70, IMAGE = 100, CLASSES = 4, BATCH = 16 };

static kl_ctx *ctx;
static char dir[64];

static int open_all(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/kiln-resume-XXXXXX");
    ctx = kl_ctx_create(NULL);
    return ctx && mkdtemp(dir) ? 0 : -1;
}

static int close_all(void **state)
{
    char cmd[96];
    (void)state;
    kl_ctx_destroy(ctx);
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    return system(cmd);
}

static const char *path(const char *name)
{
    static char p[128];
    snprintf(p, sizeof p, "%s/%s", dir, name);
    return p;
}

static kl_model *model(uint64_t seed)
{
    kl_graph *g = kl_graph_parse(NET, "net");
    if (!g)
        fail_msg("%s", kl_last_error());
    kl_model *m = kl_model_create(g, &(kl_model_opts){.seed = seed});
    kl_graph_destroy(g);
    assert_non_null(m);
    return m;
}

static kl_dataset *data(void)
{
    static float x[N * IMAGE];
    int32_t y[N];
    kl__rng r = kl__rng_of(5, "data", 0);
    for (int i = 0; i < N; i++) {
        y[i] = i % CLASSES;
        for (int j = 0; j < IMAGE; j++)
            x[i * IMAGE + j] = (float)kl__rng_normal(r, (uint64_t)(i * IMAGE + j)) +
                               (j % CLASSES == y[i] ? 1.0f : 0.0f);
    }
    kl_dataset *d = kl_dataset_from_memory(x, y, N, (kl_shape){3, {1, 10, 10}}, CLASSES);
    if (!d)
        fail_msg("%s", kl_last_error());
    kl_dataset_set_augment(d, &(kl_augment){.flip = true, .shift = 1});
    return d;
}

static kl_trainer *trainer(kl_model *m, kl_optim_kind kind, int shards)
{
    kl_trainer *tr = kl_trainer_create(
        m, &ctx, 1, "loss", "logits",
        &(kl_trainer_opts){.optim = {.kind = kind, .momentum = kind == KL_ADAMW ? 0 : 0.9f},
                           .schedule = {.kind = KL_SCHED_ONE_CYCLE, .lr = 0.01, .total = 15},
                           .shards = shards});
    if (!tr)
        fail_msg("%s", kl_last_error());
    return tr;
}

typedef struct stopper {
    int64_t at, seen;
} stopper;

static bool stop_at(void *user, const kl_progress *p)
{
    stopper *s = user;
    if (!p->epoch_done)
        s->seen++;
    return s->at == 0 || s->seen < s->at;
}

/** Trains three epochs (5 steps each), stopping after `stop` steps of this call; from `from` where
 * given. Parameters out. */
static float *fit(kl_optim_kind kind, int shards, const char *from, int64_t stop, const char *save,
                  size_t *n)
{
    kl_model *m = model(9);
    kl_trainer *tr = trainer(m, kind, shards);
    kl_dataset *d = data();
    stopper s = {.at = stop};
    char last[128];
    snprintf(last, sizeof last, "%s", path(save));
    if (from && kl_trainer_load(tr, path(from)) != KL_OK)
        fail_msg("%s", kl_last_error());
    kl_status st = kl_fit(tr, d, NULL,
                          &(kl_fit_opts){.epochs = 3,
                                         .batch = BATCH,
                                         .progress = stop_at,
                                         .user = &s,
                                         .checkpoint_last = last,
                                         .resume = from != NULL});
    if (st != (stop ? KL_E_CANCELLED : KL_OK))
        fail_msg("fit: %d, %s", st, kl_last_error());
    kl_param_info p;
    float *v = calloc(100000, sizeof *v);
    assert_non_null(v);
    *n = 0;
    for (size_t i = 0; i < kl_model_n_params(m); i++) {
        assert_int_equal(kl_model_param(m, i, &p), KL_OK);
        assert_int_equal(kl_model_get_param(m, p.name, v + *n, p.count), KL_OK);
        *n += p.count;
    }
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    kl_dataset_destroy(d);
    return v;
}

/* 15 steps = k + resume + 15 - k, at the end of an epoch and in its middle, for optimizers with and
 * without states, with dropout, augmentation, a one-cycle schedule and shards. */
static void resume_is_bit_exact(void **state)
{
    (void)state;
    const struct {
        kl_optim_kind kind;
        int shards;
        int64_t stop;
    } cases[] = {{KL_ADAMW, 1, 5}, {KL_ADAMW, 1, 7}, {KL_SGD, 1, 3}, {KL_RMSPROP, 2, 11}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n, n2;
        float *whole = fit(cases[i].kind, cases[i].shards, NULL, 0, "whole", &n);
        free(fit(cases[i].kind, cases[i].shards, NULL, cases[i].stop, "part", &n2));
        float *resumed = fit(cases[i].kind, cases[i].shards, "part", 0, "rest", &n2);
        assert_int_equal(n, n2);
        if (memcmp(whole, resumed, n * sizeof *whole) != 0)
            fail_msg("case %zu: stopping after step %lld changed the result", i,
                     (long long)cases[i].stop);
        free(whole);
        free(resumed);
    }
}

static void the_same_run_gives_the_same_bits(void **state)
{
    (void)state;
    size_t n, n2;
    float *a = fit(KL_ADAMW, 1, NULL, 0, "a", &n), *b = fit(KL_ADAMW, 1, NULL, 0, "b", &n2);
    assert_memory_equal(a, b, n * sizeof *a);
    free(a);
    free(b);
}

static void refused(kl_status st, kl_status want, const char *part)
{
    if (st != want || !strstr(kl_last_error(), part))
        fail_msg("status %d, \"%s\"; expected %d and \"%s\"", st, kl_last_error(), want, part);
}

/* Another net, another optimizer, damage anywhere in the file: a sentence, and the trainer as it
 * was. */
static void bad_checkpoints_are_refused(void **state)
{
    (void)state;
    kl_model *m = model(9);
    kl_trainer *tr = trainer(m, KL_ADAMW, 1), *other = trainer(m, KL_SGD, 1);
    assert_int_equal(kl_trainer_save(tr, path("good"), &(kl_meta){"mine", "kept"}, 1), KL_OK);
    assert_int_equal(kl_model_save(m, path("plain"), NULL, 0), KL_OK);
    refused(kl_trainer_load(other, path("good")), KL_E_ARG, "optimizer");
    refused(kl_trainer_load(tr, path("plain")), KL_E_FORMAT, "not resumed");
    refused(kl_trainer_load(tr, path("none")), KL_E_IO, "none");
    char *meta = kl_checkpoint_meta(path("good"), "mine");
    assert_string_equal(meta, "kept");
    kl_free(meta);
    FILE *f = fopen(path("good"), "rb");
    assert_non_null(f);
    static unsigned char bytes[1 << 20];
    size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    for (int i = 0; i < 48; i++) { /* one byte changed; cut short */
        bool cut = i % 2;
        size_t at = (size_t)i * (n - 1) / 48;
        f = fopen(path("bad"), "wb");
        assert_non_null(f);
        bytes[at] ^= 0x10;
        fwrite(bytes, 1, cut ? at : n, f);
        bytes[at] ^= 0x10;
        fclose(f);
        kl_status st = kl_trainer_load(tr, path("bad"));
        if (st == KL_OK)
            fail_msg("byte %zu of %zu %s, and the file was taken", at, n,
                     cut ? "and all behind it gone" : "changed");
        assert_true(strlen(kl_last_error()) > 0);
    }
    kl_trainer_destroy(tr);
    kl_trainer_destroy(other);
    kl_model_destroy(m);
}

/* A checkpoint is a model: loaded, it predicts what the trained one did. */
static void a_checkpoint_is_a_model(void **state)
{
    (void)state;
    static float x[2 * IMAGE];
    float a[2 * CLASSES], b[2 * CLASSES];
    size_t n;
    free(fit(KL_ADAMW, 1, NULL, 7, "model", &n));
    kl_model *m = kl_model_load(path("model"));
    if (!m)
        fail_msg("%s", kl_last_error());
    kl_model *fresh = model(9);
    kl_trainer *tr = trainer(fresh, KL_ADAMW, 1);
    assert_int_equal(kl_trainer_load(tr, path("model")), KL_OK);
    for (int i = 0; i < 2 * IMAGE; i++)
        x[i] = (float)(i % 7) / 7;
    kl_bind in = {.name = "image", .host = x, .host_bytes = sizeof x};
    assert_int_equal(
        kl_model_run(m, ctx, (kl_bind[]){in, {.name = "logits", .host = a, .host_bytes = sizeof a}},
                     2),
        KL_OK);
    assert_int_equal(
        kl_model_run(fresh, ctx,
                     (kl_bind[]){in, {.name = "logits", .host = b, .host_bytes = sizeof b}}, 2),
        KL_OK);
    assert_memory_equal(a, b, sizeof a);
    kl_trainer_destroy(tr);
    kl_model_destroy(fresh);
    kl_model_destroy(m);
}

/* 32 samples with random labels are learned by heart. */
static void random_labels_are_memorised(void **state)
{
    (void)state;
    enum { COUNT = 32 };
    static float x[COUNT * IMAGE];
    int32_t y[COUNT];
    kl__rng r = kl__rng_of(6, "random", 0);
    for (int i = 0; i < COUNT * IMAGE; i++)
        x[i] = (float)kl__rng_normal(r, (uint64_t)i);
    for (int i = 0; i < COUNT; i++)
        y[i] = (int32_t)kl__rng_below(r, 1000000 + (uint64_t)i, CLASSES);
    kl_model *m = model(3);
    kl_trainer *tr = kl_trainer_create(m, &ctx, 1, "loss", "logits",
                                       &(kl_trainer_opts){.schedule = {.lr = 5e-3}});
    assert_non_null(tr);
    kl_bind b[] = {{.name = "image", .host = x, .host_bytes = sizeof x},
                   {.name = "label", .host = y, .host_bytes = sizeof y}};
    kl_metrics q = {0};
    for (int i = 0; i < 150; i++)
        assert_int_equal(kl_trainer_step(tr, b, 2), KL_OK);
    assert_int_equal(kl_trainer_metrics(tr, NULL), KL_OK);
    assert_int_equal(kl_trainer_eval(tr, b, 2), KL_OK);
    assert_int_equal(kl_trainer_eval_metrics(tr, &q), KL_OK);
    if (!(q.loss < 0.05))
        fail_msg("loss %.4f after 150 steps on 32 samples", q.loss);
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resume_is_bit_exact),
        cmocka_unit_test(the_same_run_gives_the_same_bits),
        cmocka_unit_test(bad_checkpoints_are_refused),
        cmocka_unit_test(a_checkpoint_is_a_model),
        cmocka_unit_test(random_labels_are_memorised),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
