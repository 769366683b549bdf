/* safetensors: golden bytes, round trips, every rule of the format broken once, damage. */
#include "support.h"

#include <stdlib.h>
#include <unistd.h>

static kl_status read_st(const char *path)
{
    kl__st *st = kl__st_open(path);
    if (!st) {
        return kl__last_status();
    }
    float sum = 0;
    for (size_t i = 0; i < kl__st_count(st); i++) { /* touches every byte that is given out */
        const kl__array *a = &kl__st_at(st, i)->array;
        const size_t size = kl__elem_size(a->elem);
        assert_int_equal((uintptr_t)a->data % size, 0);
        for (size_t k = 0; k < a->n_bytes / size; k++) {
            float f;
            kl__array_to_float(a, k, 1, &f);
            sum += f;
        }
        assert_ptr_equal(kl__st_find(st, kl__st_at(st, i)->name), kl__st_at(st, i));
    }
    assert_null(kl__st_at(st, kl__st_count(st)));
    kl__st_close(st);
    volatile float seen = sum; /* so that the reading above is not left out */
    (void)seen;
    return KL_OK;
}

static const char *put_st(const char *header, size_t n_header, const void *data, size_t n)
{
    uint8_t *b = malloc(8 + n_header + n);
    assert_non_null(b);
    for (int i = 0; i < 8; i++) {
        b[i] = (uint8_t)((uint64_t)n_header >> (8 * i));
    }
    memcpy(b + 8, header, n_header);
    if (n) {
        memcpy(b + 8 + n_header, data, n);
    }
    const char *path = put_file("x.safetensors", b, 8 + n_header + n);
    free(b);
    return path;
}

static const char *st(const char *header, const void *data, size_t n)
{
    return put_st(header, strlen(header), data, n);
}

static const char golden_header[] =
    "{\"__metadata__\":{\"k\":\"v \\u00e9\"},"
    "\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
    "\"empty\":{\"dtype\":\"F64\",\"shape\":[0,7],\"data_offsets\":[3,3]},"
    "\"a.w\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[3,11]},"
    "\"s\":{\"dtype\":\"I16\",\"shape\":[],\"data_offsets\":[11,13]}}   ";
static const uint8_t golden_data[13] = {7, 8, 9, 0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0, 0xfe, 0xff};

static void golden(void **state)
{
    (void)state;
    kl__st *s = kl__st_open(st(golden_header, golden_data, 13));
    assert_non_null(s);
    assert_int_equal(kl__st_count(s), 4);
    static const char *const order[] = {"b", "empty", "a.w", "s"};
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(kl__st_at(s, i)->name, order[i]);
    }
    const kl__array *a = &kl__st_find(s, "a.w")->array;
    float f[2];
    assert_true(a->elem == KL__F32 && a->n_dims == 2 && a->dim[0] == 1 && a->dim[1] == 2 &&
                a->n_bytes == 8);
    assert_int_equal((uintptr_t)a->data % sizeof(float), 0); /* though it lies at byte 3 */
    memcpy(f, a->data, 8);
    assert_true(f[0] == 1 && f[1] == -2.5f);
    a = &kl__st_find(s, "s")->array;
    assert_true(a->n_dims == 0 && a->n_bytes == 2 && *(int16_t *)a->data == -2);
    assert_int_equal(kl__st_find(s, "empty")->array.n_bytes, 0);
    assert_null(kl__st_find(s, "a"));
    assert_null(kl__st_find(s, "zz"));
    assert_null(kl__st_find(s, "__metadata__"));
    assert_string_equal(kl__st_meta(s, "k"), "v \xc3\xa9");
    assert_null(kl__st_meta(s, "j"));
    const char *value;
    assert_int_equal(kl__st_n_meta(s), 1);
    assert_string_equal(kl__st_meta_at(s, 0, &value), "k");
    assert_string_equal(value, "v \xc3\xa9");
    assert_null(kl__st_meta_at(s, 1, &value));
    kl__st_close(s);
    kl__st_close(NULL);
    assert_int_equal(read_st(st("{}", "", 0)), KL_OK);
}

static void written_bytes(void **state)
{
    (void)state;
    static const float w[2] = {1, -2.5f};
    const kl__st_entry e = {
        "w", {.elem = KL__F32, .n_dims = 1, .dim = {2}, .data = (void *)w, .n_bytes = 8}};
    const kl__st_meta_pair m = {"by", "\"\n"};
    const char *head = "{\"__metadata__\":{\"by\":\"\\\"\\n\"},"
                       "\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}";
    uint8_t expect[136] = {120};
    memset(expect + 8, ' ', 120);
    memcpy(expect + 8, head, strlen(head));
    memcpy(expect + 128, golden_data + 3, 8);
    const char *path = at("w.safetensors");
    assert_int_equal(kl__st_write(path, &e, 1, &m, 1), KL_OK);
    size_t n;
    uint8_t *got = get_file(path, &n);
    assert_int_equal(n, sizeof expect);
    assert_memory_equal(got, expect, n);
    kl__free(got);
}

