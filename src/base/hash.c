#include "base/hash.h"

#include <xxhash.h>
#include <zlib.h>

uint32_t kl__fnv1a(const char *s)
{
    uint32_t h = 2166136261u;
    for (; *s; s++) {
        h = (h ^ (unsigned char)*s) * 16777619u;
    }
    return h;
}

uint64_t kl__hash64(const void *data, size_t n, uint64_t seed)
{
    return XXH3_64bits_withSeed(n ? data : "", n, seed);
}

kl__hash128 kl__hash_wide(const void *data, size_t n)
{
    const XXH128_hash_t h = XXH3_128bits(n ? data : "", n);
    return (kl__hash128){h.low64, h.high64};
}

uint32_t kl__crc32(uint32_t crc, const void *data, size_t n)
{
    /* zlib takes a NULL pointer for "give me the start value", which would forget crc. */
    return n ? (uint32_t)crc32_z(crc, data, n) : crc;
}
