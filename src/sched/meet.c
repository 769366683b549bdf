/* Shards that meet, on one device. Tables and counts lie beside the plans: every plan writes its
 * own row and reads all. */
#include "sched/meet.h"

#include "base/mem.h"
#include "sched/debug.h"

/* ---- life ---- */

/** The points of a pass, by the graph of two samples: how many there are does not depend on them.
 */
static kl_status list_points(kl__stepper *s, kl__meet *m)
{
    const int shards = s->opts.shards;
    kl_graph *g = kl__pass_graph(
        s->model, 2, &(kl__pass_spec){true, s->loss, s->logits, shards});
    if (!g)
        return kl__last_status();
    for (size_t i = 0; i < g->n_applies; i++)
        m->n_points += (g->applies[i]->op->flags & KL__OP_MEET) != 0;
    m->row = kl__calloc(m->n_points + 1, sizeof *m->row);
    m->at = kl__calloc(m->n_points + 1, sizeof *m->at);
    size_t k = 0;
    for (size_t i = 0; m->row && m->at && i < g->n_applies; i++)
        if (g->applies[i]->op->flags & KL__OP_MEET) {
            m->row[k] = (size_t)g->applies[i]->in[2]->desc.shape.dim[1];
            m->at[k] = m->elems;
            m->elems += (m->row[k++] * (size_t)shards + KL__PARAM_ALIGN - 1) / KL__PARAM_ALIGN *
                        KL__PARAM_ALIGN;
        }
    kl_graph_destroy(g);
    return m->row && m->at ? KL_OK : KL_E_MEMORY;
}

static kl_status zeroed(kl__stepper *s, size_t bytes, kl__mem **out)
{
    static const uint32_t zero;
    if (!(*out = kl__mem_create(s->ctx, bytes)))
        return kl__fail_in(kl__last_status(), "statistics of all shards");
    return kl__lane_fill(kl__ctx_lane(s->ctx, KL__COMPUTE), (kl__span){*out, 0}, &zero, 4, bytes);
}

kl_status kl__meet_create(kl__stepper *s)
{
    const size_t shards = (size_t)s->opts.shards;
    kl__meet *m = kl__calloc(1, sizeof *m);
    if (!m)
        return KL_E_MEMORY;
    kl_status st = list_points(s, m);
    if (st != KL_OK || !m->n_points) {
        kl__meet_destroy(m);
        return st;
    }
    s->meet = m;
    m->step = kl__calloc(shards + 1, sizeof(kl__mem *));
    m->pass = kl__calloc(shards + 1, sizeof(kl__pass *));
    if (!m->step || !m->pass)
        return KL_E_MEMORY;
    st = zeroed(s, m->elems * s->real_size, &m->table);
    if (st == KL_OK)
        st = zeroed(s, shards * sizeof(int32_t), &m->samples);
    for (size_t i = 0; st == KL_OK && i < shards; i++)
        st = zeroed(s, KL__STEP_WORDS * sizeof(uint32_t), &m->step[i]);
    return st;
}

void kl__meet_destroy(kl__meet *m)
{
    if (!m)
        return;
    for (kl__mem **step = m->step; step && *step; step++)
        kl__mem_release(*step);
    kl__mem_release(m->table);
    kl__mem_release(m->samples);
    kl__free(m->step);
    kl__free(m->pass);
    kl__free(m->row);
    kl__free(m->at);
    kl__free(m);
}

/* ---- a shard's pass ---- */
kl__span kl__meet_rows(const kl__stepper *s, size_t k, int first, int end, size_t *bytes)
{
    const kl__meet *m = s->meet;
    *bytes = (size_t)(end - first) * m->row[k] * s->real_size;
    return (kl__span){m->table, (m->at[k] + (size_t)first * m->row[k]) * s->real_size};
}

void kl__meet_place(const kl__stepper *s, kl_graph *g, int shard)
{
    size_t k = 0, bytes;
    for (size_t i = 0; i < g->n_applies; i++) {
        const kl__apply *a = g->applies[i];
        if (!(a->op->flags & KL__OP_MEET))
            continue;
        const kl__span row = kl__meet_rows(s, k, shard, shard + 1, &bytes);
        a->in[0]->place = (kl__place){KL__AT_SPAN, row, 0};
        a->in[1]->place =
            (kl__place){KL__AT_SPAN, {row.mem, row.offset + bytes / 2}, 0};
        a->in[2]->place = (kl__place){KL__AT_SPAN, kl__meet_rows(s, k, 0, 0, &bytes), 0};
        a->in[3]->place = (kl__place){KL__AT_SPAN, {s->meet->samples, 0}, 0};
        k++;
    }
}

