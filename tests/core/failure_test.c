/* SPDX-License-Identifier: MIT
 *
 * What: names and sentences of codes, failures with causes, results and the single run of their destructors.
 * Threads: one; no scheduler.
 */
#include <pirn/base.h>

#include "failure.h"
#include "test.h"

/* ---- codes ---- */

/* Goal: a code of ours, a code of the system and no code each have a name and a sentence, and none is NULL or empty.
 * Method: ask for one of each kind, and for every number from 1 down to the smallest of ours. */
Test(failure, code_of_any_kind_has_a_name_and_a_sentence) {
    cr_assert_str_eq(pirn_error_name(0), "PIRN_OK");
    cr_assert_str_eq(pirn_error_name(PIRN_ECLOSED), "PIRN_ECLOSED");
    cr_assert_str_eq(pirn_error_name(-ETIMEDOUT), "PIRN_ETIMEDOUT");
    cr_assert_str_eq(pirn_error_name(-ECONNRESET), "ECONNRESET");
    cr_assert_str_eq(pirn_error_name(-19999), "?");
    cr_assert_str_eq(pirn_error_name(ECONNRESET), "?");
    cr_assert_str_eq(pirn_error_name(INT32_MIN), "?");
    for (int code = 1; code >= PIRN_EFAILED; code--) {
        cr_assert(pirn_error_name(code) && pirn_error_name(code)[0]);
        cr_assert(pirn_strerror(code) && pirn_strerror(code)[0]);
    }
    cr_assert_str_eq(pirn_strerror(-ECONNRESET), "Connection reset by peer");
}

/* Goal: each of our own codes has its own name: none was forgotten in the table.
 * Method: the names of PIRN_ECLOSED down to PIRN_EFAILED all begin with PIRN_E and differ from each other. */
Test(failure, codes_of_ours_have_names_of_their_own) {
    for (int code = PIRN_ECLOSED; code >= PIRN_EFAILED; code--) {
        cr_assert_eq(strncmp(pirn_error_name(code), "PIRN_E", 6), 0);
        for (int other = PIRN_ECLOSED; other > code; other--) {
            cr_assert_str_neq(pirn_error_name(code), pirn_error_name(other));
        }
    }
}

/* ---- failures ---- */

/* Goal: a failure remembers its code, message and the place where it was made.
 * Method: make one on a known line and read all of it. */
Test(failure, make_remembers_what_and_where) {
    int line = __LINE__ + 1;
    pirn_failure *failure = pirn_failure_make(PIRN_EDB, "no such table: %s", "test");
    cr_assert_eq(pirn_failure_code(failure), PIRN_EDB);
    cr_assert_str_eq(pirn_failure_message(failure), "no such table: test");
    cr_assert_eq(pirn_failure_line(failure), line);
    cr_assert_str_eq(pn_base_name(pirn_failure_file(failure)), "failure_test.c");
    cr_assert(pirn_failure_function(failure)[0]);
    cr_assert_null(pirn_failure_cause(failure));
    pirn_failure_drop(failure);
}

/* Goal: a long message is cut at 200 bytes, and never inside a character.
 * Method: 198 letters and then two-, three- and four-byte characters across the edge. */
Test(failure, long_message_is_cut_at_whole_characters) {
    const char *const tails[] = {"\xc3\xa4\xc3\xa4", "\xe2\x82\xac\xe2\x82\xac", "\xf0\x9f\x98\x80", "abcdef"};
    const size_t kept[] = {200, 198, 198, 200};
    char letters[199];
    memset(letters, 'x', 198);
    letters[198] = '\0';
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        pirn_failure *failure = pirn_failure_make(PIRN_EFAILED, "%s%s", letters, tails[i]);
        cr_assert_eq(strlen(pirn_failure_message(failure)), kept[i], "case %zu", i);
        pirn_failure_drop(failure);
    }
}

/* Goal: the text names code, message, file, line and function of the failure and of its causes, in order.
 * Method: a chain of two, formatted and compared with the fields. */
Test(failure, format_tells_the_chain_of_causes) {
    pirn_failure *cause = pirn_failure_make_at("/a/b/sql_sqlite.c", 88, "step", PIRN_EDB, "no such table: test");
    pirn_failure *failure = pirn_failure_make_at("page.c", 7, "render", PIRN_EFAILED, "%s", "");
    pirn_failure_because(failure, cause);
    char text[256];
    size_t wanted = pirn_failure_format(failure, text, sizeof text);
    cr_assert_str_eq(text,
                     "PIRN_EFAILED: it failed (made at page.c:7 in render); caused by PIRN_EDB: no such table: test "
                     "(made at sql_sqlite.c:88 in step)");
    cr_assert_eq(wanted, strlen(text));
    pirn_failure_drop(failure);
}

/* Goal: a short buffer is always terminated, never overrun, and the wanted length is told as snprintf does.
 * Method: every size from 0 up, with a guard byte behind the buffer. */
