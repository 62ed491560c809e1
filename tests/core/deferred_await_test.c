/* SPDX-License-Identifier: MIT
 *
 * What: tasklets that wait for deferreds: exactly one outcome whoever comes first, no park when there is a result, who
 *       cancels what, borrowed and taken results. With the seeds' regressions about block_on.
 * Threads: one, in virtual time.
 */
#include <pthread.h>

#include "deferred.h"
#include "deferred_test.h"

/* A tasklet that awaits and logs what it got. */
typedef struct asker {
    const char *name;
    pirn_deferred *deferred; /* a hold of its own; given up by taking                                    */
    pirn_time deadline;
    bool takes;
    pirn_result out;
    pirn_tasklet tasklet;
} asker;

static int ask(void *arg) {
    asker *a = arg;
    int code =
        a->takes ? pirn_await_take(a->deferred, &a->out, a->deadline) : pirn_await(a->deferred, &a->out, a->deadline);
    note("%s:%s", a->name, code == 0 ? word_of(&a->out) : pirn_error_name(code));
    if (a->takes) {
        pirn_result_drop(&a->out);
    } else {
        pirn_deferred_release(a->deferred);
    }
    return 0;
}

/* Start `a` and let it park. */
static void start(asker *a, const char *name, pirn_deferred *deferred) {
    a->name = name;
    a->deferred = pirn_deferred_retain(deferred);
    a->deadline = a->deadline ? a->deadline : PIRN_FOREVER;
    a->tasklet = pirn_spawn(ask, a);
    let_others_run();
}

static uint64_t switches(void) {
    return pn_sched_self()->counts.switches;
}

/* ---- one outcome ---- */

static void body_wait_before_fire(void) {
    asker a = {0};
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    add(d, "callback");
    start(&a, "a", d);
    fire_number(d, 3);
    expect_noted("callback=3");
    add(d, "late");
    let_others_run();
    expect_noted("late=3 a:3");
    cr_assert_null(a.out.drop, "borrowed");
    pirn_deferred_release(d);
    cr_assert_eq(destroyed, 1);
}

/* Goal: wait before fire: the tasklet is made ready, not run inside the fire, and gets what stands at the end of the
 * chain.
 * Method: log the order. */
Test(deferred_await, wait_before_fire_gets_the_result) {
    run_body(body_wait_before_fire);
}

static void body_fire_before_wait(void) {
    pirn_deferred *d = pirn_deferred_succeed(number(4), destroy_value);
    pirn_result out;
    uint64_t before = switches();
    uint64_t count = pirn_test_count(1000000, 100000);
    for (uint64_t i = 0; i < count; i++) {
        cr_assert_eq(pirn_await(d, &out, PIRN_FOREVER), 0);
    }
    cr_assert_eq(out.value, number(4));
    for (uint64_t i = 0; i < count / 10; i++) {
        pirn_deferred *fresh = pirn_deferred_succeed(number(5), destroy_value);
        cr_assert_eq(pirn_await_take(fresh, &out, PIRN_FOREVER), 0);
        pirn_result_drop(&out);
    }
    cr_assert_eq(switches(), before, "none of them parked");
    cr_assert_eq(destroyed, count / 10);
    pirn_deferred_release(d);
}

/* Goal: an await of a fired deferred never parks, however often (the first seed's block_on parked for ever;
 * test_inlinecb testStackUsage).
 * Method: 1e6 awaits in one tasklet, and the scheduler's count of switches. */
Test(deferred_await, fired_one_never_parks, .timeout = 60) {
    run_body(body_fire_before_wait);
}

static void body_failure(void) {
    asker a = {0};
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    start(&a, "a", d);
    fail_with(d, PIRN_EDB);
    let_others_run();
    expect_noted("a:PIRN_EDB");
    cr_assert_eq(a.out.status, PIRN_EDB);
    pirn_result out;
    cr_assert_eq(pirn_await(d, &out, PIRN_NOW), PIRN_EDB);
    cr_assert_str_eq(pirn_failure_message(out.failure), "made by the test");
    pirn_deferred_release(d);
}

