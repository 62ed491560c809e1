/* SPDX-License-Identifier: MIT
 *
 * What: the inspector's pages over real sockets, in both modes and policies.
 * Threads: main_fn's tasklet is the client; see http_site.h.
 */
#include "http_site.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sqlite3.h>

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
                                         "\"spawned_at\":\"http_site.h:",
                                         "\"peer\":\"127.0.0.1:",
                                         "\"age_ns\":",
                                         "\"truncated\":false",
                                         "\"listed\":",
                                         "\"waits\":[{\"waiting_on\":\"",
                                         "\"failed\":",
                                         "\"lines_left_out\":",
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
    client_reset(&parked);
    client_close(&c);
    site_close(&s);
    return 0;
}

/* Goal: the inspector shows a parked request to programs and people. Method: park one, ask for both faces. */
Test(http_inspector, shows_parked_request, .timeout = 60) {
    run_everywhere(inspect);
}

/* ---- JSON, read by somebody else's parser ---- */

#define HOSTILE_NAME  "a\"b\\c\x01\n\x7f\t</\xc3\xa4\xe2\x82\xac\xf0\x9f\xa7\xb6\xff\xc3"
#define EXPECTED_NAME "a\"b\\c\x01\n\x7f\t</\xc3\xa4\xe2\x82\xac\xf0\x9f\xa7\xb6\xef\xbf\xbd\xef\xbf\xbd"

static char *json_of_runs[sizeof configurations / sizeof configurations[0]];
static size_t run_count;

static int wait_in_channel(void *channel) {
    char byte;
    return pirn_recv(channel, &byte, PIRN_FOREVER) == PIRN_ECLOSED ? 0 : PIRN_EFAILED;
}

static int take_json(void *arg) {
    (void)arg;
    site s;
    client c;
    response r;
    pirn_channel *channel = pirn_channel_create(1, 0);
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.name = HOSTILE_NAME;
    pirn_spawn_with(&options, wait_in_channel, channel);
    WAIT_UNTIL(pirn_channel_balance(channel) == -1);
    site_open(&s, NULL);
    client_open(&c, &s);
    client_send(&c, GET_LOCAL("/debug/pirn/?format=json"));
    cr_assert(get_response(&c, &r));
    cr_assert_eq(r.status, 200);
    json_of_runs[run_count++] = r.body; /* judged after the run: a parser may want more stack than a tasklet has */
    client_close(&c);
    site_close(&s);
    pirn_channel_destroy(channel);
    return 0;
}

/* The text that `sql` gives for the document ?1 and up to three words ?2 to ?4. Static memory. */
static const char *ask(sqlite3 *db, const char *sql, const char *json, const char *const words[3]) {
    static char answer[256];
    sqlite3_stmt *statement;
    cr_assert_eq(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK, "%s", sqlite3_errmsg(db));
    (void)sqlite3_bind_text(statement, 1, json, -1, SQLITE_STATIC);
    for (int i = 0; i < 3 && words && words[i]; i++) {
        (void)sqlite3_bind_text(statement, i + 2, words[i], -1, SQLITE_STATIC);
    }
    cr_assert_eq(sqlite3_step(statement), SQLITE_ROW, "%s: %s", sqlite3_errmsg(db), json);
    const unsigned char *text = sqlite3_column_text(statement, 0);
    snprintf(answer, sizeof answer, "%s", text ? (const char *)text : "");
    sqlite3_finalize(statement);
    return answer;
}

