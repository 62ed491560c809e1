/* SPDX-License-Identifier: MIT
 *
 * What: see bridge/deadlock.h.
 * Threads: each worker, for itself; the words of the others are read only.
 *
 * Total deadlock: each worker publishes in `idle` (odd: asleep, and no timer of a tasklet will end that). The last to
 *       go idle looks, in this order: every worker's word is odd; nothing outside can wake anybody; every inbox is
 *       empty and every worker expects nothing back; every word is still what it was. Workers that sleep send nothing,
 *       and what they wait for from outside they count until it has arrived (live.h), so if all four hold, no message
 *       is in flight and none can come.
 * Invariants: (1) a worker is odd only between its announcement and its first look at the inbox afterwards: what it
 *       takes out of its inbox it handles while even, and of what it has taken nothing waits while it is odd; (2)
 *       between the store of the own word and the reads of the others' stands a full fence on every worker, so of two
 *       that go idle at once at least one sees the other; (3) what a judge reads of a worker is published by that
 *       worker's word; (4) one total report is under way at a time (`reporting`), so its messages are in one inbox
 *       each.
 */
#include "deadlock.h"

#include <stdatomic.h>

#include "deadline.h"
#include "live.h"
#include "report.h"
#include "runtime.h"

static _Atomic uint32_t reporting; /* 1: a report is under way, from its judge to worker 0 */

/* Of the report under way: the worker's that has its message. */
static pn_report report_so_far;
static uint64_t judged_switches; /* worker 0's: its dispatches when the report came */

static _Atomic uint32_t *idle_word(pn_worker *worker) {
    return (_Atomic uint32_t *)&worker->idle;
}

static uint32_t read_idle(pn_worker *worker) {
    /* seq_cst: the sleeper's other half of the store-load pair in pn_idle_begin. */
    return atomic_load_explicit(idle_word(worker), memory_order_seq_cst);
}

static void end_report(void) {
    /* release: the next judge may use the report and its messages again; pairs with the exchange in judge. */
    atomic_store_explicit(&reporting, 0, memory_order_release);
}

/* Worker 0, when the report has been to all: print it, and tell main first, which can do something about it. Not when
 * something came from outside while the report went round, or main waits for something else by now. */
static void deliver_conclusion(pn_message *message) {
    pn_sched *sched = &PN_CONTAINER_OF(message, pn_worker, report)->sched;
    if (pn_outside_count() == 0 && sched->counts.switches == judged_switches) {
        pn_report_print_total(&report_so_far, pn_below->now());
        if (sched->main && sched->main->state == PN_PARKED && pn_waiter_strike(sched->main->waiter, PIRN_EDEADLK)) {
            pn_ready(sched->main);
        }
    }
    end_report();
}

/* The report goes from worker to worker, which add their parts, and back to worker 0. */
static void deliver_report(pn_message *message) {
    pn_worker *worker = PN_CONTAINER_OF(message, pn_worker, report);
    if (worker->sched.options.id == 0) {
        judged_switches = worker->sched.counts.switches;
        if (pn_outside_count() > 0) { /* a foreign thread has opened a handle meanwhile */
            end_report();
            return;
        }
        pn_report_init(&report_so_far);
    }
    pn_report_add_all(&report_so_far, &worker->sched);
    unsigned next = worker->sched.options.id + 1;
    bool last = next == pn_runtime_current.worker_count;
    pn_worker *other = &pn_runtime_current.workers[last ? 0 : next];
    other->report.deliver = last ? deliver_conclusion : deliver_report;
    pn_below->post(last ? 0 : next, &other->report);
}

/* All asleep at one moment, nothing outside, nothing in flight? `*parked` counts the tasklets that makes. */
static bool nothing_can_happen(unsigned *parked) {
    pn_runtime *runtime = &pn_runtime_current;
    uint32_t words[PN_WORKERS_MAX];
    *parked = 0;
    for (unsigned i = 0; i < runtime->worker_count; i++) {
        words[i] = read_idle(&runtime->workers[i]);
        if (words[i] % 2 == 0) {
            return false;
        }
    }
    if (pn_outside_count() > 0) {
        return false;
    }
    for (unsigned i = 0; i < runtime->worker_count; i++) {
        if (!pn_inbox_taken(&runtime->workers[i].driver.port.inbox)) {
            return false;
        }
        /* relaxed, both: published by the store of the idle word that we read before. */
        if (atomic_load_explicit((_Atomic uint32_t *)&runtime->workers[i].expecting, memory_order_relaxed) > 0) {
            return false;
        }
        *parked += atomic_load_explicit((_Atomic uint32_t *)&runtime->workers[i].waiting, memory_order_relaxed);
    }
    /* Between the look at the inboxes and the second look at the words: who emptied an inbox that we saw empty had
     * changed its word before. Pairs with the fence in pn_idle_end. */
    atomic_thread_fence(memory_order_seq_cst);
    for (unsigned i = 0; i < runtime->worker_count; i++) {
        if (read_idle(&runtime->workers[i]) != words[i]) {
            return false;
        }
    }
    return true;
}

static void judge(void) {
    unsigned parked;
    if (!nothing_can_happen(&parked) || parked == 0) {
        return;
    }
    /* relaxed: published by worker 0's idle word, which we have read. */
    if (!atomic_load_explicit((_Atomic uint32_t *)&pn_runtime_current.workers[0].has_main, memory_order_relaxed)) {
        return; /* the shutdown is under way, and cancels who is left */
    }
    /* acquire: pairs with the release in end_report. */
    if (atomic_exchange_explicit(&reporting, 1, memory_order_acquire) == 1) {
        return;
    }
    pn_worker *first = &pn_runtime_current.workers[0];
    first->report.deliver = deliver_report;
    pn_below->post(0, &first->report);
}

void pn_idle_begin(pn_worker *worker) {
    _Atomic uint32_t *waiting = (_Atomic uint32_t *)&worker->waiting;
    _Atomic uint32_t *expecting = (_Atomic uint32_t *)&worker->expecting;
    _Atomic uint32_t *has_main = (_Atomic uint32_t *)&worker->has_main;
    /* relaxed, all: published by the idle word below. */
    atomic_store_explicit(has_main, worker->sched.main != NULL, memory_order_relaxed);
    atomic_store_explicit(waiting, worker->sched.counts.holds_drain + worker->sched.counts.daemons_at_work,
                          memory_order_relaxed);
    atomic_store_explicit(expecting, worker->records + worker->jobs, memory_order_relaxed);
    /* publishes all before it */
    atomic_fetch_add_explicit(idle_word(worker), 1, memory_order_seq_cst);
    /* between our word and our look at the others': see the head of the file */
    atomic_thread_fence(memory_order_seq_cst);
    judge();
}

void pn_idle_end(pn_worker *worker) {
    atomic_fetch_add_explicit(idle_word(worker), 1, memory_order_seq_cst); /* a judge that saw us asleep looks twice */
    /* between our word and what we take out of the inbox; pairs with the fence in nothing_can_happen */
    atomic_thread_fence(memory_order_seq_cst);
}
