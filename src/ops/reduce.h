/* Reductions as the other families use them: the gradient of a broadcast is a sum, that of a sum a
 * broadcast. */
#ifndef KL_OPS_REDUCE_H
#define KL_OPS_REDUCE_H

#include "ops/op.h"

/** x summed down to `like`, which broadcasts to x's shape (NumPy: aligned at the right, 1
 * stretches; -1 is the batch). x itself where the shapes are equal. */
kl_node *kl__sum_to(kl_graph *g, kl_node *x, kl_shape like);
/** x stretched to `shape`, NumPy rules; x itself where the shapes are equal. */
kl_node *kl__broadcast_to(kl_graph *g, kl_node *x, kl_shape shape);

#endif
