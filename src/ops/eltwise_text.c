/* Element-wise kernels as text: formulas with their names replaced, and the preludes of
 * cl/eltwise.cl. */
#include "ops/eltwise.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* ---- formulas -------------------------------------------------------------------------------- */
static size_t word_length(const char *s)
{
    size_t n = 0;
    while (isalnum((unsigned char)s[n]) || s[n] == '_')
        n++;
    return n;
}

static bool mentions(const char *formula, const char *name)
{
    size_t len = strlen(name);
    for (const char *s = formula; (s = strchr(s, '$')); s++)
        if (word_length(s + 1) == len && !strncmp(s + 1, name, len))
            return true;
    return false;
}

/** Number of $name among the formula's float attributes; -1: no such attribute. */
static int value_index(const kl__apply *a, const char *formula, const char *name, size_t len)
{
    int k = 0;
    for (const kl__attr *t = a->op->attrs; t && t->name; t++) {
        if (t->type != KL__ATTR_FLOAT)
            continue;
        if (strlen(t->name) == len && !strncmp(t->name, name, len))
            return k;
        k += mentions(formula, t->name);
    }
    return -1;
}

int kl__formula_values(const kl__apply *a, float v[KL__FUSE_VALUES])
{
    int k = 0;
    const char *formula = kl__formula(a);
    for (const kl__attr *t = a->op->attrs; t && t->name; t++)
        if (t->type == KL__ATTR_FLOAT && mentions(formula, t->name) && k < KL__FUSE_VALUES)
            memcpy(&v[k++], (const char *)a->attrs + t->offset, sizeof *v);
    return k;
}

/** True for LETTER followed by digits (and, for temporaries of fused formulas, underscores). */
static bool is_numbered(const char *s, size_t len, char letter)
{
    if (len < 2 || s[0] != letter || !isdigit((unsigned char)s[1]))
        return false;
    for (size_t i = 1; i < len; i++)
        if (!isdigit((unsigned char)s[i]) && !(letter == 't' && s[i] == '_'))
            return false;
    return true;
}

static void put_word(kl__text *t, const kl__apply *a, const kl__formula_names *names, const char *s,
                     size_t len)
{
    if (is_numbered(s, len, 'x')) {
        int i = 0;
        for (size_t k = 1; k < len && i < KL__FUSE_IN; k++)
            i = i * 10 + (s[k] - '0');
        kl__put(t, "%s", i < a->n_in ? names->x[i] : "x_out_of_range");
    } else if (is_numbered(s, len, 't')) {
        kl__put(t, "%s", names->temp);
        kl__put_n(t, s + 1, len - 1);
    } else {
        kl__put_n(t, s, len);
    }
}

static void put_range(kl__text *t, const kl__apply *a, const kl__formula_names *names,
                      const char *s, const char *end)
{
    while (s < end) {
        size_t len = word_length(s);
        if (len) {
            put_word(t, a, names, s, len);
        } else if (*s == '$') {
            len = 1 + word_length(s + 1);
            kl__put(t, "%s%d%s", names->value,
                    names->value_base + value_index(a, kl__formula(a), s + 1, len - 1),
                    names->value_end);
        } else {
            kl__put_n(t, s, len = 1);
        }
        s += len;
    }
}

void kl__formula_put(kl__text *t, const kl__apply *a, const kl__formula_names *names)
{
    const char *f = kl__formula(a), *last = strrchr(f, ';'), *result = last ? last + 1 : f;
    while (*result == ' ')
        result++;
    put_range(t, a, names, f, result);
    kl__put(t, "const V %s = ", names->result);
    put_range(t, a, names, result, f + strlen(f));
    kl__put(t, ";");
}

/* ---- what all preludes share ----------------------------------------------------------------- */
/** Pointers, float attributes, and `n_sizes` dimensions; the fixed arguments of the kernel follow.
 * `whole`: inputs that come as blocks have their storage's sizes, too. */
static void put_params(kl__text *t, const kl__apply *a, int n_sizes, unsigned whole)
{
    float v[KL__FUSE_VALUES];
    int n_values = kl__formula_values(a, v);
    kl__put(t, "#define ELT_PARAMS ");
    for (int i = 0; i < a->n_in; i++)
        kl__put(t, "global const T *p%d, ulong p%d_at, ", i, i);
    for (int i = 0; i < n_values; i++)
        kl__put(t, "float a%d, ", i);
    for (int i = 0; i < n_sizes; i++)
        kl__put(t, "int n%d, ", i);
    for (int i = 0; i < a->n_in; i++)
        if (whole >> i & 1u)
            kl__put(t, "int p%d_rows, int p%d_cols, int p%d_first, ", i, i, i);
    kl__put(t, "\n");
}

static void put_body(kl__text *t, const kl__apply *a)
{
    static const char *const x[KL__FUSE_IN] = {"x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7"};
    const kl__formula_names names = {x, "y", "t", "((V)a", ")", 0};
    kl__put(t, "#define ELT_BODY ");
    kl__formula_put(t, a, &names);
    kl__put(t, "\n");
}

/** Bit d: input i varies along dimension d. */
static unsigned dims_of(const kl__elt_space *s, int i)
{
    unsigned m = 0;
    for (int d = 0; d < s->n_dims; d++)
        m |= (s->mask[d] >> i & 1u) << d;
    return m;
}

