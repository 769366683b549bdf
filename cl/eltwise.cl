/* Element-wise kernels. The generated text before this file (src/ops/eltwise_text.c) says what an
 * element is:
 *   ELT_PARAMS                  inputs pK with offsets, float attributes aK, sizes nD, each with a
 *                               comma after it
 *   ELT_AT(i)                   ref: declares the inputs xK of element i
 *   ELT_ROW(r)                  solo: declares row pointers rK, and xK where an input is constant
 *                               in the row
 *   ELT_BLOCK_ROW               blocked: the same for `row` of `plane`
 *   ELT_LOAD(j), ELT_TAIL(j, n) solo, blocked: declare the other xK: a vector, or n elements of one
 *   ELT_BODY                    declares y, the value
 * All are bound by memory: one read per input, one write. An output may lie on an input of its own
 * shape, so nothing is `restrict`, and a vector is read before it is written. */
#include "vec.cl"

/* A fused chain gives the bits that its parts would give one by one. */
#pragma OPENCL FP_CONTRACT OFF

#ifndef ELT_PARAMS /* y = x, so that the file compiles alone */
#define ELT_PARAMS global const T *p0, ulong p0_at, int n0,
#define ELT_AT(i) const T x0 = p0[p0_at + (ulong)(i) * (n0 > 0)];
#define ELT_ROW(r) global const T *r0 = p0 + p0_at + (ulong)(r) * n0;
#define ELT_BLOCK_ROW \
    global const T *r0 = p0 + p0_at + (ulong)(plane * h + row + first + n0) * w * lanes;
#define ELT_LOAD(j) const V x0 = VLOAD(r0 + (j));
#define ELT_TAIL(j, n) const V x0 = vec_part(r0 + (j), n);
#define ELT_BODY const V y = x0;
#endif

#if defined ELT_AT && VN == 1
kernel void eltwise_ref(ELT_PARAMS global T *out, ulong out_at, uint n)
{
    const uint gid = (uint)get_global_id(0);
    if (gid >= n)
        return;
    const int i = (int)gid;
    ELT_AT(i)
    ELT_BODY
    out[out_at + (ulong)i] = y;
}
#endif

#ifdef ELT_LOAD
static void elt_part_store(V v, global T *p, int n)
{
    T part[VN];
    VSTORE(v, part);
    for (int k = 0; k < n; k++)
        p[k] = part[k];
}
#endif

#ifdef ELT_ROW
/* Rows of `inner` elements, a run in which every input has stride 0 or 1. A work-item takes
 * rows_each rows, or `segment` elements of one row. The tail goes through the same vector code, so
 * that an element's bits do not depend on its place. */
kernel void eltwise_solo(ELT_PARAMS global T *out, ulong out_at, int rows, int rows_each, int inner,
                         int segment)
{
    const int segments = (inner + segment - 1) / segment;
    const int item = (int)get_global_id(0);
    const int group = item / segments; /* / and % of one pair make LLVM freeze, which tools lack */
    const int first = (item - group * segments) * segment;
    const int end = min(inner - first, segment) + first;
    const int r_first = group * rows_each;
    const int r_end = min(rows - r_first, rows_each) + r_first;
    for (int r = r_first; r < r_end; r++) {
        global T *to = out + out_at + (ulong)r * inner;
        ELT_ROW(r)
        int j = first;
        for (; j <= end - VN; j += VN) {
            ELT_LOAD(j)
            ELT_BODY
            VSTORE(y, to + j);
        }
        if (j < end) {
            ELT_TAIL(j, end - j)
            ELT_BODY
            elt_part_store(y, to + j, end - j);
        }
    }
}
#endif

#ifdef ELT_BLOCK_ROW
static void elt_zero(global T *p, int vectors)
{
    for (int k = 0; k < vectors; k++)
        VSTORE((V)0, p + k * VN);
}

/* NCHWc, c = VN: rows of w vectors, h rows a plane, `blocks` planes a sample. Writes the zeros of
 * halo and pad lanes too. A work-item takes rows_each rows of the output with its halo, `rows` in
 * all; rows above h and vectors left and right of w are halo, `height` rows a plane in storage. */
kernel void eltwise_blocked(ELT_PARAMS global T *out, ulong out_at, int rows, int rows_each, int h,
                            int w, int blocks, int channels, int height, int top, int left,
                            int right)
{
    const int width = left + w + right;
    const int r_first = (int)get_global_id(0) * rows_each;
    const int r_end = min(rows - r_first, rows_each) + r_first;
    for (int r = r_first; r < r_end; r++) {
        global T *to = out + out_at + (ulong)r * width * VN;
        const int plane = r / height, row = r - plane * height - top;
        if (row < 0 || row >= h) {
            elt_zero(to, width);
            continue;
        }
        elt_zero(to, left);
        to += left * VN;
        const int first = (plane - plane / blocks * blocks) * VN, lanes = min(VN, channels - first);
        ELT_BLOCK_ROW
        if (lanes == VN) {
            for (int j = 0; j < w * VN; j += VN) {
                ELT_LOAD(j)
                ELT_BODY
                VSTORE(y, to + j);
            }
        } else {
            for (int j = 0; j < w * VN; j += VN) {
                ELT_LOAD(j)
                ELT_BODY
                VSTORE(vec_lanes(y, lanes), to + j);
            }
        }
        elt_zero(to + w * VN, right);
    }
}
#endif
