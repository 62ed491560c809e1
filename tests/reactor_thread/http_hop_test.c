/* SPDX-License-Identifier: MIT
 *
 * What: tests of reactor_thread/http_fetch.c's redirects, and of the names and connections that fetches use
 *       (http_hop.c, http_engine.c, http_gate.c, http_sweep.c).
 */
#include "engine.h"
#include "http_peer.h"
#include "live.h"
#include "resolver.h"

#include <sys/wait.h>

#include <pirn/http.h>

static http_peer *peer, *other;

static void setup(void) {
    peer = http_peer_start();
    other = http_peer_start();
}

static void teardown(void) {
    http_peer_stop(peer);
    http_peer_stop(other);
}

/* "http://HOST:PORT" of `server` with `path`; the caller has four of them at once. */
static const char *at(const char *host, http_peer *server, const char *path) {
    static _Thread_local char texts[4][512];
    static _Thread_local unsigned turn;
    char *text = texts[turn++ % 4];
    (void)snprintf(text, sizeof texts[0], "http://%s:%d%s", host, http_peer_port(server), path);
    return text;
}

/* The path of a redirect with `status` to `where`. */
static const char *to(int status, const char *where) {
    static char text[600];
    (void)snprintf(text, sizeof text, "/to/%d/%s", status, where);
    return text;
}

/* The page of a fetch, which must succeed with 200. The caller frees the text. */
static char *fetch(const char *where, const pirn_fetch_options *options) {
    pirn_result result = {0};
    int status = pirn_await_take(pirn_http_fetch(where, options), &result, PIRN_FOREVER);
    char why[300] = "";
    if (status != 0) {
        (void)pirn_failure_format(result.failure, why, sizeof why);
    }
    cr_assert_eq(status, 0, "%s: %s", where, why);
    pirn_http_page *page = result.value;
    cr_assert_eq(page->status, 200, "%s: %d", where, page->status);
    char *body = page->body;
    page->body = NULL;
    pirn_http_page_drop(page);
    return body;
}

static void expect_failure(const char *where, const pirn_fetch_options *options, int code, const char *words,
                           const char *no_words) {
    pirn_result result = {0};
    char why[400] = "";
    int status = pirn_await_take(pirn_http_fetch(where, options), &result, PIRN_FOREVER);
    cr_assert_eq(status, code, "%s: %s", where, pirn_error_name(status));
    (void)pirn_failure_format(result.failure, why, sizeof why);
    cr_assert(strstr(why, words), "\"%s\" is not in: %s", words, why);
    cr_assert(!no_words || !strstr(why, no_words), "\"%s\" is in: %s", no_words, why);
    pirn_result_drop(&result);
}

/* What the server read after a redirect. */
static void expect_after(int status, const pirn_fetch_options *options, const char *line, const char *body) {
    pirn_fetch_options follow = *options;
    follow.redirects_max = 1;
    char *text = fetch(at("127.0.0.1", peer, to(status, "/echo")), &follow);
    cr_assert_eq(strncmp(text, line, strlen(line)), 0, "%d: %s", status, text);
    cr_assert_str_eq(strstr(text, "\r\n\r\n") + 4, body);
    cr_assert_eq(!strstr(text, "\r\nContent-"), !body[0], "%d: %s", status, text);
    free(text);
}

static int follow_with_methods(void *arg) {
    (void)arg;
    static const int statuses[] = {301, 302, 303, 307, 308};
    for (unsigned i = 0; i < 5; i++) {
        int status = statuses[i];
        bool repeats = status >= 307;
        expect_after(status, &(pirn_fetch_options){0}, "GET /echo", "");
        expect_after(status, &(pirn_fetch_options){.body = "a=1", .body_bytes = 3},
                     repeats ? "POST /echo" : "GET /echo", repeats ? "a=1" : "");
        expect_after(status, &(pirn_fetch_options){.method = "PUT", .body = "{}", .body_bytes = 2},
                     status == 303 ? "GET /echo" : "PUT /echo", status == 303 ? "" : "{}");
        expect_after(status, &(pirn_fetch_options){.method = "DELETE"}, status == 303 ? "GET /echo" : "DELETE /echo",
                     "");
    }
    return 0;
}

/* Goal: the method after a redirect is the one of RFC 9110, with the body only where it is repeated.
 * Method: each status with GET, POST, PUT and DELETE to a server that sends the second request back. */
Test(http_hop, method_after_a_redirect_is_as_the_rfc_says, .init = setup, .fini = teardown) {
    in_every_mode(follow_with_methods, NULL);
}

