/* Op `fused`: a connected set of element-wise applies as one. The pass of src/graph decides the
 * sets; here their formulas are put into each other, every value a temporary that is computed once.
 */
#include "ops/eltwise.h"

#include "base/str.h"

#include <stdio.h>

typedef struct kl__fused {
    const char *formula;
    float p[KL__FUSE_VALUES];
    const char *name;
} kl__fused;

#define P(k)                                                                                       \
    {"p" #k, KL__ATTR_FLOAT, offsetof(kl__fused, p) + k * sizeof(float), 0, NULL, 0, "folded"}
static const kl__attr fused_attrs[] = {
    {"formula", KL__ATTR_TEXT, offsetof(kl__fused, formula), 0, NULL, 0,
     "OpenCL text over x0, x1, ... and $p0, ..."},
    P(0), P(1), P(2), P(3), P(4), P(5), P(6), P(7), P(8), P(9),
    {"name", KL__ATTR_NAME, offsetof(kl__fused, name), 0, NULL, 0, NULL},
    KL__ATTR_END,
};

const kl__op kl__op_fused = {
    .name = "fused",
    .doc = "several element-wise ops as one",
    .min_in = 1,
    .max_in = KL__FUSE_IN,
    .n_out = 1,
    .flags = KL__OP_ELEMENTWISE | KL__OP_HIDDEN,
    .attrs_bytes = sizeof(kl__fused),
    .attrs = fused_attrs,
    .infer = kl__eltwise_infer,
    .variants = kl__eltwise_variants,
};

/** Place of the apply that makes x in set[0..n-1], or -1. */
static int place_in(kl__apply *const *set, int n, const kl_node *x)
{
    for (int i = 0; i < n; i++)
        if (set[i] == x->by)
            return i;
    return -1;
}

static int place_of_input(kl_node *const *in, int n, const kl_node *x)
{
    for (int i = 0; i < n; i++)
        if (in[i] == x)
            return i;
    return -1;
}

int kl__fuse_inputs(kl__apply *const *set, int n, kl_node *in[KL__FUSE_IN])
{
    float v[KL__FUSE_VALUES];
    int n_in = 0, n_values = 0;
    if (n < 1 || n > KL__FUSE_OPS)
        return -1;
    for (int k = 0; k < n; k++) {
        if (!(set[k]->op->flags & KL__OP_ELEMENTWISE))
            return -1;
        n_values += kl__formula_values(set[k], v);
        for (int i = 0; i < set[k]->n_in; i++) {
            kl_node *x = set[k]->in[i];
            if (place_in(set, k, x) >= 0 || place_of_input(in, n_in, x) >= 0)
                continue;
            if (n_in == KL__FUSE_IN)
                return -1;
            in[n_in++] = x;
        }
    }
    return n_values <= KL__FUSE_VALUES ? n_in : -1;
}

/** The statements of set[k], whose value becomes tK. */
static void put_one(kl__text *t, kl__apply *const *set, int k, kl_node *const *in, int n_in,
                    int value_base)
{
    char x[KL__FUSE_IN][16], result[16], temp[16];
    const char *names[KL__FUSE_IN];
    for (int i = 0; i < set[k]->n_in; i++) {
        int from = place_in(set, k, set[k]->in[i]);
        if (from >= 0)
            snprintf(x[i], sizeof x[i], "t%d", from);
        else
            snprintf(x[i], sizeof x[i], "x%d", place_of_input(in, n_in, set[k]->in[i]));
        names[i] = x[i];
    }
    snprintf(result, sizeof result, "t%d", k);
    snprintf(temp, sizeof temp, "t%d_", k);
    const kl__formula_names all = {names, result, temp, "$p", "", value_base};
    kl__formula_put(t, set[k], &all);
    kl__put(t, " ");
}

kl_node *kl__fuse(kl_graph *g, const char *name, kl__apply *const *set, int n, kl_node *const *in)
{
    kl_node *from[KL__FUSE_IN];
    kl__fused f = {0};
    kl__text t = {0};
    kl_node *y = NULL;
    int n_values = 0, n_in = kl__fuse_inputs(set, n, from);
    if (n_in < 0)
        return kl__graph_fail(g, KL_E_UNSUPPORTED,
                              "fused \"%s\": %d applies are too much for one kernel",
                              name ? name : "", n);
    for (int k = 0; k < n; k++) {
        put_one(&t, set, k, from, n_in, n_values);
        n_values += kl__formula_values(set[k], f.p + n_values);
    }
    kl__put(&t, "t%d", n - 1);
    f.formula = t.s;
    if (t.failed)
        kl__graph_fail(g, kl__no_memory(t.cap), "fused \"%s\": out of host memory",
                       name ? name : "");
    else
        y = kl__apply_new(g, &kl__op_fused, name, in, n_in, &f);
    kl__text_free(&t);
    return y;
}
