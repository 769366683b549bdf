/* kl_fit and kl_evaluate: order of the data, resuming, checkpoints, early stopping, refusals. */
#include "support.h"

#include "fake_trainer.h"
#include "train/fit.h"
#include "train/meta.h"

#include <math.h>
#include <stdlib.h>

enum { N = 50, PER = 6, BATCH = 8, STEPS = 7 /* of an epoch */ };

static fake t; /* large */

static kl_graph *make_graph(void)
{
    const kl_shape image = {4, {KL_BATCH, 1, 2, 3}}, label = {1, {KL_BATCH}};
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "image", KL_F32, image);
    kl_input(g, "label", KL_I32, label);
    kl_output(g, "shown", x);
    assert_int_equal(kl_graph_check(g), KL_OK);
    return g;
}

static kl_dataset *make_data(size_t n, bool labelled, int n_classes)
{
    float *x = calloc(n * PER, sizeof *x);
    int32_t *y = calloc(n, sizeof *y);
    for (size_t i = 0; i < n; i++) {
        y[i] = (int32_t)(i % 3);
        for (size_t k = 0; k < PER; k++) {
            x[i * PER + k] = (float)(i + k);
        }
    }
    const kl_shape s = {3, {1, 2, 3}};
    kl_dataset *d = kl_dataset_from_memory(x, labelled ? y : NULL, n, s, n_classes);
    free(x);
    free(y);
    assert_non_null(d);
    return d;
}

/* ---- watching
 * ------------------------------------------------------------------------------------------- */

typedef struct watch {
    int64_t calls, stop_after; /* stops at that many calls; 0: never */
    int n_epochs;
    kl_progress last, epoch[32];
    bool ordered; /* steps and epochs went up by one */
} watch;

static bool see(void *user, const kl_progress *p)
{
    watch *w = user;
    if (p->epoch_done) {
        w->ordered &= p->epoch == w->n_epochs || w->n_epochs == 0;
        w->epoch[p->epoch] = *p;
        w->n_epochs = p->epoch + 1;
    } else if (w->calls) {
        w->ordered &= p->step == w->last.step + 1 || (p->step == 1 && w->last.epoch_done);
    }
    w->last = *p;
    return ++w->calls != w->stop_after;
}

static kl_fit_opts options(watch *w)
{
    *w = (watch){.ordered = true};
    return (kl_fit_opts){.epochs = 4,
                         .batch = BATCH,
                         .progress = see,
                         .user = w,
                         .checkpoint_last = "last",
                         .checkpoint_best = "best"};
}

typedef struct bench {
    kl_graph *g;
    kl_dataset *train, *val;
} bench;

static void begin(bench *b)
{
    fake_disk_clear();
    *b = (bench){make_graph(), make_data(N, true, 3), make_data(20, true, 3)};
    const kl_augment a = {true, true, 1, 0};
    kl_dataset_set_augment(b->train, &a);
    fake_init(&t, b->g, 42);
    t.steps_per_epoch = STEPS;
    const double loss[] = {9, 5, 4, 4.5, 3};
    memcpy(t.val_loss, loss, sizeof loss);
}

static void end(bench *b)
{
    fake_finish(&t);
    fake_disk_clear();
    kl_dataset_destroy(b->train);
    kl_dataset_destroy(b->val);
    kl_graph_destroy(b->g);
}

static void restart(bench *b)
{
    double loss[64];
    memcpy(loss, t.val_loss, sizeof loss);
    fake_finish(&t);
    fake_init(&t, b->g, 42);
    t.steps_per_epoch = STEPS;
    memcpy(t.val_loss, loss, sizeof loss);
}

/* ---- a whole training
 * ----------------------------------------------------------------------------------- */

