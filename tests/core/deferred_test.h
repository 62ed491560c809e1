/* SPDX-License-Identifier: MIT
 *
 * What: what the tests of deferreds share: values that count their destruction, callbacks that log what they see, and a
 *       run that ends by proving that no deferred, value or report is left over.
 * Threads: the test's one thread.
 */
#ifndef DEFERRED_TEST_H
#define DEFERRED_TEST_H

#include "core_test.h"

/* A value is a small number; its destruction is counted. */
static unsigned destroyed;

static inline void destroy_value(void *value) {
    (void)value;
    destroyed++;
}

static inline void *number(intptr_t value) {
    return (void *)value;
}

static inline int fire_number(pirn_deferred *deferred, intptr_t value) {
    return pirn_deferred_fire(deferred, number(value), destroy_value);
}

static inline int fail_with(pirn_deferred *deferred, int code) {
    return pirn_deferred_fail(deferred, pirn_failure_make(code, "made by the test"));
}

/* What `result` is: its number, or the name of its code. */
static inline const char *word_of(const pirn_result *result) {
    static char word[32];
    if (result->status < 0) {
        return pirn_error_name(result->status);
    }
    snprintf(word, sizeof word, "%d", (int)(intptr_t)result->value);
    return word;
}

/* ---- callbacks: the context is a name for the log ---- */

static inline pirn_deferred *note_result(void *name, pirn_result *result) {
    note("%s=%s", (const char *)name, word_of(result));
    return NULL;
}

static inline pirn_deferred *add_one(void *name, pirn_result *result) {
    (void)name;
    result->value = number((intptr_t)result->value + 1);
    return NULL;
}

static inline pirn_deferred *fail_here(void *name, pirn_result *result) {
    note("%s", (const char *)name);
    (void)pirn_result_fail(result, PIRN_EDB, "a callback failed");
    return NULL;
}

static inline pirn_deferred *recover(void *name, pirn_result *result) {
    note("%s:%s", (const char *)name, pirn_error_name(result->status));
    pirn_result_drop(result);
    result->value = number(7);
    return NULL;
}

/* Go on with the deferred that is the context. */
static inline pirn_deferred *go_on_with_context(void *inner, pirn_result *result) {
    (void)result;
    return inner;
}

static inline void add(pirn_deferred *deferred, const char *name) {
    cr_assert_eq(pirn_deferred_add_both(deferred, note_result, (void *)(uintptr_t)name), 0);
}

static inline void add_inner(pirn_deferred *deferred, pirn_deferred *inner) {
    cr_assert_eq(pirn_deferred_add_both(deferred, go_on_with_context, inner), 0);
}

/* Swallow whatever it came to, so that nothing is reported. */
static inline pirn_deferred *forget(void *context, pirn_result *result) {
    (void)context;
    pirn_result_drop(result);
    return NULL;
}

static inline void give_up(pirn_deferred *deferred) {
    cr_assert_eq(pirn_deferred_add_both(deferred, forget, NULL), 0);
    pirn_deferred_release(deferred);
}

/* ---- reports ---- */

static unsigned reports;
static char last_report[512];

static inline void count_report(void *context, int code, const char *text) {
    (void)context;
    cr_assert_lt(code, 0);
    reports++;
    snprintf(last_report, sizeof last_report, "%s", text);
}

/* ---- the run ---- */

static inline int run_checked(void *body) {
    pn_sched_self()->options.on_error = count_report;
    ((void (*)(void))(uintptr_t)body)();
    let_others_run();
    cr_assert_eq(pn_sched_self()->counts.deferreds, 0, "%u deferreds are left", pn_sched_self()->counts.deferreds);
    return 0;
}

/* Run `body` in a tasklet; at its end no deferred may be left, and `expected_reports` reports have been made. */
static inline void run_with_reports(void (*body)(void), unsigned expected_reports) {
    pn_alone_use_virtual_clock(true);
    cr_assert_eq(pn_alone_run(run_checked, (void *)(uintptr_t)body), 0);
    cr_assert_eq(reports, expected_reports, "%u reports, the last: %s", reports, last_report);
}

static inline void run_body(void (*body)(void)) {
    run_with_reports(body, 0);
}

#endif
