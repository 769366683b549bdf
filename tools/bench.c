/* kiln bench: how fast, and at what price. */
#include "bench.h"
#include "json.h"
#include "net.h"

#include <stdlib.h>
#include <string.h>

typedef struct bench {
    args *a;
    bool first, layers;
    table table;
    json_t *list;   /* NULL: tables */
    bench_row last; /* for what is said once: the device and its peaks */
} bench;

/* ---- one measurement
 * ------------------------------------------------------------------------------------ */

/** --trace FILE: some more passes, with what each command of the device took. */
static kl_status trace(const args *a, const bench_row *r, const net *m, kl_ctx *ctx)
{
    const char *file = args_text(a, "trace");
    return file ? kl_model_trace(m->model, ctx, r->batch, r->training, m->loss, 3, file) : KL_OK;
}

static kl_status profile(const args *a, const net *m, kl_ctx *ctx, bench_row *r)
{
    kl_ctx_info(ctx, &r->device);
    kl_status s = kl_model_profile(m->model, ctx, r->batch, r->training, m->loss,
                                   (int)args_int(a, "runs", 5), r->ops, &r->times);
    if (s == KL_OK) {
        kl_ctx_stats_get(ctx, &r->stats);
        s = kl_model_cost(m->model, ctx, r->batch, r->training, &r->cost);
    }
    if (s == KL_OK) {
        s = trace(a, r, m, ctx);
    }
    if (s == KL_OK && kl_ctx_peaks(ctx, false, &r->peaks) != KL_OK) {
        note("the device's peaks are not known: %s", kl_last_error());
        r->peaks = (kl_peaks){0};
    }
    return s;
}

/* A context of its own for each: so the peak of memory and the kernels built are this row's. */
int bench_measure(const args *a, const char *device, bench_row *r)
{
    int code = 0;
    net m;
    kl_ctx *ctx = NULL;
    kl_status s = KL_OK;
    code = net_open(&m, r->model, &(net_opts){.loss = r->training ? args_text(a, "loss") : NULL});
    if (code == 0 && r->training && !m.loss) {
        code =
            fail(EXIT_USAGE,
                 "%s has no output \"loss\"; say which one to append, --loss softmax_xent", m.name);
    }
    if (code == 0) {
        ctx = open_device_named(device ? device : args_text(a, "device"),
                                KL_CTX_PROFILE | (args_has(a, "exact") ? KL_CTX_EXACT : 0u), &code);
    }
    if (code == 0) {
        s = profile(a, &m, ctx, r);
    }
    progress_clear();
    code = code ? code : s ? fail_status(s) : 0;
    net_close(&m);
    kl_ctx_destroy(ctx);
    if (code) {
        bench_row_free(r);
    }
    return code;
}

void bench_row_free(bench_row *r)
{
    kl_profile_free(&r->times);
}

/* ---- what is printed
 * -------------------------------------------------------------------------------------- */

double bench_per_second(const bench_row *r, double seconds)
{
    return seconds > 0 ? (double)r->batch / seconds : 0;
}

void bench_heads(table *t, const char *const *names)
{
    for (; *names; names++) {
        table_cell(t, "%s", *names);
    }
}

static void add_row(bench *b, const bench_row *r)
{
    number text;
    table *t = &b->table;
    table_cell(t, "%s", r->model);
    table_cell(t, "%s", r->training ? "train" : "infer");
    table_cell(t, "%lld", (long long)r->batch);
    table_cell(t, "%.1f", bench_per_second(r, r->times.step_seconds));
    table_cell(t, "%.1f", bench_per_second(r, r->times.cpu_seconds));
    table_cell(t, "%s", seconds_text(text, r->times.step_seconds));
    table_cell(t, "%s", seconds_text(text, r->times.first_seconds));
    table_cell(t, "%llu+%llu", (unsigned long long)r->stats.kernels_built,
               (unsigned long long)r->stats.kernels_from_cache);
    table_cell(t, "%zu", r->times.launches);
    if (r->ops) {
        table_cell(t, "%.2f us", 1e6 * r->times.enqueue_seconds);
    } else {
        table_cell(t, "-");
    }
    table_cell(t, "%s", bytes_text(text, (double)r->stats.peak_bytes));
    table_cell(t, "%s", bytes_text(text, (double)r->cost.arena_bytes));
    table_cell(t, "%s", bytes_text(text, (double)r->cost.sum_bytes));
}

