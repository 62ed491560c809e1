/* SPDX-License-Identifier: MIT
 *
 * What: how a runtime ends (rule 19 of docs/design.md), told in order by the main tasklet: stop accepting; drain until
 *       a deadline; cancel the rest while workers and reactor go on delivering; stop services and offload pools; wait
 *       for quiet; let everybody go.
 *
 * Threads: the main tasklet on worker 0; each look at a worker or the reactor is a message there and back.
 * Quiet: all tasklets but main have ended, nothing outside is counted, and between two looks nobody was delivered
 *       anything but the looks themselves. A message that was under way between the two would have been delivered
 *       before the second look (an inbox is first in, first out) and counted; and only a message, a tasklet or
 *       something outside makes a new message.
 * Stages, after the drain (core/tasklet.h): CANCELLING, for a fifth of end_ns, while all still delivers; REFUSING,
 *       until end_ns is over; FINAL, for another fifth; FORCED. One line names who lives at the beginning of each.
 *       What is left then neither waits nor yields: the guard (end_guard.h) names it and ends the process.
 * Invariants: (1) whatever the program does, the end comes by GUARD_TIMES times end_ns after the drain; (2) a tasklet
 *       that shields itself may still use every service for a fifth of end_ns after it was cancelled.
 * Rejected: counting tasklets in a shared word (every end of a tasklet would pay for the end of the program); a hook
 *       that tells of the last end: looking again after a pause, at most every PAUSE_NS_MAX, happens once in a
 *       program's life.
 */
#include "shutdown.h"

#include <stdio.h>

#include "alloc.h"
#include "deadline.h"
#include "end_guard.h"
#include "failure.h"
#include "foreign.h"
#include "listener.h"
#include "live.h"
#include "offload.h"
#include "reactor.h"
#include "request.h"
#include "runtime.h"
#include "signal_watch.h"
#include "watchdog.h"

/* Of options.end_ns: when new tasklets and requests are refused; when waits end though shielded (the whole of it), and
 * how long after that tasklets end where they stand. */
#define GRACE_PART 5
/* Of options.end_ns: then it is a bug of the program: a line and abort, as a supervisor would kill us. */
#define GUARD_TIMES    6
#define JOB_NS         (1 * PIRN_SECOND)        /* interrupted jobs may take so long to stop                      */
#define LAST_WORDS_NS  (100 * PIRN_MILLISECOND) /* callbacks may go on so long after the last tasklet             */
#define PAUSE_NS_FIRST (20 * PIRN_MICROSECOND)
#define PAUSE_NS_MAX   (5 * PIRN_MILLISECOND)
#define LOOKS_MAX      (PN_WORKERS_MAX + 1) /* workers, and the reactor on its own thread                        */
#define NAMES_MAX      4                    /* told of each worker                                               */

/* What a look notes by name. */
typedef enum telling { TELL_NOTHING, TELL_STRUCK, TELL_LIVE } telling;

/* One look at one thread. */
typedef struct look {
    pn_message message;
    pn_driver *driver; /* immutable                                                                   */
    pn_sched *sched;   /* immutable; NULL: the reactor's thread                                       */
    telling telling;   /* main, before it is sent                                                     */
    /* the looked at, before it is sent back */
    unsigned live, holds_drain, delivered_count;
    unsigned told; /* tasklets that `telling` is about, of whom `names` has the first                    */
    char names[400];
    size_t names_bytes;
    bool busy;                 /* has completions to hand back, or requests under way                         */
    bool out;                  /* main: the answer is not back yet                                            */
    unsigned delivered_before; /* main: at the look before                                             */
} look;

/* One runtime runs at a time, so one of these. Main tasklet only, but for what a look says. */
static struct {
    look looks[LOOKS_MAX];
    unsigned count, outstanding;
    pn_stage stage; /* main; a worker reads it in a look                                                 */
    pn_waiter *waiter;
} all;

/* ---- at a worker ---- */

