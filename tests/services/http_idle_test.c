/* SPDX-License-Identifier: MIT
 *
 * What: the server's limits on connections: who makes room, who waits, who is refused, and for how long a client may
 *       hold a place.
 */
#include <arpa/inet.h>
#include <unistd.h>

#include "http_site.h"

#define GAP (5 * PIRN_MILLISECOND) /* between two that must not count as equally long idle */

static void settle(void) {
    (void)pirn_sleep_until(pirn_after(GAP));
}

static pirn_http_counts counts_of(const site *s) {
    pirn_http_counts counts;
    pirn_http_count(s->server, &counts);
    return counts;
}

static int longest_idle_makes_room(void *arg) {
    (void)arg;
    enum { LIMIT = 4, NEWCOMERS = 6 };
    pirn_http_options options = {.connections_max = LIMIT};
    site s;
    client clients[LIMIT + NEWCOMERS];
    site_open(&s, &options);
    for (int i = 0; i < LIMIT; i++) {
        client_open(&clients[i], &s);
        expect_status(&clients[i], GET_TEXT("/hello"), 200);
        settle();
    }
    expect_status(&clients[0], GET_TEXT("/hello"), 200); /* so 1 is the one that has been idle longest */
    settle();
    for (int i = LIMIT; i < LIMIT + NEWCOMERS; i++) {
        static const int order[NEWCOMERS] = {1, 2, 3, 0, 4, 5};
        client_open(&clients[i], &s);
        expect_status(&clients[i], GET_TEXT("/hello"), 200);
        expect_closed(&clients[order[i - LIMIT]]);
        settle();
    }
    cr_assert_eq(counts_of(&s).closed_for_others, NEWCOMERS);
    cr_assert_eq(pirn_http_connections(s.server), LIMIT);
    for (int i = LIMIT + NEWCOMERS - LIMIT; i < LIMIT + NEWCOMERS; i++) {
        expect_status(&clients[i], GET_TEXT("/hello"), 200);
    }
    for (int i = 0; i < LIMIT + NEWCOMERS; i++) {
        client_close(&clients[i]);
    }
    site_close(&s);
    return 0;
}

Test(http_idle, longest_idle_connection_makes_room) {
    /* Goal: at connections_max each newcomer is served, and the connection that has been idle longest is closed for it.
     * Method: four keep-alive clients of known order, then six newcomers one after the other. */
    run_everywhere(longest_idle_makes_room);
}

static int silent_one_makes_room(void *arg) {
    (void)arg;
    pirn_http_options options = {.connections_max = 3};
    site s;
    client silent, running, sending, newcomer;
    site_open(&s, &options);
    client_open(&running, &s);
    client_send(&running, GET_TEXT("/later?ms=400"));
    client_open(&sending, &s);
    client_send(&sending, "GET /hello HTTP/1.1\r\nHo");
    settle();
    client_open(&silent, &s);
    settle();
    client_open(&newcomer, &s);
    expect_status(&newcomer, GET_TEXT("/hello"), 200);
    expect_closed(&silent);
    response r;
    client_send(&sending, "st: a\r\n\r\n");
    cr_assert(get_response(&sending, &r) && r.status == 200);
    response_drop(&r);
    cr_assert(get_response(&running, &r) && r.status == 200);
    response_drop(&r);
    client_close(&silent);
    client_close(&running);
    client_close(&sending);
    client_close(&newcomer);
    site_close(&s);
    return 0;
}

Test(http_idle, busy_connections_are_spared) {
    /* Goal: a connection without a byte yet makes room; one whose request runs, or has come in part, is left alone,
     * however long it has been there.
     * Method: one of each kind, the silent one the youngest; then a newcomer. */
    run_everywhere(silent_one_makes_room);
}

static int nobody_is_idle(void *arg) {
    (void)arg;
    pirn_http_options options = {.connections_max = 2};
    site s;
    client running[2], newcomers[2];
    response r;
    site_open(&s, &options);
    for (int i = 0; i < 2; i++) {
        client_open(&running[i], &s);
        client_send(&running[i], GET_TEXT("/later?ms=50"));
    }
    settle();
    for (int i = 0; i < 2; i++) {
        client_open(&newcomers[i], &s);
        client_send(&newcomers[i], GET_TEXT("/hello"));
    }
    for (int i = 0; i < 2; i++) { /* they become idle, and then they make room */
        cr_assert(get_response(&running[i], &r) && r.status == 200);
        response_drop(&r);
    }
    for (int i = 0; i < 2; i++) {
        cr_assert(get_response(&newcomers[i], &r) && r.status == 200);
        response_drop(&r);
        client_close(&newcomers[i]);
        client_close(&running[i]);
    }
    site_close(&s);
    return 0;
}

Test(http_idle, newcomers_wait_for_the_first_to_become_idle) {
    /* Goal: when nobody is idle newcomers wait, and nobody's request is lost.
     * Method: two requests that run, two newcomers. */
    run_everywhere(nobody_is_idle);
}

