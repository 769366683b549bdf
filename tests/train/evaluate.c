/* A training over the real trainer: kl_fit learns, kl_evaluate's two ways agree, resuming keeps
 * every bit. */
#include "support.h"

#include "base/rng.h"

#include <kiln/kiln.h>

#include <math.h>

enum { N = 90, H = 6, PER = H * H, CLASSES = 3 };

static const char NET[] = "image = input(shape=[N,1,6,6])\nlabel = input(shape=[N], dtype=i32)\n"
                          "f1 = dense(image, units=16)\nr1 = relu(f1)\nd1 = dropout(r1, rate=0.2)\n"
                          "f2 = dense(d1, units=3)\noutput logits = f2\n"
                          "loss = softmax_xent(f2, label)\noutput loss = loss\n";

/* Class k has its bright rows at 2 k and 2 k + 1, under noise. */
static kl_dataset *stripes(void)
{
    static float x[N * PER];
    static int32_t y[N];
    const kl__rng r = kl__rng_of(1, "stripes", 0);
    const kl_shape s = {3, {1, H, H}};
    for (size_t i = 0; i < N; i++) {
        y[i] = (int32_t)(i % CLASSES);
        for (size_t k = 0; k < PER; k++) {
            const bool bright = k / H / 2 == (size_t)y[i];
            x[i * PER + k] = (bright ? 0.5f : 0.0f) + kl__rng_uniform(r, i * PER + k);
        }
    }
    kl_dataset *d = kl_dataset_from_memory(x, y, N, s, CLASSES);
    assert_non_null(d);
    return d;
}

typedef struct run {
    kl_ctx *ctx;
    kl_model *model;
    kl_trainer *tr;
} run;

static void open_run(run *r)
{
    kl_graph *g = kl_graph_parse(NET, "net");
    const kl_model_opts mo = {.seed = 11};
    const kl_trainer_opts to = {.schedule = {.lr = 0.01}};
    r->ctx = kl_ctx_create(NULL);
    r->model = kl_model_create(g, &mo);
    r->tr = r->model ? kl_trainer_create(r->model, &r->ctx, 1, "loss", "logits", &to) : NULL;
    kl_graph_destroy(g);
    if (!r->tr) {
        fail_msg("%s", kl_last_error());
    }
}

static void close_run(run *r)
{
    kl_trainer_destroy(r->tr);
    kl_model_destroy(r->model);
    kl_ctx_destroy(r->ctx);
}

static void weights(const run *r, float w[16 * PER])
{
    assert_int_equal(kl_model_get_param(r->model, "f1.weight", w, 16 * PER), KL_OK);
}

typedef struct watch {
    int calls, stop_after;
    kl_progress last;
} watch;

static bool see(void *user, const kl_progress *p)
{
    watch *w = user;
    w->last = *p;
    return ++w->calls != w->stop_after;
}

static void learns_and_resumes(void **state)
{
    (void)state;
    float whole[16 * PER], pieces[16 * PER];
    kl_dataset *train = stripes(), *val;
    const kl_augment a = {true, false, 0, 0};
    watch w = {0};
    run r;
    kl_dataset_set_augment(train, &a);
    assert_int_equal(kl_dataset_split(train, 0.2, 1, &val), KL_OK);
    kl_fit_opts o = {.epochs = 8, .batch = 10, .progress = see, .user = &w};
    open_run(&r);
    assert_int_equal(kl_fit(r.tr, train, val, &o), KL_OK);
    weights(&r, whole);
    assert_int_equal(w.calls, 8 * (8 + 1)); /* 72 samples: 7 batches of 10 and one of 2 */
    assert_true(w.last.epoch_done && w.last.val_accuracy > 0.9 && w.last.accuracy > 0.8);

    kl_metrics m;
    kl_confusion *c = kl_confusion_create(CLASSES);
    assert_int_equal(kl_evaluate(r.tr, val, 7, &m, c), KL_OK);
    assert_int_equal(m.samples, 18);
    assert_true(fabs(m.accuracy - kl_confusion_accuracy(c)) < 1e-12);
    assert_true(fabs(m.accuracy - w.last.val_accuracy) < 1e-12);
    assert_true(fabs(m.loss - w.last.val_loss) < 1e-6);
    kl_confusion_destroy(c);
    close_run(&r);

    o.checkpoint_last = at("last.safetensors");
    for (int stop = 4; stop < 70; stop += 23) { /* in the middle of epochs */
        w = (watch){.stop_after = stop};
        o.resume = false;
        open_run(&r);
        assert_int_equal(kl_fit(r.tr, train, val, &o), KL_E_CANCELLED);
        close_run(&r);
        w.stop_after = 0;
        o.resume = true;
        open_run(&r);
        assert_int_equal(kl_trainer_load(r.tr, at("last.safetensors")), KL_OK);
        assert_int_equal(kl_fit(r.tr, train, val, &o), KL_OK);
        weights(&r, pieces);
        assert_memory_equal(pieces, whole, sizeof whole);
        close_run(&r);
    }
    char *names = kl_checkpoint_meta(at("last.safetensors"), "kiln.classes");
    assert_string_equal(names, "0\n1\n2");
    kl_free(names);
    kl_dataset_destroy(val);
    kl_dataset_destroy(train);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(learns_and_resumes)};
    return cmocka_run_group_tests(tests, folder_make, tree_remove);
}
