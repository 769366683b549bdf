/* Padding and cutting of up to six axes: y[o] = x[map(o - before)] where the axis maps to itself
 * inside the input, and outside to a constant, its mirror image without the edge, or the edge.
 * Bound: memory bandwidth. */
#include "common.cl"

#ifndef E /* element type: float, double, int, uchar, f16 as ushort, its constant given as bits */
#define E float
#endif
#ifndef V /* elements per vector in the SOLO kernel */
#define V 4
#endif
#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define LOAD CAT(vload, V)
#define STORE CAT(vstore, V)
#define SPLAT(v) ((CAT(E, V))(v))

#define FILL_CONSTANT 0
#define FILL_REFLECT 1
#define FILL_EDGE 2

/* Place in the input of place i of an axis of d; -1: the constant. Reflection is of less than d. */
static inline int pad_map(int i, int d, int fill)
{
    if (i >= 0 && i < d)
        return i;
    if (fill == FILL_CONSTANT)
        return -1;
    if (fill == FILL_EDGE)
        return i < 0 ? 0 : d - 1;
    return i < 0 ? -i : 2 * (d - 1) - i;
}

/* o* output extents, d* input extents, b* amounts before. One item per output element. */
kernel void pad_ref(global const E *restrict x, ulong xo, global E *restrict y, ulong yo, int n,
                    int fill, float value, int o1, int o2, int o3, int o4, int o5, int d0, int d1,
                    int d2, int d3, int d4, int d5, int b0, int b1, int b2, int b3, int b4, int b5)
{
    int id = (int)get_global_id(0), i = id;
    if (id >= n)
        return;
    int i5 = pad_map(i % o5 - b5, d5, fill);
    i /= o5;
    int i4 = pad_map(i % o4 - b4, d4, fill);
    i /= o4;
    int i3 = pad_map(i % o3 - b3, d3, fill);
    i /= o3;
    int i2 = pad_map(i % o2 - b2, d2, fill);
    i /= o2;
    int i1 = pad_map(i % o1 - b1, d1, fill), i0 = pad_map(i / o1 - b0, d0, fill);
    y[yo + (ulong)id] =
        (i0 | i1 | i2 | i3 | i4 | i5) < 0
            ? (E)value
            : x[xo + (ulong)(((((i0 * d1 + i1) * d2 + i2) * d3 + i3) * d4 + i4) * d5 + i5)];
}

static inline void fill_run(global E *q, int n, E v)
{
    int k = 0;
    for (; k + V <= n; k += V)
        STORE(SPLAT(v), 0, q + k);
    for (; k < n; k++)
        q[k] = v;
}

/* An item: `per` rows (runs of the last axis) of the output. */
kernel void pad_solo(global const E *restrict x, ulong xo, global E *restrict y, ulong yo, int rows,
                     int per, int fill, float value, int o1, int o2, int o3, int o4, int o5, int d0,
                     int d1, int d2, int d3, int d4, int d5, int b0, int b1, int b2, int b3, int b4,
                     int b5)
{
    int r = (int)get_global_id(0) * per, end = min(r + per, rows);
    int lo = clamp(b5, 0, o5), hi = clamp(b5 + d5, lo, o5); /* the part that is copied */
    for (; r < end; r++) {
        int i = r;
        int i4 = pad_map(i % o4 - b4, d4, fill);
        i /= o4;
        int i3 = pad_map(i % o3 - b3, d3, fill);
        i /= o3;
        int i2 = pad_map(i % o2 - b2, d2, fill);
        i /= o2;
        int i1 = pad_map(i % o1 - b1, d1, fill), i0 = pad_map(i / o1 - b0, d0, fill);
        global E *restrict q = y + yo + (ulong)r * (ulong)o5;
        if ((i0 | i1 | i2 | i3 | i4) < 0) {
            fill_run(q, o5, (E)value);
            continue;
        }
        global const E *restrict p =
            x + xo + (ulong)(((((i0 * d1 + i1) * d2 + i2) * d3 + i3) * d4 + i4) * d5);
        if (fill == FILL_CONSTANT) {
            fill_run(q, lo, (E)value);
            fill_run(q + hi, o5 - hi, (E)value);
        } else {
            for (int k = 0; k < lo; k++)
                q[k] = p[pad_map(k - b5, d5, fill)];
            for (int k = hi; k < o5; k++)
                q[k] = p[pad_map(k - b5, d5, fill)];
        }
        int k = lo;
        for (; k + V <= hi; k += V)
            STORE(LOAD(0, p + k - b5), 0, q + k);
        for (; k < hi; k++)
            q[k] = p[k - b5];
    }
}

/* Gradient of reflect or edge along one axis: dx [outer,d,inner] gathers the places of dy
 * [outer,o,inner] that copied it, from low to high. One item per element of dx. */
kernel void pad_bwd_ref(global const E *restrict dy, ulong dyo, global E *restrict dx, ulong dxo,
                        int n, int fill, int d, int o, int inner, int before)
{
    int id = (int)get_global_id(0);
    if (id >= n)
        return;
    int k = id % inner, i = id / inner % d, out = id / inner / d;
    global const E *p = dy + dyo + (ulong)out * (ulong)(o * inner) + (ulong)k;
    E sum = (E)0;
    int at = i + before; /* its own copy */
    if (fill == FILL_REFLECT) {
        int left = before - i, right = before + 2 * (d - 1) - i;
        if (i > 0 && left >= 0 && left < o)
            sum += p[left * inner];
        if (at >= 0 && at < o)
            sum += p[at * inner];
        if (i < d - 1 && right >= 0 && right < o)
            sum += p[right * inner];
    } else {
        int lo = i == 0 ? 0 : at, hi = i == d - 1 ? o : at + 1;
        for (int j = max(lo, 0); j < min(hi, o); j++)
            sum += p[j * inner];
    }
    dx[dxo + (ulong)id] = sum;
}
