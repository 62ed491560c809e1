/* SPDX-License-Identifier: MIT
 *
 * What: the run queue's order (Stackless' ring), the budget that keeps timers alive beside busy tasklets, counts, the
 *       seeded generator, and the large numbers: a million spawns, a hundred thousand parked tasklets, a page each.
 * Threads: one, in virtual time.
 */
#include "core_test.h"

static int note_rounds(void *arg) {
    for (int round = 0; round < 3; round++) {
        note("%s%d", (const char *)arg, round);
        pirn_yield();
    }
    return 0;
}

static int note_once(void *arg) {
    note("%s", (const char *)arg);
    return 0;
}

/* ---- order ---- */

static int main_spawns_three(void *arg) {
    (void)arg;
    pirn_spawn(note_rounds, "A");
    pirn_spawn(note_rounds, "B");
    pirn_spawn(note_rounds, "C");
    return 0;
}

/* Goal: the run queue is a ring: everybody has one turn before anybody has the next.
 * Method: three tasklets yield after each of three rounds. */
Test(sched, three_yielders_take_turns) {
    cr_assert_eq(run_alone(main_spawns_three), 0);
    expect_noted("A0 B0 C0 A1 B1 C1 A2 B2 C2");
}

static int main_yields_once(void *arg) {
    (void)arg;
    pirn_spawn(note_once, "A");
    pirn_spawn(note_once, "B");
    note("spawned");
    pirn_yield();
    note("main");
    return 0;
}

/* Goal: a spawn does not switch, and one yield of main visits each queued tasklet once.
 * Method: two tasklets of one word each; main notes before and after its yield. */
Test(sched, yield_of_main_visits_each_once) {
    cr_assert_eq(run_alone(main_yields_once), 0);
    expect_noted("spawned A B main");
}

static int spawn_then_yield(void *arg) {
    (void)arg;
    note("A0");
    pirn_spawn(note_once, "new");
    pirn_yield();
    note("A1");
    return 0;
}

static int main_child_spawns(void *arg) {
    (void)arg;
    pirn_spawn(spawn_then_yield, NULL);
    pirn_spawn(note_rounds, "B");
    return 0;
}

/* Goal: a tasklet made while the others run stands last.
 * Method: A spawns one with B queued behind it: B comes first, then the new one, then A again. */
Test(sched, spawned_while_running_goes_last) {
    cr_assert_eq(run_alone(main_child_spawns), 0);
    expect_noted("A0 B0 new A1 B1 B2");
}

static int main_alone_yields(void *arg) {
    (void)arg;
    uint64_t before = pn_sched_self()->counts.spawned;
    for (int i = 0; i < 1000; i++) {
        pirn_yield();
    }
    cr_assert_eq(pn_sched_self()->counts.spawned, before);
    note("main");
    return 41;
}

/* Goal: yielding to nobody is a no-op, however often, and main's result comes back.
 * Method: 1,000 yields alone: more than the budget of a turn. */
Test(sched, yield_alone_is_harmless) {
    cr_assert_eq(run_alone(main_alone_yields), 41);
    expect_noted("main");
}

enum { CROWD = 7, CROWD_ROUNDS = 300 };
static int turns[CROWD];

/* Each of the crowd finds the one before it exactly one turn ahead, or level when it is the first of the ring. */
static int keep_in_step(void *arg) {
    int self = (int)(intptr_t)arg;
    for (int round = 0; round < CROWD_ROUNDS; round++) {
        int ahead = self == 0 ? turns[CROWD - 1] : turns[self - 1] - 1;
        cr_assert_eq(ahead, turns[self]);
        turns[self]++;
        pirn_yield();
    }
    return 0;
}

static int main_crowd(void *arg) {
    (void)arg;
    for (intptr_t i = 0; i < CROWD; i++) {
        pirn_spawn(keep_in_step, (void *)i);
    }
    return 0;
}

/* Goal: the look at I/O after every PN_DISPATCH_MAX dispatches changes nothing in the order.
 * Method: seven tasklets, 300 rounds each, check at each turn that their neighbours are in step. */