static void note_name(look *seen, const pn_tasklet *tasklet) {
    if (++seen->told > NAMES_MAX) {
        return;
    }
    char label[64], waits_on[64] = "its turn";
    if (tasklet->state == PN_PARKED) {
        (void)pn_waiter_describe(tasklet->waiter, waits_on, sizeof waits_on);
    }
    int wanted = snprintf(seen->names + seen->names_bytes, sizeof seen->names - seen->names_bytes, "%s%s (%s%s)",
                          seen->told > 1 ? ", " : "", pn_tasklet_label(tasklet, label, sizeof label), waits_on,
                          tasklet->shield > 0 ? ", shielded" : "");
    size_t room = sizeof seen->names - seen->names_bytes - 1;
    seen->names_bytes += wanted < 0 ? 0 : (size_t)wanted < room ? (size_t)wanted : room;
}

static void note_names(look *seen) {
    seen->told = 0;
    seen->names_bytes = 0;
    PN_LIST_EACH(&seen->sched->all, node) {
        const pn_tasklet *tasklet = PN_CONTAINER_OF(node, pn_tasklet, all_link);
        bool struck_now = !tasklet->cancelled && tasklet->state == PN_PARKED && (tasklet->flags & PIRN_DAEMON) == 0;
        if (!tasklet->is_main && (seen->telling == TELL_LIVE || struck_now)) {
            note_name(seen, tasklet);
        }
    }
}

static bool wants_strike(const pn_sched *sched, const pn_tasklet *tasklet) {
    bool waits_shielded = tasklet->state == PN_PARKED && tasklet->shield > 0 && !pn_tasklet_is_shielded(tasklet);
    return !tasklet->is_main && (!tasklet->cancelled || (sched->stage >= PN_FINAL && waits_shielded));
}

/* Strikes may end tasklets that have not started, and their ends may change the list: so first the handles. */
static void cancel_all(pn_sched *sched) {
    pirn_tasklet *handles = pn_malloc((sched->counts.live + 1) * sizeof *handles);
    if (!handles) {
        return; /* the next look tries again */
    }
    size_t count = 0;
    PN_LIST_EACH(&sched->all, node) {
        pn_tasklet *tasklet = PN_CONTAINER_OF(node, pn_tasklet, all_link);
        if (wants_strike(sched, tasklet)) {
            handles[count++] = pn_tasklet_handle(tasklet);
        }
    }
    for (size_t i = 0; i < count; i++) {
        pn_tasklet *tasklet = pn_tasklet_find(sched, handles[i]);
        if (tasklet && tasklet->state != PN_ENDED) {
            pn_tasklet_strike(tasklet, PIRN_ECANCELED, true, false);
        }
    }
    pn_free(handles);
}

static void deliver_back(pn_message *message) {
    PN_CONTAINER_OF(message, look, message)->out = false;
    if (--all.outstanding == 0) {
        pn_waiter_complete(all.waiter);
    }
}

static void look_at_worker(look *seen) {
    pn_sched *sched = seen->sched;
    if (seen->telling != TELL_NOTHING) {
        note_names(seen);
    }
    sched->stage = all.stage;
    if (sched->stage >= PN_CANCELLING) {
        cancel_all(sched);
    }
    seen->live = sched->counts.live;
    seen->holds_drain = sched->counts.holds_drain;
}

static void deliver_look(pn_message *message) {
    look *seen = PN_CONTAINER_OF(message, look, message);
    if (seen->sched) {
        look_at_worker(seen);
    }
    seen->delivered_count = seen->driver->port.inbox.taken_count;
    seen->busy = seen->driver->out_mask != 0 || (seen->driver == pn_runtime_current.reactor && pn_requests_under_way());
    seen->message.deliver = deliver_back;
    pn_below->post(0, &seen->message);
}

/* ---- in the main tasklet ---- */

