/* The tuner: what is wrong is thrown out, what is faster is kept for contexts to come, and no run's
 * bits depend on it. */
#include "nets.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/thread.h"
#include "sched/tune.h"
#include "support/null_cl.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char cache[128], kernels[160];

/* ---- an op whose variants are known ---------------------------------------------------------- */
static const char SOURCE[] =
    "kernel void twice(global const float *x, ulong xo, global float *y, ulong yo, int n,\n"
    "                  int work, float more)\n"
    "{\n"
    "    int i = (int)get_global_id(0);\n"
    "    if (i >= n)\n"
    "        return;\n"
    "    float v = x[xo + i];\n"
    "    for (int k = 0; k < work; k++)\n"
    "        v = v * 0.9999f + x[xo + (k + i) % n] * 1e-30f;\n"
    "    y[yo + i] = (work > 0 ? x[xo + i] * 2 + v * 1e-30f : x[xo + i] * 2) + more;\n"
    "}\n";
enum { N_FAKE = 4096, SLOW = 400 };

static kl_status fake_infer(const kl__apply *a, kl__desc *out)
{
    *out = a->in[0]->desc;
    return KL_OK;
}

static kl_status twice(kl__emit *e, const kl__apply *a, int work, float more)
{
    kl__launch l = kl__launch_of("twice.cl", "twice", NULL);
    kl__launch_arg(&l, kl__arg_in(a, 0));
    kl__launch_arg(&l, kl__arg_out(a, 0));
    kl__launch_arg(&l, kl__arg_i32(N_FAKE));
    kl__launch_arg(&l, kl__arg_i32(work));
    kl__launch_arg(&l, kl__arg_f32((double)more));
    kl__launch_1d(&l, e, N_FAKE);
    return kl__emit_launch(e, a, &l);
}

static kl_status emit_slow(kl__emit *e, const kl__apply *a)
{
    return twice(e, a, SLOW, 0);
}
static kl_status emit_fast(kl__emit *e, const kl__apply *a)
{
    return twice(e, a, a->config == 1 ? 2 * SLOW : 0, 0);
}
static kl_status emit_wrong(kl__emit *e, const kl__apply *a)
{
    return twice(e, a, 0, 0.01f);
}
static kl_status emit_broken(kl__emit *e, const kl__apply *a)
{
    (void)e;
    return kl__fail(KL_E_BUILD, "\"%s\" does not compile", a->name);
}
static int three(const kl__apply *a, const kl__caps *caps)
{
    (void)a, (void)caps;
    return 3;
}
static bool never(const kl__apply *a, const kl__caps *caps)
{
    (void)a, (void)caps;
    return false;
}
/** The second parameter set of three does not fit. */
static bool not_two(const kl__apply *a, const kl__caps *caps)
{
    (void)caps;
    return a->config != 2;
}

static const kl__variant fake_variants[] = {
    {.name = "slow", .emit = emit_slow},
    {.name = "magic", .fits = never, .needs = "a miracle", .emit = emit_fast},
    {.name = "wrong", .emit = emit_wrong},
    {.name = "fast", .fits = not_two, .configs = three, .emit = emit_fast},
    {.name = "broken", .emit = emit_broken},
    {.name = "ref", .emit = emit_slow},
    {.name = NULL},
};
static const kl__op fake = {.name = "fake",
                            .doc = "twice",
                            .min_in = 1,
                            .max_in = 1,
                            .n_out = 1,
                            .infer = fake_infer,
                            .variants = fake_variants};

static kl_graph *fake_graph(void)
{
    kl_graph *g = kl_graph_create();
    kl_node *x = kl_input(g, "x", KL_F32, (kl_shape){1, {N_FAKE}});
    kl_output(g, "y", kl__apply_new(g, &fake, "f", &x, 1, NULL));
    assert_int_equal(kl_graph_check(g), KL_OK);
    return g;
}

