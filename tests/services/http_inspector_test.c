/* SPDX-License-Identifier: MIT
 *
 * What: the inspector's pages over real sockets, in both modes and policies.
 * Threads: main_fn's tasklet is the client; see http_site.h.
 */
#include "http_site.h"

#define GET_LOCAL(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\n\r\n"

static int inspect(void *arg) {
    (void)arg;
    site s;
    client c, parked;
    response r;
    site_open(&s, NULL);
    client_open(&parked, &s);
    client_send(&parked, "GET /slow?%3Cscript%3E HTTP/1.1\r\nHost: a\r\n\r\n");
    WAIT_UNTIL(atomic_load(&slow_running) == 1);
    client_open(&c, &s);
    client_send(&c, GET_LOCAL("/debug/pirn/?format=json"));
    cr_assert(get_response(&c, &r));
    cr_assert_eq(r.status, 200);
    cr_assert_str_eq(response_field(&r, "Content-Type"), "application/json");
    static const char *const wanted[] = {"{\"mode\":\"",
                                         "\"poll\":\"",
                                         "\"workers\":[{\"id\":0,",
                                         "\"runnable\":",
                                         "\"inbox\":",
                                         "\"switches\":",
                                         "\"tasklets\":[{\"id\":\"0.",
                                         "\"name\":\"GET /slow\"",
                                         "\"state\":\"parked\"",
                                         "\"waiting_on\":\"",
                                         "\"since_ns\":",
                                         "\"spawned_at\":\"",
                                         "\"counts\":{\"live\":",
                                         "\"parked\":",
                                         "\"deferreds\":",
                                         "\"records\":"};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        cr_assert_not_null(strstr(r.body, wanted[i]), "%s is not in %s", wanted[i], r.body);
    }
    response_drop(&r);
    client_send(&c, GET_LOCAL("/debug/pirn/"));
    cr_assert(get_response(&c, &r));
    cr_assert_eq(r.status, 200);
    cr_assert_not_null(response_field(&r, "Content-Security-Policy"));
    cr_assert(strstr(r.body, "Where tasklets wait") && strstr(r.body, "GET /slow") && strstr(r.body, "</html>"));
    cr_assert_null(strstr(r.body, "<script"));
    response_drop(&r);
    client_close(&parked);
    client_close(&c);
    site_close(&s);
    return 0;
}

/* Goal: the inspector shows a parked request to programs and people. Method: park one, ask for both faces. */
Test(http_inspector, shows_parked_request, .timeout = 60) {
    run_everywhere(inspect);
}

static int inspect_by_host(void *arg) {
    (void)arg;
    static const char *const loopback[] = {"localhost",   "LOCALHOST:8080", "127.0.0.1", "127.1.2.3:80",
                                           "[::1]:65535", "[::1]",          "localhost:"};
    static const char *const foreign[] = {
        "a.example",       "127.0.0.1.example", "127.example", "localhost.evil", "128.0.0.1",      "[::2]",
        "localhost:80:80", "127.0.0.1:x",       "::1",         "[::1",           "user@localhost", ""};
    site s;
    client c;
    char text[128];
    site_open(&s, NULL);
    client_open(&c, &s);
    for (size_t i = 0; i < sizeof loopback / sizeof loopback[0]; i++) {
        snprintf(text, sizeof text, "GET /debug/pirn/ HTTP/1.1\r\nHost: %s\r\n\r\n", loopback[i]);
        expect_status(&c, text, 200);
    }
    client_close(&c);
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++) {
        static const char *const paths[] = {"/debug/pirn/", "/debug/pirn/?format=json", "/debug/pirn"};
        for (size_t j = 0; j < 3; j++) {
            response r;
            snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", paths[j], foreign[i]);
            client_open(&c, &s);
            client_send(&c, text);
            cr_assert(get_response(&c, &r));
            cr_assert(r.status == 403 || r.status == 400, "%d for host %s", r.status, foreign[i]);
            response_drop(&r);
            client_close(&c);
        }
    }
    expect_status_alone(&s, "GET /debug/pirn/ HTTP/1.1\r\nHost: a.example\r\n\r\n", 403);
    expect_status_alone(&s, "GET /debug/pirn/ HTTP/1.0\r\n\r\n", 200); /* no name, so no name was rebound */
    site_close(&s);
    return 0;
}

/* Goal: a page of a foreign name that resolves to loopback (DNS rebinding) cannot read the inspector. Method: names of
 *       loopback and others, some that only look like it, in the Host field. */
Test(http_inspector, refuses_foreign_hosts, .timeout = 60) {
    run_everywhere(inspect_by_host);
}

static int inspect_without_slash(void *arg) {
    (void)arg;
    site s;
    client c;
    response r;
    site_open(&s, NULL);
    client_open(&c, &s);
    client_send(&c, GET_LOCAL("/debug/pirn") GET_LOCAL("/debug/pirn?format=json"));
    cr_assert(get_response(&c, &r));
    cr_assert_eq(r.status, 301);
    cr_assert_str_eq(response_field(&r, "Location"), "/debug/pirn/");
    response_drop(&r);
    cr_assert(get_response(&c, &r));
    cr_assert_eq(r.status, 301);
    cr_assert_str_eq(response_field(&r, "Location"), "/debug/pirn/?format=json");
    response_drop(&r);
    client_close(&c);
    site_close(&s);
    return 0;
}

/* Goal: the path people type, without its last slash, leads to the inspector. Method: with and without a query. */
Test(http_inspector, redirects_without_slash, .timeout = 60) {
    run_everywhere(inspect_without_slash);
}
