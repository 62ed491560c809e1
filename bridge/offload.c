/* SPDX-License-Identifier: MIT
 *
 * What: a blocking call as a job: queued at its home, run by a thread of a pool (offload_pool.c), its result
 *       handed back as the settling of a deferred.
 * Threads: submit and cancel: workers, cancel only the home. end: a pool's thread, or whoever withdraws or closes.
 * Invariants: (1) a job is in the pool's list of its state; (2) `interrupt` is called under the pool's mutex and
 *       only while RUNNING, which a thread leaves under the same mutex: it never strikes the next job of that
 *       thread; (3) `drop` is called once, before the deferred has its result; (4) every job is counted at its home
 *       until it is over, also when it was cancelled and goes on running (live.h).
 * States and lifetime: offload_inside.h.
 * Rejected: libuv's pool (one for the process, no interrupt, a name lookup can fill it); lock-free queues here
 *       (a job costs two thread switches, and cancelling one in the middle of the queue must be O(1)).
 */
#include "offload.h"

#include "alloc.h"
#include "deferred.h"
#include "failure.h"
#include "foreign.h"
#include "live.h"
#include "offload_inside.h"
#include "sched.h"
#include "thread.h"

static void job_release(pn_job *given) {
    pirn_pool *pool = given->pool;
    pn_mutex_lock(&pool->mutex);
    bool last = --given->holds == 0;
    pn_mutex_unlock(&pool->mutex);
    if (last) {
        pn_free(given);
        pn_pool_release(pool);
    }
}

/* ---- the end of a job: ENDED, in no list ---- */

static void drop_arg(const pirn_work *work) {
    pn_value_drop(work->drop, work->arg);
}

/* It was withdrawn before it ran: its deferred fails by itself. Home. */
static void end_withdrawn(pn_job *ended) {
    drop_arg(&ended->work);
    pirn_deferred_release(ended->deferred);
    job_release(ended);
}

/* Home. */
static void deliver_over(pn_message *message) {
    pn_job_count_end();
    job_release(PN_CONTAINER_OF(message, pn_job, over));
}

/* It was cancelled before it was settled: its deferred has failed by itself, and a result that came late is destroyed.
 * What these destructors do may still wake tasklets (a pool of connections gets one back), so it is counted until
 * now. */
static void end_cancelled(pn_job *ended, pirn_result *late) {
    pirn_result_drop(late);
    ended->over.deliver = deliver_over;
    if (pn_foreign_enter(ended->run) != 0) {
        pn_below->post(ended->home, &ended->over);
        pn_foreign_leave();
    } else {
        job_release(ended); /* nobody counts any more */
    }
}

/* From here on a cancel finds nothing to do here. True: one came before. */
static bool finish(pn_job *ended) {
    pn_mutex_lock(&ended->pool->mutex);
    bool cancelled = ended->cancelled;
    ended->state = SETTLED;
    pn_mutex_unlock(&ended->pool->mutex);
    return cancelled;
}

/* Give `result` to those who wait. Any thread of the runtime. */
static void end_owned(pn_job *ended, pirn_result *result) {
    drop_arg(&ended->work);
    /* PIRN_EALREADY: cancelled, or somebody else fired it; then the result has been destroyed there. */
    int error = pirn_deferred_settle(ended->deferred, result);
    bool cancelled = finish(ended);
    pirn_deferred_release(ended->deferred);
    if (cancelled) {
        end_cancelled(ended, result);
        return;
    }
    if (error == PIRN_ECLOSED) {
        job_release(ended); /* the home's hold: it is gone, and hears of no result */
    }
    job_release(ended);
}

/* A pool's thread, after stop has given it up: the runtime may be gone. */
static void end_disowned(pn_job *ended, pirn_result *late) {
    pirn_result_drop(late);
    drop_arg(&ended->work);
    job_release(ended);
}

void pn_job_end(pn_job *job, pirn_result *result) {
    if (job->disowned) { /* only raised while it runs, so it stands still now */
        end_disowned(job, result);
    } else {
        end_owned(job, result);
    }
}

void pn_job_end_unrun(pn_job *job) {
    pirn_result result = {0};
    (void)pirn_result_fail(&result, PIRN_ECLOSED, "the offload pool \"%s\" was closed before the job began",
                           job->pool->name);
    end_owned(job, &result);
}

static void end_over_limit(pn_job *ended) {
    pirn_result result = {0};
    const pirn_pool *pool = ended->pool;
    (void)pirn_result_fail(
        &result, PIRN_ELIMIT, "%u jobs wait in the offload pool \"%s\": raise its %s, or offload less at once",
        pool->queue_max, pool->name, pool->name[0] ? "queue_max" : "bound, pirn_options.offload_max");
    end_owned(ended, &result);
}

