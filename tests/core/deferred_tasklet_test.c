/* SPDX-License-Identifier: MIT
 *
 * What: the first seed's deferred_tasklet and blocking_tasklet, with the regressions of semantics found in it: an error
 *       reaches the waiter, a killed worker is PIRN_ECANCELED, nothing is started before the guards.
 * Threads: one, in virtual time.
 */
#include "deferred.h"
#include "deferred_test.h"

static unsigned started;

static int give_number(void *arg, pirn_result *out) {
    started++;
    out->value = arg;
    out->drop = destroy_value;
    return 0;
}

static int sleep_then_give(void *arg, pirn_result *out) {
    started++;
    int error = pirn_sleep_until(pirn_after(PIRN_SECOND));
    note("slept:%s", pirn_error_name(error));
    if (error == PIRN_ECANCELED) {
        return error;
    }
    out->value = arg;
    out->drop = destroy_value;
    return 0;
}

static int fail_with_words(void *arg, pirn_result *out) {
    out->value = arg;
    out->drop = destroy_value; /* half made: destroyed                                                    */
    return pirn_fail(PIRN_EDB, "row %d has no name", 4);
}

/* ---- deferred_tasklet ---- */

static void body_runs(void) {
    pirn_deferred *d = pirn_deferred_tasklet(give_number, number(5));
    cr_assert_eq(started, 0, "it has its turn later");
    add(d, "got");
    let_others_run();
    expect_noted("got=5");
    pirn_deferred_release(d);
    cr_assert_eq(destroyed, 1);
}

/* Goal: the function runs in a tasklet of its own and the deferred fires with its result.
 * Method: log, count. */
Test(deferred_tasklet, result_fires_the_deferred) {
    run_body(body_runs);
}

static void body_fails(void) {
    pirn_deferred *d = pirn_deferred_tasklet(fail_with_words, number(5));
    pirn_result out;
    cr_assert_eq(pirn_await(d, &out, PIRN_FOREVER), PIRN_EDB);
    cr_assert_str_eq(pirn_failure_message(out.failure), "row 4 has no name");
    cr_assert_eq(destroyed, 1);
    pirn_deferred_release(d);
}

/* Goal: an error reaches the waiter with its words, and is logged nowhere as unhandled (the seed's wrapper never
 * fired).
 * Method: pirn_fail in the function; the half-made value is destroyed. */
Test(deferred_tasklet, error_reaches_the_waiter) {
    run_body(body_fails);
}

static int give_five(void *arg, pirn_result *out) {
    (void)arg, (void)out;
    return 5;
}

static pirn_deferred *leave_seven(void *context, pirn_result *result) {
    (void)context;
    pirn_result_drop(result);
    result->status = 7;
    return NULL;
}

static void expect_refused(pirn_deferred *d, const char *words) {
    pirn_result out;
    cr_assert_eq(pirn_await(d, &out, PIRN_FOREVER), PIRN_EFAILED);
    cr_assert_str_eq(pirn_failure_message(out.failure), words);
    pirn_deferred_release(d);
}

static void body_positive(void) {
    expect_refused(pirn_deferred_tasklet(give_five, NULL), "its status was 5: 0 or a negative code is wanted");
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    pirn_result six = {.status = 6};
    cr_assert_eq(pirn_deferred_settle(d, &six), 0);
    expect_refused(d, "its status was 6: 0 or a negative code is wanted");
    d = pirn_deferred_create(NULL, NULL);
    cr_assert_eq(pirn_deferred_add_both(d, leave_seven, NULL), 0);
    cr_assert_eq(pirn_deferred_fire(d, NULL, NULL), 0);
    expect_refused(d, "its status was 7: 0 or a negative code is wanted");
}

/* Goal: a positive code, which nobody defined, is a failure that says so and not the end of the program.
 * Method: one returned by a body, one settled with, one left by a callback. */
Test(deferred_tasklet, positive_code_is_a_failure) {
    run_body(body_positive);
}