json_t *bench_row_json(const bench_row *r, bool layers)
{
    json_t *j = json_object();
    char id[32];
    snprintf(id, sizeof id, "%d:%d", r->device.platform, r->device.device);
    json_object_set_new(j, "model", json_text(r->model));
    json_object_set_new(j, "mode", json_string(r->training ? "train" : "infer"));
    json_object_set_new(j, "batch", json_integer(r->batch));
    json_object_set_new(j, "device_id", json_string(id));
    json_object_set_new(j, "device", json_text(r->device.name));
    json_object_set_new(j, "driver", json_text(r->device.platform_name));
    json_object_set_new(j, "images_per_second",
                        json_real(bench_per_second(r, r->times.step_seconds)));
    json_object_set_new(j, "images_per_cpu_second",
                        json_real(bench_per_second(r, r->times.cpu_seconds)));
    json_object_set_new(j, "step_seconds", json_real(r->times.step_seconds));
    json_object_set_new(j, "cpu_seconds", json_real(r->times.cpu_seconds));
    json_object_set_new(j, "first_seconds", json_real(r->times.first_seconds));
    if (r->ops) {
        json_object_set_new(j, "enqueue_seconds", json_real(r->times.enqueue_seconds));
    }
    json_object_set_new(j, "build_seconds", json_real(r->stats.build_seconds));
    json_object_set_new(j, "kernels_built", json_integer((json_int_t)r->stats.kernels_built));
    json_object_set_new(j, "kernels_from_cache",
                        json_integer((json_int_t)r->stats.kernels_from_cache));
    json_object_set_new(j, "launches", json_integer((json_int_t)r->times.launches));
    json_object_set_new(j, "peak_bytes", json_integer((json_int_t)r->stats.peak_bytes));
    json_object_set_new(j, "arena_bytes", json_integer((json_int_t)r->cost.arena_bytes));
    json_object_set_new(j, "sum_bytes", json_integer((json_int_t)r->cost.sum_bytes));
    json_object_set_new(j, "parameter_bytes", json_integer((json_int_t)r->cost.param_bytes));
    json_object_set_new(j, "peaks", bench_peaks_json(&r->peaks));
    if (layers) {
        json_object_set_new(j, "layers", bench_layers_json(r));
    }
    return j;
}

/* ---- the command
 * ---------------------------------------------------------------------------------------------- */

static int bench_one(void *user, const char *model, int64_t batch, bool training)
{
    bench *b = user;
    bench_row r = {.model = model, .training = training, .ops = b->layers, .batch = batch};
    const int code = bench_measure(b->a, NULL, &r);
    if (code == 0 && b->list) {
        json_array_append_new(b->list, bench_row_json(&r, b->layers));
    } else if (code == 0) {
        if (b->first) {
            printf("%s (%s, %d units), kiln %s\n", r.device.name, r.device.type,
                   r.device.compute_units, kl_version());
        }
        add_row(b, &r);
        if (b->layers) {
            bench_print_layers(b->a, &r);
        }
    }
    b->first = false;
    bench_row_free(&r);
    b->last = r;
    return code;
}

static int each_batch(args *a, const char *model, bool training,
                      int (*one)(void *, const char *, int64_t, bool), void *user)
{
    int code = 0;
    const char *s = args_text(a, "batch");
    for (s = s ? s : "32"; code == 0 && *s;) {
        char *end;
        const long long batch = strtoll(s, &end, 10);
        if (end == s || batch < 1 || batch > 1000000 || (*end && *end != ',')) {
            return fail(EXIT_USAGE, "--batch %s: that is no list of sizes like 1,32",
                        args_text(a, "batch"));
        }
        code = one(user, model, batch, training);
        s = *end ? end + 1 : end;
    }
    return code;
}

int bench_each(args *a, int (*one)(void *user, const char *model, int64_t batch, bool training),
               void *user)
{
    const bool train = args_has(a, "train"), infer = args_has(a, "infer") || !train;
    int code = 0;
    for (int i = 0; i < a->n_operands && code == 0; i++) {
        code = infer ? each_batch(a, a->operands[i], false, one, user) : 0;
        code = code || !train ? code : each_batch(a, a->operands[i], true, one, user);
    }
    return code;
}

/** A single measurement is told in full. */
static bool only_one(const args *a)
{
    const char *batch = args_text(a, "batch");
    return a->n_operands == 1 && !(batch && strchr(batch, ',')) &&
           !(args_has(a, "train") && args_has(a, "infer"));
}

static int bench_models(args *a)
{
    bench b = {.a = a, .first = true};
    b.list = args_has(a, "json") ? json_array() : NULL;
    b.layers = args_has(a, "layers") || (!b.list && only_one(a));
    table_init(&b.table, "llrrrrrrrrrrr");
    bench_heads(&b.table, (const char *const[]){"model", "mode", "batch", "images/s", "per CPU-s",
                                                "pass", "first", "built+cached", "launches",
                                                "enqueue", "peak", "arena", "sum", NULL});
    const int code = bench_each(a, bench_one, &b);
    if (b.list && code == 0) {
        print_json(json_pack("{s:o, s:s, s:o, s:O}", "device", json_text(b.last.device.name),
                             "kiln", kl_version(), "peaks", bench_peaks_json(&b.last.peaks), "rows",
                             b.list));
    } else if (!b.list && b.table.n > b.table.columns) {
        putchar('\n');
        table_print(&b.table, stdout);
    }
    json_decref(b.list);
    table_free(&b.table);
    return code;
}

