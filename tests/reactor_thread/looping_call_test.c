/* SPDX-License-Identifier: MIT
 *
 * What: tests of reactor_thread/looping_call.c: Twisted's rules for LoopingCall, on a clock turned by hand.
 */
#include "engine.h"
#include "sched.h"

#define CALLS_MAX 16

/* What a repeated call did, and what it shall do. */
typedef struct script {
    pirn_time start;
    pirn_time at[CALLS_MAX];  /* of each call, from the start                                         */
    int64_t takes[CALLS_MAX]; /* how long each call sleeps                                           */
    unsigned calls, stop_at;  /* stop from inside of that call; 0: never                              */
    unsigned fail_at;         /* return -EIO from that call; 0: never                                 */
    pirn_channel *channel;    /* wait for a value of it in each call; NULL: do not                    */
    pirn_looping_call *loop;
} script;

static int play(void *arg) {
    script *s = arg;
    cr_assert_lt(s->calls, CALLS_MAX);
    unsigned call = s->calls++;
    s->at[call] = pirn_now() - s->start;
    if (s->takes[call]) {
        cr_assert_eq(pirn_sleep_until(pirn_after(s->takes[call])), 0);
    }
    if (s->channel) {
        cr_assert_eq(pirn_recv(s->channel, NULL, PIRN_FOREVER), 0, "a stop must not strike the call's own wait");
    }
    if (s->calls == s->stop_at) {
        pirn_looping_call_stop(s->loop);
    }
    return s->calls == s->fail_at ? pirn_fail(-EIO, "the disk is gone") : 0;
}

static void start(script *s, int64_t interval_ns, bool now) {
    s->start = pirn_now();
    s->loop = pirn_looping_call_start(interval_ns, now, play, s);
    cr_assert_not_null(s->loop);
}

static int finish(script *s) {
    int status = pirn_await(pirn_looping_call_done(s->loop), NULL, PIRN_FOREVER);
    pirn_looping_call_release(s->loop);
    return status;
}

/* On one thread with the virtual clock: whoever sleeps moves it. */
static void alone(pirn_fn main_fn) {
    pn_alone_use_virtual_clock(true);
    cr_assert_eq(pn_alone_run(main_fn, NULL), 0);
}

static int skip_for_the_call(void *arg) {
    (void)arg;
    script s = {.takes = {2 * PIRN_SECOND, PIRN_SECOND}, .stop_at = 3};
    start(&s, PIRN_SECOND / 2, true);
    cr_assert_eq(finish(&s), 0);
    cr_assert_eq(s.calls, 3);
    cr_assert_eq(s.at[0], 0);
    cr_assert_eq(s.at[1], 5 * PIRN_SECOND / 2);
    cr_assert_eq(s.at[2], 4 * PIRN_SECOND);
    return 0;
}

/* Goal: ticks missed while the call runs are skipped, and the next is a whole multiple strictly later
 * (test_callbackTimeSkips).
 * Method: interval 0.5 s, calls that take 2 s and 1 s: called at 0, 2.5 and 4. */
Test(looping_call, slow_call_skips_the_missed_ticks) {
    alone(skip_for_the_call);
}

static int skip_for_the_scheduler(void *arg) {
    (void)arg;
    script s = {.stop_at = 3};
    start(&s, PIRN_SECOND, true);
    pirn_yield();
    pn_alone_advance(2 * PIRN_SECOND); /* the worker was busy for so long */
    cr_assert_eq(finish(&s), 0);
    cr_assert_eq(s.at[0], 0);
    cr_assert_eq(s.at[1], 2 * PIRN_SECOND);
    cr_assert_eq(s.at[2], 3 * PIRN_SECOND);
    return 0;
}

/* Goal: ticks missed because the worker was busy are not made up for (test_reactorTimeSkips).
 * Method: interval 1 s; the clock jumps by 2 s after the first call: called at 0, 2 and 3. */
Test(looping_call, late_scheduler_does_not_bunch_ticks) {
    alone(skip_for_the_scheduler);
}

static int no_drift(void *arg) {
    (void)arg;
    script s = {.stop_at = 10};
    for (unsigned i = 0; i < CALLS_MAX; i++) {
        s.takes[i] = (int64_t)(i * 13 % 40) * PIRN_MILLISECOND;
    }
    start(&s, 50 * PIRN_MILLISECOND, false);
    cr_assert_eq(finish(&s), 0);
    cr_assert_eq(s.calls, 10);
    for (unsigned i = 0; i < 10; i++) {
        cr_assert_eq(s.at[i], (pirn_time)(i + 1) * 50 * PIRN_MILLISECOND, "call %u", i);
    }
    return 0;
}

