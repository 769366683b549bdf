/* kiln doctor, selftest and gradcheck: is all as it should be? */
#include "json.h"
#include "driver_cache.h"
#include "net.h"
#include "term.h"

#include <stdlib.h>

/* ---- doctor
 * ------------------------------------------------------------------------------------------- */

static bool any_usable(void)
{
    kl_device_info d;
    size_t n = 0;
    return kl_device_list(&d, 1, &n) == KL_OK && n > 0 && d.usable;
}

static void print_finding(const kl_finding *f)
{
    static const char *const marks[] = {"ok  ", "note", "BAD "};
    static const style colours[] = {GREEN, YELLOW, RED};
    printf("%s%s%s  %s\n", sgr(stdout, colours[f->level]), marks[f->level], sgr(stdout, PLAIN),
           f->what);
    if (*f->fix) {
        printf("      -> %s\n", f->fix);
    }
}

static int run_doctor(args *a)
{
    static const char *const words[] = {"ok", "note", "bad"};
    kl_finding *f = NULL;
    size_t n = 0;
    prepare_driver_cache();
    const kl_status s = kl_doctor(!args_has(a, "no-isolation"), &f, &n);
    if (s) {
        return fail_status(s);
    }
    const bool usable = any_usable();
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        if (args_has(a, "json")) {
            json_t *j = json_object();
            json_object_set_new(j, "level", json_string(words[f[i].level]));
            json_object_set_new(j, "what", json_text(f[i].what));
            json_object_set_new(j, "fix", json_text(f[i].fix));
            json_array_append_new(list, j);
        } else {
            print_finding(&f[i]);
        }
    }
    if (args_has(a, "json")) {
        print_json(json_pack("{s:b, s:o}", "usable_device", usable, "findings", list));
    } else {
        json_decref(list);
    }
    kl_free(f);
    return usable ? 0 : EXIT_NO_DEVICE;
}

static const option_def doctor_options[] = {
    {"no-isolation", 0, OPT_FLAG, NULL, "try the devices in this process: for debuggers", 0, 0},
    OPTION_JSON,
    OPTION_TALK,
    OPTION_HELP,
    {0}};
const command_def cmd_doctor = {.name = "doctor",
                                .operands = "",
                                .summary = "look for what is wrong with this machine's OpenCL",
                                .more =
                                    "Exit code 0 where there is a device to train on, else 3.\n",
                                .options = doctor_options,
                                .run = run_doctor};

/* ---- selftest
 * ------------------------------------------------------------------------------------------- */

typedef struct selftest {
    json_t *list;
    size_t n, failed;
} selftest;

static bool on_row(void *user, const kl_selftest_row *r)
{
    selftest *t = user;
    number time;
    t->n++;
    t->failed += !r->ok;
    progress_clear();
    if (t->list) {
        json_t *j = json_object();
        json_object_set_new(j, "what", json_text(r->what));
        json_object_set_new(j, "ok", json_boolean(r->ok));
        json_object_set_new(j, "error", json_number_or_null(r->error));
        json_object_set_new(j, "seconds", json_real(r->seconds));
        json_object_set_new(j, "detail", json_text(r->detail ? r->detail : ""));
        json_array_append_new(t->list, j);
        return true;
    }
    printf("%s%s%s  %-52s error %-9.2g %s\n", sgr(stdout, r->ok ? GREEN : RED),
           r->ok ? "ok  " : "FAIL", sgr(stdout, PLAIN), r->what, r->error,
           seconds_text(time, r->seconds));
    if (!r->ok && r->detail) {
        printf("      %s\n", r->detail);
    }
    fflush(stdout);
    return true;
}

static int run_selftest(args *a)
{
    int code;
    kl_device_info d;
    selftest t = {.list = args_has(a, "json") ? json_array() : NULL};
    kl_ctx *ctx = open_device(a, 0, &code);
    if (!ctx) {
        json_decref(t.list);
        return code;
    }
    kl_ctx_info(ctx, &d);
    if (!t.list) {
        printf("%s (%s, driver %s)\n", d.name, d.platform_name, d.driver);
    }
    const kl_status s = kl_selftest(ctx, on_row, &t);
    progress_clear();
    if (t.list) {
        print_json(json_pack("{s:o, s:i, s:i, s:o}", "device", json_text(d.name), "tests", (int)t.n,
                             "failed", (int)t.failed, "rows", t.list));
    } else if (s == KL_OK) {
        printf("all %zu tests passed\n", t.n);
    }
    code = t.failed ? fail(EXIT_DEVICE,
                           "%zu of %zu tests failed: results on this device cannot be trusted",
                           t.failed, t.n)
           : s      ? fail_status(s)
                    : 0;
    kl_ctx_destroy(ctx);
    return code;
}

