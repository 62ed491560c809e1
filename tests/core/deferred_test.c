/* SPDX-License-Identifier: MIT
 *
 * What: a deferred's life: callbacks, errbacks, firing once, cancelling, pausing, holds, and the report of what nobody
 *       handled. Cases of Twisted's test_defer.py are named in the comments.
 * Threads: one, in virtual time; wrong threads are real ones.
 */
#include <pthread.h>

#include "deferred.h"
#include "deferred_test.h"

/* ---- callbacks ---- */

static void body_callbacks(void) {
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    add(d, "first");
    cr_assert_eq(pirn_deferred_add_callbacks(d, add_one, NULL, NULL), 0);
    add(d, "second");
    cr_assert_not(pirn_deferred_finished(d));
    expect_noted("");
    cr_assert_eq(fire_number(d, 5), 0);
    expect_noted("first=5 second=6");
    cr_assert(pirn_deferred_finished(d));
    add(d, "late");
    expect_noted("late=6");
    cr_assert_eq(destroyed, 0);
    pirn_deferred_release(d);
    cr_assert_eq(destroyed, 1);
}

/* Goal: the value flows through the pairs front to back; one added later runs inside the call that adds it; the value
 * is destroyed once, at the last release (testTwoCallbacks). Method: a chain of four with a log. */
Test(deferred, fire_runs_callbacks_in_order) {
    run_body(body_callbacks);
}

static void body_sides(void) {
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    cr_assert_eq(pirn_deferred_add_callbacks(d, fail_here, recover, "cb1"), 0);
    cr_assert_eq(pirn_deferred_add_callbacks(d, note_result, NULL, "skipped"), 0);
    cr_assert_eq(pirn_deferred_add_callbacks(d, note_result, recover, "eb"), 0);
    cr_assert_eq(pirn_deferred_add_callbacks(d, note_result, recover, "cb2"), 0);
    fire_number(d, 1);
    expect_noted("cb1 eb:PIRN_EDB cb2=7");
    cr_assert_eq(destroyed, 1, "the value that the failure replaced");
    pirn_deferred_release(d);
}

/* Goal: a callback that fails goes to the next errback, an errback that recovers to the next callback, and the missing
 * half passes the result on (testCallbackErrors). Method: pairs that log the side that ran. */
Test(deferred, failing_callback_goes_to_errback_and_back) {
    run_body(body_sides);
}

/* A callback that adds another to its own deferred: it must not run inside this one. */
static pirn_deferred *add_inside(void *context, pirn_result *result) {
    pirn_deferred *d = context;
    (void)result;
    note("1");
    add(d, "3");
    note("2");
    return NULL;
}

static void body_reentrant(void) {
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    cr_assert_eq(pirn_deferred_add_both(d, add_inside, d), 0);
    fire_number(d, 0);
    expect_noted("1 2 3=0");
    cr_assert_eq(pirn_deferred_add_both(d, add_inside, d), 0);
    expect_noted("1 2 3=0");
    pirn_deferred_release(d);
}

/* Goal: a callback added inside a running one runs after it, also when the deferred had finished before
 * (test_reentrantRunCallbacks, test_nonReentrantCallbacks). Method: log around the add. */
Test(deferred, callback_added_by_a_callback_runs_after_it) {
    run_body(body_reentrant);
}

static pirn_deferred *release_context(void *context, pirn_result *result) {
    (void)result;
    pirn_deferred_release(context);
    return NULL;
}

static void body_release_inside(void) {
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    cr_assert_eq(pirn_deferred_add_both(d, release_context, pirn_deferred_retain(d)), 0);
    add(d, "after");
    cr_assert_eq(pirn_deferred_add_both(d, release_context, d), 0);
    (void)pirn_deferred_retain(d);
    fire_number(d, 3);
    expect_noted("after=3");
    cr_assert_eq(destroyed, 0);
    pirn_deferred_release(d);
    cr_assert_eq(destroyed, 1);
}

/* Goal: a callback may give up holds on its own deferred while the chain runs.
 * Method: two of three holds are given up inside; ASan sees a use after free. */
Test(deferred, callback_may_release_its_own_deferred) {
    run_body(body_release_inside);
}