/* ---- contexts and the log ---- */
static char said[4096];
static void hear(void *user, kl_log_level level, const char *line)
{
    (void)user;
    size_t n = strlen(said);
    if (level <= KL_LOG_INFO)
        snprintf(said + n, sizeof said - n, "%s\n", line);
}

static kl_ctx *open_with(kl_ctx_opts o)
{
    o.kernel_dir = kernels;
    o.cache_dir = o.cache_dir ? o.cache_dir : cache;
    kl_ctx *ctx = kl_ctx_create(&o);
    if (!ctx)
        fail_msg("%s", kl_last_error());
    return ctx;
}

static int set_up(void **state)
{
    (void)state;
    char cmd[256], path[256];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", cache);
    if (system(cmd) || kl__make_dirs(kernels))
        return -1;
    snprintf(path, sizeof path, "%s/twice.cl", kernels);
    said[0] = 0;
    unsetenv("KILN_TUNE"); /* other tests go by rule alone */
    unsetenv("KILN_VARIANT");
    return kl__file_write(path, SOURCE, strlen(SOURCE));
}

static void ok(kl_status st)
{
    if (st != KL_OK)
        fail_msg("%s", kl_last_error());
}

static kl_tuner *fake_tuner(kl_ctx *ctx)
{
    kl_graph *g = fake_graph();
    size_t n_prepared;
    ok(kl__plan_passes(ctx, g, &(kl__plan_opts){.no_fuse = true}, &n_prepared));
    kl_tuner *t = kl__tuner_of(ctx, g, 0, false);
    assert_non_null(t);
    return t;
}

/** What the context chooses for the fake op; force as kl__choose_variant. "": nothing fits. */
static const char *choice(kl_ctx *ctx, const char *force, kl__why *why)
{
    static char name[KL__CANDIDATE_NAME];
    kl_graph *g = fake_graph();
    kl__apply *a = kl_graph_output(g, "y")->by;
    name[0] = 0;
    if (kl__choose_variant(a, kl__ctx_caps(ctx), force) == KL_OK)
        kl__candidate_name(&(kl__candidate){a->variant, a->config}, name);
    if (why)
        *why = kl__choice_why(a, kl__ctx_caps(ctx), force);
    kl_graph_destroy(g);
    return name;
}

/* ---- candidates and names ---- */
static void candidates_come_in_order_and_not_too_many(void **state)
{
    (void)state;
    kl_ctx *ctx = open_with((kl_ctx_opts){0});
    static const char *const want[] = {"slow", "wrong", "fast", "broken", "fast@1"};
    kl_graph *g = fake_graph();
    const kl__apply *a = kl_graph_output(g, "y")->by;
    kl__caps caps = *kl__ctx_caps(ctx);
    kl__candidate c[KL__MAX_CANDIDATES];
    char name[KL__CANDIDATE_NAME];
    caps.solo = true;
    assert_int_equal(kl__candidates(a, &caps, c), 5);
    for (int i = 0; i < 5; i++)
        assert_string_equal(kl__candidate_name(&c[i], name), want[i]);
    caps.solo = false; /* elsewhere the plain form may be the fastest */
    assert_int_equal(kl__candidates(a, &caps, c), 5);
    assert_string_equal(kl__candidate_name(&c[4], name), "ref");
    assert_string_equal(kl__unfit(a, &caps, &(kl__candidate){&fake_variants[1], 0}), "a miracle");
    assert_non_null(kl__unfit(a, &caps, &(kl__candidate){&fake_variants[3], 2}));
    assert_non_null(kl__unfit(a, &caps, &(kl__candidate){&fake_variants[3], 3}));
    assert_null(kl__unfit(a, &caps, &(kl__candidate){&fake_variants[3], 1}));
    kl_graph_destroy(g);
    kl_ctx_destroy(ctx);
}