static const option_def selftest_options[] = {
    OPTION_JSON, OPTION_DEVICE, OPTION_TALK, OPTION_HELP, {0}};
const command_def cmd_selftest = {.name = "selftest",
                                  .operands = "",
                                  .summary = "prove every family of kernels on a device",
                                  .more = "Exit code 5 where a kernel computes wrong.\n",
                                  .options = selftest_options,
                                  .run = run_selftest};

/* ---- gradcheck
 * --------------------------------------------------------------------------------------------- */

static void print_rows(const kl_gradcheck_row *r, size_t n)
{
    table t;
    table_init(&t, "lrrrrl");
    for (const char *const *h =
             (const char *const[]){"parameter", "tried", "worst", "numeric", "analytic", "", NULL};
         *h; h++) {
        table_cell(&t, "%s", *h);
    }
    for (size_t i = 0; i < n; i++) {
        table_cell(&t, "%s", r[i].param);
        table_cell(&t, "%zu/%zu", r[i].checked, r[i].count);
        table_cell(&t, "%.2e", r[i].worst);
        table_cell(&t, "%.6g", r[i].numeric);
        table_cell(&t, "%.6g", r[i].analytic);
        table_cell(&t, "%s", r[i].ok ? "ok" : "WRONG");
    }
    table_print(&t, stdout);
}

static json_t *rows_json(const kl_gradcheck_row *r, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *j = json_object();
        json_object_set_new(j, "parameter", json_text(r[i].param));
        json_object_set_new(j, "checked", json_integer((json_int_t)r[i].checked));
        json_object_set_new(j, "count", json_integer((json_int_t)r[i].count));
        json_object_set_new(j, "worst", json_number_or_null(r[i].worst));
        json_object_set_new(j, "numeric", json_number_or_null(r[i].numeric));
        json_object_set_new(j, "analytic", json_number_or_null(r[i].analytic));
        json_object_set_new(j, "ok", json_boolean(r[i].ok));
        json_array_append_new(list, j);
    }
    return list;
}

static int report_gradcheck(const args *a, const kl_gradcheck_row *r, size_t n)
{
    size_t wrong = 0;
    for (size_t i = 0; i < n; i++) {
        wrong += !r[i].ok;
    }
    if (args_has(a, "json")) {
        print_json(rows_json(r, n));
    } else {
        print_rows(r, n);
    }
    return wrong ? fail(EXIT_RUN, "the gradient of %zu of %zu parameters is wrong", wrong, n) : 0;
}

static int run_gradcheck(args *a)
{
    net m;
    kl_gradcheck_row *rows = NULL;
    size_t n = 0;
    kl_ctx *ctx = NULL;
    int code = net_open(&m, a->operands[0], &(net_opts){.loss = args_text(a, "loss")});
    if (code == 0 && !m.loss) {
        code =
            fail(EXIT_USAGE,
                 "%s has no output \"loss\"; say which one to append, --loss softmax_xent", m.name);
    }
    ctx = code ? NULL : open_device(a, 0, &code);
    if (code == 0) {
        const kl_status s = kl_gradcheck(kl_model_graph(m.model), ctx, m.loss,
                                         args_int(a, "batch", 4), (int)args_int(a, "per-param", 20),
                                         (uint64_t)args_int(a, "seed", 0), &rows, &n);
        progress_clear();
        code = s && !rows ? fail_status(s) : report_gradcheck(a, rows, n);
    }
    kl_free(rows);
    net_close(&m);
    kl_ctx_destroy(ctx);
    return code;
}

static const option_def gradcheck_options[] = {
    {"batch", 'b', OPT_INT, "N", "samples (4)", 1, 4096},
    {"per-param", 0, OPT_INT, "N", "numbers to try of each parameter (20)", 1, 1e6},
    {"loss", 0, OPT_CHOICE, "softmax_xent|mse|mae|huber|bce_logits",
     "append it to a graph that has none", 0, 0},
    {"seed", 's', OPT_INT, "N", "of parameters and data (0)", 0, 9e15},
    OPTION_JSON,
    OPTION_DEVICE,
    OPTION_TALK,
    OPTION_HELP,
    {0}};
const command_def cmd_gradcheck = {
    .name = "gradcheck",
    .operands = "MODEL",
    .summary = "compare a model's gradients with differences of its loss",
    .more = "MODEL is an architecture, a graph's text file or a checkpoint.\n",
    .options = gradcheck_options,
    .min_operands = 1,
    .max_operands = 1,
    .run = run_gradcheck};
