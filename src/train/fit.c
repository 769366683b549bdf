/* kl_fit: epochs of steps, validation, checkpoints, early stopping. */
#include "train/fit.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/thread.h"

#include <math.h>

/* Reading the metrics waits for what is queued, so it is done this rarely within an epoch. */
static const double READ_EVERY = 0.2;

typedef struct fit {
    kl_trainer *tr;
    kl_dataset *train, *val;
    kl_fit_opts o;
    kl__feed feed;
    kl_loader *loader;
    size_t per_epoch; /* samples used of an epoch */
    kl__place_in_data at;
    kl_progress p;
    double read_at;        /* when the metrics were read last */
    int64_t since;         /* samples queued since then */
    int n_rates;           /* windows measured */
    double val_seconds;    /* of the last validation */
    bool asked;     /* the callback wants to stop */
    bool cancelled; /* somebody's did, in whatever process */
    bool saved;     /* `last` is what the training is now */
} fit;

/* Between steps; see fit_ranks.c. */
static kl_status vote(fit *f, kl_status mine)
{
    f->cancelled = f->asked;
    return kl__fit_vote(f->tr, mine, &f->cancelled);
}

/* ---- watching --------------------------------------------------------------------------- */

static void measure(fit *f, double now)
{
    const double seconds = now - f->read_at;
    if (f->since > 0 && seconds > 0) {
        const double rate = (double)f->since / seconds;
        /* the first window holds planning and compiling, so the second one replaces it */
        f->p.images_per_second = f->n_rates < 2 ? rate : 0.7 * f->p.images_per_second + 0.3 * rate;
        f->n_rates++;
    }
    f->since = 0;
    f->read_at = now;
}

static void estimate(fit *f)
{
    const double epochs = f->o.epochs - f->at.epoch;
    const double left = epochs * (double)f->per_epoch - (double)f->at.position;
    f->p.eta_seconds = f->p.images_per_second > 0
                           ? left / f->p.images_per_second + epochs * f->val_seconds
                           : (double)NAN;
}

/* Waits for the queue and takes what the steps since the last time gave. */
static kl_status read_metrics(fit *f)
{
    kl_metrics m;
    kl__sums *t = &f->at.sums;
    const kl_status s = kl__fit_together(f->tr, kl_trainer_metrics(f->tr, &m));
    if (s) {
        return s;
    }
    measure(f, kl__now());
    f->p.lr = m.lr;
    if (m.samples > 0 && !isnan(m.loss)) {
        t->samples += m.samples;
        t->loss += m.loss * (double)m.samples;
    }
    if (m.samples > 0 && !isnan(m.accuracy)) {
        t->counted += m.samples;
        t->correct += m.accuracy * (double)m.samples;
    }
    f->p.loss = t->samples ? t->loss / (double)t->samples : (double)NAN;
    f->p.accuracy = t->counted ? t->correct / (double)t->counted : (double)NAN;
    return KL_OK;
}

static void report(fit *f)
{
    estimate(f);
    if (f->o.progress && !f->o.progress(f->o.user, &f->p)) {
        f->asked = true;
    }
}

/* ---- checkpoints ------------------------------------------------------------------------ */

/* One process writes; the others go on when it is done. */
static kl_status save(fit *f, const char *path)
{
    return path ? vote(f, kl__fit_save(f->tr, path, &f->o, f->train, &f->at)) : KL_OK;
}

static kl_status save_last(fit *f)
{
    if (f->saved) {
        return KL_OK;
    }
    const kl_status s = save(f, f->o.checkpoint_last);
    f->saved = s == KL_OK;
    return s;
}

/* ---- an epoch --------------------------------------------------------------------------- */

static kl_status step(fit *f, const kl_batch *b)
{
    kl_bind binds[2];
    const size_t n = kl__feed_binds(&f->feed, b, binds);
    kl_status s = kl__fit_together(f->tr, kl_trainer_step(f->tr, binds, n));
    if (s) {
        return s;
    }
    f->saved = false;
    f->since += (int64_t)b->n;
    f->at.position = b->first + b->n;
    f->p.step++;
    const bool due = f->o.checkpoint_every > 0 && f->o.checkpoint_last &&
                     kl_trainer_steps(f->tr) % f->o.checkpoint_every == 0;
    const bool alone = !kl__trainer_exchange(f->tr); /* else a clock decides nothing */
    if (due || (alone && kl__now() - f->read_at >= READ_EVERY)) {
        s = read_metrics(f);
    }
    if (s == KL_OK && due) {
        s = save_last(f);
    }
    if (s == KL_OK) {
        report(f);
    }
    return s;
}

