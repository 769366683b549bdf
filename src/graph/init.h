/* Initial values of parameters. */
#ifndef KL_GRAPH_INIT_H
#define KL_GRAPH_INIT_H

#include "ops/node.h"

/** Writes all elements of the parameter `name`, drawn from stream init/NAME: the same bits
 * everywhere. */
void kl__init_fill(const kl__leaf *l, const char *name, uint64_t seed, float *dst);

#endif
