/* SPDX-License-Identifier: MIT
 *
 * What: the table of descriptors and the records in them: one read slot and one write slot each. A socket operation is
 *       one record: kind, buffer, length, result; it lives here, never on a stack.
 *
 * The entry of descriptor number n stays the same for ever (type-stable); `life` tells which life it is in:
 *       generation (32 bits) | closing (1 bit) | holds (31 bits).  holds 0: free.
 *       A hold is had by: the open socket itself (given up by its close record), each operation from its submission
 *       until its slot is idle again, and a call that only looks. The last hold's release sends the entry to its
 *       performer, which makes it free (generation + 1) and only then closes the descriptor: who gets the number next
 *       finds a free entry, and nobody ever reads from a reused number by mistake.
 *
 * A slot's word:
 *       IDLE -> FILLING (a submitter owns it) -> QUEUED -> TAKEN (performer, around the call) -> DONE -> IDLE (home)
 *                                                  ^          | would block: back to QUEUED ("armed": waits for
 *                                                  |          | an edge)
 *       QUEUED -> REFILLING -> WITHDRAWN (home: deadline or cancel came first; in between it reads what was moved)
 *              -> IDLE (performer, when it meets it)
 *       QUEUED -> WANTED (home of a PN_AWAIT_READY or _HANGUP gives up; the performer hands it back) -> DONE
 *       TAKEN -> WANTED (home: came too late; the result wins; would block: DONE with PN_WITHDRAWN)
 *       WITHDRAWN -> REFILLING (the next submitter reuses the record that the performer still has) -> QUEUED
 *       REFILLING -> FILLING (the performer met it meanwhile and let go: the submitter must send it again, the
 *       withdrawer makes it IDLE itself)
 *       Every arrow is one compare-and-swap, or a store by the only one who may leave that state (FILLING, DONE).
 *
 * Threads: the performer (the driver that has the descriptor in its set) owns the fields so marked; the submitter owns
 *       a slot's fields from IDLE/WITHDRAWN to QUEUED and from DONE to IDLE, the performer from TAKEN to QUEUED or
 *       DONE.
 * Rejected: a record on the tasklet's stack (a late performer would write into a frame that is gone); freeing entries.
 */
#ifndef PN_DESCRIPTOR_H
#define PN_DESCRIPTOR_H

#include <netinet/in.h>
#include <stdatomic.h>

#include <pirn/socket.h>

#include "driver.h"
#include "wait.h"

#define PN_DESCRIPTORS_MAX (1u << 20)
/* Bytes that one record moves at most before other records get their turn. */
#define PN_SHARE_BYTES_MAX ((size_t)256 << 10)

typedef enum pn_operation { PN_READ, PN_WRITE, PN_ACCEPT, PN_CONNECT, PN_AWAIT_READY, PN_AWAIT_HANGUP } pn_operation;

enum {
    PN_SLOT_IDLE,
    PN_SLOT_FILLING,
    PN_SLOT_QUEUED,
    PN_SLOT_TAKEN,
    PN_SLOT_WANTED,
    PN_SLOT_DONE,
    PN_SLOT_WITHDRAWN,
    PN_SLOT_REFILLING
};

enum { PN_IN = 0, PN_OUT = 1 }; /* slot numbers, by direction */

#define PN_WITHDRAWN (-29999) /* a result that is none: the wait's own code counts                         */

typedef struct pn_descriptor pn_descriptor;

typedef struct pn_slot {
    pn_message message; /* there, and back                                                     */
    _Atomic uint32_t word;
    uint8_t operation; /* pn_operation; submitter                                             */
    uint8_t direction; /* PN_IN or PN_OUT; immutable                                          */
    bool armed;        /* performer: it has the record and waits for an edge                  */
    unsigned home;     /* submitter: who gets the completion                                  */
    void *buffer;      /* submitter; read by the performer only between TAKEN and the call     */
    size_t bytes, moved;
    int result;        /* performer, before DONE                                              */
    int events;        /* PN_AWAIT_READY: asked for, then seen                                */
    pn_waiter *waiter; /* home                                                                */
} pn_slot;

