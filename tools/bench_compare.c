/* kiln bench --compare: the devices side by side. */
#include "bench.h"
#include "json.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DEVICES = 16, MAX_NODES = 4096 };

typedef struct compare {
    args *a;
    char *device[MAX_DEVICES]; /* as --device takes it */
    int n, worked, code;
    json_t *list; /* NULL: tables */
} compare;

/* ---- which devices ----------------------------------------------------------------------------
 */
static void add_device(compare *c, char *name)
{
    if (c->n < MAX_DEVICES) {
        c->device[c->n++] = name;
    } else {
        free(name);
    }
}

/** Those that --device lists, else all that are usable. */
static int find_devices(compare *c)
{
    const char *list = args_text(c->a, "device");
    for (const char *s = list; s && *s;) {
        const size_t n = strcspn(s, ",");
        add_device(c, must_print("%.*s", (int)n, s));
        s += n + (s[n] == ',');
    }
    if (list) {
        return c->n ? 0 : fail(EXIT_USAGE, "--device names no device");
    }
    size_t n = 0;
    kl_device_info *d = must_alloc(MAX_DEVICES, sizeof *d);
    const kl_status s = kl_device_list(d, MAX_DEVICES, &n);
    for (size_t i = 0; s == KL_OK && i < n && i < MAX_DEVICES; i++) {
        if (d[i].usable) {
            add_device(c, must_print("%d:%d", d[i].platform, d[i].device));
        }
    }
    free(d);
    return s      ? fail_status(s)
           : c->n ? 0
                  : fail(EXIT_NO_DEVICE, "no device is usable; `kiln doctor` looks for the reason");
}

/* ---- the table --------------------------------------------------------------------------------
 */
typedef void (*put_cell)(table *t, const bench_row *r);

static void put_platform(table *t, const bench_row *r)
{
    table_cell(t, "%s, %d units", r->device.platform_name, r->device.compute_units);
}
static void put_rate(table *t, const bench_row *r)
{
    table_cell(t, "%.1f", bench_per_second(r, r->times.step_seconds));
}
static void put_cpu_rate(table *t, const bench_row *r)
{
    table_cell(t, "%.1f", bench_per_second(r, r->times.cpu_seconds));
}
static void put_step(table *t, const bench_row *r)
{
    number text;
    table_cell(t, "%s", seconds_text(text, r->times.step_seconds));
}
static void put_first(table *t, const bench_row *r)
{
    number text;
    table_cell(t, "%s", seconds_text(text, r->times.first_seconds));
}
static void put_launches(table *t, const bench_row *r)
{
    table_cell(t, "%zu", r->times.launches);
}
static void put_enqueue(table *t, const bench_row *r)
{
    table_cell(t, "%.2f us", 1e6 * r->times.enqueue_seconds);
}
static void put_memory(table *t, const bench_row *r)
{
    number text;
    table_cell(t, "%s", bytes_text(text, (double)r->stats.peak_bytes));
}
static void put_flops(table *t, const bench_row *r)
{
    table_cell(t, "%.1f", 1e-9 * r->peaks.flops);
}
static void put_memory_rate(table *t, const bench_row *r)
{
    const int n = r->peaks.n_levels;
    table_cell(t, "%.1f", n ? 1e-9 * r->peaks.level[n - 1].bytes_per_second : 0);
}

static const struct line {
    const char *what;
    put_cell put;
} lines[] = {{"driver", put_platform},
             {"images/s", put_rate},
             {"images/CPU-s", put_cpu_rate},
             {"pass", put_step},
             {"first", put_first},
             {"launches", put_launches},
             {"enqueue/launch", put_enqueue},
             {"peak memory", put_memory},
             {"peak GFLOP/s", put_flops},
             {"memory GB/s", put_memory_rate}};

static const kl_op_time *find_node(const bench_row *r, const char *name)
{
    for (size_t i = 0; i < r->times.n; i++) {
        if (!strcmp(r->times.rows[i].name, name)) {
            return &r->times.rows[i];
        }
    }
    return NULL;
}

