/* SPDX-License-Identifier: MIT
 *
 * What: the engine: look whether a case can go now; else wait in all of them (see core/channel.h for the invariants).
 * Threads: any for shared channels; a thread without a scheduler only with PIRN_NOW.
 * Reading order: can a case go, and what then (take_waiter, send_now, recv_now); waiting (enqueue, leave_queues); the
 *       engine (pn_channel_operate).
 * Rejected: a separate fast path for one case: the same engine with one clause costs a few instructions more, and there
 *       is no second implementation to keep equal.
 */
#include "channel.h"

#include <string.h>

#include "failure.h"
#include "sched.h"

/* ---- small questions ---- */

static void lock(pirn_channel *channel) {
    if (channel->shared) {
        pn_below->lock(&channel->lock);
    } else {
        PN_DCHECK(channel->home == pn_sched_self());
    }
}

static void unlock(pirn_channel *channel) {
    if (channel->shared) {
        pn_below->unlock(&channel->lock);
    }
}

static void copy(const pirn_channel *channel, void *to, const void *from) {
    if (channel->elem_bytes > 0) {
        memcpy(to, from, channel->elem_bytes);
    }
}

static void *slot(const pirn_channel *channel, size_t index) {
    return channel->buffer + (channel->first + index) % channel->capacity * channel->elem_bytes;
}

/* ---- lock held: do an operation that can go now ---- */

static void unlink_clause(pn_clause *clause) {
    pn_node_unlink(&clause->link);
    clause->channel->balance -= clause->direction;
}

/* The first waiter that can still be claimed, claimed and out of the queue; NULL: none. One that lost to its deadline,
 * a strike or another channel of its select on another thread is taken out on the way; its home finds it gone. */
static pn_clause *take_waiter(pirn_channel *channel) {
    while (!pn_list_empty(&channel->waiters)) {
        pn_clause *clause = PN_CONTAINER_OF(pn_list_first(&channel->waiters), pn_clause, link);
        unlink_clause(clause);
        if (pn_waiter_claim(clause->waiter, clause->index)) {
            return clause;
        }
    }
    return NULL;
}

/* These return whether the case was done; `*peer` is the waiter it ended, to be made ready after the unlock. */
static bool send_now(pirn_channel *channel, pirn_case *one, pn_waiter **peer) {
    if (channel->closed) {
        one->status = PIRN_ECLOSED;
        return true;
    }
    pn_clause *receiver = channel->balance < 0 ? take_waiter(channel) : NULL;
    if (receiver) {
        copy(channel, receiver->elem, one->elem);
        receiver->status = 0;
        *peer = receiver->waiter;
    } else if (channel->length < channel->capacity) {
        copy(channel, slot(channel, channel->length), one->elem);
        channel->length++;
    } else {
        return false;
    }
    one->status = 0;
    return true;
}

static bool recv_now(pirn_channel *channel, pirn_case *one, pn_waiter **peer) {
    one->status = 0;
    bool buffered = channel->length > 0;
    if (buffered) {
        copy(channel, one->elem, slot(channel, 0));
        channel->first = (channel->first + 1) % channel->capacity;
        channel->length--;
    }
    pn_clause *sender = channel->balance > 0 ? take_waiter(channel) : NULL;
    if (sender) {
        sender->status = 0;
        *peer = sender->waiter;
        if (buffered) { /* its value stands behind those in the buffer */
            copy(channel, slot(channel, channel->length), sender->elem);
            channel->length++;
        } else {
            copy(channel, one->elem, sender->elem);
        }
        return true;
    }
    if (!buffered && channel->closed) {
        one->status = PIRN_ECLOSED;
        return true;
    }
    return buffered;
}

static bool go_now(pirn_case *one, pn_waiter **peer) {
    *peer = NULL;
    return one->direction == PIRN_SEND ? send_now(one->channel, one, peer) : recv_now(one->channel, one, peer);
}

/* ---- the locks of several cases, in the order of addresses ---- */

typedef struct lock_set {
    pirn_channel *channel[PIRN_SELECT_MAX];
    size_t count;
} lock_set;

