/* SPDX-License-Identifier: MIT
 *
 * What: collecting and printing (see core/report.h).
 * Threads: as report.h says.
 * Invariants: a report allocates nothing, and wakes nobody; adding costs at most PN_REPORT_GROUPS comparisons.
 * Choice: what finds no group of its own object joins those of its place and kind of wait: ten thousand joins, each of
 *       another tasklet, are one line.
 */
#include "report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "channel.h"
#include "failure.h"

#define MIXED_GROUPS 8 /* the last groups: for what finds none of its own object */

void pn_report_init(pn_report *report) {
    memset(report, 0, sizeof *report);
}

/* What makes two waits alike. The detail of a select is its number of cases; of an await elsewhere it is private. */
typedef struct place {
    pn_reason reason;
    const void *object;
    uint64_t detail;
    const char *file;
    unsigned line;
} place;

static place place_of(const pn_tasklet *tasklet) {
    const pn_waiter *waiter = tasklet->waiter;
    place p = {.reason = waiter->reason, .file = tasklet->file, .line = tasklet->line};
    switch (waiter->reason) {
    case PN_ON_SEND:
    case PN_ON_RECV:
    case PN_ON_DEFERRED:
        p.object = waiter->object;
        break;
    case PN_ON_SELECT: {
        const pirn_case *cases = waiter->object;
        p.object = cases[0].channel;
        p.detail = waiter->detail;
        break;
    }
    default:
        p.detail = waiter->detail;
    }
    return p;
}

static bool is_of(const pn_report_group *group, const place *p) {
    return !group->mixed && group->object == p->object && group->detail == p->detail && group->reason == p->reason &&
           group->line == p->line && group->file == p->file;
}

static bool is_mixed_of(const pn_report_group *group, const place *p) {
    return group->mixed && group->reason == p->reason && group->line == p->line && group->file == p->file;
}

/* Its group, a new one if there is room; NULL: there is none. */
static pn_report_group *group_of(pn_report *report, const place *p, bool *fresh) {
    *fresh = false;
    for (unsigned i = 0; i < report->group_count; i++) {
        if (is_of(&report->groups[i], p) || is_mixed_of(&report->groups[i], p)) {
            return &report->groups[i];
        }
    }
    if (report->group_count == PN_REPORT_GROUPS) {
        return NULL;
    }
    *fresh = true;
    pn_report_group *group = &report->groups[report->group_count];
    *group = (pn_report_group){.reason = p->reason,
                               .object = p->object,
                               .detail = p->detail,
                               .file = p->file,
                               .line = p->line,
                               .mixed = report->group_count >= PN_REPORT_GROUPS - MIXED_GROUPS,
                               .oldest = PIRN_FOREVER};
    report->group_count++;
    return group;
}

void pn_report_add(pn_report *report, const pn_tasklet *tasklet) {
    place p = place_of(tasklet);
    bool fresh;
    pn_report_group *group = group_of(report, &p, &fresh);
    report->youngest = tasklet->since > report->youngest ? tasklet->since : report->youngest;
    if (!group) {
        report->ungrouped++;
        report->total++;
        return;
    }
    char label[64];
    label[0] = '\0';
    bool named = group->count < PN_REPORT_NAMED, single = report->total < PN_REPORT_SINGLE;
    if (named || single) {
        (void)pn_tasklet_label(tasklet, label, sizeof label);
    }
    if (fresh && group->mixed) {
        snprintf(group->waits_on, sizeof group->waits_on, "%s, each on something else", pn_reason_name(p.reason));
    } else if (fresh) {
        (void)pn_waiter_describe(tasklet->waiter, group->waits_on, sizeof group->waits_on);
    }
    if (named) {
        memcpy(group->named[group->count], label, sizeof label);
    }
    if (single) {
        pn_report_entry *entry = &report->singles[report->total];
        entry->group = (unsigned)(group - report->groups);
        entry->since = tasklet->since;
        memcpy(entry->label, label, sizeof label);
    }
    group->count++;
    group->oldest = tasklet->since < group->oldest ? tasklet->since : group->oldest;
    report->total++;
}

