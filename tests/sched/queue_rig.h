/* What the tests of the pass queue share: devices, a small net, tickets. */
#ifndef KL_TESTS_SCHED_QUEUE_RIG_H
#define KL_TESTS_SCHED_QUEUE_RIG_H

#include "nets.h"

#include "base/thread.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { W = 6, MOST = 64 };

extern kl_ctx *ctx[2];
extern size_t n_ctx;
extern kl_model *net; /* y = a small dense net of x, both [N,6] */

kl_model *model_of(uint64_t seed);
int open_all(void **state);
int close_all(void **state);
/** A pass of `n` samples from x to y; its binds live in `b`. */
kl_pass pass_of(kl_model *m, kl_bind b[2], const float *x, float *y, size_t n);
void numbers(float *x, size_t n, int k);
void alone(kl_model *m, const float *x, float *y, size_t n);
kl_ticket *submit(kl_queue *q, const kl_pass *p);
void good(kl_ticket *t); /* waits, and releases it */
kl_queue *queue(size_t n, const kl_queue_opts *o);

typedef struct calls {
    kl__mutex lock;
    int n, order[MOST];
    kl_status status[MOST];
} calls;

#endif
