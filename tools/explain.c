/* kiln explain: why each layer got its kernel, and what else there was. */
#include "choice.h"
#include "json.h"
#include "net.h"
#include "term.h"

#include <stdlib.h>
#include <string.h>

static const char *const whys[] = {"only one", "by rule", "measured", "forced"};

static void print_rejected(const kl_choice *c)
{
    const char *dim = sgr(stdout, DIM), *plain = sgr(stdout, PLAIN);
    for (int i = 0; i < c->n_alternatives; i++) {
        const kl_alternative *x = &c->alternative[i];
        if (x->why_not) {
            printf("    %snot %s: needs %s%s\n", dim, x->name, x->why_not, plain);
        } else if (x->wrong) {
            printf("    not %s: its numbers are %.2g off\n", x->name, x->error);
        }
    }
}

static void print_long(const kl_choice *c)
{
    char *others = choice_others(c);
    printf("%s%s%s  %s\n    %s, %s; %s -> %s\n", sgr(stdout, BOLD), c->layer, sgr(stdout, PLAIN),
           c->work, c->chosen, whys[c->why], c->in, c->out);
    if (c->n_alternatives > 1) {
        printf("    of %s\n", others);
    }
    print_rejected(c);
    free(others);
}

static void print_table(const kl_choice *rows, size_t n)
{
    table t;
    char time[32];
    table_init(&t, "llllllrl");
    for (const char *const *h = (const char *const[]){"layer", "op", "kernel", "why", "in", "out",
                                                      "time", "others", NULL};
         *h; h++) {
        table_cell(&t, "%s", *h);
    }
    for (size_t i = 0; i < n; i++) {
        const kl_choice *c = &rows[i];
        const kl_alternative *x = choice_find(c, c->chosen);
        char *others = choice_others(c);
        const bool alone = !strchr(others, ',');
        table_cell(&t, "%s", c->layer);
        table_cell(&t, "%s", c->op);
        table_cell(&t, "%s", c->chosen);
        table_cell(&t, "%s", whys[c->why]);
        table_cell(&t, "%s", c->in);
        table_cell(&t, "%s", c->out);
        table_cell(&t, "%s", choice_time(time, x ? x->seconds : -1));
        table_cell(&t, "%s", alone ? "" : others);
        free(others);
    }
    table_print(&t, stdout);
}

static void print_rows(const args *a, const kl_choice *rows, size_t n)
{
    if (args_has(a, "json")) {
        json_t *list = json_array();
        for (size_t i = 0; i < n; i++) {
            json_array_append_new(list, choice_json(&rows[i]));
        }
        print_json(list);
    } else if (args_has(a, "long")) {
        for (size_t i = 0; i < n; i++) {
            print_long(&rows[i]);
        }
    } else {
        print_table(rows, n);
    }
}

static int run_explain(args *a)
{
    net m;
    kl_choice *rows = NULL;
    kl_tune_opts o;
    size_t n = 0;
    int code = net_open(&m, a->operands[0], &(net_opts){.loss = args_text(a, "loss")});
    code = code ? code : choice_opts(a, m.loss, &o);
    kl_ctx *ctx = code ? NULL : open_device(a, 0, &code);
    if (code == 0) {
        o.seconds = args_has(a, "time") ? 1e6 : 0;
        const kl_status s = kl_explain(m.model, ctx, &o, &rows, &n);
        progress_clear();
        code = s ? fail_status(s) : 0;
    }
    if (code == 0) {
        print_rows(a, rows, n);
    }
    kl_free(rows);
    net_close(&m);
    kl_ctx_destroy(ctx);
    return code;
}

static const option_def options[] = {
    {"batch", 'b', OPT_INT, "N", "samples a pass (32)", 1, 1e6},
    {"train", 't', OPT_FLAG, NULL, "the training step; else inference", 0, 0},
    {"time", 0, OPT_FLAG, NULL, "measure the alternatives now; else times of `kiln tune`", 0, 0},
    {"long", 'l', OPT_FLAG, NULL, "shapes, and what each kernel that was not taken needs", 0, 0},
    {"no-tune", 0, OPT_FLAG, NULL, "by rule alone, whatever was measured", 0, 0},
    {"loss", 0, OPT_CHOICE, "softmax_xent|mse|mae|huber|bce_logits",
     "append it to a graph that has none", 0, 0},
    OPTION_JSON,
    OPTION_DEVICE,
    OPTION_TALK,
    OPTION_HELP,
    {0}};

const command_def cmd_explain = {
    .name = "explain",
    .operands = "MODEL",
    .summary = "why each layer gets its kernel",
    .more = "One line per op of the pass as it runs: element-wise work fused, changes of storage "
            "told as `reorder`.\n"
            "why: measured (by `kiln tune` or during a training), by rule, the only one that fits, "
            "forced by KILN_VARIANT.\n"
            "in, out: storage of the first input and the output; nchw16 is blocks of 16 channels, "
            "with a halo of zeros.\n"
            "\nexample:\n  kiln explain resnet18 --batch 8 --train --time\n",
    .options = options,
    .min_operands = 1,
    .max_operands = 1,
    .run = run_explain};
