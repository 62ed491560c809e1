/* SPDX-License-Identifier: MIT
 *
 * What: pirn_deferred_deadline: a timer that cancels, and a place in the chain that takes the timer back.
 *
 * Threads: the home.
 *
 * Source: Twisted's addTimeout. It covers what was added before it; only a cancellation that this timer caused becomes
 *       PIRN_ETIMEDOUT; a canceller that gives a result wins.
 * Lifetime: the record holds the deferred, and is freed when the chain passes, which it does in the cancel at the
 *       latest unless it is paused or waits for an inner deferred that takes its time.
 */

#include "alloc.h"
#include "deferred_inside.h"

typedef struct time_limit {
    pn_timer timer;
    pirn_deferred *deferred; /* held                                                                     */
    bool passed;             /* the timer fired                                                          */
} time_limit;

static void deadline_came(pn_timer *timer) {
    time_limit *limit = PN_CONTAINER_OF(timer, time_limit, timer);
    limit->passed = true;
    pn_deferred_cancel_here(limit->deferred); /* may come to `pass`, and free the record */
}

static pirn_deferred *pass(void *context, pirn_result *result) {
    time_limit *limit = context;
    pn_timer_disarm(&pn_sched_self()->timers, &limit->timer);
    if (limit->passed && result->status == PIRN_ECANCELED) {
        (void)pirn_result_fail(result, PIRN_ETIMEDOUT, "the deferred had not finished by its deadline");
    }
    pirn_deferred_release(limit->deferred);
    pn_free(limit);
    return NULL;
}

int pirn_deferred_deadline(pirn_deferred *deferred, pirn_time deadline) {
    int error = pn_deferred_require_home(deferred, "pirn_deferred_deadline");
    if (error != 0 || deadline == PIRN_FOREVER || pn_deferred_is_settled(deferred)) {
        return error;
    }
    time_limit *limit = pn_calloc(1, sizeof *limit);
    if (!limit) {
        return PIRN_ENOMEM;
    }
    limit->deferred = deferred;
    if (pirn_deferred_add_both(deferred, pass, limit) != 0) {
        pn_free(limit);
        return PIRN_ENOMEM;
    }
    (void)pirn_deferred_retain(deferred);
    pn_timer_arm(&pn_sched_self()->timers, &limit->timer, deadline, deadline_came);
    return 0;
}
