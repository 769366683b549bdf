/* Groups of equal devices for the team's tests, and trainings over them. */
#ifndef KL_TESTS_SCHED_TEAM_RIG_H
#define KL_TESTS_SCHED_TEAM_RIG_H

#include "nets.h"

enum { TEAM_MAX = 4 };

/** Before the first OpenCL call: PoCL shows TEAM_MAX devices. */
void team_environment(void);

typedef struct team_group {
    kl_ctx *ctx[TEAM_MAX];
    size_t n;
} team_group;
extern double team_timeout; /* kl_ctx_opts.timeout of what is opened from now on */
/** How many devices like the best one its platform has. It opens a context the first time. */
int team_count(void);
/** n equal devices of one platform; false: there are not so many. */
bool team_devices(team_group *g, int n);
/** The same where one may fail: what kl_ctx_create_group says; n: at most team_count. */
kl_status team_open(team_group *g, int n);
/** The n equal parts of the first of them; false: it cannot be cut. */
bool team_parts(team_group *g, int n);
void team_close(team_group *g);

typedef enum team_net { TEAM_DENSE, TEAM_CONV, TEAM_DROPOUT, TEAM_NETS } team_net;
kl_model *team_model(team_net net);
extern const char *const team_net_name[TEAM_NETS];

/** Steps of a batch that its number tells, from `first` on; every fourth is of a short batch. */
void team_steps(kl_trainer *tr, int first, int n);

typedef struct team_outcome {
    bool group;
    float *params;
    size_t n;
    double loss, norm;         /* of the training */
    double eval_loss, accuracy; /* of a batch never trained on */
} team_outcome;
/** Of the trainer's model; waits. */
team_outcome team_look(kl_trainer *tr, bool group);
void team_forget(team_outcome *o);
/** Fails the test with `what` unless a and b are equal bit by bit. */
void team_equal(const team_outcome *a, const team_outcome *b, const char *what);

kl_trainer *team_trainer(kl_model *m, const team_group *g, const kl_trainer_opts *o);

#endif
