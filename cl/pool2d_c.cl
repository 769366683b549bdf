/* Pooling on blocked storage [N, C/V, rows, columns, V]: a vector is V channels of one pixel, so
 * that every window, stride and padding runs in whole vectors and one program serves them all.
 * Inputs may have a halo: x_plane and x_row are the pixels of a plane and a row of storage, x_first
 * those before cell (0,0). Outputs have none. Pad lanes stay zero: their windows hold zeros only.
 * Sums go in the order of the ref kernels. Bound: memory bandwidth. */
#include "common.cl"

#ifndef V /* channels of a block */
#define V 4
#endif
#ifndef A /* type of the maximum's place: uchar for windows of at most 255 cells, else int */
#define A uchar
#endif
#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define LOAD CAT(vload, V)
#define STORE CAT(vstore, V)
#define FV CAT(float, V)
#define IV CAT(int, V)
#define TO_INT CAT(convert_int, V)
#define TO_ARG CAT(CAT(convert_, A), V)

/* Cells of a window's axis that count: as in pool2d_avg.cl. */
static inline int count(int at, int k, int size, int pad_after, int skip)
{
    return skip ? min(at + k, size) - max(at, 0) : min(at + k, size + pad_after) - at;
}

/* An item: `rows` rows of windows (id 0) of one plane (id 1). */
kernel void maxpool2d_fwd_solo_c(global const float *restrict x, ulong xo, global float *restrict y,
                                 ulong yo, global A *restrict arg, ulong ao, int rows, int x_plane,
                                 int x_row, int x_first, int H, int W, int OH, int OW, int KH,
                                 int KW, int SH, int SW, int PT, int PL)
{
    int oh = (int)get_global_id(0) * rows, last = min(oh + rows, OH);
    size_t plane = get_global_id(1);
    x += xo + (plane * (size_t)x_plane + (size_t)x_first) * V;
    y += yo + plane * (size_t)(OH * OW) * V;
    arg += ao + plane * (size_t)(OH * OW) * V;
    for (; oh < last; oh++) {
        int h = oh * SH - PT, lo = max(0, -h), hi = min(KH, H - h);
        for (int ow = 0; ow < OW; ow++) {
            int w = ow * SW - PL, left = max(0, -w), right = min(KW, W - w);
            FV m = (FV)(-INFINITY);
            IV a = (IV)(lo * KW + left);
            for (int i = lo; i < hi; i++)
                for (int j = left; j < right; j++) {
                    FV v = LOAD((h + i) * x_row + w + j, x);
                    IV over = ~(v <= m) & (m == m);
                    m = select(m, v, over);
                    a = select(a, (IV)(i * KW + j), over);
                }
            STORE(m, oh * OW + ow, y);
            STORE(TO_ARG(a), oh * OW + ow, arg);
        }
    }
}

/* An item: `rows` rows of dx (id 0) of one plane (id 1). Each pixel gathers from its windows. */
kernel void maxpool2d_bwd_solo_c(global const float *restrict dy, ulong dyo,
                                 global const A *restrict arg, ulong ao, global float *restrict dx,
                                 ulong dxo, int rows, int y_plane, int y_row, int y_first, int H,
                                 int W, int OH, int OW, int KH, int KW, int SH, int SW, int PT,
                                 int PL)
{
    int r = (int)get_global_id(0) * rows, last = min(r + rows, H);
    size_t plane = get_global_id(1);
    dy += dyo + (plane * (size_t)y_plane + (size_t)y_first) * V;
    arg += ao + plane * (size_t)(OH * OW) * V;
    dx += dxo + plane * (size_t)(H * W) * V;
    for (; r < last; r++) {
        int h = r + PT, from = h < KH ? 0 : (h - KH) / SH + 1, to = min(OH, h / SH + 1);
        int left = 0, right = 0; /* windows [left, right) cover column c */
        for (int c = 0; c < W; c++) {
            int w = c + PL;
            FV sum = (FV)0;
            while (right < OW && right * SW <= w)
                right++;
            while (left < right && left * SW + KW <= w)
                left++;
            for (int oh = from; oh < to; oh++)
                for (int ow = left; ow < right; ow++) {
                    IV at = TO_INT(LOAD(oh * OW + ow, arg));
                    IV here = at == (IV)((h - oh * SH) * KW + w - ow * SW);
                    sum += select((FV)0, LOAD(oh * y_row + ow, dy), here);
                }
            STORE(sum, r * W + c, dx);
        }
    }
}

kernel void avgpool2d_fwd_solo_c(global const float *restrict x, ulong xo, global float *restrict y,
                                 ulong yo, int rows, int x_plane, int x_row, int x_first, int H,
                                 int W, int OH, int OW, int KH, int KW, int SH, int SW, int PT,
                                 int PL, int PB, int PR, int skip)
{
    int oh = (int)get_global_id(0) * rows, last = min(oh + rows, OH);
    size_t plane = get_global_id(1);
    x += xo + (plane * (size_t)x_plane + (size_t)x_first) * V;
    y += yo + plane * (size_t)(OH * OW) * V;
    for (; oh < last; oh++) {
        int h = oh * SH - PT, lo = max(0, -h), hi = min(KH, H - h);
        int high = count(h, KH, H, PB, skip);
        for (int ow = 0; ow < OW; ow++) {
            int w = ow * SW - PL, left = max(0, -w), right = min(KW, W - w);
            FV sum = (FV)0;
            for (int i = lo; i < hi; i++) {
                FV s = (FV)0;
                for (int j = left; j < right; j++)
                    s += LOAD((h + i) * x_row + w + j, x);
                sum += s;
            }
            STORE(sum / (FV)(float)(high * count(w, KW, W, PR, skip)), oh * OW + ow, y);
        }
    }
}

kernel void avgpool2d_bwd_solo_c(global const float *restrict dy, ulong dyo,
                                 global float *restrict dx, ulong dxo, int rows, int y_plane,
                                 int y_row, int y_first, int H, int W, int OH, int OW, int KH,
                                 int KW, int SH, int SW, int PT, int PL, int PB, int PR, int skip)
{
    int r = (int)get_global_id(0) * rows, last = min(r + rows, H);
    size_t plane = get_global_id(1);
    dy += dyo + (plane * (size_t)y_plane + (size_t)y_first) * V;
    dx += dxo + plane * (size_t)(H * W) * V;
    for (; r < last; r++) {
        int h = r + PT, from = h < KH ? 0 : (h - KH) / SH + 1, to = min(OH, h / SH + 1);
        int left = 0, right = 0; /* windows [left, right) cover column c */
        for (int c = 0; c < W; c++) {
            int w = c + PL;
            FV sum = (FV)0;
            while (right < OW && right * SW <= w)
                right++;
            while (left < right && left * SW + KW <= w)
                left++;
            for (int oh = from; oh < to; oh++)
                for (int ow = left; ow < right; ow++) {
                    int n =
                        count(oh * SH - PT, KH, H, PB, skip) * count(ow * SW - PL, KW, W, PR, skip);
                    sum += LOAD(oh * y_row + ow, dy) * (FV)((float)1 / (float)n);
                }
            STORE(sum, r * W + c, dx);
        }
    }
}
