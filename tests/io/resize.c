/* Resizing: hand-made values, sizes, refusals. */
#include "support.h"

#include <stdlib.h>

static kl__array picture(int64_t c, int64_t h, int64_t w, const void *v)
{
    return (kl__array){.elem = KL__U8,
                       .n_dims = 3,
                       .dim = {c, h, w},
                       .data = (void *)v,
                       .n_bytes = (size_t)(c * h * w)};
}

static void expect(kl__array in, int h, int w, const uint8_t *v)
{
    kl__array out;
    assert_int_equal(kl__image_resize(&in, h, w, &out), KL_OK);
    assert_true(out.elem == KL__U8 && out.n_dims == 3 && out.dim[0] == in.dim[0] &&
                out.dim[1] == h && out.dim[2] == w);
    assert_int_equal(out.n_bytes, (size_t)in.dim[0] * (size_t)h * (size_t)w);
    assert_memory_equal(out.data, v, out.n_bytes);
    kl__array_free(&out);
}

static void by_hand(void **state)
{
    (void)state;
    static const uint8_t two[] = {0, 100}, four[] = {10, 20, 30, 40}, three[] = {0, 30, 60};
    expect(picture(1, 1, 2, two), 1, 4, (const uint8_t[]){0, 25, 75, 100});
    expect(picture(1, 2, 1, two), 4, 1, (const uint8_t[]){0, 25, 75, 100});
    expect(picture(1, 1, 4, four), 1, 2, (const uint8_t[]){15, 35});
    expect(picture(1, 4, 1, four), 1, 1, (const uint8_t[]){25});
    expect(picture(1, 1, 3, three), 1, 2, (const uint8_t[]){10, 50}); /* (0 + 30/2) / 1.5 */
    expect(picture(1, 2, 2, four), 1, 4,
           (const uint8_t[]){20, 23, 28, 30}); /* down and across; halves go up */
    expect(picture(2, 1, 2, four), 1, 1, (const uint8_t[]){15, 35}); /* channels apart */
    expect(picture(2, 1, 2, four), 1, 2, four);
}

/* A flat picture stays flat and extremes do not wrap, whatever the sizes. */
static void flat_stays_flat(void **state)
{
    (void)state;
    static uint8_t flat[37 * 53], out[80 * 80];
    for (int v = 0; v < 256; v += 51) {
        memset(flat, v, sizeof flat);
        memset(out, v, sizeof out);
        for (int h = 1; h < 80; h += 13) {
            for (int w = 1; w < 80; w += 11) {
                expect(picture(1, 37, 53, flat), h, w, out);
            }
        }
    }
}

/* Shrinking keeps the mean, where bilinear sampling alone would see single pixels only. */
static void shrinking_sees_every_pixel(void **state)
{
    (void)state;
    uint8_t dots[64] = {0};
    for (int i = 0; i < 64; i += 8) {
        dots[i] = 240;
    }
    expect(picture(1, 1, 64, dots), 1, 8, (const uint8_t[]){30, 30, 30, 30, 30, 30, 30, 30});
}

static void refused(void **state)
{
    (void)state;
    uint8_t v[4] = {0};
    kl__array out, in = picture(1, 2, 2, v);
    assert_int_equal(kl__image_resize(&in, 0, 2, &out), KL_E_ARG);
    assert_int_equal(kl__image_resize(&in, 2, -1, &out), KL_E_ARG);
    in.n_bytes = 3;
    assert_int_equal(kl__image_resize(&in, 2, 2, &out), KL_E_ARG);
    in = picture(1, 2, 2, v);
    in.elem = KL__I8;
    assert_int_equal(kl__image_resize(&in, 2, 2, &out), KL_E_ARG);
    in = picture(1, 0, 2, v);
    assert_int_equal(kl__image_resize(&in, 2, 2, &out), KL_E_ARG);
    assert_null(out.data);
}

static kl_status resize_some(const char *path)
{
    (void)path;
    static const uint8_t v[12] = {1, 2, 3};
    const kl__array in = picture(1, 3, 4, v);
    kl__array out;
    const kl_status s = kl__image_resize(&in, 5, 2, &out);
    kl__array_free(&out);
    return s;
}

static void without_memory(void **state)
{
    (void)state;
    assert_bears_no_memory(resize_some, "resize");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_hand),
        cmocka_unit_test(flat_stays_flat),
        cmocka_unit_test(shrinking_sees_every_pixel),
        cmocka_unit_test(refused),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests_name("io resize", tests, folder_make, folder_remove);
}