/* Goal: a failure reaches the waiter as a code with the failure borrowed, and counts as handled (the seed gave Failure
 * objects as values or hung). Method: wait, fail, look; no report. */
Test(deferred_await, failure_reaches_the_waiter) {
    run_body(body_failure);
}

static void body_several(void) {
    asker a[3] = {{0}};
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    start(&a[0], "a", d);
    start(&a[1], "b", d);
    start(&a[2], "c", d);
    fire_number(d, 1);
    let_others_run();
    expect_noted("a:1 b:1 c:1");
    pirn_deferred_release(d);
    cr_assert_eq(destroyed, 1);
}

/* Goal: several may wait for one; all get it, first come first woken.
 * Method: three tasklets. */
Test(deferred_await, several_waiters_all_get_the_result) {
    run_body(body_several);
}

/* ---- deadlines ---- */

static void body_deadline(void) {
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    pirn_result out = {.value = d};
    cr_assert_eq(pirn_await(d, &out, PIRN_NOW), PIRN_EAGAIN);
    cr_assert_null(out.value, "zeroed");
    cr_assert_eq(pirn_await(d, &out, pirn_after(PIRN_SECOND)), PIRN_ETIMEDOUT);
    cr_assert_eq(out.status, 0, "the wait's own code");
    cr_assert_eq(fire_number(d, 6), 0, "the deadline left it alone");
    cr_assert_eq(pirn_await(d, &out, pirn_after(0)), 0);
    cr_assert_eq(out.value, number(6));
    pirn_deferred_release(d);
    cr_assert_eq(destroyed, 1);
}

/* Goal: a deadline ends the wait and leaves the deferred alone: a later await gets the result.
 * Method: time out in virtual time, then fire. */
Test(deferred_await, deadline_leaves_the_deferred_alone) {
    run_body(body_deadline);
}

static void body_take_deadline(void) {
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    pirn_result out;
    cr_assert_eq(pirn_await_take(pirn_deferred_retain(d), &out, pirn_after(5)), PIRN_ETIMEDOUT);
    cr_assert(pirn_deferred_finished(d), "nobody else was left: cancelled");
    cr_assert_eq(fire_number(d, 1), 0, "swallowed");
    cr_assert_eq(destroyed, 1, "a late result goes nowhere, and is destroyed once");
    pirn_deferred_release(d);
}

/* Goal: await_take that times out cancels the deferred and gives up its hold; a late result is destroyed once.
 * Method: fire after the deadline. */
Test(deferred_await, late_result_after_a_take_is_destroyed_once) {
    run_body(body_take_deadline);
}

/* ---- a failure that comes after the last wait ended early ---- */

typedef enum late_way { LATE_AWAIT, LATE_TAKE, LATE_WAYS } late_way;

typedef struct late_case {
    pirn_deferred *deferred;
    late_way way;
    pirn_time deadline;
    int code;
} late_case;

static int wait_in_vain(void *arg) {
    late_case *late = arg;
    pirn_result out;
    if (late->way == LATE_TAKE) {
        late->code = pirn_await_take(late->deferred, &out, late->deadline);
    } else {
        late->code = pirn_await(late->deferred, &out, late->deadline);
        pirn_deferred_release(late->deferred);
    }
    return 0;
}

static int fail_late(void *arg, pirn_result *out) {
    (void)pirn_sleep_until(pirn_after((intptr_t)arg));
    return pirn_result_fail(out, PIRN_EHTTP, "late");
}

