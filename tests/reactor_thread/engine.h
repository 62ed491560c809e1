/* SPDX-License-Identifier: MIT
 *
 * What: what the tests of the reactor share: the same main tasklet in every mode and policy, what was said on stderr,
 *       threads and descriptors counted.
 * Threads: the test's main thread; the waits in a tasklet.
 */
#ifndef REACTOR_ENGINE_H
#define REACTOR_ENGINE_H

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <pirn.h>

#include "live.h"
#include "request.h"
#include "runtime.h"
#include "test.h"
#include "worker.h"

#define ENGINE_MODES 3

static inline const char *engine_name(int which) {
    static const char *const names[ENGINE_MODES] = {"threaded, poll reactor", "threaded, poll worker", "single"};
    return names[which];
}

/* Options for mode `which`: two workers where there can be two, no drain, nobody who wakes by himself. */
static inline pirn_options engine_options(int which) {
    pirn_options options;
    pirn_options_init(&options);
    options.mode = which == 2 ? PIRN_MODE_SINGLE : PIRN_MODE_THREADED;
    options.poll = which == 1 ? PIRN_POLL_WORKER : PIRN_POLL_REACTOR;
    options.workers = 2;
    options.stuck_warn_ns = PIRN_FOREVER; /* its look wakes a worker now and then, which would hide a lost wake-up */
    pn_trim_period = PIRN_FOREVER;        /* so would this one's */
    return options;
}

/* Entries of a folder of /proc/self. */
static inline unsigned count_entries(const char *path) {
    DIR *folder = opendir(path);
    cr_assert_not_null(folder);
    unsigned count = 0;
    while (readdir(folder)) {
        count++;
    }
    closedir(folder);
    return count;
}

static inline unsigned count_threads(void) {
    return count_entries("/proc/self/task");
}

static inline void *engine_note_folder(void *arg) {
    snprintf(arg, 64, "/proc/self/task/%d", (int)gettid());
    return NULL;
}

/* Before the first count: a sanitizer starts threads of its own with the program's first. That one is gone afterwards,
 * also from the list, where one that was joined may still stand for a moment. */
static inline void start_the_first_thread(void) {
    pthread_t first;
    char folder[64];
    cr_assert_eq(pthread_create(&first, NULL, engine_note_folder, folder), 0);
    cr_assert_eq(pthread_join(first, NULL), 0);
    while (access(folder, F_OK) == 0) {
        usleep(200);
    }
}

static inline unsigned count_descriptors(void) {
    return count_entries("/proc/self/fd");
}

/* Until this process has `wanted` threads: one that was joined may still be listed for a moment. */
static inline void wait_for_thread_count(unsigned wanted) {
    while (count_threads() != wanted) {
        usleep(200);
    }
}

/* Run `main_fn(arg)` once in each mode; it must return 0, and leave no thread behind. */
static inline void in_every_mode(pirn_fn main_fn, void *arg) {
    start_the_first_thread();
    unsigned threads = count_threads();
    for (int which = 0; which < ENGINE_MODES; which++) {
        pirn_options options = engine_options(which);
        int result = pirn_run(&options, main_fn, arg);
        cr_assert_eq(result, 0, "%s: pirn_run() returned %s", engine_name(which), pirn_error_name(result));
        wait_for_thread_count(threads);
    }
}

/* In a tasklet: look again every millisecond until `condition` holds; the test's own time limit ends a vain wait. */
static inline void wait_until(bool (*condition)(void *context), void *context) {
    while (!condition(context)) {
        (void)pirn_sleep_until(pirn_after(PIRN_MILLISECOND));
    }
}

/* A question to the reactor, and its answer. */
typedef struct engine_question {
    pn_message message;
    pn_waiter waiter;
    unsigned home;
    bool answer;
} engine_question;

static inline void engine_deliver_answer(pn_message *message) {
    pn_record_end();
    pn_waiter_complete(&PN_CONTAINER_OF(message, engine_question, message)->waiter);
}

static inline void engine_deliver_question(pn_message *message) {
    engine_question *question = PN_CONTAINER_OF(message, engine_question, message);
    question->answer = pn_requests_under_way();
    message->deliver = engine_deliver_answer;
    pn_below->post(question->home, message);
}

/* In a tasklet, for wait_until: whether the reactor has no request under way. What this worker posted to it before has
 * been delivered there by then. */
static inline bool no_request_is_under_way(void *context) {
    (void)context;
    engine_question question = {.message.deliver = engine_deliver_question, .home = (unsigned)pirn_worker()};
    pn_waiter_init(&question.waiter, PN_ON_WORKERS, NULL);
    pn_record_begin();
    pn_reactor_post(&question.message);
    cr_assert_eq(pn_wait(&question.waiter, PIRN_FOREVER, NULL), 0);
    return !question.answer;
}

/* What is written to stderr between begin and end. The caller frees the text. */
typedef struct captured {
    int file, before;
} captured;

static inline captured capture_begin(void) {
    captured c = {.file = memfd_create("stderr", MFD_CLOEXEC), .before = dup(STDERR_FILENO)};
    cr_assert(c.file >= 0 && c.before >= 0);
    fflush(stderr);
    dup2(c.file, STDERR_FILENO);
    return c;
}

static inline char *capture_end(captured c) {
    dup2(c.before, STDERR_FILENO);
    close(c.before);
    off_t bytes = lseek(c.file, 0, SEEK_END);
    char *text = calloc(1, (size_t)bytes + 1);
    cr_assert(text && pread(c.file, text, (size_t)bytes, 0) == bytes);
    close(c.file);
    return text;
}

#endif