/* The members the document must have: of itself, or of each element of one of its arrays. */
static void judge_members(sqlite3 *db, const char *json) {
    static const char of_each[] = "SELECT count(*) FROM json_each(?1, ?2) WHERE json_type(value, ?3) IS NOT ?4";
    static const char *const members[][3] = {
        {NULL, "$.mode", "text"},
        {NULL, "$.poll", "text"},
        {NULL, "$.workers", "array"},
        {NULL, "$.tasklets", "array"},
        {NULL, "$.counts", "object"},
        {NULL, "$.counts.live", "integer"},
        {NULL, "$.counts.parked", "integer"},
        {NULL, "$.counts.deferreds", "integer"},
        {NULL, "$.counts.records", "integer"},
        {"$.workers", "$.id", "integer"},
        {"$.workers", "$.runnable", "integer"},
        {"$.workers", "$.inbox", "integer"},
        {"$.workers", "$.switches", "integer"},
        {"$.tasklets", "$.id", "text"},
        {"$.tasklets", "$.name", "text"},
        {"$.tasklets", "$.state", "text"},
        {"$.tasklets", "$.waiting_on", "text"},
        {"$.tasklets", "$.since_ns", "integer"},
        {"$.tasklets", "$.spawned_at", "text"},
        {"$.tasklets", "$.worker", "integer"},
    };
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        const char *const *m = members[i];
        if (m[0]) {
            cr_assert_str_eq(ask(db, of_each, json, m), "0", "a member of %s has no %s", m[0], m[1]);
        } else {
            cr_assert_str_eq(ask(db, "SELECT json_type(?1, ?2)", json, m + 1), m[2], "%s", m[1]);
        }
    }
}

static void judge_document(sqlite3 *db, const char *json) {
    static const char by_name[] = "SELECT count(*) || ' ' || max(json_extract(value, '$.state')) || ' ' || "
                                  "max(json_extract(value, '$.waiting_on')) FROM json_each(?1, '$.tasklets') "
                                  "WHERE json_extract(value, '$.name') = ?2";
    static const char *const name[3] = {EXPECTED_NAME};
    cr_assert_str_eq(ask(db, "SELECT json_valid(?1)", json, NULL), "1", "%s", json);
    judge_members(db, json);
    cr_assert_str_eq(ask(db, by_name, json, name), "1 parked receive on channel");
    cr_assert_str_eq(ask(db,
                         "SELECT json_extract(?1, '$.counts.live') >= json_array_length(?1, '$.tasklets') AND "
                         "json_array_length(?1, '$.workers') > 0",
                         json, NULL),
                     "1");
}

/* Goal: the inspector's JSON is JSON, with all that is promised in it, whatever tasklets are called. Method: a name of
 *       quotes, control bytes, UTF-8 and what is none; SQLite reads the document. */
Test(http_inspector, json_stands_hostile_names, .timeout = 60) {
    sqlite3 *db;
    run_everywhere(take_json);
    cr_assert_eq(sqlite3_open(":memory:", &db), SQLITE_OK);
    for (size_t i = 0; i < run_count; i++) {
        judge_document(db, json_of_runs[i]);
        free(json_of_runs[i]);
    }
    sqlite3_close(db);
}

/* ---- who may ask ---- */

/* An IPv4 address of this machine that is not loopback; "" when it has none. */
static char outside_address[INET_ADDRSTRLEN];

static void find_outside_address(void) {
    struct ifaddrs *all;
    if (getifaddrs(&all) != 0) {
        return;
    }
    for (const struct ifaddrs *one = all; one; one = one->ifa_next) {
        bool usable = (one->ifa_flags & IFF_UP) && !(one->ifa_flags & IFF_LOOPBACK);
        if (usable && one->ifa_addr && one->ifa_addr->sa_family == AF_INET) {
            const struct sockaddr_in *address = (const void *)one->ifa_addr;
            (void)inet_ntop(AF_INET, &address->sin_addr, outside_address, sizeof outside_address);
        }
    }
    freeifaddrs(all);
}

static int inspect_from_outside(void *arg) {
    (void)arg;
    site s;
    client c;
    site_open_at(&s, "0.0.0.0:0", NULL);
    client_open_at(&c, outside_address, s.port);
    expect_status(&c, GET_LOCAL("/debug/pirn/"), 403);
    expect_status(&c, GET_LOCAL("/debug/pirn/?format=json"), 403);
    expect_status(&c, GET_LOCAL("/debug/pirn"), 403);
    expect_status(&c, GET_LOCAL("/local"), 403);
    expect_status(&c, GET_LOCAL("/hello"), 200);
    client_close(&c);
    expect_status_alone(&s, GET_LOCAL("/debug/pirn/"), 200); /* the same server, from here */
    site_close(&s);
    return 0;
}

/* Goal: a server that the network reaches shows its inside to this machine only. Method: listen on all addresses, and
 *       come from another one than loopback, with a Host field that would pass. */