/* The failure comes while the waiter's deadline has passed but it had no turn yet. */
static void fail_before_its_turn(late_way way) {
    late_case late = {.way = way, .deadline = pirn_after(10)};
    pirn_deferred *firers = pirn_deferred_create(NULL, NULL);
    late.deferred = pirn_deferred_retain(firers);
    pirn_spawn(wait_in_vain, &late);
    pirn_yield();
    pn_alone_advance(20);
    (void)pn_timers_run(&pn_sched_self()->timers, pirn_now());
    cr_assert_eq(fail_with(firers, PIRN_EHTTP), 0);
    pirn_deferred_release(firers);
    let_others_run();
    cr_assert_eq(late.code, PIRN_ETIMEDOUT);
}

/* The failure comes long after. */
static void fail_after_its_turn(late_way way) {
    late_case late = {.way = way, .deadline = pirn_after(10)};
    pirn_deferred *firers = pirn_deferred_create(NULL, NULL);
    late.deferred = pirn_deferred_retain(firers);
    pirn_spawn(wait_in_vain, &late);
    pirn_sleep_until(pirn_after(20));
    cr_assert_eq(late.code, PIRN_ETIMEDOUT);
    (void)fail_with(firers, PIRN_EHTTP);
    pirn_deferred_release(firers);
}

/* A tasklet's deferred, which fails in its own time; its waiter ends by a deadline or by a strike. */
static void fail_in_its_own_time(late_way way, bool struck) {
    late_case late = {.way = way, .deadline = struck ? PIRN_FOREVER : pirn_after(10)};
    late.deferred = pirn_deferred_tasklet(fail_late, number(50));
    pirn_tasklet waiting = spawn_joinable(wait_in_vain, &late);
    pirn_sleep_until(pirn_after(20));
    if (struck) {
        cr_assert_eq(pirn_throw(waiting, PIRN_EBUSY, false), 0);
    }
    cr_assert_eq(pirn_join(waiting, NULL, PIRN_FOREVER), 0);
    cr_assert_eq(late.code, struck ? PIRN_EBUSY : PIRN_ETIMEDOUT);
    pirn_sleep_until(pirn_after(PIRN_SECOND));
}

static void body_late_failures(void) {
    for (late_way way = 0; way < LATE_WAYS; way++) {
        fail_before_its_turn(way);
        fail_after_its_turn(way);
        fail_in_its_own_time(way, false);
        fail_in_its_own_time(way, true);
    }
    pirn_deferred *children[2] = {pirn_deferred_tasklet(fail_late, number(50)), pirn_deferred_create(NULL, NULL)};
    late_case late = {.way = LATE_TAKE, .deadline = pirn_after(10), .deferred = pirn_deferred_list(children, 2, 0)};
    pirn_spawn(wait_in_vain, &late);
    pirn_sleep_until(pirn_after(PIRN_SECOND));
    cr_assert_eq(late.code, PIRN_ETIMEDOUT);
}

/* Goal: a failure is not reported when the last wait for it has ended early: nobody is left to handle it. Method: waits
 * that end by a deadline or a strike, by await and await_take; the failure comes before the waiter's turn, after it, in
 * the time of a cancelled tasklet, and inside a list. */
Test(deferred_await, late_failure_after_the_last_wait_is_not_reported) {
    run_body(body_late_failures);
}

static void body_still_reported(void) {
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    cr_assert_eq(pirn_await(d, NULL, PIRN_NOW), PIRN_EAGAIN);
    (void)fail_with(d, PIRN_EDB);
    pirn_deferred_release(d);
    cr_assert_eq(reports, 1, "a look without a wait gives nothing up");
    d = pirn_deferred_create(NULL, NULL);
    cr_assert_eq(pirn_await(d, NULL, pirn_after(5)), PIRN_ETIMEDOUT);
    add(d, "later");
    (void)fail_with(d, PIRN_EDB);
    expect_noted("later=PIRN_EDB");
    pirn_deferred_release(d);
    cr_assert_eq(reports, 2, "the callback came after the wait, and passed the failure on");
    d = pirn_deferred_create(NULL, NULL);
    pirn_deferred *outer = pirn_deferred_create(NULL, NULL);
    cr_assert_eq(pirn_await(d, NULL, pirn_after(5)), PIRN_ETIMEDOUT);
    cr_assert_eq(pirn_deferred_chain(d, pirn_deferred_retain(outer)), 0);
    (void)fail_with(pirn_deferred_retain(d), PIRN_EDB);
    pirn_deferred_release(d);
    pirn_deferred_release(outer);
    cr_assert_eq(reports, 3, "it went to another, which nobody waited for");
}

