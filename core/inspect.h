/* SPDX-License-Identifier: MIT
 *
 * What: one scheduler's part of a snapshot (pirn/inspect.h).
 * Threads: the owner, between two tasklets or in one; a pn_waits belongs to its holder.
 */
#ifndef PN_INSPECT_H
#define PN_INSPECT_H

#include <pirn/inspect.h>

#include "sched.h"

#define PN_WAITS_OWN 64 /* things waited for that have an entry of their own */
#define PN_WAITS_MAX (PN_WAITS_OWN + PN_REASON_COUNT)

/* Where tasklets wait, counted over several schedulers. The object is only compared, never looked at. */
typedef struct pn_waits {
    unsigned count; /* of entries in use: the first PN_WAITS_OWN                                           */
    struct pn_wait_key {
        pn_reason reason;
        const void *object;
        uint64_t detail;
    } keys[PN_WAITS_OWN];
    pirn_wait_info entries[PN_WAITS_OWN];
    pirn_wait_info others[PN_REASON_COUNT]; /* by kind                                                     */
} pn_waits;

/* Count all parked tasklets of this scheduler. */
void pn_waits_count(pn_waits *waits, const pn_sched *sched);
/* Copy the entries in use into `list`, which has room for PN_WAITS_MAX, most first. Returns how many. */
size_t pn_waits_sorted(const pn_waits *waits, pirn_wait_info *list);

/* Fill in the worker's line (but inbox) and append at most `max` tasklets to `*list`, which is realloc'd; `*count` is
 * its length. 0 or PIRN_ENOMEM (the list stays valid). `*truncated` is set when there were more. */
int pn_inspect_sched(const pn_sched *sched, pirn_worker_info *worker, size_t max, pirn_tasklet_info **list,
                     size_t *count, bool *truncated);

#endif
