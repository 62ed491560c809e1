/* SPDX-License-Identifier: MIT
 *
 * What: a flag that any thread raises and one thread lowers. The one word of core that is read on the way of a yield,
 *       so it is read in place and not through the hooks of hooks.h.
 * Threads: raise: any; raised: any; lower: the owner.
 * Invariants: the flag orders nothing: who sees it raised only looks again at things that have an order of their own.
 */
#ifndef PN_FLAG_H
#define PN_FLAG_H

#include <stdbool.h>
#include <stdint.h>

typedef struct pn_flag {
    uint32_t opaque;
} pn_flag;

static inline bool pn_flag_raised(const pn_flag *flag) {
    return __atomic_load_n(&flag->opaque, __ATOMIC_RELAXED) != 0; /* relaxed: see the invariant */
}

static inline void pn_flag_raise(pn_flag *flag) {
    __atomic_store_n(&flag->opaque, 1, __ATOMIC_RELAXED); /* relaxed: see the invariant */
}

static inline void pn_flag_lower(pn_flag *flag) {
    __atomic_store_n(&flag->opaque, 0, __ATOMIC_RELAXED); /* relaxed: see the invariant */
}

#endif
