/* SPDX-License-Identifier: MIT
 *
 * What: tests of reactor_thread/shutdown.c: who may go on after main's return, for how long, and how the rest ends.
 */
#include "engine.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

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

/* Goal: without a drain, what main leaves behind is cancelled and its clean-up runs; one line says how many there were.
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
        cr_assert(strstr(text, "main has returned: 1 parked tasklet cancelled: "), "%s", text);
        cr_assert(strstr(text, "(sleep)"), "%s", text);
        cr_assert_eq(strchr(text, '\n')[1], '\0', "more than one line: %s", text);
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
    (void)arg;
    return pirn_sleep_until(PIRN_FOREVER);
}

static void clean_up_slowly(void *arg) {
    witness *seen = arg;
    pirn_deferred *call = pirn_call_later(3 * PIRN_MILLISECOND); /* clean-ups are shielded and may use the reactor */
    seen->status[1] = pirn_await(call, NULL, PIRN_FOREVER);
    pirn_deferred_release(call);
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.flags = PIRN_JOINABLE;
    pirn_tasklet child = pirn_spawn_with(&options, late_child, NULL);
    /* The end may cancel it in its sleep or before its first turn: both give PIRN_ECANCELED. */
    cr_assert_eq(pirn_join(child, &seen->status[2], PIRN_FOREVER), 0);
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

/* ---- whatever the program does ---- */

#define SHORT_END (50 * PIRN_MILLISECOND)

static _Atomic bool spawner_stops;

/* As pirn_run with a short end. Returns what was said; the caller frees it. */
static char *end_in(int which, pirn_fn main_fn, void *arg) {
    pirn_options options = engine_options(which);
    options.end_ns = SHORT_END;
    captured said = capture_begin();
    int result = pirn_run(&options, main_fn, arg);
    char *text = capture_end(said);
    cr_assert_eq(result, 7, "%s: %s", engine_name(which), text);
    return text;
}

static unsigned count_lines(const char *text) {
    unsigned count = 0;
    for (; *text; text++) {
        count += *text == '\n';
    }
    return count;
}

static int wait_for_ever(void *arg) {
    (void)arg;
    return pirn_sleep_until(PIRN_FOREVER);
}

/* Restarts its child whenever that ends. */
static int supervise(void *arg) {
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.flags = PIRN_JOINABLE;
    options.name = "child";
    for (;;) {
        pirn_tasklet child = pirn_spawn_with(&options, wait_for_ever, arg);
        (void)pirn_join(child, NULL, PIRN_FOREVER);
    }
    return 0;
}

static int swallow_cancels(void *arg) {
    (void)arg;
    for (;;) {
        (void)pirn_sleep_until(pirn_after(PIRN_MILLISECOND));
    }
    return 0;
}

static int swallow_shielded(void *arg) {
    pirn_channel *channel = arg;
    pirn_shield_enter();
    for (;;) {
        (void)pirn_recv(channel, NULL, PIRN_FOREVER);
    }
    return 0;
}

/* Asks for one thing after the other, shielded, and waits for nothing once all is refused. */
static int spawn_shielded(void *arg) {
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.flags = PIRN_JOINABLE;
    pirn_shield_enter();
    for (;;) {
        pirn_tasklet child = pirn_spawn_with(&options, wait_for_ever, arg);
        if (child.id != 0) {
            (void)pirn_join(child, NULL, PIRN_FOREVER);
        }
    }
    return 0;
}

static int work_shortly(void *arg, pirn_result *out) {
    (void)arg;
    (void)out;
    return 0;
}

static int ask_shielded(void *arg) {
    (void)arg;
    pirn_shield_enter();
    for (unsigned i = 0;; i++) {
        pirn_deferred *answer = i % 4 == 0   ? pirn_offload(work_shortly, NULL, NULL)
                                : i % 4 == 1 ? pirn_call_later(PIRN_MILLISECOND)
                                : i % 4 == 2 ? pirn_resolve("localhost", "80", AF_UNSPEC)
                                             : pirn_deferred_tasklet(work_shortly, NULL);
        if (answer) {
            (void)pirn_await(answer, NULL, PIRN_FOREVER);
            pirn_deferred_release(answer);
        }
    }
    return 0;
}

