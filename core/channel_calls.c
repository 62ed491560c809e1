/* SPDX-License-Identifier: MIT
 *
 * What: the channel's life (create, close, destroy) and the public verbs, which are the engine with one case.
 * Threads: as the public header says.
 * Invariants: (1) a close claims and unlinks all waiters under the lock, and makes them ready after it: between the two
 *       they are chained through their own clauses, whose frames stay until they are ready; (2) who gives up the last
 *       hold finds no waiters, for each of them has one.
 * Lifetime: core/channel.h. So a destroy with tasklets parked here frees nothing yet: the last of them does, on its way
 *       out.
 */
#include <string.h>

#include "alloc.h"
#include "channel.h"
#include "failure.h"
#include "sched.h"

/* ---- life ---- */

void pirn_channel_options_init(pirn_channel_options *options) {
    *options = (pirn_channel_options){.preference = PIRN_PREFER_RECEIVER};
}

pirn_channel *pirn_channel_create(size_t elem_bytes, size_t capacity) {
    pirn_channel_options options;
    pirn_channel_options_init(&options);
    return pirn_channel_create_with(elem_bytes, capacity, &options);
}

static bool channel_options_valid(size_t elem_bytes, size_t capacity, const pirn_channel_options *options) {
    return elem_bytes <= PN_ELEM_BYTES_MAX && capacity <= PN_CAPACITY_MAX &&
           options->preference >= PIRN_PREFER_RECEIVER && options->preference <= PIRN_PREFER_SENDER &&
           (options->flags & ~(unsigned)(PIRN_CHANNEL_LOCAL | PIRN_CHANNEL_EXTERNAL)) == 0;
}

static void name_channel(pirn_channel *channel, const char *name) {
    size_t length = strnlen(name, PN_NAME_BYTES - 1);
    memcpy(channel->name, name, length);
    channel->name[length] = '\0';
}

pirn_channel *pirn_channel_create_with(size_t elem_bytes, size_t capacity, const pirn_channel_options *options) {
    bool local = options && (options->flags & PIRN_CHANNEL_LOCAL) != 0;
    if (!options || !pn_below || !channel_options_valid(elem_bytes, capacity, options) || (local && !pn_sched_self())) {
        return NULL;
    }
    pirn_channel *channel = pn_calloc(1, sizeof *channel);
    if (!channel) {
        return NULL;
    }
    /* One byte at least, so that a channel of pure signals has an address to compute with. */
    channel->buffer = capacity > 0 ? pn_malloc(capacity * elem_bytes + 1) : NULL;
    if (capacity > 0 && !channel->buffer) {
        pn_free(channel);
        return NULL;
    }
    channel->elem_bytes = elem_bytes;
    channel->capacity = capacity;
    channel->drop = options->drop;
    channel->flags = options->flags;
    channel->shared = !local;
    channel->home = local ? pn_sched_self() : NULL;
    channel->preference = (int8_t)options->preference;
    channel->schedule_all = options->schedule_all;
    channel->holds.opaque = 1;
    pn_list_init(&channel->waiters);
    name_channel(channel, options->name ? options->name : "channel");
    if (channel->shared) {
        pn_below->lock_init(&channel->lock);
    }
    return channel;
}

void pn_channel_retain(pirn_channel *channel) {
    if (channel->shared) {
        (void)pn_below->add(&channel->holds, 1);
    } else {
        channel->holds.opaque++;
    }
}

static void drop_buffered(pirn_channel *channel) {
    for (; channel->length > 0; channel->length--) {
        pn_value_drop(channel->drop, channel->buffer + channel->first * channel->elem_bytes);
        channel->first = (channel->first + 1) % channel->capacity;
    }
}

void pn_channel_release(pirn_channel *channel) {
    uint32_t left = channel->shared ? pn_below->add(&channel->holds, (uint32_t)-1) : --channel->holds.opaque;
    if (left > 0) {
        return;
    }
    PN_ASSERT(pn_list_empty(&channel->waiters));
    drop_buffered(channel);
    if (channel->shared) {
        pn_below->lock_fini(&channel->lock);
    }
    pn_free(channel->buffer);
    pn_free(channel);
}

static void lock(pirn_channel *channel) {
    if (channel->shared) {
        pn_below->lock(&channel->lock);
    } else {
        PN_DCHECK(channel->home == pn_sched_self());
    }
}

static void unlock(pirn_channel *channel) {
    if (channel->shared) {
        pn_below->unlock(&channel->lock);
    }
}

/* Lock held: claim every waiter there is; those claimed are chained in `claimed`. Their frames stay until made
 * ready. */
static void claim_all(pirn_channel *channel, pn_list *claimed) {
    pn_node *node;
    while ((node = pn_list_pop(&channel->waiters)) != NULL) {
        pn_clause *clause = PN_CONTAINER_OF(node, pn_clause, link);
        channel->balance -= clause->direction;
        clause->status = PIRN_ECLOSED;
        if (pn_waiter_claim(clause->waiter, clause->index)) {
            pn_list_append(claimed, &clause->link);
        }
    }
}

void pirn_channel_close(pirn_channel *channel) {
    if (!channel) {
        return;
    }
    pn_list claimed;
    pn_list_init(&claimed);
    lock(channel);
    channel->closed = true;
    claim_all(channel, &claimed);
    unlock(channel);
    pn_node *node;
    while ((node = pn_list_pop(&claimed)) != NULL) {
        pn_waiter_ready(PN_CONTAINER_OF(node, pn_clause, link)->waiter);
    }
}

void pirn_channel_destroy(pirn_channel *channel) {
    if (channel) {
        pirn_channel_close(channel);
        pn_channel_release(channel);
    }
}

/* ---- verbs ---- */

int pirn_send(pirn_channel *channel, const void *elem, pirn_time deadline) {
    if (!channel) {
        return PIRN_EINVAL;
    }
    /* The engine only reads a sender's slot. */
    pirn_case one = {.channel = channel, .direction = PIRN_SEND, .elem = (void *)(uintptr_t)elem};
    int done = pn_channel_operate(&one, 1, deadline, "pirn_send");
    return done < 0 ? done : one.status;
}

int pirn_recv(pirn_channel *channel, void *elem, pirn_time deadline) {
    if (!channel) {
        return PIRN_EINVAL;
    }
    pirn_case one = {.channel = channel, .direction = PIRN_RECV, .elem = elem};
    int done = pn_channel_operate(&one, 1, deadline, "pirn_recv");
    return done < 0 ? done : one.status;
}

int pirn_select(pirn_case *cases, size_t count, pirn_time deadline) {
    return pn_channel_operate(cases, count, deadline, "pirn_select");
}

/* ---- questions ---- */

bool pirn_channel_closed(pirn_channel *channel) {
    lock(channel);
    bool closed = channel->closed;
    unlock(channel);
    return closed;
}

int pirn_channel_balance(pirn_channel *channel) {
    lock(channel);
    int balance = channel->balance;
    unlock(channel);
    return balance;
}

size_t pirn_channel_length(pirn_channel *channel) {
    lock(channel);
    size_t length = channel->length;
    unlock(channel);
    return length;
}

void pirn_channel_set_preference(pirn_channel *channel, pirn_preference preference) {
    lock(channel);
    channel->preference = (int8_t)((preference > 0) - (preference < 0)); /* any int counts by its sign, as Stackless */
    unlock(channel);
}

pirn_preference pirn_channel_preference(pirn_channel *channel) {
    lock(channel);
    int preference = channel->preference;
    unlock(channel);
    return (pirn_preference)preference;
}
