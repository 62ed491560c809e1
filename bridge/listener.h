/* SPDX-License-Identifier: MIT
 *
 * What: listeners and their acceptors: one acceptor for each driver that accepts (the reactor, or every worker).
 * Threads: an acceptor belongs to its driver; the listener's counts are atomic; the rest is immutable while it serves.
 * States of a listener: bound -> serving -> stopping -> stopped.
 * Lifetime: counted: its opener, who stops it, and each connection that came through it.
 * Out of descriptors, or at the limit of connections: the acceptor pauses, and tries again when one of this driver's
 *       descriptors or one of the listener's connections was closed, or after PN_PAUSE_NS.
 */
#ifndef PN_LISTENER_H
#define PN_LISTENER_H

#include <pirn/socket.h>

#include "list.h"
#include "peer_count.h"

#define PN_PAUSE_NS (100 * PIRN_MILLISECOND)

/* What a service bounds. */
typedef struct pn_listener_limits {
    unsigned connections_max;             /* open at once; not 0                                       */
    unsigned connections_per_address_max; /* 0: any number; addresses as peer_count.h counts them      */
    bool counts_loopback;                 /* the number per address holds for loopback addresses, too  */
    /* `count` connections wait and there is no room: the service may close others. On the acceptor's driver thread,
     * outside any tasklet; not called again before one was closed or PN_PAUSE_NS is over. NULL: they wait. */
    void (*full)(void *context, unsigned count);
    void *context;
} pn_listener_limits;

/* Before pirn_serve. A lower connections_max of the listener's own options stays. */
void pn_listener_limit(struct pirn_listener *listener, const pn_listener_limits *limits);
/* Connections closed at once because their address had too many. Any thread. */
uint64_t pn_listener_refused_count(const struct pirn_listener *listener);

/* Driver's thread: a paused acceptor, by its node in driver->paused, may try again. */
void pn_acceptor_resume(pn_node *node);

/* Performer: a connection of this listener is closed; `peer`: whose address counted it, NULL: none did. */
void pn_listener_connection_closed(struct pirn_listener *listener, const struct sockaddr_in6 *peer);

/* A runtime begins: listeners may serve. */
void pn_listeners_start(void);
/* A shielded tasklet: stop every listener that still accepts, and let no other begin (the runtime's shutdown). Parks.
 * The listeners are not freed. */
void pn_listeners_close_all(void);

#endif
