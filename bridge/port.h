/* SPDX-License-Identifier: MIT
 *
 * What: where a thread is reached: its inbox and its doorbell. Workers and the reactor have one each.
 * Threads: post: any.
 */
#ifndef PN_PORT_H
#define PN_PORT_H

#include "doorbell.h"
#include "inbox.h"

typedef struct pn_port {
    pn_inbox inbox;
    pn_doorbell bell;
} pn_port;

static inline void pn_port_post(pn_port *port, pn_message *message) {
    pn_inbox_push_mpsc(&port->inbox, message);
    (void)pn_doorbell_ring(&port->bell);
}

#endif
