/* SPDX-License-Identifier: MIT
 *
 * What: text made fit for a terminal.
 */
#include <string.h>

#include "test.h"
#include "text.h"

static void expect_clean(const char *text, const char *wanted) {
    char out[256];
    cr_assert_eq(pn_text_clean(text, out, sizeof out), strlen(text), "%s", wanted);
    cr_assert_str_eq(out, wanted);
}

/* Goal: no byte of a text steers a terminal, and readable text of any language stays.
 * Method: control characters of each kind, direction marks, broken UTF-8, and words. */
Test(text, byte_that_steers_a_terminal_is_escaped) {
    expect_clean("plain words, 'quoted' \"twice\"", "plain words, 'quoted' \"twice\"");
    expect_clean("\x1b[2J\x07", "\\x1b[2J\\x07");
    expect_clean("a\nb\rc\td\x7f", "a\\x0ab\\x0dc\\x09d\\x7f");
    expect_clean("\xc2\x9b"
                 "31m",
                 "\\xc2\\x9b31m"); /* C1: CSI in one character */
    expect_clean("\x9b\xff\xc3", "\\x9b\\xff\\xc3");
    expect_clean("\xe2\x80\xae\xe2\x81\xa6\xe2\x80\xa8", "\\xe2\\x80\\xae\\xe2\\x81\\xa6\\xe2\\x80\\xa8");
    expect_clean("\xc3\xa4 \xe2\x82\xac \xf0\x9f\xa7\xb6", "\xc3\xa4 \xe2\x82\xac \xf0\x9f\xa7\xb6");
    expect_clean("\xc0\x80\xed\xa0\x80", "\\xc0\\x80\\xed\\xa0\\x80"); /* too long a form; a surrogate */
}

/* Goal: what does not fit is cut between two characters, an escape is whole, and the result is terminated.
 * Method: every size of the place for one text. */
Test(text, cut_text_ends_with_a_whole_character) {
    static const char text[] = "a\xc3\xa4\x1b"
                               "b";
    static const char *const wanted[] = {NULL, "", "a", "a", "a\xc3\xa4", "a\xc3\xa4", "a\xc3\xa4", "a\xc3\xa4"};
    for (size_t bytes = 1; bytes < 8; bytes++) {
        char out[16];
        memset(out, '#', sizeof out);
        cr_assert_lt(pn_text_clean(text, out, bytes), strlen(text));
        cr_assert_str_eq(out, wanted[bytes], "%zu bytes", bytes);
        cr_assert_eq(out[bytes], '#', "%zu bytes", bytes);
    }
    char out[8];
    cr_assert_eq(pn_text_clean(text, out, sizeof out), 4);
    cr_assert_str_eq(out, "a\xc3\xa4\\x1b");
}
