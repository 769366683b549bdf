/* Between storage layouts. Every kernel is memory-bound; those for CPU-like devices move V x V
 * tiles through registers (log2 V rounds of interleaving). */
#include "common.cl"

#ifndef V
#define V 4 /* lanes of a vector, channels of a block */
#endif
#define KL_CAT_(a, b) a##b
#define KL_CAT(a, b) KL_CAT_(a, b)
#define VF KL_CAT(float, V)
#define LOAD KL_CAT(vload, V)
#define STORE KL_CAT(vstore, V)
#define KL_TRANSPOSE_N V
#define KL_TRANSPOSE_V VF
#include "vec_transpose.cl"

#include "position.cl"

/* One work-item per element of the result's storage, any layout to any other; n elements. */
kernel void reorder_ref(global const T *x, ulong x0, global T *y, ulong y0, int n, int A, int B,
                        int H, int W, int xkind, int xblock, int xtop, int xleft, int xbottom,
                        int xright, int ykind, int yblock, int ytop, int yleft, int ybottom,
                        int yright)
{
    int i = get_global_id(0), r = i, a, b, h, w;
    if (i >= n)
        return;
    if (ykind == 0) {
        w = r % W, r /= W;
        h = r % H, r /= H;
        b = r % B, a = r / B;
    } else if (ykind == 1) {
        int rows = ytop + H + ybottom, cols = yleft + W + yright,
            blocks = (B + yblock - 1) / yblock;
        b = r % yblock, r /= yblock;
        w = r % cols - yleft, r /= cols;
        h = r % rows - ytop, r /= rows;
        b += r % blocks * yblock, a = r / blocks;
    } else {
        int blocks = (B + yblock - 1) / yblock;
        int o = r % yblock, i_ = r / yblock % yblock;
        a = ykind == 3 ? i_ : o, b = ykind == 3 ? o : i_, r /= yblock * yblock;
        w = r % W, r /= W;
        h = r % H, r /= H;
        b += r % blocks * yblock, a += r / blocks * yblock;
    }
    bool in = a < A && b < B && h >= 0 && h < H && w >= 0 && w < W;
    y[y0 + i] = in ? x[x0 + position(xkind, xblock, (int4)(xtop, xleft, xbottom, xright), B, H, W,
                                     a, b, h, w)]
                   : (T)0;
}

/* Zero cells around H x W pixels of `len` floats, y at the first cell of the plane. */
static void zero_halo(global float *y, int len, int H, int W, int top, int left, int bottom,
                      int right)
{
    int cols = left + W + right, row = cols * len;
    for (int i = 0; i < top * row; i++)
        y[i] = 0;
    for (int h = top; h < top + H; h++) {
        for (int i = 0; i < left * len; i++)
            y[h * row + i] = 0;
        for (int i = (left + W) * len; i < row; i++)
            y[h * row + i] = 0;
    }
    for (int i = (top + H) * row; i < (top + H + bottom) * row; i++)
        y[i] = 0;
}

/* Plain to NCHWc. Global: blocks of channels, N, strips of pixels. */
kernel void reorder_block_solo(global const float *x, ulong x0, global float *y, ulong y0, int C,
                               int H, int W, int top, int left, int bottom, int right)
{
    int cb = get_global_id(0), n = get_global_id(1), s = get_global_id(2),
        strips = get_global_size(2);
    int nc = min(V, C - cb * V), HW = H * W, cols = left + W + right, tiles = (HW + V - 1) / V;
    x += x0 + ((ulong)n * C + cb * V) * HW;
    y += y0 + ((ulong)n * get_global_size(0) + cb) * (top + H + bottom) * cols * V;
    if (s == 0)
        zero_halo(y, V, H, W, top, left, bottom, right);
    y += (top * cols + left) * V;
    if (HW < V) {
        for (int q = 0; s == 0 && q < HW; q++)
            for (int c = 0; c < V; c++)
                y[(q / W * cols + q % W) * V + c] = c < nc ? x[c * HW + q] : 0;
        return;
    }
    for (int t = (int)((long)tiles * s / strips); t < (int)((long)tiles * (s + 1) / strips); t++) {
        int q = min(t * V, HW - V), col = q % W;
        VF r[V], u[V];
#pragma unroll
        for (int c = 0; c < V; c++)
            r[c] = c < nc ? LOAD(0, x + c * HW + q) : (VF)(0);
        TRANSPOSE(r, u)
        global float *d = y + (q / W * cols + col) * V;
#pragma unroll
        for (int p = 0; p < V; p++) {
            *(global VF *)d = r[p];
            int wrap = ++col == W;
            d += wrap ? (cols - W + 1) * V : V;
            col = wrap ? 0 : col;
        }
    }
}