static void whole(void **state)
{
    (void)state;
    bench b;
    watch w;
    begin(&b);
    kl_fit_opts o = options(&w);
    const kl_meta mine = {"note", "hello"};
    o.meta = &mine;
    o.n_meta = 1;
    assert_int_equal(kl_fit(&t.tr, b.train, b.val, &o), KL_OK);
    assert_int_equal(t.tr.steps, 4 * STEPS);
    assert_int_equal(w.calls, 4 * STEPS + 4);
    assert_true(w.ordered && w.n_epochs == 4);
    for (int64_t s = 0; s < t.tr.steps; s++) {
        assert_int_equal(t.batch_of_step[s], s % STEPS == STEPS - 1 ? N % BATCH : BATCH);
    }
    for (int e = 0; e < 4; e++) {
        double loss = 0;
        for (int k = 0; k < STEPS; k++) {
            loss += (double)t.batch_of_step[e * STEPS + k] / (e * STEPS + k + 1);
        }
        assert_true(fabs(w.epoch[e].loss - loss / N) < 1e-12);
        assert_true(fabs(w.epoch[e].accuracy - .5) < 1e-12);
        assert_true(w.epoch[e].val_loss == t.val_loss[e + 1] && w.epoch[e].val_accuracy == .75);
        assert_int_equal(w.epoch[e].step, STEPS);
        assert_int_equal(w.epoch[e].steps, STEPS);
        assert_int_equal(w.epoch[e].epochs, 4);
        assert_true(w.epoch[e].best == (e != 2)); /* 5, 4, 4.5, 3 at the ends: the third is worse */
        assert_true(w.epoch[e].images_per_second > 0);
    }
    const char *saves[] = {"best@7",  "last@7",  "best@14", "last@14",
                           "last@21", "best@28", "last@28"};
    assert_int_equal(t.n_saves, 7);
    for (size_t i = 0; i < 7; i++) {
        assert_string_equal(t.saved[i], saves[i]);
    }
    assert_string_equal(fake_meta("last", KL__META_EPOCH), "4");
    assert_string_equal(fake_meta("last", KL__META_POSITION), "0");
    assert_string_equal(fake_meta("last", KL__META_BEST), "3");
    assert_string_equal(fake_meta("last", KL__META_DATA_SEED), "42");
    assert_string_equal(fake_meta("last", KL__META_CLASSES), "0\n1\n2");
    assert_string_equal(fake_meta("last", KL__META_NORMALISE), ";");
    assert_string_equal(fake_meta("last", "note"), "hello");
    assert_true(t.n_metrics < 16); /* waiting for the queue is rare */
    end(&b);
}

static void last_batch_left_out(void **state)
{
    (void)state;
    bench b;
    watch w;
    begin(&b);
    t.steps_per_epoch = STEPS - 1;
    kl_fit_opts o = options(&w);
    o.drop_last = true;
    o.workers = 3;
    assert_int_equal(kl_fit(&t.tr, b.train, NULL, &o), KL_OK);
    assert_int_equal(t.tr.steps, 4 * (STEPS - 1));
    assert_true(isnan(w.epoch[1].val_loss));
    assert_true(w.epoch[3].best); /* of the training loss, where there is no validation */
    end(&b);
}

/* Stopped after any number of callbacks, loaded and resumed, it ends as the one that was never
 * stopped. */
static void resume_anywhere(void **state)
{
    (void)state;
    bench b;
    watch whole_run, w;
    begin(&b);
    kl_fit_opts o = options(&whole_run);
    assert_int_equal(kl_fit(&t.tr, b.train, b.val, &o), KL_OK);
    const uint64_t want = t.state, best = fake_saved_state("best");
    for (int64_t stop = 1; stop <= 4 * STEPS + 4; stop++) {
        restart(&b);
        fake_disk_clear();
        o = options(&w);
        o.workers = 1 + (int)(stop % 3);
        w.stop_after = stop;
        assert_int_equal(kl_fit(&t.tr, b.train, b.val, &o), KL_E_CANCELLED);
        assert_non_null(strstr(kl_last_error(), "was stopped in epoch"));
        restart(&b);
        fake_load(&t, "last");
        o.resume = true;
        w.stop_after = 0;
        assert_int_equal(kl_fit(&t.tr, b.train, b.val, &o), KL_OK);
        assert_true(t.state == want && t.tr.steps == 4 * STEPS);
        assert_true(fake_saved_state("best") == best);
        assert_true(w.n_epochs == 4 && w.ordered);
        for (int e = 0; e < 4; e++) {
            assert_true(fabs(w.epoch[e].loss - whole_run.epoch[e].loss) < 1e-12);
            assert_true(w.epoch[e].best == whole_run.epoch[e].best);
        }
    }
    end(&b);
}

