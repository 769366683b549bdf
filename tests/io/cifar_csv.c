/* CIFAR's binary files and CSV. */
#include "support.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static const kl__array zero;

static kl_status read_cifar(int n_label, const char *path)
{
    kl__array x, y;
    memset(&x, 0x5a, sizeof x);
    memset(&y, 0x5a, sizeof y);
    const kl_status s = kl__cifar_read(path, n_label, &x, &y);
    if (s) {
        assert_memory_equal(&x, &zero, sizeof x);
        assert_memory_equal(&y, &zero, sizeof y);
    }
    kl__array_free(&x);
    kl__array_free(&y);
    return s;
}

static kl_status read_cifar10(const char *path)
{
    return read_cifar(1, path);
}

static kl_status read_cifar100(const char *path)
{
    return read_cifar(2, path);
}

/* `n` records: labels i % 10 (and i % 100), pixel p of record i is i + p. */
static uint8_t *records(size_t n, size_t n_label)
{
    uint8_t *b = malloc(n * (n_label + 3072)), *p = b;
    assert_non_null(b);
    for (size_t i = 0; i < n; i++) {
        *p++ = (uint8_t)(i % 10);
        if (n_label == 2) {
            *p++ = (uint8_t)(i % 100);
        }
        for (size_t k = 0; k < 3072; k++) {
            *p++ = (uint8_t)(i + k);
        }
    }
    return b;
}

static void cifar_golden(void **state)
{
    (void)state;
    for (size_t nl = 1; nl <= 2; nl++) {
        const size_t n = 131; /* more than two batches of the reader */
        uint8_t *b = records(n, nl);
        kl__array x, y;
        assert_int_equal(kl__cifar_read(put_file("c.bin", b, n * (nl + 3072)), (int)nl, &x, &y),
                         KL_OK);
        assert_true(x.elem == KL__U8 && x.n_dims == 4 && x.dim[0] == 131 && x.dim[1] == 3);
        assert_true(x.dim[2] == 32 && x.dim[3] == 32 && x.n_bytes == n * 3072);
        assert_true(y.n_dims == 2 && y.dim[0] == 131 && y.dim[1] == (int64_t)nl &&
                    y.n_bytes == n * nl);
        const uint8_t *px = x.data, *lab = y.data;
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(lab[i * nl], i % 10);
            assert_int_equal(lab[i * nl + nl - 1], nl == 1 ? i % 10 : i % 100);
            assert_int_equal(px[i * 3072], (uint8_t)i);
            assert_int_equal(px[i * 3072 + 3071], (uint8_t)(i + 3071));
        }
        kl__array_free(&x);
        kl__array_free(&y);
        free(b);
    }
}

static void cifar_refused(void **state)
{
    (void)state;
    uint8_t *b = records(64, 2);
    assert_refused(read_cifar10, at("none"), KL_E_IO, "none");
    assert_refused(read_cifar10, put_file("e", "", 0), KL_E_FORMAT, "empty");
    assert_refused(read_cifar10, put_file("e", b, 1), KL_E_FORMAT, "1 bytes more");
    assert_refused(read_cifar10, put_file("e", b, 3074 * 3), KL_E_FORMAT,
                   "3 records of 3073 bytes and 3 bytes more");
    assert_refused(read_cifar100, put_file("e", b, 3074 * 64 + 0 - 5), KL_E_FORMAT, "63 records");
    b[3074] = 20;
    assert_refused(read_cifar100, put_file("e", b, 3074 * 64), KL_E_FORMAT,
                   "record 1 has label 20");
    b[3074] = 19;
    b[3075] = 100;
    assert_refused(read_cifar100, put_file("e", b, 3074 * 64), KL_E_FORMAT,
                   "record 1 has label 100");
    b[0] = 10;
    assert_refused(read_cifar10, put_file("e", b, 3073), KL_E_FORMAT, "record 0 has label 10");
    free(b);
    kl__array x, y;
    assert_int_equal(kl__cifar_read(at("e"), 3, &x, &y), KL_E_ARG);
}

