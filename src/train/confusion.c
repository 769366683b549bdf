/* The confusion matrix and what is read off it. A sample with a NaN among its scores has no
 * prediction: it counts for its class and is wrong. Equal scores: the lower class goes first, in
 * the matrix and in top-k alike. */
#include "train/fit.h"

#include "base/error.h"
#include "base/mem.h"

#include <math.h>

enum { TOP_MAX = 5 };

struct kl_confusion {
    int n;
    int64_t *count;   /* [truth][prediction] */
    int64_t *without; /* [truth]: samples without prediction */
    int64_t total, top[TOP_MAX];
};

kl_confusion *kl_confusion_create(int n_classes)
{
    size_t cells;
    if (n_classes < 1 || !kl__mul((size_t)n_classes, (size_t)n_classes, &cells)) {
        kl__fail(KL_E_ARG, "confusion matrix of %d classes", n_classes);
        return NULL;
    }
    kl_confusion *c = kl__calloc(1, sizeof *c);
    if (!c) {
        return NULL;
    }
    c->n = n_classes;
    c->count = kl__calloc(cells, sizeof *c->count);
    c->without = kl__calloc((size_t)n_classes, sizeof *c->without);
    if (!c->count || !c->without) {
        kl_confusion_destroy(c);
        return NULL;
    }
    return c;
}

void kl_confusion_destroy(kl_confusion *c)
{
    if (c) {
        kl__free(c->count);
        kl__free(c->without);
        kl__free(c);
    }
}

static int64_t *cell(const kl_confusion *c, int truth, int prediction)
{
    return &c->count[(size_t)truth * (size_t)c->n + (size_t)prediction];
}

static void add_one(kl_confusion *c, const float *scores, int truth)
{
    const float own = scores[truth];
    int best = 0, above = 0;
    c->total++;
    for (int k = 0; k < c->n; k++) {
        if (isnan(scores[k])) {
            c->without[truth]++;
            return;
        }
        best = scores[k] > scores[best] ? k : best;
        above += scores[k] > own || (k < truth && scores[k] == own);
    }
    (*cell(c, truth, best))++;
    for (int k = above; k < TOP_MAX; k++) {
        c->top[k]++;
    }
}

void kl_confusion_add(kl_confusion *c, const float *scores, const int32_t *labels, size_t n)
{
    for (size_t i = 0; c && scores && labels && i < n; i++) {
        if (labels[i] >= 0 && labels[i] < c->n) {
            add_one(c, scores + i * (size_t)c->n, labels[i]);
        }
    }
}

static bool is_class(const kl_confusion *c, int k)
{
    return c && k >= 0 && k < c->n;
}

int kl__confusion_classes(const kl_confusion *c)
{
    return c->n;
}

int64_t kl_confusion_at(const kl_confusion *c, int truth, int prediction)
{
    return is_class(c, truth) && is_class(c, prediction) ? *cell(c, truth, prediction) : 0;
}

double kl_confusion_accuracy(const kl_confusion *c)
{
    return kl_confusion_top_k(c, 1);
}

double kl_confusion_top_k(const kl_confusion *c, int k)
{
    return c && k >= 1 && k <= TOP_MAX && c->total ? (double)c->top[k - 1] / (double)c->total : NAN;
}

static double ratio(int64_t a, int64_t b)
{
    return b ? (double)a / (double)b : 0;
}

void kl_confusion_class(const kl_confusion *c, int k, double *precision, double *recall, double *f1,
                        int64_t *support)
{
    int64_t truth = 0, predicted = 0, right = 0;
    if (is_class(c, k)) {
        truth = c->without[k];
        right = *cell(c, k, k);
        for (int j = 0; j < c->n; j++) {
            truth += *cell(c, k, j);
            predicted += *cell(c, j, k);
        }
    }
    if (precision) {
        *precision = ratio(right, predicted);
    }
    if (recall) {
        *recall = ratio(right, truth);
    }
    if (f1) {
        *f1 = ratio(2 * right, truth + predicted);
    }
    if (support) {
        *support = truth;
    }
}
