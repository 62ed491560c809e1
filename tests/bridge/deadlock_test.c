/* SPDX-License-Identifier: MIT
 *
 * What: the reports of total and partial deadlocks, read from the stderr of a child process.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "modes.h"

static int wait_on(void *arg) {
    char byte;
    (void)pirn_recv(arg, &byte, PIRN_FOREVER);
    return 0;
}

static pirn_channel *named_channel(const char *name) {
    pirn_channel_options options;
    pirn_channel_options_init(&options);
    options.name = name;
    return pirn_channel_create_with(1, 0, &options);
}

static void spawn_named(const char *name, pirn_fn fn, void *arg, int home) {
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.name = name;
    options.home = home;
    TEST_CHECK(pirn_spawn_with(&options, fn, arg).id != 0);
}

static int deadlocked_main(void *arg) {
    (void)arg;
    pirn_runtime_info info;
    TEST_CHECK(pirn_runtime_describe(&info) == 0);
    pirn_channel *channel = named_channel("the void");
    spawn_named("weaver", wait_on, channel, 0);
    spawn_named("spinner", wait_on, channel, (int)info.workers - 1);
    char byte;
    int error = pirn_recv(channel, &byte, PIRN_FOREVER);
    pirn_channel_destroy(channel);
    return error;
}

static int total(const test_mode *mode) {
    return test_run_in(mode, deadlocked_main, NULL) == PIRN_EDEADLK ? 3 : 4;
}

Test(deadlock, total_is_reported_and_main_gets_edeadlk) {
    /* Goal: with every tasklet parked and nothing outside, the report names each, and main's wait returns PIRN_EDEADLK
     * (rule 18).
     * Method: main and two tasklets, on both workers, receive where nobody sends; the lines are read. */
    for (size_t i = 0; i < TEST_MODES; i++) {
        char text[4096];
        cr_assert(test_run_child(total, &test_modes[i], text, sizeof text) == 3, "%s: %s", test_modes[i].name, text);
        cr_assert(strstr(text, "all 3 tasklets are parked and nothing can wake them"), "%s", text);
        cr_assert(strstr(text, "\"weaver\" waits for receive on the void"), "%s", text);
        cr_assert(strstr(text, "\"spinner\" waits for receive on the void"), "%s", text);
        cr_assert(strstr(text, "\"main\" waits for receive on the void"), "%s", text);
        cr_assert(strstr(text, "deadlock_test.c:"), "%s", text);
    }
}

static int post_later(void *arg, pirn_result *out) {
    (void)out;
    void **parts = arg;
    usleep(30000);
    char byte = 'p';
    while (pirn_post(parts[0], parts[1], &byte) == PIRN_EAGAIN) {
        usleep(100);
    }
    pirn_foreign_close(parts[0]);
    return 0;
}

static int saved_by_foreign(void *arg) {
    (void)arg;
    pirn_channel *channel = named_channel("outside");
    void *parts[2] = {pirn_foreign_open(), channel};
    pirn_deferred *poster = pirn_offload(post_later, parts, NULL);
    char byte;
    int error = pirn_recv(channel, &byte, PIRN_FOREVER);
    TEST_CHECK(error == 0);
    TEST_CHECK(pirn_await(poster, NULL, PIRN_FOREVER) == 0);
    pirn_deferred_release(poster);
    error = pirn_recv(channel, &byte, PIRN_FOREVER); /* the handle is closed: now it is one */
    pirn_channel_destroy(channel);
    return error;
}

static int foreign(const test_mode *mode) {
    return test_run_in(mode, saved_by_foreign, NULL) == PIRN_EDEADLK ? 3 : 4;
}

Test(deadlock, open_foreign_handle_is_hope) {
    /* Goal: while a foreign handle or a job is out nothing is called a deadlock; afterwards it is.
     * Method: a thread posts after a while, closes its handle, and main waits once more. */
    for (size_t i = 0; i < TEST_MODES; i++) {
        char text[4096];
        cr_assert(test_run_child(foreign, &test_modes[i], text, sizeof text) == 3, "%s: %s", test_modes[i].name, text);
        char *first = strstr(text, "nothing can wake");
        cr_assert(first && !strstr(first + 1, "nothing can wake"), "%s", text);
    }
}

/* Each way in which a last hope can end without a message to anybody. */
typedef int (*hope)(void);

static void on_stop(void *arg) {
    *(_Atomic(bool) *)arg = true;
}

static int work_until_stopped(void *arg, pirn_result *out) {
    (void)out;
    while (!*(_Atomic(bool) *)arg) {
        usleep(1000);
    }
    usleep(20000); /* it ends when main has long been asleep */
    return 0;
}

