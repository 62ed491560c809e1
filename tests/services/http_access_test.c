/* SPDX-License-Identifier: MIT
 *
 * What: what the program is told of each request that is over, and the line made of it.
 */
#include <pthread.h>
#include <time.h>

#include "http_site.h"

typedef struct told {
    char method[64], target[128], peer[64];
    pirn_http_access access;
} told;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static told last;
static atomic_uint told_count;

static void remember(void *context, const pirn_http_access *access) {
    (void)context;
    pthread_mutex_lock(&lock);
    last.access = *access;
    snprintf(last.method, sizeof last.method, "%s", access->method);
    snprintf(last.target, sizeof last.target, "%s", access->target);
    snprintf(last.peer, sizeof last.peer, "%s", access->peer);
    pthread_mutex_unlock(&lock);
    atomic_fetch_add(&told_count, 1);
}

static int64_t wall_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static const struct {
    const char *request, *method, *target;
    int status;
    unsigned bytes;
} cases[] = {
    {GET_TEXT("/hello?a=1"), "GET", "/hello?a=1", 200, 13},
    {"HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD", "/hello", 200, 0},
    {GET_TEXT("/%68ello"), "GET", "/%68ello", 200, 13},
    {GET_TEXT("/stream?n=100"), "GET", "/stream?n=100", 200, 290}, /* 290 digits and spaces, without chunk sizes */
    {GET_TEXT("/stream?n=100&flush=1"), "GET", "/stream?n=100&flush=1", 200, 290},
    {GET_TEXT("/big?n=100000"), "GET", "/big?n=100000", 200, 100000},
    {GET_TEXT("/nothing"), "GET", "/nothing", 204, 0},
    {GET_TEXT("/nowhere"), "GET", "/nowhere", 404, 14},
    {GET_TEXT("/fail"), "GET", "/fail", 500, 26},
    {GET_TEXT("http://h/hello"), "GET", "http://h/hello", 200, 13},
    {GET_TEXT("/a/../b"), "GET", "/a/../b", 400, 16},
    {"GET /x HTTP/1.1\r\nHost: a\r\nBad Field: x\r\n\r\n", "GET", "/x", 400, 16},
    {"GET /x HTTP/1.1\r\n\r\n", "GET", "/x", 400, 16},
    {"GET /x HTTP/2.0\r\nHost: a\r\n\r\n", "GET", "/x", 505, 31},
    {"BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n", "BREW", "/pot", 501, 20},
    {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n", "POST", "/echo", 413, 22},
    {"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "POST", "/echo", 400, 16},
    {"GET /part HTTP/1.1\r\nHo", "GET", "/part", 408, 20},
    {"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab", "POST", "/echo", 408, 20},
    {"GET /par", "-", "-", 408, 20},
};

static int records(void *arg) {
    (void)arg;
    pirn_http_options options = {
        .on_access = remember, .header_timeout_ns = 300 * PIRN_MILLISECOND, .body_timeout_ns = 50 * PIRN_MILLISECOND};
    site s;
    site_open(&s, &options);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        client c;
        response r;
        unsigned before = atomic_load(&told_count);
        int64_t began = wall_clock();
        client_open(&c, &s);
        client_send(&c, cases[i].request);
        cr_assert(get_response_of(&c, &r, strncmp(cases[i].request, "HEAD", 4) == 0), "%s", cases[i].request);
        cr_assert_eq(r.status, cases[i].status, "%d for %s", r.status, cases[i].request);
        WAIT_UNTIL(atomic_load(&told_count) == before + 1);
        pthread_mutex_lock(&lock);
        cr_assert_str_eq(last.method, cases[i].method, "%s: %s", cases[i].request, last.method);
        cr_assert_str_eq(last.target, cases[i].target, "%s: %s", cases[i].request, last.target);
        cr_assert_eq(last.access.status, cases[i].status);
        cr_assert_eq(last.access.bytes, cases[i].bytes, "%s: %llu bytes", cases[i].request,
                     (unsigned long long)last.access.bytes);
        cr_assert_eq(last.access.bytes, r.body_bytes);
        cr_assert(last.access.complete);
        cr_assert(strncmp(last.peer, "127.0.0.1:", 10) == 0);
        cr_assert(last.access.started_unix_ns >= began - PIRN_MILLISECOND &&
                  last.access.started_unix_ns + last.access.duration_ns <= wall_clock() + PIRN_MILLISECOND);
        pthread_mutex_unlock(&lock);
        response_drop(&r);
        client_close(&c);
    }
    site_close(&s);
    return 0;
}

Test(http_access, every_request_is_told_with_the_same_meaning, .timeout = 60) {
    /* Goal: method and target are told whenever the request line was read, refused or not; bytes are the body's, as the
     * client counts them.
     * Method: a table of requests, good and refused at each stage; the client's own count beside the record. */
    run_everywhere(records);
}

static int gone_clients(void *arg) {
    (void)arg;
    pirn_http_options options = {.on_access = remember, .cancel_half_closed = true};
    site s;
    client c;
    site_open(&s, &options);
    unsigned before = atomic_load(&told_count);
    client_open(&c, &s);
    client_send(&c, GET_TEXT("/slow"));
    WAIT_UNTIL(atomic_load(&slow_running) == 1);
    client_close(&c);
    WAIT_UNTIL(atomic_load(&told_count) == before + 1);
    cr_assert(last.access.status == 0 && last.access.bytes == 0 && !last.access.complete);
    client_open(&c, &s); /* takes a part of 50 MB */
    client_send(&c, GET_TEXT("/big?n=50000000"));
    cr_assert(client_need(&c, 100000));
    client_close(&c);
    WAIT_UNTIL(atomic_load(&told_count) == before + 2);
    cr_assert(last.access.status == 200 && !last.access.complete);
    cr_assert(last.access.bytes > 90000 && last.access.bytes < 50000000, "%llu", (unsigned long long)last.access.bytes);
    site_close(&s);
    return 0;
}

Test(http_access, what_was_not_sent_is_not_counted) {
    /* Goal: a client that goes away before or in the middle of its response is told as such.
     * Method: one client that closes while the handler waits, one after a part of the body. */
    run_everywhere(gone_clients);
}

Test(http_access, line_shows_the_path_and_no_secret) {
    /* Goal: the line has the time of day in UTC, the path without host and query, and no byte that steers a terminal.
     * Method: records made by hand. */
    char line[512];
    pirn_http_access access = {.started_unix_ns = 1700000000123456789,
                               .duration_ns = 1234567,
                               .peer = "[::1]:5",
                               .method = "GET",
                               .target = "http://user:word@host/a\"\x1b[31m/b?token=secret",
                               .status = 200,
                               .bytes = 7};
    size_t length = pirn_http_access_format(&access, line, sizeof line);
    cr_assert_str_eq(line,
                     "time=2023-11-14T22:13:20.123Z peer=[::1]:5 method=GET path=\"/a\\x22\\x1b[31m/b\" status=200 "
                     "bytes=7 us=1234");
    cr_assert_eq(length, strlen(line));
    cr_assert_eq(pirn_http_access_format(&access, line, 10), 9);
    cr_assert_str_eq(line, "time=2023");
    access.target = "-";
    access.method = "-";
    (void)pirn_http_access_format(&access, line, sizeof line);
    cr_assert(strstr(line, "method=- path=\"-\""));
    access.target = "http://host?x";
    (void)pirn_http_access_format(&access, line, sizeof line);
    cr_assert(strstr(line, "path=\"/\""));
}
