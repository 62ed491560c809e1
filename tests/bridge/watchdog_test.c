/* SPDX-License-Identifier: MIT
 *
 * What: the watchdog's lines, read from standard error while the guilty one still runs: it goes on until the line is
 *       there, so no test here guesses how long anything takes.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>

#include "captured.h"
#include "modes.h"
#include "runtime.h"

#define SLICE_NS (20 * PIRN_MILLISECOND)

/* Run `main_fn` with short slices and standard error captured, which is returned. */
static const char *run_captured(const test_mode *mode, pirn_fn main_fn, void *arg, int *result) {
    pirn_options options;
    test_mode_options(mode, &options);
    options.slice_warn_ns = SLICE_NS;
    captured_begin();
    *result = pirn_run(&options, main_fn, arg);
    return captured_end();
}

/* Keep the thread until standard error says `text` at least `count` times. */
__attribute__((noinline)) static void spin_until_told(const char *text, unsigned count) {
    while (captured_count(captured_now(), text) < count) {
    }
}

/* ---- tasklets ---- */

static int be_greedy(void *arg) {
    (void)arg;
    spin_until_told("\"greedy\" has run for", 1);
    return 0;
}

static int spawn_greedy(void *arg) {
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.name = "greedy";
    options.flags = PIRN_JOINABLE;
    pirn_tasklet greedy = pirn_spawn_with(&options, arg ? *(pirn_fn *)arg : be_greedy, NULL);
    return pirn_join(greedy, NULL, PIRN_FOREVER);
}

/* Goal: a tasklet that keeps its worker is named, with its worker and where it was spawned.
 * Method: it spins until it reads its own line. */
Test(watchdog, long_slice_is_reported_with_name_and_origin, .timeout = 60) {
    for (size_t i = 0; i < TEST_MODES; i++) {
        int result;
        const char *text = run_captured(&test_modes[i], spawn_greedy, NULL, &result);
        cr_assert_eq(result, 0, "%s", text);
        const char *line = strstr(text, "pirn: tasklet ");
        cr_assert_not_null(line, "%s", text);
        cr_assert_not_null(strstr(line, " on worker 0 without a park or yield (spawned at "), "%s", text);
        cr_assert_not_null(strstr(line, "watchdog_test.c:"), "%s", text);
    }
}

static int stay_for_many_slices(void *arg) {
    be_greedy(arg);
    pirn_time until = pirn_after(10 * SLICE_NS);
    while (pirn_now() < until) {
    }
    return 0;
}

/* Goal: one slice, one line.
 * Method: after its line the tasklet goes on for ten times as long, then ends; the line is counted. */
Test(watchdog, one_slice_is_reported_once, .timeout = 60) {
    pirn_fn body = stay_for_many_slices;
    for (size_t i = 0; i < TEST_MODES; i++) {
        int result;
        const char *text = run_captured(&test_modes[i], spawn_greedy, &body, &result);
        cr_assert_eq(result, 0, "%s", text);
        cr_assert_eq(captured_count(text, "\"greedy\" has run for"), 1, "%s", text);
    }
}

static int two_slices(void *arg) {
    be_greedy(arg);
    /* A park, not a yield: with nobody else to run a yield comes back without a dispatch. */
    (void)pirn_sleep_until(pirn_after(1));
    spin_until_told("\"greedy\" has run for", 2);
    return 0;
}

/* Goal: the next slice of the same tasklet is reported again.
 * Method: spin, park, spin: each until its line is there. */
Test(watchdog, next_slice_is_reported_again, .timeout = 60) {
    pirn_fn body = two_slices;
    for (size_t i = 0; i < TEST_MODES; i++) {
        int result;
        const char *text = run_captured(&test_modes[i], spawn_greedy, &body, &result);
        cr_assert_eq(result, 0, "%s", text);
    }
}

/* The offset of `address` in the file it was loaded from, as the report prints it. */
static unsigned long offset_of(void *address) {
    Dl_info place;
    cr_assert_neq(dladdr(address, &place), 0);
    return (unsigned long)((char *)address - (char *)place.dli_fbase);
}

/* Whether one of the frames lies in the first bytes of the function at `start`. */
static bool has_frame_in(const char *text, unsigned long start, unsigned long bytes) {
    for (const char *at = strstr(text, "pirn:     #"); at; at = strstr(at + 1, "pirn:     #")) {
        const char *end = strchr(at, '\n');
        const char *plus = end ? memrchr(at, '+', (size_t)(end - at)) : NULL;
        unsigned long offset = plus ? strtoul(plus + 1, NULL, 16) : 0;
        if (offset >= start && offset < start + bytes) {
            return true;
        }
    }
    return false;
}

/* Goal: the line is followed by the tasklet's stack, which leads to the guilty code.
 * Method: the function that spins is in the middle of the stack; a frame of the report must lie in it. */
