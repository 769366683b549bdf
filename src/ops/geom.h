/* Geometry of windows that slide over height and width: convolution and pooling. */
#ifndef KL_OPS_GEOM_H
#define KL_OPS_GEOM_H

#include "base/error.h"

#include <kiln/ops.h>

/** A window on an input of known height and width. Index 0 is height, 1 is width. */
typedef struct kl__geom {
    int window[2], stride[2], dilation[2]; /* all at least 1 */
    int pad[4];                            /* top, left, bottom, right: explicit, SAME resolved */
    int64_t in[2], out[2];
} kl__geom;

/** Resolves `pad` and the output size. A zero width of window, stride or dilation stands for the
 * height's value, a zero height of stride or dilation for 1 (of the window: an error). stride or
 * dilation NULL: 1. ceil_mode rounds the output up and drops a window that would begin in the
 * bottom or right pad; pad[] stays as given, so the last window may reach past it. Errors begin
 * with: OP "NAME": */
kl_status kl__geom_resolve(const char *op, const char *name, const int window[2], const int *stride,
                           const int *dilation, kl_pad pad, bool ceil_mode, int64_t h, int64_t w,
                           kl__geom *g);

/** Cells that a window covers along axis i, dilation included. */
static inline int64_t kl__geom_extent(const kl__geom *g, int i)
{
    return (int64_t)g->dilation[i] * (g->window[i] - 1) + 1;
}

/** Fills the zeros of a pair: width from height, height from `dflt`. */
void kl__geom_pair(const int *given, int dflt, int out[2]);

#endif