static int crowd_passes(void *arg) {
    (void)arg;
    pirn_http_options options = {.connections_max = 8};
    site s;
    site_open(&s, &options);
    unsigned count = (unsigned)pirn_test_count(300, 60);
    client *crowd = calloc(count, sizeof *crowd);
    for (unsigned i = 0; i < count; i++) { /* none of them says anything */
        client_open(&crowd[i], &s);
        if (i % 10 == 9) {
            expect_status_alone(&s, GET_TEXT("/hello"), 200);
        }
    }
    WAIT_UNTIL(pirn_http_connections(s.server) <= 8);
    for (unsigned i = 0; i < count; i++) {
        client_close(&crowd[i]);
    }
    free(crowd);
    site_close(&s);
    return 0;
}

Test(http_idle, silent_crowd_locks_nobody_out) {
    /* Goal: many idle connections of one machine do not keep others out.
     * Method: 300 silent connections to a server of eight, and requests in between. */
    run_everywhere(crowd_passes);
}

static int slow_head(void *arg) {
    (void)arg;
    pirn_http_options options = {.header_timeout_ns = 1000 * PIRN_MILLISECOND, .idle_timeout_ns = 60 * PIRN_SECOND};
    site s;
    client late, early;
    response r;
    site_open(&s, &options);
    client_open(&late, &s);
    (void)pirn_sleep_until(pirn_after(200 * PIRN_MILLISECOND));
    client_open(&early, &s);
    client_send(&early, "G"); /* and only then the one that was accepted first */
    client_send(&late, "G");
    cr_assert(get_response(&late, &r) && r.status == 408);
    response_drop(&r);
    size_t moved;
    char byte;
    cr_assert_eq(pirn_read(early.socket, &byte, 1, &moved, pirn_after(PIRN_MILLISECOND)), PIRN_ETIMEDOUT,
                 "the younger connection's time was over first");
    client_close(&late);
    client_close(&early);
    site_close(&s);
    return 0;
}

Test(http_idle, header_time_counts_from_the_accept) {
    /* Goal: of a connection's first request the header time counts from the accept and not from its first byte.
     * Method: of two connections the elder sends its first byte last, and is answered with 408 first. */
    run_everywhere(slow_head);
}

static int silent_from_the_start(void *arg) {
    (void)arg;
    pirn_http_options options = {.header_timeout_ns = 100 * PIRN_MILLISECOND, .idle_timeout_ns = 60 * PIRN_SECOND};
    site s;
    client silent, used;
    site_open(&s, &options);
    client_open(&used, &s);
    expect_status(&used, GET_TEXT("/hello"), 200);
    client_open(&silent, &s);
    expect_closed(&silent); /* in less than a test's patience, without a byte */
    expect_status(&used, GET_TEXT("/hello"), 200);
    client_close(&silent);
    client_close(&used);
    site_close(&s);
    return 0;
}

Test(http_idle, connection_without_a_request_is_closed_after_the_header_time) {
    /* Goal: a connection that sends nothing has the header time; one between two requests the idle time.
     * Method: a short header time, a long idle time; one connection of each kind. */
    run_everywhere(silent_from_the_start);
}

/* A client whose address is 127.0.0.`last`. */
static void client_open_from(client *c, const site *s, int last) {
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000000u + (unsigned)last)};
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)s->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&from, sizeof from) == 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    *c = (client){.capacity = 1 << 16, .bytes = malloc(1 << 16)};
    cr_assert_eq(pirn_socket_adopt(fd, &c->socket), 0);
}

static int one_address_is_bounded(void *arg) {
    (void)arg;
    pirn_http_options options = {.connections_per_address_max = 3};
    site s;
    client mine[3], fourth, other;
    site_open(&s, &options);
    for (int i = 0; i < 3; i++) {
        client_open_from(&mine[i], &s, 1);
        expect_status(&mine[i], GET_TEXT("/hello"), 200);
    }
    client_open_from(&fourth, &s, 1);
    expect_closed(&fourth);
    client_close(&fourth);
    client_open_from(&other, &s, 2);
    expect_status(&other, GET_TEXT("/hello"), 200);
    cr_assert_eq(counts_of(&s).refused_by_address, 1);
    client_close(&mine[0]);
    WAIT_UNTIL(pirn_http_connections(s.server) == 3);
    for (bool served = false; !served;) { /* its place may be free a moment later */
        response r;
        client_open_from(&fourth, &s, 1);
        (void)pirn_write(fourth.socket, GET_TEXT("/hello"), strlen(GET_TEXT("/hello")), NULL, pirn_after(PATIENCE));
        served = get_response(&fourth, &r);
        if (served) {
            response_drop(&r);
        } else {
            client_close(&fourth);
        }
    }
    for (int i = 0; i < 3; i++) {
        if (i > 0) {
            expect_status(&mine[i], GET_TEXT("/hello"), 200);
            client_close(&mine[i]);
        }
    }
    client_close(&fourth);
    client_close(&other);
    site_close(&s);
    return 0;
}

Test(http_idle, one_address_has_a_bound_of_its_own) {
    /* Goal: an address beyond its number is refused, others are not, and its places come back.
     * Method: three places; clients from two loopback addresses, which a number given by the program holds for. */
    run_everywhere(one_address_is_bounded);
}
