/* Traces: every command of the passes, on its queue's row, in times that add up. */
#include "nets.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/thread.h"
#include "device/device.h"

#include <kiln/inspect.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char path[64];

static void ok(kl_status st)
{
    if (st != KL_OK)
        fail_msg("%s", kl_last_error());
}

static kl_ctx *open_ctx(uint32_t flags)
{
    kl_ctx *ctx = kl_ctx_create(&(kl_ctx_opts){.flags = flags});
    if (!ctx)
        fail_msg("%s", kl_last_error());
    return ctx;
}

typedef struct slices {
    size_t n, on_row[3];
} slices;

/** Reads the file line by line: each slice has a time not before zero and a name. */
static slices read_slices(void)
{
    uint8_t *data;
    size_t n;
    slices s = {0, {0}};
    ok(kl__file_read(path, 0, &data, &n));
    assert_int_equal(data[0], '{');
    assert_int_equal(data[n - 2], '}');
    for (char *p = (char *)data; (p = strstr(p, "{\"ph\":\"X\"")); p++) {
        int row = -1;
        double start = -1, length = -1;
        char name[64] = "";
        assert_int_equal(sscanf(p,
                                "{\"ph\":\"X\",\"pid\":1,\"tid\":%d,\"ts\":%lf,\"dur\":%lf,"
                                "\"name\":\"%63[a-z_0-9A-Z]\"",
                                &row, &start, &length, name),
                         4);
        assert_in_range(row, 0, 2);
        assert_true(start >= 0 && length >= 0 && name[0]);
        s.n++;
        s.on_row[row]++;
    }
    assert_non_null(strstr((char *)data, "\"name\":\"compute\""));
    kl__free(data);
    return s;
}

/* Three passes, all launches of each, and the inputs of the training step on the upload row. */
static void passes_are_traced(void **state)
{
    (void)state;
    enum { N = 4, RUNS = 3 };
    kl_ctx *ctx = open_ctx(KL_CTX_PROFILE);
    kl_model *m = net_model(true, 3);
    kl_cost c;
    ok(kl_model_cost(m, ctx, N, false, &c));
    ok(kl_model_trace(m, ctx, N, false, NULL, RUNS, path));
    slices s = read_slices();
    assert_int_equal(s.n, RUNS * c.n_launches);
    assert_int_equal(s.on_row[0], s.n);
    ok(kl_model_cost(m, ctx, N, true, &c));
    ok(kl_model_trace(m, ctx, N, true, "loss", RUNS, path));
    s = read_slices();
    assert_true(s.on_row[0] >= RUNS * c.n_launches && s.on_row[1] >= RUNS);
    kl_model_destroy(m);
    kl_ctx_destroy(ctx);
}

static void traces_begin_and_end(void **state)
{
    (void)state;
    kl_ctx *ctx = open_ctx(KL_CTX_PROFILE);
    kl_model *m = net_model(true, 3);
    assert_int_equal(kl_ctx_trace_write(&ctx, 1, path), KL_E_ARG);
    ok(kl_ctx_trace(ctx));
    ok(kl_ctx_trace_write(&ctx, 1, path));
    assert_int_equal(read_slices().n, 0);
    ok(kl_ctx_trace(ctx));
    ok(kl_ctx_trace(ctx)); /* anew */
    ok(kl_ctx_trace_write(&ctx, 1, NULL));
    assert_int_equal(kl_ctx_trace_write(&ctx, 1, path), KL_E_ARG);
    assert_int_equal(kl_model_trace(m, ctx, 0, false, NULL, 1, path), KL_E_ARG);
    assert_int_equal(kl_model_trace(m, ctx, 2, false, NULL, 1, "/no such folder/t.json"), KL_E_IO);
    assert_int_equal(kl_ctx_trace_write(&ctx, 1, path), KL_E_ARG); /* that ended it, too */
    ok(kl_ctx_trace(ctx));                                     /* one that goes with its context */
    ok(kl_model_trace(m, ctx, 2, false, NULL, 1, path));
    ok(kl_ctx_trace(ctx));
    kl_model_destroy(m);
    kl_ctx_destroy(ctx);
    ctx = open_ctx(0);
    assert_int_equal(kl_ctx_trace(ctx), KL_E_UNSUPPORTED);
    assert_non_null(strstr(kl_last_error(), "profiling"));
    kl_ctx_destroy(ctx);
    assert_int_equal(kl_ctx_trace(NULL), KL_E_ARG);
}

