/* Small random nets for training, and their batches: all follows from a seed. */
#ifndef SUPPORT_RANDOM_NET_H
#define SUPPORT_RANDOM_NET_H

#include "base/rng.h"

#include <kiln/kiln.h>

/** Draws in a row. */
typedef struct random_dice {
    kl__rng r;
    uint64_t i;
} random_dice;
random_dice random_dice_of(uint64_t seed, const char *stream);
int random_below(random_dice *d, int n); /* 0 .. n-1 */

enum { RANDOM_NET_INPUTS = 4, RANDOM_NET_OUTPUTS = 3 };

typedef struct random_net {
    kl_graph *graph;
    int n_inputs; /* the last is the target of the loss */
    const char *input[RANDOM_NET_INPUTS];
    size_t sample[RANDOM_NET_INPUTS]; /* numbers of four bytes each */
    bool label[RANDOM_NET_INPUTS];    /* i32 below `classes` */
    int classes;
    const char *logits; /* NULL: the loss has no classes */
    int n_outputs;      /* without the loss */
    const char *output[RANDOM_NET_OUTPUTS];
    size_t output_sample[RANDOM_NET_OUTPUTS];
} random_net;

/** One to three data inputs of one size, each through convolutions, batch norms, pools, residual
 * blocks, joined by sum or concat; or vectors through dense layers. Outputs "loss", "logits" or
 * "out", sometimes "mid". The builders must take it all: a graph with an error is returned as it
 * is. */
random_net random_net_make(uint64_t seed);
void random_net_free(random_net *n);

/** Host memory of one batch, bound to all inputs. */
typedef struct random_batch {
    int n;
    float *values[RANDOM_NET_INPUTS];
    kl_bind bind[RANDOM_NET_INPUTS];
} random_batch;
/** `n` samples that depend on k; free with random_batch_free. */
random_batch random_batch_make(const random_net *net, int n, uint64_t k);
void random_batch_free(random_batch *b);

#endif
