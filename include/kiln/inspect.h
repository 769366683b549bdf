/* Looking inside: layers, ops, per-op times, gradient checks, a self-test of the device. What `kiln
 * summary`, `ops`, `bench`, `gradcheck` and `selftest` print. */
#ifndef KILN_INSPECT_H
#define KILN_INSPECT_H

#include "train.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- ops ------------------------------------------------------------------------------------- */
typedef struct kl_op_info {
    const char *name, *doc;
    const char *attrs;     /* "filters kernel stride ..."; borrowed */
    const char *variants;  /* "solo ref" */
    bool differentiable, elementwise, hidden; /* hidden: made by gradients and passes only */
} kl_op_info;
KL_API size_t kl_op_list_count(void);
KL_API kl_status kl_op_list_at(size_t i, kl_op_info *out); /* strings live as long as the library */

/* ---- layers ---------------------------------------------------------------------------------- */
typedef struct kl_layer_info {
    const char *name, *op; /* borrowed from the model */
    kl_shape out;          /* KL_BATCH first where batched */
    size_t params, trainable;
    int64_t macs;          /* multiply-accumulates per sample, forward */
    /* rows and columns of the data input that one output cell sees; 0: all of it or none */
    int receptive[2];
} kl_layer_info;
/** One entry per op of the graph, in order, leaves left out. Fills at most cap, *n: how many. */
KL_API kl_status kl_model_layers(const kl_model *m, kl_layer_info *out, size_t cap, size_t *n);

/* ---- what a device can do at most ------------------------------------------------------------ */
enum { KL_PEAK_LEVELS = 4 };
typedef struct kl_peak_level {
    char name[12];           /* "L1", "L2", "L3", "memory" */
    uint64_t bytes;          /* capacity, of all cores together; 0: memory */
    double bytes_per_second; /* read, or read and written, whichever is more */
} kl_peak_level;
typedef struct kl_peaks {
    double flops;            /* f32 multiply-adds from registers per second, two each */
    int n_levels;            /* nearest first; the last is memory */
    kl_peak_level level[KL_PEAK_LEVELS];
    double launch_seconds;   /* of a kernel that does nothing, as profiles time it */
} kl_peaks;
/** Measures the device (less than a second and three kernels to compile), once per device and
 * driver: the figures are kept in the context's cache folder. `again`: measures once more and keeps
 * the better of each. */
KL_API kl_status kl_ctx_peaks(kl_ctx *ctx, bool again, kl_peaks *out);

/* ---- per-op times ---------------------------------------------------------------------------- */
typedef struct kl_op_time {
    char name[96];     /* the application of an op in the planned graph */
    char op[32], variant[24]; /* "conv2d", "solo"; empty: copies at the pass's end */
    char kernel[64];   /* of its longest launch; or copy, fill, gemm */
    size_t launches;
    double seconds;    /* of its launches, each run alone: median over runs */
    int64_t macs;      /* for this batch; 0 where none are counted */
    double flops;      /* 2 macs, or by elements; what fusion put into it included */
    size_t bytes;      /* storage of inputs and outputs, once each */
} kl_op_time;
typedef struct kl_profile {
    kl_op_time *rows;  /* in order of execution */
    size_t n, launches;
    /* median of whole passes, unprofiled: wall, and CPU time of the process */
    double step_seconds, cpu_seconds;
    double first_seconds;             /* planning, compiling and the first pass */
    double enqueue_seconds;           /* of the host per launch, in the fastest run */
} kl_profile;
/** Times a pass of `batch` random samples: inference, or the training step of `loss`. runs:
 * repetitions (0: 5), each of one pass or of several where passes are short: training steps queued
 * one behind the other, inference passes each waited for. ops: also each op alone, and the cost of
 * enqueueing. */
KL_API kl_status kl_model_profile(kl_model *m, kl_ctx *ctx, int64_t batch, bool training,
                                  const char *loss, int runs, bool ops, kl_profile *out);
KL_API void kl_profile_free(kl_profile *p);

/** What stands between a row and a shorter time. */
typedef enum kl_bound {
    KL_BOUND_LAUNCH,     /* less work than launches take */
    KL_BOUND_ARITHMETIC,
    KL_BOUND_CACHE,      /* its values fit a cache: that one's rate */
    KL_BOUND_MEMORY
} kl_bound;
/** The largest of the times that launches, flops and bytes take at the device's peaks; *share: of
 * the row's seconds. More than 1 is possible: fewer operations than counted (Winograd), or values
 * nearer than their size says. NULL share is fine. */
KL_API kl_bound kl_op_bound(const kl_peaks *peaks, const kl_op_time *row, double *share);
KL_API const char *kl_bound_name(kl_bound bound); /* "arithmetic" */

/* ---- traces ---------------------------------------------------------------------------------- */
/** From now on every command of the context is recorded, at most the first 100,000, with what it
 * costs to keep an event each. KL_E_UNSUPPORTED: the context was made without KL_CTX_PROFILE, or
 * its driver gives no times. Starts anew where a trace was under way. */
