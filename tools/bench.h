/* What the files of `kiln bench` share. */
#ifndef BENCH_H
#define BENCH_H

#include "cli.h"

/** kiln bench --op. */
int bench_op(args *a);

#endif
