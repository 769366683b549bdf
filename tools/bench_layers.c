/* kiln bench: op by op, next to what the device can do. */
#include "bench.h"
#include "json.h"

#include <stdlib.h>
#include <string.h>

static double total(const bench_row *r)
{
    double all = 0;
    for (size_t i = 0; i < r->times.n; i++) {
        all += r->times.rows[i].seconds;
    }
    return all;
}

static int longer(const void *a, const void *b)
{
    const double x = (*(const kl_op_time *const *)a)->seconds,
                 y = (*(const kl_op_time *const *)b)->seconds;
    return x < y ? 1 : x > y ? -1 : 0;
}

/** The rows in the order that --sort asks for. Caller frees. */
static const kl_op_time **sorted(const args *a, const bench_row *r)
{
    const kl_op_time **list = must_alloc(r->times.n + 1, sizeof *list);
    const char *by = args_text(a, "sort");
    for (size_t i = 0; i < r->times.n; i++) {
        list[i] = &r->times.rows[i];
    }
    if (by && !strcmp(by, "time")) {
        qsort(list, r->times.n, sizeof *list, longer);
    }
    return list;
}

static void rate_cell(table *t, double work, double seconds)
{
    if (work > 0 && seconds > 0) {
        table_cell(t, "%.2f", 1e-9 * work / seconds);
    } else {
        table_cell(t, "%s", "");
    }
}

static void layer_row(table *t, const bench_row *r, const kl_op_time *o, double all)
{
    number text;
    double share;
    const kl_bound b = kl_op_bound(&r->peaks, o, &share);
    table_cell(t, "%s", o->name);
    table_cell(t, "%s%s%s", o->op, *o->variant ? "/" : "", o->variant);
    table_cell(t, "%s", o->kernel);
    table_cell(t, "%s", seconds_text(text, o->seconds));
    table_cell(t, "%.1f%%", all > 0 ? 100 * o->seconds / all : 0);
    rate_cell(t, o->flops, o->seconds);
    rate_cell(t, (double)o->bytes, o->seconds);
    if (r->peaks.n_levels && o->seconds > 0) {
        table_cell(t, "%.0f%%", 100 * share);
        table_cell(t, "%s", kl_bound_name(b));
    } else {
        table_cell(t, "%s", "");
        table_cell(t, "%s", "");
    }
}

void bench_print_layers(const args *a, const bench_row *r)
{
    table t;
    number text;
    const double all = total(r);
    const kl_op_time **list = sorted(a, r);
    printf("\n%s, %s, batch %lld: %zu launches one by one, %s in all\n", r->model,
           r->training ? "train" : "infer", (long long)r->batch, r->times.launches,
           seconds_text(text, all));
    table_init(&t, "lllrrrrrl");
    bench_heads(&t, (const char *const[]){"node", "op", "kernel", "time", "share", "GFLOP/s",
                                          "GB/s", "of peak", "bound", NULL});
    for (size_t i = 0; i < r->times.n; i++) {
        layer_row(&t, r, list[i], all);
    }
    table_print(&t, stdout);
    bench_print_peaks(&r->peaks);
    free(list);
}

json_t *bench_layers_json(const bench_row *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->times.n; i++) {
        const kl_op_time *o = &r->times.rows[i];
        double share;
        const kl_bound b = kl_op_bound(&r->peaks, o, &share);
        json_t *j = json_object();
        json_object_set_new(j, "node", json_text(o->name));
        json_object_set_new(j, "op", json_text(o->op));
        json_object_set_new(j, "variant", json_text(o->variant));
        json_object_set_new(j, "kernel", json_text(o->kernel));
        json_object_set_new(j, "launches", json_integer((json_int_t)o->launches));
        json_object_set_new(j, "seconds", json_number_or_null(o->seconds));
        json_object_set_new(j, "macs", json_integer(o->macs));
        json_object_set_new(j, "flops", json_number_or_null(o->flops));
        json_object_set_new(j, "bytes", json_integer((json_int_t)o->bytes));
        if (r->peaks.n_levels) {
            json_object_set_new(j, "share_of_peak", json_number_or_null(share));
            json_object_set_new(j, "bound", json_string(kl_bound_name(b)));
        }
        json_array_append_new(list, j);
    }
    return list;
}
