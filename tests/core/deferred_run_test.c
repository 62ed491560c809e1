/* SPDX-License-Identifier: MIT
 *
 * What: chains of deferreds: callbacks that return deferreds, chainDeferred, cancelling through a chain, long chains on
 *       a flat stack, and results that were borrowed before somebody wants to take them. Cases of Twisted's
 *       test_defer.py are named.
 * Threads: one, in virtual time.
 */
#include "child.h"
#include "deferred.h"
#include "deferred_test.h"

/* ---- a callback returns a deferred ---- */

static void body_returns_deferred(void) {
    pirn_deferred *outer = pirn_deferred_create(NULL, NULL);
    pirn_deferred *inner = pirn_deferred_create(NULL, NULL);
    add_inner(outer, pirn_deferred_retain(inner));
    add(outer, "outer");
    fire_number(outer, 1);
    expect_noted("");
    cr_assert_eq(destroyed, 1, "the value that the inner one replaces");
    cr_assert_not(pirn_deferred_finished(outer));
    fire_number(inner, 2);
    expect_noted("outer=2");
    cr_assert(pirn_deferred_finished(outer));
    pirn_deferred_release(inner);
    cr_assert_eq(destroyed, 1, "the result went on to outer");
    pirn_deferred_release(outer);
    cr_assert_eq(destroyed, 2);
}

/* Goal: the next callback waits for the deferred that a callback returned and gets its result, which moves
 * (test_callbackReturnsDeferred). Method: fire the outer, then the inner. */
Test(deferred_run, returned_deferred_is_waited_for) {
    run_body(body_returns_deferred);
}

static void body_errback_returns(void) {
    pirn_deferred *outer = pirn_deferred_create(NULL, NULL);
    pirn_deferred *inner = pirn_deferred_create(NULL, NULL);
    cr_assert_eq(pirn_deferred_add_callbacks(outer, NULL, go_on_with_context, inner), 0);
    add(outer, "outer");
    fail_with(outer, PIRN_EDB);
    (void)pirn_deferred_retain(inner);
    fail_with(inner, PIRN_EDNS);
    pirn_deferred_release(inner);
    expect_noted("outer=PIRN_EDNS");
    give_up(outer);
}

/* Goal: an errback may return a deferred too, and a failing inner one fails the outer; its failure moved, so it is
 * reported nowhere (test_errbackReturnsDeferred). Method: fail both, handle the outer. */
Test(deferred_run, errback_may_return_a_deferred) {
    run_body(body_errback_returns);
}

static void body_sync_chain(void) {
    for (int fails = 0; fails < 2; fails++) {
        pirn_deferred *inner = pirn_deferred_create(NULL, NULL);
        pirn_deferred *outer = pirn_deferred_create(NULL, NULL);
        (void)(fails ? fail_with(inner, PIRN_EDB) : fire_number(inner, 3));
        add_inner(outer, pirn_deferred_retain(inner));
        fire_number(outer, 1);
        add(outer, "outer");
        add(inner, "inner");
        expect_noted(fails ? "outer=PIRN_EDB inner=0" : "outer=3 inner=0");
        pirn_deferred_release(inner);
        give_up(outer);
    }
    cr_assert_eq(destroyed, 3);
}

/* Goal: a returned deferred that had fired gives its result at once and goes on with nothing; a failure that moved so
 * is not reported for the inner one (test_synchronousImplicitChain, ...ErrorChain). Method: success and failure. */
Test(deferred_run, returned_deferred_that_fired_gives_its_result_at_once) {
    run_body(body_sync_chain);
}

static void body_order(void) {
    pirn_deferred *inner = pirn_deferred_create(NULL, NULL);
    pirn_deferred *outer = pirn_deferred_create(NULL, NULL);
    add(inner, "inner-before");
    add_inner(outer, pirn_deferred_retain(inner));
    add(outer, "outer-1");
    fire_number(outer, 0);
    add(inner, "inner-after");
    add(outer, "outer-2");
    fire_number(inner, 4);
    expect_noted("inner-before=4 outer-1=4 outer-2=4 inner-after=0");
    pirn_deferred_release(inner);
    pirn_deferred_release(outer);
}

