/* Max pooling. y: the largest cell of the window inside the input, ties to the first, NaN above
 * all; arg: its place in the window, kh * KW + kw, so that the backward pass reads dy and arg only.
 * Bound: memory bandwidth. */
#include "pool2d_row.cl"

#ifndef A /* type of arg: uchar for windows of at most 255 cells, else int */
#define A uchar
#endif
#ifdef NO_PLACES /* nobody reads the places: inference */
#define PLACES
#define SET_PLACE(at, v) (void)(v)
#define SET_PLACES(at, v) (void)(v)
#else
#define PLACES , global A *restrict arg, ulong ao
#define SET_PLACE(at, v) arg[ao + (ulong)(at)] = (A)(v)
#define SET_PLACES(at, v) STORE(CAT(CAT(convert_, A), V)(v), 0, arg + ao + (ulong)(at))
#endif

/* Is v taken over m? A NaN is, but not over an earlier one. */
#define OVER(v, m) (!((v) <= (m)) & ((m) == (m)))
#define OVER_V(v, m) (~((v) <= (m)) & ((m) == (m)))

/* Cells [lo, hi) x [wlo, whi) of the window at p (its cell 0,0, which may lie outside). The window
 * has a cell. */
static inline T window_max(global const T *p, int W, int kw, int lo, int hi, int wlo, int whi,
                           int *at)
{
    T m = p[lo * W + wlo];
    int a = lo * kw + wlo;
    for (int i = lo; i < hi; i++)
        for (int j = wlo; j < whi; j++) {
            T v = p[i * W + j];
            if (OVER(v, m)) {
                m = v;
                a = i * kw + j;
            }
        }
    *at = a;
    return m;
}

/* One item per output element. */
kernel void maxpool2d_fwd_ref(global const T *restrict x, ulong xo, global T *restrict y,
                              ulong yo PLACES, int n, int H, int W, int OH, int OW, int kh, int kw,
                              int sh, int sw, int PT, int PL)
{
    int id = (int)get_global_id(0);
    if (id >= n)
        return;
    int ow = id % OW, oh = id / OW % OH, plane = id / OW / OH;
    int h = oh * sh - PT, w = ow * sw - PL, at;
    global const T *p = x + xo + (long)plane * H * W + (long)h * W + w;
    y[yo + (ulong)id] =
        window_max(p, W, kw, max(0, -h), min(kh, H - h), max(0, -w), min(kw, W - w), &at);
    SET_PLACE(id, at);
}

/* dx gathers the windows that took it, in their order. One item per input element. */
kernel void maxpool2d_bwd_ref(global const T *restrict dy, ulong dyo, global const A *restrict arg,
                              ulong ao, global T *restrict dx, ulong dxo, int n, int H, int W,
                              int OH, int OW, int kh, int kw, int sh, int sw, int PT, int PL)
{
    int id = (int)get_global_id(0);
    if (id >= n)
        return;
    int w = id % W + PL, h = id / W % H + PT;
    ulong plane = (ulong)(id / W / H) * (ulong)(OH * OW);
    T sum = 0;
    for (int oh = h < kh ? 0 : (h - kh) / sh + 1; oh < OH && oh * sh <= h; oh++)
        for (int ow = w < kw ? 0 : (w - kw) / sw + 1; ow < OW && ow * sw <= w; ow++) {
            ulong o = plane + (ulong)(oh * OW + ow);
            if ((int)arg[ao + o] == (h - oh * sh) * kw + w - ow * sw)
                sum += dy[dyo + o];
        }
    dx[dxo + (ulong)id] = sum;
}

#ifdef VECTORS
/* V windows side by side, all of their columns inside. */
static inline TV block_max(global const T *p, int W, int lo, int hi, IV *at)
{
    TV m = (TV)(-INFINITY);
    IV a = (IV)(lo * KW);
    for (int i = lo; i < hi; i++)
#pragma unroll
        for (int j = 0; j < KW; j++) {
            TV v = CELLS(p + i * W, j);
            IV over = TO_INT(OVER_V(v, m));
            m = select(m, v, OVER_V(v, m));
            a = select(a, (IV)(i * KW + j), over);
        }
    *at = a;
    return m;
}
#endif

/* An item: `rows` rows of windows (id 0) of one plane (id 1). */
kernel void maxpool2d_fwd_solo(global const T *restrict x, ulong xo, global T *restrict y,
                               ulong yo PLACES, int rows, int H, int W, int OH, int OW, int PT,
                               int PL)
{
    int plane = (int)get_global_id(1), oh = (int)get_global_id(0) * rows, last = min(oh + rows, OH);
#ifdef VECTORS
    int first = row_first(OW, PL), end = row_end(W, OW, PL);
#endif
    ulong to = (ulong)plane * (ulong)(OH * OW); /* of the row's first window */
    x += xo + (ulong)plane * (ulong)(H * W);
    y += yo;
    to += (ulong)(oh * OW);
    for (; oh < last; oh++, to += (ulong)OW) {
        int h = oh * SH - PT, lo = max(0, -h), hi = min(KH, H - h), ow = 0;
        global const T *row = x + h * W - PL;
#ifdef VECTORS
        if (end - first >= V)
            for (ow = first; ow < end;) {
                int at = min(ow, end - V); /* the last vector may overlap the one before */
                IV places;
                STORE(block_max(row + at * SW, W, lo, hi, &places), 0, y + to + at);
                SET_PLACES(to + (ulong)at, places);
                ow = at + V;
            }
        int edge = ow > 0 ? first : 0;
        for (int k = 0; k < edge; k++) {
            int w = k * SW - PL, at;
            y[to + (ulong)k] =
                window_max(row + k * SW, W, KW, lo, hi, max(0, -w), min(KW, W - w), &at);
            SET_PLACE(to + (ulong)k, at);
        }
#endif
        for (; ow < OW; ow++) {
            int w = ow * SW - PL, at;
            y[to + (ulong)ow] =
                window_max(row + ow * SW, W, KW, lo, hi, max(0, -w), min(KW, W - w), &at);
            SET_PLACE(to + (ulong)ow, at);
        }
    }
}

/* An item owns a plane of dx, so it may scatter: dy goes to arg's cell, windows in their order as
 * in ref. */
kernel void maxpool2d_bwd_solo(global const T *restrict dy, ulong dyo, global const A *restrict arg,
                               ulong ao, global T *restrict dx, ulong dxo, int H, int W, int OH,
                               int OW, int PT, int PL)
{
    ulong plane = (ulong)get_global_id(0);
    dy += dyo + plane * (ulong)(OH * OW);
    arg += ao + plane * (ulong)(OH * OW);
    dx += dxo + plane * (ulong)(H * W);
    fill_zero(dx, H * W);
    for (int oh = 0; oh < OH; oh++) {
        global T *row = dx + (oh * SH - PT) * W - PL;
        for (int ow = 0; ow < OW; ow++) {
            int at = (int)arg[oh * OW + ow], kh = at / KW;
            row[kh * W + at - kh * KW + ow * SW] += dy[oh * OW + ow];
        }
    }
}
