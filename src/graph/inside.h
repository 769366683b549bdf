/* What the passes share. */
#ifndef KL_GRAPH_INSIDE_H
#define KL_GRAPH_INSIDE_H

#include "graph/graph.h"

/** After applies were taken away or replaced: nodes are those that the applies make, ids are
 * positions, names are known. */
kl_status kl__graph_compact(kl_graph *g);
/** The value whose bytes x is: through views, and through what STATE ops overwrite in place. */
const kl_node *kl__same_bytes(const kl_node *x);
/** By node id: how often each value is read; outputs, update values and placed values count one
 * more. */
void kl__count_uses(const kl_graph *g, uint32_t *uses);
/** Is an input of p overwritten in place by an apply between p and position `end`? */
bool kl__overwritten(const kl__apply *p, uint32_t end);

#endif
