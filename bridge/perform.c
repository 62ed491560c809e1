/* SPDX-License-Identifier: MIT
 *
 * What: performing records: take, call, and hand back or arm. The same for a worker and for the reactor.
 * Threads: the descriptor's performer; pn_send_share any that has a hold.
 * Readiness (rule 5 of docs/design.md): a descriptor is registered once, both directions, edge-triggered. A bit of
 *       `ready` says "an edge came and the call has not yet said empty". It is cleared before the call, so an edge
 *       during the call is not lost. A short read leaves it clear, and the next read parks without trying, only on a
 *       TCP stream that never hung up: there data and end of stream can share one edge.
 * Invariants: (1) the submitter's fields of a slot are read only between TAKEN and DONE; (2) `armed` says that the
 *       performer has the record, and no message with it is on the way: an event or a close meets it; (3) a result is
 *       set before the word says DONE, and the word says so before the message goes home; (4) a borrowed descriptor is
 *       out of the set before its home hears of it: its owner may close it then.
 * States of a slot's word: descriptor.h.
 */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "descriptor.h"
#include "listener.h"
#include "live.h"

/* ---- the calls ---- */

static bool would_block(int error) {
    return error == EAGAIN || error == EWOULDBLOCK;
}

static bool finish_with_errno(pn_slot *slot) {
    slot->result = -errno;
    return true;
}

/* How much of the record one turn may move at most. */
static size_t share_of(const pn_slot *slot) {
    return slot->bytes < PN_SHARE_BYTES_MAX ? slot->bytes : PN_SHARE_BYTES_MAX;
}

bool pn_recv_some(int fd, pn_slot *slot) {
    ssize_t count;
    do {
        count = recv(fd, slot->buffer, share_of(slot), MSG_DONTWAIT);
    } while (count < 0 && errno == EINTR);
    if (count < 0) {
        return would_block(errno) ? false : finish_with_errno(slot);
    }
    slot->moved = (size_t)count;
    return true;
}

static bool try_read(pn_descriptor *d, pn_slot *slot) {
    d->ready &= ~(unsigned)PN_READY_READ;
    if (!pn_recv_some(d->fd, slot)) {
        return false;
    }
    d->performer->moved += slot->moved;
    bool drained = slot->moved > 0 && slot->moved < share_of(slot) && d->stream && !d->hung_up;
    if (!drained) {
        d->ready |= PN_READY_READ;
    }
    return true;
}

pn_progress pn_send_share(int fd, pn_slot *slot) {
    const char *from = slot->buffer;
    size_t left = share_of(slot);
    while (slot->moved < slot->bytes) {
        size_t rest = slot->bytes - slot->moved;
        if (left == 0) {
            return PN_MORE_TO_MOVE;
        }
        ssize_t count = send(fd, from + slot->moved, rest < left ? rest : left, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count >= 0) {
            slot->moved += (size_t)count;
            left -= (size_t)count;
        } else if (would_block(errno)) {
            return PN_WOULD_BLOCK;
        } else if (errno != EINTR) {
            (void)finish_with_errno(slot);
            return PN_MOVED_ALL;
        }
    }
    return PN_MOVED_ALL;
}

static bool try_write(pn_descriptor *d, pn_slot *slot) {
    size_t before = slot->moved;
    d->ready &= ~(unsigned)PN_READY_WRITE;
    pn_progress progress = pn_send_share(d->fd, slot);
    if (progress != PN_WOULD_BLOCK) {
        d->ready |= PN_READY_WRITE;
    }
    d->performer->moved += slot->moved - before;
    return progress == PN_MOVED_ALL;
}

