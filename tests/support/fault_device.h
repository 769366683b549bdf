/* The part of fault_cl that knows devices. */
#ifndef SUPPORT_FAULT_DEVICE_H
#define SUPPORT_FAULT_DEVICE_H

#include "device/opencl.h"

/** Nothing is known, nothing is wrong. */
void fault_device_forget(const kl__cl_table *inner);
/** Gives a device on which a context is asked for its number. Returns it. */
const void *fault_device_meet(const void *device);
/** `o` was made from `of`, a device or something made from one. */
void fault_device_know(const void *o, const void *of);
/** Before a command is enqueued. */
void fault_device_enqueue(cl_command_queue queue);
/** An event of a command in `queue`. */
void fault_device_command(cl_event e, cl_command_queue queue);
/** Counts a call of `name` about `o`; the code that it fails with, 0: it does not. */
cl_int fault_device_call(const void *o, const char *name);
bool fault_device_held(cl_event e);
/** Before a queue is released: what it holds may end. */
void fault_device_queue_ends(cl_command_queue queue);
/** Returns when the event does not hang; or the queue's device. */
void fault_device_block(const void *o, bool queue);
cl_int fault_device_callback(const kl__cl_table *in, cl_event e, cl_int when,
                             void(CL_CALLBACK *fn)(cl_event, cl_int, void *), void *user);

#endif
