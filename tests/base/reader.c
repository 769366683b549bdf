/* The reader: the same bytes and lines from a plain file and a packed one, and nothing from a
 * damaged one. */
#include "rig.h"

#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { SIZE = 300000 };

static uint8_t data[SIZE];

static void put(const char *name, const void *bytes, size_t n)
{
    assert_int_equal(kl__file_write(rig_path(name), bytes, n), KL_OK);
}

static void put_gz(const char *name, const char *mode, const void *bytes, size_t n)
{
    gzFile g = gzopen(rig_path(name), mode);
    assert_non_null(g);
    assert_int_equal(gzwrite(g, bytes, (unsigned)n), n);
    assert_int_equal(gzclose(g), Z_OK);
}

static int enter(void **state)
{
    uint32_t x = 1;
    for (size_t i = 0; i < SIZE; i++) {
        x = x * 1664525u + 1013904223u;
        data[i] = (uint8_t)(x >> 24) & (i % 2 ? 0xff : 3); /* packs a little, not too well */
    }
    return rig_enter(state);
}

/* Reads all in pieces of growing size and compares. */
static void is_data(const char *name)
{
    static uint8_t got[SIZE];
    kl__reader *r = kl__reader_open(rig_path(name));
    assert_non_null(r);
    size_t at = 0, n;
    for (size_t piece = 0; at < SIZE; piece = piece * 3 + 1) {
        const size_t want = piece < SIZE - at ? piece : SIZE - at;
        assert_int_equal(kl__reader_exact(r, got + at, want), KL_OK);
        at += want;
        assert_int_equal(kl__reader_at(r), at);
    }
    assert_memory_equal(got, data, SIZE);
    assert_int_equal(kl__reader_some(r, got, 5, &n), KL_OK);
    assert_int_equal(n, 0);
    assert_int_equal(kl__reader_exact(r, got, 0), KL_OK);
    assert_int_equal(kl__reader_exact(r, got, 7), KL_E_FORMAT);
    assert_non_null(strstr(kl_last_error(), "ends after 300000 bytes, 7 more"));
    kl__reader_close(r);
}

static void plain_and_packed_are_the_same(void **state)
{
    (void)state;
    put("plain", data, SIZE);
    put_gz("one.gz", "wb", data, SIZE);
    put_gz("two", "wb", data, 100000); /* no suffix: the magic bytes say it; and two members */
    put_gz("two", "ab", data + 100000, SIZE - 100000);
    is_data("plain");
    is_data("one.gz");
    is_data("two");
    for (size_t most = 1; most < 40000; most = most * 20 + 1) {
        rig_disk_on((rig_disk){.most = most, .fail_at = 2, .error = EINTR});
        is_data("plain");
        rig_disk_on((rig_disk){.most = most, .fail_at = 3, .error = EINTR});
        is_data("two");
        assert_int_equal(rig_files.open, 0);
    }
    kl__reader_close(NULL);
}

static void short_files_are_plain(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "\x1f", "\x1f\x8b", "\x1f\x8b\x07zz", "ab"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char got[16];
        size_t n;
        put("f", texts[i], strlen(texts[i]));
        kl__reader *r = kl__reader_open(rig_path("f"));
        assert_non_null(r);
        assert_int_equal(kl__reader_some(r, got, sizeof got, &n), KL_OK);
        assert_int_equal(n, strlen(texts[i]));
        assert_memory_equal(got, texts[i], n);
        kl__reader_close(r);
    }
}

/* Reads all of it; the status of opening or reading. */
static kl_status drain(const char *name)
{
    static uint8_t sink[SIZE + 1];
    size_t n;
    kl__reader *r = kl__reader_open(rig_path(name));
    const kl_status st = r ? kl__reader_some(r, sink, sizeof sink, &n) : kl__last_status();
    if (r && st) { /* a failed reader stays failed */
        assert_int_equal(kl__reader_some(r, sink, 1, &n), st);
    }
    if (r && !st) {
        assert_int_equal(n, SIZE);
        assert_memory_equal(sink, data, SIZE);
    }
    kl__reader_close(r);
    return st;
}

static void damage_is_found(void **state)
{
    (void)state;
    uint8_t *gz;
    size_t n;
    put_gz("g", "wb", data, SIZE);
    assert_int_equal(drain("g"), KL_OK);
    assert_int_equal(kl__file_read(rig_path("g"), 0, &gz, &n), KL_OK);
    for (size_t cut = 3; cut < n; cut += cut < 20 ? 1 : n / 15) {
        put("cut", gz, cut);
        assert_int_equal(drain("cut"), KL_E_FORMAT);
    }
    put("cut", gz, n - 1);
    assert_int_equal(drain("cut"), KL_E_FORMAT);
    for (size_t at = 10; at < n; at += n / 15) {
        gz[at] ^= 0x10;
        put("bad", gz, n);
        assert_int_equal(drain("bad"), KL_E_FORMAT);
        gz[at] ^= 0x10;
    }
    gz[n - 6] ^= 1; /* the checksum itself */
    put("bad", gz, n);
    assert_int_equal(drain("bad"), KL_E_FORMAT);
    assert_non_null(strstr(kl_last_error(), "bad: "));
    gz[n - 6] ^= 1;
    gz = kl__realloc(gz, n + 4, 1);
    memcpy(gz + n, "junk", 4);
    put("tail", gz, n + 4);
    assert_int_equal(drain("tail"), KL_E_FORMAT);
    kl__free(gz);
}