Test(sched, order_holds_across_the_budget) {
    cr_assert_eq(run_alone(main_crowd), 0);
    cr_assert_eq(turns[CROWD - 1], CROWD_ROUNDS);
}

/* ---- time ---- */

static int sleep_and_note(void *arg) {
    int64_t ms = (intptr_t)arg;
    pirn_time deadline = pirn_after(ms * PIRN_MILLISECOND);
    cr_assert_eq(pirn_sleep_until(deadline), 0);
    cr_assert_geq(pirn_now(), deadline, "woken early");
    note("%d", (int)ms);
    return 0;
}

static int main_sleepers(void *arg) {
    (void)arg;
    const int ms[] = {30, 10, 20, 10, 40};
    for (size_t i = 0; i < sizeof ms / sizeof *ms; i++) {
        pirn_spawn(sleep_and_note, (void *)(intptr_t)ms[i]);
    }
    return 0;
}

/* Goal: sleepers wake in the order of their deadlines, first asleep first among equals, never early.
 * Method: five sleepers in virtual time. */
Test(sched, sleepers_wake_by_deadline) {
    cr_assert_eq(run_alone(main_sleepers), 0);
    expect_noted("10 10 20 30 40");
}

static bool slept;

static int sleeper(void *arg) {
    (void)arg;
    cr_assert_eq(pirn_sleep_until(pirn_after(PIRN_MILLISECOND)), 0);
    slept = true;
    return 0;
}

static int main_busy(void *arg) {
    (void)arg;
    pirn_spawn(sleeper, NULL);
    pirn_spawn(note_rounds, "A"); /* somebody to yield to, so that the yields below are real switches       */
    pirn_yield();
    pn_alone_advance(2 * PIRN_MILLISECOND);
    unsigned yields = 0;
    for (; !slept && yields < 1000; yields++) {
        pirn_yield();
    }
    cr_assert_leq(yields, 2 * PN_DISPATCH_MAX);
    return 0;
}

/* Goal: a busy tasklet does not starve timers: they are looked at after at most PN_DISPATCH_MAX dispatches.
 * Method: let a sleeper's deadline pass, count the yields of a tasklet that never parks until the sleeper ran. */
Test(sched, busy_yielder_does_not_starve_timers) {
    cr_assert_eq(run_alone(main_busy), 0);
    cr_assert(slept);
}

static int note_after_sleep(void *arg) {
    cr_assert_eq(pirn_sleep_until(pirn_after(PIRN_MILLISECOND)), 0);
    note("%s", (const char *)arg);
    return 0;
}

static int main_hurried(void *arg) {
    (void)arg;
    pirn_spawn(note_after_sleep, "sleeper");
    pirn_yield();
    pirn_spawn(note_once, "first");
    pn_alone_advance(2 * PIRN_MILLISECOND);
    pirn_spawn(note_once, "second");
    pn_flag_raise(&pn_sched_self()->hurry);
    pirn_yield();
    note("main");
    return 0;
}

/* Goal: the raised flag brings a look at the next dispatch, and what was due stands before the tasklet that yields
 *       (rule 9): a timer is late by the running slice and what stood in the queue, once.
 * Method: a sleeper's deadline passes in main's slice; the flag is raised; one yield. */
Test(sched, raised_flag_lets_timers_go_before_a_yielder) {
    cr_assert_eq(run_alone(main_hurried), 0);
    expect_noted("first second sleeper main");
}

/* ---- calls that do not park ---- */

static pirn_channel *buffered;
static pirn_deferred *fired;

static void send_and_receive(void) {
    cr_assert_eq(pirn_send(buffered, NULL, PIRN_FOREVER), 0);
    cr_assert_eq(pirn_recv(buffered, NULL, PIRN_FOREVER), 0);
}

static void select_a_slot(void) {
    pirn_case send = {.channel = buffered, .direction = PIRN_SEND};
    pirn_case recv = {.channel = buffered, .direction = PIRN_RECV};
    cr_assert_eq(pirn_select(&send, 1, PIRN_FOREVER), 0);
    cr_assert_eq(pirn_select(&recv, 1, PIRN_FOREVER), 0);
}

