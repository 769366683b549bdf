/* The table of ops as applications see it. */
#include "ops/op.h"

#include "base/thread.h"

#include <kiln/inspect.h>

#include <stdio.h>
#include <string.h>

/* Made on the first call from constant tables, the same for all: the strings live as long as the
 * library. */
enum { MAX_OPS = 256, WORD_BYTES = 24576 };
static kl_op_info list[MAX_OPS];
static char words[WORD_BYTES];
static size_t n_ops, used;
static pthread_once_t made = PTHREAD_ONCE_INIT;

static void put_word(const char *word)
{
    size_t n = strlen(word);
    if (used + n + 2 > WORD_BYTES)
        return;
    memcpy(words + used, word, n);
    used += n;
    words[used++] = ' ';
}

/** Ends what was put since `from`. */
static const char *end_words(size_t from)
{
    if (used > from)
        used--;
    words[used++] = 0;
    return words + from;
}

static void make_one(const kl__op *op, kl_op_info *out)
{
    size_t from = used;
    for (const kl__attr *t = op->attrs; t && t->name; t++)
        if (t->type != KL__ATTR_NAME && (t->type != KL__ATTR_TEXT || op->flags & KL__OP_HIDDEN))
            put_word(t->name);
    const char *attrs = end_words(from);
    from = used;
    for (const kl__variant *v = kl__op_variants(op); v && v->name; v++)
        put_word(v->name);
    *out = (kl_op_info){.name = op->name,
                        .doc = op->doc ? op->doc : "",
                        .attrs = attrs,
                        .variants = end_words(from),
                        .differentiable = op->grad || op->lower,
                        .elementwise = (op->flags & KL__OP_ELEMENTWISE) != 0,
                        .hidden = (op->flags & KL__OP_HIDDEN) != 0};
}

static void make_list(void)
{
    n_ops = kl__op_count() < MAX_OPS ? kl__op_count() : MAX_OPS;
    for (size_t i = 0; i < n_ops; i++)
        make_one(kl__op_at(i), &list[i]);
}

size_t kl_op_list_count(void)
{
    pthread_once(&made, make_list);
    return n_ops;
}

kl_status kl_op_list_at(size_t i, kl_op_info *out)
{
    if (!out)
        return kl__fail(KL_E_ARG, "kl_op_list_at: out is NULL");
    if (i >= kl_op_list_count())
        return kl__fail(KL_E_ARG, "kl_op_list_at: there is no op %zu; there are %zu", i, n_ops);
    *out = list[i];
    return KL_OK;
}
