/* SPDX-License-Identifier: MIT
 *
 * What: out of memory, descriptors or threads below the HTTP server, the HTTP client and the SQL pool. Each test runs
 *       its scenario in every mode with each call failing in turn, alone and with those after it.
 */
#include "campaign.h"

#include <pirn/http.h>
#include <pirn/sql.h>
#include <unistd.h>

/* ---- a site ---- */

static int say_hello(pirn_http_exchange *exchange, void *context) {
    (void)context;
    return pirn_http_reply(exchange, 200, "text/plain", "hello END", 9);
}

static int stream(pirn_http_exchange *exchange, void *context) {
    (void)context;
    int status = pirn_http_field(exchange, "X-One", "1");
    for (int i = 0; i < 3 && status == 0; i++) {
        status = pirn_http_print(exchange, "line %d of %s\n", i, pirn_http_method(exchange));
        status = status ? status : pirn_http_flush(exchange);
    }
    return status ? status : pirn_http_print(exchange, "%1200s END", "wide");
}

static int give_back(pirn_http_exchange *exchange, void *context) {
    (void)context;
    size_t bytes;
    const void *body = pirn_http_body(exchange, &bytes);
    return pirn_http_reply(exchange, 200, "text/plain", body, bytes);
}

static pirn_http_server *open_site(int *port) {
    pirn_http_options options;
    pirn_http_options_init(&options);
    pirn_listener *listener = NULL;
    pirn_http_server *server = pirn_http_server_create(&options);
    if (!server) {
        return NULL;
    }
    if (!fault_expect(pirn_http_route(server, "GET", "/hello", 0, say_hello, NULL), 0) ||
        !fault_expect(pirn_http_route(server, "GET", "/stream", 0, stream, NULL), 0) ||
        !fault_expect(pirn_http_route(server, "POST", "/back", 0, give_back, NULL), 0) ||
        !fault_expect(pirn_http_inspector(server, "/debug/"), 0) ||
        !fault_expect(pirn_listen("127.0.0.1:0", NULL, &listener), 0)) {
        pirn_http_server_close(server, PIRN_NOW);
        return NULL;
    }
    *port = pirn_listener_port(listener);
    if (!fault_expect(pirn_http_serve(server, listener), 0)) {
        pirn_listener_close(listener);
        pirn_http_server_close(server, PIRN_NOW);
        return NULL;
    }
    return server;
}

/* ---- its clients ---- */

typedef struct visitor {
    int port;
    pirn_socket kept;    /* which the client leaves open, for the server's end */
    char answer[131072]; /* too large for a tasklet's stack                    */
} visitor;

/* Whether the whole response is there. */
static bool complete(const char *answer, size_t length) {
    const char *body = strstr(answer, "\r\n\r\n"), *field = strstr(answer, "Content-Length: ");
    if (!body) {
        return false;
    }
    body += 4;
    if (field && field < body) {
        return length - (size_t)(body - answer) >= strtoul(field + strlen("Content-Length: "), NULL, 10);
    }
    return strcmp(answer + length - 5, "0\r\n\r\n") == 0;
}

/* Send, and read the response. False: refused, or hung up; the connection is of no more use. */
static bool ask(visitor *v, const char *request) {
    size_t length = 0, moved = 0;
    if (!fault_expect(pirn_write(v->kept, request, strlen(request), NULL, FAULT_PATIENCE), -EPIPE)) {
        return false;
    }
    do {
        int status = pirn_read(v->kept, v->answer + length, sizeof v->answer - 1 - length, &moved, FAULT_PATIENCE);
        if (!fault_expect(status, -ECONNRESET) || moved == 0) {
            return false;
        }
        length += moved;
        v->answer[length] = '\0';
    } while (!complete(v->answer, length));
    bool refused = strncmp(v->answer, "HTTP/1.1 500 ", 13) == 0 || strncmp(v->answer, "HTTP/1.1 503 ", 13) == 0;
    TEST_CHECK(refused || strncmp(v->answer, "HTTP/1.1 200 ", 13) == 0);
    return !refused;
}

