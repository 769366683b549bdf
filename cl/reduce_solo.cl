/* Reductions for devices with wide vectors: one work-item per group, W lanes, several accumulators.
 * Bound by memory where the input is larger than the cache, else by two loads a cycle. */
#include "reduce_fold.cl"

#ifndef W /* floats per vector: 16, 8 or 4 */
#define W 16
#endif
#ifndef KL_MAX /* 1: the largest instead of the sum; NaN is larger than everything */
#define KL_MAX 0
#endif

#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define V CAT(float, W)
#define VLOAD(p) CAT(vload, W)(0, p)
#define VSTORE(v, p) CAT(vstore, W)(v, 0, p)

#if KL_MAX
#define START (-INFINITY)
#define JOIN(a, v) ((v) <= (a) || (a) != (a) ? (a) : (v))
#else
#define START 0
#define JOIN(a, v) ((a) + (v))
#endif

float lanes(V v)
{
#if W == 16
    const float8 h = JOIN(v.lo, v.hi);
    const float4 q = JOIN(h.lo, h.hi);
#elif W == 8
    const float4 q = JOIN(v.lo, v.hi);
#else
    const float4 q = v;
#endif
    const float2 d = JOIN(q.lo, q.hi);
    return JOIN(d.x, d.y);
}

/* One run of n contiguous floats. */
float run(__global const float *x, int n)
{
    V a0 = (V)(START), a1 = a0, a2 = a0, a3 = a0;
    int i = 0;
    for (; i + 4 * W <= n; i += 4 * W) {
        const V v0 = VLOAD(x + i), v1 = VLOAD(x + i + W), v2 = VLOAD(x + i + 2 * W),
                v3 = VLOAD(x + i + 3 * W);
        a0 = JOIN(a0, v0);
        a1 = JOIN(a1, v1);
        a2 = JOIN(a2, v2);
        a3 = JOIN(a3, v3);
    }
    for (; i + W <= n; i += W) {
        const V v0 = VLOAD(x + i);
        a0 = JOIN(a0, v0);
    }
    a0 = JOIN(a0, a1);
    a2 = JOIN(a2, a3);
    a0 = JOIN(a0, a2);
    float s = n >= W ? lanes(a0) : (float)START;
    for (; i < n; i++)
        s = JOIN(s, x[i]);
    return s;
}

/* The contiguous axis is reduced. Item (g, p): outputs g*outs.. and part p of the reduced
 * positions; parts cut the rows (outer reduced positions) or, where there is one row, its columns.
 * y: [parts][n_keep]. */
__kernel void reduce_rows_solo(__global const float *x, ulong x_at, __global float *y, ulong y_at,
                               FOLD_PARAMS, int outs, int rows_per, int cols_per, int divisor)
{
    const int p = (int)get_global_id(1), o1 = min(n_keep, (int)(get_global_id(0) + 1) * outs);
    const int n_rows = n_red / r2;
    const int row0 = min(n_rows, n_rows > 1 ? p * rows_per : 0),
              row1 = min(n_rows, row0 + rows_per);
    const int col0 = min(r2, n_rows > 1 ? 0 : p * cols_per), cols = min(r2 - col0, cols_per);
    x += x_at + (ulong)col0;
    y += y_at + (ulong)p * (ulong)n_keep;
    for (int o = (int)get_global_id(0) * outs; o < o1; o++) {
        const int at = FOLD_KEEP(o);
        float acc = START, block = START;
        for (int r = row0; r < row1; r++) {
            const float s = run(x + at + r / r1 * rs0 + r % r1 * rs1, cols);
            block = JOIN(block, s);
            if (((r - row0) & 31) == 31) {
                acc = JOIN(acc, block);
                block = START;
            }
        }
        acc = JOIN(acc, block);
        y[o] = acc / (float)divisor;
    }
}

/* Fewer columns than lanes and rows without gaps: W rows are `cols` whole vectors, whose lanes are
 * sorted by column at the end. */
void few_cols(__global const float *x, int rows, int cols, __global float *y, int divisor)
{
    V acc[W];
    float lane[W], sum[W];
    for (int j = 0; j < cols; j++) {
        acc[j] = (V)(START);
        sum[j] = START;
    }
    int r = 0;
    for (; r + W <= rows; r += W, x += W * cols)
        for (int j = 0; j < cols; j++)
            acc[j] = JOIN(acc[j], VLOAD(x + j * W));
    for (int j = 0; j < cols; j++) {
        VSTORE(acc[j], lane);
        for (int i = 0; i < W; i++)
            sum[(j * W + i) % cols] = JOIN(sum[(j * W + i) % cols], lane[i]);
    }
    for (; r < rows; r++, x += cols)
        for (int j = 0; j < cols; j++)
            sum[j] = JOIN(sum[j], x[j]);
    for (int j = 0; j < cols; j++)
        y[j] = sum[j] / (float)divisor;
}

