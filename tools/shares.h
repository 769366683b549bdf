/* What each device of a training does, for people and scripts. */
#ifndef SHARES_H
#define SHARES_H

#include "cli.h"

#include <jansson.h>

typedef struct shares {
    const group *group;
    kl_share of[KL_MAX_GROUP];
    size_t n;
    int total; /* shards of a step */
} shares;

/** Fresh memory: several devices' shares are large. NULL group or one device: nothing to tell. */
shares *shares_create(const group *g);
/** Asks the trainer; waits for nothing. */
void shares_take(shares *s, const kl_trainer *tr);
/** "  9:7, 820 + 640" for the progress line; "" where there is one device. */
const char *shares_brief(char out[96], const shares *s);
/** A line per device. */
void shares_print(FILE *to, const shares *s);
json_t *shares_json(const shares *s);

#endif
