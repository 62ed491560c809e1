/* SPDX-License-Identifier: MIT
 *
 * What: what pirn says when something is wrong: the deadlock report and PIRN_EDEADLK, parked tasklets by age, an
 *       unhandled failure, a call from the wrong place. Each test reads the lines that a user would see.
 * Threads: one, in virtual time; one test starts a foreign thread that calls in vain.
 */
#include <pthread.h>

#include "core_test.h"

static pirn_channel *left, *right;

static pirn_channel *named_channel(const char *name, unsigned flags) {
    pirn_channel_options options;
    pirn_channel_options_init(&options);
    options.name = name;
    options.flags = flags;
    pirn_channel *channel = pirn_channel_create_with(sizeof(int), 0, &options);
    cr_assert_not_null(channel);
    return channel;
}

/* Run `main_fn` alone and give back its result and all that it said on stderr, which the caller frees. */
static char *run_listening(pirn_fn main_fn, int *result) {
    stderr_catch caught;
    stderr_catch_start(&caught);
    *result = run_alone(main_fn);
    return stderr_catch_end(&caught);
}

static void expect_said(const char *text, const char *part) {
    cr_assert_not_null(strstr(text, part), "\"%s\" is missing in:\n%s", part, text);
}

static void expect_not_said(const char *text, const char *part) {
    cr_assert_null(strstr(text, part), "\"%s\" should not be in:\n%s", part, text);
}

/* ---- deadlock ---- */

static int receive_left(void *arg) {
    (void)arg;
    int value;
    return pirn_recv(left, &value, PIRN_FOREVER);
}

static int send_right(void *arg) {
    (void)arg;
    int value = 1;
    return pirn_send(right, &value, PIRN_FOREVER);
}

static int select_both(void *arg) {
    (void)arg;
    int value = 0;
    pirn_case cases[] = {{.channel = left, .direction = PIRN_RECV, .elem = &value},
                         {.channel = right, .direction = PIRN_SEND, .elem = &value}};
    return pirn_select(cases, 2, PIRN_FOREVER);
}

static void destroy_both(void) {
    pirn_channel_destroy(left);
    pirn_channel_destroy(right);
}

static int main_deadlock(void *arg) {
    (void)arg;
    left = named_channel("left", 0);
    right = named_channel("right", 0);
    pirn_channel *center = named_channel("center", 0);
    spawn_as("alpha", 0, receive_left, NULL);
    spawn_as("beta", 0, send_right, NULL);
    spawn_as("gamma", 0, select_both, NULL);
    spawn_as("hidden", PIRN_DAEMON, receive_left, NULL);
    int value;
    int error = pirn_recv(center, &value, PIRN_FOREVER);
    cr_assert_eq(pirn_channel_balance(center), 0);
    pirn_channel_destroy(center);
    let_others_run();
    destroy_both();
    return error;
}

/* Goal: when nothing can wake main any more, its wait returns PIRN_EDEADLK, and the report names each parked
 *       tasklet, what it waits on and where it was spawned; a daemon, which waits by design, is not in it.
 * Method: main and three others park on four waits; read stderr. */
Test(report, deadlock_names_every_parked_tasklet) {
    int result;
    char *text = run_listening(main_deadlock, &result);
    cr_assert_eq(result, PIRN_EDEADLK);
    expect_said(text, "\"main\"");
    expect_said(text, "receive on center");
    expect_said(text, "\"alpha\"");
    expect_said(text, "receive on left");
    expect_said(text, "\"beta\"");
    expect_said(text, "send on right");
    expect_said(text, "\"gamma\"");
    expect_said(text, "select");
    expect_said(text, "core_test.h:");
    expect_not_said(text, "hidden\" waits");
    free(text);
}

static int main_receives(void *arg) {
    (void)arg;
    left = named_channel("left", 0);
    int error = receive_left(NULL);
    pirn_channel_destroy(left);
    return error;
}