static void round_trips(void **state)
{
    (void)state;
    uint8_t data[10][48];
    char name[10][16];
    kl__st_entry e[10];
    memset(e, 0, sizeof e);
    for (int k = 0; k < 10; k++) {
        for (int i = 0; i < 48; i++) {
            data[k][i] = (uint8_t)(i * 31 + k * 7);
        }
        snprintf(name[k], sizeof name[k], "t%d.\xe2\x82\xac\"\\", k);
        e[k].name = name[k];
        e[k].array =
            (kl__array){.elem = (kl__elem)k, .n_dims = k % 4, .dim = {3, 2, 1}, .data = data[k]};
        e[k].array.n_bytes = kl__elem_size((kl__elem)k) * (k % 4 == 0 ? 1u : k % 4 == 1 ? 3u : 6u);
    }
    const kl__st_meta_pair m[3] = {{"z", "1"}, {"a", ""}, {"\xf0\x9f\x94\xa5", "\x01\x1f/"}};
    const char *path = at("r.safetensors");
    assert_int_equal(kl__st_write(path, e, 10, m, 3), KL_OK);
    kl__st *s = kl__st_open(path);
    assert_non_null(s);
    assert_int_equal(kl__st_count(s), 10);
    for (size_t k = 0; k < 10; k++) {
        const kl__st_entry *g = kl__st_at(s, k);
        assert_string_equal(g->name, name[k]);
        assert_true(g->array.elem == e[k].array.elem && g->array.n_dims == e[k].array.n_dims);
        assert_memory_equal(g->array.dim, e[k].array.dim,
                            sizeof(int64_t) * (size_t)g->array.n_dims);
        assert_int_equal(g->array.n_bytes, e[k].array.n_bytes);
        assert_memory_equal(g->array.data, data[k], g->array.n_bytes);
    }
    for (size_t k = 0; k < 3; k++) {
        const char *value;
        assert_string_equal(kl__st_meta_at(s, k, &value), m[k].key);
        assert_string_equal(value, m[k].value);
    }
    kl__st_close(s);
    assert_int_equal(kl__st_write(path, NULL, 0, NULL, 0), KL_OK);
    assert_int_equal(read_st(path), KL_OK);
}

static void write_refused(void **state)
{
    (void)state;
    uint8_t data[8] = {0};
    const kl__st_entry good = {
        "w", {.elem = KL__U8, .n_dims = 1, .dim = {8}, .data = data, .n_bytes = 8}};
    kl__st_entry e[2] = {good, good};
    kl__st_meta_pair m[2] = {{"k", "v"}, {"k", "w"}};
    const char *path = at("never.safetensors");
    assert_int_equal(kl__st_write(path, e, 2, NULL, 0), KL_E_ARG);
    assert_non_null(strstr(kl_last_error(), "two tensors are named \"w\""));
    assert_int_equal(kl__st_write(path, e, 1, m, 2), KL_E_ARG);
    assert_non_null(strstr(kl_last_error(), "twice"));
    m[0].value = "\xff";
    assert_int_equal(kl__st_write(path, e, 1, m, 1), KL_E_ARG);
    assert_non_null(strstr(kl_last_error(), "UTF-8"));
    e[0].name = "\xc3(";
    assert_int_equal(kl__st_write(path, e, 1, NULL, 0), KL_E_ARG);
    assert_non_null(strstr(kl_last_error(), "UTF-8"));
    e[0].name = "__metadata__";
    assert_int_equal(kl__st_write(path, e, 1, NULL, 0), KL_E_ARG);
    e[0].name = NULL;
    assert_int_equal(kl__st_write(path, e, 1, NULL, 0), KL_E_ARG);
    e[0] = good;
    e[0].array.n_bytes = 7;
    assert_int_equal(kl__st_write(path, e, 1, NULL, 0), KL_E_ARG);
    e[0] = good;
    e[0].array.dim[0] = -8;
    assert_int_equal(kl__st_write(path, e, 1, NULL, 0), KL_E_ARG);
    assert_false(kl__path_exists(path));
    assert_int_equal(kl__st_write(at("no/folder/x.safetensors"), &good, 1, NULL, 0), KL_E_IO);
    /* an older file survives a write that fails */
    assert_int_equal(kl__st_write(path, &good, 1, NULL, 0), KL_OK);
    e[0].name = "\xff";
    assert_int_equal(kl__st_write(path, e, 1, NULL, 0), KL_E_ARG);
    assert_int_equal(read_st(path), KL_OK);
}

