/* SPDX-License-Identifier: MIT
 *
 * What: pirn_inspect over all workers: one message goes from worker to worker, each writes its part, and comes home.
 * Threads: the asker, a tasklet; each part by its own worker, between two tasklets.
 * Invariants: the snapshot is one worker's at a time: the message hands it on.
 * Lifetime: the tour lies on the asker's stack: it waits for it, shielded and without a deadline (each hop is one look
 *       at an inbox), and looks at its own deadline only before it starts.
 */

#include "inspect.h"
#include "runtime.h"

#include "alloc.h"

typedef struct tour {
    pn_message message;
    pn_waiter *waiter;
    pirn_snapshot *snapshot;
    pn_waits *waits;
    size_t max;
    unsigned worker, home;
    int error;
} tour;

static void deliver_home(pn_message *message) {
    pn_waiter_complete(PN_CONTAINER_OF(message, tour, message)->waiter);
}

/* What came together with our look and stands behind it; and one for whatever came since, a stack of unknown height. */
static unsigned count_inbox(const pn_worker *worker) {
    const pn_inbox *inbox = &worker->driver.port.inbox;
    return inbox->waiting_count + (pn_inbox_taken(inbox) ? 0 : 1);
}

static void deliver_to_worker(pn_message *message) {
    tour *t = PN_CONTAINER_OF(message, tour, message);
    pn_worker *worker = pn_worker_self();
    pirn_snapshot *s = t->snapshot;
    int error = pn_inspect_sched(&worker->sched, &s->workers[t->worker], t->max, &s->tasklets, &s->tasklet_count,
                                 &s->truncated);
    s->workers[t->worker].inbox = count_inbox(worker);
    s->live += worker->sched.counts.live;
    s->parked += worker->sched.counts.parked;
    s->deferreds += worker->sched.counts.deferreds;
    s->records += worker->records;
    s->failed += worker->sched.counts.failed;
    s->lines_left_out += pn_warn_left_out();
    pn_waits_count(t->waits, &worker->sched);
    t->error = error != 0 ? error : t->error;
    t->worker++;
    bool last = t->worker == pn_runtime_current.worker_count;
    message->deliver = last ? deliver_home : deliver_to_worker;
    pn_below->post(last ? t->home : t->worker, message);
}

static int visit_all(pirn_snapshot *snapshot, pn_waits *waits, size_t max) {
    pn_waiter waiter;
    pn_waiter_init(&waiter, PN_ON_WORKERS, NULL);
    waiter.external = true;
    tour t = {.message.deliver = deliver_to_worker,
              .waiter = &waiter,
              .snapshot = snapshot,
              .waits = waits,
              .max = max,
              .home = pn_sched_self()->options.id};
    pn_firm_shield_enter();
    pn_below->post(0, &t.message);
    int error = pn_wait(&waiter, PIRN_FOREVER, NULL);
    pn_firm_shield_leave();
    PN_ASSERT(error == 0);
    return t.error;
}

int pirn_inspect(size_t tasklets_max, pirn_snapshot **snapshot, pirn_time deadline) {
    if (!snapshot) {
        return PIRN_EINVAL;
    }
    int error = pn_may_wait("pirn_inspect", deadline == PIRN_NOW ? PIRN_FOREVER : deadline);
    if (error != 0) {
        return error;
    }
    if (deadline == PIRN_NOW) {
        return PIRN_EAGAIN;
    }
    if (pn_below->now() >= deadline) {
        return PIRN_ETIMEDOUT;
    }
    pirn_snapshot *s = pn_calloc(1, sizeof *s);
    if (!s) {
        return PIRN_ENOMEM;
    }
    s->worker_count = pn_runtime_current.worker_count;
    s->workers = pn_calloc(s->worker_count, sizeof *s->workers);
    s->waits = pn_calloc(PN_WAITS_MAX, sizeof *s->waits);
    pn_waits *waits = pn_calloc(1, sizeof *waits);
    error = s->workers && s->waits && waits ? visit_all(s, waits, tasklets_max) : PIRN_ENOMEM;
    if (error == 0) {
        s->wait_count = pn_waits_sorted(waits, s->waits);
    }
    pn_free(waits);
    if (error != 0) {
        pirn_snapshot_drop(s);
        return error;
    }
    *snapshot = s;
    return 0;
}

void pirn_snapshot_drop(pirn_snapshot *snapshot) {
    if (snapshot) {
        pn_free(snapshot->workers);
        pn_free(snapshot->waits);
        pn_free(snapshot->tasklets);
        pn_free(snapshot);
    }
}
