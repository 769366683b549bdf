/* kiln summary: what a model is made of and what it takes. */
#include "json.h"
#include "net.h"
#include "term.h"

#include <stdlib.h>

typedef struct summary {
    args *a;
    net net;
    kl_layer_info *layers;
    size_t n, params, trainable, state; /* state: running statistics */
    int64_t macs, batch;
    kl_ctx *ctx;
    kl_cost cost;
    bool has_cost, training;
} summary;

static int take_layers(summary *s)
{
    kl_status st = kl_model_layers(s->net.model, NULL, 0, &s->n);
    if (st == KL_OK && s->n) {
        s->layers = must_alloc(s->n, sizeof *s->layers);
        st = kl_model_layers(s->net.model, s->layers, s->n, &s->n);
    }
    for (size_t i = 0; st == KL_OK && i < s->n; i++) {
        s->macs += s->layers[i].macs;
    }
    for (size_t i = 0; st == KL_OK && i < kl_model_n_params(s->net.model); i++) {
        kl_param_info p;
        st = kl_model_param(s->net.model, i, &p);
        s->params += p.count;
        s->trainable += p.trainable ? p.count : 0;
        s->state += p.trainable ? 0 : p.count;
    }
    return st ? fail_status(st) : 0;
}

/* A summary needs no device; the memory plan does. */
static int take_cost(summary *s)
{
    int code = 0;
    if (args_has(s->a, "no-device")) {
        return 0;
    }
    s->ctx = open_device(s->a, 0, &code);
    if (!s->ctx) {
        note("so there is no memory plan below; --no-device leaves it out in silence");
        return code == EXIT_NO_DEVICE && !args_has(s->a, "device") ? 0 : code;
    }
    const kl_status st = kl_model_cost(s->net.model, s->ctx, s->batch, s->training, &s->cost);
    progress_clear();
    s->has_cost = st == KL_OK;
    return st ? fail_status(st) : 0;
}

static void heads(table *t, const char *const *names)
{
    for (; *names; names++) {
        table_cell(t, "%s", *names);
    }
}

static void print_layers(const summary *s)
{
    table t;
    char shape[96];
    number params, macs;
    table_init(&t, "lllrrr");
    heads(&t, (const char *const[]){"layer", "op", "output", "parameters", "MACs", "sees", NULL});
    for (size_t i = 0; i < s->n; i++) {
        const kl_layer_info *l = &s->layers[i];
        table_cell(&t, "%s", l->name);
        table_cell(&t, "%s", l->op);
        table_cell(&t, "%s", shape_text(shape, l->out));
        table_cell(&t, "%s", l->params ? count_text(params, (double)l->params) : "");
        table_cell(&t, "%s", l->macs ? count_text(macs, (double)l->macs) : "");
        if (l->receptive[0]) {
            table_cell(&t, "%dx%d", l->receptive[0], l->receptive[1]);
        } else {
            table_cell(&t, "%s", "");
        }
    }
    table_print(&t, stdout);
}

/* AdamW's: two moments for each trained number. */
static size_t optimizer_bytes(const summary *s)
{
    return 2 * sizeof(float) * s->trainable;
}

static void print_totals(const summary *s)
{
    number a, b, c;
    printf("\n%zu parameters (%s), %zu trainable", s->params,
           bytes_text(a, 4.0 * (double)s->params), s->trainable);
    printf("; %s MACs a sample, forward\n", count_text(b, (double)s->macs));
    if (!s->has_cost) {
        return;
    }
    const kl_cost *k = &s->cost;
    printf("%s, batch %lld: activations %s in one arena, %s side by side (%.2f times less)\n",
           s->training ? "training step" : "inference", (long long)s->batch,
           bytes_text(a, (double)k->arena_bytes), bytes_text(b, (double)k->sum_bytes),
           k->arena_bytes ? (double)k->sum_bytes / (double)k->arena_bytes : 1.0);
    printf("parameters %s", bytes_text(a, (double)k->param_bytes));
    if (s->training) {
        printf(", AdamW's moments %s, gradients %s", bytes_text(b, (double)optimizer_bytes(s)),
               bytes_text(c, 4.0 * (double)s->trainable));
    }
    printf("\n%zu launches from %zu ops, %zu of them in place\n", k->n_launches, k->n_applies,
           k->n_in_place);
}

