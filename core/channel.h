/* SPDX-License-Identifier: MIT
 *
 * What: the channel's struct and the one engine for send, receive and select.
 * Threads: a shared channel from every thread (pirn_post, and callbacks, without parking); a local one from its home.
 * Invariants (under the channel's lock): (1) all clauses in `waiters` are of one direction; (2) a buffer with values
 *       means no waiting receiver, a buffer with room means no waiting sender; (3) balance == the clauses in `waiters`,
 *       negative when they receive; (4) a closed channel has no waiters; (5) a clause is in at most one queue; whoever
 *       claims a waiter takes the claimed clause out of its queue under that channel's lock; the home takes out the
 *       others.
 * Order: lock, look, copy, unlock, then ready, then perhaps switch: the engine decides under the lock and switches
 *       after it.
 * Lifetime: counted: the creator holds one, each parked clause one; the last one frees.
 * Source: Stackless' channelobject.c for order and preference; Go's chan.go for direct hand-off; libtask for "a send is
 *       a select of one".
 */
#ifndef PN_CHANNEL_H
#define PN_CHANNEL_H

#include <pirn/channel.h>

#include "hooks.h"
#include "list.h"
#include "tasklet.h"
#include "wait.h"

#define PN_ELEM_BYTES_MAX (64u << 10)
#define PN_CAPACITY_MAX   (1u << 24)

/* One case of one wait, on the waiting tasklet's stack. */
typedef struct pn_clause {
    pn_node link; /* in channel->waiters                                                          */
    pn_waiter *waiter;
    pirn_channel *channel;
    void *elem;
    uint32_t index;   /* in the select                                                                */
    int8_t direction; /* pirn_direction                                                               */
    int status;       /* written by the claimer: 0 or PIRN_ECLOSED                                     */
} pn_clause;

struct pirn_channel {
    /* immutable after create */
    size_t elem_bytes, capacity;
    pirn_drop_fn drop;
    unsigned flags;
    bool shared;
    pn_sched *home; /* of a local one                                                              */
    char name[PN_NAME_BYTES];
    uint64_t server; /* the tasklet that receives here, or PN_SOMEBODY; 0: not known                      */
    /* any thread, through the hooks */
    pn_lock lock;
    pn_word holds;
    /* under the lock */
    pn_list waiters;
    int balance;
    int8_t preference;
    bool schedule_all, closed;
    size_t first, length; /* of the buffer                                                              */
    unsigned char *buffer;
};

/* Holds. The last release drops what is buffered and frees. Any thread (local: its home). */
void pn_channel_retain(pirn_channel *channel);
void pn_channel_release(pirn_channel *channel);

/* Do one of the cases or, unless `deadline` is PIRN_NOW, wait. Returns the index or a negative code, as pirn_select.
 * From a thread without a scheduler only with PIRN_NOW. `call` names the public function for error lines. */
int pn_channel_operate(pirn_case *cases, size_t count, pirn_time deadline, const char *call);

#endif
