/* kiln bench --op: the passes of one op, alone. */
#include "bench.h"
#include "json.h"

#include <stdlib.h>
#include <string.h>

static const char *const pass_words[] = {"forward", "backward_data", "backward_weights",
                                         "backward"}; /* by kl_pass_kind */

/* ---- the graph, as text -----------------------------------------------------------------------
 */
/** `x=16,64,32,32` or `label=16:i32` as a line of the text form; NULL after a message. */
static char *input_line(const char *shape)
{
    const char *is = strchr(shape, '='), *type = strchr(shape, ':');
    const int name = is ? (int)(is - shape) : 0;
    const int dims = !is ? 0 : type ? (int)(type - is - 1) : (int)strlen(is + 1);
    if (name == 0 || (type && type < is)) {
        fail(EXIT_USAGE, "--shape %s: that is no NAME=16,64,32,32, with :i32 after it for labels",
             shape);
        return NULL;
    }
    return must_print("%.*s = input(shape=[%.*s], dtype=%s)\n", name, shape, dims, is + 1,
                      type ? type + 1 : "f32");
}

/** The op is called as the text form has it: `conv2d(x, filters=64, kernel=3)`. */
static kl_graph *op_graph(const args *a, int *code)
{
    char *text = must_copy("");
    const char *shape;
    kl_graph *g = NULL;
    for (size_t i = 0; *code == 0 && (shape = args_nth(a, "shape", i)); i++) {
        char *line = input_line(shape), *more = line ? must_print("%s%s", text, line) : NULL;
        free(line);
        if (more) {
            free(text);
            text = more;
        } else {
            *code = EXIT_USAGE;
        }
    }
    if (*code == 0) {
        char *whole = must_print("%sy = %s\noutput y = y\n", text, args_text(a, "op"));
        if (!(g = kl_graph_parse(whole, "--op"))) {
            *code = fail(EXIT_USAGE, "%s", kl_last_error());
        }
        free(whole);
    }
    free(text);
    return g;
}

/* ---- what is printed --------------------------------------------------------------------------
 */
static double rate(double work, double seconds)
{
    return seconds > 0 ? 1e-9 * work / seconds : 0;
}

static void print_passes(const args *a, const kl_device_info *d, const kl_pass_time *rows, size_t n)
{
    static const char *const heads[] = {"pass",    "of",       "kernel",      "time",
                                        "CPU",     "best",     "GFLOP/CPU-s", "GB/CPU-s",
                                        "reorder", "launches", NULL};
    table t;
    number text;
    printf("%s\n%s (%s, %d units), kiln %s\n\n", args_text(a, "op"), d->name, d->type,
           d->compute_units, kl_version());
    table_init(&t, "lllrrrrrrr");
    for (int i = 0; heads[i]; i++) {
        table_cell(&t, "%s", heads[i]);
    }
    for (size_t i = 0; i < n; i++) {
        const kl_pass_time *r = &rows[i];
        table_cell(&t, "%s", pass_words[r->kind]);
        table_cell(&t, "%s", r->of);
        table_cell(&t, "%s", r->kernel);
        table_cell(&t, "%s", seconds_text(text, r->seconds));
        table_cell(&t, "%s", seconds_text(text, r->cpu_seconds));
        table_cell(&t, "%s", seconds_text(text, r->best_seconds));
        table_cell(&t, "%.2f", rate(2 * (double)r->macs, r->cpu_seconds));
        table_cell(&t, "%.2f", rate((double)r->bytes, r->cpu_seconds));
        table_cell(&t, "%s", seconds_text(text, r->reorder_seconds));
        table_cell(&t, "%zu", r->launches);
    }
    table_print(&t, stdout);
}

static json_t *pass_json(const kl_pass_time *r)
{
    json_t *j = json_object();
    json_object_set_new(j, "pass", json_string(pass_words[r->kind]));
    json_object_set_new(j, "of", json_text(r->of));
    json_object_set_new(j, "kernel", json_text(r->kernel));
    json_object_set_new(j, "seconds", json_number_or_null(r->seconds));
    json_object_set_new(j, "best_seconds", json_number_or_null(r->best_seconds));
    json_object_set_new(j, "cpu_seconds", json_number_or_null(r->cpu_seconds));
    json_object_set_new(j, "best_cpu_seconds", json_number_or_null(r->best_cpu_seconds));
    json_object_set_new(j, "reorder_seconds", json_number_or_null(r->reorder_seconds));
    json_object_set_new(j, "launches", json_integer((json_int_t)r->launches));
    json_object_set_new(j, "macs", json_integer(r->macs));
    json_object_set_new(j, "bytes", json_integer((json_int_t)r->bytes));
    return j;
}

static void print_passes_json(const args *a, const kl_device_info *d, const kl_pass_time *rows,
                              size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(list, pass_json(&rows[i]));
    }
    print_json(json_pack("{s:o, s:s, s:o, s:o}", "device", json_text(d->name), "kiln", kl_version(),
                         "op", json_text(args_text(a, "op")), "passes", list));
}

int bench_op(args *a)
{
    int code = 0;
    size_t n = 0;
    kl_pass_time *rows = NULL;
    kl_device_info d;
    kl_graph *g = op_graph(a, &code);
    kl_ctx *ctx = code ? NULL : open_device(a, KL_CTX_PROFILE, &code);
    if (code == 0) {
        const kl_status s = kl_graph_profile(g, ctx, 1, args_has(a, "train"),
                                             (int)args_int(a, "runs", 5), &rows, &n);
        progress_clear();
        code = s ? fail_status(s) : 0;
    }
    if (code == 0) {
        kl_ctx_info(ctx, &d);
        (args_has(a, "json") ? print_passes_json : print_passes)(a, &d, rows, n);
    }
    kl_free(rows);
    kl_ctx_destroy(ctx);
    kl_graph_destroy(g);
    return code;
}
