/* SPDX-License-Identifier: MIT
 *
 * What: the seeds' deferred_tasklet and blocking_tasklet: a function runs in a tasklet of its own, its outcome is a
 *       deferred's.
 *
 * Threads: the caller's worker.
 *
 * Exactly once: the deferred is settled by a clean-up of the tasklet, so it is on every way a tasklet can end: its
 *       function returned, it was cancelled before its first turn, there was no memory for its stack.
 * Lifetime: the job is freed there, after settling: by then its canceller, which needs it, will not be called again.
 * Source: the first seed's decorators, and what semantics ask of them: check first, start afterwards; an error reaches
 *       the waiter; cancelled is a status of its own. A cancel is Twisted's inlineCallbacks': it interrupts the body's
 *       wait, and the deferred fires when the body has ended.
 */

#include "alloc.h"
#include "call.h"
#include "deferred_inside.h"

typedef struct job {
    pirn_call_fn fn;
    void *arg;
    pirn_deferred *deferred; /* held                                                                     */
    pirn_tasklet tasklet;
    bool ran, cancelled;
    pirn_result result;
} job;

static int run_job(void *arg) {
    job *j = arg;
    j->ran = true;
    pn_call_conclude(&j->result, j->fn(j->arg, &j->result));
    return 0; /* an error is the deferred's to report */
}

/* Why a tasklet ended that never ran. */
static int code_of_unstarted(const pn_tasklet *tasklet) {
    if (tasklet->cancelled) {
        return PIRN_ECANCELED;
    }
    return tasklet->strike != 0 ? tasklet->strike : PIRN_ENOMEM;
}

static void end_job(void *arg) {
    job *j = arg;
    const pn_tasklet *tasklet = pn_tasklet_find(pn_sched_self(), j->tasklet);
    if (!j->ran) {
        j->result = (pirn_result){.status = code_of_unstarted(tasklet)};
    } else if (j->cancelled && !tasklet->cancel_told && j->result.status == 0) {
        pirn_result_drop(&j->result); /* it ended before it could learn of the cancel, which is final */
        j->result.status = PIRN_ECANCELED;
    }
    (void)pirn_deferred_settle(j->deferred, &j->result);
    pirn_deferred_release(j->deferred);
    pn_free(j);
}

static void cancel_job(pirn_deferred *deferred, void *context) {
    (void)deferred;
    job *j = context;
    j->cancelled = true;
    (void)pirn_cancel_pending(j->tasklet); /* not started: it ends at once, and the job with it */
}

static pirn_deferred *start_job(pirn_call_fn fn, void *arg, const char *function, const char *file, int line) {
    job *j = pn_calloc(1, sizeof *j);
    pirn_deferred *deferred = j ? pn_deferred_create_from(-1, cancel_job, j, file, line) : NULL;
    pn_ending ending = {.fn = end_job, .arg = j};
    pn_tasklet *tasklet = deferred ? pn_call_spawn(NULL, run_job, j, &ending, file, line) : NULL;
    if (!tasklet) {
        pirn_deferred_release(deferred);
        pn_free(j);
        pn_tasklet_was_refused();
        return NULL;
    }
    tasklet->function = function;
    *j = (job){.fn = fn, .arg = arg, .deferred = pirn_deferred_retain(deferred), .tasklet = pn_tasklet_handle(tasklet)};
    deferred->producer = j->tasklet.id;
    deferred->patient = true;
    return deferred;
}

pirn_deferred *pirn_deferred_tasklet_from(pirn_call_fn fn, void *arg, const char *function, const char *file,
                                          int line) {
    if (!pn_sched_self()) {
        pn_warn("pirn_deferred_tasklet() from %s, which is no worker: use pirn_foreign_spawn() there.",
                pn_below ? pn_below->thread_role() : "a thread outside pirn_run()");
        return NULL;
    }
    return start_job(fn, arg, function, file, line);
}

/* When the wait ends early, it has cancelled the tasklet: the function still uses its argument, which may stand on the
 * caller's stack, until it has ended. */
static int take_or_wait_for_end(pirn_deferred *deferred, pirn_result *out, pirn_time deadline) {
    (void)pirn_deferred_retain(deferred);
    int error = pirn_await_take(deferred, out, deadline);
    if (!pirn_deferred_finished(deferred)) {
        pn_firm_shield_enter();
        (void)pirn_await(deferred, NULL, PIRN_FOREVER);
        pn_firm_shield_leave();
    }
    pirn_deferred_release(deferred);
    return error;
}

int pirn_blocking_tasklet_from(pirn_call_fn fn, void *arg, pirn_result *out, pirn_time deadline, const char *function,
                               const char *file, int line) {
    pirn_result result = {0};
    int error = pn_may_wait("pirn_blocking_tasklet", deadline);
    if (error == 0 && deadline == PIRN_NOW) {
        error = PIRN_EAGAIN; /* nothing was started that nobody could wait for */
    }
    if (error == 0) {
        pirn_deferred *deferred = start_job(fn, arg, function, file, line);
        int why = pn_sched_self()->stage >= PN_REFUSING ? PIRN_ECLOSED : PIRN_ENOMEM;
        error = deferred ? take_or_wait_for_end(deferred, &result, deadline) : why;
    }
    if (out) {
        *out = result;
    } else {
        pirn_result_drop(&result);
    }
    return error;
}
