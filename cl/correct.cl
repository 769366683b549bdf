// correct: accuracy on the device. Reads N K logits once (memory-bound, and small beside any
// layer).
#include "common.cl"

// hit[i] = 1 where row i's first maximum is its label, 0 where not, -1 where the label is outside
// 0..k-1 (not counted). A NaN in a row is never the maximum.
kernel void correct_rows_ref(int n, int k, global const T *x, ulong x_off, global const int *label,
                             ulong label_off, global int *hit, ulong hit_off)
{
    int i = (int)get_global_id(0);
    if (i >= n)
        return;
    global const T *row = x + x_off + (ulong)i * (ulong)k;
    int best = 0, y = label[label_off + (ulong)i];
    for (int j = 1; j < k; j++)
        best = row[j] > row[best] || row[best] != row[best] ? j : best;
    hit[hit_off + (ulong)i] = y < 0 || y >= k ? -1 : best == y;
}

kernel void correct_sum_ref(int n, global const int *hit, ulong hit_off, global T *y, ulong y_off)
{
    int right = 0, counted = 0;
    for (int i = 0; i < n; i++) {
        int h = hit[hit_off + (ulong)i];
        right += h > 0;
        counted += h >= 0;
    }
    y[y_off] = (T)right;
    y[y_off + 1] = (T)counted;
}