static json_t *layer_json(const kl_layer_info *l)
{
    json_t *j = json_object();
    json_object_set_new(j, "name", json_text(l->name));
    json_object_set_new(j, "op", json_string(l->op));
    json_object_set_new(j, "output", json_shape(l->out.n_dims, l->out.dim));
    json_object_set_new(j, "parameters", json_integer((json_int_t)l->params));
    json_object_set_new(j, "trainable", json_integer((json_int_t)l->trainable));
    json_object_set_new(j, "macs", json_integer(l->macs));
    json_object_set_new(j, "receptive_field",
                        l->receptive[0] ? json_pack("[i, i]", l->receptive[0], l->receptive[1])
                                        : json_null());
    return j;
}

static void print_as_json(const summary *s)
{
    json_t *j = json_object(), *list = json_array();
    for (size_t i = 0; i < s->n; i++) {
        json_array_append_new(list, layer_json(&s->layers[i]));
    }
    json_object_set_new(j, "model", json_text(s->net.name));
    json_object_set_new(j, "layers", list);
    json_object_set_new(j, "parameters", json_integer((json_int_t)s->params));
    json_object_set_new(j, "trainable", json_integer((json_int_t)s->trainable));
    json_object_set_new(j, "macs", json_integer(s->macs));
    if (s->has_cost) {
        const kl_cost *k = &s->cost;
        json_t *m = json_object();
        json_object_set_new(m, "batch", json_integer(s->batch));
        json_object_set_new(m, "training", json_boolean(s->training));
        json_object_set_new(m, "arena_bytes", json_integer((json_int_t)k->arena_bytes));
        json_object_set_new(m, "sum_bytes", json_integer((json_int_t)k->sum_bytes));
        json_object_set_new(m, "parameter_bytes", json_integer((json_int_t)k->param_bytes));
        json_object_set_new(m, "optimizer_bytes",
                            json_integer(s->training ? (json_int_t)optimizer_bytes(s) : 0));
        json_object_set_new(m, "launches", json_integer((json_int_t)k->n_launches));
        json_object_set_new(m, "ops", json_integer((json_int_t)k->n_applies));
        json_object_set_new(m, "in_place", json_integer((json_int_t)k->n_in_place));
        json_object_set_new(j, "memory", m);
    }
    print_json(j);
}

static int list_zoo(void)
{
    table t;
    char shape[96];
    table_init(&t, "llrl");
    heads(&t, (const char *const[]){"model", "input", "classes", "what", NULL});
    for (size_t i = 0; i < kl_zoo_count(); i++) {
        const kl_zoo_entry *e = kl_zoo_at(i);
        table_cell(&t, "%s", e->name);
        table_cell(&t, "%s", shape_text(shape, e->sample));
        table_cell(&t, "%d", e->n_classes);
        table_cell(&t, "%s", e->doc);
    }
    table_print(&t, stdout);
    return 0;
}

static int run_summary(args *a)
{
    summary s = {.a = a, .batch = args_int(a, "batch", 1), .training = args_has(a, "train")};
    if (a->n_operands == 0) {
        return list_zoo();
    }
    int code = net_open(&s.net, a->operands[0], NULL);
    code = code ? code : take_layers(&s);
    code = code ? code : take_cost(&s);
    if (code == 0 && args_has(a, "json")) {
        print_as_json(&s);
    } else if (code == 0) {
        print_layers(&s);
        print_totals(&s);
    }
    free(s.layers);
    net_close(&s.net);
    kl_ctx_destroy(s.ctx);
    return code;
}

static const option_def options[] = {
    {"batch", 'b', OPT_INT, "N", "plan the memory for so many samples (1)", 1, 1e6},
    {"train", 't', OPT_FLAG, NULL, "plan a training step, not inference", 0, 0},
    {"no-device", 0, OPT_FLAG, NULL, "layers only: no memory plan", 0, 0},
    OPTION_JSON,
    OPTION_DEVICE,
    OPTION_TALK,
    OPTION_HELP,
    {0}};

const command_def cmd_summary = {.name = "summary",
                                 .operands = "[MODEL]",
                                 .summary = "list a model's layers, parameters, MACs and memory",
                                 .more = "MODEL is an architecture, a graph's text file, a "
                                         "checkpoint or a run's folder. Without it: the\n"
                                         "architectures there are. \"sees\" is the part of the "
                                         "input that one number of the output depends on,\n"
                                         "rows x columns; empty: all of it.\n",
                                 .options = options,
                                 .max_operands = 1,
                                 .run = run_summary};
