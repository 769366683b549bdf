/* kl_fit: order of the data, resuming, checkpoints, early stopping. */
#include "bench.h"
#include "train/meta.h"

#include <math.h>

/* ---- a whole training ------------------------------------------------------------------- */

static void assert_saved(void)
{
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
}

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
    assert_true(t.n_metrics < 16); /* waiting for the queue is rare */
    assert_saved();
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

/* Ends of epochs: 5 4 3.95 4.2 3.9 3. */
static const double slow[] = {0, 5, 4, 3.95, 4.2, 3.9, 3};

static kl_fit_opts patient(watch *w)
{
    kl_fit_opts o = options(w);
    o.epochs = 6;
    o.patience = 3;
    o.min_delta = .2;
    return o;
}

static void early_stopping(void **state)
{
    (void)state;
    bench b;
    watch w;
    begin(&b);
    memcpy(t.val_loss, slow, sizeof slow);
    kl_fit_opts o = patient(&w);
    assert_int_equal(kl_fit(&t.tr, b.train, b.val, &o), KL_OK);
    assert_int_equal(w.n_epochs, 5); /* 3.95, 4.2 and 3.9 are no improvement of .2 on 4 */
    assert_true(w.epoch[2].best && w.epoch[4].best); /* but they are the best so far */
    const uint64_t want = t.state;
    const size_t saves = t.n_saves;
    o.resume = true; /* what stopped early stays stopped */
    fake_load(&t, "last");
    assert_int_equal(kl_fit(&t.tr, b.train, b.val, &o), KL_OK);
    assert_true(t.state == want && t.n_saves == saves);
    end(&b);
}

/* Stopped by hand in between, the waiting goes on where it was; and NaN is never the best. */
static void early_stopping_goes_on(void **state)
{
    (void)state;
    bench b;
    watch w;
    begin(&b);
    memcpy(t.val_loss, slow, sizeof slow);
    kl_fit_opts o = patient(&w);
    assert_int_equal(kl_fit(&t.tr, b.train, b.val, &o), KL_OK);
    const uint64_t want = t.state;
    restart(&b);
    o = patient(&w);
    w.stop_after = 3 * (STEPS + 1) + 2;
    assert_int_equal(kl_fit(&t.tr, b.train, b.val, &o), KL_E_CANCELLED);
    restart(&b);
    fake_load(&t, "last");
    o.resume = true;
    w.stop_after = 0;
    assert_int_equal(kl_fit(&t.tr, b.train, b.val, &o), KL_OK);
    assert_true(t.state == want && w.n_epochs == 5);
    o.epochs = 7;
    o.patience = 0;
    o.resume = false;
    t.val_loss[6] = NAN;
    restart(&b);
    assert_int_equal(kl_fit(&t.tr, b.train, b.val, &o), KL_OK);
    assert_false(w.epoch[5].best);
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
        cmocka_unit_test(early_stopping_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
