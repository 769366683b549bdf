/* How to train, from the command line. */
#ifndef RECIPE_H
#define RECIPE_H

#include "cli.h"

/** Makes the defaults that the command line leaves open part of it, so that args.json tells all. */
int recipe_defaults(args *a);
/** For a training of `per_epoch` steps an epoch. */
int recipe_make(const args *a, int64_t per_epoch, kl_trainer_opts *out);
/** "adamw, lr 0.001 one-cycle" */
char *recipe_text(const args *a, const kl_trainer_opts *o);

#endif
