/* SPDX-License-Identifier: MIT
 *
 * What: the words and locks of shared objects, for real threads: what pn_hooks_threads offers core (core/hooks.h).
 * Threads: any.
 * Source: the orders are those that the engine in core needs: a claim hands over a waiter, an add counts holds. Nothing
 *       there needs sequential consistency; the one place that does is the doorbell.
 */
#ifndef PN_SHARED_H
#define PN_SHARED_H

#include "hooks.h"

uint32_t pn_shared_load(const pn_word *word);                           /* acquire */
void pn_shared_store(pn_word *word, uint32_t value);                    /* release */
bool pn_shared_claim(pn_word *word, uint32_t expected, uint32_t value); /* compare and swap, acq_rel */
uint32_t pn_shared_add(pn_word *word, uint32_t delta);                  /* the new value, acq_rel */

/* A lock is held for a few instructions, never across a park, a switch or user code. Not recursive. */
void pn_shared_lock_init(pn_lock *lock);
void pn_shared_lock_fini(pn_lock *lock);
void pn_shared_lock(pn_lock *lock);
void pn_shared_unlock(pn_lock *lock);

#endif
