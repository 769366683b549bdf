/* Strided copies: merging of axes, and the choice among runs, tiles and single elements. */
#include "ops/copy_nd.h"

#include <string.h>

enum {
    TILE = 16,               /* side of transpose_coop's tile */
    CHUNK_BYTES = 128 * 1024 /* what one SOLO work-item moves: long against its start, short against
                                a core's share */
};

void kl__strides(kl_shape s, int64_t stride[KL_MAX_DIMS])
{
    int64_t n = 1;
    for (int i = s.n_dims - 1; i >= 0; i--) {
        stride[i] = n;
        n *= s.dim[i];
    }
}

void kl__copy_merge(kl__copy_nd *c)
{
    int n = 0;
    for (int i = 0; i < c->n_dims; i++) {
        if (c->dim[i] == 1)
            continue;
        bool joins = n > 0 && c->from[n - 1] == c->from[i] * c->dim[i] &&
                     c->to[n - 1] == c->to[i] * c->dim[i];
        int at = joins ? n - 1 : n++;
        c->dim[at] = joins ? c->dim[at] * c->dim[i] : c->dim[i];
        c->from[at] = c->from[i];
        c->to[at] = c->to[i];
    }
    c->n_dims = n;
}

const char *kl__elem_word(uint32_t bytes)
{
    return bytes == 1 ? "uchar" : bytes == 2 ? "ushort" : bytes == 4 ? "uint" : "ulong";
}

bool kl__copy_solo_fits(const kl__apply *a, const kl__caps *caps)
{
    (void)a;
    return caps->solo;
}

bool kl__copy_swap(const kl__copy_nd *c, int *m, int *n)
{
    *m = c->n_dims - 1;
    *n = -1;
    for (int i = 0; i < c->n_dims - 1; i++)
        if (c->from[i] == 1)
            *n = i;
    return *n >= 0 && c->to[*m] == 1;
}

/** The axes of `c` without two, at the end of `count` places; the places before are of 1. */
static void outer_axes(const kl__copy_nd *c, int skip_a, int skip_b, int count, int64_t dim[6],
                       int64_t from[6], int64_t to[6])
{
    int at = count;
    for (int i = c->n_dims - 1; i >= 0; i--)
        if (i != skip_a && i != skip_b) {
            at--;
            dim[at] = c->dim[i];
            from[at] = c->from[i];
            to[at] = c->to[i];
        }
    while (at-- > 0) {
        dim[at] = 1;
        from[at] = to[at] = 0;
    }
}

/** Extents (but the first: it is what is left), then strides of both sides. */
static void axes_args(kl__launch *l, int count, const int64_t *dim, const int64_t *from,
                      const int64_t *to)
{
    for (int i = 1; i < count; i++)
        kl__launch_arg(l, kl__arg_i32(dim[i]));
    for (int i = 0; i < count; i++)
        kl__launch_arg(l, kl__arg_i32(from[i]));
    for (int i = 0; i < count; i++)
        kl__launch_arg(l, kl__arg_i32(to[i]));
}

static kl_status emit_runs(kl__emit *e, const kl__apply *a, kl__arg src, kl__arg dst,
                           const kl__copy_nd *c, kl__defs *d)
{
    int64_t dim[6], from[6], to[6], rows = 1, run = c->n_dims ? c->dim[c->n_dims - 1] : 1;
    outer_axes(c, c->n_dims - 1, -1, 5, dim, from, to);
    for (int i = 0; i < 5; i++)
        rows *= dim[i];
    int64_t most = CHUNK_BYTES / (int64_t)src.elem, piece = run < most ? run : most;
    int64_t per = most / piece < rows ? most / piece : rows;
    kl__def_int(d, "V", e->caps->vector);
    kl__launch l = kl__launch_of("copy_nd.cl", "copy_nd_solo", d);
    kl__launch_arg(&l, src);
    kl__launch_arg(&l, dst);
    kl__launch_arg(&l, kl__arg_i32(rows));
    kl__launch_arg(&l, kl__arg_i32(per));
    kl__launch_arg(&l, kl__arg_i32(run));
    kl__launch_arg(&l, kl__arg_i32(piece));
    axes_args(&l, 5, dim, from, to);
    kl__launch_solo(&l, 2, (size_t)((run + piece - 1) / piece), (size_t)((rows + per - 1) / per),
                    1);
    return kl__emit_launch(e, a, &l);
}