struct pn_descriptor {
    pn_watch watch;             /* first: what the set calls                                           */
    _Atomic uint64_t life;      /* any thread                                                          */
    pn_message close_message;   /* owner of the closing bit, then the last hold's                      */
    pn_message abandon_message; /* home of a PN_AWAIT_READY or _HANGUP that gives up                              */
    /* performer only */
    unsigned ready; /* enum pn_ready_bits that were reported and not used up                */
    bool registered, closed, hung_up;
    pn_node again_link; /* in the performer's `again`: a write moved its share and can go on          */
    /* immutable during a life */
    int fd;
    bool stream;   /* TCP: a short read means empty (rule 5)                               */
    bool borrowed; /* pirn_fd_wait: not ours to close                                     */
    pn_driver *performer;
    struct pirn_listener *listener; /* it came through; holds it; NULL: none                             */
    unsigned charged_home;          /* the worker whose load counts it                                     */
    bool charged;
    bool counted;             /* its peer's address counts it (peer_count.h)                             */
    struct sockaddr_in6 peer; /* or a sockaddr_in in its place                                       */
    pn_slot slot[2];
};

/* ---- the table ---- */

/* Start a life for `fd` with one hold, performed by `performer`; 0 or PIRN_ELIMIT, PIRN_ENOMEM, PIRN_EBUSY (borrowed:
 * entry in use). */
int pn_descriptor_open(int fd, pn_driver *performer, bool borrowed, pn_descriptor **descriptor);
pirn_socket pn_descriptor_handle(const pn_descriptor *descriptor);
/* One more hold on the open descriptor of that handle; NULL: it is closed or closing. */
pn_descriptor *pn_descriptor_hold(pirn_socket handle);
void pn_descriptor_release(pn_descriptor *descriptor);
/* Home of a borrowed one, after its answer: the entry is free. */
void pn_descriptor_end_borrowed(pn_descriptor *descriptor);
/* Set the closing bit; false: somebody did before, or the handle is old. True: the caller sends the close record. */
bool pn_descriptor_begin_close(pirn_socket handle, pn_descriptor **descriptor);

/* ---- performing (perform.c): performer's thread ---- */

void pn_perform_slot(pn_message *message);  /* deliver: a submitted record has arrived                  */
void pn_perform_close(pn_message *message); /* deliver: a close record                                  */
void pn_perform_event(pn_watch *watch, unsigned bits);
/* Of pn_descriptor.again_link, out of the list: the record's next share. */
void pn_perform_again(pn_node *again_link);
void pn_perform_abandon(pn_message *message); /* deliver: the home of such a record gives up               */
/* A taken record: true: done, result set; false: it would block, and the descriptor is registered. */
bool pn_perform_taken(pn_descriptor *descriptor, pn_slot *slot);
/* Any thread with the slot and a hold: receive what is there, or send what the system takes, PN_SHARE_BYTES_MAX at
 * most. PN_MOVED_ALL, or true for a receive: it is done or failed, the result is in the slot. PN_MORE_TO_MOVE: its
 * share is moved, and the system may take more. */
typedef enum pn_progress { PN_WOULD_BLOCK, PN_MORE_TO_MOVE, PN_MOVED_ALL } pn_progress;
bool pn_recv_some(int fd, pn_slot *slot);
pn_progress pn_send_share(int fd, pn_slot *slot);
/* Try a taken operation now. True: done, result set; false: it would block. */
bool pn_perform_try(pn_descriptor *descriptor, pn_slot *slot);
/* Put the descriptor in the performer's set, once. 0 or the system's code. */
int pn_perform_register(pn_descriptor *descriptor);

/* Take over a stream socket, connected or not; the caller's on failure. A worker's thread. Codes of
 * pn_descriptor_open. (socket.c) */
int pn_socket_adopt(int descriptor, pirn_socket *socket);

#endif