static int offload_shielded(void *arg) {
    (void)arg;
    pirn_shield_enter();
    for (;;) {
        pirn_deferred *answer = pirn_offload(work_shortly, NULL, NULL);
        if (answer) {
            (void)pirn_await(answer, NULL, PIRN_FOREVER);
            pirn_deferred_release(answer);
        }
    }
    return 0;
}

static int watch_signals(void *arg) {
    (void)arg;
    for (;;) {
        pirn_signal_close(pirn_signal_open(SIGUSR1));
    }
    return 0;
}

static int wait_shielded(void *arg) {
    pirn_shield_enter();
    int status = pirn_recv(arg, NULL, PIRN_FOREVER);
    pirn_shield_leave();
    return status;
}

static int yield_for_ever(void *arg) {
    (void)arg;
    for (;;) {
        pirn_yield();
    }
    return 0;
}

static int live_again(void *arg);

static void spawn_again(void *arg) {
    (void)pirn_spawn(live_again, arg);
}

static int live_again(void *arg) {
    pirn_set_name("lives again");
    cr_assert_eq(pirn_on_exit(spawn_again, arg), 0);
    return pirn_sleep_until(PIRN_FOREVER);
}

static void wait_in_exit(void *arg) {
    (void)pirn_recv(arg, NULL, PIRN_FOREVER);
}

static int exit_slowly(void *arg) {
    cr_assert_eq(pirn_on_exit(wait_in_exit, arg), 0);
    return pirn_sleep_until(PIRN_FOREVER);
}

typedef struct stubborn_kind {
    const char *name;
    pirn_fn fn;
    unsigned stages; /* lines that name it, at least: on a slow machine it may be between two waits at one of three */
} stubborn_kind;

static const stubborn_kind stubborn_kinds[] = {
    {"supervisor", supervise, 2},   {"swallower", swallow_cancels, 2}, {"shielded", wait_shielded, 2},
    {"both", swallow_shielded, 2},  {"yielder", yield_for_ever, 2},    {"in its exit", exit_slowly, 2},
    {"lives again", live_again, 0}, {"spawner", spawn_shielded, 1},    {"asker", ask_shielded, 1},
    {"watcher", watch_signals, 1},  {"worker", offload_shielded, 1},
};

typedef struct stubborn_case {
    const stubborn_kind *kind;
    pirn_channel *channel;
} stubborn_case;

static int leave_stubborn_ones(void *arg) {
    const stubborn_case *c = arg;
    pirn_runtime_info info;
    cr_assert_eq(pirn_runtime_describe(&info), 0);
    for (unsigned i = 0; i < 2 * info.workers; i++) {
        pirn_spawn_options options;
        pirn_spawn_options_init(&options);
        options.name = c->kind->name;
        options.home = (int)(i % info.workers);
        cr_assert_neq(pirn_spawn_with(&options, c->kind->fn, c->channel).id, 0);
    }
    (void)pirn_sleep_until(pirn_after(2 * PIRN_MILLISECOND));
    return 7;
}

/* Goal: pirn_run ends with main's result whatever a tasklet does with its cancellation, and names who was in the way,
 *       on one line a stage.
 * Method: four of each kind: they restart their children, swallow each cancel, wait shielded, yield for ever, wait in
 *       their clean-ups, spawn themselves again in them; the number of lines that name them. */
Test(shutdown, stubborn_tasklets_do_not_hold_the_end) {
    for (size_t i = 0; i < sizeof stubborn_kinds / sizeof *stubborn_kinds; i++) {
        stubborn_case c = {.kind = &stubborn_kinds[i], .channel = pirn_channel_create(0, 0)};
        for (int which = 0; which < ENGINE_MODES; which++) {
            char *text = end_in(which, leave_stubborn_ones, &c);
            unsigned named = 0;
            for (const char *at = text; (at = strstr(at, "not over after the cancellation")) != NULL; at++) {
                named++;
            }
            cr_assert(named >= c.kind->stages && named <= 3, "%s, %s: %s", engine_name(which), c.kind->name, text);
            cr_assert(named == 0 || strstr(text, c.kind->name), "%s", text);
            cr_assert_leq(count_lines(text), 8, "%s", text);
            free(text);
        }
        pirn_channel_destroy(c.channel);
    }
}

/* ---- callbacks that renew themselves ---- */

