/* SPDX-License-Identifier: MIT
 *
 * What: tests of reactor_thread/request.c: begun once, finished once, destroyed once, whoever ends it.
 */
#include "engine.h"
#include "live.h"
#include "request.h"

/* A request that does nothing but count. Counts are written on the reactor's thread and read after pirn_run, or after
 * the deferred or the count of records told that the reactor is done with it. */
typedef struct probe {
    pn_request request;
    bool at_once; /* begin finishes it                                                               */
} probe;

static _Atomic unsigned begun, stopped, destroyed;

static void begin(pn_request *request) {
    begun++;
    if (PN_CONTAINER_OF(request, probe, request)->at_once) {
        pn_request_finish(request);
    }
}

static void stop(pn_request *request) {
    stopped++;
    pn_request_finish(request);
}

static void destroy(pn_request *request) {
    destroyed++;
    free(PN_CONTAINER_OF(request, probe, request));
}

static const pn_request_kind kind = {"probe", begin, stop, destroy};

static pirn_deferred *submit(bool at_once) {
    probe *made = calloc(1, sizeof *made);
    made->at_once = at_once;
    return pn_request_submit(&made->request, &kind, __FILE__, __LINE__);
}

static void reset(void) {
    begun = stopped = destroyed = 0;
}

static void expect(unsigned begins, unsigned stops, unsigned destroys) {
    cr_assert_eq(begun, begins);
    cr_assert_eq(stopped, stops);
    cr_assert_eq(destroyed, destroys);
    reset();
}

static bool is_all_over(void *context) {
    return no_request_is_under_way(NULL) && pn_record_count() == 0 && destroyed == *(unsigned *)context;
}

static int finish_at_once(void *arg) {
    (void)arg;
    pirn_deferred *asked = submit(true);
    cr_assert_eq(pirn_await(asked, NULL, PIRN_FOREVER), 0);
    cr_assert_eq(pirn_deferred_cancel(asked), 0); /* too late */
    pirn_deferred_release(asked);
    wait_until(is_all_over, &(unsigned){1});
    expect(1, 0, 1);
    return 0;
}

/* Goal: a request that begin finishes is never stopped, also by a cancel that comes too late.
 * Method: count begin, stop and destroy: 1, 0, 1. */
Test(request, finished_request_is_not_stopped, .init = reset) {
    in_every_mode(finish_at_once, NULL);
}

static bool has_begun(void *context) {
    (void)context;
    return begun == 1;
}

static int cancel_under_way(void *arg) {
    (void)arg;
    pirn_deferred *asked = submit(false);
    wait_until(has_begun, NULL);
    cr_assert_eq(pirn_deferred_cancel(asked), 0);
    cr_assert_eq(pirn_deferred_cancel(asked), 0);
    cr_assert_eq(pirn_await(asked, NULL, PIRN_NOW), PIRN_ECANCELED);
    pirn_deferred_release(asked);
    wait_until(is_all_over, &(unsigned){1});
    expect(1, 1, 1);
    return 0;
}

/* Goal: a cancel stops a request under way, once, and its caller need not wait for that.
 * Method: cancel twice; PIRN_ECANCELED at once; then 1, 1, 1. */
Test(request, cancelled_request_is_stopped_once, .init = reset) {
    in_every_mode(cancel_under_way, NULL);
}

static pirn_deferred *note_status(void *context, pirn_result *result) {
    *(int *)context = result->status;
    pirn_result_drop(result);
    return NULL;
}

/* The answer to a refused request asks again: refused at once, or such a chain would have no end. */
static pirn_deferred *ask_again(void *context, pirn_result *result) {
    (void)note_status(context, result);
    cr_assert_null(submit(false));
    ((int *)context)[1] = 2;
    return NULL;
}

static int leave_one(void *arg) {
    pirn_deferred *asked = submit(false);
    cr_assert_eq(pirn_deferred_add_both(asked, ask_again, arg), 0);
    pirn_deferred_release(asked);
    return 0;
}

/* Goal: at the end of the runtime what is under way is stopped with PIRN_ECLOSED, and what a callback asks for after
 * that is refused without being begun.
 * Method: one request is left under way; its callback submits another: 1, 1, 2. */
Test(request, shutdown_stops_old_and_refuses_new, .init = reset) {
    for (int which = 0; which < ENGINE_MODES; which++) {
        int status[2] = {1, 1};
        pirn_options options = engine_options(which);
        cr_assert_eq(pirn_run(&options, leave_one, status), 0);
        cr_assert_eq(status[0], PIRN_ECLOSED);
        cr_assert_eq(status[1], 2);
        expect(1, 1, 2);
    }
}

static int submit_many(void *arg) {
    (void)arg;
    unsigned count = (unsigned)pirn_test_count(20000, 1000);
    for (unsigned i = 0; i < count; i++) {
        pirn_deferred *asked = submit(i % 2);
        if (i % 3 == 0) {
            pirn_yield();
        }
        if (i % 2 == 0 || i % 5 == 0) {
            cr_assert_eq(pirn_deferred_cancel(asked), 0);
        }
        int status = pirn_await(asked, NULL, PIRN_FOREVER);
        cr_assert(status == 0 || status == PIRN_ECANCELED);
        pirn_deferred_release(asked);
    }
    wait_until(is_all_over, &count);
    cr_assert_eq(begun, count);
    reset();
    return 0;
}

/* Goal: cancels that race with completions lose no request and end none twice.
 * Method: twenty thousand requests, half of them cancelled, some at the moment they finish; every count adds up. */
Test(request, racing_cancels_keep_the_counts, .init = reset) {
    in_every_mode(submit_many, NULL);
}

/* Goal: without a worker there is no deferred, and the request is destroyed all the same.
 * Method: submit outside of a runtime: NULL; 0, 0, 1. */
Test(request, submit_outside_a_worker_destroys, .init = reset) {
    cr_assert_null(submit(true));
    expect(0, 0, 1);
}
