/* SPDX-License-Identifier: MIT
 *
 * What: tests of reactor_thread/later.c: pirn_call_later in every mode.
 */
#include "engine.h"
#include "live.h"

/* Await one call and give up its hold; returns the wait's code. */
static int await_call(int64_t delay_ns) {
    pirn_deferred *call = pirn_call_later(delay_ns);
    cr_assert_not_null(call);
    int status = pirn_await(call, NULL, PIRN_FOREVER);
    pirn_deferred_release(call);
    return status;
}

static int sleep_by_calls(void *arg) {
    (void)arg;
    static const int64_t delays[] = {0, 1, 999999, PIRN_MILLISECOND, 3 * PIRN_MILLISECOND + 1, 7 * PIRN_MILLISECOND};
    for (size_t i = 0; i < sizeof delays / sizeof *delays; i++) {
        pirn_time due = pirn_after(delays[i]);
        cr_assert_eq(await_call(delays[i]), 0);
        cr_assert_geq(pirn_now(), due, "a delay of %lld ns ended early", (long long)delays[i]);
    }
    cr_assert_eq(await_call(-5), 0);
    return 0;
}

/* Goal: a call fires, and never before its delay is over, for delays of whole milliseconds and of parts.
 * Method: await calls of several delays and compare the clock; a negative delay counts as none. */
Test(later, call_fires_and_never_early) {
    in_every_mode(sleep_by_calls, NULL);
}

static pirn_deferred *count_up(void *context, pirn_result *result) {
    cr_assert_eq(result->status, 0);
    ++*(unsigned *)context;
    return NULL;
}

static int ten_thousand_calls(void *arg) {
    (void)arg;
    unsigned fired = 0, wanted = (unsigned)pirn_test_count(10000, 500);
    pirn_deferred **calls = calloc(wanted, sizeof *calls);
    for (unsigned i = 0; i < wanted; i++) {
        calls[i] = pirn_call_later((int64_t)(i * 7919 % 20) * PIRN_MILLISECOND);
        cr_assert_not_null(calls[i]);
        cr_assert_eq(pirn_deferred_add_callbacks(calls[i], count_up, NULL, &fired), 0);
    }
    pirn_deferred *all = pirn_deferred_list(calls, wanted, 0);
    cr_assert_eq(pirn_await(all, NULL, PIRN_FOREVER), 0);
    pirn_deferred_release(all);
    cr_assert_eq(fired, wanted);
    free(calls);
    return 0;
}

/* Goal: ten thousand calls at once all fire, each exactly once.
 * Method: calls of 20 different delays, a counting callback on each, and a list over all. */
Test(later, many_calls_each_fire_once) {
    in_every_mode(ten_thousand_calls, NULL);
}

static int cancel_a_long_one(void *arg) {
    (void)arg;
    pirn_deferred *call = pirn_call_later(3600 * PIRN_SECOND);
    pirn_yield();
    cr_assert_eq(pn_record_count(), 1);
    cr_assert_eq(pirn_deferred_cancel(call), 0);
    cr_assert(pirn_deferred_finished(call), "a cancel at home is known at home at once");
    cr_assert_eq(pirn_await(call, NULL, PIRN_NOW), PIRN_ECANCELED);
    pirn_deferred_release(call);
    wait_until(no_request_is_under_way, NULL);
    return 0;
}

/* Goal: cancelling a call takes its timer back from the reactor.
 * Method: cancel one that is an hour away; it fails with PIRN_ECANCELED now, and the reactor soon has no request. */
Test(later, cancel_takes_the_timer_back) {
    in_every_mode(cancel_a_long_one, NULL);
}

static int cancel_endless_ones(void *arg) {
    (void)arg;
    static const int64_t delays[] = {PIRN_FOREVER, PIRN_FOREVER - 1, PIRN_FOREVER / 2};
    for (size_t i = 0; i < sizeof delays / sizeof *delays; i++) {
        pirn_deferred *endless = pirn_call_later(delays[i]), *soon = pirn_call_later(PIRN_MILLISECOND);
        cr_assert_eq(pirn_await(soon, NULL, PIRN_FOREVER), 0);
        cr_assert_not(pirn_deferred_finished(endless), "a delay of %lld ns", (long long)delays[i]);
        cr_assert_eq(pirn_deferred_cancel(endless), 0);
        cr_assert_eq(pirn_await(endless, NULL, PIRN_NOW), PIRN_ECANCELED);
        pirn_deferred_release(endless);
        pirn_deferred_release(soon);
    }
    pirn_deferred *past = pirn_call_later(INT64_MIN);
    cr_assert_eq(pirn_await(past, NULL, PIRN_FOREVER), 0);
    pirn_deferred_release(past);
    wait_until(no_request_is_under_way, NULL);
    return 0;
}

/* Goal: a delay too long for the clock is endless, and a negative one is none.
 * Method: delays around the largest number beside one of 1 ms, which fires first; then the smallest number. */
