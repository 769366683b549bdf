/* Hashes: FNV-1a names random streams, XXH3 keys caches and null-device tags, CRC-32 guards files.
 */
#ifndef KL_BASE_HASH_H
#define KL_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint32_t kl__fnv1a(const char *s);
uint64_t kl__hash64(const void *data, size_t n, uint64_t seed);
typedef struct kl__hash128 { uint64_t lo, hi; } kl__hash128;
kl__hash128 kl__hash_wide(const void *data, size_t n);
uint32_t kl__crc32(uint32_t crc, const void *data, size_t n); /* zlib's; start with 0 */

#endif
