/* SPDX-License-Identifier: MIT
 *
 * What: pn_word as a C11 atomic and pn_lock as a pthread mutex.
 * Threads: any.
 * Invariants: a pn_word is only ever touched here, always as an atomic.
 * Rejected: a spin lock for pn_lock: its holder may be preempted, and then the others burn a core that the holder
 *       needs.
 */
#include "shared.h"

#include <pthread.h>
#include <stdatomic.h>

typedef _Atomic(uint32_t) atomic_word;

_Static_assert(sizeof(atomic_word) == sizeof(uint32_t), "an atomic word is a word's size");
_Static_assert(sizeof(pn_word) >= sizeof(atomic_word), "a pn_word holds an atomic word");
_Static_assert(sizeof(pn_lock) >= sizeof(pthread_mutex_t), "a pn_lock holds a mutex");
_Static_assert(_Alignof(pn_lock) >= _Alignof(pthread_mutex_t), "a pn_lock is aligned for a mutex");

static atomic_word *atomic_of(const pn_word *word) {
    return (atomic_word *)(void *)(uintptr_t)&word->opaque;
}

static pthread_mutex_t *mutex_of(pn_lock *lock) {
    return (pthread_mutex_t *)(void *)lock->opaque;
}

uint32_t pn_shared_load(const pn_word *word) {
    /* acquire: sees what was written before the value seen here was stored, claimed or added. */
    return atomic_load_explicit(atomic_of(word), memory_order_acquire);
}

void pn_shared_store(pn_word *word, uint32_t value) {
    /* release: publishes what the caller wrote before; pairs with the acquires in load, claim and add. */
    atomic_store_explicit(atomic_of(word), value, memory_order_release);
}

bool pn_shared_claim(pn_word *word, uint32_t expected, uint32_t value) {
    /* Won: acquires what the last owner of the word wrote, and publishes what the winner wrote before. Lost: acquire,
     * for the loser goes on to read what the winner did. */
    return atomic_compare_exchange_strong_explicit(atomic_of(word), &expected, value, memory_order_acq_rel,
                                                   memory_order_acquire);
}

uint32_t pn_shared_add(pn_word *word, uint32_t delta) {
    /* acq_rel: each giver-up of a hold publishes its use of the object, and the last one, which frees it, sees them
     * all. */
    return atomic_fetch_add_explicit(atomic_of(word), delta, memory_order_acq_rel) + delta;
}

void pn_shared_lock_init(pn_lock *lock) {
    PN_ASSERT(pthread_mutex_init(mutex_of(lock), NULL) == 0);
}

void pn_shared_lock_fini(pn_lock *lock) {
    PN_ASSERT(pthread_mutex_destroy(mutex_of(lock)) == 0);
}

void pn_shared_lock(pn_lock *lock) {
    if (PN_UNLIKELY(pthread_mutex_lock(mutex_of(lock)) != 0)) {
        pn_panic("a channel was used after its pirn_channel_destroy()"); /* luck: its memory is free */
    }
}

void pn_shared_unlock(pn_lock *lock) {
    PN_ASSERT(pthread_mutex_unlock(mutex_of(lock)) == 0);
}
