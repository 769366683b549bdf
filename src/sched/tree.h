/* The fixed tree in which the shards' sums are added, whoever made them. Node (level k, index i) is
 * the sum of shards i 2^k .. (i+1) 2^k - 1; two neighbours under one parent are added, right +=
 * left; where S is no power of two, the last nodes are added from right to left. So the order of
 * additions depends on S alone. */
#ifndef KL_SCHED_TREE_H
#define KL_SCHED_TREE_H

#include <stdbool.h>

typedef struct kl__node_id {
    int level, index;
} kl__node_id;

enum { KL__MAX_LEVELS = 9, KL__MAX_NODES = 2 * KL__MAX_LEVELS };

/** The nodes, in their order, that shards first .. end-1 give when all is added that can be without
 * the other shards. Returns how many. */
int kl__tree_nodes(int first, int end, kl__node_id out[KL__MAX_NODES]);

static inline int kl__node_first(kl__node_id n)
{
    return n.index << n.level;
}
static inline int kl__node_end(kl__node_id n)
{
    return (n.index + 1) << n.level;
}

#endif
