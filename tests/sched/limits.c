/* Devices with little: arenas in several buffers, values that no buffer holds, a device that is
 * full, and little local memory. */
#include "nets.h"

#include "device/ctx.h"
#include "sched/model.h"
#include "sched/plan.h"
#include "support/fault_cl.h"
#include "support/null_cl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { KIB = 1024, MIB = 1024 * 1024 };

static kl_ctx *open_ctx(void)
{
    kl_ctx *c = kl_ctx_create(&(kl_ctx_opts){.cache_dir = ""});
    if (!c)
        fail_msg("%s", kl_last_error());
    return c;
}

static kl_ctx *open_null(const null_device *d)
{
    null_cl_setup(d, 1, 0);
    fault_cl_wrap(null_cl_table());
    kl__cl_set_table(fault_cl_table());
    return open_ctx();
}

static void close_null(kl_ctx *c)
{
    kl_ctx_destroy(c);
    assert_int_equal(fault_cl_live(), 0);
    assert_int_equal(null_cl_live(), 0);
    kl__cl_set_table(NULL);
}

static kl_ctx_stats stats(const kl_ctx *c)
{
    kl_ctx_stats s;
    kl_ctx_stats_get(c, &s);
    return s;
}

static void says(const char *part)
{
    if (!strstr(kl_last_error(), part))
        fail_msg("\"%s\" does not say \"%s\"", kl_last_error(), part);
}

/* ---- arenas ---- */
enum { BRANCHES = 6, ROWS = 256, UNITS = 64 };

/** Products of [ROWS,UNITS] that all live until they are added. */
static kl_model *branches(void)
{
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "x", KL_F32, (kl_shape){2, {KL_BATCH, 16}}), *sum = NULL, *b[BRANCHES];
    for (int i = 0; i < BRANCHES; i++)
        b[i] = kl_dense(g, x, &(kl_dense_opts){.units = UNITS});
    for (int i = 0; i < BRANCHES; i++)
        sum = i ? kl_add(g, sum, kl_softmax(g, b[i], NULL)) : kl_softmax(g, b[i], NULL);
    for (int i = 0; i < BRANCHES; i++)
        sum = kl_mul(g, sum, b[i]);
    kl_output(g, "y", sum);
    kl_model *m = kl_model_create(g, &(kl_model_opts){.seed = 4});
    kl_graph_destroy(g);
    if (!m)
        fail_msg("%s", kl_last_error());
    return m;
}

static void run_branches(uint64_t max_alloc, float *y, kl_cost *cost)
{
    static float x[ROWS * 16];
    kl_ctx *c = open_ctx();
    if (max_alloc)
        c->caps.max_alloc = max_alloc;
    kl_model *m = branches();
    for (int i = 0; i < ROWS * 16; i++)
        x[i] = (float)(i % 37) / 16 - 1;
    kl_bind binds[] = {{.name = "x", .host = x, .host_bytes = sizeof x},
                       {.name = "y", .host = y, .host_bytes = sizeof(float) * ROWS * UNITS}};
    if (kl_model_run(m, c, binds, 2) != KL_OK || kl_model_cost(m, c, ROWS, false, cost) != KL_OK)
        fail_msg("%s", kl_last_error());
    kl_model_destroy(m);
    kl_ctx_destroy(c);
}

/* An arena larger than one buffer may be lies in several, and the numbers are the same bits. */
static void an_arena_is_split(void **state)
{
    (void)state;
    static float whole[ROWS * UNITS], split[ROWS * UNITS];
    kl_cost a, b;
    run_branches(0, whole, &a);
    run_branches(80 * KIB, split, &b);
    assert_true(a.arena_bytes > (size_t)4 * 80 * KIB);
    assert_true(b.arena_bytes >= a.arena_bytes);
    assert_memory_equal(whole, split, sizeof whole);
}

static float *train(uint64_t max_alloc, size_t *n)
{
    static net_batch b;
    kl_ctx *c = open_ctx();
    if (max_alloc)
        c->caps.max_alloc = max_alloc;
    kl_model *m = net_model(true, 5);
    kl_cost cost;
    kl_trainer *tr =
        kl_trainer_create(m, &c, 1, "loss", "logits", &(kl_trainer_opts){.schedule = {.lr = 0.01}});
    if (!tr || kl_model_cost(m, c, NET_MAX_BATCH, true, &cost) != KL_OK)
        fail_msg("%s", kl_last_error());
    assert_true(!max_alloc || cost.arena_bytes > max_alloc);
    for (int i = 0; i < 3; i++) {
        net_fill(&b, NET_MAX_BATCH, i);
        if (kl_trainer_step(tr, b.binds, 2) != KL_OK)
            fail_msg("%s", kl_last_error());
    }
    float *v = net_params(m, n);
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    kl_ctx_destroy(c);
    return v;
}

