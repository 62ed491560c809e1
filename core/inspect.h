/* SPDX-License-Identifier: MIT
 *
 * What: one scheduler's part of a snapshot (pirn/inspect.h).
 * Threads: the owner, between two tasklets or in one.
 */
#ifndef PN_INSPECT_H
#define PN_INSPECT_H

#include <pirn/inspect.h>

#include "sched.h"

/* Fill in the worker's line (but inbox) and append at most `max` tasklets to `*list`, which is realloc'd; `*count` is
 * its length. 0 or PIRN_ENOMEM (the list stays valid). `*truncated` is set when there were more. */
int pn_inspect_sched(const pn_sched *sched, pirn_worker_info *worker, size_t max, pirn_tasklet_info **list,
                     size_t *count, bool *truncated);

#endif
