/* kiln tune: measures which kernels are fastest here. */
#include "choice.h"
#include "json.h"
#include "net.h"
#include "term.h"

#include <stdlib.h>
#include <string.h>

typedef struct tuning {
    args *a;
    net net;
    kl_ctx *ctx;
    json_t *list; /* NULL: a table */
    table table;
    int measured, changed, wrong, incomplete;
    const char *mode;
} tuning;

static bool show(void *user, const kl_choice *c, size_t done, size_t all)
{
    const tuning *t = user;
    progress_line("%s: %zu of %zu kinds of work: %s, %s", t->mode, done, all, c->layer, c->chosen);
    return true;
}

static void add_row(tuning *t, const kl_choice *c)
{
    char time[32];
    const kl_alternative *rule = choice_find(c, c->by_rule), *best = choice_find(c, c->chosen);
    for (int i = 0; i < c->n_alternatives; i++) {
        t->wrong += c->alternative[i].wrong;
    }
    t->measured++;
    t->incomplete += !c->complete;
    if (t->list) {
        json_t *j = choice_json(c);
        json_object_set_new(j, "mode", json_string(t->mode));
        json_array_append_new(t->list, j);
    }
    if (!strcmp(c->by_rule, c->chosen) || !rule || !best) {
        return;
    }
    t->changed++;
    char *others = choice_others(c);
    table_cell(&t->table, "%s", c->layer);
    table_cell(&t->table, "%d", c->count);
    table_cell(&t->table, "%s", c->by_rule);
    table_cell(&t->table, "%s", choice_time(time, rule->seconds));
    table_cell(&t->table, "%s", c->chosen);
    table_cell(&t->table, "%s", choice_time(time, best->seconds));
    table_cell(&t->table, "%.2f", rule->seconds / best->seconds);
    table_cell(&t->table, "%s", others);
    free(others);
}

static int tune_mode(tuning *t, bool training, double seconds)
{
    kl_choice *rows = NULL;
    kl_tune_opts o;
    size_t n = 0;
    int code = choice_opts(t->a, t->net.loss, &o);
    if (code) {
        return code;
    }
    t->mode = training ? "train" : "infer";
    o.training = training;
    o.seconds = seconds;
    o.progress = show;
    o.user = t;
    const kl_status s = kl_tune(t->net.model, t->ctx, &o, &rows, &n);
    progress_clear();
    for (size_t i = 0; s == KL_OK && i < n; i++) {
        add_row(t, &rows[i]);
    }
    kl_free(rows);
    return s ? fail_status(s) : 0;
}

static void say_result(tuning *t)
{
    kl_device_info d;
    kl_ctx_info(t->ctx, &d);
    if (t->list) {
        print_json(json_pack("{s:o, s:s, s:O}", "device", json_text(d.name), "kiln", kl_version(),
                             "rows", t->list));
        return;
    }
    if (t->changed) {
        table_print(&t->table, stdout);
        putchar('\n');
    }
    printf("%d kinds of work measured: %d get another kernel from now on, %d keep theirs%s\n",
           t->measured, t->changed, t->measured - t->changed,
           t->wrong ? "; kernels that compute wrong are told above and not used" : "");
    if (t->incomplete) {
        printf("%d were not finished: there was no time\n", t->incomplete);
    }
    if (!t->measured) {
        printf("what there is to choose was measured before; --again measures it anew\n");
    }
}

static int run_tune(args *a)
{
    tuning t = {.a = a, .list = args_has(a, "json") ? json_array() : NULL};
    const bool train = args_has(a, "train"), infer = args_has(a, "infer") || !train;
    const double budget = args_real(a, "budget", 60), begin = now();
    table_init(&t.table, "lrlrlrrl");
    for (const char *const *h = (const char *const[]){"layer", "count", "by rule", "time", "now",
                                                      "time", "ratio", "measured", NULL};
         *h; h++) {
        table_cell(&t.table, "%s", *h);
    }
    int code = net_open(&t.net, a->operands[0], &(net_opts){.loss = args_text(a, "loss")});
    t.ctx = code ? NULL : open_device_tuned(a, 0, args_has(a, "again") ? "" : NULL, &code);
    if (code == 0 && train) {
        code = tune_mode(&t, true, budget);
    }
    if (code == 0 && infer && now() - begin < budget) {
        code = tune_mode(&t, false, budget - (now() - begin));
    }
    if (code == 0) {
        say_result(&t);
    }
    json_decref(t.list);
    table_free(&t.table);
    net_close(&t.net);
    kl_ctx_destroy(t.ctx);
    return code;
}

static const option_def options[] = {
    {"batch", 'b', OPT_INT, "N", "samples a pass (32)", 1, 1e6},
    {"train", 't', OPT_FLAG, NULL, "the training step", 0, 0},
    {"infer", 'i', OPT_FLAG, NULL, "inference (the default); with --train: both", 0, 0},
    {"budget", 0, OPT_REAL, "SECONDS", "stop after (60); the heaviest work comes first", 0.001,
     1e6},
    {"again", 0, OPT_FLAG, NULL, "measure also what was measured before", 0, 0},
    {"loss", 0, OPT_CHOICE, "softmax_xent|mse|mae|huber|bce_logits",
     "append it to a graph that has none", 0, 0},
    OPTION_JSON,
    OPTION_DEVICE,
    OPTION_TALK,
    OPTION_HELP,
    {0}};

const command_def cmd_tune = {
    .name = "tune",
    .operands = "MODEL",
    .summary = "measure which kernels are fastest here",
    .more = "MODEL is an architecture, a graph's text file, a checkpoint or a run's folder.\n"
            "Each kind of work that more than one kernel can do is run alone with each of them, on "
            "random numbers;\n"
            "a kernel whose result differs from the default's is told and never used. The winners "
            "are kept in\n"
            "the user's cache, one file for each device, driver and version; whatever runs later "
            "uses them.\n"
            "--no-tune of `kiln train`, or KILN_TUNE=0, goes by rule alone.\n"
            "\nexamples:\n  kiln tune resnet18 --batch 8 --train\n"
            "  kiln explain resnet18 --batch 8 --train\n",
    .options = options,
    .min_operands = 1,
    .max_operands = 1,
    .run = run_tune};
