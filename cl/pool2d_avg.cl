/* Average pooling: the sum of the window's cells inside the input over a divisor: the cells of the
 * window that are not past the given padding, or (skip) those inside the input. Bound: memory
 * bandwidth. */
#include "pool2d_row.cl"

/* Cells of a window's axis that count: from `at` (its place, negative in the pad) to at + k. */
static inline int count(int at, int k, int size, int pad_after, int skip)
{
    return skip ? min(at + k, size) - max(at, 0) : min(at + k, size + pad_after) - at;
}

/* What one of n cells gets of a gradient: the factor, so that a vector of windows costs one
 * division. */
static inline T share(int n)
{
    return (T)1 / (T)n;
}

/* Sum over cells [lo, hi) x [wlo, whi) of the window at p, row by row. */
static inline T window_sum(global const T *p, int W, int lo, int hi, int wlo, int whi)
{
    T sum = 0;
    for (int i = lo; i < hi; i++) {
        T s = 0;
        for (int j = wlo; j < whi; j++)
            s += p[i * W + j];
        sum += s;
    }
    return sum;
}

/* One item per output element. PB, PR: padding at the bottom and right. */
kernel void avgpool2d_fwd_ref(global const T *restrict x, ulong xo, global T *restrict y, ulong yo,
                              int n, int H, int W, int OH, int OW, int kh, int kw, int sh, int sw,
                              int PT, int PL, int PB, int PR, int skip)
{
    int id = (int)get_global_id(0);
    if (id >= n)
        return;
    int ow = id % OW, oh = id / OW % OH, plane = id / OW / OH;
    int h = oh * sh - PT, w = ow * sw - PL;
    T cells = (T)(count(h, kh, H, PB, skip) * count(w, kw, W, PR, skip));
    global const T *p = x + xo + (long)plane * H * W + (long)h * W + w;
    y[yo + (ulong)id] =
        window_sum(p, W, max(0, -h), min(kh, H - h), max(0, -w), min(kw, W - w)) / cells;
}

/* dx gathers from the windows that cover it, in their order. One item per input element. */
kernel void avgpool2d_bwd_ref(global const T *restrict dy, ulong dyo, global T *restrict dx,
                              ulong dxo, int n, int H, int W, int OH, int OW, int kh, int kw,
                              int sh, int sw, int PT, int PL, int PB, int PR, int skip)
{
    int id = (int)get_global_id(0);
    if (id >= n)
        return;
    int w = id % W + PL, h = id / W % H + PT;
    ulong plane = (ulong)(id / W / H) * (ulong)(OH * OW);
    T sum = 0;
    for (int oh = h < kh ? 0 : (h - kh) / sh + 1; oh < OH && oh * sh <= h; oh++)
        for (int ow = w < kw ? 0 : (w - kw) / sw + 1; ow < OW && ow * sw <= w; ow++)
            sum +=
                dy[dyo + plane + (ulong)(oh * OW + ow)] *
                share(count(oh * sh - PT, kh, H, PB, skip) * count(ow * sw - PL, kw, W, PR, skip));
    dx[dxo + (ulong)id] = sum;
}

#ifdef VECTORS
/* V windows side by side, all of their columns inside. */
static inline void block_avg(global const T *p, int W, int lo, int hi, T cells, global T *y)
{
    TV sum = (TV)0;
    for (int i = lo; i < hi; i++) {
        TV s = (TV)0;
#pragma unroll
        for (int j = 0; j < KW; j++)
            s += CELLS(p + i * W, j);
        sum += s;
    }
    STORE(sum / (TV)cells, 0, y);
}
#endif

/* An item: `rows` rows of windows (id 0) of one plane (id 1). */
kernel void avgpool2d_fwd_solo(global const T *restrict x, ulong xo, global T *restrict y, ulong yo,
                               int rows, int H, int W, int OH, int OW, int PT, int PL, int PB,
                               int PR, int skip)
{
    int plane = (int)get_global_id(1), oh = (int)get_global_id(0) * rows, last = min(oh + rows, OH);
#ifdef VECTORS
    int first = row_first(OW, PL), end = row_end(W, OW, PL);
#endif
    x += xo + (ulong)plane * (ulong)(H * W);
    y += yo + (ulong)plane * (ulong)(OH * OW);
    for (; oh < last; oh++) {
        int h = oh * SH - PT, lo = max(0, -h), hi = min(KH, H - h), ow = 0;
        int high = count(h, KH, H, PB, skip);
        global const T *row = x + h * W - PL;
#ifdef VECTORS
        if (end - first >= V)
            for (ow = first; ow < end;) {
                int at = min(ow, end - V); /* the last vector may overlap the one before */
                block_avg(row + at * SW, W, lo, hi, (T)(high * KW), y + oh * OW + at);
                ow = at + V;
            }
        int edge = ow > 0 ? first : 0;
        for (int k = 0; k < edge; k++) {
            int w = k * SW - PL;
            y[oh * OW + k] = window_sum(row + k * SW, W, lo, hi, max(0, -w), min(KW, W - w)) /
                             (T)(high * count(w, KW, W, PR, skip));
        }
#endif
        for (; ow < OW; ow++) {
            int w = ow * SW - PL;
            y[oh * OW + ow] = window_sum(row + ow * SW, W, lo, hi, max(0, -w), min(KW, W - w)) /
                              (T)(high * count(w, KW, W, PR, skip));
        }
    }
}

