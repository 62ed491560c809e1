/* SPDX-License-Identifier: MIT
 *
 * What: pools of threads for blocking calls. One job: queued at its home, run by a thread of the pool, its result
 *       handed back as the settling of a deferred.
 *
 * Threads: submit, cancel and close: workers; run: the pool's threads; start and stop: the runtime's. Everything that
 *       several of them touch is under one lock: a pool's `mutex` (its jobs) or `threads_mutex` (all threads of all
 *       pools).
 *       Order: threads_mutex before a pool's.
 *
 * States of a job:  QUEUED -> RUNNING -> ENDED       whoever moves it to ENDED, under the pool's mutex, ends it: drops
 *       its
 *                      +------------------^           argument and, unless its deferred is about to fail by itself,
 *                      settles it.
 *
 * Invariants: (1) a job is in the pool's list of its state; (2) `interrupt` is called under the pool's mutex and only
 *       while RUNNING, which a thread leaves under the same mutex: it never strikes the next job of that thread; (3)
 *       `drop` is called once, before the deferred has its result; (4) every job counts as one outside thing until it
 *       ended (live.h).
 *
 * Lifetime: a job has two holds: its own way's, until it ended, and its home's, until the deferred has a result: only
 *       until then can the home call the canceller. A pool is held by its creator, its threads and its jobs. Threads of
 *       closed pools are joined by the next call that passes by, at the latest by stop.
 * Idle threads sleep on a condition variable: they cost nothing.
 * Rejected: libuv's pool (one for the process, no interrupt, a name lookup can fill it); lock-free queues here (a job
 *       costs two thread switches, and cancelling one in the middle of the queue must be O(1)).
 */
#include "offload.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deferred.h"
#include "live.h"
#include "sched.h"
#include "thread.h"

#define THREADS_MAX 64
#define NAME_BYTES  16 /* of a thread, for the kernel */

struct pirn_pool {
    /* immutable after create */
    char name[NAME_BYTES]; /* "" for the runtime's own                                                  */
    unsigned queue_max;
    /* under threads_mutex */
    pn_node link;          /* in `open_pools`, until closed                                             */
    /* under mutex */
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* a job was queued, or the pool closed                                     */
    pn_list queued, running;
    unsigned queued_count;
    unsigned idle_count;   /* threads without a job                                                     */
    unsigned holds;
    bool closed;
};

typedef enum job_state { QUEUED, RUNNING, ENDED } job_state;

typedef struct job {
    /* immutable after create */
    pirn_work work;
    pirn_pool *pool;
    pirn_deferred *deferred; /* with the hold of the job's own way                                      */
    /* under the pool's mutex */
    pn_node link;
    job_state state;
    unsigned holds;
    bool cancelled;          /* while RUNNING: nobody wants its result                                  */
    bool disowned;           /* its deferred was settled by stop: whoever ends it only cleans up        */
} job;