Test(watchdog, report_shows_the_stack_of_the_tasklet, .timeout = 60) {
    unsigned long start = offset_of((void *)(uintptr_t)be_greedy);
    int result;
    const char *text = run_captured(&test_modes[0], spawn_greedy, NULL, &result);
    cr_assert_eq(result, 0, "%s", text);
    cr_assert_not_null(strstr(text, "pirn:     #0 "), "%s", text);
    cr_assert(has_frame_in(text, start, 256), "no frame in 0x%lx..: %s", start, text);
}

static int yield_long(void *arg) {
    (void)arg;
    pirn_time until = pirn_after(15 * SLICE_NS);
    while (pirn_now() < until) {
        pirn_yield();
    }
    return 0;
}

static int yield_beside_others(void *arg) {
    pirn_fn body = yield_long;
    return spawn_greedy(arg ? arg : &body);
}

/* Goal: who yields is not accused, however long it runs, not even when it is alone and a yield finds nobody to run.
 * Method: a tasklet that does nothing but yield for fifteen slices. A machine that stands still for a slice, as a
 *         virtual one may, is rightly told of; so one quiet run of ten is enough, where a wrong accusation comes in
 *         each. */
Test(watchdog, yielding_tasklet_is_not_reported, .timeout = 60) {
    for (size_t i = 0; i < TEST_MODES; i++) {
        const char *text;
        int runs = 0;
        do {
            int result;
            text = run_captured(&test_modes[i], yield_beside_others, NULL, &result);
            cr_assert_eq(result, 0, "%s", text);
            runs++;
        } while (strstr(text, "has run for") && runs < 10);
        cr_assert_null(strstr(text, "has run for"), "%s", text);
    }
}

static int block_in_a_call(void *arg) {
    (void)arg;
    while (captured_count(captured_now(), "\"greedy\" has run for") < 1) {
        usleep(1000);
    }
    return 0;
}

/* Goal: a blocking call is a long slice too, though it uses no processor.
 * Method: the tasklet sleeps in the kernel again and again until its line is there. */
Test(watchdog, blocking_call_is_reported, .timeout = 60) {
    pirn_fn body = block_in_a_call;
    int result;
    const char *text = run_captured(&test_modes[0], spawn_greedy, &body, &result);
    cr_assert_eq(result, 0, "%s", text);
}

/* ---- callbacks ---- */

static _Atomic bool spun;
/* The line to spin for: a loaded machine may have the watchdog tell of other threads first. */
static char awaited[64];

static void deliver_spin(pn_message *message) {
    (void)message;
    spin_until_told(awaited, 1);
    spun = true;
}

static int wait_for_spin(void) {
    while (!spun) {
        int error = pirn_sleep_until(pirn_after(PIRN_MILLISECOND));
        if (error != 0) {
            return error;
        }
    }
    return 0;
}

static int spin_on_a_worker(void *arg) {
    static pn_message message;
    unsigned home = *(unsigned *)arg;
    snprintf(awaited, sizeof awaited, "ms on worker %u: nothing else runs there", home);
    message.deliver = deliver_spin;
    spun = false;
    pn_below->post(home, &message);
    return wait_for_spin();
}

/* Goal: a callback that keeps a worker is reported though no tasklet runs.
 * Method: a message that spins where it is delivered, until its line is there. */
Test(watchdog, callback_that_keeps_a_worker_is_reported, .timeout = 60) {
    for (size_t i = 0; i < TEST_MODES; i++) {
        int result;
        unsigned home = test_modes[i].workers - 1;
        const char *text = run_captured(&test_modes[i], spin_on_a_worker, &home, &result);
        cr_assert_eq(result, 0, "%s", text);
        cr_assert_not_null(strstr(text, awaited), "%s", text);
    }
}

static int spin_on_the_reactor(void *arg) {
    static pn_message message;
    (void)arg;
    snprintf(awaited, sizeof awaited, "the reactor has been in one turn for");
    message.deliver = deliver_spin;
    spun = false;
    pn_reactor_post(&message);
    return wait_for_spin();
}

/* Goal: the reactor is watched too.
 * Method: a message to it that spins there, until its line is there. */
Test(watchdog, long_reactor_turn_is_reported, .timeout = 60) {
    int result;
    const char *text = run_captured(&test_modes[0], spin_on_the_reactor, NULL, &result);
    cr_assert_eq(result, 0, "%s", text);
    cr_assert_not_null(strstr(text, awaited), "%s", text);
}

/* ---- the ticker ---- */

static _Atomic bool sleeper_ran;

static int sleep_shortly(void *arg) {
    int error = pirn_sleep_until(*(pirn_time *)arg);
    sleeper_ran = true;
    return error;
}

/* A slice of any length: until the sleeper is due and the ticker has come by, which without a ticker never ends. */
static int run_beside_a_sleeper(void *arg) {
    (void)arg;
    for (int round = 0; round < 20; round++) {
        pirn_time due = pirn_after(PIRN_MILLISECOND);
        sleeper_ran = false;
        TEST_CHECK(pirn_spawn(sleep_shortly, &due).id != 0);
        pirn_yield();
        pn_flag_lower(&pn_sched_self()->hurry);
        while (pirn_now() < due || !pn_flag_raised(&pn_sched_self()->hurry)) {
        }
        pirn_yield();
        TEST_CHECK(sleeper_ran);
    }
    return 0;
}