static bool shown_before(const bench_row *rows, int row, size_t i)
{
    const char *name = rows[row].times.rows[i].name;
    for (int k = 0; k < row; k++) {
        if (find_node(&rows[k], name)) {
            return true;
        }
    }
    return find_node(&rows[row], name) != &rows[row].times.rows[i];
}

static void node_line(table *t, const bench_row *rows, int n, const char *name)
{
    number text;
    table_cell(t, "%s", name);
    for (int k = 0; k < n; k++) {
        const kl_op_time *o = find_node(&rows[k], name);
        if (o) {
            table_cell(t, "%s %s", o->kernel, seconds_text(text, o->seconds));
        } else {
            table_cell(t, "%s", "");
        }
    }
}

/** Nodes of any device, in the order of the first that has them. */
static void node_lines(table *t, const bench_row *rows, int n)
{
    for (int row = 0; row < n; row++) {
        for (size_t i = 0; i < rows[row].times.n; i++) {
            if (!shown_before(rows, row, i)) {
                node_line(t, rows, n, rows[row].times.rows[i].name);
            }
        }
    }
}

static void print_rows(const compare *c, const bench_row *rows, int n)
{
    table t;
    char align[MAX_DEVICES + 2] = "l";
    memset(align + 1, 'r', (size_t)n);
    align[n + 1] = 0;
    printf("\n%s, %s, batch %lld\n", rows->model, rows->training ? "train" : "infer",
           (long long)rows->batch);
    table_init(&t, align);
    table_cell(&t, "%s", "");
    for (int k = 0; k < n; k++) {
        table_cell(&t, "%d:%d %.*s", rows[k].device.platform, rows[k].device.device,
                   letters(rows[k].device.name, 28), rows[k].device.name);
    }
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        table_cell(&t, "%s", lines[i].what);
        for (int k = 0; k < n; k++) {
            lines[i].put(&t, &rows[k]);
        }
    }
    if (args_has(c->a, "layers")) {
        node_lines(&t, rows, n);
    }
    table_print(&t, stdout);
}

/* ---- the command ------------------------------------------------------------------------------
 */
/** A device that fails is told of and left out: the others are still worth comparing. */
static int compare_one(void *user, const char *model, int64_t batch, bool training)
{
    compare *c = user;
    bench_row rows[MAX_DEVICES];
    int n = 0;
    for (int i = 0; i < c->n; i++) {
        rows[n] =
            (bench_row){.model = model, .training = training, .ops = true, .batch = batch};
        const int code = bench_measure(c->a, c->device[i], &rows[n]);
        if (code == 0) {
            n++;
        } else if (code == EXIT_USAGE || code == EXIT_DATA) {
            c->code = code; /* no other device would do better */
            break;
        } else {
            note("%s, batch %lld: left out on device %s", model, (long long)batch, c->device[i]);
            c->code = code;
        }
    }
    const bool go_on = c->code != EXIT_USAGE && c->code != EXIT_DATA;
    if (n && go_on && c->list) {
        for (int k = 0; k < n; k++) {
            json_array_append_new(c->list, bench_row_json(&rows[k], args_has(c->a, "layers")));
        }
    } else if (n && go_on) {
        print_rows(c, rows, n);
    }
    c->worked += n;
    for (int k = 0; k < n; k++) {
        bench_row_free(&rows[k]);
    }
    return go_on ? 0 : c->code;
}

int bench_compare(args *a)
{
    compare c = {.a = a};
    int code = find_devices(&c);
    c.list = code == 0 && args_has(a, "json") ? json_array() : NULL;
    code = code ? code : bench_each(a, compare_one, &c);
    code = code == 0 && !c.worked ? c.code : code;
    if (c.list && code == 0) {
        print_json(json_pack("{s:s, s:O}", "kiln", kl_version(), "rows", c.list));
    }
    json_decref(c.list);
    for (int i = 0; i < c.n; i++) {
        free(c.device[i]);
    }
    return code;
}
