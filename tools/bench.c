/* kiln bench: how fast, and at what price. */
#include "json.h"
#include "net.h"
#include "term.h"

#include <stdlib.h>
#include <string.h>

typedef struct row {
    const char *model;
    bool training;
    int64_t batch;
    kl_profile times;
    kl_cost cost;
    kl_ctx_stats stats;
} row;

typedef struct bench {
    args *a;
    kl_device_info device;
    table table;
    json_t *list;
} bench;

/* ---- one measurement
 * ------------------------------------------------------------------------------------ */

/* A context of its own for each: so the peak of memory and the kernels built are this row's. */
static int measure(const bench *b, row *r, kl_device_info *device)
{
    int code = 0;
    net m;
    kl_ctx *ctx = NULL;
    kl_status s = KL_OK;
    code =
        net_open(&m, r->model, &(net_opts){.loss = r->training ? args_text(b->a, "loss") : NULL});
    if (code == 0 && r->training && !m.loss) {
        code =
            fail(EXIT_USAGE,
                 "%s has no output \"loss\"; say which one to append, --loss softmax_xent", m.name);
    }
    ctx = code ? NULL : open_device(b->a, 0, &code);
    if (code == 0) {
        kl_ctx_info(ctx, device);
        s = kl_model_profile(m.model, ctx, r->batch, r->training, m.loss,
                             (int)args_int(b->a, "runs", 5), &r->times);
    }
    if (code == 0 && s == KL_OK) {
        kl_ctx_stats_get(ctx, &r->stats);
        s = kl_model_cost(m.model, ctx, r->batch, r->training, &r->cost);
    }
    progress_clear();
    code = code ? code : s ? fail_status(s) : 0;
    net_close(&m);
    kl_ctx_destroy(ctx);
    return code;
}

/* ---- what is printed
 * -------------------------------------------------------------------------------------- */

static double per_second(const row *r, double seconds)
{
    return seconds > 0 ? (double)r->batch / seconds : 0;
}

static void add_heads(table *t, const char *const *names)
{
    for (; *names; names++) {
        table_cell(t, "%s", *names);
    }
}

static void add_row(bench *b, const row *r)
{
    number text;
    table *t = &b->table;
    table_cell(t, "%s", r->model);
    table_cell(t, "%s", r->training ? "train" : "infer");
    table_cell(t, "%lld", (long long)r->batch);
    table_cell(t, "%.1f", per_second(r, r->times.step_seconds));
    table_cell(t, "%.1f", per_second(r, r->times.cpu_seconds));
    table_cell(t, "%s", seconds_text(text, r->times.step_seconds));
    table_cell(t, "%s", seconds_text(text, r->times.first_seconds));
    table_cell(t, "%llu+%llu", (unsigned long long)r->stats.kernels_built,
               (unsigned long long)r->stats.kernels_from_cache);
    table_cell(t, "%zu", r->cost.n_launches);
    table_cell(t, "%s", bytes_text(text, (double)r->stats.peak_bytes));
    table_cell(t, "%s", bytes_text(text, (double)r->cost.arena_bytes));
    table_cell(t, "%s", bytes_text(text, (double)r->cost.sum_bytes));
}

static void print_layers(const row *r)
{
    table t;
    number text;
    double all = 0;
    for (size_t i = 0; i < r->times.n; i++) {
        all += r->times.rows[i].seconds;
    }
    printf("\n%s, %s, batch %lld: launches one by one\n", r->model, r->training ? "train" : "infer",
           (long long)r->batch);
    table_init(&t, "llrrrr");
    add_heads(&t,
              (const char *const[]){"node", "kernel", "time", "share", "GFLOP/s", "GB/s", NULL});
    for (size_t i = 0; i < r->times.n; i++) {
        const kl_op_time *o = &r->times.rows[i];
        const bool timed = o->seconds > 0;
        table_cell(&t, "%s", o->name);
        table_cell(&t, "%s", o->kernel);
        table_cell(&t, "%s", seconds_text(text, o->seconds));
        table_cell(&t, "%.1f%%", all > 0 ? 100 * o->seconds / all : 0);
        if (timed && o->macs) {
            table_cell(&t, "%.2f", 2e-9 * (double)o->macs / o->seconds);
        } else {
            table_cell(&t, "%s", "");
        }
        if (timed && o->bytes) {
            table_cell(&t, "%.2f", 1e-9 * (double)o->bytes / o->seconds);
        } else {
            table_cell(&t, "%s", "");
        }
    }
    table_print(&t, stdout);
}

static json_t *layers_json(const row *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->times.n; i++) {
        const kl_op_time *o = &r->times.rows[i];
        json_t *j = json_object();
        json_object_set_new(j, "node", json_text(o->name));
        json_object_set_new(j, "kernel", json_text(o->kernel));
        json_object_set_new(j, "seconds", json_number_or_null(o->seconds));
        json_object_set_new(j, "macs", json_integer(o->macs));
        json_object_set_new(j, "bytes", json_integer((json_int_t)o->bytes));
        json_array_append_new(list, j);
    }
    return list;
}