kl_status kl__meet_cuts(const kl__stepper *s, kl__pass *p)
{
    const kl_graph *g = p->plan->graph;
    size_t n = 0;
    if (!(p->meet = kl__calloc(s->meet->n_points + 1, sizeof *p->meet)))
        return KL_E_MEMORY;
    for (size_t i = 0; i < g->n_applies; i++)
        if (g->applies[i]->op->flags & KL__OP_MEET)
            p->meet[n++] = i;
    p->meet[n] = g->n_applies;
    return KL_OK;
}

/* ---- a step ---- */
static int64_t first_of(const kl__stepper *s, const kl__meet_job *job, int shard)
{
    return job->batch * shard / s->opts.shards;
}

static kl_status send(kl__lane *lane, kl__mem *to, const void *what, size_t bytes)
{
    kl__event done = {NULL}; /* the job's memory outlives the step */
    kl_status st = kl__lane_write(lane, (kl__span){to, 0}, what, bytes, &done);
    kl__event_release(&done);
    return st;
}

static kl_status begin_shard(kl__stepper *s, const kl__meet_job *job, int shard, kl__lane *lane)
{
    const int with = job->batch < s->opts.shards ? (int)job->batch : s->opts.shards;
    const int64_t first = first_of(s, job, shard), count = first_of(s, job, shard + 1) - first;
    kl__meet *m = s->meet;
    m->pass[shard] = NULL;
    if (!count)
        return KL_OK;
    kl__pass *p = m->pass[shard] = kl__pass_of(s, count, true, shard);
    if (!p)
        return kl__last_status();
    if (job->sc)
        kl__step_block_fill(s, job->block[shard], first, with, job->sc);
    kl_status st = send(lane, m->step[shard], job->block[shard], KL__STEP_WORDS * sizeof(uint32_t));
    return st == KL_OK
               ? kl__inputs_bind(s, p, job->binds, job->n, first - job->from, job->entry)
               : st;
}

kl_status kl__meet_begin(kl__stepper *s, const kl__meet_job *job)
{
    const int shards = s->opts.shards;
    kl__lane *lane = kl__ctx_lane(s->ctx, KL__COMPUTE);
    for (int i = 0; i < shards; i++)
        job->counts[i] = (int32_t)(first_of(s, job, i + 1) - first_of(s, job, i));
    kl_status st = send(lane, s->meet->samples, job->counts, (size_t)shards * sizeof(int32_t));
    for (int i = job->first; st == KL_OK && i < job->end; i++)
        st = begin_shard(s, job, i, lane);
    return st;
}

kl_status kl__meet_run(kl__stepper *s, size_t k, int shard, kl__lane *lane)
{
    const kl__pass *p = s->meet->pass[shard];
    if (!p)
        return k == s->meet->n_points ? kl__shard_zero(s, lane) : KL_OK;
    return kl__plan_run_part(p->plan, lane, k ? p->meet[k - 1] : 0, p->meet[k]);
}

kl_status kl__meet_step(kl__stepper *s, const kl_bind *binds, size_t n, int64_t batch, kl__entry *e,
                        const kl__step_scalars *sc, kl__lane *lane)
{
    const int shards = s->opts.shards;
    const size_t last = s->meet->n_points;
    kl_status st = kl__meet_begin(s, &(kl__meet_job){.binds = binds,
                                                     .n = n,
                                                     .batch = batch,
                                                     .entry = s->head,
                                                     .end = shards,
                                                     .block = e->block,
                                                     .counts = e->counts,
                                                     .sc = sc});
    for (size_t k = 0; st == KL_OK && k <= last; k++)
        for (int i = 0; st == KL_OK && i < shards; i++) {
            st = kl__meet_run(s, k, i, lane);
            if (st == KL_OK && k == last)
                st = kl__stepper_join(s, i, shards, lane);
        }
    if (st != KL_OK)
        return st;
    e->has_correct = s->meet->pass[shards - 1]->has_correct; /* the last shard is never empty */
    return send(lane, s->step_block, e->block[shards - 1], KL__STEP_WORDS * sizeof(uint32_t));
}

kl_status kl__meet_explain(kl__stepper *s, const kl__meet_job *job, int64_t step)
{
    kl__lane *lane = kl__ctx_lane(s->ctx, KL__COMPUTE);
    kl_status st = kl__meet_begin(s, job);
    for (size_t k = 0; st == KL_OK && k <= s->meet->n_points; k++)
        for (int i = job->first; st == KL_OK && i < job->end; i++) {
            const kl__pass *p = s->meet->pass[i];
            if (p)
                st = kl__debug_find(p->plan, lane, k ? p->meet[k - 1] : 0, p->meet[k]);
        }
    return st == KL_E_NUMERIC ? kl__fail_in(st, "step %lld", (long long)step) : st;
}
