/* What the SOLO files of the convolution family share. */
#ifndef KL_OPS_CONV2D_SOLO_H
#define KL_OPS_CONV2D_SOLO_H

#include "ops/conv2d.h"

static inline int64_t up(int64_t n, int64_t c)
{
    return (n + c - 1) / c;
}

static inline int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/** Channels per block of x in storage: v, or 1 where a first layer's few channels stay unpadded. */
int kl__conv_x_block(const kl__conv *c, int v);
/** x in blocks with the cells that forward reads outside of it as halo. */
kl__layout kl__conv_x_layout(const kl__conv *c, int block);
/** A launch of conv2d_solo.cl as its blocking sees it. */
typedef struct kl__conv_shape {
    int v, xb, blocks; /* vector, block of x, blocks of input channels per group */
    int kg, yc, n;     /* blocks of output channels per group and in all, images */
    int rows, cols;    /* of outputs; a flat plane is one row */
    int taps[2];
    int64_t x_cells; /* of a plane of x */
} kl__conv_shape;
typedef struct kl__conv_blocking {
    int px, kb;           /* register tile: pixels, blocks of output channels */
    int blocks, tap_rows; /* blocks of input channels, rows of taps whose weights share L1 */
    int strip;            /* rows per work-item; of a flat plane, pixels */
    int inner;            /* work-items of neighbouring output channels that share a strip of x */
} kl__conv_blocking;
kl__conv_blocking kl__conv_blocking_of(const kl__conv_shape *s, const kl__caps *caps, int config);

size_t kl__conv_weights_scratch(const kl__conv *c, int v);
kl_status kl__conv_weights_emit(kl__emit *e, const kl__apply *a, const kl__conv *c);

#endif