/* ---- ready-made ---- */

static void body_ready_made(void) {
    pirn_deferred *d = pirn_deferred_succeed(number(4), destroy_value);
    cr_assert_eq(pirn_deferred_add_callbacks(d, add_one, NULL, NULL), 0);
    add(d, "succeeded");
    pirn_deferred_release(d);
    d = pirn_deferred_fail_now(pirn_failure_make(PIRN_EDNS, "no name"));
    add(d, "failed");
    give_up(d);
    d = pirn_deferred_fail_now(NULL);
    add(d, "failed");
    give_up(d);
    expect_noted("succeeded=5 failed=PIRN_EDNS failed=PIRN_EFAILED");
    cr_assert_eq(destroyed, 1);
}

/* Goal: succeed and fail_now give deferreds that have fired, whose callbacks own the result as any others do.
 * Method: change the value of one in a callback added later, and look at both kinds of failure. */
Test(deferred, ready_made_ones_have_fired) {
    run_body(body_ready_made);
}

/* ---- once ---- */

static void fire_twice(bool first_fails, bool second_fails) {
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    add(d, "got");
    cr_assert_eq(first_fails ? fail_with(d, PIRN_EDB) : fire_number(d, 1), 0);
    unsigned before = destroyed;
    cr_assert_eq(second_fails ? fail_with(d, PIRN_EDNS) : fire_number(d, 2), PIRN_EALREADY);
    cr_assert_eq(destroyed, before + !second_fails, "the late value is destroyed at once, once");
    expect_noted(first_fails ? "got=PIRN_EDB" : "got=1");
    give_up(d);
}

static void body_twice(void) {
    fire_twice(false, false);
    fire_twice(false, true);
    fire_twice(true, true);
    fire_twice(true, false);
    cr_assert_eq(destroyed, 4);
}

/* Goal: the second fire is PIRN_EALREADY whatever the two were, and its value is destroyed once (AlreadyCalledTests CC,
 * CE, EE, EC). Method: all four, counting destructions. */
Test(deferred, second_fire_is_refused_and_destroyed) {
    run_body(body_twice);
}

static void body_settle(void) {
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    pirn_result result = {.value = number(8), .drop = destroy_value};
    cr_assert_eq(pirn_deferred_settle(d, &result), 0);
    cr_assert(!result.value && !result.drop, "it moved");
    result = (pirn_result){.value = number(9), .drop = destroy_value};
    cr_assert_eq(pirn_deferred_settle(d, &result), PIRN_EALREADY);
    cr_assert(!result.value && !result.drop && destroyed == 1);
    add(d, "got");
    expect_noted("got=8");
    pirn_deferred_release(d);
}

/* Goal: settle takes what the result owns on every return.
 * Method: settle twice; the struct is empty both times, the second value destroyed. */
Test(deferred, settle_empties_the_result) {
    run_body(body_settle);
}

/* ---- pause ---- */

static void body_pause(void) {
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    pirn_deferred_pause(d);
    cr_assert_eq(pirn_deferred_unpause(d), 0);
    cr_assert_eq(pirn_deferred_unpause(d), PIRN_EINVAL);
    pirn_deferred_pause(d);
    pirn_deferred_pause(d);
    add(d, "cb");
    fail_with(d, PIRN_EDB);
    add(d, "eb");
    cr_assert_not(pirn_deferred_finished(d));
    pirn_deferred_unpause(d);
    expect_noted("");
    pirn_deferred_unpause(d);
    expect_noted("cb=PIRN_EDB eb=PIRN_EDB");
    give_up(d);
}

/* Goal: pauses are counted, nothing runs until the last is undone, and a balanced pair before the fire changes nothing
 * (testPausedFailure, testUnpauseBeforeCallback). Method: pause twice, fail, undo one by one. */
Test(deferred, paused_chain_runs_at_the_last_unpause) {
    run_body(body_pause);
}

static pirn_deferred *pause_context(void *context, pirn_result *result) {
    (void)result;
    note("pause");
    pirn_deferred_pause(context);
    return NULL;
}