static void body_unhandled(void) {
    pirn_deferred *d = pirn_deferred_tasklet(fail_with_words, NULL);
    let_others_run();
    cr_assert_eq(reports, 0);
    pirn_deferred_release(d);
    cr_assert(strstr(last_report, "created at deferred_tasklet_test.c:"), "%s", last_report);
    cr_assert(strstr(last_report, "row 4 has no name"), "%s", last_report);
}

/* Goal: an error that nobody looks at is reported once, by the deferred, with where the tasklet was started.
 * Method: release without looking. */
Test(deferred_tasklet, error_nobody_sees_is_reported_once) {
    run_with_reports(body_unhandled, 1);
}

static void body_cancel(void) {
    pirn_deferred *d = pirn_deferred_tasklet(sleep_then_give, number(1));
    add(d, "got");
    let_others_run();
    cr_assert_eq(pirn_deferred_cancel(d), 0);
    expect_noted("");
    let_others_run();
    expect_noted("slept:PIRN_ECANCELED got=PIRN_ECANCELED");
    pirn_deferred_release(d);
}

/* Goal: cancelling the deferred interrupts the body's wait, and it fires when the body has ended
 * (test_inlinecb AsynchronousCancellation). Method: log the order. */
Test(deferred_tasklet, cancel_interrupts_the_body) {
    run_body(body_cancel);
}

static int translate_cancel(void *arg, pirn_result *out) {
    (void)pirn_sleep_until(PIRN_FOREVER);
    out->value = arg;
    return 0;
}

static void body_translate(void) {
    pirn_deferred *d = pirn_deferred_tasklet(translate_cancel, number(9));
    let_others_run();
    pirn_deferred_cancel(d);
    pirn_deferred_cancel(d);
    pirn_result out;
    cr_assert_eq(pirn_await(d, &out, PIRN_FOREVER), 0);
    cr_assert_eq(out.value, number(9));
    pirn_deferred_release(d);
}

/* Goal: the body may catch its cancellation and give a result (test_inlinecb ErrorToSuccess).
 * Method: await the result of a cancelled one. */
Test(deferred_tasklet, body_may_translate_its_cancellation) {
    run_body(body_translate);
}

static int give_after_a_turn(void *arg, pirn_result *out) {
    pirn_yield();
    return give_number(arg, out);
}

static int ask_and_give(void *arg, pirn_result *out) {
    pirn_yield();
    note("cancelled:%d", pirn_cancelled());
    return give_number(arg, out);
}

static void body_cancel_unlearned(void) {
    pirn_deferred *d = pirn_deferred_tasklet(give_after_a_turn, number(1));
    add(d, "got");
    pirn_yield();
    cr_assert_eq(pirn_deferred_cancel(d), 0);
    expect_noted("");
    let_others_run();
    expect_noted("got=PIRN_ECANCELED");
    cr_assert(started == 1 && destroyed == 1);
    pirn_deferred_release(d);
    d = pirn_deferred_tasklet(ask_and_give, number(2));
    add(d, "got");
    pirn_yield();
    cr_assert_eq(pirn_deferred_cancel(d), 0);
    let_others_run();
    expect_noted("cancelled:1 got=2");
    pirn_deferred_release(d);
}

/* Goal: the success of a body that ended without learning of the cancel is no success; one that asked has decided.
 * Method: bodies that are runnable when they are cancelled and never wait again, without and with pirn_cancelled(). */
Test(deferred_tasklet, success_after_an_unlearned_cancel_is_destroyed) {
    run_body(body_cancel_unlearned);
}

static void body_cancel_unstarted(void) {
    pirn_deferred *d = pirn_deferred_tasklet(give_number, number(1));
    add(d, "got");
    pirn_deferred_cancel(d);
    expect_noted("got=PIRN_ECANCELED");
    let_others_run();
    cr_assert_eq(started, 0);
    pirn_deferred_release(d);
}

/* Goal: one cancelled before its first turn never runs, and its waiter hears of it.
 * Method: cancel at once. */
Test(deferred_tasklet, cancel_before_the_first_turn_ends_it) {
    run_body(body_cancel_unstarted);
}

static pirn_tasklet worker;

static int tell_who(void *arg, pirn_result *out) {
    worker = pirn_self();
    return sleep_then_give(arg, out);
}

