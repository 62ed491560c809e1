/* SPDX-License-Identifier: MIT
 *
 * What: nginx and Go's net/http as servers on loopback, and a client that tells how they judge some bytes.
 * Threads: the test's own; the servers are its children.
 */
#ifndef HTTP_PEERS_H
#define HTTP_PEERS_H

#include <stddef.h>
#include <sys/types.h>

typedef struct http_peers {
    char folder[64];
    int nginx_port, go_port;
    pid_t nginx, go;
} http_peers;

/* Start both and wait until they answer. NULL: they run; else why they cannot, and nothing is left behind. */
const char *http_peers_start(http_peers *peers);
void http_peers_stop(http_peers *peers);

/* Send the bytes on a new connection and read until the server closes it or is silent for some time. `judgement`: the
 * statuses of its responses without 100, then "close" if it closed: "200 400 close". */
void http_peers_ask(int port, const char *bytes, size_t length, char *judgement, size_t judgement_bytes);

#endif