static int main_sends(void *arg) {
    (void)arg;
    right = named_channel("right", 0);
    int error = send_right(NULL);
    pirn_channel_destroy(right);
    return error;
}

static int main_selects(void *arg) {
    (void)arg;
    left = named_channel("left", 0);
    right = named_channel("right", 0);
    int error = select_both(NULL);
    destroy_both();
    return error;
}

static int main_sleeps(void *arg) {
    (void)arg;
    return pirn_sleep_until(PIRN_FOREVER);
}

static int main_joins(void *arg) {
    (void)arg;
    left = named_channel("left", 0);
    pirn_tasklet parked = spawn_joinable(receive_left, NULL);
    int error = pirn_join(parked, NULL, PIRN_FOREVER);
    pirn_channel_destroy(left);
    cr_assert_eq(pirn_join(parked, NULL, PIRN_FOREVER), 0, "the wait ended, the target is joinable still");
    return error;
}

/* Goal: each way to wait for ever, alone, is a deadlock with one report, never a hang.
 * Method: receive, send, select, sleep, and a join of a tasklet that is parked itself. */
Test(report, main_waiting_in_vain_gets_edeadlk) {
    const pirn_fn mains[] = {main_receives, main_sends, main_selects, main_sleeps, main_joins};
    for (size_t i = 0; i < sizeof mains / sizeof *mains; i++) {
        int result;
        char *text = run_listening(mains[i], &result);
        cr_assert_eq(result, PIRN_EDEADLK, "case %zu", i);
        cr_assert_eq(count_of(text, "\"main\""), 1, "case %zu:\n%s", i, text);
        free(text);
    }
}

static int end_at_once(void *arg) {
    unsigned *ended = arg;
    (*ended)++;
    return 0;
}

static unsigned ended;

static int main_after_children(void *arg) {
    (void)arg;
    for (int i = 0; i < 10; i++) {
        pirn_spawn(end_at_once, &ended);
    }
    int error = main_receives(NULL);
    cr_assert_eq(ended, 10);
    return error;
}

/* Goal: main's wait is a deadlock only when the last helper has ended.
 * Method: ten children run to their end first. */
Test(report, deadlock_comes_after_the_last_child) {
    int result;
    char *text = run_listening(main_after_children, &result);
    cr_assert_eq(result, PIRN_EDEADLK);
    free(text);
}

static int main_has_a_deadline(void *arg) {
    (void)arg;
    int value;
    left = named_channel("left", 0);
    int error = pirn_recv(left, &value, pirn_after(PIRN_SECOND));
    pirn_channel_destroy(left);
    return error;
}

/* Goal: a wait with a deadline is no deadlock, and says nothing.
 * Method: main alone receives with a deadline. */
Test(report, deadline_is_no_deadlock) {
    int result;
    char *text = run_listening(main_has_a_deadline, &result);
    cr_assert_eq(result, PIRN_ETIMEDOUT);
    cr_assert_str_eq(text, "");
    free(text);
}

static int left_result;

static int receive_left_and_tell(void *arg) {
    left_result = receive_left(arg);
    pirn_channel_destroy(left);
    return left_result;
}

static int main_leaves_one(void *arg) {
    (void)arg;
    left = named_channel("left", 0);
    spawn_as("forgotten", 0, receive_left_and_tell, NULL);
    return 7;
}

/* Goal: tasklets that main leaves parked for ever are named and cancelled; main's result stands.
 * Method: one forgotten receiver. */
Test(report, forgotten_tasklets_are_named_and_canceled) {
    int result;
    char *text = run_listening(main_leaves_one, &result);
    cr_assert_eq(result, 7);
    cr_assert_eq(left_result, PIRN_ECANCELED);
    expect_said(text, "\"forgotten\"");
    expect_said(text, "receive on left");
    free(text);
}

/* ---- by age ---- */

