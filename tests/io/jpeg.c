/* JPEG of every kind, written by libjpeg here, read by the codec. Pictures are made of flat 8 x 8
 * blocks, which JPEG keeps to within a few levels. */
#include "support.h"

#include <stdlib.h>

#include <jpeglib.h>

enum { W = 24, H = 16 }; /* 3 x 2 blocks */

static kl_status read_image(const char *path)
{
    static const kl__array zero;
    kl__array a;
    memset(&a, 0x5a, sizeof a);
    const kl_status s = kl__image_read(path, 0, 0, &a);
    if (s) {
        assert_memory_equal(&a, &zero, sizeof a);
    }
    kl__array_free(&a);
    return s;
}

typedef struct kind {
    int components;
    J_COLOR_SPACE in, inside;
    bool progressive, arithmetic, no_adobe, subsampled;
    int orientation;            /* 0: no EXIF */
    bool little;                /* EXIF in Intel order */
    const uint8_t (*blocks)[4]; /* six block colours, row by row */
} kind;

static void put_exif(struct jpeg_compress_struct *c, const kind *k)
{
    uint8_t m[] = {'E', 'x', 'i', 'f', 0, 0, 'M', 'M',  0, 42, 0, 0, 0, 8, 0, 2, 1, 0, 0, 4, 0, 0,
                   0,   1,   0,   0,   0, W, 1,   0x12, 0, 3,  0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0};
    uint8_t i[] = {'E', 'x', 'i', 'f', 0, 0, 'I',  'I', 42, 0, 8, 0, 0, 0, 2, 0, 0, 1, 4, 0, 1, 0,
                   0,   0,   W,   0,   0, 0, 0x12, 1,   3,  0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    m[37] = i[36] = (uint8_t)k->orientation;
    jpeg_write_marker(c, JPEG_APP0 + 1, k->little ? i : m, sizeof m);
}

static const char *make_jpeg(const char *name, const kind *k)
{
    const char *path = at(name);
    FILE *f = fopen(path, "wb");
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr e;
    assert_non_null(f);
    c.err = jpeg_std_error(&e);
    jpeg_create_compress(&c);
    jpeg_stdio_dest(&c, f);
    c.image_width = W;
    c.image_height = H;
    c.input_components = k->components;
    c.in_color_space = k->in;
    jpeg_set_defaults(&c);
    jpeg_set_colorspace(&c, k->inside);
    jpeg_set_quality(&c, 95, TRUE);
    if (!k->subsampled) {
        for (int i = 0; i < c.num_components; i++) {
            c.comp_info[i].h_samp_factor = c.comp_info[i].v_samp_factor = 1;
        }
    }
    if (k->progressive) {
        jpeg_simple_progression(&c);
    }
    c.arith_code = k->arithmetic;
    if (k->no_adobe) {
        c.write_Adobe_marker = FALSE;
    }
    jpeg_start_compress(&c, TRUE);
    if (k->orientation) {
        put_exif(&c, k);
    }
    for (int y = 0; y < H; y++) {
        uint8_t row[W * 4], *p = row;
        for (int x = 0; x < W; x++, p += k->components) {
            memcpy(p, k->blocks[y / 8 * 3 + x / 8], (size_t)k->components);
        }
        JSAMPROW r = row;
        jpeg_write_scanlines(&c, &r, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    assert_int_equal(fclose(f), 0);
    return path;
}

static void near(int got, int want, const char *what)
{
    if (abs(got - want) > 4) {
        fail_msg("%s: %d, %d expected", what, got, want);
    }
}

/* The centre of each block of the upright picture, h x w blocks. */
static void expect(const char *path, int channels, int c, int h, int w, const uint8_t want[][4])
{
    kl__array a;
    if (kl__image_read(path, channels, 0, &a)) {
        fail_msg("%s", kl_last_error());
    }
    assert_true(a.elem == KL__U8 && a.n_dims == 3 && a.dim[0] == c && a.dim[1] == 8 * h &&
                a.dim[2] == 8 * w);
    const uint8_t *p = a.data;
    for (int k = 0; k < c; k++) {
        for (int y = 0; y < h; y++) {
            for (int x = 0; x < w; x++) {
                near(p[(k * 8 * h + 8 * y + 4) * 8 * w + 8 * x + 4], want[y * w + x][k], path);
            }
        }
    }
    kl__array_free(&a);
}

static const uint8_t grey[6][4] = {{0}, {50}, {100}, {150}, {200}, {255}};
static const uint8_t rgb[6][4] = {{250, 10, 10}, {10, 250, 10},   {10, 10, 250},
                                  {0, 0, 0},     {255, 255, 255}, {100, 150, 200}};

static void grey_and_rgb(void **state)
{
    (void)state;
    static const uint8_t grey3[6][4] = {{0, 0, 0},       {50, 50, 50},    {100, 100, 100},
                                        {150, 150, 150}, {200, 200, 200}, {255, 255, 255}};
    static const uint8_t luma[6][4] = {{82}, {151}, {37}, {0}, {255}, {141}};
    for (int way = 0; way < 4; way++) {
        kind k = {1,
                  JCS_GRAYSCALE,
                  JCS_GRAYSCALE,
                  .blocks = grey,
                  .progressive = way & 1,
                  .arithmetic = way & 2};
        expect(make_jpeg("g.jpg", &k), 0, 1, 2, 3, grey);
        expect(at("g.jpg"), 1, 1, 2, 3, grey);
        expect(at("g.jpg"), 3, 3, 2, 3, grey3);
        kind c = {
            3, JCS_RGB, JCS_YCbCr, .blocks = rgb, .progressive = way & 1, .arithmetic = way & 2};
        expect(make_jpeg("c.png", &c), 0, 3, 2, 3, rgb); /* the name's ending does not matter */
        expect(at("c.png"), 1, 1, 2, 3, luma);
        c.inside = JCS_RGB;
        expect(make_jpeg("c.jpg", &c), 0, 3, 2, 3, rgb);
        c.inside = JCS_YCbCr;
        c.subsampled = true;
        assert_int_equal(read_image(make_jpeg("c.jpg", &c)), KL_OK);
    }
}

static void four_inks(void **state)
{
    (void)state;
    /* what libjpeg takes for CMYK of Adobe's kind: 255 is no ink */
    static const uint8_t inverted[6][4] = {{255, 255, 255, 255}, {255, 255, 255, 0},
                                           {0, 255, 255, 255},   {255, 0, 255, 128},
                                           {255, 255, 0, 255},   {128, 128, 128, 128}};
    static const uint8_t plain[6][4] = {{0, 0, 0, 0},     {0, 0, 0, 255}, {255, 0, 0, 0},
                                        {0, 255, 0, 127}, {0, 0, 255, 0}, {127, 127, 127, 127}};
    static const uint8_t want[6][4] = {{255, 255, 255}, {0, 0, 0},     {0, 255, 255},
                                       {128, 0, 128},   {255, 255, 0}, {64, 64, 64}};
    static const uint8_t luma[6][4] = {{255}, {0}, {179}, {53}, {226}, {64}};
    kind k = {4, JCS_CMYK, JCS_CMYK, .blocks = inverted};
    expect(make_jpeg("k.jpg", &k), 0, 3, 2, 3, want);
    expect(at("k.jpg"), 1, 1, 2, 3, luma);
    k.inside = JCS_YCCK;
    expect(make_jpeg("k.jpg", &k), 0, 3, 2, 3, want);
    k.inside = JCS_CMYK;
    k.no_adobe = true;
    k.blocks = plain;
    expect(make_jpeg("k.jpg", &k), 0, 3, 2, 3, want);
}

/* EXIF says where the stored row 0 and column 0 are to be seen: 1 top left, 2 top right, 3 bottom
 * right, 4 bottom left, 5 left top, 6 right top, 7 right bottom, 8 left bottom (row first). */
static void orientations(void **state)
{
    (void)state;
    for (int o = 1; o <= 8; o++) {
        uint8_t want[6][4] = {{0}};
        const int h = o <= 4 ? 2 : 3, w = o <= 4 ? 3 : 2;
        for (int r = 0; r < 2; r++) {
            for (int c = 0; c < 3; c++) {
                int y = 0, x = 0;
                switch (o) {
                case 1:
                    y = r, x = c;
                    break;
                case 2:
                    y = r, x = w - 1 - c;
                    break;
                case 3:
                    y = h - 1 - r, x = w - 1 - c;
                    break;
                case 4:
                    y = h - 1 - r, x = c;
                    break;
                case 5:
                    x = r, y = c;
                    break;
                case 6:
                    x = w - 1 - r, y = c;
                    break;
                case 7:
                    x = w - 1 - r, y = h - 1 - c;
                    break;
                case 8:
                    x = r, y = h - 1 - c;
                    break;
                default:
                    break;
                }
                memcpy(want[y * w + x], rgb[r * 3 + c], 4);
            }
        }
        for (int little = 0; little < 2; little++) {
            const kind k = {
                3, JCS_RGB, JCS_YCbCr, .blocks = rgb, .orientation = o, .little = little};
            expect(make_jpeg("o.jpg", &k), 0, 3, h, w, (const uint8_t(*)[4])want);
        }
    }
    const kind odd = {3, JCS_RGB, JCS_YCbCr, .blocks = rgb, .orientation = 9};
    expect(make_jpeg("o.jpg", &odd), 0, 3, 2, 3, rgb);
}

/* Sets the picture's size in the frame header. */
static const char *sized(const char *path, unsigned w, unsigned h)
{
    size_t n;
    uint8_t *b = get_file(path, &n);
    for (size_t i = 2; i + 9 < n; i += 2u + (size_t)(b[i + 2] << 8 | b[i + 3])) {
        if (b[i + 1] >= 0xc0 && b[i + 1] <= 0xc2) {
            b[i + 5] = (uint8_t)(h >> 8);
            b[i + 6] = (uint8_t)h;
            b[i + 7] = (uint8_t)(w >> 8);
            b[i + 8] = (uint8_t)w;
            break;
        }
    }
    path = put_file("sized.jpg", b, n);
    kl__free(b);
    return path;
}

static void refused(void **state)
{
    (void)state;
    const kind k = {3, JCS_RGB, JCS_YCbCr, .blocks = rgb};
    const char *path = make_jpeg("r.jpg", &k);
    assert_refused_cheaply(read_image, sized(path, 65500, 65500), KL_E_UNSUPPORTED, "65500 x 65500",
                           1u << 20);
    assert_refused_cheaply(read_image, sized(path, 16000, 16000), KL_E_FORMAT,
                           "than a file of its length", 1u << 20);
    assert_refused(read_image, sized(path, 0, 8), KL_E_FORMAT, "JPEG");
    assert_refused(read_image, sized(path, 400, 400), KL_E_FORMAT, "ends before");
    assert_refused(read_image, put_file("s", "\xff\xd8\xff", 3), KL_E_FORMAT, "truncated");
    assert_refused(read_image, put_file("s", "\xff\xd8\xff\xd9", 4), KL_E_FORMAT, "JPEG");
    size_t n;
    uint8_t *b = get_file(path, &n);
    assert_refused(read_image, put_file("s", b, n - 2), KL_E_FORMAT,
                   "truncated"); /* no end marker */
    kl__free(b);
    kl__array a;
    assert_int_equal(kl__image_read(path, 0, W * H - 1, &a), KL_E_UNSUPPORTED);
    assert_int_equal(kl__image_read(path, 0, W * H, &a), KL_OK);
    kl__array_free(&a);
}

/* The same refinement scan a thousand times: little to store, much to decode. */
static void endless_scans(void **state)
{
    (void)state;
    static jpeg_scan_info scans[1001];
    const char *path = at("scans.jpg");
    FILE *f = fopen(path, "wb");
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr e;
    assert_non_null(f);
    c.err = jpeg_std_error(&e);
    jpeg_create_compress(&c);
    jpeg_stdio_dest(&c, f);
    c.image_width = c.image_height = 8;
    c.input_components = 1;
    c.in_color_space = JCS_GRAYSCALE;
    jpeg_set_defaults(&c);
    scans[0] = (jpeg_scan_info){1, {0}, 0, 0, 0, 0};
    scans[1] = (jpeg_scan_info){1, {0}, 1, 63, 0, 0};
    c.scan_info = scans;
    c.num_scans = 2;
    jpeg_start_compress(&c, TRUE);
    uint8_t row[8] = {1, 200, 3, 180};
    for (int y = 0; y < 8; y++) {
        JSAMPROW r = row;
        jpeg_write_scanlines(&c, &r, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(read_image(path), KL_OK);
    size_t n, last = 0;
    uint8_t *b = get_file(path, &n);
    for (size_t i = 0; i + 1 < n; i++) {
        last = b[i] == 0xff && b[i + 1] == 0xda ? i : last;
    }
    const size_t scan = n - 2 - last;
    uint8_t *many = malloc(n + 1000 * scan);
    assert_non_null(many);
    memcpy(many, b, n - 2);
    for (size_t i = 0; i < 1000; i++) {
        memcpy(many + n - 2 + i * scan, b + last, scan);
    }
    memcpy(many + n - 2 + 1000 * scan, "\xff\xd9", 2);
    assert_refused(read_image, put_file("many.jpg", many, n + 1000 * scan), KL_E_FORMAT, "scans");
    free(many);
    kl__free(b);
}

static void damage(void **state)
{
    (void)state;
    kind k = {3, JCS_RGB, JCS_YCbCr, .blocks = rgb, .orientation = 6};
    assert_bears_damage(read_image, make_jpeg("d.jpg", &k));
    assert_bears_no_memory(read_image, at("d.jpg"));
    k.progressive = true;
    assert_bears_damage(read_image, make_jpeg("d.jpg", &k));
    const kind ink = {4, JCS_CMYK, JCS_YCCK, .blocks = rgb, .arithmetic = true};
    assert_bears_damage(read_image, make_jpeg("d.jpg", &ink));
    assert_bears_no_memory(read_image, at("d.jpg"));
}

static void exif_damage(void **state)
{
    (void)state;
    const kind k = {3, JCS_RGB, JCS_YCbCr, .blocks = rgb, .orientation = 6, .little = true};
    size_t n;
    uint8_t *b = get_file(make_jpeg("x.jpg", &k), &n);
    size_t at_exif = 0;
    while (memcmp(b + at_exif, "Exif", 4) != 0) {
        at_exif++;
    }
    for (size_t i = at_exif; i < at_exif + 44; i++) { /* EXIF never refuses a picture */
        for (int v = 0; v < 256; v += 15) {
            const uint8_t was = b[i];
            b[i] = (uint8_t)v;
            assert_int_equal(read_image(put_file("y.jpg", b, n)), KL_OK);
            b[i] = was;
        }
    }
    kl__free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grey_and_rgb),  cmocka_unit_test(four_inks),
        cmocka_unit_test(orientations),  cmocka_unit_test(refused),
        cmocka_unit_test(endless_scans), cmocka_unit_test(damage),
        cmocka_unit_test(exif_damage),
    };
    return cmocka_run_group_tests_name("io jpeg", tests, folder_make, folder_remove);
}
