/* SPDX-License-Identifier: MIT
 *
 * What: listeners and their acceptors: one acceptor for each driver that accepts (the reactor, or every worker).
 * Threads: an acceptor belongs to its driver; the listener's counts are atomic; the rest is immutable while it serves.
 * States of a listener: bound -> serving -> stopping -> stopped.
 * Lifetime: counted: its opener, who stops it, and each connection that came through it.
 * Out of descriptors, or at the limit of connections: the acceptor pauses, and tries again when one of this driver's
 *       descriptors was closed, or after PN_PAUSE_NS.
 */
#ifndef PN_LISTENER_H
#define PN_LISTENER_H

#include <pirn/socket.h>

#include "list.h"

#define PN_PAUSE_NS (100 * PIRN_MILLISECOND)

/* Before pirn_serve: at most `connections_max` open at once, or fewer when its options said so. */
void pn_listener_limit(struct pirn_listener *listener, unsigned connections_max);

/* Driver's thread: a paused acceptor, by its node in driver->paused, may try again. */
void pn_acceptor_resume(pn_node *node);

/* Performer: a connection of this listener is closed. */
void pn_listener_connection_closed(struct pirn_listener *listener);

/* A runtime begins: listeners may serve. */
void pn_listeners_start(void);
/* A shielded tasklet: stop every listener that still accepts, and let no other begin (the runtime's shutdown). Parks.
 * The listeners are not freed. */
void pn_listeners_close_all(void);

#endif