/** Element of an input that varies along `dims`, over coordinates c0.. of the first `n_dims`
 * dimensions; `linear` names the index where it varies along all of them. */
static void put_index(kl__text *t, unsigned dims, int n_dims, const char *linear)
{
    unsigned all = (1u << n_dims) - 1;
    bool first = true;
    if ((dims & all) == all && n_dims > 0) {
        kl__put(t, "%s", linear);
        return;
    }
    int open = 0;
    for (int d = 0; d < n_dims; d++)
        open += (int)(dims >> d & 1u);
    for (int d = 1; d < open; d++)
        kl__put(t, "(");
    for (int d = 0; d < n_dims; d++) {
        if (!(dims >> d & 1u))
            continue;
        if (first)
            kl__put(t, "c%d", d);
        else
            kl__put(t, " * n%d + c%d)", d, d);
        first = false;
    }
    if (first)
        kl__put(t, "0");
}

/** Coordinates c0.. of `linear` over the first n_dims dimensions, where an input needs them. */
static void put_coordinates(kl__text *t, const kl__elt_space *s, int n_dims, const char *linear)
{
    unsigned all = (1u << n_dims) - 1;
    bool need = false;
    for (int i = 0; i < s->n_in; i++) {
        unsigned m = dims_of(s, i) & all;
        need = need || (m && m != all);
    }
    if (!need)
        return;
    kl__put(t, "const int q%d = %s; ", n_dims - 1, linear);
    for (int d = n_dims - 1; d > 0; d--)
        kl__put(t, "const int q%d = q%d / n%d, c%d = q%d - q%d * n%d; ", d - 1, d, d, d, d, d - 1,
                d);
    kl__put(t, "const int c0 = q0; ");
}

/* ---- preludes -------------------------------------------------------------------------------- */
void kl__elt_prelude_ref(kl__text *t, const kl__apply *a, const kl__elt_space *s)
{
    put_params(t, a, s->n_dims, 0);
    kl__put(t, "#define ELT_AT(i) ");
    put_coordinates(t, s, s->n_dims, "i");
    for (int k = 0; k < a->n_in; k++) {
        kl__put(t, "const T x%d = p%d[p%d_at + (ulong)(", k, k, k);
        put_index(t, dims_of(s, k), s->n_dims, "i");
        kl__put(t, ")]; ");
    }
    kl__put(t, "\n");
    put_body(t, a);
}

/** Vectors at j of a row for the inputs for which `moves` is set. */
static void put_loads(kl__text *t, int n_in, unsigned moves)
{
    kl__put(t, "#define ELT_LOAD(j) ");
    for (int i = 0; i < n_in; i++)
        if (moves >> i & 1u)
            kl__put(t, "const V x%d = VLOAD(r%d + (j)); ", i, i);
    kl__put(t, "\n#define ELT_TAIL(j, n) ");
    for (int i = 0; i < n_in; i++)
        if (moves >> i & 1u)
            kl__put(t, "const V x%d = vec_part(r%d + (j), n); ", i, i);
    kl__put(t, "\n");
}

void kl__elt_prelude_solo(kl__text *t, const kl__apply *a, const kl__elt_space *s)
{
    int outer = s->n_dims - 1;
    put_params(t, a, s->n_dims, 0);
    kl__put(t, "#define ELT_ROW(r) ");
    put_coordinates(t, s, outer, "r");
    for (int i = 0; i < a->n_in; i++) {
        bool moves = s->mask[outer] >> i & 1u;
        if (moves)
            kl__put(t, "global const T *r%d = p%d + p%d_at + (ulong)(", i, i, i);
        else
            kl__put(t, "const V x%d = (V)p%d[p%d_at + (ulong)(", i, i, i);
        put_index(t, dims_of(s, i), outer, "r");
        kl__put(t, moves ? ") * n%d; " : ")]; ", outer);
    }
    kl__put(t, "\n");
    put_loads(t, a->n_in, s->mask[outer]);
    put_body(t, a);
}

void kl__elt_prelude_blocked(kl__text *t, const kl__apply *a, const kl__elt_read *read)
{
    unsigned moves = 0;
    for (int i = 0; i < a->n_in; i++)
        moves |= (unsigned)(read[i] == KL__ELT_FULL) << i;
    put_params(t, a, 0, moves);
    kl__put(t, "#define ELT_BLOCK_ROW ");
    for (int i = 0; i < a->n_in; i++) {
        if (read[i] == KL__ELT_FULL)
            kl__put(t,
                    "global const T *r%d = p%d + p%d_at + ((ulong)(plane * p%d_rows + row) * "
                    "p%d_cols + p%d_first) * VN; ",
                    i, i, i, i, i, i);
        else if (read[i] == KL__ELT_SCALAR)
            kl__put(t, "const V x%d = (V)p%d[p%d_at]; ", i, i, i);
        else
            kl__put(t, "const V x%d = vec_part(p%d + p%d_at + %s + first, lanes); ", i, i, i,
                    read[i] == KL__ELT_CHANNEL ? "0" : "plane / blocks * channels");
    }
    kl__put(t, "\n");
    put_loads(t, a->n_in, moves);
    put_body(t, a);
}
