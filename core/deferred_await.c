/* SPDX-License-Identifier: MIT
 *
 * What: a tasklet waits for a deferred: the seeds' block_on, with a one-shot slot per wait instead of a rendezvous.
 *
 * Threads: the awaiting tasklet's, and the deferred's home when that is another.
 * Two ways: at home, the awaiter stands in the deferred's list and its slot is filled by whoever ends the chain.
 *       Elsewhere, a record on the heap stands there for it.
 * States of that record's word, which decides once who ends the wait:
 *       WAITING -> DELIVERED  home: the result is borrowed and the record goes back; the asker frees it
 *       WAITING -> GIVEN_UP   asker: its deadline or a strike came first; it says so by a second message, and the home
 *                             frees it
 *       The record goes there and back as one message; messages of one sender arrive in order, so `give_up` never comes
 *       before the record itself.
 * Invariants: (1) a settled deferred is awaited without parking, on any thread; (2) no result is copied but borrowed or
 *       moved; (3) the record holds the deferred.
 * Rejected: claiming the awaiter's waiter from the deferred's home: its frame may be gone; the record's word guards it.
 */

#include "alloc.h"
#include "deferred_inside.h"

/* ---- at home ---- */

typedef struct await_here {
    pn_awaiter awaiter;
    pn_waiter waiter;
    pirn_deferred *deferred;
    bool takes;
    pirn_result got;
} await_here;

static void deliver_here(pn_awaiter *awaiter, pirn_deferred *deferred) {
    await_here *await = PN_CONTAINER_OF(awaiter, await_here, awaiter);
    bool won = pn_waiter_claim(&await->waiter, 0);
    PN_ASSERT(won); /* one that ended early had left the list */
    if (await->takes) {
        pn_deferred_move(deferred, &await->got);
    } else {
        (void)pn_deferred_borrow(deferred, &await->got);
    }
    pn_waiter_ready(&await->waiter);
}

static void leave_here(pn_waiter *waiter) {
    await_here *await = PN_CONTAINER_OF(waiter, await_here, waiter);
    pn_node_unlink(&await->awaiter.link);
    await->deferred->consumers--;
}

/* Park until the result or an early end: `*early` tells which, `*struck` whether it was a strike and no deadline. */
typedef struct wait_end {
    bool early, struck;
} wait_end;

static int park_here(pirn_deferred *d, pirn_result *out, pirn_time deadline, bool takes, wait_end *end) {
    await_here await = {.awaiter.deliver = deliver_here, .deferred = d, .takes = takes};
    pn_waiter_init(&await.waiter, PN_ON_DEFERRED, d);
    await.waiter.unlink = leave_here;
    await.waiter.external = d->external || d->waits_outside;
    await.awaiter.waiter = &await.waiter;
    pn_list_append(&d->awaiters, &await.awaiter.link);
    d->consumers++;
    d->given_up = false;
    int error = pn_wait(&await.waiter, deadline, NULL);
    if (error != 0) {
        *end = (wait_end){.early = true, .struck = pn_waiter_was_struck(&await.waiter)};
        return error;
    }
    *out = await.got;
    return out->status;
}

/* ---- elsewhere ---- */

enum { WAITING, DELIVERED, GIVEN_UP };

typedef struct await_elsewhere {
    pn_awaiter awaiter;      /* home                                                                     */
    pn_message message;      /* there, and back                                                          */
    pn_message give_up;      /* there, after GIVEN_UP                                                    */
    pn_word word;            /* either: see above                                                        */
    pirn_deferred *deferred; /* held                                                                     */
    pn_waiter *waiter;       /* asker only                                                               */
    unsigned asker;          /* immutable                                                                */
    bool struck;             /* asker until give_up is posted, then home: also cancel, if nobody else waits */
} await_elsewhere;

static void deliver_back(pn_message *message) {
    pn_waiter_complete(PN_CONTAINER_OF(message, await_elsewhere, message)->waiter);
}

/* Home: the deferred is settled. */
static void deliver_there(pn_awaiter *awaiter, pirn_deferred *deferred) {
    await_elsewhere *await = PN_CONTAINER_OF(awaiter, await_elsewhere, awaiter);
    if (!pn_below->claim(&await->word, WAITING, DELIVERED)) {
        return; /* its give_up is on the way here, and frees it */
    }
    pirn_result borrowed; /* so that it stays as it is until the asker looks */
    (void)pn_deferred_borrow(deferred, &borrowed);
    await->message.deliver = deliver_back;
    pn_below->post(await->asker, &await->message);
}

static void deliver_await(pn_message *message) {
    await_elsewhere *await = PN_CONTAINER_OF(message, await_elsewhere, message);
    pirn_deferred *d = await->deferred;
    if (pirn_deferred_finished(d)) {
        deliver_there(&await->awaiter, d);
        return;
    }
    pn_list_append(&d->awaiters, &await->awaiter.link);
    d->consumers++;
    d->given_up = false;
}

