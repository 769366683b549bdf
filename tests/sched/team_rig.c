#include "team_rig.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

void team_environment(void)
{
    char list[TEAM_MAX * 8 + 1] = "pthread";
    for (int i = 1; i < TEAM_MAX; i++)
        strcat(list, " pthread");
    setenv("POCL_DEVICES", list, 1);
}

double team_timeout;
static kl_device_info best; /* known once n_same is not 0 */
static int n_same, first_same;

static kl_status open_group(team_group *g, const char *devices)
{
    const kl_ctx_opts o = {.device = devices, .timeout = team_timeout};
    *g = (team_group){.n = 0};
    return kl_ctx_create_group(&o, g->ctx, TEAM_MAX, &g->n);
}

int team_count(void)
{
    kl_device_info list[32];
    size_t n = 0;
    if (n_same)
        return n_same;
    kl_ctx *c = kl_ctx_create(NULL);
    if (!c || kl_ctx_info(c, &best) != KL_OK || kl_device_list(list, 32, &n) != KL_OK)
        fail_msg("%s", kl_last_error());
    kl_ctx_destroy(c);
    first_same = best.device;
    for (size_t i = 0; i < n && i < 32; i++)
        if (list[i].platform == best.platform && !strcmp(list[i].name, best.name)) {
            n_same++;
            first_same = list[i].device < first_same ? list[i].device : first_same;
        }
    return n_same;
}

kl_status team_open(team_group *g, int n)
{
    char choice[128] = "";
    for (int i = 0; i < n; i++)
        snprintf(choice + strlen(choice), sizeof choice - strlen(choice), "%s%d:%d", i ? "," : "",
                 best.platform, first_same + i);
    return open_group(g, choice);
}

bool team_devices(team_group *g, int n)
{
    if (team_count() < n)
        return false;
    if (team_open(g, n) != KL_OK)
        fail_msg("%d devices: %s", n, kl_last_error());
    assert_int_equal(g->n, n);
    return true;
}

bool team_parts(team_group *g, int n)
{
    char choice[64];
    team_count();
    snprintf(choice, sizeof choice, "%d:%d/%d", best.platform, first_same, n);
    return open_group(g, choice) == KL_OK && (int)g->n == n;
}

void team_close(team_group *g)
{
    for (size_t i = 0; i < g->n; i++)
        kl_ctx_destroy(g->ctx[i]);
    g->n = 0;
}

/* ---- nets ---- */

const char *const team_net_name[TEAM_NETS] = {"dense", "conv and batch norm", "dropout"};

kl_model *team_model(team_net net)
{
    if (net != TEAM_DENSE)
        return net_model(net == TEAM_DROPOUT, 5);
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "image", KL_F32, (kl_shape){4, {KL_BATCH, NET_C, NET_HW, NET_HW}});
    kl_node *y = kl_input(g, "label", KL_I32, (kl_shape){1, {KL_BATCH}});
    kl_node *h = kl_relu(g, kl_dense(g, x, &(kl_dense_opts){.units = 17, .name = "a"}));
    h = kl_dense(g, h, &(kl_dense_opts){.units = NET_CLASSES, .name = "b"});
    kl_output(g, "logits", h);
    kl_output(g, "loss", kl_softmax_xent(g, h, y, NULL));
    kl_model *m = kl_model_create(g, &(kl_model_opts){.seed = 5});
    kl_graph_destroy(g);
    if (!m)
        fail_msg("%s", kl_last_error());
    return m;
}

/* ---- trainings ---- */

kl_trainer *team_trainer(kl_model *m, const team_group *g, const kl_trainer_opts *o)
{
    kl_trainer *tr = kl_trainer_create(m, g->ctx, g->n, "loss", "logits", o);
    if (!tr)
        fail_msg("%s", kl_last_error());
    return tr;
}

void team_steps(kl_trainer *tr, int first, int n)
{
    static net_batch b;
    for (int i = first; i < first + n; i++) {
        net_fill(&b, i % 4 == 3 ? 9 : 30, i);
        if (kl_trainer_step(tr, b.binds, 2) != KL_OK)
            fail_msg("step %d: %s", i, kl_last_error());
    }
}

team_outcome team_look(kl_trainer *tr, bool group)
{
    static net_batch b;
    team_outcome o = {.group = group};
    kl_metrics m, e;
    if (kl_trainer_metrics(tr, &m) != KL_OK)
        fail_msg("%s", kl_last_error());
    net_fill(&b, 29, 1000);
    if (kl_trainer_eval(tr, b.binds, 2) != KL_OK || kl_trainer_eval_metrics(tr, &e) != KL_OK)
        fail_msg("%s", kl_last_error());
    o.loss = m.loss;
    o.norm = m.grad_norm;
    o.eval_loss = e.loss;
    o.accuracy = e.accuracy;
    o.params = net_params(kl_trainer_model(tr), &o.n);
    return o;
}

void team_forget(team_outcome *o)
{
    free(o->params);
    o->params = NULL;
}

/* Totals of an evaluation are added over shards by a group, and over the batch in one piece by one
 * device: between the two they are equal to rounding. */
static bool same_loss(const team_outcome *a, const team_outcome *b)
{
    return a->group == b->group
               ? a->eval_loss == b->eval_loss
               : fabs(a->eval_loss - b->eval_loss) <= 1e-5 * fabs(b->eval_loss);
}

void team_equal(const team_outcome *a, const team_outcome *b, const char *what)
{
    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < a->n; i++)
        if (memcmp(&a->params[i], &b->params[i], sizeof(float)) != 0)
            fail_msg("%s: parameter %zu is %.9g here, %.9g there", what, i, (double)a->params[i],
                     (double)b->params[i]);
    if (a->loss != b->loss || a->norm != b->norm)
        fail_msg("%s: loss %.17g and norm %.17g here, %.17g and %.17g there", what, a->loss,
                 a->norm, b->loss, b->norm);
    if (!same_loss(a, b) || a->accuracy != b->accuracy)
        fail_msg("%s: evaluation gives %.9g, %.9g here, %.9g, %.9g there", what, a->eval_loss,
                 a->accuracy, b->eval_loss, b->accuracy);
}
