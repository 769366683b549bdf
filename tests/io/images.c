/* PNG of every kind, written by libpng here, read by the codec; the writer; damage; the bad-input
 * catalogue. */
#include "support.h"

#include <stdlib.h>

#include <png.h>

static kl_status read_as(const char *path, int channels)
{
    static const kl__array zero;
    kl__array a;
    memset(&a, 0x5a, sizeof a);
    const kl_status s = kl__image_read(path, channels, 0, &a);
    if (s) {
        assert_memory_equal(&a, &zero, sizeof a);
    } else {
        assert_true(a.elem == KL__U8 && a.n_dims == 3 &&
                    a.n_bytes == (size_t)(a.dim[0] * a.dim[1] * a.dim[2]));
    }
    kl__array_free(&a);
    return s;
}

static kl_status read_image(const char *path)
{
    return read_as(path, 0);
}

typedef struct kind {
    int colour, bits, interlace;
    const uint8_t *rows; /* as PNG packs them */
    png_uint_32 w, h;
    size_t stride;
    const png_color *palette;
    int n_palette;
    const uint8_t *trans; /* palette alphas */
    int n_trans;
    const png_color_16 *trans_colour;
    const uint8_t *exif;
    unsigned n_exif;
} kind;

static const char *make_png(const char *name, const kind *k)
{
    const char *path = at(name);
    FILE *f = fopen(path, "wb");
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    assert_true(f && png && info);
    png_init_io(png, f);
    png_set_IHDR(png, info, k->w, k->h, k->bits, k->colour, k->interlace,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (k->palette) {
        png_set_PLTE(png, info, k->palette, k->n_palette);
    }
    if (k->trans || k->trans_colour) {
        png_set_tRNS(png, info, k->trans, k->n_trans, k->trans_colour);
    }
    if (k->exif) {
        png_set_eXIf_1(png, info, k->n_exif, (png_bytep)(uintptr_t)k->exif);
    }
    png_write_info(png, info);
    const int passes = png_set_interlace_handling(png);
    for (int p = 0; p < passes; p++) {
        for (png_uint_32 y = 0; y < k->h; y++) {
            png_write_row(png, k->rows + y * k->stride);
        }
    }
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    assert_int_equal(fclose(f), 0);
    return path;
}

/* Reads with `channels` asked and compares the planar bytes. */
static void expect(const char *path, int channels, int64_t c, int64_t h, int64_t w,
                   const uint8_t *v)
{
    kl__array a;
    if (kl__image_read(path, channels, 0, &a)) {
        fail_msg("%s", kl_last_error());
    }
    assert_true(a.elem == KL__U8 && a.n_dims == 3 && a.dim[0] == c && a.dim[1] == h &&
                a.dim[2] == w);
    assert_memory_equal(a.data, v, a.n_bytes);
    kl__array_free(&a);
}

static void grey_and_rgb(void **state)
{
    (void)state;
    static const uint8_t grey[] = {0, 100, 255, 1, 2, 3};
    static const uint8_t grey3[] = {0, 100, 255, 1, 2,   3,   0, 100, 255,
                                    1, 2,   3,   0, 100, 255, 1, 2,   3};
    const kind g = {PNG_COLOR_TYPE_GRAY, 8, 0, .rows = grey, .w = 3, .h = 2, .stride = 3};
    expect(make_png("g.png", &g), 0, 1, 2, 3, grey);
    expect(at("g.png"), 1, 1, 2, 3, grey);
    expect(at("g.png"), 3, 3, 2, 3, grey3);
    static const uint8_t rgb[] = {255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30};
    static const uint8_t planar[] = {255, 0, 0, 10, 0, 255, 0, 20, 0, 0, 255, 30};
    static const uint8_t luma[] = {76, 150, 29, 18};
    const kind c = {PNG_COLOR_TYPE_RGB, 8, 0, .rows = rgb, .w = 2, .h = 2, .stride = 6};
    expect(make_png("c.jpg", &c), 0, 3, 2, 2, planar); /* the name's ending does not matter */
    expect(at("c.jpg"), 3, 3, 2, 2, planar);
    expect(at("c.jpg"), 1, 1, 2, 2, luma);
}

static void few_bits_and_many(void **state)
{
    (void)state;
    static const uint8_t one[] = {0xa0}, two[] = {0x1b}, four[] = {0x0f, 0x80};
    static const uint8_t sixteen[] = {0, 255, 0x12, 0x34, 0xff, 0xff},
                         rgb16[] = {1, 255, 2, 0, 3, 128};
    const kind k1 = {PNG_COLOR_TYPE_GRAY, 1, 0, .rows = one, .w = 4, .h = 1, .stride = 1};
    expect(make_png("k.png", &k1), 0, 1, 1, 4, (const uint8_t[]){255, 0, 255, 0});
    const kind k2 = {PNG_COLOR_TYPE_GRAY, 2, 0, .rows = two, .w = 4, .h = 1, .stride = 1};
    expect(make_png("k.png", &k2), 0, 1, 1, 4, (const uint8_t[]){0, 85, 170, 255});
    const kind k4 = {PNG_COLOR_TYPE_GRAY, 4, 0, .rows = four, .w = 3, .h = 1, .stride = 2};
    expect(make_png("k.png", &k4), 0, 1, 1, 3, (const uint8_t[]){0, 255, 136});
    const kind k16 = {PNG_COLOR_TYPE_GRAY, 16, 0, .rows = sixteen, .w = 3, .h = 1, .stride = 6};
    expect(make_png("k.png", &k16), 0, 1, 1, 3, (const uint8_t[]){0, 0x12, 0xff});
    const kind c16 = {PNG_COLOR_TYPE_RGB, 16, 0, .rows = rgb16, .w = 1, .h = 1, .stride = 6};
    expect(make_png("k.png", &c16), 0, 3, 1, 1, (const uint8_t[]){1, 2, 3});
}

static void palettes(void **state)
{
    (void)state;
    static const png_color pal[] = {{255, 0, 0}, {0, 128, 0}, {1, 2, 3}};
    static const uint8_t index[] = {0, 1, 2}, alpha[] = {255, 0},
                         packed[] = {0x18}; /* 0 1 2 of 2 bits */
    kind k = {
        PNG_COLOR_TYPE_PALETTE, 8, 0, .rows = index, .w = 3, .h = 1, .stride = 3, .palette = pal,
        .n_palette = 3};
    expect(make_png("p.png", &k), 0, 3, 1, 3, (const uint8_t[]){255, 0, 1, 0, 128, 2, 0, 0, 3});
    k.bits = 2;
    k.rows = packed;
    expect(make_png("p.png", &k), 0, 3, 1, 3, (const uint8_t[]){255, 0, 1, 0, 128, 2, 0, 0, 3});
    k.trans = alpha;
    k.n_trans = 2;
    expect(make_png("p.png", &k), 0, 3, 1, 3, (const uint8_t[]){255, 255, 1, 0, 255, 2, 0, 255, 3});
}

static void alpha_on_white(void **state)
{
    (void)state;
    static const uint8_t rgba[] = {10, 20, 30, 255, 10, 20, 30, 0, 0, 100, 255, 128};
    static const uint8_t ga[] = {100, 255, 100, 0, 0, 51}, grey[] = {7, 9};
    const kind c = {PNG_COLOR_TYPE_RGB_ALPHA, 8, 0, .rows = rgba, .w = 3, .h = 1, .stride = 12};
    expect(make_png("a.png", &c), 0, 3, 1, 3,
           (const uint8_t[]){10, 255, 127, 20, 255, 177, 30, 255, 255});
    const kind g = {PNG_COLOR_TYPE_GRAY_ALPHA, 8, 0, .rows = ga, .w = 3, .h = 1, .stride = 6};
    expect(make_png("a.png", &g), 0, 1, 1, 3, (const uint8_t[]){100, 255, 204});
    const png_color_16 seven = {.gray = 7};
    const kind t = {PNG_COLOR_TYPE_GRAY,   8, 0, .rows = grey, .w = 2, .h = 1, .stride = 2,
                    .trans_colour = &seven};
    expect(make_png("a.png", &t), 0, 1, 1, 2, (const uint8_t[]){255, 9});
}

static void interlaced(void **state)
{
    (void)state;
    uint8_t v[19 * 13];
    for (size_t i = 0; i < sizeof v; i++) {
        v[i] = (uint8_t)(i * 7);
    }
    for (png_uint_32 w = 1; w <= 13; w++) { /* with the sizes at which passes are empty */
        const kind k = {PNG_COLOR_TYPE_GRAY, 8, PNG_INTERLACE_ADAM7, .rows = v, .w = w, .h = 19,
                        .stride = w};
        expect(make_png("i.png", &k), 0, 1, 19, (int64_t)w, v);
    }
}

static void exif_chunk(void **state)
{
    (void)state;
    static const uint8_t exif[] = {'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0,
                                   3,   0,   0, 0,  1, 0, 6, 0, 0, 0, 0, 0,    0};
    static const uint8_t v[] = {1, 2, 3, 4, 5, 6};
    const kind k = {
        PNG_COLOR_TYPE_GRAY,  8, 0, .rows = v, .w = 3, .h = 2, .stride = 3, .exif = exif,
        .n_exif = sizeof exif};
    expect(make_png("x.png", &k), 0, 1, 3, 2, (const uint8_t[]){4, 1, 5, 2, 6, 3});
}

/* The smallest PNG there is, byte for byte: one grey pixel of 0x55. */
static const uint8_t tiny[] = {
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48,
    0x44, 0x52, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x08, 0x00, 0x00, 0x00,
    0x00, 0x3a, 0x7e, 0x9b, 0x55, 0x00, 0x00, 0x00, 0x0a, 0x49, 0x44, 0x41, 0x54, 0x78,
    0xda, 0x63, 0x08, 0x05, 0x00, 0x00, 0x57, 0x00, 0x56, 0x92, 0xcb, 0x65, 0xc1, 0x00,
    0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
};

static void golden(void **state)
{
    (void)state;
    expect(put_file("tiny", tiny, sizeof tiny), 0, 1, 1, 1, (const uint8_t[]){0x55});
}

static void writer(void **state)
{
    (void)state;
    static uint8_t v[3 * 17 * 11];
    for (size_t i = 0; i < sizeof v; i++) {
        v[i] = (uint8_t)(i * 5 + i / 7);
    }
    for (int64_t c = 1; c <= 3; c += 2) {
        const kl__array a = {.elem = KL__U8,
                             .n_dims = 3,
                             .dim = {c, 17, 11},
                             .data = v,
                             .n_bytes = (size_t)c * 17 * 11};
        assert_int_equal(kl__png_write(at("w.png"), &a), KL_OK);
        expect(at("w.png"), 0, c, 17, 11, v);
        uint8_t *data;
        size_t n;
        assert_int_equal(kl__png_encode(&a, &data, &n), KL_OK);
        expect(put_file("m.png", data, n), 0, c, 17, 11, v);
        kl__free(data);
    }
    kl__array bad = {.elem = KL__U8, .n_dims = 3, .dim = {2, 1, 1}, .data = v, .n_bytes = 2};
    assert_int_equal(kl__png_write(at("no.png"), &bad), KL_E_ARG);
    assert_sentence("no.png");
    bad.dim[0] = 3;
    assert_int_equal(kl__png_write(at("no.png"), &bad), KL_E_ARG);
    bad = (kl__array){.elem = KL__U8, .n_dims = 3, .dim = {1, 0, 1}, .data = v};
    assert_int_equal(kl__png_write(at("no.png"), &bad), KL_E_ARG);
    assert_false(kl__path_exists(at("no.png")));
}

static uint32_t be32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) {
        p[i] = (uint8_t)(v >> (24 - 8 * i));
    }
    return v;
}

