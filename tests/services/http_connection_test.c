/* SPDX-License-Identifier: MIT
 *
 * What: a connection's life: its time limits, and what a client's half close and reset mean for the requests under way.
 * Threads: main_fn's tasklet is the client; see http_site.h.
 */
#include "http_site.h"

/* ---- time limits ---- */

static pirn_time endless;

/* Each phase of a connection that has a limit: idle, head, body, handler, write. */
static int live_without_limits(void *arg) {
    (void)arg;
    site s;
    client c;
    response r;
    pirn_http_options options = {.header_timeout_ns = endless,
                                 .body_timeout_ns = endless,
                                 .idle_timeout_ns = endless,
                                 .handler_timeout_ns = endless,
                                 .write_timeout_ns = endless};
    site_open(&s, &options);
    client_open(&c, &s);
    client_send(&c, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-");
    (void)pirn_sleep_until(pirn_after(2 * PIRN_MILLISECOND));
    client_send(&c, "Length: 6\r\n\r\nabc");
    (void)pirn_sleep_until(pirn_after(2 * PIRN_MILLISECOND));
    client_send(&c, "def");
    cr_assert(get_response(&c, &r));
    cr_assert_eq(r.status, 200);
    cr_assert_str_eq(r.body, "abcdef");
    response_drop(&r);
    expect_status(&c, GET_TEXT("/later?ms=2"), 200);
    expect_status(&c, GET_TEXT("/big?n=3000000"), 200);
    client_close(&c);
    site_close(&s);
    return 0;
}

/* Goal: a time limit too long for the clock is none. Method: PIRN_FOREVER and numbers near it for all five, and a
 *       request that goes through each phase. */
Test(http_connection, limits_beyond_the_clock_are_endless, .timeout = 60) {
    static const pirn_time limits[] = {PIRN_FOREVER, PIRN_FOREVER - 1, PIRN_FOREVER / 2};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        endless = limits[i];
        run_everywhere(live_without_limits);
    }
}

/* Goal: a negative time limit is refused where it is given. Method: each of the five. */
Test(http_connection, negative_limits_refused) {
    const pirn_http_options wrong[] = {{.header_timeout_ns = -1},
                                       {.body_timeout_ns = -1},
                                       {.idle_timeout_ns = INT64_MIN},
                                       {.handler_timeout_ns = -1},
                                       {.write_timeout_ns = -1}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_assert_null(pirn_http_server_create(&wrong[i]));
    }
}