Test(failure, format_into_a_short_buffer_is_cut_and_terminated) {
    pirn_failure *failure = pirn_failure_make_at("a.c", 1, "f", PIRN_EDB, "one");
    pirn_failure_because(failure, pirn_failure_make_at("b.c", 2, "g", PIRN_EDNS, "two"));
    char whole[256], text[256];
    size_t wanted = pirn_failure_format(failure, whole, sizeof whole);
    for (size_t bytes = 0; bytes <= wanted + 1; bytes++) {
        memset(text, '#', sizeof text);
        cr_assert_eq(pirn_failure_format(failure, text, bytes), wanted);
        cr_assert_eq(text[bytes], '#');
        if (bytes > 0) {
            cr_assert_eq(strlen(text), bytes - 1);
            cr_assert_eq(strncmp(text, whole, bytes - 1), 0);
        }
    }
    pirn_failure_drop(failure);
}

/* Goal: a clone is equal and independent, causes included; a second cause is added at the end of the chain.
 * Method: clone a chain of three, drop the original, read the clone. */
Test(failure, clone_lives_after_the_original) {
    pirn_failure *failure = pirn_failure_make(PIRN_EFAILED, "top");
    pirn_failure_because(failure, pirn_failure_make(PIRN_EDB, "middle"));
    pirn_failure_because(failure, pirn_failure_make(PIRN_EDNS, "bottom"));
    char before[512], after[512];
    pirn_failure_format(failure, before, sizeof before);
    pirn_failure *clone = pirn_failure_clone(failure);
    pirn_failure_drop(failure);
    pirn_failure_format(clone, after, sizeof after);
    cr_assert_str_eq(after, before);
    cr_assert_eq(pirn_failure_code(pirn_failure_cause(pirn_failure_cause(clone))), PIRN_EDNS);
    pirn_failure_drop(clone);
}

/* Goal: everything that may get no failure copes with NULL, and a cause without an owner is destroyed.
 * Method: call each with NULL; LeakSanitizer sees the cause. */
Test(failure, null_is_no_failure) {
    pirn_failure_drop(NULL);
    cr_assert_null(pirn_failure_clone(NULL));
    cr_assert_eq(pirn_failure_code(NULL), 0);
    cr_assert_str_eq(pirn_failure_message(NULL), "");
    char text[8] = "x";
    cr_assert_eq(pirn_failure_format(NULL, text, sizeof text), 0);
    cr_assert_str_eq(text, "");
    pirn_failure_because(NULL, pirn_failure_make(PIRN_EDB, "nobody's"));
}

/* Goal: a chain of causes may be as long as a retry loop makes it: nothing recurses over it.
 * Method: 200,000 causes, cloned, formatted and dropped; recursion would need more than the 8 MiB of a stack. */
Test(failure, long_chain_of_causes_needs_no_stack) {
    pirn_failure *failure = NULL;
    for (unsigned i = 0; i < 200000; i++) {
        pirn_failure *outer = pirn_failure_make(PIRN_EFAILED, "try %u", i);
        pirn_failure_because(outer, failure);
        failure = outer;
    }
    pirn_failure *clone = pirn_failure_clone(failure);
    cr_assert_not_null(clone);
    cr_assert_gt(pirn_failure_format(clone, NULL, 0), 200000u);
    pirn_failure_drop(failure);
    pirn_failure_drop(clone);
}

/* Goal: a failure made with a code that is none is a bug, told in one line.
 * Method: code 0 aborts. */
Test(failure, make_without_a_code_aborts, .signal = SIGABRT) {
    int code = 0;
    (void)pirn_failure_make(code, "no code");
}

/* ---- results ---- */

static unsigned destroyed;
static const pirn_result *looked_at;

static void destroy_and_look(void *value) {
    cr_assert_eq(value, &destroyed);
    cr_assert(!looked_at || !looked_at->drop, "the result is empty before its destructor runs");
    destroyed++;
}

/* Goal: a result's destructor runs exactly once, and the result is empty before it runs.
 * Method: drop twice, with a destructor that looks at the result. */
Test(failure, result_drop_destroys_once) {
    pirn_result result = {.value = &destroyed, .drop = destroy_and_look};
    looked_at = &result;
    pirn_result_drop(&result);
    cr_assert_eq(destroyed, 1);
    pirn_result_drop(&result);
    cr_assert_eq(destroyed, 1);
    cr_assert(result.status == 0 && !result.value && !result.failure);
}

/* Goal: failing a result destroys its value, keeps the place, and returns the code.
 * Method: fail one that has a value, then one that has a failure whose text the new message quotes. */
Test(failure, result_fail_replaces_what_was_there) {
    pirn_result result = {.value = &destroyed, .drop = destroy_and_look};
    cr_assert_eq(pirn_result_fail(&result, PIRN_EDB, "row %d", 4), PIRN_EDB);
    cr_assert_eq(destroyed, 1);
    cr_assert(result.status == PIRN_EDB && !result.value && !result.drop);
    cr_assert_str_eq(pirn_failure_message(result.failure), "row 4");
    (void)pirn_result_fail(&result, PIRN_EFAILED, "after: %s", pirn_failure_message(result.failure));
    cr_assert_str_eq(pirn_failure_message(result.failure), "after: row 4");
    char text[128];
    cr_assert(strstr(pn_result_describe(&result, text, sizeof text), "failure_test.c"));
    pirn_result_drop(&result);
    result.status = PIRN_EDNS;
    cr_assert_str_eq(pn_result_describe(&result, text, sizeof text), "PIRN_EDNS: the name could not be resolved");
}
