/* SPDX-License-Identifier: MIT
 *
 * What: what a handler's end comes to, over real sockets, in both modes and policies: an overloaded server's answer.
 * Threads: main_fn's tasklet is the client; see http_site.h.
 */
#include "http_site.h"

#include <unistd.h>

static atomic_bool pool_may_go_on;

static int wait_for_permission(void *arg, pirn_result *out) {
    (void)arg;
    (void)out;
    while (!atomic_load(&pool_may_go_on)) {
        usleep(1000);
    }
    return 0;
}

static int offload_to(pirn_http_exchange *exchange, void *pool) {
    pirn_work work = {.pool = pool, .work = wait_for_permission, .name = "permission"};
    pirn_result result = {0};
    int rc = pirn_await_take(pirn_offload_with(&work), &result, PIRN_FOREVER);
    if (rc != 0 && result.failure) {
        rc = pirn_fail(rc, "%s", pirn_failure_message(result.failure));
    }
    pirn_result_drop(&result);
    return rc ? rc : hello(exchange, NULL);
}

static void open_narrow_site(site *s, pirn_pool *pool) {
    pirn_listener *listener;
    s->server = pirn_http_server_create(NULL);
    cr_assert(pool && s->server);
    cr_assert_eq(pirn_http_route(s->server, "GET", "/", 0, offload_to, pool), 0);
    cr_assert_eq(pirn_listen("127.0.0.1:0", NULL, &listener), 0);
    s->port = pirn_listener_port(listener);
    cr_assert_eq(pirn_http_serve(s->server, listener), 0);
}

/* Which of the three is refused depends on which comes last; the others wait. */
static int find_the_refused(client some[3]) {
    for (;;) {
        for (int i = 0; i < 3; i++) {
            char byte;
            size_t moved = 0;
            int rc = pirn_read(some[i].socket, &byte, 1, &moved, pirn_after(10 * PIRN_MILLISECOND));
            if (rc == 0) {
                cr_assert_eq(moved, 1);
                some[i].bytes[some[i].length++] = byte;
                return i;
            }
            cr_assert_eq(rc, PIRN_ETIMEDOUT);
        }
    }
}

static int overload(void *arg) {
    (void)arg;
    site s;
    client some[3];
    response r;
    pirn_pool *pool = pirn_pool_create("narrow", 1, 1);
    atomic_store(&pool_may_go_on, false);
    open_narrow_site(&s, pool);
    for (int i = 0; i < 3; i++) {
        client_open(&some[i], &s);
        client_send(&some[i], GET_TEXT("/"));
        (void)pirn_sleep_until(pirn_after(20 * PIRN_MILLISECOND)); /* the pool's thread has taken the first */
    }
    int refused = find_the_refused(some);
    cr_assert(get_response(&some[refused], &r));
    cr_assert_eq(r.status, 503);
    cr_assert_str_eq(response_field(&r, "Retry-After"), "1");
    cr_assert_null(response_field(&r, "Connection"));
    response_drop(&r);
    cr_assert_eq(atomic_load(&reports), 1);
    cr_assert(strstr(last_report, "GET / failed") && strstr(last_report, "\"narrow\""), "%s", last_report);
    atomic_store(&pool_may_go_on, true);
    for (int i = 0; i < 3; i++) {
        if (i == refused) {
            client_send(&some[i], GET_TEXT("/")); /* told to come again, it does */
        }
        cr_assert(get_response(&some[i], &r));
        cr_assert_eq(r.status, 200);
        response_drop(&r);
        client_close(&some[i]);
    }
    site_close(&s);
    pirn_pool_close(pool);
    return 0;
}

/* Goal: an overloaded server says so, and when to come again, and reports it; the connection lives. Method: a pool with
 *       room for two jobs that do not end, and three requests. */
Test(http_dispatch, full_queue_gives_503, .timeout = 60) {
    run_everywhere(overload);
}
