/* What the codecs of this floor share; nobody above needs it. */
#ifndef KL_IO_INSIDE_H
#define KL_IO_INSIDE_H

#include "base/file.h"
#include "io/io.h"

/** Bytes that `dim` asks for; KL_E_FORMAT naming `path` where a dimension is negative or the
 * product wraps. */
kl_status kl__array_size(const char *path, kl__elem elem, int n_dims, const int64_t *dim,
                         size_t *bytes);

/** Sets shape and n_bytes of *out; no data yet. At most 8 dims (the caller checks). */
kl_status kl__array_shape(const char *path, kl__array *out, kl__elem elem, int n_dims,
                          const int64_t *dim);

/** `want` bytes of `r` into fresh memory, which grows with the bytes that arrive, so a length that
 * lies costs at most twice what the file holds. `what` names them in the sentence. */
kl_status kl__read_growing(kl__reader *r, const char *path, const char *what, size_t want,
                           uint8_t **data);

/** out->n_bytes bytes of `r` into out->data, then insists on the end of the file. Zeroes *out on
 *  failure. */
kl_status kl__array_fill(kl__reader *r, const char *path, kl__array *out);

/** Reverses the bytes of each of n elements of `size` bytes. */
void kl__swap(void *data, size_t n, size_t size);

/** The elements, little-endian, to a file. */
kl_status kl__array_put(kl__writer *w, const kl__array *a);

static inline bool kl__host_is_big(void)
{
    const uint16_t one = 1;
    return *(const unsigned char *)&one == 0;
}

/** A decoded picture before orientation and conversion: rows of interleaved u8. */
typedef struct kl__pixels {
    size_t width, height;
    int channels;    /* 1, 2 (grey, alpha), 3 or 4 (RGB, alpha) */
    int orientation; /* EXIF's, 1..8 */
    uint8_t *data;   /* kl__alloc'ed */
} kl__pixels;

/** Decoders: `file` is the whole file; on failure px->data is NULL. */
kl_status kl__png_decode(const char *path, const uint8_t *file, size_t n, size_t max_pixels,
                         kl__pixels *px);
kl_status kl__jpeg_decode(const char *path, const uint8_t *file, size_t n, size_t max_pixels,
                          kl__pixels *px);

/** The picture's size against the limit and against `most`, the pixels that a file of this length
 * can code; then the memory for it. */
kl_status kl__pixels_make(const char *path, kl__pixels *px, size_t max_pixels, size_t most);

/** Orientation in a TIFF block (what follows "Exif\0\0"); 1 where there is none or the block is
 * broken. */
int kl__exif_orientation(const uint8_t *tiff, size_t n);

/** A tensor while its place is being checked: bytes begin..end of the data. */
typedef struct kl__st_span {
    size_t begin, end, index; /* index: place in the header */
    kl__st_entry entry;
} kl__st_span;

struct json_t;
/** Everything of *sp but index, from one member of the header; `name` is kept, not copied. */
kl_status kl__st_span_read(const char *path, const char *name, const struct json_t *j,
                           kl__st_span *sp);

#define KL__ST_ENTRIES_MAX 100000    /* tensors in a safetensors file */
#define KL__ST_HEADER_MAX 100000000u /* bytes, the format's own limit */

/** "F32"; NULL where e is no element. */
const char *kl__st_dtype(kl__elem e);

#endif
