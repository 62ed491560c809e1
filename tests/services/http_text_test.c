/* SPDX-License-Identifier: MIT
 *
 * What: the small texts of HTTP: escapes, fields, dates.
 * Threads: the test's own.
 */
#include "test.h"

#include <time.h>

#include <pirn/http.h>

#include "http_text.h"

/* Goal: the five characters cannot end a text or attribute. Method: one string with all of them. */
Test(http_text, html_escapes_all_five) {
    char out[128];
    size_t wanted = pirn_html_escape("<a href=\"x\">'&'</a>", out, sizeof out);
    cr_assert_str_eq(out, "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;");
    cr_assert_eq(wanted, strlen(out));
}

/* Goal: a buffer too small is never overrun and never ends inside an entity. Method: every size, with a guard byte
 *       behind. */
Test(http_text, html_cut_at_an_entity) {
    for (size_t size = 0; size <= 11; size++) {
        char out[16];
        memset(out, '#', sizeof out);
        cr_assert_eq(pirn_html_escape("a<b>", out, size), 10);
        cr_assert_eq(out[size], '#');
        cr_assert(size == 0 || (memchr(out, '\0', size) && (!strchr(out, '&') || strchr(out, ';'))), "size %zu", size);
    }
}

static int field(const char *text, const char *name, char *value, size_t bytes) {
    return pn_http_urlencoded(text, strlen(text), name, value, bytes);
}

/* Goal: fields are found by their decoded name and decoded. Method: one query with encodings in both. */
Test(http_text, urlencoded_found_and_decoded) {
    char value[32];
    const char *query = "a=1&b=&c&d=x+y%2B%26%C3%A4&%65=esc&a=2";
    cr_assert_eq(field(query, "a", value, sizeof value), 1);
    cr_assert_str_eq(value, "1");
    cr_assert_eq(field(query, "b", value, sizeof value), 0);
    cr_assert_eq(field(query, "c", value, sizeof value), 0);
    cr_assert_eq(field(query, "d", value, sizeof value), 7);
    cr_assert_str_eq(value, "x y+&\xc3\xa4");
    cr_assert_eq(field(query, "e", value, sizeof value), 3);
    cr_assert_str_eq(value, "esc");
    cr_assert_eq(field(query, "f", value, sizeof value), PIRN_EINVAL);
    cr_assert_eq(field("", "a", value, sizeof value), PIRN_EINVAL);
    cr_assert_eq(field("ab=1", "a", value, sizeof value), PIRN_EINVAL);
}

/* Goal: broken encodings, NULs and long values are refused, not repaired. Method: one of each. */
Test(http_text, urlencoded_broken_refused) {
    char value[4];
    cr_assert_eq(field("a=%", "a", value, sizeof value), PIRN_EINVAL);
    cr_assert_eq(field("a=%4", "a", value, sizeof value), PIRN_EINVAL);
    cr_assert_eq(field("a=%zz", "a", value, sizeof value), PIRN_EINVAL);
    cr_assert_eq(field("a=x%00y", "a", value, sizeof value), PIRN_EINVAL);
    cr_assert_str_eq(value, "");
    cr_assert_eq(field("a=123", "a", value, sizeof value), 3);
    cr_assert_eq(field("a=1234", "a", value, sizeof value), PIRN_ELIMIT);
    cr_assert_str_eq(value, "");
    cr_assert_eq(field("a=1", "a", value, 0), PIRN_EINVAL);
}

/* Goal: dates are right over leap years and centuries. Method: compare with the C library's on many days and the
 *       example of RFC 9110. */
Test(http_text, date_as_the_library_says) {
    char ours[PN_HTTP_DATE_BYTES], theirs[64];
    pn_http_date_format(784111777, ours);
    cr_assert_str_eq(ours, "Sun, 06 Nov 1994 08:49:37 GMT");
    for (int64_t second = 0; second < 10000000000; second += 86399 * 7) {
        time_t when = (time_t)second;
        struct tm parts;
        gmtime_r(&when, &parts);
        strftime(theirs, sizeof theirs, "%a, %d %b %Y %H:%M:%S GMT", &parts);
        pn_http_date_format(second, ours);
        cr_assert_str_eq(ours, theirs);
    }
}

/* Goal: a log line stays one line and one pair of quotes. Method: control bytes, quotes, a terminal escape. */
Test(http_text, log_escaped) {
    char out[64];
    pn_http_log_escape("a\r\n\"\\\x1b[31m\x7f", out, sizeof out);
    cr_assert_str_eq(out, "a\\x0d\\x0a\\x22\\x5c\\x1b[31m\\x7f");
    pn_http_log_escape("\xc2\x9bm", out, sizeof out); /* a terminal escape in one character */
    cr_assert_str_eq(out, "\\xc2\\x9bm");
    cr_assert_eq(pn_http_log_escape("\n\n", out, 4), 0); /* an escape needs 4 bytes and the end */
    cr_assert_eq(pn_http_log_escape("\n\n", out, 5), 4);
}

/* Goal: the appender stops at its end and says so. Method: numbers and text into too little room. */
Test(http_text, out_never_overruns) {
    char room[8] = "#######";
    pn_http_out out = {room, room + 6, false};
    pn_http_put_number(&out, 1234);
    cr_assert_not(out.overrun);
    pn_http_put_text(&out, "abc");
    cr_assert(out.overrun);
    cr_assert_eq(memcmp(room, "1234ab#", 7), 0);
}