static void cifar_damage(void **state)
{
    (void)state;
    uint8_t *b = records(17, 2); /* so that no cut falls between records */
    assert_bears_damage(read_cifar100, put_file("d.bin", b, 17 * 3074));
    assert_bears_no_memory(read_cifar100, put_file("d.bin", b, 17 * 3074));
    free(b);
}

/* ---- CSV
 * ----------------------------------------------------------------------------------------- */

static kl_status read_csv(const char *path)
{
    kl__array a;
    char *header = (char *)"x";
    memset(&a, 0x5a, sizeof a);
    const kl_status s = kl__csv_read(path, &a, &header);
    if (s) {
        assert_memory_equal(&a, &zero, sizeof a);
        assert_null(header);
    }
    kl__array_free(&a);
    kl__free(header);
    return s;
}

static const char *csv(const char *text)
{
    return put_file("t.csv", text, strlen(text));
}

static void expect_csv(const char *text, const char *header, int64_t rows, int64_t cols,
                       const double *v)
{
    for (int gz = 0; gz < 2; gz++) {
        kl__array a;
        char *h;
        const char *path = gz ? put_gz("t.csv.gz", text, strlen(text)) : csv(text);
        if (kl__csv_read(path, &a, &h)) {
            fail_msg("%s", kl_last_error());
        }
        assert_true(a.elem == KL__F64 && a.n_dims == 2 && a.dim[0] == rows && a.dim[1] == cols);
        assert_int_equal(a.n_bytes, (size_t)(rows * cols) * sizeof(double));
        if (a.n_bytes) {
            assert_memory_equal(a.data, v, a.n_bytes);
        }
        if (header) {
            assert_non_null(h);
            assert_string_equal(h, header);
        } else {
            assert_null(h);
        }
        kl__array_free(&a);
        kl__free(h);
    }
}

static void csv_golden(void **state)
{
    (void)state;
    static const double v[] = {1, -2.5, 3e4, 4, 5, 6};
    expect_csv("1,-2.5,3e4\n4,5,6\n", NULL, 2, 3, v);
    expect_csv("1,-2.5,3e4\r\n4,5,6", NULL, 2, 3, v);
    expect_csv("\xef\xbb\xbf"
               "1, -2.5 ,\"3e4\"\n\n4,5,6\n\n",
               NULL, 2, 3, v);
    expect_csv("a,b,c\n1,-2.5,3e4\n4,5,6\n", "a\nb\nc", 2, 3, v);
    expect_csv("\"a,\"\"q\"\"\",\"b\nb\",\r\n1,-2.5,3e4\r\n4,5,6\r\n", "a,\"q\"\nb b\n", 2, 3, v);
    expect_csv("1\r-2.5\r30000\r", NULL, 3, 1, v);
    expect_csv("only,a,header\n", "only\na\nheader", 0, 3, v);
    kl__array a;
    assert_int_equal(kl__csv_read(csv("nan,inf\n1,2\n"), &a, NULL), KL_OK);
    assert_true(a.dim[0] == 2 && isnan(((double *)a.data)[0]) && isinf(((double *)a.data)[1]));
    kl__array_free(&a);
}