static void deliver_give_up(pn_message *message) {
    await_elsewhere *await = PN_CONTAINER_OF(message, await_elsewhere, give_up);
    pirn_deferred *d = await->deferred;
    if (pn_linked(&await->awaiter.link)) {
        pn_node_unlink(&await->awaiter.link);
        d->consumers--;
    }
    pn_deferred_give_up_here(d, await->struck);
    pn_free(await);
    pirn_deferred_release(d);
}

static bool withdraw(pn_waiter *waiter) {
    /* The record is reached through the waiter's detail: `object` is the deferred, for reports. */
    await_elsewhere *await = (await_elsewhere *)(uintptr_t)waiter->detail;
    return pn_below->claim(&await->word, WAITING, GIVEN_UP);
}

static int park_elsewhere(pirn_deferred *d, pirn_result *out, pirn_time deadline) {
    await_elsewhere *await = pn_calloc(1, sizeof *await);
    if (!await) {
        return PIRN_ENOMEM;
    }
    pn_waiter waiter;
    pn_waiter_init(&waiter, PN_ON_DEFERRED, d);
    waiter.detail = (uintptr_t)await;
    waiter.withdraw = withdraw;
    waiter.external = d->external;
    await->awaiter.deliver = deliver_there;
    await->message.deliver = deliver_await;
    await->deferred = pirn_deferred_retain(d);
    await->waiter = &waiter;
    await->asker = pn_sched_self()->options.id;
    pn_below->store(&await->word, WAITING);
    pn_below->post(d->home, &await->message);
    int error = pn_wait(&waiter, deadline, NULL);
    if (error != 0) {
        await->struck = pn_waiter_was_struck(&waiter);
        await->give_up.deliver = deliver_give_up;
        pn_below->post(d->home, &await->give_up);
        return error;
    }
    bool borrowed = pn_deferred_borrow(d, out);
    PN_ASSERT(borrowed);
    pn_free(await);
    pirn_deferred_release(d);
    return out->status;
}

/* ---- the calls ---- */

int pirn_await(pirn_deferred *deferred, pirn_result *out, pirn_time deadline) {
    pirn_result ignored;
    out = out ? out : &ignored;
    *out = (pirn_result){0};
    if (!deferred) {
        return pn_refused(PIRN_EINVAL, deadline);
    }
    int error = pn_may_wait("pirn_await", deadline);
    if (error != 0) {
        if (pn_current()) {
            pn_deferred_cancel_unwanted(deferred); /* a strike was due: a wait that is over before it began */
        }
        return error;
    }
    if (pn_deferred_borrow(deferred, out)) {
        if (deadline != PIRN_NOW) {
            pn_turn(PN_KEEPS_PLACE);
        }
        return out->status;
    }
    if (pn_deferred_is_stale(deferred)) {
        return pn_refused(PIRN_ECLOSED, deadline); /* nobody is left who could give it a result */
    }
    if (deadline == PIRN_NOW) {
        return PIRN_EAGAIN;
    }
    if (!pn_deferred_is_home(deferred)) {
        return park_elsewhere(deferred, out, deadline);
    }
    wait_end end = {0};
    error = park_here(deferred, out, deadline, false, &end);
    if (end.early) {
        pn_deferred_give_up_here(deferred, end.struck);
    }
    return error;
}

static int await_take(pirn_deferred *d, pirn_result *out, pirn_time deadline, wait_end *end) {
    int error = pn_may_wait("pirn_await_take", deadline);
    if (error != 0) {
        end->early = pn_current() != NULL; /* a strike was due */
        return error;
    }
    if (pn_deferred_is_settled(d)) {
        pn_deferred_move(d, out);
        if (deadline != PIRN_NOW) {
            pn_turn(PN_KEEPS_PLACE);
        }
        return out->status;
    }
    if (deadline == PIRN_NOW) {
        end->early = true;
        return PIRN_EAGAIN;
    }
    return park_here(d, out, deadline, true, end);
}

int pirn_await_take(pirn_deferred *deferred, pirn_result *out, pirn_time deadline) {
    if (!out) {
        pirn_deferred_release(deferred);
        return PIRN_EINVAL;
    }
    *out = (pirn_result){0};
    if (!deferred) {
        return PIRN_EINVAL;
    }
    wait_end end = {0};
    int error = pn_deferred_require_home(deferred, "pirn_await_take");
    if (error == 0) {
        error = await_take(deferred, out, deadline, &end);
    }
    if (end.early) {
        pn_deferred_cancel_unwanted(deferred);
    }
    pirn_deferred_release(deferred);
    return error;
}