static int run_bench(args *a)
{
    if (args_has(a, "op")) {
        return bench_op(a);
    }
    if (args_has(a, "peaks")) {
        return bench_peaks(a);
    }
    if (a->n_operands == 0) {
        return fail(EXIT_USAGE, "name a model, or an op: --op \"relu(x)\" --shape x=1,8");
    }
    if (args_has(a, "trace") && (!only_one(a) || args_has(a, "compare"))) {
        return fail(EXIT_USAGE, "--trace takes one model, mode and batch size");
    }
    return args_has(a, "compare")                  ? bench_compare(a)
           : names_group(args_text(a, "device")) ? bench_scale(a)
                                                  : bench_models(a);
}

static const option_def options[] = {
    {"batch", 'b', OPT_STRING, "N,...", "samples a pass, one size or several (32)", 0, 0},
    {"infer", 'i', OPT_FLAG, NULL, "time inference (the default)", 0, 0},
    {"train", 't', OPT_FLAG, NULL, "time training steps; with --infer: both", 0, 0},
    {"runs", 'n', OPT_INT, "N", "repetitions, of which the median is told (5)", 1, 1000},
    {"layers", 'l', OPT_FLAG, NULL,
     "a table of every op (the default for one measurement without\n--json)", 0, 0},
    {"sort", 0, OPT_CHOICE, "order|time",
     "of that table: as they run (the default), or longest first", 0, 0},
    {"loss", 0, OPT_CHOICE, "softmax_xent|mse|mae|huber|bce_logits",
     "append it to a graph that has none", 0, 0},
    {"compare", 'c', OPT_FLAG, NULL,
     "devices as columns: all, or those that --device 0:0,1:0 lists", 0, 0},
    {"shards", 0, OPT_INT, "N", "of a batch that several devices share (16)", 1, 256},
    {"trace", 0, OPT_STRING, "FILE",
     "write when each command ran, for Perfetto or chrome://tracing", 0, 0},
    {"peaks", 0, OPT_FLAG, NULL, "only measure what the device can do at most", 0, 0},
    {"op", 'o', OPT_STRING, "CALL",
     "time one op instead, written as in a graph's text; --train: also\n"
     "each gradient",
     0, 0},
    {"shape", 's', OPT_LIST, "NAME=N,...",
     "of an input that CALL names; NAME=N,...:i32 for labels; may be\nrepeated", 0, 0},
    OPTION_JSON,
    OPTION_DEVICE,
    OPTION_EXACT,
    OPTION_TALK,
    OPTION_HELP,
    {0}};

const command_def cmd_bench = {
    .name = "bench",
    .operands = "[MODEL...]",
    .summary = "time models and ops: per second and CPU-second, and next to the device's peaks",
    .more =
        "MODEL is an architecture, a graph's text file, a checkpoint or a run's folder; its "
        "data is random.\n"
        "first: planning, compiling and the first pass. built+cached: programs compiled now, "
        "and taken from\n"
        "the cache. enqueue: of the host, per launch (with --layers). peak: device memory held. "
        "arena: the "
        "activations as\n"
        "planned; sum: side by side. of peak: the time that the op's arithmetic, or its values "
        "at the rate\n"
        "of the nearest cache that holds them, or its launches take at the device's measured "
        "peaks, whichever\n"
        "is longest (bound), as a share of the time it took; more than 100% where fewer "
        "operations do.\n"
        "With --train and --device all, A,B or 0:0/2 (the halves of a device): each device alone, "
        "then "
        "all together;\n"
        "speed-up is over the fastest alone, efficiency over the sum of all alone.\n"
        "An op's passes are timed without moving inputs and outputs to and from plain storage "
        "(reorder).\n"
        "\nJSON: rows[] of model mode batch device_id device driver images_per_second "
        "images_per_cpu_second\n"
        "step_seconds cpu_seconds first_seconds enqueue_seconds build_seconds kernels_built "
        "kernels_from_cache\n"
        "launches peak_bytes arena_bytes sum_bytes parameter_bytes peaks{flops launch_seconds "
        "levels[name\n"
        "bytes bytes_per_second]}, with --layers layers[node op variant kernel launches seconds "
        "macs flops bytes\n"
        "share_of_peak bound]; with --op passes[] of pass of kernel seconds best_seconds "
        "cpu_seconds\n"
        "best_cpu_seconds reorder_seconds launches macs bytes; with several devices rows[] of "
        "model "
        "mode batch\n"
        "shards devices[id name compute_units alone_images_per_second speed_up shards busy "
        "images_per_second]\n"
        "images_per_second speed_up efficiency.\n"
        "\nexamples:\n  kiln bench lenet --batch 1,64 --train --infer --layers\n"
        "  kiln bench vgg6 --train --batch 64 --sort time\n"
        "  kiln bench --op \"conv2d(x, filters=64, kernel=3, pad=1)\" --shape x=16,64,32,32 "
        "--train\n",
    .options = options,
    .min_operands = 0,
    .max_operands = -1,
    .run = run_bench};
