/* SPDX-License-Identifier: MIT
 *
 * What: a set of descriptors to sleep on. The seam behind which epoll stands (readiness_epoll.c); a system without it
 *       gets another file with the same functions (readiness_poll.c, portable, chosen with -DPIRN_READINESS=poll).
 * Threads: one owner; nobody else touches the set.
 */
#ifndef PN_READINESS_H
#define PN_READINESS_H

#include <stdbool.h>

#include "base.h"

enum pn_ready_bits {
    PN_READY_READ = 1,
    PN_READY_WRITE = 2,
    PN_READY_HUP = 4, /* RDHUP, HUP or ERR was reported: from now on always try the call before parking       */
};

typedef struct pn_ready_event {
    void *tag;
    unsigned bits; /* enum pn_ready_bits */
} pn_ready_event;

typedef struct pn_readiness {
    int fd;
    void *backend; /* readiness_poll.c's table; NULL with epoll */
} pn_readiness;

#define PN_EVENTS_MAX 256

int pn_readiness_init(pn_readiness *set);
void pn_readiness_fini(pn_readiness *set);
/* Both directions, edge-triggered, once for the descriptor's life; `level`: level-triggered, read only (libuv's
 * descriptor). 0 or the system's code; -EPERM for what epoll cannot watch (plain files). */
int pn_readiness_add(pn_readiness *set, int fd, void *tag, bool level);
/* The owner's doorbell (doorbell.h): each write to it is one event, and nobody but the set ever reads it. */
int pn_readiness_add_bell(pn_readiness *set, int fd, void *tag);
/* The performer parks a record for `bits` after EAGAIN or a short read, having cleared its `ready`: tell when they are
 * (still, or again) ready. An edge needs no asking, so with epoll this does nothing; a set that only knows levels stops
 * watching a direction when it has told it, and starts again here. PN_READY_HUP alone: only a hang-up or an error, not
 * the bytes that are there. */
void pn_readiness_expect(pn_readiness *set, int fd, unsigned bits);
/* Before it is closed, too: whoever else has the same socket open would keep it in an epoll set. */
void pn_readiness_remove(pn_readiness *set, int fd);
/* Wait until `deadline` (PIRN_NOW: only look) for at most PN_EVENTS_MAX events. Returns how many; interrupted: 0. */
int pn_readiness_wait(pn_readiness *set, pn_ready_event *events, pirn_time deadline);

#endif
