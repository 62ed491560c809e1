/* SPDX-License-Identifier: MIT
 *
 * What: the reports about parked tasklets: what is collected, worker by worker, and then printed in at most
 *       PN_REPORT_LINES lines; and the judgement whether a parked tasklet can still be woken by work that goes on.
 *
 * Threads: a report belongs to its holder; what is added to it is copied, so it may go to another worker. The
 *       judgement of a tasklet is its home's.
 *
 * The judgement: what a tasklet waits for is known when it joins another, awaits the deferred of a tasklet, or calls a
 *       processor. It is live when, over any number of such waits, it comes to a tasklet that is runnable, has a
 *       deadline, or waits for something outside pirn; or to a deferred that others of pirn's own kind will fire. It is
 *       stuck when it comes back to itself, or to a wait that only tasklets can end, of which nobody knows which, and
 *       that is older than the limit. Where that can not be told from here, it counts as live: silence, not an
 *       accusation.
 * A walk (pn_walk) is such a way. It goes from home to home, in steps, twice: first to find the end, then to write the
 *       fate into each tasklet on its way, so that all walks of a census together take linear time.
 * Invariants: (1) one census is under way in a process, so the marks in the tasklets (walk, fate) are one walk's at a
 *       time; (2) a fate is of the present wait: pn_wait forgets it.
 */
#ifndef PN_REPORT_H
#define PN_REPORT_H

#include "sched.h"

#define PN_REPORT_LINES  20 /* the first and the last included */
#define PN_REPORT_GROUPS 48 /* kinds of waits told apart: by object and place of spawn */
#define PN_REPORT_SINGLE 17 /* tasklets that have a line each, when there are no more */
#define PN_REPORT_NAMED  3  /* tasklets of a group that are named */

typedef struct pn_report_entry {
    char label[64];
    unsigned group;
    pirn_time since;
} pn_report_entry;

typedef struct pn_report_group {
    pn_reason reason;
    const void *object; /* with `detail`: what is waited on; only compared                                   */
    uint64_t detail;
    const char *file; /* of the spawn; a literal                                                           */
    unsigned line;
    bool mixed; /* several objects: only reason and place are the same                               */
    unsigned count;
    pirn_time oldest; /* parked since                                                                      */
    char waits_on[96];
    char named[PN_REPORT_NAMED][64];
} pn_report_group;

typedef struct pn_report {
    pn_report_group groups[PN_REPORT_GROUPS];
    unsigned group_count, total;
    unsigned ungrouped; /* tasklets, for which no group was left                                             */
    pirn_time youngest; /* of all: parked since, at the latest                                               */
    pn_report_entry singles[PN_REPORT_SINGLE];
} pn_report;

void pn_report_init(pn_report *report);
/* Home: add a parked tasklet. */
void pn_report_add(pn_report *report, const pn_tasklet *tasklet);
/* Home, while nobody runs: add all parked tasklets that a total deadlock names. */
void pn_report_add_all(pn_report *report, pn_sched *sched);
/* Any thread. Total: "nothing can wake them"; partial: parked for longer than a limit. Nothing is said of an empty one.
 */
void pn_report_print_total(const pn_report *report, pirn_time now);
void pn_report_print_partial(const pn_report *report, pirn_time now);

typedef enum pn_fate { PN_FATE_OPEN, PN_LIVE, PN_STUCK } pn_fate;

typedef struct pn_walk {
    uint64_t subject, at;  /* ids of tasklets: where it began, where it goes on                             */
    uint32_t number;       /* of this walk; never 0                                                        */
    uint32_t first_number; /* of the census: older marks mean nothing                                      */
    pirn_time older_than;  /* the limit                                                                    */
    bool marking;          /* the second time                                                              */
    pn_fate fate;          /* found by the first                                                           */
} pn_walk;

/* Home of `walk->at`: one step. PN_FATE_OPEN: it goes on at the new `at`, perhaps at another home; else it is over, and
 * the subject has this fate. */
pn_fate pn_walk_step(pn_sched *sched, pn_walk *walk);

/* Whether a partial report may come to name it: parked since before `older_than` on one of pirn's own objects, without
 * a deadline, no daemon, not named yet, and nobody has ended its wait meanwhile. Home. */
bool pn_report_suspects(const pn_tasklet *tasklet, pirn_time older_than);

/* The slot's tasklet when it lives, NULL when it does not, and false behind the last slot. Home. */
bool pn_sched_slot(pn_sched *sched, uint32_t slot, pn_tasklet **tasklet);

#endif
