/* SPDX-License-Identifier: MIT
 *
 * What: tests of reactor_thread/http_fetch.c and http_engine.c: pages fetched from a real server over the loopback, in
 *       every mode.
 */
#include "engine.h"
#include "http_peer.h"
#include "live.h"
#include "resolver.h"

#include <pirn/http.h>

static http_peer *peer;

static void setup(void) {
    peer = http_peer_start();
}

static void teardown(void) {
    http_peer_stop(peer);
}

static const char *url(const char *path) {
    static char text[256];
    (void)snprintf(text, sizeof text, "http://127.0.0.1:%d%s", http_peer_port(peer), path);
    return text;
}

/* Fetch and wait; on 0 the page is the caller's. */
static int fetch(const char *where, const pirn_fetch_options *options, pirn_http_page **page, char *why, size_t bytes) {
    pirn_deferred *asked = pirn_http_fetch(where, options);
    cr_assert_not_null(asked);
    pirn_result result = {0};
    int status = pirn_await_take(asked, &result, PIRN_FOREVER);
    if (status == 0) {
        *page = result.value;
    } else {
        *page = NULL;
        (void)pirn_failure_format(result.failure, why, bytes);
        pirn_result_drop(&result);
    }
    return status;
}

static void drop(pirn_http_page *page) {
    free(page->body);
    free(page->content_type);
    free(page);
}

static void expect_page(const char *where, const pirn_fetch_options *options, int status, const char *type,
                        const char *body) {
    pirn_http_page *page = NULL;
    char why[300] = "";
    cr_assert_eq(fetch(where, options, &page, why, sizeof why), 0, "%s: %s", where, why);
    cr_assert_eq(page->status, status);
    cr_assert_str_eq(page->content_type, type);
    cr_assert_eq(page->body_bytes, strlen(body));
    cr_assert_str_eq(page->body, body);
    drop(page);
}

static void expect_failure(const char *where, const pirn_fetch_options *options, int code, const char *words) {
    pirn_http_page *page = NULL;
    char why[300] = "";
    int status = fetch(where, options, &page, why, sizeof why);
    cr_assert_eq(status, code, "%s: %s instead of %s: %s", where, pirn_error_name(status), pirn_error_name(code), why);
    cr_assert(strstr(why, words), "\"%s\" is not in: %s", words, why);
}

static int fetch_pages(void *arg) {
    (void)arg;
    expect_page(url("/hello"), NULL, 200, "text/plain", "Hello, world!");
    expect_page(url("/missing"), NULL, 404, "text/plain", "no");
    expect_page(url("/untyped"), NULL, 200, "", "");
    expect_page(url("/redirect"), NULL, 302, "", "moved");
    expect_page(url("/redirect"), &(pirn_fetch_options){.redirects_max = 1}, 200, "text/plain", "Hello, world!");
    expect_page(url("/hello"), &(pirn_fetch_options){.method = "HEAD"}, 200, "text/plain", "");
    return 0;
}

/* Goal: a page comes whole, whatever its status, with its type and terminated; redirects only when asked for.
 * Method: fetch each kind from a real server and compare all fields. */
Test(http_fetch, page_of_any_status_arrives_whole, .init = setup, .fini = teardown) {
    in_every_mode(fetch_pages, NULL);
}

/* The page of /echo is the request as the server read it. */
static void expect_request(const char *where, const pirn_fetch_options *options, const char *line, const char *field,
                           const char *body) {
    pirn_http_page *page = NULL;
    char why[300] = "";
    cr_assert_eq(fetch(where, options, &page, why, sizeof why), 0, "%s", why);
    cr_assert_eq(strncmp(page->body, line, strlen(line)), 0, "%s", page->body);
    cr_assert(strstr(page->body, field), "\"%s\" is not in: %s", field, page->body);
    cr_assert_null(strstr(page->body, "Expect:"));
    const char *sent = strstr(page->body, "\r\n\r\n") + 4;
    cr_assert_str_eq(sent, body);
    drop(page);
}

static int fetch_methods(void *arg) {
    (void)arg;
    const char *echo = url("/echo");
    expect_request(echo, NULL, "GET /echo HTTP/1.1\r\n", "User-Agent: pirn/", "");
    pirn_fetch_options post = {.body = "a=1&b=2", .body_bytes = 7};
    expect_request(echo, &post, "POST /echo HTTP/1.1\r\n", "Content-Type: application/x-www-form-urlencoded",
                   "a=1&b=2");
    pirn_fetch_options json = {.method = "PUT", .body = "{}", .body_bytes = 2, .content_type = "application/json"};
    expect_request(echo, &json, "PUT /echo HTTP/1.1\r\n", "Content-Type: application/json", "{}");
    expect_request(echo, &(pirn_fetch_options){.method = "DELETE"}, "DELETE /echo HTTP/1.1\r\n", "Host: 127.0.0.1", "");
    expect_request(echo, &(pirn_fetch_options){.method = "POST"}, "POST /echo HTTP/1.1\r\n", "Content-Length: 0", "");
    expect_request(echo, &(pirn_fetch_options){.method = "PUT"}, "PUT /echo HTTP/1.1\r\n", "Content-Length: 0", "");
    expect_request(echo, &(pirn_fetch_options){.method = "PATCH"}, "PATCH /echo HTTP/1.1\r\n", "Content-Length: 0", "");
    static const char *const bare[] = {"GET", "DELETE", "OPTIONS"};
    for (unsigned i = 0; i < 3; i++) {
        pirn_http_page *page = NULL;
        char why[200];
        cr_assert_eq(fetch(echo, &(pirn_fetch_options){.method = bare[i]}, &page, why, sizeof why), 0);
        cr_assert_null(strstr(page->body, "\r\nContent-"), "%s", page->body);
        drop(page);
    }
    return 0;
}

