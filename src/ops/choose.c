/* The choice among an op's variants and their parameter sets: forced, measured before, or the first
 * that fits. */
#include "base/hash.h"
#include "device/winners.h"
#include "ops/op.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what fits ------------------------------------------------------------------------------- */
/** The apply with another parameter set, for questions to a variant. */
static kl__apply with(const kl__apply *a, const kl__candidate *c)
{
    kl__apply b = *a;
    b.variant = c->variant;
    b.config = c->config;
    return b;
}

static int configs(const kl__variant *v, const kl__apply *a, const kl__caps *caps)
{
    int n = v->configs ? v->configs(a, caps) : 1;
    return n < 1 ? 1 : n;
}

const char *kl__unfit(const kl__apply *a, const kl__caps *caps, const kl__candidate *c)
{
    const kl__variant *v = c->variant;
    const kl__apply b = with(a, c), *epi = a->epilogue.apply;
    if (v->fits && !v->fits(&b, caps))
        return !caps->solo && !strncmp(v->name, "solo", 4)
                   ? "a CPU with vectors of 4 floats or more"
               : v->needs ? v->needs
                          : "other shapes, storage or options, or another device";
    if (c->config < 0 || c->config >= configs(v, &b, caps))
        return "a parameter set that there is";
    if (epi && (!v->epilogue || !v->epilogue(&b, epi)))
        return "no element-wise work put into the op";
    return NULL;
}

static bool fits(const kl__apply *a, const kl__caps *caps, const kl__variant *v, int config)
{
    return !kl__unfit(a, caps, &(kl__candidate){v, config});
}

static bool pays(const kl__apply *a, const kl__caps *caps, const kl__variant *v)
{
    return !v->pays || v->pays(a, caps);
}

const char *kl__candidate_name(const kl__candidate *c, char buf[KL__CANDIDATE_NAME])
{
    if (c->config)
        snprintf(buf, KL__CANDIDATE_NAME, "%.20s@%d", c->variant->name, c->config);
    else
        snprintf(buf, KL__CANDIDATE_NAME, "%.20s", c->variant->name);
    return buf;
}

/** On devices of the SOLO kind ref is the plain form for checks, and what was made for GPUs reaches
 * a few percent of solo; neither is worth the time that it takes to compile. */
static bool hopeless(const kl__variant *v, const kl__caps *caps)
{
    return caps->solo && (!strcmp(v->name, "ref") || !strncmp(v->name, "coop", 4));
}

int kl__candidates(const kl__apply *a, const kl__caps *caps, kl__candidate out[KL__MAX_CANDIDATES])
{
    const kl__variant *all = kl__op_variants(a->op);
    int n = 0;
    for (int late = 0; late < 2; late++) { /* what is likely slower comes last */
        bool more = true;
        for (int config = 0; more && n < KL__MAX_CANDIDATES; config++) {
            more = false;
            for (const kl__variant *v = all; v && v->name && n < KL__MAX_CANDIDATES; v++) {
                kl__apply b = with(a, &(kl__candidate){v, config});
                if ((n > 0 && hopeless(v, caps)) || (config > 0 && !v->configs) ||
                    pays(a, caps, v) == (late == 1))
                    continue;
                more |= v->configs && config + 1 < configs(v, &b, caps);
                if (fits(a, caps, v, config))
                    out[n++] = (kl__candidate){v, config};
            }
        }
    }
    return n;
}

/* ---- the key --------------------------------------------------------------------------------- */
/** Text of any length as a word: its beginning for people, its hash. */
static void put_long(kl__text *t, const char *s)
{
    size_t n = strlen(s);
    kl__put_n(t, s, n < 24 ? n : 24);
    if (n > 24)
        kl__put(t, "#%016" PRIx64, kl__hash64(s, n, 0));
}

static void put_ints(kl__text *t, const char *at, int n)
{
    int v;
    for (int i = 0; i < n; i++) {
        memcpy(&v, at + (size_t)i * sizeof v, sizeof v);
        kl__put(t, i ? ",%d" : "%d", v);
    }
}

/** One attribute. Names, initial values and lists of numbers change no speed. */
static void put_attr(kl__text *t, const kl__attr *d, const void *attrs)
{
    const char *at = (const char *)attrs + d->offset, *s;
    kl_shape shape;
    float f;
    if (d->type == KL__ATTR_NAME || d->type == KL__ATTR_INIT || d->type == KL__ATTR_FLOATS)
        return;
    kl__put(t, " %s=", d->name);
    switch (d->type) {
    case KL__ATTR_INT:
    case KL__ATTR_ENUM:
        put_ints(t, at, 1);
        break;
    case KL__ATTR_INTS:
        put_ints(t, at, d->count);
        break;
    case KL__ATTR_PAD:
        put_ints(t, at, 5);
        break;
    case KL__ATTR_BOOL:
        kl__put(t, "%d", *at != 0);
        break;
    case KL__ATTR_FLOAT:
        memcpy(&f, at, sizeof f);
        kl__put_float(t, f);
        break;
    case KL__ATTR_SHAPE:
    case KL__ATTR_AXES:
        memcpy(&shape, at, sizeof shape);
        kl__put_shape(t, shape);
        break;
    case KL__ATTR_TEXT:
        memcpy(&s, at, sizeof s);
        put_long(t, s ? s : "");
        break;
    case KL__ATTR_FLOATS:
    case KL__ATTR_INIT:
    case KL__ATTR_NAME:
        break;
    }
}

static void put_op(kl__text *t, const kl__op *op, const void *attrs)
{
    kl__put(t, "%s", op->name);
    for (const kl__attr *d = op->attrs; attrs && d && d->name; d++)
        put_attr(t, d, attrs);
}

