/* A table around any other: counts calls by name, counts objects, and makes a chosen call fail. */
#ifndef SUPPORT_FAULT_CL_H
#define SUPPORT_FAULT_CL_H

#include "device/opencl.h"

/** Wraps `inner`; counts and faults start anew. */
void fault_cl_wrap(const kl__cl_table *inner);
const kl__cl_table *fault_cl_table(void);

/** From now on the nth (1, 2, ...) call of `name` (NULL: of any function) fails, and with `forever`
 * all after it. code 0: one that the function may give. nth 0: none. A release that fails has
 * released all the same. */
void fault_cl_at(const char *name, uint64_t nth, bool forever, cl_int code);
/** Name of the function that failed since then; NULL: none. */
const char *fault_cl_failed(void);

uint64_t fault_cl_total(void);
uint64_t fault_cl_calls(const char *name);
uint64_t fault_cl_creates(void); /* clCreate* that succeeded */
int64_t
fault_cl_live(void); /* references of all kinds: creates, retains and events less releases */
typedef enum fault_cl_kind {
    FAULT_NONE,
    FAULT_DEVICE,
    FAULT_CONTEXT,
    FAULT_QUEUE,
    FAULT_MEM,
    FAULT_PROGRAM,
    FAULT_KERNEL,
    FAULT_EVENT,
    FAULT_KINDS
} fault_cl_kind;
int64_t fault_cl_live_of(fault_cl_kind kind);

/* ---- one device of several: all calls about the context, a queue, buffer, program, kernel or
 * event of it. Devices are told apart by what was made through this table, and numbered from 0 in
 * the order in which a context was first asked for on them. So a number names also a device that
 * has no context yet: clCreateContext is its first call. */

/** How many calls were about the device of `ctx` since fault_cl_wrap: the n to try below. */
uint64_t fault_cl_device_calls(const kl_ctx *ctx);
uint64_t fault_cl_number_calls(int number);
/** The nth call from now on (1, 2, ...) about that device fails with `code`, and so do all after
 * it: it is gone. What it has under way ends first. Releases release all the same. One device at a
 * time; nth 0: none. */
void fault_cl_device_dies(const kl_ctx *ctx, uint64_t nth, cl_int code);
void fault_cl_number_dies(int number, uint64_t nth, cl_int code);
/** From its nth call from now on that device hangs: what is enqueued there does not end (its
 * events stay CL_RUNNING, their callbacks do not come, clFinish and clWaitForEvents do not return),
 * until fault_cl_device_wakes. What was enqueued before ends. Where the wrapped table is the
 * loader's own, none of it begins before then. Any other carries all commands out: late is only
 * what they tell. */
void fault_cl_device_hangs(const kl_ctx *ctx, uint64_t nth);
void fault_cl_number_hangs(int number, uint64_t nth);
/** The function of its call that died or hung first, since that was set; NULL: none yet. */
const char *fault_cl_device_failed(void);
/** All is as if it had been slow: what did not begin ends, and held back callbacks come, before
 * this returns. */
void fault_cl_device_wakes(void);

#endif
