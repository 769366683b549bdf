/* Between storage layouts: what the layout pass inserts. */
#ifndef KL_OPS_REORDER_H
#define KL_OPS_REORDER_H

#include "ops/node.h"

/** x stored as `to`; the same logical value. Halo and pad lanes of the result are zero. */
kl_node *kl__reorder(kl_graph *g, kl_node *x, const kl__layout *to);

#endif
