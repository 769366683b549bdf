/* A plan on two compute lanes: every command sees what it sees on one, in any order that the
 * dependencies allow; a dependency left out is found; errors leave nothing behind. */
#include "rand_net.h"

#include "base/hash.h"
#include "device/seq.h"
#include "support/fault_cl.h"
#include "support/null_cl.h"

#include <kiln/zoo.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* ---- a model of memory: what a step finds in each cell, hashed ---- */
enum { CELL = 64, MAX_MEMS = 64 };
typedef struct memory {
    const kl__mem *mem[MAX_MEMS];
    uint64_t *cell[MAX_MEMS];
    int n;
} memory;

static uint64_t *cells_of(memory *m, const kl__mem *mem)
{
    for (int i = 0; i < m->n; i++)
        if (m->mem[i] == mem)
            return m->cell[i];
    assert_true(m->n < MAX_MEMS);
    m->mem[m->n] = mem;
    m->cell[m->n] = calloc(kl__mem_bytes(mem) / CELL + 1, sizeof(uint64_t));
    assert_non_null(m->cell[m->n]);
    return m->cell[m->n++];
}

static void memory_free(memory *m)
{
    for (int i = 0; i < m->n; i++)
        free(m->cell[i]);
}

typedef enum what { READ, WRITE } what;

/** READ: mixes the cells into *tag. WRITE: puts it there. */
static void touch(memory *m, const kl__place *at, size_t bytes, what how, uint64_t *tag)
{
    if (at->kind != KL__AT_SPAN || !bytes) /* slots are inputs: nobody writes them */
        return;
    uint64_t *c = cells_of(m, at->span.mem);
    size_t first = at->span.offset / CELL, last = (at->span.offset + bytes - 1) / CELL;
    for (size_t i = first; i <= last; i++)
        if (how == WRITE)
            c[i] = *tag;
        else
            *tag = kl__hash64(&c[i], sizeof c[i], *tag);
}

static size_t bytes_of(const kl_node *x)
{
    size_t bytes;
    assert_true(kl__desc_bytes(&x->desc, &bytes));
    return bytes;
}

static void touch_apply(memory *m, const kl__apply *a, what how, uint64_t *tag)
{
    for (int i = 0; how == READ && i < a->n_in; i++)
        touch(m, &a->in[i]->place, bytes_of(a->in[i]), READ, tag);
    for (int i = 0; i < a->n_out; i++)
        touch(m, &a->out[i]->place, bytes_of(a->out[i]), how, tag);
    if (a->scratch.kind != KL__NOWHERE)
        touch(m, &a->scratch,
              a->variant->scratch_bytes(a, kl__ctx_caps(kl__mem_ctx(a->scratch.span.mem))), how,
              tag);
}

/** Step i is carried out: its tag is the hash of all that it finds where it reads or writes. */
static uint64_t play_step(memory *m, const kl__plan *p, size_t i)
{
    const kl__step *t = &p->seq->step[i];
    const size_t n = p->graph->n_applies;
    uint64_t tag = kl__hash64(&i, sizeof i, 7);
    if (i >= p->first_step[n]) {
        const kl__place src = {KL__AT_SPAN, t->src, 0}, dst = {KL__AT_SPAN, t->dst, 0};
        touch(m, &src, t->bytes, READ, &tag);
        touch(m, &dst, t->bytes, WRITE, &tag);
        return tag;
    }
    size_t a = 0;
    while (p->first_step[a + 1] <= i)
        a++;
    touch_apply(m, p->graph->applies[a], READ, &tag);
    touch_apply(m, p->graph->applies[a], WRITE, &tag);
    return tag;
}

/* ---- a run on the null device, and in which order it was carried out ---- */
typedef struct ran {
    uint64_t when;
    size_t step;
} ran;

static int by_time(const void *a, const void *b)
{
    const ran *x = a, *y = b;
    return x->when < y->when ? -1 : x->when > y->when;
}

/** Hash of what each step found, by step, and what is left. *crossed: steps that ran before one
 * that was enqueued earlier. */
static uint64_t history(const kl__plan *p, size_t *crossed)
{
    const size_t steps = kl__seq_count(p->seq);
    ran *order = calloc(steps + 1, sizeof *order);
    uint64_t *tag = calloc(steps + 1, sizeof *tag), sum = 0;
    memory m = {.n = 0};
    size_t n = 0, at = 0;
    assert_true(order && tag);
    for (size_t i = 0; i < null_cl_log_count(); i++) {
        null_entry e = null_cl_log_at(i);
        if (strstr(e.call, "Marker") || strstr(e.call, "Barrier"))
            continue;
        while (at < steps && p->seq->step[at].skip)
            at++;
        assert_true(at < steps && e.ran);
        order[n++] = (ran){e.ran, at++};
    }
    while (at < steps && p->seq->step[at].skip)
        at++;
    assert_int_equal(at, steps);
    qsort(order, n, sizeof *order, by_time);
    for (size_t i = 0; i < n; i++) {
        tag[order[i].step] = play_step(&m, p, order[i].step);
        *crossed += i > 0 && order[i].step < order[i - 1].step;
    }
    sum = kl__hash64(tag, steps * sizeof *tag, 1);
    for (int i = 0; i < m.n; i++) /* in the order of first use: the same where the tags are */
        sum += kl__hash64(m.cell[i], (kl__mem_bytes(m.mem[i]) / CELL + 1) * sizeof(uint64_t), 2);
    memory_free(&m);
    free(order);
    free(tag);
    return sum;
}