/** The slice of `pid` that is called `name`: where it starts, in us; *at is behind it. */
static double slice_of(const char *text, int pid, const char *name, const char **at)
{
    char want[32], called[40];
    snprintf(want, sizeof want, "{\"ph\":\"X\",\"pid\":%d,", pid);
    snprintf(called, sizeof called, "\"name\":\"%s\"", name);
    for (const char *p = text; (p = strstr(p, want)); p++) {
        const char *line = strchr(p, '\n'), *is = strstr(p, called), *ts = strstr(p, "\"ts\":");
        if (!is || is > line)
            continue;
        *at = line + 1;
        return atof(ts + 5);
    }
    fail_msg("no slice %s in process %d", name, pid);
    return 0;
}

/* A transfer between two contexts: both in one time, an arrow from slice to slice. */
static void a_transfer_is_an_arrow(void **state)
{
    (void)state;
    enum { BYTES = 4096 };
    const double pause = 0.03;
    static char host[BYTES];
    kl_ctx *c[3] = {open_ctx(KL_CTX_PROFILE), open_ctx(0), open_ctx(KL_CTX_PROFILE)};
    kl__mem *from = kl__mem_create(c[0], BYTES), *to = kl__mem_create(c[2], BYTES);
    kl__lane *down = kl__ctx_lane(c[0], KL__DOWNLOAD), *up = kl__ctx_lane(c[2], KL__UPLOAD);
    uint64_t id = kl__flow_ids(2);
    assert_true(kl__flow_ids(1) >= id + 2);
    kl__lane_flow(down, id + 1, true); /* nobody records */
    for (int i = 0; i < 3; i += 2)
        ok(kl_ctx_trace(c[i]));
    kl__lane_flow(down, id, true);
    ok(kl__lane_read(down, (kl__span){from, 0}, host, BYTES, NULL));
    double start = kl__now();
    ok(kl__lane_read(down, (kl__span){from, 0}, host, BYTES, NULL));
    double until = kl__now() + pause;
    while (kl__now() < until)
        ;
    kl__lane_flow(up, id, false);
    ok(kl__lane_write(up, (kl__span){to, 0}, host, BYTES, NULL));
    double took = kl__now() - start;
    ok(kl_ctx_trace_write(c, 3, path)); /* the one without times is left out */
    uint8_t *data;
    size_t n;
    ok(kl__file_read(path, 0, &data, &n));
    char *text = kl__calloc(n + 1, 1);
    memcpy(text, data, n);
    const char *begin, *end, *second, *tail;
    slice_of(text, 1, "read", &begin);
    double read = slice_of(begin, 1, "read", &second), write = slice_of(text, 2, "write", &end);
    assert_true(write - read > 0.9e6 * pause && write - read < 1e6 * (took + 0.02));
    char arrow[96];
    snprintf(arrow, sizeof arrow, "{\"ph\":\"s\",\"pid\":1,\"tid\":%d,", KL__DOWNLOAD);
    assert_memory_equal(begin, arrow, strlen(arrow));
    snprintf(arrow, sizeof arrow, "{\"ph\":\"f\",\"pid\":2,\"tid\":%d,", KL__UPLOAD);
    assert_memory_equal(end, arrow, strlen(arrow));
    snprintf(arrow, sizeof arrow, "\"id\":%llu,", (unsigned long long)id);
    tail = strstr(begin, arrow);
    assert_non_null(tail);
    assert_non_null(strstr(tail + 1, arrow));
    assert_null(strstr(strstr(tail + 1, arrow) + 1, "\"id\":"));
    assert_null(strstr(text, "\"pid\":3"));
    kl__free(text);
    kl__free(data);
    kl__mem_release(from);
    kl__mem_release(to);
    for (int i = 0; i < 3; i++)
        kl_ctx_destroy(c[i]);
}

static int make_path(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/kiln-trace-XXXXXX");
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(passes_are_traced),
                                       cmocka_unit_test(traces_begin_and_end),
                                       cmocka_unit_test(a_transfer_is_an_arrow)};
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
