/* Between storage layouts: what the layout pass inserts. */
#ifndef KL_OPS_REORDER_H
#define KL_OPS_REORDER_H

#include "ops/op.h"

/** x stored as `to`; the same logical value. Halo and pad lanes of the result are zero. */
kl_node *kl__reorder(kl_graph *g, kl_node *x, const kl__layout *to);

static inline bool kl__is_wino(kl__layout_kind kind)
{
    return kind == KL__WINO || kind == KL__WINO_SWAP;
}
/* Weights to Winograd form (reorder_wino.c). */
bool kl__reorder_wino_fits(const kl__apply *a, const kl__caps *caps);
kl_status kl__reorder_wino_emit(kl__emit *e, const kl__apply *a);
kl_status kl__reorder_wino_ref(kl__emit *e, const kl__apply *a);

#endif
