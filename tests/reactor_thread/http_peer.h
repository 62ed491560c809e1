/* SPDX-License-Identifier: MIT
 *
 * What: a small HTTP/1.1 server on a thread of its own, for tests of the client: real sockets on the loopback, answers
 *       by path. /hello /missing /untyped /big/BYTES /redirect /echo /cut (closes in the middle of the body) /never (no
 *       answer) /to/STATUS/URL (a redirect) /again/HOW (/hello on a new connection; on a used one the connection ends
 *       without an answer) /bye/HOW (/hello, then the connection ends). HOW: close, reset, half (of the connection),
 *       said (close, with Connection: close)
 * Threads: start and stop: the test's main thread; the rest any.
 */
#ifndef REACTOR_HTTP_PEER_H
#define REACTOR_HTTP_PEER_H

typedef struct http_peer http_peer;

http_peer *http_peer_start(void);
void http_peer_stop(http_peer *peer);
int http_peer_port(const http_peer *peer);
/* Connections accepted since the start; those open now; requests read since the start. */
unsigned http_peer_accepted(http_peer *peer);
unsigned http_peer_open(http_peer *peer);
unsigned http_peer_requests(http_peer *peer);

#endif
