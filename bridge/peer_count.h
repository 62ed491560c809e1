/* SPDX-License-Identifier: MIT
 *
 * What: how many connections each address has: IPv4 addresses one by one, IPv6 by /64, which is what one customer has.
 * Threads: any; a lock is held for a look into one chain.
 * Bounds: an address has an entry while it has a connection, so there are no more than connections.
 */
#ifndef PN_PEER_COUNT_H
#define PN_PEER_COUNT_H

#include <netinet/in.h>
#include <pthread.h>

#include "base.h"

#define PN_PEER_CHAINS 1024u

/* What is counted as one. */
typedef struct pn_peer_key {
    uint64_t prefix;
    bool v4, loopback;
} pn_peer_key;

typedef struct pn_peer_counts {
    pthread_mutex_t lock;
    uint64_t multiplier; /* odd and random, so that nobody can choose addresses of one chain */
    struct pn_peer_entry *chains[PN_PEER_CHAINS];
} pn_peer_counts;

/* An IPv4 address in IPv6 form is that IPv4 address. `peer`: a sockaddr_in6, or a sockaddr_in in its place. */
pn_peer_key pn_peer_key_of(const struct sockaddr_in6 *peer);

void pn_peer_counts_init(pn_peer_counts *counts);
void pn_peer_counts_fini(pn_peer_counts *counts);
/* One more, unless there are `max`: 0; PIRN_ELIMIT; PIRN_ENOMEM. After 0 it must leave. */
int pn_peer_enter(pn_peer_counts *counts, pn_peer_key key, unsigned max);
void pn_peer_leave(pn_peer_counts *counts, pn_peer_key key);

#endif
