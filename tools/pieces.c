/* How a batch is cut into pieces, and how they fall to the devices. */
#include "pieces.h"
#include "term.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_SHARDS = 256, GROUP_SHARDS = 16 };

/* ---- --shards, --micro-batch, --memory ------------------------------------------------------- */

int pieces_check(const args *a)
{
    const bool resumed = args_has(a, "resume"); /* then both are the old training's */
    const char *shards = args_text(a, "shards"), *micro = args_text(a, "micro-batch");
    const int64_t batch = args_int(a, "batch", 64);
    if (shards && micro && !resumed) {
        return fail(
            EXIT_USAGE,
            "--shards %s and --micro-batch %s both say how a batch is cut; give one of them",
            shards, micro);
    }
    if (args_has(a, "memory") && !resumed && (shards || micro)) {
        return fail(EXIT_USAGE,
                    "--memory finds out how a batch is to be cut; leave --%s out, or --memory",
                    shards ? "shards" : "micro-batch");
    }
    if (shards && args_int(a, "shards", 1) > batch) {
        return fail(EXIT_USAGE, "--shards %s: a batch has %lld samples only", shards,
                    (long long)batch);
    }
    const int64_t n = args_int(a, "micro-batch", batch);
    if (n > batch) {
        return fail(EXIT_USAGE, "--micro-batch %s: a batch has %lld samples only; see --batch",
                    micro, (long long)batch);
    }
    if ((batch + n - 1) / n > MOST_SHARDS) {
        return fail(EXIT_USAGE,
                    "--micro-batch %s: a batch of %lld would be cut into %lld pieces; at most %d "
                    "are possible",
                    micro, (long long)batch, (long long)((batch + n - 1) / n), MOST_SHARDS);
    }
    return 0;
}

static int old_shards(const char *checkpoint)
{
    char *v = kl_checkpoint_meta(checkpoint, "kiln.shards");
    const int n = v ? (int)strtol(v, NULL, 10) : 0;
    kl_free(v);
    return n;
}

/** What the options ask for; 0: they leave it to the memory. */
static int asked(const args *a, size_t n_ctx, const char *checkpoint, const kl_trainer_opts *o)
{
    const int64_t batch = args_int(a, "batch", 64), micro = args_int(a, "micro-batch", 0);
    const int old = checkpoint ? old_shards(checkpoint) : 0;
    const bool several = n_ctx > 1 || (o->exchange && o->exchange->size > 1);
    if (args_has(a, "shards")) {
        return (int)args_int(a, "shards", 1);
    }
    if (old) {
        return old;
    }
    if (micro) {
        return (int)((batch + micro - 1) / micro);
    }
    return args_has(a, "memory") ? 0
           : !several             ? 1
           : batch < GROUP_SHARDS ? (int)batch
                                  : GROUP_SHARDS;
}

static char *describe(const args *a, const kl_micro *m, const group *g)
{
    const long long batch = (long long)args_int(a, "batch", 64);
    number need, limit;
    bytes_text(need, (double)m->bytes);
    bytes_text(limit, (double)args_bytes(a, "memory"));
    char *cut = m->shards == 1 ? must_print("batch of %lld in one piece", batch)
                               : must_print("batch of %lld in %d micro-batches of %s%lld", batch,
                                            m->shards, batch % m->shards ? "at most " : "",
                                            (long long)m->micro_batch);
    char *text = args_has(a, "memory")
                     ? must_print("%s: %s of %s on %s", cut, need, limit,
                                  g->n == 1 ? g->info[0].name : "each device")
                     : must_print("%s: %s on %s", cut, need,
                                  g->n == 1 ? g->info[0].name : "each device");
    free(cut);
    return text;
}

static int set_int(args *a, const char *name, int64_t v)
{
    if (args_int(a, name, 0) == v) {
        return 0;
    }
    char *text = must_print("%lld", (long long)v);
    const int code = args_set(a, name, text);
    free(text);
    return code;
}

int pieces_choose(args *a, kl_model *m, const group *g, const char *loss, const char *logits,
                  const char *checkpoint, kl_trainer_opts *o, char **text)
{
    const bool told = args_has(a, "memory") || args_has(a, "micro-batch");
    o->shards = asked(a, g->n, checkpoint, o);
    *text = NULL;
    if (told) {
        kl_micro micro;
        const uint64_t memory = args_has(a, "memory") ? args_bytes(a, "memory") : UINT64_MAX;
        if (kl_trainer_fit_memory(m, g->ctx, g->n, loss, logits, o, args_int(a, "batch", 64),
                                  memory, &micro)) {
            return fail_status(KL_OK);
        }
        o->shards = micro.shards;
        *text = describe(a, &micro, g);
        const int code = set_int(a, "micro-batch", micro.micro_batch);
        if (code) {
            return code;
        }
    }
    return set_int(a, "shards", o->shards);
}

/* ---- --split --------------------------------------------------------------------------------- */

static int bad_split(const char *s)
{
    return fail(EXIT_USAGE, "--split %s: it is auto, equal, or a weight for each device, as 3:1",
                s);
}

int pieces_split(const args *a, size_t n, double **weights)
{
    const char *s = args_text(a, "split");
    const bool equal = s && !strcmp(s, "equal");
    size_t k = 0;
    *weights = NULL;
    if (!s || !strcmp(s, "auto")) {
        return 0;
    }
    double *w = must_alloc(n, sizeof *w), sum = 0;
    for (const char *p = s; !equal && p; k++) {
        char *end;
        const double v = strtod(p, &end);
        if (end == p || (*end && *end != ':') || !(v >= 0 && v < 1e9)) {
            free(w);
            return bad_split(s);
        }
        if (k < n) {
            w[k] = v;
            sum += v;
        }
        p = *end ? end + 1 : NULL;
    }
    for (size_t i = 0; equal && i < n; i++) {
        w[i] = 1;
    }
    if (!equal && (k != n || sum == 0)) {
        free(w);
        return k == n ? bad_split(s)
                      : fail(EXIT_USAGE, "--split %s has %zu weights for %zu device%s", s, k, n,
                             n == 1 ? "" : "s");
    }
    *weights = w;
    return 0;
}