/* Goal: the outer one goes on in its place in the inner's chain: after what was added before, and with all of its own
 * before what was added after, which gets nothing (test_innerCallbacksPreserved, continueCallbackNotFirst,
 * callbackOrderPreserved). Method: a log. */
Test(deferred_run, outer_goes_on_in_its_place_of_the_inner_chain) {
    run_body(body_order);
}

static void body_transitive(void) {
    pirn_deferred *first = pirn_deferred_create(NULL, NULL);
    pirn_deferred *second = pirn_deferred_create(NULL, NULL);
    pirn_deferred *third = pirn_deferred_create(NULL, NULL);
    add_inner(first, second);
    add_inner(second, third);
    add(first, "first");
    (void)pirn_deferred_retain(second);
    (void)pirn_deferred_retain(third);
    fire_number(first, 1);
    fire_number(second, 2);
    expect_noted("");
    fire_number(third, 3);
    expect_noted("first=3");
    pirn_deferred_release(third);
    pirn_deferred_release(second);
    pirn_deferred_release(first);
    cr_assert_eq(destroyed, 3);
}

/* Goal: the result of the innermost reaches the outermost (test_doubleAsynchronousImplicitChaining).
 * Method: three in a row, fired from the outside in. */
Test(deferred_run, result_goes_through_several_that_wait) {
    run_body(body_transitive);
}

static void body_paused_inner(void) {
    pirn_deferred *inner = pirn_deferred_create(NULL, NULL);
    pirn_deferred *outer = pirn_deferred_create(NULL, NULL);
    pirn_deferred_pause(inner);
    fire_number(inner, 5);
    add_inner(outer, pirn_deferred_retain(inner));
    add(outer, "outer");
    fire_number(outer, 0);
    expect_noted("");
    pirn_deferred_pause(outer);
    add(inner, "inner");
    pirn_deferred_unpause(inner);
    expect_noted("inner=0");
    pirn_deferred_unpause(outer);
    expect_noted("outer=5");
    pirn_deferred_release(inner);
    pirn_deferred_release(outer);
}

/* Goal: a paused inner one is waited for although it has fired; a paused outer one takes the result and stops, and does
 * not keep the inner from going on. Method: pause both, undo one after the other. */
Test(deferred_run, paused_ones_stop_only_themselves) {
    run_body(body_paused_inner);
}

/* Inner's own callback hands inner to outer while inner's chain still has one more to run. */
static pirn_deferred *fire_outer(void *outer, pirn_result *result) {
    (void)result;
    fire_number(outer, 0);
    note("fired");
    return NULL;
}

static void body_running_inner(void) {
    pirn_deferred *inner = pirn_deferred_create(NULL, NULL);
    pirn_deferred *outer = pirn_deferred_create(NULL, NULL);
    add_inner(outer, pirn_deferred_retain(inner));
    add(outer, "outer");
    pirn_deferred_add_both(inner, fire_outer, outer);
    add(inner, "inner");
    fire_number(inner, 9);
    expect_noted("fired inner=9 outer=9");
    pirn_deferred_release(inner);
    pirn_deferred_release(outer);
}

/* Goal: an inner one that is in the middle of its chain is waited for to the chain's end.
 * Method: the outer starts to wait inside one of the inner's callbacks. */
Test(deferred_run, running_inner_is_not_robbed) {
    run_body(body_running_inner);
}

/* ---- rings ---- */

static void body_ring(void) {
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    add_inner(d, pirn_deferred_retain(d));
    add(d, "itself");
    fire_number(d, 1);
    expect_noted("itself=PIRN_EDEADLK");
    give_up(d);

    pirn_deferred *a = pirn_deferred_create(NULL, NULL);
    pirn_deferred *b = pirn_deferred_create(NULL, NULL);
    add_inner(a, pirn_deferred_retain(b));
    add_inner(b, pirn_deferred_retain(a));
    add(b, "b");
    add(a, "a");
    fire_number(a, 1);
    fire_number(b, 2);
    expect_noted("b=PIRN_EDEADLK a=PIRN_EDEADLK");
    give_up(a);
    give_up(b);
}