static void init_looks(void) {
    pn_runtime *runtime = &pn_runtime_current;
    all.count = runtime->worker_count;
    all.stage = PN_GOING;
    for (unsigned i = 0; i < all.count; i++) {
        all.looks[i] = (look){.driver = &runtime->workers[i].driver, .sched = &runtime->workers[i].sched};
    }
    if (runtime->reactor != &runtime->workers[0].driver) {
        all.looks[all.count++] = (look){.driver = runtime->reactor};
    }
}

/* Look at everybody. Worker 0, which also gets the answers, is asked first: so it sees its own question before any of
 * them. */
static void look_at_all(telling what) {
    pn_waiter waiter;
    pn_waiter_init(&waiter, PN_ON_WORKERS, NULL);
    all.waiter = &waiter;
    all.outstanding = all.count;
    for (unsigned i = 0; i < all.count; i++) {
        look *one = &all.looks[i];
        one->telling = what;
        one->out = true;
        one->delivered_before = one->delivered_count;
        one->message.deliver = deliver_look;
        if (one->sched) {
            pn_below->post(i, &one->message);
        } else {
            pn_reactor_post(&one->message);
        }
    }
    int error = pn_wait(&waiter, PIRN_FOREVER, NULL); /* who does not answer is the guard's: end_guard.h */
    PN_ASSERT(error == 0);
}

/* Main itself is one of each. */
static bool is_drained(void) {
    unsigned holds_drain = 0;
    for (unsigned i = 0; i < all.count; i++) {
        holds_drain += all.looks[i].holds_drain;
    }
    return holds_drain <= 1;
}

static bool is_over(void) {
    unsigned live = 0;
    for (unsigned i = 0; i < all.count; i++) {
        live += all.looks[i].live;
    }
    return live <= 1;
}

/* See the head of the file. Between two of its looks worker 0 gets the answers of the first and the second look
 * itself. */
static bool is_quiet(void) {
    for (unsigned i = 0; i < all.count; i++) {
        const look *one = &all.looks[i];
        unsigned expected = i == 0 ? all.count + 1 : 1;
        if (one->busy || one->delivered_count - one->delivered_before != expected) {
            return false;
        }
    }
    return is_over() && pn_outside_count() == 0;
}

/* Look until `goal` is reached; false: not by `deadline`. */
static bool wait_for(bool (*goal)(void), pirn_time deadline) {
    int64_t pause_ns = PAUSE_NS_FIRST;
    for (;;) {
        look_at_all(TELL_NOTHING);
        if (goal()) {
            return true;
        }
        pirn_time now = pirn_now();
        if (now >= deadline) {
            return false;
        }
        pirn_time next = now + pause_ns;
        (void)pirn_sleep_until(next < deadline ? next : deadline);
        pause_ns = pause_ns * 2 < PAUSE_NS_MAX ? pause_ns * 2 : PAUSE_NS_MAX;
    }
}

static void deliver_refuse(pn_message *message) {
    (void)message;
    pn_requests_refuse();
    pn_signal_watches_refuse();
}

/* Nothing new may come from outside, and what is out comes back as failures. */
static void refuse_services(void) {
    static pn_message refuse;
    pn_foreign_stop();
    pn_offload_refuse();
    refuse.deliver = deliver_refuse;
    pn_reactor_post(&refuse);
}

static void deliver_stop(pn_message *message) {
    PN_CONTAINER_OF(message, look, message)->sched->stop = true;
}

static void deliver_stop_reactor(pn_message *message) {
    (void)message;
    pn_reactor_current.stop = true;
}

/* The last messages of this runtime. Threads wait for each other before they take apart what these still touch
 * (runtime.c). */
static void tell_all_to_leave(void) {
    for (unsigned i = 1; i < all.count; i++) {
        look *one = &all.looks[i];
        one->message.deliver = one->sched ? deliver_stop : deliver_stop_reactor;
        pn_port_post(&one->driver->port, &one->message);
    }
    all.looks[0].sched->stop = true;
}

/* ---- what is said ---- */

static unsigned count_told(void) {
    unsigned told = 0;
    for (unsigned i = 0; i < all.count; i++) {
        told += all.looks[i].sched ? all.looks[i].told : 0;
    }
    return told;
}