static void body_killed(void) {
    pirn_deferred *d = pirn_deferred_tasklet(tell_who, NULL);
    let_others_run();
    cr_assert_eq(pirn_cancel(worker), 0);
    cr_assert_eq(pirn_await(d, NULL, PIRN_FOREVER), PIRN_ECANCELED);
    expect_noted("slept:PIRN_ECANCELED");
    pirn_deferred_release(d);
}

/* Goal: a killed worker is PIRN_ECANCELED to its waiter, no success and no hang (the seed's __filter).
 * Method: cancel the tasklet itself. */
Test(deferred_tasklet, killed_worker_is_a_cancellation) {
    run_body(body_killed);
}

static pirn_deferred *start_in_callback(void *context, pirn_result *result) {
    (void)context;
    (void)result;
    return pirn_deferred_tasklet(sleep_then_give, number(6));
}

static void body_from_callback(void) {
    pirn_deferred *d = pirn_deferred_succeed(NULL, NULL);
    pirn_deferred_add_both(d, start_in_callback, NULL);
    pirn_result out;
    cr_assert_eq(pirn_await_take(d, &out, PIRN_FOREVER), 0);
    cr_assert_eq(out.value, number(6));
    pirn_result_drop(&out);
    expect_noted("slept:PIRN_OK");
}

/* Goal: a callback, which must not wait, can go on with a tasklet that may.
 * Method: return its deferred. */
Test(deferred_tasklet, callback_may_go_on_with_a_tasklet) {
    run_body(body_from_callback);
}

/* ---- blocking_tasklet ---- */

static void body_blocking(void) {
    pirn_result out;
    cr_assert_eq(pirn_blocking_tasklet(sleep_then_give, number(3), &out, PIRN_FOREVER), 0);
    cr_assert_eq(out.value, number(3));
    pirn_result_drop(&out);
    cr_assert_eq(pirn_blocking_tasklet(fail_with_words, NULL, &out, PIRN_FOREVER), PIRN_EDB);
    cr_assert_str_eq(pirn_failure_message(out.failure), "row 4 has no name");
    pirn_result_drop(&out);
    cr_assert_eq(pirn_blocking_tasklet(give_number, number(3), NULL, PIRN_FOREVER), 0);
    cr_assert_eq(destroyed, 3);
    expect_noted("slept:PIRN_OK");
}

/* Goal: the caller waits and owns what came: result or failure.
 * Method: one of each; without `out` the result is destroyed. */
Test(deferred_tasklet, blocking_gives_the_result_to_its_caller) {
    run_body(body_blocking);
}

static void body_blocking_deadline(void) {
    pirn_result out;
    cr_assert_eq(pirn_blocking_tasklet(sleep_then_give, number(1), &out, pirn_after(5)), PIRN_ETIMEDOUT);
    cr_assert(!out.value && out.status == 0);
    let_others_run();
    expect_noted("slept:PIRN_ECANCELED");
    cr_assert_eq(pirn_blocking_tasklet(give_number, number(1), &out, PIRN_NOW), PIRN_EAGAIN);
    let_others_run();
    cr_assert_eq(started, 1, "nothing was started that nobody could wait for");
}

/* Goal: at the deadline the tasklet is cancelled and its late result destroyed; PIRN_NOW starts nothing.
 * Method: both, in virtual time. */
Test(deferred_tasklet, blocking_that_times_out_cancels_its_tasklet) {
    run_body(body_blocking_deadline);
}

/* ---- the function's argument may stand on its caller's stack ---- */

typedef struct borrowed_arg {
    int turns_to_end, result; /* after its cancel                                                         */
    bool ended;
} borrowed_arg;

static int end_slowly(void *arg, pirn_result *out) {
    borrowed_arg *borrowed = arg;
    int error = pirn_sleep_until(pirn_after(PIRN_SECOND));
    for (int i = 0; i < borrowed->turns_to_end; i++) {
        pirn_yield();
    }
    pirn_shield_enter();
    pirn_sleep_until(pirn_after(PIRN_SECOND));
    pirn_shield_leave();
    borrowed->ended = true;
    out->value = number(1);
    out->drop = destroy_value;
    return borrowed->result == 0 ? 0 : pirn_result_fail(out, borrowed->result, "late: %s", pirn_error_name(error));
}

