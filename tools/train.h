/* kiln train, its options apart. */
#ifndef TRAIN_H
#define TRAIN_H

#include "cli.h"

int run_train(args *a);

#endif