#define T(dtype, shape, off)                                                                       \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" off "}"

static void rules(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        kl_status status;
        const char *part;
    } bad[] = {
        {"{\"a\":" T("U8", "[4]", "[0,4]") ",\"b\":" T("U8", "[4]", "[3,7]") "}", KL_E_FORMAT,
         "overlap"},
        {"{\"a\":" T("U8", "[8]", "[0,8]") ",\"b\":" T("U8", "[8]", "[0,8]") "}", KL_E_FORMAT,
         "overlap"},
        {"{\"a\":" T("U8", "[4]", "[0,4]") ",\"b\":" T("U8", "[3]", "[5,8]") "}", KL_E_FORMAT,
         "a hole"},
        {"{\"a\":" T("U8", "[7]", "[1,8]") "}", KL_E_FORMAT, "a hole"},
        {"{\"a\":" T("U8", "[7]", "[0,7]") "}", KL_E_FORMAT, "more bytes follow"},
        {"{}", KL_E_FORMAT, "more bytes follow"},
        {"{\"a\":" T("U8", "[9]", "[0,9]") "}", KL_E_FORMAT, "8 are there"},
        {"{\"a\":" T("U8", "[1099511627776]", "[0,1099511627776]") "}", KL_E_FORMAT, "8 are there"},
        {"{\"a\":" T("F32", "[8]", "[0,8]") "}", KL_E_FORMAT, "ask for 32"},
        {"{\"a\":" T("U8", "[0]", "[0,8]") "}", KL_E_FORMAT, "ask for 0"},
        {"{\"a\":" T("U8", "[8]", "[8,0]") "}", KL_E_FORMAT, "bytes 8 to 0"},
        {"{\"a\":" T("U8", "[8]", "[-8,0]") "}", KL_E_FORMAT, "bytes -8 to 0"},
        {"{\"a\":" T("U8", "[8]", "[0,8,9]") "}", KL_E_FORMAT, "two whole numbers"},
        {"{\"a\":" T("U8", "[8]", "[0,8.0]") "}", KL_E_FORMAT, "two whole numbers"},
        {"{\"a\":" T("U8", "[8]", "\"0,8\"") "}", KL_E_FORMAT, "two whole numbers"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[8],\"offsets\":[0,8]}}", KL_E_FORMAT,
         "two whole numbers"},
        {"{\"a\":" T("U8", "[8]", "[0,18446744073709551616]") "}", KL_E_FORMAT, "big integer"},
        {"{\"a\":" T("U8", "[4294967296,4294967296]", "[0,8]") "}", KL_E_FORMAT,
         "memory can address"},
        {"{\"a\":" T("F64", "[2305843009213693952]", "[0,8]") "}", KL_E_FORMAT,
         "memory can address"},
        {"{\"a\":" T("U8", "[-8]", "[0,8]") "}", KL_E_FORMAT, "dimension 0"},
        {"{\"a\":" T("U8", "[8.0]", "[0,8]") "}", KL_E_FORMAT, "dimension 0"},
        {"{\"a\":" T("U8", "8", "[0,8]") "}", KL_E_FORMAT, "no \"shape\""},
        {"{\"a\":" T("U8", "[8,1,1,1,1,1,1,1,1]", "[0,8]") "}", KL_E_UNSUPPORTED, "9 dimensions"},
        {"{\"a\":" T("BF16", "[4]", "[0,8]") "}", KL_E_UNSUPPORTED, "is BF16"},
        {"{\"a\":" T("F33", "[4]", "[0,8]") "}", KL_E_FORMAT, "unknown dtype \"F33\""},
        {"{\"a\":{\"shape\":[8],\"data_offsets\":[0,8]}}", KL_E_FORMAT, "no \"dtype\""},
        {"{\"a\":7}", KL_E_FORMAT, "is no object"},
        {"{\"a\":" T("U8", "[8]", "[0,8]") ",\"a\":" T("U8", "[8]", "[0,8]") "}", KL_E_FORMAT,
         "duplicate"},
        {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"I8\",\"shape\":[8],\"data_offsets\":[0,8]}}",
         KL_E_FORMAT, "duplicate"},
        {"{\"__metadata__\":7,\"a\":" T("U8", "[8]", "[0,8]") "}", KL_E_FORMAT, "no object"},
        {"{\"__metadata__\":{\"k\":7},\"a\":" T("U8", "[8]", "[0,8]") "}", KL_E_FORMAT,
         "\"k\" is no string"},
        {"{\"a\xff\":" T("U8", "[8]", "[0,8]") "}", KL_E_FORMAT, "decode byte 0xff"},
        {"{\"a\\u0000b\":" T("U8", "[8]", "[0,8]") "}", KL_E_FORMAT, "header, byte"},
        {"{\"a\":" T("U8", "[8]", "[0,8]") "} x", KL_E_FORMAT, "header, byte"},
        {"{\"a\":" T("U8", "[8]", "[0,8]"), KL_E_FORMAT, "header, byte"},
        {" {\"a\":" T("U8", "[8]", "[0,8]") "}", KL_E_FORMAT, "begin with '{'"},
        {"[]", KL_E_FORMAT, "begin with '{'"},
        {"{\"a\":[[[[[[[[[[1]]]]]]]]]]}", KL_E_FORMAT, "nests deeper"},
    };
    assert_int_equal(read_st(st("{\"a\":" T("U8", "[8]", "[0,8]") "}", "abcdefgh", 8)), KL_OK);
    assert_int_equal(read_st(st("{\"a\\\\\":" T("U8", "[8]", "[0,8]") "}", "abcdefgh", 8)), KL_OK);
    assert_int_equal(
        read_st(st("{\"[[[[[[[[[[\\\"[\":" T("U8", "[8]", "[0,8]") "}", "abcdefgh", 8)), KL_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_refused_cheaply(read_st, st(bad[i].header, "abcdefgh", 8), bad[i].status,
                               bad[i].part, 1u << 21);
    }
}

