/* SPDX-License-Identifier: MIT
 *
 * What: socket operations as a tasklet sees them: fill the record, submit it by the policy, park, look at the result.
 * Threads: a tasklet on any worker; shutdown, close and peer, which do not park, also a callback there.
 * The policies: they differ in one question only: is the descriptor's performer this thread? Then the call is tried at
 *       once and the tasklet parks when it would block; otherwise the record goes to the performer (a write on another
 *       worker's socket is tried first). Nothing above this file knows.
 * Invariants: (1) an operation has one hold on the descriptor from its submission until its slot is idle again: it is
 *       given up with the slot, or by the performer when it meets a withdrawn record; (2) a record that is counted
 *       (live.h) is counted down at its home, in withdraw or when it comes back; (3) what was moved is told on every
 *       return, also of a record that is withdrawn.
 * States of a slot's word: descriptor.h.
 * Lifetime: the record is in the descriptor's entry. The waiter is on the tasklet's stack; when withdraw has said true
 *       nobody touches it any more.
 * Rejected: withdrawing a pirn_fd_wait as any other record: the descriptor would still be in the performer's set when
 *       its owner closes it. So that wait goes on until the performer has answered (ask_to_abandon).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "address.h"
#include "descriptor.h"
#include "live.h"
#include "runtime.h"
#include "sched.h"
#include "socket.h"
#include "tasklet.h"

static bool move(pn_slot *slot, uint32_t from, uint32_t to) {
    /* acq_rel: takes over the slot's fields from the other side, or gives them to it; pairs with the same in
     * perform.c. */
    return atomic_compare_exchange_strong_explicit(&slot->word, &from, to, memory_order_acq_rel, memory_order_acquire);
}

static bool performs_here(const pn_descriptor *d) {
    return d->performer == pn_driver_self();
}

static void send_to_performer(pn_descriptor *d, pn_message *message) {
    if (d->performer == pn_runtime_current.reactor) {
        pn_reactor_post(message);
    } else {
        pn_port_post(&d->performer->port, message);
    }
}

static void free_slot(pn_descriptor *d, pn_slot *slot) {
    slot->waiter = NULL;
    atomic_store_explicit(&slot->word, PN_SLOT_IDLE, memory_order_release); /* to the next submitter */
    pn_descriptor_release(d);
}

/* ---- a wait for a record ---- */

/* The deadline or a strike came first: take the record back, if the performer is not at it. What was moved until then
 * is told in the waiter: the slot may have another operation before the tasklet runs. */
static bool withdraw(pn_waiter *waiter) {
    pn_slot *slot = (pn_slot *)(uintptr_t)waiter->object;
    pn_slot *first = slot - slot->direction;
    pn_descriptor *d = PN_CONTAINER_OF(first, pn_descriptor, slot);
    for (;;) {
        if (performs_here(d) && slot->armed) { /* the performer is us: nobody else has to meet it */
            slot->armed = false;
            waiter->detail = slot->moved;
            pn_record_end();
            free_slot(d, slot);
            return true;
        }
        if (move(slot, PN_SLOT_QUEUED, PN_SLOT_REFILLING)) {
            waiter->detail = slot->moved; /* ours to read, though the performer still has the record */
            pn_record_end();
            if (!move(slot, PN_SLOT_REFILLING, PN_SLOT_WITHDRAWN)) {
                free_slot(d, slot); /* the performer met it meanwhile and let go */
            }
            return true;
        }
        if (move(slot, PN_SLOT_TAKEN, PN_SLOT_WANTED)) {
            return false;
        }
        uint32_t word = atomic_load_explicit(&slot->word, memory_order_acquire); /* as in move */
        if (word == PN_SLOT_DONE || word == PN_SLOT_WANTED) {
            return false;
        }
    }
}

/* For records that the performer may not keep when their wait is over, so it is asked, and the wait goes on until it
 * has answered. A borrowed descriptor must be out of the set before the caller may close it; and a read that took the
 * place of a withdrawn wait for a hang-up would wait for an edge that came before. WANTED keeps events from answering
 * too: there is one answer, and it comes after our message was read. */
static bool ask_to_abandon(pn_waiter *waiter) {
    pn_slot *slot = (pn_slot *)(uintptr_t)waiter->object;
    pn_descriptor *d = PN_CONTAINER_OF(slot, pn_descriptor, slot);
    for (;;) {
        if (move(slot, PN_SLOT_QUEUED, PN_SLOT_WANTED)) {
            d->abandon_message.deliver = pn_perform_abandon;
            send_to_performer(d, &d->abandon_message);
            return false;
        }
        if (move(slot, PN_SLOT_TAKEN, PN_SLOT_WANTED)) {
            return false;
        }
        uint32_t word = atomic_load_explicit(&slot->word, memory_order_acquire); /* as in move */
        if (word == PN_SLOT_DONE || word == PN_SLOT_WANTED) {
            return false;
        } /* else the performer put it from TAKEN back to QUEUED between the two looks: this is asked once only */
    }
}