static void a_parameter_set_can_be_forced(void **state)
{
    (void)state;
    kl_ctx *ctx = open_with((kl_ctx_opts){0});
    kl__why why;
    assert_string_equal(choice(ctx, NULL, &why), "slow");
    assert_int_equal(why, KL__WHY_FIRST);
    assert_string_equal(choice(ctx, "fake:fast@1", &why), "fast@1");
    assert_int_equal(why, KL__WHY_FORCED);
    assert_string_equal(choice(ctx, "conv2d:solo,fake:fast", NULL), "fast");
    assert_string_equal(choice(ctx, "*:fast@1", NULL), "fast@1");
    assert_string_equal(choice(ctx, "*:fast@2", NULL), "slow"); /* where there is one */
    static const char *const bad[] = {
        "fake:fast@2",  "fake:fast@3",     "fake:fast@", "fake:fast@x", "fake:fast@1x",
        "fake:fast@-1", "fake:fast@99999", "fake:magic", "fake:slow@1", "fake:none"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_string_equal(choice(ctx, bad[i], NULL), "");
        assert_non_null(strstr(kl_last_error(), bad[i] + 5));
    }
    kl_ctx_destroy(ctx);
}

/* What changes the speed changes the key; what does not, does not. */
static void keys_tell_work_apart(void **state)
{
    (void)state;
    static const char *const text =
        "x = input(shape=[4,8,6,6])\n"
        "a = conv2d(x, filters=8, kernel=3, pad=1)\nb = conv2d(x, filters=8, kernel=3, pad=1)\n"
        "c = conv2d(x, filters=8, kernel=3, pad=1, stride=2)\n"
        "d = conv2d(x, filters=16, kernel=3, pad=1)\n"
        "e = conv2d(x, filters=8, kernel=3, pad=1, no_bias=true)\n"
        "output a = a\noutput b = b\noutput c = c\noutput d = d\noutput e = e\n";
    kl_ctx *ctx = open_with((kl_ctx_opts){0});
    kl_graph *g = kl_graph_parse(text, "net");
    assert_non_null(g);
    kl__text key[5] = {{0}};
    for (int i = 0; i < 5; i++)
        kl__put_choice_key(&key[i], kl_graph_output(g, (char[]){(char)('a' + i), 0})->by,
                           kl__ctx_caps(ctx));
    assert_string_equal(key[0].s, key[1].s);
    for (int i = 1; i < 5; i++)
        for (int k = i + 1; k < 5; k++)
            assert_string_not_equal(key[i].s, key[k].s);
    for (int i = 0; i < 5; i++)
        kl__text_free(&key[i]);
    kl_graph_destroy(g);
    kl_ctx_destroy(ctx);
}

