/* Pooling on blocked storage [N, C/VN, rows, columns, VN]: a vector is VN channels of one pixel, so
 * that every window, stride and padding runs in whole vectors. Inputs may have a halo: x_plane and
 * x_row are the pixels of a plane and a row of storage, x_first those before cell (0,0). Outputs
 * are written with their halo's zeros. Pad lanes stay zero: their windows hold zeros only. Sums go
 * in the order of the ref kernels. Windows wholly inside run with constant bounds where the window
 * is given as macros. Bound: memory bandwidth. */
#include "epilogue.cl"
#include "halo.cl"

#ifndef A /* type of the maximum's place: uchar for windows of at most 255 cells, else int */
#define A uchar
#endif
#ifdef NO_PLACES /* nobody reads the places: inference */
#define PLACES
#else
#define PLACES , global A *restrict arg, ulong a0
#endif
#ifdef KH /* window and stride, all four; else they are arguments */
#define FIXED 1
#else
#define FIXED 0
#define KH kh
#define KW kw
#define SH sh
#define SW sw
#endif

#if VN == 1
#define IV int
#define TO_INT(v) ((int)(v))
#define TO_ARG(v) ((A)(v))
#define LOAD_ARG(p) (*(p))
#define STORE_ARG(v, p) (*(p) = (v))
#define TAKE(v, m) ((!((v) <= (m)) & ((m) == (m))) ? -1 : 0) /* larger, or the first NaN */
#define PICK(no, yes, mask) ((mask) ? (yes) : (no))
#else
#define IV KL_JOIN2(int, VN)
#define TO_INT(v) KL_JOIN2(convert_int, VN)(v)
#define TO_ARG(v) KL_JOIN2(KL_JOIN2(convert_, A), VN)(v)
#define LOAD_ARG(p) KL_JOIN2(vload, VN)(0, p)
#define STORE_ARG(v, p) KL_JOIN2(vstore, VN)(v, 0, p)
#define TAKE(v, m) (~((v) <= (m)) & ((m) == (m)))
#define PICK(no, yes, mask) select(no, yes, mask)
#endif

/* halo_*: of the output. */
#define WINDOW                                                                                     \
    int blocks, int x_plane, int x_row, int x_first, int H, int W, int OH, int OW, int halo_t,     \
        int halo_l, int halo_b, int halo_r, int kh, int kw, int sh, int sw, int PT, int PL
#define HALO (int4)(halo_t, halo_l, halo_b, halo_r)

/* Cells of a window's axis that count: as in pool2d_avg.cl. */
static inline int count(int at, int k, int size, int pad_after, int skip)
{
    return skip ? min(at + k, size) - max(at, 0) : min(at + k, size + pad_after) - at;
}

/* Cells [lo, hi) x [left, right) of the window at p, whose rows are `row` pixels apart. */
static inline __attribute__((always_inline)) V window_max(global const T *p, int row, int wide,
                                                          int lo, int hi, int left, int right,
                                                          IV *at)
{
    V m = (V)(-INFINITY);
    IV a = (IV)(lo * wide + left);
    for (int i = lo; i < hi; i++)
        for (int j = left; j < right; j++) {
            V v = VLOAD(p + (i * row + j) * VN);
            IV over = TAKE(v, m);
            m = PICK(m, v, over);
            a = PICK(a, (IV)(i * wide + j), over);
        }
    *at = a;
    return m;
}

static inline __attribute__((always_inline)) V window_sum(global const T *p, int row, int lo,
                                                          int hi, int left, int right)
{
    V sum = (V)(T)0;
    for (int i = lo; i < hi; i++) {
        V s = (V)(T)0;
        for (int j = left; j < right; j++)
            s += VLOAD(p + (i * row + j) * VN);
        sum += s;
    }
    return sum;
}

