/* Codecs between files and host arrays. Uses base only: no shapes, tensors or devices here. */
#ifndef KL_IO_IO_H
#define KL_IO_IO_H

#include "base/error.h"

typedef enum kl__elem {
    KL__U8,
    KL__I8,
    KL__I16,
    KL__U16,
    KL__I32,
    KL__I64,
    KL__F16,
    KL__F32,
    KL__F64,
    KL__BOOL
} kl__elem;
size_t kl__elem_size(kl__elem e);

/** An array as a file holds it: host byte order, C order. */
typedef struct kl__array {
    kl__elem elem;
    int n_dims;
    int64_t dim[8];
    void *data; /* kl__alloc'ed, n_bytes long */
    size_t n_bytes;
} kl__array;
void kl__array_free(kl__array *a);
/** Elements first..first+n converted to float (u8 as 0..255, no scaling). */
void kl__array_to_float(const kl__array *a, size_t first, size_t n, float *dst);

/* In all of these a failure leaves *out zeroed and the sentence says file, place and reason. No
 * length from a file is allocated before it was compared with what the file has. */

/** IDX (MNIST), plain or .gz. */
kl_status kl__idx_read(const char *path, kl__array *out);

/** NumPy .npy, versions 1 to 3, little-endian or byte types, C order. */
kl_status kl__npy_read(const char *path, kl__array *out);
kl_status kl__npy_write(const char *path, const kl__array *a);

/** CIFAR binary: records of n_label bytes (1: CIFAR-10, 2: CIFAR-100, coarse then fine) + 3072
 * planar RGB bytes. images: u8 [n,3,32,32]; labels: u8 [n,n_label]. */
kl_status kl__cifar_read(const char *path, int n_label, kl__array *images, kl__array *labels);

/** CSV(.gz), RFC 4180 quotes; all cells numbers but for an optional header line, found by its first
 * cell that is no number. out: f64 [rows, columns]. header: NULL, or the names ('\n'-separated),
 * fresh memory, NULL where none. */
kl_status kl__csv_read(const char *path, kl__array *out, char **header);

/** PNG or JPEG by magic bytes, to u8 [channels, height, width], channels 1 or 3 as asked (0: as the
 * file, alpha composed on white, palettes expanded, 16 bits cut to 8, CMYK converted, EXIF
 * orientation applied). At most `max_pixels` (0: 2^28). */
kl_status kl__image_read(const char *path, int channels, size_t max_pixels, kl__array *out);
/** u8 [1 or 3, h, w] to a PNG file, or into memory (*data kl__alloc'ed). */
kl_status kl__png_write(const char *path, const kl__array *a);
kl_status kl__png_encode(const kl__array *a, uint8_t **data, size_t *n);
/** Bilinear resize of u8 [c,h,w] with half-pixel centres (antialiased by box averaging when
 * shrinking). */
kl_status kl__image_resize(const kl__array *in, int height, int width, kl__array *out);

/** safetensors. Reading keeps the whole file in memory. */
typedef struct kl__st_entry {
    const char *name;
    kl__array array; /* data points into the file */
} kl__st_entry;
typedef struct kl__st kl__st;
/* NULL: see the error; every rule of the format is checked */
kl__st *kl__st_open(const char *path);
void kl__st_close(kl__st *st);
size_t kl__st_count(const kl__st *st);
const kl__st_entry *kl__st_at(const kl__st *st, size_t i);
const kl__st_entry *kl__st_find(const kl__st *st, const char *name); /* NULL: none */
const char *kl__st_meta(const kl__st *st, const char *key);          /* NULL: none */
size_t kl__st_n_meta(const kl__st *st);
const char *kl__st_meta_at(const kl__st *st, size_t i, const char **value); /* the key */

/** Writing: the file appears whole or not at all (kl__writer). Tensors are written in the order
 * given, data 64-byte aligned from the file's start; metadata keys and values are any UTF-8. */
typedef struct kl__st_meta_pair { const char *key, *value; } kl__st_meta_pair;
kl_status kl__st_write(const char *path, const kl__st_entry *entries, size_t n,
                       const kl__st_meta_pair *meta, size_t n_meta);

#endif