static bool withdraw_hangup(pn_waiter *waiter) {
    pn_slot *slot = (pn_slot *)(uintptr_t)waiter->object;
    pn_descriptor *d = PN_CONTAINER_OF(slot, pn_descriptor, slot);
    return performs_here(d) && slot->armed ? withdraw(waiter) : ask_to_abandon(waiter);
}

/* Own the slot. False: another tasklet's operation is there. `*sent`: the performer still has the record of a withdrawn
 * one. */
static bool claim_slot(pn_descriptor *d, pn_slot *slot, bool *sent) {
    *sent = false;
    if (move(slot, PN_SLOT_IDLE, PN_SLOT_FILLING)) {
        return true;
    }
    if (move(slot, PN_SLOT_WITHDRAWN, PN_SLOT_REFILLING)) {
        *sent = true;
        pn_descriptor_release(d); /* one hold an operation: the withdrawn one's goes on for us */
        return true;
    }
    return move(slot, PN_SLOT_IDLE, PN_SLOT_FILLING); /* the performer met it between the two looks */
}

/* Give the filled slot to the performer. */
static void submit(pn_descriptor *d, pn_slot *slot, bool sent) {
    pn_record_begin();
    if (sent && move(slot, PN_SLOT_REFILLING, PN_SLOT_QUEUED)) {
        return;
    }
    slot->message.deliver = pn_perform_slot;
    atomic_store_explicit(&slot->word, PN_SLOT_QUEUED, memory_order_release); /* the filled fields, to the performer */
    send_to_performer(d, &slot->message);
}

/* We are the performer. True: done. False: armed, the tasklet must wait. */
static bool perform_here(pn_descriptor *d, pn_slot *slot, bool sent) {
    if (sent && !slot->armed) {
        submit(d, slot, true); /* the withdrawn record is still in our inbox: let it be met there */
        return false;
    }
    atomic_store_explicit(&slot->word, PN_SLOT_TAKEN, memory_order_relaxed); /* ours: performer and submitter in one */
    slot->armed = false;
    if (pn_perform_taken(d, slot)) {
        return true;
    }
    pn_record_begin();
    slot->armed = true;
    atomic_store_explicit(&slot->word, PN_SLOT_QUEUED, memory_order_relaxed); /* met again on this thread only */
    return false;
}

/* Another worker's socket: a write may be tried at once, since it touches nothing that is its performer's. */
static bool write_elsewhere(pn_descriptor *d, pn_slot *slot) {
    return slot->operation == PN_WRITE && d->performer != pn_runtime_current.reactor &&
           pn_send_share(d->fd, slot) == PN_MOVED_ALL;
}

static pn_reason reason_of(pn_operation operation) {
    static const pn_reason reasons[] = {
        [PN_READ] = PN_ON_READ,       [PN_WRITE] = PN_ON_WRITE,       [PN_ACCEPT] = PN_ON_ACCEPT,
        [PN_CONNECT] = PN_ON_CONNECT, [PN_AWAIT_READY] = PN_ON_READY, [PN_AWAIT_HANGUP] = PN_ON_READ};
    return reasons[operation];
}

/* Wait for the record's completion. `*result`: what the operation came to; the slot is free again, or the
 * performer's. */
static int await_record(pn_descriptor *d, pn_slot *slot, pn_waiter *waiter, const char *call, size_t *moved,
                        pirn_time deadline) {
    int error = pn_wait(waiter, deadline, NULL);
    if (error != 0) {
        *moved = (size_t)waiter->detail;
        return error; /* withdrawn: slot and hold are given up already, or when the performer meets it */
    }
    *moved = slot->moved;
    int result = slot->result;
    free_slot(d, slot);
    if (result != PN_WITHDRAWN) {
        return result;
    }
    int strike = pn_may_wait(call, deadline);
    return strike != 0 ? strike : PIRN_ETIMEDOUT;
}

typedef struct request {
    pn_operation operation;
    int direction;
    void *buffer;
    size_t bytes;
    const char *call;
} request;

static void fill(pn_slot *slot, const request *r, pn_waiter *waiter) {
    slot->operation = (uint8_t)r->operation;
    slot->home = pn_sched_self()->options.id;
    slot->buffer = r->buffer;
    slot->bytes = r->bytes;
    slot->moved = 0;
    slot->result = 0;
    slot->waiter = waiter;
}

/* PIRN_NOW: the call itself, here, whoever is the performer and whatever it has heard. Who owns the slot may make it,
 * for it touches nothing of the performer's: bytes that we take leave its `ready` at most too hopeful. A record that
 * was withdrawn and not met yet still has the slot: then only its next edge can tell. Takes over one hold. */
