/* Optimizer rules over arenas: one launch updates all parameters. Arenas are P floats, P a multiple
 * of 64; every block of 64 belongs to a group, whose row of the table is {learning-rate factor,
 * weight decay, trained, 0}. The gradient is divided by weight[0] and multiplied by clip[1];
 * where the norm clip[0] is not finite nothing moves. Each rule is written once, for scalars (ref:
 * one work-item per element, T in float or double) and vectors (solo: one work-item per group takes
 * `span` blocks). Bound: memory, 20 to 28 bytes per element and state. Formulas: conventions of
 * PyTorch and (KERAS) Keras; p are the host's scalars per step. */
#include "norm_vec.cl"
#include "step.cl"

#ifndef KERAS /* Keras's form of the rule */
#define KERAS 0
#endif
#ifndef DECOUPLED /* weight decay shrinks w by lr x decay; else it is added to the gradient */
#define DECOUPLED 0
#endif
#ifndef MOMENTUM /* a momentum buffer is kept */
#define MOMENTUM 0
#endif
#ifndef NESTEROV
#define NESTEROV 0
#endif
#ifndef CENTERED /* RMSprop keeps the mean of the gradient as well */
#define CENTERED 0
#endif

/* What a rule needs beside the element's own values, for one element or a vector of them: learning
 * rate and decay of the group, scale of the gradient, step scalars, decay rates of the moments and
 * 1 less them, epsilon, momentum. */
#define RULE_OF(V)                                                                                 \
    {                                                                                              \
        V lr, wd, scale, p0, p1, a, ra, b, rb, eps, mu;                                            \
    }
typedef struct rule_one RULE_OF(T) rule_one;
typedef struct rule_vec RULE_OF(VF) rule_vec;

#if DECOUPLED
#define DECAY(r, w, g) w = fma(w, -(r->lr * r->wd), w)
#else
#define DECAY(r, w, g) g = fma(w, r->wd, g)
#endif

/* SGD. p0: 1 - dampening (1 in the first step). */
#if KERAS
#define SGD_MOVE(w, g, m)                                                                          \
    m = fma(m, r->mu, -r->lr * g);                                                                 \
    w += NESTEROV ? fma(m, r->mu, -r->lr * g) : m
#else
#define SGD_MOVE(w, g, m)                                                                          \
    m = fma(m, r->mu, g * r->p0);                                                                  \
    w -= r->lr * (NESTEROV ? fma(m, r->mu, g) : m)
#endif
#if !MOMENTUM
#undef SGD_MOVE
#define SGD_MOVE(w, g, m) w -= r->lr * g
#endif

/* Adam. torch: p0 = 1 / (1 - b1^t), p1 = 1 / sqrt(1 - b2^t); keras: p0 = sqrt(1 - b2^t) / (1 -
 * b1^t), p1 = 1. */
#define ADAM_MOVE(w, g, m, v)                                                                      \
    m = fma(m, r->a, g * r->ra);                                                                   \
    v = fma(v, r->b, g * g * r->rb);                                                               \
    w -= r->lr * r->p0 * m / fma(sqrt(v), r->p1, r->eps)

/* RMSprop. keras: epsilon under the root, learning rate inside the momentum buffer. */
#if KERAS
#define RMS_ROOT(x) sqrt((x) + r->eps)
#else
#define RMS_ROOT(x) (sqrt(x) + r->eps)
#endif

#define RULES(V, TAG)                                                                              \
    void VCAT(sgd_, TAG)(const VCAT(rule_, TAG) * r, V * w_, V g, V * s0, V * s1, V * s2)          \
    {                                                                                              \
        V w = *w_, m = *s0;                                                                        \
        g = g * r->scale;                                                                          \
        DECAY(r, w, g);                                                                            \
        SGD_MOVE(w, g, m);                                                                         \
        *w_ = w;                                                                                   \
        *s0 = m;                                                                                   \
    }                                                                                              \
    void VCAT(adam_, TAG)(const VCAT(rule_, TAG) * r, V * w_, V g, V * s0, V * s1, V * s2)         \
    {                                                                                              \
        V w = *w_, m = *s0, v = *s1;                                                               \
        g = g * r->scale;                                                                          \
        DECAY(r, w, g);                                                                            \
        ADAM_MOVE(w, g, m, v);                                                                     \
        *w_ = w;                                                                                   \
        *s0 = m;                                                                                   \
        *s1 = v;                                                                                   \
    }                                                                                              \
    void VCAT(rmsprop_, TAG)(const VCAT(rule_, TAG) * r, V * w_, V g, V * s0, V * s1, V * s2)      \
    {                                                                                              \
        V w = *w_, v = *s0, a = *s1, m = *s2, q;                                                   \
        g = g * r->scale;                                                                          \
        DECAY(r, w, g);                                                                            \
        v = fma(v, r->a, g * g * r->ra);                                                           \
        q = v;                                                                                     \
        if (CENTERED) {                                                                            \
            a = fma(a, r->a, g * r->ra);                                                           \
            q = v - a * a;                                                                         \
            q = q < 0 ? (V)0 : q; /* rounding; a NaN stays */                                      \
        }                                                                                          \
        g = g / RMS_ROOT(q);                                                                       \
        if (MOMENTUM) {                                                                            \
            m = fma(m, r->mu, KERAS ? r->lr * g : g);                                              \
            w -= KERAS ? m : r->lr * m;                                                            \
        } else {                                                                                   \
            w -= r->lr * g;                                                                        \
        }                                                                                          \
        *w_ = w;                                                                                   \
        *s0 = v;                                                                                   \
        *s1 = a;                                                                                   \
        *s2 = m;                                                                                   \
    }