/* Goal: with `now` false the first call comes after one interval, and call times do not drift with the calls' length.
 * Method: ten calls of up to 40 ms at an interval of 50 ms: each at its exact multiple. */
Test(looping_call, delayed_start_keeps_exact_multiples) {
    alone(no_drift);
}

static int stop_at_once(void *arg) {
    (void)arg;
    script s = {.stop_at = 1};
    start(&s, PIRN_SECOND, true);
    cr_assert_eq(finish(&s), 0);
    cr_assert_eq(s.calls, 1);
    return 0;
}

/* Goal: a stop from inside the first call is the end, after that call has returned (testStopAtOnce).
 * Method: stop in call one; the deferred fires, one call was made. */
Test(looping_call, stop_inside_the_first_call_ends_it) {
    alone(stop_at_once);
}

static int stop_before_the_first(void *arg) {
    (void)arg;
    script s = {0};
    start(&s, 3600 * PIRN_SECOND, false);
    pirn_yield();
    pirn_looping_call_stop(s.loop);
    pirn_looping_call_stop(s.loop);
    pirn_time before = pirn_now();
    cr_assert_eq(finish(&s), 0);
    cr_assert_eq(s.calls, 0);
    cr_assert_eq(pirn_now(), before, "the stop wakes the sleep");
    return 0;
}

/* Goal: a call stopped in its first sleep is never called, and its deferred fires at once
 * (testStoppingBeforeDelayedStart).
 * Method: `now` false, an hour to go, stop twice: the deferred has fired and the clock did not move. */
Test(looping_call, stop_before_the_delayed_start_calls_nothing) {
    alone(stop_before_the_first);
}

static int stop_before_its_turn(void *arg) {
    (void)arg;
    script s = {0};
    start(&s, PIRN_SECOND, true);
    pirn_looping_call_stop(s.loop);
    cr_assert_eq(finish(&s), 0);
    cr_assert_eq(s.calls, 0);
    return 0;
}

/* Goal: a stop before the tasklet had its first turn means no call at all.
 * Method: start and stop without a yield between. */
Test(looping_call, stop_before_the_first_turn_calls_nothing) {
    alone(stop_before_its_turn);
}

static int fail_and_stop(void *arg) {
    (void)arg;
    script s = {.fail_at = 2};
    start(&s, PIRN_SECOND, true);
    pirn_result result = {0};
    cr_assert_eq(pirn_await(pirn_looping_call_done(s.loop), &result, PIRN_FOREVER), -EIO);
    char text[256];
    (void)pirn_failure_format(result.failure, text, sizeof text);
    cr_assert(strstr(text, "the disk is gone"), "%s", text);
    cr_assert_eq(s.calls, 2);
    pirn_looping_call_stop(s.loop); /* too late, and harmless */
    pirn_looping_call_release(s.loop);
    return 0;
}

/* Goal: a call that fails ends the loop for good, and the deferred fails with its code and cause (testFailAndStop).
 * Method: the second call returns pirn_fail(-EIO, ...): the awaited failure has the code and the words. */
Test(looping_call, failing_call_fails_the_deferred) {
    alone(fail_and_stop);
}

static int positive(void *arg) {
    (void)arg;
    return 3;
}

static int end_with_a_positive(void *arg) {
    (void)arg;
    pirn_looping_call *loop = pirn_looping_call_start(0, true, positive, NULL);
    cr_assert_eq(pirn_await(pirn_looping_call_done(loop), NULL, PIRN_FOREVER), PIRN_EFAILED);
    pirn_looping_call_release(loop);
    return 0;
}

/* Goal: a return that is no error code still ends the loop as a failure.
 * Method: return 3; the deferred fails with PIRN_EFAILED. */
Test(looping_call, positive_return_fails_with_efailed) {
    alone(end_with_a_positive);
}

static int every_turn(void *arg) {
    (void)arg;
    script s = {.stop_at = 5};
    start(&s, 0, true);
    for (unsigned turn = 1; turn <= 5; turn++) {
        pirn_yield();
        cr_assert_eq(s.calls, turn);
    }
    cr_assert_eq(finish(&s), 0);
    return 0;
}

