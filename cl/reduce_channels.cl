/* Sums over samples, rows and columns of NCHWc storage: one per channel. A work-item takes one
 * block of channels and some rows of the batch, a row by four accumulators and rows by one, so that
 * errors grow with the root of a row. Bound by memory: one read of x. Pad lanes come out as they
 * are, halo is not read. */
#include "vec.cl"

static void store_channels(V sum, global T *out, int k, int channels, int divisor)
{
    T lane[VN];
    VSTORE(sum, lane);
    for (int l = 0; l < min(VN, channels - k * VN); l++)
        out[k * VN + l] = lane[l] / divisor;
}

/* x: block k of sample n has its first pixel `first` vectors after the start of its plane of
 * `plane` vectors; rows are `row` vectors apart. out [parts][blocks][VN], part p adds rows p each..
 * of the N H; where there is one part, the result [channels]. */
kernel void reduce_channels(global const T *x, ulong x_at, global T *out, ulong out_at, int N,
                            int blocks, int H, int W, int plane, int row, int first, int each,
                            int channels, int divisor)
{
    const int k = (int)get_global_id(0), part = (int)get_global_id(1);
    const int end = min(N * H, (part + 1) * each);
    V sum = (V)0;
    x += x_at + ((ulong)k * plane + first) * VN;
    for (int r = part * each; r < end; r++) {
        const int n = r / H;
        global const T *p = x + ((ulong)n * blocks * plane + (r - n * H) * row) * VN;
        V a0 = (V)0, a1 = a0, a2 = a0, a3 = a0;
        int i = 0;
        for (; i + 4 <= W; i += 4, p += 4 * VN) {
            a0 += VLOAD(p);
            a1 += VLOAD(p + VN);
            a2 += VLOAD(p + 2 * VN);
            a3 += VLOAD(p + 3 * VN);
        }
        for (; i < W; i++, p += VN)
            a0 += VLOAD(p);
        sum += (a0 + a1) + (a2 + a3);
    }
    out += out_at;
    if (each >= N * H)
        store_channels(sum, out, k, channels, divisor);
    else
        VSTORE(sum, out + (part * blocks + k) * VN);
}

/* The parts' sums [parts][blocks][VN] in their order, divided. */
kernel void reduce_channels_end(global const T *sums, ulong sums_at, global T *out, ulong out_at,
                                int parts, int blocks, int channels, int divisor)
{
    const int k = (int)get_global_id(0);
    V sum = (V)0;
    for (int p = 0; p < parts; p++)
        sum += VLOAD(sums + sums_at + (p * blocks + k) * VN);
    store_channels(sum, out + out_at, k, channels, divisor);
}
