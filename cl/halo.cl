/* Zeros that a producer writes around its output, so that readers need no bounds checks. */
#include "vec.cl"
#ifndef KL_HALO_CL
#define KL_HALO_CL

/* n pixels from p on. */
static inline __attribute__((unused)) void zero_pixels(global T *p, int n)
{
    for (int i = 0; i < n; i++)
        VSTORE((V)(T)0, p + i * VN);
}

/* The halo beside rows [r0, r1) of a stored plane of H x W cells, and above the first and below the
 * last row of it. The plane's storage begins at p; (top, left, bottom, right) is its halo. */
static inline __attribute__((unused)) void zero_halo(global T *p, int H, int W, int4 halo, int r0,
                                                     int r1)
{
    int row = halo.y + W + halo.w;
    if (r0 == 0)
        zero_pixels(p, halo.x * row);
    if (r1 == H)
        zero_pixels(p + (size_t)(halo.x + H) * (size_t)row * VN, halo.z * row);
    if (halo.y + halo.w > 0)
        for (int r = r0; r < r1; r++) {
            global T *at = p + (size_t)(halo.x + r) * (size_t)row * VN;
            zero_pixels(at, halo.y);
            zero_pixels(at + (halo.y + W) * VN, halo.w);
        }
}
#endif