static bool try_accept(pn_descriptor *d, pn_slot *slot) {
    d->ready &= ~(unsigned)PN_READY_READ;
    int fd;
    do {
        fd = accept4(d->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    } while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
    if (fd < 0 && would_block(errno)) {
        return false;
    }
    d->ready |= PN_READY_READ;
    if (fd < 0) {
        return finish_with_errno(slot);
    }
    slot->moved = (size_t)fd;
    return true;
}

static bool try_connect(pn_descriptor *d, pn_slot *slot) {
    d->ready &= ~(unsigned)PN_READY_WRITE;
    int status;
    do {
        status = connect(d->fd, slot->buffer, (socklen_t)slot->bytes);
    } while (status < 0 && errno == EINTR);
    if (status < 0 && (errno == EINPROGRESS || errno == EALREADY)) {
        return false;
    }
    d->ready |= PN_READY_WRITE;
    return status < 0 && errno != EISCONN ? finish_with_errno(slot) : true;
}

static bool try_await_ready(pn_descriptor *d, pn_slot *slot) {
    d->ready = 0;
    struct pollfd look = {.fd = d->fd};
    look.events = (short)((slot->events & PIRN_FD_READ ? POLLIN : 0) | (slot->events & PIRN_FD_WRITE ? POLLOUT : 0));
    if (poll(&look, 1, 0) <= 0) {
        return false;
    }
    int errors = look.revents & (POLLERR | POLLHUP | POLLNVAL);
    int seen = (look.revents & POLLIN ? PIRN_FD_READ : 0) | (look.revents & POLLOUT ? PIRN_FD_WRITE : 0);
    slot->events = errors ? slot->events : seen; /* an error makes the library's next call tell it */
    return true;
}

/* HUP or ERR, which poll() tells unasked. A stream that the peer has only half closed shows neither. `ready` stays as
 * it is: the bytes that are there have not been read. */
static bool try_await_hangup(pn_descriptor *d, pn_slot *slot) {
    struct pollfd look = {.fd = d->fd};
    if (poll(&look, 1, 0) <= 0) {
        return false;
    }
    slot->result = -ECONNRESET;
    return true;
}

bool pn_perform_try(pn_descriptor *d, pn_slot *slot) {
    slot->result = 0;
    switch ((pn_operation)slot->operation) {
    case PN_READ:
        return try_read(d, slot);
    case PN_WRITE:
        return try_write(d, slot);
    case PN_ACCEPT:
        return try_accept(d, slot);
    case PN_CONNECT:
        return try_connect(d, slot);
    case PN_AWAIT_READY:
        return try_await_ready(d, slot);
    case PN_AWAIT_HANGUP:
        return try_await_hangup(d, slot);
    }
    pn_panic("a record of unknown operation %u", slot->operation);
}

int pn_perform_register(pn_descriptor *d) {
    if (d->registered) {
        return 0;
    }
    int error = pn_readiness_add(&d->performer->set, d->fd, &d->watch, false);
    if (error == 0) {
        d->registered = true;
        d->performer->watched++;
    }
    return error;
}

static void unregister(pn_descriptor *d) {
    if (d->registered) {
        pn_readiness_remove(&d->performer->set, d->fd);
        d->registered = false;
        d->performer->watched--;
    }
}

/* ---- a record's way ---- */

static pn_descriptor *descriptor_of(pn_slot *slot) {
    pn_slot *first = slot - slot->direction;
    return PN_CONTAINER_OF(first, pn_descriptor, slot);
}

static bool move(pn_slot *slot, uint32_t from, uint32_t to) {
    /* acq_rel: takes over the slot's fields from the other side, or gives them to it; pairs with the same in
     * socket.c. */
    return atomic_compare_exchange_strong_explicit(&slot->word, &from, to, memory_order_acq_rel, memory_order_acquire);
}

/* Home. */
static void deliver_done(pn_message *message) {
    pn_record_end();
    pn_waiter_complete(PN_CONTAINER_OF(message, pn_slot, message)->waiter);
}

/* TAKEN or WANTED: the result is set; back home with it. */
static void hand_back(pn_descriptor *d, pn_slot *slot) {
    slot->armed = false;
    if (d->borrowed) { /* out of the set before its owner may close it */
        unregister(d);
    }
    slot->message.deliver = deliver_done;
    unsigned home = slot->home;
    /* release: publishes the result to a home that looks at the word (withdraw); the message publishes it again. */
    atomic_store_explicit(&slot->word, PN_SLOT_DONE, memory_order_release);
    pn_driver_hand_back(d->performer, home, &slot->message);
}

static bool worth_trying(const pn_descriptor *d, const pn_slot *slot) {
    unsigned wanted = slot->direction == PN_IN ? PN_READY_READ : PN_READY_WRITE;
    return (d->ready & wanted) != 0 || d->hung_up || d->borrowed; /* no field of the submitter's: it may be filling */
}

/* What the set has to tell a record that parks. */
static unsigned bits_awaited(const pn_slot *slot) {
    switch (slot->operation) {
    case PN_AWAIT_READY:
        return PN_READY_READ | PN_READY_WRITE;
    case PN_AWAIT_HANGUP:
        return PN_READY_HUP;
    default:
        return slot->direction == PN_IN ? PN_READY_READ : PN_READY_WRITE;
    }
}

bool pn_perform_taken(pn_descriptor *d, pn_slot *slot) {
    slot->result = 0;
    if (d->closed) {
        slot->result = PIRN_ECLOSED;
        return true;
    }
    if (slot->operation == PN_CONNECT) {
        /* Before it is registered: a socket that is not connecting yet would report a hang-up. */
        if (pn_perform_try(d, slot)) {
            return true;
        }
        slot->result = pn_perform_register(d);
        return slot->result != 0;
    }
    slot->result = pn_perform_register(d);
    if (slot->result != 0) {
        return true;
    }
    if (worth_trying(d, slot) && pn_perform_try(d, slot)) {
        return true;
    }
    if (slot->operation == PN_WRITE && (d->ready & PN_READY_WRITE)) {
        /* Its share is moved. There was no EAGAIN, so no edge will tell to go on. */
        if (!pn_linked(&d->again_link)) {
            pn_list_append(&d->performer->again, &d->again_link);
        }
        return false;
    }
    pn_readiness_expect(&d->performer->set, d->fd, bits_awaited(slot));
    return false;
}

static bool is_wanted(const pn_slot *slot) {
    return atomic_load_explicit(&slot->word, memory_order_relaxed) == PN_SLOT_WANTED; /* decides only not to act */
}

/* Meet a record that is queued, withdrawn or being refilled. */
static void meet(pn_descriptor *d, pn_slot *slot) {
    for (;;) {
        if (move(slot, PN_SLOT_QUEUED, PN_SLOT_TAKEN)) {
            if (pn_perform_taken(d, slot)) {
                hand_back(d, slot);
                return;
            }
            slot->armed = true;
            if (!move(slot, PN_SLOT_TAKEN, PN_SLOT_QUEUED)) {
                slot->result = PN_WITHDRAWN; /* WANTED: the home has waited for this */
                hand_back(d, slot);
            }
            return;
        }
        if (move(slot, PN_SLOT_WITHDRAWN, PN_SLOT_IDLE)) {
            slot->armed = false;
            pn_descriptor_release(d); /* the withdrawn operation's hold */
            return;
        }
        if (move(slot, PN_SLOT_REFILLING, PN_SLOT_FILLING)) {
            slot->armed = false;
            return;
        }
        if (is_wanted(slot)) {
            return; /* its home has sent word that it gives up: pn_perform_abandon answers */
        }
    }
}

void pn_perform_slot(pn_message *message) {
    pn_slot *slot = PN_CONTAINER_OF(message, pn_slot, message);
    meet(descriptor_of(slot), slot);
}

void pn_perform_event(pn_watch *watch, unsigned bits) {
    pn_descriptor *d = PN_CONTAINER_OF(watch, pn_descriptor, watch);
    d->ready |= bits & (PN_READY_READ | PN_READY_WRITE);
    if (bits & PN_READY_HUP) {
        d->hung_up = true;
        d->ready |= PN_READY_READ | PN_READY_WRITE;
    }
    for (int i = 0; i < 2; i++) {
        bool had_its_share = i == PN_OUT && pn_linked(&d->again_link); /* this turn or the one before */
        if (d->slot[i].armed && !had_its_share && worth_trying(d, &d->slot[i])) {
            d->slot[i].armed = false;
            meet(d, &d->slot[i]);
        }
    }
}

void pn_perform_again(pn_node *again_link) {
    pn_descriptor *d = PN_CONTAINER_OF(again_link, pn_descriptor, again_link);
    pn_slot *slot = &d->slot[PN_OUT];
    if (slot->armed && worth_trying(d, slot)) {
        slot->armed = false;
        meet(d, slot);
    }
}

void pn_perform_close(pn_message *message) {
    pn_descriptor *d = PN_CONTAINER_OF(message, pn_descriptor, close_message);
    d->closed = true;
    for (int i = 0; i < 2; i++) {
        if (d->slot[i].armed) {
            d->slot[i].armed = false;
            meet(d, &d->slot[i]);
        }
    }
    pn_descriptor_release(d); /* the open socket's hold */
}

void pn_perform_abandon(pn_message *message) {
    pn_descriptor *d = PN_CONTAINER_OF(message, pn_descriptor, abandon_message);
    pn_slot *slot = &d->slot[PN_IN];
    PN_ASSERT(is_wanted(slot));
    slot->result = PN_WITHDRAWN;
    hand_back(d, slot);
}