/* Goal: method, body and content type go out as asked, and nothing waits for a 100 Continue.
 * Method: the server sends the request back; look at its lines. */
Test(http_fetch, method_and_body_go_out_as_asked, .init = setup, .fini = teardown) {
    in_every_mode(fetch_methods, NULL);
}

static int fetch_failures(void *arg) {
    (void)arg;
    expect_failure("http://127.0.0.1:1/", NULL, PIRN_EHTTP, "127.0.0.1 port 1");
    expect_failure("http://", NULL, PIRN_EHTTP, "http://");
    expect_failure("not a url at all", NULL, PIRN_EHTTP, "not a url");
    expect_failure("ftp://127.0.0.1/file", NULL, PIRN_EHTTP, "only http and https");
    expect_failure("file:///etc/passwd", NULL, PIRN_EHTTP, "file:");
    expect_failure(url("/cut"), NULL, PIRN_EHTTP, "closed");
    expect_failure(url("/big/100001"), &(pirn_fetch_options){.page_bytes_max = 100000}, PIRN_ELIMIT, "100000 bytes");
    expect_failure(url("/hello"), &(pirn_fetch_options){.method = "GET / HTTP/1.1\r\nX: y"}, PIRN_EHTTP, "no token");
    expect_failure(url("/hello"), &(pirn_fetch_options){.body = "", .content_type = "a\r\nb: c"}, PIRN_EHTTP,
                   "line break");
    pirn_http_page *page = NULL;
    char why[200];
    pirn_fetch_options just = {.page_bytes_max = 100000};
    cr_assert_eq(fetch(url("/big/100000"), &just, &page, why, sizeof why), 0);
    cr_assert_eq(page->body_bytes, 100000);
    drop(page);
    return 0;
}

/* Goal: each way to fail gives its code and a readable reason, and the bound on a page is exact.
 * Method: nobody listens, malformed and foreign URLs, a cut body, a page one byte too long, words that would split a
 *       request. */
Test(http_fetch, failures_have_code_and_reason, .init = setup, .fini = teardown) {
    in_every_mode(fetch_failures, NULL);
}

static int fetch_twice(void *arg) {
    unsigned before = http_peer_accepted(peer);
    for (unsigned i = 0; i < 20; i++) {
        expect_page(url("/hello"), NULL, 200, "text/plain", "Hello, world!");
    }
    cr_assert_eq(http_peer_accepted(peer), before + 1);
    *(unsigned *)arg += 1;
    return 0;
}

/* Goal: fetches one after the other share a connection.
 * Method: twenty fetches: the server accepted one connection more in each mode. */
Test(http_fetch, connection_is_reused, .init = setup, .fini = teardown) {
    unsigned runs = 0;
    in_every_mode(fetch_twice, &runs);
    cr_assert_eq(runs, ENGINE_MODES);
}

static bool has_requests(void *context) {
    return http_peer_requests(peer) >= *(unsigned *)context;
}

static bool has_open(void *context) {
    return http_peer_open(peer) == *(unsigned *)context;
}

static int cancel_fetches(void *arg) {
    (void)arg;
    unsigned rounds = (unsigned)pirn_test_count(300, 30), seen = http_peer_requests(peer);
    for (unsigned i = 0; i < rounds; i++) {
        pirn_deferred *asked = pirn_http_fetch(url("/never"), NULL);
        if (i % 3 == 0) {
            seen++;
            wait_until(has_requests, &seen);
        } else if (i % 3 == 1) {
            pirn_yield();
        }
        pirn_result result;
        int status = pirn_await_take(asked, &result, i % 2 ? PIRN_NOW : pirn_after(PIRN_MILLISECOND));
        cr_assert(status == PIRN_ETIMEDOUT || status == PIRN_EAGAIN, "%s", pirn_error_name(status));
        wait_until(no_request_is_under_way, NULL);
        seen = http_peer_requests(peer);
    }
    wait_until(has_open, &(unsigned){0});
    expect_page(url("/hello"), NULL, 200, "text/plain", "Hello, world!");
    return 0;
}

/* Goal: a deadline or cancel ends the transfer itself: record and connection are gone, and the client goes on.
 * Method: hundreds of fetches from a target that never answers, given up at once, while connecting and while waiting;
 *         the server sees all connections closed; a plain fetch works afterwards. */