/* Sorted, each channel once. PIRN_EINVAL: one channel in both directions (its queue would hold both kinds). */
static int collect(lock_set *set, const pirn_case *cases, size_t count) {
    set->count = 0;
    for (size_t i = 0; i < count; i++) {
        pirn_channel *channel = cases[i].channel;
        if (!channel) {
            continue;
        }
        for (size_t j = 0; j < i; j++) {
            if (cases[j].channel == channel && cases[j].direction != cases[i].direction) {
                return PIRN_EINVAL;
            }
        }
        size_t at = set->count;
        while (at > 0 && (uintptr_t)set->channel[at - 1] > (uintptr_t)channel) {
            at--;
        }
        if (at > 0 && set->channel[at - 1] == channel) {
            continue;
        }
        memmove(&set->channel[at + 1], &set->channel[at], (set->count - at) * sizeof set->channel[0]);
        set->channel[at] = channel;
        set->count++;
    }
    return 0;
}

static void lock_all(const lock_set *set) {
    for (size_t i = 0; i < set->count; i++) {
        lock(set->channel[i]);
    }
}

static void unlock_all(const lock_set *set) {
    for (size_t i = set->count; i-- > 0;) {
        unlock(set->channel[i]);
    }
}

/* ---- waiting ---- */

/* One wait of one tasklet in up to PIRN_SELECT_MAX queues. */
typedef struct channel_wait {
    pn_waiter waiter;
    size_t count;
    pn_clause *clauses; /* [count]; channel NULL: a case that is never ready                            */
} channel_wait;

/* Home: take all clauses but those already taken out by a claimer out of their queues, and give up their holds. */
static void leave_queues(channel_wait *wait) {
    for (size_t i = 0; i < wait->count; i++) {
        pn_clause *clause = &wait->clauses[i];
        pirn_channel *channel = clause->channel;
        if (!channel) {
            continue;
        }
        /* A single clause of a claimed wait was unlinked by the claimer: the common case takes no lock. The word is
         * read as it is claimed: while the clause stands in a queue, peers elsewhere still try to. */
        const pn_word *word = &wait->waiter.word;
        uint32_t outcome = wait->waiter.shared ? pn_below->load(word) : word->opaque;
        if (wait->count > 1 || outcome < PN_DONE) {
            lock(channel);
            if (pn_linked(&clause->link)) {
                unlink_clause(clause);
            }
            unlock(channel);
        }
        clause->channel = NULL;
        pn_channel_release(channel);
    }
}

static void end_early(pn_waiter *waiter) {
    leave_queues(PN_CONTAINER_OF(waiter, channel_wait, waiter));
}

/* Locks held: stand in every queue. */
static void enqueue(channel_wait *wait, const pirn_case *cases) {
    for (size_t i = 0; i < wait->count; i++) {
        pirn_channel *channel = cases[i].channel;
        wait->clauses[i] = (pn_clause){.waiter = &wait->waiter,
                                       .channel = channel,
                                       .elem = cases[i].elem,
                                       .index = (uint32_t)i,
                                       .direction = (int8_t)cases[i].direction};
        if (channel) {
            pn_channel_retain(channel);
            pn_list_append(&channel->waiters, &wait->clauses[i].link);
            channel->balance += cases[i].direction;
        }
    }
}

static void init_waiter(channel_wait *wait, const pirn_case *cases, size_t count) {
    if (count == 1 && cases[0].channel) {
        pn_waiter_init(&wait->waiter, cases[0].direction == PIRN_SEND ? PN_ON_SEND : PN_ON_RECV, cases[0].channel);
    } else {
        pn_waiter_init(&wait->waiter, PN_ON_SELECT, cases);
        wait->waiter.detail = count;
    }
    wait->waiter.unlink = end_early;
    for (size_t i = 0; i < count; i++) {
        if (cases[i].channel) {
            wait->waiter.shared |= cases[i].channel->shared;
            wait->waiter.external |= (cases[i].channel->flags & PIRN_CHANNEL_EXTERNAL) != 0;
        }
    }
}

/* A value handed to a tasklet that was cancelled before it could run: nobody else will see it. */
static bool lost_to_cancel(const pn_tasklet *tasklet, const pirn_case *done) {
    if (done->direction != PIRN_RECV || done->status != 0 || !tasklet->cancelled || tasklet->shield > 0) {
        return false;
    }
    pn_value_drop(done->channel->drop, done->elem);
    return true;
}

