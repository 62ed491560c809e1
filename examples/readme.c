/* SPDX-License-Identifier: MIT
 *
 * readme.c: the program of README.md: two requests, on whatever workers they live, meet in a channel.
 */
#include <pirn.h>
#include <pirn/http.h>
#include <stdio.h>
#include <string.h>

static pirn_channel *words;

static int say(pirn_http_exchange *exchange, void *context) {
    const char *word = context;
    int error = pirn_send(words, &word, pirn_after(30 * PIRN_SECOND)); /* parks until somebody hears it */
    return error ? error : pirn_http_reply(exchange, 200, "text/plain", "said\n", 5);
}

static int hear(pirn_http_exchange *exchange, void *context) {
    (void)context;
    const char *word;
    int error = pirn_recv(words, &word, pirn_after(30 * PIRN_SECOND)); /* parks until somebody says it */
    return error ? error : pirn_http_reply(exchange, 200, "text/plain", word, strlen(word));
}

static int serve(void *arg) {
    (void)arg;
    pirn_listener *listener;
    pirn_http_server *server = pirn_http_server_create(NULL);
    words = pirn_channel_create(sizeof(const char *), 0);
    pirn_http_route(server, "GET", "/say", 0, say, "hello\n");
    pirn_http_route(server, "GET", "/hear", 0, hear, NULL);
    int error = pirn_listen("127.0.0.1:8080", NULL, &listener);
    return error || (error = pirn_http_serve(server, listener)) ? error : pirn_sleep_until(PIRN_FOREVER);
}

int main(void) {
    int error = pirn_run(NULL, serve, NULL);
    fprintf(stderr, "%s\n", pirn_strerror(error));
    return error ? 1 : 0;
}
