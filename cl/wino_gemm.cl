/* Parts of the SOLO shells: a tile of the input into the six by six planes of V, and the register
 * tile of products. Planes lie `plane` elements apart, padded so that they fall into different sets
 * of the cache. */
#include "wino_math.cl"
#ifndef KB
#define KB 2 /* blocks of output channels of the register tile */
#endif
#ifndef PX
#define PX 4 /* tiles (backward weights: input channels) of the register tile */
#endif

/* The 6 x 6 cells from row r, column c on of an image of rows x cols stored cells, zeros where
 * there are none, to six by six planes. */
static inline void wino_put_x(global const T *x, int r, int c, int rows, int cols, local T *v,
                              int plane)
{
    bool whole = r >= 0 && c >= 0 && r + 6 <= rows && c + 6 <= cols;
    V h[6][6], d[6], o[6];
    global const T *p = x + ((long)r * cols + c) * VN;
    int row = cols * VN;
#pragma unroll
    for (int j = 0; j < 6; j++) {
        if (whole) {
#pragma unroll
            for (int i = 0; i < 6; i++)
                d[i] = VLOAD(p + i * row + j * VN);
        } else {
            bool in = c + j >= 0 && c + j < cols;
#pragma unroll
            for (int i = 0; i < 6; i++)
                d[i] = in && r + i >= 0 && r + i < rows ? VLOAD(p + i * row + j * VN) : (V)0;
        }
        wino_in(d, o);
#pragma unroll
        for (int i = 0; i < 6; i++)
            h[i][j] = o[i];
    }
#pragma unroll
    for (int i = 0; i < 6; i++) {
        wino_in(h[i], o);
#pragma unroll
        for (int j = 0; j < 6; j++)
            VSTORE(o[j], v + (i * 6 + j) * plane);
    }
}