static kl_status validate(fit *f)
{
    kl_metrics m;
    const double begin = kl__now();
    if (!f->val) {
        return KL_OK;
    }
    const kl_status s =
        kl__fit_together(f->tr, kl_evaluate(f->tr, f->val, f->o.eval_batch, &m, NULL));
    if (s == KL_OK) {
        f->p.val_loss = m.loss;
        f->p.val_accuracy = m.accuracy;
        f->val_seconds = kl__now() - begin;
        f->read_at = kl__now(); /* the pause is no part of the training's rate */
    }
    return s;
}

static void judge(fit *f)
{
    const double v = f->val ? f->p.val_loss : f->p.loss;
    f->p.best = v < f->at.best; /* never where v is NaN */
    if (f->p.best) {
        f->at.best = v;
    }
    if (v < f->at.target - f->o.min_delta) {
        f->at.target = v;
        f->at.waited = 0;
    } else {
        f->at.waited++;
    }
}

static bool finished(const fit *f)
{
    return f->at.epoch >= f->o.epochs || (f->o.patience > 0 && f->at.waited >= f->o.patience);
}

/* Devices of several kinds may round differently, and what follows must be decided alike. */
static kl_status agree(fit *f)
{
    double v[4] = {f->p.loss, f->p.accuracy, f->p.val_loss, f->p.val_accuracy};
    const kl_status s = kl__fit_same(f->tr, v, 4);
    f->p.loss = v[0];
    f->p.accuracy = v[1];
    f->p.val_loss = v[2];
    f->p.val_accuracy = v[3];
    return s;
}

static kl_status end_epoch(fit *f)
{
    kl_status s = read_metrics(f);
    if (s == KL_OK) {
        s = validate(f);
    }
    if (s == KL_OK) {
        s = agree(f);
    }
    if (s) {
        return s;
    }
    judge(f);
    f->p.epoch_done = true;
    f->at.epoch++; /* what is saved now goes on with the next epoch */
    f->at.position = 0;
    f->at.sums = (kl__sums){0};
    f->saved = false;
    if (f->p.best && (s = save(f, f->o.checkpoint_best)) != KL_OK) {
        return s;
    }
    if ((f->o.checkpoint_every == 0 || finished(f)) && (s = save_last(f)) != KL_OK) {
        return s;
    }
    report(f);
    f->read_at = kl__now();
    return vote(f, KL_OK);
}

static kl_status next_batch(fit *f, kl_batch *b, bool *more)
{
    kl_status s = KL_OK;
    *more = !f->asked && kl_loader_next(f->loader, b, &s);
    s = vote(f, s);
    *more = *more && !f->cancelled;
    if (s == KL_OK && kl__trainer_exchange(f->tr)) {
        s = read_metrics(f); /* the vote has waited for them, and all must sum alike */
    }
    return s;
}

static kl_status run_epoch(fit *f)
{
    kl_batch b;
    kl_status s = KL_OK;
    const size_t batch = (size_t)f->o.batch;
    f->p.epoch = f->at.epoch;
    f->p.step = (int64_t)((f->at.position + batch - 1) / batch);
    f->p.loss = f->p.accuracy = f->p.val_loss = f->p.val_accuracy = (double)NAN;
    f->p.epoch_done = f->p.best = false;
    for (bool more = true; s == KL_OK && more;) {
        s = next_batch(f, &b, &more);
        if (s == KL_OK && more) {
            s = step(f, &b);
        }
    }
    return s || f->cancelled ? s : end_epoch(f);
}

/* ---- the whole -------------------------------------------------------------------------- */

static kl_status check_options(fit *f)
{
    kl_fit_opts *o = &f->o;
    const size_t n = kl_dataset_count(f->train);
    o->epochs = o->epochs ? o->epochs : 1;
    o->batch = o->batch ? o->batch : 32;
    o->eval_batch = o->eval_batch ? o->eval_batch : o->batch;
    if (o->epochs < 0 || o->batch < 0 || o->eval_batch < 0 || o->patience < 0 ||
        o->checkpoint_every < 0 || !isfinite(o->min_delta) || o->min_delta < 0 ||
        (o->n_meta && !o->meta)) {
        return kl__fail(KL_E_ARG,
                        "kl_fit: epochs %d, batch %d, eval_batch %d, patience %d, min_delta %g, "
                        "checkpoint_every %lld: none may be negative",
                        o->epochs, o->batch, o->eval_batch, o->patience, o->min_delta,
                        (long long)o->checkpoint_every);
    }
    if (n == 0) {
        return kl__fail(KL_E_ARG, "kl_fit: there is no training data");
    }
    if ((size_t)o->batch > n) {
        return kl__fail(KL_E_ARG,
                        "kl_fit: a batch of %d is larger than the training data, %zu samples",
                        o->batch, n);
    }
    return kl__fit_check_meta(o);
}

