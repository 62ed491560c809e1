/* SPDX-License-Identifier: MIT
 *
 * What: pirn_call_later: one libuv timer, one deferred.
 *
 * Threads: pirn_call_later a worker; the rest the reactor's.
 * Lifetime: the timer is inside the request, so the request is finished in the close callback only, which libuv runs in
 *       the same turn.
 * Rejected: the home's own timer heap, which would be cheaper: this call is Twisted's, whose delays the reactor keeps;
 *       tasklets that want to wait use pirn_sleep_until, which crosses no thread.
 */
#include <pirn/reactor.h>

#include "alloc.h"
#include "reactor.h"
#include "request.h"

typedef struct later {
    pn_request request;
    pirn_time deadline;
    uv_timer_t timer;
} later;

static void closed(uv_handle_t *handle) {
    later *call = PN_CONTAINER_OF(handle, later, timer);
    pn_request_finish(&call->request);
}

/* The touch is for stop(), which comes from a message: the close callback then runs before the next sleep. */
static void close_timer(later *call) {
    pn_loop_touch(pn_reactor_current.loop);
    uv_close((uv_handle_t *)&call->timer, closed);
}

static void fired(uv_timer_t *timer) {
    close_timer(PN_CONTAINER_OF(timer, later, timer));
}

static void begin(pn_request *request) {
    later *call = PN_CONTAINER_OF(request, later, request);
    pn_loop *loop = pn_reactor_current.loop;
    pn_loop_touch(loop);
    PN_ASSERT(uv_timer_init(&loop->uv, &call->timer) == 0);
    PN_ASSERT(uv_timer_start(&call->timer, fired, pn_loop_timeout_ms(loop, call->deadline), 0) == 0);
}

static void stop(pn_request *request) {
    later *call = PN_CONTAINER_OF(request, later, request);
    if (!uv_is_closing((uv_handle_t *)&call->timer)) {
        close_timer(call);
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
    /* No delay means the reactor's next turn, not its next millisecond. */
    call->deadline = delay_ns > 0 ? pirn_after(delay_ns) : PIRN_NOW;
    return pn_request_submit(&call->request, &kind, __FILE__, __LINE__);
}