Test(http_inspector, refuses_peers_from_outside, .timeout = 60) {
    find_outside_address();
    if (!outside_address[0]) {
        cr_skip_test("this machine has no IPv4 address but loopback");
    }
    run_everywhere(inspect_from_outside);
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
    expect_status_alone(&s, "GET /debug/pirn/ HTTP/1.1\r\nAccept:\r\nHost: a.example\r\n\r\n", 403);
    expect_status_alone(&s, "GET /debug/pirn/ HTTP/1.1\r\nAccept: \t\r\nHost: a.example\r\nX:\r\n\r\n", 403);
    expect_status_alone(&s, "GET /debug/pirn HTTP/1.1\r\nA:\r\nB:\r\nHost: a.example\r\n\r\n", 403);
    /* the host of an absolute target counts, and not the Host field */
    expect_status_alone(&s, "GET http://a.example/debug/pirn/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 403);
    expect_status_alone(&s, "GET http://a.example/debug/pirn/ HTTP/1.0\r\n\r\n", 403);
    expect_status_alone(&s, "GET http://localhost:80/debug/pirn/ HTTP/1.1\r\nHost: a.example\r\n\r\n", 200);
    /* nor does one that came through a proxy on this machine */
    expect_status_alone(&s, "GET /debug/pirn/ HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n", 403);
    expect_status_alone(&s, "GET /debug/pirn HTTP/1.1\r\nHost: localhost\r\nVia:\r\n\r\n", 403);
    expect_status_alone(&s, "GET /debug/pirn/ HTTP/1.0\r\n\r\n", 200); /* no name, so no name was rebound */
    site_close(&s);
    return 0;
}

/* Goal: a page of a foreign name that resolves to loopback (DNS rebinding) cannot read the inspector. Method: names of
 *       loopback and others, some that only look like it, in the Host field, also behind fields with empty values;
 *       and in the target. */
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

/* ---- more than fits ---- */

enum { CROWD = 1500 };

static int inspect_a_crowd(void *arg) {
    (void)arg;
    site s;
    client c;
    response r;
    char wanted[64];
    pirn_channel_options options;
    pirn_channel_options_init(&options);
    options.name = "crowded";
    pirn_channel *channel = pirn_channel_create_with(1, 0, &options);
    for (int i = 0; i < CROWD; i++) {
        pirn_spawn(wait_in_channel, channel);
    }
    WAIT_UNTIL(pirn_channel_balance(channel) == -CROWD);
    site_open(&s, NULL);
    client_open(&c, &s);
    client_send(&c, GET_LOCAL("/debug/pirn/"));
    cr_assert(get_response(&c, &r));
    cr_assert_eq(r.status, 200);
    const char *waits = strstr(r.body, "receive on crowded<");
    snprintf(wanted, sizeof wanted, "<td class=\"n\">%d<td>", CROWD);
    cr_assert(waits && strstr(waits, wanted) && strstr(waits, wanted) < strstr(r.body, "<h2>Tasklets"),
              "all of them are counted");
    cr_assert_not_null(strstr(r.body, "wait_in_channel"), "without a name, the function's");
    const char *list = strstr(r.body, "<h2>Tasklets</h2><p class=\"note\">");
    cr_assert(list && strstr(list, " tasklets are shown; the JSON has more.") < strstr(list, "<table>"),
              "that the list is cut stands before it");
    response_drop(&r);
    client_send(&c, GET_LOCAL("/debug/pirn/?format=json"));
    cr_assert(get_response(&c, &r));
    snprintf(wanted, sizeof wanted, "{\"waiting_on\":\"receive on crowded\",\"count\":%d,", CROWD);
    cr_assert_not_null(strstr(r.body, wanted));
    response_drop(&r);
    client_close(&c);
    site_close(&s);
    pirn_channel_close(channel);
    WAIT_UNTIL(pirn_channel_balance(channel) == 0);
    pirn_channel_destroy(channel);
    return 0;
}

/* Goal: "where tasklets wait" counts all tasklets, also those that the list has no room for, and the page says beside
 *       the list that it is cut. Method: more parked tasklets than rows. */
Test(http_inspector, waits_count_all_tasklets, .timeout = 60) {
    run_everywhere(inspect_a_crowd);
}
