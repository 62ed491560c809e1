/* SPDX-License-Identifier: MIT
 *
 * What: the queue into one thread: pushed by many, taken whole by its owner, delivered first in first out.
 *       Unbounded by intrusive links: pushing neither allocates, fails nor waits.
 * Threads: push: any; drain, empty: the owner. `_mpsc` by contract.
 * Source: a ck_stack with push_upmc and batch_pop_upmc (nobody pops singly, so there is no ABA), reversed by the taker.
 */
#ifndef PN_INBOX_H
#define PN_INBOX_H

#include <stdbool.h>

#include "hooks.h"

typedef struct pn_inbox {
    _Alignas(PN_CACHELINE) void *top; /* any thread: the queue's head, opaque to all but lf_stack_*.c      */
    /* owner */
    _Alignas(PN_CACHELINE) unsigned taken_count; /* messages delivered since start                      */
    unsigned waiting_count;                      /* of the batch that is being delivered, those still to come */
} pn_inbox;

void pn_inbox_init(pn_inbox *inbox);
void pn_inbox_push_mpsc(pn_inbox *inbox, pn_message *message);
/* Push first ... last, linked through `next` in order of delivery, with one atomic exchange of the head. */
void pn_inbox_push_chain_mpsc(pn_inbox *inbox, pn_message *first, pn_message *last);
bool pn_inbox_empty(const pn_inbox *inbox); /* owner; a plain look, true may be stale */
/* Owner: take all there is at this moment and deliver each in order. Returns how many. */
unsigned pn_inbox_drain(pn_inbox *inbox);

#endif
