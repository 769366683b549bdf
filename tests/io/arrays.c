/* IDX and .npy: golden bytes, round trips, damage, the bad-input catalogue; conversion to float. */
#include "support.h"

#include <math.h>
#include <unistd.h>

static kl_status read_with(kl_status (*fn)(const char *, kl__array *), const char *path)
{
    kl__array a;
    static const kl__array zero;
    memset(&a, 0x5a, sizeof a);
    const kl_status s = fn(path, &a);
    if (s) {
        assert_memory_equal(&a, &zero, sizeof a);
    } else {
        assert_true(a.data != NULL && a.n_dims >= 0 && a.n_dims <= 8);
    }
    kl__array_free(&a);
    return s;
}

static kl_status read_idx(const char *path)
{
    return read_with(kl__idx_read, path);
}

static kl_status read_npy(const char *path)
{
    return read_with(kl__npy_read, path);
}

/* ---- IDX
 * ----------------------------------------------------------------------------------------- */

static const uint8_t idx_u8[] = {0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 250, 251, 252};

static void idx_golden(void **state)
{
    (void)state;
    static const uint8_t i16[] = {0, 0, 0x0b, 1, 0, 0, 0, 2, 0xff, 0xfe, 0x01, 0x02};
    static const uint8_t f32[] = {0, 0, 0x0d, 1, 0, 0, 0, 1, 0xc0, 0x20, 0, 0};
    kl__array a;
    float f[6];
    for (int gz = 0; gz < 2; gz++) {
        const char *path =
            gz ? put_gz("a.gz", idx_u8, sizeof idx_u8) : put_file("a", idx_u8, sizeof idx_u8);
        assert_int_equal(kl__idx_read(path, &a), KL_OK);
        assert_int_equal(a.elem, KL__U8);
        assert_int_equal(a.n_dims, 2);
        assert_true(a.dim[0] == 2 && a.dim[1] == 3 && a.n_bytes == 6);
        assert_memory_equal(a.data, idx_u8 + 12, 6);
        kl__array_free(&a);
    }
    assert_int_equal(kl__idx_read(put_file("a", i16, sizeof i16), &a), KL_OK);
    kl__array_to_float(&a, 0, 2, f);
    assert_true(f[0] == -2 && f[1] == 258);
    kl__array_free(&a);
    assert_int_equal(kl__idx_read(put_file("a", f32, sizeof f32), &a), KL_OK);
    kl__array_to_float(&a, 0, 1, f);
    assert_true(f[0] == -2.5f);
    kl__array_free(&a);
}

static void idx_damage(void **state)
{
    (void)state;
    uint8_t big[4000] = {0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 31, 0, 0, 0, 32};
    const size_t n = 16 + 4 * 31 * 32;
    assert_true(n <= sizeof big);
    for (size_t i = 16; i < n; i++) {
        big[i] = (uint8_t)(i * 2654435761u >> 13);
    }
    assert_bears_damage(read_idx, put_file("big", big, n));
    assert_bears_damage(read_idx, put_gz("big.gz", big, n));
    assert_bears_no_memory(read_idx, put_file("big", big, n));
    assert_bears_no_memory(read_idx, put_gz("big.gz", big, n));
}

static void idx_refused(void **state)
{
    (void)state;
    uint8_t b[sizeof idx_u8 + 1];
    assert_refused(read_idx, at("none"), KL_E_IO, "none");
    assert_int_not_equal(read_idx(at(".")), KL_OK);
    assert_refused(read_idx, put_file("b", "", 0), KL_E_FORMAT, "ends after 0");
    assert_refused(read_idx, put_file("b", "x", 1), KL_E_FORMAT, "ends after 1");
    memcpy(b, idx_u8, sizeof idx_u8);
    b[sizeof idx_u8] = 0;
    assert_refused(read_idx, put_file("b", b, sizeof b), KL_E_FORMAT, "more bytes follow");
    b[2] = 0x0a;
    assert_refused(read_idx, put_file("b", b, sizeof idx_u8), KL_E_FORMAT, "not an IDX file");
    b[2] = 8;
    b[3] = 0;
    assert_refused(read_idx, put_file("b", b, sizeof idx_u8), KL_E_FORMAT, "0 dimensions");
    b[3] = 9;
    assert_refused(read_idx, put_file("b", b, sizeof idx_u8), KL_E_FORMAT, "9 dimensions");
}

