/* Pooling of whole planes on blocked storage: x [N, blocks, rows, columns, VN] (dx written with its
 * halo's zeros), one value per plane in plain [N,C,1,1]. An item: `per` planes of
 * vectors. Bound: memory bandwidth. */
#include "epilogue.cl"
#include "halo.cl"

#ifdef NO_PLACES /* nobody reads the places of the maxima: inference */
#define PLACES
#else
#define PLACES , global int *restrict arg, ulong a0
#endif
#if VN == 1
#define IV int
#define LOAD_INT(p) (*(p))
#define STORE_INT(v, p) (*(p) = (v))
#define TAKE(v, m) ((!((v) <= (m)) & ((m) == (m))) ? -1 : 0) /* larger, or the first NaN */
#define PICK(no, yes, mask) ((mask) ? (yes) : (no))
#else
#define IV KL_JOIN2(int, VN)
#define LOAD_INT(p) KL_JOIN2(vload, VN)(0, p)
#define STORE_INT(v, p) KL_JOIN2(vstore, VN)(v, 0, p)
#define TAKE(v, m) (~((v) <= (m)) & ((m) == (m)))
#define PICK(no, yes, mask) select(no, yes, mask)
#endif

/* Lanes of v that are channels go to y. */
static inline void put_channels(global T *y, V v, int n)
{
    T lane[VN];
    VSTORE(v, lane);
    for (int l = 0; l < n; l++)
        y[l] = lane[l];
}

kernel void global_avgpool_fwd_c(global const T *restrict x, ulong x0, global T *restrict y,
                                 ulong y0, int planes, int per, int blocks, int C, int x_plane,
                                 int x_row, int x_first, int H, int W)
{
    int plane = (int)get_global_id(0) * per, end = min(plane + per, planes);
    for (; plane < end; plane++) {
        int n = plane / blocks, c = plane % blocks * VN;
        global const T *p = x + x0 + ((size_t)plane * (size_t)x_plane + (size_t)x_first) * VN;
        V sum = (V)(T)0;
        for (int h = 0; h < H; h++) {
            V s = (V)(T)0;
            for (int w = 0; w < W; w++)
                s += VLOAD(p + (h * x_row + w) * VN);
            sum += s;
        }
        put_channels(y + y0 + (size_t)n * (size_t)C + (size_t)c, sum / (V)(T)(H * W),
                     min(VN, C - c));
    }
}

kernel void global_maxpool_fwd_c(global const T *restrict x, ulong x0, global T *restrict y,
                                 ulong y0 PLACES, int planes, int per, int blocks, int C,
                                 int x_plane, int x_row, int x_first, int H, int W)
{
    int plane = (int)get_global_id(0) * per, end = min(plane + per, planes);
    for (; plane < end; plane++) {
        int c = plane % blocks * VN, lanes = min(VN, C - c);
        size_t to = (size_t)(plane / blocks) * (size_t)C + (size_t)c;
        global const T *p = x + x0 + ((size_t)plane * (size_t)x_plane + (size_t)x_first) * VN;
        V m = VLOAD(p);
        IV at = (IV)0;
        for (int h = 0; h < H; h++)
            for (int w = 0; w < W; w++) {
                V v = VLOAD(p + (h * x_row + w) * VN);
                IV over = TAKE(v, m);
                m = PICK(m, v, over);
                at = PICK(at, (IV)(h * W + w), over);
            }
        put_channels(y + y0 + to, m, lanes);
#ifndef NO_PLACES
        int lane[VN];
        STORE_INT(at, lane);
        for (int l = 0; l < lanes; l++)
            arg[a0 + to + (size_t)l] = lane[l];
#endif
    }
}

/* dx's planes from `plane` on; VALUE is what a cell gets. */
#define FILL(VALUE)                                                                                \
    int x_row = halo_l + W + halo_r;                                                               \
    global T *p = dx + dx0 + (size_t)plane * (size_t)((halo_t + H + halo_b) * x_row) * VN;         \
    zero_halo(p, H, W, (int4)(halo_t, halo_l, halo_b, halo_r), 0, H);                              \
    p += (halo_t * x_row + halo_l) * VN;                                                           \
    for (int h = 0; h < H; h++) {                                                                  \
        EPI_ROW(plane / blocks, plane % blocks, h)                                                 \
        for (int w = 0; w < W; w++) {                                                              \
            EPI(v, VALUE, w)                                                                       \
            VSTORE(v, p + (h * x_row + w) * VN);                                                   \
        }                                                                                          \
    }

kernel void global_avgpool_bwd_c(global const T *restrict dy, ulong dy0, global T *restrict dx,
                                 ulong dx0, int planes, int per, int blocks, int C, int H, int W,
                                 int halo_t, int halo_l, int halo_b, int halo_r EPI_PARAMS)
{
    int plane = (int)get_global_id(0) * per, end = min(plane + per, planes);
    for (; plane < end; plane++) {
        int c = plane % blocks * VN, lanes = min(VN, C - c);
        V g = vec_part(dy + dy0 + (size_t)(plane / blocks) * (size_t)C + (size_t)c, lanes) /
              (V)(T)(H * W);
        FILL(g)
    }
}

kernel void global_maxpool_bwd_c(global const T *restrict dy, ulong dy0,
                                 global const int *restrict arg, ulong a0, global T *restrict dx,
                                 ulong dx0, int planes, int per, int blocks, int C, int H, int W,
                                 int halo_t, int halo_l, int halo_b, int halo_r EPI_PARAMS)
{
    int plane = (int)get_global_id(0) * per, end = min(plane + per, planes);
    for (; plane < end; plane++) {
        int c = plane % blocks * VN, lanes = min(VN, C - c), lane[VN];
        size_t from = (size_t)(plane / blocks) * (size_t)C + (size_t)c;
        V g = vec_part(dy + dy0 + from, lanes);
        for (int l = 0; l < VN; l++)
            lane[l] = l < lanes ? arg[a0 + from + (size_t)l] : 0;
        IV at = LOAD_INT(lane);
        FILL(PICK((V)(T)0, g, at == (IV)(h * W + w)))
    }
}
