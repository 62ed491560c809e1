/* SPDX-License-Identifier: MIT
 *
 * What: tests of reactor_thread/shutdown.c: who may go on after main's return, for how long, and how the rest ends.
 */
#include "engine.h"

#include <pirn/offload.h>
#include <pirn/reactor.h>

/* What the tasklets of a test saw; read after pirn_run. */
typedef struct witness {
    int status[4];
    unsigned cleanups;
    _Atomic bool begun;
    bool finished;
    int64_t nap_ns; /* of work_a_while, five times */
} witness;

static int run_with(int which, int64_t drain_ns, pirn_fn main_fn, witness *seen) {
    *seen = (witness){.status = {1, 1, 1, 1}, .nap_ns = drain_ns > 0 ? 4 * PIRN_MILLISECOND : 3600 * PIRN_SECOND};
    pirn_options options = engine_options(which);
    options.drain_ns = drain_ns;
    return pirn_run(&options, main_fn, seen);
}

/* One tasklet on the last worker that there is. */
static pirn_tasklet spawn_far(pirn_fn fn, void *arg, unsigned flags) {
    pirn_runtime_info info;
    cr_assert_eq(pirn_runtime_describe(&info), 0);
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.home = (int)info.workers - 1;
    options.flags = flags;
    pirn_tasklet tasklet = pirn_spawn_with(&options, fn, arg);
    cr_assert(tasklet.id != 0);
    return tasklet;
}

static bool has_begun(void *context) {
    return ((witness *)context)->begun;
}

/* As main: spawn one far away, and return when it runs. */
static int leave(pirn_fn fn, witness *seen, unsigned flags) {
    (void)spawn_far(fn, seen, flags);
    wait_until(has_begun, seen);
    return 0;
}

static void count_cleanup(void *arg) {
    ((witness *)arg)->cleanups++;
}

static int sleep_for_ever(void *arg) {
    witness *seen = arg;
    cr_assert_eq(pirn_on_exit(count_cleanup, seen), 0);
    seen->begun = true;
    seen->status[0] = pirn_sleep_until(PIRN_FOREVER);
    seen->status[1] = pirn_sleep_until(PIRN_FOREVER); /* cancellation is sticky */
    return seen->status[0];
}

static int leave_a_sleeper(void *arg) {
    return leave(sleep_for_ever, arg, 0);
}

/* Goal: without a drain, what main leaves behind is cancelled and its clean-up runs, without a report.
 * Method: a tasklet that sleeps for ever on another worker; its wait, and the next one, give PIRN_ECANCELED. */
Test(shutdown, tasklet_left_behind_is_cancelled) {
    for (int which = 0; which < ENGINE_MODES; which++) {
        witness seen;
        captured said = capture_begin();
        int result = run_with(which, 0, leave_a_sleeper, &seen);
        char *text = capture_end(said);
        cr_assert_eq(result, 0);
        cr_assert_eq(seen.status[0], PIRN_ECANCELED);
        cr_assert_eq(seen.status[1], PIRN_ECANCELED);
        cr_assert_eq(seen.cleanups, 1);
        cr_assert_str_eq(text, "");
        free(text);
    }
}

static int work_a_while(void *arg) {
    witness *seen = arg;
    for (unsigned i = 0; i < 5; i++) {
        seen->status[0] = pirn_sleep_until(pirn_after(seen->nap_ns));
        if (seen->status[0] != 0) {
            return 0;
        }
    }
    seen->finished = true;
    return 0;
}

static int leave_a_worker(void *arg) {
    (void)spawn_far(work_a_while, arg, 0);
    return 0;
}

/* Goal: a drain lets the rest finish, and ends with it, not with its time.
 * Method: a tasklet that needs 20 ms, a drain of an hour: it finished, and the test's limit shows that nobody waited
 *       on. Then one that needs hours, and no drain: it did not. */
Test(shutdown, drain_lets_the_rest_finish) {
    for (int which = 0; which < ENGINE_MODES; which++) {
        witness seen;
        cr_assert_eq(run_with(which, 3600 * PIRN_SECOND, leave_a_worker, &seen), 0);
        cr_assert(seen.finished, "%s", engine_name(which));
        cr_assert_eq(run_with(which, 0, leave_a_worker, &seen), 0);
        cr_assert(!seen.finished, "without a drain there is no time");
    }
}

