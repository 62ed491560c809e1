/* SPDX-License-Identifier: MIT
 *
 * What: the census: which tasklets are parked for too long on pirn's own objects, with nobody at work who will wake
 *       them (the judgement is core/report.h's). One report for the whole program, in at most PN_REPORT_LINES lines.
 *
 * Threads: one message goes from worker to worker, and the worker that has it owns all that is static here. It looks
 *       at the slots of one worker after the other. To judge a tasklet that waits for others elsewhere it goes there,
 *       and comes back.
 * Steps: a delivery takes STEPS_MAX steps (slots looked at, or tasklets on a way) and posts the message again: no
 *       worker is held up, however many tasklets there are.
 * States: `under_way` 0 -> the runtime's number, by the worker whose census is due -> 0 when the report is printed, or
 *       by a worker that is about to end: then nothing is printed. One that a runtime left behind counts for nothing in
 *       the next.
 * When: a worker looks when something was dispatched since the last census and a wait that a report may name is
 *       stuck_warn_ns old. A little later, that is, so that those who parked together are reported together; and not
 *       again within stuck_warn_ns of a report. So a quiet program does not wake for it.
 * Rejected: a census of each worker by itself: what is waited for is often elsewhere.
 */
#include <stdatomic.h>

#include "deadline.h"
#include "deadlock.h"
#include "report.h"
#include "runtime.h"

#define STEPS_MAX     256
#define SLACK_DIVISOR 8 /* of stuck_warn_ns: how much later it looks */

static _Atomic uint32_t under_way;

static struct {
    pn_message message;
    pn_report report;
    pn_walk walk;
    bool walking, judged; /* `judged`: the walk is over, its subject has walk.fate                        */
    unsigned worker;      /* whose slots are looked at                                                    */
    uint32_t slot;
    pirn_time stuck_ns, reported_at;
    uint32_t walks;   /* numbers used                                                                     */
    pirn_time oldest; /* of this worker's waits that are not old enough yet: parked since                   */
} census;

static void post_to(unsigned worker) {
    pn_below->post(worker, &census.message);
}

static void end_census(void) {
    /* release: the next census owns what is static here; pairs with the exchange in begin. */
    atomic_store_explicit(&under_way, 0, memory_order_release);
}

/* A slot that a walk of its own must judge: true. */
static bool look_at_slot(pn_tasklet *tasklet) {
    if (!pn_report_suspects(tasklet, PIRN_FOREVER)) {
        return false;
    }
    if (!pn_report_suspects(tasklet, census.walk.older_than)) {
        census.oldest = tasklet->since < census.oldest ? tasklet->since : census.oldest;
        return false;
    }
    uint64_t id = pn_tasklet_handle(tasklet).id;
    census.walk.subject = census.walk.at = id;
    census.walk.number = ++census.walks;
    census.walk.marking = false;
    census.walk.fate = PN_FATE_OPEN;
    census.walking = true;
    return true;
}

/* The walk is over, and we are at home again. */
static void conclude(pn_sched *sched) {
    pn_tasklet *tasklet = pn_tasklet_find(sched, (pirn_tasklet){census.walk.subject});
    bool stands = tasklet && pn_report_suspects(tasklet, census.walk.older_than);
    if (stands && census.walk.fate == PN_STUCK) {
        tasklet->stuck_reported = true;
        pn_report_add(&census.report, tasklet);
    }
    census.judged = false;
}

/* All slots of this worker are done: when it is to look again, and who is next. Returns false after the last. */
static bool leave_worker(pn_worker *worker) {
    worker->census_switches = worker->sched.counts.switches;
    pirn_time next = census.oldest == PIRN_FOREVER
                         ? PIRN_FOREVER
                         : pn_deadline(pn_deadline(census.oldest, census.stuck_ns), census.stuck_ns / SLACK_DIVISOR);
    pirn_time earliest = census.report.total > 0 ? pn_deadline(worker->sched.clock, census.stuck_ns) : 0;
    worker->census_at = next < earliest ? earliest : next;
    census.oldest = PIRN_FOREVER;
    census.slot = 0;
    census.worker++;
    if (census.worker < pn_runtime_current.worker_count) {
        post_to(census.worker);
        return true;
    }
    pn_report_print_partial(&census.report, pn_below->now());
    end_census();
    return false;
}

/* One step. False: the message has gone, or the census is over. */
static bool step(pn_worker *worker) {
    unsigned here = worker->sched.options.id;
    if (census.walking) {
        unsigned home = pn_handle_home((pirn_tasklet){census.walk.at});
        if (home != here && home < pn_runtime_current.worker_count) {
            post_to(home);
            return false;
        }
        census.walking = pn_walk_step(&worker->sched, &census.walk) == PN_FATE_OPEN;
        census.judged = !census.walking;
        return true;
    }
    if (here != census.worker) {
        post_to(census.worker);
        return false;
    }
    if (census.judged) {
        conclude(&worker->sched);
        return true;
    }
    pn_tasklet *tasklet;
    if (!pn_sched_slot(&worker->sched, census.slot, &tasklet)) {
        (void)leave_worker(worker);
        return false;
    }
    census.slot++;
    if (tasklet) {
        (void)look_at_slot(tasklet);
    }
    return true;
}

static void deliver_census(pn_message *message) {
    (void)message;
    pn_worker *worker = pn_worker_self();
    if (!pn_sched_self() || worker->sched.stop) {
        end_census(); /* nobody is stuck in a program that ends: who is left is cancelled */
        return;
    }
    for (unsigned steps = 0; steps < STEPS_MAX; steps++) {
        if (!step(worker)) {
            return;
        }
    }
    post_to(worker->sched.options.id);
}

/* False: one is under way. */
static bool begin(pirn_time now, pirn_time stuck_ns) {
    uint32_t run = pn_runtime_current.run;
    /* relaxed: the exchange below decides. */
    uint32_t seen = atomic_load_explicit(&under_way, memory_order_relaxed);
    /* acquire: pairs with the release in end_census. */
    if (seen == run ||
        !atomic_compare_exchange_strong_explicit(&under_way, &seen, run, memory_order_acquire, memory_order_relaxed)) {
        return false;
    }
    pn_report_init(&census.report);
    census.message.deliver = deliver_census;
    census.walk = (pn_walk){.first_number = census.walks + 1, .older_than = now - stuck_ns + 1};
    census.walking = census.judged = false;
    census.worker = census.slot = 0;
    census.stuck_ns = stuck_ns;
    census.oldest = PIRN_FOREVER;
    post_to(0);
    return true;
}

pirn_time pn_census(pn_worker *worker) {
    pn_sched *sched = &worker->sched;
    pirn_time stuck_ns = pn_runtime_current.options.stuck_warn_ns;
    if (stuck_ns == PIRN_FOREVER || sched->counts.unlimited == 0 || sched->stop) {
        return PIRN_FOREVER; /* thousands of idle connections wake nobody */
    }
    pirn_time slack = stuck_ns / SLACK_DIVISOR;
    if (worker->census_at == PIRN_FOREVER) {
        if (sched->counts.switches != worker->census_switches) {
            worker->census_switches = sched->counts.switches;
            worker->census_at = pn_deadline(pn_deadline(sched->clock, stuck_ns), slack);
        }
    } else if (sched->clock >= worker->census_at) {
        /* Another look, should this census leave us out: one that passes here sets its own. */
        worker->census_at = pn_deadline(sched->clock, stuck_ns);
        (void)begin(sched->clock, stuck_ns);
    }
    return worker->census_at;
}