static void await_the_fired(void) {
    cr_assert_eq(pirn_await(fired, NULL, PIRN_FOREVER), 0);
}

static void take_the_fired(void) {
    pirn_result out;
    cr_assert_eq(pirn_await_take(pirn_deferred_succeed(NULL, NULL), &out, PIRN_FOREVER), 0);
}

static void cancel_the_unstarted(void) {
    cr_assert_eq(pirn_cancel(pirn_spawn(note_once, "never")), 0);
}

static void join_the_ended(void) {
    pirn_tasklet ended = spawn_joinable(note_once, "never");
    cr_assert_eq(pirn_cancel_pending(ended), 0);
    cr_assert_eq(pirn_join(ended, NULL, PIRN_FOREVER), 0);
}

static void join_the_dead(void) {
    cr_assert_eq(pirn_join(pirn_self(), NULL, PIRN_FOREVER), PIRN_EINVAL);
}

static void join_nobody(void) {
    cr_assert_eq(pirn_join((pirn_tasklet){0}, NULL, PIRN_FOREVER), PIRN_EDEAD);
}

static void await_nothing(void) {
    cr_assert_eq(pirn_await(NULL, NULL, PIRN_FOREVER), PIRN_EINVAL);
}

static void select_nothing(void) {
    cr_assert_eq(pirn_select(NULL, 0, PIRN_FOREVER), PIRN_EINVAL);
}

static void yield_alone(void) {
    pirn_yield();
}

static void sleep_past(void) {
    cr_assert_eq(pirn_sleep_until(1), 0);
}

static void receive_from_the_closed(void) {
    static pirn_channel *closed;
    closed = closed ? closed : pirn_channel_create(0, 0);
    pirn_channel_close(closed);
    cr_assert_eq(pirn_recv(closed, NULL, PIRN_FOREVER), PIRN_ECLOSED);
}

static void swallow_a_cancel(void) {
    if (!pirn_cancelled()) {
        (void)pirn_cancel(pirn_self());
    }
    cr_assert_eq(pirn_sleep_until(PIRN_FOREVER), PIRN_ECANCELED);
}

enum { CALLS_MAX = 10 * PN_DISPATCH_MAX * PN_KEEP_MAX };

static int call_until_slept(void *arg) {
    void (*call)(void) = *(void (**)(void))arg;
    unsigned calls = 0;
    for (; !slept; calls++) {
        cr_assert_lt(calls, (unsigned)CALLS_MAX, "the others never had a turn");
        call();
    }
    return 0;
}

static int main_never_parks(void *arg) {
    buffered = pirn_channel_create(0, 4);
    fired = pirn_deferred_succeed(NULL, NULL);
    slept = false;
    pirn_spawn(sleeper, NULL);
    pirn_yield();
    pn_alone_advance(2 * PIRN_MILLISECOND);
    pirn_spawn(call_until_slept, arg);
    while (!slept) {
        cr_assert_eq(pirn_sleep_until(pirn_after(PIRN_MILLISECOND)), 0);
    }
    pirn_deferred_release(fired);
    pirn_channel_destroy(buffered);
    return 0;
}

/* Goal: a loop of calls that can park and never do keeps neither timers nor other tasklets from running (rule 9).
 * Method: such a loop beside a sleeper whose deadline has passed, for each kind of call, in virtual time; the calls are
 *         counted. */
Test(sched, calls_that_never_park_starve_nobody, .timeout = 60) {
    static void (*const calls[])(void) = {
        send_and_receive, select_a_slot, await_the_fired, take_the_fired,          cancel_the_unstarted,
        join_the_ended,   join_the_dead, yield_alone,     receive_from_the_closed, swallow_a_cancel,
        sleep_past,       join_nobody,   await_nothing,   select_nothing,
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        pn_alone_use_virtual_clock(true);
        cr_assert_eq(pn_alone_run(main_never_parks, (void *)(uintptr_t)&calls[i]), 0, "call %zu", i);
    }
}

