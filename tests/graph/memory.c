/* The memory plan against a simulation: thousands of random graphs of made-up ops are "run" on an
 * arena in which every byte carries the number of the value that was written there last. A value
 * that is read must still be there. */
#include "base/rng.h"
#include "graph/graph.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { ALIGN = 64, GRAIN = 16, MAX_VALUES = 400 };

/* ---- made-up ops ------------------------------------------------------------------------- */
typedef struct fake {
    kl_shape shape[3];
    kl__layout layout;
    size_t scratch;
    int alias[3]; /* input that output i may overwrite, or -1 */
} fake;

static kl_status infer(const kl__apply *a, kl__desc *out)
{
    const fake *f = a->attrs;
    for (int i = 0; i < a->n_out; i++)
        out[i] = (kl__desc){KL_F32, f->shape[i], f->layout};
    return KL_OK;
}

static int aliases(const kl__apply *a, int out)
{
    return ((const fake *)a->attrs)->alias[out];
}

static size_t scratch_bytes(const kl__apply *a, const kl__caps *caps)
{
    (void)caps;
    return ((const fake *)a->attrs)->scratch;
}

static const kl__variant variant = {.name = "fake", .scratch_bytes = scratch_bytes};
#define FAKE(id, fl, al)                                                                           \
    static const kl__op id = {.name = #id,                                                         \
                              .max_in = -1,                                                        \
                              .n_out = 0,                                                          \
                              .flags = (fl),                                                       \
                              .attrs_bytes = sizeof(fake),                                         \
                              .infer = infer,                                                      \
                              .aliases = (al)}
FAKE(leaf, KL__OP_LEAF, NULL);
FAKE(plain, 0, NULL);
FAKE(elementwise, KL__OP_ELEMENTWISE, NULL);
FAKE(view, KL__OP_VIEW, NULL);
FAKE(maybe, 0, aliases);
FAKE(update, KL__OP_STATE, aliases);

/* ---- random graphs ----------------------------------------------------------------------- */
static kl__rng rng;
static uint64_t draws;

static int below(int n)
{
    return (int)kl__rng_below(rng, draws++, (uint32_t)n);
}

static kl_shape random_shape(void)
{
    static const int64_t sizes[] = {0, 1, 4, 4, 4, 16, 30, 64, 64, 64, 100, 257};
    return (kl_shape){1, {sizes[below(sizeof sizes / sizeof *sizes)]}};
}

/** A blocked layout now and then: the same bytes, another place of each element. */
static kl_shape random_picture(kl__layout *l)
{
    if (below(2))
        *l = (kl__layout){KL__NCHWC, 4, {0}};
    return kl__shape4(1, 4, 2, 2);
}

static kl_node *add(kl_graph *g, const kl__op *op, kl_node **in, int n_in, int n_out, const fake *f)
{
    kl_node *x = kl__apply_new_n(g, op, NULL, in, n_in, n_out, f);
    if (!x)
        fail_msg("%s", kl_last_error());
    if (!(op->flags & (KL__OP_LEAF | KL__OP_VIEW)))
        x->by->variant = &variant;
    return x;
}

static kl_node *pick(const kl_graph *g, bool recent)
{
    int n = (int)g->n_nodes, k = recent && n > 4 ? n - 4 + below(4) : below(n);
    return g->nodes[k];
}

/** An input with the shape of `like`, or like itself. */
static kl_node *pick_same(const kl_graph *g, kl_node *like)
{
    for (int i = 0; i < 8; i++) {
        kl_node *x = pick(g, false);
        if (kl_shape_equal(x->desc.shape, like->desc.shape))
            return x;
    }
    return like;
}