/* ---- stopping a job ---- */

void pn_job_interrupt(pn_job *job) {
    if (job->work.interrupt) {
        job->work.interrupt(job->work.arg);
    }
}

pirn_deferred *pn_job_disown(pn_job *job) {
    job->disowned = true;
    return job->deferred;
}

/* ---- making a job ---- */

/* The deferred's canceller. Home, only while the deferred has no result. */
static void cancel(pirn_deferred *deferred, void *context) {
    (void)deferred;
    pn_job *cancelled = context;
    pirn_pool *pool = cancelled->pool;
    pn_mutex_lock(&pool->mutex);
    bool withdrawn = cancelled->state == QUEUED;
    if (withdrawn) {
        pn_node_unlink(&cancelled->link);
        pool->queued_count--;
        cancelled->state = ENDED;
    } else if (cancelled->state == RUNNING) {
        cancelled->cancelled = true;
        pn_job_interrupt(cancelled);
    } else if (cancelled->state == ENDED) {
        cancelled->cancelled = true; /* its thread drops the argument, or settles, which comes too late */
    }
    pn_mutex_unlock(&pool->mutex);
    if (withdrawn) {
        end_withdrawn(cancelled);
    }
}

/* Home, when the deferred's result arrives: the canceller can't be called any more. The job is over, unless it was
 * cancelled and goes on: `cancelled` is written at home only. */
static void give_up_home_hold(void *context) {
    pn_job *job = context;
    if (!job->cancelled) {
        pn_job_count_end();
    }
    job_release(job);
}

/* Takes over the caller's hold on `pool`, on success. */
static pn_job *job_new(const pirn_work *work, pirn_pool *pool, const char *file, int line) {
    pn_job *made = pn_malloc(sizeof *made);
    if (!made) {
        return NULL;
    }
    *made = (pn_job){.work = *work,
                     .pool = pool,
                     .home = pn_sched_self()->options.id,
                     .run = pn_sched_self()->options.run,
                     .state = ENDED,
                     .holds = 2};
    made->deferred = pn_deferred_create_from((int)pn_sched_self()->options.id, cancel, made, file, line);
    if (!made->deferred) {
        pn_free(made);
        return NULL;
    }
    pn_deferred_set_source(made->deferred, give_up_home_hold);
    return made;
}

/* 0, PIRN_ECLOSED or PIRN_ELIMIT. A job that an idle thread is about to take does not wait, so it does not count. */
static int enqueue(pirn_pool *pool, pn_job *submitted) {
    int error = 0;
    bool grow = false;
    pn_mutex_lock(&pool->mutex);
    if (pool->closed) {
        error = PIRN_ECLOSED;
    } else if (pool->queued_count >= (uint64_t)pool->queue_max + pool->idle_count) {
        error = PIRN_ELIMIT;
    } else {
        submitted->state = QUEUED;
        pn_list_append(&pool->queued, &submitted->link);
        pool->queued_count++;
        PN_ASSERT(pthread_cond_signal(&pool->changed) == 0);
        grow = pn_pool_wants_thread(pool);
    }
    pn_mutex_unlock(&pool->mutex);
    if (grow) {
        pn_pool_grow(pool);
    }
    return error;
}

static pirn_deferred *submit(const pirn_work *work, const char *file, int line) {
    pn_sched *sched = pn_sched_self();
    if (sched->in_callback && sched->stage >= PN_REFUSING) { /* a callback that asks again would go on without an end */
        pn_sched_tell_refusal(sched, "a job", file, line);
        drop_arg(work);
        return NULL;
    }
    pirn_pool *pool = pn_pool_hold(work->pool);
    if (!pool) {
        drop_arg(work);
        return pirn_deferred_fail_now(pirn_failure_make(PIRN_ECLOSED, "the runtime is ending: no new jobs"));
    }
    pn_job *submitted = job_new(work, pool, file, line);
    if (!submitted) {
        drop_arg(work);
        pn_pool_release(pool);
        pn_tasklet_was_refused();
        return NULL;
    }
    /* Before it is handed over: afterwards it may end at any moment. */
    pirn_deferred *deferred = pirn_deferred_retain(submitted->deferred);
    pn_job_count_begin();
    int error = enqueue(pool, submitted);
    if (error == PIRN_ECLOSED) {
        pn_job_end_unrun(submitted);
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
