/* C = op(A) op(B) (+ bias), plain form: one work-item per element of C, neighbours along N. Bound
 * by loads. */
#include "common.cl"

/* A is [M,K], or [K,M] with ta; B [K,N], or [N,K] with tb; C [batch,M,N]. Sums go in blocks of 64
 * and blocks of blocks, so that a long K keeps its digits. */
__kernel void matmul_ref(__global const T *a, ulong a_at, __global const T *b, ulong b_at,
                         __global const T *bias, ulong bias_at, __global T *c, ulong c_at, int M,
                         int N, int K, int ta, int tb, int has_bias, int batch)
{
    const int id = (int)get_global_id(0);
    if (id >= batch * M * N)
        return;
    const int j = id % N, i = id / N % M, a_step = ta ? M : 1, b_step = tb ? 1 : N;
    const ulong at = (ulong)(id / N / M);
    a += a_at + at * (ulong)M * (ulong)K + (ulong)(ta ? i : i * K);
    b += b_at + at * (ulong)K * (ulong)N + (ulong)(tb ? j * K : j);
    T s0 = (T)0, s1 = (T)0, s = (T)0;
    for (int k = 0; k < K; k++) {
        s0 = fma(a[k * a_step], b[k * b_step], s0);
        if ((k & 63) == 63) {
            s1 += s0;
            s0 = (T)0;
            if ((k & 4095) == 4095) {
                s += s1;
                s1 = (T)0;
            }
        }
    }
    s += s1 + s0;
    c[c_at + (ulong)id] = has_bias ? s + bias[bias_at + (ulong)j] : s;
}
