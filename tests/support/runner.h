/* SPDX-License-Identifier: MIT
 *
 * What: Criterion's words for the builds in which Criterion cannot run. Included by test.h only.
 * Threads: tests register before main; the runner has one thread and forks one child per test.
 * Rejected: running tests as functions of one process: a crash, a leak or a stuck thread would then meet the next test.
 */
#ifndef PIRN_TEST_RUNNER_H
#define PIRN_TEST_RUNNER_H

#include <math.h>
#include <stdbool.h>
#include <string.h>

typedef struct runner_options {
    int sentinel_; /* keeps the initializer legal when Test() is given no option                          */
    void (*init)(void);
    void (*fini)(void);
    int signal;
    int exit_code;
    bool disabled;
    const char *description;
    double timeout; /* seconds; 0: the --timeout of the command line                                      */
} runner_options;

typedef struct runner_test {
    const char *suite, *name, *file;
    int line;
    void (*body)(void);
    runner_options options;
    struct runner_test *next;
} runner_test;

void runner_register(runner_test *test);

/* Report a failed assertion; with `fatal` the process ends here. `format` "" says nothing more. */
void runner_fail(bool fatal, const char *file, int line, const char *what, const char *format, ...);
/* End the calling test as skipped. */
_Noreturn void runner_skip(const char *format, ...);

#define Test(suite_, name_, ...)                                                                                       \
    static void suite_##_##name_##_body(void);                                                                         \
    static runner_test suite_##_##name_##_test = {.suite = #suite_,                                                    \
                                                  .name = #name_,                                                      \
                                                  .file = __FILE__,                                                    \
                                                  .line = __LINE__,                                                    \
                                                  .body = suite_##_##name_##_body,                                     \
                                                  .options = {.sentinel_ = 0, __VA_ARGS__}};                           \
    __attribute__((constructor)) static void suite_##_##name_##_register(void) {                                       \
        runner_register(&suite_##_##name_##_test);                                                                     \
    }                                                                                                                  \
    static void suite_##_##name_##_body(void)

/* The "" at the end stands for a message when the test gives none, and is an unused argument otherwise. */
#define RUNNER_CHECK(fatal, ...)              RUNNER_CHECK_1(fatal, __VA_ARGS__, "")
#define RUNNER_CHECK_1(fatal, condition, ...) RUNNER_CHECK_2(fatal, condition, #condition, __VA_ARGS__)
#define RUNNER_CHECK_2(fatal, condition, text, ...)                                                                    \
    ((condition) ? (void)0 : runner_fail(fatal, __FILE__, __LINE__, text, __VA_ARGS__))
