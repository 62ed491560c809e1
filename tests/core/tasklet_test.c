/* SPDX-License-Identifier: MIT
 *
 * What: how a tasklet is struck and how it ends: cancel now and pending, throw, the shield, clean-up handlers. The
 *       orders are those of Stackless, whose kill runs its target at once, with its clean-up.
 * Threads: one, in virtual time.
 */
#include "core_test.h"

static pirn_channel *channel;

static int return_number(void *arg) {
    return (int)(intptr_t)arg;
}

static int note_name(void *arg) {
    note("%s", (const char *)arg);
    return 0;
}

/* Receive for ever on `channel` and note what came of it. */
static int receive_and_note(void *arg) {
    int value = 0;
    int error = pirn_recv(channel, &value, PIRN_FOREVER);
    note("%s:%s", (const char *)arg, code_name(error));
    return error;
}

static void open_channel(void) {
    channel = pirn_channel_create(sizeof(int), 0);
    cr_assert_not_null(channel);
}

/* ---- cancel ---- */

static int main_cancel_now(void *arg) {
    (void)arg;
    open_channel();
    pirn_tasklet parked = pirn_spawn(receive_and_note, "parked");
    let_others_run();
    pirn_spawn(note_name, "bystander");
    cr_assert_eq(pirn_cancel(parked), 0);
    note("main");
    cr_assert_eq(pirn_channel_balance(channel), 0);
    expect_dead(parked);
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: cancel runs its target at once: it has ended when cancel returns, and bystanders have not run.
 * Method: a parked receiver, a bystander queued before the cancel. */
Test(tasklet, cancel_runs_the_target_now) {
    cr_assert_eq(run_alone(main_cancel_now), 0);
    expect_noted("parked:PIRN_ECANCELED main bystander");
}

static int cleanup_yields(void *arg) {
    receive_and_note(arg);
    pirn_yield();
    note("%s:cleaned", (const char *)arg);
    return 0;
}

static int main_cancel_yielding(void *arg) {
    (void)arg;
    open_channel();
    pirn_tasklet parked = pirn_spawn(cleanup_yields, "T");
    let_others_run();
    pirn_spawn(note_name, "bystander");
    cr_assert_eq(pirn_cancel(parked), 0);
    note("main");
    cr_assert_eq(pirn_cancel(parked), 0, "still alive: twice is harmless");
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: a target whose clean-up yields is still alive when cancel returns; a second cancel runs it on at once.
 * Method: yield in the target after its wait ended. */
Test(tasklet, cancel_returns_when_the_target_yields) {
    cr_assert_eq(run_alone(main_cancel_yielding), 0);
    expect_noted("T:PIRN_ECANCELED main T:cleaned bystander");
}

static int main_cancel_pending(void *arg) {
    (void)arg;
    open_channel();
    pirn_tasklet parked = pirn_spawn(receive_and_note, "parked");
    let_others_run();
    pirn_spawn(note_name, "bystander");
    cr_assert_eq(pirn_cancel_pending(parked), 0);
    cr_assert_eq(pirn_channel_balance(channel), 0, "out of the queue at once");
    pirn_spawn(note_name, "later");
    note("main");
    let_others_run();
    expect_dead(parked);
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: a pending cancel makes its target ready at the end of the queue; it leaves the channel at once.
 * Method: bystanders before and behind it. */
Test(tasklet, cancel_pending_waits_for_its_turn) {
    cr_assert_eq(run_alone(main_cancel_pending), 0);
    expect_noted("main bystander parked:PIRN_ECANCELED later");
}

static int main_cancel_new(void *arg) {
    pirn_tasklet unstarted = spawn_joinable(note_name, "must not run");
    cr_assert_eq(arg ? pirn_cancel_pending(unstarted) : pirn_cancel(unstarted), 0);
    let_others_run();
    int result = 0;
    cr_assert_eq(pirn_join(unstarted, &result, PIRN_NOW), 0);
    cr_assert_eq(result, PIRN_ECANCELED);
    cr_assert_eq(pn_sched_self()->counts.failed, 0, "cancellation is no failure");
    cr_assert_eq(pn_sched_self()->stacks.in_use, 1, "it never had a stack");
    return 0;
}

/* Goal: a tasklet cancelled before its first turn never runs; its joiner hears PIRN_ECANCELED.
 * Method: cancel right after spawn, now and pending. */
Test(tasklet, canceled_before_its_turn_never_runs) {
    pn_alone_use_virtual_clock(true);
    cr_assert_eq(pn_alone_run(main_cancel_new, NULL), 0);
    cr_assert_eq(pn_alone_run(main_cancel_new, &channel), 0);
    expect_noted("");
}

static int every_wait_is_canceled(void *arg) {
    (void)arg;
    int value = 0;
    pirn_case one = {.channel = channel, .direction = PIRN_RECV, .elem = &value};
    cr_assert_not(pirn_cancelled());
    cr_assert_eq(pirn_recv(channel, &value, PIRN_FOREVER), PIRN_ECANCELED);
    for (int round = 0; round < 3; round++) {
        cr_assert(pirn_cancelled());
        cr_assert_eq(pirn_recv(channel, &value, PIRN_FOREVER), PIRN_ECANCELED);
        cr_assert_eq(pirn_send(channel, &value, PIRN_FOREVER), PIRN_ECANCELED);
        cr_assert_eq(pirn_select(&one, 1, PIRN_FOREVER), PIRN_ECANCELED);
        cr_assert_eq(pirn_sleep_until(pirn_after(PIRN_SECOND)), PIRN_ECANCELED);
        pirn_tasklet child = spawn_joinable(return_number, NULL);
        cr_assert_eq(pirn_join(child, NULL, PIRN_FOREVER), PIRN_ECANCELED);
        cr_assert_eq(pirn_release(child), 0);
        pirn_yield();
    }
    cr_assert_eq(pirn_channel_balance(channel), 0);
    note("ended");
    return 0;
}

static int main_sticky(void *arg) {
    (void)arg;
    open_channel();
    pirn_time before = pirn_now();
    pirn_tasklet target = pirn_spawn(every_wait_is_canceled, NULL);
    let_others_run();
    cr_assert_eq(pirn_cancel(target), 0);
    let_others_run();
    cr_assert_eq(pirn_now(), before, "no wait of the cancelled one took time");
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: cancellation is sticky: every parking call of the tasklet says PIRN_ECANCELED, again and again, and leaves no
 *       trace in any queue. Yield does not notice it.
 * Method: all parking calls of core, three times over. */
Test(tasklet, cancellation_is_sticky) {
    cr_assert_eq(run_alone(main_sticky), 0);
    expect_noted("ended");
}

static int ready_value_does_not_tempt(void *arg) {
    (void)arg;
    int value = 5;
    pirn_channel *full = pirn_channel_create(sizeof(int), 1);
    cr_assert_eq(pirn_send(full, &value, PIRN_FOREVER), 0);
    cr_assert_eq(pirn_cancel(pirn_self()), 0);
    note("still running");
    cr_assert_eq(pirn_recv(full, &value, PIRN_FOREVER), PIRN_ECANCELED);
    cr_assert_eq(pirn_channel_length(full), 1, "before any side effect");
    pirn_channel_destroy(full);
    return 0;
}

/* Goal: cancelling oneself takes effect at the next parking call, before that call does anything.
 * Method: cancel oneself with a value ready to receive: it stays in the buffer. */
Test(tasklet, self_cancel_strikes_at_the_next_wait) {
    cr_assert_eq(run_alone(ready_value_does_not_tempt), 0);
    expect_noted("still running");
}

static pirn_tasklet nested[3];

static int cancel_next(void *arg) {
    int index = (int)(intptr_t)arg, value = 0;
    int error = pirn_recv(channel, &value, PIRN_FOREVER);
    note("%d:%s", index, code_name(error));
    if (index < 2) {
        cr_assert_eq(pirn_cancel(nested[index + 1]), 0);
    }
    note("%d:end", index);
    return 0;
}

static int main_cancel_nested(void *arg) {
    (void)arg;
    open_channel();
    for (intptr_t i = 0; i < 3; i++) {
        nested[i] = pirn_spawn(cancel_next, (void *)i);
    }
    let_others_run();
    cr_assert_eq(pirn_cancel(nested[0]), 0);
    note("main");
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: cancels nest: each target runs inside the cancel that struck it, and the cancellers go on in reverse.
 * Method: 0 cancels 1, which cancels 2. */
Test(tasklet, cancels_nest) {
    cr_assert_eq(run_alone(main_cancel_nested), 0);
    expect_noted("0:PIRN_ECANCELED 1:PIRN_ECANCELED 2:PIRN_ECANCELED 2:end 1:end 0:end main");
}

/* ---- throw ---- */

static int wait_again(void *arg) {
    int value = 0;
    int error = pirn_recv(channel, &value, PIRN_FOREVER);
    note("%s:%s", (const char *)arg, code_name(error));
    error = pirn_recv(channel, &value, PIRN_FOREVER);
    note("%s:%s=%d", (const char *)arg, code_name(error), value);
    return 0;
}

static int main_throw(void *arg) {
    (void)arg;
    open_channel();
    pirn_tasklet a = pirn_spawn(wait_again, "A");
    pirn_spawn(wait_again, "B");
    let_others_run();
    cr_assert_eq(pirn_throw(a, PIRN_EDB, false), 0);
    note("main");
    cr_assert_eq(pirn_channel_balance(channel), -2, "it waits again, behind the other");
    for (int value = 1; value <= 3; value++) {
        cr_assert_eq(pirn_send(channel, &value, PIRN_FOREVER), 0);
    }
    cr_assert_not(pirn_cancelled());
    let_others_run();
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: a throw strikes once: the target may catch it and wait again, and then stands at the back of the queue.
 * Method: A and B wait, A is struck; three values go to B, A, B. */
Test(tasklet, throw_strikes_once_and_the_target_waits_at_the_back) {
    cr_assert_eq(run_alone(main_throw), 0);
    expect_noted("A:PIRN_EDB main B:0 A:0=2 B:0=3");
}

static int main_throw_pending(void *arg) {
    (void)arg;
    open_channel();
    pirn_tasklet a = pirn_spawn(receive_and_note, "A");
    let_others_run();
    pirn_spawn(note_name, "bystander");
    cr_assert_eq(pirn_throw(a, -EIO, true), 0);
    cr_assert_eq(pirn_channel_balance(channel), 0);
    note("main");
    let_others_run();
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: a pending throw unlinks its target at once and lets it run in its place; any negative code passes through.
 * Method: throw -EIO with a bystander before it. */
Test(tasklet, throw_pending_waits_for_its_turn) {
    stderr_catch caught; /* A ends with that error, unhandled */
    stderr_catch_start(&caught);
    int result = run_alone(main_throw_pending);
    free(stderr_catch_end(&caught));
    cr_assert_eq(result, 0);
    expect_noted("main bystander A:EIO");
}

static int main_throw_new(void *arg) {
    (void)arg;
    pirn_tasklet joined = spawn_joinable(note_name, "must not run");
    cr_assert_eq(pirn_throw(joined, PIRN_EDB, false), 0);
    int result = 0;
    cr_assert_eq(pirn_join(joined, &result, PIRN_NOW), 0);
    cr_assert_eq(result, PIRN_EDB);
    cr_assert_eq(pn_sched_self()->counts.failed, 0);
    pirn_tasklet detached = pirn_spawn(note_name, "must not run");
    cr_assert_eq(pirn_throw(detached, PIRN_EDB, true), 0);
    let_others_run();
    cr_assert_eq(pn_sched_self()->counts.failed, 1, "nobody joins for it: reported");
    expect_dead(detached);
    return 0;
}

/* Goal: a throw at an unstarted tasklet ends it with that code without running it; the error takes the usual way.
 * Method: a joinable one, whose joiner gets the code, and a detached one, which is reported. */
Test(tasklet, throw_before_the_first_turn_ends_it) {
    stderr_catch caught;
    stderr_catch_start(&caught);
    int result = run_alone(main_throw_new);
    char *text = stderr_catch_end(&caught);
    cr_assert_eq(result, 0);
    expect_noted("");
    cr_assert_eq(count_of(text, "PIRN_EDB"), 1, "%s", text);
    free(text);
}

static int throw_to_itself(void *arg) {
    (void)arg;
    cr_assert_eq(pirn_throw(pirn_self(), 5, false), PIRN_EINVAL, "codes are negative");
    cr_assert_eq(pirn_throw(pirn_self(), PIRN_EDB, false), 0);
    cr_assert_eq(pirn_sleep_until(pirn_after(1)), PIRN_EDB);
    cr_assert_eq(pirn_sleep_until(pirn_after(1)), 0);
    return 0;
}

/* Goal: a throw at oneself strikes at the next parking call, once.
 * Method: sleep twice. */
Test(tasklet, throw_to_self_strikes_at_the_next_wait) {
    cr_assert_eq(run_alone(throw_to_itself), 0);
}

/* ---- shield ---- */

static int shielded_wait(void *arg) {
    int value = 0;
    pirn_shield_enter();
    pirn_shield_enter();
    int error = pirn_recv(channel, &value, PIRN_FOREVER);
    note("shielded:%s=%d", code_name(error), value);
    cr_assert_eq(pirn_cancelled(), arg == NULL, "cancelled, shielded or not");
    pirn_shield_leave();
    cr_assert_eq(pirn_sleep_until(pirn_after(1)), 0, "shields nest");
    pirn_shield_leave();
    note("%s", code_name(pirn_sleep_until(pirn_after(1))));
    note("%s", code_name(pirn_sleep_until(pirn_after(1))));
    return 0;
}

static int main_shield(void *arg) {
    open_channel();
    pirn_tasklet target = pirn_spawn(shielded_wait, arg);
    let_others_run();
    cr_assert_eq(arg ? pirn_throw(target, PIRN_EDB, false) : pirn_cancel(target), 0);
    cr_assert_eq(pirn_channel_balance(channel), -1, "it waits on");
    note("struck");
    int value = 9;
    cr_assert_eq(pirn_send(channel, &value, PIRN_FOREVER), 0);
    cr_assert_eq(pirn_sleep_until(pirn_after(PIRN_SECOND)), 0);
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: a shielded wait ignores a cancel, which strikes after the shield is left, and stays.
 * Method: cancel a shielded receiver; its value still arrives. */
Test(tasklet, shield_defers_cancellation) {
    pn_alone_use_virtual_clock(true);
    cr_assert_eq(pn_alone_run(main_shield, NULL), 0);
    expect_noted("struck shielded:0=9 PIRN_ECANCELED PIRN_ECANCELED");
}

/* Goal: a shielded wait ignores a throw, which strikes once after the shield is left.
 * Method: throw at a shielded receiver. */
Test(tasklet, shield_defers_a_throw) {
    pn_alone_use_virtual_clock(true);
    cr_assert_eq(pn_alone_run(main_shield, &channel), 0);
    expect_noted("struck shielded:0=9 PIRN_EDB 0");
}

/* ---- on_exit ---- */

static void note_exit(void *arg) {
    note("%s", (const char *)arg);
}

static void park_at_exit(void *arg) {
    (void)arg;
    cr_assert_neq(pirn_self().id, 0, "on the tasklet's own stack");
    cr_assert_eq(pirn_sleep_until(pirn_after(PIRN_SECOND)), 0, "shielded");
    note("slept");
}

static void register_at_exit(void *arg) {
    (void)arg;
    cr_assert_eq(pirn_on_exit(note_exit, "late"), 0);
}

static int with_handlers(void *arg) {
    int value = 0;
    cr_assert_eq(pirn_on_exit(note_exit, "first"), 0);
    cr_assert_eq(pirn_on_exit(register_at_exit, NULL), 0);
    cr_assert_eq(pirn_on_exit(park_at_exit, NULL), 0);
    cr_assert_eq(pirn_on_exit(note_exit, "last"), 0);
    if (arg) {
        note("%s", code_name(pirn_recv(channel, &value, PIRN_FOREVER)));
    }
    return 0;
}

static int main_handlers(void *arg) {
    open_channel();
    pirn_tasklet target = spawn_joinable(with_handlers, arg);
    let_others_run();
    if (arg) {
        cr_assert_eq(pirn_cancel(target), 0);
    }
    cr_assert_eq(pirn_join(target, NULL, PIRN_FOREVER), 0);
    note("joined");
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: clean-up handlers run last first, on the tasklet's stack, before its joiner hears of the end; they may park
 *       and may register more.
 * Method: four handlers; a plain end and a cancelled one. */
Test(tasklet, exit_handlers_run_last_first_and_may_park) {
    pn_alone_use_virtual_clock(true);
    cr_assert_eq(pn_alone_run(main_handlers, NULL), 0);
    expect_noted("last slept late first joined");
    cr_assert_eq(pn_alone_run(main_handlers, &channel), 0);
    expect_noted("PIRN_ECANCELED last slept late first joined");
}

static int return_at_once(void *arg) {
    (void)arg;
    return 0;
}

static int leave_unjoined(void *arg) {
    (void)arg;
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.flags = PIRN_JOINABLE;
    for (unsigned i = 0; i < 3 * PN_SLAB_TASKLETS; i++) {
        cr_assert_neq(pirn_spawn_with(&options, return_at_once, NULL).id, 0);
    }
    return 0;
}

/* Goal: joinable tasklets that nobody joined are freed with their scheduler, in whichever slab they are.
 * Method: three slabs full; AddressSanitizer watches. */
Test(tasklet, unjoined_ones_of_many_slabs_end_with_the_scheduler) {
    cr_assert_eq(pn_alone_run(leave_unjoined, NULL), 0);
}
