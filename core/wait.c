/* SPDX-License-Identifier: MIT
 *
 * What: parking and its three endings: a peer's claim, the deadline, a strike (see core/wait.h for the contract).
 * Threads: the waiter's home, but for pn_waiter_claim and pn_waiter_ready, which a peer elsewhere may call.
 * Invariants: (1) of all claims of a waiter one succeeds, and its tasklet is made ready once, by whoever that was; (2)
 *       when pn_wait returns, the waiter's timer is out of the heap, and after an early end it is in no queue and no
 *       record; (3) a thrown strike is used up by the wait that it ends: one that came too late for a result stays due;
 *       (4) a record is asked for before the word is claimed, so the claim that follows cannot fail.
 */
#include "wait.h"

#include <inttypes.h>
#include <stdio.h>

#include "channel.h"
#include "deferred.h"
#include "sched.h"

#define SELECT_CASES_TOLD 2
#define SWALLOWS_FREE     32 /* waits of one cancelled tasklet that end at once while the runtime ends */
#define SWALLOW_NAP_NS    PIRN_MILLISECOND

static const char *const reason_names[PN_REASON_COUNT] = {
    [PN_ON_NOTHING] = "nothing", [PN_ON_SLEEP] = "sleep",   [PN_ON_SEND] = "send",         [PN_ON_RECV] = "receive",
    [PN_ON_SELECT] = "select",   [PN_ON_JOIN] = "join",     [PN_ON_DEFERRED] = "deferred", [PN_ON_READ] = "read",
    [PN_ON_WRITE] = "write",     [PN_ON_ACCEPT] = "accept", [PN_ON_CONNECT] = "connect",   [PN_ON_READY] = "readiness",
    [PN_ON_WORKERS] = "workers",
};

const char *pn_reason_name(pn_reason reason) {
    PN_ASSERT(reason < PN_REASON_COUNT);
    return reason_names[reason];
}

bool pn_reason_is_internal(pn_reason reason) {
    return reason == PN_ON_SEND || reason == PN_ON_RECV || reason == PN_ON_SELECT || reason == PN_ON_JOIN ||
           reason == PN_ON_DEFERRED;
}

/* "select: receive on chat, send on loom, 3 more" */
static void describe_select(const pirn_case *cases, uint64_t count, char *text, size_t text_bytes) {
    size_t used = (size_t)snprintf(text, text_bytes, "select");
    for (uint64_t i = 0; i < count && used < text_bytes; i++) {
        const char *separator = i == 0 ? ":" : ",";
        if (i == SELECT_CASES_TOLD) {
            (void)snprintf(text + used, text_bytes - used, ", %" PRIu64 " more", count - i);
            break;
        }
        const pirn_channel *channel = cases[i].channel;
        pn_reason way = cases[i].direction == PIRN_SEND ? PN_ON_SEND : PN_ON_RECV;
        used += (size_t)snprintf(text + used, text_bytes - used, "%s %s on %s", separator, pn_reason_name(way),
                                 channel ? channel->name : "nothing");
    }
}

const char *pn_waiter_describe(const pn_waiter *waiter, char *text, size_t text_bytes) {
    const pirn_channel *channel = waiter->object;
    char label[PN_LABEL_BYTES];
    switch (waiter->reason) {
    case PN_ON_SEND:
    case PN_ON_RECV:
        snprintf(text, text_bytes, "%s on %s", pn_reason_name(waiter->reason), channel->name);
        break;
    case PN_ON_DEFERRED:
        (void)pn_deferred_describe(waiter->object, text, text_bytes);
        break;
    case PN_ON_SELECT:
        describe_select(waiter->object, waiter->detail, text, text_bytes);
        break;
    case PN_ON_JOIN:
        snprintf(text, text_bytes, "join of tasklet %s",
                 pn_handle_label((pirn_tasklet){waiter->detail}, label, sizeof label));
        break;
    case PN_ON_READ:
    case PN_ON_WRITE:
    case PN_ON_ACCEPT:
    case PN_ON_CONNECT:
    case PN_ON_READY:
        snprintf(text, text_bytes, "%s of descriptor %" PRIu64, pn_reason_name(waiter->reason), waiter->detail);
        break;
    default:
        snprintf(text, text_bytes, "%s", pn_reason_name(waiter->reason));
    }
    return text;
}