static void body_pause_inside(void) {
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    pirn_deferred_add_both(d, pause_context, d);
    add(d, "after");
    fire_number(d, 2);
    expect_noted("pause");
    pirn_deferred_unpause(d);
    expect_noted("after=2");
    pirn_deferred_release(d);
}

/* Goal: a callback may pause its own chain.
 * Method: pause inside, unpause outside. */
Test(deferred, callback_may_pause_its_own_chain) {
    run_body(body_pause_inside);
}

/* ---- cancel ---- */

static void note_canceller(pirn_deferred *deferred, void *context) {
    note("canceller");
    cr_assert_eq(pirn_deferred_cancel(deferred), 0, "from inside: harmless");
    if (context) {
        fire_number(deferred, (intptr_t)context);
    }
}

static void failing_canceller(pirn_deferred *deferred, void *context) {
    (void)context;
    fail_with(deferred, PIRN_EHTTP);
}

static void body_cancel_plain(void) {
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    add(d, "eb");
    cr_assert_eq(pirn_deferred_cancel(d), 0);
    cr_assert_eq(pirn_deferred_cancel(d), 0);
    expect_noted("eb=PIRN_ECANCELED");
    cr_assert_eq(fire_number(d, 1), 0, "one late fire is swallowed");
    cr_assert_eq(destroyed, 1);
    cr_assert_eq(fire_number(d, 2), PIRN_EALREADY);
    cr_assert_eq(destroyed, 2);
    expect_noted("");
    pirn_deferred_release(d);
}

/* Goal: without a canceller the deferred fails with PIRN_ECANCELED and exactly one late fire is swallowed, its value
 * destroyed once (test_noCanceller, test_noCancellerMultipleCancel...). Method: cancel twice, fire twice. */
Test(deferred, cancel_without_canceller_swallows_one_late_fire) {
    run_body(body_cancel_plain);
}

static void body_cancel_silent(void) {
    pirn_deferred *d = pirn_deferred_create(note_canceller, NULL);
    add(d, "eb");
    pirn_deferred_cancel(d);
    pirn_deferred_cancel(d);
    expect_noted("canceller eb=PIRN_ECANCELED");
    cr_assert_eq(fire_number(d, 1), PIRN_EALREADY, "late fires are not swallowed");
    pirn_deferred_release(d);
}

/* Goal: a canceller is asked once, also when it cancels again itself; when it does not fire, PIRN_ECANCELED follows;
 * late fires are errors (test_simpleCanceller, cancellerMultipleCancel). Method: one that cancels again and does
 * nothing more. */
Test(deferred, canceller_that_does_nothing_is_followed_by_the_failure) {
    run_body(body_cancel_silent);
}

static void body_cancel_fires(void) {
    pirn_deferred *d = pirn_deferred_create(note_canceller, number(3));
    add(d, "cb");
    pirn_deferred_cancel(d);
    expect_noted("canceller cb=3");
    pirn_deferred_release(d);
    d = pirn_deferred_create(failing_canceller, NULL);
    add(d, "eb");
    pirn_deferred_cancel(d);
    expect_noted("eb=PIRN_EHTTP");
    give_up(d);
}

/* Goal: a canceller's own result wins, a value or a failure (test_cancellerThatCallbacks, ...ThatErrbacks).
 * Method: one that fires, one that fails. */
Test(deferred, canceller_that_fires_wins) {
    run_body(body_cancel_fires);
}

static void body_cancel_after(void) {
    pirn_deferred *d = pirn_deferred_create(note_canceller, NULL);
    fire_number(d, 1);
    cr_assert_eq(pirn_deferred_cancel(d), 0);
    add(d, "cb");
    pirn_deferred_release(d);
    d = pirn_deferred_create(note_canceller, NULL);
    fail_with(d, PIRN_EDB);
    cr_assert_eq(pirn_deferred_cancel(d), 0);
    add(d, "eb");
    expect_noted("cb=1 eb=PIRN_EDB");
    give_up(d);
}

/* Goal: cancelling one that has fired changes nothing (test_cancelAfterCallback, test_cancelAfterErrback).
 * Method: cancel both kinds, look at the results, the canceller is never asked. */
Test(deferred, cancel_of_a_fired_one_does_nothing) {
    run_body(body_cancel_after);
}