/* Goal: interval 0 means once for each turn of the scheduler (testEveryIteration).
 * Method: yield five times; each yield finds one more call. */
Test(looping_call, zero_interval_calls_once_a_turn) {
    alone(every_turn);
}

static int stop_spares_the_wait(void *arg) {
    (void)arg;
    script s = {.channel = pirn_channel_create(0, 0)};
    start(&s, PIRN_SECOND, true);
    pirn_yield();
    cr_assert_eq(s.calls, 1);
    pirn_looping_call_stop(s.loop);
    pirn_yield();
    cr_assert(!pirn_deferred_finished(pirn_looping_call_done(s.loop)), "the call still runs");
    cr_assert_eq(pirn_send(s.channel, NULL, PIRN_FOREVER), 0);
    cr_assert_eq(finish(&s), 0);
    cr_assert_eq(s.calls, 1);
    pirn_channel_destroy(s.channel);
    return 0;
}

/* Goal: stop waits for the call that runs, and does not strike its waits (testWaitDeferred).
 * Method: stop while the call waits on a channel: nothing ends; send: the call gets its value, then the deferred
 *       fires. */
Test(looping_call, stop_lets_a_waiting_call_finish) {
    alone(stop_spares_the_wait);
}

static int refuse_nonsense(void *arg) {
    (void)arg;
    cr_assert_null(pirn_looping_call_start(-1, true, play, NULL));
    cr_assert_null(pirn_looping_call_start(0, true, NULL, NULL));
    pirn_looping_call_release(NULL);
    return 0;
}

/* Goal: a negative interval is refused.
 * Method: NULL for it, for no function, and outside of a worker. */
Test(looping_call, negative_interval_gives_null) {
    cr_assert_null(pirn_looping_call_start(0, true, play, NULL));
    alone(refuse_nonsense);
}

static unsigned ended;

static pirn_deferred *note_end(void *context, pirn_result *result) {
    (void)context;
    cr_assert_eq(result->status, 0, "%s", pirn_error_name(result->status));
    ended++;
    return NULL;
}

static int nothing(void *arg) {
    (void)arg;
    return 0;
}

static int leave_loops_behind(void *arg) {
    (void)arg;
    for (unsigned i = 0; i < 3; i++) {
        pirn_looping_call *loop = pirn_looping_call_start(PIRN_MILLISECOND, i != 1, nothing, NULL);
        cr_assert_eq(pirn_deferred_add_both(pirn_looping_call_done(loop), note_end, NULL), 0);
        if (i == 0) {
            (void)pirn_sleep_until(pirn_after(3 * PIRN_MILLISECOND));
        }
        if (i < 2) {
            pirn_looping_call_release(loop); /* stops it, too */
        } else {
            pn_tasklet *newest = PN_CONTAINER_OF(pn_sched_self()->all.head.prev, pn_tasklet, all_link);
            cr_assert_eq(pirn_cancel(pn_tasklet_handle(newest)), 0); /* before its first turn */
            pirn_looping_call_release(loop);
        }
    }
    return 0;
}

/* Goal: released, cancelled before its first turn, or cut off by the end of the program: each loop ends, and its
 * deferred fires.
 * Method: three given up in different states, in every mode, with a drain that a loop must not hold up. */
Test(looping_call, loops_given_up_end_with_their_program) {
    for (int which = 0; which < ENGINE_MODES; which++) {
        ended = 0;
        pirn_options options = engine_options(which);
        options.drain_ns = 3600 * PIRN_SECOND;
        cr_assert_eq(pirn_run(&options, leave_loops_behind, NULL), 0);
        cr_assert_eq(ended, 3, "%s: %u", engine_name(which), ended);
    }
}

static unsigned endless_calls;

static int count_endless(void *arg) {
    (void)arg;
    endless_calls++;
    return 0;
}

static int loop_without_end(void *arg) {
    static const int64_t intervals[] = {PIRN_FOREVER, PIRN_FOREVER - 1, PIRN_FOREVER / 2};
    for (size_t i = 0; i < sizeof intervals / sizeof *intervals; i++) {
        endless_calls = 0;
        pirn_looping_call *loop = pirn_looping_call_start(intervals[i], true, count_endless, arg);
        (void)pirn_sleep_until(pirn_after(2 * PIRN_MILLISECOND));
        cr_assert_eq(endless_calls, 1, "%u calls with an interval of %lld ns", endless_calls, (long long)intervals[i]);
        pirn_looping_call_release(loop);
    }
    return 0;
}