#define RUNNER_COMPARE(fatal, left, op, right, ...)                                                                    \
    RUNNER_CHECK_2(fatal, (left)op(right), #left " " #op " " #right, __VA_ARGS__)
#define RUNNER_STRINGS(fatal, left, op, right, ...)                                                                    \
    RUNNER_CHECK_2(fatal, strcmp((left), (right)) op 0, #left " " #op " " #right, __VA_ARGS__)
#define RUNNER_BYTES(fatal, left, op, right, bytes, ...)                                                               \
    RUNNER_CHECK_2(fatal, memcmp((left), (right), (bytes)) op 0, #left " " #op " " #right, __VA_ARGS__)
#define RUNNER_NEAR(fatal, left, right, distance, ...)                                                                 \
    RUNNER_CHECK_2(fatal, fabs((double)(left) - (double)(right)) <= (distance), #left " ~ " #right, __VA_ARGS__)
#define RUNNER_NOT(fatal, condition, ...)  RUNNER_CHECK_2(fatal, !(condition), "!(" #condition ")", __VA_ARGS__)
#define RUNNER_NULL(fatal, op, value, ...) RUNNER_CHECK_2(fatal, (value)op NULL, #value " " #op " NULL", __VA_ARGS__)
#define RUNNER_FAIL(fatal, ...)            runner_fail(fatal, __FILE__, __LINE__, "failed", __VA_ARGS__)

#define cr_assert(...)                RUNNER_CHECK(true, __VA_ARGS__)
#define cr_assert_not(...)            RUNNER_NOT(true, __VA_ARGS__, "")
#define cr_assert_eq(left, ...)       RUNNER_COMPARE(true, left, ==, __VA_ARGS__, "")
#define cr_assert_neq(left, ...)      RUNNER_COMPARE(true, left, !=, __VA_ARGS__, "")
#define cr_assert_lt(left, ...)       RUNNER_COMPARE(true, left, <, __VA_ARGS__, "")
#define cr_assert_leq(left, ...)      RUNNER_COMPARE(true, left, <=, __VA_ARGS__, "")
#define cr_assert_gt(left, ...)       RUNNER_COMPARE(true, left, >, __VA_ARGS__, "")
#define cr_assert_geq(left, ...)      RUNNER_COMPARE(true, left, >=, __VA_ARGS__, "")
#define cr_assert_null(...)           RUNNER_NULL(true, ==, __VA_ARGS__, "")
#define cr_assert_not_null(...)       RUNNER_NULL(true, !=, __VA_ARGS__, "")
#define cr_assert_str_eq(left, ...)   RUNNER_STRINGS(true, left, ==, __VA_ARGS__, "")
#define cr_assert_str_neq(left, ...)  RUNNER_STRINGS(true, left, !=, __VA_ARGS__, "")
#define cr_assert_arr_eq(left, ...)   RUNNER_BYTES(true, left, ==, __VA_ARGS__, "")
#define cr_assert_arr_neq(left, ...)  RUNNER_BYTES(true, left, !=, __VA_ARGS__, "")
#define cr_assert_float_eq(left, ...) RUNNER_NEAR(true, left, __VA_ARGS__, "")
#define cr_assert_fail(...)           RUNNER_FAIL(true, "" __VA_ARGS__)

#define cr_expect(...)                RUNNER_CHECK(false, __VA_ARGS__)
#define cr_expect_not(...)            RUNNER_NOT(false, __VA_ARGS__, "")
#define cr_expect_eq(left, ...)       RUNNER_COMPARE(false, left, ==, __VA_ARGS__, "")
#define cr_expect_neq(left, ...)      RUNNER_COMPARE(false, left, !=, __VA_ARGS__, "")
#define cr_expect_lt(left, ...)       RUNNER_COMPARE(false, left, <, __VA_ARGS__, "")
#define cr_expect_leq(left, ...)      RUNNER_COMPARE(false, left, <=, __VA_ARGS__, "")
#define cr_expect_gt(left, ...)       RUNNER_COMPARE(false, left, >, __VA_ARGS__, "")
#define cr_expect_geq(left, ...)      RUNNER_COMPARE(false, left, >=, __VA_ARGS__, "")
#define cr_expect_null(...)           RUNNER_NULL(false, ==, __VA_ARGS__, "")
#define cr_expect_not_null(...)       RUNNER_NULL(false, !=, __VA_ARGS__, "")
#define cr_expect_str_eq(left, ...)   RUNNER_STRINGS(false, left, ==, __VA_ARGS__, "")
#define cr_expect_str_neq(left, ...)  RUNNER_STRINGS(false, left, !=, __VA_ARGS__, "")
#define cr_expect_arr_eq(left, ...)   RUNNER_BYTES(false, left, ==, __VA_ARGS__, "")
#define cr_expect_float_eq(left, ...) RUNNER_NEAR(false, left, __VA_ARGS__, "")
#define cr_expect_fail(...)           RUNNER_FAIL(false, "" __VA_ARGS__)

#define cr_fail(...)      RUNNER_FAIL(false, "" __VA_ARGS__)
#define cr_fatal(...)     RUNNER_FAIL(true, "" __VA_ARGS__)
#define cr_skip_test(...) runner_skip("" __VA_ARGS__)
#define cr_skip(...)      runner_skip("" __VA_ARGS__)

#endif
