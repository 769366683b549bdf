/* kl_tensor: what is held, views, reading and writing, and what is refused, on the device of this
 * machine and on one with little memory. */
#include "support/count_alloc.h"
#include "support/fault_cl.h"
#include "support/null_cl.h"
#include "tensor/tensor.h"

#include <kiln/kiln.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define S0 ((kl_shape){0, {0}})
#define S1(a) ((kl_shape){1, {a}})
#define S2(a, b) ((kl_shape){2, {a, b}})

static void says(const char *part)
{
    if (!strstr(kl_last_error(), part))
        fail_msg("\"%s\" does not say \"%s\"", kl_last_error(), part);
}

static kl_ctx *open_ctx(void)
{
    kl_ctx *c = kl_ctx_create(&(kl_ctx_opts){.cache_dir = ""});
    if (!c)
        fail_msg("%s", kl_last_error());
    return c;
}

static kl_ctx *open_null(const null_device *d)
{
    null_cl_setup(d, d ? 1 : 0, 0);
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

static void every_rank_and_dtype_is_written_and_read(void **state)
{
    (void)state;
    kl_ctx *c = open_ctx();
    unsigned char in[6 * 720], out[sizeof in];
    for (size_t i = 0; i < sizeof in; i++)
        in[i] = (unsigned char)(i * 7 + 1);
    for (int t = KL_F32; t <= KL_F64; t++)
        for (int n = 0; n <= KL_MAX_DIMS; n++) {
            kl_shape s = {n, {1, 2, 3, 4, 5, 3}};
            kl_tensor *x = kl_tensor_create(c, (kl_dtype)t, s);
            assert_non_null(x);
            size_t bytes = kl_tensor_bytes(x);
            assert_int_equal(bytes, (size_t)kl_shape_count(s) * kl_dtype_size((kl_dtype)t));
            assert_int_equal(kl_tensor_dtype(x), t);
            assert_true(kl_shape_equal(kl_tensor_shape(x), s));
            assert_ptr_equal(kl_tensor_ctx(x), c);
            assert_int_equal(kl_tensor_write(x, in, bytes), KL_OK);
            memset(out, 0, sizeof out);
            assert_int_equal(kl_tensor_read(x, out, bytes), KL_OK);
            assert_memory_equal(in, out, bytes);
            kl_tensor_release(x);
        }
    assert_int_equal(stats(c).live_buffers, 0);
    kl_ctx_destroy(c);
}

static void tensors_without_elements_are_legal(void **state)
{
    (void)state;
    kl_ctx *c = open_ctx();
    kl_tensor *x = kl_tensor_create(c, KL_F32, (kl_shape){4, {3, 0, 5, 7}});
    assert_non_null(x);
    assert_int_equal(kl_tensor_bytes(x), 0);
    assert_int_equal(kl_tensor_write(x, NULL, 0), KL_OK);
    assert_int_equal(kl_tensor_read(x, NULL, 0), KL_OK);
    assert_int_equal(kl_tensor_write(x, "a", 1), KL_E_ARG);
    says("has 0 bytes, 1 were given");
    kl_tensor *v = kl_tensor_view(x, 0, S2(0, 9));
    assert_non_null(v);
    assert_null(kl_tensor_view(x, 0, S0)); /* a scalar is one element */
    assert_null(kl_tensor_view(x, 1, S1(0)));
    kl_tensor_release(v);
    kl_tensor_release(x);
    kl_ctx_destroy(c);
}

static void views_share_and_stay_inside(void **state)
{
    (void)state;
    kl_ctx *c = open_ctx();
    float in[24], out[24], one = 100;
    for (int i = 0; i < 24; i++)
        in[i] = (float)i;
    kl_tensor *x = kl_tensor_create(c, KL_F32, S2(4, 6));
    assert_int_equal(kl_tensor_write(x, in, sizeof in), KL_OK);
    kl_tensor *row = kl_tensor_view(x, 12, S1(6)), *cell = kl_tensor_view(row, 5, S0),
              *all = kl_tensor_view(x, 0, (kl_shape){3, {2, 3, 4}}),
              *end = kl_tensor_view(x, 24, S1(0));
    assert_true(row && cell && all && end);
    assert_int_equal(kl_tensor_read(row, out, 24), KL_OK);
    assert_memory_equal(out, in + 12, 24);
    assert_int_equal(kl_tensor_read(cell, out, 4), KL_OK);
    assert_true(out[0] == 17); /* offsets of a view of a view add up */
    kl_tensor_release(x);      /* views keep the memory */
    kl_tensor_release(row);
    assert_int_equal(kl_tensor_write(cell, &one, 4), KL_OK);
    assert_int_equal(kl_tensor_read(all, out, sizeof out), KL_OK);
    in[17] = 100;
    assert_memory_equal(in, out, sizeof out); /* that one cell, and no other */
    static const struct {
        int64_t first;
        kl_shape s;
    } bad[] = {{0, {1, {25}}},        {-1, {1, {2}}},
               {20, {1, {5}}},        {25, {1, {0}}},
               {INT64_MAX, {1, {1}}}, {1, {1, {INT64_MAX}}},
               {0, {1, {KL_BATCH}}},  {0, {7, {1, 1, 1, 1, 1, 1}}}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_null(kl_tensor_view(all, bad[i].first, bad[i].s));
        assert_int_equal(kl__last_status(), KL_E_SHAPE);
        says("does not lie inside a tensor of 24 elements");
    }
    assert_int_equal(stats(c).live_buffers, 1);
    kl_tensor_release(cell);
    kl_tensor_release(end);
    kl_tensor_release(all);
    assert_int_equal(stats(c).live_buffers, 0);
    kl_ctx_destroy(c);
}

static void wrong_sizes_and_nulls_are_refused(void **state)
{
    (void)state;
    kl_ctx *c = open_ctx();
    float v[4] = {0};
    kl_tensor *x = kl_tensor_create(c, KL_F32, S1(4));
    assert_int_equal(kl_tensor_write(x, v, 12), KL_E_ARG);
    says("kl_tensor_write: the tensor has 16 bytes, 12 were given");
    assert_int_equal(kl_tensor_read(x, v, 20), KL_E_ARG);
    says("kl_tensor_read: the tensor has 16 bytes, 20 were given");
    assert_int_equal(kl_tensor_write(x, NULL, 16), KL_E_ARG);
    says("host memory is NULL");
    assert_int_equal(kl_tensor_read(NULL, v, 16), KL_E_ARG);
    says("tensor is NULL");
    assert_null(kl_tensor_create(NULL, KL_F32, S1(1)));
    says("ctx is NULL");
    assert_null(kl_tensor_view(NULL, 0, S1(1)));
    assert_null(kl_tensor_retain(NULL));
    kl_tensor_release(NULL);
    assert_int_equal(kl_tensor_bytes(NULL), 0);
    assert_null(kl_tensor_ctx(NULL));
    kl_tensor_release(x);
    kl_ctx_destroy(c);
}

static void counts_keep_a_tensor(void **state)
{
    (void)state;
    kl_ctx *c = open_null(NULL);
    kl_tensor *x = kl_tensor_create(c, KL_I32, S1(1000));
    assert_ptr_equal(kl_tensor_retain(x), x);
    assert_int_equal(stats(c).live_bytes, 4000);
    kl_tensor_release(x);
    assert_int_equal(stats(c).live_bytes, 4000);
    assert_int_equal(kl_tensor_bytes(x), 4000);
    kl_tensor_release(x);
    assert_int_equal(stats(c).live_bytes, 0);
    close_null(c);
}

/* A driver's error comes through with the name of its call. */
static void failed_transfers_say_which_call(void **state)
{
    (void)state;
    kl_ctx *c = open_null(NULL);
    int v[4] = {0};
    kl_tensor *x = kl_tensor_create(c, KL_I32, S1(4));
    fault_cl_at("clEnqueueWriteBuffer", 1, false, CL_OUT_OF_RESOURCES);
    assert_int_equal(kl_tensor_write(x, v, 16), KL_E_DEVICE);
    says("clEnqueueWriteBuffer on null: CL_OUT_OF_RESOURCES");
    fault_cl_at("clEnqueueReadBuffer", 1, false, CL_MEM_OBJECT_ALLOCATION_FAILURE);
    assert_int_equal(kl_tensor_read(x, v, 16), KL_E_MEMORY);
    says("clEnqueueReadBuffer");
    fault_cl_at("clWaitForEvents", 1, false, CL_OUT_OF_RESOURCES);
    assert_int_equal(kl_tensor_read(x, v, 16), KL_E_DEVICE);
    says("clWaitForEvents");
    fault_cl_at("clCreateBuffer", 1, false, CL_MEM_OBJECT_ALLOCATION_FAILURE);
    assert_null(kl_tensor_create(c, KL_F16, S2(8, 2)));
    assert_int_equal(kl__last_status(), KL_E_MEMORY);
    says("tensor f16 [8,2]: cannot get 32 bytes");
    says("CL_MEM_OBJECT_ALLOCATION_FAILURE");
    fault_cl_at(NULL, 0, false, 0);
    kl_tensor_release(x);
    close_null(c);
}

static void what_cannot_be_made_is_refused_with_facts(void **state)
{
    (void)state;
    static const null_device small = {.name = "small", .memory = 64 << 20, .max_alloc = 16 << 20};
    kl_ctx *c = open_null(&small);
    kl_tensor *held[4];
    assert_null(kl_tensor_create(c, KL_U8, S2(65536, 32768)));
    assert_int_equal(kl__last_status(), KL_E_UNSUPPORTED);
    says("[65536,32768] has more than 2^31 - 1 elements");
    assert_null(kl_tensor_create(c, KL_F32, S2(KL_BATCH, 4)));
    says("[N,4] cannot be made: its batch size is not known");
    assert_null(kl_tensor_create(c, (kl_dtype)17, S1(4)));
    says("unknown dtype 17");
    assert_null(kl_tensor_create(c, KL_F32, S2(1024, 4097)));
    assert_int_equal(kl__last_status(), KL_E_MEMORY);
    says("tensor f32 [1024,4097]: cannot get 16.0 MiB of memory on small: more than one buffer may "
         "have");
    says("at most 16.0 MiB in one piece");
    for (int i = 0; i < 4; i++)
        assert_non_null(held[i] = kl_tensor_create(c, KL_F32, S2(1024, 4096)));
    assert_null(kl_tensor_create(c, KL_F32, S1(1)));
    assert_int_equal(kl__last_status(), KL_E_MEMORY);
    says("cannot get 4 bytes of memory on small: the device is full");
    says("this context holds 64.0 MiB; the device has 64.0 MiB");
    kl_tensor_release(held[3]);
    assert_non_null(held[3] = kl_tensor_create(c, KL_F32, S1(1)));
    for (int i = 0; i < 4; i++)
        kl_tensor_release(held[i]);
    close_null(c);
}

/* Graphs, too, say what is too large: as it is built, or when the batch size makes it so. */
static void graphs_refuse_values_that_are_too_large(void **state)
{
    (void)state;
    kl_graph *g = kl_graph_create();
    assert_null(kl_input(g, "image", KL_F32, (kl_shape){4, {KL_BATCH, 3, 32768, 32768}}));
    assert_int_equal(kl_graph_check(g), KL_E_SHAPE);
    says("input \"image\": [N,3,32768,32768] has more than 2^31 - 1 elements");
    kl_graph_destroy(g);
    g = kl_graph_create();
    kl_node *a = kl_input(g, "a", KL_F32, S2(65536, 1)),
            *b = kl_input(g, "b", KL_F32, S2(1, 65536));
    assert_true(a && b);
    assert_null(kl_add(g, a, b));
    says("add");
    says("[65536,65536] has more than 2^31 - 1 elements");
    kl_graph_destroy(g);
    g = kl_graph_create();
    assert_null(kl_param(g, "w", (kl_shape){3, {4096, 4096, 4096}}, (kl_init){0}, true));
    says("\"w\"");
    says("[4096,4096,4096] has more than 2^31 - 1 elements");
    kl_graph_destroy(g);
    g = kl_graph_create();
    assert_null(kl_constant(g, "c", KL_F32, (kl_shape){3, {65536, 65536, 65536}}, "not read"));
    says("\"c\"");
    says("[65536,65536,65536] has more than 2^31 - 1 elements");
    kl_graph_destroy(g);
    g = kl_graph_create();
    kl_output(g, "y", kl_relu(g, kl_input(g, "x", KL_F32, S2(KL_BATCH, 1 << 20))));
    kl_model *m = kl_model_create(g, NULL);
    kl_ctx *c = open_null(NULL);
    kl_cost cost;
    assert_int_equal(kl_model_cost(m, c, 100, false, &cost), KL_OK);
    assert_int_not_equal(kl_model_cost(m, c, 2048, false, &cost), KL_OK);
    says("[2048,1048576] has more than 2^31 - 1 elements");
    kl_model_destroy(m);
    kl_graph_destroy(g);
    close_null(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rank_and_dtype_is_written_and_read),
        cmocka_unit_test(tensors_without_elements_are_legal),
        cmocka_unit_test(views_share_and_stay_inside),
        cmocka_unit_test(wrong_sizes_and_nulls_are_refused),
        cmocka_unit_test(counts_keep_a_tensor),
        cmocka_unit_test(failed_transfers_say_which_call),
        cmocka_unit_test(what_cannot_be_made_is_refused_with_facts),
        cmocka_unit_test(graphs_refuse_values_that_are_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