static void release_in_canceller(pirn_deferred *deferred, void *context) {
    (void)context;
    pirn_deferred_release(deferred);
}

static void body_cancel_releases(void) {
    pirn_deferred *d = pirn_deferred_create(release_in_canceller, NULL);
    cr_assert_eq(pirn_deferred_cancel(d), 0);
}

/* Goal: a canceller may give up the last hold but the caller's own use.
 * Method: the only hold goes inside the canceller; ASan sees a use after free. */
Test(deferred, canceller_may_release_the_last_hold) {
    run_body(body_cancel_releases);
}

/* ---- unhandled failures ---- */

static void body_unhandled(void) {
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    add(d, "passes it on");
    fail_with(d, PIRN_EDB);
    cr_assert_eq(reports, 0, "not before the last release");
    pirn_deferred_release(d);
    cr_assert_eq(reports, 1);
    cr_assert(strstr(last_report, "unhandled failure in deferred created at deferred_test.c:"), "%s", last_report);
    cr_assert(strstr(last_report, "PIRN_EDB: made by the test (made at deferred_test.h:"), "%s", last_report);
}

/* Goal: a failure that nobody handled is reported once, at the last release, with where the deferred and the failure
 * were made; an errback that passes it on has not handled it (LogTests.test_errorLog). Method: read the line. */
Test(deferred, unhandled_failure_is_reported_at_the_last_release) {
    run_with_reports(body_unhandled, 1);
}

static void body_handled(void) {
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    cr_assert_eq(pirn_deferred_add_callbacks(d, NULL, recover, "eb"), 0);
    fail_with(d, PIRN_EDB);
    pirn_deferred_release(d);
    d = pirn_deferred_create(NULL, NULL);
    pirn_deferred_cancel(d);
    pirn_deferred_release(d);
    d = pirn_deferred_create(NULL, NULL);
    pirn_deferred_release(d);
    expect_noted("eb:PIRN_EDB");
}

/* Goal: nothing is reported for a handled failure, a cancellation, or a deferred that never fired.
 * Method: one of each, and no report. */
Test(deferred, handled_failure_and_cancellation_are_not_reported) {
    run_body(body_handled);
}

/* ---- where callbacks run ---- */

static pirn_deferred *wait_in_callback(void *context, pirn_result *result) {
    (void)result;
    pirn_result out;
    cr_assert_eq(pirn_sleep_until(PIRN_FOREVER), PIRN_ETHREAD);
    cr_assert_eq(pirn_await(context, &out, PIRN_FOREVER), PIRN_ETHREAD);
    cr_assert_eq(pirn_await(context, &out, PIRN_NOW), PIRN_EAGAIN);
    cr_assert_eq(pirn_self().id, 0);
    pirn_yield();
    note("refused");
    return NULL;
}

static void body_wait_in_callback(void) {
    pirn_deferred *never = pirn_deferred_create(NULL, NULL);
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    pirn_deferred_add_both(d, wait_in_callback, never);
    pirn_tasklet self = pirn_self();
    stderr_catch caught;
    stderr_catch_start(&caught);
    fire_number(d, 1);
    char *text = stderr_catch_end(&caught);
    cr_assert_eq(count_of(text, "only a tasklet can wait"), 2, "%s", text);
    free(text);
    expect_noted("refused");
    cr_assert_eq(pirn_self().id, self.id, "the tasklet that fired goes on as itself");
    pirn_deferred_release(d);
    pirn_deferred_release(never);
}

/* Goal: a waiting call inside a callback is PIRN_ETHREAD before any side effect, with a line; PIRN_NOW is PIRN_EAGAIN;
 * the tasklet that fired is not changed. Method: a callback that tries, fired from a tasklet. */
Test(deferred, wait_in_a_callback_is_refused) {
    run_body(body_wait_in_callback);
}