/* Many small pieces, each of three steps, are one training too. */
static void resume_often(void **state)
{
    (void)state;
    bench b;
    watch w;
    begin(&b);
    kl_fit_opts o = options(&w);
    assert_int_equal(kl_fit(&t.tr, b.train, b.val, &o), KL_OK);
    const uint64_t want = t.state;
    restart(&b);
    kl_status s = KL_E_CANCELLED;
    int pieces = 0;
    for (; s == KL_E_CANCELLED && pieces < 40; pieces++) {
        o = options(&w);
        o.resume = pieces > 0;
        w.stop_after = 3;
        s = kl_fit(&t.tr, b.train, b.val, &o);
        restart(&b);
        fake_load(&t, "last");
    }
    assert_int_equal(s, KL_OK);
    assert_int_equal(pieces, 11); /* 32 callbacks, three a piece */
    assert_true(t.state == want);
    end(&b);
}

/* checkpoint_every: by updates, across epochs, and at the end. What it left resumes without a
 * cancel. */
static void checkpoint_every(void **state)
{
    (void)state;
    bench b;
    watch w;
    begin(&b);
    kl_fit_opts o = options(&w);
    o.checkpoint_best = NULL;
    o.checkpoint_every = 5;
    o.epochs = 2;
    assert_int_equal(kl_fit(&t.tr, b.train, b.val, &o), KL_OK);
    assert_int_equal(t.n_saves, 3);
    assert_string_equal(t.saved[0], "last@5");
    assert_string_equal(t.saved[1], "last@10");
    assert_string_equal(t.saved[2], "last@14");
    const uint64_t want = t.state;
    restart(&b);
    t.broken_at = 12; /* the machine stops: what is there is step 10's */
    assert_int_equal(kl_fit(&t.tr, b.train, b.val, &o), KL_E_NUMERIC);
    assert_non_null(strstr(kl_last_error(), "step 12"));
    assert_string_equal(fake_meta("last", KL__META_EPOCH), "1");
    assert_string_equal(fake_meta("last", KL__META_POSITION), "24");
    restart(&b);
    fake_load(&t, "last");
    o.resume = true;
    assert_int_equal(kl_fit(&t.tr, b.train, b.val, &o), KL_OK);
    assert_true(t.state == want);
    end(&b);
}

static void early_stopping(void **state)
{
    (void)state;
    bench b;
    watch w;
    begin(&b);
    /* ends of epochs: 5 4 3.95 4.2 3.9 3 */
    const double loss[] = {0, 5, 4, 3.95, 4.2, 3.9, 3};
    memcpy(t.val_loss, loss, sizeof loss);
    kl_fit_opts o = options(&w);
    o.epochs = 6;
    o.patience = 3;
    o.min_delta = .2;
    assert_int_equal(kl_fit(&t.tr, b.train, b.val, &o), KL_OK);
    assert_int_equal(w.n_epochs, 5); /* 3.95, 4.2 and 3.9 are no improvement of .2 on 4 */
    assert_true(w.epoch[2].best && w.epoch[4].best); /* but they are the best so far */
    const uint64_t want = t.state;
    const size_t saves = t.n_saves;
    o.resume = true; /* what stopped early stays stopped */
    fake_load(&t, "last");
    assert_int_equal(kl_fit(&t.tr, b.train, b.val, &o), KL_OK);
    assert_true(t.state == want && t.n_saves == saves);
    restart(&b); /* stopped by hand in between, the waiting goes on where it was */
    o = options(&w);
    o.epochs = 6;
    o.patience = 3;
    o.min_delta = .2;
    w.stop_after = 3 * (STEPS + 1) + 2;
    assert_int_equal(kl_fit(&t.tr, b.train, b.val, &o), KL_E_CANCELLED);
    restart(&b);
    fake_load(&t, "last");
    o.resume = true;
    w.stop_after = 0;
    assert_int_equal(kl_fit(&t.tr, b.train, b.val, &o), KL_OK);
    assert_true(t.state == want && w.n_epochs == 5);
    o.epochs = 7; /* NaN is never the best */
    o.patience = 0;
    o.resume = false;
    t.val_loss[6] = NAN;
    restart(&b);
    assert_int_equal(kl_fit(&t.tr, b.train, b.val, &o), KL_OK);
    assert_false(w.epoch[5].best);
    end(&b);
}