static int main_by_age(void *arg) {
    (void)arg;
    pn_sched *sched = pn_sched_self();
    left = named_channel("left", 0);
    right = named_channel("right", PIRN_CHANNEL_EXTERNAL);
    spawn_as("old one", 0, receive_left, NULL);
    spawn_as("old two", 0, receive_left, NULL);
    spawn_as("woken from outside", 0, send_right, NULL);
    spawn_as("daemon", PIRN_DAEMON, receive_left, NULL);
    let_others_run();
    pn_alone_advance(20 * PIRN_SECOND);
    cr_assert_eq(pirn_sleep_until(pirn_after(1)), 0); /* a turn of the loop reads the clock */
    spawn_as("young", 0, receive_left, NULL);
    let_others_run();
    pirn_time limit = pirn_now() - 10 * PIRN_SECOND;
    cr_assert_eq(pn_report_parked(sched, limit, true), 2, "quiet: counted");
    cr_assert_eq(pn_report_parked(sched, limit, false), 2, "printed");
    cr_assert_eq(pn_report_parked(sched, limit, false), 0, "once per wait");
    cr_assert_eq(pn_report_parked(sched, 0, true), 3, "of the whole program: the young one too");
    pirn_channel_close(left);
    pirn_channel_close(right);
    let_others_run();
    cr_assert_eq(pn_report_parked(sched, 0, true), 0);
    destroy_both();
    return 0;
}

static unsigned handled;

static void count_handled(void *context, int code, const char *text) {
    cr_assert_eq(pirn_self().id, 0, "no tasklet that could wait");
    cr_assert_eq(pirn_sleep_until(pirn_after(PIRN_SECOND)), PIRN_ETHREAD);
    cr_assert_eq(context, &handled);
    cr_assert_eq(code, PIRN_EDB);
    cr_assert_null(strchr(text, '\n'), "one line");
    expect_said(text, "no such table");
    handled++;
}

/* Goal: the report by age names those parked for longer than the limit without a deadline, grouped by object, once.
 * Method: two old receivers, a young one, a daemon and one that waits on something outside. */
Test(report, stuck_tasklets_are_reported_once_by_age) {
    int result;
    char *text = run_listening(main_by_age, &result);
    cr_assert_eq(result, 0, "%s", text);
    cr_assert_eq(count_of(text, "\"old one\""), 2, "once as stuck, once as failed with PIRN_ECLOSED:\n%s", text);
    expect_said(text, "2 tasklets");
    expect_said(text, "receive on left");
    expect_not_said(text, "daemon\" waits");
    expect_not_said(text, "outside\" waits");
    expect_not_said(text, "young\" waits");
    free(text);
}

static int sleep_long(void *arg) {
    (void)arg;
    return pirn_sleep_until(pirn_after(3600 * PIRN_SECOND));
}

static int join_other(void *arg) {
    return pirn_join(*(pirn_tasklet *)arg, NULL, PIRN_FOREVER);
}

static int main_with_joins(void *arg) {
    (void)arg;
    pn_sched *sched = pn_sched_self();
    left = named_channel("left", 0);
    pirn_tasklet sleeper = spawn_as("sleeper", PIRN_JOINABLE, sleep_long, NULL);
    pirn_tasklet stuck = spawn_as("stuck", PIRN_JOINABLE, receive_left, NULL);
    spawn_as("patient", 0, join_other, &sleeper);
    spawn_as("stuck with it", 0, join_other, &stuck);
    let_others_run();
    pn_alone_advance(20 * PIRN_SECOND);
    cr_assert_eq(pirn_sleep_until(pirn_after(1)), 0);
    cr_assert_eq(pn_report_parked(sched, pirn_now() - 10 * PIRN_SECOND, false), 2);
    pirn_channel_close(left);
    cr_assert_eq(pirn_cancel(sleeper), 0);
    let_others_run();
    pirn_channel_destroy(left);
    return 0;
}

