/* Dtypes, shapes, descriptions of values and their storage layouts. */
#include "base/rng.h"
#include "tensor/tensor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static kl_shape shape_of(int n, const int64_t *dim)
{
    kl_shape s = {n, {0}};
    for (int i = 0; i < n; i++)
        s.dim[i] = dim[i];
    return s;
}
#define SHAPE(...)                                                                                 \
    shape_of((int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

static void dtypes_have_sizes_and_names(void **state)
{
    (void)state;
    static const struct {
        kl_dtype t;
        size_t size;
        const char *name;
    } want[] = {{KL_F32, 4, "f32"},
                {KL_F16, 2, "f16"},
                {KL_I32, 4, "i32"},
                {KL_U8, 1, "u8"},
                {KL_F64, 8, "f64"}};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(kl_dtype_size(want[i].t), want[i].size);
        assert_string_equal(kl_dtype_name(want[i].t), want[i].name);
    }
    assert_int_equal(kl_dtype_size((kl_dtype)5), 0);
    assert_int_equal(kl_dtype_size((kl_dtype)-1), 0);
    assert_string_equal(kl_dtype_name((kl_dtype)99), "unknown");
}

static void counts_are_products_and_never_wrap(void **state)
{
    (void)state;
    int64_t big = (int64_t)1 << 40;
    assert_int_equal(kl_shape_count((kl_shape){0, {0}}), 1);
    for (int n = 1; n <= KL_MAX_DIMS; n++) {
        kl_shape s = {n, {2, 3, 5, 7, 11, 13}};
        int64_t want = 1;
        for (int i = 0; i < n; i++)
            want *= s.dim[i];
        assert_int_equal(kl_shape_count(s), want);
        for (int i = 0; i < n; i++) {
            kl_shape z = s;
            z.dim[i] = 0;
            assert_int_equal(kl_shape_count(z), 0);
            z.dim[i] = KL_BATCH;
            assert_int_equal(kl_shape_count(z), -1);
        }
    }
    assert_int_equal(kl_shape_count(SHAPE(big, big)), -1);
    assert_int_equal(kl_shape_count(SHAPE(big, big, 0)), 0); /* nothing, however large the others */
    assert_int_equal(kl_shape_count(SHAPE(big, 0, KL_BATCH)), -1);
    assert_int_equal(kl_shape_count(SHAPE(INT64_MAX)), INT64_MAX);
    assert_int_equal(kl_shape_count(SHAPE(INT64_MAX, 2)), -1);
    assert_int_equal(kl_shape_count((kl_shape){7, {1, 1, 1, 1, 1, 1}}), -1);
    assert_int_equal(kl_shape_count((kl_shape){-1, {0}}), -1);
}

static void equal_shapes_have_equal_ranks_and_dimensions(void **state)
{
    (void)state;
    assert_true(kl_shape_equal(SHAPE(2, 3), SHAPE(2, 3)));
    assert_false(kl_shape_equal(SHAPE(2, 3), SHAPE(3, 2)));
    assert_false(kl_shape_equal(SHAPE(2, 3), SHAPE(2, 3, 1)));
    assert_true(kl_shape_equal((kl_shape){1, {4, 9}},
                               (kl_shape){1, {4, 8}})); /* beyond the rank: nothing */
    assert_true(kl_shape_equal((kl_shape){0, {1}}, (kl_shape){0, {2}}));
}

static void shapes_print(void **state)
{
    (void)state;
    char buf[96];
    kl__text t = {0};
    assert_string_equal(kl__shape_str(SHAPE(KL_BATCH, 1, 28, 28), buf), "[N,1,28,28]");
    assert_string_equal(kl__shape_str((kl_shape){0, {0}}, buf), "[]");
    kl__put_shape(&t, SHAPE(KL_BATCH, 0, 7));
    assert_string_equal(t.s, "[N,0,7]");
    kl__text_free(&t);
    /* the widest there are do not fit, and the text still ends */
    int64_t wide = INT64_MIN;
    kl__shape_str(SHAPE(wide, wide, wide, wide, wide, wide), buf);
    assert_in_range(strlen(buf), 20, 95);
    assert_int_equal(buf[strlen(buf) - 1], ']');
}

static void refused(kl_dtype dtype, kl_shape s, kl_status status, const char *part)
{
    kl__desc d = {.dtype = dtype, .shape = s};
    if (kl__desc_legal(&d))
        fail_msg("legal, where \"%s\" was expected", part);
    assert_int_equal(kl__last_status(), status);
    if (!strstr(kl_last_error(), part))
        fail_msg("\"%s\" does not say \"%s\"", kl_last_error(), part);
}

static void impossible_descriptions_are_refused_with_the_reason(void **state)
{
    (void)state;
    for (int n = 0; n <= KL_MAX_DIMS; n++) {
        kl__desc d = {.dtype = KL_F32, .shape = {n, {KL_BATCH, 0, 3, 1, 2, 2}}};
        assert_true(kl__desc_legal(&d));
    }
    refused(KL_F32, (kl_shape){7, {0}}, KL_E_SHAPE, "rank 7; 0 to 6");
    refused(KL_F32, (kl_shape){-1, {0}}, KL_E_SHAPE, "rank -1");
    refused((kl_dtype)5, SHAPE(2), KL_E_SHAPE, "unknown dtype 5");
    refused(KL_F32, SHAPE(2, -2), KL_E_SHAPE, "dimension 1 is -2");
    refused(KL_U8, SHAPE(65536, 32768), KL_E_UNSUPPORTED,
            "[65536,32768] has more than 2^31 - 1 elements");
    refused(KL_U8, SHAPE(KL_BATCH, 65536, 32768), KL_E_UNSUPPORTED,
            "[N,65536,32768] has more than 2^31 - 1 elements");
    refused(KL_U8, SHAPE(INT64_MAX, INT64_MAX), KL_E_UNSUPPORTED, "more than 2^31 - 1");
    kl__desc most = {.dtype = KL_F64, .shape = SHAPE(INT32_MAX)};
    size_t n, bytes;
    assert_true(kl__desc_legal(&most));
    assert_true(kl__desc_elems(&most, &n) && kl__desc_bytes(&most, &bytes));
    assert_true(n == INT32_MAX && bytes == (size_t)INT32_MAX * 8);
    most.shape.dim[0]++;
    assert_false(kl__desc_elems(&most, &n) || kl__desc_bytes(&most, &bytes));
    most.shape.dim[0] = KL_BATCH;
    assert_false(kl__desc_elems(&most, &n));
}

/** Counts what a layout stores, cell by cell. */
static size_t counted(const kl__desc *d)
{
    const int64_t *s = d->shape.dim;
    const int *h = d->layout.halo;
    int c = d->layout.block;
    size_t n = 0;
    if (d->layout.kind == KL__NCHWC) {
        for (int64_t i = 0; i < s[0]; i++)
            for (int64_t k = 0; k < s[1]; k += c)
                for (int64_t y = -h[0]; y < s[2] + h[2]; y++)
                    for (int64_t x = -h[1]; x < s[3] + h[3]; x++)
                        n += (size_t)c;
    } else {
        for (int64_t o = 0; o < s[0]; o += c)
            for (int64_t i = 0; i < s[1]; i += c)
                for (int64_t k = 0; k < s[2] * s[3]; k++)
                    n += (size_t)(c * c);
    }
    return n;
}

static void layouts_store_what_counting_gives(void **state)
{
    (void)state;
    kl__rng r = kl__rng_of(3, "layouts", 0);
    uint64_t at = 0;
    const int blocks[] = {1, 4, 8, 16};
    for (int i = 0; i < 2000; i++) {
        kl__desc d = {.dtype = KL_F32};
        d.layout.kind = i % 2 ? KL__NCHWC : KL__OIHWC;
        d.layout.block = blocks[kl__rng_below(r, at++, 4)];
        d.shape.n_dims = 4;
        for (int k = 0; k < 4; k++) {
            d.shape.dim[k] = 1 + (int64_t)kl__rng_below(r, at++, k < 2 ? 40 : 9);
            d.layout.halo[k] = d.layout.kind == KL__NCHWC ? (int)kl__rng_below(r, at++, 4) : 0;
        }
        size_t n, bytes;
        assert_true(kl__desc_elems(&d, &n));
        assert_int_equal(n, counted(&d));
        assert_true(kl__desc_bytes(&d, &bytes));
        assert_int_equal(bytes, 4 * n);
        d.shape.dim[i % 4] = 0; /* no elements, then also no halo */
        assert_true(kl__desc_elems(&d, &n));
        assert_int_equal(n, 0);
    }
}

static void padding_cannot_push_a_storage_past_the_limit(void **state)
{
    (void)state;
    size_t n;
    kl__desc d = {KL_F32, SHAPE(1 << 14, 1, 1 << 8, 1 << 8), {KL__NCHWC, 1, {0}}};
    assert_true(kl__desc_elems(&d, &n)); /* 2^30 */
    d.layout.block = 16;
    assert_false(kl__desc_elems(&d, &n)); /* 2^34 */
    kl__desc w = {KL_F32, SHAPE(1 << 15, 1, 8, 8), {KL__OIHWC, 16, {0}}};
    assert_true(kl__desc_elems(&w, &n)); /* 2^21 x 16 */
    w.shape.dim[2] = 1024;
    assert_false(kl__desc_elems(&w, &n)); /* 2^32 */
}

static void layouts_compare_by_what_matters(void **state)
{
    (void)state;
    kl__layout plain = {KL__PLAIN, 0, {0}}, plain2 = {KL__PLAIN, 8, {1, 2, 3, 4}},
               a = {KL__NCHWC, 8, {1, 1, 1, 1}}, b = a;
    assert_true(kl__layout_equal(&plain, &plain2));
    assert_true(kl__layout_equal(&a, &b));
    assert_false(kl__layout_equal(&a, &plain));
    b.halo[3] = 0;
    assert_false(kl__layout_equal(&a, &b));
    b = a;
    b.block = 16;
    assert_false(kl__layout_equal(&a, &b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dtypes_have_sizes_and_names),
        cmocka_unit_test(counts_are_products_and_never_wrap),
        cmocka_unit_test(equal_shapes_have_equal_ranks_and_dimensions),
        cmocka_unit_test(shapes_print),
        cmocka_unit_test(impossible_descriptions_are_refused_with_the_reason),
        cmocka_unit_test(layouts_store_what_counting_gives),
        cmocka_unit_test(padding_cannot_push_a_storage_past_the_limit),
        cmocka_unit_test(layouts_compare_by_what_matters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
