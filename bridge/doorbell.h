/* SPDX-License-Identifier: MIT
 *
 * What: the one wake-up of a sleeping thread, and the proof that none is lost.
 *
 * The protocol (a store-load pair on both sides):
 *       sleeper: state = ASLEEP; full fence; look at the inbox; nothing there: sleep in its readiness set.
 *       ringer:  push the message; full fence; look at state; ASLEEP: claim it (to RUNG), and who won writes the
 *                eventfd.
 *       Whichever fence comes first in the order of all fences, the other side sees: either the sleeper sees the
 *       message or the ringer sees ASLEEP. Without the fences x86 loses wake-ups too (its stores wait in a buffer while
 *       loads pass).
 * States: AWAKE -> ASLEEP (owner) -> [RUNG (the first ringer) ->] AWAKE (owner). A ring while awake or already being
 *       woken costs one load.
 * Threads: ring: any, after its push; sleep and wake: the owner.
 * The eventfd stands edge-triggered in the owner's set and is never read: every write is an edge, and the counter
 *       cannot overflow (2^64 rings).
 * Rejected: uv_async (a relaxed early return that can pass the push; 39 us on one core).
 */
#ifndef PN_DOORBELL_H
#define PN_DOORBELL_H

#include <stdbool.h>
#include <stdint.h>

#include "base.h"

typedef struct pn_doorbell {
    _Alignas(PN_CACHELINE) uint32_t state; /* any thread, atomic, through doorbell.c only                  */
    int fd;                                /* immutable: the eventfd                                      */
    uint64_t rung_count;                   /* owner: times it was woken; statistics                       */
} pn_doorbell;

int pn_doorbell_init(pn_doorbell *bell); /* 0 or the system's code */
void pn_doorbell_fini(pn_doorbell *bell);
/* Any thread: wake the owner when it sleeps. Contains the ringer's fence. Returns whether it wrote the eventfd. */
bool pn_doorbell_ring(pn_doorbell *bell);
/* Owner: announce sleep. Contains the sleeper's fence: look at the inbox after this and before sleeping. */
void pn_doorbell_sleep(pn_doorbell *bell);
/* Owner: back from sleep, or not gone. */
void pn_doorbell_wake(pn_doorbell *bell);
/* Any thread: whether the owner announced sleep and has not come back. A snapshot. */
bool pn_doorbell_away(const pn_doorbell *bell);

#endif