/* Goal: who joins a tasklet that goes on is not called stuck; who joins a stuck one is.
 * Method: one joins a sleeper, one a receiver that nobody sends to. */
Test(report, joiner_is_stuck_only_with_the_joined) {
    int result;
    char *text = run_listening(main_with_joins, &result);
    cr_assert_eq(result, 0, "%s", text);
    expect_said(text, "\"stuck with it\" waits for join");
    expect_not_said(text, "\"patient\" waits");
    free(text);
}

static int main_with_a_ready_on_its_way(void *arg) {
    (void)arg;
    pn_sched *sched = pn_sched_self();
    left = named_channel("left", 0);
    pirn_tasklet receiver = spawn_as("receiver", PIRN_JOINABLE, receive_left, NULL);
    pirn_tasklet joiner = spawn_as("joiner", PIRN_JOINABLE, join_other, &receiver);
    let_others_run();
    pn_alone_advance(20 * PIRN_SECOND);
    cr_assert_eq(pirn_sleep_until(pirn_after(1)), 0);
    cr_assert_eq(pn_report_parked(sched, pirn_now() - 10 * PIRN_SECOND, true), 2);
    pn_waiter *waiter = pn_tasklet_find(sched, receiver)->waiter;
    cr_assert(pn_waiter_is_open(waiter) && pn_waiter_claim(waiter, 0) && !pn_waiter_is_open(waiter));
    cr_assert_eq(pn_report_parked(sched, pirn_now() - 10 * PIRN_SECOND, true), 0);
    pn_waiter_ready(waiter);
    cr_assert_eq(pirn_join(joiner, NULL, PIRN_FOREVER), 0);
    pirn_channel_destroy(left);
    return 0;
}

/* Goal: a tasklet whose wait a peer elsewhere has ended, and whose "ready" is on its way, is not called stuck, nor who
 * joins it.
 * Method: a receiver that has waited too long is claimed, as a sender on another worker does it, and looked at before
 *         it is made ready. */
Test(report, waiter_whose_ready_is_on_its_way_is_not_stuck) {
    cr_assert_eq(run_alone(main_with_a_ready_on_its_way), 0);
}

static int receive_alone(void *arg) {
    return pirn_recv(arg, NULL, PIRN_FOREVER);
}

enum { LONELY = 200 };

static int main_with_many_objects(void *arg) {
    (void)arg;
    pn_sched *sched = pn_sched_self();
    pirn_channel *channels[LONELY];
    for (int i = 0; i < LONELY; i++) {
        channels[i] = pirn_channel_create(0, 0);
        spawn_as("lonely", 0, receive_alone, channels[i]);
    }
    left = named_channel("left", 0);
    for (int i = 0; i < LONELY; i++) {
        spawn_as("crowded", 0, receive_left, NULL);
    }
    let_others_run();
    pn_alone_advance(20 * PIRN_SECOND);
    cr_assert_eq(pirn_sleep_until(pirn_after(1)), 0);
    pirn_time limit = pirn_now() - 10 * PIRN_SECOND;
    cr_assert_eq(pn_report_parked(sched, limit, false), 2 * LONELY);
    cr_assert_eq(pn_report_parked(sched, limit, false), 0, "once, also those that were only counted");
    for (int i = 0; i < LONELY; i++) {
        pirn_channel_close(channels[i]);
    }
    pirn_channel_close(left);
    let_others_run();
    for (int i = 0; i < LONELY; i++) {
        pirn_channel_destroy(channels[i]);
    }
    pirn_channel_destroy(left);
    return 0;
}

/* Goal: the report by age is bounded, in objects and tasklets, and counts what it leaves out.
 * Method: hundreds of tasklets on as many channels, and as many on one; count the lines. */
Test(report, stuck_report_is_bounded) {
    int result;
    char *text = run_listening(main_with_many_objects, &result);
    cr_assert_eq(result, 0, "%s", text);
    cr_assert_leq(count_of(text, "without a deadline:"), 16);
    cr_assert_leq(count_of(text, "\"lonely\" waits"), 64);
    expect_said(text, "tasklets on other objects");
    free(text);
}

