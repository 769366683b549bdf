/* Hashes: published test values. */
#include "rig.h"

#include "base/hash.h"

static void fnv1a_of_stream_names(void **state)
{
    (void)state;
    assert_int_equal(kl__fnv1a(""), 0x811c9dc5u);
    assert_int_equal(kl__fnv1a("a"), 0xe40c292cu);
    assert_int_equal(kl__fnv1a("foobar"), 0xbf9cf968u);
    assert_int_equal(kl__fnv1a("dropout/fc1"), 0x7b992e45u);
    assert_int_equal(kl__fnv1a("init/conv1.weight"), 0xf8c81079u);
    assert_int_equal(kl__fnv1a("shuffle"), 0x790c294eu);
    assert_int_equal(kl__fnv1a("\xff"), (0x811c9dc5u ^ 0xffu) * 16777619u); /* bytes are unsigned */
}

static void crc32_is_zip_s(void **state)
{
    (void)state;
    assert_int_equal(kl__crc32(0, "123456789", 9), 0xcbf43926u);
    assert_int_equal(kl__crc32(kl__crc32(0, "1234", 4), "56789", 5), 0xcbf43926u);
    assert_int_equal(kl__crc32(0xcbf43926u, NULL, 0), 0xcbf43926u);
}

static void xxh3_values_are_the_library_s(void **state)
{
    (void)state;
    /* XXH3 of nothing, as its own sanity check lists them. */
    assert_true(kl__hash64(NULL, 0, 0) == 0x2d06800538d394c2u);
    const kl__hash128 none = kl__hash_wide(NULL, 0);
    assert_true(none.lo == 0x6001c324468d497fu && none.hi == 0x99aa06d3014798d8u);
    assert_true(kl__hash64("kiln", 4, 0) != kl__hash64("kiln", 4, 1));
    assert_true(kl__hash64("kiln", 4, 0) != kl__hash64("kilm", 4, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fnv1a_of_stream_names),
        cmocka_unit_test(crc32_is_zip_s),
        cmocka_unit_test(xxh3_values_are_the_library_s),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
