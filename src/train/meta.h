/* Names of what kl_fit keeps in a checkpoint's metadata. Values are text; numbers are written so
 * that they read back to the same bits. */
#ifndef KL_TRAIN_META_H
#define KL_TRAIN_META_H

#include "base/str.h"

#include <kiln/train.h>

#define KL__META_EPOCH "kiln.epoch"       /* from 0, of the next batch */
#define KL__META_POSITION "kiln.position" /* samples of that epoch already used */
#define KL__META_BATCH                                                                             \
    "kiln.batch" /* batch size: with another one the order of samples would differ */
#define KL__META_SAMPLES "kiln.samples"     /* in the training set */
#define KL__META_DATA_SEED "kiln.data_seed" /* of shuffle and augmentation */
#define KL__META_BEST "kiln.best" /* best monitored value; absent before the first epoch's end */
#define KL__META_TARGET "kiln.target"       /* what early stopping compares with */
#define KL__META_WAITED "kiln.waited"       /* epochs without improvement */
#define KL__META_SUM "kiln.epoch_sum"       /* "samples loss correct" of the epoch begun: sums */
#define KL__META_CLASSES "kiln.classes"     /* class names, one a line */
#define KL__META_NORMALISE "kiln.normalise" /* "mean,mean,...;std,std,..." */

void kl__put_normalise(kl__text *t, const kl_normalise *n);
/** false: not such a text; *out is left alone. */
bool kl__parse_normalise(const char *s, kl_normalise *out);

#endif
