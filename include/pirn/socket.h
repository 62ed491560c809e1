/* SPDX-License-Identifier: MIT
 *
 * pirn/socket.h: stream sockets with deadlines, listeners, and waiting for any descriptor. One reader and one writer at
 * a time; they may be on different workers.
 */
#ifndef PIRN_SOCKET_H
#define PIRN_SOCKET_H

#include <pirn/base.h>
#include <pirn/tasklet.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A socket's handle: a value; after pirn_close every call on it gives PIRN_EBADF. id 0 names none. */
typedef struct pirn_socket {
    uint64_t id;
} pirn_socket;

/* ---- streams: bridge/socket.c ---- */

/* Read what is there. Parks: until at least one byte, the end or an error. Thread: a tasklet. Args: at most `bytes`, at
 * least 1, into `buffer`, and at most 256 KiB; `moved` is not NULL. With PIRN_NOW the system is asked at once, in every
 * mode; only right after a read that its deadline or a strike ended may that give PIRN_EAGAIN although bytes are there.
 * Owns: `buffer` stays the caller's; nobody writes to it after the return. Returns: 0, with *moved 0 at the end of the
 * stream;
 * PIRN_EINVAL (no `buffer`, `bytes` or `moved`); PIRN_EBADF (closed before); PIRN_ECLOSED (closed meanwhile);
 * PIRN_EBUSY (another tasklet reads); the wait's codes: no byte is lost; or the system's code, as -ECONNRESET. Answers
 * to Protocol.dataReceived. */
PIRN_API int pirn_read(pirn_socket socket, void *buffer, size_t bytes, size_t *moved, pirn_time deadline);

/* Write all `bytes`. Parks: until all is taken by the system. Thread: a tasklet. Args: `*moved` (NULL allowed) tells
 * how many went out on every return: after an error or a deadline it may be less than `bytes`. PIRN_NOW as pirn_read,
 * and at most 256 KiB go out: PIRN_EAGAIN says that not all did.
 * Owns: `buffer` stays the caller's; nobody reads it after the return. Returns: 0; PIRN_EINVAL (no `buffer`);
 * PIRN_EBADF; PIRN_ECLOSED; PIRN_EBUSY (another tasklet writes); the wait's codes; or the system's code, as -EPIPE when
 * the peer is gone (no signal). Answers to transport.write. */
PIRN_API int pirn_write(pirn_socket socket, const void *buffer, size_t bytes, size_t *moved, pirn_time deadline);

/* Say that nothing more will be written. Parks: no. Thread: a worker's. Returns: 0; PIRN_EBADF (closed); or the
 * system's code. Answers to transport.loseWriteConnection. */
PIRN_API int pirn_shutdown(pirn_socket socket);

/* Close: both waiting ends wake with PIRN_ECLOSED; its performer closes the descriptor once nobody uses it. Parks: no.
 * Thread: a worker's. Returns: 0; PIRN_EBADF (closed before). Answers to transport.loseConnection. */
PIRN_API int pirn_close(pirn_socket socket);

/* The peer's address as "127.0.0.1:4711", "[::1]:4711" or "[fe80::1%eth0]:4711", and whether it is on the loopback
 * range. Parks: no. Thread: a worker's. Args: `text` has `text_bytes` bytes, and is cut and terminated; "?" for a peer
 * that is neither IPv4 nor IPv6; `loopback` may be NULL. Returns: 0; PIRN_EBADF (closed). Answers to transport.getPeer.
 */
PIRN_API int pirn_socket_peer(pirn_socket socket, char *text, size_t text_bytes, bool *loopback);

/* Connect a TCP socket. Parks: yes. Thread: a tasklet. Args: `address` is "HOST:PORT" with a numeric host, an IPv6 one
 * in brackets, with its zone where it has one: "[fe80::1%eth0]:80" (resolve names with pirn_resolve). Owns: on 0
 * `*socket` is the caller's, until pirn_close; on failure nothing is left open. Returns: 0; PIRN_EINVAL (no such
 * address, no `socket`); -ENODEV (no interface has the zone's name or number); PIRN_ENOMEM; PIRN_ELIMIT (the
 * descriptor's number is over the table's 1,048,576); the wait's codes; or the system's code, as -ECONNREFUSED. Answers
 * to reactor.connectTCP. */
PIRN_API int pirn_connect(const char *address, pirn_socket *socket, pirn_time deadline);

