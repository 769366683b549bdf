/* What the files of kl_fit and kl_evaluate share. */
#ifndef KL_TRAIN_FIT_H
#define KL_TRAIN_FIT_H

#include "train/trainer.h"

/** Which inputs of a graph a data set feeds. Names are the graph's. */
typedef struct kl__feed {
    const char *x, *y; /* y NULL: the graph wants no labels */
    size_t per;        /* elements of a sample */
} kl__feed;
/** By dtype and shape; among several by the names "image", "x" and "label", "y". Every misfit is an
 * error sentence. */
kl_status kl__feed_find(kl__feed *f, const kl_model *m, const kl_dataset *d);
size_t kl__feed_binds(const kl__feed *f, const kl_batch *b, kl_bind binds[2]);

/** Sums over an epoch so far. */
typedef struct kl__sums {
    int64_t samples, counted;
    double loss, correct;
} kl__sums;

/** Where a training is: what a checkpoint keeps of kl_fit. */
typedef struct kl__place_in_data {
    uint64_t seed;   /* of the data's order */
    int epoch;       /* of the next batch */
    size_t position; /* samples of that epoch already used */
    double best;     /* monitored value; infinity before the first epoch's end */
    double target;   /* what early stopping compares with */
    int waited;      /* epochs without improvement */
    kl__sums sums;
} kl__place_in_data;
/** Reads it from the metadata that kl_trainer_load found. */
kl_status kl__fit_resume(const kl_trainer *tr, int batch, size_t samples, kl__place_in_data *out);
kl_status kl__fit_save(kl_trainer *tr, const char *path, const kl_fit_opts *o,
                       const kl_dataset *train, const kl__place_in_data *at);

/* fit_ranks.c: training in several processes; each does nothing where there is one */
/** Every process calls it at the same places. `mine`: how this one fares; *stop: whether it was
 * asked to stop, then whether anyone was. Gives mine, or KL_E_DEVICE where another failed. Waits
 * for the steps that are queued. */
kl_status kl__fit_vote(kl_trainer *tr, kl_status mine, bool *stop);
/** For calls that all make together: where one fails the others would wait for ever, so it ends
 * them all. But not where it fails in all of them, KL_E_NUMERIC. Gives s. */
kl_status kl__fit_together(const kl_trainer *tr, kl_status s);
/** KL_E_ARG where this process was given another training than the first one. */
kl_status kl__fit_alike(kl_trainer *tr, const kl_fit_opts *o, size_t train, size_t val,
                        const kl__place_in_data *at);
/** Those of the first process, in all. */
kl_status kl__fit_same(kl_trainer *tr, double *values, size_t n);

/** Number of classes of a confusion matrix. */
int kl__confusion_classes(const kl_confusion *c);
/** No key of the caller's is one of kl_fit's. */
kl_status kl__fit_check_meta(const kl_fit_opts *o);

#endif
