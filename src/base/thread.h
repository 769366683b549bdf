/* Threads: thin names over pthreads, so that one file knows them. */
#ifndef KL_BASE_THREAD_H
#define KL_BASE_THREAD_H

#include <kiln/base.h>
#include <pthread.h>

typedef pthread_mutex_t kl__mutex;
typedef pthread_cond_t kl__cond;
typedef pthread_t kl__thread;

void kl__mutex_init(kl__mutex *m);
void kl__mutex_finish(kl__mutex *m);
void kl__lock(kl__mutex *m);
void kl__unlock(kl__mutex *m);
void kl__cond_init(kl__cond *c); /* monotonic clock */
void kl__cond_finish(kl__cond *c);
void kl__cond_wait(kl__cond *c, kl__mutex *m);
bool kl__cond_wait_for(kl__cond *c, kl__mutex *m, double seconds); /* false: timed out */
void kl__cond_signal(kl__cond *c);
void kl__cond_broadcast(kl__cond *c);
/* all signals blocked in it */
kl_status kl__thread_start(kl__thread *t, void *(*fn)(void *), void *arg);
void kl__thread_join(kl__thread t);
void kl__thread_detach(kl__thread t); /* nobody will join it */

double kl__now(void);     /* monotonic seconds */
double kl__cpu_now(void); /* CPU seconds of the process */
int kl__cpu_count(void);

#endif
