/* SPDX-License-Identifier: MIT
 *
 * What: offload pools: their threads, their queue's far end, closing, and the end of them all with the runtime.
 * Threads: create and close: workers; start, refuse and stop: the runtime's; the pools' own threads.
 * Invariants: (1) an open pool is in `open_pools`; (2) a thread is in `alive` from its start until it has left
 *       its last job, then in `finished` until somebody has joined it, unless stop disowned it; (3) everything
 *       static here is under threads_mutex.
 * Lifetime: threads of closed pools are joined by the next call that passes by, at the latest by stop. A
 *       disowned thread frees its own record.
 * Idle threads sleep on a condition variable: they cost nothing.
 */
#include "offload.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "alloc.h"
#include "deferred.h"
#include "foreign.h"
#include "live.h"
#include "offload_inside.h"
#include "sched.h"
#include "thread.h"

#define THREADS_MAX 64

typedef struct pool_thread {
    /* immutable after start */
    pthread_t id;
    pirn_pool *pool;
    char name[PN_THREAD_NAME_BYTES];
    /* under threads_mutex */
    pn_node link; /* in `alive`, then `finished` */
    bool disowned;
    /* under the pool's mutex */
    pn_job *job; /* the one it runs */
} pool_thread;

static pthread_mutex_t threads_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t threads_once = PTHREAD_ONCE_INIT;
/* All under threads_mutex. */
static pthread_cond_t thread_finished;
static pn_list open_pools, alive, finished;
static pirn_pool *runtime_pool;

