#include "fake_trainer.h"

#include "base/error.h"
#include "base/hash.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILES = 8, KEYS = 24 };

static struct file {
    char path[64];
    uint64_t state;
    int64_t steps;
    size_t n;
    char *key[KEYS], *value[KEYS];
} disk[FILES];

static fake *of(const kl_trainer *tr)
{
    return (fake *)(uintptr_t)tr;
}

void fake_init(fake *f, kl_graph *g, uint64_t seed)
{
    memset(f, 0, sizeof *f);
    f->tr.model = &f->model;
    f->model.graph = g;
    f->model.real = KL_F32;
    f->model.seed = seed;
    f->state = 1;
    f->steps_per_epoch = 1;
}

static void forget(fake *f)
{
    for (size_t i = 0; i < f->tr.n_loaded; i++) {
        free((void *)(uintptr_t)f->tr.loaded[i].key);
        free((void *)(uintptr_t)f->tr.loaded[i].value);
    }
    free(f->tr.loaded);
    f->tr.loaded = NULL;
    f->tr.n_loaded = 0;
}

void fake_finish(fake *f)
{
    forget(f);
}

static char *copy(const char *s)
{
    char *p = malloc(strlen(s) + 1);
    return p ? strcpy(p, s) : NULL;
}

static struct file *file_at(const char *path, bool make)
{
    for (size_t i = 0; i < FILES; i++) {
        if (!strcmp(disk[i].path, path) || (make && !disk[i].path[0])) {
            return &disk[i];
        }
    }
    return NULL;
}

static void wipe(struct file *d)
{
    for (size_t i = 0; i < d->n; i++) {
        free(d->key[i]);
        free(d->value[i]);
    }
    memset(d, 0, sizeof *d);
}

void fake_disk_clear(void)
{
    for (size_t i = 0; i < FILES; i++) {
        wipe(&disk[i]);
    }
}

const char *fake_meta(const char *path, const char *key)
{
    const struct file *d = file_at(path, false);
    for (size_t i = 0; d && i < d->n; i++) {
        if (!strcmp(d->key[i], key)) {
            return d->value[i];
        }
    }
    return NULL;
}

uint64_t fake_saved_state(const char *path)
{
    const struct file *d = file_at(path, false);
    return d ? d->state : 0;
}

void fake_load(fake *f, const char *path)
{
    const struct file *d = file_at(path, false);
    forget(f);
    f->state = d->state;
    f->tr.steps = d->steps;
    f->tr.loaded = calloc(d->n, sizeof *f->tr.loaded);
    for (; f->tr.n_loaded < d->n; f->tr.n_loaded++) {
        f->tr.loaded[f->tr.n_loaded] =
            (kl_meta){copy(d->key[f->tr.n_loaded]), copy(d->value[f->tr.n_loaded])};
    }
}

/* ---- the trainer's face ----------------------------------------------------------------- */

kl_status kl_trainer_step(kl_trainer *tr, const kl_bind *binds, size_t n)
{
    fake *f = of(tr);
    size_t batch = 1;
    f->state = kl__hash64(&tr->steps, sizeof tr->steps, f->state);
    for (size_t i = 0; i < n; i++) {
        f->state = kl__hash64(binds[i].host, binds[i].host_bytes, f->state);
        batch = binds[i].host_bytes / 4; /* labels come last */
    }
    f->batch_of_step[tr->steps] = batch;
    tr->steps++;
    if (f->lost_at && tr->steps >= f->lost_at) {
        return kl__fail(KL_E_DEVICE, "step %lld: the device fell asleep", (long long)tr->steps);
    }
    if (tr->exchange) { /* as a trainer does, which moves gradients and parameters */
        uint64_t first = f->state;
        const kl_exchange *x = tr->exchange;
        const kl_status s = x->broadcast(x->user, &first, sizeof first, 0);
        f->strayed |= first != f->state;
        if (s) {
            return s;
        }
    }
    f->samples += (int64_t)batch;
    f->loss_sum += (double)batch / (double)tr->steps; /* the loss of step t is 1 / t */
    f->correct += (double)(batch / 2);
    return KL_OK;
}

const kl_exchange *kl__trainer_exchange(const kl_trainer *tr)
{
    return tr->exchange;
}

kl_status kl__trainer_collect(kl_trainer *tr, bool wait)
{
    (void)tr;
    (void)wait; /* a step is done when it returns */
    return KL_OK;
}

