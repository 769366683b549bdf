/* The table of ops. The choice among an op's variants is choose.c's. */
#include "ops/eltwise.h"
#include "ops/op.h"

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
