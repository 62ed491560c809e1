/* SPDX-License-Identifier: MIT
 *
 * What: see bridge/peer_count.h: a hash table of chains.
 * Threads: any.
 * Rejected: a table that grows: 1,024 chains are short for what one listener may have open.
 */
#include "peer_count.h"

#include <string.h>
#include <sys/random.h>

#include "alloc.h"

typedef struct pn_peer_entry {
    struct pn_peer_entry *next;
    pn_peer_key key;
    unsigned count;
} pn_peer_entry;

pn_peer_key pn_peer_key_of(const struct sockaddr_in6 *peer) {
    const unsigned char *bytes = peer->sin6_addr.s6_addr;
    pn_peer_key key = {0};
    if (peer->sin6_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, peer, sizeof v4);
        key = (pn_peer_key){.prefix = ntohl(v4.sin_addr.s_addr), .v4 = true};
    } else if (IN6_IS_ADDR_V4MAPPED(&peer->sin6_addr)) {
        for (int i = 12; i < 16; i++) {
            key.prefix = key.prefix << 8 | bytes[i];
        }
        key.v4 = true;
    } else {
        for (int i = 0; i < 8; i++) {
            key.prefix = key.prefix << 8 | bytes[i];
        }
        key.loopback = IN6_IS_ADDR_LOOPBACK(&peer->sin6_addr);
    }
    key.loopback |= key.v4 && key.prefix >> 24 == 127;
    return key;
}

void pn_peer_counts_init(pn_peer_counts *counts) {
    memset(counts, 0, sizeof *counts);
    PN_ASSERT(pthread_mutex_init(&counts->lock, NULL) == 0);
    if (getrandom(&counts->multiplier, sizeof counts->multiplier, GRND_NONBLOCK) != sizeof counts->multiplier) {
        counts->multiplier = (uintptr_t)counts * 0x9e3779b97f4a7c15u;
    }
    counts->multiplier |= 1;
}

void pn_peer_counts_fini(pn_peer_counts *counts) {
    for (unsigned i = 0; i < PN_PEER_CHAINS; i++) {
        PN_ASSERT(!counts->chains[i]);
    }
    (void)pthread_mutex_destroy(&counts->lock);
}

/* Lock held: where the entry of `key` hangs, or would. */
static pn_peer_entry **place_of(pn_peer_counts *counts, pn_peer_key key) {
    uint64_t hash = (key.prefix + key.v4) * counts->multiplier;
    pn_peer_entry **place = &counts->chains[hash >> 54 & (PN_PEER_CHAINS - 1)];
    while (*place && ((*place)->key.prefix != key.prefix || (*place)->key.v4 != key.v4)) {
        place = &(*place)->next;
    }
    return place;
}

int pn_peer_enter(pn_peer_counts *counts, pn_peer_key key, unsigned max) {
    int error = 0;
    PN_ASSERT(pthread_mutex_lock(&counts->lock) == 0);
    pn_peer_entry **place = place_of(counts, key);
    if (!*place) {
        *place = pn_calloc(1, sizeof **place);
        if (*place) {
            (*place)->key = key;
        }
    }
    if (!*place) {
        error = PIRN_ENOMEM;
    } else if ((*place)->count >= max) {
        error = PIRN_ELIMIT;
    } else {
        (*place)->count++;
    }
    PN_ASSERT(pthread_mutex_unlock(&counts->lock) == 0);
    return error;
}

void pn_peer_leave(pn_peer_counts *counts, pn_peer_key key) {
    PN_ASSERT(pthread_mutex_lock(&counts->lock) == 0);
    pn_peer_entry **place = place_of(counts, key);
    pn_peer_entry *entry = *place;
    PN_ASSERT(entry && entry->count > 0);
    if (--entry->count == 0) {
        *place = entry->next;
        pn_free(entry);
    }
    PN_ASSERT(pthread_mutex_unlock(&counts->lock) == 0);
}
