/* OpenCL codes by name, and the sentence of a failed call. */
#include "device/ctx.h"

/* clang-format off */
#define CODES(X)                                                                                   \
    X(CL_SUCCESS, 0) X(CL_DEVICE_NOT_FOUND, -1) X(CL_DEVICE_NOT_AVAILABLE, -2)                     \
    X(CL_COMPILER_NOT_AVAILABLE, -3) X(CL_MEM_OBJECT_ALLOCATION_FAILURE, -4)                       \
    X(CL_OUT_OF_RESOURCES, -5) X(CL_OUT_OF_HOST_MEMORY, -6)                                        \
    X(CL_PROFILING_INFO_NOT_AVAILABLE, -7) X(CL_MEM_COPY_OVERLAP, -8)                              \
    X(CL_IMAGE_FORMAT_MISMATCH, -9) X(CL_IMAGE_FORMAT_NOT_SUPPORTED, -10)                          \
    X(CL_BUILD_PROGRAM_FAILURE, -11) X(CL_MAP_FAILURE, -12)                                        \
    X(CL_MISALIGNED_SUB_BUFFER_OFFSET, -13) X(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST, -14)   \
    X(CL_COMPILE_PROGRAM_FAILURE, -15) X(CL_LINKER_NOT_AVAILABLE, -16)                             \
    X(CL_LINK_PROGRAM_FAILURE, -17) X(CL_DEVICE_PARTITION_FAILED, -18)                             \
    X(CL_KERNEL_ARG_INFO_NOT_AVAILABLE, -19) X(CL_INVALID_VALUE, -30)                              \
    X(CL_INVALID_DEVICE_TYPE, -31) X(CL_INVALID_PLATFORM, -32) X(CL_INVALID_DEVICE, -33)           \
    X(CL_INVALID_CONTEXT, -34) X(CL_INVALID_QUEUE_PROPERTIES, -35)                                 \
    X(CL_INVALID_COMMAND_QUEUE, -36) X(CL_INVALID_HOST_PTR, -37) X(CL_INVALID_MEM_OBJECT, -38)     \
    X(CL_INVALID_IMAGE_FORMAT_DESCRIPTOR, -39) X(CL_INVALID_IMAGE_SIZE, -40)                       \
    X(CL_INVALID_SAMPLER, -41) X(CL_INVALID_BINARY, -42) X(CL_INVALID_BUILD_OPTIONS, -43)          \
    X(CL_INVALID_PROGRAM, -44) X(CL_INVALID_PROGRAM_EXECUTABLE, -45)                               \
    X(CL_INVALID_KERNEL_NAME, -46) X(CL_INVALID_KERNEL_DEFINITION, -47) X(CL_INVALID_KERNEL, -48)  \
    X(CL_INVALID_ARG_INDEX, -49) X(CL_INVALID_ARG_VALUE, -50) X(CL_INVALID_ARG_SIZE, -51)          \
    X(CL_INVALID_KERNEL_ARGS, -52) X(CL_INVALID_WORK_DIMENSION, -53)                               \
    X(CL_INVALID_WORK_GROUP_SIZE, -54) X(CL_INVALID_WORK_ITEM_SIZE, -55)                           \
    X(CL_INVALID_GLOBAL_OFFSET, -56) X(CL_INVALID_EVENT_WAIT_LIST, -57) X(CL_INVALID_EVENT, -58)   \
    X(CL_INVALID_OPERATION, -59) X(CL_INVALID_GL_OBJECT, -60) X(CL_INVALID_BUFFER_SIZE, -61)       \
    X(CL_INVALID_MIP_LEVEL, -62) X(CL_INVALID_GLOBAL_WORK_SIZE, -63) X(CL_INVALID_PROPERTY, -64)   \
    X(CL_INVALID_IMAGE_DESCRIPTOR, -65) X(CL_INVALID_COMPILER_OPTIONS, -66)                        \
    X(CL_INVALID_LINKER_OPTIONS, -67) X(CL_INVALID_DEVICE_PARTITION_COUNT, -68)                    \
    X(CL_INVALID_PIPE_SIZE, -69) X(CL_INVALID_DEVICE_QUEUE, -70) X(CL_INVALID_SPEC_ID, -71)        \
    X(CL_MAX_SIZE_RESTRICTION_EXCEEDED, -72) X(CL_PLATFORM_NOT_FOUND_KHR, -1001)                   \
    /* CLBlast's own */                                                                            \
    X(CLBLAST_NOT_IMPLEMENTED, -1024) X(CLBLAST_INVALID_MATRIX_A, -1022)                           \
    X(CLBLAST_INVALID_MATRIX_B, -1021) X(CLBLAST_INVALID_MATRIX_C, -1020)                          \
    X(CLBLAST_INVALID_DIMENSION, -1016) X(CLBLAST_INSUFFICIENT_MEMORY_A, -1014)                    \
    X(CLBLAST_INSUFFICIENT_MEMORY_B, -1013) X(CLBLAST_INSUFFICIENT_MEMORY_C, -1012)                \
    X(CLBLAST_INVALID_LOCAL_THREADS_DIM, -2044) X(CLBLAST_DATABASE_ERROR, -2042)                   \
    X(CLBLAST_UNKNOWN_ERROR, -2040) X(CLBLAST_UNEXPECTED_ERROR, -2039)
/* clang-format on */

const char *kl__cl_code_name(cl_int code)
{
    static const struct {
        int code;
        const char *name;
    } names[] = {
#define NAME(n, c) {c, #n},
        CODES(NAME)
#undef NAME
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].code == code)
            return names[i].name;
    return "an OpenCL code without a name";
}

static kl_status status_of(cl_int code)
{
    switch (code) {
    case CL_MEM_OBJECT_ALLOCATION_FAILURE:
    case CL_OUT_OF_HOST_MEMORY:
    case CL_INVALID_BUFFER_SIZE:
        return KL_E_MEMORY;
    case CL_BUILD_PROGRAM_FAILURE:
    case CL_INVALID_BUILD_OPTIONS:
    case CL_INVALID_KERNEL_NAME:
        return KL_E_BUILD;
    default:
        return KL_E_DEVICE;
    }
}

kl_status kl__cl_fail(const kl_ctx *ctx, const char *call, const char *what, cl_int code)
{
    return kl__fail(status_of(code), "%s%s%s%s%s: %s (%d)", call, what ? " of " : "",
                    what ? what : "", ctx ? " on " : "", ctx ? ctx->caps.info.name : "",
                    kl__cl_code_name(code), code);
}
