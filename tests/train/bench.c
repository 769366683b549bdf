#include "bench.h"

#include <stdlib.h>

fake t;

kl_graph *make_graph(void)
{
    const kl_shape image = {4, {KL_BATCH, 1, 2, 3}}, label = {1, {KL_BATCH}};
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "image", KL_F32, image);
    kl_input(g, "label", KL_I32, label);
    kl_output(g, "shown", x);
    assert_int_equal(kl_graph_check(g), KL_OK);
    return g;
}

kl_dataset *make_data(size_t n, bool labelled, int n_classes)
{
    float *x = calloc(n * PER, sizeof *x);
    int32_t *y = calloc(n, sizeof *y);
    for (size_t i = 0; i < n; i++) {
        y[i] = (int32_t)(i % 3);
        for (size_t k = 0; k < PER; k++) {
            x[i * PER + k] = (float)(i + k);
        }
    }
    const kl_shape s = {3, {1, 2, 3}};
    kl_dataset *d = kl_dataset_from_memory(x, labelled ? y : NULL, n, s, n_classes);
    free(x);
    free(y);
    assert_non_null(d);
    return d;
}

static bool see(void *user, const kl_progress *p)
{
    watch *w = user;
    if (p->epoch_done) {
        w->ordered &= p->epoch == w->n_epochs || w->n_epochs == 0;
        w->epoch[p->epoch] = *p;
        w->n_epochs = p->epoch + 1;
    } else if (w->calls) {
        w->ordered &= p->step == w->last.step + 1 || (p->step == 1 && w->last.epoch_done);
    }
    w->last = *p;
    return ++w->calls != w->stop_after;
}

kl_fit_opts options(watch *w)
{
    *w = (watch){.ordered = true};
    return (kl_fit_opts){.epochs = 4,
                         .batch = BATCH,
                         .progress = see,
                         .user = w,
                         .checkpoint_last = "last",
                         .checkpoint_best = "best"};
}

void begin(bench *b)
{
    fake_disk_clear();
    *b = (bench){make_graph(), make_data(N, true, 3), make_data(20, true, 3)};
    const kl_augment a = {true, true, 1, 0};
    kl_dataset_set_augment(b->train, &a);
    fake_init(&t, b->g, 42);
    t.steps_per_epoch = STEPS;
    const double loss[] = {9, 5, 4, 4.5, 3};
    memcpy(t.val_loss, loss, sizeof loss);
}

void end(bench *b)
{
    fake_finish(&t);
    fake_disk_clear();
    kl_dataset_destroy(b->train);
    kl_dataset_destroy(b->val);
    kl_graph_destroy(b->g);
}

void restart(bench *b)
{
    double loss[64];
    memcpy(loss, t.val_loss, sizeof loss);
    fake_finish(&t);
    fake_init(&t, b->g, 42);
    t.steps_per_epoch = STEPS;
    memcpy(t.val_loss, loss, sizeof loss);
}