static unsigned renewals;

static void call_again(void);

static pirn_deferred *tick_again(void *context, pirn_result *result) {
    (void)context;
    pirn_result_drop(result);
    *result = (pirn_result){0};
    renewals++;
    call_again();
    return NULL;
}

static void call_again(void) {
    pirn_deferred *call = pirn_call_later(PIRN_MILLISECOND);
    if (call) {
        cr_assert_eq(pirn_deferred_add_both(call, tick_again, NULL), 0);
        pirn_deferred_release(call);
    }
}

static int work_nothing(void *arg, pirn_result *out) {
    (void)arg;
    (void)out;
    return 0;
}

static void offload_again(void);

static pirn_deferred *job_again(void *context, pirn_result *result) {
    (void)context;
    pirn_result_drop(result);
    *result = (pirn_result){0};
    renewals++;
    offload_again();
    return NULL;
}

static void offload_again(void) {
    pirn_deferred *job = pirn_offload(work_nothing, NULL, NULL);
    if (job) {
        cr_assert_eq(pirn_deferred_add_both(job, job_again, NULL), 0);
        pirn_deferred_release(job);
    }
}

/* A deferred at the other worker, fired at once: its callback makes the next one, here. */
static void ping(void);

static pirn_deferred *pong(void *context, pirn_result *result) {
    (void)context;
    (void)result;
    ping();
    return NULL;
}

static void ping(void) {
    pirn_runtime_info info;
    cr_assert_eq(pirn_runtime_describe(&info), 0);
    int other = (pirn_worker() + 1) % (int)info.workers;
    pirn_deferred *next = info.workers > 1 ? pirn_deferred_create_at(other, NULL, NULL) : NULL;
    if (next) {
        (void)pirn_deferred_add_both(next, pong, NULL);
        (void)pirn_deferred_fire(next, NULL, NULL);
        pirn_deferred_release(next);
    }
}

static int loop_on(void *arg) {
    (void)arg;
    return 0;
}

static int leave_callbacks(void *arg) {
    (void)arg;
    call_again();
    offload_again();
    ping();
    pirn_looping_call_release(pirn_looping_call_start(0, true, loop_on, NULL)); /* a release stops it */
    pirn_looping_call *loop = pirn_looping_call_start(0, true, loop_on, NULL);
    *(pirn_looping_call **)arg = loop;
    (void)pirn_sleep_until(pirn_after(5 * PIRN_MILLISECOND));
    return 7;
}

/* Goal: callbacks that renew themselves do not hold the end.
 * Method: a call later, a job and a deferred of another worker whose callbacks ask for the next one, and a looping
 *       call without an interval. The refusals are said once a worker. */
Test(shutdown, callbacks_that_renew_themselves_are_refused) {
    for (int which = 0; which < ENGINE_MODES; which++) {
        pirn_looping_call *loop = NULL;
        renewals = 0;
        char *text = end_in(which, leave_callbacks, &loop);
        pirn_looping_call_release(loop);
        cr_assert_gt(renewals, 2);
        cr_assert(strstr(text, "is refused: the runtime is ending"), "%s", text);
        cr_assert_leq(count_lines(text), 4, "%s", text);
        free(text);
    }
}

/* ---- foreign threads ---- */

typedef struct spawner {
    pirn_foreign *foreign;
    pirn_channel *channel;
    pthread_t thread;
} spawner;

static void *spawn_on(void *arg) {
    const spawner *s = arg;
    while (!spawner_stops) {
        (void)pirn_foreign_spawn(s->foreign, wait_for_ever, NULL);
        (void)pirn_post(s->foreign, s->channel, NULL);
        pirn_deferred *deferred = pirn_deferred_create_at(0, NULL, NULL);
        (void)(deferred && pirn_deferred_fire(deferred, NULL, NULL));
        pirn_deferred_release(deferred);
        usleep(50);
    }
    return NULL;
}

static int receive_on(void *arg) {
    while (pirn_recv(arg, NULL, PIRN_FOREVER) == 0) {
    }
    return 0;
}

static int leave_a_foreign_thread(void *arg) {
    spawner *s = arg;
    s->foreign = pirn_foreign_open();
    (void)pirn_spawn(receive_on, s->channel);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, spawn_on, s), 0);
    s->thread = thread;
    (void)pirn_sleep_until(pirn_after(5 * PIRN_MILLISECOND));
    return 7;
}

