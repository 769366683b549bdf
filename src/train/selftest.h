/* What the files of the self-test share. */
#ifndef KL_TRAIN_SELFTEST_H
#define KL_TRAIN_SELFTEST_H

#include "sched/model.h"

#include <kiln/inspect.h>

enum { KL__SELFTEST_VALUES = 48 };

/** Numbers with a name: a parameter or input ("x"), what flows back into an output ("seed:y"), an
 * output ("y"), or the gradient of output y by parameter x ("y by x"). */
typedef struct kl__value {
    char name[40];
    double *v, *want; /* want: results of cases with a reference on the host */
    size_t n;
} kl__value;
typedef struct kl__values {
    kl__value value[KL__SELFTEST_VALUES];
    size_t n;
} kl__values;
/** NULL: none of that name. */
const kl__value *kl__value_find(const kl__values *v, const char *name);
kl__value *kl__value_add(kl__values *v, const char *name, size_t n); /* zeroed; NULL: error set */
void kl__values_free(kl__values *v);

/** From `in` to the `want` of `out`, in double. */
typedef void kl__selftest_ref(const kl_graph *g, const kl__values *in, kl__values *out);

typedef struct kl__selftest_case {
    const char *what, *text;
    bool inference;        /* forward only, in its form */
    bool exact;            /* whole numbers in, whole numbers out: as in an exact context */
    double bound;          /* relative L2 of each result; 0 where exact */
    kl__selftest_ref *ref; /* NULL: the plain kernels, in double where the device has it */
} kl__selftest_case;
extern const kl__selftest_case kl__selftest_cases[];
extern const size_t kl__selftest_n_cases;

/* selftest_ref.c */
kl__selftest_ref kl__ref_conv, kl__ref_product, kl__ref_reduce, kl__ref_xent, kl__ref_unary;

/** A result of a test: error is NaN-free; `detail` is the sentence where it failed. */
typedef struct kl__selftest_result {
    bool ok;
    double error;
    char detail[256];
} kl__selftest_result;
/** Compares n numbers; the worst relative L2 so far and the first sentence stay in r. */
void kl__selftest_compare(kl__selftest_result *r, const char *name, const double *got,
                          const double *want, size_t n, double bound, bool exact);

/* selftest_optim.c: three steps of an optimizer against its formula. */
enum { KL__SELFTEST_OPTIMS = 3 };
const char *kl__selftest_optim_name(int i);
kl_status kl__selftest_optim(kl_ctx *ctx, int i, kl__selftest_result *r);

#endif
