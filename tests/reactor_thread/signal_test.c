/* SPDX-License-Identifier: MIT
 *
 * What: tests of reactor_thread/signal.c: signals of the process as values in a channel.
 */
#include <stdatomic.h>

#include "engine.h"
#include "live.h"

#include <pirn/reactor.h>

static int recv_signal(pirn_channel *channel) {
    int number = 0;
    cr_assert_eq(pirn_recv(channel, &number, PIRN_FOREVER), 0);
    return number;
}

static int receive_signals(void *arg) {
    (void)arg;
    pirn_channel *users = pirn_signal_open(SIGUSR1);
    pirn_channel *terms = pirn_signal_open(SIGTERM);
    pirn_channel *again = pirn_signal_open(SIGUSR1);
    cr_assert(users && terms && again);
    for (unsigned i = 0; i < 5; i++) {
        cr_assert_eq(kill(getpid(), SIGUSR1), 0);
        cr_assert_eq(recv_signal(users), SIGUSR1);
        cr_assert_eq(recv_signal(again), SIGUSR1);
        cr_assert_eq(kill(getpid(), SIGTERM), 0);
        cr_assert_eq(recv_signal(terms), SIGTERM);
    }
    cr_assert_eq(pirn_channel_length(users), 0);
    struct sigaction action;
    cr_assert_eq(sigaction(SIGUSR1, NULL, &action), 0);
    cr_assert(action.sa_flags & SA_ONSTACK, "a handler must not run on a tasklet's stack");
    pirn_signal_close(users);
    pirn_signal_close(again);
    pirn_signal_close(terms);
    return 0;
}

/* Goal: a signal sent after the open returned arrives as a value, in every channel opened for it.
 * Method: send real signals, the first right after the open (their default is the process' death); receive each. */
Test(signal, signal_arrives_in_every_channel) {
    in_every_mode(receive_signals, NULL);
}

static int wait_in_another(void *arg) {
    int number = 0;
    int status = pirn_recv(arg, &number, PIRN_FOREVER);
    return status == PIRN_ECLOSED ? 0 : status;
}

static int close_under_a_receiver(void *arg) {
    (void)arg;
    pirn_channel *users = pirn_signal_open(SIGUSR2);
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.flags = PIRN_JOINABLE;
    pirn_tasklet waiter = pirn_spawn_with(&options, wait_in_another, users);
    pirn_yield();
    cr_assert_eq(pirn_channel_balance(users), -1);
    cr_assert_eq(pn_outside_count(), 1);
    pirn_signal_close(users);
    int result = 1;
    cr_assert_eq(pirn_join(waiter, &result, PIRN_FOREVER), 0);
    cr_assert_eq(result, 0);
    cr_assert_eq(pn_outside_count(), 0);
    return 0;
}

/* Goal: closing wakes the receivers with PIRN_ECLOSED and takes the handler back.
 * Method: close while a tasklet waits; nothing outside is counted any more afterwards. */
Test(signal, close_wakes_the_receiver) {
    in_every_mode(close_under_a_receiver, NULL);
}

static int flood(void *arg) {
    (void)arg;
    /* SIGURG: one that is still on its way at the close has a harmless default action. */
    pirn_channel *users = pirn_signal_open(SIGURG);
    unsigned count = (unsigned)pirn_test_count(2000, 200);
    for (unsigned i = 0; i < count; i++) {
        cr_assert_eq(kill(getpid(), SIGURG), 0);
    }
    cr_assert_eq(recv_signal(users), SIGURG);
    pirn_signal_close(users);
    return 0;
}

/* Goal: signals that nobody receives pile up to a bound, and harm nothing.
 * Method: thousands of signals before the first receive. */
Test(signal, flood_of_signals_is_bounded) {
    in_every_mode(flood, NULL);
}

static int refuse(void *arg) {
    (void)arg;
    static const int numbers[] = {-1, 0, 100000, SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        cr_assert_null(pirn_signal_open(numbers[i]), "signal %d", numbers[i]);
    }
    pirn_channel *plain = pirn_channel_create(sizeof(int), 1);
    pirn_signal_close(plain); /* none of ours: left alone */
    pirn_signal_close(NULL);
    cr_assert(!pirn_channel_closed(plain));
    pirn_channel_destroy(plain);
    return 0;
}

/* Goal: what cannot be caught, or means a fault of the program, is refused; a foreign channel is left alone.
 * Method: NULL for each such number. */
Test(signal, uncatchable_signals_are_refused) {
    in_every_mode(refuse, NULL);
}

static int leave_open(void *arg) {
    pirn_channel *users = pirn_signal_open(SIGUSR1);
    cr_assert_not_null(users);
    cr_assert(pirn_spawn(wait_in_another, users).id != 0);
    *(pirn_channel **)arg = users;
    pirn_yield();
    return 0;
}

/* Goal: a channel that nobody closed ends with the runtime, and the next runtime may open the same signal.
 * Method: main returns with one open and a tasklet in it; twice in each mode; the sanitizer builds look for leaks. */