/* ---- unhandled failures ---- */

static int fails_with_a_reason(void *arg) {
    (void)arg;
    return pirn_fail(PIRN_EDB, "no such table: %s", "test");
}

static int fails_without_a_reason(void *arg) {
    (void)arg;
    return -EIO;
}

static int is_canceled(void *arg) {
    (void)arg;
    return PIRN_ECANCELED;
}

static int main_fails(void *arg) {
    (void)arg;
    spawn_as("query", 0, fails_with_a_reason, NULL);
    spawn_as("disk", 0, fails_without_a_reason, NULL);
    spawn_as("quiet", 0, is_canceled, NULL);
    pirn_tasklet joined = spawn_as("joined", PIRN_JOINABLE, fails_with_a_reason, NULL);
    cr_assert_eq(pirn_join(joined, NULL, PIRN_FOREVER), 0);
    cr_assert_eq(pn_sched_self()->counts.failed, 2);
    return 0;
}

/* Goal: an error that nobody joins for is one line with the tasklet, the code, the words and the place where it was
 *       made; others go on. Cancellation and a joined error are silent.
 * Method: four tasklets that end badly. */
Test(report, unhandled_failure_is_told_with_its_origin) {
    int result;
    char *text = run_listening(main_fails, &result);
    cr_assert_eq(result, 0);
    cr_assert_eq(count_of(text, "\n"), 2, "%s", text);
    expect_said(text, "\"query\"");
    expect_said(text, "PIRN_EDB");
    expect_said(text, "no such table: test");
    expect_said(text, "report_test.c:");
    expect_said(text, "fails_with_a_reason");
    expect_said(text, "\"disk\"");
    expect_said(text, "EIO");
    expect_not_said(text, "quiet");
    expect_not_said(text, "joined");
    free(text);
}

static int note_turns(void *arg) {
    for (int turn = 0; turn < 2; turn++) {
        note("%s%d", (const char *)arg, turn);
        pirn_yield();
    }
    return 0;
}

static int main_one_of_three_fails(void *arg) {
    (void)arg;
    pirn_spawn(note_turns, "A");
    pirn_spawn(fails_without_a_reason, NULL);
    pirn_spawn(note_turns, "B");
    let_others_run();
    note("main");
    return 0;
}

/* Goal: a failing tasklet takes nobody with it: the others and main go on in their order.
 * Method: three tasklets, the second fails. */
Test(report, failure_of_one_leaves_the_others_running) {
    int result;
    char *text = run_listening(main_one_of_three_fails, &result);
    cr_assert_eq(result, 0);
    expect_noted("A0 B0 A1 B1 main");
    cr_assert_eq(count_of(text, "\n"), 1, "%s", text);
    free(text);
}

static int main_own_handler(void *arg) {
    (void)arg;
    pn_sched_self()->options.on_error = count_handled;
    pn_sched_self()->options.on_error_context = &handled;
    pirn_spawn(fails_with_a_reason, NULL);
    let_others_run();
    cr_assert_eq(handled, 1);
    pirn_tasklet released = spawn_joinable(fails_with_a_reason, NULL);
    let_others_run();
    cr_assert_eq(handled, 1, "it may still be joined");
    cr_assert_eq(pirn_release(released), 0);
    cr_assert_eq(handled, 2, "now nobody will");
    return 0;
}

/* Goal: the program's own handler gets each unhandled failure once, instead of stderr; a joinable one's when it is
 *       released.
 * Method: a handler that counts. */
Test(report, unhandled_failure_goes_to_the_handler) {
    int result;
    char *text = run_listening(main_own_handler, &result);
    cr_assert_eq(result, 0);
    cr_assert_eq(count_of(text, "pirn: pirn_sleep_until() would stop a callback"), 2, "%s", text);
    cr_assert_eq(count_of(text, "\n"), 2, "the handler's waits only: %s", text);
    free(text);
}