static kl_ctx *null_ctx(bool gpu, uint64_t seed)
{
    static null_device d; /* not copied */
    d = (null_device){.type = gpu ? CL_DEVICE_TYPE_GPU : CL_DEVICE_TYPE_CPU,
                      .width = gpu ? 1 : 16};
    null_cl_setup(&d, 1, seed);
    fault_cl_wrap(null_cl_table());
    kl__cl_set_table(fault_cl_table());
    kl_ctx *c = kl_ctx_create(&(kl_ctx_opts){.cache_dir = ""});
    if (!c)
        fail_msg("%s", kl_last_error());
    return c;
}

/** parts: how many pieces the pass is queued in, by kl__plan_run_part; 0: by kl__plan_run. */
static void run_pass(const net_pass *p, size_t parts)
{
    kl__lane *lane = kl__ctx_lane(p->ctx, KL__COMPUTE);
    const size_t n = p->plan->graph->n_applies;
    kl_status st = parts ? KL_OK : kl__plan_run(p->plan, lane);
    for (size_t i = 0; st == KL_OK && i < parts; i++)
        st = kl__plan_run_part(p->plan, lane, n * i / parts, n * (i + 1) / parts);
    if (st != KL_OK)
        fail_msg("%s", kl_last_error());
}

static uint64_t play(const net_pass *p, int lanes, size_t parts, size_t *crossed)
{
    null_cl_log_clear();
    if (kl__plan_set_lanes(p->plan, lanes) != KL_OK)
        fail_msg("%s", kl_last_error());
    run_pass(p, parts);
    assert_int_equal(kl__lane_finish(kl__ctx_lane(p->ctx, KL__COMPUTE)), KL_OK);
    return history(p->plan, crossed);
}

/* ---- tests ---- */

/* 300 nets: whatever order two lanes allow, every command finds what it finds on one lane; also
 * where the pass is queued in parts. Once the main lane has ended, so has the side. */
static void random_nets_are_the_same_on_two_lanes(void **state)
{
    (void)state;
    size_t crossed = 0, split = 0, none = 0;
    for (uint32_t k = 0; k < 300; k++) {
        net_pass p;
        kl_ctx *c = null_ctx(k % 2, k + 1);
        net_pass_open(&p, c, rand_net(k), 2, &(kl__plan_opts){.as_built = k % 5 == 4});
        uint64_t one = play(&p, 1, 0, &none);
        split += kl__plan_lanes_possible(p.plan);
        for (size_t i = 0; i < 6; i++)
            if (play(&p, 2, i < 4 ? 0 : i - 1, &crossed) != one)
                fail_msg("net %u: a step finds something else than on one lane", k);
        net_pass_close(&p);
        kl_ctx_destroy(c);
        assert_int_equal(null_cl_live(), 0);
        kl__cl_set_table(NULL);
    }
    assert_int_equal(none, 0);
    assert_true(split > 290);
    assert_true(crossed > 5000); /* the lanes did run beside each other */
}

/** Does some order show that step i does not wait? */
static bool shows(const net_pass *p, size_t i, uint64_t one)
{
    kl__cross *c = &p->plan->seq->cross[i];
    size_t after = c->after, crossed = 0;
    bool seen = false;
    c->after = SIZE_MAX;
    for (int k = 0; !seen && k < 400; k++)
        seen = play(p, 2, 0, &crossed) != one;
    c->after = after;
    return seen;
}

/* Each wait of an apply for one of the other lane, left out alone, is found. Not the first of the
 * side lane's: without it that lane begins after all before. */
static void a_missing_dependency_is_found(void **state)
{
    (void)state;
    size_t planted = 0;
    for (uint32_t k = 0; k < 12; k++) {
        net_pass p;
        kl_ctx *c = null_ctx(k % 2, 1000 + k);
        size_t crossed = 0;
        bool begun = false;
        net_pass_open(&p, c, rand_net(k), 2, NULL);
        uint64_t one = play(&p, 1, 0, &crossed);
        assert_true(play(&p, 2, 0, &crossed) == one);
        for (size_t i = 0; i < p.plan->first_step[p.plan->graph->n_applies]; i++) {
            const kl__cross *x = &p.plan->seq->cross[i];
            if (x->after != SIZE_MAX && (begun || !x->side)) {
                planted++;
                if (!shows(&p, i, one))
                    fail_msg("net %u: step %zu need not wait for step %zu?", k, i, x->after);
            }
            begun |= x->side && !p.plan->seq->step[i].skip;
        }
        net_pass_close(&p);
        kl_ctx_destroy(c);
        kl__cl_set_table(NULL);
    }
    assert_true(planted > 60);
}