static void add_random(kl_graph *g)
{
    fake f = {.alias = {-1, -1, -1}};
    kl_node *in[4];
    int n = 1 + below(3), kind = below(12);
    in[0] = pick(g, below(4) > 0);
    for (int i = 1; i < n; i++)
        in[i] = pick(g, below(2));
    f.layout = in[0]->desc.layout;
    f.shape[0] = in[0]->desc.shape;
    if (kind == 0) {
        f.layout = (kl__layout){KL__PLAIN, 0, {0}};
        f.shape[0] = below(3) ? random_shape() : random_picture(&f.layout);
        add(g, &leaf, NULL, 0, 1, &f);
    } else if (kind < 5) { /* element-wise: now and then into another layout of as many bytes */
        for (int i = 1; i < n; i++)
            in[i] = pick_same(g, in[0]);
        if (in[0]->desc.shape.n_dims == 4 && below(3) == 0)
            random_picture(&f.layout);
        add(g, &elementwise, in, n, 1, &f);
    } else if (kind < 7) {
        add(g, &view, in, 1, 1, &f);
    } else if (kind < 9) { /* may overwrite what it says: both outputs the same input, at worst */
        int n_out = 1 + below(2);
        for (int i = 0; i < n_out; i++) {
            f.alias[i] = below(n);
            f.shape[i] = in[f.alias[i]]->desc.shape;
        }
        f.layout = in[f.alias[0]]->desc.layout;
        for (int i = 0; i < n_out; i++)
            if (f.shape[i].n_dims != 4)
                f.layout = (kl__layout){KL__PLAIN, 0, {0}};
        f.scratch = below(3) ? 0 : (size_t)below(600);
        add(g, &maybe, in, n, n_out, &f);
    } else if (kind == 9) { /* overwrites a leaf, as optimizers do */
        kl_node *x = pick(g, false);
        if (x->by->op != &leaf)
            return;
        in[0] = x;
        f.alias[0] = 0;
        f.shape[0] = x->desc.shape;
        f.layout = x->desc.layout;
        add(g, &update, in, n, 1, &f);
    } else {
        int n_out = 1 + below(3);
        f.layout = (kl__layout){KL__PLAIN, 0, {0}};
        for (int i = 0; i < n_out; i++)
            f.shape[i] = random_shape();
        f.scratch = below(2) ? 0 : (size_t)below(900);
        add(g, &plain, in, n, n_out, &f);
    }
}

static kl_graph *random_graph(int n, char *elsewhere)
{
    kl_graph *g = kl_graph_create();
    fake f = {.shape = {{1, {64}}}};
    add(g, &leaf, NULL, 0, 1, &f);
    for (int i = 0; i < n; i++)
        add_random(g);
    for (size_t i = 0; i < g->n_nodes; i++) {
        kl_node *x = g->nodes[i];
        if (!(x->by->op->flags & (KL__OP_VIEW | KL__OP_STATE)) &&
            below(10) == 0) /* placed by the caller */
            x->place = (kl__place){KL__AT_SPAN, {(kl__mem *)(void *)elsewhere, i * 8192}, 0};
    }
    for (int i = 0; i < 3; i++) {
        char name[8] = {(char)('a' + i), 0};
        kl_output(g, name, pick(g, i == 0));
    }
    assert_int_equal(kl_graph_check(g), KL_OK);
    return g;
}

/* ---- the simulation ---------------------------------------------------------------------- */
typedef struct sim {
    const kl_graph *g;
    char *elsewhere;
    uint32_t *cell; /* who wrote this grain of the arena */
    size_t n_cells;
    uint32_t content[MAX_VALUES]; /* by node id: what reading it must find */
    uint32_t next;
    int in_place;
} sim;

static size_t bytes_of(const kl_node *x)
{
    size_t n = 0;
    assert_true(kl__desc_bytes(&x->desc, &n));
    return n;
}

static const kl_node *storage_of(const kl_node *x)
{
    while (x->by->op->flags & (KL__OP_VIEW | KL__OP_STATE))
        x = x->by->in[0];
    return x;
}

static bool in_arena(const kl__place *p)
{
    assert_int_equal(p->kind, KL__AT_SPAN);
    return p->span.mem == NULL;
}

static void put(sim *s, const kl__place *p, size_t bytes, uint32_t id)
{
    if (!in_arena(p))
        return;
    assert_int_equal(p->span.offset % ALIGN, 0);
    for (size_t i = 0; i < (bytes + GRAIN - 1) / GRAIN; i++) {
        assert_true(p->span.offset / GRAIN + i < s->n_cells);
        s->cell[p->span.offset / GRAIN + i] = id;
    }
}

static void must_hold(const sim *s, const kl_node *x, const char *when)
{
    size_t bytes = bytes_of(x);
    if (!in_arena(&x->place))
        return;
    for (size_t i = 0; i < (bytes + GRAIN - 1) / GRAIN; i++)
        if (s->cell[x->place.span.offset / GRAIN + i] != s->content[storage_of(x)->id])
            fail_msg("%s: \"%s\" was overwritten", when, x->name);
}

static bool overlap(const kl__place *a, size_t na, const kl__place *b, size_t nb)
{
    return a->span.mem == b->span.mem && na && nb && a->span.offset < b->span.offset + nb &&
           b->span.offset < a->span.offset + na;
}