static kl_status emit_elements(kl__emit *e, const kl__apply *a, kl__arg src, kl__arg dst,
                               const kl__copy_nd *c, kl__defs *d)
{
    int64_t dim[6], from[6], to[6], n = 1;
    outer_axes(c, -1, -1, 6, dim, from, to);
    for (int i = 0; i < 6; i++)
        n *= dim[i];
    kl__launch l = kl__launch_of("copy_nd.cl", "copy_nd_ref", d);
    kl__launch_arg(&l, src);
    kl__launch_arg(&l, dst);
    kl__launch_arg(&l, kl__arg_i32(n));
    axes_args(&l, 6, dim, from, to);
    kl__launch_1d(&l, e, (size_t)n);
    return kl__emit_launch(e, a, &l);
}

static kl_status swap_launch(kl__emit *e, const kl__apply *a, kl__arg src, kl__arg dst,
                             const kl__copy_nd *c, int m, int n, bool solo, kl__defs *d)
{
    int64_t dim[6], from[6], to[6], outer = 1, piece = 4096;
    outer_axes(c, m, n, 4, dim, from, to);
    for (int i = 0; i < 4; i++)
        outer *= dim[i];
    int tile = solo ? e->caps->vector : TILE;
    kl__def_int(d, solo ? "V" : "TILE", tile);
    kl__launch l = kl__launch_of("transpose.cl", solo ? "transpose_solo" : "transpose_coop", d);
    kl__launch_arg(&l, src);
    kl__launch_arg(&l, dst);
    kl__launch_arg(&l, kl__arg_i32(c->dim[m]));
    kl__launch_arg(&l, kl__arg_i32(c->dim[n]));
    kl__launch_arg(&l, kl__arg_i32(c->from[m]));
    kl__launch_arg(&l, kl__arg_i32(c->to[n]));
    if (solo)
        kl__launch_arg(&l, kl__arg_i32(piece));
    axes_args(&l, 4, dim, from, to);
    size_t m_tiles = (size_t)((c->dim[m] + tile - 1) / tile),
           n_tiles = (size_t)((c->dim[n] + tile - 1) / tile);
    if (solo) {
        kl__launch_solo(&l, 3, m_tiles, (size_t)((c->dim[n] + piece - 1) / piece), (size_t)outer);
    } else {
        l.dims = 3;
        l.global[0] = n_tiles * TILE;
        l.global[1] = m_tiles * TILE;
        l.global[2] = (size_t)outer;
        l.local[0] = l.local[1] = TILE;
        l.local[2] = 1;
        l.local_bytes = TILE * (TILE + 1) * src.elem;
    }
    return kl__emit_launch(e, a, &l);
}

kl_status kl__emit_swap(kl__emit *e, const kl__apply *a, kl__arg src, kl__arg dst,
                        const kl__copy_nd *c, int m, int n, bool solo)
{
    kl__defs d = {0};
    kl__def_word(&d, "E", kl__elem_word(src.elem));
    src.span.offset += (size_t)c->from_first * src.elem;
    dst.span.offset += (size_t)c->to_first * dst.elem;
    kl_status st = swap_launch(e, a, src, dst, c, m, n, solo, &d);
    kl__defs_free(&d);
    return st;
}

kl_status kl__emit_copy(kl__emit *e, const kl__apply *a, kl__arg src, kl__arg dst,
                        const kl__copy_nd *copy, bool solo)
{
    kl__copy_nd c = *copy;
    int m, n;
    for (int i = 0; i < c.n_dims; i++)
        if (c.dim[i] == 0)
            return KL_OK;
    kl__copy_merge(&c);
    bool runs = c.n_dims == 0 || (c.from[c.n_dims - 1] == 1 && c.to[c.n_dims - 1] == 1);
    if (solo && !runs && kl__copy_swap(&c, &m, &n))
        return kl__emit_swap(e, a, src, dst, &c, m, n, true);
    kl__defs d = {0};
    kl__def_word(&d, "E", kl__elem_word(src.elem));
    src.span.offset += (size_t)c.from_first * src.elem;
    dst.span.offset += (size_t)c.to_first * dst.elem;
    kl_status st =
        solo && runs ? emit_runs(e, a, src, dst, &c, &d) : emit_elements(e, a, src, dst, &c, &d);
    kl__defs_free(&d);
    return st;
}