/* ---- measuring ---- */
static void what_is_wrong_is_thrown_out_and_the_fastest_kept(void **state)
{
    (void)state;
    kl_ctx *ctx = open_with((kl_ctx_opts){0});
    kl_tuner *t = fake_tuner(ctx);
    kl_choice c;
    assert_int_equal(kl_tuner_left(t), 1);
    ok(kl_tuner_next(t, &c));
    assert_int_equal(kl_tuner_left(t), 0);
    assert_string_equal(c.layer, "f");
    assert_string_equal(c.by_rule, "slow");
    assert_string_equal(c.chosen, "fast");
    assert_true(c.complete && c.count == 1);
    assert_string_equal(c.alternative[0].name, "slow");
    for (int i = 0; i < c.n_alternatives; i++) {
        const kl_alternative *x = &c.alternative[i];
        bool wrong = !strcmp(x->name, "wrong"), none = !strcmp(x->name, "magic");
        bool broken = !strcmp(x->name, "broken"), ref = !strcmp(x->name, "ref");
        assert_true(x->wrong == wrong);
        assert_true(wrong ? x->error > 1e-3 : none || broken || ref || x->error < 1e-6);
        assert_true((x->why_not != NULL) == (none || broken || ref));
        assert_true((x->seconds > 0) == !(wrong || none || broken || ref));
        if (none)
            assert_string_equal(x->why_not, "a miracle");
    }
    assert_true(c.n_alternatives >= 6);
    assert_non_null(strstr(said, "wrong gives other numbers than slow"));
    assert_non_null(strstr(said, "does not compile"));
    ok(kl_tuner_next(t, &c)); /* nothing left */
    assert_string_equal(c.layer, "");
    assert_string_equal(choice(ctx, NULL, NULL), "slow"); /* this context's choices stay */
    kl_tuner_destroy(t);
    kl_ctx_destroy(ctx);
    kl__why why;
    ctx = open_with((kl_ctx_opts){0});
    assert_string_equal(choice(ctx, NULL, &why), "fast");
    assert_int_equal(why, KL__WHY_TUNED);
    assert_string_equal(choice(ctx, "fake:slow", &why), "slow"); /* who forces is obeyed */
    t = fake_tuner(ctx);
    assert_int_equal(kl_tuner_left(t), 0); /* known */
    kl_tuner_destroy(t);
    kl_ctx_destroy(ctx);
    ctx = open_with((kl_ctx_opts){.flags = KL_CTX_NO_TUNE});
    assert_string_equal(choice(ctx, NULL, &why), "slow");
    assert_int_equal(why, KL__WHY_FIRST);
    kl_ctx_destroy(ctx);
}

/** Changes the winner's name in the one file there is. */
static void rename_winner(const char *to)
{
    char dir[160], **names;
    size_t n, len;
    uint8_t *text;
    snprintf(dir, sizeof dir, "%s/tuned", cache);
    ok(kl__list_dir(dir, &names, &n));
    assert_int_equal(n, 1);
    char *path = kl__asprintf("%s/%s", dir, names[0]);
    ok(kl__file_read(path, 0, &text, &len));
    char *at = strstr((char *)text, "\"fastest\": \"");
    assert_non_null(at);
    at += strlen("\"fastest\": \"");
    char *s = kl__asprintf("%.*s%s%s", (int)(at - (char *)text), (char *)text, to, strchr(at, '"'));
    ok(kl__file_write(path, s, strlen(s)));
    kl__free(s);
    kl__free(text);
    kl__free(path);
    kl__free(names[0]);
    kl__free(names);
}