/* Goal: a failure that nobody looked at is reported as before, also when somebody polled, or waited and others came
 * after. Method: three such; each is reported once. */
Test(deferred_await, failure_nobody_looked_at_is_still_reported) {
    run_with_reports(body_still_reported, 3);
}

/* ---- taking ---- */

static void body_take(void) {
    asker a = {.takes = true};
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    start(&a, "a", d);
    pirn_deferred *firers = d;
    fire_number(firers, 8);
    pirn_deferred_release(firers);
    cr_assert_eq(destroyed, 0, "it is the waiter's");
    let_others_run();
    expect_noted("a:8");
    cr_assert_eq(destroyed, 1);
}

/* Goal: a taken result is the caller's, whole, also when the deferred is gone before the tasklet runs.
 * Method: fire and release before the waiter's turn; count destructions. */
Test(deferred_await, taken_result_outlives_the_deferred) {
    run_body(body_take);
}

static void body_take_borrowed(void) {
    asker borrower = {0}, taker = {.takes = true};
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    start(&borrower, "borrower", d);
    start(&taker, "taker", d);
    fire_number(d, 2);
    let_others_run();
    expect_noted("borrower:2 taker:PIRN_EBUSY");
    pirn_result out;
    cr_assert_eq(pirn_await(d, &out, PIRN_NOW), 0);
    cr_assert_eq(out.value, number(2));
    cr_assert_eq(pirn_await_take(d, &out, PIRN_NOW), 0, "the last holder may take");
    cr_assert_eq(destroyed, 1, "the refusal had replaced it in the chain");
    pirn_result_drop(&out);
}

/* Goal: what somebody has borrowed is not taken from under him: PIRN_EBUSY.
 * Method: a borrower and a taker wait for the same deferred. */
Test(deferred_await, taker_does_not_rob_a_borrower) {
    pn_alone_use_virtual_clock(true);
    run_body(body_take_borrowed);
}

static void body_borrow_then_take(void) {
    pirn_deferred *d = pirn_deferred_succeed(number(2), destroy_value);
    pirn_result out;
    cr_assert_eq(pirn_await(d, &out, PIRN_NOW), 0);
    cr_assert_eq(pirn_await_take(d, &out, PIRN_NOW), 0);
    cr_assert_not_null(out.drop);
    cr_assert_eq(destroyed, 0);
    pirn_result_drop(&out);
    cr_assert_eq(destroyed, 1);
}

/* Goal: who borrowed and has the last hold may take what he borrowed.
 * Method: await, then take. */
Test(deferred_await, last_borrower_may_take) {
    run_body(body_borrow_then_take);
}

/* ---- cancel and throw ---- */

static void note_cancel(pirn_deferred *deferred, void *context) {
    (void)deferred;
    (void)context;
    note("canceller");
}

static void body_cancel_last(void) {
    asker a = {0}, b = {0};
    pirn_deferred *d = pirn_deferred_create(note_cancel, NULL);
    start(&a, "a", d);
    start(&b, "b", d);
    cr_assert_eq(pirn_cancel(a.tasklet), 0);
    let_others_run();
    expect_noted("a:PIRN_ECANCELED");
    cr_assert_not(pirn_deferred_finished(d), "b still waits");
    cr_assert_eq(pirn_throw(b.tasklet, PIRN_EHTTP, false), 0);
    let_others_run();
    expect_noted("canceller b:PIRN_EHTTP");
    cr_assert(pirn_deferred_finished(d));
    cr_assert_eq(fire_number(d, 1), PIRN_EALREADY);
    pirn_deferred_release(d);
}