static void put_values(kl__text *t, kl_node *const *x, int n)
{
    static const char *const dtypes[] = {
        [KL_F32] = "", [KL_F16] = ":f16", [KL_I32] = ":i32", [KL_U8] = ":u8", [KL_F64] = ":f64"};
    for (int i = 0; i < n; i++) {
        kl__put(t, " ");
        kl__put_shape(t, x[i]->desc.shape);
        kl__put(t, "%s", dtypes[x[i]->desc.dtype]);
    }
}

void kl__put_choice_key(kl__text *t, const kl__apply *a, const kl__caps *caps)
{
    kl__candidate c[KL__MAX_CANDIDATES];
    char name[KL__CANDIDATE_NAME];
    int n = kl__candidates(a, caps, c);
    put_op(t, a->op, a->attrs);
    put_values(t, a->in, a->n_own);
    if (a->epilogue.apply) {
        kl__put(t, " then ");
        put_op(t, a->epilogue.apply->op, a->epilogue.apply->attrs);
        put_values(t, a->in + a->n_own, a->n_in - a->n_own);
    }
    kl__put(t, " ->");
    put_values(t, a->out, a->n_out);
    kl__put(t, " |");
    for (int i = 0; i < n; i++)
        kl__put(t, " %s", kl__candidate_name(&c[i], name));
}

/* ---- the choice ------------------------------------------------------------------------------ */
/** The word after "OP:" in a list like "conv2d:ref,matmul:solo"; "*:ref" is for every op. Length in
 * *n. */
static const char *forced(const char *list, const char *op, size_t *n)
{
    size_t len = strlen(op);
    for (const char *s = list; s && *s;) {
        const char *end = strchr(s, ',');
        size_t item = end ? (size_t)(end - s) : strlen(s);
        size_t skip = item > len && !strncmp(s, op, len) && s[len] == ':' ? len + 1
                      : !strncmp(s, "*:", 2)                              ? 2
                                                                          : 0;
        if (skip) {
            *n = item - skip;
            return s + skip;
        }
        s += item + (end != NULL);
    }
    return NULL;
}

/** The parameter set after "@" in the first n letters of s, 0 where none is named; *n becomes the
 * length of the variant's name. -1: no number. */
static int forced_config(const char *s, size_t *n)
{
    const char *at = memchr(s, '@', *n);
    size_t end = *n;
    int v = 0;
    if (!at)
        return 0;
    *n = (size_t)(at - s);
    if (*n + 1 == end || end - *n > 4)
        return -1;
    for (const char *d = at + 1; d < s + end; d++) {
        if (*d < '0' || *d > '9')
            return -1;
        v = v * 10 + (*d - '0');
    }
    return v;
}

static bool named(const kl__variant *v, const char *name, size_t n)
{
    return strlen(v->name) == n && !strncmp(v->name, name, n);
}

/** The variant called `name` (n letters; NULL: the first that pays) with this parameter set, where
 * it fits. */
static bool take(kl__apply *a, const kl__caps *caps, const char *name, size_t n, int config)
{
    for (const kl__variant *v = kl__op_variants(a->op); v && v->name; v++)
        if ((!name || named(v, name, n)) && fits(a, caps, v, config) &&
            (name || pays(a, caps, v))) {
            a->variant = v;
            a->config = config;
            return true;
        }
    return false;
}

/** What was measured here, where it still fits. */
static bool take_winner(kl__apply *a, const kl__caps *caps)
{
    kl__text key = {0};
    if (!caps->winners)
        return false;
    kl__put_choice_key(&key, a, caps);
    const kl__winner *w = key.failed ? NULL : kl__winners_find(caps->winners, key.s);
    kl__text_free(&key);
    if (!w)
        return false;
    size_t n = strlen(w->name);
    int config = forced_config(w->name, &n);
    return config >= 0 && take(a, caps, w->name, n, config);
}

kl_status kl__choose_variant(kl__apply *a, const kl__caps *caps, const char *force)
{
    size_t n = 0;
    const char *want = forced(force ? force : getenv("KILN_VARIANT"), a->op->name, &n);
    if (a->op->flags & (KL__OP_LEAF | KL__OP_VIEW))
        return KL_OK;
    if (!want)
        return take_winner(a, caps) || take(a, caps, NULL, 0, 0)
                   ? KL_OK
                   : kl__fail(KL_E_UNSUPPORTED, "%s \"%s\": no way to compute it on %s",
                              a->op->name, a->name, caps->info.name);
    size_t len = n;
    int config = forced_config(want, &len);
    /* "*:solo" asks for solo where there is one */
    if (take(a, caps, want, len, config) ||
        (want[-1] == ':' && want[-2] == '*' && take(a, caps, NULL, 0, 0)))
        return KL_OK;
    return kl__fail(KL_E_UNSUPPORTED,
                    "%s \"%s\": the variant \"%.*s\" that was asked for does not fit here",
                    a->op->name, a->name, (int)n, want);
}

kl__why kl__choice_why(const kl__apply *a, const kl__caps *caps, const char *force)
{
    kl__candidate c[KL__MAX_CANDIDATES];
    kl__apply b = *a;
    size_t n = 0;
    if (forced(force ? force : getenv("KILN_VARIANT"), a->op->name, &n))
        return KL__WHY_FORCED;
    if (take_winner(&b, caps))
        return KL__WHY_TUNED;
    return kl__candidates(a, caps, c) > 1 ? KL__WHY_FIRST : KL__WHY_ONLY;
}
