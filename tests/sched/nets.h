/* Small nets and data for the scheduler's tests. */
#ifndef KL_TESTS_SCHED_NETS_H
#define KL_TESTS_SCHED_NETS_H

#include <kiln/kiln.h>

enum {
    NET_C = 2,
    NET_HW = 8,
    NET_IMAGE = NET_C * NET_HW * NET_HW,
    NET_CLASSES = 4,
    NET_MAX_BATCH = 32
};

/** conv - batch norm - relu - max pool - dense - dropout - dense, inputs "image" and "label",
 * outputs "logits", "loss". */
kl_graph *net_cnn(bool dropout);
kl_model *net_model(bool dropout, uint64_t seed);

/** A batch that depends on `k` alone. */
typedef struct net_batch {
    float x[NET_MAX_BATCH * NET_IMAGE];
    int32_t y[NET_MAX_BATCH];
    kl_bind binds[2];
} net_batch;
void net_fill(net_batch *b, int n, int k);
/** All parameters after each other; free() it. */
float *net_params(kl_model *m, size_t *n);

#endif
