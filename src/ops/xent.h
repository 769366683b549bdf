/* The hidden ops of softmax cross-entropy. Inputs logits [N,K,...], labels (i32 [N,...] or as the
 * logits), class weights [K] where `weights`. */
#ifndef KL_OPS_XENT_H
#define KL_OPS_XENT_H

#include "ops/op.h"

typedef struct kl__xent {
    float smoothing;
    int ignore_index;
    kl_compat compat;
    bool weights;
} kl__xent;

/** Logits in[0] and labels in[1] fit each other. */
kl_status kl__xent_check(const kl__apply *a, float smoothing);
static inline bool kl__xent_soft(const kl__apply *a)
{
    return a->in[1]->desc.dtype != KL_I32;
}

#endif
