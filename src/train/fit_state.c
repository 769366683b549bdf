/* What a checkpoint keeps of a training besides the trainer's own: where it was in the data, and
 * how it did. */
#include "train/fit.h"
#include "train/meta.h"

#include "base/error.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

enum { N_KEYS = 11 };

static const char *const keys[N_KEYS] = {KL__META_EPOCH,   KL__META_POSITION,  KL__META_BATCH,
                                         KL__META_SAMPLES, KL__META_DATA_SEED, KL__META_BEST,
                                         KL__META_TARGET,  KL__META_WAITED,    KL__META_SUM,
                                         KL__META_CLASSES, KL__META_NORMALISE};

kl_status kl__fit_check_meta(const kl_fit_opts *o)
{
    for (size_t i = 0; i < o->n_meta; i++) {
        for (int k = 0; k < N_KEYS; k++) {
            if (o->meta[i].key && !strcmp(o->meta[i].key, keys[k])) {
                return kl__fail(
                    KL_E_ARG, "kl_fit writes \"%s\" itself; leave it out of the metadata", keys[k]);
            }
        }
    }
    return KL_OK;
}

/* ---- saving ----------------------------------------------------------------------------- */

static void put_classes(kl__text *t, const kl_dataset *d)
{
    for (int k = 0; k < kl_dataset_classes(d); k++) {
        const char *name = kl_dataset_class_name(d, k);
        kl__put(t, "%s", k ? "\n" : "");
        for (; *name; name++) {
            kl__put(t, "%c", *name == '\n' ? ' ' : *name); /* '\n' separates the names */
        }
    }
}

static void put_value(kl__text *t, int k, const kl_fit_opts *o, const kl_dataset *d,
                      const kl__place_in_data *at)
{
    const char *key = keys[k];
    if (!strcmp(key, KL__META_EPOCH)) {
        kl__put(t, "%d", at->epoch);
    } else if (!strcmp(key, KL__META_POSITION)) {
        kl__put(t, "%zu", at->position);
    } else if (!strcmp(key, KL__META_BATCH)) {
        kl__put(t, "%d", o->batch);
    } else if (!strcmp(key, KL__META_SAMPLES)) {
        kl__put(t, "%zu", kl_dataset_count(d));
    } else if (!strcmp(key, KL__META_DATA_SEED)) {
        kl__put(t, "%llu", (unsigned long long)at->seed);
    } else if (!strcmp(key, KL__META_BEST)) {
        kl__put_double(t, at->best);
    } else if (!strcmp(key, KL__META_TARGET)) {
        kl__put_double(t, at->target);
    } else if (!strcmp(key, KL__META_WAITED)) {
        kl__put(t, "%d", at->waited);
    } else if (!strcmp(key, KL__META_CLASSES)) {
        put_classes(t, d);
    } else if (!strcmp(key, KL__META_NORMALISE)) {
        kl_normalise n;
        kl_dataset_get_normalise(d, &n);
        kl__put_normalise(t, &n);
    } else {
        kl__put(t, "%lld %lld ", (long long)at->sums.samples, (long long)at->sums.counted);
        kl__put_double(t, at->sums.loss);
        kl__put(t, " ");
        kl__put_double(t, at->sums.correct);
    }
}

kl_status kl__fit_save(kl_trainer *tr, const char *path, const kl_fit_opts *o,
                       const kl_dataset *train, const kl__place_in_data *at)
{
    kl__text text[N_KEYS] = {{0}};
    kl_status s = KL_OK;
    size_t n = 0;
    kl_meta *meta = kl__calloc(N_KEYS + o->n_meta, sizeof *meta);
    if (!meta) {
        return KL_E_MEMORY;
    }
    for (int k = 0; k < N_KEYS && s == KL_OK; k++) {
        const bool classes = !strcmp(keys[k], KL__META_CLASSES);
        if (classes && kl_dataset_classes(train) == 0) {
            continue;
        }
        put_value(&text[k], k, o, train, at);
        s = text[k].failed ? kl__no_memory(text[k].len) : KL_OK;
        meta[n++] = (kl_meta){keys[k], text[k].s};
    }
    for (size_t i = 0; i < o->n_meta; i++) {
        meta[n++] = o->meta[i];
    }
    if (s == KL_OK) {
        s = kl_trainer_save(tr, path, meta, n);
    }
    for (int k = 0; k < N_KEYS; k++) {
        kl__text_free(&text[k]);
    }
    kl__free(meta);
    return s;
}