/* An item: `rows` rows of windows (id 0) of one plane (id 1). */
kernel void maxpool2d_fwd_c(global const T *restrict x, ulong x0, global T *restrict y,
                            ulong y0 PLACES, int rows, WINDOW EPI_PARAMS)
{
    int r0 = (int)get_global_id(0) * rows, r1 = min(r0 + rows, OH), plane = (int)get_global_id(1);
    int y_row = halo_l + OW + halo_r;
    x += x0 + ((size_t)plane * (size_t)x_plane + (size_t)x_first) * VN;
    y += y0 + (size_t)plane * (size_t)((halo_t + OH + halo_b) * y_row) * VN;
#ifndef NO_PLACES
    arg += a0 + (size_t)plane * (size_t)(OH * OW) * VN;
#endif
    zero_halo(y, OH, OW, HALO, r0, r1);
    for (int oh = r0; oh < r1; oh++) {
        int h = oh * SH - PT, lo = max(0, -h), hi = min(KH, H - h);
        global T *to = y + ((halo_t + oh) * y_row + halo_l) * VN;
        EPI_ROW(plane / blocks, plane % blocks, oh)
        for (int ow = 0; ow < OW; ow++) {
            int w = ow * SW - PL, left = max(0, -w), right = min(KW, W - w);
            global const T *p = x + (h * x_row + w) * VN;
            IV at;
            V m = FIXED && hi - lo == KH && right - left == KW
                      ? window_max(p, x_row, KW, 0, KH, 0, KW, &at)
                      : window_max(p, x_row, KW, lo, hi, left, right, &at);
            EPI(v, m, ow)
            VSTORE(v, to + ow * VN);
#ifndef NO_PLACES
            STORE_ARG(TO_ARG(at), arg + (oh * OW + ow) * VN);
#endif
        }
    }
}

kernel void avgpool2d_fwd_c(global const T *restrict x, ulong x0, global T *restrict y, ulong y0,
                            int rows, WINDOW, int PB, int PR, int skip EPI_PARAMS)
{
    int r0 = (int)get_global_id(0) * rows, r1 = min(r0 + rows, OH), plane = (int)get_global_id(1);
    int y_row = halo_l + OW + halo_r;
    x += x0 + ((size_t)plane * (size_t)x_plane + (size_t)x_first) * VN;
    y += y0 + (size_t)plane * (size_t)((halo_t + OH + halo_b) * y_row) * VN;
    zero_halo(y, OH, OW, HALO, r0, r1);
    for (int oh = r0; oh < r1; oh++) {
        int h = oh * SH - PT, lo = max(0, -h), hi = min(KH, H - h);
        int high = count(h, KH, H, PB, skip);
        global T *to = y + ((halo_t + oh) * y_row + halo_l) * VN;
        EPI_ROW(plane / blocks, plane % blocks, oh)
        for (int ow = 0; ow < OW; ow++) {
            int w = ow * SW - PL, left = max(0, -w), right = min(KW, W - w);
            global const T *p = x + (h * x_row + w) * VN;
            V sum = FIXED && hi - lo == KH && right - left == KW
                        ? window_sum(p, x_row, 0, KH, 0, KW)
                        : window_sum(p, x_row, lo, hi, left, right);
            EPI(v, sum / (V)(T)(high * count(w, KW, W, PR, skip)), ow)
            VSTORE(v, to + ow * VN);
        }
    }
}

/* What window (oh, ow) gives to the cell i, j of it: dy where that was the maximum. */
#define MAX_SHARE(i, j)                                                                            \
    PICK((V)(T)0, VLOAD(dy + (oh * x_row + ow) * VN),                                              \
         TO_INT(LOAD_ARG(arg + (oh * OW + ow) * VN)) == (IV)((i)*KW + (j)))
/* ... and its share of the mean; INSIDE where all of the window's columns are inside. */
#define AVG_SHARE(i, j)                                                                            \
    (VLOAD(dy + (oh * x_row + ow) * VN) *                                                          \
     (V)((T)1 /                                                                                    \
         (T)(count(oh * SH - PT, KH, H, PB, skip) * count(ow * SW - PL, KW, W, PR, skip))))
#define AVG_SHARE_INSIDE(i, j) (VLOAD(dy + (oh * x_row + ow) * VN) * (V)part_of[oh - from])

/* Row r of dx: each cell gathers from its windows, row by row. Where the window is fixed, SW cells
 * side by side go together if all their windows are inside: cell w of window column q = w / SW
 * takes column w - q SW + t SW of window q - t. */