void pn_waiter_init(pn_waiter *waiter, pn_reason reason, const void *object) {
    pn_tasklet *current = pn_current();
    PN_ASSERT(current != NULL);
    *waiter = (pn_waiter){.tasklet = current, .reason = reason, .object = object};
}

bool pn_waiter_is_here(const pn_waiter *waiter) {
    return waiter->tasklet->home == pn_sched_self();
}

/* Take the completion token. One of all claims of a waiter succeeds. */
static bool claim(pn_waiter *waiter, uint32_t outcome) {
    if (waiter->shared) {
        return pn_below->claim(&waiter->word, PN_OPEN, outcome);
    }
    if (waiter->word.opaque != PN_OPEN) {
        return false;
    }
    waiter->word.opaque = outcome;
    return true;
}

static uint32_t outcome_of(const pn_waiter *waiter) {
    return waiter->shared ? pn_below->load(&waiter->word) : waiter->word.opaque;
}

bool pn_waiter_is_open(const pn_waiter *waiter) {
    return outcome_of(waiter) == PN_OPEN;
}

bool pn_waiter_claim(pn_waiter *waiter, uint32_t clause) {
    return claim(waiter, PN_DONE + clause);
}

void pn_waiter_ready(pn_waiter *waiter) {
    PN_DCHECK(outcome_of(waiter) >= PN_DONE);
    pn_ready_anywhere(waiter->tasklet);
}

void pn_waiter_complete(pn_waiter *waiter) {
    bool won = claim(waiter, PN_DONE);
    PN_ASSERT(won); /* a withdrawn record sends no completion */
    pn_ready(waiter->tasklet);
}

/* Home: end the wait without its result, if that still can be. On success the waiter is out of every queue. */
static bool end_early(pn_waiter *waiter, uint32_t outcome) {
    if (waiter->withdraw && !waiter->withdraw(waiter)) {
        return false;
    }
    if (!claim(waiter, outcome)) {
        PN_ASSERT(!waiter->withdraw);
        return false;
    }
    if (waiter->unlink) {
        waiter->unlink(waiter);
    }
    return true;
}

bool pn_waiter_strike(pn_waiter *waiter, int code) {
    if (outcome_of(waiter) != PN_OPEN || !end_early(waiter, PN_STRUCK)) {
        return false;
    }
    waiter->code = code;
    return true;
}

bool pn_waiter_timed_out(const pn_waiter *waiter) {
    return outcome_of(waiter) == PN_TIMED_OUT;
}

/* The judge of deadlocks ends main's wait by the same means. */
bool pn_waiter_was_struck(const pn_waiter *waiter) {
    bool by_judge = waiter->code == PIRN_EDEADLK && waiter->tasklet->is_main;
    return outcome_of(waiter) == PN_STRUCK && !by_judge;
}

static void deadline_came(pn_timer *timer) {
    pn_waiter *waiter = PN_CONTAINER_OF(timer, pn_waiter, timer);
    if (outcome_of(waiter) == PN_OPEN && end_early(waiter, PN_TIMED_OUT)) {
        pn_ready(waiter->tasklet);
    }
}

/* The strike that is due for `tasklet`, 0 for none. A thrown one is consumed; cancellation is sticky. */
static int take_strike(pn_tasklet *tasklet) {
    if (tasklet->shield > 0 && pn_tasklet_is_shielded(tasklet)) {
        return 0;
    }
    if (tasklet->strike != 0) {
        int code = tasklet->strike;
        tasklet->strike = 0;
        return code;
    }
    if (!tasklet->cancelled) {
        return 0;
    }
    tasklet->cancel_told = true;
    return PIRN_ECANCELED;
}

/* Apart from its callers: its text would cost each wait a larger frame and the check of that frame. */
static __attribute__((noinline, cold)) int refuse_wait(const char *call) {
    bool worker = pn_sched_self() != NULL;
    const char *role = worker ? "a callback on a worker" : pn_below ? pn_below->thread_role() : "a thread";
    char text[256];
    snprintf(text, sizeof text, "%s() would stop %s: only a tasklet can wait. %s", call, role,
             worker ? "Chain with pirn_deferred_add_callbacks(), or start a tasklet with pirn_spawn()."
                    : "Start one with pirn_foreign_spawn(), or send to one with pirn_post().");
    pn_warn_as(call, text);
    return PIRN_ETHREAD;
}