static int follow_places(void *arg) {
    (void)arg;
    pirn_fetch_options follow = {.redirects_max = 3};
    static const char *const places[] = {"/echo?a=1", "../../echo?a=1#part", "//loop.pirn.test:PORT/echo?a=1"};
    for (unsigned i = 0; i < 3; i++) {
        char place[256];
        const char *port = strstr(places[i], "PORT");
        if (port) {
            (void)snprintf(place, sizeof place, "//loop.pirn.test:%d/echo?a=1", http_peer_port(other));
        } else {
            (void)snprintf(place, sizeof place, "%s", places[i]);
        }
        char *text = fetch(at("127.0.0.1", peer, to(302, place)), &follow), host[64];
        (void)snprintf(host, sizeof host, "\r\nHost: %s:%d\r\n", port ? "loop.pirn.test" : "127.0.0.1",
                       http_peer_port(port ? other : peer));
        cr_assert_eq(strncmp(text, "GET /echo?a=1 HTTP/1.1\r\n", 24), 0, "%s: %s", place, text);
        cr_assert(strstr(text, host), "%s: %s", place, text);
        free(text);
    }
    char loop[300];
    (void)snprintf(loop, sizeof loop, "%s", at("127.0.0.1", peer, to(302, "/redirect")));
    free(fetch(loop, &(pirn_fetch_options){.redirects_max = 2}));
    expect_failure(loop, &(pirn_fetch_options){.redirects_max = 1}, PIRN_EHTTP, "redirects_max, 1", NULL);
    expect_failure(at("127.0.0.1", peer, to(302, "ftp://127.0.0.1/x")), &follow, PIRN_EHTTP, "only http and https",
                   NULL);
    expect_failure(at("127.0.0.1", peer, to(302, "http://user:geheim@[::1/")), &follow, PIRN_EHTTP,
                   "redirect to http://***@[::1/", NULL);
    expect_failure(at("127.0.0.1", peer, to(302, "http://no..such..name/")), &follow, PIRN_EDNS, "no..such..name",
                   NULL);
    return 0;
}

/* Goal: Location counts from the current URL, the fragment is dropped, Host is that of each hop; the bound on
 *       redirects, other schemes and unknown names fail with a reason.
 * Method: relative, upward, scheme-relative and absolute places; the second server tells what it read. */
Test(http_hop, place_counts_from_the_current_url, .init = setup, .fini = teardown) {
    in_every_mode(follow_places, NULL);
}

static int follow_with_password(void *arg) {
    (void)arg;
    pirn_fetch_options follow = {.redirects_max = 3};
    char *text = fetch(at("us%65r:geheim@127.0.0.1", peer, "/echo"), &follow);
    cr_assert(strstr(text, "\r\nAuthorization: Basic dXNlcjpnZWhlaW0=\r\n"), "%s", text);
    free(text);
    text = fetch(at("user:geheim@127.0.0.1", peer, to(302, "/echo")), &follow);
    cr_assert(strstr(text, "Authorization: Basic"), "same origin: %s", text);
    free(text);
    text = fetch(at("user:geheim@127.0.0.1", peer, to(302, at("127.0.0.1", other, "/echo"))), &follow);
    cr_assert_null(strstr(text, "Authorization"), "another port: %s", text);
    free(text);
    text = fetch(at("user:geheim@127.0.0.1", peer, to(302, at("localhost", peer, "/echo"))), &follow);
    cr_assert_null(strstr(text, "Authorization"), "another host: %s", text);
    free(text);
    expect_failure("http://user:geheim@127.0.0.1:1/", NULL, PIRN_EHTTP, "127.0.0.1", "geheim");
    expect_failure("http://user:geheim@127.0.0.1:99999/", NULL, PIRN_EHTTP, "99999", "geheim");
    expect_failure("http://us er:gehe/im@[::1/", NULL, PIRN_EHTTP, "http://", "gehe");
    expect_failure("ftp://user:geheim@127.0.0.1/", NULL, PIRN_EHTTP, "only http", "geheim");
    expect_failure("http://user:geheim@no..such..name/", NULL, PIRN_EDNS, "no..such..name", "geheim");
    return 0;
}

/* Goal: user and password go to the origin they were given for and nowhere else, and into no message.
 * Method: the echo of both servers after redirects within and across origins; each way to fail. */
Test(http_hop, password_stays_with_its_origin, .init = setup, .fini = teardown) {
    in_every_mode(follow_with_password, NULL);
}

