/* Which inputs of a graph a data set feeds, and evaluation of a whole set. */
#include "train/fit.h"

#include "base/error.h"
#include "base/mem.h"

#include <string.h>

typedef bool fits_fn(const kl_node *x, const kl_dataset *d);

static bool is_batched(const kl_node *x, kl_dtype dtype)
{
    const kl_shape s = kl_node_shape(x);
    return kl_node_dtype(x) == dtype && s.n_dims > 0 && s.dim[0] == KL_BATCH;
}

static bool fits_labels(const kl_node *x, const kl_dataset *d)
{
    (void)d;
    return is_batched(x, KL_I32) && kl_node_shape(x).n_dims == 1;
}

static bool fits_sample(const kl_node *x, const kl_dataset *d)
{
    const kl_shape s = kl_node_shape(x), sample = kl_dataset_shape(d);
    kl_shape one = {s.n_dims - 1, {0}};
    if (!is_batched(x, KL_F32)) {
        return false;
    }
    for (int i = 1; i < s.n_dims; i++) {
        one.dim[i - 1] = s.dim[i];
    }
    return kl_shape_equal(one, sample);
}

/* [N,784] takes samples [1,28,28]: the plain order is the same. */
static bool fits_count(const kl_node *x, const kl_dataset *d)
{
    kl_shape s = kl_node_shape(x);
    if (!is_batched(x, KL_F32)) {
        return false;
    }
    s.dim[0] = 1;
    return kl_shape_count(s) == kl_shape_count(kl_dataset_shape(d));
}

/* The input that fits; among several the one with a name of `names`. *n: how many fit. */
static const char *find(const kl_graph *g, const kl_dataset *d, fits_fn *fits,
                        const char *const names[3], size_t *n)
{
    const char *only = NULL, *named = NULL;
    *n = 0;
    for (size_t i = 0; i < kl_graph_n_inputs(g); i++) {
        const kl_node *x = kl_graph_input(g, i);
        const char *name = kl_node_name(x);
        if (!fits(x, d)) {
            continue;
        }
        only = name;
        (*n)++;
        for (int k = 0; k < 3 && !named; k++) {
            named = !strcmp(name, names[k]) ? name : NULL;
        }
    }
    return named ? named : *n == 1 ? only : NULL;
}

static kl_status no_input(const kl_graph *g, const kl_dataset *d, size_t n)
{
    char sample[96], shape[96];
    kl__shape_str(kl_dataset_shape(d), sample);
    if (n > 1) {
        return kl__fail(KL_E_ARG,
                        "the graph has %zu inputs for samples %s; name one \"image\" or \"x\"", n,
                        sample);
    }
    const kl_node *x = kl_graph_input(g, 0);
    return kl__fail(KL_E_SHAPE, "no input of the graph takes samples %s%s%s%s%s", sample,
                    x ? "; \"" : "", x ? kl_node_name(x) : "", x ? "\" is " : "",
                    x ? kl__shape_str(kl_node_shape(x), shape) : "");
}

/* Labels that the output has no place for would be read as some other memory. */
static kl_status check_classes(const kl_graph *g, const kl_dataset *d)
{
    const kl_node *logits = kl_graph_output(g, "logits");
    const kl_shape s = kl_node_shape(logits);
    if (logits && s.n_dims == 2 && kl_dataset_classes(d) > s.dim[1]) {
        return kl__fail(KL_E_SHAPE, "the data has %d classes, the model's output \"logits\" %lld",
                        kl_dataset_classes(d), (long long)s.dim[1]);
    }
    return KL_OK;
}

kl_status kl__feed_find(kl__feed *f, const kl_model *m, const kl_dataset *d)
{
    static const char *const data[3] = {"image", "x", "input"}, *const label[3] = {"label", "y",
                                                                                   "labels"};
    const kl_graph *g = kl_model_graph(m);
    size_t n = 0, n_label = 0;
    *f = (kl__feed){.per = (size_t)kl_shape_count(kl_dataset_shape(d))};
    if (m->real != KL_F32) {
        return kl__fail(KL_E_UNSUPPORTED, "data sets feed f32 models; this one computes in %s",
                        kl_dtype_name(m->real));
    }
    f->x = find(g, d, fits_sample, data, &n);
    if (!f->x && n == 0) {
        f->x = find(g, d, fits_count, data, &n);
    }
    if (!f->x) {
        return no_input(g, d, n);
    }
    f->y = find(g, d, fits_labels, label, &n_label);
    if (!f->y && n_label > 1) {
        return kl__fail(
            KL_E_ARG, "the graph has %zu inputs for labels; name one \"label\" or \"y\"", n_label);
    }
    if (f->y && kl_dataset_classes(d) == 0) {
        return kl__fail(KL_E_ARG, "the graph wants labels as \"%s\", and the data has none", f->y);
    }
    for (size_t i = 0; i < kl_graph_n_inputs(g); i++) {
        const char *name = kl_node_name(kl_graph_input(g, i));
        if (strcmp(name, f->x) != 0 && (!f->y || strcmp(name, f->y) != 0)) {
            return kl__fail(KL_E_ARG, "the graph's input \"%s\" is neither samples nor labels",
                            name);
        }
    }
    return f->y ? check_classes(g, d) : KL_OK;
}

