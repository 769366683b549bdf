/* The door to OpenCL: share a context, a queue, buffers and events with the host application. The
 * only public header with CL/cl.h. */
#ifndef KILN_OPENCL_H
#define KILN_OPENCL_H

#include "model.h"
#include "tensor.h"
#include "train.h"

#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120
#endif
#ifdef __APPLE__
#include <OpenCL/cl.h>
#else
#include <CL/cl.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** Works inside the caller's context and queue, both retained. All work goes to `queue` (one lane,
 * in order or not); nothing is finished behind the caller's back. queue NULL: Kiln makes its own
 * queues in that context. */
KL_API kl_ctx *kl_ctx_from_cl(cl_context context, cl_device_id device, cl_command_queue queue,
                              const kl_ctx_opts *opts);
/** Wraps `mem` from offset_bytes on (a multiple of the element size), without a copy; retains it.
 */
KL_API kl_tensor *kl_tensor_from_cl(kl_ctx *ctx, cl_mem mem, size_t offset_bytes, kl_dtype dtype,
                                    kl_shape shape);
/** The buffer behind a tensor, borrowed, and where in it the tensor begins. */
KL_API cl_mem kl_tensor_cl_mem(const kl_tensor *t, size_t *offset_bytes);
KL_API cl_context kl_ctx_cl_context(const kl_ctx *ctx);      /* borrowed */
KL_API cl_command_queue kl_ctx_cl_queue(const kl_ctx *ctx);  /* borrowed; the compute lane */

/** Asynchronous forms: start after `wait`, signal *done (caller releases; done may be NULL). */
KL_API kl_status kl_model_enqueue(kl_model *m, kl_ctx *ctx, const kl_bind *binds, size_t n_binds,
                                  cl_uint n_wait, const cl_event *wait, cl_event *done);
KL_API kl_status kl_trainer_enqueue(kl_trainer *tr, const kl_bind *binds, size_t n_binds,
                                    cl_uint n_wait, const cl_event *wait, cl_event *done);

/** The event that ends a ticket's pass, borrowed from the ticket; NULL where the pass could not be
 * queued. */
KL_API cl_event kl_ticket_cl_event(const kl_ticket *t);

#ifdef __cplusplus
}
#endif
#endif