Test(signal, open_channel_ends_with_the_runtime) {
    pirn_channel *users = NULL;
    in_every_mode(leave_open, &users);
    in_every_mode(leave_open, &users);
    cr_assert_not_null(users);
}

static int open_and_close(void *arg) {
    (void)arg;
    /* SIGURG: one that is still on its way when the last channel closes has a harmless default action. */
    unsigned rounds = (unsigned)pirn_test_count(500, 50);
    for (unsigned i = 0; i < rounds; i++) {
        pirn_channel *users = pirn_signal_open(SIGURG);
        cr_assert_eq(kill(getpid(), SIGURG), 0);
        if (i % 2) {
            cr_assert_eq(recv_signal(users), SIGURG);
        }
        pirn_channel *keeps = pirn_signal_open(SIGURG); /* so that none is lost in between */
        pirn_signal_close(users);
        cr_assert_eq(kill(getpid(), SIGURG), 0);
        cr_assert_eq(recv_signal(keeps), SIGURG);
        pirn_signal_close(keeps);
        cr_assert_eq(pn_outside_count(), 0);
    }
    return 0;
}

/* Goal: opening and closing in a row loses no signal and leaks nothing.
 * Method: hundreds of channels one after the other, a second one taking over while the first closes. */
Test(signal, channels_follow_each_other) {
    in_every_mode(open_and_close, NULL);
}

static pirn_deferred *open_another(void *context, pirn_result *result) {
    pirn_result_drop(result);
    *result = (pirn_result){0};
    *(pirn_channel **)context = pirn_signal_open(SIGUSR1);
    return NULL;
}

static int leave_an_opener(void *arg) {
    pirn_deferred *never = pirn_call_later(3600 * PIRN_SECOND);
    cr_assert_eq(pirn_deferred_add_both(never, open_another, arg), 0);
    pirn_deferred_release(never);
    return 0;
}

/* Goal: a signal that a callback opens when the runtime is already ending is refused, and holds nobody.
 * Method: by the failure of a call that the end gives up; NULL, and pirn_run returns (it would abort after 30 s). */
Test(signal, opened_at_the_very_end_holds_nobody, .timeout = 25) {
    static int nothing;
    pirn_channel *opened = (pirn_channel *)(void *)&nothing;
    in_every_mode(leave_an_opener, &opened);
    cr_assert_null(opened);
    cr_assert_eq(pn_outside_count(), 0);
}

static _Atomic(int) handled_by; /* the kernel's number of the thread that ran the program's own handler */

static void note_thread(int number) {
    (void)number;
    handled_by = gettid();
}

static bool was_handled(void *context) {
    (void)context;
    return handled_by != 0;
}

static int get_own_signal(void *arg) {
    (void)arg;
    handled_by = 0;
    cr_assert_eq(kill(getpid(), SIGUSR1), 0);
    wait_until(was_handled, NULL);
    cr_assert_neq(handled_by, gettid(), "a handler ran on a thread that runs tasklets");
    return 0;
}

/* Goal: a handler that the program installed itself never runs on a worker's thread, in single mode neither: a
 *       tasklet's stack is too small for it.
 * Method: a signal to the process; the handler notes its thread. */
Test(signal, handler_of_the_program_runs_on_no_tasklets_stack) {
    struct sigaction action = {.sa_handler = note_thread};
    cr_assert_eq(sigaction(SIGUSR1, &action, NULL), 0);
    in_every_mode(get_own_signal, NULL);
}

static int receive_one(void *arg) {
    (void)arg;
    pirn_channel *users = pirn_signal_open(SIGUSR1);
    cr_assert_not_null(users);
    cr_assert_eq(kill(getpid(), SIGUSR1), 0);
    cr_assert_eq(recv_signal(users), SIGUSR1);
    pirn_signal_close(users);
    return 0;
}

/* Goal: a signal is received whoever could take it: also where there is no watchdog, and where the program had blocked
 *       the signal before it started the runtime; afterwards the program's mask is what it was.
 * Method: both of it in each mode. */
Test(signal, arrives_without_a_watchdog_and_where_it_was_blocked) {
    for (int which = 0; which < ENGINE_MODES; which++) {
        for (int blocked = 0; blocked < 2; blocked++) {
            pirn_options options = engine_options(which);
            options.slice_warn_ns = blocked ? 0 : PIRN_FOREVER;
            sigset_t user, after;
            sigemptyset(&user);
            sigaddset(&user, SIGUSR1);
            cr_assert_eq(pthread_sigmask(blocked ? SIG_BLOCK : SIG_UNBLOCK, &user, NULL), 0);
            cr_assert_eq(pirn_run(&options, receive_one, NULL), 0, "%s, blocked %d", engine_name(which), blocked);
            cr_assert_eq(pthread_sigmask(SIG_BLOCK, NULL, &after), 0);
            cr_assert_eq(sigismember(&after, SIGUSR1), blocked);
            cr_assert_eq(sigismember(&after, SIGTERM), 0);
        }
    }
}