size_t kl__feed_binds(const kl__feed *f, const kl_batch *b, kl_bind binds[2])
{
    /* kl_bind serves outputs too, so its memory is not const; inputs are only read */
    binds[0] = (kl_bind){f->x, NULL, (void *)(uintptr_t)b->x, b->n * f->per * sizeof(float)};
    if (!f->y) {
        return 1;
    }
    binds[1] = (kl_bind){f->y, NULL, (void *)(uintptr_t)b->labels, b->n * sizeof(int32_t)};
    return 2;
}

/* ---- evaluation ------------------------------------------------------------------------- */

typedef struct eval {
    kl_trainer *tr;
    kl__feed feed;
    kl_loader *loader;
    const char *scores; /* output [N,K]; NULL: no confusion matrix wanted */
    float *host;        /* [batch, K] */
    size_t k;
} eval;

/* The output whose columns are the classes: "logits", else the only one of that width. */
static kl_status find_scores(eval *e, size_t k)
{
    const kl_graph *g = kl_model_graph(kl_trainer_model(e->tr));
    size_t n = 0;
    for (size_t i = 0; i < kl_graph_n_outputs(g); i++) {
        const char *name = kl_graph_output_name(g, i);
        const kl_node *y = kl_graph_output(g, name);
        const kl_shape s = kl_node_shape(y);
        if (is_batched(y, KL_F32) && s.n_dims == 2 && s.dim[1] == (int64_t)k) {
            const bool first = n++ == 0;
            if (first || !strcmp(name, "logits")) {
                e->scores = name;
            }
        }
    }
    if (!e->scores || (n > 1 && strcmp(e->scores, "logits") != 0)) {
        return kl__fail(KL_E_ARG, "confusion matrix: %zu outputs of the graph are [N,%zu]%s", n, k,
                        n ? "; name one \"logits\"" : "");
    }
    e->k = k;
    return KL_OK;
}

static kl_status one_batch(eval *e, const kl_batch *b, bool metrics, kl_confusion *c)
{
    kl_bind binds[2];
    kl_status s = KL_OK;
    const size_t n = kl__feed_binds(&e->feed, b, binds);
    if (metrics) {
        s = kl_trainer_eval(e->tr, binds, n);
    }
    if (s == KL_OK && c) {
        binds[1] = (kl_bind){e->scores, NULL, e->host, b->n * e->k * sizeof(float)};
        s = kl_model_run(kl_trainer_model(e->tr), kl__trainer_ctx(e->tr), binds, 2);
        if (s == KL_OK) {
            kl_confusion_add(c, e->host, b->labels, b->n);
        }
    }
    return s;
}

static kl_status prepare(eval *e, kl_dataset *data, int *batch, const kl_confusion *c)
{
    *batch = *batch ? *batch : 32;
    if (*batch < 0) {
        return kl__fail(KL_E_ARG, "evaluation: batch %d", *batch);
    }
    if ((size_t)*batch > kl_dataset_count(data)) {
        *batch = (int)kl_dataset_count(data);
    }
    kl_status s = kl__feed_find(&e->feed, kl_trainer_model(e->tr), data);
    if (s == KL_OK && c && kl_dataset_classes(data) == 0) {
        s = kl__fail(KL_E_ARG, "confusion matrix: the data has no labels");
    }
    if (s == KL_OK && c) {
        s = find_scores(e, (size_t)kl__confusion_classes(c));
    }
    if (s == KL_OK && c && (e->host = kl__calloc((size_t)*batch, e->k * sizeof(float))) == NULL) {
        s = KL_E_MEMORY;
    }
    return s;
}

kl_status kl_evaluate(kl_trainer *tr, kl_dataset *data, int batch, kl_metrics *out,
                      kl_confusion *confusion)
{
    eval e = {.tr = tr};
    kl_batch b;
    const bool metrics = out || !confusion;
    if (!tr || kl_dataset_count(data) == 0) {
        return kl__fail(KL_E_ARG, "evaluation: %s",
                        tr ? "there is no data" : "the trainer is NULL");
    }
    kl_status s = prepare(&e, data, &batch, confusion);
    if (s == KL_OK) {
        s = kl_trainer_eval_metrics(tr, NULL); /* totals of passes before */
    }
    if (s == KL_OK) {
        const kl_loader_opts lo = {.batch = batch};
        e.loader = kl_loader_create(data, &lo, 0, 0);
        s = e.loader ? KL_OK : kl__last_status();
    }
    while (s == KL_OK && kl_loader_next(e.loader, &b, &s)) {
        s = one_batch(&e, &b, metrics, confusion);
    }
    if (s == KL_OK && out) {
        s = kl_trainer_eval_metrics(tr, out);
    }
    kl_loader_destroy(e.loader);
    kl__free(e.host);
    return s;
}
