/* SPDX-License-Identifier: MIT
 *
 * What: the doorbell: an eventfd that is written at most once per sleep. doorbell.h has the protocol and its proof.
 * Threads: ring: any; all else: the owner.
 * States: AWAKE -> ASLEEP -> RUNG -> AWAKE. RUNG, told apart from AWAKE, means that a ringer has written or is about to
 *       write and the owner has not come back yet: it keeps a second ringer off, counts wakes, and tells the watchdog
 *       that the owner is still away.
 * Invariants: (1) only ASLEEP -> RUNG writes the eventfd, so one sleep gets one write at most; (2) a write may come
 *       after the owner woke for another reason: then it is an edge for nothing, which costs the owner one look.
 * Lifetime: fini only when no thread can ring any more: a ringer that won may not have written yet.
 */
#include "doorbell.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { AWAKE = 0, ASLEEP = 1, RUNG = 2 };

typedef _Atomic(uint32_t) atomic_state;

_Static_assert(sizeof(atomic_state) == sizeof(uint32_t), "an atomic word is a word's size");

static atomic_state *state_of(const pn_doorbell *bell) {
    return (atomic_state *)(void *)(uintptr_t)&bell->state;
}

int pn_doorbell_init(pn_doorbell *bell) {
    atomic_init(state_of(bell), AWAKE);
    bell->rung_count = 0;
    bell->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return bell->fd < 0 ? -errno : 0;
}

void pn_doorbell_fini(pn_doorbell *bell) {
    if (bell->fd >= 0) {
        close(bell->fd);
        bell->fd = -1;
    }
}

bool pn_doorbell_ring(pn_doorbell *bell) {
    /* The ringer's fence: the push before it, the look at `state` after it. Pairs with the fence in
     * pn_doorbell_sleep. */
    atomic_thread_fence(memory_order_seq_cst);
    /* relaxed: the fence above did the ordering. Almost always AWAKE, and then this load is the whole price. */
    uint32_t seen = atomic_load_explicit(state_of(bell), memory_order_relaxed);
    if (seen != ASLEEP) {
        return false;
    }
    /* acq_rel, as the exchange of a token between ringers and owner; pairs with the exchange in pn_doorbell_wake. The
     * message itself is published by its own push. */
    if (!atomic_compare_exchange_strong_explicit(state_of(bell), &seen, RUNG, memory_order_acq_rel,
                                                 memory_order_relaxed)) {
        return false;
    }
    const uint64_t one = 1;
    ssize_t written = write(bell->fd, &one, sizeof one);
    PN_ASSERT(written == (ssize_t)sizeof one);
    return true;
}

void pn_doorbell_sleep(pn_doorbell *bell) {
    PN_DCHECK(atomic_load_explicit(state_of(bell), memory_order_relaxed) == AWAKE);
    /* relaxed: the fence below does the ordering. */
    atomic_store_explicit(state_of(bell), ASLEEP, memory_order_relaxed);
    /* The sleeper's fence: the store before it, the look at the inbox after it. Pairs with the fence in
     * pn_doorbell_ring. */
    atomic_thread_fence(memory_order_seq_cst);
}

void pn_doorbell_wake(pn_doorbell *bell) {
    /* acq_rel: takes the token back; pairs with the ringer's compare-and-swap in pn_doorbell_ring. */
    if (atomic_exchange_explicit(state_of(bell), AWAKE, memory_order_acq_rel) == RUNG) {
        bell->rung_count++;
    }
}

bool pn_doorbell_away(const pn_doorbell *bell) {
    /* relaxed: a snapshot; who needs an order brings a fence (watchdog.c). */
    return atomic_load_explicit(state_of(bell), memory_order_relaxed) != AWAKE;
}
