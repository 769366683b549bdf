/* What the tests of data and training share: the codecs' test folder with sub-folders, writers of
 * fixtures. */
#ifndef KL_TESTS_TRAIN_SUPPORT_H
#define KL_TESTS_TRAIN_SUPPORT_H

#include "../io/support.h"

#include <kiln/train.h>

/** The folder DIR in the test's folder; gives its path. */
const char *make_dir(const char *name);
int tree_remove(void **state);

/** IDX of bytes: dims n_dims. */
const char *put_idx(const char *name, const uint8_t *data, int n_dims, const uint32_t *dim);
/** n records of CIFAR; every byte of picture i is i. labels: n_label each. */
const char *put_cifar(const char *name, const uint8_t *labels, size_t n, size_t n_label,
                      uint8_t first);
/** A PNG, every pixel of which has this value. */
const char *put_png(const char *name, int channels, int height, int width, uint8_t value);
const char *put_text(const char *name, const char *text);

/** Opens a spec made by printf. */
kl_dataset *open_spec(const char *fmt, ...) KL_PRINTF(1, 2);
/** Opening fails with this status and a sentence that has `part` in it. */
void refused(kl_status status, const char *part, const char *fmt, ...) KL_PRINTF(3, 4);
/** Sample i of n_values and its label. */
void assert_sample(const kl_dataset *d, size_t i, const float *x, size_t n_values, int32_t label);

#endif