/* A header that lies about its size must not cost that size. */
static void idx_lies(void **state)
{
    (void)state;
    static const uint8_t wrap[] = {0,   0,   0x0e, 3,   255, 255, 255, 255, 255,
                                   255, 255, 255,  255, 255, 255, 255, 1};
    static const uint8_t tera[] = {0, 0, 8, 2, 0, 16, 0, 0, 0, 16, 0, 0, 1, 2, 3};
    assert_refused_cheaply(read_idx, put_file("c", wrap, sizeof wrap), KL_E_FORMAT,
                           "memory can address", 1u << 21);
    assert_refused_cheaply(read_idx, put_file("c", tera, sizeof tera), KL_E_FORMAT, "3 are there",
                           1u << 21);
    assert_refused_cheaply(read_idx, put_gz("c", tera, sizeof tera), KL_E_FORMAT, "3 are there",
                           1u << 21);
    if (access("/dev/zero", R_OK) == 0) {
        assert_int_equal(read_idx("/dev/zero"), KL_E_FORMAT);
        assert_int_equal(read_npy("/dev/zero"), KL_E_FORMAT);
    }
}

static void idx_fashion_mnist(void **state)
{
    (void)state;
    const char *const set = "/usr/share/datasets/fashion-mnist/";
    char path[128];
    kl__array x, y;
    snprintf(path, sizeof path, "%strain-images-idx3-ubyte.gz", set);
    if (!kl__path_exists(path)) {
        print_message("skipped: Fashion-MNIST is not installed (%s)\n", path);
        skip();
    }
    assert_int_equal(kl__idx_read(path, &x), KL_OK);
    assert_true(x.elem == KL__U8 && x.n_dims == 3 && x.dim[0] == 60000 && x.dim[1] == 28 &&
                x.dim[2] == 28);
    uint64_t sum = 0;
    for (size_t i = 0; i < x.n_bytes; i++) {
        sum += ((const uint8_t *)x.data)[i];
    }
    /* the published mean of the training pictures is 0.2860 */
    assert_true(fabs((double)sum / (double)x.n_bytes / 255 - 0.2860) < 5e-5);
    kl__array_free(&x);
    snprintf(path, sizeof path, "%strain-labels-idx1-ubyte.gz", set);
    assert_int_equal(kl__idx_read(path, &y), KL_OK);
    assert_true(y.n_dims == 1 && y.dim[0] == 60000);
    int count[256] = {0};
    for (size_t i = 0; i < y.n_bytes; i++) {
        count[((const uint8_t *)y.data)[i]]++;
    }
    for (int c = 0; c < 10; c++) {
        assert_int_equal(count[c], 6000);
    }
    kl__array_free(&y);
    snprintf(path, sizeof path, "%st10k-images-idx3-ubyte.gz", set);
    assert_int_equal(kl__idx_read(path, &x), KL_OK);
    assert_true(x.dim[0] == 10000);
    kl__array_free(&x);
}

/* ---- .npy
 * ---------------------------------------------------------------------------------------- */

/* A file of version `v` with this header text (padded) and data. */
static const char *npy(int v, const char *header, const void *data, size_t n)
{
    static uint8_t b[20000];
    const size_t len = strlen(header), pre = v == 1 ? 10 : 12;
    const size_t padded = (pre + len + 1 + 63) / 64 * 64 - pre;
    memcpy(b, "\x93NUMPY", 6);
    b[6] = (uint8_t)v;
    b[7] = 0;
    b[8] = (uint8_t)(padded & 255);
    b[9] = (uint8_t)(padded >> 8);
    if (v > 1) {
        b[10] = b[11] = 0;
    }
    memset(b + pre, ' ', padded);
    memcpy(b + pre, header, len);
    b[pre + padded - 1] = '\n';
    if (n) {
        memcpy(b + pre + padded, data, n);
    }
    return put_file("x.npy", b, pre + padded + n);
}

static void npy_golden(void **state)
{
    (void)state;
    static const uint8_t data[] = {0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0}; /* 1, -2.5 as <f4 */
    for (int v = 1; v <= 3; v++) {
        kl__array a;
        float f[2];
        const char *path =
            npy(v, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }", data, 8);
        assert_int_equal(kl__npy_read(path, &a), KL_OK);
        assert_true(a.elem == KL__F32 && a.n_dims == 2 && a.dim[0] == 2 && a.dim[1] == 1);
        kl__array_to_float(&a, 0, 2, f);
        assert_true(f[0] == 1 && f[1] == -2.5f);
        kl__array_free(&a);
    }
    kl__array a;
    assert_int_equal(
        kl__npy_read(npy(1, "{'shape': (), \"descr\":'|u1','fortran_order':False}", "\7", 1), &a),
        KL_OK);
    assert_true(a.n_dims == 0 && a.n_bytes == 1 && *(uint8_t *)a.data == 7);
    kl__array_free(&a);
    assert_int_equal(
        kl__npy_read(npy(1, "{'descr': '<i8', 'fortran_order': False, 'shape': (0L,), }", "", 0),
                     &a),
        KL_OK);
    assert_true(a.n_dims == 1 && a.dim[0] == 0 && a.n_bytes == 0 && a.data != NULL);
    kl__array_free(&a);
}