static void training_in_a_split_arena_gives_the_same_bits(void **state)
{
    (void)state;
    size_t n, n2;
    float *whole = train(0, &n), *split = train(300 * KIB, &n2);
    assert_int_equal(n, n2);
    assert_int_equal(memcmp(whole, split, n * sizeof *whole), 0);
    free(whole);
    free(split);
}

/* ---- too large, and full ---- */
static kl_model *wide(int64_t width, int64_t units)
{
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "x", KL_F32, (kl_shape){2, {KL_BATCH, width}});
    kl_node *h = kl_dense(g, x, &(kl_dense_opts){.units = (int)units, .name = "up"});
    h = kl_dense(g, kl_softmax(g, h, NULL), &(kl_dense_opts){.units = 1, .name = "down"});
    kl_output(g, "y", kl_reduce_sum(g, h, NULL));
    kl_model *m = kl_model_create(g, NULL);
    kl_graph_destroy(g);
    if (!m)
        fail_msg("%s", kl_last_error());
    return m;
}

static kl_status run_wide(kl_model *m, kl_ctx *c, size_t batch, size_t width)
{
    float y = 0, *x = calloc(batch * width, sizeof *x);
    assert_non_null(x);
    kl_bind binds[] = {{.name = "x", .host = x, .host_bytes = batch * width * sizeof *x},
                       {.name = "y", .host = &y, .host_bytes = sizeof y}};
    kl_status st = kl_model_run(m, c, binds, 2);
    free(x);
    return st;
}

static void a_value_that_no_buffer_holds_is_named(void **state)
{
    (void)state;
    static const null_device d = {.name = "small", .memory = 64u * MIB, .max_alloc = 256 * KIB};
    kl_ctx *c = open_null(&d);
    kl_model *m = wide(8, 1024);
    if (run_wide(m, c, 64, 8) != KL_OK) /* 64 x 1024 floats are 256 KiB */
        fail_msg("%s", kl_last_error());
    assert_int_equal(run_wide(m, c, 65, 8), KL_E_MEMORY);
    says(
        "\"up\" needs 266240 bytes; small gives at most 262144 in one buffer: use a smaller batch");
    if (run_wide(m, c, 63, 8) != KL_OK) /* and nothing is the worse for it */
        fail_msg("%s", kl_last_error());
    kl_model_destroy(m);
    m = wide(8, 16384);
    assert_int_equal(run_wide(m, c, 1, 8), KL_E_MEMORY);
    says("the model's parameters: cannot get");
    says("on small: more than one buffer may have");
    says("at most 262144 bytes in one piece");
    kl_model_destroy(m);
    m = wide(2048, 16);
    assert_int_equal(run_wide(m, c, 33, 2048), KL_E_MEMORY);
    says("input \"x\": cannot get 270336 bytes");
    kl_model_destroy(m);
    assert_int_equal(stats(c).live_buffers, 0);
    close_null(c);
}

static void a_full_device_is_an_error_with_facts(void **state)
{
    (void)state;
    static const null_device d = {.name = "small", .memory = 4u * MIB, .max_alloc = 2u * MIB};
    kl_ctx *c = open_null(&d);
    kl_tensor *held[2];
    for (int i = 0; i < 2; i++)
        assert_non_null(held[i] = kl_tensor_create(c, KL_U8, (kl_shape){1, {3 * MIB / 2}}));
    kl_model *m = wide(8, 1024);
    assert_int_equal(run_wide(m, c, 256, 8), KL_E_MEMORY);
    says("values of a pass, ");
    says("on small: the device is full (this context holds 3.0 MiB; the device has 4.0 MiB, at "
         "most 2.0 MiB in one piece)");
    assert_int_equal(stats(c).live_buffers, 3); /* the parameters are there */
    kl_tensor_release(held[1]);
    if (run_wide(m, c, 256, 8) != KL_OK)
        fail_msg("%s", kl_last_error());
    kl_model_destroy(m);
    kl_tensor_release(held[0]);
    assert_int_equal(stats(c).live_buffers, 0);
    close_null(c);
}