kl_status kl_trainer_metrics(kl_trainer *tr, kl_metrics *out)
{
    fake *f = of(tr);
    f->n_metrics++;
    if (out) {
        const double n = (double)f->samples;
        *out = (kl_metrics){tr->steps, f->samples, f->loss_sum / n, f->correct / n, 0.5, 1};
    }
    f->samples = 0;
    f->loss_sum = f->correct = 0;
    if (f->broken_at && tr->steps >= f->broken_at) {
        return kl__fail(KL_E_NUMERIC, "step %lld: the gradient is not finite",
                        (long long)f->broken_at);
    }
    return KL_OK;
}

kl_status kl_trainer_eval(kl_trainer *tr, const kl_bind *binds, size_t n)
{
    fake *f = of(tr);
    const double batch = (double)(binds[n - 1].host_bytes / 4);
    f->n_evals++;
    f->eval_samples += (int64_t)batch;
    f->eval_loss_sum += batch * f->val_loss[tr->steps / f->steps_per_epoch];
    return KL_OK;
}

kl_status kl_trainer_eval_metrics(kl_trainer *tr, kl_metrics *out)
{
    fake *f = of(tr);
    if (out) {
        *out = (kl_metrics){
            tr->steps, f->eval_samples, f->eval_loss_sum / (double)f->eval_samples, 0.75, 0.5, 0};
    }
    f->eval_samples = 0;
    f->eval_loss_sum = 0;
    return KL_OK;
}

int64_t kl_trainer_steps(const kl_trainer *tr)
{
    return tr->steps;
}

kl_model *kl_trainer_model(const kl_trainer *tr)
{
    return tr->model;
}

kl_status kl_trainer_save(kl_trainer *tr, const char *path, const kl_meta *meta, size_t n)
{
    fake *f = of(tr);
    if (tr->exchange && tr->exchange->rank) {
        return KL_OK; /* the first one writes */
    }
    if (f->full_disk) {
        return kl__fail(KL_E_IO, "%s: no space left on device", path);
    }
    struct file *d = file_at(path, true);
    wipe(d);
    snprintf(d->path, sizeof d->path, "%s", path);
    snprintf(f->saved[f->n_saves++ % 64], sizeof f->saved[0], "%s@%lld", path,
             (long long)tr->steps);
    d->state = f->state;
    d->steps = tr->steps;
    for (; d->n < n && d->n < KEYS; d->n++) {
        d->key[d->n] = copy(meta[d->n].key);
        d->value[d->n] = copy(meta[d->n].value);
    }
    return KL_OK;
}

const char *kl__trainer_meta(const kl_trainer *tr, const char *key)
{
    for (size_t i = 0; i < tr->n_loaded; i++) {
        if (!strcmp(tr->loaded[i].key, key)) {
            return tr->loaded[i].value;
        }
    }
    return NULL;
}

/* ---- the model's ------------------------------------------------------------------------ */

const kl_graph *kl_model_graph(const kl_model *m)
{
    return m->graph;
}

uint64_t kl_model_seed(const kl_model *m)
{
    return m->seed;
}

/* Scores of sample x: class (int)x[0] mod K has the largest. */
kl_status kl_model_run(kl_model *m, kl_ctx *ctx, const kl_bind *binds, size_t n)
{
    const kl_shape x = kl_node_shape(kl_graph_find(m->graph, binds[0].name));
    const kl_shape y = kl_node_shape(kl_graph_output(m->graph, binds[1].name));
    const size_t k = (size_t)y.dim[1], count = binds[1].host_bytes / sizeof(float) / k;
    const size_t per = binds[0].host_bytes / sizeof(float) / count;
    float *out = binds[1].host;
    const float *in = binds[0].host;
    (void)ctx;
    if (n != 2 || x.n_dims < 2) {
        return kl__fail(KL_E_ARG, "one input and one output are expected");
    }
    memset(out, 0, binds[1].host_bytes);
    for (size_t i = 0; i < count; i++) {
        out[i * k + (size_t)in[i * per] % k] = 1;
    }
    return KL_OK;
}

kl_ctx *kl__trainer_ctx(const kl_trainer *tr)
{
    return tr->ctx[0];
}

int64_t kl__trainer_complete(kl_trainer *tr)
{
    return tr->steps;
}
