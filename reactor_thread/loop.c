/* SPDX-License-Identifier: MIT
 *
 * What: joins libuv to a driver: descriptor, next timeout, one turn.
 *
 * Threads: the reactor's thread only.
 * Invariants: (1) the driver never sleeps while `touched` is set; (2) uv_run is only ever called with UV_RUN_NOWAIT:
 *       libuv never sleeps, the driver does.
 * Lifetime: pn_loop_destroy() asserts uv_loop_close() == 0, so a handle that somebody forgot stops the program here and
 *       not as a leak found years later.
 * Rejected: uv_run as the outermost loop with our set as a uv_poll in it: every socket event would then pay libuv's
 *       epoll and ours, and the doorbell would have to be uv_async.
 */
#include "loop.h"

#include "alloc.h"

/* uv_backend_timeout() alone does not do: it says 0 when nothing is active, which would make an idle loop spin. */
static int64_t timeout_ns(void *context) {
    pn_loop *loop = context;
    if (loop->touched) {
        return 0;
    }
    if (!uv_loop_alive(&loop->uv)) {
        return -1;
    }
    uv_update_time(&loop->uv);
    int timeout_ms = uv_backend_timeout(&loop->uv);
    return timeout_ms < 0 ? -1 : (int64_t)timeout_ms * PIRN_MILLISECOND;
}

static void run(void *context) {
    pn_loop *loop = context;
    /* Cleared first: a callback of this turn that starts to watch a descriptor touches the loop again, because this
     * turn's look at new descriptors is over by then. */
    loop->touched = false;
    (void)uv_run(&loop->uv, UV_RUN_NOWAIT);
}

int pn_loop_create(pn_loop **result) {
    pn_loop *loop = pn_calloc(1, sizeof *loop);
    if (!loop) {
        return PIRN_ENOMEM;
    }
    int status = uv_loop_init(&loop->uv);
    if (status != 0) {
        pn_free(loop);
        return status;
    }
    loop->companion = (pn_companion){
        .fd = uv_backend_fd(&loop->uv),
        .timeout_ns = timeout_ns,
        .run = run,
        .context = loop,
    };
    /* libuv's own wake-up descriptor is handed to the kernel in the first turn. */
    loop->touched = true;
    *result = loop;
    return 0;
}

void pn_loop_destroy(pn_loop *loop) {
    /* Everything is closing: the close callbacks run in the first turn, and nothing else is left to wait for. */
    while (uv_run(&loop->uv, UV_RUN_NOWAIT) != 0) {
    }
    PN_ASSERT(uv_loop_close(&loop->uv) == 0);
    pn_free(loop);
}

void pn_loop_touch(pn_loop *loop) {
    uv_update_time(&loop->uv);
    loop->touched = true;
}

uint64_t pn_loop_timeout_ms(pn_loop *loop, pirn_time deadline) {
    if (deadline == PIRN_FOREVER) {
        return UINT64_MAX / 2;
    }
    /* libuv counts whole milliseconds of the same clock, rounded down: the first of them that is not before the
     * deadline. */
    uint64_t due_ms = ((uint64_t)deadline + PIRN_MILLISECOND - 1) / PIRN_MILLISECOND;
    uint64_t now_ms = uv_now(&loop->uv);
    return due_ms > now_ms ? due_ms - now_ms : 0;
}
