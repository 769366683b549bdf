/* Running statistics, in place. */
#ifndef KL_OPS_RUNNING_UPDATE_H
#define KL_OPS_RUNNING_UPDATE_H

#include "ops/op.h"

typedef struct kl__running {
    float momentum; /* torch: share of the new value; keras: of the old one */
    kl_compat compat;
} kl__running;

#endif