static void training_says_what_does_not_fit(void **state)
{
    (void)state;
    static const null_device d = {.name = "small", .memory = MIB, .max_alloc = 512 * KIB};
    static net_batch b;
    kl_ctx *c = open_null(&d);
    kl_model *m = net_model(false, 2);
    kl_trainer *tr =
        kl_trainer_create(m, &c, 1, "loss", "logits", &(kl_trainer_opts){.allow_nan = true});
    if (!tr)
        fail_msg("%s", kl_last_error());
    kl_tensor *t[2];
    for (int i = 0; i < 2; i++)
        assert_non_null(t[i] =
                            kl_tensor_create(c, KL_U8, (kl_shape){1, {i ? 256 * KIB : 512 * KIB}}));
    net_fill(&b, NET_MAX_BATCH, 0);
    assert_int_equal(kl_trainer_step(tr, b.binds, 2), KL_E_MEMORY);
    says("the device is full");
    for (int i = 0; i < 2; i++)
        kl_tensor_release(t[i]);
    net_fill(&b, 4, 0);
    if (kl_trainer_step(tr, b.binds, 2) !=
        KL_OK) /* a smaller batch goes on where that one was refused */
        fail_msg("%s", kl_last_error());
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    assert_int_equal(stats(c).live_buffers, 0);
    close_null(c);
}

/* ---- local memory ---- */
static kl_graph *product(int m, int n, int k, bool ta, bool tb)
{
    kl_graph *g = kl_graph_create();
    kl_node *a = kl_input(g, "a", KL_F32, (kl_shape){2, {ta ? k : m, ta ? m : k}}),
            *b = kl_input(g, "b", KL_F32, (kl_shape){2, {tb ? n : k, tb ? k : n}});
    kl_output(g, "y", kl_matmul(g, a, b, &(kl_matmul_opts){.ta = ta, .tb = tb}));
    if (kl_graph_check(g) != KL_OK)
        fail_msg("%s", kl_last_error());
    return g;
}

/** Name of the variant that computes the product there; NULL: none, and the sentence says why. */
static const char *variant_of(kl_ctx *c, const kl_graph *g)
{
    const char *name = NULL;
    kl_graph *low = kl__graph_lower(g, 1, false, KL_F32, NULL, 0);
    assert_non_null(low);
    kl__place_inputs(low);
    kl__plan *p = kl__plan_create(c, low, NULL);
    for (size_t i = 0; p && i < p->graph->n_applies; i++)
        if (!strcmp(p->graph->applies[i]->op->name, "matmul"))
            name = p->graph->applies[i]->variant->name;
    kl__plan_destroy(p);
    return name;
}

static const uint64_t locals[] = {16 * KIB, 32 * KIB, 64 * KIB, 256 * KIB};

/* Every way of cutting a product keeps within local memory, whatever the caches are: else its
 * launch would be refused. */
static void products_keep_within_local_memory(void **state)
{
    (void)state;
    static const int sizes[] = {1, 5, 33, 200, 777, 4000};
    static const char *const widths[] = {"16", "8", "4"};
    int solo = 0;
    for (int i = 0; i < 4; i++)
        for (int w = 0; w < 3; w++) {
            null_device d = {.local = locals[i]};
            setenv("KILN_VECTOR", widths[w], 1);
            kl_ctx *c = open_null(&d);
            assert_int_equal(c->caps.local_bytes, locals[i]);
            for (int cache = 0; cache < 3; cache++) {
                c->caps.l1_bytes = (size_t[]){8 * KIB, 32 * KIB, 192 * KIB}[cache];
                c->caps.l2_bytes = (size_t[]){32 * KIB, 1 * MIB, 64 * MIB}[cache];
                for (int k = 0; k < 6 * 6 * 6; k++) {
                    kl_graph *g =
                        product(sizes[k % 6], sizes[k / 6 % 6], sizes[k / 36], k & 1, k & 2);
                    const char *name = variant_of(c, g);
                    if (!name)
                        fail_msg("%llu bytes, width %s: %s", (unsigned long long)locals[i],
                                 widths[w], kl_last_error());
                    solo += !strcmp(name, "solo");
                    kl_graph_destroy(g);
                }
            }
            close_null(c);
        }
    unsetenv("KILN_VECTOR");
    assert_int_equal(solo, 4 * 3 * 3 * 216); /* 16 KiB are enough for the fast one */
}