/* `tiny` with another size in its header, and the check sum right. */
static const char *sized(uint32_t w, uint32_t h)
{
    static uint8_t b[sizeof tiny];
    memcpy(b, tiny, sizeof tiny);
    be32(b + 16, w);
    be32(b + 20, h);
    uint32_t crc = 0xffffffff; /* PNG's, by the book */
    for (size_t i = 12; i < 29; i++) {
        crc ^= b[i];
        for (int k = 0; k < 8; k++) {
            crc = crc & 1 ? 0xedb88320u ^ crc >> 1 : crc >> 1;
        }
    }
    be32(b + 29, ~crc);
    return put_file("sized.png", b, sizeof b);
}

static void refused(void **state)
{
    (void)state;
    kl__array a;
    assert_refused(read_image, at("none"), KL_E_IO, "none");
    assert_refused(read_image, put_file("e", "", 0), KL_E_FORMAT, "empty");
    assert_refused(read_image, put_file("e", "x", 1), KL_E_FORMAT, "neither PNG nor JPEG");
    assert_refused(read_image, put_file("e", "GIF89a........", 14), KL_E_FORMAT,
                   "neither PNG nor JPEG");
    assert_refused_cheaply(read_image, sized(0, 5), KL_E_FORMAT, "PNG", 1u << 20);
    assert_refused_cheaply(read_image, sized(65500, 65500), KL_E_UNSUPPORTED, "65500 x 65500",
                           1u << 20);
    assert_refused_cheaply(read_image, sized(0x7fffffff, 0x7fffffff), KL_E_UNSUPPORTED, "pixels",
                           1u << 20);
    assert_refused_cheaply(read_image, sized(0xffffffff, 1), KL_E_FORMAT, "PNG", 1u << 20);
    /* within the limit, but no 68 bytes hold so much */
    assert_refused_cheaply(read_image, sized(16000, 16000), KL_E_FORMAT,
                           "than a file of its length", 1u << 20);
    assert_refused_cheaply(read_image, sized(200, 200), KL_E_FORMAT, "PNG", 1u << 20);
    assert_int_equal(kl__image_read(put_file("tiny", tiny, sizeof tiny), 2, 0, &a), KL_E_ARG);
    assert_int_equal(kl__image_read(at("tiny"), 4, 0, &a), KL_E_ARG);
    assert_int_equal(kl__image_read(sized(3, 2), 0, 5, &a), KL_E_UNSUPPORTED);
    assert_non_null(strstr(kl_last_error(), "at most 5"));
}

