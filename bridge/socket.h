/* SPDX-License-Identifier: MIT
 *
 * What: the little about sockets that services need and users do not.
 * Threads: tasklets; one waits in a direction at a time, as with pirn_read.
 */
#ifndef PN_SOCKET_H
#define PN_SOCKET_H

#include <pirn/socket.h>

/* Wait, without reading, until the peer is gone: a reset or another error, or both directions closed. A peer that has
 * only closed its sending side is not gone. It takes the place of a read. Parks. Returns: -ECONNRESET when the peer is
 * gone; PIRN_ECLOSED; PIRN_EBADF; PIRN_EBUSY; the wait's own codes. */
int pn_socket_await_hangup(pirn_socket socket, pirn_time deadline);

/* The close that follows resets the connection: the peer learns that what it got was cut. */
void pn_socket_reset_at_close(pirn_socket socket);

#endif
