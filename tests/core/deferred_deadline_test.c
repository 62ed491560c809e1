/* SPDX-License-Identifier: MIT
 *
 * What: pirn_deferred_deadline, which answers to Deferred.addTimeout (test_defer.py, DeferredTests.test_timeout...).
 * Threads: one, in virtual time.
 */
#include "deferred.h"
#include "deferred_test.h"

static unsigned armed(void) {
    return pn_sched_self()->timers.count;
}

static void body_timed_out(void) {
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    add(d, "covered");
    cr_assert_eq(pirn_deferred_deadline(d, pirn_after(PIRN_SECOND)), 0);
    add(d, "later");
    pirn_result out;
    pirn_time before = pirn_now();
    cr_assert_eq(pirn_await(d, &out, PIRN_FOREVER), PIRN_ETIMEDOUT);
    cr_assert_eq(pirn_now() - before, PIRN_SECOND);
    cr_assert_eq(out.status, PIRN_ETIMEDOUT, "the result's own code");
    expect_noted("covered=PIRN_ECANCELED later=PIRN_ETIMEDOUT");
    cr_assert_eq(fire_number(d, 1), 0, "one late fire is swallowed");
    pirn_deferred_release(d);
}

/* Goal: at its deadline the deferred is cancelled; callbacks added after the deadline see PIRN_ETIMEDOUT, those before
 * it PIRN_ECANCELED. Method: await it in virtual time. */
Test(deferred_deadline, unfinished_one_is_cancelled_and_timed_out) {
    run_body(body_timed_out);
}

static void body_in_time(void) {
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    unsigned before = armed();
    cr_assert_eq(pirn_deferred_deadline(d, pirn_after(PIRN_SECOND)), 0);
    cr_assert_eq(armed(), before + 1);
    fire_number(d, 1);
    cr_assert_eq(armed(), before, "the timer is taken back when the chain passes");
    cr_assert_eq(pirn_deferred_deadline(d, pirn_after(PIRN_SECOND)), 0);
    cr_assert_eq(armed(), before, "a finished one needs no timer");
    cr_assert_eq(pirn_deferred_deadline(d, PIRN_FOREVER), 0);
    pirn_deferred_release(d);
}

/* Goal: one that finishes in time takes its timer back; a finished one, and no limit, arm none.
 * Method: count the scheduler's timers. */
Test(deferred_deadline, finished_one_takes_the_timer_back) {
    run_body(body_in_time);
}

static void fire_three(pirn_deferred *deferred, void *context) {
    (void)context;
    fire_number(deferred, 3);
}

static void body_canceller_wins(void) {
    pirn_deferred *d = pirn_deferred_create(fire_three, NULL);
    cr_assert_eq(pirn_deferred_deadline(d, pirn_after(10)), 0);
    add(d, "got");
    pirn_sleep_until(pirn_after(20));
    expect_noted("got=3");
    pirn_deferred_release(d);
}

/* Goal: a canceller that gives a result at the deadline wins.
 * Method: one that fires. */
Test(deferred_deadline, canceller_that_fires_wins) {
    run_body(body_canceller_wins);
}

static void body_other_cancel(void) {
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    cr_assert_eq(pirn_deferred_deadline(d, pirn_after(10)), 0);
    add(d, "got");
    pirn_deferred_cancel(d);
    expect_noted("got=PIRN_ECANCELED");
    pirn_deferred_release(d);
}

/* Goal: a cancellation that the timer did not cause stays PIRN_ECANCELED.
 * Method: cancel before the deadline. */
Test(deferred_deadline, cancellation_by_others_stays_one) {
    run_body(body_other_cancel);
}

static void body_inner(void) {
    pirn_deferred *inner = pirn_deferred_create(NULL, NULL);
    pirn_deferred *d = pirn_deferred_succeed(NULL, NULL);
    add_inner(d, pirn_deferred_retain(inner));
    cr_assert_eq(pirn_deferred_deadline(d, pirn_after(10)), 0);
    add(d, "outer");
    pirn_sleep_until(pirn_after(20));
    expect_noted("outer=PIRN_ETIMEDOUT");
    add(inner, "inner");
    expect_noted("inner=0");
    pirn_deferred_release(inner);
    give_up(d);
}

/* Goal: where it waits for an inner deferred, the deadline cancels that one.
 * Method: the inner has no canceller and is fired by the cancel. */
Test(deferred_deadline, deadline_reaches_the_inner_one) {
    run_body(body_inner);
}
