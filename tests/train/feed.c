/* What kl_fit refuses, which inputs of a graph a data set feeds, and kl_evaluate. */
#include "bench.h"
#include "train/fit.h"
#include "train/meta.h"

#include <math.h>

/* ---- refusals --------------------------------------------------------------------------- */

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

static void options_refused(void **state)
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
    end(&b);
}

static void data_refused(void **state)
{
    (void)state;
    bench b;
    watch w;
    begin(&b);
    const kl_fit_opts o = options(&w);
    kl_fit_opts p = o;
    refuses(KL_E_ARG, "training data is NULL", NULL, b.val, o);
    assert_int_equal(kl_fit(NULL, b.train, NULL, &o), KL_E_ARG);
    kl_dataset *unlabelled = make_data(N, false, 0);
    refuses(KL_E_ARG, "the graph wants labels as \"label\"", unlabelled, NULL, o);
    refuses(KL_E_ARG, "validation: the graph wants labels", b.train, unlabelled, o);
    const float x[12] = {0};
    const int32_t y[2] = {0};
    const kl_shape other = {2, {2, 2}};
    kl_dataset *odd = kl_dataset_from_memory(x, y, 2, other, 3);
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

/* ---- which inputs ----------------------------------------------------------------------- */

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

/* ---- evaluation ------------------------------------------------------------------------- */

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
        cmocka_unit_test(options_refused),
        cmocka_unit_test(data_refused),
        cmocka_unit_test(resume_with_other_data),
        cmocka_unit_test(inputs),
        cmocka_unit_test(evaluate),
        cmocka_unit_test(evaluate_classes),
        cmocka_unit_test(too_many_classes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