/* Goal: a deferred that would wait for itself, directly or through another, fails with PIRN_EDEADLK instead of never
 * firing (test_circularChainWarning). Method: a ring of one and a ring of two; nothing may leak. */
Test(deferred_run, ring_of_deferreds_fails) {
    run_body(body_ring);
}

/* ---- chainDeferred ---- */

static void body_chain(void) {
    pirn_deferred *source = pirn_deferred_create(NULL, NULL);
    pirn_deferred *target = pirn_deferred_create(NULL, NULL);
    add(target, "target");
    (void)pirn_deferred_retain(source);
    cr_assert_eq(pirn_deferred_chain(source, pirn_deferred_retain(target)), 0);
    add(source, "source");
    fail_with(source, PIRN_EDB);
    expect_noted("target=PIRN_EDB source=0");
    pirn_deferred_release(source);
    give_up(target);
}

/* Goal: the result moves to the target, the source goes on with nothing, and a failure is reported for neither when the
 * target handles it (chainedErrorCleanup, errorClearedByChaining). Method: chain, fail the source. */
Test(deferred_run, chain_moves_the_result) {
    run_body(body_chain);
}

static void body_chain_late(void) {
    pirn_deferred *source = pirn_deferred_succeed(number(3), destroy_value);
    pirn_deferred *target = pirn_deferred_create(NULL, NULL);
    pirn_deferred_cancel(target);
    cr_assert_eq(pirn_deferred_chain(source, pirn_deferred_retain(target)), 0);
    cr_assert_eq(destroyed, 1, "the target was cancelled: a late result goes nowhere");
    pirn_deferred_release(target);
}

/* Goal: chaining one that has fired fires the target at once; a cancelled target swallows the result, destroyed once;
 * cancelling the target left the source alone. Method: all three in one. */
Test(deferred_run, chain_to_a_cancelled_target_destroys_the_result) {
    run_body(body_chain_late);
}

/* ---- cancel through a chain ---- */

static void note_cancel(pirn_deferred *deferred, void *name) {
    (void)deferred;
    note("cancel-%s", (const char *)name);
}

static void body_cancel_inner(void) {
    pirn_deferred *inner = pirn_deferred_create(note_cancel, "inner");
    pirn_deferred *middle = pirn_deferred_create(note_cancel, "middle");
    pirn_deferred *outer = pirn_deferred_create(note_cancel, "outer");
    add_inner(middle, pirn_deferred_retain(inner));
    add_inner(outer, middle);
    add(outer, "outer");
    fire_number(middle, 1);
    fire_number(outer, 2);
    cr_assert_eq(pirn_deferred_cancel(outer), 0);
    expect_noted("cancel-inner outer=PIRN_ECANCELED");
    pirn_deferred_release(inner);
    pirn_deferred_release(outer);
}

/* Goal: cancelling one that waits for another cancels the innermost, whose failure comes through.
 * Method: two levels; only the innermost canceller is asked. */
Test(deferred_run, cancel_reaches_the_innermost) {
    run_body(body_cancel_inner);
}

/* ---- long chains ---- */

static char *deepest;

static pirn_deferred *note_depth(void *context, pirn_result *result) {
    char here;
    (void)context;
    (void)result;
    if (!deepest || &here < deepest) {
        deepest = &here;
    }
    return NULL;
}

/* The depth of the stack used while the innermost of `count` deferreds, each waiting for the one before, fires. */
static void fire_chain_of(unsigned count) {
    pirn_deferred *innermost = pirn_deferred_create(NULL, NULL);
    pirn_deferred *last = pirn_deferred_retain(innermost);
    for (unsigned i = 0; i < count; i++) {
        pirn_deferred *outer = pirn_deferred_create(NULL, NULL);
        add_inner(outer, last);
        cr_assert_eq(pirn_deferred_add_both(outer, note_depth, NULL), 0);
        fire_number(outer, 0);
        last = outer;
    }
    fire_number(innermost, 1);
    pirn_deferred_release(innermost);
    add(last, "outermost");
    expect_noted("outermost=1");
    pirn_deferred_release(last);
}