#define GATHER_ROW(SHARE, INSIDE)                                                                  \
    for (int c = 0; c < W;) {                                                                      \
        int w = c + PL, q = w / SW;                                                                \
        GATHER_FIXED(INSIDE)                                                                       \
        V sum = (V)(T)0;                                                                           \
        int first = w < KW ? 0 : (w - KW) / SW + 1;                                                \
        for (int oh = from; oh < until; oh++)                                                      \
            for (int ow = first; ow < OW && ow <= q; ow++)                                         \
                sum += SHARE(h - oh * SH, w - ow * SW);                                            \
        EPI(v, sum, c)                                                                             \
        VSTORE(v, to + c * VN);                                                                    \
        c++;                                                                                       \
    }
#if FIXED
#define REACH ((KW - 1) / SW) /* windows to the left that may cover a cell */
#define GATHER_FIXED(INSIDE)                                                                       \
    if (w == q * SW && (q - REACH) * SW >= PL && q < OW && c + KW <= W && c + SW <= W) {           \
        V sums[SW];                                                                                \
        _Pragma("unroll") for (int s = 0; s < SW; s++) sums[s] = (V)(T)0;                          \
        for (int oh = from; oh < until; oh++)                                                      \
            _Pragma("unroll") for (int t = REACH; t >= 0; t--)                                     \
            {                                                                                      \
                int ow = q - t;                                                                    \
                _Pragma("unroll") for (int s = 0; s < SW; s++) if (s + t * SW < KW)                \
                    sums[s] += INSIDE(h - oh * SH, s + t * SW);                                    \
            }                                                                                      \
        _Pragma("unroll") for (int s = 0; s < SW; s++)                                             \
        {                                                                                          \
            EPI(v, sums[s], c + s)                                                                 \
            VSTORE(v, to + (c + s) * VN);                                                          \
        }                                                                                          \
        c += SW;                                                                                   \
        continue;                                                                                  \
    }
#else
#define GATHER_FIXED(INSIDE)
#endif
/* Windows [from, until) cover row r. */
#define ROW_WINDOWS                                                                                \
    int h = r + PT, from = h < KH ? 0 : (h - KH) / SH + 1, until = min(OH, h / SH + 1);            \
    global T *to = dx + ((halo_t + r) * dx_row + halo_l) * VN;

/* An item: `rows` rows of dx (id 0) of one plane (id 1). */
kernel void maxpool2d_bwd_c(global const T *restrict dy, ulong dy0, global const A *restrict arg,
                            ulong a0, global T *restrict dx, ulong dx0, int rows, WINDOW EPI_PARAMS)
{
    int r0 = (int)get_global_id(0) * rows, r1 = min(r0 + rows, H), plane = (int)get_global_id(1);
    int dx_row = halo_l + W + halo_r;
    dy += dy0 + ((size_t)plane * (size_t)x_plane + (size_t)x_first) * VN;
    arg += a0 + (size_t)plane * (size_t)(OH * OW) * VN;
    dx += dx0 + (size_t)plane * (size_t)((halo_t + H + halo_b) * dx_row) * VN;
    zero_halo(dx, H, W, HALO, r0, r1);
    for (int r = r0; r < r1; r++) {
        ROW_WINDOWS
        EPI_ROW(plane / blocks, plane % blocks, r)
        GATHER_ROW(MAX_SHARE, MAX_SHARE)
    }
}

kernel void avgpool2d_bwd_c(global const T *restrict dy, ulong dy0, global T *restrict dx,
                            ulong dx0, int rows, WINDOW, int PB, int PR, int skip EPI_PARAMS)
{
    int r0 = (int)get_global_id(0) * rows, r1 = min(r0 + rows, H), plane = (int)get_global_id(1);
    int dx_row = halo_l + W + halo_r;
    dy += dy0 + ((size_t)plane * (size_t)x_plane + (size_t)x_first) * VN;
    dx += dx0 + (size_t)plane * (size_t)((halo_t + H + halo_b) * dx_row) * VN;
    zero_halo(dx, H, W, HALO, r0, r1);
    for (int r = r0; r < r1; r++) {
        ROW_WINDOWS
#if FIXED
        T part_of[(KH - 1) / SH + 1];
        for (int oh = from; oh < until; oh++)
            part_of[oh - from] = (T)1 / (T)(count(oh * SH - PT, KH, H, PB, skip) * KW);
#endif
        EPI_ROW(plane / blocks, plane % blocks, r)
        GATHER_ROW(AVG_SHARE, AVG_SHARE_INSIDE)
    }
}
