/* SPDX-License-Identifier: MIT
 *
 * What: pirn_call_later: a heap of the calls under way, and one libuv timer for the first of them.
 *
 * Threads: pirn_call_later a worker; the rest, and everything static here, the reactor's.
 * Order: calls that are due fire in the order of their deadlines, and equal deadlines in the order in which they were
 *       asked for (core/timer.h). Asks of one worker arrive in order.
 * Invariants: (1) between two calls into this file the libuv timer is set to the first deadline of the heap, and
 *       stopped when the heap is empty; (2) a request is linked into the heap from begin() until it fires or is
 *       stopped, and is finished right then.
 * Rejected: a libuv timer for each call: libuv counts whole milliseconds, and calls close callbacks in the reverse
 *       order; the home's own timer heap, which would be cheaper: this call is Twisted's, whose delays the reactor
 *       keeps. Tasklets that want to wait use pirn_sleep_until, which crosses no thread.
 */
#include "later.h"

#include <pirn/reactor.h>

#include "alloc.h"
#include "reactor.h"
#include "request.h"
#include "tasklet.h"
#include "timer.h"

typedef struct later {
    pn_request request;
    pirn_time deadline;
    pn_timer timer;
} later;

static pn_timers calls;
static uv_timer_t alarm_clock;
static bool is_open;

static void alarm_rang(uv_timer_t *timer);

/* Set the libuv timer to the first deadline. A deadline that has passed means the reactor's next turn, not its next
 * millisecond. */
static void set_alarm(void) {
    pn_loop *loop = pn_reactor_current.loop;
    pirn_time first = pn_timers_next(&calls);
    if (first == PIRN_FOREVER) {
        (void)uv_timer_stop(&alarm_clock);
        return;
    }
    uint64_t timeout_ms = first > pn_below->now() ? pn_loop_timeout_ms(loop, first) : 0;
    PN_ASSERT(uv_timer_start(&alarm_clock, alarm_rang, timeout_ms, 0) == 0);
}

static void alarm_rang(uv_timer_t *timer) {
    (void)timer;
    (void)pn_timers_run(&calls, pn_below->now());
    set_alarm();
}

static void fired(pn_timer *timer) {
    pn_request_finish(&PN_CONTAINER_OF(timer, later, timer)->request);
}

static void begin(pn_request *request) {
    later *call = PN_CONTAINER_OF(request, later, request);
    pn_loop *loop = pn_reactor_current.loop;
    pn_loop_touch(loop);
    if (!is_open) {
        PN_ASSERT(uv_timer_init(&loop->uv, &alarm_clock) == 0);
        pn_timers_init(&calls);
        is_open = true;
    }
    pirn_time first = pn_timers_next(&calls);
    pn_timer_arm(&calls, &call->timer, call->deadline, fired);
    if (call->deadline < first) {
        set_alarm();
    }
}

static void stop(pn_request *request) {
    later *call = PN_CONTAINER_OF(request, later, request);
    pn_timer_disarm(&calls, &call->timer);
    pn_loop_touch(pn_reactor_current.loop);
    set_alarm();
    pn_request_finish(request);
}

void pn_laters_fini(void) {
    if (is_open) {
        PN_ASSERT(calls.count == 0);
        uv_close((uv_handle_t *)&alarm_clock, NULL);
        is_open = false;
    }
}

static void destroy(pn_request *request) {
    pn_free(PN_CONTAINER_OF(request, later, request));
}

static const pn_request_kind kind = {"pirn_call_later", begin, stop, destroy};

pirn_deferred *pirn_call_later(int64_t delay_ns) {
    later *call = pn_calloc(1, sizeof *call);
    if (!call) {
        return NULL;
    }
    call->deadline = delay_ns > 0 ? pirn_after(delay_ns) : pirn_now();
    pirn_deferred *due = pn_request_submit(&call->request, &kind, __FILE__, __LINE__);
    if (!due) {
        pn_tasklet_was_refused();
    }
    return due;
}
