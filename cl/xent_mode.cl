/* What the cross-entropy kernels share: the kind of labels, and bits of `mode`. */
#ifndef KL_XENT_MODE_CL
#define KL_XENT_MODE_CL

#include "common.cl"

#define XENT_KERAS 1   /* a sample's own weight counts for all classes */
#define XENT_WEIGHTS 2 /* there are class weights */
#define XENT_COUNT 4   /* the mean divides by the count of samples, not by their weights */
#define XENT_HITS 8    /* samples whose largest logit is the label's are counted */
#define XENT_GRAD 16   /* the gradient of the sum of losses is made too */

/* SOFT: labels are T as the logits; else int, one a sample. */
#ifdef SOFT
#define LABEL T
#define LABEL_AT(i, at) (at)
#define XENT_CAN_IGNORE 0
#else
#define LABEL int
#define LABEL_AT(i, at) (i)
#define XENT_CAN_IGNORE 1
#endif

/* Partial results of n work-items: loss[i], weight[i], hits[i], hits[n + i] (samples counted). */
#define XENT_PARAMS                                                                                \
    global const T *x, ulong x_at, global const LABEL *t, ulong t_at, global const T *cw,          \
        ulong cw_at, global T *loss, ulong loss_at, global T *weight, ulong weight_at,             \
        global T *hits, ulong hits_at, global T *dx, ulong dx_at

#endif
