#include "support.h"

#include <stdlib.h>
#include <unistd.h>

#include <zlib.h>

static char folder[256];

int folder_make(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/kiln-io-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

int folder_remove(void **state)
{
    (void)state;
    char **names;
    size_t n;
    if (kl__list_dir(folder, &names, &n)) {
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        remove(at(names[i]));
        kl__free(names[i]);
    }
    kl__free(names);
    return rmdir(folder);
}

const char *at(const char *name)
{
    static char ring[64][512];
    static unsigned turn;
    char *p = ring[turn++ % 64];
    snprintf(p, sizeof ring[0], "%s/%s", folder, name);
    return p;
}

const char *put_file(const char *name, const void *data, size_t n)
{
    const char *path = at(name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    return path;
}

const char *put_gz(const char *name, const void *data, size_t n)
{
    const char *path = at(name);
    gzFile f = gzopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(gzwrite(f, data, (unsigned)n), (int)n);
    assert_int_equal(gzclose(f), Z_OK);
    return path;
}

uint8_t *get_file(const char *path, size_t *n)
{
    uint8_t *data;
    assert_int_equal(kl__file_read(path, 0, &data, n), KL_OK);
    return data;
}

void assert_sentence(const char *path)
{
    const char *s = kl_last_error();
    if (!strstr(s, path) || strlen(s) < strlen(path) + 8) {
        fail_msg("no sentence about the file: \"%s\"", s);
    }
}

void assert_refused(read_fn *read, const char *path, kl_status status, const char *part)
{
    const kl_status s = read(path);
    if (s != status) {
        fail_msg("%s expected, got %s (\"%s\")", kl_status_name(status), kl_status_name(s),
                 kl_last_error());
    }
    assert_sentence(path);
    if (!strstr(kl_last_error(), part)) {
        fail_msg("\"%s\" expected in \"%s\"", part, kl_last_error());
    }
}

void assert_bears_damage(read_fn *read, const char *path)
{
    size_t n;
    uint8_t *good = get_file(path, &n);
    assert_int_equal(read(path), KL_OK);
    for (size_t k = 0; k < 16; k++) {
        const char *cut = put_file("cut", good, n * k / 16);
        if (read(cut) == KL_OK) {
            fail_msg("%s cut to %zu/16 was read", path, k);
        }
        assert_sentence(cut);
    }
    for (size_t i = 0; i < n && i < 256; i++) {
        for (int way = 0; way < 2; way++) {
            const uint8_t was = good[i];
            good[i] ^= (uint8_t)(way ? 1u << i % 8 : 0xff);
            const char *flipped = put_file("flipped", good, n);
            good[i] = was;
            if (read(flipped) != KL_OK) {
                assert_sentence(flipped);
            }
        }
    }
    kl__free(good);
}

/* An allocator that counts what is alive, fails once when told, and remembers the largest wish. */
static struct {
    long alive, until; /* until: allocations before the one that fails; < 0: never */
    size_t largest;
} heap;

static void *heap_realloc(void *user, void *p, size_t bytes)
{
    (void)user;
    heap.largest = bytes > heap.largest ? bytes : heap.largest;
    if (heap.until == 0) {
        heap.until = -1;
        return NULL;
    }
    heap.until -= heap.until > 0;
    void *q = realloc(p, bytes);
    heap.alive += q && !p;
    return q;
}

static void *heap_alloc(void *user, size_t bytes)
{
    return heap_realloc(user, NULL, bytes);
}

static void heap_free(void *user, void *p)
{
    (void)user;
    heap.alive -= p != NULL;
    free(p);
}

static void heap_watch(long until)
{
    static const kl_allocator watched = {heap_alloc, heap_realloc, heap_free, NULL};
    heap.alive = 0;
    heap.until = until;
    heap.largest = 0;
    kl_set_allocator(&watched);
}

void assert_bears_no_memory(read_fn *read, const char *path)
{
    bool failed = true;
    long refused = 0;
    for (long k = 0; failed; k++) {
        heap_watch(k);
        const kl_status s = read(path);
        failed = heap.until == -1;
        kl_set_allocator(NULL);
        if (heap.alive) {
            fail_msg("%s: %ld blocks left after allocation %ld failed", path, heap.alive, k + 1);
        }
        if (s != KL_OK && s != KL_E_MEMORY) {
            fail_msg("%s: allocation %ld failed and gave %s: %s", path, k + 1, kl_status_name(s),
                     kl_last_error());
        }
        refused += s == KL_E_MEMORY;
        assert_true(failed || s == KL_OK);
        assert_true(k < 100000);
    }
    assert_true(refused > 0);
}

void assert_refused_cheaply(read_fn *read, const char *path, kl_status status, const char *part,
                            size_t limit)
{
    heap_watch(-2);
    const kl_status s = read(path);
    kl_set_allocator(NULL);
    assert_int_equal(heap.alive, 0);
    if (heap.largest > limit) {
        fail_msg("%zu bytes were asked for at once, %zu allowed", heap.largest, limit);
    }
    assert_int_equal(s, status);
    assert_refused(read, path, status, part);
}