static int block_with_deadline(void *arg) {
    pirn_time deadline = *(pirn_time *)arg;
    static const int results[] = {0, PIRN_EHTTP, PIRN_ETIMEDOUT};
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        borrowed_arg borrowed = {.turns_to_end = (int)i, .result = results[i]};
        pirn_result out = {.value = &out};
        int error =
            pirn_blocking_tasklet(end_slowly, &borrowed, &out, deadline == PIRN_FOREVER ? deadline : pirn_after(5));
        note("%s:%d", pirn_error_name(error), borrowed.ended);
        cr_assert(!out.value && out.status == 0);
    }
    return 0;
}

static void body_blocking_owns_stack(void) {
    pirn_time limited = 5, unlimited = PIRN_FOREVER;
    (void)block_with_deadline(&limited);
    expect_noted("PIRN_ETIMEDOUT:1 PIRN_ETIMEDOUT:1 PIRN_ETIMEDOUT:1");
    static const int codes[] = {PIRN_EBUSY, PIRN_ETIMEDOUT, PIRN_ECANCELED, PIRN_EAGAIN};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        pirn_tasklet blocked = spawn_joinable(block_with_deadline, &unlimited);
        for (unsigned n = 0; n < 3; n++) {
            pirn_sleep_until(pirn_after(3));
            cr_assert_eq(pirn_throw(blocked, codes[i], n & 1), 0);
            let_others_run();
            pirn_sleep_until(pirn_after(2 * PIRN_SECOND));
        }
        cr_assert_eq(pirn_join(blocked, NULL, pirn_after(PIRN_SECOND)), 0);
        char expected[100];
        const char *name = pirn_error_name(codes[i]);
        snprintf(expected, sizeof expected, "%s:1 %s:1 %s:1", name, name, name);
        expect_noted(expected);
    }
    pirn_tasklet blocked = spawn_joinable(block_with_deadline, &unlimited);
    pirn_sleep_until(pirn_after(3));
    cr_assert_eq(pirn_cancel(blocked), 0);
    cr_assert_eq(pirn_join(blocked, NULL, PIRN_FOREVER), 0);
    expect_noted("PIRN_ECANCELED:1 PIRN_ECANCELED:0 PIRN_ECANCELED:0"); /* the last two start nothing */
    cr_assert_eq(destroyed, 3 * (1 + sizeof codes / sizeof *codes) + 1, "each late value, once");
}

/* Goal: pirn_blocking_tasklet returns only when its function has ended, so its argument may be its caller's: after a
 * deadline, a throw of any code, and a cancel, from a function that takes many turns and a shielded sleep to end; a
 * late failure is not reported, a late success destroyed once. Method: the argument says whether the function has
 * ended. */
Test(deferred_tasklet, blocking_waits_for_the_end_of_its_function) {
    run_body(body_blocking_owns_stack);
}

static pirn_deferred *block_in_callback(void *context, pirn_result *result) {
    (void)context;
    (void)result;
    pirn_result out;
    cr_assert_eq(pirn_blocking_tasklet(give_number, NULL, &out, PIRN_FOREVER), PIRN_ETHREAD);
    return NULL;
}

static void body_guard(void) {
    pirn_deferred *d = pirn_deferred_succeed(NULL, NULL);
    stderr_catch caught;
    stderr_catch_start(&caught);
    pirn_deferred_add_both(d, block_in_callback, NULL);
    char *text = stderr_catch_end(&caught);
    cr_assert_eq(count_of(text, "pirn_blocking_tasklet() would stop"), 1, "%s", text);
    free(text);
    let_others_run();
    cr_assert_eq(started, 0);
    pirn_deferred_release(d);
}

/* Goal: in a callback the guard comes before anything is started (the seed started the function, then raised).
 * Method: a callback that tries. */
Test(deferred_tasklet, blocking_in_a_callback_starts_nothing) {
    run_body(body_guard);
}
