/* SPDX-License-Identifier: MIT
 *
 * What: the turn (see bridge/driver.h).
 * Threads: the owner.
 * Invariants: (1) whoever sleeps announced it first and looked at the inbox after (doorbell.h); (2) nothing stays in
 *       `out` over a sleep, nor over a run of libuv, and user code never runs in front of it; nothing of the inbox or
 *       of `again` waits over a sleep; (3) libuv is asked for its timeout directly before each sleep, since it defers
 *       its own epoll_ctl to uv_run; (4) when libuv has run, the turn only looks: its callbacks may have made tasklets
 *       ready, which no inbox tells.
 * Lifetime: fini delivers what is left in the inbox, and needs that nobody can ring any more (doorbell.c).
 * Rejected: a bounded spin before the sleep: with as many threads as cores it only takes the processor from the one
 *       waited for; the place for it is wait_for_events().
 */
#include "driver.h"

#include <unistd.h>

#include "descriptor.h"
#include "listener.h"
#include "runtime.h"
#include "watchdog_sleep.h"

static _Thread_local pn_driver *self;

pn_driver *pn_driver_self(void) {
    return self;
}

static void bell_rang(pn_watch *watch, unsigned bits) {
    (void)watch;
    (void)bits; /* each turn drains the inbox in any case */
}

static void companion_is_ready(pn_watch *watch, unsigned bits) {
    (void)bits;
    PN_CONTAINER_OF(watch, pn_driver, companion_watch)->companion_ready = true;
}

int pn_driver_init(pn_driver *driver, bool sockets) {
    *driver = (pn_driver){.bell_watch.on_event = bell_rang,
                          .companion_watch.on_event = companion_is_ready,
                          .sockets = sockets,
                          .resume_at = PIRN_FOREVER};
    driver->thread = pthread_self();
    driver->thread_id = gettid();
    pn_inbox_init(&driver->port.inbox);
    pn_list_init(&driver->again);
    pn_list_init(&driver->paused);
    int error = pn_doorbell_init(&driver->port.bell);
    if (error != 0) {
        return error;
    }
    error = pn_readiness_init(&driver->set);
    if (error != 0) {
        goto no_set;
    }
    error = pn_readiness_add_bell(&driver->set, driver->port.bell.fd, &driver->bell_watch);
    if (error != 0) {
        goto no_watch;
    }
    self = driver;
    return 0;
no_watch:
    pn_readiness_fini(&driver->set);
no_set:
    pn_doorbell_fini(&driver->port.bell);
    return error;
}

void pn_driver_fini(pn_driver *driver) {
    (void)pn_inbox_drain(&driver->port.inbox);
    pn_readiness_fini(&driver->set);
    pn_doorbell_fini(&driver->port.bell);
    if (self == driver) {
        self = NULL;
    }
}

int pn_driver_set_companion(pn_driver *driver, pn_companion *companion) {
    driver->companion = companion;
    return pn_readiness_add(&driver->set, companion->fd, &driver->companion_watch, true);
}

/* ---- completions ---- */

void pn_driver_hand_back(pn_driver *driver, unsigned home, pn_message *message) {
    PN_DCHECK(driver == self);
    if (&pn_runtime_current.workers[home].driver == driver) {
        message->deliver(message);
        return;
    }
    if (pn_worker_self()) {
        pn_port_post(&pn_runtime_current.workers[home].driver.port, message);
        return;
    }
    pn_batch *batch = &driver->out[home];
    message->next = NULL;
    if (driver->out_mask & (uint64_t)1 << home) {
        batch->last->next = message;
    } else {
        batch->first = message;
        driver->out_mask |= (uint64_t)1 << home;
    }
    batch->last = message;
}

/* One push and at most one ring for each worker that has completions, in ascending order of homes: the tour of a
 * listener's stop, which starts at the last worker, relies on it. */
static void flush(pn_driver *driver) {
    driver->moved = 0;
    while (driver->out_mask) {
        unsigned home = (unsigned)__builtin_ctzll(driver->out_mask);
        driver->out_mask &= driver->out_mask - 1;
        pn_port *port = &pn_runtime_current.workers[home].driver.port;
        pn_inbox_push_chain_mpsc(&port->inbox, driver->out[home].first, driver->out[home].last);
        (void)pn_doorbell_ring(&port->bell);
    }
}

/* ---- paused listeners ---- */

void pn_driver_resume_paused(pn_driver *driver) {
    if (!pn_list_empty(&driver->paused)) {
        driver->resume_at = PIRN_NOW;
    }
}