static int follow_names(void *arg) {
    (void)arg;
    pirn_fetch_options follow = {.redirects_max = 3};
    free(fetch(at("LOOP.pirn.test", peer, to(307, at("slow.pirn.test", other, "/hello"))), &follow));
    free(fetch(at("many.pirn.test", peer, "/hello"), NULL));
    pirn_deferred *stuck = pirn_http_fetch(at("127.0.0.1", peer, to(302, "http://stuck-redirect.pirn.test/")), &follow);
    unsigned before = resolver_stuck();
    while (resolver_stuck() == before) {
        free(fetch(at("127.0.0.1", peer, "/hello"), NULL)); /* the reactor serves others */
    }
    pirn_result result;
    cr_assert_eq(pirn_await_take(stuck, &result, pirn_after(PIRN_MILLISECOND)), PIRN_ETIMEDOUT);
    wait_until(no_request_is_under_way, NULL);
    cr_assert_eq(resolver_calls_elsewhere(), 0);
    return 0;
}

/* Goal: names of redirects are looked up on the threads for names, all addresses of a name are tried, and a name that
 *       hangs holds up one fetch and ends with its deadline.
 * Method: names that only this program's getaddrinfo knows; it counts its calls by thread. */
Test(http_hop, names_are_never_looked_up_on_the_reactor, .init = setup, .fini = teardown) {
    for (int which = 0; which < ENGINE_MODES; which++) {
        pirn_options options = engine_options(which);
        cr_assert_eq(pirn_run(&options, follow_names, NULL), 0); /* a line names the stuck lookup */
    }
}

/* ---- connections ---- */

static int fetch_many(void *arg) {
    const char *where = arg;
    for (unsigned i = 0; i < 20; i++) {
        free(fetch(where, NULL));
    }
    return 0;
}

static void run_clients(unsigned count, const char *where) {
    pirn_tasklet clients[64];
    pirn_spawn_options options;
    pirn_spawn_options_init(&options);
    options.flags = PIRN_JOINABLE;
    for (unsigned i = 0; i < count; i++) {
        clients[i] = pirn_spawn_with(&options, fetch_many, (void *)(uintptr_t)where);
    }
    for (unsigned i = 0; i < count; i++) {
        cr_assert_eq(pirn_join(clients[i], NULL, PIRN_FOREVER), 0);
    }
}

static int count_connections(void *arg) {
    unsigned before = http_peer_accepted(peer), most = *(unsigned *)arg;
    run_clients(32, at("127.0.0.1", peer, "/hello"));
    unsigned opened = http_peer_accepted(peer) - before;
    cr_assert_leq(opened, most);
    return 0;
}

/* Goal: fetches beyond sixteen at once reuse connections; the bound per host lets the others wait, and none fails.
 * Method: 32 clients with 20 fetches each: the server accepted 32 connections at most, and 3 with a bound of 3. */
Test(http_hop, connections_are_no_more_than_fetches_at_once, .init = setup, .fini = teardown) {
    in_every_mode(count_connections, &(unsigned){32});
    for (int which = 0; which < ENGINE_MODES; which++) {
        pirn_options options = engine_options(which);
        options.fetch_connections_per_host_max = 3;
        cr_assert_eq(pirn_run(&options, count_connections, &(unsigned){3}), 0);
    }
}

static int fetch_past_a_full_host(void *arg) {
    (void)arg;
    pirn_deferred *held[6];
    unsigned wanted = http_peer_requests(peer) + 2;
    for (unsigned i = 0; i < 6; i++) {
        held[i] = pirn_http_fetch(at("127.0.0.1", peer, "/never"), NULL);
    }
    while (http_peer_requests(peer) < wanted) {
        (void)pirn_sleep_until(pirn_after(PIRN_MILLISECOND));
    }
    run_clients(8, at("127.0.0.1", other, "/hello"));
    cr_assert_eq(http_peer_requests(peer), wanted);
    pirn_result result;
    for (unsigned i = 0; i < 6; i++) {
        (void)pirn_await_take(held[i], &result, PIRN_NOW);
    }
    wait_until(no_request_is_under_way, NULL);
    free(fetch(at("127.0.0.1", peer, "/hello"), NULL));
    return 0;
}

/* Goal: fetches that wait for a place at one host hold up no other host, and may be given up while they wait.
 * Method: a bound of 2 per host and 3 in total; six fetches of a page that never comes, 160 of the other server. */