/* ---- refusals
 * ------------------------------------------------------------------------------------------- */

static void refuses(kl_status want, const char *part, kl_dataset *train, kl_dataset *val,
                    kl_fit_opts o)
{
    const kl_status s = kl_fit(&t.tr, train, val, &o);
    if (s != want || !strstr(kl_last_error(), part)) {
        fail_msg("%s with \"%s\" expected, got %s: \"%s\"", kl_status_name(want), part,
                 kl_status_name(s), kl_last_error());
    }
    assert_int_equal(t.tr.steps, 0);
    assert_int_equal(t.n_saves, 0);
}

static void refusals(void **state)
{
    (void)state;
    bench b;
    watch w;
    begin(&b);
    const kl_fit_opts o = options(&w);
    kl_fit_opts p = o;
    p.batch = N + 1;
    refuses(KL_E_ARG, "a batch of 51 is larger than the training data, 50 samples", b.train, b.val,
            p);
    p.batch = -8;
    refuses(KL_E_ARG, "batch -8", b.train, b.val, p);
    p = o;
    p.epochs = -1;
    refuses(KL_E_ARG, "epochs -1", b.train, b.val, p);
    p = o;
    p.min_delta = NAN;
    refuses(KL_E_ARG, "min_delta nan", b.train, b.val, p);
    p = o;
    p.resume = true;
    refuses(KL_E_ARG, "no checkpoint of a training was loaded", b.train, b.val, p);
    p = o;
    const kl_meta mine = {KL__META_EPOCH, "3"};
    p.meta = &mine;
    p.n_meta = 1;
    refuses(KL_E_ARG, "kiln.epoch", b.train, b.val, p);
    refuses(KL_E_ARG, "training data is NULL", NULL, b.val, o);
    assert_int_equal(kl_fit(NULL, b.train, NULL, &o), KL_E_ARG);
    kl_dataset *unlabelled = make_data(N, false, 0);
    refuses(KL_E_ARG, "the graph wants labels as \"label\"", unlabelled, NULL, o);
    refuses(KL_E_ARG, "validation: the graph wants labels", b.train, unlabelled, o);
    const float x[12] = {0};
    const int32_t y[2] = {0};
    const kl_shape other = {2, {2, 2}};
    kl_dataset *odd = kl_dataset_from_memory(x, y, 2, other, 3);
    p = o;
    p.batch = 1;
    refuses(KL_E_SHAPE, "no input of the graph takes samples [2,2]; \"image\" is [N,1,2,3]", odd,
            NULL, p);
    refuses(KL_E_SHAPE, "validation: no input", b.train, odd, o);
    t.model.real = KL_F64;
    refuses(KL_E_UNSUPPORTED, "this one computes in f64", b.train, NULL, o);
    t.model.real = KL_F32;
    t.full_disk = true;
    assert_int_equal(kl_fit(&t.tr, b.train, b.val, &o), KL_E_IO);
    kl_dataset_destroy(unlabelled);
    kl_dataset_destroy(odd);
    end(&b);
}