/* Goal: whatever the slices last, a timer waits for the running one only: the ticker asks for a look beside it, also
 *       where no watchdog is wanted (rule 9).
 * Method: a slice that lasts until its worker's flag is raised; after one yield the sleeper has run. */
Test(watchdog, timer_waits_for_one_slice_of_any_length, .timeout = 60) {
    for (size_t i = 0; i < 2 * TEST_MODES; i++) {
        pirn_options options;
        test_mode_options(&test_modes[i / 2], &options);
        options.slice_warn_ns = i % 2 ? PIRN_FOREVER : options.slice_warn_ns;
        cr_assert_eq(pirn_run(&options, run_beside_a_sleeper, NULL), 0, "%s", test_modes[i / 2].name);
    }
}

/* ---- the watchdog's own cost ---- */

/* The path of the watchdog's thread in /proc; false: there is none. */
static bool find_watchdog(char *path, size_t path_bytes) {
    DIR *tasks = opendir("/proc/self/task");
    TEST_CHECK(tasks);
    bool found = false;
    for (struct dirent *entry = readdir(tasks); entry && !found; entry = readdir(tasks)) {
        char name[32] = "";
        snprintf(path, path_bytes, "/proc/self/task/%.20s/comm", entry->d_name);
        FILE *file = fopen(path, "r");
        if (file) {
            found = fgets(name, sizeof name, file) && strcmp(name, "watchdog\n") == 0;
            fclose(file);
        }
        snprintf(path, path_bytes, "/proc/self/task/%.20s/status", entry->d_name);
    }
    closedir(tasks);
    return found;
}

static int expect_no_watchdog(void *arg) {
    (void)arg;
    char path[64];
    return find_watchdog(path, sizeof path) ? PIRN_EFAILED : 0;
}

/* Goal: who wants no watchdog has none: the thread that ticks takes no signals and goes by another name.
 * Method: slice_warn_ns = PIRN_FOREVER; look at the thread list from inside. */
Test(watchdog, never_means_no_watchdog, .timeout = 60) {
    pirn_options options;
    pirn_options_init(&options);
    options.workers = 1;
    options.slice_warn_ns = PIRN_FOREVER;
    cr_assert_eq(pirn_run(&options, expect_no_watchdog, NULL), 0);
}

typedef struct quiet_run {
    const test_mode *mode;
    pirn_foreign *foreign;
    pirn_channel *channel;
    _Atomic bool ready;
    int result;
} quiet_run;

static int sleep_until_posted(void *arg) {
    quiet_run *run = arg;
    run->channel = pirn_channel_create(0, 0);
    run->foreign = pirn_foreign_open();
    run->ready = true;
    int error = pirn_recv(run->channel, NULL, PIRN_FOREVER);
    error = error == 0 ? spawn_greedy(NULL) : error;
    pirn_foreign_close(run->foreign);
    pirn_channel_destroy(run->channel);
    return error;
}

static void *run_quietly(void *arg) {
    quiet_run *run = arg;
    pirn_options options;
    test_mode_options(run->mode, &options);
    options.slice_warn_ns = SLICE_NS;
    run->result = pirn_run(&options, sleep_until_posted, run);
    return NULL;
}

static long count_waits(const char *path) {
    char line[128];
    long waits = -1;
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file);
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "voluntary_ctxt_switches: %ld", &waits) == 1) {
            break;
        }
    }
    fclose(file);
    return waits;
}

/* Goal: when everybody sleeps the watchdog sleeps too, and it is awake again for the next long slice.
 * Method: in a quiet program, wait until its thread has not run for fifty of its ticks; then wake a worker and let a
 *         tasklet there spin until it is reported. */
Test(watchdog, sleeps_with_the_workers_and_wakes_with_them, .timeout = 120) {
    for (size_t i = 0; i < TEST_MODES; i++) {
        quiet_run run = {.mode = &test_modes[i]};
        pthread_t thread;
        char path[64];
        captured_begin();
        cr_assert_eq(pthread_create(&thread, NULL, run_quietly, &run), 0);
        while (!run.ready || !find_watchdog(path, sizeof path)) {
            usleep(1000);
        }
        long before, after = count_waits(path);
        do {
            before = after;
            usleep(50 * SLICE_NS / 2 / PIRN_MICROSECOND);
            after = count_waits(path);
        } while (after != before);
        while (pirn_post(run.foreign, run.channel, NULL) == PIRN_EAGAIN) {
        }
        cr_assert_eq(pthread_join(thread, NULL), 0);
        const char *text = captured_end();
        cr_assert_eq(run.result, 0, "%s: %s", test_modes[i].name, text);
        cr_assert_not_null(strstr(text, "\"greedy\" has run for"), "%s", text);
    }
}
