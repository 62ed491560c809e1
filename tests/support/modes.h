/* SPDX-License-Identifier: MIT
 *
 * What: run one main tasklet in every way a program can run: each mode, and each policy of the threaded one.
 * Threads: the test's main thread.
 */
#ifndef PIRN_TEST_MODES_H
#define PIRN_TEST_MODES_H

#include <sys/wait.h>
#include <unistd.h>

#include <pirn.h>

#include "test.h"

typedef struct test_mode {
    const char *name;
    pirn_mode mode;
    pirn_poll poll;
    unsigned workers;
} test_mode;

static const test_mode test_modes[] = {
    {"threaded, reactor performs", PIRN_MODE_THREADED, PIRN_POLL_REACTOR, 2},
    {"threaded, workers perform", PIRN_MODE_THREADED, PIRN_POLL_WORKER, 2},
    {"single", PIRN_MODE_SINGLE, PIRN_POLL_REACTOR, 1},
};
#define TEST_MODES (sizeof test_modes / sizeof test_modes[0])

/* Of bridge/worker.h. */
extern int64_t pn_trim_period;

static inline void test_mode_options(const test_mode *mode, pirn_options *options) {
    pirn_options_init(options);
    options->mode = mode->mode;
    options->poll = mode->poll;
    options->workers = mode->workers;
    /* Their looks wake a worker now and then, which would hide a lost wake-up. */
    options->stuck_warn_ns = PIRN_FOREVER;
    pn_trim_period = PIRN_FOREVER;
}

static inline int test_run_in(const test_mode *mode, pirn_fn main_fn, void *arg) {
    pirn_options options;
    test_mode_options(mode, &options);
    return pirn_run(&options, main_fn, arg);
}

/* Run it in all of them; each must end with 0. */
static inline void test_run_everywhere(pirn_fn main_fn, void *arg) {
    for (size_t i = 0; i < TEST_MODES; i++) {
        int result = test_run_in(&test_modes[i], main_fn, arg);
        cr_assert(result == 0, "%s: main ended with %d", test_modes[i].name, result);
    }
}

/* Run `body` in a child with its stderr caught in `text`; returns the child's exit code. */
static inline int test_run_child(int (*body)(const test_mode *mode), const test_mode *mode, char *text,
                                 size_t text_bytes) {
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

/* In a tasklet: end the test's process with a line unless the condition holds. (A failed cr_assert jumps to the test's
 * main thread, which from a tasklet on another thread ends badly.) */
#define TEST_CHECK(condition)                                                                                          \
    ((condition)                                                                                                       \
         ? (void)0                                                                                                     \
         : (fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition), fflush(stderr), abort()))

#endif