static int main_fills_a_buffer(void *arg) {
    size_t count = *(size_t *)arg;
    pirn_channel *channel = pirn_channel_create(0, count);
    pirn_spawn(note_once, "other");
    for (size_t i = 0; i < count; i++) {
        if (i % 50 == 0) {
            pn_flag_raise(&pn_sched_self()->hurry);
        }
        cr_assert_eq(pirn_send(channel, NULL, PIRN_FOREVER), 0);
    }
    note("main");
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: sends into a buffer switch to nobody, as in Stackless, though I/O and timers are looked at in between.
 * Method: fill a buffer of 1,000 slots with another tasklet runnable, flags raised on the way; log who goes first. */
Test(sched, looks_move_no_sender_behind_others) {
    size_t count = 1000;
    pn_alone_use_virtual_clock(true);
    cr_assert_eq(pn_alone_run(main_fills_a_buffer, &count), 0);
    expect_noted("main other");
}

static int sleep_in_the_past(void *arg) {
    (void)arg;
    cr_assert_eq(pirn_sleep_until(PIRN_NOW), 0);
    cr_assert_eq(pirn_sleep_until(1), 0);
    note("slept");
    return 0;
}

/* Goal: a deadline that has passed ends a sleep at once, PIRN_NOW without parking.
 * Method: sleep until 0 and until 1 ns after boot. */
Test(sched, sleep_until_the_past_returns) {
    cr_assert_eq(run_alone(sleep_in_the_past), 0);
    expect_noted("slept");
}

/* ---- outside of tasklets ---- */

/* Goal: the calls that need no tasklet are harmless without one.
 * Method: call them on a thread that runs no scheduler. */
Test(sched, calls_outside_a_tasklet_are_harmless) {
    pirn_yield();
    pirn_shield_enter();
    pirn_shield_leave();
    pirn_set_name("nobody");
    pirn_set_local(&slept);
    cr_assert_null(pirn_local());
    cr_assert_eq(pirn_self().id, 0);
    cr_assert_eq(pirn_worker(), -1);
    cr_assert_not(pirn_cancelled());
    cr_assert_not_null(pirn_name());
    cr_assert_eq(pirn_on_exit(free, NULL), PIRN_ETHREAD);
    cr_assert_null(pn_current());
    cr_assert_null(pn_sched_self());
}

/* ---- counts and randomness ---- */

static int park_on(void *arg) {
    int nothing;
    return pirn_recv(arg, &nothing, PIRN_FOREVER) == PIRN_ECLOSED ? 0 : PIRN_EFAILED;
}

static int main_counts(void *arg) {
    (void)arg;
    pn_sched_counts *counts = &pn_sched_self()->counts;
    pirn_channel *channel = pirn_channel_create(sizeof(int), 0);
    uint64_t spawned = counts->spawned;
    for (int i = 0; i < 5; i++) {
        pirn_spawn(park_on, channel);
    }
    spawn_as("daemon", PIRN_DAEMON, park_on, channel);
    cr_assert_eq(counts->live, 7);
    cr_assert_eq(counts->parked, 0);
    let_others_run();
    cr_assert_eq(counts->live, 7);
    cr_assert_eq(counts->parked, 6);
    cr_assert_eq(counts->holds_drain, 6);
    cr_assert_eq(counts->spawned - spawned, 6);
    pirn_channel_destroy(channel);
    let_others_run();
    cr_assert_eq(counts->live, 1);
    cr_assert_eq(counts->parked, 0);
    cr_assert_eq(counts->failed, 0);
    return 0;
}

/* Goal: live, parked, holds_drain and spawned are exact at every moment.
 * Method: five tasklets and a daemon park and are let go; read the counts between. */
Test(sched, counts_are_exact) {
    cr_assert_eq(run_alone(main_counts), 0);
}

static uint64_t drawn[2][8];

static int draw(void *arg) {
    (void)arg;
    static int run;
    for (int i = 0; i < 8; i++) {
        drawn[run][i] = pn_random(pn_sched_self());
    }
    run++;
    return 0;
}

/* Goal: the generator gives the same numbers for the same seed, and not always the same number.
 * Method: draw eight numbers in each of two runs. */
Test(sched, random_numbers_repeat_with_their_seed) {
    cr_assert_eq(run_alone(draw), 0);
    cr_assert_eq(run_alone(draw), 0);
    cr_assert_arr_eq(drawn[0], drawn[1], sizeof drawn[0]);
    cr_assert_neq(drawn[0][0], drawn[0][1]);
    cr_assert_neq(drawn[0][0], 0);
}

/* ---- large numbers ---- */

static unsigned ran;

static int count_me(void *arg) {
    ran += (unsigned)(uintptr_t)arg;
    return 0;
}

static int main_million(void *arg) {
    unsigned total = *(unsigned *)arg, batch = 1000;
    pn_sched *sched = pn_sched_self();
    for (unsigned done = 0; done < total; done += batch) {
        for (unsigned i = 0; i < batch; i++) {
            cr_assert_neq(pirn_spawn(count_me, (void *)1).id, 0);
        }
        let_others_run();
        cr_assert_eq(sched->counts.live, 1);
        cr_assert_leq(sched->stacks.in_use, 2, "the main one, and the one just left");
    }
    cr_assert_leq(sched->slab_count, batch / PN_SLAB_TASKLETS + 1, "records of ended tasklets are used again");
    return 0;
}

/* Goal: a million spawns run, each exactly once, in constant memory.
 * Method: batches of 1,000; live, stacks and record slabs stay bounded. */
Test(sched, million_spawns_run_in_constant_memory, .timeout = 120) {
    unsigned total = (unsigned)pirn_test_count(1000000, 10000);
    pn_alone_use_virtual_clock(true);
    cr_assert_eq(pn_alone_run(main_million, &total), 0);
    cr_assert_eq(ran, total / 1000 * 1000 + (total % 1000 ? 1000 : 0));
}

static long resident_bytes(void) {
    long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    cr_assert(statm && fscanf(statm, "%*s %ld", &pages) == 1);
    fclose(statm);
    return pages * sysconf(_SC_PAGESIZE);
}

static long parked_bytes;

static int main_park_many(void *arg) {
    unsigned total = *(unsigned *)arg;
    pn_sched *sched = pn_sched_self();
    pirn_channel *channel = pirn_channel_create(sizeof(int), 0);
    long before = resident_bytes();
    for (unsigned i = 0; i < total; i++) {
        cr_assert_neq(pirn_spawn(park_on, channel).id, 0);
    }
    let_others_run();
    parked_bytes = resident_bytes() - before;
    cr_assert_eq(sched->counts.parked, total);
    cr_assert_eq(pirn_channel_balance(channel), -(int)total);
    int value = 1;
    cr_assert_eq(pirn_send(channel, &value, PIRN_NOW), 0); /* the longest queue still works at its head      */
    pirn_channel_destroy(channel);
    let_others_run();
    cr_assert_eq(sched->counts.live, 1);
    return 0;
}

/* Goal: 100,000 tasklets park at once, and a shallow one costs about a page: its stack's top page and its record.
 * Method: all receive on one channel; the growth of resident memory divided by their number. */
Test(sched, hundred_thousand_parked_cost_a_page_each, .timeout = 120) {
    unsigned total = (unsigned)pirn_test_count(100000, 5000);
    pn_alone_use_virtual_clock(true);
    stderr_catch caught; /* the one that got the value ends with PIRN_EFAILED, and says so                  */
    stderr_catch_start(&caught);
    int result = pn_alone_run(main_park_many, &total);
    free(stderr_catch_end(&caught));
    cr_assert_eq(result, 0);
    if (!is_sanitized()) {
        cr_assert_leq(parked_bytes / total, 4096 + 384 + 128, "%ld bytes each", parked_bytes / total);
    }
}
