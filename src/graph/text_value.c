/* One attribute as text, from its table's line. Numbers are the shortest that read back to the same
 * bits. */
#include "graph/text.h"

#include <string.h>

const char *const kl__init_words[] = {
    "default",       "zeros",          "ones",         "constant",     "uniform",
    "normal",        "trunc_normal",   "he_normal",    "he_uniform",   "he_trunc",
    "glorot_normal", "glorot_uniform", "glorot_trunc", "lecun_normal", "lecun_uniform",
    "lecun_trunc",   "torch",          NULL,
};

void kl__init_numbers(kl_init_kind kind, int *least, int *most)
{
    bool two = kind == KL_INIT_NORMAL || kind == KL_INIT_TRUNC_NORMAL;
    *least = kind == KL_INIT_CONSTANT ? 1 : kind == KL_INIT_UNIFORM ? 2 : 0;
    *most = two ? 2 : *least;
}

static bool known_init(const kl_init *i)
{
    return (int)i->kind >= 0 && i->kind <= KL_INIT_TORCH;
}

bool kl__init_equal(const kl_init *a, const kl_init *b)
{
    int least, most;
    if (a->kind != b->kind || a->fan_in != b->fan_in || a->fan_out != b->fan_out)
        return false;
    kl__init_numbers(a->kind, &least, &most);
    return (most < 1 || !memcmp(&a->a, &b->a, sizeof a->a)) &&
           (most < 2 || !memcmp(&a->b, &b->b, sizeof a->b));
}

/* ---- fields ------------------------------------------------------------------------------ */
static const char *field(const kl__attr *t, const void *attrs)
{
    return (const char *)attrs + t->offset;
}

static int get_int(const kl__attr *t, const void *attrs, int i)
{
    int v;
    memcpy(&v, field(t, attrs) + (size_t)i * sizeof v, sizeof v);
    return v;
}

static float get_float(const kl__attr *t, const void *attrs)
{
    float v;
    memcpy(&v, field(t, attrs), sizeof v);
    return v;
}

static kl_shape get_shape(const kl__attr *t, const void *attrs)
{
    kl_shape s;
    memcpy(&s, field(t, attrs), sizeof s);
    s.n_dims = s.n_dims < 0 ? 0 : s.n_dims > KL_MAX_DIMS ? KL_MAX_DIMS : s.n_dims;
    return s;
}

static bool get_bool(const kl__attr *t, const void *attrs)
{
    return *field(t, attrs) != 0;
}

static kl_pad get_pad(const kl__attr *t, const void *attrs)
{
    kl_pad p;
    memcpy(&p, field(t, attrs), sizeof p);
    if (p.mode != KL_PAD_EXPLICIT)
        p.top = p.left = p.bottom = p.right = 0;
    return p;
}

static kl_floats get_floats(const kl__attr *t, const void *attrs)
{
    kl_floats f;
    memcpy(&f, field(t, attrs), sizeof f);
    if (f.n < 0 || !f.v)
        f.n = 0;
    return f;
}

static kl_init get_init(const kl__attr *t, const void *attrs)
{
    kl_init i;
    memcpy(&i, field(t, attrs), sizeof i);
    return i;
}

static const char *get_text(const kl__attr *t, const void *attrs)
{
    const char *s;
    memcpy(&s, field(t, attrs), sizeof s);
    return s;
}

static size_t field_bytes(const kl__attr *t)
{
    switch (t->type) {
    case KL__ATTR_INT:
    case KL__ATTR_ENUM:
        return sizeof(int);
    case KL__ATTR_FLOAT:
        return sizeof(float);
    case KL__ATTR_BOOL:
        return sizeof(bool);
    case KL__ATTR_INTS:
        return (size_t)t->count * sizeof(int);
    case KL__ATTR_SHAPE:
    case KL__ATTR_AXES:
        return sizeof(kl_shape);
    case KL__ATTR_PAD:
        return sizeof(kl_pad);
    case KL__ATTR_FLOATS:
        return sizeof(kl_floats);
    case KL__ATTR_INIT:
        return sizeof(kl_init);
    case KL__ATTR_TEXT:
    case KL__ATTR_NAME:
        break;
    }
    return sizeof(const char *);
}

void kl__attr_clear(const kl__attr *t, void *attrs)
{
    memset((char *)attrs + t->offset, 0, field_bytes(t));
}