/* One line: how many tasklets, `what` of them, and the names of the first. */
static void say(const char *kind, const char *what) {
    char names[600];
    size_t used = 0;
    unsigned count = count_told(), named = 0;
    for (unsigned i = 0; i < all.count && used + 1 < sizeof names; i++) {
        const look *one = &all.looks[i];
        if (one->sched && one->told > 0) {
            named += one->told < NAMES_MAX ? one->told : NAMES_MAX;
            used += (size_t)snprintf(names + used, sizeof names - used, "%s%.*s", used ? ", " : "",
                                     (int)one->names_bytes, one->names);
        }
    }
    char more[32] = "";
    if (used + 1 >= sizeof names) {
        (void)snprintf(more, sizeof more, "...");
    } else if (count > named) {
        (void)snprintf(more, sizeof more, ", %u more", count - named);
    }
    if (count > 0) {
        pn_warn("main has returned: %u %stasklet%s %s: %s%s", count, kind, count == 1 ? "" : "s", what, names, more);
    }
}

/* ---- the end ---- */

static pirn_time end_part(int64_t times, int64_t parts) {
    int64_t end_ns = pn_runtime_current.options.end_ns, product;
    return __builtin_mul_overflow(end_ns / parts, times, &product) ? PIRN_FOREVER : product;
}

/* How long it may all take at most, from now on. */
static void set_guard(int64_t drain_ns) {
    pn_end_guard_set(pn_deadline(pn_deadline(pirn_after(drain_ns), end_part(GUARD_TIMES, 1)), JOB_NS));
}

/* Go on to `stage`, everywhere, and name who still lives. */
static void advance(pn_stage stage, const char *text) {
    all.stage = stage;
    look_at_all(TELL_LIVE);
    say("", text);
}

static void cancel_the_rest(void) {
    pirn_time begun = pirn_now();
    set_guard(0);
    all.stage = PN_CANCELLING;
    look_at_all(TELL_STRUCK);
    say("parked ", "cancelled");
    (void)wait_for(is_over, pn_deadline(begun, end_part(1, GRACE_PART)));
    advance(PN_REFUSING, "not over after the cancellation, new tasklets and requests are refused now");
    refuse_services();
    if (wait_for(is_over, pn_deadline(begun, end_part(1, 1)))) {
        return;
    }
    advance(PN_FINAL, "not over after the cancellation, waits end now though shielded");
    if (wait_for(is_over, pn_deadline(pirn_now(), end_part(1, GRACE_PART)))) {
        return;
    }
    advance(PN_FORCED, "not over after the cancellation, each ends where it waits or yields next");
    (void)wait_for(is_over, PIRN_FOREVER);
}

void pn_shutdown(void) {
    pn_firm_shield_enter();       /* who cancels main from now on comes too late */
    pn_sched_self()->main = NULL; /* nor is there a main that could hear of a deadlock */
    int64_t drain_ns = pn_runtime_current.options.drain_ns;
    init_looks();
    set_guard(drain_ns);
    pn_foreign_refuse_spawns();
    look_at_all(TELL_NOTHING);
    pn_listeners_close_all();
    (void)wait_for(is_drained, pirn_after(drain_ns));
    cancel_the_rest();
    pn_watchdog_stop(); /* joining threads is a long slice */
    pn_offload_stop(pirn_after(JOB_NS));
    if (!wait_for(is_quiet, pirn_after(LAST_WORDS_NS))) {
        all.stage = PN_FINAL;
        (void)wait_for(is_quiet, PIRN_FOREVER);
    }
    pn_end_guard_stop();
    tell_all_to_leave();
    pn_firm_shield_leave();
}

void pn_shutdown_begin_bound(void) {
    set_guard(pn_runtime_current.options.drain_ns);
}

void pn_shutdown_unused(void) {
    init_looks();
    pn_foreign_stop();
    pn_watchdog_stop();
    pn_offload_stop(pirn_after(JOB_NS));
    tell_all_to_leave();
}