int pn_require_tasklet(const char *call) {
    return PN_LIKELY(pn_current() != NULL) ? 0 : refuse_wait(call);
}

/* During the runtime's end: a tasklet that swallows its cancellation and goes on neither keeps the worker, nor spawns
 * or asks as fast as it can. */
static void slow_down(pn_tasklet *tasklet) {
    if (tasklet->swallowed < SWALLOWS_FREE) {
        tasklet->swallowed++;
        pirn_yield();
    } else {
        pn_waiter nap;
        pn_waiter_init(&nap, PN_ON_SLEEP, NULL);
        pn_firm_shield_enter();
        (void)pn_wait(&nap, pirn_after(SWALLOW_NAP_NS), NULL);
        pn_firm_shield_leave();
    }
    pn_tasklet_end_if_forced(tasklet);
}

void pn_tasklet_was_refused(void) {
    pn_tasklet *tasklet = pn_current();
    if (!tasklet || pn_tasklet_stage(tasklet) < PN_REFUSING) {
        return;
    }
    if (tasklet->swallowed < SWALLOWS_FREE) {
        tasklet->swallowed++;
    } else {
        slow_down(tasklet);
    }
}

/* The runtime's end has begun for somebody on this worker. */
static __attribute__((noinline, cold)) void wait_near_the_end(pn_tasklet *current) {
    if (pn_tasklet_stage(current) >= PN_CANCELLING) {
        pn_tasklet_end_if_forced(current);
        if (current->cancelled && !pn_tasklet_is_shielded(current)) {
            slow_down(current);
        }
    }
}

int pn_may_wait(const char *call, pirn_time deadline) {
    if (deadline == PIRN_NOW) {
        return 0;
    }
    pn_tasklet *current = pn_current();
    if (PN_UNLIKELY(!current)) {
        return refuse_wait(call);
    }
    if (PN_UNLIKELY(current->home->stage >= PN_CANCELLING || current->home->main_stage >= PN_CANCELLING)) {
        wait_near_the_end(current);
    }
    int strike = take_strike(current);
    if (PN_UNLIKELY(strike != 0)) {
        pn_turn(PN_KEEPS_PLACE); /* a cancelled tasklet that goes on asking does not keep its worker */
    }
    return strike;
}

static void park_until(pn_waiter *waiter, pirn_time deadline) {
    pn_tasklet *tasklet = waiter->tasklet;
    pn_sched *sched = tasklet->home;
    if (deadline != PIRN_FOREVER) {
        pn_timer_arm(&sched->timers, &waiter->timer, deadline, deadline_came);
    }
    tasklet->waiter = waiter;
    tasklet->state = PN_PARKED;
    tasklet->since = sched->clock;
    tasklet->stuck_reported = false;
    tasklet->walk = 0;
    bool unlimited = deadline == PIRN_FOREVER && !waiter->external && pn_reason_is_internal(waiter->reason) &&
                     (!(tasklet->flags & PIRN_DAEMON) || tasklet->at_work);
    sched->counts.unlimited += unlimited;
    sched->counts.parked++;
    pn_park();
    sched->counts.unlimited -= unlimited;
    tasklet->waiter = NULL;
    pn_timer_disarm(&sched->timers, &waiter->timer);
}

int pn_wait(pn_waiter *waiter, pirn_time deadline, uint32_t *clause) {
    PN_DCHECK(waiter->tasklet == pn_current());
    pn_tasklet *tasklet = waiter->tasklet;
    int thrown = tasklet->strike;
    int strike = take_strike(tasklet);
    if (strike == 0 || !pn_waiter_strike(waiter, strike)) {
        tasklet->strike = thrown; /* lost to the result: still due */
        park_until(waiter, deadline);
    }
    uint32_t outcome = outcome_of(waiter);
    switch (outcome) {
    case PN_TIMED_OUT:
        return deadline == PIRN_NOW ? PIRN_EAGAIN : PIRN_ETIMEDOUT;
    case PN_STRUCK:
        return waiter->code;
    default:
        PN_ASSERT(outcome >= PN_DONE);
        if (clause) {
            *clause = outcome - PN_DONE;
        }
        return 0;
    }
}