/* A checkpoint made with another batch size or other data cannot go on bit-exactly, and says so. */
static void resume_with_other_data(void **state)
{
    (void)state;
    bench b;
    watch w;
    begin(&b);
    kl_fit_opts o = options(&w);
    w.stop_after = 3;
    assert_int_equal(kl_fit(&t.tr, b.train, b.val, &o), KL_E_CANCELLED);
    fake_load(&t, "last");
    o.resume = true;
    w.stop_after = 0;
    o.batch = 5;
    assert_int_equal(kl_fit(&t.tr, b.train, b.val, &o), KL_E_ARG);
    assert_non_null(strstr(kl_last_error(), "with batches of 8, this training has 5"));
    o.batch = BATCH;
    assert_int_equal(kl_fit(&t.tr, b.val, NULL, &o), KL_E_ARG);
    assert_non_null(strstr(kl_last_error(), "a training set of 50, this training has 20"));
    const char *keys[] = {KL__META_POSITION, KL__META_EPOCH, KL__META_SUM, KL__META_DATA_SEED};
    for (size_t k = 0; k < 4; k++) { /* what was changed by hand is refused */
        fake_load(&t, "last");
        for (size_t i = 0; i < t.tr.n_loaded; i++) {
            if (!strcmp(t.tr.loaded[i].key, keys[k])) {
                *(char *)(uintptr_t)t.tr.loaded[i].value = 'x';
            }
        }
        assert_int_equal(kl_fit(&t.tr, b.train, b.val, &o), KL_E_FORMAT);
        assert_non_null(strstr(kl_last_error(), keys[k]));
    }
    assert_int_equal(t.tr.steps, 3);
    end(&b);
}

/* ---- which inputs
 * ---------------------------------------------------------------------------------------- */

static kl_graph *parse(kl_dtype dtype, const char *const *names, size_t n, bool flat)
{
    const kl_shape image = {4, {KL_BATCH, 1, 2, 3}}, rows = {2, {KL_BATCH, PER}},
                   label = {1, {KL_BATCH}};
    kl_graph *g = kl_graph_create();
    for (size_t i = 0; i < n; i++) {
        kl_input(g, names[i], dtype, dtype == KL_I32 ? label : flat ? rows : image);
    }
    if (dtype == KL_I32) {
        kl_input(g, "pixels", KL_F32, image);
    } else {
        kl_input(g, "classes", KL_I32, label);
    }
    assert_int_equal(kl_graph_check(g), KL_OK);
    return g;
}

static kl_status found(kl_graph *g, const kl_dataset *d, kl__feed *f)
{
    t.model.graph = g;
    const kl_status s = kl__feed_find(f, &t.model, d);
    return s;
}

static void inputs(void **state)
{
    (void)state;
    bench b;
    kl__feed f;
    begin(&b);
    const char *one[] = {"pixels"}, *two[] = {"a", "x"}, *odd[] = {"a", "b"},
               *labels[] = {"weights", "y"};
    kl_graph *g = parse(KL_F32, one, 1, false);
    assert_int_equal(found(g, b.train, &f), KL_OK);
    assert_string_equal(f.x, "pixels");
    assert_string_equal(f.y, "classes");
    assert_int_equal(f.per, PER);
    kl_graph_destroy(g);
    g = parse(KL_F32, one, 1, true); /* [N,6] for samples [1,2,3] */
    assert_int_equal(found(g, b.train, &f), KL_OK);
    kl_graph_destroy(g);
    g = parse(KL_F32, odd, 2, false);
    assert_int_equal(found(g, b.train, &f), KL_E_ARG);
    assert_non_null(strstr(kl_last_error(), "2 inputs for samples [1,2,3]"));
    kl_graph_destroy(g);
    g = parse(KL_F32, two, 2, false); /* "x" is the one, but nobody feeds "a" */
    assert_int_equal(found(g, b.train, &f), KL_E_ARG);
    assert_string_equal(f.x, "x");
    assert_non_null(strstr(kl_last_error(), "\"a\" is neither samples nor labels"));
    kl_graph_destroy(g);
    g = parse(KL_I32, labels, 2, false);
    found(g, b.train, &f);
    assert_string_equal(f.y, "y");
    kl_graph_destroy(g);
    t.model.graph = b.g;
    end(&b);
}

