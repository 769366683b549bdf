/* What a tensor is inside, and what a value's storage looks like. */
#ifndef KL_TENSOR_TENSOR_H
#define KL_TENSOR_TENSOR_H

#include "device/device.h"

#include <kiln/tensor.h>

struct kl_tensor {
    kl_ctx *ctx;
    kl__span span;
    kl_dtype dtype;
    kl_shape shape;
    int refs; /* atomic */
};
/** Wraps memory; retains it. */
kl_tensor *kl__tensor_wrap(kl_ctx *ctx, kl__span span, kl_dtype dtype, kl_shape shape);

/* ---- storage layout: the graph's choice, never the user's ------------------------------------ */
typedef enum kl__layout_kind {
    KL__PLAIN, /* C order of the logical shape */
    /* rank 4: [N, ceil(C/c), top+H+bottom, left+W+right, c]; channels padded with zeros, halo
     * zero */
    KL__NCHWC,
    KL__OIHWC,  /* rank 4 weights [O,I,H,W]: [ceil(O/c), ceil(I/c), H, W, c of I, c of O], padded
                   with zeros */
    KL__OIHWCT, /* the same with the last two turned round: [..., c of O, c of I] */
    /* weights [O,I,k,k], k 3 or 5, transformed for Winograd: 36 planes, each of [ceil(O/c), I
     * padded to blocks, c of O] and c zeros more, so that planes do not share sets of a cache */
    KL__WINO,
    /* the same turned round for backward data, taps reversed: [ceil(I/c), O padded, c of I] */
    KL__WINO_SWAP
} kl__layout_kind;
typedef struct kl__layout {
    kl__layout_kind kind;
    int block;   /* c: 16, 8, 4; 0 where plain */
    int halo[4]; /* top, left, bottom, right zeros around H x W; NCHWC only */
} kl__layout;
bool kl__layout_equal(const kl__layout *a, const kl__layout *b);

/** A value: what is known of it without its data. */
typedef struct kl__desc {
    kl_dtype dtype;
    kl_shape shape; /* logical */
    kl__layout layout;
} kl__desc;
/** Elements in storage, halo and pad lanes included; false where it overflows, a dimension is
 * KL_BATCH, or there are more than 2^31 - 1 (kernels index with 32 bits inside a tensor). */
bool kl__desc_elems(const kl__desc *d, size_t *elems);
/** Rank, dimensions (KL_BATCH allowed) and size are possible; false sets the sentence. */
bool kl__desc_legal(const kl__desc *d);
bool kl__desc_bytes(const kl__desc *d, size_t *bytes);
void kl__put_shape(kl__text *t, kl_shape s); /* [N,1,28,28] */
/** The same into a buffer of 96; returns it. For error sentences. */
const char *kl__shape_str(kl_shape s, char buf[96]);
static inline kl_shape kl__shape4(int64_t a, int64_t b, int64_t c, int64_t d)
{
    kl_shape s = {4, {a, b, c, d}};
    return s;
}

/** Host conversions between dtypes (f16 rounds to nearest even). */
void kl__convert(void *dst, kl_dtype to, const void *src, kl_dtype from, size_t n);

#endif
