/* SPDX-License-Identifier: MIT
 *
 * What: taking over a stream socket that somebody else has made: what is refused.
 * Threads: a worker's, in a tasklet or in a callback.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "descriptor.h"
#include "sched.h"

/* No connection, none being made, and none that was lost: that one could still be read to its end, and says so. */
static bool was_never_connected(int descriptor) {
    struct pollfd look = {.fd = descriptor, .events = POLLIN};
    return poll(&look, 1, 0) == 1 && (look.revents & POLLHUP) && !(look.revents & (POLLIN | POLLERR));
}

/* NULL, or why `descriptor` cannot be read and written as a stream, with what to do. */
static const char *why_no_stream(int descriptor) {
    int type = 0, listens = 0;
    socklen_t type_bytes = sizeof type, listens_bytes = sizeof listens;
    if (getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &type_bytes) != 0) {
        return errno == ENOTSOCK ? "it is no socket: wait for it with pirn_fd_wait()" : strerrordesc_np(errno);
    }
    if (type != SOCK_STREAM) {
        return "it is no stream socket: wait for it with pirn_fd_wait()";
    }
    if (getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listens, &listens_bytes) == 0 && listens) {
        return "it listens: use pirn_listen(), or wait for it with pirn_fd_wait() and adopt what accept() gives";
    }
    return was_never_connected(descriptor) ? "it is not connected: use pirn_connect()" : NULL;
}

int pirn_socket_adopt(int descriptor, pirn_socket *socket) {
    if (!pn_sched_self()) {
        return PIRN_ETHREAD;
    }
    const char *why = socket ? why_no_stream(descriptor) : "there is no place for the socket";
    if (why) {
        pn_warn("pirn_socket_adopt() does not take descriptor %d: %s", descriptor, why);
        return PIRN_EINVAL;
    }
    return pn_socket_adopt(descriptor, socket);
}
