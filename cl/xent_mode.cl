/* What the cross-entropy kernels share: the kind of labels, and bits of `mode`. */
#ifndef KL_XENT_MODE_CL
#define KL_XENT_MODE_CL

#include "common.cl"

#define XENT_KERAS 1   /* a sample's own weight counts for all classes */
#define XENT_WEIGHTS 2 /* there are class weights */
#define XENT_COUNT 4   /* the mean divides by the count of samples, not by their weights */

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

#endif
