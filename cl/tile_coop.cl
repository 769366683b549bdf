/* The tile of a cooperative matrix product: a group of ITEMS items adds a BM x BN tile of
 * A^T B, BK rows of each at a time, from local memory; each item has TM x TN sums in registers, in
 * quads of four that lie a quarter or half of the tile apart, so that reads of local memory are
 * whole vectors, next to each other across items. Bound: FMA throughput at 8 x 8 (4 vector loads
 * for 64 FMAs). Rows are padded by one vector: storing a column touches different banks. */
#include "common.cl"

#ifndef BM
#define BM 32 /* rows of the tile of the result; a multiple of TM */
#endif
#ifndef BN
#define BN 32 /* columns; at most ITEMS */
#endif
#ifndef TM
#define TM 4 /* rows of an item: 4 or 8 */
#endif
#ifndef TN
#define TN 4 /* columns of an item: 4 or 8 */
#endif
#define BK 8 /* of the inner dimension at a time; 8 floats are a sector of memory */
#define TX (BN / TN)
#define TY (BM / TM)
#define ITEMS (TX * TY)
#define A_ROW (BM / 4 + 1) /* vectors per row in local memory */
#define B_ROW (BN / 4 + 1)
#define A_EACH (BM * BK / ITEMS) /* elements that each item fetches */
#define B_EACH (BN * BK / ITEMS)
/* Two buffers, so that one barrier per step is enough. */
#define TILE_LOCALS local float4 as[2][BK * A_ROW], bs[2][BK * B_ROW]

/* Row or column of sum i of an item at place `at` of `side` along that axis. */
#define TILE_AT(i, at, side) (((i) / 4 * (side) + (at)) * 4 + (i) % 4)

static inline __attribute__((always_inline, unused)) void
tile_clear(float acc[TM][TN])
{
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
        for (int j = 0; j < TN; j++)
            acc[i][j] = 0;
}

/* acc += the outer products of BK rows of a and b. (x, y): the item's place in the group. */
static inline __attribute__((always_inline, unused)) void
tile_add(local const float4 *a, local const float4 *b, float acc[TM][TN], int x, int y)
{
#pragma unroll
    for (int k = 0; k < BK; k++) {
        float av[TM], bv[TN];
#pragma unroll
        for (int i = 0; i < TM / 4; i++)
            vstore4(a[k * A_ROW + i * TY + y], i, av);
#pragma unroll
        for (int j = 0; j < TN / 4; j++)
            vstore4(b[k * B_ROW + j * TX + x], j, bv);
#pragma unroll
        for (int i = 0; i < TM; i++)
#pragma unroll
            for (int j = 0; j < TN; j++)
                acc[i][j] = fma(av[i], bv[j], acc[i][j]);
    }
}

/* What an item fetched along the inner dimension: place k of it, every ITEMS / BK-th row. */
static inline __attribute__((always_inline, unused)) void
tile_put(local float4 *to, const float *v, int each, int row, int item)
{
    local float *p = (local float *)to + item % BK * (row * 4) + item / BK;
#pragma unroll
    for (int s = 0; s < each; s++)
        p[s * (ITEMS / BK)] = v[s];
}