/* numpy.save's own bytes for arange(3, dtype='<u2'). */
static void npy_written_as_numpy_writes(void **state)
{
    (void)state;
    uint8_t expect[128 + 6];
    const uint16_t v[3] = {0, 1, 2};
    const kl__array a = {.elem = KL__U16, .n_dims = 1, .dim = {3}, .data = (void *)v, .n_bytes = 6};
    const char *head = "{'descr': '<u2', 'fortran_order': False, 'shape': (3,), }";
    memset(expect, ' ', sizeof expect);
    memcpy(expect, "\x93NUMPY\x01\x00\x76\x00", 10);
    memcpy(expect + 10, head, strlen(head));
    expect[127] = '\n';
    memcpy(expect + 128, "\0\0\1\0\2\0", 6);
    const char *path = at("w.npy");
    assert_int_equal(kl__npy_write(path, &a), KL_OK);
    size_t n;
    uint8_t *got = get_file(path, &n);
    assert_int_equal(n, sizeof expect);
    assert_memory_equal(got, expect, n);
    kl__free(got);
}

static void npy_round_trips(void **state)
{
    (void)state;
    uint8_t data[2 * 3 * 8];
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(i * 37 + 1);
    }
    for (int e = KL__U8; e <= KL__BOOL; e++) {
        const char *path = at("r.npy");
        kl__array b, a = {.elem = (kl__elem)e, .n_dims = 3, .dim = {2, 1, 3}, .data = data};
        a.n_bytes = 6 * kl__elem_size(a.elem);
        assert_int_equal(kl__npy_write(path, &a), KL_OK);
        assert_int_equal(kl__npy_read(path, &b), KL_OK);
        assert_true(b.elem == a.elem && b.n_dims == 3 && !memcmp(a.dim, b.dim, sizeof a.dim));
        assert_int_equal(b.n_bytes, a.n_bytes);
        assert_memory_equal(b.data, data, a.n_bytes);
        kl__array_free(&b);
        a.n_bytes++;
        assert_int_equal(kl__npy_write(path, &a), KL_E_ARG);
    }
}

static void npy_refused(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        kl_status status;
        const char *part;
    } bad[] = {
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", KL_E_UNSUPPORTED,
         "big-endian"},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", KL_E_UNSUPPORTED, "\"|O\""},
        {"{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", KL_E_UNSUPPORTED, "\"<c8\""},
        {"{'descr': '|V4', 'fortran_order': False, 'shape': (1,), }", KL_E_UNSUPPORTED, "\"|V4\""},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", KL_E_UNSUPPORTED,
         "structured"},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (1,1), }", KL_E_UNSUPPORTED, "Fortran"},
        {"{'descr': '<f4', 'fortran_order': Maybe, 'shape': (1,), }", KL_E_FORMAT, "True or False"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", KL_E_FORMAT, "dimension"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (100000000000000000000,), }",
         KL_E_FORMAT, "too large"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807,), }", KL_E_FORMAT,
         "too large"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }",
         KL_E_FORMAT, "address"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }", KL_E_FORMAT,
         "4 are there"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", KL_E_FORMAT, "4 are there"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (0,), }", KL_E_FORMAT,
         "more bytes follow"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1), }",
         KL_E_UNSUPPORTED, "8 dimensions"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1 1), }", KL_E_FORMAT, "expected"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (,), }", KL_E_FORMAT, "dimension"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': 1, }", KL_E_FORMAT, "a shape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)", KL_E_FORMAT, "expected"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), } + x", KL_E_FORMAT, "the end"},
        {"{'descr': '<f4', 'fortran_order': False, }", KL_E_FORMAT, "lacks \"shape\""},
        {"{'fortran_order': False, 'shape': (1,), }", KL_E_FORMAT, "lacks \"descr\""},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", KL_E_FORMAT,
         "twice"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}", KL_E_FORMAT,
         "unknown key"},
        {"[1, 2]", KL_E_FORMAT, "'{' expected"},
        {"", KL_E_FORMAT, "'{' expected"},
        {"{__import__('os').system('x')}", KL_E_FORMAT, "a key expected"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_refused_cheaply(read_npy, npy(1, bad[i].header, "abcd", 4), bad[i].status,
                               bad[i].part, 1u << 21);
    }
    const char *ok = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }";
    assert_int_equal(read_npy(npy(1, ok, "abcd", 4)), KL_OK);
    assert_refused(read_npy, npy(9, ok, "abcd", 4), KL_E_UNSUPPORTED, "version 9");
    assert_refused(read_npy, put_file("n", "PK\3\4aaaaaaaaaaa", 15), KL_E_FORMAT,
                   "not a .npy file");
    assert_refused_cheaply(read_npy, put_file("n", "\x93NUMPY\2\0\xff\xff\xff\x7f{", 13),
                           KL_E_FORMAT, "at most 10000", 1u << 21);
    assert_refused(read_npy, put_file("n", "\x93NUMPY\1\0\2\0{\0", 12), KL_E_FORMAT, "zero byte");
}

