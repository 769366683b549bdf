/* A table around a driver's that lets one device fail, or hang, at a chosen call: every call that
 * is for it or for what was made on it counts. The others go on. A device is known by its context.
 */
#ifndef SUPPORT_KILL_CL_H
#define SUPPORT_KILL_CL_H

#include "device/opencl.h"

/** Wraps `inner`: no device fails, nothing is known yet. */
void kill_cl_wrap(const kl__cl_table *inner);
const kl__cl_table *kill_cl_table(void);

/** From now on calls are counted for the context of this number, in order of creation from 0 since
 * the wrap. The nth (1, 2, ...) of them fails and so do all after it; what releases and retains
 * says that it failed, and was done. 0: none. */
void kill_cl_at(int context, uint64_t nth);
/** The same, but from that call on what is put into its queues never begins, while all calls but
 * waits go well, until kill_cl_wake. */
void kill_cl_hang_at(int context, uint64_t nth);
/** What hung goes on and ends. */
void kill_cl_wake(void);
uint64_t kill_cl_calls(void); /* of that context since then */
const char *kill_cl_what(void); /* function of the call that failed first; NULL: none yet */

#endif