/* ---- going on --------------------------------------------------------------------------- */

static kl_status number(const kl_trainer *tr, const char *key, int64_t least, int64_t most,
                        int64_t *out)
{
    const char *v = kl__trainer_meta(tr, key);
    if (!v || !kl__parse_i64(v, out) || *out < least || *out > most) {
        return kl__fail(KL_E_FORMAT, "resume: the checkpoint's %s is %s", key, v ? v : "missing");
    }
    return KL_OK;
}

static double real(const kl_trainer *tr, const char *key)
{
    double x;
    const char *v = kl__trainer_meta(tr, key);
    return v && kl__parse_double(v, &x) ? x : (double)INFINITY;
}

static kl_status read_sums(const kl_trainer *tr, kl__sums *out)
{
    const char *v = kl__trainer_meta(tr, KL__META_SUM);
    double x[4];
    char *end = NULL;
    for (int i = 0; v && i < 4; i++, v = end) {
        x[i] = kl__strtod(v, &end);
        if (end == v) {
            return kl__fail(KL_E_FORMAT, "resume: the checkpoint's %s is not four numbers",
                            KL__META_SUM);
        }
    }
    if (v) {
        *out = (kl__sums){(int64_t)x[0], (int64_t)x[1], x[2], x[3]};
    }
    return KL_OK;
}

static kl_status same(const char *what, int64_t theirs, int64_t ours)
{
    if (theirs == ours) {
        return KL_OK;
    }
    return kl__fail(KL_E_ARG,
                    "resume: the checkpoint was made with %s %lld, this training has %lld; the "
                    "order of the data would not go on",
                    what, (long long)theirs, (long long)ours);
}

kl_status kl__fit_resume(const kl_trainer *tr, int batch, size_t samples, kl__place_in_data *out)
{
    int64_t epoch, position, their_batch, their_samples, waited;
    const char *seed = kl__trainer_meta(tr, KL__META_DATA_SEED);
    kl_status s = KL_OK;
    if (!kl__trainer_meta(tr, KL__META_EPOCH) || !seed) {
        return kl__fail(KL_E_ARG,
                        "resume: no checkpoint of a training was loaded into the trainer");
    }
    if (!kl__parse_u64(seed, &out->seed)) {
        return kl__fail(KL_E_FORMAT, "resume: the checkpoint's %s is %s", KL__META_DATA_SEED, seed);
    }
    if ((s = number(tr, KL__META_EPOCH, 0, INT32_MAX, &epoch)) != KL_OK ||
        (s = number(tr, KL__META_BATCH, 1, INT32_MAX, &their_batch)) != KL_OK ||
        (s = same("batches of", their_batch, batch)) != KL_OK ||
        (s = number(tr, KL__META_SAMPLES, 1, UINT32_MAX, &their_samples)) != KL_OK ||
        (s = same("a training set of", their_samples, (int64_t)samples)) != KL_OK ||
        (s = number(tr, KL__META_POSITION, 0, (int64_t)samples, &position)) != KL_OK ||
        (s = number(tr, KL__META_WAITED, 0, INT32_MAX, &waited)) != KL_OK ||
        (s = read_sums(tr, &out->sums)) != KL_OK) {
        return s;
    }
    out->epoch = (int)epoch;
    out->position = (size_t)position;
    out->waited = (int)waited;
    out->best = real(tr, KL__META_BEST);
    out->target = real(tr, KL__META_TARGET);
    return KL_OK;
}
