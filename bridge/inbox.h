/* SPDX-License-Identifier: MIT
 *
 * What: the queue into one thread: pushed by many, taken whole by its owner, delivered first in first out, all at once
 *       or some at a time.
 *       Unbounded by intrusive links: pushing neither allocates, fails nor waits.
 * Threads: push: any; drain, empty: the owner. `_mpsc` by contract.
 * Source: a ck_stack with push_upmc and batch_pop_upmc (nobody pops singly, so there is no ABA), reversed by the taker.
 */
#ifndef PN_INBOX_H
#define PN_INBOX_H

#include <stdbool.h>

#include "flag.h"
#include "hooks.h"

typedef struct pn_inbox {
    _Alignas(PN_CACHELINE) void *top; /* any thread: the queue's head, opaque to all but lf_stack_*.c      */
    /* owner */
    _Alignas(PN_CACHELINE) unsigned taken_count; /* messages delivered since start                      */
    unsigned waiting_count;                      /* taken, and not delivered yet                         */
    pn_message *waiting, *waiting_last;          /* those, in order of delivery                          */
} pn_inbox;

void pn_inbox_init(pn_inbox *inbox);
void pn_inbox_push_mpsc(pn_inbox *inbox, pn_message *message);
/* Push first ... last, linked through `next` in order of delivery, with one atomic exchange of the head. */
void pn_inbox_push_chain_mpsc(pn_inbox *inbox, pn_message *first, pn_message *last);
bool pn_inbox_empty(const pn_inbox *inbox); /* owner; a plain look, true may be stale */
/* Any thread: whether everything that was pushed has been taken. Of what was taken some may still wait: the owner
 * sleeps only when nothing does (driver.c). */
bool pn_inbox_taken(const pn_inbox *inbox);
/* Owner: take all there is at this moment and deliver each in order. Returns how many. */
unsigned pn_inbox_drain(pn_inbox *inbox);
/* Owner: the same for at most `count_max` of them, and for no more than one from the moment `hurry` (NULL: never) is
 * raised. The rest waits, in order, for the next call. Returns how many were delivered. */
unsigned pn_inbox_drain_some(pn_inbox *inbox, unsigned count_max, const pn_flag *hurry);

#endif