Test(later, delay_beyond_the_clock_is_endless) {
    in_every_mode(cancel_endless_ones, NULL);
}

static int race_cancel_with_fire(void *arg) {
    (void)arg;
    unsigned rounds = (unsigned)pirn_test_count(3000, 200), fired = 0;
    for (unsigned i = 0; i < rounds; i++) {
        pirn_deferred *call = pirn_call_later(0);
        if (i % 3 == 1) {
            pirn_yield();
        } else if (i % 3 == 2) {
            (void)pirn_sleep_until(pirn_after((i % 40) * 10 * PIRN_MICROSECOND));
        }
        bool finished = pirn_deferred_finished(call);
        cr_assert_eq(pirn_deferred_cancel(call), 0);
        int status = pirn_await(call, NULL, PIRN_FOREVER);
        cr_assert_eq(status, finished ? 0 : PIRN_ECANCELED, "round %u: %s", i, pirn_error_name(status));
        fired += status == 0;
        pirn_deferred_release(call);
    }
    wait_until(no_request_is_under_way, NULL);
    printf("%u of %u fired before their cancel\n", fired, rounds);
    return 0;
}

/* Goal: a cancel that races with the fire gives exactly one outcome, and the request outlives both sides. A call that
 *       had not finished at home when it was cancelled never succeeds.
 * Method: cancel at once, after a yield and after short sleeps; compare with what was known before the cancel; no
 *         record stays out, and the sanitizer builds see every free. */
Test(later, cancel_racing_with_fire_has_one_outcome) {
    in_every_mode(race_cancel_with_fire, NULL);
}

static void compute_for(int64_t nanoseconds) {
    for (pirn_time end = pirn_after(nanoseconds); pirn_now() < end;) {
    }
}

static int cancel_after_it_was_due(void *arg) {
    (void)arg;
    unsigned fired = 0;
    pirn_deferred *call = pirn_call_later(2 * PIRN_MILLISECOND);
    cr_assert_eq(pirn_deferred_add_callbacks(call, count_up, NULL, &fired), 0);
    pirn_yield();
    compute_for(20 * PIRN_MILLISECOND); /* in threaded mode its message arrives meanwhile */
    cr_assert_eq(pirn_deferred_cancel(call), 0);
    cr_assert_eq(pirn_await(call, NULL, PIRN_FOREVER), PIRN_ECANCELED);
    wait_until(no_request_is_under_way, NULL);
    pirn_deferred_release(call);
    cr_assert_eq(fired, 0, "a cancelled call never runs");
    return 0;
}

/* Goal: a call that is cancelled at home before its callback ran never succeeds, however late that is.
 * Method: compute past its deadline without a turn of the scheduler, so that its fire is on its way; then cancel. */
Test(later, cancel_at_home_is_final) {
    in_every_mode(cancel_after_it_was_due, NULL);
}

typedef struct call_order {
    unsigned count, next;
    unsigned seen[64];
} call_order;

typedef struct numbered {
    call_order *order;
    unsigned number;
} numbered;

static pirn_deferred *note_number(void *context, pirn_result *result) {
    cr_assert_eq(result->status, 0);
    numbered *one = context;
    one->order->seen[one->order->next++] = one->number;
    return NULL;
}

/* Ask for calls with these delays, sit out all deadlines, and let them fire; `order` tells how they did. */
static void fire_in_a_heap(const int64_t *delays, unsigned count, call_order *order) {
    numbered each[64];
    pirn_deferred *calls[64];
    *order = (call_order){.count = count};
    for (unsigned i = 0; i < count; i++) {
        each[i] = (numbered){order, i};
        calls[i] = pirn_call_later(delays[i]);
        cr_assert_eq(pirn_deferred_add_callbacks(calls[i], note_number, NULL, &each[i]), 0);
    }
    compute_for(5 * PIRN_MILLISECOND);
    for (unsigned i = 0; i < count; i++) {
        cr_assert_eq(pirn_await(calls[i], NULL, PIRN_FOREVER), 0);
        pirn_deferred_release(calls[i]);
    }
    cr_assert_eq(order->next, count);
}

static int equal_delays(void *arg) {
    (void)arg;
    static const int64_t equal[] = {0, 1, 900 * PIRN_MICROSECOND, 2 * PIRN_MILLISECOND, 10 * PIRN_MILLISECOND};
    for (unsigned e = 0; e < sizeof equal / sizeof *equal; e++) {
        int64_t delays[64];
        for (unsigned i = 0; i < 64; i++) {
            delays[i] = equal[e];
        }
        call_order order;
        fire_in_a_heap(delays, 64, &order);
        for (unsigned i = 0; i < 64; i++) {
            cr_assert_eq(order.seen[i], i, "delay %lld: call %u came as number %u", (long long)equal[e], order.seen[i],
                         i);
        }
    }
    return 0;
}

/* Goal: calls with equal delays fire in the order of asking.
 * Method: 64 calls of each of several delays, of whole milliseconds and of parts, all due when the reactor looks (in
 *         single mode); their callbacks note their numbers. */