RULES(T, one)
RULES(VF, vec)

/* States that an optimizer keeps; the kernels' other state arguments are not touched. */
#define SGD_STATES (MOMENTUM ? 1 : 0)
#define ADAM_STATES 3
#define RMSPROP_STATES (1 | CENTERED << 1 | MOMENTUM << 2)

/* Arguments of all kernels; a state that is not kept is given as some other buffer. */
#define ARGS                                                                                       \
    global T *w, ulong w_at, global const T *g, ulong g_at, global T *s0, ulong s0_at,             \
        global T *s1, ulong s1_at, global T *s2, ulong s2_at, global const uchar *groups,          \
        ulong groups_at, global const T *table, ulong table_at, global const T *weight,            \
        ulong weight_at, global const T *clip, ulong clip_at, global const uint *step,             \
        ulong step_at, int P, float a, float ra, float b, float rb, float eps, float mu

#define MAKE(r, S, row)                                                                            \
    r.lr = (S)(STEP_T(step + step_at, KL_STEP_LR) * (row)[0]);                                     \
    r.wd = (S)((row)[1]);                                                                          \
    r.scale = (S)(clip[clip_at + 1] / weight[weight_at]);                                          \
    r.p0 = (S)STEP_T(step + step_at, KL_STEP_P0);                                                  \
    r.p1 = (S)STEP_T(step + step_at, KL_STEP_P1);                                                  \
    r.a = (S)(T)a;                                                                                 \
    r.ra = (S)(T)ra;                                                                               \
    r.b = (S)(T)b;                                                                                 \
    r.rb = (S)(T)rb;                                                                               \
    r.eps = (S)(T)eps;                                                                             \
    r.mu = (S)(T)mu

#define REF(NAME, STATES)                                                                          \
    kernel void VCAT(NAME, _ref)(ARGS)                                                             \
    {                                                                                              \
        const size_t i = get_global_id(0);                                                         \
        if (i >= (size_t)P)                                                                        \
            return;                                                                                \
        global const T *row = table + table_at + 4 * (size_t)groups[groups_at + i / 64];           \
        if (row[2] == 0 || !isfinite(clip[clip_at]))                                               \
            return;                                                                                \
        rule_one r;                                                                                \
        MAKE(r, T, row);                                                                           \
        T v = w[w_at + i], u0 = 0, u1 = 0, u2 = 0;                                                 \
        if ((STATES)&1)                                                                            \
            u0 = s0[s0_at + i];                                                                    \
        if ((STATES)&2)                                                                            \
            u1 = s1[s1_at + i];                                                                    \
        if ((STATES)&4)                                                                            \
            u2 = s2[s2_at + i];                                                                    \
        VCAT(NAME, _one)(&r, &v, g[g_at + i], &u0, &u1, &u2);                                      \
        w[w_at + i] = v;                                                                           \
        if ((STATES)&1)                                                                            \
            s0[s0_at + i] = u0;                                                                    \
        if ((STATES)&2)                                                                            \
            s1[s1_at + i] = u1;                                                                    \
        if ((STATES)&4)                                                                            \
            s2[s2_at + i] = u2;                                                                    \
    }
REF(sgd, SGD_STATES)
REF(adam, ADAM_STATES)
REF(rmsprop, RMSPROP_STATES)

#ifndef KL_FP64 /* vectors are of float */
#define SOLO_OF(NAME, STATES)                                                                      \
    kernel void VCAT(NAME, _solo)(ARGS, int span)                                                  \
    {                                                                                              \
        const int b0 = (int)get_global_id(0) * span, b1 = min(P / 64, b0 + span);                  \
        int last = -1;                                                                             \
        bool trained = false;                                                                      \
        rule_vec r;                                                                                \
        for (int k = b0; k < b1; k++) {                                                            \
            const int group = groups[groups_at + k];                                               \
            if (group != last) {                                                                   \
                global const T *row = table + table_at + 4 * group;                                \
                trained = row[2] != 0 && isfinite(clip[clip_at]);                                  \
                last = group;                                                                      \
                MAKE(r, VF, row);                                                                  \
            }                                                                                      \
            for (int l = 0; l < 64 && trained; l += VN) {                                          \
                const size_t i = (size_t)k * 64 + l;                                               \
                VF v = VLD(w + w_at + i), u0 = (VF)0, u1 = (VF)0, u2 = (VF)0;                      \
                if ((STATES)&1)                                                                    \
                    u0 = VLD(s0 + s0_at + i);                                                      \
                if ((STATES)&2)                                                                    \
                    u1 = VLD(s1 + s1_at + i);                                                      \
                if ((STATES)&4)                                                                    \
                    u2 = VLD(s2 + s2_at + i);                                                      \
                VCAT(NAME, _vec)(&r, &v, VLD(g + g_at + i), &u0, &u1, &u2);                        \
                VST(v, w + w_at + i);                                                              \
                if ((STATES)&1)                                                                    \
                    VST(u0, s0 + s0_at + i);                                                       \
                if ((STATES)&2)                                                                    \
                    VST(u1, s1 + s1_at + i);                                                       \
                if ((STATES)&4)                                                                    \
                    VST(u2, s2 + s2_at + i);                                                       \
            }                                                                                      \
        }                                                                                          \
    }
SOLO_OF(sgd, SGD_STATES)
SOLO_OF(adam, ADAM_STATES)
SOLO_OF(rmsprop, RMSPROP_STATES)
#endif