static void every_fault_is_told_and_frees_all(void **state)
{
    (void)state;
    put("p", data, SIZE);
    put_gz("g", "wb", data, SIZE);
    static const char *const names[] = {"p", "g"};
    for (int k = 0; k < 2; k++) {
        kl_status st = KL_E_IO;
        long at = 0;
        for (; st; rig_disk_off()) {
            rig_disk_on((rig_disk){.fail_at = ++at, .error = EIO, .most = 50000});
            st = drain(names[k]);
            assert_int_equal(rig_files.open, 0);
            if (st) {
                assert_int_equal(st, KL_E_IO);
            } else {
                assert_int_equal(rig_files.trace[at - 1], 'c'); /* only a failed close may pass */
            }
        }
        at = 0;
        st = KL_E_MEMORY;
        while (st) {
            rig_mem_on(++at);
            st = drain(names[k]);
            assert_true(!st || st == KL_E_MEMORY);
            assert_int_equal(rig_memory.alive, 0);
        }
        assert_true(at > 3);
        rig_mem_off();
    }
    assert_null(kl__reader_open(rig_path("none")));
    assert_int_equal(kl__last_status(), KL_E_IO);
    assert_non_null(strstr(kl_last_error(), "No such file"));
}

/* `text` read as lines gives `want`, each shown as <line>. */
static void lines_are(const char *text, const char *want)
{
    char got[256] = "";
    for (int packed = 0; packed < 2; packed++) {
        char *line;
        bool more;
        if (packed) {
            put_gz("t", "wb", text, strlen(text));
        } else {
            put("t", text, strlen(text));
        }
        kl__reader *r = kl__reader_open(rig_path("t"));
        assert_non_null(r);
        got[0] = '\0';
        while (kl__reader_line(r, &line, &more) == KL_OK && more) {
            snprintf(got + strlen(got), sizeof got - strlen(got), "<%s>", line);
        }
        assert_false(more);
        assert_null(line);
        assert_int_equal(kl__reader_at(r), strlen(text));
        assert_string_equal(got, want);
        kl__reader_close(r);
    }
}

static void lines_come_without_their_ends(void **state)
{
    (void)state;
    lines_are("", "");
    lines_are("\n", "<>");
    lines_are("a", "<a>");
    lines_are("a\n", "<a>");
    lines_are("a\r\nb\rc\n\nd", "<a><b\rc><><d>");
    lines_are("\r\n\r", "<><>");
}

static void lines_longer_than_the_buffer(void **state)
{
    (void)state;
    static char text[SIZE];
    char *line;
    bool more;
    memset(text, 'x', SIZE);
    text[65535] = '\n'; /* the newline is the buffer's last byte, then none for long */
    text[SIZE - 1] = '\n';
    put("t", text, SIZE);
    rig_disk_on((rig_disk){.most = 999});
    kl__reader *r = kl__reader_open(rig_path("t"));
    assert_int_equal(kl__reader_line(r, &line, &more), KL_OK);
    assert_int_equal(strlen(line), 65535);
    assert_int_equal(kl__reader_line(r, &line, &more), KL_OK);
    assert_int_equal(strlen(line), SIZE - 65536 - 1);
    assert_int_equal(kl__reader_line(r, &line, &more), KL_OK);
    assert_false(more);
    kl__reader_close(r);
}

static void bytes_and_lines_mix(void **state)
{
    (void)state;
    char head[4], *line;
    bool more;
    put("t", "HEADone\ntwo", 11);
    kl__reader *r = kl__reader_open(rig_path("t"));
    assert_int_equal(kl__reader_exact(r, head, 4), KL_OK);
    assert_int_equal(kl__reader_line(r, &line, &more), KL_OK);
    assert_string_equal(line, "one");
    assert_int_equal(kl__reader_at(r), 8);
    assert_int_equal(kl__reader_exact(r, head, 3), KL_OK);
    assert_memory_equal(head, "two", 3);
    kl__reader_close(r);
}

static void a_zero_byte_is_no_text(void **state)
{
    (void)state;
    char *line;
    bool more;
    put("t", "1,2\n3\0,4\n", 9);
    kl__reader *r = kl__reader_open(rig_path("t"));
    assert_int_equal(kl__reader_line(r, &line, &more), KL_OK);
    assert_int_equal(kl__reader_line(r, &line, &more), KL_E_FORMAT);
    assert_null(line);
    assert_non_null(strstr(kl_last_error(), "zero byte"));
    kl__reader_close(r);
}

/* 70 MB of no newline in a file of 70 KB: told before it is all in memory. */
static void a_bomb_is_no_line(void **state)
{
    (void)state;
    char *line;
    bool more;
    gzFile g = gzopen(rig_path("bomb"), "wb");
    memset(data, 'x', SIZE);
    for (int i = 0; i < 235; i++) {
        assert_int_equal(gzwrite(g, data, SIZE), SIZE);
    }
    gzclose(g);
    kl__reader *r = kl__reader_open(rig_path("bomb"));
    assert_int_equal(kl__reader_line(r, &line, &more), KL_E_FORMAT);
    assert_non_null(strstr(kl_last_error(), "a line has more than"));
    kl__reader_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(plain_and_packed_are_the_same, enter, rig_leave),
        cmocka_unit_test_setup_teardown(short_files_are_plain, enter, rig_leave),
        cmocka_unit_test_setup_teardown(damage_is_found, enter, rig_leave),
        cmocka_unit_test_setup_teardown(every_fault_is_told_and_frees_all, enter, rig_leave),
        cmocka_unit_test_setup_teardown(lines_come_without_their_ends, enter, rig_leave),
        cmocka_unit_test_setup_teardown(lines_longer_than_the_buffer, enter, rig_leave),
        cmocka_unit_test_setup_teardown(bytes_and_lines_mix, enter, rig_leave),
        cmocka_unit_test_setup_teardown(a_zero_byte_is_no_text, enter, rig_leave),
        cmocka_unit_test_setup_teardown(a_bomb_is_no_line, enter, rig_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
