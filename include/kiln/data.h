/* Data sets and the loader that feeds a device. Host only. */
#ifndef KILN_DATA_H
#define KILN_DATA_H

#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kl_dataset kl_dataset;

/** Opens by a spec:
 *    fashion-mnist[:test]            Debian's dataset-fashion-mnist
 *    idx:IMAGES[,LABELS]             MNIST's format, plain or .gz; or a folder of MNIST's names
 * (":test" as below) cifar10:FILE[,FILE...] or a folder with data_batch_*.bin (":test" of a folder:
 * test_batch.bin) cifar100:FILE[,fine|coarse]
 *    csv:FILE[,label=COLUMN|first|last|none][,shape=CxHxW][,scale=1/16]   label: a name or number
 * from 1; default last npy:X.npy,Y.npy folder:DIR[,size=HxW][,channels=1|3]   one sub-folder of
 * PNG/JPEG per class, classes in byte order of their names a bare path: a folder, or a file told by
 * its name u8 data becomes x / 255. Caller owns. NULL: what is wrong, where. Labels are checked
 * against the number of classes. */
KL_API kl_dataset *kl_dataset_open(const char *spec);
/** From memory, copied: samples as f32 of n x count(shape), labels may be NULL. */
KL_API kl_dataset *kl_dataset_from_memory(const float *x, const int32_t *labels, size_t n,
                                          kl_shape sample, int n_classes);
KL_API void kl_dataset_destroy(kl_dataset *d);
KL_API size_t kl_dataset_count(const kl_dataset *d);
KL_API kl_shape kl_dataset_shape(const kl_dataset *d);    /* of one sample: [C,H,W] or [features] */
KL_API int kl_dataset_classes(const kl_dataset *d);       /* 0: no labels */
/** "3" where the data has no names; borrowed */
KL_API const char *kl_dataset_class_name(const kl_dataset *d, int k);
/** Sample i as the model gets it, without augmentation, and its label (-1: none). */
KL_API kl_status kl_dataset_get(const kl_dataset *d, size_t i, float *x, int32_t *label);
/** Cuts off the last floor(n fraction) samples of each class in the order of `seed`'s shuffle as a
 * set of their own (shares the data; both must be destroyed). */
KL_API kl_status kl_dataset_split(kl_dataset *d, double fraction, uint64_t seed, kl_dataset **rest);

/** x becomes (x - mean) / std per channel. */
typedef struct kl_normalise {
    int n; /* channels; 0: none */
    float mean[16], std[16];
} kl_normalise;
/** Mean and standard deviation per channel (per feature up to 16, else over all) of the whole set;
 * a constant one gets std 1. More than 16 channels share one pair. NaN or infinite samples:
 * KL_E_NUMERIC that names the first. */
KL_API kl_status kl_dataset_statistics(const kl_dataset *d, kl_normalise *out);
KL_API void kl_dataset_set_normalise(kl_dataset *d, const kl_normalise *n);
KL_API void kl_dataset_get_normalise(const kl_dataset *d, kl_normalise *n);

/** Drawn per sample from stream `augment` by (seed, sample's number in the data set, epoch):
 * independent of threads and batches. */
typedef struct kl_augment {
    bool flip;        /* left-right, half of the time */
    bool flip_vertical;
    int shift;        /* up to so many pixels each way, zeros move in */
    int crop_pad;     /* pad by so many zeros, cut a random window of the original size */
} kl_augment;
KL_API void kl_dataset_set_augment(kl_dataset *d, const kl_augment *a);

/** One PNG or JPEG as a data set of pictures gives it before normalisation: numbers 0..1 in dst
 * [channels, height, width], channels 1 (grey) or 3 (RGB), resized (bilinear; averaged where it
 * shrinks). */
KL_API kl_status kl_image_load(const char *path, int channels, int height, int width, float *dst);

/* ---- loader: batches made by threads ahead of use -------------------------------------------- */
typedef struct kl_loader kl_loader;
typedef struct kl_loader_opts {
    int batch;          /* default 32 */
    bool shuffle;       /* by (seed, epoch) */
    bool augment;       /* apply the set's augmentation */
    bool drop_last;
    int workers;        /* threads; default 1; 0 stays 1 */
    int ahead;          /* batches made ahead; default 4 */
    uint64_t seed;
    uint32_t reserved[4];
} kl_loader_opts;
typedef struct kl_batch {
    const float *x;        /* [n, sample shape]; loader's memory until the next call */
    const int32_t *labels; /* [n]; NULL without labels */
    size_t n;
    int epoch;
    size_t first;          /* position of its first sample in the epoch's order */
} kl_batch;
/** Begins at sample `position` of `epoch`. The data set must outlive it and stay unchanged. */
KL_API kl_loader *kl_loader_create(kl_dataset *d, const kl_loader_opts *opts, int epoch,
                                   size_t position);
KL_API void kl_loader_destroy(kl_loader *l);
/** The next batch of the epoch; false at its end (the next call begins the next epoch). Errors of
 * files: *status. */
KL_API bool kl_loader_next(kl_loader *l, kl_batch *out, kl_status *status);
KL_API size_t kl_loader_batches(const kl_loader *l); /* per epoch */

#ifdef __cplusplus
}
#endif
#endif