static void resume_paused(pn_driver *driver) {
    pn_list due;
    pn_list_init(&due);
    pn_node *node;
    while ((node = pn_list_pop(&driver->paused)) != NULL) {
        pn_list_append(&due, node);
    }
    driver->resume_at = PIRN_FOREVER;
    while ((node = pn_list_pop(&due)) != NULL) {
        pn_acceptor_resume(node);
    }
}

/* ---- the turn ---- */

static void run_companion(pn_driver *driver) {
    flush(driver); /* a transfer's callbacks may take their time */
    driver->companion->run(driver->companion->context);
}

/* How long libuv lets us sleep at most; runs it at once when it has something to do. */
static pirn_time consult_companion(pn_driver *driver, pirn_time deadline) {
    pn_companion *companion = driver->companion;
    int64_t timeout_ns = companion->timeout_ns(companion->context);
    if (timeout_ns == 0) {
        /* Something is due there. What was asked for before that moment is in the inbox at the latest now: due calls
         * fire in the order of their deadlines although this thread got no processor for a while. */
        (void)pn_inbox_drain_some(&driver->port.inbox, PN_DRAIN_MAX, NULL);
        run_companion(driver);
        return PIRN_NOW; /* its callbacks may have made tasklets of this thread ready, which no inbox tells */
    }
    if (timeout_ns < 0) {
        return deadline;
    }
    pirn_time due = pn_below->now() + timeout_ns;
    return due < deadline ? due : deadline;
}

/* Announce the sleep, look again, sleep; or only look. Returns how many events came. */
static int wait_for_events(pn_driver *driver, pn_ready_event *events, pirn_time deadline) {
    if (deadline == PIRN_NOW) {
        bool nothing_to_see = driver->watched == 0 && !driver->companion;
        return nothing_to_see ? 0 : pn_readiness_wait(&driver->set, events, PIRN_NOW);
    }
    pn_doorbell_sleep(&driver->port.bell);
    if (driver->on_sleep) {
        driver->on_sleep(driver, true);
    }
    if (!pn_inbox_empty(&driver->port.inbox)) {
        deadline = PIRN_NOW;
    }
    int count = pn_readiness_wait(&driver->set, events, deadline);
    pn_doorbell_wake(&driver->port.bell);
    if (driver->on_sleep) {
        driver->on_sleep(driver, false); /* before anything is taken out of the inbox: see deadlock.c */
    }
    pn_watchdog_notice();
    return count;
}

/* Returns whether anything was delivered. */
static bool drain(pn_driver *driver) {
    pn_sched *sched = pn_sched_self();
    return pn_inbox_drain_some(&driver->port.inbox, PN_DRAIN_MAX, sched ? &sched->hurry : NULL) > 0;
}

static void flush_if_large(pn_driver *driver) {
    if (driver->moved >= PN_UNFLUSHED_BYTES_MAX) {
        flush(driver);
    }
}

static void move_all(pn_list *from, pn_list *to) {
    pn_node *node;
    while ((node = pn_list_pop(from)) != NULL) {
        pn_list_append(to, node);
    }
}

/* Records that moved their share in earlier turns. One that does so again is in `again` for the next turn. */
static void go_on(pn_driver *driver, pn_list *due) {
    pn_node *node;
    while ((node = pn_list_pop(due)) != NULL) {
        pn_perform_again(node);
        flush_if_large(driver);
    }
}

void pn_driver_turn(pn_driver *driver, pirn_time deadline) {
    pn_ready_event events[PN_EVENTS_MAX];
    pn_list again;
    pn_list_init(&again);
    move_all(&driver->again, &again);
    driver->turn_count++;
    if (drain(driver)) {
        deadline = PIRN_NOW; /* it may have made tasklets ready: only look */
    }
    if (driver->companion) {
        deadline = consult_companion(driver, deadline);
    }
    if (driver->resume_at < deadline) {
        deadline = driver->resume_at;
    }
    if (!pn_list_empty(&again) || !pn_list_empty(&driver->again)) {
        deadline = PIRN_NOW;
    }
    flush(driver);
    int count = wait_for_events(driver, events, deadline);
    for (int i = 0; i < count; i++) {
        pn_watch *watch = events[i].tag;
        watch->on_event(watch, events[i].bits);
        flush_if_large(driver);
    }
    go_on(driver, &again);
    if (driver->companion_ready) {
        driver->companion_ready = false;
        run_companion(driver);
    }
    if (driver->resume_at != PIRN_FOREVER && driver->resume_at <= pn_below->now()) {
        resume_paused(driver);
    }
    (void)drain(driver);
    flush(driver);
    driver->turn_count++;
}