/* Whichever call of a run fails: an error, no event left behind, and the next run is whole. */
static void a_call_that_fails_leaves_nothing(void **state)
{
    (void)state;
    net_pass p;
    size_t crossed = 0;
    kl_ctx *c = null_ctx(false, 9);
    net_pass_open(&p, c, rand_net(3), 2, NULL);
    uint64_t one = play(&p, 1, 0, &crossed);
    assert_true(play(&p, 2, 0, &crossed) == one);
    kl__lane *lane = kl__ctx_lane(c, KL__COMPUTE);
    int64_t live = null_cl_live();
    uint64_t calls = fault_cl_total();
    assert_int_equal(kl__plan_run(p.plan, lane), KL_OK);
    calls = fault_cl_total() - calls;
    assert_true(calls > 20);
    size_t failed = 0;
    for (uint64_t k = 1; k <= calls; k++) {
        fault_cl_at(NULL, k, false, 0);
        kl_status st = kl__plan_run(p.plan, lane);
        const char *name = fault_cl_failed();
        bool release = name && strstr(name, "Release");
        fault_cl_at(NULL, 0, false, 0);
        failed += st != KL_OK;
        if (name && !release && st == KL_OK)
            fail_msg("call %u (%s) failed and the run did not", (unsigned)k, name);
        assert_int_equal(kl__lane_finish(lane), KL_OK);
        assert_int_equal(kl__lane_finish(&c->lane[KL__SIDE]), KL_OK);
        assert_int_equal(null_cl_live(), live);
    }
    assert_true(failed > 10);
    assert_true(play(&p, 2, 0, &crossed) == one);
    net_pass_close(&p);
    kl_ctx_destroy(c);
    assert_int_equal(null_cl_live(), 0);
    kl__cl_set_table(NULL);
}

/* The second queue is made when two lanes are asked for, and once. */
static void the_side_lane_is_made_once(void **state)
{
    (void)state;
    net_pass p;
    kl_ctx *c = null_ctx(false, 0);
    net_pass_open(&p, c, rand_net(1), 2, NULL);
    run_pass(&p, 0);
    assert_int_equal(fault_cl_calls("clCreateCommandQueue"), KL__N_LANES);
    assert_int_equal(kl__plan_set_lanes(p.plan, 2), KL_OK);
    assert_int_equal(p.plan->lanes, 2);
    assert_int_equal(fault_cl_calls("clCreateCommandQueue"), KL__N_LANES + 1);
    uint64_t objects = fault_cl_creates();
    for (int i = 0; i < 3; i++)
        run_pass(&p, 0);
    assert_int_equal(fault_cl_creates(), objects);
    assert_int_equal(kl__plan_set_lanes(p.plan, 3), KL_E_ARG);
    net_pass_close(&p);
    kl_ctx_destroy(c);
    kl__cl_set_table(NULL);
}

/** Outputs of a pass on PoCL or whatever there is. */
static void same_bits(kl_graph *g, int64_t n, uint32_t flags)
{
    net_pass p;
    kl_ctx *c = kl_ctx_create(&(kl_ctx_opts){.flags = flags});
    if (!c)
        fail_msg("%s", kl_last_error());
    net_pass_open(&p, c, g, n, NULL);
    kl__lane *lane = kl__ctx_lane(c, KL__COMPUTE);
    size_t bytes = kl__mem_bytes(p.outs);
    unsigned char *want = calloc(bytes, 1), *got = calloc(bytes, 1);
    assert_true(want && got && kl__plan_lanes_possible(p.plan) == !(flags & KL_CTX_SYNC));
    for (int i = 0; i < 6; i++) {
        static const uint32_t zero;
        assert_int_equal(kl__plan_set_lanes(p.plan, i ? 2 : 1), KL_OK);
        assert_int_equal(kl__lane_fill(lane, (kl__span){p.outs, 0}, &zero, 4, bytes / 4 * 4),
                         KL_OK);
        run_pass(&p, 0);
        assert_int_equal(kl__lane_read(lane, (kl__span){p.outs, 0}, i ? got : want, bytes, NULL),
                         KL_OK);
        if (i && memcmp(want, got, bytes) != 0)
            fail_msg("run %d on two lanes differs from one lane", i);
    }
    free(want);
    free(got);
    net_pass_close(&p);
    kl_ctx_destroy(c);
}

static void two_lanes_give_the_same_bits(void **state)
{
    (void)state;
    const kl_shape small = {3, {3, 32, 32}};
    same_bits(kl_zoo_build("lenet", NULL, 10), 8, 0);
    same_bits(kl_zoo_build("vgg6", &small, 10), 4, KL_CTX_PROFILE);
    same_bits(rand_net(4), 4, KL_CTX_SYNC);
    for (uint32_t k = 10; k < 14; k++)
        same_bits(rand_net(k), 4, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_nets_are_the_same_on_two_lanes),
        cmocka_unit_test(a_missing_dependency_is_found),
        cmocka_unit_test(a_call_that_fails_leaves_nothing),
        cmocka_unit_test(the_side_lane_is_made_once),
        cmocka_unit_test(two_lanes_give_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