typedef struct pool_thread {
    /* immutable after start */
    pthread_t id;
    pirn_pool *pool;
    char name[NAME_BYTES];
    /* under threads_mutex */
    pn_node link; /* in `alive`, then `finished`                                                         */
    bool disowned;
    /* under the pool's mutex */
    job *job;     /* the one it runs                                                                    */
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

static void lock(pthread_mutex_t *mutex) {
    PN_ASSERT(pthread_mutex_lock(mutex) == 0);
}

static void unlock(pthread_mutex_t *mutex) {
    PN_ASSERT(pthread_mutex_unlock(mutex) == 0);
}

/* ---- holds ---- */

static void pool_retain(pirn_pool *pool) {
    lock(&pool->mutex);
    pool->holds++;
    unlock(&pool->mutex);
}

static void pool_release(pirn_pool *pool) {
    lock(&pool->mutex);
    bool last = --pool->holds == 0;
    unlock(&pool->mutex);
    if (last) {
        PN_ASSERT(pool->closed && pn_list_empty(&pool->queued) && pn_list_empty(&pool->running));
        pthread_cond_destroy(&pool->changed);
        pthread_mutex_destroy(&pool->mutex);
        free(pool);
    }
}

static void job_release(job *given) {
    pirn_pool *pool = given->pool;
    lock(&pool->mutex);
    bool last = --given->holds == 0;
    unlock(&pool->mutex);
    if (last) {
        free(given);
        pool_release(pool);
    }
}

/* ---- the end of a job: ENDED, in no list ---- */

static void drop_arg(const pirn_work *work) {
    if (work->drop) {
        work->drop(work->arg);
    }
}

/* Give `result` to whoever waits. Any thread of the runtime. */
static void end(job *ended, pirn_result *result) {
    drop_arg(&ended->work);
    /* PIRN_EALREADY: somebody else fired it meanwhile; then the result is destroyed there. */
    (void)pirn_deferred_settle(ended->deferred, result);
    pirn_deferred_release(ended->deferred);
    pn_outside_end();
    job_release(ended);
}

/* It was cancelled: its deferred fails by itself. A result that came late is destroyed here and not left to race with
 * that. */
static void end_cancelled(job *ended, pirn_result *late) {
    drop_arg(&ended->work);
    pirn_result_drop(late);
    pirn_deferred_release(ended->deferred);
    pn_outside_end();
    job_release(ended);
}

/* A pool's thread, after stop has given it up: the runtime may be gone. */
static void end_disowned(job *ended, pirn_result *result) {
    pirn_result_drop(result);
    drop_arg(&ended->work);
    job_release(ended);
}

static void end_closed(job *ended) {
    pirn_result result = {0};
    (void)pirn_result_fail(&result, PIRN_ECLOSED, "the offload pool \"%s\" was closed before the job began",
                           ended->pool->name);
    end(ended, &result);
}

static void end_over_limit(job *ended) {
    pirn_result result = {0};
    const pirn_pool *pool = ended->pool;
    (void)pirn_result_fail(&result, PIRN_ELIMIT, "%u jobs wait in the offload pool \"%s\": raise its %s, or offload less at once",
                           pool->queue_max, pool->name, pool->name[0] ? "queue_max" : "bound, pirn_options.offload_max");
    end(ended, &result);
}

/* ---- a pool's thread ---- */

/* The next job, RUNNING; NULL: the pool was closed. */
static job *take_job(pool_thread *own) {
    pirn_pool *pool = own->pool;
    lock(&pool->mutex);
    while (pn_list_empty(&pool->queued) && !pool->closed) {
        PN_ASSERT(pthread_cond_wait(&pool->changed, &pool->mutex) == 0);
    }
    pn_node *node = pn_list_pop(&pool->queued);
    job *taken = node ? PN_CONTAINER_OF(node, job, link) : NULL;
    if (taken) {
        pool->queued_count--;
        pool->idle_count--;
        taken->state = RUNNING;
        pn_list_append(&pool->running, &taken->link);
        own->job = taken;
    }
    unlock(&pool->mutex);
    return taken;
}

static void run_job(pool_thread *own, job *taken) {
    pirn_result result = {0};
    int status = taken->work.work(taken->work.arg, &result);
    if (status != 0 && result.status == 0) {
        pirn_result_drop(&result);
        result.status = status < 0 ? status : PIRN_EFAILED;
    }

    pirn_pool *pool = own->pool;
    lock(&pool->mutex);
    pn_node_unlink(&taken->link);
    taken->state = ENDED;
    own->job = NULL;
    pool->idle_count++;
    bool disowned = taken->disowned, cancelled = taken->cancelled;
    unlock(&pool->mutex);

    if (disowned) {
        end_disowned(taken, &result);
    } else if (cancelled) {
        end_cancelled(taken, &result);
    } else {
        end(taken, &result);
    }
}

static void *run_thread(void *arg) {
    pool_thread *own = arg;
    for (job *taken = take_job(own); taken; taken = take_job(own)) {
        run_job(own, taken);
    }
    /* `own` is the joiner's from the unlock on, and stop, which looks at `own->pool` while `own` is alive, needs our
     * hold so long. */
    pirn_pool *pool = own->pool;
    lock(&threads_mutex);
    bool disowned = own->disowned;
    if (!disowned) {
        pn_node_unlink(&own->link);
        pn_list_append(&finished, &own->link);
        PN_ASSERT(pthread_cond_signal(&thread_finished) == 0);
    }
    unlock(&threads_mutex);
    if (disowned) {
        free(own);
    }
    pool_release(pool);
    return NULL;
}

/* Join the threads that have come to their end: a wait of microseconds each. */
static void join_finished(void) {
    lock(&threads_mutex);
    for (pn_node *node = pn_list_pop(&finished); node; node = pn_list_pop(&finished)) {
        pool_thread *over = PN_CONTAINER_OF(node, pool_thread, link);
        unlock(&threads_mutex);
        PN_ASSERT(pthread_join(over->id, NULL) == 0);
        free(over);
        lock(&threads_mutex);
    }
    unlock(&threads_mutex);
}

/* ---- a pool's life ---- */

static pirn_pool *pool_new(const char *name, unsigned thread_count, unsigned queue_max) {
    pirn_pool *pool = calloc(1, sizeof *pool);
    if (!pool) {
        return NULL;
    }
    snprintf(pool->name, sizeof pool->name, "%s", name);
    pool->queue_max = queue_max;
    PN_ASSERT(pthread_mutex_init(&pool->mutex, NULL) == 0);
    PN_ASSERT(pthread_cond_init(&pool->changed, NULL) == 0);
    pn_list_init(&pool->queued);
    pn_list_init(&pool->running);
    pool->idle_count = thread_count;
    pool->holds = 1;
    return pool;
}

/* The name of thread `index`: by pool, or by number in the runtime's own. */
static void name_thread(pool_thread *thread, unsigned index) {
    char name[2 * NAME_BYTES];
    if (thread->pool->name[0]) {
        snprintf(name, sizeof name, "offload-%s", thread->pool->name);
    } else {
        snprintf(name, sizeof name, "offload-%u", index);
    }
    memcpy(thread->name, name, NAME_BYTES - 1);
}

static int start_thread(pirn_pool *pool, unsigned index) {
    pool_thread *thread = calloc(1, sizeof *thread);
    if (!thread) {
        return PIRN_ENOMEM;
    }
    thread->pool = pool;
    name_thread(thread, index);
    pool_retain(pool);
    /* Under the lock, so that the thread finds itself in `alive` and with its id when it comes to its end. */
    lock(&threads_mutex);
    int error = pn_thread_start(&thread->id, PN_OFFLOAD, thread->name, run_thread, thread);
    if (error == 0) {
        pn_list_append(&alive, &thread->link);
    }
    unlock(&threads_mutex);
    if (error != 0) {
        pool_release(pool);
        free(thread);
    }
    return error;
}

static void close_pool(pirn_pool *pool);

static int pool_open(const char *name, unsigned thread_count, unsigned queue_max, pirn_pool **opened) {
    PN_ASSERT(pthread_once(&threads_once, init_threads) == 0);
    join_finished();
    pirn_pool *pool = pool_new(name, thread_count, queue_max);
    if (!pool) {
        return PIRN_ENOMEM;
    }
    lock(&threads_mutex);
    pn_list_append(&open_pools, &pool->link);
    unlock(&threads_mutex);
    for (unsigned i = 0; i < thread_count; i++) {
        int error = start_thread(pool, i);
        if (error != 0) {
            close_pool(pool);
            pool_release(pool);
            return error;
        }
    }
    *opened = pool;
    return 0;
}

/* Under the pool's mutex, RUNNING. */
static void interrupt(job *running) {
    if (running->work.interrupt) {
        running->work.interrupt(running->work.arg);
    }
}

static void interrupt_all(pirn_pool *pool) {
    PN_LIST_EACH(&pool->running, node) {
        interrupt(PN_CONTAINER_OF(node, job, link));
    }
}

/* May be called again, and by two threads: whoever comes second finds nothing queued. */
static void close_pool(pirn_pool *pool) {
    lock(&threads_mutex);
    if (pn_linked(&pool->link)) {
        pn_node_unlink(&pool->link);
    }
    unlock(&threads_mutex);

    lock(&pool->mutex);
    pool->closed = true;
    PN_ASSERT(pthread_cond_broadcast(&pool->changed) == 0);
    interrupt_all(pool);
    for (pn_node *node = pn_list_pop(&pool->queued); node; node = pn_list_pop(&pool->queued)) {
        job *refused = PN_CONTAINER_OF(node, job, link);
        pool->queued_count--;
        refused->state = ENDED;
        /* Unlocked: ending a job may run callbacks, which may come back here. */
        unlock(&pool->mutex);
        end_closed(refused);
        lock(&pool->mutex);
    }
    unlock(&pool->mutex);
}

pirn_pool *pirn_pool_create(const char *name, unsigned threads, unsigned queue_max) {
    pirn_pool *pool = NULL;
    if (!name || !name[0] || threads < 1 || threads > THREADS_MAX || !pn_sched_self() ||
        pool_open(name, threads, queue_max, &pool) != 0) {
        return NULL;
    }
    return pool;
}

void pirn_pool_close(pirn_pool *pool) {
    if (pool) {
        close_pool(pool);
        pool_release(pool);
        join_finished();
    }
}

/* ---- jobs ---- */

/* The deferred's canceller. Home, only while the deferred has no result. */
static void cancel(pirn_deferred *deferred, void *context) {
    (void)deferred;
    job *cancelled = context;
    pirn_pool *pool = cancelled->pool;
    lock(&pool->mutex);
    bool withdrawn = cancelled->state == QUEUED;
    if (withdrawn) {
        pn_node_unlink(&cancelled->link);
        pool->queued_count--;
        cancelled->state = ENDED;
    } else if (cancelled->state == RUNNING) {
        cancelled->cancelled = true;
        interrupt(cancelled);
    }
    unlock(&pool->mutex);
    if (withdrawn) {
        pirn_result none = {0};
        end_cancelled(cancelled, &none);
    }
}

/* The deferred's first callback: it has a result, so the canceller can't be called any more. */
static pirn_deferred *give_up_home_hold(void *context, pirn_result *result) {
    (void)result;
    job_release(context);
    return NULL;
}

/* Takes over the caller's hold on `pool`, on success. */
static job *job_new(const pirn_work *work, pirn_pool *pool, const char *file, int line) {
    job *made = malloc(sizeof *made);
    if (!made) {
        return NULL;
    }
    *made = (job){.work = *work, .pool = pool, .state = ENDED, .holds = 2};
    made->deferred = pn_deferred_create_from((int)pn_sched_self()->options.id, cancel, made, file, line);
    if (!made->deferred) {
        free(made);
        return NULL;
    }
    pn_deferred_set_external(made->deferred);
    if (pirn_deferred_add_both(made->deferred, give_up_home_hold, made) != 0) {
        pirn_deferred_release(made->deferred);
        free(made);
        return NULL;
    }
    return made;
}

/* 0, PIRN_ECLOSED or PIRN_ELIMIT. A job that an idle thread is about to take does not wait, so it does not count. */
static int enqueue(pirn_pool *pool, job *submitted) {
    int error = 0;
    lock(&pool->mutex);
    if (pool->closed) {
        error = PIRN_ECLOSED;
    } else if (pool->queued_count >= (uint64_t)pool->queue_max + pool->idle_count) {
        error = PIRN_ELIMIT;
    } else {
        submitted->state = QUEUED;
        pn_list_append(&pool->queued, &submitted->link);
        pool->queued_count++;
        PN_ASSERT(pthread_cond_signal(&pool->changed) == 0);
    }
    unlock(&pool->mutex);
    return error;
}

/* The pool to use, held; NULL: the runtime's own is closed. */
static pirn_pool *hold_pool(pirn_pool *chosen) {
    if (chosen) {
        pool_retain(chosen);
        return chosen;
    }
    lock(&threads_mutex);
    pirn_pool *pool = runtime_pool;
    if (pool) {
        pool_retain(pool);
    }
    unlock(&threads_mutex);
    return pool;
}

static pirn_deferred *submit(const pirn_work *work, const char *file, int line) {
    pirn_pool *pool = hold_pool(work->pool);
    if (!pool) {
        drop_arg(work);
        return pirn_deferred_fail_now(pirn_failure_make(PIRN_ECLOSED, "the runtime is ending: no new jobs"));
    }
    job *submitted = job_new(work, pool, file, line);
    if (!submitted) {
        drop_arg(work);
        pool_release(pool);
        return NULL;
    }
    /* Before it is handed over: afterwards it may end at any moment. */
    pirn_deferred *deferred = pirn_deferred_retain(submitted->deferred);
    pn_outside_begin();
    int error = enqueue(pool, submitted);
    if (error == PIRN_ECLOSED) {
        end_closed(submitted);
    } else if (error == PIRN_ELIMIT) {
        end_over_limit(submitted);
    }
    return deferred;
}

pirn_deferred *pirn_offload_with_at(const pirn_work *work, const char *file, int line) {
    PN_ASSERT(work->work);
    if (!pn_sched_self()) {
        pn_warn("pirn_offload() gives its result to a worker, and %s is none: block right here, or hand the job to a "
                "tasklet with pirn_post().",
                pn_thread_role_text());
        drop_arg(work);
        return NULL;
    }
    return submit(work, file, line);
}

pirn_deferred *pirn_offload_at(pirn_work_fn work, void *arg, pirn_drop_fn drop, const char *file, int line) {
    pirn_work plain = {.work = work, .arg = arg, .drop = drop};
    return pirn_offload_with_at(&plain, file, line);
}

/* ---- the runtime's own pool, and the end ---- */

int pn_offload_start(unsigned threads, unsigned queue_max) {
    pirn_pool *pool = NULL;
    int error = pool_open("", threads, queue_max, &pool);
    if (error == 0) {
        lock(&threads_mutex);
        PN_ASSERT(!runtime_pool);
        runtime_pool = pool;
        unlock(&threads_mutex);
    }
    return error;
}

void pn_offload_refuse(void) {
    PN_ASSERT(pthread_once(&threads_once, init_threads) == 0);
    lock(&threads_mutex);
    pirn_pool *own = runtime_pool;
    runtime_pool = NULL;
    for (pn_node *node = pn_list_first(&open_pools); node; node = pn_list_first(&open_pools)) {
        pirn_pool *pool = PN_CONTAINER_OF(node, pirn_pool, link);
        /* Its creator may close it at the same time, and gives up his hold only after he took it out of the list. */
        pool_retain(pool);
        unlock(&threads_mutex);
        close_pool(pool);
        pool_release(pool);
        lock(&threads_mutex);
    }
    unlock(&threads_mutex);
    if (own) {
        pool_release(own);
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
    pirn_deferred *deferred; /* NULL: the thread had no job any more                                     */
    const char *job_name;
    char thread_name[NAME_BYTES];
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
    memcpy(left->thread_name, thread->name, NAME_BYTES);
    left->deferred = NULL;
    lock(&thread->pool->mutex);
    if (thread->job) {
        thread->job->disowned = true;
        left->deferred = thread->job->deferred;
        left->job_name = thread->job->work.name ? thread->job->work.name : "without a name";
    }
    unlock(&thread->pool->mutex);
    return true;
}

static void report_orphan(orphan *left) {
    pn_warn("the job \"%s\" on thread %s outlives the runtime: its result will be destroyed where it ends", left->job_name,
            left->thread_name);
    pirn_result result = {0};
    (void)pirn_result_fail(&result, PIRN_ECLOSED, "the job \"%s\" outlived the runtime", left->job_name);
    (void)pirn_deferred_settle(left->deferred, &result);
    pirn_deferred_release(left->deferred);
    pn_outside_end();
}

void pn_offload_stop(pirn_time deadline) {
    pn_offload_refuse();
    lock(&threads_mutex);
    wait_for_threads(deadline);
    orphan left;
    while (disown_next(&left)) {
        unlock(&threads_mutex);
        if (left.deferred) {
            report_orphan(&left);
        }
        lock(&threads_mutex);
    }
    unlock(&threads_mutex);
    join_finished();
}
