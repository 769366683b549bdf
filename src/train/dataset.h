/* What a data set is inside: a store that sets may share, and this set's choice and view of it. */
#ifndef KL_TRAIN_DATASET_H
#define KL_TRAIN_DATASET_H

#include "io/io.h"

#include <kiln/data.h>

enum { KL__NORM_MAX = 16, KL__CLASSES_MAX = 65536 };

typedef struct kl__store {
    int refs;        /* atomic */
    char *name;      /* where it came from, for sentences */
    uint8_t *u8;     /* either bytes, which mean value / 255, */
    float *f32;      /* or numbers as they are */
    int32_t *labels; /* NULL: none */
    size_t n, per;   /* samples; elements of one */
    kl_shape shape;
    int n_classes;
    char **names; /* n_classes */
} kl__store;

struct kl_dataset {
    kl__store *store;
    uint32_t *index; /* NULL: all, in order. Sample i of the set is sample index[i] of the store */
    size_t n;
    kl_normalise norm;
    kl_augment augment;
    float mean[KL__NORM_MAX],
        std[KL__NORM_MAX];          /* as used; 0 and 1 where there is no normalisation */
    float table[KL__NORM_MAX][256]; /* of bytes: ((v / 255) - mean) / std */
};

/** What a reader found, before it is checked. kl__dataset_make takes the arrays' memory, also on
 * failure. */
typedef struct kl__raw {
    kl__array x, y; /* [n, ...]; labels [n] or [n,1], y.data NULL: none */
    const char *x_file, *y_file;
    kl_shape shape;           /* of a sample; n_dims 0: from x */
    int n_classes;            /* 0: the largest label + 1 */
    const char *const *names; /* n_classes, copied; NULL: the numbers */
    double scale;             /* of float data; 0: 1 */
    bool any_number;          /* NaN and infinity are let in */
} kl__raw;
kl_dataset *kl__dataset_make(kl__raw *raw);

/** The rest of a spec after its kind, cut at the commas. */
enum { KL__PARTS_MAX = 128 };
typedef struct kl__spec {
    char *text;
    char *part[KL__PARTS_MAX]; /* part[0] is a path and not empty */
    size_t n;
    bool test; /* ":test" stood after it */
} kl__spec;
/** Value of "key=value", NULL where the part is something else. */
const char *kl__spec_value(const char *part, const char *key);
/** "3x32x32" to numbers of at least 1; how many there are, 0 where it is not that or more than max.
 */
int kl__spec_dims(const char *s, int64_t *dim, int max);

kl_dataset *kl__open_idx(const kl__spec *s, const char *const *names, int n_classes);
kl_dataset *kl__open_cifar10(const kl__spec *s);
kl_dataset *kl__open_cifar100(const kl__spec *s);
kl_dataset *kl__open_csv(const kl__spec *s);
kl_dataset *kl__open_npy(const kl__spec *s);
kl_dataset *kl__open_folder(const kl__spec *s);
/** DIR/NAME, or DIR/NAME.gz where only that is there; fresh memory. */
char *kl__in_folder(const char *dir, const char *name);

/** Number in the store of sample i. */
static inline size_t kl__dataset_number(const kl_dataset *d, size_t i)
{
    return d->index ? d->index[i] : i;
}
/** The normalisation fits the samples and divides by nothing that is zero. */
kl_status kl__dataset_check_normalise(const kl_dataset *d);
/** The augmentation fits the samples. */
kl_status kl__dataset_check_augment(const kl_dataset *d);
bool kl__dataset_augments(const kl_dataset *d);
/** Sample `number` of the store, normalised. */
void kl__dataset_fill(const kl_dataset *d, size_t number, float *x);
/** The same, augmented with the draws of (seed, number, epoch). */
void kl__dataset_fill_augmented(const kl_dataset *d, size_t number, uint64_t seed, uint32_t epoch,
                                float *x);

#endif