/** An output may lie on an input only where the op reads each element before it writes it. */
static bool may_share(const kl__apply *a, int out, const kl_node *x)
{
    const kl_node *y = a->out[out];
    if (a->op->flags & (KL__OP_VIEW | KL__OP_STATE))
        return storage_of(x) == storage_of(y);
    if (y->place.span.offset != x->place.span.offset ||
        !kl__layout_equal(&x->desc.layout, &y->desc.layout) || bytes_of(x) != bytes_of(y))
        return false;
    if (a->op->flags & KL__OP_ELEMENTWISE)
        return kl_shape_equal(x->desc.shape, y->desc.shape);
    int k = a->op->aliases ? a->op->aliases(a, out) : -1;
    return k >= 0 && a->in[k] == x;
}

static void step(sim *s, const kl__apply *a)
{
    for (int i = 0; i < a->n_in; i++)
        must_hold(s, a->in[i], a->name);
    if (a->op == &leaf)
        return;
    for (int o = 0; o < a->n_out; o++) {
        const kl_node *y = a->out[o];
        for (int i = 0; i < a->n_in; i++)
            if (overlap(&y->place, bytes_of(y), &a->in[i]->place, bytes_of(a->in[i]))) {
                if (!may_share(a, o, a->in[i]))
                    fail_msg("%s: output %d lies on input %d", a->name, o, i);
                s->in_place++;
            }
        for (int k = 0; k < o; k++)
            if (overlap(&y->place, bytes_of(y), &a->out[k]->place, bytes_of(a->out[k])))
                fail_msg("%s: outputs %d and %d lie on each other", a->name, k, o);
    }
    size_t scratch = a->variant ? ((const fake *)a->attrs)->scratch : 0;
    if (scratch) {
        for (int i = 0; i < a->n_in; i++)
            assert_false(overlap(&a->scratch, scratch, &a->in[i]->place, bytes_of(a->in[i])));
        for (int i = 0; i < a->n_out; i++)
            assert_false(overlap(&a->scratch, scratch, &a->out[i]->place, bytes_of(a->out[i])));
        put(s, &a->scratch, scratch, s->next++);
    }
    for (int o = 0; o < a->n_out; o++) {
        if (a->op->flags & KL__OP_VIEW) {
            assert_int_equal(a->out[o]->place.span.offset, a->in[0]->place.span.offset);
            assert_ptr_equal(a->out[o]->place.span.mem, a->in[0]->place.span.mem);
            continue;
        }
        if (a->op->flags & KL__OP_STATE)
            assert_int_equal(a->out[o]->place.span.offset, a->in[0]->place.span.offset);
        s->content[storage_of(a->out[o])->id] = s->next;
        put(s, &a->out[o]->place, bytes_of(a->out[o]), s->next++);
    }
}

/** Two runs: leaves are filled once, before the first. */
static int simulate(const kl_graph *g, const kl__memory_plan *plan)
{
    sim s = {.g = g, .next = 1, .n_cells = plan->arena_bytes / GRAIN + 1};
    s.cell = calloc(s.n_cells, sizeof *s.cell);
    assert_non_null(s.cell);
    assert_true(g->n_nodes < MAX_VALUES);
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->nodes[i]->by->op == &leaf) {
            s.content[i] = s.next;
            put(&s, &g->nodes[i]->place, bytes_of(g->nodes[i]), s.next++);
        }
    for (int run = 0; run < 2; run++) {
        for (size_t i = 0; i < g->n_applies; i++)
            step(&s, g->applies[i]);
        for (size_t i = 0; i < g->n_outputs; i++)
            must_hold(&s, g->outputs[i].node, "end");
        for (size_t i = 0; i < g->n_nodes; i++)
            if (g->nodes[i]->by->op == &leaf)
                must_hold(&s, g->nodes[i], "end");
    }
    free(s.cell);
    return s.in_place;
}

static void within_chunks(const kl_graph *g, const kl__memory_plan *plan)
{
    for (size_t i = 0; i < g->n_nodes; i++) {
        const kl_node *x = g->nodes[i];
        size_t n = bytes_of(x);
        if (in_arena(&x->place) && n)
            assert_int_equal(x->place.span.offset / plan->chunk_bytes,
                             (x->place.span.offset + n - 1) / plan->chunk_bytes);
    }
}

static kl__caps caps_of(uint64_t max_alloc)
{
    kl__caps c = {.max_alloc = max_alloc, .global_bytes = 1 << 30};
    return c;
}