Test(http_hop, full_host_holds_up_no_other, .init = setup, .fini = teardown) {
    for (int which = 0; which < ENGINE_MODES; which++) {
        pirn_options options = engine_options(which);
        options.fetch_connections_per_host_max = 2;
        options.fetch_connections_max = 3;
        cr_assert_eq(pirn_run(&options, fetch_past_a_full_host, NULL), 0);
    }
}

static int survive_ends(void *arg) {
    (void)arg;
    static const char *const hows[] = {"/again/close", "/again/reset", "/again/half", "/bye/close",
                                       "/bye/reset",   "/bye/half",    "/bye/said"};
    static char large[15000];
    for (unsigned i = 0; i < sizeof hows / sizeof hows[0]; i++) {
        for (unsigned round = 0; round < 12; round++) {
            pirn_fetch_options post = {
                .method = "POST", .body = large, .body_bytes = round % 4 == 1 ? 3 : sizeof large};
            free(fetch(at("127.0.0.1", peer, hows[i]), round % 2 ? &post : NULL));
        }
    }
    return 0;
}

/* Goal: a connection that its server closed or reset since its last use fails no fetch, whatever the method.
 * Method: a server that ends used connections without an answer, or after it, in each way; GET and POST in turns. */
Test(http_hop, ended_connection_fails_no_fetch, .init = setup, .fini = teardown) {
    in_every_mode(survive_ends, NULL);
}

static bool has_descriptors(void *context) {
    return count_descriptors() <= *(unsigned *)context;
}

static bool has_none_open(void *context) {
    (void)context;
    return http_peer_open(peer) == 0;
}

static int close_idle(void *arg) {
    (void)arg;
    free(fetch(at("127.0.0.1", other, "/hello"), NULL)); /* libcurl is started, and one connection stays */
    unsigned before = count_descriptors();
    pirn_deferred *all[20];
    for (unsigned k = 0; k < 20; k++) {
        all[k] = pirn_http_fetch(at("127.0.0.1", peer, k % 2 ? "/bye/close" : "/bye/reset"), NULL);
    }
    for (unsigned k = 0; k < 20; k++) {
        pirn_result result = {0};
        cr_assert_eq(pirn_await_take(all[k], &result, PIRN_FOREVER), 0);
        pirn_result_drop(&result);
    }
    wait_until(has_none_open, NULL);
    wait_until(has_descriptors, &before);
    return 0;
}

/* Goal: idle connections that their server has closed or reset are closed here, without another fetch.
 * Method: twenty connections that end after their answer; the descriptors of the process are counted. */
Test(http_hop, idle_connections_end_with_their_server, .init = setup, .fini = teardown) {
    for (int which = 0; which < ENGINE_MODES; which += 2) { /* a second each: libcurl looks no more often */
        pirn_options options = engine_options(which);
        cr_assert_eq(pirn_run(&options, close_idle, NULL), 0);
    }
}

/* The descriptors that a program started now would inherit. */
static void list_inherited(char *text, size_t bytes) {
    int ends[2];
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        execl("/bin/sh", "sh", "-c", "cd /proc/self/fd && echo *", (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    ssize_t got = 0;
    size_t length = 0;
    while ((got = read(ends[0], text + length, bytes - 1 - length)) > 0) {
        length += (size_t)got;
    }
    text[length] = '\0';
    close(ends[0]);
    cr_assert_eq(waitpid(child, NULL, 0), child);
}

static int inherit_during_a_fetch(void *arg) {
    unsigned wanted = http_peer_requests(peer) + 1;
    free(fetch(at("loop.pirn.test", other, "/hello"), NULL));
    pirn_deferred *moving = pirn_http_fetch(at("127.0.0.1", peer, "/never"), NULL);
    while (http_peer_requests(peer) < wanted) {
        (void)pirn_sleep_until(pirn_after(PIRN_MILLISECOND));
    }
    char during[512];
    list_inherited(during, sizeof during);
    cr_assert_str_eq(during, arg);
    pirn_result result;
    (void)pirn_await_take(moving, &result, PIRN_NOW);
    return 0;
}

/* Goal: a program started during fetches inherits no descriptor of ours or of our libraries.
 * Method: the descriptors that a shell has before any runtime and while a fetch is out. */
Test(http_hop, child_inherits_no_descriptor, .init = setup, .fini = teardown) {
    char before[512];
    list_inherited(before, sizeof before);
    in_every_mode(inherit_during_a_fetch, before);
}