static int operate_now(pn_descriptor *d, const request *r, size_t *moved) {
    pn_slot *slot = &d->slot[r->direction];
    if (!move(slot, PN_SLOT_IDLE, PN_SLOT_FILLING)) {
        uint32_t word = atomic_load_explicit(&slot->word, memory_order_relaxed); /* only tells */
        pn_descriptor_release(d);
        return word == PN_SLOT_IDLE || word == PN_SLOT_WITHDRAWN || word == PN_SLOT_REFILLING ? PIRN_EAGAIN
                                                                                              : PIRN_EBUSY;
    }
    fill(slot, r, NULL);
    bool done = (r->operation == PN_READ && pn_recv_some(d->fd, slot)) ||
                (r->operation == PN_WRITE && pn_send_share(d->fd, slot) == PN_MOVED_ALL);
    int result = done ? slot->result : PIRN_EAGAIN;
    *moved = slot->moved;
    free_slot(d, slot);
    return result;
}

/* One operation of one tasklet, from end to end. Takes over one hold. `*moved` is set on every return. */
static int operate(pn_descriptor *d, const request *r, size_t *moved, pirn_time deadline) {
    pn_slot *slot = &d->slot[r->direction];
    bool sent, here = performs_here(d);
    *moved = 0;
    if (deadline == PIRN_NOW) {
        return operate_now(d, r, moved);
    }
    if (!claim_slot(d, slot, &sent)) {
        pn_descriptor_release(d);
        return PIRN_EBUSY;
    }
    pn_waiter waiter;
    pn_waiter_init(&waiter, reason_of(r->operation), slot);
    waiter.detail = (uint64_t)d->fd;
    waiter.withdraw = r->operation == PN_AWAIT_HANGUP ? withdraw_hangup : withdraw;
    fill(slot, r, &waiter);
    bool done = here ? perform_here(d, slot, sent) : !sent && write_elsewhere(d, slot);
    if (done) {
        *moved = slot->moved;
        int result = slot->result;
        free_slot(d, slot);
        pn_turn(PN_GIVES_WAY);
        return result;
    }
    if (!here) {
        submit(d, slot, sent);
    }
    return await_record(d, slot, &waiter, r->call, moved, deadline);
}

static int operate_on(pirn_socket socket, const request *r, size_t *moved, pirn_time deadline) {
    size_t ignored;
    moved = moved ? moved : &ignored;
    *moved = 0;
    int error = pn_may_wait(r->call, deadline);
    if (error != 0) {
        return error;
    }
    if (!pn_current()) {
        return PIRN_ETHREAD;
    }
    pn_descriptor *d = pn_descriptor_hold(socket);
    return d ? operate(d, r, moved, deadline) : pn_refused(PIRN_EBADF, deadline);
}

/* ---- the calls ---- */

int pirn_read(pirn_socket socket, void *buffer, size_t bytes, size_t *moved, pirn_time deadline) {
    if (!buffer || bytes == 0 || !moved) {
        return PIRN_EINVAL;
    }
    request r = {PN_READ, PN_IN, buffer, bytes, "pirn_read"};
    return operate_on(socket, &r, moved, deadline);
}

int pirn_write(pirn_socket socket, const void *buffer, size_t bytes, size_t *moved, pirn_time deadline) {
    if (!buffer && bytes > 0) {
        return PIRN_EINVAL;
    }
    /* The buffer is only read. */
    request r = {PN_WRITE, PN_OUT, (void *)(uintptr_t)buffer, bytes, "pirn_write"};
    return operate_on(socket, &r, moved, deadline);
}

int pn_socket_await_hangup(pirn_socket socket, pirn_time deadline) {
    request r = {PN_AWAIT_HANGUP, PN_IN, NULL, 0, "pn_socket_await_hangup"};
    return operate_on(socket, &r, NULL, deadline);
}

void pn_socket_reset_at_close(pirn_socket socket) {
    pn_descriptor *d = pn_descriptor_hold(socket);
    if (d) {
        struct linger now = {.l_onoff = 1};
        (void)setsockopt(d->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now); /* else it is closed as usual */
        pn_descriptor_release(d);
    }
}

int pirn_shutdown(pirn_socket socket) {
    pn_descriptor *d = pn_descriptor_hold(socket);
    if (!d) {
        return PIRN_EBADF;
    }
    int error = shutdown(d->fd, SHUT_WR) == 0 ? 0 : -errno;
    pn_descriptor_release(d);
    return error;
}

int pirn_close(pirn_socket socket) {
    pn_descriptor *d;
    if (!pn_descriptor_begin_close(socket, &d)) {
        return PIRN_EBADF;
    }
    if (performs_here(d)) {
        pn_perform_close(&d->close_message);
    } else {
        send_to_performer(d, &d->close_message);
    }
    return 0;
}