static void *use_on_wrong_thread(void *arg) {
    pirn_deferred *d = arg;
    cr_assert_eq(pirn_deferred_pause(d), PIRN_ETHREAD);
    cr_assert_eq(pirn_deferred_unpause(d), PIRN_ETHREAD);
    cr_assert_eq(pirn_deferred_deadline(d, PIRN_FOREVER), PIRN_ETHREAD);
    cr_assert_eq(pirn_deferred_chain(d, d), PIRN_ETHREAD);
    cr_assert_null(pirn_deferred_list(&d, 1, 0));
    cr_assert_null(pirn_deferred_race(&d, 1));
    cr_assert_null(pirn_deferred_create(NULL, NULL));
    cr_assert_null(pirn_deferred_create_at(1, NULL, NULL), "there is no worker 1");
    cr_assert_null(pirn_deferred_tasklet(NULL, NULL));
    return NULL;
}

static void body_wrong_thread(void) {
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    stderr_catch caught;
    stderr_catch_start(&caught);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, use_on_wrong_thread, d), 0);
    pthread_join(thread, NULL);
    char *text = stderr_catch_end(&caught);
    cr_assert_eq(count_of(text, "the deferred lives on worker 0"), 6, "%s", text);
    cr_assert_eq(count_of(text, "pirn_deferred_create_at()"), 1, "%s", text);
    cr_assert_eq(count_of(text, "pirn_foreign_spawn()"), 1, "%s", text);
    free(text);
    fire_number(d, 1);
    expect_noted("");
    pirn_deferred_release(d);
}

/* Goal: what only the home may do is refused on another thread, with a line that says what to use, and does nothing.
 * Method: a real thread tries all of it; the lines are counted. */
Test(deferred, home_only_call_on_another_thread_is_refused) {
    run_body(body_wrong_thread);
}

/* ---- fired elsewhere ---- */

static void *fire_on_thread(void *arg) {
    pirn_deferred *d = arg;
    cr_assert_eq(fire_number(d, 6), 0);
    cr_assert_eq(fire_number(d, 7), PIRN_EALREADY);
    cr_assert_not(pirn_deferred_finished(d), "the callbacks run at home");
    pirn_deferred_release(d);
    return NULL;
}

static void body_fired_elsewhere(void) {
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    add(d, "home");
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, fire_on_thread, pirn_deferred_retain(d)), 0);
    pthread_join(thread, NULL);
    expect_noted("");
    cr_assert_eq(fire_number(d, 8), PIRN_EALREADY, "claimed although not arrived");
    cr_assert_eq(pirn_await(d, NULL, PIRN_FOREVER), 0);
    expect_noted("home=6");
    cr_assert_eq(destroyed, 2);
    pirn_deferred_release(d);
    cr_assert_eq(destroyed, 3);
}

/* Goal: a fire on another thread is one message: callbacks run at home, later fires lose to it before it arrived, and
 * no value is lost or destroyed twice. Method: a real thread fires twice while home does not run. */
Test(deferred, fire_on_another_thread_arrives_as_a_message) {
    run_body(body_fired_elsewhere);
}

static void fire_elsewhere(pirn_deferred *d) {
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, fire_on_thread, pirn_deferred_retain(d)), 0);
    pthread_join(thread, NULL);
    cr_assert_eq(destroyed, 1, "the second fire's value");
}

static void body_cancel_meets_fire(void) {
    static const pirn_canceller cancellers[] = {NULL, note_canceller};
    for (size_t i = 0; i < 2; i++) {
        destroyed = 0;
        pirn_deferred *d = pirn_deferred_create(cancellers[i], NULL);
        add(d, "home");
        fire_elsewhere(d);
        cr_assert_eq(pirn_deferred_cancel(d), 0);
        expect_noted("home=PIRN_ECANCELED"); /* and no canceller: there is nothing left to stop */
        cr_assert_eq(destroyed, 1, "the result is still on its way");
        let_others_run();
        pirn_sleep_until(pirn_after(1));
        cr_assert_eq(destroyed, 2, "it went nowhere");
        cr_assert_eq(pirn_await(d, NULL, PIRN_FOREVER), PIRN_ECANCELED);
        add(d, "later");
        expect_noted("later=PIRN_ECANCELED");
        pirn_deferred_release(d);
        cr_assert_eq(destroyed, 2);
    }
}

/* Goal: a cancel at home is final although another thread has fired the deferred and the message is on its way: the
 * callbacks see PIRN_ECANCELED, at once and for good. Method: a real thread fires while home does not run; then cancel,
 * with and without a canceller, let the message arrive, and look at the callbacks and the destructors. */
