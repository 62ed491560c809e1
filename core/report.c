/* SPDX-License-Identifier: MIT
 *
 * What: the lines that tell which tasklets are parked with nobody left to wake them. The judgement is made elsewhere:
 *       for the whole program by the last worker to go idle (bridge/deadlock.c, alone.c), for a part of it by age.
 * Threads: the owner of the scheduler.
 * Limits: PN_REPORT_LINES_MAX lines a report; the rest is counted.
 */
#include <inttypes.h>
#include <stdio.h>

#include "sched.h"

#define PN_REPORT_LINES_MAX 64

/* Whether this one belongs in the report. `older_than` 0: a total deadlock; else the age limit of a partial one. */
static bool belongs(const pn_tasklet *tasklet, pirn_time older_than) {
    if (tasklet->state != PN_PARKED || (tasklet->flags & PIRN_DAEMON) || tasklet->waiter->external) {
        return false;
    }
    if (older_than == 0) {
        return true;
    }
    return pn_reason_is_internal(tasklet->waiter->reason) && !tasklet->waiter->timer.armed &&
           tasklet->since < older_than && !tasklet->stuck_reported;
}

static void print_one(const pn_tasklet *tasklet, pirn_time now) {
    char label[64], waits_on[96];
    int64_t tenths = (int64_t)(now - tasklet->since) * 10 / PIRN_SECOND;
    pn_warn("  tasklet %s waits for %s, for %" PRId64 ".%d s now (spawned at %s:%u)",
            pn_tasklet_label(tasklet, label, sizeof label),
            pn_waiter_describe(tasklet->waiter, waits_on, sizeof waits_on), tenths / 10, (int)(tenths % 10),
            tasklet->file, tasklet->line);
}

/* All that wait on the same object as `first`, from `first` on: one group. Marks them when they are of a partial
 * report. */
static unsigned print_group(pn_sched *sched, pn_tasklet *first, pirn_time older_than, unsigned *lines) {
    char waits_on[96];
    unsigned size = 0;
    PN_LIST_EACH(&sched->all, node) {
        pn_tasklet *tasklet = PN_CONTAINER_OF(node, pn_tasklet, all_link);
        if (belongs(tasklet, older_than) && tasklet->waiter->object == first->waiter->object &&
            tasklet->waiter->reason == first->waiter->reason) {
            size++;
        }
    }
    pn_warn("%u tasklet%s parked on %s for over %" PRId64 " s, without a deadline:", size, size == 1 ? " is" : "s are",
            pn_waiter_describe(first->waiter, waits_on, sizeof waits_on),
            (int64_t)(sched->clock - older_than) / PIRN_SECOND);
    pn_reason reason = first->waiter->reason;
    const void *object = first->waiter->object;
    PN_LIST_EACH(&sched->all, node) {
        pn_tasklet *tasklet = PN_CONTAINER_OF(node, pn_tasklet, all_link);
        if (belongs(tasklet, older_than) && tasklet->waiter->object == object && tasklet->waiter->reason == reason) {
            tasklet->stuck_reported = true;
            if ((*lines)++ < PN_REPORT_LINES_MAX) {
                print_one(tasklet, sched->clock);
            }
        }
    }
    return size;
}

static unsigned report_stuck(pn_sched *sched, pirn_time older_than) {
    unsigned found = 0, lines = 0;
    PN_LIST_EACH(&sched->all, node) {
        pn_tasklet *tasklet = PN_CONTAINER_OF(node, pn_tasklet, all_link);
        if (belongs(tasklet, older_than)) {
            found += print_group(sched, tasklet, older_than, &lines);
        }
    }
    if (lines > PN_REPORT_LINES_MAX) {
        pn_warn("  and %u more", lines - PN_REPORT_LINES_MAX);
    }
    if (found > 0) {
        pn_warn("  Give such a wait a deadline, or spawn a tasklet that is to wait for ever with PIRN_DAEMON.");
    }
    return found;
}

unsigned pn_report_parked(pn_sched *sched, pirn_time older_than, bool quiet) {
    sched->clock = pn_below->now();
    if (older_than != 0 && !quiet) {
        return report_stuck(sched, older_than);
    }
    unsigned found = 0;
    PN_LIST_EACH(&sched->all, node) {
        pn_tasklet *tasklet = PN_CONTAINER_OF(node, pn_tasklet, all_link);
        if (belongs(tasklet, older_than)) {
            found++;
            if (!quiet && found <= PN_REPORT_LINES_MAX) {
                print_one(tasklet, sched->clock);
            }
        }
    }
    if (!quiet && found > PN_REPORT_LINES_MAX) {
        pn_warn("  and %u more", found - PN_REPORT_LINES_MAX);
    }
    return found;
}

pirn_time pn_oldest_stuck(const pn_sched *sched) {
    pirn_time oldest = PIRN_FOREVER;
    PN_LIST_EACH(&sched->all, node) {
        const pn_tasklet *tasklet = PN_CONTAINER_OF(node, pn_tasklet, all_link);
        if (belongs(tasklet, PIRN_FOREVER) && tasklet->since < oldest) {
            oldest = tasklet->since;
        }
    }
    return oldest;
}