static json_t *row_json(const row *r, bool layers)
{
    json_t *j = json_object();
    json_object_set_new(j, "model", json_text(r->model));
    json_object_set_new(j, "mode", json_string(r->training ? "train" : "infer"));
    json_object_set_new(j, "batch", json_integer(r->batch));
    json_object_set_new(j, "images_per_second", json_real(per_second(r, r->times.step_seconds)));
    json_object_set_new(j, "images_per_cpu_second", json_real(per_second(r, r->times.cpu_seconds)));
    json_object_set_new(j, "step_seconds", json_real(r->times.step_seconds));
    json_object_set_new(j, "cpu_seconds", json_real(r->times.cpu_seconds));
    json_object_set_new(j, "first_seconds", json_real(r->times.first_seconds));
    json_object_set_new(j, "build_seconds", json_real(r->stats.build_seconds));
    json_object_set_new(j, "kernels_built", json_integer((json_int_t)r->stats.kernels_built));
    json_object_set_new(j, "kernels_from_cache",
                        json_integer((json_int_t)r->stats.kernels_from_cache));
    json_object_set_new(j, "launches", json_integer((json_int_t)r->cost.n_launches));
    json_object_set_new(j, "peak_bytes", json_integer((json_int_t)r->stats.peak_bytes));
    json_object_set_new(j, "arena_bytes", json_integer((json_int_t)r->cost.arena_bytes));
    json_object_set_new(j, "sum_bytes", json_integer((json_int_t)r->cost.sum_bytes));
    json_object_set_new(j, "parameter_bytes", json_integer((json_int_t)r->cost.param_bytes));
    if (layers) {
        json_object_set_new(j, "layers", layers_json(r));
    }
    return j;
}

/* ---- the command
 * ---------------------------------------------------------------------------------------------- */

static int bench_one(bench *b, const char *model, int64_t batch, bool training)
{
    row r = {.model = model, .training = training, .batch = batch};
    const bool first = b->device.name[0] == 0, layers = args_has(b->a, "layers");
    const int code = measure(b, &r, &b->device);
    if (code == 0 && b->list) {
        json_array_append_new(b->list, row_json(&r, layers));
    } else if (code == 0) {
        if (first) {
            printf("%s (%s, %d units), kiln %s\n", b->device.name, b->device.type,
                   b->device.compute_units, kl_version());
        }
        add_row(b, &r);
        if (layers) {
            print_layers(&r);
        }
    }
    kl_profile_free(&r.times);
    return code;
}

static int bench_batches(bench *b, const char *model, bool training)
{
    int code = 0;
    const char *s = args_text(b->a, "batch");
    for (s = s ? s : "32"; code == 0 && *s;) {
        char *end;
        const long long batch = strtoll(s, &end, 10);
        if (end == s || batch < 1 || batch > 1000000 || (*end && *end != ',')) {
            return fail(EXIT_USAGE, "--batch %s: that is no list of sizes like 1,32",
                        args_text(b->a, "batch"));
        }
        code = bench_one(b, model, batch, training);
        s = *end ? end + 1 : end;
    }
    return code;
}

static int run_bench(args *a)
{
    bench b = {.a = a, .list = args_has(a, "json") ? json_array() : NULL};
    const bool train = args_has(a, "train"), infer = args_has(a, "infer") || !train;
    int code = 0;
    table_init(&b.table, "llrrrrrrrrrr");
    add_heads(&b.table, (const char *const[]){"model", "mode", "batch", "images/s", "per CPU-s",
                                              "pass", "first", "built+cached", "launches", "peak",
                                              "arena", "sum", NULL});
    for (int i = 0; i < a->n_operands && code == 0; i++) {
        code = infer ? bench_batches(&b, a->operands[i], false) : 0;
        code = code || !train ? code : bench_batches(&b, a->operands[i], true);
    }
    if (b.list && code == 0) {
        print_json(json_pack("{s:o, s:s, s:O}", "device", json_text(b.device.name), "kiln",
                             kl_version(), "rows", b.list));
    } else if (!b.list && b.table.n > b.table.columns) {
        putchar('\n');
        table_print(&b.table, stdout);
    }
    json_decref(b.list);
    table_free(&b.table);
    return code;
}

static const option_def options[] = {
    {"batch", 'b', OPT_STRING, "N,...", "samples a pass, one size or several (32)", 0, 0},
    {"infer", 'i', OPT_FLAG, NULL, "time inference (the default)", 0, 0},
    {"train", 't', OPT_FLAG, NULL, "time training steps; with --infer: both", 0, 0},
    {"runs", 'n', OPT_INT, "N", "repetitions, of which the median is told (5)", 1, 1000},
    {"layers", 'l', OPT_FLAG, NULL, "a table of every launch", 0, 0},
    {"loss", 0, OPT_CHOICE, "softmax_xent|mse|mae|huber|bce_logits",
     "append it to a graph that has none", 0, 0},
    OPTION_JSON,
    OPTION_DEVICE,
    OPTION_EXACT,
    OPTION_TALK,
    OPTION_HELP,
    {0}};

const command_def cmd_bench = {
    .name = "bench",
    .operands = "MODEL...",
    .summary = "time models: images per second and per CPU-second",
    .more = "MODEL is an architecture, a graph's text file, a checkpoint or a run's folder; its "
            "data is random.\n"
            "first: planning, compiling and the first pass. built+cached: programs compiled now, "
            "and taken from\n"
            "the cache. peak: device memory held. arena: the activations as planned; sum: side by "
            "side.\n"
            "\nexample:\n  kiln bench lenet --batch 1,64 --train --infer --layers\n",
    .options = options,
    .min_operands = 1,
    .max_operands = -1,
    .run = run_bench};
