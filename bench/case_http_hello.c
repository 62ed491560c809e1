/* SPDX-License-Identifier: MIT
 *
 * What: how many small HTTP requests a second, and what CPU does the server use for one?
 * Method: pirn's server in a process of its own answers /hello; wrk (or the client of load_own.c) asks over 8, 64
 *       and 512 keep-alive connections. Client and server share the machine: the CPU per request is the steadier
 *       figure.
 */
#include <signal.h>

#include <pirn/http.h>

#include "hello_server.h"
#include "out.h"

static int hello(pirn_http_exchange *exchange, void *context) {
    (void)context;
    return pirn_http_reply(exchange, 200, "text/plain", "Hello, world!", 13);
}

/* Serve until SIGTERM. `server` owns the listener from pirn_http_serve on, whatever that returns. */
static int serve_until_signal(pirn_http_server *server, FILE *ready) {
    pirn_listener *listener = NULL;
    pirn_channel *terminated = pirn_signal_open(SIGTERM);
    int error = terminated ? pirn_http_route(server, "GET", "/hello", 0, hello, NULL) : PIRN_ENOMEM;
    if (error == 0) {
        error = pirn_listen("127.0.0.1:0", NULL, &listener);
    }
    int port = error == 0 ? pirn_listener_port(listener) : 0;
    if (error == 0) {
        error = pirn_http_serve(server, listener);
    }
    if (error == 0) {
        int signal_number = 0;
        fprintf(ready, "port %d\n", port);
        fclose(ready);
        error = pirn_recv(terminated, &signal_number, PIRN_FOREVER);
    }
    if (terminated) {
        pirn_signal_close(terminated);
    }
    return error;
}

static int serve_main(void *arg) {
    pirn_http_options options;
    pirn_http_options_init(&options);
    options.requests_max = PIRN_HTTP_NO_LIMIT; /* the question is the request, not the connection            */
    pirn_http_server *server = pirn_http_server_create(&options);
    if (!server) {
        return PIRN_ENOMEM;
    }
    int error = serve_until_signal(server, arg);
    pirn_http_server_close(server, pirn_after(PIRN_SECOND));
    return error;
}

static int serve(const bench_setting *setting, FILE *ready) {
    bench_out out = {.pipe = ready};
    return bench_in_pirn(setting, &out, serve_main, ready);
}

static int run(const bench_setting *setting, bench_out *out) {
    return hello_measure(serve, setting, "", out);
}

const bench_case bench_case_http_hello = {"http-hello",
                                          "How many small HTTP requests a second, and what server CPU for one?", run};