/* ---- printing ---- */

/* "12.3 s" */
static const char *seconds(pirn_time nanoseconds, char *text, size_t text_bytes) {
    int64_t tenths = nanoseconds > 0 ? (int64_t)nanoseconds * 10 / PIRN_SECOND : 0;
    snprintf(text, text_bytes, "%" PRId64 ".%d s", tenths / 10, (int)(tenths % 10));
    return text;
}

static void print_single(const pn_report *report, const pn_report_entry *entry, pirn_time now) {
    const pn_report_group *group = &report->groups[entry->group];
    char age[32];
    pn_tell("  tasklet %s waits for %s, for %s now (spawned at %s:%u)", entry->label, group->waits_on,
            seconds(now - entry->since, age, sizeof age), pn_base_name(group->file), group->line);
}

/* "0.2 "a", 0.3 "b", 0.4 "c" and 17 more" */
static const char *names(const pn_report_group *group, char *text, size_t text_bytes) {
    size_t used = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < group->count && i < PN_REPORT_NAMED && used < text_bytes; i++) {
        used += (size_t)snprintf(text + used, text_bytes - used, "%s%s", i > 0 ? ", " : "", group->named[i]);
    }
    if (group->count > PN_REPORT_NAMED && used < text_bytes) {
        (void)snprintf(text + used, text_bytes - used, " and %u more", group->count - PN_REPORT_NAMED);
    }
    return text;
}

static void print_group(const pn_report_group *group, pirn_time now) {
    char who[320], age[32];
    pn_tell("  %u tasklet%s for %s, the oldest for %s now (spawned at %s:%u): %s", group->count,
            group->count == 1 ? " waits" : "s wait", group->waits_on, seconds(now - group->oldest, age, sizeof age),
            pn_base_name(group->file), group->line, names(group, who, sizeof who));
}

/* The largest group that was not printed yet, NULL for none. */
static const pn_report_group *largest_left(const pn_report *report, const bool *printed) {
    const pn_report_group *largest = NULL;
    for (unsigned i = 0; i < report->group_count; i++) {
        if (!printed[i] && (!largest || report->groups[i].count > largest->count)) {
            largest = &report->groups[i];
        }
    }
    return largest;
}

/* A line a group, the largest first; what is left over is counted. */
static void print_groups(const pn_report *report, pirn_time now) {
    bool printed[PN_REPORT_GROUPS] = {false};
    unsigned left = report->total;
    for (unsigned lines = 0; lines < PN_REPORT_SINGLE; lines++) {
        const pn_report_group *group = largest_left(report, printed);
        if (!group) {
            break;
        }
        printed[group - report->groups] = true;
        print_group(group, now);
        left -= group->count;
    }
    if (left > 0) {
        pn_tell("  and %u tasklets on other objects", left);
    }
}

static void print_body(const pn_report *report, pirn_time now) {
    if (report->total > PN_REPORT_SINGLE || report->ungrouped > 0) {
        print_groups(report, now);
        return;
    }
    for (unsigned i = 0; i < report->total; i++) {
        print_single(report, &report->singles[i], now);
    }
}

void pn_report_print_total(const pn_report *report, pirn_time now) {
    if (report->total == 0) {
        return;
    }
    if (report->total == 1) {
        pn_tell("the only tasklet is parked and nothing can wake it:");
    } else {
        pn_tell("all %u tasklets are parked and nothing can wake them:", report->total);
    }
    print_body(report, now);
}

/* Whether all wait on the same thing. */
static bool is_one_object(const pn_report *report) {
    for (unsigned i = 1; i < report->group_count; i++) {
        const pn_report_group *group = &report->groups[i], *first = &report->groups[0];
        if (group->reason != first->reason || group->object != first->object || group->detail != first->detail) {
            return false;
        }
    }
    return report->ungrouped == 0;
}