/* The contiguous axis is kept. Item (c, j, p): columns c*4W.. of outer kept position j, part p of
 * the reduced positions. y: [parts][n_keep]. */
__kernel void reduce_cols_solo(__global const float *x, ulong x_at, __global float *y, ulong y_at,
                               FOLD_PARAMS, int per, int divisor)
{
    const int col0 = (int)get_global_id(0) * 4 * W, j = (int)get_global_id(1),
              p = (int)get_global_id(2);
    const int i0 = min(n_red, p * per), i1 = min(n_red, i0 + per), cols = min(4 * W, k2 - col0);
    x += x_at + (ulong)(j / k1 * ks0 + j % k1 * ks1 + col0);
    y += y_at + (ulong)p * (ulong)n_keep + (ulong)(j * k2 + col0);
    int c = 0;
    if (k2 < W && n_red == r2 && rs2 == k2) {
        few_cols(x + i0 * k2, i1 - i0, k2, y, divisor);
        return;
    }
    if (cols == 4 * W) {
        V s0 = (V)(START), s1 = s0, s2 = s0, s3 = s0;
        for (int b = i0; b < i1; b += 64) {
            V a0 = (V)(START), a1 = a0, a2 = a0, a3 = a0;
            for (int i = b; i < min(i1, b + 64); i++) {
                __global const float *v = x + FOLD_RED(i);
                a0 = JOIN(a0, VLOAD(v));
                a1 = JOIN(a1, VLOAD(v + W));
                a2 = JOIN(a2, VLOAD(v + 2 * W));
                a3 = JOIN(a3, VLOAD(v + 3 * W));
            }
            s0 = JOIN(s0, a0);
            s1 = JOIN(s1, a1);
            s2 = JOIN(s2, a2);
            s3 = JOIN(s3, a3);
        }
        VSTORE(s0 / (float)divisor, y);
        VSTORE(s1 / (float)divisor, y + W);
        VSTORE(s2 / (float)divisor, y + 2 * W);
        VSTORE(s3 / (float)divisor, y + 3 * W);
        return;
    }
    for (; c + W <= cols; c += W) {
        V s = (V)(START);
        for (int b = i0; b < i1; b += 64) {
            V a = (V)(START);
            for (int i = b; i < min(i1, b + 64); i++)
                a = JOIN(a, VLOAD(x + FOLD_RED(i) + c));
            s = JOIN(s, a);
        }
        VSTORE(s / (float)divisor, y + c);
    }
    for (; c < cols; c++) {
        float s = START;
        for (int b = i0; b < i1; b += 64) {
            float a = START;
            for (int i = b; i < min(i1, b + 64); i++)
                a = JOIN(a, x[FOLD_RED(i) + c]);
            s = JOIN(s, a);
        }
        y[c] = s / (float)divisor;
    }
}

/* Every reduced position of y receives x's kept one, divided. Item g: rows g*rows.. of y, a row
 * being a run of the contiguous axis, which is constant where that axis is the reduced one
 * (inner_red), else a run of x. */
__kernel void broadcast_solo(__global const float *x, ulong x_at, __global float *y, ulong y_at,
                             FOLD_PARAMS, int rows, int n_rows, int run_len, int inner_red,
                             int divisor)
{
    const int last = min(n_rows, (int)(get_global_id(0) + 1) * rows);
    const float scale = (float)divisor;
    x += x_at;
    y += y_at;
    for (int row = (int)get_global_id(0) * rows; row < last; row++) {
        /* y's axes from outer to inner: k0 r0 k1 r1 k2 | r2, or r0 k0 r1 k1 r2 | k2 */
        int from, i;
        if (inner_red) {
            const int b = row / k2 / r1;
            from = (b / k1 / (n_red / r1 / r2) * k1 + b % k1) * k2 + row % k2;
        } else {
            const int b = row / r2 / k1;
            from = (b / r1 % (n_keep / k1 / k2) * k1 + row / r2 % k1) * k2;
        }
        __global float *to = y + row * run_len;
        if (inner_red) {
            const float v = x[from] / scale;
            for (i = 0; i + W <= run_len; i += W)
                VSTORE((V)(v), to + i);
            for (; i < run_len; i++)
                to[i] = v;
        } else {
            for (i = 0; i + W <= run_len; i += W)
                VSTORE(VLOAD(x + from + i) / scale, to + i);
            for (; i < run_len; i++)
                to[i] = x[from + i] / scale;
        }
    }
}
