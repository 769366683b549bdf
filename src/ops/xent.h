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
    bool hits; /* an output for metrics; hard labels of logits [N,K] */
    bool grad; /* the last output: the gradient of the sum of losses by the logits */
} kl__xent;
/** Outputs: sum of losses [], sum of weights [], hits [2] (samples whose first largest logit is the
 * label's, samples with a label in 0..K-1), gradient [N,K,...]. */
static inline int kl__xent_outputs(const kl__xent *k)
{
    return 2 + k->hits + k->grad;
}
/** The hits of these logits and labels where an xent of g counts them; else NULL. */
kl_node *kl__xent_hits(const kl_graph *g, const kl_node *logits, const kl_node *labels);

/** Logits in[0] and labels in[1] fit each other. */
kl_status kl__xent_check(const kl__apply *a, float smoothing);
static inline bool kl__xent_soft(const kl__apply *a)
{
    return a->in[1]->desc.dtype != KL_I32;
}

#endif
