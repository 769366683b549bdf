/* Sync mode and debug-buffer mode find planted bugs: kernels with an error in them, through
 * kl_ctx_opts.kernel_dir. Without an error they change no bit. */
#include "nets.h"

#include "device/device.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[64];

typedef struct edit {
    const char *from, *to;
} edit;

/** Writes cl/FILE into the folder with each `from` replaced; that there is none is an error of this
 * test. */
static void plant(const char *file, const edit *edits)
{
    static char text[2][1 << 16];
    char path[512];
    snprintf(path, sizeof path, "%s/%s", CL_DIR, file);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(text[0], 1, sizeof text[0] - 1, f);
    fclose(f);
    text[0][n] = 0;
    char *s = text[0], *t = text[1];
    for (const edit *e = edits; e->from; e++) {
        size_t at = 0, len = strlen(e->from), found = 0;
        for (const char *p = s; *p;)
            if (!strncmp(p, e->from, len)) {
                at += (size_t)snprintf(t + at, sizeof text[0] - at, "%s", e->to);
                p += len;
                found++;
            } else {
                t[at++] = *p++;
            }
        t[at] = 0;
        if (!found)
            fail_msg("cl/%s has no \"%s\" any more", file, e->from);
        char *swap = s;
        s = t;
        t = swap;
    }
    snprintf(path, sizeof path, "%s/%s", dir, file);
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(s, 1, strlen(s), f), strlen(s));
    fclose(f);
}

static void pull_out(const char *file)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    unlink(path);
}

static kl_ctx *open_ctx(uint32_t flags)
{
    kl_ctx *c = kl_ctx_create(&(kl_ctx_opts){.kernel_dir = dir, .cache_dir = "", .flags = flags});
    if (!c)
        fail_msg("%s", kl_last_error());
    return c;
}

static void says(const char *part)
{
    if (!strstr(kl_last_error(), part))
        fail_msg("\"%s\" does not say \"%s\"", kl_last_error(), part);
}

/** y = x + b for x [3,5], with cl/bias.cl as it lies in the folder. */
static kl_status add_bias(kl_ctx *c)
{
    float x[15], y[15];
    kl_graph *g = kl_graph_create();
    kl_node *b = kl_param(g, "b", (kl_shape){1, {5}}, (kl_init){0}, true);
    kl_output(g, "y", kl_bias(g, kl_input(g, "x", KL_F32, (kl_shape){2, {KL_BATCH, 5}}), b, NULL));
    kl_model *m = kl_model_create(g, NULL);
    assert_non_null(m);
    for (int i = 0; i < 15; i++)
        x[i] = (float)i + 1;
    kl_bind binds[] = {{.name = "x", .host = x, .host_bytes = sizeof x},
                       {.name = "y", .host = y, .host_bytes = sizeof y}};
    kl_status st = kl_model_run(m, c, binds, 2);
    kl_model_destroy(m);
    kl_graph_destroy(g);
    return st;
}

/* The same bug on both kernels of the op, whichever the device has. */
static const edit behind[] = {{"i + W <= run", "i < run"}, {"if (i < n)", "if (i <= n)"}, {0}};
static const edit before[] = {
    {"to[i] = from[i] + b[i];", "to[i] = from[i] + b[i]; if (r == 0) to[-1] = 0;"},
    {"if (i < n)", "if (i == 0) y[y_at - 1] = 0; if (i < n)"},
    {0}};
static const edit nan_made[] = {{"to[i] = from[i] + b[i];", "to[i] = from[i] + b[i] * NAN;"},
                                {"+ b[b_at", "+ NAN * b[b_at"},
                                {0}};
static const edit infinite[] = {
    {"to[i] = from[i] + b[i];", "to[i] = INFINITY;"}, {"+ b[b_at", "+ INFINITY + b[b_at"}, {0}};