Test(deferred, cancel_wins_over_a_fire_on_its_way) {
    run_body(body_cancel_meets_fire);
}

static void body_inner_cancelled_on_its_way(void) {
    pirn_deferred *inner = pirn_deferred_create(NULL, NULL), *outer = pirn_deferred_create(NULL, NULL);
    add_inner(outer, pirn_deferred_retain(inner));
    fire_number(outer, 1);
    destroyed = 0;
    add(outer, "outer");
    fire_elsewhere(inner);
    cr_assert_eq(pirn_deferred_cancel(outer), 0);
    expect_noted("outer=PIRN_ECANCELED");
    pirn_sleep_until(pirn_after(1));
    cr_assert_eq(destroyed, 2);
    pirn_deferred_release(inner);
    pirn_deferred_release(outer);
}

/* Goal: the same through a deferred that waits for the one that was fired.
 * Method: outer waits for inner, which a thread fires; outer is cancelled before the message arrives. */
Test(deferred, cancel_through_a_chain_wins_over_a_fire_on_its_way) {
    run_body(body_inner_cancelled_on_its_way);
}

static void body_deadline_meets_fire(void) {
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    cr_assert_eq(pirn_deferred_deadline(d, pirn_after(-1)), 0);
    add(d, "limit");
    pn_timers_run(&pn_sched_self()->timers, pirn_now());
    expect_noted("limit=PIRN_ETIMEDOUT");
    cr_assert_eq(fire_number(d, 1), 0, "one late fire is swallowed");
    give_up(d);
    destroyed = 0;
    d = pirn_deferred_create(NULL, NULL);
    cr_assert_eq(pirn_deferred_deadline(d, pirn_after(-1)), 0);
    add(d, "limit");
    fire_elsewhere(d);
    pn_timers_run(&pn_sched_self()->timers, pirn_now());
    expect_noted("limit=PIRN_ETIMEDOUT");
    pirn_sleep_until(pirn_after(1));
    cr_assert_eq(destroyed, 2);
    give_up(d);
}

/* Goal: a deadline's cancel is final like any other.
 * Method: the timer fires by hand, once before any fire, once while a fire is on its way. */
Test(deferred, deadline_wins_over_a_fire_on_its_way) {
    run_body(body_deadline_meets_fire);
}

static void *last_release_on_thread(void *arg) {
    pirn_deferred_release(arg);
    return NULL;
}

static void body_released_elsewhere(void) {
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    fail_with(d, PIRN_EDB);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, last_release_on_thread, d), 0);
    pthread_join(thread, NULL);
    cr_assert_eq(reports, 0);
    pirn_sleep_until(pirn_after(1));
    cr_assert_eq(reports, 1);
}

/* Goal: the last release elsewhere has the deferred destroyed, and its failure reported, at home.
 * Method: a real thread gives up the only hold; the report comes at home's next turn. */
Test(deferred, last_release_elsewhere_destroys_at_home) {
    run_with_reports(body_released_elsewhere, 1);
}

static pirn_deferred *born_elsewhere;

static void *create_on_thread(void *arg) {
    (void)arg;
    born_elsewhere = pirn_deferred_create_at(0, NULL, NULL);
    cr_assert_not_null(born_elsewhere);
    cr_assert_eq(pn_deferred_home(born_elsewhere), 0);
    return NULL;
}

static void body_created_elsewhere(void) {
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, create_on_thread, NULL), 0);
    pthread_join(thread, NULL);
    cr_assert_eq(pn_sched_self()->counts.deferreds, 0);
    pirn_sleep_until(pirn_after(1));
    cr_assert_eq(pn_sched_self()->counts.deferreds, 1, "its home counts it");
    add(born_elsewhere, "got");
    fire_number(born_elsewhere, 2);
    expect_noted("got=2");
    pirn_deferred_release(born_elsewhere);
}

/* Goal: a thread without a scheduler makes a deferred for a home that it names, which counts it there.
 * Method: a real thread creates, home uses it. */
Test(deferred, created_for_another_home_is_counted_there) {
    run_body(body_created_elsewhere);
}