static void body_long_chain(void) {
    fire_chain_of(2);
    char *shallow = deepest;
    deepest = NULL;
    fire_chain_of((unsigned)pirn_test_count(100000, 1000));
    cr_assert_leq(shallow - deepest, 512, "the stack grew by %td bytes", shallow - deepest);
    cr_assert_geq(shallow - deepest, -512);
}

/* Goal: the stack does not grow with the length of a chain of deferreds that wait for each other.
 * Method: 100,000 in a row; the address of a local in the callbacks differs by at most a frame from a chain of two. */
Test(deferred_run, long_chain_of_waiting_ones_is_flat) {
    run_body(body_long_chain);
}

static unsigned countdown;

/* Returns a deferred whose callback does the same, until the count is out. */
static pirn_deferred *return_one_more(void *context, pirn_result *result) {
    (void)context;
    (void)result;
    (void)note_depth(NULL, result);
    if (--countdown == 0) {
        return NULL;
    }
    pirn_deferred *next = pirn_deferred_create(NULL, NULL);
    cr_assert_eq(pirn_deferred_add_both(next, return_one_more, NULL), 0);
    pirn_deferred_pause(next); /* so that it has to be waited for */
    fire_number(next, (intptr_t)countdown);
    pirn_deferred_unpause(next);
    return next;
}

static void body_ready_chain(void) {
    const unsigned count = 100;
    countdown = count;
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    cr_assert_eq(pirn_deferred_add_both(d, return_one_more, NULL), 0);
    unsigned before = destroyed;
    fire_number(d, 0);
    cr_assert_eq(countdown, 0);
    pirn_deferred_release(d);
    cr_assert_eq(destroyed - before, count, "each value is destroyed once");
}

/* Goal: callbacks that return ready deferreds whose callbacks do so again lose and double no result.
 * Method: 100 levels, each a call of the user's inside a call of the user's; count the destructions. */
Test(deferred_run, nested_ready_ones_keep_every_result_once) {
    pn_alone_use_virtual_clock(true);
    run_body(body_ready_chain);
}

/* ---- results that were borrowed ---- */

static pirn_deferred *note_borrowed(void *context, pirn_result *result) {
    (void)context;
    note("%s%s", word_of(result), result->drop ? "+drop" : "");
    result->value = number(50);
    return NULL;
}

static void body_late_on_borrowed(void) {
    pirn_deferred *d = pirn_deferred_succeed(number(5), destroy_value);
    pirn_result out;
    cr_assert_eq(pirn_await(d, &out, PIRN_NOW), 0);
    cr_assert_eq(pirn_deferred_add_both(d, note_borrowed, NULL), 0);
    add(d, "next");
    expect_noted("5 next=50");
    cr_assert_eq(pirn_await(d, &out, PIRN_NOW), 0);
    cr_assert_eq(out.value, number(5), "what was published stays");
    pirn_deferred_release(d);
    cr_assert_eq(destroyed, 1);

    d = pirn_deferred_fail_now(pirn_failure_make(PIRN_EDB, "borrowed"));
    cr_assert_eq(pirn_await(d, &out, PIRN_NOW), PIRN_EDB);
    cr_assert_eq(pirn_deferred_add_callbacks(d, NULL, recover, "late"), 0);
    cr_assert_str_eq(pirn_failure_message(out.failure), "borrowed");
    expect_noted("late:PIRN_EDB");
    pirn_deferred_release(d);
}

/* Goal: after an await, callbacks added later see the result without its destructor and may replace it for each other;
 * what the await borrowed stays. Method: late callbacks on a success and on a failure that they drop. */
Test(deferred_run, late_callback_on_a_borrowed_result_sees_a_view) {
    run_body(body_late_on_borrowed);
}

