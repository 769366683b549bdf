/* A table around any other that slows one device down: after each launch on it, its queue is
 * finished and (m - 1) times the time that this took is slept. Where a thread of its own drives the
 * device, it alone is slowed. */
#ifndef SUPPORT_SLOW_CL_H
#define SUPPORT_SLOW_CL_H

#include "device/opencl.h"

/** Wraps `inner`; no device is slow. */
void slow_cl_wrap(const kl__cl_table *inner);
const kl__cl_table *slow_cl_table(void);
/** The device of the context, from now on, is m (>= 1) times slower; m 1: as it is. At any time,
 * from any thread; one device at most. */
void slow_cl_set(const kl_ctx *ctx, double m);
/** Seconds that its launches took, without the sleep; and how many there were. */
double slow_cl_seconds(void);
uint64_t slow_cl_launches(void);

#endif
