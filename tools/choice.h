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

/* ---- tuning beside a training (side_tuning.c) ------------------------------------------------ */
typedef struct side_tuning {
    kl_model *model; /* NULL: off */
    kl_ctx *ctx;
    const char *loss;
    int64_t batch;
    double begin, spent, most; /* seconds: start of the training; on tuning; of the longest piece */
    kl_tuner *tuner;           /* made when there is time */
    bool off;
} side_tuning;
/** Call between steps: measures one kind of work where tuning stays within 5 % of the time. What
 * is found is for later runs; this one's bits do not depend on the clock. */
void side_tuning_step(side_tuning *s);
void side_tuning_end(side_tuning *s);

#endif
