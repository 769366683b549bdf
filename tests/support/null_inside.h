/* What the files of the null table share. One lock guards all; n_* functions are called with it
 * held. */
#ifndef SUPPORT_NULL_INSIDE_H
#define SUPPORT_NULL_INSIDE_H

#include "support/null_cl.h"

enum { MAX_DEVICES = 16, MAX_ARGS = 128, MAX_WAIT = 64 };

typedef struct object {
    int refs;
} object;

struct _cl_platform_id {
    int index;
};
struct _cl_device_id {
    int index;
    cl_uint units; /* of a part; 0: the whole, which is not counted */
    object o;
};
struct _cl_context {
    object o;
    cl_device_id device;
};
struct _cl_command_queue {
    object o;
    cl_context context;
    cl_command_queue_properties properties;
    int number;
    struct _cl_event *last; /* in order: the last command; else the last barrier */
};
struct _cl_mem {
    object o;
    cl_context context;
    size_t size;
    unsigned char *bytes;
    uint64_t *history;
    size_t n_history, cap_history;
    struct _cl_mem *next; /* of all that live */
};
struct _cl_program {
    object o;
    cl_context context;
    char *source; /* NULL: a binary that is none */
    char *options;
    bool built, from_binary;
};
typedef struct arg {
    bool set;
    size_t size;
    cl_mem mem; /* else bytes */
    unsigned char bytes[64];
} arg;
struct _cl_kernel {
    object o;
    cl_program program;
    char name[64];
    cl_uint n_args;
    arg args[MAX_ARGS];
};

/* An event is a command. */
typedef void(CL_CALLBACK *callback_fn)(cl_event, cl_int, void *);
typedef struct callback {
    struct callback *next;
    callback_fn fn;
    cl_event e;
    void *user;
} callback;
struct _cl_event {
    object o;
    cl_command_queue queue; /* while pending: an event may outlive its queue */
    cl_context context;
    bool profiled;
    cl_int status; /* CL_QUEUED until it is carried out; CL_COMPLETE or negative after it */
    size_t entry;  /* in the log */
    uint64_t serial;
    cl_event *wait;
    size_t n_wait;
    cl_event next; /* pending */
    enum { C_LAUNCH, C_READ, C_WRITE, C_COPY, C_FILL, C_MARK } kind;
    cl_mem dst, src;
    size_t dst_at, src_at, bytes;
    const void *host_src;
    void *host_dst;
    uint64_t pattern[16];
    size_t pattern_bytes;
    uint64_t launch_hash; /* name, source, sizes, scalars */
    cl_mem *mem;          /* buffers of a launch, in argument order */
    size_t n_mem;
    cl_int breaks;
    uint64_t start, end;
    struct callback *callbacks; /* newest first */
};

typedef struct null_state {
    const null_device *device;
    size_t n_device;
    int platform_of[MAX_DEVICES], n_platform;
    uint64_t random; /* 0: at once */
    bool mix_reads;
    uint64_t delay; /* command number, from 1; 0: none */
    int64_t live;
    int n_queue;
    cl_mem mems;
    cl_event pending; /* oldest first */
    null_entry *log;
    size_t n_log, cap_log;
    uint64_t clock, ran, serial, builds;
    uint64_t break_in;
    cl_int break_status;
} null_state;
extern null_state N;

void n_lock(void);
void n_unlock(void);
/** It comes when the lock is given back. */
void n_owe_callback(callback *c);
void n_wake(void); /* a callback is owed: a thread of the table's carries out until it is due */
cl_int n_put(const void *value, size_t bytes, size_t cap, void *dst, size_t *ret);
cl_int n_put_text(const char *s, size_t cap, void *dst, size_t *ret);
void *n_new(size_t bytes);
void n_release_event(cl_event e);
void n_release_mem(cl_mem m);
void n_release_queue(cl_command_queue q);
void n_keep_event(cl_event e);
cl_mem n_held(cl_mem m); /* one reference more */
/** A command with its dependencies: what the queue orders, and the wait list. */
cl_event n_begin(cl_command_queue q, const char *call, cl_uint n, const cl_event *wait,
                 bool barrier);
/** Into the list; carried out now, or later. orders: what comes in this queue is after it. */
void n_end(cl_event e, bool orders, cl_event *out);
void n_mix(cl_mem m, uint64_t tag);
uint64_t n_tag(cl_mem m);
bool n_step(void);                /* carries one command out; false: none is ready */
void n_drain(cl_command_queue q); /* NULL: all */

/* The functions of the table, by file. */
void null_fill_info(kl__cl_table *t);
void null_fill_objects(kl__cl_table *t);
void null_fill_commands(kl__cl_table *t);

#endif
