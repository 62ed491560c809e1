/* SPDX-License-Identifier: MIT
 *
 * What: what the tests of core share: a log of words that proves an order, runs on a virtual clock, stderr caught in
 *       memory, and small spawn helpers.
 * Threads: the test's one thread. Each test is a process of its own, so these statics are fresh in each.
 */
#ifndef CORE_TEST_H
#define CORE_TEST_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <pirn.h>

#include "sched.h"
#include "test.h"

static char noted[16384];
static size_t noted_length;

/* Add one word to the log; words are separated by one space. */
__attribute__((format(printf, 1, 2))) static inline void note(const char *format, ...) {
    va_list arguments;
    if (noted_length > 0 && noted_length < sizeof noted - 1) {
        noted[noted_length++] = ' ';
    }
    va_start(arguments, format);
    int length = vsnprintf(noted + noted_length, sizeof noted - noted_length, format, arguments);
    va_end(arguments);
    cr_assert(length >= 0 && noted_length + (size_t)length < sizeof noted, "the log is full");
    noted_length += (size_t)length;
}

/* The log must be exactly `words`; it is empty afterwards. */
static inline void expect_noted(const char *words) {
    cr_assert_str_eq(noted, words);
    noted[0] = '\0';
    noted_length = 0;
}

/* Run on one thread in virtual time: a sleep costs no wall time, and deadlines come in their exact order. */
static inline int run_alone(pirn_fn main_fn) {
    pn_alone_use_virtual_clock(true);
    return pn_alone_run(main_fn, NULL);
}

/* In a tasklet: yield until nobody else is runnable. */
static inline void let_others_run(void) {
    do {
        pirn_yield();
    } while (!pn_list_empty(&pn_sched_self()->ready));
}

static inline pirn_tasklet spawn_as(const char *name, unsigned flags, pirn_fn fn, void *arg) {
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.name = name;
    options.flags = flags;
    pirn_tasklet tasklet = pirn_spawn_with(&options, fn, arg);
    cr_assert_neq(tasklet.id, 0);
    return tasklet;
}

static inline pirn_tasklet spawn_joinable(pirn_fn fn, void *arg) {
    return spawn_as(NULL, PIRN_JOINABLE, fn, arg);
}

/* A sanitizer's frames and shadow change what a test may say about memory; its run-time library shows that it is
 * there. */
extern void __asan_init(void) __attribute__((weak));
extern void __tsan_init(void) __attribute__((weak));

static inline bool is_sanitized(void) {
    return __asan_init != NULL || __tsan_init != NULL;
}

/* Whatever goes to descriptor 2 between start and end, as text. In memory, so that a long report cannot fill a
 * pipe. */
typedef struct stderr_catch {
    int saved, file;
} stderr_catch;

static inline void stderr_catch_start(stderr_catch *caught) {
    fflush(stderr);
    caught->saved = dup(2);
    caught->file = memfd_create("stderr", MFD_CLOEXEC);
    cr_assert(caught->saved >= 0 && caught->file >= 0);
    cr_assert_eq(dup2(caught->file, 2), 2);
}

/* The caller frees the text. */
static inline char *stderr_catch_end(stderr_catch *caught) {
    fflush(stderr);
    off_t bytes = lseek(caught->file, 0, SEEK_END);
    dup2(caught->saved, 2);
    close(caught->saved);
    char *text = calloc(1, (size_t)bytes + 1);
    cr_assert(text && pread(caught->file, text, (size_t)bytes, 0) == bytes);
    close(caught->file);
    return text;
}

/* For logs: "0" or the code's name. */
static inline const char *code_name(int code) {
    return code == 0 ? "0" : pirn_error_name(code);
}

/* `tasklet` names nobody: every call that takes a handle says so. */
static inline void expect_dead(pirn_tasklet tasklet) {
    int result = 77;
    cr_assert_eq(pirn_cancel(tasklet), PIRN_EDEAD);
    cr_assert_eq(pirn_cancel_pending(tasklet), PIRN_EDEAD);
    cr_assert_eq(pirn_throw(tasklet, PIRN_EDB, false), PIRN_EDEAD);
    cr_assert_eq(pirn_throw(tasklet, PIRN_EDB, true), PIRN_EDEAD);
    cr_assert_eq(pirn_release(tasklet), PIRN_EDEAD);
    cr_assert_eq(pirn_join(tasklet, &result, PIRN_NOW), PIRN_EDEAD);
    cr_assert_eq(pirn_join(tasklet, &result, PIRN_FOREVER), PIRN_EDEAD);
    cr_assert_eq(result, 77, "a failed join leaves the result alone");
}

static inline unsigned count_of(const char *text, const char *part) {
    unsigned count = 0;
    for (const char *at = strstr(text, part); at; at = strstr(at + 1, part)) {
        count++;
    }
    return count;
}

#endif
