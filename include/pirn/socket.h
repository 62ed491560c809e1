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

/* Read what is there, at most `bytes`, into `buffer`; 0 with *moved 0 is the end of the stream.
 * Parks: until at least one byte, the end or an error. Thread: a tasklet. Owns: `buffer` stays the caller's; nobody
 * writes to it after the return. Returns: 0; PIRN_EBUSY (another tasklet reads); PIRN_EBADF; PIRN_ECLOSED (closed
 * meanwhile); PIRN_EAGAIN, PIRN_ETIMEDOUT, PIRN_ECANCELED: no byte is lost; or the system's code, as -ECONNRESET;
 * PIRN_ETHREAD. */
PIRN_API int pirn_read(pirn_socket socket, void *buffer, size_t bytes, size_t *moved, pirn_time deadline);

/* Write all `bytes`. `*moved` (NULL allowed) tells how many went out on every return: after an error or a deadline it
 * may be less. Parks: until all is taken by the system. As pirn_read otherwise; -EPIPE when the peer is gone (no
 * signal). */
PIRN_API int pirn_write(pirn_socket socket, const void *buffer, size_t bytes, size_t *moved, pirn_time deadline);

/* Say that nothing more will be written. Never parks. Returns 0, PIRN_EBADF or the system's code. */
PIRN_API int pirn_shutdown(pirn_socket socket);

/* Close: both waiting ends wake with PIRN_ECLOSED; its performer closes the descriptor once nobody uses it. Never
 * parks.
 * Thread: any worker. Returns 0, PIRN_EBADF. */
PIRN_API int pirn_close(pirn_socket socket);

/* The peer's address as "127.0.0.1:4711" or "[::1]:4711", and whether it is on the loopback range. Never parks. */
PIRN_API int pirn_socket_peer(pirn_socket socket, char *text, size_t text_bytes, bool *loopback);

/* Connect a TCP socket to "HOST:PORT" with a numeric host (resolve names with pirn_resolve). Parks. Returns 0,
 * PIRN_EINVAL, PIRN_ENOMEM, the system's code, or the wait's; on failure nothing is left open. */
PIRN_API int pirn_connect(const char *address, pirn_socket *socket, pirn_time deadline);

/* Take over a connected stream descriptor: pirn makes it non-blocking and closes it at pirn_close. Returns 0,
 * PIRN_EINVAL, PIRN_ENOMEM, PIRN_ELIMIT (descriptor number over the table's 1,048,576) (the descriptor stays the
 * caller's). */
PIRN_API int pirn_socket_adopt(int descriptor, pirn_socket *socket);

typedef struct pirn_listener pirn_listener;

typedef struct pirn_listen_options {
    int backlog; /* 0: 4,096                                                              */
    /* open at once through this listener; above it accepting stops; 0: no limit but descriptors */
    unsigned connections_max;
} pirn_listen_options;

/* Bind and listen on "127.0.0.1:8080", "[::1]:0", ... (numeric). A port that any program already listens on is
 * -EADDRINUSE.
 * Parks: no. Thread: a tasklet. Args: NULL options are the defaults. Owns: the caller, until pirn_listener_close.
 * Returns 0, PIRN_EINVAL, PIRN_ENOMEM, or the system's code. */
PIRN_API int pirn_listen(const char *address, const pirn_listen_options *options, pirn_listener **listener);

/* The bound port, for address port 0. */
PIRN_API int pirn_listener_port(const pirn_listener *listener);

/* A new connection: runs in a tasklet of its own on the worker the policy chose. It owns `socket` and closes it. */
typedef int (*pirn_connection_fn)(pirn_socket socket, void *context);

/* Accept by the runtime's policy from now on: the reactor accepts and gives each connection to the least loaded worker;
 * or each worker accepts its own (SO_REUSEPORT). `name` names the connection tasklets (copied). Out of descriptors it
 * pauses, without spinning, until one is free. Parks: no. Once per listener. Returns 0, PIRN_EALREADY, the system's
 * code. */
PIRN_API int pirn_serve(pirn_listener *listener, const char *name, pirn_connection_fn connection, void *context);

/* Stop accepting and free the listener; its connections go on. Parks: until no performer can still start a connection.
 * Thread: a tasklet. Ignores cancellation. NULL allowed. */
PIRN_API void pirn_listener_close(pirn_listener *listener);

enum pirn_fd_events { PIRN_FD_READ = 1, PIRN_FD_WRITE = 2 };

/* Wait until a non-blocking descriptor of somebody else's (a library's socket) is ready in one of `events`. The
 * descriptor stays the caller's and must stay open while this waits. Parks. Thread: a tasklet. Returns the ready events
 * (positive); PIRN_EINVAL; PIRN_EBADF; PIRN_EBUSY (somebody waits for this descriptor already); or the wait's codes. */
PIRN_API int pirn_fd_wait(int fd, int events, pirn_time deadline);

#ifdef __cplusplus
}
#endif
#endif