#if V > 1 && SW == 1
/* Row h of dx for stride 1: vectors gather from the windows that cover them, so that no load waits
 * for a store. */
static inline void gather_row(global const T *dy, global T *row, int h, int H, int W, int OH,
                              int OW, int PT, int PL, int PB, int PR, int skip)
{
    int from = max(0, (h + PT - KH + SH) / SH), to = min(OH, (h + PT) / SH + 1);
    /* columns all of whose windows lie inside the row, and so share one width */
    int first = row_first(OW, PL) - PL + KW - 1, end = row_end(W, OW, PL) - PL, w = 0;
    while (w < W) {
        if (w >= first && w < end && end - first >= V) {
            w = min(w, end - V); /* the last vector may overlap the one before */
            TV sum = (TV)0;
            for (int oh = from; oh < to; oh++) {
                TV part = (TV)share(count(oh * SH - PT, KH, H, PB, skip) * KW);
#pragma unroll
                for (int j = KW - 1; j >= 0; j--)
                    sum += LOAD(0, dy + oh * OW + w + PL - j) * part;
            }
            STORE(sum, 0, row + w);
            w += V;
            continue;
        }
        T sum = 0;
        for (int oh = from; oh < to; oh++)
            for (int ow = max(0, w + PL - KW + 1); ow < min(OW, w + PL + 1); ow++)
                sum += dy[oh * OW + ow] * share(count(oh * SH - PT, KH, H, PB, skip) *
                                                count(ow - PL, KW, W, PR, skip));
        row[w++] = sum;
    }
}
#else
/* One window's gradient into the cells of one row of dx. */
static inline void spread(global T *row, int W, int PL, int ow, T g)
{
    int w = ow * SW - PL;
    for (int j = max(0, -w); j < min(KW, W - w); j++)
        row[w + j] += g;
}
#endif

/* An item: a plane of dx, which it owns, so it may scatter: the sums of ref in the order of ref. */
kernel void avgpool2d_bwd_solo(global const T *restrict dy, ulong dyo, global T *restrict dx,
                               ulong dxo, int H, int W, int OH, int OW, int PT, int PL, int PB,
                               int PR, int skip)
{
    ulong plane = (ulong)get_global_id(0);
    dy += dyo + plane * (ulong)(OH * OW);
    dx += dxo + plane * (ulong)(H * W);
#if V > 1 && SW == 1
    for (int h = 0; h < H; h++)
        gather_row(dy, dx + h * W, h, H, W, OH, OW, PT, PL, PB, PR, skip);
#else
    int first = row_first(OW, PL), end = row_end(W, OW, PL);
    fill_zero(dx, H * W);
    for (int oh = 0; oh < OH; oh++) {
        int h = oh * SH - PT, high = count(h, KH, H, PB, skip);
        for (int i = max(0, -h); i < min(KH, H - h); i++) {
            global T *row = dx + (h + i) * W;
            global const T *g = dy + oh * OW;
            T part = share(high * KW);
            int ow = 0;
            for (; ow < first; ow++)
                spread(row, W, PL, ow, g[ow] * share(high * count(ow * SW - PL, KW, W, PR, skip)));
#if KW <= SW
            for (int k = first; k < end; k++) {
                T v = g[k] * part;
#pragma unroll
                for (int j = 0; j < KW; j++)
                    row[k * SW - PL + j] += v;
            }
#else /* column by column: neighbouring windows do not wait for each other */
            for (int j = KW - 1; j >= 0; j--)
                for (int k = first; k < end; k++)
                    row[k * SW - PL + j] += g[k] * part;
#endif
            for (ow = max(first, end); ow < OW; ow++)
                spread(row, W, PL, ow, g[ow] * share(high * count(ow * SW - PL, KW, W, PR, skip)));
        }
    }
#endif
}