static int hope_for_a_cancelled_job(void) {
    static _Atomic(bool) stopped;
    stopped = false;
    pirn_work work = {.work = work_until_stopped, .arg = (void *)&stopped, .interrupt = on_stop};
    pirn_deferred *job = pirn_offload_with(&work);
    (void)pirn_sleep_until(pirn_after(5 * PIRN_MILLISECOND));
    pirn_deferred_cancel(job);
    pirn_deferred_release(job);
    return 0;
}

static int hope_for_a_withdrawn_call(void) {
    pirn_deferred *call = pirn_call_later(3600 * PIRN_SECOND);
    pirn_deferred_cancel(call);
    pirn_deferred_release(call);
    return 0;
}

static int hope_for_a_closed_signal(void) {
    pirn_signal_close(pirn_signal_open(SIGUSR1));
    return 0;
}

static int hope_for_a_closed_listener(void) {
    pirn_listener *listener;
    int error = pirn_listen("127.0.0.1:0", NULL, &listener);
    if (!error) {
        pirn_listener_close(listener);
    }
    return error;
}

static int hope_for_a_call_that_came(void) {
    pirn_deferred *call = pirn_call_later(PIRN_MILLISECOND);
    int error = pirn_await(call, NULL, PIRN_FOREVER);
    pirn_deferred_release(call);
    return error;
}

static int hope_and_wait(void *arg) {
    const hope *one = arg;
    pirn_channel *channel = named_channel("nowhere");
    int error = (*one)();
    char byte;
    TEST_CHECK(error == 0);
    error = pirn_recv(channel, &byte, PIRN_FOREVER);
    pirn_channel_destroy(channel);
    return error;
}

static int hopeless(const test_mode *mode) {
    static hope hopes[] = {hope_for_a_cancelled_job, hope_for_a_withdrawn_call, hope_for_a_closed_signal,
                           hope_for_a_closed_listener, hope_for_a_call_that_came};
    for (unsigned round = 0; round < pirn_test_count(20, 2); round++) {
        for (size_t i = 0; i < sizeof hopes / sizeof *hopes; i++) {
            if (test_run_in(mode, hope_and_wait, &hopes[i]) != PIRN_EDEADLK) {
                return 4;
            }
        }
    }
    return 3;
}

Test(deadlock, last_hope_that_ends_in_silence_is_noticed) {
    /* Goal: a deadlock is told at once also when the last thing outside ends with no message to a worker.
     * Method: a cancelled job, a withdrawn call, a closed signal and listener, then main waits for ever. Nothing else
     * wakes a worker (test_mode_options), so a missed verdict hangs. */
    for (size_t i = 0; i < TEST_MODES; i++) {
        enum { TEXT_BYTES = 1 << 20 };
        char *text = malloc(TEXT_BYTES);
        cr_assert(test_run_child(hopeless, &test_modes[i], text, TEXT_BYTES) == 3, "%s: %s", test_modes[i].name, text);
        free(text);
    }
}

typedef struct last_will {
    _Atomic(bool) stopped;
    pirn_deferred *heir; /* the job's hold */
} last_will;

static void stop_will(void *arg) {
    ((last_will *)arg)->stopped = true;
}

static int work_to_the_end(void *arg, pirn_result *out) {
    return work_until_stopped((void *)&((last_will *)arg)->stopped, out);
}

static void execute_will(void *arg) {
    pirn_deferred *heir = ((last_will *)arg)->heir; /* the will is on the stack of who wakes by this */
    (void)pirn_deferred_fire(heir, NULL, NULL);
    pirn_deferred_release(heir);
}

static int wait_for_the_heir(void *arg) {
    (void)arg;
    last_will will = {.heir = pirn_deferred_create(NULL, NULL)};
    pirn_deferred *heir = pirn_deferred_retain(will.heir);
    pirn_work work = {.work = work_to_the_end, .arg = &will, .drop = execute_will, .interrupt = stop_will};
    pirn_deferred *job = pirn_offload_with(&work);
    (void)pirn_sleep_until(pirn_after(5 * PIRN_MILLISECOND));
    pirn_deferred_cancel(job);
    pirn_deferred_release(job);
    int error = pirn_await(heir, NULL, PIRN_FOREVER);
    pirn_deferred_release(heir);
    return error;
}

Test(deadlock, cancelled_job_that_still_runs_is_hope) {
    /* Goal: a job that was cancelled while it ran may still wake somebody when it ends: no verdict before.
     * Method: its drop fires what main waits for. */
    test_run_everywhere(wait_for_the_heir, NULL);
}

static int no_work(void *arg, pirn_result *out) {
    (void)arg, (void)out;
    return 0;
}

static _Atomic(bool) dropping;