static void init_threads(void) {
    pthread_condattr_t monotonic;
    PN_ASSERT(pthread_condattr_init(&monotonic) == 0);
    PN_ASSERT(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    PN_ASSERT(pthread_cond_init(&thread_finished, &monotonic) == 0);
    PN_ASSERT(pthread_condattr_destroy(&monotonic) == 0);
    pn_list_init(&open_pools);
    pn_list_init(&alive);
    pn_list_init(&finished);
}

/* ---- holds ---- */

void pn_pool_retain(pirn_pool *pool) {
    pn_mutex_lock(&pool->mutex);
    pool->holds++;
    pn_mutex_unlock(&pool->mutex);
}

void pn_pool_release(pirn_pool *pool) {
    pn_mutex_lock(&pool->mutex);
    bool last = --pool->holds == 0;
    pn_mutex_unlock(&pool->mutex);
    if (last) {
        PN_ASSERT(pool->closed && pn_list_empty(&pool->queued) && pn_list_empty(&pool->running));
        pthread_cond_destroy(&pool->changed);
        pthread_mutex_destroy(&pool->mutex);
        pn_free(pool);
    }
}

/* The pool to use, held; NULL: the runtime's own is closed. */
pirn_pool *pn_pool_hold(pirn_pool *chosen) {
    if (chosen) {
        pn_pool_retain(chosen);
        return chosen;
    }
    pn_mutex_lock(&threads_mutex);
    pirn_pool *pool = runtime_pool;
    if (pool) {
        pn_pool_retain(pool);
    }
    pn_mutex_unlock(&threads_mutex);
    return pool;
}

/* ---- a pool's thread ---- */

/* The next job, RUNNING; NULL: the pool was closed. */
static pn_job *take_job(pool_thread *own) {
    pirn_pool *pool = own->pool;
    pn_mutex_lock(&pool->mutex);
    while (pn_list_empty(&pool->queued) && !pool->closed) {
        PN_ASSERT(pthread_cond_wait(&pool->changed, &pool->mutex) == 0);
    }
    /* What a closed pool still has is being refused by close_pool. */
    pn_node *node = pool->closed ? NULL : pn_list_pop(&pool->queued);
    pn_job *taken = node ? PN_CONTAINER_OF(node, pn_job, link) : NULL;
    if (taken) {
        pool->queued_count--;
        pool->idle_count--;
        taken->state = RUNNING;
        pn_list_append(&pool->running, &taken->link);
        own->job = taken;
    }
    pn_mutex_unlock(&pool->mutex);
    return taken;
}

static void run_job(pool_thread *own, pn_job *taken) {
    pirn_result result = {0};
    int status = taken->work.work(taken->work.arg, &result);
    if (status != 0 && result.status == 0) {
        pirn_result_drop(&result);
        result.status = status < 0 ? status : PIRN_EFAILED;
    }

    pirn_pool *pool = own->pool;
    pn_mutex_lock(&pool->mutex);
    pn_node_unlink(&taken->link);
    taken->state = ENDED;
    own->job = NULL;
    pool->idle_count++;
    pn_mutex_unlock(&pool->mutex);
    pn_job_end(taken, &result);
}

static void *run_thread(void *arg) {
    pool_thread *own = arg;
    for (pn_job *taken = take_job(own); taken; taken = take_job(own)) {
        run_job(own, taken);
    }
    /* `own` is the joiner's from the unlock on, and stop, which looks at `own->pool` while `own` is alive, needs our
     * hold so long. */
    pirn_pool *pool = own->pool;
    pn_mutex_lock(&threads_mutex);
    bool disowned = own->disowned;
    if (!disowned) {
        pn_node_unlink(&own->link);
        pn_list_append(&finished, &own->link);
        PN_ASSERT(pthread_cond_signal(&thread_finished) == 0);
    }
    pn_mutex_unlock(&threads_mutex);
    if (disowned) {
        pn_free(own);
    }
    pn_pool_release(pool);
    return NULL;
}

/* Join the threads that have come to their end: a wait of microseconds each. */
static void join_finished(void) {
    pn_mutex_lock(&threads_mutex);
    for (pn_node *node = pn_list_pop(&finished); node; node = pn_list_pop(&finished)) {
        pool_thread *over = PN_CONTAINER_OF(node, pool_thread, link);
        pn_mutex_unlock(&threads_mutex);
        PN_ASSERT(pthread_join(over->id, NULL) == 0);
        pn_free(over);
        pn_mutex_lock(&threads_mutex);
    }
    pn_mutex_unlock(&threads_mutex);
}

/* ---- a pool's life ---- */

static pirn_pool *pool_new(const char *name, unsigned thread_count, unsigned threads_max, unsigned queue_max) {
    pirn_pool *pool = pn_calloc(1, sizeof *pool);
    if (!pool) {
        return NULL;
    }
    snprintf(pool->name, sizeof pool->name, "%s", name);
    pool->queue_max = queue_max;
    PN_ASSERT(pthread_mutex_init(&pool->mutex, NULL) == 0);
    PN_ASSERT(pthread_cond_init(&pool->changed, NULL) == 0);
    pn_list_init(&pool->queued);
    pn_list_init(&pool->running);
    pool->idle_count = pool->thread_count = thread_count;
    pool->threads_max = threads_max;
    pool->holds = 1;
    return pool;
}

/* The name of thread `index`: by pool, or by number in the runtime's own. */
static void name_thread(pool_thread *thread, unsigned index) {
    char name[2 * PN_THREAD_NAME_BYTES];
    if (thread->pool->name[0]) {
        snprintf(name, sizeof name, "offload-%s", thread->pool->name);
    } else {
        snprintf(name, sizeof name, "offload-%u", index);
    }
    memcpy(thread->name, name, PN_THREAD_NAME_BYTES - 1);
}

static int start_thread(pirn_pool *pool, unsigned index) {
    pool_thread *thread = pn_calloc(1, sizeof *thread);
    if (!thread) {
        return PIRN_ENOMEM;
    }
    thread->pool = pool;
    name_thread(thread, index);
    pn_pool_retain(pool);
    /* Under the lock, so that the thread finds itself in `alive` and with its id when it comes to its end. */
    pn_mutex_lock(&threads_mutex);
    int error = pn_thread_start(&thread->id, PN_OFFLOAD, thread->name, run_thread, thread);
    if (error == 0) {
        pn_list_append(&alive, &thread->link);
    }
    pn_mutex_unlock(&threads_mutex);
    if (error != 0) {
        pn_pool_release(pool);
        pn_free(thread);
    }
    return error;
}

static void close_pool(pirn_pool *pool);

static int pool_open(const char *name, unsigned thread_count, unsigned threads_max, unsigned queue_max,
                     pirn_pool **opened) {
    PN_ASSERT(pthread_once(&threads_once, init_threads) == 0);
    join_finished();
    pirn_pool *pool = pool_new(name, thread_count, threads_max, queue_max);
    if (!pool) {
        return PIRN_ENOMEM;
    }
    pn_mutex_lock(&threads_mutex);
    pn_list_append(&open_pools, &pool->link);
    pn_mutex_unlock(&threads_mutex);
    for (unsigned i = 0; i < thread_count; i++) {
        int error = start_thread(pool, i);
        if (error != 0) {
            close_pool(pool);
            pn_pool_release(pool);
            return error;
        }
    }
    *opened = pool;
    return 0;
}

/* Under the pool's mutex. */
static void interrupt_all(pirn_pool *pool) {
    PN_LIST_EACH(&pool->running, node) {
        pn_job_interrupt(PN_CONTAINER_OF(node, pn_job, link));
    }
}

/* May be called again, and by two threads: whoever comes second finds nothing queued. */
static void close_pool(pirn_pool *pool) {
    pn_mutex_lock(&threads_mutex);
    if (pn_linked(&pool->link)) {
        pn_node_unlink(&pool->link);
    }
    pn_mutex_unlock(&threads_mutex);

    pn_mutex_lock(&pool->mutex);
    pool->closed = true;
    PN_ASSERT(pthread_cond_broadcast(&pool->changed) == 0);
    interrupt_all(pool);
    for (pn_node *node = pn_list_pop(&pool->queued); node; node = pn_list_pop(&pool->queued)) {
        pn_job *refused = PN_CONTAINER_OF(node, pn_job, link);
        pool->queued_count--;
        refused->state = ENDED;
        /* Unlocked: ending a job may run callbacks, which may come back here. */
        pn_mutex_unlock(&pool->mutex);
        pn_job_end_unrun(refused);
        pn_mutex_lock(&pool->mutex);
    }
    pn_mutex_unlock(&pool->mutex);
}

pirn_pool *pn_pool_create_growing(const char *name, unsigned threads, unsigned threads_max, unsigned queue_max) {
    pirn_pool *pool = NULL;
    if (!name || !name[0] || threads < 1 || threads > threads_max || threads_max > THREADS_MAX || !pn_sched_self() ||
        pool_open(name, threads, threads_max, queue_max, &pool) != 0) {
        return NULL;
    }
    return pool;
}

pirn_pool *pirn_pool_create(const char *name, unsigned threads, unsigned queue_max) {
    return pn_pool_create_growing(name, threads, threads, queue_max);
}

bool pn_pool_wants_thread(pirn_pool *pool) {
    if (pool->closed || pool->queued_count <= pool->idle_count || pool->thread_count >= pool->threads_max) {
        return false;
    }
    pool->thread_count++;
    pool->idle_count++;
    pool->holds++;
    return true;
}

void pn_pool_grow(pirn_pool *pool) {
    if (start_thread(pool, pool->threads_max) != 0) {
        /* The job waits for one of the others. */
        pn_mutex_lock(&pool->mutex);
        pool->thread_count--;
        pool->idle_count--;
        pn_mutex_unlock(&pool->mutex);
    }
    pn_pool_release(pool);
}

void pirn_pool_close(pirn_pool *pool) {
    if (pool) {
        close_pool(pool);
        pn_pool_release(pool);
        join_finished();
    }
}

/* ---- the runtime's own pool, and the end ---- */

int pn_offload_start(unsigned threads, unsigned queue_max) {
    pirn_pool *pool = NULL;
    int error = pool_open("", threads, threads, queue_max, &pool);
    if (error == 0) {
        pn_mutex_lock(&threads_mutex);
        PN_ASSERT(!runtime_pool);
        runtime_pool = pool;
        pn_mutex_unlock(&threads_mutex);
    } else {
        pn_offload_stop(PIRN_FOREVER); /* the threads that did start are idle, and end with the call that failed */
    }
    return error;
}

void pn_offload_refuse(void) {
    PN_ASSERT(pthread_once(&threads_once, init_threads) == 0);
    pn_mutex_lock(&threads_mutex);
    pirn_pool *own = runtime_pool;
    runtime_pool = NULL;
    for (pn_node *node = pn_list_first(&open_pools); node; node = pn_list_first(&open_pools)) {
        pirn_pool *pool = PN_CONTAINER_OF(node, pirn_pool, link);
        /* Its creator may close it at the same time, and gives up his hold only after he took it out of the list. */
        pn_pool_retain(pool);
        pn_mutex_unlock(&threads_mutex);
        close_pool(pool);
        pn_pool_release(pool);
        pn_mutex_lock(&threads_mutex);
    }
    pn_mutex_unlock(&threads_mutex);
    if (own) {
        pn_pool_release(own);
    }
}

/* Wait until no pool has a thread, or `deadline`. threads_mutex held. */
static void wait_for_threads(pirn_time deadline) {
    struct timespec until = {.tv_sec = deadline / PIRN_SECOND, .tv_nsec = deadline % PIRN_SECOND};
    int error = 0;
    while (!pn_list_empty(&alive) && error == 0) {
        error = deadline == PIRN_FOREVER ? pthread_cond_wait(&thread_finished, &threads_mutex)
                                         : pthread_cond_timedwait(&thread_finished, &threads_mutex, &until);
    }
    PN_ASSERT(error == 0 || error == ETIMEDOUT);
}

/* What a disowned job leaves to the runtime. */
typedef struct orphan {
    pirn_deferred *deferred; /* NULL: the thread had no job any more */
    const char *job_name;
    char thread_name[PN_THREAD_NAME_BYTES];
} orphan;

/* Take the next thread out of `alive` and its job, if any, from it. threads_mutex held. */
static bool disown_next(orphan *left) {
    pn_node *node = pn_list_pop(&alive);
    if (!node) {
        return false;
    }
    pool_thread *thread = PN_CONTAINER_OF(node, pool_thread, link);
    thread->disowned = true;
    PN_ASSERT(pthread_detach(thread->id) == 0);
    memcpy(left->thread_name, thread->name, PN_THREAD_NAME_BYTES);
    left->deferred = NULL;
    pn_mutex_lock(&thread->pool->mutex);
    if (thread->job) {
        left->deferred = pn_job_disown(thread->job);
        left->job_name = thread->job->work.name ? thread->job->work.name : "without a name";
    }
    pn_mutex_unlock(&thread->pool->mutex);
    return true;
}

static void report_orphan(orphan *left) {
    pn_warn("the job \"%s\" on thread %s outlives the runtime: its result will be destroyed where it ends",
            left->job_name, left->thread_name);
    pirn_result result = {0};
    (void)pirn_result_fail(&result, PIRN_ECLOSED, "the job \"%s\" outlived the runtime", left->job_name);
    (void)pirn_deferred_settle(left->deferred, &result);
    pirn_deferred_release(left->deferred);
}

void pn_offload_stop(pirn_time deadline) {
    pn_offload_refuse();
    pn_mutex_lock(&threads_mutex);
    wait_for_threads(deadline);
    orphan left;
    while (disown_next(&left)) {
        pn_mutex_unlock(&threads_mutex);
        if (left.deferred) {
            report_orphan(&left);
        }
        pn_mutex_lock(&threads_mutex);
    }
    pn_mutex_unlock(&threads_mutex);
    join_finished();
    pn_foreign_stop_jobs(); /* threads that were disowned deliver no more */
}