static int leave_a_daemon(void *arg) {
    return leave(sleep_for_ever, arg, PIRN_DAEMON);
}

/* Goal: a daemon does not hold up a drain, and is cancelled after it.
 * Method: a daemon that sleeps for ever, a drain of an hour. */
Test(shutdown, daemon_does_not_hold_the_drain) {
    for (int which = 0; which < ENGINE_MODES; which++) {
        witness seen;
        cr_assert_eq(run_with(which, 3600 * PIRN_SECOND, leave_a_daemon, &seen), 0);
        cr_assert_eq(seen.status[0], PIRN_ECANCELED);
    }
}

static int late_child(void *arg) {
    ((witness *)arg)->status[2] = pirn_sleep_until(PIRN_FOREVER);
    return 0;
}

static void clean_up_slowly(void *arg) {
    witness *seen = arg;
    pirn_deferred *call = pirn_call_later(3 * PIRN_MILLISECOND); /* clean-ups are shielded and may use the reactor */
    seen->status[1] = pirn_await(call, NULL, PIRN_FOREVER);
    pirn_deferred_release(call);
    (void)pirn_spawn(late_child, seen);
    pirn_yield();
    seen->cleanups++;
}

static int spawn_in_cleanup(void *arg) {
    cr_assert_eq(pirn_on_exit(clean_up_slowly, arg), 0);
    ((witness *)arg)->begun = true;
    return pirn_sleep_until(PIRN_FOREVER);
}

static int leave_a_spawner(void *arg) {
    return leave(spawn_in_cleanup, arg, 0);
}

/* Goal: a clean-up may still use the reactor, and what it spawns is cancelled in its turn.
 * Method: a clean-up that waits for a call of the reactor and then spawns a tasklet that waits for ever. */
Test(shutdown, cleanup_may_wait_and_spawn) {
    for (int which = 0; which < ENGINE_MODES; which++) {
        witness seen;
        cr_assert_eq(run_with(which, 0, leave_a_spawner, &seen), 0);
        cr_assert_eq(seen.status[1], 0, "%s: %s", engine_name(which), pirn_error_name(seen.status[1]));
        cr_assert_eq(seen.cleanups, 1);
        cr_assert_eq(seen.status[2], PIRN_ECANCELED);
    }
}

static int shielded_for_ever(void *arg) {
    witness *seen = arg;
    seen->begun = true;
    pirn_shield_enter();
    pirn_deferred *call = pirn_call_later(3600 * PIRN_SECOND);
    seen->status[0] = pirn_await(call, NULL, PIRN_FOREVER);
    pirn_deferred_release(call);
    pirn_shield_leave();
    return 0;
}

static int leave_a_shielded_one(void *arg) {
    return leave(shielded_for_ever, arg, 0);
}

/* Goal: a tasklet that shields itself against its cancellation is ended by the end of what it waits for.
 * Method: shielded, it waits for a call an hour away; after the grace the call fails with PIRN_ECLOSED. */
Test(shutdown, shielded_wait_ends_with_the_services) {
    for (int which = 0; which < ENGINE_MODES; which++) {
        witness seen;
        cr_assert_eq(run_with(which, 0, leave_a_shielded_one, &seen), 0);
        cr_assert_eq(seen.status[0], PIRN_ECLOSED);
    }
}

static int stubborn(void *arg) {
    witness *seen = arg;
    pirn_time until = pirn_after(6 * PIRN_SECOND);
    pirn_shield_enter();
    while (pirn_now() < until) {
        (void)pirn_sleep_until(pirn_after(20 * PIRN_MILLISECOND));
    }
    pirn_shield_leave();
    seen->finished = true;
    return 0;
}

static int leave_a_stubborn_one(void *arg) {
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.name = "stubborn";
    cr_assert(pirn_spawn_with(&options, stubborn, arg).id != 0);
    pirn_yield();
    return 0;
}

/* Goal: a tasklet that will not end is named, once, and waited for.
 * Method: one that shields itself for six seconds; a line names it and what it waits for, and pirn_run returns after
 *       it. */