Test(http_fetch, cancel_ends_the_transfer, .init = setup, .fini = teardown) {
    in_every_mode(cancel_fetches, NULL);
}

#define FLOCK 100

static int fetch_a_flock(void *arg) {
    (void)arg;
    expect_page(url("/hello"), NULL, 200, "text/plain", "Hello, world!"); /* libcurl is started */
    char local[128];
    (void)snprintf(local, sizeof local, "http://localhost:%d/never", http_peer_port(peer));
    unsigned threads = count_threads(), wanted = http_peer_requests(peer) + FLOCK;
    pirn_deferred *flock[FLOCK];
    for (unsigned i = 0; i < FLOCK; i++) {
        flock[i] = pirn_http_fetch(i % 2 ? local : url("/never"), NULL);
    }
    wait_until(has_requests, &wanted);
    wait_until(has_open, &(unsigned){FLOCK}); /* the first connection is one of them */
    cr_assert_eq(count_threads(), threads);
    for (unsigned i = 0; i < FLOCK; i++) {
        pirn_result result;
        cr_assert_eq(pirn_await_take(flock[i], &result, PIRN_NOW), PIRN_EAGAIN);
    }
    wait_until(no_request_is_under_way, NULL);
    return 0;
}

/* Goal: a hundred fetches in flight add no thread, to numeric hosts and to localhost.
 * Method: count the threads of the process while the server holds a hundred requests unanswered. */
Test(http_fetch, hundred_in_flight_add_no_thread, .init = setup, .fini = teardown) {
    in_every_mode(fetch_a_flock, NULL);
}

static int fetch_by_name(void *arg) {
    (void)arg;
    char where[128], host[64];
    (void)snprintf(where, sizeof where, "http://loop.pirn.test:%d/echo", http_peer_port(peer));
    (void)snprintf(host, sizeof host, "\r\nHost: loop.pirn.test:%d\r\n", http_peer_port(peer));
    expect_request(where, NULL, "GET /echo HTTP/1.1\r\n", host, "");
    expect_failure("http://no..such..name/", NULL, PIRN_EDNS, "no..such..name");
    return 0;
}

/* Goal: a name is looked up by our resolver, and the request still carries the name; an unknown one gives PIRN_EDNS.
 * Method: a name that only this program's getaddrinfo knows; the server sends its Host field back. */
Test(http_fetch, name_is_looked_up_and_kept, .init = setup, .fini = teardown) {
    in_every_mode(fetch_by_name, NULL);
}

static pirn_deferred *keep_status(void *context, pirn_result *result) {
    *(int *)context = result->status;
    pirn_result_drop(result);
    return NULL;
}

static bool has_one_more_stuck(void *context) {
    return resolver_stuck() == *(unsigned *)context + 1;
}

static int leave_fetches(void *arg) {
    int *status = arg;
    unsigned wanted = http_peer_requests(peer) + 1, stuck = resolver_stuck();
    pirn_deferred *moving = pirn_http_fetch(url("/never"), NULL);
    pirn_deferred *looking = pirn_http_fetch("http://stuck.pirn.test/", NULL);
    (void)pirn_deferred_add_both(moving, keep_status, &status[0]);
    (void)pirn_deferred_add_both(looking, keep_status, &status[1]);
    pirn_deferred_release(moving);
    pirn_deferred_release(looking);
    wait_until(has_requests, &wanted);
    wait_until(has_one_more_stuck, &stuck);
    return 0;
}

/* Goal: the end of the runtime fails what is under way and is not held up by a dead name server.
 * Method: main returns with one fetch unanswered and one whose lookup never comes back; both fail with PIRN_ECLOSED,
 *         one line names the lookup, and the next runtimes of the process fetch. */
Test(http_fetch, shutdown_fails_fetches_and_leaves_a_stuck_lookup, .init = setup, .fini = teardown) {
    for (int which = 0; which < ENGINE_MODES; which++) {
        int status[2] = {1, 1};
        unsigned stuck = resolver_stuck();
        pirn_options options = engine_options(which);
        captured said = capture_begin();
        int result = pirn_run(&options, leave_fetches, status);
        char *text = capture_end(said);
        cr_assert_eq(result, 0);
        cr_assert_eq(status[0], PIRN_ECLOSED);
        cr_assert_eq(status[1], PIRN_ECLOSED);
        cr_assert_eq(resolver_stuck(), stuck + 1);
        cr_assert(strstr(text, "the job \"name lookup\" on thread offload-names outlives"), "%s", text);
        free(text);
    }
    in_every_mode(fetch_pages, NULL);
}

/* Goal: outside of a worker there is no home for the answer: NULL, nothing leaked.
 * Method: call before any runtime runs, with a body to copy. */
Test(http_fetch, fetch_outside_a_worker_gives_null) {
    pirn_fetch_options options = {.body = "x", .body_bytes = 1, .method = "POST"};
    cr_assert_null(pirn_http_fetch("http://127.0.0.1/", &options));
}