static void body_move_borrowed(void) {
    pirn_deferred *d = pirn_deferred_succeed(number(5), destroy_value);
    pirn_result out;
    cr_assert_eq(pirn_await(d, &out, PIRN_NOW), 0);
    pirn_deferred *outer = pirn_deferred_succeed(NULL, NULL);
    add_inner(outer, pirn_deferred_retain(d));
    add(outer, "outer");
    give_up(outer);
    expect_noted("outer=PIRN_EBUSY");
    cr_assert_eq(out.value, number(5));
    cr_assert_eq(destroyed, 0);

    outer = pirn_deferred_create(NULL, NULL);
    cr_assert_eq(pirn_deferred_chain(d, pirn_deferred_retain(outer)), 0);
    add(outer, "nothing");
    expect_noted("nothing=0");
    pirn_deferred_release(outer);
    cr_assert_eq(destroyed, 1);
}

/* Goal: a borrowed value that somebody must destroy is not taken away from its borrowers: PIRN_EBUSY. After that
 * refusal the chain holds nothing. Method: return it, and then chain it. */
Test(deferred_run, borrowed_result_is_not_taken_from_its_borrowers) {
    run_body(body_move_borrowed);
}

static void body_move_sole(void) {
    for (int viewed = 0; viewed < 2; viewed++) {
        pirn_deferred *d = pirn_deferred_succeed(number(5), destroy_value);
        cr_assert_eq(pirn_await(d, NULL, PIRN_NOW), 0);
        if (viewed) {
            add(d, "viewed");
        }
        pirn_deferred *outer = pirn_deferred_succeed(NULL, NULL);
        add_inner(outer, d);
        add(outer, "outer");
        cr_assert_eq(destroyed, (unsigned)viewed);
        pirn_deferred_release(outer);
        cr_assert_eq(destroyed, (unsigned)viewed + 1);
    }
    expect_noted("outer=5 viewed=5 outer=5");
    pirn_deferred *plain = pirn_deferred_succeed(number(6), NULL);
    cr_assert_eq(pirn_await(plain, NULL, PIRN_NOW), 0);
    pirn_deferred *outer = pirn_deferred_succeed(NULL, NULL);
    add_inner(outer, pirn_deferred_retain(plain));
    add(outer, "plain");
    expect_noted("plain=6");
    pirn_deferred_release(outer);
    pirn_deferred_release(plain);
}

/* Goal: a borrowed result moves all the same when the mover has the last hold, or when nothing must be destroyed.
 * Method: with and without a view made before, and a value without destructor. */
Test(deferred_run, last_holder_may_take_a_borrowed_result) {
    run_body(body_move_sole);
}

/* ---- rows of releases ---- */

static void release_deferred(void *value) {
    pirn_deferred_release(value);
}

static void body_owns_deferred(void) {
    pirn_deferred *inner = pirn_deferred_succeed(number(1), destroy_value);
    pirn_deferred *outer = pirn_deferred_succeed(inner, release_deferred);
    pirn_deferred_release(outer);
    cr_assert_eq(destroyed, 1);
}

/* Goal: a value may itself be a hold on a deferred.
 * Method: destroying the outer destroys the inner. */
Test(deferred_run, value_may_be_a_hold_on_another) {
    run_body(body_owns_deferred);
}

/* ---- a callback's stack ---- */

static volatile unsigned deeper_than_any = 1u << 30;

static __attribute__((noinline)) unsigned recurse(unsigned depth) {
    volatile char frame[256];
    frame[0] = (char)depth;
    return depth < deeper_than_any ? recurse(depth + 1) + (unsigned)frame[0] : 0;
}

static pirn_deferred *recurse_for_ever(void *context, pirn_result *result) {
    (void)context;
    result->value = number((intptr_t)recurse(0));
    return NULL;
}

static void body_overflow(void) {
    pirn_set_name("fires it");
    pirn_deferred *d = pirn_deferred_create(NULL, NULL);
    cr_assert_eq(pirn_deferred_add_both(d, recurse_for_ever, NULL), 0);
    fire_number(d, 1);
}

static void overflow_in_child(void) {
    run_body(body_overflow);
}

/* Goal: a callback that overflows the stack it borrows is told by the name of the tasklet whose stack that is.
 * Method: a child does it. */
Test(deferred_run, overflow_in_a_callback_names_the_tasklet) {
    child_end end = run_child(overflow_in_child);
    expect_said(&end, "\"fires it\" overflowed its 64 KiB stack");
    free(end.text);
}
