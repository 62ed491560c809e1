/* SPDX-License-Identifier: MIT
 *
 * What: the insides of offload pools, shared by offload.c (jobs) and offload_pool.c (pools and their threads).
 * Threads: a job's and a pool's changing fields are under the pool's mutex; a pool's place among all is under the one
 *       threads_mutex of offload_pool.c. Order: threads_mutex before a pool's.
 *
 * States of a job:  QUEUED -> RUNNING -> ENDED -> SETTLED     The thread that moves it to ENDED ends
 *                      +------------------^        it: drops its argument and settles the deferred. A cancel that
 *                                                  came first has failed that, and the result is destroyed.
 *
 * Lifetime: a job has two holds: its own way's, until it ended, and its home's, until the deferred has a result: only
 *       until then can the home call the canceller. A pool is held by its creator, its threads and its jobs.
 */
#ifndef PN_OFFLOAD_INSIDE_H
#define PN_OFFLOAD_INSIDE_H

#include <pthread.h>

#include "list.h"
#include "offload.h"

#define PN_THREAD_NAME_BYTES 16 /* the kernel's limit */

struct pirn_pool {
    /* immutable after create */
    char name[PN_THREAD_NAME_BYTES]; /* "" for the runtime's own */
    unsigned queue_max, threads_max;
    /* under threads_mutex */
    pn_node link; /* in `open_pools`, until closed */
    /* under mutex */
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* a job was queued, or the pool closed */
    pn_list queued, running;
    unsigned queued_count;
    unsigned idle_count; /* threads without a job */
    unsigned thread_count;
    unsigned holds;
    bool closed;
};

typedef enum pn_job_state { QUEUED, RUNNING, ENDED, SETTLED } pn_job_state;

typedef struct pn_job {
    /* immutable after create */
    pirn_work work;
    pirn_pool *pool;
    pirn_deferred *deferred; /* with the hold of the job's own way */
    unsigned home;
    uint32_t run; /* the home's runtime */
    /* from its end, when it was cancelled while it ran: to the home, which counts it until then */
    pn_message over;
    /* under the pool's mutex */
    pn_node link;
    pn_job_state state;
    unsigned holds;
    bool cancelled; /* while RUNNING or ENDED: nobody wants its result. Written by the home, which may read it freely */
    bool disowned;  /* its deferred was settled by stop: whoever ends it only cleans up */
} pn_job;

static inline void pn_mutex_lock(pthread_mutex_t *mutex) {
    PN_ASSERT(pthread_mutex_lock(mutex) == 0);
}

static inline void pn_mutex_unlock(pthread_mutex_t *mutex) {
    PN_ASSERT(pthread_mutex_unlock(mutex) == 0);
}

/* ---- offload_pool.c ---- */

void pn_pool_retain(pirn_pool *pool);
void pn_pool_release(pirn_pool *pool);
/* `chosen`, or the runtime's own for NULL, held; NULL: that is closed. */
pirn_pool *pn_pool_hold(pirn_pool *chosen);

/* Under the pool's mutex: whether a job waits that no idle thread is about to take, and a thread may be added. It then
 * counts, and the pool is held for pn_pool_grow(), which is called without the mutex. */
bool pn_pool_wants_thread(pirn_pool *pool);
void pn_pool_grow(pirn_pool *pool);

/* ---- offload.c ---- */

/* End a job that is ENDED and in no list, with what its work came to. The job may be gone afterwards. */
void pn_job_end(pn_job *job, pirn_result *result);
/* The same for one that never ran, because its pool was closed. */
void pn_job_end_unrun(pn_job *job);
/* Under the pool's mutex, RUNNING. */
void pn_job_interrupt(pn_job *job);
/* Under the pool's mutex, RUNNING: take its deferred from it, with the hold that goes with it: whatever it comes to is
 * destroyed where it ends. */
pirn_deferred *pn_job_disown(pn_job *job);

#endif