static void execute_will_slowly(void *arg) {
    pirn_deferred *heir = ((last_will *)arg)->heir;
    dropping = true;
    usleep(50000); /* the home cancels, and has nothing else to wait for */
    (void)pirn_deferred_fire(heir, NULL, NULL);
    pirn_deferred_release(heir);
}

static int cancel_at_the_drop(void *arg) {
    (void)arg;
    last_will will = {.heir = pirn_deferred_create(NULL, NULL)};
    pirn_deferred *heir = pirn_deferred_retain(will.heir);
    dropping = false;
    pirn_deferred *job = pirn_offload(no_work, &will, execute_will_slowly);
    while (!dropping) {
        (void)pirn_sleep_until(pirn_after(PIRN_MILLISECOND));
    }
    TEST_CHECK(pirn_deferred_cancel(job) == 0);
    TEST_CHECK(pirn_await(job, NULL, PIRN_NOW) == PIRN_ECANCELED);
    pirn_deferred_release(job);
    int error = pirn_await(heir, NULL, PIRN_FOREVER);
    pirn_deferred_release(heir);
    return error;
}

Test(deadlock, job_that_drops_its_argument_is_hope) {
    /* Goal: as above, for one that has ended its work and is cancelled before its result is given.
     * Method: its drop takes its time, and then fires what main waits for. */
    test_run_everywhere(cancel_at_the_drop, NULL);
}

/* One way of arrival that finds the deferred paused, and then nobody's. */
static int pause_and_release(void *arg) {
    pirn_deferred *late = *(bool *)arg ? pirn_offload(no_work, NULL, NULL) : pirn_call_later(PIRN_MILLISECOND);
    TEST_CHECK(pirn_deferred_pause(late) == 0);
    (void)pirn_sleep_until(pirn_after(20 * PIRN_MILLISECOND)); /* it comes meanwhile, or a little later */
    pirn_deferred_release(late);
    char byte;
    pirn_channel *channel = named_channel("nowhere");
    int error = pirn_recv(channel, &byte, PIRN_FOREVER);
    pirn_channel_destroy(channel);
    return error == PIRN_EDEADLK ? 0 : PIRN_EFAILED;
}

static int pause_both(const test_mode *mode) {
    bool job = true, call = false;
    return test_run_in(mode, pause_and_release, &job) == 0 && test_run_in(mode, pause_and_release, &call) == 0 ? 3 : 4;
}

Test(deadlock, paused_deferred_is_no_hope_when_its_result_has_come) {
    /* Goal: a job or call whose deferred was paused counts until its result is there, not until the chain has run.
     * Method: pause, let it arrive, release; then main waits in vain, and hears so. */
    for (size_t i = 0; i < TEST_MODES; i++) {
        char text[4096];
        cr_assert(test_run_child(pause_both, &test_modes[i], text, sizeof text) == 3, "%s: %s", test_modes[i].name,
                  text);
    }
}

static int partly_stuck(void *arg) {
    (void)arg;
    pirn_channel *channel = named_channel("loom");
    spawn_named("stuck one", wait_on, channel, 0);
    spawn_named("stuck two", wait_on, channel, 0);
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.flags = PIRN_DAEMON;
    options.name = "patient";
    TEST_CHECK(pirn_spawn_with(&options, wait_on, channel).id != 0);
    for (int i = 0; i < 30; i++) {
        TEST_CHECK(pirn_sleep_until(pirn_after(10 * PIRN_MILLISECOND)) == 0);
    }
    pirn_channel_destroy(channel);
    return 0;
}

static int partial(const test_mode *mode) {
    pirn_options options;
    test_mode_options(mode, &options);
    options.stuck_warn_ns = 50 * PIRN_MILLISECOND;
    return pirn_run(&options, partly_stuck, NULL) == 0 ? 3 : 4;
}

static unsigned count_of(const char *text, const char *what) {
    unsigned count = 0;
    for (const char *at = text; (at = strstr(at, what)) != NULL; at++) {
        count++;
    }
    return count;
}

Test(deadlock, partial_is_reported_once_and_grouped) {
    /* Goal: beside a program that lives on, tasklets parked for too long are named once, by object; daemons are not.
     * Method: stuck_warn_ns 50 ms, two stuck receivers, main sleeping 300 ms in short naps. */
    for (size_t i = 0; i < TEST_MODES; i++) {
        char text[4096];
        cr_assert(test_run_child(partial, &test_modes[i], text, sizeof text) == 3, "%s: %s", test_modes[i].name, text);
        cr_assert(count_of(text, "2 tasklets are parked on receive on loom") == 1, "%s", text);
        cr_assert(count_of(text, "\"stuck one\"") == 1 && count_of(text, "\"stuck two\"") == 1, "%s", text);
        cr_assert(count_of(text, "patient") == 0 && count_of(text, "\"main\"") == 0, "%s", text);
    }
}