/* Below what any tile takes, another variant steps in; one that is asked for by name is refused
 * before anything is launched. */
static void without_local_memory_another_variant_steps_in(void **state)
{
    (void)state;
    null_device d = {.local = KIB};
    kl_ctx *c = open_null(&d);
    kl_graph *g = product(300, 300, 300, false, false);
    assert_string_equal(variant_of(c, g), "ref");
    setenv("KILN_VARIANT", "matmul:solo", 1);
    assert_null(variant_of(c, g));
    assert_int_equal(kl__last_status(), KL_E_UNSUPPORTED);
    says("the variant \"solo\" that was asked for does not fit here");
    unsetenv("KILN_VARIANT");
    kl_graph_destroy(g);
    close_null(c);
}

/* Whole nets are planned on devices with 16 KiB and more: forward, backward and update, whatever
 * the variants are. */
static void nets_keep_within_local_memory(void **state)
{
    (void)state;
    static const char *const variants[] = {"*:solo", "*:coop", "*:ref", NULL};
    for (int i = 0; i < 4; i++)
        for (int width = 1; width <= 16; width *= 16)
            for (int v = 0; v < 4; v++) {
                null_device d = {.local = locals[i],
                                 .width = (cl_uint)width,
                                 .type = width == 1 ? CL_DEVICE_TYPE_GPU : CL_DEVICE_TYPE_CPU};
                kl_ctx *c = open_null(&d);
                kl_cost cost;
                if (variants[v])
                    setenv("KILN_VARIANT", variants[v], 1);
                for (int dropout = 0; dropout < 2; dropout++) {
                    kl_model *m = net_model(dropout, 1);
                    if (kl_model_cost(m, c, 19, true, &cost) != KL_OK ||
                        kl_model_cost(m, c, 19, false, &cost) != KL_OK)
                        fail_msg("%llu bytes: %s", (unsigned long long)locals[i], kl_last_error());
                    kl_model_destroy(m);
                }
                unsetenv("KILN_VARIANT");
                close_null(c);
            }
}

/* On the real device: products of integers are exact however little local memory the tiles may
 * take. */
static void products_are_right_with_any_local_memory(void **state)
{
    (void)state;
    enum { M = 150, N = 170, K = 300 };
    static float a[M * K], b[K * N], want[M * N], y[M * N];
    for (int i = 0; i < M * K; i++)
        a[i] = (float)(i * 7 % 11 - 5);
    for (int i = 0; i < K * N; i++)
        b[i] = (float)(i * 5 % 13 - 6);
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++) {
            want[i * N + j] = 0;
            for (int k = 0; k < K; k++)
                want[i * N + j] += a[i * K + k] * b[k * N + j];
        }
    kl_graph *g = product(M, N, K, false, false);
    for (int i = 0; i < 4; i++) {
        kl_ctx *c = open_ctx();
        if (c->caps.local_bytes > locals[i])
            c->caps.local_bytes = locals[i];
        kl_model *m = kl_model_create(g, NULL);
        kl_bind binds[] = {{.name = "a", .host = a, .host_bytes = sizeof a},
                           {.name = "b", .host = b, .host_bytes = sizeof b},
                           {.name = "y", .host = y, .host_bytes = sizeof y}};
        memset(y, 0, sizeof y);
        if (!m || kl_model_run(m, c, binds, 3) != KL_OK)
            fail_msg("%s", kl_last_error());
        assert_memory_equal(y, want, sizeof y);
        kl_model_destroy(m);
        kl_ctx_destroy(c);
    }
    kl_graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_arena_is_split),
        cmocka_unit_test(training_in_a_split_arena_gives_the_same_bits),
        cmocka_unit_test(a_value_that_no_buffer_holds_is_named),
        cmocka_unit_test(a_full_device_is_an_error_with_facts),
        cmocka_unit_test(training_says_what_does_not_fit),
        cmocka_unit_test(products_keep_within_local_memory),
        cmocka_unit_test(without_local_memory_another_variant_steps_in),
        cmocka_unit_test(nets_keep_within_local_memory),
        cmocka_unit_test(products_are_right_with_any_local_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
