/* SPDX-License-Identifier: MIT
 *
 * What: an HTTP server. Each request is a tasklet that may wait as it likes: for the clock here, for SQL or another
 *       server elsewhere.
 * Usage: http_hello [ADDRESS:PORT]; without one it serves on a free port, fetches its own page and ends.
 */
#include <stdio.h>

#include <pirn.h>
#include <pirn/http.h>

static int hello(pirn_http_exchange *exchange, void *context) {
    (void)context;
    char name[64] = "world";
    pirn_http_query_field(exchange, "name", name, sizeof name);
    int status = pirn_sleep_until(pirn_after(5 * PIRN_MILLISECOND));
    if (status) {
        return status; /* the client has left, or the server ends */
    }
    pirn_http_field(exchange, "Content-Type", "text/plain; charset=utf-8");
    return pirn_http_print(exchange, "Hello, %s!\n", name);
}

static int fetch(int port) {
    char url[80], error[200];
    pirn_http_page *page = NULL;
    snprintf(url, sizeof url, "http://127.0.0.1:%d/?name=pirn", port);
    int status = pirn_http_get(url, &page, error, sizeof error, pirn_after(5 * PIRN_SECOND));
    if (status) {
        printf("%s\n", error);
    } else {
        printf("%d %s", page->status, page->body);
    }
    pirn_http_page_drop(page);
    return status;
}

static int run(void *arg) {
    const char *address = arg;
    pirn_listener *listener;
    int status = pirn_listen(address ? address : "127.0.0.1:0", NULL, &listener);
    if (status) {
        fprintf(stderr, "cannot listen: %s\n", pirn_strerror(status));
        return status;
    }
    int port = pirn_listener_port(listener);
    pirn_http_server *server = pirn_http_server_create(NULL);
    if (!server) {
        pirn_listener_close(listener);
        return PIRN_ENOMEM;
    }
    status = pirn_http_route(server, "GET", "/", 0, hello, NULL);
    status = status ? status : pirn_http_serve(server, listener);
    if (!status) {
        status = address ? pirn_sleep_until(PIRN_FOREVER) : fetch(port);
    }
    pirn_http_server_close(server, pirn_after(PIRN_SECOND));
    return status;
}

int main(int argument_count, char **arguments) {
    return pirn_run(NULL, run, argument_count > 1 ? arguments[1] : NULL) ? 1 : 0;
}
