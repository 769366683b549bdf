/* Choices for people: why an op got its kernel, and what else there was. */
#include "sched/tune.h"

#include "base/mem.h"
#include "base/thread.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void put_layout(char out[32], const kl__desc *d)
{
    const kl__layout *l = &d->layout;
    const int *h = l->halo;
    if (l->kind == KL__PLAIN)
        snprintf(out, 32, "plain");
    else if (l->kind == KL__OIHWC)
        snprintf(out, 32, "oihw%d", l->block);
    else if (!h[0] && !h[1] && !h[2] && !h[3])
        snprintf(out, 32, "nchw%d", l->block);
    else if (h[0] == h[1] && h[0] == h[2] && h[0] == h[3])
        snprintf(out, 32, "nchw%d halo %d", l->block, h[0]);
    else
        snprintf(out, 32, "nchw%d halo %d,%d,%d,%d", l->block, h[0], h[1], h[2], h[3]);
}

static kl_alternative *add(kl_choice *out, const kl__candidate *c)
{
    if (out->n_alternatives == KL_MAX_ALTERNATIVES)
        return NULL;
    kl_alternative *x = &out->alternative[out->n_alternatives++];
    *x = (kl_alternative){.seconds = NAN, .error = NAN};
    kl__candidate_name(c, x->name);
    return x;
}

/** Variants that do not fit, and ref where it is not worth a try. */
static void add_others(const kl__apply *a, const kl__caps *caps, kl_choice *out)
{
    kl__candidate c[KL__MAX_CANDIDATES];
    int n = kl__candidates(a, caps, c);
    for (const kl__variant *v = kl__op_variants(a->op); v && v->name; v++) {
        const kl__candidate x = {v, 0};
        const char *why = kl__unfit(a, caps, &x);
        bool tried = false;
        for (int i = 0; i < n; i++)
            tried = tried || c[i].variant == v;
        kl_alternative *to = tried ? NULL : add(out, &x);
        if (to)
            to->why_not = why                      ? why
                          : strcmp(v->name, "ref") ? "another device: it is made for GPUs"
                                                   : "more time: it is the plain form for checks";
    }
}

static void describe(const kl__apply *a, const kl__caps *caps, const kl__work *w, kl_choice *out)
{
    kl__candidate c[KL__MAX_CANDIDATES];
    kl__text key = {0};
    int n = kl__candidates(a, caps, c);
    *out = (kl_choice){.count = 1};
    snprintf(out->layer, sizeof out->layer, "%s", a->name);
    snprintf(out->op, sizeof out->op, "%s", a->op->name);
    kl__put_choice_key(&key, a, caps);
    const char *end = key.s ? strstr(key.s, " |") : NULL;
    snprintf(out->work, sizeof out->work, "%.*s", end ? (int)(end - key.s) : 0, end ? key.s : "");
    kl__text_free(&key);
    put_layout(out->out, &a->out[0]->desc);
    if (n > 0)
        kl__candidate_name(&c[0], out->by_rule);
    for (int i = 0; i < n; i++) {
        kl_alternative *x = add(out, &c[i]);
        if (!x || !w)
            continue;
        x->seconds = w->tried[i].seconds;
        x->error = w->tried[i].error;
        x->wrong = w->tried[i].wrong;
        if (w->tried[i].failed)
            x->why_not = "a compiler that takes it, or more memory";
    }
    add_others(a, caps, out);
}

void kl__choice_of_work(const kl_tuner *t, const kl__work *w, kl_choice *out)
{
    describe(w->apply, kl__ctx_caps(t->ctx), w, out);
    out->count = w->count;
    out->complete = w->complete;
    out->why = KL_WHY_TUNED;
    kl__candidate_name(&w->tried[w->best].c, out->chosen);
}

static kl_status row(kl_tuner *t, const kl__apply *a, double end, kl_choice *out)
{
    static const kl_why whys[] = {[KL__WHY_ONLY] = KL_WHY_ONLY,
                                  [KL__WHY_FIRST] = KL_WHY_RULE,
                                  [KL__WHY_TUNED] = KL_WHY_TUNED,
                                  [KL__WHY_FORCED] = KL_WHY_FORCED};
    const kl__caps *caps = kl__ctx_caps(t->ctx);
    const kl__apply *asked = kl__before_reorders(t->graph, a);
    kl__work *w = asked ? kl__tuner_work(t, asked) : NULL;
    kl_status st = asked ? KL_OK : kl__last_status();
    if (st == KL_OK && w && !w->done && kl__now() < end)
        st = kl__tuner_measure(t, w, end);
    if (st != KL_OK)
        return st;
    describe(asked, caps, w, out);
    if (a->n_in > 0)
        put_layout(out->in, &a->in[0]->desc);
    out->complete = w && w->complete;
    out->why = whys[kl__choice_why(asked, caps, NULL)];
    kl__candidate_name(&(kl__candidate){a->variant, a->config}, out->chosen);
    return st;
}

kl_status kl_explain(kl_model *m, kl_ctx *ctx, const kl_tune_opts *opts, kl_choice **rows,
                     size_t *n)
{
    static const kl_tune_opts none;
    size_t n_prepared = 0;
    if (!m || !ctx || !rows || !n)
        return kl__fail(KL_E_ARG, "kl_explain: %s is NULL",
                        !m     ? "model"
                        : !ctx ? "context"
                        : rows ? "n"
                               : "rows");
    opts = opts ? opts : &none;
    *rows = NULL;
    *n = 0;
    bool measure = opts->seconds > 0;
    kl_status st = measure ? kl__tune_allowed(ctx) : KL_OK;
    if (st != KL_OK)
        return st;
    double end = kl__now() + opts->seconds;
    kl_graph *g = kl__tune_graph(m, ctx, opts, &n_prepared);
    kl_tuner *t = g ? kl__tuner_of(ctx, g, n_prepared, measure) : NULL;
    if (!t || !(*rows = kl__calloc(t->graph->n_applies + 1, sizeof **rows)))
        st = kl__last_status();
    for (size_t i = 0; st == KL_OK && i < t->graph->n_applies; i++) {
        const kl__apply *a = t->graph->applies[i];
        if (a->variant)
            st = row(t, a, measure ? end : 0, &(*rows)[(*n)++]);
    }
    kl_tuner_destroy(t);
    if (st != KL_OK) {
        kl__free(*rows);
        *rows = NULL;
        *n = 0;
    }
    return st;
}