bool kl__attr_unset(const kl__attr *t, const void *attrs)
{
    switch (t->type) {
    case KL__ATTR_INT:
    case KL__ATTR_ENUM:
        return get_int(t, attrs, 0) == 0;
    case KL__ATTR_FLOAT:
        return get_float(t, attrs) == 0;
    case KL__ATTR_BOOL:
        return !get_bool(t, attrs);
    case KL__ATTR_INTS:
        for (int i = 0; i < t->count; i++)
            if (get_int(t, attrs, i))
                return false;
        return true;
    case KL__ATTR_SHAPE:
    case KL__ATTR_AXES:
        return get_shape(t, attrs).n_dims == 0;
    case KL__ATTR_PAD: {
        kl_pad p = get_pad(t, attrs);
        return p.mode == KL_PAD_EXPLICIT && !p.top && !p.left && !p.bottom && !p.right;
    }
    case KL__ATTR_FLOATS:
        return get_floats(t, attrs).n == 0;
    case KL__ATTR_INIT: {
        kl_init i = get_init(t, attrs);
        return i.kind == KL_INIT_DEFAULT && !i.fan_in && !i.fan_out;
    }
    case KL__ATTR_TEXT:
        return !get_text(t, attrs);
    case KL__ATTR_NAME:
        break;
    }
    return true;
}

static bool equal_numbers(const kl__attr *t, const void *a, const void *b, bool raw)
{
    if (t->type == KL__ATTR_FLOAT) {
        float x = get_float(t, a), y = get_float(t, b);
        if (raw) {
            x = kl__opt_f(x, (float)t->dflt);
            y = kl__opt_f(y, (float)t->dflt);
        }
        return x == y || (x != x && y != y);
    }
    for (int i = 0; i < (t->type == KL__ATTR_INTS ? t->count : 1); i++) {
        int x = get_int(t, a, i), y = get_int(t, b, i);
        if (raw && t->type == KL__ATTR_INT) {
            x = kl__opt_i(x, (int)t->dflt);
            y = kl__opt_i(y, (int)t->dflt);
        }
        if (x != y)
            return false;
    }
    return true;
}

bool kl__attr_equal(const kl__attr *t, const void *a, const void *b, bool raw)
{
    switch (t->type) {
    case KL__ATTR_INT:
    case KL__ATTR_ENUM:
    case KL__ATTR_FLOAT:
    case KL__ATTR_INTS:
        return equal_numbers(t, a, b, raw);
    case KL__ATTR_BOOL:
        return get_bool(t, a) == get_bool(t, b);
    case KL__ATTR_SHAPE:
    case KL__ATTR_AXES:
        return kl_shape_equal(get_shape(t, a), get_shape(t, b));
    case KL__ATTR_PAD: {
        kl_pad x = get_pad(t, a), y = get_pad(t, b);
        return x.mode == y.mode && x.top == y.top && x.left == y.left && x.bottom == y.bottom &&
               x.right == y.right;
    }
    case KL__ATTR_FLOATS: {
        kl_floats x = get_floats(t, a), y = get_floats(t, b);
        return x.n == y.n && (!x.n || !memcmp(x.v, y.v, (size_t)x.n * sizeof *x.v));
    }
    case KL__ATTR_INIT: {
        kl_init x = get_init(t, a), y = get_init(t, b);
        return kl__init_equal(&x, &y);
    }
    case KL__ATTR_TEXT: {
        const char *x = get_text(t, a), *y = get_text(t, b);
        return x == y || (x && y && !strcmp(x, y));
    }
    case KL__ATTR_NAME:
        break;
    }
    return true;
}

/* ---- text -------------------------------------------------------------------------------- */
static bool is_word(const char *s)
{
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:-+");
    return n > 0 && n <= KL__WORD_MAX && !s[n];
}

void kl__put_quoted(kl__text *t, const char *s, bool always)
{
    if (!always && is_word(s)) {
        kl__put(t, "%s", s);
        return;
    }
    kl__put_n(t, "\"", 1);
    for (; *s; s++) {
        if ((unsigned char)*s < 32 || *s == 127)
            kl__put(t, "\\x%02x", (unsigned)(unsigned char)*s);
        else
            kl__put(t, *s == '"' || *s == '\\' ? "\\%c" : "%c", *s);
    }
    kl__put_n(t, "\"", 1);
}

static void put_shape(kl__text *t, kl_shape s, bool batch)
{
    kl__put(t, "[");
    for (int i = 0; i < s.n_dims; i++) {
        kl__put(t, i ? "," : "");
        if (batch && s.dim[i] == KL_BATCH)
            kl__put(t, "N");
        else
            kl__put(t, "%lld", (long long)s.dim[i]);
    }
    kl__put(t, "]");
}