Test(later, equal_delays_fire_in_the_order_of_asking) {
    in_every_mode(equal_delays, NULL);
}

static int falling_deadlines(void *arg) {
    (void)arg;
    numbered each[32];
    pirn_deferred *calls[32];
    pirn_time earliest[32], latest[32]; /* what the call's deadline can be: its own look at the clock is between ours */
    call_order order = {.count = 32};
    pirn_time last = pirn_after(4 * PIRN_MILLISECOND);
    for (unsigned i = 0; i < 32; i++) {
        each[i] = (numbered){&order, i};
        pirn_time before = pirn_now();
        int64_t delay = last - (int64_t)i * 50 * PIRN_MICROSECOND - before;
        calls[i] = pirn_call_later(delay);
        earliest[i] = before + (delay > 0 ? delay : 0);
        latest[i] = pirn_now() + (delay > 0 ? delay : 0);
        cr_assert_eq(pirn_deferred_add_callbacks(calls[i], note_number, NULL, &each[i]), 0);
    }
    bool asked_in_time = pirn_now() + PIRN_MILLISECOND < earliest[31]; /* else some may have fired meanwhile */
    compute_for(5 * PIRN_MILLISECOND);
    for (unsigned i = 0; i < 32; i++) {
        cr_assert_eq(pirn_await(calls[i], NULL, PIRN_FOREVER), 0);
        pirn_deferred_release(calls[i]);
    }
    for (unsigned i = 1; asked_in_time && i < 32; i++) {
        unsigned earlier = order.seen[i - 1], later = order.seen[i];
        cr_assert_geq(latest[later], earliest[earlier], "call %u came after call %u", later, earlier);
    }
    return 0;
}

/* Goal: calls that are due fire in the order of their deadlines, also those within one of libuv's milliseconds.
 * Method: deadlines that fall by 50 us from ask to ask, so that the last one asked for is due first; two calls are
 *         compared where their deadlines cannot have crossed. */
Test(later, due_calls_fire_in_the_order_of_deadlines) {
    in_every_mode(falling_deadlines, NULL);
}

static int cancel_some_of_a_heap(void *arg) {
    (void)arg;
    unsigned fired = 0;
    pirn_deferred *calls[100];
    for (unsigned i = 0; i < 100; i++) {
        calls[i] = pirn_call_later((int64_t)(i * 37 % 10) * PIRN_MILLISECOND);
        cr_assert_eq(pirn_deferred_add_callbacks(calls[i], count_up, NULL, &fired), 0);
    }
    unsigned cancelled = 0;
    for (unsigned i = 0; i < 100; i += 3) { /* the first of the heap among them */
        cancelled += !pirn_deferred_finished(calls[i]);
        cr_assert_eq(pirn_deferred_cancel(calls[i]), 0);
    }
    unsigned succeeded = 0;
    for (unsigned i = 0; i < 100; i++) {
        succeeded += pirn_await(calls[i], NULL, PIRN_FOREVER) == 0;
        pirn_deferred_release(calls[i]);
    }
    cr_assert_eq(succeeded, 100 - cancelled);
    cr_assert_eq(fired, succeeded);
    wait_until(no_request_is_under_way, NULL);
    return 0;
}

/* Goal: calls that are cancelled leave the others their times.
 * Method: a hundred of ten delays, every third cancelled at once; the rest fire, each once. */
Test(later, cancelled_calls_do_not_hold_up_others) {
    in_every_mode(cancel_some_of_a_heap, NULL);
}

static pirn_deferred *keep_status(void *context, pirn_result *result) {
    *(int *)context = result->status;
    return NULL;
}

static int leave_one_pending(void *arg) {
    pirn_deferred *call = pirn_call_later(3600 * PIRN_SECOND);
    cr_assert_eq(pirn_deferred_add_callbacks(call, keep_status, keep_status, arg), 0);
    pirn_deferred_release(call);
    return 0;
}

/* Goal: what is pending at the end of the runtime fails with PIRN_ECLOSED and is told so.
 * Method: main returns while a call is an hour away; its callback has run when pirn_run returns. */
Test(later, shutdown_fails_a_pending_call) {
    for (int which = 0; which < ENGINE_MODES; which++) {
        int status = 1;
        pirn_options options = engine_options(which);
        captured said = capture_begin(); /* nobody handles the failure: a line tells of it */
        int result = pirn_run(&options, leave_one_pending, &status);
        char *text = capture_end(said);
        cr_assert_eq(result, 0);
        cr_assert_eq(status, PIRN_ECLOSED, "%s: %s", engine_name(which), pirn_error_name(status));
        cr_assert(strstr(text, "pirn_call_later: the runtime is shutting down"), "%s", text);
        free(text);
    }
}

/* Goal: outside of a worker there is no home for the answer: NULL, not a crash.
 * Method: call before any runtime runs. */
Test(later, call_outside_a_worker_gives_null) {
    cr_assert_null(pirn_call_later(0));
}