static void damage(void **state)
{
    (void)state;
    uint8_t v[3 * 40 * 30];
    for (size_t i = 0; i < sizeof v; i++) {
        v[i] = (uint8_t)(i * 2654435761u >> 11);
    }
    static const png_color pal[] = {{255, 0, 0}, {0, 128, 0}, {1, 2, 3}};
    static const uint8_t alpha[] = {255, 0}, index[] = {0, 1, 2, 1, 0, 2, 2, 1, 0};
    const kind c = {PNG_COLOR_TYPE_RGB, 8, 0, .rows = v, .w = 40, .h = 30, .stride = 120};
    const kind i = {PNG_COLOR_TYPE_GRAY, 8, PNG_INTERLACE_ADAM7, .rows = v, .w = 40, .h = 30,
                    .stride = 40};
    const kind p = {PNG_COLOR_TYPE_PALETTE,
                    8,
                    0,
                    .rows = index,
                    .w = 3,
                    .h = 3,
                    .stride = 3,
                    .palette = pal,
                    .n_palette = 3,
                    .trans = alpha,
                    .n_trans = 2};
    assert_bears_damage(read_image, make_png("d1.png", &c));
    assert_bears_damage(read_image, make_png("d2.png", &i));
    assert_bears_damage(read_image, make_png("d3.png", &p));
    assert_bears_no_memory(read_image, at("d1.png"));
    assert_bears_no_memory(read_image, at("d2.png"));
    assert_bears_no_memory(read_image, at("d3.png"));
}

static kl_status write_some(const char *path)
{
    static const uint8_t v[12];
    const kl__array a = {
        .elem = KL__U8, .n_dims = 3, .dim = {3, 2, 2}, .data = (void *)(uintptr_t)v, .n_bytes = 12};
    remove(path);
    const kl_status s = kl__png_write(path, &a);
    assert_int_equal(kl__path_exists(path), s == KL_OK);
    return s;
}

static void writing_without_memory(void **state)
{
    (void)state;
    assert_bears_no_memory(write_some, at("o.png"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grey_and_rgb),
        cmocka_unit_test(few_bits_and_many),
        cmocka_unit_test(palettes),
        cmocka_unit_test(alpha_on_white),
        cmocka_unit_test(interlaced),
        cmocka_unit_test(exif_chunk),
        cmocka_unit_test(golden),
        cmocka_unit_test(writer),
        cmocka_unit_test(refused),
        cmocka_unit_test(damage),
        cmocka_unit_test(writing_without_memory),
    };
    return cmocka_run_group_tests_name("io png", tests, folder_make, folder_remove);
}
