/* An OpenCL without devices: objects are counted, commands are recorded, nothing is computed. Each
 * buffer has a tag, a hash of how it came to be: a write mixes in the data, a copy the source's
 * tag, a launch the kernel's name and source, its sizes, its scalar arguments and the tags of all
 * its buffers (each counts as read and written). Equal tags mean equal histories. The bytes of a
 * buffer follow writes, fills and copies; a launch leaves them.
 *
 * With a seed, commands wait in a list and are carried out as late as can be, in a random order
 * that the queues, barriers and wait lists allow: a missing dependency shows as a tag that depends
 * on the seed. Whoever waits or looks carries out, and a thread of the table's what an event with a
 * callback needs. */
#ifndef SUPPORT_NULL_CL_H
#define SUPPORT_NULL_CL_H

#include "device/opencl.h"

typedef struct null_device {
    const char *platform; /* neighbours with the same name are one platform; NULL: "Null" */
    const char *name, *vendor, *version; /* NULL: "null", "none", "OpenCL 1.2 null" */
    cl_device_type type;                 /* 0: CL_DEVICE_TYPE_CPU */
    cl_uint units, clock, width;         /* 0: 2, 1000, 16 */
    uint64_t memory, max_alloc, local;   /* 0: 4 GiB, 1 GiB, 64 KiB */
    const char *extensions;              /* NULL: "cl_khr_fp64" */
    bool no_compiler, big_endian, unified;
    bool no_split;         /* clCreateSubDevices is not to be had */
    bool no_denorm_option; /* -cl-denorms-are-zero gives CL_INVALID_BUILD_OPTIONS */
} null_device;

/** Forgets all and starts with these devices (n 0, d NULL: one default device). They are not
 * copied. seed 0: commands are carried out as they are enqueued. */
void null_cl_setup(const null_device *d, size_t n, uint64_t seed);
/** Until the next set-up: what a read gives has bits of the buffer's history mixed in (mantissas of
 * floats only), so that what the host does with it becomes part of later histories. */
void null_cl_mix_reads(void);
/** Until the next set-up, with a seed: the nth command (1, 2, ...) is carried out when nothing else
 * can be. */
void null_cl_delay(uint64_t nth);
/** A platform list, empty: clGetPlatformIDs gives CL_PLATFORM_NOT_FOUND_KHR. */
void null_cl_setup_nothing(void);
const kl__cl_table *null_cl_table(void);

/* References to parts of devices, contexts, queues, buffers, programs, kernels, events. */
int64_t null_cl_live(void);
uint64_t null_cl_tag(cl_mem m);

/** One entry per command, in the order in which they were enqueued. */
typedef struct null_entry {
    const char *call; /* "clEnqueueNDRangeKernel", ... */
    char kernel[64];  /* of a launch */
    int queue;        /* number of its queue, from 0 in order of creation */
    uint64_t ran;     /* when it was carried out: 1, 2, ...; 0: not yet */
    uint64_t tag;     /* of its (first) destination after it; of what was read, for a read */
    size_t bytes;     /* of a transfer; items of a launch */
} null_entry;
size_t null_cl_log_count(void);
null_entry null_cl_log_at(size_t i);
void null_cl_log_clear(void);
/** All tags that a buffer ever had, oldest first; the array belongs to the buffer. */
const uint64_t *null_cl_history(cl_mem m, size_t *n);

uint64_t null_cl_builds(void); /* clBuildProgram of source text */
/** The nth launch from now on (1, 2, ...) fails on the device: its event ends with `status`
 * (negative), what waits for it ends with CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST. nth 0:
 * none. */
void null_cl_break_launch(uint64_t nth, cl_int status);
/** Source with this word in it does not build. */
#define NULL_CL_BUILD_ERROR "NULL_CL_BUILD_ERROR"

#endif
