/* SPDX-License-Identifier: MIT
 *
 * What: the lines that tell which tasklets are parked with nobody left to wake them. The judgement is made elsewhere:
 *       for the whole program by the last worker to go idle (bridge/deadlock.c, alone.c), for a part of it by age.
 * Threads: the owner of the scheduler.
 * Invariants: (1) a wait is named in one report by age at most: pn_wait clears the mark; (2) a report allocates
 *       nothing, and wakes nobody.
 * Limits: PN_REPORT_LINES_MAX tasklets and GROUPS_MAX objects a report; the rest is counted. The walks over all
 *       tasklets are at most GROUPS_MAX + 2.
 */
#include <inttypes.h>
#include <stdio.h>

#include "failure.h"
#include "sched.h"

#define PN_REPORT_LINES_MAX 64
#define GROUPS_MAX          16

/* A join waits for as long as the joined one has to do. It is stuck only with it; elsewhere that can't be seen. */
static bool joins_one_that_goes_on(const pn_tasklet *tasklet) {
    if (tasklet->waiter->reason != PN_ON_JOIN) {
        return false;
    }
    const pn_tasklet *joined = pn_tasklet_find(tasklet->home, (pirn_tasklet){tasklet->waiter->detail});
    return joined && (joined->state != PN_PARKED || joined->waiter->timer.armed || joined->waiter->external ||
                      !pn_reason_is_internal(joined->waiter->reason));
}

/* Whether this one belongs in the report. `older_than` 0: a total deadlock; else the age limit of a partial one. */
static bool belongs(const pn_tasklet *tasklet, pirn_time older_than) {
    if (tasklet->state != PN_PARKED || (tasklet->flags & PIRN_DAEMON) || tasklet->waiter->external) {
        return false;
    }
    if (older_than == 0) {
        return true;
    }
    return pn_reason_is_internal(tasklet->waiter->reason) && !tasklet->waiter->timer.armed &&
           tasklet->since < older_than && !tasklet->stuck_reported && !joins_one_that_goes_on(tasklet);
}

static void print_one(const pn_tasklet *tasklet, pirn_time now) {
    char label[64], waits_on[96];
    int64_t tenths = (int64_t)(now - tasklet->since) * 10 / PIRN_SECOND;
    pn_tell("  tasklet %s waits for %s, for %" PRId64 ".%d s now (spawned at %s:%u)",
            pn_tasklet_label(tasklet, label, sizeof label),
            pn_waiter_describe(tasklet->waiter, waits_on, sizeof waits_on), tenths / 10, (int)(tenths % 10),
            pn_base_name(tasklet->file), tasklet->line);
}

/* ---- by age: grouped by what they wait on ---- */

typedef struct group {
    const pn_waiter *first; /* whoever is oldest in it speaks for it */
    unsigned size;
} group;

typedef struct stuck_report {
    group groups[GROUPS_MAX];
    unsigned group_count;
    unsigned ungrouped; /* tasklets that wait on still other objects */
    unsigned lines;     /* of tasklets, printed so far */
} stuck_report;

static bool wait_alike(const pn_waiter *a, const pn_waiter *b) {
    return a->reason == b->reason && a->object == b->object && a->detail == b->detail;
}

/* Its group, a new one if there is room; NULL: there is none. */
static group *group_of(stuck_report *report, const pn_waiter *waiter) {
    for (unsigned i = 0; i < report->group_count; i++) {
        if (wait_alike(report->groups[i].first, waiter)) {
            return &report->groups[i];
        }
    }
    if (report->group_count == GROUPS_MAX) {
        return NULL;
    }
    group *fresh = &report->groups[report->group_count++];
    *fresh = (group){.first = waiter};
    return fresh;
}

static unsigned collect_groups(const pn_sched *sched, pirn_time older_than, stuck_report *report) {
    unsigned found = 0;
    PN_LIST_EACH(&sched->all, node) {
        const pn_tasklet *tasklet = PN_CONTAINER_OF(node, pn_tasklet, all_link);
        if (belongs(tasklet, older_than)) {
            group *its = group_of(report, tasklet->waiter);
            found++;
            if (its) {
                its->size++;
            } else {
                report->ungrouped++;
            }
        }
    }
    return found;
}

static void print_group(const pn_sched *sched, pirn_time older_than, const group *told, stuck_report *report) {
    char waits_on[96];
    unsigned left = told->size;
    pn_tell("%u tasklet%s parked on %s for over %" PRId64 " s, without a deadline:", told->size,
            told->size == 1 ? " is" : "s are", pn_waiter_describe(told->first, waits_on, sizeof waits_on),
            (int64_t)(sched->clock - older_than) / PIRN_SECOND);
    PN_LIST_EACH(&sched->all, node) {
        if (left == 0 || report->lines == PN_REPORT_LINES_MAX) {
            break;
        }
        const pn_tasklet *tasklet = PN_CONTAINER_OF(node, pn_tasklet, all_link);
        if (belongs(tasklet, older_than) && wait_alike(tasklet->waiter, told->first)) {
            print_one(tasklet, sched->clock);
            report->lines++;
            left--;
        }
    }
    if (left > 0) {
        pn_tell("  and %u more", left);
    }
}

static void mark_reported(pn_sched *sched, pirn_time older_than) {
    PN_LIST_EACH(&sched->all, node) {
        pn_tasklet *tasklet = PN_CONTAINER_OF(node, pn_tasklet, all_link);
        if (belongs(tasklet, older_than)) {
            tasklet->stuck_reported = true;
        }
    }
}

static unsigned report_stuck(pn_sched *sched, pirn_time older_than) {
    stuck_report report = {.group_count = 0};
    unsigned found = collect_groups(sched, older_than, &report);
    for (unsigned i = 0; i < report.group_count; i++) {
        print_group(sched, older_than, &report.groups[i], &report);
    }
    mark_reported(sched, older_than);
    if (report.ungrouped > 0) {
        pn_tell("and %u tasklets on other objects", report.ungrouped);
    }
    if (found > 0) {
        pn_tell("  Give such a wait a deadline, or spawn a tasklet that is to wait for ever with PIRN_DAEMON.");
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
        pn_tell("  and %u more", found - PN_REPORT_LINES_MAX);
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