/* Goal: an interval too long for the clock comes never, and not at once.
 * Method: intervals around the largest number, called now: one call each. */
Test(looping_call, interval_beyond_the_clock_is_endless) {
    in_every_mode(loop_without_end, NULL);
}

/* ---- from elsewhere ---- */

typedef struct far_stop {
    pirn_looping_call *loop;
    bool by_thread, release;
    _Atomic unsigned ticks;
} far_stop;

static int tick(void *arg) {
    ((far_stop *)arg)->ticks++;
    return 0;
}

static bool has_ticked(void *context) {
    return ((far_stop *)context)->ticks >= 3;
}

static void stop_from_here(far_stop *f) {
    pirn_looping_call_stop(f->loop);
    pirn_looping_call_stop(f->loop);
    if (f->release) {
        pirn_looping_call_release(f->loop);
    }
}

static int stop_on_another_worker(void *arg) {
    stop_from_here(arg);
    return 0;
}

static void *stop_on_a_thread(void *arg) {
    stop_from_here(arg);
    return NULL;
}

/* In a tasklet: a loop of this worker is stopped, and perhaps given up, while it ticks. */
static void stop_from_elsewhere(far_stop *f, unsigned workers) {
    f->ticks = 0;
    f->loop = pirn_looping_call_start(100 * PIRN_MICROSECOND, true, tick, f);
    cr_assert_not_null(f->loop);
    pirn_deferred *done = pirn_deferred_retain(pirn_looping_call_done(f->loop));
    wait_until(has_ticked, f);
    if (f->by_thread) {
        pthread_t thread;
        cr_assert_eq(pthread_create(&thread, NULL, stop_on_a_thread, f), 0);
        cr_assert_eq(pthread_join(thread, NULL), 0);
    } else {
        pirn_spawn_options options;
        pirn_spawn_options_init(&options);
        options.home = (int)workers - 1;
        options.flags = PIRN_JOINABLE;
        pirn_tasklet far = pirn_spawn_with(&options, stop_on_another_worker, f);
        cr_assert_eq(pirn_join(far, NULL, PIRN_FOREVER), 0);
    }
    cr_assert_eq(pirn_await(done, NULL, PIRN_FOREVER), 0);
    pirn_deferred_release(done);
    if (!f->release) {
        pirn_looping_call_release(f->loop);
    }
}

static int stop_many_from_elsewhere(void *arg) {
    (void)arg;
    pirn_runtime_info info;
    cr_assert_eq(pirn_runtime_describe(&info), 0);
    for (unsigned round = 0; round < 40; round++) {
        far_stop f = {.by_thread = round & 1, .release = round & 2};
        stop_from_elsewhere(&f, info.workers);
    }
    return 0;
}

/* Goal: stop and release work on any thread, while the loop runs.
 * Method: loops that tick are stopped, twice, and given up by a tasklet of another worker and by a foreign thread; the
 *       deferred of each fires; ThreadSanitizer judges. */
Test(looping_call, stop_from_elsewhere_ends_it) {
    in_every_mode(stop_many_from_elsewhere, NULL);
}

static void *start_on_a_thread(void *arg) {
    *(pirn_looping_call **)arg = pirn_looping_call_start(PIRN_MILLISECOND, true, tick, NULL);
    cr_assert_null(pirn_call_later(0));
    return NULL;
}

static int start_elsewhere(void *arg) {
    (void)arg;
    pirn_looping_call *loop = NULL;
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, start_on_a_thread, &loop), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_null(loop);
    return 0;
}

/* Goal: what needs a worker is refused on a foreign thread, with a line that names the call to use.
 * Method: a looping call and a call later from a foreign thread; NULL, and both lines. */
Test(looping_call, start_on_a_foreign_thread_is_refused) {
    for (int which = 0; which < ENGINE_MODES; which++) {
        pirn_options options = engine_options(which);
        captured said = capture_begin();
        int result = pirn_run(&options, start_elsewhere, NULL);
        char *text = capture_end(said);
        cr_assert_eq(result, 0);
        cr_assert(strstr(text, "pirn_looping_call_start() from a foreign thread"), "%s", text);
        cr_assert(strstr(text, "pirn_call_later() from a foreign thread"), "%s", text);
        cr_assert(strstr(text, "pirn_foreign_spawn()"), "%s", text);
        free(text);
    }
}