void pn_report_print_partial(const pn_report *report, pirn_time now) {
    char age[32];
    if (report->total == 0) {
        return;
    }
    (void)seconds(now - report->youngest, age, sizeof age);
    const char *are = report->total == 1 ? " is" : "s are";
    if (is_one_object(report)) {
        pn_tell("%u tasklet%s parked on %s for over %s, without a deadline:", report->total, are,
                report->groups[0].waits_on, age);
    } else {
        pn_tell("%u tasklet%s parked for over %s, without a deadline:", report->total, are, age);
    }
    print_body(report, now);
    pn_tell("  Give such a wait a deadline, or spawn a tasklet that is to wait for ever with PIRN_DAEMON.");
}

/* ---- one scheduler alone ---- */

/* A daemon waits for ever by design, but not while it works for somebody (core/call.h). */
static bool is_daemon(const pn_tasklet *tasklet) {
    return (tasklet->flags & PIRN_DAEMON) != 0 && !tasklet->at_work;
}

static bool is_in_total(const pn_tasklet *tasklet) {
    return tasklet->state == PN_PARKED && !is_daemon(tasklet) && !tasklet->waiter->external;
}

void pn_report_add_all(pn_report *report, pn_sched *sched) {
    PN_LIST_EACH(&sched->all, node) {
        const pn_tasklet *tasklet = PN_CONTAINER_OF(node, pn_tasklet, all_link);
        if (is_in_total(tasklet)) {
            pn_report_add(report, tasklet);
        }
    }
}

bool pn_report_suspects(const pn_tasklet *tasklet, pirn_time older_than) {
    return is_in_total(tasklet) && pn_reason_is_internal(tasklet->waiter->reason) && !tasklet->waiter->timer.armed &&
           tasklet->since < older_than && !tasklet->stuck_reported && pn_waiter_is_open(tasklet->waiter);
}

bool pn_sched_slot(pn_sched *sched, uint32_t slot, pn_tasklet **tasklet) {
    if (slot / PN_SLAB_TASKLETS >= sched->slab_count) {
        return false;
    }
    pn_tasklet *found = &sched->slabs[slot / PN_SLAB_TASKLETS][slot % PN_SLAB_TASKLETS];
    *tasklet = found->state != PN_FREE && found->state != PN_ENDED ? found : NULL;
    return true;
}

/* The fate of a suspect, where all it waits for is here. */
static pn_fate fate_alone(pn_sched *sched, const pn_tasklet *tasklet, pn_walk *walk) {
    uint64_t id = pn_tasklet_handle(tasklet).id;
    *walk = (pn_walk){.subject = id,
                      .at = id,
                      .number = walk->number + 1,
                      .first_number = walk->first_number,
                      .older_than = walk->older_than};
    pn_fate fate;
    do {
        fate = pn_walk_step(sched, walk);
    } while (fate == PN_FATE_OPEN);
    return fate;
}

unsigned pn_report_parked(pn_sched *sched, pirn_time older_than, bool quiet) {
    static pn_report report;
    static uint32_t walks;
    sched->clock = pn_below->now();
    pn_report_init(&report);
    if (older_than == 0) {
        pn_report_add_all(&report, sched);
        if (!quiet) {
            pn_report_print_total(&report, sched->clock);
        }
        return report.total;
    }
    pn_walk walk = {.number = walks, .first_number = walks + 1, .older_than = older_than};
    pn_tasklet *tasklet;
    for (uint32_t slot = 0; pn_sched_slot(sched, slot, &tasklet); slot++) {
        if (tasklet && pn_report_suspects(tasklet, older_than) && fate_alone(sched, tasklet, &walk) == PN_STUCK) {
            pn_report_add(&report, tasklet);
            tasklet->stuck_reported = !quiet;
        }
    }
    walks = walk.number;
    if (!quiet) {
        pn_report_print_partial(&report, sched->clock);
    }
    return report.total;
}
