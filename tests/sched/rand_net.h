/* Small random nets, and their training passes as plans. */
#ifndef KL_TESTS_SCHED_RAND_NET_H
#define KL_TESTS_SCHED_RAND_NET_H

#include "sched/lanes.h"
#include "sched/model.h"
#include "sched/stepper.h"

/** Convolutions, batch norms, pools, skips and dense layers; inputs "image" [N,3,8,8] and "label",
 * outputs "logits" and "loss". */
kl_graph *rand_net(uint32_t seed);

typedef struct net_pass {
    kl_ctx *ctx;
    kl_model *model;
    kl__plan *plan;
    kl__mem *in[2], *outs; /* all outputs lie in outs */
} net_pass;
/** The training pass of `g` (taken over) for n samples, its inputs bound. */
void net_pass_open(net_pass *p, kl_ctx *ctx, kl_graph *g, int64_t n, const kl__plan_opts *opts);
void net_pass_close(net_pass *p);

#endif