int pirn_socket_peer(pirn_socket socket, char *text, size_t text_bytes, bool *loopback) {
    pn_descriptor *d = pn_descriptor_hold(socket);
    if (!d) {
        return PIRN_EBADF;
    }
    pn_address_format((const struct sockaddr *)&d->peer, text, text_bytes, loopback);
    pn_descriptor_release(d);
    return 0;
}

/* ---- new sockets ---- */

pn_driver *pn_performer_of_new(void) {
    pn_driver *own = pn_driver_self();
    return own && own->sockets ? own : pn_runtime_current.reactor;
}

int pn_socket_adopt(int descriptor, pirn_socket *socket) {
    int flags = fcntl(descriptor, F_GETFL);
    if (flags < 0 || fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) != 0) {
        return -errno;
    }
    pn_descriptor *d;
    int error = pn_descriptor_open(descriptor, pn_performer_of_new(), false, &d);
    if (error != 0) {
        return error;
    }
    socklen_t peer_bytes = sizeof d->peer;
    bool named = getpeername(descriptor, (struct sockaddr *)&d->peer, &peer_bytes) == 0;
    d->stream = named && (d->peer.sin6_family == AF_INET || d->peer.sin6_family == AF_INET6);
    *socket = pn_descriptor_handle(d);
    return 0;
}

int pirn_connect(const char *address, pirn_socket *result, pirn_time deadline) {
    struct sockaddr_storage to;
    socklen_t to_bytes;
    int error = result ? pn_address_parse(address, &to, &to_bytes) : PIRN_EINVAL;
    if (error != 0) {
        return pn_refused(error, deadline);
    }
    error = pn_may_wait("pirn_connect", deadline);
    if (error != 0) {
        return error;
    }
    int fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* a write is a whole message here */
    pirn_socket socket_handle;
    error = pn_socket_adopt(fd, &socket_handle);
    if (error != 0) {
        (void)close(fd);
        return error;
    }
    request r = {PN_CONNECT, PN_OUT, &to, to_bytes, "pirn_connect"};
    error = operate_on(socket_handle, &r, NULL, deadline);
    if (error != 0) {
        (void)pirn_close(socket_handle);
        return error;
    }
    pn_descriptor *d = pn_descriptor_hold(socket_handle);
    memcpy(&d->peer, &to, to_bytes);
    pn_descriptor_release(d);
    *result = socket_handle;
    return 0;
}

/* ---- other people's descriptors ---- */

static int wait_ready(pn_descriptor *d, int *events, pirn_time deadline) {
    pn_slot *slot = &d->slot[PN_IN];
    pn_waiter waiter;
    pn_waiter_init(&waiter, PN_ON_READY, slot);
    waiter.detail = (uint64_t)d->fd;
    waiter.withdraw = ask_to_abandon;
    request r = {PN_AWAIT_READY, PN_IN, NULL, 0, "pirn_fd_wait"};
    bool claimed = move(slot, PN_SLOT_IDLE, PN_SLOT_FILLING);
    PN_ASSERT(claimed);
    fill(slot, &r, &waiter);
    slot->events = *events;
    submit(d, slot, false);
    int error = pn_wait(&waiter, deadline, NULL);
    PN_ASSERT(error == 0); /* ask_to_abandon never lets it end otherwise */
    *events = slot->events;
    return slot->result;
}

int pirn_fd_wait(int fd, int events, pirn_time deadline) {
    if (fd < 0 || events == 0 || (events & ~(PIRN_FD_READ | PIRN_FD_WRITE)) != 0) {
        return PIRN_EINVAL;
    }
    int error = pn_may_wait("pirn_fd_wait", deadline);
    if (error != 0) {
        return error;
    }
    pn_slot look = {.operation = PN_AWAIT_READY, .events = events};
    pn_descriptor probe = {.fd = fd};
    if (fcntl(fd, F_GETFD) < 0) {
        return PIRN_EBADF;
    }
    if (pn_perform_try(&probe, &look)) {
        if (deadline != PIRN_NOW) {
            pn_turn(PN_GIVES_WAY);
        }
        return look.events;
    }
    if (deadline == PIRN_NOW) {
        return PIRN_EAGAIN;
    }
    pn_descriptor *d;
    error = pn_descriptor_open(fd, pn_performer_of_new(), true, &d);
    if (error != 0) {
        return error;
    }
    error = wait_ready(d, &events, deadline);
    pn_descriptor_end_borrowed(d);
    if (error == PN_WITHDRAWN) {
        int strike = pn_may_wait("pirn_fd_wait", deadline);
        return strike != 0 ? strike : PIRN_ETIMEDOUT;
    }
    return error != 0 ? error : events;
}