/* A file may name what there is not, or what does not fit here: then the rule counts. */
static void a_winner_that_cannot_be_is_passed_over(void **state)
{
    (void)state;
    kl_ctx *ctx = open_with((kl_ctx_opts){0});
    kl_tuner *t = fake_tuner(ctx);
    ok(kl_tuner_next(t, NULL));
    kl_tuner_destroy(t);
    kl_ctx_destroy(ctx);
    static const char *const names[][2] = {{"fast@1", "fast@1"}, {"fast@2", "slow"},
                                           {"fast@9", "slow"},   {"magic", "slow"},
                                           {"no such", "slow"},  {"fast@", "slow"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        rename_winner(names[i][0]);
        ctx = open_with((kl_ctx_opts){0});
        assert_non_null(kl__ctx_caps(ctx)->winners);
        assert_string_equal(choice(ctx, NULL, NULL), names[i][1]);
        kl_ctx_destroy(ctx);
    }
}

static void a_cache_that_cannot_be_written_is_a_warning(void **state)
{
    (void)state;
    kl_ctx *ctx = open_with((kl_ctx_opts){.cache_dir = "/dev/null"});
    kl_tuner *t = fake_tuner(ctx);
    kl_choice c;
    ok(kl_tuner_next(t, &c));
    assert_string_equal(c.chosen, "fast");
    assert_non_null(strstr(said, "not kept"));
    kl_tuner_destroy(t);
    kl_ctx_destroy(ctx);
}

static void what_is_not_finished_is_not_stored(void **state)
{
    (void)state;
    kl_ctx *ctx = open_with((kl_ctx_opts){0});
    kl_tuner *t = fake_tuner(ctx);
    ok(kl__tuner_measure(t, &t->work[0], 0)); /* no time for any but the default */
    assert_true(t->work[0].done && !t->work[0].complete);
    ok(kl__tuner_store(t, &t->work[0]));
    kl_tuner_destroy(t);
    kl_ctx_destroy(ctx);
    ctx = open_with((kl_ctx_opts){0});
    assert_null(kl__ctx_caps(ctx)->winners);
    kl_ctx_destroy(ctx);
}

/* ---- whole nets ---- */
static bool count_or_stop(void *user, const kl_choice *c, size_t done, size_t all)
{
    int *left = user;
    assert_true(c->layer[0] && done >= 1 && done <= all);
    return --*left > 0;
}

static void a_net_is_tuned_once(void **state)
{
    (void)state;
    kl_ctx *ctx = open_with((kl_ctx_opts){0});
    kl_model *m = net_model(true, 3);
    kl_choice *rows;
    size_t n = 7, all;
    int left = 1;
    kl_tune_opts o = {.batch = 5, .training = true, .seconds = 1e-9};
    ok(kl_tune(m, ctx, &o, &rows, &n)); /* the time is up before it begins */
    assert_int_equal(n, 0);
    kl_free(rows);
    o = (kl_tune_opts){.batch = 5, .training = true, .progress = count_or_stop, .user = &left};
    assert_int_equal(kl_tune(m, ctx, &o, &rows, &n), KL_E_CANCELLED);
    assert_int_equal(n, 1);
    kl_free(rows);
    left = 1000;
    ok(kl_tune(m, ctx, &o, &rows, &all));
    assert_true(all > 1);
    for (size_t i = 0; i < all; i++) {
        assert_true(rows[i].complete && rows[i].chosen[0] && rows[i].n_alternatives > 1);
        for (int k = 0; k < rows[i].n_alternatives; k++)
            assert_false(rows[i].alternative[k].wrong);
    }
    kl_free(rows);
    kl_ctx_destroy(ctx);
    ctx = open_with((kl_ctx_opts){0});
    ok(kl_tune(m, ctx, &o, &rows, &n)); /* all is known by now */
    assert_int_equal(n, 0);
    kl_free(rows);
    o.batch = 6; /* another shape */
    ok(kl_tune(m, ctx, &o, &rows, &n));
    assert_true(n > 0);
    kl_free(rows);
    kl_model_destroy(m);
    kl_ctx_destroy(ctx);
}

/** Parameters after some steps; tuning between them where `tune`. free() them. */
static float *train(kl_ctx *ctx, bool tune, size_t *n)
{
    static net_batch b;
    kl_model *m = net_model(true, 3);
    kl_trainer *tr = kl_trainer_create(m, &ctx, 1, "loss", "logits", NULL);
    const kl_tune_opts o = {.batch = 6, .training = true};
    kl_tuner *t = tune ? kl_tuner_create(m, ctx, &o) : NULL;
    size_t before = kl_tuner_left(t);
    assert_non_null(tr);
    for (int i = 0; i < 4; i++) {
        net_fill(&b, 6, i);
        ok(kl_trainer_step(tr, b.binds, 2));
        if (t)
            ok(kl_tuner_next(t, NULL));
    }
    assert_true(before == 0 || kl_tuner_left(t) < before); /* all may be known by then */
    ok(kl_ctx_finish(ctx));
    float *p = net_params(m, n);
    kl_tuner_destroy(t);
    kl_trainer_destroy(tr);
    kl_model_destroy(m);
    return p;
}

static void tuning_beside_a_run_changes_no_bit_of_it(void **state)
{
    (void)state;
    size_t n, k;
    kl_ctx *ctx = open_with((kl_ctx_opts){0});
    float *tuned = train(ctx, true, &n), *again = train(ctx, false, &k);
    kl_ctx_destroy(ctx);
    assert_int_equal(n, k);
    assert_memory_equal(tuned, again, n * sizeof *tuned);
    free(again);
    ctx = open_with((kl_ctx_opts){.flags = KL_CTX_NO_TUNE});
    again = train(ctx, false, &k);
    kl_ctx_destroy(ctx);
    assert_memory_equal(tuned, again, n * sizeof *tuned);
    free(again);
    free(tuned);
    /* and with the winners of before, two runs agree: the second is given the first one's, for what
     * that measured on the side may have made more of them */
    char path[300];
    snprintf(path, sizeof path, "%s/first.json", cache);
    ctx = open_with((kl_ctx_opts){0});
    assert_non_null(kl__ctx_caps(ctx)->winners);
    ok(kl_ctx_save_tuned(ctx, path));
    tuned = train(ctx, true, &n);
    kl_ctx_destroy(ctx);
    ctx = open_with((kl_ctx_opts){.tuned = path});
    again = train(ctx, false, &k);
    kl_ctx_destroy(ctx);
    assert_memory_equal(tuned, again, n * sizeof *tuned);
    free(again);
    free(tuned);
}

static void every_layer_is_explained(void **state)
{
    (void)state;
    kl_ctx *ctx = open_with((kl_ctx_opts){0});
    kl_model *m = net_model(true, 3);
    kl_choice *rows;
    size_t n, timed = 0;
    const kl_choice *conv = NULL;
    ok(kl_explain(m, ctx, &(kl_tune_opts){.batch = 5}, &rows, &n));
    for (size_t i = 0; i < n; i++) {
        const kl_choice *c = &rows[i];
        assert_true(c->layer[0] && c->op[0] && c->work[0] && c->in[0] && c->out[0]);
        assert_true(c->n_alternatives > 0);
        assert_true(c->why == KL_WHY_ONLY || c->why == KL_WHY_RULE);
        assert_string_equal(c->chosen, c->by_rule);
        assert_string_equal(c->alternative[0].name, c->by_rule);
        assert_false(c->alternative[0].seconds >= 0);
        conv = !strcmp(c->op, "conv2d") ? c : conv;
    }
    assert_non_null(conv);
    assert_string_equal(conv->layer, "conv");
    kl_free(rows);
    kl_tune_opts o = {.batch = 5, .training = true, .seconds = 600};
    ok(kl_explain(m, ctx, &o, &rows, &n));
    for (size_t i = 0; i < n; i++) {
        timed += rows[i].alternative[0].seconds > 0;
        assert_true(rows[i].complete == (rows[i].alternative[0].seconds > 0));
    }
    assert_true(timed > 1);
    kl_free(rows);
    setenv("KILN_VARIANT", "conv2d:ref", 1);
    ok(kl_explain(m, ctx, &(kl_tune_opts){.batch = 5}, &rows, &n));
    unsetenv("KILN_VARIANT");
    size_t forced = 0;
    for (size_t i = 0; i < n; i++)
        if (rows[i].why == KL_WHY_FORCED) {
            forced++;
            assert_string_equal(rows[i].op, "conv2d");
            assert_string_equal(rows[i].chosen, "ref");
        }
    assert_int_equal(forced, 1);
    kl_free(rows);
    assert_int_equal(kl_explain(NULL, ctx, NULL, &rows, &n), KL_E_ARG);
    assert_int_equal(kl_explain(m, ctx, &(kl_tune_opts){.batch = -1}, &rows, &n), KL_E_ARG);
    o = (kl_tune_opts){.training = true, .loss = "none"};
    assert_int_equal(kl_explain(m, ctx, &o, &rows, &n), KL_E_ARG);
    kl_model_destroy(m);
    kl_ctx_destroy(ctx);
}

static void contexts_that_do_not_tune_say_so(void **state)
{
    (void)state;
    static const uint32_t flags[] = {KL_CTX_NO_TUNE, KL_CTX_SYNC, KL_CTX_DEBUG_BUFFERS,
                                     KL_CTX_BARE_BUFFERS};
    kl_model *m = net_model(true, 3);
    kl_choice *rows;
    size_t n;
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        kl_ctx *ctx = open_with((kl_ctx_opts){.flags = flags[i]});
        assert_null(kl_tuner_create(m, ctx, NULL));
        assert_int_equal(kl_tune(m, ctx, NULL, &rows, &n), KL_E_UNSUPPORTED);
        assert_int_equal(kl_explain(m, ctx, &(kl_tune_opts){.seconds = 1}, &rows, &n),
                         KL_E_UNSUPPORTED);
        ok(kl_explain(m, ctx, NULL, &rows, &n)); /* to explain is no measuring */
        kl_free(rows);
        kl_ctx_destroy(ctx);
    }
    assert_int_equal(kl_tune(m, NULL, NULL, &rows, &n), KL_E_ARG);
    assert_int_equal(kl_tuner_next(NULL, NULL), KL_E_ARG);
    kl_model_destroy(m);
}