static kl_status check_data(fit *f)
{
    const kl_model *m = kl_trainer_model(f->tr);
    kl__feed of_val;
    kl_status s = kl__feed_find(&f->feed, m, f->train);
    if (s == KL_OK && f->val) {
        s = kl_dataset_count(f->val) ? kl__feed_find(&of_val, m, f->val)
                                     : kl__fail(KL_E_ARG, "there is no data");
        s = s ? kl__fail_in(s, "validation") : KL_OK;
    }
    return s;
}

static kl_status begin(fit *f)
{
    const size_t n = kl_dataset_count(f->train), batch = (size_t)f->o.batch;
    kl_status s = KL_OK;
    f->at = (kl__place_in_data){.seed = kl_model_seed(kl_trainer_model(f->tr)),
                                .best = (double)INFINITY,
                                .target = (double)INFINITY};
    if (f->o.resume && (s = kl__fit_resume(f->tr, f->o.batch, n, &f->at)) != KL_OK) {
        return s;
    }
    const kl_loader_opts lo = {.batch = f->o.batch,
                               .shuffle = true,
                               .augment = true,
                               .drop_last = f->o.drop_last,
                               .workers = f->o.workers,
                               .seed = f->at.seed};
    f->loader = kl_loader_create(f->train, &lo, f->at.epoch, f->at.position);
    if (!f->loader) {
        return kl__last_status();
    }
    f->per_epoch = f->o.drop_last ? n - n % batch : n;
    f->p = (kl_progress){.epochs = f->o.epochs, .steps = (int64_t)kl_loader_batches(f->loader)};
    f->read_at = kl__now();
    return kl_trainer_metrics(f->tr, NULL); /* totals of steps before are not this training's */
}

static kl_status cancel(fit *f)
{
    kl_status s = f->at.position ? read_metrics(f) : KL_OK;
    if (s == KL_OK) {
        s = save_last(f);
    }
    return s ? s
             : kl__fail(KL_E_CANCELLED,
                        "the training was stopped in epoch %d after %zu of %zu samples",
                        f->at.epoch, f->at.position, f->per_epoch);
}

/** The last device of a group is gone: what was complete before that is saved. The error stays. */
static kl_status rescue(fit *f, kl_status s)
{
    if (s != KL_E_DEVICE || !f->tr->team || f->tr->exchange || !f->o.checkpoint_last) {
        return s;
    }
    char *why = kl__strdup(kl_last_error());
    const int64_t undone = kl_trainer_steps(f->tr) - kl__trainer_complete(f->tr);
    const int64_t done = f->p.step - undone;
    if (why && undone >= 0 && done >= 0) {
        const size_t samples = (size_t)done * (size_t)f->o.batch;
        f->at.position = samples < f->per_epoch ? samples : f->per_epoch;
        const bool saved =
            kl__fit_save(f->tr, f->o.checkpoint_last, &f->o, f->train, &f->at) == KL_OK;
        kl__fail(s, "%s; the last complete step, %lld, is %s %s", why,
                 (long long)kl__trainer_complete(f->tr),
                 saved ? "in" : "lost, for it cannot be written to", f->o.checkpoint_last);
    }
    kl__free(why);
    return s;
}

kl_status kl_fit(kl_trainer *tr, kl_dataset *train, kl_dataset *val, const kl_fit_opts *opts)
{
    fit f = {.tr = tr, .train = train, .val = val, .o = opts ? *opts : (kl_fit_opts){0}};
    if (!tr || !train) {
        return kl__fail(KL_E_ARG, "kl_fit: the %s is NULL", tr ? "training data" : "trainer");
    }
    kl_status s = check_options(&f);
    if (s == KL_OK) {
        s = check_data(&f);
    }
    if (s == KL_OK) {
        s = begin(&f);
    }
    s = vote(&f, s);
    if (s == KL_OK) {
        const size_t n_val = val ? kl_dataset_count(val) : 0;
        s = vote(&f, kl__fit_alike(tr, &f.o, kl_dataset_count(train), n_val, &f.at));
    }
    while (s == KL_OK && !f.cancelled && !finished(&f)) {
        s = run_epoch(&f);
    }
    if (s == KL_OK && f.cancelled) {
        s = cancel(&f);
    }
    s = rescue(&f, s);
    kl_loader_destroy(f.loader);
    return s;
}