static void csv_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } bad[] = {
        {"", "no rows"},
        {"\n\n", "no rows"},
        {"1,2\n3\n", "line 2 has 1 cells, the lines before have 2"},
        {"1,2\n3,4,5\n", "line 2 has more than the 2 cells"},
        {"a,b\n1,2\n3,4,5\n", "line 3 has more than the 2 cells"},
        {"1,2\n3,x y\n", "line 2, column 2: \"x y\" is no number"},
        {"1,2\n3,\n", "line 2, column 2: empty cell"},
        {"1;2\n3;4\n5\n6", "line 2, column 1: \"3;4\" is no number"},
        {"1,2\n3,4 5\n", "\"4 5\" is no number"},
        {"1,2\n3,1e999\n", "\"1e999\" is no number"},
        {"1,2\n3,\"4\n5,6\n", "the quote opened on line 2 never closes"},
        {"1,2\n3,\"4\"x\n", "text after the closing quote"},
        {"1,2\n3,4\"5\"\n", "a quote inside an unquoted cell"},
        {"\"a\nb\",c\n1,2\n3,y\n", "line 4, column 2"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_refused(read_csv, csv(bad[i].text), KL_E_FORMAT, bad[i].part);
    }
    assert_refused(read_csv, put_file("z.csv", "1,2\0,3\n", 7), KL_E_FORMAT,
                   "line 1, column 2: a zero byte");
    assert_refused(read_csv, at("none.csv"), KL_E_IO, "none.csv");
    char *wide = malloc(10000);
    assert_non_null(wide);
    memset(wide, '1', 10000);
    assert_refused(read_csv, put_file("w.csv", wide, 10000), KL_E_FORMAT, "more than 4096 bytes");
    free(wide);
    if (access("/dev/zero", R_OK) == 0) {
        assert_int_equal(read_csv("/dev/zero"), KL_E_FORMAT);
    }
}

/* Cells and line ends that fall on the border between two reads. */
static void csv_larger_than_a_read(void **state)
{
    (void)state;
    const size_t rows = 20011;
    char *b = malloc(rows * 32), *p = b;
    assert_non_null(b);
    for (size_t i = 0; i < rows; i++) {
        p += sprintf(p, i % 3 ? "%zu,-%zu.5\r\n" : "\"%zu\",-%zu.5\n", i, i * 7);
    }
    kl__array a;
    assert_int_equal(kl__csv_read(put_file("l.csv", b, (size_t)(p - b)), &a, NULL), KL_OK);
    assert_true(a.dim[0] == (int64_t)rows && a.dim[1] == 2);
    for (size_t i = 0; i < rows; i++) {
        assert_true(((double *)a.data)[2 * i] == (double)i);
        assert_true(((double *)a.data)[2 * i + 1] == -(double)(i * 7) - 0.5);
    }
    kl__array_free(&a);
    free(b);
}

static void csv_ignores_the_locale(void **state)
{
    (void)state;
    static const double v[] = {1.5, 2.25};
    if (!setlocale(LC_ALL, "de_DE.UTF-8") && !setlocale(LC_ALL, "fr_FR.UTF-8")) {
        print_message("skipped: no locale with a decimal comma is installed\n");
        skip();
    }
    expect_csv("1.5,2.25\n", NULL, 1, 2, v);
    setlocale(LC_ALL, "C");
}

/* A cut CSV may be a shorter good one, so only that nothing worse happens is asked. */
static void csv_damage(void **state)
{
    (void)state;
    const char *text = "x,\"y\"\"\",z\n1,2,3\r\n\"4\",5,6\n7,8,9\n10,11,12\n";
    const size_t n = strlen(text);
    char b[64];
    assert_true(n < sizeof b);
    for (size_t k = 0; k < n; k++) {
        if (read_csv(put_file("k.csv", text, k)) != KL_OK) {
            assert_sentence("k.csv");
        }
        for (int bit = 0; bit < 8; bit++) {
            memcpy(b, text, n);
            b[k] = (char)((unsigned char)b[k] ^ (1u << bit));
            if (read_csv(put_file("k.csv", b, n)) != KL_OK) {
                assert_sentence("k.csv");
            }
        }
    }
    assert_bears_no_memory(read_csv, csv(text));
    const char *gz = put_gz("k.csv.gz", text, n);
    assert_bears_damage(read_csv, gz);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cifar_golden),
        cmocka_unit_test(cifar_refused),
        cmocka_unit_test(cifar_damage),
        cmocka_unit_test(csv_golden),
        cmocka_unit_test(csv_refused),
        cmocka_unit_test(csv_larger_than_a_read),
        cmocka_unit_test(csv_ignores_the_locale),
        cmocka_unit_test(csv_damage),
    };
    return cmocka_run_group_tests_name("io cifar, csv", tests, folder_make, folder_remove);
}
