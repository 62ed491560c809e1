/* SPDX-License-Identifier: MIT
 *
 * What: where all tasklets wait, counted: also those that no list has room for.
 * Threads: as inspect.h says.
 * Choice: a parked tasklet costs a few comparisons and no text, so that a million of them are counted in one look.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "channel.h"
#include "deferred.h"
#include "inspect.h"

/* What makes two waits one place: the channel; of deferreds where they were made, for each request makes its own. */
static struct pn_wait_key key_of(const pn_waiter *waiter) {
    struct pn_wait_key key = {.reason = waiter->reason};
    int line = 0;
    switch (waiter->reason) {
    case PN_ON_SEND:
    case PN_ON_RECV:
        key.object = waiter->object;
        break;
    case PN_ON_SELECT:
        key.object = ((const pirn_case *)waiter->object)[0].channel;
        key.detail = waiter->detail;
        break;
    case PN_ON_DEFERRED:
        key.object = pn_deferred_made_at(waiter->object, &line);
        key.detail = (uint64_t)line;
        break;
    default:
        break;
    }
    return key;
}

/* Kinds whose waits are told by their kind alone: their numbers would make a place of each. */
static bool is_of_a_kind(pn_reason reason) {
    return reason != PN_ON_SEND && reason != PN_ON_RECV && reason != PN_ON_SELECT && reason != PN_ON_DEFERRED;
}

static pirn_wait_info *entry_of(pn_waits *waits, const pn_waiter *waiter) {
    struct pn_wait_key key = key_of(waiter);
    bool alone = !is_of_a_kind(key.reason);
    for (unsigned i = 0; alone && i < waits->count; i++) {
        const struct pn_wait_key *other = &waits->keys[i];
        if (other->object == key.object && other->detail == key.detail && other->reason == key.reason) {
            return &waits->entries[i];
        }
    }
    if (!alone || waits->count == PN_WAITS_OWN) {
        pirn_wait_info *kind = &waits->others[key.reason];
        snprintf(kind->waiting_on, sizeof kind->waiting_on, "%s%s", pn_reason_name(key.reason),
                 alone ? " (others)" : "");
        return kind;
    }
    waits->keys[waits->count] = key;
    pirn_wait_info *fresh = &waits->entries[waits->count++];
    (void)pn_waiter_describe(waiter, fresh->waiting_on, sizeof fresh->waiting_on);
    return fresh;
}

void pn_waits_count(pn_waits *waits, const pn_sched *sched) {
    pirn_time now = pn_below->now();
    PN_LIST_EACH(&sched->all, node) {
        const pn_tasklet *tasklet = PN_CONTAINER_OF(node, pn_tasklet, all_link);
        if (tasklet->state == PN_PARKED) {
            pirn_wait_info *entry = entry_of(waits, tasklet->waiter);
            pirn_time since_ns = now - tasklet->since;
            entry->count++;
            entry->longest_ns = since_ns > entry->longest_ns ? since_ns : entry->longest_ns;
        }
    }
}

static int by_count(const void *left, const void *right) {
    const pirn_wait_info *a = left, *b = right;
    return (a->count < b->count) - (a->count > b->count);
}

size_t pn_waits_sorted(const pn_waits *waits, pirn_wait_info *list) {
    size_t count = waits->count;
    memcpy(list, waits->entries, count * sizeof *list);
    for (unsigned i = 0; i < PN_REASON_COUNT; i++) {
        if (waits->others[i].count > 0) {
            list[count++] = waits->others[i];
        }
    }
    qsort(list, count, sizeof *list, by_count);
    return count;
}
