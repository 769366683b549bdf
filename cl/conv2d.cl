/* Convolution on plain NCHW, any geometry: one work-item per element of the result. Bound: loads
 * (each product reads both factors from cache). Sums are built up in two levels, so that rounding
 * does not grow with their length. Sizes: x [N,C,H,W], w [K,CG,KH,KW], y [N,K,OH,OW]; CG and KG are
 * channels per group. */
#include "common.cl"

#define SIZES                                                                                      \
    int n_items, int C, int H, int W, int K, int OH, int OW, int KH, int KW, int CG, int KG,       \
        int SH, int SW, int DH, int DW, int PH, int PW

/* y[n,k,r,q] = b[k] + sum x[n,c,r SH + h DH - PH, q SW + i DW - PW] w[k,c,h,i] */
kernel void conv2d_fwd_ref(global const T *x, ulong x0, global const T *w, ulong w0,
                           global const T *b, ulong b0, global T *y, ulong y0, int has_bias, SIZES)
{
    int id = get_global_id(0), at = id;
    if (id >= n_items)
        return;
    int q = at % OW;
    at /= OW;
    int r = at % OH;
    at /= OH;
    int k = at % K, n = at / K;
    x += x0 + ((ulong)n * C + k / KG * CG) * H * W;
    w += w0 + (ulong)k * CG * KH * KW;
    T sum = has_bias ? b[b0 + k] : (T)0;
    for (int c = 0; c < CG; c++) {
        T part = 0;
        for (int h = 0; h < KH; h++) {
            int row = r * SH + h * DH - PH;
            for (int i = 0; i < KW; i++) {
                int col = q * SW + i * DW - PW;
                if (row >= 0 && row < H && col >= 0 && col < W)
                    part = fma(x[((ulong)c * H + row) * W + col], w[(c * KH + h) * KW + i], part);
            }
        }
        sum += part;
    }
    y[y0 + id] = sum;
}

/* dx[n,c,row,col] = b[c] + sum over the windows that cover the cell of dy[n,k,r,q] w[k,c,h,i] */
kernel void conv2d_bwd_data_ref(global const T *w, ulong w0, global const T *dy, ulong dy0,
                                global const T *b, ulong b0, global T *dx, ulong dx0, int has_bias,
                                SIZES)
{
    int id = get_global_id(0), at = id;
    if (id >= n_items)
        return;
    int col = at % W;
    at /= W;
    int row = at % H;
    at /= H;
    int c = at % C, n = at / C, group = c / CG;
    dy += dy0 + ((ulong)n * K + group * KG) * OH * OW;
    w += w0 + ((ulong)group * KG * CG + c % CG) * KH * KW;
    T sum = has_bias ? b[b0 + c] : (T)0;
    for (int k = 0; k < KG; k++) {
        T part = 0;
        for (int h = 0; h < KH; h++) {
            int r = row + PH - h * DH;
            if (r < 0 || r % SH || r / SH >= OH)
                continue;
            for (int i = 0; i < KW; i++) {
                int q = col + PW - i * DW;
                if (q >= 0 && q % SW == 0 && q / SW < OW)
                    part = fma(dy[((ulong)k * OH + r / SH) * OW + q / SW],
                               w[((ulong)k * CG * KH + h) * KW + i], part);
            }
        }
        sum += part;
    }
    dx[dx0 + id] = sum;
}

/* dw[k,c,h,i] = sum x[n,c,r SH + h DH - PH, q SW + i DW - PW] dy[n,k,r,q] over N images */
kernel void conv2d_bwd_weights_ref(global const T *x, ulong x0, global const T *dy, ulong dy0,
                                   global T *dw, ulong dw0, int N, SIZES)
{
    int id = get_global_id(0), at = id;
    if (id >= n_items)
        return;
    int i = at % KW;
    at /= KW;
    int h = at % KH;
    at /= KH;
    int c = at % CG, k = at / CG;
    x += x0 + ((ulong)k / KG * CG + c) * H * W;
    dy += dy0 + (ulong)k * OH * OW;
    T sum = 0;
    for (int n = 0; n < N; n++) {
        T image = 0;
        for (int r = 0; r < OH; r++) {
            int row = r * SH + h * DH - PH;
            T part = 0;
            if (row < 0 || row >= H)
                continue;
            for (int q = 0; q < OW; q++) {
                int col = q * SW + i * DW - PW;
                if (col >= 0 && col < W)
                    part = fma(x[((ulong)n * C * H + row) * W + col],
                               dy[((ulong)n * K * OH + r) * OW + q], part);
            }
            image += part;
        }
        sum += image;
    }
    dw[dw0 + id] = sum;
}