KL_API kl_status kl_ctx_trace(kl_ctx *ctx);
/** Waits for the queues, ends the traces of these contexts and writes them to `path` (NULL: drops
 * them) as one in Chrome's trace format, for Perfetto or chrome://tracing: a process per context,
 * one row per queue, one slice per command, an arrow per transfer between contexts. */
KL_API kl_status kl_ctx_trace_write(kl_ctx *const *ctx, size_t n_ctx, const char *path);
/** A trace of `runs` passes (0: 5) of `batch` random samples, as kl_model_profile runs them, after
 * one that is not recorded. */
KL_API kl_status kl_model_trace(kl_model *m, kl_ctx *ctx, int64_t batch, bool training,
                                const char *loss, int runs, const char *path);

/* ---- passes of a single op ------------------------------------------------------------------- */
typedef enum kl_pass_kind {
    KL_PASS_FORWARD,
    KL_PASS_DATA,     /* gradient of one input */
    KL_PASS_WEIGHTS,  /* gradient of one trainable parameter */
    KL_PASS_BACKWARD  /* all gradients in one plan, which may share work */
} kl_pass_kind;
typedef struct kl_pass_time {
    kl_pass_kind kind;
    char of[96];       /* the input or parameter; empty for FORWARD and BACKWARD */
    char kernel[64];   /* of the longest launch */
    /* Of the pass alone: inputs, the output's gradient and what the forward pass left stand in the
     * storage layout that the op asked for, as they do inside a net, and outputs stay in theirs;
     * parameters come and their gradients go in plain layout. Median and least over the runs. */
    double seconds, best_seconds;
    double cpu_seconds, best_cpu_seconds; /* CPU time of the process */
    double reorder_seconds; /* what moving inputs and outputs from and to plain layout adds */
    size_t launches;
    int64_t macs;
    size_t bytes;      /* inputs and outputs of the pass, once each */
} kl_pass_time;
/** Times the passes of a small graph, one by one: forward, and where `training` the gradient of its
 * first output (which is to be f32) by each f32 input and each trainable parameter, and all
 * gradients together. Random data. runs: repetitions (0: 5); each lasts 20 ms or more. Rows: fresh
 * memory, kl_free. */
KL_API kl_status kl_graph_profile(const kl_graph *g, kl_ctx *ctx, int64_t batch, bool training,
                                  int runs, kl_pass_time **rows, size_t *n);

/* ---- gradients ------------------------------------------------------------------------------- */
typedef struct kl_gradcheck_row {
    char param[96];
    size_t checked, count; /* numbers tried, of how many */
    /* largest |numeric - analytic| / max(1e-8, |numeric| + |analytic|, 1e-3 of the largest) */
    double worst;
    size_t worst_at;
    double numeric, analytic;
    bool ok;
} kl_gradcheck_row;
/** Central differences of the loss by every trainable parameter against the analytic gradient, on
 * random data of `batch` samples; in f64 where the device has it (bound 1e-5), else f32 (bound
 * 2e-2). Labels are drawn from 0..classes-1 as the loss's input has them. per_param numbers of each
 * are tried (0: 20). Rows: fresh memory, kl_free. */
KL_API kl_status kl_gradcheck(const kl_graph *g, kl_ctx *ctx, const char *loss, int64_t batch,
                              int per_param, uint64_t seed, kl_gradcheck_row **rows, size_t *n);

/* ---- device self-test ------------------------------------------------------------------------ */
typedef struct kl_selftest_row {
    const char *what;   /* "conv2d 3x3, forward and backward" */
    bool ok;
    /* relative L2 against double precision on the host, or against the ref kernels */
    double error;
    double seconds;
    const char *detail; /* sentence where it failed; borrowed until the callback returns */
} kl_selftest_row;
/** Runs every family of kernels, as chosen for this device, on small shapes against a plain
 * reference; integer data must match exactly. Calls `row` after each test (return false to stop).
 * KL_E_NUMERIC where any failed. */
KL_API kl_status kl_selftest(kl_ctx *ctx, bool (*row)(void *user, const kl_selftest_row *r),
                             void *user);

/* ---- what may be wrong with this machine's OpenCL -------------------------------------------- */
typedef enum kl_finding_level { KL_FINDING_OK, KL_FINDING_NOTE, KL_FINDING_BAD } kl_finding_level;
typedef struct kl_finding {
    kl_finding_level level;
    char what[160];
    char fix[240]; /* a command or a sentence; empty where nothing is to be done */
} kl_finding;
/** Looks at loader, ICD files, platforms, devices, permissions, caches, limits, environment; builds
 * and runs a kernel on each device. Each device is tried in a child process where `isolate`, since
 * drivers can kill their host. Fresh memory, kl_free. */
KL_API kl_status kl_doctor(bool isolate, kl_finding **out, size_t *n);

#ifdef __cplusplus
}
#endif
#endif
