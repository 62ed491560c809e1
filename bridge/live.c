/* SPDX-License-Identifier: MIT
 *
 * What: the counts of live.h.
 * Threads: as live.h.
 */
#include "live.h"

#include <stdatomic.h>

#include "worker.h"

static _Alignas(PN_CACHELINE) _Atomic(uint64_t) outside;

void pn_record_begin(void) {
    pn_worker_self()->records++;
}

void pn_record_end(void) {
    pn_worker *worker = pn_worker_self();
    PN_ASSERT(worker->records > 0);
    worker->records--;
}

void pn_job_count_begin(void) {
    pn_worker_self()->jobs++;
}

void pn_job_count_end(void) {
    pn_worker *worker = pn_worker_self();
    PN_ASSERT(worker->jobs > 0);
    worker->jobs--;
}

unsigned pn_record_count(void) {
    return pn_worker_self()->records;
}

void pn_outside_begin(void) {
    /* relaxed: published to the judge of a deadlock by what follows: the hand-over, or this worker's going idle. */
    atomic_fetch_add_explicit(&outside, 1, memory_order_relaxed);
}

void pn_outside_end(void) {
    /* release: publishes what the thing posted before it ended; pairs with the acquire in pn_outside_count. A later
     * begin continues the release sequence, so it does not hide this one. */
    uint64_t before = atomic_fetch_sub_explicit(&outside, 1, memory_order_release);
    PN_ASSERT(before > 0);
}

uint64_t pn_outside_count(void) {
    /* acquire: pairs with the release in pn_outside_end. */
    return atomic_load_explicit(&outside, memory_order_acquire);
}