static void npy_damage(void **state)
{
    (void)state;
    float v[12 * 11];
    for (int i = 0; i < 12 * 11; i++) {
        v[i] = (float)i * 0.37f;
    }
    const kl__array a = {
        .elem = KL__F32, .n_dims = 2, .dim = {12, 11}, .data = v, .n_bytes = sizeof v};
    const char *path = at("d.npy");
    assert_int_equal(kl__npy_write(path, &a), KL_OK);
    assert_bears_damage(read_npy, path);
    assert_bears_no_memory(read_npy, path);
    assert_int_not_equal(kl__npy_write(at("no/such/folder.npy"), &a), KL_OK);
    assert_sentence("folder.npy");
}

/* ---- conversion
 * ---------------------------------------------------------------------------------- */

static float one(kl__elem e, const void *v)
{
    uint8_t crooked[32] = {0}; /* the element at an odd address, after one to be skipped */
    const size_t n = kl__elem_size(e);
    float f;
    memcpy(crooked + 1 + n, v, n);
    const kl__array a = {.elem = e, .n_dims = 1, .dim = {2}, .data = crooked + 1, .n_bytes = 2 * n};
    kl__array_to_float(&a, 1, 1, &f);
    return f;
}

static void converts_every_type(void **state)
{
    (void)state;
    static const struct {
        uint16_t half;
        float f;
    } half[] = {{0x3c00, 1},        {0xc100, -2.5f},     {0x7bff, 65504},
                {0x0400, 0x1p-14f}, {0x0001, 0x1p-24f},  {0x83ff, -0x3ffp-24f},
                {0x7c00, INFINITY}, {0xfc00, -INFINITY}, {0x3555, 0x1.554p-2f}};
    assert_true(one(KL__U8, &(uint8_t){255}) == 255);
    assert_true(one(KL__I8, &(int8_t){-128}) == -128);
    assert_true(one(KL__I16, &(int16_t){-300}) == -300);
    assert_true(one(KL__U16, &(uint16_t){65535}) == 65535);
    assert_true(one(KL__I32, &(int32_t){-70000}) == -70000);
    assert_true(one(KL__I64, &(int64_t){INT64_MIN}) == -0x1p63f);
    assert_true(one(KL__F32, &(float){1.5f}) == 1.5f);
    assert_true(one(KL__F64, &(double){-0.1}) == -0.1f);
    assert_true(one(KL__BOOL, &(uint8_t){2}) == 1);
    assert_true(one(KL__BOOL, &(uint8_t){0}) == 0);
    for (size_t i = 0; i < sizeof half / sizeof *half; i++) {
        assert_true(one(KL__F16, &half[i].half) == half[i].f);
    }
    assert_true(isnan(one(KL__F16, &(uint16_t){0x7e01})));
    assert_true(signbit(one(KL__F16, &(uint16_t){0x8000})));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idx_golden),
        cmocka_unit_test(idx_damage),
        cmocka_unit_test(idx_refused),
        cmocka_unit_test(idx_lies),
        cmocka_unit_test(idx_fashion_mnist),
        cmocka_unit_test(npy_golden),
        cmocka_unit_test(npy_written_as_numpy_writes),
        cmocka_unit_test(npy_round_trips),
        cmocka_unit_test(npy_refused),
        cmocka_unit_test(npy_damage),
        cmocka_unit_test(converts_every_type),
    };
    return cmocka_run_group_tests_name("io arrays", tests, folder_make, folder_remove);
}