static void random_graphs_run_undisturbed(void **state)
{
    char elsewhere;
    size_t arena = 0, sum = 0, in_place = 0;
    int shared = 0;
    (void)state;
    rng = kl__rng_of(11, "memory", 0);
    for (int k = 0; k < 3000; k++) {
        kl_graph *g = random_graph(3 + below(60), &elsewhere);
        kl__caps caps = caps_of(k % 3 == 0 ? 2048 : 1 << 28);
        kl__memory_plan plan;
        if (kl__graph_memory(g, &caps, ALIGN, false, &plan) != KL_OK)
            fail_msg("%s", kl_last_error());
        shared += simulate(g, &plan);
        if (k % 3 == 0) {
            within_chunks(g, &plan);
            assert_int_equal(plan.chunk_bytes, 2048);
        }
        arena += plan.arena_bytes;
        sum += plan.sum_bytes;
        in_place += plan.n_in_place;
        kl_graph_destroy(g);
    }
    /* the plan does share, else all of this proves nothing */
    assert_true(arena < sum * 3 / 4);
    assert_true(in_place > 1000 && shared > 1000);
}

static void debug_buffers_share_nothing(void **state)
{
    char elsewhere;
    (void)state;
    rng = kl__rng_of(12, "memory", 0);
    for (int k = 0; k < 200; k++) {
        kl_graph *g = random_graph(40, &elsewhere);
        kl__caps caps = caps_of(1 << 28);
        kl__memory_plan plan;
        assert_int_equal(kl__graph_memory(g, &caps, ALIGN, true, &plan), KL_OK);
        simulate(g, &plan);
        assert_int_equal(plan.n_in_place, 0);
        for (size_t i = 0; i < g->n_nodes; i++)
            for (size_t j = 0; j < i; j++) {
                const kl_node *x = g->nodes[i], *y = g->nodes[j];
                if (in_arena(&x->place) && in_arena(&y->place) && storage_of(x) != storage_of(y))
                    assert_false(overlap(&x->place, bytes_of(x), &y->place, bytes_of(y)));
            }
        kl_graph_destroy(g);
    }
}

/** A chain needs two values at a time, whatever its length; an element-wise chain one. */
static void chains_are_tight(void **state)
{
    kl__caps caps = caps_of(1 << 28);
    kl__memory_plan plan;
    (void)state;
    for (int e = 0; e < 2; e++) {
        kl_graph *g = kl_graph_create();
        char elsewhere;
        fake f = {.shape = {{1, {1024}}}};
        kl_node *x = add(g, &leaf, NULL, 0, 1, &f);
        x->place = (kl__place){KL__AT_SPAN, {(kl__mem *)(void *)&elsewhere, 0}, 0};
        for (int i = 0; i < 50; i++)
            x = add(g, e ? &elementwise : &plain, &x, 1, 1, &f);
        kl_output(g, "y", x);
        assert_int_equal(kl__graph_memory(g, &caps, ALIGN, false, &plan), KL_OK);
        assert_int_equal(plan.arena_bytes, e ? 4096 : 8192);
        assert_int_equal(plan.sum_bytes, 50 * 4096);
        assert_int_equal(plan.n_values, 50);
        assert_int_equal(plan.n_in_place, e ? 49 : 0);
        kl_graph_destroy(g);
    }
}

static void what_no_buffer_can_hold_is_named(void **state)
{
    kl_graph *g = kl_graph_create();
    kl__caps caps = caps_of(4096);
    kl__memory_plan plan;
    fake f = {.shape = {{1, {1025}}}};
    (void)state;
    add(g, &leaf, NULL, 0, 1, &f);
    assert_int_equal(kl__graph_memory(g, &caps, ALIGN, false, &plan), KL_E_MEMORY);
    assert_non_null(strstr(kl_last_error(), "\"leaf_1\" needs 4100 bytes"));
    kl_graph_destroy(g);
}

static void lifetimes_are_reported(void **state)
{
    kl_graph *g =
        kl_graph_parse("x = input(shape=[4])\na = relu(x)\nb = neg(a)\nc = add(a, b)\nd = abs(c)\n"
                       "output b = b\n",
                       NULL);
    uint32_t first, last;
    (void)state;
    kl__graph_lifetime(g, kl_graph_find(g, "a"), &first, &last);
    assert_int_equal(first, 1);
    assert_int_equal(last, 3);
    kl__graph_lifetime(g, kl_graph_find(g, "b"), &first, &last);
    assert_int_equal(first, 2);
    assert_int_equal(last, 4);
    kl__graph_lifetime(g, kl_graph_find(g, "d"), &first, &last);
    assert_int_equal(last, 4);
    kl_graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_graphs_run_undisturbed),
        cmocka_unit_test(debug_buffers_share_nothing),
        cmocka_unit_test(chains_are_tight),
        cmocka_unit_test(what_no_buffer_can_hold_is_named),
        cmocka_unit_test(lifetimes_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
