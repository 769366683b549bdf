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
/** Number of classes of a confusion matrix. */
int kl__confusion_classes(const kl_confusion *c);
/** No key of the caller's is one of kl_fit's. */
kl_status kl__fit_check_meta(const kl_fit_opts *o);

#endif