Test(shutdown, stubborn_tasklet_is_named) {
    witness seen;
    captured said = capture_begin();
    int result = run_with(0, 0, leave_a_stubborn_one, &seen);
    char *text = capture_end(said);
    cr_assert_eq(result, 0);
    cr_assert(seen.finished);
    cr_assert(strstr(text, "\"stubborn\" still lives 5 s after it was cancelled: it waits for sleep, shielded"), "%s",
              text);
    free(text);
}

static int never_started(void *arg) {
    ((witness *)arg)->finished = true;
    return 0;
}

static int leave_unstarted_ones(void *arg) {
    for (unsigned i = 0; i < 1000; i++) {
        (void)pirn_spawn(never_started, arg);
    }
    pirn_throw(pirn_self(), PIRN_ECANCELED, true); /* main is struck while it returns: too late */
    return 7;
}

/* Goal: tasklets that wait for their first turn are cancelled too, and a strike at main comes too late to matter.
 * Method: a thousand spawned right before main returns, with a throw at itself; main's result is kept. */
Test(shutdown, unstarted_tasklets_end_too) {
    for (int which = 0; which < ENGINE_MODES; which++) {
        witness seen;
        cr_assert_eq(run_with(which, 0, leave_unstarted_ones, &seen), 7);
    }
}

static _Atomic bool job_runs;

static int sleep_on_a_thread(void *arg, pirn_result *out) {
    (void)out;
    job_runs = true;
    usleep(*(unsigned *)arg);
    return 0;
}

static bool job_has_begun(void *context) {
    (void)context;
    return job_runs;
}

static pirn_deferred *note_status(void *context, pirn_result *result) {
    ((witness *)context)->status[3] = result->status;
    pirn_result_drop(result);
    return NULL;
}

static int leave_a_job(void *arg) {
    static unsigned microseconds = 50000;
    job_runs = false;
    pirn_deferred *job = pirn_offload(sleep_on_a_thread, &microseconds, NULL);
    cr_assert_eq(pirn_deferred_add_both(job, note_status, arg), 0);
    pirn_deferred_release(job);
    wait_until(job_has_begun, NULL);
    return 0;
}

/* Goal: a job that runs when main returns is waited for, and its result still delivered.
 * Method: a job of 50 ms; its callback has run, with success, when pirn_run returns. */
Test(shutdown, running_job_is_delivered) {
    for (int which = 0; which < ENGINE_MODES; which++) {
        witness seen;
        cr_assert_eq(run_with(which, 0, leave_a_job, &seen), 0);
        cr_assert_eq(seen.status[3], 0, "%s", pirn_error_name(seen.status[3]));
    }
}

static pirn_deferred *hop(void *context, pirn_result *result) {
    (void)result;
    ++*(unsigned *)context;
    return NULL;
}

static int release_far_away(void *arg) {
    pirn_deferred *deferred = arg;
    (void)pirn_deferred_fire(deferred, NULL, NULL);
    pirn_deferred_release(deferred); /* perhaps the last hold: a message to its home */
    return 0;
}

static unsigned hops;

static int leave_messages(void *arg) {
    (void)arg;
    hops = 0;
    for (unsigned i = 0; i < 200; i++) {
        pirn_deferred *deferred = pirn_deferred_create(NULL, NULL);
        cr_assert_eq(pirn_deferred_add_both(deferred, hop, &hops), 0);
        (void)spawn_far(release_far_away, deferred, 0);
    }
    return 0;
}

/* Goal: no message is under way when the threads take themselves apart.
 * Method: two hundred deferreds that are fired and given up on another worker while main returns; the sanitizer builds
 *         find what was not delivered as a leak. A drain lets the far tasklets begin. */
Test(shutdown, messages_under_way_are_delivered) {
    unsigned rounds = (unsigned)pirn_test_count(100, 5);
    for (unsigned i = 0; i < rounds; i++) {
        witness seen;
        cr_assert_eq(run_with((int)(i % ENGINE_MODES), PIRN_SECOND, leave_messages, &seen), 0);
        cr_assert_eq(hops, 200);
    }
}