/** One number where it stands for all, else a list without the zeros at its end. */
static void put_ints(kl__text *t, const kl__attr *a, const void *attrs)
{
    int n = a->count;
    bool same = true;
    for (int i = 1; i < a->count; i++)
        same = same && get_int(a, attrs, i) == get_int(a, attrs, 0);
    if (same) {
        kl__put(t, "%d", get_int(a, attrs, 0));
        return;
    }
    while (n > 1 && !get_int(a, attrs, n - 1))
        n--;
    kl__put(t, "[");
    for (int i = 0; i < n; i++)
        kl__put(t, i ? ",%d" : "%d", get_int(a, attrs, i));
    kl__put(t, "]");
}

static void put_pad(kl__text *t, kl_pad p)
{
    if (p.mode != KL_PAD_EXPLICIT)
        kl__put(t, "%s",
                p.mode == KL_PAD_SAME         ? "same"
                : p.mode == KL_PAD_SAME_LOWER ? "same_lower"
                                              : "valid");
    else if (p.top == p.left && p.top == p.bottom && p.top == p.right)
        kl__put(t, "%d", p.top);
    else
        kl__put(t, "[%d,%d,%d,%d]", p.top, p.left, p.bottom, p.right);
}

static void put_init(kl__text *t, kl_init i)
{
    int least, most, n = 0;
    if (!known_init(&i)) {
        kl__put(t, "%d", (int)i.kind); /* refused by the parser, as by the model */
        return;
    }
    kl__init_numbers(i.kind, &least, &most);
    kl__put(t, "%s", kl__init_words[i.kind]);
    if (most > least && (i.a != 0 || i.b != 0))
        least = most;
    if (least > 0)
        kl__put(t, n++ ? "," : "("), kl__put_float(t, i.a);
    if (least > 1)
        kl__put(t, n++ ? "," : "("), kl__put_float(t, i.b);
    if (i.fan_in)
        kl__put(t, "%sfan_in=%d", n++ ? "," : "(", i.fan_in);
    if (i.fan_out)
        kl__put(t, "%sfan_out=%d", n++ ? "," : "(", i.fan_out);
    kl__put(t, n ? ")" : "");
}

static void put_enum(kl__text *t, const kl__attr *a, int v)
{
    int n = 0;
    while (a->words && a->words[n])
        n++;
    if (v >= 0 && v < n)
        kl__put(t, "%s", a->words[v]);
    else
        kl__put(t, "%d", v);
}

static void put_number(kl__text *t, const kl__attr *a, const void *attrs)
{
    if (a->type == KL__ATTR_INT) {
        int v = get_int(a, attrs, 0);
        kl__put(t, "%d", v == KL_NONE ? 0 : v);
    } else {
        float v = get_float(a, attrs);
        kl__put_float(t, v == (float)KL_NONE ? 0 : v);
    }
}

void kl__put_attr(kl__text *t, const kl__attr *a, const void *attrs)
{
    kl__put(t, "%s=", a->name);
    switch (a->type) {
    case KL__ATTR_INT:
    case KL__ATTR_FLOAT:
        put_number(t, a, attrs);
        break;
    case KL__ATTR_BOOL:
        kl__put(t, get_bool(a, attrs) ? "true" : "false");
        break;
    case KL__ATTR_ENUM:
        put_enum(t, a, get_int(a, attrs, 0));
        break;
    case KL__ATTR_INTS:
        put_ints(t, a, attrs);
        break;
    case KL__ATTR_SHAPE:
        put_shape(t, get_shape(a, attrs), true);
        break;
    case KL__ATTR_AXES:
        put_shape(t, get_shape(a, attrs), false);
        break;
    case KL__ATTR_PAD:
        put_pad(t, get_pad(a, attrs));
        break;
    case KL__ATTR_FLOATS: {
        kl_floats f = get_floats(a, attrs);
        kl__put(t, "[");
        for (int i = 0; i < f.n; i++)
            kl__put(t, i ? "," : ""), kl__put_float(t, f.v[i]);
        kl__put(t, "]");
        break;
    }
    case KL__ATTR_INIT:
        put_init(t, get_init(a, attrs));
        break;
    case KL__ATTR_TEXT:
        kl__put_quoted(t, get_text(a, attrs), true);
        break;
    case KL__ATTR_NAME:
        break;
    }
}