/* Goal: a foreign thread that goes on spawning, posting and firing does not hold the end.
 * Method: it does so until pirn_run has returned. */
Test(shutdown, foreign_threads_that_go_on_are_refused) {
    for (int which = 0; which < ENGINE_MODES; which++) {
        spawner s = {.channel = pirn_channel_create(0, 4)};
        spawner_stops = false;
        free(end_in(which, leave_a_foreign_thread, &s));
        spawner_stops = true;
        cr_assert_eq(pthread_join(s.thread, NULL), 0);
        pirn_foreign_close(s.foreign);
        pirn_channel_destroy(s.channel);
    }
}

/* ---- main's own clean-ups ---- */

static void swallow_in_cleanup(void *arg) {
    for (;;) {
        (void)pirn_recv(arg, NULL, PIRN_FOREVER);
    }
}

static void note_cleanup(void *arg) {
    (void)arg;
    renewals++;
}

static int leave_an_endless_cleanup(void *arg) {
    cr_assert_eq(pirn_on_exit(note_cleanup, NULL), 0);
    cr_assert_eq(pirn_on_exit(swallow_in_cleanup, arg), 0);
    pirn_deferred *call = pirn_call_later(3600 * PIRN_SECOND); /* else it were a deadlock */
    pirn_deferred_release(call);
    return 7;
}

/* Goal: a clean-up of main that waits for ever, whatever it is told, is ended, and the next one runs.
 * Method: one that waits shielded, again and again, registered after one that counts. */
Test(shutdown, endless_cleanup_of_main_is_ended) {
    for (int which = 0; which < ENGINE_MODES; which++) {
        renewals = 0;
        pirn_channel *channel = pirn_channel_create(0, 0);
        char *text = end_in(which, leave_an_endless_cleanup, channel);
        cr_assert_eq(renewals, 1);
        cr_assert(strstr(text, "its clean-ups (pirn_on_exit) still run"), "%s", text);
        free(text);
        pirn_channel_destroy(channel);
    }
}

/* ---- who never gives up the processor ---- */

static int spin(void *arg) {
    ((witness *)arg)->begun = true;
    for (volatile unsigned i = 0;; i++) {
    }
    return 0;
}

static int spin_once_cancelled(void *arg) {
    ((witness *)arg)->begun = true;
    (void)pirn_sleep_until(PIRN_FOREVER);
    return spin(arg);
}

static int leave_a_spinner(void *arg) {
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.name = "spinner";
    cr_assert_neq(pirn_spawn_with(&options, spin_once_cancelled, arg).id, 0);
    wait_until(has_begun, arg);
    return 0;
}

/* In a process of its own. */
static void run_a_spinner(int which) {
    witness seen = {0};
    pirn_options options = engine_options(which);
    options.end_ns = 20 * PIRN_MILLISECOND;
    options.slice_warn_ns = which == 1 ? PIRN_FOREVER : 0; /* with the watchdog, and without */
    (void)pirn_run(&options, leave_a_spinner, &seen);
}

/* Goal: a tasklet that neither waits, yields nor ends is named, and the process ends by an abort.
 * Method: one on main's own worker, in a child; its signal, and its last line. */
Test(shutdown, tasklet_that_never_gives_way_is_named_by_an_abort) {
    for (int which = 0; which < ENGINE_MODES; which++) {
        captured said = capture_begin();
        pid_t child = fork();
        if (child == 0) {
            struct rlimit no_core = {0, 0};
            (void)setrlimit(RLIMIT_CORE, &no_core);
            (void)signal(SIGABRT, SIG_DFL);
            run_a_spinner(which);
            _exit(0);
        }
        int status = 0;
        cr_assert_eq(waitpid(child, &status, 0), child);
        char *text = capture_end(said);
        cr_assert(!WIFEXITED(status) || WEXITSTATUS(status) != 0, "%s: it ended by itself: %s", engine_name(which),
                  text);
        cr_assert(strstr(text, "main has returned, and pirn_run() cannot: tasklet 0.2 \"spinner\" (spawned at "
                               "shutdown_test.c:"),
                  "%s: %s", engine_name(which), text);
        free(text);
    }
}