static void header_length(void **state)
{
    (void)state;
    static const uint64_t len[] = {
        0, 1, 3, 1000, 99999999, 100000000, 100000001, (uint64_t)1 << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof len / sizeof *len; i++) {
        uint8_t b[10] = {0};
        for (int k = 0; k < 8; k++) {
            b[k] = (uint8_t)(len[i] >> (8 * k));
        }
        memcpy(b + 8, "{}", 2);
        assert_refused_cheaply(read_st, put_file("h", b, 10), KL_E_FORMAT, "header", 1u << 21);
    }
    for (size_t n = 0; n < 8; n++) {
        assert_refused(read_st, put_file("h", "\2\0\0\0\0\0\0", n), KL_E_FORMAT, "ends after");
    }
    assert_refused(read_st, at("none"), KL_E_IO, "none");
    if (access("/dev/zero", R_OK) == 0) {
        assert_int_equal(read_st("/dev/zero"), KL_E_FORMAT);
    }
}

/* Headers made to cost: deep nesting, very many tensors, very many numbers. */
static void costly_headers(void **state)
{
    (void)state;
    char *b = malloc(8000000), *p = b;
    assert_non_null(b);
    memset(b, '[', 100000);
    memcpy(b, "{\"a\":", 5);
    assert_refused(read_st, put_st(b, 100000, "", 0), KL_E_FORMAT, "nests deeper");
    *p++ = '{';
    for (int i = 0; i <= 100000; i++) {
        p += sprintf(p, "%s\"%d\":" T("U8", "[0]", "[0,0]"), i ? "," : "", i);
    }
    *p++ = '}';
    assert_refused(read_st, put_st(b, (size_t)(p - b), "", 0), KL_E_FORMAT, "100001 tensors");
    p = b + sprintf(b, "{\"a\":[0");
    for (int i = 0; i < 1700000; i++, p += 2) {
        memcpy(p, ",0", 2);
    }
    p += sprintf(p, "]}");
    assert_refused(read_st, put_st(b, (size_t)(p - b), "", 0), KL_E_FORMAT, "more values");
    free(b);
}

static void damage(void **state)
{
    (void)state;
    assert_bears_damage(read_st, st(golden_header, golden_data, 13));
    assert_bears_no_memory(read_st, st(golden_header, golden_data, 13));
}

/* Each allocation of writing fails once: no file, or the whole one. */
static kl_status write_some(const char *path)
{
    static const uint8_t data[4] = {1, 2, 3, 4};
    const kl__st_entry e = {
        "w", {.elem = KL__U8, .n_dims = 1, .dim = {4}, .data = (void *)data, .n_bytes = 4}};
    const kl__st_meta_pair m = {"k", "v"};
    remove(path);
    const kl_status s = kl__st_write(path, &e, 1, &m, 1);
    assert_int_equal(kl__path_exists(path), s == KL_OK);
    return s;
}

static void writing_without_memory(void **state)
{
    (void)state;
    assert_bears_no_memory(write_some, at("m.safetensors"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden),
        cmocka_unit_test(written_bytes),
        cmocka_unit_test(round_trips),
        cmocka_unit_test(write_refused),
        cmocka_unit_test(rules),
        cmocka_unit_test(header_length),
        cmocka_unit_test(costly_headers),
        cmocka_unit_test(damage),
        cmocka_unit_test(writing_without_memory),
    };
    return cmocka_run_group_tests_name("io safetensors", tests, folder_make, folder_remove);
}