/* Goal: a wait ended by cancel or throw cancels the deferred only when nobody else waits for it.
 * Method: two waiters, struck one after the other. */
Test(deferred_await, last_struck_waiter_cancels_the_deferred) {
    run_body(body_cancel_last);
}

static void body_cancel_consumed(void) {
    asker a = {0};
    pirn_deferred *d = pirn_deferred_create(note_cancel, NULL);
    pirn_deferred *outer = pirn_deferred_succeed(NULL, NULL);
    add_inner(outer, pirn_deferred_retain(d));
    start(&a, "a", d);
    pirn_cancel(a.tasklet);
    expect_noted("a:PIRN_ECANCELED");
    fire_number(d, 1);
    add(outer, "outer");
    expect_noted("outer=1");
    pirn_deferred_release(d);
    pirn_deferred_release(outer);
}

/* Goal: a deferred that waits for it is a consumer too: then a cancelled wait leaves it alone.
 * Method: an outer one waits as well. */
Test(deferred_await, struck_waiter_spares_what_others_wait_for) {
    run_body(body_cancel_consumed);
}

static int await_when_cancelled(void *arg) {
    pirn_deferred *d = arg;
    pirn_cancel(pirn_self());
    cr_assert_eq(pirn_await(d, NULL, PIRN_FOREVER), PIRN_ECANCELED);
    cr_assert_eq(pirn_await(d, NULL, PIRN_NOW), PIRN_ECANCELED, "what the deferred came to");
    pirn_result out;
    pirn_deferred *ready = pirn_deferred_succeed(number(1), destroy_value);
    cr_assert_eq(pirn_await_take(ready, &out, PIRN_FOREVER), PIRN_ECANCELED);
    cr_assert_eq(destroyed, 1);
    note("done");
    return 0;
}

static void body_cancel_before(void) {
    pirn_deferred *d = pirn_deferred_create(note_cancel, NULL);
    pirn_spawn(await_when_cancelled, d);
    let_others_run();
    expect_noted("canceller done");
    pirn_deferred_release(d);
}

/* Goal: a tasklet cancelled before it waits does not park, and the work that only it would have waited for is
 * cancelled.
 * Method: cancel oneself, then await. */
Test(deferred_await, cancelled_tasklet_does_not_start_to_wait) {
    run_body(body_cancel_before);
}

static void body_fire_then_cancel(void) {
    asker a = {.takes = true};
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    start(&a, "a", d);
    fire_number(d, 5);
    pirn_cancel(a.tasklet);
    let_others_run();
    expect_noted("a:5");
    cr_assert_eq(destroyed, 1);
    pirn_deferred_release(d);
}

/* Goal: the result that came before the cancel wins, and is not lost.
 * Method: fire, then cancel before the waiter runs. */
Test(deferred_await, result_before_the_cancel_wins) {
    run_body(body_fire_then_cancel);
}

static void body_of_nothing(void) {
    pirn_result out = {.status = 1};
    cr_assert_eq(pirn_await(NULL, &out, PIRN_FOREVER), PIRN_EINVAL);
    cr_assert_eq(out.status, 0);
    cr_assert_eq(pirn_await_take(NULL, &out, PIRN_FOREVER), PIRN_EINVAL);
    pirn_channel_close(NULL);
    pirn_channel_destroy(NULL);
    pirn_deferred_release(NULL);
}

/* Goal: what a create without memory gives may be handed on: the wait says so.
 * Method: NULL for a deferred, and for a channel that is closed and destroyed. */
Test(deferred_await, nothing_is_refused) {
    run_body(body_of_nothing);
}