/* ---- the wrong place ---- */

static void *call_from_a_thread(void *arg) {
    (void)arg;
    int value = 0;
    pirn_case one = {.channel = left, .direction = PIRN_RECV, .elem = &value};
    cr_assert_eq(pirn_recv(left, &value, PIRN_FOREVER), PIRN_ETHREAD);
    cr_assert_eq(pirn_send(left, &value, PIRN_FOREVER), PIRN_ETHREAD);
    cr_assert_eq(pirn_select(&one, 1, PIRN_FOREVER), PIRN_ETHREAD);
    cr_assert_eq(pirn_sleep_until(PIRN_FOREVER), PIRN_ETHREAD);
    cr_assert_eq(pirn_join((pirn_tasklet){1}, NULL, PIRN_FOREVER), PIRN_ETHREAD);
    cr_assert_eq(pirn_cancel((pirn_tasklet){1}), PIRN_ETHREAD);
    cr_assert_eq(pirn_release((pirn_tasklet){1}), PIRN_ETHREAD);
    cr_assert_eq(pirn_spawn(receive_left, NULL).id, 0);
    cr_assert_eq(pirn_worker(), -1);
    return NULL;
}

static int main_foreign_thread(void *arg) {
    (void)arg;
    pthread_t thread;
    left = named_channel("left", 0);
    cr_assert_eq(pthread_create(&thread, NULL, call_from_a_thread, NULL), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(pirn_channel_balance(left), 0, "refused before any side effect");
    cr_assert_eq(pn_sched_self()->counts.live, 1);
    pirn_channel_destroy(left);
    return 0;
}

/* Goal: a call from a thread that pirn did not start is refused before it does anything; the line names the call
 *       and what to use instead.
 * Method: every parking call, and those that need a worker, from a pthread. */
Test(report, wrong_thread_is_told_what_to_use) {
    int result;
    char *text = run_listening(main_foreign_thread, &result);
    cr_assert_eq(result, 0);
    const char *calls[] = {"pirn_recv()", "pirn_send()",   "pirn_select()",  "pirn_sleep_until()",
                           "pirn_join()", "pirn_cancel()", "pirn_release()", "pirn_spawn()"};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        expect_said(text, calls[i]);
    }
    cr_assert_geq(count_of(text, "pirn_post()"), 8, "each says what to use:\n%s", text);
    free(text);
}

static void wait_in_callback(pn_timer *timer) {
    (void)timer;
    int value = 0;
    cr_assert_eq(pirn_recv(left, &value, PIRN_FOREVER), PIRN_ETHREAD);
    cr_assert_eq(pirn_send(left, &value, pirn_after(1)), PIRN_ETHREAD);
    cr_assert_eq(pirn_sleep_until(pirn_after(1)), PIRN_ETHREAD);
    cr_assert_eq(pirn_channel_balance(left), 0);
}

static int main_callback(void *arg) {
    (void)arg;
    pn_timer timer;
    left = named_channel("left", 0);
    pn_timer_arm(&pn_sched_self()->timers, &timer, pirn_after(1), wait_in_callback);
    cr_assert_eq(pirn_sleep_until(pirn_after(PIRN_SECOND)), 0);
    pirn_channel_destroy(left);
    return 0;
}

/* Goal: a callback on the scheduler's own stack that waits gets PIRN_ETHREAD and a line, not a hang.
 * Method: a timer's callback receives, sends and sleeps. */
Test(report, waiting_in_a_callback_is_refused) {
    int result;
    char *text = run_listening(main_callback, &result);
    cr_assert_eq(result, 0);
    cr_assert_eq(count_of(text, "a callback"), 3, "%s", text);
    expect_said(text, "pirn_deferred_add_callbacks()");
    free(text);
}