static int browse(void *arg) {
    visitor *v = arg;
    char address[32], post[9200];
    snprintf(address, sizeof address, "127.0.0.1:%d", v->port);
    if (!fault_expect(pirn_connect(address, &v->kept, FAULT_PATIENCE), -ECONNRESET)) {
        v->kept.id = 0;
        return 0;
    }
    int head = snprintf(post, sizeof post, "POST /back HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n");
    snprintf(post + head, sizeof post - (size_t)head, "%8996s END", "x");
    bool go_on = ask(v, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n") &&
                 ask(v, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n") &&
                 ask(v, "GET /debug/?format=json HTTP/1.1\r\nHost: localhost\r\n\r\n") &&
                 ask(v, "GET /debug/ HTTP/1.1\r\nHost: localhost\r\n\r\n") && ask(v, post);
    if (!go_on) { /* the server lingers for as long as we might still be sending */
        (void)pirn_close(v->kept);
        v->kept.id = 0;
    }
    return 0;
}

static int fetch(int port) {
    char url[64], error[200];
    pirn_http_page *page = NULL;
    snprintf(url, sizeof url, "http://127.0.0.1:%d/hello", port);
    /* PIRN_EHTTP: the server may hang up, or the client gets no socket. */
    if (fault_expect(pirn_http_get(url, &page, error, sizeof error, FAULT_PATIENCE), PIRN_EHTTP)) {
        TEST_CHECK(page->status == 500 || page->status == 503 || strcmp(page->body, "hello END") == 0);
        pirn_http_page_drop(page);
    }
    return 0;
}

static int http(void *arg) {
    (void)arg;
    static visitor there, here;
    there.kept = here.kept = (pirn_socket){0};
    pirn_http_server *server = open_site(&here.port);
    if (!server) {
        return 0;
    }
    there.port = here.port;
    fault_task far;
    bool began = fault_begin(&far, browse, &there, fault_far());
    (void)browse(&here);
    (void)fetch(here.port);
    TEST_CHECK(!began || fault_end(&far) == 0);
    /* Idle connections close at once, and nobody waits for the deadline. */
    pirn_time before = pirn_now();
    pirn_http_server_close(server, FAULT_PATIENCE);
    TEST_CHECK(pirn_now() - before < 10 * PIRN_SECOND);
    if (here.kept.id != 0) {
        TEST_CHECK(pirn_close(here.kept) == 0);
    }
    if (there.kept.id != 0) {
        TEST_CHECK(pirn_close(there.kept) == 0);
    }
    return 0;
}

Test(fault_services, http_answers_or_hangs_up) {
    /* Goal: a request is answered, answered with 500 or 503, or its connection ends; the server closes in time.
     * Method: keep-alive clients on each worker (small, streamed and large responses, a body that needs a larger
     * buffer, the inspector) and a fetch; the clients' connections are still open when the server closes. */
    fault_campaign(&(fault_scenario){.name = "http", .body = http, .runs = 16});
}

/* ---- a site without stacks ---- */

static int ask_without_stacks(void *arg) {
    (void)arg;
    static visitor v;
    static const char request[] = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";
    long asked, failed;
    size_t moved;
    char address[32];
    pirn_http_server *server = open_site(&v.port);
    snprintf(address, sizeof address, "127.0.0.1:%d", v.port);
    TEST_CHECK(pirn_connect(address, &v.kept, FAULT_PATIENCE) == 0 && ask(&v, request));
    pirn_channel *gate = pirn_channel_create(0, 0);
    fault_arm(FAULT_SYSTEM, 1, 1000000);
    unsigned count = fault_take_stacks(gate);
    TEST_CHECK(!ask(&v, request) && strncmp(v.answer, "HTTP/1.1 503 ", 13) == 0);
    fault_disarm(&asked, &failed);
    TEST_CHECK(pirn_read(v.kept, v.answer, 1, &moved, FAULT_PATIENCE) == 0 && moved == 0);
    TEST_CHECK(pirn_close(v.kept) == 0);
    fault_give_stacks(gate, count);
    TEST_CHECK(pirn_connect(address, &v.kept, FAULT_PATIENCE) == 0 && ask(&v, request));
    TEST_CHECK(pirn_close(v.kept) == 0);
    pirn_http_server_close(server, FAULT_PATIENCE);
    pirn_channel_destroy(gate);
    return 0;
}

Test(fault_services, request_without_a_stack_is_answered) {
    /* Goal: a request whose tasklet gets no stack is told so at once, and the next one with a stack is served.
     * Method: on one worker a client is connected; tasklets take all stacks while no more memory can be mapped; its
     * request gives 503 and the end of the connection. */
    for (size_t i = 0; i < TEST_MODES; i++) {
        test_mode alone = test_modes[i];
        alone.workers = 1;
        cr_assert_eq(test_run_in(&alone, ask_without_stacks, NULL), 0);
    }
}

/* ---- SQL ---- */

static char database[64];

static void remove_database(void) {
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        char path[80];
        snprintf(path, sizeof path, "%s%s", database, suffixes[i]);
        (void)unlink(path);
    }
}

static int two_rows(pirn_sql_connection *connection, void *arg) {
    (void)arg;
    pirn_sql_value value = pirn_sql_text("in a transaction");
    int status = pirn_sql_step(connection, "insert into t values (?1)", &value, 1, NULL);
    return status ? status : pirn_sql_step(connection, "insert into t values (?1)", &value, 1, NULL);
}

static int use(void *arg) {
    pirn_sql_rows *rows = NULL;
    if (!fault_expect(pirn_sql_query(arg, "create table if not exists t (x text)", NULL, 0, NULL, FAULT_PATIENCE), 0)) {
        return 0;
    }
    pirn_sql_value value = pirn_sql_text("some text");
    (void)fault_expect(pirn_sql_query(arg, "insert into t values (?1)", &value, 1, NULL, FAULT_PATIENCE), 0);
    (void)fault_expect(pirn_sql_transaction(arg, two_rows, NULL, NULL, FAULT_PATIENCE), 0);
    if (fault_expect(pirn_sql_query(arg, "select x, length(x) from t", NULL, 0, &rows, FAULT_PATIENCE), 0)) {
        TEST_CHECK(pirn_sql_column_count(rows) == 2);
        pirn_sql_rows_drop(rows);
    }
    if (!fault_expect(pirn_sql_query(arg, "select y from t", NULL, 0, NULL, FAULT_PATIENCE), PIRN_EDB)) {
        (void)pirn_sql_error();
    }
    return 0;
}

static int query_for_long(void *arg) {
    return pirn_sql_query(arg,
                          "with recursive n(i) as (select 1 union all select i + 1 from n where i < 10000000000) "
                          "select count(*) from n",
                          NULL, 0, NULL, FAULT_PATIENCE);
}

static int sql(void *arg) {
    (void)arg;
    pirn_sql_options options;
    pirn_sql_options_init(&options);
    options.connections = 2;
    pirn_sql_pool *pool = NULL;
    char error[200];
    if (!fault_expect(pirn_sql_open(database, &options, &pool, error, sizeof error), 0)) {
        return 0;
    }
    fault_task far, slow;
    bool slow_began = fault_begin(&slow, query_for_long, pool, fault_far());
    bool began = fault_begin(&far, use, pool, fault_far());
    (void)use(pool);
    TEST_CHECK(!began || fault_end(&far) == 0);
    if (slow_began) {
        while (slow.handle.id != 0 && pirn_cancel(slow.handle) == PIRN_ENOMEM) {
        }
        (void)fault_expect(fault_end(&slow), PIRN_ECANCELED);
    }
    /* The connection of the cancelled one comes back when its statement has stopped. */
    for (pirn_time until = FAULT_PATIENCE; pirn_sql_idle_count(pool) < 2;) {
        TEST_CHECK(pirn_now() < until);
        (void)pirn_sleep_until(pirn_after(PIRN_MILLISECOND));
    }
    pirn_sql_close(pool);
    return 0;
}

Test(fault_services, sql_answers_and_keeps_its_connections) {
    /* Goal: a query answers or fails with a code, and its connection goes back to the pool either way.
     * Method: queries, a transaction and an error on two workers, with a query that is cancelled beside them. */
    snprintf(database, sizeof database, "/tmp/pirn-fault-%d.db", (int)getpid());
    fault_campaign(&(fault_scenario){.name = "sql", .body = sql, .runs = 16, .prepare = remove_database});
    remove_database();
}