/* After the park. The waiter is claimed or out of all queues; the channels live by the clauses' holds until left. */
static int finish_wait(channel_wait *wait, pirn_case *cases, int error, uint32_t chosen) {
    if (error != 0) {
        return error;
    }
    PN_ASSERT(chosen < wait->count);
    cases[chosen].status = wait->clauses[chosen].status;
    bool lost = lost_to_cancel(wait->waiter.tasklet, &cases[chosen]);
    leave_queues(wait);
    return lost ? PIRN_ECANCELED : (int)chosen;
}

/* ---- the engine ---- */

/* After the unlock: who goes on, by Stackless' rules. */
static void hand_over(int direction, int preference, bool schedule_all, pn_waiter *peer, pirn_time deadline) {
    bool may_switch = deadline != PIRN_NOW && pn_current() && pn_waiter_is_here(peer);
    if (may_switch && !schedule_all && preference == -direction) {
        pn_switch_to(peer->tasklet, false);
        return;
    }
    pn_waiter_ready(peer);
    if (may_switch && schedule_all) {
        pirn_yield();
    } else if (deadline != PIRN_NOW) {
        pn_turn(PN_KEEPS_PLACE);
    }
}

/* Locks held: the first case that can go, looking from a random one on when there are several; -1: none. */
static int look(pirn_case *cases, size_t count, pn_waiter **peer) {
    pn_sched *sched = pn_sched_self();
    size_t start = count > 1 && sched ? pn_random(sched) % count : 0;
    for (size_t i = 0; i < count; i++) {
        size_t at = (start + i) % count;
        if (cases[at].channel && go_now(&cases[at], peer)) {
            return (int)at;
        }
    }
    return -1;
}

static bool cases_valid(const pirn_case *cases, size_t count) {
    if (count == 0 || count > PIRN_SELECT_MAX || !cases) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        const pirn_channel *channel = cases[i].channel;
        bool direction_ok = cases[i].direction == PIRN_SEND || cases[i].direction == PIRN_RECV;
        if (!direction_ok || (channel && channel->elem_bytes > 0 && !cases[i].elem)) {
            return false;
        }
    }
    return true;
}

/* The clauses stand on the tasklet's stack: one for a send or receive, PIRN_SELECT_MAX (4 KiB) for a select. */
static int wait_in_all(const lock_set *set, pn_clause *clauses, pirn_case *cases, size_t count, pirn_time deadline) {
    channel_wait wait = {.count = count, .clauses = clauses};
    init_waiter(&wait, cases, count);
    enqueue(&wait, cases);
    unlock_all(set);
    uint32_t chosen = 0;
    int error = pn_wait(&wait.waiter, deadline, &chosen);
    return finish_wait(&wait, cases, error, chosen);
}

static __attribute__((noinline)) int wait_in_one(const lock_set *set, pirn_case *cases, pirn_time deadline) {
    pn_clause clause;
    return wait_in_all(set, &clause, cases, 1, deadline);
}

static __attribute__((noinline)) int wait_in_many(const lock_set *set, pirn_case *cases, size_t count,
                                                  pirn_time deadline) {
    pn_clause clauses[PIRN_SELECT_MAX];
    return wait_in_all(set, clauses, cases, count, deadline);
}

int pn_channel_operate(pirn_case *cases, size_t count, pirn_time deadline, const char *call) {
    lock_set set;
    int error = cases_valid(cases, count) ? collect(&set, cases, count) : PIRN_EINVAL;
    if (error != 0) {
        return pn_refused(error, deadline);
    }
    error = pn_may_wait(call, deadline);
    if (error != 0) {
        return error;
    }
    pn_waiter *peer = NULL;
    lock_all(&set);
    int done = look(cases, count, &peer);
    if (done < 0 && deadline != PIRN_NOW) {
        return count == 1 ? wait_in_one(&set, cases, deadline) : wait_in_many(&set, cases, count, deadline);
    }
    /* Read under the lock: after it the channel may be gone with its last user. */
    const pirn_channel *channel = done >= 0 ? cases[done].channel : NULL;
    int preference = channel ? channel->preference : 0;
    bool schedule_all = channel && channel->schedule_all;
    unlock_all(&set);
    if (done < 0) {
        return PIRN_EAGAIN;
    }
    if (peer) {
        hand_over(cases[done].direction, preference, schedule_all, peer, deadline);
    } else if (deadline != PIRN_NOW) {
        pn_turn(PN_KEEPS_PLACE);
    }
    return done;
}