/* Take over a connected stream descriptor: pirn makes it non-blocking and closes it at pirn_close. Parks: no. Thread: a
 * worker's. Args: `descriptor` is not pirn's already (that aborts). Owns: on 0 the descriptor is the socket's; else it
 * stays the caller's. Returns: 0; PIRN_EINVAL (no socket, no stream socket, one that listens or was never connected; a
 * line on stderr says which and what to use); PIRN_ENOMEM; PIRN_ELIMIT (its number is over the table's 1,048,576);
 * PIRN_ETHREAD (no worker here). Answers to reactor.adoptStreamConnection. */
PIRN_API int pirn_socket_adopt(int descriptor, pirn_socket *socket);

/* ---- listeners: bridge/listener.c ---- */

typedef struct pirn_listener pirn_listener;

typedef struct pirn_listen_options {
    int backlog; /* 0: 4,096                                                              */
    /* open at once through this listener; above it accepting stops; 0: no limit but descriptors */
    unsigned connections_max;
} pirn_listen_options;

/* Bind and listen. Parks: no. Thread: a tasklet. Args: `address` is numeric: "127.0.0.1:8080", "[::1]:0",
 * "[fe80::1%eth0]:80", ...; NULL options are the defaults. Owns: on 0 the listener is the caller's, until
 * pirn_listener_close. Returns: 0; PIRN_EINVAL (no such address, no `listener`); -ENODEV (no interface has the zone's
 * name or number); PIRN_ENOMEM; PIRN_ETHREAD (no tasklet runs here); or the system's code: -EADDRINUSE for a port that
 * any program already listens on. Answers to reactor.listenTCP. */
PIRN_API int pirn_listen(const char *address, const pirn_listen_options *options, pirn_listener **listener);

/* The bound port, for an address with port 0. Parks: no. Thread: any. */
PIRN_API int pirn_listener_port(const pirn_listener *listener);

/* A new connection. Parks: as it likes. Thread: a tasklet of its own, on the worker the policy chose. Args: `context`
 * as given to pirn_serve. Owns: `socket` is its own; what it left open is closed at its end. Returns: 0, or a negative
 * code, which is reported. */
typedef int (*pirn_connection_fn)(pirn_socket socket, void *context);

/* Accept by the runtime's policy from now on: the reactor accepts and gives each connection to the worker with the
 * fewest; or each worker accepts its own (SO_REUSEPORT). Out of descriptors, or at `connections_max`, it pauses,
 * without spinning, until one is free. Parks: no. Thread: a worker's; once per listener. Args: `name` names the
 * connection tasklets (copied, cut at 31 bytes; NULL: "connection"). Owns: `context` stays the caller's, and has to
 * outlive the connections. Returns: 0; PIRN_EINVAL (no listener, no `connection`); PIRN_EALREADY (it serves);
 * PIRN_ECLOSED (it was stopped, or the runtime is ending). */
PIRN_API int pirn_serve(pirn_listener *listener, const char *name, pirn_connection_fn connection, void *context);

/* Stop accepting and free the listener; its connections go on. Clients that had connected before are still accepted,
 * above `connections_max` too: none is reset. Parks: until no performer can still start a connection; ignores
 * cancellation. Thread: a tasklet; elsewhere it does nothing, and a line is on stderr. Args: NULL is allowed. Answers
 * to Port.stopListening. */
PIRN_API void pirn_listener_close(pirn_listener *listener);

/* ---- other people's descriptors: bridge/socket.c ---- */

enum pirn_fd_events { PIRN_FD_READ = 1, PIRN_FD_WRITE = 2 };

/* Wait until a non-blocking descriptor of somebody else's (a library's socket) is ready in one of `events`. Parks: yes.
 * Thread: a tasklet; with PIRN_NOW any. Owns: the descriptor stays the caller's and must stay open while this waits.
 * Returns: the ready events (positive; after an error or hang-up all that were asked for, so that the next call on it
 * tells); PIRN_EINVAL (no descriptor, or no such events); PIRN_EBADF (it is not open); PIRN_EBUSY (somebody waits for
 * this descriptor already, or it is a pirn_socket's); PIRN_ENOMEM; PIRN_ELIMIT (its number is over the table's
 * 1,048,576); the wait's codes; or the system's code when it cannot be watched. */
PIRN_API int pirn_fd_wait(int fd, int events, pirn_time deadline);

#ifdef __cplusplus
}
#endif
#endif