/* ---- evaluation
 * ------------------------------------------------------------------------------------------- */

static kl_graph *scoring_graph(const char *name, int k)
{
    kl_graph *g = make_graph();
    const kl_dense_opts wide = {.units = k};
    kl_output(g, name, kl_dense(g, kl_flatten(g, kl_graph_find(g, "image")), &wide));
    assert_int_equal(kl_graph_check(g), KL_OK);
    return g;
}

static void evaluate(void **state)
{
    (void)state;
    bench b;
    kl_metrics m;
    begin(&b);
    t.val_loss[0] = 2.5;
    assert_int_equal(kl_evaluate(&t.tr, b.val, 8, &m, NULL), KL_OK);
    assert_true(m.samples == 20 && m.loss == 2.5 && t.n_evals == 3);
    assert_int_equal(kl_evaluate(&t.tr, b.val, 0, &m, NULL), KL_OK); /* 32 is more than there is */
    assert_true(m.samples == 20 && t.n_evals == 4);
    assert_int_equal(kl_evaluate(&t.tr, b.val, -1, &m, NULL), KL_E_ARG);
    assert_int_equal(kl_evaluate(&t.tr, NULL, 8, &m, NULL), KL_E_ARG);
    end(&b);
}

/* Class of sample i is i mod 3, the fake's score floor(x[0]) mod 3, and x[0] is i: all right, each
 * sample once. */
static void evaluate_classes(void **state)
{
    (void)state;
    bench b;
    begin(&b);
    const char *names[] = {"logits", "anything"};
    for (int k = 0; k < 2; k++) {
        kl_graph *g = scoring_graph(names[k], 3);
        kl_confusion *c = kl_confusion_create(3);
        t.model.graph = g;
        assert_int_equal(kl_evaluate(&t.tr, b.val, 8, NULL, c), KL_OK);
        assert_int_equal(kl_confusion_at(c, 0, 0), 7);
        assert_int_equal(kl_confusion_at(c, 1, 1), 7);
        assert_int_equal(kl_confusion_at(c, 2, 2), 6);
        assert_true(kl_confusion_accuracy(c) == 1);
        assert_int_equal(t.n_evals, 0); /* nobody asked for the loss */
        kl_confusion_destroy(c);
        kl_graph_destroy(g);
    }
    t.model.graph = b.g;
    kl_confusion *c = kl_confusion_create(3);
    assert_int_equal(kl_evaluate(&t.tr, b.val, 8, NULL, c), KL_E_ARG);
    assert_non_null(strstr(kl_last_error(), "0 outputs of the graph are [N,3]"));
    kl_confusion_destroy(c);
    end(&b);
}

/* Labels that the model has no class for never reach it. */
static void too_many_classes(void **state)
{
    (void)state;
    bench b;
    kl__feed f;
    begin(&b);
    kl_graph *g = scoring_graph("logits", 2);
    assert_int_equal(found(g, b.train, &f), KL_E_SHAPE);
    assert_non_null(
        strstr(kl_last_error(), "the data has 3 classes, the model's output \"logits\" 2"));
    kl_graph_destroy(g);
    t.model.graph = b.g;
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),
        cmocka_unit_test(last_batch_left_out),
        cmocka_unit_test(resume_anywhere),
        cmocka_unit_test(resume_often),
        cmocka_unit_test(checkpoint_every),
        cmocka_unit_test(early_stopping),
        cmocka_unit_test(refusals),
        cmocka_unit_test(resume_with_other_data),
        cmocka_unit_test(inputs),
        cmocka_unit_test(evaluate),
        cmocka_unit_test(evaluate_classes),
        cmocka_unit_test(too_many_classes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