static const edit unwritten[] = {
    {"for (; i < run; i++)", "for (; i < run - 1; i++)"}, {"if (i < n)", "if (i < n - 1)"}, {0}};

static void a_write_outside_is_found(void **state)
{
    (void)state;
    const struct {
        const edit *bug;
        const char *part;
    } cases[] = {{behind, "behind its output \""}, {before, "before its output \""}};
    for (int i = 0; i < 2; i++) {
        plant("bias.cl", cases[i].bug);
        kl_ctx *c = open_ctx(KL_CTX_DEBUG_BUFFERS);
        assert_int_equal(add_bias(c), KL_E_DEVICE);
        says("bias \"");
        says(cases[i].part);
        kl_ctx_destroy(c);
    }
    pull_out("bias.cl");
    kl_ctx *c = open_ctx(KL_CTX_DEBUG_BUFFERS);
    if (add_bias(c) != KL_OK)
        fail_msg("nothing is wrong, and yet: %s", kl_last_error());
    kl_ctx_destroy(c);
}

static void an_element_that_nobody_wrote_is_found(void **state)
{
    (void)state;
    plant("bias.cl", unwritten);
    kl_ctx *c = open_ctx(KL_CTX_DEBUG_BUFFERS);
    assert_int_equal(add_bias(c), KL_E_NUMERIC);
    says("is NaN");
    kl_ctx_destroy(c);
    pull_out("bias.cl");
}

static void a_nan_is_found_in_both_modes(void **state)
{
    (void)state;
    const uint32_t modes[] = {KL_CTX_SYNC, KL_CTX_DEBUG_BUFFERS};
    for (int i = 0; i < 2; i++) {
        plant("bias.cl", nan_made);
        kl_ctx *c = open_ctx(modes[i]);
        assert_int_equal(add_bias(c), KL_E_NUMERIC);
        says("bias \"");
        says(": element 0 of \"");
        says("is NaN");
        kl_ctx_destroy(c);
        plant("bias.cl", infinite); /* an infinity may be meant */
        c = open_ctx(modes[i]);
        assert_int_equal(add_bias(c), KL_OK);
        kl_ctx_destroy(c);
    }
    plant("bias.cl", nan_made);
    kl_ctx *c = open_ctx(0);
    assert_int_equal(add_bias(c), KL_OK); /* without either mode nobody looks */
    kl_ctx_destroy(c);
    pull_out("bias.cl");
}

static void the_environment_switches_the_modes_on(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint32_t flag;
        kl_status on_nan, on_write;
    } env[] = {{"KILN_SYNC", KL_CTX_SYNC, KL_E_NUMERIC, KL_OK},
               {"KILN_DEBUG_BUFFERS", KL_CTX_DEBUG_BUFFERS, KL_E_NUMERIC, KL_E_DEVICE}};
    unsetenv("KILN_TUNE"); /* a flag of its own, which suites are run with */
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 2; k++) {
            setenv(env[i].name, k ? "1" : "0", 1);
            plant("bias.cl", nan_made);
            kl_ctx *c = open_ctx(0);
            assert_int_equal(kl__ctx_flags(c), k ? env[i].flag : 0);
            assert_int_equal(add_bias(c), k ? env[i].on_nan : KL_OK);
            kl_ctx_destroy(c);
        }
        plant("bias.cl", before);
        kl_ctx *c = open_ctx(0);
        assert_int_equal(add_bias(c), env[i].on_write);
        kl_ctx_destroy(c);
        unsetenv(env[i].name);
    }
    pull_out("bias.cl");
}

static kl_trainer *open_trainer(kl_model *m, kl_ctx *c, int shards)
{
    kl_trainer_opts o = {.optim = {.kind = KL_ADAMW}, .schedule = {.lr = 0.01}, .shards = shards};
    kl_trainer *tr = kl_trainer_create(m, &c, 1, "loss", "logits", &o);
    if (!tr)
        fail_msg("%s", kl_last_error());
    return tr;
}

