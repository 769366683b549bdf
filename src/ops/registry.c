/* The table of ops, and the choice among an op's variants. */
#include "ops/eltwise.h"
#include "ops/op.h"

#include <stdlib.h>
#include <string.h>

static const kl__op *const table[] = {
#define KL_OP(n) &kl__op_##n,
#include "ops/ops.def"
#undef KL_OP
};

size_t kl__op_count(void)
{
    return sizeof table / sizeof *table;
}

const kl__op *kl__op_at(size_t i)
{
    return table[i];
}

const kl__op *kl__op_find(const char *name)
{
    for (size_t i = 0; i < kl__op_count(); i++)
        if (!strcmp(table[i]->name, name))
            return table[i];
    return NULL;
}

const kl__variant *kl__op_variants(const kl__op *op)
{
    return op->flags & KL__OP_ELEMENTWISE && !op->variants ? kl__eltwise_variants : op->variants;
}

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

static bool fits(const kl__variant *v, const kl__apply *a, const kl__caps *caps)
{
    const kl__apply *epi = a->epilogue.apply;
    return (!v->fits || v->fits(a, caps)) && (!epi || (v->epilogue && v->epilogue(a, epi)));
}

kl_status kl__choose_variant(kl__apply *a, const kl__caps *caps, const char *force)
{
    const kl__variant *v = kl__op_variants(a->op);
    size_t n = 0;
    const char *want = forced(force ? force : getenv("KILN_VARIANT"), a->op->name, &n);
    if (a->op->flags & (KL__OP_LEAF | KL__OP_VIEW))
        return KL_OK;
    for (; v && v->name; v++) {
        if (want && (strlen(v->name) != n || strncmp(v->name, want, n) != 0))
            continue;
        if (fits(v, a, caps) && (want || !v->pays || v->pays(a, caps))) {
            a->variant = v;
            return KL_OK;
        }
    }
    /* "*:solo" asks for solo where there is one */
    if (want && want[-1] == ':' && want[-2] == '*') {
        for (v = kl__op_variants(a->op); v && v->name; v++)
            if (fits(v, a, caps) && (!v->pays || v->pays(a, caps))) {
                a->variant = v;
                return KL_OK;
            }
    }
    if (want)
        return kl__fail(KL_E_UNSUPPORTED,
                        "%s \"%s\": the variant \"%.*s\" that was asked for does not fit here",
                        a->op->name, a->name, (int)n, want);
    return kl__fail(KL_E_UNSUPPORTED, "%s \"%s\": no way to compute it on %s", a->op->name, a->name,
                    caps->info.name);
}
