/* What the files of `kiln bench` share. */
#ifndef BENCH_H
#define BENCH_H

#include "cli.h"
#include "term.h"

#include <jansson.h>

/** One model, mode and batch size on one device. */
typedef struct bench_row {
    const char *model;
    bool training;
    bool ops; /* each op alone, too */
    int64_t batch;
    kl_device_info device;
    kl_profile times;
    kl_cost cost;
    kl_ctx_stats stats;
    kl_peaks peaks; /* n_levels 0: not known */
} bench_row;

/** Fills the row, in a context of its own on --device, or on `device` where that is not NULL. 0, or
 * the exit code after a message. */
int bench_measure(const args *a, const char *device, bench_row *r);
void bench_row_free(bench_row *r);
/** Calls `one` for each model, mode and batch size that the arguments name, until one fails. */
int bench_each(args *a, int (*one)(void *user, const char *model, int64_t batch, bool training),
               void *user);
double bench_per_second(const bench_row *r, double seconds);
json_t *bench_row_json(const bench_row *r, bool layers);
void bench_heads(table *t, const char *const *names); /* ended by NULL */

/* bench_layers.c */
/** --layers, --sort: what each op took. */
void bench_print_layers(const args *a, const bench_row *r);
json_t *bench_layers_json(const bench_row *r);
/* bench_peaks.c */
void bench_print_peaks(const kl_peaks *p);
json_t *bench_peaks_json(const kl_peaks *p);
int bench_peaks(args *a); /* kiln bench --peaks */
/* bench_scale.c */
/** Several devices together, and each of them alone. */
int bench_scale(args *a);
/* bench_compare.c, bench_op.c */
int bench_compare(args *a);
int bench_op(args *a);

#endif
