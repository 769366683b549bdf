/* Kernels chosen among others, for people and scripts: what `tune` and `explain` share. */
#ifndef CHOICE_H
#define CHOICE_H

#include "cli.h"

#include <jansson.h>

/** The entry called `name`; NULL: none. */
const kl_alternative *choice_find(const kl_choice *c, const char *name);
/** "340 us", or "" where it was not measured. */
const char *choice_time(char out[32], double seconds);
/** "solo 1.2 ms, solo@1 1.1 ms": all that fit, by_rule first; free() it. */
char *choice_others(const kl_choice *c);
json_t *choice_json(const kl_choice *c);
/** Options --train, --infer, --batch, --loss and the model of operand 0; a model that has no loss
 * needs one for --train. 0, or the exit code after a message. */
int choice_opts(const args *a, const char *loss, kl_tune_opts *o);

#endif
