/* SPDX-License-Identifier: MIT
 *
 * What: the reports of total and partial deadlocks, read from the stderr of a child process.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "modes.h"

/* Run `body` in a child with its stderr caught in `text`; returns the child's exit code. */
static int run_child(int (*body)(const test_mode *mode), const test_mode *mode, char *text, size_t text_bytes) {
    int ends[2];
    cr_assert(pipe(ends) == 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        _exit(body(mode));
    }
    close(ends[1]);
    size_t length = 0;
    ssize_t count;
    while ((count = read(ends[0], text + length, text_bytes - 1 - length)) > 0) {
        length += (size_t)count;
    }
    text[length] = '\0';
    close(ends[0]);
    int status;
    cr_assert(waitpid(child, &status, 0) == child);
    cr_assert(WIFEXITED(status), "the child died: %s", text);
    return WEXITSTATUS(status);
}

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
        cr_assert(run_child(total, &test_modes[i], text, sizeof text) == 3, "%s: %s", test_modes[i].name, text);
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
        cr_assert(run_child(foreign, &test_modes[i], text, sizeof text) == 3, "%s: %s", test_modes[i].name, text);
        char *first = strstr(text, "nothing can wake");
        cr_assert(first && !strstr(first + 1, "nothing can wake"), "%s", text);
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
        cr_assert(run_child(partial, &test_modes[i], text, sizeof text) == 3, "%s: %s", test_modes[i].name, text);
        cr_assert(count_of(text, "2 tasklets are parked on receive on loom") == 1, "%s", text);
        cr_assert(count_of(text, "\"stuck one\"") == 1 && count_of(text, "\"stuck two\"") == 1, "%s", text);
        cr_assert(count_of(text, "patient") == 0 && count_of(text, "\"main\"") == 0, "%s", text);
    }
}