/* ---- without a device ---- */
static void nothing_is_left_behind(void **state)
{
    (void)state;
    for (int broken = 0; broken < 2; broken++) {
        assert_int_equal(set_up(NULL), 0);
        null_cl_setup(NULL, 0, 5);
        kl__cl_set_table(null_cl_table());
        kl_ctx *ctx = open_with((kl_ctx_opts){0});
        kl_model *m = net_model(true, 3);
        kl_tuner *t = kl_tuner_create(m, ctx, &(kl_tune_opts){.batch = 6, .training = true});
        assert_true(kl_tuner_left(t) > 1);
        if (broken) {
            null_cl_break_launch(3, -14);
            assert_int_equal(kl_tuner_next(t, NULL), KL_E_DEVICE); /* no fault of a candidate */
        } else {
            for (size_t n = kl_tuner_left(t); n > 0; n--)
                ok(kl_tuner_next(t, NULL));
            assert_int_equal(kl_tuner_left(t), 0);
        }
        kl_tuner_destroy(t);
        kl_model_destroy(m);
        kl_ctx_destroy(ctx);
        assert_int_equal(null_cl_live(), 0);
        kl__cl_set_table(NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(candidates_come_in_order_and_not_too_many, set_up),
        cmocka_unit_test_setup(a_parameter_set_can_be_forced, set_up),
        cmocka_unit_test_setup(keys_tell_work_apart, set_up),
        cmocka_unit_test_setup(what_is_wrong_is_thrown_out_and_the_fastest_kept, set_up),
        cmocka_unit_test_setup(a_winner_that_cannot_be_is_passed_over, set_up),
        cmocka_unit_test_setup(a_cache_that_cannot_be_written_is_a_warning, set_up),
        cmocka_unit_test_setup(what_is_not_finished_is_not_stored, set_up),
        cmocka_unit_test_setup(a_net_is_tuned_once, set_up),
        cmocka_unit_test_setup(tuning_beside_a_run_changes_no_bit_of_it, set_up),
        cmocka_unit_test_setup(every_layer_is_explained, set_up),
        cmocka_unit_test_setup(contexts_that_do_not_tune_say_so, set_up),
        cmocka_unit_test_setup(nothing_is_left_behind, set_up),
    };
    const char *tmp = getenv("TMPDIR");
    char cmd[256];
    snprintf(cache, sizeof cache, "%s/kiln-tune-%ld", tmp ? tmp : "/tmp", (long)getpid());
    snprintf(kernels, sizeof kernels, "%s/cl", cache);
    kl_set_log(hear, NULL, KL_LOG_INFO);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", cache);
    return system(cmd) ? 1 : failed;
}
