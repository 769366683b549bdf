/* Position of logical (a, b, h, w) in a layout: kind 0 plain, 1 NCHWc, 2 OIHWc, 3 OIHWct
 * (tensor.h). */
static inline ulong position(int kind, int block, int4 halo, int B, int H, int W, int a, int b,
                             int h, int w)
{
    if (kind == 0)
        return (((ulong)a * B + b) * H + h) * W + w;
    int blocks = (B + block - 1) / block;
    if (kind == 1)
        return ((((ulong)a * blocks + b / block) * (halo.x + H + halo.z) + halo.x + h) *
                    (halo.y + W + halo.w) +
                halo.y + w) *
                   block +
               b % block;
    int i = kind == 3 ? a : b, o = kind == 3 ? b : a;
    return (((((ulong)(a / block) * blocks + b / block) * H + h) * W + w) * block + i % block) *
               block +
           o % block;
}
