/* A table around the null table: notes what each command depends on and touches, and takes one
 * dependency away. A dependency is an entry of a wait list, or (on an out-of-order queue) what a
 * barrier or marker without one waits for.
 *
 * From what was noted follows which dependencies matter: one is redundant where, without it, every
 * pair of accesses of which one changes what the other sees is still ordered by the others, by
 * in-order queues and by what the host waited for. */
#ifndef SUPPORT_DROP_CL_H
#define SUPPORT_DROP_CL_H

#include "device/opencl.h"

/** Wraps `inner`, the null table; notes are forgotten. From one thread only. */
void drop_cl_wrap(const kl__cl_table *inner);
const kl__cl_table *drop_cl_table(void);
/** From the next wrap on, the nth dependency (1, 2, ...) is not passed on. 0: none. */
void drop_cl_at(size_t nth);
/** From now on an event that has ended says so when asked for the fourth time only: all orders of
 * execution then have the same calls, and a dependency is not found needless because a poll came
 * late. */
void drop_cl_slow_polls(bool on);
/** The host reads or changes this memory now: what was queued for it must have been done. */
void drop_cl_host(const void *at, size_t bytes);

size_t drop_cl_count(void); /* dependencies met since the wrap */
/** Whether the run as noted needs the nth dependency (0: whether it lacks one). *late: the number,
 * from 1, of a command that may then come too late. */
bool drop_cl_needed(size_t nth, uint64_t *late);
/** "clEnqueueCopyBuffer (command 12)": whose it is. */
const char *drop_cl_name(size_t nth);

#endif
