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

#endif
