/* Lanes of a vector by group: lanes(v, j) holds in each lane channel j of the lane's group. */
#include "vec.cl"
#ifndef KL_CONV2D_LANES_CL
#define KL_CONV2D_LANES_CL

#ifndef CG /* channels of a group; divides VN */
#define CG 1
#endif
/* LANES0..: which lanes, as a vector's components: groups of 4 in 8 lanes have s00004444 first. */
#if CG > 1 && !defined(LANES0) /* the defaults are for 2 channels in 4 lanes */
#define LANES0 s0022
#define LANES1 s1133
#endif

static inline __attribute__((always_inline, unused)) V lanes(V v, int j)
{
#if CG == 1
    return v;
#else
#if CG == 8
    if (j == 7)
        return v.LANES7;
    if (j == 6)
        return v.LANES6;
    if (j == 5)
        return v.LANES5;
    if (j == 4)
        return v.LANES4;
#endif
#if CG >= 4
    if (j == 3)
        return v.LANES3;
    if (j == 2)
        return v.LANES2;
#endif
    return j == 1 ? v.LANES1 : v.LANES0;
#endif
}
#endif
