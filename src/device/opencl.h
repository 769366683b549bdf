/* Every OpenCL function Kiln calls, in one table: filled from the loader by dlopen, or given by a
 * test (recording null device, counters, faults). Only src/device and src/interop may include this.
 */
#ifndef KL_DEVICE_OPENCL_H
#define KL_DEVICE_OPENCL_H

#include "base/error.h"
#include "device/device.h"

#include <CL/cl.h>
#include <CL/cl_icd.h> /* cl_api_* function types */

/* clang-format off */
#define KL__CL_FUNCTIONS(X)                                                                        \
    X(clGetPlatformIDs) X(clGetPlatformInfo) X(clGetDeviceIDs) X(clGetDeviceInfo)                  \
    X(clCreateSubDevices) X(clRetainDevice) X(clReleaseDevice) X(clCreateContext)                  \
    X(clRetainContext) X(clReleaseContext) X(clGetContextInfo) X(clCreateCommandQueue)             \
    X(clRetainCommandQueue) X(clReleaseCommandQueue) X(clGetCommandQueueInfo) X(clCreateBuffer)    \
    X(clRetainMemObject) X(clReleaseMemObject) X(clGetMemObjectInfo)                               \
    X(clCreateProgramWithSource) X(clCreateProgramWithBinary) X(clBuildProgram)                    \
    X(clReleaseProgram) X(clGetProgramInfo) X(clGetProgramBuildInfo) X(clCreateKernel)             \
    X(clReleaseKernel) X(clSetKernelArg) X(clGetKernelWorkGroupInfo) X(clEnqueueNDRangeKernel)     \
    X(clEnqueueReadBuffer) X(clEnqueueWriteBuffer) X(clEnqueueCopyBuffer) X(clEnqueueFillBuffer)   \
    X(clEnqueueMarkerWithWaitList) X(clEnqueueBarrierWithWaitList) X(clWaitForEvents)              \
    X(clGetEventInfo) X(clRetainEvent) X(clReleaseEvent) X(clSetEventCallback)                     \
    X(clGetEventProfilingInfo) X(clFlush) X(clFinish)

/* clang-format on */
typedef struct kl__cl_table {
#define KL__CL_MEMBER(f) cl_api_##f f;
    KL__CL_FUNCTIONS(KL__CL_MEMBER)
#undef KL__CL_MEMBER
} kl__cl_table;

/** The table in use; on first use the loader's. NULL: no loader (error set). Thread-safe. */
const kl__cl_table *kl__cl(void);
/** Test hook: use this table from now on; NULL: back to the loader's. Only while no context lives.
 */
void kl__cl_set_table(const kl__cl_table *table);
bool kl__cl_started(void);   /* has anybody asked for the table yet? */
bool kl__cl_is_loader(void); /* CLBlast may be used only then: it calls the loader itself */

const char *kl__cl_code_name(cl_int code); /* "CL_OUT_OF_RESOURCES" */
/** `CALL of KERNEL on DEVICE: CL_NAME (-5)`; what and ctx may be NULL. KL_E_DEVICE (or KL_E_MEMORY,
 * KL_E_BUILD by code). */
kl_status kl__cl_fail(const kl_ctx *ctx, const char *call, const char *what, cl_int code);

/* What interop needs. */
kl_ctx *kl__ctx_wrap(cl_context context, cl_device_id device, cl_command_queue queue,
                     const kl_ctx_opts *opts);
cl_context kl__ctx_cl(const kl_ctx *ctx);
cl_command_queue kl__lane_cl(const kl__lane *lane);
kl__mem *kl__mem_wrap(kl_ctx *ctx, cl_mem mem);
/** From now on the buffer is never reused for another: the caller may keep it, or use it in queues
 * of its own. */
cl_mem kl__mem_cl(kl__mem *mem);
static inline cl_event kl__event_cl(kl__event e)
{
    return (cl_event)e.h;
}

#endif