/* In a training step: the scratch memory of the accuracy, written behind its end. */
static void a_write_outside_is_found_while_training(void **state)
{
    (void)state;
    static net_batch b;
    net_fill(&b, 5, 1);
    setenv("KILN_VARIANT", "xent:ref", 1); /* one item a sample: their results are in scratch */
    plant("xent.cl",
          (const edit[]){
              {"hits[hits_at + n + i]", "hits[hits_at + n + i + 1] = hits[hits_at + n + i]"}, {0}});
    kl_ctx *c = open_ctx(KL_CTX_DEBUG_BUFFERS);
    kl_model *m = net_model(true, 2);
    kl_trainer *tr = open_trainer(m, c, 1);
    assert_int_equal(kl_trainer_step(tr, b.binds, 2), KL_E_DEVICE);
    says("xent \"");
    says("wrote behind its scratch memory");
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    kl_ctx_destroy(c);
    unsetenv("KILN_VARIANT");
    pull_out("xent.cl");
}

/* A NaN that the data brings is not laid at the door of the first op that reads it. */
static void a_nan_in_the_data_is_named(void **state)
{
    (void)state;
    static net_batch b;
    net_fill(&b, 8, 1);
    b.x[70] = NAN;
    kl_ctx *c = open_ctx(KL_CTX_SYNC);
    kl_model *m = net_model(false, 2);
    kl_trainer *tr = open_trainer(m, c, 1);
    assert_int_equal(kl_trainer_step(tr, b.binds, 2), KL_E_NUMERIC);
    says("input \"image\": element 70 of \"image\" is NaN");
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    kl_ctx_destroy(c);
}

static float *train(uint32_t flags, int shards, size_t *n, double *loss)
{
    static net_batch b;
    kl_ctx *c = open_ctx(flags);
    kl_model *m = net_model(true, 5);
    kl_trainer *tr = open_trainer(m, c, shards);
    kl_metrics q;
    for (int i = 0; i < 5; i++) {
        net_fill(&b, 13, i);
        if (kl_trainer_step(tr, b.binds, 2) != KL_OK)
            fail_msg("%s", kl_last_error());
    }
    if (kl_trainer_metrics(tr, &q) != KL_OK)
        fail_msg("%s", kl_last_error());
    *loss = q.loss;
    float *v = net_params(m, n);
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    kl_ctx_destroy(c);
    return v;
}

static void the_modes_change_no_bit(void **state)
{
    (void)state;
    const uint32_t modes[] = {KL_CTX_SYNC, KL_CTX_DEBUG_BUFFERS,
                              KL_CTX_SYNC | KL_CTX_DEBUG_BUFFERS};
    for (int shards = 1; shards < 4; shards += 2) {
        size_t n, n2;
        double loss, loss2;
        float *want = train(0, shards, &n, &loss);
        for (int i = 0; i < 3; i++) {
            float *got = train(modes[i], shards, &n2, &loss2);
            assert_int_equal(n, n2);
            assert_true(loss == loss2);
            if (memcmp(want, got, n * sizeof *got) != 0)
                fail_msg("flags %u, %d shards: parameters differ in their bits", modes[i], shards);
            free(got);
        }
        free(want);
    }
}

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/kiln-debug-XXXXXX");
    unsetenv("KILN_SYNC");
    unsetenv("KILN_DEBUG_BUFFERS");
    return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    pull_out("bias.cl");
    pull_out("correct.cl");
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_write_outside_is_found),
        cmocka_unit_test(an_element_that_nobody_wrote_is_found),
        cmocka_unit_test(a_nan_is_found_in_both_modes),
        cmocka_unit_test(the_environment_switches_the_modes_on),
        cmocka_unit_test(a_write_outside_is_found_while_training),
        cmocka_unit_test(a_nan_in_the_data_is_named),
        cmocka_unit_test(the_modes_change_no_bit),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
