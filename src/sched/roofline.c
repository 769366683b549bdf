/* What an op must do at least, and which of the device's limits stands in its way. */
#include "ops/eltwise.h"
#include "sched/cost.h"

#include <kiln/inspect.h>

#include <ctype.h>
#include <string.h>

/* ---- work ---- */
static size_t bytes_of(const kl_node *x)
{
    size_t bytes;
    return kl__desc_bytes(&x->desc, &bytes) ? bytes : 0;
}

size_t kl__apply_bytes(const kl__apply *a)
{
    size_t sum = 0;
    for (int i = 0; i < a->n_in; i++) {
        bool again = false;
        for (int k = 0; k < i; k++)
            again |= a->in[k] == a->in[i];
        sum += again ? 0 : bytes_of(a->in[i]);
    }
    for (int i = 0; i < a->n_out; i++)
        sum += bytes_of(a->out[i]);
    return sum;
}

/** Operators and calls in OpenCL text. */
static int operations(const char *s)
{
    int n = 0;
    for (char before = ' '; *s; before = *s++) {
        n += strchr("+-*/<>?", *s) != NULL;
        n += *s == '(' && (isalnum((unsigned char)before) || before == '_');
    }
    return n > 0 ? n : 1;
}

static double elements(const kl_node *x)
{
    return (double)kl_shape_count(x->desc.shape);
}

double kl__apply_flops(const kl__apply *a)
{
    double sum = 0;
    if (a->op->macs) {
        sum = 2 * (double)a->op->macs(a);
    } else if (a->op->flags & KL__OP_ELEMENTWISE) {
        sum = elements(a->out[0]) * operations(kl__formula(a));
    } else {
        for (int i = 0; i < a->n_own; i++)
            sum += elements(a->in[i]);
    }
    if (a->epilogue.apply)
        sum += elements(a->out[0]) * operations(kl__formula(a->epilogue.apply));
    return sum;
}

/* ---- limits ---- */
/** The nearest level that holds `bytes`. */
static const kl_peak_level *level_of(const kl_peaks *p, size_t bytes)
{
    int i = 0;
    while (i + 1 < p->n_levels && p->level[i].bytes < bytes)
        i++;
    return &p->level[i];
}

kl_bound kl_op_bound(const kl_peaks *p, const kl_op_time *row, double *share)
{
    if (share)
        *share = 0;
    if (!p || !row || p->n_levels < 1)
        return KL_BOUND_LAUNCH;
    const kl_peak_level *level = level_of(p, row->bytes);
    double launch = p->launch_seconds * (double)row->launches,
           math = p->flops > 0 ? row->flops / p->flops : 0,
           move = level->bytes_per_second > 0 ? (double)row->bytes / level->bytes_per_second : 0;
    kl_bound b = level->bytes ? KL_BOUND_CACHE : KL_BOUND_MEMORY;
    double most = move;
    if (math > most) {
        b = KL_BOUND_ARITHMETIC;
        most = math;
    }
    if (launch > most) {
        b = KL_BOUND_LAUNCH;
        most = launch;
    }
    if (share && row->seconds > 0)
        *share = most / row->seconds;
    return b;
}

const char *kl_bound_name(kl_bound bound)
{
    static const char *const names[] = {"launch", "arithmetic", "cache", "memory"};
    return (unsigned)bound < 4 ? names[bound] : "?";
}
