#include "contract.h"

#include <stdlib.h>
#include <string.h>

enum { MANY = 100003 }; /* no multiple of any piece or vector */

const char *const contract_part[CONTRACT_PARTS] = {"all_reduce", "broadcast", "send and receive",
                                                   "nothing to carry"};

/* The value of rank r at i: sums of these depend on the order that they are added in. */
static double value(int r, size_t i)
{
    const double big = (double)(1ll << ((i * 7 + (size_t)r * 5) % 50));
    return ((double)(i % 1000) + 1) * big / ((double)r + 3) * (i % 3 == (size_t)r % 3 ? -1 : 1);
}

/* In the order of the ranks, and so to these very bits; which implies the same in all of them. */
static int sum_of_doubles(const kl_exchange *x, size_t n)
{
    int wrong = 0;
    double *v = malloc(n * sizeof *v);
    if (!v) {
        return __LINE__;
    }
    for (size_t i = 0; i < n; i++) {
        v[i] = value(x->rank, i);
    }
    if (x->all_reduce(x->user, v, n, KL_F64) != KL_OK) {
        wrong = __LINE__;
    }
    for (size_t i = 0; i < n && !wrong; i++) {
        double want = value(0, i);
        for (int r = 1; r < x->size; r++) {
            want += value(r, i);
        }
        wrong = memcmp(&want, &v[i], sizeof want) ? __LINE__ : 0;
    }
    free(v);
    return wrong;
}

static int sum_of_floats(const kl_exchange *x, size_t n)
{
    int wrong = 0;
    float *v = malloc(n * sizeof *v);
    if (!v) {
        return __LINE__;
    }
    for (size_t i = 0; i < n; i++) {
        v[i] = (float)value(x->rank, i);
    }
    if (x->all_reduce(x->user, v, n, KL_F32) != KL_OK) {
        wrong = __LINE__;
    }
    for (size_t i = 0; i < n && !wrong; i++) {
        float want = (float)value(0, i);
        for (int r = 1; r < x->size; r++) {
            want += (float)value(r, i);
        }
        wrong = memcmp(&want, &v[i], sizeof want) ? __LINE__ : 0;
    }
    free(v);
    return wrong;
}

static unsigned char pattern(int rank, size_t i)
{
    return (unsigned char)(i * 31 + (i >> 8) * 7 + (size_t)rank * 101);
}

static void fill(unsigned char *b, size_t n, int rank)
{
    for (size_t i = 0; i < n; i++) {
        b[i] = pattern(rank, i);
    }
}

static bool filled(const unsigned char *b, size_t n, int rank)
{
    for (size_t i = 0; i < n; i++) {
        if (b[i] != pattern(rank, i)) {
            return false;
        }
    }
    return true;
}

static int broadcasts(const kl_exchange *x, unsigned char *b, size_t n)
{
    for (int from = 0; from < x->size; from++) {
        memset(b, 0xee, n + 1);
        if (from == x->rank) {
            fill(b, n, from);
        }
        if (x->broadcast(x->user, b, n, from) != KL_OK) {
            return __LINE__;
        }
        if (!filled(b, n, from) || b[n] != 0xee) {
            return __LINE__;
        }
    }
    return 0;
}

/* Each to each, so that messages of several senders wait at once. */
static int pairs(const kl_exchange *x, unsigned char *b, size_t n)
{
    for (int from = 0; from < x->size; from++) {
        for (int to = 0; to < x->size; to++) {
            kl_status s = KL_OK;
            if (to == from) {
                continue;
            }
            memset(b, 0xee, n + 1);
            if (x->rank == from) {
                fill(b, n, from);
                s = x->send(x->user, b, n, to);
            } else if (x->rank == to) {
                s = x->receive(x->user, b, n, from);
            } else {
                continue;
            }
            if (s != KL_OK || !filled(b, n, from) || b[n] != 0xee) {
                return __LINE__;
            }
        }
    }
    return 0;
}

static int nothing(const kl_exchange *x)
{
    double one = 1;
    if (x->all_reduce(x->user, NULL, 0, KL_F32) != KL_OK ||
        x->broadcast(x->user, NULL, 0, 0) != KL_OK || broadcasts(x, (unsigned char[2]){0}, 1) ||
        x->all_reduce(x->user, &one, 1, KL_F64) != KL_OK) {
        return __LINE__;
    }
    return one == (double)x->size ? 0 : __LINE__;
}

int contract_check(const kl_exchange *x, int part)
{
    int wrong = 0;
    unsigned char *b = malloc(MANY + 1);
    if (!b) {
        return __LINE__;
    }
    if (part == 0) {
        wrong = sum_of_doubles(x, MANY);
        wrong = wrong ? wrong : sum_of_floats(x, MANY);
        wrong = wrong ? wrong : sum_of_floats(x, 1);
    } else if (part == 1) {
        wrong = broadcasts(x, b, MANY);
    } else if (part == 2) {
        wrong = pairs(x, b, MANY);
    } else {
        wrong = nothing(x);
    }
    free(b);
    return wrong;
}