/* NCHWc to plain. Global: blocks of channels, N, strips of pixels. */
kernel void reorder_plain_solo(global const float *x, ulong x0, global float *y, ulong y0, int C,
                               int H, int W, int top, int left, int bottom, int right)
{
    int cb = get_global_id(0), n = get_global_id(1), s = get_global_id(2),
        strips = get_global_size(2);
    int nc = min(V, C - cb * V), HW = H * W, cols = left + W + right, tiles = (HW + V - 1) / V;
    x += x0 +
         (((ulong)n * get_global_size(0) + cb) * (top + H + bottom) * cols + top * cols + left) * V;
    y += y0 + ((ulong)n * C + cb * V) * HW;
    if (HW < V) {
        for (int q = 0; s == 0 && q < HW; q++)
            for (int c = 0; c < nc; c++)
                y[c * HW + q] = x[(q / W * cols + q % W) * V + c];
        return;
    }
    for (int t = (int)((long)tiles * s / strips); t < (int)((long)tiles * (s + 1) / strips); t++) {
        int q = min(t * V, HW - V), col = q % W;
        VF r[V], u[V];
        global const float *d = x + (q / W * cols + col) * V;
#pragma unroll
        for (int p = 0; p < V; p++) {
            r[p] = *(global const VF *)d;
            int wrap = ++col == W;
            d += wrap ? (cols - W + 1) * V : V;
            col = wrap ? 0 : col;
        }
        TRANSPOSE(r, u)
#pragma unroll
        for (int c = 0; c < V; c++)
            if (c < nc)
                STORE(r[c], 0, y + c * HW + q);
    }
}

/* Between halos: planes of H x W pixels of `len` floats each (plain is len 1 without halo). Global:
 * planes. */
kernel void reorder_halo_solo(global const float *x, ulong x0, global float *y, ulong y0, int len,
                              int H, int W, int xtop, int xleft, int xbottom, int xright, int ytop,
                              int yleft, int ybottom, int yright)
{
    int xrow = (xleft + W + xright) * len, yrow = (yleft + W + yright) * len, n = W * len;
    x += x0 + (ulong)get_global_id(0) * (xtop + H + xbottom) * xrow + xtop * xrow + xleft * len;
    y += y0 + (ulong)get_global_id(0) * (ytop + H + ybottom) * yrow;
    zero_halo(y, len, H, W, ytop, yleft, ybottom, yright);
    y += ytop * yrow + yleft * len;
    for (int h = 0; h < H; h++) {
        int i = 0;
        for (; i + V <= n; i += V)
            STORE(LOAD(0, x + h * xrow + i), 0, y + h * yrow + i);
        for (; i < n; i++)
            y[h * yrow + i] = x[h * xrow + i];
    }
}

/* Weights [O, I, K] to [O blocks, I blocks, K, V of I, V of O], or with the last two turned round
 * where `turned`. A block stays in L1. Global: O blocks, I blocks. */
kernel void reorder_weights_solo(global const float *x, ulong x0, global float *y, ulong y0, int O,
                                 int I, int K, int turned)
{
    int ob = get_global_id(0), ib = get_global_id(1), no = min(V, O - ob * V),
        ni = min(V, I - ib * V);
    int so = turned ? V : 1, si = turned ? 1 : V;
    VF r[V], u[V];
    x += x0 + ((ulong)ob * V * I + ib * V) * K;
    y += y0 + ((ulong)ob * get_global_size(1) + ib) * K * V * V;
    if (no < V || ni < V) {
        for (int i = 0; i < K * V; i++)
            STORE((VF)(0), i, y);
        for (int o = 0; o < no; o++)
            for (int i = 0; i < ni; i++)
                for (int k = 0; k < K; k++)
                    y[k * V * V + i * si + o * so] = x[((ulong)o * I + i) * K + k];
        return;
    }
    /* K neighbours in x make V x V tiles of O and (I, K); `turned` turns each tap's tile back */
    for (int t = 0; t < K; t++) {
#pragma unroll
        for (int o = 0; o < V; o++)
            r[o] = LOAD(t, x + (ulong)o * I * K);
        TRANSPOSE(r, u)
#pragma unroll
        for (int m = 0; m < V; m++)
            STORE(r[m], (t * V + m) % K * V + (t * V + m) / K, y);
    }
    for (int k = 0; turned && k < K; k++) {
#pragma unroll
        for (int i = 0; i < V; i++)
            r[i] = LOAD(k * V + i, y);
        TRANSPOSE(r, u)
#pragma unroll
        for (int o = 0; o < V; o++)
            STORE(r[o], k * V + o, y);
    }
}