/* ---- deadlock, wrong thread ---- */

static int main_deadlocked(void *arg) {
    (void)arg;
    pirn_deferred *d = pirn_deferred_create(note_cancel, NULL);
    pirn_result out;
    cr_assert_eq(pirn_await(d, &out, PIRN_FOREVER), PIRN_EDEADLK);
    cr_assert_not(pirn_deferred_finished(d));
    pirn_deferred_release(d);
    return 0;
}

/* Goal: main that waits for a deferred nobody will fire gets PIRN_EDEADLK and the report names the wait.
 * Method: nothing else runs; read the report. */
Test(deferred_await, wait_for_nobody_is_a_deadlock) {
    stderr_catch caught;
    stderr_catch_start(&caught);
    pirn_deferred_create(NULL, NULL); /* outside a runtime: NULL, with a line */
    int result = run_alone(main_deadlocked);
    char *text = stderr_catch_end(&caught);
    cr_assert_eq(result, 0);
    cr_assert(strstr(text, "\"main\" waits for deferred made at deferred_await_test.c:"), "%s", text);
    cr_assert(strstr(text, "a thread outside pirn_run()"), "%s", text);
    free(text);
}

static void body_external(void) {
    asker a[3] = {{0}};
    pirn_deferred *job = pirn_deferred_create(NULL, NULL);
    pn_deferred_set_external(job);
    cr_assert(pn_deferred_is_external(job));
    pirn_deferred *list = pirn_deferred_list(&(pirn_deferred *){pirn_deferred_retain(job)}, 1, 0);
    pirn_deferred *outer = pirn_deferred_create(NULL, NULL);
    start(&a[0], "job", job);
    start(&a[1], "list", list);
    start(&a[2], "outer", outer);
    cr_assert_eq(pn_report_parked(pn_sched_self(), 0, true), 1, "so far outer waits for pirn only");
    add_inner(outer, pirn_deferred_retain(list));
    cr_assert_eq(pirn_deferred_add_both(outer, forget, NULL), 0);
    fire_number(outer, 0);
    cr_assert_eq(pn_report_parked(pn_sched_self(), 0, true), 0);
    pirn_deferred_fire(job, number(1), NULL);
    let_others_run();
    expect_noted("outer:0 list:0 job:0"); /* each result moved on */
    pirn_deferred_release(outer);
    pirn_deferred_release(list);
    pirn_deferred_release(job);
}

/* Goal: who waits for something outside pirn is in no deadlock report, also through a list or an outer deferred, also
 * when that began after the wait did. Method: count the report's lines. */
Test(deferred_await, wait_for_the_outside_is_no_deadlock) {
    pn_alone_use_virtual_clock(true);
    run_body(body_external);
}

static void *await_on_thread(void *arg) {
    pirn_result out;
    cr_assert_eq(pirn_await(arg, &out, PIRN_FOREVER), PIRN_ETHREAD);
    cr_assert_eq(pirn_await(arg, &out, PIRN_NOW), PIRN_EAGAIN);
    cr_assert_eq(pirn_await_take(pirn_deferred_retain(arg), &out, PIRN_FOREVER), PIRN_ETHREAD);
    return NULL;
}

static void body_wrong_thread(void) {
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    stderr_catch caught;
    stderr_catch_start(&caught);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, await_on_thread, d), 0);
    pthread_join(thread, NULL);
    char *text = stderr_catch_end(&caught);
    cr_assert_eq(count_of(text, "\n"), 2, "%s", text);
    free(text);
    cr_assert_not(pirn_deferred_finished(d));
    pirn_deferred_release(d);
}

/* Goal: waiting on a thread that runs no tasklets is PIRN_ETHREAD, with a line, before any side effect; a look is
 * allowed.
 * Method: a real thread. */
Test(deferred_await, wait_on_another_thread_is_refused) {
    run_body(body_wrong_thread);
}
