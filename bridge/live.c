/* SPDX-License-Identifier: MIT
 *
 * What: the two counts of live.h in one word: all outside things in the low half, the records among them in the high
 *       half. One operation changes both, so that no reader ever sees a record that is not also an outside thing.
 * Threads: any.
 * Why the total can be trusted to be zero: whoever hands a thing over counts it before, while it is itself not idle;
 *       whoever ends one posts its completion before it counts down. So a thread that sees zero also sees, in the
 *       inboxes, all the completions that made it zero.
 */
#include "live.h"

#include <stdatomic.h>

#include "base.h"

#define ONE        ((uint64_t)1)
#define ONE_RECORD (((uint64_t)1 << 32) | ONE)

static _Alignas(PN_CACHELINE) _Atomic(uint64_t) counts;

static void begin(uint64_t what) {
    /* relaxed: published to the judge of a deadlock by what follows: the hand-over, or this worker's going idle. */
    atomic_fetch_add_explicit(&counts, what, memory_order_relaxed);
}

static void end(uint64_t what, unsigned count) {
    /* release: publishes the completion posted before; pairs with the acquire in read_counts. A later begin continues
     * the release sequence, so it does not hide this one. */
    uint64_t before = atomic_fetch_sub_explicit(&counts, what * count, memory_order_release);
    PN_ASSERT((uint32_t)before >= count && (what == ONE || before >> 32 >= count));
}

static uint64_t read_counts(void) {
    /* acquire: pairs with the release in end. */
    return atomic_load_explicit(&counts, memory_order_acquire);
}

void pn_outside_begin(void) {
    begin(ONE);
}

void pn_outside_end(void) {
    end(ONE, 1);
}

uint64_t pn_outside_count(void) {
    return (uint32_t)read_counts();
}

void pn_record_begin(void) {
    begin(ONE_RECORD);
}

void pn_record_end(void) {
    end(ONE_RECORD, 1);
}

void pn_records_end(unsigned count) {
    end(ONE_RECORD, count);
}

uint64_t pn_record_count(void) {
    return read_counts() >> 32;
}
