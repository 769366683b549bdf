/* What kernels share that give a row or a channel to a group of LS items: the largest and the sum
 * over the group, and a walk that steps through a shape without dividing. */
#ifndef KL_GROUP_COOP_CL
#define KL_GROUP_COOP_CL

#include "norm_vec.cl"

/* The largest of the group's values by VMAX2. Every item must come here. s: LS numbers. */
static inline __attribute__((unused)) T group_max(T v, local T *s)
{
    const int i = (int)get_local_id(0);
    s[i] = v;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int k = LS / 2; k > 0; k /= 2) {
        if (i < k)
            s[i] = VMAX2(s[i], s[i + k]);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    const T m = s[0];
    barrier(CLK_LOCAL_MEM_FENCE);
    return m;
}

/* Place (a, b, c) of [.., n1, n2], and what LS places further means. */
typedef struct walk {
    int a, b, c, da, db, dc;
} walk;

static inline __attribute__((unused)) walk walk_from(int i, int n1, int n2)
{
    walk w;
    w.c = i % n2;
    w.b = i / n2 % n1;
    w.a = i / n2 / n1;
    w.dc = LS % n2;
    w.db = LS / n2 % n1;
    w.da = LS / n2 / n1;
    return w;
}

static inline __attribute__((unused)) void walk_on(walk *w, int n1, int n2)
{
    w->c += w->dc;
    const int c = w->c >= n2;
    w->c -= c ? n2 : 0;
    w->b += w->db + c;
    const int b = w->b >= n1;
    w->b -= b ? n1 : 0;
    w->a += w->da + b;
}
#endif
